/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"
#include "scenario.h"
#include "event.h"
#include "history_file.h"
#include "record.h"
#include "sightings.h"

#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct range {
	int64_t least, most;
};

/* "3", "3..5", "3.."; with durations where `durations`. */
static bool parse_range(const char *text, bool durations, struct range *ret_range)
{
	const char *dots = strstr(text, "..");
	char first[64];
	struct range range;
	char *end;

	snprintf(first, sizeof(first), "%.*s", dots ? (int)(dots - text) : (int)strlen(text), text);
	if (durations) {
		if (!scenario_duration(first, &range.least))
			return false;
		range.most = dots ? INT64_MAX : range.least;
		if (dots && dots[2] && !scenario_duration(dots + 2, &range.most))
			return false;
		*ret_range = range;
		return true;
	}
	range.least = strtoll(first, &end, 10);
	if (end == first || *end)
		return false;
	range.most = dots ? INT64_MAX : range.least;
	if (dots && dots[2])
		range.most = strtoll(dots + 2, NULL, 10);
	*ret_range = range;
	return true;
}

static bool range_has(const struct range *range, int64_t number)
{
	return range->least <= number && number <= range->most;
}

/* words[index] is a range; `number` must be in it. */
static void expect_number(struct scenario *scenario, size_t index, const char *what, int64_t number)
{
	const char *word = scenario_word(scenario, index);
	struct range range;
	char wanted[128];

	if (!parse_range(word, false, &range)) {
		scenario_nonsense(scenario, "%s is no number and no range", word);
		return;
	}
	snprintf(wanted, sizeof(wanted), "%s %s", word, what);
	if (!range_has(&range, number))
		scenario_fail(scenario, wanted, "%lld", (long long)number);
}

/* The same with a time from now, in ms; INT64_MAX: never. */
static void expect_time(struct scenario *scenario, size_t index, const char *what, int64_t ms)
{
	const char *word = scenario_word(scenario, index);
	struct range range;
	char wanted[128];

	snprintf(wanted, sizeof(wanted), "%s in %s", what, word);
	if (strcmp(word, "never") == 0) {
		if (ms != INT64_MAX)
			scenario_fail(scenario, wanted, "in %.3f s", (double)ms / 1000);
		return;
	}
	if (!parse_range(word, true, &range))
		scenario_nonsense(scenario, "%s is no duration and no range", word);
	else if (ms == INT64_MAX)
		scenario_fail(scenario, wanted, "never");
	else if (!range_has(&range, ms))
		scenario_fail(scenario, wanted, "in %.3f s", (double)ms / 1000);
}

static uint64_t since(uint64_t *last, uint64_t now)
{
	uint64_t count = now - *last;

	*last = now;
	return count;
}

/* --- The table --- */

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted; free() each and all. */
static size_t list_set(const struct nf_set *set, char ***ret_list)
{
	struct prefix *prefixes;
	size_t count = nf_list(set, world()->boot_ms, &prefixes);
	char **list = need(calloc(count + 1, sizeof(*list)));

	for (size_t i = 0; i < count; i++) {
		list[i] = need(malloc(PREFIX_TEXT_SIZE));
		prefix_print(&prefixes[i], list[i]);
	}
	free(prefixes);
	qsort(list, count, sizeof(*list), compare_texts);
	*ret_list = list;
	return count;
}

static char *join(char **list, size_t count)
{
	struct text text = {0};

	for (size_t i = 0; i < count; i++)
		text_printf(&text, "%s%s", i ? " " : "", list[i]);
	if (count == 0)
		text_puts(&text, "empty");
	return need(text.data);
}

/* expect set NAME (ADDRESS…|empty) */
static void expect_set(struct scenario *scenario)
{
	const char *name = scenario_word(scenario, 2);
	const struct nf_set *set = scenario_set(name);
	bool empty = strcmp(scenario_word(scenario, 3), "empty") == 0;
	size_t wanted_count = empty ? 0 : scenario->words.count - 3, count;
	char **list, *wanted, *is;

	if (scenario->words.count < 4) {
		scenario_nonsense(scenario, "which elements, or empty?");
		return;
	}
	qsort(scenario->words.list + 3, wanted_count, sizeof(char *), compare_texts);
	wanted = join(scenario->words.list + 3, wanted_count);
	if (!set) {
		scenario_fail(scenario, wanted, "not there: no set %s", name);
		free(wanted);
		return;
	}
	count = list_set(set, &list);
	is = join(list, count);
	if (strcmp(wanted, is) != 0)
		scenario_fail(scenario, wanted, "%s", is);
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
	free(is);
	free(wanted);
}

static const struct nf_element *find_element(struct scenario *scenario)
{
	const struct nf_set *set = scenario_set(scenario_word(scenario, 2));
	const char *text = scenario_word(scenario, 3);
	char address[PREFIX_TEXT_SIZE];
	const struct nf_element *element = NULL;
	struct addr addr;

	snprintf(address, sizeof(address), "%.*s", (int)strcspn(text, "/"), text);
	if (set && scenario_addr(address, &addr))
		element = nf_find_element(set, addr.bytes, false, world()->boot_ms);
	if (!element)
		scenario_fail(scenario, text, "not in %s", scenario_word(scenario, 2));
	return element;
}

/* expect comment SET ADDRESS TEXT */
static void expect_comment(struct scenario *scenario)
{
	const struct nf_element *element = find_element(scenario);
	const char *wanted = scenario_word(scenario, 4), *comment = "";

	if (!element)
		return;
	if (element->userdata_size > 2)
		comment = (const char *)element->userdata + 2;
	if (strcmp(wanted, comment) != 0)
		scenario_fail(scenario, wanted, "%s", comment);
}

/* expect counter SET ADDRESS PACKETS */
static void expect_counter(struct scenario *scenario)
{
	const struct nf_element *element = find_element(scenario);

	if (element)
		expect_number(scenario, 4, "packets", (int64_t)element->packets);
}

/* expect pass|drop ADDRESS [udp|tcp PORT] [reply] */
static void expect_packet(struct scenario *scenario, bool passes)
{
	const char *from = scenario_word(scenario, 2);
	struct nf_packet packet = {.reply = false};
	size_t used = scenario_port(scenario, 3, &packet);

	packet.reply = strcmp(scenario_word(scenario, 3 + used), "reply") == 0;
	if (!scenario_addr(from, &packet.source))
		scenario_nonsense(scenario, "a packet from where?");
	else if (nf_accepts(&world()->kernel.rules, &packet, world()->boot_ms) != passes)
		scenario_fail(scenario, passes ? "it to pass" : "it to be dropped", "%s",
			passes ? "dropped" : "let in");
}

static void expect_pass(struct scenario *scenario)
{
	expect_packet(scenario, true);
}

static void expect_drop(struct scenario *scenario)
{
	expect_packet(scenario, false);
}

static struct nf_table *the_table(const struct scenario *scenario)
{
	const char *name = scenario_word(scenario, 2);

	return nf_find_table(&world()->kernel.rules, *name ? name : "sipfence");
}

static void expect_table(struct scenario *scenario)
{
	if (!the_table(scenario))
		scenario_fail(scenario, "a table", "not there");
}

static void expect_no_table(struct scenario *scenario)
{
	if (the_table(scenario))
		scenario_fail(scenario, "no table", "there");
}

static void expect_owned(struct scenario *scenario)
{
	if (!model_kernel_is_owned("sipfence"))
		scenario_fail(scenario, "the table to be owned by the daemon", "a plain one");
}

static void expect_not_owned(struct scenario *scenario)
{
	if (model_kernel_is_owned("sipfence"))
		scenario_fail(scenario, "a plain table", "owned");
}

/* --- What was sent --- */

/* All that the kernel was sent, or asked, so far. */
static uint64_t messages(void)
{
	const struct model_kernel *kernel = &world()->kernel;

	return kernel->transactions + kernel->refusals + kernel->reads + kernel->element_reads;
}

static void expect_batch(struct scenario *scenario)
{
	expect_number(scenario, 2, "transactions",
		(int64_t)since(&scenario->transactions, world()->kernel.transactions));
	scenario->messages = messages();
}

static void expect_no_batch(struct scenario *scenario)
{
	uint64_t sent = since(&scenario->messages, messages());

	scenario->transactions = world()->kernel.transactions;
	if (sent)
		scenario_fail(scenario, "no message to the kernel", "%llu of them",
			(unsigned long long)sent);
}

static void expect_refused(struct scenario *scenario)
{
	expect_number(scenario, 2, "refused transactions",
		(int64_t)since(&scenario->refusals, world()->kernel.refusals));
}

static void expect_reads(struct scenario *scenario)
{
	expect_number(scenario, 2, "times that the table was read",
		(int64_t)since(&scenario->reads, world()->kernel.reads));
}

static void expect_saves(struct scenario *scenario)
{
	expect_number(scenario, 2, "saves", (int64_t)since(&scenario->saves, world()->disk.saves));
}

static void expect_wakeups(struct scenario *scenario)
{
	expect_number(scenario, 2, "wake-ups",
		(int64_t)since(&scenario->wakeups, scenario->machine.wakeups));
}

/* expect asked NAME [A|AAAA|SRV] RANGE: since the last such line */
static void expect_asked(struct scenario *scenario)
{
	static const struct {
		const char *word;
		enum dns_type type;
	} types[] = {{"A", DNS_A}, {"AAAA", DNS_AAAA}, {"SRV", DNS_SRV}};
	const char *name = scenario_word(scenario, 2), *word = scenario_word(scenario, 3);
	size_t range = 3;
	uint64_t asked = 0;
	bool known = false;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct dns_script *script = fake_dns_find(name, types[i].type);

		if (strcmp(word, types[i].word) == 0)
			range = 4;
		else if (word[0] == 'A' || word[0] == 'S')
			continue;
		if (!script)
			continue;
		known = true;
		asked += script->asked;
		script->asked = 0;
	}
	if (!known)
		scenario_nonsense(scenario, "DNS has no such script: the questions aren't counted");
	else
		expect_number(scenario, range, "questions", (int64_t)asked);
}

static void expect_busiest_second(struct scenario *scenario)
{
	struct fake_dns *dns = &world()->dns;

	expect_number(scenario, 2, "questions in one second", (int64_t)dns->busiest);
	dns->busiest = dns->in_second = 0;
}

/* --- What was said --- */

static bool line_has(const struct words *line, const char *word)
{
	size_t length = strlen(word);

	for (size_t i = 0; i < line->count; i++) {
		/* "key=*": any value */
		if (length > 2 && strcmp(word + length - 2, "=*") == 0 &&
			strncmp(line->list[i], word, length - 1) == 0)
			return true;
		if (strcmp(line->list[i], word) == 0)
			return true;
	}
	return false;
}

static bool line_matches(const struct scenario *scenario, const char *text, size_t first)
{
	struct words line;
	bool matches = true;

	words_split(text, strlen(text), &line);
	for (size_t i = first; i < scenario->words.count; i++)
		matches &= line_has(&line, scenario->words.list[i]);
	words_free(&line);
	return matches;
}

/* The first line that matches and was not spoken of yet. */
static struct log_line *find_line(struct scenario *scenario, size_t first)
{
	for (size_t i = 0; i < scenario->machine.log_count; i++) {
		struct log_line *line = &scenario->machine.log[i];

		if (!line->taken && line_matches(scenario, line->text, first))
			return line;
	}
	return NULL;
}

/* expect log KEY=VALUE…: takes the line, so that it is not found again */
static void expect_log(struct scenario *scenario)
{
	struct log_line *line = find_line(scenario, 2);

	if (line)
		line->taken = true;
	else
		scenario_fail(scenario, "such a line in the log", "not there");
}

static void expect_no_log(struct scenario *scenario)
{
	struct log_line *line = find_line(scenario, 2);

	if (line)
		scenario_fail(scenario, "no such line in the log", "there: %s", line->text);
}

/* expect error [WORD…]: the last command was refused, and its text has these words */
static void expect_error(struct scenario *scenario)
{
	if (!scenario->error.code)
		scenario_fail(scenario, "it to be refused", "done");
	for (size_t i = 2; i < scenario->words.count && scenario->error.code; i++) {
		if (!strstr(scenario->error.what, scenario->words.list[i]))
			scenario_fail(
				scenario, scenario->words.list[i], "%s", scenario->error.what);
	}
	scenario->error = (struct error){0};
}

/* --- The engine's own word --- */

static int64_t from_now(int64_t ms)
{
	return ms == INT64_MAX ? INT64_MAX : ms - world()->boot_ms;
}

static void expect_due(struct scenario *scenario)
{
	struct moment now = machine_now(&scenario->machine);

	expect_time(scenario, 2, "something to do",
		from_now(engine_due(scenario->machine.engine, &now)));
}

/* expect last-packet ADDRESS PACKETS RANGE: seconds ago, by the daemon's last look */
static void expect_last_packet(struct scenario *scenario)
{
	const struct engine *engine = scenario->machine.engine;
	struct prefix prefix;
	uint64_t packets;
	int64_t moved;

	if (prefix_parse(scenario_word(scenario, 2), strlen(scenario_word(scenario, 2)), &prefix) !=
		PREFIX_OK) {
		scenario_nonsense(scenario, "whose packets?");
		return;
	}
	if (!sightings_find(engine_sightings(engine), &prefix, &packets, &moved)) {
		scenario_fail(scenario, scenario_word(scenario, 2), "not counted");
		return;
	}
	expect_number(scenario, 3, "packets", (int64_t)packets);
	expect_number(scenario, 4, "seconds ago", moved ? engine_clock(engine)->now - moved : -1);
}

/* expect next NAME A|AAAA RANGE */
static void expect_next(struct scenario *scenario)
{
	const struct roster *roster = engine_roster(scenario->machine.engine);
	const char *name = scenario_word(scenario, 2);
	enum family family =
		strcmp(scenario_word(scenario, 3), "A") == 0 ? FAMILY_IPV4 : FAMILY_IPV6;

	for (size_t i = 0; i < roster->host_count; i++) {
		if (strcmp(roster->hosts[i].name, name) != 0)
			continue;
		expect_time(scenario, 4, "the next question",
			from_now(engine_next_question(scenario->machine.engine, i, family)));
		return;
	}
	scenario_fail(scenario, name, "not known to the engine");
}

/* expect refreshed|not-refreshed [N]: of the last `refresh`, or the Nth before it */
static uint64_t ticket_of(const struct scenario *scenario)
{
	return scenario->ticket - strtoul(scenario_word(scenario, 2), NULL, 10);
}

static void expect_refreshed(struct scenario *scenario)
{
	if (!engine_refreshed(scenario->machine.engine, ticket_of(scenario)))
		scenario_fail(scenario, "all names to have an outcome", "not so yet");
}

static void expect_not_refreshed(struct scenario *scenario)
{
	if (engine_refreshed(scenario->machine.engine, ticket_of(scenario)))
		scenario_fail(scenario, "names to be without an outcome", "not so");
}

/* expect status KEY=yes|no… */
static void expect_status(struct scenario *scenario)
{
	struct engine_summary summary = engine_summary(scenario->machine.engine);
	const struct {
		const char *key;
		bool value;
	} facts[] = {
		{"outage", summary.outage},
		{"owned", summary.owned},
		{"table-right", summary.table_right},
	};

	for (size_t i = 2; i < scenario->words.count; i++) {
		const char *word = scenario->words.list[i];
		bool known = false;

		for (size_t j = 0; j < sizeof(facts) / sizeof(facts[0]); j++) {
			size_t length = strlen(facts[j].key);
			const char *is = facts[j].value ? "yes" : "no";

			if (strncmp(word, facts[j].key, length) != 0 || word[length] != '=')
				continue;
			known = true;
			if (strcmp(word + length + 1, is) != 0)
				scenario_fail(scenario, word, "%s", is);
		}
		if (!known)
			scenario_nonsense(scenario, "the status has no %s", word);
	}
}

static void expect_state_file(struct scenario *scenario)
{
	const char *which = scenario_word(scenario, 2);
	char path[256];

	snprintf(path, sizeof(path), "%s%s%s", state_path, *which ? "." : "", which);
	if (!fake_disk_find(path))
		scenario_fail(scenario, path, "not there");
}

/* --- The history --- */

/* The line is a time and then these words. */
static bool begins_with(const struct scenario *scenario, const char *line, size_t first)
{
	struct words words;
	bool same;

	words_split(line, strcspn(line, "\n"), &words);
	same = words.count > scenario->words.count - first;
	for (size_t i = first; same && i < scenario->words.count; i++)
		same = strcmp(words.list[1 + i - first], scenario->words.list[i]) == 0;
	words_free(&words);
	return same;
}

/* expect history RANGE WORD… */
static void expect_history(struct scenario *scenario)
{
	char *path = need(record_path(state_path));
	struct fake_file *file = fake_disk_find(path);
	int64_t count = 0;

	for (const char *at = file ? text_string(&file->data) : ""; *at;) {
		count += begins_with(scenario, at, 3);
		at += strcspn(at, "\n");
		at += *at == '\n';
	}
	free(path);
	expect_number(scenario, 2, "such lines in the history", count);
}

/* expect had|had-not|unknown EXTENSION ADDRESS AGO */
static void expect_verdict(struct scenario *scenario)
{
	static const char *const names[] = {[HISTORY_UNKNOWN] = "unknown",
		[HISTORY_HAD] = "had",
		[HISTORY_HAD_NOT] = "had-not"};
	char *path = need(record_path(state_path));
	struct history *history = NULL;
	enum history_verdict verdict;
	struct addr addr;
	int64_t ago;

	if (!scenario_addr(scenario_word(scenario, 3), &addr) ||
		!scenario_duration(scenario_word(scenario, 4), &ago) ||
		history_file_load(path, &history, NULL) < 0) {
		scenario_nonsense(scenario, "whose address, when?");
		free(path);
		return;
	}
	verdict = history_at(history, OWNER_EXTENSION, scenario_word(scenario, 2), &addr,
		machine_now(&scenario->machine).wall - ago / 1000);
	if (strcmp(names[verdict], scenario_word(scenario, 1)) != 0)
		scenario_fail(scenario, scenario_word(scenario, 1), "%s", names[verdict]);
	history_free(history);
	free(path);
}

static const struct {
	const char *word;
	bool of_engine; /* it must run */
	void (*check)(struct scenario *scenario);
} expectations[] = {
	{"asked", false, expect_asked},
	{"batch", false, expect_batch},
	{"busiest-second", false, expect_busiest_second},
	{"comment", false, expect_comment},
	{"counter", false, expect_counter},
	{"drop", false, expect_drop},
	{"due", true, expect_due},
	{"error", false, expect_error},
	{"had", false, expect_verdict},
	{"had-not", false, expect_verdict},
	{"history", false, expect_history},
	{"last-packet", true, expect_last_packet},
	{"log", false, expect_log},
	{"next", true, expect_next},
	{"no-batch", false, expect_no_batch},
	{"no-log", false, expect_no_log},
	{"no-table", false, expect_no_table},
	{"not-owned", false, expect_not_owned},
	{"not-refreshed", true, expect_not_refreshed},
	{"owned", false, expect_owned},
	{"pass", false, expect_pass},
	{"reads", false, expect_reads},
	{"refreshed", true, expect_refreshed},
	{"refused", false, expect_refused},
	{"saves", false, expect_saves},
	{"set", false, expect_set},
	{"state-file", false, expect_state_file},
	{"status", true, expect_status},
	{"table", false, expect_table},
	{"unknown", false, expect_verdict},
	{"wakeups", false, expect_wakeups},
};

void scenario_expect(struct scenario *scenario)
{
	const char *word = scenario_word(scenario, 1);

	for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
		if (strcmp(word, expectations[i].word) != 0)
			continue;
		if (expectations[i].of_engine && !scenario->machine.engine)
			scenario_nonsense(scenario, "the daemon doesn't run here");
		else
			expectations[i].check(scenario);
		return;
	}
	scenario_nonsense(scenario, "expect what? %s", word);
}
