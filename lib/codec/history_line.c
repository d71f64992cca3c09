/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DAY = 24 * 60 * 60, TIME_LENGTH = 20 };

static const int64_t year_0 = -62167219200, year_9999_end = 253402300799;

static const char *const words[HISTORY_WORD_COUNT] = {
	[HISTORY_FILE] = "file",
	[HISTORY_RUN] = "run",
	[HISTORY_SYNC] = "sync",
	[HISTORY_MISSED] = "missed",
	[HISTORY_ALIVE] = "alive",
	[HISTORY_CLOCK] = "clock",
	[HISTORY_END] = "end",
	[HISTORY_HAS] = "has",
	[HISTORY_GAINED] = "gained",
	[HISTORY_LOST] = "lost",
	[HISTORY_LISTED] = "listed",
};

static const char *const kinds[OWNER_KIND_COUNT] = {
	[OWNER_EXTENSION] = "extension",
	[OWNER_PEER] = "peer",
};

static bool names_address(enum history_word word)
{
	return word == HISTORY_HAS || word == HISTORY_GAINED || word == HISTORY_LOST;
}

/* --- Times. The calendar's own arithmetic: no time zone, no locale, any second of 10,000 years ---
 */

/* Days since 1970-01-01 of a day of the Gregorian calendar. */
static int64_t days_of(int64_t year, int month, int day)
{
	/* Years that begin in March end with the leap day. */
	int64_t y = month > 2 ? year : year - 1;
	int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
	int64_t shifted = days + 719468;
	int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	int64_t of_era = shifted - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153;

	*ret_day = (int)(of_year - (153 * month + 2) / 5 + 1);
	*ret_month = (int)(month < 10 ? month + 3 : month - 9);
	*ret_year = (int)(year + era * 400 + (*ret_month <= 2));
}

static void put_digits(char *at, int count, unsigned number)
{
	while (count-- > 0) {
		at[count] = (char)('0' + number % 10);
		number /= 10;
	}
}

void history_print_time(int64_t when, struct text *text)
{
	char buffer[TIME_LENGTH + 1] = "0000-00-00T00:00:00Z";
	int year, month, day;
	int64_t days;
	unsigned second;

	if (when < year_0)
		when = year_0;
	if (when > year_9999_end)
		when = year_9999_end;
	days = (when >= 0 ? when : when - (DAY - 1)) / DAY;
	second = (unsigned)(when - days * DAY);
	date_of(days, &year, &month, &day);
	put_digits(buffer, 4, (unsigned)year);
	put_digits(buffer + 5, 2, (unsigned)month);
	put_digits(buffer + 8, 2, (unsigned)day);
	put_digits(buffer + 11, 2, second / 3600);
	put_digits(buffer + 14, 2, second / 60 % 60);
	put_digits(buffer + 17, 2, second % 60);
	text_write(text, buffer, TIME_LENGTH);
}

static bool digits(const char *at, int count, int most, int *ret_number)
{
	int number = 0;

	for (int i = 0; i < count; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		number = number * 10 + (at[i] - '0');
	}
	*ret_number = number;
	return number <= most;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

static bool parse_time(const char *at, size_t length, int64_t *ret_when)
{
	int year, month, day, hour, minute, second;

	if (length != TIME_LENGTH || at[4] != '-' || at[7] != '-' || at[10] != 'T' ||
		at[13] != ':' || at[16] != ':' || at[19] != 'Z')
		return false;
	if (!digits(at, 4, 9999, &year) || !digits(at + 5, 2, 12, &month) ||
		!digits(at + 8, 2, 31, &day) || !digits(at + 11, 2, 23, &hour) ||
		!digits(at + 14, 2, 59, &minute) || !digits(at + 17, 2, 59, &second) || month < 1 ||
		day < 1)
		return false;
	*ret_when = days_of(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
	return day <= days_in(year, month);
}

/* --- Printing --- */

/* One word of a line: no space, nothing that a terminal would act upon. */
static void put_word(struct text *text, const char *word)
{
	const char *plain = word; /* from here on nothing needs an escape */

	text_write(text, " ", 1);
	for (; *word; word++) {
		if (*word > ' ' && *word <= '~' && *word != '\\')
			continue;
		text_write(text, plain, (size_t)(word - plain));
		text_printf(text, "\\x%02x", (unsigned char)*word);
		plain = word + 1;
	}
	text_write(text, plain, (size_t)(word - plain));
}

static void put_other(struct text *text, const struct history_line *line)
{
	text_write(text, " ", 1);
	if (line->other)
		history_print_time(line->other, text);
	else
		text_puts(text, "-");
}

static void put_had(struct text *text, const struct history_line *line)
{
	char prefix[PREFIX_TEXT_SIZE];
	size_t length = prefix_print(&line->prefix, prefix);

	text_puts(text, kinds[line->kind]);
	put_word(text, line->id);
	put_word(text, line->host);
	text_puts(text, line->prefix.addr.family == FAMILY_IPV4 ? " A " : " AAAA ");
	text_write(text, prefix, length);
}

void history_print_had(const struct history_line *line, struct text *text)
{
	put_had(text, line);
	text_puts(text, "\n");
}

void history_print_line(const struct history_line *line, struct text *text)
{
	history_print_time(line->when, text);
	text_puts(text, " ");
	text_puts(text, words[line->word]);
	if (line->word == HISTORY_FILE)
		text_puts(text, line->on ? " 1 on" : " 1 off");
	if (names_address(line->word)) {
		text_puts(text, " ");
		put_had(text, line);
	}
	if (line->word == HISTORY_FILE || line->word == HISTORY_CLOCK || line->word == HISTORY_HAS)
		put_other(text, line);
	if (line->word == HISTORY_LISTED)
		text_printf(text, " %" PRIu64 " %016" PRIx64 " %016" PRIx64 "%016" PRIx64,
			line->size, line->seed, line->digest[0], line->digest[1]);
	text_puts(text, "\n");
}

/* --- Parsing --- */

struct cursor {
	const char *at, *end;
};

static bool next_word(struct cursor *cursor, const char **ret_word, size_t *ret_length)
{
	const char *space;

	if (!cursor->at || cursor->at >= cursor->end)
		return false;
	space = memchr(cursor->at, ' ', (size_t)(cursor->end - cursor->at));
	*ret_word = cursor->at;
	*ret_length = (size_t)((space ? space : cursor->end) - cursor->at);
	/* A line that ends with a space has one word more, an empty one. */
	cursor->at = space ? space + 1 : NULL;
	return *ret_length > 0;
}

static bool next_is(struct cursor *cursor, const char *wanted)
{
	const char *word;
	size_t length;

	return next_word(cursor, &word, &length) && length == strlen(wanted) &&
	       memcmp(word, wanted, length) == 0;
}

static bool next_of(struct cursor *cursor, const char *const *list, int count, int *ret_index)
{
	const char *word;
	size_t length;

	if (!next_word(cursor, &word, &length))
		return false;
	for (int i = 0; i < count; i++) {
		if (strlen(list[i]) == length && memcmp(list[i], word, length) == 0) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

static bool next_time(struct cursor *cursor, bool may_lack, int64_t *ret_when)
{
	const char *word;
	size_t length;

	if (!next_word(cursor, &word, &length))
		return false;
	if (may_lack && length == 1 && word[0] == '-') {
		*ret_when = 0;
		return true;
	}
	return parse_time(word, length, ret_when);
}

static int hex_digit(char digit)
{
	static const char all[] = "0123456789abcdef";
	const char *found = digit ? strchr(all, digit) : NULL;

	return found ? (int)(found - all) : -1;
}

/* A word without its escapes, and a NUL, at `*at`, which moves behind it; never longer than it is
 * in the line. */
static bool next_name(struct cursor *cursor, char **at, const char **ret_name)
{
	const char *word;
	size_t length;
	char *out = *at;

	if (!next_word(cursor, &word, &length))
		return false;
	for (size_t i = 0; i < length; i++) {
		int high, low;

		if ((unsigned char)word[i] <= ' ' || (unsigned char)word[i] > '~')
			return false;
		if (word[i] != '\\') {
			*out++ = word[i];
			continue;
		}
		if (length - i < 4 || word[i + 1] != 'x')
			return false;
		high = hex_digit(word[i + 2]);
		low = hex_digit(word[i + 3]);
		if (high < 0 || low < 0 || high + low == 0)
			return false;
		*out++ = (char)(high << 4 | low);
		i += 3;
	}
	*out++ = '\0';
	*ret_name = *at;
	*at = out;
	return true;
}

static bool parse_had(struct cursor *cursor, char *buffer, struct history_line *line)
{
	static const char *const types[FAMILY_COUNT] = {"A", "AAAA"};
	int kind, family;
	const char *prefix;
	size_t length;

	if (!next_of(cursor, kinds, OWNER_KIND_COUNT, &kind) ||
		!next_name(cursor, &buffer, &line->id) ||
		!next_name(cursor, &buffer, &line->host) ||
		!next_of(cursor, types, FAMILY_COUNT, &family) ||
		!next_word(cursor, &prefix, &length) ||
		prefix_parse(prefix, length, &line->prefix) != PREFIX_OK ||
		line->prefix.addr.family != family)
		return false;
	line->kind = (enum owner_kind)kind;
	return true;
}

bool history_parse_had(const char *line, size_t length, char *buffer, struct history_line *ret_line)
{
	struct cursor cursor = {.at = line, .end = line + length};
	struct history_line parsed = {.word = HISTORY_HAS};

	if (length >= HISTORY_LINE_MAX || !parse_had(&cursor, buffer, &parsed) || cursor.at)
		return false;
	*ret_line = parsed;
	return true;
}

static bool hexadecimal(const char *digits, uint64_t *ret_number)
{
	uint64_t number = 0;

	for (int i = 0; i < 16; i++) {
		int digit = hex_digit(digits[i]);

		if (digit < 0)
			return false;
		number = number << 4 | (uint64_t)digit;
	}
	*ret_number = number;
	return true;
}

static bool parse_listed(struct cursor *cursor, struct history_line *line)
{
	const char *word;
	size_t length;

	if (!next_word(cursor, &word, &length) || length > 18)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (word[i] < '0' || word[i] > '9')
			return false;
		line->size = line->size * 10 + (uint64_t)(word[i] - '0');
	}
	return next_word(cursor, &word, &length) && length == 16 &&
	       hexadecimal(word, &line->seed) && next_word(cursor, &word, &length) &&
	       length == 32 && hexadecimal(word, &line->digest[0]) &&
	       hexadecimal(word + 16, &line->digest[1]);
}

bool history_parse_line(
	const char *line, size_t length, char *buffer, struct history_line *ret_line)
{
	static const char *const off_on[] = {"off", "on"};
	struct cursor cursor = {.at = line, .end = line + length};
	struct history_line parsed = {0};
	int word, on;

	if (length >= HISTORY_LINE_MAX || !next_time(&cursor, false, &parsed.when) ||
		!next_of(&cursor, words, HISTORY_WORD_COUNT, &word))
		return false;
	parsed.word = (enum history_word)word;
	if (parsed.word == HISTORY_FILE) {
		if (!next_is(&cursor, "1") || !next_of(&cursor, off_on, 2, &on))
			return false;
		parsed.on = on == 1;
	}
	if (names_address(parsed.word) && !parse_had(&cursor, buffer, &parsed))
		return false;
	if ((parsed.word == HISTORY_FILE || parsed.word == HISTORY_CLOCK ||
		    parsed.word == HISTORY_HAS) &&
		!next_time(&cursor, parsed.word == HISTORY_FILE, &parsed.other))
		return false;
	if (parsed.word == HISTORY_LISTED && !parse_listed(&cursor, &parsed))
		return false;
	if (cursor.at)
		return false;
	*ret_line = parsed;
	return true;
}
