/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One (owner, name) before names are made distinct. */
struct wish {
	uint64_t start; /* of the name, as a number: it decides nearly all comparisons */
	const char *name;
	uint32_t owner, guard, order; /* in which they were wished, owner by owner */
};

struct wishes {
	struct wish *list;
	size_t count, capacity;
};

/* Two names whose starts differ are in the order of these. */
static uint64_t name_start(const char *name)
{
	uint64_t start = 0;

	for (size_t i = 0; i < sizeof(start); i++) {
		start = start << 8 | (unsigned char)*name;
		name += *name != '\0';
	}
	return start;
}

static int wish_add(struct wishes *wishes, const char *name, uint32_t owner, uint32_t guard)
{
	if (wishes->count == wishes->capacity) {
		size_t capacity = wishes->capacity ? wishes->capacity * 2 : 64;
		struct wish *list = reallocarray(wishes->list, capacity, sizeof(*list));

		if (!list)
			return -ENOMEM;
		wishes->list = list;
		wishes->capacity = capacity;
	}
	wishes->list[wishes->count] = (struct wish){.start = name_start(name),
		.name = name,
		.owner = owner,
		.guard = guard,
		.order = (uint32_t)wishes->count};
	wishes->count++;
	return 0;
}

static int compare_wishes(const void *a, const void *b)
{
	const struct wish *left = a, *right = b;
	int order;

	if (left->start != right->start)
		return left->start < right->start ? -1 : 1;
	order = strcmp(left->name, right->name);
	if (order)
		return order;
	if (left->guard != right->guard)
		return left->guard < right->guard ? -1 : 1;
	return left->order < right->order ? -1 : 1;
}

static int compare_srvs(const void *a, const void *b)
{
	return strcmp(((const struct srv *)a)->name, ((const struct srv *)b)->name);
}

static int compare_bindings(const void *a, const void *b)
{
	const struct binding *left = a, *right = b;

	if (left->owner != right->owner)
		return left->owner < right->owner ? -1 : 1;
	return left->host < right->host ? -1 : left->host > right->host;
}

/* They come owner by owner: only those of one owner are to be sorted. */
static void sort_bindings(struct binding *bindings, size_t count)
{
	size_t end;

	for (size_t first = 0; first < count; first = end) {
		end = first + 1;
		while (end < count && bindings[end].owner == bindings[first].owner)
			end++;
		if (end - first > 1)
			qsort(bindings + first, end - first, sizeof(*bindings), compare_bindings);
	}
}

/* A host that is an SRV target of the same owner, too, is bound once. */
static size_t distinct(struct binding *sorted, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || compare_bindings(&sorted[kept - 1], &sorted[i]) != 0)
			sorted[kept++] = sorted[i];
	}
	return kept;
}

/* The distinct SRV names of the config, without state. */
static int list_srvs(const struct config *config, struct roster *roster)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < config->owner_count; i++)
		count += config->owners[i].srv_count;
	if (count == 0)
		return 0;
	roster->srvs = calloc(count, sizeof(*roster->srvs));
	if (!roster->srvs)
		return -ENOMEM;
	for (size_t i = 0; i < config->owner_count; i++) {
		const struct owner *owner = &config->owners[i];
		bool validated = config->guards[owner->guard].require_dnssec;

		for (size_t j = 0; j < owner->srv_count; j++)
			roster->srvs[roster->srv_count++] =
				(struct srv){.name = owner->srv[j], .validated = validated};
	}
	qsort(roster->srvs, count, sizeof(*roster->srvs), compare_srvs);
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || strcmp(roster->srvs[i].name, roster->srvs[kept - 1].name) != 0)
			roster->srvs[kept++] = roster->srvs[i];
		else
			roster->srvs[kept - 1].validated |= roster->srvs[i].validated;
	}
	roster->srv_count = kept;
	return 0;
}

/* Target names are copied: the SRV state that they come from may change while hosts live on. */
static int wish_targets(struct roster *roster, struct wishes *wishes, const struct srv *srv,
	uint32_t owner, uint32_t guard)
{
	for (size_t i = 0; i < srv->count + srv->retired_count; i++) {
		const char *target =
			i < srv->count ? srv->targets[i] : srv->retired[i - srv->count].target;
		char *name = arena_copy(&roster->names, target, strlen(target));

		if (!name || wish_add(wishes, name, owner, guard) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int list_wishes(const struct config *config, const struct roster *known,
	struct roster *roster, struct wishes *wishes)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		const struct owner *owner = &config->owners[i];

		for (size_t j = 0; j < owner->name_count; j++) {
			if (wish_add(wishes, owner->names[j], (uint32_t)i, owner->guard) < 0)
				return -ENOMEM;
		}
		for (size_t j = 0; known && j < owner->srv_count; j++) {
			const struct srv *srv = roster_find_srv(known, owner->srv[j]);

			if (srv && wish_targets(roster, wishes, srv, (uint32_t)i, owner->guard) < 0)
				return -ENOMEM;
		}
	}
	if (wishes->count)
		qsort(wishes->list, wishes->count, sizeof(*wishes->list), compare_wishes);
	return 0;
}

/* Sorted wishes become distinct hosts and their bindings. */
static int list_hosts(
	const struct config *config, const struct wishes *wishes, struct roster *roster)
{
	size_t room = wishes->count ? wishes->count : 1;

	roster->hosts = calloc(room, sizeof(*roster->hosts));
	roster->linger = calloc(room, sizeof(*roster->linger));
	roster->bindings = calloc(room, sizeof(*roster->bindings));
	if (!roster->hosts || !roster->linger || !roster->bindings)
		return -ENOMEM;
	for (size_t i = 0; i < wishes->count; i++) {
		const struct wish *wish = &wishes->list[i];
		int64_t linger = config->linger[config->owners[wish->owner].kind];
		struct host *last = &roster->hosts[roster->host_count];

		if (i == 0 || strcmp(last[-1].name, wish->name) != 0 ||
			last[-1].guard != wish->guard) {
			*last = (struct host){
				.name = wish->name,
				.guard = wish->guard,
				.validated = config->guards[wish->guard].require_dnssec,
			};
			roster->host_count++;
		}
		if (linger > roster->linger[roster->host_count - 1])
			roster->linger[roster->host_count - 1] = linger;
		roster->bindings[wish->order] = (struct binding){
			.owner = wish->owner, .host = (uint32_t)(roster->host_count - 1)};
	}
	sort_bindings(roster->bindings, wishes->count);
	roster->binding_count = distinct(roster->bindings, wishes->count);
	return 0;
}

/* The order of the list: by name, then by guard. */
static int compare_hosts(const struct host *a, const struct host *b)
{
	/* Every listed host has its name, which the analyzer cannot know. */
	int order = strcmp(a->name, b->name); /* NOLINT(clang-analyzer-core.*) */

	if (order)
		return order;
	return a->guard < b->guard ? -1 : a->guard > b->guard;
}

/* Both sides are sorted alike: one pass. Cannot fail, so that `old` is whole until here. */
static void move_states(struct roster *old, struct roster *roster)
{
	size_t from = 0;

	for (size_t to = 0; to < roster->host_count && from < old->host_count; to++) {
		struct host *host = &roster->hosts[to];
		const char *name = host->name;

		while (from < old->host_count && compare_hosts(&old->hosts[from], host) < 0)
			from++;
		if (from == old->host_count || compare_hosts(&old->hosts[from], host) != 0)
			continue;
		*host = old->hosts[from];
		host->name = name;
		old->hosts[from] =
			(struct host){.name = old->hosts[from].name, .guard = host->guard};
	}
	for (size_t i = 0; i < roster->srv_count; i++) {
		struct srv *srv = roster_find_srv(old, roster->srvs[i].name);
		const char *name = roster->srvs[i].name;

		if (!srv)
			continue;
		roster->srvs[i] = *srv;
		roster->srvs[i].name = name;
		*srv = (struct srv){.name = srv->name};
	}
}

int roster_build(const struct config *config, struct roster *old, struct roster **ret_roster)
{
	struct roster *roster = calloc(1, sizeof(*roster));
	struct wishes wishes = {0};
	int result = -ENOMEM;

	if (!roster)
		return -ENOMEM;
	if (list_srvs(config, roster) < 0)
		goto out;
	if (list_wishes(config, old, roster, &wishes) < 0)
		goto out;
	if (list_hosts(config, &wishes, roster) < 0)
		goto out;
	if (old)
		move_states(old, roster);
	*ret_roster = roster;
	roster = NULL;
	result = 0;
out:
	free(wishes.list);
	roster_free(roster);
	return result;
}

/* The first host of that name at or behind `*from`, where names go up; one of the same guard if
 * there is one, or else of the same question. */
static const struct host *find_former(const struct roster *old, const struct config *old_config,
	const struct host *host, uint64_t fingerprint, size_t *from)
{
	const char *name = host->name;
	const struct host *found = NULL;

	while (*from < old->host_count &&
		strcmp(old->hosts[*from].name, name) < 0) /* NOLINT(clang-analyzer-core.*) */
		++*from;
	for (size_t i = *from; i < old->host_count && strcmp(old->hosts[i].name, name) == 0; i++) {
		if (old_config->guards[old->hosts[i].guard].fingerprint == fingerprint)
			return &old->hosts[i];
		if (!found || (found->validated != host->validated &&
				      old->hosts[i].validated == host->validated))
			found = &old->hosts[i];
	}
	return found;
}

static int inherit_hosts(const struct config *config, const struct roster *old,
	const struct config *old_config, const struct surroundings *around, int64_t now,
	struct roster *roster)
{
	size_t from = 0;

	for (size_t i = 0; i < roster->host_count; i++) {
		struct host *host = &roster->hosts[i];
		const struct guard *guard = &config->guards[host->guard];
		const struct host *former =
			find_former(old, old_config, host, guard->fingerprint, &from);

		if (!former)
			continue;
		if (host_inherit(host, former, guard, around) < 0)
			return -ENOMEM;
		if (old_config->guards[former->guard].fingerprint == guard->fingerprint)
			continue;
		host_restore(host, now);
		if (host->validated && !former->validated)
			host_unproven(host, now);
		/* What was refused may be good now. */
		for (int family = 0; family < FAMILY_COUNT; family++)
			host->lookup[family].last = ANSWER_NEVER;
	}
	return 0;
}

int roster_inherit(const struct config *config, const struct roster *old,
	const struct config *old_config, const struct surroundings *around, int64_t now,
	struct roster **ret_roster)
{
	struct roster *known = NULL, *roster = NULL;
	int result = roster_build(config, NULL, &known);

	for (size_t i = 0; result == 0 && i < known->srv_count; i++) {
		const struct srv *former = roster_find_srv(old, known->srvs[i].name);

		if (!former)
			continue;
		result = srv_inherit(&known->srvs[i], former);
		if (result == 0 && known->srvs[i].validated && !former->validated)
			srv_unproven(&known->srvs[i], now);
	}
	if (result == 0)
		result = roster_build(config, known, &roster);
	if (result == 0)
		result = inherit_hosts(config, old, old_config, around, now, roster);
	if (result == 0) {
		*ret_roster = roster;
		roster = NULL;
	}
	roster_free(known);
	roster_free(roster);
	return result;
}

struct roster *roster_free(struct roster *roster)
{
	if (!roster)
		return NULL;
	for (size_t i = 0; i < roster->host_count; i++)
		host_clear(&roster->hosts[i]);
	for (size_t i = 0; i < roster->srv_count; i++)
		srv_clear(&roster->srvs[i]);
	free(roster->hosts);
	free(roster->srvs);
	free(roster->bindings);
	free(roster->linger);
	arena_free(&roster->names);
	free(roster);
	return NULL;
}

bool roster_same_name(const struct roster *roster, size_t host, size_t other)
{
	return other < roster->host_count &&
	       strcmp(roster->hosts[host].name, roster->hosts[other].name) == 0;
}

bool roster_same_question(const struct roster *roster, size_t host, size_t other)
{
	return roster->hosts[host].validated == roster->hosts[other].validated;
}

size_t roster_first_of_question(const struct roster *roster, size_t host)
{
	size_t first = host;

	for (size_t i = host; i-- > 0 && roster_same_name(roster, host, i);) {
		if (roster_same_question(roster, host, i))
			first = i;
	}
	return first;
}

bool roster_is_first_of_question(const struct roster *roster, size_t host)
{
	return roster_first_of_question(roster, host) == host;
}

bool roster_expire(struct roster *roster, const struct config *config, int64_t now)
{
	struct timing timing = {.hold = config->hold, .gone = config->gone};
	bool left = false;

	for (size_t i = 0; i < roster->host_count; i++)
		left |= host_expire(&roster->hosts[i], &timing, roster->linger[i], now);
	for (size_t i = 0; i < roster->srv_count; i++)
		left |= srv_expire(&roster->srvs[i], &timing, config->linger[OWNER_PEER], now);
	return left;
}

struct srv *roster_find_srv(const struct roster *roster, const char *name)
{
	struct srv key = {.name = name};

	if (roster->srv_count == 0)
		return NULL;
	return bsearch(&key, roster->srvs, roster->srv_count, sizeof(key), compare_srvs);
}
