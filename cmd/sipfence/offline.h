/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known where no daemon runs: the config, and the state file that the last run has left. */
#ifndef SIPFENCE_OFFLINE_H
#define SIPFENCE_OFFLINE_H

#include "command.h"
#include "cycle.h"
#include "last_run.h"
#include "status.h"

struct offline {
	struct config *config;
	struct cycle cycle;
	struct last_run last_run;
	struct view view; /* of the above */
};

/* EXIT_DONE, or the exit code after a message. */
int offline_load(const struct invocation *invocation, struct offline *ret_offline);
/* The same beside a daemon that may save its state meanwhile: what is loaded is of one moment. */
int offline_load_whole(const struct invocation *invocation, struct offline *ret_offline);
void offline_clear(struct offline *offline);

#endif
