/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"
#include "year.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_prefix(const struct prefix *prefix, char *buffer)
{
	if (prefix->length == UINT8_MAX)
		strcpy(buffer, "an interval that is no prefix");
	else
		prefix_print(prefix, buffer);
}

static const char *const hosts_sets[2][FAMILY_COUNT] = {
	{"sip_hosts4", "sip_hosts6"}, {"web_hosts4", "web_hosts6"}};
static const char *const nets_sets[2][FAMILY_COUNT] = {
	{"sip_nets4", "sip_nets6"}, {"web_nets4", "web_nets6"}};

static bool belongs(const struct permit *permit, uint8_t service, enum family family, bool hosts)
{
	return permit->service == service && permit->prefix.addr.family == family &&
	       prefix_is_host(&permit->prefix) == hosts;
}

static bool list_has(const struct prefix *list, size_t count, const struct prefix *prefix)
{
	for (size_t i = 0; i < count; i++) {
		if (prefix_compare(&list[i], prefix) == 0)
			return true;
	}
	return false;
}

static bool is_allowed(const struct permits *permits, uint8_t service, const struct prefix *prefix)
{
	for (size_t i = 0; i < permits->count; i++) {
		if (permits->list[i].service == service &&
			prefix_compare(&permits->list[i].prefix, prefix) == 0)
			return true;
	}
	return false;
}

static const char *comment_of(const struct nf_element *element)
{
	return element && element->userdata_size > 2 ? (const char *)element->userdata + 2 : "";
}

/* Invariants 1 to 3, of single addresses. */
static void check_hosts(
	struct year *year, const struct nf_set *set, uint8_t service, enum family family)
{
	char buffer[PREFIX_TEXT_SIZE];
	struct prefix *list;
	size_t count = nf_list(set, world()->boot_ms, &list);

	for (size_t i = 0; i < count; i++) {
		if (is_allowed(&year->now, service, &list[i]))
			continue;
		print_prefix(&list[i], buffer);
		year_complain(year, "%s (%s) is in %s, and nobody has it", buffer,
			comment_of(
				nf_find_element(set, list[i].addr.bytes, false, world()->boot_ms)),
			set->name);
	}
	for (size_t i = 0; i < year->now.count; i++) {
		const struct permit *permit = &year->now.list[i];

		if (!permit->certain || !belongs(permit, service, family, true) ||
			list_has(list, count, &permit->prefix))
			continue;
		print_prefix(&permit->prefix, buffer);
		year_complain(year, "%s is not in %s, and \"%s\" has it", buffer, set->name,
			permit->owner);
	}
	free(list);
}

/* The same of networks, which fold into each other: only where all is certain. */
static void check_nets(
	struct year *year, const struct nf_set *set, uint8_t service, enum family family)
{
	struct prefix *list, wanted[PERMITS_MAX];
	size_t count = nf_list(set, world()->boot_ms, &list), wanted_count = 0;
	char buffer[PREFIX_TEXT_SIZE];

	for (size_t i = 0; i < year->now.count; i++) {
		const struct permit *permit = &year->now.list[i];

		if (!belongs(permit, service, family, false))
			continue;
		if (wanted_count == 0 || !prefix_covers(&wanted[wanted_count - 1], &permit->prefix))
			wanted[wanted_count++] = permit->prefix;
	}
	for (size_t i = 0; year->now.certain && i < count; i++) {
		print_prefix(&list[i], buffer);
		if (!list_has(wanted, wanted_count, &list[i]))
			year_complain(year, "%s is in %s, and nobody has it", buffer, set->name);
	}
	for (size_t i = 0; year->now.certain && i < wanted_count; i++) {
		print_prefix(&wanted[i], buffer);
		if (!list_has(list, count, &wanted[i]))
			year_complain(
				year, "%s is not in %s, and somebody has it", buffer, set->name);
	}
	free(list);
}

/* The comment names all owners of the element, and nobody else. */
static void check_comment(
	struct year *year, const struct nf_set *set, const struct nf_element *element, size_t first)
{
	enum { SHORT_ENOUGH = 110 };
	const struct permit *permits = year->now.list;
	const char *comment = comment_of(element);
	size_t end = first, length = 0, commas = 0;

	while (end < year->now.count && permits[end].service == permits[first].service &&
		prefix_compare(&permits[end].prefix, &permits[first].prefix) == 0)
		length += strlen(permits[end++].owner) + 2;
	if (length > SHORT_ENOUGH)
		return;
	for (const char *at = comment; *at; at++)
		commas += *at == ',';
	for (size_t i = first; i < end; i++) {
		if (!permits[i].certain)
			return;
		if (!strstr(comment, permits[i].owner))
			year_complain(year, "the comment \"%s\" in %s lacks \"%s\"", comment,
				set->name, permits[i].owner);
	}
	if (commas + 1 != end - first)
		year_complain(year, "the comment \"%s\" in %s is not that of %zu owners", comment,
			set->name, end - first);
}

static void check_comments(
	struct year *year, const struct nf_set *set, uint8_t service, enum family family)
{
	for (size_t i = 0; i < year->now.count; i++) {
		const struct permit *permit = &year->now.list[i];
		const struct nf_element *element;

		if (!belongs(permit, service, family, true))
			continue;
		if (i > 0 && year->now.list[i - 1].service == service &&
			prefix_compare(&year->now.list[i - 1].prefix, &permit->prefix) == 0)
			continue;
		element = nf_find_element(set, permit->prefix.addr.bytes, false, world()->boot_ms);
		if (element)
			check_comment(year, set, element, i);
	}
}

static void check_sets(struct year *year, const struct nf_table *table)
{
	for (uint8_t service = 0; service < 2; service++) {
		for (int family = 0; family < FAMILY_COUNT; family++) {
			struct nf_set *hosts = nf_find_set(table, hosts_sets[service][family]);
			struct nf_set *nets = nf_find_set(table, nets_sets[service][family]);

			if (!hosts || !nets) {
				year_complain(year, "a set is missing");
				return;
			}
			check_hosts(year, hosts, service, (enum family)family);
			check_comments(year, hosts, service, (enum family)family);
			check_nets(year, nets, service, (enum family)family);
		}
	}
}

/* By the rules themselves: strangers are dropped, who must be in passes. */
static void check_packets(struct year *year)
{
	static const char *const strangers[] = {"192.0.2.200", "203.0.113.250", "2001:db8:ffff::1"};
	char buffer[PREFIX_TEXT_SIZE];

	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		struct nf_packet packet = {.protocol = IPPROTO_UDP, .port = 5060};

		addr_parse(strangers[i], strlen(strangers[i]), &packet.source);
		if (nf_accepts(&world()->kernel.rules, &packet, world()->boot_ms))
			year_complain(year, "the stranger %s is let in", strangers[i]);
	}
	for (size_t i = 0; i < year->now.count; i += 1 + dice_roll(&year->dice, 8)) {
		const struct permit *permit = &year->now.list[i];
		struct nf_packet packet = {.source = permit->prefix.addr,
			.protocol = permit->service ? IPPROTO_TCP : IPPROTO_UDP,
			.port = permit->service ? 443 : 5060};

		if (!permit->certain ||
			nf_accepts(&world()->kernel.rules, &packet, world()->boot_ms))
			continue;
		print_prefix(&permit->prefix, buffer);
		year_complain(year, "%s of \"%s\" is dropped", buffer, permit->owner);
	}
}

static bool same_permits(const struct permits *a, const struct permits *b)
{
	for (size_t i = 0; i < a->count && i < b->count; i++) {
		const struct permit *left = &a->list[i], *right = &b->list[i];

		if (left->service != right->service || strcmp(left->owner, right->owner) != 0 ||
			prefix_compare(&left->prefix, &right->prefix) != 0)
			return false;
	}
	return a->count == b->count;
}

/* Invariant 5. */
static void check_no_transaction(struct year *year)
{
	uint64_t sent = world()->kernel.transactions - year->transactions_before;

	if (year->touched || !year->now.certain || !year->before.certain ||
		year->account.changes != year->changes_before || sent == 0 ||
		!same_permits(&year->now, &year->before))
		return;
	year_complain(year, "%llu transactions in a step in which nothing has changed",
		(unsigned long long)sent);
}

/* Each name is asked within refresh.max, give or take a failure's budget. */
static void check_asked(struct year *year, const char *name, enum dns_type type)
{
	enum { SLACK_MS = 40 * 1000 };
	const struct dns_script *script = fake_dns_find(name, type);
	int64_t limit = year->config.refresh_max + SLACK_MS;
	int64_t silent = world()->boot_ms - script->asked_at;

	if (year->simulated_ms - year->asking_since > limit && silent > limit)
		year_complain(year, "%s was not asked for %lld s", name, (long long)silent / 1000);
}

static void check_questions(struct year *year)
{
	for (size_t i = 0; i < year->config.owner_count; i++) {
		const struct year_owner *owner = &year->config.owners[i];

		for (size_t j = 0; j < NAMES_MAX; j++) {
			if (!owner->names[j])
				continue;
			check_asked(year, year_name(j), DNS_A);
			check_asked(year, year_name(j), DNS_AAAA);
		}
		if (owner->has_srv)
			check_asked(year, srv_name, DNS_SRV);
	}
}

static void check_table(struct year *year)
{
	const struct nf_table *table = nf_find_table(&world()->kernel.rules, "sipfence");
	bool owned = year->config.lock && world()->kernel.rules.knows_persist;

	if (!table) {
		year_complain(year, "there is no table");
		return;
	}
	if (model_kernel_is_owned("sipfence") != owned)
		year_complain(year, "the table is %s", owned ? "not owned" : "owned");
	if (world()->kernel.rules.table_count != 1)
		year_complain(year, "there are %zu tables", world()->kernel.rules.table_count);
	check_sets(year, table);
	check_packets(year);
	check_no_transaction(year);
	if (!engine_summary(year->machine.engine).table_right)
		year_complain(year, "the engine thinks that the table is not right");
}

/* The value of " key=" in the line; "" if it isn't there. */
static void read_value(const char *line, const char *key, char value[96])
{
	const char *at = strstr(line, key);
	bool quoted;

	value[0] = '\0';
	if (!at)
		return;
	at += strlen(key);
	quoted = *at == '"';
	snprintf(value, 96, "%.*s", (int)strcspn(at + quoted, quoted ? "\"" : " "), at + quoted);
}

/* Invariant 7: a state is said when it is another one, or is refused for another reason. */
static void check_state_line(struct year *year, const char *line)
{
	char host[96], state[96], reason[96], told[96];
	size_t i = 0;

	read_value(line, " host=", host);
	read_value(line, " state=", state);
	read_value(line, " reason=", reason);
	snprintf(told, sizeof(told), "%.40s %.50s", state,
		strcmp(state, "refused") == 0 ? reason : "");
	while (i < ACCOUNT_NAMES - 1 && year->told[i][0][0] && strcmp(year->told[i][0], host) != 0)
		i++;
	/* A target that had left its SRV name is a new one when it returns. */
	if (host[0] != 's' && strcmp(year->told[i][0], host) == 0 &&
		strcmp(year->told[i][1], told) == 0)
		year_complain(year, "said twice: %s", line);
	strcpy(year->told[i][0], host);
	strcpy(year->told[i][1], told);
}

void year_check_log(struct year *year)
{
	for (size_t i = 0; i < year->machine.log_count; i++) {
		const char *line = year->machine.log[i].text;
		bool dead = strstr(line, "state=dead");

		if (strncmp(line, "event=state ", 12) == 0)
			check_state_line(year, line);
		if (strncmp(line, "event=dns ", 10) != 0)
			continue;
		if (dead == year->told_dead)
			year_complain(year, "said twice: %s", line);
		year->told_dead = dead;
	}
}

void year_check(struct year *year)
{
	year_sync_clock(year);
	account_pass(&year->account);
	year_forget_targets(&year->account);
	if (!year->machine.engine)
		return;
	year_check_loss(year);
	year_permits(&year->config, &year->account, &year->now);
	if (year->machine.spins)
		year_complain(year, "the engine wants to be called without a pause");
	if (!year->kernel_sick && year->simulated_ms > year->kernel_sick_until) {
		check_table(year);
		year->steps_checked++;
	}
	if (year->simulated_ms > year->dns_sick_until)
		check_questions(year);
	year->before = year->now;
	year->changes_before = year->account.changes;
	year->transactions_before = world()->kernel.transactions;
	/* What a kernel without memory did not take comes a minute later. */
	year->touched = year->kernel_sick || year->simulated_ms <= year->kernel_sick_until;
}

void year_check_loss(struct year *year)
{
	enum { MOST_MS = 15 * 60 * 1000 };
	int64_t unsaved = year->simulated_ms - year->unsaved_since;

	year_sync_clock(year);
	if (year->disk_sick || year->simulated_ms < year->disk_sick_until ||
		world()->disk.delay_ms > DISK_DELAY_MS || year->unsaved_since == INT64_MAX ||
		unsaved <= MOST_MS)
		return;
	year_complain(year, "a good answer of %lld s ago is not saved", (long long)unsaved / 1000);
}
