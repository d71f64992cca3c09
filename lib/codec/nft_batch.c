/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft_netlink.h"
#include "nft_attr.h"
#include "nft_rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

/* Attributes are put without a check for room, since there always is enough: each message begins
 * with as much as its kind can take, which is bounded by the limits of names and comments, or by
 * ELEMENTS_ROOM. */
enum {
	MESSAGE_ROOM = 72 * 1024, /* no message is longer: nested attributes end at 64 KB */
	/* All but elements: a table's, a set's and a chain's name, at most 256 bytes each, and of
	 * rules a few expressions. */
	OBJECT_ROOM = 8 * 1024,
	HEADER_ROOM = 1024, /* of a message of elements: what stands before them */
	ELEMENT_ROOM = 512, /* one element, the end of its interval included */
	/* The list of elements is one nested attribute, whose length has 16 bits. */
	ELEMENTS_ROOM = 65535 - ELEMENT_ROOM,
	CAPACITY_MIN = 16 * 1024,
};

/* What is behind `length` is zeroed no further than asked for: a batch of one element must not cost
 * as much as one of thousands. */
static void *room_for_message(struct nft_batch *batch, size_t room)
{
	size_t capacity = batch->capacity ? batch->capacity : CAPACITY_MIN;
	uint8_t *data;

	if (batch->failed)
		return NULL;
	while (capacity - batch->length < room)
		capacity *= 2;
	if (capacity != batch->capacity) {
		data = realloc(batch->data, capacity);
		if (!data) {
			batch->failed = true;
			return NULL;
		}
		batch->data = data;
		batch->capacity = capacity;
	}
	if (batch->clean < batch->length)
		batch->clean = batch->length;
	if (batch->clean < batch->length + room) {
		memset(batch->data + batch->clean, 0, batch->length + room - batch->clean);
		batch->clean = batch->length + room;
	}
	return batch->data + batch->length;
}

static bool note_offset(struct nft_batch *batch)
{
	if (batch->messages == batch->offset_capacity) {
		size_t capacity = batch->offset_capacity ? batch->offset_capacity * 2 : 64;
		uint32_t *offsets = reallocarray(batch->offsets, capacity, sizeof(*offsets));

		if (!offsets) {
			batch->failed = true;
			return false;
		}
		batch->offsets = offsets;
		batch->offset_capacity = capacity;
	}
	batch->offsets[batch->messages++] = (uint32_t)batch->length;
	return true;
}

static struct nlmsghdr *put_header(void *where, uint16_t type, uint16_t flags, uint32_t sequence,
	uint8_t family, uint16_t res_id)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(where);
	struct nfgenmsg *header;

	message->nlmsg_type = type;
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	message->nlmsg_seq = sequence;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = family;
	header->version = NFNETLINK_V0;
	header->res_id = htons(res_id);
	return message;
}

uint8_t nft_protocol_family(uint8_t family)
{
	return family == TABLE_IPV4   ? NFPROTO_IPV4
	       : family == TABLE_IPV6 ? NFPROTO_IPV6
				      : NFPROTO_INET;
}

static uint16_t nft_type(uint16_t command)
{
	return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | command);
}

/* Opens a message of the transaction; NULL when out of memory. Ends with close_message(). */
static struct nlmsghdr *open_sized(
	struct nft_batch *batch, uint16_t command, uint16_t flags, size_t room)
{
	void *where = room_for_message(batch, room);

	if (!where || !note_offset(batch))
		return NULL;
	return put_header(where, nft_type(command), (uint16_t)(NLM_F_ACK | flags), batch->messages,
		nft_protocol_family(batch->family), 0);
}

static struct nlmsghdr *open_message(struct nft_batch *batch, uint16_t command, uint16_t flags)
{
	return open_sized(batch, command, flags, OBJECT_ROOM);
}

static void close_message(struct nft_batch *batch, const struct nlmsghdr *message)
{
	batch->length += (message->nlmsg_len + MNL_ALIGNTO - 1u) & ~(MNL_ALIGNTO - 1u);
}

static void begin(struct nft_batch *batch, uint32_t generation)
{
	void *where = room_for_message(batch, HEADER_ROOM);
	struct nlmsghdr *message;

	if (!where)
		return;
	message = put_header(where, NFNL_MSG_BATCH_BEGIN, 0, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	if (generation)
		mnl_attr_put_u32(message, NFNL_BATCH_GENID, htonl(generation));
	close_message(batch, message);
}

/* Hands the batch over, or frees it when any step has failed. */
static int end(struct nft_batch *batch, struct nft_batch *ret_batch)
{
	void *where = room_for_message(batch, HEADER_ROOM);

	if (!where) {
		nft_batch_clear(batch);
		return -ENOMEM;
	}
	close_message(batch, put_header(where, NFNL_MSG_BATCH_END, 0, batch->messages + 1,
				     AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
	*ret_batch = *batch;
	return 0;
}

void nft_batch_clear(struct nft_batch *batch)
{
	free(batch->data);
	free(batch->offsets);
	*batch = (struct nft_batch){0};
}

static void put_table(struct nft_batch *batch, const char *table, uint16_t command, uint16_t flags)
{
	struct nlmsghdr *message = open_message(batch, command, flags);

	if (!message)
		return;
	mnl_attr_put_strz(message, NFTA_TABLE_NAME, table);
	close_message(batch, message);
}

/* Makes the table, or changes the one that is there; with `lock` into ours. */
static void put_new_table(struct nft_batch *batch, const struct ruleset *ruleset, uint16_t flags)
{
	struct nlmsghdr *message = open_message(batch, NFT_MSG_NEWTABLE, flags);

	if (!message)
		return;
	mnl_attr_put_strz(message, NFTA_TABLE_NAME, ruleset->table);
	if (ruleset->lock)
		mnl_attr_put_u32(
			message, NFTA_TABLE_FLAGS, htonl(TABLE_FLAG_OWNER | TABLE_FLAG_PERSIST));
	close_message(batch, message);
}

static void put_chain(
	struct nft_batch *batch, const struct ruleset *ruleset, const struct chain *chain)
{
	struct nftnl_chain *made = nft_rule_chain(ruleset, chain);
	struct nlmsghdr *message =
		made ? open_message(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE) : NULL;

	if (message) {
		nftnl_chain_nlmsg_build_payload(message, made);
		close_message(batch, message);
	} else {
		batch->failed = true;
	}
	if (made)
		nftnl_chain_free(made);
}

static void put_rule(struct nft_batch *batch, const struct ruleset *ruleset,
	const struct chain *chain, const struct rule *rule)
{
	struct nftnl_rule *made = nft_rule_make(ruleset, chain, rule);
	struct nlmsghdr *message = NULL;

	if (made)
		message = open_message(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	if (message) {
		nftnl_rule_nlmsg_build_payload(message, made);
		close_message(batch, message);
	} else {
		batch->failed = true;
	}
	if (made)
		nftnl_rule_free(made);
}

static void put_set(struct nft_batch *batch, const struct ruleset *ruleset, const struct set *set)
{
	struct nftnl_set *made = nft_rule_set(ruleset, set, (uint32_t)(set - ruleset->sets) + 1);
	struct nlmsghdr *message = made ? open_message(batch, NFT_MSG_NEWSET, NLM_F_CREATE) : NULL;

	if (message) {
		nftnl_set_nlmsg_build_payload(message, made);
		close_message(batch, message);
	} else {
		batch->failed = true;
	}
	if (made)
		nftnl_set_free(made);
}

/* Elements of one set, in as many messages as their number needs. */
struct elements_writer {
	struct nft_batch *batch;
	const struct ruleset *ruleset;
	const struct set *set;
	size_t expected; /* elements to come when a message is opened, at least */
	uint16_t command, flags;
	struct nlmsghdr *message; /* NULL: none is open */
	struct nlattr *list;
};

static void writer_close(struct elements_writer *writer)
{
	if (!writer->message)
		return;
	mnl_attr_nest_end(writer->message, writer->list);
	close_message(writer->batch, writer->message);
	writer->message = NULL;
}

/* A message with room for one more element, or NULL. */
static struct nlmsghdr *writer_open(struct elements_writer *writer)
{
	size_t room = HEADER_ROOM + writer->expected * ELEMENT_ROOM;

	if (writer->message && writer->message->nlmsg_len > ELEMENTS_ROOM)
		writer_close(writer);
	if (writer->message)
		return writer->message;
	writer->message = open_sized(writer->batch, writer->command, writer->flags,
		room < MESSAGE_ROOM ? room : MESSAGE_ROOM);
	if (!writer->message)
		return NULL;
	mnl_attr_put_strz(writer->message, NFTA_SET_ELEM_LIST_TABLE, writer->ruleset->table);
	mnl_attr_put_strz(writer->message, NFTA_SET_ELEM_LIST_SET, writer->set->name);
	writer->list = mnl_attr_nest_start(writer->message, NFTA_SET_ELEM_LIST_ELEMENTS);
	return writer->message;
}

static void put_key(struct nlmsghdr *message, uint16_t type, const void *key, size_t size)
{
	struct nlattr *nest = mnl_attr_nest_start(message, type);

	mnl_attr_put(message, NFTA_DATA_VALUE, size, key);
	mnl_attr_nest_end(message, nest);
}

static void put_counter(struct nlmsghdr *message, const struct element *element)
{
	struct nlattr *expr = mnl_attr_nest_start(message, NFTA_SET_ELEM_EXPR);
	struct nlattr *data;

	mnl_attr_put_strz(message, NFTA_EXPR_NAME, "counter");
	data = mnl_attr_nest_start(message, NFTA_EXPR_DATA);
	mnl_attr_put_u64(message, NFTA_COUNTER_BYTES, htobe64(element->bytes));
	mnl_attr_put_u64(message, NFTA_COUNTER_PACKETS, htobe64(element->packets));
	mnl_attr_nest_end(message, data);
	mnl_attr_nest_end(message, expr);
}

/* libnftnl's form of user data: type, length, value with its NUL. */
static void put_comment(struct nlmsghdr *message, const char *comment)
{
	uint8_t data[2 + COMMENT_MAX + 1];
	size_t size = strlen(comment) + 1;

	data[0] = 0; /* NFTNL_UDATA_SET_ELEM_COMMENT */
	data[1] = (uint8_t)size;
	memcpy(data + 2, comment, size);
	mnl_attr_put(message, NFTA_SET_ELEM_USERDATA, 2 + size, data);
}

static void put_element(struct elements_writer *writer, const struct element *element)
{
	struct nlmsghdr *message = writer_open(writer);
	bool adding = writer->command == NFT_MSG_NEWSETELEM;
	struct nlattr *nest;

	if (!message)
		return;
	nest = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
	put_key(message, NFTA_SET_ELEM_KEY, element->prefix.addr.bytes,
		addr_size((enum family)element->prefix.addr.family));
	if (adding && element->expires_ms)
		mnl_attr_put_u64(message, NFTA_SET_ELEM_EXPIRATION, htobe64(element->expires_ms));
	if (adding && element->comment && *element->comment)
		put_comment(message, element->comment);
	if (adding && element->packets)
		put_counter(message, element);
	mnl_attr_nest_end(message, nest);
}

/* The address behind a prefix, where the kernel's interval ends; none at the end of the family. */
static void put_interval_end(struct elements_writer *writer, const struct element *element)
{
	struct addr last = prefix_last(&element->prefix), behind;
	struct nlmsghdr *message;
	struct nlattr *nest;

	if (!addr_next(&last, &behind))
		return;
	message = writer_open(writer);
	if (!message)
		return;
	nest = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
	put_key(message, NFTA_SET_ELEM_KEY, behind.bytes, addr_size((enum family)behind.family));
	mnl_attr_put_u32(message, NFTA_SET_ELEM_FLAGS, htonl(NFT_SET_ELEM_INTERVAL_END));
	mnl_attr_nest_end(message, nest);
}

static void write_element(struct elements_writer *writer, const struct element *element)
{
	put_element(writer, element);
	if (set_has_prefixes(writer->set))
		put_interval_end(writer, element);
}

static void fill_port_key(uint8_t key[8], uint8_t protocol, uint16_t port)
{
	memset(key, 0, 8);
	key[0] = protocol;
	key[4] = (uint8_t)(port >> 8);
	key[5] = (uint8_t)(port & 0xff);
}

static void write_port(struct elements_writer *writer, const struct port_verdict *port)
{
	struct nlmsghdr *message = writer_open(writer);
	struct nlattr *nest, *data, *verdict;
	uint8_t key[8];

	if (!message)
		return;
	nest = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
	fill_port_key(key, port->protocol, port->first);
	put_key(message, NFTA_SET_ELEM_KEY, key, sizeof(key));
	if (writer->set->intervals) {
		fill_port_key(key, port->protocol, port->last);
		put_key(message, NFTA_SET_ELEM_KEY_END, key, sizeof(key));
	}
	data = mnl_attr_nest_start(message, NFTA_SET_ELEM_DATA);
	verdict = mnl_attr_nest_start(message, NFTA_DATA_VERDICT);
	mnl_attr_put_u32(message, NFTA_VERDICT_CODE, htonl((uint32_t)NFT_GOTO));
	mnl_attr_put_strz(message, NFTA_VERDICT_CHAIN, writer->ruleset->chains[port->chain].name);
	mnl_attr_nest_end(message, verdict);
	mnl_attr_nest_end(message, data);
	mnl_attr_nest_end(message, nest);
}

static void put_all_elements(
	struct nft_batch *batch, const struct ruleset *ruleset, const struct set *set)
{
	struct elements_writer writer = {
		.batch = batch,
		.ruleset = ruleset,
		.set = set,
		.expected = set->port_count + set->count,
		.command = NFT_MSG_NEWSETELEM,
		.flags = NLM_F_CREATE,
	};

	for (size_t i = 0; i < set->port_count; i++)
		write_port(&writer, &set->ports[i]);
	for (size_t i = 0; i < set->count; i++)
		write_element(&writer, &set->elements[i]);
	writer_close(&writer);
}

static struct chain relay_chain(const struct ruleset *ruleset)
{
	struct chain relay = ruleset->chains[0];

	relay.name = "prerouting_relay";
	relay.priority = PRIORITY_RELAY;
	return relay;
}

static void put_rules(
	struct nft_batch *batch, const struct ruleset *ruleset, const struct chain *chain)
{
	for (size_t i = 0; i < chain->count; i++)
		put_rule(batch, ruleset, chain, &chain->rules[i]);
}

int nft_batch_swap(const struct ruleset *ruleset, uint32_t generation, bool replaces, bool relay,
	struct nft_batch *ret_batch)
{
	struct chain relayed = relay_chain(ruleset);
	struct nft_batch batch = {0};

	begin(&batch, generation);
	if (replaces)
		put_table(&batch, ruleset->table, NFT_MSG_DELTABLE, 0);
	/* Never into a table that is there: its rules would be there twice. */
	put_new_table(&batch, ruleset, NLM_F_CREATE | NLM_F_EXCL);
	for (size_t i = 0; i < ruleset->chain_count; i++)
		put_chain(&batch, ruleset, &ruleset->chains[i]);
	for (size_t i = 0; i < ruleset->set_count; i++)
		put_set(&batch, ruleset, &ruleset->sets[i]);
	for (size_t i = 0; i < ruleset->set_count; i++)
		put_all_elements(&batch, ruleset, &ruleset->sets[i]);
	for (size_t i = 0; i < ruleset->chain_count; i++)
		put_rules(&batch, ruleset, &ruleset->chains[i]);
	if (relay) {
		put_chain(&batch, ruleset, &relayed);
		put_rules(&batch, ruleset, &relayed);
	}
	return end(&batch, ret_batch);
}

static void put_in_chain(struct nft_batch *batch, const struct ruleset *ruleset, const char *chain,
	uint16_t command, uint16_t table_type, uint16_t chain_type)
{
	struct nlmsghdr *message = open_message(batch, command, 0);

	if (!message)
		return;
	mnl_attr_put_strz(message, table_type, ruleset->table);
	mnl_attr_put_strz(message, chain_type, chain);
	close_message(batch, message);
}

int nft_batch_drop_relay(const struct ruleset *ruleset, struct nft_batch *ret_batch)
{
	const char *name = relay_chain(ruleset).name;
	struct nft_batch batch = {0};

	begin(&batch, 0);
	put_in_chain(&batch, ruleset, name, NFT_MSG_DELRULE, NFTA_RULE_TABLE, NFTA_RULE_CHAIN);
	put_in_chain(&batch, ruleset, name, NFT_MSG_DELCHAIN, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME);
	return end(&batch, ret_batch);
}

/* An element of a revoked set may time out before the batch arrives, and deleting what is not there
 * would refuse the whole batch: it is added first, which changes nothing where it is there. */
static void write_run(struct nft_batch *batch, const struct ruleset *ruleset,
	const struct plan *plan, size_t first, size_t last, bool adding)
{
	const struct set *set = &ruleset->sets[plan->changes[first].set];
	struct elements_writer writer = {
		.batch = batch, .ruleset = ruleset, .set = set, .expected = last - first};

	writer.command = adding ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM;
	writer.flags = adding ? NLM_F_CREATE : 0;
	for (size_t i = first; i < last; i++) {
		struct element element = plan->changes[i].element;

		if (adding && !plan->changes[i].add)
			element = (struct element){.prefix = element.prefix};
		write_element(&writer, &element);
	}
	writer_close(&writer);
}

int nft_batch_changes(const struct ruleset *ruleset, const struct plan *plan, uint32_t generation,
	struct nft_batch *ret_batch)
{
	struct nft_batch batch = {.family = ruleset->family};
	size_t last;

	begin(&batch, generation);
	if (plan->adopt)
		put_new_table(&batch, ruleset, 0);
	for (size_t first = 0; first < plan->count; first = last) {
		const struct change *change = &plan->changes[first];

		for (last = first + 1; last < plan->count; last++) {
			if (plan->changes[last].set != change->set ||
				plan->changes[last].add != change->add)
				break;
		}
		if (!change->add && ruleset->sets[change->set].kind == SET_REVOKED)
			write_run(&batch, ruleset, plan, first, last, true);
		write_run(&batch, ruleset, plan, first, last, change->add);
	}
	return end(&batch, ret_batch);
}

bool nft_batch_asks_for_lock(const struct nft_batch *batch, uint32_t sequence)
{
	const struct nlmsghdr *message;

	if (sequence == 0 || sequence > batch->messages)
		return false;
	message = (const struct nlmsghdr *)(batch->data + batch->offsets[sequence - 1]);
	return message->nlmsg_type == nft_type(NFT_MSG_NEWTABLE) &&
	       attr_find_be32(
		       attr_walk_message(message, sizeof(struct nfgenmsg)), NFTA_TABLE_FLAGS) &
		       TABLE_FLAG_OWNER;
}

int nft_batch_remove(const char *table, uint32_t generation, struct nft_batch *ret_batch)
{
	struct nft_batch batch = {0};

	begin(&batch, generation);
	put_table(&batch, table, NFT_MSG_DELTABLE, 0);
	return end(&batch, ret_batch);
}

/* A message of a dump, made into one that creates the same object. `attributes` is a bit set. */
static void put_again(struct nft_batch *batch, const struct nlmsghdr *dumped, uint16_t command,
	uint16_t flags, uint32_t attributes, uint32_t set_id)
{
	struct attr_walk walk = attr_walk_message(dumped, sizeof(struct nfgenmsg));
	struct nlmsghdr *message =
		open_sized(batch, command, flags, dumped->nlmsg_len + HEADER_ROOM);
	const struct nlattr *attr;

	if (!message)
		return;
	while ((attr = attr_walk_step(&walk))) {
		uint16_t type = mnl_attr_get_type(attr);

		if (type >= 32 || !(attributes >> type & 1))
			continue;
		mnl_attr_put(message, attr->nla_type, mnl_attr_get_payload_len(attr),
			mnl_attr_get_payload(attr));
	}
	if (set_id)
		mnl_attr_put_u32(message, NFTA_SET_ID, htonl(set_id));
	close_message(batch, message);
}

static bool is_of_table(const struct nlmsghdr *message, const char *table)
{
	/* The table's name is attribute 1 in the messages of all its objects. */
	const char *name = attr_find_string(
		attr_walk_message(message, sizeof(struct nfgenmsg)), NFTA_TABLE_NAME);

	return name && strcmp(name, table) == 0 && message->nlmsg_len < MESSAGE_ROOM - 1024;
}

int nft_batch_restore(
	const char *table, const void *snapshot, size_t length, struct nft_batch *ret_batch)
{
	/* In the order in which one refers to the other. What only the kernel says of an object
	 * (its handle, counts, attributes of later versions) is not taken when it comes back. */
#define BIT(attribute) (UINT32_C(1) << (attribute))
	static const struct {
		uint16_t command, flags;
		uint32_t attributes;
	} kinds[] = {
		{NFT_MSG_NEWCHAIN, NLM_F_CREATE,
			BIT(NFTA_CHAIN_TABLE) | BIT(NFTA_CHAIN_NAME) | BIT(NFTA_CHAIN_HOOK) |
				BIT(NFTA_CHAIN_POLICY) | BIT(NFTA_CHAIN_TYPE) |
				BIT(NFTA_CHAIN_FLAGS) | BIT(NFTA_CHAIN_USERDATA)},
		{NFT_MSG_NEWSET, NLM_F_CREATE,
			BIT(NFTA_SET_TABLE) | BIT(NFTA_SET_NAME) | BIT(NFTA_SET_FLAGS) |
				BIT(NFTA_SET_KEY_TYPE) | BIT(NFTA_SET_KEY_LEN) |
				BIT(NFTA_SET_DATA_TYPE) | BIT(NFTA_SET_DATA_LEN) |
				BIT(NFTA_SET_POLICY) | BIT(NFTA_SET_DESC) | BIT(NFTA_SET_TIMEOUT) |
				BIT(NFTA_SET_GC_INTERVAL) | BIT(NFTA_SET_USERDATA) |
				BIT(NFTA_SET_EXPR) | BIT(NFTA_SET_EXPRESSIONS)},
		{NFT_MSG_NEWSETELEM, NLM_F_CREATE,
			BIT(NFTA_SET_ELEM_LIST_TABLE) | BIT(NFTA_SET_ELEM_LIST_SET) |
				BIT(NFTA_SET_ELEM_LIST_ELEMENTS)},
		{NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
			BIT(NFTA_RULE_TABLE) | BIT(NFTA_RULE_CHAIN) | BIT(NFTA_RULE_EXPRESSIONS) |
				BIT(NFTA_RULE_USERDATA)},
	};
#undef BIT
	struct nft_batch batch = {0};
	uint32_t sets = 0;

	begin(&batch, 0);
	put_table(&batch, table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	put_table(&batch, table, NFT_MSG_DELTABLE, 0);
	if (length > 0)
		put_table(&batch, table, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct nlmsghdr *message = snapshot;

		for (size_t left = length; message_is_whole(message, left);
			message = message_behind(message, &left)) {
			if (message->nlmsg_type != nft_type(kinds[i].command) ||
				!is_of_table(message, table))
				continue;
			put_again(&batch, message, kinds[i].command, kinds[i].flags,
				kinds[i].attributes,
				kinds[i].command == NFT_MSG_NEWSET ? ++sets : 0);
		}
	}
	return end(&batch, ret_batch);
}

/* The element of a list of elements that `offset` points into. */
static void describe_element(const struct nlmsghdr *message, uint32_t offset, struct text *text)
{
	struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));
	const struct nlattr *list = attr_find(walk, NFTA_SET_ELEM_LIST_ELEMENTS);
	const uint8_t *at = (const uint8_t *)message + offset;
	const struct nlattr *element, *key;

	if (!list || offset == 0)
		return;
	walk = attr_walk_nested(list);
	while ((element = attr_walk_step(&walk))) {
		struct addr addr = {0};
		char buffer[ADDR_TEXT_SIZE];
		const void *bytes;

		if (at < (const uint8_t *)element || at >= (const uint8_t *)walk.next)
			continue;
		key = attr_find(attr_walk_nested(element), NFTA_SET_ELEM_KEY);
		for (int family = 0; key && family < FAMILY_COUNT; family++) {
			size_t size = addr_size((enum family)family);

			bytes = attr_find_fixed(attr_walk_nested(key), NFTA_DATA_VALUE, size);
			if (!bytes)
				continue;
			addr.family = (uint8_t)family;
			memcpy(addr.bytes, bytes, size);
			addr_print(&addr, buffer);
			text_printf(text, "element %s of ", buffer);
		}
	}
}

void nft_batch_describe(
	const struct nft_batch *batch, uint32_t sequence, uint32_t offset, struct text *text)
{
	static const struct {
		uint16_t command, name;
		const char *what;
	} kinds[] = {
		{NFT_MSG_NEWTABLE, NFTA_TABLE_NAME, "table"},
		{NFT_MSG_DELTABLE, NFTA_TABLE_NAME, "table"},
		{NFT_MSG_NEWCHAIN, NFTA_CHAIN_NAME, "chain"},
		{NFT_MSG_DELCHAIN, NFTA_CHAIN_NAME, "chain"},
		{NFT_MSG_DELRULE, NFTA_RULE_CHAIN, "the rules of chain"},
		{NFT_MSG_NEWSET, NFTA_SET_NAME, "set"},
		{NFT_MSG_NEWRULE, NFTA_RULE_CHAIN, "a rule of chain"},
		{NFT_MSG_NEWSETELEM, NFTA_SET_ELEM_LIST_SET, "set"},
		{NFT_MSG_DELSETELEM, NFTA_SET_ELEM_LIST_SET, "set"},
	};
	const struct nlmsghdr *message;

	if (sequence == 0 || sequence > batch->messages) {
		text_puts(text, "the transaction as a whole");
		return;
	}
	message = (const struct nlmsghdr *)(batch->data + batch->offsets[sequence - 1]);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const char *name;

		if (message->nlmsg_type != nft_type(kinds[i].command))
			continue;
		name = attr_find_string(
			attr_walk_message(message, sizeof(struct nfgenmsg)), kinds[i].name);
		if (kinds[i].name == NFTA_SET_ELEM_LIST_SET)
			describe_element(message, offset, text);
		text_printf(text, "%s %s", kinds[i].what, name ? name : "?");
		return;
	}
}

/* Requests. */

static size_t request(enum table_family family, void *buffer, uint16_t command, uint16_t flags,
	uint32_t sequence, uint16_t first_type, const char *first, uint16_t second_type,
	const char *second)
{
	struct nlmsghdr *message = put_header(buffer, nft_type(command), flags, sequence,
		nft_protocol_family((uint8_t)family), 0);

	if (first)
		mnl_attr_put_strz_check(message, NFT_REQUEST_SIZE, first_type, first);
	if (second)
		mnl_attr_put_strz_check(message, NFT_REQUEST_SIZE, second_type, second);
	return message->nlmsg_len;
}

size_t nft_request_generation(uint32_t sequence, void *buffer)
{
	return request(TABLE_INET, buffer, NFT_MSG_GETGEN, NLM_F_ACK, sequence, 0, NULL, 0, NULL);
}

size_t nft_request_table(
	enum table_family family, const char *table, uint32_t sequence, void *buffer)
{
	return request(family, buffer, NFT_MSG_GETTABLE, NLM_F_ACK, sequence, NFTA_TABLE_NAME,
		table, 0, NULL);
}

size_t nft_request_chains(uint32_t sequence, void *buffer)
{
	return request(
		TABLE_INET, buffer, NFT_MSG_GETCHAIN, NLM_F_DUMP, sequence, 0, NULL, 0, NULL);
}

size_t nft_request_sets(
	enum table_family family, const char *table, uint32_t sequence, void *buffer)
{
	return request(family, buffer, NFT_MSG_GETSET, NLM_F_DUMP, sequence, NFTA_SET_TABLE, table,
		0, NULL);
}

size_t nft_request_rules(
	enum table_family family, const char *table, uint32_t sequence, void *buffer)
{
	return request(family, buffer, NFT_MSG_GETRULE, NLM_F_DUMP, sequence, NFTA_RULE_TABLE,
		table, 0, NULL);
}

size_t nft_request_elements(enum table_family family, const char *table, const char *set,
	uint32_t sequence, void *buffer)
{
	return request(family, buffer, NFT_MSG_GETSETELEM, NLM_F_DUMP, sequence,
		NFTA_SET_ELEM_LIST_TABLE, table, NFTA_SET_ELEM_LIST_SET, set);
}

size_t nft_request_element(enum table_family family, const char *table, const struct set *set,
	const struct element *element, uint32_t sequence, void *buffer)
{
	enum { KEY_ROOM = 64 };
	struct nlmsghdr *message = put_header(buffer, nft_type(NFT_MSG_GETSETELEM), NLM_F_ACK,
		sequence, nft_protocol_family((uint8_t)family), 0);
	const struct addr *addr = &element->prefix.addr;
	struct nlattr *list, *nest;

	mnl_attr_put_strz_check(
		message, NFT_REQUEST_SIZE - KEY_ROOM, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz_check(
		message, NFT_REQUEST_SIZE - KEY_ROOM, NFTA_SET_ELEM_LIST_SET, set->name);
	list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
	nest = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
	put_key(message, NFTA_SET_ELEM_KEY, addr->bytes, addr_size((enum family)addr->family));
	mnl_attr_nest_end(message, nest);
	mnl_attr_nest_end(message, list);
	return message->nlmsg_len;
}
