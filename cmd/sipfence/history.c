/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"
#include "config_load.h"
#include "fqdn.h"
#include "history_file.h"
#include "when.h"
#include "words.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum column { COLUMN_WHO, COLUMN_HOST, COLUMN_ADDRESS, COLUMN_FROM, COLUMNS };

enum { NONE = OWNER_KIND_COUNT, TIME_SIZE = 40 };

static const char *const kinds[OWNER_KIND_COUNT] = {"extension", "peer"};
static const char *const titles[] = {"WHO", "HOST", "ADDRESS", "FROM", "TO"};

/* One argument: an address, or an id (of one kind, if that is said), or a host. */
struct wanted {
	struct addr addr;
	bool is_addr;
	int kind; /* NONE: any */
	const char *id;
	char host[FQDN_SIZE]; /* "": can't be one */
};

struct search {
	const struct invocation *invocation;
	struct wanted *wanted;
	struct history_filter filter; /* the times */
	struct history *history;
	size_t found;
};

static struct wanted parse_wanted(const char *what)
{
	struct wanted wanted = {.kind = NONE, .id = what};
	size_t at;

	wanted.is_addr = addr_parse(what, strlen(what), &wanted.addr);
	if (wanted.is_addr)
		return wanted;
	for (int kind = 0; kind < OWNER_KIND_COUNT; kind++) {
		size_t length = strlen(kinds[kind]);

		if (strncmp(what, kinds[kind], length) != 0 || what[length] != ':')
			continue;
		wanted.kind = kind;
		wanted.id = what + length + 1;
		return wanted;
	}
	if (fqdn_parse(what, strlen(what), wanted.host, &at) != FQDN_OK)
		wanted.host[0] = '\0';
	return wanted;
}

/* An address has no id. */
static bool has_id(const struct wanted *wanted, const char *id)
{
	return wanted->id && strcmp(wanted->id, id) == 0;
}

static bool is_wanted(const struct wanted *wanted, const struct history_entry *entry)
{
	if (wanted->is_addr)
		return prefix_contains(&entry->prefix, &wanted->addr);
	if (wanted->kind != NONE && wanted->kind != (int)entry->kind)
		return false;
	return has_id(wanted, entry->id) ||
	       (wanted->host[0] && strcmp(wanted->host, entry->host) == 0);
}

static bool is_shown(const struct search *search, const struct history_entry *entry)
{
	size_t count = search->invocation->argument_count;

	if (!history_matches(entry, &search->filter))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (is_wanted(&search->wanted[i], entry))
			return true;
	}
	return count == 0;
}

/* --- for people --- */

static void put_time(int64_t when, int64_t after, struct text *text)
{
	char buffer[TIME_SIZE];
	time_t seconds = (time_t)when;
	struct tm parts;

	if (when == INT64_MAX) {
		text_puts(text, "still");
		return;
	}
	if (!localtime_r(&seconds, &parts) ||
		strftime(buffer, sizeof(buffer), "%Y-%m-%d %H:%M:%S", &parts) == 0)
		snprintf(buffer, sizeof(buffer), "an unknown time");
	text_printf(text, "%s%s", after < when ? "by " : "", buffer);
}

static void put_cells(const struct history_entry *entry, struct text cells[])
{
	char prefix[PREFIX_TEXT_SIZE];

	for (int column = 0; column <= COLUMNS; column++)
		text_clear(&cells[column]);
	text_printf(&cells[COLUMN_WHO], "%s ", kinds[entry->kind]);
	text_escaped(&cells[COLUMN_WHO], entry->id, strlen(entry->id));
	text_escaped(&cells[COLUMN_HOST], entry->host, strlen(entry->host));
	prefix_print(&entry->prefix, prefix);
	text_puts(&cells[COLUMN_ADDRESS], prefix);
	put_time(entry->from, entry->from_after, &cells[COLUMN_FROM]);
	put_time(entry->to, entry->to_after, &cells[COLUMNS]);
}

static void print_table(struct search *search)
{
	struct text cells[COLUMNS + 1] = {0};
	size_t widths[COLUMNS];
	bool titled = false;

	for (int column = 0; column < COLUMNS; column++)
		widths[column] = strlen(titles[column]);
	for (size_t i = 0; i < history_count(search->history); i++) {
		if (!is_shown(search, history_entry(search->history, i)))
			continue;
		put_cells(history_entry(search->history, i), cells);
		for (int column = 0; column < COLUMNS; column++) {
			if (cells[column].length > widths[column])
				widths[column] = cells[column].length;
		}
	}
	for (size_t i = 0; i < history_count(search->history); i++) {
		if (!is_shown(search, history_entry(search->history, i)))
			continue;
		for (int column = 0; !titled && column < COLUMNS; column++)
			printf("%-*s  ", (int)widths[column], titles[column]);
		if (!titled)
			printf("%s\n", titles[COLUMNS]);
		titled = true;
		put_cells(history_entry(search->history, i), cells);
		for (int column = 0; column < COLUMNS; column++)
			printf("%-*s  ", (int)widths[column], text_string(&cells[column]));
		printf("%s\n", text_string(&cells[COLUMNS]));
		search->found++;
	}
	for (int column = 0; column <= COLUMNS; column++)
		text_free(&cells[column]);
}

static void say_coverage(const struct search *search)
{
	int64_t begins = history_begins(search->history);
	struct text since = {0};

	if (begins == INT64_MAX) {
		say_note(search->invocation,
			"nothing was recorded yet in %s; `sync` and `run` do it",
			search->invocation->state_dir);
		return;
	}
	words_time(begins, &since);
	say_note(search->invocation, "%srecorded since %s; times are local ones",
		search->found == 0 ? "nothing of that is known; " : "", text_string(&since));
	text_free(&since);
}

/* --- for scripts --- */

static json_t *entry_object(const struct history_entry *entry)
{
	char prefix[PREFIX_TEXT_SIZE];
	struct text id = {0}, host = {0};
	json_t *object;

	prefix_print(&entry->prefix, prefix);
	text_escaped(&id, entry->id, strlen(entry->id));
	text_escaped(&host, entry->host, strlen(entry->host));
	object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "kind",
		kinds[entry->kind], "id", text_string(&id), "host", text_string(&host), "type",
		entry->prefix.addr.family == FAMILY_IPV4 ? "A" : "AAAA", "prefix", prefix, "from",
		client_time(entry->from), "to", client_time(entry->to), "from_after",
		client_time(entry->from_after), "to_after", client_time(entry->to_after));
	text_free(&id);
	text_free(&host);
	return object;
}

static int print_json(const struct search *search)
{
	json_t *document = client_document(search->invocation, "done", EXIT_DONE);
	json_t *entries = json_array();
	bool failed = !document || !entries;

	for (size_t i = 0; i < history_count(search->history); i++) {
		const struct history_entry *entry = history_entry(search->history, i);

		if (is_shown(search, entry))
			failed |= json_array_append_new(entries, entry_object(entry)) < 0;
	}
	failed |= json_object_set_new(document, "recorded_since",
			  client_time(history_begins(search->history))) < 0;
	failed |= json_object_set_new(document, "entries", entries) < 0;
	if (failed) {
		struct error error = {0};

		json_decref(document);
		error_no_memory(&error);
		say_problem(search->invocation, &error);
		return EXIT_REFUSED;
	}
	return client_print(search->invocation, document) ? EXIT_DONE : EXIT_REFUSED;
}

/* --- what there is nowhere --- */

static bool is_of_config(const struct config *config, const struct wanted *wanted)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		const struct owner *owner = &config->owners[i];

		if ((wanted->kind == NONE || wanted->kind == (int)owner->kind) &&
			has_id(wanted, owner->id))
			return true;
		for (size_t j = 0; j < owner->name_count && wanted->host[0]; j++) {
			if (strcmp(owner->names[j], wanted->host) == 0)
				return true;
		}
		for (size_t j = 0; j < owner->srv_count && wanted->host[0]; j++) {
			if (strcmp(owner->srv[j], wanted->host) == 0)
				return true;
		}
	}
	return false;
}

static bool is_of_history(const struct history *history, const struct wanted *wanted)
{
	for (size_t i = 0; i < history_count(history); i++) {
		if (is_wanted(wanted, history_entry(history, i)))
			return true;
	}
	return false;
}

/* One that was never written anywhere is a slip of the hand. An address may be anybody's. */
static const char *find_unheard_of(const struct search *search, const struct config *config)
{
	for (size_t i = 0; i < search->invocation->argument_count; i++) {
		const struct wanted *wanted = &search->wanted[i];

		if (!wanted->is_addr && !is_of_config(config, wanted) &&
			!is_of_history(search->history, wanted))
			return search->invocation->arguments[i];
	}
	return NULL;
}

/* Without a config that can be read, nobody knows. */
static int refuse_unheard_of(const struct search *search)
{
	struct text archive = {0}, messages = {0}, shown = {0};
	const char *unheard_of = NULL;
	struct config *config = NULL;

	if (search->invocation->argument_count > 0 &&
		config_load(search->invocation->config_path, &config, &archive, &messages) >= 0)
		unheard_of = find_unheard_of(search, config);
	if (unheard_of) {
		text_escaped(&shown, unheard_of, strlen(unheard_of));
		say_usage(search->invocation,
			"%s is neither in the config nor in the history; sipfence status lists the "
			"extensions, peers and hosts",
			text_string(&shown));
	}
	text_free(&shown);
	text_free(&archive);
	text_free(&messages);
	config_free(config);
	return unheard_of ? EXIT_USAGE : EXIT_DONE;
}

/* --- the command --- */

static bool parse_time(
	const struct invocation *invocation, const char *option, const char *text, int64_t *when)
{
	if (!text || when_parse(text, time(NULL), when))
		return true;
	say_usage(invocation,
		"%s takes a time, as in 2026-11-22, \"2026-11-22 10:55\", 10:55, yesterday or 2h "
		"(ago), not `%s`",
		option, text);
	return false;
}

static int load(struct search *search)
{
	const struct invocation *invocation = search->invocation;
	struct error error = {0};
	char path[PATH_MAX];
	int result = 0;

	if (snprintf(path, sizeof(path), "%s/history", invocation->state_dir) >= (int)sizeof(path))
		result = error_set(&error, -ENAMETOOLONG, "", "--state-dir is too long");
	if (result == 0)
		result = history_file_load(path, &search->history, &error);
	if (result >= 0)
		return EXIT_DONE;
	if (!error.next[0] && (result == -EACCES || result == -EPERM))
		snprintf(error.next, sizeof(error.next), "run it as root, or as the daemon's user");
	say_error(invocation, &error);
	return EXIT_REFUSED;
}

int command_history(const struct invocation *invocation)
{
	struct search search = {
		.invocation = invocation, .filter = {.since = INT64_MIN, .until = INT64_MAX}};
	int code = EXIT_USAGE;

	if (!parse_time(invocation, "--since", invocation->since, &search.filter.since) ||
		!parse_time(invocation, "--until", invocation->until, &search.filter.until))
		return code;
	code = load(&search);
	if (code != EXIT_DONE)
		return code;
	search.wanted = calloc(invocation->argument_count + 1, sizeof(*search.wanted));
	for (size_t i = 0; search.wanted && i < invocation->argument_count; i++)
		search.wanted[i] = parse_wanted(invocation->arguments[i]);
	if (!search.wanted) {
		struct error error = {0};

		error_no_memory(&error);
		say_error(invocation, &error);
		code = EXIT_REFUSED;
	} else if (refuse_unheard_of(&search) != EXIT_DONE) {
		code = EXIT_USAGE;
	} else if (invocation->json) {
		code = print_json(&search);
	} else {
		print_table(&search);
		say_coverage(&search);
	}
	free(search.wanted);
	history_free(search.history);
	return code;
}
