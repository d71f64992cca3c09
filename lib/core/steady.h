/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A clock for ages that outlive a run: it only goes forward, and no step of the wall clock moves
 * it.
 *
 * It begins as the wall clock. Within one boot it advances by CLOCK_BOOTTIME, which nobody can set.
 * Across a reboot it advances by the wall clock if that went forward, and at least by the time
 * since the boot: a board without a battery wakes up in 1970, and then nothing else is known.
 */
#ifndef SIPFENCE_STEADY_H
#define SIPFENCE_STEADY_H

#include <stdint.h>

enum { BOOT_ID_SIZE = 37 }; /* a UUID with NUL */

/* What the clocks of the machine say at one moment. */
struct clock_reading {
	int64_t wall;		    /* seconds since the epoch */
	int64_t boottime;	    /* seconds since boot, suspend included */
	char boot_id[BOOT_ID_SIZE]; /* of this boot; "": unknown */
};

struct steady {
	int64_t now; /* the steady clock at that moment */
	struct clock_reading at;
};

/* The steady clock at `reading`; `last` is what was saved before, NULL or zeroed: nothing. */
struct steady steady_advance(const struct steady *last, const struct clock_reading *reading);

/* A time of the steady clock as the wall clock would have it now. */
int64_t steady_to_wall(const struct steady *steady, int64_t time);

#endif
