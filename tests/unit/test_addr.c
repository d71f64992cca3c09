/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "addr.h"
#include "addr_order.h"

#include <arpa/inet.h>
#include <string.h>

enum { ROUNDS = 200000 };

static struct addr random_addr(struct dice *dice)
{
	struct addr addr = {.family = (uint8_t)dice_roll(dice, 2)};

	for (size_t i = 0; i < addr_size(addr.family); i++) {
		/* Many zeroes, so that "::" is met in all places. */
		addr.bytes[i] = dice_roll(dice, 2) ? 0 : (uint8_t)dice_next(dice);
	}
	return addr;
}

static void test_print_then_parse_gives_the_same(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct addr addr = random_addr(&dice), again;
		struct prefix prefix = prefix_of(
				      &addr, dice_roll(&dice, addr_bits(addr.family) + 1)),
			      prefix_again;
		char text[PREFIX_TEXT_SIZE];
		size_t length = addr_print(&addr, text);

		assert_int_equal(length, strlen(text));
		assert_true(length < ADDR_TEXT_SIZE);
		assert_true(addr_parse(text, length, &again));
		assert_memory_equal(&addr, &again, sizeof(addr));
		length = prefix_print(&prefix, text);
		assert_true(length < PREFIX_TEXT_SIZE);
		assert_int_equal(prefix_parse(text, length, &prefix_again), PREFIX_OK);
		assert_memory_equal(&prefix, &prefix_again, sizeof(prefix));
	}
}

enum { LONGEST = 300 };

static void check_order(const struct addr *addrs, struct addr_key *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		keys[i] = addr_key(&addrs[i], i);
	assert_int_equal(addr_keys_sort(keys, count), 0);
	for (size_t i = 1; i < count; i++) {
		int order = addr_compare(&addrs[keys[i - 1].index], &addrs[keys[i].index]);

		assert_true(order <= 0);
		/* Also: each index is there once. */
		if (order == 0)
			assert_true(keys[i - 1].index < keys[i].index);
	}
}

static void test_keys_are_sorted_as_addresses_are_compared(void **state)
{
	struct dice dice = dice_new(__func__);
	struct addr addrs[LONGEST];
	struct addr_key keys[LONGEST];

	(void)state;
	for (int round = 0; round < 5000; round++) {
		size_t count = dice_roll(&dice, LONGEST + 1);
		uint8_t family = (uint8_t)dice_roll(&dice, 2);
		/* Of some lists all bytes differ, of others one or none. */
		size_t first = dice_roll(&dice, 17), last = dice_roll(&dice, 17);

		for (size_t i = 0; i < count; i++) {
			addrs[i] = (struct addr){.family = family};
			for (size_t j = first; j < last && j < addr_size(family); j++)
				addrs[i].bytes[j] = (uint8_t)dice_next(&dice);
		}
		check_order(addrs, keys, count);
	}
}

static void test_print_agrees_with_inet_ntop(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct addr addr = random_addr(&dice);
		char ours[ADDR_TEXT_SIZE], theirs[ADDR_TEXT_SIZE];

		/* libc writes ::/96 with dots, RFC 5952 does not ask for that. */
		if (addr_special(&addr) == ADDR_MAPPED)
			continue;
		addr_print(&addr, ours);
		inet_ntop(addr.family == FAMILY_IPV4 ? AF_INET : AF_INET6, addr.bytes, theirs,
			sizeof(theirs));
		assert_string_equal(ours, theirs);
	}
}

/* Texts that are almost addresses: one byte of a good one replaced, dropped or doubled. */
static void test_parse_agrees_with_inet_pton(void **state)
{
	static const char bytes[] = "0123456789abcdefABCDEFg:./% ";
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct addr addr = random_addr(&dice), parsed;
		char text[64];
		size_t length = addr_print(&addr, text), at = dice_roll(&dice, (unsigned)length);
		uint8_t expected[16];
		bool good;

		switch (dice_roll(&dice, 3)) {
		case 0:
			text[at] = bytes[dice_roll(&dice, sizeof(bytes) - 1)];
			break;
		case 1:
			memmove(text + at, text + at + 1, length - at);
			length--;
			break;
		default:
			memmove(text + at + 1, text + at, length - at + 1);
			length++;
		}
		good = inet_pton(AF_INET, text, expected) == 1 ||
		       inet_pton(AF_INET6, text, expected) == 1;
		if (addr_parse(text, length, &parsed) != good)
			fail_msg("\"%s\" is %s address", text, good ? "an" : "no");
		if (good)
			assert_memory_equal(parsed.bytes, expected, addr_size(parsed.family));
	}
}

static void test_parse_refuses(void **state)
{
	static const char *const bad[] = {"", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4",
		"1.2.3.4 ", " 1.2.3.4", "0x1.2.3.4", "1..2.3", ":", ":::", "1:2:3:4:5:6:7",
		"::1%lo", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "::ffff:1.2.3", "::1.2.3.4:5",
		"1:2:3:4:5:6:7::8"};
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (addr_parse(bad[i], strlen(bad[i]), &addr))
			fail_msg("\"%s\" was taken for an address", bad[i]);
	}
	assert_false(addr_parse("1.2.3.4\0", 8, &addr));
}

static enum prefix_error parse_prefix(const char *text, struct prefix *prefix)
{
	return prefix_parse(text, strlen(text), prefix);
}

static void test_prefix_errors_are_told_apart(void **state)
{
	char text[PREFIX_TEXT_SIZE];
	struct prefix prefix;

	(void)state;
	assert_int_equal(parse_prefix("10.0.0.0/33", &prefix), PREFIX_BAD_LENGTH);
	assert_int_equal(parse_prefix("10.0.0.0/", &prefix), PREFIX_BAD_LENGTH);
	assert_int_equal(parse_prefix("10.0.0.0/8x", &prefix), PREFIX_BAD_LENGTH);
	assert_int_equal(parse_prefix("10.0.0.0/-1", &prefix), PREFIX_BAD_LENGTH);
	assert_int_equal(parse_prefix("2001:db8::/129", &prefix), PREFIX_BAD_LENGTH);
	assert_int_equal(parse_prefix("10.0.0/8", &prefix), PREFIX_BAD_ADDRESS);
	assert_int_equal(parse_prefix("10.1.2.3/9", &prefix), PREFIX_HOST_BITS);
	prefix_print(&prefix, text);
	assert_string_equal(text, "10.0.0.0/9");
	assert_int_equal(parse_prefix("0.0.0.0/0", &prefix), PREFIX_OK);
	assert_int_equal(parse_prefix("2001:db8::1", &prefix), PREFIX_OK);
	assert_int_equal(prefix.length, 128);
}

static void test_prefix_bounds(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct addr addr = random_addr(&dice), last, next;
		unsigned length = dice_roll(&dice, addr_bits(addr.family) + 1);
		struct prefix prefix = prefix_of(&addr, length), half;

		last = prefix_last(&prefix);
		assert_true(prefix_contains(&prefix, &addr));
		assert_true(prefix_contains(&prefix, &last));
		assert_true(addr_compare(&prefix.addr, &last) <= 0);
		if (addr_next(&last, &next)) {
			assert_false(prefix_contains(&prefix, &next));
			assert_true(addr_compare(&last, &next) < 0);
		}
		if (length == addr_bits(addr.family))
			continue;
		half = prefix_of(&addr, length + 1);
		assert_true(prefix_covers(&prefix, &half));
		assert_false(prefix_covers(&half, &prefix));
		/* What covers stands first, or folding would miss it. */
		assert_true(prefix_compare(&prefix, &half) < 0);
	}
}

static void test_special_blocks(void **state)
{
	static const struct {
		const char *text;
		enum addr_special special;
	} rows[] = {
		{"0.0.0.0", ADDR_UNSPECIFIED},
		{"::", ADDR_UNSPECIFIED},
		{"0.0.0.1", ADDR_THIS_NETWORK},
		{"0.255.255.255", ADDR_THIS_NETWORK},
		{"127.0.0.1", ADDR_LOOPBACK},
		{"127.255.255.255", ADDR_LOOPBACK},
		{"::1", ADDR_LOOPBACK},
		{"126.255.255.255", ADDR_ORDINARY},
		{"128.0.0.0", ADDR_ORDINARY},
		{"169.254.1.1", ADDR_LINK_LOCAL},
		{"169.253.255.255", ADDR_ORDINARY},
		{"fe80::1", ADDR_LINK_LOCAL},
		{"febf::1", ADDR_LINK_LOCAL},
		{"fec0::1", ADDR_ORDINARY},
		{"224.0.0.1", ADDR_MULTICAST},
		{"239.255.255.255", ADDR_MULTICAST},
		{"223.255.255.255", ADDR_ORDINARY},
		{"ff02::1", ADDR_MULTICAST},
		{"240.0.0.0", ADDR_RESERVED},
		{"255.255.255.255", ADDR_RESERVED},
		{"::ffff:1.2.3.4", ADDR_MAPPED},
		{"::1.2.3.4", ADDR_MAPPED},
		{"10.0.0.0", ADDR_PRIVATE},
		{"9.255.255.255", ADDR_ORDINARY},
		{"172.16.0.0", ADDR_PRIVATE},
		{"172.31.255.255", ADDR_PRIVATE},
		{"172.32.0.0", ADDR_ORDINARY},
		{"172.15.255.255", ADDR_ORDINARY},
		{"192.168.0.0", ADDR_PRIVATE},
		{"192.169.0.0", ADDR_ORDINARY},
		{"100.64.0.0", ADDR_PRIVATE},
		{"100.127.255.255", ADDR_PRIVATE},
		{"100.128.0.0", ADDR_ORDINARY},
		{"fc00::1", ADDR_PRIVATE},
		{"fdff::1", ADDR_PRIVATE},
		{"fe00::1", ADDR_ORDINARY},
		{"203.0.113.10", ADDR_ORDINARY},
		{"2001:db8::1", ADDR_ORDINARY},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr addr;

		assert_true(addr_parse(rows[i].text, strlen(rows[i].text), &addr));
		if (addr_special(&addr) != rows[i].special)
			fail_msg("%s is %s", rows[i].text, addr_special_name(addr_special(&addr)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_then_parse_gives_the_same),
		cmocka_unit_test(test_keys_are_sorted_as_addresses_are_compared),
		cmocka_unit_test(test_print_agrees_with_inet_ntop),
		cmocka_unit_test(test_parse_agrees_with_inet_pton),
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_prefix_errors_are_told_apart),
		cmocka_unit_test(test_prefix_bounds),
		cmocka_unit_test(test_special_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
