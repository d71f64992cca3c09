/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of batches and requests: what the kernel is asked, and that nothing else is read. */
#include "check.h"

#include "nft_attr.h"
#include "nft_netlink.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

enum { LOCK_FLAGS = 2 | 4, MANY = 5000 };
enum { HOSTS, NETS, REVOKED, SET_COUNT };

/* A ruleset whose sets say that they have elements, but have none: whoever looks at one ends. */
struct skeleton {
	struct set sets[SET_COUNT];
	struct chain chain;
	struct ruleset ruleset;
};

static struct ruleset *make_skeleton(struct skeleton *skeleton, bool lock)
{
	struct element *nowhere = (struct element *)16;

	*skeleton = (struct skeleton){
		.sets =
			{
				[HOSTS] = {.name = "sip_hosts4",
					.kind = SET_HOSTS,
					.elements = nowhere,
					.count = 1000},
				[NETS] = {.name = "sip_nets4",
					.kind = SET_NETS,
					.elements = nowhere,
					.count = 1000},
				[REVOKED] = {.name = "sip_revoked4",
					.kind = SET_REVOKED,
					.elements = nowhere,
					.count = 1000},
			},
		.chain = {.name = "prerouting", .base = true, .priority = PRIORITY_RAW},
	};
	skeleton->ruleset = (struct ruleset){.table = "sipfence",
		.sets = skeleton->sets,
		.set_count = SET_COUNT,
		.chains = &skeleton->chain,
		.chain_count = 1,
		.lock = lock};
	return &skeleton->ruleset;
}

static struct element element(const char *text)
{
	struct element made = {0};

	assert_int_equal(prefix_parse(text, strlen(text), &made.prefix), PREFIX_OK);
	return made;
}

static const struct nlmsghdr *message_at(const struct nft_batch *batch, uint32_t sequence)
{
	return (const struct nlmsghdr *)(batch->data + batch->offsets[sequence - 1]);
}

static unsigned command_at(const struct nft_batch *batch, uint32_t sequence)
{
	return message_at(batch, sequence)->nlmsg_type & 0xff;
}

static struct attr_walk walk_at(const struct nft_batch *batch, uint32_t sequence)
{
	return attr_walk_message(message_at(batch, sequence), sizeof(struct nfgenmsg));
}

/* Brackets, sequence numbers, and that each of the messages asks for an ACK. */
static void assert_well_formed(const struct nft_batch *batch)
{
	const struct nlmsghdr *message = (const struct nlmsghdr *)batch->data;
	int left = (int)batch->length;
	uint32_t sequence = 0;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		bool begins = sequence == 0, ends = sequence == batch->messages + 1;

		assert_int_equal(message->nlmsg_seq, sequence);
		assert_int_equal(message->nlmsg_type, begins ? NFNL_MSG_BATCH_BEGIN
						      : ends ? NFNL_MSG_BATCH_END
							     : message->nlmsg_type);
		if (!begins && !ends) {
			assert_ptr_equal(message, message_at(batch, sequence));
			assert_true(message->nlmsg_flags & NLM_F_ACK);
		}
		sequence++;
	}
	assert_int_equal(left, 0);
	assert_int_equal(sequence, batch->messages + 2);
}

static void test_a_locked_table_is_made_with_its_flags(void **state)
{
	(void)state;
	for (int lock = 0; lock <= 1; lock++) {
		struct skeleton skeleton;
		struct ruleset *ruleset = make_skeleton(&skeleton, lock);
		struct nft_batch batch;

		ruleset->set_count = 0;
		assert_int_equal(nft_batch_swap(ruleset, 7, true, true, &batch), 0);
		assert_well_formed(&batch);
		assert_int_equal(command_at(&batch, 1), NFT_MSG_DELTABLE);
		assert_int_equal(command_at(&batch, 2), NFT_MSG_NEWTABLE);
		assert_true(message_at(&batch, 2)->nlmsg_flags & NLM_F_EXCL);
		assert_int_equal(attr_find_be32(walk_at(&batch, 2), NFTA_TABLE_FLAGS),
			lock ? LOCK_FLAGS : 0);
		assert_int_equal(!attr_find(walk_at(&batch, 2), NFTA_TABLE_FLAGS), !lock);
		for (uint32_t i = 0; i <= batch.messages + 2; i++)
			assert_int_equal(nft_batch_asks_for_lock(&batch, i), lock && i == 2);
		nft_batch_clear(&batch);
	}
}

static void test_an_adoption_stands_in_front(void **state)
{
	struct change change = {.add = true, .set = HOSTS, .element = element("203.0.113.7")};
	struct plan plan = {.kind = PLAN_ELEMENTS, .adopt = true, .changes = &change, .count = 1};
	struct skeleton skeleton;
	struct ruleset *ruleset = make_skeleton(&skeleton, true);
	struct nft_batch batch;

	(void)state;
	for (plan.count = 0; plan.count <= 1; plan.count++) {
		assert_int_equal(nft_batch_changes(ruleset, &plan, 7, &batch), 0);
		assert_well_formed(&batch);
		assert_int_equal(batch.messages, 1 + plan.count);
		assert_int_equal(command_at(&batch, 1), NFT_MSG_NEWTABLE);
		/* Never creates: a table that has vanished is no empty one. */
		assert_false(message_at(&batch, 1)->nlmsg_flags & NLM_F_CREATE);
		assert_string_equal(
			attr_find_string(walk_at(&batch, 1), NFTA_TABLE_NAME), "sipfence");
		assert_int_equal(attr_find_be32(walk_at(&batch, 1), NFTA_TABLE_FLAGS), LOCK_FLAGS);
		assert_true(nft_batch_asks_for_lock(&batch, 1));
		nft_batch_clear(&batch);
	}
	/* A table that is ours already is not touched. */
	plan.adopt = false;
	plan.count = 1;
	assert_int_equal(nft_batch_changes(ruleset, &plan, 7, &batch), 0);
	assert_int_equal(batch.messages, 1);
	assert_int_equal(command_at(&batch, 1), NFT_MSG_NEWSETELEM);
	nft_batch_clear(&batch);
}

static void test_changes_need_no_elements_of_the_ruleset(void **state)
{
	static const struct {
		uint32_t set;
		bool add;
		const char *prefix;
	} cases[] = {{HOSTS, false, "203.0.113.7"}, {HOSTS, true, "203.0.113.8"},
		{NETS, true, "198.51.100.0/24"}, {REVOKED, false, "203.0.113.8"},
		{REVOKED, true, "203.0.113.7"}};
	/* An element of a revoked set may be gone already: it is added before it is deleted. */
	static const unsigned commands[] = {NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM,
		NFT_MSG_NEWSETELEM, NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM};
	struct change changes[5];
	struct plan plan = {.kind = PLAN_ELEMENTS, .changes = changes, .count = 5};
	struct skeleton skeleton;
	struct nft_batch batch;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		changes[i] = (struct change){.add = cases[i].add,
			.set = cases[i].set,
			.element = element(cases[i].prefix)};
	assert_int_equal(nft_batch_changes(make_skeleton(&skeleton, false), &plan, 0, &batch), 0);
	assert_well_formed(&batch);
	assert_int_equal(batch.messages, 6);
	for (uint32_t i = 0; i < 6; i++)
		assert_int_equal(command_at(&batch, i + 1), commands[i]);
	nft_batch_clear(&batch);
}

/* How many elements a batch adds to which it gives this comment; each message bounded. */
static size_t count_elements(const struct nft_batch *batch, const char *comment)
{
	size_t count = 0;

	for (uint32_t i = 1; i <= batch->messages; i++) {
		const struct nlattr *list =
			attr_find(walk_at(batch, i), NFTA_SET_ELEM_LIST_ELEMENTS);
		struct attr_walk walk = attr_walk_nested(list);
		const struct nlattr *one;

		assert_true(message_at(batch, i)->nlmsg_len <= UINT16_MAX);
		while ((one = attr_walk_step(&walk))) {
			const struct nlattr *data =
				attr_find(attr_walk_nested(one), NFTA_SET_ELEM_USERDATA);
			const uint8_t *bytes = data ? mnl_attr_get_payload(data) : NULL;

			if (!bytes)
				continue; /* the end of an interval */
			assert_string_equal((const char *)bytes + 2, comment);
			/* What fills up to the next attribute is zero. */
			for (size_t j = mnl_attr_get_len(data); j % MNL_ALIGNTO; j++)
				assert_int_equal(((const uint8_t *)data)[j], 0);
			count++;
		}
		assert_ptr_equal(walk.next, walk.end);
	}
	return count;
}

static void test_many_elements_fill_several_messages(void **state)
{
	struct change *changes = calloc(MANY, sizeof(*changes));
	struct plan plan = {.kind = PLAN_ELEMENTS, .changes = changes, .count = MANY};
	struct skeleton skeleton;
	struct nft_batch batch;
	char comment[COMMENT_MAX + 1];

	(void)state;
	assert_non_null(changes);
	memset(comment, 'x', COMMENT_MAX);
	comment[COMMENT_MAX] = '\0';
	for (uint32_t set = HOSTS; set <= NETS; set++) {
		for (uint32_t i = 0; i < MANY; i++) {
			changes[i] = (struct change){.add = true, .set = set};
			changes[i].element = element(set == HOSTS ? "45.0.0.0" : "45.0.0.0/32");
			changes[i].element.prefix.addr.bytes[2] = (uint8_t)(i >> 8);
			changes[i].element.prefix.addr.bytes[3] = (uint8_t)i;
			changes[i].element.comment = comment;
			changes[i].element.packets = changes[i].element.bytes = UINT64_MAX;
			changes[i].element.expires_ms = UINT64_MAX;
		}
		assert_int_equal(
			nft_batch_changes(make_skeleton(&skeleton, false), &plan, 0, &batch), 0);
		assert_well_formed(&batch);
		assert_true(batch.messages > 10);
		assert_int_equal(count_elements(&batch, comment), MANY);
		nft_batch_clear(&batch);
	}
	free(changes);
}

static void test_one_element_takes_little_memory(void **state)
{
	struct change change = {.add = true, .set = HOSTS, .element = element("203.0.113.7")};
	struct plan plan = {.kind = PLAN_ELEMENTS, .changes = &change, .count = 1};
	struct skeleton skeleton;
	struct nft_batch batch;

	(void)state;
	assert_int_equal(nft_batch_changes(make_skeleton(&skeleton, false), &plan, 0, &batch), 0);
	assert_in_range(batch.capacity, batch.length, 16 * 1024);
	assert_in_range(batch.clean, batch.length, 4 * 1024);
	nft_batch_clear(&batch);
}

/* The kernel's answer to a get has the form of an addition. */
static void make_reply(struct nft_batch *batch, uint32_t set, struct element reply)
{
	struct change change = {.add = true, .set = set, .element = reply};
	struct plan plan = {.kind = PLAN_ELEMENTS, .changes = &change, .count = 1};
	struct skeleton skeleton;

	assert_int_equal(nft_batch_changes(make_skeleton(&skeleton, false), &plan, 0, batch), 0);
}

static void test_an_element_is_asked_for_and_read(void **state)
{
	_Alignas(struct nlmsghdr) uint8_t request[NFT_REQUEST_SIZE] = {0};
	const struct nlmsghdr *message = (const struct nlmsghdr *)request;
	struct element asked = element("203.0.113.7"), reply = asked;
	struct skeleton skeleton;
	const struct set *hosts = &make_skeleton(&skeleton, false)->sets[HOSTS];
	struct nft_batch batch;
	size_t length = nft_request_element(TABLE_INET, "sipfence", hosts, &asked, 5, request);

	(void)state;
	assert_int_equal(length, message->nlmsg_len);
	assert_int_equal(message->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM);
	assert_int_equal(message->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK); /* no dump */
	assert_int_equal(message->nlmsg_seq, 5);
	reply.packets = 3;
	reply.bytes = 84;
	make_reply(&batch, HOSTS, reply);
	assert_int_equal(nft_parse_element(message_at(&batch, 1), hosts, &asked), 0);
	assert_int_equal(asked.packets, 3);
	assert_int_equal(asked.bytes, 84);
	/* The interval around it, and another set. */
	asked = element("203.0.113.8");
	assert_int_equal(nft_parse_element(message_at(&batch, 1), hosts, &asked), -ENOENT);
	assert_int_equal(
		nft_parse_element(message_at(&batch, 1), &skeleton.sets[NETS], &asked), -EBADMSG);
	asked = element("2001:db8::1");
	assert_int_equal(nft_parse_element(message_at(&batch, 1), hosts, &asked), -EBADMSG);
	nft_batch_clear(&batch);
	/* Without a counter. */
	asked = element("203.0.113.7");
	asked.packets = asked.bytes = 9;
	reply.packets = 0;
	make_reply(&batch, HOSTS, reply);
	assert_int_equal(nft_parse_element(message_at(&batch, 1), hosts, &asked), 0);
	assert_int_equal(asked.packets, 0);
	assert_int_equal(asked.bytes, 0);
	nft_batch_clear(&batch);
}

/* Each cut of a reply, in memory of exactly that size. */
static void test_a_broken_reply_is_refused(void **state)
{
	struct dice dice = dice_new(__func__);
	struct element asked = element("203.0.113.7"), reply = asked;
	struct skeleton skeleton;
	const struct set *hosts = &make_skeleton(&skeleton, false)->sets[HOSTS];
	struct nft_batch batch;
	size_t length;

	(void)state;
	reply.packets = 3;
	make_reply(&batch, HOSTS, reply);
	length = message_at(&batch, 1)->nlmsg_len;
	for (size_t i = sizeof(struct nlmsghdr); i < 20 * length; i++) {
		size_t size = i < length ? i : length;
		struct nlmsghdr *cut = malloc(size);

		assert_non_null(cut);
		memcpy(cut, message_at(&batch, 1), size);
		if (i > length)
			((uint8_t *)cut)[sizeof(*cut) +
					 dice_roll(&dice, (unsigned)(size - sizeof(*cut)))] =
				(uint8_t)dice_next(&dice);
		cut->nlmsg_len = (uint32_t)size;
		if (i < length)
			assert_int_not_equal(nft_parse_element(cut, hosts, &asked), 0);
		else
			nft_parse_element(cut, hosts, &asked);
		free(cut);
	}
	nft_batch_clear(&batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_locked_table_is_made_with_its_flags),
		cmocka_unit_test(test_an_adoption_stands_in_front),
		cmocka_unit_test(test_changes_need_no_elements_of_the_ruleset),
		cmocka_unit_test(test_many_elements_fill_several_messages),
		cmocka_unit_test(test_one_element_takes_little_memory),
		cmocka_unit_test(test_an_element_is_asked_for_and_read),
		cmocka_unit_test(test_a_broken_reply_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
