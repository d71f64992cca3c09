/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SETS_PER_SERVICE = 8,
	GUARD_RULES_MAX = 13, /* loopback, 2 of scope, 4 revoked, 4 permitting, replies, reject */
	REJECT_RULES_MAX = 6,
	LOCAL_NAME_SIZE = 80,
};

struct builder {
	const struct config *config;
	const struct allowlist *allowlist;
	struct ruleset *ruleset;
	bool failed; /* out of memory, asked once at the end */
};

static void *take(struct builder *builder, size_t count, size_t size)
{
	void *memory = arena_alloc(&builder->ruleset->arena, (count ? count : 1) * size);

	if (!memory)
		builder->failed = true;
	return memory;
}

static const char *copy(struct builder *builder, const char *string)
{
	const char *copied = arena_copy(&builder->ruleset->arena, string, strlen(string));

	if (!copied)
		builder->failed = true;
	return copied;
}

static const char *join(struct builder *builder, const char *first, const char *second)
{
	char name[LOCAL_NAME_SIZE];

	snprintf(name, sizeof(name), "%s%s", first, second);
	return copy(builder, name);
}

static void write_grant(
	struct comment *comment, const struct config *config, const struct grant *grant, bool last)
{
	enum { ROOM_FOR_REST = sizeof(", +4294967295") - 1, WORDS = 4 };
	const char *id =
		grant->owner == GRANT_LOCAL ? "local-subnets" : config->owners[grant->owner].id;
	size_t limit = last && !comment->left_out ? COMMENT_MAX : COMMENT_MAX - ROOM_FOR_REST;
	const char *const words[] = {comment->length ? ", " : "", id, grant->host ? " " : "",
		grant->host ? grant->host : ""};
	size_t sizes[WORDS], size = 0;

	for (size_t i = 0; i < WORDS; i++)
		size += sizes[i] = strlen(words[i]);
	if (comment->left_out || (comment->length && comment->length + size > limit)) {
		comment->left_out++;
		return;
	}
	/* The first owner alone may be too long: its beginning says most. */
	for (size_t i = 0; i < WORDS && comment->length < limit; i++) {
		size_t room = limit - comment->length, part = sizes[i] < room ? sizes[i] : room;

		memcpy(comment->text + comment->length, words[i], part);
		comment->length += part;
	}
	comment->text[comment->length] = '\0';
}

void comment_add(struct comment *comment, const struct config *config, const struct grant *grant)
{
	const struct grant *last = &comment->last;

	if (comment->count > 0) {
		if (last->owner == grant->owner && last->host == grant->host)
			return; /* a smaller piece of what its owner has already */
		write_grant(comment, config, last, false);
	}
	comment->last = *grant;
	comment->count++;
}

bool comment_is_full(const struct comment *comment)
{
	return comment->left_out > 0;
}

void comment_end(struct comment *comment, const struct config *config, size_t more)
{
	if (comment->count > 0)
		write_grant(comment, config, &comment->last, more == 0);
	comment->left_out += more;
	if (comment->left_out)
		comment->length += (size_t)snprintf(comment->text + comment->length,
			sizeof(comment->text) - comment->length, ", +%zu", comment->left_out);
}

/* Of one service: is it for this set? */
static bool belongs(const struct grant *grant, const struct set *set)
{
	return grant->prefix.addr.family == set->family &&
	       prefix_is_host(&grant->prefix) == (set->kind == SET_HOSTS);
}

static size_t first_grant(const struct allowlist *allowlist, size_t service)
{
	size_t low = 0, high = allowlist->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (allowlist->grants[middle].service < service)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void end_element(struct builder *builder, struct element *element, struct comment *comment)
{
	if (!element)
		return;
	comment_end(comment, builder->config, 0);
	element->comment = copy(builder, comment->text);
}

/* Fills `set` with the grants that belong into it. Covering prefixes stand before what they cover,
 * so that nested ones fold into the last element. */
static void fill(struct builder *builder, struct set *set)
{
	const struct allowlist *allowlist = builder->allowlist;
	struct comment comment = {.length = 0};
	struct element *element = NULL;
	size_t first = first_grant(allowlist, set->service);
	size_t end = first_grant(allowlist, set->service + 1u);
	size_t members = 0;

	for (size_t i = first; i < end; i++)
		members += belongs(&allowlist->grants[i], set);
	set->elements = take(builder, members, sizeof(*set->elements));
	for (size_t i = first; i < end && !builder->failed; i++) {
		const struct grant *grant = &allowlist->grants[i];

		if (!belongs(grant, set))
			continue;
		if (!element || !prefix_covers(&element->prefix, &grant->prefix)) {
			end_element(builder, element, &comment);
			comment = (struct comment){.length = 0};
			element = &set->elements[set->count++];
			element->prefix = grant->prefix;
		}
		comment_add(&comment, builder->config, grant);
	}
	if (!builder->failed)
		end_element(builder, element, &comment);
}

static struct set *add_set(struct builder *builder, enum set_kind kind, enum family family,
	size_t service, const char *name)
{
	struct set *set = &builder->ruleset->sets[builder->ruleset->set_count++];

	*set = (struct set){
		.kind = (uint8_t)kind, .family = (uint8_t)family, .service = (uint8_t)service};
	set->name = name;
	return set;
}

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static void add_destinations(struct builder *builder)
{
	const struct config *config = builder->config;
	struct prefix *sorted;

	if (config->destination_count == 0)
		return;
	sorted = take(builder, config->destination_count, sizeof(*sorted));
	if (builder->failed)
		return;
	memcpy(sorted, config->destinations, config->destination_count * sizeof(*sorted));
	qsort(sorted, config->destination_count, sizeof(*sorted), compare_prefixes);
	for (int family = 0; family < FAMILY_COUNT; family++) {
		struct set *set = add_set(builder, SET_DESTINATIONS, (enum family)family, 0,
			family == FAMILY_IPV4 ? "destinations4" : "destinations6");

		set->elements = take(builder, config->destination_count, sizeof(*set->elements));
		for (size_t i = 0; i < config->destination_count && !builder->failed; i++) {
			struct element *last = &set->elements[set->count];

			if (sorted[i].addr.family != family)
				continue;
			if (set->count == 0 || !prefix_covers(&last[-1].prefix, &sorted[i]))
				set->elements[set->count++].prefix = sorted[i];
		}
	}
}

/* Addresses, once each name has one. */
static size_t count_expected(const struct config *config, size_t service, enum family family)
{
	size_t expected = 0;

	for (size_t i = 0; i < config->owner_count; i++) {
		const struct owner *owner = &config->owners[i];

		if (!(owner->services >> service & 1))
			continue;
		expected += owner->name_count;
		for (size_t j = 0; j < owner->fixed_count; j++)
			expected += owner->fixed[j].addr.family == family &&
				    owner->fixed[j].length == addr_bits(family);
	}
	return expected;
}

static uint32_t roomy(const struct config *config, const struct set *set)
{
	size_t expected = count_expected(config, set->service, (enum family)set->family);

	return hosts_room(expected > set->count ? expected : set->count);
}

static void add_service_sets(struct builder *builder, size_t service)
{
	static const struct {
		enum set_kind kind;
		enum family family;
		const char *suffix;
	} kinds[SETS_PER_SERVICE] = {
		{SET_HOSTS, FAMILY_IPV4, "_hosts4"},
		{SET_HOSTS, FAMILY_IPV6, "_hosts6"},
		{SET_NETS, FAMILY_IPV4, "_nets4"},
		{SET_NETS, FAMILY_IPV6, "_nets6"},
		{SET_REJECTED, FAMILY_IPV4, "_rejected4"},
		{SET_REJECTED, FAMILY_IPV6, "_rejected6"},
		{SET_REVOKED, FAMILY_IPV4, "_revoked4"},
		{SET_REVOKED, FAMILY_IPV6, "_revoked6"},
	};
	const char *name = builder->config->services[service].name;

	for (size_t i = 0; i < SETS_PER_SERVICE; i++) {
		struct set *set;

		if (kinds[i].kind == SET_REVOKED && !builder->config->accept_replies)
			continue;
		set = add_set(builder, kinds[i].kind, kinds[i].family, service,
			join(builder, name, kinds[i].suffix));
		if (set->kind == SET_HOSTS || set->kind == SET_NETS)
			fill(builder, set);
		if (set->kind == SET_HOSTS)
			set->room = set->fresh_room = roomy(builder->config, set);
		else if (set->kind != SET_NETS)
			set->room = DYNAMIC_SET_SIZE;
	}
}

/* Those of an admin's own table, which may lack some. */
static void add_named_sets(struct builder *builder, size_t service)
{
	static const enum set_kind kinds[] = {SET_HOSTS, SET_NETS};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		for (int family = 0; family < FAMILY_COUNT; family++) {
			const char *name = builder->config->services[service].sets[i][family];

			if (name)
				fill(builder, add_set(builder, kinds[i], (enum family)family,
						      service, copy(builder, name)));
		}
	}
}

/* A service whose ports are all left alone has neither sets nor chains. */
static bool is_guarded(const struct config *config, size_t service)
{
	return config->services[service].port_count > 0;
}

/* Behind the base chain each guarded service has its guard and, next, its reject chain. */
static uint32_t guard_chain(const struct config *config, size_t service)
{
	uint32_t chain = 1;

	for (size_t i = 0; i < service; i++)
		chain += is_guarded(config, i) ? 2 : 0;
	return chain;
}

static int compare_ports(const void *a, const void *b)
{
	const struct port_verdict *left = a, *right = b;

	if (left->protocol != right->protocol)
		return left->protocol < right->protocol ? -1 : 1;
	return left->first < right->first ? -1 : left->first > right->first;
}

static void add_ports(struct builder *builder)
{
	const struct config *config = builder->config;
	struct set *set = add_set(builder, SET_PORTS, FAMILY_IPV4, 0, "ports");
	size_t ranges = 0, ports = 0;

	for (size_t i = 0; i < config->service_count; i++) {
		for (size_t j = 0; j < config->services[i].port_count; j++) {
			const struct port_range *range = &config->services[i].ports[j];

			ranges++;
			ports += (size_t)(range->last - range->first) + 1;
		}
	}
	set->intervals = ports > PORTS_EXPANDED_MAX;
	set->ports = take(builder, set->intervals ? ranges : ports, sizeof(*set->ports));
	for (size_t i = 0; i < config->service_count && !builder->failed; i++) {
		for (size_t j = 0; j < config->services[i].port_count; j++) {
			const struct port_range *range = &config->services[i].ports[j];
			unsigned step = set->intervals ? (unsigned)(range->last - range->first) : 0;

			for (unsigned port = range->first; port <= range->last; port += step + 1)
				set->ports[set->port_count++] = (struct port_verdict){
					.protocol = range->protocol,
					.first = (uint16_t)port,
					.last = (uint16_t)(port + step),
					.chain = guard_chain(config, i),
				};
		}
	}
	if (!builder->failed)
		qsort(set->ports, set->port_count, sizeof(*set->ports), compare_ports);
	if (!set->intervals)
		set->room = (uint32_t)set->port_count;
}

static uint32_t set_index(
	const struct builder *builder, enum set_kind kind, size_t service, enum family family)
{
	const struct set *set = ruleset_find_set(builder->ruleset, kind, service, family);

	return (uint32_t)(set - builder->ruleset->sets);
}

static struct expression simple(enum expression_kind kind)
{
	return (struct expression){.kind = kind};
}

static struct expression of_set(enum expression_kind kind, uint32_t set)
{
	return (struct expression){.kind = kind, .set = set};
}

static struct expression go_to(uint32_t chain)
{
	return (struct expression){.kind = EXPRESSION_GOTO, .chain = chain};
}

static void add_rule(struct builder *builder, struct chain *chain, size_t count,
	const struct expression *expressions)
{
	struct rule *rule;

	if (chain->count == chain->capacity) {
		builder->failed = true;
		return;
	}
	rule = &chain->rules[chain->count++];
	rule->count = count;
	memcpy(rule->expressions, expressions, count * sizeof(*expressions));
}

#define ADD_RULE(chain, ...)                                                                       \
	add_rule(builder, chain,                                                                   \
		sizeof((struct expression[]){__VA_ARGS__}) / sizeof(struct expression),            \
		(struct expression[]){__VA_ARGS__})

/* What is neither for this machine nor for a guarded destination is none of our business. */
static void add_scope_rules(struct builder *builder, struct chain *chain)
{
	if (builder->config->destination_count == 0) {
		ADD_RULE(chain, simple(EXPRESSION_FORWARDED), simple(EXPRESSION_ACCEPT));
		return;
	}
	for (int family = 0; family < FAMILY_COUNT; family++) {
		uint32_t set = set_index(builder, SET_DESTINATIONS, 0, (enum family)family);

		ADD_RULE(chain, simple(EXPRESSION_FORWARDED), of_set(EXPRESSION_DADDR_NOT_IN, set),
			simple(EXPRESSION_ACCEPT));
	}
}

static void add_guard_rules(struct builder *builder, struct chain *chain, size_t service)
{
	static const enum set_kind passing[] = {SET_HOSTS, SET_NETS};
	uint32_t reject = guard_chain(builder->config, service) + 1;

	ADD_RULE(chain, simple(EXPRESSION_LOOPBACK), simple(EXPRESSION_ACCEPT));
	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
		for (int family = 0; family < FAMILY_COUNT; family++) {
			uint32_t set = set_index(builder, passing[i], service, (enum family)family);

			ADD_RULE(
				chain, of_set(EXPRESSION_SADDR_IN, set), simple(EXPRESSION_ACCEPT));
		}
	}
	add_scope_rules(builder, chain);
	for (int family = 0; builder->config->accept_replies && family < FAMILY_COUNT; family++) {
		uint32_t set = set_index(builder, SET_REVOKED, service, (enum family)family);

		/* Two rules: an update that fails ends its rule, and must not end in an accept. */
		ADD_RULE(chain, of_set(EXPRESSION_SADDR_IN, set),
			of_set(EXPRESSION_UPDATE_SADDR, set));
		ADD_RULE(chain, of_set(EXPRESSION_SADDR_IN, set), go_to(reject));
	}
	if (builder->config->accept_replies)
		ADD_RULE(chain, simple(EXPRESSION_REPLY), simple(EXPRESSION_ACCEPT));
	ADD_RULE(chain, go_to(reject));
}

static void add_reject_rules(struct builder *builder, struct chain *chain, size_t service)
{
	const struct config *config = builder->config;
	struct expression verdict = simple(config->monitor ? EXPRESSION_ACCEPT : EXPRESSION_DROP);

	ADD_RULE(chain, simple(EXPRESSION_COUNTER));
	ADD_RULE(chain,
		(struct expression){.kind = EXPRESSION_OVER_LIMIT,
			.rate = NOTED_RATE,
			.per = 1,
			.burst = NOTED_RATE},
		verdict);
	if (config->log_rate > 0) {
		char prefix[COMMENT_MAX];

		snprintf(prefix, sizeof(prefix), "%s%s ", config->log_prefix,
			config->services[service].name);
		ADD_RULE(chain,
			(struct expression){.kind = EXPRESSION_LIMIT,
				.rate = config->log_rate,
				.per = config->log_rate_unit,
				.burst = LOG_BURST},
			(struct expression){
				.kind = EXPRESSION_LOG, .prefix = copy(builder, prefix)});
	}
	for (int family = 0; family < FAMILY_COUNT; family++)
		ADD_RULE(chain,
			of_set(EXPRESSION_UPDATE_SADDR,
				set_index(builder, SET_REJECTED, service, (enum family)family)));
	ADD_RULE(chain, verdict);
}

static struct chain *add_chain(struct builder *builder, const char *name, size_t rules_max)
{
	struct chain *chain = &builder->ruleset->chains[builder->ruleset->chain_count++];

	chain->name = name;
	chain->rules = take(builder, rules_max, sizeof(*chain->rules));
	chain->capacity = rules_max;
	return builder->failed ? NULL : chain;
}

static void add_chains(struct builder *builder)
{
	const struct config *config = builder->config;
	struct chain *chain = add_chain(builder, "prerouting", 1);

	if (!chain)
		return;
	chain->base = true;
	chain->priority = config->accept_replies ? PRIORITY_BEHIND_CONNTRACK : PRIORITY_RAW;
	ADD_RULE(chain, of_set(EXPRESSION_PORTS, set_index(builder, SET_PORTS, 0, FAMILY_IPV4)));
	for (size_t i = 0; i < config->service_count; i++) {
		const char *name = config->services[i].name;

		if (!is_guarded(config, i))
			continue;
		chain = add_chain(builder, join(builder, name, "_guard"), GUARD_RULES_MAX);
		if (chain)
			add_guard_rules(builder, chain, i);
		chain = add_chain(builder, join(builder, name, "_reject"), REJECT_RULES_MAX);
		if (chain)
			add_reject_rules(builder, chain, i);
	}
}

static void add_table(struct builder *builder)
{
	const struct config *config = builder->config;

	add_ports(builder);
	if (!builder->failed)
		add_destinations(builder);
	for (size_t i = 0; i < config->service_count && !builder->failed; i++) {
		if (is_guarded(config, i))
			add_service_sets(builder, i);
	}
	if (!builder->failed)
		add_chains(builder);
}

int ruleset_build(const struct config *config, const struct allowlist *allowlist,
	struct ruleset **ret_ruleset)
{
	struct builder builder = {.config = config, .allowlist = allowlist};
	struct ruleset *ruleset = calloc(1, sizeof(*ruleset));

	if (!ruleset)
		return -ENOMEM;
	builder.ruleset = ruleset;
	ruleset->table = copy(&builder, config->table);
	ruleset->sets = take(
		&builder, 3 + SETS_PER_SERVICE * config->service_count, sizeof(*ruleset->sets));
	ruleset->chains = take(&builder, 1 + 2 * config->service_count, sizeof(*ruleset->chains));
	ruleset->family = config->table_family;
	ruleset->sets_only = config->sets_only;
	if (!builder.failed && !config->sets_only)
		add_table(&builder);
	for (size_t i = 0; config->sets_only && i < config->service_count && !builder.failed; i++)
		add_named_sets(&builder, i);
	if (builder.failed) {
		ruleset_free(ruleset);
		return -ENOMEM;
	}
	*ret_ruleset = ruleset;
	return 0;
}

struct ruleset *ruleset_free(struct ruleset *ruleset)
{
	if (ruleset)
		arena_free(&ruleset->arena);
	free(ruleset);
	return NULL;
}

const char *ruleset_family_name(enum table_family family)
{
	return family == TABLE_IPV4 ? "ip" : family == TABLE_IPV6 ? "ip6" : "inet";
}

uint32_t hosts_room(size_t expected)
{
	uint32_t room = HOSTS_ROOM_LEAST;

	/* Doubled, so that a set is swapped a few times only on its way to any size. */
	while (room < expected + expected / 2 && room <= UINT32_MAX / 2)
		room *= 2;
	return room;
}

bool set_has_prefixes(const struct set *set)
{
	return set->kind == SET_NETS || set->kind == SET_DESTINATIONS;
}

const struct set *ruleset_find_set(
	const struct ruleset *ruleset, enum set_kind kind, size_t service, enum family family)
{
	for (size_t i = 0; i < ruleset->set_count; i++) {
		const struct set *set = &ruleset->sets[i];

		if (set->kind == kind && set->service == service && set->family == family)
			return set;
	}
	return NULL;
}

const struct element *element_find(
	const struct element *elements, size_t count, const struct addr *addr)
{
	size_t low = 0, high = count;

	/* The last element that does not begin after `addr`. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (addr_compare(&elements[middle].prefix.addr, addr) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || !prefix_contains(&elements[low - 1].prefix, addr))
		return NULL;
	return &elements[low - 1];
}

bool ruleset_permits(const struct ruleset *ruleset, size_t service, const struct addr *addr)
{
	static const enum set_kind passing[] = {SET_HOSTS, SET_NETS};

	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
		const struct set *set =
			ruleset_find_set(ruleset, passing[i], service, (enum family)addr->family);

		if (set && element_find(set->elements, set->count, addr))
			return true;
	}
	return false;
}
