/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft_survey_table.h"

#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/rtnetlink.h>
#include <string.h>

enum {
	JUMPS_MAX = 16,	    /* as in the kernel */
	WALKS_MAX = 200000, /* rules looked at for one judgement; then all may be */
	SLOTS = 16,	    /* registers of 4 bytes */
	KEY_MAX = SLOTS * 4,
	STATE_ESTABLISHED = 2, /* NF_CT_STATE_BIT(IP_CT_ESTABLISHED) */
	STATE_NEW = 8,
};

/* --- One rule and one packet --- */

/* Registers, as far as what is in them is known. */
struct registers {
	uint8_t bytes[KEY_MAX];
	bool known[KEY_MAX];
	bool interface[SLOTS]; /* it holds the name or the number of the interface */
};

enum match { MATCH_NO, MATCH_MAYBE, MATCH_YES };

struct walker {
	const struct nft_survey *survey;
	const struct nft_probe *probe;
	uint32_t family;
	const char *table;
	bool to_us; /* not forwarded */
	size_t walked;
	const char *drop_chain; /* of the first rule that drops for sure; else that may */
	uint64_t drop_handle;
	bool drop_sure;
};

/* What a rule does with a packet that it matches. */
struct verdict {
	bool is_set;
	bool unknown; /* it may be anything */
	int code;
	const char *chain;
};

static size_t slot_of(uint32_t number)
{
	if (number >= NFT_REG32_00 && number < NFT_REG32_00 + SLOTS)
		return number - NFT_REG32_00;
	return number >= NFT_REG_1 && number <= NFT_REG_4 ? (number - NFT_REG_1) * 4 : SLOTS;
}

static void forget(struct registers *registers, uint32_t number, size_t size)
{
	size_t slot = slot_of(number);

	for (size_t i = 0; i < (size + 3) / 4 && slot + i < SLOTS; i++) {
		memset(&registers->known[(slot + i) * 4], false, 4);
		registers->interface[slot + i] = false;
	}
}

/* Of `data` only the bytes that `known` says; NULL: all of them. The kernel fills up with zeros. */
static void store_part(struct registers *registers, uint32_t number, const uint8_t *data,
	const bool *known, size_t size)
{
	size_t first = slot_of(number) * 4;

	if (first + size > KEY_MAX)
		return;
	forget(registers, number, size);
	for (size_t i = 0; i < (size + 3) / 4 * 4; i++) {
		registers->bytes[first + i] = i < size ? data[i] : 0;
		registers->known[first + i] = i >= size || !known || known[i];
	}
}

static void store(struct registers *registers, uint32_t number, const void *data, size_t size)
{
	store_part(registers, number, data, NULL, size);
}

/* The bytes, if all of them are known. */
static const uint8_t *fetch(const struct registers *registers, uint32_t number, size_t size)
{
	size_t first = slot_of(number) * 4;

	if (first + size > KEY_MAX)
		return NULL;
	for (size_t i = 0; i < size; i++) {
		if (!registers->known[first + i])
			return NULL;
	}
	return &registers->bytes[first];
}

/* Is one of the bytes known, and another than in `data`? Then the rest need not be. */
static bool differs(
	const struct registers *registers, uint32_t number, const uint8_t *data, size_t size)
{
	size_t first = slot_of(number) * 4;

	for (size_t i = 0; i < size && first + i < KEY_MAX; i++) {
		if (registers->known[first + i] && registers->bytes[first + i] != data[i])
			return true;
	}
	return false;
}

static void load_meta(
	const struct nftnl_expr *expr, const struct nft_probe *probe, struct registers *registers)
{
	uint32_t number = nftnl_expr_get_u32(expr, NFTNL_EXPR_META_DREG);
	uint8_t family = probe->ipv6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	uint8_t ether[2] = {probe->ipv6 ? 0x86 : 0x08, probe->ipv6 ? 0xdd : 0x00};
	size_t slot = slot_of(number);

	if (!nftnl_expr_is_set(expr, NFTNL_EXPR_META_DREG))
		return; /* it sets a mark or the like */
	switch (nftnl_expr_get_u32(expr, NFTNL_EXPR_META_KEY)) {
	case NFT_META_L4PROTO:
		store(registers, number, &probe->protocol, 1);
		return;
	case NFT_META_NFPROTO:
		store(registers, number, &family, 1);
		return;
	case NFT_META_PROTOCOL:
		store(registers, number, ether, 2);
		return;
	case NFT_META_IIF:
	case NFT_META_IIFNAME:
		forget(registers, number, 16);
		if (slot < SLOTS)
			registers->interface[slot] = true;
		return;
	default:
		forget(registers, number, 16);
	}
}

static void load_payload(
	const struct nftnl_expr *expr, const struct nft_probe *probe, struct registers *registers)
{
	uint32_t number = nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_DREG);
	uint32_t base = nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_BASE);
	uint32_t offset = nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_OFFSET);
	uint32_t size = nftnl_expr_get_u32(expr, NFTNL_EXPR_PAYLOAD_LEN);
	uint8_t bytes[KEY_MAX] = {0};
	bool known[KEY_MAX] = {false};

	if (!nftnl_expr_is_set(expr, NFTNL_EXPR_PAYLOAD_DREG))
		return; /* it changes the packet */
	if (size > KEY_MAX) {
		forget(registers, number, KEY_MAX);
		return;
	}
	/* Several fields may be loaded at once: iptables-nft asks for both ports by one load. */
	for (uint32_t i = 0; i < size; i++) {
		if (base == NFT_PAYLOAD_TRANSPORT_HEADER && (offset + i == 2 || offset + i == 3)) {
			bytes[i] = (uint8_t)(offset + i == 2 ? probe->port >> 8 : probe->port);
			known[i] = true;
		} else if (base == NFT_PAYLOAD_NETWORK_HEADER &&
			   offset + i == (probe->ipv6 ? 6u : 9u)) {
			bytes[i] = probe->protocol;
			known[i] = true;
		}
	}
	store_part(registers, number, bytes, known, size);
}

static void load_state(
	const struct nftnl_expr *expr, const struct nft_probe *probe, struct registers *registers)
{
	uint32_t number = nftnl_expr_get_u32(expr, NFTNL_EXPR_CT_DREG);
	uint32_t state = probe->established ? STATE_ESTABLISHED : STATE_NEW;

	if (!nftnl_expr_is_set(expr, NFTNL_EXPR_CT_DREG))
		return;
	if (nftnl_expr_get_u32(expr, NFTNL_EXPR_CT_KEY) == NFT_CT_STATE)
		store(registers, number, &state, sizeof(state));
	else
		forget(registers, number, 16);
}

static void load_route(
	const struct nftnl_expr *expr, const struct walker *walker, struct registers *registers)
{
	uint32_t number = nftnl_expr_get_u32(expr, NFTNL_EXPR_FIB_DREG);
	uint32_t type = RTN_LOCAL;

	if (walker->to_us && nftnl_expr_get_u32(expr, NFTNL_EXPR_FIB_FLAGS) == NFTA_FIB_F_DADDR &&
		nftnl_expr_get_u32(expr, NFTNL_EXPR_FIB_RESULT) == NFT_FIB_RESULT_ADDRTYPE)
		store(registers, number, &type, sizeof(type));
	else
		forget(registers, number, 16);
}

static void combine_bits(const struct nftnl_expr *expr, struct registers *registers)
{
	uint32_t to = nftnl_expr_get_u32(expr, NFTNL_EXPR_BITWISE_DREG);
	uint32_t size = nftnl_expr_get_u32(expr, NFTNL_EXPR_BITWISE_LEN), mask_size, flip_size;
	const uint8_t *mask = nftnl_expr_get(expr, NFTNL_EXPR_BITWISE_MASK, &mask_size);
	const uint8_t *flip = nftnl_expr_get(expr, NFTNL_EXPR_BITWISE_XOR, &flip_size);
	const uint8_t *from =
		fetch(registers, nftnl_expr_get_u32(expr, NFTNL_EXPR_BITWISE_SREG), size);
	uint8_t result[KEY_MAX];

	if (!from || !mask || !flip || mask_size < size || flip_size < size || size > KEY_MAX) {
		forget(registers, to, size);
		return;
	}
	for (uint32_t i = 0; i < size; i++)
		result[i] = (uint8_t)((from[i] & mask[i]) ^ flip[i]);
	store(registers, to, result, size);
}

static enum match matches(bool yes)
{
	return yes ? MATCH_YES : MATCH_NO;
}

/* The packet comes from elsewhere: never through the loopback interface. */
static enum match compare_interface(const void *data, uint32_t size, uint32_t op)
{
	uint32_t number = 1; /* the loopback's, everywhere */
	bool loopback = (size >= 3 && memcmp(data, "lo", 3) == 0) ||
			(size == 4 && memcmp(data, &number, 4) == 0);

	if (!loopback || (op != NFT_CMP_EQ && op != NFT_CMP_NEQ))
		return MATCH_MAYBE;
	return matches(op == NFT_CMP_NEQ);
}

static enum match compare(const struct nftnl_expr *expr, const struct registers *registers)
{
	uint32_t number = nftnl_expr_get_u32(expr, NFTNL_EXPR_CMP_SREG), size;
	uint32_t op = nftnl_expr_get_u32(expr, NFTNL_EXPR_CMP_OP);
	const void *data = nftnl_expr_get(expr, NFTNL_EXPR_CMP_DATA, &size);
	const uint8_t *bytes = data ? fetch(registers, number, size) : NULL;
	int order;

	if (data && slot_of(number) < SLOTS && registers->interface[slot_of(number)])
		return compare_interface(data, size, op);
	if (!bytes) {
		if ((op != NFT_CMP_EQ && op != NFT_CMP_NEQ) || !data ||
			!differs(registers, number, data, size))
			return MATCH_MAYBE;
		return matches(op == NFT_CMP_NEQ);
	}
	order = memcmp(bytes, data, size);
	switch (op) {
	case NFT_CMP_EQ:
		return matches(order == 0);
	case NFT_CMP_NEQ:
		return matches(order != 0);
	case NFT_CMP_LT:
		return matches(order < 0);
	case NFT_CMP_LTE:
		return matches(order <= 0);
	case NFT_CMP_GT:
		return matches(order > 0);
	case NFT_CMP_GTE:
		return matches(order >= 0);
	default:
		return MATCH_MAYBE;
	}
}

static enum match compare_range(const struct nftnl_expr *expr, const struct registers *registers)
{
	uint32_t from_size, to_size;
	const void *from = nftnl_expr_get(expr, NFTNL_EXPR_RANGE_FROM_DATA, &from_size);
	const void *to = nftnl_expr_get(expr, NFTNL_EXPR_RANGE_TO_DATA, &to_size);
	const uint8_t *bytes = NULL;
	bool inside;

	if (from && to && from_size == to_size)
		bytes = fetch(
			registers, nftnl_expr_get_u32(expr, NFTNL_EXPR_RANGE_SREG), from_size);
	if (!bytes)
		return MATCH_MAYBE;
	inside = memcmp(bytes, from, from_size) >= 0 && memcmp(bytes, to, to_size) <= 0;
	return matches(inside == (nftnl_expr_get_u32(expr, NFTNL_EXPR_RANGE_OP) == NFT_RANGE_EQ));
}

/* --- Sets --- */

static bool holds(const uint8_t *low, const uint8_t *high, const uint8_t *key, uint32_t size)
{
	for (uint32_t i = 0; i < size; i += 4) {
		size_t part = size - i < 4 ? size - i : 4;

		if (memcmp(key + i, low + i, part) < 0 || memcmp(key + i, high + i, part) > 0)
			return false;
	}
	return true;
}

static bool ends_interval(const struct nftnl_set_elem *found)
{
	struct nftnl_set_elem *elem = (struct nftnl_set_elem *)found;

	return nftnl_set_elem_is_set(elem, NFTNL_SET_ELEM_FLAGS) &&
	       nftnl_set_elem_get_u32(elem, NFTNL_SET_ELEM_FLAGS) & NFT_SET_ELEM_INTERVAL_END;
}

/* The element that the key is, or lies in; NULL: none. Intervals of one field are told by where
 * each begins and where it has ended. */
static const struct nftnl_set_elem *find_element(
	const struct nftnl_set *set, const uint8_t *key, uint32_t size)
{
	bool intervals = nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & NFT_SET_INTERVAL;
	struct nftnl_set_elems_iter *iterator = nftnl_set_elems_iter_create(set);
	const struct nftnl_set_elem *found = NULL;
	const uint8_t *best = NULL;
	struct nftnl_set_elem *elem;

	while (iterator && (elem = nftnl_set_elems_iter_next(iterator))) {
		uint32_t low_size = 0, high_size = 0;
		const uint8_t *low = nftnl_set_elem_get(elem, NFTNL_SET_ELEM_KEY, &low_size);
		const uint8_t *high = nftnl_set_elem_get(elem, NFTNL_SET_ELEM_KEY_END, &high_size);

		if (!low || low_size < size)
			continue;
		if (high && high_size >= size) {
			if (holds(low, high, key, size)) {
				found = elem;
				break;
			}
		} else if (!intervals) {
			if (memcmp(low, key, size) == 0) {
				found = elem;
				break;
			}
		} else if (memcmp(low, key, size) <= 0 && (!best || memcmp(low, best, size) > 0)) {
			best = low;
			found = elem;
		}
	}
	if (iterator)
		nftnl_set_elems_iter_destroy(iterator);
	return found && best && ends_interval(found) ? NULL : found;
}

static void take_element_verdict(const struct nftnl_set_elem *found, struct verdict *verdict)
{
	struct nftnl_set_elem *elem = (struct nftnl_set_elem *)found;

	verdict->is_set = true;
	if (!nftnl_set_elem_is_set(elem, NFTNL_SET_ELEM_VERDICT)) {
		verdict->unknown = true;
		return;
	}
	verdict->code = (int)nftnl_set_elem_get_u32(elem, NFTNL_SET_ELEM_VERDICT);
	if (nftnl_set_elem_is_set(elem, NFTNL_SET_ELEM_CHAIN))
		verdict->chain = nftnl_set_elem_get_str(elem, NFTNL_SET_ELEM_CHAIN);
}

static enum match look_up(const struct walker *walker, const struct nftnl_expr *expr,
	struct registers *registers, struct verdict *verdict)
{
	const struct survey_set *set = survey_find_set(walker->survey, walker->family,
		walker->table, nftnl_expr_get_str(expr, NFTNL_EXPR_LOOKUP_SET));
	bool map = nftnl_expr_is_set(expr, NFTNL_EXPR_LOOKUP_DREG);
	uint32_t to = map ? nftnl_expr_get_u32(expr, NFTNL_EXPR_LOOKUP_DREG) : 0;
	bool verdicts = map && to == NFT_REG_VERDICT;
	uint32_t size = set ? nftnl_set_get_u32(set->set, NFTNL_SET_KEY_LEN) : 0;
	const uint8_t *key = NULL;
	const struct nftnl_set_elem *found;

	if (set && set->wanted && size > 0)
		key = fetch(registers, nftnl_expr_get_u32(expr, NFTNL_EXPR_LOOKUP_SREG), size);
	if (!key) {
		if (verdicts)
			verdict->is_set = verdict->unknown = true;
		else if (map)
			forget(registers, to, 16);
		return MATCH_MAYBE;
	}
	found = find_element(set->set, key, size);
	if (map && !verdicts)
		forget(registers, to, 16);
	else if (verdicts && found)
		take_element_verdict(found, verdict);
	if (nftnl_expr_get_u32(expr, NFTNL_EXPR_LOOKUP_FLAGS) & NFT_LOOKUP_F_INV)
		return matches(!found);
	return matches(found != NULL);
}

/* --- Walking --- */

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++) {
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

static void take_immediate(
	const struct nftnl_expr *expr, struct registers *registers, struct verdict *verdict)
{
	uint32_t to = nftnl_expr_get_u32(expr, NFTNL_EXPR_IMM_DREG), size = 0;
	const void *data;

	if (to != NFT_REG_VERDICT) {
		data = nftnl_expr_get(expr, NFTNL_EXPR_IMM_DATA, &size);
		if (data)
			store(registers, to, data, size);
		return;
	}
	verdict->is_set = true;
	verdict->code = (int)nftnl_expr_get_u32(expr, NFTNL_EXPR_IMM_VERDICT);
	if (nftnl_expr_is_set(expr, NFTNL_EXPR_IMM_CHAIN))
		verdict->chain = nftnl_expr_get_str(expr, NFTNL_EXPR_IMM_CHAIN);
}

/* What iptables-nft leaves to an extension of iptables. */
static void take_target(const struct nftnl_expr *expr, struct verdict *verdict)
{
	static const char *const drops[] = {"REJECT", "TARPIT", "DROP", NULL};
	const char *name = nftnl_expr_get_str(expr, NFTNL_EXPR_TG_NAME);

	if (!name)
		return;
	verdict->is_set = is_one_of(name, drops) || strcmp(name, "NFQUEUE") == 0;
	verdict->unknown = verdict->is_set && !is_one_of(name, drops);
	verdict->code = NF_DROP;
}

static enum match match_ports(const struct xt_multiport_v1 *ports, const struct nft_probe *probe)
{
	bool found = false;

	if (ports->flags != XT_MULTIPORT_DESTINATION)
		return MATCH_MAYBE;
	for (uint8_t i = 0; i < ports->count && i < XT_MULTI_PORTS; i++) {
		uint16_t first = ports->ports[i], last = first;

		if (ports->pflags[i] && i + 1 < XT_MULTI_PORTS)
			last = ports->ports[++i];
		found |= first <= probe->port && probe->port <= last;
	}
	return matches(found != (ports->invert != 0));
}

/* What iptables-nft leaves to an extension of iptables, of those that firewalls are full of. */
static enum match match_extension(const struct walker *walker, const struct nftnl_expr *expr)
{
	const struct nft_probe *probe = walker->probe;
	const char *name = nftnl_expr_get_str(expr, NFTNL_EXPR_MT_NAME);
	uint32_t revision = nftnl_expr_get_u32(expr, NFTNL_EXPR_MT_REV), size = 0;
	const void *info = nftnl_expr_get(expr, NFTNL_EXPR_MT_INFO, &size);
	struct xt_conntrack_mtinfo3 flow;
	struct xt_multiport_v1 ports;
	struct xt_addrtype_info_v1 type;

	if (!name || !info)
		return MATCH_MAYBE;
	if (strcmp(name, "comment") == 0)
		return MATCH_YES;
	if (strcmp(name, "rt") == 0)
		return MATCH_NO; /* a phone's packets have no routing header */
	if (strcmp(name, "addrtype") == 0 && revision == 1 && size >= sizeof(type)) {
		memcpy(&type, info, sizeof(type));
		if (!walker->to_us || type.source || type.flags || !type.dest)
			return MATCH_MAYBE;
		return matches(type.dest & XT_ADDRTYPE_LOCAL);
	}
	if (strcmp(name, "multiport") == 0 && revision == 1 && size >= sizeof(ports)) {
		memcpy(&ports, info, sizeof(ports));
		return match_ports(&ports, probe);
	}
	if (strcmp(name, "conntrack") == 0 && revision == 3 && size >= sizeof(flow)) {
		memcpy(&flow, info, sizeof(flow));
		/* `-m state` has a flag of its own, for how it is printed. */
		if ((flow.match_flags & ~XT_CONNTRACK_STATE_ALIAS) != XT_CONNTRACK_STATE ||
			flow.invert_flags)
			return MATCH_MAYBE;
		return matches(
			flow.state_mask & (probe->established ? STATE_ESTABLISHED : STATE_NEW));
	}
	return MATCH_MAYBE;
}

static enum match follow_expr(const struct walker *walker, const struct nftnl_expr *expr,
	struct registers *registers, struct verdict *verdict)
{
	static const char *const harmless[] = {
		"counter", "log", "notrack", "objref", "last", "dup", "exthdr_write", NULL};
	/* An element of a set may have a limit of its own. */
	static const char *const narrowing[] = {"limit", "dynset", "quota", "connlimit", NULL};
	const char *name = nftnl_expr_get_str(expr, NFTNL_EXPR_NAME);

	if (strcmp(name, "meta") == 0)
		load_meta(expr, walker->probe, registers);
	else if (strcmp(name, "payload") == 0)
		load_payload(expr, walker->probe, registers);
	else if (strcmp(name, "ct") == 0)
		load_state(expr, walker->probe, registers);
	else if (strcmp(name, "fib") == 0)
		load_route(expr, walker, registers);
	else if (strcmp(name, "bitwise") == 0)
		combine_bits(expr, registers);
	else if (strcmp(name, "cmp") == 0)
		return compare(expr, registers);
	else if (strcmp(name, "range") == 0)
		return compare_range(expr, registers);
	else if (strcmp(name, "lookup") == 0)
		return look_up(walker, expr, registers, verdict);
	else if (strcmp(name, "immediate") == 0)
		take_immediate(expr, registers, verdict);
	else if (strcmp(name, "reject") == 0)
		*verdict = (struct verdict){.is_set = true, .code = NF_DROP};
	else if (strcmp(name, "match") == 0)
		return match_extension(walker, expr);
	else if (strcmp(name, "target") == 0)
		take_target(expr, verdict);
	else if (strcmp(name, "queue") == 0)
		*verdict = (struct verdict){.is_set = true, .unknown = true};
	else if (is_one_of(name, narrowing))
		return MATCH_MAYBE;
	else if (!is_one_of(name, harmless)) {
		/* It may have put anything into any register. */
		memset(registers->known, 0, sizeof(registers->known));
		memset(registers->interface, 0, sizeof(registers->interface));
	}
	return MATCH_YES;
}

static enum match follow_rule(
	const struct walker *walker, const struct nftnl_rule *rule, struct verdict *ret_verdict)
{
	struct nftnl_expr_iter *iterator = nftnl_expr_iter_create(rule);
	struct registers registers = {0};
	enum match match = MATCH_YES;
	struct nftnl_expr *expr;

	*ret_verdict = (struct verdict){0};
	while (iterator && match != MATCH_NO && (expr = nftnl_expr_iter_next(iterator))) {
		enum match next = follow_expr(walker, expr, &registers, ret_verdict);

		if (next < match)
			match = next;
		if (ret_verdict->is_set)
			break;
	}
	if (!iterator) {
		ret_verdict->is_set = ret_verdict->unknown = true;
		return MATCH_MAYBE;
	}
	nftnl_expr_iter_destroy(iterator);
	return match;
}

/* What may become of the packet. */
enum outcome { ACCEPTS = 1, DROPS = 2, GOES_ON = 4 };

static void note_drop(
	struct walker *walker, const struct survey_chain *chain, size_t rule, bool sure)
{
	if (walker->drop_chain && (walker->drop_sure || !sure))
		return;
	walker->drop_sure = sure;
	walker->drop_chain = chain->name;
	walker->drop_handle = nftnl_rule_get_u64(walker->survey->rules[rule], NFTNL_RULE_HANDLE);
}

/* Chains jump into each other, JUMPS_MAX deep at most. */
/* NOLINTBEGIN(misc-no-recursion) */

static unsigned walk(struct walker *walker, const struct survey_chain *chain, unsigned depth);

/* What comes of a rule that matches; GOES_ON: the next rule has its turn. */
static unsigned apply(struct walker *walker, const struct survey_chain *chain, size_t rule,
	const struct verdict *verdict, bool sure, unsigned depth, bool *ret_returns)
{
	unsigned outcome;

	*ret_returns = false;
	if (verdict->unknown) {
		note_drop(walker, chain, rule, false);
		return ACCEPTS | DROPS | GOES_ON;
	}
	switch (verdict->code) {
	case NF_ACCEPT:
		return ACCEPTS;
	case NF_DROP:
		note_drop(walker, chain, rule, sure);
		return DROPS;
	case NFT_JUMP:
	case NFT_GOTO:
		outcome = walk(walker,
			survey_find_chain(
				walker->survey, walker->family, walker->table, verdict->chain),
			depth + 1);
		*ret_returns = verdict->code == NFT_GOTO;
		return outcome;
	case NFT_RETURN:
		*ret_returns = true;
		return GOES_ON;
	default:
		return GOES_ON;
	}
}

static unsigned walk(struct walker *walker, const struct survey_chain *chain, unsigned depth)
{
	unsigned outcomes = 0;

	if (!chain || depth > JUMPS_MAX)
		return ACCEPTS | DROPS | GOES_ON;
	for (size_t i = 0; i < chain->count; i++) {
		size_t rule = chain->rules[i];
		struct verdict verdict;
		enum match match;
		unsigned outcome;
		bool returns;

		if (++walker->walked > WALKS_MAX)
			return outcomes | ACCEPTS | DROPS | GOES_ON;
		match = follow_rule(walker, walker->survey->rules[rule], &verdict);
		if (match == MATCH_NO || !verdict.is_set)
			continue;
		outcome = apply(walker, chain, rule, &verdict, match == MATCH_YES, depth, &returns);
		outcomes |= outcome & ~(unsigned)GOES_ON;
		if (returns && outcome & GOES_ON)
			outcomes |= GOES_ON;
		if (match == MATCH_YES && (returns || !(outcome & GOES_ON)))
			return outcomes;
	}
	return outcomes | GOES_ON;
}

/* NOLINTEND(misc-no-recursion) */

void nft_survey_judge(const struct nft_survey *survey, size_t index, const struct nft_probe *probe,
	struct nft_judgement *ret_judgement)
{
	const struct survey_chain *chain = &survey->chains[survey->bases[index]];
	struct walker walker = {
		.survey = survey,
		.probe = probe,
		.family = chain->family,
		.table = chain->table,
		.to_us = nftnl_chain_get_u32(chain->chain, NFTNL_CHAIN_HOOKNUM) ==
				 NF_INET_LOCAL_IN &&
			 chain->family != NFPROTO_NETDEV,
	};
	unsigned outcomes = walk(&walker, chain, 0);
	bool policy_drops = nftnl_chain_get_u32(chain->chain, NFTNL_CHAIN_POLICY) == NF_DROP;

	*ret_judgement = (struct nft_judgement){
		.accepts = outcomes & ACCEPTS || (outcomes & GOES_ON && !policy_drops),
		.drops = outcomes & DROPS || (outcomes & GOES_ON && policy_drops),
		.by_policy = outcomes & GOES_ON && policy_drops,
		.drop_chain = walker.drop_chain,
		.drop_handle = walker.drop_handle,
	};
}

bool nft_survey_jumps_to(const struct nft_survey *survey, size_t index, const char *prefix)
{
	const struct survey_chain *chain = &survey->chains[survey->bases[index]];
	bool found = false;

	for (size_t i = 0; i < chain->count && !found; i++) {
		struct nftnl_expr_iter *iterator =
			nftnl_expr_iter_create(survey->rules[chain->rules[i]]);
		struct nftnl_expr *expr;

		while (iterator && !found && (expr = nftnl_expr_iter_next(iterator))) {
			const char *name = nftnl_expr_get_str(expr, NFTNL_EXPR_NAME), *to = NULL;

			if (strcmp(name, "immediate") == 0 &&
				nftnl_expr_is_set(expr, NFTNL_EXPR_IMM_CHAIN))
				to = nftnl_expr_get_str(expr, NFTNL_EXPR_IMM_CHAIN);
			found = to && strncmp(to, prefix, strlen(prefix)) == 0;
		}
		if (iterator)
			nftnl_expr_iter_destroy(iterator);
	}
	return found;
}
