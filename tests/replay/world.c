/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"

#include <stdlib.h>

struct world *world(void)
{
	static struct world here;

	return &here;
}

void world_reset(void)
{
	struct world *here = world();

	nf_clear(&here->kernel.rules);
	free(here->dns.scripts);
	for (size_t i = 0; i < here->disk.count; i++) {
		free(here->disk.files[i].path);
		text_free(&here->disk.files[i].data);
	}
	free(here->disk.files);
	*here = (struct world){0};
	here->kernel.rules.knows_persist = true;
	here->kernel.rules.generation = 1;
	here->disk.delay_ms = DISK_DELAY_MS;
}
