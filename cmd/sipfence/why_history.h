/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who had an address when, beside what `why` says of it. */
#ifndef SIPFENCE_WHY_HISTORY_H
#define SIPFENCE_WHY_HISTORY_H

#include "command.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Adds "history" to what is known of an address: null where it can't be read. False: out of memory.
 */
bool why_add_history(const struct invocation *invocation, json_t *why);

/* Since when the owner (of a service of `why`) has it by its name; 0: not known. `*ret_by`: it was
 * at that time or before. */
int64_t why_since(const json_t *why, const json_t *owner, bool *ret_by);
/* Who had it formerly, a line each. */
void why_print_former(const json_t *why);

#endif
