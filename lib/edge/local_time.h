/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's time zone: local dates -> seconds since the epoch. */
#ifndef SIPFENCE_LOCAL_TIME_H
#define SIPFENCE_LOCAL_TIME_H

#include <stdbool.h>
#include <stdint.h>

struct local_date {
	int year, month, day; /* month and day from 1 */
	int hour, minute, second;
};

/* Remembers the last hour, since dates of a log come in order. A zeroed struct is a new one. */
struct local_clock {
	struct local_date hour;
	int64_t first, second; /* of its beginning; second: where clocks went back, else the same */
	bool known;
};

/*
 * Of an hour that clocks pass twice, the one that is not before `not_before`. False: there is no
 * such date in the calendar. A time that clocks leap over is as if they had not.
 */
bool local_time_wall(struct local_clock *clock, const struct local_date *date, int64_t not_before,
	int64_t *ret_wall);
/* The date of `wall`. */
struct local_date local_time_date(int64_t wall);

#endif
