/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a cycle found, for people and for programs. */
#ifndef SIPFENCE_REPORT_H
#define SIPFENCE_REPORT_H

#include "command.h"
#include "cycle.h"

#include <stdbool.h>
#include <stddef.h>

/* "21 home21.dyndns.example: held: …" on stderr for each name that is not fresh, and for each that
 * is so again. `all`: else only those whose state is not the one that was told last. With them,
 * what is wrong with the databases. */
void report_names(const struct invocation *invocation, struct cycle *cycle, bool all);
/* The databases of `within` that are not as they should be, on stderr. */
void report_databases(const struct invocation *invocation, const struct geo *geo);
/* Notes all states as told. */
void report_told(struct cycle *cycle);
/* How many names are not fresh. */
size_t report_unsure(const struct cycle *cycle);

/* The unlisted talkers that are about to be shut out, on stderr. */
void report_talkers(const struct cycle *cycle);

/* The changes of hosts and nets on stdout, a line each: "+ sip 203.0.113.10  21 home21…". */
void report_changes(const struct invocation *invocation, const struct cycle *cycle);
/* Changes that an admin wants to read of: not just another comment. */
void report_count_changes(const struct cycle *cycle, size_t *ret_added, size_t *ret_removed);

/* One JSON document on stdout (its schema is in sipfence(8)); `script` may be NULL. */
int report_json(const struct cycle *cycle, const char *command, const char *result, int exit_code,
	const char *script);

#endif
