/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is said of takeovers, and when (asterisk_watch.h): pairs of an extension and an address that
 * it did not have. Holds TAKEOVER_PAIRS of them, and never more; whoever is less sure, and seen
 * longest ago, gives way.
 */
#ifndef SIPFENCE_TAKEOVER_H
#define SIPFENCE_TAKEOVER_H

#include "audit.h"
#include "config.h"
#include "engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TAKEOVER_PAIRS = 2048,
	TAKEOVER_PAUSE_MS = 3500,
	TAKEOVER_GRACE_MS = 15 * 60 * 1000,
	TAKEOVER_AGAIN_MS = 60 * 60 * 1000,
	/* Said one by one in a minute: of one extension, and of all. */
	TAKEOVER_MINUTE_EACH = 10,
	TAKEOVER_MINUTE_ALL = 300,
	TAKEOVER_OWNER_GONE = UINT32_MAX,
};

/* Who else has an address. */
enum takeover_other { TAKEOVER_NOBODY, TAKEOVER_LOCAL, TAKEOVER_EXTENSION, TAKEOVER_PEER };

struct takeover_judge {
	void *context;
	enum audit_verdict (*verdict)(void *context, uint32_t owner, const struct addr *addr);
	/* *ret_other: of an extension or a peer, index into config.owners. */
	enum takeover_other (*other)(
		void *context, uint32_t owner, const struct addr *addr, uint32_t *ret_other);
	const struct config *(*config)(void *context);
	engine_log_fn *log;
	void *log_context;
};

struct takeover {
	uint32_t owner; /* index into config.owners */
	bool has_addr;	/* else only a Contact is known */
	bool login;	/* the security log has it */
	bool excused;	/* a name of the owner's points there by now */
	uint8_t certainty, protocol;
	uint16_t port; /* of the last one; 0: not known */
	struct addr addr;
	uint64_t count;
	int64_t first, last; /* of the wall clock */
	struct audit_name agent;
};

struct takeovers;

int takeovers_new(struct takeovers **ret_takeovers, const struct takeover_judge *judge,
	int64_t settled_ms, uint64_t seed);		       /* -ENOMEM */
struct takeovers *takeovers_free(struct takeovers *takeovers); /* returns NULL */

/* What an audit has found. */
void takeovers_see(struct takeovers *takeovers, const struct audit_sighting *sighting,
	const struct moment *now);
/* The owners have other indices: `renamed[old]`, TAKEOVER_OWNER_GONE: the config has it no more. */
void takeovers_rename(struct takeovers *takeovers, const uint32_t *renamed, size_t count);
/* Names have changed: something may be excused by now. */
void takeovers_look(struct takeovers *takeovers, const struct moment *now);
void takeovers_tick(struct takeovers *takeovers, const struct moment *now);
int64_t takeovers_due(const struct takeovers *takeovers);

/* The latest first, up to `max` of those that were said; returns how many there are in all. */
size_t takeovers_list(const struct takeovers *takeovers, struct takeover *list, size_t max);
/* The same of those by `addr` (NULL: by any), and of `owner` (TAKEOVER_OWNER_GONE: of any). */
size_t takeovers_find(const struct takeovers *takeovers, const struct addr *addr, uint32_t owner,
	struct takeover *list, size_t max);
uint64_t takeovers_left_out(const struct takeovers *takeovers); /* not said one by one */
/* How often one was proven: it has grown, so there is one to be thrown out. */
uint64_t takeovers_proven(const struct takeovers *takeovers);

#endif
