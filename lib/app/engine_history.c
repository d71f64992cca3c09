/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_state.h"
#include "record.h"

#include <stdlib.h>

enum {
	ALIVE_MS = 14 * 60 * 1000, /* what a reader knows of one that was killed */
	RETRY_MS = 60 * 1000,
	CLOCK_SET = 2, /* seconds; below it, readings of two clocks that tick at other moments */
};

/* Nothing of it is on the disk: all is looked at again when that works. */
static void fall_silent(struct engine *engine, const struct error *error)
{
	struct event event;

	engine->history.recording = false;
	engine->history.look_at = engine->now_ms + RETRY_MS;
	if (!engine->history.missed) {
		event_begin(&event, EVENT_WARNING, "history");
		event_put(&event, "result", "failed");
		event_put_error(&event, error);
		engine_log(engine, &event);
	}
	engine->history.missed = true;
}

static void cannot_queue(struct engine *engine, int result)
{
	struct error error = {0};

	error_set(&error, result, "see that there is memory, and that the disk works",
		"what has changed can't be handed to the disk");
	fall_silent(engine, &error);
}

static int64_t wall_of(const struct engine *engine)
{
	return engine->cycle.clock.at.wall;
}

static void print_word(struct engine *engine, enum history_word word, int64_t other)
{
	const struct history_line line = {.word = word, .when = wall_of(engine), .other = other};

	if (engine->history.recording)
		history_print_line(&line, &engine->history.lines);
}

static void write_lines(struct engine *engine)
{
	struct engine_history *history = &engine->history;
	int result;

	if (history->lines.length == 0 && !history->lines.failed)
		return;
	history->alive_at = engine->now_ms + ALIVE_MS;
	result = disk_history_add(engine->disk, history->path, wall_of(engine), &history->lines);
	if (result < 0)
		cannot_queue(engine, result);
}

/* Queues all that is had now; the disk's thread finds what of it is news. */
static void look(struct engine *engine)
{
	struct engine_history *history = &engine->history;
	/* Of a recorder that goes on, what differs has changed just now. */
	enum history_word word = history->recording		     ? HISTORY_ALIVE
				 : history->begun && history->missed ? HISTORY_MISSED
								     : HISTORY_RUN;
	struct text listing = {0};
	int result;

	write_lines(engine);
	record_listing(engine->config, engine->cycle.roster, engine->cycle.now, &listing);
	result = disk_history_look(engine->disk, history->path, word, wall_of(engine), &listing);
	history->look_at = INT64_MAX;
	history->recording = result == 0;
	if (word != HISTORY_ALIVE)
		history->alive_at = engine->now_ms + ALIVE_MS;
	if (result < 0)
		cannot_queue(engine, result);
}

void engine_history_take(struct engine *engine, const struct disk_result *result)
{
	if (result->result < 0) {
		fall_silent(engine, &result->error);
		return;
	}
	if (engine->history.missed)
		engine_log_simple(engine, EVENT_NOTICE, "history", "result", "done");
	engine->history.missed = false;
	engine->history.begun = true;
}

void engine_history_look_again(struct engine *engine)
{
	engine->history.look_at = engine->now_ms;
}

void engine_history_clock(struct engine *engine, const struct clock_reading *before)
{
	const struct clock_reading *now = &engine->cycle.clock.at;
	int64_t was = before->wall + (now->boottime - before->boottime);

	if (now->wall - was >= CLOCK_SET || was - now->wall >= CLOCK_SET)
		print_word(engine, HISTORY_CLOCK, was);
}

void engine_history_note(struct engine *engine, size_t host, const struct record_host *before)
{
	const struct question_index *index = &engine->index;
	size_t low = 0, high = index->owner_count;

	if (!engine->history.recording)
		return;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (index->owners[middle].host < host)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < index->owner_count && index->owners[low].host == host; low++)
		record_change(engine->config, index->owners[low].owner, &before->host,
			engine->history.judged, &engine->cycle.roster->hosts[host],
			engine->cycle.now, wall_of(engine), &engine->history.lines);
}

/* Without names there is nothing to be told from "nobody was there". */
static bool is_alive_needed(const struct engine *engine)
{
	return engine->history.recording && engine->index.owner_count > 0;
}

static void print_alive(struct engine *engine)
{
	if (engine->history.alive_at > engine->now_ms || !is_alive_needed(engine))
		return;
	engine->history.alive_at = engine->now_ms + ALIVE_MS;
	/* On a slow disk these are the first that can be done without. */
	if (!disk_is_busy(engine->disk))
		print_word(engine, HISTORY_ALIVE, 0);
}

void engine_history_write(struct engine *engine)
{
	if (engine->history.look_at <= engine->now_ms)
		look(engine);
	print_alive(engine);
	write_lines(engine);
}

int64_t engine_history_due(const struct engine *engine)
{
	const struct engine_history *history = &engine->history;

	return is_alive_needed(engine) ? min64(history->look_at, history->alive_at)
				       : history->look_at;
}

void engine_history_end(struct engine *engine)
{
	/* A look that is still due tells first that there was a run. */
	engine_history_write(engine);
	print_word(engine, HISTORY_END, 0);
	engine_history_write(engine);
	/* Should it go on all the same, it begins anew. */
	engine->history.recording = false;
	engine->history.look_at = engine->now_ms;
}
