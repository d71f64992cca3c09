/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"

#include "history.h"
#include "control.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	SHORT_MS = 10 * 1000, /* for what the daemon knows at once */
	LONG_MS = 600 * 1000, /* for what waits for DNS, or reads a large config */
	TRIES = 5, /* for an answer that was cut, since the daemon's list was made anew */
};

static int timeout_of(enum control_kind kind)
{
	return kind == CONTROL_STATUS || kind == CONTROL_METRICS || kind == CONTROL_WHY ? SHORT_MS
											: LONG_MS;
}

/* --- strings that may meet a terminal --- */

static bool is_printable(const char *string, bool lines)
{
	for (; *string; string++) {
		unsigned char byte = (unsigned char)*string;

		if ((byte < 0x20 || byte > 0x7e) && !(lines && byte == '\n'))
			return false;
	}
	return true;
}

/* A backslash stays one: the daemon has escaped what needed it. */
static bool make_string_printable(json_t *value, bool lines)
{
	const char *string = json_string_value(value);
	struct text text = {0};
	bool done;

	if (is_printable(string, lines))
		return true;
	for (; *string; string++) {
		if (*string == '\\' || (lines && *string == '\n'))
			text_write(&text, string, 1);
		else
			text_escaped(&text, string, 1);
	}
	done = !text.failed && json_string_set(value, text_string(&text)) == 0;
	text_free(&text);
	return done;
}

/* Lists and objects whose members have yet to be looked at. */
struct pending {
	json_t **list;
	size_t count, capacity;
};

static bool look_at(struct pending *pending, json_t *value, bool lines)
{
	if (json_is_string(value))
		return make_string_printable(value, lines);
	if (!json_is_object(value) && !json_is_array(value))
		return true;
	if (pending->count == pending->capacity) {
		size_t capacity = pending->capacity ? pending->capacity * 2 : 64;
		json_t **list = reallocarray(pending->list, capacity, sizeof(*list));

		if (!list)
			return false;
		pending->list = list;
		pending->capacity = capacity;
	}
	pending->list[pending->count++] = value;
	return true;
}

/* All strings below `root`. False: out of memory. */
static bool make_printable(json_t *root)
{
	struct pending pending = {0};
	bool done = look_at(&pending, root, false);

	while (done && pending.count > 0) {
		json_t *value = pending.list[--pending.count];

		for (size_t i = 0; done && i < json_array_size(value); i++)
			done = look_at(&pending, json_array_get(value, i), false);
		for (void *at = json_object_iter(value); done && at;
			at = json_object_iter_next(value, at))
			done = look_at(&pending, json_object_iter_value(at),
				strcmp(json_object_iter_key(at), "error") == 0 ||
					strcmp(json_object_iter_key(at), "metrics") == 0);
	}
	free(pending.list);
	return done;
}

/* --- asking --- */

static int ask_once(const struct invocation *invocation, const struct text *line, int timeout_ms,
	struct text *answer, struct error *error)
{
	char path[PATH_MAX];
	int fd, result;

	if (snprintf(path, sizeof(path), "%s/control", invocation->run_dir) >= (int)sizeof(path))
		return error_set(error, -ENAMETOOLONG, "", "--run-dir is too long");
	result = control_connect(path, &fd, error);
	if (result == -ECONNREFUSED)
		return CLIENT_NO_DAEMON;
	if (result < 0)
		return result;
	result = control_ask(fd, line->data, line->length, answer, timeout_ms, error);
	close(fd);
	return result;
}

static int not_understood(struct error *error)
{
	return error_set(error, -EPROTO, "is it of another version? systemctl restart sipfence",
		"the daemon's answer is not understood");
}

int client_parse(const struct text *text, json_t **ret_answer, struct error *error)
{
	json_error_t why;
	json_t *answer = json_loadb(text_string(text), text->length, 0, &why);

	if (!answer || !json_is_boolean(json_object_get(answer, "ok"))) {
		json_decref(answer);
		return not_understood(error);
	}
	if (!make_printable(answer)) {
		json_decref(answer);
		return error_no_memory(error);
	}
	*ret_answer = answer;
	return 0;
}

bool client_is_askable(const char *what)
{
	size_t length = 0;

	for (; what[length]; length++) {
		if (what[length] < 0x20 || what[length] > 0x7e)
			return false;
	}
	return length > 0 && length < CONTROL_WHAT_SIZE;
}

int client_ask(const struct invocation *invocation, const struct control_request *request,
	json_t **ret_answer, struct error *error)
{
	/* What changes something is asked for once. */
	int tries = request->kind == CONTROL_STATUS ? TRIES : 1;
	struct text line = {0}, text = {0};
	int result;

	control_request_print(request, &line);
	if (line.failed) {
		text_free(&line);
		return error_no_memory(error);
	}
	do {
		text_clear(&text);
		*error = (struct error){0};
		result = ask_once(invocation, &line, timeout_of(request->kind), &text, error);
	} while (result == -ECONNRESET && --tries > 0);
	if (result == 0)
		result = client_parse(&text, ret_answer, error);
	text_free(&line);
	text_free(&text);
	return result;
}

int client_say_refusal(const struct invocation *invocation, const json_t *answer)
{
	int64_t code = answer_number(answer, "exit");
	const char *what = answer_string(answer, "error");

	if (code < EXIT_REFUSED || code > EXIT_UNSURE)
		code = EXIT_REFUSED;
	say_refusal(invocation, (int)code,
		*what ? what : "the daemon refused, and does not say why",
		answer_string(answer, "next"));
	return (int)code;
}

int client_ask_or_say(const struct invocation *invocation, const struct control_request *request,
	json_t **ret_answer)
{
	struct error error = {0};
	json_t *answer = NULL;
	int code;

	if (client_ask(invocation, request, &answer, &error) != 0) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	if (!answer_is(answer, "ok", true)) {
		code = client_say_refusal(invocation, answer);
		json_decref(answer);
		return code;
	}
	*ret_answer = answer;
	return EXIT_DONE;
}

json_t *client_payload(const struct invocation *invocation, const json_t *answer, const char *key)
{
	json_t *payload = json_object_get(answer, key);
	struct error error = {0};

	if (json_is_object(payload))
		return payload;
	not_understood(&error);
	say_error(invocation, &error);
	return NULL;
}

/* --- reading --- */

const char *answer_string(const json_t *object, const char *key)
{
	const char *string = json_string_value(json_object_get(object, key));

	return string ? string : "";
}

int64_t answer_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

bool answer_is(const json_t *object, const char *key, bool value)
{
	const json_t *found = json_object_get(object, key);

	return value ? json_is_true(found) : json_is_false(found);
}

const json_t *answer_list(const json_t *object, const char *key)
{
	const json_t *list = json_object_get(object, key);

	return json_is_array(list) ? list : NULL;
}

int64_t answer_time(const json_t *object, const char *key)
{
	struct tm parts = {0};
	const char *end = strptime(answer_string(object, key), "%Y-%m-%dT%H:%M:%SZ", &parts);

	return end && *end == '\0' ? timegm(&parts) : 0;
}

json_t *client_time(int64_t wall)
{
	struct text text = {0};
	json_t *value;

	if (wall == INT64_MAX || wall == INT64_MIN)
		return json_null();
	history_print_time(wall, &text);
	value = text.failed ? NULL : json_string(text_string(&text));
	text_free(&text);
	return value;
}

json_t *client_document(const struct invocation *invocation, const char *result, int exit_code)
{
	return json_pack("{s:i, s:s, s:s, s:i}", "version", 1, "command", invocation->command,
		"result", result, "exit", exit_code);
}

bool client_print(const struct invocation *invocation, json_t *document)
{
	bool done = say_json(document);

	json_decref(document);
	if (!done && !ferror(stdout))
		say_warning(invocation, "out of memory: the JSON document is missing");
	return done;
}
