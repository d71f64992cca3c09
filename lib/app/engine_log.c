/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_state.h"

#include <string.h>

void engine_log(struct engine *engine, struct event *event)
{
	if (!event->line.failed)
		engine->options.log(engine->options.context, event);
	event_clear(event);
}

static void begin_period(struct engine *engine)
{
	struct event event;

	if (engine->log.left_out) {
		event_begin(&event, EVENT_WARNING, "left-out");
		event_put_number(&event, "lines", engine->log.left_out);
		event_put(&event, "next", "sipfence status shows all names");
		engine_log(engine, &event);
	}
	engine->log.since = engine->now_ms;
	engine->log.lines = engine->log.left_out = 0;
}

void engine_log_one_of_many(struct engine *engine, struct event *event)
{
	if (engine->now_ms - engine->log.since >= LOG_PERIOD_MS)
		begin_period(engine);
	if (engine->log.lines >= LOG_LINES) {
		engine->log.left_out++;
		event->level = EVENT_UNSAID;
	} else {
		engine->log.lines++;
	}
	engine_log(engine, event);
}

void engine_log_left_out(struct engine *engine)
{
	if (engine->log.left_out && engine->now_ms - engine->log.since >= LOG_PERIOD_MS)
		begin_period(engine);
}

void engine_log_simple(struct engine *engine, enum event_level level, const char *name,
	const char *key, const char *value)
{
	struct event event;

	event_begin(&event, level, name);
	event_put(&event, key, value);
	engine_log(engine, &event);
}

void engine_log_error(struct engine *engine, const char *name, const struct error *error)
{
	struct event event;

	event_begin(&event, EVENT_ERROR, name);
	event_put_error(&event, error);
	engine_log(engine, &event);
}

void engine_log_databases(struct engine *engine)
{
	struct geo *geo = engine->cycle.geo;
	enum geo_kind kind;

	while (geo_news(geo, &kind)) {
		struct geo_database database = geo_database(geo, kind);
		struct event event;

		event_begin(&event, database.state == GEO_FOUND ? EVENT_NOTICE : EVENT_WARNING,
			"geoip");
		event_put(&event, "database", geo_kind_name(kind));
		event_put(&event, "state", geo_state_name(database.state));
		event_put(&event, "path", database.path);
		if (database.state != GEO_FOUND) {
			event_put(&event, "error", database.error.what);
			event_put(&event, "next", database.error.next);
		}
		engine_log(engine, &event);
	}
}

static void put_ids(struct event *event, const struct engine *engine, const struct binding *first,
	const struct binding *end, enum owner_kind kind)
{
	enum { NAMED = 8 };
	const struct owner *owners = engine->config->owners;
	struct text ids = {0};
	size_t count = 0;

	for (const struct binding *binding = first; binding < end; binding++) {
		if (owners[binding->owner].kind != kind)
			continue;
		if (count++ >= NAMED)
			continue;
		text_printf(&ids, "%s%s", count > 1 ? "," : "", owners[binding->owner].id);
	}
	if (count > NAMED)
		text_printf(&ids, ",+%zu", count - NAMED);
	if (count > 0)
		event_put(event, kind == OWNER_EXTENSION ? "extension" : "peer", text_string(&ids));
	event->line.failed |= ids.failed;
	text_free(&ids);
}

static void put_owners(struct event *event, const struct engine *engine, size_t host)
{
	const struct question_index *index = &engine->index;
	size_t low = 0, high = index->owner_count, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (index->owners[middle].host < host)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < index->owner_count && index->owners[end].host == host; end++)
		;
	put_ids(event, engine, index->owners + low, index->owners + end, OWNER_EXTENSION);
	put_ids(event, engine, index->owners + low, index->owners + end, OWNER_PEER);
}

static const char *type_name(enum family family)
{
	return family == FAMILY_IPV4 ? "A" : "AAAA";
}

void engine_prior(const struct host *host, enum family family, struct prior *ret_prior)
{
	size_t count = host->count[family];

	if (count > CONFIG_MAX_ADDRESSES)
		count = CONFIG_MAX_ADDRESSES;
	ret_prior->count = count;
	if (count)
		memcpy(ret_prior->addrs, host->addrs[family], count * sizeof(ret_prior->addrs[0]));
}

static const char *leaving_reason(const struct lookup *lookup)
{
	if (lookup->last == ANSWER_NO_NAME)
		return "no such name";
	if (lookup->last == ANSWER_NO_DATA)
		return "no data";
	return answer_reason_text((enum answer_reason)lookup->reason);
}

void engine_log_change(
	struct engine *engine, size_t host, enum family family, const struct prior *prior)
{
	const struct host *now = &engine->cycle.roster->hosts[host];
	bool locked_out = now->count[FAMILY_IPV4] == 0 && now->count[FAMILY_IPV6] == 0;
	struct event event;

	event_begin(&event, locked_out ? EVENT_WARNING : EVENT_NOTICE, "change");
	put_owners(&event, engine, host);
	event_put(&event, "host", now->name);
	event_put(&event, "type", type_name(family));
	event_put_addrs(&event, "old", prior->addrs, prior->count);
	event_put_addrs(&event, "new", now->addrs[family], now->count[family]);
	if (now->count[family] == 0)
		event_put(&event, "reason", leaving_reason(&now->lookup[family]));
	engine_log_one_of_many(engine, &event);
}

void engine_log_flapping(struct engine *engine, size_t index)
{
	const struct host *host = &engine->cycle.roster->hosts[index];
	bool begun = changes_flapping(host->changes);
	struct event event;

	event_begin(&event, begun ? EVENT_WARNING : EVENT_NOTICE, "flapping");
	put_owners(&event, engine, index);
	event_put(&event, "host", host->name);
	event_put(&event, "state", begun ? "begun" : "ended");
	event_put_number(&event, "changes", changes_within(host->changes, engine->cycle.now));
	if (begun)
		event_put(&event, "next",
			"its addresses are taken all the same; find out who changes the record so "
			"often, or raise limits.changes-per-hour");
	engine_log_one_of_many(engine, &event);
}

static void put_srv_owners(struct event *event, const struct engine *engine, const char *name)
{
	const struct config *config = engine->config;

	for (size_t i = 0; i < config->owner_count; i++) {
		const struct owner *owner = &config->owners[i];

		for (size_t j = 0; j < owner->srv_count; j++) {
			if (strcmp(owner->srv[j], name) != 0)
				continue;
			event_put(event, "peer", owner->id);
			return;
		}
	}
}

void engine_log_targets(struct engine *engine, const struct srv *srv)
{
	struct text targets = {0};
	struct event event;

	for (size_t i = 0; i < srv->count; i++)
		text_printf(&targets, "%s%s", i ? "," : "", srv->targets[i]);
	event_begin(&event, EVENT_NOTICE, "change");
	put_srv_owners(&event, engine, srv->name);
	event_put(&event, "host", srv->name);
	event_put(&event, "type", "SRV");
	event_put(&event, "new", srv->count ? text_string(&targets) : "-");
	event.line.failed |= targets.failed;
	text_free(&targets);
	engine_log_one_of_many(engine, &event);
}

enum { STATE_MASK = 7 }; /* of host.told: the rest is a reason */

static enum event_level state_level(enum host_state state)
{
	return state == HOST_FRESH ? EVENT_NOTICE : EVENT_WARNING;
}

static void put_next(struct event *event, const struct lookup *lookup)
{
	const char *next = answer_reason_next((enum answer_reason)lookup->reason);

	if (*next)
		event_put(event, "next", next);
}

static void put_refusal(struct event *event, const struct engine *engine, const struct host *host)
{
	enum family family = host_deciding_family(host);
	const struct lookup *lookup = &host->lookup[family];
	const struct addr *culprit = host_culprit(host, family);
	struct text reason = {0};

	answer_refusal_print((enum answer_reason)lookup->reason, NULL, &host->origin[family],
		&engine->config->guards[host->guard], &reason);
	event_put(event, "reason", text_string(&reason));
	event->line.failed |= reason.failed;
	text_free(&reason);
	event_put(event, "type", type_name(family));
	if (culprit)
		event_put_addrs(event, "address", culprit, 1);
	put_next(event, lookup);
}

static void put_reason(struct event *event, const struct engine *engine, const struct host *host,
	enum host_state state)
{
	enum family family = host_deciding_family(host);
	const struct lookup *lookup = &host->lookup[family];

	switch (state) {
	case HOST_UNTOLD:
	case HOST_FRESH:
		return;
	case HOST_GONE:
		event_put(event, "reason",
			lookup->last == ANSWER_NO_NAME ? "no such name" : "no data");
		return;
	case HOST_REFUSED:
		put_refusal(event, engine, host);
		return;
	case HOST_NEVER:
	case HOST_HELD:
	case HOST_EXPIRED:
		event_put(event, "reason", answer_reason_text((enum answer_reason)lookup->reason));
		event_put(event, "type", type_name(family));
		put_next(event, lookup);
		return;
	}
}

/* Since the start both families have had an outcome: before, a state would be a guess. */
static bool is_known(const struct host *host)
{
	return host->lookup[FAMILY_IPV4].last != ANSWER_NEVER &&
	       host->lookup[FAMILY_IPV6].last != ANSWER_NEVER;
}

void engine_log_state(struct engine *engine, size_t index)
{
	struct host *host = &engine->cycle.roster->hosts[index];
	uint8_t telling = host_telling(host), was = host->told;
	enum host_state state = host_state(host);
	struct event event;

	if (telling == was || !is_known(host))
		return;
	host->told = telling;
	if (was == HOST_UNTOLD && state == HOST_FRESH)
		return;
	event_begin(&event, state_level(state), "state");
	put_owners(&event, engine, index);
	event_put(&event, "host", host->name);
	event_put(&event, "state", host_state_name(state));
	event_put(&event, "was", host_state_name((enum host_state)(was & STATE_MASK)));
	put_reason(&event, engine, host, state);
	engine_log_one_of_many(engine, &event);
}

void engine_log_srv_state(struct engine *engine, struct srv *srv)
{
	uint8_t telling = srv_telling(srv);
	enum host_state state = srv_state(srv), was = (enum host_state)(srv->told & STATE_MASK);
	struct event event;

	if (telling == srv->told || srv->lookup.last == ANSWER_NEVER)
		return;
	srv->told = telling;
	if (was == HOST_UNTOLD && state == HOST_FRESH)
		return;
	event_begin(&event, state_level(state), "state");
	put_srv_owners(&event, engine, srv->name);
	event_put(&event, "host", srv->name);
	event_put(&event, "type", "SRV");
	event_put(&event, "state", host_state_name(state));
	event_put(&event, "was", host_state_name(was));
	if (state == HOST_GONE)
		event_put(&event, "reason",
			srv->lookup.last == ANSWER_NO_NAME ? "no such name" : "no data");
	else if (state != HOST_FRESH) {
		event_put(&event, "reason",
			answer_reason_text((enum answer_reason)srv->lookup.reason));
		put_next(&event, &srv->lookup);
	}
	engine_log_one_of_many(engine, &event);
}
