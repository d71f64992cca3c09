/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fqdn.h"

#include <stdbool.h>
#include <string.h>

enum { NAME_MAX_LENGTH = FQDN_SIZE - 1, LABEL_MAX_LENGTH = 63 };

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* As it stands in a normalised name; NUL: in no name. */
static char normalised(char c)
{
	char letter = (char)(c | ('a' - 'A'));

	if (letter >= 'a' && letter <= 'z')
		return letter;
	return is_digit(c) || c == '.' || c == '-' || c == '_' ? c : '\0';
}

static enum fqdn_error normalise(const char *text, size_t length, char *name, size_t *ret_at)
{
	for (size_t i = 0; i < length; i++) {
		name[i] = normalised(text[i]);
		if (name[i])
			continue;
		*ret_at = i;
		return (unsigned char)text[i] >= 0x80 ? FQDN_NOT_ASCII : FQDN_BAD_CHARACTER;
	}
	return FQDN_OK;
}

/* One label, from `start` to `end` of the name. */
static enum fqdn_error check_label(const char *text, size_t start, size_t end, size_t *ret_at)
{
	*ret_at = start;
	if (start == end)
		return FQDN_LABEL_EMPTY;
	if (end - start > LABEL_MAX_LENGTH)
		return FQDN_LABEL_TOO_LONG;
	if (text[start] == '-')
		return FQDN_HYPHEN;
	*ret_at = end - 1;
	return text[end - 1] == '-' ? FQDN_HYPHEN : FQDN_OK;
}

static bool is_number(const char *text, size_t start, size_t end)
{
	for (size_t i = start; i < end; i++)
		if (!is_digit(text[i]))
			return false;
	return true;
}

static enum fqdn_error check_labels(const char *text, size_t length, size_t *ret_at)
{
	const char *dot;
	size_t start = 0;

	do {
		dot = memchr(text + start, '.', length - start);
		size_t end = dot ? (size_t)(dot - text) : length;
		enum fqdn_error error = check_label(text, start, end, ret_at);

		if (error)
			return error;
		if (dot)
			start = end + 1;
	} while (dot);
	*ret_at = start;
	if (is_number(text, start, length))
		return FQDN_NUMERIC;
	return start == 0 ? FQDN_NO_DOT : FQDN_OK;
}

enum fqdn_error fqdn_parse(const char *text, size_t length, char *buffer, size_t *ret_at)
{
	char name[FQDN_SIZE];
	size_t at = 0;
	enum fqdn_error error;

	if (length > 1 && text[length - 1] == '.')
		length--;
	if (length == 0) {
		error = FQDN_EMPTY;
	} else if (length > NAME_MAX_LENGTH) {
		at = NAME_MAX_LENGTH;
		error = FQDN_TOO_LONG;
	} else {
		error = normalise(text, length, name, &at);
		if (!error)
			error = check_labels(name, length, &at);
	}
	if (error) {
		*ret_at = at;
		return error;
	}
	memcpy(buffer, name, length);
	buffer[length] = '\0';
	return FQDN_OK;
}

const char *fqdn_error_text(enum fqdn_error error)
{
	switch (error) {
	case FQDN_OK:
		return "a good name";
	case FQDN_EMPTY:
		return "the name is empty";
	case FQDN_TOO_LONG:
		return "the name is longer than 253 characters";
	case FQDN_LABEL_TOO_LONG:
		return "a part between two dots is longer than 63 characters";
	case FQDN_LABEL_EMPTY:
		return "nothing stands before, between or after a dot";
	case FQDN_BAD_CHARACTER:
		return "only letters, digits, hyphens, underscores and dots may stand in a name";
	case FQDN_NOT_ASCII:
		return "write an international name in its ASCII form (xn--...)";
	case FQDN_HYPHEN:
		return "a part of a name does not start or end with a hyphen";
	case FQDN_NO_DOT:
		return "a full name with its domain is needed, like phone.example.net";
	case FQDN_NUMERIC:
		return "a name does not end with a number";
	}
	return "not a name";
}
