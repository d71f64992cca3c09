/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who should be let in, by a plain account of every answer that DNS has given. It knows nothing of
 * lib/core/host.c and its like: what they say is checked against this.
 *
 * Times are kept by two clocks, since after a reboot it may be unknown how much time has passed: by
 * one of them as little as can be, by the other one as much. What is in force by both is certain;
 * what is so by one is allowed, and not asked for. Certain things are so by a margin of seconds.
 */
#ifndef SIPFENCE_TEST_ACCOUNT_H
#define SIPFENCE_TEST_ACCOUNT_H

#include "addr.h"
#include "answer.h"
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ACCOUNT_NAMES = 20,
	ACCOUNT_VALUES = 12,
	ACCOUNT_RETIRED = 32,
	ACCOUNT_NAME_SIZE = 24,
};

struct stamp {
	int64_t least, most; /* ms */
};

/* An address, or the target of an SRV name. */
struct value {
	struct addr addr;
	char target[ACCOUNT_NAME_SIZE];
};

struct retired_value {
	struct value value;
	struct stamp when;
	bool doubtful;
};

/* What one question has brought. */
struct tale {
	struct value values[ACCOUNT_VALUES]; /* of the last good answer */
	size_t count;
	bool fresh;    /* DNS has said so, and nothing else since, in this run */
	bool none;     /* DNS has said that there is none, and no good answer since */
	bool doubtful; /* it may have been forgotten */
	struct stamp good, none_since;
	struct retired_value retired[ACCOUNT_RETIRED]; /* the oldest first */
	size_t retired_count;
};

enum { TALE_A, TALE_AAAA, TALE_SRV, TALE_COUNT };

struct account_name {
	char name[ACCOUNT_NAME_SIZE];
	bool of_peer;
	bool within; /* its answers must lie in 203.0.113.0/24, and IPv4 alone */
	struct tale tales[TALE_COUNT];
};

/* What the config says. */
struct account_rules {
	int64_t hold, gone, linger[2]; /* ms; by enum owner_kind */
};

struct account {
	struct account_name names[ACCOUNT_NAMES];
	size_t count;
	struct account_rules rules;
	struct stamp now;
	uint64_t changes; /* of what is in force */
};

struct account_name *account_find(struct account *account, const char *name);
/* Made if it is new. */
struct account_name *account_add(struct account *account, const char *name, bool of_peer);
void account_remove(struct account *account, const char *name);

/* DNS has answered. */
void account_take(struct account *account, const char *name, int tale, const struct answer *answer);
/* Time has passed: what has left for certain is forgotten. */
void account_pass(struct account *account);
/* Another config counts from now on. */
void account_rule(struct account *account, const struct account_rules *rules);
/* The addresses of `name` that its guard of today does not let through are forgotten. */
void account_guard(struct account *account, struct account_name *name, bool within);
/* A new run: nothing is fresh. */
void account_restart(struct account *account);

/* Calls `tell` for each value that is in force, or lingers; `certain`: it must be let in, otherwise
 * it may be. */
typedef void account_tell_fn(
	void *context, const struct account_name *name, const struct value *value, bool certain);
void account_list(const struct account *account, const struct account_name *name, int tale,
	account_tell_fn *tell, void *context);

#endif
