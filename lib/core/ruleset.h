/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole table as a value (design, section 6). codec/nft_text.h prints it for `nft -f`,
 * codec/nft_netlink.h sends it; neither decides anything, so the two cannot drift.
 *
 *   map ports                  protocol . port -> goto <service>_guard: other traffic leaves here
 *   set destinations4/6        only when the config has `destinations`
 *   set <service>_hosts4/6     one element an address; of a size (below)
 *   set <service>_nets4/6      disjoint prefixes
 *   set <service>_rejected4/6  who was dropped in the last hour; filled by the kernel
 *   set <service>_revoked4/6   only with `replies: accept`: who left the list in the last 2 hours
 *   chain prerouting           the base chain
 *   chain <service>_guard      loopback, hosts and nets, then what is not ours
 *   chain <service>_reject     counter, a flood's rest, log, rejected, drop: each a rule of its
 *                              own, so that a full set or a spent limit ends its own rule only
 *
 * The order is the cheapest that tests/bench/path found: who is listed pays no route lookup.
 *
 * A set without intervals and time-outs that has a size is one of the kernel's fixed hashes (its
 * net/netfilter/nft_set_hash.c), which are quicker to fill (by a third at 10,000 elements) and to
 * look into than the one that grows. ports have room for themselves; hosts for as many addresses as
 * there are names and fixed ones, or more if there are, and half as many again. A list that
 * outgrows that makes the table be swapped (core/plan.h).
 */
#ifndef SIPFENCE_RULESET_H
#define SIPFENCE_RULESET_H

#include "addr.h"
#include "allowlist.h"
#include "arena.h"
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	COMMENT_MAX = 128, /* bytes, without NUL: nft's own limit for a set element */
	/* The kernel makes 4/3 of a size, up to a power of two, into buckets of 8 bytes: these are
	 * sizes that use 1,024 and 16,384 of them up. */
	HOSTS_ROOM_LEAST = 768,
	DYNAMIC_SET_SIZE = 12288, /* of a rejected or revoked set */
	REJECTED_TIMEOUT_MS = 3600 * 1000,
	REVOKED_TIMEOUT_MS = 7200 * 1000,
	LOG_BURST = 5, /* nft's default, sent explicitly */
	/* Packets a second that a service logs and notes the sources of; what it drops beyond is
	 * counted only. Far above what a scanner sends, and below 1 % of a core's time. */
	NOTED_RATE = 10000,
	PRIORITY_RAW = -300,
	PRIORITY_BEHIND_CONNTRACK = -150,
	PRIORITY_RELAY = -148,	 /* behind every place that a base chain of ours can have */
	PORTS_EXPANDED_MAX = 64, /* up to here ranges become single ports in a hash */
};

enum set_kind {
	SET_PORTS,
	SET_DESTINATIONS,
	SET_HOSTS,
	SET_NETS,
	SET_REJECTED,
	SET_REVOKED,
};

struct element {
	struct prefix prefix; /* a single address but in nets and destinations */
	const char *comment;  /* NULL: none */
	uint64_t packets, bytes;
	uint64_t expires_ms; /* rest of its time; 0: the set's full time-out, or for ever */
};

/* An element of the map `ports`. */
struct port_verdict {
	uint8_t protocol;
	uint16_t first, last;
	uint32_t chain; /* index into ruleset.chains */
};

struct set {
	const char *name;
	uint8_t kind;		  /* enum set_kind */
	uint8_t family;		  /* enum family; not of ports */
	uint8_t service;	  /* index into config.services; not of ports and destinations */
	bool intervals;		  /* ports: elements are ranges */
	uint32_t room;		  /* elements that it can hold; 0: any number */
	uint32_t fresh_room;	  /* hosts: the same of a table that is made anew */
	struct element *elements; /* sorted by prefix_compare, distinct; nets: disjoint */
	size_t count;
	struct port_verdict *ports; /* of the map `ports`, instead of elements */
	size_t port_count;
};

enum expression_kind {
	/* matches: the rule goes on when they hold */
	EXPRESSION_LOOPBACK, /* iif "lo" */
	/* fib daddr type unicast, fib daddr oif != 0: neither to us nor broad-, multi- or anycast,
	 * and there is a way out (an address that is local only by a policy-routing table has none)
	 */
	EXPRESSION_FORWARDED,
	EXPRESSION_DADDR_NOT_IN, /* set */
	EXPRESSION_SADDR_IN,	 /* set */
	EXPRESSION_REPLY,	 /* ct direction reply */
	EXPRESSION_LIMIT,	 /* rate, per, burst */
	EXPRESSION_OVER_LIMIT,	 /* the same; holds for what is beyond */
	/* statements */
	EXPRESSION_PORTS,	 /* meta l4proto . th dport vmap: set */
	EXPRESSION_COUNTER,	 /* packets, bytes */
	EXPRESSION_LOG,		 /* prefix */
	EXPRESSION_UPDATE_SADDR, /* set: add the source, or renew its time-out */
	/* verdicts */
	EXPRESSION_ACCEPT,
	EXPRESSION_DROP,
	EXPRESSION_GOTO, /* chain */
};

struct expression {
	enum expression_kind kind;
	union {
		uint32_t set;	/* index into ruleset.sets */
		uint32_t chain; /* index into ruleset.chains */
		const char *prefix;
		struct {
			uint32_t rate, per, burst; /* per: seconds */
		};
		struct {
			uint64_t packets, bytes;
		};
	};
};

enum { RULE_MAX_EXPRESSIONS = 4 };

struct rule {
	struct expression expressions[RULE_MAX_EXPRESSIONS];
	size_t count;
};

struct chain {
	const char *name;
	bool base;    /* hook prerouting, type filter, policy accept */
	int priority; /* of a base chain */
	struct rule *rules;
	size_t count, capacity;
};

struct ruleset {
	struct arena arena;
	const char *table;
	uint8_t family; /* enum table_family */
	bool sets_only; /* some sets in the table of somebody else: hosts and nets, and no chains */
	struct set *sets;
	size_t set_count;
	struct chain *chains; /* chains[0] is the base chain */
	size_t chain_count;
	bool lock; /* the table is to be this process's own while it lives, and to stay when it ends
		    */
};

/* -ENOMEM. Copies what it needs: config and allowlist may go. `lock` is left false. */
int ruleset_build(const struct config *config, const struct allowlist *allowlist,
	struct ruleset **ret_ruleset);
struct ruleset *ruleset_free(struct ruleset *ruleset); /* returns NULL */

const char *ruleset_family_name(enum table_family family); /* "inet", "ip", "ip6" */

/* For that many addresses, and half as many again. */
uint32_t hosts_room(size_t expected);

/* Nets and destinations: its elements are prefixes, intervals for the kernel. */
bool set_has_prefixes(const struct set *set);
const struct set *ruleset_find_set(
	const struct ruleset *ruleset, enum set_kind kind, size_t service, enum family family);
/* True when hosts or nets of the service let `addr` in. */
bool ruleset_permits(const struct ruleset *ruleset, size_t service, const struct addr *addr);

/*
 * What stands beside an element: "21 home21.dyndns.example", for as many grants as fit, then "+2".
 * The grants come in the order of the allowlist: those of the element itself, then those of nested
 * prefixes that fold into it. Begins zeroed.
 */
struct comment {
	char text[COMMENT_MAX + 1];
	size_t length;
	size_t count;	 /* grants taken; a smaller piece of what the one before has is none */
	size_t left_out; /* of these, without a place in the text */
	/* The last one taken. It waits: how much room it has hangs on whether another follows. */
	struct grant last;
};
void comment_add(struct comment *comment, const struct config *config, const struct grant *grant);
/* True when further grants would only be counted. */
bool comment_is_full(const struct comment *comment);
/* Completes `text`; `more` grants follow that were not added. */
void comment_end(struct comment *comment, const struct config *config, size_t more);

/* The element that contains `addr`, in an array sorted by prefix_compare of disjoint prefixes. */
const struct element *element_find(
	const struct element *elements, size_t count, const struct addr *addr);

#endif
