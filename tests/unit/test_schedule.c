/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The heap against a list that is searched from end to end; the rhythm by what its header says. */
#include "check.h"

#include "schedule.h"

#include <errno.h>
#include <string.h>

enum {
	ITEMS = 60,
	STEPS = 200000,
	ROUNDS = 20000,
	MANY = 100000,
	SECOND = 1000,
	MINUTE = 60 * SECOND,
	HOUR = 60 * MINUTE,
};

/* Of each item when it is due; INT64_MAX: it is not. */
struct naive {
	int64_t due[ITEMS];
};

static size_t naive_first(const struct naive *naive)
{
	size_t first = 0;

	for (size_t i = 1; i < ITEMS; i++) {
		if (naive->due[i] < naive->due[first])
			first = i;
	}
	return first;
}

static void set_both(struct schedule *schedule, struct naive *naive, struct dice *dice)
{
	size_t item = dice_roll(dice, ITEMS);
	int64_t due = (int64_t)dice_roll(dice, 100) - 20;

	if (dice_roll(dice, 20) == 0)
		due = INT64_MAX;
	schedule_set(schedule, item, due);
	naive->due[item] = due;
}

static void take_both(struct schedule *schedule, struct naive *naive, int64_t now)
{
	size_t first = naive_first(naive), item = ITEMS;
	bool due = naive->due[first] != INT64_MAX && naive->due[first] <= now;

	assert_int_equal(schedule_take(schedule, now, &item), due);
	/* Of equal ones the lower number: a run can be repeated. */
	assert_int_equal(item, due ? first : ITEMS);
	if (due)
		naive->due[first] = INT64_MAX;
}

static void test_heap_is_a_sorted_list(void **state)
{
	struct dice dice = dice_new(__func__);
	struct schedule schedule;
	struct naive naive;

	(void)state;
	assert_int_equal(schedule_init(&schedule, ITEMS), 0);
	for (size_t i = 0; i < ITEMS; i++)
		naive.due[i] = INT64_MAX;
	for (int i = 0; i < STEPS; i++) {
		size_t item = dice_roll(&dice, ITEMS);
		unsigned what = dice_roll(&dice, 10);

		if (what < 5) {
			set_both(&schedule, &naive, &dice);
		} else if (what < 7) {
			schedule_cancel(&schedule, item);
			naive.due[item] = INT64_MAX;
		} else {
			take_both(&schedule, &naive,
				what == 9 ? INT64_MAX : (int64_t)dice_roll(&dice, 100) - 20);
		}
		assert_int_equal(schedule_due(&schedule, item), naive.due[item]);
		assert_int_equal(schedule_first(&schedule), naive.due[naive_first(&naive)]);
	}
	schedule_clear(&schedule);
}

static void test_many_come_in_order(void **state)
{
	struct dice dice = dice_new(__func__);
	struct schedule schedule;
	int64_t last = INT64_MIN;
	size_t item, taken = 0;

	(void)state;
	assert_int_equal(schedule_init(&schedule, MANY), 0);
	for (size_t i = 0; i < MANY; i++)
		schedule_set(&schedule, i, (int64_t)dice_roll(&dice, HOUR));
	while (schedule_take(&schedule, HOUR, &item)) {
		assert_true(item < MANY);
		assert_true(schedule.due[item] >= last);
		last = schedule.due[item];
		taken++;
	}
	assert_int_equal(taken, MANY);
	assert_int_equal(schedule_first(&schedule), INT64_MAX);
	schedule_clear(&schedule);
}

static void test_empty_and_too_large(void **state)
{
	struct schedule schedule;
	size_t item;

	(void)state;
	assert_int_equal(schedule_init(&schedule, SIZE_MAX / 4), -ENOMEM);
	assert_int_equal(schedule_init(&schedule, 0), 0);
	assert_int_equal(schedule_first(&schedule), INT64_MAX);
	assert_false(schedule_take(&schedule, INT64_MAX, &item));
	/* Numbers past the end are due never. */
	schedule_set(&schedule, 0, 1);
	schedule_cancel(&schedule, 0);
	assert_int_equal(schedule_due(&schedule, 0), INT64_MAX);
	schedule_clear(&schedule);
	/* Never is no time that comes. */
	assert_int_equal(schedule_init(&schedule, 2), 0);
	schedule_set(&schedule, 0, 5);
	schedule_set(&schedule, 0, INT64_MAX);
	schedule_set(&schedule, 1, INT64_MAX);
	assert_false(schedule_take(&schedule, INT64_MAX, &item));
	schedule_clear(&schedule);
}

static const enum answer_kind answers[] = {
	ANSWER_ADDRESSES, ANSWER_NO_DATA, ANSWER_NO_NAME, ANSWER_REFUSED};

static struct lookup answered(enum answer_kind kind, uint32_t ttl)
{
	return (struct lookup){
		.last = (uint8_t)kind, .ttl = ttl, .failures = kind == ANSWER_REFUSED};
}

static struct lookup failed(uint16_t failures)
{
	return (struct lookup){.last = ANSWER_COULD_NOT_ASK, .failures = failures};
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t clamped(int64_t value, int64_t min, int64_t max)
{
	return value < min ? min : least(value, max);
}

static struct rhythm random_rhythm(struct dice *dice)
{
	int64_t min = 1 + dice_roll(dice, 2 * MINUTE);

	return (struct rhythm){
		.min_ms = min,
		.max_ms = min + dice_roll(dice, 4 * HOUR),
		.questions = 1 + dice_roll(dice, 300000),
	};
}

static void test_answer_is_good_for_its_ttl(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct rhythm rhythm = random_rhythm(&dice);
		uint32_t ttl =
			dice_roll(&dice, 10) ? dice_roll(&dice, 20000) : (uint32_t)dice_next(&dice);
		struct lookup lookup = answered(answers[dice_roll(&dice, 4)], ttl);
		int64_t delay = clamped((int64_t)ttl * SECOND, rhythm.min_ms, rhythm.max_ms);
		int64_t latest = least(delay + delay / 10, rhythm.max_ms);
		int64_t any = rhythm_delay(&rhythm, &lookup, false, (uint32_t)dice_next(&dice));

		assert_in_range(any, delay, latest);
		/* Both ends are reached: it is a tenth, not less. */
		assert_int_equal(rhythm_delay(&rhythm, &lookup, false, 0), delay);
		assert_in_range(rhythm_delay(&rhythm, &lookup, false, UINT32_MAX),
			latest > delay ? latest - 1 : delay, latest);
		/* An outage is no reason to ask a name that was just answered. */
		rhythm.outage = true;
		assert_int_equal(rhythm_delay(&rhythm, &lookup, false, 0), delay);
	}
}

static void test_wave_is_spread_within_its_delay(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct rhythm rhythm = random_rhythm(&dice);
		uint32_t ttl = dice_roll(&dice, 20000);
		struct lookup lookup = answered(answers[dice_roll(&dice, 4)], ttl);
		int64_t delay = clamped((int64_t)ttl * SECOND, rhythm.min_ms, rhythm.max_ms);
		int64_t late = least(delay / 10, rhythm.max_ms - delay);
		int64_t width = least((int64_t)rhythm.questions * SECOND / 50, delay);
		bool wave = rhythm.questions > 50 && width > late;
		int64_t any = rhythm_delay(&rhythm, &lookup, true, (uint32_t)dice_next(&dice));

		/* No wave: nobody is asked early. */
		assert_in_range(any, wave ? delay - width : delay, wave ? delay : delay + late);
	}
}

/* How far from even the delays are that end in (start, end], by Pearson's chi-square over 60
 * buckets: over 99.6 once in a thousand times. */
static double unevenness(const struct rhythm *rhythm, uint32_t ttl, int64_t start, int64_t end)
{
	enum { BUCKETS = 60 };
	struct dice dice = {.state = 20240229};
	struct lookup lookup = answered(ANSWER_ADDRESSES, ttl);
	double expected = (double)rhythm->questions / (double)BUCKETS, sum = 0;
	size_t buckets[BUCKETS] = {0};

	for (size_t i = 0; i < rhythm->questions; i++) {
		int64_t delay = rhythm_delay(rhythm, &lookup, true, (uint32_t)dice_next(&dice));

		assert_in_range(delay, start + 1, end);
		buckets[(delay - start - 1) * BUCKETS / (end - start)]++;
	}
	for (size_t i = 0; i < BUCKETS; i++) {
		double off = (double)buckets[i] - expected;

		sum += off * off / expected;
	}
	return sum;
}

static void test_wave_becomes_an_even_stream(void **state)
{
	struct rhythm rhythm = {.min_ms = 30 * SECOND, .max_ms = HOUR, .questions = MANY};

	(void)state;
	/* A hundred thousand fill the whole delay, whatever it is made by. */
	assert_true(unevenness(&rhythm, 60, 0, MINUTE) < 99.6);
	assert_true(unevenness(&rhythm, 1, 0, 30 * SECOND) < 99.6);
	/* Six thousand are 50 a second over two minutes: no reason to be earlier. */
	rhythm.questions = 6000;
	assert_true(unevenness(&rhythm, 86400, HOUR - 2 * MINUTE, HOUR) < 99.6);
	/* Up to 50, or with jitter enough: no wave. */
	rhythm.questions = 50;
	assert_true(unevenness(&rhythm, 86400, HOUR - 1, HOUR) >= 0);
	rhythm.questions = 300;
	assert_true(unevenness(&rhythm, 60, MINUTE - 1, MINUTE + MINUTE / 10) >= 0);
}

static void test_failures_back_off(void **state)
{
	struct dice dice = dice_new(__func__);
	static const int64_t mins[] = {10 * SECOND, 2 * SECOND, 5 * MINUTE};
	static const int64_t firsts[] = {10 * SECOND, 2 * SECOND, 10 * SECOND};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct rhythm rhythm = {.min_ms = mins[i], .max_ms = HOUR, .questions = MANY};
		int64_t delay = firsts[i];

		for (uint16_t failures = 1; failures < 300; failures++) {
			struct lookup lookup = failed(failures);

			assert_int_equal(rhythm_delay(&rhythm, &lookup, false, 0), delay);
			assert_in_range(rhythm_delay(&rhythm, &lookup, dice_roll(&dice, 2),
						(uint32_t)dice_next(&dice)),
				delay - delay / 4, delay);
			assert_in_range(rhythm_delay(&rhythm, &lookup, false, UINT32_MAX),
				delay - delay / 4, delay - delay / 4 + 1);
			delay = least(2 * delay, HOUR);
		}
	}
}

static void test_failures_never_overflow(void **state)
{
	struct rhythm rhythm = {
		.min_ms = 10 * SECOND, .max_ms = INT64_MAX - 1, .questions = SIZE_MAX};
	struct lookup lookup = failed(UINT16_MAX), never = {.last = ANSWER_NEVER};

	(void)state;
	assert_in_range(rhythm_delay(&rhythm, &lookup, false, 7), HOUR, INT64_MAX - 1);
	assert_int_equal(rhythm_delay(&rhythm, &never, false, 0), 10 * SECOND);
	rhythm.outage = true;
	assert_int_equal(rhythm_delay(&rhythm, &lookup, false, 0), INT64_MAX - 1);
	rhythm = (struct rhythm){.min_ms = 1, .max_ms = 1, .questions = 1};
	assert_int_equal(rhythm_delay(&rhythm, &lookup, false, UINT32_MAX), 1);
}

static void test_outage_asks_all_at_fifty_a_second(void **state)
{
	struct rhythm rhythm = {
		.min_ms = MINUTE, .max_ms = HOUR, .questions = 6000, .outage = true};
	struct lookup first = failed(1), last = failed(100);

	(void)state;
	assert_int_equal(rhythm_delay(&rhythm, &first, false, 0), 2 * MINUTE);
	assert_int_equal(rhythm_delay(&rhythm, &last, false, 0), 2 * MINUTE);
	assert_in_range(rhythm_delay(&rhythm, &last, false, UINT32_MAX), 90 * SECOND, 90001);
	rhythm.questions = 10;
	assert_int_equal(rhythm_delay(&rhythm, &last, false, 0), MINUTE);
	rhythm.questions = 1000000;
	assert_int_equal(rhythm_delay(&rhythm, &first, false, 0), HOUR);
}

static void test_due_times_are_within_the_limits_of_delays(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct rhythm rhythm = random_rhythm(&dice);
		uint32_t ttl = dice_roll(&dice, 20000), random = (uint32_t)dice_next(&dice);
		if (dice_roll(&dice, 3) == 0)
			rhythm.max_ms = rhythm.min_ms;
		else if (dice_roll(&dice, 2) == 0 && (int64_t)ttl * SECOND > rhythm.min_ms)
			rhythm.max_ms = (int64_t)ttl * SECOND;
		struct lookup lookup = answered(answers[dice_roll(&dice, 4)], ttl);
		int64_t now = HOUR + (int64_t)dice_roll(&dice, HOUR);
		int64_t usual = clamped((int64_t)ttl * SECOND, rhythm.min_ms, rhythm.max_ms);
		int64_t most = least(256, usual / 20);
		bool longer = (int64_t)ttl * SECOND > rhythm.max_ms;
		int64_t due = rhythm_due(&rhythm, &lookup, false, random, now) - now;
		int64_t spread = rhythm_delay(&rhythm, &lookup, true, random);

		assert_in_range(due,
			longer && usual - most > rhythm.min_ms ? usual - most
			: longer			       ? rhythm.min_ms
							       : usual,
			least(usual + usual / 10, rhythm.max_ms));
		due = rhythm_due(&rhythm, &lookup, true, random, now);
		assert_in_range(due, now + spread - most, now + spread + most);
	}
	assert_int_equal(rhythm_due(&(struct rhythm){.min_ms = 1,
					    .max_ms = INT64_MAX - 1,
					    .questions = SIZE_MAX,
					    .outage = true},
				 &(struct lookup){.last = ANSWER_COULD_NOT_ASK}, false, 0, HOUR),
		INT64_MAX - 1);
}

/* How many moments there are at which one or more of all these questions are due. */
static size_t moments(const struct rhythm *rhythm, uint32_t ttl, int64_t now, size_t *ret_most)
{
	struct dice dice = {.state = 20240229};
	struct lookup lookup = answered(ANSWER_ADDRESSES, ttl);
	struct schedule schedule;
	size_t count = 0, item, together = 0;
	int64_t due = 0;

	*ret_most = 0;
	assert_int_equal(schedule_init(&schedule, rhythm->questions), 0);
	/* Each was answered at some time within the last TTL. */
	for (size_t i = 0; i < rhythm->questions; i++)
		schedule_set(&schedule, i,
			rhythm_due(rhythm, &lookup, false, (uint32_t)dice_next(&dice),
				now - (int64_t)dice_roll(&dice, ttl * SECOND)));
	while (schedule_first(&schedule) < INT64_MAX) {
		int64_t next = schedule_first(&schedule);

		assert_true(schedule_take(&schedule, next, &item));
		together = next == due ? together + 1 : 1;
		count += next != due;
		due = next;
		if (together > *ret_most)
			*ret_most = together;
	}
	schedule_clear(&schedule);
	return count;
}

static void test_many_are_due_together_but_not_too_many(void **state)
{
	struct rhythm rhythm = {.min_ms = SECOND, .max_ms = HOUR};
	static const struct {
		size_t questions, least, most;
		uint32_t ttl;
	} table[] = {
		{20, 17, 20, 60},	      /* a phone or two */
		{2000, 231, 270, 60},	      /* a quarter of a second */
		{20000, 1500, 2200, 60},      /* 32 ms: ten and some more */
		{200000, 14000, 17500, 60},   /* 4 ms */
		{MANY * 4, 28000, 33000, 60}, /* 2 ms */
		{200, 30, 80, 1},	      /* 32 ms, a 20th of the TTL at most */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t most;

		rhythm.questions = table[i].questions;
		assert_in_range(
			moments(&rhythm, table[i].ttl, HOUR, &most), table[i].least, table[i].most);
		assert_in_range(most, 1, 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_is_a_sorted_list),
		cmocka_unit_test(test_many_come_in_order),
		cmocka_unit_test(test_empty_and_too_large),
		cmocka_unit_test(test_answer_is_good_for_its_ttl),
		cmocka_unit_test(test_wave_is_spread_within_its_delay),
		cmocka_unit_test(test_wave_becomes_an_even_stream),
		cmocka_unit_test(test_failures_back_off),
		cmocka_unit_test(test_failures_never_overflow),
		cmocka_unit_test(test_outage_asks_all_at_fifty_a_second),
		cmocka_unit_test(test_due_times_are_within_the_limits_of_delays),
		cmocka_unit_test(test_many_are_due_together_but_not_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
