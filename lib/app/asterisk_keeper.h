/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps Asterisk's ACLs what the list says, without doing anything itself: it says what is to be
 * done next, one task at a time, and is told what came of it. It reads no clock.
 *
 *   what is wanted has changed -> write the file -> reload -> show each ACL that changed, compare
 *     all equal  -> in force; then, if asked for, contacts -> evict those that don't fit
 *     not equal  -> a second look, then an alarm (event=acl), and all of it again, later and later
 *   Asterisk is down: the file is written; it is asked from time to time whether it is back, and
 *     then it reloads, and all ACLs are looked at.
 *
 * Changes that come while a task is under way, or within ASTERISK_KEEPER_GATHER_MS (1 ms longer for
 * each 100 ACLs), share the next file and its one reload. Each ASTERISK_KEEPER_AGAIN_MS the file is
 * looked at again, and in turn up to ASTERISK_KEEPER_AGAIN of the ACLs, since Asterisk may have
 * been restarted or reloaded by others; Asterisk takes a file as a whole, so any of them would show
 * it. Each look is a process of Asterisk's client: after ASTERISK_KEEPER_BURST of them there is a
 * pause.
 *
 * A registration is only evicted while the ACL of its extension is known to be in force.
 */
#ifndef SIPFENCE_ASTERISK_KEEPER_H
#define SIPFENCE_ASTERISK_KEEPER_H

#include "asterisk.h"
#include "asterisk_cli.h"
#include "engine.h"
#include "error.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum asterisk_task_kind {
	ASTERISK_TASK_NONE = 0,
	ASTERISK_TASK_WRITE,  /* `file`: all of it */
	ASTERISK_TASK_BOOTED, /* waits until Asterisk has booted */
	ASTERISK_TASK_RELOAD,
	ASTERISK_TASK_SHOW, /* `name`: of the ACL */
	ASTERISK_TASK_CONTACTS,
	ASTERISK_TASK_EVICT, /* `contact`, `step` */
	ASTERISK_TASK_CHANNELS,
	ASTERISK_TASK_HANGUP, /* `name`: of the channel */
};

/* Everything is the keeper's, and valid until it is told what came of the task. */
struct asterisk_task {
	enum asterisk_task_kind kind;
	const struct text *file;
	const char *name;
	const struct asterisk_contact *contact;
	unsigned step;
};

/* What came of it. */
struct asterisk_outcome {
	/* 0: done, `output` is what Asterisk printed; ASTERISK_ASK_UNKNOWN; -ECONNREFUSED: Asterisk
	 * is down; other negative numbers: it failed, `error` says how. Of ASTERISK_TASK_WRITE: 0,
	 * it was written; ASTERISK_WRITE_SAME, it held that already. */
	int result;
	const char *output;
	size_t length;
	struct error error;
};
enum { ASTERISK_WRITE_SAME = 1 };

enum {
	ASTERISK_KEEPER_GATHER_MS = 100,
	ASTERISK_KEEPER_LOOK_MS = 200, /* before the second look */
	ASTERISK_KEEPER_RETRY_MS = 1000,
	ASTERISK_KEEPER_RETRY_MOST_MS = 60 * 1000,
	ASTERISK_KEEPER_DOWN_MS = 2000,
	ASTERISK_KEEPER_DOWN_MOST_MS = 30 * 1000,
	ASTERISK_KEEPER_AGAIN_MS = 10 * 60 * 1000,
	ASTERISK_KEEPER_AGAIN = 100,
	ASTERISK_KEEPER_BURST = 100,
	ASTERISK_KEEPER_PAUSE_MS = 1000,
	ASTERISK_KEEPER_SAID = 10, /* ACLs that are named one by one */
};

struct asterisk_keeper;

/* Logs `event=acl` and `event=evict`. */
int asterisk_keeper_new(struct asterisk_keeper **ret_keeper, engine_log_fn *log, void *context,
	struct error *error);
struct asterisk_keeper *asterisk_keeper_free(struct asterisk_keeper *keeper); /* returns NULL */

/* Whether registrations are evicted, and their calls ended. */
void asterisk_keeper_configure(struct asterisk_keeper *keeper, bool evict, bool hangup);

/* What is wanted may have changed; it is worth a look when asterisk_keeper_wants() says so. */
void asterisk_keeper_changed(struct asterisk_keeper *keeper, int64_t now_ms);
bool asterisk_keeper_wants(const struct asterisk_keeper *keeper, int64_t now_ms);
/*
 * What is wanted now; the same as before costs nothing more. Takes what `acls` holds over, which is
 * empty then, and copies what it needs of the config: that may go. `unsettled` (NULL: none), of
 * each ACL: not all of its names were answered yet, so nobody of it is evicted. Not while a task is
 * under way. -ENOMEM: all is as before; asterisk_keeper_wants() will be true again, later.
 */
int asterisk_keeper_want(struct asterisk_keeper *keeper, struct asterisk_acls *acls,
	const bool *unsettled, int64_t now_ms);

/* The security log has proven that a stranger has registered: a round of evictions begins soon,
 * under the same conditions as any other. Those that follow one another come more rarely, down
 * to one in 30 s. */
void asterisk_keeper_sighted(struct asterisk_keeper *keeper, int64_t now_ms);

/* There is no memory to say what is wanted: later. */
void asterisk_keeper_put_off(struct asterisk_keeper *keeper, int64_t now_ms);

/* True: the task is under way from here on. ASTERISK_TASK_NONE is never one. */
bool asterisk_keeper_next(
	struct asterisk_keeper *keeper, int64_t now_ms, struct asterisk_task *ret_task);
void asterisk_keeper_done(
	struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome, int64_t now_ms);
/* When asterisk_keeper_wants() or asterisk_keeper_next() turns true at the latest, ms; INT64_MAX:
 * not before a task has ended, or something has changed. */
int64_t asterisk_keeper_due(const struct asterisk_keeper *keeper);

enum asterisk_keeper_state {
	ASTERISK_KEEPER_PENDING = 0, /* on the way */
	ASTERISK_KEEPER_IN_FORCE,
	ASTERISK_KEEPER_MISMATCH, /* Asterisk has other ACLs than it should */
	ASTERISK_KEEPER_DOWN,
	ASTERISK_KEEPER_FAILED, /* file or Asterisk can't be worked with: `trouble` */
};
/* "pending", "in-force", "mismatch", "down", "failed" */
const char *asterisk_keeper_word(enum asterisk_keeper_state state);

struct asterisk_mismatch {
	const char *extension;
	enum asterisk_match match;
	int64_t since_ms;
};

/* Pointers are valid until the next call that is not const. */
struct asterisk_keeper_summary {
	enum asterisk_keeper_state state;
	int64_t since_ms; /* the state is that since then; 0: nothing was wanted yet */
	uint32_t acls;
	struct asterisk_mismatch mismatches[ASTERISK_KEEPER_SAID];
	uint32_t mismatch_count;     /* of all, also those that have no room above */
	const struct error *trouble; /* code 0: none */
	bool evict;
	uint64_t reloads, evicted, hung_up; /* since the start */
	size_t not_evicted;		    /* of the last round: still there */
	const struct error *evict_trouble;  /* code 0: none */
};
struct asterisk_keeper_summary asterisk_keeper_summary(const struct asterisk_keeper *keeper);

#endif
