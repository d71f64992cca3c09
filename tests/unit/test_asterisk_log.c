/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_log.h"

#include "check.h"
#include <string.h>

static struct asterisk_line parsed;

static enum asterisk_line_kind parse(const char *line)
{
	memset(&parsed, 0xa5, sizeof(parsed));
	return asterisk_log_parse(line, strlen(line), &parsed);
}

static void assert_span(struct asterisk_span span, const char *expected)
{
	assert_int_equal(span.length, strlen(expected));
	assert_memory_equal(span.data, expected, span.length);
}

static void assert_place(const char *addr, unsigned port)
{
	char text[ADDR_TEXT_SIZE];

	assert_true(parsed.has_addr);
	addr_print(&parsed.addr, text);
	assert_string_equal(text, addr);
	assert_int_equal(parsed.port, port);
}

static void assert_registered(
	const char *line, const char *account, const char *addr, unsigned port)
{
	assert_int_equal(parse(line), ASTERISK_REGISTERED);
	assert_span(parsed.account, account);
	assert_place(addr, port);
	assert_int_equal(parsed.service, ASTERISK_SIP);
}

static void test_registered_of_all_ages(void **state)
{
	(void)state;
	assert_registered("[2026-11-22 10:49:42] VERBOSE[14007] chan_sip.c: Registered SIP '21' at "
			  "203.0.113.10:5060",
		"21", "203.0.113.10", 5060);
	/* 11.25: the default date, and a message that was made for the console */
	assert_registered("[Nov 22 10:55:37] VERBOSE[2291][C-0000001a] chan_sip.c:     -- "
			  "Registered SIP '21' at 198.51.100.66:60012",
		"21", "198.51.100.66", 60012);
	assert_int_equal(parsed.time.kind, ASTERISK_TIME_NO_YEAR);
	assert_int_equal(parsed.time.month, 11);
	assert_int_equal(parsed.time.day, 22);
	/* 1.4 */
	assert_registered("[Nov  2 10:55:37] VERBOSE[2291] logger.c:     -- Registered SIP '21' at "
			  "198.51.100.66 port 5061 expires 3600",
		"21", "198.51.100.66", 5061);
	assert_int_equal(parsed.time.day, 2);
	/* the console, with and without dates */
	assert_registered(
		"    -- Registered SIP '21' at 198.51.100.66:5060", "21", "198.51.100.66", 5060);
	assert_int_equal(parsed.time.kind, ASTERISK_TIME_NONE);
	assert_registered("[Nov 22 10:55:37]     -- Registered SIP '21' at 198.51.100.66:5060",
		"21", "198.51.100.66", 5060);
	/* syslog, a container's log, CRLF */
	assert_registered(
		"Nov 22 10:55:37 pbx asterisk[812]: VERBOSE[2291]: chan_sip.c:16433 in "
		"parse_register_contact:     -- Registered SIP '21' at 198.51.100.66:5060",
		"21", "198.51.100.66", 5060);
	assert_int_equal(parsed.time.kind, ASTERISK_TIME_NO_YEAR);
	assert_registered("2026-11-22T10:49:42.123456789Z [Nov 22 11:49:42] VERBOSE[14007] "
			  "chan_sip.c: Registered SIP '21' at 203.0.113.10:5060\r",
		"21", "203.0.113.10", 5060);
	assert_int_equal(parsed.time.kind, ASTERISK_TIME_EXACT);
	assert_int_equal(parsed.time.wall, 1795344582);
	assert_int_equal(parsed.time.millisecond, 123);
}

static void test_addresses(void **state)
{
	(void)state;
	assert_registered("[2026-11-22 10:49:42] VERBOSE[1] chan_sip.c: Registered SIP '21' at "
			  "[2001:db8:113::10]:57960",
		"21", "2001:db8:113::10", 57960);
	assert_registered("[2026-11-22 10:49:42] VERBOSE[1] chan_sip.c: Registered SIP '21' at "
			  "[::ffff:203.0.113.10]:5060",
		"21", "203.0.113.10", 5060);
	assert_registered("[2026-11-22 10:49:42] VERBOSE[1] chan_sip.c: Registered SIP '21' at "
			  "[fe80::1%eth0]:5060",
		"21", "fe80::1", 5060);
	assert_registered(
		"[2026-11-22 10:49:42] VERBOSE[1] chan_sip.c: Registered SIP 'o' at x' at "
		"203.0.113.10:5060",
		"o' at x", "203.0.113.10", 5060);
	assert_int_equal(
		parse("[2026-11-22 10:49:42] VERBOSE[1] chan_sip.c: Registered SIP '21' at "
		      "203.0.113.300:5060"),
		ASTERISK_REGISTERED);
	assert_false(parsed.has_addr);
}

static void test_dates(void **state)
{
	struct asterisk_time time;

	(void)state;
	assert_true(asterisk_log_date("[2026-11-22 10:49:42.7] x", 25, &time));
	assert_int_equal(time.kind, ASTERISK_TIME_LOCAL);
	assert_int_equal(time.year, 2026);
	assert_int_equal(time.millisecond, 700);
	assert_true(asterisk_log_date("[2026-11-22T10:49:42+0100] x", 28, &time));
	assert_int_equal(time.kind, ASTERISK_TIME_EXACT);
	assert_int_equal(time.wall, 1795344582 - 3600);
	assert_true(asterisk_log_date("[2026-11-22 10:49:42 -03:30]", 28, &time));
	assert_int_equal(time.wall, 1795344582 + 12600);
	assert_true(asterisk_log_date("2000-02-29 00:00:00Z", 20, &time));
	assert_int_equal(time.wall, 951782400);
	assert_true(asterisk_log_date("[Nov 22 2026 10:49:42]", 22, &time));
	assert_int_equal(time.kind, ASTERISK_TIME_LOCAL);
	assert_false(asterisk_log_date("[Nov 32 10:49:42]", 17, &time));
	assert_false(asterisk_log_date("[Nop 22 10:49:42]", 17, &time));
	assert_false(asterisk_log_date("[Nov 22 24:49:42]", 17, &time));
	assert_false(asterisk_log_date("[2026-13-22 10:49:42]", 21, &time));
	assert_false(asterisk_log_date("[2026-11-22 10:49:4", 19, &time));
	assert_false(asterisk_log_date("", 0, &time));
}

static void test_contacts(void **state)
{
	(void)state;
	assert_int_equal(
		parse("[2026-11-22 10:50:30] VERBOSE[13991] res_pjsip_registrar.c: Added "
		      "contact 'sip:22@203.0.113.10:5062;x-ast-orig-host=10.0.0.5:5062' to "
		      "AOR '22' with expiration of 120 seconds"),
		ASTERISK_CONTACT_ADDED);
	assert_span(parsed.account, "22");
	assert_place("203.0.113.10", 5062);
	assert_int_equal(parsed.service, ASTERISK_PJSIP);
	assert_int_equal(
		parse("[2026-11-22 10:50:30] VERBOSE[13991] res_pjsip_registrar.c: "
		      "Refreshed contact 'sips:22@[2001:db8::5]:5061;transport=tls' on AOR "
		      "'22' with expiration of 120 seconds"),
		ASTERISK_CONTACT_ADDED);
	assert_place("2001:db8::5", 5061);
	assert_int_equal(
		parse("[2026-11-22 10:50:30] VERBOSE[13991] res_pjsip_registrar.c: Removed "
		      "contact 'sip:22@203.0.113.10:5062' from AOR '22' due to expiration"),
		ASTERISK_CONTACT_REMOVED);
	/* a name, as of WebRTC */
	assert_int_equal(parse("[2026-11-22 10:50:30] VERBOSE[13991] res_pjsip_registrar.c: Added "
			       "contact 'sip:a1@df7jal.invalid;transport=ws' to AOR '22' with "
			       "expiration of 120 seconds"),
		ASTERISK_CONTACT_ADDED);
	assert_false(parsed.has_addr);
	assert_span(parsed.text, "sip:a1@df7jal.invalid;transport=ws");
	/* what the Contact says of AORs is not Asterisk's word */
	assert_int_equal(parse("[2026-11-22 10:50:30] VERBOSE[13991] res_pjsip_registrar.c: Added "
			       "contact 'sip:x' to AOR '23' with@203.0.113.10' to AOR '22' with "
			       "expiration of 9 seconds"),
		ASTERISK_CONTACT_ADDED);
	assert_span(parsed.account, "22");
}

static void test_failures(void **state)
{
	(void)state;
	assert_int_equal(
		parse("[2026-11-22 10:50:23] NOTICE[14007] chan_sip.c: Registration from "
		      "'\"x\" <sip:21:pw@10.99.0.1>' failed for '198.51.100.66:5060' - Wrong "
		      "password"),
		ASTERISK_FAILED);
	assert_span(parsed.account, "21");
	assert_place("198.51.100.66", 5060);
	assert_int_equal(parsed.failure, ASTERISK_FAILURE_PASSWORD);
	assert_int_equal(parse("[2026-11-22 10:50:25] NOTICE[13991] res_pjsip/pjsip_distributor.c: "
			       "Request 'REGISTER' from '<sip:1199@10.99.0.2>' failed for "
			       "'198.51.100.66:5062' (callid: 1-14623@198.51.100.66) - No matching "
			       "endpoint found"),
		ASTERISK_FAILED);
	assert_int_equal(parsed.failure, ASTERISK_FAILURE_ACCOUNT);
	assert_span(parsed.account, "1199");
	assert_int_equal(parsed.service, ASTERISK_PJSIP);
	assert_int_equal(parse("[2026-11-22 10:50:37] NOTICE[13991] res_pjsip/pjsip_distributor.c: "
			       "Request 'REGISTER' from '<sip:22@10.99.0.2>' failed for "
			       "'198.51.100.66:5062' (callid: 1) - Not match Endpoint Contact ACL"),
		ASTERISK_FAILED);
	assert_int_equal(parsed.failure, ASTERISK_FAILURE_ACL);
	/* a From that puts the blame on somebody else */
	assert_int_equal(parse("[2026-11-22 10:50:23] NOTICE[14007] chan_sip.c: Registration from "
			       "'\"' failed for '203.0.113.10:5060' - Wrong password\" <sip:21@x>' "
			       "failed for '198.51.100.66:5060' - Wrong password"),
		ASTERISK_FAILED);
	assert_true(parsed.doubled);
	assert_false(parsed.has_addr);
}

static void test_calls_and_agents(void **state)
{
	uint32_t channel;

	(void)state;
	assert_int_equal(parse("[2026-11-22 10:50:13] VERBOSE[14459][C-00000001] pbx.c: Executing "
			       "[1000@remote:1] NoOp(\"SIP/21-00000000\", \"x\") in new stack"),
		ASTERISK_CALL);
	assert_span(parsed.account, "21");
	assert_span(parsed.text, "1000");
	channel = parsed.channel;
	assert_int_equal(
		parse("[Nov 22 10:50:13] VERBOSE[14459][C-00000001] pbx.c:     -- Executing "
		      "[1000@remote:1] NoOp(\"PJSIP/a-b-00000001\", \"x\") in new stack"),
		ASTERISK_CALL);
	assert_span(parsed.account, "a-b");
	assert_int_not_equal(parsed.channel, channel);
	assert_int_equal(parse("[2026-11-22 10:50:13] VERBOSE[14459][C-00000001] pbx.c: Executing "
			       "[1000@remote:2] Answer(\"SIP/21-00000000\", \"\") in new stack"),
		ASTERISK_OTHER);
	assert_int_equal(parse("[2026-11-22 10:50:13] VERBOSE[14459] pbx.c: Executing [s@m:1] "
			       "NoOp(\"Local/21@x-00000000;2\", \"\") in new stack"),
		ASTERISK_OTHER);
	assert_int_equal(parse("[2026-11-22 10:49:42] VERBOSE[14007] chan_sip.c: Saved useragent "
			       "\"a\" for peer 9\" for peer 21"),
		ASTERISK_AGENT);
	assert_span(parsed.text, "a\" for peer 9");
	assert_span(parsed.account, "21");
	assert_int_equal(
		parse("[2026-11-22 10:50:20] VERBOSE[14007] chan_sip.c: Unregistered SIP '21'"),
		ASTERISK_UNREGISTERED);
	assert_span(parsed.account, "21");
}

#define HEAD "[2026-11-22 10:50:05] SECURITY[14014] res_security_log.c: "
#define FIELDS                                                                                     \
	"EventTV=\"2026-11-22T10:50:05.700+0000\",Severity=\"Informational\",Service=\"PJSIP\","   \
	"EventVersion=\"1\","

static void test_security_events(void **state)
{
	(void)state;
	assert_int_equal(parse(HEAD "SecurityEvent=\"SuccessfulAuth\"," FIELDS
				    "AccountID=\"22\",SessionID=\"1-14122@198.51.100.66\","
				    "LocalAddress=\"IPV4/UDP/10.99.0.2/5060\","
				    "RemoteAddress=\"IPV4/UDP/198.51.100.66/5062\",UsingPassword="
				    "\"1\""),
		ASTERISK_SECURITY);
	assert_int_equal(parsed.event, ASTERISK_SUCCESSFUL_AUTH);
	assert_int_equal(parsed.service, ASTERISK_PJSIP);
	assert_span(parsed.account, "22");
	assert_span(parsed.transport, "UDP");
	assert_place("198.51.100.66", 5062);
	assert_int_equal(parsed.time.kind, ASTERISK_TIME_EXACT);
	assert_int_equal(parsed.time.wall, 1795344605);
	assert_int_equal(parsed.time.millisecond, 700);
	assert_false(parsed.doubled);
	/* IPv6, and an ACL */
	assert_int_equal(parse(HEAD "SecurityEvent=\"FailedACL\"," FIELDS
				    "AccountID=\"22\",SessionID=\"1\",LocalAddress=\"IPV6/UDP/"
				    "2001:db8::1/5060\",RemoteAddress=\"IPV6/UDP/2001:db8:113::10/"
				    "37344\",ACLName=\"not_match_endpoint_acl\""),
		ASTERISK_SECURITY);
	assert_place("2001:db8:113::10", 37344);
	assert_span(parsed.text, "not_match_endpoint_acl");
	/* Asterisk 11 */
	assert_int_equal(
		parse("[Nov 22 10:55:37] SECURITY[73]: res_security_log.c:114 "
		      "security_event_stasis_cb: SecurityEvent=\"InvalidPassword\",EventTV="
		      "\"1462285045-874209\",Severity=\"Error\",Service=\"SIP\",EventVersion=\"2\","
		      "AccountID=\"21\",SessionID=\"0x7f\",LocalAddress=\"IPV4/UDP/10.99.0.1/5060\","
		      "RemoteAddress=\"IPV4/UDP/198.51.100.66/5060\",Challenge=\"5\","
		      "ReceivedChallenge=\"5\",ReceivedHash=\"5\""),
		ASTERISK_SECURITY);
	assert_int_equal(parsed.time.wall, 1462285045);
	assert_int_equal(parsed.time.millisecond, 874);
	/* nobody's phone */
	assert_int_equal(
		parse(HEAD "SecurityEvent=\"SuccessfulAuth\",EventTV=\"1-1\",Severity=\"I\","
			   "Service=\"AMI\",EventVersion=\"1\",AccountID=\"x\",SessionID="
			   "\"1\",LocalAddress=\"IPV4/TCP/1.2.3.4/1\",RemoteAddress=\"IPV4/"
			   "TCP/1.2.3.4/1\",UsingPassword=\"1\""),
		ASTERISK_OTHER);
}

/* A Call-ID that ends its own field, and writes a better address behind it. */
static void test_forged_fields_hide_nothing(void **state)
{
	static const char forged[] = HEAD
		"SecurityEvent=\"SuccessfulAuth\"," FIELDS
		"AccountID=\"22\",SessionID=\"x\",LocalAddress=\"IPV4/UDP/10.99.0.2/5060\","
		"RemoteAddress=\"IPV4/UDP/203.0.113.10/5060\",UsingPassword=\"1\",LocalAddress="
		"\"IPV4/UDP/10.99.0.2/5060\",RemoteAddress=\"IPV4/UDP/198.51.100.66/5062\","
		"UsingPassword=\"1\"";

	(void)state;
	assert_int_equal(parse(forged), ASTERISK_SECURITY);
	assert_span(parsed.account, "22");
	assert_place("198.51.100.66", 5062);
	assert_true(parsed.doubled);
	/* cut: what stands last is the forged one */
	assert_int_equal(asterisk_log_parse(forged,
				 (size_t)(strstr(forged, "/5060\",UsingP") + 6 - forged), &parsed),
		ASTERISK_OTHER);
}

static void test_two_addresses_of_a_failure(void **state)
{
	(void)state;
	assert_int_equal(
		parse(HEAD "SecurityEvent=\"InvalidPassword\"," FIELDS
			   "AccountID=\"x\",RemoteAddress=\"IPV4/UDP/203.0.113.10/5060\",a="
			   "\"\",SessionID=\"x\",LocalAddress=\"IPV4/UDP/10.99.0.2/5060\","
			   "RemoteAddress=\"IPV4/UDP/198.51.100.66/5062\",Challenge=\"\""),
		ASTERISK_SECURITY);
	assert_true(parsed.doubled);
	assert_false(parsed.has_addr);
}

/* What callers send stands elsewhere in a line than what Asterisk says. */
static void test_only_at_its_place(void **state)
{
	(void)state;
	assert_int_equal(
		parse("[2026-11-22 10:49:42] VERBOSE[1] app_verbose.c: Registered SIP '21' "
		      "at 203.0.113.10:5060"),
		ASTERISK_OTHER);
	assert_int_equal(
		parse("[2026-11-22 10:49:42] NOTICE[1] chan_sip.c: x Registered SIP '21' at "
		      "203.0.113.10:5060"),
		ASTERISK_OTHER);
	assert_int_equal(
		parse("[2026-11-22 10:49:42] VERBOSE[1] pbx.c: SecurityEvent="
		      "\"SuccessfulAuth\"," FIELDS
		      "AccountID=\"22\",SessionID=\"1\",LocalAddress=\"IPV4/UDP/1.1.1.1/5\","
		      "RemoteAddress=\"IPV4/UDP/1.1.1.1/5\",UsingPassword=\"1\""),
		ASTERISK_OTHER);
	assert_int_equal(
		parse("Contact: <sip:Registered SIP '21' at 203.0.113.10:5060>"), ASTERISK_OTHER);
}

static void test_colours(void **state)
{
	(void)state;
	assert_registered(
		"[Nov 22 10:55:37] \033[1;33mVERBOSE\033[0m[1234]: "
		"\033[1;37mchan_sip.c\033[0m:\033[1;37m24421\033[0m \033[1;37mhandle\033[0m: "
		"Registered SIP '21' at 203.0.113.10:5060",
		"21", "203.0.113.10", 5060);
	assert_true(parsed.account.data >= parsed.plain &&
		    parsed.account.data < parsed.plain + ASTERISK_PLAIN_SIZE);
}

/* Every line of every style, cut at every place, and with bytes changed: nothing is read beyond its
 * end, which the sanitizers watch over. */
static void test_any_bytes(void **state)
{
	static const char *const lines[] = {
		"[Nov 22 10:55:37] VERBOSE[2291] chan_sip.c:     -- Registered SIP '21' at "
		"[2001:db8::1]:60012",
		"[2026-11-22 10:50:30] VERBOSE[13991] res_pjsip_registrar.c: Added contact "
		"'sip:22@203.0.113.10:5062;x=1' to AOR '22' with expiration of 120 seconds",
		"[2026-11-22 10:50:13] VERBOSE[1][C-1] pbx.c: Executing [1000@remote:1] "
		"NoOp(\"SIP/21-00000000\", \"x\") in new stack",
		"[2026-11-22 10:50:23] NOTICE[14007] chan_sip.c: Registration from '<sip:21@x>' "
		"failed for '198.51.100.66:5060' - Wrong password",
		HEAD "SecurityEvent=\"SuccessfulAuth\"," FIELDS
		     "AccountID=\"22\",SessionID=\"1\",LocalAddress=\"IPV4/UDP/10.99.0.2/5060\","
		     "RemoteAddress=\"IPV4/UDP/198.51.100.66/5062\",UsingPassword=\"1\"",
		"2026-11-22T10:49:42.123456789Z [Nov 22 11:49:42] \033[1;33mVERBOSE\033[0m[1]: x.c",
	};
	struct dice dice = dice_new("any bytes");

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t length = strlen(lines[i]);

		for (size_t cut = 0; cut <= length; cut++) {
			char *copy = malloc(cut + 1);

			assert_non_null(copy);
			for (int turn = 0; turn < 20; turn++) {
				memcpy(copy, lines[i], cut);
				for (int changes = turn; changes > 0 && cut > 0; changes--)
					copy[dice_roll(&dice, (unsigned)cut)] =
						(char)dice_roll(&dice, 256);
				/* The end of the block is the end of the line. */
				memmove(copy + 1, copy, cut);
				asterisk_log_parse(copy + 1, cut, &parsed);
			}
			free(copy);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered_of_all_ages),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_contacts),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_calls_and_agents),
		cmocka_unit_test(test_security_events),
		cmocka_unit_test(test_forged_fields_hide_nothing),
		cmocka_unit_test(test_two_addresses_of_a_failure),
		cmocka_unit_test(test_only_at_its_place),
		cmocka_unit_test(test_colours),
		cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
