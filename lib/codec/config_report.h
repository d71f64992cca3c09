/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The errors and warnings of a config, collected in any order and printed in the order of the text,
 * each with its line and a caret. Internal to the config parser.
 */
#ifndef SIPFENCE_CONFIG_REPORT_H
#define SIPFENCE_CONFIG_REPORT_H

#include "config_yaml.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More problems than this are counted, not shown. */
enum { REPORT_MAX_PROBLEMS = 1000 };

struct place {
	uint32_t source; /* index into report.sources */
	uint32_t line;	 /* from 1 */
	uint32_t column; /* from 1, in characters */
};

struct problem {
	struct place place;
	uint32_t sequence; /* keeps the order of problems at one place */
	bool warning;
	char *what;
};

/* A zeroed struct is an empty report. */
struct report {
	struct config_source *sources; /* of the caller; must outlive report_print() */
	size_t source_count;
	struct problem *problems;
	size_t count, capacity;
	size_t errors;	 /* shown or not */
	size_t left_out; /* errors and warnings beyond REPORT_MAX_PROBLEMS */
	bool no_memory;	 /* sticky */
};

void report_error(struct report *report, struct place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void report_warning(struct report *report, struct place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void report_verror(struct report *report, struct place place, const char *format, va_list arguments)
	__attribute__((format(printf, 3, 0)));
/* What libyaml's reader complains of has no line yet: the place of the byte at `offset`. */
struct place report_place_of_byte(const struct report *report, uint32_t source, size_t offset);
bool report_is_tab(const struct report *report, struct place place);

void report_print(struct report *report, struct text *messages);
void report_free(struct report *report);

/* A piece of untrusted text as it may stand in a message: printable, short, in double quotes. */
struct quote {
	char text[176];
};
struct quote quote(const char *text, size_t length);

/* Makes room for one more item in a growing array; false when out of memory. */
bool array_grow(void *array_pointer, size_t *capacity, size_t count, size_t item_size);

#endif
