/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper_frame.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

void helper_frame_end(struct helper_frame *frame, int exit_code)
{
	if (!frame->done)
		frame->exit_code = exit_code;
	frame->done = true;
}

/* --- Messages --- */

bool helper_frame_receive(struct helper_frame *frame, struct helper_packet *packet,
	struct helper_message *ret_message)
{
	int result;

	/* The daemon's death: the socket says so as well, unless somebody has got hold of its other
	 * end. */
	if (getppid() != frame->parent)
		helper_frame_end(frame, EXIT_SUCCESS);
	if (frame->done)
		return false;
	result = helper_talk_receive(frame->socket, packet, ret_message);
	if (result < 0 && result != -EAGAIN)
		helper_frame_end(frame, result == -EBADMSG ? EXIT_FAILURE : EXIT_SUCCESS);
	return result == 0;
}

bool helper_frame_send(struct helper_frame *frame, const struct helper_message *message)
{
	int result = frame->done ? -EPIPE : helper_talk_send(frame->socket, message);

	if (result < 0 && result != -EAGAIN)
		helper_frame_end(frame, EXIT_FAILURE);
	return result == 0;
}

/* --- The loop --- */

static int poll_timeout(int64_t due)
{
	int64_t now = clock_boot_ms();

	if (due == INT64_MAX)
		return -1;
	return due <= now ? 0 : (int)(due - now);
}

void helper_frame_wait(const struct helper_frame *frame, const struct pollfd *fds, nfds_t count,
	int64_t due, bool writing)
{
	struct pollfd all[2 + HELPER_FRAME_FDS];
	struct signalfd_siginfo info;

	all[0] = (struct pollfd){.fd = frame->signals, .events = POLLIN};
	all[1] = (struct pollfd){.fd = frame->done ? -1 : frame->socket,
		.events = (short)(POLLIN | (writing ? POLLOUT : 0))};
	if (count > 0)
		memcpy(all + 2, fds, count * sizeof(*fds));
	if (poll(all, 2 + count, poll_timeout(due)) > 0 && all[0].revents) {
		while (read(frame->signals, &info, sizeof(info)) > 0)
			;
	}
}

/* --- The process --- */

static int set_signals(void)
{
	static const int ignored[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR2};
	sigset_t signals;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Leaves 0, 1 and 2 open, the first two on nothing; `socket` becomes 3. */
static int set_descriptors(int socket)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		return -errno;
	if (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0)
		return -errno;
	if (socket != 3 && dup3(socket, 3, O_CLOEXEC) < 0)
		return -errno;
	if (syscall(SYS_close_range, 4U, ~0U, 0U) < 0) {
		for (int fd = 4; fd < 1024; fd++)
			close(fd);
	}
	return 3;
}

static _Noreturn void run(
	const char *name, int socket, helper_work_fn *work, void *context, pid_t parent)
{
	struct helper_frame frame = {.parent = parent};

	prctl(PR_SET_NAME, name);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	/* Under a unit it has the daemon's user, who must not reach into its memory. */
	prctl(PR_SET_DUMPABLE, 0);
	setsid();
#ifdef __GLIBC__
	/* What the daemon has freed, and uses again, would stay here as a copy. */
	malloc_trim(0);
#endif
	frame.socket = set_descriptors(socket);
	frame.signals = set_signals();
	if (frame.socket < 0 || frame.signals < 0 || chdir("/") < 0)
		_exit(EXIT_FAILURE);
	work(&frame, context);
	/* Not exit(): buffers and handlers are the daemon's. */
	_exit(frame.exit_code);
}

int helper_frame_start(const char *name, const char *purpose, helper_work_fn *work, void *context,
	struct helper *ret_helper, struct error *error)
{
	pid_t parent = getpid(), pid = -1;
	int pair[2], number;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0) {
		pid = fork();
		if (pid == 0)
			run(name, pair[1], work, context, parent);
		number = errno;
		close(pair[1]);
		if (pid < 0)
			close(pair[0]);
		errno = number;
	}
	if (pid < 0)
		return error_set(error, -errno, "see what it lacks (ulimit -a), then restart",
			"the helper process %s cannot be started: %s", purpose, strerror(errno));
	*ret_helper = (struct helper){.fd = pair[0], .pid = pid};
	return 0;
}
