/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sightings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct prefix parse(const char *string)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(string, strlen(string), &prefix), PREFIX_OK);
	return prefix;
}

static void note(struct sightings *sightings, const char *string, uint64_t packets, int64_t now)
{
	struct element element = {.prefix = parse(string), .packets = packets};
	struct set set = {.kind = SET_HOSTS, .elements = &element, .count = 1};

	assert_int_equal(sightings_note(sightings, &set, 1, now), 0);
}

static int64_t moved(const struct sightings *sightings, const char *string, uint64_t packets)
{
	struct prefix prefix = parse(string);
	uint64_t found;
	int64_t at;

	assert_true(sightings_find(sightings, &prefix, &found, &at));
	assert_int_equal(found, packets);
	return at;
}

static void test_time_of_a_move(void **state)
{
	struct sightings sightings = {0};

	(void)state;
	note(&sightings, "203.0.113.7", 5, 1000);
	assert_int_equal(moved(&sightings, "203.0.113.7", 5), 0);
	note(&sightings, "203.0.113.7", 6, 1300);
	assert_int_equal(moved(&sightings, "203.0.113.7", 6), 1300);
	note(&sightings, "203.0.113.7", 6, 1600);
	assert_int_equal(moved(&sightings, "203.0.113.7", 6), 1300);
	assert_int_equal(sightings.since, 1000);
	assert_int_equal(sightings.at, 1600);
	sightings_clear(&sightings);
}

/* An element that is new has counted since; one that counts nothing has not moved. */
static void test_new_elements(void **state)
{
	struct sightings sightings = {0};

	(void)state;
	note(&sightings, "203.0.113.7", 5, 1000);
	note(&sightings, "2001:db8::1", 3, 1300);
	assert_int_equal(moved(&sightings, "2001:db8::1", 3), 1300);
	note(&sightings, "203.0.113.7", 0, 1600);
	assert_int_equal(moved(&sightings, "203.0.113.7", 0), 0);
	sightings_clear(&sightings);
}

static void test_sets_are_added_and_nets_hold_addresses(void **state)
{
	struct element host = {.prefix = parse("203.0.113.7"), .packets = 5};
	struct element net = {.prefix = parse("203.0.112.0/23"), .packets = UINT64_C(5000000000)};
	struct set sets[] = {
		{.kind = SET_HOSTS, .elements = &host, .count = 1},
		{.kind = SET_HOSTS, .elements = &host, .count = 1},
		{.kind = SET_NETS, .elements = &net, .count = 1},
		{.kind = SET_REJECTED, .elements = &host, .count = 1},
	};
	struct sightings sightings = {0};
	struct prefix stranger = parse("203.0.114.1");
	uint64_t packets;
	int64_t at;

	(void)state;
	assert_int_equal(sightings_note(&sightings, sets, 4, 1000), 0);
	assert_int_equal(moved(&sightings, "203.0.113.7", UINT64_C(5000000010)), 0);
	assert_int_equal(moved(&sightings, "203.0.112.0/23", UINT64_C(5000000000)), 0);
	assert_false(sightings_find(&sightings, &stranger, &packets, &at));
	sightings_clear(&sightings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_of_a_move),
		cmocka_unit_test(test_new_elements),
		cmocka_unit_test(test_sets_are_added_and_nets_hold_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
