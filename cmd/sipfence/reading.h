/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The config, and which files it is made of. */
#ifndef SIPFENCE_READING_H
#define SIPFENCE_READING_H

#include "command.h"
#include "config.h"

#include <stddef.h>

struct reading {
	char **paths;
	size_t count;
};

/* As load_config(). Clear `reading` whatever it returns. */
int reading_load(
	const struct invocation *invocation, struct config **ret_config, struct reading *reading);
void reading_clear(struct reading *reading);

#endif
