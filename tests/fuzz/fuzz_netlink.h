/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mutations of netlink messages that keep the lengths of what is around them right: blind ones
 * break a length nearly each time, and come no further.
 */
#ifndef SIPFENCE_FUZZ_NETLINK_H
#define SIPFENCE_FUZZ_NETLINK_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer calls it if it is there. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* The same for messages in `data`; returns the new size. */
size_t fuzz_netlink_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#endif
