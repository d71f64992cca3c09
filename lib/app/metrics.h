/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How things are, in the text format that Prometheus reads (version 0.0.4). The metrics are listed
 * in sipfence(8); each that is known is there, and one that is not known is left out.
 */
#ifndef SIPFENCE_METRICS_H
#define SIPFENCE_METRICS_H

#include "status.h"
#include "text.h"
#include "traffic.h"

#include <stdint.h>

/* Names of owners that have metrics of their own; of a longer list only the totals are there. */
enum { METRICS_NAMES_MOST = 1000 };

/* A `sipfence sync` that has just ended. */
struct metrics_run {
	int64_t ended; /* seconds of the wall clock */
	int exit_code;
};

/* `traffic` and `run` may be NULL. `wall`: now. -ENOMEM. */
int metrics_print(const struct view *view, const struct traffic *traffic,
	const struct metrics_run *run, int64_t wall, struct text *text);

#endif
