/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"
#include "scenario.h"
#include "duration.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WALL_AT_START = 1800000000,
	SEED = 0x5eed1e55,
	LOG_LINES_SHOWN = 12,
	SAME_LINE = 1, /* begins a line that was made from the same line of the file as the last */
};

/* --- Words --- */

bool words_split(const char *line, size_t length, struct words *ret_words)
{
	struct words words = {.memory = need(malloc(length + 1))};
	char *to = words.memory;
	bool quoted = false, in_word = false;

	for (size_t i = 0; i < length; i++) {
		if (line[i] == '#' && !in_word && !quoted)
			break;
		if ((line[i] == ' ' || line[i] == '\t') && !quoted) {
			if (in_word)
				*to++ = '\0';
			in_word = false;
			continue;
		}
		if (!in_word) {
			if (words.count == WORDS_MAX)
				break;
			words.list[words.count++] = to;
		}
		in_word = true;
		if (line[i] == '"')
			quoted = !quoted;
		else
			*to++ = line[i];
	}
	*to = '\0';
	*ret_words = words;
	return !quoted;
}

void words_free(struct words *words)
{
	free(words->memory);
	*words = (struct words){0};
}

const char *scenario_word(const struct scenario *scenario, size_t index)
{
	return index < scenario->words.count ? scenario->words.list[index] : "";
}

static bool is_word(const struct scenario *scenario, size_t index, const char *word)
{
	return strcmp(scenario_word(scenario, index), word) == 0;
}

void scenario_fail(struct scenario *scenario, const char *wanted, const char *format, ...)
{
	va_list arguments;

	scenario->failed++;
	printf("%s:%u: wanted %s, but it is ", scenario->path, scenario->line, wanted);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	puts("");
}

void scenario_nonsense(struct scenario *scenario, const char *format, ...)
{
	va_list arguments;

	scenario->failed++;
	printf("%s:%u: ", scenario->path, scenario->line);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	puts("");
}

bool scenario_duration(const char *text, int64_t *ret_ms)
{
	int64_t sign = *text == '-' ? -1 : 1;
	enum { DAYS_A_YEAR = 365 };
	char *end;

	text += *text == '-' || *text == '+';
	if (strcmp(text, "0") == 0) {
		*ret_ms = 0;
		return true;
	}
	/* Years are for clocks, and no unit of the config. */
	*ret_ms = strtoll(text, &end, 10);
	if (end > text && strcmp(end, "y") == 0)
		*ret_ms *= (int64_t)DAYS_A_YEAR * 24 * 3600 * 1000;
	else if (duration_parse(text, strlen(text), ret_ms) != DURATION_OK)
		return false;
	*ret_ms *= sign;
	return true;
}

bool scenario_addr(const char *text, struct addr *ret_addr)
{
	return addr_parse(text, strlen(text), ret_addr);
}

static bool needs_engine(struct scenario *scenario)
{
	if (!scenario->machine.engine)
		scenario_nonsense(scenario, "the daemon doesn't run here");
	return scenario->machine.engine;
}

static int count_of(const struct scenario *scenario, size_t index, int otherwise)
{
	const char *word = scenario_word(scenario, index);

	return *word ? atoi(word) : otherwise;
}

/* --- Errors --- */

static const struct {
	const char *word;
	int number;
} errors[] = {
	{"ENOMEM", ENOMEM},
	{"EPERM", EPERM},
	{"ENOBUFS", ENOBUFS},
	{"ENOENT", ENOENT},
	{"EBUSY", EBUSY},
	{"ENFILE", ENFILE},
	{"EMFILE", EMFILE},
	{"EOPNOTSUPP", EOPNOTSUPP},
};

static int error_number(struct scenario *scenario, size_t index)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		if (is_word(scenario, index, errors[i].word))
			return errors[i].number;
	}
	scenario_nonsense(scenario, "%s is no errno", scenario_word(scenario, index));
	return EIO;
}

/* --- DNS --- */

static const struct {
	const char *word;
	enum answer_kind kind;
	enum answer_reason reason;
} outcomes[] = {
	{"no-data", ANSWER_NO_DATA, REASON_NONE},
	{"nxdomain", ANSWER_NO_NAME, REASON_NONE},
	{"timeout", ANSWER_COULD_NOT_ASK, REASON_TIMEOUT},
	{"servfail", ANSWER_COULD_NOT_ASK, REASON_SERVFAIL},
	{"bogus", ANSWER_COULD_NOT_ASK, REASON_BOGUS},
	{"refused", ANSWER_COULD_NOT_ASK, REASON_SERVER_REFUSED},
	{"garbage", ANSWER_COULD_NOT_ASK, REASON_GARBAGE},
	{"no-server", ANSWER_COULD_NOT_ASK, REASON_NO_SERVER},
};

static bool script_outcome(struct dns_script *script, const char *word)
{
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		if (strcmp(outcomes[i].word, word) != 0)
			continue;
		script->kind = outcomes[i].kind;
		script->reason = outcomes[i].reason;
		return true;
	}
	return false;
}

/* Answers have their addresses in order. */
static void script_addr(struct dns_script *script, const struct addr *addr)
{
	size_t at = script->count++;

	for (; at > 0 && addr_compare(&script->addrs[at - 1], addr) > 0; at--)
		script->addrs[at] = script->addrs[at - 1];
	script->addrs[at] = *addr;
}

static void script_value(struct scenario *scenario, struct dns_script *script, const char *word)
{
	struct addr addr;

	if (script_outcome(script, word))
		return;
	script->kind = ANSWER_ADDRESSES;
	script->reason = REASON_NONE;
	if (script->count == WORLD_ADDRS)
		scenario_nonsense(scenario, "too many addresses");
	else if (script->type == DNS_SRV)
		snprintf(script->targets[script->count++], sizeof(script->targets[0]), "%s", word);
	else if (scenario_addr(word, &addr) &&
		 (addr.family == FAMILY_IPV4) == (script->type == DNS_A))
		script_addr(script, &addr);
	else
		scenario_nonsense(scenario, "%s is no answer to such a question", word);
}

static void script_answer(
	struct scenario *scenario, const char *name, enum dns_type type, size_t first)
{
	struct dns_script *script = fake_dns_script(name, type);

	script->count = 0;
	script->validated = false;
	script->ttl = 60;
	script->delay_ms = DNS_DELAY_MS;
	if (first >= scenario->words.count)
		scenario_nonsense(scenario, "what does DNS say of %s?", name);
	for (size_t i = first; i < scenario->words.count; i++) {
		const char *word = scenario->words.list[i];

		if (strcmp(word, "ttl") == 0)
			script->ttl = (uint32_t)count_of(scenario, ++i, 60);
		else if (strcmp(word, "validated") == 0)
			script->validated = true;
		else if (strcmp(word, "delay") == 0 &&
			 scenario_duration(scenario_word(scenario, i + 1), &script->delay_ms))
			i++;
		else
			script_value(scenario, script, word);
	}
}

static void do_dns(struct scenario *scenario)
{
	static const struct {
		const char *word;
		enum dns_type type;
	} types[] = {{"A", DNS_A}, {"AAAA", DNS_AAAA}, {"SRV", DNS_SRV}};
	const char *name = scenario_word(scenario, 1);
	struct dns_script outage = {.reason = REASON_NONE};

	if (strcmp(name, "unusable") == 0) {
		world()->dns.open_errno = error_number(scenario, 2);
		world()->dns.open_failures = count_of(scenario, 3, FOR_EVER);
		return;
	}
	if (strcmp(name, "alive") == 0 || strcmp(name, "dead") == 0) {
		if (strcmp(name, "dead") == 0)
			script_outcome(&outage,
				scenario->words.count > 2 ? scenario_word(scenario, 2) : "timeout");
		world()->dns.outage = outage.reason;
		world()->dns.open_failures = 0;
		return;
	}
	if (strcmp(name, "trusted") == 0 || strcmp(name, "untrusted") == 0) {
		world()->dns.untrusted = strcmp(name, "untrusted") == 0;
		return;
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (is_word(scenario, 2, types[i].word)) {
			script_answer(scenario, name, types[i].type, 3);
			return;
		}
	}
	/* Of all types. */
	if (name[0] == '_') {
		script_answer(scenario, name, DNS_SRV, 2);
		return;
	}
	script_answer(scenario, name, DNS_A, 2);
	script_answer(scenario, name, DNS_AAAA, 2);
}

/* --- The daemon --- */

static struct config *parse_config(struct scenario *scenario)
{
	struct text messages = {0};
	struct config *config = machine_config(text_string(&scenario->config), &messages);

	if (!config)
		scenario_nonsense(scenario, "the config is wrong:\n%s", text_string(&messages));
	text_free(&messages);
	return config;
}

static void note_result(struct scenario *scenario, int result, const struct error *error)
{
	if (result >= 0)
		return;
	scenario->error = *error;
	if (!scenario->error.code)
		scenario->error.code = result;
	scenario->answered = false;
}

static void take_block(struct scenario *scenario)
{
	text_clear(&scenario->config);
	text_puts(&scenario->config, text_string(&scenario->block));
}

static void do_config(struct scenario *scenario)
{
	take_block(scenario);
}

static void do_start(struct scenario *scenario)
{
	struct error error = {0};
	struct config *config;

	if (scenario->machine.engine) {
		scenario_nonsense(scenario, "the daemon runs already");
		return;
	}
	config = parse_config(scenario);
	if (config)
		note_result(scenario, machine_start(&scenario->machine, config, &error), &error);
}

static void do_stop(struct scenario *scenario)
{
	struct error error = {0};

	if (needs_engine(scenario))
		note_result(scenario, machine_stop(&scenario->machine, &error), &error);
}

static void do_kill(struct scenario *scenario)
{
	if (needs_engine(scenario))
		machine_kill(&scenario->machine);
}

static int64_t down_time(struct scenario *scenario)
{
	int64_t down = 30 * 1000;

	if (is_word(scenario, 1, "down") && !scenario_duration(scenario_word(scenario, 2), &down))
		scenario_nonsense(scenario, "down for how long?");
	return down;
}

static void do_reboot(struct scenario *scenario)
{
	if (scenario->machine.engine)
		do_stop(scenario);
	machine_boot(&scenario->machine, down_time(scenario));
}

static void do_power_cut(struct scenario *scenario)
{
	if (scenario->machine.engine)
		machine_kill(&scenario->machine);
	fake_disk_power_cut();
	machine_boot(&scenario->machine, down_time(scenario));
}

static void do_reload(struct scenario *scenario)
{
	struct moment now = machine_now(&scenario->machine);
	struct error error = {0};
	struct config *config;

	take_block(scenario);
	if (!needs_engine(scenario))
		return;
	config = parse_config(scenario);
	if (config)
		note_result(scenario, engine_reload(scenario->machine.engine, config, &now, &error),
			&error);
}

static void do_refresh(struct scenario *scenario)
{
	struct moment now = machine_now(&scenario->machine);
	struct error error = {0};

	if (!needs_engine(scenario))
		return;
	note_result(scenario,
		engine_refresh(scenario->machine.engine,
			(const char *const *)(scenario->words.list + 1), scenario->words.count - 1,
			&now, &scenario->ticket, &error),
		&error);
}

static void do_save(struct scenario *scenario)
{
	struct moment now = machine_now(&scenario->machine);
	struct error error = {0};

	if (needs_engine(scenario))
		note_result(scenario, engine_save(scenario->machine.engine, &now, &error), &error);
}

static void do_remove(struct scenario *scenario)
{
	struct moment now = machine_now(&scenario->machine);
	struct error error = {0};
	int result;

	if (!needs_engine(scenario))
		return;
	result = engine_remove(scenario->machine.engine, &now, &error);
	note_result(scenario, result, &error);
	if (result == 0)
		scenario->machine.engine = engine_free(scenario->machine.engine);
}

static void do_servers_changed(struct scenario *scenario)
{
	struct moment now = machine_now(&scenario->machine);

	if (needs_engine(scenario))
		engine_servers_changed(scenario->machine.engine, &now);
}

/* --- Time --- */

static void do_advance(struct scenario *scenario)
{
	int64_t ms;

	if (!scenario_duration(scenario_word(scenario, 1), &ms) || ms < 0)
		scenario_nonsense(scenario, "advance by how long?");
	else
		machine_run(&scenario->machine, ms);
	if (scenario->machine.spins)
		scenario_nonsense(scenario, "the engine wants to be called without a pause");
	scenario->machine.spins = false;
}

static void do_clock(struct scenario *scenario)
{
	struct moment now = machine_now(&scenario->machine);
	int64_t ms;

	if (is_word(scenario, 1, "epoch"))
		machine_step_clock(&scenario->machine, -now.wall);
	else if (scenario_duration(scenario_word(scenario, 1), &ms))
		machine_step_clock(&scenario->machine, ms / 1000);
	else
		scenario_nonsense(scenario, "which step of the clock?");
}

/* --- The kernel --- */

static void do_kernel(struct scenario *scenario)
{
	struct model_kernel *kernel = &world()->kernel;

	if (is_word(scenario, 1, "old")) {
		kernel->rules.knows_persist = false;
	} else if (is_word(scenario, 1, "well")) {
		kernel->commit_failures = kernel->read_failures = kernel->open_failures = 0;
		kernel->watch_failures = kernel->lost_acks = 0;
		kernel->loses_events = false;
	} else if (is_word(scenario, 1, "refuses")) {
		kernel->commit_errno = error_number(scenario, 2);
		kernel->commit_failures = count_of(scenario, 3, FOR_EVER);
	} else if (is_word(scenario, 1, "unreadable")) {
		kernel->read_errno = error_number(scenario, 2);
		kernel->read_failures = count_of(scenario, 3, FOR_EVER);
	} else if (is_word(scenario, 1, "closed")) {
		kernel->open_errno = error_number(scenario, 2);
		kernel->open_failures = count_of(scenario, 3, FOR_EVER);
	} else if (is_word(scenario, 1, "loses-acks")) {
		kernel->lost_acks = count_of(scenario, 2, 1);
		kernel->lost_acks_mean_done = is_word(scenario, 3, "of-done");
	} else if (is_word(scenario, 1, "unwatchable")) {
		kernel->watch_errno = error_number(scenario, 2);
		kernel->watch_failures = count_of(scenario, 3, FOR_EVER);
	} else if (is_word(scenario, 1, "loses-events")) {
		kernel->loses_events = true;
	} else if (is_word(scenario, 1, "slow-counters")) {
		if (!scenario_duration(scenario_word(scenario, 2), &kernel->counters_ms))
			scenario_nonsense(scenario, "how slow?");
	} else {
		scenario_nonsense(scenario, "the kernel does not do that");
	}
}

struct nf_set *scenario_set(const char *name)
{
	struct nf_ruleset *rules = &world()->kernel.rules;

	for (size_t i = 0; i < rules->table_count; i++) {
		struct nf_set *set = nf_find_set(&rules->tables[i], name);

		if (set)
			return set;
	}
	return NULL;
}

size_t scenario_port(const struct scenario *scenario, size_t index, struct nf_packet *packet)
{
	bool tcp = is_word(scenario, index, "tcp");

	packet->protocol = tcp ? IPPROTO_TCP : IPPROTO_UDP;
	packet->port = 5060;
	if (!tcp && !is_word(scenario, index, "udp"))
		return 0;
	packet->port = (uint16_t)count_of(scenario, index + 1, 5060);
	return 2;
}

/* packets ADDRESS [udp|tcp PORT] [N] */
static void do_packets(struct scenario *scenario)
{
	struct nf_packet packet = {.reply = false};
	size_t used;
	int count;

	if (!scenario_addr(scenario_word(scenario, 1), &packet.source)) {
		scenario_nonsense(scenario, "packets from where?");
		return;
	}
	used = scenario_port(scenario, 2, &packet);
	count = count_of(scenario, 2 + used, 1);
	while (count-- > 0)
		nf_accepts(&world()->kernel.rules, &packet, world()->boot_ms);
}

static void do_own(struct scenario *scenario)
{
	struct model_kernel *kernel = &world()->kernel;

	kernel->own_count = 0;
	for (size_t i = 1; i < scenario->words.count && i <= WORLD_ADDRS; i++) {
		if (!scenario_addr(scenario->words.list[i], &kernel->own[kernel->own_count++]))
			scenario_nonsense(scenario, "no address");
	}
	model_kernel_network_changes();
}

/* origin PREFIX COUNTRY|- [ASN] */
static void do_origin(struct scenario *scenario)
{
	struct fake_geo *geo = &world()->geo;
	const char *text = scenario_word(scenario, 1), *country = scenario_word(scenario, 2);
	struct origin origin = {0};

	if (geo->count == WORLD_ADDRS ||
		prefix_parse(text, strlen(text), &geo->list[geo->count].prefix) != PREFIX_OK)
		scenario_nonsense(scenario, "no prefix, or too many");
	if (strcmp(country, "-") != 0)
		snprintf(origin.country, sizeof(origin.country), "%s", country);
	if (scenario->words.count > 3)
		origin.asn = (uint32_t)strtoul(scenario_word(scenario, 3), NULL, 10);
	geo->list[geo->count++].origin = origin;
}

/* geoip country|asn found|ageing|stale|missing */
static void do_geoip(struct scenario *scenario)
{
	for (int kind = 0; kind < GEO_KIND_COUNT; kind++) {
		for (int state = GEO_FOUND; state <= GEO_MISSING; state++) {
			if (!is_word(scenario, 1, geo_kind_name((enum geo_kind)kind)) ||
				!is_word(scenario, 2, geo_state_name((enum geo_state)state)))
				continue;
			world()->geo.states[kind] = (enum geo_state)state;
			return;
		}
	}
	scenario_nonsense(scenario, "country or asn; found, ageing, stale or missing?");
}

/* talker ADDRESS [udp|tcp PORT] [opened-here] */
static void do_talker(struct scenario *scenario)
{
	struct model_kernel *kernel = &world()->kernel;
	struct nf_packet packet;
	size_t used = scenario_port(scenario, 2, &packet);
	struct model_talker talker = {.protocol = packet.protocol, .port = packet.port};

	talker.opened_here = is_word(scenario, 2 + used, "opened-here");
	if (!scenario_addr(scenario_word(scenario, 1), &talker.addr) ||
		kernel->talker_count == WORLD_ADDRS)
		scenario_nonsense(scenario, "who talks?");
	else
		kernel->talkers[kernel->talker_count++] = talker;
}

/* --- Damage --- */

/* What an owned table says to others. */
static bool may_change(const struct nf_table *table)
{
	return table && !model_kernel_is_owned(table->name);
}

static struct nf_table *table_of(const struct nf_set *set)
{
	struct nf_ruleset *rules = &world()->kernel.rules;

	for (size_t i = 0; i < rules->table_count; i++) {
		struct nf_table *table = &rules->tables[i];

		if (set >= table->sets && set < table->sets + table->set_count)
			return table;
	}
	return NULL;
}

static bool damage_ruleset(struct nf_ruleset *rules)
{
	bool any = false;

	for (size_t i = rules->table_count; i-- > 0;) {
		if (may_change(&rules->tables[i]))
			any |= nf_delete_table(rules, rules->tables[i].name);
	}
	return any;
}

static bool damage_set(const struct words *words, struct nf_set *set)
{
	bool adds = strcmp(words->list[0], "add") == 0;
	struct addr addr;

	if (strcmp(words->list[0], "flush") == 0) {
		set->count = 0;
		return true;
	}
	if (words->count < 4 || !scenario_addr(words->list[3], &addr))
		return false;
	if (!adds)
		return nf_delete_element(set, addr.bytes, false);
	nf_add_element(set, addr.bytes);
	return true;
}

/* True when something was changed; *ret_table is the table of it. */
static bool damage(const struct words *words, char ret_table[NF_NAME_SIZE])
{
	struct nf_ruleset *rules = &world()->kernel.rules;
	const char *verb = words->count > 0 ? words->list[0] : "";
	const char *object = words->count > 1 ? words->list[1] : "";
	const char *name = words->count > 2 ? words->list[2] : "sipfence";
	struct nf_table *table = nf_find_table(rules, "sipfence");
	struct nf_set *set = scenario_set(name);

	strcpy(ret_table, "sipfence");
	if (strcmp(object, "ruleset") == 0)
		return damage_ruleset(rules);
	if (strcmp(object, "table") == 0) {
		snprintf(ret_table, NF_NAME_SIZE, "%s", name);
		return may_change(nf_find_table(rules, name)) && nf_delete_table(rules, name);
	}
	if (strcmp(object, "rule") == 0)
		return may_change(table) &&
		       nf_delete_rule(
			       table, name, words->count > 3 ? (size_t)atoi(words->list[3]) : 0);
	if (!set || !may_change(table_of(set)))
		return false;
	strcpy(ret_table, table_of(set)->name);
	return strcmp(verb, "rename") == 0 ? false : damage_set(words, set);
}

/* damage [unnoticed] [by PROGRAM PID] (delete table [T]|flush ruleset|delete rule CHAIN N|flush set
 * S| delete element S A|add element S A|other table) */
static void do_words_of_damage(struct scenario *scenario, const struct words *all)
{
	struct words words = *all;
	const char *program = "nft";
	char table[NF_NAME_SIZE];
	int pid = 4242;
	bool quiet = words.count > 0 && strcmp(words.list[0], "unnoticed") == 0;

	if (quiet) {
		words.count--;
		memmove(words.list, words.list + 1, words.count * sizeof(words.list[0]));
	}
	if (words.count > 3 && strcmp(words.list[0], "by") == 0) {
		program = words.list[1];
		pid = atoi(words.list[2]);
		words.count -= 3;
		memmove(words.list, words.list + 3, words.count * sizeof(words.list[0]));
	}
	if (words.count == 2 && strcmp(words.list[0], "other") == 0) {
		model_kernel_others("another", program, pid);
		return;
	}
	if (!damage(&words, table)) {
		if (!model_kernel_is_owned("sipfence"))
			scenario_nonsense(scenario, "there is nothing to damage like that");
		return; /* "Operation not permitted" */
	}
	quiet |= words.count > 2 && strstr(words.list[2], "_rejected");
	model_kernel_others(quiet ? NULL : table, program, pid);
}

static void damage_now(void *context)
{
	struct scenario *scenario = context;

	do_words_of_damage(scenario, &scenario->delayed_damage);
	words_free(&scenario->delayed_damage);
}

static void do_damage(struct scenario *scenario)
{
	struct words words = scenario->words;

	words.count--;
	memmove(words.list, words.list + 1, words.count * sizeof(words.list[0]));
	if (words.count == 0 || strcmp(words.list[0], "before-commit") != 0) {
		do_words_of_damage(scenario, &words);
		return;
	}
	/* Between the moment that the daemon has looked at the table and its batch. */
	words_free(&scenario->delayed_damage);
	words.count--;
	memmove(words.list, words.list + 1, words.count * sizeof(words.list[0]));
	scenario->delayed_damage = words;
	scenario->words.memory = NULL; /* handed over */
	world()->kernel.before_commit = damage_now;
	world()->kernel.before_commit_context = scenario;
}

/* Another process that runs makes the table its own. */
static void do_seize(struct scenario *scenario)
{
	struct nf_table *table = nf_find_table(&world()->kernel.rules, "sipfence");

	if (!table) {
		scenario_nonsense(scenario, "there is no table to seize");
		return;
	}
	table->flags |= 2; /* NFT_TABLE_F_OWNER */
	table->owner = UINT32_MAX;
}

/* --- The disk --- */

static void do_disk(struct scenario *scenario)
{
	struct fake_disk *disk = &world()->disk;

	if (is_word(scenario, 1, "slow")) {
		if (!scenario_duration(scenario_word(scenario, 2), &disk->delay_ms))
			scenario_nonsense(scenario, "how slow?");
		return;
	}
	disk->write_errno = is_word(scenario, 1, "full")	? ENOSPC
			    : is_word(scenario, 1, "read-only") ? EROFS
								: 0;
	disk->read_errno = is_word(scenario, 1, "unreadable") ? EIO : 0;
	if (!disk->write_errno && !disk->read_errno && !is_word(scenario, 1, "works"))
		scenario_nonsense(scenario, "full, read-only, unreadable, slow, works?");
}

static void keep_file(struct scenario *scenario, const struct fake_file *file)
{
	text_clear(&scenario->kept);
	text_write(&scenario->kept, file->data.data, file->data.length);
}

/* state-file [journal|history] lost|damaged|cut|empty|kept|back */
static void do_state_file(struct scenario *scenario)
{
	bool history = is_word(scenario, 1, "history");
	bool journal = is_word(scenario, 1, "journal") || history;
	struct fake_file *file;
	char path[128];

	snprintf(path, sizeof(path), "%s%s", state_path, journal ? ".journal" : "");
	if (history)
		snprintf(path, sizeof(path), "%.*shistory",
			(int)(strrchr(state_path, '/') - state_path) + 1, state_path);
	file = fake_disk_find(path);
	if (journal) {
		scenario->words.count--;
		memmove(scenario->words.list + 1, scenario->words.list + 2,
			(scenario->words.count - 1) * sizeof(char *));
	}
	if (is_word(scenario, 1, "back"))
		fake_disk_write(path, text_string(&scenario->kept), scenario->kept.length);
	else if (!file)
		scenario_nonsense(scenario, "there is no %s", path);
	else if (is_word(scenario, 1, "kept"))
		keep_file(scenario, file);
	else if (is_word(scenario, 1, "lost"))
		fake_disk_delete(path);
	else if (is_word(scenario, 1, "damaged"))
		file->data.data[file->data.length / 2] ^= 1;
	else if (is_word(scenario, 1, "cut"))
		file->data.length = journal ? file->data.length - 5 : file->data.length / 2;
	else if (is_word(scenario, 1, "empty"))
		text_clear(&file->data);
	else
		scenario_nonsense(scenario, "lost, damaged, cut, empty, kept, back?");
}

static void do_forget_log(struct scenario *scenario)
{
	machine_forget_log(&scenario->machine);
}

static void do_show_log(struct scenario *scenario)
{
	for (size_t i = 0; i < scenario->machine.log_count; i++)
		printf("  log: %s\n", scenario->machine.log[i].text);
}

/* --- The run --- */

static const struct {
	const char *word;
	void (*run)(struct scenario *scenario);
} commands[] = {
	{"advance", do_advance},
	{"clock", do_clock},
	{"config", do_config},
	{"damage", do_damage},
	{"disk", do_disk},
	{"dns", do_dns},
	{"expect", scenario_expect},
	{"forget-log", do_forget_log},
	{"geoip", do_geoip},
	{"kernel", do_kernel},
	{"kill", do_kill},
	{"origin", do_origin},
	{"own-addresses", do_own},
	{"packets", do_packets},
	{"power-cut", do_power_cut},
	{"reboot", do_reboot},
	{"refresh", do_refresh},
	{"reload", do_reload},
	{"remove", do_remove},
	{"save", do_save},
	{"seize-table", do_seize},
	{"servers-changed", do_servers_changed},
	{"show-log", do_show_log},
	{"start", do_start},
	{"state-file", do_state_file},
	{"stop", do_stop},
	{"talker", do_talker},
};

/* The next line; false: there is none. */
static bool next_line(struct scenario *scenario, const char **ret_line, size_t *ret_length)
{
	const char *data = scenario->source.data, *feed;
	size_t left = scenario->source.length - scenario->at;

	if (left == 0)
		return false;
	if (data[scenario->at] == SAME_LINE) {
		scenario->at++;
		left--;
	} else {
		scenario->line_read++;
	}
	*ret_line = data + scenario->at;
	feed = memchr(*ret_line, '\n', left);
	*ret_length = feed ? (size_t)(feed - *ret_line) : left;
	scenario->at += *ret_length + (feed != NULL);
	return true;
}

static void read_block(struct scenario *scenario)
{
	const char *line;
	size_t length;

	text_clear(&scenario->block);
	for (;;) {
		unsigned line_before = scenario->line_read;
		size_t before = scenario->at;

		if (!next_line(scenario, &line, &length))
			return;
		if (length > 0 && *line != ' ') {
			scenario->at = before;
			scenario->line_read = line_before;
			return;
		}
		if (length > 2)
			text_write(&scenario->block, line + 2, length - 2);
		text_puts(&scenario->block, "\n");
	}
}

static void check_error(struct scenario *scenario)
{
	if (!scenario->error.code || scenario->answered || is_word(scenario, 1, "error"))
		return;
	scenario_nonsense(
		scenario, "what was done before this line was refused: %s", scenario->error.what);
	scenario->error = (struct error){0};
}

static void run_line(struct scenario *scenario)
{
	check_error(scenario);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!is_word(scenario, 0, commands[i].word))
			continue;
		commands[i].run(scenario);
		return;
	}
	scenario_nonsense(scenario, "what is %s?", scenario_word(scenario, 0));
}

/* A line that begins with "@A..B " stands for one with each number in the place of its %. */
static void add_line(struct text *source, const char *line, size_t length)
{
	size_t indent = strspn(line, " ");
	const char same_line = SAME_LINE;
	unsigned first, last;
	int used = 0;

	if (indent >= length || sscanf(line + indent, "@%u..%u %n", &first, &last, &used) != 2) {
		text_write(source, line, length);
		text_puts(source, "\n");
		return;
	}
	for (unsigned number = first; number <= last; number++) {
		if (number > first)
			text_write(source, &same_line, 1);
		text_write(source, line, indent);
		for (size_t i = indent + (size_t)used; i < length; i++) {
			if (line[i] == '%')
				text_number(source, number);
			else
				text_write(source, line + i, 1);
		}
		text_puts(source, "\n");
	}
}

static bool load(struct scenario *scenario)
{
	FILE *file = fopen(scenario->path, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t size;

	if (!file) {
		printf("cannot read %s: %s\n", scenario->path, strerror(errno));
		return false;
	}
	while ((size = getline(&line, &room, file)) > 0)
		add_line(&scenario->source, line, (size_t)size - (line[size - 1] == '\n'));
	free(line);
	fclose(file);
	return true;
}

static void run_all(struct scenario *scenario)
{
	const char *line;
	size_t length;

	while (!scenario->failed && next_line(scenario, &line, &length)) {
		scenario->line = scenario->line_read;
		if (!words_split(line, length, &scenario->words))
			scenario_nonsense(scenario, "a quotation mark is missing");
		read_block(scenario);
		if (scenario->words.count > 0 && !scenario->failed)
			run_line(scenario);
		words_free(&scenario->words);
	}
	scenario->line++;
	if (!scenario->failed)
		check_error(scenario);
}

static void show_end_of_log(const struct scenario *scenario)
{
	size_t count = scenario->machine.log_count;

	for (size_t i = count > LOG_LINES_SHOWN ? count - LOG_LINES_SHOWN : 0; i < count; i++)
		printf("  log %+.3f s: %s\n",
			(double)(scenario->machine.log[i].boot_ms - world()->boot_ms) / 1000,
			scenario->machine.log[i].text);
}

bool scenario_run(const char *path)
{
	struct scenario scenario = {.path = path};

	machine_begin(&scenario.machine, WALL_AT_START, SEED);
	if (load(&scenario))
		run_all(&scenario);
	else
		scenario.failed++;
	if (scenario.failed)
		show_end_of_log(&scenario);
	if (!machine_end(&scenario.machine))
		scenario.failed++;
	words_free(&scenario.words);
	words_free(&scenario.delayed_damage);
	text_free(&scenario.source);
	text_free(&scenario.block);
	text_free(&scenario.config);
	text_free(&scenario.kept);
	return scenario.failed == 0;
}
