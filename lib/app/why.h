/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why an address may pass or not, and what is known of an extension, a peer or a host. The schema
 * is in sipfence(8).
 */
#ifndef SIPFENCE_WHY_H
#define SIPFENCE_WHY_H

#include "answer.h"
#include "status.h"
#include "text.h"

/*
 * `what` is an address, a host of the config, or an id: an extension's or, where there is none of
 * that id, a peer's; `extension:ID` and `peer:ID` say which. `own` are this machine's addresses
 * (none: not known).
 *
 * Appends {"ok":true,"why":{…}}, or {"ok":false,"exit":2,"error":…,"next":…} when there is no such
 * thing. -ENOMEM.
 */
int why_answer(const struct view *view, const struct own_addresses *own, const char *what,
	struct text *text);

#endif
