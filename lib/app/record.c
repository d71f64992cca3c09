/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record.h"

#include "allowlist.h"
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct prefixes {
	struct prefix list[HOST_ADDRS_MAX];
	size_t count;
};

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

/* Sorted, each once. */
static void list_prefixes(const struct config *config, uint32_t owner, const struct host *host,
	int64_t now, struct prefixes *ret)
{
	size_t kept = 0;

	ret->count = allowlist_prefixes(config, owner, host, now, ret->list);
	if (ret->count > 1)
		qsort(ret->list, ret->count, sizeof(ret->list[0]), compare_prefixes);
	for (size_t i = 0; i < ret->count; i++) {
		if (kept == 0 || prefix_compare(&ret->list[kept - 1], &ret->list[i]) != 0)
			ret->list[kept++] = ret->list[i];
	}
	ret->count = kept;
}

static bool is_recorded(const struct owner *owner)
{
	return strlen(owner->id) <= HISTORY_ID_MAX;
}

static struct history_line line_of(
	enum history_word word, const struct owner *owner, const char *host, int64_t wall)
{
	return (struct history_line){.word = word,
		.when = wall,
		.other = wall,
		.kind = (enum owner_kind)owner->kind,
		.id = owner->id,
		.host = host};
}

void record_listing(
	const struct config *config, const struct roster *roster, int64_t now, struct text *text)
{
	struct prefixes prefixes;

	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct binding *binding = &roster->bindings[i];
		const struct host *host = &roster->hosts[binding->host];
		const struct owner *owner = &config->owners[binding->owner];
		struct history_line line = line_of(HISTORY_HAS, owner, host->name, 0);

		if (!is_recorded(owner))
			continue;
		list_prefixes(config, binding->owner, host, now, &prefixes);
		for (size_t j = 0; j < prefixes.count; j++) {
			line.prefix = prefixes.list[j];
			history_print_had(&line, text);
		}
	}
}

void record_copy(const struct host *host, struct record_host *ret_copy)
{
	struct record_host *copy = ret_copy;

	copy->host = *host;
	for (int family = 0; family < FAMILY_COUNT; family++) {
		size_t count = host->count[family];

		if (count > CONFIG_MAX_ADDRESSES)
			count = CONFIG_MAX_ADDRESSES;
		if (count)
			memcpy(copy->addrs[family], host->addrs[family],
				count * sizeof(copy->addrs[family][0]));
		copy->host.count[family] = (uint16_t)count;
		copy->host.addrs[family] = copy->addrs[family];
	}
	if (host->retired_count)
		memcpy(copy->retired, host->retired,
			host->retired_count * sizeof(copy->retired[0]));
	copy->host.retired = copy->retired;
}

/* What `list` has and `other` has not. */
static void print_difference(const struct prefixes *list, const struct prefixes *other,
	struct history_line *line, struct text *text)
{
	for (size_t i = 0, j = 0; i < list->count; i++) {
		int order = 1;

		while (j < other->count &&
			(order = prefix_compare(&other->list[j], &list->list[i])) < 0)
			j++;
		if (j < other->count && order == 0)
			continue;
		line->prefix = list->list[i];
		history_print_line(line, text);
	}
}

void record_change(const struct config *config, uint32_t owner, const struct host *before,
	int64_t then, const struct host *after, int64_t now, int64_t wall, struct text *text)
{
	const struct owner *of = &config->owners[owner];
	struct history_line lost = line_of(HISTORY_LOST, of, after->name, wall);
	struct history_line gained = line_of(HISTORY_GAINED, of, after->name, wall);
	struct prefixes old, fresh;

	if (!is_recorded(of))
		return;
	list_prefixes(config, owner, before, then, &old);
	list_prefixes(config, owner, after, now, &fresh);
	print_difference(&old, &fresh, &lost, text);
	print_difference(&fresh, &old, &gained, text);
}

char *record_path(const char *state_path)
{
	const char *slash = strrchr(state_path, '/');
	char *path;

	if (asprintf(&path, "%.*shistory", slash ? (int)(slash - state_path) + 1 : 0, state_path) <
		0)
		return NULL;
	return path;
}
