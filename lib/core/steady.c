/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "steady.h"

#include <string.h>

struct steady steady_advance(const struct steady *last, const struct clock_reading *reading)
{
	struct steady steady = {.now = reading->wall, .at = *reading};
	int64_t passed;

	if (!last || last->now <= 0)
		return steady;
	if (reading->boot_id[0] && strcmp(reading->boot_id, last->at.boot_id) == 0)
		passed = reading->boottime - last->at.boottime;
	else
		passed = reading->wall - (last->at.wall > last->now ? last->at.wall : last->now);
	if (passed < 0)
		passed = 0;
	steady.now = last->now > INT64_MAX - passed ? INT64_MAX : last->now + passed;
	return steady;
}

int64_t steady_to_wall(const struct steady *steady, int64_t time)
{
	return time - steady->now + steady->at.wall;
}
