/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fully qualified names: RFC 1035 sizes (label 63, whole 253 without the final dot), labels of
 * letters, digits, hyphens and underscores (RFC 2782 owners have them), no hyphen at a label's end,
 * at least two labels. Kept in lower case without the final dot.
 */
#ifndef SIPFENCE_FQDN_H
#define SIPFENCE_FQDN_H

#include <stddef.h>

enum { FQDN_SIZE = 254 }; /* with NUL */

enum fqdn_error {
	FQDN_OK = 0,
	FQDN_EMPTY,
	FQDN_TOO_LONG,
	FQDN_LABEL_TOO_LONG,
	FQDN_LABEL_EMPTY,
	FQDN_BAD_CHARACTER,
	FQDN_NOT_ASCII,
	FQDN_HYPHEN,
	FQDN_NO_DOT,
	FQDN_NUMERIC, /* the last label is a number: a mistyped address */
};

/* `buffer` takes FQDN_SIZE bytes and is written on FQDN_OK only; `*ret_at` is the offset of the
 * offending byte on error. */
enum fqdn_error fqdn_parse(const char *text, size_t length, char *buffer, size_t *ret_at);
const char *fqdn_error_text(enum fqdn_error error);

#endif
