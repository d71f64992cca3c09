/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "addr_order.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HALVES = 2, BITS_OF_HALF = 64, BITS_OF_BYTE = 8, BYTE_VALUES = 256 };

struct addr_key addr_key(const struct addr *addr, size_t index)
{
	return (struct addr_key){
		.high = addr_half(addr, 0), .low = addr_half(addr, 1), .index = index};
}

static size_t byte_of(const struct addr_key *key, bool high, unsigned shift)
{
	return (high ? key->high : key->low) >> shift & (BYTE_VALUES - 1);
}

static void sort_by_byte(
	const struct addr_key *from, struct addr_key *to, size_t count, bool high, unsigned shift)
{
	size_t places[BYTE_VALUES + 1] = {0};

	for (size_t i = 0; i < count; i++)
		places[byte_of(&from[i], high, shift) + 1]++;
	for (size_t value = 1; value < BYTE_VALUES; value++)
		places[value] += places[value - 1];
	for (size_t i = 0; i < count; i++)
		to[places[byte_of(&from[i], high, shift)]++] = from[i];
}

int addr_keys_sort(struct addr_key *keys, size_t count)
{
	struct addr_key *other, *from = keys, *to;
	struct addr_key differs = {0};

	for (size_t i = 1; i < count; i++) {
		differs.high |= keys[i].high ^ keys[0].high;
		differs.low |= keys[i].low ^ keys[0].low;
	}
	if (!differs.high && !differs.low)
		return 0;
	other = reallocarray(NULL, count, sizeof(*other));
	if (!other)
		return -ENOMEM;
	to = other;
	for (unsigned bit = 0; bit < HALVES * BITS_OF_HALF; bit += BITS_OF_BYTE) {
		bool high = bit >= BITS_OF_HALF;
		unsigned shift = bit % BITS_OF_HALF;
		struct addr_key *sorted = to;

		if (!byte_of(&differs, high, shift))
			continue;
		sort_by_byte(from, to, count, high, shift);
		to = from;
		from = sorted;
	}
	if (from != keys)
		memcpy(keys, from, count * sizeof(*keys));
	free(other);
	return 0;
}
