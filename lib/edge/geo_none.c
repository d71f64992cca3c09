/* SPDX-License-Identifier: GPL-2.0-or-later */
/* geo.h where sipfence is built without libmaxminddb: no config that needs it passes the parser. */
#include "geo.h"

int geo_open(const struct config *config, struct geo **ret_geo)
{
	(void)config;
	*ret_geo = NULL;
	return 0;
}

struct geo *geo_free(struct geo *geo)
{
	(void)geo;
	return NULL;
}

void geo_origin(void *context, const struct addr *addr, struct origin *ret_origin)
{
	(void)context;
	(void)addr;
	*ret_origin = (struct origin){0};
}

void geo_look(struct geo *geo)
{
	(void)geo;
}

struct geo_database geo_database(const struct geo *geo, enum geo_kind kind)
{
	(void)geo;
	(void)kind;
	return (struct geo_database){.state = GEO_UNUSED};
}

bool geo_news(struct geo *geo, enum geo_kind *ret_kind)
{
	(void)geo;
	(void)ret_kind;
	return false;
}
