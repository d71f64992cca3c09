/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "config_load.h"
#include "config_yaml.h"
#include "files.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stddef.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *start(const struct invocation *invocation, const char *colour)
{
	return invocation->colour_err ? colour : "";
}

static const char *stop(const struct invocation *invocation)
{
	return invocation->colour_err ? "\033[0m" : "";
}

/* What a terminal does with it is to print it: names of files may hold anything. The program's own
 * texts have an ellipsis at most, and what is escaped already stays so. */
static void put_printable(struct text *text, const char *string)
{
	static const char ellipsis[] = "…";

	while (*string) {
		if (strncmp(string, ellipsis, sizeof(ellipsis) - 1) == 0) {
			text_puts(text, ellipsis);
			string += sizeof(ellipsis) - 1;
			continue;
		}
		if (*string == '\\')
			text_puts(text, "\\");
		else
			text_escaped(text, string, 1);
		string++;
	}
}

static void say_line(const char *before, const char *line)
{
	struct text text = {0};

	put_printable(&text, line);
	if (!text.failed) {
		fprintf(stderr, "%s%s\n", before, text_string(&text));
	} else {
		/* Without memory above all it must be said. */
		fputs(before, stderr);
		for (; *line; line++)
			fputc(*line >= ' ' && *line < 0x7f ? *line : '?', stderr);
		fputc('\n', stderr);
	}
	text_free(&text);
}

/* jansson takes DEL for printable. */
static int collect(const char *part, size_t length, void *context)
{
	struct text *text = context;

	for (size_t done = 0; done < length;) {
		const char *found = memchr(part + done, '\177', length - done);
		size_t run = found ? (size_t)(found - part) - done : length - done;

		text_write(text, part + done, run);
		done += run;
		if (found) {
			text_puts(text, "\\u007f");
			done++;
		}
	}
	return text->failed ? -1 : 0;
}

/* json_dumpf() would print as far as the memory goes, and jansson 2.14 overlooks a key that finds
 * no room in the string of json_dumps(). */
bool say_json(const json_t *document)
{
	struct text text = {0};
	bool done = document && json_dump_callback(document, collect, &text,
					JSON_INDENT(2) | JSON_ENSURE_ASCII) == 0;

	done = done && !text.failed && puts(text_string(&text)) >= 0;
	text_free(&text);
	return done;
}

/* Every call with --json ends in one document. `what` is escaped already. */
static void print_error_json(
	const struct invocation *invocation, int exit_code, const char *what, const char *next)
{
	json_t *document;

	if (!invocation->json)
		return;
	document = json_pack("{s:i, s:s, s:s, s:i, s:s, s:s}", "version", 1, "command",
		invocation->command ? invocation->command : "", "result", "error", "exit",
		exit_code, "error", what, "next", next);
	say_json(document);
	json_decref(document);
}

/* Texts with names of files in them, which need not be UTF-8. */
static void print_raw_error_json(
	const struct invocation *invocation, int exit_code, const struct error *error)
{
	struct text what = {0}, next = {0};

	text_escaped(&what, error->what, strlen(error->what));
	put_printable(&next, error->next);
	print_error_json(invocation, exit_code, text_string(&what), text_string(&next));
	text_free(&what);
	text_free(&next);
}

void say_error(const struct invocation *invocation, const struct error *error)
{
	print_raw_error_json(invocation, EXIT_REFUSED, error);
	say_problem(invocation, error);
}

void say_problem(const struct invocation *invocation, const struct error *error)
{
	fprintf(stderr, "sipfence: %serror:%s", start(invocation, "\033[1;31m"), stop(invocation));
	say_line(" ", error->what);
	if (error->next[0])
		say_line("  what to do: ", error->next);
}

static void __attribute__((format(printf, 2, 0)))
say_formatted(const char *before, const char *format, va_list arguments)
{
	char *line = NULL, cut[512];
	va_list again;

	va_copy(again, arguments);
	if (vasprintf(&line, format, arguments) < 0) {
		line = NULL;
		vsnprintf(cut, sizeof(cut), format, again);
	}
	va_end(again);
	say_line(before, line ? line : cut);
	free(line);
}

void say_usage(const struct invocation *invocation, const char *format, ...)
{
	struct error error = {0};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error.what, sizeof(error.what), format, arguments);
	va_end(arguments);
	snprintf(error.next, sizeof(error.next), "see sipfence --help");
	print_raw_error_json(invocation, EXIT_USAGE, &error);
	error.next[0] = '\0';
	say_problem(invocation, &error);
}

void say_warning(const struct invocation *invocation, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "sipfence: %swarning:%s", start(invocation, "\033[1;33m"),
		stop(invocation));
	va_start(arguments, format);
	say_formatted(" ", format, arguments);
	va_end(arguments);
}

void say_note(const struct invocation *invocation, const char *format, ...)
{
	va_list arguments;

	if (invocation->verbosity < 0)
		return;
	va_start(arguments, format);
	say_formatted("sipfence: ", format, arguments);
	va_end(arguments);
}

void say_opened(const struct invocation *invocation)
{
	say_warning(invocation, "the mode is monitor now: strangers, who were kept out until now, "
				"get in; `mode: enforce` in the config shuts the ports again");
}

/* Lines as they are, but for the word that says how bad it is. */
static void print_messages(const struct invocation *invocation, const char *messages)
{
	static const struct {
		const char *word, *colour;
	} kinds[] = {{": error: ", "\033[1;31m"}, {": warning: ", "\033[1;33m"}};

	while (*messages) {
		size_t length = strcspn(messages, "\n");
		const char *word = NULL;
		size_t kind = 0;

		for (size_t i = 0; invocation->colour_err && !word && i < 2; i++) {
			word = memmem(messages, length, kinds[i].word, strlen(kinds[i].word));
			kind = i;
		}
		if (word)
			fprintf(stderr, "%.*s: %s%s\033[0m %.*s", (int)(word - messages), messages,
				kinds[kind].colour, kind == 0 ? "error:" : "warning:",
				(int)(messages + length - word -
					(ptrdiff_t)strlen(kinds[kind].word)),
				word + strlen(kinds[kind].word));
		else
			fprintf(stderr, "%.*s", (int)length, messages);
		messages += length;
		if (*messages) {
			fputc('\n', stderr);
			messages++;
		}
	}
}

void say_refusal(
	const struct invocation *invocation, int exit_code, const char *what, const char *next)
{
	size_t length = strlen(what);

	print_error_json(invocation, exit_code, what, next);
	if (strchr(what, '\n')) {
		print_messages(invocation, what);
		if (what[length - 1] != '\n')
			fputc('\n', stderr);
	} else {
		fprintf(stderr, "sipfence: %serror:%s %s\n", start(invocation, "\033[1;31m"),
			stop(invocation), what);
	}
	if (*next)
		fprintf(stderr, "  what to do: %s\n", next);
}

/* sync runs again and again: of a config that it has seen, only on a terminal. */
static bool is_news(const struct invocation *invocation)
{
	struct stat config, state;
	char path[PATH_MAX];

	if (isatty(STDERR_FILENO) || invocation->dry_run || invocation->diff ||
		snprintf(path, sizeof(path), "%s/state", invocation->state_dir) >=
			(int)sizeof(path))
		return true;
	return stat(invocation->config_path, &config) < 0 || stat(path, &state) < 0 ||
	       config.st_mtime >= state.st_mtime;
}

/* What else is asked for, is asked of a config in force: its warnings are known. */
static bool warnings_matter(const struct invocation *invocation)
{
	static const char *const commands[] = {"check", "run", "doctor", "init"};
	bool matter = strcmp(invocation->command, "sync") == 0 && is_news(invocation);

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		matter |= strcmp(invocation->command, commands[i]) == 0;
	return invocation->verbosity > 0 || (matter && invocation->verbosity == 0);
}

void say_meanwhile(const struct invocation *invocation)
{
	static const char *const commands[] = {"sync", "status", "why", "doctor"};
	char lock[PATH_MAX], kept[PATH_MAX];
	bool matters = false;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		matters |= strcmp(invocation->command, commands[i]) == 0;
	if (!matters || invocation->dry_run ||
		snprintf(lock, sizeof(lock), "%s/lock", invocation->run_dir) >= (int)sizeof(lock) ||
		snprintf(kept, sizeof(kept), "%s/config", invocation->state_dir) >=
			(int)sizeof(kept))
		return;
	if (lock_holder_lives(lock))
		say_note(invocation, "nothing was changed; the daemon that runs goes on with the "
				     "config that it has");
	else
		say_note(invocation, "nothing was changed: a table that is in force stays as it "
				     "is, but no name is followed until the config is right");
	if (access(invocation->config_path, F_OK) < 0 && access(kept, F_OK) == 0)
		say_note(invocation,
			"%s is the daemon's copy of the last good config, each file of it behind a "
			"line `source`: copy it from there, rather than begin anew",
			kept);
}

int say_config(const struct invocation *invocation, int result, const struct text *messages)
{
	if (messages->length > 0 && (result < 0 || warnings_matter(invocation)))
		print_messages(invocation, text_string(messages));
	if (result < 0 && messages->length == 0) {
		struct error error = {0};

		/* Not through `messages`: there may be no memory for them. */
		error_set(&error, result, "", "cannot read %s: %s", invocation->config_path,
			strerror(-result));
		say_problem(invocation, &error);
	}
	if (result < 0)
		say_meanwhile(invocation);
	if (result < 0)
		print_error_json(invocation, EXIT_USAGE, text_string(messages),
			"correct the config; sipfence.yaml(5) has all keys");
	return result < 0 ? EXIT_USAGE : EXIT_DONE;
}

int load_config(const struct invocation *invocation, struct config **ret_config)
{
	struct text messages = {0};
	int result = config_yaml_parse(
		invocation->config_path, files_read_config, NULL, ret_config, &messages);
	int code = say_config(invocation, result, &messages);

	text_free(&messages);
	return code;
}

bool load_kept_config(const struct invocation *invocation, struct config **ret_config)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/config", invocation->state_dir) <
		       (int)sizeof(path) &&
	       config_load_kept(invocation->config_path, path, ret_config) >= 0;
}

void flush_result(const struct invocation *invocation)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return;
	say_warning(
		invocation, "standard output cannot be written; the change was made nevertheless");
	clearerr(stdout);
}
