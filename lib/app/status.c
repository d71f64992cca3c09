/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status.h"
#include "clock.h"
#include "json_put.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STATES = HOST_EXPIRED + 1, UNSURE_MAX = 1000 };

static int64_t boot_wall(void)
{
	struct timespec wall = {0};
	int64_t boot_ms = clock_boot_ms();

	clock_gettime(CLOCK_REALTIME, &wall);
	return (wall.tv_sec * INT64_C(1000) + wall.tv_nsec / 1000000 - boot_ms) / 1000;
}

struct view view_of_engine(
	const struct engine *engine, const char *version, const struct moment *now)
{
	return (struct view){
		.version = version,
		.engine = engine,
		.config = engine_config(engine),
		.roster = engine_roster(engine),
		.ledger = engine_ledger(engine),
		.clock = engine_clock(engine),
		.now = *now,
		.boot_wall = boot_wall(),
	};
}

bool view_monitors(const struct view *view)
{
	if (view->config->sets_only)
		return false;
	return view->in_force ? view->in_force->enforced_count == 0 : view->config->monitor;
}

bool view_table_right(const struct view *view)
{
	if (view->engine)
		return engine_summary(view->engine).table_right;
	return view->in_force && !view->differs && !(view->drift && drift_any(view->drift));
}

int64_t view_wall(const struct view *view, int64_t time)
{
	/* Within a boot the steady clock ticks together with the time since the boot. */
	if (view->boot_wall)
		return time - view->clock->now + view->clock->at.boottime + view->boot_wall;
	return steady_to_wall(view->clock, time);
}

static void put_steady_time(const struct view *view, int64_t time, struct text *text)
{
	if (time <= 0 || time == INT64_MAX)
		json_put_null(text);
	else
		json_put_time(text, view_wall(view, time));
}

static const char *outcome_name(uint8_t kind)
{
	static const char *const names[] = {
		[ANSWER_NEVER] = "never",
		[ANSWER_ADDRESSES] = "addresses",
		[ANSWER_NO_DATA] = "no data",
		[ANSWER_NO_NAME] = "no such name",
		[ANSWER_COULD_NOT_ASK] = "could not ask",
		[ANSWER_REFUSED] = "refused",
	};

	return names[kind];
}

/* `host` NULL: of an SRV name. */
static void put_reason(const struct view *view, const struct lookup *lookup,
	const struct host *host, const struct addr *culprit, struct text *text)
{
	enum family family = culprit && culprit->family == FAMILY_IPV6 ? FAMILY_IPV6 : FAMILY_IPV4;
	struct text reason = {0};

	if (lookup->reason && host && culprit)
		answer_refusal_print(lookup->reason, culprit, &host->origin[family],
			&view->config->guards[host->guard], &reason);
	else if (lookup->reason)
		text_puts(&reason, answer_reason_text(lookup->reason));
	json_put_string(text, reason.length ? text_string(&reason) : NULL);
	text->failed |= reason.failed;
	text_free(&reason);
}

/* `count`: values in force, which leave when they have outlived their time. */
static void put_lookup(const struct view *view, const struct lookup *lookup,
	const struct host *host, const struct addr *culprit, size_t count, struct text *text)
{
	struct timing timing = {.hold = view->config->hold, .gone = view->config->gone};

	json_put_key(text, "last");
	json_put_string(text, outcome_name(lookup->last));
	json_put_key(text, "reason");
	put_reason(view, lookup, host, culprit, text);
	json_put_key(text, "asked");
	put_steady_time(view, lookup->asked, text);
	json_put_key(text, "good");
	put_steady_time(view, lookup->good, text);
	json_put_key(text, "leaves");
	if (count > 0 && lookup->last != ANSWER_ADDRESSES)
		put_steady_time(view, lookup_expires(lookup, &timing), text);
	else
		json_put_null(text);
}

static void put_next(const struct view *view, size_t host, enum family family, struct text *text)
{
	int64_t next = INT64_MAX;

	if (view->engine)
		next = engine_next_question(view->engine, host, family);
	json_put_key(text, "next");
	if (next == INT64_MAX)
		json_put_null(text);
	else
		json_put_number(text,
			next > view->now.boot_ms ? (next - view->now.boot_ms + 999) / 1000 : 0);
}

/* What a guard objects to. The state file does not have it. */
static const struct addr *culprit_of(
	const struct view *view, const struct host *host, enum family family)
{
	static const struct addr unknown;
	const struct addr *culprit = host_culprit(host, family);

	if (!culprit || (!view->engine && addr_equal(culprit, &unknown)))
		return NULL;
	return culprit;
}

/* Where the refused address belongs, if that is why. */
static void put_origin(const struct lookup *lookup, const struct origin *origin, struct text *text)
{
	if (lookup->reason == REASON_COUNTRY && origin->known & ORIGIN_COUNTRY) {
		json_put_key(text, "refused_country");
		json_put_string(text, origin->country[0] ? origin->country : NULL);
	}
	if (lookup->reason == REASON_ASN && origin->known & ORIGIN_ASN) {
		json_put_key(text, "refused_asn");
		json_put_number(text, origin->asn);
	}
}

static void put_family(const struct view *view, size_t index, enum family family, struct text *text)
{
	const struct host *host = &view->roster->hosts[index];
	const struct lookup *lookup = &host->lookup[family];
	const struct addr *culprit = culprit_of(view, host, family);

	json_put_key(text, family == FAMILY_IPV4 ? "A" : "AAAA");
	json_put_open(text, "{");
	json_put_key(text, "addresses");
	json_put_open(text, "[");
	for (size_t i = 0; i < host->count[family]; i++)
		json_put_addr(text, &host->addrs[family][i]);
	json_put_close(text, "]");
	put_lookup(view, lookup, host, culprit, host->count[family], text);
	put_next(view, index, family, text);
	if (culprit) {
		json_put_key(text, "refused_address");
		json_put_addr(text, culprit);
		put_origin(lookup, &host->origin[family], text);
	}
	json_put_close(text, "}");
}

void status_put_owner(const struct config *config, uint32_t owner, struct text *text)
{
	json_put_open(text, "{");
	json_put_key(text, "kind");
	if (owner == GRANT_LOCAL)
		json_put_string(text, "local-subnets");
	else
		json_put_string(
			text, config->owners[owner].kind == OWNER_EXTENSION ? "extension" : "peer");
	json_put_key(text, "id");
	json_put_string(text, owner == GRANT_LOCAL ? NULL : config->owners[owner].id);
	json_put_close(text, "}");
}

void status_put_services(const struct config *config, uint32_t services, struct text *text)
{
	json_put_open(text, "[");
	for (size_t i = 0; i < config->service_count; i++) {
		if (services >> i & 1)
			json_put_string(text, config->services[i].name);
	}
	json_put_close(text, "]");
}

static void put_owners(
	const struct view *view, const struct owner_index *index, size_t item, struct text *text)
{
	json_put_key(text, "owners");
	json_put_open(text, "[");
	for (uint32_t i = index->first[item]; i < index->first[item + 1]; i++)
		status_put_owner(view->config, index->owners[i], text);
	json_put_close(text, "]");
}

void status_put_host(
	const struct view *view, const struct owner_index *index, size_t item, struct text *text)
{
	const struct host *host = &view->roster->hosts[item];

	json_put_open(text, "{");
	json_put_key(text, "name");
	json_put_string(text, host->name);
	put_owners(view, index, item, text);
	json_put_key(text, "state");
	json_put_string(text, host_state_name(host_state(host)));
	json_put_key(text, "flapping");
	json_put_bool(text, changes_flapping(host->changes));
	json_put_key(text, "changes_within_hour");
	json_put_number(text, changes_within(host->changes, view->clock->now));
	put_family(view, item, FAMILY_IPV4, text);
	put_family(view, item, FAMILY_IPV6, text);
	status_put_counted(view, host, NULL, text);
	json_put_key(text, "retired");
	json_put_open(text, "[");
	for (size_t i = 0; i < host->retired_count; i++) {
		json_put_open(text, "{");
		json_put_key(text, "address");
		json_put_addr(text, &host->retired[i].addr);
		json_put_key(text, "since");
		put_steady_time(view, host->retired[i].when, text);
		json_put_key(text, "leaves");
		put_steady_time(view, host->retired[i].when + view->roster->linger[item], text);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
	json_put_close(text, "}");
}

void status_put_srv(
	const struct view *view, const struct owner_index *index, size_t item, struct text *text)
{
	const struct srv *srv = &view->roster->srvs[item];

	json_put_open(text, "{");
	json_put_key(text, "name");
	json_put_string(text, srv->name);
	put_owners(view, index, item, text);
	json_put_key(text, "state");
	json_put_string(text, host_state_name(srv_state(srv)));
	json_put_key(text, "SRV");
	json_put_open(text, "{");
	json_put_key(text, "targets");
	json_put_open(text, "[");
	for (size_t i = 0; i < srv->count; i++)
		json_put_string(text, srv->targets[i]);
	json_put_close(text, "]");
	put_lookup(view, &srv->lookup, NULL, NULL, srv->count, text);
	json_put_close(text, "}");
	json_put_key(text, "retired");
	json_put_open(text, "[");
	for (size_t i = 0; i < srv->retired_count; i++) {
		json_put_open(text, "{");
		json_put_key(text, "target");
		json_put_string(text, srv->retired[i].target);
		json_put_key(text, "since");
		put_steady_time(view, srv->retired[i].when, text);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
	json_put_close(text, "}");
}

/* --- who owns what --- */

static int owner_index_new(size_t items, size_t pairs, struct owner_index *index)
{
	index->first = calloc(items + 2, sizeof(*index->first));
	index->owners = calloc(pairs + 1, sizeof(*index->owners));
	if (index->first && index->owners)
		return 0;
	owner_index_clear(index);
	return -ENOMEM;
}

void owner_index_clear(struct owner_index *index)
{
	free(index->first);
	free(index->owners);
	*index = (struct owner_index){0};
}

/* Counting sort: first[i + 2] counts, then first[i + 1] is where the next owner of i goes, which
 * ends as the start of i + 1. */
int owner_index_of_hosts(const struct view *view, struct owner_index *ret_index)
{
	const struct roster *roster = view->roster;
	struct owner_index index = {0};

	if (owner_index_new(roster->host_count, roster->binding_count, &index) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < roster->binding_count; i++)
		index.first[roster->bindings[i].host + 2]++;
	for (size_t i = 2; i < roster->host_count + 2; i++)
		index.first[i] += index.first[i - 1];
	for (size_t i = 0; i < roster->binding_count; i++)
		index.owners[index.first[roster->bindings[i].host + 1]++] =
			roster->bindings[i].owner;
	*ret_index = index;
	return 0;
}

int owner_index_of_srvs(const struct view *view, struct owner_index *ret_index)
{
	const struct config *config = view->config;
	const struct roster *roster = view->roster;
	struct owner_index index = {0};
	size_t pairs = 0;

	for (size_t i = 0; i < config->owner_count; i++)
		pairs += config->owners[i].srv_count;
	if (owner_index_new(roster->srv_count, pairs, &index) < 0)
		return -ENOMEM;
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < config->owner_count; i++) {
			for (size_t j = 0; j < config->owners[i].srv_count; j++) {
				const struct srv *srv =
					roster_find_srv(roster, config->owners[i].srv[j]);
				size_t item = srv ? (size_t)(srv - roster->srvs) : 0;

				if (srv && pass == 0)
					index.first[item + 2]++;
				else if (srv)
					index.owners[index.first[item + 1]++] = (uint32_t)i;
			}
		}
		for (size_t i = 2; pass == 0 && i < roster->srv_count + 2; i++)
			index.first[i] += index.first[i - 1];
	}
	*ret_index = index;
	return 0;
}

/* --- status, in pieces --- */

enum part { PART_HEAD, PART_NAMES, PART_SRVS, PART_PERMITS, PART_SUBNETS, PART_LOCAL, PART_END };

struct status_cursor {
	uint32_t epoch;
	enum part part;
	size_t at; /* in the part's list */
	struct owner_index hosts, srvs;
	size_t totals[STATES];
	char last; /* of what was written */
};

static uint32_t epoch_of(const struct view *view)
{
	return view->engine ? engine_epoch(view->engine) : 0;
}

int status_begin(const struct view *view, struct status_cursor **ret_cursor)
{
	struct status_cursor *cursor = calloc(1, sizeof(*cursor));

	if (!cursor)
		return -ENOMEM;
	cursor->epoch = epoch_of(view);
	if (owner_index_of_hosts(view, &cursor->hosts) < 0 ||
		owner_index_of_srvs(view, &cursor->srvs) < 0) {
		status_end(cursor);
		return -ENOMEM;
	}
	*ret_cursor = cursor;
	return 0;
}

struct status_cursor *status_end(struct status_cursor *cursor)
{
	if (!cursor)
		return NULL;
	owner_index_clear(&cursor->hosts);
	owner_index_clear(&cursor->srvs);
	free(cursor);
	return NULL;
}

static void put_dns(const struct engine_summary *summary, struct text *text)
{
	json_put_key(text, "dns");
	json_put_open(text, "{");
	json_put_key(text, "alive");
	json_put_bool(text, !summary->outage);
	json_put_key(text, "asked");
	json_put_number(text, (int64_t)summary->dns.asked);
	json_put_key(text, "answered");
	json_put_number(text, (int64_t)summary->dns.answered);
	json_put_key(text, "timed_out");
	json_put_number(text, (int64_t)summary->dns.timed_out);
	json_put_close(text, "}");
}

static void put_databases(const struct geo *geo, struct text *text)
{
	json_put_key(text, "geoip");
	json_put_open(text, "[");
	for (int kind = 0; kind < GEO_KIND_COUNT; kind++) {
		struct geo_database database = geo_database(geo, (enum geo_kind)kind);

		if (database.state == GEO_UNUSED)
			continue;
		json_put_open(text, "{");
		json_put_key(text, "database");
		json_put_string(text, geo_kind_name((enum geo_kind)kind));
		json_put_key(text, "path");
		json_put_string(text, database.path);
		json_put_key(text, "state");
		json_put_string(text, geo_state_name(database.state));
		json_put_key(text, "built");
		json_put_time(text, database.built);
		json_put_key(text, "error");
		json_put_string(text, database.error.code ? database.error.what : NULL);
		json_put_key(text, "next");
		json_put_string(text, database.error.code ? database.error.next : NULL);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
}

static void put_hooks(const struct hooks_summary *hooks, struct text *text)
{
	json_put_key(text, "hooks");
	if (!hooks->wanted) {
		json_put_null(text);
		return;
	}
	json_put_open(text, "{");
	json_put_key(text, "program");
	json_put_string(text, hooks->program);
	json_put_key(text, "alive");
	json_put_bool(text, hooks->alive);
	json_put_key(text, "restart_needed");
	json_put_bool(text, hooks->restart_needed);
	json_put_key(text, "running");
	json_put_number(text, (int64_t)hooks->running);
	json_put_key(text, "waiting");
	json_put_number(text, (int64_t)hooks->waiting);
	json_put_key(text, "done");
	json_put_number(text, (int64_t)hooks->done);
	json_put_key(text, "failed");
	json_put_number(text, (int64_t)hooks->failed);
	json_put_key(text, "dropped");
	json_put_number(text, (int64_t)hooks->dropped);
	json_put_close(text, "}");
}

static void put_daemon(const struct view *view, struct text *text)
{
	struct engine_summary summary = engine_summary(view->engine);

	json_put_key(text, "pid");
	json_put_number(text, getpid());
	json_put_key(text, "started");
	put_steady_time(view, summary.started_at, text);
	json_put_key(text, "lock");
	json_put_string(text, summary.owned ? "owned" : "events");
	put_dns(&summary, text);
	put_databases(engine_geo(view->engine), text);
	json_put_key(text, "saved");
	put_steady_time(view, summary.saved_at, text);
	json_put_key(text, "save_failing");
	json_put_bool(text, summary.save_failing);
	json_put_key(text, "refused");
	json_put_string(text, view->refused);
	put_hooks(&view->hooks, text);
	pbx_put(&view->pbx,
		view->boot_wall ? view->boot_wall : view->now.wall - view->now.boot_ms / 1000,
		text);
	asterisk_watch_put(view->watch, text);
	json_put_key(text, "changes");
	json_put_number(text, (int64_t)summary.changes);
	json_put_key(text, "repairs");
	json_put_number(text, (int64_t)summary.repairs);
	json_put_key(text, "elements");
	if (view->ledger)
		json_put_number(text, (int64_t)ledger_elements(view->ledger));
	else
		json_put_null(text);
}

/* The same keys where no daemon runs. */
static void put_no_daemon(const struct view *view, struct text *text)
{
	static const char *const unknown[] = {"pid", "started", "lock", "dns", "geoip",
		"save_failing", "refused", "hooks", "asterisk", "security_log", "takeovers",
		"changes", "repairs", "elements"};

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		json_put_key(text, unknown[i]);
		json_put_null(text);
	}
	json_put_key(text, "saved");
	json_put_time(text, view->saved_wall);
}

static void put_mode_name(
	const char *key, const struct config *config, bool monitor, struct text *text)
{
	json_put_key(text, key);
	json_put_string(text, config->sets_only ? "sets-only" : monitor ? "monitor" : "enforce");
}

static void put_drifted(const struct drifted *drifted, const char *change, struct text *text)
{
	for (size_t i = 0; i < drifted->count && i < DRIFT_NAMED; i++) {
		json_put_open(text, "{");
		json_put_key(text, "change");
		json_put_string(text, change);
		json_put_key(text, "set");
		json_put_string(text, drifted->first[i].set);
		json_put_key(text, "element");
		json_put_prefix(text, &drifted->first[i].prefix);
		json_put_close(text, "}");
	}
}

static void put_drift(const struct drift *drift, struct text *text)
{
	struct text words = {0};

	json_put_key(text, "drift");
	if (!drift) {
		json_put_null(text);
		return;
	}
	drift_print(drift, &words);
	json_put_open(text, "{");
	json_put_key(text, "added");
	json_put_number(text, (int64_t)drift->added.count);
	json_put_key(text, "missing");
	json_put_number(text, (int64_t)drift->missing.count);
	json_put_key(text, "first");
	json_put_open(text, "[");
	put_drifted(&drift->added, "added", text);
	put_drifted(&drift->missing, "missing", text);
	json_put_close(text, "]");
	json_put_key(text, "text");
	json_put_string(text, words.length > 0 ? text_string(&words) : NULL);
	json_put_close(text, "}");
	text->failed |= words.failed;
	text_free(&words);
}

void status_put_mode(const struct view *view, struct text *text)
{
	bool right = view_table_right(view);

	put_mode_name("mode", view->config, view_monitors(view), text);
	json_put_key(text, "mode_of");
	json_put_string(text, view->in_force || (view->engine && right) ? "table" : "config");
	put_mode_name("config_mode", view->config, view->config->monitor, text);
	json_put_key(text, "table_right");
	if (view->engine || view->no_table || view->in_force)
		json_put_bool(text, right);
	else
		json_put_null(text);
	put_drift(view->drift, text);
}

static void put_head(const struct view *view, struct text *text)
{
	json_put_open(text, "{");
	json_put_key(text, "ok");
	json_put_bool(text, true);
	json_put_key(text, "status");
	json_put_open(text, "{");
	json_put_key(text, "schema");
	json_put_number(text, 1);
	json_put_key(text, "version");
	json_put_string(text, view->version);
	json_put_key(text, "config");
	json_put_string(text, view->config->path);
	json_put_key(text, "table");
	json_put_string(text, view->config->table);
	json_put_key(text, "family");
	json_put_string(text, ruleset_family_name((enum table_family)view->config->table_family));
	status_put_mode(view, text);
	if (view->engine)
		put_daemon(view, text);
	else
		put_no_daemon(view, text);
}

static void put_permit(const struct view *view, uint32_t owner, const struct prefix *prefix,
	uint32_t services, struct text *text)
{
	json_put_open(text, "{");
	json_put_key(text, "owner");
	status_put_owner(view->config, owner, text);
	json_put_key(text, "prefix");
	json_put_prefix(text, prefix);
	json_put_key(text, "services");
	status_put_services(view->config, services, text);
	status_put_counted(view, NULL, prefix, text);
	json_put_close(text, "}");
}

static void put_local_subnets(const struct view *view, struct text *text)
{
	const struct config *config = view->config;
	uint32_t services = 0;

	for (size_t i = 0; i < config->service_count; i++)
		services |= (uint32_t)config->services[i].local << i;
	for (size_t i = 0; i < config->local_subnet_count; i++)
		put_permit(view, GRANT_LOCAL, &config->local_subnets[i], services, text);
}

static void put_totals(const struct status_cursor *cursor, struct text *text)
{
	static const enum host_state states[] = {
		HOST_FRESH, HOST_HELD, HOST_GONE, HOST_REFUSED, HOST_EXPIRED, HOST_NEVER};

	json_put_key(text, "totals");
	json_put_open(text, "{");
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		json_put_key(text, host_state_name(states[i]));
		json_put_number(text, (int64_t)cursor->totals[states[i]]);
	}
	json_put_close(text, "}");
}

/* Up to STATUS_NAMES items of the part; true: there are more of it. */
static bool put_items(struct status_cursor *cursor, const struct view *view, struct text *text)
{
	const struct roster *roster = view->roster;
	size_t count = cursor->part == PART_NAMES  ? roster->host_count
		       : cursor->part == PART_SRVS ? roster->srv_count
						   : view->config->owner_count;
	size_t end = count - cursor->at > STATUS_NAMES ? cursor->at + STATUS_NAMES : count;

	for (; cursor->at < end; cursor->at++) {
		const struct owner *owner = &view->config->owners[cursor->at];

		if (cursor->part == PART_NAMES) {
			cursor->totals[host_state(&roster->hosts[cursor->at])]++;
			status_put_host(view, &cursor->hosts, cursor->at, text);
			continue;
		}
		if (cursor->part == PART_SRVS) {
			cursor->totals[srv_state(&roster->srvs[cursor->at])]++;
			status_put_srv(view, &cursor->srvs, cursor->at, text);
			continue;
		}
		if (cursor->part == PART_LOCAL) {
			if (owner->local)
				json_put_string(text, owner->id);
			continue;
		}
		for (size_t i = 0; i < owner->fixed_count; i++)
			put_permit(view, (uint32_t)cursor->at, &owner->fixed[i], owner->services,
				text);
	}
	return cursor->at < count;
}

static void begin_list(
	struct status_cursor *cursor, enum part part, const char *key, struct text *text)
{
	json_put_key(text, key);
	json_put_open(text, "[");
	cursor->part = part;
	cursor->at = 0;
}

/* What stands between the lists, until there is a list's item to write, or the end. */
static void put_part(struct status_cursor *cursor, const struct view *view, struct text *text)
{
	switch (cursor->part) {
	case PART_HEAD:
		put_head(view, text);
		begin_list(cursor, PART_NAMES, "names", text);
		return;
	case PART_NAMES:
		if (put_items(cursor, view, text))
			return;
		json_put_close(text, "]");
		begin_list(cursor, PART_SRVS, "srv", text);
		return;
	case PART_SRVS:
		if (put_items(cursor, view, text))
			return;
		json_put_close(text, "]");
		begin_list(cursor, PART_PERMITS, "permits", text);
		return;
	case PART_PERMITS:
		if (!put_items(cursor, view, text))
			cursor->part = PART_SUBNETS;
		return;
	case PART_SUBNETS:
		put_local_subnets(view, text);
		json_put_close(text, "]");
		begin_list(cursor, PART_LOCAL, "local_extensions", text);
		return;
	case PART_LOCAL:
		if (put_items(cursor, view, text))
			return;
		json_put_close(text, "]");
		put_totals(cursor, text);
		json_put_close(text, "}");
		json_put_close(text, "}");
		cursor->part = PART_END;
		return;
	case PART_END:
		return;
	}
}

int status_next(struct status_cursor *cursor, const struct view *view, struct text *text)
{
	struct text piece = {0};

	if (cursor->epoch != epoch_of(view))
		return -ESTALE;
	while (piece.length == 0 && !piece.failed && cursor->part != PART_END)
		put_part(cursor, view, &piece);
	if (piece.length > 0) {
		/* An item, and not the first of its list. */
		if (strchr("{\"", piece.data[0]) && cursor->last && cursor->last != '[')
			text_puts(text, ",");
		text_write(text, piece.data, piece.length);
		cursor->last = piece.data[piece.length - 1];
	}
	if (piece.failed)
		text->failed = true;
	text_free(&piece);
	if (text->failed)
		return -ENOMEM;
	return cursor->part == PART_END ? 0 : STATUS_MORE;
}

/* --- refresh and reload --- */

/* The first host of that name, or host_count. */
static size_t find_host(const struct roster *roster, const char *name)
{
	size_t low = 0, high = roster->host_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(roster->hosts[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < roster->host_count && strcmp(roster->hosts[low].name, name) == 0
		       ? low
		       : roster->host_count;
}

struct unsure {
	const struct view *view;
	struct owner_index hosts, srvs;
	size_t count, left_out;
	struct text *text;
};

static bool may_tell(struct unsure *unsure, enum host_state state)
{
	if (state == HOST_FRESH)
		return false;
	if (++unsure->count <= UNSURE_MAX)
		return true;
	unsure->left_out++;
	return false;
}

static void put_unsure_host(struct unsure *unsure, size_t host)
{
	if (may_tell(unsure, host_state(&unsure->view->roster->hosts[host])))
		status_put_host(unsure->view, &unsure->hosts, host, unsure->text);
}

static void put_unsure_srv(struct unsure *unsure, size_t srv)
{
	if (may_tell(unsure, srv_state(&unsure->view->roster->srvs[srv])))
		status_put_srv(unsure->view, &unsure->srvs, srv, unsure->text);
}

static void put_unsure_name(struct unsure *unsure, const char *name)
{
	const struct roster *roster = unsure->view->roster;
	const struct srv *srv = roster_find_srv(roster, name);

	for (size_t i = find_host(roster, name);
		i < roster->host_count && strcmp(roster->hosts[i].name, name) == 0; i++)
		put_unsure_host(unsure, i);
	if (srv)
		put_unsure_srv(unsure, (size_t)(srv - roster->srvs));
}

/* Hosts of one name and several guards are one question. */
static size_t count_names(const struct roster *roster)
{
	size_t count = roster->srv_count;

	for (size_t i = 0; i < roster->host_count; i++)
		count += i == 0 || strcmp(roster->hosts[i - 1].name, roster->hosts[i].name) != 0;
	return count;
}

int status_refreshed(const struct view *view, const char *const *names, size_t count,
	const struct news *news, const struct news_mark *mark, struct text *text)
{
	struct unsure unsure = {.view = view, .text = text};

	if (owner_index_of_hosts(view, &unsure.hosts) < 0)
		return -ENOMEM;
	if (owner_index_of_srvs(view, &unsure.srvs) < 0) {
		owner_index_clear(&unsure.hosts);
		return -ENOMEM;
	}
	json_put_open(text, "{");
	json_put_key(text, "ok");
	json_put_bool(text, true);
	json_put_key(text, "asked");
	json_put_number(text, (int64_t)(count ? count : count_names(view->roster)));
	news_put(news, mark, text);
	json_put_key(text, "unsure");
	json_put_open(text, "[");
	for (size_t i = 0; i < count; i++)
		put_unsure_name(&unsure, names[i]);
	for (size_t i = 0; count == 0 && i < view->roster->host_count; i++)
		put_unsure_host(&unsure, i);
	for (size_t i = 0; count == 0 && i < view->roster->srv_count; i++)
		put_unsure_srv(&unsure, i);
	json_put_close(text, "]");
	json_put_key(text, "unsure_left_out");
	json_put_number(text, (int64_t)unsure.left_out);
	json_put_close(text, "}");
	owner_index_clear(&unsure.hosts);
	owner_index_clear(&unsure.srvs);
	return text->failed ? -ENOMEM : 0;
}

int status_reloaded(const struct news *news, const struct news_mark *mark, struct text *text)
{
	json_put_open(text, "{");
	json_put_key(text, "ok");
	json_put_bool(text, true);
	news_put(news, mark, text);
	json_put_close(text, "}");
	return text->failed ? -ENOMEM : 0;
}
