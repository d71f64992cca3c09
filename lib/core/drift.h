/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where no daemon watches the table, others can change who is let in, and nothing says so until the
 * next run. This is what they have changed: the elements of hosts and nets in which the kernel
 * differs from what the last run has put in force. Comments and counters are no matter.
 */
#ifndef SIPFENCE_DRIFT_H
#define SIPFENCE_DRIFT_H

#include "plan.h"
#include "ruleset.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>

enum { DRIFT_NAMED = 5 }; /* of each kind; the rest is counted */

struct drifted {
	size_t count;
	struct {
		const char *set; /* of the ruleset */
		struct prefix prefix;
	} first[DRIFT_NAMED];
};

struct drift {
	struct drifted added;	/* in the kernel, and not put in force */
	struct drifted missing; /* put in force, and not in the kernel */
};

/* `put`: what was put in force. The result points into it. */
void drift_find(
	const struct ruleset *put, const struct observed *observed, struct drift *ret_drift);
bool drift_any(const struct drift *drift);
/* "1 element was added: 203.0.113.66 (sip_hosts4); 2 are missing: ..."; nothing if none differs. */
void drift_print(const struct drift *drift, struct text *text);

#endif
