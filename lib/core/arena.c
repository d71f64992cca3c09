/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 64 * 1024 - 64 };

struct arena_block {
	struct arena_block *previous;
	size_t size;
	alignas(max_align_t) char data[];
};

/* A large piece gets a zeroed block of its own, put behind the current one, so that the rest of the
 * current block stays in use. */
static void *alloc_large(struct arena *arena, size_t size)
{
	struct arena_block *block;

	if (size > SIZE_MAX - sizeof(*block))
		return NULL;
	block = calloc(1, sizeof(*block) + size);
	if (!block)
		return NULL;
	block->size = size;
	if (arena->last) {
		block->previous = arena->last->previous;
		arena->last->previous = block;
	} else {
		arena->last = block;
		arena->used = size;
	}
	return block->data;
}

/* Not zeroed; `align` is a power of two. NULL: it needs a new block. */
static void *alloc_here(struct arena *arena, size_t size, size_t align)
{
	struct arena_block *block = arena->last;
	size_t start = (arena->used + align - 1) & ~(align - 1);

	if (!block || start > block->size || size > block->size - start)
		return NULL;
	arena->used = start + size;
	return block->data + start;
}

/* For a piece that is not large, at its start. */
static void *alloc_block(struct arena *arena, size_t size)
{
	struct arena_block *block;

	/* Not zeroed: of a block that stays nearly empty, most pages are never touched. */
	block = malloc(sizeof(*block) + BLOCK_SIZE);
	if (!block)
		return NULL;
	block->size = BLOCK_SIZE;
	block->previous = arena->last;
	arena->last = block;
	arena->used = size;
	return block->data;
}

static bool is_large(size_t size)
{
	return size >= BLOCK_SIZE / 4;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	void *piece = alloc_here(arena, size, alignof(max_align_t));

	if (!piece && is_large(size))
		return alloc_large(arena, size);
	if (!piece)
		piece = alloc_block(arena, size);
	return piece ? memset(piece, 0, size) : NULL;
}

char *arena_copy(struct arena *arena, const char *string, size_t length)
{
	char *copy;

	if (length == SIZE_MAX)
		return NULL;
	copy = alloc_here(arena, length + 1, 1);
	if (!copy)
		copy = is_large(length + 1) ? alloc_large(arena, length + 1)
					    : alloc_block(arena, length + 1);
	if (!copy)
		return NULL;
	if (length)
		memcpy(copy, string, length);
	copy[length] = '\0';
	return copy;
}

void arena_free(struct arena *arena)
{
	struct arena_block *block = arena->last;

	while (block) {
		struct arena_block *previous = block->previous;

		free(block);
		block = previous;
	}
	*arena = (struct arena){0};
}
