/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of the engine, for its own source files: engine*.c. */
#ifndef SIPFENCE_ENGINE_STATE_H
#define SIPFENCE_ENGINE_STATE_H

#include "beside.h"
#include "cycle.h"
#include "disk.h"
#include "engine.h"
#include "question_index.h"
#include "record.h"
#include "sightings.h"
#include "traffic.h"

#include <stdatomic.h>

enum {
	TICKETS = 64, /* refreshes under way whose end is known */
	LOG_PERIOD_MS = 1000,
	LOG_LINES = 100, /* of changes and states in a period */
};

static inline int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

struct engine_history {
	char *path;
	struct text lines; /* to be queued */
	int64_t look_at, alive_at;
	int64_t judged; /* what lingers was looked at then: steady seconds */
	bool recording; /* what is queued is going to be on the disk, as far as is known */
	bool begun;	/* a look has worked */
	bool missed;	/* since then, or since the start; and that was said */
};

struct engine {
	struct engine_options options;
	struct config *config;
	struct cycle cycle;
	struct kernel *kernel;
	struct kernel_watch *watch; /* NULL: nobody else can change the table */
	struct kernel_network *network;
	struct disk *disk;
	char *journal_path;
	struct resolver *resolver; /* NULL: to be made */
	struct ledger *ledger;	   /* NULL: the kernel must be read and compared */
	struct ruleset *skeleton;  /* the sets, without elements */
	struct question_index index;

	int64_t now_ms, started_at;
	uint32_t epoch, dice;
	bool srv_changed;
	bool resolver_failed; /* and that was said */
	bool installed;	      /* the table was right once */

	size_t failed;	     /* questions that have turned bad since any was last answered */
	uint32_t streak;     /* of such failures; never 0 */
	int64_t network_due; /* not before this is a new network news, ms since boot */
	bool outage;

	struct {
		int64_t at; /* when to compare again; INT64_MAX: no need */
		uint32_t failures;
		bool again;	/* the last attempt failed, and that was said */
		bool refused;	/* since then, a batch of changes: no more until the next */
		bool unwatched; /* others' changes go unheard against our will, and that was said */
		bool by_others; /* because of what others did to the table */
	} compare;
	struct {
		int64_t at, done; /* ms since boot, INT64_MAX: no need; steady seconds */
		bool under_way;
		bool failed;	     /* and that was said */
		bool journal_failed; /* since then: no more notes until the state is saved */
		size_t journal_size; /* bytes that a save makes needless, */
		size_t covered;	     /* these of them the one that is under way */
	} save;
	struct engine_history history;
	struct {
		uint64_t id;
		size_t outstanding;
	} tickets[TICKETS];
	uint64_t last_ticket;
	struct sightings sightings;
	struct counting {
		struct beside reader;
		/* Until `done` these three are the reader's. */
		struct traffic traffic;
		struct sightings fresh;
		bool known;
		bool under_way;
		bool stale; /* meanwhile the table is another one, or all was read */
		atomic_bool done;
		int64_t at;	  /* steady seconds: what is read is not older */
		int64_t begun_ms; /* since boot, of the last attempt; 0: none */
	} counting;
	struct kernel_report damage; /* not said yet */
	struct {
		int64_t since; /* ms since boot */
		uint32_t lines, left_out;
	} log;
	uint64_t changes, repairs;
	uint64_t list_changes; /* see engine_list_changes() */
};

/* --- engine.c --- */

void engine_advance(struct engine *engine, const struct moment *now);
/* Something has changed that a reboot should know of, or was confirmed, which can wait. */
void engine_save_soon(struct engine *engine);
void engine_learned(struct engine *engine);

/* --- engine_save.c --- */

/* Waits until the state is on the disk, or has failed to get there. */
void engine_save_now(struct engine *engine);
/* What cycle_note_host() and cycle_note_srv() have noted. */
void engine_write_journal(struct engine *engine);
/* Begins to save if that is due, and takes the results of what was written. */
void engine_write_state(struct engine *engine);
void engine_log_save_failure(struct engine *engine, const struct error *error);

/* --- engine_history.c: who had which address when --- */

/* The host is another one than `before`. */
void engine_history_note(struct engine *engine, size_t host, const struct record_host *before);
/* The clocks were that at the last call. */
void engine_history_clock(struct engine *engine, const struct clock_reading *before);
/* Config or roster were made anew. */
void engine_history_look_again(struct engine *engine);
/* Queues what was noted, and what is due. */
void engine_history_write(struct engine *engine);
void engine_history_take(struct engine *engine, const struct disk_result *result);
int64_t engine_history_due(const struct engine *engine);
/* The process ends. */
void engine_history_end(struct engine *engine);

/* --- engine_names.c: asking, answers, expiries --- */

/* Asks what is due, and takes what has been answered. */
void engine_resolve(struct engine *engine);
/* With all that is under way, which is due again. */
void engine_drop_resolver(struct engine *engine);
/* This machine's addresses have changed. */
void engine_follow_network(struct engine *engine);
void engine_expire_due(struct engine *engine);
void engine_schedule_expiries(struct engine *engine);
struct lookup *engine_lookup(struct engine *engine, size_t question);

/* --- engine_refresh.c --- */

/* Anew, for an index in which some questions are no more. */
void engine_count_tickets(struct engine *engine);
/* A question that the ticket waits for has its outcome. 0: none. */
void engine_end_ticket(struct engine *engine, uint64_t id);

/* --- engine_reload.c --- */

/* Which owner has got or lost which addresses by the config that has replaced `former`. */
void engine_log_reload(
	struct engine *engine, const struct config *former, const struct roster *former_roster);

/* --- engine_log.c: what is said --- */

struct prior {
	struct addr addrs[CONFIG_MAX_ADDRESSES];
	size_t count;
};
void engine_prior(const struct host *host, enum family family, struct prior *ret_prior);
/* The addresses in force are other ones than `prior` now. */
void engine_log_change(
	struct engine *engine, size_t host, enum family family, const struct prior *prior);
void engine_log_targets(struct engine *engine, const struct srv *srv);
/* Says the state if it is not the one that was told last. */
void engine_log_state(struct engine *engine, size_t host);
/* The name has begun to flap, or ended. */
void engine_log_flapping(struct engine *engine, size_t host);
void engine_log_srv_state(struct engine *engine, struct srv *srv);
/* What has become of the databases of `within`. */
void engine_log_databases(struct engine *engine);
void engine_log_error(struct engine *engine, const char *name, const struct error *error);
/* Of changes and states, so many lines a second at most; the others are counted. */
void engine_log_left_out(struct engine *engine);
void engine_log_simple(struct engine *engine, enum event_level level, const char *name,
	const char *key, const char *value);
void engine_log(struct engine *engine, struct event *event); /* clears it */
/* The same for what may come by the thousand. */
void engine_log_one_of_many(struct engine *engine, struct event *event);

/* --- engine_count.c: when packets came last --- */

/* Begins to read the counters if the last look is long ago: for whoever is awake anyway. */
void engine_count_packets(struct engine *engine);
/* Takes them if they have been read. */
void engine_take_counters(struct engine *engine);
/* They were read now, by a comparison. */
void engine_note_counters(struct engine *engine, const struct observed *observed);
/* The engine goes. */
void engine_count_end(struct engine *engine);

/* --- engine_kernel.c: the table --- */

/* The table as config and saved state would have it, for the first time. */
int engine_install(struct engine *engine, struct error *error);
/* The table of another config; `fresh`, with its ruleset, is going to be the engine's cycle.
 * Negative: a comparison with the present one is due if anything was touched. */
int engine_change_table(struct engine *engine, struct cycle *fresh, struct error *error);
/* The kernel can't be compared now: said once, and tried again later, and after a change of it. */
void engine_put_off(struct engine *engine, const struct error *error);
/* After these two: the ledger is what the kernel holds now. */
void engine_take_stock(struct engine *engine);
/* Sends what the ledger has to change, or compares all, if anything is due. */
void engine_flush(struct engine *engine);
/* Looks for what others have done to the table. */
void engine_watch(struct engine *engine);
void engine_say_damage(struct engine *engine);
/* A comparison is due at once. */
void engine_doubt(struct engine *engine);
/* Watches for others' changes where they are possible. */
int engine_watch_open(struct engine *engine, struct error *error);

#endif
