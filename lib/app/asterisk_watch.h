/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Takeovers while they happen: the bytes that Asterisk's security log gets -> events. The rules are
 * those of the audit (core/audit.h); it reads no clock and no file, and never waits.
 *
 *   event=takeover state=found extension=21 address=198.51.100.66 port=5060 driver=chan_sip
 *     certainty=proven count=1 address-of=22 next="…"
 *
 * Once for each extension and address: `found` when it is first seen, `surer` when it turns out to
 * be surer than was said, `goes-on` at most once an hour with the counts. A proven one is said at
 * once. What may still be explained waits TAKEOVER_PAUSE_MS first: a log-in that is probably a
 * call, or of a name that has not had its first answer; a claim waits for the log-in that explains
 * it.
 *
 * Who had what, is asked of names and config now. An address that the extension lost up to
 * TAKEOVER_GRACE_MS ago is still its own. One that it does not have yet is said at once all the
 * same, since nobody can know; if a name of its points there within that time, it is taken back
 * (`state=excused`). A log-in that chan_sip tells of may be a call to the extension (audit.h): that
 * it is, is also believed of an address that anybody else has, as long as not all phones can have
 * registered again since this began.
 *
 * Dates in the log only tell how far its lines are apart: no clock or zone that is wrong loses a
 * finding. Memory is bounded whatever the log holds, and so is what is said in a minute.
 */
#ifndef SIPFENCE_ASTERISK_WATCH_H
#define SIPFENCE_ASTERISK_WATCH_H

#include "asterisk_link.h"
#include "audit.h"
#include "config.h"
#include "engine.h"
#include "error.h"
#include "event.h"
#include "log_file.h"
#include "roster.h"
#include "takeover.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ASTERISK_WATCH_SETTLED_MS = 65 * 60 * 1000, /* chan_sip's maxexpiry is an hour */
	/* Without any security event, and since the last one: somebody should look at it. */
	ASTERISK_WATCH_SILENT_MS = 2 * 60 * 60 * 1000,
	ASTERISK_WATCH_STALE_MS = 26 * 60 * 60 * 1000,
	ASTERISK_WATCH_LINE = LOG_LINE_MAX, /* longer lines are passed over, and counted */
	ASTERISK_WATCH_LISTED = 100,	    /* takeovers, in status */
};

struct asterisk_watch;

/* What is judged by, now. */
struct asterisk_watch_basis {
	const struct config *config;
	const struct roster *roster;
	int64_t now; /* of the roster's clock: seconds */
};

struct asterisk_watch_options {
	void *context; /* for both */
	struct asterisk_watch_basis (*basis)(void *context);
	engine_log_fn *log;
	uint64_t seed; /* random */
};

/* -ENOMEM. */
int asterisk_watch_open(struct asterisk_watch **ret_watch,
	const struct asterisk_watch_options *options, const struct moment *now,
	struct error *error);
struct asterisk_watch *asterisk_watch_close(struct asterisk_watch *watch); /* returns NULL */

/* The basis has another config; to be called before anything else then. */
void asterisk_watch_configure(struct asterisk_watch *watch, const struct moment *now);
/* For each event that is logged: addresses that names lose. Others are passed over. */
void asterisk_watch_note(
	struct asterisk_watch *watch, const struct event *event, const struct moment *now);
/* What asterisk_link_options.log is given. */
void asterisk_watch_log(struct asterisk_watch *watch, enum asterisk_log_news news,
	const char *bytes, size_t length, const struct error *problem, const struct moment *now);
/* Says what is due. */
void asterisk_watch_tick(struct asterisk_watch *watch, const struct moment *now);
int64_t asterisk_watch_due(const struct asterisk_watch *watch); /* ms since boot */

/* --- For status --- */

enum asterisk_watch_state {
	ASTERISK_WATCH_WAITING = 0, /* nothing was heard of the file yet */
	ASTERISK_WATCH_FOLLOWED,
	ASTERISK_WATCH_MISSING,
};

/* Times are of the wall clock; 0: never. */
struct asterisk_watch_summary {
	enum asterisk_watch_state state;
	int64_t since;				       /* it is in that state */
	const struct error *problem;		       /* of a missing one */
	uint64_t lines, understood, too_long, doubled; /* doubled: see asterisk_log.h */
	uint64_t security; /* of those understood: events of the security log */
	int64_t last_line;
	bool silent;	   /* for a long time, or of other lines than security events */
	uint64_t left_out; /* takeovers that were not said one by one */
};

struct asterisk_watch_summary asterisk_watch_summary(const struct asterisk_watch *watch);
/* As takeovers_list(). */
size_t asterisk_watch_takeovers(
	const struct asterisk_watch *watch, struct takeover *takeovers, size_t max);

/* takeovers_proven() of all that the log has told. */
uint64_t asterisk_watch_proven(const struct asterisk_watch *watch);

/* As takeovers_find(). */
size_t asterisk_watch_find(const struct asterisk_watch *watch, const struct addr *addr,
	uint32_t owner, struct takeover *takeovers, size_t max);
/* "takeovers":[…] as a member of an object, as takeovers_find() finds them; `watch` NULL: null. */
void asterisk_watch_put_takeovers(const struct asterisk_watch *watch, const struct addr *addr,
	uint32_t owner, struct text *text);
/* "security_log":{…},"takeovers":[…] as members of an object; `watch` NULL: both null. */
void asterisk_watch_put(const struct asterisk_watch *watch, struct text *text);

#endif
