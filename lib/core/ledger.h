/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The allowlist of a process that goes on running: what is permitted, and what of it the kernel's
 * sets hold. A change of one name costs by the logarithm of the list, not by its length.
 *
 * It says the same as allowlist.h and ruleset.h, which make the whole: the elements of hosts and
 * nets, nested prefixes folded, with the same comments. ledger_new() takes over what they made and
 * the kernel holds; ledger_update() notes what a name's answers have changed; ledger_plan() says
 * what must be done in the kernel, and ledger_done() that it was.
 */
#ifndef SIPFENCE_LEDGER_H
#define SIPFENCE_LEDGER_H

#include "allowlist.h"
#include "config.h"
#include "plan.h"
#include "roster.h"
#include "ruleset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

/*
 * `allowlist` is what allowlist_build() made of config and roster, and the kernel holds exactly
 * that. `skeleton` is a ruleset of the same config (made of any allowlist, elements are not looked
 * at): says which sets there are. Keeps pointers to config, roster and skeleton, which must outlive
 * it; the allowlist may go. -ENOMEM. -EINVAL: the allowlist is not this roster's.
 */
int ledger_new(const struct config *config, const struct roster *roster,
	const struct ruleset *skeleton, const struct allowlist *allowlist,
	struct ledger **ret_ledger);
struct ledger *ledger_free(struct ledger *ledger); /* returns NULL */

/* All addresses of a host that any owner may be granted. */
size_t host_list_addrs(const struct host *host, struct addr ret_addrs[HOST_ADDRS_MAX]);

/*
 * roster->hosts[host] has changed: `before` (`count` of them) is what host_list_addrs() gave
 * before. Also to be called when nothing but the time has changed and lingering addresses may have
 * left. -ENOMEM: the ledger may lack some of it, and must be made anew.
 */
int ledger_update(
	struct ledger *ledger, size_t host, const struct addr *before, size_t count, int64_t now);

/* True when ledger_plan() would have anything to look at. */
bool ledger_is_dirty(const struct ledger *ledger);

/*
 * What the kernel needs to be right again: PLAN_NOTHING or PLAN_ELEMENTS, in an order that one
 * batch can have: of each set deletions first. An element with another comment is deleted and
 * added; `carry` is called for each of these before, and fills in the counter that is to be
 * carried over (may be NULL: it begins at 0). Comments live in `arena`, as long as the plan is
 * used. -ENOMEM.
 *
 * What leaves, and what is new, by address: see plan->changes; a renamed element stands there
 * twice, first as deleted.
 */
typedef void ledger_rename_fn(void *context, uint32_t set, struct element *element);
int ledger_plan(struct ledger *ledger, ledger_rename_fn *carry, void *context, struct arena *arena,
	struct plan *ret_plan);
/* The kernel has taken the plan that was made last. */
void ledger_done(struct ledger *ledger);

size_t ledger_elements(const struct ledger *ledger); /* that the kernel holds */
size_t ledger_bytes(const struct ledger *ledger);    /* of memory taken */

/*
 * Who lets `addr` into `service`: calls `tell` (NULL: nobody) for each grant whose prefix has it,
 * in the order of comments, with the element that lets it in: first that of hosts, then that of
 * nets. A grant that only stands in the comment, for another part of the element, is not told.
 * False: nobody permits it.
 */
typedef void ledger_tell_fn(void *context, const struct prefix *element, const struct grant *grant);
bool ledger_explain(const struct ledger *ledger, size_t service, const struct addr *addr,
	ledger_tell_fn *tell, void *context);

#endif
