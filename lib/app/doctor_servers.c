/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"

#include <string.h>

/* --- resolv.conf --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

size_t doctor_resolv_conf(const char *text, size_t length, struct doctor_server *servers,
	size_t most, size_t *ret_odd)
{
	static const char word[] = "nameserver";
	const char *end = text + length;
	size_t count = 0;

	*ret_odd = 0;
	while (text < end) {
		const char *feed = memchr(text, '\n', (size_t)(end - text));
		const char *stop = feed ? feed : end, *from;
		struct addr addr;

		while (text < stop && is_blank(*text))
			text++;
		from = text + sizeof(word) - 1;
		if (from < stop && memcmp(text, word, sizeof(word) - 1) == 0 && is_blank(*from)) {
			while (from < stop && is_blank(*from))
				from++;
			text = from;
			while (text < stop && !is_blank(*text))
				text++;
			if (!addr_parse(from, (size_t)(text - from), &addr))
				(*ret_odd)++;
			else if (count < most)
				servers[count++] = (struct doctor_server){
					.server = {.addr = addr, .port = CONFIG_DNS_PORT}};
		}
		text = feed ? feed + 1 : end;
	}
	return count;
}

/* --- DNSSEC --- */

static void put_server(const struct config_server *server, struct text *text)
{
	char address[ADDR_TEXT_SIZE];

	addr_print(&server->addr, address);
	if (server->port == CONFIG_DNS_PORT)
		text_puts(text, address);
	else
		text_printf(text, server->addr.family == FAMILY_IPV6 ? "[%s]:%u" : "%s:%u", address,
			server->port);
}

static bool requires_dnssec(const struct config *config)
{
	for (size_t i = 0; i < config->guard_count; i++) {
		if (config->guards[i].require_dnssec)
			return true;
	}
	return false;
}

static bool is_trusted(const struct config *config, const struct addr *addr)
{
	for (size_t i = 0; i < config->resolver.trusted_count; i++) {
		if (prefix_contains(&config->resolver.trusted[i], addr))
			return true;
	}
	return false;
}

/* Whose word on DNSSEC counts, and over what way it comes. */
static void check_trust(const struct config *config, const struct doctor_server *servers,
	size_t count, struct findings *findings)
{
	struct text what = {0};
	size_t trusted = 0;

	if (!requires_dnssec(config))
		return;
	for (size_t i = 0; i < count; i++) {
		const struct addr *addr = &servers[i].server.addr;

		if (!is_trusted(config, addr))
			continue;
		trusted++;
		if (addr_special(addr) == ADDR_LOOPBACK)
			continue;
		put_server(&servers[i].server, &what);
		text_puts(&what, " is trusted to have validated answers (DNSSEC), and is another "
				 "machine");
		findings_add_plain(findings, FINDING_NOTE, "dnssec", text_string(&what),
			"Its word is one bit in a plain packet, which whoever sits on the way can forge.",
			"resolver: {servers: [\"127.0.0.1\"]}, with a validating resolver there "
			"(unbound)",
			config->path);
		text_clear(&what);
	}
	text_free(&what);
	if (count > 0 && trusted == 0)
		findings_add_plain(findings, FINDING_PROBLEM, "dnssec",
			"DNSSEC is required, and none of the resolvers is a trusted one",
			"Names that need it are never answered, and their owners are kept out.",
			"resolver: {servers: [\"127.0.0.1\"]}, with a validating resolver there (unbound)",
			config->path);
}

/* --- What each of them says --- */

enum { SLOW_MS = 500 };

/* The line of the config without those that are of no use, or that of resolv.conf with one. */
static void put_without(const struct config *config, const struct doctor_server *servers,
	size_t count, size_t left_out, struct text *text)
{
	const char *separator = "";

	if (config->resolver.server_count == 0) {
		text_puts(text, "take out the line: nameserver ");
		put_server(&servers[left_out].server, text);
		return;
	}
	text_puts(text, "resolver: {servers: [");
	for (size_t i = 0; i < count; i++) {
		if (servers[i].asked && !servers[i].useful)
			continue;
		text_printf(text, "%s\"", separator);
		put_server(&servers[i].server, text);
		text_puts(text, "\"");
		separator = ", ";
	}
	text_puts(text, "]}");
}

static const char *place_of(const struct config *config)
{
	return config->resolver.server_count > 0 ? config->path : "/etc/resolv.conf";
}

/* What is to be done where no server can be put in the place of a bad one. */
static const char *other_server(const struct config *config)
{
	return config->resolver.server_count > 0
		       ? "resolver: {servers: [ADDRESS]}, of a resolver that answers: your "
			 "provider's, or 127.0.0.1 with unbound on this machine"
		       : "nameserver ADDRESS, of a resolver that answers: your provider's, or "
			 "127.0.0.1 with unbound on this machine";
}

static void put_mending(const struct doctor_server *server, struct text *text)
{
	if (!server->answered)
		return;
	if (server->reason == REASON_SERVER_REFUSED)
		text_puts(text, "let this machine ask that server (allow-query in BIND, "
				"access-control in unbound); or ");
	else
		text_puts(text, "see that server's log: its way to the internet, its clock; or ");
}

static void put_failure(const struct doctor_server *server, struct text *text)
{
	text_printf(text,
		server->answered ? " answers each question with an error (%s)"
				 : " does not answer (%s)",
		answer_reason_text(server->reason));
}

/* Of one that is of no use, beside others. */
static void report_useless(const struct config *config, const struct doctor_server *servers,
	size_t count, size_t index, struct findings *findings)
{
	struct text what = {0}, change = {0}, place = {0};

	text_puts(&what, "the resolver ");
	put_server(&servers[index].server, &what);
	put_failure(&servers[index], &what);
	put_mending(&servers[index], &change);
	put_without(config, servers, count, index, &change);
	text_puts(&place, place_of(config));
	findings_add(findings, FINDING_PROBLEM, "resolver", &what,
		"Questions are lost there before another one is asked, so a change of address is "
		"seen later.",
		&change, &place);
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

/* None of them is of use. */
static void report_all_useless(const struct config *config, const struct doctor_server *servers,
	size_t count, struct findings *findings)
{
	struct text what = {0}, change = {0}, place = {0};
	size_t mended = SIZE_MAX;
	bool silent = true;

	for (size_t i = 0; i < count; i++)
		silent &= !servers[i].answered;
	text_puts(&what, silent ? "no resolver answers" : "no resolver is of use");
	for (size_t i = 0, listed = 0; i < count; i++) {
		if (!servers[i].asked)
			continue;
		text_puts(&what, listed++ ? ", " : ": ");
		put_server(&servers[i].server, &what);
		text_printf(&what, " (%s)", answer_reason_text(servers[i].reason));
		if (servers[i].answered && mended == SIZE_MAX)
			mended = i;
	}
	if (mended != SIZE_MAX)
		put_mending(&servers[mended], &change);
	text_puts(&change, other_server(config));
	text_puts(&place, place_of(config));
	findings_add(findings, FINDING_PROBLEM, "resolver", &what,
		"No address can be learned: who is in stays until `hold` is over, and nobody else "
		"gets in.",
		&change, &place);
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

static void put_own_resolver(const struct config *config, struct text *change)
{
	text_printf(change, "%s, with a resolver of your own there (unbound)",
		config->resolver.server_count > 0 ? "resolver: {servers: [\"127.0.0.1\"]}"
						  : "nameserver 127.0.0.1");
}

static void report_lie(
	const struct config *config, const struct doctor_server *server, struct findings *findings)
{
	struct text what = {0}, change = {0}, place = {0};
	char address[ADDR_TEXT_SIZE];

	addr_print(&server->lie, address);
	text_puts(&what, "the resolver ");
	put_server(&server->server, &what);
	text_printf(&what, " invents addresses: it gives %s for a name that nobody has", address);
	put_own_resolver(config, &change);
	text_puts(&place, place_of(config));
	findings_add(findings, FINDING_PROBLEM, "resolver-lies", &what,
		"When the name of a phone is gone, that address is let in in its place.", &change,
		&place);
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

static void report_slow(
	const struct config *config, const struct doctor_server *server, struct findings *findings)
{
	struct text what = {0}, change = {0}, place = {0};

	text_puts(&what, "the resolver ");
	put_server(&server->server, &what);
	text_printf(&what, " is slow: its fastest answer took %u ms", server->fastest_ms);
	put_own_resolver(config, &change);
	text_puts(&place, place_of(config));
	findings_add(findings, FINDING_NOTE, "resolver-slow", &what,
		"A sync takes longer, and a change of address is seen later.", &change, &place);
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

bool doctor_servers(const struct config *config, const struct doctor_server *servers, size_t count,
	size_t odd, struct findings *findings)
{
	size_t asked = 0, useful = 0;

	if (count == 0 && odd == 0 && config->resolver.server_count == 0) {
		findings_add_plain(findings, FINDING_PROBLEM, "resolver",
			"/etc/resolv.conf names no server",
			"Names are then asked at this machine itself, where mostly nobody answers.",
			other_server(config), "/etc/resolv.conf");
	}
	for (size_t i = 0; i < count; i++) {
		asked += servers[i].asked;
		useful += servers[i].asked && servers[i].useful;
	}
	if (asked > 0 && useful == 0)
		report_all_useless(config, servers, count, findings);
	for (size_t i = 0; i < count; i++) {
		const struct doctor_server *server = &servers[i];

		if (!server->asked)
			continue;
		if (!server->useful && useful > 0)
			report_useless(config, servers, count, i, findings);
		if (server->lies)
			report_lie(config, server, findings);
		if (server->fastest_ms > SLOW_MS)
			report_slow(config, server, findings);
	}
	check_trust(config, servers, count, findings);
	return asked == 0 || useful > 0;
}
