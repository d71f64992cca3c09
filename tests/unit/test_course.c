/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "course.h"

enum { NOW = 1000000, BUDGET = 2000 };

static struct course planned(uint32_t servers, uint32_t in_flight)
{
	struct course course;

	course_plan(&course, servers, BUDGET, in_flight);
	return course;
}

static struct course_try begun(const struct course *course, int64_t now)
{
	struct course_try try = {0};

	course_begin(course, &try, now);
	return try;
}

/* A question that fails without a word, its first try at `started`. */
static void fail_one(struct course *course, int64_t started)
{
	struct course_try try = begun(course, started);

	course_ended(course, &try, REASON_TIMEOUT);
}

static void silence(struct course *course, uint32_t server, int64_t now)
{
	struct course_try try = begun(course, now);

	try.server = (uint8_t)server;
	try.sent = now;
	for (unsigned i = 0; i < COURSE_SILENT_AFTER; i++)
		course_due(course, &try, now);
}

/* --- Steps --- */

static void test_steps_of_one_server(void **state)
{
	struct course course = planned(1, 0);
	const int64_t expected[] = {250, 500, 1500, 2000};

	(void)state;
	assert_int_equal(course.step_count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(course.due[i], expected[i]);
	assert_int_equal(course.patience, 250);
	/* A long budget does not make a lost packet cost more than a second. */
	course_plan(&course, 1, 60000, 0);
	assert_int_equal(course.due[0], 500);
	assert_int_equal(course.due[1], 1000);
}

/* Whatever the options are: steps rise, the last one is the budget, and half of it stays when each
 * of a few servers has been tried once. */
static void test_steps_of_any_plan(void **state)
{
	static const uint32_t budgets[] = {1, 2, 3, 7, 8, 100, 2000, 60000, INT32_MAX / 2};

	(void)state;
	for (uint32_t servers = 1; servers <= COURSE_MAX_SERVERS; servers++)
		for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
			struct course course;
			course_plan(&course, servers, budgets[i], 0);
			assert_in_range(course.step_count, 1, COURSE_MAX_STEPS);
			assert_true(course.due[0] > 0);
			for (uint32_t step = 1; step < course.step_count; step++)
				assert_true(course.due[step] >= course.due[step - 1]);
			assert_int_equal(course.due[course.step_count - 1], budgets[i]);
			assert_true(course.patience <= 500);
			if (servers < COURSE_MAX_STEPS && budgets[i] >= 100)
				assert_true(course.due[servers - 1] <= budgets[i] / 2);
		}
}

/* Who comes late makes no tries for the time that has gone by. */
static void test_late(void **state)
{
	struct course course = planned(1, 0);
	struct course_try try = begun(&course, NOW);
	unsigned last = course.step_count - 1;

	(void)state;
	assert_in_range(last, 2, COURSE_MAX_STEPS - 1);
	course_choose(&course, &try, NOW);
	assert_int_equal(course_step(&course, &try, NOW + course.due[0]), 1);
	assert_int_equal(course_step(&course, &try, NOW + course.due[1] - 1), 1);
	assert_int_equal(course_step(&course, &try, NOW + course.due[1]), 2);
	assert_int_equal(course_step(&course, &try, NOW + course.due[last]), last);
	assert_int_equal(course_due(&course, &try, NOW + course.due[last] - 1), COURSE_ASK);
	assert_int_equal(course_due(&course, &try, NOW + course.due[last]), COURSE_FAIL);
}

static void test_due(void **state)
{
	struct course course = planned(1, 0);
	struct course_try try = begun(&course, NOW);

	(void)state;
	course_choose(&course, &try, NOW);
	for (; try.step < 3; try.step++)
		assert_int_equal(course_due(&course, &try, NOW), COURSE_ASK);
	assert_int_equal(course_due(&course, &try, NOW), COURSE_FAIL);
	assert_int_equal(course_reason(&try), REASON_TIMEOUT);
	try.reason = REASON_SERVFAIL;
	assert_int_equal(course_reason(&try), REASON_SERVFAIL);
}

static void test_lost(void **state)
{
	struct course course = planned(1, 0);
	struct course_try try = begun(&course, NOW);

	(void)state;
	course_choose(&course, &try, NOW);
	try.step = 1;
	assert_false(course_lost(&course, &try));
	course_heard(&course, 0, NOW - 1);
	assert_false(course_lost(&course, &try));
	course_heard(&course, 0, NOW);
	assert_true(course_lost(&course, &try));
	try.step = 0;
	assert_false(course_lost(&course, &try));
}

/* --- Servers --- */

static void test_servers_in_their_order(void **state)
{
	struct course course = planned(3, 0);
	struct course_try try = begun(&course, NOW);

	(void)state;
	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(course_choose(&course, &try, NOW + i), i % 3);
		assert_int_equal(try.server, i % 3);
		assert_int_equal(try.sent, NOW + i);
	}
	course = planned(COURSE_MAX_SERVERS, 0);
	try = begun(&course, NOW);
	for (unsigned i = 0; i < 130; i++)
		assert_int_equal(course_choose(&course, &try, NOW), i % 64);
}

static void test_silent_ones_last(void **state)
{
	struct course course = planned(3, 0);
	struct course_try try = begun(&course, NOW);

	(void)state;
	silence(&course, 0, NOW);
	assert_int_equal(course_choose(&course, &try, NOW), 1);
	assert_int_equal(course_choose(&course, &try, NOW), 2);
	assert_int_equal(course_choose(&course, &try, NOW), 0);
	/* All silent: in their order. */
	silence(&course, 1, NOW);
	silence(&course, 2, NOW);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(course_choose(&course, &try, NOW), i % 3);
}

static void test_silent_after_a_few_tries(void **state)
{
	struct course course = planned(2, 0);
	struct course_try try = begun(&course, NOW), next;

	(void)state;
	try.sent = NOW;
	for (unsigned i = 0; i < COURSE_SILENT_AFTER; i++) {
		next = begun(&course, NOW);
		assert_int_equal(course_choose(&course, &next, NOW), 0);
		course_due(&course, &try, NOW);
	}
	next = begun(&course, NOW);
	assert_int_equal(course_choose(&course, &next, NOW), 1);
	/* A word ends it. */
	course_heard(&course, 0, NOW);
	next = begun(&course, NOW);
	assert_int_equal(course_choose(&course, &next, NOW), 0);
	/* It spoke after these were sent: they are slow names. */
	for (unsigned i = 0; i < COURSE_SILENT_AFTER; i++)
		course_due(&course, &try, NOW);
	next = begun(&course, NOW);
	assert_int_equal(course_choose(&course, &next, NOW), 0);
}

static void test_silent_one_is_probed(void **state)
{
	struct course course = planned(2, 0);

	(void)state;
	silence(&course, 0, NOW);
	for (unsigned round = 1; round < 3; round++) {
		int64_t then = NOW + (int64_t)round * COURSE_PROBE_MS;
		struct course_try early = begun(&course, then - 1), due = begun(&course, then),
				  other = begun(&course, then);
		assert_int_equal(course_choose(&course, &early, then - 1), 1);
		assert_int_equal(course_choose(&course, &due, then), 0);
		assert_int_equal(course_choose(&course, &other, then), 1);
	}
}

/* --- Failures --- */

static void test_word_of_failure(void **state)
{
	struct course course = planned(2, 0);
	struct course_try try = begun(&course, NOW);
	struct course_failure failure = {.spoke = true, .reason = REASON_SERVFAIL};

	(void)state;
	/* Another one may know better: at once. */
	course_choose(&course, &try, NOW);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_ASK);
	assert_int_equal(try.reason, REASON_SERVFAIL);
	/* All have said no. */
	failure.server = course_choose(&course, &try, NOW);
	assert_int_equal(failure.server, 1);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
	/* The first one has yet to say something. */
	failure.open = 1;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_WAIT);
	/* It is known to say nothing. */
	silence(&course, 0, NOW);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
}

/* Three tries of a slow server at once make it silent until its answers come, a moment later. */
static void test_silent_for_a_moment_is_asked_all_the_same(void **state)
{
	struct course course = planned(2, 0);
	struct course_failure failure = {.server = 0, .reason = REASON_SERVFAIL, .spoke = true};
	struct course_try try;

	(void)state;
	course_heard(&course, 1, NOW);
	silence(&course, 1, NOW + 1);
	try = begun(&course, NOW + 1);
	assert_int_equal(course_choose(&course, &try, NOW + 1), 0);
	assert_int_equal(course_failed(&course, &try, &failure, NOW + BUDGET - 1), COURSE_ASK);
	assert_int_equal(course_failed(&course, &try, &failure, NOW + BUDGET), COURSE_FAIL);
}

static void test_silent_ones_do_not_hold_up_a_word(void **state)
{
	struct course course = planned(2, 0);
	struct course_try try = begun(&course, NOW);
	struct course_failure failure = {.spoke = true, .reason = REASON_SERVFAIL, .server = 1};

	(void)state;
	silence(&course, 0, NOW);
	assert_int_equal(course_choose(&course, &try, NOW), 1);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
}

static void test_without_edns(void **state)
{
	struct course course = planned(1, 0);
	struct course_try try = begun(&course, NOW);
	struct course_failure failure = {
		.spoke = true, .reason = REASON_OTHER_RCODE, .no_edns = true};

	(void)state;
	course_choose(&course, &try, NOW);
	assert_false(course.servers[0].plain);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_ASK);
	assert_true(course.servers[0].plain);
	failure.no_edns = false;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
}

static void test_too_many_at_once(void **state)
{
	struct course course = planned(1, 0);
	struct course_try try = begun(&course, NOW);
	struct course_failure failure = {
		.spoke = true, .reason = REASON_SERVER_REFUSED, .crowded = true};

	(void)state;
	course_choose(&course, &try, NOW);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_EASE);
	/* Said of a second try, by one that is not busy, or something else: meant. */
	try.step = 1;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
	try.step = 0;
	failure.crowded = false;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
	failure.crowded = true;
	failure.reason = REASON_SERVFAIL;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
	/* No step is left to wait for. */
	failure.reason = REASON_SERVER_REFUSED;
	course_plan(&course, 1, 1, 0);
	assert_int_equal(course.step_count, 1);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
}

static void test_nobody_listens(void **state)
{
	struct course course = planned(2, 0);
	struct course_try try = begun(&course, NOW);
	struct course_failure failure = {.reason = REASON_NO_SERVER};

	(void)state;
	for (unsigned i = 0; i < COURSE_MAX_FAULTS + 1; i++) {
		failure.server = course_choose(&course, &try, NOW);
		assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_ASK);
	}
	course_choose(&course, &try, NOW);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
	/* Another try may still be answered. */
	failure.open = 2;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_WAIT);
	/* Another server has yet to be asked. */
	failure.open = 0;
	course_heard(&course, 0, NOW - 1);
	failure.server = course_choose(&course, &try, NOW);
	assert_int_equal(failure.server, 0);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_WAIT);
	course_choose(&course, &try, NOW);
	failure.open = 2;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_WAIT);
	/* It counts as silence. */
	for (unsigned i = 0; i < COURSE_SILENT_AFTER; i++) {
		failure.server = 1;
		course_failed(&course, &try, &failure, NOW);
	}
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
}

/* --- Doubt --- */

static void test_doubt_begins(void **state)
{
	struct course course = planned(2, 0);
	struct course_try try = begun(&course, NOW);

	(void)state;
	/* Any server's word since the first try speaks against it. */
	course_heard(&course, 1, NOW);
	course_ended(&course, &try, REASON_TIMEOUT);
	assert_false(course.doubt.open);
	/* An answer is no failure. */
	try = begun(&course, NOW + 1);
	course_ended(&course, &try, REASON_NONE);
	assert_false(course.doubt.open);
	course_ended(&course, &try, REASON_TIMEOUT);
	assert_true(course.doubt.open);
	assert_int_equal(course_dead(&course), REASON_NONE);
	course_heard(&course, 0, NOW + 2);
	assert_false(course.doubt.open);
}

static void test_number_of_canaries(void **state)
{
	static const uint32_t numbers[][2] = {
		{0, 16}, {1, 4}, {3, 4}, {4, 4}, {10, 10}, {16, 16}, {17, 16}, {5000, 16}};

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct course course = planned(1, numbers[i][0]);
		uint32_t sent = 0;

		for (unsigned more = 0; more < 100; more++) {
			assert_true(course_may_ask(&course));
			assert_int_equal(course_pick(&course, 50, NOW).index, 0);
		}
		for (fail_one(&course, NOW); course_may_ask(&course); sent++)
			assert_int_equal(course_pick(&course, 1000 - sent, NOW).root,
				sent + 1 == numbers[i][1]);
		assert_int_equal(sent, numbers[i][1]);
	}
}

/* The far end first, then all over the queue, and never beyond it. */
static void test_places_of_canaries(void **state)
{
	struct dice dice = dice_new("places_of_canaries");

	(void)state;
	for (unsigned round = 0; round < 1000; round++) {
		struct course course = planned(1, 0);
		size_t queued = 1 + dice_roll(&dice, 1000);
		int64_t now = NOW + dice_roll(&dice, 100000);
		uint32_t quarters = 0;

		fail_one(&course, NOW);
		assert_int_equal(course_pick(&course, queued, now).index, queued - 1);
		for (unsigned i = 2; i < COURSE_CANARIES_MOST; i++) {
			struct course_pick pick = course_pick(&course, queued, now);
			assert_false(pick.root);
			assert_true(pick.index < queued);
			quarters |= 1U << (pick.index * 4 / queued);
		}
		if (queued > 100)
			assert_int_equal(quarters, 15);
	}
}

/* Each name is found in the end, whatever the server says of the root. */
static void test_other_places_each_time(void **state)
{
	uint64_t seen = 0;

	(void)state;
	for (int64_t now = NOW; now < NOW + 60; now++) {
		struct course course = planned(1, 1);
		fail_one(&course, NOW);
		course_pick(&course, 60, now);
		seen |= UINT64_C(1) << course_pick(&course, 60, now).index;
	}
	assert_true(seen == (UINT64_C(1) << 60) - 1);
}

static void test_dead(void **state)
{
	struct course course = planned(1, 4);
	struct course_try canaries[4], bystander = begun(&course, NOW);

	(void)state;
	fail_one(&course, NOW);
	for (unsigned i = 0; i < 4; i++) {
		course_pick(&course, 100, NOW);
		canaries[i] = begun(&course, NOW);
	}
	/* Those sent before the doubt prove nothing. */
	for (unsigned i = 0; i < 10; i++)
		course_ended(&course, &bystander, REASON_TIMEOUT);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(course_dead(&course), REASON_NONE);
		course_ended(&course, &canaries[i], i == 3 ? REASON_NO_SERVER : REASON_TIMEOUT);
	}
	assert_int_equal(course_dead(&course), REASON_NO_SERVER);
	course_settle(&course);
	assert_int_equal(course_dead(&course), REASON_NONE);
	assert_true(course_may_ask(&course));
}

/* The canaries of a doubt that a word has ended are none of the next one. */
static void test_word_ends_doubt(void **state)
{
	struct course course = planned(1, 4);
	struct course_try canaries[4];

	(void)state;
	fail_one(&course, NOW);
	for (unsigned i = 0; i < 4; i++) {
		course_pick(&course, 100, NOW);
		canaries[i] = begun(&course, NOW + 10);
	}
	for (unsigned i = 0; i < 3; i++)
		course_ended(&course, &canaries[i], REASON_TIMEOUT);
	course_heard(&course, 0, NOW + 5);
	course_ended(&course, &canaries[3], REASON_TIMEOUT);
	assert_true(course.doubt.open);
	course_ended(&course, &canaries[3], REASON_TIMEOUT);
	assert_int_equal(course_dead(&course), REASON_NONE);
	assert_int_equal(course.doubt.failed, 0);
	assert_true(course_may_ask(&course));
}

/* Answered without a server: it tells nothing, and must not leave the doubt one short. */
static void test_canary_without_server(void **state)
{
	struct course course = planned(1, 4);

	(void)state;
	fail_one(&course, NOW);
	for (unsigned i = 0; i < 20; i++) {
		struct course_try try;
		assert_true(course_may_ask(&course));
		assert_false(course_pick(&course, 100, NOW).root);
		try = begun(&course, NOW);
		course_ended(&course, &try, REASON_NONE);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct course_try try;
		course_pick(&course, 100, NOW);
		try = begun(&course, NOW);
		course_ended(&course, &try, REASON_TIMEOUT);
	}
	assert_int_equal(course_dead(&course), REASON_TIMEOUT);
}

/* --- Questions for some servers only --- */

static void test_only_some_servers(void **state)
{
	struct course course = planned(4, 0);
	struct course_try try = {.only = 0xa};

	(void)state;
	course_begin(&course, &try, NOW);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(course_choose(&course, &try, NOW + i), i % 2 ? 3 : 1);
	/* However silent they are, and the others not. */
	try.tried = 0;
	silence(&course, 1, NOW);
	silence(&course, 3, NOW);
	for (unsigned i = 0; i < 8; i++)
		assert_true(course_choose(&course, &try, NOW + i) & 1);
	/* Any server is allowed when none is named. */
	try = (struct course_try){0};
	course_begin(&course, &try, NOW);
	assert_int_equal(course_choose(&course, &try, NOW), 0);
}

static void test_only_their_words_decide(void **state)
{
	struct course course = planned(4, 0);
	struct course_try try = {.only = 0xa};
	struct course_failure failure = {.spoke = true, .reason = REASON_SERVFAIL};

	(void)state;
	course_begin(&course, &try, NOW);
	failure.server = course_choose(&course, &try, NOW);
	assert_int_equal(failure.server, 1);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_ASK);
	failure.server = course_choose(&course, &try, NOW);
	/* The two that may not be asked are not waited for. */
	assert_int_equal(failure.server, 3);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
}

static void test_only_one_that_does_not_listen(void **state)
{
	struct course course = planned(4, 0);
	struct course_try try = {.only = 4};
	struct course_failure failure = {.reason = REASON_NO_SERVER, .server = 2};
	unsigned tries = 0;

	(void)state;
	course_begin(&course, &try, NOW);
	do
		assert_int_equal(course_choose(&course, &try, NOW), 2);
	while (course_failed(&course, &try, &failure, NOW) == COURSE_ASK && ++tries < 100);
	/* As if it were the only one there is. */
	assert_int_equal(tries, COURSE_MAX_FAULTS);
}

static void test_no_doubt_while_another_server_speaks(void **state)
{
	struct course course = planned(2, 0);
	struct course_try try = {.only = 2};

	(void)state;
	course_begin(&course, &try, NOW);
	course_heard(&course, 0, NOW + 1);
	course_ended(&course, &try, REASON_TIMEOUT);
	assert_false(course.doubt.open);
	course_begin(&course, &try, NOW + 2);
	course_ended(&course, &try, REASON_TIMEOUT);
	assert_true(course.doubt.open);
}

static void test_bogus_stays_the_reason(void **state)
{
	struct course course = planned(2, 0);
	struct course_try try = begun(&course, NOW);
	struct course_failure failure = {.spoke = true, .reason = REASON_BOGUS};

	(void)state;
	failure.server = course_choose(&course, &try, NOW);
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_ASK);
	failure.server = course_choose(&course, &try, NOW);
	failure.reason = REASON_SERVFAIL;
	assert_int_equal(course_failed(&course, &try, &failure, NOW), COURSE_FAIL);
	assert_int_equal(course_reason(&try), REASON_BOGUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps_of_one_server),
		cmocka_unit_test(test_steps_of_any_plan),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_due),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_servers_in_their_order),
		cmocka_unit_test(test_silent_ones_last),
		cmocka_unit_test(test_silent_after_a_few_tries),
		cmocka_unit_test(test_silent_one_is_probed),
		cmocka_unit_test(test_word_of_failure),
		cmocka_unit_test(test_silent_for_a_moment_is_asked_all_the_same),
		cmocka_unit_test(test_silent_ones_do_not_hold_up_a_word),
		cmocka_unit_test(test_without_edns),
		cmocka_unit_test(test_too_many_at_once),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_doubt_begins),
		cmocka_unit_test(test_number_of_canaries),
		cmocka_unit_test(test_places_of_canaries),
		cmocka_unit_test(test_other_places_each_time),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_word_ends_doubt),
		cmocka_unit_test(test_canary_without_server),
		cmocka_unit_test(test_only_some_servers),
		cmocka_unit_test(test_only_their_words_decide),
		cmocka_unit_test(test_only_one_that_does_not_listen),
		cmocka_unit_test(test_no_doubt_while_another_server_speaks),
		cmocka_unit_test(test_bogus_stays_the_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
