/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * epoll gives back 64 bits of ours: the fd, and the number of the watch that it was for. A watch
 * that has been forgotten, or whose fd belongs to a newer one, is known by that number.
 */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64 };

struct watch {
	loop_fn *call; /* NULL: not watched */
	void *context;
	uint32_t number;
	uint32_t events;
};

struct loop {
	int epoll_fd, timer_fd, signal_fd;
	int64_t timer;	       /* what the kernel's is set to */
	struct watch *watches; /* by fd */
	size_t watch_size;
	uint32_t last_number;
	loop_signal_fn *signal;
	void *signal_context;
	sigset_t old_mask;
	struct sigaction old_pipe;
};

static struct watch *find(const struct loop *loop, int fd)
{
	if (fd < 0 || (size_t)fd >= loop->watch_size || !loop->watches[fd].call)
		return NULL;
	return &loop->watches[fd];
}

static int reserve(struct loop *loop, int fd)
{
	size_t size = loop->watch_size ? loop->watch_size : 64;
	struct watch *watches;

	if (fd < 0)
		return -EBADF;
	while (size <= (size_t)fd)
		size *= 2;
	if (size == loop->watch_size)
		return 0;
	watches = realloc(loop->watches, size * sizeof(*watches));
	if (!watches)
		return -ENOMEM;
	memset(watches + loop->watch_size, 0, (size - loop->watch_size) * sizeof(*watches));
	loop->watches = watches;
	loop->watch_size = size;
	return 0;
}

static int set(struct loop *loop, int operation, int fd, uint32_t number, unsigned events)
{
	struct epoll_event event = {
		.events =
			(events & LOOP_READ ? EPOLLIN : 0u) | (events & LOOP_WRITE ? EPOLLOUT : 0u),
		.data.u64 = (uint64_t)number << 32 | (uint32_t)fd,
	};

	return epoll_ctl(loop->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

int loop_watch(struct loop *loop, int fd, unsigned events, loop_fn *call, void *context)
{
	uint32_t number = loop->last_number + 1;
	int result = reserve(loop, fd);

	if (result == 0 && find(loop, fd))
		result = -EEXIST;
	if (result == 0)
		result = set(loop, EPOLL_CTL_ADD, fd, number, events);
	if (result < 0)
		return result;
	loop->last_number = number;
	loop->watches[fd] = (struct watch){call, context, number, events};
	return 0;
}

int loop_change(struct loop *loop, int fd, unsigned events)
{
	struct watch *watch = find(loop, fd);
	int result;

	if (!watch)
		return -ENOENT;
	if (watch->events == events)
		return 0;
	result = set(loop, EPOLL_CTL_MOD, fd, watch->number, events);
	if (result == 0)
		watch->events = events;
	return result;
}

void loop_forget(struct loop *loop, int fd)
{
	struct watch *watch = find(loop, fd);

	if (!watch)
		return;
	watch->call = NULL;
	set(loop, EPOLL_CTL_DEL, fd, 0, 0);
}

int loop_set_timer(struct loop *loop, int64_t boot_ms)
{
	struct itimerspec when = {0};

	if (boot_ms < 1)
		boot_ms = 1; /* 0 would stop the timer */
	if (boot_ms == loop->timer)
		return 0;
	if (boot_ms != INT64_MAX) {
		when.it_value.tv_sec = boot_ms / 1000;
		when.it_value.tv_nsec = boot_ms % 1000 * 1000000;
	}
	if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		return -errno;
	loop->timer = boot_ms;
	return 0;
}

static void on_timer(void *context, int fd, unsigned events)
{
	struct loop *loop = context;
	uint64_t expirations;

	(void)events;
	/* Nothing to read: it was set anew meanwhile. */
	if (read(fd, &expirations, sizeof(expirations)) == (ssize_t)sizeof(expirations))
		loop->timer = INT64_MAX;
}

static void on_signal(void *context, int fd, unsigned events)
{
	struct loop *loop = context;
	struct signalfd_siginfo info;

	(void)events;
	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->signal(loop->signal_context, (int)info.ssi_signo);
}

int loop_signals(struct loop *loop, loop_signal_fn *call, void *context, struct error *error)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t mask;
	int result;

	if (loop->signal_fd >= 0)
		return error_set(error, -EALREADY, "", "signals are taken already");
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	loop->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0) {
		result = -errno;
		return error_set(
			error, result, "", "cannot wait for signals: %s", strerror(-result));
	}
	result = loop_watch(loop, loop->signal_fd, LOOP_READ, on_signal, loop);
	if (result < 0) {
		close(loop->signal_fd);
		loop->signal_fd = -1;
		return error_set(
			error, result, "", "cannot wait for signals: %s", strerror(-result));
	}
	loop->signal = call;
	loop->signal_context = context;
	sigprocmask(SIG_BLOCK, &mask, &loop->old_mask);
	sigaction(SIGPIPE, &ignore, &loop->old_pipe);
	return 0;
}

int loop_new(struct loop **ret_loop, struct error *error)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int result = 0;

	if (!loop)
		return error_no_memory(error);
	loop->timer = INT64_MAX;
	loop->signal_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->timer_fd < 0)
		result = -errno;
	if (result == 0)
		result = loop_watch(loop, loop->timer_fd, LOOP_READ, on_timer, loop);
	if (result < 0) {
		loop_free(loop);
		return error_set(error, result, "see how many files it may have open (ulimit -n)",
			"cannot make the loop: %s", strerror(-result));
	}
	*ret_loop = loop;
	return 0;
}

struct loop *loop_free(struct loop *loop)
{
	if (!loop)
		return NULL;
	if (loop->signal_fd >= 0) {
		close(loop->signal_fd);
		sigprocmask(SIG_SETMASK, &loop->old_mask, NULL);
		sigaction(SIGPIPE, &loop->old_pipe, NULL);
	}
	if (loop->timer_fd >= 0)
		close(loop->timer_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop->watches);
	free(loop);
	return NULL;
}

static void deliver(const struct loop *loop, const struct epoll_event *event)
{
	int fd = (int)(uint32_t)event->data.u64;
	const struct watch *watch = find(loop, fd);
	unsigned events = 0;

	if (!watch || watch->number != (uint32_t)(event->data.u64 >> 32))
		return;
	if (event->events & EPOLLIN)
		events |= LOOP_READ;
	if (event->events & EPOLLOUT)
		events |= LOOP_WRITE;
	if (event->events & (EPOLLHUP | EPOLLERR))
		events |= LOOP_HANGUP;
	watch->call(watch->context, fd, events);
}

int loop_wait(struct loop *loop, struct error *error)
{
	struct epoll_event events[EVENTS];
	int count;

	do
		count = epoll_wait(loop->epoll_fd, events, EVENTS, -1);
	while (count < 0 && errno == EINTR);
	if (count < 0) {
		int number = errno;

		return error_set(
			error, -number, "", "cannot wait for events: %s", strerror(number));
	}
	for (int i = 0; i < count; i++)
		deliver(loop, &events[i]);
	return 0;
}
