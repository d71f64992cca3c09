/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client sends over the control socket, and the printers that carry untrusted bytes. */
#include "fuzz.h"

#include "control_json.h"
#include "event.h"
#include "fqdn.h"

#include <errno.h>
#include <jansson.h>

static bool same_request(const struct control_request *a, const struct control_request *b)
{
	if (a->kind != b->kind || a->name_count != b->name_count || !a->what != !b->what ||
		(a->what && strcmp(a->what, b->what) != 0))
		return false;
	for (size_t i = 0; i < a->name_count; i++) {
		if (strcmp(a->names[i], b->names[i]) != 0)
			return false;
	}
	return true;
}

static void check_request(const struct control_request *request)
{
	FUZZ_CHECK(request->kind <= CONTROL_REMOVE);
	FUZZ_CHECK(request->kind == CONTROL_REFRESH || request->name_count == 0);
	FUZZ_CHECK((request->kind == CONTROL_WHY) == !!request->what);
	FUZZ_CHECK(request->name_count <= CONTROL_MAX_NAMES);
	for (size_t i = 0; i < request->name_count; i++) {
		char normal[FQDN_SIZE];
		size_t at;

		FUZZ_CHECK(fqdn_parse(request->names[i], strlen(request->names[i]), normal, &at) ==
			   FQDN_OK);
		FUZZ_CHECK(strcmp(normal, request->names[i]) == 0);
	}
	if (request->what)
		FUZZ_CHECK(request->what[0] && strlen(request->what) < CONTROL_WHAT_SIZE &&
			   fuzz_is_printable(request->what, strlen(request->what), ""));
}

static void check_json(const struct text *text)
{
	json_error_t why;
	json_t *value =
		json_loadb(text_string(text), text->length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);

	FUZZ_CHECK(!text->failed && value);
	FUZZ_CHECK(!memchr(text->data, '\n', text->length));
	json_decref(value);
}

static void check_parsed(struct control_request *request)
{
	struct control_request again;
	struct error error = {0};
	struct text line = {0};

	check_request(request);
	control_request_print(request, &line);
	check_json(&line);
	FUZZ_CHECK(control_request_parse(line.data, line.length, &again, &error) == 0);
	FUZZ_CHECK(same_request(request, &again));
	control_request_clear(&again);
	text_free(&line);
}

static void check_refused(const struct error *error)
{
	struct text answer = {0};

	FUZZ_CHECK(error->code == -EINVAL && error->what[0]);
	/* Of what was sent nothing stands there unescaped; the cut of a long one is an ellipsis. */
	for (const char *at = error->what; *at; at++)
		FUZZ_CHECK((unsigned char)*at >= 0x20 && *at != 0x7f);
	control_print_error(&answer, 2, error);
	check_json(&answer);
	text_free(&answer);
}

static void check_printers(const char *data, size_t size)
{
	struct text string = {0}, escaped = {0};
	char *value = strndup(data, size);
	struct event event;

	FUZZ_CHECK(value);
	control_print_string(&string, data, size);
	check_json(&string);
	text_escaped(&escaped, data, size);
	FUZZ_CHECK(fuzz_is_printable(text_string(&escaped), escaped.length, ""));
	event_begin(&event, EVENT_INFO, "fuzz");
	event_put(&event, "value", value);
	FUZZ_CHECK(!event.line.failed);
	FUZZ_CHECK(fuzz_is_printable(event.line.data, event.line.length, ""));
	event_clear(&event);
	text_free(&string);
	text_free(&escaped);
	free(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = fuzz_copy(data, size);
	struct control_request request;
	struct error error = {0};
	int result = control_request_parse(line, size, &request, &error);

	FUZZ_CHECK(result == 0 || result == -EINVAL);
	if (result == 0) {
		check_parsed(&request);
		control_request_clear(&request);
	} else {
		check_refused(&error);
	}
	FUZZ_CHECK(control_request_parse(line, size, &request, NULL) == result);
	if (result == 0)
		control_request_clear(&request);
	check_printers(line, size);
	free(line);
	return 0;
}
