/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "audit_known.h"
#include "acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct audit_known {
	const struct config *config;
	const struct history *history; /* NULL: what is so now */
	int64_t grace;
	int64_t last;  /* a second that the history knows, the last one of which that is known here
			*/
	size_t *first; /* of each owner, and one more: where its entries begin */
	const struct history_entry **entries;
	struct acl *now; /* of each owner; NULL: not known */
};

static int compare_ids(
	const struct config *config, uint32_t a, enum owner_kind kind, const char *id)
{
	const struct owner *owner = &config->owners[a];

	if (owner->kind != kind)
		return owner->kind < kind ? -1 : 1;
	return strcmp(owner->id, id);
}

static int by_id(const void *a, const void *b, void *context)
{
	const struct config *config = *(const struct config **)context;
	const struct owner *other = &config->owners[*(const uint32_t *)b];

	return compare_ids(config, *(const uint32_t *)a, (enum owner_kind)other->kind, other->id);
}

/* The owner that an entry speaks of; SIZE_MAX: the config has it no more. */
static size_t owner_of(
	const struct config *config, const uint32_t *sorted, const struct history_entry *entry)
{
	size_t from = 0, to = config->owner_count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;
		int order = compare_ids(config, sorted[middle], entry->kind, entry->id);

		if (order == 0)
			return sorted[middle];
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return SIZE_MAX;
}

/* The entries of each owner side by side: counted first, then put into their places; `next` is
 * where the next one of each owner goes. */
static void sort_in(struct audit_known *known, const uint32_t *sorted, size_t *next)
{
	size_t owners = known->config->owner_count, count = history_count(known->history);

	for (size_t i = 0; i < count; i++) {
		const struct history_entry *entry = history_entry(known->history, i);
		size_t owner = owner_of(known->config, sorted, entry);

		if (owner != SIZE_MAX)
			known->first[owner + 1]++;
		if (entry->from > known->last)
			known->last = entry->from;
		if (entry->to != INT64_MAX && entry->to > known->last)
			known->last = entry->to;
	}
	for (size_t i = 0; i < owners; i++)
		known->first[i + 1] += known->first[i];
	memcpy(next, known->first, owners * sizeof(*next));
	for (size_t i = 0; i < count; i++) {
		const struct history_entry *entry = history_entry(known->history, i);
		size_t owner = owner_of(known->config, sorted, entry);

		if (owner != SIZE_MAX)
			known->entries[next[owner]++] = entry;
	}
}

int audit_known_then(const struct config *config, const struct history *history, int64_t grace,
	int64_t now, struct audit_known **ret_known)
{
	static const struct addr any = {.family = FAMILY_IPV4};
	size_t owners = config->owner_count;
	struct audit_known *known = calloc(1, sizeof(*known));
	uint32_t *sorted = calloc(owners + 1, sizeof(*sorted));
	size_t *next = calloc(owners + 1, sizeof(*next));

	if (known) {
		known->config = config;
		known->history = history;
		known->grace = grace;
		known->last = INT64_MIN;
		known->first = calloc(owners + 2, sizeof(*known->first));
		known->entries =
			calloc(history_count(history) + 1, sizeof(const struct history_entry *));
	}
	if (!known || !sorted || !next || !known->first || !known->entries) {
		free(sorted);
		free(next);
		audit_known_free(known);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < owners; i++)
		sorted[i] = i;
	qsort_r(sorted, owners, sizeof(*sorted), by_id, &known->config);
	sort_in(known, sorted, next);
	/* An owner of no line: known, and had nothing, while anybody recorded. */
	if (history_at(history, OWNER_EXTENSION, "", &any, now) != HISTORY_UNKNOWN)
		known->last = now;
	free(sorted);
	free(next);
	*ret_known = known;
	return 0;
}

int audit_known_now(const struct config *config, const struct roster *roster, int64_t now,
	struct audit_known **ret_known)
{
	struct audit_known *known = calloc(1, sizeof(*known));
	int result = known ? 0 : -ENOMEM;

	if (known)
		known->config = config;
	if (known && roster) {
		known->now = calloc(config->owner_count + 1, sizeof(*known->now));
		if (!known->now)
			result = -ENOMEM;
	}
	for (uint32_t i = 0; result == 0 && roster && i < config->owner_count; i++)
		result = acl_of(config, roster, i, now, &known->now[i]);
	if (result < 0) {
		audit_known_free(known);
		return result;
	}
	*ret_known = known;
	return 0;
}

struct audit_known *audit_known_free(struct audit_known *known)
{
	if (!known)
		return NULL;
	for (size_t i = 0; known->now && i < known->config->owner_count; i++)
		acl_clear(&known->now[i]);
	free(known->now);
	free(known->first);
	free(known->entries);
	free(known);
	return NULL;
}

static bool contains(const struct prefix *prefixes, size_t count, const struct addr *addr)
{
	for (size_t i = 0; i < count; i++) {
		if (prefix_contains(&prefixes[i], addr))
			return true;
	}
	return false;
}

static int64_t add(int64_t time, int64_t seconds)
{
	int64_t sum;

	if (__builtin_add_overflow(time, seconds, &sum))
		return seconds > 0 ? INT64_MAX : INT64_MIN;
	return sum;
}

/*
 * An address that was theirs before and after a time that nobody recorded was theirs then, too.
 * Behind the last record that is not so.
 */
static enum audit_verdict by_history(
	const struct audit_known *known, uint32_t owner, const struct addr *addr, int64_t wall)
{
	const struct owner *who = &known->config->owners[owner];
	enum history_verdict verdict;
	bool grace = false;

	for (size_t i = known->first[owner]; i < known->first[owner + 1]; i++) {
		const struct history_entry *entry = known->entries[i];
		bool within = entry->from <= wall && wall <= entry->to;

		if (!prefix_contains(&entry->prefix, addr))
			continue;
		if (within && wall <= known->last)
			return AUDIT_HAD;
		if (!within && add(entry->from, -known->grace) <= wall &&
			wall <= add(entry->to, known->grace))
			grace = true;
	}
	verdict = history_at(known->history, (enum owner_kind)who->kind, who->id, addr, wall);
	if (verdict == HISTORY_HAD)
		return AUDIT_HAD;
	if (grace)
		return AUDIT_GRACE;
	/* Without names there was nothing to know. */
	if (verdict == HISTORY_HAD_NOT || who->name_count + who->srv_count == 0)
		return AUDIT_HAD_NOT;
	return AUDIT_NOT_KNOWN;
}

enum audit_verdict audit_known_verdict(
	const void *context, uint32_t owner, const struct addr *addr, int64_t wall)
{
	const struct audit_known *known = context;
	const struct config *config = known->config;
	const struct owner *who = &config->owners[owner];

	if (contains(who->fixed, who->fixed_count, addr))
		return AUDIT_HAD;
	if (who->kind == OWNER_EXTENSION && who->local &&
		contains(config->local_subnets, config->local_subnet_count, addr))
		return AUDIT_HAD;
	if (known->history)
		return by_history(known, owner, addr, wall);
	if (who->name_count + who->srv_count == 0)
		return AUDIT_HAD_NOT;
	if (!known->now)
		return AUDIT_NOT_KNOWN;
	return acl_permits(&known->now[owner], addr) ? AUDIT_HAD : AUDIT_HAD_NOT;
}
