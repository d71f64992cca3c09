/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine.h"
#include "engine_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct clock_reading reading_of(const struct engine *engine, const struct moment *now)
{
	struct clock_reading reading = {.wall = now->wall, .boottime = now->boot_ms / 1000};

	memcpy(reading.boot_id, engine->options.boot_id, sizeof(reading.boot_id));
	return reading;
}

/* Within a run it is the same boot, even where the boot has no name. */
void engine_advance(struct engine *engine, const struct moment *now)
{
	struct steady *clock = &engine->cycle.clock;
	struct clock_reading reading = reading_of(engine, now), before = clock->at;
	int64_t passed = reading.boottime - clock->at.boottime;

	if (passed > 0)
		clock->now += passed;
	clock->at = reading;
	engine->cycle.now = clock->now;
	engine->now_ms = now->boot_ms;
	engine_history_clock(engine, &before);
}

/* --- A new roster --- */

/* The questions of a new roster; what speaks of the old one's hosts goes. */
static void take_index(struct engine *engine, const struct question_index *index)
{
	engine->resolver = resolver_free(engine->resolver);
	engine->ledger = ledger_free(engine->ledger);
	engine->epoch++;
	engine->srv_changed = false;
	question_index_clear(&engine->index);
	engine->index = *index;
	engine->failed = 0;
	engine_count_tickets(engine);
}

static int make_index(struct engine *engine, const struct config *config,
	const struct roster *roster, struct question_index *ret_index)
{
	struct carriage carriage = {
		.old = &engine->index,
		.index = ret_index,
		.now_ms = engine->now_ms,
		.latest_ms = engine->now_ms + config->refresh_max * 1000,
	};

	if (question_index_make(roster, ret_index) < 0)
		return -ENOMEM;
	question_index_carry(&carriage, roster, engine->cycle.roster);
	return 0;
}

/* SRV names have other targets: hosts come and go. */
static void remake_roster(struct engine *engine)
{
	struct question_index index;
	struct roster *roster;

	if (roster_inherit(engine->config, engine->cycle.roster, engine->config,
		    &engine->cycle.around, engine->cycle.now, &roster) < 0)
		return; /* the next step tries again */
	if (make_index(engine, engine->config, roster, &index) < 0) {
		roster_free(roster);
		return;
	}
	take_index(engine, &index);
	roster_free(engine->cycle.roster);
	engine->cycle.roster = roster;
	engine_history_look_again(engine);
	engine_schedule_expiries(engine);
	engine_doubt(engine);
}

/* --- The public face --- */

int engine_new(struct engine **ret_engine, struct config *config,
	const struct engine_options *options, struct error *error)
{
	struct engine *engine = calloc(1, sizeof(*engine));

	if (!engine) {
		config_free(config);
		return error_no_memory(error);
	}
	engine->options = *options;
	engine->config = config;
	engine->dice = options->seed ? options->seed : 1;
	engine->streak = 1;
	engine->compare.at = INT64_MAX;
	engine->save.at = INT64_MAX;
	*ret_engine = engine;
	return 0;
}

struct engine *engine_free(struct engine *engine)
{
	if (!engine)
		return NULL;
	resolver_free(engine->resolver);
	ledger_free(engine->ledger);
	engine_count_end(engine);
	sightings_clear(&engine->sightings);
	ruleset_free(engine->skeleton);
	kernel_watch_close(engine->watch);
	kernel_network_close(engine->network);
	disk_close(engine->disk);
	free(engine->journal_path);
	free(engine->history.path);
	text_free(&engine->history.lines);
	kernel_close(engine->kernel);
	question_index_clear(&engine->index);
	cycle_clear(&engine->cycle);
	config_free(engine->config);
	free(engine);
	return NULL;
}

/* Whatever the state file is like, the port must be shut. */
static int load(struct engine *engine, const struct moment *now, struct error *error)
{
	struct clock_reading reading = reading_of(engine, now);
	const char *path = engine->options.state_path;
	struct error problem = {0};
	struct text notes = {0};
	int result = cycle_start(
		&engine->cycle, engine->config, path, false, &reading, &notes, &problem);

	if (result < 0) {
		engine_log_error(engine, "state-file", &problem);
		cycle_clear(&engine->cycle);
		result = cycle_start(
			&engine->cycle, engine->config, "", true, &reading, &notes, error);
	}
	engine->cycle.state_path = path;
	engine->cycle.lock = engine->config->lock;
	for (char *line = notes.data, *end; line && *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		engine_log_simple(engine, EVENT_WARNING, "state-file", "note", line);
	}
	text_free(&notes);
	return result;
}

int engine_start(struct engine *engine, const struct moment *now, struct error *error)
{
	bool waits, known;
	int result;

	engine->now_ms = now->boot_ms;
	engine->journal_path = cycle_journal_path(engine->options.state_path);
	engine->history.path = record_path(engine->options.state_path);
	if (!engine->journal_path || !engine->history.path)
		return error_no_memory(error);
	result = disk_open(&engine->disk, error);
	if (result == 0)
		result = kernel_open(&engine->kernel, error);
	/* Not while an owned table is made: the kernel would announce each element to us. */
	if (result == 0 && !engine->config->lock)
		result = engine_watch_open(engine, error);
	/* Before the addresses are read for the first time. */
	if (result == 0)
		result = kernel_network_open(&engine->network, error);
	if (result == 0)
		result = load(engine, now, error);
	if (result < 0)
		return result;
	engine->started_at = engine->history.judged = engine->cycle.now;
	engine_history_look_again(engine);
	engine_log_databases(engine);
	known = engine->cycle.table_known;
	result = engine_install(engine, error);
	/* A firewall that is loaded after us brings its sets. */
	waits = result < 0 && engine->cycle.observed && engine->cycle.observed->misfit;
	if (result < 0 && !waits)
		return result;
	if (question_index_make(engine->cycle.roster, &engine->index) < 0)
		return error_no_memory(error);
	if (waits)
		engine_put_off(engine, error);
	else
		engine_take_stock(engine);
	if (engine->cycle.former_table)
		engine_log_simple(
			engine, EVENT_WARNING, "former-table", "table", engine->cycle.former_table);
	question_index_all_due(&engine->index, engine->cycle.roster, engine->now_ms);
	engine_schedule_expiries(engine);
	engine->save.at = engine->now_ms;
	/* If it were killed now, its table would be a stranger's. */
	if (!known && engine->cycle.table_known)
		engine_save_now(engine);
	return 0;
}

int engine_resolver_fd(const struct engine *engine)
{
	return engine->resolver ? resolver_fd(engine->resolver) : -1;
}

int engine_kernel_fd(const struct engine *engine)
{
	return engine->watch ? kernel_watch_fd(engine->watch) : -1;
}

int engine_network_fd(const struct engine *engine)
{
	return engine->network ? kernel_network_fd(engine->network) : -1;
}

int engine_disk_fd(const struct engine *engine)
{
	return disk_fd(engine->disk);
}

int64_t engine_due(const struct engine *engine, const struct moment *now)
{
	int64_t due = min64(
		schedule_first(&engine->index.questions), schedule_first(&engine->index.expiries));
	int wait = engine->resolver ? resolver_wait_ms(engine->resolver) : -1;

	due = min64(due, min64(engine->compare.at, engine_history_due(engine)));
	if (!engine->save.under_way)
		due = min64(due, engine->save.at);
	if (engine->srv_changed)
		due = now->boot_ms;
	if (engine->log.left_out)
		due = min64(due, engine->log.since + LOG_PERIOD_MS);
	return wait < 0 ? due : min64(due, now->boot_ms + wait);
}

static void settle_roster(struct engine *engine)
{
	engine_expire_due(engine);
	if (engine->srv_changed)
		remake_roster(engine);
}

void engine_step(struct engine *engine, const struct moment *now)
{
	engine_advance(engine, now);
	engine_watch(engine);
	settle_roster(engine);
	engine_flush(engine);
	/* First things first: what is said can wait until the table is right. */
	engine_say_damage(engine);
	engine_follow_network(engine);
	engine_resolve(engine);
	settle_roster(engine);
	engine_flush(engine);
	engine_take_counters(engine);
	engine_log_databases(engine);
	engine_log_left_out(engine);
	engine_write_state(engine);
}

/* A cycle of another config, with what is known of the names that stay. */
static int inherit_cycle(struct engine *engine, const struct config *config, struct cycle *cycle,
	struct error *error)
{
	const struct cycle *old = &engine->cycle;

	*cycle = (struct cycle){.config = config,
		.state_path = old->state_path,
		.clock = old->clock,
		.now = old->now,
		.lock = config->lock,
		.table_known = old->table_known && !config->sets_only &&
			       strcmp(config->table, engine->config->table) == 0};
	/* Sets in the table that has just been ours would go with it. */
	if (config->sets_only && !engine->config->sets_only && config->table_family == TABLE_INET &&
		strcmp(config->table, engine->config->table) == 0)
		return error_set(error, -EEXIST,
			"name your firewall's table; or run sipfence remove first, make the table "
			"anew, and start the daemon",
			"nftables.sets-only names table inet %s, which is sipfence's own until now",
			config->table);
	if (cycle_look_around(cycle, error) < 0)
		return error->code;
	if (roster_inherit(config, old->roster, engine->config, &cycle->around, cycle->now,
		    &cycle->roster) < 0)
		return error_no_memory(error);
	return cycle_build(cycle, error);
}

/* The table has the new config's name now; the old one would go on dropping. */
static void remove_former_table(struct engine *engine, const char *name)
{
	struct cycle *cycle = &engine->cycle;
	struct error error = {0};
	bool removed;

	if (cycle_remove(name, engine->kernel, &removed, &error) == 0)
		return;
	engine_log_error(engine, "kernel", &error);
	free(cycle->former_table);
	cycle->former_table = strdup(name);
}

int engine_reload(
	struct engine *engine, struct config *config, const struct moment *now, struct error *error)
{
	struct question_index index = {0};
	struct cycle former = {0}, fresh;
	struct config *old;
	int result;

	engine_advance(engine, now);
	settle_roster(engine);
	engine_write_journal(engine);
	result = inherit_cycle(engine, config, &fresh, error);
	if (result == 0 && make_index(engine, config, fresh.roster, &index) < 0)
		result = error_no_memory(error);
	if (result == 0)
		result = engine_change_table(engine, &fresh, error);
	if (result < 0) {
		question_index_clear(&index);
		cycle_clear(&fresh);
		config_free(config);
		return result;
	}
	engine->counting.stale = true;
	former = engine->cycle;
	engine->cycle = fresh;
	engine->cycle.former_table = former.former_table;
	former.former_table = NULL;
	old = engine->config;
	engine->config = config;
	take_index(engine, &index);
	engine_schedule_expiries(engine);
	engine_take_stock(engine);
	engine_history_look_again(engine);
	engine_log_reload(engine, old, former.roster);
	if (!old->sets_only && (config->sets_only || strcmp(config->table, old->table) != 0))
		remove_former_table(engine, old->table);
	cycle_clear(&former);
	config_free(old);
	engine_save_soon(engine);
	return 0;
}

void engine_servers_changed(struct engine *engine, const struct moment *now)
{
	engine_advance(engine, now);
	if (engine->config->resolver.server_count > 0)
		return;
	engine_log_simple(engine, EVENT_INFO, "servers", "from", "resolv.conf");
	engine_drop_resolver(engine);
	/* The new ones may know what the old ones did not. */
	for (size_t i = 0; i < question_count(&engine->index); i++) {
		if (engine_lookup(engine, i)->failures > 0 &&
			schedule_due(&engine->index.questions, i) != INT64_MAX)
			schedule_set(&engine->index.questions, i, engine->now_ms);
	}
}

int engine_remove(struct engine *engine, const struct moment *now, struct error *error)
{
	struct error problem = {0};
	char *other = NULL;
	bool removed;
	int result = 0;

	/* Another's table, and its sets, are that one's to empty. */
	if (!engine->config->sets_only)
		result = cycle_remove(engine->config->table, engine->kernel, &removed, error);
	if (result < 0)
		return result;
	/* Else whoever looks next would read what was saved last. */
	engine_save(engine, now, NULL);
	/* The table is out; what a state file says of it is no reason to stay. */
	if (cycle_forget(engine->config->table, engine->options.state_path, &other, &problem) < 0)
		engine_log_save_failure(engine, &problem);
	free(other);
	return 0;
}

/* --- For those who tell people --- */

const struct config *engine_config(const struct engine *engine)
{
	return engine->config;
}

const struct roster *engine_roster(const struct engine *engine)
{
	return engine->cycle.roster;
}

const struct steady *engine_clock(const struct engine *engine)
{
	return &engine->cycle.clock;
}

const struct ledger *engine_ledger(const struct engine *engine)
{
	return engine->ledger;
}

const struct own_addresses *engine_own_addresses(const struct engine *engine)
{
	return &engine->cycle.around.own;
}

const struct geo *engine_geo(const struct engine *engine)
{
	return engine->cycle.geo;
}

uint32_t engine_epoch(const struct engine *engine)
{
	return engine->epoch;
}

uint64_t engine_list_changes(const struct engine *engine)
{
	return engine->list_changes;
}

const struct sightings *engine_sightings(const struct engine *engine)
{
	return &engine->sightings;
}

struct engine_summary engine_summary(const struct engine *engine)
{
	struct engine_summary summary = {
		.outage = engine->outage,
		.owned = engine->cycle.lock,
		.table_right = engine->ledger && !engine->compare.again,
		.saved_at = engine->save.done,
		.changes = engine->changes,
		.repairs = engine->repairs,
		.save_failing = engine->save.failed,
		.started_at = engine->started_at,
	};

	if (engine->resolver)
		summary.dns = resolver_stats(engine->resolver);
	return summary;
}

int64_t engine_next_question(const struct engine *engine, size_t host, enum family family)
{
	size_t asked = roster_first_of_question(engine->cycle.roster, host);

	return schedule_due(&engine->index.questions, question_of(asked, family));
}
