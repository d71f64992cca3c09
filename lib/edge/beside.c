/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "beside.h"

#include <stddef.h>

static void *run(void *beside)
{
	const struct beside *self = beside;

	self->work(self->context);
	return NULL;
}

void beside_start(struct beside *beside, void (*work)(void *context), void *context)
{
	*beside = (struct beside){.work = work, .context = context};
	beside->running = pthread_create(&beside->thread, NULL, run, beside) == 0;
	if (!beside->running)
		work(context);
}

void beside_wait(struct beside *beside)
{
	if (beside->running)
		pthread_join(beside->thread, NULL);
	beside->running = false;
}
