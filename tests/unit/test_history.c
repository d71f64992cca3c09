/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "history.h"

#include <string.h>
#include <time.h>

enum { T = 1795341600, MINUTE = 60, HOUR = 3600, DAY = 86400 }; /* 2026-11-22T10:00:00Z */

static struct addr addr(const char *text)
{
	struct addr result;

	assert_true(addr_parse(text, strlen(text), &result));
	return result;
}

static struct history_line who(
	enum history_word word, int64_t when, const char *id, const char *text)
{
	struct history_line line = {
		.word = word, .when = when, .other = when, .id = id, .host = "home.example"};

	assert_int_equal(prefix_parse(text, strlen(text), &line.prefix), PREFIX_OK);
	return line;
}

static void put(
	struct text *text, enum history_word word, int64_t when, const char *id, const char *prefix)
{
	struct history_line line = who(word, when, id, prefix);

	history_print_line(&line, text);
}

static void put_had(struct text *text, const char *id, const char *prefix)
{
	struct history_line line = who(HISTORY_HAS, 0, id, prefix);

	history_print_had(&line, text);
}

static void mark(struct text *text, enum history_word word, int64_t when)
{
	history_print_line(&(struct history_line){.word = word, .when = when}, text);
}

static void set_clock(struct text *text, int64_t when, int64_t was)
{
	history_print_line(
		&(struct history_line){.word = HISTORY_CLOCK, .when = when, .other = was}, text);
}

static struct history *read_texts(const struct text *const *texts, size_t count)
{
	struct history *history;

	assert_int_equal(history_new(&history), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(history_read(history, text_string(texts[i]), texts[i]->length), 0);
	assert_int_equal(history_finish(history), 0);
	return history;
}

static struct history *read_text(const struct text *text)
{
	return read_texts(&text, 1);
}

static enum history_verdict at(
	const struct history *history, const char *id, const char *address, int64_t when)
{
	struct addr wanted = addr(address);

	return history_at(history, OWNER_EXTENSION, id, &wanted, when);
}

/* --- Lines --- */

static void test_lines_as_the_manual_has_them(void **state)
{
	static const char *const lines[] = {
		"2026-11-22T10:00:00Z file 1 off -\n",
		"2026-11-22T10:00:00Z file 1 on 2026-11-22T09:00:00Z\n",
		"2026-11-22T10:00:00Z run\n",
		"2026-11-22T10:00:00Z sync\n",
		"2026-11-22T10:00:00Z missed\n",
		"2026-11-22T10:00:00Z alive\n",
		"2026-11-22T10:00:00Z end\n",
		"2026-11-22T10:00:00Z clock 1970-01-01T00:00:01Z\n",
		"2026-11-22T10:00:00Z gained extension 21 home21.example A 203.0.113.7\n",
		"2026-11-22T10:00:00Z lost peer voipco sip.example AAAA 2001:db8::/64\n",
		("2026-11-22T10:00:00Z listed 83122 0123456789abcdef "
		 "fedcba98765432100f1e2d3c4b5a6978\n"),
		"2026-11-22T10:00:00Z has peer 7 h.example A 192.0.2.0/24 2026-11-20T08:00:00Z\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char buffer[HISTORY_LINE_MAX];
		struct history_line line;
		struct text text = {0};

		assert_true(history_parse_line(lines[i], strlen(lines[i]) - 1, buffer, &line));
		assert_int_equal(line.when, T);
		history_print_line(&line, &text);
		assert_string_equal(text_string(&text), lines[i]);
		text_free(&text);
	}
}

/* Each day that there is, and no other. */
static void test_days_of_the_calendar(void **state)
{
	static const struct {
		int year, days;
	} years[] = {{0, 366}, {1900, 365}, {2000, 366}, {2023, 365}, {2024, 366}, {9999, 365}};

	(void)state;
	for (size_t i = 0; i < sizeof(years) / sizeof(years[0]); i++) {
		int64_t last = INT64_MIN;
		int days = 0;

		for (int day = 0; day < 14 * 40; day++) {
			char buffer[HISTORY_LINE_MAX], words[64];
			struct history_line line;
			struct text text = {0};
			int length =
				snprintf(words, sizeof(words), "%04d-%02d-%02dT23:59:59Z end\n",
					years[i].year, day / 40, day % 40);

			if (!history_parse_line(words, (size_t)length - 1, buffer, &line))
				continue;
			assert_true(++days == 1 || line.when == last + 86400);
			last = line.when;
			history_print_line(&line, &text);
			assert_string_equal(text_string(&text), words);
			text_free(&text);
		}
		assert_int_equal(days, years[i].days);
	}
}

static void test_words_that_need_escapes(void **state)
{
	char buffer[HISTORY_LINE_MAX];
	struct history_line line = who(HISTORY_GAINED, T, " a\\ b\x01\xff\\", "203.0.113.7"), again;
	struct text text = {0};

	(void)state;
	history_print_line(&line, &text);
	assert_string_equal(text_string(&text),
		"2026-11-22T10:00:00Z gained extension \\x20a\\x5c\\x20b\\x01\\xff\\x5c "
		"home.example A 203.0.113.7\n");
	assert_true(history_parse_line(text.data, text.length - 1, buffer, &again));
	assert_string_equal(again.id, line.id);
	text_free(&text);
}

static void test_nonsense_is_no_line(void **state)
{
	static const char *const lines[] = {
		"",
		"run",
		"2026-11-22T10:00:00Z",
		"2026-11-22T10:00:00Z ",
		"2026-11-22T10:00:00Z run ",
		"2026-11-22T10:00:00Z run 1",
		"2026-11-22T10:00:00Z  run",
		"2026-11-22T10:00:00 run",
		"2026-11-22 10:00:00Z run",
		"2026-02-29T10:00:00Z run",
		"1900-02-29T10:00:00Z run",
		"2026-04-31T10:00:00Z run",
		"2026-11-00T10:00:00Z run",
		"2026-11-22T10:00.00Z run",
		"2026-11-22T10:00:00z run",
		"2026-13-01T10:00:00Z run",
		"2026-11-22T24:00:00Z run",
		"2026-11-22T10:00:60Z run",
		"2026-11-22T10:00:00Z file 2 off -",
		"2026-11-22T10:00:00Z file 1 maybe -",
		"2026-11-22T10:00:00Z clock -",
		"2026-11-22T10:00:00Z gained extension 21 home.example A",
		"2026-11-22T10:00:00Z gained extension 21 home.example A 203.0.113.7?",
		"2026-11-22T10:00:00Z gained extension 21 home.example A 203.0.113.7/24",
		"2026-11-22T10:00:00Z gained extension 21 home.example AAAA 203.0.113.7",
		"2026-11-22T10:00:00Z gained extension 21 home.example A 2001:db8::1",
		"2026-11-22T10:00:00Z gained stranger 21 home.example A 203.0.113.7",
		"2026-11-22T10:00:00Z gained extension 2\\1 home.example A 203.0.113.7",
		"2026-11-22T10:00:00Z gained extension 2\\x0g home.example A 203.0.113.7",
		"2026-11-22T10:00:00Z gained extension 2\\x00 home.example A 203.0.113.7",
		"2026-11-22T10:00:00Z gained extension 2\033 home.example A 203.0.113.7",
		"2026-11-22T10:00:00Z gained extension 2\\x1 home.example A 203.0.113.7",
	};
	char buffer[HISTORY_LINE_MAX];
	struct history_line line;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (history_parse_line(lines[i], strlen(lines[i]), buffer, &line))
			fail_msg("taken: %s", lines[i]);
	}
}

static void test_times_of_all_centuries(void **state)
{
	struct dice dice = dice_new("times");
	char buffer[HISTORY_LINE_MAX];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		int64_t when = (int64_t)(dice_next(&dice) % 315569520000) - 62167219200;
		struct text text = {0};
		struct history_line line;
		char wanted[64];
		time_t seconds = (time_t)when;
		struct tm parts;

		if (when > 253402300799)
			continue;
		mark(&text, HISTORY_ALIVE, when);
		assert_non_null(gmtime_r(&seconds, &parts));
		snprintf(wanted, sizeof(wanted), "%04d-%02d-%02dT%02d:%02d:%02dZ alive\n",
			parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
			parts.tm_min, parts.tm_sec);
		assert_string_equal(text_string(&text), wanted);
		assert_true(history_parse_line(text.data, text.length - 1, buffer, &line));
		assert_int_equal(line.when, when);
		text_free(&text);
	}
}

/* Whatever the bytes of an id are, it stays one word, and comes back. */
static void test_ids_of_any_bytes(void **state)
{
	struct dice dice = dice_new("ids");
	char buffer[HISTORY_LINE_MAX];

	(void)state;
	for (int i = 0; i < 2000; i++) {
		char id[HISTORY_ID_MAX + 1];
		size_t length = 1 + dice_roll(&dice, i % 10 ? 20 : HISTORY_ID_MAX);
		struct history_line line, parsed;
		struct text text = {0};

		for (size_t j = 0; j < length; j++)
			id[j] = (char)(1 + dice_roll(&dice, 255));
		id[length] = '\0';
		line = who(HISTORY_GAINED, T, id, "203.0.113.7");
		history_print_line(&line, &text);
		assert_ptr_equal(strchr(text.data, '\n'), text.data + text.length - 1);
		for (size_t j = 0; j + 1 < text.length; j++)
			assert_in_range(text.data[j], ' ', '~');
		assert_true(history_parse_line(text.data, text.length - 1, buffer, &parsed));
		assert_string_equal(parsed.id, id);
		text_free(&text);
	}
}

/* --- Verdicts --- */

static void test_while_a_daemon_runs(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_FILE, T);
	mark(&text, HISTORY_RUN, T);
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.7");
	put(&text, HISTORY_LOST, T + 2 * HOUR, "21", "203.0.113.7");
	put(&text, HISTORY_GAINED, T + 2 * HOUR, "21", "203.0.113.9");
	mark(&text, HISTORY_ALIVE, T + 4 * HOUR);
	history = read_text(&text);
	assert_int_equal(history_begins(history), T);
	assert_int_equal(at(history, "21", "203.0.113.7", T - 1), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 2 * HOUR - 1), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 2 * HOUR), HISTORY_HAD_NOT);
	assert_int_equal(at(history, "21", "203.0.113.9", T + 2 * HOUR - 1), HISTORY_HAD_NOT);
	assert_int_equal(at(history, "21", "203.0.113.9", T + 2 * HOUR), HISTORY_HAD);
	assert_int_equal(at(history, "22", "203.0.113.9", T + 3 * HOUR), HISTORY_HAD_NOT);
	/* It may run on: for an hour that is believed. */
	assert_int_equal(at(history, "21", "203.0.113.9", T + 5 * HOUR), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.9", T + 5 * HOUR + 1), HISTORY_UNKNOWN);
	history_free(history);
	text_free(&text);
}

static void test_prefix_has_all_of_its_addresses(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_RUN, T);
	put(&text, HISTORY_GAINED, T, "21", "2001:db8:21::/64");
	history = read_text(&text);
	assert_int_equal(at(history, "21", "2001:db8:21::99", T), HISTORY_HAD);
	assert_int_equal(at(history, "21", "2001:db8:22::99", T), HISTORY_HAD_NOT);
	history_free(history);
	text_free(&text);
}

static void test_short_and_long_gaps(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_SYNC, T);
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.7");
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.8");
	mark(&text, HISTORY_SYNC, T + HOUR);
	put(&text, HISTORY_LOST, T + HOUR, "21", "203.0.113.8");
	put(&text, HISTORY_GAINED, T + HOUR, "21", "203.0.113.9");
	mark(&text, HISTORY_SYNC, T + 2 * HOUR + 1);
	history = read_text(&text);
	/* Both ends agree, or they don't. */
	assert_int_equal(at(history, "21", "203.0.113.7", T + MINUTE), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.8", T), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.8", T + MINUTE), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.8", T + HOUR), HISTORY_HAD_NOT);
	assert_int_equal(at(history, "21", "203.0.113.9", T), HISTORY_HAD_NOT);
	assert_int_equal(at(history, "21", "203.0.113.9", T + MINUTE), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.9", T + HOUR), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.5", T + MINUTE), HISTORY_HAD_NOT);
	/* A second too long. */
	assert_int_equal(at(history, "21", "203.0.113.7", T + HOUR + MINUTE), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.5", T + HOUR + MINUTE), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 2 * HOUR + 1), HISTORY_HAD);
	assert_int_equal(history_entry(history, 2)->from_after, T);
	assert_int_equal(history_entry(history, 0)->from_after, INT64_MIN);
	assert_int_equal(history_entry(history, 1)->to_after, T);
	history_free(history);
	text_free(&text);
}

static void test_kill_leaves_a_gap_behind_the_last_line(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_RUN, T);
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.7");
	mark(&text, HISTORY_ALIVE, T + HOUR);
	mark(&text, HISTORY_RUN, T + 10 * HOUR);
	history = read_text(&text);
	assert_int_equal(at(history, "21", "203.0.113.7", T + HOUR), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + HOUR + 1), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 10 * HOUR), HISTORY_HAD);
	history_free(history);
	text_free(&text);
}

static void test_damage_hides_what_comes_behind_it(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_RUN, T);
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.7");
	mark(&text, HISTORY_ALIVE, T + MINUTE);
	text_puts(&text, "2026-11-22T10:02:00Z lost extension 21 home.exa?\n");
	mark(&text, HISTORY_ALIVE, T + 3 * MINUTE);
	history = read_text(&text);
	assert_int_equal(at(history, "21", "203.0.113.7", T + MINUTE), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 3 * MINUTE), HISTORY_UNKNOWN);
	history_free(history);
	/* Until a recorder has looked at all. */
	mark(&text, HISTORY_MISSED, T + 5 * MINUTE);
	put(&text, HISTORY_LOST, T + 5 * MINUTE, "21", "203.0.113.7");
	history = read_text(&text);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 3 * MINUTE), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 6 * MINUTE), HISTORY_HAD_NOT);
	history_free(history);
	text_free(&text);
}

/* A line that was cut must never become a whole one that says something else: .77 is not .7. */
static void test_cut_at_any_byte(void **state)
{
	struct text text = {0};

	(void)state;
	mark(&text, HISTORY_RUN, T);
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.77");
	for (size_t length = 0; length <= text.length; length++) {
		struct text cut = {0}, more = {0};
		struct history *history;

		text_write(&cut, text.data, length);
		history = read_text(&cut);
		assert_int_equal(history_count(history), length == text.length);
		history_free(history);
		assert_int_equal(history_reconcile(text_string(&cut), cut.length, HISTORY_RUN,
					 T + HOUR, "", 0, &more),
			0);
		text_write(&cut, more.data, more.length);
		history = read_text(&cut);
		assert_int_equal(history_count(history), length == text.length);
		assert_int_equal(at(history, "21", "203.0.113.7", T + HOUR), HISTORY_HAD_NOT);
		assert_int_equal(at(history, "21", "203.0.113.77", T + HOUR), HISTORY_HAD_NOT);
		history_free(history);
		text_free(&cut);
		text_free(&more);
	}
	text_free(&text);
}

/* --- The clock --- */

static void test_clock_set_back_says_only_what_both_times_agree_on(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_RUN, T);
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.7");
	put(&text, HISTORY_GAINED, T, "22", "203.0.113.22");
	set_clock(&text, T - HOUR, T + HOUR);
	put(&text, HISTORY_LOST, T + 10 * MINUTE, "21", "203.0.113.7");
	mark(&text, HISTORY_END, T + 3 * HOUR);
	history = read_text(&text);
	assert_int_equal(at(history, "21", "203.0.113.7", T - MINUTE), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 5 * MINUTE), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 20 * MINUTE), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "22", "203.0.113.22", T + 20 * MINUTE), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 2 * HOUR), HISTORY_HAD_NOT);
	history_free(history);
	text_free(&text);
}

/* A board without a battery: nothing was recorded from 1970 to the day when it learns the time. */
static void test_clock_set_forward_covers_nothing_between(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_RUN, 10);
	put(&text, HISTORY_GAINED, 10, "21", "203.0.113.7");
	set_clock(&text, T, 70);
	mark(&text, HISTORY_ALIVE, T + MINUTE);
	history = read_text(&text);
	assert_int_equal(at(history, "21", "203.0.113.7", 70), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", 71), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T - 1), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T), HISTORY_HAD);
	history_free(history);
	text_free(&text);
}

static void test_second_back_is_no_other_time(void **state)
{
	struct text text = {0};
	struct history *history;

	(void)state;
	mark(&text, HISTORY_RUN, T);
	put(&text, HISTORY_GAINED, T, "21", "203.0.113.8");
	put(&text, HISTORY_GAINED, T + 100, "21", "203.0.113.7");
	put(&text, HISTORY_LOST, T + 98, "21", "203.0.113.7");
	put(&text, HISTORY_LOST, T + 98, "21", "203.0.113.8");
	mark(&text, HISTORY_ALIVE, T + 200);
	history = read_text(&text);
	assert_int_equal(at(history, "21", "203.0.113.8", T + 99), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.8", T + 100), HISTORY_HAD_NOT);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 150), HISTORY_HAD_NOT);
	history_free(history);
	text_free(&text);
}

/* --- The recorder's texts --- */

static void test_reconcile_says_the_difference(void **state)
{
	struct text file = {0}, listing = {0}, more = {0}, wanted = {0};

	(void)state;
	mark(&file, HISTORY_FILE, T);
	mark(&file, HISTORY_RUN, T);
	put(&file, HISTORY_GAINED, T, "21", "203.0.113.7");
	put(&file, HISTORY_GAINED, T, "22", "203.0.113.22");
	put_had(&listing, "22", "203.0.113.22");
	put_had(&listing, "23", "203.0.113.23");
	put_had(&listing, "23", "203.0.113.23");
	mark(&wanted, HISTORY_SYNC, T + HOUR);
	put(&wanted, HISTORY_LOST, T + HOUR, "21", "203.0.113.7");
	put(&wanted, HISTORY_GAINED, T + HOUR, "23", "203.0.113.23");
	assert_int_equal(history_reconcile(file.data, file.length, HISTORY_SYNC, T + HOUR,
				 listing.data, listing.length, &more),
		0);
	assert_string_equal(text_string(&more), text_string(&wanted));
	text_free(&file);
	text_free(&listing);
	text_free(&more);
	text_free(&wanted);
}

static bool is_listed(const struct text *file, size_t size, const struct text *listing)
{
	return history_is_listed(file->data, file->length, size, listing->data, listing->length);
}

static void test_a_list_is_known_by_the_last_line(void **state)
{
	struct text file = {0}, listing = {0}, other = {0};
	size_t before;

	(void)state;
	put_had(&listing, "21", "203.0.113.7");
	put_had(&other, "21", "203.0.113.8");
	mark(&file, HISTORY_SYNC, T);
	before = file.length;
	history_print_listed(1000 + before, 7, T, listing.data, listing.length, &file);
	assert_true(is_listed(&file, 1000 + file.length, &listing));
	assert_false(is_listed(&file, 1000 + file.length, &other));
	/* Something is missing before it, or there is more. */
	assert_false(is_listed(&file, 999 + file.length, &listing));
	assert_false(is_listed(&file, 1001 + file.length, &listing));
	/* Another seed is another digest. */
	file.data[before + sizeof("2026-11-22T10:00:00Z listed 1043 012345678901234")] ^= 1;
	assert_false(is_listed(&file, 1000 + file.length, &listing));
	file.data[before + sizeof("2026-11-22T10:00:00Z listed 1043 012345678901234")] ^= 1;
	assert_true(is_listed(&file, 1000 + file.length, &listing));
	/* Not the last line; not a whole one; not behind a whole one. */
	mark(&file, HISTORY_SYNC, T);
	assert_false(is_listed(&file, 1000 + file.length, &listing));
	file.length = before;
	history_print_listed(before, 7, T, listing.data, listing.length, &file);
	file.length--;
	assert_false(is_listed(&file, file.length, &listing));
	text_clear(&file);
	history_print_listed(0, 7, T, listing.data, listing.length, &file);
	assert_false(is_listed(&file, file.length, &listing));
	text_clear(&file);
	assert_false(is_listed(&file, 0, &listing));
	text_free(&file);
	text_free(&listing);
	text_free(&other);
}

/* A reload that changes nothing leaves no trace. */
static void test_who_goes_on_says_only_what_is_new(void **state)
{
	struct text file = {0}, listing = {0}, more = {0}, wanted = {0};

	(void)state;
	mark(&file, HISTORY_FILE, T);
	mark(&file, HISTORY_RUN, T);
	put(&file, HISTORY_GAINED, T, "21", "203.0.113.7");
	put_had(&listing, "21", "203.0.113.7");
	assert_int_equal(history_reconcile(file.data, file.length, HISTORY_ALIVE, T + HOUR,
				 listing.data, listing.length, &more),
		0);
	assert_int_equal(more.length, 0);
	put_had(&listing, "23", "203.0.113.23");
	put(&wanted, HISTORY_GAINED, T + HOUR, "23", "203.0.113.23");
	assert_int_equal(history_reconcile(file.data, file.length, HISTORY_ALIVE, T + HOUR,
				 listing.data, listing.length, &more),
		0);
	assert_string_equal(text_string(&more), text_string(&wanted));
	/* After an end, or in a file that is torn, he begins anew. */
	text_clear(&more);
	text_clear(&wanted);
	mark(&file, HISTORY_END, T + 1);
	mark(&wanted, HISTORY_RUN, T + HOUR);
	put(&wanted, HISTORY_GAINED, T + HOUR, "23", "203.0.113.23");
	assert_int_equal(history_reconcile(file.data, file.length, HISTORY_ALIVE, T + HOUR,
				 listing.data, listing.length, &more),
		0);
	assert_string_equal(text_string(&more), text_string(&wanted));
	text_free(&file);
	text_free(&listing);
	text_free(&more);
	text_free(&wanted);
}

/* Else files end too early, and what they say is gone too soon. */
static void test_head_is_as_long_as_foreseen(void **state)
{
	struct text listing = {0}, file = {0}, head = {0};
	char id[8];

	(void)state;
	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "%d", 100 + i);
		put_had(&listing, id, i % 2 ? "203.0.113.7" : "2001:db8::7");
	}
	assert_int_equal(
		history_reconcile("", 0, HISTORY_SYNC, T, listing.data, listing.length, &file), 0);
	assert_int_equal(history_head(file.data, file.length, T + HOUR, &head), 0);
	assert_int_equal(history_head_size(listing.data, listing.length),
		head.length - (size_t)(strchr(head.data, '\n') + 1 - head.data));
	assert_int_equal(history_head_size("", 0), 0);
	text_free(&listing);
	text_free(&file);
	text_free(&head);
}

static void test_file_that_follows_says_the_same(void **state)
{
	struct text first = {0}, second = {0};
	const struct text *both[] = {&first, &second};
	struct history *history;

	(void)state;
	mark(&first, HISTORY_FILE, T);
	mark(&first, HISTORY_RUN, T);
	put(&first, HISTORY_GAINED, T, "21", "203.0.113.7");
	put(&first, HISTORY_GAINED, T, "22", "203.0.113.22");
	put(&first, HISTORY_LOST, T + HOUR, "22", "203.0.113.22");
	assert_int_equal(history_head(first.data, first.length, T + 2 * HOUR, &second), 0);
	assert_string_equal(text_string(&second),
		"2026-11-22T12:00:00Z file 1 on 2026-11-22T11:00:00Z\n"
		"2026-11-22T12:00:00Z has extension 21 home.example A 203.0.113.7 "
		"2026-11-22T10:00:00Z\n");
	mark(&second, HISTORY_ALIVE, T + 4 * HOUR);
	/* Alone: since when it has the address is known, and what was before is not. */
	history = read_text(&second);
	assert_int_equal(history_count(history), 1);
	assert_int_equal(history_entry(history, 0)->from, T);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 2 * HOUR - 1), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 3 * HOUR), HISTORY_HAD);
	history_free(history);
	/* Behind the first: without a gap, and nothing is there twice. */
	history = read_texts(both, 2);
	assert_int_equal(history_count(history), 2);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 90 * MINUTE), HISTORY_HAD);
	assert_int_equal(at(history, "22", "203.0.113.22", T + 3 * HOUR), HISTORY_HAD_NOT);
	history_free(history);
	text_free(&first);
	text_free(&second);
}

static void test_missing_file_between_two(void **state)
{
	struct text first = {0}, third = {0};
	const struct text *both[] = {&first, &third};
	struct history *history;

	(void)state;
	mark(&first, HISTORY_RUN, T);
	put(&first, HISTORY_GAINED, T, "21", "203.0.113.7");
	put(&first, HISTORY_GAINED, T, "22", "203.0.113.22");
	history_print_line(&(struct history_line){.word = HISTORY_FILE,
				   .when = T + 9 * HOUR,
				   .on = true,
				   .other = T + 8 * HOUR},
		&third);
	put(&third, HISTORY_HAS, T + 9 * HOUR, "22", "203.0.113.22");
	mark(&third, HISTORY_ALIVE, T + 10 * HOUR);
	history = read_texts(both, 2);
	assert_int_equal(at(history, "21", "203.0.113.7", T), HISTORY_HAD);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 5 * HOUR), HISTORY_UNKNOWN);
	assert_int_equal(at(history, "21", "203.0.113.7", T + 9 * HOUR), HISTORY_HAD_NOT);
	assert_int_equal(at(history, "22", "203.0.113.22", T + 9 * HOUR), HISTORY_HAD);
	history_free(history);
	text_free(&first);
	text_free(&third);
}

/* Against a simple model: a day of minutes, in which phones move and recorders come and go. */
static void test_against_a_model(void **state)
{
	enum { IDS = 3, ADDRESSES = 4, MINUTES = 600, FILES = 64 };
	struct dice dice = dice_new("model");

	(void)state;
	for (int round = 0; round < 200; round++) {
		bool had[MINUTES][IDS][ADDRESSES] = {0}, now[IDS][ADDRESSES] = {0};
		struct text files[FILES] = {0}, *file = files;
		const struct text *all[FILES];
		struct history *history;

		for (int minute = 0; minute < MINUTES; minute++) {
			int64_t when = T + minute * MINUTE;
			struct text listing = {0}, more = {0};
			unsigned id = dice_roll(&dice, IDS), which = dice_roll(&dice, ADDRESSES);
			bool look = minute == 0 || dice_roll(&dice, 20) == 0;
			char name[8], address[32];

			snprintf(name, sizeof(name), "%u", id);
			snprintf(address, sizeof(address), "203.0.113.%u", which);
			if (dice_roll(&dice, 10) == 0) {
				now[id][which] = !now[id][which];
				if (!look)
					put(file, now[id][which] ? HISTORY_GAINED : HISTORY_LOST,
						when, name, address);
			}
			for (unsigned i = 0; look && i < IDS * ADDRESSES; i++) {
				snprintf(name, sizeof(name), "%u", i / ADDRESSES);
				snprintf(address, sizeof(address), "203.0.113.%u", i % ADDRESSES);
				if (now[i / ADDRESSES][i % ADDRESSES])
					put_had(&listing, name, address);
			}
			if (look) {
				/* Up to this minute it was there: there is no gap. */
				if (minute > 0)
					mark(file, HISTORY_ALIVE, when - 1);
				assert_int_equal(history_reconcile(text_string(file), file->length,
							 HISTORY_RUN, when, text_string(&listing),
							 listing.length, &more),
					0);
				text_write(file, more.data, more.length);
			}
			if (dice_roll(&dice, 100) == 0 && file < files + FILES - 1) {
				assert_int_equal(
					history_head(file->data, file->length, when, file + 1), 0);
				file++;
			}
			memcpy(had[minute], now, sizeof(now));
			text_free(&listing);
			text_free(&more);
		}
		for (size_t i = 0; i < FILES; i++)
			all[i] = &files[i];
		history = read_texts(all, (size_t)(file - files) + 1);
		for (int i = 0; i < 500; i++) {
			unsigned id = dice_roll(&dice, IDS), which = dice_roll(&dice, ADDRESSES);
			int minute = (int)dice_roll(&dice, MINUTES);
			char name[8], address[32];

			snprintf(name, sizeof(name), "%u", id);
			snprintf(address, sizeof(address), "203.0.113.%u", which);
			assert_int_equal(at(history, name, address,
						 T + minute * MINUTE + (int)dice_roll(&dice, 58)),
				had[minute][id][which] ? HISTORY_HAD : HISTORY_HAD_NOT);
		}
		history_free(history);
		for (size_t i = 0; i < FILES; i++)
			text_free(&files[i]);
	}
}

static void test_random_bytes(void **state)
{
	struct dice dice = dice_new("bytes");

	(void)state;
	for (int round = 0; round < 300; round++) {
		struct text text = {0}, head = {0};
		struct history *history;

		mark(&text, HISTORY_RUN, T);
		for (int i = 0; i < 30; i++)
			put(&text, HISTORY_FILE + dice_roll(&dice, HISTORY_WORD_COUNT),
				T + dice_roll(&dice, 1000), "21", "203.0.113.7");
		for (int i = 0; i < 5; i++)
			text.data[dice_roll(&dice, (unsigned)text.length)] =
				(char)dice_roll(&dice, 256);
		history = read_text(&text);
		at(history, "21", "203.0.113.7", T + 500);
		history_free(history);
		assert_int_equal(history_head(text.data, text.length, T, &head), 0);
		text_free(&head);
		text_free(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_as_the_manual_has_them),
		cmocka_unit_test(test_days_of_the_calendar),
		cmocka_unit_test(test_words_that_need_escapes),
		cmocka_unit_test(test_nonsense_is_no_line),
		cmocka_unit_test(test_times_of_all_centuries),
		cmocka_unit_test(test_ids_of_any_bytes),
		cmocka_unit_test(test_while_a_daemon_runs),
		cmocka_unit_test(test_prefix_has_all_of_its_addresses),
		cmocka_unit_test(test_short_and_long_gaps),
		cmocka_unit_test(test_kill_leaves_a_gap_behind_the_last_line),
		cmocka_unit_test(test_damage_hides_what_comes_behind_it),
		cmocka_unit_test(test_cut_at_any_byte),
		cmocka_unit_test(test_clock_set_back_says_only_what_both_times_agree_on),
		cmocka_unit_test(test_clock_set_forward_covers_nothing_between),
		cmocka_unit_test(test_second_back_is_no_other_time),
		cmocka_unit_test(test_reconcile_says_the_difference),
		cmocka_unit_test(test_a_list_is_known_by_the_last_line),
		cmocka_unit_test(test_who_goes_on_says_only_what_is_new),
		cmocka_unit_test(test_head_is_as_long_as_foreseen),
		cmocka_unit_test(test_file_that_follows_says_the_same),
		cmocka_unit_test(test_missing_file_between_two),
		cmocka_unit_test(test_against_a_model),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
