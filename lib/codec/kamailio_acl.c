/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kamailio_acl.h"

#include <string.h>

/* Kamailio reads 1023 bytes of a line; the rest would be a line of its own, and no comment. */
enum { LONGEST_PATH = 500 };

void kamailio_acl_print_head(const char *config_path, struct text *text)
{
	struct text path = {0};

	text_escaped(&path, config_path, strlen(config_path));
	text_printf(text,
		"# Written by sipfence from %.*s%s: changes made here are lost.\n"
		"# For Kamailio's module permissions (address_file): group, address, mask, port, tag.\n"
		"# The group of extension 21 is the one of the name sipfence-21; numbers change.\n",
		LONGEST_PATH, text_string(&path), path.length > LONGEST_PATH ? "..." : "");
	text->failed |= path.failed;
	text_free(&path);
}

static void put_id(const char *id, struct text *text)
{
	for (; *id; id++) {
		if (*id == '#' || *id == '@')
			text_printf(text, "%%%02x", (unsigned)*id);
		else
			text_write(text, id, 1);
	}
}

static void put_line(const char *address, unsigned mask, const char *extension, uint32_t number,
	struct text *text)
{
	text_number(text, (uint64_t)KAMAILIO_FIRST_GROUP + number);
	if (address) {
		text_printf(text, " %s", address);
	} else {
		text_puts(text, " sipfence-");
		put_id(extension, text);
	}
	text_printf(text, " %u 0 ", mask);
	put_id(extension, text);
	text_puts(text, "\n");
}

void kamailio_acl_print(
	const char *extension, uint32_t number, const struct acl *acl, struct text *text)
{
	char address[ADDR_TEXT_SIZE];

	text_puts(text, "\n");
	/* The mask of a name is of no meaning, but a place that must be filled. */
	put_line(NULL, 32, extension, number, text);
	for (size_t i = 0; i < acl->count; i++) {
		addr_print(&acl->permits[i].addr, address);
		put_line(address, acl->permits[i].length, extension, number, text);
	}
}

size_t kamailio_acl_subnets(const struct acl *acl)
{
	size_t count = 0;

	for (size_t i = 0; i < acl->count; i++)
		count += acl->permits[i].length <
			 addr_bits((enum family)acl->permits[i].addr.family);
	return count;
}
