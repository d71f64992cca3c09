/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control_json.h"

#include "fqdn.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN = 100 }; /* bytes of what was sent, in an error text */

static const struct kind_row {
	const char *name, *member; /* what it may have beside "request" */
	enum control_kind kind;
} kinds[] = {
	{"status", NULL, CONTROL_STATUS},
	{"metrics", NULL, CONTROL_METRICS},
	{"refresh", "names", CONTROL_REFRESH},
	{"reload", NULL, CONTROL_RELOAD},
	{"why", "what", CONTROL_WHY},
	{"remove", NULL, CONTROL_REMOVE},
};

enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

static const char *const form =
	"a request is a line like {\"request\":\"status\"}; requests are status, metrics, refresh, "
	"reload, why and remove";

/* `string` as it may stand in a message. */
static void refuse(struct error *error, const char *before, const char *string, size_t length,
	const char *after)
{
	struct text shown = {0};

	text_escaped(&shown, string, length < SHOWN ? length : SHOWN);
	error_set(error, -EINVAL, form, "%s`%s%s`%s", before, text_string(&shown),
		length > SHOWN ? "…" : "", after);
	text_free(&shown);
}

static const struct kind_row *find_kind(const json_t *root, struct error *error)
{
	const json_t *value = json_object_get(root, "request");

	if (!json_is_string(value)) {
		error_set(error, -EINVAL, form, "the request has no \"request\" that is a string");
		return NULL;
	}
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (strcmp(kinds[i].name, json_string_value(value)) == 0)
			return &kinds[i];
	}
	refuse(error, "unknown request ", json_string_value(value), json_string_length(value), "");
	return NULL;
}

static int check_keys(json_t *root, const struct kind_row *row, struct error *error)
{
	const char *key;
	json_t *value;

	json_object_foreach(root, key, value)
	{
		if (strcmp(key, "request") == 0 || (row->member && strcmp(key, row->member) == 0))
			continue;
		refuse(error, "unknown key ", key, strlen(key), " in the request");
		return -EINVAL;
	}
	return 0;
}

static const char *take_name(
	const json_t *value, size_t index, struct arena *arena, struct error *error)
{
	char name[FQDN_SIZE], after[160];
	enum fqdn_error result;
	const char *copy;
	size_t at;

	if (!json_is_string(value)) {
		error_set(error, -EINVAL, form, "names[%zu] is not a string", index);
		return NULL;
	}
	result = fqdn_parse(json_string_value(value), json_string_length(value), name, &at);
	if (result != FQDN_OK) {
		snprintf(after, sizeof(after), " is not a name: %s", fqdn_error_text(result));
		refuse(error, "", json_string_value(value), json_string_length(value), after);
		return NULL;
	}
	copy = arena_copy(arena, name, strlen(name));
	if (!copy)
		error_no_memory(error);
	return copy;
}

static int take_names(const json_t *value, struct control_request *request, struct error *error)
{
	size_t count = json_array_size(value);
	const char **names;

	if (!value)
		return 0;
	if (!json_is_array(value))
		return error_set(error, -EINVAL, form, "\"names\" is not a list");
	if (count == 0)
		return error_set(error, -EINVAL, "leave \"names\" away to refresh all of them",
			"\"names\" is empty");
	if (count > CONTROL_MAX_NAMES)
		return error_set(error, -EINVAL, "leave \"names\" away to refresh all of them",
			"more than %d names in one request", CONTROL_MAX_NAMES);
	names = arena_alloc(&request->arena, count * sizeof(*names));
	if (!names)
		return error_no_memory(error);
	for (size_t i = 0; i < count; i++) {
		names[i] = take_name(json_array_get(value, i), i, &request->arena, error);
		if (!names[i])
			return error->code;
	}
	request->names = names;
	request->name_count = count;
	return 0;
}

static int take_what(const json_t *value, struct control_request *request, struct error *error)
{
	const char *what = json_string_value(value);
	size_t length = json_string_length(value);

	if (!what || length == 0)
		return error_set(error, -EINVAL, form,
			"why needs a \"what\": an address, an extension or a host");
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)what[i];

		if (byte <= ' ' || byte >= 0x7f || length >= CONTROL_WHAT_SIZE) {
			refuse(error, "", what, length, " is no address, extension or host");
			return -EINVAL;
		}
	}
	request->what = arena_copy(&request->arena, what, length);
	return request->what ? 0 : error_no_memory(error);
}

static int take_root(json_t *root, struct control_request *request, struct error *error)
{
	const struct kind_row *row;
	int result;

	if (!json_is_object(root))
		return error_set(error, -EINVAL, form, "the request is not a JSON object");
	row = find_kind(root, error);
	if (!row)
		return -EINVAL;
	result = check_keys(root, row, error);
	request->kind = row->kind;
	if (result == 0 && row->kind == CONTROL_REFRESH)
		result = take_names(json_object_get(root, "names"), request, error);
	if (result == 0 && row->kind == CONTROL_WHY)
		result = take_what(json_object_get(root, "what"), request, error);
	return result;
}

int control_request_parse(
	const char *line, size_t length, struct control_request *ret_request, struct error *error)
{
	struct control_request request = {0};
	struct error why = {0}; /* `error` may be NULL, or filled already */
	json_error_t problem;
	json_t *root = json_loadb(line, length, JSON_REJECT_DUPLICATES, &problem);
	int result;

	if (!root && problem.text[0] == '\0') /* jansson gives that no code */
		return error_no_memory(error);
	if (root)
		result = take_root(root, &request, &why);
	else {
		refuse(&why, "the request is no JSON: ", problem.text, strlen(problem.text), "");
		result = -EINVAL;
	}
	json_decref(root);
	if (result == 0) {
		*ret_request = request;
		return 0;
	}
	control_request_clear(&request);
	return error_set(error, result, why.next, "%s", why.what);
}

void control_request_clear(struct control_request *request)
{
	arena_free(&request->arena);
	*request = (struct control_request){0};
}

void control_request_print(const struct control_request *request, struct text *text)
{
	text_printf(text, "{\"request\":\"%s\"", kinds[request->kind].name);
	if (request->name_count > 0)
		text_puts(text, ",\"names\":[");
	for (size_t i = 0; i < request->name_count; i++) {
		if (i > 0)
			text_puts(text, ",");
		control_print_string(text, request->names[i], strlen(request->names[i]));
	}
	if (request->name_count > 0)
		text_puts(text, "]");
	if (request->what) {
		text_puts(text, ",\"what\":");
		control_print_string(text, request->what, strlen(request->what));
	}
	text_puts(text, "}");
}

void control_print_ok(struct text *text, const char *members)
{
	text_puts(text, "{\"ok\":true");
	if (members) {
		text_puts(text, ",");
		text_puts(text, members);
	}
	text_puts(text, "}");
}

void control_print_error(struct text *text, int exit_code, const struct error *error)
{
	text_printf(text, "{\"ok\":false,\"exit\":%d,\"error\":", exit_code);
	control_print_string(text, error->what, strlen(error->what));
	text_puts(text, ",\"next\":");
	control_print_string(text, error->next, strlen(error->next));
	text_puts(text, "}");
}

static bool is_continuation(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/* Length of the UTF-8 sequence that stands at `at`; 0: there is none (RFC 3629: shortest form, no
 * surrogates, nothing above U+10FFFF). */
static size_t sequence_length(const unsigned char *at, size_t left)
{
	size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;

	if (at[0] < 0xc2 || at[0] > 0xf4 || left < length)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if (!is_continuation(at[i]))
			return 0;
	}
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
		(at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return length;
}

static bool is_plain(unsigned char byte)
{
	return byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\';
}

void control_print_string(struct text *text, const char *string, size_t length)
{
	const unsigned char *bytes = (const unsigned char *)string;

	text_write(text, "\"", 1);
	for (size_t i = 0, run; i < length; i += run) {
		for (run = 0; i + run < length && is_plain(bytes[i + run]);)
			run++;
		if (run == 0 && bytes[i] >= 0x80)
			run = sequence_length(&bytes[i], length - i);
		if (run > 0) {
			text_write(text, &bytes[i], run);
			continue;
		}
		run = 1;
		if (bytes[i] == '"' || bytes[i] == '\\')
			text_printf(text, "\\%c", bytes[i]);
		else
			text_printf(text, "\\u%04x", bytes[i] >= 0x80 ? 0xfffdu : bytes[i]);
	}
	text_write(text, "\"", 1);
}
