/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Against a real datagram socket, by path and by abstract name. */
#include "check.h"

#include "notify.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct supervisor {
	char folder[64], path[108];
	int fd;
	struct notify notify;
};

static void listen_at(struct supervisor *supervisor, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);

	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	else
		length++;
	supervisor->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(supervisor->fd >= 0);
	assert_int_equal(bind(supervisor->fd, (const struct sockaddr *)&address,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
		0);
}

static int set_up(void **state)
{
	struct supervisor *supervisor = calloc(1, sizeof(*supervisor));

	alarm(60); /* what must not wait, and does */
	strcpy(supervisor->folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(supervisor->folder));
	snprintf(supervisor->path, sizeof(supervisor->path), "%s/notify", supervisor->folder);
	listen_at(supervisor, supervisor->path);
	setenv("NOTIFY_SOCKET", supervisor->path, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	supervisor->notify.fd = -1;
	*state = supervisor;
	return 0;
}

static int tear_down(void **state)
{
	struct supervisor *supervisor = *state;

	notify_close(&supervisor->notify);
	if (supervisor->fd >= 0)
		close(supervisor->fd);
	unlink(supervisor->path);
	rmdir(supervisor->folder);
	free(supervisor);
	return 0;
}

/* The next message; "" when there is none. */
static const char *next_message(struct supervisor *supervisor)
{
	static char message[65536];
	ssize_t size = recv(supervisor->fd, message, sizeof(message) - 1, 0);

	message[size > 0 ? size : 0] = '\0';
	return message;
}

static void test_messages(void **state)
{
	struct supervisor *supervisor = *state;
	struct notify *notify = &supervisor->notify;
	long long microseconds;
	struct timespec now;
	char end;

	assert_int_equal(notify_open(notify, NULL), 0);
	assert_int_equal(notify_ready(notify, "12 names"), 0);
	assert_string_equal(next_message(supervisor), "READY=1\nSTATUS=12 names");
	assert_int_equal(notify_ready(notify, NULL), 0);
	assert_string_equal(next_message(supervisor), "READY=1\n");
	assert_int_equal(notify_status(notify, "all is well"), 0);
	assert_string_equal(next_message(supervisor), "STATUS=all is well");
	assert_int_equal(notify_watchdog(notify), 0);
	assert_string_equal(next_message(supervisor), "WATCHDOG=1\n");
	assert_int_equal(notify_stopping(notify), 0);
	assert_string_equal(next_message(supervisor), "STOPPING=1\n");
	clock_gettime(CLOCK_MONOTONIC, &now);
	assert_int_equal(notify_reloading(notify), 0);
	assert_int_equal(sscanf(next_message(supervisor), "RELOADING=1\nMONOTONIC_USEC=%lld%c",
				 &microseconds, &end),
		2);
	assert_int_equal(end, '\n');
	assert_true(microseconds >= now.tv_sec * 1000000LL + now.tv_nsec / 1000);
	assert_true(microseconds < (now.tv_sec + 60) * 1000000LL);
	assert_string_equal(next_message(supervisor), "");
}

static void test_abstract(void **state)
{
	struct supervisor *supervisor = *state;
	char name[64];

	close(supervisor->fd);
	snprintf(name, sizeof(name), "@sipfence-test-%ld", (long)getpid());
	listen_at(supervisor, name);
	setenv("NOTIFY_SOCKET", name, 1);
	assert_int_equal(notify_open(&supervisor->notify, NULL), 0);
	assert_int_equal(notify_ready(&supervisor->notify, NULL), 0);
	assert_string_equal(next_message(supervisor), "READY=1\n");
}

static void test_nobody_wants_to_know(void **state)
{
	struct supervisor *supervisor = *state;
	struct notify *notify = &supervisor->notify;

	for (int round = 0; round < 2; round++) {
		if (round == 0)
			unsetenv("NOTIFY_SOCKET");
		else
			setenv("NOTIFY_SOCKET", "", 1);
		setenv("WATCHDOG_USEC", "1000000", 1);
		assert_int_equal(notify_open(notify, NULL), 0);
		assert_int_equal(notify->fd, -1);
		assert_int_equal(notify->watchdog_ms, 0);
		assert_int_equal(notify_ready(notify, "x"), 0);
		assert_int_equal(notify_reloading(notify), 0);
		assert_int_equal(notify_status(notify, "x"), 0);
		assert_int_equal(notify_watchdog(notify), 0);
		assert_int_equal(notify_stopping(notify), 0);
		assert_null(getenv("WATCHDOG_USEC"));
	}
}

static void test_unusable_address(void **state)
{
	static const char *const names[] = {"relative", "@", "/", "vsock:2:1234"};
	struct supervisor *supervisor = *state;
	struct notify *notify = &supervisor->notify;
	char longest[200];

	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[108] = '\0';
	for (size_t i = 0; i <= sizeof(names) / sizeof(names[0]); i++) {
		struct error error = {0};

		setenv("NOTIFY_SOCKET", i < sizeof(names) / sizeof(names[0]) ? names[i] : longest,
			1);
		assert_int_equal(notify_open(notify, &error), -EINVAL);
		assert_non_null(strstr(error.what, "NOTIFY_SOCKET"));
		assert_int_equal(notify_ready(notify, NULL), 0);
		assert_null(getenv("NOTIFY_SOCKET"));
	}
	longest[107] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(notify_open(notify, NULL), 0);
	assert_true(notify_ready(notify, NULL) < 0);
}

/* No child may speak for us. */
static void test_environment_is_emptied(void **state)
{
	struct supervisor *supervisor = *state;

	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_open(&supervisor->notify, NULL), 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
}

static void test_watchdog(void **state)
{
	struct supervisor *supervisor = *state;
	char own[32];
	const struct {
		const char *microseconds, *pid;
		int64_t expected_ms;
	} rows[] = {
		{"3000000", NULL, 3000},
		{"3000000", own, 3000},
		{"3000000", "1", 0},
		{"3000000", "", 0},
		{"1", NULL, 1},
		{"0", NULL, 0},
		{"", NULL, 0},
		{"-3000000", NULL, 0},
		{"3s", NULL, 0},
		{"18446744073709551615", NULL, 0},
		{"99999999999999999999", NULL, 0},
	};

	snprintf(own, sizeof(own), "%ld", (long)getpid());
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		setenv("NOTIFY_SOCKET", supervisor->path, 1);
		setenv("WATCHDOG_USEC", rows[i].microseconds, 1);
		if (rows[i].pid)
			setenv("WATCHDOG_PID", rows[i].pid, 1);
		assert_int_equal(notify_open(&supervisor->notify, NULL), 0);
		assert_int_equal(supervisor->notify.watchdog_ms, rows[i].expected_ms);
		notify_close(&supervisor->notify);
	}
}

/* A line feed in it would begin a word of the protocol. */
static void test_status_is_one_line(void **state)
{
	struct supervisor *supervisor = *state;

	assert_int_equal(notify_open(&supervisor->notify, NULL), 0);
	assert_int_equal(notify_status(&supervisor->notify, "a\nMAINPID=1\tb\x01"), 0);
	assert_string_equal(next_message(supervisor), "STATUS=a MAINPID=1 b ");
}

/* Cut, but not within a character: systemd refuses what is not UTF-8. */
static void test_long_status(void **state)
{
	struct supervisor *supervisor = *state;
	const char *message;
	char status[3000];
	size_t length;

	assert_int_equal(notify_open(&supervisor->notify, NULL), 0);
	for (size_t shift = 0; shift < 4; shift++) {
		memset(status, 'a', shift);
		for (size_t i = shift; i + 4 < sizeof(status); i += 4)
			memcpy(status + i, "\xf0\x9f\x93\x9e", 5);
		assert_int_equal(notify_ready(&supervisor->notify, status), 0);
		message = next_message(supervisor);
		length = strlen(message);
		assert_true(length > 400 && length < 600);
		assert_memory_equal(message, "READY=1\nSTATUS=", 15);
		assert_memory_equal(message + 15, status, length - 15);
		assert_int_equal((length - 15 - shift) % 4, 0);
	}
}

/* Not reading is the supervisor's right, and does not hold us up; and the readiness is not lost. */
static void test_supervisor_does_not_read(void **state)
{
	struct supervisor *supervisor = *state;
	struct notify *notify = &supervisor->notify;
	int result = 0, sent = 0;

	assert_int_equal(notify_open(notify, NULL), 0);
	for (; sent < 100000 && result == 0; sent++)
		result = notify_status(notify, "noise");
	assert_int_equal(result, -EAGAIN);
	assert_int_equal(notify_ready(notify, NULL), -EAGAIN);
	assert_int_equal(notify_watchdog(notify), -EAGAIN);
	while (*next_message(supervisor))
		;
	assert_int_equal(notify_watchdog(notify), 0);
	assert_string_equal(next_message(supervisor), "READY=1\nWATCHDOG=1\n");
	assert_int_equal(notify_watchdog(notify), 0);
	assert_string_equal(next_message(supervisor), "WATCHDOG=1\n");
}

/* It was restarted: its new socket is found. */
static void test_supervisor_comes_back(void **state)
{
	struct supervisor *supervisor = *state;
	struct notify *notify = &supervisor->notify;

	assert_int_equal(notify_open(notify, NULL), 0);
	close(supervisor->fd);
	assert_int_equal(notify_watchdog(notify), -ECONNREFUSED);
	unlink(supervisor->path);
	assert_int_equal(notify_watchdog(notify), -ENOENT);
	listen_at(supervisor, supervisor->path);
	assert_int_equal(notify_watchdog(notify), 0);
	assert_string_equal(next_message(supervisor), "WATCHDOG=1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_messages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_abstract, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nobody_wants_to_know, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unusable_address, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_environment_is_emptied, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_watchdog, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_status_is_one_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_status, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_supervisor_does_not_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_supervisor_comes_back, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
