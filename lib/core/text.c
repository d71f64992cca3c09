/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool text_grow(struct text *text, size_t more)
{
	size_t capacity = text->capacity ? text->capacity : 256;
	char *data;

	if (text->failed)
		return false;
	if (more >= SIZE_MAX / 4 || text->length >= SIZE_MAX / 4) {
		text->failed = true;
		return false;
	}
	while (capacity < text->length + more + 1)
		capacity *= 2;
	data = realloc(text->data, capacity);
	if (!data) {
		text->failed = true;
		return false;
	}
	text->data = data;
	text->capacity = capacity;
	return true;
}

void text_printf(struct text *text, const char *format, ...)
{
	va_list arguments;
	char small[256];
	int length;

	va_start(arguments, format);
	length = vsnprintf(small, sizeof(small), format, arguments);
	va_end(arguments);
	if (length < 0) {
		text->failed = true;
		return;
	}
	if ((size_t)length < sizeof(small)) {
		text_write(text, small, (size_t)length);
		return;
	}
	if (!text_grow(text, (size_t)length))
		return;
	va_start(arguments, format);
	vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
	va_end(arguments);
	text->length += (size_t)length;
}

void text_number(struct text *text, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	text_write(text, digits + at, sizeof(digits) - at);
}

void text_escaped(struct text *text, const char *string, size_t length)
{
	size_t plain = 0; /* the first byte that is not written yet */

	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)string[i];

		if (byte >= 0x20 && byte < 0x7f && byte != '\\')
			continue;
		text_write(text, string + plain, i - plain);
		plain = i + 1;
		if (byte == '\\')
			text_puts(text, "\\\\");
		else
			text_printf(text, "\\x%02x", byte);
	}
	text_write(text, string + plain, length - plain);
}

void text_clear(struct text *text)
{
	text->length = 0;
	if (text->data)
		text->data[0] = '\0';
}

void text_free(struct text *text)
{
	free(text->data);
	*text = (struct text){0};
}

const char *text_string(const struct text *text)
{
	return text->data ? text->data : "";
}
