/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pace on simulated paths: a server with a delay, a rate, and room for so many at once. */
#include "check.h"

#include "pace.h"

enum { MILLISECOND = 1000, SECOND = 1000 * MILLISECOND };

/* Each answer of `count` comes `round_trip` after its question, as many at once as the pace allows.
 * Returns the microseconds that all of it took. */
static int64_t run(struct pace *pace, int count, int64_t round_trip, int64_t now)
{
	int64_t start = now;

	while (count > 0) {
		uint32_t wave = 0;

		while (wave < (uint32_t)count && pace_allows(pace, wave, wave))
			wave++;
		now += round_trip;
		count -= (int)wave;
		for (uint32_t i = 0; i < wave; i++)
			pace_heard(pace, round_trip, count > 0, now);
	}
	return now - start;
}

static void test_fixed_is_kept(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 7);
	assert_true(pace_allows(&pace, 0, 6));
	assert_false(pace_allows(&pace, 0, 7));
	run(&pace, 1000, 20 * MILLISECOND, SECOND);
	pace_shrink(&pace, 10000);
	assert_int_equal(pace.limit, 7);
}

static void test_long_path_is_filled(void **state)
{
	struct pace pace;
	int64_t took;

	(void)state;
	pace_init(&pace, 0);
	/* 2,000 questions, 20 ms away: the pipe opens within a few round trips. */
	took = run(&pace, 2000, 20 * MILLISECOND, SECOND);
	assert_true(took <= 3 * 20 * MILLISECOND);
	assert_true(pace.limit > PACE_START && pace.limit <= PACE_MOST);
}

/* A server that answers `rate` questions a second, one after the other, `round_trip` away. Returns
 * the most that ever waited there. */
static uint32_t run_slow(struct pace *pace, int count, int64_t round_trip, int64_t rate)
{
	static int64_t sent[1 << 16], due[1 << 16];
	uint32_t most = 0;
	int asked = 0, answered = 0;
	int64_t now = SECOND, idle = 0;

	while (answered < count) {
		while (asked < count && pace_allows(pace, (uint32_t)(asked - answered),
						(uint32_t)(asked - answered))) {
			int64_t start = now + round_trip / 2;
			uint32_t waiting;

			idle = (idle > start ? idle : start) + SECOND / rate;
			waiting = (uint32_t)((idle - start) * rate / SECOND);
			most = waiting > most ? waiting : most;
			sent[asked] = now;
			due[asked++] = idle + round_trip / 2;
		}
		now = due[answered];
		pace_heard(pace, now - sent[answered], asked < count, now);
		answered++;
	}
	return most;
}

static void test_a_small_server_is_not_flooded(void **state)
{
	struct pace small, fast;
	uint32_t most;

	(void)state;
	/* 5,000 a second, 20 ms: 100 fill the path, and the rest waits at the server. */
	pace_init(&small, 0);
	most = run_slow(&small, 20000, 20 * MILLISECOND, 5000);
	assert_true(most <= 4 * PACE_START);
	assert_true(small.limit <= 2 * PACE_START);
	pace_init(&fast, 0);
	run_slow(&fast, 20000, 20 * MILLISECOND, 500000);
	assert_true(fast.limit > 10 * PACE_START);
}

static void test_short_path_needs_no_growth(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	run(&pace, 20000, 100, SECOND);
	assert_int_equal(pace.limit, PACE_START);
}

static void test_never_more_than_the_most(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	run(&pace, 1000000, 500 * MILLISECOND, SECOND);
	assert_int_equal(pace.limit, PACE_MOST);
	assert_false(pace_allows(&pace, 0, PACE_UNDER_WAY_MOST));
}

static void test_losses_halve_it_once_at_a_time(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	pace_heard(&pace, 1000, true, SECOND);
	pace_lost(&pace);
	pace_weigh_losses(&pace, 1000);
	assert_int_equal(pace.limit, PACE_START / 2);
	pace_heard(&pace, 1000, true, SECOND);
	pace_lost(&pace);
	/* Twice the patience of 100 ms: what is lost meanwhile was sent before. */
	pace_weigh_losses(&pace, 1199);
	assert_int_equal(pace.limit, PACE_START / 2);
	pace_weigh_losses(&pace, 1200);
	assert_int_equal(pace.limit, PACE_START / 4 > PACE_LEAST ? PACE_START / 4 : PACE_LEAST);
	for (int64_t now = 3000; now < 20000; now += 1000)
		pace_shrink(&pace, now);
	assert_int_equal(pace.limit, PACE_LEAST);
}

static void test_a_few_losses_are_bad_names(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	for (int i = 0; i < 100; i++)
		pace_heard(&pace, 1000, true, SECOND);
	for (int i = 0; i < 5; i++)
		pace_lost(&pace);
	pace_weigh_losses(&pace, 1000);
	assert_int_equal(pace.limit, PACE_START);
}

static void test_a_dead_server_is_not_a_full_pipe(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	for (int i = 0; i < 100; i++)
		pace_lost(&pace);
	pace_weigh_losses(&pace, 1000);
	assert_int_equal(pace.limit, PACE_START);
}

static void test_old_losses_are_forgotten(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	for (int i = 0; i < 16; i++)
		pace_lost(&pace);
	for (int64_t now = 0; now < 6000; now += 1000)
		pace_forget(&pace, now);
	assert_int_equal(pace.lost, 0);
}

static void test_patience_follows_the_round_trip(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 0);
	assert_int_equal(pace_patience_ms(&pace, 500), 500);
	for (int i = 0; i < 100; i++)
		pace_heard(&pace, 20 * MILLISECOND, false, SECOND);
	assert_int_equal(pace_patience_ms(&pace, 500), 100);
	for (int i = 0; i < 100; i++)
		pace_heard(&pace, (i % 2 ? 300 : 100) * MILLISECOND, false, SECOND);
	assert_true(pace_patience_ms(&pace, 5000) > 300);
	assert_int_equal(pace_patience_ms(&pace, 200), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_is_kept),
		cmocka_unit_test(test_long_path_is_filled),
		cmocka_unit_test(test_a_small_server_is_not_flooded),
		cmocka_unit_test(test_short_path_needs_no_growth),
		cmocka_unit_test(test_never_more_than_the_most),
		cmocka_unit_test(test_losses_halve_it_once_at_a_time),
		cmocka_unit_test(test_a_few_losses_are_bad_names),
		cmocka_unit_test(test_a_dead_server_is_not_a_full_pipe),
		cmocka_unit_test(test_old_losses_are_forgotten),
		cmocka_unit_test(test_patience_follows_the_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
