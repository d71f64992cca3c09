/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Has the helper process (helper.h) run the program of `on-change` for events: the daemon's side.
 *
 * One at a time and in their order for each host (those without a host count as one),
 * HELPER_RUNNING at a time in all. HOOKS_WAITING events may wait; what does not fit is dropped,
 * counted, and said. Nothing here waits, and no hook holds up the list: an event comes here when
 * the engine has said it. Which events: change, state, flapping, table, damage, shut-out, dns,
 * geoip, reload, config, kernel, save, security-log, takeover but for those that are only noticed,
 * evict, and acl but for what is only information; also those that the log leaves out, since there
 * are too many.
 *
 * Logs `event=hook` by itself. When the helper has died nobody can start it again: the daemon goes
 * on without hooks.
 */
#ifndef SIPFENCE_HOOKS_H
#define SIPFENCE_HOOKS_H

#include "engine.h"
#include "error.h"
#include "event.h"
#include "helper.h"
#include "loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HOOKS_WAITING = 1000 };

struct hooks;

struct hooks_options {
	struct loop *loop; /* kept */
	engine_log_fn *log;
	void *context; /* for `log` */
	/* What the helper was forked with; NULL: the config asks for no hooks. Copied. */
	const char *const *on_change;
	struct helper helper; /* fd -1: it could not be started. Taken over, also on failure. */
	/* What is wrong with helper or program at the start; code 0: nothing. */
	const struct error *problem;
};

int hooks_open(struct hooks **ret_hooks, const struct hooks_options *options, struct error *error);
/* Returns NULL. The helper ends, and takes the hooks that run with it; nobody waits for them. */
struct hooks *hooks_close(struct hooks *hooks);

/* For each event that is logged; those that are of interest are queued. */
void hooks_note(struct hooks *hooks, const struct event *event, int64_t wall);
/* Sends what can be sent, and says what is due to be said. */
void hooks_tick(struct hooks *hooks, int64_t now_ms);
/* When hooks_tick() must be called, ms since boot. */
int64_t hooks_due(const struct hooks *hooks);

/*
 * A reload has brought this in. Without hooks (NULL) none run any more. Another program, or other
 * arguments, need a new helper, so they need a new daemon: that is said, and the former ones go on.
 */
void hooks_configure(struct hooks *hooks, const char *const *on_change);

struct hooks_summary {
	bool wanted;	     /* the config in force asks for hooks */
	bool alive;	     /* the helper lives */
	bool restart_needed; /* what the config asks for is not what the helper runs */
	const char *program; /* that the helper runs; NULL: none */
	size_t running, waiting;
	uint64_t done, failed, dropped; /* since the start */
};
struct hooks_summary hooks_summary(const struct hooks *hooks);

#endif
