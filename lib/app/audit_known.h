/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who had which address when, for an audit (core/audit.h): an audit_verdict_fn from the config and
 * the history, or, without a history, from what the names are now.
 */
#ifndef SIPFENCE_AUDIT_KNOWN_H
#define SIPFENCE_AUDIT_KNOWN_H

#include "audit.h"
#include "config.h"
#include "history.h"
#include "roster.h"

#include <stdint.h>

struct audit_known;

/* Config and history must outlive it. `grace` in seconds: so long before an address was gained and
 * after it was lost it is nobody's fault. -ENOMEM. */
int audit_known_then(const struct config *config, const struct history *history, int64_t grace,
	int64_t now, struct audit_known **ret_known);
/* What `roster` says at `now` goes for all times. NULL: nothing is known of names. -ENOMEM. */
int audit_known_now(const struct config *config, const struct roster *roster, int64_t now,
	struct audit_known **ret_known);
struct audit_known *audit_known_free(struct audit_known *known); /* returns NULL */

/* An audit_verdict_fn; `known` is a struct audit_known. */
enum audit_verdict audit_known_verdict(
	const void *known, uint32_t owner, const struct addr *addr, int64_t wall);

#endif
