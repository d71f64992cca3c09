/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all fuzz targets share. A target is one file with LLVMFuzzerTestOneInput(), which takes any
 * bytes as what a module gets from outside, and ends the process when a promise of that module is
 * broken. The same file is linked with libFuzzer (tests/fuzz/run), and with replay_inputs.c, which
 * feeds it the files of corpus/ and regressions/ as a unit test.
 */
#ifndef SIPFENCE_FUZZ_H
#define SIPFENCE_FUZZ_H

#include "addr.h"
#include "answer.h"
#include "config.h"
#include "config_yaml.h"
#include "plan.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that must hold for every input. */
#define FUZZ_CHECK(promise)                                                                        \
	do {                                                                                       \
		if (!(promise)) {                                                                  \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__,         \
				#promise);                                                         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A copy that ends where the input ends, so that reading on is seen. free() it. */
static inline void *fuzz_copy(const void *data, size_t size)
{
	void *copy = malloc(size ? size : 1);

	FUZZ_CHECK(copy);
	if (size)
		memcpy(copy, data, size);
	return copy;
}

/* The input from its front: decisions that are not part of what the module reads. */
struct fuzz_bytes {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_bytes *bytes)
{
	if (bytes->left == 0)
		return 0;
	bytes->left--;
	return *bytes->at++;
}

/* At most `most` of the rest. */
static inline struct fuzz_bytes fuzz_piece(struct fuzz_bytes *bytes, size_t most)
{
	struct fuzz_bytes piece = {bytes->at, most < bytes->left ? most : bytes->left};

	bytes->at += piece.left;
	bytes->left -= piece.left;
	return piece;
}

/* The same number for the same bytes. */
static inline uint64_t fuzz_hash(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint64_t hash = 0xcbf29ce484222325;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3;
	return hash ^ hash >> 32;
}

/* Printable ASCII, and of control characters only those in `also`. */
static inline bool fuzz_is_printable(const char *string, size_t length, const char *also)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)string[i];

		if ((byte < 0x20 || byte > 0x7e) && (byte == 0 || !strchr(also, byte)))
			return false;
	}
	return true;
}

static inline bool fuzz_same_text(const struct text *a, const struct text *b)
{
	return a->length == b->length &&
	       (a->length == 0 || memcmp(a->data, b->data, a->length) == 0);
}

/* No host bits, no bytes behind the family's. */
static inline bool fuzz_prefix_is_good(const struct prefix *prefix)
{
	struct prefix clean;

	if (prefix->addr.family >= FAMILY_COUNT ||
		prefix->length > addr_bits((enum family)prefix->addr.family))
		return false;
	clean = prefix_of(&prefix->addr, prefix->length);
	return prefix_compare(&clean, prefix) == 0;
}

/* --- fuzz_common.c --- */

/* What an answer may look like, whoever decoded it (core/answer.h, codec/dns_message.h). */
void fuzz_check_answer(const struct answer *answer, bool srv);

/* The config's own promises (core/config.h). */
void fuzz_check_config(const struct config *config);

/* A config from text; ends the process when that is wrong. */
struct config *fuzz_config(const char *text);

/*
 * Several files in one input: a line "%%% NAME" begins the file NAME, and what stands before the
 * first one is the main file.
 */
enum { FUZZ_FILES_MAX = 16, FUZZ_NAME_SIZE = 64 };

struct fuzz_file {
	char name[FUZZ_NAME_SIZE];
	const char *data;
	size_t length;
};

struct fuzz_files {
	struct fuzz_file list[FUZZ_FILES_MAX];
	size_t count;
};

struct fuzz_files fuzz_split(const char *data, size_t size);
/* A config_read_fn (codec/config_yaml.h); `context` is a struct fuzz_files. */
int fuzz_read_files(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error);

/*
 * All that follows from config and names: allowlist, ruleset, its text, its batches. The batch that
 * installs the table, read back as the kernel's dump, must be that table, and leave nothing to do.
 * `script` (NULL: nobody wants it) gets the nft script.
 */
struct roster;
void fuzz_check_ruleset(
	const struct config *config, const struct roster *roster, int64_t now, struct text *script);

/* Batches are whole messages, in order, each within the others' bounds. */
struct nft_batch;
void fuzz_check_batch(const struct nft_batch *batch);

#endif
