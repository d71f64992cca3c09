/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One cycle of the way of the data (design, section 2), step by step. Each step takes what the one
 * before has made; the caller decides where to stop (a dry run stops before the kernel).
 *
 *   cycle_start    config and saved state -> roster
 *   cycle_resolve  DNS -> roster
 *   cycle_build    roster -> allowlist -> ruleset
 *   cycle_compare  kernel -> observed, talkers -> plan
 *   cycle_save     roster -> state file
 *   cycle_apply    plan -> kernel
 */
#ifndef SIPFENCE_CYCLE_H
#define SIPFENCE_CYCLE_H

#include "allowlist.h"
#include "config.h"
#include "error.h"
#include "geo.h"
#include "kernel.h"
#include "plan.h"
#include "resolver.h"
#include "roster.h"
#include "ruleset.h"
#include "steady.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cycle {
	const struct config *config; /* not owned */
	const char *state_path;	     /* not owned */
	struct steady clock;
	int64_t now;			       /* clock.now: of the whole cycle, seconds */
	struct enforced_port *enforced_before; /* by the saved state, in the config's table */
	size_t enforced_before_count;
	bool table_known;   /* as our own: by the saved state, or since this process has made it */
	char *former_table; /* of another name, made by an earlier run and still there; NULL: none
			     */
	struct config restricted; /* see cycle_restrict() */
	/* The table is to be owned by this process, as long as the kernel handle is open. Set it
	 * between cycle_start() and cycle_build(). cycle_apply() sets it to false when this kernel
	 * has no such tables.
	 */
	bool lock;

	struct surroundings around;
	struct geo *geo; /* what `around` looks addresses up in */
	struct roster *roster;
	struct cycle_questions {
		struct resolver *resolver; /* NULL: none is under way */
		bool second_pass, srv_changed, failed;
		size_t total;
		uint64_t answered; /* when it last stalled */
		int pause_ms;	   /* the least from a stall to the next */
		int64_t paused_at;
	} questions;
	struct resolver_stats dns;
	struct allowlist allowlist;
	struct ruleset *ruleset;
	struct text shape;
	struct observed *observed;
	uint32_t generation;
	struct talker *talkers; /* unlisted ones only, distinct by (service, address) */
	size_t talker_count;
	bool blind; /* connection tracking knows of no flow: nobody can be seen talking */
	struct plan plan;
	bool touched;	  /* cycle_apply() has changed the kernel, or may have */
	unsigned retries; /* of cycle_apply(), because the kernel's ruleset moved meanwhile */
	struct text
		snapshot; /* the table before cycle_apply(), if wanted; see nft_batch_restore() */
	bool want_snapshot;
	struct text journal; /* what was noted; the caller writes and clears it */
};

/* Called while names are resolved, now and then. */
typedef void cycle_progress_fn(void *context, size_t done, size_t total);

/*
 * A damaged state file is set aside, and one that can't be read is gone without: `notes` gets a
 * line that says so. `read_only` (dry run): nothing is renamed. `state_path` "": there is none.
 */
int cycle_start(struct cycle *cycle, const struct config *config, const char *state_path,
	bool read_only, const struct clock_reading *reading, struct text *notes,
	struct error *error);
/*
 * What the run that left this state file has put in force: by the config, and by what it knew then
 * of the names. NULL: not known, since there was none, or the config permits others since. -ENOMEM.
 */
int cycle_last_ruleset(
	const struct config *config, const char *state_path, struct ruleset **ret_ruleset);
/* Of a zeroed cycle with a config: this machine's addresses, and the databases. */
int cycle_look_around(struct cycle *cycle, struct error *error);
/*
 * Asks for all names, and waits for the answers. CYCLE_STALLED, with `may_stall` alone: what is
 * left takes longer than answers take here, and what came may be put in force meanwhile
 * (cycle_ruleset()); call it again for the rest. It takes longer and longer until it says so again.
 */
enum { CYCLE_STALLED = 1 };
int cycle_resolve(struct cycle *cycle, bool may_stall, cycle_progress_fn *progress, void *context,
	struct error *error);
/* After the last answer: which names change too often (core/flapping.h). */
void cycle_judge_flapping(struct cycle *cycle);
int cycle_build(struct cycle *cycle, struct error *error);
/* The second half of it: for a caller that has dropped already what is out of time. */
int cycle_ruleset(struct cycle *cycle, struct error *error);
int cycle_compare(struct cycle *cycle, struct kernel *kernel, struct error *error);
/* The plan for a machine without our table: where the kernel may not be read. */
int cycle_compare_with_nothing(struct cycle *cycle, struct error *error);
/* What the state file says of the kernel's table, beside what is known of the names. */
enum cycle_standing {
	CYCLE_IN_FORCE, /* it is as the names and the config say, or is about to be */
	CYCLE_UNSURE,	/* it may shut all ports that the config enforces, and lets in who knows */
	CYCLE_TAKEN_BACK, /* it shuts the ports that were enforced before */
};
int cycle_save(struct cycle *cycle, enum cycle_standing standing, struct error *error);
/* Who has which address now, into the history beside the state file. */
int cycle_record(struct cycle *cycle, struct error *error);
/* What cycle_save() would write, and where its journal is (to be freed). -ENOMEM; NULL. */
int cycle_print_state(const struct cycle *cycle, enum cycle_standing standing, struct text *text);
char *cycle_journal_path(const char *state_path);
/*
 * Between two saves: notes in cycle->journal what has become of one name, to be appended to the
 * file cycle_journal_path(), which cycle_start() reads and cycle_save() ends. A process that is
 * killed then has forgotten nothing.
 */
void cycle_note_host(struct cycle *cycle, const struct host *host);
void cycle_note_srv(struct cycle *cycle, const struct srv *srv);
/*
 * Does what the plan says; compares again, and makes a new plan, when the kernel moved meanwhile or
 * has no owned tables: cycle->plan is the last one that was tried. A table that another process
 * owns is an error; with `lock` even if nothing differs, though a moment is left to an owner that
 * is about to end.
 */
int cycle_apply(struct cycle *cycle, struct kernel *kernel, struct error *error);
/* Drops all but roster, own addresses and clock: what cycle_ruleset() makes anew. */
void cycle_relax(struct cycle *cycle);
void cycle_clear(struct cycle *cycle);

/*
 * True when a port is going to be shut to strangers that neither the kernel's table nor, by the
 * saved state, the last run has shut: not so after a reboot or a flush.
 */
bool cycle_shuts_new_ports(const struct cycle *cycle);
enum { CYCLE_NOTHING_LEFT = 1 };
/*
 * Leaves the ports as they are that are not shut yet: from here on cycle->config guards only what
 * was guarded before, and cycle_build() and cycle_compare() are due again. CYCLE_NOTHING_LEFT: that
 * is no port at all.
 */
int cycle_restrict(struct cycle *cycle, struct error *error);
/* Will the table let in whom it has kept out until now, since the mode is monitor? */
bool cycle_opens(const struct cycle *cycle);
/* Unlisted talkers on such ports. */
size_t cycle_newly_shut_out(const struct cycle *cycle);
/* Will strangers get in whom the table has kept out, since the mode is monitor? */
bool cycle_opens(const struct cycle *cycle);

/* Puts back what cycle.snapshot holds: the table as it was, or none. The state file is not touched.
 */
int cycle_take_back(struct cycle *cycle, struct kernel *kernel, struct error *error);

/* Has a run that left this state file made a table of that name? */
bool cycle_knows_table(const char *table, const char *state_path);
/* The table of the last run that left this state file, to be freed; NULL: none is known. */
char *cycle_last_table(const char *state_path);
/* Removes the table. *ret_removed: was there one? */
int cycle_remove(const char *table, struct kernel *kernel, bool *ret_removed, struct error *error);
/* The state file forgets that `table` enforced. *ret_other: a table of another name that it knows
 * of, to be freed; NULL: none. */
int cycle_forget(const char *table, const char *state_path, char **ret_other, struct error *error);

#endif
