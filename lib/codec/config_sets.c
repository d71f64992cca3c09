/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_build.h"
#include "config_scalar.h"

#include <string.h>

enum { HOSTS, NETS };

/* "inet filter": the family may be left out, as for nft itself (ip then). */
static void read_table_of_sets(struct reader *reader, const yaml_node_t *node)
{
	static const struct {
		const char *word;
		enum table_family family;
	} families[] = {{"inet", TABLE_INET}, {"ip", TABLE_IPV4}, {"ip6", TABLE_IPV6}};
	struct config *config = reader->build->config;
	const char *text = node_text(node), *space = memchr(text, ' ', node_length(node));
	yaml_node_t name = *node;
	const char *table;

	for (size_t i = 0; space && i < sizeof(families) / sizeof(families[0]); i++) {
		size_t length = strlen(families[i].word);

		if ((size_t)(space - text) != length || memcmp(text, families[i].word, length) != 0)
			continue;
		name.data.scalar.value += length + 1;
		name.data.scalar.length -= length + 1;
		table = scalar_nft_name(reader, &name, "a table");
		if (table)
			config->table = table;
		config->table_family = (uint8_t)families[i].family;
		return;
	}
	reader_error(reader, node,
		"%s is not a table: its family and its name are needed, like \"inet filter\" (inet, "
		"ip or ip6)",
		node_quote(node).text);
}

static void read_set(
	struct reader *reader, const yaml_node_t *node, void *target, int kind, enum family family)
{
	struct service *service = target;
	const struct build *build = reader->build;
	const char *name = scalar_nft_name(reader, node, "a set");

	for (size_t i = 0; name && i < build->service_count * 2 * FAMILY_COUNT; i++) {
		const struct service *other = &build->services[i / (2 * FAMILY_COUNT)];
		const char *taken = other->sets[i / FAMILY_COUNT % 2][i % FAMILY_COUNT];

		if (taken && strcmp(taken, name) == 0)
			reader_error(reader, node,
				"the set %s stands here twice; each needs one of its own",
				node_quote(node).text);
	}
	service->sets[kind][family] = name;
}

static void read_hosts4(struct reader *reader, const yaml_node_t *node, void *target)
{
	read_set(reader, node, target, HOSTS, FAMILY_IPV4);
}

static void read_hosts6(struct reader *reader, const yaml_node_t *node, void *target)
{
	read_set(reader, node, target, HOSTS, FAMILY_IPV6);
}

static void read_nets4(struct reader *reader, const yaml_node_t *node, void *target)
{
	read_set(reader, node, target, NETS, FAMILY_IPV4);
}

static void read_nets6(struct reader *reader, const yaml_node_t *node, void *target)
{
	read_set(reader, node, target, NETS, FAMILY_IPV6);
}

static bool has_sets(const struct service *service)
{
	for (int i = 0; i < 2 * FAMILY_COUNT; i++) {
		if (service->sets[i / FAMILY_COUNT][i % FAMILY_COUNT])
			return true;
	}
	return false;
}

/* "table", or a service. */
static void read_entry(
	struct reader *reader, const yaml_node_t *key, const yaml_node_t *value, void *target)
{
	static const struct key keys[] = {
		{"hosts4", NODE_TEXT, read_hosts4},
		{"hosts6", NODE_TEXT, read_hosts6},
		{"nets4", NODE_TEXT, read_nets4},
		{"nets6", NODE_TEXT, read_nets6},
	};
	bool *has_table = target;
	struct service *service;
	int index;

	if (node_is(key, "table")) {
		if (*has_table)
			reader_error(reader, key, "duplicate key \"table\"");
		*has_table = true;
		if (reader_kind(reader, value, NODE_TEXT, "\"table\""))
			read_table_of_sets(reader, value);
		return;
	}
	index = service_find(reader, key);
	if (index < 0 || !reader_kind(reader, value, NODE_MAPPING, node_quote(key).text))
		return;
	service = &reader->build->services[index];
	if (has_sets(service)) {
		reader_error(reader, key, "service %s stands here twice", node_quote(key).text);
		return;
	}
	reader_mapping(reader, value, KEYS(keys), service);
}

void read_sets_only(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct build *build = reader->build;
	size_t errors = reader->report->errors, kept = 0;
	bool has_table = false;

	(void)target;
	build->config->sets_only = true;
	build->config->lock = false;
	build->sets_only = reader_place(reader, node);
	if (build->has_table)
		reader_error(reader, node,
			"\"table\" and \"sets-only\" exclude each other: sipfence has a table of "
			"its own, or keeps sets in yours");
	reader_entries(reader, node, "\"sets-only\"", read_entry, &has_table);
	for (size_t i = 0; i < build->service_count; i++)
		kept += has_sets(&build->services[i]);
	if (reader->report->errors > errors)
		return;
	if (!has_table)
		reader_error(reader, node,
			"\"sets-only\" needs \"table\": that of your firewall, like \"inet filter\"");
	else if (kept == 0)
		reader_error(reader, node,
			"\"sets-only\" names no set: sip: {hosts4: NAME, hosts6: NAME, nets4: NAME, "
			"nets6: NAME}");
}

/* What is decided by rules, which are the admin's here. */
static void refuse_rules(struct build *build)
{
	const struct config *config = build->config;
	const char *what = config->monitor		   ? "\"mode: monitor\""
			   : config->accept_replies	   ? "\"replies: accept\""
			   : config->destination_count > 0 ? "\"destinations\""
							   : NULL;

	if (what)
		report_error(&build->report, build->sets_only,
			"%s means nothing beside \"sets-only\": your own rules decide", what);
}

void sets_only_finish(struct build *build)
{
	const struct config *config = build->config;

	if (!config->sets_only)
		return;
	refuse_rules(build);
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service *service = &config->services[i];

		if (!has_sets(service) && build->service_places[i].line)
			report_warning(&build->report, build->service_places[i],
				"service \"%s\" has no set in \"sets-only\": nothing is kept for it",
				service->name);
		for (int j = 0; j < 2 * FAMILY_COUNT; j++) {
			int family = j % FAMILY_COUNT;
			const char *name = service->sets[j / FAMILY_COUNT][family];

			if (name &&
				((config->table_family == TABLE_IPV4 && family == FAMILY_IPV6) ||
					(config->table_family == TABLE_IPV6 &&
						family == FAMILY_IPV4)))
				report_error(&build->report, build->sets_only,
					"the set \"%s\" is of the other IP version than its table",
					name);
		}
	}
}
