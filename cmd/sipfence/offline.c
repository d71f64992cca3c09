/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "offline.h"
#include "clock.h"
#include "files.h"
#include "kernel.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LOAD_TRIES = 5 };

/* There must be a state file that can be read: without one nothing is known. */
static int look(const char *path, int64_t *ret_saved, struct error *error)
{
	struct stat status;

	if (stat(path, &status) == 0) {
		*ret_saved = status.st_mtime;
		return 0;
	}
	if (errno == ENOENT || errno == ENOTDIR)
		return error_set(error, -ENOENT,
			"start the daemon (systemctl start sipfence), or without one, as from cron, "
			"run sipfence sync once",
			"no daemon is running, and no former run has left a state file (%s)", path);
	return error_set(error, -errno, "run it as root",
		"no daemon is running, and the state file %s cannot be read: %s", path,
		strerror(errno));
}

/* A run that starts takes no saved answer for the last word, since it is about to ask. For a reader
 * it is: what was last learned was that answer. */
static void take_as_last_word(struct roster *roster)
{
	for (size_t i = 0; i < roster->host_count; i++) {
		for (int family = 0; family < FAMILY_COUNT; family++) {
			struct lookup *lookup = &roster->hosts[i].lookup[family];

			if (lookup->last == ANSWER_NEVER && lookup->good > 0 &&
				lookup->asked == lookup->good)
				lookup->last = ANSWER_ADDRESSES;
		}
	}
	for (size_t i = 0; i < roster->srv_count; i++) {
		struct lookup *lookup = &roster->srvs[i].lookup;

		if (lookup->last == ANSWER_NEVER && lookup->good > 0 &&
			lookup->asked == lookup->good)
			lookup->last = ANSWER_ADDRESSES;
	}
}

/* What is in force; whoever may not look at the kernel is not told. */
static void look_at_table(const struct invocation *invocation, struct offline *offline)
{
	struct cycle *cycle = &offline->cycle;
	struct view *view = &offline->view;
	struct kernel *kernel = NULL;
	struct error error = {0};
	int present = kernel_open(&kernel, &error);

	/* Another's table is looked for with its sets. */
	if (present == 0 && offline->config->sets_only)
		present = 1;
	else if (present == 0)
		present = kernel_has_table(kernel, offline->config->table, &error);
	view->no_table = present == 0;
	if (present > 0 && cycle_ruleset(cycle, &error) == 0 &&
		kernel_observe(kernel, cycle->ruleset, &cycle->observed, &cycle->generation, NULL,
			&error) == 0) {
		/* It may have gone meanwhile. */
		view->no_table = !cycle->observed->present;
		if (cycle->observed->present)
			view->in_force = cycle->observed;
		view->differs = cycle->observed->misfit ||
				strcmp(cycle->observed->shape, text_string(&cycle->shape)) != 0;
	}
	/* Other rules are told as such: elements would say no more. */
	if (view->in_force && !view->differs &&
		last_run_look(offline->config, invocation->state_dir, invocation->run_dir, kernel,
			&offline->last_run) == 0 &&
		offline->last_run.known)
		view->drift = &offline->last_run.drift;
	kernel_close(kernel);
}

static int load(const struct invocation *invocation, const char *path, struct offline *offline,
	struct error *error)
{
	struct clock_reading reading = clock_read();
	struct text notes = {0};
	int64_t saved = 0;
	int result = look(path, &saved, error);

	if (result == 0)
		result = cycle_start(
			&offline->cycle, offline->config, path, true, &reading, &notes, error);
	if (result == 0 && notes.length > 0)
		result = error_set(error, -EIO,
			"start the daemon, or run sipfence sync: it is made anew then; if that "
			"does not help, see that the disk works (dmesg)",
			"no daemon is running, and: %.*s", (int)strcspn(text_string(&notes), "\n"),
			text_string(&notes));
	text_free(&notes);
	if (result < 0)
		return result;
	take_as_last_word(offline->cycle.roster);
	offline->view = (struct view){
		.version = SIPFENCE_VERSION,
		.config = offline->config,
		.roster = offline->cycle.roster,
		.clock = &offline->cycle.clock,
		.saved_wall = saved,
	};
	look_at_table(invocation, offline);
	return 0;
}

int offline_load(const struct invocation *invocation, struct offline *ret_offline)
{
	struct error error = {0};
	char path[PATH_MAX];
	int code;

	*ret_offline = (struct offline){0};
	if (snprintf(path, sizeof(path), "%s/state", invocation->state_dir) >= (int)sizeof(path)) {
		say_usage(invocation, "--state-dir is too long");
		return EXIT_USAGE;
	}
	code = load_config(invocation, &ret_offline->config);
	if (code != EXIT_DONE)
		return code;
	if (load(invocation, path, ret_offline, &error) == 0)
		return EXIT_DONE;
	say_error(invocation, &error);
	offline_clear(ret_offline);
	return EXIT_REFUSED;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A daemon that saves its state meanwhile ends its journal: what was read would be neither of the
 * two. */
int offline_load_whole(const struct invocation *invocation, struct offline *ret_offline)
{
	char path[PATH_MAX];
	int code = EXIT_DONE;

	if (snprintf(path, sizeof(path), "%s/state", invocation->state_dir) >= (int)sizeof(path)) {
		say_usage(invocation, "--state-dir is too long");
		return EXIT_USAGE;
	}
	for (int i = 0; i < LOAD_TRIES; i++) {
		struct stat before = {0}, after = {0};

		stat(path, &before);
		code = offline_load(invocation, ret_offline);
		if (code != EXIT_DONE)
			return code;
		stat(path, &after);
		if (same_file(&before, &after) || i + 1 == LOAD_TRIES)
			break;
		offline_clear(ret_offline);
	}
	return code;
}

void offline_clear(struct offline *offline)
{
	last_run_clear(&offline->last_run);
	cycle_clear(&offline->cycle);
	config_free(offline->config);
	*offline = (struct offline){0};
}
