/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When to do what next: a heap of due times, and how long to wait for the next question.
 *
 * Times and delays are milliseconds of one clock that the caller chooses.
 */
#ifndef SIPFENCE_SCHEDULE_H
#define SIPFENCE_SCHEDULE_H

#include "host.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Items are the numbers from 0 to capacity - 1; each is due once at most. Setting, cancelling and
 * taking cost O(log n), looking O(1), and no memory after schedule_init(). */
struct schedule {
	uint32_t *heap;	 /* items, the earliest first */
	uint32_t *place; /* of each item in `heap`, plus 1; 0: it is not due */
	int64_t *due;	 /* of each item */
	size_t count, capacity;
};

int schedule_init(struct schedule *schedule, size_t capacity); /* -ENOMEM */
void schedule_clear(struct schedule *schedule);
/* Makes the item due at that time, or moves it there. INT64_MAX: cancels it. */
void schedule_set(struct schedule *schedule, size_t item, int64_t due);
void schedule_cancel(struct schedule *schedule, size_t item);
/* When the item is due; INT64_MAX: it is not. */
int64_t schedule_due(const struct schedule *schedule, size_t item);
/* When the first one is due; INT64_MAX: none is. */
int64_t schedule_first(const struct schedule *schedule);
/* Takes out the earliest one that is due at `now`; false: none is. */
bool schedule_take(struct schedule *schedule, int64_t now, size_t *ret_item);

/* What governs the rhythm of questions. */
struct rhythm {
	int64_t min_ms, max_ms; /* `refresh` */
	size_t questions;	/* how many there are in all: what makes a wave */
	bool outage;		/* no question is answered at present */
};

/*
 * How long after this outcome, which lookup_take() has taken, the question is asked again.
 *
 *  - After an answer, negative and refused ones included: its TTL, at least min and at most max,
 *    and up to a tenth of that later, since a cache has nothing new before; never more than max.
 *  - `settling`: the first answer after the start, or after failures. Such answers come in waves;
 *    a wave of many is spread evenly over up to the whole delay, then each goes on by its own TTL.
 *    A few questions (up to 50 a second) make no wave and are not asked early.
 *  - After a failure: 10 s (less with a smaller min), doubled with each one in a row, up to max; in
 *    an outage only so long that all questions together come at 50 a second (min to max). Each by
 *    up to a quarter less.
 *
 * `random` is any 32 bits.
 */
int64_t rhythm_delay(
	const struct rhythm *rhythm, const struct lookup *lookup, bool settling, uint32_t random);

/*
 * The same as a time, within the same limits. Questions that are due at about the same time are due
 * together, up to a quarter of a second and a 20th of the TTL later (earlier, where max is shorter
 * than the TTL): one wake-up and one socket for several. Of as many questions as there are, each
 * with this TTL, about 8 to 16 come together, which is less than what a small resolver takes
 * (pace.h).
 */
int64_t rhythm_due(const struct rhythm *rhythm, const struct lookup *lookup, bool settling,
	uint32_t random, int64_t now_ms);

#endif
