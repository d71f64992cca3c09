/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real helper process, by its socket: what it runs, what it does not let itself be told, and
 * how it ends. */
#include "check.h"

#include "clock.h"
#include "helper.h"
#include "helper_message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000 };

struct fixture {
	char folder[64], program[80], out[80];
	struct helper helper;
};

static void write_program(const struct fixture *fixture, const char *script)
{
	int fd = open(fixture->program, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0755), 0);
	assert_int_equal(write(fd, script, strlen(script)), strlen(script));
	close(fd);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const char *argv[] = {fixture->program, "a b", "$HOME", fixture->out, NULL};

	alarm(120);
	strcpy(fixture->folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->program, sizeof(fixture->program), "%s/tell", fixture->folder);
	snprintf(fixture->out, sizeof(fixture->out), "%s/out", fixture->folder);
	write_program(fixture, "#!/bin/sh\nexit 0\n");
	setenv("SECRET", "1", 1);
	assert_int_equal(helper_start(argv, getuid(), &fixture->helper, NULL), 0);
	/* It has them as they were. */
	argv[1] = "other";
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->helper.fd >= 0)
		close(fixture->helper.fd);
	if (fixture->helper.pid > 0)
		waitpid(fixture->helper.pid, NULL, 0);
	unlink(fixture->program);
	unlink(fixture->out);
	rmdir(fixture->folder);
	free(fixture);
	alarm(0);
	return 0;
}

static void ask(const struct fixture *fixture, uint32_t id, const char *host)
{
	struct helper_message message = {.kind = HELPER_HOOK,
		.id = id,
		.fields = {{"event", "change"}, {"host", host}, {"old-one", "\"x\\y\""}},
		.field_count = 3};
	char buffer[HELPER_MESSAGE_MAX];
	size_t length = 0;

	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(send(fixture->helper.fd, buffer, length, MSG_NOSIGNAL), length);
}

/* The next answer; its strings live until the next call. False: it has ended. */
static bool listen_to(const struct fixture *fixture, struct helper_message *ret_message)
{
	static char buffer[HELPER_MESSAGE_MAX];
	struct pollfd ready = {.fd = fixture->helper.fd, .events = POLLIN};
	ssize_t size;

	assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
	size = recv(fixture->helper.fd, buffer, sizeof(buffer), 0);
	if (size <= 0)
		return false;
	assert_int_equal(helper_message_parse(buffer, (size_t)size, ret_message), 0);
	assert_int_equal(ret_message->kind, HELPER_HOOK_ENDED);
	return true;
}

/* Its wait status. */
static int end_of(struct fixture *fixture)
{
	int64_t last = clock_boot_ms() + PATIENCE_MS;
	int status;

	while (waitpid(fixture->helper.pid, &status, WNOHANG) == 0) {
		assert_true(clock_boot_ms() < last);
		usleep(5000);
	}
	fixture->helper.pid = 0;
	return status;
}

static void read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, buffer, size - 1);

	assert_true(length >= 0);
	buffer[length] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Waits for a file with that many lines. */
static void wait_for_lines(const char *path, size_t wanted)
{
	int64_t last = clock_boot_ms() + PATIENCE_MS;
	char text[4096];

	for (;;) {
		size_t lines = 0;

		read_file(path, text, sizeof(text));
		for (const char *at = text; *at; at++)
			lines += *at == '\n';
		if (lines >= wanted)
			return;
		assert_true(clock_boot_ms() < last);
		usleep(5000);
	}
}

/* None of the processes whose numbers stand in the file is left. */
static void assert_gone(const char *path)
{
	int64_t last = clock_boot_ms() + PATIENCE_MS;
	char text[4096], *at = text;

	read_file(path, text, sizeof(text));
	while (*at) {
		pid_t pid = (pid_t)strtol(at, &at, 10);
		char name[64], state[256];

		assert_true(pid > 1 && *at == '\n');
		at++;
		snprintf(name, sizeof(name), "/proc/%d/stat", pid);
		for (;;) {
			read_file(name, state, sizeof(state));
			if (!*state || strstr(state, ") Z ") || strstr(state, ") X "))
				break;
			assert_true(clock_boot_ms() < last);
			usleep(5000);
		}
	}
}

static void test_it_runs_what_it_was_started_with(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;
	char text[4096];

	write_program(fixture, "#!/bin/sh\n"
			       "exec >\"$3\"\n"
			       "echo \"$1|$2|$#\"; cat; env | grep -v PWD= | sort\n"
			       "echo a >&2; echo 'the last' >&2; exit 5\n");
	ask(fixture, 7, "home21.example");
	assert_true(listen_to(fixture, &message));
	assert_int_equal(message.id, 7);
	assert_int_equal(message.outcome, HELPER_EXITED);
	assert_int_equal(message.code, 5);
	assert_string_equal(message.text, "the last");
	read_file(fixture->out, text, sizeof(text));
	assert_string_equal(text, "a b|$HOME|3\n"
				  "{\"event\":\"change\",\"host\":\"home21.example\","
				  "\"old-one\":\"\\\"x\\\\y\\\"\"}\n"
				  "PATH=" HELPER_PATH "\n"
				  "SIPFENCE_EVENT=change\nSIPFENCE_HOST=home21.example\n"
				  "SIPFENCE_OLD_ONE=\"x\\y\"\n");
}

static void test_what_cannot_be_run_is_said(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;

	assert_int_equal(chmod(fixture->program, 0777), 0);
	ask(fixture, 1, "a");
	assert_true(listen_to(fixture, &message));
	assert_int_equal(message.outcome, HELPER_NOT_STARTED);
	assert_int_equal(message.code, EPERM);
	assert_non_null(strstr(message.next, "chmod go-w"));
	assert_int_equal(chmod(fixture->program, 0755), 0);
	write_program(fixture, "#!/nonexistent\n");
	ask(fixture, 2, "a");
	assert_true(listen_to(fixture, &message));
	assert_int_equal(message.id, 2);
	assert_int_equal(message.outcome, HELPER_NOT_STARTED);
	assert_int_equal(message.code, ENOENT);
	assert_non_null(strstr(message.next, "interpreter"));
	unlink(fixture->program);
	ask(fixture, 3, "a");
	assert_true(listen_to(fixture, &message));
	assert_int_equal(message.code, ENOENT);
	/* And then it is there again. */
	write_program(fixture, "#!/bin/sh\nkill -SEGV $$\n");
	ask(fixture, 4, "a");
	assert_true(listen_to(fixture, &message));
	assert_int_equal(message.outcome, HELPER_SIGNALLED);
	assert_int_equal(message.code, SIGSEGV);
}

static void test_several_run_side_by_side(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;
	int64_t began = clock_boot_ms();
	unsigned seen = 0;

	write_program(fixture, "#!/bin/sh\nsleep 0.5\n");
	for (uint32_t id = 0; id < HELPER_RUNNING; id++)
		ask(fixture, id, "a");
	for (int i = 0; i < HELPER_RUNNING; i++) {
		assert_true(listen_to(fixture, &message));
		assert_int_equal(message.outcome, HELPER_EXITED);
		assert_in_range(message.milliseconds, 450, 5000);
		seen |= 1U << message.id;
	}
	assert_int_equal(seen, (1U << HELPER_RUNNING) - 1);
	assert_in_range(clock_boot_ms() - began, 500, 1700);
}

/* It keeps nothing of the daemon's, hears no terminal, and is not ended by what is sent to all. */
static void test_it_stands_alone(void **state)
{
	struct fixture *fixture = *state;
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGPIPE};
	struct helper_message message;
	char path[64], target[256];
	size_t open = 0;

	ask(fixture, 1, "a");
	assert_true(listen_to(fixture, &message));
	assert_int_equal(getsid(fixture->helper.pid), fixture->helper.pid);
	for (int fd = 0; fd < 100; fd++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", fixture->helper.pid, fd);
		length = readlink(path, target, sizeof(target) - 1);
		if (length < 0)
			continue;
		target[length] = '\0';
		open++;
		if (fd < 2)
			assert_string_equal(target, "/dev/null");
	}
	/* Two and standard error; its socket, its signals. */
	assert_int_equal(open, 5);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		assert_int_equal(kill(fixture->helper.pid, signals[i]), 0);
	ask(fixture, 2, "a");
	assert_true(listen_to(fixture, &message));
	assert_int_equal(message.id, 2);
}

static void test_it_ends_with_the_socket_and_takes_hooks_along(void **state)
{
	struct fixture *fixture = *state;
	int64_t began = clock_boot_ms();
	int status;

	write_program(fixture, "#!/bin/sh\nsleep 100 &\n"
			       "echo $$ >>\"$3\"; echo $! >>\"$3\"; wait\n");
	for (uint32_t id = 0; id < HELPER_RUNNING; id++)
		ask(fixture, id, "a");
	wait_for_lines(fixture->out, 2 * HELPER_RUNNING);
	close(fixture->helper.fd);
	fixture->helper.fd = -1;
	status = end_of(fixture);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_in_range(clock_boot_ms() - began, 0, HELPER_GRACE_MS);
	assert_gone(fixture->out);
}

static void test_hooks_that_do_not_want_to_end_are_killed(void **state)
{
	struct fixture *fixture = *state;
	int64_t began;

	write_program(fixture, "#!/bin/sh\ntrap '' TERM\n"
			       "echo $$ >>\"$3\"\nwhile :; do sleep 0.1; done\n");
	ask(fixture, 1, "a");
	wait_for_lines(fixture->out, 1);
	began = clock_boot_ms();
	close(fixture->helper.fd);
	fixture->helper.fd = -1;
	end_of(fixture);
	assert_in_range(clock_boot_ms() - began, HELPER_GRACE_MS - 100, HELPER_GRACE_MS + 3000);
	assert_gone(fixture->out);
}

/* kill -9 of the helper: the kernel takes the hooks. */
static void test_its_death_takes_hooks_along(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;

	write_program(fixture, "#!/bin/sh\necho $$ >>\"$3\"\nexec sleep 100\n");
	ask(fixture, 1, "a");
	wait_for_lines(fixture->out, 1);
	kill(fixture->helper.pid, SIGKILL);
	assert_false(listen_to(fixture, &message));
	end_of(fixture);
	assert_gone(fixture->out);
}

static void assert_ends_at(struct fixture *fixture, const void *data, size_t length)
{
	struct helper_message message;
	int status;

	assert_int_equal(send(fixture->helper.fd, data, length, MSG_NOSIGNAL), length);
	assert_false(listen_to(fixture, &message));
	status = end_of(fixture);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	assert_int_equal(access(fixture->out, F_OK), -1);
}

static void test_what_is_no_message_ends_it(void **state)
{
	struct fixture *fixture = *state;

	write_program(fixture, "#!/bin/sh\n: >\"$3\"\n");
	assert_ends_at(fixture, "\1\1\2\0\0\0\0\0event\0x\0LD_PRELOAD\0/tmp/x.so\0", 38);
}

static void test_a_long_one_ends_it(void **state)
{
	static char data[HELPER_MESSAGE_MAX + 100] = "\1\1\1\0\0\0\0\0event";
	struct fixture *fixture = *state;

	write_program(fixture, "#!/bin/sh\n: >\"$3\"\n");
	memset(data + 14, 'x', sizeof(data) - 15);
	assert_ends_at(fixture, data, sizeof(data));
}

static void test_an_answer_ends_it(void **state)
{
	struct fixture *fixture = *state;

	write_program(fixture, "#!/bin/sh\n: >\"$3\"\n");
	assert_ends_at(fixture, "\1\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18);
}

static void test_too_many_at_a_time_end_it(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;

	write_program(fixture, "#!/bin/sh\necho $$ >>\"$3\"\nexec sleep 100\n");
	for (uint32_t id = 0; id < HELPER_RUNNING; id++)
		ask(fixture, id, "a");
	wait_for_lines(fixture->out, HELPER_RUNNING);
	ask(fixture, HELPER_RUNNING, "a");
	while (listen_to(fixture, &message))
		;
	end_of(fixture);
	assert_gone(fixture->out);
}

static void test_the_same_id_twice_ends_it(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;

	write_program(fixture, "#!/bin/sh\necho $$ >>\"$3\"\nexec sleep 100\n");
	ask(fixture, 5, "a");
	ask(fixture, 5, "a");
	while (listen_to(fixture, &message))
		;
	end_of(fixture);
	assert_gone(fixture->out);
}

int main(void)
{
#define WITH_HELPER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_HELPER(test_it_runs_what_it_was_started_with),
		WITH_HELPER(test_what_cannot_be_run_is_said),
		WITH_HELPER(test_several_run_side_by_side),
		WITH_HELPER(test_it_stands_alone),
		WITH_HELPER(test_it_ends_with_the_socket_and_takes_hooks_along),
		WITH_HELPER(test_hooks_that_do_not_want_to_end_are_killed),
		WITH_HELPER(test_its_death_takes_hooks_along),
		WITH_HELPER(test_what_is_no_message_ends_it),
		WITH_HELPER(test_a_long_one_ends_it),
		WITH_HELPER(test_an_answer_ends_it),
		WITH_HELPER(test_too_many_at_a_time_end_it),
		WITH_HELPER(test_the_same_id_twice_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
