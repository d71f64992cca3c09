/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

enum { NAMES_SHOWN = 4 };

static const char *kind_word(const struct owner *owner)
{
	return owner->kind == OWNER_PEER ? "peer" : "extension";
}

/* --- Names that do not resolve --- */

/* The bindings of one host: where the first is, and how many there are. */
struct owned {
	uint32_t first, count;
};

/* "home21.example (extension 21 and 2 more)"; returns the first owner. */
static const struct owner *put_name(const struct config *config, const struct roster *roster,
	size_t host, const struct owned *owned, struct text *text)
{
	const struct owner *owner;

	text_puts(text, roster->hosts[host].name);
	if (owned[host].count == 0)
		return NULL;
	owner = &config->owners[roster->bindings[owned[host].first].owner];
	text_printf(text, " (%s %s", kind_word(owner), owner->id);
	if (owned[host].count > 1)
		text_printf(text, " and %u more", owned[host].count - 1);
	text_puts(text, ")");
	return owner;
}

static bool is_private(const struct host *host, enum family family)
{
	return host->lookup[family].reason == REASON_PRIVATE;
}

static void put_trouble(
	const struct config *config, const struct host *host, enum family family, struct text *text)
{
	const struct lookup *lookup = &host->lookup[family];
	const struct addr *culprit = host_culprit(host, family);
	char address[ADDR_TEXT_SIZE];

	switch (host_state(host)) {
	case HOST_GONE:
		text_printf(text, ": DNS says that it has no address (%s)",
			lookup->last == ANSWER_NO_NAME ? "no such name" : "no data");
		return;
	case HOST_REFUSED:
		if (culprit) {
			addr_print(culprit, address);
			text_printf(text, ": its answer holds %s, and is refused: ", address);
			answer_refusal_print((enum answer_reason)lookup->reason, culprit,
				&host->origin[family], &config->guards[host->guard], text);
		} else {
			text_printf(text, ": its answer is refused: %s",
				answer_reason_text((enum answer_reason)lookup->reason));
		}
		return;
	default:
		text_printf(text, ": it could not be asked: %s",
			answer_reason_text((enum answer_reason)lookup->reason));
	}
}

static void check_host(const struct config *config, const struct roster *roster, size_t index,
	const struct owned *owned, struct findings *findings)
{
	const struct host *host = &roster->hosts[index];
	enum family family = host_deciding_family(host);
	struct text what = {0}, change = {0}, place = {0};
	const struct owner *owner;

	if (host_state(host) == HOST_FRESH || host_state(host) == HOST_UNTOLD)
		return;
	owner = put_name(config, roster, index, owned, &what);
	put_trouble(config, host, family, &what);
	text_puts(&place, config->path);
	if (is_private(host, family)) {
		text_printf(&change, "%s: {hosts: [%s], within: [the private network it is in]}",
			owner ? owner->id : "21", host->name);
		findings_add(findings, FINDING_PROBLEM, "name-private", &what,
			"A name that a stranger could point into your own network is not believed; "
			"who owns it is not let in.",
			&change, &place);
	} else {
		text_printf(&change, "%s: the name as its provider has it, in the place of %s",
			owner ? owner->id : "21", host->name);
		findings_add(findings, FINDING_PROBLEM, "name", &what,
			"Without an answer its owner is kept out, now or when `hold` is over.",
			&change, &place);
	}
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

static void check_srv(const struct config *config, const struct srv *srv, struct findings *findings)
{
	struct text what = {0};

	if (srv_state(srv) == HOST_FRESH || srv_state(srv) == HOST_UNTOLD)
		return;
	text_printf(&what, "SRV %s: %s", srv->name,
		srv_state(srv) == HOST_GONE
			? "DNS says that it has no targets"
			: answer_reason_text((enum answer_reason)srv->lookup.reason));
	findings_add_plain(findings, FINDING_PROBLEM, "name", text_string(&what),
		"Without an answer its peer is kept out, now or when `hold` is over.",
		"srv: the name as the provider has it", config->path);
	text_free(&what);
}

/* --- Names that share an address --- */

struct use {
	struct addr addr;
	uint32_t host, owner;
};

static int compare_uses(const void *a, const void *b)
{
	const struct use *left = a, *right = b;
	int order = addr_compare(&left->addr, &right->addr);

	if (order)
		return order;
	return (left->host > right->host) - (left->host < right->host);
}

static size_t list_uses(const struct roster *roster, struct use *uses)
{
	size_t count = 0;

	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct host *host = &roster->hosts[roster->bindings[i].host];

		for (int family = 0; family < FAMILY_COUNT; family++) {
			for (uint16_t j = 0; j < host->count[family]; j++)
				uses[count++] = (struct use){host->addrs[family][j],
					roster->bindings[i].host, roster->bindings[i].owner};
		}
	}
	return count;
}

/* Two names, of two owners, and one of these is an extension: what one may do the other may. */
static bool is_odd(const struct config *config, const struct roster *roster, const struct use *uses,
	size_t count)
{
	bool names = false, owners = false, extension = false;

	for (size_t i = 0; i < count; i++) {
		names |= strcmp(roster->hosts[uses[i].host].name,
				 roster->hosts[uses[0].host].name) != 0;
		owners |= uses[i].owner != uses[0].owner;
		extension |= config->owners[uses[i].owner].kind == OWNER_EXTENSION;
	}
	return names && owners && extension;
}

static void report_shared(const struct config *config, const struct roster *roster,
	const struct use *uses, size_t count, struct findings *findings)
{
	struct text what = {0};
	char address[ADDR_TEXT_SIZE];
	size_t shown = 0;

	addr_print(&uses[0].addr, address);
	text_printf(&what, "%s is the address of ", address);
	for (size_t i = 0; i < count && shown < NAMES_SHOWN; i++) {
		const struct owner *owner = &config->owners[uses[i].owner];

		text_printf(&what, "%s%s (%s %s)", shown++ ? " and " : "",
			roster->hosts[uses[i].host].name, kind_word(owner), owner->id);
	}
	if (count > shown)
		text_printf(&what, " and of %zu more", count - shown);
	findings_add_plain(findings, FINDING_PROBLEM, "name-shared", text_string(&what),
		"Where phones share an address, one can register as the other; unless they are in "
		"one house, a name is wrong, or its provider has parked it.",
		"correct the wrong name; phones in one house are better off with one and the same name",
		config->path);
	text_free(&what);
}

static int check_shared(
	const struct config *config, const struct roster *roster, struct findings *findings)
{
	size_t count = 0;
	struct use *uses;

	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct host *host = &roster->hosts[roster->bindings[i].host];

		count += (size_t)host->count[FAMILY_IPV4] + host->count[FAMILY_IPV6];
	}
	uses = calloc(count + 1, sizeof(*uses));
	if (!uses)
		return -1;
	count = list_uses(roster, uses);
	if (count > 0)
		qsort(uses, count, sizeof(*uses), compare_uses);
	for (size_t i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count && addr_equal(&uses[i].addr, &uses[end].addr); end++)
			;
		if (is_odd(config, roster, &uses[i], end - i))
			report_shared(config, roster, &uses[i], end - i, findings);
	}
	free(uses);
	return 0;
}

void doctor_names(
	const struct config *config, const struct roster *roster, struct findings *findings)
{
	struct owned *owned = calloc(roster->host_count + 1, sizeof(*owned));

	if (!owned) {
		findings->failed = true;
		return;
	}
	for (size_t i = 0; i < roster->binding_count; i++) {
		struct owned *of = &owned[roster->bindings[i].host];

		if (of->count++ == 0)
			of->first = (uint32_t)i;
	}
	for (size_t i = 0; i < roster->host_count; i++)
		check_host(config, roster, i, owned, findings);
	for (size_t i = 0; i < roster->srv_count; i++)
		check_srv(config, &roster->srvs[i], findings);
	if (check_shared(config, roster, findings) < 0)
		findings->failed = true;
	free(owned);
}

/* --- Time --- */

void doctor_clock(int64_t wall, struct findings *findings)
{
	enum { YEAR_2026 = 1767225600 };

	if (wall >= YEAR_2026)
		return;
	findings_add_plain(findings, FINDING_PROBLEM, "clock",
		"the clock stands before the year 2026",
		"Certificates, DNSSEC and all times in logs and history are wrong until it is set.",
		"timedatectl set-ntp true", "");
}

/* --- Servers --- */

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
			"Its word is one bit in a plain packet: whoever sits on the way can forge it. "
			"A validating resolver on this machine is safe.",
			"resolver: {servers: [\"127.0.0.1\"]}", config->path);
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

static void report_silent(const struct config *config, const struct doctor_server *servers,
	size_t count, bool all, struct findings *findings)
{
	bool given = config->resolver.server_count > 0;
	struct text what = {0};
	size_t listed = 0;

	for (size_t i = 0; i < count; i++) {
		if (!servers[i].asked || servers[i].answered)
			continue;
		if (!all)
			text_puts(&what, "the resolver ");
		else
			text_puts(&what, listed++ ? ", " : "no resolver answers: ");
		put_server(&servers[i].server, &what);
		text_printf(&what, all ? " (%s)" : " does not answer (%s)",
			answer_reason_text(servers[i].reason));
		if (all)
			continue;
		findings_add_plain(findings, FINDING_PROBLEM, "resolver", text_string(&what),
			"Questions wait for it before the next one is asked, and a change of "
			"address is seen later.",
			given ? "resolver: {servers: [without it]}"
			      : "nameserver: take that line out",
			given ? config->path : "/etc/resolv.conf");
		text_clear(&what);
	}
	if (all)
		findings_add_plain(findings, FINDING_PROBLEM, "resolver", text_string(&what),
			"No address can be learned: who is in stays until `hold` is over, and nobody "
			"else gets in.",
			given ? "resolver: {servers: [one that answers]}"
			      : "nameserver: one that answers",
			given ? config->path : "/etc/resolv.conf");
	text_free(&what);
}

bool doctor_servers(const struct config *config, const struct doctor_server *servers, size_t count,
	size_t odd, struct findings *findings)
{
	size_t asked = 0, answered = 0;

	if (count == 0 && odd == 0 && config->resolver.server_count == 0) {
		findings_add_plain(findings, FINDING_PROBLEM, "resolver",
			"/etc/resolv.conf names no server",
			"Names are then asked at this machine itself, where mostly nobody answers.",
			"nameserver: one that answers", "/etc/resolv.conf");
	}
	for (size_t i = 0; i < count; i++) {
		asked += servers[i].asked;
		answered += servers[i].asked && servers[i].answered;
	}
	if (asked > answered)
		report_silent(config, servers, count, answered == 0, findings);
	check_trust(config, servers, count, findings);
	return asked == 0 || answered > 0;
}
