/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's side of hooks: the test is the helper at the other end of the socket. */
#include "check.h"

#include "helper_message.h"
#include "hooks.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MINUTE = 60 * 1000, WALL = 1795363860 /* 2026-11-22T16:11:00Z */ };

struct fixture {
	struct loop *loop;
	struct hooks *hooks;
	int peer;
	struct text log;
};

static const char *const argv[] = {"/bin/tell", "a", NULL};

static void log_event(void *context, const struct event *event)
{
	struct fixture *fixture = context;

	assert_false(event->line.failed);
	text_printf(&fixture->log, "%d %s\n", (int)event->level, text_string(&event->line));
}

static void open_with(struct fixture *fixture, int fd, const struct error *problem)
{
	pid_t pid = fork();
	struct hooks_options options = {.loop = fixture->loop,
		.log = log_event,
		.context = fixture,
		.on_change = argv,
		.problem = problem};

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(7);
	/* Until then it has the other end of the socket, too. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	options.helper = (struct helper){.fd = fd, .pid = pid};
	assert_int_equal(hooks_open(&fixture->hooks, &options, NULL), 0);
}

static int set_up(void **state)
{
	static const struct error none;
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int pair[2];

	alarm(60);
	assert_int_equal(loop_new(&fixture->loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	fixture->peer = pair[1];
	open_with(fixture, pair[0], &none);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	hooks_close(fixture->hooks);
	loop_free(fixture->loop);
	if (fixture->peer >= 0)
		close(fixture->peer);
	text_free(&fixture->log);
	free(fixture);
	while (waitpid(-1, NULL, WNOHANG) >= 0)
		;
	alarm(0);
	return 0;
}

/* What it has said since the last time. */
static void assert_log(struct fixture *fixture, const char *expected)
{
	assert_string_equal(text_string(&fixture->log), expected);
	text_clear(&fixture->log);
}

static void note(struct fixture *fixture, const char *name, const char *host, const char *value)
{
	struct event event;

	event_begin(&event, EVENT_UNSAID, name);
	if (host)
		event_put(&event, "host", host);
	event_put(&event, "new", value);
	hooks_note(fixture->hooks, &event, WALL);
	event_clear(&event);
}

static void note_many(struct fixture *fixture, const char *host, size_t count)
{
	for (size_t i = 0; i < count; i++)
		note(fixture, "change", host, "x");
}

/* The next request; its strings live until the next call. False: there is none. */
static bool take(const struct fixture *fixture, struct helper_message *ret_message)
{
	static char buffer[HELPER_MESSAGE_MAX + 1];
	ssize_t size = recv(fixture->peer, buffer, sizeof(buffer), 0);

	if (size <= 0)
		return false;
	assert_int_equal(helper_message_parse(buffer, (size_t)size, ret_message), 0);
	assert_int_equal(ret_message->kind, HELPER_HOOK);
	return true;
}

static void wait_once(struct fixture *fixture)
{
	loop_set_timer(fixture->loop, 0); /* nothing has to come */
	assert_int_equal(loop_wait(fixture->loop, NULL), 0);
}

static void answer(struct fixture *fixture, uint32_t id, enum helper_outcome outcome, int code)
{
	struct helper_message message = {.kind = HELPER_HOOK_ENDED,
		.id = id,
		.outcome = outcome,
		.code = code,
		.milliseconds = 12,
		.text = "last \"words\"",
		.next = outcome == HELPER_NOT_STARTED ? "mend it" : ""};
	char buffer[HELPER_MESSAGE_MAX];
	size_t length = 0;

	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(send(fixture->peer, buffer, length, MSG_NOSIGNAL), length);
	wait_once(fixture);
}

static void test_an_event_is_sent(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;

	assert_int_equal(hooks_due(fixture->hooks), INT64_MAX);
	note(fixture, "change", "a.example", "\x1b[2J \"\\");
	note(fixture, "hook", "a.example", "not this");
	note(fixture, "changes", "a.example", "nor this");
	/* It is not left until something else happens. */
	assert_int_equal(hooks_due(fixture->hooks), 0);
	assert_false(take(fixture, &message));
	hooks_tick(fixture->hooks, 1);
	assert_int_equal(hooks_due(fixture->hooks), INT64_MAX);
	assert_true(take(fixture, &message));
	assert_int_equal(message.field_count, 4);
	assert_string_equal(message.fields[0].value, "change");
	assert_string_equal(message.fields[1].key, "time");
	assert_string_equal(message.fields[1].value, "2026-11-22T16:11:00Z");
	assert_string_equal(message.fields[2].value, "a.example");
	assert_string_equal(message.fields[3].value, "\\x1b[2J \"\\");
	answer(fixture, message.id, HELPER_EXITED, 0);
	assert_log(fixture, "7 event=hook result=done of=change host=a.example ms=12\n");
	assert_false(take(fixture, &message));
	assert_int_equal(hooks_summary(fixture->hooks).done, 1);
}

static void test_what_is_too_long_is_cut_or_dropped(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;
	static char value[10001];
	struct event event;

	memset(value, 'v', sizeof(value) - 1);
	note(fixture, "change", "a.example", value);
	hooks_tick(fixture->hooks, 1);
	assert_true(take(fixture, &message));
	assert_int_equal(strlen(message.fields[3].value), HELPER_VALUE_MAX);
	assert_string_equal(message.fields[3].value + HELPER_VALUE_MAX - 4, "v...");
	event_begin(&event, EVENT_NOTICE, "table");
	for (int i = 0; i < HELPER_FIELDS_MAX; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d", i);
		event_put(&event, key, "v");
	}
	hooks_note(fixture->hooks, &event, WALL);
	event_clear(&event);
	hooks_tick(fixture->hooks, 2);
	assert_false(take(fixture, &message));
	assert_int_equal(hooks_summary(fixture->hooks).dropped, 1);
	assert_int_equal(hooks_summary(fixture->hooks).waiting, 0);
}

static void test_hosts_take_turns(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;
	uint32_t first;

	note(fixture, "change", "a", "1");
	note(fixture, "change", "a", "2");
	note(fixture, "dns", NULL, "3");
	note(fixture, "reload", NULL, "4");
	note(fixture, "state", "b", "5");
	hooks_tick(fixture->hooks, 1);
	assert_true(take(fixture, &message));
	first = message.id;
	assert_string_equal(message.fields[3].value, "1");
	assert_true(take(fixture, &message));
	assert_string_equal(message.fields[2].value, "3");
	assert_true(take(fixture, &message));
	assert_string_equal(message.fields[3].value, "5");
	assert_false(take(fixture, &message));
	answer(fixture, first, HELPER_EXITED, 0);
	hooks_tick(fixture->hooks, 2);
	assert_true(take(fixture, &message));
	assert_string_equal(message.fields[3].value, "2");
	/* What comes now stands behind what waits. */
	note(fixture, "dns", NULL, "6");
	assert_int_equal(hooks_summary(fixture->hooks).waiting, 2);
	assert_int_equal(hooks_summary(fixture->hooks).running, 3);
}

static void test_what_does_not_fit_is_said_now_and_then(void **state)
{
	struct fixture *fixture = *state;
	char expected[32];

	note_many(fixture, "a", HOOKS_WAITING + 1);
	assert_int_equal(hooks_summary(fixture->hooks).waiting, HOOKS_WAITING);
	hooks_tick(fixture->hooks, 1000);
	assert_non_null(strstr(text_string(&fixture->log), "4 event=hook result=dropped count=1 "));
	text_clear(&fixture->log);
	note_many(fixture, "a", 11); /* one is under way, so there was room for one */
	hooks_tick(fixture->hooks, 2000);
	assert_log(fixture, "");
	assert_int_equal(hooks_due(fixture->hooks), 1000 + MINUTE);
	hooks_tick(fixture->hooks, 1000 + MINUTE);
	snprintf(expected, sizeof(expected), " count=%d ", 10);
	assert_non_null(strstr(text_string(&fixture->log), expected));
	text_clear(&fixture->log);
	hooks_tick(fixture->hooks, 1000 + 3 * MINUTE);
	assert_log(fixture, "");
	assert_int_equal(hooks_summary(fixture->hooks).dropped, 11);
}

static void test_failures_are_said_and_then_counted(void **state)
{
	struct fixture *fixture = *state;
	struct helper_message message;

	note_many(fixture, "a", 15);
	hooks_tick(fixture->hooks, 1000);
	for (int i = 0; i < 15; i++) {
		assert_true(take(fixture, &message));
		answer(fixture, message.id, i == 0 ? HELPER_NOT_STARTED : HELPER_EXITED, i + 1);
		hooks_tick(fixture->hooks, 2000);
		if (i == 0)
			assert_log(fixture, "4 event=hook result=failed of=change host=a "
					    "error=\"last \\\"words\\\"\" next=\"mend it\"\n");
		else if (i == 1)
			assert_log(fixture,
				"4 event=hook result=failed of=change host=a error=\"it ended with "
				"exit code 2\" output=\"last \\\"words\\\"\"\n");
		else if (i < 10)
			text_clear(&fixture->log);
		else
			assert_log(fixture, "");
	}
	assert_int_equal(hooks_due(fixture->hooks), 1000 + MINUTE);
	hooks_tick(fixture->hooks, 1000 + MINUTE);
	assert_log(fixture,
		"4 event=hook result=failed count=5 error=\"so many more have failed in "
		"the last minute\"\n");
	hooks_tick(fixture->hooks, 1000 + 2 * MINUTE);
	assert_int_equal(hooks_due(fixture->hooks), INT64_MAX);
	assert_log(fixture, "");
	/* A new minute, and one by one again. */
	note_many(fixture, "a", 1);
	hooks_tick(fixture->hooks, 1000 + 5 * MINUTE);
	assert_true(take(fixture, &message));
	answer(fixture, message.id, HELPER_SIGNALLED, 11);
	assert_non_null(strstr(text_string(&fixture->log), "signal 11"));
	assert_int_equal(hooks_summary(fixture->hooks).failed, 16);
}

/* The socket is full: it goes on when there is room. */
static void test_a_full_socket_waits(void **state)
{
	struct fixture *fixture = *state;
	static const char *const hosts[] = {"a", "b", "c", "d"};
	static char value[HELPER_VALUE_MAX + 1];
	struct helper_message message;
	int small = 1, pair[2];
	static const struct error none;
	size_t taken = 0;

	hooks_close(fixture->hooks);
	close(fixture->peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	fixture->peer = pair[1];
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	open_with(fixture, pair[0], &none);
	memset(value, 'v', sizeof(value) - 1);
	for (size_t i = 0; i < 4; i++)
		note(fixture, "change", hosts[i], value);
	hooks_tick(fixture->hooks, 1);
	assert_in_range(hooks_summary(fixture->hooks).running, 1, 3);
	assert_int_equal(hooks_due(fixture->hooks), INT64_MAX);
	for (int round = 0; round < 10; round++) {
		while (take(fixture, &message))
			taken++;
		wait_once(fixture);
		hooks_tick(fixture->hooks, 2);
	}
	assert_int_equal(taken, 4);
	assert_int_equal(hooks_summary(fixture->hooks).running, 4);
	assert_int_equal(hooks_summary(fixture->hooks).dropped, 0);
}

/* Said once, with what it died of, and then there is silence. */
static void assert_dead(struct fixture *fixture, const char *how)
{
	char expected[256];

	snprintf(expected, sizeof(expected),
		"3 event=hook result=failed error=\"the helper process %s (exit code 7): no hooks "
		"are run any more\" next=\"restart the daemon (systemctl restart sipfence)\"\n",
		how);
	for (int i = 0; i < 100 && fixture->log.length == 0; i++) {
		hooks_tick(fixture->hooks, 1000 + i * 20);
		usleep(2000);
	}
	assert_log(fixture, expected);
	assert_false(hooks_summary(fixture->hooks).alive);
	assert_true(hooks_summary(fixture->hooks).wanted);
	assert_int_equal(hooks_summary(fixture->hooks).running, 0);
	note_many(fixture, "a", 3);
	hooks_tick(fixture->hooks, 1 << 30);
	assert_int_equal(hooks_due(fixture->hooks), INT64_MAX);
	assert_int_equal(hooks_summary(fixture->hooks).waiting, 0);
	assert_log(fixture, "");
}

static void test_its_death_while_it_is_idle(void **state)
{
	struct fixture *fixture = *state;

	close(fixture->peer);
	fixture->peer = -1;
	wait_once(fixture);
	assert_dead(fixture, "has ended");
}

static void test_its_death_before_an_event(void **state)
{
	struct fixture *fixture = *state;

	close(fixture->peer);
	fixture->peer = -1;
	note_many(fixture, "a", 3);
	assert_dead(fixture, "has ended");
}

static void test_what_is_no_answer(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} cases[] = {
		{"x", 1},
		{"\1\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17},
		/* Of a hook that was never asked for; and no answer at all. */
		{"\1\2\1\0\x63\0\0\0\0\0\0\0\0\0\0\0\0\0", 18},
		{"\1\1\1\0\0\0\0\0event\0x\0", 16},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *fixture;

		if (i > 0) {
			tear_down(state);
			set_up(state);
		}
		fixture = *state;
		note_many(fixture, "a", 2);
		hooks_tick(fixture->hooks, 1);
		assert_int_equal(
			send(fixture->peer, cases[i].bytes, cases[i].length, 0), cases[i].length);
		wait_once(fixture);
		assert_dead(fixture, "has sent what is no message");
	}
}

static void test_reloads(void **state)
{
	static const char *const other[] = {"/bin/tell", "b", NULL};
	static const char *const shorter[] = {"/bin/tell", NULL};
	struct fixture *fixture = *state;
	struct helper_message message;

	hooks_configure(fixture->hooks, argv);
	assert_log(fixture, "");
	hooks_configure(fixture->hooks, other);
	assert_non_null(strstr(text_string(&fixture->log), "4 event=hook result=restart-needed "));
	text_clear(&fixture->log);
	assert_true(hooks_summary(fixture->hooks).restart_needed);
	hooks_configure(fixture->hooks, shorter);
	assert_true(hooks_summary(fixture->hooks).restart_needed);
	note(fixture, "change", "a", "1");
	hooks_tick(fixture->hooks, 1);
	assert_true(take(fixture, &message));
	note(fixture, "change", "a", "2");
	hooks_configure(fixture->hooks, NULL);
	assert_false(hooks_summary(fixture->hooks).wanted);
	assert_int_equal(hooks_summary(fixture->hooks).waiting, 0);
	note(fixture, "change", "b", "3");
	hooks_tick(fixture->hooks, 2);
	assert_false(take(fixture, &message));
	hooks_configure(fixture->hooks, argv);
	assert_false(hooks_summary(fixture->hooks).restart_needed);
	note(fixture, "change", "b", "4");
	hooks_tick(fixture->hooks, 3);
	assert_true(take(fixture, &message));
	assert_string_equal(message.fields[3].value, "4");
}

static void test_without_a_helper(void **state)
{
	struct fixture *fixture = *state;
	struct error problem = {0};

	hooks_close(fixture->hooks);
	error_set(&problem, -EAGAIN, "look", "it cannot be started");
	open_with(fixture, -1, &problem);
	assert_log(
		fixture, "3 event=hook result=failed error=\"it cannot be started\" next=look\n");
	note_many(fixture, "a", 3);
	hooks_tick(fixture->hooks, 1);
	assert_int_equal(hooks_due(fixture->hooks), INT64_MAX);
	assert_false(hooks_summary(fixture->hooks).alive);
	assert_int_equal(hooks_due(NULL), INT64_MAX);
	hooks_note(NULL, &(struct event){0}, 0);
	hooks_tick(NULL, 0);
	hooks_configure(NULL, argv);
	assert_false(hooks_summary(NULL).wanted);
	assert_null(hooks_close(NULL));
}

int main(void)
{
#define WITH_HOOKS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_HOOKS(test_an_event_is_sent),
		WITH_HOOKS(test_what_is_too_long_is_cut_or_dropped),
		WITH_HOOKS(test_hosts_take_turns),
		WITH_HOOKS(test_what_does_not_fit_is_said_now_and_then),
		WITH_HOOKS(test_failures_are_said_and_then_counted),
		WITH_HOOKS(test_a_full_socket_waits),
		WITH_HOOKS(test_its_death_while_it_is_idle),
		WITH_HOOKS(test_its_death_before_an_event),
		WITH_HOOKS(test_what_is_no_answer),
		WITH_HOOKS(test_reloads),
		WITH_HOOKS(test_without_a_helper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
