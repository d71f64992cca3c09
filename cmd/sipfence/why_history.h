/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who had an address when, beside what `why` says of it. */
#ifndef SIPFENCE_WHY_HISTORY_H
#define SIPFENCE_WHY_HISTORY_H

#include "command.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Adds "history": who had the address, or what the extension, peer or host had; null where it can't
 * be read. False: out of memory. */
bool why_add_history(const struct invocation *invocation, json_t *why);

/* Since when the owner (of a service of `why`) has it by its name; 0: not known. `*ret_by`: it was
 * at that time or before. */
int64_t why_since(const json_t *why, const json_t *owner, bool *ret_by);
/* The same of an answer that is of an extension, a peer or a host: of its prefix by that name. */
int64_t why_since_at(const json_t *why, const char *host, const char *prefix, bool *ret_by);
/* Who had it formerly, or which addresses it had, a line each. */
void why_print_former(const json_t *why);

#endif
