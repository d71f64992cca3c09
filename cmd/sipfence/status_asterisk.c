/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status_asterisk.h"
#include "client.h"
#include "words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RED    "\033[31m"
#define YELLOW "\033[33m"

static const json_t *asterisk_of(const json_t *status)
{
	return json_object_get(status, "asterisk");
}

bool status_asterisk_is_wrong(const json_t *status)
{
	const json_t *asterisk = asterisk_of(status);

	return answer_is(asterisk, "right", false) || answer_number(asterisk, "not_evicted") > 0 ||
	       *answer_string(asterisk, "evict_error");
}

static void warn(const struct invocation *invocation, const char *colour, const struct text *line)
{
	printf("%s%s%s\n", invocation->colour_out ? colour : "", text_string(line),
		invocation->colour_out ? "\033[0m" : "");
}

static void put_cause(
	const json_t *asterisk, const char *error, const char *next, struct text *line)
{
	text_puts(line, answer_string(asterisk, error));
	if (*answer_string(asterisk, next))
		text_printf(line, "; %s", answer_string(asterisk, next));
}

static void put_since(const json_t *of, struct text *line)
{
	if (answer_time(of, "since") == 0)
		return;
	text_puts(line, " since ");
	words_time(answer_time(of, "since"), line);
}

static void print_mismatches(const struct invocation *invocation, const json_t *asterisk)
{
	const json_t *list = answer_list(asterisk, "mismatches");
	int64_t count = answer_number(asterisk, "mismatch_count");
	int64_t others = count - (int64_t)json_array_size(list);
	struct text line = {0};

	text_printf(&line, "Asterisk: %" PRId64 " ACL%s not in force", count,
		count == 1 ? " is" : "s are");
	put_since(asterisk, &line);
	text_puts(&line, "; the daemon tries again and again, and its log says what to look at");
	warn(invocation, RED, &line);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);

		text_clear(&line);
		text_printf(&line, "    extension %s: ACL %s %s,", answer_string(one, "extension"),
			answer_string(one, "acl"), answer_string(one, "what"));
		put_since(one, &line);
		warn(invocation, RED, &line);
	}
	if (others > 0 && json_array_size(list) > 0)
		printf("    and %" PRId64 " more\n", others);
	text_free(&line);
}

static void print_state(const struct invocation *invocation, const json_t *asterisk)
{
	const char *state = answer_string(asterisk, "state");
	struct text line = {0};

	if (strcmp(state, "mismatch") == 0) {
		print_mismatches(invocation, asterisk);
	} else if (strcmp(state, "down") == 0) {
		text_puts(&line, "Asterisk is down");
		put_since(asterisk, &line);
		text_puts(&line, "; its ACLs are written, and looked at when it is back");
		warn(invocation, YELLOW, &line);
	} else if (strcmp(state, "failed") == 0) {
		text_puts(&line, "Asterisk: its ACLs are not kept");
		put_since(asterisk, &line);
		text_puts(&line, ": ");
		put_cause(asterisk, "error", "next", &line);
		warn(invocation, RED, &line);
	} else if (strcmp(state, "off") == 0) {
		text_puts(&line, "Asterisk: its ACLs are not kept: ");
		if (*answer_string(asterisk, "error"))
			put_cause(asterisk, "error", "next", &line);
		else
			text_puts(&line, "no helper process runs; restart the daemon");
		warn(invocation, RED, &line);
	}
	text_free(&line);
}

void status_print_asterisk_problems(const struct invocation *invocation, const json_t *status)
{
	const json_t *asterisk = asterisk_of(status);
	int64_t left = answer_number(asterisk, "not_evicted");
	struct text line = {0};

	if (!json_is_object(asterisk))
		return;
	print_state(invocation, asterisk);
	if (answer_is(asterisk, "restart_needed", true)) {
		text_puts(&line, "Asterisk: acl, acl-file, command or security-log have been "
				 "changed: as long as the daemon is not restarted, the former ones "
				 "are in use");
		warn(invocation, YELLOW, &line);
	}
	text_clear(&line);
	if (*answer_string(asterisk, "evict_error")) {
		text_puts(&line, "Asterisk: registrations can't be evicted: ");
		put_cause(asterisk, "evict_error", "evict_next", &line);
		warn(invocation, RED, &line);
	} else if (left > 0) {
		text_printf(&line,
			"Asterisk: %" PRId64 " registration%s not go; see who they are (sipfence "
			"asterisk --contacts), and whether their peers have their acl= line",
			left, left == 1 ? " does" : "s do");
		warn(invocation, RED, &line);
	}
	text_free(&line);
}

void status_print_asterisk(const json_t *status)
{
	const json_t *asterisk = asterisk_of(status);
	const char *state = answer_string(asterisk, "state");
	int64_t acls = answer_number(asterisk, "acls");
	int64_t evicted = answer_number(asterisk, "evicted");
	struct text line = {0};

	if (strcmp(state, "in-force") == 0) {
		text_printf(&line, "Asterisk: %" PRId64 " ACL%s loaded", acls, words_plural(acls));
		put_since(asterisk, &line);
		text_puts(&line, " (which peers are bound to them: sipfence asterisk)");
	} else if (strcmp(state, "pending") == 0) {
		text_printf(
			&line, "Asterisk: %" PRId64 " ACL%s on the way", acls, words_plural(acls));
		put_since(asterisk, &line);
	}
	if (line.length > 0 && evicted > 0)
		text_printf(&line, "; %" PRId64 " registration%s evicted since the start", evicted,
			words_plural(evicted));
	if (line.length > 0)
		puts(text_string(&line));
	text_free(&line);
}
