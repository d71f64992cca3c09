/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a real Kamailio makes of it: tests/system/test_export.py. */
#include "check.h"
#include "kamailio_acl.h"

#include <string.h>

static void permit(struct acl *acl, const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, strlen(text), &prefix), PREFIX_OK);
	assert_int_equal(acl_add(acl, &prefix), 0);
}

static void test_each_extension_has_a_group(void **state)
{
	struct acl acl = {0};
	struct text text = {0};

	(void)state;
	kamailio_acl_print("20", 0, &acl, &text);
	permit(&acl, "203.0.113.10");
	permit(&acl, "192.168.10.0/24");
	permit(&acl, "2001:db8::10");
	permit(&acl, "2001:db8:1::/64");
	acl_settle(&acl);
	kamailio_acl_print("0021", 1, &acl, &text);
	assert_string_equal(text_string(&text), "\n1000001 sipfence-20 32 0 20\n"
						"\n1000002 sipfence-0021 32 0 0021\n"
						"1000002 192.168.10.0 24 0 0021\n"
						"1000002 203.0.113.10 32 0 0021\n"
						"1000002 2001:db8::10 128 0 0021\n"
						"1000002 2001:db8:1:: 64 0 0021\n");
	text_free(&text);
	acl_clear(&acl);
}

static void test_subnets_are_counted(void **state)
{
	struct acl acl = {0};

	(void)state;
	assert_int_equal(kamailio_acl_subnets(&acl), 0);
	permit(&acl, "203.0.113.10");
	permit(&acl, "2001:db8::10");
	assert_int_equal(kamailio_acl_subnets(&acl), 0);
	permit(&acl, "192.168.10.0/24");
	permit(&acl, "2001:db8:1::/64");
	permit(&acl, "2001:db8:2::/127");
	assert_int_equal(kamailio_acl_subnets(&acl), 3);
	acl_clear(&acl);
}

/* A comment sign in an id would end the line, as a blank would end the id. */
static void test_ids_are_whole_words(void **state)
{
	struct acl acl = {0};
	struct text text = {0};

	(void)state;
	kamailio_acl_print("a._+-*#@!~", 0, &acl, &text);
	assert_string_equal(
		text_string(&text), "\n1000001 sipfence-a._+-*%23%40!~ 32 0 a._+-*%23%40!~\n");
	text_free(&text);
}

static void test_the_head_is_short_comment_lines(void **state)
{
	struct text text = {0};
	char path[4000];
	const char *line, *end;

	(void)state;
	memset(path, '\n', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	kamailio_acl_print_head(path, &text);
	for (line = text_string(&text); *line; line = end + 1) {
		end = strchr(line, '\n');
		assert_non_null(end);
		assert_int_equal(*line, '#');
		assert_true(end - line < 1000);
	}
	text_clear(&text);
	kamailio_acl_print_head("/etc/sipfence/sipfence.yaml", &text);
	assert_non_null(strstr(text_string(&text), "from /etc/sipfence/sipfence.yaml: "));
	text_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_extension_has_a_group),
		cmocka_unit_test(test_subnets_are_counted),
		cmocka_unit_test(test_ids_are_whole_words),
		cmocka_unit_test(test_the_head_is_short_comment_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
