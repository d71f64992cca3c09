/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	LINES_MAX = 100, /* of names or talkers in one run; --json has them all */
	TIME_SIZE = 32,
};

static const char *print_time(int64_t when, char *buffer)
{
	time_t seconds = (time_t)when;
	struct tm parts;

	if (!localtime_r(&seconds, &parts) ||
		strftime(buffer, TIME_SIZE, "%Y-%m-%d %H:%M:%S %Z", &parts) == 0)
		snprintf(buffer, TIME_SIZE, "an unknown time");
	return buffer;
}

static const char *family_type(enum family family)
{
	return family == FAMILY_IPV4 ? "A" : "AAAA";
}

/* When the addresses of the host leave without a further answer: the first family's. */
static int64_t leave_at(const struct host *host, const struct timing *timing)
{
	int64_t first = INT64_MAX;

	for (int family = 0; family < FAMILY_COUNT; family++) {
		int64_t when = lookup_expires(&host->lookup[family], timing);

		if (host->count[family] > 0 && host->lookup[family].last != ANSWER_ADDRESSES &&
			when < first)
			first = when;
	}
	return first;
}

static void describe_fate(const struct host *host, const struct timing *timing,
	const struct steady *clock, struct text *text)
{
	int64_t when = leave_at(host, timing);
	char buffer[TIME_SIZE];

	if (when < INT64_MAX)
		text_printf(text, "; the addresses known before stay until %s",
			print_time(steady_to_wall(clock, when), buffer));
	else if (host->count[FAMILY_IPV4] == 0 && host->count[FAMILY_IPV6] == 0)
		text_puts(text, "; it has no address now");
}

static void describe_refusal(
	const struct host *host, enum family family, const struct config *config, struct text *text)
{
	const struct lookup *lookup = &host->lookup[family];
	const struct addr *culprit = host_culprit(host, family);
	char buffer[ADDR_TEXT_SIZE];

	if (lookup->reason == REASON_TOO_MANY) {
		text_printf(text, "the %s answer has %s", family_type(family),
			answer_reason_text(REASON_TOO_MANY));
		return;
	}
	if (!culprit) {
		text_printf(text, "the %s answer says that there is none: %s", family_type(family),
			answer_reason_text(lookup->reason));
		return;
	}
	addr_print(culprit, buffer);
	text_printf(text, "the %s answer holds %s: ", family_type(family), buffer);
	answer_refusal_print(lookup->reason, &host->culprit[family], &host->origin[family],
		&config->guards[host->guard], text);
}

static void describe_host(const struct host *host, const struct cycle *cycle,
	const struct timing *timing, struct text *text)
{
	enum family family = host_deciding_family(host);
	const struct lookup *lookup = &host->lookup[family];
	enum host_state state = host_state(host);

	text_printf(text, "%s: ", host_state_name(state));
	switch (state) {
	case HOST_UNTOLD:
	case HOST_FRESH:
		text_puts(text, "it answers again");
		return;
	case HOST_GONE:
		text_printf(text, "DNS says that it has no address (%s)",
			lookup->last == ANSWER_NO_NAME ? "no such name, NXDOMAIN" : "no data");
		break;
	case HOST_REFUSED:
		describe_refusal(host, family, cycle->config, text);
		break;
	case HOST_EXPIRED:
	case HOST_HELD:
	case HOST_NEVER:
		text_printf(text, "%s could not be asked: %s", family_type(family),
			answer_reason_text(lookup->reason));
		if (state == HOST_EXPIRED)
			text_puts(text, ", for longer than `hold`");
		break;
	}
	describe_fate(host, timing, &cycle->clock, text);
	if (*answer_reason_next(lookup->reason))
		text_printf(text, "; what to do: %s", answer_reason_next(lookup->reason));
}

static const char *owner_word(const struct owner *owner)
{
	return owner->kind == OWNER_EXTENSION ? "extension" : "peer";
}

static bool worth_telling(uint8_t telling, uint8_t told, bool all)
{
	if (telling == HOST_FRESH)
		return told != HOST_UNTOLD && told != HOST_FRESH;
	return all || told != telling;
}

static void report_srv(const struct invocation *invocation, const struct owner *owner,
	const struct srv *srv, bool all)
{
	enum host_state state = srv_state(srv);
	const char *why = answer_reason_text(srv->lookup.reason);
	const char *next = answer_reason_next(srv->lookup.reason);

	if (!worth_telling(srv_telling(srv), srv->told, all))
		return;
	if (srv->lookup.last == ANSWER_NO_NAME)
		why = "no such name, NXDOMAIN";
	if (srv->lookup.last == ANSWER_NO_DATA)
		why = "no data";
	if (state == HOST_FRESH)
		say_note(invocation, "peer %s %s: fresh: it answers again", owner->id, srv->name);
	else
		say_warning(invocation, "peer %s %s: %s: SRV: %s%s%s", owner->id, srv->name,
			host_state_name(state), why, *next ? "; what to do: " : "", next);
}

static void report_srvs(const struct invocation *invocation, const struct cycle *cycle, bool all)
{
	for (size_t i = 0; cycle->roster->srv_count > 0 && i < cycle->config->owner_count; i++) {
		const struct owner *owner = &cycle->config->owners[i];

		for (size_t j = 0; j < owner->srv_count; j++)
			report_srv(invocation, owner, roster_find_srv(cycle->roster, owner->srv[j]),
				all);
	}
}

void report_databases(const struct invocation *invocation, const struct geo *geo)
{
	for (int kind = 0; kind < GEO_KIND_COUNT; kind++) {
		struct geo_database database = geo_database(geo, (enum geo_kind)kind);
		bool useless = database.state == GEO_STALE || database.state == GEO_MISSING;

		if (useless || database.state == GEO_AGEING)
			say_warning(invocation, "geoip: %s%s; %s", database.error.what,
				useless ? ": names that need it are held" : "",
				database.error.next);
	}
}

/* Is there a name of which only now is said that it is in trouble for a database? */
static bool is_news_of_origin(const struct cycle *cycle)
{
	for (size_t i = 0; i < cycle->roster->host_count; i++) {
		const struct host *host = &cycle->roster->hosts[i];

		if (host->lookup[host_deciding_family(host)].reason == REASON_NO_ORIGIN &&
			worth_telling(host_telling(host), host->told, false))
			return true;
	}
	return false;
}

/* It is a problem of somebody else's making: the addresses are taken, and nobody is unsure. */
static void report_flapping(const struct invocation *invocation, const struct owner *owner,
	const struct host *host, uint32_t limit, bool all)
{
	bool flapping = changes_flapping(host->changes);

	if (!host->changes || (host->changes->said == flapping && !(all && flapping)))
		return;
	if (flapping)
		say_warning(invocation,
			"%s %s %s: flapping: its addresses have changed more than %u times within "
			"an hour; they are taken all the same; find out who changes the record so "
			"often, or raise limits.changes-per-hour",
			owner_word(owner), owner->id, host->name, limit);
	else
		say_note(invocation, "%s %s %s: no longer flapping", owner_word(owner), owner->id,
			host->name);
}

static void report_all_flapping(
	const struct invocation *invocation, const struct cycle *cycle, bool all)
{
	for (size_t i = 0; i < cycle->roster->binding_count; i++) {
		const struct binding *binding = &cycle->roster->bindings[i];

		report_flapping(invocation, &cycle->config->owners[binding->owner],
			&cycle->roster->hosts[binding->host], cycle->config->changes_per_hour, all);
	}
}

void report_names(const struct invocation *invocation, struct cycle *cycle, bool all)
{
	struct timing timing = {.hold = cycle->config->hold, .gone = cycle->config->gone};
	struct text text = {0};
	size_t lines = 0;

	if (all || is_news_of_origin(cycle))
		report_databases(invocation, cycle->geo);
	report_srvs(invocation, cycle, all);
	report_all_flapping(invocation, cycle, all);
	for (size_t i = 0; i < cycle->roster->binding_count; i++) {
		const struct binding *binding = &cycle->roster->bindings[i];
		const struct owner *owner = &cycle->config->owners[binding->owner];
		const struct host *host = &cycle->roster->hosts[binding->host];
		enum host_state state = host_state(host);

		if (!worth_telling(host_telling(host), host->told, all))
			continue;
		if (++lines > LINES_MAX)
			continue;
		text_clear(&text);
		text_printf(&text, "%s %s %s: ", owner_word(owner), owner->id, host->name);
		describe_host(host, cycle, &timing, &text);
		if (state == HOST_FRESH)
			say_note(invocation, "%s", text_string(&text));
		else
			say_warning(invocation, "%s", text_string(&text));
	}
	if (lines > LINES_MAX)
		say_warning(invocation, "%zu more names like these; --json lists them all",
			lines - LINES_MAX);
	text_free(&text);
}

void report_told(struct cycle *cycle)
{
	for (size_t i = 0; i < cycle->roster->host_count; i++) {
		cycle->roster->hosts[i].told = host_telling(&cycle->roster->hosts[i]);
		changes_say(cycle->roster->hosts[i].changes);
	}
	for (size_t i = 0; i < cycle->roster->srv_count; i++)
		cycle->roster->srvs[i].told = srv_telling(&cycle->roster->srvs[i]);
}

size_t report_unsure(const struct cycle *cycle)
{
	size_t count = 0;

	for (size_t i = 0; i < cycle->roster->host_count; i++)
		count += host_state(&cycle->roster->hosts[i]) != HOST_FRESH;
	for (size_t i = 0; i < cycle->roster->srv_count; i++)
		count += srv_state(&cycle->roster->srvs[i]) != HOST_FRESH;
	return count;
}

static const char *talker_origin(const struct talker *talker)
{
	if (talker->protocol == 0)
		return "came within the last hour, while monitoring";
	return talker->opened_here ? "answers flows that this machine opened: a trunk?"
				   : "sends to this machine";
}

void report_talkers(const struct cycle *cycle)
{
	size_t lines = 0;

	for (size_t i = 0; i < cycle->talker_count; i++) {
		const struct talker *talker = &cycle->talkers[i];
		char address[ADDR_TEXT_SIZE];

		if (!talker->newly_shut || ++lines > LINES_MAX)
			continue;
		addr_print(&talker->addr, address);
		fprintf(stderr, "  %-15s  %s", address,
			cycle->config->services[talker->service].name);
		if (talker->protocol)
			fprintf(stderr, "  %s %u", talker->protocol == PROTOCOL_TCP ? "tcp" : "udp",
				talker->port);
		fprintf(stderr, "  %s", talker_origin(talker));
		if (talker->packets)
			fprintf(stderr, ", %llu packet%s", (unsigned long long)talker->packets,
				talker->packets == 1 ? "" : "s");
		fputs("\n", stderr);
	}
	if (lines > LINES_MAX)
		fprintf(stderr, "  … and %zu more\n", lines - LINES_MAX);
}

/* The second half of a new comment's pair of changes, or a change of a set that no admin looks at.
 */
static bool is_news(const struct cycle *cycle, const struct change *change)
{
	const struct set *set = &cycle->ruleset->sets[change->set];
	const struct set *old = observed_find_set(cycle->observed, set->name);
	const struct set *other = change->add ? old : set;

	if (set->kind != SET_HOSTS && set->kind != SET_NETS)
		return false;
	if (other) {
		const struct element *same =
			element_find(other->elements, other->count, &change->element.prefix.addr);

		if (same && prefix_compare(&same->prefix, &change->element.prefix) == 0)
			return false;
	}
	return true;
}

void report_count_changes(const struct cycle *cycle, size_t *ret_added, size_t *ret_removed)
{
	*ret_added = *ret_removed = 0;
	for (size_t i = 0; i < cycle->plan.count; i++) {
		if (!is_news(cycle, &cycle->plan.changes[i]))
			continue;
		if (cycle->plan.changes[i].add)
			++*ret_added;
		else
			++*ret_removed;
	}
}

void report_changes(const struct invocation *invocation, const struct cycle *cycle)
{
	struct text owners = {0};

	for (size_t i = 0; i < cycle->plan.count; i++) {
		const struct change *change = &cycle->plan.changes[i];
		const struct set *set = &cycle->ruleset->sets[change->set];
		const char *comment = change->element.comment;
		char prefix[PREFIX_TEXT_SIZE];

		if (!is_news(cycle, change))
			continue;
		prefix_print(&change->element.prefix, prefix);
		/* What is deleted may be somebody else's text. */
		text_clear(&owners);
		if (comment)
			text_escaped(&owners, comment, strlen(comment));
		else
			text_puts(&owners, "(not from the config)");
		printf("%s%c %s %-15s  %s%s\n",
			!invocation->colour_out ? ""
			: change->add		? "\033[32m"
						: "\033[31m",
			change->add ? '+' : '-', cycle->config->services[set->service].name, prefix,
			text_string(&owners), invocation->colour_out ? "\033[0m" : "");
	}
	if (owners.failed)
		say_warning(invocation, "out of memory: whose addresses these are is missing");
	text_free(&owners);
}
