/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "schedule.h"

#include <errno.h>
#include <stdlib.h>

enum {
	QUESTION_MS = 20, /* of all questions together: 50 a second */
	WAVE_LEAST = 50,  /* this many at once are no wave */
	RETRY_MS = 10 * 1000,
	LATE_SHARE = 10,   /* an answer's delay grows by up to a tenth */
	FAILURE_SHARE = 4, /* a failure's delay shrinks by up to a quarter */
	TOGETHER = 16,
	TOGETHER_MS = 256,
	TOGETHER_SHARE = 20, /* of a delay, that it may grow by */
	MS_PER_SECOND = 1000,
};

int schedule_init(struct schedule *schedule, size_t capacity)
{
	size_t room = capacity ? capacity : 1;
	struct schedule made = {.capacity = capacity};

	if (capacity >= UINT32_MAX)
		return -ENOMEM;
	made.heap = calloc(room, sizeof(*made.heap));
	made.place = calloc(room, sizeof(*made.place));
	made.due = calloc(room, sizeof(*made.due));
	if (!made.heap || !made.place || !made.due) {
		schedule_clear(&made);
		return -ENOMEM;
	}
	*schedule = made;
	return 0;
}

void schedule_clear(struct schedule *schedule)
{
	free(schedule->heap);
	free(schedule->place);
	free(schedule->due);
	*schedule = (struct schedule){0};
}

/* Of equal times the lower item is first, so that a run can be repeated. */
static bool is_earlier(const struct schedule *schedule, uint32_t a, uint32_t b)
{
	if (schedule->due[a] != schedule->due[b])
		return schedule->due[a] < schedule->due[b];
	return a < b;
}

static void put(struct schedule *schedule, size_t at, uint32_t item)
{
	schedule->heap[at] = item;
	schedule->place[item] = (uint32_t)at + 1;
}

/* Moves `item` up from the free place `at`. */
static void rise(struct schedule *schedule, size_t at, uint32_t item)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (!is_earlier(schedule, item, schedule->heap[parent]))
			break;
		put(schedule, at, schedule->heap[parent]);
		at = parent;
	}
	put(schedule, at, item);
}

/* Moves `item` down from the free place `at`. */
static void sink(struct schedule *schedule, size_t at, uint32_t item)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= schedule->count)
			break;
		if (child + 1 < schedule->count &&
			is_earlier(schedule, schedule->heap[child + 1], schedule->heap[child]))
			child++;
		if (!is_earlier(schedule, schedule->heap[child], item))
			break;
		put(schedule, at, schedule->heap[child]);
		at = child;
	}
	put(schedule, at, item);
}

/* Puts `item` into the free place `at`, or where it belongs from there. */
static void settle(struct schedule *schedule, size_t at, uint32_t item)
{
	if (at > 0 && is_earlier(schedule, item, schedule->heap[(at - 1) / 2]))
		rise(schedule, at, item);
	else
		sink(schedule, at, item);
}

void schedule_set(struct schedule *schedule, size_t item, int64_t due)
{
	size_t at;

	if (item >= schedule->capacity)
		return;
	if (due == INT64_MAX) {
		schedule_cancel(schedule, item);
		return;
	}
	at = schedule->place[item] ? schedule->place[item] - 1 : schedule->count++;
	schedule->due[item] = due;
	settle(schedule, at, (uint32_t)item);
}

void schedule_cancel(struct schedule *schedule, size_t item)
{
	size_t at;
	uint32_t last;

	if (item >= schedule->capacity || !schedule->place[item])
		return;
	at = schedule->place[item] - 1;
	schedule->place[item] = 0;
	last = schedule->heap[--schedule->count];
	if (at < schedule->count)
		settle(schedule, at, last);
}

int64_t schedule_due(const struct schedule *schedule, size_t item)
{
	if (item >= schedule->capacity || !schedule->place[item])
		return INT64_MAX;
	return schedule->due[item];
}

int64_t schedule_first(const struct schedule *schedule)
{
	return schedule->count ? schedule->due[schedule->heap[0]] : INT64_MAX;
}

bool schedule_take(struct schedule *schedule, int64_t now, size_t *ret_item)
{
	uint32_t item;

	if (schedule->count == 0 || schedule->due[schedule->heap[0]] > now)
		return false;
	item = schedule->heap[0];
	schedule_cancel(schedule, item);
	*ret_item = item;
	return true;
}

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
	if (value < least)
		value = least;
	return value < most ? value : most;
}

/* 0 to `limit`, evenly; `limit` may be as long as any delay. */
static int64_t scale(uint32_t random, int64_t limit)
{
	int64_t whole = limit >> 32, rest = limit & UINT32_MAX;

	return whole * random + (int64_t)((uint64_t)rest * random >> 32);
}

/* In which all questions, one behind the other, are asked. */
static int64_t round_ms(const struct rhythm *rhythm)
{
	if (rhythm->questions > (size_t)(INT64_MAX / QUESTION_MS))
		return INT64_MAX;
	return (int64_t)rhythm->questions * QUESTION_MS;
}

static int64_t delay_of_answer(
	const struct rhythm *rhythm, uint32_t ttl, bool settling, uint32_t random)
{
	int64_t delay = clamp((int64_t)ttl * MS_PER_SECOND, rhythm->min_ms, rhythm->max_ms);
	int64_t late = clamp(delay / LATE_SHARE, 0, rhythm->max_ms - delay);
	int64_t width = clamp(round_ms(rhythm), 0, delay);

	if (settling && rhythm->questions > WAVE_LEAST && width > late)
		return delay - scale(random, width);
	return delay + scale(random, late);
}

static int64_t delay_of_failure(const struct rhythm *rhythm, uint16_t failures, uint32_t random)
{
	int64_t delay = rhythm->min_ms < RETRY_MS ? rhythm->min_ms : RETRY_MS;

	if (rhythm->outage) {
		delay = clamp(round_ms(rhythm), rhythm->min_ms, rhythm->max_ms);
	} else {
		for (int i = 1; i < failures && delay < rhythm->max_ms; i++)
			delay = delay < rhythm->max_ms / 2 ? delay * 2 : rhythm->max_ms;
	}
	return delay - scale(random, delay / FAILURE_SHARE);
}

int64_t rhythm_delay(
	const struct rhythm *rhythm, const struct lookup *lookup, bool settling, uint32_t random)
{
	switch ((enum answer_kind)lookup->last) {
	case ANSWER_ADDRESSES:
	case ANSWER_NO_DATA:
	case ANSWER_NO_NAME:
	case ANSWER_REFUSED:
		return delay_of_answer(rhythm, lookup->ttl, settling, random);
	case ANSWER_NEVER:
	case ANSWER_COULD_NOT_ASK:
		break;
	}
	return delay_of_failure(rhythm, lookup->failures, random);
}

/* A power of two, so that the multiples of all of them meet. */
static int64_t together_ms(const struct rhythm *rhythm, int64_t delay)
{
	int64_t most = delay > INT64_MAX / TOGETHER ? INT64_MAX : delay * TOGETHER, step = 1;

	if (rhythm->questions > 0)
		most /= (int64_t)rhythm->questions;
	most = clamp(most, 0, clamp(delay / TOGETHER_SHARE, 0, TOGETHER_MS));
	while (step * 2 <= most)
		step *= 2;
	return step;
}

int64_t rhythm_due(const struct rhythm *rhythm, const struct lookup *lookup, bool settling,
	uint32_t random, int64_t now_ms)
{
	int64_t usual = rhythm_delay(rhythm, lookup, false, 0), earliest = usual;
	int64_t delay = rhythm_delay(rhythm, lookup, settling, random);
	int64_t step = together_ms(rhythm, usual), due;

	if (delay >= INT64_MAX - step - now_ms)
		return INT64_MAX - 1;
	due = (now_ms + delay + step - 1) & ~(step - 1);
	if (due - now_ms <= rhythm->max_ms && due - now_ms <= usual + usual / LATE_SHARE)
		return due;
	/* A cache that holds the answer for longer has nothing new a moment earlier either. */
	if ((int64_t)lookup->ttl * MS_PER_SECOND > rhythm->max_ms)
		earliest = usual - step > rhythm->min_ms ? usual - step : rhythm->min_ms;
	return due - step - now_ms >= earliest ? due - step : now_ms + delay;
}
