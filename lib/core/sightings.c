/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sightings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TICK = 10, MOVED_BITS = 24 };

#define MOVED_MAX ((UINT64_C(1) << MOVED_BITS) - 1)

struct sighting {
	uint64_t key;	/* a hash of the prefix: two that share one among 2^64 do no harm */
	uint64_t value; /* packets; in the low bits TICKs since the first look, and 1; 0: never */
};

static uint64_t packets_of(const struct sighting *sighting)
{
	return sighting->value >> MOVED_BITS;
}

static uint64_t make_key(const struct addr *addr, unsigned length)
{
	uint64_t words[2] = {0}, key = (uint64_t)length << 8 | (unsigned)addr->family;
	uint8_t bytes[16] = {0};

	for (unsigned bit = 0; bit < length && bit < 128; bit += 8) {
		unsigned left = length - bit;

		bytes[bit / 8] = left >= 8 ? addr->bytes[bit / 8]
					   : (uint8_t)(addr->bytes[bit / 8] & (0xff00U >> left));
	}
	memcpy(words, bytes, sizeof(words));
	for (int i = 0; i < 2; i++) {
		key = (key ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
		key ^= key >> 29;
		key *= UINT64_C(0xbf58476d1ce4e5b9);
		key ^= key >> 32;
	}
	return key;
}

static int compare_keys(const void *a, const void *b)
{
	const struct sighting *left = a, *right = b;

	return (left->key > right->key) - (left->key < right->key);
}

static bool counts(const struct set *set)
{
	return set->kind == SET_HOSTS || set->kind == SET_NETS;
}

/* An address of several services is one. */
static size_t join_equal(struct sighting *list, size_t count)
{
	size_t kept = 0;

	if (count > 0)
		qsort(list, count, sizeof(*list), compare_keys);
	for (size_t i = 0; i < count; i++) {
		if (kept > 0 && list[kept - 1].key == list[i].key)
			list[kept - 1].value += list[i].value;
		else
			list[kept++] = list[i];
	}
	return kept;
}

/* Both lists are sorted. */
static void note_moves(const struct sightings *before, struct sightings *now)
{
	uint64_t tick = (uint64_t)(now->at - now->since) / TICK + 1;
	size_t at = 0;

	if (before->at == 0)
		return;
	tick = tick < MOVED_MAX ? tick : MOVED_MAX;
	for (size_t i = 0; i < now->count; i++) {
		struct sighting *sighting = &now->list[i];
		const struct sighting *former;

		while (at < before->count && before->list[at].key < sighting->key)
			at++;
		former = at < before->count && before->list[at].key == sighting->key
				 ? &before->list[at]
				 : NULL;
		if (former && packets_of(former) == packets_of(sighting))
			sighting->value = former->value;
		else if (packets_of(sighting) > 0)
			sighting->value |= tick;
	}
}

int sightings_read(const struct set *sets, size_t set_count, struct sightings *ret_fresh)
{
	struct sightings fresh = {0};
	size_t room = 1;

	for (size_t i = 0; i < set_count; i++)
		room += counts(&sets[i]) ? sets[i].count : 0;
	fresh.list = calloc(room, sizeof(*fresh.list));
	if (!fresh.list)
		return -ENOMEM;
	for (size_t i = 0; i < set_count; i++) {
		for (size_t j = 0; counts(&sets[i]) && j < sets[i].count; j++) {
			const struct element *element = &sets[i].elements[j];
			const struct prefix *prefix = &element->prefix;

			fresh.lengths[prefix->addr.family == FAMILY_IPV6][prefix->length] = true;
			fresh.list[fresh.count++] = (struct sighting){
				.key = make_key(&prefix->addr, prefix->length),
				.value = element->packets << MOVED_BITS,
			};
		}
	}
	fresh.count = join_equal(fresh.list, fresh.count);
	*ret_fresh = fresh;
	return 0;
}

void sightings_take(struct sightings *sightings, struct sightings *fresh, int64_t now)
{
	fresh->since = sightings->at ? sightings->since : now;
	fresh->at = now;
	note_moves(sightings, fresh);
	sightings_clear(sightings);
	*sightings = *fresh;
	*fresh = (struct sightings){0};
}

int sightings_note(
	struct sightings *sightings, const struct set *sets, size_t set_count, int64_t now)
{
	struct sightings fresh;
	int result = sightings_read(sets, set_count, &fresh);

	if (result == 0)
		sightings_take(sightings, &fresh, now);
	return result;
}

bool sightings_find(const struct sightings *sightings, const struct prefix *prefix,
	uint64_t *ret_packets, int64_t *ret_moved)
{
	uint64_t packets = 0, last = 0;
	bool found = false;

	for (unsigned length = 0; sightings->count > 0 && length <= 128; length++) {
		struct sighting key = {.value = 0};
		const struct sighting *sighting;

		if (!sightings->lengths[prefix->addr.family == FAMILY_IPV6][length])
			continue;
		key.key = make_key(&prefix->addr, length);
		sighting =
			bsearch(&key, sightings->list, sightings->count, sizeof(key), compare_keys);
		if (!sighting)
			continue;
		found = true;
		packets += packets_of(sighting);
		if ((sighting->value & MOVED_MAX) > last)
			last = sighting->value & MOVED_MAX;
	}
	*ret_packets = packets;
	*ret_moved = last ? sightings->since + (int64_t)(last - 1) * TICK : 0;
	return found;
}

void sightings_clear(struct sightings *sightings)
{
	free(sightings->list);
	*sightings = (struct sightings){0};
}
