/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_build.h"
#include "config_scalar.h"

#include <string.h>

enum { MAX_ARGUMENTS = 64 };

/* A program and its arguments in the making. */
struct argument_list {
	const char *items[MAX_ARGUMENTS + 2]; /* the program before them, NULL behind */
	size_t count;			      /* those too many included */
	bool by_name;			      /* the program may be one of the usual folders' */
};

static const char *read_program(
	struct reader *reader, const yaml_node_t *node, const struct argument_list *arguments)
{
	const char *text = node_text(node);
	size_t length = node_length(node);

	if (!arguments->by_name || length == 0 || memchr(text, '/', length) ||
		memchr(text, '\0', length))
		return scalar_path(reader, node, "a program");
	return build_copy(reader->build, text, length);
}

static void read_argument(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct argument_list *arguments = target;
	size_t index = arguments->count++;

	if (index == MAX_ARGUMENTS + 1)
		reader_error(
			reader, node, "too many arguments; a program may have %d", MAX_ARGUMENTS);
	if (index > MAX_ARGUMENTS)
		return;
	if (index == 0)
		arguments->items[index] = read_program(reader, node, arguments);
	else if (memchr(node_text(node), '\0', node_length(node)))
		reader_error(reader, node, "an argument cannot hold a zero byte");
	else
		arguments->items[index] =
			build_copy(reader->build, node_text(node), node_length(node));
}

/* NULL: it is wrong, and reported, or there is no memory. */
static const char *const *read_arguments(
	struct reader *reader, const yaml_node_t *node, const char *what, bool by_name)
{
	struct argument_list list = {.by_name = by_name};
	const char **arguments;

	reader_items(reader, node, what, false, read_argument, &list);
	if (list.count == 0 || list.count > MAX_ARGUMENTS + 1)
		return NULL;
	arguments = build_alloc(reader->build, list.count + 1, sizeof(arguments[0]));
	if (arguments)
		memcpy(arguments, list.items, (list.count + 1) * sizeof(arguments[0]));
	return arguments;
}

void read_on_change(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	reader->build->config->on_change = read_arguments(reader, node, "\"on-change\"", false);
}

/* asterisk */

/* Where keys stand that need others; NULL: they are not there, or false. */
struct asterisk_keys {
	const yaml_node_t *acl, *evict, *hangup;
};

/* One that is wrong, and reported, counts as true: what needs it is not at fault. */
static void read_switch(
	struct reader *reader, const yaml_node_t *node, bool *ret_value, const yaml_node_t **ret_on)
{
	if (!scalar_bool(reader, node, ret_value) || *ret_value)
		*ret_on = node;
}

static void read_acl(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct asterisk_keys *found = target;

	read_switch(reader, node, &reader->build->config->asterisk.acl, &found->acl);
}

static void read_evict(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct asterisk_keys *found = target;

	read_switch(reader, node, &reader->build->config->asterisk.evict, &found->evict);
}

static void read_hangup(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct asterisk_keys *found = target;

	read_switch(reader, node, &reader->build->config->asterisk.hangup, &found->hangup);
}

static void read_acl_file(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	reader->build->config->asterisk.acl_file = scalar_path(reader, node, "the file of ACLs");
}

static void read_command(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	reader->build->config->asterisk.command = read_arguments(reader, node, "\"command\"", true);
}

static void read_security_log(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	reader->build->config->asterisk.security_log =
		scalar_path(reader, node, "the security log");
}

void read_asterisk(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"acl", NODE_TEXT, read_acl},
		{"acl-file", NODE_TEXT, read_acl_file},
		{"command", NODE_TEXT | NODE_LIST, read_command},
		{"security-log", NODE_TEXT, read_security_log},
		{"evict", NODE_TEXT, read_evict},
		{"hangup", NODE_TEXT, read_hangup},
	};
	struct asterisk_keys found = {0};

	(void)target;
	reader_mapping(reader, node, KEYS(keys), &found);
	if (found.evict && !found.acl)
		reader_error(reader, found.evict,
			"\"evict\" needs \"acl: true\": who is thrown out while no ACL keeps him "
			"out is back at once");
	if (found.hangup && !found.evict)
		reader_error(reader, found.hangup,
			"\"hangup\" needs \"evict: true\": it ends the calls of those who are "
			"thrown out");
}

void programs_begin(struct build *build)
{
	static const char *const command[] = {"asterisk", "-rx", NULL};
	struct config *config = build->config;

	config->asterisk.acl_file = "/etc/asterisk/sipfence_acl.conf";
	config->asterisk.command = command;
}
