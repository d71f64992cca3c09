/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How functions of sipfence report.
 *
 * A function that can fail returns an int:
 *   0         done; outputs named ret_* are written (and only then)
 *   negative  -errno: fatal for the caller's purpose, to be forwarded up
 *   positive  an outcome that the caller must handle; each header names its own
 *
 * Where a person will read of it, the function also takes a `struct error`, and fills it when it
 * returns a negative number: what is wrong and where, and what to do next. Filling is idempotent in
 * one direction: the first, innermost report stays, so callers may add theirs blindly.
 */
#ifndef SIPFENCE_ERROR_H
#define SIPFENCE_ERROR_H

#include <stdarg.h>

struct error {
	int code;	/* -errno, 0 while nothing has been reported */
	char what[768]; /* what is wrong, and where; one line, no full stop, no line feed */
	char next[512]; /* what to do about it; may be empty */
};

/* Fills `error` (NULL is allowed) unless it holds a report already; returns `code`. */
int error_set(struct error *error, int code, const char *next, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The same for running out of memory. Returns -ENOMEM. */
int error_no_memory(struct error *error);

#endif
