/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A state file with its journal behind it. No mutation would ever find the checksums, so each text
 * gets the right last line here; the input as it is goes in as well.
 */
#include "fuzz.h"

#include "fqdn.h"
#include "roster.h"
#include "state.h"

#include <errno.h>
#include <inttypes.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { NAMES_MAX = 256, NOW = 1700000000 };

static const struct surroundings nowhere;

/* --- the input --- */

/* Length of the first text, up to its line "end …". */
static size_t first_length(const char *data, size_t size)
{
	const char *end = memmem(data, size, "\nend ", 5);
	const char *feed = end ? memchr(end + 1, '\n', size - (size_t)(end + 1 - data)) : NULL;

	return feed ? (size_t)(feed - data) + 1 : size;
}

static void put_text(struct text *text, const char *data, size_t size)
{
	const char *end = memmem(data, size, "\nend ", 5);
	size_t body = end ? (size_t)(end - data) + 1 : size, lines = 0;

	for (size_t i = 0; i < body; i++)
		lines += data[i] == '\n';
	text_write(text, data, body);
	text_printf(
		text, "end %zu %016" PRIx64 "\n", lines ? lines - 1 : 0, XXH3_64bits(data, body));
}

/* --- what was parsed --- */

static void check_name(const char *name)
{
	char normal[FQDN_SIZE];
	size_t at;

	FUZZ_CHECK(name && fqdn_parse(name, strlen(name), normal, &at) == FQDN_OK);
	FUZZ_CHECK(strcmp(name, normal) == 0);
}

static void check_lookup(const struct lookup *lookup)
{
	FUZZ_CHECK(lookup->asked >= 0 && lookup->good >= 0 && lookup->none >= 0);
	FUZZ_CHECK(lookup->last <= ANSWER_REFUSED);
	FUZZ_CHECK(answer_reason_text((enum answer_reason)lookup->reason));
}

static void check_host(const struct host *host)
{
	check_name(host->name);
	for (int family = 0; family < FAMILY_COUNT; family++) {
		const struct addr *addrs = host->addrs[family];

		check_lookup(&host->lookup[family]);
		FUZZ_CHECK(host->count[family] <= CONFIG_MAX_ADDRESSES);
		for (size_t i = 0; i < host->count[family]; i++) {
			FUZZ_CHECK(addrs[i].family == family);
			FUZZ_CHECK(i == 0 || addr_compare(&addrs[i - 1], &addrs[i]) < 0);
		}
	}
	FUZZ_CHECK(host->retired_count <= RETIRED_MAX);
	for (size_t i = 0; i < host->retired_count; i++)
		FUZZ_CHECK(
			host->retired[i].addr.family < FAMILY_COUNT && host->retired[i].when >= 0);
	FUZZ_CHECK(host_state_name(host_state(host)));
}

static void check_srv(const struct srv *srv)
{
	check_name(srv->name);
	check_lookup(&srv->lookup);
	for (size_t i = 0; i < srv->count; i++)
		check_name(srv->targets[i]);
	FUZZ_CHECK(srv->retired_count <= RETIRED_MAX);
	for (size_t i = 0; i < srv->retired_count; i++)
		check_name(srv->retired[i].target);
	FUZZ_CHECK(host_state_name(srv_state(srv)));
}

/* Requests to the kernel have room for no more, and it is printed. */
static void check_table(const char *table)
{
	FUZZ_CHECK(table[0] && strlen(table) <= CONFIG_MAX_TABLE_NAME);
	FUZZ_CHECK(fuzz_is_printable(table, strlen(table), "") && !strpbrk(table, " ;{}\"'\\$"));
}

static void check_parsed(const struct saved_state *state)
{
	FUZZ_CHECK(state->clock.now >= 0 && state->clock.at.wall >= 0 &&
		   state->clock.at.boottime >= 0);
	FUZZ_CHECK(memchr(state->clock.at.boot_id, 0, BOOT_ID_SIZE));
	FUZZ_CHECK(state->table_count <= STATE_MAX_TABLES);
	FUZZ_CHECK(state->enforced_count == 0 || state->enforced_table);
	if (state->enforced_table)
		check_table(state->enforced_table);
	for (size_t i = 0; i < state->table_count; i++)
		check_table(state->tables[i]);
	for (size_t i = 0; i < state->host_count; i++) {
		const struct saved_host *a = &state->hosts[i], *b = i ? a - 1 : NULL;
		int order = b ? strcmp(b->host.name, a->host.name) : -1;

		check_host(&a->host);
		FUZZ_CHECK(order < 0 || (order == 0 && b->fingerprint < a->fingerprint));
	}
	for (size_t i = 0; i < state->srv_count; i++) {
		check_srv(&state->srvs[i]);
		FUZZ_CHECK(i == 0 || strcmp(state->srvs[i - 1].name, state->srvs[i].name) <= 0);
	}
}

/* --- what can be done with it --- */

/* A config that asks for the names of the state, some of them under a guard. */
struct asker {
	struct config *config;
	struct owner owners[3];
	struct guard guards[2];
	const char *names[NAMES_MAX], *srv[NAMES_MAX];
};

static void asker_make(struct asker *asker, struct config *config, const struct saved_state *state)
{
	static struct prefix within = {.addr = {.bytes = {203, 0, 113}}, .length = 24};
	uint32_t names = 0, srvs = 0;

	for (size_t i = 0; i < state->host_count && names < NAMES_MAX; i++) {
		if (i == 0 || strcmp(state->hosts[i - 1].host.name, state->hosts[i].host.name) != 0)
			asker->names[names++] = state->hosts[i].host.name;
	}
	for (size_t i = 0; i < state->srv_count && srvs < NAMES_MAX; i++) {
		if (i == 0 || strcmp(state->srvs[i - 1].name, state->srvs[i].name) != 0)
			asker->srv[srvs++] = state->srvs[i].name;
	}
	asker->guards[0] = (struct guard){.max_addresses = CONFIG_MAX_ADDRESSES};
	asker->guards[1] = (struct guard){
		.max_addresses = 8, .within = &within, .within_count = 1, .fingerprint = 1};
	asker->owners[0] = (struct owner){
		.id = "21", .names = asker->names, .name_count = names, .services = 1};
	asker->owners[1] = (struct owner){.id = "22",
		.names = asker->names,
		.name_count = names / 2,
		.services = 1,
		.guard = 1};
	asker->owners[2] = (struct owner){.id = "trunk",
		.srv = asker->srv,
		.srv_count = srvs,
		.services = 1,
		.kind = OWNER_PEER};
	for (size_t i = 0; i < 3; i++)
		asker->owners[i].ipv6_prefix = 128;
	*config = *asker->config;
	config->owners = asker->owners;
	config->owner_count = 3;
	config->guards = asker->guards;
	config->guard_count = 2;
}

static struct roster *restore(
	const struct saved_state *state, const struct config *config, int64_t now)
{
	struct roster *known = NULL, *roster = NULL;

	FUZZ_CHECK(roster_build(config, NULL, &known) == 0);
	FUZZ_CHECK(state_restore_srvs(state, known, now) == 0);
	FUZZ_CHECK(roster_build(config, known, &roster) == 0);
	FUZZ_CHECK(state_restore_hosts(state, config, &nowhere, roster, now) == 0);
	roster_free(known);
	return roster;
}

static void check_restored(const struct roster *roster, const struct config *config, int64_t now)
{
	for (size_t i = 0; i < roster->host_count; i++) {
		const struct host *host = &roster->hosts[i];
		const struct guard *guard = &config->guards[host->guard];

		check_host(host);
		for (int family = 0; family < FAMILY_COUNT; family++) {
			struct answer answer = {.kind = ANSWER_ADDRESSES,
				.count = host->count[family],
				.addrs = host->addrs[family]};

			FUZZ_CHECK(host->lookup[family].good <= now);
			FUZZ_CHECK(host->lookup[family].last != ANSWER_ADDRESSES);
			FUZZ_CHECK(host->count[family] == 0 ||
				   answer_guard(&answer, guard, &nowhere).kind == ANSWER_ADDRESSES);
		}
	}
	for (size_t i = 0; i < roster->srv_count; i++)
		check_srv(&roster->srvs[i]);
}

/* The journal of all names says what the state says. */
static void check_journal(struct saved_state *state, const struct roster *roster,
	const struct config *config, const struct steady *clock)
{
	struct text journal = {0};
	size_t hosts = state->host_count, srvs = state->srv_count;

	for (size_t i = 0; i < roster->host_count; i++)
		state_print_host(&roster->hosts[i], config, clock, &journal);
	for (size_t i = 0; i < roster->srv_count; i++)
		state_print_srv(&roster->srvs[i], clock, &journal);
	FUZZ_CHECK(!journal.failed);
	FUZZ_CHECK(state_parse_journal(state, text_string(&journal), journal.length) == 0);
	check_parsed(state);
	FUZZ_CHECK(state->host_count >= hosts && state->srv_count >= srvs);
	FUZZ_CHECK(state->host_count <= hosts + roster->host_count);
	text_free(&journal);
}

static void check_round_trip(
	const struct roster *roster, const struct config *config, const struct steady *clock)
{
	static struct enforced_port port = {.protocol = PROTOCOL_UDP, .first = 5060, .last = 5061};
	struct enforced_ports enforced = {.list = &port, .count = 1};
	struct text text = {0}, again = {0}, forgotten = {0};
	struct saved_state *state = NULL;
	struct roster *restored;
	size_t line;

	state_print(roster, config, clock, &enforced, 7, "former", &text);
	FUZZ_CHECK(!text.failed);
	FUZZ_CHECK(state_parse(text.data, text.length, &state, &line) == 0);
	check_parsed(state);
	FUZZ_CHECK(state->clock.now == clock->now && state->enforced_count == 1);
	FUZZ_CHECK(state->permits == 7);
	restored = restore(state, config, clock->now);
	state_print(restored, config, clock, &enforced, state->permits, "former", &again);
	FUZZ_CHECK(fuzz_same_text(&text, &again));
	check_journal(state, restored, config, clock);
	state = state_free(state);

	state_forget_enforced(text.data, text.length, "former", &forgotten);
	FUZZ_CHECK(state_parse(forgotten.data, forgotten.length, &state, &line) == 0);
	FUZZ_CHECK(state->table_count == 1);
	state_free(state);
	roster_free(restored);
	text_free(&text);
	text_free(&again);
	text_free(&forgotten);
}

static void check_use(const struct saved_state *state, struct config *plain)
{
	struct clock_reading reading = {.wall = NOW, .boottime = 100};
	struct steady clock = steady_advance(&state->clock, &reading);
	struct asker *asker = calloc(1, sizeof(*asker));
	struct config config;
	struct roster *roster;

	FUZZ_CHECK(asker && clock.now >= 0);
	asker->config = plain;
	asker_make(asker, &config, state);
	roster = restore(state, &config, clock.now);
	check_restored(roster, &config, clock.now);
	check_round_trip(roster, &config, &clock);
	roster_expire(roster, &config, clock.now);
	check_restored(roster, &config, clock.now);
	fuzz_check_ruleset(&config, roster, clock.now, NULL);
	roster_free(roster);
	free(asker);
}

static void take(const char *data, size_t size, struct config *config)
{
	size_t first = first_length(data, size), line = 0;
	char *file = fuzz_copy(data, first), *journal = fuzz_copy(data + first, size - first);
	struct text forgotten = {0};
	struct saved_state *state = NULL;
	int result = state_parse(file, first, &state, &line);

	FUZZ_CHECK(result == 0 || result == -EBADMSG);
	FUZZ_CHECK(line >= 1);
	state_forget_enforced(file, first, "sipfence", &forgotten);
	FUZZ_CHECK(!forgotten.failed);
	text_free(&forgotten);
	if (result == 0) {
		check_parsed(state);
		FUZZ_CHECK(state_parse_journal(state, journal, size - first) == 0);
		check_parsed(state);
		check_use(state, config);
	}
	state_free(state);
	free(file);
	free(journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config *config;
	struct text repaired = {0};
	const char *at = (const char *)data;

	if (!config)
		config = fuzz_config("extensions: {21: local}\nlocal-subnets: [192.168.0.0/24]\n");
	take(at, size, config);
	for (size_t left = size, length; left > 0; at += length, left -= length) {
		length = first_length(at, left);
		put_text(&repaired, at, length);
	}
	FUZZ_CHECK(!repaired.failed);
	take(text_string(&repaired), repaired.length, config);
	text_free(&repaired);
	return 0;
}
