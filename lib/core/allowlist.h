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

#include <stdbool.h>
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

/* --- What one owner is granted, for those who keep such a list up to date (ledger.h) --- */

/* All addresses of a host that any owner may be granted: those in force and the retired ones. */
enum { HOST_ADDRS_MAX = FAMILY_COUNT * CONFIG_MAX_ADDRESSES + RETIRED_MAX };

/* What the owner is granted for an address of a name of its. */
struct prefix allowlist_prefix(
	const struct config *config, uint32_t owner, const struct addr *addr);
/* The same for all addresses that the host has for this owner at `now`; may have some twice. */
size_t allowlist_prefixes(const struct config *config, uint32_t owner, const struct host *host,
	int64_t now, struct prefix ret_prefixes[HOST_ADDRS_MAX]);
/* True when the owner's grants are for `service`, too. */
bool allowlist_serves(const struct config *config, uint32_t owner, size_t service);

#endif
