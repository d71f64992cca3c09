/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_state.h"

/*
 * The counters of 100,000 elements take a third of a second to read: that long nobody could be let
 * in. A thread of its own reads them.
 */

enum { PERIOD_MS = 5 * 60 * 1000, LONG_PERIOD_MS = 30 * 60 * 1000, MANY = 20000 };

static void read_counters(void *context)
{
	struct counting *counting = context;
	struct traffic *traffic = &counting->traffic;

	counting->known = traffic_look(traffic, TRAFFIC_LISTED, NULL) == 0 &&
			  sightings_read(traffic->observed->sets, traffic->observed->set_count,
				  &counting->fresh) == 0;
	traffic_clear(traffic);
	atomic_store(&counting->done, true);
}

static void end_counting(struct counting *counting)
{
	beside_wait(&counting->reader);
	sightings_clear(&counting->fresh);
	counting->under_way = false;
}

void engine_note_counters(struct engine *engine, const struct observed *observed)
{
	engine->counting.begun_ms = engine->now_ms;
	/* What is being read is older. */
	engine->counting.stale = true;
	/* Short of memory, what was seen before is as good. */
	(void)sightings_note(
		&engine->sightings, observed->sets, observed->set_count, engine->cycle.clock.now);
}

void engine_take_counters(struct engine *engine)
{
	struct counting *counting = &engine->counting;

	if (!counting->under_way || !atomic_load(&counting->done))
		return;
	/* Only people miss it: whatever is wrong with the kernel, a comparison says it. */
	if (counting->known && !counting->stale)
		sightings_take(&engine->sightings, &counting->fresh, counting->at);
	end_counting(counting);
}

void engine_count_packets(struct engine *engine)
{
	struct counting *counting = &engine->counting;
	int64_t period = engine->sightings.count > MANY ? LONG_PERIOD_MS : PERIOD_MS;

	engine_take_counters(engine);
	if (counting->under_way || !engine->ledger ||
		(counting->begun_ms > 0 && engine->now_ms < counting->begun_ms + period))
		return;
	counting->begun_ms = engine->now_ms;
	if (traffic_begin(engine->config, &counting->traffic) < 0)
		return;
	counting->at = engine->cycle.clock.now;
	counting->under_way = true;
	counting->stale = counting->known = false;
	atomic_store(&counting->done, false);
	beside_start(&counting->reader, read_counters, counting);
	/* Where no thread can be had. */
	engine_take_counters(engine);
}

void engine_count_end(struct engine *engine)
{
	if (engine->counting.under_way)
		end_counting(&engine->counting);
}
