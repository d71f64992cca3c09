/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	RETRY_MS = 1000,
	RETRY_MOST_MS = 60 * 1000,
	SHUT_OUT_LINES = 20,
};

void engine_doubt(struct engine *engine)
{
	engine->compare.at = engine->now_ms;
}

static void retry_later(struct engine *engine)
{
	int64_t delay = RETRY_MS << (engine->compare.failures < 6 ? engine->compare.failures : 6);

	engine->compare.failures++;
	engine->compare.at =
		engine->now_ms + (delay < RETRY_MOST_MS ? delay : (int64_t)RETRY_MOST_MS);
}

static void forget_ledger(struct engine *engine)
{
	engine->ledger = ledger_free(engine->ledger);
	engine->skeleton = ruleset_free(engine->skeleton);
}

/* Whoever got in until now, and does not any more. */
static void log_shut_out(struct engine *engine, const struct cycle *cycle)
{
	size_t lines = 0;

	for (size_t i = 0; i < cycle->talker_count && lines < SHUT_OUT_LINES; i++) {
		const struct talker *talker = &cycle->talkers[i];
		struct event event;

		if (!talker->newly_shut)
			continue;
		lines++;
		event_begin(&event, EVENT_WARNING, "shut-out");
		event_put(&event, "service", cycle->config->services[talker->service].name);
		event_put_addrs(&event, "source", &talker->addr, 1);
		if (talker->opened_here)
			event_put(
				&event, "hint", "answers flows that this machine opened: a trunk?");
		engine_log(engine, &event);
	}
}

static const char *action_name(const struct engine *engine, enum plan_kind kind, bool was_present,
	bool adopted, size_t changes)
{
	if (engine->compare.by_others && kind != PLAN_NOTHING)
		return "repaired";
	if (kind == PLAN_SWAP)
		return was_present ? "swapped" : "installed";
	if (kind == PLAN_NOTHING)
		return "kept";
	return adopted && changes == 0 ? "adopted" : "changed";
}

/* `opened`: strangers were kept out until now. */
static void log_table(struct engine *engine, const struct cycle *cycle, const char *action,
	size_t changes, bool opened)
{
	struct event event;
	size_t elements = 0;

	for (size_t i = 0; i < cycle->ruleset->set_count; i++) {
		const struct set *set = &cycle->ruleset->sets[i];

		if (set->kind == SET_HOSTS || set->kind == SET_NETS)
			elements += set->count;
	}
	event_begin(&event, opened ? EVENT_WARNING : EVENT_NOTICE, "table");
	event_put(&event, "action", action);
	event_put(&event, "table", cycle->ruleset->table);
	event_put(&event, "mode", config_mode_name(cycle->config));
	if (opened)
		event_put(&event, "was", "enforce");
	event_put(&event, "lock", cycle->lock ? "owned" : "events");
	event_put_number(&event, "elements", (int64_t)elements);
	event_put_number(&event, "changed", (int64_t)changes);
	engine_log_one_of_many(engine, &event);
}

/* The plan for cycle->ruleset, and its way into the kernel. */
static int apply(struct engine *engine, struct cycle *cycle, struct error *error)
{
	enum plan_kind kind;
	bool was_present, adopted, opened;
	size_t changes;

	cycle->touched = false;
	if (cycle_compare(cycle, engine->kernel, error) < 0)
		return error->code;
	kind = cycle->plan.kind;
	was_present = cycle->observed->present;
	adopted = cycle->plan.adopt;
	changes = cycle->plan.count;
	opened = cycle_opens(cycle);
	if (cycle_apply(cycle, engine->kernel, error) < 0)
		return error->code;
	if (kind == PLAN_SWAP)
		log_shut_out(engine, cycle);
	/* The repair comes first, what it was for is said first. */
	engine_say_damage(engine);
	/* That all is right is news after the start, or after a failure, alone. */
	if (kind != PLAN_NOTHING || !engine->installed || engine->compare.again ||
		(engine->compare.unwatched && engine->watch))
		log_table(engine, cycle, action_name(engine, kind, was_present, adopted, changes),
			changes, opened);
	if (engine->compare.by_others && kind != PLAN_NOTHING)
		engine->repairs++;
	engine->installed = true;
	return 0;
}

int engine_install(struct engine *engine, struct error *error)
{
	int result = cycle_build(&engine->cycle, error);

	if (result == 0)
		result = apply(engine, &engine->cycle, error);
	return result;
}

int engine_change_table(struct engine *engine, struct cycle *fresh, struct error *error)
{
	struct kernel_watch *watch = NULL;
	int result = fresh->lock ? 0 : kernel_watch_open(&watch, fresh->config, error);

	if (result == 0)
		result = apply(engine, fresh, error);
	if (result < 0) {
		kernel_watch_close(watch);
		if (fresh->touched)
			engine_doubt(engine);
		return result;
	}
	kernel_watch_close(engine->watch);
	engine->watch = watch;
	return 0;
}

static int make_ledger(struct engine *engine)
{
	struct allowlist nobody = {0};
	struct cycle *cycle = &engine->cycle;

	forget_ledger(engine);
	if (ruleset_build(cycle->config, &nobody, &engine->skeleton) < 0)
		return -ENOMEM;
	engine->skeleton->lock = cycle->lock;
	return ledger_new(
		cycle->config, cycle->roster, engine->skeleton, &cycle->allowlist, &engine->ledger);
}

/* The kernel has no owned tables after all: what others did until now nobody has seen. */
static bool watch_late(struct engine *engine)
{
	struct error error = {0};

	if (engine_watch_open(engine, &error) == 0) {
		engine_doubt(engine);
		return true;
	}
	retry_later(engine);
	if (!engine->compare.unwatched)
		engine_log_error(engine, "kernel", &error);
	engine->compare.unwatched = true;
	return false;
}

void engine_take_stock(struct engine *engine)
{
	struct cycle *cycle = &engine->cycle;
	bool watched = true;

	engine->compare.at = INT64_MAX;
	engine->compare.refused = false;
	engine->compare.by_others = false;
	engine->list_changes++;
	if (make_ledger(engine) < 0) {
		forget_ledger(engine);
		retry_later(engine);
	} else {
		engine->compare.again = false;
	}
	if (cycle->observed && cycle->observed->present)
		engine_note_counters(engine, cycle->observed);
	/* The next comparison makes them anew; until then they are only large. */
	cycle_relax(cycle);
	if (cycle->lock)
		engine->watch = kernel_watch_close(engine->watch);
	if (cycle->lock || engine->watch)
		engine->compare.unwatched = false;
	else
		watched = watch_late(engine);
	if (engine->ledger && watched)
		engine->compare.failures = 0;
}

void engine_put_off(struct engine *engine, const struct error *error)
{
	cycle_relax(&engine->cycle);
	retry_later(engine);
	if (!engine->compare.again)
		engine_log_error(engine, "kernel", error);
	engine->compare.again = true;
}

static void compare(struct engine *engine)
{
	struct error error = {0};

	engine->compare.refused = false;
	if (cycle_ruleset(&engine->cycle, &error) == 0 &&
		apply(engine, &engine->cycle, &error) == 0) {
		engine_take_stock(engine);
		return;
	}
	/* What is known of the kernel, if anything, is good enough to go on letting phones in. */
	if (engine->cycle.touched)
		forget_ledger(engine);
	engine_put_off(engine, &error);
}

static void carry_counter(void *context, uint32_t set, struct element *element)
{
	struct engine *engine = context;

	/* What can't be read begins at 0. */
	kernel_read_element(
		engine->kernel, engine->skeleton, &engine->skeleton->sets[set], element, NULL);
}

static bool permits(void *context, size_t service, const struct addr *addr)
{
	const struct engine *engine = context;

	return ledger_explain(engine->ledger, service, addr, NULL, NULL);
}

/* Not 0: the kernel must be read and compared. */
static int commit_changes(struct engine *engine)
{
	struct arena comments = {0};
	struct error refusal = {0};
	struct nft_batch batch = {0};
	struct plan plan = {0};
	int result = ledger_plan(engine->ledger, carry_counter, engine, &comments, &plan);

	if (result == 0 && plan.kind == PLAN_NOTHING) {
		/* The same addresses, of others. */
		engine->list_changes++;
		ledger_done(engine->ledger);
		goto out;
	}
	if (result == 0)
		result = plan_add_revoked(&plan, engine->skeleton, permits, engine);
	if (result == 0)
		result = nft_batch_changes(engine->skeleton, &plan, 0, &batch);
	if (result == 0)
		result = kernel_commit(engine->kernel, &batch, &refusal);
	if (result == 0) {
		ledger_done(engine->ledger);
		engine->changes++;
		engine->list_changes++;
	}
out:
	nft_batch_clear(&batch);
	plan_clear(&plan);
	arena_free(&comments);
	return result;
}

void engine_flush(struct engine *engine)
{
	/* Queued first: unless the disk is slow, who starts after us knows what the kernel does. */
	engine_write_journal(engine);
	engine_history_write(engine);
	if (engine->ledger && engine->compare.at > engine->now_ms && !engine->compare.refused &&
		ledger_is_dirty(engine->ledger) && commit_changes(engine) != 0) {
		/* The table is not what it was: read it; at once, or when that is due again. */
		engine->compare.refused = true;
		if (!engine->compare.again)
			engine_doubt(engine);
	}
	if (engine->compare.at <= engine->now_ms)
		compare(engine);
}

void engine_say_damage(struct engine *engine)
{
	const struct kernel_report *report = &engine->damage;
	struct event event;

	if (!report->damaged && !report->lost)
		return;
	event_begin(&event, EVENT_WARNING, "damage");
	if (report->program[0])
		event_put(&event, "program", report->program);
	if (report->pid)
		event_put_number(&event, "pid", report->pid);
	if (report->lost)
		event_put(&event, "reason", "events were lost: the table was compared");
	engine_log_one_of_many(engine, &event);
	engine->damage = (struct kernel_report){0};
}

void engine_watch(struct engine *engine)
{
	if (!engine->watch)
		return;
	kernel_watch_read(engine->watch, engine->kernel, &engine->damage);
	if (!engine->damage.damaged && !engine->damage.lost)
		return;
	engine->compare.by_others = true;
	engine_doubt(engine);
}

int engine_watch_open(struct engine *engine, struct error *error)
{
	return kernel_watch_open(&engine->watch, engine->config, error);
}
