/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notifications of nf_tables, made by hand as the kernel sends them. */
#include "check.h"

#include "nft_event.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdbool.h>
#include <string.h>

enum { OURS = 4711, THEIRS = 815, SIZE = 4096, FUZZ_ROUNDS = 20000 };

/* A datagram under construction. */
struct datagram {
	_Alignas(struct nlmsghdr) uint8_t bytes[SIZE];
	size_t length;
};

static struct nlmsghdr *open_event(
	struct datagram *datagram, uint16_t command, uint8_t family, uint32_t port)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(datagram->bytes + datagram->length);
	struct nfgenmsg *header;

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | command);
	message->nlmsg_pid = port;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = family;
	return message;
}

static void close_event(struct datagram *datagram, const struct nlmsghdr *message)
{
	datagram->length += message->nlmsg_len;
}

/* A change of an object; `object` is attribute 2: a chain, or the set of elements. */
static void put_change(struct datagram *datagram, uint16_t command, uint32_t port,
	const char *table, const char *object)
{
	struct nlmsghdr *message = open_event(datagram, command, NFPROTO_INET, port);

	mnl_attr_put_strz(message, NFTA_TABLE_NAME, table);
	if (object)
		mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, object);
	close_event(datagram, message);
}

static void put_end(struct datagram *datagram, uint32_t port, uint32_t pid, const char *program)
{
	struct nlmsghdr *message = open_event(datagram, NFT_MSG_NEWGEN, AF_UNSPEC, port);

	mnl_attr_put_u32(message, NFTA_GEN_ID, htonl(7));
	if (pid)
		mnl_attr_put_u32(message, NFTA_GEN_PROC_PID, htonl(pid));
	if (program)
		mnl_attr_put_strz(message, NFTA_GEN_PROC_NAME, program);
	close_event(datagram, message);
}

static struct nft_damage take(struct nft_events *events, const struct datagram *datagram)
{
	struct nft_damage damage = {0};

	nft_events_take(events, datagram->bytes, datagram->length, OURS, &damage);
	return damage;
}

/* One change, and its end, in one datagram. */
static bool is_damage(uint16_t command, uint32_t port, const char *table, const char *object)
{
	struct nft_events events = {.table = "sipfence"};
	struct datagram datagram = {0};

	put_change(&datagram, command, port, table, object);
	put_end(&datagram, port, 99, "nft");
	return take(&events, &datagram).found;
}

static void test_each_change_of_our_table_is_damage(void **state)
{
	static const uint16_t commands[] = {NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN,
		NFT_MSG_DELCHAIN, NFT_MSG_NEWRULE, NFT_MSG_DELRULE, NFT_MSG_NEWSET, NFT_MSG_DELSET,
		NFT_MSG_NEWOBJ, NFT_MSG_DELOBJ, NFT_MSG_NEWFLOWTABLE, NFT_MSG_DELFLOWTABLE};

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		assert_true(is_damage(commands[i], THEIRS, "sipfence", NULL));
		assert_false(is_damage(commands[i], OURS, "sipfence", NULL));
		assert_false(is_damage(commands[i], THEIRS, "firewalld", NULL));
		assert_false(is_damage(commands[i], THEIRS, "sipfence2", NULL));
		assert_false(is_damage(commands[i], THEIRS, "", NULL));
	}
	assert_true(is_damage(NFT_MSG_DELSETELEM, THEIRS, "sipfence", "sip_hosts4"));
	assert_true(is_damage(NFT_MSG_NEWSETELEM, THEIRS, "sipfence", "sip_nets6"));
	assert_true(is_damage(NFT_MSG_DELSETELEM, THEIRS, "sipfence", "sip_revoked4"));
	assert_false(is_damage(NFT_MSG_DELSETELEM, OURS, "sipfence", "sip_hosts4"));
	assert_false(is_damage(NFT_MSG_DELSETELEM, THEIRS, "firewalld", "sip_hosts4"));
}

/* Their elements come and go by packets; the sets themselves are ours. */
static void test_rejected_sources_do_not_matter(void **state)
{
	(void)state;
	assert_false(is_damage(NFT_MSG_DELSETELEM, THEIRS, "sipfence", "sip_rejected4"));
	assert_false(is_damage(NFT_MSG_NEWSETELEM, THEIRS, "sipfence", "web_rejected6"));
	assert_true(is_damage(NFT_MSG_DELSET, THEIRS, "sipfence", "sip_rejected4"));
	assert_true(is_damage(NFT_MSG_NEWSETELEM, THEIRS, "sipfence", "_rejected4"));
	assert_true(is_damage(NFT_MSG_NEWSETELEM, THEIRS, "sipfence", "sip_rejected4_hosts4"));
	assert_true(is_damage(NFT_MSG_NEWSETELEM, THEIRS, "sipfence", NULL));
}

static bool touches_kept_sets(uint16_t command, const char *table, const char *object)
{
	static const char *const sets[] = {"phones4", "lan4", NULL};
	struct nft_events events = {.table = "filter", .sets = sets};
	struct datagram datagram = {0};

	put_change(&datagram, command, THEIRS, table, object);
	put_end(&datagram, THEIRS, 99, "nft");
	return take(&events, &datagram).found;
}

static void test_of_another_table_its_kept_sets_matter(void **state)
{
	(void)state;
	assert_true(touches_kept_sets(NFT_MSG_NEWTABLE, "filter", NULL));
	assert_true(touches_kept_sets(NFT_MSG_DELTABLE, "filter", NULL));
	assert_true(touches_kept_sets(NFT_MSG_NEWSET, "filter", "phones4"));
	assert_true(touches_kept_sets(NFT_MSG_DELSET, "filter", "lan4"));
	assert_true(touches_kept_sets(NFT_MSG_DELSETELEM, "filter", "lan4"));
	assert_true(touches_kept_sets(NFT_MSG_NEWSETELEM, "filter", "phones4"));
	assert_false(touches_kept_sets(NFT_MSG_NEWSETELEM, "filter", "lan"));
	assert_false(touches_kept_sets(NFT_MSG_NEWSETELEM, "filter", NULL));
	assert_false(touches_kept_sets(NFT_MSG_DELSET, "filter", "other"));
	assert_false(touches_kept_sets(NFT_MSG_NEWRULE, "filter", "phones4"));
	assert_false(touches_kept_sets(NFT_MSG_DELCHAIN, "filter", "input"));
	assert_false(touches_kept_sets(NFT_MSG_DELSETELEM, "sipfence", "lan4"));
}

static void test_tables_of_other_families_are_others(void **state)
{
	static const uint8_t families[] = {NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_BRIDGE};

	(void)state;
	for (size_t i = 0; i < sizeof(families); i++) {
		struct nft_events events = {.table = "sipfence"};
		struct datagram datagram = {0};
		struct nlmsghdr *message =
			open_event(&datagram, NFT_MSG_DELTABLE, families[i], THEIRS);

		mnl_attr_put_strz(message, NFTA_TABLE_NAME, "sipfence");
		close_event(&datagram, message);
		put_end(&datagram, THEIRS, 99, "nft");
		assert_false(take(&events, &datagram).found);
	}
}

static void test_the_culprit_is_named_at_the_end_of_its_transaction(void **state)
{
	struct nft_events events = {.table = "sipfence"};
	struct datagram first = {0}, second = {0}, third = {0};
	struct nft_damage damage;

	(void)state;
	/* Spread over datagrams, between others' transactions. */
	put_change(&first, NFT_MSG_DELTABLE, 5, "firewalld", NULL);
	put_end(&first, 5, 50, "firewalld");
	put_change(&first, NFT_MSG_DELRULE, THEIRS, "sipfence", "prerouting");
	damage = take(&events, &first);
	assert_false(damage.found);
	put_change(&second, NFT_MSG_DELTABLE, THEIRS, "filter", NULL);
	damage = take(&events, &second);
	assert_false(damage.found);
	put_end(&third, THEIRS, 99, "nft");
	put_end(&third, 6, 60, "someone else");
	damage = take(&events, &third);
	assert_true(damage.found);
	assert_int_equal(damage.pid, 99);
	assert_string_equal(damage.program, "nft");
	/* And is over then. */
	damage = take(&events, &third);
	assert_false(damage.found);
}

static void test_the_first_culprit_counts(void **state)
{
	struct nft_events events = {.table = "sipfence"};
	struct datagram datagram = {0};
	struct nft_damage damage;

	(void)state;
	put_change(&datagram, NFT_MSG_DELTABLE, THEIRS, "sipfence", NULL);
	put_end(&datagram, THEIRS, 99, "nft");
	put_change(&datagram, NFT_MSG_NEWTABLE, 6, "sipfence", NULL);
	put_end(&datagram, 6, 60, "iptables");
	damage = take(&events, &datagram);
	assert_int_equal(damage.pid, 99);
	assert_string_equal(damage.program, "nft");
}

static void test_a_nameless_culprit_is_damage_too(void **state)
{
	struct nft_events events = {.table = "sipfence"};
	struct datagram datagram = {0};
	struct nft_damage damage;

	(void)state;
	put_change(&datagram, NFT_MSG_DELTABLE, THEIRS, "sipfence", NULL);
	put_end(&datagram, THEIRS, 0, NULL);
	damage = take(&events, &datagram);
	assert_true(damage.found);
	assert_int_equal(damage.pid, 0);
	assert_string_equal(damage.program, "");
	/* Longer than any that the kernel keeps. */
	datagram.length = 0;
	memset(datagram.bytes, 0, sizeof(datagram.bytes));
	put_change(&datagram, NFT_MSG_DELTABLE, THEIRS, "sipfence", NULL);
	put_end(&datagram, THEIRS, 1, "a program with a name that is too long");
	damage = take(&events, &datagram);
	assert_string_equal(damage.program, "a program with ");
}

static void test_other_subsystems_are_passed_over(void **state)
{
	struct nft_events events = {.table = "sipfence"};
	struct datagram datagram = {0};

	(void)state;
	put_change(&datagram, NFT_MSG_DELTABLE, THEIRS, "sipfence", NULL);
	put_end(&datagram, THEIRS, 99, "nft");
	((struct nlmsghdr *)datagram.bytes)->nlmsg_type =
		NFNL_SUBSYS_CTNETLINK << 8 | NFT_MSG_DELTABLE;
	assert_false(take(&events, &datagram).found);
}

/* Each cut of a good datagram, in memory of exactly that size; then noise. */
static void test_broken_bytes_are_survived(void **state)
{
	struct dice dice = dice_new(__func__);
	struct datagram whole = {0};

	(void)state;
	put_change(&whole, NFT_MSG_NEWSETELEM, THEIRS, "sipfence", "sip_hosts4");
	put_end(&whole, THEIRS, 99, "nft");
	for (size_t i = 0; i < whole.length + FUZZ_ROUNDS; i++) {
		size_t length = i < whole.length ? i : whole.length;
		struct nft_events events = {.table = "sipfence"};
		struct nft_damage damage = {0};
		uint8_t *bytes = malloc(length ? length : 1);

		assert_non_null(bytes);
		memcpy(bytes, whole.bytes, length);
		for (int j = 0; i >= whole.length && j < 3; j++)
			bytes[dice_roll(&dice, (unsigned)length)] = (uint8_t)dice_next(&dice);
		nft_events_take(&events, bytes, length, OURS, &damage);
		if (i < whole.length)
			assert_false(damage.found);
		assert_int_equal(damage.program[NFT_PROGRAM_SIZE - 1], '\0');
		free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_change_of_our_table_is_damage),
		cmocka_unit_test(test_rejected_sources_do_not_matter),
		cmocka_unit_test(test_of_another_table_its_kept_sets_matter),
		cmocka_unit_test(test_tables_of_other_families_are_others),
		cmocka_unit_test(test_the_culprit_is_named_at_the_end_of_its_transaction),
		cmocka_unit_test(test_the_first_culprit_counts),
		cmocka_unit_test(test_a_nameless_culprit_is_damage_too),
		cmocka_unit_test(test_other_subsystems_are_passed_over),
		cmocka_unit_test(test_broken_bytes_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
