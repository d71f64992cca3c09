/* SPDX-License-Identifier: GPL-2.0-or-later */
/* geo.h with origins by script, and databases that are as the script says. */
#include "geo.h"
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct geo {
	const char *paths[GEO_KIND_COUNT];
	enum geo_state told[GEO_KIND_COUNT];
};

int geo_open(const struct config *config, struct geo **ret_geo)
{
	struct geo *geo = need(calloc(1, sizeof(*geo)));

	for (size_t i = 0; i < config->guard_count; i++) {
		if (config->guards[i].country_count > 0)
			geo->paths[GEO_COUNTRY] = config->geoip.country;
		if (config->guards[i].asn_count > 0)
			geo->paths[GEO_ASN] = config->geoip.asn;
	}
	geo->told[GEO_COUNTRY] = geo->told[GEO_ASN] = GEO_FOUND;
	*ret_geo = geo->paths[GEO_COUNTRY] || geo->paths[GEO_ASN] ? geo : geo_free(geo);
	return 0;
}

struct geo *geo_free(struct geo *geo)
{
	free(geo);
	return NULL;
}

static bool counts(const struct geo *geo, enum geo_kind kind)
{
	enum geo_state state = geo_database(geo, kind).state;

	return state == GEO_FOUND || state == GEO_AGEING;
}

void geo_origin(void *context, const struct addr *addr, struct origin *ret_origin)
{
	const struct fake_geo *fake = &world()->geo;
	struct origin origin = {0};

	for (size_t i = 0; i < fake->count; i++) {
		if (prefix_contains(&fake->list[i].prefix, addr))
			origin = fake->list[i].origin;
	}
	if (counts(context, GEO_COUNTRY))
		origin.known |= ORIGIN_COUNTRY;
	if (counts(context, GEO_ASN))
		origin.known |= ORIGIN_ASN;
	*ret_origin = origin;
}

void geo_look(struct geo *geo)
{
	(void)geo;
}

struct geo_database geo_database(const struct geo *geo, enum geo_kind kind)
{
	struct geo_database database = {.state = GEO_UNUSED};

	if (!geo || !geo->paths[kind])
		return database;
	database.path = geo->paths[kind];
	database.state = world()->geo.states[kind] ? world()->geo.states[kind] : GEO_FOUND;
	if (database.state != GEO_FOUND)
		error_set(&database.error, -ENOENT, "do something", "it is %s",
			geo_state_name(database.state));
	return database;
}

bool geo_news(struct geo *geo, enum geo_kind *ret_kind)
{
	for (int kind = 0; geo && kind < GEO_KIND_COUNT; kind++) {
		enum geo_state state = geo_database(geo, (enum geo_kind)kind).state;

		if (!geo->paths[kind] || state == geo->told[kind])
			continue;
		geo->told[kind] = state;
		*ret_kind = (enum geo_kind)kind;
		return true;
	}
	return false;
}
