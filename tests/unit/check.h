/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmocka with the headers that it wants first, and numbers for property tests. */
#ifndef SIPFENCE_TEST_CHECK_H
#define SIPFENCE_TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* splitmix64: the same numbers from the same seed everywhere. SEED=… repeats a run. */
struct dice {
	uint64_t state;
};

static inline struct dice dice_new(const char *test)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)(uintptr_t)&seed ^ 0x5eed;

	print_message("%s: SEED=0x%llx\n", test, (unsigned long long)seed);
	return (struct dice){.state = seed};
}

static inline uint64_t dice_next(struct dice *dice)
{
	uint64_t z = dice->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 0 to limit - 1 */
static inline unsigned dice_roll(struct dice *dice, unsigned limit)
{
	return (unsigned)(dice_next(dice) % limit);
}

#endif
