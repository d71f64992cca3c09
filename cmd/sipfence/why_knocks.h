/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who was kept out in the last hour, beside what `why` says. */
#ifndef SIPFENCE_WHY_KNOCKS_H
#define SIPFENCE_WHY_KNOCKS_H

#include "command.h"

#include <jansson.h>
#include <stdbool.h>

/* Adds "kept_out": of an address, it alone; of others, the addresses that they had formerly, and
 * the latest. null: the kernel's counters can't be read. To be called behind why_add_history().
 * False: out of memory. */
bool why_add_knocks(const struct invocation *invocation, json_t *why);
/* A line each. */
void why_print_knocks(const json_t *why);

#endif
