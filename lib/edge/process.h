/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program that runs beside us, for a limited time. Nothing here waits.
 *
 *     process_start(&process, &options, now, &error);
 *     until process_end() says that it has ended:
 *             poll() process_fds() and SIGCHLD, until process_due() at the latest
 *             process_read(process);
 *             process_tick(process, now);
 *     process_free(process);
 *
 * It gets its arguments, its environment and its standard input, and nothing else of ours: no
 * descriptor, no signal that is blocked or ignored; umask 022, working folder /. It has a process
 * group of its own. When it takes too long the group gets SIGTERM, and later SIGKILL. When the
 * program itself has ended, what is left of its group is killed; what shall go on needs setsid(1).
 * When the process that has started it dies, the kernel kills it.
 *
 * The caller has standard input, output and error open, leaves SIGCHLD at its default, and does not
 * wait for children by itself. Times are ms since boot (clock.h).
 */
#ifndef SIPFENCE_PROCESS_H
#define SIPFENCE_PROCESS_H

#include "error.h"
#include "text.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct process;

struct process_options {
	const char *path;
	const char *const *arguments;	/* the program's name first, ended by NULL */
	const char *const *environment; /* NAME=value, ended by NULL */
	const void *input;		/* of standard input; copied */
	size_t input_length;
	int64_t limit_ms;   /* then it is told to end */
	int64_t grace_ms;   /* then it is killed */
	size_t output_most; /* bytes of standard output that process_output() gives; 0: none */
};

enum { PROCESS_FDS = 2, PROCESS_LINE_SIZE = 256 };

enum process_outcome {
	PROCESS_EXITED,	     /* code: the exit code */
	PROCESS_SIGNALLED,   /* code: the signal */
	PROCESS_TIMED_OUT,   /* it was told to end; code: 0 */
	PROCESS_NOT_STARTED, /* code: the errno of execve() */
};

struct process_result {
	enum process_outcome outcome;
	int code;
	int64_t milliseconds;
	/* The last line that is not blank, of standard error, or else of standard output. Raw bytes
	 * without NUL; long ones are cut. */
	char line[PROCESS_LINE_SIZE];
	bool cut; /* there was more standard output than process_output() gives */
};

/* Negative: there is no child. That the program can't be executed is told by process_end(). */
int process_start(struct process **ret_process, const struct process_options *options,
	int64_t now_ms, struct error *error);
/* Returns NULL. Kills it, if it has not ended. */
struct process *process_free(struct process *process);

/* What process_read() reads of; those that are closed have fd -1. */
void process_fds(const struct process *process, struct pollfd fds[PROCESS_FDS]);
void process_read(struct process *process);

/* When process_tick() must be called; INT64_MAX: never. */
int64_t process_due(const struct process *process);
void process_tick(struct process *process, int64_t now_ms);
/* As if its time were over. */
void process_stop(struct process *process, int64_t now_ms);

/* True when it has ended; it stays so. */
bool process_end(struct process *process, int64_t now_ms, struct process_result *ret_result);

/* Its standard output so far; `failed`: without memory for all of it. Valid until process_free().
 */
const struct text *process_output(const struct process *process);

/*
 * All of the above: starts it, and waits for its end, which comes soon once its output is cut.
 * `output` takes its standard output, and replaces what it held. Negative: it was not started, or
 * there is no memory.
 */
int process_run(const struct process_options *options, struct text *output,
	struct process_result *ret_result, struct error *error);

#endif
