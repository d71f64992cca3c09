/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "audit_report.h"
#include "audit_known.h"
#include "audit_line.h"
#include "clock.h"
#include "cycle.h"
#include "history_file.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

enum { DEFAULT_GRACE = 900 };

/* All that an audit judges by. */
struct basis {
	enum audit_basis kind;
	struct history *history;
	struct cycle cycle;
	struct audit_known *known;
};

static void clear_basis(struct basis *basis)
{
	audit_known_free(basis->known);
	history_free(basis->history);
	cycle_clear(&basis->cycle);
}

/* What the last run has left of the names; AUDIT_BY_CONFIG where it has left nothing. */
static int load_state(const struct invocation *invocation, const struct config *config,
	char path[PATH_MAX], struct basis *basis, struct error *error)
{
	struct clock_reading reading = clock_read();
	struct text notes = {0};
	struct stat status;
	int result;

	if (snprintf(path, PATH_MAX, "%s/state", invocation->state_dir) >= PATH_MAX)
		return error_set(error, -ENAMETOOLONG, "", "--state-dir is too long");
	basis->kind = AUDIT_BY_CONFIG;
	if (stat(path, &status) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		return error_set(error, -errno, "run it as root",
			"the state file %s cannot be read: %s", path, strerror(errno));
	}
	result = cycle_start(&basis->cycle, config, path, true, &reading, &notes, error);
	if (result == 0 && notes.length > 0)
		result = error_set(error, -EIO,
			"start the daemon, or run sipfence sync: it is made anew then; if that "
			"does not help, see that the disk works (dmesg)",
			"%.*s", (int)strcspn(text_string(&notes), "\n"), text_string(&notes));
	text_free(&notes);
	basis->kind = AUDIT_BY_NOW;
	return result;
}

static int load_basis(const struct invocation *invocation, const struct config *config,
	int64_t grace, int64_t now, char path[PATH_MAX], struct basis *basis, struct error *error)
{
	int result;

	if (snprintf(path, PATH_MAX, "%s/history", invocation->state_dir) >= PATH_MAX)
		return error_set(error, -ENAMETOOLONG, "", "--state-dir is too long");
	result = history_file_load(path, &basis->history, error);
	if (result < 0)
		return result;
	if (result != HISTORY_MISSING) {
		basis->kind = AUDIT_BY_HISTORY;
		result = audit_known_then(config, basis->history, grace, now, &basis->known);
	} else {
		result = load_state(invocation, config, path, basis, error);
		if (result == 0)
			result = audit_known_now(
				config, basis->cycle.roster, basis->cycle.now, &basis->known);
	}
	return result == -ENOMEM ? error_no_memory(error) : result;
}

static void say_basis(const struct invocation *invocation, const struct basis *basis)
{
	if (basis->kind == AUDIT_BY_NOW)
		say_warning(invocation,
			"there is no history in %s: every registration is judged by the addresses "
			"that the names have now, old ones too",
			invocation->state_dir);
	if (basis->kind == AUDIT_BY_CONFIG)
		say_warning(invocation,
			"there is neither a history nor a state file in %s: nothing is known of "
			"the names but what is fixed in the config (run sipfence sync, or the "
			"daemon)",
			invocation->state_dir);
}

/* --- lines to events --- */

static int take_lines(struct audit *audit, struct audit_input *input)
{
	const struct asterisk_line *line;
	struct audit_event event;
	struct audit_file *file;
	int64_t when;
	int result = 0;

	while (result == 0 && (line = audit_input_next(input, &when, &file))) {
		if (audit_line_event(line, when, &event))
			result = audit_take(audit, &event);
	}
	return result == 0 ? audit_finish(audit) : result;
}

/* --- what is said of the files --- */

static void say_counts(
	const struct invocation *invocation, const char *path, const struct audit_file *file)
{
	if (file->again)
		say_note(invocation, "%s is named twice; it was read once", path);
	else if (file->error.code == 0 && file->lines > 0 && file->understood == 0)
		say_warning(invocation,
			"%s: none of its %" PRIu64 " lines says anything of registrations or "
			"log-ins (logger.conf: a full log has `verbose` and `notice`, a security "
			"log `security`)",
			path, file->lines);
	if (file->too_long > 0)
		say_warning(invocation, "%s: %" PRIu64 " lines are too long, and were passed over",
			path, file->too_long);
	if (file->undated > 0)
		say_warning(invocation,
			"%s: %" PRIu64 " lines have no date; they were taken for as old as the "
			"lines before them",
			path, file->undated);
	if (file->doubled > 0)
		say_warning(invocation,
			"%s: %" PRIu64 " lines hold a field twice: somebody writes what looks like "
			"log lines into his SIP headers",
			path, file->doubled);
}

static void say_dates(
	const struct invocation *invocation, const char *path, const struct audit_file *file)
{
	if (file->several_years)
		say_warning(invocation,
			"%s: its dates have no year, and go back by months: it is of more than a "
			"year, or not in order. Give the year of its first line: --year",
			path);
	if (file->zone_off != 0)
		say_warning(invocation,
			"%s: its dates are %" PRId64
			" min off those of its events, which have a time zone: Asterisk runs in "
			"another one than this machine. Run it again with TZ=ZONE in the "
			"environment",
			path, file->zone_off / 60);
}

/* A log's folder is its writer's: names in it may hold anything. */
static void say_file_error(const struct invocation *invocation, const struct error *error)
{
	struct error printable = {0};
	struct text what = {0};

	text_escaped(&what, error->what, strlen(error->what));
	error_set(&printable, error->code, error->next, "%s", text_string(&what));
	say_problem(invocation, &printable);
	text_free(&what);
}

/* Returns how many could not be read, or not to their ends. */
static size_t say_files(const struct invocation *invocation, const struct audit_input *input)
{
	size_t failed = 0;

	for (size_t i = 0; i < input->count; i++) {
		const struct audit_file *file = &input->files[i];
		struct text path = {0};

		text_escaped(&path, file->path, strlen(file->path));
		say_counts(invocation, text_string(&path), file);
		say_dates(invocation, text_string(&path), file);
		if (file->error.code != 0) {
			say_file_error(invocation, &file->error);
			failed++;
		}
		text_free(&path);
	}
	return failed;
}

static int exit_code_of(const struct audit *audit, size_t failed)
{
	for (size_t i = 0; i < audit_account_count(audit); i++) {
		if (audit_account(audit, i).certainty >= AUDIT_CLAIMED)
			return EXIT_UNSURE;
	}
	return failed > 0 ? EXIT_REFUSED : EXIT_DONE;
}

/* --- the command --- */

static int report(const struct invocation *invocation, struct audit_result *result)
{
	size_t failed = say_files(invocation, result->input);

	result->exit_code = exit_code_of(result->audit, failed);
	if (!invocation->json)
		audit_print(invocation, result);
	else if (!audit_print_json(result))
		return EXIT_REFUSED;
	return result->exit_code;
}

static int audit_files(const struct invocation *invocation, const struct config *config,
	const struct basis *basis, struct audit_result *result, struct error *error)
{
	struct audit_settings settings = {
		.verdict = audit_known_verdict,
		.context = basis->known,
		.since = result->since == INT64_MIN ? INT64_MIN : result->since * 1000,
	};
	struct audit_input input = {0};
	struct audit *audit = NULL;
	int code;

	if (getrandom(&settings.seed, sizeof(settings.seed), 0) < 0)
		settings.seed = (uint64_t)time(NULL);
	code = audit_new(config, &settings, &audit);
	if (code == 0)
		code = audit_input_open(invocation->arguments, invocation->argument_count,
			invocation->year, time(NULL), &input);
	if (code == 0)
		code = take_lines(audit, &input);
	if (code < 0) {
		error_no_memory(error);
	} else {
		result->audit = audit;
		result->input = &input;
		code = report(invocation, result);
		result->audit = NULL;
		result->input = NULL;
	}
	audit_input_close(&input);
	audit_free(audit);
	return code;
}

int command_audit(const struct invocation *invocation)
{
	int64_t now = time(NULL);
	struct audit_result result = {.since = INT64_MIN, .history_begins = INT64_MAX};
	struct basis basis = {0};
	struct config *config = NULL;
	struct error error = {0};
	char path[PATH_MAX];
	int code;

	result.grace = invocation->grace < 0 ? DEFAULT_GRACE : invocation->grace;
	if (invocation->since && !when_parse(invocation->since, now, &result.since)) {
		say_usage(invocation,
			"--since takes a time like 2d or 2026-11-22 or \"2026-11-22 10:55\", not "
			"`%s`",
			invocation->since);
		return EXIT_USAGE;
	}
	code = load_config(invocation, &config);
	if (code != EXIT_DONE)
		return code;
	code = load_basis(invocation, config, result.grace, now, path, &basis, &error);
	if (code == 0) {
		say_basis(invocation, &basis);
		result.config = config;
		result.basis = basis.kind;
		if (basis.kind == AUDIT_BY_HISTORY)
			result.history_begins = history_begins(basis.history);
		code = audit_files(invocation, config, &basis, &result, &error);
	}
	if (code < 0) {
		say_error(invocation, &error);
		code = EXIT_REFUSED;
	}
	clear_basis(&basis);
	config_free(config);
	return code;
}
