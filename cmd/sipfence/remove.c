/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "cycle.h"
#include "lock.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

int command_remove(const struct invocation *invocation)
{
	struct config *config = NULL;
	struct kernel *kernel = NULL;
	struct error error = {0};
	bool removed = false;
	int lock = -1;
	int result = load_config(invocation, &config);

	if (result != EXIT_DONE)
		return result;
	result = EXIT_REFUSED;
	if (!lock_folders(invocation, &lock))
		goto out;
	if (kernel_open(&kernel, &error) < 0 ||
		cycle_remove(config->table, kernel, &removed, &error) < 0) {
		say_error(invocation, &error);
		goto out;
	}
	report(invocation, config->table, removed);
	forget(invocation, config->table, kernel);
	flush_result(invocation);
	result = EXIT_DONE;
out:
	kernel_close(kernel);
	if (lock >= 0)
		close(lock);
	config_free(config);
	return result;
}
