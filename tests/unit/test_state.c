/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "state.h"

#include <errno.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { ROUNDS = 500, HOSTS = 6, NOW = 1700000000 };

static const struct surroundings nothing_around = {0};
static const struct steady clock_then = {.now = NOW + 5,
	.at = {.wall = NOW, .boottime = 77, .boot_id = "5c3a0d1e-0000-4000-8000-000000000000"}};
static const struct enforced_port ports[] = {
	{PROTOCOL_UDP, 5060, 5060}, {PROTOCOL_TCP, 5060, 5061}};
static const struct enforced_ports enforced = {ports, 2}, nothing_enforced = {NULL, 0};

static void print_state(const struct roster *roster, const struct config *config, struct text *text)
{
	state_print(roster, config, &clock_then, &enforced, 0, "pbx", text);
}

struct world {
	struct config config;
	struct guard guards[2];
	struct owner owner[2];
	struct service service;
	char texts[HOSTS][32];
	const char *names[HOSTS];
	const char *srv[1];
	struct roster *roster;
};

static void take_random(struct host *host, enum family family, struct dice *dice, int64_t now)
{
	struct addr addrs[4] = {0};
	struct answer answer = {
		.kind = 1 + dice_roll(dice, 5),
		.reason = dice_roll(dice, 9),
		.ttl = (uint32_t)dice_next(dice),
	};

	if (answer.kind == ANSWER_ADDRESSES) {
		answer.count = 1 + dice_roll(dice, 4);
		answer.addrs = addrs;
		for (size_t i = 0; i < answer.count; i++) {
			addrs[i].family = (uint8_t)family;
			addrs[i].bytes[0] = family == FAMILY_IPV4 ? 45 : 0x26;
			addrs[i].bytes[1] = (uint8_t)(i * 50 + dice_roll(dice, 50));
			addrs[i].bytes[3] = (uint8_t)dice_next(dice);
		}
	}
	assert_true(host_take(host, family, &answer, 3600, now) >= 0);
}

static void make_world(struct world *world, struct dice *dice)
{
	static const char *const targets[] = {"t1.example", "t2.example"};

	memset(world, 0, sizeof(*world));
	world->guards[0] = (struct guard){.max_addresses = 8, .fingerprint = 0x1234};
	world->guards[1] = (struct guard){.max_addresses = 64, .fingerprint = UINT64_MAX};
	world->service = (struct service){.name = "sip"};
	world->config = (struct config){
		.services = &world->service,
		.service_count = 1,
		.guards = world->guards,
		.guard_count = 2,
		.owners = world->owner,
		.owner_count = 2,
		.hold = INT32_MAX,
		.table = "sipfence",
		.linger = {3600, 3600},
	};
	for (size_t i = 0; i < HOSTS; i++) {
		snprintf(world->texts[i], sizeof(world->texts[i]), "h%zu.example", i);
		world->names[i] = world->texts[i];
	}
	world->srv[0] = "_sip._udp.example";
	world->owner[0] = (struct owner){.id = "21", .names = world->names, .name_count = HOSTS};
	world->owner[1] = (struct owner){.id = "trunk",
		.kind = OWNER_PEER,
		.guard = 1,
		.names = world->names,
		.name_count = 2,
		.srv = world->srv,
		.srv_count = 1};
	assert_int_equal(roster_build(&world->config, NULL, &world->roster), 0);
	for (size_t i = 0; dice && i < world->roster->host_count; i++) {
		for (int64_t round = 0; round < 3; round++) {
			take_random(&world->roster->hosts[i], FAMILY_IPV4, dice, NOW + round);
			take_random(&world->roster->hosts[i], FAMILY_IPV6, dice, NOW + round);
			if (dice_roll(dice, 2))
				host_count_change(&world->roster->hosts[i], true, 1, NOW + round);
		}
		if (dice_roll(dice, 2) &&
			changes_judge(&world->roster->hosts[i].changes, 1, NOW + 3))
			changes_say(world->roster->hosts[i].changes);
	}
	if (dice) {
		struct answer answer = {
			.kind = ANSWER_ADDRESSES, .targets = targets, .count = 2, .ttl = 60};

		assert_int_equal(srv_take(&world->roster->srvs[0], &answer, NOW), 1);
		answer.count = 1;
		assert_int_equal(srv_take(&world->roster->srvs[0], &answer, NOW + 1), 1);
	}
}

static void assert_same_host(const struct host *a, const struct host *b)
{
	assert_string_equal(a->name, b->name);
	assert_memory_equal(a->lookup, b->lookup, sizeof(a->lookup));
	assert_int_equal(a->told, b->told);
	for (int family = 0; family < FAMILY_COUNT; family++) {
		assert_int_equal(a->count[family], b->count[family]);
		for (size_t i = 0; i < a->count[family]; i++)
			assert_true(addr_equal(&a->addrs[family][i], &b->addrs[family][i]));
	}
	assert_int_equal(!a->changes, !b->changes);
	if (a->changes) {
		assert_int_equal(a->changes->said, b->changes->said);
		assert_int_equal(a->changes->count, b->changes->count);
		assert_memory_equal(a->changes->times, b->changes->times,
			a->changes->count * sizeof(a->changes->times[0]));
	}
	assert_int_equal(a->retired_count, b->retired_count);
	for (size_t i = 0; i < a->retired_count; i++) {
		assert_int_equal(a->retired[i].when, b->retired[i].when);
		assert_true(addr_equal(&a->retired[i].addr, &b->retired[i].addr));
	}
}

static void test_print_then_parse_gives_the_same(void **state)
{
	struct dice dice = dice_new(__func__);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct saved_state *saved = NULL;
		struct text text = {0};
		struct world world;
		size_t line;

		make_world(&world, &dice);
		for (size_t j = 0; j < world.roster->host_count; j++)
			world.roster->hosts[j].told = (uint8_t)dice_roll(&dice, HOST_EXPIRED + 1);
		print_state(world.roster, &world.config, &text);
		assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
		assert_int_equal(saved->host_count, world.roster->host_count);
		for (size_t j = 0; j < saved->host_count; j++)
			assert_same_host(&saved->hosts[j].host, &world.roster->hosts[j]);
		assert_int_equal(saved->srv_count, 1);
		assert_int_equal(saved->clock.now, clock_then.now);
		assert_int_equal(saved->clock.at.wall, clock_then.at.wall);
		assert_int_equal(saved->clock.at.boottime, clock_then.at.boottime);
		assert_string_equal(saved->clock.at.boot_id, clock_then.at.boot_id);
		assert_int_equal(saved->table_count, 2);
		assert_string_equal(saved->tables[0], "sipfence");
		assert_string_equal(saved->tables[1], "pbx");
		assert_string_equal(saved->enforced_table, "sipfence");
		assert_int_equal(saved->enforced_count, 2);
		for (size_t j = 0; j < 2; j++) {
			assert_int_equal(saved->enforced[j].protocol, ports[j].protocol);
			assert_int_equal(saved->enforced[j].first, ports[j].first);
			assert_int_equal(saved->enforced[j].last, ports[j].last);
		}
		assert_string_equal(saved->srvs[0].targets[0], "t1.example");
		assert_string_equal(saved->srvs[0].retired[0].target, "t2.example");
		state_free(saved);
		text_free(&text);
		roster_free(world.roster);
	}
}

static void test_restore_gives_the_roster_back(void **state)
{
	struct dice dice = dice_new(__func__);
	struct saved_state *saved = NULL;
	struct text text = {0}, again = {0};
	struct world world, fresh;
	size_t line;

	(void)state;
	make_world(&world, &dice);
	make_world(&fresh, NULL);
	for (size_t i = 0; i < world.roster->host_count; i++)
		host_restore(&world.roster->hosts[i], NOW + 10);
	lookup_restore(&world.roster->srvs[0].lookup, NOW + 10);
	print_state(world.roster, &world.config, &text);
	assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
	assert_int_equal(state_restore_srvs(saved, fresh.roster, NOW + 10), 0);
	assert_int_equal(
		state_restore_hosts(saved, &fresh.config, &nothing_around, fresh.roster, NOW + 10),
		0);
	print_state(fresh.roster, &fresh.config, &again);
	assert_string_equal(text.data, again.data);
	state_free(saved);
	text_free(&text);
	text_free(&again);
	roster_free(world.roster);
	roster_free(fresh.roster);
}

static void test_restore_obeys_the_guard_of_today(void **state)
{
	struct dice dice = dice_new(__func__);
	struct prefix nowhere = {.addr = {.family = FAMILY_IPV4, .bytes = {9}}, .length = 8};
	struct saved_state *saved = NULL;
	struct text text = {0};
	struct world world, fresh;
	size_t line;

	(void)state;
	make_world(&world, &dice);
	make_world(&fresh, NULL);
	print_state(world.roster, &world.config, &text);
	assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
	fresh.guards[0] = (struct guard){
		.within = &nowhere, .within_count = 1, .max_addresses = 8, .fingerprint = 99};
	assert_int_equal(
		state_restore_hosts(saved, &fresh.config, &nothing_around, fresh.roster, NOW + 10),
		0);
	for (size_t i = 0; i < fresh.roster->host_count; i++) {
		const struct host *host = &fresh.roster->hosts[i];

		if (host->guard != 0)
			continue;
		assert_int_equal(host->count[FAMILY_IPV4] + host->count[FAMILY_IPV6], 0);
		assert_int_equal(host->retired_count, 0);
	}
	state_free(saved);
	text_free(&text);
	roster_free(world.roster);
	roster_free(fresh.roster);
}

/* The fresh world's guards require DNSSEC, and are others for it; was what is saved validated? */
static void restore_strict(struct world *world, bool was_validated, struct world *fresh)
{
	struct saved_state *saved = NULL;
	struct text text = {0};
	size_t line;

	for (size_t i = 0; i < world->roster->host_count; i++)
		world->roster->hosts[i].validated = was_validated;
	world->roster->srvs[0].validated = was_validated;
	print_state(world->roster, &world->config, &text);
	make_world(fresh, NULL);
	for (unsigned i = 0; i < 2; i++) {
		fresh->guards[i].require_dnssec = true;
		fresh->guards[i].fingerprint += 7;
	}
	roster_free(fresh->roster);
	assert_int_equal(roster_build(&fresh->config, NULL, &fresh->roster), 0);
	assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
	assert_int_equal(state_restore_srvs(saved, fresh->roster, NOW + 10), 0);
	assert_int_equal(state_restore_hosts(
				 saved, &fresh->config, &nothing_around, fresh->roster, NOW + 10),
		0);
	state_free(saved);
	text_free(&text);
}

static void test_what_was_validated_is_known(void **state)
{
	struct dice dice = dice_new(__func__);
	const struct timing timing = {.hold = 100000, .gone = 5};
	size_t known[2] = {0}, kept = 0;

	(void)state;
	for (unsigned round = 0; round < 100; round++) {
		bool was_validated = round % 2;
		struct world world, fresh;
		size_t retired = 0;

		make_world(&world, &dice);
		restore_strict(&world, was_validated, &fresh);
		for (size_t i = 0; i < fresh.roster->host_count; i++) {
			struct host *host = &fresh.roster->hosts[i];

			assert_true(host->validated);
			/* Either way nobody is thrown out at once. */
			host_expire(host, &timing, 0, NOW + 14);
			known[was_validated] += host->count[FAMILY_IPV4];
			retired += fresh.roster->hosts[i].retired_count;
			host_expire(host, &timing, 0, NOW + 15);
			assert_true(was_validated || host->count[FAMILY_IPV4] == 0);
			kept += host->count[FAMILY_IPV4];
		}
		assert_int_equal(retired, 0); /* no linger */
		assert_int_equal(fresh.roster->srvs[0].count, 1);
		assert_int_equal(fresh.roster->srvs[0].retired_count, was_validated);
		assert_int_equal(fresh.roster->srvs[0].lookup.good != 0, was_validated);
		roster_free(world.roster);
		roster_free(fresh.roster);
	}
	assert_true(known[false] > 0 && known[true] > 0 && kept > 0);
}

static void test_enforced_ports_are_forgotten(void **state)
{
	struct dice dice = dice_new(__func__);
	struct text text = {0}, without = {0}, expected = {0};
	struct world world;

	(void)state;
	make_world(&world, &dice);
	print_state(world.roster, &world.config, &text);
	world.config.table = "pbx"; /* what is left is as if there had been no other */
	state_print(
		world.roster, &world.config, &clock_then, &nothing_enforced, 0, NULL, &expected);
	state_forget_enforced(text.data, text.length, "sipfence", &without);
	assert_string_equal(without.data, expected.data);
	text_free(&text);
	text_free(&without);
	text_free(&expected);
	roster_free(world.roster);
}

/* The longest that one name can remember: what is written is also read. */
static void test_as_many_retired_as_there_can_be(void **state)
{
	struct dice dice = dice_new(__func__);
	struct saved_state *saved = NULL;
	struct text text = {0};
	struct world world;
	size_t line;

	(void)state;
	make_world(&world, &dice);
	for (unsigned round = 0; round < 3 * RETIRED_MAX; round++) {
		struct addr value = {.family = FAMILY_IPV4,
			.bytes = {45, 0, (uint8_t)(round >> 8), (uint8_t)round}};
		struct answer answer = {.kind = ANSWER_ADDRESSES, .addrs = &value, .count = 1};
		char target[32];
		const char *targets[] = {target};

		assert_int_equal(host_take(&world.roster->hosts[0], FAMILY_IPV4, &answer, 86400,
					 NOW + round),
			1);
		snprintf(target, sizeof(target), "t%u.example", 100 + round);
		answer.targets = targets;
		assert_int_equal(srv_take(&world.roster->srvs[0], &answer, NOW + round), 1);
	}
	assert_int_equal(world.roster->hosts[0].retired_count, RETIRED_MAX);
	assert_int_equal(world.roster->srvs[0].retired_count, RETIRED_MAX);
	/* The oldest are forgotten. */
	assert_int_equal(
		world.roster->hosts[0].retired[RETIRED_MAX - 1].when, NOW + 3 * RETIRED_MAX - 1);
	print_state(world.roster, &world.config, &text);
	assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
	assert_same_host(&saved->hosts[0].host, &world.roster->hosts[0]);
	assert_int_equal(saved->srvs[0].retired_count, RETIRED_MAX);
	state_free(saved);
	text_free(&text);
	roster_free(world.roster);
}

static void assert_refused(const char *data, size_t length)
{
	struct saved_state *saved = NULL;
	size_t line;

	assert_int_equal(state_parse(data, length, &saved, &line), -EBADMSG);
	assert_null(saved);
}

static void test_every_damage_is_found(void **state)
{
	struct dice dice = dice_new(__func__);
	struct text text = {0};
	struct world world;

	(void)state;
	make_world(&world, &dice);
	print_state(world.roster, &world.config, &text);
	for (size_t i = 0; i < text.length; i++) {
		assert_refused(text.data, i);
		text.data[i] = (char)(text.data[i] ^ 1);
		assert_refused(text.data, text.length);
		text.data[i] = (char)(text.data[i] ^ 1);
	}
	text_puts(&text, "\n");
	assert_refused(text.data, text.length);
	assert_refused("", 0);
	text_clear(&text);
	text_puts(&text, "sipfence-state 3\n");
	text_printf(
		&text, "end 0 %016llx\n", (unsigned long long)XXH3_64bits(text.data, text.length));
	assert_refused(text.data, text.length);
	text_free(&text);
	roster_free(world.roster);
}

/* An update must not forget who had answered, nor which ports were shut. */
static void test_version_1_is_read(void **state)
{
	struct saved_state *saved = NULL;
	struct text text = {0}, left = {0};
	uint64_t fnv = 0xcbf29ce484222325;
	size_t line;

	(void)state;
	text_puts(&text, "sipfence-state 1\ntable sipfence\nenforced sipfence 17 5060 5060\n"
			 "host a.example 0123456789abcdef 1\nlookup 4 1 1 0 60 0 1 0 9.9.9.9\n");
	for (size_t i = 0; i < text.length; i++)
		fnv = (fnv ^ (uint8_t)text.data[i]) * 0x100000001b3;
	text_printf(&text, "end 4 %016llx\n", (unsigned long long)fnv);
	assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
	assert_int_equal(saved->host_count, 1);
	assert_int_equal(saved->enforced_count, 1);
	state_free(saved);
	state_forget_enforced(text.data, text.length, "sipfence", &left);
	assert_int_equal(state_parse(left.data, left.length, &saved, &line), 0);
	assert_int_equal(saved->host_count, 1);
	assert_int_equal(saved->enforced_count, 0);
	state_free(saved);
	text.data[20] ^= 1;
	assert_refused(text.data, text.length);
	text_free(&text);
	text_free(&left);
}

static void test_checksum_is_the_one_that_is_documented(void **state)
{
	/* With the XXH3 of the text "sipfence-state 2\nclock 1 1 1 -\n", by
	 * another implementation. */
	static const char good[] = "sipfence-state 2\nclock 1 1 1 -\nend 1 5877b733e113f2a3\n";
	struct saved_state *saved = NULL;
	size_t line;

	(void)state;
	assert_int_equal(state_parse(good, sizeof(good) - 1, &saved, &line), 0);
	state_free(saved);
}

/* Texts with a right checksum that still make no sense. */
static void test_nonsense_is_refused(void **state)
{
	static const char *const bodies[] = {
		"lookup 4 1 1 0 1 0 1 0\n",
		"host a.example 0000000000000000 1\ntargets 1 1 0 1 0 1 0\n",
		"host a.example 0000000000000000\n",
		"host a.example 000 1\n",
		"host a.example 000000000000000g 1\n",
		"host a.example 000000000000000A 1\n",
		"host a.example 000000000000000/ 1\n",
		"host a.example 000000000000000: 1\n",
		"host a.example 000000000000000` 1\n",
		"host a.example 0000000000000000 256\n",
		"host no_dot 0000000000000000 1\n",
		"host a.example 0000000000000000 1\nlookup 5 1 1 0 1 0 1 0\n",
		"host a.example 0000000000000000 1\nlookup 4 1 1 0 1 0 9 0\n",
		"host a.example 0000000000000000 1\nlookup 4 1 1 0 1 0 1 0 2001:db8::1\n",
		"host a.example 0000000000000000 1\nlookup 4 1 1 0 1 0 1 0 9.9.9.9 9.9.9.8\n",
		"host a.example 0000000000000000 1\nlookup 4 -1 1 0 1 0 1 0\n",
		"host a.example 0000000000000000 1\nlookup 4 99999999999999999999 1 0 1 0 1 0\n",
		"host a.example 0000000000000000 1\nretired 1\n",
		"host a.example 0000000000000000 1 x\n",
		"host a.example 0000000000000000 1 validate\n",
		"host a.example 0000000000000000 1 validatedd\n",
		"host a.example 0000000000000000 1 validated x\n",
		"srv _sip._udp.example 1 Validated\n",
		"srv _sip._udp.example 1\ntargets 1 1 0 1 0 1 0 bad..name\n",
		"nothing\n",
		"clock 1 1 1\n",
		"clock 1 1 1 this-is-no-boot-id-since-it-is-far-too-long\n",
		"enforced sipfence 17 5060\n",
		"enforced sipfence 17 5060 70000\n",
		"\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		struct text text = {0};

		text_printf(&text, "sipfence-state 2\n%s", bodies[i]);
		text_printf(&text, "end 1 %016llx\n",
			(unsigned long long)XXH3_64bits(text.data, text.length));
		assert_refused(text.data, text.length);
		text_free(&text);
	}
}

static int parse_lookup_line(const char *numbers, struct lookup *ret_lookup)
{
	struct saved_state *saved = NULL;
	struct text text = {0};
	size_t line;
	int result;

	text_printf(&text, "sipfence-state 2\nhost a.example 0123456789abcdef 1\nlookup 4 %s\n",
		numbers);
	text_printf(
		&text, "end 2 %016llx\n", (unsigned long long)XXH3_64bits(text.data, text.length));
	result = state_parse(text.data, text.length, &saved, &line);
	if (result == 0) {
		assert_int_equal(saved->hosts[0].fingerprint, 0x0123456789abcdef);
		*ret_lookup = saved->hosts[0].host.lookup[FAMILY_IPV4];
	} else {
		assert_int_equal(line, 3);
	}
	state_free(saved);
	text_free(&text);
	return result;
}

static void test_extreme_numbers(void **state)
{
	static const char *const bad[] = {
		"9223372036854775808 1 0 1 0 1 0",  /* one more than there can be */
		"18446744073709551617 1 0 1 0 1 0", /* 1, where it overflows */
		"00000000000000000001 1 0 1 0 1 0", /* 20 digits */
		"1 1 0 4294967296 0 1 0",
		"1 1 0 1 65536 1 0",
		"1 1 0 1 0 1 256",
		"1  1 0 1 0 1 0",
		"1x 1 0 1 0 1 0",
		"1/ 1 0 1 0 1 0",
		"1: 1 0 1 0 1 0",
		"1\t1 0 1 0 1 0",
		"+1 1 0 1 0 1 0",
		"1 1 0 1 0 1 0x",
		"1 1 0 1 0 1",
	};
	struct lookup lookup = {0};

	(void)state;
	assert_int_equal(parse_lookup_line("9223372036854775807 0 0000000000000000001 4294967295 "
					   "65535 1 255",
				 &lookup),
		0);
	assert_true(lookup.asked == INT64_MAX && lookup.good == 0 && lookup.none == 1);
	assert_true(lookup.ttl == UINT32_MAX && lookup.failures == UINT16_MAX);
	assert_int_equal(lookup.reason, UINT8_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse_lookup_line(bad[i], &lookup), -EBADMSG);
}

/* A text of a journal that is refused leaves nothing behind. */
static void test_refused_journal_changes_nothing(void **state)
{
	struct saved_state *saved = NULL;
	struct text text = {0};
	size_t line;

	(void)state;
	text_puts(&text, "sipfence-state 2\ntable sipfence\n");
	text_printf(
		&text, "end 1 %016llx\n", (unsigned long long)XXH3_64bits(text.data, text.length));
	assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
	text_clear(&text);
	text_puts(&text, "sipfence-state 2\ntable other\nenforced other 17 5060 5060\n"
			 "host a.example 0000000000000000 1\nnothing\n");
	text_printf(
		&text, "end 4 %016llx\n", (unsigned long long)XXH3_64bits(text.data, text.length));
	assert_int_equal(state_parse_journal(saved, text.data, text.length), 0);
	assert_int_equal(saved->table_count, 1);
	assert_int_equal(saved->enforced_count, 0);
	assert_null(saved->enforced_table);
	assert_int_equal(saved->host_count, 0);
	state_free(saved);
	text_free(&text);
}

/* Of that state and journal, the host of that index. */
static void assert_known(const struct text *state, const char *journal, size_t length,
	const struct host *expected, size_t index)
{
	struct saved_state *saved = NULL;
	size_t line;

	assert_int_equal(state_parse(state->data, state->length, &saved, &line), 0);
	assert_int_equal(state_parse_journal(saved, journal, length), 0);
	assert_same_host(&saved->hosts[index].host, expected);
	state_free(saved);
}

/* A journal that ends anywhere is good up to its last whole text. */
static void test_journal_cut_anywhere(void **state)
{
	enum { CHANGES = 5, CHANGED = 2 };
	struct dice dice = dice_new(__func__);
	struct text text = {0}, journal = {0};
	struct steady later = clock_then;
	struct host versions[CHANGES + 1] = {0};
	size_t ends[CHANGES + 1] = {0};
	struct world world;
	struct host *host;

	(void)state;
	make_world(&world, &dice);
	host = &world.roster->hosts[CHANGED];
	print_state(world.roster, &world.config, &text);
	for (int i = 0; i <= CHANGES; i++) {
		const struct guard *guard = &world.guards[host->guard];

		versions[i].name = host->name;
		assert_int_equal(host_inherit(&versions[i], host, guard, &nothing_around), 0);
		ends[i] = journal.length;
		if (i == CHANGES)
			break;
		later.now++;
		take_random(host, FAMILY_IPV4, &dice, later.now);
		host->told = (uint8_t)(i % 3);
		state_print_host(host, &world.config, &later, &journal);
	}
	for (size_t cut = 0, whole = 0; cut <= journal.length; cut++) {
		while (whole < CHANGES && cut >= ends[whole + 1])
			whole++;
		assert_known(&text, journal.data, cut, &versions[whole], CHANGED);
	}
	for (int i = 0; i <= CHANGES; i++)
		host_clear(&versions[i]);
	text_free(&text);
	text_free(&journal);
	roster_free(world.roster);
}

/* It is left over from before the state was saved: a removal that failed. */
static void test_journal_older_than_the_state(void **state)
{
	struct dice dice = dice_new(__func__);
	struct text text = {0}, journal = {0};
	struct steady before = clock_then, after = clock_then;
	struct saved_state *saved = NULL;
	struct world world;
	struct host *host;
	size_t line;

	(void)state;
	make_world(&world, &dice);
	host = &world.roster->hosts[0];
	before.now -= 1;
	after.now += 7;
	host->told = HOST_GONE;
	state_print_host(host, &world.config, &before, &journal);
	host->told = HOST_HELD;
	print_state(world.roster, &world.config, &text);
	assert_known(&text, journal.data, journal.length, host, 0);
	/* What comes behind it counts all the same. */
	host->told = HOST_FRESH;
	state_print_host(host, &world.config, &after, &journal);
	assert_known(&text, journal.data, journal.length, host, 0);
	assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
	assert_int_equal(state_parse_journal(saved, journal.data, journal.length), 0);
	assert_int_equal(saved->clock.now, after.now);
	assert_int_equal(saved->host_count, world.roster->host_count);
	state_free(saved);
	text_free(&text);
	text_free(&journal);
	roster_free(world.roster);
}

static void test_journal_of_new_names_and_targets(void **state)
{
	static const char *const targets[] = {"t9.example"};
	struct answer answer = {.kind = ANSWER_ADDRESSES, .targets = targets, .count = 1};
	struct dice dice = dice_new(__func__);
	struct saved_state *saved = calloc(1, sizeof(*saved));
	struct text journal = {0};
	struct world world;

	(void)state;
	make_world(&world, &dice);
	state_print_srv(&world.roster->srvs[0], &clock_then, &journal);
	assert_int_equal(srv_take(&world.roster->srvs[0], &answer, NOW + 2), 1);
	state_print_srv(&world.roster->srvs[0], &clock_then, &journal);
	state_print_host(&world.roster->hosts[1], &world.config, &clock_then, &journal);
	assert_int_equal(state_parse_journal(saved, journal.data, journal.length), 0);
	assert_int_equal(saved->srv_count, 1);
	assert_string_equal(saved->srvs[0].targets[0], "t9.example");
	assert_int_equal(saved->host_count, 1);
	assert_same_host(&saved->hosts[0].host, &world.roster->hosts[1]);
	state_free(saved);
	text_free(&journal);
	roster_free(world.roster);
}

/* A text that was made before is without, and a journal changes nothing of it. */
static void test_what_the_config_permitted_is_known(void **state)
{
	const struct steady older = {.now = NOW + 4, .at = clock_then.at};
	const uint64_t permits[] = {0, 1, UINT64_MAX};
	struct dice dice = dice_new(__func__);
	struct world world;

	(void)state;
	make_world(&world, &dice);
	for (size_t i = 0; i < sizeof(permits) / sizeof(permits[0]); i++) {
		struct saved_state *saved = NULL;
		struct text text = {0}, journal = {0};
		size_t line;

		state_print(world.roster, &world.config, &clock_then, &enforced, permits[i], NULL,
			&text);
		assert_int_equal(!strstr(text_string(&text), "\npermits "), permits[i] == 0);
		assert_int_equal(state_parse(text.data, text.length, &saved, &line), 0);
		state_print_host(&world.roster->hosts[0], &world.config, &clock_then, &journal);
		state_print(world.roster, &world.config, &older, &enforced, 99, NULL, &journal);
		assert_int_equal(state_parse_journal(saved, journal.data, journal.length), 0);
		assert_true(saved->permits == permits[i]);
		state_free(saved);
		text_free(&text);
		text_free(&journal);
	}
	roster_free(world.roster);
}

/* Each change of `what` makes another number, and putting it back makes the former one. */
#define EXPECT_ANOTHER(config, what, value)                                                        \
	do {                                                                                       \
		const __typeof__(what) kept = (what);                                              \
		const uint64_t number = state_permits(config);                                     \
                                                                                                   \
		(what) = (value);                                                                  \
		assert_true(state_permits(config) != number);                                      \
		(what) = kept;                                                                     \
		assert_true(state_permits(config) == number);                                      \
	} while (0)

static void test_what_a_config_permits(void **state)
{
	static struct prefix prefixes[] = {
		{.addr = {.family = FAMILY_IPV4, .bytes = {203, 0, 113, 7}}, .length = 32},
		{.addr = {.family = FAMILY_IPV4, .bytes = {192, 168, 1}}, .length = 24}};
	struct world world;
	struct config *config = &world.config;
	struct owner *phone = &world.owner[0], *trunk = &world.owner[1];
	uint64_t before;

	(void)state;
	make_world(&world, NULL);
	phone->fixed = config->local_subnets = prefixes;
	phone->fixed_count = 1;
	config->local_subnet_count = 1;
	before = state_permits(config);
	assert_true(before != 0);
	EXPECT_ANOTHER(config, world.names[0], "h7.example");
	EXPECT_ANOTHER(config, world.srv[0], "_sip._tcp.example");
	EXPECT_ANOTHER(config, phone->name_count, HOSTS - 1);
	EXPECT_ANOTHER(config, trunk->srv_count, 0);
	EXPECT_ANOTHER(config, phone->fixed, &prefixes[1]);
	EXPECT_ANOTHER(config, phone->fixed_count, 0);
	EXPECT_ANOTHER(config, phone->services, 1);
	EXPECT_ANOTHER(config, phone->ipv6_prefix, 64);
	EXPECT_ANOTHER(config, phone->guard, 1);
	EXPECT_ANOTHER(config, phone->kind, OWNER_PEER);
	EXPECT_ANOTHER(config, config->owner_count, 1);
	EXPECT_ANOTHER(config, config->local_subnets, &prefixes[1]);
	EXPECT_ANOTHER(config, config->local_subnet_count, 2);
	EXPECT_ANOTHER(config, world.service.local, true);
	EXPECT_ANOTHER(config, world.service.name, "web");
	EXPECT_ANOTHER(config, config->service_count, 0);
	EXPECT_ANOTHER(config, config->linger[OWNER_EXTENSION], 1);
	EXPECT_ANOTHER(config, config->linger[OWNER_PEER], 1);
	EXPECT_ANOTHER(config, config->table, "pbx");
	EXPECT_ANOTHER(config, config->sets_only, true);
	EXPECT_ANOTHER(config, config->table_family, TABLE_IPV4);
	EXPECT_ANOTHER(config, world.service.sets[1][FAMILY_IPV6], "lan6");

	/* For people, or compared by other means. */
	phone->id = "22";
	config->monitor = config->accept_replies = true;
	config->hold = config->gone = 1;
	assert_true(state_permits(config) == before);
	roster_free(world.roster);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_then_parse_gives_the_same),
		cmocka_unit_test(test_restore_gives_the_roster_back),
		cmocka_unit_test(test_restore_obeys_the_guard_of_today),
		cmocka_unit_test(test_enforced_ports_are_forgotten),
		cmocka_unit_test(test_as_many_retired_as_there_can_be),
		cmocka_unit_test(test_every_damage_is_found),
		cmocka_unit_test(test_version_1_is_read),
		cmocka_unit_test(test_checksum_is_the_one_that_is_documented),
		cmocka_unit_test(test_nonsense_is_refused),
		cmocka_unit_test(test_extreme_numbers),
		cmocka_unit_test(test_refused_journal_changes_nothing),
		cmocka_unit_test(test_journal_cut_anywhere),
		cmocka_unit_test(test_journal_older_than_the_state),
		cmocka_unit_test(test_journal_of_new_names_and_targets),
		cmocka_unit_test(test_what_was_validated_is_known),
		cmocka_unit_test(test_what_the_config_permitted_is_known),
		cmocka_unit_test(test_what_a_config_permits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
