/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft_text.h"

#include <inttypes.h>

static const char *protocol_name(uint8_t protocol)
{
	return protocol == PROTOCOL_TCP ? "tcp" : "udp";
}

static void print_ports(const struct ruleset *ruleset, const struct set *set, struct text *text)
{
	text_printf(text, "\tmap %s {\n\t\ttype inet_proto . inet_service : verdict\n", set->name);
	if (set->room)
		text_printf(text, "\t\tsize %u\n", set->room);
	if (set->intervals)
		text_puts(text, "\t\tflags interval\n");
	text_puts(text, "\t\telements = {\n");
	for (size_t i = 0; i < set->port_count; i++) {
		const struct port_verdict *port = &set->ports[i];

		text_printf(text, "\t\t\t%s . %u", protocol_name(port->protocol), port->first);
		if (port->last != port->first)
			text_printf(text, "-%u", port->last);
		text_printf(text, " : goto %s,\n", ruleset->chains[port->chain].name);
	}
	text_puts(text, "\t\t}\n\t}\n");
}

static void print_element(const struct element *element, struct text *text)
{
	char prefix[PREFIX_TEXT_SIZE];
	size_t length = prefix_print(&element->prefix, prefix);

	text_puts(text, "\t\t\t");
	text_write(text, prefix, length);
	if (element->packets)
		text_printf(text, " counter packets %" PRIu64 " bytes %" PRIu64, element->packets,
			element->bytes);
	if (element->expires_ms)
		text_printf(text, " expires %" PRIu64 "ms", element->expires_ms);
	if (element->comment && *element->comment) {
		text_puts(text, " comment \"");
		text_puts(text, element->comment);
		text_puts(text, "\"");
	}
	text_puts(text, ",\n");
}

static void print_set(const struct set *set, struct text *text)
{
	bool dynamic = set->kind == SET_REJECTED || set->kind == SET_REVOKED;

	text_printf(text, "\tset %s {\n\t\ttype %s\n", set->name,
		set->family == FAMILY_IPV4 ? "ipv4_addr" : "ipv6_addr");
	if (set->room)
		text_printf(text, "\t\tsize %u\n", set->room);
	if (dynamic)
		text_puts(text, "\t\tflags dynamic,timeout\n");
	if (set_has_prefixes(set))
		text_puts(text, "\t\tflags interval\n");
	if (set->kind != SET_DESTINATIONS)
		text_puts(text, "\t\tcounter\n");
	if (dynamic)
		text_printf(text, "\t\ttimeout %us\n",
			(set->kind == SET_REJECTED ? REJECTED_TIMEOUT_MS : REVOKED_TIMEOUT_MS) /
				1000);
	if (set->count) {
		text_puts(text, "\t\telements = {\n");
		for (size_t i = 0; i < set->count; i++)
			print_element(&set->elements[i], text);
		text_puts(text, "\t\t}\n");
	}
	text_puts(text, "\t}\n");
}

static const char *rate_unit(uint32_t seconds)
{
	return seconds == 1	 ? "second"
	       : seconds == 60	 ? "minute"
	       : seconds == 3600 ? "hour"
				 : "day";
}

static void print_expression(
	const struct ruleset *ruleset, const struct expression *expression, struct text *text)
{
	const struct set *set = NULL;
	const char *ip = "ip";

	if (expression->kind == EXPRESSION_DADDR_NOT_IN ||
		expression->kind == EXPRESSION_SADDR_IN ||
		expression->kind == EXPRESSION_UPDATE_SADDR ||
		expression->kind == EXPRESSION_PORTS) {
		set = &ruleset->sets[expression->set];
		ip = set->family == FAMILY_IPV4 ? "ip" : "ip6";
	}
	switch (expression->kind) {
	case EXPRESSION_LOOPBACK:
		text_puts(text, "iif \"lo\"");
		return;
	case EXPRESSION_FORWARDED:
		text_puts(text, "fib daddr type unicast fib daddr oif != 0");
		return;
	case EXPRESSION_DADDR_NOT_IN:
		text_printf(text, "%s daddr != @%s", ip, set->name);
		return;
	case EXPRESSION_SADDR_IN:
		text_printf(text, "%s saddr @%s", ip, set->name);
		return;
	case EXPRESSION_REPLY:
		text_puts(text, "ct direction reply");
		return;
	case EXPRESSION_LIMIT:
	case EXPRESSION_OVER_LIMIT:
		text_printf(text, "limit rate %s%u/%s burst %u packets",
			expression->kind == EXPRESSION_OVER_LIMIT ? "over " : "", expression->rate,
			rate_unit(expression->per), expression->burst);
		return;
	case EXPRESSION_PORTS:
		text_printf(text, "meta l4proto . th dport vmap @%s", set->name);
		return;
	case EXPRESSION_COUNTER:
		text_printf(text, "counter packets %" PRIu64 " bytes %" PRIu64, expression->packets,
			expression->bytes);
		return;
	case EXPRESSION_LOG:
		text_printf(text, "log prefix \"%s\"", expression->prefix);
		return;
	case EXPRESSION_UPDATE_SADDR:
		text_printf(text, "update @%s { %s saddr }", set->name, ip);
		return;
	case EXPRESSION_ACCEPT:
		text_puts(text, "accept");
		return;
	case EXPRESSION_DROP:
		text_puts(text, "drop");
		return;
	case EXPRESSION_GOTO:
		text_printf(text, "goto %s", ruleset->chains[expression->chain].name);
		return;
	}
}

static void print_chain(const struct ruleset *ruleset, const struct chain *chain, struct text *text)
{
	text_printf(text, "\tchain %s {\n", chain->name);
	if (chain->base)
		text_printf(text, "\t\ttype filter hook prerouting priority %d; policy accept;\n",
			chain->priority);
	for (size_t i = 0; i < chain->count; i++) {
		for (size_t j = 0; j < chain->rules[i].count; j++) {
			text_puts(text, j ? " " : "\t\t");
			print_expression(ruleset, &chain->rules[i].expressions[j], text);
		}
		text_puts(text, "\n");
	}
	text_puts(text, "\t}\n");
}

/* Of somebody else's table: what is in its sets, in one transaction. */
static void print_sets(const struct ruleset *ruleset, struct text *text)
{
	const char *family = ruleset_family_name((enum table_family)ruleset->family);

	for (size_t i = 0; i < ruleset->set_count; i++) {
		const struct set *set = &ruleset->sets[i];

		text_printf(text, "flush set %s %s %s\n", family, ruleset->table, set->name);
		if (set->count == 0)
			continue;
		text_printf(text, "add element %s %s %s {\n", family, ruleset->table, set->name);
		for (size_t j = 0; j < set->count; j++)
			print_element(&set->elements[j], text);
		text_puts(text, "}\n");
	}
}

void nft_text_print(const struct ruleset *ruleset, struct text *text)
{
	if (ruleset->sets_only) {
		print_sets(ruleset, text);
		return;
	}
	text_printf(
		text, "table inet %s\ndelete table inet %s\n\n", ruleset->table, ruleset->table);
	text_printf(text, "table inet %s {\n", ruleset->table);
	for (size_t i = 0; i < ruleset->set_count; i++) {
		if (ruleset->sets[i].kind == SET_PORTS)
			print_ports(ruleset, &ruleset->sets[i], text);
		else
			print_set(&ruleset->sets[i], text);
	}
	for (size_t i = 0; i < ruleset->chain_count; i++)
		print_chain(ruleset, &ruleset->chains[i], text);
	text_puts(text, "}\n");
}
