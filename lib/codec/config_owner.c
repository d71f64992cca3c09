/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_build.h"
#include "config_scalar.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ID = 64, PEER_ADDRESSES = 64, ASN_TEXT_SIZE = sizeof("AS4294967295") };

static const char *kind_name(enum owner_kind kind)
{
	return kind == OWNER_PEER ? "peer" : "extension";
}

static void read_host(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct owner *owner = target;
	struct build *build = reader->build;
	char name[FQDN_SIZE];
	struct prefix prefix;
	const char *copy;

	if (scalar_looks_like_address(node)) {
		if (!scalar_source_prefix(reader, node, &prefix))
			return;
		if (owner->kind == OWNER_EXTENSION && !prefix_is_host(&prefix)) {
			reader_error(reader, node,
				"%s is a prefix, an extension has hosts only; "
				"put it under \"peers\" or \"local-subnets\"",
				node_quote(node).text);
			return;
		}
		list_add_prefix(reader, node, &build->fixed, &prefix);
		return;
	}
	if (!scalar_name(reader, node, name))
		return;
	copy = build_copy(build, name, strlen(name));
	if (copy)
		list_add_name(reader, node, &build->names, copy);
}

static void read_hosts(struct reader *reader, const yaml_node_t *node, void *target)
{
	reader_items(reader, node, "\"hosts\"", false, read_host, target);
}

static void read_srv_name(struct reader *reader, const yaml_node_t *node, void *target)
{
	char name[FQDN_SIZE];
	const char *copy;

	(void)target;
	if (!scalar_srv_name(reader, node, name))
		return;
	copy = build_copy(reader->build, name, strlen(name));
	if (copy)
		list_add_name(reader, node, &reader->build->srv, copy);
}

static void read_srv(struct reader *reader, const yaml_node_t *node, void *target)
{
	reader_items(reader, node, "\"srv\"", false, read_srv_name, target);
}

static void read_service(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct owner *owner = target;
	int service = service_find(reader, node);

	if (service < 0)
		return;
	if (owner->services & (UINT32_C(1) << service))
		reader_error(reader, node, "service %s stands here twice", node_quote(node).text);
	owner->services |= UINT32_C(1) << service;
}

static void read_peer_services(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct owner *owner = target;

	owner->services = 0;
	reader_items(reader, node, "\"services\"", false, read_service, target);
}

static void read_within_item(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct prefix prefix;

	(void)target;
	if (scalar_prefix(reader, node, &prefix))
		list_add_prefix(reader, node, &reader->build->within, &prefix);
}

static void read_within_prefixes(struct reader *reader, const yaml_node_t *node, void *target)
{
	reader_items(reader, node, "\"within\"", false, read_within_item, target);
}

/* What `within` looks addresses up in must be there. */
static void check_database(
	struct reader *reader, const yaml_node_t *node, const char *kind, bool has, bool has_other)
{
	if (!SIPFENCE_GEOIP)
		reader_error(reader, node,
			"\"%s\" cannot be used: this sipfence was built without libmaxminddb",
			kind);
	else if (!has)
		reader_error(reader, node,
			"\"%s\" needs a database to look addresses up in; add %s%s: "
			"/path/to/%s.mmdb%s",
			kind, has_other ? "to \"geoip\" the key " : "the line: geoip: {", kind,
			kind, has_other ? "" : "}");
}

static void read_country(struct reader *reader, const yaml_node_t *node, void *target)
{
	char code[COUNTRY_SIZE];
	const char *copy;

	(void)target;
	if (!scalar_country(reader, node, code))
		return;
	copy = build_copy(reader->build, code, strlen(code));
	if (copy)
		list_add_name(reader, node, &reader->build->countries, copy);
}

static void read_within_country(struct reader *reader, const yaml_node_t *node, void *target)
{
	const struct build *build = reader->build;

	check_database(
		reader, node, "country", build->has_country_database, build->has_asn_database);
	reader_items(reader, node, "\"country\"", false, read_country, target);
}

static void read_asn(struct reader *reader, const yaml_node_t *node, void *target)
{
	char text[ASN_TEXT_SIZE];
	const char *copy;
	uint32_t asn;

	(void)target;
	if (!scalar_asn(reader, node, &asn))
		return;
	/* The same text for the same number. */
	snprintf(text, sizeof(text), "AS%" PRIu32, asn);
	copy = build_copy(reader->build, text, strlen(text));
	if (copy)
		list_add_name(reader, node, &reader->build->asns, copy);
}

static void read_within_asn(struct reader *reader, const yaml_node_t *node, void *target)
{
	const struct build *build = reader->build;

	check_database(reader, node, "asn", build->has_asn_database, build->has_country_database);
	reader_items(reader, node, "\"asn\"", false, read_asn, target);
}

static void read_within(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"prefixes", NODE_TEXT | NODE_LIST, read_within_prefixes},
		{"country", NODE_TEXT | NODE_LIST, read_within_country},
		{"asn", NODE_TEXT | NODE_LIST, read_within_asn},
	};
	const struct build *build = reader->build;
	size_t errors = reader->report->errors;

	if (node->type != YAML_MAPPING_NODE) {
		read_within_prefixes(reader, node, target);
		return;
	}
	reader_mapping(reader, node, KEYS(keys), target);
	if (build->within.count + build->countries.count + build->asns.count == 0 &&
		reader->report->errors == errors)
		reader_error(reader, node,
			"\"within\" names no prefixes, countries or autonomous systems; remove it "
			"or fill it");
}

static void read_ipv6_prefix(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct owner *owner = target;
	uint32_t length;

	if (scalar_number(reader, node, "a prefix length", 1, 128, &length))
		owner->ipv6_prefix = (uint8_t)length;
}

static void read_local(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct owner *owner = target;

	scalar_bool(reader, node, &owner->local);
}

static void read_require_dnssec(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_bool(reader, node, &reader->build->owner_requires_dnssec);
}

static const struct key extension_keys[] = {
	{"hosts", NODE_TEXT | NODE_LIST, read_hosts},
	{"within", NODE_TEXT | NODE_LIST | NODE_MAPPING, read_within},
	{"ipv6-prefix", NODE_TEXT, read_ipv6_prefix},
	{"local", NODE_TEXT, read_local},
	{"require-dnssec", NODE_TEXT, read_require_dnssec},
};

static const struct key peer_keys[] = {
	{"hosts", NODE_TEXT | NODE_LIST, read_hosts},
	{"srv", NODE_TEXT | NODE_LIST, read_srv},
	{"services", NODE_TEXT | NODE_LIST, read_peer_services},
	{"within", NODE_TEXT | NODE_LIST | NODE_MAPPING, read_within},
	{"ipv6-prefix", NODE_TEXT, read_ipv6_prefix},
	{"require-dnssec", NODE_TEXT, read_require_dnssec},
};

/* Ids end up in comments of the ruleset: nothing in them may need quoting there. */
static bool check_id(struct reader *reader, const yaml_node_t *key, enum owner_kind kind)
{
	static const char signs[] = "._+-*#@!~";
	const char *id = node_text(key);
	size_t length = node_length(key);

	if (length == 0 || length > MAX_ID) {
		reader_error(reader, key, "the id of %s %s has %s; 1 to %d are allowed",
			kind == OWNER_PEER ? "a" : "an", kind_name(kind),
			length ? "too many characters" : "no characters", MAX_ID);
		return false;
	}
	for (size_t i = 0; i < length; i++) {
		char c = id[i];
		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c && strchr(signs, c)))
			continue;
		reader_error(reader, key,
			"%s cannot be the id of %s %s: letters, digits and %s are allowed",
			node_quote(key).text, kind == OWNER_PEER ? "a" : "an", kind_name(kind),
			signs);
		return false;
	}
	return true;
}

static bool add_guard(struct build *build, struct guard guard, uint32_t *ret_index)
{
	if (!array_grow(
		    &build->guards, &build->guard_capacity, build->guard_count, sizeof(guard))) {
		build->report.no_memory = true;
		return false;
	}
	*ret_index = (uint32_t)build->guard_count;
	build->guards[build->guard_count++] = guard;
	return true;
}

static uint32_t address_limit(const struct build *build, enum owner_kind kind)
{
	if (kind == OWNER_PEER && build->max_addresses < PEER_ADDRESSES)
		return PEER_ADDRESSES;
	return build->max_addresses;
}

/* Every owner without `within` shares one guard with the others of its kind. */
static void set_plain_guard(struct build *build, struct owner *owner, const struct guard *guard)
{
	uint32_t *index = &build->plain_guard[owner->kind][guard->require_dnssec];
	bool *has = &build->has_plain_guard[owner->kind][guard->require_dnssec];

	if (!*has)
		*has = add_guard(build, *guard, index);
	owner->guard = *index;
}

static void set_within(struct build *build, struct guard *guard)
{
	struct prefix_list *within = &build->within;

	list_sort_prefixes(build, within);
	guard->within = build_alloc(build, within->count, sizeof(guard->within[0]));
	guard->within_count = guard->within ? within->count : 0;
	for (size_t i = 0; i < guard->within_count; i++)
		guard->within[i] = within->items[i].prefix;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void set_origins(struct build *build, struct guard *guard)
{
	struct name_list *countries = &build->countries, *asns = &build->asns;

	list_sort_names(build, countries, "country");
	list_sort_names(build, asns, "autonomous system");
	guard->countries = build_alloc(build, countries->count, sizeof(guard->countries[0]));
	guard->country_count = guard->countries ? countries->count : 0;
	for (size_t i = 0; i < guard->country_count; i++)
		memcpy(guard->countries[i], countries->items[i].name, COUNTRY_SIZE);
	guard->asns = build_alloc(build, asns->count, sizeof(guard->asns[0]));
	guard->asn_count = guard->asns ? asns->count : 0;
	for (size_t i = 0; i < guard->asn_count; i++)
		guard->asns[i] = (uint32_t)strtoul(asns->items[i].name + strlen("AS"), NULL, 10);
	if (guard->asn_count > 1)
		qsort(guard->asns, guard->asn_count, sizeof(guard->asns[0]), by_number);
}

static void set_guard(struct build *build, struct owner *owner)
{
	struct guard guard = {
		.max_addresses = address_limit(build, owner->kind),
		.require_dnssec = build->owner_requires_dnssec,
	};

	if (build->within.count + build->countries.count + build->asns.count == 0) {
		set_plain_guard(build, owner, &guard);
		return;
	}
	set_within(build, &guard);
	set_origins(build, &guard);
	add_guard(build, guard, &owner->guard);
}

static void check_fixed_within(struct build *build)
{
	const struct prefix_list *fixed = &build->fixed, *within = &build->within;
	char text[PREFIX_TEXT_SIZE];

	for (size_t i = 0; i < fixed->count && within->count; i++) {
		size_t j = 0;
		while (j < within->count &&
			!prefix_covers(&within->items[j].prefix, &fixed->items[i].prefix))
			j++;
		if (j < within->count)
			continue;
		prefix_print(&fixed->items[i].prefix, text);
		report_error(&build->report, fixed->items[i].place,
			"%s lies outside the \"within\" beside it", text);
	}
}

static const char *const *move_names(struct build *build, const struct name_list *list)
{
	const char **names = build_alloc(build, list->count, sizeof(names[0]));

	for (size_t i = 0; names && i < list->count; i++)
		names[i] = list->items[i].name;
	return names;
}

static void move_hosts(struct build *build, struct owner *owner)
{
	struct prefix *fixed = build_alloc(build, build->fixed.count, sizeof(fixed[0]));

	for (size_t i = 0; fixed && i < build->fixed.count; i++)
		fixed[i] = build->fixed.items[i].prefix;
	owner->fixed = fixed;
	owner->fixed_count = (uint32_t)build->fixed.count;
	owner->names = move_names(build, &build->names);
	owner->name_count = (uint32_t)build->names.count;
	owner->srv = move_names(build, &build->srv);
	owner->srv_count = (uint32_t)build->srv.count;
}

static void add_owner(struct reader *reader, const yaml_node_t *key, struct owner *owner)
{
	struct build *build = reader->build;
	struct owner_list *list = &build->owners[owner->kind];

	move_hosts(build, owner);
	set_guard(build, owner);
	check_fixed_within(build);
	list_sort_names(build, &build->names, "host");
	list_sort_names(build, &build->srv, "SRV name");
	list_sort_prefixes(build, &build->fixed);
	owner->id = build_copy(build, node_text(key), node_length(key));
	if (!array_grow(&list->items, &list->capacity, list->count, sizeof(list->items[0]))) {
		reader_no_memory(reader);
		return;
	}
	list->items[list->count++] = (struct draft_owner){*owner, reader_place(reader, key)};
}

static void read_owner(struct reader *reader, const yaml_node_t *key, const yaml_node_t *value,
	enum owner_kind kind)
{
	struct build *build = reader->build;
	struct owner owner = {.kind = (uint8_t)kind, .services = 1, .ipv6_prefix = 128};
	size_t errors = reader->report->errors;
	bool good_id = check_id(reader, key, kind);

	build->names.count = build->srv.count = build->fixed.count = build->within.count = 0;
	build->countries.count = build->asns.count = 0;
	build->owner_requires_dnssec = build->require_dnssec;
	if (!reader_value(
		    reader, good_id ? key : NULL, value, NODE_TEXT | NODE_LIST | NODE_MAPPING))
		return;
	if (value->type == YAML_MAPPING_NODE && kind == OWNER_PEER)
		reader_mapping(reader, value, KEYS(peer_keys), &owner);
	else if (value->type == YAML_MAPPING_NODE)
		reader_mapping(reader, value, KEYS(extension_keys), &owner);
	else if (value->type == YAML_SCALAR_NODE && kind == OWNER_EXTENSION &&
		 node_is(value, "local"))
		owner.local = true;
	else
		reader_items(reader, value, "the list of hosts", false, read_host, &owner);
	if (value->type == YAML_MAPPING_NODE && !owner.local && reader->report->errors == errors &&
		build->names.count + build->srv.count + build->fixed.count == 0)
		reader_error(reader, key, "%s %s has no hosts%s", kind_name(kind),
			node_quote(key).text,
			kind == OWNER_PEER ? " and no srv"
					   : "; give it \"hosts\" or \"local: true\"");
	if (good_id)
		add_owner(reader, key, &owner);
}

static void read_extension(
	struct reader *reader, const yaml_node_t *key, const yaml_node_t *value, void *target)
{
	(void)target;
	read_owner(reader, key, value, OWNER_EXTENSION);
}

static void read_peer(
	struct reader *reader, const yaml_node_t *key, const yaml_node_t *value, void *target)
{
	(void)target;
	read_owner(reader, key, value, OWNER_PEER);
}

void read_extensions(struct reader *reader, const yaml_node_t *node, void *target)
{
	reader_entries(reader, node, "\"extensions\"", read_extension, target);
}

void read_peers(struct reader *reader, const yaml_node_t *node, void *target)
{
	reader_entries(reader, node, "\"peers\"", read_peer, target);
}

static int by_id(const void *a, const void *b)
{
	const struct draft_owner *const *x = a, *const *y = b;
	int order = strcmp((*x)->owner.id, (*y)->owner.id);

	if (order)
		return order;
	return *x < *y ? -1 : *x > *y; /* the order of the files */
}

static void report_duplicate(
	struct report *report, const struct draft_owner *owner, const struct draft_owner *first)
{
	const char *path = report->sources[first->place.source].path;

	if (owner->place.source == first->place.source)
		report_error(report, owner->place, "duplicate %s \"%s\"; first in line %" PRIu32,
			kind_name(owner->owner.kind), owner->owner.id, first->place.line);
	else
		report_error(report, owner->place,
			"duplicate %s \"%s\"; first in %s, line %" PRIu32,
			kind_name(owner->owner.kind), owner->owner.id,
			quote(path, strlen(path)).text, first->place.line);
}

/* Most people write them in order. */
static bool ids_go_up(const struct owner_list *list)
{
	for (size_t i = 1; i < list->count; i++)
		if (strcmp(list->items[i - 1].owner.id, list->items[i].owner.id) >= 0)
			return false;
	return true;
}

static void check_duplicates(struct build *build, const struct owner_list *list)
{
	const struct draft_owner **sorted;
	size_t first = 0;

	if (build->report.no_memory || ids_go_up(list))
		return;
	sorted = calloc(list->count, sizeof(sorted[0]));
	if (!sorted) {
		build->report.no_memory = true;
		return;
	}
	for (size_t i = 0; i < list->count; i++)
		sorted[i] = &list->items[i];
	qsort(sorted, list->count, sizeof(sorted[0]), by_id);
	for (size_t i = 1; i < list->count; i++) {
		if (strcmp(sorted[i]->owner.id, sorted[first]->owner.id) == 0)
			report_duplicate(&build->report, sorted[i], sorted[first]);
		else
			first = i;
	}
	free(sorted);
}

static void hash_bytes(uint64_t *hash, const void *data, size_t length)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i++)
		*hash = (*hash ^ bytes[i]) * UINT64_C(0x100000001b3);
}

static void hash_number(uint64_t *hash, uint32_t number)
{
	uint8_t bytes[4];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(number >> (24 - 8 * i));
	hash_bytes(hash, bytes, sizeof(bytes));
}

/* FNV-1a 64. It keys saved state: what a guard does not have must not change it. */
static uint64_t guard_fingerprint(const struct guard *guard)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < guard->within_count; i++) {
		const struct prefix *prefix = &guard->within[i];
		uint8_t head[2] = {prefix->addr.family, prefix->length};
		hash_bytes(&hash, head, sizeof(head));
		hash_bytes(&hash, prefix->addr.bytes, addr_size(prefix->addr.family));
	}
	hash_number(&hash, guard->max_addresses);
	if (guard->country_count) {
		hash_bytes(&hash, "country", strlen("country"));
		hash_number(&hash, (uint32_t)guard->country_count);
	}
	for (size_t i = 0; i < guard->country_count; i++)
		hash_bytes(&hash, guard->countries[i], COUNTRY_SIZE - 1);
	if (guard->asn_count) {
		hash_bytes(&hash, "asn", strlen("asn"));
		hash_number(&hash, (uint32_t)guard->asn_count);
	}
	for (size_t i = 0; i < guard->asn_count; i++)
		hash_number(&hash, guard->asns[i]);
	if (guard->require_dnssec)
		hash_bytes(&hash, "dnssec", strlen("dnssec"));
	return hash;
}

static int compare_origins(const struct guard *a, const struct guard *b)
{
	if (a->country_count != b->country_count)
		return a->country_count < b->country_count ? -1 : 1;
	if (a->asn_count != b->asn_count)
		return a->asn_count < b->asn_count ? -1 : 1;
	for (size_t i = 0; i < a->country_count; i++) {
		int order = strcmp(a->countries[i], b->countries[i]);
		if (order)
			return order;
	}
	for (size_t i = 0; i < a->asn_count; i++)
		if (a->asns[i] != b->asns[i])
			return a->asns[i] < b->asns[i] ? -1 : 1;
	return 0;
}

static int compare_guards(const struct guard *a, const struct guard *b)
{
	if (a->fingerprint != b->fingerprint)
		return a->fingerprint < b->fingerprint ? -1 : 1;
	if (a->within_count != b->within_count)
		return a->within_count < b->within_count ? -1 : 1;
	if (a->max_addresses != b->max_addresses)
		return a->max_addresses < b->max_addresses ? -1 : 1;
	if (a->require_dnssec != b->require_dnssec)
		return a->require_dnssec ? 1 : -1;
	for (size_t i = 0; i < a->within_count; i++) {
		int order = prefix_compare(&a->within[i], &b->within[i]);
		if (order)
			return order;
	}
	return compare_origins(a, b);
}

static int by_guard(const void *a, const void *b)
{
	return compare_guards(*(const struct guard *const *)a, *(const struct guard *const *)b);
}

/* Makes equal guards one; indices[i] becomes the new index of draft guard i. */
static bool unite_guards(struct build *build, uint32_t *indices)
{
	struct config *config = build->config;
	const struct guard **sorted = calloc(build->guard_count, sizeof(sorted[0]));
	size_t count = 0;

	if (!sorted)
		return false;
	for (size_t i = 0; i < build->guard_count; i++) {
		build->guards[i].fingerprint = guard_fingerprint(&build->guards[i]);
		sorted[i] = &build->guards[i];
	}
	qsort(sorted, build->guard_count, sizeof(sorted[0]), by_guard);
	for (size_t i = 0; i < build->guard_count; i++) {
		if (i == 0 || compare_guards(sorted[i], sorted[i - 1]) != 0)
			count++;
		indices[sorted[i] - build->guards] = (uint32_t)count - 1;
	}
	config->guards = build_alloc(build, count, sizeof(config->guards[0]));
	for (size_t i = 0; config->guards && i < build->guard_count; i++)
		config->guards[indices[i]] = build->guards[i];
	config->guard_count = config->guards ? count : 0;
	free(sorted);
	return config->guards;
}

static void move_owners(struct build *build, const uint32_t *indices)
{
	struct config *config = build->config;
	size_t count = build->owners[0].count + build->owners[1].count, at = 0;

	config->owners = build_alloc(build, count, sizeof(config->owners[0]));
	if (!config->owners)
		return;
	for (size_t kind = 0; kind < 2; kind++) {
		for (size_t i = 0; i < build->owners[kind].count; i++) {
			struct owner *owner = &config->owners[at++];
			*owner = build->owners[kind].items[i].owner;
			owner->guard = indices[owner->guard];
		}
	}
	config->owner_count = count;
}

void owners_finish(struct build *build)
{
	uint32_t *indices;

	check_duplicates(build, &build->owners[OWNER_EXTENSION]);
	check_duplicates(build, &build->owners[OWNER_PEER]);
	if (build->report.no_memory || build->report.errors || build->guard_count == 0)
		return;
	indices = calloc(build->guard_count, sizeof(indices[0]));
	if (!indices || !unite_guards(build, indices))
		build->report.no_memory = true;
	else
		move_owners(build, indices);
	free(indices);
}
