/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Asterisk's named ACLs have to be by the config and by what is known of the names, and how
 * what Asterisk says compares with that. Values only: whoever calls runs Asterisk's commands and
 * writes the file.
 */
#ifndef SIPFENCE_ASTERISK_H
#define SIPFENCE_ASTERISK_H

#include "acl.h"
#include "asterisk_acl.h"
#include "asterisk_cli.h"
#include "config.h"
#include "roster.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One ACL for each extension of the config, in its order. A zeroed struct is an empty one. */
struct asterisk_acls {
	const struct config *config; /* not owned */
	struct acl *list;	     /* of config->owners[i]: extensions stand in front of peers */
	uint32_t *sorted;	     /* indices of the list, by id */
	bool *unlearned;  /* of list[i]: a name of the extension's never had an address */
	struct acl local; /* the local subnets */
	uint32_t count;
};

/* All of them at `now`. Replaces what `acls` held. -ENOMEM: `acls` is empty. */
int asterisk_acls_make(const struct config *config, const struct roster *roster, int64_t now,
	struct asterisk_acls *acls);
void asterisk_acls_clear(struct asterisk_acls *acls);

/* The whole file: the head, and a section for each extension. See text.failed. */
void asterisk_acls_print(const struct asterisk_acls *acls, struct text *text);

/* The index of the extension of that id; acls->count: there is none. */
uint32_t asterisk_acls_find(const struct asterisk_acls *acls, const char *id);

enum asterisk_match {
	ASTERISK_EQUAL = 0, /* what is in force is what is wanted */
	ASTERISK_MISSING,   /* Asterisk has no such ACL: peers bound to it are refused */
	ASTERISK_OPEN,	    /* a deny is missing: it lets in more than it lists */
	ASTERISK_DIFFERENT, /* it permits other addresses */
	ASTERISK_UNREADABLE /* that is no answer to `acl show` */
};
/* The answer to asterisk_cli_show_acl() of list[index]. -ENOMEM. */
int asterisk_acls_compare(
	const struct asterisk_acls *acls, uint32_t index, const char *output, size_t length);
/* "is not there", …: what is said behind the ACL's name. */
const char *asterisk_match_text(enum asterisk_match match);

/* What a registration is to the ACL of its extension. */
enum asterisk_fit {
	ASTERISK_FITS = 0,
	ASTERISK_WRONG, /* its address is not permitted: evict it */
	/* Its host is a name, or a private address that is not of the local subnets, most likely
	 * the phone's own behind a NAT: where it really is can't be told. Or it is not permitted,
	 * but one of the extension's names never had an address: where it belongs can't be told
	 * yet. */
	ASTERISK_UNKNOWABLE,
	ASTERISK_UNLISTED /* the config has no such extension */
};
/* *ret_index: of its extension, unless it is unlisted. */
enum asterisk_fit asterisk_acls_judge(const struct asterisk_acls *acls,
	const struct asterisk_contact *contact, uint32_t *ret_index);
const char *asterisk_fit_word(
	enum asterisk_fit fit); /* "right", "wrong", "unknowable", "unlisted" */

#endif
