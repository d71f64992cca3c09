/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json_put.h"
#include "sightings.h"
#include "status.h"

struct count {
	uint64_t packets;
	int64_t moved;
	bool found;
};

static void add_prefix(
	const struct sightings *sightings, const struct prefix *prefix, struct count *count)
{
	uint64_t packets;
	int64_t moved;

	if (!sightings_find(sightings, prefix, &packets, &moved))
		return;
	count->found = true;
	count->packets += packets;
	count->moved = moved > count->moved ? moved : count->moved;
}

static void add_addr(
	const struct sightings *sightings, const struct addr *addr, struct count *count)
{
	struct prefix prefix = {.addr = *addr, .length = addr->family == FAMILY_IPV6 ? 128 : 32};

	add_prefix(sightings, &prefix, count);
}

static void add_host(
	const struct sightings *sightings, const struct host *host, struct count *count)
{
	for (int family = 0; family < FAMILY_COUNT; family++) {
		for (size_t i = 0; i < host->count[family]; i++)
			add_addr(sightings, &host->addrs[family][i], count);
	}
	for (size_t i = 0; i < host->retired_count; i++)
		add_addr(sightings, &host->retired[i].addr, count);
}

void status_put_counted(const struct view *view, const struct host *host,
	const struct prefix *prefix, struct text *text)
{
	const struct sightings *sightings = view->engine ? engine_sightings(view->engine) : NULL;
	struct count count = {0};

	if (!sightings || sightings->at == 0)
		return;
	if (host)
		add_host(sightings, host, &count);
	else
		add_prefix(sightings, prefix, &count);
	json_put_key(text, "counted");
	json_put_open(text, "{");
	json_put_key(text, "packets");
	json_put_number(text, (int64_t)count.packets);
	json_put_key(text, "at");
	json_put_time(text, view_wall(view, sightings->at));
	json_put_key(text, "since");
	json_put_time(text, view_wall(view, sightings->since));
	json_put_key(text, "moved");
	if (count.moved)
		json_put_time(text, view_wall(view, count.moved));
	else
		json_put_null(text);
	json_put_close(text, "}");
}
