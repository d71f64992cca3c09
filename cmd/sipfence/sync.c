/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "beside.h"
#include "clock.h"
#include "command.h"
#include "confirm.h"
#include "cycle.h"
#include "files.h"
#include "lock.h"
#include "metrics_file.h"
#include "nft_text.h"
#include "report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	PROGRESS_FROM = 200, /* names */
	PROGRESS_MS = 100,
	BESIDE_FROM = 200, /* names: with fewer, a thread costs more than it saves */
};

struct sync {
	const struct invocation *invocation;
	struct config *config;
	struct cycle cycle;
	struct kernel *kernel;
	struct privilege_user user; /* whom it becomes */
	char state_path[PATH_MAX];
	int lock;
	bool restricted; /* to the ports that were shut before: --yes is needed for the others */
	bool all_first;	 /* nothing is to be in force before the last answer */
	/* If something was: what was done then, and the table as it was before. */
	enum plan_kind early_kind;
	struct observed *before;
	struct error error;
};

static bool changes_nothing(const struct invocation *invocation)
{
	return invocation->dry_run || invocation->diff;
}

/* A line on the terminal that is drawn anew in its place. */
struct progress {
	int64_t next_ms; /* when it may be drawn again */
	int length;	 /* of what stands there */
};

static void erase_progress(struct progress *progress)
{
	if (progress->length > 0)
		fprintf(stderr, "\r%*s\r", progress->length, "");
	progress->length = 0;
}

static void show_progress(void *context, size_t done, size_t total)
{
	struct progress *progress = context;
	int64_t now = clock_boot_ms();
	struct winsize size = {0};
	char line[80];
	int length;

	if (now < progress->next_ms)
		return;
	progress->next_ms = now + PROGRESS_MS;
	length = snprintf(
		line, sizeof(line), "resolving: %zu of %zu questions answered", done, total);
	/* A line that is wrapped could not be drawn over. */
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
		length >= size.ws_col)
		length = snprintf(line, sizeof(line), "%zu/%zu", done, total);
	erase_progress(progress);
	fputs(line, stderr);
	progress->length = length;
}

/* The lock is taken. What is written from here on is the daemon's user's, too. */
static int become_user(struct sync *sync)
{
	const char *state_dir = sync->invocation->state_dir;
	int result = folder_make(state_dir, &sync->error);

	if (result == 0)
		result = privilege_take_folder(state_dir, &sync->user, &sync->error);
	return result == 0 ? privilege_drop(&sync->user, &sync->error) : result;
}

static int start(struct sync *sync)
{
	const struct invocation *invocation = sync->invocation;
	struct clock_reading reading = clock_read();
	struct text notes = {0};
	int result = 0;

	if (snprintf(sync->state_path, sizeof(sync->state_path), "%s/state",
		    invocation->state_dir) >= (int)sizeof(sync->state_path))
		return error_set(&sync->error, -ENAMETOOLONG, "", "--state-dir is too long");
	if (!changes_nothing(invocation))
		result = become_user(sync);
	if (result == 0)
		result = cycle_start(&sync->cycle, sync->config, sync->state_path,
			changes_nothing(invocation), &reading, &notes, &sync->error);
	for (char *line = notes.data ? strtok(notes.data, "\n") : NULL; line;
		line = strtok(NULL, "\n"))
		say_warning(invocation, "%s", line);
	text_free(&notes);
	return result;
}

static int finish(struct sync *sync, const char *result, const char *script)
{
	int code = report_unsure(&sync->cycle) > 0 ? EXIT_UNSURE : EXIT_DONE;

	if (sync->invocation->json && report_json(&sync->cycle, "sync", result, code, script) < 0)
		say_warning(sync->invocation, "out of memory: the JSON document is missing");
	return code;
}

/* Prints the script; reads no kernel. */
static int dry_run(struct sync *sync)
{
	struct text script = {0};
	int code = EXIT_REFUSED;

	nft_text_print(sync->cycle.ruleset, &script);
	if (script.failed) {
		error_no_memory(&sync->error);
		say_error(sync->invocation, &sync->error);
		goto out;
	}
	if (!sync->invocation->json)
		fputs(text_string(&script), stdout);
	report_names(sync->invocation, &sync->cycle, true);
	code = finish(sync, "dry run", text_string(&script));
out:
	text_free(&script);
	return code;
}

static const char *plan_word(enum plan_kind kind, bool was_present)
{
	if (kind == PLAN_NOTHING)
		return "nothing";
	if (kind == PLAN_ELEMENTS)
		return "changed";
	return was_present ? "swapped" : "installed";
}

static int diff(struct sync *sync)
{
	const struct cycle *cycle = &sync->cycle;
	struct error no_memory = {0};

	if (kernel_open(&sync->kernel, &sync->error) < 0 ||
		cycle_compare(&sync->cycle, sync->kernel, &sync->error) < 0) {
		bool permission = sync->error.code == -EPERM || sync->error.code == -EACCES;

		if (!permission) {
			say_error(sync->invocation, &sync->error);
			return EXIT_REFUSED;
		}
		say_note(sync->invocation, "the kernel's table may not be read by this user: "
					   "compared with an empty one");
		if (cycle_compare_with_nothing(&sync->cycle, &no_memory) < 0) {
			say_error(sync->invocation, &no_memory);
			return EXIT_REFUSED;
		}
	}
	if (!sync->invocation->json) {
		if (cycle->plan.kind == PLAN_SWAP)
			printf("table inet %s would be %s, mode %s\n", cycle->ruleset->table,
				cycle->observed->present
					? "swapped: its rules differ from the config"
					: "installed",
				config_mode_name(cycle->config));
		report_changes(sync->invocation, cycle);
		if (cycle->plan.kind == PLAN_NOTHING && isatty(STDOUT_FILENO))
			printf("nothing would change\n");
	}
	if (cycle_newly_shut_out(cycle) > 0) {
		say_warning(sync->invocation,
			"unlisted sources would be shut out; sync will ask for --yes:");
		report_talkers(cycle);
	}
	report_names(sync->invocation, &sync->cycle, true);
	return finish(sync, plan_word(cycle->plan.kind, cycle->observed->present), NULL);
}

static void warn_if_blind(const struct sync *sync)
{
	const struct cycle *cycle = &sync->cycle;

	if (!sync->invocation->yes && cycle_shuts_new_ports(cycle) && cycle->blind &&
		!cycle->observed->monitor)
		say_note(sync->invocation,
			"connection tracking knows of no flows here, so nobody could be seen "
			"talking to the ports; to be sure, run in mode: monitor first");
}

/* Whoever gets in now, unlisted, and would not any more is shown first, and --yes asked for. */
static bool may_enforce(struct sync *sync)
{
	const struct cycle *cycle = &sync->cycle;
	size_t count = cycle_newly_shut_out(cycle);

	if (sync->invocation->yes)
		return true;
	if (count == 0) {
		warn_if_blind(sync);
		return true;
	}
	error_set(&sync->error, -EAGAIN,
		"each is a forgotten trunk or phone, or the intruder: list who must get in under "
		"`peers` or `extensions`, then run sync with --yes, which shuts out the rest",
		"%zu unlisted source%s to ports that were open until now; these ports are left "
		"as they are",
		count, count == 1 ? " talks" : "s talk");
	say_problem(sync->invocation, &sync->error);
	if (sync->invocation->json)
		report_json(cycle, "sync", "needs --yes", EXIT_USAGE, NULL);
	report_talkers(cycle);
	return false;
}

static void report_done(struct sync *sync, enum plan_kind kind, bool was_present)
{
	static const char *const causes[] = {
		[PLAN_NO_TABLE] = "it was gone",
		[PLAN_OTHER_RULES] = "its rules were others than the config asks for",
		[PLAN_OTHER_LOCK] = "it was a daemon's own, and is a plain one now",
		[PLAN_NO_ROOM] = "the list had outgrown its sets",
	};
	const struct invocation *invocation = sync->invocation;
	const struct cycle *cycle = &sync->cycle;
	bool terminal = isatty(STDOUT_FILENO);
	size_t added, removed;

	if (!invocation->json && invocation->verbosity >= 0) {
		report_count_changes(cycle, &added, &removed);
		if (kind == PLAN_SWAP && !was_present)
			printf("installed table inet %s: %zu %s may pass, mode %s\n",
				cycle->ruleset->table, added,
				added == 1 ? "address or prefix" : "addresses and prefixes",
				config_mode_name(cycle->config));
		else if (kind == PLAN_SWAP)
			printf("swapped table inet %s: %s; mode %s\n", cycle->ruleset->table,
				causes[cycle->plan.cause], config_mode_name(cycle->config));
		if (kind == PLAN_ELEMENTS || was_present || invocation->verbosity > 0)
			report_changes(invocation, cycle);
		if (kind == PLAN_NOTHING && terminal)
			printf("nothing changed: the kernel's table is right; %zu names asked\n",
				cycle->roster->host_count);
	}
}

/* Commits under the guardian's eye. 0: the change stays. */
static int apply_confirmed(struct sync *sync)
{
	uint32_t seconds = sync->invocation->confirm;
	struct cycle *cycle = &sync->cycle;
	struct guardian guardian;
	enum guardian_end end;
	bool keep = false;
	int result = guardian_start(&guardian, cycle, seconds, &sync->error);

	if (result < 0)
		return result;
	if (cycle_apply(cycle, sync->kernel, &sync->error) == 0) {
		guardian_tell(&guardian, GUARDIAN_CHANGED);
		keep = confirm_at_terminal(&guardian, seconds);
	}
	/* A refused change is nothing to take back; one that went half way is. */
	guardian_tell(&guardian, keep || !cycle->touched ? GUARDIAN_KEEP : GUARDIAN_TAKE_BACK);
	end = guardian_end(&guardian);
	if (keep && end != GUARDIAN_TOOK_BACK)
		return 0;
	if (end == GUARDIAN_FAILED || end == GUARDIAN_LOST) {
		struct error why = {0};

		/* It left the table as it is; what is left to do can be done here as well. */
		if (cycle->touched && cycle_take_back(cycle, sync->kernel, &why) < 0) {
			sync->error = why;
			return why.code;
		}
	}
	return error_set(&sync->error, -ECANCELED,
		"put the config back as well, or cron's next sync makes the same change; or run this "
		"again and type yes",
		"not confirmed: the table is as it was before");
}

static void warn_of_former_table(const struct sync *sync)
{
	const char *table = sync->cycle.former_table;

	if (table)
		say_warning(sync->invocation,
			"table inet %s of a former config is still there, and nobody updates it; take "
			"it out: nft delete table inet %s",
			table, table);
}

static const char no_history[] = "the history does not know of this run: %s; %s";

/* Looks at the kernel. What must not be shut without --yes stays open, and the rest goes on. */
static int prepare(struct sync *sync)
{
	struct cycle *cycle = &sync->cycle;
	int result;

	cycle->want_snapshot = sync->invocation->confirm > 0;
	if ((!sync->kernel && kernel_open(&sync->kernel, &sync->error) < 0) ||
		cycle_compare(cycle, sync->kernel, &sync->error) < 0)
		return EXIT_REFUSED;
	if (may_enforce(sync))
		return EXIT_DONE;
	sync->error = (struct error){0};
	sync->restricted = true;
	result = cycle_restrict(cycle, &sync->error);
	if (result == CYCLE_NOTHING_LEFT)
		return EXIT_USAGE;
	if (result < 0 || cycle_build(cycle, &sync->error) < 0 ||
		cycle_compare(cycle, sync->kernel, &sync->error) < 0)
		return EXIT_REFUSED;
	return EXIT_DONE;
}

/*
 * May what is known be put in force while some names have yet to answer? Those could be of somebody
 * who gets in now: nobody who does may be shut out meanwhile. So of a table that is there no
 * element leaves, and it is not swapped; and a new one shuts nobody out who is seen to talk to us.
 * Targets of SRV names are not asked before the last answer has come: a new table waits for them.
 */
static bool may_precede(struct sync *sync)
{
	struct cycle *cycle = &sync->cycle;

	if (cycle->plan.kind == PLAN_SWAP)
		return !cycle->observed->present && cycle_newly_shut_out(cycle) == 0 &&
		       !cycle->questions.srv_changed;
	if (cycle_newly_shut_out(cycle) > 0)
		return false;
	plan_keep_additions(&cycle->plan, cycle->ruleset, cycle->observed);
	return true;
}

/* Some names keep us waiting: those that have answered need not. */
static int commit_known(struct sync *sync)
{
	struct cycle *cycle = &sync->cycle;
	struct error error = {0};
	int result = cycle_ruleset(cycle, &sync->error);

	if (result == 0 && !sync->kernel)
		result = kernel_open(&sync->kernel, &sync->error);
	if (result == 0)
		result = cycle_compare(cycle, sync->kernel, &sync->error);
	if (result < 0)
		return result;
	if (!may_precede(sync)) {
		sync->all_first = true;
		return 0;
	}
	if (cycle->plan.kind == PLAN_NOTHING)
		return 0;
	warn_if_blind(sync);
	if (!sync->before)
		sync->early_kind = cycle->plan.kind;
	/* Who is to leave is in force as well. */
	result = cycle_save(cycle, CYCLE_UNSURE, &sync->error);
	if (result == 0)
		result = cycle_apply(cycle, sync->kernel, &sync->error);
	if (result < 0) {
		if (!cycle->touched)
			cycle_save(cycle, CYCLE_TAKEN_BACK, NULL);
		return result;
	}
	if (!sync->before) {
		sync->before = cycle->observed;
		cycle->observed = NULL;
	}
	if (cycle_record(cycle, &error) < 0)
		say_warning(sync->invocation, no_history, error.what, error.next);
	return 0;
}

static int resolve(struct sync *sync)
{
	bool live = isatty(STDERR_FILENO) && sync->invocation->verbosity >= 0 &&
		    sync->cycle.roster->host_count > PROGRESS_FROM;
	struct progress progress = {0};
	int result;

	do {
		bool early = !changes_nothing(sync->invocation) && !sync->invocation->confirm &&
			     !sync->all_first;

		result = cycle_resolve(
			&sync->cycle, early, live ? show_progress : NULL, &progress, &sync->error);
		erase_progress(&progress);
		if (result == CYCLE_STALLED && commit_known(sync) < 0)
			result = sync->error.code;
	} while (result == CYCLE_STALLED);
	if (result == 0)
		cycle_judge_flapping(&sync->cycle);
	return result;
}

struct recording {
	struct cycle *cycle;
	struct error error;
};

static void record(void *context)
{
	struct recording *recording = context;

	cycle_record(recording->cycle, &recording->error);
}

static int commit(struct sync *sync)
{
	struct cycle *cycle = &sync->cycle;
	struct recording recording = {.cycle = cycle};
	struct beside beside = {.running = false};
	bool confirmed = sync->invocation->confirm && cycle->plan.kind != PLAN_NOTHING;
	int result;

	/* Whoever takes the change back, if we are killed, does not write the state. */
	if (cycle_save(cycle, confirmed ? CYCLE_UNSURE : CYCLE_IN_FORCE, &sync->error) < 0)
		return sync->error.code;
	cycle->want_snapshot = false; /* the table as it is now, not at a later look */
	/* Never beside the guardian, which is a fork. */
	if (confirmed || cycle->roster->host_count < BESIDE_FROM)
		record(&recording);
	else
		beside_start(&beside, record, &recording);
	result = confirmed ? apply_confirmed(sync) : cycle_apply(cycle, sync->kernel, &sync->error);
	beside_wait(&beside);
	if (recording.error.code)
		say_warning(
			sync->invocation, no_history, recording.error.what, recording.error.next);
	/* What is not shut after all must be asked about again. If this fails, the first error says
	 * more. */
	if (result < 0 && (!cycle->touched || result == -ECANCELED))
		cycle_save(cycle, CYCLE_TAKEN_BACK, NULL);
	else if (result < 0 || confirmed)
		cycle_save(cycle, result < 0 ? CYCLE_UNSURE : CYCLE_IN_FORCE, NULL);
	return result;
}

/* What was done in several steps is told as one. */
static int show_from_before(struct sync *sync)
{
	struct cycle *cycle = &sync->cycle;

	if (!sync->before)
		return 0;
	plan_clear(&cycle->plan);
	observed_free(cycle->observed);
	cycle->observed = sync->before;
	sync->before = NULL;
	if (plan_make(cycle->ruleset, text_string(&cycle->shape), cycle->observed, NULL, 0,
		    &cycle->plan) < 0)
		return error_no_memory(&sync->error);
	return 0;
}

static void report_details(const struct sync *sync)
{
	const struct cycle *cycle = &sync->cycle;

	if (sync->invocation->verbosity <= 0)
		return;
	say_note(sync->invocation, "DNS: %llu questions sent, %llu answered, %llu timed out",
		(unsigned long long)cycle->dns.asked, (unsigned long long)cycle->dns.answered,
		(unsigned long long)cycle->dns.timed_out);
	if (cycle->retries)
		say_note(sync->invocation,
			"another program changed the firewall meanwhile: compared and tried "
			"again, %u times",
			cycle->retries);
}

static void say_refused(const struct sync *sync)
{
	if (sync->restricted)
		say_problem(sync->invocation, &sync->error); /* the document is out already */
	else
		say_error(sync->invocation, &sync->error);
	if (sync->before)
		say_warning(
			sync->invocation, "the names that had answered until then are in force");
}

static int apply(struct sync *sync)
{
	const struct invocation *invocation = sync->invocation;
	struct cycle *cycle = &sync->cycle;
	enum plan_kind kind;
	const char *word;
	bool was_present, opened;
	int code = prepare(sync);

	if (code == EXIT_USAGE)
		return code;
	if (code != EXIT_DONE)
		goto refused;
	opened = cycle_opens(cycle);
	kind = sync->before && cycle->plan.kind != PLAN_SWAP ? sync->early_kind : cycle->plan.kind;
	was_present = sync->before ? sync->before->present : cycle->observed->present;
	word = plan_word(kind, was_present);
	report_names(invocation, cycle,
		kind == PLAN_SWAP || isatty(STDERR_FILENO) || invocation->verbosity > 0);
	report_told(cycle);
	if (commit(sync) < 0 || show_from_before(sync) < 0)
		goto refused;
	report_done(sync, kind, was_present);
	if (opened)
		say_opened(invocation);
	warn_of_former_table(sync);
	report_details(sync);
	code = sync->restricted ? EXIT_USAGE : finish(sync, word, NULL);
	flush_result(invocation);
	return code;
refused:
	say_refused(sync);
	return EXIT_REFUSED;
}

/* For who looks at the machine by its metrics. The run is what it is, also if they can't be told.
 */
static void write_metrics(struct sync *sync, int code)
{
	const struct metrics_run run = {.ended = clock_wall(), .exit_code = code};
	const struct view view = {
		.version = SIPFENCE_VERSION,
		.config = sync->config,
		.roster = sync->cycle.roster,
		.clock = &sync->cycle.clock,
	};
	struct error error = {0};
	struct text text = {0};
	int result = 0;

	if (!sync->config->metrics_file || !view.roster || changes_nothing(sync->invocation))
		return;
	if (metrics_make(&view, &run, run.ended, &text) < 0)
		result = error_no_memory(&error);
	else
		result = file_publish(sync->config->metrics_file, text.data, text.length, &error);
	if (result < 0)
		say_warning(sync->invocation, "the metrics are those of an earlier run: %s; %s",
			error.what, error.next);
	text_free(&text);
}

int command_sync(const struct invocation *invocation)
{
	struct sync sync = {.invocation = invocation, .lock = -1};
	int code;

	privilege_begin();
	code = load_config(invocation, &sync.config);
	if (code != EXIT_DONE)
		return code;
	if (invocation->confirm && !isatty(STDIN_FILENO)) {
		say_usage(invocation,
			"--confirm needs a terminal to ask at; without one, leave it away");
		code = EXIT_USAGE;
		goto out;
	}
	if (invocation->confirm && sync.config->sets_only) {
		say_usage(invocation,
			"--confirm can take back a table of its own alone, and not sets of yours");
		code = EXIT_USAGE;
		goto out;
	}
	if (!changes_nothing(invocation))
		code = find_user(invocation, sync.config->user, &sync.user);
	if (code != EXIT_DONE)
		goto out;
	code = EXIT_REFUSED;
	if (!changes_nothing(invocation) && !lock_folders(invocation, &sync.user, &sync.lock))
		goto out;
	if (start(&sync) < 0 || resolve(&sync) < 0 || cycle_build(&sync.cycle, &sync.error) < 0) {
		say_refused(&sync);
		goto out;
	}
	code = invocation->dry_run ? dry_run(&sync) : invocation->diff ? diff(&sync) : apply(&sync);
out:
	write_metrics(&sync, code);
	observed_free(sync.before);
	cycle_clear(&sync.cycle);
	kernel_close(sync.kernel);
	if (sync.lock >= 0)
		close(sync.lock);
	config_free(sync.config);
	return code;
}
