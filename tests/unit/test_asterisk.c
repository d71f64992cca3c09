/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk.h"
#include "check.h"

#include <string.h>

static struct prefix prefix(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, strlen(text), &prefix), PREFIX_OK);
	return prefix;
}

/* Three extensions, not in the order of their ids, and a peer of an extension's id. */
struct world {
	struct config config;
	struct roster roster;
	struct guard guard;
	struct owner owners[4];
	struct prefix fixed[2], local;
	struct asterisk_acls acls;
};

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->fixed[0] = prefix("203.0.113.10");
	world->fixed[1] = prefix("2001:db8::/64");
	world->local = prefix("192.168.1.0/24");
	world->owners[0] = (struct owner){
		.id = "22", .kind = OWNER_EXTENSION, .fixed = world->fixed, .fixed_count = 2};
	world->owners[1] = (struct owner){.id = "21", .kind = OWNER_EXTENSION, .local = true};
	world->owners[2] = (struct owner){.id = "0021", .kind = OWNER_EXTENSION};
	world->owners[3] = (struct owner){
		.id = "30", .kind = OWNER_PEER, .fixed = world->fixed, .fixed_count = 2};
	world->config = (struct config){.path = "/etc/sipfence/sipfence.yaml",
		.guards = &world->guard,
		.guard_count = 1,
		.owners = world->owners,
		.owner_count = 4,
		.local_subnets = &world->local,
		.local_subnet_count = 1};
	assert_int_equal(asterisk_acls_make(&world->config, &world->roster, 1000, &world->acls), 0);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	struct world *world = *state;

	asterisk_acls_clear(&world->acls);
	free(world);
	return 0;
}

static void test_the_file_has_a_section_for_each_extension_and_no_peer(void **state)
{
	struct world *world = *state;
	struct text text = {0};
	const char *sections;

	asterisk_acls_print(&world->acls, &text);
	assert_false(text.failed);
	assert_int_equal(strncmp(text.data, "; Written by sipfence", 21), 0);
	sections = strstr(text.data, "\n[");
	assert_non_null(sections);
	assert_string_equal(sections,
		"\n[sipfence-22]\ndeny=0.0.0.0/0\ndeny=::/0\npermit=203.0.113.10/32\n"
		"permit=2001:db8::/64\n"
		"\n[sipfence-21]\ndeny=0.0.0.0/0\ndeny=::/0\npermit=192.168.1.0/24\n"
		"\n[sipfence-0021]\ndeny=0.0.0.0/0\ndeny=::/0\n");
	text_free(&text);
}

static void test_extensions_are_found_by_their_whole_id(void **state)
{
	struct world *world = *state;

	assert_int_equal(world->acls.count, 3);
	assert_int_equal(asterisk_acls_find(&world->acls, "22"), 0);
	assert_int_equal(asterisk_acls_find(&world->acls, "21"), 1);
	assert_int_equal(asterisk_acls_find(&world->acls, "0021"), 2);
	assert_int_equal(asterisk_acls_find(&world->acls, "2"), 3);
	assert_int_equal(asterisk_acls_find(&world->acls, "30"), 3);
	assert_int_equal(asterisk_acls_find(&world->acls, ""), 3);
}

static void test_no_extension_at_all(void **state)
{
	struct config config = {.path = "x"};
	struct roster roster = {0};
	struct asterisk_acls acls = {0};

	(void)state;
	assert_int_equal(asterisk_acls_make(&config, &roster, 0, &acls), 0);
	assert_int_equal(acls.count, 0);
	assert_int_equal(asterisk_acls_find(&acls, "21"), 0);
	asterisk_acls_clear(&acls);
	asterisk_acls_clear(&acls);
}

#define TITLE  "\nACL: sipfence-22\n---------------------------------------------\n"
#define DENIES "  0:  deny - 0.0.0.0/0.0.0.0\n  1:  deny - ::/::\n"
#define HOST   "  2: allow - 203.0.113.10/255.255.255.255\n"
#define NET    "  3: allow - 2001:db8::/ffff:ffff:ffff:ffff::\n"

static void test_what_is_in_force_is_compared(void **state)
{
	static const struct {
		const char *output;
		enum asterisk_match match;
	} rows[] = {
		{TITLE DENIES HOST NET, ASTERISK_EQUAL},
		{"No ethernet interface found\n" TITLE DENIES NET HOST, ASTERISK_EQUAL},
		{TITLE DENIES HOST, ASTERISK_DIFFERENT},
		{TITLE DENIES HOST NET "  4: allow - 192.0.2.1/255.255.255.255\n",
			ASTERISK_DIFFERENT},
		{TITLE DENIES, ASTERISK_DIFFERENT},
		{TITLE HOST NET, ASTERISK_OPEN},
		{TITLE, ASTERISK_OPEN},
		{"\nCould not find ACL named 'sipfence-22'\n", ASTERISK_MISSING},
		{"", ASTERISK_MISSING},
		{TITLE DENIES "  2: allow - home.example/255.255.255.255\n", ASTERISK_UNREADABLE},
		{"ACL: sipfence-21\n" DENIES HOST NET, ASTERISK_UNREADABLE},
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int match = asterisk_acls_compare(
			&world->acls, 0, rows[i].output, strlen(rows[i].output));

		if (match != (int)rows[i].match)
			fail_msg("row %zu: %d", i, match);
		assert_true(strlen(asterisk_match_text((enum asterisk_match)match)) > 0);
	}
}

static void assert_fit(const struct world *world, const char *extension, const char *address,
	enum asterisk_fit fit, uint32_t index)
{
	struct asterisk_contact contact = {.extension = extension};
	uint32_t found = 77;

	contact.has_addr = address && addr_parse(address, strlen(address), &contact.addr);
	assert_int_equal(asterisk_acls_judge(&world->acls, &contact, &found), fit);
	assert_int_equal(found, index);
	assert_true(strlen(asterisk_fit_word(fit)) > 0);
}

static void test_registrations_are_judged_by_their_own_extension(void **state)
{
	struct world *world = *state;

	assert_fit(world, "22", "203.0.113.10", ASTERISK_FITS, 0);
	assert_fit(world, "22", "2001:db8::1:2", ASTERISK_FITS, 0);
	assert_fit(world, "22", "203.0.113.11", ASTERISK_WRONG, 0);
	assert_fit(world, "22", "192.168.1.5", ASTERISK_WRONG, 0);
	assert_fit(world, "21", "192.168.1.5", ASTERISK_FITS, 1);
	/* The union of all lets it in; it is not 21's. */
	assert_fit(world, "21", "203.0.113.10", ASTERISK_WRONG, 1);
	assert_fit(world, "0021", "192.168.1.5", ASTERISK_WRONG, 2);
	assert_fit(world, "22", NULL, ASTERISK_UNKNOWABLE, 0);
	assert_fit(world, "30", "203.0.113.10", ASTERISK_UNLISTED, 77);
	assert_fit(world, "99", NULL, ASTERISK_UNLISTED, 77);
}

/* While DNS has never told of a name, nobody is thrown out for not being there. */
static void test_nobody_is_wrong_where_a_name_was_never_answered(void **state)
{
	struct world *world = *state;
	struct binding bindings[] = {{.owner = 0, .host = 0}, {.owner = 2, .host = 0}, {3, 0}};
	struct host host = {.name = "home.example"};

	world->roster = (struct roster){
		.hosts = &host, .host_count = 1, .bindings = bindings, .binding_count = 3};
	assert_int_equal(asterisk_acls_make(&world->config, &world->roster, 1000, &world->acls), 0);
	assert_fit(world, "22", "203.0.113.10", ASTERISK_FITS, 0);
	assert_fit(world, "22", "203.0.113.11", ASTERISK_UNKNOWABLE, 0);
	assert_fit(world, "21", "203.0.113.11", ASTERISK_WRONG, 1);
	assert_fit(world, "0021", "203.0.113.11", ASTERISK_UNKNOWABLE, 2);
	/* Once it was, in either family, it counts, also when there is none any more. */
	host.lookup[FAMILY_IPV6].good = 900;
	assert_int_equal(asterisk_acls_make(&world->config, &world->roster, 1000, &world->acls), 0);
	assert_fit(world, "22", "203.0.113.11", ASTERISK_WRONG, 0);
	assert_fit(world, "0021", "203.0.113.11", ASTERISK_WRONG, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_nobody_is_wrong_where_a_name_was_never_answered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_the_file_has_a_section_for_each_extension_and_no_peer, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			test_extensions_are_found_by_their_whole_id, set_up, tear_down),
		cmocka_unit_test(test_no_extension_at_all),
		cmocka_unit_test_setup_teardown(
			test_what_is_in_force_is_compared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_registrations_are_judged_by_their_own_extension, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
