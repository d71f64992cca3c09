/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_scalar.h"
#include "nft_words.h"
#include "duration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool scalar_bool(struct reader *reader, const yaml_node_t *node, bool *ret_value)
{
	static const char *const choices[] = {"false", "true"};
	int choice = scalar_choice(reader, node, choices, 2);

	if (choice < 0)
		return false;
	*ret_value = choice == 1;
	return true;
}

int scalar_choice(
	struct reader *reader, const yaml_node_t *node, const char *const *choices, size_t count)
{
	struct nearest nearest = {0};
	char list[160] = "";
	size_t used = 0;

	for (size_t i = 0; i < count; i++)
		if (node_is(node, choices[i]))
			return (int)i;
	for (size_t i = 0; i < count && used < sizeof(list); i++) {
		nearest_try(&nearest, node, choices[i]);
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s\"%s\"",
			i == 0		 ? ""
			: i + 1 == count ? " or "
					 : ", ",
			choices[i]);
	}
	reader_error(reader, node, "%s is not %s%s", node_quote(node).text, list,
		nearest_text(&nearest).text);
	return -1;
}

/* A decimal number up to `most` without sign; false otherwise. */
static bool parse_number(const char *text, size_t length, uint32_t most, uint32_t *ret_number)
{
	uint64_t number = 0;

	if (length == 0 || length > 10)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!is_digit(text[i]))
			return false;
		number = number * 10 + (uint64_t)(text[i] - '0');
	}
	if (number > most)
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

bool scalar_number(struct reader *reader, const yaml_node_t *node, const char *what, uint32_t least,
	uint32_t most, uint32_t *ret_number)
{
	uint32_t number;

	if (!parse_number(node_text(node), node_length(node), most, &number) || number < least) {
		reader_error(reader, node,
			"%s is not %s: a number from %" PRIu32 " to %" PRIu32 " is needed",
			node_quote(node).text, what, least, most);
		return false;
	}
	*ret_number = number;
	return true;
}

bool scalar_milliseconds(struct reader *reader, const yaml_node_t *node, const char *least,
	const char *most, int64_t *ret_milliseconds)
{
	int64_t value, lowest = 0, highest = INT64_MAX;
	enum duration_error error = duration_parse(node_text(node), node_length(node), &value);

	if (error == DURATION_NO_UNIT && node_length(node) <= 10) {
		reader_error(reader, node, "%s: %s; write \"%.*ss\" for seconds",
			node_quote(node).text, duration_error_text(error), (int)node_length(node),
			node_text(node));
		return false;
	}
	if (error) {
		reader_error(
			reader, node, "%s: %s", node_quote(node).text, duration_error_text(error));
		return false;
	}
	if (least)
		duration_parse(least, strlen(least), &lowest);
	if (most)
		duration_parse(most, strlen(most), &highest);
	if (value < lowest) {
		reader_error(reader, node, "%s is too short; the least is %s",
			node_quote(node).text, least);
		return false;
	}
	if (value > highest) {
		reader_error(reader, node, "%s is too long; the most is %s", node_quote(node).text,
			most);
		return false;
	}
	*ret_milliseconds = value;
	return true;
}

bool scalar_seconds(
	struct reader *reader, const yaml_node_t *node, const char *least, int64_t *ret_seconds)
{
	int64_t milliseconds;

	if (!scalar_milliseconds(reader, node, least, NULL, &milliseconds))
		return false;
	if (milliseconds % 1000 ||
		(node_length(node) >= 2 &&
			memcmp(node_text(node) + node_length(node) - 2, "ms", 2) == 0)) {
		reader_error(
			reader, node, "%s: whole seconds are needed here", node_quote(node).text);
		return false;
	}
	*ret_seconds = milliseconds / 1000;
	return true;
}

static bool report_name(struct reader *reader, const yaml_node_t *node, enum fqdn_error error)
{
	if (error == FQDN_NO_DOT && node_is(node, "local"))
		reader_error(reader, node,
			"\"local\" is not a host; an extension says \"local: true\" beside its "
			"hosts");
	else
		reader_error(reader, node, "%s is not a host name: %s", node_quote(node).text,
			fqdn_error_text(error));
	return false;
}

bool scalar_name(struct reader *reader, const yaml_node_t *node, char *buffer)
{
	size_t at;
	enum fqdn_error error = fqdn_parse(node_text(node), node_length(node), buffer, &at);

	if (error)
		return report_name(reader, node, error);
	if (buffer[0] == '_') {
		reader_error(reader, node,
			"%s looks like an SRV name; put it under \"srv\" of a peer",
			node_quote(node).text);
		return false;
	}
	return true;
}

bool scalar_srv_name(struct reader *reader, const yaml_node_t *node, char *buffer)
{
	char name[FQDN_SIZE];
	size_t at;
	const char *dot;
	enum fqdn_error error = fqdn_parse(node_text(node), node_length(node), name, &at);

	if (error)
		return report_name(reader, node, error);
	dot = strchr(name, '.');
	if (name[0] != '_' || dot[1] != '_' || !strchr(dot + 1, '.')) {
		reader_error(reader, node,
			"%s is not an SRV name; it starts like _sip._udp.voipco.example",
			node_quote(node).text);
		return false;
	}
	memcpy(buffer, name, strlen(name) + 1);
	return true;
}

/* The length of what stands before a slash. */
static size_t address_length(const yaml_node_t *node)
{
	const char *slash = memchr(node_text(node), '/', node_length(node));

	return slash ? (size_t)(slash - node_text(node)) : node_length(node);
}

bool scalar_looks_like_address(const yaml_node_t *node)
{
	const char *text = node_text(node);
	size_t length = address_length(node), start;

	if (length < node_length(node) || memchr(text, ':', length))
		return true;
	if (length > 0 && text[length - 1] == '.')
		length--;
	for (start = length; start > 0 && text[start - 1] != '.'; start--)
		if (!is_digit(text[start - 1]))
			return false;
	return length > 0;
}

/* What is wrong with one of the numbers of an IPv4 address; false when nothing is. */
static bool explain_octet(const char *digits, size_t length, char *buffer, size_t size)
{
	const char *cut = length > 12 ? "..." : "";
	int shown = length > 12 ? 12 : (int)length;

	if (length == 0)
		snprintf(buffer, size, "a number is missing");
	else if (length > 1 && digits[0] == '0')
		snprintf(buffer, size, "%.*s%s has a leading zero", shown, digits, cut);
	else if (length > 3 || (length == 3 && memcmp(digits, "255", 3) > 0))
		snprintf(buffer, size, "%.*s%s is more than 255", shown, digits, cut);
	else
		return false;
	return true;
}

/* Why a text without a colon is not an address. */
static void explain_ipv4(const char *text, size_t length, char *buffer, size_t size)
{
	size_t start = 0, count = 0;

	for (size_t i = 0; i <= length; i++) {
		if (i < length && is_digit(text[i]))
			continue;
		if (i < length && text[i] != '.') {
			snprintf(buffer, size, "it has other characters than digits and dots");
			return;
		}
		if (explain_octet(text + start, i - start, buffer, size))
			return;
		start = i + 1;
		count++;
	}
	snprintf(buffer, size, "it has %zu number%s instead of 4", count, count == 1 ? "" : "s");
}

static void explain_address(const char *text, size_t length, char *buffer, size_t size)
{
	const char *colon = memchr(text, ':', length);
	uint32_t port;

	if (length == 0) {
		snprintf(buffer, size, "nothing stands before the slash");
	} else if (strncasecmp(text, "sip:", 4) == 0 || strncasecmp(text, "sips:", 5) == 0 ||
		   (colon && strncmp(colon, "://", 3) == 0)) {
		snprintf(buffer, size, "write the host's name alone, without \"%.*s\"",
			(int)(colon - text) + 1, text);
	} else if (!colon) {
		explain_ipv4(text, length, buffer, size);
	} else if (memchr(text, '%', length)) {
		snprintf(buffer, size, "an address with a zone (%%) cannot be used");
	} else if ((memchr(text, '.', (size_t)(colon - text)) || text[0] == '[') &&
		   parse_number(colon + 1, (size_t)(text + length - colon - 1), 65535, &port)) {
		snprintf(buffer, size, "a host has no port; ports stand under \"services\"");
	} else if (text[0] == '[') {
		snprintf(buffer, size, "an address is written without brackets here");
	} else {
		snprintf(buffer, size,
			"an IPv6 address has eight groups of hex digits, or one \"::\"");
	}
}

/* Why `node` is no prefix. */
static void report_prefix(struct reader *reader, const yaml_node_t *node, enum prefix_error error,
	const struct prefix *cleared)
{
	size_t length = address_length(node);
	struct addr addr;
	char text[PREFIX_TEXT_SIZE > 96 ? PREFIX_TEXT_SIZE : 96];

	if (error == PREFIX_HOST_BITS) {
		prefix_print(cleared, text);
		reader_error(reader, node, "%s has bits set behind its length; the prefix is %s%s",
			node_quote(node).text, text, prefix_is_host(cleared) ? " alone" : "");
		return;
	}
	if (addr_parse(node_text(node), length, &addr)) {
		reader_error(reader, node, "%s: behind the slash, a number from 0 to %u is needed",
			node_quote(node).text, addr_bits(addr.family));
		return;
	}
	text[0] = '\0';
	explain_address(node_text(node), length, text, sizeof(text));
	reader_error(reader, node, "%s is not an address: %s", node_quote(node).text, text);
}

bool scalar_prefix(struct reader *reader, const yaml_node_t *node, struct prefix *ret_prefix)
{
	struct prefix prefix;
	enum prefix_error error = prefix_parse(node_text(node), node_length(node), &prefix);

	if (error) {
		if (scalar_looks_like_address(node))
			report_prefix(reader, node, error, &prefix);
		else
			reader_error(reader, node, "%s is not an address or prefix",
				node_quote(node).text);
		return false;
	}
	*ret_prefix = prefix;
	return true;
}

static bool never_a_source(const struct addr *addr)
{
	switch (addr_special(addr)) {
	case ADDR_ORDINARY:
	case ADDR_PRIVATE:
	case ADDR_LINK_LOCAL:
		return false;
	default:
		return true;
	}
}

bool scalar_source_prefix(struct reader *reader, const yaml_node_t *node, struct prefix *ret_prefix)
{
	struct prefix prefix;
	struct addr last;
	const struct addr *culprit;

	if (!scalar_prefix(reader, node, &prefix))
		return false;
	if (prefix.length == 0) {
		reader_error(reader, node, "%s would let everybody in", node_quote(node).text);
		return false;
	}
	last = prefix_last(&prefix);
	culprit = never_a_source(&prefix.addr) ? &prefix.addr
		  : never_a_source(&last)      ? &last
					       : NULL;
	if (culprit) {
		char text[ADDR_TEXT_SIZE];
		addr_print(culprit, text);
		reader_error(reader, node, "%s cannot be let in: %s is %s", node_quote(node).text,
			text, addr_special_name(addr_special(culprit)));
		return false;
	}
	*ret_prefix = prefix;
	return true;
}

/* Splits "address", "address:port" and "[address]:port"; *ret_port is NULL without a port. */
static bool split_server(
	const char *text, size_t length, struct addr *ret_addr, const char **ret_port)
{
	const char *end = text + length, *colon;

	*ret_port = NULL;
	if (addr_parse(text, length, ret_addr))
		return true;
	if (length && text[0] == '[') {
		const char *bracket = memchr(text, ']', length);
		if (!bracket || !addr_parse(text + 1, (size_t)(bracket - text) - 1, ret_addr) ||
			ret_addr->family != FAMILY_IPV6)
			return false;
		if (bracket + 1 == end)
			return true;
		*ret_port = bracket + 2;
		return bracket[1] == ':';
	}
	colon = memchr(text, ':', length);
	if (!colon || !addr_parse(text, (size_t)(colon - text), ret_addr))
		return false;
	*ret_port = colon + 1;
	return true;
}

bool scalar_server(struct reader *reader, const yaml_node_t *node, struct config_server *ret_server)
{
	const char *text = node_text(node), *port_text;
	struct addr addr;
	uint32_t port = CONFIG_DNS_PORT;

	if (!split_server(text, node_length(node), &addr, &port_text)) {
		reader_error(reader, node,
			"%s is not a DNS server: an address is needed, with a port or without "
			"(\"192.0.2.53\", \"192.0.2.53:5353\", \"[2001:db8::53]:5353\")",
			node_quote(node).text);
		return false;
	}
	if (port_text && (!parse_number(port_text, (size_t)(text + node_length(node) - port_text),
				  65535, &port) ||
				 port == 0)) {
		reader_error(reader, node, "%s: a port is a number from 1 to 65535",
			node_quote(node).text);
		return false;
	}
	if (addr_special(&addr) == ADDR_UNSPECIFIED || addr_special(&addr) == ADDR_MULTICAST) {
		reader_error(reader, node, "%s cannot be asked: it is %s", node_quote(node).text,
			addr_special_name(addr_special(&addr)));
		return false;
	}
	*ret_server = (struct config_server){.addr = addr, .port = (uint16_t)port};
	return true;
}

bool scalar_has_port(const yaml_node_t *node)
{
	struct addr addr;
	const char *port;

	return split_server(node_text(node), node_length(node), &addr, &port) && port;
}

/* ISO 3166-1, and XK as databases write Kosovo. */
static bool is_known_country(const char *code)
{
	static const char known[] =
		"AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ "
		"BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM "
		"DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS "
		"GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN "
		"KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ "
		"MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
		"PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
		"SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI "
		"VN VU WF WS XK YE YT ZA ZM ZW ";

	for (const char *at = known; *at; at += 3)
		if (memcmp(at, code, 2) == 0)
			return true;
	return false;
}

bool scalar_country(struct reader *reader, const yaml_node_t *node, char *buffer)
{
	char code[COUNTRY_SIZE] = "";

	for (size_t i = 0; i < COUNTRY_SIZE - 1 && node_length(node) == COUNTRY_SIZE - 1; i++) {
		char c = node_text(node)[i];
		if (c >= 'a' && c <= 'z')
			code[i] = (char)(c - 'a' + 'A');
		else if (c >= 'A' && c <= 'Z')
			code[i] = c;
	}
	if (strlen(code) != 2) {
		reader_error(reader, node,
			"%s is not a country: its code of two letters is needed (ISO 3166, like "
			"CA)",
			node_quote(node).text);
		return false;
	}
	/* Not an error: the world may know countries that we do not. */
	if (!is_known_country(code))
		report_warning(reader->report, reader_place(reader, node),
			"%s is the code of no country that is known here%s", node_quote(node).text,
			strcmp(code, "UK") == 0 ? "; the United Kingdom is GB" : "");
	memcpy(buffer, code, sizeof(code));
	return true;
}

bool scalar_asn(struct reader *reader, const yaml_node_t *node, uint32_t *ret_asn)
{
	const char *text = node_text(node);
	size_t length = node_length(node);
	uint32_t asn;

	if (length > 2 && strncasecmp(text, "AS", 2) == 0) {
		text += 2;
		length -= 2;
	}
	if (!parse_number(text, length, UINT32_MAX, &asn) || asn == 0) {
		reader_error(reader, node,
			"%s is not the number of an autonomous system: 577 or AS577, from 1 to "
			"%" PRIu32,
			node_quote(node).text, UINT32_MAX);
		return false;
	}
	*ret_asn = asn;
	return true;
}

const char *scalar_path(struct reader *reader, const yaml_node_t *node, const char *what)
{
	const char *text = node_text(node);
	size_t length = node_length(node);

	if (length < 2 || text[0] != '/' || memchr(text, '\0', length)) {
		reader_error(reader, node,
			"%s is not the absolute path of %s; it starts with \"/\"",
			node_quote(node).text, what);
		return NULL;
	}
	return build_copy(reader->build, text, length);
}

bool list_add_prefix(struct reader *reader, const yaml_node_t *node, struct prefix_list *list,
	const struct prefix *prefix)
{
	if (!array_grow(&list->items, &list->capacity, list->count, sizeof(list->items[0]))) {
		reader_no_memory(reader);
		return false;
	}
	list->items[list->count++] = (struct draft_prefix){*prefix, reader_place(reader, node)};
	return true;
}

bool list_add_name(
	struct reader *reader, const yaml_node_t *node, struct name_list *list, const char *name)
{
	if (!array_grow(&list->items, &list->capacity, list->count, sizeof(list->items[0]))) {
		reader_no_memory(reader);
		return false;
	}
	list->items[list->count++] = (struct draft_name){name, reader_place(reader, node)};
	return true;
}

static int compare_places(const struct place *a, const struct place *b)
{
	if (a->source != b->source)
		return a->source < b->source ? -1 : 1;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return a->column < b->column ? -1 : a->column > b->column;
}

static int compare_draft_prefixes(const void *a, const void *b)
{
	const struct draft_prefix *x = a, *y = b;
	int order = prefix_compare(&x->prefix, &y->prefix);

	return order ? order : compare_places(&x->place, &y->place);
}

static int compare_draft_names(const void *a, const void *b)
{
	const struct draft_name *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : compare_places(&x->place, &y->place);
}

void list_sort_prefixes(struct build *build, struct prefix_list *list)
{
	char text[PREFIX_TEXT_SIZE];

	if (list->count < 2)
		return;
	qsort(list->items, list->count, sizeof(list->items[0]), compare_draft_prefixes);
	for (size_t i = 1; i < list->count; i++) {
		if (prefix_compare(&list->items[i - 1].prefix, &list->items[i].prefix) != 0)
			continue;
		prefix_print(&list->items[i].prefix, text);
		report_error(&build->report, list->items[i].place,
			"%s stands here twice; first in line %" PRIu32, text,
			list->items[i - 1].place.line);
	}
}

void list_sort_names(struct build *build, struct name_list *list, const char *what)
{
	if (list->count < 2)
		return;
	qsort(list->items, list->count, sizeof(list->items[0]), compare_draft_names);
	for (size_t i = 1; i < list->count; i++)
		if (strcmp(list->items[i - 1].name, list->items[i].name) == 0)
			report_error(&build->report, list->items[i].place,
				"%s %s stands here twice; first in line %" PRIu32, what,
				quote(list->items[i].name, strlen(list->items[i].name)).text,
				list->items[i - 1].place.line);
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Letters, digits, "_" and "-", not starting with a digit or "-". */
bool node_is_identifier(const yaml_node_t *node, size_t longest)
{
	const char *text = node_text(node);

	if (node_length(node) == 0 || node_length(node) > longest || !is_letter(text[0]))
		return false;
	for (size_t i = 1; i < node_length(node); i++)
		if (!is_letter(text[i]) && !(text[i] >= '0' && text[i] <= '9') && text[i] != '-')
			return false;
	return true;
}

const char *scalar_nft_name(struct reader *reader, const yaml_node_t *node, const char *what)
{
	if (!node_is_identifier(node, CONFIG_MAX_TABLE_NAME))
		reader_error(reader, node,
			"%s cannot be the name of %s: a letter or \"_\", then up to 63 letters, "
			"digits, \"_\" and \"-\"",
			node_quote(node).text, what);
	else if (nft_is_word(node_text(node), node_length(node)))
		reader_error(reader, node,
			"%s cannot be the name of %s: it is a word of nft's own language",
			node_quote(node).text, what);
	else
		return build_copy(reader->build, node_text(node), node_length(node));
	return NULL;
}
