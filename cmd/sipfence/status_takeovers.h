/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `status` says of takeovers, and of the security log that tells of them. */
#ifndef SIPFENCE_STATUS_TAKEOVERS_H
#define SIPFENCE_STATUS_TAKEOVERS_H

#include "client.h"

#include <stdbool.h>
#include <stdint.h>

enum { TAKEOVER_FRESH = 24 * 3600 }; /* so long after its last log-in one is a problem */

/* A takeover is under way or not long ago, or the log that would tell of one can't be read. */
bool takeovers_are_wrong(const json_t *status, int64_t now);
/* Lines for people, nothing where all is well; with -v also what is probably a call. */
void takeovers_print(const struct invocation *invocation, const json_t *status, int64_t now);

#endif
