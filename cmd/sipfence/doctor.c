/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"
#include "client.h"
#include "command.h"
#include "json_put.h"
#include "reading.h"
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- For people --- */

/* Names and paths may hold anything. */
static void print_escaped(const char *before, const char *string)
{
	fputs(before, stdout);
	for (; *string; string++) {
		if (*string >= ' ' && *string < 0x7f)
			putchar(*string);
		else
			printf("\\x%02x", (unsigned)(unsigned char)*string);
	}
	putchar('\n');
}

static void print_finding(const struct invocation *invocation, const struct finding *finding)
{
	bool problem = finding->level == FINDING_PROBLEM;
	const char *colour = problem ? "\033[1;31m" : "\033[1;33m";

	printf("%s%s:%s ", invocation->colour_out ? colour : "", problem ? "problem" : "note",
		invocation->colour_out ? "\033[0m" : "");
	print_escaped("", finding->what);
	print_escaped("  why: ", finding->why);
	if (finding->place[0] && finding->change[0]) {
		print_escaped("  in ", finding->place);
		print_escaped("    ", finding->change);
	} else if (finding->change[0]) {
		print_escaped("  do: ", finding->change);
	}
}

static void print_findings(const struct invocation *invocation, const struct findings *findings)
{
	for (int level = FINDING_PROBLEM; level <= FINDING_NOTE; level++) {
		for (size_t i = 0; i < findings->count; i++) {
			if ((int)findings->list[i].level == level &&
				(level == FINDING_PROBLEM || invocation->verbosity >= 0))
				print_finding(invocation, &findings->list[i]);
		}
	}
	if (findings->left_off > 0)
		printf("%zu more of these kinds are not shown\n", findings->left_off);
	for (size_t i = 0; i < findings->unchecked_count && invocation->verbosity >= 0; i++) {
		const struct unchecked *unchecked = &findings->unchecked[i];

		print_escaped("not looked at: ", unchecked->why);
		if (unchecked->change[0])
			print_escaped("  do: ", unchecked->change);
	}
	if (invocation->verbosity < 0)
		return;
	if (findings->problems == 0)
		printf("no problem found\n");
	else
		printf("%zu problem%s\n", findings->problems,
			words_plural((int64_t)findings->problems));
}

/* --- For programs --- */

static void put(struct text *text, const char *key, const char *string)
{
	json_put_key(text, key);
	json_put_string(text, string && *string ? string : NULL);
}

static void put_findings(const struct findings *findings, struct text *text)
{
	json_put_key(text, "findings");
	json_put_open(text, "[");
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];

		json_put_open(text, "{");
		put(text, "level", finding->level == FINDING_PROBLEM ? "problem" : "note");
		put(text, "check", finding->check);
		put(text, "what", finding->what);
		put(text, "why", finding->why);
		put(text, "change", finding->change);
		put(text, "place", finding->place);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
	json_put_key(text, "left_off");
	json_put_number(text, (int64_t)findings->left_off);
	json_put_key(text, "not_looked_at");
	json_put_open(text, "[");
	for (size_t i = 0; i < findings->unchecked_count; i++) {
		json_put_open(text, "{");
		put(text, "check", findings->unchecked[i].check);
		put(text, "why", findings->unchecked[i].why);
		put(text, "change", findings->unchecked[i].change);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
}

static int print_json(
	const struct invocation *invocation, const struct findings *findings, int code)
{
	struct text text = {0};
	json_t *document = NULL;

	json_put_open(&text, "{");
	json_put_key(&text, "version");
	json_put_number(&text, 1);
	put(&text, "command", "doctor");
	put(&text, "result", findings->problems ? "problems" : "ok");
	json_put_key(&text, "exit");
	json_put_number(&text, code);
	json_put_key(&text, "problems");
	json_put_number(&text, (int64_t)findings->problems);
	put_findings(findings, &text);
	json_put_close(&text, "}");
	if (!text.failed)
		document = json_loadb(text_string(&text), text.length, 0, NULL);
	text_free(&text);
	return client_print(invocation, document) ? code : EXIT_REFUSED;
}

/* --- The command --- */

/* Without a config there is nothing to compare this machine with. */
static bool has_config(const struct invocation *invocation)
{
	struct text what = {0};
	struct stat status;

	if (stat(invocation->config_path, &status) == 0 || errno != ENOENT)
		return true;
	text_puts(&what, "there is no config ");
	text_escaped(&what, invocation->config_path, strlen(invocation->config_path));
	say_refusal(invocation, EXIT_USAGE, text_string(&what), "sipfence init writes a first one");
	say_meanwhile(invocation);
	text_free(&what);
	return false;
}

static int examine(const struct invocation *invocation, const struct config *config,
	const struct reading *reading)
{
	struct doctor_request request = {
		.config = config,
		.config_paths = (const char *const *)reading->paths,
		.config_path_count = reading->count,
		.state_dir = invocation->state_dir,
		.run_dir = invocation->run_dir,
	};
	struct findings findings = {0};
	struct error error = {0};
	int code = EXIT_REFUSED;

	if (doctor_examine(&request, &findings, &error) < 0) {
		say_error(invocation, &error);
	} else {
		code = findings.problems > 0 ? EXIT_UNSURE : EXIT_DONE;
		if (invocation->json)
			code = print_json(invocation, &findings, code);
		else
			print_findings(invocation, &findings);
	}
	findings_clear(&findings);
	return code;
}

int command_doctor(const struct invocation *invocation)
{
	struct reading reading = {0};
	struct config *config = NULL;
	int code;

	if (!has_config(invocation))
		return EXIT_USAGE;
	code = reading_load(invocation, &config, &reading);
	if (code == EXIT_DONE)
		code = examine(invocation, config, &reading);
	config_free(config);
	reading_clear(&reading);
	return code;
}
