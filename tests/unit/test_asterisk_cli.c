/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is read here is what Asterisk 16.28 printed. */
#include "asterisk_cli.h"
#include "check.h"

#include <string.h>

static const char contacts_output[] =
	"No ethernet interface found for seeding global EID. You will have to set it manually.\n"
	"key  : /SIP/Registry/20                                  \n"
	"value: 127.0.0.1:6020:300:20:sip:20@127.0.0.1:6020\n"
	"\n"
	"key  : /SIP/Registry/21                                  \n"
	"value: [2001:db8:113::10]:57960:3600:21:sip:21@[2001:db8:113::10]:57960\n"
	"\n"
	"key  : /registrar/contact/23;@2ba6c6cabf2d32899cd22595090876a7\n"
	"value: {\"via_addr\":\"127.0.0.1\",\"qualify_timeout\":\"3.000000\",\"endpoint\":\"23\","
	"\"via_port\":\"6023\",\"uri\":\"sip:23@10.9.9.9:7777;transport=udp\","
	"\"expiration_time\":\"1795379076\",\"outbound_proxy\":\"\"}\n"
	"\n";

static const char *address(const struct asterisk_contact *contact)
{
	static char text[ADDR_TEXT_SIZE];

	assert_true(contact->has_addr);
	addr_print(&contact->addr, text);
	return text;
}

static void test_contacts_of_both_drivers(void **state)
{
	struct asterisk_contacts contacts = {0};

	(void)state;
	assert_int_equal(
		asterisk_contacts_parse(contacts_output, sizeof(contacts_output) - 1, &contacts),
		0);
	assert_int_equal(contacts.count, 3);
	assert_int_equal(contacts.unread, 0);
	assert_false(contacts.list[0].pjsip);
	assert_string_equal(contacts.list[0].extension, "20");
	assert_string_equal(contacts.list[0].uri, "sip:20@127.0.0.1:6020");
	assert_string_equal(address(&contacts.list[0]), "127.0.0.1");
	assert_int_equal(contacts.list[0].port, 6020);
	assert_string_equal(address(&contacts.list[1]), "2001:db8:113::10");
	assert_int_equal(contacts.list[1].port, 57960);
	assert_true(contacts.list[2].pjsip);
	assert_string_equal(contacts.list[2].extension, "23");
	assert_string_equal(contacts.list[2].aor, "23");
	assert_string_equal(contacts.list[2].uri, "sip:23@10.9.9.9:7777;transport=udp");
	assert_string_equal(address(&contacts.list[2]), "10.9.9.9");
	assert_int_equal(contacts.list[2].port, 7777);
	asterisk_contacts_clear(&contacts);
}

/* The commands of the contact, one a line. */
static const char *evict(const struct asterisk_contact *contact)
{
	static char lines[512];
	struct text text = {0};

	lines[0] = '\0';
	for (unsigned step = 0; asterisk_cli_evict(contact, step, &text); step++)
		text_puts(&text, "\n");
	strcat(lines, text_string(&text));
	text_free(&text);
	return lines;
}

static void test_how_they_are_thrown_out(void **state)
{
	struct asterisk_contacts contacts = {0};

	(void)state;
	assert_int_equal(
		asterisk_contacts_parse(contacts_output, sizeof(contacts_output) - 1, &contacts),
		0);
	assert_string_equal(evict(&contacts.list[0]), "sip unregister 20\n");
	assert_string_equal(evict(&contacts.list[2]),
		"database query \"UPDATE astdb SET value=json_set(value,'$.expiration_time','1') "
		"WHERE key='/registrar/contact/23;@2ba6c6cabf2d32899cd22595090876a7'\"\n"
		"pjsip show aor 23\n");
	asterisk_contacts_clear(&contacts);
}

static void test_a_name_is_never_more_than_a_name(void **state)
{
	static const char *const names[] = {
		"21 all", "21\n", "2\"1", "2'1", "", "21;", "2\\1", "2`1"};
	struct asterisk_contact chan_sip = {0}, pjsip = {.pjsip = true,
							.key = "/registrar/contact/2'1;@a",
							.aor = "21"};
	struct text text = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		chan_sip.extension = names[i];
		assert_string_equal(evict(&chan_sip), "");
		assert_false(asterisk_cli_is_name(names[i]));
		if (strcmp(names[i], "21;") != 0)
			assert_false(asterisk_cli_hangup(names[i], &text));
	}
	assert_string_equal(evict(&pjsip), "");
	pjsip.key = "/registrar/contact/21;@a";
	pjsip.aor = "21 all";
	assert_string_equal(evict(&pjsip), "");
	assert_int_equal(text.length, 0);
	assert_true(asterisk_cli_hangup("SIP/20-00000000", &text));
	assert_string_equal(text_string(&text), "channel request hangup SIP/20-00000000");
	text_free(&text);
}

static void test_odd_contacts(void **state)
{
	static const char output[] =
		"value: no key\n"
		"key  : /SIP/Registry/1\nvalue: 300.0.0.1:5060\n"
		"key  : /SIP/Registry/2\nvalue: 203.0.113.10.example:5060\n"
		"key  : /SIP/Registry/3\nvalue: 203.0.113.10:99999:1\n"
		"key  : /SIP/Registry/4\nvalue: 203.0.113.10\n"
		"key  : /registrar/contact/5;@a\nvalue: {not json\n"
		"key  : /registrar/contact/6\nvalue: {\"uri\":\"sip:6@1.2.3.4\"}\n"
		"key  : /registrar/contact/7;@a\nvalue: {\"uri\":\"sip:1.2.3.4\"}\n"
		"key  : /registrar/contact/8;@a\n"
		"value: {\"uri\":\"sip:8@pbx.example\",\"endpoint\":\"88\"}\n"
		"key  : /other\nvalue: 1\n"
		"key  : /SIP/Registry/9\n";
	struct asterisk_contacts contacts = {0};

	(void)state;
	for (size_t cut = 0; cut < sizeof(output) - 1; cut++) {
		assert_int_equal(asterisk_contacts_parse(output, cut, &contacts), 0);
		asterisk_contacts_clear(&contacts);
	}
	assert_int_equal(asterisk_contacts_parse(output, sizeof(output) - 1, &contacts), 0);
	assert_int_equal(contacts.count, 6);
	assert_int_equal(contacts.unread, 3);
	for (size_t i = 0; i < 3; i++)
		assert_false(contacts.list[i].has_addr);
	assert_string_equal(address(&contacts.list[3]), "203.0.113.10");
	assert_int_equal(contacts.list[3].port, 0);
	assert_string_equal(address(&contacts.list[4]), "1.2.3.4");
	assert_string_equal(contacts.list[4].extension, "7");
	assert_false(contacts.list[5].has_addr);
	assert_string_equal(contacts.list[5].extension, "88");
	asterisk_contacts_clear(&contacts);
}

static void collect(void *context, const char *channel)
{
	strcat(context, channel);
	strcat(context, " ");
}

static void test_channels_of_an_extension(void **state)
{
	static const char output[] =
		"SIP/20-00000000!default!100!2!Up!Wait!5!20!!!3!0!!1795378776.0\n"
		"PJSIP/20-0000000a!default!100!2!Up!Wait!5!20!!!3!0!!1795378776.1\n"
		"SIP/20-1-00000002!default!100!2!Up!Wait!5!20!!!3!0!!1795378776.2\n"
		"SIP/201-00000003!default\nLocal/20-00000004!x\nSIP/20\nSIP/20-!x\n";
	char found[256] = "";

	(void)state;
	asterisk_channels_parse(output, sizeof(output) - 1, "20", collect, found);
	assert_string_equal(found, "SIP/20-00000000 PJSIP/20-0000000a SIP/20- ");
	found[0] = '\0';
	asterisk_channels_parse(output, sizeof(output) - 1, "20-1", collect, found);
	assert_string_equal(found, "SIP/20-1-00000002 ");
}

static void test_unknown_commands(void **state)
{
	static const char output[] =
		"No ethernet interface found\nNo such command 'acl show' (type "
		"'core show help acl' for other possible commands)\n";

	(void)state;
	assert_true(asterisk_cli_is_unknown(output, sizeof(output) - 1));
	assert_false(asterisk_cli_is_unknown("", 0));
	assert_false(asterisk_cli_is_unknown(output, 40));
	/* A caller's words are not Asterisk's. */
	assert_false(asterisk_cli_is_unknown("value: No such command 'x'\n", 27));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contacts_of_both_drivers),
		cmocka_unit_test(test_how_they_are_thrown_out),
		cmocka_unit_test(test_a_name_is_never_more_than_a_name),
		cmocka_unit_test(test_odd_contacts),
		cmocka_unit_test(test_channels_of_an_extension),
		cmocka_unit_test(test_unknown_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
