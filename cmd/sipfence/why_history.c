/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "why_history.h"
#include "client.h"
#include "history_file.h"
#include "words.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { ENTRIES_MOST = 20, FORMER_SHOWN = 5 };

static const char *kind_name(const struct history_entry *entry)
{
	return entry->kind == OWNER_EXTENSION ? "extension" : "peer";
}

static json_t *make_entry(const struct history_entry *entry)
{
	struct text id = {0}, host = {0};
	char prefix[PREFIX_TEXT_SIZE];
	json_t *object = NULL;

	text_escaped(&id, entry->id, strlen(entry->id));
	text_escaped(&host, entry->host, strlen(entry->host));
	prefix_print(&entry->prefix, prefix);
	if (!id.failed && !host.failed)
		object = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "kind",
			kind_name(entry), "id", text_string(&id), "host", text_string(&host),
			"prefix", prefix, "from", client_time(entry->from), "to",
			client_time(entry->to), "from_after", client_time(entry->from_after),
			"to_after", client_time(entry->to_after));
	text_free(&id);
	text_free(&host);
	return object;
}

/* The latest first; `kind` NULL: of any. */
static json_t *make_entries(
	const struct history *history, const struct history_filter *filter, const char *kind)
{
	json_t *list = json_array();

	for (size_t i = history_count(history); list && i > 0; i--) {
		const struct history_entry *entry = history_entry(history, i - 1);

		if (json_array_size(list) == ENTRIES_MOST)
			break;
		if (history_matches(entry, filter) &&
			(!kind || strcmp(kind, kind_name(entry)) == 0) &&
			json_array_append_new(list, make_entry(entry)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* As the config has it. */
static const char *name_of(const json_t *why)
{
	const json_t *host = json_array_get(answer_list(why, "hosts"), 0);

	return answer_string(host ? host : json_array_get(answer_list(why, "srv"), 0), "name");
}

bool why_add_history(const struct invocation *invocation, json_t *why)
{
	const char *what = answer_string(why, "what"), *kind = answer_string(why, "kind");
	struct history *history = NULL;
	struct error error = {0};
	char path[PATH_MAX];
	struct addr addr;
	const struct history_filter of_addr = {.addr = &addr, .until = INT64_MAX};
	const struct history_filter of_host = {.host = name_of(why), .until = INT64_MAX};
	const struct history_filter of_id = {.id = answer_string(why, "id"), .until = INT64_MAX};
	const struct history_filter *filter = addr_parse(what, strlen(what), &addr) ? &of_addr
					      : strcmp(kind, "host") == 0	    ? &of_host
										    : &of_id;
	json_t *list = json_null();

	if (snprintf(path, sizeof(path), "%s/history", invocation->state_dir) < (int)sizeof(path) &&
		history_file_load(path, &history, &error) >= 0)
		list = make_entries(history, filter, filter == &of_id ? kind : NULL);
	history_free(history);
	return json_object_set_new(why, "history", list) == 0;
}

static bool is_same(const json_t *entry, const json_t *owner)
{
	static const char *const keys[] = {"kind", "id", "host"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(answer_string(entry, keys[i]), answer_string(owner, keys[i])) != 0)
			return false;
	}
	return true;
}

static bool is_over(const json_t *entry)
{
	return !json_is_null(json_object_get(entry, "to"));
}

/* Nobody was recording when it began: it was between these two times, or at any time before. */
static bool began_before(const json_t *entry)
{
	return answer_time(entry, "from_after") != answer_time(entry, "from");
}

int64_t why_since_at(const json_t *why, const char *host, const char *prefix, bool *ret_by)
{
	const json_t *list = answer_list(why, "history");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);

		if (is_over(entry) || strcmp(answer_string(entry, "host"), host) != 0 ||
			strcmp(answer_string(entry, "prefix"), prefix) != 0)
			continue;
		*ret_by = began_before(entry);
		return answer_time(entry, "from");
	}
	return 0;
}

int64_t why_since(const json_t *why, const json_t *owner, bool *ret_by)
{
	const json_t *list = answer_list(why, "history");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);

		if (is_over(entry) || !is_same(entry, owner))
			continue;
		*ret_by = began_before(entry);
		return answer_time(entry, "from");
	}
	return 0;
}

/* "203.0.113.9 by home21.example from … to …" */
static void put_former(const json_t *entry, bool of_address, struct text *line)
{
	if (of_address) {
		words_owner(entry, line);
		text_printf(line, " had it by %s from ", answer_string(entry, "host"));
	} else {
		text_printf(line, "%s by %s, from ", answer_string(entry, "prefix"),
			answer_string(entry, "host"));
	}
	words_time(answer_time(entry, "from"), line);
	text_puts(line, began_before(entry) ? ", or before, to " : " to ");
	words_time(answer_time(entry, "to"), line);
}

void why_print_former(const json_t *why)
{
	const json_t *list = answer_list(why, "history");
	bool of_address = strcmp(answer_string(why, "kind"), "address") == 0;
	size_t shown = 0;
	struct text line = {0};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);

		if (!is_over(entry))
			continue;
		if (shown++ == FORMER_SHOWN) {
			printf("- and others before (sipfence history %s)\n",
				answer_string(why, "what"));
			break;
		}
		text_clear(&line);
		put_former(entry, of_address, &line);
		printf("- formerly: %s\n", text_string(&line));
	}
	text_free(&line);
}
