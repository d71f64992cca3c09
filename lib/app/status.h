/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answers of the control socket that say how things are, as JSON (the schema is in
 * sipfence(8)): `status`, `refresh` and `reload`; `why` is in why.h. Each is one line without its
 * line feed.
 */
#ifndef SIPFENCE_STATUS_H
#define SIPFENCE_STATUS_H

#include "asterisk_watch.h"
#include "config.h"
#include "drift.h"
#include "engine.h"
#include "hooks.h"
#include "ledger.h"
#include "news.h"
#include "pbx.h"
#include "plan.h"
#include "roster.h"
#include "steady.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is looked at. All pointers are borrowed; valid as long as what the engine's accessors give.
 */
struct view {
	const char *version;
	const struct engine
		*engine; /* NULL: no daemon runs, the rest is of config and state file */
	const struct config *config;
	const struct roster *roster;
	const struct ledger *ledger;
	const struct steady *clock;
	struct moment now;
	/* The config on the disk was refused, by a reload or at the start, and a former one is in
	 * force: what is wrong with it, one line; NULL: it was not. */
	const char *refused;
	/* Without an engine only. */
	int64_t saved_wall; /* when the state file was written; 0: never */
	bool no_table;	    /* the kernel was asked, and has no table of ours */
	/* The kernel's table; NULL: there is none, or it could not be looked at. */
	const struct observed *in_force;
	bool differs; /* `in_force` has other rules than the config */
	/* How the elements of `in_force` differ from what was put in force; NULL: not known. */
	const struct drift *drift;
	/* With an engine only: the second of the wall clock in which the machine was booted. Unlike
	 * the difference of two clocks that tick at different moments, it is always the same. */
	int64_t boot_wall;
	struct hooks_summary hooks;
	struct pbx_summary pbx;
	const struct asterisk_watch *watch; /* NULL: no security log is followed */
};

struct view view_of_engine(
	const struct engine *engine, const char *version, const struct moment *now);

/* The mode that is in force: of the daemon, of the kernel's table, or if neither is known of the
 * config. */
bool view_monitors(const struct view *view);
/* Whether the kernel's table is as it should be, as far as it could be looked at. */
bool view_table_right(const struct view *view);
/* A time of the steady clock as the wall clock would have it now. */
int64_t view_wall(const struct view *view, int64_t time);
/* "mode", "mode_of", "config_mode", "table_right", "drift" */
void status_put_mode(const struct view *view, struct text *text);

/*
 * `status` in pieces of STATUS_NAMES names, so that a long list neither stops the daemon's loop nor
 * fills its memory. The view is made anew for each piece.
 */
enum { STATUS_NAMES = 200 };
struct status_cursor;

int status_begin(const struct view *view, struct status_cursor **ret_cursor); /* -ENOMEM */
enum { STATUS_MORE = 1 };
/*
 * Appends the next piece to `text`. STATUS_MORE: there are more; 0: that was the last. -ESTALE:
 * what the cursor stands in was made anew; the line can't be completed, close the connection.
 * -ENOMEM.
 */
int status_next(struct status_cursor *cursor, const struct view *view, struct text *text);
struct status_cursor *status_end(struct status_cursor *cursor); /* returns NULL */

/* Who owns each host or each SRV name of a roster: indices into config.owners, in their order. */
struct owner_index {
	uint32_t *first; /* of host i in `owners`; of one more, the end */
	uint32_t *owners;
};
int owner_index_of_hosts(const struct view *view, struct owner_index *ret_index); /* -ENOMEM */
int owner_index_of_srvs(const struct view *view, struct owner_index *ret_index);  /* -ENOMEM */
void owner_index_clear(struct owner_index *index);

/* {"name":…,"owners":[…],"state":…,"A":{…},"AAAA":{…},"retired":[…]} of roster->hosts[host]. */
void status_put_host(
	const struct view *view, const struct owner_index *index, size_t host, struct text *text);
/* "counted": of the host, or of the prefix; nothing if it was never looked at. */
void status_put_counted(const struct view *view, const struct host *host,
	const struct prefix *prefix, struct text *text);
void status_put_srv(
	const struct view *view, const struct owner_index *index, size_t srv, struct text *text);
/* {"kind":"extension","id":"21"}; GRANT_LOCAL: {"kind":"local-subnets","id":null} */
void status_put_owner(const struct config *config, uint32_t owner, struct text *text);
/* ["sip"]: bit i: config.services[i] */
void status_put_services(const struct config *config, uint32_t services, struct text *text);

/*
 * The answers, since `mark`: {"ok":true,"asked":N,"changes":[…],"changes_left_out":N,"unsure":[…],
 * "unsure_left_out":N} and {"ok":true,"changes":[…],"changes_left_out":N}. `names`: those of the
 * request, normalised; none: all. -ENOMEM.
 */
int status_refreshed(const struct view *view, const char *const *names, size_t count,
	const struct news *news, const struct news_mark *mark, struct text *text);
int status_reloaded(const struct news *news, const struct news_mark *mark, struct text *text);

#endif
