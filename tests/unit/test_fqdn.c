/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fqdn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void assert_name(const char *text, const char *expected)
{
	char name[FQDN_SIZE];
	size_t at = 999;

	assert_int_equal(fqdn_parse(text, strlen(text), name, &at), FQDN_OK);
	assert_string_equal(name, expected);
	assert_int_equal(at, 999);
}

static void assert_refused(const char *text, enum fqdn_error expected, size_t expected_at)
{
	char name[FQDN_SIZE] = "untouched";
	size_t at = 999;

	assert_int_equal(fqdn_parse(text, strlen(text), name, &at), expected);
	assert_int_equal(at, expected_at);
	assert_string_equal(name, "untouched");
}

/* `count` labels of `size` times "a", and one more of `last`. */
static void fill(char *text, size_t count, size_t size, size_t last)
{
	for (size_t i = 0; i < count; i++) {
		memset(text, 'a', size);
		text[size] = '.';
		text += size + 1;
	}
	memset(text, 'a', last);
	text[last] = '\0';
}

static void test_good_names(void **state)
{
	(void)state;
	assert_name("a.b", "a.b");
	assert_name("home21.dyndns.example", "home21.dyndns.example");
	assert_name("Home21.DynDNS.Example.", "home21.dyndns.example");
	assert_name("_sip._udp.voipco.example", "_sip._udp.voipco.example");
	assert_name("0-1.xn--bcher-kva.example", "0-1.xn--bcher-kva.example");
	assert_name("1.2.3.4a", "1.2.3.4a");
}

static void test_bad_names(void **state)
{
	(void)state;
	assert_refused("", FQDN_EMPTY, 0);
	assert_refused(".", FQDN_LABEL_EMPTY, 0);
	assert_refused(".a.b", FQDN_LABEL_EMPTY, 0);
	assert_refused("a..b", FQDN_LABEL_EMPTY, 2);
	assert_refused("a.b..", FQDN_LABEL_EMPTY, 4);
	assert_refused("localhost", FQDN_NO_DOT, 0);
	assert_refused("localhost.", FQDN_NO_DOT, 0);
	assert_refused("a b.c", FQDN_BAD_CHARACTER, 1);
	assert_refused("a.b/24", FQDN_BAD_CHARACTER, 3);
	assert_refused("*.b.c", FQDN_BAD_CHARACTER, 0);
	/* The neighbours of the letters. */
	assert_refused("a@.b", FQDN_BAD_CHARACTER, 1);
	assert_refused("a[.b", FQDN_BAD_CHARACTER, 1);
	assert_refused("a`.b", FQDN_BAD_CHARACTER, 1);
	assert_refused("a{.b", FQDN_BAD_CHARACTER, 1);
	assert_refused("b\xc3\xbc"
		       "cher.example",
		FQDN_NOT_ASCII, 1);
	assert_refused("-a.b", FQDN_HYPHEN, 0);
	assert_refused("a.b-", FQDN_HYPHEN, 3);
	assert_refused("a-.b", FQDN_HYPHEN, 1);
	assert_refused("203.0.113.300", FQDN_NUMERIC, 10);
	assert_refused("phone.1", FQDN_NUMERIC, 6);
	assert_refused("21", FQDN_NUMERIC, 0);
}

static void test_bytes_behind_nul_count(void **state)
{
	char name[FQDN_SIZE];
	size_t at;

	(void)state;
	assert_int_equal(fqdn_parse("a.b\0.c", 6, name, &at), FQDN_BAD_CHARACTER);
	assert_int_equal(at, 3);
	assert_int_equal(fqdn_parse("a.bc.d", 3, name, &at), FQDN_OK);
	assert_string_equal(name, "a.b");
}

static void test_sizes(void **state)
{
	char text[300], expected[300];

	(void)state;
	fill(text, 1, 63, 2);
	assert_name(text, text);
	fill(text, 1, 64, 2);
	assert_refused(text, FQDN_LABEL_TOO_LONG, 0);
	fill(text, 1, 2, 64);
	assert_refused(text, FQDN_LABEL_TOO_LONG, 3);

	fill(text, 3, 63, 61); /* 253 */
	assert_int_equal(strlen(text), 253);
	assert_name(text, text);
	memcpy(expected, text, 254);
	strcat(text, ".");
	assert_name(text, expected);
	fill(text, 3, 63, 62); /* 254 */
	assert_refused(text, FQDN_TOO_LONG, 253);
}

static void test_every_error_has_a_text(void **state)
{
	(void)state;
	for (int error = FQDN_OK; error <= (int)FQDN_NUMERIC; error++) {
		const char *text = fqdn_error_text((enum fqdn_error)error);
		assert_true(strlen(text) > 5);
		assert_string_not_equal(text, "not a name");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_names),
		cmocka_unit_test(test_bad_names),
		cmocka_unit_test(test_bytes_behind_nul_count),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_every_error_has_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
