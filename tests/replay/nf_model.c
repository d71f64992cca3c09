/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nf_model.h"
#include "nft_attr.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *need(void *memory)
{
	if (!memory) {
		fputs("out of memory\n", stderr);
		abort();
	}
	return memory;
}

static struct nlmsghdr *copy_message(const struct nlmsghdr *message)
{
	struct nlmsghdr *copy = need(malloc(message->nlmsg_len));

	memcpy(copy, message, message->nlmsg_len);
	return copy;
}

static void clear_set(struct nf_set *set)
{
	free(set->message);
	free(set->elements);
}

static void clear_table(struct nf_table *table)
{
	for (size_t i = 0; i < table->set_count; i++)
		clear_set(&table->sets[i]);
	for (size_t i = 0; i < table->chain_count; i++)
		free(table->chains[i].message);
	for (size_t i = 0; i < table->rule_count; i++)
		free(table->rules[i].message);
	free(table->sets);
	free(table->chains);
	free(table->rules);
}

void nf_clear(struct nf_ruleset *ruleset)
{
	for (size_t i = 0; i < ruleset->table_count; i++)
		clear_table(&ruleset->tables[i]);
	free(ruleset->tables);
	ruleset->tables = NULL;
	ruleset->table_count = 0;
}

static void *copy_array(const void *array, size_t count, size_t size)
{
	void *copy = need(malloc((count ? count : 1) * size));

	if (count)
		memcpy(copy, array, count * size);
	return copy;
}

static struct nf_table copy_table(const struct nf_table *from)
{
	struct nf_table to = *from;

	to.sets = copy_array(from->sets, from->set_count, sizeof(*to.sets));
	to.chains = copy_array(from->chains, from->chain_count, sizeof(*to.chains));
	to.rules = copy_array(from->rules, from->rule_count, sizeof(*to.rules));
	for (size_t i = 0; i < to.set_count; i++) {
		struct nf_set *set = &to.sets[i];

		set->message = copy_message(set->message);
		set->elements = copy_array(set->elements, set->count, sizeof(*set->elements));
		set->capacity = set->count;
	}
	for (size_t i = 0; i < to.chain_count; i++)
		to.chains[i].message = copy_message(to.chains[i].message);
	for (size_t i = 0; i < to.rule_count; i++)
		to.rules[i].message = copy_message(to.rules[i].message);
	return to;
}

static struct nf_ruleset copy_ruleset(const struct nf_ruleset *from)
{
	struct nf_ruleset to = *from;

	to.tables = copy_array(from->tables, from->table_count, sizeof(*to.tables));
	for (size_t i = 0; i < to.table_count; i++)
		to.tables[i] = copy_table(&from->tables[i]);
	return to;
}

struct nf_table *nf_find_table(const struct nf_ruleset *ruleset, const char *name)
{
	for (size_t i = 0; i < ruleset->table_count; i++) {
		if (strcmp(ruleset->tables[i].name, name) == 0)
			return &ruleset->tables[i];
	}
	return NULL;
}

struct nf_set *nf_find_set(const struct nf_table *table, const char *name)
{
	for (size_t i = 0; i < table->set_count; i++) {
		if (strcmp(table->sets[i].name, name) == 0)
			return &table->sets[i];
	}
	return NULL;
}

struct nf_chain *nf_find_chain(const struct nf_table *table, const char *name)
{
	for (size_t i = 0; i < table->chain_count; i++) {
		if (strcmp(table->chains[i].name, name) == 0)
			return &table->chains[i];
	}
	return NULL;
}

static bool expired(const struct nf_element *element, int64_t now)
{
	return element->expires && element->expires <= now;
}

struct nf_element *nf_find_element(
	const struct nf_set *set, const uint8_t *key, bool interval_end, int64_t now)
{
	for (size_t i = 0; i < set->count; i++) {
		struct nf_element *element = &set->elements[i];

		if (memcmp(element->key, key, set->key_size) == 0 &&
			element->interval_end == interval_end && !expired(element, now))
			return element;
	}
	return NULL;
}

/* Where an element stands in the order of an interval set: an end before a beginning there. */
static int compare_points(
	const struct nf_set *set, const uint8_t *key, bool end, const struct nf_element *element)
{
	int order = memcmp(key, element->key, set->key_size);

	return order ? order : (int)element->interval_end - (int)end;
}

static bool in_concatenation(
	const struct nf_set *set, const struct nf_element *element, const uint8_t *key)
{
	const uint8_t *last = element->has_key_end ? element->key_end : element->key;

	/* Fields of 4 bytes each, every one within its own range. */
	for (size_t i = 0; i < set->key_size; i += 4) {
		if (memcmp(key + i, element->key + i, 4) < 0 || memcmp(key + i, last + i, 4) > 0)
			return false;
	}
	return true;
}

struct nf_element *nf_lookup(const struct nf_set *set, const uint8_t *key, int64_t now)
{
	struct nf_element *best = NULL;

	if (!(set->flags & NFT_SET_INTERVAL))
		return nf_find_element(set, key, false, now);
	for (size_t i = 0; i < set->count; i++) {
		struct nf_element *element = &set->elements[i];

		if (set->flags & NFT_SET_CONCAT) {
			if (in_concatenation(set, element, key))
				return element;
			continue;
		}
		if (compare_points(set, key, false, element) < 0)
			continue;
		if (!best || compare_points(set, element->key, element->interval_end, best) > 0)
			best = element;
	}
	return best && !best->interval_end ? best : NULL;
}

/* Intervals must not overlap: beginnings and ends take turns. */
static int compare_elements(const void *a, const void *b)
{
	const struct nf_element *left = a, *right = b;
	int order = memcmp(left->key, right->key, NF_KEY_MAX);

	return order ? order : (int)right->interval_end - (int)left->interval_end;
}

static bool overlaps(struct nf_set *set)
{
	if (!(set->flags & NFT_SET_INTERVAL) || set->flags & NFT_SET_CONCAT || set->count == 0)
		return false;
	qsort(set->elements, set->count, sizeof(*set->elements), compare_elements);
	for (size_t i = 0; i < set->count; i++) {
		if (set->elements[i].interval_end != (i % 2 == 1))
			return true;
	}
	return false;
}

bool nf_delete_element(struct nf_set *set, const uint8_t *key, bool interval_end)
{
	struct nf_element *found = nf_find_element(set, key, interval_end, 0);
	size_t index;

	if (!found)
		return false;
	index = (size_t)(found - set->elements);
	memmove(found, found + 1, (set->count - index - 1) * sizeof(*found));
	set->count--;
	return true;
}

struct nf_element *nf_add_element(struct nf_set *set, const uint8_t *key)
{
	struct nf_element *element;

	if (set->count == set->capacity) {
		set->capacity = set->capacity ? set->capacity * 2 : 16;
		set->elements =
			need(reallocarray(set->elements, set->capacity, sizeof(*set->elements)));
	}
	element = &set->elements[set->count++];
	*element = (struct nf_element){.counted = set->counted};
	memcpy(element->key, key, set->key_size);
	return element;
}

static void remove_rule(struct nf_table *table, size_t index)
{
	free(table->rules[index].message);
	memmove(&table->rules[index], &table->rules[index + 1],
		(table->rule_count - index - 1) * sizeof(*table->rules));
	table->rule_count--;
}

bool nf_delete_rule(struct nf_table *table, const char *chain, size_t index)
{
	for (size_t i = 0; i < table->rule_count; i++) {
		if (strcmp(table->rules[i].chain, chain) == 0 && index-- == 0) {
			remove_rule(table, i);
			return true;
		}
	}
	return false;
}

static void remove_table(struct nf_ruleset *ruleset, size_t index)
{
	clear_table(&ruleset->tables[index]);
	memmove(&ruleset->tables[index], &ruleset->tables[index + 1],
		(ruleset->table_count - index - 1) * sizeof(*ruleset->tables));
	ruleset->table_count--;
}

bool nf_delete_table(struct nf_ruleset *ruleset, const char *name)
{
	struct nf_table *table = nf_find_table(ruleset, name);

	if (!table)
		return false;
	remove_table(ruleset, (size_t)(table - ruleset->tables));
	return true;
}

void nf_close(struct nf_ruleset *ruleset, uint32_t port)
{
	for (size_t i = ruleset->table_count; i-- > 0;) {
		struct nf_table *table = &ruleset->tables[i];

		if (table->owner != port)
			continue;
		if (!(table->flags & NF_TABLE_PERSIST)) {
			remove_table(ruleset, i);
			ruleset->generation++;
			continue;
		}
		table->flags &= ~(uint32_t)NFT_TABLE_F_OWNER;
		table->owner = 0;
	}
}

/* One message of a batch. */
struct request {
	struct nf_ruleset *ruleset;
	const struct nlmsghdr *message;
	uint32_t port;
	int64_t now;
};

static struct attr_walk attributes(const struct request *request)
{
	return attr_walk_message(request->message, sizeof(struct nfgenmsg));
}

static const char *name_of(const struct request *request, uint16_t type)
{
	const char *name = attr_find_string(attributes(request), type);

	return name && strlen(name) < NF_NAME_SIZE ? name : NULL;
}

/* The table that the message names: an owned one is out of bounds for others. */
static int find_table(const struct request *request, struct nf_table **ret_table)
{
	/* The table's name is attribute 1 in the messages of all its objects. */
	const char *name = name_of(request, NFTA_TABLE_NAME);
	struct nf_table *table = name ? nf_find_table(request->ruleset, name) : NULL;

	if (!name)
		return -EINVAL;
	if (!table)
		return -ENOENT;
	if (table->flags & NFT_TABLE_F_OWNER && table->owner != request->port)
		return -EPERM;
	*ret_table = table;
	return 0;
}

static bool has_flag(const struct request *request, uint16_t flag)
{
	return request->message->nlmsg_flags & flag;
}

static int update_table(const struct request *request, struct nf_table *table)
{
	uint32_t flags = attr_find_be32(attributes(request), NFTA_TABLE_FLAGS);
	bool owned = table->flags & NFT_TABLE_F_OWNER;
	bool orphan = !owned && table->flags & NF_TABLE_PERSIST;

	if (!attr_find(attributes(request), NFTA_TABLE_FLAGS) || flags == table->flags)
		return 0;
	if ((owned && !(flags & NFT_TABLE_F_OWNER)) || (flags & NFT_TABLE_F_OWNER && !orphan) ||
		(flags ^ table->flags) & NF_TABLE_PERSIST)
		return -EOPNOTSUPP;
	table->flags = flags;
	table->owner = flags & NFT_TABLE_F_OWNER ? request->port : 0;
	return 0;
}

static int new_table(const struct request *request)
{
	uint32_t flags = attr_find_be32(attributes(request), NFTA_TABLE_FLAGS);
	uint32_t known = NFT_TABLE_F_DORMANT | NFT_TABLE_F_OWNER;
	struct nf_ruleset *ruleset = request->ruleset;
	struct nf_table *table;
	int result = find_table(request, &table);

	if (ruleset->knows_persist)
		known |= NF_TABLE_PERSIST;
	if (result == 0)
		return has_flag(request, NLM_F_EXCL) ? -EEXIST
		       : flags & ~known		     ? -EOPNOTSUPP
						     : update_table(request, table);
	if (result != -ENOENT)
		return result;
	if (!has_flag(request, NLM_F_CREATE))
		return -ENOENT;
	if (flags & ~known)
		return -EOPNOTSUPP;
	ruleset->tables = need(
		reallocarray(ruleset->tables, ruleset->table_count + 1, sizeof(*ruleset->tables)));
	table = &ruleset->tables[ruleset->table_count++];
	*table = (struct nf_table){
		.flags = flags, .owner = flags & NFT_TABLE_F_OWNER ? request->port : 0};
	strcpy(table->name, name_of(request, NFTA_TABLE_NAME));
	return 0;
}

static int delete_table(const struct request *request)
{
	struct nf_table *table;
	int result = find_table(request, &table);

	if (result == 0)
		remove_table(request->ruleset, (size_t)(table - request->ruleset->tables));
	return result;
}

static int new_chain(const struct request *request)
{
	const char *name = name_of(request, NFTA_CHAIN_NAME);
	struct nftnl_chain *parsed;
	struct nf_table *table;
	struct nf_chain *chain;
	int result = find_table(request, &table);

	if (result < 0 || !name)
		return result < 0 ? result : -EINVAL;
	if (nf_find_chain(table, name))
		return has_flag(request, NLM_F_EXCL) ? -EEXIST : 0;
	table->chains =
		need(reallocarray(table->chains, table->chain_count + 1, sizeof(*table->chains)));
	chain = &table->chains[table->chain_count++];
	*chain = (struct nf_chain){.message = copy_message(request->message)};
	strcpy(chain->name, name);
	parsed = need(nftnl_chain_alloc());
	if (nftnl_chain_nlmsg_parse(request->message, parsed) < 0)
		result = -EINVAL;
	chain->base = nftnl_chain_is_set(parsed, NFTNL_CHAIN_HOOKNUM);
	if (chain->base)
		chain->priority = nftnl_chain_get_s32(parsed, NFTNL_CHAIN_PRIO);
	nftnl_chain_free(parsed);
	return result;
}

/* Names that the rules of a table refer to. */
struct reference {
	const struct nf_table *table;
	const char *set, *chain; /* looked for; NULL: none */
	bool found, dangling;
};

static int check_expression(struct nftnl_expr *expr, void *context)
{
	const char *kind = nftnl_expr_get_str(expr, NFTNL_EXPR_NAME);
	struct reference *reference = context;
	const char *set = NULL, *chain = NULL;

	if (strcmp(kind, "lookup") == 0)
		set = nftnl_expr_get_str(expr, NFTNL_EXPR_LOOKUP_SET);
	if (strcmp(kind, "dynset") == 0)
		set = nftnl_expr_get_str(expr, NFTNL_EXPR_DYNSET_SET_NAME);
	if (strcmp(kind, "immediate") == 0 && nftnl_expr_is_set(expr, NFTNL_EXPR_IMM_CHAIN))
		chain = nftnl_expr_get_str(expr, NFTNL_EXPR_IMM_CHAIN);
	if (set && reference->set && strcmp(set, reference->set) == 0)
		reference->found = true;
	if (chain && reference->chain && strcmp(chain, reference->chain) == 0)
		reference->found = true;
	if ((set && !nf_find_set(reference->table, set)) ||
		(chain && !nf_find_chain(reference->table, chain)))
		reference->dangling = true;
	return 0;
}

static int check_rule(const struct nlmsghdr *message, struct reference *reference)
{
	struct nftnl_rule *rule = need(nftnl_rule_alloc());
	int result = nftnl_rule_nlmsg_parse(message, rule) < 0 ? -EINVAL : 0;

	if (result == 0)
		nftnl_expr_foreach(rule, check_expression, reference);
	nftnl_rule_free(rule);
	return result;
}

static const char *verdict_chain(const struct nf_element *element)
{
	_Alignas(struct nlattr) uint8_t nest[sizeof(struct nlattr) + NF_DATA_MAX];
	struct nlattr *data = (struct nlattr *)nest;
	const struct nlattr *verdict;

	if (element->data_size == 0)
		return NULL;
	data->nla_len = (uint16_t)(sizeof(struct nlattr) + element->data_size);
	data->nla_type = NFTA_SET_ELEM_DATA;
	memcpy(nest + sizeof(struct nlattr), element->data, element->data_size);
	verdict = attr_find(attr_walk_nested(data), NFTA_DATA_VERDICT);
	if (!verdict || !attr_find_string(attr_walk_nested(verdict), NFTA_VERDICT_CHAIN))
		return NULL;
	/* Same place in the element's own copy, which outlives this call. */
	return (const char *)element->data +
	       (attr_find_string(attr_walk_nested(verdict), NFTA_VERDICT_CHAIN) -
		       (const char *)(nest + sizeof(struct nlattr)));
}

static bool is_referred_to(const struct nf_table *table, const char *set, const char *chain)
{
	struct reference reference = {.table = table, .set = set, .chain = chain};

	for (size_t i = 0; i < table->rule_count; i++) {
		/* Rules of a chain go with it. */
		if (!chain || strcmp(table->rules[i].chain, chain) != 0)
			check_rule(table->rules[i].message, &reference);
	}
	for (size_t i = 0; chain && i < table->set_count; i++) {
		for (size_t j = 0; j < table->sets[i].count; j++) {
			const char *target = verdict_chain(&table->sets[i].elements[j]);

			if (target && strcmp(target, chain) == 0)
				return true;
		}
	}
	return reference.found;
}

static int delete_chain(const struct request *request)
{
	const char *name = name_of(request, NFTA_CHAIN_NAME);
	struct nf_table *table;
	struct nf_chain *chain;
	int result = find_table(request, &table);

	if (result < 0)
		return result;
	chain = name ? nf_find_chain(table, name) : NULL;
	if (!chain)
		return -ENOENT;
	if (is_referred_to(table, NULL, name))
		return -EBUSY;
	while (nf_delete_rule(table, chain->name, 0))
		;
	free(chain->message);
	memmove(chain, chain + 1,
		(size_t)(&table->chains[table->chain_count] - (chain + 1)) * sizeof(*chain));
	table->chain_count--;
	return 0;
}

static int new_set(const struct request *request)
{
	const char *name = name_of(request, NFTA_SET_NAME);
	struct nftnl_set *parsed;
	struct nf_table *table;
	struct nf_set *set;
	int result = find_table(request, &table);

	if (result < 0 || !name)
		return result < 0 ? result : -EINVAL;
	if (nf_find_set(table, name))
		return has_flag(request, NLM_F_EXCL) ? -EEXIST : 0;
	parsed = need(nftnl_set_alloc());
	if (nftnl_set_nlmsg_parse(request->message, parsed) < 0) {
		nftnl_set_free(parsed);
		return -EINVAL;
	}
	table->sets = need(reallocarray(table->sets, table->set_count + 1, sizeof(*table->sets)));
	set = &table->sets[table->set_count++];
	*set = (struct nf_set){
		.message = copy_message(request->message),
		.flags = nftnl_set_get_u32(parsed, NFTNL_SET_FLAGS),
		.key_size = nftnl_set_get_u32(parsed, NFTNL_SET_KEY_LEN),
		.size_limit = nftnl_set_is_set(parsed, NFTNL_SET_DESC_SIZE)
				      ? nftnl_set_get_u32(parsed, NFTNL_SET_DESC_SIZE)
				      : 0,
		.timeout = nftnl_set_is_set(parsed, NFTNL_SET_TIMEOUT)
				   ? (int64_t)nftnl_set_get_u64(parsed, NFTNL_SET_TIMEOUT)
				   : 0,
		.counted = attr_find(attributes(request), NFTA_SET_EXPR) ||
			   attr_find(attributes(request), NFTA_SET_EXPRESSIONS),
	};
	strcpy(set->name, name);
	nftnl_set_free(parsed);
	return set->key_size > 0 && set->key_size <= NF_KEY_MAX ? 0 : -EINVAL;
}

static int delete_set(const struct request *request)
{
	const char *name = name_of(request, NFTA_SET_NAME);
	struct nf_table *table;
	struct nf_set *set;
	int result = find_table(request, &table);

	if (result < 0)
		return result;
	set = name ? nf_find_set(table, name) : NULL;
	if (!set)
		return -ENOENT;
	if (is_referred_to(table, name, NULL))
		return -EBUSY;
	clear_set(set);
	memmove(set, set + 1, (size_t)(&table->sets[table->set_count] - (set + 1)) * sizeof(*set));
	table->set_count--;
	return 0;
}

static int new_rule(const struct request *request)
{
	const char *chain = name_of(request, NFTA_RULE_CHAIN);
	struct reference reference = {0};
	struct nf_table *table;
	struct nf_rule *rule;
	int result = find_table(request, &table);

	if (result < 0)
		return result;
	if (!chain || !nf_find_chain(table, chain))
		return -ENOENT;
	reference.table = table;
	result = check_rule(request->message, &reference);
	if (result < 0 || reference.dangling)
		return result < 0 ? result : -ENOENT;
	if (!has_flag(request, NLM_F_CREATE) || !has_flag(request, NLM_F_APPEND))
		return -EINVAL; /* the kernel would put it first, which sipfence never wants */
	table->rules =
		need(reallocarray(table->rules, table->rule_count + 1, sizeof(*table->rules)));
	rule = &table->rules[table->rule_count++];
	*rule = (struct nf_rule){.message = copy_message(request->message)};
	strcpy(rule->chain, chain);
	return 0;
}

static int delete_rules(const struct request *request)
{
	const char *chain = name_of(request, NFTA_RULE_CHAIN);
	struct nf_table *table;
	int result = find_table(request, &table);

	if (result < 0)
		return result;
	if (!chain || !nf_find_chain(table, chain))
		return -ENOENT;
	if (attr_find(attributes(request), NFTA_RULE_HANDLE))
		return -EOPNOTSUPP; /* sipfence deletes all rules of a chain, or none */
	while (nf_delete_rule(table, chain, 0))
		;
	return 0;
}

static bool read_key(
	const struct nf_set *set, struct attr_walk walk, uint16_t type, uint8_t key[NF_KEY_MAX])
{
	const struct nlattr *nest = attr_find(walk, type);
	const void *bytes =
		nest ? attr_find_fixed(attr_walk_nested(nest), NFTA_DATA_VALUE, set->key_size)
		     : NULL;

	if (bytes)
		memcpy(key, bytes, set->key_size);
	return bytes;
}

static bool read_bytes(
	struct attr_walk walk, uint16_t type, uint8_t *bytes, size_t room, uint16_t *ret_size)
{
	const struct nlattr *attr = attr_find(walk, type);

	if (!attr)
		return true;
	if (mnl_attr_get_payload_len(attr) > room)
		return false;
	*ret_size = mnl_attr_get_payload_len(attr);
	memcpy(bytes, mnl_attr_get_payload(attr), *ret_size);
	return true;
}

static void read_counter(struct attr_walk walk, struct nf_element *element)
{
	const struct nlattr *expr = attr_find(walk, NFTA_SET_ELEM_EXPR);
	const struct nlattr *data = expr ? attr_find(attr_walk_nested(expr), NFTA_EXPR_DATA) : NULL;

	if (!data)
		return;
	element->counted = true;
	element->packets = attr_find_be64(attr_walk_nested(data), NFTA_COUNTER_PACKETS);
	element->bytes = attr_find_be64(attr_walk_nested(data), NFTA_COUNTER_BYTES);
}

static int read_element(const struct request *request, const struct nf_set *set,
	const struct nlattr *attr, struct nf_element *ret_element)
{
	struct attr_walk walk = attr_walk_nested(attr);
	struct nf_element element = {.counted = set->counted};
	int64_t rest = (int64_t)attr_find_be64(walk, NFTA_SET_ELEM_EXPIRATION);

	element.interval_end =
		attr_find_be32(walk, NFTA_SET_ELEM_FLAGS) & NFT_SET_ELEM_INTERVAL_END;
	if (!read_key(set, walk, NFTA_SET_ELEM_KEY, element.key))
		return -EINVAL;
	element.has_key_end = read_key(set, walk, NFTA_SET_ELEM_KEY_END, element.key_end);
	if (element.interval_end && !(set->flags & NFT_SET_INTERVAL))
		return -EINVAL;
	if (!read_bytes(walk, NFTA_SET_ELEM_USERDATA, element.userdata, sizeof(element.userdata),
		    &element.userdata_size) ||
		!read_bytes(walk, NFTA_SET_ELEM_DATA, element.data, sizeof(element.data),
			&element.data_size))
		return -EINVAL;
	if (rest && !(set->flags & NFT_SET_TIMEOUT))
		return -EINVAL;
	if (set->flags & NFT_SET_TIMEOUT)
		element.expires = request->now + (rest ? rest : set->timeout);
	read_counter(walk, &element);
	*ret_element = element;
	return 0;
}

static void drop_expired(struct nf_set *set, int64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		if (!expired(&set->elements[i], now))
			set->elements[kept++] = set->elements[i];
	}
	set->count = kept;
}

static int add_to_set(const struct request *request, const struct nf_table *table,
	struct nf_set *set, const struct nf_element *element)
{
	const char *chain = verdict_chain(element);

	/* One that is there stays as it is, its comment and counter too. */
	if (nf_find_element(set, element->key, element->interval_end, request->now))
		return has_flag(request, NLM_F_EXCL) ? -EEXIST : 0;
	if (set->size_limit && set->count >= set->size_limit)
		return -ENFILE;
	if (set->flags & NFT_SET_MAP && element->data_size == 0)
		return -EINVAL;
	if (chain && !nf_find_chain(table, chain))
		return -ENOENT;
	*nf_add_element(set, element->key) = *element;
	return 0;
}

/* Of both kinds: what is to be added, and what is to be deleted. */
static int change_elements(const struct request *request, bool adding)
{
	const char *name = name_of(request, NFTA_SET_ELEM_LIST_SET);
	const struct nlattr *list = attr_find(attributes(request), NFTA_SET_ELEM_LIST_ELEMENTS);
	const struct nlattr *attr;
	struct attr_walk walk;
	struct nf_table *table;
	struct nf_set *set;
	int result = find_table(request, &table);

	if (result < 0)
		return result;
	set = name ? nf_find_set(table, name) : NULL;
	if (!set)
		return -ENOENT;
	if (!list)
		return -EINVAL; /* sipfence never flushes a set */
	drop_expired(set, request->now);
	walk = attr_walk_nested(list);
	while (result == 0 && (attr = attr_walk_step(&walk))) {
		struct nf_element element;

		result = read_element(request, set, attr, &element);
		if (result == 0 && adding)
			result = add_to_set(request, table, set, &element);
		else if (result == 0 && !nf_delete_element(set, element.key, element.interval_end))
			result = -ENOENT;
	}
	return result;
}

static int new_elements(const struct request *request)
{
	return change_elements(request, true);
}

static int delete_elements(const struct request *request)
{
	return change_elements(request, false);
}

static int apply_message(const struct request *request)
{
	static const struct {
		uint16_t command;
		int (*apply)(const struct request *request);
	} kinds[] = {
		{NFT_MSG_NEWTABLE, new_table},
		{NFT_MSG_DELTABLE, delete_table},
		{NFT_MSG_NEWCHAIN, new_chain},
		{NFT_MSG_DELCHAIN, delete_chain},
		{NFT_MSG_NEWSET, new_set},
		{NFT_MSG_DELSET, delete_set},
		{NFT_MSG_NEWRULE, new_rule},
		{NFT_MSG_DELRULE, delete_rules},
		{NFT_MSG_NEWSETELEM, new_elements},
		{NFT_MSG_DELSETELEM, delete_elements},
	};
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(request->message);

	if (mnl_nlmsg_get_payload_len(request->message) < sizeof(*header) ||
		header->nfgen_family != NFPROTO_INET || !has_flag(request, NLM_F_ACK))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (request->message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | kinds[i].command))
			return kinds[i].apply(request);
	}
	return -EOPNOTSUPP;
}

static int check_intervals(const struct nf_ruleset *ruleset)
{
	for (size_t i = 0; i < ruleset->table_count; i++) {
		for (size_t j = 0; j < ruleset->tables[i].set_count; j++) {
			if (overlaps(&ruleset->tables[i].sets[j]))
				return -EEXIST;
		}
	}
	return 0;
}

static bool is_stale(const struct nf_ruleset *ruleset, const struct nlmsghdr *begin)
{
	uint32_t generation =
		attr_find_be32(attr_walk_message(begin, sizeof(struct nfgenmsg)), NFNL_BATCH_GENID);

	return generation && generation != ruleset->generation;
}

int nf_apply(struct nf_ruleset *ruleset, const void *batch, size_t length, uint32_t port,
	int64_t now, uint32_t *ret_sequence)
{
	const struct nlmsghdr *message = batch;
	int left = (int)length, result = 0;
	struct nf_ruleset next;
	bool ended = false;

	*ret_sequence = 0;
	if (!mnl_nlmsg_ok(message, left) || message->nlmsg_type != NFNL_MSG_BATCH_BEGIN)
		return -EINVAL;
	if (is_stale(ruleset, message))
		return -ERESTART;
	next = copy_ruleset(ruleset);
	message = mnl_nlmsg_next(message, &left);
	for (; result == 0 && !ended && mnl_nlmsg_ok(message, left);
		message = mnl_nlmsg_next(message, &left)) {
		struct request request = {
			.ruleset = &next, .message = message, .port = port, .now = now};

		ended = message->nlmsg_type == NFNL_MSG_BATCH_END;
		if (ended)
			continue;
		*ret_sequence = message->nlmsg_seq;
		result = apply_message(&request);
	}
	if (result == 0 && !ended)
		result = -EINVAL; /* the kernel would take none of it, without a word */
	if (result == 0)
		result = check_intervals(&next);
	if (result < 0) {
		nf_clear(&next);
		return result;
	}
	nf_clear(ruleset);
	*ruleset = next;
	ruleset->generation++;
	return 0;
}

static struct nlmsghdr *put_header(void *buffer, uint16_t command)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | command);
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = NFPROTO_INET;
	return message;
}

static int dump_table(const struct nf_table *table, nf_give_fn *give, void *context)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[512] = {0};
	struct nlmsghdr *message = put_header(buffer, NFT_MSG_NEWTABLE);

	mnl_attr_put_strz(message, NFTA_TABLE_NAME, table->name);
	mnl_attr_put_u32(message, NFTA_TABLE_FLAGS, htonl(table->flags));
	mnl_attr_put_u32(message, NFTA_TABLE_USE, htonl((uint32_t)table->chain_count));
	if (table->flags & NFT_TABLE_F_OWNER)
		mnl_attr_put_u32(message, NFTA_TABLE_OWNER, htonl(table->owner));
	return give(context, message);
}

static void put_key(struct nlmsghdr *message, uint16_t type, const uint8_t *key, size_t size)
{
	struct nlattr *nest = mnl_attr_nest_start(message, type);

	mnl_attr_put(message, NFTA_DATA_VALUE, size, key);
	mnl_attr_nest_end(message, nest);
}

static void put_counter(struct nlmsghdr *message, const struct nf_element *element)
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

static void put_element(struct nlmsghdr *message, const struct nf_set *set,
	const struct nf_element *element, int64_t now)
{
	struct nlattr *nest = mnl_attr_nest_start(message, NFTA_LIST_ELEM);

	put_key(message, NFTA_SET_ELEM_KEY, element->key, set->key_size);
	if (element->has_key_end)
		put_key(message, NFTA_SET_ELEM_KEY_END, element->key_end, set->key_size);
	if (element->data_size)
		mnl_attr_put(message, NLA_F_NESTED | NFTA_SET_ELEM_DATA, element->data_size,
			element->data);
	if (element->interval_end)
		mnl_attr_put_u32(message, NFTA_SET_ELEM_FLAGS, htonl(NFT_SET_ELEM_INTERVAL_END));
	if (element->expires) {
		mnl_attr_put_u64(message, NFTA_SET_ELEM_TIMEOUT, htobe64((uint64_t)set->timeout));
		mnl_attr_put_u64(message, NFTA_SET_ELEM_EXPIRATION,
			htobe64((uint64_t)(element->expires - now)));
	}
	if (element->counted && !element->interval_end)
		put_counter(message, element);
	if (element->userdata_size)
		mnl_attr_put(
			message, NFTA_SET_ELEM_USERDATA, element->userdata_size, element->userdata);
	mnl_attr_nest_end(message, nest);
}

static int dump_elements(const struct nf_table *table, const struct nf_set *set, int64_t now,
	nf_give_fn *give, void *context)
{
	enum { ROOM = 4096, ELEMENT_MOST = 1024 };
	_Alignas(struct nlmsghdr) uint8_t buffer[ROOM];
	size_t i = 0;
	int result = 0;

	do {
		struct nlmsghdr *message;
		struct nlattr *list;

		memset(buffer, 0, sizeof(buffer));
		message = put_header(buffer, NFT_MSG_NEWSETELEM);
		mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_TABLE, table->name);
		mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, set->name);
		list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
		for (; i < set->count && message->nlmsg_len < ROOM - ELEMENT_MOST; i++) {
			if (!expired(&set->elements[i], now))
				put_element(message, set, &set->elements[i], now);
		}
		mnl_attr_nest_end(message, list);
		result = give(context, message);
	} while (result >= 0 && i < set->count);
	return result;
}

int nf_dump(
	const struct nf_table *table, const char *set, int64_t now, nf_give_fn *give, void *context)
{
	int result = 0;

	if (set) {
		const struct nf_set *found = nf_find_set(table, set);

		return found ? dump_elements(table, found, now, give, context) : -ENOENT;
	}
	result = dump_table(table, give, context);
	for (size_t i = 0; result >= 0 && i < table->set_count; i++)
		result = give(context, table->sets[i].message);
	for (size_t i = 0; result >= 0 && i < table->chain_count; i++)
		result = give(context, table->chains[i].message);
	for (size_t i = 0; i < table->chain_count; i++) {
		for (size_t j = 0; result >= 0 && j < table->rule_count; j++) {
			if (strcmp(table->rules[j].chain, table->chains[i].name) == 0)
				result = give(context, table->rules[j].message);
		}
	}
	return result;
}

static struct addr addr_of(const struct nf_set *set, const struct nf_element *element)
{
	struct addr addr = {.family = set->key_size == 4 ? FAMILY_IPV4 : FAMILY_IPV6};

	memcpy(addr.bytes, element->key, set->key_size);
	return addr;
}

/* The point of an interval set that comes next behind `element`. */
static const struct nf_element *point_behind(
	const struct nf_set *set, const struct nf_element *element)
{
	const struct nf_element *next = NULL;

	for (size_t i = 0; i < set->count; i++) {
		const struct nf_element *other = &set->elements[i];

		if (memcmp(other->key, element->key, set->key_size) <= 0)
			continue;
		if (!next || memcmp(other->key, next->key, set->key_size) < 0)
			next = other;
	}
	return next;
}

static struct prefix interval_of(const struct nf_set *set, const struct nf_element *first)
{
	const struct nf_element *end = point_behind(set, first);
	struct addr addr = addr_of(set, first), behind = end ? addr_of(set, end) : addr;
	unsigned bits = addr_bits((enum family)addr.family);

	for (unsigned length = 0; length <= bits; length++) {
		struct prefix prefix = prefix_of(&addr, length);
		struct addr last = prefix_last(&prefix), next;

		if (!addr_equal(&prefix.addr, &addr))
			continue;
		if (addr_next(&last, &next) ? end && addr_equal(&next, &behind) : !end)
			return prefix;
	}
	return (struct prefix){.addr = addr, .length = UINT8_MAX};
}

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

size_t nf_list(const struct nf_set *set, int64_t now, struct prefix **ret_list)
{
	struct prefix *list = need(calloc(set->count + 1, sizeof(*list)));
	size_t count = 0;

	for (size_t i = 0; i < set->count; i++) {
		const struct nf_element *element = &set->elements[i];
		struct addr addr = addr_of(set, element);

		if (element->interval_end || expired(element, now))
			continue;
		list[count++] = set->flags & NFT_SET_INTERVAL
					? interval_of(set, element)
					: prefix_of(&addr, addr_bits((enum family)addr.family));
	}
	qsort(list, count, sizeof(*list), compare_prefixes);
	*ret_list = list;
	return count;
}

/* A packet's way through the chains. */
struct way {
	struct nf_ruleset *ruleset;
	struct nf_table *table;
	const struct nf_packet *packet;
	int64_t now;
	uint8_t registers[80]; /* 16 for the verdict, then 64 */
	bool matches;	       /* the rule goes on */
	bool decided, accepted;
	const char *target; /* where a goto leads */
};

static uint8_t *register_at(struct way *way, uint32_t number)
{
	return number >= NFT_REG32_00 ? way->registers + 16 + 4 * (number - NFT_REG32_00)
				      : way->registers + 16 * number;
}

static void store_meta(struct way *way, struct nftnl_expr *expr)
{
	uint8_t *to = register_at(way, nftnl_expr_get_u32(expr, NFTNL_EXPR_META_DREG));
	uint32_t outside = 2; /* an interface that is not lo */

	memset(to, 0, 4);
	switch (nftnl_expr_get_u32(expr, NFTNL_EXPR_META_KEY)) {
	case NFT_META_NFPROTO:
		*to = way->packet->source.family == FAMILY_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
		break;
	case NFT_META_L4PROTO:
		*to = way->packet->protocol;
		break;
	case NFT_META_IIF:
		memcpy(to, &outside, sizeof(outside));
		break;
	default:
		abort();
	}
}

static void store_payload(struct way *way, struct nftnl_expr *expr)
{
	uint8_t *to = register_at(way, nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_DREG));
	uint32_t size = nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_LEN);

	memset(to, 0, size < 4 ? 4 : size);
	if (nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_BASE) == NFT_PAYLOAD_TRANSPORT_HEADER) {
		to[0] = (uint8_t)(way->packet->port >> 8);
		to[1] = (uint8_t)(way->packet->port & 0xff);
		return;
	}
	memcpy(to, way->packet->source.bytes, size);
}

static void compare(struct way *way, struct nftnl_expr *expr)
{
	uint32_t size;
	const void *data = nftnl_expr_get(expr, NFTNL_EXPR_CMP_DATA, &size);
	bool equal = memcmp(register_at(way, nftnl_expr_get_u32(expr, NFTNL_EXPR_CMP_SREG)), data,
			     size) == 0;

	way->matches = nftnl_expr_get_u32(expr, NFTNL_EXPR_CMP_OP) == NFT_CMP_EQ ? equal : !equal;
}

static void look_up(struct way *way, struct nftnl_expr *expr)
{
	struct nf_set *set =
		nf_find_set(way->table, nftnl_expr_get_str(expr, NFTNL_EXPR_LOOKUP_SET));
	uint8_t *key = register_at(way, nftnl_expr_get_u32(expr, NFTNL_EXPR_LOOKUP_SREG));
	struct nf_element *element = set ? nf_lookup(set, key, way->now) : NULL;
	bool inverted = nftnl_expr_is_set(expr, NFTNL_EXPR_LOOKUP_FLAGS) &&
			nftnl_expr_get_u32(expr, NFTNL_EXPR_LOOKUP_FLAGS) & NFT_LOOKUP_F_INV;

	if (element && element->counted) {
		element->packets++;
		element->bytes += 500;
	}
	way->matches = inverted ? !element : element != NULL;
	if (element && nftnl_expr_is_set(expr, NFTNL_EXPR_LOOKUP_DREG) &&
		nftnl_expr_get_u32(expr, NFTNL_EXPR_LOOKUP_DREG) == NFT_REG_VERDICT)
		way->target = verdict_chain(element);
}

static void update_set(struct way *way, struct nftnl_expr *expr)
{
	struct nf_set *set =
		nf_find_set(way->table, nftnl_expr_get_str(expr, NFTNL_EXPR_DYNSET_SET_NAME));
	uint8_t *key = register_at(way, nftnl_expr_get_u32(expr, NFTNL_EXPR_DYNSET_SREG_KEY));
	struct nf_element *element;

	drop_expired(set, way->now);
	element = nf_find_element(set, key, false, way->now);
	if (!element && set->size_limit && set->count >= set->size_limit) {
		way->matches = false;
		return;
	}
	if (!element)
		element = nf_add_element(set, key);
	element->expires = way->now + set->timeout;
	element->packets++;
}

static void decide(struct way *way, struct nftnl_expr *expr)
{
	int verdict = (int)nftnl_expr_get_u32(expr, NFTNL_EXPR_IMM_VERDICT);

	if (nftnl_expr_is_set(expr, NFTNL_EXPR_IMM_CHAIN)) {
		way->target = nftnl_expr_get_str(expr, NFTNL_EXPR_IMM_CHAIN);
		return;
	}
	way->decided = true;
	way->accepted = verdict == NF_ACCEPT;
}

static int run_expression(struct nftnl_expr *expr, void *context)
{
	const char *kind = nftnl_expr_get_str(expr, NFTNL_EXPR_NAME);
	struct way *way = context;

	if (!way->matches || way->decided || way->target)
		return 0;
	if (strcmp(kind, "meta") == 0) {
		store_meta(way, expr);
	} else if (strcmp(kind, "payload") == 0) {
		store_payload(way, expr);
	} else if (strcmp(kind, "cmp") == 0) {
		compare(way, expr);
	} else if (strcmp(kind, "lookup") == 0) {
		look_up(way, expr);
	} else if (strcmp(kind, "dynset") == 0) {
		update_set(way, expr);
	} else if (strcmp(kind, "immediate") == 0) {
		decide(way, expr);
	} else if (strcmp(kind, "fib") == 0) {
		/* To this machine: of type local, which is not the unicast of a forwarded one. */
		memset(register_at(way, nftnl_expr_get_u32(expr, NFTNL_EXPR_FIB_DREG)), 0, 4);
	} else if (strcmp(kind, "ct") == 0) {
		uint8_t *to = register_at(way, nftnl_expr_get_u32(expr, NFTNL_EXPR_CT_DREG));

		memset(to, 0, 4);
		*to = way->packet->reply;
	} else if (strcmp(kind, "limit") == 0) {
		/* Nobody floods here: no limit is ever spent. */
		way->matches =
			!(nftnl_expr_get_u32(expr, NFTNL_EXPR_LIMIT_FLAGS) & NFT_LIMIT_F_INV);
	} else if (strcmp(kind, "counter") != 0 && strcmp(kind, "log") != 0) {
		abort();
	}
	return 0;
}

/* True when the packet's fate is decided; else the chain's end was reached. */
static bool run_chain(struct way *way, const char *chain, unsigned depth)
{
	for (size_t i = 0; i < way->table->rule_count; i++) {
		struct nftnl_rule *rule;
		char target[NF_NAME_SIZE] = "";

		if (strcmp(way->table->rules[i].chain, chain) != 0)
			continue;
		rule = need(nftnl_rule_alloc());
		nftnl_rule_nlmsg_parse(way->table->rules[i].message, rule);
		way->matches = true;
		way->target = NULL;
		nftnl_expr_foreach(rule, run_expression, way);
		if (way->target)
			snprintf(target, sizeof(target), "%s", way->target);
		nftnl_rule_free(rule);
		way->target = NULL;
		if (way->decided)
			return true;
		if (target[0] && depth < 8) /* a goto: what stands behind it is not reached */
			return run_chain(way, target, depth + 1);
	}
	return false;
}

bool nf_accepts(struct nf_ruleset *ruleset, const struct nf_packet *packet, int64_t now)
{
	for (size_t i = 0; i < ruleset->table_count; i++) {
		struct nf_table *table = &ruleset->tables[i];

		for (size_t j = 0; j < table->chain_count; j++) {
			struct way way = {
				.ruleset = ruleset, .table = table, .packet = packet, .now = now};

			if (!table->chains[j].base || table->flags & NFT_TABLE_F_DORMANT)
				continue;
			if (run_chain(&way, table->chains[j].name, 0) && !way.accepted)
				return false;
		}
	}
	return true;
}
