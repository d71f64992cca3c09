/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lock.h"
#include "files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *daemon_instead(const char *command)
{
	if (strcmp(command, "run") == 0)
		return "one is enough; see how it does (sipfence status), or end it first";
	if (strcmp(command, "remove") == 0)
		return "end the daemon first (systemctl stop sipfence), then try again";
	return "after a change of the config: sipfence reload; to ask DNS now: sipfence refresh";
}

static void explain_taken(const char *command, const struct lock_holder *holder, const char *path,
	struct error *error)
{
	bool daemon = strcmp(holder->word, "run") == 0;
	char process[64] = "a process";

	if (holder->pid)
		snprintf(process, sizeof(process), "process %ld", (long)holder->pid);
	if (daemon && strcmp(command, "run") == 0)
		error_set(error, -EBUSY, daemon_instead(command),
			"the daemon is already running (%s holds %s); nothing was touched", process,
			path);
	else if (daemon)
		error_set(error, -EBUSY, daemon_instead(command),
			"a daemon is running (%s holds %s); nothing was touched", process, path);
	else
		error_set(error, -EBUSY,
			"wait until it has ended, or look at it (ps), then try again",
			"another sipfence is at work%s%s (%s holds %s); nothing was touched",
			*holder->word ? ": " : "", holder->word, process, path);
}

bool lock_folders(
	const struct invocation *invocation, const struct privilege_user *user, int *ret_fd)
{
	struct error error = {0};
	char path[PATH_MAX];
	struct lock_holder holder = {0};
	int result;

	if (folder_make(invocation->run_dir, &error) < 0) {
		say_error(invocation, &error);
		return false;
	}
	if (snprintf(path, sizeof(path), "%s/lock", invocation->run_dir) >= (int)sizeof(path)) {
		say_usage(invocation, "--run-dir is too long");
		return false;
	}
	result = lock_take(path, invocation->command, ret_fd, &holder, &error);
	/* The lock, too; it may be new. */
	if (result == 0 && user && privilege_take_folder(invocation->run_dir, user, &error) < 0) {
		close(*ret_fd);
		*ret_fd = -1;
		say_error(invocation, &error);
		return false;
	}
	if (result == 0)
		return true;
	if (result == -EACCES || result == -EPERM)
		snprintf(error.next, sizeof(error.next), "run it as root");
	if (result == LOCK_TAKEN)
		explain_taken(invocation->command, &holder, path, &error);
	say_error(invocation, &error);
	return false;
}

int find_user(
	const struct invocation *invocation, const char *name, struct privilege_user *ret_user)
{
	struct error error = {0};
	int result = privilege_find(name, ret_user, &error);

	if (result == 0)
		return EXIT_DONE;
	say_error(invocation, &error);
	return result == -ENOENT ? EXIT_USAGE : EXIT_REFUSED;
}
