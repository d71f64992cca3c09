/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a program and writes what it cost:
 *
 *     spawn FILE PROGRAM [ARGUMENT…]
 *
 * FILE gets one line of JSON: wall and CPU seconds, peak memory in bytes, exit status. A program of
 * its own, because Linux counts the memory of whoever starts a process into that process' peak
 * (exec keeps the high-water mark of the memory that it replaces): this one is tiny.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double timeval_seconds(struct timeval value)
{
	return (double)value.tv_sec + (double)value.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid;

	if (argc < 3)
		return 2;
	double start = seconds();
	int result = posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environ);
	if (result) {
		fprintf(stderr, "spawn: %s: %s\n", argv[2], strerror(result));
		return 2;
	}
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			return 2;
	double wall = seconds() - start;
	FILE *file = fopen(argv[1], "we");
	if (!file)
		return 2;
	fprintf(file, "{\"wall\": %.6f, \"cpu\": %.6f, \"rss\": %ld, \"code\": %d}\n", wall,
		timeval_seconds(usage.ru_utime) + timeval_seconds(usage.ru_stime),
		usage.ru_maxrss * 1024, WIFEXITED(status) ? WEXITSTATUS(status) : 128);
	return fclose(file) ? 2 : 0;
}
