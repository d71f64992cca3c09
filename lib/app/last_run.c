/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "last_run.h"

#include "cycle.h"
#include "files.h"
#include "nft_netlink.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct place {
	char state[PATH_MAX], lock[PATH_MAX];
	struct stat before; /* of the state file, zeroed where there is none */
};

static bool find_place(const char *state_dir, const char *run_dir, struct place *place)
{
	*place = (struct place){0};
	if (snprintf(place->state, PATH_MAX, "%s/state", state_dir) >= PATH_MAX ||
		snprintf(place->lock, PATH_MAX, "%s/lock", run_dir) >= PATH_MAX)
		return false;
	return stat(place->state, &place->before) == 0;
}

/* A run saves its state before it changes the kernel: between the two they differ by design. */
static bool is_in_motion(const struct place *place)
{
	struct stat now;

	return lock_holder_lives(place->lock) || stat(place->state, &now) < 0 ||
	       now.st_ino != place->before.st_ino ||
	       now.st_mtim.tv_sec != place->before.st_mtim.tv_sec ||
	       now.st_mtim.tv_nsec != place->before.st_mtim.tv_nsec;
}

/* The table as it is; NULL: it can't be compared. -ENOMEM. */
static int observe(
	const struct ruleset *ruleset, struct kernel *kernel, struct observed **ret_observed)
{
	struct observed *observed = NULL;
	struct text shape = {0};
	uint32_t generation;
	int result = nft_shape(ruleset, &shape);

	if (result == 0)
		result = kernel_observe(kernel, ruleset, &observed, &generation, NULL, NULL);
	if (result == 0 && observed->present && !observed->misfit &&
		strcmp(observed->shape, text_string(&shape)) == 0)
		*ret_observed = observed;
	else
		observed_free(observed);
	text_free(&shape);
	return result == -ENOMEM ? result : 0;
}

int last_run_look(const struct config *config, const char *state_dir, const char *run_dir,
	struct kernel *kernel, struct last_run *ret_run)
{
	struct observed *observed = NULL;
	struct place place;
	int result;

	*ret_run = (struct last_run){0};
	if (!find_place(state_dir, run_dir, &place) || is_in_motion(&place))
		return 0;
	result = cycle_last_ruleset(config, place.state, &ret_run->ruleset);
	if (result < 0 || !ret_run->ruleset)
		return result;
	result = observe(ret_run->ruleset, kernel, &observed);
	if (observed && !is_in_motion(&place)) {
		ret_run->known = true;
		drift_find(ret_run->ruleset, observed, &ret_run->drift);
	}
	observed_free(observed);
	return result;
}

void last_run_clear(struct last_run *run)
{
	ruleset_free(run->ruleset);
	*run = (struct last_run){0};
}
