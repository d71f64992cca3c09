/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real descriptors. The system calls that must not happen are counted on their way (--wrap). */
#include "check.h"

#include "clock.h"
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct epoll_event;

static unsigned timer_calls, epoll_calls;

int __real_timerfd_settime(
	int fd, int flags, const struct itimerspec *when, struct itimerspec *old);
int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *when, struct itimerspec *old);
int __real_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
	timer_calls++;
	return __real_timerfd_settime(fd, flags, when, old);
}

int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
	epoll_calls++;
	return __real_epoll_ctl(epoll_fd, operation, fd, event);
}

static struct loop *new_loop(void)
{
	struct loop *loop = NULL;

	assert_int_equal(loop_new(&loop, NULL), 0);
	return loop;
}

static void wait_once(struct loop *loop)
{
	assert_int_equal(loop_wait(loop, NULL), 0);
}

/* A test that would wait for ever ends by SIGALRM. */
static int set_up(void **state)
{
	(void)state;
	alarm(60);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	alarm(0);
	return 0;
}

struct seen {
	unsigned calls, events;
	int fd;
};

static void note(void *context, int fd, unsigned events)
{
	struct seen *seen = context;

	seen->calls++;
	seen->fd = fd;
	seen->events = events;
}

static void note_and_read(void *context, int fd, unsigned events)
{
	char byte;

	note(context, fd, events);
	assert_int_equal(read(fd, &byte, 1), 1);
}

static void make_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
}

static void close_pipe(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void test_events(void **state)
{
	struct loop *loop = new_loop();
	struct seen seen = {0};
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(loop_watch(loop, pair[0], LOOP_READ, note_and_read, &seen), 0);
	assert_int_equal(write(pair[1], "a", 1), 1);
	wait_once(loop);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.fd, pair[0]);
	assert_int_equal(seen.events, LOOP_READ);
	loop_forget(loop, pair[0]);

	assert_int_equal(loop_watch(loop, pair[0], LOOP_WRITE, note, &seen), 0);
	wait_once(loop);
	assert_int_equal(seen.calls, 2);
	assert_int_equal(seen.events, LOOP_WRITE);
	assert_int_equal(loop_change(loop, pair[0], 0), 0);
	close(pair[1]);
	wait_once(loop);
	assert_int_equal(seen.calls, 3);
	assert_int_equal(seen.events, LOOP_HANGUP);
	loop_free(loop);
	close(pair[0]);
}

/* A shut-down of one direction is no hang-up: who has asked may still read the answer. */
static void test_half_closed(void **state)
{
	struct loop *loop = new_loop();
	struct seen seen = {0};
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(loop_watch(loop, pair[0], 0, note, &seen), 0);
	shutdown(pair[1], SHUT_WR);
	loop_set_timer(loop, 0);
	wait_once(loop);
	assert_int_equal(seen.calls, 0);
	loop_free(loop);
	close(pair[0]);
	close(pair[1]);
}

static void test_wrong_use(void **state)
{
	struct loop *loop = new_loop();
	struct seen seen;
	int fds[2], file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	(void)state;
	make_pipe(fds);
	assert_int_equal(loop_watch(loop, -1, LOOP_READ, note, &seen), -EBADF);
	assert_int_equal(loop_watch(loop, file, LOOP_READ, note, &seen), -EPERM);
	assert_int_equal(loop_watch(loop, fds[0], LOOP_READ, note, &seen), 0);
	assert_int_equal(loop_watch(loop, fds[0], LOOP_READ, note, &seen), -EEXIST);
	assert_int_equal(loop_change(loop, fds[1], LOOP_READ), -ENOENT);
	assert_int_equal(loop_change(loop, -1, LOOP_READ), -ENOENT);
	loop_forget(loop, fds[0]);
	loop_forget(loop, fds[0]);
	loop_forget(loop, -1);
	loop_forget(loop, 100000);
	assert_int_equal(loop_change(loop, fds[0], LOOP_READ), -ENOENT);
	assert_int_equal(loop_watch(loop, fds[0], LOOP_READ, note, &seen), 0);
	loop_free(loop);
	close(file);
	close_pipe(fds);
}

static void test_same_events_cost_nothing(void **state)
{
	struct loop *loop = new_loop();
	struct seen seen;
	int fds[2];

	(void)state;
	make_pipe(fds);
	assert_int_equal(loop_watch(loop, fds[0], LOOP_READ, note, &seen), 0);
	epoll_calls = 0;
	assert_int_equal(loop_change(loop, fds[0], LOOP_READ), 0);
	assert_int_equal(epoll_calls, 0);
	assert_int_equal(loop_change(loop, fds[0], 0), 0);
	assert_int_equal(epoll_calls, 1);
	loop_free(loop);
	close_pipe(fds);
}

/* Two that are ready in the same round; whichever is called first ends the other one. */
struct rival {
	struct loop *loop;
	struct rival *other;
	int fds[2];
	int fresh[2]; /* takes the number of the other one's fd */
	unsigned calls;
	struct seen seen;
};

static void end_rival(void *context, int fd, unsigned events)
{
	struct rival *rival = context, *other = rival->other;
	int number = other->fds[0];

	(void)fd;
	(void)events;
	rival->calls++;
	loop_forget(rival->loop, number);
	close(number);
	make_pipe(rival->fresh);
	assert_int_equal(rival->fresh[0], number);
	assert_int_equal(
		loop_watch(rival->loop, number, LOOP_READ, note_and_read, &rival->seen), 0);
	loop_forget(rival->loop, rival->fds[0]);
}

static void test_reused_number(void **state)
{
	struct loop *loop = new_loop();
	struct rival a = {.loop = loop}, b = {.loop = loop, .other = &a}, *winner;

	(void)state;
	a.other = &b;
	make_pipe(a.fds);
	make_pipe(b.fds);
	assert_int_equal(loop_watch(loop, a.fds[0], LOOP_READ, end_rival, &a), 0);
	assert_int_equal(loop_watch(loop, b.fds[0], LOOP_READ, end_rival, &b), 0);
	assert_int_equal(write(a.fds[1], "a", 1), 1);
	assert_int_equal(write(b.fds[1], "b", 1), 1);
	wait_once(loop);
	assert_int_equal(a.calls + b.calls, 1);
	winner = a.calls ? &a : &b;
	assert_int_equal(winner->seen.calls, 0);
	assert_int_equal(write(winner->fresh[1], "c", 1), 1);
	wait_once(loop);
	assert_int_equal(winner->seen.calls, 1);
	assert_int_equal(a.calls + b.calls, 1);
	loop_free(loop);
	close_pipe(winner->fds);
	close(winner->other->fds[1]);
	close_pipe(winner->fresh);
}

static void forget_itself(void *context, int fd, unsigned events)
{
	struct rival *rival = context;

	(void)events;
	rival->calls++;
	loop_forget(rival->loop, fd);
	/* The watches move in memory while one of them is being called. */
	for (int i = 0; i < 2; i++)
		assert_int_equal(dup2(fd, 600 + i), 600 + i);
	assert_int_equal(loop_watch(rival->loop, 600, LOOP_READ, note, &rival->seen), 0);
	assert_int_equal(loop_watch(rival->loop, 601, 0, note, &rival->seen), 0);
}

static void test_forget_itself(void **state)
{
	struct loop *loop = new_loop();
	struct rival rival = {.loop = loop};

	(void)state;
	make_pipe(rival.fds);
	assert_int_equal(loop_watch(loop, rival.fds[0], LOOP_READ, forget_itself, &rival), 0);
	assert_int_equal(write(rival.fds[1], "a", 1), 1);
	wait_once(loop);
	wait_once(loop);
	assert_int_equal(rival.calls, 1);
	assert_int_equal(rival.seen.calls, 1);
	assert_int_equal(rival.seen.fd, 600);
	loop_free(loop);
	close_pipe(rival.fds);
	close(600);
	close(601);
}

enum { MANY = 300 };

static void test_many(void **state)
{
	struct loop *loop = new_loop();
	static struct seen seen[MANY];
	static int fds[MANY][2];

	(void)state;
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < MANY; i++) {
		make_pipe(fds[i]);
		assert_int_equal(
			loop_watch(loop, fds[i][0], LOOP_READ, note_and_read, &seen[i]), 0);
		assert_int_equal(write(fds[i][1], "a", 1), 1);
	}
	for (int round = 0; round < MANY; round++) {
		unsigned left = 0;

		for (int i = 0; i < MANY; i++)
			left += seen[i].calls == 0;
		if (left == 0)
			break;
		wait_once(loop);
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(seen[i].calls, 1);
		assert_int_equal(seen[i].fd, fds[i][0]);
		close_pipe(fds[i]);
	}
	loop_free(loop);
}

static void test_timer(void **state)
{
	struct loop *loop = new_loop();
	int64_t start = clock_boot_ms();

	(void)state;
	assert_int_equal(loop_set_timer(loop, start + 30), 0);
	wait_once(loop); /* once: it does not return before its time */
	assert_true(clock_boot_ms() >= start + 30);
	assert_true(clock_boot_ms() < start + 20000);
	for (int64_t past = -1; past <= 1; past++) {
		assert_int_equal(loop_set_timer(loop, past), 0);
		wait_once(loop);
	}
	assert_int_equal(loop_set_timer(loop, INT64_MIN), 0);
	wait_once(loop);
	/* The same one again, after it has passed. */
	assert_int_equal(loop_set_timer(loop, start), 0);
	wait_once(loop);
	assert_int_equal(loop_set_timer(loop, start), 0);
	wait_once(loop);
	loop_free(loop);
}

static void test_timer_replaced(void **state)
{
	struct loop *loop = new_loop();
	int64_t start = clock_boot_ms();

	(void)state;
	assert_int_equal(loop_set_timer(loop, 1), 0); /* would be at once */
	assert_int_equal(loop_set_timer(loop, start + 30), 0);
	wait_once(loop);
	assert_true(clock_boot_ms() >= start + 30);
	assert_int_equal(loop_set_timer(loop, clock_boot_ms() + 3600000), 0);
	start = clock_boot_ms();
	assert_int_equal(loop_set_timer(loop, start + 30), 0);
	wait_once(loop);
	assert_true(clock_boot_ms() >= start + 30);
	loop_free(loop);
}

static void set_far_timer(void *context, int fd, unsigned events)
{
	char byte;

	(void)events;
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(loop_set_timer(context, INT64_MAX - 1), 0);
}

/* A timer that has run out, and is set anew by somebody else of the same round, is not lost. */
static void test_timer_set_in_the_round(void **state)
{
	struct loop *loop = new_loop();
	int fds[2];

	(void)state;
	make_pipe(fds);
	assert_int_equal(loop_watch(loop, fds[0], LOOP_READ, set_far_timer, loop), 0);
	assert_int_equal(write(fds[1], "a", 1), 1);
	assert_int_equal(loop_set_timer(loop, 1), 0);
	wait_once(loop);
	timer_calls = 0;
	assert_int_equal(loop_set_timer(loop, INT64_MAX - 1), 0);
	assert_int_equal(timer_calls, 0);
	assert_int_equal(loop_set_timer(loop, 1), 0);
	wait_once(loop);
	loop_free(loop);
	close_pipe(fds);
}

static void test_same_timer_costs_nothing(void **state)
{
	struct loop *loop = new_loop();
	int64_t later = clock_boot_ms() + 3600000;

	(void)state;
	timer_calls = 0;
	assert_int_equal(loop_set_timer(loop, INT64_MAX), 0);
	assert_int_equal(timer_calls, 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loop_set_timer(loop, later), 0);
	assert_int_equal(timer_calls, 1);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loop_set_timer(loop, INT64_MAX), 0);
	assert_int_equal(timer_calls, 2);
	loop_free(loop);
}

/* A process that waits, and counts the ends of its waits where we see them. */
static void wait_and_count(volatile unsigned *rounds, int fd)
{
	struct loop *loop = NULL;
	struct seen seen = {0};

	if (loop_new(&loop, NULL) < 0 || loop_watch(loop, fd, LOOP_READ, note_and_read, &seen) < 0)
		_exit(1);
	loop_set_timer(loop, clock_boot_ms() + 3600000);
	loop_set_timer(loop, INT64_MAX);
	for (;;) {
		if (loop_wait(loop, NULL) < 0)
			_exit(1);
		++*rounds;
	}
}

static void test_no_wake_up_at_rest(void **state)
{
	volatile unsigned *rounds = mmap(
		NULL, sizeof(*rounds), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned seen[3];
	int fds[2];
	pid_t child;

	(void)state;
	assert_true(rounds != MAP_FAILED);
	make_pipe(fds);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		wait_and_count(rounds, fds[0]);
	for (unsigned i = 0; i < 3; i++) {
		(void)!write(fds[1], "a", 1);
		for (int tries = 0; *rounds <= i && tries < 1000; tries++)
			usleep(10000);
		usleep(300000);
		seen[i] = *rounds;
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close_pipe(fds);
	munmap((void *)rounds, sizeof(*rounds));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(seen[i], i + 1);
}

struct signals {
	unsigned count[SIGTERM + 1], other;
};

static void note_signal(void *context, int signal)
{
	struct signals *signals = context;

	if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP)
		signals->count[signal]++;
	else
		signals->other++;
}

static void test_signals(void **state)
{
	struct loop *loop = new_loop();
	struct signals signals = {0};
	struct sigaction pipe_action;
	sigset_t before, after;
	int fds[2];

	(void)state;
	sigprocmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(loop_signals(loop, note_signal, &signals, NULL), 0);
	assert_int_equal(loop_signals(loop, note_signal, &signals, NULL), -EALREADY);
	kill(getpid(), SIGHUP);
	wait_once(loop);
	assert_int_equal(signals.count[SIGHUP], 1);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGINT);
	wait_once(loop);
	assert_int_equal(signals.count[SIGTERM], 1);
	assert_int_equal(signals.count[SIGINT], 1);
	assert_int_equal(signals.count[SIGHUP], 1);
	assert_int_equal(signals.other, 0);

	make_pipe(fds);
	close(fds[0]);
	assert_int_equal(write(fds[1], "a", 1), -1);
	assert_int_equal(errno, EPIPE);
	close(fds[1]);

	loop_free(loop);
	sigprocmask(SIG_SETMASK, NULL, &after);
	for (int i = 1; i < SIGRTMIN; i++)
		assert_int_equal(sigismember(&before, i), sigismember(&after, i));
	sigaction(SIGPIPE, NULL, &pipe_action);
	assert_true(pipe_action.sa_handler == SIG_DFL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_events, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_half_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wrong_use, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_same_events_cost_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reused_number, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forget_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_timer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_timer_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_timer_set_in_the_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_same_timer_costs_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_wake_up_at_rest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_signals, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
