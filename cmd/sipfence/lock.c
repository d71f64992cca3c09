/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lock.h"
#include "files.h"

#include <limits.h>
#include <stdio.h>

bool lock_folders(const struct invocation *invocation, int *ret_fd)
{
	struct error error = {0};
	char path[PATH_MAX];
	pid_t holder = 0;
	int result;

	if (folder_make(invocation->run_dir, &error) < 0) {
		say_error(invocation, &error);
		return false;
	}
	if (snprintf(path, sizeof(path), "%s/lock", invocation->run_dir) >= (int)sizeof(path)) {
		say_usage(invocation, "--run-dir is too long");
		return false;
	}
	result = lock_take(path, ret_fd, &holder, &error);
	if (result == 0)
		return true;
	if (result == LOCK_TAKEN)
		error_set(&error, -1, "wait until it has ended, or look at it (ps), then try again",
			"another sipfence is at work (process %ld holds %s); nothing was touched",
			(long)holder, path);
	say_error(invocation, &error);
	return false;
}
