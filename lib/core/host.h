/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of a name, and how an answer changes it (design, section 7).
 *
 * State is kept for each (name, type). Times are wall-clock seconds, so that they survive a reboot;
 * a clock that went backwards makes times of the future, and those count as "now".
 *
 *   addresses        replace the old ones at once; what was replaced is remembered for `linger`
 *   no data, no name the old ones stay for `gone` from the first such answer, then leave
 *   could not ask, refused by a guard
 *                    say nothing about the name: the old ones stay until `hold` after the last good
 *                    answer. If DNS's own last word was "none", that clock runs on.
 */
#ifndef SIPFENCE_HOST_H
#define SIPFENCE_HOST_H

#include "addr.h"
#include "answer.h"
#include "flapping.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timing {
	int64_t hold, gone; /* seconds */
};

/* The history of one question. A zeroed struct: never asked. */
struct lookup {
	int64_t asked;	   /* of the last outcome of any kind; 0: never */
	int64_t good;	   /* of the last answer with addresses; 0: never */
	int64_t none;	   /* since when DNS itself says that there is none; 0: it doesn't */
	uint32_t ttl;	   /* of the last outcome */
	uint16_t failures; /* in a row: could not ask, or refused */
	uint8_t last;	   /* enum answer_kind */
	uint8_t reason;	   /* enum answer_reason */
};

/* Takes an outcome into the history. */
void lookup_take(struct lookup *lookup, const struct answer *answer, int64_t now);
/* True when the values have outlived `hold` or `gone`, and must leave. */
bool lookup_expired(const struct lookup *lookup, const struct timing *timing, int64_t now);
/* When lookup_expired() turns true without a further answer; INT64_MAX: there is no such time. */
int64_t lookup_expires(const struct lookup *lookup, const struct timing *timing);

/* Of one name: older ones are forgotten, however long they were to linger. */
enum { RETIRED_MAX = CONFIG_MAX_ADDRESSES };

/* An address that an answer replaced. */
struct retired {
	struct addr addr;
	int64_t when;
};

/* A name under one guard. Two owners with the same guard share it. */
struct host {
	const char *name; /* not owned */
	uint32_t guard;	  /* index into config.guards */
	bool validated;	  /* its answers must be: the guard requires DNSSEC */
	struct lookup lookup[FAMILY_COUNT];
	uint16_t count[FAMILY_COUNT]; /* addresses in force */
	uint16_t retired_count;
	uint8_t told;			   /* what was last reported to the admin: host_telling() */
	struct addr *addrs[FAMILY_COUNT];  /* sorted by addr_compare; owned */
	struct retired *retired;	   /* owned */
	struct changes *changes;	   /* how often it changes; owned, NULL: it does not */
	struct addr culprit[FAMILY_COUNT]; /* of the last refusal */
	struct origin origin[FAMILY_COUNT]; /* of the culprit */
};

enum host_state {
	HOST_UNTOLD = 0, /* not judged yet; only as `told` */
	HOST_NEVER,	 /* nothing was ever learned of it, and it could not be asked */
	HOST_FRESH,	 /* DNS answered, with addresses in one family at least */
	HOST_HELD,	 /* DNS can't be asked of a family; what was known is kept */
	HOST_GONE,	 /* by DNS's own word neither family has an address */
	HOST_REFUSED,	 /* the last answer broke a rule of the guard */
	HOST_EXPIRED,	 /* could not be asked for longer than `hold`: its addresses have left */
};

/*
 * Takes a guarded answer for one family. `linger` is how long the longest-lingering owner wants a
 * replaced address to be remembered. Returns 1 when the addresses in force changed, 0 when not,
 * -ENOMEM (the host is as before).
 */
int host_take(struct host *host, enum family family, const struct answer *answer, int64_t linger,
	int64_t now);
/*
 * Counts a change that host_take() has made; `had_answer`: the family had an answer with addresses
 * before, else that was the first one, which is no change. Without memory it is not counted.
 */
void host_count_change(struct host *host, bool had_answer, uint32_t limit, int64_t now);
/* Drops what has outlived hold, gone or linger; returns true when addresses in force left. */
bool host_expire(struct host *host, const struct timing *timing, int64_t linger, int64_t now);
/* When addresses leave next if no answer comes; INT64_MAX: there is no such time. `linger` is that
 * of each kind of owner that the host has; of a kind that it has not, no longer than the others'.
 */
int64_t host_expires(const struct host *host, const struct timing *timing,
	const int64_t linger[OWNER_KIND_COUNT], int64_t now);
enum host_state host_state(const struct host *host);
/* The family whose outcome decides host_state(): what to name in a message. */
enum family host_deciding_family(const struct host *host);
/* The address that the guard objected to; NULL: it was not refused for an address. */
const struct addr *host_culprit(const struct host *host, enum family family);
/* State, and the reason of a refused one, or if it is about DNSSEC: another reason is news. 0:
 * nothing was told yet. */
uint8_t host_telling(const struct host *host);
const char *host_state_name(enum host_state state); /* "fresh", "held", … */
void host_clear(struct host *host);		    /* frees what it owns */

/*
 * Copies all that is known of the name into `host`, which has nothing yet, but for addresses that
 * its guard refuses, or that are this machine's by now. One of which it can't be known where it
 * belongs stays. -ENOMEM: host_clear() it.
 */
int host_inherit(struct host *host, const struct host *from, const struct guard *guard,
	const struct surroundings *around);

/*
 * After reading saved state: times of the future become `now` (the clock went backwards), and a
 * good answer of a former run no longer counts as the last word, so that `hold` bounds it.
 */
void host_restore(struct host *host, int64_t now);
/*
 * What is known of the name was learned before its answers had to be validated. Nobody vouches for
 * it; but a phone that is in must not be thrown out before the name could be asked. So addresses
 * stay for `gone` at most, as if DNS had just said that there are none, and no good answer was ever
 * had: what then replaces them leaves them no time to linger. Those that linger already leave.
 */
void host_unproven(struct host *host, int64_t now);
void lookup_restore(struct lookup *lookup, int64_t now);

/* The targets of an SRV name; the same rules as for addresses. */
struct srv {
	const char *name; /* not owned */
	bool validated;	  /* its answers must be: an owner's guard requires DNSSEC */
	struct lookup lookup;
	size_t count, retired_count;
	char **targets; /* in force; owned, sorted by strcmp */
	struct retired_target {
		char *target;
		int64_t when;
	} * retired; /* owned */
	uint8_t told;
};

int srv_take(struct srv *srv, const struct answer *answer, int64_t now);
bool srv_expire(struct srv *srv, const struct timing *timing, int64_t linger, int64_t now);
/* Of all names that it lets in, lingering ones included, in any order: another number for others.
 */
uint64_t srv_names_hash(const struct srv *srv);
/* As host_expires(). */
int64_t srv_expires(const struct srv *srv, const struct timing *timing, int64_t linger);
int srv_inherit(struct srv *srv, const struct srv *from); /* -ENOMEM: srv_clear() it */
void srv_unproven(struct srv *srv, int64_t now);	  /* as host_unproven() */
enum host_state srv_state(const struct srv *srv);
uint8_t srv_telling(const struct srv *srv); /* as host_telling() */
void srv_clear(struct srv *srv);

#endif
