/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json_put.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { LAST_FOUR_DIGIT_YEAR = 9999 };

static void separate(struct text *text)
{
	if (text->length > 0 && !strchr("{[:,", text->data[text->length - 1]))
		text_puts(text, ",");
}

void json_put_open(struct text *text, const char *bracket)
{
	separate(text);
	text_puts(text, bracket);
}

void json_put_close(struct text *text, const char *bracket)
{
	text_puts(text, bracket);
}

void json_put_key(struct text *text, const char *key)
{
	separate(text);
	text_puts(text, "\"");
	text_puts(text, key);
	text_puts(text, "\":");
}

void json_put_string(struct text *text, const char *string)
{
	if (!string) {
		json_put_null(text);
		return;
	}
	separate(text);
	text_puts(text, "\"");
	for (const char *at = string; *at; at++) {
		unsigned char byte = (unsigned char)*at;

		if (byte == '"' || byte == '\\')
			text_puts(text, "\\");
		if (byte >= 0x20 && byte < 0x7f)
			text_write(text, at, 1);
		else
			text_printf(text, "\\\\x%02x", byte);
	}
	text_puts(text, "\"");
}

void json_put_number(struct text *text, int64_t number)
{
	separate(text);
	text_printf(text, "%" PRId64, number);
}

void json_put_bool(struct text *text, bool value)
{
	separate(text);
	text_puts(text, value ? "true" : "false");
}

void json_put_null(struct text *text)
{
	separate(text);
	text_puts(text, "null");
}

void json_put_time(struct text *text, int64_t wall)
{
	time_t seconds = (time_t)wall;
	struct tm parts;
	char buffer[32];

	if (wall <= 0 || !gmtime_r(&seconds, &parts) ||
		parts.tm_year + 1900 > LAST_FOUR_DIGIT_YEAR ||
		strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
		json_put_null(text);
		return;
	}
	json_put_string(text, buffer);
}

void json_put_addr(struct text *text, const struct addr *addr)
{
	char buffer[ADDR_TEXT_SIZE];

	addr_print(addr, buffer);
	json_put_string(text, buffer);
}

void json_put_prefix(struct text *text, const struct prefix *prefix)
{
	char buffer[PREFIX_TEXT_SIZE];

	prefix_print(prefix, buffer);
	json_put_string(text, buffer);
}
