/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a line of an Asterisk log is to an audit (core/audit.h). */
#ifndef SIPFENCE_AUDIT_LINE_H
#define SIPFENCE_AUDIT_LINE_H

#include "asterisk_log.h"
#include "audit.h"

#include <stdbool.h>
#include <stdint.h>

/* `when`: milliseconds. The event's strings are those of `line`. False: it is of no interest. */
bool audit_line_event(
	const struct asterisk_line *line, int64_t when, struct audit_event *ret_event);

#endif
