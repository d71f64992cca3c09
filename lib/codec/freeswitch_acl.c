/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "freeswitch_acl.h"

#include <string.h>

/* Within a comment no "--" may stand, and nothing that the preprocessor knows: what starts with <
 * or
 * $, and its own name. */
static void put_path(const char *path, struct text *text)
{
	char last = 0;

	for (; *path; last = *path, path++) {
		if ((*path == '-' && (last == '-' || last == 0)) || strchr("<>$&", *path) ||
			(last == '-' && (*path == 'p' || *path == 'P')))
			text_printf(text, "\\x%02x", (unsigned char)*path);
		else
			text_escaped(text, path, 1);
	}
}

void freeswitch_acl_print_head(const char *config_path, struct text *text)
{
	text_puts(text, "<include>\n<!-- Written by sipfence from ");
	put_path(config_path, text);
	text_puts(text,
		" : changes made here are lost.\n"
		"     To be included in network-lists of acl.conf.xml. A user of the directory is\n"
		"     bound to its list by the param auth-acl, as in sipfence-21. -->\n");
}

static void put_attribute(const char *value, struct text *text)
{
	for (; *value; value++) {
		if (strchr("<>&\"'$", *value))
			text_printf(text, "&#%u;", (unsigned char)*value);
		else
			text_write(text, value, 1);
	}
}

void freeswitch_acl_print(const char *extension, const struct acl *acl, struct text *text)
{
	char address[ADDR_TEXT_SIZE];

	text_puts(text, "<list name=\"sipfence-");
	put_attribute(extension, text);
	text_puts(text, acl->count > 0 ? "\" default=\"deny\">\n" : "\" default=\"deny\"/>\n");
	for (size_t i = 0; i < acl->count; i++) {
		addr_print(&acl->permits[i].addr, address);
		text_printf(text, "  <node type=\"allow\" cidr=\"%s/%u\"/>\n", address,
			acl->permits[i].length);
	}
	if (acl->count > 0)
		text_puts(text, "</list>\n");
}

void freeswitch_acl_print_end(struct text *text)
{
	text_puts(text, "</include>\n");
}
