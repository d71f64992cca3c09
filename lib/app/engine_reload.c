/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What another config has changed of who is let in, in the words of any other change. */
#include "engine_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* From where an owner is let in: a name's addresses, or a prefix that stands in the config. */
struct place {
	const struct owner *owner;
	const struct host *host; /* or */
	const struct prefix *fixed;
};

struct places {
	struct place *all, *list; /* list: those of `all` that are still to be looked at */
	size_t count;
};

static int make_places(
	const struct config *config, const struct roster *roster, struct places *ret_places)
{
	size_t room = roster->binding_count, count = 0, binding = 0;
	struct place *list;

	for (size_t i = 0; i < config->owner_count; i++)
		room += config->owners[i].fixed_count;
	list = calloc(room ? room : 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < config->owner_count; i++) {
		const struct owner *owner = &config->owners[i];

		for (; binding < roster->binding_count && roster->bindings[binding].owner == i;
			binding++)
			list[count++] = (struct place){.owner = owner,
				.host = &roster->hosts[roster->bindings[binding].host]};
		for (size_t j = 0; j < owner->fixed_count; j++)
			list[count++] = (struct place){.owner = owner, .fixed = &owner->fixed[j]};
	}
	*ret_places = (struct places){list, list, count};
	return 0;
}

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;
	int order = (int)left->owner->kind - (int)right->owner->kind;

	if (order == 0)
		order = strcmp(left->owner->id, right->owner->id);
	if (order == 0 && (!left->host || !right->host))
		order = (left->host != NULL) - (right->host != NULL);
	else if (order == 0)
		order = strcmp(left->host->name, right->host->name);
	if (order == 0 && left->fixed && right->fixed)
		order = prefix_compare(left->fixed, right->fixed);
	return order;
}

static bool same_addrs(const struct host *a, const struct host *b, int family)
{
	if (a->count[family] != b->count[family])
		return false;
	for (size_t i = 0; i < a->count[family]; i++) {
		if (!addr_equal(&a->addrs[family][i], &b->addrs[family][i]))
			return false;
	}
	return true;
}

static bool is_unchanged(const struct place *old, const struct place *new)
{
	return compare_places(old, new) == 0 &&
	       (!old->host || (same_addrs(old->host, new->host, FAMILY_IPV4) &&
				      same_addrs(old->host, new->host, FAMILY_IPV6)));
}

/* An edit is mostly of a few lines: before and behind it all is in the same order. */
static void skip_unchanged(struct places *old, struct places *new)
{
	while (old->count && new->count && is_unchanged(old->list, new->list)) {
		old->list++;
		new->list++;
		old->count--;
		new->count--;
	}
	while (old->count && new->count &&
		is_unchanged(&old->list[old->count - 1], &new->list[new->count - 1])) {
		old->count--;
		new->count--;
	}
}

static void begin(struct event *event, enum event_level level, const struct owner *owner)
{
	event_begin(event, level, "change");
	event_put(event, owner->kind == OWNER_EXTENSION ? "extension" : "peer", owner->id);
}

static void log_fixed(struct engine *engine, const struct place *place, bool gone)
{
	char prefix[PREFIX_TEXT_SIZE];
	struct event event;

	prefix_print(place->fixed, prefix);
	begin(&event, EVENT_NOTICE, place->owner);
	event_put(&event, "old", gone ? prefix : "-");
	event_put(&event, "new", gone ? "-" : prefix);
	if (gone)
		event_put(&event, "reason", "no longer in the config");
	engine_log_one_of_many(engine, &event);
}

static void log_host(struct engine *engine, const struct place *old, const struct place *new)
{
	static const struct host nothing;
	const struct host *was = old ? old->host : &nothing, *is = new ? new->host : &nothing;
	bool locked_out = new && is->count[FAMILY_IPV4] == 0 && is->count[FAMILY_IPV6] == 0;

	for (int family = 0; family < FAMILY_COUNT; family++) {
		struct event event;

		if (same_addrs(was, is, family))
			continue;
		begin(&event, locked_out ? EVENT_WARNING : EVENT_NOTICE, (new ? new : old)->owner);
		event_put(&event, "host", new ? is->name : was->name);
		event_put(&event, "type", family == FAMILY_IPV4 ? "A" : "AAAA");
		event_put_addrs(&event, "old", was->addrs[family], was->count[family]);
		event_put_addrs(&event, "new", is->addrs[family], is->count[family]);
		if (is->count[family] == 0)
			event_put(&event, "reason",
				new ? "the config does not allow it any more"
				    : "no longer in the config");
		engine_log_one_of_many(engine, &event);
	}
}

/* NULL: there is none; of one of the two at most. */
static void log_place(struct engine *engine, const struct place *old, const struct place *new)
{
	const struct place *place = new ? new : old;

	if (!place)
		return;
	if (place->host)
		log_host(engine, old, new);
	else if (!old || !new)
		log_fixed(engine, place, !new);
}

/* The first, and those that are the same: a name that stands there twice. */
static const struct place *take_place(struct places *places)
{
	const struct place *first = places->list;

	do {
		places->list++;
		places->count--;
	} while (places->count && compare_places(first, places->list) == 0);
	return first;
}

static void log_all(struct engine *engine, struct places *old, struct places *new)
{
	qsort(old->list, old->count, sizeof(*old->list), compare_places);
	qsort(new->list, new->count, sizeof(*new->list), compare_places);
	while (old->count || new->count) {
		int order = !new->count	  ? -1
			    : !old->count ? 1
					  : compare_places(old->list, new->list);
		const struct place *was = order <= 0 ? take_place(old) : NULL;
		const struct place *is = order >= 0 ? take_place(new) : NULL;

		log_place(engine, was, is);
	}
}

void engine_log_reload(
	struct engine *engine, const struct config *former, const struct roster *former_roster)
{
	struct places old = {0}, new = {0};

	if (make_places(former, former_roster, &old) == 0 &&
		make_places(engine->config, engine->cycle.roster, &new) == 0) {
		skip_unchanged(&old, &new);
		log_all(engine, &old, &new);
	} else {
		engine->log.left_out++;
	}
	free(old.all);
	free(new.all);
}
