/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"
#include "freeswitch_acl.h"

#include <string.h>

static void permit(struct acl *acl, const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, strlen(text), &prefix), PREFIX_OK);
	assert_int_equal(acl_add(acl, &prefix), 0);
}

static void test_each_extension_has_a_list_that_denies(void **state)
{
	struct acl acl = {0};
	struct text text = {0};

	(void)state;
	freeswitch_acl_print("20", &acl, &text);
	permit(&acl, "203.0.113.10");
	permit(&acl, "192.168.10.0/24");
	permit(&acl, "2001:db8::10");
	acl_settle(&acl);
	freeswitch_acl_print("0021", &acl, &text);
	freeswitch_acl_print_end(&text);
	assert_string_equal(text_string(&text),
		"<list name=\"sipfence-20\" default=\"deny\"/>\n"
		"<list name=\"sipfence-0021\" default=\"deny\">\n"
		"  <node type=\"allow\" cidr=\"192.168.10.0/24\"/>\n"
		"  <node type=\"allow\" cidr=\"203.0.113.10/32\"/>\n"
		"  <node type=\"allow\" cidr=\"2001:db8::10/128\"/>\n"
		"</list>\n</include>\n");
	text_free(&text);
	acl_clear(&acl);
}

static void test_attributes_are_quoted(void **state)
{
	struct acl acl = {0};
	struct text text = {0};

	(void)state;
	freeswitch_acl_print("a._+-*#@!~", &acl, &text);
	freeswitch_acl_print("<&>\"'$", &acl, &text);
	assert_string_equal(text_string(&text),
		"<list name=\"sipfence-a._+-*#@!~\" default=\"deny\"/>\n"
		"<list name=\"sipfence-&#60;&#38;&#62;&#34;&#39;&#36;\" default=\"deny\"/>\n");
	text_free(&text);
}

/* What FreeSWITCH's preprocessor obeys, or what ends a comment, may be in the name of a folder. */
static void test_the_head_is_one_comment(void **state)
{
	struct text text = {0};
	const char *start, *end;

	(void)state;
	freeswitch_acl_print_head(
		"-/-->--->/<include>/<!--#set x=y-->/${a}/$${b}/<X-PRE-PROCESS cmd=\"exec\"/>\n/x-pre-process-",
		&text);
	start = strstr(text_string(&text), "<!--");
	assert_non_null(start);
	assert_int_equal(start - text_string(&text), strlen("<include>\n"));
	start += 4;
	end = strstr(start, "-->\n");
	assert_non_null(end);
	assert_int_equal(end[4], '\0');
	assert_ptr_equal(strstr(start, "--"), end);
	assert_null(strchr(start, '<'));
	assert_null(strchr(start, '$'));
	assert_null(strcasestr(start, "x-pre"));
	text_clear(&text);
	freeswitch_acl_print_head("/etc/sip-fence/sipfence.yaml", &text);
	assert_non_null(strstr(text_string(&text), "from /etc/sip-fence/sipfence.yaml : "));
	text_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_extension_has_a_list_that_denies),
		cmocka_unit_test(test_attributes_are_quoted),
		cmocka_unit_test(test_the_head_is_one_comment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
