/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the history (codec/history.h) is told: which owner has which address by which name. An
 * address that lingers is still had.
 */
#ifndef SIPFENCE_RECORD_H
#define SIPFENCE_RECORD_H

#include "config.h"
#include "roster.h"
#include "text.h"

#include <stdint.h>

/* All of it (history_print_had()). `now` is the steady clock's. */
void record_listing(
	const struct config *config, const struct roster *roster, int64_t now, struct text *text);

/* A host as it was, without memory of its own. */
struct record_host {
	struct host host; /* points to the following; not for host_clear() */
	struct addr addrs[FAMILY_COUNT][CONFIG_MAX_ADDRESSES];
	struct retired retired[RETIRED_MAX];
};
void record_copy(const struct host *host, struct record_host *ret_copy);

/* Lines `lost` and `gained` of one owner, whose host was `before` at `then`, and is `after` now. */
void record_change(const struct config *config, uint32_t owner, const struct host *before,
	int64_t then, const struct host *after, int64_t now, int64_t wall, struct text *text);

/* Where the history is, beside the state file; to be freed. NULL: out of memory. */
char *record_path(const char *state_path);

#endif
