/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"
#include "clock.h"
#include "metrics_file.h"
#include "offline.h"
#include "status_asterisk.h"
#include "status_takeovers.h"
#include "status_traffic.h"
#include "watch.h"
#include "words.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum column {
	COLUMN_OWNER,
	COLUMN_HOST,
	COLUMN_ADDRESSES,
	COLUMN_STATE,
	COLUMN_AGE,
	COLUMN_NEXT,
	COLUMN_PACKETS,
	COLUMN_LAST,
};

enum {
	COLUMNS = COLUMN_LAST + 1,
	GAP = 2,	       /* between columns */
	NO_LIMIT = 1 << 20,    /* columns of something that is no terminal */
	NARROWEST = 20,	       /* below it a terminal's width is not believed */
	SHORT_HOST = 16,       /* still says whose it is: NEXT goes first */
	LONG_HOST = 24,	       /* what a column is cut to at most */
	NARROW_ADDRESSES = 19, /* an IPv4 address and the number of the others */
	NARROWEST_ADDRESSES = 16,
	NARROWEST_HOST = 10,
	NARROW_OWNER = 10,
	NARROW_STATE = 7,
	WIDE_ADDRESSES = 40, /* more of them stand out of their column */
};

static const char *const titles[COLUMNS] = {
	"WHO", "HOST", "ADDRESSES", "STATE", "AGE", "NEXT", "PACKETS", "LAST"};

/* A line of the table. */
struct row {
	char *cells[COLUMNS]; /* owned; printable ASCII */
	char *trouble;	      /* owned; "" or what is wrong */
	const char *kind, *id;
	bool bad;
};

struct table {
	const struct invocation *invocation;
	struct row *rows;
	size_t count, capacity;
	size_t widths[COLUMNS]; /* 0: left out */
	size_t terminal;
	int64_t now;
	bool daemon, failed;
};

/* --- rows --- */

static char *take(struct text *text, struct table *table)
{
	char *string = text->failed ? NULL : strdup(text_string(text));

	table->failed |= !string;
	text_clear(text);
	return string;
}

static struct row *add_row(struct table *table)
{
	if (table->count == table->capacity) {
		size_t capacity = table->capacity ? table->capacity * 2 : 64;
		struct row *rows = reallocarray(table->rows, capacity, sizeof(*rows));

		if (!rows) {
			table->failed = true;
			return NULL;
		}
		table->rows = rows;
		table->capacity = capacity;
	}
	table->rows[table->count] = (struct row){.kind = "", .id = ""};
	return &table->rows[table->count++];
}

static void put_age(const struct table *table, const json_t *name, struct text *text)
{
	int64_t good = words_good(name);

	if (good)
		words_duration(table->now - good, text);
	else
		text_puts(text, "never");
}

static void put_next(const struct table *table, const json_t *name, struct text *text)
{
	int64_t next = words_next(name);

	if (!table->daemon || next < 0)
		return;
	if (next == 0)
		text_puts(text, "now");
	else
		words_duration(next, text);
}

/* `item`: of names or of permits. */
static void put_packets(const json_t *item, struct text *text)
{
	if (json_is_integer(json_object_get(item, "packets")))
		words_packets(answer_number(item, "packets"), text);
}

static void add_name(struct table *table, const json_t *name, const json_t *owner)
{
	struct row *row = add_row(table);
	struct text text = {0};

	if (!row)
		return;
	row->kind = answer_string(owner, "kind");
	row->id = answer_string(owner, "id");
	row->bad = strcmp(answer_string(name, "state"), "fresh") != 0 || words_is_flapping(name);
	words_owner(owner, &text);
	row->cells[COLUMN_OWNER] = take(&text, table);
	text_puts(&text, answer_string(name, "name"));
	row->cells[COLUMN_HOST] = take(&text, table);
	words_addresses(name, &text);
	row->cells[COLUMN_ADDRESSES] = take(&text, table);
	text_puts(&text, answer_string(name, "state"));
	row->cells[COLUMN_STATE] = take(&text, table);
	put_age(table, name, &text);
	row->cells[COLUMN_AGE] = take(&text, table);
	put_next(table, name, &text);
	row->cells[COLUMN_NEXT] = take(&text, table);
	put_packets(name, &text);
	row->cells[COLUMN_PACKETS] = take(&text, table);
	words_last(name, table->now, &text);
	row->cells[COLUMN_LAST] = take(&text, table);
	words_trouble(name, &text);
	row->trouble = take(&text, table);
	text_free(&text);
}

/* A name of several owners has a line for each: whoever looks for an extension finds it. */
static void add_names(struct table *table, const json_t *names)
{
	for (size_t i = 0; i < json_array_size(names); i++) {
		const json_t *name = json_array_get(names, i),
			     *owners = answer_list(name, "owners");

		for (size_t j = 0; j < json_array_size(owners); j++)
			add_name(table, name, json_array_get(owners, j));
	}
}

/* `permit` NULL: there is none in the kernel for it. */
static void add_fixed(struct table *table, const char *kind, const char *id, const char *who,
	const char *where, const json_t *permit)
{
	struct row *row = add_row(table);
	struct text text = {0};

	if (!row)
		return;
	row->kind = kind;
	row->id = id;
	text_puts(&text, who);
	row->cells[COLUMN_OWNER] = take(&text, table);
	text_puts(&text, where);
	row->cells[COLUMN_ADDRESSES] = take(&text, table);
	text_puts(&text, "fixed");
	row->cells[COLUMN_STATE] = take(&text, table);
	put_packets(permit, &text);
	row->cells[COLUMN_PACKETS] = take(&text, table);
	words_last(permit, table->now, &text);
	row->cells[COLUMN_LAST] = take(&text, table);
	text_free(&text);
}

static void add_permits(struct table *table, const json_t *permits)
{
	for (size_t i = 0; i < json_array_size(permits); i++) {
		const json_t *permit = json_array_get(permits, i);
		const json_t *owner = json_object_get(permit, "owner");
		struct text who = {0};

		words_owner(owner, &who);
		table->failed |= who.failed;
		add_fixed(table, answer_string(owner, "kind"), answer_string(owner, "id"),
			text_string(&who), answer_string(permit, "prefix"), permit);
		text_free(&who);
	}
}

/* Extensions that may register from the local subnets. */
static void add_local(struct table *table, const json_t *ids)
{
	for (size_t i = 0; i < json_array_size(ids); i++) {
		const char *id = json_string_value(json_array_get(ids, i));
		struct text who = {0};

		if (!id)
			continue;
		text_printf(&who, "extension %s", id);
		table->failed |= who.failed;
		add_fixed(table, "extension", id, text_string(&who), "local subnets", NULL);
		text_free(&who);
	}
}

static int rank(const char *kind)
{
	return strcmp(kind, "extension") == 0 ? 0 : strcmp(kind, "peer") == 0 ? 1 : 2;
}

/* Problems first, then by owner: 9 before 21. */
static int compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;
	int order;

	if (left->bad != right->bad)
		return left->bad ? -1 : 1;
	order = rank(left->kind) - rank(right->kind);
	if (order)
		return order;
	order = strverscmp(left->id, right->id);
	if (order)
		return order;
	if (!left->cells[COLUMN_HOST] || !right->cells[COLUMN_HOST])
		return !left->cells[COLUMN_HOST] - !right->cells[COLUMN_HOST];
	return strcmp(left->cells[COLUMN_HOST], right->cells[COLUMN_HOST]);
}

static void table_clear(struct table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		for (int column = 0; column < COLUMNS; column++)
			free(table->rows[i].cells[column]);
		free(table->rows[i].trouble);
	}
	free(table->rows);
}

/* --- width --- */

static size_t terminal_width(const struct invocation *invocation)
{
	const char *given = getenv("COLUMNS");
	struct winsize size;
	long width = 0;

	if (invocation->columns)
		return invocation->columns;
	if (!isatty(STDOUT_FILENO))
		return NO_LIMIT;
	if (given)
		width = strtol(given, NULL, 10);
	if (width < NARROWEST && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		width = size.ws_col;
	return width >= NARROWEST && width < NO_LIMIT ? (size_t)width : 80;
}

static size_t total_width(const struct table *table)
{
	size_t total = 0;

	for (int column = 0; column < COLUMNS; column++) {
		if (table->widths[column])
			total += table->widths[column] + (total ? GAP : 0);
	}
	return total;
}

static void shrink(struct table *table, enum column column, size_t least)
{
	size_t total = total_width(table), surplus;

	if (total <= table->terminal || table->widths[column] <= least)
		return;
	surplus = total - table->terminal;
	table->widths[column] =
		table->widths[column] - least > surplus ? table->widths[column] - surplus : least;
}

/* As wide as what stands in them. */
static void measure(struct table *table)
{
	for (int column = 0; column < COLUMNS; column++) {
		size_t widest = 0;

		for (size_t i = 0; i < table->count; i++) {
			const char *cell = table->rows[i].cells[column];
			size_t width = cell ? strlen(cell) : 0;

			if (width > widest)
				widest = width;
		}
		if (widest > 0 && widest < strlen(titles[column]))
			widest = strlen(titles[column]);
		table->widths[column] = widest;
	}
	if (table->terminal == NO_LIMIT && table->widths[COLUMN_ADDRESSES] > WIDE_ADDRESSES)
		table->widths[COLUMN_ADDRESSES] = WIDE_ADDRESSES;
}

static void cut_texts(struct table *table)
{
	shrink(table, COLUMN_ADDRESSES, 2 * NARROW_ADDRESSES);
	shrink(table, COLUMN_HOST, LONG_HOST);
	shrink(table, COLUMN_ADDRESSES, NARROW_ADDRESSES);
	shrink(table, COLUMN_HOST, SHORT_HOST);
	shrink(table, COLUMN_ADDRESSES, NARROWEST_ADDRESSES);
}

/* What doesn't fit: first long texts are cut, then what can be asked for at any time goes. */
static void fit(struct table *table)
{
	static const enum column spare[] = {COLUMN_AGE, COLUMN_PACKETS, COLUMN_LAST};
	size_t owner, state;

	measure(table);
	cut_texts(table);
	if (total_width(table) > table->terminal) {
		measure(table);
		table->widths[COLUMN_NEXT] = 0;
		cut_texts(table);
	}
	shrink(table, COLUMN_HOST, NARROWEST_HOST);
	for (size_t i = 0; i < sizeof(spare) / sizeof(spare[0]); i++) {
		if (total_width(table) > table->terminal)
			table->widths[spare[i]] = 0;
	}
	if (total_width(table) > table->terminal)
		table->widths[COLUMN_HOST] = 0;
	owner = table->widths[COLUMN_OWNER];
	state = table->widths[COLUMN_STATE];
	shrink(table, COLUMN_STATE, NARROW_STATE);
	shrink(table, COLUMN_OWNER, NARROW_OWNER);
	if (total_width(table) <= table->terminal)
		return;
	/* The lines are wrapped anyway: whole words help more. */
	table->widths[COLUMN_OWNER] = owner;
	table->widths[COLUMN_STATE] = state;
}

/* --- printing --- */

static const char *colour_of(const struct row *row)
{
	const char *state = row->cells[COLUMN_STATE] ? row->cells[COLUMN_STATE] : "";
	bool fresh = strcmp(state, "fresh") == 0;

	/* Who moves all the time is among the problems, too. */
	if (strcmp(state, "held") == 0 || (fresh && row->bad))
		return "\033[33m";
	if (fresh)
		return "\033[32m";
	return strcmp(state, "fixed") == 0 || !*state ? "" : "\033[31m";
}

/* Both ends tell names and addresses apart: "2001:db..:77:1". */
static void put_middle_cut(const char *cell, size_t length, size_t width)
{
	size_t tail = (width - 2) / 2;

	if (length <= width)
		printf("%-*.*s", (int)width, (int)length, cell);
	else
		printf("%.*s..%.*s", (int)(width - 2 - tail), cell, (int)tail,
			cell + length - tail);
}

/* As many whole addresses as fit, and the number of the others: "203.0.113.7, +3". */
static void put_addresses(const char *cell, size_t width)
{
	size_t shown = 0, shown_length = 0, all = 1;
	char rest[24];

	for (const char *at = cell; (at = strstr(at, ", ")); at += 2)
		all++;
	for (const char *at = cell; (at = strstr(at, ", ")); at += 2) {
		size_t length = (size_t)(at - cell);

		if (length + (size_t)snprintf(rest, sizeof(rest), ", +%zu", all - shown - 1) >
			width)
			break;
		shown++;
		shown_length = length;
	}
	if (shown == 0 && all > 1) {
		size_t first = (size_t)(strchr(cell, ',') - cell);
		int length = snprintf(rest, sizeof(rest), ", +%zu", all - 1);

		put_middle_cut(cell, first, width - (size_t)length);
		fputs(rest, stdout);
	} else if (shown == 0) {
		put_middle_cut(cell, strlen(cell), width);
	} else {
		snprintf(rest, sizeof(rest), ", +%zu", all - shown);
		printf("%.*s%-*s", (int)shown_length, cell, (int)(width - shown_length), rest);
	}
}

static void put_cell(const struct table *table, enum column column, const char *cell, bool last)
{
	size_t width = table->widths[column], length = strlen(cell);

	if (length > width && table->terminal < NO_LIMIT) {
		if (column == COLUMN_ADDRESSES)
			put_addresses(cell, width);
		else if (column == COLUMN_STATE)
			printf("%.*s..", (int)width - 2, cell);
		else
			put_middle_cut(cell, length, width);
	} else if (last) {
		fputs(cell, stdout);
	} else {
		printf("%-*s", (int)width, cell);
	}
}

static void print_row(const struct table *table, const char *const *cells, const char *colour)
{
	bool coloured = table->invocation->colour_out && *colour;
	int last = 0;

	for (int column = 0; column < COLUMNS; column++) {
		if (table->widths[column] && cells[column] && *cells[column])
			last = column;
	}
	for (int column = 0; column <= last; column++) {
		if (!table->widths[column])
			continue;
		if (column > 0)
			printf("%*s", GAP, "");
		if (coloured && column == COLUMN_STATE)
			fputs(colour, stdout);
		put_cell(table, (enum column)column, cells[column] ? cells[column] : "",
			column == last);
		if (coloured && column == COLUMN_STATE)
			fputs("\033[0m", stdout);
	}
	putchar('\n');
}

static void print_rows(const struct table *table)
{
	bool quiet = table->invocation->verbosity < 0;
	bool titled = false;

	for (size_t i = 0; i < table->count; i++) {
		const struct row *row = &table->rows[i];
		const char *cells[COLUMNS];

		if (quiet && !row->bad)
			break;
		if (!titled)
			print_row(table, titles, "");
		titled = true;
		for (int column = 0; column < COLUMNS; column++)
			cells[column] = row->cells[column];
		print_row(table, cells, colour_of(row));
		if (row->trouble && *row->trouble)
			printf("    %s\n", row->trouble);
	}
}

static void warn_line(const struct invocation *invocation, const char *colour, const char *line)
{
	printf("%s%s%s\n", invocation->colour_out ? colour : "", line,
		invocation->colour_out ? "\033[0m" : "");
}

static const char *const states[] = {
	"fresh", "held", "gone", "refused", "expired", "never answered"};

enum { STATES = sizeof(states) / sizeof(states[0]) };

static int64_t total_of(const json_t *status, size_t state)
{
	return answer_number(json_object_get(status, "totals"), states[state]);
}

static void print_totals(const json_t *status)
{
	size_t fixed = json_array_size(answer_list(status, "permits"));
	int64_t all = 0;
	bool first = true;

	for (size_t i = 0; i < STATES; i++)
		all += total_of(status, i);
	printf("%" PRId64 " name%s", all, words_plural(all));
	for (size_t i = 0; i < STATES; i++) {
		if (total_of(status, i) == 0)
			continue;
		printf("%s%" PRId64 " %s", first ? ": " : ", ", total_of(status, i), states[i]);
		first = false;
	}
	printf("; %zu fixed %s", fixed,
		fixed == 1 ? "address or prefix" : "addresses and prefixes");
	status_print_dropped(status);
	putchar('\n');
}

/* Databases that are in the state: no answer counts that needs them. */
static bool is_useless(const json_t *database)
{
	const char *state = answer_string(database, "state");

	return strcmp(state, "missing") == 0 || strcmp(state, "stale") == 0;
}

static void print_databases(const struct invocation *invocation, const json_t *databases)
{
	for (size_t i = 0; i < json_array_size(databases); i++) {
		const json_t *database = json_array_get(databases, i);
		bool useless = is_useless(database);
		struct text line = {0};

		if (strcmp(answer_string(database, "state"), "found") == 0)
			continue;
		text_printf(&line, "geoip: %s%s; %s", answer_string(database, "error"),
			useless ? ": names that need it are held" : "",
			answer_string(database, "next"));
		warn_line(invocation, useless ? "\033[31m" : "\033[33m", text_string(&line));
		text_free(&line);
	}
}

/* Off, or not what the config asks for. */
static bool hooks_are_wrong(const json_t *status)
{
	const json_t *hooks = json_object_get(status, "hooks");

	return answer_is(hooks, "alive", false) || answer_is(hooks, "restart_needed", true);
}

static void print_hooks(const struct invocation *invocation, const json_t *status)
{
	const json_t *hooks = json_object_get(status, "hooks");

	if (answer_is(hooks, "alive", false))
		warn_line(invocation, "\033[31m",
			"hooks (on-change) are off: their helper process does not run, and the "
			"daemon's log says why; restart the daemon");
	else if (answer_is(hooks, "restart_needed", true))
		warn_line(invocation, "\033[33m",
			"on-change has been changed: the former program is run until the daemon is "
			"restarted");
}

/* What no name is to blame for: it comes first, and with -q as well. */
static void print_problems(const struct invocation *invocation, const json_t *status)
{
	const char *refused = answer_string(status, "refused");
	struct text line = {0};

	takeovers_print(invocation, status, time(NULL));
	if (*refused) {
		text_printf(&line,
			"the config on the disk was refused, a former one is in force: %s; correct "
			"it, then sipfence reload",
			refused);
		warn_line(invocation, "\033[31m", text_string(&line));
		text_clear(&line);
	}
	if (answer_is(status, "table_right", false)) {
		text_printf(&line,
			"table inet %s is not as it should be: the daemon tries again "
			"and again, and its log says what refuses",
			answer_string(status, "table"));
		warn_line(invocation, "\033[31m", text_string(&line));
	}
	if (answer_is(status, "save_failing", true))
		warn_line(invocation, "\033[31m",
			"what is known can't be written to the disk (see the log)");
	if (answer_is(json_object_get(status, "dns"), "alive", false))
		warn_line(invocation, "\033[31m",
			"DNS answers no question now: known addresses are held");
	text_free(&line);
	print_hooks(invocation, status);
	status_print_asterisk_problems(invocation, status);
	print_databases(invocation, json_object_get(status, "geoip"));
}

static void print_monitor(const struct invocation *invocation, const json_t *status)
{
	if (strcmp(answer_string(status, "mode"), "monitor") == 0)
		warn_line(invocation, "\033[33m", "mode monitor: nobody is dropped");
}

/* "the sets in table inet filter", or "table inet sipfence" */
static void put_table(const json_t *status, struct text *line)
{
	text_printf(line, "%stable %s %s",
		strcmp(answer_string(status, "mode"), "sets-only") == 0 ? "the sets in " : "",
		answer_string(status, "family"), answer_string(status, "table"));
}

static void print_daemon(const json_t *status)
{
	bool owned = strcmp(answer_string(status, "lock"), "owned") == 0;
	struct text since = {0};

	words_time(answer_time(status, "started"), &since);
	text_puts(&since, ", ");
	put_table(status, &since);
	if (answer_is(status, "table_right", true))
		printf("running since %s in force, %s, mode %s\n", text_string(&since),
			owned ? "owned" : "changes by others are repaired",
			answer_string(status, "mode"));
	else
		printf("running since %s not in force, mode %s\n", text_string(&since),
			answer_string(status, "mode"));
	text_free(&since);
}

static void print_no_daemon(const struct invocation *invocation, const json_t *status)
{
	int64_t saved = answer_time(status, "saved");
	const char *mode = answer_string(status, "mode");
	bool sets_only = strcmp(mode, "sets-only") == 0;
	bool of_table = strcmp(answer_string(status, "mode_of"), "table") == 0;
	const char *drift = answer_string(json_object_get(status, "drift"), "text");
	struct text line = {0};

	text_puts(&line, "no daemon is running; from the state file, saved ");
	words_time(saved, &line);
	text_puts(&line, " (");
	words_duration(time(NULL) - saved, &line);
	text_puts(&line, " ago)");
	warn_line(invocation, "\033[33m", text_string(&line));
	text_clear(&line);
	if (answer_is(status, "table_right", false) && !of_table) {
		text_printf(&line,
			"there is no table %s %s in the kernel%s (mode %s by the config)",
			answer_string(status, "family"), answer_string(status, "table"),
			sets_only ? "" : ": nobody is kept out", mode);
		warn_line(invocation, "\033[31m", text_string(&line));
	} else if (*drift) {
		put_table(status, &line);
		text_printf(&line,
			" in the kernel, mode %s, %s as the last run left %s: sipfence sync puts "
			"that right",
			mode, sets_only ? "are not" : "is not", sets_only ? "them" : "it");
		warn_line(invocation, "\033[31m", text_string(&line));
		printf("    %s\n", drift);
	} else if (answer_is(status, "table_right", false)) {
		put_table(status, &line);
		text_printf(&line,
			" in the kernel, mode %s, %s of the config, which is not in force (mode "
			"%s): sipfence sync, or start the daemon",
			mode, sets_only ? "are not those" : "is not that",
			answer_string(status, "config_mode"));
		warn_line(invocation, "\033[31m", text_string(&line));
	} else if (invocation->verbosity >= 0) {
		put_table(status, &line);
		if (of_table)
			printf("%s %s in the kernel, mode %s\n", text_string(&line),
				sets_only ? "are" : "is", mode);
		else
			printf("%s could not be looked at (run it as root); by the config: mode "
			       "%s\n",
				text_string(&line), mode);
	}
	text_free(&line);
}

static void print_details(const json_t *status)
{
	const json_t *dns = json_object_get(status, "dns");
	struct text saved = {0};

	words_time(answer_time(status, "saved"), &saved);
	printf("sipfence %s, process %" PRId64 ", config %s\n", answer_string(status, "version"),
		answer_number(status, "pid"), answer_string(status, "config"));
	printf("elements: %" PRId64 "; batches of changes since the start: %" PRId64
	       ", repairs: %" PRId64 "; saved: %s\n",
		answer_number(status, "elements"), answer_number(status, "changes"),
		answer_number(status, "repairs"), text_string(&saved));
	printf("DNS: %" PRId64 " question%s asked, %" PRId64 " without an answer in time\n",
		answer_number(dns, "asked"), words_plural(answer_number(dns, "asked")),
		answer_number(dns, "timed_out"));
	text_free(&saved);
}

static int print_table(const struct invocation *invocation, const json_t *status, bool daemon)
{
	struct table table = {.invocation = invocation,
		.terminal = terminal_width(invocation),
		.now = time(NULL),
		.daemon = daemon};
	struct error error = {0};

	add_names(&table, answer_list(status, "names"));
	add_names(&table, answer_list(status, "srv"));
	add_permits(&table, answer_list(status, "permits"));
	add_local(&table, answer_list(status, "local_extensions"));
	if (table.failed) {
		table_clear(&table);
		error_no_memory(&error);
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	if (table.count > 0)
		qsort(table.rows, table.count, sizeof(*table.rows), compare_rows);
	fit(&table);
	if (daemon)
		print_problems(invocation, status);
	if (daemon && invocation->verbosity >= 0) {
		print_daemon(status);
		status_print_asterisk(status);
	}
	if (!daemon)
		print_no_daemon(invocation, status);
	if (invocation->verbosity >= 0)
		print_monitor(invocation, status);
	if (daemon && invocation->verbosity > 0)
		print_details(status);
	if (invocation->verbosity >= 0) {
		print_totals(status);
		putchar('\n');
	}
	print_rows(&table);
	if (invocation->watch)
		fputs(WATCH_TAIL, stdout);
	status_print_kept_out(
		invocation, status, invocation->rows ? invocation->rows / 3 : SIZE_MAX);
	table_clear(&table);
	return EXIT_DONE;
}

/* --- the command --- */

static int exit_code_of(const json_t *status)
{
	/* The first one is what is well. */
	for (size_t i = 1; i < STATES; i++) {
		if (total_of(status, i) > 0)
			return EXIT_UNSURE;
	}
	if (answer_is(status, "table_right", false) || answer_is(status, "save_failing", true) ||
		*answer_string(status, "refused") || hooks_are_wrong(status) ||
		status_asterisk_is_wrong(status) || takeovers_are_wrong(status, time(NULL)))
		return EXIT_UNSURE;
	for (size_t i = 0; i < json_array_size(json_object_get(status, "geoip")); i++) {
		if (is_useless(json_array_get(json_object_get(status, "geoip"), i)))
			return EXIT_UNSURE;
	}
	return EXIT_DONE;
}

static int report(const struct invocation *invocation, json_t *answer, bool daemon)
{
	json_t *status = client_payload(invocation, answer, "status");
	int code;

	if (!status)
		return EXIT_REFUSED;
	if (!status_add_traffic(invocation, status)) {
		struct error error = {0};

		error_no_memory(&error);
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	code = exit_code_of(status);
	if (!invocation->json) {
		int result = print_table(invocation, status, daemon);

		return result == EXIT_DONE ? code : result;
	}
	json_object_set_new(status, "command", json_string(invocation->command));
	json_object_set_new(status, "result", json_string(code == EXIT_DONE ? "ok" : "unsure"));
	json_object_set_new(status, "exit", json_integer(code));
	return client_print(invocation, json_incref(status)) ? code : EXIT_REFUSED;
}

/* The same answer as the daemon would give, from what it has left. */
static int answer_offline(const struct invocation *invocation, json_t **ret_answer)
{
	struct offline offline;
	struct status_cursor *cursor = NULL;
	struct text text = {0};
	struct error error = {0};
	int result, code = offline_load(invocation, &offline);

	if (code != EXIT_DONE)
		return code;
	result = status_begin(&offline.view, &cursor);
	if (result == 0)
		do
			result = status_next(cursor, &offline.view, &text);
		while (result == STATUS_MORE);
	status_end(cursor);
	offline_clear(&offline);
	if (result < 0)
		error_no_memory(&error);
	else
		result = client_parse(&text, ret_answer, &error);
	text_free(&text);
	if (result == 0)
		return EXIT_DONE;
	say_error(invocation, &error);
	return EXIT_REFUSED;
}

/* The metrics of the same, where no daemon runs. */
static int metrics_offline(const struct invocation *invocation)
{
	struct offline offline;
	struct text text = {0};
	struct error error = {0};
	int code = offline_load(invocation, &offline);

	if (code != EXIT_DONE)
		return code;
	if (metrics_make(&offline.view, NULL, clock_wall(), &text) == 0) {
		fputs(text_string(&text), stdout);
	} else {
		error_no_memory(&error);
		say_error(invocation, &error);
		code = EXIT_REFUSED;
	}
	text_free(&text);
	offline_clear(&offline);
	return code;
}

static int show_metrics(const struct invocation *invocation)
{
	struct control_request request = {.kind = CONTROL_METRICS};
	struct error error = {0};
	json_t *answer = NULL;
	int code = EXIT_DONE, result = client_ask(invocation, &request, &answer, &error);

	if (result == CLIENT_NO_DAEMON)
		return metrics_offline(invocation);
	if (result < 0) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	if (answer_is(answer, "ok", true))
		fputs(answer_string(answer, "metrics"), stdout);
	else
		code = client_say_refusal(invocation, answer);
	json_decref(answer);
	return code;
}

static int show(const struct invocation *invocation)
{
	struct control_request request = {.kind = CONTROL_STATUS};
	struct error error = {0};
	json_t *answer = NULL;
	int code, result = client_ask(invocation, &request, &answer, &error);

	if (result < 0) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	if (result == CLIENT_NO_DAEMON) {
		code = answer_offline(invocation, &answer);
		if (code != EXIT_DONE)
			return code;
	}
	if (answer_is(answer, "ok", true))
		code = report(invocation, answer, result == 0);
	else
		code = client_say_refusal(invocation, answer);
	json_decref(answer);
	return code;
}

int command_status(const struct invocation *invocation)
{
	if (invocation->watch)
		return watch_run(invocation, show);
	return invocation->prometheus ? show_metrics(invocation) : show(invocation);
}
