/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status_takeovers.h"
#include "words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PRINTED = 10 };

static bool is_sure(const json_t *takeover)
{
	const char *certainty = answer_string(takeover, "certainty");

	return strcmp(certainty, "proven") == 0 || strcmp(certainty, "claimed") == 0;
}

static bool is_fresh(const json_t *takeover, int64_t now)
{
	return now - answer_time(takeover, "last") < TAKEOVER_FRESH;
}

static bool is_problem(const json_t *takeover, int64_t now)
{
	return is_sure(takeover) && is_fresh(takeover, now) &&
	       !answer_is(takeover, "excused", true);
}

static bool log_is_missing(const json_t *status)
{
	const json_t *log = json_object_get(status, "security_log");

	return strcmp(answer_string(log, "state"), "missing") == 0;
}

bool takeovers_are_wrong(const json_t *status, int64_t now)
{
	const json_t *list = answer_list(status, "takeovers");

	for (size_t i = 0; i < json_array_size(list); i++) {
		if (is_problem(json_array_get(list, i), now))
			return true;
	}
	return log_is_missing(status);
}

static void print_line(const struct invocation *invocation, const char *colour, struct text *line)
{
	bool coloured = invocation->colour_out;

	printf("%s%s%s\n", coloured ? colour : "", text_string(line), coloured ? "\033[0m" : "");
	text_clear(line);
}

static void put_takeover(const json_t *takeover, int64_t now, struct text *line)
{
	const char *address = answer_string(takeover, "address");
	int64_t port = answer_number(takeover, "port"), count = answer_number(takeover, "count");

	words_owner(json_object_get(takeover, "owner"), line);
	text_printf(
		line, " logged in from %s", *address ? address : "a Contact without an address");
	if (port)
		text_printf(line, " port %" PRId64, port);
	text_printf(line, " (%s, %s): %" PRId64 " time%s, the last ",
		answer_string(takeover, "driver"), answer_string(takeover, "certainty"), count,
		words_plural(count));
	words_duration(now - answer_time(takeover, "last"), line);
	text_puts(line, " ago");
}

static void print_takeovers(
	const struct invocation *invocation, const json_t *list, int64_t now, struct text *line)
{
	size_t problems = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *takeover = json_array_get(list, i);

		if (!is_problem(takeover, now) || problems++ >= PRINTED)
			continue;
		text_puts(line, "TAKEOVER: ");
		put_takeover(takeover, now, line);
		print_line(invocation, "\033[31m", line);
	}
	if (problems > PRINTED) {
		text_printf(line, "and %zu more takeovers: see --json", problems - PRINTED);
		print_line(invocation, "\033[31m", line);
	}
	if (problems > 0) {
		text_puts(line, "    change these passwords, then sipfence asterisk --evict");
		print_line(invocation, "", line);
	}
}

static void print_doubtful(
	const struct invocation *invocation, const json_t *list, int64_t now, struct text *line)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *takeover = json_array_get(list, i);
		bool excused = answer_is(takeover, "excused", true);

		if (is_problem(takeover, now) || !is_fresh(takeover, now))
			continue;
		put_takeover(takeover, now, line);
		text_puts(line, excused		    ? "; its name points there by now"
				: is_sure(takeover) ? ""
						    : "; probably a call to it");
		print_line(invocation, "", line);
	}
}

void takeovers_print(const struct invocation *invocation, const json_t *status, int64_t now)
{
	const json_t *log = json_object_get(status, "security_log");
	const json_t *list = answer_list(status, "takeovers");
	struct text line = {0};

	print_takeovers(invocation, list, now, &line);
	if (log_is_missing(status)) {
		text_printf(&line, "Asterisk's security log can't be followed: %s",
			answer_string(log, "error"));
		print_line(invocation, "\033[31m", &line);
	} else if (answer_is(log, "silent", true)) {
		text_puts(&line,
			"Asterisk's security log has no security events: takeovers are not found "
			"(logger.conf: security => security, then logger reload)");
		print_line(invocation, "\033[33m", &line);
	}
	if (invocation->verbosity > 0)
		print_doubtful(invocation, list, now, &line);
	text_free(&line);
}
