/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an audit found, for people and for programs. */
#ifndef SIPFENCE_AUDIT_REPORT_H
#define SIPFENCE_AUDIT_REPORT_H

#include "audit.h"
#include "audit_input.h"
#include "command.h"
#include "config.h"

#include <stdbool.h>
#include <stdint.h>

enum audit_basis { AUDIT_BY_HISTORY, AUDIT_BY_NOW, AUDIT_BY_CONFIG };

struct audit_result {
	const struct config *config;
	const struct audit *audit;
	const struct audit_input *input;
	enum audit_basis basis;
	int64_t history_begins; /* AUDIT_BY_HISTORY; INT64_MAX: it is empty */
	int64_t since;		/* seconds; INT64_MIN: all */
	int64_t grace;
	int exit_code;
};

void audit_print(const struct invocation *invocation, const struct audit_result *result);
/* Its schema is in sipfence(8). False: out of memory, or not printed. */
bool audit_print_json(const struct audit_result *result);

#endif
