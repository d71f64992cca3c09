/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "cycle.h"
#include "lock.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

int command_remove(const struct invocation *invocation)
{
	char state_path[PATH_MAX];
	struct config *config = NULL;
	struct kernel *kernel = NULL;
	struct error error = {0};
	bool removed = false;
	int lock = -1;
	int result = load_config(invocation, &config);

	if (result != EXIT_DONE)
		return result;
	result = EXIT_REFUSED;
	if (snprintf(state_path, sizeof(state_path), "%s/state", invocation->state_dir) >=
		(int)sizeof(state_path)) {
		say_usage(invocation, "--state-dir is too long");
		goto out;
	}
	if (!lock_folders(invocation, &lock))
		goto out;
	if (kernel_open(&kernel, &error) < 0 ||
		cycle_remove(config->table, state_path, kernel, &removed, &error) < 0) {
		say_error(invocation, &error);
		goto out;
	}
	if (invocation->verbosity >= 0)
		printf(removed ? "removed table inet %s: everybody may reach the ports again, as "
				 "far as "
				 "other tables let them\n"
			       : "there is no table inet %s\n",
			config->table);
	result = EXIT_DONE;
out:
	kernel_close(kernel);
	if (lock >= 0)
		close(lock);
	config_free(config);
	return result;
}
