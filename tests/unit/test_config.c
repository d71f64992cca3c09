/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The config parser. The files live in memory. Allocations of the parser and of libyaml pass
 * through this file (--wrap, and libyaml's own yaml_malloc()), so that each of them can fail.
 */
#include "config_yaml.h"
#include "duration.h"

#include <errno.h>
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <yaml.h>

/* Allocations that fail. */

static long allocations_left = -1; /* negative: none fails */
static bool allocation_failed;

static bool fails_now(void)
{
	if (allocations_left < 0)
		return false;
	if (allocations_left > 0) {
		allocations_left--;
		return false;
	}
	allocation_failed = true;
	return true; /* and so do all that follow */
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *yaml_malloc(size_t size);
void *yaml_realloc(void *memory, size_t size);
void yaml_free(void *memory);
char *yaml_strdup(const char *string);

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return fails_now() ? NULL : __real_realloc(memory, size);
}

/* What libyaml holds: libyaml 0.2.5 itself loses the pairs of a mapping when its list of nodes
 * cannot grow. That one block is known here and freed; any other one is a leak of ours. */

struct block {
	struct block *previous, *next;
	size_t size, unused;
};

static struct block yaml_blocks = {&yaml_blocks, &yaml_blocks, 0, 0};

void *yaml_malloc(size_t size)
{
	struct block *block = fails_now() ? NULL : __real_malloc(sizeof(*block) + size);

	if (!block)
		return NULL;
	*block = (struct block){yaml_blocks.previous, &yaml_blocks, size, 0};
	block->previous->next = block;
	block->next->previous = block;
	return block + 1;
}

void yaml_free(void *memory)
{
	struct block *block = memory;

	if (!memory)
		return;
	block--;
	block->previous->next = block->next;
	block->next->previous = block->previous;
	free(block);
}

void *yaml_realloc(void *memory, size_t size)
{
	struct block *old = memory;
	void *new = yaml_malloc(size);

	if (new &&old) {
		old--;
		memcpy(new, memory, old->size < size ? old->size : size);
		yaml_free(memory);
	}
	return new;
}

char *yaml_strdup(const char *string)
{
	size_t size = string ? strlen(string) + 1 : 0;
	char *copy = string ? yaml_malloc(size) : NULL;

	return copy ? memcpy(copy, string, size) : NULL;
}

static size_t free_lost_blocks(void)
{
	size_t count = 0;

	for (; yaml_blocks.next != &yaml_blocks; count++) {
		assert_int_equal(yaml_blocks.next->size, 16 * sizeof(yaml_node_pair_t));
		yaml_free(yaml_blocks.next + 1);
	}
	return count;
}

/* Files in memory. */

struct file {
	const char *path;
	const char *data;
	size_t length; /* 0: of the string */
};

struct disk {
	const struct file *files;
	size_t count;
};

static bool add_source(struct config_source *source, const struct file *file)
{
	size_t length = file->length ? file->length : strlen(file->data);

	source->path = __real_malloc(strlen(file->path) + 1);
	source->data = __real_malloc(length + 1);
	if (!source->path || !source->data)
		return false;
	memcpy(source->path, file->path, strlen(file->path) + 1);
	memcpy(source->data, file->data, length);
	source->length = length;
	return true;
}

static int read_disk(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const struct disk *disk = context;
	struct config_source *sources = __real_calloc(disk->count, sizeof(sources[0]));
	size_t count = 0;

	assert_non_null(sources);
	assert_true(base ? strcmp(base, disk->files[0].path) == 0 : true);
	for (size_t i = 0; i < disk->count; i++)
		if (fnmatch(pattern, disk->files[i].path, FNM_PATHNAME) == 0)
			assert_true(add_source(&sources[count++], &disk->files[i]));
	if (count == 0 && !strpbrk(pattern, "*?[")) {
		free(sources);
		return error_set(error, -ENOENT, "create it, or remove it from \"include\"",
			"cannot read \"%s\": No such file or directory", pattern);
	}
	*ret_sources = sources;
	*ret_count = count;
	return 0;
}

static int parse(
	const struct file *files, size_t count, struct config **ret_config, struct text *messages)
{
	struct disk disk = {files, count};

	return config_yaml_parse(files[0].path, read_disk, &disk, ret_config, messages);
}

static void expect_files(
	const struct file *files, size_t count, int expected_result, const char *expected)
{
	struct config *config = NULL;
	struct text messages = {0};
	int r = parse(files, count, &config, &messages);

	assert_string_equal(text_string(&messages), expected);
	assert_int_equal(r, expected_result);
	assert_true(r == 0 ? config != NULL : config == NULL);
	assert_int_equal(free_lost_blocks(), 0);
	config_free(config);
	text_free(&messages);
}

static void expect_error(const char *yaml, const char *expected)
{
	const struct file file = {"t.yaml", yaml, 0};

	expect_files(&file, 1, -EINVAL, expected);
}

static void expect_warning(const char *yaml, const char *expected)
{
	const struct file file = {"t.yaml", yaml, 0};

	expect_files(&file, 1, 0, expected);
}

static struct config *load(const char *yaml)
{
	const struct file file = {"t.yaml", yaml, 0};
	struct config *config = NULL;
	struct text messages = {0};
	int r = parse(&file, 1, &config, &messages);

	assert_string_equal(text_string(&messages), "");
	assert_int_equal(r, 0);
	text_free(&messages);
	return config;
}

static void assert_prefix(const struct prefix *prefix, const char *expected)
{
	char text[PREFIX_TEXT_SIZE];

	prefix_print(prefix, text);
	assert_string_equal(text, expected);
}

static void assert_ports(const struct service *service, const char *expected)
{
	char text[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < service->port_count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %u-%u",
			i ? ", " : "", service->ports[i].protocol == PROTOCOL_TCP ? "tcp" : "udp",
			service->ports[i].first, service->ports[i].last);
	assert_string_equal(text, expected);
}

static void assert_server(const struct config_server *server, const char *addr, unsigned port)
{
	char text[ADDR_TEXT_SIZE];

	addr_print(&server->addr, text);
	assert_string_equal(text, addr);
	assert_int_equal(server->port, port);
}

/* Good configs. */

static const char whole_config[] =
	"extensions:\n"
	"  21: home21.dyndns.example\n"
	"  22: [alice.ddns.example, alice-cell.ddns.example]\n"
	"  23: local\n"
	"  24:\n"
	"    hosts: [bob.ddns.example, 203.0.113.7]\n"
	"    within: [203.0.113.0/24, 2001:db8::/32]\n"
	"    ipv6-prefix: 64\n"
	"    local: true\n"
	"\n"
	"local-subnets: [192.168.10.0/24, fd00:10::/64]\n"
	"\n"
	"peers:\n"
	"  voipco:  {hosts: [sip.voipco.example], srv: [_sip._udp.voipco.example]}\n"
	"  carrier: {hosts: [198.51.100.0/28]}\n"
	"  anna:    {hosts: [anna.ddns.example], services: [web]}\n"
	"\n"
	"services:\n"
	"  web: {tcp: [80, 443]}\n"
	"local-services: [sip]\n"
	"\n"
	"resolver:\n"
	"  servers: [\"127.0.0.1\", \"[2001:db8::53]:5353\"]\n"
	"  timeout: 4500ms\n"
	"  in-flight: 300\n"
	"refresh: {min: 20s, max: 11m}\n"
	"hold: 25h\n"
	"gone: 6m\n"
	"linger: {extensions: 1s, peers: 2h}\n"
	"limits: {addresses-per-host: 9}\n"
	"require-dnssec: false\n"
	"mode: monitor\n"
	"replies: accept\n"
	"destinations: [0.0.0.0/0]\n"
	"nftables: {table: fence, lock: off, log: {rate: 7/hour, prefix: \"sip: \"}}\n"
	"user: fence\n"
	"include: [extensions.d/*.yaml]\n";

static void assert_whole_owners(const struct config *config)
{
	const struct owner *owners = config->owners;

	assert_int_equal(config->owner_count, 7);
	assert_string_equal(owners[0].id, "21");
	assert_int_equal(owners[0].kind, OWNER_EXTENSION);
	assert_int_equal(owners[0].name_count, 1);
	assert_string_equal(owners[0].names[0], "home21.dyndns.example");
	assert_int_equal(owners[0].ipv6_prefix, 128);
	assert_int_equal(owners[0].services, 1);
	assert_false(owners[0].local);
	assert_int_equal(owners[1].name_count, 2);
	assert_string_equal(owners[1].names[1], "alice-cell.ddns.example");
	assert_true(owners[2].local);
	assert_int_equal(owners[2].name_count, 0);
	assert_string_equal(owners[3].names[0], "bob.ddns.example");
	assert_int_equal(owners[3].fixed_count, 1);
	assert_prefix(&owners[3].fixed[0], "203.0.113.7");
	assert_int_equal(owners[3].ipv6_prefix, 64);
	assert_true(owners[3].local);
	assert_string_equal(owners[4].id, "voipco");
	assert_int_equal(owners[4].kind, OWNER_PEER);
	assert_int_equal(owners[4].srv_count, 1);
	assert_string_equal(owners[4].srv[0], "_sip._udp.voipco.example");
	assert_prefix(&owners[5].fixed[0], "198.51.100.0/28");
	assert_int_equal(owners[5].services, 1);
	assert_int_equal(owners[6].services, 2);
}

static void assert_whole_guards(const struct config *config)
{
	const struct owner *owners = config->owners;
	const struct guard *plain = &config->guards[owners[0].guard];
	const struct guard *within = &config->guards[owners[3].guard];
	const struct guard *peer = &config->guards[owners[4].guard];

	assert_int_equal(config->guard_count, 3);
	assert_int_equal(owners[0].guard, owners[1].guard);
	assert_int_equal(owners[4].guard, owners[6].guard);
	assert_int_equal(plain->max_addresses, 9);
	assert_int_equal(plain->within_count, 0);
	assert_int_equal(peer->max_addresses, 64);
	assert_int_equal(within->within_count, 2);
	assert_prefix(&within->within[0], "203.0.113.0/24");
	assert_prefix(&within->within[1], "2001:db8::/32");
}

static void assert_whole_settings(const struct config *config)
{
	assert_int_equal(config->resolver.server_count, 2);
	assert_server(&config->resolver.servers[0], "127.0.0.1", 53);
	assert_server(&config->resolver.servers[1], "2001:db8::53", 5353);
	assert_int_equal(config->resolver.timeout_ms, 4500);
	assert_int_equal(config->resolver.in_flight, 300);
	assert_int_equal(config->refresh_min, 20);
	assert_int_equal(config->refresh_max, 660);
	assert_int_equal(config->hold, 90000);
	assert_int_equal(config->gone, 360);
	assert_int_equal(config->linger[OWNER_EXTENSION], 1);
	assert_int_equal(config->linger[OWNER_PEER], 7200);
	assert_true(config->monitor);
	assert_true(config->accept_replies);
	assert_int_equal(config->destination_count, 1);
	assert_prefix(&config->destinations[0], "0.0.0.0/0");
	assert_string_equal(config->table, "fence");
	assert_false(config->lock);
	assert_int_equal(config->log_rate, 7);
	assert_int_equal(config->log_rate_unit, 3600);
	assert_string_equal(config->log_prefix, "sip: ");
	assert_string_equal(config->user, "fence");
	assert_string_equal(config->path, "t.yaml");
}

static void test_whole_schema(void **state)
{
	struct config *config = load(whole_config);

	(void)state;
	assert_whole_owners(config);
	assert_whole_guards(config);
	assert_whole_settings(config);
	assert_int_equal(config->service_count, 2);
	assert_string_equal(config->services[0].name, "sip");
	assert_ports(&config->services[0], "tcp 5060-5061, udp 5060-5060");
	assert_true(config->services[0].local);
	assert_string_equal(config->services[1].name, "web");
	assert_ports(&config->services[1], "tcp 80-80, tcp 443-443");
	assert_false(config->services[1].local);
	assert_int_equal(config->local_subnet_count, 2);
	assert_prefix(&config->local_subnets[0], "192.168.10.0/24");
	assert_prefix(&config->local_subnets[1], "fd00:10::/64");
	config_free(config);
}

static void test_defaults(void **state)
{
	struct config *config = load("peers: {a: b.c}\n");

	(void)state;
	assert_int_equal(config->resolver.server_count, 0);
	assert_int_equal(config->resolver.timeout_ms, 5000);
	assert_int_equal(config->resolver.in_flight, 0);
	assert_int_equal(config->refresh_min, 30);
	assert_int_equal(config->refresh_max, 600);
	assert_int_equal(config->hold, 86400);
	assert_int_equal(config->gone, 300);
	assert_int_equal(config->linger[OWNER_EXTENSION], 0);
	assert_int_equal(config->linger[OWNER_PEER], 3600);
	assert_false(config->monitor);
	assert_false(config->accept_replies);
	assert_int_equal(config->destination_count, 0);
	assert_int_equal(config->local_subnet_count, 0);
	assert_string_equal(config->table, "sipfence");
	assert_true(config->lock);
	assert_int_equal(config->log_rate, 6);
	assert_int_equal(config->log_rate_unit, 60);
	assert_string_equal(config->log_prefix, "sipfence ");
	assert_null(config->user);
	assert_null(config->on_change);
	assert_null(config->geoip.country);
	assert_null(config->geoip.asn);
	assert_int_equal(config->geoip.max_age, 90 * 86400);
	assert_int_equal(config->changes_per_hour, 12);
	assert_int_equal(config->resolver.trusted_count, 2);
	assert_prefix(&config->resolver.trusted[0], "127.0.0.0/8");
	assert_prefix(&config->resolver.trusted[1], "::1");
	assert_false(config->guards[0].require_dnssec);
	assert_int_equal(config->service_count, 1);
	assert_ports(&config->services[0], "tcp 5060-5061, udp 5060-5060");
	assert_true(config->services[0].local);
	assert_int_equal(config->owner_count, 1);
	assert_int_equal(config->guard_count, 1);
	assert_int_equal(config->guards[0].max_addresses, 64);
	config_free(config);
}

/* Ids are text as it stands there, whatever YAML would make of it. */
static void test_ids_are_text(void **state)
{
	static const char *const ids[] = {
		"0021", "21", "no", "1e3", "0x1F", "~", "*43", "a.b_c+d-e#f@g!", "true", "1.50"};
	struct config *config = load("extensions:\n"
				     "  0021: a.example.\n"
				     "  21: B.Example\n"
				     "  no: c.example\n"
				     "  1e3: d.example\n"
				     "  0x1F: e.example\n"
				     "  ~: f.example\n"
				     "  \"*43\": g.example\n"
				     "  a.b_c+d-e#f@g!: h.example\n"
				     "  true: i.example\n"
				     "  1.50: j.example\n");

	(void)state;
	assert_int_equal(config->owner_count, 10);
	for (size_t i = 0; i < 10; i++)
		assert_string_equal(config->owners[i].id, ids[i]);
	assert_string_equal(config->owners[0].names[0], "a.example");
	assert_string_equal(config->owners[1].names[0], "b.example");
	config_free(config);
}

static void test_forms_of_owners(void **state)
{
	struct config *config = load("extensions:\n"
				     "  1: 203.0.113.9\n"
				     "  2: [2001:DB8:0::1, 10.1.2.3]\n"
				     "  3: {hosts: a.example, within: 203.0.113.0/24}\n"
				     "  4: {local: true, hosts: b.example, within: {prefixes: "
				     "[203.0.113.0/24]}, require-dnssec: false}\n"
				     "  x: {local: true}\n"
				     "local-subnets: 10.0.0.7/32\n"
				     "peers:\n"
				     "  x: 198.51.100.0/24\n"
				     "  y: [c.example, 2001:db8::/48]\n"
				     "  z: {srv: _sips._tcp.z.example, ipv6-prefix: 56, within: "
				     "[2001:db8::/32]}\n");

	(void)state;
	assert_int_equal(config->owner_count, 8);
	assert_prefix(&config->owners[0].fixed[0], "203.0.113.9");
	assert_prefix(&config->owners[1].fixed[0], "2001:db8::1");
	assert_prefix(&config->owners[1].fixed[1], "10.1.2.3");
	assert_string_equal(config->owners[2].names[0], "a.example");
	/* The same set of prefixes: one guard. */
	assert_int_equal(config->owners[2].guard, config->owners[3].guard);
	assert_true(config->owners[4].local);
	assert_prefix(&config->owners[5].fixed[0], "198.51.100.0/24");
	assert_string_equal(config->owners[5].id, "x");
	assert_prefix(&config->owners[6].fixed[0], "2001:db8::/48");
	assert_string_equal(config->owners[7].srv[0], "_sips._tcp.z.example");
	assert_int_equal(config->owners[7].ipv6_prefix, 56);
	assert_prefix(&config->local_subnets[0], "10.0.0.7");
	config_free(config);
}

static void test_guards_are_stable(void **state)
{
	struct config *a = load("extensions:\n"
				"  1: {hosts: a.b, within: [2001:db8::/32, 203.0.113.0/24]}\n"
				"  2: {hosts: a.c, within: [203.0.113.0/24, 2001:db8::/32]}\n"
				"  3: {hosts: a.d, within: 203.0.113.0/24}\n");
	struct config *b = load("limits: {addresses-per-host: 8}\n"
				"extensions: {9: {hosts: a.d, within: 203.0.113.0/24}}\n");

	(void)state;
	assert_int_equal(a->guard_count, 2);
	assert_int_equal(a->owners[0].guard, a->owners[1].guard);
	assert_int_not_equal(a->owners[0].guard, a->owners[2].guard);
	assert_true(a->guards[a->owners[2].guard].fingerprint == b->guards[0].fingerprint);
	/* Saved state is keyed by it: FNV-1a over 00 18 cb 00 71 00 00 00 00 08. */
	assert_true(b->guards[0].fingerprint == UINT64_C(0xb656f93d11d0bc1f));
	config_free(a);
	config_free(b);
}

static const struct guard *guard_of(const struct config *config, size_t owner)
{
	return &config->guards[config->owners[owner].guard];
}

#if SIPFENCE_GEOIP
/* "CA,NO" and "577,812" of a guard. */
static void assert_origins(const struct guard *guard, const char *countries, const char *asns)
{
	char text[128] = "";

	for (size_t i = 0; i < guard->country_count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? "," : "",
			guard->countries[i]);
	assert_string_equal(text, countries);
	text[0] = '\0';
	for (size_t i = 0; i < guard->asn_count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%lu", i ? "," : "",
			(unsigned long)guard->asns[i]);
	assert_string_equal(text, asns);
}

#define DATABASES "geoip: {country: /var/lib/c.mmdb, asn: /var/lib/a.mmdb}\n"

static void test_origins(void **state)
{
	struct config *config;

	(void)state;
	config =
		load("extensions:\n"
		     "  1: {hosts: a.b, within: {country: [no, Us, CA], asn: [812, as577, AS65]}}\n"
		     "  2: {hosts: a.c, within: {country: NO}}\n"
		     "  3: {hosts: a.d, within: {asn: 4294967295, prefixes: 192.0.2.0/24}}\n"
		     "  4: {hosts: a.e, within: {asn: [AS65, 577, 812], country: [CA, NO, US]}}\n"
		     "peers:\n"
		     "  p: {hosts: [a.f, 198.51.100.1], within: {country: FR}}\n"
		     "geoip: {country: /var/lib/c.mmdb, asn: /var/lib/a.mmdb, max-age: 31d}\n");
	assert_string_equal(config->geoip.country, "/var/lib/c.mmdb");
	assert_string_equal(config->geoip.asn, "/var/lib/a.mmdb");
	assert_int_equal(config->geoip.max_age, 31 * 86400);
	assert_origins(guard_of(config, 0), "CA,NO,US", "65,577,812");
	/* Norway is no "false". */
	assert_origins(guard_of(config, 1), "NO", "");
	assert_origins(guard_of(config, 2), "", "4294967295");
	assert_prefix(&guard_of(config, 2)->within[0], "192.0.2.0/24");
	assert_int_equal(config->owners[0].guard, config->owners[3].guard);
	assert_origins(guard_of(config, 4), "FR", "");
	assert_int_equal(config->guard_count, 4);
	config_free(config);
}

/* Each of two configs has one owner. */
static bool same_guard(const char *a, const char *b)
{
	struct config *first = load(a), *second = load(b);
	bool same = first->guards[0].fingerprint == second->guards[0].fingerprint;

	config_free(first);
	config_free(second);
	return same;
}

static void test_origins_are_part_of_a_guard(void **state)
{
	static const char *const different[] = {
		"peers: {a: {hosts: b.c, within: {country: CA}}}\n" DATABASES,
		"peers: {a: {hosts: b.c, within: {country: FR}}}\n" DATABASES,
		"peers: {a: {hosts: b.c, within: {country: [CA, FR]}}}\n" DATABASES,
		"peers: {a: {hosts: b.c, within: {asn: 577}}}\n" DATABASES,
		"peers: {a: {hosts: b.c, within: {asn: 578}}}\n" DATABASES,
		"peers: {a: {hosts: b.c, within: {asn: [577, 578]}}}\n" DATABASES,
		"peers: {a: {hosts: b.c, within: {asn: 577, country: CA}}}\n" DATABASES,
		"peers: {a: {hosts: b.c, within: {asn: 577, prefixes: 192.0.2.0/24}}}\n" DATABASES,
		"peers: {a: {hosts: b.c}}\n" DATABASES,
		"peers: {a: {hosts: b.c, require-dnssec: true}}\n" DATABASES,
		"peers: {a: {hosts: b.c, require-dnssec: true, within: {asn: 577}}}\n" DATABASES,
	};
	const size_t count = sizeof(different) / sizeof(different[0]);

	(void)state;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++)
			assert_int_equal(same_guard(different[i], different[j]), i == j);
}

static void test_guards_with_origins_are_united(void **state)
{
	struct config *config;

	(void)state;
	config = load("extensions:\n"
		      "  1: {hosts: a.b, within: {country: CA}}\n"
		      "  2: {hosts: a.c, within: {country: US}}\n"
		      "  3: {hosts: a.d, within: {country: ca}}\n"
		      "  4: {hosts: a.e, require-dnssec: true}\n"
		      "  5: a.f\n"
		      "  6: {hosts: a.g, require-dnssec: true}\n"
		      "  7: {hosts: a.h, within: {country: CA}, require-dnssec: true}\n"
		      "geoip: {country: /c.mmdb}\n");
	assert_int_equal(config->guard_count, 5);
	assert_int_equal(config->owners[0].guard, config->owners[2].guard);
	assert_int_equal(config->owners[3].guard, config->owners[5].guard);
	assert_origins(guard_of(config, 1), "US", "");
	assert_true(guard_of(config, 6)->require_dnssec);
	assert_origins(guard_of(config, 6), "CA", "");
	config_free(config);
}

#endif

/* The owner's own word wins, true or false. */
static void test_require_dnssec(void **state)
{
	static const char owners[] = "extensions:\n"
				     "  1: a.b\n"
				     "  2: {hosts: a.c, require-dnssec: true}\n"
				     "  3: {hosts: a.d, require-dnssec: false}\n"
				     "  4: {hosts: a.e, within: 192.0.2.0/24}\n"
				     "peers:\n"
				     "  5: {hosts: a.f, require-dnssec: false}\n"
				     "  6: {hosts: a.g, require-dnssec: true}\n";
	static const bool expected[2][6] = {
		{false, true, false, false, false, true}, {true, true, false, true, false, true}};
	char yaml[512];

	(void)state;
	for (int global = 0; global < 2; global++) {
		struct config *config;

		/* Behind the extensions, so that the order of the keys does not matter. */
		snprintf(yaml, sizeof(yaml), "%srequire-dnssec: %s\n", owners,
			global ? "true" : "false");
		config = load(yaml);
		for (size_t i = 0; i < 6; i++)
			assert_int_equal(guard_of(config, i)->require_dnssec, expected[global][i]);
		config_free(config);
	}
}

static void test_trusted_resolvers(void **state)
{
	struct config *config = load("peers: {a: b.c}\n"
				     "resolver: {trusted: [\"2001:db8::53\", 192.0.2.0/28]}\n"
				     "limits: {changes-per-hour: 1000}\n");

	(void)state;
	assert_int_equal(config->resolver.trusted_count, 2);
	assert_prefix(&config->resolver.trusted[0], "192.0.2.0/28");
	assert_prefix(&config->resolver.trusted[1], "2001:db8::53");
	assert_int_equal(config->changes_per_hour, 1000);
	config_free(config);
}

static void test_forms_of_services(void **state)
{
	struct config *config = load("services:\n"
				     "  web: {tcp: 443}\n"
				     "  SIP-2: {udp: [5080-5090, 5070], tcp: 5070}\n"
				     "  sip: {udp: 5061}\n"
				     "local-subnets: [10.0.0.0/8]\n"
				     "local-services: [web, SIP-2, sip]\n");

	(void)state;
	assert_int_equal(config->service_count, 3);
	assert_string_equal(config->services[0].name, "sip");
	assert_ports(&config->services[0], "udp 5061-5061");
	assert_ports(&config->services[1], "tcp 443-443");
	assert_ports(&config->services[2], "tcp 5070-5070, udp 5070-5070, udp 5080-5090");
	for (size_t i = 0; i < 3; i++)
		assert_true(config->services[i].local);
	config_free(config);
}

static void test_forms_of_servers(void **state)
{
	struct config *config =
		load("peers: {a: b.c}\n"
		     "resolver:\n"
		     "  servers: [\"192.0.2.1\", \"192.0.2.1:65535\", \"2001:DB8::1\", "
		     "\"[2001:db8::1]:5353\", \"[2001:db8::2]\", \"[2001:db8::3]:53\"]\n"
		     "nftables: {log: off}\n");

	(void)state;
	assert_int_equal(config->resolver.server_count, 6);
	assert_server(&config->resolver.servers[0], "192.0.2.1", 53);
	assert_server(&config->resolver.servers[1], "192.0.2.1", 65535);
	assert_server(&config->resolver.servers[2], "2001:db8::1", 53);
	assert_server(&config->resolver.servers[3], "2001:db8::1", 5353);
	assert_server(&config->resolver.servers[4], "2001:db8::2", 53);
	assert_server(&config->resolver.servers[5], "2001:db8::3", 53);
	assert_int_equal(config->log_rate, 0);
	config_free(config);
}

static void print_servers(struct text *yaml, unsigned count)
{
	text_puts(yaml, "peers: {a: b.c}\nnftables: {log: off}\nresolver:\n  servers:\n");
	for (unsigned i = 1; i <= count; i++)
		text_printf(yaml, "  - 192.0.2.%u\n", i);
}

static void test_most_servers(void **state)
{
	struct text yaml = {0};
	struct config *config;

	(void)state;
	print_servers(&yaml, CONFIG_MAX_SERVERS);
	config = load(text_string(&yaml));
	assert_int_equal(config->resolver.server_count, CONFIG_MAX_SERVERS);
	assert_server(&config->resolver.servers[63], "192.0.2.64", 53);
	config_free(config);
	text_free(&yaml);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		enum duration_error error;
		int64_t milliseconds;
	} cases[] = {
		{"0s", DURATION_OK, 0},
		{"500ms", DURATION_OK, 500},
		{"30s", DURATION_OK, 30000},
		{"1h30m", DURATION_OK, 5400000},
		{"1d2h3m4s5ms", DURATION_OK, 93784005},
		{"3653d", DURATION_OK, INT64_C(3653) * 86400000},
		{"3653d1ms", DURATION_TOO_LONG, 0},
		{"99999999999999999999d", DURATION_TOO_LONG, 0},
		{"9223372036854775807ms", DURATION_TOO_LONG, 0},
		{"30", DURATION_NO_UNIT, 0},
		{"1h30", DURATION_NOT_ONE, 0},
		{"", DURATION_NOT_ONE, 0},
		{"s", DURATION_NOT_ONE, 0},
		{"soon", DURATION_NOT_ONE, 0},
		{"1w", DURATION_NOT_ONE, 0},
		{"1.5h", DURATION_NOT_ONE, 0},
		{"+1s", DURATION_NOT_ONE, 0},
		{" 1s", DURATION_NOT_ONE, 0},
		{"1S", DURATION_NOT_ONE, 0},
		{"-1s", DURATION_NEGATIVE, 0},
		{"30m1h", DURATION_UNIT_ORDER, 0},
		{"1m1m", DURATION_UNIT_ORDER, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t value = -7;
		enum duration_error error =
			duration_parse(cases[i].text, strlen(cases[i].text), &value);
		if (error != cases[i].error)
			fail_msg("%s: %s", cases[i].text, duration_error_text(error));
		assert_true(value == (error ? -7 : cases[i].milliseconds));
	}
}

/* Bad input: the whole message, the line and the caret. */

struct bad {
	const char *yaml;
	const char *messages;
};

static void expect_all(const struct bad *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect_error(cases[i].yaml, cases[i].messages);
}
#define EXPECT_ALL(cases) expect_all(cases, sizeof(cases) / sizeof((cases)[0]))

static void test_bad_yaml(void **state)
{
	static const struct bad cases[] = {
		{"", "t.yaml:1:1: error: the config is empty; it needs \"local-subnets\", "
		     "\"extensions\" or \"peers\"\n"},
		{"# nothing\n", "t.yaml:1:1: error: the config is empty; it needs "
				"\"local-subnets\", \"extensions\" or \"peers\"\n# nothing\n^\n"},
		{"hello\n", "t.yaml:1:1: error: the config must be a mapping (\"key: value\"), "
			    "not text\nhello\n^\n"},
		{"- a.b\n", "t.yaml:1:1: error: the config must be a mapping (\"key: value\"), "
			    "not a list\n- a.b\n^\n"},
		{"peers: {a: b.c\n", "t.yaml:2:1: error: not valid YAML: did not find expected "
				     "',' or '}', while parsing a flow mapping (from line 1)\n"},
		{"extensions:\n  21: a.b\n 22: c.d\n",
			"t.yaml:3:2: error: not valid YAML: did not find expected key, while "
			"parsing a block mapping (from line 1); the keys of one mapping stand "
			"below each other\n 22: c.d\n ^\n"},
		{"extensions:\n  21:a.b\n",
			"t.yaml:2:3: error: \"extensions\" must be a mapping (\"key: value\"), not "
			"text; a space belongs behind the colon\n  21:a.b\n  ^\n"},
		{"extensions:\n  21: http://a.b/\n",
			"t.yaml:2:7: error: \"http://a.b/\" is not an address: write the host's "
			"name alone, without \"http:\"\n  21: http://a.b/\n      ^\n"},
		{"hold: 1h\n\tgone: 5m\n",
			"t.yaml:2:1: error: not valid YAML: found a tab character that violates "
			"indentation, while scanning a plain scalar (from line 1); YAML is "
			"indented with spaces, not with tabs\n gone: 5m\n^\n"},
		{"peers: *nobody\n", "t.yaml:1:8: error: not valid YAML: found undefined alias\n"
				     "peers: *nobody\n       ^\n"},
		{"peers: {a: b.c}\n---\npeers: {a: b.c}\n",
			"t.yaml:2:1: error: a second YAML document (---) starts here; a file holds "
			"one\n---\n^\n"},
		{"peers: !!int {a: b.c}\n", "t.yaml:1:8: error: tags (!...) have no meaning here; "
					    "remove it\npeers: !!int {a: b.c}\n       ^\n"},
		{"? [a]\n: b\npeers: {a: b.c}\n",
			"t.yaml:1:3: error: a key must be text, not a list\n? [a]\n  ^\n"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

static void test_bad_bytes(void **state)
{
	static const char nul[] = "peers:\n  \xc3\xbc: a\0b.c\n";
	static const char broken[] = "peers:\n  a: \xc3\xbc\xff.c\n";
	const struct file nul_file = {"t.yaml", nul, sizeof(nul) - 1};
	const struct file broken_file = {"t.yaml", broken, sizeof(broken) - 1};

	(void)state;
	expect_files(&nul_file, 1, -EINVAL,
		"t.yaml:2:7: error: a control character (byte 0x00) cannot stand here\n"
		"  \\xc3\\xbc: a\\x00b.c\n"
		"             ^\n");
	expect_files(&broken_file, 1, -EINVAL,
		"t.yaml:2:7: error: not UTF-8 text: invalid leading UTF-8 octet\n"
		"  a: \\xc3\\xbc\\xff.c\n"
		"             ^\n");
}

/* A byte order mark is no column; CR LF is one line break; a tab is one column. */
static void test_odd_lines(void **state)
{
	(void)state;
	expect_error("\xef\xbb\xbf"
		     "hold: soon\r\ngone: later\r\npeers: {a:\t\tb}\r\n",
		"t.yaml:1:7: error: \"soon\": a duration is a number and its unit (s, m, h or d), "
		"like 30s or 1h30m\nhold: soon\n      ^\n"
		"t.yaml:2:7: error: \"later\": a duration is a number and its unit (s, m, h or d), "
		"like 30s or 1h30m\ngone: later\n      ^\n"
		"t.yaml:3:13: error: \"b\" is not a host name: a full name with its domain is "
		"needed, like phone.example.net\npeers: {a:  b}\n            ^\n");
	/* The column counts characters, the caret what was printed for them. */
	expect_error("peers: {\xc3\xbc: a.b}\n",
		"t.yaml:1:9: error: \"\\xc3\\xbc\" cannot be the id of a peer: letters, digits and "
		"._+-*#@!~ are allowed\npeers: {\\xc3\\xbc: a.b}\n        ^\n");
	expect_error("peers: {a: \xc3\xbc.b, c: d}\n",
		"t.yaml:1:12: error: \"\\xc3\\xbc.b\" is not a host name: write an international "
		"name in its ASCII form (xn--...)\npeers: {a: \\xc3\\xbc.b, c: d}\n           ^\n"
		"t.yaml:1:20: error: \"d\" is not a host name: a full name with its domain is "
		"needed, like phone.example.net\n"
		"peers: {a: \\xc3\\xbc.b, c: d}\n                          ^\n");
}

static void test_bad_keys(void **state)
{
	static const struct bad cases[] = {
		{"extentions: {21: a.b}\n", "t.yaml:1:1: error: unknown key \"extentions\"; did "
					    "you mean \"extensions\"?\nextentions: {21: a.b}\n^\n"},
		{"colour: blue\n", "t.yaml:1:1: error: unknown key \"colour\"\ncolour: blue\n^\n"},
		/* Only keys of this place are near: "hosts" is none of a service. */
		{"services: {web: {host: 1}}\n",
			"t.yaml:1:18: error: unknown key \"host\"\n"
			"services: {web: {host: 1}}\n                 ^\n"},
		{"peers:\n  a: {hosts: [b.c], sevrices: sip}\n",
			"t.yaml:2:21: error: unknown key \"sevrices\"; did you mean \"services\"?\n"
			"  a: {hosts: [b.c], sevrices: sip}\n                    ^\n"},
		{"hold: 1h\nhold: 2h\n",
			"t.yaml:2:1: error: duplicate key \"hold\"; first in line 1\n"
			"hold: 2h\n^\n"},
		{"extensions:\n", "t.yaml:1:12: error: \"extensions\" has no value; a mapping "
				  "(\"key: value\") is needed here\nextensions:\n           ^\n"},
		{"extensions:\n  21:\n",
			"t.yaml:2:6: error: \"21\" has no value; one value, a list or a "
			"mapping is needed here\n  21:\n     ^\n"},
		{"extensions:\n  '':\n",
			"t.yaml:2:3: error: the id of an extension has no characters; 1 to 64 are "
			"allowed\n  '':\n  ^\n"
			"t.yaml:2:6: error: this has no value; one value, a list or a mapping is "
			"needed here\n  '':\n     ^\n"},
		{"extensions: {}\n", "t.yaml:1:13: error: \"extensions\" is empty; remove it or "
				     "fill it\nextensions: {}\n            ^\n"},
		{"extensions: [21]\n",
			"t.yaml:1:13: error: \"extensions\" must be a mapping (\"key: value\"), "
			"not a list\nextensions: [21]\n            ^\n"},
		{"hold: [1h]\n", "t.yaml:1:7: error: \"hold\" must be one value, not a list\n"
				 "hold: [1h]\n      ^\n"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

static void test_duplicate_owners(void **state)
{
	static const struct bad cases[] = {
		{"extensions:\n  21: a.b\n  22: a.c\n  21: a.d\n",
			"t.yaml:4:3: error: duplicate extension \"21\"; first in line 2\n"
			"  21: a.d\n  ^\n"},
		{"peers: {a: b.c, b: b.c, a: b.c}\n",
			"t.yaml:1:25: error: duplicate peer \"a\"; first in line 1\n"
			"peers: {a: b.c, b: b.c, a: b.c}\n                        ^\n"},
		{"extensions: {21: [a.b, A.B.]}\n",
			"t.yaml:1:24: error: host \"a.b\" stands here twice; first in line 1\n"
			"extensions: {21: [a.b, A.B.]}\n                       ^\n"},
		{"extensions: {21: ['2001:db8::1', '2001:DB8:0::1']}\n",
			"t.yaml:1:34: error: 2001:db8::1 stands here twice; first in line 1\n"
			"extensions: {21: ['2001:db8::1', '2001:DB8:0::1']}\n"
			"                                 ^\n"},
		{"local-subnets: [10.0.0.0/8, 10.0.0.0/8]\n",
			"t.yaml:1:29: error: 10.0.0.0/8 stands here twice; first in line 1\n"
			"local-subnets: [10.0.0.0/8, 10.0.0.0/8]\n                            ^\n"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

/* The message about `value` as the only host of extension 21. */
static void expect_host_error(const char *value, const char *message)
{
	char yaml[1200], expected[1600];

	snprintf(yaml, sizeof(yaml), "extensions:\n  21: %s\n", value);
	snprintf(expected, sizeof(expected), "t.yaml:2:7: error: %s\n  21: %s\n      ^\n", message,
		value);
	expect_error(yaml, expected);
}

static void test_bad_hosts(void **state)
{
	char label[80] = "", text[200];

	(void)state;
	expect_host_error("localhost", "\"localhost\" is not a host name: a full name with its "
				       "domain is needed, like phone.example.net");
	expect_host_error("a b.c", "\"a b.c\" is not a host name: only letters, digits, hyphens, "
				   "underscores and dots may stand in a name");
	expect_host_error("a..b", "\"a..b\" is not a host name: nothing stands before, between or "
				  "after a dot");
	expect_host_error("_sip._udp.a.b", "\"_sip._udp.a.b\" looks like an SRV name; put it under "
					   "\"srv\" of a peer");
	expect_host_error(
		"203.0.113.300", "\"203.0.113.300\" is not an address: 300 is more than 255");
	expect_host_error("203.0.113", "\"203.0.113\" is not an address: it has 3 numbers "
				       "instead of 4");
	expect_host_error("1.2.3.4.5", "\"1.2.3.4.5\" is not an address: it has 5 numbers "
				       "instead of 4");
	expect_host_error("10.0.0.01", "\"10.0.0.01\" is not an address: 01 has a leading zero");
	expect_host_error("10..0.1", "\"10..0.1\" is not an address: a number is missing");
	expect_host_error("10.0.0.0/33", "\"10.0.0.0/33\": behind the slash, a number from 0 to "
					 "32 is needed");
	expect_host_error("10.0.0.1/8", "\"10.0.0.1/8\" has bits set behind its length; the "
					"prefix is 10.0.0.0/8");
	expect_host_error("10.0.0.0/8", "\"10.0.0.0/8\" is a prefix, an extension has hosts only; "
					"put it under \"peers\" or \"local-subnets\"");
	expect_host_error("a.b:5060", "\"a.b:5060\" is not an address: a host has no port; ports "
				      "stand under \"services\"");
	expect_host_error("2001:db8::1::2", "\"2001:db8::1::2\" is not an address: an IPv6 "
					    "address has eight groups of hex digits, or one "
					    "\"::\"");
	expect_host_error("fe80::1%eth0", "\"fe80::1%eth0\" is not an address: an address with a "
					  "zone (%) cannot be used");
	expect_host_error("127.0.0.1", "\"127.0.0.1\" cannot be let in: 127.0.0.1 is a loopback "
				       "address");
	expect_host_error("0.0.0.0/0", "\"0.0.0.0/0\" would let everybody in");

	memset(label, 'a', 64);
	snprintf(text, sizeof(text),
		"\"%s...\" is not a host name: a part between two dots is longer than 63 "
		"characters",
		label);
	strcat(label, ".b");
	expect_host_error(label, text);
}

/* The message quotes the start of the name, the echo is cut at 100 columns. */
static void test_long_name(void **state)
{
	char yaml[400], expected[600];
	size_t used = strlen("peers: {a: ");

	(void)state;
	strcpy(yaml, "peers: {a: ");
	for (int i = 0; i < 126; i++, used += 2)
		strcpy(yaml + used, "a.");
	strcpy(yaml + used, "bc}\n"); /* 254 */
	snprintf(expected, sizeof(expected),
		"t.yaml:1:12: error: \"%.64s...\" is not a host name: the name is longer than 253 "
		"characters\n%.100s...\n           ^\n",
		yaml + strlen("peers: {a: "), yaml);
	expect_error(yaml, expected);
}

static void test_bad_owners(void **state)
{
	static const struct bad cases[] = {
		{"extensions: {21: []}\n",
			"t.yaml:1:18: error: the list of hosts is an empty list; remove it or fill "
			"it\nextensions: {21: []}\n                 ^\n"},
		{"extensions: {21: {}}\n",
			"t.yaml:1:14: error: extension \"21\" has no hosts; give it \"hosts\" or "
			"\"local: true\"\nextensions: {21: {}}\n             ^\n"},
		{"extensions: {21: {local: false}}\n",
			"t.yaml:1:14: error: extension \"21\" has no hosts; give it \"hosts\" or "
			"\"local: true\"\nextensions: {21: {local: false}}\n             ^\n"},
		{"peers: {a: {services: [sip]}}\n",
			"t.yaml:1:9: error: peer \"a\" has no hosts and no srv\n"
			"peers: {a: {services: [sip]}}\n        ^\n"},
		{"peers: {a: local}\n",
			"t.yaml:1:12: error: \"local\" is not a host; an extension says \"local: "
			"true\" beside its hosts\npeers: {a: local}\n           ^\n"},
		{"peers: {a: {srv: sip.a.b}}\n",
			"t.yaml:1:18: error: \"sip.a.b\" is not an SRV name; it starts like "
			"_sip._udp.voipco.example\npeers: {a: {srv: sip.a.b}}\n"
			"                 ^\n"},
		{"peers: {a: {hosts: b.c, services: [wbe, sip, sip]}}\nservices: {web: {tcp: "
		 "80}}\n",
			"t.yaml:1:36: error: unknown service \"wbe\"; did you mean \"web\"?\n"
			"peers: {a: {hosts: b.c, services: [wbe, sip, sip]}}\n"
			"                                   ^\n"
			"t.yaml:1:46: error: service \"sip\" stands here twice\n"
			"peers: {a: {hosts: b.c, services: [wbe, sip, sip]}}\n"
			"                                             ^\n"},
		{"extensions: {21: {hosts: [203.0.113.7], within: [198.51.100.0/24]}}\n",
			"t.yaml:1:27: error: 203.0.113.7 lies outside the \"within\" beside it\n"
			"extensions: {21: {hosts: [203.0.113.7], within: [198.51.100.0/24]}}\n"
			"                          ^\n"},
		{"extensions: {21: {hosts: a.b, ipv6-prefix: 0}}\n",
			"t.yaml:1:44: error: \"0\" is not a prefix length: a number from 1 to 128 "
			"is needed\nextensions: {21: {hosts: a.b, ipv6-prefix: 0}}\n"
			"                                           ^\n"},
		{"extensions: {21: {hosts: a.b, local: yes}}\n",
			"t.yaml:1:38: error: \"yes\" is not \"false\" or \"true\"\n"
			"extensions: {21: {hosts: a.b, local: yes}}\n"
			"                                     ^\n"},
		{"extensions: {'2\"1': a.b, '': a.b}\n",
			"t.yaml:1:14: error: \"2\"1\" cannot be the id of an extension: letters, "
			"digits and ._+-*#@!~ are allowed\nextensions: {'2\"1': a.b, '': a.b}\n"
			"             ^\n"
			"t.yaml:1:26: error: the id of an extension has no characters; 1 to 64 are "
			"allowed\nextensions: {'2\"1': a.b, '': a.b}\n"
			"                         ^\n"},
		{"peers: {a: [[b.c]]}\n",
			"t.yaml:1:13: error: an item of the list of hosts must be one value, not a "
			"list\npeers: {a: [[b.c]]}\n            ^\n"},
		{"local-subnets: [0.0.0.0/0, 224.0.0.0/4, 10.0.0.0/8]\n",
			"t.yaml:1:17: error: \"0.0.0.0/0\" would let everybody in\n"
			"local-subnets: [0.0.0.0/0, 224.0.0.0/4, 10.0.0.0/8]\n"
			"                ^\n"
			"t.yaml:1:28: error: \"224.0.0.0/4\" cannot be let in: 224.0.0.0 is a "
			"multicast address\n"
			"local-subnets: [0.0.0.0/0, 224.0.0.0/4, 10.0.0.0/8]\n"
			"                           ^\n"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

static void test_bad_services(void **state)
{
	static const char not_a_port[] = " is not a port: a number from 1 to 65535 is needed, or "
					 "two with a hyphen between (5060-5061)\n";
	char expected[800];

	(void)state;
	snprintf(expected, sizeof(expected),
		"t.yaml:2:15: error: \"0\"%s  web: {tcp: [0, 70000, 9-8, a]}\n              ^\n"
		"t.yaml:2:18: error: \"70000\"%s  web: {tcp: [0, 70000, 9-8, a]}\n"
		"                 ^\n"
		"t.yaml:2:25: error: \"9-8\" runs backwards; write 8-9\n"
		"  web: {tcp: [0, 70000, 9-8, a]}\n                        ^\n"
		"t.yaml:2:30: error: \"a\"%s  web: {tcp: [0, 70000, 9-8, a]}\n"
		"                             ^\n",
		not_a_port, not_a_port, not_a_port);
	expect_error("services:\n  web: {tcp: [0, 70000, 9-8, a]}\n", expected);

	static const struct bad cases[] = {
		{"services: {web: {}}\n", "t.yaml:1:12: error: service \"web\" has no ports; give "
					  "it \"tcp\" or \"udp\"\nservices: {web: {}}\n"
					  "           ^\n"},
		{"services:\n  web: {tcp: [80, 443]}\n  api: {udp: 443, tcp: 400-500}\n",
			"t.yaml:3:24: error: tcp 400-500 overlaps tcp 443 of service \"web\"\n"
			"  api: {udp: 443, tcp: 400-500}\n                       ^\n"},
		{"services: {web: {tcp: [80, 80]}}\n",
			"t.yaml:1:28: error: tcp 80 overlaps tcp 80 of service \"web\"\n"
			"services: {web: {tcp: [80, 80]}}\n                           ^\n"},
		{"services: {web: {tcp: 5061}}\n",
			"t.yaml:1:23: error: tcp 5061 overlaps tcp 5060-5061 of service \"sip\"\n"
			"services: {web: {tcp: 5061}}\n                      ^\n"},
		{"services: {1st: {tcp: 1}}\n",
			"t.yaml:1:12: error: \"1st\" cannot be the name of a service: a letter, "
			"then up to 31 letters, digits, \"_\" and \"-\"\n"
			"services: {1st: {tcp: 1}}\n           ^\n"},
		{"services: {web: {tcp: 1}, web: {tcp: 2}}\n",
			"t.yaml:1:27: error: duplicate service \"web\"; first in line 1\n"
			"services: {web: {tcp: 1}, web: {tcp: 2}}\n"
			"                          ^\n"},
		{"local-services: [web]\n",
			"t.yaml:1:18: error: unknown service \"web\"; services are defined under "
			"\"services\"\nlocal-services: [web]\n                 ^\n"},
	};
	EXPECT_ALL(cases);
}

static void test_too_many_services(void **state)
{
	struct text yaml = {0};
	char expected[200];

	(void)state;
	text_puts(&yaml, "services:\n");
	for (unsigned i = 1; i <= CONFIG_MAX_SERVICES; i++)
		text_printf(&yaml, "  s%u: {tcp: %u}\n", i, i);
	snprintf(expected, sizeof(expected),
		"t.yaml:33:3: error: too many services; 32 are allowed, sip included\n"
		"  s32: {tcp: 32}\n  ^\n");
	expect_error(text_string(&yaml), expected);
	text_free(&yaml);
}

/* Said once, at the first one too many. */
static void test_too_many_servers(void **state)
{
	(void)state;
	for (unsigned more = 1; more < 3; more++) {
		struct text yaml = {0};

		print_servers(&yaml, CONFIG_MAX_SERVERS + more);
		expect_error(text_string(&yaml),
			"t.yaml:69:5: error: too many DNS servers; 64 are allowed\n"
			"  - 192.0.2.65\n    ^\n");
		text_free(&yaml);
	}
}

static void test_bad_servers(void **state)
{
	static const char *const no_address[] = {
		"192.0.2.300", "[::1", "[::1]x", "[192.0.2.1]:53", "::1::", "example.org:53"};
	static const char *const no_port[] = {"192.0.2.1:", "[::1]:", "192.0.2.1:5x",
		"192.0.2.1:70000", "192.0.2.1:-1", "[::1]:0"};

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		const char *server = i < 6 ? no_address[i] : no_port[i - 6];
		char yaml[128], expected[512];

		snprintf(yaml, sizeof(yaml), "resolver: {servers: '%s'}\n", server);
		snprintf(expected, sizeof(expected), "t.yaml:1:21: error: \"%s\"%s\n%s%20s^\n",
			server,
			i < 6 ? " is not a DNS server: an address is needed, with a port or "
				"without (\"192.0.2.53\", \"192.0.2.53:5353\", "
				"\"[2001:db8::53]:5353\")"
			      : ": a port is a number from 1 to 65535",
			yaml, "");
		expect_error(yaml, expected);
	}
}

/* The message about `value` of a key of the top. */
static void expect_value_error(const char *key, const char *value, const char *message)
{
	char yaml[256], expected[512];
	size_t column = strlen(key) + 3;

	snprintf(yaml, sizeof(yaml), "%s: %s\n", key, value);
	snprintf(expected, sizeof(expected), "t.yaml:1:%zu: error: %s\n%s%*s^\n", column, message,
		yaml, (int)column - 1, "");
	expect_error(yaml, expected);
}

static void test_bad_values(void **state)
{
	(void)state;
	expect_value_error("hold", "soon",
		"\"soon\": a duration is a number and its unit (s, m, h "
		"or d), like 30s or 1h30m");
	expect_value_error("hold", "30",
		"\"30\": a duration needs a unit; write \"30s\" for "
		"seconds");
	expect_value_error("hold", "-5m", "\"-5m\": a duration cannot be negative");
	expect_value_error("hold", "99999999999999999999h",
		"\"99999999999999999999h\": the "
		"longest duration is ten years");
	expect_value_error("gone", "500ms", "\"500ms\": whole seconds are needed here");
	expect_value_error("mode", "enforced",
		"\"enforced\" is not \"enforce\" or \"monitor\"; "
		"did you mean \"enforce\"?");
	expect_value_error("replies", "maybe", "\"maybe\" is not \"drop\" or \"accept\"");
	expect_value_error("user", "'a b'",
		"\"a b\" is not the name of a user: a letter or "
		"\"_\", then up to 31 letters, digits, \"_\" and "
		"\"-\"");
	expect_value_error("destinations", "10.0.0.1/8",
		"\"10.0.0.1/8\" has bits set behind its "
		"length; the prefix is 10.0.0.0/8");
	expect_value_error("refresh", "{min: 20m}",
		"\"min\" (1200s) is longer than \"max\" "
		"(600s)");
}

static void test_bad_nested_values(void **state)
{
	static const struct bad cases[] = {
		{"refresh: {min: 0s}\n",
			"t.yaml:1:16: error: \"0s\" is too short; the least is 1s\n"
			"refresh: {min: 0s}\n               ^\n"},
		{"resolver: {timeout: 61s, in-flight: 0}\n",
			"t.yaml:1:21: error: \"61s\" is too long; the most is 60s\n"
			"resolver: {timeout: 61s, in-flight: 0}\n                    ^\n"
			"t.yaml:1:37: error: \"0\" is not \"auto\" or a number of questions: a "
			"number from 1 to 10000 is needed\n"
			"resolver: {timeout: 61s, in-flight: 0}\n"
			"                                    ^\n"},
		{"resolver: {servers: ['192.0.2.1:0', '0.0.0.0', '192.0.2.1', '192.0.2.1:53']}\n",
			"t.yaml:1:22: error: \"192.0.2.1:0\": a port is a number from 1 to 65535\n"
			"resolver: {servers: ['192.0.2.1:0', '0.0.0.0', '192.0.2.1', "
			"'192.0.2.1:53']}\n"
			"                     ^\n"
			"t.yaml:1:37: error: \"0.0.0.0\" cannot be asked: it is the unspecified "
			"address\n"
			"resolver: {servers: ['192.0.2.1:0', '0.0.0.0', '192.0.2.1', "
			"'192.0.2.1:53']}\n"
			"                                    ^\n"
			"t.yaml:1:61: error: server \"192.0.2.1\" stands here twice; first in line "
			"1\n"
			"resolver: {servers: ['192.0.2.1:0', '0.0.0.0', '192.0.2.1', "
			"'192.0.2.1:53']}\n"
			"                                                            ^\n"},
		{"resolver: {servers: dns.example}\n",
			"t.yaml:1:21: error: \"dns.example\" is not a DNS server: an address is "
			"needed, with a port or without (\"192.0.2.53\", \"192.0.2.53:5353\", "
			"\"[2001:db8::53]:5353\")\nresolver: {servers: dns.example}\n"
			"                    ^\n"},
		{"limits: {addresses-per-host: 257}\n",
			"t.yaml:1:30: error: \"257\" is not a number of addresses: a number from 1 "
			"to 256 is needed\nlimits: {addresses-per-host: 257}\n"
			"                             ^\n"},
		{"nftables: {table: 'a b', lock: on, log: {rate: 6, prefix: 'a\"b'}}\n",
			"t.yaml:1:19: error: \"a b\" cannot be the name of a table: a letter or "
			"\"_\", then up to 63 letters, digits, \"_\" and \"-\"\n"
			"nftables: {table: 'a b', lock: on, log: {rate: 6, prefix: 'a\"b'}}\n"
			"                  ^\n"
			"t.yaml:1:32: error: \"on\" is not \"auto\" or \"off\"\n"
			"nftables: {table: 'a b', lock: on, log: {rate: 6, prefix: 'a\"b'}}\n"
			"                               ^\n"
			"t.yaml:1:48: error: \"6\" is not a rate: \"off\", or a number up to "
			"100000 "
			"and a unit, like 6/minute (second, minute, hour, day)\n"
			"nftables: {table: 'a b', lock: on, log: {rate: 6, prefix: 'a\"b'}}\n"
			"                                               ^\n"
			"t.yaml:1:59: error: a log prefix has up to 64 printable ASCII characters, "
			"no quote, no backslash and no $\n"
			"nftables: {table: 'a b', lock: on, log: {rate: 6, prefix: 'a\"b'}}\n"
			"                                                          ^\n"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

static void assert_arguments(const char *const *arguments, const char *expected)
{
	char text[256] = "";

	assert_non_null(arguments);
	for (; *arguments; arguments++) {
		strcat(text, *arguments);
		strcat(text, "|");
	}
	assert_string_equal(text, expected);
}

static void test_programs(void **state)
{
	struct config *config = load("extensions: {21: local}\nlocal-subnets: [192.0.2.0/24]\n");

	(void)state;
	assert_null(config->on_change);
	assert_string_equal(config->asterisk.acl_file, "/etc/asterisk/sipfence_acl.conf");
	assert_arguments(config->asterisk.command, "asterisk|-rx|");
	config_free(config);

	config = load("peers: {a: b.c}\non-change: [/bin/tell, admin, \"\"]\n"
		      "asterisk: {acl-file: /a/b.conf,\n"
		      "  command: [/usr/bin/docker, exec, pbx, asterisk, -rx]}\n");
	assert_arguments(config->on_change, "/bin/tell|admin||");
	assert_string_equal(config->asterisk.acl_file, "/a/b.conf");
	assert_arguments(config->asterisk.command, "/usr/bin/docker|exec|pbx|asterisk|-rx|");
	config_free(config);
}

static void test_asterisk(void **state)
{
	struct config *config = load("peers: {a: b.c}\n");

	(void)state;
	assert_false(config->asterisk.acl);
	assert_false(config->asterisk.evict);
	assert_false(config->asterisk.hangup);
	assert_null(config->asterisk.security_log);
	config_free(config);

	config = load("peers: {a: b.c}\n"
		      "asterisk: {hangup: true, evict: true, acl: true, security-log: /v/sec}\n");
	assert_true(config->asterisk.acl);
	assert_true(config->asterisk.evict);
	assert_true(config->asterisk.hangup);
	assert_string_equal(config->asterisk.security_log, "/v/sec");
	config_free(config);

	config = load("peers: {a: b.c}\nasterisk: {acl: false, evict: false, hangup: false}\n");
	assert_false(config->asterisk.acl);
	config_free(config);
	/* The log is of use alone, too. */
	config_free(load("peers: {a: b.c}\nasterisk: {security-log: /v/sec}\n"));
	config_free(load("peers: {a: b.c}\nasterisk: {acl: true, evict: true}\n"));
}

static void test_wrong_asterisk(void **state)
{
	static const struct bad cases[] = {
		{"asterisk: {evict: true}\npeers: {a: b.c}\n",
			"t.yaml:1:19: error: \"evict\" needs \"acl: true\": who is thrown out while "
			"no ACL keeps him out is back at once\nasterisk: {evict: true}\n"
			"                  ^\n"},
		{"asterisk: {acl: true, hangup: true}\npeers: {a: b.c}\n",
			"t.yaml:1:31: error: \"hangup\" needs \"evict: true\": it ends the calls of "
			"those who are thrown out\nasterisk: {acl: true, hangup: true}\n"
			"                              ^\n"},
		/* One error is enough. */
		{"asterisk: {acl: x, evict: true}\npeers: {a: b.c}\n",
			"t.yaml:1:17: error: \"x\" is not \"false\" or \"true\"\n"
			"asterisk: {acl: x, evict: true}\n                ^\n"},
		{"asterisk: {acl: true, evict: x, hangup: true}\npeers: {a: b.c}\n",
			"t.yaml:1:30: error: \"x\" is not \"false\" or \"true\"\n"
			"asterisk: {acl: true, evict: x, hangup: true}\n"
			"                             ^\n"},
		{"asterisk: {security-log: v/sec}\npeers: {a: b.c}\n",
			"t.yaml:1:26: error: \"v/sec\" is not the absolute path of the security log; "
			"it starts with \"/\"\nasterisk: {security-log: v/sec}\n"
			"                         ^\n"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

static void test_wrong_programs(void **state)
{
	static const struct bad cases[] = {
		{"on-change: tell\npeers: {a: b.c}\n",
			"t.yaml:1:12: error: \"tell\" is not the absolute path of a program; it "
			"starts with \"/\"\non-change: tell\n           ^\n"},
		{"asterisk: {command: bin/x}\npeers: {a: b.c}\n",
			"t.yaml:1:21: error: \"bin/x\" is not the absolute path of a program; it "
			"starts with \"/\"\nasterisk: {command: bin/x}\n                    ^\n"},
	};

	(void)state;
	EXPECT_ALL(cases);
}

/* The message about `value` of `key` in the mapping `mapping` of the top. */
static void expect_nested_error(
	const char *mapping, const char *key, const char *value, const char *message)
{
	char yaml[256], expected[640];
	size_t column = strlen(mapping) + strlen(key) + 6;

	snprintf(yaml, sizeof(yaml), "%s: {%s: %s}\n", mapping, key, value);
	snprintf(expected, sizeof(expected), "t.yaml:1:%zu: error: %s\n%s%*s^\n", column, message,
		yaml, (int)column - 1, "");
	expect_error(yaml, expected);
}

static void test_bad_trusted(void **state)
{
	(void)state;
	expect_nested_error("resolver", "trusted", "'127.0.0.1:53'",
		"\"127.0.0.1:53\": a resolver is trusted by its address; leave the port out");
	expect_nested_error("resolver", "trusted", "'[::1]:53'",
		"\"[::1]:53\": a resolver is trusted by its address; leave the port out");
	expect_nested_error("resolver", "trusted", "dns.example",
		"\"dns.example\" is not an address or prefix");
	expect_nested_error(
		"resolver", "trusted", "[]", "\"trusted\" is an empty list; remove it or fill it");
	expect_nested_error("limits", "changes-per-hour", "0",
		"\"0\" is not a number of changes: a number from 1 to 1000 is needed");
	expect_nested_error("limits", "changes-per-hour", "1001",
		"\"1001\" is not a number of changes: a number from 1 to 1000 is needed");
	expect_value_error("require-dnssec", "yes", "\"yes\" is not \"false\" or \"true\"");
}

/* The message about a mapping `within` of one owner, whose text begins in column 1 of line 2. */
static void expect_within_error(
	const char *within, const char *rest, size_t column, const char *message)
{
	char yaml[512], expected[768], line[256];

	snprintf(line, sizeof(line), "  within: {%s}}}\n", within);
	snprintf(yaml, sizeof(yaml), "peers: {a: {hosts: b.c,\n%s%s", line, rest);
	snprintf(expected, sizeof(expected), "t.yaml:2:%zu: error: %s\n%s%*s^\n", column, message,
		line, (int)column - 1, "");
	expect_error(yaml, expected);
}

#if SIPFENCE_GEOIP
static void test_bad_databases(void **state)
{
	(void)state;
	expect_nested_error("geoip", "country", "c.mmdb",
		"\"c.mmdb\" is not the absolute path of a database; it starts with \"/\"");
	expect_error("geoip: {asn: \"/a\\0b\"}\npeers: {a: b.c}\n",
		"t.yaml:1:14: error: \"/a\\x00b\" is not the absolute path of a database; it starts "
		"with \"/\"\ngeoip: {asn: \"/a\\\\0b\"}\n             ^\n");
	expect_nested_error("geoip", "max-age", "59m", "\"59m\" is too short; the least is 1h");
	expect_error("geoip: {max-age: 3d}\npeers: {a: b.c}\n",
		"t.yaml:1:8: error: \"geoip\" names no database; give it \"country\", \"asn\" or "
		"both\ngeoip: {max-age: 3d}\n       ^\n");
}

static void test_bad_origins(void **state)
{
	(void)state;
	expect_within_error("country: CANADA", DATABASES, 21,
		"\"CANADA\" is not a country: its code of two letters is needed (ISO 3166, like "
		"CA)");
	expect_within_error("country: [C1]", DATABASES, 22,
		"\"C1\" is not a country: its code of two letters is needed (ISO 3166, like CA)");
	expect_within_error("country: [CA, FR, ca]", DATABASES, 30,
		"country \"CA\" stands here twice; first in line 2");
	expect_within_error(
		"country: []", DATABASES, 21, "\"country\" is an empty list; remove it or fill it");
	expect_within_error("asn: [577, AS577]", DATABASES, 23,
		"autonomous system \"AS577\" stands here twice; first in line 2");
	expect_within_error("asn: 0", DATABASES, 17,
		"\"0\" is not the number of an autonomous system: 577 or AS577, from 1 to "
		"4294967295");
	expect_within_error("asn: AS", DATABASES, 17,
		"\"AS\" is not the number of an autonomous system: 577 or AS577, from 1 to "
		"4294967295");
	expect_within_error("asn: 4294967296", DATABASES, 17,
		"\"4294967296\" is not the number of an autonomous system: 577 or AS577, from 1 to "
		"4294967295");
	expect_within_error(
		"contry: CA", DATABASES, 12, "unknown key \"contry\"; did you mean \"country\"?");
	expect_within_error("country: CA", "", 21,
		"\"country\" needs a database to look addresses up in; add the line: geoip: "
		"{country: /path/to/country.mmdb}");
	expect_within_error("asn: 577", "geoip: {country: /c.mmdb}\n", 17,
		"\"asn\" needs a database to look addresses up in; add to \"geoip\" the key asn: "
		"/path/to/asn.mmdb");
	expect_error("peers: {a: {hosts: b.c, within: {}}}\n",
		"t.yaml:1:33: error: \"within\" names no prefixes, countries or autonomous systems; "
		"remove it or fill it\npeers: {a: {hosts: b.c, within: {}}}\n"
		"                                ^\n");
}

/* A code that no country has lets nobody in, which must be said; but the world may change. */
static void test_unknown_country(void **state)
{
	(void)state;
	expect_warning("peers: {a: {hosts: b.c, within: {country: UK}}}\n" DATABASES,
		"t.yaml:1:43: warning: \"UK\" is the code of no country that is known here; the "
		"United Kingdom is GB\npeers: {a: {hosts: b.c, within: {country: UK}}}\n"
		"                                          ^\n");
}
#else
static void test_without_libmaxminddb(void **state)
{
	(void)state;
	expect_error("geoip: {country: /c.mmdb}\npeers: {a: b.c}\n",
		"t.yaml:1:8: error: \"geoip\" cannot be used: this sipfence was built without "
		"libmaxminddb; build it anew where the package libmaxminddb-dev is installed\n"
		"geoip: {country: /c.mmdb}\n       ^\n");
	expect_within_error("country: CA", "", 21,
		"\"country\" cannot be used: this sipfence was built without libmaxminddb");
	expect_within_error("asn: 577", "", 17,
		"\"asn\" cannot be used: this sipfence was built without libmaxminddb");
}
#endif

static void test_metrics_file(void **state)
{
	struct config *config = load("metrics-file: /m.prom\npeers: {a: b.c}\n");

	(void)state;
	assert_string_equal(config->metrics_file, "/m.prom");
	config_free(config);
	config = load("peers: {a: b.c}\n");
	assert_null(config->metrics_file);
	config_free(config);
	expect_error("metrics-file: m.prom\npeers: {a: b.c}\n",
		"t.yaml:1:15: error: \"m.prom\" is not the absolute path of the metrics file; it "
		"starts with \"/\"\nmetrics-file: m.prom\n              ^\n");
}

static void test_sets_only(void **state)
{
	struct config *config = load("peers: {a: {hosts: [b.c], services: [sip, web]}}\n"
				     "services: {web: {tcp: 80}}\n"
				     "nftables:\n"
				     "  sets-only:\n"
				     "    table: ip6 filter\n"
				     "    web: {nets6: lan_6}\n"
				     "    sip: {hosts6: phones6}\n");

	(void)state;
	assert_true(config->sets_only);
	assert_string_equal(config->table, "filter");
	assert_int_equal(config->table_family, TABLE_IPV6);
	assert_false(config->lock);
	assert_string_equal(config->services[0].sets[0][FAMILY_IPV6], "phones6");
	assert_null(config->services[0].sets[0][FAMILY_IPV4]);
	assert_null(config->services[0].sets[1][FAMILY_IPV6]);
	assert_string_equal(config->services[1].sets[1][FAMILY_IPV6], "lan_6");
	assert_string_equal(config_mode_name(config), "sets-only");
	config_free(config);
}

static void test_wrong_sets_only(void **state)
{
#define SETS(text) "peers: {a: b.c}\nnftables: {sets-only: " text "}\n"
	static const struct {
		const char *yaml, *message;
	} cases[] = {
		{SETS("{sip: {hosts4: a}}"), "2:23: error: \"sets-only\" needs \"table\""},
		{SETS("{table: inet f}"), "2:23: error: \"sets-only\" names no set"},
		{SETS("{table: inet f, sip: {}}"), "2:23: error: \"sets-only\" names no set"},
		{SETS("{table: filter, sip: {hosts4: a}}"),
			"2:31: error: \"filter\" is not a table"},
		{SETS("{table: bridge f, sip: {hosts4: a}}"), "2:31: error: \"bridge f\" is not"},
		{SETS("{table: inet 2f, sip: {hosts4: a}}"),
			"2:31: error: \"2f\" cannot be the name"},
		{SETS("{table: inet f, table: inet g, sip: {hosts4: a}}"),
			"2:39: error: duplicate"},
		{SETS("{table: inet f, sip: {hosts4: set}}"), "2:53: error: \"set\" cannot be"},
		{SETS("{table: inet f, sip: {hosts4: a, nets4: a}}"), "2:63: error: the set \"a\""},
		{SETS("{table: inet f, sip: {hosts5: a}}"), "2:45: error: unknown key \"hosts5\""},
		{SETS("{table: inet f, sipp: {hosts4: a}}"),
			"2:39: error: unknown service \"sipp\""},
		{SETS("{table: ip f, sip: {hosts6: a}}"),
			"2:23: error: the set \"a\" is of the other"},
		{"mode: monitor\n" SETS("{table: inet f, sip: {hosts4: a}}"),
			"3:23: error: \"mode: monitor\" means nothing"},
		{"replies: accept\n" SETS("{table: inet f, sip: {hosts4: a}}"),
			"3:23: error: \"replies: accept\" means nothing"},
		{"destinations: [192.0.2.1]\n" SETS("{table: inet f, sip: {hosts4: a}}"),
			"3:23: error: \"destinations\" means nothing"},
		{"peers: {a: b.c}\nnftables: {table: g, sets-only: {table: inet f, sip: {hosts4: a}}}\n",
			"2:33: error: \"table\" and \"sets-only\" exclude each other"},
	};
#undef SETS
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct file file = {"t.yaml", cases[i].yaml, 0};
		struct text messages = {0};
		struct config *config = NULL;

		assert_int_equal(parse(&file, 1, &config, &messages), -EINVAL);
		if (!strstr(text_string(&messages), cases[i].message))
			fail_msg("%s: %s", cases[i].yaml, text_string(&messages));
		text_free(&messages);
	}
	expect_warning("services: {web: {tcp: 80}}\npeers: {a: {hosts: [b.c], services: [web]}}\n"
		       "nftables: {sets-only: {table: inet f, sip: {hosts4: a}}}\n"
		       "local-subnets: [10.0.0.0/8]\n",
		"t.yaml:1:12: warning: service \"web\" has no set in \"sets-only\": nothing is kept "
		"for it\nservices: {web: {tcp: 80}}\n           ^\n");
}

static void test_names_nobody(void **state)
{
	static const char message[] = "t.yaml:1:1: error: this config names nobody; it needs "
				      "\"local-subnets\", \"extensions\" or \"peers\"\n";
	char expected[256];

	(void)state;
	snprintf(expected, sizeof(expected), "%shold: 1h\n^\n", message);
	expect_error("hold: 1h\n", expected);
	snprintf(expected, sizeof(expected), "%sservices: {web: {tcp: 80}}\n^\n", message);
	expect_error("services: {web: {tcp: 80}}\n", expected);
}

static void test_warnings(void **state)
{
	(void)state;
	expect_warning("services: {web: {tcp: 80}}\npeers: {a: b.c}\n",
		"t.yaml:1:12: warning: nobody may reach service \"web\": no extension, no peer, no "
		"local subnet\nservices: {web: {tcp: 80}}\n           ^\n");
	expect_warning("extensions: {21: local}\npeers: {a: b.c}\n",
		"t.yaml:1:14: warning: extension \"21\" is local, but there are no "
		"\"local-subnets\"\nextensions: {21: local}\n             ^\n");
	expect_warning("extensions: {20: a.b, 21: local, 22: local, 23: local}\n",
		"t.yaml:1:23: warning: extension \"21\" and 2 more are local, but there are no "
		"\"local-subnets\"\n"
		"extensions: {20: a.b, 21: local, 22: local, 23: local}\n"
		"                      ^\n");
	/* Both are one and the same. */
	expect_warning("# A comment.\nextensions: {21: local}\n",
		"t.yaml:2:14: warning: extension \"21\" is local, but there are no "
		"\"local-subnets\": nobody may reach service \"sip\"\n"
		"extensions: {21: local}\n             ^\n");
	expect_warning("services: {web: {tcp: 80}}\nlocal-subnets: 10.0.0.0/8\n"
		       "local-services: web\n",
		"t.yaml:1:1: warning: nobody may reach service \"sip\": no extension, no peer, no "
		"local subnet\nservices: {web: {tcp: 80}}\n^\n");
}

static void test_alias_loops(void **state)
{
	(void)state;
	expect_error("extensions:\n  21: &a [*a]\n  22: &b {hosts: *b}\n",
		"t.yaml:2:7: error: an alias inside of this leads back to it: a loop\n"
		"  21: &a [*a]\n      ^\n"
		"t.yaml:3:7: error: an alias inside of this leads back to it: a loop\n"
		"  22: &b {hosts: *b}\n      ^\n");
	/* A mapping may stand there. */
	expect_error("extensions:\n  21: &a {hosts: b.c, within: *a}\n",
		"t.yaml:2:7: error: an alias inside of this leads back to it: a loop\n"
		"  21: &a {hosts: b.c, within: *a}\n      ^\n");
}

/* An alias is fine in itself; an error behind it is told once. */
static void test_aliases(void **state)
{
	struct config *config = load("extensions:\n  21: &a {hosts: a.b, within: 10.0.0.0/8}\n"
				     "  22: *a\n");

	(void)state;
	assert_string_equal(config->owners[1].names[0], "a.b");
	config_free(config);
	expect_error("extensions:\n  21: &a [b]\n  22: *a\n",
		"t.yaml:2:11: error: \"b\" is not a host name: a full name with its domain is "
		"needed, like phone.example.net\n  21: &a [b]\n          ^\n");
}

/* 3,000 extensions that each name 3,000 hosts, from 60 KB of text. */
static void test_alias_bomb(void **state)
{
	struct text yaml = {0};
	struct config *config = NULL;
	struct text messages = {0};
	struct file file = {"t.yaml", NULL, 0};

	(void)state;
	text_puts(&yaml, "extensions:\n  x: &x [h.a");
	for (int i = 0; i < 3000; i++)
		text_printf(&yaml, ", h.a%d", i);
	text_puts(&yaml, "]\n");
	for (int i = 0; i < 3000; i++)
		text_printf(&yaml, "  %d: *x\n", i);
	file.data = text_string(&yaml);
	assert_int_equal(parse(&file, 1, &config, &messages), -EINVAL);
	assert_non_null(
		strstr(text_string(&messages), "error: too large once its aliases are followed\n"));
	assert_true(messages.length < 1000);
	text_free(&messages);
	text_free(&yaml);
}

static void test_huge_scalar(void **state)
{
	enum { SIZE = 1000000 };
	char *yaml = __real_malloc(SIZE + 64);
	int head;

	(void)state;
	assert_non_null(yaml);
	head = sprintf(yaml, "peers: {a: b.c}\nhold: ");
	memset(yaml + head, 'x', SIZE);
	sprintf(yaml + head + SIZE, "\n");
	expect_error(yaml,
		"t.yaml:2:7: error: "
		"\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\": a "
		"duration is a number and its unit (s, m, h or d), like 30s or 1h30m\n"
		"hold: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		"xxxxxxxxxxxxxxxxxxx...\n      ^\n");
	/* The caret far to the right in a long line. */
	head = sprintf(yaml, "peers: {a: [");
	for (int i = 0; i < 1000; i++)
		head += sprintf(yaml + head, "h%04d.example, ", i);
	sprintf(yaml + head, "localhost]}\n");
	expect_error(yaml,
		"t.yaml:1:15013: error: \"localhost\" is not a host name: a full name with its "
		"domain is needed, like phone.example.net\n"
		"...h0996.example, h0997.example, h0998.example, h0999.example, localhost]}\n"
		"                                                               ^\n");
	free(yaml);
}

static void test_deep_nesting(void **state)
{
	enum { DEPTH = 200000 };
	char *yaml = __real_malloc(DEPTH + 64);
	struct config *config = NULL;
	struct text messages = {0};
	struct file file = {"t.yaml", yaml, 0};

	(void)state;
	assert_non_null(yaml);
	sprintf(yaml, "peers: ");
	memset(yaml + 7, '[', DEPTH);
	yaml[7 + DEPTH] = '\0';
	assert_int_equal(parse(&file, 1, &config, &messages), -EINVAL);
	assert_non_null(strstr(text_string(&messages), "error: too many brackets in brackets\n"));
	assert_true(messages.length < 1000);
	text_free(&messages);
	free(yaml);
}

static void test_many_errors_are_counted(void **state)
{
	struct text yaml = {0}, messages = {0};
	struct config *config = NULL;
	struct file file = {"t.yaml", NULL, 0};

	(void)state;
	text_puts(&yaml, "extensions:\n");
	for (int i = 0; i < 1500; i++)
		text_printf(&yaml, "  %d: nodot\n", i);
	file.data = text_string(&yaml);
	assert_int_equal(parse(&file, 1, &config, &messages), -EINVAL);
	assert_non_null(strstr(text_string(&messages), "t.yaml:1001:8: error: "));
	assert_null(strstr(text_string(&messages), "t.yaml:1002:"));
	assert_non_null(
		strstr(text_string(&messages), "\n500 more errors and warnings are not shown\n"));
	text_free(&messages);
	text_free(&yaml);
}

/* Includes. */

static void test_include(void **state)
{
	static const struct file files[] = {
		{"t.yaml",
			"include: [x/*.yaml, none/*.yaml]\nextensions: {21: a.b}\n"
			"peers: {a: b.c}\n",
			0},
		{"x/1.yaml", "extensions: {22: a.c}\n", 0},
		{"x/2.yaml", "extensions: {20: a.d}\npeers: {b: b.d}\n", 0},
		{"x/3.yaml", "# empty for now\n", 0},
	};
	static const char *const ids[] = {"21", "22", "20", "a", "b"};
	struct config *config = NULL;
	struct text messages = {0};

	(void)state;
	assert_int_equal(parse(files, 4, &config, &messages), 0);
	assert_string_equal(text_string(&messages), "");
	assert_int_equal(config->owner_count, 5);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(config->owners[i].id, ids[i]);
	config_free(config);
	text_free(&messages);
}

static void test_bad_includes(void **state)
{
	static const struct file files[] = {
		{"t.yaml",
			"include: [missing.yaml, 1.yaml, t.yaml, 1.yaml, ok.yaml]\n"
			"extensions: {21: a.b}\nhold: soon\n",
			0},
		{"1.yaml", "extensions:\n  21: a.c\nhold: 1h\nextention: {}\n", 0},
		{"ok.yaml", "peers: {a: {hosts: b.c, services: [web]}}\n", 0},
	};

	(void)state;
	expect_files(files, 3, -EINVAL,
		"t.yaml:1:11: error: cannot read \"missing.yaml\": No such file or directory; "
		"create it, or remove it from \"include\"\n"
		"include: [missing.yaml, 1.yaml, t.yaml, 1.yaml, ok.yaml]\n"
		"          ^\n"
		"t.yaml:1:33: error: this file includes itself\n"
		"include: [missing.yaml, 1.yaml, t.yaml, 1.yaml, ok.yaml]\n"
		"                                ^\n"
		"t.yaml:1:41: error: \"1.yaml\" is included twice\n"
		"include: [missing.yaml, 1.yaml, t.yaml, 1.yaml, ok.yaml]\n"
		"                                        ^\n"
		"t.yaml:3:7: error: \"soon\": a duration is a number and its unit (s, m, h or d), "
		"like 30s or 1h30m\nhold: soon\n      ^\n"
		"1.yaml:2:3: error: duplicate extension \"21\"; first in \"t.yaml\", line 2\n"
		"  21: a.c\n  ^\n"
		"1.yaml:3:1: error: \"hold\" belongs into the main file; an included one holds "
		"\"extensions\" and \"peers\"\nhold: 1h\n^\n"
		"1.yaml:4:1: error: unknown key \"extention\"; did you mean \"extensions\"?\n"
		"extention: {}\n^\n"
		"ok.yaml:1:36: error: unknown service \"web\"; services are defined under "
		"\"services\"\n"
		"peers: {a: {hosts: b.c, services: [web]}}\n"
		"                                   ^\n");
}

static void test_unreadable_main_file(void **state)
{
	struct disk disk = {NULL, 0};
	struct config *config = NULL;
	struct text messages = {0};

	(void)state;
	assert_int_equal(
		config_yaml_parse("no.yaml", read_disk, &disk, &config, &messages), -ENOENT);
	assert_string_equal(text_string(&messages),
		"no.yaml: error: cannot read \"no.yaml\": No such file or directory; create it, or "
		"remove it from \"include\"\n");
	assert_null(config);
	text_free(&messages);
}

/* Under another name (a link, "./t.yaml") it is still the main file. */
static void test_main_file_by_another_name(void **state)
{
	static const char data[] = "include: [link.yaml]\npeers: {a: b.c}\n";
	static const struct file files[] = {{"t.yaml", data, 0}, {"link.yaml", data, 0}};

	(void)state;
	expect_files(files, 2, -EINVAL,
		"t.yaml:1:11: error: this file includes itself\ninclude: [link.yaml]\n          "
		"^\n");
}

/* Out of memory at each allocation in turn: -ENOMEM, no crash; leaks are for the sanitizer. */
static void fail_each_allocation(const struct file *files, size_t count, int expected)
{
	for (long i = 0; i < 100000; i++) {
		struct config *config = NULL;
		struct text messages = {0};
		int r;

		allocations_left = i;
		allocation_failed = false;
		r = parse(files, count, &config, &messages);
		allocations_left = -1;
		text_free(&messages);
		if (!allocation_failed) {
			assert_int_equal(r, expected);
			config_free(config);
			assert_true(i > 50);
			return;
		}
		assert_true(free_lost_blocks() <= 1);
		assert_int_equal(r, -ENOMEM);
		assert_null(config);
	}
	fail_msg("still failing");
}

static void test_out_of_memory(void **state)
{
	static const struct file good[] = {
		{"t.yaml", whole_config, 0},
		{"extensions.d/a.yaml", "extensions: {31: a.b, 32: [a.c, 203.0.113.1]}\n", 0},
	};
	static const struct file bad[] = {
		{"t.yaml", "include: [a.yaml, b.yaml]\nhold: soon\nextensions: {21: a, 22: a.b}\n",
			0},
		{"a.yaml", "extensions: {22: a.b, 23: 1.2.3}\nhold: 1h\n", 0},
	};

	(void)state;
	fail_each_allocation(good, 2, 0);
	fail_each_allocation(bad, 2, -EINVAL);
}

static void test_many_extensions(void **state)
{
	enum { COUNT = 100000 };
	struct text yaml = {0}, messages = {0};
	struct config *config = NULL;
	struct file file = {"t.yaml", NULL, 0};

	(void)state;
	text_puts(&yaml, "extensions:\n");
	for (int i = 0; i < COUNT; i++)
		text_printf(&yaml, "  %d: phone%d.dyndns.example\n", 100000 + i, i);
	text_puts(&yaml, "  100007: again.example\n");
	file.data = text_string(&yaml);
	assert_int_equal(parse(&file, 1, &config, &messages), -EINVAL);
	assert_string_equal(text_string(&messages),
		"t.yaml:100002:3: error: duplicate extension \"100007\"; first in line 9\n"
		"  100007: again.example\n  ^\n");
	yaml.data[yaml.length - strlen("  100007: again.example\n")] = '\0';
	text_clear(&messages);
	assert_int_equal(parse(&file, 1, &config, &messages), 0);
	assert_int_equal(config->owner_count, COUNT);
	assert_string_equal(config->owners[COUNT - 1].names[0], "phone99999.dyndns.example");
	assert_int_equal(config->guard_count, 1);
	config_free(config);
	text_free(&messages);
	text_free(&yaml);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_schema),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_ids_are_text),
		cmocka_unit_test(test_forms_of_owners),
		cmocka_unit_test(test_guards_are_stable),
		cmocka_unit_test(test_require_dnssec),
		cmocka_unit_test(test_trusted_resolvers),
		cmocka_unit_test(test_forms_of_services),
		cmocka_unit_test(test_forms_of_servers),
		cmocka_unit_test(test_most_servers),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_bad_yaml),
		cmocka_unit_test(test_bad_bytes),
		cmocka_unit_test(test_odd_lines),
		cmocka_unit_test(test_bad_keys),
		cmocka_unit_test(test_duplicate_owners),
		cmocka_unit_test(test_bad_hosts),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_bad_owners),
		cmocka_unit_test(test_bad_services),
		cmocka_unit_test(test_too_many_services),
		cmocka_unit_test(test_too_many_servers),
		cmocka_unit_test(test_bad_servers),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_bad_nested_values),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_wrong_programs),
		cmocka_unit_test(test_asterisk),
		cmocka_unit_test(test_wrong_asterisk),
		cmocka_unit_test(test_bad_trusted),
#if SIPFENCE_GEOIP
		cmocka_unit_test(test_origins),
		cmocka_unit_test(test_origins_are_part_of_a_guard),
		cmocka_unit_test(test_guards_with_origins_are_united),
		cmocka_unit_test(test_bad_databases),
		cmocka_unit_test(test_bad_origins),
		cmocka_unit_test(test_unknown_country),
#else
		cmocka_unit_test(test_without_libmaxminddb),
#endif
		cmocka_unit_test(test_metrics_file),
		cmocka_unit_test(test_sets_only),
		cmocka_unit_test(test_wrong_sets_only),
		cmocka_unit_test(test_names_nobody),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_alias_loops),
		cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_alias_bomb),
		cmocka_unit_test(test_huge_scalar),
		cmocka_unit_test(test_deep_nesting),
		cmocka_unit_test(test_many_errors_are_counted),
		cmocka_unit_test(test_include),
		cmocka_unit_test(test_bad_includes),
		cmocka_unit_test(test_unreadable_main_file),
		cmocka_unit_test(test_main_file_by_another_name),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_many_extensions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
