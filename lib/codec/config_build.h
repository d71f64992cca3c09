/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A config in the making: what the files of the config parser share. Internal to it.
 */
#ifndef SIPFENCE_CONFIG_BUILD_H
#define SIPFENCE_CONFIG_BUILD_H

#include "config_reader.h"

struct draft_owner {
	struct owner owner; /* .guard is an index into build.guards */
	struct place place;
};

struct owner_list {
	struct draft_owner *items;
	size_t count, capacity;
};

struct draft_prefix {
	struct prefix prefix;
	struct place place;
};

struct prefix_list {
	struct draft_prefix *items;
	size_t count, capacity;
};

struct draft_name {
	const char *name;
	struct place place;
};

struct name_list {
	struct draft_name *items;
	size_t count, capacity;
};

struct draft_port {
	struct port_range range;
	uint32_t service; /* index into config.services */
	struct place place;
};

struct build {
	struct config *config;
	struct report report;

	struct owner_list owners[2]; /* by enum owner_kind */
	struct guard *guards;	     /* one an owner with `within`, not yet made unique */
	size_t guard_count, guard_capacity;
	/* By enum owner_kind and whether DNSSEC is required: the guard of owners without `within`.
	 */
	bool has_plain_guard[2][2];
	uint32_t plain_guard[2][2];
	uint32_t max_addresses; /* of limits */
	bool require_dnssec;	/* for owners that say nothing of it */
	/* A database that stands in the config, be its path good or not. */
	bool has_country_database, has_asn_database;

	struct service services[CONFIG_MAX_SERVICES];
	struct place service_places[CONFIG_MAX_SERVICES];
	size_t service_count;
	struct draft_port *ports;
	size_t port_count, port_capacity;

	struct name_list includes; /* patterns */

	bool has_table;		/* nftables has `table` */
	struct place sets_only; /* in nftables; line 0: it has none */

	/* Reused from owner to owner. */
	bool owner_requires_dnssec;
	struct name_list names, srv;
	struct name_list countries, asns; /* "CA", "AS577" */
	struct prefix_list fixed, within;
	struct name_list servers;
};

/* config_owner.c: the values of `extensions` and `peers`. */
void read_extensions(struct reader *reader, const yaml_node_t *node, void *target);
void read_peers(struct reader *reader, const yaml_node_t *node, void *target);
/* After all files: duplicates are reported, owners and guards moved into the config. */
void owners_finish(struct build *build);

/* config_service.c */
void services_begin(struct build *build);
void read_services(struct reader *reader, const yaml_node_t *node, void *target);
void read_local_services(struct reader *reader, const yaml_node_t *node, void *target);
/* Defaults and overlaps; moves the services into the config. */
void services_finish(struct build *build);
/* The index of the service that `node` names, or -1 and reported. */
int service_find(struct reader *reader, const yaml_node_t *node);

/* config_sets.c: sets of the admin's own table. */
void read_sets_only(struct reader *reader, const yaml_node_t *node, void *target);
/* After services_finish(). */
void sets_only_finish(struct build *build);

/* config_programs.c: programs that are run, and the PBX whose own lists are kept right. */
void programs_begin(struct build *build);
void read_on_change(struct reader *reader, const yaml_node_t *node, void *target);
void read_asterisk(struct reader *reader, const yaml_node_t *node, void *target);

/* config_settings.c: everything else. */
void settings_begin(struct build *build);
void read_main_file(struct reader *reader, const yaml_node_t *root);
void read_included_file(struct reader *reader, const yaml_node_t *root);

/* Copies into the config's arena; NULL means out of memory, and is remembered. */
void *build_alloc(struct build *build, size_t count, size_t size);
const char *build_copy(struct build *build, const char *string, size_t length);

#endif
