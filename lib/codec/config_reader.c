/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAX_KEYS = 32,	    /* of one table */
	MAX_SUGGESTED = 40, /* bytes of a text that a near key is looked for */
};

struct open_node {
	const yaml_node_t *node;
	const struct open_node *outer;
};

const char *node_text(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

size_t node_length(const yaml_node_t *node)
{
	return node->data.scalar.length;
}

bool node_is(const yaml_node_t *node, const char *text)
{
	return node_length(node) == strlen(text) &&
	       memcmp(node_text(node), text, node_length(node)) == 0;
}

struct quote node_quote(const yaml_node_t *node)
{
	return quote(node_text(node), node_length(node));
}

struct place reader_place(const struct reader *reader, const yaml_node_t *node)
{
	return (struct place){reader->source, (uint32_t)node->start_mark.line + 1,
		(uint32_t)node->start_mark.column + 1};
}

void reader_error(struct reader *reader, const yaml_node_t *node, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	report_verror(reader->report, reader_place(reader, node), format, arguments);
	va_end(arguments);
}

void reader_no_memory(struct reader *reader)
{
	reader->report->no_memory = true;
}

static unsigned kind_of(const yaml_node_t *node)
{
	switch (node->type) {
	case YAML_SCALAR_NODE:
		return NODE_TEXT;
	case YAML_SEQUENCE_NODE:
		return NODE_LIST;
	case YAML_MAPPING_NODE:
		return NODE_MAPPING;
	default:
		return 0;
	}
}

static const char *kind_name(unsigned kind)
{
	return kind == NODE_TEXT ? "text" : kind == NODE_LIST ? "a list" : "a mapping";
}

static const char *kinds_name(unsigned kinds)
{
	switch (kinds) {
	case NODE_TEXT:
		return "one value";
	case NODE_LIST:
		return "a list";
	case NODE_MAPPING:
		return "a mapping (\"key: value\")";
	case NODE_TEXT | NODE_LIST:
		return "one value or a list";
	case NODE_TEXT | NODE_MAPPING:
		return "one value or a mapping";
	default:
		return "one value, a list or a mapping";
	}
}

/* An explicit tag would change what a value means; only those that say the obvious may stand. */
static bool has_foreign_tag(const yaml_node_t *node)
{
	const char *expected = node->type == YAML_SCALAR_NODE	  ? YAML_DEFAULT_SCALAR_TAG
			       : node->type == YAML_SEQUENCE_NODE ? YAML_DEFAULT_SEQUENCE_TAG
								  : YAML_DEFAULT_MAPPING_TAG;

	return node->tag && strcmp((const char *)node->tag, expected) != 0;
}

/* Whether an alias led us into a list or mapping that we are in already. */
static bool is_open(const struct reader *reader, const yaml_node_t *node)
{
	for (const struct open_node *open = reader->open; open; open = open->outer)
		if (open->node == node)
			return true;
	return false;
}

static bool is_left_out(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE && node_length(node) == 0 &&
	       node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_good(const struct reader *reader, const yaml_node_t *node, unsigned kinds)
{
	return !is_open(reader, node) && !is_left_out(node) && (kind_of(node) & kinds) &&
	       !has_foreign_tag(node);
}

/* "21:home.example" is one word to YAML. */
static bool lacks_space(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE &&
	       node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       memchr(node_text(node), ':', node_length(node));
}

/* Of a node that is not good. */
static void report_node(
	struct reader *reader, const yaml_node_t *node, unsigned kinds, const char *what)
{
	if (is_open(reader, node))
		reader_error(reader, node, "an alias inside of this leads back to it: a loop");
	else if (is_left_out(node))
		reader_error(reader, node, "%s has no value; %s is needed here", what,
			kinds_name(kinds));
	else if (!(kind_of(node) & kinds))
		reader_error(reader, node, "%s must be %s, not %s%s", what, kinds_name(kinds),
			kind_name(kind_of(node)),
			kinds & NODE_MAPPING && lacks_space(node)
				? "; a space belongs behind the colon"
				: "");
	else
		reader_error(reader, node, "tags (!...) have no meaning here; remove it");
}

bool reader_kind(struct reader *reader, const yaml_node_t *node, unsigned kinds, const char *what)
{
	if (is_good(reader, node, kinds))
		return true;
	report_node(reader, node, kinds, what);
	return false;
}

bool reader_value(
	struct reader *reader, const yaml_node_t *key, const yaml_node_t *value, unsigned kinds)
{
	if (is_good(reader, value, kinds))
		return true;
	report_node(reader, value, kinds, key ? node_quote(key).text : "this");
	return false;
}

static void enter(struct reader *reader, const yaml_node_t *node, struct open_node *open)
{
	*open = (struct open_node){node, reader->open};
	reader->open = open;
}

static void leave(struct reader *reader, const struct open_node *open)
{
	reader->open = open->outer;
}

/* False when aliases make the document much larger than its text. */
static bool spend(struct reader *reader, const yaml_node_t *node)
{
	if (reader->budget == 0)
		return false;
	if (--reader->budget == 0) {
		reader_error(reader, node, "too large once its aliases are followed");
		return false;
	}
	return true;
}

static bool key_is_text(struct reader *reader, const yaml_node_t *key)
{
	if (kind_of(key) != NODE_TEXT) {
		reader_error(reader, key, "a key must be text, not %s", kind_name(kind_of(key)));
		return false;
	}
	if (has_foreign_tag(key)) {
		reader_error(reader, key, "tags (!...) have no meaning here; remove it");
		return false;
	}
	return true;
}

static void report_unknown(
	struct reader *reader, const yaml_node_t *key, const struct key *keys, size_t count)
{
	struct nearest nearest = {0};

	for (size_t i = 0; i < count; i++)
		nearest_try(&nearest, key, keys[i].name);
	reader_error(
		reader, key, "unknown key %s%s", node_quote(key).text, nearest_text(&nearest).text);
}

/* The value, or NULL (and reported) when the entry cannot be read. */
static const yaml_node_t *check_entry(struct reader *reader, const yaml_node_pair_t *pair,
	const struct key *key, const yaml_node_t *first)
{
	const yaml_node_t *node = yaml_document_get_node(&reader->document, pair->key);
	const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);

	if (first) {
		reader_error(reader, node, "duplicate key \"%s\"; first in line %zu", key->name,
			first->start_mark.line + 1);
		return NULL;
	}
	if (key->kinds & NODE_NOT_HERE) {
		reader_error(reader, node,
			"\"%s\" belongs into the main file; an included one holds \"extensions\" "
			"and \"peers\"",
			key->name);
		return NULL;
	}
	if (!key->read) {
		reader_error(reader, node, "\"%s\" is not supported yet", key->name);
		return NULL;
	}
	return reader_value(reader, node, value, key->kinds) ? value : NULL;
}

void reader_mapping(struct reader *reader, const yaml_node_t *node, const struct key *keys,
	size_t count, void *target)
{
	const yaml_node_t *seen[MAX_KEYS] = {0}, *values[MAX_KEYS] = {0};
	struct open_node open;

	enter(reader, node, &open);
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
		size_t i = 0;

		if (!spend(reader, key))
			break;
		if (!key_is_text(reader, key))
			continue;
		while (i < count && !node_is(key, keys[i].name))
			i++;
		if (i == count) {
			report_unknown(reader, key, keys, count);
			continue;
		}
		const yaml_node_t *value = check_entry(reader, pair, &keys[i], seen[i]);
		if (!seen[i])
			values[i] = value;
		if (!seen[i])
			seen[i] = key;
	}
	for (size_t i = 0; i < count; i++)
		if (values[i])
			keys[i].read(reader, values[i], target);
	leave(reader, &open);
}

void reader_entries(struct reader *reader, const yaml_node_t *node, const char *what,
	read_entry_fn *read, void *target)
{
	struct open_node open;

	if (node->data.mapping.pairs.start == node->data.mapping.pairs.top)
		reader_error(reader, node, "%s is empty; remove it or fill it", what);
	enter(reader, node, &open);
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
		const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);

		if (!spend(reader, key) || reader->report->no_memory)
			break;
		if (key_is_text(reader, key))
			read(reader, key, value, target);
	}
	leave(reader, &open);
}

void reader_items(struct reader *reader, const yaml_node_t *node, const char *what,
	bool empty_allowed, read_fn *read, void *target)
{
	struct open_node open;
	char item_of[96];

	if (node->type == YAML_SCALAR_NODE) {
		read(reader, node, target);
		return;
	}
	if (node->data.sequence.items.start == node->data.sequence.items.top && !empty_allowed)
		reader_error(reader, node, "%s is an empty list; remove it or fill it", what);
	enter(reader, node, &open);
	snprintf(item_of, sizeof(item_of), "an item of %s", what);
	for (const yaml_node_item_t *item = node->data.sequence.items.start;
		item < node->data.sequence.items.top; item++) {
		const yaml_node_t *value = yaml_document_get_node(&reader->document, *item);

		if (!spend(reader, value) || reader->report->no_memory)
			break;
		if (reader_kind(reader, value, NODE_TEXT, item_of))
			read(reader, value, target);
	}
	leave(reader, &open);
}

/* Edits (insert, delete, replace, swap neighbours) between two short texts. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][MAX_SUGGESTED + 1];

	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				above2[j - 2] + 1 < best)
				best = above2[j - 2] + 1;
			row[j] = best;
		}
	}
	return rows[a_length % 3][b_length];
}

void nearest_try(struct nearest *nearest, const yaml_node_t *node, const char *candidate)
{
	size_t length = strlen(candidate), limit = length / 3 > 2 ? length / 3 : 2, distance;

	if (node_length(node) > MAX_SUGGESTED || length > MAX_SUGGESTED)
		return;
	distance = edit_distance(node_text(node), node_length(node), candidate, length);
	/* Half of a short word changed is another word, not a slip. */
	if (distance > limit || distance * 2 > length)
		return;
	if (nearest->name && nearest->distance <= distance)
		return;
	*nearest = (struct nearest){candidate, distance};
}

struct suggestion nearest_text(const struct nearest *nearest)
{
	struct suggestion suggestion = {""};

	if (nearest->name)
		snprintf(suggestion.text, sizeof(suggestion.text), "; did you mean \"%s\"?",
			nearest->name);
	return suggestion;
}

/* From the bytes of a source to a YAML document. */

enum {
	/* libyaml's work grows with the square of the depth of [ and {; the schema has four levels.
	 */
	MAX_FLOW_DEPTH = 64,
	PIECE = 1024,	   /* bytes handed to libyaml at once: how far it can go too deep */
	BUDGET_FACTOR = 4, /* visits a node of a document may have on average */
	BUDGET_LEAST = 10000,
};

struct load {
	yaml_parser_t parser;
	struct report *report;
	uint32_t index; /* of the source */
	const struct config_source *source;
	size_t start; /* behind a byte order mark, which is no column */
	size_t at;
	bool too_deep;
};

static int feed(void *data, unsigned char *buffer, size_t size, size_t *ret_size)
{
	struct load *load = data;
	size_t left = load->source->length - load->at;
	size_t piece = size < PIECE ? size : PIECE;

	if (load->parser.flow_level > MAX_FLOW_DEPTH) {
		load->too_deep = true;
		return 0;
	}
	if (piece > left)
		piece = left;
	if (piece > 0)
		memcpy(buffer, load->source->data + load->at, piece);
	load->at += piece;
	*ret_size = piece;
	return 1;
}

static struct place place_of(const struct load *load, const yaml_mark_t *mark)
{
	return (struct place){load->index, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1};
}

static void report_unreadable(struct load *load, const char *problem)
{
	size_t offset = load->parser.problem_offset + load->start;
	struct place place = report_place_of_byte(load->report, load->index, offset);
	unsigned byte = 0x80;

	/* libyaml names the byte behind the one that should have had a successor. */
	if (strstr(problem, "trailing") || strstr(problem, "incomplete")) {
		while (offset > 0 && offset <= load->source->length &&
			(offset == load->source->length ||
				((unsigned char)load->source->data[offset] & 0xc0) != 0xc0))
			offset--;
		place = report_place_of_byte(load->report, load->index, offset);
	}
	if (offset < load->source->length)
		byte = (unsigned char)load->source->data[offset];
	if (byte < 0x80)
		report_error(load->report, place,
			"a control character (byte 0x%02x) cannot stand here", byte);
	else
		report_error(load->report, place, "not UTF-8 text: %s", problem);
}

static void report_invalid(struct load *load, const char *problem)
{
	const yaml_parser_t *parser = &load->parser;
	const yaml_mark_t *mark = &parser->problem_mark;
	const char *hint = "";
	char from[48] = "";

	if (report_is_tab(load->report, place_of(load, mark)))
		hint = "; YAML is indented with spaces, not with tabs";
	else if (strcmp(problem, "did not find expected key") == 0)
		hint = "; the keys of one mapping stand below each other";
	if (parser->context && parser->context_mark.line != mark->line)
		snprintf(from, sizeof(from), " (from line %zu)", parser->context_mark.line + 1);
	report_error(load->report, place_of(load, mark), "not valid YAML: %s%s%s%s%s", problem,
		parser->context ? ", " : "", parser->context ? parser->context : "", from, hint);
}

static void report_yaml_error(struct load *load)
{
	const yaml_parser_t *parser = &load->parser;
	const char *problem = parser->problem ? parser->problem : "unreadable";

	/* libyaml 0.2.5 sets no error where it finds no memory for a node's tag. */
	if (parser->error == YAML_MEMORY_ERROR || parser->error == YAML_NO_ERROR)
		load->report->no_memory = true;
	else if (load->too_deep)
		report_error(load->report, place_of(load, &parser->mark),
			"too many brackets in brackets");
	else if (parser->error == YAML_READER_ERROR)
		report_unreadable(load, problem);
	else
		report_invalid(load, problem);
}

/* Refuses what follows the first document. */
static bool check_end(struct load *load)
{
	yaml_document_t second;
	bool one = true;

	if (!yaml_parser_load(&load->parser, &second)) {
		report_yaml_error(load);
		return false;
	}
	if (yaml_document_get_root_node(&second)) {
		report_error(load->report, place_of(load, &second.start_mark),
			"a second YAML document (---) starts here; a file holds one");
		one = false;
	}
	yaml_document_delete(&second);
	return one;
}

static bool load_document(struct load *load, yaml_document_t *ret_document, bool *ret_empty)
{
	const struct config_source *source = load->source;

	if (source->length >= 3 && memcmp(source->data, "\xef\xbb\xbf", 3) == 0)
		load->at = load->start = 3;
	yaml_parser_set_encoding(&load->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input(&load->parser, feed, load);
	if (!yaml_parser_load(&load->parser, ret_document)) {
		report_yaml_error(load);
		return false;
	}
	*ret_empty = !yaml_document_get_root_node(ret_document);
	if (*ret_empty || !check_end(load)) {
		yaml_document_delete(ret_document);
		return false;
	}
	return true;
}

bool reader_open(struct reader *reader, struct report *report, struct build *build, uint32_t source,
	bool *ret_empty)
{
	struct load load = {.report = report, .index = source, .source = &report->sources[source]};
	bool loaded;

	*reader = (struct reader){.report = report, .build = build, .source = source};
	*ret_empty = false;
	if (!yaml_parser_initialize(&load.parser)) {
		report->no_memory = true;
		return false;
	}
	loaded = load_document(&load, &reader->document, ret_empty);
	yaml_parser_delete(&load.parser);
	if (!loaded)
		return false;
	reader->budget = BUDGET_LEAST + BUDGET_FACTOR * (uint64_t)(reader->document.nodes.top -
								   reader->document.nodes.start);
	return true;
}

void reader_close(struct reader *reader)
{
	yaml_document_delete(&reader->document);
}

const yaml_node_t *reader_root(struct reader *reader)
{
	return yaml_document_get_root_node(&reader->document);
}
