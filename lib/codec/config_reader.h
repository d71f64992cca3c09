/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Walks one YAML document by tables of keys: each mapping level is a table of {key, kinds, reader},
 * and the walk itself finds what can be wrong at any level (unknown and repeated keys, wrong types,
 * alias loops). Errors go to the report; a reader function goes on with what is good.
 * Internal to the config parser.
 */
#ifndef SIPFENCE_CONFIG_READER_H
#define SIPFENCE_CONFIG_READER_H

#include "config_report.h"

#include <yaml.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum node_kind {
	NODE_TEXT = 1,
	NODE_LIST = 2,
	NODE_MAPPING = 4,
	NODE_NOT_HERE = 8, /* of a key: it belongs into the main file */
};

struct build;
struct open_node;

struct reader {
	struct report *report;
	struct build *build; /* what the config is made in; for the reader functions */
	uint32_t source;
	yaml_document_t document;
	const struct open_node *open; /* lists and mappings that we are in */
	uint64_t budget;	      /* nodes that may still be visited: bounds alias bombs */
};

typedef void read_fn(struct reader *reader, const yaml_node_t *node, void *target);
typedef void read_entry_fn(
	struct reader *reader, const yaml_node_t *key, const yaml_node_t *value, void *target);

struct key {
	const char *name;
	unsigned kinds; /* of enum node_kind */
	read_fn *read;	/* NULL: a key of a later version, refused */
};
#define KEYS(table) table, sizeof(table) / sizeof((table)[0])

/* Loads report->sources[source]. False: nothing to read (reported, or an empty file; then
 * *ret_empty). On true, reader_close() ends it. */
bool reader_open(struct reader *reader, struct report *report, struct build *build, uint32_t source,
	bool *ret_empty);
void reader_close(struct reader *reader);
const yaml_node_t *reader_root(struct reader *reader);

/* Calls the readers of the keys that are there, in the order of the table. */
void reader_mapping(struct reader *reader, const yaml_node_t *node, const struct key *keys,
	size_t count, void *target);
/* A mapping with free keys. */
void reader_entries(struct reader *reader, const yaml_node_t *node, const char *what,
	read_entry_fn *read, void *target);
/* The texts of a list; a text alone counts as a list of one. An empty list is an error unless
 * allowed. `what` names the list in messages. */
void reader_items(struct reader *reader, const yaml_node_t *node, const char *what,
	bool empty_allowed, read_fn *read, void *target);
/* Reports when the node's kind is not among `kinds`. */
bool reader_kind(struct reader *reader, const yaml_node_t *node, unsigned kinds, const char *what);
/* The same of the value of a key; NULL: its key is not fit to be named. */
bool reader_value(
	struct reader *reader, const yaml_node_t *key, const yaml_node_t *value, unsigned kinds);

struct place reader_place(const struct reader *reader, const yaml_node_t *node);
void reader_error(struct reader *reader, const yaml_node_t *node, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void reader_no_memory(struct reader *reader);

const char *node_text(const yaml_node_t *node);
size_t node_length(const yaml_node_t *node);
bool node_is(const yaml_node_t *node, const char *text);
struct quote node_quote(const yaml_node_t *node);

/* "; did you mean \"near\"?" for the nearest candidate, or nothing where none is near. */
struct suggestion {
	char text[96];
};
struct nearest {
	const char *name;
	size_t distance;
};
void nearest_try(struct nearest *nearest, const yaml_node_t *node, const char *candidate);
struct suggestion nearest_text(const struct nearest *nearest);

#endif
