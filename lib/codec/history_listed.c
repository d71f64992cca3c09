/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history.h"

#include <string.h>

/* Its code becomes a part of this file: no library to load. */
#define XXH_INLINE_ALL
#include <xxhash.h>

static void digest_of(uint64_t seed, const char *listing, size_t length, uint64_t ret_digest[2])
{
	XXH128_hash_t hash = XXH3_128bits_withSeed(listing, length, seed);

	ret_digest[0] = hash.high64;
	ret_digest[1] = hash.low64;
}

void history_print_listed(size_t size, uint64_t seed, int64_t now, const char *listing,
	size_t listing_length, struct text *text)
{
	struct history_line line = {
		.word = HISTORY_LISTED, .when = now, .size = size, .seed = seed};

	digest_of(seed, listing, listing_length, line.digest);
	history_print_line(&line, text);
}

bool history_is_listed(
	const char *end, size_t length, size_t size, const char *listing, size_t listing_length)
{
	char buffer[HISTORY_LINE_MAX];
	struct history_line line;
	uint64_t digest[2];
	const char *before;
	size_t at;

	/* What stands behind a piece of a line that was lost is no answer either. */
	if (length < 2 || end[length - 1] != '\n')
		return false;
	before = memrchr(end, '\n', length - 1);
	if (!before)
		return false;
	at = (size_t)(before + 1 - end);
	if (!history_parse_line(end + at, length - 1 - at, buffer, &line) ||
		line.word != HISTORY_LISTED || line.size != size - (length - at))
		return false;
	digest_of(line.seed, listing, listing_length, digest);
	return memcmp(digest, line.digest, sizeof(digest)) == 0;
}
