/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How often the addresses of a name change. One that changes more often than a limit within an hour
 * is flapping, until it has changed no more than half as often within an hour: so one that changes
 * at about the limit is not said to begin and to end all the time.
 *
 * Nothing is kept of a name that never changes: its pointer is NULL.
 */
#ifndef SIPFENCE_FLAPPING_H
#define SIPFENCE_FLAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FLAPPING_WITHIN = 3600 /* seconds */, FLAPPING_LIMIT_MAX = 1000 };

struct changes {
	bool flapping;	 /* as it was judged last */
	bool said;	 /* what the admin was told last */
	uint32_t count;	 /* of `times`: never more than the limit and one */
	int64_t times[]; /* the oldest first */
};

/* The name has changed once more. `limit` is at least 1. -ENOMEM: it is not counted. */
int changes_add(struct changes **changes, uint32_t limit, int64_t now);
/* Judges anew; true: it is not what was said. Frees what is of no use any more. */
bool changes_judge(struct changes **changes, uint32_t limit, int64_t now);
/* When it ends to flap without a further change; INT64_MAX: it is not flapping. */
int64_t changes_end(const struct changes *changes, uint32_t limit);
/* Within the last hour; of many, no more are known than the limit and one. NULL: 0 */
uint32_t changes_within(const struct changes *changes, int64_t now);
/* The admin was told what it is now. NULL is allowed. */
void changes_say(struct changes *changes);
bool changes_flapping(const struct changes *changes); /* NULL: false */
/* NULL of NULL; *ret_copy is written only then and on success. -ENOMEM */
int changes_copy(const struct changes *changes, struct changes **ret_copy);
/* Times of the future become `now`: the clock went backwards. */
void changes_restore(struct changes *changes, int64_t now);

#endif
