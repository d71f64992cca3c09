/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <stdlib.h>

void config_free(struct config *config)
{
	if (!config)
		return;
	arena_free(&config->arena);
	free(config);
}

const char *config_mode_name(const struct config *config)
{
	if (config->sets_only)
		return "sets-only";
	return config->monitor ? "monitor" : "enforce";
}
