/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may pass now: (service, prefix) -> its owners. A sorted list of grants; all grants of one
 * (service, prefix) stand side by side, so an address of several owners stays until the last of
 * them gives it up.
 */
#ifndef SIPFENCE_ALLOWLIST_H
#define SIPFENCE_ALLOWLIST_H

#include "addr.h"
#include "config.h"
#include "roster.h"

#include <stddef.h>
#include <stdint.h>

enum { GRANT_LOCAL = UINT32_MAX }; /* as `owner`: a local subnet */

struct grant {
	struct prefix prefix;
	uint8_t service;  /* index into config.services */
	uint32_t owner;	  /* index into config.owners, or GRANT_LOCAL */
	const char *host; /* the name that the address comes from; NULL: fixed in the config */
};

struct allowlist {
	struct grant *grants; /* sorted by service, prefix, owner, host; distinct */
	size_t count;
};

/*
 * What config and names permit at `now` (for lingering addresses). Points into config and roster,
 * which must outlive it. -ENOMEM.
 */
int allowlist_build(const struct config *config, const struct roster *roster, int64_t now,
	struct allowlist *ret_allowlist);
void allowlist_clear(struct allowlist *allowlist);

#endif
