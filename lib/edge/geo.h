/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where addresses belong, by MaxMind-format databases (libmaxminddb).
 *
 * A database is copied into memory that nobody can cut: libmaxminddb maps its file, and a file that
 * is written over in place, as cp does it, would end the process by SIGBUS. That costs the size of
 * the file (about 10 MB for a whole world of countries), and a copied file that was replaced while
 * it was read shows as such.
 *
 * Nothing here wakes the process up. Files are looked at when an address is looked up, at most once
 * a second: one that was replaced is read anew, and one that is missing, damaged or stale says
 * nothing of any address. Databases that no guard of the config needs are left alone.
 *
 * Needs, where access is restricted: to read the files' folders, memfd_create(), /proc/self/fd.
 */
#ifndef SIPFENCE_GEO_H
#define SIPFENCE_GEO_H

#include "answer.h"
#include "config.h"
#include "error.h"

#include <stdint.h>

enum geo_kind { GEO_COUNTRY, GEO_ASN, GEO_KIND_COUNT };

enum geo_state {
	GEO_UNUSED = 0, /* the config does not need it */
	GEO_FOUND,
	GEO_AGEING,  /* older than two thirds of geoip.max-age; it still counts */
	GEO_STALE,   /* older than geoip.max-age: says nothing */
	GEO_MISSING, /* not there, unreadable, damaged, or without what it is needed for */
};

struct geo;

/* As of the last look at it. */
struct geo_database {
	const char *path;
	enum geo_state state;
	int64_t built;	    /* by its own word, seconds since the epoch; 0: unknown */
	struct error error; /* with GEO_AGEING and worse: what is wrong, and what to do */
};

const char *geo_kind_name(enum geo_kind kind);	  /* "country", "asn" */
const char *geo_state_name(enum geo_state state); /* "found", "ageing", "stale", "missing" */

/*
 * The databases that `config` needs, which must outlive *ret_geo; NULL: it needs none. One that
 * can't be used is no error: see geo_look(). -ENOMEM.
 */
int geo_open(const struct config *config, struct geo **ret_geo);
struct geo *geo_free(struct geo *geo); /* returns NULL */

/* An origin_fn; the context is the struct geo. */
void geo_origin(void *context, const struct addr *addr, struct origin *ret_origin);

/* Looks at the files if none was looked at within the last second. NULL is allowed. */
void geo_look(struct geo *geo);
/* Of a NULL geo all are GEO_UNUSED. */
struct geo_database geo_database(const struct geo *geo, enum geo_kind kind);
/* The next one whose state (or what is wrong with it) is another one than when this function told
 * it last. One that is good from the start on is no news. False: there is none. */
bool geo_news(struct geo *geo, enum geo_kind *ret_kind);

#endif
