/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "event.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum { ADDRS_MAX = 8 };

void event_begin(struct event *event, enum event_level level, const char *name)
{
	*event = (struct event){.level = level};
	text_puts(&event->line, "event=");
	text_puts(&event->line, name);
}

static void put_key(struct event *event, const char *key)
{
	text_puts(&event->line, " ");
	text_puts(&event->line, key);
	text_puts(&event->line, "=");
}

static bool is_plain(const char *value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789.,:;/_+-%@*";

	return *value && value[strspn(value, plain)] == '\0';
}

void event_put(struct event *event, const char *key, const char *value)
{
	put_key(event, key);
	if (!value)
		value = "";
	if (is_plain(value)) {
		text_puts(&event->line, value);
		return;
	}
	text_puts(&event->line, "\"");
	for (; *value; value++) {
		if (*value == '"')
			text_puts(&event->line, "\\\"");
		else
			text_escaped(&event->line, value, 1);
	}
	text_puts(&event->line, "\"");
}

void event_put_error(struct event *event, const struct error *error)
{
	event_put(event, "error", error->what);
	if (error->next[0])
		event_put(event, "next", error->next);
}

void event_put_number(struct event *event, const char *key, int64_t value)
{
	put_key(event, key);
	text_printf(&event->line, "%" PRId64, value);
}

void event_put_addrs(struct event *event, const char *key, const struct addr *addrs, size_t count)
{
	put_key(event, key);
	if (count == 0)
		text_puts(&event->line, "-");
	for (size_t i = 0; i < count && i < ADDRS_MAX; i++) {
		char printed[ADDR_TEXT_SIZE];
		size_t length = addr_print(&addrs[i], printed);

		if (i > 0)
			text_puts(&event->line, ",");
		text_write(&event->line, printed, length);
	}
	if (count > ADDRS_MAX)
		text_printf(&event->line, ",+%zu", count - ADDRS_MAX);
}

/* Plain or in quotes; returns what is behind it. */
static const char *take_value(const char *at, struct text *value)
{
	text_clear(value);
	if (*at != '"') {
		size_t length = strcspn(at, " \n");

		text_write(value, at, length);
		return at + length;
	}
	for (at++; *at && *at != '\n' && *at != '"'; at++) {
		if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
			at++;
		text_write(value, at, 1);
	}
	return at + (*at == '"');
}

bool event_next(const char **at, char key[EVENT_KEY_SIZE], struct text *value)
{
	while (**at && **at != '\n') {
		const char *start = *at;
		size_t length = strcspn(start, "= \n");

		if (start[length] != '=' || length >= EVENT_KEY_SIZE) {
			*at += length + (start[length] == ' ' || start[length] == '=');
			continue;
		}
		memcpy(key, start, length);
		key[length] = '\0';
		*at = take_value(start + length + 1, value);
		*at += **at == ' ';
		return true;
	}
	return false;
}

void event_clear(struct event *event)
{
	text_free(&event->line);
}
