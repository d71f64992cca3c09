/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "audit.h"

#include "check.h"
#include <string.h>

/* 20, 21 and 22 of one house, at 203.0.113.20, .21 and .22; who is at 192.0.2.x is not known, and
 * 203.0.113.77 was theirs a little while ago. */
static struct owner owners[] = {
	{.id = "20", .kind = OWNER_EXTENSION},
	{.id = "21", .kind = OWNER_EXTENSION},
	{.id = "22", .kind = OWNER_EXTENSION},
	{.id = "22", .kind = OWNER_PEER},
	{.id = "voipco", .kind = OWNER_PEER},
};
static const struct config config = {.owners = owners, .owner_count = 5};

static const int64_t start = 1795344582000;
static struct audit *audit;
static int64_t now;

static struct addr addr_of(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, strlen(text), &addr));
	return addr;
}

static enum audit_verdict verdict(
	const void *context, uint32_t owner, const struct addr *addr, int64_t wall)
{
	static const uint8_t house[3] = {203, 0, 113}, nowhere[3] = {192, 0, 2};

	(void)context;
	assert_true(wall >= start / 1000 - 100000 && wall < start / 1000 + 10000000);
	if (addr->family != FAMILY_IPV4)
		return AUDIT_HAD_NOT;
	if (memcmp(addr->bytes, nowhere, 3) == 0)
		return AUDIT_NOT_KNOWN;
	if (memcmp(addr->bytes, house, 3) != 0)
		return AUDIT_HAD_NOT;
	if (addr->bytes[3] == 77)
		return AUDIT_GRACE;
	return addr->bytes[3] == 20 + owner ? AUDIT_HAD : AUDIT_HAD_NOT;
}

static void begin_with(const struct audit_settings *settings)
{
	assert_int_equal(audit_new(&config, settings, &audit), 0);
	now = start;
}

static void begin(void)
{
	begin_with(&(struct audit_settings){.verdict = verdict, .since = INT64_MIN, .seed = 7});
}

static int end(void **state)
{
	(void)state;
	audit = audit_free(audit);
	return 0;
}

static void take(struct audit_event event, const char *account, const char *addr)
{
	static uint64_t sessions;

	event.when = now;
	event.account = account;
	event.account_length = strlen(account);
	if (addr) {
		event.has_addr = true;
		event.addr = addr_of(addr);
	}
	/* Each of its own, unless the test says something else. */
	if (!event.session) {
		sessions++;
		event.session = (const char *)&sessions;
		event.session_length = sizeof(sessions);
	}
	assert_int_equal(audit_take(audit, &event), 0);
}

static void login(const char *account, const char *addr, enum audit_protocol protocol)
{
	take((struct audit_event){.kind = AUDIT_LOGIN,
		     .security = true,
		     .protocol = (uint8_t)protocol,
		     .port = 5060},
		account, addr);
}

static void claim(const char *account, const char *addr, enum audit_protocol protocol)
{
	take((struct audit_event){.kind = AUDIT_CLAIM, .protocol = (uint8_t)protocol, .port = 5060},
		account, addr);
}

static void refuse(const char *account, const char *addr, bool security)
{
	take((struct audit_event){.kind = AUDIT_FAILED,
		     .failure = AUDIT_FAILURE_PASSWORD,
		     .security = security},
		account, addr);
}

static void finish(void)
{
	assert_int_equal(audit_finish(audit), 0);
}

/* The only account with findings. */
static struct audit_account only(const char *id, enum audit_certainty certainty)
{
	struct audit_account account;

	assert_int_equal(audit_account_count(audit), 1);
	account = audit_account(audit, 0);
	assert_string_equal(owners[account.owner].id, id);
	assert_int_equal(account.certainty, certainty);
	return account;
}

static void assert_finding(const struct audit_finding *finding, const char *addr,
	enum audit_certainty certainty, uint64_t count)
{
	struct addr expected = addr_of(addr);

	assert_true(finding->has_addr);
	assert_true(addr_equal(&finding->addr, &expected));
	assert_int_equal(finding->certainty, certainty);
	assert_int_equal(finding->tally.counts[certainty], count);
}

static void test_at_home_is_no_finding(void **state)
{
	(void)state;
	begin();
	login("21", "203.0.113.21", AUDIT_SIP);
	claim("21", "203.0.113.21", AUDIT_SIP);
	login("22", "203.0.113.22", AUDIT_PJSIP);
	login("22", "203.0.113.77", AUDIT_PJSIP);
	finish();
	assert_int_equal(audit_account_count(audit), 0);
	assert_int_equal(audit_in_order(audit), 3);
	assert_int_equal(audit_in_grace(audit), 1);
}

static void test_log_in_from_elsewhere_is_proven(void **state)
{
	struct audit_account account;

	(void)state;
	begin();
	login("21", "198.51.100.66", AUDIT_SIP);
	now += 60000;
	login("21", "198.51.100.66", AUDIT_SIP);
	finish();
	account = only("21", AUDIT_PROVEN);
	assert_int_equal(account.finding_count, 1);
	assert_finding(&account.findings[0], "198.51.100.66", AUDIT_PROVEN, 2);
	assert_int_equal(account.tally.first, start);
	assert_int_equal(account.tally.last, start + 60000);
}

static void test_claim_alone_is_claimed(void **state)
{
	(void)state;
	begin();
	claim("22", "198.51.100.66", AUDIT_PJSIP);
	finish();
	only("22", AUDIT_CLAIMED);
}

/* A phone behind NAT claims what it likes; the log-in beside it says where it was. */
static void test_log_in_explains_a_claim(void **state)
{
	(void)state;
	for (int order = 0; order < 2; order++) {
		begin();
		if (order == 0)
			claim("21", "10.0.0.5", AUDIT_SIP);
		now += 1500;
		login("21", "203.0.113.21", AUDIT_SIP);
		if (order == 1)
			claim("21", "10.0.0.5", AUDIT_SIP);
		finish();
		assert_int_equal(audit_account_count(audit), 0);
		end(NULL);
	}
	/* not one of the other driver, nor one of another time */
	begin();
	claim("21", "10.0.0.5", AUDIT_SIP);
	login("21", "203.0.113.21", AUDIT_PJSIP);
	now += AUDIT_WINDOW + 1;
	login("21", "203.0.113.21", AUDIT_SIP);
	finish();
	only("21", AUDIT_CLAIMED);
}

static void test_forged_contact_is_proven_elsewhere(void **state)
{
	struct audit_account account;

	(void)state;
	begin();
	claim("21", "203.0.113.21", AUDIT_SIP);
	login("21", "198.51.100.66", AUDIT_SIP);
	finish();
	account = only("21", AUDIT_PROVEN);
	assert_int_equal(account.finding_count, 1);
	assert_finding(&account.findings[0], "198.51.100.66", AUDIT_PROVEN, 1);
}

static void test_call_to_an_extension_is_ambiguous(void **state)
{
	(void)state;
	begin();
	login("20", "203.0.113.20", AUDIT_SIP);
	now += 60000;
	login("21", "203.0.113.20", AUDIT_SIP);	  /* 20 calls 21 */
	login("1000", "203.0.113.20", AUDIT_SIP); /* and somebody outside */
	finish();
	only("21", AUDIT_AMBIGUOUS);
	assert_int_equal(audit_stranger_count(audit), 0);
	end(NULL);
	/* pjsip says who calls, not whom */
	begin();
	login("20", "203.0.113.20", AUDIT_PJSIP);
	login("21", "203.0.113.20", AUDIT_PJSIP);
	finish();
	only("21", AUDIT_PROVEN);
	end(NULL);
	/* 20 has moved on since */
	begin();
	login("20", "203.0.113.20", AUDIT_SIP);
	claim("20", "203.0.113.20", AUDIT_SIP);
	now += 60000;
	login("20", "203.0.113.77", AUDIT_SIP);
	claim("20", "203.0.113.77", AUDIT_SIP);
	now += 60000;
	login("21", "203.0.113.20", AUDIT_SIP);
	finish();
	only("21", AUDIT_PROVEN);
}

/* A trunk need not register before it calls. */
static void test_call_of_a_peer_is_ambiguous(void **state)
{
	struct audit_account account;

	(void)state;
	begin();
	login("21", "203.0.113.24", AUDIT_SIP); /* voipco's */
	finish();
	account = only("21", AUDIT_AMBIGUOUS);
	assert_finding(&account.findings[0], "203.0.113.24", AUDIT_AMBIGUOUS, 1);
	end(NULL);
	begin();
	login("21", "203.0.113.24", AUDIT_SIP);
	claim("21", "203.0.113.24", AUDIT_SIP);
	login("20", "203.0.113.24", AUDIT_PJSIP);
	finish();
	assert_int_equal(audit_account_count(audit), 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(audit_account(audit, i).certainty, AUDIT_PROVEN);
}

/* Who listens is told when it is known, and what was told in doubt again when it is not any more.
 */
static struct audit_sighting told[16];
static size_t told_count;

static void hear(void *listener, const struct audit_sighting *sighting)
{
	assert_ptr_equal(listener, &told_count);
	assert_true(told_count < 16);
	told[told_count++] = *sighting;
}

static void assert_told(size_t count, enum audit_certainty certainty, bool login, bool rises)
{
	assert_int_equal(told_count, count);
	assert_int_equal(told[count - 1].certainty, certainty);
	assert_int_equal(told[count - 1].login, login);
	assert_int_equal(told[count - 1].rises, rises);
}

static void test_a_listener_is_told_at_once(void **state)
{
	struct audit *next;

	(void)state;
	told_count = 0;
	begin_with(&(struct audit_settings){
		.verdict = verdict, .since = INT64_MIN, .found = hear, .listener = &told_count});
	login("20", "203.0.113.20", AUDIT_SIP);
	login("21", "203.0.113.77", AUDIT_SIP);
	assert_int_equal(told_count, 0);
	login("21", "198.51.100.66", AUDIT_SIP);
	assert_told(1, AUDIT_PROVEN, true, false);
	assert_int_equal(told[0].owner, 1);
	assert_int_equal(told[0].port, 5060);
	now += 60000;
	login("22", "203.0.113.20", AUDIT_SIP);
	assert_told(2, AUDIT_AMBIGUOUS, true, false);
	claim("22", "203.0.113.20", AUDIT_SIP);
	assert_told(3, AUDIT_PROVEN, true, true);
	now += 60000;
	claim("21", "198.51.100.67", AUDIT_PJSIP);
	assert_int_equal(audit_settle(audit, now + AUDIT_WINDOW), 0);
	assert_int_equal(told_count, 3);
	assert_int_equal(audit_settle(audit, now + AUDIT_WINDOW + 1), 0);
	assert_told(4, AUDIT_CLAIMED, false, false);
	assert_int_equal(audit_settle(audit, now + AUDIT_WINDOW + 1), 0);
	assert_int_equal(told_count, 4);
	/* Another one goes on with who is registered where. */
	assert_int_equal(audit_new(&config,
				 &(struct audit_settings){.verdict = verdict,
					 .since = INT64_MIN,
					 .found = hear,
					 .listener = &told_count},
				 &next),
		0);
	assert_int_equal(audit_inherit(next, audit), 0);
	audit_free(audit);
	audit = next;
	login("21", "203.0.113.20", AUDIT_SIP);
	assert_told(5, AUDIT_AMBIGUOUS, true, false);
}

/* The full log tells a registration from a call, whichever of the two lines comes first. */
static void test_registration_from_anothers_phone_is_proven(void **state)
{
	(void)state;
	for (int order = 0; order < 2; order++) {
		struct audit_account account;

		begin();
		login("20", "203.0.113.20", AUDIT_SIP);
		now += 60000;
		if (order == 0)
			claim("21", "203.0.113.20", AUDIT_SIP);
		login("21", "203.0.113.20", AUDIT_SIP);
		if (order == 1)
			claim("21", "203.0.113.20", AUDIT_SIP);
		finish();
		account = only("21", AUDIT_PROVEN);
		assert_int_equal(account.tally.counts[AUDIT_AMBIGUOUS], 0);
		assert_int_equal(account.tally.counts[AUDIT_CLAIMED], 0);
		assert_finding(&account.findings[0], "203.0.113.20", AUDIT_PROVEN, 1);
		end(NULL);
	}
}

static void test_not_known_is_unknown(void **state)
{
	struct audit_account account;

	(void)state;
	begin();
	login("21", "192.0.2.1", AUDIT_SIP);
	claim("21", "192.0.2.2", AUDIT_PJSIP);
	take((struct audit_event){.kind = AUDIT_CLAIM,
		     .protocol = AUDIT_PJSIP,
		     .text = "sip:a@b.invalid",
		     .text_length = 15},
		"21", NULL);
	finish();
	account = only("21", AUDIT_UNKNOWN);
	assert_int_equal(account.finding_count, 3);
	assert_int_equal(account.tally.counts[AUDIT_UNKNOWN], 3);
	for (size_t i = 0; i < 3; i++) {
		if (!account.findings[i].has_addr)
			assert_memory_equal(account.findings[i].agent.bytes, "sip:a@b.invalid", 15);
	}
}

static void test_peers_and_strangers(void **state)
{
	struct audit_account account;

	(void)state;
	begin();
	login("voipco", "198.51.100.66", AUDIT_PJSIP);
	login("22", "203.0.113.22", AUDIT_PJSIP); /* the extension, not the peer */
	login("nobody", "198.51.100.67", AUDIT_PJSIP);
	login("nobody", "198.51.100.68", AUDIT_PJSIP);
	finish();
	account = only("voipco", AUDIT_PROVEN);
	assert_int_equal(owners[account.owner].kind, OWNER_PEER);
	assert_int_equal(audit_stranger_count(audit), 1);
	assert_int_equal(audit_stranger(audit, 0)->count, 2);
	assert_int_equal(audit_stranger(audit, 0)->addresses_at_least, 2);
}

static void test_since(void **state)
{
	(void)state;
	begin_with(&(struct audit_settings){.verdict = verdict, .since = start + 1000});
	login("21", "198.51.100.66", AUDIT_SIP);
	login("20", "203.0.113.20", AUDIT_SIP);
	now += 1000;
	login("22", "203.0.113.20", AUDIT_SIP); /* where 20 was registered before */
	finish();
	only("22", AUDIT_AMBIGUOUS);
}

static void test_deeds(void **state)
{
	struct addr rogue = addr_of("198.51.100.66");
	struct audit_deeds deeds;

	(void)state;
	begin();
	refuse("1199", "198.51.100.66", true);
	refuse("1199", "198.51.100.66", false); /* the same in the full log */
	refuse("<unknown>", "198.51.100.66", true);
	now += 1000;
	login("21", "198.51.100.66", AUDIT_SIP);
	now += 1000;
	for (uint32_t channel = 0; channel < 3; channel++)
		take((struct audit_event){.kind = AUDIT_CALL,
			     .channel = channel / 2,
			     .text = "900",
			     .text_length = 3},
			"21", NULL);
	finish();
	assert_true(audit_deeds(audit, &rogue, &deeds));
	assert_int_equal(deeds.failures[AUDIT_FAILURE_PASSWORD], 2);
	assert_int_equal(deeds.calls, 2);
	assert_int_equal(deeds.dialled_count, 1);
	assert_int_equal(deeds.tried_at_least, 2);
	assert_memory_equal(deeds.tried[0].bytes, "1199", 4);
	rogue = addr_of("198.51.100.67");
	assert_false(audit_deeds(audit, &rogue, &deeds));
}

static void test_agent(void **state)
{
	struct audit_account account;

	(void)state;
	begin();
	claim("21", "198.51.100.66", AUDIT_SIP);
	take((struct audit_event){.kind = AUDIT_AGENT, .text = "scanner", .text_length = 7}, "21",
		NULL);
	now += 200;
	login("21", "198.51.100.66", AUDIT_SIP);
	finish();
	account = only("21", AUDIT_PROVEN);
	assert_int_equal(account.findings[0].agent.length, 7);
	assert_memory_equal(account.findings[0].agent.bytes, "scanner", 7);
}

static void test_the_same_event_of_two_files_counts_once(void **state)
{
	struct audit_account account;

	(void)state;
	begin();
	for (int i = 0; i < 2; i++)
		take((struct audit_event){.kind = AUDIT_LOGIN,
			     .security = true,
			     .port = 5060,
			     .session = "0x7f",
			     .session_length = 4},
			"21", "198.51.100.66");
	finish();
	account = only("21", AUDIT_PROVEN);
	assert_int_equal(account.tally.counts[AUDIT_PROVEN], 1);
}

/* --- floods --- */

static void flood_claims(const char *account, unsigned count)
{
	char addr[ADDR_TEXT_SIZE];

	for (unsigned i = 0; i < count; i++) {
		snprintf(addr, sizeof(addr), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		now += AUDIT_WINDOW + 1;
		claim(account, addr, AUDIT_PJSIP);
	}
}

/* Claims of thousands of addresses, with one log-in among them, early or late. */
static void test_flood_hides_no_proof(void **state)
{
	(void)state;
	for (unsigned before = 0; before <= 2000; before += 1000) {
		struct audit_account account;
		uint64_t listed = 0;

		begin_with(&(struct audit_settings){.verdict = verdict, .listed = 8, .seed = 3});
		flood_claims("21", before);
		now += AUDIT_WINDOW + 1;
		login("21", "198.51.100.66", AUDIT_SIP);
		now += AUDIT_WINDOW + 1;
		flood_claims("21", 2000 - before);
		finish();
		account = only("21", AUDIT_PROVEN);
		assert_int_equal(account.finding_count, 8);
		assert_finding(&account.findings[0], "198.51.100.66", AUDIT_PROVEN, 1);
		/* and nothing is lost of the sums */
		assert_int_equal(account.tally.counts[AUDIT_CLAIMED], 2000);
		for (size_t i = 0; i < account.finding_count; i++)
			listed += account.findings[i].tally.counts[AUDIT_CLAIMED];
		assert_int_equal(account.others.counts[AUDIT_CLAIMED] + listed, 2000);
		end(NULL);
	}
}

/* Others' floods, of failures and of names, push neither a finding nor its deeds out. */
static void test_flood_of_failures(void **state)
{
	struct addr rogue = addr_of("198.51.100.66");
	struct audit_deeds deeds;
	char addr[ADDR_TEXT_SIZE], name[16];

	(void)state;
	begin_with(&(struct audit_settings){.verdict = verdict, .watched = 64, .seed = 5});
	refuse("21", "198.51.100.66", true);
	login("21", "198.51.100.66", AUDIT_SIP);
	for (unsigned i = 0; i < 50000; i++) {
		snprintf(addr, sizeof(addr), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		snprintf(name, sizeof(name), "x%u", i);
		now++;
		refuse(name, addr, true);
		login(name, addr, AUDIT_PJSIP);
		if (i % 100 == 0)
			refuse(name, "198.51.100.66", true);
	}
	finish();
	only("21", AUDIT_PROVEN);
	assert_true(audit_deeds(audit, &rogue, &deeds));
	assert_int_equal(deeds.failures[AUDIT_FAILURE_PASSWORD], 501);
	assert_int_equal(deeds.tried_count, AUDIT_NAMES);
	assert_true(deeds.tried_at_least > 150);
	assert_int_equal(audit_stranger_count(audit), AUDIT_STRANGERS);
	assert_int_equal(audit_strangers_more(audit), 50000 - AUDIT_STRANGERS);
}

/* Whoever did most stays, of those that no finding names. */
static void test_the_worst_address_is_remembered(void **state)
{
	struct addr worst = addr_of("198.51.100.1");
	struct audit_deeds deeds;
	char addr[ADDR_TEXT_SIZE];

	(void)state;
	begin_with(&(struct audit_settings){.verdict = verdict, .watched = 64, .seed = 5});
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(addr, sizeof(addr), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		now++;
		refuse("21", addr, true);
		if (i % 1000 == 0)
			refuse("21", "198.51.100.1", true);
		if (i == 2000)
			refuse("21", "198.51.100.1", true);
	}
	login("21", "198.51.100.1", AUDIT_SIP);
	finish();
	assert_true(audit_deeds(audit, &worst, &deeds));
	assert_true(deeds.failures[AUDIT_FAILURE_PASSWORD] >= 18);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_at_home_is_no_finding, end),
		cmocka_unit_test_teardown(test_log_in_from_elsewhere_is_proven, end),
		cmocka_unit_test_teardown(test_claim_alone_is_claimed, end),
		cmocka_unit_test_teardown(test_log_in_explains_a_claim, end),
		cmocka_unit_test_teardown(test_forged_contact_is_proven_elsewhere, end),
		cmocka_unit_test_teardown(test_call_to_an_extension_is_ambiguous, end),
		cmocka_unit_test_teardown(test_registration_from_anothers_phone_is_proven, end),
		cmocka_unit_test_teardown(test_call_of_a_peer_is_ambiguous, end),
		cmocka_unit_test_teardown(test_a_listener_is_told_at_once, end),
		cmocka_unit_test_teardown(test_not_known_is_unknown, end),
		cmocka_unit_test_teardown(test_peers_and_strangers, end),
		cmocka_unit_test_teardown(test_since, end),
		cmocka_unit_test_teardown(test_deeds, end),
		cmocka_unit_test_teardown(test_agent, end),
		cmocka_unit_test_teardown(test_the_same_event_of_two_files_counts_once, end),
		cmocka_unit_test_teardown(test_flood_hides_no_proof, end),
		cmocka_unit_test_teardown(test_flood_of_failures, end),
		cmocka_unit_test_teardown(test_the_worst_address_is_remembered, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
