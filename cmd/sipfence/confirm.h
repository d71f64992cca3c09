/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dead man's switch: what was changed is taken back unless somebody says yes in time. A process
 * of its own keeps watch, away from the terminal: it acts when this one is killed, stopped, cut
 * off, or stuck on a terminal that nobody reads.
 */
#ifndef SIPFENCE_CONFIRM_H
#define SIPFENCE_CONFIRM_H

#include "cycle.h"

#include <stdint.h>
#include <sys/types.h>

struct guardian {
	pid_t pid;
	int pipe; /* what we tell it */
};

/* Before the change; cycle->snapshot says what to go back to. Negative: reported, nothing started.
 */
int guardian_start(
	struct guardian *guardian, struct cycle *cycle, uint32_t seconds, struct error *error);

enum guardian_word {
	GUARDIAN_CHANGED = 'c', /* the change is in force, the time runs */
	GUARDIAN_KEEP = 'k',
	GUARDIAN_TAKE_BACK = 't',
};
void guardian_tell(const struct guardian *guardian, enum guardian_word word);

enum guardian_end {
	GUARDIAN_KEPT,
	GUARDIAN_TOOK_BACK,
	GUARDIAN_FAILED, /* it could not take back */
	GUARDIAN_LOST,	 /* somebody has ended it, and it did nothing */
};
/* Waits for its end. */
enum guardian_end guardian_end(struct guardian *guardian);

/* Asks at the terminal on standard input. True: yes, in time, and the guardian lives. */
bool confirm_at_terminal(const struct guardian *guardian, uint32_t seconds);

#endif
