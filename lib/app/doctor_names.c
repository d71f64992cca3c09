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
	const char *next = answer_reason_next((enum answer_reason)host->lookup[family].reason);
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
			"A stranger could point it into your own network: have the phone's "
			"dynamic-DNS client give the public address, or, if it is reached by this "
			"one, name its network.",
			&change, &place);
	} else if (host_state(host) == HOST_REFUSED && *next) {
		text_puts(&change, next);
		findings_add(findings, FINDING_PROBLEM, "name", &what,
			"An answer that is refused lets nobody in: its owner is kept out, now or when "
			"`hold` is over.",
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

/* Two names, of two owners, and one of these is an extension: a house, or a slip. */
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
	findings_add_plain(findings, FINDING_NOTE, "name-shared", text_string(&what),
		"That is right where they are in one house; elsewhere one of the names is wrong, or "
		"its provider has parked it, and one can register as the other.",
		"nothing if they are in one house; else correct the name that is wrong",
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

void doctor_clock(int64_t wall, bool in_step, struct findings *findings)
{
	enum { YEAR_2026 = 1767225600 };

	if (wall < YEAR_2026)
		findings_add_plain(findings, FINDING_PROBLEM, "clock",
			"the clock stands before the year 2026",
			"Certificates, DNSSEC and all times in logs and history are wrong until it "
			"is set.",
			"timedatectl set-ntp true", "");
	else if (!in_step)
		findings_add_plain(findings, FINDING_NOTE, "clock",
			"no time server (NTP) is known to keep the clock right",
			"When the clock drifts, the times in logs and history are wrong, and by "
			"hours, DNSSEC fails.",
			"timedatectl set-ntp true; with chrony: rtcsync in chrony.conf (without it "
			"the kernel is not told); in a container: on its host",
			"");
}
