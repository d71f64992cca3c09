/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_state.h"

#include <errno.h>

enum {
	SAVE_MS = 14 * 60 * 1000, /* what was learned is at most 15 minutes old on the disk */
	SAVE_CHANGE_MS = 5000,	  /* a changed address; more with many names, as the file is long */
	SAVE_HOST_MS = 5,
	SAVE_RETRY_MS = 60 * 1000,
	JOURNAL_HOST = 256, /* bytes a name: a longer journal costs more than saving all */
	JOURNAL_LEAST = 65536,
};

static void save_within(struct engine *engine, int64_t delay)
{
	if (engine->save.failed && delay < SAVE_RETRY_MS)
		delay = SAVE_RETRY_MS;
	engine->save.at = min64(engine->save.at, engine->now_ms + delay);
}

void engine_save_soon(struct engine *engine)
{
	int64_t delay = SAVE_CHANGE_MS + (int64_t)engine->index.hosts * SAVE_HOST_MS;

	save_within(engine, min64(delay, SAVE_MS));
}

void engine_learned(struct engine *engine)
{
	save_within(engine, SAVE_MS);
}

void engine_log_save_failure(struct engine *engine, const struct error *error)
{
	struct event event;

	event_begin(&event, EVENT_ERROR, "save");
	event_put(&event, "result", "failed");
	event_put_error(&event, error);
	engine_log(engine, &event);
}

void engine_write_journal(struct engine *engine)
{
	size_t most = JOURNAL_LEAST + engine->index.hosts * JOURNAL_HOST;
	struct text *journal = &engine->cycle.journal;

	if (journal->length == 0 && !journal->failed)
		return;
	/* A save that does not succeed must not let it grow for ever. */
	if (engine->save.journal_failed || engine->save.journal_size > 2 * most) {
		text_free(journal);
		return;
	}
	engine->save.journal_size += journal->length;
	engine->save.journal_failed = disk_append(engine->disk, engine->journal_path, journal) < 0;
	if (engine->save.journal_failed || engine->save.journal_size > most)
		save_within(engine, 0);
}

static void end_save(struct engine *engine, int result, const struct error *error)
{
	engine->save.under_way = false;
	if (result < 0) {
		engine->save.at = engine->now_ms + SAVE_RETRY_MS;
		if (!engine->save.failed)
			engine_log_save_failure(engine, error);
		engine->save.failed = true;
		return;
	}
	engine->save.done = engine->cycle.now;
	engine->save.journal_size -= engine->save.covered;
	engine->save.journal_failed = false;
	if (engine->save.failed)
		engine_log_simple(engine, EVENT_NOTICE, "save", "result", "done");
	engine->save.failed = false;
}

static void begin_save(struct engine *engine)
{
	struct error error = {0};
	struct text text = {0};
	/* A table that can't be made right yet is not as the names say. */
	bool right = engine->ledger && !engine->compare.again;
	int result =
		cycle_print_state(&engine->cycle, right ? CYCLE_IN_FORCE : CYCLE_UNSURE, &text);

	engine->save.at = INT64_MAX;
	engine->save.covered = engine->save.journal_size;
	engine->save.under_way = true;
	if (result == 0)
		result = disk_save(
			engine->disk, engine->cycle.state_path, &text, engine->journal_path);
	text_free(&text);
	if (result == 0)
		return;
	error_set(&error, result, "see that there is memory, and that the disk works",
		"the state can't be handed to the disk");
	end_save(engine, result, &error);
}

static void take_results(struct engine *engine)
{
	struct disk_result result;

	while (disk_take_result(engine->disk, &result)) {
		if (result.history) {
			engine_history_take(engine, &result);
			continue;
		}
		if (result.save) {
			end_save(engine, result.result, &result.error);
			continue;
		}
		/* The disk's fault is said by the save that is due at once then. */
		engine->save.journal_failed = true;
		save_within(engine, 0);
	}
}

void engine_write_state(struct engine *engine)
{
	take_results(engine);
	if (engine->save.at > engine->now_ms || engine->save.under_way)
		return;
	begin_save(engine);
	take_results(engine);
}

void engine_save_now(struct engine *engine)
{
	disk_wait(engine->disk);
	take_results(engine);
	begin_save(engine);
	disk_wait(engine->disk);
	take_results(engine);
}

int engine_save(struct engine *engine, const struct moment *now, struct error *error)
{
	engine_advance(engine, now);
	engine_write_journal(engine);
	engine_history_end(engine);
	engine_save_now(engine);
	if (!engine->save.failed)
		return 0;
	return error_set(error, -EIO, "see that the disk has room and works (df, dmesg)",
		"cannot save what is known of the names to %s", engine->cycle.state_path);
}
