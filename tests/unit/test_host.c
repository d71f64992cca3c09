/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "host.h"
#include "roster.h"

#include <string.h>

enum { MINUTE = 60, HOUR = 3600, START = 1700000000 };

static const struct timing timing = {.hold = 24 * HOUR, .gone = 5 * MINUTE};
static const struct surroundings nothing_around = {0};

static struct addr addr(const char *text)
{
	struct addr result;

	assert_true(addr_parse(text, strlen(text), &result));
	return result;
}

static int take(struct host *host, enum family family, enum answer_kind kind, const char *text,
	int64_t linger, int64_t now)
{
	struct addr value = {0};
	struct answer answer = {.kind = kind, .ttl = 30};

	if (text) {
		value = addr(text);
		answer.addrs = &value;
		answer.count = 1;
		answer.culprit = value;
	}
	return host_take(host, family, &answer, linger, now);
}

static bool has(const struct host *host, const char *text)
{
	struct addr wanted = addr(text);

	for (size_t i = 0; i < host->count[wanted.family]; i++) {
		if (addr_equal(&host->addrs[wanted.family][i], &wanted))
			return true;
	}
	return false;
}

static bool lingers(const struct host *host, const char *text)
{
	struct addr wanted = addr(text);

	for (size_t i = 0; i < host->retired_count; i++) {
		if (addr_equal(&host->retired[i].addr, &wanted))
			return true;
	}
	return false;
}

/* A name with an A record and, by DNS's word, no AAAA. */
static struct host fresh_host(void)
{
	struct host host = {.name = "a.example"};

	assert_int_equal(take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.10", 0, START), 1);
	assert_int_equal(take(&host, FAMILY_IPV6, ANSWER_NO_DATA, NULL, 0, START), 0);
	assert_int_equal(host_state(&host), HOST_FRESH);
	return host;
}

static void test_new_answer_replaces_at_once(void **state)
{
	struct host host = fresh_host();

	(void)state;
	assert_int_equal(
		take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.77", 0, START + 9), 1);
	assert_true(has(&host, "203.0.113.77"));
	assert_false(has(&host, "203.0.113.10"));
	assert_false(lingers(&host, "203.0.113.10"));
	assert_int_equal(
		take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.77", 0, START + 10), 0);
	host_clear(&host);
}

static void test_replaced_address_lingers(void **state)
{
	struct host host = fresh_host();

	(void)state;
	take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.77", HOUR, START + 10);
	assert_true(lingers(&host, "203.0.113.10"));
	assert_false(host_expire(&host, &timing, HOUR, START + 9 + HOUR));
	assert_true(lingers(&host, "203.0.113.10"));
	assert_true(host_expire(&host, &timing, HOUR, START + 10 + HOUR));
	assert_false(lingers(&host, "203.0.113.10"));
	assert_true(has(&host, "203.0.113.77"));
	host_clear(&host);
}

static void test_address_that_comes_back_lingers_no_more(void **state)
{
	struct host host = fresh_host();

	(void)state;
	take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.77", HOUR, START + 10);
	take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.10", HOUR, START + 20);
	assert_true(has(&host, "203.0.113.10"));
	assert_false(lingers(&host, "203.0.113.10"));
	assert_true(lingers(&host, "203.0.113.77"));
	host_clear(&host);
}

static void test_could_not_ask_holds_until_hold(void **state)
{
	struct host host = fresh_host();

	(void)state;
	take(&host, FAMILY_IPV4, ANSWER_COULD_NOT_ASK, NULL, 0, START + MINUTE);
	assert_int_equal(host_state(&host), HOST_HELD);
	assert_false(host_expire(&host, &timing, 0, START + 24 * HOUR - 1));
	assert_true(has(&host, "203.0.113.10"));
	assert_true(host_expire(&host, &timing, 0, START + 24 * HOUR));
	assert_false(has(&host, "203.0.113.10"));
	assert_int_equal(host_state(&host), HOST_EXPIRED);
	host_clear(&host);
}

static void test_refused_answer_holds_too(void **state)
{
	struct host host = fresh_host();

	(void)state;
	take(&host, FAMILY_IPV4, ANSWER_REFUSED, "198.51.100.66", 0, START + MINUTE);
	assert_int_equal(host_state(&host), HOST_REFUSED);
	assert_true(has(&host, "203.0.113.10"));
	assert_false(has(&host, "198.51.100.66"));
	assert_true(host_expire(&host, &timing, 0, START + 24 * HOUR));
	host_clear(&host);
}

static void gone_after(enum answer_kind kind)
{
	struct host host = fresh_host();

	take(&host, FAMILY_IPV4, kind, NULL, 0, START + MINUTE);
	assert_int_equal(host_state(&host), HOST_GONE);
	assert_true(has(&host, "203.0.113.10"));
	/* The clock runs from the first such answer. */
	take(&host, FAMILY_IPV4, kind, NULL, 0, START + 4 * MINUTE);
	assert_false(host_expire(&host, &timing, 0, START + 6 * MINUTE - 1));
	assert_true(host_expire(&host, &timing, 0, START + 6 * MINUTE));
	assert_false(has(&host, "203.0.113.10"));
	host_clear(&host);
}

static void test_no_name_and_no_data_revoke_after_gone(void **state)
{
	(void)state;
	gone_after(ANSWER_NO_NAME);
	gone_after(ANSWER_NO_DATA);
}

static void test_failure_after_nxdomain_does_not_stop_the_clock(void **state)
{
	struct host host = fresh_host();

	(void)state;
	take(&host, FAMILY_IPV4, ANSWER_NO_NAME, NULL, 0, START + MINUTE);
	take(&host, FAMILY_IPV4, ANSWER_COULD_NOT_ASK, NULL, 0, START + 2 * MINUTE);
	assert_true(host_expire(&host, &timing, 0, START + 6 * MINUTE));
	host_clear(&host);
}

static void test_good_answer_resets_gone(void **state)
{
	struct host host = fresh_host();

	(void)state;
	take(&host, FAMILY_IPV4, ANSWER_NO_NAME, NULL, 0, START + MINUTE);
	take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.10", 0, START + 2 * MINUTE);
	assert_false(host_expire(&host, &timing, 0, START + 6 * MINUTE));
	assert_int_equal(host_state(&host), HOST_FRESH);
	host_clear(&host);
}

static void test_families_are_apart(void **state)
{
	struct host host = fresh_host();

	(void)state;
	take(&host, FAMILY_IPV6, ANSWER_ADDRESSES, "2001:db8::7", 0, START + 1);
	take(&host, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.77", 0, START + 2);
	assert_true(has(&host, "2001:db8::7"));
	/* AAAA fails: A stays, and the other way round. */
	take(&host, FAMILY_IPV6, ANSWER_COULD_NOT_ASK, NULL, 0, START + 3);
	assert_int_equal(host_state(&host), HOST_HELD);
	assert_int_equal(host_deciding_family(&host), FAMILY_IPV6);
	assert_true(has(&host, "203.0.113.77") && has(&host, "2001:db8::7"));
	/* No AAAA any more: it leaves after `gone`, and the name is fresh all the while. */
	take(&host, FAMILY_IPV6, ANSWER_NO_DATA, NULL, 0, START + 4);
	assert_int_equal(host_state(&host), HOST_FRESH);
	assert_true(host_expire(&host, &timing, 0, START + 4 + 5 * MINUTE));
	assert_false(has(&host, "2001:db8::7"));
	assert_true(has(&host, "203.0.113.77"));
	assert_int_equal(host_state(&host), HOST_FRESH);
	host_clear(&host);
}

static void test_never_answered(void **state)
{
	struct host host = {.name = "a.example"};

	(void)state;
	take(&host, FAMILY_IPV4, ANSWER_COULD_NOT_ASK, NULL, 0, START);
	take(&host, FAMILY_IPV6, ANSWER_NO_DATA, NULL, 0, START);
	assert_int_equal(host_state(&host), HOST_NEVER);
	assert_int_equal(host_deciding_family(&host), FAMILY_IPV4);
	host_clear(&host);
}

static void test_long_ttl_is_not_bounded_by_hold(void **state)
{
	struct timing short_hold = {.hold = 10, .gone = 5};
	struct host host = fresh_host();

	(void)state;
	assert_false(host_expire(&host, &short_hold, 0, START + HOUR));
	host_clear(&host);
}

static void test_saved_answer_is_bounded_by_hold(void **state)
{
	struct host host = fresh_host();

	(void)state;
	host_restore(&host, START + HOUR);
	assert_false(host_expire(&host, &timing, 0, START + 24 * HOUR - 1));
	assert_true(host_expire(&host, &timing, 0, START + 24 * HOUR));
	host_clear(&host);
}

static void test_times_of_the_future_become_now(void **state)
{
	struct host host = fresh_host();

	(void)state;
	host_restore(&host, START - 1000 * 24 * HOUR);
	assert_int_equal(host.lookup[FAMILY_IPV4].good, START - 1000 * 24 * HOUR);
	assert_true(host_expire(&host, &timing, 0, START - 999 * 24 * HOUR));
	host_clear(&host);
}

static struct answer guard_one(const struct guard *guard, const char *text)
{
	static struct addr value;
	struct answer answer = {.kind = ANSWER_ADDRESSES, .count = 1, .addrs = &value, .ttl = 7};

	value = addr(text);
	return answer_guard(&answer, guard, &nothing_around);
}

static void test_guard_needs_validation(void **state)
{
	const struct guard strict = {.max_addresses = 8, .require_dnssec = true};
	const struct guard lax = {.max_addresses = 8};
	struct addr value = addr("203.0.113.10");
	struct answer answers[] = {
		{.kind = ANSWER_ADDRESSES, .count = 1, .addrs = &value, .ttl = 7},
		{.kind = ANSWER_NO_DATA, .ttl = 7},
		{.kind = ANSWER_NO_NAME, .ttl = 7},
	};
	struct answer failure = {.kind = ANSWER_COULD_NOT_ASK, .reason = REASON_TIMEOUT};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct answer refused = answer_guard(&answers[i], &strict, &nothing_around);

		assert_int_equal(refused.kind, ANSWER_REFUSED);
		assert_int_equal(refused.reason, REASON_NOT_VALIDATED);
		assert_int_equal(refused.ttl, 7);
		assert_true(addr_equal(&refused.culprit, i ? &(struct addr){0} : &value));
		assert_int_equal(
			answer_guard(&answers[i], &lax, &nothing_around).kind, answers[i].kind);
		answers[i].validated = true;
		assert_int_equal(
			answer_guard(&answers[i], &strict, &nothing_around).kind, answers[i].kind);
	}
	assert_int_equal(
		answer_guard(&failure, &strict, &nothing_around).kind, ANSWER_COULD_NOT_ASK);
	assert_int_equal(answer_guard(&failure, &strict, &nothing_around).reason, REASON_TIMEOUT);
	/* Validated, and no address for a phone all the same. */
	value = addr("127.0.0.1");
	assert_int_equal(
		answer_guard(&answers[0], &strict, &nothing_around).reason, REASON_SPECIAL);
	/* "Offline" must be validated like any other word. */
	value = addr("0.0.0.0");
	answers[0].validated = false;
	assert_int_equal(
		answer_guard(&answers[0], &strict, &nothing_around).reason, REASON_NOT_VALIDATED);
}

static struct answer one_address(const struct addr *value, bool validated)
{
	return (struct answer){
		.kind = ANSWER_ADDRESSES, .count = 1, .addrs = value, .validated = validated};
}

/* A host of a guard that begins to require DNSSEC. */
static void test_unproven(void **state)
{
	enum { HOLD = 1000, GONE = 100, LINGER = 500, BEGIN = 5000 };
	const struct timing brief = {.hold = HOLD, .gone = GONE};
	struct addr old = addr("203.0.113.10"), fresh = addr("203.0.113.77");
	struct answer answer = one_address(&old, false), refused;
	struct host host = {.name = "home21.example"};

	(void)state;
	assert_int_equal(host_take(&host, FAMILY_IPV4, &answer, LINGER, BEGIN), 1);
	answer = one_address(&fresh, false);
	assert_int_equal(host_take(&host, FAMILY_IPV4, &answer, LINGER, BEGIN), 1);
	assert_int_equal(host.retired_count, 1);
	host.validated = true;
	host_restore(&host, BEGIN);
	host_unproven(&host, BEGIN);
	/* What lingered is out; what is in force stays for `gone`, whatever is not validated. */
	assert_int_equal(host.retired_count, 0);
	assert_int_equal(host.count[FAMILY_IPV4], 1);
	assert_false(host_expire(&host, &brief, LINGER, BEGIN + GONE - 1));
	refused = answer_need_validated(&answer);
	host_take(&host, FAMILY_IPV4, &refused, LINGER, BEGIN + GONE - 1);
	assert_int_equal(host_state(&host), HOST_REFUSED);
	assert_true(host_expire(&host, &brief, LINGER, BEGIN + GONE));
	assert_int_equal(host.count[FAMILY_IPV4], 0);
	host_clear(&host);
}

static void test_unproven_is_replaced_without_lingering(void **state)
{
	struct addr old = addr("203.0.113.10"), fresh = addr("203.0.113.77");
	struct answer answer = one_address(&old, false);
	struct host host = {.name = "home21.example"};

	(void)state;
	host_take(&host, FAMILY_IPV4, &answer, 500, 5000);
	host.validated = true;
	host_unproven(&host, 5000);
	answer = one_address(&fresh, true);
	assert_int_equal(host_take(&host, FAMILY_IPV4, &answer, 500, 5001), 1);
	assert_int_equal(host.retired_count, 0);
	assert_int_equal(host.lookup[FAMILY_IPV4].none, 0);
	/* What was validated lingers as ever. */
	answer = one_address(&old, true);
	assert_int_equal(host_take(&host, FAMILY_IPV4, &answer, 500, 5002), 1);
	assert_int_equal(host.retired_count, 1);
	host_clear(&host);
}

static void test_unproven_targets(void **state)
{
	const struct timing brief = {.hold = 1000, .gone = 100};
	const char *const first[] = {"a.example"}, *const second[] = {"b.example"};
	struct answer answer = {.kind = ANSWER_ADDRESSES, .count = 1, .targets = first};
	struct srv srv = {.name = "_sip._udp.example"};

	(void)state;
	assert_int_equal(srv_take(&srv, &answer, 5000), 1);
	answer.targets = second;
	assert_int_equal(srv_take(&srv, &answer, 5000), 1);
	assert_int_equal(srv.retired_count, 1);
	srv.validated = true;
	lookup_restore(&srv.lookup, 5000);
	srv_unproven(&srv, 5000);
	assert_int_equal(srv.retired_count, 0);
	assert_false(srv_expire(&srv, &brief, 500, 5099));
	answer.targets = first;
	answer.validated = true;
	assert_int_equal(srv_take(&srv, &answer, 5099), 1);
	assert_int_equal(srv.retired_count, 0);
	assert_int_equal(srv.count, 1);
	answer.targets = second;
	assert_int_equal(srv_take(&srv, &answer, 5099), 1);
	assert_int_equal(srv.retired_count, 1);
	answer = (struct answer){.kind = ANSWER_REFUSED, .reason = REASON_NOT_VALIDATED};
	assert_int_equal(srv_take(&srv, &answer, 5100), 0);
	assert_int_equal(srv_state(&srv), HOST_REFUSED);
	srv_clear(&srv);
}

static void test_guard(void **state)
{
	struct prefix within[] = {{addr("10.0.0.0"), 8}, {addr("203.0.113.0"), 24}};
	struct guard open = {.max_addresses = 8};
	struct guard narrow = {.within = within, .within_count = 2, .max_addresses = 8};
	struct prefix everywhere = {addr("0.0.0.0"), 0};
	struct guard wide = {.within = &everywhere, .within_count = 1, .max_addresses = 8};
	struct addr own_addr = addr("203.0.113.1"), many[9];
	struct surroundings around = {.own = {.addrs = &own_addr, .count = 1}};
	struct answer answer = {.kind = ANSWER_ADDRESSES, .addrs = &own_addr, .count = 1};

	(void)state;
	assert_int_equal(guard_one(&open, "198.51.100.1").kind, ANSWER_ADDRESSES);
	assert_int_equal(guard_one(&open, "10.1.2.3").reason, REASON_PRIVATE);
	assert_int_equal(guard_one(&open, "127.0.0.1").reason, REASON_SPECIAL);
	assert_int_equal(guard_one(&open, "0.0.0.0").kind, ANSWER_NO_DATA);
	assert_int_equal(guard_one(&open, "::").kind, ANSWER_NO_DATA);
	assert_int_equal(guard_one(&narrow, "10.1.2.3").kind, ANSWER_ADDRESSES);
	assert_int_equal(guard_one(&narrow, "198.51.100.66").reason, REASON_OUTSIDE);
	assert_int_equal(guard_one(&narrow, "127.0.0.1").reason, REASON_SPECIAL);
	/* Everywhere is no name for a private block. */
	assert_int_equal(guard_one(&wide, "10.1.2.3").reason, REASON_PRIVATE);
	assert_int_equal(guard_one(&wide, "198.51.100.1").kind, ANSWER_ADDRESSES);
	assert_int_equal(answer_guard(&answer, &narrow, &around).reason, REASON_OWN_ADDRESS);
	for (size_t i = 0; i < 9; i++) {
		many[i] = addr("203.0.113.10");
		many[i].bytes[3] = (uint8_t)(10 + i);
	}
	answer.addrs = many;
	answer.count = 8;
	assert_int_equal(answer_guard(&answer, &open, &nothing_around).kind, ANSWER_ADDRESSES);
	answer.count = 9;
	assert_int_equal(answer_guard(&answer, &open, &nothing_around).reason, REASON_TOO_MANY);
	/* One bad address refuses the whole RRset, 0.0.0.0 beside a good one included. */
	answer.count = 2;
	many[0] = addr("0.0.0.0");
	assert_int_equal(answer_guard(&answer, &open, &nothing_around).kind, ANSWER_REFUSED);
}

/* 203.0.113.0/24 is in CA, 198.51.100.0/24 in NL, nothing else is known; the AS is the third byte.
 */
static void look_up(void *context, const struct addr *address, struct origin *ret_origin)
{
	const uint8_t *known = context;
	struct origin origin = {.known = *known};

	if (*known & ORIGIN_COUNTRY && address->bytes[0] == 203)
		strcpy(origin.country, "CA");
	if (*known & ORIGIN_COUNTRY && address->bytes[0] == 198)
		strcpy(origin.country, "NL");
	if (*known & ORIGIN_ASN)
		origin.asn = address->bytes[2];
	*ret_origin = origin;
}

static struct answer guard_two(
	const struct guard *guard, uint8_t known, const char *first, const char *second)
{
	struct surroundings around = {.origin = look_up, .context = &known};
	struct addr both[] = {addr(first), addr(second)};
	struct answer answer = {.kind = ANSWER_ADDRESSES, .count = 2, .addrs = both, .ttl = 7};

	return answer_guard(&answer, guard, &around);
}

static void test_guard_of_origins(void **state)
{
	static char countries[][COUNTRY_SIZE] = {"CA", "FR"};
	static uint32_t asns[] = {113};
	struct guard guard = {.max_addresses = 8, .countries = countries, .country_count = 2};
	static const char home[] = "203.0.113.1", other[] = "203.0.7.1", rogue[] = "198.51.100.66";
	struct answer answer;

	(void)state;
	assert_int_equal(guard_two(&guard, ORIGIN_COUNTRY, home, other).kind, ANSWER_ADDRESSES);
	answer = guard_two(&guard, ORIGIN_COUNTRY, home, rogue);
	assert_int_equal(answer.kind, ANSWER_REFUSED);
	assert_int_equal(answer.reason, REASON_COUNTRY);
	assert_int_equal(answer.ttl, 7);
	assert_int_equal(answer.culprit.bytes[0], 198);
	assert_string_equal(answer.origin.country, "NL");
	/* Of no country. */
	answer = guard_two(&guard, ORIGIN_COUNTRY, home, "192.0.2.1");
	assert_int_equal(answer.reason, REASON_COUNTRY);
	assert_string_equal(answer.origin.country, "");
	/* Nothing can be looked up, or there is nobody to do it. */
	answer = guard_two(&guard, 0, home, rogue);
	assert_int_equal(answer.kind, ANSWER_COULD_NOT_ASK);
	assert_int_equal(answer.reason, REASON_NO_ORIGIN);
	assert_int_equal(guard_two(&guard, ORIGIN_ASN, home, rogue).reason, REASON_NO_ORIGIN);
	assert_int_equal(guard_one(&guard, home).reason, REASON_NO_ORIGIN);
	/* Both must hold; one that is wrong is enough. */
	guard.asns = asns;
	guard.asn_count = 1;
	assert_int_equal(guard_two(&guard, 3, home, home).kind, ANSWER_ADDRESSES);
	answer = guard_two(&guard, 3, home, other);
	assert_int_equal(answer.reason, REASON_ASN);
	assert_int_equal(answer.origin.asn, 7);
	assert_int_equal(guard_two(&guard, ORIGIN_ASN, home, other).reason, REASON_ASN);
	assert_int_equal(guard_two(&guard, ORIGIN_ASN, home, home).reason, REASON_NO_ORIGIN);
	/* A rule that is broken says more than one that can't be judged. */
	assert_int_equal(guard_two(&guard, 0, home, "10.1.2.3").reason, REASON_PRIVATE);
}

static void assert_refusal(enum answer_reason reason, const struct addr *culprit,
	const struct origin *origin, const struct guard *guard, const char *expected)
{
	struct text text = {0};

	answer_refusal_print(reason, culprit, origin, guard, &text);
	assert_string_equal(text_string(&text), expected);
	text_free(&text);
}

static void test_refusals_are_told(void **state)
{
	static char countries[][COUNTRY_SIZE] = {
		"AT", "BE", "CA", "CH", "DE", "FR", "GB", "IE", "NO", "US"};
	static uint32_t asns[] = {577, 4294967295};
	struct guard guard = {
		.countries = countries, .country_count = 2, .asns = asns, .asn_count = 2};
	struct origin unknown = {0}, nowhere = {.known = 3},
		      somewhere = {.known = 3, .asn = 1136, .country = "NL"};
	struct addr loopback = addr("127.0.0.1");

	(void)state;
	assert_refusal(REASON_COUNTRY, NULL, &somewhere, &guard, "in NL, `within` allows AT, BE");
	assert_refusal(REASON_COUNTRY, NULL, &nowhere, &guard,
		"of no country that the database knows, `within` allows AT, BE");
	/* As a state file has it. */
	assert_refusal(
		REASON_COUNTRY, NULL, &unknown, &guard, "not in a country that `within` allows");
	assert_refusal(REASON_ASN, NULL, &somewhere, &guard,
		"of AS1136, `within` allows AS577, AS4294967295");
	assert_refusal(REASON_ASN, NULL, &nowhere, &guard,
		"of no AS that the database knows, `within` allows AS577, AS4294967295");
	assert_refusal(REASON_ASN, NULL, &unknown, &guard,
		"not of an autonomous system that `within` allows");
	assert_refusal(REASON_SPECIAL, &loopback, &unknown, &guard, "a loopback address");
	assert_refusal(REASON_PRIVATE, &loopback, &unknown, &guard,
		"private, and `within` does not name it");
	guard.country_count = 10;
	assert_refusal(REASON_COUNTRY, NULL, &somewhere, &guard,
		"in NL, `within` allows AT, BE, CA, CH, DE, FR, GB, IE and 2 more");
}

static void test_inherits_what_can_not_be_looked_up(void **state)
{
	static char countries[][COUNTRY_SIZE] = {"CA"};
	struct guard guard = {.max_addresses = 8, .countries = countries, .country_count = 1};
	uint8_t known = 0;
	struct surroundings around = {.origin = look_up, .context = &known};
	struct host from = {0}, host = {0};

	(void)state;
	take(&from, FAMILY_IPV4, ANSWER_ADDRESSES, "203.0.113.1", HOUR, START);
	take(&from, FAMILY_IPV4, ANSWER_ADDRESSES, "198.51.100.66", HOUR, START);
	assert_int_equal(host_inherit(&host, &from, &guard, &around), 0);
	assert_true(has(&host, "198.51.100.66"));
	assert_true(lingers(&host, "203.0.113.1"));
	host_clear(&host);
	host = (struct host){0};
	known = ORIGIN_COUNTRY;
	assert_int_equal(host_inherit(&host, &from, &guard, &around), 0);
	assert_false(has(&host, "198.51.100.66"));
	assert_true(lingers(&host, "203.0.113.1"));
	host_clear(&host);
	host_clear(&from);
}

static int take_targets(struct srv *srv, const char *const *targets, size_t count, int64_t now)
{
	struct answer answer = {.kind = ANSWER_ADDRESSES, .targets = targets, .count = count};

	return srv_take(srv, &answer, now);
}

static void test_srv_targets_are_held_and_linger(void **state)
{
	static const char *const first[] = {"b.example", "a.example"}, *const second[] = {
									       "c.example",
									       "a.example"};
	struct srv srv = {.name = "_sip._udp.example"};
	struct answer failure = {.kind = ANSWER_COULD_NOT_ASK};

	(void)state;
	assert_int_equal(take_targets(&srv, first, 2, START), 1);
	assert_int_equal(take_targets(&srv, first, 2, START + 1), 0);
	assert_string_equal(srv.targets[0], "a.example");
	assert_int_equal(take_targets(&srv, second, 2, START + 2), 1);
	assert_int_equal(srv.retired_count, 1);
	assert_string_equal(srv.retired[0].target, "b.example");
	assert_int_equal(srv_take(&srv, &failure, START + 3), 0);
	assert_int_equal(srv_state(&srv), HOST_HELD);
	assert_true(srv_expire(&srv, &timing, HOUR, START + 2 + HOUR));
	assert_int_equal(srv.retired_count, 0);
	assert_int_equal(srv.count, 2);
	assert_true(srv_expire(&srv, &timing, HOUR, START + 2 + 24 * HOUR));
	assert_int_equal(srv.count, 0);
	srv_clear(&srv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_answer_replaces_at_once),
		cmocka_unit_test(test_replaced_address_lingers),
		cmocka_unit_test(test_address_that_comes_back_lingers_no_more),
		cmocka_unit_test(test_could_not_ask_holds_until_hold),
		cmocka_unit_test(test_refused_answer_holds_too),
		cmocka_unit_test(test_no_name_and_no_data_revoke_after_gone),
		cmocka_unit_test(test_failure_after_nxdomain_does_not_stop_the_clock),
		cmocka_unit_test(test_good_answer_resets_gone),
		cmocka_unit_test(test_families_are_apart),
		cmocka_unit_test(test_never_answered),
		cmocka_unit_test(test_long_ttl_is_not_bounded_by_hold),
		cmocka_unit_test(test_saved_answer_is_bounded_by_hold),
		cmocka_unit_test(test_times_of_the_future_become_now),
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_guard_of_origins),
		cmocka_unit_test(test_refusals_are_told),
		cmocka_unit_test(test_inherits_what_can_not_be_looked_up),
		cmocka_unit_test(test_srv_targets_are_held_and_linger),
		cmocka_unit_test(test_guard_needs_validation),
		cmocka_unit_test(test_unproven),
		cmocka_unit_test(test_unproven_is_replaced_without_lingering),
		cmocka_unit_test(test_unproven_targets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
