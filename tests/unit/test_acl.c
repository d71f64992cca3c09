/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "acl.h"
#include "check.h"

#include <string.h>

static struct prefix prefix(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, strlen(text), &prefix), PREFIX_OK);
	return prefix;
}

static struct addr addr(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, strlen(text), &addr));
	return addr;
}

/* The permits as text, one a word. */
static const char *told(const struct acl *acl)
{
	static char text[1024];
	size_t length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < acl->count; i++) {
		length += prefix_print(&acl->permits[i], text + length);
		text[length++] = ' ';
		text[length] = '\0';
	}
	return text;
}

/* Two extensions and a peer; 21 has two names and a fixed address, 22 is local, too. */
struct world {
	struct config config;
	struct roster roster;
	struct guard guard;
	struct owner owners[3];
	struct host hosts[3];
	struct binding bindings[4];
	struct prefix fixed, local[2];
};

static void give(struct host *host, const char *text)
{
	enum family family = strchr(text, ':') ? FAMILY_IPV6 : FAMILY_IPV4;

	host->addrs[family] =
		reallocarray(host->addrs[family], host->count[family] + 1u, sizeof(struct addr));
	assert_non_null(host->addrs[family]);
	host->addrs[family][host->count[family]++] = addr(text);
}

static void world_make(struct world *world)
{
	memset(world, 0, sizeof(*world));
	world->guard.max_addresses = 8;
	world->fixed = prefix("192.0.2.21");
	world->local[0] = prefix("192.168.10.0/24");
	world->local[1] = prefix("fd00:10::/64");
	world->owners[0] = (struct owner){.id = "21",
		.kind = OWNER_EXTENSION,
		.ipv6_prefix = 64,
		.fixed = &world->fixed,
		.fixed_count = 1};
	world->owners[1] = (struct owner){
		.id = "22", .kind = OWNER_EXTENSION, .ipv6_prefix = 128, .local = true};
	world->owners[2] = (struct owner){.id = "trunk", .kind = OWNER_PEER, .ipv6_prefix = 128};
	world->bindings[0] = (struct binding){0, 0};
	world->bindings[1] = (struct binding){0, 1};
	world->bindings[2] = (struct binding){1, 1};
	world->bindings[3] = (struct binding){2, 2};
	world->config = (struct config){.owners = world->owners,
		.owner_count = 3,
		.guards = &world->guard,
		.guard_count = 1,
		.local_subnets = world->local,
		.local_subnet_count = 2,
		.linger = {[OWNER_PEER] = 100}};
	world->roster = (struct roster){.hosts = world->hosts,
		.host_count = 3,
		.bindings = world->bindings,
		.binding_count = 4};
}

static void world_clear(struct world *world)
{
	for (size_t i = 0; i < 3; i++)
		host_clear(&world->hosts[i]);
}

static void test_each_has_its_own_hosts_alone(void **state)
{
	struct world world;
	struct acl acl = {0};

	(void)state;
	world_make(&world);
	give(&world.hosts[0], "203.0.113.10");
	give(&world.hosts[0], "2001:db8:21::10");
	give(&world.hosts[1], "198.51.100.7");
	give(&world.hosts[2], "198.51.100.99");
	assert_int_equal(acl_of(&world.config, &world.roster, 0, 0, &acl), 0);
	assert_string_equal(told(&acl), "192.0.2.21 198.51.100.7 203.0.113.10 2001:db8:21::/64 ");
	assert_int_equal(acl_of(&world.config, &world.roster, 1, 0, &acl), 0);
	assert_string_equal(told(&acl), "192.168.10.0/24 198.51.100.7 fd00:10::/64 ");
	assert_int_equal(acl_of(&world.config, &world.roster, 2, 0, &acl), 0);
	assert_string_equal(told(&acl), "198.51.100.99 ");
	acl_clear(&acl);
	world_clear(&world);
}

static void test_without_an_address_nobody_is_permitted(void **state)
{
	struct world world;
	struct acl acl = {0};
	struct addr stranger = addr("198.51.100.66");

	(void)state;
	world_make(&world);
	world.owners[0].fixed_count = 0;
	assert_int_equal(acl_of(&world.config, &world.roster, 0, 0, &acl), 0);
	assert_int_equal(acl.count, 0);
	assert_false(acl_permits(&acl, &stranger));
	acl_clear(&acl);
}

static void test_linger_is_that_of_the_kind(void **state)
{
	struct world world;
	struct acl acl = {0};

	(void)state;
	world_make(&world);
	world.bindings[2] = (struct binding){1, 2};
	world.hosts[2].retired = calloc(1, sizeof(*world.hosts[2].retired));
	assert_non_null(world.hosts[2].retired);
	world.hosts[2].retired[0] = (struct retired){addr("198.51.100.98"), 1000};
	world.hosts[2].retired_count = 1;
	assert_int_equal(acl_of(&world.config, &world.roster, 2, 1099, &acl), 0);
	assert_string_equal(told(&acl), "198.51.100.98 ");
	assert_int_equal(acl_of(&world.config, &world.roster, 2, 1100, &acl), 0);
	assert_string_equal(told(&acl), "");
	assert_int_equal(acl_of(&world.config, &world.roster, 1, 1001, &acl), 0);
	assert_string_equal(told(&acl), "192.168.10.0/24 fd00:10::/64 ");
	acl_clear(&acl);
	world_clear(&world);
}

static void test_settled_is_sorted_and_folded(void **state)
{
	static const char *const given[] = {"203.0.113.7", "10.0.0.0/8", "203.0.113.0/24",
		"10.1.0.0/16", "2001:db8::/32", "203.0.113.7", "2001:db8::1", "10.0.0.0/8"};
	struct acl acl = {0}, other = {0};
	struct prefix more;

	(void)state;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		struct prefix one = prefix(given[i]);
		assert_int_equal(acl_add(&acl, &one), 0);
	}
	acl_settle(&acl);
	assert_string_equal(told(&acl), "10.0.0.0/8 203.0.113.0/24 2001:db8::/32 ");
	struct addr in = addr("203.0.113.200"), out = addr("203.0.114.1");
	assert_true(acl_permits(&acl, &in));
	assert_false(acl_permits(&acl, &out));
	assert_false(acl_equal(&acl, &other));
	for (size_t i = 0; i < acl.count; i++)
		assert_int_equal(acl_add(&other, &acl.permits[i]), 0);
	assert_true(acl_equal(&acl, &other));
	more = prefix("203.0.113.0/25");
	other.permits[1] = more;
	assert_false(acl_equal(&acl, &other));
	acl_clear(&acl);
	acl_clear(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_has_its_own_hosts_alone),
		cmocka_unit_test(test_without_an_address_nobody_is_permitted),
		cmocka_unit_test(test_linger_is_that_of_the_kind),
		cmocka_unit_test(test_settled_is_sorted_and_folded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
