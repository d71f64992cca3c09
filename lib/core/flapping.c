/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t room_of(uint32_t limit)
{
	return (limit < FLAPPING_LIMIT_MAX ? limit : FLAPPING_LIMIT_MAX) + 1;
}

/* Drops the oldest until `most` are left. */
static void trim(struct changes *changes, uint32_t most)
{
	uint32_t surplus;

	if (changes->count <= most)
		return;
	surplus = changes->count - most;
	memmove(changes->times, changes->times + surplus, most * sizeof(changes->times[0]));
	changes->count = most;
}

int changes_add(struct changes **changes, uint32_t limit, int64_t now)
{
	struct changes *grown = *changes;

	if (grown)
		trim(grown, changes_within(grown, now));
	if (!grown || grown->count < room_of(limit)) {
		uint32_t count = grown ? grown->count : 0;

		grown = realloc(grown, sizeof(*grown) + (count + 1) * sizeof(grown->times[0]));
		if (!grown)
			return -ENOMEM;
		if (!*changes)
			*grown = (struct changes){.flapping = false};
		*changes = grown;
	} else {
		trim(grown, room_of(limit) - 1);
	}
	grown->times[grown->count++] = now;
	return 0;
}

uint32_t changes_within(const struct changes *changes, int64_t now)
{
	uint32_t old = 0;

	if (!changes)
		return 0;
	while (old < changes->count && now - changes->times[old] >= FLAPPING_WITHIN)
		old++;
	return changes->count - old;
}

bool changes_flapping(const struct changes *changes)
{
	return changes && changes->flapping;
}

void changes_say(struct changes *changes)
{
	if (changes)
		changes->said = changes->flapping;
}

bool changes_judge(struct changes **changes, uint32_t limit, int64_t now)
{
	struct changes *known = *changes;
	uint32_t count = changes_within(known, now);

	if (!known)
		return false;
	known->flapping = count > (known->flapping ? limit / 2 : limit);
	if (known->flapping != known->said)
		return true;
	if (count == 0) {
		free(known);
		*changes = NULL;
	}
	return false;
}

int64_t changes_end(const struct changes *changes, uint32_t limit)
{
	uint32_t last;

	if (!changes_flapping(changes))
		return INT64_MAX;
	/* The one whose leaving makes the rest few enough. */
	last = changes->count > limit / 2 ? changes->count - limit / 2 - 1 : 0;
	return changes->count ? changes->times[last] + FLAPPING_WITHIN : 0;
}

int changes_copy(const struct changes *changes, struct changes **ret_copy)
{
	struct changes *copy = NULL;
	size_t size;

	if (changes) {
		size = sizeof(*changes) + changes->count * sizeof(changes->times[0]);
		copy = malloc(size);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, changes, size);
	}
	*ret_copy = copy;
	return 0;
}

void changes_restore(struct changes *changes, int64_t now)
{
	for (uint32_t i = 0; changes && i < changes->count; i++) {
		if (changes->times[i] > now)
			changes->times[i] = now;
	}
}
