/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "confirm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static int64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 1 yes, 0 something else, -1 no more to come. */
static int read_answer(void)
{
	char line[64];
	ssize_t size = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (size <= 0)
		return size < 0 && errno == EINTR ? 0 : -1;
	line[size] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	return strcasecmp(line, "yes") == 0 || strcasecmp(line, "y") == 0;
}

bool confirm_at_terminal(uint32_t seconds)
{
	int64_t end = monotonic_ms() + (int64_t)seconds * 1000, left;
	struct pollfd ready[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.events = POLLIN}};
	sigset_t ends, before;
	bool confirmed = false;

	sigemptyset(&ends);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, &before);
	ready[1].fd = signalfd(-1, &ends, SFD_CLOEXEC);
	fprintf(stderr,
		"The new table is in force. Type yes and Enter within %u s to keep it; else it is "
		"taken back.\n",
		seconds);
	while (!confirmed && (left = end - monotonic_ms()) > 0) {
		int answer;

		if (poll(ready, 2, (int)left) < 0 && errno != EINTR)
			break;
		if (ready[1].revents)
			break;
		if (!ready[0].revents)
			continue;
		answer = read_answer();
		if (answer < 0)
			break;
		confirmed = answer > 0;
		if (!confirmed)
			fprintf(stderr, "Type yes to keep it.\n");
	}
	if (ready[1].fd >= 0)
		close(ready[1].fd);
	/* A pending signal would end the process before the table is taken back. */
	if (confirmed)
		sigprocmask(SIG_SETMASK, &before, NULL);
	return confirmed;
}
