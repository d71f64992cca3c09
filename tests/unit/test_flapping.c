/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "flapping.h"
#include "host.h"

#include <string.h>

enum { HOUR = 3600, START = 1700000000, LIMIT = 12 };

static void add(struct changes **changes, int count, int64_t first, int64_t gap)
{
	for (int i = 0; i < count; i++)
		assert_int_equal(changes_add(changes, LIMIT, first + i * gap), 0);
}

static void test_one_more_than_the_limit(void **state)
{
	struct changes *changes = NULL;

	(void)state;
	add(&changes, LIMIT, START, 60);
	assert_false(changes_judge(&changes, LIMIT, START + 720));
	assert_false(changes_flapping(changes));
	add(&changes, 1, START + 720, 0);
	assert_true(changes_judge(&changes, LIMIT, START + 720));
	assert_true(changes_flapping(changes));
	assert_int_equal(changes_within(changes, START + 720), LIMIT + 1);
	/* Until it was said, it is news. */
	assert_true(changes_judge(&changes, LIMIT, START + 721));
	changes_say(changes);
	assert_false(changes_judge(&changes, LIMIT, START + 722));
	free(changes);
}

static void test_as_many_over_more_than_an_hour(void **state)
{
	struct changes *changes = NULL;

	(void)state;
	/* Every five minutes: 12 of them in any hour. */
	for (int i = 0; i < 100; i++) {
		add(&changes, 1, START + i * 300, 0);
		assert_false(changes_judge(&changes, LIMIT, START + i * 300));
	}
	assert_true(changes->count <= LIMIT + 1);
	free(changes);
}

static void test_ends_at_half_the_limit(void **state)
{
	struct changes *changes = NULL;
	int64_t end;

	(void)state;
	add(&changes, LIMIT + 1, START, 60);
	assert_true(changes_judge(&changes, LIMIT, START + 720));
	changes_say(changes);
	end = changes_end(changes, LIMIT);
	/* The seventh leaves, six are left. */
	assert_int_equal(end, START + 6 * 60 + HOUR);
	assert_false(changes_judge(&changes, LIMIT, end - 1));
	assert_true(changes_judge(&changes, LIMIT, end));
	assert_false(changes_flapping(changes));
	assert_int_equal(changes_within(changes, end), 6);
	changes_say(changes);
	assert_int_equal(changes_end(changes, LIMIT), INT64_MAX);
	/* Nothing is kept of a name that has not changed for an hour. */
	assert_false(changes_judge(&changes, LIMIT, START + 720 + HOUR));
	assert_null(changes);
}

static void test_limit_of_one(void **state)
{
	struct changes *changes = NULL;

	(void)state;
	assert_int_equal(changes_add(&changes, 1, START), 0);
	assert_false(changes_judge(&changes, 1, START));
	assert_int_equal(changes_add(&changes, 1, START + 10), 0);
	assert_true(changes_judge(&changes, 1, START + 10));
	changes_say(changes);
	assert_int_equal(changes_end(changes, 1), START + 10 + HOUR);
	assert_true(changes_judge(&changes, 1, START + 10 + HOUR));
	free(changes);
}

static void test_memory_is_bounded(void **state)
{
	struct changes *changes = NULL;
	uint32_t most = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		assert_int_equal(changes_add(&changes, LIMIT, START + i), 0);
		most = changes->count > most ? changes->count : most;
	}
	assert_int_equal(most, LIMIT + 1);
	assert_int_equal(changes->times[0], START + 100000 - LIMIT - 1);
	free(changes);
}

static void test_lower_and_higher_limit(void **state)
{
	struct changes *changes = NULL;

	(void)state;
	add(&changes, 8, START, 1);
	assert_false(changes_judge(&changes, LIMIT, START + 8));
	assert_true(changes_judge(&changes, 7, START + 8));
	changes_say(changes);
	assert_true(changes_judge(&changes, 100, START + 8));
	assert_int_equal(changes_add(&changes, 3, START + 9), 0);
	assert_int_equal(changes->count, 4);
	assert_int_equal(changes->times[3], START + 9);
	free(changes);
}

static void test_clock_that_went_backwards(void **state)
{
	struct changes *changes = NULL;

	(void)state;
	add(&changes, LIMIT + 1, START + 10 * HOUR, 1);
	changes_restore(changes, START);
	assert_true(changes_judge(&changes, LIMIT, START));
	changes_say(changes);
	assert_true(changes_judge(&changes, LIMIT, START + HOUR));
	free(changes);
	changes_restore(NULL, START);
	assert_false(changes_flapping(NULL));
	changes_say(NULL);
}

static struct answer answer_of(struct addr *addr, enum family family, uint8_t last)
{
	*addr = (struct addr){.family = (uint8_t)family, .bytes = {45, 1, 1, last}};
	return (struct answer){.kind = ANSWER_ADDRESSES, .ttl = 30, .count = 1, .addrs = addr};
}

/* As the cycle and the engine do it. */
static void take(struct host *host, enum family family, uint8_t last, int64_t now)
{
	struct addr addr;
	struct answer answer = answer_of(&addr, family, last);
	bool had_answer = host->lookup[family].good != 0;

	if (host_take(host, family, &answer, 0, now) > 0)
		host_count_change(host, had_answer, LIMIT, now);
}

static void test_what_counts_of_a_host(void **state)
{
	struct host host = {.name = "home21.example"};

	(void)state;
	take(&host, FAMILY_IPV4, 1, START);
	take(&host, FAMILY_IPV6, 1, START);
	assert_null(host.changes); /* the first answer of each family */
	take(&host, FAMILY_IPV4, 1, START + 10);
	take(&host, FAMILY_IPV6, 1, START + 10);
	assert_null(host.changes); /* the same again */
	take(&host, FAMILY_IPV4, 2, START + 20);
	take(&host, FAMILY_IPV4, 1, START + 30); /* back again: a rotation */
	assert_int_equal(changes_within(host.changes, START + 30), 2);
	take(&host, FAMILY_IPV6, 2, START + 40);
	assert_int_equal(changes_within(host.changes, START + 40), 3);
	host_clear(&host);
	assert_null(host.changes);
}

static void test_inherited_with_the_host(void **state)
{
	static const struct guard guard = {.max_addresses = 8};
	static const struct surroundings nothing = {0};
	struct host host = {.name = "home21.example"}, heir = {.name = "home21.example"};

	(void)state;
	for (uint8_t i = 0; i < 14; i++)
		take(&host, FAMILY_IPV4, i, START + i);
	assert_true(changes_judge(&host.changes, LIMIT, START + 14));
	changes_say(host.changes);
	assert_int_equal(host_inherit(&heir, &host, &guard, &nothing), 0);
	host_clear(&host);
	assert_true(changes_flapping(heir.changes));
	assert_true(heir.changes->said);
	assert_int_equal(changes_within(heir.changes, START + 14), LIMIT + 1);
	host_clear(&heir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_more_than_the_limit),
		cmocka_unit_test(test_as_many_over_more_than_an_hour),
		cmocka_unit_test(test_ends_at_half_the_limit),
		cmocka_unit_test(test_limit_of_one),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_lower_and_higher_limit),
		cmocka_unit_test(test_clock_that_went_backwards),
		cmocka_unit_test(test_what_counts_of_a_host),
		cmocka_unit_test(test_inherited_with_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
