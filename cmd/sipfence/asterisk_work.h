/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the command `asterisk` share. */
#ifndef SIPFENCE_ASTERISK_WORK_H
#define SIPFENCE_ASTERISK_WORK_H

#include "asterisk.h"
#include "asterisk_ask.h"
#include "asterisk_setup.h"
#include "command.h"
#include "offline.h"

#include <stdbool.h>
#include <stddef.h>

struct asterisk_work {
	const struct invocation *invocation;
	const struct config *config;
	struct offline offline;
	struct asterisk_acls acls;
	struct asterisk_setup setup;
	struct asterisk_program program;
	struct text answer; /* of Asterisk, the last one */
};

/* Asterisk's answer into work->answer; it knows the command. */
int asterisk_command(struct asterisk_work *work, const char *command, struct error *error);

/* How the ACL of an extension in Asterisk compares. Negative, and `error`, when it can't be asked.
 */
int asterisk_compare(struct asterisk_work *work, uint32_t extension, struct error *error);
/* "sipfence-21: it permits other addresses than it should", as a warning. */
void asterisk_say_match(
	const struct asterisk_work *work, uint32_t extension, enum asterisk_match match);

/* What is to be done in Asterisk's files, on stderr. Returns how much there is. */
size_t asterisk_say_setup(const struct asterisk_work *work);
/* The line that acl.conf needs. True: it does not have it. */
bool asterisk_lacks_include(const struct asterisk_work *work, struct text *line);

/* JSON into a text, as json_put.h has it. The document's head: "version" to "exit", "acl_file". */
void asterisk_put_head(
	const struct asterisk_work *work, const char *result, int exit_code, struct text *text);
/* "acls"; `matches` NULL: Asterisk was not asked. */
void asterisk_put_acls(const struct asterisk_work *work, const int *matches, struct text *text);
/* "endpoints", "not_in_asterisk", "include", "files". */
void asterisk_put_setup(const struct asterisk_work *work, struct text *text);
/* Closes the document, prints it, and frees the text. Returns the exit code. */
int asterisk_print_document(const struct asterisk_work *work, struct text *text, int exit_code);

/* --contacts, --evict. */
int asterisk_contacts(struct asterisk_work *work);

#endif
