/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ECHO_WIDTH = 100, /* columns of an echoed line */
	ECHO_BEFORE = 60, /* of them at most before the caret, when the line is cut */
	QUOTE_MAX = 64,	  /* bytes of a quoted text */
};

/* A pointer to items of any type. */
typedef void *__attribute__((may_alias)) item_pointer;

bool array_grow(void *array_pointer, size_t *capacity, size_t count, size_t item_size)
{
	item_pointer *array = array_pointer;
	size_t wanted = *capacity ? *capacity * 2 : 16;
	void *larger;

	if (count < *capacity)
		return true;
	if (wanted > SIZE_MAX / item_size)
		return false;
	larger = realloc(*array, wanted * item_size);
	if (!larger)
		return false;
	*array = larger;
	*capacity = wanted;
	return true;
}

struct quote quote(const char *text, size_t length)
{
	struct quote quote;
	size_t used = 0;
	size_t shown = length > QUOTE_MAX ? QUOTE_MAX : length;

	quote.text[used++] = '"';
	for (size_t i = 0; i < shown && used < sizeof(quote.text) - 12; i++) {
		unsigned char byte = (unsigned char)text[i];
		if (byte >= 0x20 && byte < 0x7f && byte != '\\')
			quote.text[used++] = (char)byte;
		else if (byte == '\\')
			used += (size_t)snprintf(&quote.text[used], 3, "\\\\");
		else
			used += (size_t)snprintf(&quote.text[used], 5, "\\x%02x", byte);
		shown = used >= sizeof(quote.text) - 12 ? i + 1 : shown;
	}
	snprintf(&quote.text[used], sizeof(quote.text) - used, shown < length ? "...\"" : "\"");
	return quote;
}

/* The message in memory of its own; NULL when out of memory. */
static char *__attribute__((format(printf, 1, 0))) print_what(const char *format, va_list arguments)
{
	va_list again;
	char *what;
	int length;

	va_copy(again, arguments);
	length = vsnprintf(NULL, 0, format, again);
	va_end(again);
	what = length < 0 ? NULL : malloc((size_t)length + 1);
	if (what)
		vsnprintf(what, (size_t)length + 1, format, arguments);
	return what;
}

static void __attribute__((format(printf, 4, 0)))
add(struct report *report, struct place place, bool warning, const char *format, va_list arguments)
{
	struct problem *problem;

	if (!warning)
		report->errors++;
	if (report->count >= REPORT_MAX_PROBLEMS) {
		report->left_out++;
		return;
	}
	if (!array_grow(&report->problems, &report->capacity, report->count, sizeof(*problem))) {
		report->no_memory = true;
		return;
	}
	problem = &report->problems[report->count];
	*problem = (struct problem){
		place, (uint32_t)report->count, warning, print_what(format, arguments)};
	if (problem->what)
		report->count++;
	else
		report->no_memory = true;
}

void report_verror(struct report *report, struct place place, const char *format, va_list arguments)
{
	add(report, place, false, format, arguments);
}

void report_error(struct report *report, struct place place, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add(report, place, false, format, arguments);
	va_end(arguments);
}

void report_warning(struct report *report, struct place place, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	add(report, place, true, format, arguments);
	va_end(arguments);
}

/* The bytes of the line break at `at`, as libyaml counts lines (YAML 1.1: NEL, LS, PS too); 0 when
 * there is none. */
static size_t break_length(const char *data, size_t length, size_t at)
{
	const char *p = data + at;
	size_t left = length - at;

	if (left >= 2 && p[0] == '\r' && p[1] == '\n')
		return 2;
	if (left >= 1 && (p[0] == '\r' || p[0] == '\n'))
		return 1;
	if (left >= 2 && memcmp(p, "\xc2\x85", 2) == 0)
		return 2;
	if (left >= 3 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 || memcmp(p, "\xe2\x80\xa9", 3) == 0))
		return 3;
	return 0;
}

static bool continues_character(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* A byte order mark belongs to no column. */
static size_t text_start(const struct config_source *source)
{
	return source->length >= 3 && memcmp(source->data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

struct place report_place_of_byte(const struct report *report, uint32_t source, size_t offset)
{
	const char *data = report->sources[source].data;
	size_t length = report->sources[source].length;
	struct place place = {source, 1, 1};

	for (size_t at = text_start(&report->sources[source]); at < offset && at < length;) {
		size_t skip = break_length(data, length, at);
		if (skip && at + skip <= offset) {
			at += skip;
			place.line++;
			place.column = 1;
			continue;
		}
		at++;
		if (at == length || at == offset || !continues_character(data[at]))
			place.column++;
	}
	return place;
}

/* Walks through a source once, while problems come in the order of lines. */
struct line_cursor {
	const char *data;
	size_t length;
	uint32_t line;
	size_t start, end; /* of the line, the break excluded */
};

static void find_end(struct line_cursor *cursor)
{
	cursor->end = cursor->start;
	while (cursor->end < cursor->length &&
		!break_length(cursor->data, cursor->length, cursor->end))
		cursor->end++;
}

static void move_to_line(struct line_cursor *cursor, uint32_t line)
{
	while (cursor->line < line) {
		size_t skip = cursor->end < cursor->length
				      ? break_length(cursor->data, cursor->length, cursor->end)
				      : 0;
		cursor->start = cursor->end + skip;
		cursor->line++;
		find_end(cursor);
	}
}

/* The byte at a column of the cursor's line, or the line's end. */
static size_t byte_of_column(const struct line_cursor *line, uint32_t column)
{
	size_t at = line->start;

	for (uint32_t i = 1; i < column && at < line->end; i++) {
		at++;
		while (at < line->end && continues_character(line->data[at]))
			at++;
	}
	return at;
}

static struct line_cursor first_line(const struct config_source *source)
{
	struct line_cursor cursor = {source->data, source->length, 1, text_start(source), 0};

	find_end(&cursor);
	return cursor;
}

bool report_is_tab(const struct report *report, struct place place)
{
	struct line_cursor cursor = first_line(&report->sources[place.source]);
	size_t at;

	move_to_line(&cursor, place.line);
	at = byte_of_column(&cursor, place.column);
	return at < cursor.end && cursor.data[at] == '\t';
}

static size_t width_of(char c)
{
	unsigned char byte = (unsigned char)c;

	if (byte == '\\')
		return 2;
	return (byte >= 0x20 && byte < 0x7f) || byte == '\t' ? 1 : 4;
}

static size_t width_between(const char *data, size_t start, size_t end, size_t enough)
{
	size_t width = 0;

	for (size_t i = start; i < end && width <= enough; i++)
		width += width_of(data[i]);
	return width;
}

/* The line, cut around the caret where it is long, and the caret below; nothing of an empty one. A
 * tab is echoed as one space: its width on a terminal depends on where the line starts. */
static void print_echo(const struct line_cursor *line, uint32_t column, struct text *messages)
{
	size_t caret = byte_of_column(line, column), from = line->start, to = line->end, width = 0;

	if (from == to)
		return;
	if (width_between(line->data, from, to, ECHO_WIDTH) > ECHO_WIDTH) {
		for (from = caret; from > line->start && width < ECHO_BEFORE; from--)
			width += width_of(line->data[from - 1]);
		for (to = caret; to < line->end && width < ECHO_WIDTH; to++)
			width += width_of(line->data[to]);
	}
	size_t before = from > line->start ? 3 : 0;
	text_puts(messages, before ? "..." : "");
	for (size_t i = from; i < to; i++)
		text_escaped(messages, line->data[i] == '\t' ? " " : &line->data[i], 1);
	text_puts(messages, to < line->end ? "...\n" : "\n");
	before += width_between(line->data, from, caret, SIZE_MAX - 1);
	text_printf(messages, "%*s^\n", (int)before, "");
}

static int by_place(const void *a, const void *b)
{
	const struct problem *x = a, *y = b;

	if (x->place.source != y->place.source)
		return x->place.source < y->place.source ? -1 : 1;
	if (x->place.line != y->place.line)
		return x->place.line < y->place.line ? -1 : 1;
	if (x->place.column != y->place.column)
		return x->place.column < y->place.column ? -1 : 1;
	return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* What stands behind an anchor is met once for each alias; one report of it is enough. */
static bool repeats(const struct problem *problem, const struct problem *before)
{
	return problem->place.source == before->place.source &&
	       problem->place.line == before->place.line &&
	       problem->place.column == before->place.column &&
	       strcmp(problem->what, before->what) == 0;
}

void report_print(struct report *report, struct text *messages)
{
	struct line_cursor cursor = {0};

	if (report->count)
		qsort(report->problems, report->count, sizeof(report->problems[0]), by_place);
	for (size_t i = 0; i < report->count; i++) {
		const struct problem *problem = &report->problems[i];
		const struct place *place = &problem->place;
		const struct config_source *source = &report->sources[place->source];

		if (i > 0 && repeats(problem, problem - 1))
			continue;
		if (i == 0 || problem[-1].place.source != place->source)
			cursor = first_line(source);
		move_to_line(&cursor, place->line);
		text_escaped(messages, source->path, strlen(source->path));
		text_printf(messages, ":%" PRIu32 ":%" PRIu32 ": %s: %s\n", place->line,
			place->column, problem->warning ? "warning" : "error", problem->what);
		print_echo(&cursor, place->column, messages);
	}
	if (report->left_out)
		text_printf(
			messages, "%zu more errors and warnings are not shown\n", report->left_out);
}

void report_free(struct report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->problems[i].what);
	free(report->problems);
	*report = (struct report){0};
}
