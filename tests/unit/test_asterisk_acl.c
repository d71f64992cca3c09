/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is shown here is what Asterisk 16.28 printed. */
#include "asterisk_acl.h"
#include "check.h"

#include <errno.h>
#include <string.h>

static void permit(struct acl *acl, const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, strlen(text), &prefix), PREFIX_OK);
	assert_int_equal(acl_add(acl, &prefix), 0);
}

static int parse(const char *output, const char *name, struct acl *acl)
{
	return asterisk_acl_parse_shown(output, strlen(output), name, acl);
}

static void test_a_section_denies_first(void **state)
{
	struct acl acl = {0};
	struct text text = {0};

	(void)state;
	asterisk_acl_print("20", &acl, &text);
	permit(&acl, "203.0.113.10");
	permit(&acl, "192.168.10.0/24");
	permit(&acl, "2001:db8::/64");
	acl_settle(&acl);
	asterisk_acl_print("0021", &acl, &text);
	assert_string_equal(text_string(&text), "\n[sipfence-20]\ndeny=0.0.0.0/0\ndeny=::/0\n"
						"\n[sipfence-0021]\ndeny=0.0.0.0/0\ndeny=::/0\n"
						"permit=192.168.10.0/24\n"
						"permit=203.0.113.10/32\n"
						"permit=2001:db8::/64\n");
	text_free(&text);
	acl_clear(&acl);
}

static void test_the_head_is_comment_alone(void **state)
{
	struct text text = {0};
	const char *line;

	(void)state;
	asterisk_acl_print_head("/tmp/a\n[b]\nc", &text);
	for (line = text_string(&text); *line; line = strchr(line, '\n') + 1)
		assert_int_equal(*line, ';');
	text_free(&text);
}

/* From memory of exactly that size, so that a sanitizer sees a read behind its end. */
static bool check_bytes(const char *data, size_t length)
{
	char *copy = malloc(length ? length : 1);
	bool result;

	assert_non_null(copy);
	memcpy(copy, data, length);
	result = asterisk_acl_check_file(copy, length);
	free(copy);
	return result;
}

static void print_file(struct text *text)
{
	struct acl acl = {0};

	asterisk_acl_print_head("/etc/sip\xc3\xbc fence/a: b.yaml", text);
	asterisk_acl_print("20", &acl, text);
	permit(&acl, "203.0.113.10");
	permit(&acl, "192.168.10.0/24");
	permit(&acl, "2001:db8::/64");
	permit(&acl, "::ffff:192.0.2.1");
	acl_settle(&acl);
	asterisk_acl_print("0021.a_b+c-d*e#f@g!h~", &acl, text);
	acl_clear(&acl);
	assert_false(text->failed);
}

static void test_our_own_file_is_one(void **state)
{
	struct text text = {0};

	(void)state;
	asterisk_acl_print_head("", &text);
	assert_true(check_bytes(text.data, text.length));
	text_clear(&text);
	print_file(&text);
	assert_true(check_bytes(text.data, text.length));
	text_free(&text);
}

/* Behind a whole file stands `more`. */
static void assert_no_file(const char *more, size_t length)
{
	struct text text = {0};

	print_file(&text);
	text_write(&text, more, length);
	if (check_bytes(text.data, text.length))
		fail_msg("taken: %s", more);
	text_free(&text);
}
#define NO_FILE(more) assert_no_file(more, sizeof(more) - 1)
#define SECTION	      "\n[sipfence-22]\ndeny=0.0.0.0/0\ndeny=::/0\n"

static void test_nothing_else_is_a_file(void **state)
{
	static char long_head[5000];
	struct text text = {0};

	(void)state;
	assert_false(check_bytes("", 0));
	assert_false(check_bytes(SECTION, sizeof(SECTION) - 1));
	NO_FILE("x");
	NO_FILE("\n");
	NO_FILE("; a comment\n");
	NO_FILE("#include /etc/shadow\n");
	NO_FILE("#exec /bin/sh\n");
	NO_FILE("\n[general]\n");
	NO_FILE("\n[sipfence-22]\n");
	NO_FILE("\n[sipfence-22]\npermit=0.0.0.0/0\n");
	NO_FILE("\n[sipfence-22]\ndeny=0.0.0.0/0\n");
	NO_FILE("\n[sipfence-22]\ndeny=::/0\ndeny=0.0.0.0/0\n");
	NO_FILE("\n[others]\ndeny=0.0.0.0/0\ndeny=::/0\n");
	NO_FILE("\n[sipfence-]x]\ndeny=0.0.0.0/0\ndeny=::/0\n");
	NO_FILE("\n[sipfence-2 2]\ndeny=0.0.0.0/0\ndeny=::/0\n");
	NO_FILE("\n[sipfence-22](!)\ndeny=0.0.0.0/0\ndeny=::/0\n");
	NO_FILE("\n[sipfence-2\0002]\ndeny=0.0.0.0/0\ndeny=::/0\n");
	NO_FILE("\n[sipfence-0123456789012345678901234567890123456789012345678901234567890123456789"
		"0]\ndeny=0.0.0.0/0\ndeny=::/0\n");
	NO_FILE(SECTION "permit=203.0.113.10\n");
	NO_FILE(SECTION "permit=203.0.113.10/32");
	NO_FILE(SECTION "permit=203.0.113.10/032\n");
	NO_FILE(SECTION "permit=203.0.113.10/33\n");
	NO_FILE(SECTION "permit=203.0.113.10/24\n");
	NO_FILE(SECTION "permit=203.0.113.10/255.255.255.255\n");
	NO_FILE(SECTION "permit=2001:DB8::/64\n");
	NO_FILE(SECTION "permit=home21.example/32\n");
	NO_FILE(SECTION "permit=203.0.113.10/32,0.0.0.0/0\n");
	NO_FILE(SECTION "permit=203.0.113.10/32 \n");
	NO_FILE(SECTION "permit=203.0.113.10/32\n\0");
	NO_FILE(SECTION "permit => 203.0.113.10/32\n");
	NO_FILE(SECTION "acl=other\n");
	NO_FILE(SECTION "permit=203.0.113.10/32\ndeny=203.0.113.10/32\n");
	/* Asterisk takes the rest of a line that is too long for another one. */
	memset(long_head, '/', sizeof(long_head) - 1);
	asterisk_acl_print_head(long_head, &text);
	assert_false(check_bytes(text.data, text.length));
	text_clear(&text);
	text_puts(&text, "; Written by sipfence from /a\n[b]: changes made here are lost.\n");
	asterisk_acl_print_head("/c", &text);
	assert_false(check_bytes(text.data, text.length));
	text_free(&text);
}

/* But for those that end behind a whole line of a section. */
static void test_a_cut_file_is_none(void **state)
{
	struct text text = {0};
	size_t taken = 0;

	(void)state;
	print_file(&text);
	for (size_t length = 0; length < text.length; length++)
		taken += check_bytes(text.data, length);
	/* Behind the head, each section's denies, and each permit. */
	assert_int_equal(taken, 6);
	text_free(&text);
}

static const char shown[] =
	"No ethernet interface found for seeding global EID. You will have to set it manually.\n"
	"\nACL: sipfence-21\n---------------------------------------------\n"
	"  0:  deny - 0.0.0.0/0.0.0.0\n  1:  deny - ::/::\n"
	"  2: allow - 203.0.113.10/255.255.255.255\n"
	"  3: allow - 2001:db8::/ffff:ffff:ffff:ffff::\n";

static void test_what_is_shown_is_read(void **state)
{
	struct acl acl = {0}, wanted = {0};

	(void)state;
	permit(&wanted, "203.0.113.10");
	permit(&wanted, "2001:db8::/64");
	assert_int_equal(parse(shown, "sipfence-21", &acl), ASTERISK_SHOWN);
	assert_true(acl_equal(&acl, &wanted));
	assert_int_equal(parse("\nACL: sipfence-22\n----\n  0:  deny - 0.0.0.0/0.0.0.0\n"
			       "  1:  deny - ::/::\n",
				 "sipfence-22", &acl),
		ASTERISK_SHOWN);
	assert_int_equal(acl.count, 0);
	acl_clear(&acl);
	acl_clear(&wanted);
}

static void test_none_is_told_from_open(void **state)
{
	struct acl acl = {0};

	(void)state;
	assert_int_equal(parse("", "sipfence-21", &acl), ASTERISK_SHOWN_NONE);
	assert_int_equal(
		parse("\nCould not find ACL named 'nope'\n", "nope", &acl), ASTERISK_SHOWN_NONE);
	assert_int_equal(
		parse("ACL: a\n  0: allow - 0.0.0.0/0.0.0.0\n", "a", &acl), ASTERISK_SHOWN_OPEN);
	assert_int_equal(parse("ACL: a\n---\n", "a", &acl), ASTERISK_SHOWN_OPEN);
	assert_int_equal(
		parse("ACL: a\n  0:  deny - 0.0.0.0/0.0.0.0\n  1: allow - 10.0.0.0/255.0.0.0\n",
			"a", &acl),
		ASTERISK_SHOWN_OPEN);
	acl_clear(&acl);
}

static void test_others_rules_are_no_match(void **state)
{
	static const char *const wrong[] = {
		"ACL: b\n  0:  deny - 0.0.0.0/0.0.0.0\n",
		("ACL: a\n  0:  deny - 0.0.0.0/0.0.0.0\n  1: allow - 10.0.0.0/255.0.0.0\n"
		 "  2:  deny - ::/::\n"),
		"ACL: a\n  0:  deny - 10.0.0.0/255.0.0.0\n",
		"ACL: a\n  0: allow - 10.0.0.0/255.0.255.0\n",
		"ACL: a\n  0: allow - 10.0.0.0\n",
		"ACL: a\n  0: allow - 10.0.0.0/ffff::\n",
		"ACL: a\n  0: maybe - 10.0.0.0/255.0.0.0\n",
		"ACL: a\nsomething else\n",
	};
	struct acl acl = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(parse(wrong[i], "a", &acl), -EBADMSG);
		assert_int_equal(acl.count, 0);
	}
	acl_clear(&acl);
}

/* Whatever it is cut to, it is never taken for the whole. */
static void test_a_cut_output_is_no_match(void **state)
{
	struct acl acl = {0}, whole = {0};

	(void)state;
	assert_int_equal(parse(shown, "sipfence-21", &whole), ASTERISK_SHOWN);
	for (size_t length = 0; length + 1 < sizeof(shown) - 1; length++) {
		int result = asterisk_acl_parse_shown(shown, length, "sipfence-21", &acl);

		assert_false(result == ASTERISK_SHOWN && acl_equal(&acl, &whole));
	}
	acl_clear(&acl);
	acl_clear(&whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_section_denies_first),
		cmocka_unit_test(test_the_head_is_comment_alone),
		cmocka_unit_test(test_our_own_file_is_one),
		cmocka_unit_test(test_nothing_else_is_a_file),
		cmocka_unit_test(test_a_cut_file_is_none),
		cmocka_unit_test(test_what_is_shown_is_read),
		cmocka_unit_test(test_none_is_told_from_open),
		cmocka_unit_test(test_others_rules_are_no_match),
		cmocka_unit_test(test_a_cut_output_is_no_match),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
