/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft_words.h"
#include "config_build.h"
#include "config_scalar.h"

#include <inttypes.h>
#include <string.h>

enum {
	MAX_USER_NAME = 32,
	MAX_LOG_PREFIX = 64,
	MAX_LOG_RATE = 100000,
	MAX_IN_FLIGHT = 10000,
	DEFAULT_ADDRESSES = 8,
	MAX_CHANGES = 1000,
	DEFAULT_CHANGES = 12,
	DEFAULT_MAX_AGE = 90 * 86400,
};

static struct config *config_of(struct reader *reader)
{
	return reader->build->config;
}

/* Lists of prefixes. */

static void read_subnet(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct prefix prefix;

	if (scalar_source_prefix(reader, node, &prefix))
		list_add_prefix(reader, node, target, &prefix);
}

static void read_destination(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct prefix prefix;

	if (scalar_prefix(reader, node, &prefix))
		list_add_prefix(reader, node, target, &prefix);
}

/* Sorted, into the config's arena. */
static struct prefix *move_prefixes(
	struct build *build, struct prefix_list *list, size_t *ret_count)
{
	struct prefix *prefixes;

	list_sort_prefixes(build, list);
	prefixes = build_alloc(build, list->count, sizeof(prefixes[0]));
	for (size_t i = 0; prefixes && i < list->count; i++)
		prefixes[i] = list->items[i].prefix;
	*ret_count = prefixes ? list->count : 0;
	list->count = 0;
	return prefixes;
}

static void read_local_subnets(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct prefix_list *list = &reader->build->fixed;
	struct config *config = config_of(reader);

	(void)target;
	list->count = 0;
	reader_items(reader, node, "\"local-subnets\"", false, read_subnet, list);
	config->local_subnets = move_prefixes(reader->build, list, &config->local_subnet_count);
}

static void read_destinations(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct prefix_list *list = &reader->build->fixed;
	struct config *config = config_of(reader);

	(void)target;
	list->count = 0;
	reader_items(reader, node, "\"destinations\"", true, read_destination, list);
	config->destinations = move_prefixes(reader->build, list, &config->destination_count);
}

/* resolver */

struct server_list {
	struct config_server items[CONFIG_MAX_SERVERS];
	size_t count; /* those too many included */
};

/* The same text for the same server. */
static const char *server_text(struct build *build, const struct config_server *server)
{
	char address[ADDR_TEXT_SIZE], text[ADDR_TEXT_SIZE + sizeof("[]:65535")];

	addr_print(&server->addr, address);
	if (server->port == CONFIG_DNS_PORT)
		snprintf(text, sizeof(text), "%s", address);
	else
		snprintf(text, sizeof(text),
			server->addr.family == FAMILY_IPV6 ? "[%s]:%u" : "%s:%u", address,
			server->port);
	return build_copy(build, text, strlen(text));
}

static void read_server(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct server_list *servers = target;
	struct config_server server;
	const char *text;

	if (!scalar_server(reader, node, &server))
		return;
	if (servers->count == CONFIG_MAX_SERVERS)
		reader_error(
			reader, node, "too many DNS servers; %d are allowed", CONFIG_MAX_SERVERS);
	if (servers->count++ >= CONFIG_MAX_SERVERS)
		return;
	servers->items[servers->count - 1] = server;
	text = server_text(reader->build, &server);
	if (text)
		list_add_name(reader, node, &reader->build->servers, text);
}

static void read_servers(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct build *build = reader->build;
	struct config *config = config_of(reader);
	struct server_list list = {.count = 0};
	struct config_server *servers;

	(void)target;
	reader_items(reader, node, "\"servers\"", false, read_server, &list);
	list_sort_names(build, &build->servers, "server");
	if (list.count > CONFIG_MAX_SERVERS)
		return;
	servers = build_alloc(build, list.count, sizeof(servers[0]));
	if (!servers)
		return;
	memcpy(servers, list.items, list.count * sizeof(servers[0]));
	config->resolver.servers = servers;
	config->resolver.server_count = list.count;
}

static void read_timeout(struct reader *reader, const yaml_node_t *node, void *target)
{
	int64_t milliseconds;

	(void)target;
	if (scalar_milliseconds(reader, node, "100ms", "60s", &milliseconds))
		config_of(reader)->resolver.timeout_ms = (uint32_t)milliseconds;
}

static void read_in_flight(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	if (node_is(node, "auto"))
		config_of(reader)->resolver.in_flight = 0;
	else
		scalar_number(reader, node, "\"auto\" or a number of questions", 1, MAX_IN_FLIGHT,
			&config_of(reader)->resolver.in_flight);
}

static void read_trusted_item(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct prefix prefix;

	if (scalar_has_port(node))
		reader_error(reader, node,
			"%s: a resolver is trusted by its address; leave the port out",
			node_quote(node).text);
	else if (scalar_prefix(reader, node, &prefix))
		list_add_prefix(reader, node, target, &prefix);
}

static void read_trusted(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct prefix_list *list = &reader->build->fixed;
	struct config *config = config_of(reader);

	(void)target;
	list->count = 0;
	reader_items(reader, node, "\"trusted\"", false, read_trusted_item, list);
	config->resolver.trusted =
		move_prefixes(reader->build, list, &config->resolver.trusted_count);
}

static void read_resolver(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"servers", NODE_TEXT | NODE_LIST, read_servers},
		{"timeout", NODE_TEXT, read_timeout},
		{"in-flight", NODE_TEXT, read_in_flight},
		{"trusted", NODE_TEXT | NODE_LIST, read_trusted},
	};

	reader_mapping(reader, node, KEYS(keys), target);
}

/* Times. A target is the int64_t to fill. */

static void read_refresh_min(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_seconds(reader, node, "1s", &config_of(reader)->refresh_min);
}

static void read_refresh_max(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_seconds(reader, node, "1s", &config_of(reader)->refresh_max);
}

static void read_refresh(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"min", NODE_TEXT, read_refresh_min},
		{"max", NODE_TEXT, read_refresh_max},
	};
	const struct config *config = config_of(reader);

	reader_mapping(reader, node, KEYS(keys), target);
	if (config->refresh_min > config->refresh_max)
		reader_error(reader, node,
			"\"min\" (%" PRId64 "s) is longer than \"max\" (%" PRId64 "s)",
			config->refresh_min, config->refresh_max);
}

static void read_hold(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_seconds(reader, node, NULL, &config_of(reader)->hold);
}

static void read_gone(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_seconds(reader, node, NULL, &config_of(reader)->gone);
}

static void read_linger_extensions(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_seconds(reader, node, NULL, &config_of(reader)->linger[OWNER_EXTENSION]);
}

static void read_linger_peers(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_seconds(reader, node, NULL, &config_of(reader)->linger[OWNER_PEER]);
}

static void read_linger(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"extensions", NODE_TEXT, read_linger_extensions},
		{"peers", NODE_TEXT, read_linger_peers},
	};

	reader_mapping(reader, node, KEYS(keys), target);
}

static void read_max_addresses(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_number(reader, node, "a number of addresses", 1, CONFIG_MAX_ADDRESSES,
		&reader->build->max_addresses);
}

static void read_max_changes(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_number(reader, node, "a number of changes", 1, MAX_CHANGES,
		&config_of(reader)->changes_per_hour);
}

static void read_limits(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"addresses-per-host", NODE_TEXT, read_max_addresses},
		{"changes-per-hour", NODE_TEXT, read_max_changes},
	};

	reader_mapping(reader, node, KEYS(keys), target);
}

/* Single words. */

static void read_mode(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const char *const choices[] = {"enforce", "monitor"};

	(void)target;
	config_of(reader)->monitor = scalar_choice(reader, node, choices, 2) == 1;
}

static void read_replies(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const char *const choices[] = {"drop", "accept"};

	(void)target;
	config_of(reader)->accept_replies = scalar_choice(reader, node, choices, 2) == 1;
}

static void read_require_dnssec(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_bool(reader, node, &reader->build->require_dnssec);
}

static void read_user(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	if (!node_is_identifier(node, MAX_USER_NAME))
		reader_error(reader, node,
			"%s is not the name of a user: a letter or \"_\", then up to 31 letters, "
			"digits, \"_\" and \"-\"",
			node_quote(node).text);
	else
		config_of(reader)->user =
			build_copy(reader->build, node_text(node), node_length(node));
}

/* geoip */

static void read_country_database(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	reader->build->has_country_database = true;
	config_of(reader)->geoip.country = scalar_path(reader, node, "a database");
}

static void read_asn_database(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	reader->build->has_asn_database = true;
	config_of(reader)->geoip.asn = scalar_path(reader, node, "a database");
}

static void read_max_age(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	scalar_seconds(reader, node, "1h", &config_of(reader)->geoip.max_age);
}

static void read_geoip(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"country", NODE_TEXT, read_country_database},
		{"asn", NODE_TEXT, read_asn_database},
		{"max-age", NODE_TEXT, read_max_age},
	};
	size_t errors = reader->report->errors;

	reader_mapping(reader, node, KEYS(keys), target);
	if (reader->report->errors > errors)
		return;
	if (!SIPFENCE_GEOIP)
		reader_error(reader, node,
			"\"geoip\" cannot be used: this sipfence was built without libmaxminddb; "
			"build it anew where the package libmaxminddb-dev is installed");
	else if (!reader->build->has_country_database && !reader->build->has_asn_database)
		reader_error(reader, node,
			"\"geoip\" names no database; give it \"country\", \"asn\" or both");
}

/* nftables */

static void read_table(struct reader *reader, const yaml_node_t *node, void *target)
{
	const char *table = scalar_nft_name(reader, node, "a table");

	(void)target;
	reader->build->has_table = true;
	if (table)
		config_of(reader)->table = table;
}

static void read_lock(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const char *const choices[] = {"auto", "off"};

	(void)target;
	config_of(reader)->lock = scalar_choice(reader, node, choices, 2) == 0;
}

static bool parse_rate(const char *text, size_t length, uint32_t *ret_rate, uint32_t *ret_unit)
{
	static const struct {
		const char *name;
		uint32_t seconds;
	} units[] = {{"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", 86400}};
	uint32_t rate = 0;
	size_t at = 0;

	for (; at < length && at < 6 && text[at] >= '0' && text[at] <= '9'; at++)
		rate = rate * 10 + (uint32_t)(text[at] - '0');
	if (rate == 0 || rate > MAX_LOG_RATE || at == length || text[at] != '/')
		return false;
	at++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strlen(units[i].name) != length - at ||
			memcmp(units[i].name, text + at, length - at) != 0)
			continue;
		*ret_rate = rate;
		*ret_unit = units[i].seconds;
		return true;
	}
	return false;
}

static void read_log_rate(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct config *config = config_of(reader);

	(void)target;
	if (node_is(node, "off"))
		config->log_rate = 0;
	else if (!parse_rate(node_text(node), node_length(node), &config->log_rate,
			 &config->log_rate_unit))
		reader_error(reader, node,
			"%s is not a rate: \"off\", or a number up to %d and a unit, like "
			"6/minute (second, minute, hour, day)",
			node_quote(node).text, MAX_LOG_RATE);
}

static void read_log_prefix(struct reader *reader, const yaml_node_t *node, void *target)
{
	const char *text = node_text(node);
	size_t length = node_length(node), good = 0;

	(void)target;
	while (good < length && text[good] >= 0x20 && text[good] < 0x7f && text[good] != '"' &&
		text[good] != '\\' && text[good] != '$')
		good++;
	if (good < length || length > MAX_LOG_PREFIX)
		reader_error(reader, node,
			"a log prefix has up to %d printable ASCII characters, no quote, no "
			"backslash and no $",
			MAX_LOG_PREFIX);
	else
		config_of(reader)->log_prefix = build_copy(reader->build, text, length);
}

static void read_log(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"rate", NODE_TEXT, read_log_rate},
		{"prefix", NODE_TEXT, read_log_prefix},
	};

	if (node->type == YAML_MAPPING_NODE)
		reader_mapping(reader, node, KEYS(keys), target);
	else if (node_is(node, "off"))
		config_of(reader)->log_rate = 0;
	else
		reader_error(reader, node,
			"%s is not \"off\" or a mapping with \"rate\" and \"prefix\"",
			node_quote(node).text);
}

static void read_nftables(struct reader *reader, const yaml_node_t *node, void *target)
{
	static const struct key keys[] = {
		{"table", NODE_TEXT, read_table},
		{"lock", NODE_TEXT, read_lock},
		{"log", NODE_TEXT | NODE_MAPPING, read_log},
		{"sets-only", NODE_MAPPING, read_sets_only},
	};

	reader_mapping(reader, node, KEYS(keys), target);
}

/* include */

static void read_pattern(struct reader *reader, const yaml_node_t *node, void *target)
{
	const char *copy;

	(void)target;
	if (node_length(node) == 0 || memchr(node_text(node), '\0', node_length(node))) {
		reader_error(reader, node, "%s is not the name of a file", node_quote(node).text);
		return;
	}
	copy = build_copy(reader->build, node_text(node), node_length(node));
	if (copy)
		list_add_name(reader, node, &reader->build->includes, copy);
}

static void read_include(struct reader *reader, const yaml_node_t *node, void *target)
{
	reader_items(reader, node, "\"include\"", false, read_pattern, target);
}

static void read_metrics_file(struct reader *reader, const yaml_node_t *node, void *target)
{
	(void)target;
	config_of(reader)->metrics_file = scalar_path(reader, node, "the metrics file");
}

/* Readers run in this order: the first four are used by what follows. */
static const struct key main_keys[] = {
	{"services", NODE_MAPPING, read_services},
	{"limits", NODE_MAPPING, read_limits},
	{"require-dnssec", NODE_TEXT, read_require_dnssec},
	{"geoip", NODE_MAPPING, read_geoip},
	{"extensions", NODE_MAPPING, read_extensions},
	{"peers", NODE_MAPPING, read_peers},
	{"local-subnets", NODE_TEXT | NODE_LIST, read_local_subnets},
	{"local-services", NODE_TEXT | NODE_LIST, read_local_services},
	{"resolver", NODE_MAPPING, read_resolver},
	{"refresh", NODE_MAPPING, read_refresh},
	{"hold", NODE_TEXT, read_hold},
	{"gone", NODE_TEXT, read_gone},
	{"linger", NODE_MAPPING, read_linger},
	{"mode", NODE_TEXT, read_mode},
	{"replies", NODE_TEXT, read_replies},
	{"destinations", NODE_TEXT | NODE_LIST, read_destinations},
	{"nftables", NODE_MAPPING, read_nftables},
	{"user", NODE_TEXT, read_user},
	{"include", NODE_TEXT | NODE_LIST, read_include},
	{"on-change", NODE_TEXT | NODE_LIST, read_on_change},
	{"metrics-file", NODE_TEXT, read_metrics_file},
	{"asterisk", NODE_MAPPING, read_asterisk},
};

void read_main_file(struct reader *reader, const yaml_node_t *root)
{
	if (reader_kind(reader, root, NODE_MAPPING, "the config"))
		reader_mapping(reader, root, KEYS(main_keys), NULL);
}

void read_included_file(struct reader *reader, const yaml_node_t *root)
{
	struct key keys[sizeof(main_keys) / sizeof(main_keys[0])];

	if (!reader_kind(reader, root, NODE_MAPPING, "an included file"))
		return;
	memcpy(keys, main_keys, sizeof(keys));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i].read != read_extensions && keys[i].read != read_peers)
			keys[i].kinds = NODE_NOT_HERE;
	reader_mapping(reader, root, KEYS(keys), NULL);
}

void settings_begin(struct build *build)
{
	static const struct prefix loopback[] = {
		{{FAMILY_IPV4, {127}}, 8},
		{{FAMILY_IPV6, {[15] = 1}}, 128},
	};
	struct config *config = build->config;

	config->resolver.timeout_ms = 5000;
	config->refresh_min = 30;
	config->refresh_max = 600;
	config->hold = 86400;
	config->gone = 300;
	config->linger[OWNER_EXTENSION] = 0;
	config->linger[OWNER_PEER] = 3600;
	config->table = CONFIG_DEFAULT_TABLE;
	config->lock = true;
	config->log_rate = 6;
	config->log_rate_unit = 60;
	config->log_prefix = "sipfence ";
	config->resolver.trusted = loopback;
	config->resolver.trusted_count = sizeof(loopback) / sizeof(loopback[0]);
	config->geoip.max_age = DEFAULT_MAX_AGE;
	config->changes_per_hour = DEFAULT_CHANGES;
	programs_begin(build);
	build->max_addresses = DEFAULT_ADDRESSES;
}
