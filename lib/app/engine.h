/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's work, without its loop: when to ask which name, what an answer changes, what the
 * kernel must be told, what is saved and what is logged. It never waits and reads no clock: the
 * caller says what time it is, and when something has arrived.
 *
 *   engine_new     config -> engine
 *   engine_start   saved state -> kernel; from here on the table is in force. No DNS yet.
 *   engine_step    whatever is due: answers, questions, expiries, kernel, state file
 *   engine_due     when engine_step() must be called at the latest
 *
 * The outside is kernel.h, resolver.h and files.h; a program that brings its own (tests/replay)
 * runs the same engine.
 */
#ifndef SIPFENCE_ENGINE_H
#define SIPFENCE_ENGINE_H

#include "config.h"
#include "error.h"
#include "event.h"
#include "geo.h"
#include "kernel.h"
#include "ledger.h"
#include "resolver.h"
#include "roster.h"
#include "steady.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sightings;
struct engine;

/* The clocks now. */
struct moment {
	int64_t boot_ms; /* since boot, suspend included (CLOCK_BOOTTIME): goes forward only */
	int64_t wall;	 /* seconds since the epoch: may go anywhere */
};

/* EVENT_UNSAID is not to be written. */
typedef void engine_log_fn(void *context, const struct event *event);

struct engine_options {
	const char *state_path; /* not owned */
	char boot_id[BOOT_ID_SIZE];
	engine_log_fn *log;
	void *context; /* for `log` */
	uint32_t seed; /* of the jitter */
};

/* Takes `config` over, also when it fails. */
int engine_new(struct engine **ret_engine, struct config *config,
	const struct engine_options *options, struct error *error);
/*
 * Permits and saved addresses into the kernel, by one transaction; takes an existing table over
 * without a gap. A state file that is damaged or can't be read is said, and gone without.
 * Negative: there is no table in force that is ours; nothing was touched.
 */
int engine_start(struct engine *engine, const struct moment *now, struct error *error);
struct engine *engine_free(struct engine *engine); /* returns NULL; the table stays */

/* Readable when engine_step() has something to do; they may change with each call of a function of
 * this header. -1: there is none. */
int engine_resolver_fd(const struct engine *engine);
int engine_kernel_fd(const struct engine *engine);
int engine_network_fd(const struct engine *engine);
int engine_disk_fd(const struct engine *engine);
/* When engine_step() must be called even if nothing is readable, in ms since boot; INT64_MAX: there
 * is nothing to do. */
int64_t engine_due(const struct engine *engine, const struct moment *now);
/* Does what is due. Problems are logged, and tried again by themselves. */
void engine_step(struct engine *engine, const struct moment *now);

/*
 * Takes `config` over (also when it fails) in the place of the present one. Hosts that stay keep
 * what is known of them. Negative: all is as before. The engine logs what has changed.
 */
int engine_reload(struct engine *engine, struct config *config, const struct moment *now,
	struct error *error);
/* resolv.conf, or the servers behind it, have changed. */
void engine_servers_changed(struct engine *engine, const struct moment *now);

/*
 * Asks names at once (names: normalised; none: all of them, and compares the kernel's table too).
 * A question that is under way is asked once more when it is answered, since that answer may be
 * older than the wish. When all of them have an outcome engine_refreshed() turns true for the
 * ticket. -ENOENT: no such name, which is in `error` (the others are asked all the same); -EBUSY:
 * too many wait.
 */
int engine_refresh(struct engine *engine, const char *const *names, size_t count,
	const struct moment *now, uint64_t *ret_ticket, struct error *error);
bool engine_refreshed(const struct engine *engine, uint64_t ticket);

/* Saves what is known, and waits for the disk. Negative: it was logged, too. */
int engine_save(struct engine *engine, const struct moment *now, struct error *error);
/* Takes the table out; the engine is of no use any more. */
int engine_remove(struct engine *engine, const struct moment *now, struct error *error);

/* For those who tell people. Valid until the next call that is not const. */
const struct config *engine_config(const struct engine *engine);
const struct roster *engine_roster(const struct engine *engine);
const struct steady *engine_clock(const struct engine *engine); /* as of the last call */
/* NULL while nothing is known of the kernel's table. */
const struct ledger *engine_ledger(const struct engine *engine);
const struct own_addresses *engine_own_addresses(const struct engine *engine);
const struct geo *engine_geo(const struct engine *engine); /* NULL: the config needs none */
/* Changes when what the roster points to was made anew. */
uint32_t engine_epoch(const struct engine *engine);
/* Changes when the kernel has got a change of who may pass, or of for whom; now and then without
 * one. */
uint64_t engine_list_changes(const struct engine *engine);
/* What the kernel has counted for whom, as of the last look; it never wakes the daemon up. */
const struct sightings *engine_sightings(const struct engine *engine);
struct engine_summary {
	struct resolver_stats dns;
	bool outage;	    /* no question is answered at present */
	bool owned;	    /* the table can't be changed by others while we live */
	bool table_right;   /* as far as is known the kernel equals the config */
	int64_t saved_at;   /* steady seconds; 0: never */
	uint64_t changes;   /* batches that changed elements since the start */
	bool save_failing;  /* what is known can't be written to the disk */
	uint64_t repairs;   /* of damage that others have done */
	int64_t started_at; /* steady seconds */
};
struct engine_summary engine_summary(const struct engine *engine);
/* When (host, family) is asked next, ms since boot; INT64_MAX: being asked now. */
int64_t engine_next_question(const struct engine *engine, size_t host, enum family family);

#endif
