/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What to change in the kernel so that it equals the ruleset.
 *
 * Elements of hosts and nets are compared one by one; everything else of the table (sets' types,
 * chains, rules, ports, destinations) is its shape, and compared as a whole: another shape, hosts
 * that have no room for the list, or no table, means that the table is swapped whole, in one
 * transaction. Where the table stays, its hosts keep the room that they have.
 */
#ifndef SIPFENCE_PLAN_H
#define SIPFENCE_PLAN_H

#include "ruleset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A port that strangers do not reach. */
struct enforced_port {
	uint8_t protocol; /* enum protocol */
	uint16_t first, last;
};

/* What the kernel holds of our table. Made by codec/nft_netlink.h. */
struct observed {
	struct arena arena;
	bool present;	      /* the table is there */
	bool owned;	      /* a running process has made it its own (NFT_TABLE_F_OWNER) */
	bool ours;	      /* it is this process, by the socket that has looked */
	bool persistent;      /* it stays when its owner ends; without an owner: an orphan */
	bool monitor;	      /* a reject chain of it does not drop */
	bool accepts_replies; /* its base chain stands behind connection tracking */
	struct enforced_port *enforced; /* ports that lead to a chain that drops */
	size_t enforced_count;
	/* Of sets in another's table: why they can't be kept, "the set phones4 is missing"; NULL:
	 * they can. */
	const char *misfit;
	const char *shape; /* text of all but hosts, nets, rejected, revoked and counters */
	struct set *sets; /* with names; `kind` and `service` as the wanted ruleset has that name */
	size_t set_count;
	struct counter {
		const char *chain;
		uint64_t packets, bytes;
	} * counters; /* of the rules of the reject chains */
	size_t counter_count;
};

/* Who talks to a guarded port now, by the kernel's connection tracking or by a rejected set. */
struct talker {
	struct addr addr;
	uint8_t service;
	uint8_t protocol; /* 0: unknown (from a rejected set) */
	uint16_t port;	  /* ours; 0: unknown */
	bool opened_here; /* the PBX opened the flow: a trunk, or a qualified phone */
	uint64_t packets; /* 0: unknown */
	bool newly_shut;  /* its port was open until now, and `wanted` shuts it */
};

enum plan_kind {
	PLAN_NOTHING,  /* the kernel is right */
	PLAN_ELEMENTS, /* some elements of it differ */
	PLAN_SWAP,     /* no table, or another shape, too small, or `lock` and a table that can't be
			  owned */
};

/* Of PLAN_SWAP: why, the first that holds. */
enum plan_cause {
	PLAN_NO_TABLE,
	PLAN_OTHER_RULES, /* than the config asks for: one of the two was changed */
	PLAN_OTHER_LOCK,  /* owned and to be plain, or plain and to be owned */
	PLAN_NO_ROOM,	  /* the list has outgrown a set */
};

struct change {
	bool add;     /* else: delete */
	uint32_t set; /* index into ruleset.sets */
	struct element element;
};

struct plan {
	enum plan_kind kind;
	enum plan_cause cause;
	bool adopt; /* PLAN_ELEMENTS, maybe of none: an orphan is to become ours in the same batch
		     */
	/* PLAN_ELEMENTS: to be applied in this order. PLAN_SWAP: the same list, for people; the
	 * batch is made from the ruleset. Points into ruleset and observed. */
	struct change *changes;
	size_t count, capacity;
};

/*
 * Compares, and prepares `wanted` for a swap: counters of elements and chains that stay, rejected
 * and revoked sources move over from `observed`.
 *
 * With `replies: accept`, `talkers` (any order) tells whose open flows must not outlive a permit.
 * Where nothing was enforced before, all unlisted ones are revoked that came to us by themselves;
 * later those that the old list let in.
 *
 * With wanted->lock the table must be ours and stay when we end: an orphan is adopted, a plain one
 * can only be swapped. Without it one that is ours is swapped, too, into a plain one. A table that
 * another process owns is compared like any other: that it may not be touched is the caller's
 * business.
 *
 * Sets in another's table (wanted->sets_only) are compared by their elements alone, and never
 * swapped; whether they fit says observed->misfit.
 *
 * `wanted_shape` is the shape of `wanted`, by the same codec that made observed->shape. -ENOMEM.
 */
int plan_make(struct ruleset *wanted, const char *wanted_shape, const struct observed *observed,
	const struct talker *talkers, size_t talker_count, struct plan *ret_plan);
void plan_clear(struct plan *plan);
/*
 * Of PLAN_ELEMENTS: keeps what lets somebody in and shuts nobody out; PLAN_NOTHING if nothing is
 * left. Where a prefix is to leave a set of nets, what comes into that set waits too: they may
 * overlap. And where hosts have no room for who comes beside who is to leave, all who come wait.
 */
void plan_keep_additions(
	struct plan *plan, const struct ruleset *ruleset, const struct observed *observed);

/* Is `addr` let into the service once the plan is in force? */
typedef bool plan_permits_fn(void *context, size_t service, const struct addr *addr);
enum { PLAN_COMPARE = 1 };
/*
 * For a plan that plan_make() did not make (core/ledger.h): adds what the revoked sets of `ruleset`
 * need. Who leaves hosts, and is not permitted otherwise, enters; who enters hosts leaves. Without
 * revoked sets nothing is added. Elements of `ruleset` are not looked at.
 *
 * PLAN_COMPARE: the plan changes nets, and which addresses of them are revoked or talk to us only
 * the kernel knows: read it and compare whole. The plan is as it was. -ENOMEM.
 *
 * A revoked set that is full makes the kernel refuse the batch (-ENFILE). Compare whole then, too:
 * plan_make() leaves out whose time would end first.
 */
int plan_add_revoked(
	struct plan *plan, const struct ruleset *ruleset, plan_permits_fn *permits, void *context);

/* Ports that were shut to strangers before this run, by whatever source knows it. */
struct enforced_ports {
	const struct enforced_port *list;
	size_t count;
};
bool enforced_has(const struct enforced_ports *ports, uint8_t protocol, uint16_t port);
/* True when `service` has a port that none of `before` (an array of `count`) shuts. */
bool service_is_new(
	const struct service *service, const struct enforced_ports *before, size_t count);

/* What the table held before: the set of that name, or NULL. */
const struct set *observed_find_set(const struct observed *observed, const char *name);
struct observed *observed_free(struct observed *observed); /* returns NULL */

#endif
