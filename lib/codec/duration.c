/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "duration.h"

#include <stdbool.h>
#include <string.h>

struct unit {
	const char *name;
	int64_t milliseconds;
};

static const struct unit units[] = {
	{"ms", 1},
	{"s", 1000},
	{"m", 60 * 1000},
	{"h", 3600 * 1000},
	{"d", 86400 * 1000},
};

static const int64_t longest = (int64_t)3653 * 86400 * 1000;

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The digits at *at; false when the number is larger than any duration may be. */
static bool read_number(const char *text, size_t length, size_t *at, int64_t *ret_number)
{
	int64_t number = 0;
	bool fits = true;

	for (; *at < length && is_digit(text[*at]); (*at)++) {
		if (fits)
			number = number * 10 + (text[*at] - '0');
		if (number > longest)
			fits = false;
	}
	*ret_number = number;
	return fits;
}

static const struct unit *read_unit(const char *text, size_t length, size_t *at)
{
	size_t start = *at;

	while (*at < length && !is_digit(text[*at]))
		(*at)++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t size = strlen(units[i].name);
		if (size == *at - start && memcmp(units[i].name, text + start, size) == 0)
			return &units[i];
	}
	return NULL;
}

enum duration_error duration_parse(const char *text, size_t length, int64_t *ret_milliseconds)
{
	const struct unit *last = NULL;
	bool too_long = false;
	int64_t total = 0;
	size_t at = 0;

	if (length > 1 && text[0] == '-' && is_digit(text[1]))
		return DURATION_NEGATIVE;
	if (length == 0)
		return DURATION_NOT_ONE;
	while (at < length) {
		int64_t number;
		if (!is_digit(text[at]))
			return DURATION_NOT_ONE;
		if (!read_number(text, length, &at, &number))
			too_long = true;
		if (at == length)
			return last ? DURATION_NOT_ONE : DURATION_NO_UNIT;
		const struct unit *unit = read_unit(text, length, &at);
		if (!unit)
			return DURATION_NOT_ONE;
		if (last && unit->milliseconds >= last->milliseconds)
			return DURATION_UNIT_ORDER;
		last = unit;
		if (too_long || number > (longest - total) / unit->milliseconds)
			too_long = true;
		else
			total += number * unit->milliseconds;
	}
	if (too_long)
		return DURATION_TOO_LONG;
	*ret_milliseconds = total;
	return DURATION_OK;
}

const char *duration_error_text(enum duration_error error)
{
	switch (error) {
	case DURATION_OK:
		return "a good duration";
	case DURATION_NOT_ONE:
		return "a duration is a number and its unit (s, m, h or d), like 30s or 1h30m";
	case DURATION_NO_UNIT:
		return "a duration needs a unit";
	case DURATION_NEGATIVE:
		return "a duration cannot be negative";
	case DURATION_TOO_LONG:
		return "the longest duration is ten years";
	case DURATION_UNIT_ORDER:
		return "the units of a duration fall from left to right, like 1h30m";
	}
	return "not a duration";
}
