/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "geo.h"

const char *geo_kind_name(enum geo_kind kind)
{
	return kind == GEO_COUNTRY ? "country" : "asn";
}

const char *geo_state_name(enum geo_state state)
{
	static const char *const names[] = {
		[GEO_UNUSED] = "unused",
		[GEO_FOUND] = "found",
		[GEO_AGEING] = "ageing",
		[GEO_STALE] = "stale",
		[GEO_MISSING] = "missing",
	};

	return names[state];
}
