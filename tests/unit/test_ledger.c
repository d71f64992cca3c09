/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger against the whole made from scratch, on a model of the kernel's sets that refuses what
 * the kernel refuses. Allocations of the core pass through this file (--wrap): they are counted,
 * and each of them can fail.
 */
#include "check.h"

#include "allowlist.h"
#include "config.h"
#include "ledger.h"
#include "plan.h"
#include "roster.h"
#include "ruleset.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

enum {
	WORLDS = 100,
	STEPS = 120,
	ROUNDS = 1000,
	SERVICES = 3,
	OWNERS = 14,
	NAMES = 8,
	LOCALS = 3,
	FIXED = 2,
	GUARDS = 3,
	ADDRS = 5,
	MODEL_MAX = 1024,
	MANY = 100000,
	BYTES_A_NAME = 120,
	HEIGHT = 23,	     /* of an AVL tree of so MANY: 1.4405 log2(MANY + 2) - 0.328 */
	CHANGE = 7 * HEIGHT, /* compares of a host that moves */
	START = 1700000000,
};

/* --- Allocations --- */

static long allocations_left = -1; /* negative: none fails */
static long blocks, bytes;	   /* that are held */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_reallocarray(void *memory, size_t count, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);
void __wrap_free(void *memory);

static bool fails_now(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

static void *account(void *memory)
{
	if (memory) {
		blocks++;
		bytes += (long)malloc_usable_size(memory);
	}
	return memory;
}

static void discount(void *memory)
{
	if (memory) {
		blocks--;
		bytes -= (long)malloc_usable_size(memory);
	}
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : account(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : account(__real_calloc(count, size));
}

void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
	void *moved;

	if (fails_now())
		return NULL;
	discount(memory);
	moved = __real_reallocarray(memory, count, size);
	account(moved ? moved : memory);
	return moved;
}

void *__wrap_realloc(void *memory, size_t size)
{
	return __wrap_reallocarray(memory, 1, size);
}

void __wrap_free(void *memory)
{
	discount(memory);
	__real_free(memory);
}

/* --- Work, in places of the tree that were looked at --- */

static size_t compares;

int __real_prefix_compare(const struct prefix *a, const struct prefix *b);
int __wrap_prefix_compare(const struct prefix *a, const struct prefix *b);

int __wrap_prefix_compare(const struct prefix *a, const struct prefix *b)
{
	compares++;
	return __real_prefix_compare(a, b);
}

/* --- A config that is made by dice, in a world so small that addresses meet --- */

struct world {
	struct config config;
	struct service services[SERVICES];
	struct port_range port;
	struct guard guards[GUARDS];
	struct prefix within[GUARDS][2];
	struct owner owners[OWNERS];
	const char *names[OWNERS][NAMES];
	struct prefix fixed[OWNERS][FIXED], locals[LOCALS];
	char ids[OWNERS][72], texts[NAMES][16];
	struct roster *roster;
	struct ruleset *skeleton;
	struct ledger *ledger;
	int64_t now;
};

static struct addr random_addr(struct dice *dice, enum family family)
{
	struct addr addr = {.family = (uint8_t)family, .bytes = {203, 0, 113}};

	if (family == FAMILY_IPV4) {
		addr.bytes[3] = (uint8_t)dice_roll(dice, 24);
		return addr;
	}
	memcpy(addr.bytes, "\x20\x01\x0d\xb8\0", 5);
	addr.bytes[5] = (uint8_t)dice_roll(dice, 2);
	addr.bytes[6] = (uint8_t)(dice_roll(dice, 2) << 4);
	addr.bytes[7] = (uint8_t)dice_roll(dice, 3);
	addr.bytes[8] = (uint8_t)(dice_roll(dice, 2) << 7);
	addr.bytes[15] = (uint8_t)dice_roll(dice, 3);
	return addr;
}

static struct prefix random_prefix(struct dice *dice)
{
	static const unsigned lengths[] = {0, 44, 47, 48, 52, 56, 64, 65, 127, 128};
	enum family family = dice_roll(dice, 2) ? FAMILY_IPV4 : FAMILY_IPV6;
	struct addr addr = random_addr(dice, family);

	/* The whole Internet is in a hundredth of them only: it covers all else. */
	if (family == FAMILY_IPV4)
		return prefix_of(&addr, dice_roll(dice, 100) ? 32 - dice_roll(dice, 7) : 0);
	return prefix_of(&addr, lengths[dice_roll(dice, 10) ? 1 + dice_roll(dice, 9) : 0]);
}

static void fill_guards(struct world *world, struct dice *dice)
{
	static const unsigned lengths[] = {47, 56, 64, 65};

	for (size_t i = 0; i < GUARDS; i++) {
		world->guards[i] = (struct guard){.within = world->within[i],
			.within_count = i == 0 ? 0 : 2,
			.max_addresses = 8};
		for (size_t j = 0; j < 2; j++) {
			struct addr addr = random_addr(dice, FAMILY_IPV6);

			world->within[i][j] = prefix_of(&addr, lengths[dice_roll(dice, 4)]);
		}
		if (prefix_compare(&world->within[i][0], &world->within[i][1]) > 0) {
			struct prefix first = world->within[i][1];

			world->within[i][1] = world->within[i][0];
			world->within[i][0] = first;
		}
	}
}

static void fill_owner(struct world *world, size_t at, struct dice *dice)
{
	static const uint8_t lengths[] = {48, 56, 64, 64, 65, 127, 128, 128};
	struct owner *owner = &world->owners[at];
	int width = dice_roll(dice, 3) ? 1 : (int)dice_roll(dice, 64);

	/* Some so long that few fit into a comment. */
	snprintf(world->ids[at], sizeof(world->ids[at]), "%zu%*s", 20 + at, width, "x");
	*owner = (struct owner){
		.id = world->ids[at],
		.names = world->names[at],
		.name_count = dice_roll(dice, 4),
		.fixed = world->fixed[at],
		.fixed_count = dice_roll(dice, 3) ? 0 : dice_roll(dice, FIXED + 1),
		.services = 1 + dice_roll(dice, (1 << SERVICES) - 1),
		.guard = dice_roll(dice, GUARDS),
		.kind = dice_roll(dice, 2) ? OWNER_EXTENSION : OWNER_PEER,
		.ipv6_prefix = lengths[dice_roll(dice, 8)],
	};
	for (size_t i = 0; i < owner->name_count; i++)
		world->names[at][i] = world->texts[dice_roll(dice, NAMES)];
	for (size_t i = 0; i < owner->fixed_count; i++)
		world->fixed[at][i] = random_prefix(dice);
}

static void fill_config(struct world *world, struct dice *dice)
{
	static const char *const names[SERVICES] = {"sip", "web", "tls"};
	struct config *config = &world->config;

	world->port = (struct port_range){PROTOCOL_UDP, 5060, 5060};
	for (size_t i = 0; i < SERVICES; i++)
		world->services[i] = (struct service){.name = names[i],
			.ports = &world->port,
			.port_count = i == 0 || dice_roll(dice, 4),
			.local = dice_roll(dice, 2)};
	for (size_t i = 0; i < NAMES; i++)
		snprintf(world->texts[i], sizeof(world->texts[i]), "h%zu.example", i);
	fill_guards(world, dice);
	*config = (struct config){
		.services = world->services,
		.service_count = SERVICES,
		.owners = world->owners,
		.owner_count = 1 + dice_roll(dice, OWNERS),
		.guards = world->guards,
		.guard_count = GUARDS,
		.local_subnets = world->locals,
		.local_subnet_count = dice_roll(dice, LOCALS + 1),
		.hold = 50,
		.gone = 9,
		.linger = {dice_roll(dice, 3) * 4, 10},
		.accept_replies = dice_roll(dice, 2),
		.table = "sipfence",
		.log_prefix = "sipfence ",
	};
	for (size_t i = 0; i < config->local_subnet_count; i++)
		world->locals[i] = random_prefix(dice);
	for (size_t i = 0; i < config->owner_count; i++)
		fill_owner(world, i, dice);
}

static int compare_addrs(const void *a, const void *b)
{
	return addr_compare(a, b);
}

/* What DNS says this time. */
static struct answer random_answer(struct dice *dice, enum family family, struct addr addrs[ADDRS])
{
	static const enum answer_kind others[] = {
		ANSWER_NO_DATA, ANSWER_NO_NAME, ANSWER_COULD_NOT_ASK, ANSWER_REFUSED};
	size_t count = 1 + dice_roll(dice, ADDRS), kept = 0;

	if (dice_roll(dice, 4) == 0)
		return (struct answer){.kind = others[dice_roll(dice, 4)]};
	for (size_t i = 0; i < count; i++)
		addrs[i] = random_addr(dice, family);
	qsort(addrs, count, sizeof(*addrs), compare_addrs);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || !addr_equal(&addrs[kept - 1], &addrs[i]))
			addrs[kept++] = addrs[i];
	}
	return (struct answer){.kind = ANSWER_ADDRESSES, .addrs = addrs, .count = kept};
}

static void ask(struct world *world, size_t host, struct dice *dice)
{
	enum family family = dice_roll(dice, 2) ? FAMILY_IPV4 : FAMILY_IPV6;
	struct addr addrs[ADDRS];
	struct answer answer = random_answer(dice, family, addrs);

	assert_true(host_take(&world->roster->hosts[host], family, &answer,
			    world->roster->linger[host], world->now) >= 0);
}

static void build(
	struct world *world, struct allowlist *ret_allowlist, struct ruleset **ret_ruleset)
{
	assert_int_equal(
		allowlist_build(&world->config, world->roster, world->now, ret_allowlist), 0);
	assert_int_equal(ruleset_build(&world->config, ret_allowlist, ret_ruleset), 0);
}

static void make_world(struct world *world, struct dice *dice)
{
	struct allowlist nobody = {0};

	memset(world, 0, sizeof(*world));
	world->now = START;
	fill_config(world, dice);
	assert_int_equal(roster_build(&world->config, NULL, &world->roster), 0);
	for (size_t i = 0; i < world->roster->host_count; i++)
		ask(world, i, dice);
	assert_int_equal(ruleset_build(&world->config, &nobody, &world->skeleton), 0);
}

static void clear_world(struct world *world)
{
	ledger_free(world->ledger);
	ruleset_free(world->skeleton);
	roster_free(world->roster);
}

/* --- The kernel --- */

struct kernel_element {
	uint32_t set;
	struct prefix prefix;
	char comment[COMMENT_MAX + 1];
	uint64_t packets;
};

struct kernel {
	struct kernel_element elements[MODEL_MAX]; /* in no order */
	size_t count;
	uint64_t packets; /* the next element's: no two have the same */
	size_t renames;	  /* that the ledger has asked for */
	const struct ruleset *skeleton;
};

static struct kernel_element *kernel_find(
	struct kernel *kernel, uint32_t set, const struct prefix *prefix)
{
	for (size_t i = 0; i < kernel->count; i++) {
		struct kernel_element *element = &kernel->elements[i];

		if (element->set == set && prefix_compare(&element->prefix, prefix) == 0)
			return element;
	}
	return NULL;
}

static void kernel_add(struct kernel *kernel, uint32_t set, const struct element *element)
{
	struct kernel_element *added = &kernel->elements[kernel->count++];

	assert_true(kernel->count < MODEL_MAX);
	for (size_t i = 0; i + 1 < kernel->count; i++) {
		const struct prefix *other = &kernel->elements[i].prefix;

		if (kernel->elements[i].set == set &&
			(prefix_covers(other, &element->prefix) ||
				prefix_covers(&element->prefix, other)))
			fail_msg("EEXIST: overlaps with what is in %s",
				kernel->skeleton->sets[set].name);
	}
	*added = (struct kernel_element){.set = set, .prefix = element->prefix};
	added->packets = element->packets ? element->packets : ++kernel->packets;
	assert_non_null(element->comment);
	assert_true(strlen(element->comment) <= COMMENT_MAX);
	memcpy(added->comment, element->comment, strlen(element->comment) + 1);
}

static void kernel_delete(struct kernel *kernel, uint32_t set, const struct element *element)
{
	struct kernel_element *found = kernel_find(kernel, set, &element->prefix);

	if (!found)
		fail_msg("ENOENT: deletes what is not in %s", kernel->skeleton->sets[set].name);
	else
		*found = kernel->elements[--kernel->count];
}

/* Traffic that the kernel has counted. */
static void carry_counter(void *context, uint32_t set, struct element *element)
{
	struct kernel *kernel = context;
	const struct kernel_element *found = kernel_find(kernel, set, &element->prefix);

	assert_non_null(found);
	assert_string_not_equal(found->comment, element->comment);
	element->packets = found->packets;
	kernel->renames++;
}

static void kernel_apply(struct kernel *kernel, const struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		const struct change *change = &plan->changes[i], *before = change - 1;
		const struct set *set = &kernel->skeleton->sets[change->set];

		assert_true(set->kind == SET_HOSTS || set->kind == SET_NETS);
		assert_int_equal(set->family, change->element.prefix.addr.family);
		assert_int_equal(set->kind == SET_HOSTS, prefix_is_host(&change->element.prefix));
		/* One pass over the sets, and of each set deletions first. */
		if (i > 0)
			assert_true(before->set < change->set ||
				    (before->set == change->set && before->add <= change->add));
		if (change->add)
			kernel_add(kernel, change->set, &change->element);
		else
			kernel_delete(kernel, change->set, &change->element);
	}
}

static void kernel_fill(
	struct kernel *kernel, const struct ruleset *skeleton, const struct ruleset *ruleset)
{
	memset(kernel, 0, sizeof(*kernel));
	kernel->skeleton = skeleton;
	for (uint32_t i = 0; i < ruleset->set_count; i++) {
		const struct set *set = &ruleset->sets[i];

		for (size_t j = 0; j < set->count; j++) {
			if (set->kind == SET_HOSTS || set->kind == SET_NETS)
				kernel_add(kernel, i, &set->elements[j]);
		}
	}
}

/* Counters of elements that stay, renamed or not, must be what they were. */
static void assert_counters_stay(struct kernel *before, struct kernel *after)
{
	size_t renames = 0;

	for (size_t i = 0; i < after->count; i++) {
		const struct kernel_element *now = &after->elements[i];
		const struct kernel_element *old = kernel_find(before, now->set, &now->prefix);

		if (!old) {
			assert_true(now->packets > before->packets);
			continue;
		}
		assert_int_equal(now->packets, old->packets);
		renames += strcmp(now->comment, old->comment) != 0;
	}
	assert_int_equal(after->renames, renames);
}

static void assert_kernel_is_right(struct kernel *kernel, struct world *world)
{
	struct allowlist allowlist;
	struct ruleset *wanted;
	size_t count = 0;

	build(world, &allowlist, &wanted);
	for (uint32_t i = 0; i < wanted->set_count; i++) {
		const struct set *set = &wanted->sets[i];

		if (set->kind != SET_HOSTS && set->kind != SET_NETS)
			continue;
		for (size_t j = 0; j < set->count; j++) {
			const struct kernel_element *found =
				kernel_find(kernel, i, &set->elements[j].prefix);

			assert_non_null(found);
			assert_string_equal(found->comment, set->elements[j].comment);
		}
		count += set->count;
	}
	assert_int_equal(kernel->count, count);
	assert_int_equal(ledger_elements(world->ledger), count);
	ruleset_free(wanted);
	allowlist_clear(&allowlist);
}

/* --- Tests --- */

static void begin(struct world *world, struct kernel *kernel, struct dice *dice)
{
	struct allowlist allowlist;
	struct ruleset *ruleset;

	make_world(world, dice);
	build(world, &allowlist, &ruleset);
	assert_int_equal(ledger_new(&world->config, world->roster, world->skeleton, &allowlist,
				 &world->ledger),
		0);
	kernel_fill(kernel, world->skeleton, ruleset);
	assert_false(ledger_is_dirty(world->ledger));
	assert_kernel_is_right(kernel, world);
	ruleset_free(ruleset);
	allowlist_clear(&allowlist);
}

static void change_one(struct world *world, struct dice *dice)
{
	struct addr before[HOST_ADDRS_MAX];
	size_t host, count;

	if (world->roster->host_count == 0)
		return;
	host = dice_roll(dice, (unsigned)world->roster->host_count);
	count = host_list_addrs(&world->roster->hosts[host], before);
	ask(world, host, dice);
	assert_int_equal(ledger_update(world->ledger, host, before, count, world->now), 0);
}

static void pass_time(struct world *world, struct dice *dice)
{
	struct timing timing = {.hold = world->config.hold, .gone = world->config.gone};
	struct addr before[HOST_ADDRS_MAX];

	world->now += dice_roll(dice, 10) ? dice_roll(dice, 4) : 100;
	for (size_t i = 0; i < world->roster->host_count; i++) {
		struct host *host = &world->roster->hosts[i];
		size_t count = host_list_addrs(host, before);

		host_expire(host, &timing, world->roster->linger[i], world->now);
		assert_int_equal(ledger_update(world->ledger, i, before, count, world->now), 0);
	}
}

static void change_some(struct world *world, struct dice *dice)
{
	size_t count = dice_roll(dice, 4);

	if (dice_roll(dice, 3) == 0)
		pass_time(world, dice);
	for (size_t i = 0; i < count; i++)
		change_one(world, dice);
}

static struct plan make_plan(struct world *world, struct kernel *kernel, struct arena *arena)
{
	struct plan plan;

	kernel->renames = 0;
	assert_int_equal(ledger_plan(world->ledger, carry_counter, kernel, arena, &plan), 0);
	assert_int_equal(plan.kind, plan.count ? PLAN_ELEMENTS : PLAN_NOTHING);
	return plan;
}

/* Plans, and maybe the kernel refuses, or there is news before it has answered. */
static void commit(struct world *world, struct kernel *kernel, struct dice *dice)
{
	static struct kernel before; /* too large for the stack */
	struct arena arena = {0};
	struct plan plan = make_plan(world, kernel, &arena);

	before = *kernel;
	if (plan.kind == PLAN_ELEMENTS && dice_roll(dice, 4) == 0) {
		plan_clear(&plan);
		arena_free(&arena);
		assert_true(ledger_is_dirty(world->ledger));
		if (dice_roll(dice, 2))
			change_some(world, dice);
		plan = make_plan(world, kernel, &arena);
	}
	kernel_apply(kernel, &plan);
	assert_counters_stay(&before, kernel);
	if (plan.kind == PLAN_ELEMENTS && dice_roll(dice, 4) == 0)
		change_some(world, dice);
	else
		assert_int_equal(ledger_is_dirty(world->ledger), plan.kind == PLAN_ELEMENTS);
	ledger_done(world->ledger);
	plan_clear(&plan);
	arena_free(&arena);
}

static void test_equals_the_whole_made_from_scratch(void **state)
{
	static struct kernel kernel;
	static struct world world;
	struct dice dice = dice_new(__func__);
	long blocks_before = blocks;

	(void)state;
	for (int i = 0; i < WORLDS; i++) {
		begin(&world, &kernel, &dice);
		for (int j = 0; j < STEPS; j++) {
			change_some(&world, &dice);
			commit(&world, &kernel, &dice);
			if (ledger_is_dirty(world.ledger))
				continue; /* there was news meanwhile */
			assert_kernel_is_right(&kernel, &world);
		}
		clear_world(&world);
	}
	assert_int_equal(blocks, blocks_before);
}

static void test_no_change_no_plan(void **state)
{
	static struct kernel kernel;
	static struct world world;
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < WORLDS; i++) {
		struct addr addrs[HOST_ADDRS_MAX];
		struct arena arena = {0};
		struct plan plan;

		begin(&world, &kernel, &dice);
		for (size_t j = 0; j < world.roster->host_count; j++) {
			size_t count = host_list_addrs(&world.roster->hosts[j], addrs);

			assert_int_equal(
				ledger_update(world.ledger, j, addrs, count, world.now), 0);
		}
		assert_false(ledger_is_dirty(world.ledger));
		plan = make_plan(&world, &kernel, &arena);
		assert_int_equal(plan.kind, PLAN_NOTHING);
		assert_null(arena.last);
		clear_world(&world);
	}
}

/* There and back within one plan. */
static void test_what_comes_back_was_never_gone(void **state)
{
	static struct kernel kernel;
	static struct world world;
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < WORLDS; i++) {
		struct arena arena = {0};
		struct plan plan;

		begin(&world, &kernel, &dice);
		for (size_t j = 0; j < world.roster->host_count; j++) {
			struct host *host = &world.roster->hosts[j];
			struct addr addrs[HOST_ADDRS_MAX];
			uint16_t count[FAMILY_COUNT] = {host->count[0], host->count[1]};
			size_t listed = host_list_addrs(host, addrs);

			host->count[0] = host->count[1] = 0;
			assert_int_equal(
				ledger_update(world.ledger, j, addrs, listed, world.now), 0);
			memcpy(host->count, count, sizeof(count));
			assert_int_equal(ledger_update(world.ledger, j, NULL, 0, world.now), 0);
		}
		plan = make_plan(&world, &kernel, &arena);
		assert_int_equal(plan.kind, PLAN_NOTHING);
		assert_false(ledger_is_dirty(world.ledger));
		assert_kernel_is_right(&kernel, &world);
		clear_world(&world);
	}
}

struct told {
	const struct ledger *ledger;
	struct kernel *kernel;
	struct addr addr;
	size_t service, count;
	struct grant grants[64];
};

static void note_grant(void *context, const struct prefix *element, const struct grant *grant)
{
	struct told *told = context;
	bool found = false;

	assert_true(told->count < 64);
	told->grants[told->count++] = *grant;
	assert_true(prefix_covers(element, &grant->prefix));
	for (size_t i = 0; i < told->kernel->count; i++) {
		const struct kernel_element *held = &told->kernel->elements[i];
		const struct set *set = &told->kernel->skeleton->sets[held->set];

		found |= set->service == told->service &&
			 prefix_compare(&held->prefix, element) == 0;
	}
	assert_true(found);
}

static void explain(struct world *world, struct kernel *kernel, const struct allowlist *allowlist,
	size_t service, struct addr addr)
{
	struct told told = {.kernel = kernel, .addr = addr, .service = service};
	bool permitted = ledger_explain(world->ledger, service, &addr, note_grant, &told);
	size_t at = 0;

	assert_int_equal(permitted, ledger_explain(world->ledger, service, &addr, NULL, NULL));
	for (int nets = 0; nets <= 1; nets++) {
		for (size_t i = 0; i < allowlist->count; i++) {
			const struct grant *grant = &allowlist->grants[i];

			if (grant->service != service || !world->services[service].port_count ||
				!prefix_contains(&grant->prefix, &addr) ||
				prefix_is_host(&grant->prefix) == nets)
				continue;
			assert_true(at < told.count);
			assert_int_equal(told.grants[at].owner, grant->owner);
			assert_ptr_equal(told.grants[at].host, grant->host);
			assert_int_equal(told.grants[at].service, service);
			assert_int_equal(
				prefix_compare(&told.grants[at].prefix, &grant->prefix), 0);
			at++;
		}
	}
	assert_int_equal(at, told.count);
	assert_int_equal(permitted, at > 0);
}

static void test_explains_who_permits(void **state)
{
	static struct kernel kernel;
	static struct world world;
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < WORLDS; i++) {
		struct allowlist allowlist;
		struct ruleset *ruleset;

		begin(&world, &kernel, &dice);
		for (int j = 0; j < 5; j++) {
			change_some(&world, &dice);
			commit(&world, &kernel, &dice);
		}
		while (ledger_is_dirty(world.ledger))
			commit(&world, &kernel, &dice);
		build(&world, &allowlist, &ruleset);
		for (int j = 0; j < 60; j++)
			explain(&world, &kernel, &allowlist, (size_t)j % SERVICES,
				random_addr(&dice, j % 2 ? FAMILY_IPV4 : FAMILY_IPV6));
		ruleset_free(ruleset);
		allowlist_clear(&allowlist);
		clear_world(&world);
	}
}

/* All hosts, and the addresses that they had. */
struct former {
	struct addr addrs[NAMES * GUARDS][HOST_ADDRS_MAX];
	size_t count[NAMES * GUARDS];
};

static int update_all(struct world *world, const struct former *former)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < world->roster->host_count; i++)
		result = ledger_update(
			world->ledger, i, former->addrs[i], former->count[i], world->now);
	return result;
}

/* A run in which the allocation of that number fails; false: there was none of that number. */
static bool run_without(struct world *world, struct kernel *kernel,
	const struct allowlist *allowlist, const struct former *former, long number)
{
	struct arena arena = {0}, second = {0};
	struct plan plan = {.count = 0};
	bool failed;
	int result;

	allocations_left = number;
	result = ledger_new(
		&world->config, world->roster, world->skeleton, allowlist, &world->ledger);
	if (result == 0)
		result = update_all(world, former);
	if (result == 0) {
		result = ledger_plan(world->ledger, NULL, NULL, &arena, &plan);
		failed = allocations_left < 0;
		allocations_left = -1;
		/* Of a plan that was not made nothing is lost. */
		if (result == -ENOMEM) {
			ledger_done(world->ledger);
			assert_int_equal(ledger_plan(world->ledger, NULL, NULL, &second, &plan), 0);
		}
		kernel_apply(kernel, &plan);
		ledger_done(world->ledger);
		assert_kernel_is_right(kernel, world);
	} else {
		failed = allocations_left < 0;
		assert_true(failed);
	}
	allocations_left = -1;
	assert_true(result == 0 || (failed && result == -ENOMEM));
	plan_clear(&plan);
	arena_free(&arena);
	arena_free(&second);
	world->ledger = ledger_free(world->ledger);
	return failed;
}

static void test_out_of_memory_loses_nothing(void **state)
{
	static struct former former;
	static struct kernel kernel, now;
	static struct world world;
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < WORLDS; i++) {
		struct allowlist allowlist;
		struct ruleset *ruleset;
		long held;

		make_world(&world, &dice);
		for (size_t j = 0; j < world.roster->host_count; j++)
			former.count[j] = host_list_addrs(&world.roster->hosts[j], former.addrs[j]);
		build(&world, &allowlist, &ruleset);
		kernel_fill(&kernel, world.skeleton, ruleset);
		for (size_t j = 0; j < world.roster->host_count; j++)
			ask(&world, j, &dice);
		held = blocks;
		now = kernel;
		for (long number = 0; run_without(&world, &now, &allowlist, &former, number);
			number++) {
			assert_int_equal(blocks, held);
			now = kernel;
		}
		assert_int_equal(blocks, held);
		ruleset_free(ruleset);
		allowlist_clear(&allowlist);
		clear_world(&world);
	}
}

/* Owners with one name each. */
struct crowd {
	struct world world;
	struct owner owners[MANY];
	char texts[MANY][24];
	const char *names[MANY];
};

static void make_crowd(struct crowd *crowd, size_t count)
{
	struct world *world = &crowd->world;
	struct allowlist nobody = {0};

	memset(world, 0, sizeof(*world));
	world->now = START;
	world->port = (struct port_range){PROTOCOL_UDP, 5060, 5060};
	world->services[0] =
		(struct service){.name = "sip", .ports = &world->port, .port_count = 1};
	world->guards[0] = (struct guard){.max_addresses = 8};
	world->config = (struct config){
		.services = world->services,
		.service_count = 1,
		.owners = crowd->owners,
		.owner_count = count,
		.guards = world->guards,
		.guard_count = 1,
		.table = "sipfence",
		.log_prefix = "sipfence ",
	};
	for (size_t i = 0; i < count; i++) {
		snprintf(crowd->texts[i], sizeof(crowd->texts[i]), "h%zu.example", i);
		crowd->names[i] = crowd->texts[i];
		crowd->owners[i] = (struct owner){.id = crowd->texts[i],
			.names = &crowd->names[i],
			.name_count = 1,
			.services = 1,
			.ipv6_prefix = 64};
	}
	assert_int_equal(roster_build(&world->config, NULL, &world->roster), 0);
	assert_int_equal(ruleset_build(&world->config, &nobody, &world->skeleton), 0);
}

static void give_addr(struct world *world, size_t host, uint32_t number)
{
	struct addr addr = {.family = FAMILY_IPV4,
		.bytes = {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}};
	struct answer answer = {.kind = ANSWER_ADDRESSES, .addrs = &addr, .count = 1};

	assert_int_equal(host_take(&world->roster->hosts[host], FAMILY_IPV4, &answer, 0, START), 1);
}

static void renumber(struct world *world, size_t host, uint32_t number)
{
	struct addr before[HOST_ADDRS_MAX];
	size_t count = host_list_addrs(&world->roster->hosts[host], before);
	struct arena arena = {0};
	struct plan plan;

	give_addr(world, host, number);
	compares = 0;
	assert_int_equal(ledger_update(world->ledger, host, before, count, START), 0);
	assert_int_equal(ledger_plan(world->ledger, NULL, NULL, &arena, &plan), 0);
	assert_int_equal(plan.count, 2);
	ledger_done(world->ledger);
	assert_in_range(compares, 1, CHANGE);
	plan_clear(&plan);
	arena_free(&arena);
}

static void test_memory_and_work_of_a_name(void **state)
{
	static struct crowd crowd;
	struct world *world = &crowd.world;
	struct dice dice = dice_new(__func__);
	struct allowlist allowlist;
	struct ruleset *ruleset;
	long before;

	(void)state;
	make_crowd(&crowd, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		give_addr(world, i, i);
	build(world, &allowlist, &ruleset);
	ruleset_free(ruleset);
	before = bytes;
	assert_int_equal(ledger_new(&world->config, world->roster, world->skeleton, &allowlist,
				 &world->ledger),
		0);
	assert_in_range(bytes - before, 1, (long)MANY * BYTES_A_NAME);
	/* What it says of itself is what the allocator says, but for rounding. */
	assert_in_range(ledger_bytes(world->ledger), bytes - before - 32768, bytes - before);
	/* Who moves gives back what it had. */
	for (uint32_t i = 0; i < 2 * MANY; i++)
		renumber(world, dice_roll(&dice, MANY), MANY + i);
	assert_in_range(ledger_bytes(world->ledger), 1, MANY * BYTES_A_NAME);
	assert_int_equal(ledger_elements(world->ledger), MANY);
	print_message("%zu bytes a name\n", ledger_bytes(world->ledger) / MANY);
	allowlist_clear(&allowlist);
	clear_world(world);
}

/* A hundred thousand names behind one address: the comment counts them all, and lists of owners
 * are given back. */
static void test_one_address_of_all(void **state)
{
	static struct crowd crowd;
	struct world *world = &crowd.world;
	struct arena arena = {0};
	struct allowlist allowlist;
	struct ruleset *ruleset;
	struct plan plan;
	size_t size;

	(void)state;
	make_crowd(&crowd, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		give_addr(world, i, 1);
	build(world, &allowlist, &ruleset);
	ruleset_free(ruleset);
	assert_int_equal(ledger_new(&world->config, world->roster, world->skeleton, &allowlist,
				 &world->ledger),
		0);
	size = ledger_bytes(world->ledger);
	assert_int_equal(ledger_elements(world->ledger), 1);
	for (uint32_t i = 0; i < MANY / 2; i++) {
		struct addr before[HOST_ADDRS_MAX];
		size_t count = host_list_addrs(&world->roster->hosts[i], before);

		give_addr(world, i, 2 + i);
		assert_int_equal(ledger_update(world->ledger, i, before, count, START), 0);
	}
	assert_int_equal(ledger_plan(world->ledger, NULL, NULL, &arena, &plan), 0);
	assert_int_equal(plan.count, MANY / 2 + 2); /* and the shared one has a new comment */
	assert_non_null(strstr(plan.changes[1].element.comment, ", +49995"));
	ledger_done(world->ledger);
	assert_true(ledger_bytes(world->ledger) < size);
	plan_clear(&plan);
	arena_free(&arena);
	allowlist_clear(&allowlist);
	clear_world(world);
}

static void count_grant(void *context, const struct prefix *element, const struct grant *grant)
{
	(void)element;
	(void)grant;
	++*(size_t *)context;
}

static size_t count_grants(const struct world *world, const char *text)
{
	size_t count = 0;
	struct addr addr;

	assert_true(addr_parse(text, strlen(text), &addr));
	ledger_explain(world->ledger, 0, &addr, count_grant, &count);
	return count;
}

/* An extension and a peer share a name. */
static void make_pair(struct world *world)
{
	static const char *name[] = {"trunk.example"};
	struct allowlist nobody = {0};

	memset(world, 0, sizeof(*world));
	world->port = (struct port_range){PROTOCOL_UDP, 5060, 5060};
	world->services[0] =
		(struct service){.name = "sip", .ports = &world->port, .port_count = 1};
	world->guards[0] = (struct guard){.max_addresses = 8};
	for (size_t i = 0; i < 2; i++)
		world->owners[i] = (struct owner){
			.id = "21",
			.names = name,
			.name_count = 1,
			.services = 1,
			.kind = i ? OWNER_PEER : OWNER_EXTENSION,
			.ipv6_prefix = 64,
		};
	world->config = (struct config){
		.services = world->services,
		.service_count = 1,
		.owners = world->owners,
		.owner_count = 2,
		.guards = world->guards,
		.guard_count = 1,
		.linger = {3, 10},
		.table = "sipfence",
		.log_prefix = "",
	};
	assert_int_equal(roster_build(&world->config, NULL, &world->roster), 0);
	assert_int_equal(ruleset_build(&world->config, &nobody, &world->skeleton), 0);
	assert_int_equal(
		ledger_new(&world->config, world->roster, world->skeleton, &nobody, &world->ledger),
		0);
}

/* A name moves from 10.0.0.1 to 10.0.0.2 and, a second later, to 10.0.0.3. */
static void test_lingers_to_the_second(void **state)
{
	struct addr before[HOST_ADDRS_MAX];
	struct world world;
	struct host *host;

	(void)state;
	make_pair(&world);
	host = &world.roster->hosts[0];
	for (uint8_t i = 1; i <= 3; i++) {
		struct addr addr = {.family = FAMILY_IPV4, .bytes = {10, 0, 0, i}};
		struct answer answer = {.kind = ANSWER_ADDRESSES, .addrs = &addr, .count = 1};
		size_t count = host_list_addrs(host, before);

		assert_int_equal(
			host_take(host, FAMILY_IPV4, &answer, world.roster->linger[0], START + i),
			1);
		assert_int_equal(ledger_update(world.ledger, 0, before, count, START + i), 0);
	}
	/* 10.0.0.1 was replaced at START + 2, the second one at START + 3. */
	for (int64_t now = START + 4; now < START + 20; now++) {
		size_t count = host_list_addrs(host, before);

		assert_int_equal(ledger_update(world.ledger, 0, before, count, now), 0);
		assert_int_equal(
			count_grants(&world, "10.0.0.1"), (now < START + 5) + (now < START + 12));
		assert_int_equal(
			count_grants(&world, "10.0.0.2"), (now < START + 6) + (now < START + 13));
		assert_int_equal(count_grants(&world, "10.0.0.3"), 2);
	}
	clear_world(&world);
}

/* The ledger of a crowd that has no addresses yet. */
static void begin_crowd(struct crowd *crowd, size_t count)
{
	struct world *world = &crowd->world;
	struct allowlist nobody = {0};

	make_crowd(crowd, count);
	assert_int_equal(
		ledger_new(&world->config, world->roster, world->skeleton, &nobody, &world->ledger),
		0);
}

static void move_in(struct world *world, size_t host, uint32_t number)
{
	give_addr(world, host, number);
	assert_int_equal(ledger_update(world->ledger, host, NULL, 0, START), 0);
}

static void move_out(struct world *world, size_t host)
{
	struct addr before[HOST_ADDRS_MAX];
	size_t count = host_list_addrs(&world->roster->hosts[host], before);

	host_clear(&world->roster->hosts[host]);
	assert_int_equal(ledger_update(world->ledger, host, before, count, START), 0);
}

/* An address is found in as many steps as the tree is high. */
static void assert_height(const struct world *world, size_t height)
{
	for (size_t i = 0; i < world->roster->host_count; i++) {
		const struct host *host = &world->roster->hosts[i];

		if (host->count[FAMILY_IPV4] == 0)
			continue;
		compares = 0;
		assert_true(ledger_explain(world->ledger, 0, host->addrs[FAMILY_IPV4], NULL, NULL));
		assert_in_range(compares, 1, height);
	}
}

/* None makes a list of the tree. */
static void test_any_order_of_addresses(void **state)
{
	static struct crowd crowd;

	(void)state;
	for (int order = 0; order < 4; order++) {
		begin_crowd(&crowd, MANY);
		for (uint32_t i = 0; i < MANY; i++) {
			uint32_t orders[] = {
				i, MANY - i, i % 2 ? i : 2 * MANY - i, i * 2654435761U % (1 << 24)};

			move_in(&crowd.world, i, orders[order]);
		}
		assert_in_range(ledger_bytes(crowd.world.ledger), 1, MANY * BYTES_A_NAME);
		assert_height(&crowd.world, HEIGHT);
		clear_world(&crowd.world);
	}
}

/* Few enough that a tree one too high shows. */
static void test_height_of_small_trees(void **state)
{
	enum { FEW = 12 };
	static const size_t heights[FEW + 1] = {0, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 5};
	static struct crowd crowd;
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t order[FEW] = {0};
		size_t left = FEW;

		begin_crowd(&crowd, FEW);
		for (uint32_t j = 0; j < FEW; j++) {
			size_t at = dice_roll(&dice, j + 1);

			order[j] = order[at];
			order[at] = j;
		}
		for (size_t j = 0; j < FEW; j++) {
			move_in(&crowd.world, j, order[j]);
			assert_height(&crowd.world, heights[j + 1]);
		}
		for (size_t j = 0; j < FEW; j++) {
			move_out(&crowd.world, j);
			assert_height(&crowd.world, heights[--left]);
		}
		clear_world(&crowd.world);
	}
}

/* A comment of these owners, all at one address. */
static struct comment comment_of(const char *const *ids, size_t count)
{
	struct comment comment = {.length = 0};
	struct owner owners[OWNERS] = {0};
	struct config config = {.owners = owners, .owner_count = count};
	struct grant grant = {.prefix = {.addr.family = FAMILY_IPV4, .length = 32}};

	for (uint32_t i = 0; i < count; i++) {
		owners[i].id = ids[i];
		grant.owner = i;
		comment_add(&comment, &config, &grant);
	}
	comment_end(&comment, &config, 0);
	return comment;
}

static void test_comment_uses_all_its_room(void **state)
{
	enum { REST = sizeof(", +4294967295") - 1 };
	char first[COMMENT_MAX + 2] = {0}, last[] = "zzzzzzzzzzzz";
	const char *ids[] = {first, last, "22"};
	struct comment comment;

	(void)state;
	/* Whoever is last needs no room for "+1" behind. */
	memset(first, 'x', COMMENT_MAX - REST);
	comment = comment_of(ids, 2);
	assert_string_equal(comment.text + COMMENT_MAX - REST, ", +1");
	last[REST - 2] = '\0';
	comment = comment_of(ids, 2);
	assert_int_equal(comment.length, COMMENT_MAX);
	assert_string_equal(comment.text + COMMENT_MAX - REST, ", zzzzzzzzzzz");
	comment = comment_of(ids, 3);
	assert_string_equal(comment.text + COMMENT_MAX - REST, ", +2");
	/* The beginning of one that is too long. */
	memset(first, 'x', COMMENT_MAX + 1);
	comment = comment_of(ids, 1);
	assert_int_equal(comment.length, COMMENT_MAX);
}

static void add_net(struct comment *comment, const struct config *config, uint8_t length,
	uint32_t owner, const char *host)
{
	struct grant grant = {.prefix = {.addr = {FAMILY_IPV4, {10}}, .length = length},
		.owner = owner,
		.host = host};

	comment_add(comment, config, &grant);
}

static void test_comment_names_an_owner_of_pieces_once(void **state)
{
	static const char a[] = "a.example", b[] = "b.example";
	struct owner owners[] = {{.id = "21"}, {.id = "22"}};
	struct config config = {.owners = owners, .owner_count = 2};
	struct comment comment = {.length = 0};

	(void)state;
	add_net(&comment, &config, 8, 0, NULL);
	add_net(&comment, &config, 16, 0, NULL); /* has it already */
	add_net(&comment, &config, 16, 0, a);
	add_net(&comment, &config, 24, 0, a);
	add_net(&comment, &config, 24, 0, b);
	add_net(&comment, &config, 25, 1, b);
	add_net(&comment, &config, 26, GRANT_LOCAL, NULL);
	comment_end(&comment, &config, 3);
	assert_int_equal(comment.count, 5);
	assert_string_equal(
		comment.text, "21, 21 a.example, 21 b.example, 22 b.example, local-subnets, +3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equals_the_whole_made_from_scratch),
		cmocka_unit_test(test_no_change_no_plan),
		cmocka_unit_test(test_what_comes_back_was_never_gone),
		cmocka_unit_test(test_explains_who_permits),
		cmocka_unit_test(test_out_of_memory_loses_nothing),
		cmocka_unit_test(test_memory_and_work_of_a_name),
		cmocka_unit_test(test_one_address_of_all),
		cmocka_unit_test(test_any_order_of_addresses),
		cmocka_unit_test(test_height_of_small_trees),
		cmocka_unit_test(test_lingers_to_the_second),
		cmocka_unit_test(test_comment_uses_all_its_room),
		cmocka_unit_test(test_comment_names_an_owner_of_pieces_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
