/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "confirm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum { WORD_NONE = 0, WORD_END = 'e' };

/* The next word; WORD_NONE: the time is up; WORD_END: there is nobody left to say one. `end`: 0 for
 * no limit. */
static char next_word(int pipe, int64_t end)
{
	for (;;) {
		struct pollfd ready = {.fd = pipe, .events = POLLIN};
		int64_t left = end - monotonic_ms();
		ssize_t size;
		char word;

		if (left <= 0)
			return WORD_NONE;
		if (poll(&ready, 1, (int)left) < 0 && errno != EINTR)
			return WORD_END;
		if (!ready.revents)
			continue;
		size = read(pipe, &word, 1);
		if (size < 0 && errno == EINTR)
			continue;
		return size == 1 ? word : WORD_END;
	}
}

/* Keeps nothing of the parent's but the lock and the pipe: no session, no terminal, no signals. */
static void detach(void)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU,
		SIGUSR1, SIGUSR2, SIGPIPE};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
}

/* A parent that is stopped, or stuck on its terminal, would keep the lock for ever. */
static void end_silent_parent(pid_t parent, int pipe)
{
	enum { GRACE_MS = 500 };

	if (next_word(pipe, monotonic_ms() + GRACE_MS) == WORD_NONE && getppid() == parent)
		kill(parent, SIGKILL);
}

static int watch(struct cycle *cycle, pid_t parent, int pipe, uint32_t seconds)
{
	struct kernel *kernel = NULL;
	struct error error = {0};
	char word = next_word(pipe, monotonic_ms() + (int64_t)seconds * 1000);
	int code = GUARDIAN_FAILED;

	if (word == GUARDIAN_CHANGED)
		word = next_word(pipe, monotonic_ms() + (int64_t)seconds * 1000);
	if (word == GUARDIAN_KEEP)
		return GUARDIAN_KEPT;
	if (kernel_open(&kernel, &error) == 0 && cycle_take_back(cycle, kernel, &error) == 0)
		code = GUARDIAN_TOOK_BACK;
	kernel_close(kernel);
	if (word == WORD_NONE)
		end_silent_parent(parent, pipe);
	return code;
}

int guardian_start(
	struct guardian *guardian, struct cycle *cycle, uint32_t seconds, struct error *error)
{
	pid_t pid, parent = getpid();
	sigset_t all, before;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(error, -errno, "", "cannot make a pipe: %s", strerror(errno));
	/* Until it is detached, what ends us must not end it. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		detach();
		sigprocmask(SIG_SETMASK, &before, NULL);
		_exit(watch(cycle, parent, ends[0], seconds));
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0) {
		int number = errno;

		close(ends[0]);
		close(ends[1]);
		return error_set(error, -number, "",
			"cannot start the process that takes the change back: %s",
			strerror(number));
	}
	close(ends[0]);
	*guardian = (struct guardian){.pid = pid, .pipe = ends[1]};
	return 0;
}

void guardian_tell(const struct guardian *guardian, enum guardian_word word)
{
	char byte = (char)word;

	/* If this fails, the guardian is gone, and guardian_end() says so. */
	while (write(guardian->pipe, &byte, 1) < 0 && errno == EINTR)
		;
}

enum guardian_end guardian_end(struct guardian *guardian)
{
	int status = 0;

	close(guardian->pipe);
	while (waitpid(guardian->pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? (enum guardian_end)WEXITSTATUS(status) : GUARDIAN_LOST;
}

/* 1 yes, -1 no or no more to come, 0 something else. */
static int read_answer(void)
{
	char line[64];
	ssize_t size = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (size <= 0)
		return size < 0 && errno == EINTR ? 0 : -1;
	line[size] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	if (strcasecmp(line, "no") == 0 || strcasecmp(line, "n") == 0)
		return -1;
	return strcasecmp(line, "yes") == 0 || strcasecmp(line, "y") == 0;
}

bool confirm_at_terminal(const struct guardian *guardian, uint32_t seconds)
{
	int64_t end = monotonic_ms() + (int64_t)seconds * 1000, left;

	/* What was typed before the question is no answer to it. */
	tcflush(STDIN_FILENO, TCIFLUSH);
	fprintf(stderr,
		"The new table is in force. Type yes and Enter within %u s to keep it; else it is "
		"taken back.\n",
		seconds);
	while ((left = end - monotonic_ms()) > 0) {
		struct pollfd ready[] = {
			{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = guardian->pipe}};
		int answer;

		if (poll(ready, 2, (int)left) < 0 && errno != EINTR)
			return false;
		if (ready[1].revents) /* it is gone, and nobody keeps watch any more */
			return false;
		if (!ready[0].revents)
			continue;
		answer = read_answer();
		if (answer != 0)
			return answer > 0;
		fprintf(stderr, "Type yes to keep it, no to take it back now.\n");
	}
	return false;
}
