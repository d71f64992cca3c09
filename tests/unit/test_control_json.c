/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "control_json.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

enum { ROUNDS = 20000 };

static int parse(const char *line, size_t length, struct control_request *request)
{
	struct error error = {0};
	int result = control_request_parse(line, length, request, &error);

	if (result < 0) {
		assert_int_equal(error.code, result);
		assert_true(error.what[0] != '\0' && error.next[0] != '\0');
		for (const char *c = error.what; *c; c++) /* … is the one sign beyond ASCII */
			assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
	}
	return result;
}

static void assert_refused(const char *line, size_t length, const char *word)
{
	struct control_request request;
	struct error error = {0};

	assert_int_equal(parse(line, length, &request), -EINVAL);
	control_request_parse(line, length, &request, &error);
	if (!strstr(error.what, word))
		fail_msg("%.60s: `%s` lacks `%s`", line, error.what, word);
}

static void test_good_requests(void **state)
{
	static const char refresh[] =
		" {\"names\": [\"A.Example.\", \"b.example\"], \"request\": \"refresh\"}\r";
	struct control_request request;

	(void)state;
	assert_int_equal(parse("{\"request\":\"status\"}", 20, &request), 0);
	assert_int_equal(request.kind, CONTROL_STATUS);
	control_request_clear(&request);
	assert_int_equal(parse("{\"request\":\"reload\"}", 20, &request), 0);
	assert_int_equal(request.kind, CONTROL_RELOAD);
	control_request_clear(&request);
	assert_int_equal(parse("{\"request\":\"remove\"}", 20, &request), 0);
	assert_int_equal(request.kind, CONTROL_REMOVE);
	control_request_clear(&request);
	assert_int_equal(parse("{\"request\":\"refresh\"}", 21, &request), 0);
	assert_int_equal(request.kind, CONTROL_REFRESH);
	assert_int_equal(request.name_count, 0);
	control_request_clear(&request);
	assert_int_equal(parse(refresh, sizeof(refresh) - 1, &request), 0);
	assert_int_equal(request.kind, CONTROL_REFRESH);
	assert_int_equal(request.name_count, 2);
	assert_string_equal(request.names[0], "a.example");
	assert_string_equal(request.names[1], "b.example");
	control_request_clear(&request);
	assert_int_equal(parse("{\"request\":\"why\",\"what\":\"::1\"}", 30, &request), 0);
	assert_int_equal(request.kind, CONTROL_WHY);
	assert_string_equal(request.what, "::1");
	control_request_clear(&request);
}

static void test_bad_requests(void **state)
{
	static const struct {
		const char *line, *word;
	} rows[] = {
		{"", "no JSON"},
		{"{", "no JSON"},
		{"{\"request\":\"status\"} x", "no JSON"},
		{"{\"request\":\"status\"}{}", "no JSON"},
		{"7", "no JSON"},
		{"\"status\"", "no JSON"},
		{"[\"status\"]", "not a JSON object"},
		{"{}", "no \"request\""},
		{"{\"request\":7}", "no \"request\""},
		{"{\"request\":null}", "no \"request\""},
		{"{\"request\":\"Status\"}", "unknown request `Status`"},
		{"{\"request\":\"a\\u001b[31m\"}", "`a\\x1b[31m`"},
		{"{\"request\":\"status\",\"request\":\"remove\"}", "duplicate"},
		{"{\"request\":\"status\",\"colour\":1}", "unknown key `colour`"},
		{"{\"request\":\"status\",\"a\\u202eb\":1}", "unknown key `a\\xe2\\x80\\xaeb`"},
		{"{\"request\":\"status\",\"names\":[\"a.example\"]}", "unknown key `names`"},
		{"{\"request\":\"refresh\",\"what\":\"a.example\"}", "unknown key `what`"},
		{"{\"request\":\"refresh\",\"names\":\"a.example\"}", "not a list"},
		{"{\"request\":\"refresh\",\"names\":null}", "not a list"},
		{"{\"request\":\"refresh\",\"names\":[]}", "empty"},
		{"{\"request\":\"refresh\",\"names\":[\"a.example\",7]}", "names[1]"},
		{"{\"request\":\"refresh\",\"names\":[[\"a.example\"]]}", "names[0]"},
		{"{\"request\":\"refresh\",\"names\":[\"localhost\"]}", "`localhost`"},
		{"{\"request\":\"refresh\",\"names\":[\"\"]}", "empty"},
		{"{\"request\":\"refresh\",\"names\":[\"192.0.2.1\"]}", "number"},
		{"{\"request\":\"refresh\",\"names\":[\"caf\\u00e9.example\"]}", "\\xc3\\xa9"},
		{"{\"request\":\"why\"}", "needs"},
		{"{\"request\":\"why\",\"what\":\"\"}", "needs"},
		{"{\"request\":\"why\",\"what\":21}", "needs"},
		{"{\"request\":\"why\",\"what\":\"a b\"}", "`a b`"},
		{"{\"request\":\"why\",\"what\":\"\\u00e9\"}", "\\xc3\\xa9"},
		{"{\"request\":\"why\",\"what\":\"a\\u0000b\"}", "no JSON"},
		{"{\"request\":\"sta\xff\"}", "no JSON"},
		{"{\"request\":\"sta\xc0\x80\"}", "no JSON"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_refused(rows[i].line, strlen(rows[i].line), rows[i].word);
	assert_refused("{\"request\":\"status\"}\0", 21, "no JSON");
	assert_refused("{\"request\":\"sta\0us\"}", 20, "no JSON");
}

static void test_long_words(void **state)
{
	struct text line = {0};
	struct control_request request;

	(void)state;
	for (size_t length = CONTROL_WHAT_SIZE - 1; length <= CONTROL_WHAT_SIZE; length++) {
		text_clear(&line);
		text_puts(&line, "{\"request\":\"why\",\"what\":\"");
		for (size_t i = 0; i < length; i++)
			text_puts(&line, "x");
		text_puts(&line, "\"}");
		assert_int_equal(parse(line.data, line.length, &request),
			length < CONTROL_WHAT_SIZE ? 0 : -EINVAL);
		if (length < CONTROL_WHAT_SIZE)
			control_request_clear(&request);
	}
	text_free(&line);
}

/* Neither a crash, nor a stack that grows with the line. */
static void test_nesting(void **state)
{
	static const char *const openings[] = {"[", "{\"a\":", "{\"request\":", "[{\"a\":"};

	(void)state;
	for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
		struct text line = {0};

		for (int depth = 0; depth < 500000; depth++)
			text_puts(&line, openings[i]);
		assert_refused(line.data, line.length, "no JSON");
		text_free(&line);
	}
}

static void print_names(struct text *line, size_t count)
{
	text_clear(line);
	text_puts(line, "{\"request\":\"refresh\",\"names\":[");
	for (size_t i = 0; i < count; i++)
		text_printf(line, "%s\"N%zu.example.\"", i ? "," : "", i);
	text_puts(line, "]}");
}

static void test_many_names(void **state)
{
	struct control_request request;
	struct text line = {0}, again = {0};

	(void)state;
	print_names(&line, CONTROL_MAX_NAMES + 1);
	assert_refused(line.data, line.length, "more than 100000");
	print_names(&line, CONTROL_MAX_NAMES);
	assert_int_equal(parse(line.data, line.length, &request), 0);
	assert_int_equal(request.name_count, CONTROL_MAX_NAMES);
	assert_string_equal(request.names[99999], "n99999.example");
	control_request_print(&request, &again);
	control_request_clear(&request);
	assert_int_equal(parse(again.data, again.length, &request), 0);
	assert_int_equal(request.name_count, CONTROL_MAX_NAMES);
	assert_string_equal(request.names[1], "n1.example");
	control_request_clear(&request);
	text_free(&line);
	text_free(&again);
}

static void assert_printed(const struct control_request *request, const char *expected)
{
	struct control_request back;
	struct text text = {0};

	control_request_print(request, &text);
	assert_string_equal(text_string(&text), expected);
	assert_int_equal(parse(text.data, text.length, &back), 0);
	assert_int_equal(back.kind, request->kind);
	control_request_clear(&back);
	text_free(&text);
}

static void test_print_requests(void **state)
{
	static const char *const names[] = {"a.example", "b.example"};

	(void)state;
	assert_printed(
		&(struct control_request){.kind = CONTROL_STATUS}, "{\"request\":\"status\"}");
	assert_printed(
		&(struct control_request){.kind = CONTROL_REFRESH}, "{\"request\":\"refresh\"}");
	assert_printed(
		&(struct control_request){.kind = CONTROL_REFRESH, .names = names, .name_count = 2},
		"{\"request\":\"refresh\",\"names\":[\"a.example\",\"b.example\"]}");
	assert_printed(
		&(struct control_request){.kind = CONTROL_RELOAD}, "{\"request\":\"reload\"}");
	assert_printed(
		&(struct control_request){.kind = CONTROL_REMOVE}, "{\"request\":\"remove\"}");
	assert_printed(&(struct control_request){.kind = CONTROL_WHY, .what = "2\"1\\"},
		"{\"request\":\"why\",\"what\":\"2\\\"1\\\\\"}");
}

static void test_print_answers(void **state)
{
	struct error error = {.code = -5, .what = "a \"b\"\n\xff", .next = "caf\xc3\xa9"};
	struct text text = {0};

	(void)state;
	control_print_ok(&text, NULL);
	assert_string_equal(text.data, "{\"ok\":true}");
	text_clear(&text);
	control_print_ok(&text, "\"asked\":3");
	assert_string_equal(text.data, "{\"ok\":true,\"asked\":3}");
	text_clear(&text);
	control_print_error(&text, 2, &error);
	assert_string_equal(text.data,
		"{\"ok\":false,\"exit\":2,\"error\":\"a \\\"b\\\"\\u000a\\ufffd\","
		"\"next\":\"caf\xc3\xa9\"}");
	text_free(&text);
}

static void test_utf8(void **state)
{
	static const struct {
		const char *bytes, *expected;
	} rows[] = {
		{"\xc2\x80", "\"\xc2\x80\""},
		{"\xdf\xbf", "\"\xdf\xbf\""},
		{"\xe0\xa0\x80", "\"\xe0\xa0\x80\""},
		{"\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""},
		{"\xc1\xbf", "\"\\ufffd\\ufffd\""},			  /* too long a form */
		{"\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\""},		  /* too long a form */
		{"\xf0\x8f\xbf\xbf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* too long a form */
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},		  /* a surrogate */
		{"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* above U+10FFFF */
		{"\xc3", "\"\\ufffd\""},				  /* cut */
		{"a\xe2\x82", "\"a\\ufffd\\ufffd\""},			  /* cut */
		{"\xe2\x82\"", "\"\\ufffd\\ufffd\\\"\""},
		{"\x7f\x1f", "\"\\u007f\\u001f\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct text text = {0};

		control_print_string(&text, rows[i].bytes, strlen(rows[i].bytes));
		assert_string_equal(text.data, rows[i].expected);
		text_free(&text);
	}
}

/* Whatever stands in it, jansson reads it; and what is good text comes back as it was. */
static void test_any_bytes(void **state)
{
	struct dice dice = dice_new("test_any_bytes");

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		size_t length = dice_roll(&dice, 40);
		char bytes[40];
		struct text text = {0};
		json_t *value, *good;

		for (size_t i = 0; i < length; i++)
			bytes[i] = (char)(dice_roll(&dice, 2) ? dice_next(&dice)
							      : 0x7e + dice_roll(&dice, 0x82));
		control_print_string(&text, bytes, length);
		value = json_loadb(text.data, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_true(json_is_string(value));
		good = json_stringn(bytes, length);
		if (good) /* jansson's own judgement of UTF-8 */
			assert_true(json_equal(good, value));
		else
			assert_non_null(strstr(text.data, "\\ufffd"));
		json_decref(good);
		json_decref(value);
		text_free(&text);
	}
}

/* Damaged requests: an error or a request that can be printed and read again. */
static void test_damaged_lines(void **state)
{
	static const char *const lines[] = {
		"{\"request\":\"refresh\",\"names\":[\"a.example\",\"b.example\"]}",
		"{\"request\":\"why\",\"what\":\"192.0.2.1\"}",
		"{\"request\":\"status\"}",
	};
	struct dice dice = dice_new("test_damaged_lines");

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct control_request request = {0}, back = {0};
		struct text again = {0};
		char line[128];
		size_t length;

		snprintf(line, sizeof(line), "%s", lines[dice_roll(&dice, 3)]);
		length = strlen(line);
		for (unsigned i = dice_roll(&dice, 3); i > 0; i--)
			line[dice_roll(&dice, (unsigned)length)] = (char)dice_next(&dice);
		length -= dice_roll(&dice, 4) ? 0 : dice_roll(&dice, (unsigned)length);
		if (parse(line, length, &request) == 0) {
			control_request_print(&request, &again);
			assert_int_equal(parse(again.data, again.length, &back), 0);
			assert_int_equal(back.name_count, request.name_count);
			control_request_clear(&back);
			control_request_clear(&request);
		}
		text_free(&again);
	}
}

static unsigned long allocations_left;

static void *failing_malloc(size_t size)
{
	if (allocations_left == 0)
		return NULL;
	allocations_left--;
	return malloc(size);
}

/* jansson calls a token for which there was no memory an invalid one. */
static void test_out_of_memory(void **state)
{
	static const char line[] = "{\"request\":\"refresh\",\"names\":[\"a.example\"]}";
	unsigned long count = 0;
	int result = -ENOMEM;

	(void)state;
	json_set_alloc_funcs(failing_malloc, free);
	for (; result < 0 && count < 1000; count++) {
		struct control_request request;

		allocations_left = count;
		result = control_request_parse(line, sizeof(line) - 1, &request, NULL);
		assert_true(result == 0 || result == -ENOMEM || result == -EINVAL);
		if (count == 0)
			assert_int_equal(result, -ENOMEM);
		if (result == 0) {
			assert_int_equal(request.name_count, 1);
			control_request_clear(&request);
		}
	}
	json_set_alloc_funcs(malloc, free);
	assert_int_equal(result, 0);
	assert_true(count > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_requests),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_many_names),
		cmocka_unit_test(test_print_requests),
		cmocka_unit_test(test_print_answers),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_damaged_lines),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
