/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "steady.h"

#include <string.h>

enum { YEAR = 365 * 24 * 3600, START = 1700000000 };

static struct clock_reading reading(int64_t wall, int64_t boottime, const char *boot_id)
{
	struct clock_reading result = {.wall = wall, .boottime = boottime};

	strcpy(result.boot_id, boot_id);
	return result;
}

static int64_t advance(
	const struct steady *last, int64_t wall, int64_t boottime, const char *boot_id)
{
	struct clock_reading now = reading(wall, boottime, boot_id);

	return steady_advance(last, &now).now;
}

static struct steady first(void)
{
	struct clock_reading now = reading(START, 100, "one");

	return steady_advance(NULL, &now);
}

static void test_begins_as_the_wall_clock(void **state)
{
	struct steady zero = {0};

	(void)state;
	assert_int_equal(first().now, START);
	assert_int_equal(advance(&zero, START, 100, "one"), START);
}

static void test_steps_within_a_boot_do_not_count(void **state)
{
	struct steady last = first();

	(void)state;
	assert_int_equal(advance(&last, START + 60, 160, "one"), START + 60);
	assert_int_equal(advance(&last, START + 10 * YEAR, 160, "one"), START + 60);
	assert_int_equal(advance(&last, 0, 160, "one"), START + 60);
}

static void test_reboot_counts_by_the_wall_clock(void **state)
{
	struct steady last = first();

	(void)state;
	assert_int_equal(advance(&last, START + 3600, 5, "two"), START + 3600);
	assert_int_equal(advance(&last, START + 3600, 5, ""), START + 3600);
}

static void test_waking_up_in_1970_is_no_time_travel(void **state)
{
	struct steady last = first(), awake;
	struct clock_reading early = reading(30, 5, "two");

	(void)state;
	awake = steady_advance(&last, &early);
	/* All that is known is how long ago the boot was. */
	assert_int_equal(awake.now, START + 5);
	assert_int_equal(advance(&last, 30, 46800, "two"), START + 46800);
	assert_int_equal(advance(&last, 30, 46800, ""), START);
	/* NTP sets the clock: only what has really passed counts. */
	assert_int_equal(advance(&awake, START + 7200, 65, "two"), START + 65);
	/* Or the clock is right again only in the next boot. */
	assert_int_equal(advance(&awake, START + 7200, 5, "three"), START + 7200);
}

static void test_never_backwards_and_never_over_the_end(void **state)
{
	struct steady last = {
		.now = INT64_MAX - 5, .at = {.wall = 1, .boottime = 1, .boot_id = "one"}};

	(void)state;
	assert_int_equal(advance(&last, 1, 0, "one"), INT64_MAX - 5);
	assert_int_equal(advance(&last, 1, 100, "one"), INT64_MAX);
}

static void test_shown_as_wall_time(void **state)
{
	struct steady last = first(), now;
	struct clock_reading stepped = reading(START + YEAR, 160, "one");

	(void)state;
	now = steady_advance(&last, &stepped);
	/* A minute ago, whatever the wall clock says now. */
	assert_int_equal(steady_to_wall(&now, START), START + YEAR - 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_begins_as_the_wall_clock),
		cmocka_unit_test(test_steps_within_a_boot_do_not_count),
		cmocka_unit_test(test_reboot_counts_by_the_wall_clock),
		cmocka_unit_test(test_waking_up_in_1970_is_no_time_travel),
		cmocka_unit_test(test_never_backwards_and_never_over_the_end),
		cmocka_unit_test(test_shown_as_wall_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
