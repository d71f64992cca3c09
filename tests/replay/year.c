/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A simulated year of the daemon, by the dice: configs, answers, outages, clock steps, reboots,
 * kills, damage, reloads, a full disk and a kernel without memory, in any order. After each step:
 *
 *  1. nobody is in the sets who does not have that address, by an account of all answers that knows
 *     nothing of the engine's (account.h), or had it within linger, gone or hold;
 *  2. nobody is out of them whose answer is fresh, held or lingering; and comments name all owners;
 *  3. nothing stays past `hold` since its last good answer, nor past `gone`; each good
 *     answer is on the disk within 15 minutes, for a power cut or a kill;
 *  4. the table is there, owned where it should be, drops strangers and lets in who must be let in;
 *  5. no transaction in a step in which nothing changed;
 *  6. each name is asked at least each refresh.max;
 *  7. the log says each state of a name once, until it is another one.
 *
 *   test_replay_year [SEED [DAYS]]
 *
 * Without a seed it is two half years, the same ones each time; with one it is that year alone. A
 * failure prints the seed, the step, what was done last, the account, the config and the log.
 */
#include "world.h"
#include "year.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SECOND = 1000,
	MINUTE = 60 * SECOND,
	HOUR = 60 * MINUTE,
	DAYS = 365,
	WALL_AT_START = 1800000000,
	CLOCK_IS_SET = 1767225600, /* 2026: before it there was no sipfence (core/steady.c) */
	STATE_DAMAGES = 5,
};
static const int64_t day = INT64_C(24) * HOUR;

void year_complain(struct year *year, const char *format, ...)
{
	va_list arguments;

	if (!year->failed)
		printf("seed 0x%llx, step %llu, day %.3f:\n", (unsigned long long)year->seed,
			(unsigned long long)year->step, (double)year->simulated_ms / (double)day);
	year->failed = true;
	printf("  ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	puts("");
}

void year_remember(struct year *year, const char *format, ...)
{
	char *line = year->remembered[year->remembered_count++ % REMEMBERED];
	va_list arguments;
	int used = snprintf(
		line, sizeof(year->remembered[0]), "%llu: ", (unsigned long long)year->step);

	va_start(arguments, format);
	vsnprintf(line + used, sizeof(year->remembered[0]) - (size_t)used, format, arguments);
	va_end(arguments);
}

static void pass(struct year *year, int64_t least, int64_t most)
{
	year->account.now.least += least;
	year->account.now.most += most;
}

void year_sync_clock(struct year *year)
{
	int64_t passed = world()->boot_ms - year->last_boot_ms;

	year->last_boot_ms = world()->boot_ms;
	year->simulated_ms += passed;
	pass(year, passed, passed);
}

static bool one_in(struct year *year, unsigned count)
{
	return dice_roll(&year->dice, count) == 0;
}

/* --- What the engine is told, and what it saves --- */

struct presence {
	const char *target;
	bool present;
};

static void see_target(
	void *context, const struct account_name *name, const struct value *value, bool certain)
{
	struct presence *presence = context;

	(void)name;
	(void)certain;
	presence->present |= strcmp(value->target, presence->target) == 0;
}

/* A target that has left its SRV name for good is not known any more. */
void year_forget_targets(struct account *account)
{
	const struct account_name *srv;

	for (unsigned i = 0; i < TARGETS; i++) {
		char target[ACCOUNT_NAME_SIZE];
		struct presence presence = {.target = target};

		snprintf(target, sizeof(target), "s%u.example", i);
		srv = account_find(account, srv_name);
		if (srv)
			account_list(account, srv, TALE_SRV, see_target, &presence);
		if (!presence.present)
			account_remove(account, target);
	}
}

static void note_answer(
	void *context, const char *name, enum dns_type type, const struct answer *answer)
{
	struct year *year = context;
	int tale = type == DNS_A ? TALE_A : type == DNS_AAAA ? TALE_AAAA : TALE_SRV;

	year_sync_clock(year);
	if (tale == TALE_SRV) {
		account_pass(&year->account);
		year_forget_targets(&year->account);
	}
	account_take(&year->account, name, tale, answer);
	if (answer->kind == ANSWER_ADDRESSES && year->unsaved_since == INT64_MAX)
		year->unsaved_since = year->simulated_ms;
	if (answer->kind == ANSWER_ADDRESSES && year->unsaved_next == INT64_MAX)
		year->unsaved_next = year->simulated_ms;
	/* Its targets are asked from now on. */
	for (size_t i = 0; tale == TALE_SRV && i < answer->count; i++) {
		if (answer->kind == ANSWER_ADDRESSES)
			account_add(&year->account, answer->targets[i], true);
	}
}

/* What the engine hands to the disk, as the account has it at that moment. */
struct note {
	bool save;
	struct copy copy;
	bool named[ACCOUNT_NAMES]; /* those of copy.account that a journal's text speaks of */
};

static void *note_writing(void *context, bool save, const char *data, size_t length)
{
	struct note *note = need(calloc(1, sizeof(*note)));
	struct year *year = context;

	year_sync_clock(year);
	account_pass(&year->account);
	note->save = save;
	note->copy = (struct copy){.account = year->account,
		.wall = machine_now(&year->machine).wall,
		.stepped = year->stepped};
	for (size_t i = 0; !save && i < year->account.count; i++) {
		const char *name = year->account.names[i].name;
		char line[64];

		snprintf(line, sizeof(line), "\n%s %s ",
			strcmp(name, srv_name) == 0 ? "srv" : "host", name);
		note->named[i] = memmem(data, length, line, strlen(line));
	}
	if (save)
		year->unsaved_next = INT64_MAX;
	return note;
}

static void take_journal(struct snapshot *snapshot, const struct note *note)
{
	snapshot->noted_before = snapshot->noted;
	for (size_t i = 0; i < note->copy.account.count; i++) {
		const struct account_name *name = &note->copy.account.names[i];
		struct account_name *noted;

		if (!note->named[i])
			continue;
		noted = account_add(&snapshot->noted.account, name->name, name->of_peer);
		if (noted)
			*noted = *name;
	}
	snapshot->noted.account.now = note->copy.account.now;
	snapshot->noted.wall = note->copy.wall;
	snapshot->noted.stepped = note->copy.stepped;
}

static void note_written(void *context, void *handed, bool done)
{
	struct year *year = context;
	struct note *note = handed;

	if (done && note->save) {
		year->unsaved_since = year->unsaved_next;
		year->snapshot.exists = true;
		year->snapshot.boots = year->machine.boots;
		year->snapshot.saved = note->copy;
		year->snapshot.noted = year->snapshot.noted_before = note->copy;
	} else if (done) {
		take_journal(&year->snapshot, note);
	}
	free(note);
}

/* --- Configs --- */

static bool has_name(const struct year_config *config, size_t index, bool *ret_within)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		if (!config->owners[i].names[index])
			continue;
		*ret_within = config->owners[i].within;
		return true;
	}
	return false;
}

static bool has_srv(const struct year_config *config)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		if (config->owners[i].has_srv)
			return true;
	}
	return false;
}

/* The names of the config, and no others. */
static void apply_config(struct year *year)
{
	struct account *account = &year->account;

	for (size_t i = 0; i < NAMES_MAX; i++) {
		bool within = false;

		if (!has_name(&year->config, i, &within))
			account_remove(account, year_name(i));
		else
			account_guard(account, account_add(account, year_name(i), i >= PHONE_NAMES),
				within);
	}
	if (has_srv(&year->config))
		account_add(account, srv_name, true);
	else
		account_remove(account, srv_name);
	account_rule(account, &year->config.rules);
	year_forget_targets(account);
	account->changes++;
	year->asking_since = year->simulated_ms;
	year->touched = true;
	memset(year->told, 0, sizeof(year->told));
}

static struct config *parse_config(struct year *year)
{
	struct text messages = {0};
	struct config *config = machine_config(text_string(&year->config.yaml), &messages);

	if (!config)
		year_complain(year, "the config is wrong: %s", text_string(&messages));
	text_free(&messages);
	return config;
}

/* --- Life and death of the daemon --- */

/* How much time has passed since the last save, as far as anybody can know after a boot: what the
 * wall clock says, if it was never set; and at least the time since the boot. */
static void count_time_off(struct year *year)
{
	const struct copy *copy = &year->snapshot.noted;
	struct moment now = machine_now(&year->machine);
	int64_t known = (now.wall - copy->wall) * SECOND;

	if (!year->snapshot.exists || year->snapshot.boots == year->machine.boots)
		return;
	if (known < now.boot_ms)
		known = now.boot_ms;
	year->account = copy->account; /* nobody has looked at it since */
	year->account.rules = year->config.rules;
	/* A clock that was not set when that was written says nothing of the time since. */
	pass(year, copy->stepped ? now.boot_ms : known,
		copy->wall < CLOCK_IS_SET ? 40 * 365 * day : known);
	year->stepped |= copy->stepped;
}

static void start(struct year *year)
{
	struct config *config = parse_config(year);
	struct error error = {0};

	if (!config || year->machine.engine)
		return;
	year_remember(year, "start");
	year_sync_clock(year);
	count_time_off(year);
	if (machine_start(&year->machine, config, &error) < 0) {
		if (!year->kernel_sick)
			year_complain(year, "it does not start: %s", error.what);
		return;
	}
	apply_config(year);
	account_restart(&year->account);
}

/* The account forgets what no file knows. */
static void fall_back(struct year *year)
{
	struct stamp now = year->account.now;
	struct snapshot *snapshot = &year->snapshot;

	if (snapshot->exists) {
		year->account = snapshot->noted.account;
		year->account.rules = year->config.rules;
		year->stepped |= snapshot->noted.stepped;
	} else {
		year->account = (struct account){.rules = year->config.rules};
		year->stepped = false;
	}
	year->account.now = now;
	year->account.changes++;
	year->unsaved_since = year->unsaved_next = INT64_MAX;
	year_check_log(year);
	machine_forget_log(&year->machine);
	/* What was said before the last save may be said again. */
	memset(year->told, 0, sizeof(year->told));
	year->told_dead = false;
}

static void stop(struct year *year)
{
	struct error error = {0};

	year_remember(year, "stop");
	if (machine_stop(&year->machine, &error) < 0 && !year->disk_sick)
		year_complain(year, "it can't save: %s", error.what);
	fall_back(year);
}

static void kill_it(struct year *year)
{
	year_remember(year, "kill");
	year_check_loss(year);
	machine_kill(&year->machine);
	fall_back(year);
}

/* What was appended since the last save may be on the disk, or a part of it, or nothing. */
static void cut_power(struct year *year)
{
	struct snapshot *snapshot = &year->snapshot;
	char path[128];
	struct fake_file *journal;

	snprintf(path, sizeof(path), "%s.journal", state_path);
	journal = fake_disk_find(path);
	if (!journal)
		return;
	switch (dice_roll(&year->dice, 3)) {
	case 0:
		fake_disk_power_cut();
		snapshot->noted = snapshot->noted_before = snapshot->saved;
		break;
	case 1:
		journal->data.length -= 3;
		snapshot->noted = snapshot->noted_before;
		break;
	default:
		break;
	}
	fall_back(year);
}

static void boot(struct year *year, int64_t down)
{
	machine_boot(&year->machine, down);
	world()->kernel.rules.knows_persist = !one_in(year, 4);
	year->last_boot_ms = world()->boot_ms;
	year->simulated_ms += down;
	for (size_t i = 0; i < world()->dns.script_count; i++)
		world()->dns.scripts[i].asked_at = 0;
}

static void reboot(struct year *year)
{
	int64_t down = one_in(year, 4) ? dice_roll(&year->dice, 30) * (int64_t)HOUR
				       : dice_roll(&year->dice, 10) * (int64_t)MINUTE;
	bool cut = one_in(year, 2);

	if (year->machine.engine && cut)
		kill_it(year);
	else if (year->machine.engine)
		stop(year);
	year_remember(year, "%s, down for %lld s", cut ? "power cut" : "reboot",
		(long long)down / SECOND);
	if (cut)
		cut_power(year);
	boot(year, down);
	if (!one_in(year, 3) || !year->restless)
		return;
	/* A board without a battery. */
	year_remember(year, "the clock wakes up ten days late");
	machine_step_clock(&year->machine, -10 * day / SECOND);
	year->stepped = true;
}

static void lose_state(struct year *year)
{
	struct fake_file *file = fake_disk_find(state_path);
	char journal[128];

	if (!file || year->machine.engine)
		return;
	snprintf(journal, sizeof(journal), "%s.journal", state_path);
	fake_disk_delete(journal);
	file = fake_disk_find(state_path);
	if (one_in(year, 2)) {
		year_remember(year, "the state file is lost");
		fake_disk_delete(state_path);
	} else if (file->data.length > 0) {
		year_remember(year, "the state file is damaged");
		file->data.data[dice_roll(&year->dice, (unsigned)file->data.length)] ^= 4;
	}
	year->snapshot.exists = false;
	fall_back(year);
}

/* --- DNS --- */

static void roll_addr(struct year *year, struct dns_script *script, bool trunk)
{
	struct addr addr = {.family = script->type == DNS_A ? FAMILY_IPV4 : FAMILY_IPV6};
	unsigned host = 1 + dice_roll(&year->dice, trunk ? 8 : 20);
	static const uint8_t four[] = {203, 0, 113, 0}, outside[] = {192, 0, 2, 0};
	static const uint8_t six[] = {0x20, 0x01, 0x0d, 0xb8};
	size_t at;

	if (addr.family == FAMILY_IPV4) {
		memcpy(addr.bytes, one_in(year, 6) ? outside : four, 4);
		addr.bytes[3] = (uint8_t)host;
	} else {
		memcpy(addr.bytes, six, sizeof(six));
		addr.bytes[5] = (uint8_t)dice_roll(&year->dice, 2);
		addr.bytes[7] = (uint8_t)dice_roll(&year->dice, 5);
		addr.bytes[15] = (uint8_t)host;
	}
	for (size_t i = 0; i < script->count; i++) {
		if (addr_equal(&script->addrs[i], &addr))
			return;
	}
	at = script->count++;
	for (; at > 0 && addr_compare(&script->addrs[at - 1], &addr) > 0; at--)
		script->addrs[at] = script->addrs[at - 1];
	script->addrs[at] = addr;
}

static void roll_addresses(struct year *year, struct dns_script *script, bool trunk)
{
	unsigned wanted = one_in(year, 25) ? 9 : 1 + dice_roll(&year->dice, 2);

	script->kind = ANSWER_ADDRESSES;
	for (unsigned i = 0; i < 2 * wanted && script->count < wanted; i++)
		roll_addr(year, script, trunk);
	if (!one_in(year, 20))
		return;
	/* Bad ones, which stand before all good ones; alone or not. */
	if (one_in(year, 2))
		script->count = 0;
	memmove(script->addrs + 1, script->addrs, script->count * sizeof(script->addrs[0]));
	script->addrs[0] =
		(struct addr){.family = script->type == DNS_A ? FAMILY_IPV4 : FAMILY_IPV6};
	if (script->type == DNS_A && one_in(year, 2))
		script->addrs[0].bytes[0] = 10;
	script->count++;
}

static void roll_script(struct year *year, struct dns_script *script, bool trunk)
{
	static const enum answer_reason reasons[] = {REASON_TIMEOUT, REASON_SERVFAIL,
		REASON_SERVER_REFUSED, REASON_GARBAGE, REASON_NO_SERVER};

	script->count = 0;
	script->reason = REASON_NONE;
	script->ttl = 20 + dice_roll(&year->dice, 3000);
	script->delay_ms = one_in(year, 10) ? (int64_t)dice_roll(&year->dice, 9500)
					    : 1 + (int64_t)dice_roll(&year->dice, 200);
	switch (dice_roll(&year->dice, script->type == DNS_A ? 12 : 7)) {
	case 0:
		script->kind = ANSWER_NO_DATA;
		return;
	case 1:
		script->kind = ANSWER_NO_NAME;
		return;
	case 2:
		script->kind = ANSWER_COULD_NOT_ASK;
		script->reason = reasons[dice_roll(&year->dice, 5)];
		return;
	default:
		roll_addresses(year, script, trunk);
	}
}

/* A target comes back within its hour or long after it, not while it is uncertain whether it was
 * forgotten: that is, not at all before a day has passed. */
static void roll_srv(struct year *year)
{
	struct dns_script *script = fake_dns_script(srv_name, DNS_SRV);

	script->kind = ANSWER_ADDRESSES;
	script->reason = REASON_NONE;
	script->ttl = 60 + dice_roll(&year->dice, 600);
	script->count = 0;
	if (one_in(year, 5)) {
		script->kind = ANSWER_COULD_NOT_ASK;
		script->reason = REASON_SERVFAIL;
	}
	for (unsigned i = 0; i < TARGETS; i++) {
		if (i == 0 || (year->simulated_ms / (2 * day)) % 3 == i)
			snprintf(script->targets[script->count++], sizeof(script->targets[0]),
				"s%u.example", i);
	}
}

static void change_dns(struct year *year)
{
	unsigned name = dice_roll(&year->dice, NAMES_MAX + TARGETS);
	enum dns_type type = one_in(year, 2) ? DNS_A : DNS_AAAA;
	struct dns_script *script;
	char target[ACCOUNT_NAME_SIZE];

	snprintf(target, sizeof(target), "s%u.example", name - NAMES_MAX);
	script = fake_dns_script(name < NAMES_MAX ? year_name(name) : target, type);
	roll_script(year, script, name >= PHONE_NAMES);
	year_remember(year, "%s %s: kind %d, %zu addresses, ttl %u, delay %lld ms", script->name,
		type == DNS_A ? "A" : "AAAA", (int)script->kind, script->count, script->ttl,
		(long long)script->delay_ms);
}

static void change_outage(struct year *year)
{
	struct fake_dns *dns = &world()->dns;

	dns->outage = dns->outage	? REASON_NONE
		      : one_in(year, 2) ? REASON_TIMEOUT
					: REASON_NO_SERVER;
	year_remember(year, "DNS is %s", dns->outage ? "dead" : "alive");
}

/* --- What goes wrong --- */

static void change_kernel(struct year *year)
{
	struct model_kernel *kernel = &world()->kernel;

	if (!year->machine.engine && !year->kernel_sick)
		return;
	year->kernel_sick = !year->kernel_sick;
	year->kernel_sick_until = year->simulated_ms + 2 * MINUTE;
	kernel->commit_errno = ENOMEM;
	kernel->commit_failures = year->kernel_sick ? FOR_EVER : 0;
	year->touched = true;
	year_remember(year, "the kernel is %s", year->kernel_sick ? "without memory" : "well");
}

static void change_disk(struct year *year)
{
	year->disk_sick = !year->disk_sick;
	/* After a failure it is tried again within a minute; then what was learned must be there.
	 */
	year->disk_sick_until = year->simulated_ms + 17 * MINUTE;
	world()->disk.write_errno = !year->disk_sick ? 0 : one_in(year, 2) ? ENOSPC : EROFS;
	world()->disk.delay_ms = one_in(year, 2) ? DISK_DELAY_MS : 20 * SECOND;
	year_remember(year, "the disk is %s, each write takes %lld ms",
		year->disk_sick ? "full" : "well", (long long)world()->disk.delay_ms);
}

static void lose_acks(struct year *year)
{
	world()->kernel.lost_acks = 1;
	world()->kernel.lost_acks_mean_done = one_in(year, 2);
	year->touched = true;
	year_remember(year, "the ACKs of the next batch are lost");
}

static void step_clock(struct year *year)
{
	static const int64_t steps[] = {1, 37, 3600, 86400, 365 * 86400, 10 * 365 * INT64_C(86400)};
	int64_t step = steps[dice_roll(&year->dice, 6)];

	if (one_in(year, 2))
		step = -step;
	year_remember(year, "the clock steps by %lld s", (long long)step);
	machine_step_clock(&year->machine, step);
	year->stepped = true;
}

static void damage_set(struct year *year, struct nf_table *table)
{
	struct nf_set *set = nf_find_set(table, "sip_hosts4");
	struct addr addr = {.family = FAMILY_IPV4, .bytes = {192, 0, 2, 201}};

	if (!set)
		return;
	if (one_in(year, 3))
		set->count = 0;
	else if (set->count > 0 && one_in(year, 2))
		nf_delete_element(set, set->elements[0].key, false);
	else
		nf_add_element(set, addr.bytes);
}

static void damage(struct year *year)
{
	struct nf_ruleset *rules = &world()->kernel.rules;
	struct nf_table *table = nf_find_table(rules, "sipfence");

	if (one_in(year, 3)) {
		model_kernel_others("another", "fail2ban", 9);
		return;
	}
	if (!table || model_kernel_is_owned("sipfence"))
		return;
	year_remember(year, "others damage the table");
	year->touched = true;
	world()->kernel.loses_events = one_in(year, 4);
	switch (dice_roll(&year->dice, 3)) {
	case 0:
		nf_delete_table(rules, "sipfence");
		break;
	case 1:
		nf_delete_rule(table, "sip_guard", dice_roll(&year->dice, 6));
		break;
	default:
		damage_set(year, table);
	}
	model_kernel_others("sipfence", "nft", 77);
	world()->kernel.loses_events = false;
}

static void reload(struct year *year)
{
	struct moment now = machine_now(&year->machine);
	struct year_config old = year->config;
	struct error error = {0};
	struct config *config;

	old.yaml = (struct text){0};
	text_puts(&old.yaml, text_string(&year->config.yaml));
	if (!one_in(year, 4))
		year_config_roll(&year->dice, &year->config);
	config = parse_config(year);
	if (!config) {
		text_free(&old.yaml);
		return;
	}
	year_sync_clock(year);
	year_remember(year, "reload");
	year->touched = true;
	if (engine_reload(year->machine.engine, config, &now, &error) == 0) {
		text_free(&old.yaml);
		apply_config(year);
		return;
	}
	if (!year->kernel_sick)
		year_complain(year, "the reload is refused: %s", error.what);
	text_free(&year->config.yaml);
	year->config = old;
}

static void refresh(struct year *year)
{
	struct moment now = machine_now(&year->machine);
	struct error error = {0};
	uint64_t ticket;

	year_remember(year, "refresh");
	if (engine_refresh(year->machine.engine, NULL, 0, &now, &ticket, &error) < 0)
		year_complain(year, "the refresh is refused: %s", error.what);
	/* The longest question takes its budget, one that was under way two, and a new target one.
	 */
	machine_run(&year->machine, 16 * SECOND);
	if (!engine_refreshed(year->machine.engine, ticket))
		year_complain(year, "a refresh does not end");
}

static void servers_changed(struct year *year)
{
	struct moment now = machine_now(&year->machine);

	year_remember(year, "other servers");
	engine_servers_changed(year->machine.engine, &now);
}

/* --- A step --- */

static void happen_to_the_daemon(struct year *year)
{
	switch (dice_roll(&year->dice, 40)) {
	case 0:
		reload(year);
		return;
	case 1:
		refresh(year);
		return;
	case 2:
		servers_changed(year);
		return;
	case 3:
		lose_acks(year);
		return;
	case 4:
	case 5:
		damage(year);
		return;
	case 6:
		if (one_in(year, 3))
			stop(year);
		return;
	case 7:
		if (one_in(year, 2))
			kill_it(year);
		return;
	default:
		return;
	}
}

static void happen(struct year *year)
{
	for (unsigned i = dice_roll(&year->dice, 4); i > 0; i--)
		change_dns(year);
	if (year->machine.engine)
		happen_to_the_daemon(year);
	if (one_in(year, 30))
		roll_srv(year);
	if (one_in(year, world()->dns.outage ? 6 : 80))
		change_outage(year);
	if (one_in(year, year->kernel_sick ? 3 : 150))
		change_kernel(year);
	if (one_in(year, year->disk_sick ? 6 : 150))
		change_disk(year);
	if (year->restless && one_in(year, 60))
		step_clock(year);
	if (one_in(year, 120))
		reboot(year);
	if (!year->machine.engine && one_in(year, STATE_DAMAGES))
		lose_state(year);
	if (!year->machine.engine && one_in(year, 2))
		damage(year);
}

static int64_t roll_pause(struct year *year)
{
	static const int64_t pauses[] = {5, SECOND, 7 * SECOND, 30 * SECOND, 2 * MINUTE,
		10 * MINUTE, 40 * MINUTE, 3 * HOUR, 6 * HOUR};
	int64_t pause = pauses[dice_roll(&year->dice, sizeof(pauses) / sizeof(pauses[0]))];

	return pause / 2 + (int64_t)(dice_next(&year->dice) % (uint64_t)pause);
}

static void take_step(struct year *year)
{
	bool runs;

	year->step++;
	year->restless = (year->simulated_ms / (30 * day)) % 2 == 1;
	happen(year);
	year_sync_clock(year);
	runs = year->machine.engine;
	if (!runs && !year->kernel_sick) {
		/* Sometimes it is down for a while. */
		if (!one_in(year, 3))
			start(year);
	}
	machine_run(&year->machine, roll_pause(year));
	year_check(year);
	year_check_log(year);
	machine_forget_log(&year->machine);
}

static void report_tale(const struct account *account, const char *name, const struct tale *tale)
{
	char buffer[ADDR_TEXT_SIZE];

	if (tale->count == 0 && !tale->good.most)
		return;
	printf("  account: %s:%s%s%s good %lld..%lld s ago", name, tale->fresh ? " fresh" : "",
		tale->none ? " none" : "", tale->doubtful ? " doubtful" : "",
		(long long)(account->now.least - tale->good.least) / SECOND,
		(long long)(account->now.most - tale->good.most) / SECOND);
	if (tale->none)
		printf(", none since %lld..%lld s",
			(long long)(account->now.least - tale->none_since.least) / SECOND,
			(long long)(account->now.most - tale->none_since.most) / SECOND);
	for (size_t i = 0; i < tale->count; i++) {
		addr_print(&tale->values[i].addr, buffer);
		printf(" %s", tale->values[i].target[0] ? tale->values[i].target : buffer);
	}
	puts("");
}

static void report(struct year *year)
{
	const struct account *account = &year->account;
	size_t count = year->remembered_count;

	for (size_t i = 0; i < account->count; i++) {
		for (int tale = 0; tale < TALE_COUNT; tale++)
			report_tale(
				account, account->names[i].name, &account->names[i].tales[tale]);
	}

	for (size_t i = count > REMEMBERED ? count - REMEMBERED : 0; i < count; i++)
		printf("  %s\n", year->remembered[i % REMEMBERED]);
	printf("%s", text_string(&year->config.yaml));
	for (size_t i = 0; i < year->machine.log_count; i++)
		printf("  log: %s\n", year->machine.log[i].text);
}

static bool run(uint64_t seed, int64_t days)
{
	struct year *year = need(calloc(1, sizeof(*year)));
	struct timespec began, ended;
	bool passed;

	year->seed = seed;
	year->dice.state = seed;
	year->unsaved_since = year->unsaved_next = INT64_MAX;
	clock_gettime(CLOCK_MONOTONIC, &began);
	machine_begin(&year->machine, WALL_AT_START, (uint32_t)seed | 1);
	world()->dns.answered = note_answer;
	world()->dns.answered_context = year;
	world()->disk.queued = note_writing;
	world()->disk.done = note_written;
	world()->disk.context = year;
	year->last_boot_ms = world()->boot_ms;
	for (size_t i = 0; i < NAMES_MAX; i++) {
		roll_script(year, fake_dns_script(year_name(i), DNS_A), i >= PHONE_NAMES);
		roll_script(year, fake_dns_script(year_name(i), DNS_AAAA), i >= PHONE_NAMES);
	}
	roll_srv(year);
	year_config_roll(&year->dice, &year->config);
	while (!year->failed && year->simulated_ms < days * day)
		take_step(year);
	if (year->failed)
		report(year);
	passed = !year->failed;
	clock_gettime(CLOCK_MONOTONIC, &ended);
	printf("seed 0x%llx: %llu steps, %llu of them checked against the kernel, %llu questions, "
	       "%llu transactions, %ld s\n",
		(unsigned long long)seed, (unsigned long long)year->step,
		(unsigned long long)year->steps_checked, (unsigned long long)world()->dns.asked,
		(unsigned long long)world()->kernel.transactions,
		(long)(ended.tv_sec - began.tv_sec));
	passed &= machine_end(&year->machine);
	text_free(&year->config.yaml);
	free(year);
	return passed;
}

int main(int argc, char **argv)
{
	static const uint64_t usual[] = {0x51b, 0xfe9ce};
	int64_t days = argc > 2 ? atoll(argv[2]) : DAYS;
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	size_t count = argc > 1 ? 1 : sizeof(usual) / sizeof(usual[0]);
	bool failed = false;

	for (size_t i = 0; i < count && !failed; i++) {
		printf("[ RUN      ] test_year\n");
		fflush(stdout);
		failed = !run(argc > 1 ? seed : usual[i], argc > 1 ? days : DAYS / 2);
		printf("[%s] test_year\n", failed ? "  FAILED  " : "       OK ");
	}
	if (failed)
		printf("[  FAILED  ] test_year\n");
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
