/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"
#include "fqdn.h"
#include "words.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES_MAX = 100 }; /* of names that are not fresh; --json has more */

static bool is_shut_out(const json_t *change)
{
	return strcmp(answer_string(change, "event"), "shut-out") == 0;
}

/* Each is a forgotten trunk or phone, or the intruder. */
static void warn_of_shut_out(const struct invocation *invocation, const json_t *answer)
{
	const json_t *changes = answer_list(answer, "changes");
	struct text line = {0};
	bool any = false;

	for (size_t i = 0; i < json_array_size(changes); i++) {
		const json_t *change = json_array_get(changes, i);

		if (!is_shut_out(change))
			continue;
		text_clear(&line);
		words_change(change, &line);
		say_warning(invocation, "%s", text_string(&line));
		any = true;
	}
	if (any)
		say_warning(invocation,
			"what of these belongs to you: list it under `peers` or the "
			"`hosts` of an extension, then sipfence reload");
	text_free(&line);
}

static void warn_of_opened(const struct invocation *invocation, const json_t *answer)
{
	const json_t *changes = answer_list(answer, "changes");

	for (size_t i = 0; i < json_array_size(changes); i++) {
		const json_t *change = json_array_get(changes, i);

		if (strcmp(answer_string(change, "event"), "table") == 0 &&
			strcmp(answer_string(change, "was"), "enforce") == 0)
			say_opened(invocation);
	}
}

static size_t print_changes(const json_t *answer)
{
	const json_t *changes = answer_list(answer, "changes");
	int64_t left_out = answer_number(answer, "changes_left_out");
	struct text line = {0};

	for (size_t i = 0; i < json_array_size(changes); i++) {
		if (is_shut_out(json_array_get(changes, i)))
			continue;
		text_clear(&line);
		words_change(json_array_get(changes, i), &line);
		printf("%s\n", text_string(&line));
	}
	if (left_out > 0)
		printf("and %" PRId64 " more change%s: see the daemon's log\n", left_out,
			words_plural(left_out));
	text_free(&line);
	return json_array_size(changes);
}

static void warn_of_names(const struct invocation *invocation, const json_t *answer)
{
	const json_t *names = answer_list(answer, "unsure");
	size_t count = json_array_size(names), shown = count > LINES_MAX ? LINES_MAX : count;
	int64_t more = answer_number(answer, "unsure_left_out") + (int64_t)(count - shown);
	struct text line = {0};

	for (size_t i = 0; i < shown; i++) {
		const json_t *name = json_array_get(names, i);

		text_clear(&line);
		words_owners(name, &line);
		text_printf(&line, " %s: %s: ", answer_string(name, "name"),
			answer_string(name, "state"));
		words_trouble(name, &line);
		say_warning(invocation, "%s", text_string(&line));
	}
	if (more > 0)
		say_warning(invocation, "%" PRId64 " more name%s like these; see sipfence status",
			more, words_plural(more));
	text_free(&line);
}

/* The document: what all have, then what the daemon said. */
static int print_json(
	const struct invocation *invocation, json_t *answer, const char *result, int code)
{
	json_t *document = client_document(invocation, result, code);

	json_object_del(answer, "ok");
	if (document && json_object_update(document, answer) < 0) {
		json_decref(document);
		document = NULL;
	}
	client_print(invocation, document);
	return code;
}

/* --- whom to ask for --- */

/* The names of the command line; for an id, those of the extension or peer. */
struct wanted {
	const char **names;
	size_t count;
	json_t *answers; /* where names of ids point into */
};

static bool add_wanted(struct wanted *wanted, const char *name)
{
	const char **names = reallocarray(wanted->names, wanted->count + 1, sizeof(*names));

	if (!names)
		return false;
	wanted->names = names;
	names[wanted->count++] = name;
	return true;
}

static bool add_names_of(struct wanted *wanted, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = answer_string(json_array_get(list, i), "name");

		if (*name && !add_wanted(wanted, name))
			return false;
	}
	return true;
}

static int say_no_memory(const struct invocation *invocation)
{
	struct error error = {0};

	error_no_memory(&error);
	say_error(invocation, &error);
	return EXIT_REFUSED;
}

static int add_names_by_id(const struct invocation *invocation, const char *id, const json_t *why,
	struct wanted *wanted)
{
	size_t before = wanted->count;

	if (!add_names_of(wanted, answer_list(why, "hosts")) ||
		!add_names_of(wanted, answer_list(why, "srv")))
		return say_no_memory(invocation);
	if (wanted->count > before)
		return EXIT_DONE;
	say_usage(invocation, "%s %s has no name that DNS could be asked for",
		answer_string(why, "kind"), id);
	return EXIT_USAGE;
}

/* Is it an id? The daemon knows. */
static int take_id(const struct invocation *invocation, const char *given, enum fqdn_error problem,
	struct wanted *wanted)
{
	struct control_request request = {.kind = CONTROL_WHY, .what = given};
	struct error error = {0};
	struct text shown = {0};
	json_t *answer = NULL;
	const json_t *why;
	int result = client_is_askable(given) ? client_ask(invocation, &request, &answer, &error)
					      : CLIENT_NO_DAEMON;

	if (result < 0) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	why = json_object_get(answer, "why");
	if (result == 0 && *answer_string(why, "id")) {
		/* It goes with wanted->answers, which outlives the names. */
		if (json_array_append_new(wanted->answers, answer) < 0)
			return say_no_memory(invocation);
		return add_names_by_id(invocation, answer_string(why, "id"), why, wanted);
	}
	json_decref(answer);
	/* Nobody knows which extensions there are. */
	if (result == CLIENT_NO_DAEMON && error.code) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	text_escaped(&shown, given, strlen(given));
	say_usage(invocation,
		"`%s` is not the name of a host (%s), nor an extension or peer; sipfence status "
		"lists them",
		text_string(&shown), fqdn_error_text(problem));
	text_free(&shown);
	return EXIT_USAGE;
}

/* The daemon judges names, too; this says it in the words of a command line. */
static int take_wanted(const struct invocation *invocation, struct wanted *wanted)
{
	int code = EXIT_DONE;

	wanted->answers = json_array();
	if (!wanted->answers)
		return say_no_memory(invocation);
	for (size_t i = 0; i < invocation->argument_count && code == EXIT_DONE; i++) {
		const char *given = invocation->arguments[i];
		char name[FQDN_SIZE];
		size_t at;
		enum fqdn_error problem = fqdn_parse(given, strlen(given), name, &at);

		if (problem != FQDN_OK)
			code = take_id(invocation, given, problem, wanted);
		else if (!add_wanted(wanted, given))
			code = say_no_memory(invocation);
	}
	return code;
}

static void wanted_clear(struct wanted *wanted)
{
	free(wanted->names);
	json_decref(wanted->answers);
}

int command_refresh(const struct invocation *invocation)
{
	struct control_request request = {.kind = CONTROL_REFRESH};
	struct wanted wanted = {0};
	json_t *answer = NULL;
	int code = take_wanted(invocation, &wanted);

	if (code == EXIT_DONE) {
		request.names = wanted.names;
		request.name_count = wanted.count;
		code = client_ask_or_say(invocation, &request, &answer);
	}
	wanted_clear(&wanted);
	if (code != EXIT_DONE)
		return code;
	if (json_array_size(answer_list(answer, "unsure")) > 0)
		code = EXIT_UNSURE;
	warn_of_names(invocation, answer);
	warn_of_shut_out(invocation, answer);
	if (invocation->json) {
		code = print_json(invocation, answer, "done", code);
	} else if (invocation->verbosity >= 0) {
		if (print_changes(answer) == 0 && isatty(STDOUT_FILENO))
			printf("nothing changed; %" PRId64 " name%s asked\n",
				answer_number(answer, "asked"),
				words_plural(answer_number(answer, "asked")));
	}
	flush_result(invocation);
	json_decref(answer);
	return code;
}

int command_reload(const struct invocation *invocation)
{
	struct control_request request = {.kind = CONTROL_RELOAD};
	json_t *answer = NULL;
	int code = client_ask_or_say(invocation, &request, &answer);

	if (code != EXIT_DONE)
		return code;
	warn_of_shut_out(invocation, answer);
	warn_of_opened(invocation, answer);
	if (invocation->json) {
		code = print_json(invocation, answer, "done", code);
	} else if (invocation->verbosity >= 0) {
		print_changes(answer);
		if (isatty(STDOUT_FILENO))
			printf("the config is in force\n");
	}
	flush_result(invocation);
	json_decref(answer);
	return code;
}
