/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A growing string. Failure to grow is sticky: printing goes on without effect, and the user asks
 * once, at the end, by looking at `failed`. A zeroed struct is an empty text.
 */
#ifndef SIPFENCE_TEXT_H
#define SIPFENCE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
	char *data; /* NUL-terminated once anything was printed; NULL before */
	size_t length;
	size_t capacity;
	bool failed;
};

void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for `more` bytes and a NUL; false, and `failed`, where there is none. */
bool text_grow(struct text *text, size_t more);

/* These two are what large outputs are made of, piece by piece: here, so that they cost a copy. */
static inline void text_write(struct text *text, const void *data, size_t length)
{
	bool fits = text->data && !text->failed && length < text->capacity - text->length;

	if (!fits && !text_grow(text, length))
		return;
	if (length)
		memcpy(text->data + text->length, data, length);
	text->length += length;
	text->data[text->length] = '\0';
}

static inline void text_puts(struct text *text, const char *string)
{
	text_write(text, string, strlen(string));
}

/* An unsigned number in decimal; the fast way for large outputs. */
void text_number(struct text *text, uint64_t number);
/*
 * Untrusted bytes as printable ASCII: anything else becomes \xNN, a backslash \\. What comes from
 * DNS or a config passes through here before it meets a terminal or a log.
 */
void text_escaped(struct text *text, const char *string, size_t length);
void text_clear(struct text *text); /* length 0, keeps the memory */
void text_free(struct text *text);
/* The string; "" when empty. */
const char *text_string(const struct text *text);

#endif
