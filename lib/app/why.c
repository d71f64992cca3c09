/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "why.h"
#include "control_json.h"
#include "fqdn.h"
#include "json_put.h"
#include "why_advice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	EXIT_NO_SUCH_THING = 2,
	REASONS_MAX = 5,  /* of one strength */
	LOCAL_NAMED = 20, /* extensions */
	PLACES_MAX = 200, /* addresses of an extension or a peer, in each service */
	SAME_NETWORK_4 = 24,
	SAME_NETWORK_6 = 64,
	TIME_SIZE = 64,
};

/* Why an address is kept out, for one strength of evidence. */
struct reasons {
	struct text list; /* objects with commas between them */
	size_t count;
};

struct why {
	const struct view *view;
	const struct ledger *ledger;
	const struct own_addresses *own;
	const char *what;
	struct addr addr;
	uint32_t dropped; /* bit i: config.services[i] does not let it in */
	struct reasons sure, likely;
	struct text weak;
	size_t weak_count;
	bool behind;	     /* the kernel's table does not let in whom the config lets in */
	bool config_decides; /* a reason of `sure` says which key of the config it is */
	struct text *text;
};

static const char *kind_name(const struct owner *owner)
{
	return owner->kind == OWNER_EXTENSION ? "extension" : "peer";
}

static const char *print_time(const struct why *why, int64_t time, char buffer[TIME_SIZE])
{
	time_t seconds = (time_t)view_wall(why->view, time);
	struct tm parts;

	if (!localtime_r(&seconds, &parts) ||
		strftime(buffer, TIME_SIZE, "%Y-%m-%d %H:%M:%S %Z", &parts) == 0)
		snprintf(buffer, TIME_SIZE, "an unknown time");
	return buffer;
}

/* --- an address that is let in --- */

/* The owner's own view of the name: another guard makes another host of it. */
static size_t find_host(const struct why *why, const char *name, uint32_t guard)
{
	const struct roster *roster = why->view->roster;
	size_t low = 0, high = roster->host_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct host *host = &roster->hosts[middle];
		int order = strcmp(host->name, name);

		if (order == 0 && host->guard == guard)
			return middle;
		if (order < 0 || (order == 0 && host->guard < guard))
			low = middle + 1;
		else
			high = middle;
	}
	return roster->host_count;
}

/* What the name says of it: its state, and until when that is enough. */
static void put_standing(const struct why *why, const struct grant *grant, size_t index)
{
	const struct prefix *prefix = &grant->prefix;
	const struct config *config = why->view->config;
	const struct host *host = &why->view->roster->hosts[index];
	const struct lookup *lookup = &host->lookup[prefix->addr.family];
	const struct timing timing = {config->hold, config->gone};
	int64_t leaves = lookup_expires(lookup, &timing), retired = 0;

	for (size_t i = 0; i < host->retired_count; i++) {
		if (prefix_contains(prefix, &host->retired[i].addr))
			retired = host->retired[i].when;
	}
	for (size_t i = 0; i < host->count[prefix->addr.family]; i++) {
		if (prefix_contains(prefix, &host->addrs[prefix->addr.family][i]))
			retired = 0;
	}
	json_put_key(why->text, "state");
	json_put_string(why->text, retired ? "replaced" : host_state_name(host_state(host)));
	json_put_key(why->text, "flapping");
	json_put_bool(why->text, changes_flapping(host->changes));
	json_put_key(why->text, "answered");
	if (lookup->good)
		json_put_time(why->text, view_wall(why->view, lookup->good));
	else
		json_put_null(why->text);
	if (retired)
		leaves = retired + config->linger[config->owners[grant->owner].kind];
	json_put_key(why->text, "leaves");
	if (leaves == INT64_MAX || (!retired && lookup->last == ANSWER_ADDRESSES))
		json_put_null(why->text);
	else
		json_put_time(why->text, view_wall(why->view, leaves));
}

struct told {
	struct why *why;
	struct text owners;
	struct prefix element;
	size_t count;
};

/* Those whose phones may be there. */
static void put_local_extensions(const struct why *why)
{
	const struct config *config = why->view->config;
	int64_t count = 0;

	json_put_key(why->text, "extensions");
	json_put_open(why->text, "[");
	for (size_t i = 0; i < config->owner_count; i++) {
		if (config->owners[i].local && ++count <= LOCAL_NAMED)
			json_put_string(why->text, config->owners[i].id);
	}
	json_put_close(why->text, "]");
	json_put_key(why->text, "extension_count");
	json_put_number(why->text, count);
}

static void tell_grant(void *context, const struct prefix *element, const struct grant *grant)
{
	struct told *told = context;
	struct why inner = *told->why;
	const struct config *config = inner.view->config;
	const char *host = grant->host;
	size_t index = inner.view->roster->host_count;

	told->element = *element;
	told->count++;
	inner.text = &told->owners;
	json_put_open(inner.text, "{");
	json_put_key(inner.text, "kind");
	json_put_string(inner.text, grant->owner == GRANT_LOCAL
					    ? "local-subnets"
					    : kind_name(&config->owners[grant->owner]));
	json_put_key(inner.text, "id");
	json_put_string(
		inner.text, grant->owner == GRANT_LOCAL ? NULL : config->owners[grant->owner].id);
	json_put_key(inner.text, "host");
	json_put_string(inner.text, host);
	json_put_key(inner.text, "prefix");
	json_put_prefix(inner.text, &grant->prefix);
	if (grant->owner == GRANT_LOCAL)
		put_local_extensions(&inner);
	if (host && grant->owner != GRANT_LOCAL)
		index = find_host(&inner, host, config->owners[grant->owner].guard);
	if (index < inner.view->roster->host_count)
		put_standing(&inner, grant, index);
	json_put_close(inner.text, "}");
}

/* What happens to its packets, which is not what the config says when the kernel's table is of
 * another one. */
struct verdict {
	const char *name;
	bool monitor, accept_replies, partly; /* partly: some of the ports are not shut */
	const struct prefix *element;	      /* that lets it in; NULL: none */
};

static struct verdict verdict_by_config(const struct why *why, const struct told *told)
{
	const struct config *config = why->view->config;
	struct verdict verdict = {
		.monitor = config->monitor, .accept_replies = config->accept_replies};

	if (told->count > 0)
		verdict.element = &told->element;
	if (config->sets_only)
		verdict.name = told->count > 0 ? "listed" : "not listed";
	else
		verdict.name = told->count > 0	 ? "accept"
			       : verdict.monitor ? "accept (monitor)"
						 : "drop";
	return verdict;
}

static bool shuts_any_port(const struct service *service, const struct enforced_ports *enforced)
{
	for (size_t i = 0; i < service->port_count; i++) {
		const struct port_range *range = &service->ports[i];

		for (unsigned port = range->first; port <= range->last; port++) {
			if (enforced_has(enforced, range->protocol, (uint16_t)port))
				return true;
		}
	}
	return false;
}

static const struct element *find_in_force(const struct why *why, size_t service)
{
	const struct observed *observed = why->view->in_force;
	const struct element *found = NULL;

	for (size_t i = 0; i < observed->set_count && !found; i++) {
		const struct set *set = &observed->sets[i];

		if ((set->kind == SET_HOSTS || set->kind == SET_NETS) && set->service == service &&
			set->family == why->addr.family)
			found = element_find(set->elements, set->count, &why->addr);
	}
	return found;
}

static struct verdict verdict_in_force(
	const struct why *why, size_t service, const struct verdict *by_config)
{
	const struct view *view = why->view;
	const struct service *of = &view->config->services[service];
	struct enforced_ports enforced;
	const struct element *element;
	struct verdict verdict = {0};

	if (view->no_table)
		return (struct verdict){
			.name = view->config->sets_only ? "not listed" : "accept (no table)"};
	if (!view->in_force)
		return *by_config;
	enforced =
		(struct enforced_ports){view->in_force->enforced, view->in_force->enforced_count};
	element = find_in_force(why, service);
	if (view->config->sets_only) {
		verdict.element = element ? &element->prefix : NULL;
		verdict.name = element ? "listed" : "not listed";
		return verdict;
	}
	verdict.monitor = !shuts_any_port(of, &enforced);
	verdict.partly = !verdict.monitor && service_is_new(of, &enforced, 1);
	verdict.accept_replies = view->in_force->accepts_replies;
	if (element)
		verdict.element = &element->prefix;
	verdict.name = element ? "accept" : verdict.monitor ? "accept (monitor)" : "drop";
	return verdict;
}

/* Sets in the admin's own table, whose rules are not ours to know. */
static void put_rule_of_sets(const struct why *why, size_t service, const struct prefix *element)
{
	const struct config *config = why->view->config;
	const char *set =
		element ? config->services[service].sets[!prefix_is_host(element)][why->addr.family]
			: NULL;
	char prefix[PREFIX_TEXT_SIZE], rule[320];

	if (why->view->no_table) {
		snprintf(rule, sizeof(rule), "none: there is no table %s %s in the kernel",
			ruleset_family_name((enum table_family)config->table_family),
			config->table);
	} else if (set) {
		prefix_print(element, prefix);
		snprintf(rule, sizeof(rule),
			"yours: %s is an element of %s in table %s %s, and your rules decide",
			prefix, set, ruleset_family_name((enum table_family)config->table_family),
			config->table);
	} else {
		snprintf(rule, sizeof(rule),
			"yours: it is in none of the sets that are kept for %s, and your rules decide",
			config->services[service].name);
	}
	json_put_string(why->text, rule);
}

static void put_rule(const struct why *why, size_t service, const struct verdict *verdict)
{
	const char *name = why->view->config->services[service].name;
	char family = why->addr.family == FAMILY_IPV4 ? '4' : '6';
	char prefix[PREFIX_TEXT_SIZE], rule[320];

	json_put_key(why->text, "rule");
	if (why->view->config->sets_only) {
		put_rule_of_sets(why, service, verdict->element);
		return;
	}
	if (why->view->no_table) {
		snprintf(rule, sizeof(rule), "none: there is no table in the kernel");
	} else if (verdict->element) {
		prefix_print(verdict->element, prefix);
		snprintf(rule, sizeof(rule), "ip%s saddr @%s_%s%c accept: %s is an element of it",
			family == '4' ? "" : "6", name,
			prefix_is_host(verdict->element) ? "hosts" : "nets", family, prefix);
	} else {
		snprintf(rule, sizeof(rule),
			"neither %s_hosts%c nor %s_nets%c holds it: counted, logged%s%s%s", name,
			family, name, family,
			verdict->monitor ? ", and accepted, since the mode is monitor"
					 : ", and dropped",
			verdict->accept_replies && !verdict->monitor
				? ", but for replies in flows that the PBX opened"
				: "",
			verdict->partly ? ", but at the ports that are not shut yet" : "");
	}
	json_put_string(why->text, rule);
}

static void put_element(const struct why *why, size_t service, const struct told *told)
{
	const struct service *of = &why->view->config->services[service];
	char name[64];

	json_put_key(why->text, "set");
	if (told->count == 0) {
		json_put_null(why->text);
	} else if (why->view->config->sets_only) {
		json_put_string(
			why->text, of->sets[!prefix_is_host(&told->element)][why->addr.family]);
	} else {
		snprintf(name, sizeof(name), "%s_%s%c", of->name,
			prefix_is_host(&told->element) ? "hosts" : "nets",
			why->addr.family == FAMILY_IPV4 ? '4' : '6');
		json_put_string(why->text, name);
	}
	json_put_key(why->text, "element");
	if (told->count == 0)
		json_put_null(why->text);
	else
		json_put_prefix(why->text, &told->element);
	json_put_key(why->text, "owners");
	json_put_open(why->text, "[");
	text_write(why->text, text_string(&told->owners), told->owners.length);
	json_put_close(why->text, "]");
}

/* Packets from this machine to itself come in by the loopback interface, which passes first. */
static bool is_ours(const struct why *why)
{
	return addr_special(&why->addr) == ADDR_LOOPBACK || own_has(why->own, &why->addr);
}

/* Of why->addr, as members of an object. */
static void put_judgement(struct why *why, size_t service)
{
	struct told told = {.why = why};
	struct verdict by_config, verdict;
	bool ours = is_ours(why);

	ledger_explain(why->ledger, service, &why->addr, tell_grant, &told);
	if (told.count == 0 && !ours)
		why->dropped |= UINT32_C(1) << service;
	by_config = verdict_by_config(why, &told);
	verdict = verdict_in_force(why, service, &by_config);
	why->behind |= !ours && by_config.element && strcmp(verdict.name, "drop") == 0;
	json_put_key(why->text, "service");
	json_put_string(why->text, why->view->config->services[service].name);
	json_put_key(why->text, "verdict");
	json_put_string(why->text, ours ? "accept" : verdict.name);
	json_put_key(why->text, "by_config");
	json_put_string(why->text, ours ? "accept" : by_config.name);
	put_element(why, service, &told);
	if (ours) {
		json_put_key(why->text, "rule");
		json_put_string(why->text, "iif lo accept: what this machine sends to itself");
	} else {
		put_rule(why, service, &verdict);
	}
	why->text->failed |= told.owners.failed;
	text_free(&told.owners);
}

/* --- an address that is kept out --- */

static void __attribute__((format(printf, 5, 6))) add_reason(struct why *why,
	struct reasons *reasons, uint32_t owner, const char *host, const char *format, ...)
{
	char buffer[1024];
	va_list arguments;

	if (++reasons->count > REASONS_MAX)
		return;
	va_start(arguments, format);
	vsnprintf(buffer, sizeof(buffer), format, arguments);
	va_end(arguments);
	json_put_open(&reasons->list, "{");
	json_put_key(&reasons->list, "text");
	json_put_string(&reasons->list, buffer);
	json_put_key(&reasons->list, "owner");
	status_put_owner(why->view->config, owner, &reasons->list);
	json_put_key(&reasons->list, "host");
	json_put_string(&reasons->list, host);
	json_put_close(&reasons->list, "}");
}

static void name_services(const struct config *config, uint32_t services, struct text *text)
{
	for (size_t i = 0; i < config->service_count; i++) {
		if (services >> i & 1)
			text_printf(
				text, "%s%s", text->length ? ", " : "", config->services[i].name);
	}
}

/* It is known, but not for every service. */
static void blame_services(struct why *why, uint32_t owner, const char *host)
{
	const struct config *config = why->view->config;
	const struct owner *of = &config->owners[owner];
	struct text passes = {0}, lacks = {0};

	if (!(why->dropped & ~of->services))
		return;
	why->config_decides = true;
	name_services(config, of->services, &passes);
	name_services(config, why->dropped & ~of->services, &lacks);
	add_reason(why, &why->sure, owner, host,
		"%s %s has this address%s%s, but passes %s only, not %s: see its `services`",
		kind_name(of), of->id, host ? " by " : "", host ? host : "", text_string(&passes),
		text_string(&lacks));
	text_free(&passes);
	text_free(&lacks);
}

/* "203.0.113.9, 2001:db8::9", or "no address". */
static void name_addrs(const struct host *host, struct text *text)
{
	enum { NAMED = 4 };
	size_t count = 0, all = (size_t)host->count[FAMILY_IPV4] + host->count[FAMILY_IPV6];

	for (int family = 0; family < FAMILY_COUNT; family++) {
		for (size_t i = 0; i < host->count[family] && count < NAMED; i++) {
			char buffer[ADDR_TEXT_SIZE];

			addr_print(&host->addrs[family][i], buffer);
			text_printf(text, "%s%s", count++ ? ", " : "", buffer);
		}
	}
	if (all > NAMED)
		text_printf(text, " and %zu more", all - NAMED);
	if (all == 0)
		text_puts(text, "no address");
}

/* By the name's widened addresses (`ipv6-prefix`) as well: any grant of it in the allowlist. */
static bool has_addr(const struct why *why, const struct host *host, uint32_t owner)
{
	const struct owner *of = &why->view->config->owners[owner];
	unsigned length =
		why->addr.family == FAMILY_IPV6 ? of->ipv6_prefix : addr_bits(FAMILY_IPV4);

	for (size_t i = 0; i < host->count[why->addr.family]; i++) {
		const struct addr *addr = &host->addrs[why->addr.family][i];
		const struct prefix *within =
			guard_within(&why->view->config->guards[of->guard], addr);
		struct prefix prefix = prefix_of(
			addr, within && within->length > length ? within->length : length);

		if (prefix_contains(&prefix, &why->addr))
			return true;
	}
	return false;
}

static bool is_neighbour(const struct why *why, const struct host *host)
{
	struct prefix network = prefix_of(
		&why->addr, why->addr.family == FAMILY_IPV4 ? SAME_NETWORK_4 : SAME_NETWORK_6);

	for (size_t i = 0; i < host->count[why->addr.family]; i++) {
		if (prefix_contains(&network, &host->addrs[why->addr.family][i]))
			return true;
	}
	return false;
}

static bool blame_retired(struct why *why, const struct host *host, uint32_t owner)
{
	const struct owner *of = &why->view->config->owners[owner];
	char buffer[TIME_SIZE];

	for (size_t i = 0; i < host->retired_count; i++) {
		struct text now = {0};

		if (!addr_equal(&host->retired[i].addr, &why->addr))
			continue;
		name_addrs(host, &now);
		add_reason(why, &why->sure, owner, host->name,
			"%s of %s %s had this address until %s, and has %s now", host->name,
			kind_name(of), of->id, print_time(why, host->retired[i].when, buffer),
			text_string(&now));
		text_free(&now);
		return true;
	}
	return false;
}

static bool blame_guard(struct why *why, const struct host *host, uint32_t owner)
{
	const struct owner *of = &why->view->config->owners[owner];
	const struct lookup *lookup = &host->lookup[why->addr.family];
	const struct addr *culprit = host_culprit(host, why->addr.family);
	struct text reason = {0};
	char buffer[TIME_SIZE];

	if (!culprit || !addr_equal(culprit, &why->addr))
		return false;
	answer_refusal_print((enum answer_reason)lookup->reason, &why->addr,
		&host->origin[why->addr.family], &why->view->config->guards[host->guard], &reason);
	add_reason(why, &why->sure, owner, host->name,
		"%s of %s %s has this address by its last answer (%s), which was refused: %s",
		host->name, kind_name(of), of->id, print_time(why, lookup->asked, buffer),
		text_string(&reason));
	why->text->failed |= reason.failed;
	text_free(&reason);
	return true;
}

static void blame_neighbour(struct why *why, const struct host *host, uint32_t owner)
{
	const struct owner *of = &why->view->config->owners[owner];
	const struct prefix *within =
		guard_within(&why->view->config->guards[of->guard], &why->addr);
	struct text now = {0};
	char prefix[PREFIX_TEXT_SIZE] = "";

	/* A network has many neighbours. Only of a name that is in trouble it says something. */
	if (!within && (host_state(host) == HOST_FRESH || !is_neighbour(why, host)))
		return;
	name_addrs(host, &now);
	if (within)
		prefix_print(within, prefix);
	add_reason(why, &why->likely, owner, host->name,
		"%s of %s %s has %s, and %s%s: perhaps it has moved, and its name does not follow yet",
		host->name, kind_name(of), of->id, text_string(&now),
		within ? "this address lies in its `within` "
		       : "this address is in the same network",
		prefix);
	text_free(&now);
}

/* A phone whose name has no address is kept out wherever it is. */
static void note_nameless(struct why *why, const struct host *host, uint32_t owner)
{
	const struct owner *of = &why->view->config->owners[owner];

	if (host->count[FAMILY_IPV4] || host->count[FAMILY_IPV6])
		return;
	if (++why->weak_count > REASONS_MAX)
		return;
	text_printf(&why->weak, "%s%s of %s %s (%s)", why->weak.length ? ", " : "", host->name,
		kind_name(of), of->id, host_state_name(host_state(host)));
}

static void blame_names(struct why *why)
{
	const struct roster *roster = why->view->roster;

	for (size_t i = 0; i < roster->binding_count; i++) {
		uint32_t owner = roster->bindings[i].owner;
		const struct host *host = &roster->hosts[roster->bindings[i].host];

		if (has_addr(why, host, owner)) {
			blame_services(why, owner, host->name);
			continue;
		}
		if (blame_retired(why, host, owner) || blame_guard(why, host, owner))
			continue;
		blame_neighbour(why, host, owner);
		note_nameless(why, host, owner);
	}
}

static void blame_prefixes(struct why *why)
{
	const struct config *config = why->view->config;
	uint32_t local = 0;
	char prefix[PREFIX_TEXT_SIZE];

	for (size_t i = 0; i < config->service_count; i++)
		local |= (uint32_t)config->services[i].local << i;
	for (size_t i = 0; i < config->owner_count; i++) {
		for (size_t j = 0; j < config->owners[i].fixed_count; j++) {
			if (prefix_contains(&config->owners[i].fixed[j], &why->addr))
				blame_services(why, (uint32_t)i, NULL);
		}
	}
	for (size_t i = 0; i < config->local_subnet_count; i++) {
		struct text lacks = {0};

		if (!prefix_contains(&config->local_subnets[i], &why->addr))
			continue;
		why->config_decides = true;
		prefix_print(&config->local_subnets[i], prefix);
		name_services(config, why->dropped & ~local, &lacks);
		add_reason(why, &why->sure, GRANT_LOCAL, NULL,
			"it lies in the local subnet %s, but `local-services` does not name %s",
			prefix, text_string(&lacks));
		text_free(&lacks);
	}
}

static void put_nameless(struct why *why)
{
	struct text line = {0};

	if (why->weak_count > REASONS_MAX)
		text_printf(&why->weak, " and %zu more", why->weak_count - REASONS_MAX);
	text_printf(&line,
		"names without any address now, whose phones are kept out wherever they are: %s",
		text_string(&why->weak));
	json_put_open(why->text, "{");
	json_put_key(why->text, "text");
	json_put_string(why->text, text_string(&line));
	json_put_key(why->text, "owner");
	json_put_null(why->text);
	json_put_key(why->text, "host");
	json_put_null(why->text);
	json_put_close(why->text, "}");
	why->text->failed |= line.failed;
	text_free(&line);
}

/* A name points to it, and its guard has refused it: what to do about that; "": none has. */
static const char *refusal_next(const struct why *why)
{
	const struct roster *roster = why->view->roster;

	for (size_t i = 0; i < roster->host_count; i++) {
		const struct host *host = &roster->hosts[i];
		const struct lookup *lookup = &host->lookup[why->addr.family];
		const struct addr *culprit = host_culprit(host, (enum family)why->addr.family);

		if (lookup->last == ANSWER_REFUSED && culprit && addr_equal(culprit, &why->addr))
			return answer_reason_next((enum answer_reason)lookup->reason);
	}
	return "";
}

static const char behind_next[] =
	"the config lets it in, the kernel's table does not: put the config in force (sipfence "
	"sync, or start the daemon)";

/* Who has logged in with somebody's password is not to be let in, and has to go: of that address
 * (NULL: any), or that owner. Nothing where nobody has. */
static void advise_of_takeover(
	const struct why *why, const struct addr *addr, uint32_t owner, struct text *next)
{
	struct takeover list[REASONS_MAX];
	size_t count = why->view->watch ? asterisk_watch_find(
						  why->view->watch, addr, owner, list, REASONS_MAX)
					: 0;
	uint32_t last = TAKEOVER_OWNER_GONE;

	for (size_t i = 0; i < count && i < REASONS_MAX; i++) {
		const struct owner *of = &why->view->config->owners[list[i].owner];

		if (list[i].certainty != AUDIT_PROVEN || list[i].excused || list[i].owner == last)
			continue;
		last = list[i].owner;
		text_printf(next, "%s%s %s", next->length ? ", " : "change the password of ",
			kind_name(of), of->id);
	}
	if (next->length > 0)
		text_puts(next, ", and throw the registration out (sipfence asterisk --evict)");
}

static const char *let_in_next(const struct why *why)
{
	if (!why->view->engine)
		return "to let it in, if it is yours, have the phone's name point to it, or list it "
		       "under `peers` or the `hosts` of an extension; then sipfence sync";
	return "to let it in, if it is yours, have the phone's name point to it (sipfence refresh "
	       "NAME asks DNS at once), or list it under `peers` or the `hosts` of an extension "
	       "(then sipfence reload)";
}

/* What is only likely is worth reading where nothing is sure. */
static void put_reasons(struct why *why)
{
	const struct text *list = why->sure.count ? &why->sure.list : &why->likely.list;
	struct text next = {0};

	json_put_key(why->text, "reasons");
	json_put_open(why->text, "[");
	text_write(why->text, text_string(list), list->length);
	if (why->weak_count > 0 && why->sure.count == 0)
		put_nameless(why);
	json_put_close(why->text, "]");
	json_put_key(why->text, "next");
	advise_of_takeover(why, &why->addr, TAKEOVER_OWNER_GONE, &next);
	if (next.length > 0) {
		text_puts(&next, "; let this address in only if you know whose it is");
		json_put_string(why->text, text_string(&next));
	} else if (why->behind)
		json_put_string(why->text, behind_next);
	else if (why->dropped && *refusal_next(why))
		json_put_string(why->text, refusal_next(why));
	else if (why->dropped && !why->config_decides)
		json_put_string(why->text, let_in_next(why));
	else
		json_put_null(why->text);
	why->text->failed |= next.failed;
	text_free(&next);
}

static void begin(struct why *why, const char *kind)
{
	json_put_open(why->text, "{");
	json_put_key(why->text, "ok");
	json_put_bool(why->text, true);
	json_put_key(why->text, "why");
	json_put_open(why->text, "{");
	json_put_key(why->text, "what");
	json_put_string(why->text, why->what);
	json_put_key(why->text, "kind");
	json_put_string(why->text, kind);
}

static void end(struct why *why)
{
	json_put_close(why->text, "}");
	json_put_close(why->text, "}");
}

static void put_table(const struct why *why)
{
	json_put_key(why->text, "daemon");
	json_put_bool(why->text, why->view->engine != NULL);
	status_put_mode(why->view, why->text);
}

static void put_address(struct why *why)
{
	const struct config *config = why->view->config;
	const char *note = NULL;

	if (addr_special(&why->addr) == ADDR_LOOPBACK)
		note = "a loopback address: what this machine sends to itself always passes";
	else if (own_has(why->own, &why->addr))
		note = "an address of this machine: what it sends to itself always passes";
	begin(why, "address");
	put_table(why);
	json_put_key(why->text, "note");
	json_put_string(why->text, note);
	json_put_key(why->text, "services");
	json_put_open(why->text, "[");
	for (size_t i = 0; i < config->service_count; i++) {
		if (config->services[i].port_count == 0)
			continue;
		json_put_open(why->text, "{");
		put_judgement(why, i);
		json_put_close(why->text, "}");
	}
	json_put_close(why->text, "]");
	asterisk_watch_put_takeovers(why->view->watch, &why->addr, TAKEOVER_OWNER_GONE, why->text);
	if (why->dropped) {
		blame_names(why);
		blame_prefixes(why);
	}
	put_reasons(why);
	end(why);
	why->text->failed |= why->sure.list.failed || why->likely.list.failed || why->weak.failed;
	text_free(&why->sure.list);
	text_free(&why->likely.list);
	text_free(&why->weak);
}

/* --- extensions, peers and hosts --- */

struct places {
	struct why *why;
	uint32_t services; /* of the owner: as in struct owner */
	size_t count;
};

/* What becomes of what comes from there. */
static void put_place(struct places *places, const struct prefix *prefix, const char *host)
{
	struct why *why = places->why;
	const struct config *config = why->view->config;

	why->addr = prefix->addr;
	for (size_t i = 0; i < config->service_count; i++) {
		if (!(places->services >> i & 1) || config->services[i].port_count == 0 ||
			places->count >= PLACES_MAX)
			continue;
		places->count++;
		json_put_open(why->text, "{");
		json_put_key(why->text, "prefix");
		json_put_prefix(why->text, prefix);
		json_put_key(why->text, "host");
		json_put_string(why->text, host);
		put_judgement(why, i);
		json_put_close(why->text, "}");
	}
}

static void put_places_of_host(struct places *places, uint32_t owner, const struct host *host)
{
	const struct view *view = places->why->view;
	struct prefix prefixes[HOST_ADDRS_MAX];
	size_t count = allowlist_prefixes(view->config, owner, host, view->clock->now, prefixes);

	for (size_t i = 0; i < count; i++) {
		bool again = false;

		for (size_t j = 0; j < i && !again; j++)
			again = prefix_compare(&prefixes[i], &prefixes[j]) == 0;
		if (!again)
			put_place(places, &prefixes[i], host->name);
	}
}

/* All from where that one may come. */
static void put_places(struct why *why, uint32_t owner, struct places *places)
{
	const struct view *view = why->view;
	const struct config *config = view->config;
	const struct owner *of = &config->owners[owner];

	places->services = of->services;
	for (size_t i = 0; i < view->roster->binding_count; i++) {
		const struct binding *binding = &view->roster->bindings[i];
		const struct host *host = &view->roster->hosts[binding->host];

		if (binding->owner == owner)
			put_places_of_host(places, owner, host);
	}
	for (size_t i = 0; i < of->fixed_count; i++)
		put_place(places, &of->fixed[i], NULL);
	places->services = 0;
	for (size_t i = 0; i < config->service_count; i++)
		places->services |= (uint32_t)config->services[i].local << i;
	for (size_t i = 0; of->local && i < config->local_subnet_count; i++)
		put_place(places, &config->local_subnets[i], NULL);
}

static bool acl_is_off(const struct pbx_summary *pbx)
{
	return !pbx->wanted || !pbx->known;
}

/* Asterisk refuses who is not in its ACL, too: whether it has the right one. */
static void put_acl(const struct why *why, const struct owner *owner)
{
	const struct pbx_summary *pbx = &why->view->pbx;
	const char *problem = NULL;

	json_put_key(why->text, "acl");
	if (owner->kind != OWNER_EXTENSION || acl_is_off(pbx)) {
		json_put_null(why->text);
		return;
	}
	for (uint32_t i = 0; i < pbx->acls.mismatch_count && i < ASTERISK_KEEPER_SAID; i++) {
		const char *id = pbx->acls.mismatches[i].extension;

		if (id && strcmp(id, owner->id) == 0)
			problem = asterisk_match_text(pbx->acls.mismatches[i].match);
	}
	if (!problem && pbx->acls.trouble->code)
		problem = pbx->acls.trouble->what;
	json_put_open(why->text, "{");
	json_put_key(why->text, "state");
	json_put_string(why->text, asterisk_keeper_word(pbx->acls.state));
	json_put_key(why->text, "error");
	json_put_string(why->text, problem);
	json_put_close(why->text, "}");
}

static void put_advice(struct why *why, struct text *advice)
{
	json_put_key(why->text, "next");
	json_put_string(why->text, why->behind	    ? behind_next
				   : advice->length ? text_string(advice)
						    : NULL);
	why->text->failed |= advice->failed;
	text_free(advice);
}

static void put_owner(struct why *why, uint32_t index, bool other, const struct owner_index *hosts,
	const struct owner_index *srvs)
{
	struct places places = {.why = why};
	struct text advice = {0};
	const struct view *view = why->view;
	const struct owner *owner = &view->config->owners[index];

	begin(why, kind_name(owner));
	json_put_key(why->text, "id");
	json_put_string(why->text, owner->id);
	put_table(why);
	json_put_key(why->text, "services");
	status_put_services(view->config, owner->services, why->text);
	json_put_key(why->text, "hosts");
	json_put_open(why->text, "[");
	for (size_t i = 0; i < view->roster->binding_count; i++) {
		if (view->roster->bindings[i].owner == index)
			status_put_host(view, hosts, view->roster->bindings[i].host, why->text);
	}
	json_put_close(why->text, "]");
	json_put_key(why->text, "srv");
	json_put_open(why->text, "[");
	for (size_t i = 0; i < owner->srv_count; i++) {
		const struct srv *srv = roster_find_srv(view->roster, owner->srv[i]);

		if (srv)
			status_put_srv(view, srvs, (size_t)(srv - view->roster->srvs), why->text);
	}
	json_put_close(why->text, "]");
	json_put_key(why->text, "fixed");
	json_put_open(why->text, "[");
	for (size_t i = 0; i < owner->fixed_count; i++)
		json_put_prefix(why->text, &owner->fixed[i]);
	json_put_close(why->text, "]");
	json_put_key(why->text, "local_subnets");
	json_put_open(why->text, "[");
	for (size_t i = 0; owner->local && i < view->config->local_subnet_count; i++)
		json_put_prefix(why->text, &view->config->local_subnets[i]);
	json_put_close(why->text, "]");
	json_put_key(why->text, "also");
	json_put_string(why->text, other ? "peer" : NULL);
	json_put_key(why->text, "addresses");
	json_put_open(why->text, "[");
	put_places(why, index, &places);
	json_put_close(why->text, "]");
	put_acl(why, owner);
	asterisk_watch_put_takeovers(view->watch, NULL, index, why->text);
	advise_of_takeover(why, NULL, index, &advice);
	if (advice.length == 0)
		why_advise_owner(view, index, &advice);
	put_advice(why, &advice);
	end(why);
}

static bool put_host(struct why *why, const char *name, const struct owner_index *hosts,
	const struct owner_index *srvs)
{
	const struct roster *roster = why->view->roster;
	const struct srv *srv = roster_find_srv(roster, name);
	struct places places = {.why = why};
	struct text advice = {0};
	size_t first = roster->host_count;

	for (size_t i = roster->host_count; i > 0; i--) {
		if (strcmp(roster->hosts[i - 1].name, name) == 0)
			first = i - 1;
	}
	if (first == roster->host_count && !srv)
		return false;
	begin(why, "host");
	put_table(why);
	json_put_key(why->text, "hosts");
	json_put_open(why->text, "[");
	for (size_t i = 0; i < roster->host_count; i++) {
		if (strcmp(roster->hosts[i].name, name) == 0)
			status_put_host(why->view, hosts, i, why->text);
	}
	json_put_close(why->text, "]");
	json_put_key(why->text, "srv");
	json_put_open(why->text, "[");
	if (srv)
		status_put_srv(why->view, srvs, (size_t)(srv - roster->srvs), why->text);
	json_put_close(why->text, "]");
	json_put_key(why->text, "addresses");
	json_put_open(why->text, "[");
	for (size_t i = 0; i < roster->binding_count && places.count < PLACES_MAX; i++) {
		const struct binding *binding = &roster->bindings[i];
		const struct host *host = &roster->hosts[binding->host];

		places.services = why->view->config->owners[binding->owner].services;
		if (strcmp(host->name, name) == 0)
			put_places_of_host(&places, binding->owner, host);
	}
	json_put_close(why->text, "]");
	if (first < roster->host_count)
		why_advise_host(why->view, first, &advice);
	put_advice(why, &advice);
	end(why);
	return true;
}

/* --- what is near --- */

struct nearest {
	const char *wanted, *name;
	size_t distance;
};

/* Letters to change, put in or take out. */
static size_t edit_distance(const char *a, const char *b)
{
	enum { LONGEST = 253 };
	size_t row[LONGEST + 1], length = strlen(b);

	if (length > LONGEST || strlen(a) > LONGEST)
		return SIZE_MAX;
	for (size_t j = 0; j <= length; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t corner = row[0];

		row[0] = i;
		for (size_t j = 1; j <= length; j++) {
			size_t best = corner + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			corner = row[j];
			row[j] = best;
		}
	}
	return row[length];
}

static void nearest_try(struct nearest *nearest, const char *candidate)
{
	size_t length = strlen(nearest->wanted), limit = length / 3 > 2 ? length / 3 : 2;
	/* The first label alone is what people type. */
	bool begins = strncmp(candidate, nearest->wanted, length) == 0 && candidate[length] == '.';
	size_t distance = begins ? 0 : edit_distance(nearest->wanted, candidate);

	if (!begins && (distance > limit || distance * 2 > strlen(candidate)))
		return;
	if (nearest->name && nearest->distance <= distance)
		return;
	nearest->name = candidate;
	nearest->distance = distance;
}

/* "192.0.2.1:5060" and "[2001:db8::1]:5060", as logs have it. */
static bool parse_socket(const char *what, struct addr *ret_addr)
{
	const char *colon = strrchr(what, ':');
	size_t length = colon ? (size_t)(colon - what) : 0;

	if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
		return false;
	if (length > 2 && what[0] == '[' && colon[-1] == ']')
		return addr_parse(what + 1, length - 2, ret_addr);
	return addr_parse(what, length, ret_addr);
}

static void put_unknown(const struct why *why)
{
	const struct view *view = why->view;
	struct nearest nearest = {.wanted = why->what};
	struct prefix prefix;
	struct error error = {0};
	struct addr addr;
	char printed[ADDR_TEXT_SIZE];
	char next[300] = "sipfence status lists the extensions, peers and hosts";

	for (size_t i = 0; i < view->config->owner_count; i++)
		nearest_try(&nearest, view->config->owners[i].id);
	for (size_t i = 0; i < view->roster->host_count; i++)
		nearest_try(&nearest, view->roster->hosts[i].name);
	for (size_t i = 0; i < view->roster->srv_count; i++)
		nearest_try(&nearest, view->roster->srvs[i].name);
	if (parse_socket(why->what, &addr)) {
		addr_print(&addr, printed);
		snprintf(next, sizeof(next), "ask without the port: sipfence why %s", printed);
	} else if (prefix_parse(why->what, strlen(why->what), &prefix) != PREFIX_BAD_ADDRESS)
		snprintf(next, sizeof(next), "ask about a single address of it");
	else if (nearest.name)
		snprintf(next, sizeof(next), "did you mean %s?", nearest.name);
	error_set(&error, -ENOENT, next,
		"%s is neither an address nor an extension, peer or host of %s", why->what,
		view->config->path);
	control_print_error(why->text, EXIT_NO_SUCH_THING, &error);
}

/* Index of the owner of that kind and id, or owner_count. */
static size_t find_owner(const struct config *config, enum owner_kind kind, const char *id)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		if (config->owners[i].kind == kind && strcmp(config->owners[i].id, id) == 0)
			return i;
	}
	return config->owner_count;
}

static bool answer_owner(
	struct why *why, const struct owner_index *hosts, const struct owner_index *srvs)
{
	const struct config *config = why->view->config;
	static const char *const prefixes[] = {"extension:", "peer:"};
	size_t found[OWNER_KIND_COUNT];

	for (int kind = 0; kind < OWNER_KIND_COUNT; kind++) {
		size_t length = strlen(prefixes[kind]);

		if (strncmp(why->what, prefixes[kind], length) == 0) {
			found[kind] = find_owner(config, (enum owner_kind)kind, why->what + length);
			if (found[kind] < config->owner_count)
				put_owner(why, (uint32_t)found[kind], false, hosts, srvs);
			return found[kind] < config->owner_count;
		}
		found[kind] = find_owner(config, (enum owner_kind)kind, why->what);
	}
	if (found[OWNER_EXTENSION] < config->owner_count)
		put_owner(why, (uint32_t)found[OWNER_EXTENSION],
			found[OWNER_PEER] < config->owner_count, hosts, srvs);
	else if (found[OWNER_PEER] < config->owner_count)
		put_owner(why, (uint32_t)found[OWNER_PEER], false, hosts, srvs);
	else
		return false;
	return true;
}

static int answer_name(struct why *why)
{
	struct owner_index hosts = {0}, srvs = {0};
	char name[FQDN_SIZE];
	size_t at;

	if (owner_index_of_hosts(why->view, &hosts) < 0 ||
		owner_index_of_srvs(why->view, &srvs) < 0) {
		owner_index_clear(&hosts);
		return -ENOMEM;
	}
	if (!answer_owner(why, &hosts, &srvs) &&
		(fqdn_parse(why->what, strlen(why->what), name, &at) != FQDN_OK ||
			!put_host(why, name, &hosts, &srvs)))
		put_unknown(why);
	owner_index_clear(&hosts);
	owner_index_clear(&srvs);
	return 0;
}

/* Between a failure and the next comparison the engine has no ledger: one for this answer alone. */
static int make_ledger(
	const struct view *view, struct ruleset **ret_skeleton, struct ledger **ret_ledger)
{
	struct allowlist allowlist = {0};
	int result = allowlist_build(view->config, view->roster, view->clock->now, &allowlist);

	if (result == 0)
		result = ruleset_build(view->config, &allowlist, ret_skeleton);
	if (result == 0)
		result = ledger_new(
			view->config, view->roster, *ret_skeleton, &allowlist, ret_ledger);
	allowlist_clear(&allowlist);
	return result;
}

int why_answer(const struct view *view, const struct own_addresses *own, const char *what,
	struct text *text)
{
	struct why why = {
		.view = view, .ledger = view->ledger, .own = own, .what = what, .text = text};
	struct ruleset *skeleton = NULL;
	struct ledger *ledger = NULL;
	int result = 0;

	if (!why.ledger) {
		result = make_ledger(view, &skeleton, &ledger);
		why.ledger = ledger;
	}
	if (result == 0 && !addr_parse(what, strlen(what), &why.addr))
		result = answer_name(&why);
	else if (result == 0)
		put_address(&why);
	ledger_free(ledger);
	ruleset_free(skeleton);
	return result < 0 || text->failed ? -ENOMEM : 0;
}
