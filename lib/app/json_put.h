/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON written straight into a text, for answers that are too long to be built as objects first.
 * Commas come by themselves: a key or a value that does not stand right behind a bracket, a colon
 * or a comma gets one before it.
 */
#ifndef SIPFENCE_JSON_PUT_H
#define SIPFENCE_JSON_PUT_H

#include "addr.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

void json_put_open(struct text *text, const char *bracket); /* "{" or "[" */
void json_put_close(struct text *text, const char *bracket);
void json_put_key(struct text *text, const char *key); /* plain: not escaped */

/* NULL: null. Bytes that are not printable ASCII stand as \xNN, as in text_escaped(): names, ids
 * and paths need not be UTF-8. */
void json_put_string(struct text *text, const char *string);
void json_put_number(struct text *text, int64_t number);
void json_put_bool(struct text *text, bool value);
void json_put_null(struct text *text);
/* "2026-11-22T16:31:00Z"; null for a time that this form cannot write, and for 0. */
void json_put_time(struct text *text, int64_t wall);
void json_put_addr(struct text *text, const struct addr *addr);
void json_put_prefix(struct text *text, const struct prefix *prefix);

#endif
