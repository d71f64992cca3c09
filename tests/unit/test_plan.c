/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From config and answers to what the kernel is told, on a model of the kernel: elements in sorted
 * lists, which refuses what the real one refuses.
 */
#include "check.h"

#include "allowlist.h"
#include "config.h"
#include "plan.h"
#include "roster.h"
#include "ruleset.h"

#include <string.h>

enum { ROUNDS = 3000, OWNERS_MAX = 12, NOW = 1700000000, MODEL_MAX = 128 };

static const char shape[] = "the shape";

static struct addr addr(const char *text)
{
	struct addr result;

	assert_true(addr_parse(text, strlen(text), &result));
	return result;
}

/* Addresses of a small world, so that they meet. */
static struct addr random_addr(struct dice *dice)
{
	struct addr result = addr(dice_roll(dice, 3) ? "203.0.113.0" : "2001:db8::");

	result.bytes[result.family == FAMILY_IPV4 ? 3 : 15] = (uint8_t)dice_roll(dice, 32);
	if (result.family == FAMILY_IPV6)
		result.bytes[7] = (uint8_t)dice_roll(dice, 3);
	return result;
}

static struct prefix random_prefix(struct dice *dice)
{
	struct addr base = random_addr(dice);

	return prefix_of(&base, addr_bits(base.family) - dice_roll(dice, 6));
}

/* A config that is made by hand, and its roster with answers. */
struct world {
	struct config config;
	struct service services[2];
	struct port_range ports[2];
	struct guard guard;
	struct owner owners[OWNERS_MAX];
	struct prefix fixed[OWNERS_MAX], locals[3];
	const char *names[OWNERS_MAX][1];
	char ids[OWNERS_MAX][8], texts[OWNERS_MAX][32];
	struct roster *roster;
	struct allowlist allowlist;
	struct ruleset *ruleset;
};

static void fill_config(struct world *world, struct dice *dice)
{
	struct config *config = &world->config;

	world->services[0] = (struct service){
		.name = "sip", .ports = &world->ports[0], .port_count = 1, .local = true};
	world->services[1] =
		(struct service){.name = "web", .ports = &world->ports[1], .port_count = 1};
	world->ports[0] = (struct port_range){PROTOCOL_UDP, 5060, 5060};
	world->ports[1] = (struct port_range){PROTOCOL_TCP, 80, 80};
	world->guard = (struct guard){.max_addresses = 8};
	config->services = world->services;
	config->service_count = 2;
	config->guards = &world->guard;
	config->guard_count = 1;
	config->owners = world->owners;
	config->owner_count = 1 + dice_roll(dice, OWNERS_MAX);
	config->local_subnets = world->locals;
	config->local_subnet_count = dice_roll(dice, 4);
	config->hold = config->gone = 3600;
	config->table = "sipfence";
	config->log_rate = 6;
	config->log_rate_unit = 60;
	config->log_prefix = "sipfence ";
	for (size_t i = 0; i < config->local_subnet_count; i++)
		world->locals[i] = random_prefix(dice);
	for (size_t i = 0; i < config->owner_count; i++) {
		struct owner *owner = &world->owners[i];

		snprintf(world->ids[i], sizeof(world->ids[i]), "%zu", 20 + i);
		snprintf(world->texts[i], sizeof(world->texts[i]), "h%u.example",
			dice_roll(dice, 8));
		world->names[i][0] = world->texts[i];
		world->fixed[i] = random_prefix(dice);
		*owner = (struct owner){
			.id = world->ids[i],
			.names = world->names[i],
			.name_count = dice_roll(dice, 4) > 0,
			.fixed = &world->fixed[i],
			.fixed_count = dice_roll(dice, 3) == 0,
			.services = 1 + dice_roll(dice, 3),
			.kind = dice_roll(dice, 4) ? OWNER_EXTENSION : OWNER_PEER,
			.ipv6_prefix = dice_roll(dice, 3) ? 128 : 64,
		};
	}
}

static void fill_answers(struct world *world, struct dice *dice)
{
	for (size_t i = 0; i < world->roster->host_count; i++) {
		for (int family = 0; family < FAMILY_COUNT; family++) {
			struct addr value = random_addr(dice);
			struct answer answer = {
				.kind = ANSWER_ADDRESSES, .addrs = &value, .count = 1};

			if (value.family != family)
				answer = (struct answer){.kind = ANSWER_NO_DATA};
			assert_true(host_take(&world->roster->hosts[i], (enum family)family,
					    &answer, 0, NOW) >= 0);
		}
	}
}

static void make_world(struct world *world, struct dice *dice, bool accept_replies)
{
	memset(world, 0, sizeof(*world));
	fill_config(world, dice);
	world->config.accept_replies = accept_replies;
	assert_int_equal(roster_build(&world->config, NULL, &world->roster), 0);
	fill_answers(world, dice);
	assert_int_equal(allowlist_build(&world->config, world->roster, NOW, &world->allowlist), 0);
	assert_int_equal(ruleset_build(&world->config, &world->allowlist, &world->ruleset), 0);
}

static void clear_world(struct world *world)
{
	ruleset_free(world->ruleset);
	allowlist_clear(&world->allowlist);
	roster_free(world->roster);
}

/* What a kernel that holds `ruleset` would show. */
static struct observed *observe(const struct ruleset *ruleset)
{
	struct observed *observed = calloc(1, sizeof(*observed));

	assert_non_null(observed);
	observed->present = true;
	observed->shape = shape;
	observed->sets = arena_alloc(&observed->arena, ruleset->set_count * sizeof(struct set));
	assert_non_null(observed->sets);
	observed->set_count = ruleset->set_count;
	memcpy(observed->sets, ruleset->sets, ruleset->set_count * sizeof(struct set));
	for (size_t i = 0; i < observed->set_count; i++) {
		struct set *set = &observed->sets[i];
		struct element *room =
			arena_alloc(&observed->arena, MODEL_MAX * sizeof(struct element));

		assert_non_null(room);
		assert_true(set->count < MODEL_MAX);
		if (set->count)
			memcpy(room, set->elements, set->count * sizeof(struct element));
		set->elements = room;
	}
	return observed;
}

static void model_delete(struct set *set, const struct element *element)
{
	for (size_t i = 0; i < set->count; i++) {
		if (prefix_compare(&set->elements[i].prefix, &element->prefix) != 0)
			continue;
		memmove(&set->elements[i], &set->elements[i + 1],
			(set->count - i - 1) * sizeof(*element));
		set->count--;
		return;
	}
	fail_msg("ENOENT: deletes what is not in %s", set->name);
}

static void model_add(struct set *set, const struct element *element)
{
	size_t at = 0;

	for (size_t i = 0; i < set->count; i++) {
		if (prefix_covers(&set->elements[i].prefix, &element->prefix) ||
			prefix_covers(&element->prefix, &set->elements[i].prefix))
			fail_msg("EEXIST: overlaps with what is in %s", set->name);
		if (prefix_compare(&set->elements[i].prefix, &element->prefix) < 0)
			at = i + 1;
	}
	memmove(&set->elements[at + 1], &set->elements[at], (set->count - at) * sizeof(*element));
	set->elements[at] = *element;
	set->count++;
}

static void model_apply(
	struct observed *observed, const struct ruleset *wanted, const struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		const char *name = wanted->sets[plan->changes[i].set].name;
		struct set *set = (struct set *)observed_find_set(observed, name);

		assert_non_null(set);
		if (plan->changes[i].add)
			model_add(set, &plan->changes[i].element);
		else
			model_delete(set, &plan->changes[i].element);
	}
}

static void assert_equal_elements(const struct ruleset *wanted, const struct observed *observed)
{
	for (size_t i = 0; i < wanted->set_count; i++) {
		const struct set *want = &wanted->sets[i];
		const struct set *have = observed_find_set(observed, want->name);

		if (want->kind == SET_REJECTED)
			continue;
		assert_int_equal(want->count, have->count);
		for (size_t j = 0; j < want->count; j++) {
			assert_int_equal(prefix_compare(&want->elements[j].prefix,
						 &have->elements[j].prefix),
				0);
			if (want->elements[j].comment)
				assert_string_equal(
					want->elements[j].comment, have->elements[j].comment);
			assert_int_equal(want->elements[j].packets, have->elements[j].packets);
		}
	}
}

static void test_applying_the_plan_gives_the_ruleset(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		bool accept_replies = dice_roll(&dice, 2);
		struct world before, after;
		struct observed *observed;
		struct plan plan;

		make_world(&before, &dice, accept_replies);
		make_world(&after, &dice, accept_replies);
		observed = observe(before.ruleset);
		for (size_t j = 0; j < observed->set_count; j++) {
			for (size_t k = 0; k < observed->sets[j].count; k++)
				observed->sets[j].elements[k].packets = dice_roll(&dice, 100);
		}
		assert_int_equal(plan_make(after.ruleset, shape, observed, NULL, 0, &plan), 0);
		assert_int_not_equal(plan.kind, PLAN_SWAP);
		model_apply(observed, after.ruleset, &plan);
		assert_equal_elements(after.ruleset, observed);
		plan_clear(&plan);
		assert_int_equal(plan_make(after.ruleset, shape, observed, NULL, 0, &plan), 0);
		assert_int_equal(plan.kind, PLAN_NOTHING);
		plan_clear(&plan);
		observed_free(observed);
		clear_world(&before);
		clear_world(&after);
	}
}

/* By its definition, without sets and folding. */
static bool granted(const struct allowlist *allowlist, size_t service, const struct addr *value)
{
	for (size_t i = 0; i < allowlist->count; i++) {
		if (allowlist->grants[i].service == service &&
			prefix_contains(&allowlist->grants[i].prefix, value))
			return true;
	}
	return false;
}

static void test_ruleset_permits_what_the_allowlist_grants(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS / 10; i++) {
		struct world world;

		make_world(&world, &dice, false);
		for (int j = 0; j < 200; j++) {
			struct addr value = random_addr(&dice);

			for (size_t service = 0; service < 2; service++)
				assert_int_equal(ruleset_permits(world.ruleset, service, &value),
					granted(&world.allowlist, service, &value));
		}
		clear_world(&world);
	}
}

static void test_nets_are_disjoint(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS / 10; i++) {
		struct world world;

		make_world(&world, &dice, false);
		for (size_t j = 0; j < world.ruleset->set_count; j++) {
			const struct set *set = &world.ruleset->sets[j];

			for (size_t k = 1; set->kind == SET_NETS && k < set->count; k++) {
				struct addr last = prefix_last(&set->elements[k - 1].prefix);

				assert_true(addr_compare(&last, &set->elements[k].prefix.addr) < 0);
			}
		}
		clear_world(&world);
	}
}

static void test_comments_fit(void **state)
{
	struct dice dice = dice_new(__func__);
	struct prefix shared = {addr("203.0.113.10"), 32};
	struct world world;
	const struct set *set;
	char id[65];

	(void)state;
	memset(id, 'x', 64);
	id[64] = '\0';
	make_world(&world, &dice, false);
	clear_world(&world);
	world.config.owner_count = OWNERS_MAX;
	world.config.local_subnet_count = 0;
	for (size_t i = 0; i < OWNERS_MAX; i++) {
		world.owners[i] = (struct owner){.id = id,
			.fixed = &shared,
			.fixed_count = 1,
			.services = 1,
			.ipv6_prefix = 128};
		assert_int_equal(roster_build(&world.config, NULL, &world.roster), 0);
		assert_int_equal(
			allowlist_build(&world.config, world.roster, NOW, &world.allowlist), 0);
		assert_int_equal(ruleset_build(&world.config, &world.allowlist, &world.ruleset), 0);
		set = ruleset_find_set(world.ruleset, SET_HOSTS, 0, FAMILY_IPV4);
		assert_int_equal(set->count > 0, true);
		assert_true(strlen(set->elements[0].comment) <= COMMENT_MAX);
		clear_world(&world);
	}
	/* Twelve owners of 64 bytes: the first, and how many more. */
	roster_build(&world.config, NULL, &world.roster);
	allowlist_build(&world.config, world.roster, NOW, &world.allowlist);
	ruleset_build(&world.config, &world.allowlist, &world.ruleset);
	set = ruleset_find_set(world.ruleset, SET_HOSTS, 0, FAMILY_IPV4);
	assert_memory_equal(set->elements[0].comment, id, 64);
	assert_string_equal(set->elements[0].comment + 64, ", +11");
	clear_world(&world);
}

static void test_last_owner_takes_the_address_with_it(void **state)
{
	struct dice dice = dice_new(__func__);
	struct prefix shared = {addr("203.0.113.10"), 32};
	struct addr value = shared.addr;
	struct world world;

	(void)state;
	make_world(&world, &dice, false);
	clear_world(&world);
	world.config.local_subnet_count = 0;
	for (size_t owners = 3; owners-- > 0;) {
		world.config.owner_count = owners;
		for (size_t i = 0; i < owners; i++)
			world.owners[i] = (struct owner){.id = world.ids[i],
				.fixed = &shared,
				.fixed_count = 1,
				.services = 1,
				.ipv6_prefix = 128};
		assert_int_equal(roster_build(&world.config, NULL, &world.roster), 0);
		allowlist_build(&world.config, world.roster, NOW, &world.allowlist);
		ruleset_build(&world.config, &world.allowlist, &world.ruleset);
		assert_int_equal(ruleset_permits(world.ruleset, 0, &value), owners > 0);
		clear_world(&world);
	}
}

static bool in_set(const struct ruleset *ruleset, enum set_kind kind, const char *text)
{
	struct addr value = addr(text);
	const struct set *set = ruleset_find_set(ruleset, kind, 0, (enum family)value.family);

	return set && element_find(set->elements, set->count, &value);
}

/* Two rulesets of one fixed address each. */
static void make_pair(struct world *before, struct world *after, struct dice *dice)
{
	struct world *worlds[] = {before, after};

	for (size_t i = 0; i < 2; i++) {
		struct world *world = worlds[i];

		make_world(world, dice, true);
		clear_world(world);
		world->config.owner_count = 1;
		world->config.local_subnet_count = 0;
		world->owners[0] = (struct owner){.id = "21",
			.fixed = &world->fixed[0],
			.fixed_count = 1,
			.services = 1,
			.ipv6_prefix = 128};
		world->fixed[0] =
			(struct prefix){addr(i == 0 ? "203.0.113.10" : "203.0.113.77"), 32};
		assert_int_equal(roster_build(&world->config, NULL, &world->roster), 0);
		allowlist_build(&world->config, world->roster, NOW, &world->allowlist);
		ruleset_build(&world->config, &world->allowlist, &world->ruleset);
	}
}

static void test_who_leaves_is_revoked(void **state)
{
	struct dice dice = dice_new(__func__);
	struct talker talkers[] = {
		{.addr = addr("198.51.100.9"), .protocol = PROTOCOL_UDP, .opened_here = true},
		{.addr = addr("203.0.113.10"), .protocol = PROTOCOL_UDP},
		{.addr = addr("203.0.113.77"), .protocol = PROTOCOL_UDP},
		{.addr = addr("198.51.100.8")}, /* from a rejected set */
	};
	struct world before, after;
	struct observed *observed, none = {0};
	struct plan plan;

	(void)state;
	make_pair(&before, &after, &dice);
	observed = observe(before.ruleset);
	assert_int_equal(plan_make(after.ruleset, shape, observed, talkers, 4, &plan), 0);
	assert_true(in_set(after.ruleset, SET_REVOKED, "203.0.113.10"));
	/* A reply to a flow that we opened is what `replies: accept` is for. */
	assert_false(in_set(after.ruleset, SET_REVOKED, "198.51.100.9"));
	assert_false(in_set(after.ruleset, SET_REVOKED, "203.0.113.77"));
	plan_clear(&plan);
	/* Nothing was enforced before: nobody's flow is known to be good. */
	assert_int_equal(plan_make(after.ruleset, shape, &none, talkers, 4, &plan), 0);
	assert_int_equal(plan.kind, PLAN_SWAP);
	assert_true(in_set(after.ruleset, SET_REVOKED, "203.0.113.10"));
	assert_false(in_set(after.ruleset, SET_REVOKED, "198.51.100.9"));
	/* Without `replies: accept` before, the rejected set holds trunks as well. */
	assert_false(in_set(after.ruleset, SET_REVOKED, "198.51.100.8"));
	plan_clear(&plan);
	observed->monitor = true;
	assert_int_equal(plan_make(after.ruleset, shape, observed, talkers + 1, 3, &plan), 0);
	assert_true(in_set(after.ruleset, SET_REVOKED, "203.0.113.10"));
	assert_true(in_set(after.ruleset, SET_REVOKED, "198.51.100.8"));
	plan_clear(&plan);
	observed_free(observed);
	clear_world(&before);
	clear_world(&after);
}

static void test_who_comes_back_is_revoked_no_more(void **state)
{
	struct dice dice = dice_new(__func__);
	struct world before, after;
	struct observed *observed;
	struct plan plan;
	struct set *revoked;

	(void)state;
	make_pair(&before, &after, &dice);
	observed = observe(before.ruleset);
	revoked = (struct set *)observed_find_set(observed, "sip_revoked4");
	revoked->elements[0] =
		(struct element){.prefix = {addr("198.51.100.1"), 32}, .expires_ms = 9};
	revoked->elements[1] =
		(struct element){.prefix = {addr("203.0.113.77"), 32}, .expires_ms = 5};
	revoked->count = 2;
	assert_int_equal(plan_make(after.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_false(in_set(after.ruleset, SET_REVOKED, "203.0.113.77"));
	assert_true(in_set(after.ruleset, SET_REVOKED, "198.51.100.1"));
	plan_clear(&plan);
	observed_free(observed);
	clear_world(&before);
	clear_world(&after);
}

static void test_full_revoked_set_never_grows_past_its_size(void **state)
{
	struct dice dice = dice_new(__func__);
	struct talker *talkers = calloc(DYNAMIC_SET_SIZE + 1000, sizeof(*talkers));
	struct observed none = {0};
	struct world before, after;
	struct plan plan;

	(void)state;
	assert_non_null(talkers);
	for (uint32_t i = 0; i < DYNAMIC_SET_SIZE + 1000; i++) {
		talkers[i].addr = addr("45.0.0.0");
		talkers[i].protocol = PROTOCOL_UDP;
		talkers[i].addr.bytes[1] = (uint8_t)(i >> 16);
		talkers[i].addr.bytes[2] = (uint8_t)(i >> 8);
		talkers[i].addr.bytes[3] = (uint8_t)i;
	}
	make_pair(&before, &after, &dice);
	assert_int_equal(
		plan_make(after.ruleset, shape, &none, talkers, DYNAMIC_SET_SIZE + 1000, &plan), 0);
	assert_int_equal(ruleset_find_set(after.ruleset, SET_REVOKED, 0, FAMILY_IPV4)->count,
		DYNAMIC_SET_SIZE);
	plan_clear(&plan);
	clear_world(&before);
	clear_world(&after);
	free(talkers);
}

static void test_another_shape_is_swapped(void **state)
{
	struct dice dice = dice_new(__func__);
	struct observed *observed;
	struct world world;
	struct plan plan;

	(void)state;
	make_world(&world, &dice, false);
	observed = observe(world.ruleset);
	assert_int_equal(plan_make(world.ruleset, "another", observed, NULL, 0, &plan), 0);
	assert_int_equal(plan.kind, PLAN_SWAP);
	assert_int_equal(plan.cause, PLAN_OTHER_RULES);
	plan_clear(&plan);
	observed_free(observed);
	clear_world(&world);
}

static struct set *hosts_of(struct set *sets, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (sets[i].kind == SET_HOSTS && sets[i].count > 1)
			return &sets[i];
	}
	return NULL;
}

/* A set with a size is never asked to hold more; and the room that it has is what is told of it. */
static void test_hosts_without_room_are_swapped(void **state)
{
	struct dice dice = dice_new(__func__);
	struct observed *observed;
	struct world world;
	struct plan plan;
	struct set *wanted = NULL, *had;

	(void)state;
	while (!wanted) {
		make_world(&world, &dice, false);
		wanted = hosts_of(world.ruleset->sets, world.ruleset->set_count);
		if (!wanted)
			clear_world(&world);
	}
	assert_int_equal(wanted->room, HOSTS_ROOM_LEAST);
	observed = observe(world.ruleset);
	had = (struct set *)observed_find_set(observed, wanted->name);
	/* One has no size: it is of another making, and holds any number. */
	static const struct {
		uint32_t room;
		int less;
		enum plan_kind kind;
	} cases[] = {{0, 0, PLAN_NOTHING}, {0, 1, PLAN_ELEMENTS}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		had->room = cases[i].room;
		had->count = wanted->count - (size_t)cases[i].less;
		assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
		assert_int_equal(plan.kind, cases[i].kind);
		assert_int_equal(wanted->room, 0);
		plan_clear(&plan);
	}
	had->room = (uint32_t)wanted->count;
	assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_int_equal(plan.kind, PLAN_ELEMENTS);
	assert_int_equal(wanted->room, wanted->count);
	plan_clear(&plan);
	/* The same ruleset again, when the kernel has moved: what was too small is not kept. */
	had->room = (uint32_t)wanted->count - 1;
	assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_int_equal(plan.kind, PLAN_SWAP);
	assert_int_equal(plan.cause, PLAN_NO_ROOM);
	assert_int_equal(wanted->room, HOSTS_ROOM_LEAST);
	plan_clear(&plan);
	/* Nor is the room of a table that had enough, until it vanished. */
	had->room = (uint32_t)wanted->count + 1;
	assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_int_equal(wanted->room, wanted->count + 1);
	plan_clear(&plan);
	observed->present = false;
	assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_int_equal(plan.kind, PLAN_SWAP);
	assert_int_equal(wanted->room, HOSTS_ROOM_LEAST);
	plan_clear(&plan);
	observed_free(observed);
	clear_world(&world);
}

/* Who comes may be let in before who leaves has left, if there is room for both. */
static void test_additions_wait_for_room(void **state)
{
	struct dice dice = dice_new(__func__);
	struct observed *observed;
	struct world world;
	struct plan plan;
	struct set *wanted = NULL, *had;

	(void)state;
	while (!wanted) {
		make_world(&world, &dice, false);
		wanted = hosts_of(world.ruleset->sets, world.ruleset->set_count);
		if (!wanted)
			clear_world(&world);
	}
	observed = observe(world.ruleset);
	had = (struct set *)observed_find_set(observed, wanted->name);
	/* A stranger, who sorts first, in the place of one who is wanted. */
	memset(had->elements[0].prefix.addr.bytes, 0, sizeof(had->elements[0].prefix.addr.bytes));
	had->elements[0].prefix.addr.bytes[0] = 8;
	for (uint32_t more = 0; more < 3; more++) {
		had->room = more < 2 ? (uint32_t)had->count + more : 0;
		assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
		assert_int_equal(plan.kind, PLAN_ELEMENTS);
		assert_int_equal(plan.count, 2);
		plan_keep_additions(&plan, world.ruleset, observed);
		assert_int_equal(plan.kind, more ? PLAN_ELEMENTS : PLAN_NOTHING);
		assert_int_equal(plan.count, more ? 1 : 0);
		assert_true(plan.count == 0 || plan.changes[0].add);
		plan_clear(&plan);
	}
	observed_free(observed);
	clear_world(&world);
}

static void test_room_is_for_what_is_there_without_names(void **state)
{
	enum { COUNT = 600 };
	struct dice dice = dice_new(__func__);
	struct prefix *fixed = calloc(COUNT, sizeof(*fixed));
	const char *names[400];
	struct ruleset *ruleset = NULL;
	struct allowlist allowlist;
	struct world world;
	const struct set *hosts;

	(void)state;
	assert_non_null(fixed);
	make_world(&world, &dice, false);
	for (unsigned i = 0; i < COUNT; i++) {
		struct addr one = addr("9.9.0.0");

		one.bytes[2] = (uint8_t)(i >> 8);
		one.bytes[3] = (uint8_t)i;
		fixed[i] = prefix_of(&one, 32);
	}
	world.owners[0].fixed = fixed;
	world.owners[0].fixed_count = COUNT;
	world.owners[0].services = 1;
	assert_int_equal(allowlist_build(&world.config, world.roster, NOW, &allowlist), 0);
	assert_int_equal(ruleset_build(&world.config, &allowlist, &ruleset), 0);
	hosts = ruleset_find_set(ruleset, SET_HOSTS, 0, FAMILY_IPV4);
	assert_true(hosts->count >= COUNT);
	assert_int_equal(hosts->room, hosts_room(hosts->count));
	assert_int_equal(
		ruleset_find_set(ruleset, SET_HOSTS, 0, FAMILY_IPV6)->room, HOSTS_ROOM_LEAST);
	ruleset_free(ruleset);
	/* No name has an address yet; and prefixes are in another set. */
	for (size_t i = 0; i < 400; i++)
		names[i] = "home.example";
	fixed[0].length = 24;
	world.owners[0].fixed_count = 401;
	world.owners[0].names = names;
	world.owners[0].name_count = 400;
	assert_int_equal(ruleset_build(&world.config, &(struct allowlist){0}, &ruleset), 0);
	hosts = ruleset_find_set(ruleset, SET_HOSTS, 0, FAMILY_IPV4);
	assert_true(hosts->room >= hosts_room(800));
	ruleset_free(ruleset);
	allowlist_clear(&allowlist);
	clear_world(&world);
	free(fixed);
}

static void test_room_is_for_half_as_many_again(void **state)
{
	(void)state;
	assert_int_equal(hosts_room(0), HOSTS_ROOM_LEAST);
	assert_int_equal(hosts_room(512), HOSTS_ROOM_LEAST);
	assert_int_equal(hosts_room(513), 2 * HOSTS_ROOM_LEAST);
	for (size_t expected = 1; expected < 3000000; expected = expected * 3 / 2 + 1) {
		uint32_t room = hosts_room(expected);

		assert_true(room >= expected + expected / 2);
		assert_true(room == HOSTS_ROOM_LEAST || room < 4 * expected);
		assert_int_equal(room % HOSTS_ROOM_LEAST, 0);
	}
	/* More than a size can say. */
	assert_true(hosts_room(SIZE_MAX / 2) >= UINT32_MAX / 2);
}

/* What becomes of a table of the right shape, by whose it is and whether it is to be ours. */
static void test_the_lock_decides_between_swap_and_adoption(void **state)
{
	static const struct {
		bool lock, owned, ours, persistent;
		enum plan_kind kind;
		bool adopt;
		const char *why;
	} cases[] = {
		{false, false, false, false, PLAN_NOTHING, false, "plain, and may stay so"},
		{false, false, false, true, PLAN_NOTHING, false, "an orphan, left as it is"},
		{false, true, true, true, PLAN_SWAP, false, "ours, which can't be given up"},
		{false, true, false, true, PLAN_NOTHING, false, "another's: not for the plan"},
		{true, false, false, false, PLAN_SWAP, false, "plain can't be owned"},
		{true, false, false, true, PLAN_ELEMENTS, true, "an orphan"},
		{true, true, true, true, PLAN_NOTHING, false, "ours already"},
		{true, true, false, true, PLAN_NOTHING, false, "another's: not for the plan"},
	};
	struct dice dice = dice_new(__func__);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct observed *observed;
		struct world world;
		struct plan plan;

		print_message("%s\n", cases[i].why);
		make_world(&world, &dice, false);
		world.ruleset->lock = cases[i].lock;
		observed = observe(world.ruleset);
		observed->owned = cases[i].owned;
		observed->ours = cases[i].ours;
		observed->persistent = cases[i].persistent;
		assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
		assert_int_equal(plan.kind, cases[i].kind);
		if (plan.kind == PLAN_SWAP)
			assert_int_equal(plan.cause, PLAN_OTHER_LOCK);
		assert_int_equal(plan.adopt, cases[i].adopt);
		assert_int_equal(plan.count, 0);
		plan_clear(&plan);
		/* What has another shape is made anew, and needs no adoption. */
		assert_int_equal(plan_make(world.ruleset, "another", observed, NULL, 0, &plan), 0);
		assert_int_equal(plan.kind, PLAN_SWAP);
		assert_false(plan.adopt);
		plan_clear(&plan);
		observed->present = false;
		assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
		assert_int_equal(plan.kind, PLAN_SWAP);
		assert_int_equal(plan.cause, PLAN_NO_TABLE);
		plan_clear(&plan);
		observed_free(observed);
		clear_world(&world);
	}
}

/* An orphan that lacks an element is adopted and completed by one plan. */
static void test_adoption_goes_with_the_changes(void **state)
{
	struct dice dice = dice_new(__func__);
	struct world before, after;
	struct observed *observed;
	struct plan plan;

	(void)state;
	make_pair(&before, &after, &dice);
	after.ruleset->lock = true;
	observed = observe(before.ruleset);
	observed->persistent = true;
	assert_int_equal(plan_make(after.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_int_equal(plan.kind, PLAN_ELEMENTS);
	assert_true(plan.adopt);
	assert_true(plan.count >= 2);
	plan_clear(&plan);
	observed_free(observed);
	clear_world(&before);
	clear_world(&after);
}

/* A set of another making may hold more than ours: the youngest are taken over. */
static void test_rejected_sources_that_do_not_fit_are_the_oldest(void **state)
{
	enum { MORE = 10, COUNT = DYNAMIC_SET_SIZE + MORE };
	struct dice dice = dice_new(__func__);
	struct element *many = calloc(COUNT, sizeof(*many)), *had;
	struct observed *observed;
	const struct set *rejected;
	struct world world;
	struct plan plan;
	struct set *seen;

	(void)state;
	assert_non_null(many);
	make_world(&world, &dice, false);
	rejected = ruleset_find_set(world.ruleset, SET_REJECTED, 0, FAMILY_IPV4);
	observed = observe(world.ruleset);
	seen = (struct set *)observed_find_set(observed, "sip_rejected4");
	for (unsigned i = 0; i < COUNT; i++) {
		struct addr one = addr("100.0.0.0");

		one.bytes[1] = (uint8_t)(i >> 16);
		one.bytes[2] = (uint8_t)(i >> 8);
		one.bytes[3] = (uint8_t)i;
		many[i] = (struct element){.prefix = {one, 32}, .expires_ms = i + 1};
	}
	had = seen->elements;
	seen->elements = many;
	seen->count = COUNT;
	assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_int_equal(rejected->count, DYNAMIC_SET_SIZE);
	assert_int_equal(rejected->elements[0].expires_ms, MORE + 1);
	plan_clear(&plan);
	seen->elements = had;
	observed_free(observed);
	clear_world(&world);
	free(many);
}

/* Rejected sources are taken over from what was observed last, or from nothing. */
static void test_a_table_that_vanished_leaves_no_rejected_sources(void **state)
{
	struct dice dice = dice_new(__func__);
	struct observed *observed, none = {0};
	const struct set *rejected;
	struct world world;
	struct plan plan;
	struct set *seen;

	(void)state;
	make_world(&world, &dice, false);
	rejected = ruleset_find_set(world.ruleset, SET_REJECTED, 0, FAMILY_IPV4);
	observed = observe(world.ruleset);
	seen = (struct set *)observed_find_set(observed, "sip_rejected4");
	seen->elements[seen->count++] = (struct element){.prefix = {addr("198.51.100.1"), 32}};
	assert_int_equal(plan_make(world.ruleset, shape, observed, NULL, 0, &plan), 0);
	assert_int_equal(rejected->count, 1);
	plan_clear(&plan);
	observed_free(observed);
	assert_int_equal(plan_make(world.ruleset, shape, &none, NULL, 0, &plan), 0);
	assert_int_equal(rejected->count, 0);
	assert_null(rejected->elements);
	plan_clear(&plan);
	clear_world(&world);
}

static bool append_change(struct plan *plan, const struct change *change)
{
	struct change *grown = reallocarray(plan->changes, plan->count + 1, sizeof(*plan->changes));

	if (!grown)
		return false;
	plan->kind = PLAN_ELEMENTS;
	plan->changes = grown;
	plan->changes[plan->count++] = *change;
	plan->capacity = plan->count;
	return true;
}

static bool permitted(void *context, size_t service, const struct addr *value)
{
	return ruleset_permits(context, service, value);
}

/* Strangers and former phones that are revoked already, none of whom `ruleset` lets in. */
static void fill_revoked(
	struct observed *observed, const struct ruleset *ruleset, struct dice *dice)
{
	for (size_t i = 0; i < observed->set_count; i++) {
		struct set *set = &observed->sets[i];

		for (int j = 0; set->kind == SET_REVOKED && j < 8; j++) {
			struct element element = {.prefix.addr = random_addr(dice)};
			struct addr *value = &element.prefix.addr;

			element.prefix.length = (uint8_t)addr_bits(value->family);
			if (value->family == set->family &&
				!ruleset_permits(ruleset, set->service, value) &&
				!element_find(set->elements, set->count, value))
				model_add(set, &element);
		}
	}
}

/* As the kernel does it for codec/nft_batch.c: adding again changes nothing, and what is to be
 * deleted is added first. */
static void model_revoke(struct set *set, const struct change *change)
{
	const struct addr *value = &change->element.prefix.addr;

	if (!element_find(set->elements, set->count, value))
		model_add(set, &change->element);
	if (!change->add)
		model_delete(set, &change->element);
}

/* Drops what plan_make() has to say of revoked sets. */
static size_t drop_revoked(struct plan *plan, const struct ruleset *ruleset, bool *ret_nets)
{
	size_t kept = 0;

	*ret_nets = false;
	for (size_t i = 0; i < plan->count; i++) {
		const struct set *set = &ruleset->sets[plan->changes[i].set];

		if (set->kind == SET_NETS) {
			bool twice = false;

			for (size_t j = 0; j < plan->count; j++)
				twice |= j != i && plan->changes[j].set == plan->changes[i].set &&
					 prefix_compare(&plan->changes[j].element.prefix,
						 &plan->changes[i].element.prefix) == 0;
			*ret_nets |= !twice;
		}
		if (set->kind != SET_REVOKED)
			plan->changes[kept++] = plan->changes[i];
	}
	return kept;
}

static void take_nets(struct ruleset *after, const struct ruleset *before)
{
	for (size_t i = 0; i < after->set_count; i++) {
		if (after->sets[i].kind == SET_NETS)
			after->sets[i] = before->sets[i];
	}
}

/* A plan that the ledger made needs what plan_make() says of revoked sets, without looking. */
static void test_added_revocations_are_those_of_the_whole_comparison(void **state)
{
	struct dice dice = dice_new(__func__);
	int compared = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct world before, after;
		struct observed *observed;
		struct plan plan;
		bool nets;
		size_t count;
		int result;

		make_world(&before, &dice, true);
		make_world(&after, &dice, true);
		if (dice_roll(&dice, 4))
			take_nets(after.ruleset, before.ruleset);
		observed = observe(before.ruleset);
		fill_revoked(observed, before.ruleset, &dice);
		assert_int_equal(plan_make(after.ruleset, shape, observed, NULL, 0, &plan), 0);
		count = plan.count = drop_revoked(&plan, after.ruleset, &nets);
		result = plan_add_revoked(&plan, after.ruleset, permitted, after.ruleset);
		assert_int_equal(result, nets ? PLAN_COMPARE : 0);
		if (nets)
			assert_int_equal(plan.count, count);
		for (size_t j = 0; !nets && j < plan.count; j++) {
			const struct set *wanted = &after.ruleset->sets[plan.changes[j].set];
			struct set *set = (struct set *)observed_find_set(observed, wanted->name);

			if (set->kind == SET_REVOKED)
				model_revoke(set, &plan.changes[j]);
			else if (plan.changes[j].add)
				model_add(set, &plan.changes[j].element);
			else
				model_delete(set, &plan.changes[j].element);
		}
		if (!nets)
			assert_equal_elements(after.ruleset, observed);
		compared += !nets;
		plan_clear(&plan);
		observed_free(observed);
		clear_world(&before);
		clear_world(&after);
	}
	assert_true(compared > ROUNDS / 2);
}

/* Renamed hosts and nets, an address that nets still permit, and one that comes back. */
static void test_only_who_comes_and_goes_is_revoked(void **state)
{
	struct dice dice = dice_new(__func__);
	struct world before, after;
	struct change changes[4];
	struct plan plan = {0}, empty = {0};
	uint32_t hosts, nets, revoked;

	(void)state;
	make_pair(&before, &after, &dice); /* .77 is permitted, .10 is not */
	hosts = (uint32_t)(ruleset_find_set(after.ruleset, SET_HOSTS, 0, FAMILY_IPV4) -
			   after.ruleset->sets);
	nets = (uint32_t)(ruleset_find_set(after.ruleset, SET_NETS, 0, FAMILY_IPV4) -
			  after.ruleset->sets);
	revoked = (uint32_t)(ruleset_find_set(after.ruleset, SET_REVOKED, 0, FAMILY_IPV4) -
			     after.ruleset->sets);
	assert_int_equal(plan_add_revoked(&empty, after.ruleset, permitted, after.ruleset), 0);
	assert_int_equal(empty.count, 0);
	/* A rename of a host and of a net. */
	for (size_t i = 0; i < 4; i++)
		changes[i] = (struct change){.add = i % 2,
			.set = i < 2 ? hosts : nets,
			.element.prefix = {
				addr(i < 2 ? "203.0.113.10" : "203.0.113.0"), i < 2 ? 32 : 28}};
	for (size_t i = 4; i-- > 0;)
		assert_true(append_change(&plan, &changes[i]));
	assert_int_equal(plan_add_revoked(&plan, after.ruleset, permitted, after.ruleset), 0);
	assert_int_equal(plan.count, 4);
	/* .10 goes, .77 goes from hosts but is permitted otherwise, .78 comes. */
	plan.count = 0;
	changes[0].element.prefix.addr = addr("203.0.113.10");
	changes[1].add = false;
	changes[1].element.prefix.addr = addr("203.0.113.77");
	changes[2] = changes[0];
	changes[2].add = true;
	changes[2].element.prefix.addr = addr("203.0.113.78");
	for (size_t i = 0; i < 3; i++)
		assert_true(append_change(&plan, &changes[i]));
	assert_int_equal(plan_add_revoked(&plan, after.ruleset, permitted, after.ruleset), 0);
	assert_int_equal(plan.count, 5);
	for (size_t i = 3; i < 5; i++) {
		struct addr expected = addr(i == 3 ? "203.0.113.78" : "203.0.113.10");

		assert_int_equal(plan.changes[i].set, revoked);
		assert_int_equal(plan.changes[i].add, i == 4);
		assert_true(addr_equal(&plan.changes[i].element.prefix.addr, &expected));
		assert_null(plan.changes[i].element.comment);
	}
	plan_clear(&plan);
	clear_world(&before);
	clear_world(&after);
}

/* The reject chain must end in an unconditional verdict, whatever stands before; and what decides
 * before it decides the same. */
static void test_drop_stands_alone(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int monitor = 0; monitor <= 1; monitor++) {
		struct world world;
		const struct chain *chain;
		const struct rule *last;
		enum expression_kind verdict = monitor ? EXPRESSION_ACCEPT : EXPRESSION_DROP;

		make_world(&world, &dice, false);
		ruleset_free(world.ruleset);
		world.config.monitor = monitor;
		ruleset_build(&world.config, &world.allowlist, &world.ruleset);
		chain = &world.ruleset->chains[2];
		assert_string_equal(chain->name, "sip_reject");
		last = &chain->rules[chain->count - 1];
		assert_int_equal(last->count, 1);
		assert_int_equal(last->expressions[0].kind, verdict);
		for (size_t i = 0; i + 1 < chain->count; i++) {
			for (size_t j = 0; j < chain->rules[i].count; j++) {
				enum expression_kind kind = chain->rules[i].expressions[j].kind;

				assert_true(kind < EXPRESSION_ACCEPT || kind == verdict);
			}
		}
		clear_world(&world);
	}
}

static void test_a_service_is_new_when_a_port_of_it_was_open(void **state)
{
	struct port_range ranges[] = {{PROTOCOL_UDP, 5060, 5060}, {PROTOCOL_TCP, 5060, 5061}};
	struct service service = {.name = "sip", .ports = ranges, .port_count = 2};
	struct enforced_port kernel[] = {{PROTOCOL_UDP, 5060, 5060}, {PROTOCOL_TCP, 5060, 5060}};
	struct enforced_port saved[] = {{PROTOCOL_TCP, 5000, 6000}};
	struct enforced_ports before[] = {{kernel, 2}, {saved, 0}};

	(void)state;
	assert_true(service_is_new(&service, before, 2)); /* tcp 5061 */
	before[1].count = 1;
	assert_false(service_is_new(&service, before, 2));
	before[0].count = 0;
	assert_true(service_is_new(&service, before, 2)); /* udp 5060 */
	assert_true(enforced_has(&before[1], PROTOCOL_TCP, 6000));
	assert_false(enforced_has(&before[1], PROTOCOL_TCP, 6001));
	assert_false(enforced_has(&before[1], PROTOCOL_UDP, 5060));
}

static void test_a_service_without_ports_is_left_out(void **state)
{
	struct dice dice = dice_new(__func__);
	struct world world;

	(void)state;
	make_world(&world, &dice, false);
	world.services[0].port_count = 0;
	ruleset_free(world.ruleset);
	assert_int_equal(ruleset_build(&world.config, &world.allowlist, &world.ruleset), 0);
	assert_null(ruleset_find_set(world.ruleset, SET_HOSTS, 0, FAMILY_IPV4));
	assert_non_null(ruleset_find_set(world.ruleset, SET_HOSTS, 1, FAMILY_IPV4));
	assert_int_equal(world.ruleset->chain_count, 3);
	assert_string_equal(world.ruleset->chains[1].name, "web_guard");
	/* The map leads to that chain. */
	assert_int_equal(world.ruleset->sets[0].port_count, 1);
	assert_int_equal(world.ruleset->sets[0].ports[0].chain, 1);
	clear_world(&world);
}

/* `ipv6-prefix` never widens an answer past the `within` that it was judged by. */
static void test_within_bounds_the_prefix(void **state)
{
	struct dice dice = dice_new(__func__);
	struct prefix within = {addr("2001:db8:0:1::"), 64};
	struct addr inside = addr("2001:db8:0:1::7"), outside = addr("2001:db8:0:2::7");
	struct answer answer = {.kind = ANSWER_ADDRESSES, .addrs = &inside, .count = 1};
	struct world world;

	(void)state;
	make_world(&world, &dice, false);
	clear_world(&world);
	world.config.owner_count = 1;
	world.config.local_subnet_count = 0;
	world.guard = (struct guard){.within = &within, .within_count = 1, .max_addresses = 8};
	world.owners[0] = (struct owner){.id = "21",
		.names = world.names[0],
		.name_count = 1,
		.services = 1,
		.ipv6_prefix = 16};
	assert_int_equal(roster_build(&world.config, NULL, &world.roster), 0);
	assert_int_equal(host_take(&world.roster->hosts[0], FAMILY_IPV6, &answer, 0, NOW), 1);
	allowlist_build(&world.config, world.roster, NOW, &world.allowlist);
	ruleset_build(&world.config, &world.allowlist, &world.ruleset);
	assert_true(ruleset_permits(world.ruleset, 0, &inside));
	assert_false(ruleset_permits(world.ruleset, 0, &outside));
	clear_world(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_applying_the_plan_gives_the_ruleset),
		cmocka_unit_test(test_ruleset_permits_what_the_allowlist_grants),
		cmocka_unit_test(test_nets_are_disjoint),
		cmocka_unit_test(test_comments_fit),
		cmocka_unit_test(test_last_owner_takes_the_address_with_it),
		cmocka_unit_test(test_who_leaves_is_revoked),
		cmocka_unit_test(test_who_comes_back_is_revoked_no_more),
		cmocka_unit_test(test_full_revoked_set_never_grows_past_its_size),
		cmocka_unit_test(test_another_shape_is_swapped),
		cmocka_unit_test(test_hosts_without_room_are_swapped),
		cmocka_unit_test(test_additions_wait_for_room),
		cmocka_unit_test(test_room_is_for_what_is_there_without_names),
		cmocka_unit_test(test_room_is_for_half_as_many_again),
		cmocka_unit_test(test_the_lock_decides_between_swap_and_adoption),
		cmocka_unit_test(test_adoption_goes_with_the_changes),
		cmocka_unit_test(test_rejected_sources_that_do_not_fit_are_the_oldest),
		cmocka_unit_test(test_a_table_that_vanished_leaves_no_rejected_sources),
		cmocka_unit_test(test_added_revocations_are_those_of_the_whole_comparison),
		cmocka_unit_test(test_only_who_comes_and_goes_is_revoked),
		cmocka_unit_test(test_drop_stands_alone),
		cmocka_unit_test(test_a_service_is_new_when_a_port_of_it_was_open),
		cmocka_unit_test(test_a_service_without_ports_is_left_out),
		cmocka_unit_test(test_within_bounds_the_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
