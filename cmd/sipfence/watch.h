/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command prints, drawn again and again in place, on the terminal's alternate screen.
 *
 * A child draws; this process waits, and puts the terminal back whatever becomes of the child, also
 * while it waits for a daemon that does not answer.
 */
#ifndef SIPFENCE_WATCH_H
#define SIPFENCE_WATCH_H

#include "command.h"

enum { WATCH_SECONDS = 2 };

/* Stands alone in a line, before what keeps its place when there is not room for all lines. */
#define WATCH_TAIL "\f\n"

/*
 * Prints to stdout and stderr. invocation->columns and ->rows are the terminal's. The exit code
 * does not count.
 */
typedef int watch_draw_fn(const struct invocation *invocation);

/* Until q or ^C. The exit code. */
int watch_run(const struct invocation *invocation, watch_draw_fn *draw);

#endif
