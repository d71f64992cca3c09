/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft_rule.h"

#include <arpa/inet.h>
#include <libnftnl/expr.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of nft's own data types and byte orders (nft's datatype.h): they make its listing show
 * the types by name. */
enum {
	NFT_TYPE_IPADDR = 7,
	NFT_TYPE_IP6ADDR = 8,
	NFT_TYPE_INET_PROTOCOL = 12,
	NFT_TYPE_INET_SERVICE = 13,
	NFT_TYPE_BITS = 6,
	NFT_BYTEORDER_INVALID = 0,
	NFT_BYTEORDER_BIG_ENDIAN = 2,
	LOOPBACK_INDEX = 1, /* include/net/net_namespace.h: LOOPBACK_IFINDEX */
	FIRST_REGISTER = NFT_REG_1,
	SECOND_SUBREGISTER = NFT_REG32_01,
};

/* An expression that is part of `rule` already; NULL when out of memory. */
static struct nftnl_expr *append(struct nftnl_rule *rule, const char *name)
{
	struct nftnl_expr *expr = nftnl_expr_alloc(name);

	if (expr)
		nftnl_rule_add_expr(rule, expr);
	return expr;
}

static bool add_meta(struct nftnl_rule *rule, uint32_t key)
{
	struct nftnl_expr *expr = append(rule, "meta");

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_META_DREG, FIRST_REGISTER);
	return true;
}

static bool add_compare_op(
	struct nftnl_rule *rule, uint32_t operation, const void *value, uint32_t size)
{
	struct nftnl_expr *expr = append(rule, "cmp");

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_CMP_SREG, FIRST_REGISTER);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_CMP_OP, operation);
	return nftnl_expr_set(expr, NFTNL_EXPR_CMP_DATA, value, size) == 0;
}

static bool add_compare(struct nftnl_rule *rule, const void *value, uint32_t size)
{
	return add_compare_op(rule, NFT_CMP_EQ, value, size);
}

static bool add_payload(struct nftnl_rule *rule, uint32_t base, uint32_t offset, uint32_t size,
	uint32_t destination)
{
	struct nftnl_expr *expr = append(rule, "payload");

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_DREG, destination);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_PAYLOAD_LEN, size);
	return true;
}

/* Offsets of the source address in both headers; the destination follows it. */
static bool add_address(struct nftnl_rule *rule, enum family family, bool destination)
{
	uint32_t size = (uint32_t)addr_size(family);
	uint32_t source = family == FAMILY_IPV4 ? 12 : 8;

	return add_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, destination ? source + size : source,
		size, FIRST_REGISTER);
}

static bool add_family_match(struct nftnl_rule *rule, enum family family)
{
	uint8_t number = family == FAMILY_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6;

	return add_meta(rule, NFT_META_NFPROTO) && add_compare(rule, &number, sizeof(number));
}

static bool add_lookup(
	struct nftnl_rule *rule, const struct set *set, bool inverted, bool verdict_map)
{
	struct nftnl_expr *expr = append(rule, "lookup");

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_SREG, FIRST_REGISTER);
	if (verdict_map)
		nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
	if (inverted)
		nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
	return nftnl_expr_set_str(expr, NFTNL_EXPR_LOOKUP_SET, set->name) == 0;
}

static bool add_update(struct nftnl_rule *rule, const struct set *set)
{
	struct nftnl_expr *expr = append(rule, "dynset");

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_DYNSET_SREG_KEY, FIRST_REGISTER);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	return nftnl_expr_set_str(expr, NFTNL_EXPR_DYNSET_SET_NAME, set->name) == 0;
}

static bool add_verdict(struct nftnl_rule *rule, uint32_t verdict, const char *chain)
{
	struct nftnl_expr *expr = append(rule, "immediate");

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_IMM_VERDICT, verdict);
	return !chain || nftnl_expr_set_str(expr, NFTNL_EXPR_IMM_CHAIN, chain) == 0;
}

static bool add_fib(struct nftnl_rule *rule, uint32_t result)
{
	struct nftnl_expr *expr = append(rule, "fib");

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_FIB_DREG, FIRST_REGISTER);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_FIB_RESULT, result);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
	return true;
}

static bool add_forwarded(struct nftnl_rule *rule)
{
	uint32_t unicast = RTN_UNICAST, nowhere = 0;

	return add_fib(rule, NFT_FIB_RESULT_ADDRTYPE) &&
	       add_compare(rule, &unicast, sizeof(unicast)) && add_fib(rule, NFT_FIB_RESULT_OIF) &&
	       add_compare_op(rule, NFT_CMP_NEQ, &nowhere, sizeof(nowhere));
}

static bool add_loopback(struct nftnl_rule *rule)
{
	uint32_t index = LOOPBACK_INDEX;

	return add_meta(rule, NFT_META_IIF) && add_compare(rule, &index, sizeof(index));
}

static bool add_reply(struct nftnl_rule *rule)
{
	struct nftnl_expr *expr = append(rule, "ct");
	uint8_t reply = IP_CT_DIR_REPLY;

	if (!expr)
		return false;
	nftnl_expr_set_u32(expr, NFTNL_EXPR_CT_KEY, NFT_CT_DIRECTION);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_CT_DREG, FIRST_REGISTER);
	return add_compare(rule, &reply, sizeof(reply));
}

static bool add_limit(struct nftnl_rule *rule, const struct expression *limit)
{
	struct nftnl_expr *expr = append(rule, "limit");

	if (!expr)
		return false;
	nftnl_expr_set_u64(expr, NFTNL_EXPR_LIMIT_RATE, limit->rate);
	nftnl_expr_set_u64(expr, NFTNL_EXPR_LIMIT_UNIT, limit->per);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_LIMIT_BURST, limit->burst);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
	nftnl_expr_set_u32(expr, NFTNL_EXPR_LIMIT_FLAGS,
		limit->kind == EXPRESSION_OVER_LIMIT ? NFT_LIMIT_F_INV : 0);
	return true;
}

static bool add_log(struct nftnl_rule *rule, const char *prefix)
{
	struct nftnl_expr *expr = append(rule, "log");

	return expr && nftnl_expr_set_str(expr, NFTNL_EXPR_LOG_PREFIX, prefix) == 0;
}

static bool add_counter(struct nftnl_rule *rule, uint64_t packets, uint64_t bytes)
{
	struct nftnl_expr *expr = append(rule, "counter");

	if (!expr)
		return false;
	nftnl_expr_set_u64(expr, NFTNL_EXPR_CTR_PACKETS, packets);
	nftnl_expr_set_u64(expr, NFTNL_EXPR_CTR_BYTES, bytes);
	return true;
}

static bool add_ports(struct nftnl_rule *rule, const struct set *set)
{
	return add_meta(rule, NFT_META_L4PROTO) &&
	       add_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, SECOND_SUBREGISTER) &&
	       add_lookup(rule, set, false, true);
}

static bool add_addr_match(struct nftnl_rule *rule, const struct set *set, bool destination)
{
	enum family family = (enum family)set->family;

	return add_family_match(rule, family) && add_address(rule, family, destination) &&
	       add_lookup(rule, set, destination, false);
}

/* A rule that has matched the source already has matched its family, too. */
static bool add_source_update(struct nftnl_rule *rule, const struct set *set, bool family_known)
{
	enum family family = (enum family)set->family;

	return (family_known || add_family_match(rule, family)) &&
	       add_address(rule, family, false) && add_update(rule, set);
}

static bool add_expression(struct nftnl_rule *rule, const struct ruleset *ruleset,
	const struct expression *expression, bool first)
{
	switch (expression->kind) {
	case EXPRESSION_LOOPBACK:
		return add_loopback(rule);
	case EXPRESSION_FORWARDED:
		return add_forwarded(rule);
	case EXPRESSION_DADDR_NOT_IN:
		return add_addr_match(rule, &ruleset->sets[expression->set], true);
	case EXPRESSION_SADDR_IN:
		return add_addr_match(rule, &ruleset->sets[expression->set], false);
	case EXPRESSION_REPLY:
		return add_reply(rule);
	case EXPRESSION_LIMIT:
	case EXPRESSION_OVER_LIMIT:
		return add_limit(rule, expression);
	case EXPRESSION_PORTS:
		return add_ports(rule, &ruleset->sets[expression->set]);
	case EXPRESSION_COUNTER:
		return add_counter(rule, expression->packets, expression->bytes);
	case EXPRESSION_LOG:
		return add_log(rule, expression->prefix);
	case EXPRESSION_UPDATE_SADDR:
		return add_source_update(rule, &ruleset->sets[expression->set], !first);
	case EXPRESSION_ACCEPT:
		return add_verdict(rule, NF_ACCEPT, NULL);
	case EXPRESSION_DROP:
		return add_verdict(rule, NF_DROP, NULL);
	case EXPRESSION_GOTO:
		return add_verdict(
			rule, (uint32_t)NFT_GOTO, ruleset->chains[expression->chain].name);
	}
	return false;
}

struct nftnl_rule *nft_rule_make(
	const struct ruleset *ruleset, const struct chain *chain, const struct rule *rule)
{
	struct nftnl_rule *made = nftnl_rule_alloc();

	if (!made)
		return NULL;
	nftnl_rule_set_u32(made, NFTNL_RULE_FAMILY, NFPROTO_INET);
	if (nftnl_rule_set_str(made, NFTNL_RULE_TABLE, ruleset->table) < 0 ||
		nftnl_rule_set_str(made, NFTNL_RULE_CHAIN, chain->name) < 0)
		goto failed;
	for (size_t i = 0; i < rule->count; i++) {
		if (!add_expression(made, ruleset, &rule->expressions[i], i == 0))
			goto failed;
	}
	return made;
failed:
	nftnl_rule_free(made);
	return NULL;
}

struct nftnl_chain *nft_rule_chain(const struct ruleset *ruleset, const struct chain *chain)
{
	struct nftnl_chain *made = nftnl_chain_alloc();

	if (!made)
		return NULL;
	nftnl_chain_set_u32(made, NFTNL_CHAIN_FAMILY, NFPROTO_INET);
	if (nftnl_chain_set_str(made, NFTNL_CHAIN_TABLE, ruleset->table) < 0 ||
		nftnl_chain_set_str(made, NFTNL_CHAIN_NAME, chain->name) < 0)
		goto failed;
	if (!chain->base)
		return made;
	if (nftnl_chain_set_str(made, NFTNL_CHAIN_TYPE, "filter") < 0)
		goto failed;
	nftnl_chain_set_u32(made, NFTNL_CHAIN_HOOKNUM, NF_INET_PRE_ROUTING);
	nftnl_chain_set_s32(made, NFTNL_CHAIN_PRIO, chain->priority);
	nftnl_chain_set_u32(made, NFTNL_CHAIN_POLICY, NF_ACCEPT);
	return made;
failed:
	nftnl_chain_free(made);
	return NULL;
}

/* What nft notes beside a set, so that it lists keys in the right byte order. */
static bool set_userdata(struct nftnl_set *set, uint32_t byteorder)
{
	struct nftnl_udata_buf *buffer = nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN);
	bool done;

	if (!buffer)
		return false;
	done = nftnl_udata_put_u32(buffer, NFTNL_UDATA_SET_KEYBYTEORDER, byteorder) &&
	       nftnl_set_set_data(set, NFTNL_SET_USERDATA, nftnl_udata_buf_data(buffer),
		       nftnl_udata_buf_len(buffer)) == 0;
	nftnl_udata_buf_free(buffer);
	return done;
}

static bool set_ports_type(struct nftnl_set *made, const struct set *set)
{
	static const uint8_t field_sizes[] = {1, 2};
	uint32_t flags = NFT_SET_MAP;

	if (set->intervals)
		flags |= NFT_SET_INTERVAL | NFT_SET_CONCAT;
	nftnl_set_set_u32(made, NFTNL_SET_FLAGS, flags);
	nftnl_set_set_u32(made, NFTNL_SET_KEY_TYPE,
		NFT_TYPE_INET_PROTOCOL << NFT_TYPE_BITS | NFT_TYPE_INET_SERVICE);
	nftnl_set_set_u32(made, NFTNL_SET_KEY_LEN, 8);
	nftnl_set_set_u32(made, NFTNL_SET_DATA_TYPE, NFT_DATA_VERDICT);
	nftnl_set_set_u32(made, NFTNL_SET_DATA_LEN, 0);
	if (set->intervals && nftnl_set_set_data(made, NFTNL_SET_DESC_CONCAT, field_sizes,
				      sizeof(field_sizes)) < 0)
		return false;
	return set_userdata(made, NFT_BYTEORDER_INVALID);
}

static bool set_addr_type(struct nftnl_set *made, const struct set *set)
{
	bool four = set->family == FAMILY_IPV4;
	uint32_t flags = 0;

	nftnl_set_set_u32(made, NFTNL_SET_KEY_TYPE, four ? NFT_TYPE_IPADDR : NFT_TYPE_IP6ADDR);
	nftnl_set_set_u32(made, NFTNL_SET_KEY_LEN, (uint32_t)addr_size((enum family)set->family));
	if (set_has_prefixes(set))
		flags |= NFT_SET_INTERVAL;
	if (set->kind == SET_REJECTED || set->kind == SET_REVOKED) {
		flags |= NFT_SET_TIMEOUT | NFT_SET_EVAL;
		nftnl_set_set_u64(made, NFTNL_SET_TIMEOUT,
			set->kind == SET_REJECTED ? REJECTED_TIMEOUT_MS : REVOKED_TIMEOUT_MS);
	}
	nftnl_set_set_u32(made, NFTNL_SET_FLAGS, flags);
	if (set->kind != SET_DESTINATIONS) {
		struct nftnl_expr *counter = nftnl_expr_alloc("counter");

		if (!counter)
			return false;
		nftnl_set_add_expr(made, counter);
	}
	return set_userdata(made, NFT_BYTEORDER_BIG_ENDIAN);
}

struct nftnl_set *nft_rule_set(const struct ruleset *ruleset, const struct set *set, uint32_t id)
{
	struct nftnl_set *made = nftnl_set_alloc();

	if (!made)
		return NULL;
	nftnl_set_set_u32(made, NFTNL_SET_FAMILY, NFPROTO_INET);
	nftnl_set_set_u32(made, NFTNL_SET_ID, id);
	if (nftnl_set_set_str(made, NFTNL_SET_TABLE, ruleset->table) < 0 ||
		nftnl_set_set_str(made, NFTNL_SET_NAME, set->name) < 0)
		goto failed;
	if (set->kind == SET_PORTS ? !set_ports_type(made, set) : !set_addr_type(made, set))
		goto failed;
	if (set->room)
		nftnl_set_set_u32(made, NFTNL_SET_DESC_SIZE, set->room);
	return made;
failed:
	nftnl_set_free(made);
	return NULL;
}

static int count_expr(struct nftnl_expr *expr, void *data)
{
	struct text *text = data;

	text_printf(text, " with %s", nftnl_expr_get_str(expr, NFTNL_EXPR_NAME));
	return 0;
}

uint32_t nft_rule_room(const struct nftnl_set *set)
{
	return nftnl_set_is_set(set, NFTNL_SET_DESC_SIZE)
		       ? nftnl_set_get_u32(set, NFTNL_SET_DESC_SIZE)
		       : 0;
}

void nft_shape_set(struct nftnl_set *set, enum set_kind kind, struct text *text)
{
	text_printf(text, "set %s key %u:%u data %u flags %u timeout %llu size %u",
		nftnl_set_get_str(set, NFTNL_SET_NAME), nftnl_set_get_u32(set, NFTNL_SET_KEY_TYPE),
		nftnl_set_get_u32(set, NFTNL_SET_KEY_LEN),
		nftnl_set_is_set(set, NFTNL_SET_DATA_TYPE)
			? nftnl_set_get_u32(set, NFTNL_SET_DATA_TYPE)
			: 0,
		nftnl_set_get_u32(set, NFTNL_SET_FLAGS),
		(unsigned long long)(nftnl_set_is_set(set, NFTNL_SET_TIMEOUT)
					     ? nftnl_set_get_u64(set, NFTNL_SET_TIMEOUT)
					     : 0),
		kind == SET_HOSTS ? 0 : nft_rule_room(set));
	nftnl_set_expr_foreach(set, count_expr, text);
	text_puts(text, "\n");
}

void nft_shape_chain(const struct nftnl_chain *chain, struct text *text)
{
	const char *type = nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE);

	text_printf(text, "chain %s", nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME));
	if (nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM))
		text_printf(text, " type %s hook %u priority %d policy %u", type ? type : "none",
			nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM),
			nftnl_chain_get_s32(chain, NFTNL_CHAIN_PRIO),
			nftnl_chain_get_u32(chain, NFTNL_CHAIN_POLICY));
	text_puts(text, "\n");
}

/* The kernel fills in defaults, some of them only since some version: both sides get them. */
static void fill_defaults(struct nftnl_expr *expr, const char *name)
{
	enum { LOG_LEVEL_WARNING = 4 };

	if (strcmp(name, "lookup") == 0 && !nftnl_expr_is_set(expr, NFTNL_EXPR_LOOKUP_FLAGS))
		nftnl_expr_set_u32(expr, NFTNL_EXPR_LOOKUP_FLAGS, 0);
	if (strcmp(name, "log") == 0 && !nftnl_expr_is_set(expr, NFTNL_EXPR_LOG_LEVEL))
		nftnl_expr_set_u32(expr, NFTNL_EXPR_LOG_LEVEL, LOG_LEVEL_WARNING);
	if (strcmp(name, "dynset") == 0 && !nftnl_expr_is_set(expr, NFTNL_EXPR_DYNSET_TIMEOUT))
		nftnl_expr_set_u64(expr, NFTNL_EXPR_DYNSET_TIMEOUT, 0);
}

static int print_expr(struct nftnl_expr *expr, void *data)
{
	const char *name = nftnl_expr_get_str(expr, NFTNL_EXPR_NAME);
	struct text *text = data;
	char line[512];

	if (strcmp(name, "counter") == 0) {
		text_puts(text, " [counter]");
		return 0;
	}
	fill_defaults(expr, name);
	if (nftnl_expr_snprintf(line, sizeof(line), expr, NFTNL_OUTPUT_DEFAULT, 0) < 0) {
		text->failed = true;
		return -1;
	}
	text_printf(text, " [%s %s]", name, line);
	return 0;
}

void nft_shape_rule(struct nftnl_rule *rule, struct text *text)
{
	text_printf(text, "rule %s", nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN));
	nftnl_expr_foreach(rule, print_expr, text);
	text_puts(text, "\n");
}
