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
