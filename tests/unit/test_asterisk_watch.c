/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_watch.h"
#include "asterisk_log.h"
#include "audit_line.h"
#include "check.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <time.h>

enum { SAID = 4096, START = 1795344582 };

static const char *const name20[] = {"home20.example"};
static const char *const name21[] = {"home21.example"};
static const char *const name22[] = {"home22.example"};

/* 20, 21 and 22 at home, 23 on a desk, and a trunk. 21 and 22 may be on the desk, too. */
static struct owner owners[] = {
	{.id = "20", .names = name20, .name_count = 1, .ipv6_prefix = 128},
	{.id = "21", .names = name21, .name_count = 1, .ipv6_prefix = 64, .local = true},
	{.id = "22", .names = name22, .name_count = 1, .ipv6_prefix = 128, .local = true},
	{.id = "23", .local = true},
	{.id = "voipco", .kind = OWNER_PEER, .fixed_count = 1},
};
static struct guard guard;
static struct prefix trunk, desk;
static struct config config;

static struct world {
	struct roster *roster;
	struct asterisk_watch *watch;
	struct moment now;
	char *said[SAID];
	size_t said_count;
} world;

static struct addr addr_of(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, strlen(text), &addr));
	return addr;
}

static struct prefix prefix_from(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, strlen(text), &prefix), PREFIX_OK);
	return prefix;
}

static struct asterisk_watch_basis basis(void *context)
{
	(void)context;
	return (struct asterisk_watch_basis){&config, world.roster, world.now.wall};
}

static void log_event(void *context, const struct event *event)
{
	(void)context;
	assert_false(event->line.failed);
	assert_true(world.said_count < SAID);
	world.said[world.said_count] = malloc(event->line.length + 3);
	assert_non_null(world.said[world.said_count]);
	sprintf(world.said[world.said_count++], "%d %s", (int)event->level,
		text_string(&event->line));
}

static struct host *host_of(const char *name)
{
	for (size_t i = 0; i < world.roster->host_count; i++) {
		if (strcmp(world.roster->hosts[i].name, name) == 0)
			return &world.roster->hosts[i];
	}
	fail();
	return NULL;
}

/* DNS says so; told as the engine tells it. NULL: it can't be asked. */
static void points(const char *name, const char *address)
{
	struct host *host = host_of(name);
	struct addr addr = {.family = FAMILY_IPV4}, old[4];
	struct answer answer = {.kind = ANSWER_COULD_NOT_ASK, .reason = REASON_SERVFAIL};
	enum family family = FAMILY_IPV4;
	struct event event;
	size_t count;

	if (address) {
		addr = addr_of(address);
		family = (enum family)addr.family;
		answer = (struct answer){
			.kind = ANSWER_ADDRESSES, .ttl = 60, .count = 1, .addrs = &addr};
	}
	count = host->count[family];
	if (count > 0)
		memcpy(old, host->addrs[family], count * sizeof(*old));
	if (host_take(host, family, &answer, 0, world.now.wall) != 1)
		return;
	event_begin(&event, EVENT_NOTICE, "change");
	event_put(&event, "extension", "21");
	event_put(&event, "host", name);
	event_put_addrs(&event, "old", old, count);
	event_put_addrs(&event, "new", host->addrs[family], host->count[family]);
	asterisk_watch_note(world.watch, &event, &world.now);
	event_clear(&event);
}

static int set_up(void **state)
{
	const struct asterisk_watch_options options = {
		.basis = basis, .log = log_event, .seed = 11};
	struct error error = {0};

	(void)state;
	trunk = prefix_from("192.0.2.200");
	desk = prefix_from("192.168.1.0/24");
	owners[4].fixed = &trunk;
	config = (struct config){.guards = &guard,
		.guard_count = 1,
		.owners = owners,
		.owner_count = sizeof(owners) / sizeof(owners[0]),
		.local_subnets = &desk,
		.local_subnet_count = 1,
		.hold = 86400,
		.gone = 300};
	memset(&world, 0, sizeof(world));
	world.now = (struct moment){.boot_ms = 5000000, .wall = START};
	assert_int_equal(roster_build(&config, NULL, &world.roster), 0);
	assert_int_equal(asterisk_watch_open(&world.watch, &options, &world.now, &error), 0);
	asterisk_watch_log(world.watch, ASTERISK_LOG_OPENED, NULL, 0, NULL, &world.now);
	points("home20.example", "203.0.113.20");
	points("home21.example", "203.0.113.10");
	points("home22.example", "203.0.113.22");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	asterisk_watch_close(world.watch);
	roster_free(world.roster);
	for (size_t i = 0; i < world.said_count; i++)
		free(world.said[i]);
	return 0;
}

/* As a loop does it: what is due in between is done when it is due. */
static void wait_ms(int64_t milliseconds)
{
	int64_t end = world.now.boot_ms + milliseconds, due;
	int64_t wall_ms = world.now.wall * 1000 + world.now.boot_ms % 1000 - world.now.boot_ms;

	for (unsigned i = 0; i < 100000; i++) {
		due = asterisk_watch_due(world.watch);
		if (due > end)
			break;
		if (due > world.now.boot_ms)
			world.now.boot_ms = due;
		world.now.wall = (world.now.boot_ms + wall_ms) / 1000;
		asterisk_watch_tick(world.watch, &world.now);
	}
	assert_true(asterisk_watch_due(world.watch) > end);
	world.now.boot_ms = end;
	world.now.wall = (end + wall_ms) / 1000;
}

static void feed(const char *bytes, size_t length)
{
	asterisk_watch_log(world.watch, ASTERISK_LOG_BYTES, bytes, length, NULL, &world.now);
}

static void feed_line(const char *line)
{
	feed(line, strlen(line));
}

static int zone; /* seconds by which Asterisk's local time is off */

static void print_date(char *buffer, size_t size, int off)
{
	time_t wall = (time_t)(world.now.wall + off);
	struct tm date;

	gmtime_r(&wall, &date);
	strftime(buffer, size, "%Y-%m-%d %H:%M:%S", &date);
}

static void print_login(char line[512], const char *account, const char *address, unsigned port,
	const char *service)
{
	static unsigned session;
	char date[32], tv[32];

	print_date(date, sizeof(date), zone);
	print_date(tv, sizeof(tv), 0);
	tv[10] = 'T';
	snprintf(line, 512,
		"[%s] SECURITY[14014] res_security_log.c: SecurityEvent=\"SuccessfulAuth\","
		"EventTV=\"%s.722+0000\",Severity=\"Informational\",Service=\"%s\","
		"EventVersion=\"1\",AccountID=\"%s\",SessionID=\"0x%x\","
		"LocalAddress=\"IPV4/UDP/10.99.0.1/5060\",RemoteAddress=\"IPV%c/UDP/%s/%u\","
		"UsingPassword=\"1\"\n",
		date, tv, service, account, ++session, strchr(address, ':') ? '6' : '4', address,
		port);
}

static void login(const char *account, const char *address, const char *service)
{
	char line[512];

	print_login(line, account, address, 5060, service);
	feed_line(line);
}

static void registered(const char *account, const char *address)
{
	char line[256], date[32];

	print_date(date, sizeof(date), zone);
	snprintf(line, sizeof(line),
		"[%s] VERBOSE[14007] chan_sip.c: Registered SIP '%s' at %s:5060\n", date, account,
		address);
	feed_line(line);
}

/* What was said since the last call, if it is one line with these parts. */
static size_t asked;

static void assert_said(const char *first, ...)
{
	va_list parts;

	if (world.said_count != asked + 1) {
		for (size_t i = asked; i < world.said_count; i++)
			print_message("%s\n", world.said[i]);
		fail_msg("%zu lines instead of one with %s", world.said_count - asked, first);
	}
	va_start(parts, first);
	for (const char *part = first; part; part = va_arg(parts, const char *)) {
		if (!strstr(world.said[asked], part))
			fail_msg("no %s in %s", part, world.said[asked]);
	}
	va_end(parts);
	asked++;
}

static void assert_silent(void)
{
	if (world.said_count != asked)
		fail_msg("said: %s", world.said[asked]);
}

static int begin(void **state)
{
	asked = 0;
	zone = 0;
	return set_up(state);
}

/* --- findings --- */

static void test_a_stranger_is_said_at_once_and_home_is_not(void **state)
{
	(void)state;
	login("21", "203.0.113.10", "SIP");
	login("21", "192.168.1.50", "SIP");
	login("22", "203.0.113.22", "PJSIP");
	assert_silent();
	login("21", "198.51.100.66", "SIP");
	assert_said("3 event=takeover state=found extension=21 address=198.51.100.66 port=5060",
		"driver=chan_sip", "certainty=proven", "count=1", "next=", NULL);
	login("22", "198.51.100.66", "PJSIP");
	assert_said("extension=22", "driver=pjsip", "certainty=proven", NULL);
	login("voipco", "198.51.100.66", "PJSIP");
	assert_said("3 ", "peer=voipco", NULL);
	login("1199", "198.51.100.66", "PJSIP");
	wait_ms(10000);
	assert_silent();
}

static void test_it_is_said_once_and_then_each_hour_with_its_count(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		login("21", "198.51.100.66", "PJSIP");
		wait_ms(1000);
	}
	assert_said("state=found", "count=1 ", NULL);
	wait_ms(TAKEOVER_AGAIN_MS);
	assert_said("3 ", "state=goes-on", "count=100 ", NULL);
	wait_ms(3 * TAKEOVER_AGAIN_MS);
	assert_silent();
	login("21", "198.51.100.66", "PJSIP");
	assert_said("state=goes-on", "count=101 ", NULL);
}

static void test_another_extensions_home_is_named(void **state)
{
	(void)state;
	login("21", "203.0.113.22", "PJSIP");
	assert_said(
		"extension=21", "address=203.0.113.22", "certainty=proven", "address-of=22", NULL);
	login("20", "192.168.1.7", "PJSIP");
	assert_said("extension=20", "address-of=local-subnets", NULL);
}

/* chan_sip: 20 calls 21 from where it is registered. */
static void test_a_call_is_no_alarm(void **state)
{
	(void)state;
	wait_ms(ASTERISK_WATCH_SETTLED_MS);
	login("20", "203.0.113.20", "SIP");
	wait_ms(60000);
	login("21", "203.0.113.20", "SIP");
	wait_ms(1000);
	assert_silent();
	wait_ms(5000);
	assert_said("5 ", "certainty=ambiguous", "address-of=20", NULL);
	/* The full log has a registration: it was none. */
	wait_ms(60000);
	login("21", "203.0.113.20", "SIP");
	assert_silent();
	registered("21", "203.0.113.20");
	assert_said("3 ", "state=surer", "certainty=proven", "count=2 ", NULL);
}

/* Soon after the start, too. */
static void test_the_full_log_tells_a_registration_from_a_call(void **state)
{
	(void)state;
	login("20", "203.0.113.20", "SIP");
	wait_ms(60000);
	login("21", "203.0.113.20", "SIP");
	registered("21", "203.0.113.20");
	assert_said("3 ", "state=found", "certainty=proven", "count=1 ", NULL);
}

/* At the start nobody knows whose phones are registered where. */
static void test_a_call_of_a_phone_that_registered_before_the_start_is_no_alarm(void **state)
{
	(void)state;
	login("21", "203.0.113.20", "SIP");
	login("20", "192.168.1.23", "SIP");
	assert_silent();
	wait_ms(5000);
	assert_int_equal(world.said_count, 2);
	assert_non_null(strstr(world.said[0], "certainty=ambiguous"));
	assert_non_null(strstr(world.said[1], "certainty=ambiguous"));
	asked = 2;
	/* pjsip names who calls */
	login("22", "203.0.113.20", "PJSIP");
	assert_said("certainty=proven", NULL);
	/* and after an hour all phones have registered again */
	wait_ms(ASTERISK_WATCH_SETTLED_MS);
	login("21", "203.0.113.20", "SIP");
	assert_said("state=surer", "certainty=proven", NULL);
	/* but a trunk need not register at all */
	login("21", "192.0.2.200", "SIP");
	wait_ms(5000);
	assert_said("certainty=ambiguous", "address-of=voipco", NULL);
}

static void test_a_contact_alone_is_claimed(void **state)
{
	(void)state;
	registered("21", "198.51.100.66");
	assert_silent();
	wait_ms(6000);
	assert_said("3 ", "certainty=claimed", NULL);
	/* With a log-in it is what the log-in says. */
	registered("22", "198.51.100.66");
	login("22", "203.0.113.22", "SIP");
	wait_ms(60000);
	assert_silent();
	assert_true(asterisk_watch_due(world.watch) > world.now.boot_ms + 60000);
}

static void test_whoever_floods_hides_nobody(void **state)
{
	char address[ADDR_TEXT_SIZE];
	struct takeover list[8];
	size_t found = 0;

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(address, sizeof(address), "10.1.%u.%u", i >> 8, i & 255);
		login("22", address, "PJSIP");
	}
	assert_int_equal(world.said_count, TAKEOVER_MINUTE_EACH);
	login("21", "198.51.100.66", "PJSIP");
	assert_int_equal(world.said_count, TAKEOVER_MINUTE_EACH + 1);
	assert_non_null(strstr(world.said[world.said_count - 1], "extension=21"));
	asked = world.said_count;
	wait_ms(61000);
	assert_said("3 ", "state=left-out", "count=4990", NULL);
	assert_int_equal(asterisk_watch_takeovers(world.watch, list, 8), TAKEOVER_PAIRS);
	for (size_t i = 0; i < 8; i++)
		found += strcmp(owners[list[i].owner].id, "21") == 0;
	assert_int_equal(asterisk_watch_summary(world.watch).left_out, 4990);
	assert_true(found <= 1);
}

static void test_the_surest_are_kept(void **state)
{
	static struct takeover list[TAKEOVER_PAIRS];
	char address[ADDR_TEXT_SIZE];
	size_t count, proven = 0;

	(void)state;
	login("21", "198.51.100.66", "PJSIP");
	wait_ms(60000);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(address, sizeof(address), "10.1.%u.%u", i >> 8, i & 255);
		registered("22", address);
	}
	wait_ms(10000);
	count = asterisk_watch_takeovers(world.watch, list, TAKEOVER_PAIRS);
	assert_int_equal(count, TAKEOVER_PAIRS);
	for (size_t i = 0; i < count; i++)
		proven += list[i].certainty == AUDIT_PROVEN;
	assert_int_equal(proven, 1);
}

/* --- names that move --- */

static void test_an_address_lost_just_now_is_no_alarm(void **state)
{
	(void)state;
	points("home21.example", "203.0.113.77");
	login("21", "203.0.113.10", "PJSIP");
	login("21", "203.0.113.77", "PJSIP");
	wait_ms(TAKEOVER_GRACE_MS - 1000);
	login("21", "203.0.113.10", "PJSIP");
	wait_ms(10000);
	assert_silent();
	login("21", "203.0.113.10", "PJSIP");
	assert_said("certainty=proven", NULL);
	/* another's loss is nothing to 22 */
	points("home21.example", "203.0.113.78");
	login("22", "203.0.113.77", "PJSIP");
	assert_said("extension=22", NULL);
}

static void test_the_prefix_of_an_address_goes_with_it(void **state)
{
	(void)state;
	points("home21.example", "2001:db8:21::7");
	login("21", "2001:db8:21::99", "PJSIP");
	points("home21.example", "2001:db8:22::7");
	login("21", "2001:db8:21::99", "PJSIP");
	wait_ms(10000);
	assert_silent();
	login("21", "2001:db8:23::1", "PJSIP");
	assert_said("address=2001:db8:23::1", "certainty=proven", NULL);
}

static void test_a_phone_that_was_faster_than_its_name_is_excused(void **state)
{
	struct takeover list[4];

	(void)state;
	login("21", "203.0.113.77", "PJSIP");
	login("22", "198.51.100.66", "PJSIP");
	assert_int_equal(world.said_count, 2);
	asked = 2;
	wait_ms(30000);
	points("home21.example", "203.0.113.77");
	wait_ms(2000);
	assert_said("4 ", "state=excused", "extension=21", "address=203.0.113.77", NULL);
	assert_int_equal(asterisk_watch_takeovers(world.watch, list, 4), 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(list[i].excused, strcmp(owners[list[i].owner].id, "21") == 0);
	/* But who comes from there when it is lost again is told anew. */
	points("home21.example", "203.0.113.10");
	wait_ms(TAKEOVER_GRACE_MS + 1000);
	login("21", "203.0.113.77", "PJSIP");
	assert_said("3 ", "state=found", "count=1 ", NULL);
	asterisk_watch_takeovers(world.watch, list, 4);
	assert_false(list[0].excused);
	/* What was only noted is excused as quietly. */
	login("20", "192.168.1.9", "SIP");
	wait_ms(5000);
	assert_said("5 ", "certainty=ambiguous", NULL);
	points("home20.example", "192.168.1.9");
	wait_ms(2000);
	assert_said("5 ", "state=excused", "extension=20", NULL);
	/* Too late: that is another story. */
	wait_ms(TAKEOVER_GRACE_MS + 1000);
	points("home21.example", "203.0.113.77");
	wait_ms(10000);
	assert_silent();
}

/* Not answered yet is not "had not"; never answered is. */
static void test_the_first_answer_is_waited_for(void **state)
{
	struct roster *roster;

	(void)state;
	assert_int_equal(roster_build(&config, NULL, &roster), 0);
	roster_free(world.roster);
	world.roster = roster;
	login("21", "203.0.113.10", "PJSIP");
	login("22", "198.51.100.66", "PJSIP");
	assert_silent();
	points("home21.example", "203.0.113.10");
	points("home22.example", NULL);
	wait_ms(5000);
	assert_said("3 ", "extension=22", "certainty=proven", NULL);
	login("20", "203.0.113.20", "PJSIP");
	wait_ms(59000);
	assert_silent();
	wait_ms(5000);
	assert_said("5 ", "extension=20", "certainty=unknown", NULL);
	/* If it may be a call it still may be one when the name has its answer. */
	assert_int_equal(roster_build(&config, NULL, &roster), 0);
	roster_free(world.roster);
	world.roster = roster;
	wait_ms(ASTERISK_WATCH_SETTLED_MS);
	login("21", "192.0.2.200", "SIP");
	points("home21.example", "203.0.113.10");
	wait_ms(5000);
	assert_said("5 ", "extension=21", "certainty=ambiguous", NULL);
}

static void test_another_config(void **state)
{
	static struct owner other[] = {
		{.id = "9"},
		{.id = "20", .names = name20, .name_count = 1, .ipv6_prefix = 128},
		{.id = "21", .names = name21, .name_count = 1, .ipv6_prefix = 64},
	};
	struct roster *roster;
	struct takeover list[4];

	(void)state;
	wait_ms(ASTERISK_WATCH_SETTLED_MS);
	login("20", "203.0.113.20", "SIP");
	login("21", "198.51.100.66", "PJSIP");
	login("22", "198.51.100.66", "PJSIP");
	asked = world.said_count;
	assert_int_equal(asked, 2);
	config.owners = other;
	config.owner_count = 3;
	assert_int_equal(roster_build(&config, world.roster, &roster), 0);
	roster_free(world.roster);
	world.roster = roster;
	asterisk_watch_configure(world.watch, &world.now);
	/* 22 is no more; what was said of 21 is not said again; 20's registration is remembered. */
	assert_int_equal(asterisk_watch_takeovers(world.watch, list, 4), 1);
	assert_int_equal(list[0].owner, 2);
	login("21", "198.51.100.66", "PJSIP");
	login("22", "198.51.100.67", "PJSIP");
	login("21", "203.0.113.20", "SIP");
	wait_ms(3000);
	assert_silent();
	wait_ms(1000);
	assert_said("certainty=ambiguous", "address-of=20", NULL);
}

/* --- bytes --- */

static void test_lines_come_in_pieces(void **state)
{
	char line[512];
	size_t length;

	(void)state;
	print_login(line, "21", "198.51.100.66", 5060, "PJSIP");
	length = strlen(line);
	for (size_t i = 0; i + 1 < length; i++)
		feed(line + i, 1);
	assert_silent();
	feed(line + length - 1, 1);
	assert_said("certainty=proven", NULL);
	assert_int_equal(asterisk_watch_summary(world.watch).lines, 1);
}

static void test_a_line_that_is_too_long_is_passed_over(void **state)
{
	static char much[3 * ASTERISK_WATCH_LINE];
	struct asterisk_watch_summary summary;

	(void)state;
	memset(much, 'x', sizeof(much));
	feed(much, 100);
	feed(much, sizeof(much));
	feed(much, 5);
	feed_line("\n");
	much[sizeof(much) - 1] = '\n';
	feed(much, sizeof(much));
	login("21", "198.51.100.66", "PJSIP");
	assert_said("certainty=proven", NULL);
	summary = asterisk_watch_summary(world.watch);
	assert_int_equal(summary.too_long, 2);
	assert_int_equal(summary.lines, 3);
	assert_int_equal(summary.security, 1);
}

/* The last line of a file that was rotated away lacks its end, and the next file is another. */
static void test_rotation_ends_a_line(void **state)
{
	char line[512];

	(void)state;
	print_login(line, "21", "198.51.100.66", 5060, "PJSIP");
	feed(line, strlen(line) - 1);
	asterisk_watch_log(world.watch, ASTERISK_LOG_OPENED, NULL, 0, NULL, &world.now);
	assert_said("extension=21", NULL);
	print_login(line, "22", "198.51.100.66", 5060, "PJSIP");
	feed(line, strlen(line) / 2);
	asterisk_watch_log(world.watch, ASTERISK_LOG_OPENED, NULL, 0, NULL, &world.now);
	assert_silent();
	login("22", "198.51.100.66", "PJSIP");
	assert_said("extension=22", "count=1 ", NULL);
}

static void test_a_clock_that_is_wrong_loses_nothing(void **state)
{
	static const int zones[] = {-5 * 3600, 12 * 3600, -40 * 365 * 86400, 0};

	(void)state;
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
		char address[ADDR_TEXT_SIZE];

		zone = zones[i];
		snprintf(address, sizeof(address), "198.51.100.%zu", i);
		login("22", address, "PJSIP");
		assert_said("certainty=proven", address, NULL);
		/* The full log's dates are of Asterisk's zone, and still near the log-in. */
		registered("21", address);
		login("21", "203.0.113.10", "SIP");
		wait_ms(20000);
		/* A line without a date is of now. */
		login("21", "203.0.113.10", "SIP");
		feed_line("    -- Registered SIP '21' at 198.51.100.9:5060\n");
		wait_ms(20000);
		assert_silent();
	}
}

static void test_a_log_without_security_events_is_told(void **state)
{
	struct error missing = {.code = -ENOENT, .what = "not there", .next = "make it"};

	(void)state;
	asterisk_watch_log(world.watch, ASTERISK_LOG_MISSING, NULL, 0, &missing, &world.now);
	assert_said("4 event=security-log state=missing", "error=\"not there\"", "next=\"make it\"",
		NULL);
	asterisk_watch_log(world.watch, ASTERISK_LOG_MISSING, NULL, 0, &missing, &world.now);
	assert_silent();
	assert_int_equal(asterisk_watch_summary(world.watch).state, ASTERISK_WATCH_MISSING);
	asterisk_watch_log(world.watch, ASTERISK_LOG_OPENED, NULL, 0, NULL, &world.now);
	assert_said("5 event=security-log state=followed", NULL);
	wait_ms(ASTERISK_WATCH_SILENT_MS + 1000);
	assert_said("4 event=security-log state=silent", "security => security", NULL);
	wait_ms(10 * ASTERISK_WATCH_SILENT_MS);
	assert_silent();
	assert_true(asterisk_watch_summary(world.watch).silent);
	login("21", "203.0.113.10", "SIP");
	assert_false(asterisk_watch_summary(world.watch).silent);
	wait_ms(ASTERISK_WATCH_STALE_MS + 1000);
	assert_said("state=silent", "more than a day", NULL);
}

static void test_a_full_log_is_no_security_log(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++)
		registered("21", "203.0.113.10");
	wait_ms(1);
	assert_said("state=silent", "no security events", NULL);
}

/* --- a real log, against the audit --- */

static char *read_log(const char *name, size_t *ret_length)
{
	char path[512];
	FILE *file;
	char *bytes = malloc(1 << 20);

	snprintf(path, sizeof(path), "%s/%s", LOGS_DIR, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_non_null(bytes);
	*ret_length = fread(bytes, 1, 1 << 20, file);
	assert_true(*ret_length > 1000 && *ret_length < 1 << 20);
	fclose(file);
	return bytes;
}

/* Seconds of START's day, as the dates of these logs are UTC. */
static int64_t second_of(const char *line, size_t length)
{
	struct asterisk_time time;

	if (!asterisk_log_date(line, length, &time))
		return 0;
	return START / 86400 * 86400 + time.hour * 3600 + time.minute * 60 + time.second;
}

static enum audit_verdict verdict(
	const void *context, uint32_t owner, const struct addr *addr, int64_t wall)
{
	struct addr home = addr_of("203.0.113.10");

	(void)context;
	(void)wall;
	if (prefix_contains(&desk, addr))
		return AUDIT_HAD;
	return owner <= 2 && addr_equal(addr, &home) ? AUDIT_HAD : AUDIT_HAD_NOT;
}

static struct audit *audit_log(const char *bytes, size_t length)
{
	const struct audit_settings settings = {.verdict = verdict, .since = INT64_MIN};
	static struct asterisk_line line;
	struct audit_event event;
	struct audit *audit;

	assert_int_equal(audit_new(&config, &settings, &audit), 0);
	for (const char *at = bytes, *end = bytes + length; at < end;) {
		const char *feed_at = memchr(at, '\n', (size_t)(end - at));
		size_t size = (size_t)((feed_at ? feed_at : end) - at);

		if (asterisk_log_parse(at, size, &line) != ASTERISK_OTHER) {
			int64_t when = line.time.kind == ASTERISK_TIME_EXACT
					       ? line.time.wall * 1000 + line.time.millisecond
					       : second_of(at, size) * 1000;

			if (audit_line_event(&line, when, &event))
				assert_int_equal(audit_take(audit, &event), 0);
		}
		at += size + 1;
	}
	assert_int_equal(audit_finish(audit), 0);
	return audit;
}

static void compare(const struct audit *audit)
{
	struct takeover list[64];
	size_t count = asterisk_watch_takeovers(world.watch, list, 64), expected = 0;

	for (size_t i = 0; i < audit_account_count(audit); i++) {
		struct audit_account account = audit_account(audit, i);

		for (size_t j = 0; j < account.finding_count; j++) {
			const struct audit_finding *finding = &account.findings[j];
			uint64_t sum = 0;
			bool found = false;

			for (size_t k = 0; k < AUDIT_CERTAINTY_COUNT; k++)
				sum += finding->tally.counts[k];
			for (size_t k = 0; k < count; k++) {
				if (list[k].owner != account.owner ||
					!addr_equal(&list[k].addr, &finding->addr))
					continue;
				found = true;
				assert_int_equal(list[k].certainty, finding->certainty);
				assert_int_equal(list[k].count, sum);
			}
			assert_true(found);
			expected++;
		}
	}
	assert_int_equal(count, expected);
	assert_true(expected >= 2);
}

/* So much of the log, but no line that was not written yet: time goes on to that of the next line.
 */
static size_t piece_of(const char *bytes, size_t length, size_t size)
{
	int64_t second;

	for (size_t at = 0; at < length && at < size;) {
		const char *end = memchr(bytes + at, '\n', length - at);

		second = second_of(bytes + at, length - at);
		if (second > world.now.wall && at > 0)
			return at;
		if (second > world.now.wall)
			wait_ms((second - world.now.wall) * 1000);
		at = end ? (size_t)(end - bytes) + 1 : length;
	}
	return size < length ? size : length;
}

static void test_real_logs_in_any_pieces_tell_what_the_audit_tells(void **state)
{
	static const char *const names[] = {"security.log", "full.log", "full-with-security.log"};
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int round = 0; round < 60; round++) {
		size_t length;
		char *bytes = read_log(names[round % 3], &length);
		struct audit *audit = audit_log(bytes, length);
		size_t at = 0;

		tear_down(NULL);
		begin(NULL);
		points("home21.example", "203.0.113.10");
		points("home22.example", "203.0.113.10");
		points("home20.example", "203.0.113.10");
		while (at < length) {
			size_t size = piece_of(bytes + at, length - at,
				1 + dice_roll(&dice, round < 30 ? 300 : 5000));

			feed(bytes + at, size);
			at += size;
		}
		wait_ms(20000);
		compare(audit);
		audit_free(audit);
		free(bytes);
	}
}

/* A million lines of strangers, some of them with names of the config. */
static void test_a_flood_takes_no_memory(void **state)
{
	static char block[1 << 16];
	struct mallinfo2 before, after;
	size_t lines = 0, used;
	char date[32];

	(void)state;
	login("20", "203.0.113.20", "SIP");
	before = mallinfo2();
	print_date(date, sizeof(date), 0);
	while (lines < 1000000) {
		used = 0;
		while (used < sizeof(block) - 512) {
			unsigned i = (unsigned)lines++;

			used += (size_t)snprintf(block + used, 512,
				"[%s] SECURITY[1] res_security_log.c: SecurityEvent=\"%s\","
				"EventTV=\"2026-11-22T10:49:42.722+0000\",Severity=\"Error\","
				"Service=\"%s\",EventVersion=\"2\",AccountID=\"%s%u\","
				"SessionID=\"0x%x\",LocalAddress=\"IPV4/UDP/10.99.0.1/5060\","
				"RemoteAddress=\"IPV4/UDP/10.%u.%u.%u/5060\"%s\n",
				date, i % 5 ? "InvalidPassword" : "SuccessfulAuth",
				i & 1 ? "SIP" : "PJSIP", i % 3 ? "x" : "2", i % 3 ? i : 1, i,
				i >> 16 & 255, i >> 8 & 255, i & 255,
				i % 5 ? "" : ",UsingPassword=\"1\"");
		}
		feed(block, used);
	}
	login("22", "198.51.100.66", "SIP");
	after = mallinfo2();
	/* but for what was said, which the test keeps */
	assert_true(after.uordblks < before.uordblks + 64 * 1024);
	assert_non_null(strstr(world.said[world.said_count - 1], "extension=22"));
	assert_true(world.said_count <= TAKEOVER_MINUTE_EACH + 1);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, begin, tear_down)
	const struct CMUnitTest tests[] = {
		EACH(test_a_stranger_is_said_at_once_and_home_is_not),
		EACH(test_it_is_said_once_and_then_each_hour_with_its_count),
		EACH(test_another_extensions_home_is_named),
		EACH(test_a_call_is_no_alarm),
		EACH(test_the_full_log_tells_a_registration_from_a_call),
		EACH(test_a_call_of_a_phone_that_registered_before_the_start_is_no_alarm),
		EACH(test_a_contact_alone_is_claimed),
		EACH(test_whoever_floods_hides_nobody),
		EACH(test_the_surest_are_kept),
		EACH(test_an_address_lost_just_now_is_no_alarm),
		EACH(test_the_prefix_of_an_address_goes_with_it),
		EACH(test_a_phone_that_was_faster_than_its_name_is_excused),
		EACH(test_the_first_answer_is_waited_for),
		EACH(test_another_config),
		EACH(test_lines_come_in_pieces),
		EACH(test_a_line_that_is_too_long_is_passed_over),
		EACH(test_rotation_ends_a_line),
		EACH(test_a_clock_that_is_wrong_loses_nothing),
		EACH(test_a_log_without_security_events_is_told),
		EACH(test_a_full_log_is_no_security_log),
		EACH(test_real_logs_in_any_pieces_tell_what_the_audit_tells),
		EACH(test_a_flood_takes_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
