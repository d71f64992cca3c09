/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of the log, as they are read by others. */
#include "check.h"

#include "event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum { ROUNDS = 20000, VALUE_MAX = 40 };

static void test_line_of_all_kinds(void **state)
{
	struct addr old = {.family = FAMILY_IPV4, .bytes = {203, 0, 113, 7}};
	struct event event;

	(void)state;
	event_begin(&event, EVENT_NOTICE, "change");
	event_put(&event, "extension", "21");
	event_put(&event, "host", "home21.dyndns.example");
	event_put_addrs(&event, "old", &old, 1);
	event_put_addrs(&event, "new", NULL, 0);
	event_put_number(&event, "elements", -5);
	event_put(&event, "reason", "no answer in time");
	event_put(&event, "plain", "aZ09.,:;/_+-%@*");
	assert_int_equal(event.level, EVENT_NOTICE);
	assert_string_equal(text_string(&event.line),
		"event=change extension=21 host=home21.dyndns.example old=203.0.113.7 new=- "
		"elements=-5 reason=\"no answer in time\" plain=aZ09.,:;/_+-%@*");
	event_clear(&event);
	event_begin(&event, EVENT_ERROR, "stop");
	event_put_number(&event, "least", INT64_MIN);
	event_put_number(&event, "most", INT64_MAX);
	assert_string_equal(text_string(&event.line),
		"event=stop least=-9223372036854775808 most=9223372036854775807");
	event_clear(&event);
}

static void test_values_are_quoted(void **state)
{
	static const struct {
		const char *value, *printed;
	} cases[] = {
		{NULL, "\"\""},
		{"", "\"\""},
		{"a b", "\"a b\""},
		{"a=b", "\"a=b\""},
		{"a\"b", "\"a\\\"b\""},
		{"a\\b", "\"a\\\\b\""},
		{"a\nb", "\"a\\x0ab\""},
		{"\x7f\xff", "\"\\x7f\\xff\""},
		{"\xc3\xbc", "\"\\xc3\\xbc\""},
		{"<3>", "\"<3>\""},
		{"a#", "\"a#\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char expected[80];
		struct event event;

		snprintf(expected, sizeof(expected), "event=e key=%s", cases[i].printed);
		event_begin(&event, EVENT_INFO, "e");
		event_put(&event, "key", cases[i].value);
		assert_string_equal(text_string(&event.line), expected);
		event_clear(&event);
	}
}

static void test_addresses_are_counted_after_the_eighth(void **state)
{
	struct addr addrs[300];
	struct event event;

	(void)state;
	for (size_t i = 0; i < 300; i++)
		addrs[i] = (struct addr){.family = FAMILY_IPV4, .bytes = {10, 0, 0, (uint8_t)i}};
	addrs[1] = (struct addr){.family = FAMILY_IPV6, .bytes = {0x20, 1}};
	event_begin(&event, EVENT_INFO, "e");
	event_put_addrs(&event, "a", addrs, 2);
	event_put_addrs(&event, "b", addrs, 8);
	event_put_addrs(&event, "c", addrs, 9);
	event_put_addrs(&event, "d", addrs, 300);
	assert_string_equal(text_string(&event.line),
		"event=e a=10.0.0.0,2001:: "
		"b=10.0.0.0,2001::,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7 "
		"c=10.0.0.0,2001::,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,+1 "
		"d=10.0.0.0,2001::,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,+292");
	event_clear(&event);
}

/* Reads a value by the rules of the header; returns what stands behind it. */
static const char *read_value(const char *at, char *value)
{
	bool quoted = *at == '"';

	if (quoted)
		at++;
	while (*at && *at != (quoted ? '"' : ' ')) {
		char digits[3] = {0};

		assert_in_range(*at, 0x20, 0x7e);
		if (quoted && at[0] == '\\' && at[1] == 'x') {
			memcpy(digits, at + 2, 2);
			*value++ = (char)strtoul(digits, NULL, 16);
			at += 4;
			continue;
		}
		if (quoted && *at == '\\')
			at++;
		*value++ = *at++;
	}
	*value = '\0';
	if (quoted)
		assert_int_equal(*at++, '"');
	return at;
}

static void test_any_value_can_be_read_back(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		char values[2][VALUE_MAX + 1] = {{0}}, read[VALUE_MAX + 1];
		const char *at;
		struct event event;

		event_begin(&event, EVENT_INFO, "e");
		for (size_t j = 0; j < 2; j++) {
			size_t length = dice_roll(&dice, VALUE_MAX);
			bool tame = dice_roll(&dice, 2);

			for (size_t k = 0; k < length; k++)
				values[j][k] = tame ? (char)('\x20' + dice_roll(&dice, 95))
						    : (char)(1 + dice_roll(&dice, 255));
			event_put(&event, "key", values[j]);
		}
		at = text_string(&event.line) + strlen("event=e");
		for (size_t j = 0; j < 2; j++) {
			assert_memory_equal(at, " key=", 5);
			at = read_value(at + 5, read);
			assert_string_equal(read, values[j]);
		}
		assert_int_equal(*at, '\0');
		event_clear(&event);
	}
}

static void test_fields_are_read_one_by_one(void **state)
{
	static const struct {
		const char *line, *fields; /* key=value| each */
	} cases[] = {
		{"", ""},
		{"event=e", "event=e|"},
		{"event=e a=1 b=\"\" c=\"x y\"\nevent=other", "event=e|a=1|b=|c=x y|"},
		{"a=\"x=\\\"y\\\" \\\\ \\x0a\" b=2", "a=x=\"y\" \\ \\x0a|b=2|"},
		{"no key a=1  b=2", "a=1|b=2|"},
		{"a=\"no end", "a=no end|"},
		{"a=\"no end\\", "a=no end\\|"},
		{"akeyof32bytesaaaaaaaaaaaaaaaaaaa=1 akeyof31bytesaaaaaaaaaaaaaaaaaa=2",
			"akeyof31bytesaaaaaaaaaaaaaaaaaa=2|"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *at = cases[i].line;
		struct text value = {0}, read = {0};
		char key[EVENT_KEY_SIZE];

		while (event_next(&at, key, &value))
			text_printf(&read, "%s=%s|", key, text_string(&value));
		assert_string_equal(text_string(&read), cases[i].fields);
		assert_true(*at == '\0' || *at == '\n');
		assert_false(event_next(&at, key, &value));
		text_free(&value);
		text_free(&read);
	}
}

/* Nothing to do is no key. */
static void test_errors(void **state)
{
	struct error error = {0};
	struct event event;

	(void)state;
	error_set(&error, -EIO, "", "no disk");
	event_begin(&event, EVENT_ERROR, "save");
	event_put_error(&event, &error);
	assert_string_equal(text_string(&event.line), "event=save error=\"no disk\"");
	text_free(&event.line);
	error = (struct error){0};
	error_set(&error, -EIO, "buy one", "no disk");
	event_begin(&event, EVENT_ERROR, "save");
	event_put_error(&event, &error);
	assert_string_equal(
		text_string(&event.line), "event=save error=\"no disk\" next=\"buy one\"");
	text_free(&event.line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_of_all_kinds),
		cmocka_unit_test(test_values_are_quoted),
		cmocka_unit_test(test_addresses_are_counted_after_the_eighth),
		cmocka_unit_test(test_any_value_can_be_read_back),
		cmocka_unit_test(test_fields_are_read_one_by_one),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
