/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Puts long lists of addresses in order, in time that grows with their length alone: byte by byte,
 * and only by those bytes that differ.
 */
#ifndef SIPFENCE_ADDR_ORDER_H
#define SIPFENCE_ADDR_ORDER_H

#include "addr.h"

#include <stddef.h>
#include <stdint.h>

/* An item of a list, by its address. */
struct addr_key {
	uint64_t high, low; /* halves of the address */
	size_t index;	    /* of the item */
};

struct addr_key addr_key(const struct addr *addr, size_t index);

/* Sorts keys of one family as addr_compare() would; those of equal addresses stay in their order.
 * -ENOMEM: they stand as before. */
int addr_keys_sort(struct addr_key *keys, size_t count);

#endif
