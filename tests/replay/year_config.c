/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "year.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char srv_name[] = "_sip._udp.t.example";

static const int64_t holds[] = {2 * 3600, 24 * 3600, 48 * 3600};
static const int64_t gones[] = {60, 300, 3600};
static const int64_t phone_lingers[] = {0, 0, 600};
static const int64_t trunk_lingers[] = {0, 1800, 3600};
static const int64_t refreshes[] = {600, 1800, 3600};

const char *year_name(size_t index)
{
	static const char *const names[NAMES_MAX] = {
		"e0.example",
		"e1.example",
		"e2.example",
		"e3.example",
		"e4.example",
		"e5.example",
		"e6.example",
		"e7.example",
		"t0.example",
		"t1.example",
		"t2.example",
		"t3.example",
	};

	return names[index];
}

static bool one_in(struct dice *dice, unsigned count)
{
	return dice_roll(dice, count) == 0;
}

static int64_t choose(struct dice *dice, const int64_t list[3])
{
	return list[dice_roll(dice, 3)];
}

static void fix(struct year_owner *owner, const char *text)
{
	if (prefix_parse(text, strlen(text), &owner->fixed[owner->fixed_count]) != PREFIX_OK)
		abort();
	owner->fixed_count++;
}

static void roll_phone(struct dice *dice, struct year_owner *owner, unsigned number, bool within)
{
	bool guarded = number >= 5;
	size_t first = guarded ? WITHIN_FROM : 0, end = guarded ? PHONE_NAMES : WITHIN_FROM;
	char text[32];

	*owner = (struct year_owner){.services = 1, .within = guarded && within};
	snprintf(owner->id, sizeof(owner->id), "2%u", number);
	owner->ipv6_prefix = number % 3 == 0 ? 64 : number == 4 ? 48 : 128;
	owner->names[first + dice_roll(dice, (unsigned)(end - first))] = true;
	if (one_in(dice, 2))
		owner->names[first + dice_roll(dice, (unsigned)(end - first))] = true;
	if (!guarded && one_in(dice, 4)) {
		snprintf(text, sizeof(text), "203.0.113.%u", 1 + dice_roll(dice, 20));
		fix(owner, text);
	}
}

static void roll_trunk(struct dice *dice, struct year_owner *owner, unsigned number)
{
	*owner = (struct year_owner){.peer = true, .ipv6_prefix = 128, .services = 1};
	snprintf(owner->id, sizeof(owner->id), "p%u", number);
	if (number == 2) {
		owner->has_srv = true;
		return;
	}
	if (number == 3) {
		owner->services = 2;
		fix(owner, "198.51.100.0/28");
		fix(owner, "2001:db8:1::/48");
		return;
	}
	if (one_in(dice, 3))
		owner->services = 3;
	for (size_t i = PHONE_NAMES; i < NAMES_MAX; i++)
		owner->names[i] = one_in(dice, 2);
	owner->names[PHONE_NAMES] = true;
}

static void print_hosts(const struct year_owner *owner, struct text *yaml)
{
	char buffer[PREFIX_TEXT_SIZE];
	const char *comma = "";

	text_puts(yaml, "hosts: [");
	for (size_t i = 0; i < NAMES_MAX; i++) {
		if (!owner->names[i])
			continue;
		text_printf(yaml, "%s%s", comma, year_name(i));
		comma = ", ";
	}
	for (size_t i = 0; i < owner->fixed_count; i++) {
		prefix_print(&owner->fixed[i], buffer);
		text_printf(yaml, "%s%s", comma, buffer);
		comma = ", ";
	}
	text_puts(yaml, "]");
}

static void print_owner(const struct year_owner *owner, struct text *yaml)
{
	text_printf(yaml, "  %s: {", owner->id);
	if (owner->has_srv)
		text_printf(yaml, "srv: [%s]", srv_name);
	else
		print_hosts(owner, yaml);
	if (owner->within)
		text_puts(yaml, ", within: [203.0.113.0/24]");
	if (owner->ipv6_prefix != 128)
		text_printf(yaml, ", ipv6-prefix: %u", owner->ipv6_prefix);
	if (owner->services != 1)
		text_puts(yaml,
			owner->services == 2 ? ", services: [web]" : ", services: [sip, web]");
	text_puts(yaml, "}\n");
}

static void print_config(const struct year_config *config, struct text *yaml)
{
	const struct account_rules *rules = &config->rules;
	bool peers = false;

	text_puts(yaml, "extensions:\n");
	for (size_t i = 0; i < config->owner_count; i++) {
		if (config->owners[i].peer && !peers)
			text_puts(yaml, "peers:\n");
		peers = config->owners[i].peer;
		print_owner(&config->owners[i], yaml);
	}
	text_printf(yaml,
		"local-subnets: [192.168.10.0/24]\n"
		"services: {web: {tcp: [443]}}\n"
		"hold: %llds\ngone: %llds\nlinger: {extensions: %llds, peers: %llds}\n"
		"refresh: {min: 30s, max: %llds}\n",
		(long long)rules->hold / 1000, (long long)rules->gone / 1000,
		(long long)rules->linger[0] / 1000, (long long)rules->linger[1] / 1000,
		(long long)config->refresh_max / 1000);
	if (config->replies)
		text_puts(yaml, "replies: accept\n");
	if (!config->lock)
		text_puts(yaml, "nftables: {lock: off}\n");
}

void year_config_roll(struct dice *dice, struct year_config *ret_config)
{
	struct year_config config = {.owner_count = 0};
	bool within = one_in(dice, 2);

	for (unsigned number = 1; number <= 6; number++) {
		if (number == 1 || !one_in(dice, 4))
			roll_phone(dice, &config.owners[config.owner_count++], number, within);
	}
	for (unsigned number = 1; number <= 3; number++) {
		if (number == 1 || !one_in(dice, 3))
			roll_trunk(dice, &config.owners[config.owner_count++], number);
	}
	config.rules = (struct account_rules){
		.hold = choose(dice, holds) * 1000,
		.gone = choose(dice, gones) * 1000,
		.linger = {choose(dice, phone_lingers) * 1000, choose(dice, trunk_lingers) * 1000},
	};
	config.refresh_max = choose(dice, refreshes) * 1000;
	config.replies = one_in(dice, 4);
	config.lock = !one_in(dice, 2);
	print_config(&config, &config.yaml);
	text_free(&ret_config->yaml);
	*ret_config = config;
}

/* --- Who should be in --- */

struct collector {
	const struct year_owner *owner;
	const struct account *account;
	struct permits *permits;
	bool certain; /* the name itself is */
};

static void add_permit(
	struct collector *collector, const struct prefix *prefix, const char *host, bool certain)
{
	struct permits *permits = collector->permits;

	for (uint8_t service = 0; service < 2; service++) {
		struct permit *permit = &permits->list[permits->count];

		if (!(collector->owner->services >> service & 1))
			continue;
		if (permits->count == PERMITS_MAX)
			abort();
		permits->count++;
		*permit =
			(struct permit){.prefix = *prefix, .service = service, .certain = certain};
		snprintf(permit->owner, sizeof(permit->owner), "%s%s%s", collector->owner->id,
			*host ? " " : "", host);
	}
}

static void take_value(
	void *context, const struct account_name *name, const struct value *value, bool certain)
{
	struct collector *collector = context;
	bool four = value->addr.family == FAMILY_IPV4;
	struct prefix prefix = prefix_of(&value->addr, four ? 32 : collector->owner->ipv6_prefix);

	add_permit(collector, &prefix, name->name, certain && collector->certain);
}

static void collect_name(struct collector *collector, const char *name)
{
	for (size_t i = 0; i < collector->account->count; i++) {
		const struct account_name *known = &collector->account->names[i];

		if (strcmp(known->name, name) != 0)
			continue;
		account_list(collector->account, known, TALE_A, take_value, collector);
		account_list(collector->account, known, TALE_AAAA, take_value, collector);
	}
}

static void take_target(
	void *context, const struct account_name *name, const struct value *value, bool certain)
{
	struct collector *collector = context;

	(void)name;
	collector->certain = certain;
	collect_name(collector, value->target);
	collector->certain = true;
}

static int compare_permits(const void *a, const void *b)
{
	const struct permit *left = a, *right = b;
	int order = (int)left->service - (int)right->service;

	if (order == 0)
		order = prefix_compare(&left->prefix, &right->prefix);
	if (order == 0)
		order = strcmp(left->owner, right->owner);
	return order ? order : (int)right->certain - (int)left->certain;
}

static bool same_permit(const struct permit *a, const struct permit *b)
{
	return a->service == b->service && prefix_compare(&a->prefix, &b->prefix) == 0 &&
	       strcmp(a->owner, b->owner) == 0;
}

static void add_local(struct collector *collector)
{
	static const struct year_owner local = {.id = "local-subnets", .services = 1};
	struct prefix prefix;

	prefix_parse("192.168.10.0/24", 15, &prefix);
	collector->owner = &local;
	add_permit(collector, &prefix, "", true);
}

void year_permits(const struct year_config *config, const struct account *account,
	struct permits *ret_permits)
{
	struct collector collector = {.account = account, .permits = ret_permits, .certain = true};
	size_t kept = 0;

	ret_permits->count = 0;
	ret_permits->certain = true;
	for (size_t i = 0; i < config->owner_count; i++) {
		const struct year_owner *owner = collector.owner = &config->owners[i];

		for (size_t j = 0; j < owner->fixed_count; j++)
			add_permit(&collector, &owner->fixed[j], "", true);
		for (size_t j = 0; j < NAMES_MAX; j++) {
			if (owner->names[j])
				collect_name(&collector, year_name(j));
		}
		for (size_t j = 0; owner->has_srv && j < account->count; j++) {
			if (strcmp(account->names[j].name, srv_name) == 0)
				account_list(account, &account->names[j], TALE_SRV, take_target,
					&collector);
		}
	}
	add_local(&collector);
	qsort(ret_permits->list, ret_permits->count, sizeof(*ret_permits->list), compare_permits);
	for (size_t i = 0; i < ret_permits->count; i++) {
		/* Of two alike the certain one stands first. */
		if (kept > 0 && same_permit(&ret_permits->list[kept - 1], &ret_permits->list[i]))
			continue;
		ret_permits->list[kept++] = ret_permits->list[i];
		ret_permits->certain &= ret_permits->list[i].certain;
	}
	ret_permits->count = kept;
}
