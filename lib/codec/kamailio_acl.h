/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The extensions' lists (acl.h) as the address file of Kamailio's module permissions
 * (`address_file`, Kamailio 5.4 and later; the module's README, "Address File Format"). A line is a
 * record:
 *
 *     group address mask port tag
 *
 * Group and mask are numbers; port 0 is any. An address that is none is taken for a name, and kept
 * in a table of its own; `#` starts a comment.
 *
 * Kamailio's groups are numbers, an extension's id is text. So each extension has a group, and in
 * it a line with the name sipfence-ID, which is how a script finds the number:
 *
 *     allow_address_group("sipfence-21", "0")    the group, in $rc; -1: there is no such extension
 *     allow_source_address("$var(group)")        may it come from there?
 *
 * Thus ids may be any text, an address of several extensions is right for each of them, and an
 * extension without an address is known and comes from nowhere. Numbers change with the config.
 * That does no harm to a script that compares the tag, which is the id, of the address that was
 * found: two lookups may have a reload between them.
 *
 * Groups start far above 1, since that is the group of callers who need no password in many scripts
 * (allow_source_address() without an argument).
 *
 * `#` and `@` of an id are written as SIP has them in the user part of a URI, %23 and %40.
 *
 * A line that Kamailio cannot read makes it keep the table it has; prefixes beyond its
 * `max_subnets` it leaves out, and says so in its log only.
 */
#ifndef SIPFENCE_KAMAILIO_ACL_H
#define SIPFENCE_KAMAILIO_ACL_H

#include "acl.h"
#include "text.h"

#include <stddef.h>
#include <stdint.h>

enum {
	KAMAILIO_FIRST_GROUP = 1000001,
	KAMAILIO_SUBNETS = 512, /* max_subnets, unless Kamailio's config says otherwise */
};

/* What stands at the top of the file, for those who open it. */
void kamailio_acl_print_head(const char *config_path, struct text *text);
/* The extension's lines. `number`: its place among the extensions, from 0. */
void kamailio_acl_print(
	const char *extension, uint32_t number, const struct acl *acl, struct text *text);
/* How many of its permits count against max_subnets: prefixes that are no single address. */
size_t kamailio_acl_subnets(const struct acl *acl);

#endif
