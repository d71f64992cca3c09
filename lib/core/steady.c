/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "steady.h"

#include <stdbool.h>
#include <string.h>

/* Seconds of wall time since `last`, as far as its clock was set at all then. */
static int64_t passed_by_wall(const struct steady *last, const struct clock_reading *reading)
{
	enum {
		STEADY_SET = 1767225600
	}; /* 2026-01-01: before it no clock was right that ran this */

	return reading->wall - (last->at.wall >= STEADY_SET ? last->at.wall : last->now);
}

struct steady steady_advance(const struct steady *last, const struct clock_reading *reading)
{
	struct steady steady = {.now = reading->wall, .at = *reading};
	bool known = reading->boot_id[0] && last && last->at.boot_id[0];
	int64_t passed;

	if (!last || last->now <= 0)
		return steady;
	if (known && strcmp(reading->boot_id, last->at.boot_id) == 0)
		passed = reading->boottime - last->at.boottime;
	else
		passed = passed_by_wall(last, reading);
	/* Of another boot: all of this one has passed since. */
	if (known && strcmp(reading->boot_id, last->at.boot_id) != 0 && passed < reading->boottime)
		passed = reading->boottime;
	if (passed < 0)
		passed = 0;
	steady.now = last->now > INT64_MAX - passed ? INT64_MAX : last->now + passed;
	return steady;
}

int64_t steady_to_wall(const struct steady *steady, int64_t time)
{
	return time - steady->now + steady->at.wall;
}
