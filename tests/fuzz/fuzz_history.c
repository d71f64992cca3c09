/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * History files. What a line says is printed and parsed again; the whole is read, asked, and gone
 * on with. A line "%%% NAME" begins another, younger file.
 */
#include "fuzz.h"

#include "history.h"

enum { NOW = 1700000000, QUESTIONS_MAX = 40 };

static char buffer[HISTORY_LINE_MAX], buffer_again[HISTORY_LINE_MAX];

static bool has_owner(const struct history_line *line)
{
	return line->word == HISTORY_HAS || line->word == HISTORY_GAINED ||
	       line->word == HISTORY_LOST;
}

static void take_line(const char *data, size_t length)
{
	struct history_line line = {0}, again = {0};
	char *copy = fuzz_copy(data, length);
	struct text text = {0};

	if (history_parse_line(copy, length, buffer, &line)) {
		FUZZ_CHECK((int)line.word < HISTORY_WORD_COUNT);
		history_print_line(&line, &text);
		FUZZ_CHECK(!text.failed && text.length > 0 && text.data[text.length - 1] == '\n');
		FUZZ_CHECK(fuzz_is_printable(text.data, text.length - 1, ""));
		FUZZ_CHECK(history_parse_line(text.data, text.length - 1, buffer_again, &again));
		FUZZ_CHECK(line.word == again.word && line.when == again.when);
		FUZZ_CHECK(line.other == again.other && line.on == again.on);
		FUZZ_CHECK(line.size == again.size && line.seed == again.seed);
		FUZZ_CHECK(line.digest[0] == again.digest[0] && line.digest[1] == again.digest[1]);
		if (has_owner(&line)) {
			FUZZ_CHECK(line.kind < OWNER_KIND_COUNT && line.kind == again.kind);
			FUZZ_CHECK(strcmp(line.id, again.id) == 0);
			FUZZ_CHECK(strcmp(line.host, again.host) == 0);
			FUZZ_CHECK(fuzz_prefix_is_good(&line.prefix));
			FUZZ_CHECK(prefix_compare(&line.prefix, &again.prefix) == 0);
			text_clear(&text);
			history_print_had(&line, &text);
			FUZZ_CHECK(history_parse_had(
				text.data, text.length - 1, buffer_again, &again));
			FUZZ_CHECK(strcmp(line.id, again.id) == 0);
		}
	}
	text_free(&text);
	free(copy);
}

static void take_lines(const char *data, size_t size)
{
	while (size > 0) {
		const char *feed = memchr(data, '\n', size);
		size_t length = feed ? (size_t)(feed - data) : size;

		take_line(data, length);
		if (!feed)
			return;
		data += length + 1;
		size -= length + 1;
	}
}

static void check_entries(const struct history *history)
{
	size_t count = history_count(history);

	for (size_t i = 0; i < count; i++) {
		const struct history_entry *entry = history_entry(history, i);
		struct history_filter filter = {.id = entry->id,
			.host = entry->host,
			.addr = &entry->prefix.addr,
			.since = entry->from,
			.until = INT64_MAX};
		enum history_verdict verdict;

		FUZZ_CHECK(entry->kind < OWNER_KIND_COUNT && entry->id && entry->host);
		FUZZ_CHECK(fuzz_prefix_is_good(&entry->prefix));
		FUZZ_CHECK(entry->from_after <= entry->from && entry->to_after <= entry->to);
		FUZZ_CHECK(i == 0 || history_entry(history, i - 1)->from <= entry->from);
		/* Where the clock went back, it ends before it begins. */
		FUZZ_CHECK(history_matches(entry, &filter) || entry->from > entry->to);
		if (i >= QUESTIONS_MAX)
			continue;
		verdict = history_at(
			history, entry->kind, entry->id, &entry->prefix.addr, entry->from);
		FUZZ_CHECK(verdict <= HISTORY_HAD_NOT);
	}
	history_begins(history);
}

/* The end of a line that was cut is no line. */
static void check_lines(const struct text *text, bool of_cut)
{
	const char *at = text_string(text), *feed = of_cut ? strchr(at, '\n') : NULL;
	struct history_line line;

	FUZZ_CHECK(!of_cut || feed);
	at = of_cut ? feed + 1 : at;
	for (; (feed = strchr(at, '\n')); at = feed + 1)
		FUZZ_CHECK(history_parse_line(at, (size_t)(feed - at), buffer, &line));
	FUZZ_CHECK(*at == '\0');
}

/* What goes on behind the file is read as the file is: all lines are whole and of the format. */
static void check_reconciled(const char *data, size_t size)
{
	static const char listing[] = "extension 21 home21.dyndns.example A 203.0.113.7\n";
	struct text text = {0}, head = {0}, again = {0};

	FUZZ_CHECK(history_reconcile(
			   data, size, HISTORY_RUN, NOW, listing, strlen(listing), &text) == 0);
	FUZZ_CHECK(history_head(data, size, NOW, &head) == 0);
	FUZZ_CHECK(!text.failed && !head.failed);
	check_lines(&text, size > 0 && data[size - 1] != '\n');
	check_lines(&head, false);
	/* Once more, nothing is left to say but that a run begins. */
	text_write(&again, data, size);
	text_write(&again, text_string(&text), text.length);
	text_clear(&head);
	FUZZ_CHECK(history_reconcile(text_string(&again), again.length, HISTORY_RUN, NOW, listing,
			   strlen(listing), &head) == 0);
	FUZZ_CHECK(
		!strstr(text_string(&head), " gained ") && !strstr(text_string(&head), " lost "));
	text_free(&text);
	text_free(&head);
	text_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_files files = fuzz_split((const char *)data, size);
	struct history *history = NULL;

	FUZZ_CHECK(history_new(&history) == 0);
	for (size_t i = 0; i < files.count; i++) {
		char *copy = fuzz_copy(files.list[i].data, files.list[i].length);

		take_lines(copy, files.list[i].length);
		FUZZ_CHECK(history_read(history, copy, files.list[i].length) == 0);
		check_reconciled(copy, files.list[i].length);
		free(copy);
	}
	FUZZ_CHECK(history_finish(history) == 0);
	check_entries(history);
	history_free(history);
	return 0;
}
