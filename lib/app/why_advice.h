/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What would have to change so that somebody is let in, for why.h: one or two sentences for the
 * admin, from what is known of the names.
 */
#ifndef SIPFENCE_WHY_ADVICE_H
#define SIPFENCE_WHY_ADVICE_H

#include "host.h"
#include "status.h"
#include "text.h"

#include <stddef.h>
#include <stdint.h>

/* Of an extension or a peer: config->owners[owner]. */
void why_advise_owner(const struct view *view, uint32_t owner, struct text *text);
/* Of a host: roster->hosts[first] and those behind it that have the same name. */
void why_advise_host(const struct view *view, size_t first, struct text *text);

#endif
