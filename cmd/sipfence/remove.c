/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"
#include "clock.h"
#include "command.h"
#include "cycle.h"
#include "files.h"
#include "lock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whose table, as far as it is known. */
struct target {
	struct config *config; /* NULL: there is none that could be read */
	char *last;	       /* by the state of the last run; NULL: unknown, or not looked for */
	const char *table;     /* one of theirs */
	enum table_family family;
	bool sets_only;
};

/* A way out must not depend on a config that is good. */
static void find_target(const struct invocation *invocation, struct target *ret_target)
{
	struct target target = {.table = CONFIG_DEFAULT_TABLE, .family = TABLE_INET};
	bool good = load_config(invocation, &target.config) == EXIT_DONE;
	const char *source = "the name that sipfence's has by default";
	char state_path[PATH_MAX];

	if (!good && !load_kept_config(invocation, &target.config))
		target.config = NULL;
	if (target.config) {
		target.table = target.config->table;
		target.family = (enum table_family)target.config->table_family;
		target.sets_only = target.config->sets_only;
		source = "by the copy that the daemon has kept of the last good one";
	}
	/* A copy may be older than what cron's sync has done since. */
	if (!good && !target.sets_only &&
		snprintf(state_path, sizeof(state_path), "%s/state", invocation->state_dir) <
			(int)sizeof(state_path))
		target.last = cycle_last_table(state_path);
	if (target.last) {
		target.table = target.last;
		target.family = TABLE_INET;
		source = "which the last run has made";
	}
	if (!good)
		say_warning(invocation, "without a good config, what is removed is table %s %s, %s",
			ruleset_family_name(target.family), target.table, source);
	*ret_target = target;
}

static void report(const struct invocation *invocation, const char *table, bool removed)
{
	if (invocation->verbosity < 0)
		return;
	if (removed)
		printf("removed table inet %s: everybody may reach the ports again, as far as "
		       "other tables let them. Stop cron's sipfence sync, or it comes back.\n",
			table);
	else
		printf("there is no table inet %s\n", table);
}

static void report_daemon(const struct invocation *invocation)
{
	if (invocation->verbosity >= 0)
		printf("the daemon has removed its table and ended: everybody may reach the ports "
		       "again, as far as other tables let them. To keep it out after a reboot, "
		       "disable the daemon: systemctl disable sipfence\n");
}

/* After the table is out: a way out must not depend on a disk that works. */
static void forget(const struct invocation *invocation, const char *table, struct kernel *kernel)
{
	char state_path[PATH_MAX], *other = NULL;
	struct error error = {0};

	if (snprintf(state_path, sizeof(state_path), "%s/state", invocation->state_dir) >=
		(int)sizeof(state_path))
		return;
	if (cycle_forget(table, state_path, &other, &error) < 0)
		say_warning(invocation,
			"%s; so the next sync will not ask before it shuts the ports again",
			error.what);
	if (other && kernel_has_table(kernel, other, NULL) > 0)
		say_warning(invocation,
			"table inet %s of a former config is still in force; take it out: nft "
			"delete table inet %s",
			other, other);
	free(other);
}

/* A daemon that was told to end still holds the lock for a moment, and may own the table. Whoever
 * comes next shall not stumble over it. */
static void wait_for_end(const struct invocation *invocation)
{
	enum { PATIENCE_MS = 5000, STEP_MS = 10 };
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/lock", invocation->run_dir) >= (int)sizeof(path))
		return;
	while (clock_boot_ms() < end) {
		struct lock_holder holder = {0};
		struct error error = {0};
		int fd, result = lock_take(path, invocation->command, &fd, &holder, &error);

		if (result == 0)
			close(fd);
		if (result != LOCK_TAKEN)
			return;
		poll(NULL, 0, STEP_MS);
	}
	say_warning(invocation, "the table is out, but the daemon is still there");
}

enum { NOBODY_ASKED = -1 };
/* The exit code when a daemon has answered. */
static int ask_daemon(const struct invocation *invocation)
{
	struct control_request request = {.kind = CONTROL_REMOVE};
	struct error error = {0};
	json_t *answer = NULL;
	int code = EXIT_DONE, result = client_ask(invocation, &request, &answer, &error);

	if (result == CLIENT_NO_DAEMON)
		return NOBODY_ASKED;
	if (result < 0) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	if (!answer_is(answer, "ok", true))
		code = client_say_refusal(invocation, answer);
	json_decref(answer);
	if (code == EXIT_DONE)
		wait_for_end(invocation);
	return code;
}

/* Whatever has answered: it is the kernel that has the table or not. */
static int check_removed(const struct invocation *invocation, const char *table)
{
	struct kernel *kernel = NULL;
	struct error error = {0};
	int present = kernel_open(&kernel, &error);

	if (present == 0)
		present = kernel_has_table(kernel, table, &error);
	kernel_close(kernel);
	/* Who may not look has been told by the daemon alone. */
	if (present == -EPERM || present == -EACCES)
		present = 0;
	if (present > 0)
		error_set(&error, -EEXIST,
			"see who has it (nft list table inet NAME, sipfence status), then try again",
			"the daemon says that it has removed its table, but the kernel still has table "
			"inet %s",
			table);
	if (present != 0)
		say_error(invocation, &error);
	return present == 0 ? EXIT_DONE : EXIT_REFUSED;
}

/* The rules of that table go on letting in who is in the sets, and nobody updates them. */
static void report_sets(const struct invocation *invocation, const struct target *target)
{
	struct kernel *kernel = NULL;

	/* A table of ours from before is still in force. */
	if (kernel_open(&kernel, NULL) == 0)
		forget(invocation, target->table, kernel);
	kernel_close(kernel);
	if (invocation->verbosity >= 0)
		printf("the sets in your table %s %s stay as they are, and are not updated any "
		       "more: they are yours to empty\n",
			ruleset_family_name(target->family), target->table);
}

/* A name in the config alone makes no table ours: the state must know of it, or it has our name. */
static bool is_foreign(const struct invocation *invocation, const char *table,
	struct kernel *kernel, struct error *error)
{
	char state_path[PATH_MAX];

	if (strcmp(table, CONFIG_DEFAULT_TABLE) == 0 || kernel_has_table(kernel, table, NULL) <= 0)
		return false;
	if (snprintf(state_path, sizeof(state_path), "%s/state", invocation->state_dir) <
			(int)sizeof(state_path) &&
		cycle_knows_table(table, state_path))
		return false;
	error_set(error, -EPERM, "", "the table inet %s is left alone: sipfence does not know it",
		table);
	snprintf(error->next, sizeof(error->next),
		"if it is sipfence's all the same, take it out: nft delete table inet %s", table);
	return true;
}

/* Without a daemon. */
static int remove_here(const struct invocation *invocation, const char *table)
{
	struct kernel *kernel = NULL;
	struct error error = {0};
	bool removed = false;
	int lock = -1, code = EXIT_REFUSED;

	/* Whoever the folders belong to: root takes the table out. */
	if (!lock_folders(invocation, NULL, &lock))
		goto out;
	if (kernel_open(&kernel, &error) < 0 || is_foreign(invocation, table, kernel, &error) ||
		cycle_remove(table, kernel, &removed, &error) < 0) {
		say_error(invocation, &error);
		goto out;
	}
	report(invocation, table, removed);
	forget(invocation, table, kernel);
	code = EXIT_DONE;
out:
	kernel_close(kernel);
	if (lock >= 0)
		close(lock);
	return code;
}

int command_remove(const struct invocation *invocation)
{
	struct target target;
	int result;
	bool asked;

	find_target(invocation, &target);
	result = ask_daemon(invocation);
	asked = result != NOBODY_ASKED;
	if (target.sets_only && (!asked || result == EXIT_DONE)) {
		report_sets(invocation, &target);
		result = EXIT_DONE;
		asked = false;
	} else if (!asked)
		result = remove_here(invocation, target.table);
	else if (result == EXIT_DONE)
		result = check_removed(invocation, target.table);
	if (result == EXIT_DONE && asked)
		report_daemon(invocation);
	if (result == EXIT_DONE)
		flush_result(invocation);
	config_free(target.config);
	free(target.last);
	return result;
}
