/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_build.h"
#include "config_scalar.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 32, SIP = 0 };

static const struct port_range sip_defaults[] = {
	{PROTOCOL_TCP, 5060, 5061},
	{PROTOCOL_UDP, 5060, 5060},
};

void services_begin(struct build *build)
{
	build->services[SIP] = (struct service){.name = "sip", .local = true};
	build->service_count = 1;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_service_name(const char *name, size_t length)
{
	if (length == 0 || length > MAX_NAME || !is_letter(name[0]))
		return false;
	for (size_t i = 1; i < length; i++)
		if (!is_letter(name[i]) && !(name[i] >= '0' && name[i] <= '9') && name[i] != '_' &&
			name[i] != '-')
			return false;
	return true;
}

int service_find(struct reader *reader, const yaml_node_t *node)
{
	struct build *build = reader->build;
	struct nearest nearest = {0};

	for (size_t i = 0; i < build->service_count; i++) {
		if (node_is(node, build->services[i].name))
			return (int)i;
		nearest_try(&nearest, node, build->services[i].name);
	}
	reader_error(reader, node, "unknown service %s%s", node_quote(node).text,
		nearest.name ? nearest_text(&nearest).text
			     : "; services are defined under \"services\"");
	return -1;
}

static bool read_port_number(const char *text, size_t length, uint16_t *ret_port)
{
	uint32_t port = 0;

	if (length == 0 || length > 5)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (uint32_t)(text[i] - '0');
	}
	if (port == 0 || port > 65535)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

struct draft_service {
	uint32_t index;
	uint8_t protocol;
};

static void read_port(struct reader *reader, const yaml_node_t *node, void *target)
{
	const struct draft_service *draft = target;
	struct build *build = reader->build;
	const char *text = node_text(node), *dash = memchr(text, '-', node_length(node));
	size_t length = node_length(node), first_length = dash ? (size_t)(dash - text) : length;
	struct port_range range = {.protocol = draft->protocol};

	if (!read_port_number(text, first_length, &range.first) ||
		!read_port_number(dash ? dash + 1 : text, dash ? length - first_length - 1 : length,
			&range.last)) {
		reader_error(reader, node,
			"%s is not a port: a number from 1 to 65535 is needed, or two with a "
			"hyphen between (5060-5061)",
			node_quote(node).text);
		return;
	}
	if (range.first > range.last) {
		reader_error(reader, node, "%s runs backwards; write %u-%u", node_quote(node).text,
			range.last, range.first);
		return;
	}
	if (!array_grow(&build->ports, &build->port_capacity, build->port_count,
		    sizeof(build->ports[0]))) {
		reader_no_memory(reader);
		return;
	}
	build->ports[build->port_count++] =
		(struct draft_port){range, draft->index, reader_place(reader, node)};
}

static void read_tcp(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct draft_service *draft = target;

	draft->protocol = PROTOCOL_TCP;
	reader_items(reader, node, "\"tcp\"", false, read_port, draft);
}

static void read_udp(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct draft_service *draft = target;

	draft->protocol = PROTOCOL_UDP;
	reader_items(reader, node, "\"udp\"", false, read_port, draft);
}

/* The place in the table for a new service; -1 and reported when it cannot be one. */
static int add_service(struct reader *reader, const yaml_node_t *key, uint32_t *seen)
{
	struct build *build = reader->build;
	size_t index = 0;

	if (!is_service_name(node_text(key), node_length(key))) {
		reader_error(reader, key,
			"%s cannot be the name of a service: a letter, then up to 31 letters, "
			"digits, \"_\" and \"-\"",
			node_quote(key).text);
		return -1;
	}
	while (index < build->service_count && !node_is(key, build->services[index].name))
		index++;
	if (*seen & (index < CONFIG_MAX_SERVICES ? UINT32_C(1) << index : 0)) {
		reader_error(reader, key, "duplicate service %s; first in line %" PRIu32,
			node_quote(key).text, build->service_places[index].line);
		return -1;
	}
	if (index == CONFIG_MAX_SERVICES) {
		reader_error(reader, key, "too many services; %d are allowed, sip included",
			CONFIG_MAX_SERVICES);
		return -1;
	}
	if (index == build->service_count) {
		const char *name = build_copy(build, node_text(key), node_length(key));
		if (!name)
			return -1;
		build->services[build->service_count++] = (struct service){.name = name};
	}
	*seen |= UINT32_C(1) << index;
	build->service_places[index] = reader_place(reader, key);
	return (int)index;
}

static void read_service(
	struct reader *reader, const yaml_node_t *key, const yaml_node_t *value, void *target)
{
	static const struct key keys[] = {
		{"tcp", NODE_TEXT | NODE_LIST, read_tcp},
		{"udp", NODE_TEXT | NODE_LIST, read_udp},
	};
	struct build *build = reader->build;
	struct draft_service draft;
	size_t ports = build->port_count, errors = reader->report->errors;
	int index = add_service(reader, key, target);

	if (index < 0 || !reader_kind(reader, value, NODE_MAPPING, node_quote(key).text))
		return;
	draft = (struct draft_service){.index = (uint32_t)index};
	reader_mapping(reader, value, KEYS(keys), &draft);
	if (build->port_count == ports && reader->report->errors == errors)
		reader_error(reader, key, "service %s has no ports; give it \"tcp\" or \"udp\"",
			node_quote(key).text);
}

void read_services(struct reader *reader, const yaml_node_t *node, void *target)
{
	uint32_t seen = 0;

	(void)target;
	reader_entries(reader, node, "\"services\"", read_service, &seen);
}

static void read_local_service(struct reader *reader, const yaml_node_t *node, void *target)
{
	struct build *build = reader->build;
	int index = service_find(reader, node);

	(void)target;
	if (index < 0)
		return;
	if (build->services[index].local)
		reader_error(reader, node, "service %s stands here twice", node_quote(node).text);
	build->services[index].local = true;
}

void read_local_services(struct reader *reader, const yaml_node_t *node, void *target)
{
	reader->build->services[SIP].local = false; /* the default ends here */
	reader_items(reader, node, "\"local-services\"", false, read_local_service, target);
}

static int by_port(const void *a, const void *b)
{
	const struct draft_port *x = a, *y = b;

	if (x->range.protocol != y->range.protocol)
		return x->range.protocol < y->range.protocol ? -1 : 1;
	if (x->range.first != y->range.first)
		return x->range.first < y->range.first ? -1 : 1;
	if (x->place.line != y->place.line)
		return x->place.line < y->place.line ? -1 : 1;
	return x->place.column < y->place.column ? -1 : x->place.column > y->place.column;
}

struct port_text {
	char text[20];
};

static struct port_text port_text(const struct port_range *range)
{
	const char *protocol = range->protocol == PROTOCOL_TCP ? "tcp" : "udp";
	struct port_text text;

	if (range->first == range->last)
		snprintf(text.text, sizeof(text.text), "%s %u", protocol, range->first);
	else
		snprintf(text.text, sizeof(text.text), "%s %u-%u", protocol, range->first,
			range->last);
	return text;
}

/* Reports at the later one of the two in the text. */
static void report_overlap(
	struct build *build, const struct draft_port *a, const struct draft_port *b)
{
	bool a_first = a->place.line != b->place.line ? a->place.line < b->place.line
						      : a->place.column < b->place.column;
	const struct draft_port *first = a_first ? a : b, *second = a_first ? b : a;

	report_error(&build->report, second->place, "%s overlaps %s of service \"%s\"",
		port_text(&second->range).text, port_text(&first->range).text,
		build->services[first->service].name);
}

static void check_overlaps(struct build *build)
{
	const struct draft_port *widest = NULL;

	for (size_t i = 0; i < build->port_count; i++) {
		const struct draft_port *port = &build->ports[i];
		bool same = widest && widest->range.protocol == port->range.protocol;
		if (same && port->range.first <= widest->range.last)
			report_overlap(build, widest, port);
		if (!same || port->range.last > widest->range.last)
			widest = port;
	}
}

static void add_sip_defaults(struct build *build)
{
	if (build->service_places[SIP].line)
		return; /* the config says it */
	for (size_t i = 0; i < sizeof(sip_defaults) / sizeof(sip_defaults[0]); i++) {
		if (!array_grow(&build->ports, &build->port_capacity, build->port_count,
			    sizeof(build->ports[0]))) {
			build->report.no_memory = true;
			return;
		}
		build->ports[build->port_count++] =
			(struct draft_port){sip_defaults[i], SIP, {0, 0, 0}};
	}
}

static void move_ports(struct build *build, uint32_t index)
{
	struct service *service = &build->services[index];
	size_t count = 0;

	for (size_t i = 0; i < build->port_count; i++)
		count += build->ports[i].service == index;
	service->ports = build_alloc(build, count, sizeof(service->ports[0]));
	for (size_t i = 0; service->ports && i < build->port_count; i++)
		if (build->ports[i].service == index)
			service->ports[service->port_count++] = build->ports[i].range;
}

void services_finish(struct build *build)
{
	struct config *config = build->config;

	add_sip_defaults(build);
	if (build->report.no_memory)
		return;
	if (build->port_count)
		qsort(build->ports, build->port_count, sizeof(build->ports[0]), by_port);
	check_overlaps(build);
	for (uint32_t i = 0; i < build->service_count; i++)
		move_ports(build, i);
	config->services = build_alloc(build, build->service_count, sizeof(config->services[0]));
	if (!config->services)
		return;
	memcpy(config->services, build->services,
		build->service_count * sizeof(config->services[0]));
	config->service_count = build->service_count;
}
