/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When the packets of an address last came: the kernel counts them, but keeps no time. From one
 * look at its counters to the next it is known whether a count has moved.
 *
 * 16 bytes an element; times are those of the steady clock.
 */
#ifndef SIPFENCE_SIGHTINGS_H
#define SIPFENCE_SIGHTINGS_H

#include "addr.h"
#include "ruleset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sighting;

struct sightings {
	struct sighting *list; /* by key */
	size_t count;
	int64_t since, at;    /* the first look and the last one; 0: none */
	bool lengths[2][129]; /* of the prefixes, by family */
};

/* Takes in what the elements of hosts and nets count at `now`. -ENOMEM: all is as it was. */
int sightings_note(
	struct sightings *sightings, const struct set *sets, size_t set_count, int64_t now);
/* The same in two steps: the first, which takes as long as there are elements to sort, may be
 * another thread's; the second only compares. `fresh` is emptied. -ENOMEM. */
int sightings_read(const struct set *sets, size_t set_count, struct sightings *ret_fresh);
void sightings_take(struct sightings *sightings, struct sightings *fresh, int64_t now);
/*
 * Packets of all elements that hold the prefix's first address, at sightings->at. *ret_moved: the
 * first look that found the present count; 0: it has not moved since the first one of all. False:
 * there was no such element.
 */
bool sightings_find(const struct sightings *sightings, const struct prefix *prefix,
	uint64_t *ret_packets, int64_t *ret_moved);
void sightings_clear(struct sightings *sightings);

#endif
