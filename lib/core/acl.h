/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From where one extension may come: the addresses of its own hosts, and the local subnets if it is
 * local. The firewall's list is a union of all of them; this is each one's own part of it, for
 * those who can tell extensions apart (a PBX's access lists, an audit of its log).
 */
#ifndef SIPFENCE_ACL_H
#define SIPFENCE_ACL_H

#include "config.h"
#include "roster.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A zeroed struct is an empty one: nobody. */
struct acl {
	struct prefix *permits; /* sorted by prefix_compare, distinct, none inside another; owned */
	size_t count, capacity;
};

/*
 * That of config->owners[owner] at `now`, lingering addresses included, as in the allowlist.
 * Replaces what `acl` held and uses its memory again. -ENOMEM: `acl` is empty.
 */
int acl_of(const struct config *config, const struct roster *roster, uint32_t owner, int64_t now,
	struct acl *acl);
/* Adds one prefix; acl_settle() brings them into order. -ENOMEM. */
int acl_add(struct acl *acl, const struct prefix *prefix);
void acl_settle(struct acl *acl);
bool acl_permits(const struct acl *acl, const struct addr *addr);
bool acl_equal(const struct acl *a, const struct acl *b);
void acl_clear(struct acl *acl); /* frees what it owns */

#endif
