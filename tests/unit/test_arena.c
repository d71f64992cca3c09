/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LARGE = 100000, DIRTY = 40, BLOCK = 64 * 1024 };

/* Leaves memory behind that malloc() gives out again as it is. */
static void leave_dirt(void)
{
	void *pieces[DIRTY];

	for (size_t i = 0; i < DIRTY; i++) {
		pieces[i] = malloc(BLOCK);
		assert_non_null(pieces[i]);
		memset(pieces[i], 0xa5, BLOCK);
	}
	for (size_t i = 0; i < DIRTY; i++)
		free(pieces[i]);
}

static void check_zeroed(const unsigned char *piece, size_t size)
{
	assert_int_equal((uintptr_t)piece % _Alignof(max_align_t), 0);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(piece[i], 0);
}

static void test_pieces_are_zeroed_and_strings_end(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int round = 0; round < 200; round++) {
		struct arena arena = {0};

		leave_dirt();
		for (int i = 0; i < 60; i++) {
			size_t size = dice_roll(&dice, 20) ? dice_roll(&dice, 3000)
							   : dice_roll(&dice, LARGE);
			unsigned char *piece = arena_alloc(&arena, size);
			char *copied, *none;

			assert_non_null(piece);
			check_zeroed(piece, size);
			memset(piece, 'x', size);
			copied = arena_copy(&arena, (const char *)piece, size);
			none = arena_copy(&arena, NULL, 0);
			assert_non_null(copied);
			assert_int_equal(strlen(copied), size);
			assert_string_equal(none, "");
		}
		arena_free(&arena);
	}
}

static void test_pieces_do_not_overlap(void **state)
{
	struct arena arena = {0};
	unsigned char *pieces[250];

	(void)state;
	for (size_t i = 0; i < 250; i++) {
		size_t size = i % 50 ? 2000 : LARGE;

		pieces[i] = arena_alloc(&arena, size);
		assert_non_null(pieces[i]);
		memset(pieces[i], (int)i, size);
	}
	for (size_t i = 0; i < 250; i++)
		for (size_t j = 0; j < (i % 50 ? 2000 : LARGE); j++)
			assert_int_equal(pieces[i][j], i);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces_are_zeroed_and_strings_end),
		cmocka_unit_test(test_pieces_do_not_overlap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
