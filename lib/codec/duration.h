/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Durations as text: a whole number and its unit (ms s m h d), or several with falling units:
 * 30s, 1h30m, 500ms. No sign, no fraction, no bare number.
 */
#ifndef SIPFENCE_DURATION_H
#define SIPFENCE_DURATION_H

#include <stddef.h>
#include <stdint.h>

enum duration_error {
	DURATION_OK = 0,
	DURATION_NOT_ONE, /* not of the form above */
	DURATION_NO_UNIT, /* a bare number */
	DURATION_NEGATIVE,
	DURATION_TOO_LONG,  /* more than ten years, or than a number can hold */
	DURATION_UNIT_ORDER /* a unit twice, or a larger one behind a smaller */
};

enum duration_error duration_parse(const char *text, size_t length, int64_t *ret_milliseconds);
const char *duration_error_text(enum duration_error error);

#endif
