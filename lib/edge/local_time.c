/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "local_time.h"

#include <time.h>

enum { HOUR = 3600 };

static bool same_hour(const struct local_date *a, const struct local_date *b)
{
	return a->hour == b->hour && a->day == b->day && a->month == b->month && a->year == b->year;
}

struct local_date local_time_date(int64_t wall)
{
	time_t seconds = (time_t)wall;
	struct tm parts = {0};

	localtime_r(&seconds, &parts);
	return (struct local_date){
		.year = parts.tm_year + 1900,
		.month = parts.tm_mon + 1,
		.day = parts.tm_mday,
		.hour = parts.tm_hour,
		.minute = parts.tm_min,
		.second = parts.tm_sec,
	};
}

/* What clocks show at `wall` is the beginning of that hour. */
static bool begins_at(const struct local_date *hour, int64_t wall)
{
	struct local_date date = local_time_date(wall);

	return same_hour(&date, hour) && date.minute == 0 && date.second == 0;
}

static bool look_up(struct local_clock *clock, const struct local_date *date)
{
	struct tm parts = {
		.tm_year = date->year - 1900,
		.tm_mon = date->month - 1,
		.tm_mday = date->day,
		.tm_hour = date->hour,
		.tm_isdst = -1,
	};
	int64_t wall = mktime(&parts);

	/* mktime() takes a 30th of February for a day in March. */
	if (parts.tm_mday != date->day || parts.tm_mon + 1 != date->month)
		return false;
	clock->hour = *date;
	clock->first = clock->second = wall;
	if (begins_at(date, wall + HOUR))
		clock->second = wall + HOUR;
	else if (begins_at(date, wall - HOUR))
		clock->first = wall - HOUR;
	return clock->known = true;
}

bool local_time_wall(struct local_clock *clock, const struct local_date *date, int64_t not_before,
	int64_t *ret_wall)
{
	int64_t within = (int64_t)date->minute * 60 + date->second;

	if (!clock->known || !same_hour(&clock->hour, date)) {
		clock->known = false;
		if (!look_up(clock, date))
			return false;
	}
	*ret_wall = within + (clock->first + within < not_before ? clock->second : clock->first);
	return true;
}
