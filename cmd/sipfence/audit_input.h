/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log files as one stream of lines that say something, in the order of time, whatever the order of
 * the files: a rotated set, or a full and a security log of the same days. Files are told by the
 * time of their first line; only those of the same time are open at once.
 */
#ifndef SIPFENCE_AUDIT_INPUT_H
#define SIPFENCE_AUDIT_INPUT_H

#include "asterisk_log.h"
#include "error.h"
#include "local_time.h"
#include "log_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AUDIT_FILES_OPEN = 128 };

struct audit_file {
	const char *path; /* not owned */
	uint64_t bytes, lines, too_long;
	uint64_t understood; /* lines that say something of registrations, log-ins or calls */
	uint64_t undated;    /* of them: without a date */
	uint64_t doubled;    /* with a field twice */
	int64_t first, last; /* milliseconds since the epoch, of what was understood; 0: nothing */
	int64_t zone_off;    /* seconds that its dates differ from EventTV; 0: they don't */
	bool several_years;  /* dates without a year go back by months */
	bool again;	     /* named twice: read once */
	struct error error;  /* .code 0: all of it was read */

	struct log_file_identity identity;
	struct log_file *file; /* NULL: not open */
	bool opened, ready;    /* ready: `line` is the next one */
	int64_t start;	       /* seconds: of its first line; INT64_MIN: not known */
	int year;	       /* of the last line, where --year is given */
	struct local_clock clock;
	struct asterisk_line line;
	int64_t when; /* of `line`, in milliseconds */
	bool zone_seen;
};

struct audit_input {
	struct audit_file *files;
	size_t count;
	struct audit_file **order; /* by their starts */
	size_t next;		   /* of order: not opened yet */
	struct audit_file **open;  /* those with a line ready */
	size_t open_count;
	int year;    /* of the oldest line; 0: by the files' own times */
	int64_t now; /* seconds */
};

/* Looks at all files; those that can't be opened carry their error. -ENOMEM. */
int audit_input_open(const char *const *paths, size_t count, int year, int64_t now,
	struct audit_input *ret_input);
/* The next line of all, and the file that it is from, until the next call; NULL: that was all. */
const struct asterisk_line *audit_input_next(
	struct audit_input *input, int64_t *ret_when, struct audit_file **ret_file);
void audit_input_close(struct audit_input *input);

#endif
