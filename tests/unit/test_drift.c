/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "drift.h"

#include <string.h>

enum { ROUNDS = 2000, WORLD = 16 };

static struct element element(unsigned host, unsigned length)
{
	struct addr addr = {.family = FAMILY_IPV4, .bytes = {203, 0, 113, (uint8_t)host}};

	return (struct element){.prefix = prefix_of(&addr, length)};
}

/* Of bit i the address 203.0.113.i; the elements come into `room`. */
static struct set hosts_of(const char *name, unsigned bits, struct element room[WORLD])
{
	struct set set = {.name = name, .kind = SET_HOSTS, .elements = room};

	for (unsigned i = 0; i < WORLD; i++) {
		if (bits >> i & 1)
			room[set.count++] = element(i, 32);
	}
	return set;
}

static void check_drifted(const struct drifted *drifted, unsigned bits)
{
	size_t count = 0;

	for (unsigned i = 0; i < WORLD; i++) {
		struct element expected = element(i, 32);

		if (!(bits >> i & 1))
			continue;
		if (count < DRIFT_NAMED) {
			assert_string_equal(drifted->first[count].set, "sip_hosts4");
			assert_int_equal(
				prefix_compare(&drifted->first[count].prefix, &expected.prefix), 0);
		}
		count++;
	}
	assert_int_equal(drifted->count, count);
}

static void test_what_is_there_and_what_is_not(void **state)
{
	struct dice dice = dice_new(__func__);
	struct element mine[WORLD], theirs[WORLD];

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		unsigned put_bits = dice_roll(&dice, 1u << WORLD);
		unsigned found_bits =
			dice_roll(&dice, 4) ? dice_roll(&dice, 1u << WORLD) : put_bits;
		struct set put = hosts_of("sip_hosts4", put_bits, mine);
		struct set found = hosts_of("sip_hosts4", found_bits, theirs);
		struct ruleset ruleset = {.sets = &put, .set_count = 1};
		struct observed observed = {.sets = &found, .set_count = 1};
		struct drift drift;

		drift_find(&ruleset, &observed, &drift);
		check_drifted(&drift.added, found_bits & ~put_bits);
		check_drifted(&drift.missing, put_bits & ~found_bits);
		assert_int_equal(drift_any(&drift), put_bits != found_bits);
	}
}

/* A counter runs, a comment is for people, and strangers who knock are no elements of ours. */
static void test_what_is_no_matter(void **state)
{
	struct element mine[WORLD], theirs[WORLD], knocker = element(66, 32);
	struct set put[] = {hosts_of("sip_hosts4", 1, mine),
		{.name = "sip_rejected4", .kind = SET_REJECTED},
		{.name = "sip_revoked4", .kind = SET_REVOKED}};
	struct set found[] = {hosts_of("sip_hosts4", 1, theirs),
		{.name = "sip_rejected4", .kind = SET_REJECTED, .elements = &knocker, .count = 1},
		{.name = "sip_revoked4", .kind = SET_REVOKED, .elements = &knocker, .count = 1}};
	struct ruleset ruleset = {.sets = put, .set_count = 3};
	struct observed observed = {.sets = found, .set_count = 3};
	struct drift drift;

	(void)state;
	mine[0].comment = "21 home21.example";
	theirs[0].packets = 7;
	drift_find(&ruleset, &observed, &drift);
	assert_false(drift_any(&drift));
}

static void check_words(unsigned put_bits, unsigned found_bits, const char *expected)
{
	struct element mine[WORLD], theirs[WORLD];
	struct set put = hosts_of("sip_hosts4", put_bits, mine);
	struct set found = hosts_of("sip_hosts4", found_bits, theirs);
	struct ruleset ruleset = {.sets = &put, .set_count = 1};
	struct observed observed = {.sets = &found, .set_count = 1};
	struct text text = {0};
	struct drift drift;

	drift_find(&ruleset, &observed, &drift);
	drift_print(&drift, &text);
	assert_string_equal(text_string(&text), expected);
	text_free(&text);
}

static void test_words(void **state)
{
	(void)state;
	check_words(1, 1, "");
	check_words(0, 2, "1 element was added: 203.0.113.1 (sip_hosts4)");
	check_words(2, 0, "1 element is missing: 203.0.113.1 (sip_hosts4)");
	check_words(1, 6,
		"2 elements were added: 203.0.113.1 (sip_hosts4), 203.0.113.2 (sip_hosts4); "
		"1 is missing: 203.0.113.0 (sip_hosts4)");
	check_words(
		6, 0, "2 elements are missing: 203.0.113.1 (sip_hosts4), 203.0.113.2 (sip_hosts4)");
	check_words(0x7f, 0,
		"7 elements are missing: 203.0.113.0 (sip_hosts4), 203.0.113.1 (sip_hosts4), "
		"203.0.113.2 (sip_hosts4), 203.0.113.3 (sip_hosts4), 203.0.113.4 (sip_hosts4) "
		"and 2 more");
}

/* A prefix is its length, too; a set that the kernel has not is one without elements. */
static void test_prefixes(void **state)
{
	struct element mine[] = {element(0, 28), element(16, 28)}, theirs[] = {element(0, 29)};
	struct set put[] = {
		{.name = "sip_nets4", .kind = SET_NETS, .elements = mine, .count = 1},
		{.name = "web_nets4", .kind = SET_NETS, .elements = mine + 1, .count = 1},
	};
	struct set found = {.name = "sip_nets4", .kind = SET_NETS, .elements = theirs, .count = 1};
	struct ruleset ruleset = {.sets = put, .set_count = 2};
	struct observed observed = {.sets = &found, .set_count = 1};
	struct text text = {0};
	struct drift drift;

	(void)state;
	drift_find(&ruleset, &observed, &drift);
	drift_print(&drift, &text);
	assert_string_equal(text_string(&text),
		"1 element was added: 203.0.113.0/29 (sip_nets4); 2 are missing: 203.0.113.0/28 "
		"(sip_nets4), 203.0.113.16/28 (web_nets4)");
	text_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_there_and_what_is_not),
		cmocka_unit_test(test_what_is_no_matter),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
