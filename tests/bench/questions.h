/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the floors that ask DNS share: each is a program of one file. */
#ifndef SIPFENCE_BENCH_QUESTIONS_H
#define SIPFENCE_BENCH_QUESTIONS_H

#include <ares.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

enum {
	CLASS_IN = 1,
	TYPE_A = 1,
	TYPE_AAAA = 28,
	RECEIVE_BUFFER = 8 << 20,
};

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

/* From standard input, a name a line. */
static char **read_names(size_t *ret_count)
{
	char *line = NULL, **names = NULL;
	size_t size = 0, count = 0, capacity = 0;
	ssize_t length;

	while ((length = getline(&line, &size, stdin)) > 0) {
		if (line[length - 1] == '\n')
			line[--length] = 0;
		if (count == capacity) {
			capacity = capacity ? capacity * 2 : 1024;
			names = realloc(names, capacity * sizeof(*names));
			if (!names)
				die("memory");
		}
		names[count] = strdup(line);
		if (!names[count++])
			die("memory");
	}
	free(line);
	*ret_count = count;
	return names;
}

/* Room for the answers to all that is under way. */
static int on_socket(ares_socket_t fd, int type, void *context)
{
	int size = RECEIVE_BUFFER;

	(void)type;
	(void)context;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return 0;
}

#endif
