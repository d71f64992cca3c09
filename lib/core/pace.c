/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pace.h"

enum {
	EARLY_ANSWERS =
		8, /* of the first round: later ones have queued behind them at a slow server */
	BUSY = 30, /* answers per millisecond that are enough; a busy machine gives no more */
	PAUSE_MS = 1000,
	LOSS_SHARE = 16, /* losing less than one in 16 is bad names */
	PATIENCE_LEAST_MS = 100,
};

void pace_init(struct pace *pace, uint32_t fixed)
{
	*pace = (struct pace){
		.fixed = fixed > 0,
		.limit = fixed ? fixed : PACE_START,
		.threshold = PACE_MOST,
	};
}

bool pace_allows(const struct pace *pace, uint32_t first_try, uint32_t under_way)
{
	if (pace->fixed)
		return under_way < pace->limit;
	return first_try < pace->limit && under_way < PACE_UNDER_WAY_MOST;
}

static void measure(struct pace *pace, int64_t us)
{
	int64_t error = us - pace->round_trip;

	if (!pace->round_trip) {
		pace->round_trip = us;
		pace->deviation = us / 2;
		return;
	}
	pace->round_trip += error / 8;
	pace->deviation += ((error < 0 ? -error : error) - pace->deviation) / 4;
}

int64_t pace_patience_ms(const struct pace *pace, int64_t most)
{
	int64_t patience = (pace->round_trip + 4 * pace->deviation) / 1000;

	if (!pace->round_trip)
		return most;
	if (patience < PATIENCE_LEAST_MS)
		patience = PATIENCE_LEAST_MS;
	return patience < most ? patience : most;
}

/*
 * How many more may be worth it. The answers of a round come as fast as the slowest piece of the
 * path lets them through: at that rate, how many would be on their way in the time of an empty
 * path?
 */
static uint32_t growth(const struct pace *pace, int64_t now_us)
{
	int64_t spread = now_us - pace->round_first, limit = pace->limit;
	int64_t passed = (int64_t)pace->round_heard * pace->empty_trip;

	if (pace->limit >= pace->threshold)
		return pace->limit / 8;
	if (passed >= limit * 2 * spread)
		return pace->limit * 3;
	if (passed >= limit * spread)
		return pace->limit;
	return pace->limit / 4;
}

/*
 * At the end of a round. More at once is allowed when the last growth has brought more answers a
 * second, a quarter of what it could have brought at least, and when the round trip is so long that
 * what is under way does not keep us busy.
 */
static void grow(struct pace *pace, int64_t now_us)
{
	uint32_t limit = pace->limit;
	int64_t took = now_us - pace->round_start;
	int64_t answers = (int64_t)pace->round_heard * 1000000 / (took > 0 ? took : 1);
	int64_t round_trip = pace->round_weighed ? pace->round_trips / pace->round_weighed : 0;
	uint32_t base = pace->proven && pace->proven < limit ? pace->proven : limit / 2;

	if (answers <= pace->best_pace + pace->best_pace * (limit - base) / (4 * base)) {
		/* More at once only waits at the other end. */
		if (pace->proven && pace->proven < limit)
			pace->limit = pace->proven;
		return;
	}
	pace->best_pace = answers;
	pace->proven = limit;
	if (!pace->empty_trip || round_trip < pace->empty_trip)
		pace->empty_trip = round_trip;
	if (round_trip * BUSY < (int64_t)limit * 1000)
		return;
	limit += growth(pace, now_us);
	pace->limit = limit < PACE_MOST ? limit : PACE_MOST;
}

static void start_round(struct pace *pace, int64_t start_us)
{
	pace->round_start = start_us;
	pace->round_heard = pace->round_weighed = 0;
	pace->round_trips = 0;
	pace->round_size = pace->limit;
}

void pace_heard(struct pace *pace, int64_t round_trip_us, bool more, int64_t now_us)
{
	measure(pace, round_trip_us);
	pace->heard++;
	if (pace->fixed)
		return;
	if (!more) {
		pace->round_size = 0;
		pace->best_pace = 0;
		pace->proven = 0;
		pace->empty_trip = 0;
		return;
	}
	if (!pace->round_size)
		start_round(pace, now_us - round_trip_us);
	if (!pace->round_heard)
		pace->round_first = now_us;
	if (pace->best_pace || pace->round_heard < EARLY_ANSWERS) {
		pace->round_trips += round_trip_us;
		pace->round_weighed++;
	}
	if (++pace->round_heard < pace->round_size)
		return;
	grow(pace, now_us);
	start_round(pace, now_us);
}

void pace_lost(struct pace *pace)
{
	pace->lost++;
}

void pace_shrink(struct pace *pace, int64_t now_ms)
{
	uint32_t limit = pace->limit / 2;

	if (pace->fixed || now_ms < pace->shrink_after)
		return;
	pace->limit = limit < PACE_LEAST ? PACE_LEAST : limit;
	pace->threshold = pace->limit;
	/* What was sent before is still being missed for a while. */
	pace->shrink_after = now_ms + 2 * pace_patience_ms(pace, PAUSE_MS / 2);
	pace->lost = pace->heard = 0;
}

void pace_weigh_losses(struct pace *pace, int64_t now_ms)
{
	/* A server that says nothing at all is dead, not busy. */
	if (pace->heard && (uint64_t)pace->lost * LOSS_SHARE > (uint64_t)pace->lost + pace->heard)
		pace_shrink(pace, now_ms);
}

void pace_forget(struct pace *pace, int64_t now_ms)
{
	if (now_ms < pace->forget_at)
		return;
	pace->forget_at = now_ms + PAUSE_MS;
	pace->lost /= 2;
	pace->heard /= 2;
}
