/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The extensions' lists (acl.h) as network lists of FreeSWITCH, to be included where acl.conf.xml
 * has them ("Access Control List" and "XML Preprocessor" in its documentation):
 *
 *     <configuration name="acl.conf" description="Network Lists">
 *       <network-lists>
 *         <X-PRE-PROCESS cmd="include" data="../sipfence_acl.xml"/>
 *
 * A list denies what no node of it allows. One without nodes denies everybody, and so does the name
 * of a list that is not there. An extension is bound to its list in the directory:
 *
 *     <param name="auth-acl" value="sipfence-21"/>
 *
 * The preprocessor goes by lines: it drops a line with <include> in it, which is there for the sake
 * of XML parsers, and it would obey its commands in a comment, too.
 */
#ifndef SIPFENCE_FREESWITCH_ACL_H
#define SIPFENCE_FREESWITCH_ACL_H

#include "acl.h"
#include "text.h"

/* The file's first lines; the lists follow, then its end. */
void freeswitch_acl_print_head(const char *config_path, struct text *text);
/* The extension's list. */
void freeswitch_acl_print(const char *extension, const struct acl *acl, struct text *text);
void freeswitch_acl_print_end(struct text *text);

#endif
