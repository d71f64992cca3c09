/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "words.h"
#include "client.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

static const char *const types[] = {"A", "AAAA", "SRV"};

enum { TYPES = sizeof(types) / sizeof(types[0]) };

void words_duration(int64_t seconds, struct text *text)
{
	enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };

	if (seconds < 0)
		seconds = 0;
	if (seconds < 2 * MINUTE)
		text_printf(text, "%" PRId64 " s", seconds);
	else if (seconds < 2 * HOUR)
		text_printf(text, "%" PRId64 " min", seconds / MINUTE);
	else if (seconds < 2 * DAY)
		text_printf(text, "%" PRId64 " h", seconds / HOUR);
	else
		text_printf(text, "%" PRId64 " d", seconds / DAY);
}

void words_time(int64_t wall, struct text *text)
{
	time_t seconds = (time_t)wall;
	char buffer[64];
	struct tm parts;

	if (wall == 0 || !localtime_r(&seconds, &parts) ||
		strftime(buffer, sizeof(buffer), "%Y-%m-%d %H:%M:%S %Z", &parts) == 0)
		text_puts(text, "an unknown time");
	else
		text_puts(text, buffer);
}

void words_owner(const json_t *owner, struct text *text)
{
	const char *kind = answer_string(owner, "kind"), *id = answer_string(owner, "id");

	if (strcmp(kind, "local-subnets") == 0)
		text_puts(text, "local subnets");
	else
		text_printf(text, "%s %s", kind, id);
}

void words_owners(const json_t *name, struct text *text)
{
	const json_t *owners = answer_list(name, "owners");

	for (size_t i = 0; i < json_array_size(owners); i++) {
		if (i > 0)
			text_puts(text, ", ");
		words_owner(json_array_get(owners, i), text);
	}
}

static void put_item(const char *string, struct text *text)
{
	text_printf(text, "%s%s", text->length ? ", " : "", string);
}

static void put_items(const json_t *list, struct text *text)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *string = json_string_value(json_array_get(list, i));

		if (string)
			put_item(string, text);
	}
}

void words_list(const json_t *list, struct text *text)
{
	struct text items = {0};

	put_items(list, &items);
	text_puts(text, text_string(&items));
	text->failed |= items.failed;
	text_free(&items);
}

/* Of a type that the name has not: NULL. */
static const json_t *lookup_of(const json_t *name, size_t type)
{
	return json_object_get(name, types[type]);
}

static const json_t *values_of(const json_t *lookup)
{
	const json_t *addresses = answer_list(lookup, "addresses");

	return addresses ? addresses : answer_list(lookup, "targets");
}

static bool has_values(const json_t *name)
{
	for (size_t i = 0; i < TYPES; i++) {
		if (json_array_size(values_of(lookup_of(name, i))) > 0)
			return true;
	}
	return false;
}

void words_addresses(const json_t *name, struct text *text)
{
	const json_t *retired = answer_list(name, "retired");
	struct text items = {0};

	for (size_t type = 0; type < TYPES; type++)
		put_items(values_of(lookup_of(name, type)), &items);
	for (size_t i = 0; i < json_array_size(retired); i++) {
		const json_t *item = json_array_get(retired, i);
		const char *address = answer_string(item, "address");

		put_item(*address ? address : answer_string(item, "target"), &items);
		text_puts(&items, " (former)");
	}
	text_puts(text, text_string(&items));
	text->failed |= items.failed;
	text_free(&items);
}

int64_t words_good(const json_t *name)
{
	int64_t latest = 0;

	for (size_t i = 0; i < TYPES; i++) {
		int64_t good = answer_time(lookup_of(name, i), "good");

		if (good > latest)
			latest = good;
	}
	return latest;
}

int64_t words_next(const json_t *name)
{
	int64_t first = -1;

	for (size_t i = 0; i < TYPES; i++) {
		const json_t *next = json_object_get(lookup_of(name, i), "next");
		int64_t seconds = json_integer_value(next);

		if (next && (first < 0 || seconds < first))
			first = seconds;
	}
	return first;
}

/* The type whose outcome makes the name what it is: a refused one, else one that could not be
 * asked, else the first. */
static size_t deciding_type(const json_t *name)
{
	size_t decides = TYPES;

	for (size_t i = 0; i < TYPES; i++) {
		const json_t *lookup = lookup_of(name, i);
		const char *last = answer_string(lookup, "last");

		if (strcmp(last, "refused") == 0)
			return i;
		if ((strcmp(last, "could not ask") == 0 || strcmp(last, "never") == 0) &&
			decides == TYPES)
			decides = i;
	}
	if (decides < TYPES)
		return decides;
	return lookup_of(name, 0) ? 0 : TYPES - 1;
}

static void put_outcome(const json_t *name, size_t type, struct text *text)
{
	const json_t *lookup = lookup_of(name, type);
	const char *last = answer_string(lookup, "last"), *reason = answer_string(lookup, "reason");
	const char *culprit = answer_string(lookup, "refused_address");

	if (strcmp(last, "refused") == 0 && *culprit)
		text_printf(text, "the %s answer holds %s: %s", types[type], culprit, reason);
	else if (strcmp(last, "refused") == 0)
		text_printf(text, "the %s answer was refused: %s", types[type], reason);
	else if (strcmp(last, "could not ask") == 0)
		text_printf(text, "%s could not be asked: %s", types[type], reason);
	else if (strcmp(last, "never") == 0)
		text_printf(text, "%s was not asked yet", types[type]);
	else
		text_printf(text, "DNS says that it has no %s (%s)",
			strcmp(types[type], "SRV") == 0 ? "target" : "address", last);
}

/* When the first of its addresses leave; 0: no such time. */
static int64_t leaves_at(const json_t *name)
{
	int64_t first = 0;

	for (size_t i = 0; i < TYPES; i++) {
		int64_t leaves = answer_time(lookup_of(name, i), "leaves");

		if (leaves && (!first || leaves < first))
			first = leaves;
	}
	return first;
}

bool words_is_flapping(const json_t *name)
{
	return json_is_true(json_object_get(name, "flapping"));
}

static void put_flapping(const json_t *name, struct text *text)
{
	int64_t count = answer_number(name, "changes_within_hour");

	text_puts(text, "flapping: its addresses change too often");
	if (count)
		text_printf(text, ", at least %" PRId64 " time%s within the last hour", count,
			words_plural(count));
	text_puts(text, "; they are taken all the same");
}

void words_trouble(const json_t *name, struct text *text)
{
	const char *state = answer_string(name, "state");
	const char *values = lookup_of(name, 0) ? "addresses" : "targets";
	const char *last = answer_string(lookup_of(name, deciding_type(name)), "last");
	int64_t leaves = leaves_at(name);

	if (words_is_flapping(name)) {
		put_flapping(name, text);
		text_puts(text, strcmp(state, "fresh") == 0 ? "" : ". ");
	}
	if (strcmp(state, "fresh") == 0)
		return;
	put_outcome(name, deciding_type(name), text);
	/* Not asked yet under the rules of a new config: that is not DNS's fault. */
	if (strcmp(state, "expired") == 0 && strcmp(last, "never") != 0)
		text_puts(text, ", for longer than `hold`");
	if (leaves) {
		text_printf(text, "; the %s known before stay until ", values);
		words_time(leaves, text);
	} else if (!has_values(name) && strcmp(state, "gone") != 0) {
		text_printf(text, "; it has no %s now", lookup_of(name, 0) ? "address" : "target");
	}
}

const char *words_plural(int64_t count)
{
	return count == 1 ? "" : "s";
}

/* --- events --- */

/* What the table does to strangers now, where it has other rules than before. */
static const char *rules_of(const json_t *event)
{
	const char *action = answer_string(event, "action"), *mode = answer_string(event, "mode");

	if (strcmp(action, "swapped") != 0 && strcmp(action, "installed") != 0)
		return "";
	if (strcmp(mode, "enforce") == 0)
		return "; mode enforce: strangers are dropped from now on";
	return strcmp(mode, "monitor") == 0 ? "; mode monitor: nobody is dropped" : "";
}

static void put_table(const json_t *event, struct text *text)
{
	const char *elements = answer_string(event, "elements");

	text_printf(text, "the table was %s: ", answer_string(event, "action"));
	/* The number of all, which is no news, reads as that of the changes. */
	if (strcmp(answer_string(event, "action"), "changed") == 0)
		text_printf(
			text, "%s changed, %s in all", answer_string(event, "changed"), elements);
	else
		text_printf(text, "%s element%s%s", elements, strcmp(elements, "1") == 0 ? "" : "s",
			rules_of(event));
}

static void put_subject(const json_t *event, struct text *text)
{
	const char *extension = answer_string(event, "extension");
	const char *peer = answer_string(event, "peer"), *host = answer_string(event, "host");

	if (*extension)
		text_printf(text, "extension %s", extension);
	if (*peer)
		text_printf(text, "%speer %s", *extension ? " " : "", peer);
	if (*host)
		text_printf(text, "%s%s", *extension || *peer ? " " : "", host);
}

void words_change(const json_t *event, struct text *text)
{
	const char *kind = answer_string(event, "event"), *was = answer_string(event, "was");
	const char *reason = answer_string(event, "reason");
	const char *program = answer_string(event, "program");

	if (strcmp(kind, "change") == 0) {
		const char *old = answer_string(event, "old"), *type = answer_string(event, "type");

		put_subject(event, text);
		text_printf(text, ":%s%s %s%s%s%s%s", *type ? " " : "", type, old,
			*old ? " -> " : "", answer_string(event, "new"), *reason ? ": " : "",
			reason);
	} else if (strcmp(kind, "state") == 0) {
		put_subject(event, text);
		text_printf(text, ": %s", answer_string(event, "state"));
		if (*was && strcmp(was, "new") != 0)
			text_printf(text, " (was %s)", was);
		if (*reason)
			text_printf(text, ": %s", reason);
	} else if (strcmp(kind, "flapping") == 0) {
		put_subject(event, text);
		text_printf(text, ": %s",
			strcmp(answer_string(event, "state"), "begun") == 0
				? "flapping: its addresses change too often"
				: "no longer flapping");
	} else if (strcmp(kind, "table") == 0) {
		put_table(event, text);
	} else if (strcmp(kind, "damage") == 0) {
		text_printf(
			text, "the table was changed by others%s%s", *program ? ": " : "", program);
	} else if (strcmp(kind, "shut-out") == 0) {
		const char *hint = answer_string(event, "hint");

		text_printf(text, "%s talked to %s until now, and is shut out%s%s%s",
			answer_string(event, "source"), answer_string(event, "service"),
			*hint ? " (it " : "", hint, *hint ? ")" : "");
	} else {
		text_puts(text, kind);
	}
}
