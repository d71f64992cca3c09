/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An extension's list (acl.h) as a named ACL of Asterisk: a section of the file that acl.conf
 * includes, and what `acl show NAME` says of it.
 *
 * In Asterisk the last rule that matches decides, and a family that no rule names is let in. So
 * each section begins with a deny of either family, and an extension without an address has these
 * alone: it is refused. One line that Asterisk cannot read discards the whole file while `module
 * reload acl` says that all is well; that is why what is in force is read back.
 */
#ifndef SIPFENCE_ASTERISK_ACL_H
#define SIPFENCE_ASTERISK_ACL_H

#include "acl.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>

/* Of named ACLs, with NUL; Asterisk's own limit is 80. The ids of a config are shorter. */
enum { ASTERISK_ACL_NAME_SIZE = 80 };

/* "sipfence-21": the name of the extension's ACL, as its `acl=` line has it. */
void asterisk_acl_name(const char *extension, char ret_name[ASTERISK_ACL_NAME_SIZE]);

/* What stands at the top of the file, for those who open it. */
void asterisk_acl_print_head(const char *config_path, struct text *text);
/* The extension's section. */
void asterisk_acl_print(const char *extension, const struct acl *acl, struct text *text);

/*
 * Whether these bytes are such a file: the head, and sections, of whichever extensions. It holds
 * nothing else that Asterisk could take for a setting, and no section that lets in more than its
 * permits. (A section that stands there twice lets in what both permit.)
 */
bool asterisk_acl_check_file(const char *data, size_t length);

enum asterisk_shown {
	ASTERISK_SHOWN = 0,
	ASTERISK_SHOWN_NONE, /* Asterisk is there, but has no ACL of this name */
	ASTERISK_SHOWN_OPEN, /* it has one that lets in more than it lists: a deny is missing */
};
/*
 * Reads the output of `acl show NAME`: the rules' permits into `acl`, which is replaced.
 * -EBADMSG: that is not what Asterisk says; -ENOMEM. `acl` is empty then.
 */
int asterisk_acl_parse_shown(const char *output, size_t length, const char *name, struct acl *acl);

#endif
