/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "addr_order.h"
#include "nft_attr.h"
#include "nft_netlink.h"
#include "nft_rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

/* An element as the kernel lists it: of an interval set either a first address or the one behind
 * the last. */
struct raw_element {
	struct element element;
	bool end;
};

struct seen_set {
	struct set set; /* elements are still empty */
	struct raw_element *raw;
	size_t raw_count, raw_capacity;
};

struct nft_observer {
	const struct ruleset *wanted;
	uint32_t port; /* of our socket */
	struct observed *observed;
	struct text sets, chains, rules, ports; /* the shape's parts */
	struct text names;			/* of all sets of the table, each with its NUL */
	struct seen_set *seen; /* as many as wanted sets; .set.name NULL: not there */
	uint32_t flags;	       /* of the table */
	struct seen_port {
		struct enforced_port port;
		uint32_t chain; /* index into wanted->chains */
	} * seen_ports;
	size_t seen_port_count, seen_port_capacity;
	bool *drops;	    /* by wanted chain: its rules have an unconditional drop */
	bool odd;	    /* something that sipfence never makes */
	struct text misfit; /* of sets in another's table: the first reason */
};

int nft_observer_new(
	const struct ruleset *wanted, uint32_t port, struct nft_observer **ret_observer)
{
	struct nft_observer *observer = calloc(1, sizeof(*observer));

	if (!observer)
		return -ENOMEM;
	observer->wanted = wanted;
	observer->port = port;
	observer->observed = calloc(1, sizeof(*observer->observed));
	observer->seen = calloc(wanted->set_count + 1, sizeof(*observer->seen));
	observer->drops = calloc(wanted->chain_count + 1, sizeof(*observer->drops));
	if (!observer->observed || !observer->seen || !observer->drops) {
		nft_observer_free(observer);
		return -ENOMEM;
	}
	*ret_observer = observer;
	return 0;
}

struct nft_observer *nft_observer_free(struct nft_observer *observer)
{
	if (!observer)
		return NULL;
	for (size_t i = 0; observer->seen && i < observer->wanted->set_count; i++)
		free(observer->seen[i].raw);
	free(observer->seen);
	free(observer->seen_ports);
	free(observer->drops);
	observed_free(observer->observed);
	text_free(&observer->sets);
	text_free(&observer->chains);
	text_free(&observer->rules);
	text_free(&observer->ports);
	text_free(&observer->names);
	text_free(&observer->misfit);
	free(observer);
	return NULL;
}

static bool is_ours(
	const struct nft_observer *observer, const struct nlmsghdr *message, uint16_t table_type)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	const char *table;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) ||
		header->nfgen_family != nft_protocol_family(observer->wanted->family))
		return false;
	table = attr_find_string(attr_walk_message(message, sizeof(*header)), table_type);
	return table && strcmp(table, observer->wanted->table) == 0;
}

static int observe_table(struct nft_observer *observer, const struct nlmsghdr *message)
{
	struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));
	uint32_t owner;

	observer->observed->present = true;
	observer->flags = attr_find_be32(walk, NFTA_TABLE_FLAGS);
	owner = attr_find_be32(walk, NFTA_TABLE_OWNER);
	observer->observed->owned = owner != 0;
	observer->observed->ours = owner != 0 && owner == observer->port;
	observer->observed->persistent = observer->flags & TABLE_FLAG_PERSIST;
	return 0;
}

static int observe_chain(struct nft_observer *observer, const struct nlmsghdr *message)
{
	struct nftnl_chain *chain = nftnl_chain_alloc();
	int result = -ENOMEM;

	if (!chain)
		return -ENOMEM;
	if (nftnl_chain_nlmsg_parse(message, chain) < 0 ||
		!nftnl_chain_is_set(chain, NFTNL_CHAIN_NAME))
		result = -EBADMSG;
	else {
		nft_shape_chain(chain, &observer->chains);
		if (nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM) &&
			nftnl_chain_get_s32(chain, NFTNL_CHAIN_PRIO) == PRIORITY_BEHIND_CONNTRACK)
			observer->observed->accepts_replies = true;
		result = 0;
	}
	nftnl_chain_free(chain);
	return result;
}

static struct seen_set *find_seen(struct nft_observer *observer, const char *name)
{
	for (size_t i = 0; i < observer->wanted->set_count; i++) {
		if (strcmp(observer->wanted->sets[i].name, name) == 0)
			return &observer->seen[i];
	}
	return NULL;
}

/* A set of somebody else's table, which we shall keep: is it what it has to be? */
static void look_at_set(
	struct nft_observer *observer, const struct set *wanted, const struct nftnl_set *set)
{
	/* nft's own numbers of types (its datatype.h), which the kernel keeps for it. */
	enum { TYPE_IPV4_ADDR = 7, TYPE_IPV6_ADDR = 8 };
	uint32_t flags = nftnl_set_get_u32(set, NFTNL_SET_FLAGS);
	uint32_t wanted_type = wanted->family == FAMILY_IPV4 ? TYPE_IPV4_ADDR : TYPE_IPV6_ADDR;
	const char *type = wanted->family == FAMILY_IPV4 ? "ipv4_addr" : "ipv6_addr";
	bool ranges = flags & NFT_SET_INTERVAL, need_ranges = wanted->kind == SET_NETS;
	struct text *misfit = &observer->misfit;

	if (misfit->length > 0)
		return;
	if (flags & (NFT_SET_MAP | NFT_SET_OBJECT))
		text_printf(misfit, "%s is a map, and no set", wanted->name);
	else if (nftnl_set_get_u32(set, NFTNL_SET_KEY_TYPE) != wanted_type)
		text_printf(misfit, "the set %s is not of type %s", wanted->name, type);
	else if (flags & (NFT_SET_CONSTANT | NFT_SET_ANONYMOUS))
		text_printf(misfit, "the set %s is constant", wanted->name);
	else if (flags & NFT_SET_TIMEOUT)
		text_printf(misfit, "the set %s has a time-out: its elements would leave",
			wanted->name);
	else if (ranges != need_ranges)
		text_printf(misfit, "the set %s %s flags interval, and must%s", wanted->name,
			ranges ? "has" : "lacks", ranges ? " not" : "");
}

/* The declaration of a set that there has to be. */
static void note_missing(struct nft_observer *observer, const struct set *wanted)
{
	if (observer->misfit.length == 0)
		text_printf(&observer->misfit, "the set %s is missing", wanted->name);
}

static int observe_set(struct nft_observer *observer, const struct nlmsghdr *message)
{
	struct nftnl_set *set = nftnl_set_alloc();
	struct seen_set *seen;
	const char *name;
	int result = 0;

	if (!set)
		return -ENOMEM;
	if (nftnl_set_nlmsg_parse(message, set) < 0 || !nftnl_set_is_set(set, NFTNL_SET_NAME)) {
		result = -EBADMSG;
		goto out;
	}
	name = nftnl_set_get_str(set, NFTNL_SET_NAME);
	seen = find_seen(observer, name);
	if (observer->wanted->sets_only && !seen)
		goto out;
	if (!observer->wanted->sets_only)
		nft_shape_set(set,
			seen ? (enum set_kind)observer->wanted->sets[seen - observer->seen].kind
			     : SET_NETS,
			&observer->sets);
	text_write(&observer->names, name, strlen(name) + 1);
	if (observer->names.failed)
		result = -ENOMEM;
	if (observer->wanted->sets_only)
		look_at_set(observer, &observer->wanted->sets[seen - observer->seen], set);
	if (seen) {
		const struct set *wanted = &observer->wanted->sets[seen - observer->seen];

		seen->set = (struct set){
			.name = wanted->name,
			.kind = wanted->kind,
			.family = wanted->family,
			.service = wanted->service,
			.room = nft_rule_room(set),
		};
	}
out:
	nftnl_set_free(set);
	return result;
}

struct rule_facts {
	unsigned expressions;
	bool counter, accepts, drops;
	uint64_t packets, bytes;
};

static int collect_facts(struct nftnl_expr *expr, void *data)
{
	const char *name = nftnl_expr_get_str(expr, NFTNL_EXPR_NAME);
	struct rule_facts *facts = data;

	facts->expressions++;
	if (strcmp(name, "counter") == 0) {
		facts->counter = true;
		facts->packets = nftnl_expr_get_u64(expr, NFTNL_EXPR_CTR_PACKETS);
		facts->bytes = nftnl_expr_get_u64(expr, NFTNL_EXPR_CTR_BYTES);
	}
	if (strcmp(name, "immediate") == 0 && nftnl_expr_is_set(expr, NFTNL_EXPR_IMM_VERDICT)) {
		facts->accepts = nftnl_expr_get_u32(expr, NFTNL_EXPR_IMM_VERDICT) == NF_ACCEPT;
		facts->drops = nftnl_expr_get_u32(expr, NFTNL_EXPR_IMM_VERDICT) == NF_DROP;
	}
	return 0;
}

/* Chains of observed counters are those that we know, so that their names outlive the observer. */
static int note_facts(
	struct nft_observer *observer, const char *chain, const struct rule_facts *facts)
{
	struct observed *observed = observer->observed;
	const char *suffix = strrchr(chain, '_');

	if (!suffix || strcmp(suffix, "_reject") != 0)
		return 0;
	if (facts->accepts)
		observed->monitor = true;
	for (size_t i = 0; i < observer->wanted->chain_count; i++) {
		if (facts->drops && facts->expressions == 1 &&
			strcmp(observer->wanted->chains[i].name, chain) == 0)
			observer->drops[i] = true;
	}
	if (!facts->counter)
		return 0;
	if (!observed->counters)
		observed->counters = arena_alloc(&observed->arena,
			observer->wanted->chain_count * sizeof(*observed->counters));
	if (!observed->counters)
		return -ENOMEM;
	for (size_t i = 0; i < observer->wanted->chain_count; i++) {
		if (strcmp(observer->wanted->chains[i].name, chain) == 0 &&
			observed->counter_count < observer->wanted->chain_count)
			observed->counters[observed->counter_count++] = (struct counter){
				.chain = arena_copy(&observed->arena, chain, strlen(chain)),
				.packets = facts->packets,
				.bytes = facts->bytes,
			};
	}
	return observed->counter_count && !observed->counters[observed->counter_count - 1].chain
		       ? -ENOMEM
		       : 0;
}

static int observe_rule(struct nft_observer *observer, const struct nlmsghdr *message)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	struct rule_facts facts = {0};
	int result = -EBADMSG;

	if (!rule)
		return -ENOMEM;
	if (nftnl_rule_nlmsg_parse(message, rule) == 0 &&
		nftnl_rule_is_set(rule, NFTNL_RULE_CHAIN)) {
		nft_shape_rule(rule, &observer->rules);
		nftnl_expr_foreach(rule, collect_facts, &facts);
		result = note_facts(observer, nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN), &facts);
	}
	nftnl_rule_free(rule);
	return result;
}

static int note_port(
	struct nft_observer *observer, const uint8_t *first, const uint8_t *last, const char *chain)
{
	if (observer->seen_port_count == observer->seen_port_capacity) {
		size_t capacity =
			observer->seen_port_capacity ? observer->seen_port_capacity * 2 : 16;
		struct seen_port *grown =
			reallocarray(observer->seen_ports, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		observer->seen_ports = grown;
		observer->seen_port_capacity = capacity;
	}
	for (size_t i = 0; i < observer->wanted->chain_count; i++) {
		if (strcmp(observer->wanted->chains[i].name, chain) != 0)
			continue;
		observer->seen_ports[observer->seen_port_count++] = (struct seen_port){
			.port = {.protocol = first[0],
				.first = (uint16_t)(first[4] << 8 | first[5]),
				.last = (uint16_t)(last[4] << 8 | last[5])},
			.chain = (uint32_t)i,
		};
		break;
	}
	return 0;
}

/* "udp 5060-5060 goto sip_guard", as nft_shape() prints what we want. */
static int observe_port(struct nft_observer *observer, const struct nlattr *element)
{
	struct attr_walk walk = attr_walk_nested(element);
	const struct nlattr *key = attr_find(walk, NFTA_SET_ELEM_KEY);
	const struct nlattr *key_end = attr_find(walk, NFTA_SET_ELEM_KEY_END);
	const struct nlattr *data = attr_find(walk, NFTA_SET_ELEM_DATA);
	const struct nlattr *verdict =
		data ? attr_find(attr_walk_nested(data), NFTA_DATA_VERDICT) : NULL;
	const uint8_t *first = NULL, *last = NULL;
	const char *chain = NULL;
	uint32_t code = 0;

	if (key)
		first = attr_find_fixed(attr_walk_nested(key), NFTA_DATA_VALUE, 8);
	last = first;
	if (key_end)
		last = attr_find_fixed(attr_walk_nested(key_end), NFTA_DATA_VALUE, 8);
	if (verdict) {
		code = attr_find_be32(attr_walk_nested(verdict), NFTA_VERDICT_CODE);
		chain = attr_find_string(attr_walk_nested(verdict), NFTA_VERDICT_CHAIN);
	}
	if (!first || !last || !chain) {
		observer->odd = true;
		return 0;
	}
	text_printf(&observer->ports, "port %u %u-%u verdict %d %s\n", first[0],
		first[4] << 8 | first[5], last[4] << 8 | last[5], (int)code, chain);
	return note_port(observer, first, last, chain);
}

static const char *find_comment(struct attr_walk walk, struct arena *arena, bool *failed)
{
	const struct nlattr *attr = attr_find(walk, NFTA_SET_ELEM_USERDATA);
	const uint8_t *data;
	size_t size, at = 0;

	if (!attr)
		return NULL;
	data = mnl_attr_get_payload(attr);
	size = mnl_attr_get_payload_len(attr);
	/* type, length, value; a comment is type 0 and ends with NUL */
	while (at + 2 <= size && at + 2 + data[at + 1] <= size) {
		size_t length = data[at + 1];

		if (data[at] == 0 && length > 0 && length <= COMMENT_MAX + 1) {
			const char *comment = arena_copy(arena, (const char *)data + at + 2,
				strnlen((const char *)data + at + 2, length));

			*failed |= !comment;
			return comment;
		}
		at += 2 + length;
	}
	return NULL;
}

static void read_counter(struct attr_walk walk, struct element *element)
{
	const struct nlattr *expr = attr_find(walk, NFTA_SET_ELEM_EXPR);
	const struct nlattr *data;

	if (!expr)
		return;
	data = attr_find(attr_walk_nested(expr), NFTA_EXPR_DATA);
	if (!data)
		return;
	element->packets = attr_find_be64(attr_walk_nested(data), NFTA_COUNTER_PACKETS);
	element->bytes = attr_find_be64(attr_walk_nested(data), NFTA_COUNTER_BYTES);
}

static int append_raw(struct seen_set *seen, const struct raw_element *raw)
{
	if (seen->raw_count == seen->raw_capacity) {
		size_t capacity = seen->raw_capacity ? seen->raw_capacity * 2 : 64;
		struct raw_element *grown = reallocarray(seen->raw, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		seen->raw = grown;
		seen->raw_capacity = capacity;
	}
	seen->raw[seen->raw_count++] = *raw;
	return 0;
}

static int observe_address(
	struct nft_observer *observer, struct seen_set *seen, const struct nlattr *element)
{
	struct attr_walk walk = attr_walk_nested(element);
	const struct nlattr *key = attr_find(walk, NFTA_SET_ELEM_KEY);
	size_t size = addr_size((enum family)seen->set.family);
	uint32_t flags = attr_find_be32(walk, NFTA_SET_ELEM_FLAGS);
	struct raw_element raw = {.end = flags & NFT_SET_ELEM_INTERVAL_END};
	const void *bytes = NULL;
	bool failed = false;

	if (key)
		bytes = attr_find_fixed(attr_walk_nested(key), NFTA_DATA_VALUE, size);
	if (!bytes || flags & ~(uint32_t)NFT_SET_ELEM_INTERVAL_END) {
		observer->odd = true; /* a catch-all element, say */
		return 0;
	}
	raw.element.prefix.addr.family = seen->set.family;
	memcpy(raw.element.prefix.addr.bytes, bytes, size);
	raw.element.prefix.length = (uint8_t)addr_bits((enum family)seen->set.family);
	raw.element.comment = find_comment(walk, &observer->observed->arena, &failed);
	raw.element.expires_ms = attr_find_be64(walk, NFTA_SET_ELEM_EXPIRATION);
	read_counter(walk, &raw.element);
	return failed ? -ENOMEM : append_raw(seen, &raw);
}

static int observe_elements(struct nft_observer *observer, const struct nlmsghdr *message)
{
	struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));
	const char *name = attr_find_string(walk, NFTA_SET_ELEM_LIST_SET);
	const struct nlattr *list = attr_find(walk, NFTA_SET_ELEM_LIST_ELEMENTS);
	struct seen_set *seen = name ? find_seen(observer, name) : NULL;
	const struct nlattr *element;
	int result = 0;

	if (!seen || !seen->set.name || !list)
		return 0;
	walk = attr_walk_nested(list);
	while (result == 0 && (element = attr_walk_step(&walk))) {
		if (seen->set.kind == SET_PORTS)
			result = observe_port(observer, element);
		else
			result = observe_address(observer, seen, element);
	}
	return result;
}

int nft_observer_message(struct nft_observer *observer, const struct nlmsghdr *message)
{
	static const struct {
		uint16_t command, table;
		int (*observe)(struct nft_observer *, const struct nlmsghdr *);
	} kinds[] = {
		{NFT_MSG_NEWTABLE, NFTA_TABLE_NAME, observe_table},
		{NFT_MSG_NEWCHAIN, NFTA_CHAIN_TABLE, observe_chain},
		{NFT_MSG_NEWSET, NFTA_SET_TABLE, observe_set},
		{NFT_MSG_NEWRULE, NFTA_RULE_TABLE, observe_rule},
		{NFT_MSG_NEWSETELEM, NFTA_SET_ELEM_LIST_TABLE, observe_elements},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | kinds[i].command))
			continue;
		return is_ours(observer, message, kinds[i].table)
			       ? kinds[i].observe(observer, message)
			       : 0;
	}
	return 0;
}

bool nft_observer_is_ours(const struct nft_observer *observer)
{
	return observer->observed->ours;
}

const char *nft_observer_set(const struct nft_observer *observer, size_t index)
{
	const char *name = text_string(&observer->names), *end = name + observer->names.length;

	while (name < end && index-- > 0)
		name += strlen(name) + 1;
	return name < end ? name : NULL;
}

/* By address; at the same one an end stands before a beginning. */
static int sort_raw(struct seen_set *seen)
{
	struct addr_key *keys = reallocarray(NULL, seen->raw_count + 1, sizeof(*keys));
	struct raw_element *sorted = reallocarray(NULL, seen->raw_count + 1, sizeof(*sorted));
	size_t count = 0;
	int result = -ENOMEM;

	if (!keys || !sorted)
		goto out;
	/* Keys of equal addresses stay in the order in which they are put here. */
	for (int end = 1; end >= 0; end--) {
		for (size_t i = 0; i < seen->raw_count; i++) {
			if (seen->raw[i].end == (end == 1))
				keys[count++] = addr_key(&seen->raw[i].element.prefix.addr, i);
		}
	}
	result = addr_keys_sort(keys, count);
	if (result < 0)
		goto out;
	for (size_t i = 0; i < count; i++)
		sorted[i] = seen->raw[keys[i].index];
	free(seen->raw);
	seen->raw = sorted;
	seen->raw_capacity = count + 1;
	sorted = NULL;
out:
	free(keys);
	free(sorted);
	return result;
}

/* The prefix from `first` up to, and without, `behind` (NULL: to the end of the family). */
static bool range_to_prefix(
	const struct addr *first, const struct addr *behind, struct prefix *ret_prefix)
{
	enum family family = (enum family)first->family;

	for (unsigned length = 0; length <= addr_bits(family); length++) {
		struct prefix prefix = prefix_of(first, length);
		struct addr last = prefix_last(&prefix), next;
		bool at_end = !addr_next(&last, &next);

		if (!addr_equal(&prefix.addr, first))
			continue;
		if (at_end ? !behind : behind && addr_equal(&next, behind)) {
			*ret_prefix = prefix;
			return true;
		}
	}
	return false;
}

static void settle_intervals(struct nft_observer *observer, struct seen_set *seen)
{
	struct set *set = &seen->set;

	for (size_t i = 0; i < seen->raw_count; i++) {
		const struct raw_element *raw = &seen->raw[i];
		const struct raw_element *next = i + 1 < seen->raw_count ? &seen->raw[i + 1] : NULL;
		struct element *element = &set->elements[set->count];

		if (raw->end)
			continue;
		*element = raw->element;
		if (range_to_prefix(&raw->element.prefix.addr,
			    next ? &next->element.prefix.addr : NULL, &element->prefix))
			set->count++;
		else
			observer->odd = true;
	}
}

static int settle_set(struct nft_observer *observer, struct seen_set *seen)
{
	struct set *set = &seen->set;

	set->elements = arena_alloc(&observer->observed->arena,
		(seen->raw_count ? seen->raw_count : 1) * sizeof(*set->elements));
	if (!set->elements)
		return -ENOMEM;
	if (sort_raw(seen) < 0)
		return -ENOMEM;
	if (set_has_prefixes(set)) {
		settle_intervals(observer, seen);
	} else {
		for (size_t i = 0; i < seen->raw_count; i++)
			set->elements[set->count++] = seen->raw[i].element;
	}
	free(seen->raw);
	seen->raw = NULL;
	seen->raw_count = seen->raw_capacity = 0;
	return 0;
}

/* Lines of elements that belong to the shape, in an order of their own. */
static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_sorted_lines(struct text *shape, struct text *lines)
{
	size_t count = 0, at = 0;
	char **list;

	for (size_t i = 0; i < lines->length; i++)
		count += lines->data[i] == '\n';
	if (lines->failed)
		shape->failed = true;
	if (count == 0 || lines->failed)
		return;
	list = calloc(count, sizeof(*list));
	if (!list) {
		shape->failed = true;
		return;
	}
	for (char *line = strtok(lines->data, "\n"); line && at < count; line = strtok(NULL, "\n"))
		list[at++] = line;
	qsort(list, at, sizeof(*list), compare_lines);
	for (size_t i = 0; i < at; i++)
		text_printf(shape, "%s\n", list[i]);
	free(list);
}

static void add_destinations(struct text *shape, const struct set *set)
{
	char buffer[PREFIX_TEXT_SIZE];

	for (size_t i = 0; set->kind == SET_DESTINATIONS && i < set->count; i++) {
		prefix_print(&set->elements[i].prefix, buffer);
		text_printf(shape, "destination %s\n", buffer);
	}
}

/* A guard chain is followed by its reject chain (core/ruleset.h). */
static int settle_enforced(struct nft_observer *observer)
{
	struct observed *observed = observer->observed;

	observed->enforced = arena_alloc(
		&observed->arena, (observer->seen_port_count + 1) * sizeof(*observed->enforced));
	if (!observed->enforced)
		return -ENOMEM;
	for (size_t i = 0; i < observer->seen_port_count; i++) {
		uint32_t reject = observer->seen_ports[i].chain + 1;

		if (reject < observer->wanted->chain_count && observer->drops[reject])
			observed->enforced[observed->enforced_count++] =
				observer->seen_ports[i].port;
	}
	return 0;
}

static void add_flags(struct text *shape, uint32_t flags)
{
	/* Ownership is the daemon's business, and changes nothing of what the table does. */
	text_printf(shape, "table%s\n", flags & NFT_TABLE_F_DORMANT ? " dormant" : "");
}

/* Reasons that are of the table, or of what is in its sets. */
static void note_misfit(struct nft_observer *observer)
{
	struct text *misfit = &observer->misfit;

	if (!observer->wanted->sets_only || misfit->length > 0)
		return;
	if (!observer->observed->present)
		text_puts(misfit, "there is no such table");
	else if (observer->odd)
		text_puts(misfit, "its sets hold elements that are neither addresses nor prefixes");
}

int nft_observer_end(struct nft_observer *observer, struct observed **ret_observed)
{
	struct observed *observed = observer->observed;
	struct text shape = {0};

	observed->sets = arena_alloc(
		&observed->arena, (observer->wanted->set_count + 1) * sizeof(*observed->sets));
	if (!observed->sets)
		return -ENOMEM;
	if (!observer->wanted->sets_only)
		add_flags(&shape, observer->flags);
	text_puts(&shape, text_string(&observer->sets));
	text_puts(&shape, text_string(&observer->chains));
	text_puts(&shape, text_string(&observer->rules));
	add_sorted_lines(&shape, &observer->ports);
	for (size_t i = 0; i < observer->wanted->set_count; i++) {
		struct seen_set *seen = &observer->seen[i];

		if (!seen->set.name) {
			if (observer->wanted->sets_only && observed->present)
				note_missing(observer, &observer->wanted->sets[i]);
			continue;
		}
		if (settle_set(observer, seen) < 0)
			shape.failed = true;
		add_destinations(&shape, &seen->set);
		observed->sets[observed->set_count++] = seen->set;
	}
	if (settle_enforced(observer) < 0)
		shape.failed = true;
	if (observer->odd && !observer->wanted->sets_only)
		text_puts(&shape, "elements that sipfence does not make\n");
	note_misfit(observer);
	if (observer->misfit.failed)
		shape.failed = true;
	if (shape.failed || observer->sets.failed || observer->chains.failed ||
		observer->rules.failed) {
		text_free(&shape);
		return -ENOMEM;
	}
	observed->shape = arena_copy(&observed->arena, text_string(&shape), shape.length);
	text_free(&shape);
	if (!observed->shape)
		return -ENOMEM;
	if (observer->misfit.length > 0) {
		observed->misfit = arena_copy(
			&observed->arena, text_string(&observer->misfit), observer->misfit.length);
		if (!observed->misfit)
			return -ENOMEM;
	}
	for (size_t i = 0; i < observed->set_count; i++) {
		struct set *set = &observed->sets[i];

		/* The wanted ruleset may be gone before what was observed. */
		set->name = arena_copy(&observed->arena, set->name, strlen(set->name));
		if (!set->name)
			return -ENOMEM;
	}
	*ret_observed = observed;
	observer->observed = NULL;
	return 0;
}

static int shape_objects(const struct ruleset *ruleset, struct text *shape)
{
	for (size_t i = 0; i < ruleset->set_count; i++) {
		struct nftnl_set *set = nft_rule_set(ruleset, &ruleset->sets[i], 0);

		if (!set)
			return -ENOMEM;
		nft_shape_set(set, (enum set_kind)ruleset->sets[i].kind, shape);
		nftnl_set_free(set);
	}
	for (size_t i = 0; i < ruleset->chain_count; i++) {
		struct nftnl_chain *chain = nft_rule_chain(ruleset, &ruleset->chains[i]);

		if (!chain)
			return -ENOMEM;
		nft_shape_chain(chain, shape);
		nftnl_chain_free(chain);
	}
	for (size_t i = 0; i < ruleset->chain_count; i++) {
		const struct chain *chain = &ruleset->chains[i];

		for (size_t j = 0; j < chain->count; j++) {
			struct nftnl_rule *rule = nft_rule_make(ruleset, chain, &chain->rules[j]);

			if (!rule)
				return -ENOMEM;
			nft_shape_rule(rule, shape);
			nftnl_rule_free(rule);
		}
	}
	return 0;
}

int nft_shape(const struct ruleset *ruleset, struct text *ret_shape)
{
	struct text shape = {0}, ports = {0};

	if (ruleset->sets_only) {
		*ret_shape = shape;
		return 0;
	}
	add_flags(&shape, 0);
	if (shape_objects(ruleset, &shape) < 0)
		shape.failed = true;
	for (size_t i = 0; i < ruleset->set_count; i++) {
		const struct set *set = &ruleset->sets[i];

		for (size_t j = 0; j < set->port_count; j++)
			text_printf(&ports, "port %u %u-%u verdict %d %s\n", set->ports[j].protocol,
				set->ports[j].first, set->ports[j].last, NFT_GOTO,
				ruleset->chains[set->ports[j].chain].name);
	}
	add_sorted_lines(&shape, &ports);
	text_free(&ports);
	for (size_t i = 0; i < ruleset->set_count; i++)
		add_destinations(&shape, &ruleset->sets[i]);
	if (shape.failed) {
		text_free(&shape);
		return -ENOMEM;
	}
	*ret_shape = shape;
	return 0;
}

int nft_parse_generation(const struct nlmsghdr *message, uint32_t *ret_generation)
{
	struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));

	if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN) ||
		mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg) ||
		!attr_find(walk, NFTA_GEN_ID))
		return -EBADMSG;
	*ret_generation = attr_find_be32(walk, NFTA_GEN_ID);
	return 0;
}

int nft_parse_element(
	const struct nlmsghdr *message, const struct set *set, struct element *element)
{
	const struct addr *addr = &element->prefix.addr;
	size_t size = addr_size((enum family)addr->family);
	const struct nlattr *list, *found, *key;
	struct attr_walk walk;
	const void *bytes = NULL;
	const char *name;

	if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM) ||
		mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return -EBADMSG;
	walk = attr_walk_message(message, sizeof(struct nfgenmsg));
	name = attr_find_string(walk, NFTA_SET_ELEM_LIST_SET);
	list = attr_find(walk, NFTA_SET_ELEM_LIST_ELEMENTS);
	found = list ? attr_find(attr_walk_nested(list), NFTA_LIST_ELEM) : NULL;
	if (!name || strcmp(name, set->name) != 0 || !found)
		return -EBADMSG;
	walk = attr_walk_nested(found);
	key = attr_find(walk, NFTA_SET_ELEM_KEY);
	if (key)
		bytes = attr_find_fixed(attr_walk_nested(key), NFTA_DATA_VALUE, size);
	if (!bytes)
		return -EBADMSG;
	/* In a set of intervals the one that contains the address is found. */
	if (memcmp(bytes, addr->bytes, size) != 0)
		return -ENOENT;
	element->packets = element->bytes = 0;
	read_counter(walk, element);
	return 0;
}
