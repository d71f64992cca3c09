/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "host.h"
#include "roster.h"

#include <string.h>

enum { MINUTE = 60, HOUR = 3600, START = 1700000000 };

static const struct timing timing = {.hold = 24 * HOUR, .gone = 5 * MINUTE};
static const struct own_addresses no_own = {0};

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
	return answer_guard(&answer, guard, &no_own);
}

static void test_guard(void **state)
{
	struct prefix within[] = {{addr("10.0.0.0"), 8}, {addr("203.0.113.0"), 24}};
	struct guard open = {.max_addresses = 8};
	struct guard narrow = {.within = within, .within_count = 2, .max_addresses = 8};
	struct prefix everywhere = {addr("0.0.0.0"), 0};
	struct guard wide = {.within = &everywhere, .within_count = 1, .max_addresses = 8};
	struct addr own_addr = addr("203.0.113.1"), many[9];
	struct own_addresses own = {.addrs = &own_addr, .count = 1};
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
	assert_int_equal(answer_guard(&answer, &narrow, &own).reason, REASON_OWN_ADDRESS);
	for (size_t i = 0; i < 9; i++) {
		many[i] = addr("203.0.113.10");
		many[i].bytes[3] = (uint8_t)(10 + i);
	}
	answer.addrs = many;
	answer.count = 8;
	assert_int_equal(answer_guard(&answer, &open, &no_own).kind, ANSWER_ADDRESSES);
	answer.count = 9;
	assert_int_equal(answer_guard(&answer, &open, &no_own).reason, REASON_TOO_MANY);
	/* One bad address refuses the whole RRset, 0.0.0.0 beside a good one included. */
	answer.count = 2;
	many[0] = addr("0.0.0.0");
	assert_int_equal(answer_guard(&answer, &open, &no_own).kind, ANSWER_REFUSED);
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
		cmocka_unit_test(test_srv_targets_are_held_and_linger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
