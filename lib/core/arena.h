/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that is given back all at once. Strings and small arrays of a value (a config, a ruleset)
 * live in the arena of that value. A zeroed struct is an empty arena. Results are aligned for any
 * type; NULL means out of memory.
 */
#ifndef SIPFENCE_ARENA_H
#define SIPFENCE_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *last;
	size_t used; /* of the last block */
};

void *arena_alloc(struct arena *arena, size_t size);			  /* zeroed */
char *arena_copy(struct arena *arena, const char *string, size_t length); /* NUL-terminated */
void arena_free(struct arena *arena);

#endif
