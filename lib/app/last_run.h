/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is who is let in still as the last run has left it? For a machine where no daemon watches the
 * table. What was put in force is what state file and config say together, at the time of that run:
 * neither what DNS says by now nor what has aged since is of account.
 */
#ifndef SIPFENCE_LAST_RUN_H
#define SIPFENCE_LAST_RUN_H

#include "config.h"
#include "drift.h"
#include "kernel.h"
#include "ruleset.h"

#include <stdbool.h>

struct last_run {
	bool known; /* the rest is worth something */
	struct drift drift;
	struct ruleset *ruleset; /* what was put in force; `drift` points into it */
};

/*
 * Nothing is known where there was no run, or it did not finish what it had begun, where the config
 * permits others since, where another sipfence is at work, where the kernel may not be read, and of
 * a table that is not there or has other rules than the config asks for. -ENOMEM. last_run_clear()
 * it.
 */
int last_run_look(const struct config *config, const char *state_dir, const char *run_dir,
	struct kernel *kernel, struct last_run *ret_run);
void last_run_clear(struct last_run *run);

#endif
