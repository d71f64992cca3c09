/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"

#include <string.h>

static const char *protocol_word(uint8_t protocol)
{
	return protocol == PROTOCOL_TCP ? "tcp" : "udp";
}

static void put_range(struct text *text, const struct port_range *range)
{
	if (range->first == range->last)
		text_printf(text, "%u", range->first);
	else
		text_printf(text, "%u-%u", range->first, range->last);
}

/* --- Listeners --- */

/* Servers of which every socket speaks SIP, and those that have others as well. */
static bool is_sip_only(const char *program)
{
	return strcmp(program, "kamailio") == 0 || strcmp(program, "opensips") == 0 ||
	       strcmp(program, "drachtio") == 0;
}

static bool is_sip_server(const char *program)
{
	static const char *const names[] = {"asterisk", "freeswitch", "yate", "sipwitch", "baresip",
		"flexisip", "rtpengine", "sems", "repro", "reSIProcate"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(program, names[i]) == 0)
			return true;
	}
	return is_sip_only(program);
}

static bool asterisk_says_so(
	const struct asterisk_inventory *inventory, const struct listener *listener)
{
	if (!inventory || (listener->program[0] && strcmp(listener->program, "asterisk") != 0))
		return false;
	for (size_t i = 0; i < inventory->port_count; i++) {
		if (inventory->ports[i].protocol == listener->protocol &&
			inventory->ports[i].port == listener->port)
			return true;
	}
	return false;
}

static bool speaks_sip(const struct asterisk_inventory *inventory, const struct listener *listener)
{
	uint16_t port = listener->port;
	bool usual = port == 5060 || port == 5061;
	bool near = (port >= 5060 && port <= 5099) || port == 5160 || port == 5161;

	if (asterisk_says_so(inventory, listener) || usual)
		return true;
	if (is_sip_only(listener->program))
		return true;
	/* Others have web servers on tcp 5080. */
	return near && (listener->protocol == PROTOCOL_UDP || is_sip_server(listener->program));
}

/* For sure, that is; others only have a port that is usual for SIP. */
static bool is_known_sip(
	const struct asterisk_inventory *inventory, const struct listener *listener)
{
	return asterisk_says_so(inventory, listener) || is_sip_server(listener->program) ||
	       listener->port == 5060 || listener->port == 5061;
}

static bool is_covered(const struct config *config, const struct listener *listener)
{
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service *service = &config->services[i];

		for (size_t j = 0; j < service->port_count; j++) {
			if (service->ports[j].protocol == listener->protocol &&
				service->ports[j].first <= listener->port &&
				listener->port <= service->ports[j].last)
				return true;
		}
	}
	return false;
}

static bool is_uncovered_sip(const struct config *config,
	const struct asterisk_inventory *inventory, const struct listener *listener)
{
	return addr_special(&listener->addr) != ADDR_LOOPBACK && !is_covered(config, listener) &&
	       speaks_sip(inventory, listener);
}

struct uncovered {
	const struct config *config;
	const struct asterisk_inventory *inventory;
	const struct listener *listeners;
	size_t count;
};

/* The same port on another address was there before. */
static bool is_repeated(const struct uncovered *uncovered, size_t index)
{
	const struct listener *listener = &uncovered->listeners[index];

	for (size_t i = 0; i < index; i++) {
		const struct listener *other = &uncovered->listeners[i];

		if (other->protocol == listener->protocol && other->port == listener->port &&
			is_uncovered_sip(uncovered->config, uncovered->inventory, other))
			return true;
	}
	return false;
}

/* "udp: [5060, 5080]" with the ports that the sip service lacks; "" where there is none. */
static void put_ports(const struct uncovered *uncovered, const struct service *service,
	uint8_t protocol, const char **separator, struct text *text)
{
	const char *before = "";

	for (size_t i = 0; i < service->port_count + uncovered->count; i++) {
		struct port_range range;

		if (i < service->port_count) {
			range = service->ports[i];
		} else {
			size_t j = i - service->port_count;
			const struct listener *listener = &uncovered->listeners[j];

			if (service != &uncovered->config->services[0] ||
				!is_uncovered_sip(
					uncovered->config, uncovered->inventory, listener) ||
				is_repeated(uncovered, j))
				continue;
			range = (struct port_range){
				.protocol = listener->protocol,
				.first = listener->port,
				.last = listener->port,
			};
		}
		if (range.protocol != protocol)
			continue;
		if (!*before)
			text_printf(text, "%s%s: [", *separator, protocol_word(protocol));
		text_puts(text, before);
		put_range(text, &range);
		before = ", ";
	}
	if (*before) {
		text_puts(text, "]");
		*separator = ", ";
	}
}

static void put_services(const struct uncovered *uncovered, struct text *text)
{
	const struct config *config = uncovered->config;

	text_puts(text, "services: {");
	for (size_t i = 0; i < config->service_count; i++) {
		const char *separator = "";

		text_printf(text, "%s%s: {", i ? ", " : "", config->services[i].name);
		put_ports(uncovered, &config->services[i], PROTOCOL_UDP, &separator, text);
		put_ports(uncovered, &config->services[i], PROTOCOL_TCP, &separator, text);
		text_puts(text, "}");
	}
	text_puts(text, "}");
}

void doctor_listeners(const struct config *config, const struct listener *listeners, size_t count,
	const struct asterisk_inventory *inventory, struct findings *findings)
{
	struct uncovered uncovered = {config, inventory, listeners, count};
	struct text what = {0}, change = {0}, place = {0};
	size_t found = 0;
	bool known = false;

	/* All in one finding, as one line mends them. */
	for (size_t i = 0; i < count; i++) {
		const struct listener *listener = &listeners[i];
		char address[ADDR_TEXT_SIZE];

		if (!is_uncovered_sip(config, inventory, listener) || is_repeated(&uncovered, i))
			continue;
		addr_print(&listener->addr, address);
		text_printf(&what, "%s%s listens on %s port %u (%s)", found++ ? ", " : "",
			listener->program[0] ? listener->program : "a program",
			protocol_word(listener->protocol), listener->port, address);
		known |= is_known_sip(inventory, listener);
	}
	if (found > 0) {
		text_printf(&what, ", and no service of the config covers %s",
			found > 1 ? "these ports" : "it");
		put_services(&uncovered, &change);
		text_puts(&place, config->path);
		findings_add(findings, known ? FINDING_PROBLEM : FINDING_NOTE, "listener", &what,
			known ? "sipfence guards only the ports that it knows: whoever your other "
				"firewall rules let through reaches the rest."
			      : "If that speaks SIP, sipfence does not guard it yet; if not, leave "
				"it.",
			&change, &place);
	}
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

/* --- Other tables --- */

/* The table that the config names: sipfence's own, or with sets-only the administrator's. */
static bool is_named(const struct config *config, const struct nft_base_chain *chain)
{
	return strcmp(chain->family,
		       ruleset_family_name((enum table_family)config->table_family)) == 0 &&
	       strcmp(chain->table, config->table) == 0;
}

/* Over both families and both ends of a range: the worst, and whether it is the same for all. */
struct verdicts {
	bool accepts, drops;
	bool by_policy;
	const char *chain; /* of the rule that drops first */
	uint64_t handle;
	bool lets_established; /* which new flows are not sure of */
};

static void judge_port(const struct nft_survey *survey, size_t index,
	const struct nft_base_chain *chain, const struct port_range *range,
	struct verdicts *ret_verdicts)
{
	struct verdicts all = {0};

	for (int i = 0; i < 4; i++) {
		struct nft_probe probe = {
			.ipv6 = i & 1,
			.protocol = range->protocol,
			.port = i & 2 ? range->last : range->first,
		};
		struct nft_judgement fresh, known;

		if ((probe.ipv6 && !chain->ipv6) || (!probe.ipv6 && !chain->ipv4))
			continue;
		nft_survey_judge(survey, index, &probe, &fresh);
		probe.established = true;
		nft_survey_judge(survey, index, &probe, &known);
		all.accepts |= fresh.accepts;
		all.drops |= fresh.drops;
		all.by_policy |= fresh.by_policy;
		if (!all.chain && fresh.drop_chain) {
			all.chain = fresh.drop_chain;
			all.handle = fresh.drop_handle;
		}
		all.lets_established |= fresh.drops && known.accepts && !known.drops;
	}
	*ret_verdicts = all;
}

enum fate { FATE_PASSES, FATE_MAY_DROP, FATE_DROPS };

struct table_view {
	const struct config *config;
	const struct nft_survey *survey;
	size_t index;
	struct nft_base_chain chain;
};

static enum fate fate_of(const struct verdicts *verdicts)
{
	if (!verdicts->drops)
		return FATE_PASSES;
	return verdicts->accepts ? FATE_MAY_DROP : FATE_DROPS;
}

/* All guarded ports of that fate: "udp 5060, tcp 5060-5061"; `verdicts` gets those of the first. */
static size_t list_ports(const struct table_view *view, enum fate fate, struct text *text,
	struct verdicts *ret_verdicts)
{
	const struct config *config = view->config;
	size_t count = 0;

	for (size_t i = 0; i < config->service_count; i++) {
		for (size_t j = 0; j < config->services[i].port_count; j++) {
			const struct port_range *range = &config->services[i].ports[j];
			struct verdicts verdicts;

			judge_port(view->survey, view->index, &view->chain, range, &verdicts);
			if (fate_of(&verdicts) != fate)
				continue;
			if (count++ == 0)
				*ret_verdicts = verdicts;
			text_printf(text, "%s%s ", count > 1 ? ", " : "",
				protocol_word(range->protocol));
			put_range(text, range);
		}
	}
	return count;
}

static const char *position(const struct table_view *view)
{
	/* At priority raw, or with replies: accept behind connection tracking (design, section 6).
	 */
	int32_t own = view->config->accept_replies ? -150 : -300;

	if (view->config->sets_only)
		return is_named(view->config, &view->chain) ? "with sipfence's sets"
							    : "beside sipfence's sets";
	if (view->chain.before_raw || (view->chain.prerouting && view->chain.priority < own))
		return "before sipfence";
	return "behind sipfence";
}

static void put_chain(const struct table_view *view, struct text *text)
{
	const struct nft_base_chain *chain = &view->chain;

	text_printf(text, "table %s %s, chain %s (hook %s, priority %d, %s)", chain->family,
		chain->table, chain->name, chain->hook, (int)chain->priority, position(view));
}

static void put_cause(const struct verdicts *verdicts, struct text *text)
{
	if (verdicts->chain)
		text_printf(text, " (rule with handle %llu in chain %s)",
			(unsigned long long)verdicts->handle, verdicts->chain);
	else if (verdicts->by_policy)
		text_puts(text, " (its policy is drop, and no rule accepts them)");
}

/* Tables that iptables-nft has made do not like to be touched by nft. */
static bool is_of_iptables(const struct nft_base_chain *chain)
{
	return chain->family[0] == 'i' && strcmp(chain->family, "inet") != 0 &&
	       (strcmp(chain->name, "INPUT") == 0 || strcmp(chain->name, "FORWARD") == 0 ||
		       strcmp(chain->name, "PREROUTING") == 0);
}

static void put_insert(
	const struct table_view *view, const struct port_range *range, struct text *text)
{
	const struct nft_base_chain *chain = &view->chain;
	const char *protocol = protocol_word(range->protocol);

	text_puts(text, text->length ? "; " : "");
	if (!is_of_iptables(chain)) {
		text_printf(text, "nft insert rule %s %s %s %s dport ", chain->family, chain->table,
			chain->name, protocol);
		put_range(text, range);
		text_puts(text, " accept");
		return;
	}
	text_printf(text, "%s -t %s -I %s -p %s --dport %u",
		strcmp(chain->family, "ip6") == 0 ? "ip6tables" : "iptables", chain->table,
		chain->name, protocol, range->first);
	if (range->last != range->first)
		text_printf(text, ":%u", range->last);
	text_puts(text, " -j ACCEPT");
}

/* Programs that write the rules themselves: whose own command lasts. */
enum manager { MANAGER_NONE, MANAGER_FIREWALLD, MANAGER_UFW };

static enum manager manager_of(const struct table_view *view)
{
	if (strcmp(view->chain.hook, "input") != 0)
		return MANAGER_NONE;
	if (strcmp(view->chain.table, "firewalld") == 0)
		return MANAGER_FIREWALLD;
	return nft_survey_jumps_to(view->survey, view->index, "ufw") ? MANAGER_UFW : MANAGER_NONE;
}

static void put_opening(const struct table_view *view, enum manager manager,
	const struct port_range *range, struct text *text)
{
	bool first = text->length == 0;

	switch (manager) {
	case MANAGER_FIREWALLD:
		text_puts(text, first ? "firewall-cmd --permanent --add-port=" : " --add-port=");
		put_range(text, range);
		break;
	case MANAGER_UFW:
		text_printf(text, "%sufw allow %u", first ? "" : "; ", range->first);
		if (range->last != range->first)
			text_printf(text, ":%u", range->last);
		break;
	default:
		put_insert(view, range, text);
		return;
	}
	text_printf(text, "/%s", protocol_word(range->protocol));
}

/* A command for each range, so that no other port is opened. */
static void put_inserts(const struct table_view *view, struct text *text)
{
	const struct config *config = view->config;
	enum manager manager = manager_of(view);

	for (size_t i = 0; i < config->service_count; i++) {
		for (size_t j = 0; j < config->services[i].port_count; j++) {
			const struct port_range *range = &config->services[i].ports[j];
			struct verdicts verdicts;

			judge_port(view->survey, view->index, &view->chain, range, &verdicts);
			if (fate_of(&verdicts) == FATE_DROPS)
				put_opening(view, manager, range, text);
		}
	}
	if (manager == MANAGER_FIREWALLD)
		text_puts(text, "; firewall-cmd --reload");
	else if (manager == MANAGER_NONE)
		text_puts(text, " (until the next reload or boot: put it into your firewall's own "
				"files, too)");
}

/* As long as sipfence drops nobody, that would open the ports to all. */
static void put_later(struct text *change)
{
	struct text commands = *change;

	*change = (struct text){0};
	text_printf(change, "first mode: enforce; then: %s", text_string(&commands));
	change->failed |= commands.failed;
	text_free(&commands);
}

static void check_drops(const struct table_view *view, struct findings *findings)
{
	struct text what = {0}, change = {0}, ports = {0};
	struct verdicts verdicts = {0};

	if (list_ports(view, FATE_DROPS, &ports, &verdicts) > 0) {
		put_chain(view, &what);
		text_printf(&what, " drops %s, whoever sends it", text_string(&ports));
		put_cause(&verdicts, &what);
		/* Without a table of ours an open port would be open to all. */
		if (view->config->sets_only)
			text_puts(&change, "let the addresses of the sets pass in front of that");
		else
			put_inserts(view, &change);
		if (view->config->monitor && !view->config->sets_only)
			put_later(&change);
		findings_add(findings, FINDING_PROBLEM, "table-drops", &what,
			"A drop is final: all phones that sipfence lets in are kept out there; but open "
			"it only while sipfence enforces.",
			&change, NULL);
	}
	text_clear(&ports);
	if (list_ports(view, FATE_MAY_DROP, &ports, &verdicts) > 0) {
		put_chain(view, &what);
		text_printf(&what, " drops some of what comes to %s", text_string(&ports));
		if (verdicts.chain)
			put_cause(&verdicts, &what);
		else
			text_puts(&what, " (its policy is drop, and its rules accept a part)");
		text_printf(&change, "nft -a list chain %s %s %s", view->chain.family,
			view->chain.table, verdicts.chain ? verdicts.chain : view->chain.name);
		findings_add(findings, FINDING_NOTE, "table-may-drop", &what,
			"A phone that sipfence lets in can be kept out there; if one cannot "
			"register, look at these rules.",
			&change, NULL);
	}
	text_free(&ports);
	text_free(&what);
	text_free(&change);
}

static bool lets_established(const struct table_view *view)
{
	const struct config *config = view->config;

	for (size_t i = 0; i < config->service_count; i++) {
		for (size_t j = 0; j < config->services[i].port_count; j++) {
			struct verdicts verdicts;

			judge_port(view->survey, view->index, &view->chain,
				&config->services[i].ports[j], &verdicts);
			if (verdicts.lets_established)
				return true;
		}
	}
	return false;
}

static void check_established(const struct table_view *view, struct findings *findings)
{
	struct text what = {0}, change = {0}, place = {0};

	if (!lets_established(view))
		return;
	put_chain(view, &what);
	text_puts(&what, " accepts packets of established flows, whoever sends them");
	if (view->config->sets_only && is_named(view->config, &view->chain)) {
		text_printf(&change,
			"move the rules for the SIP ports in front of it: nft -a list "
			"chain %s %s %s",
			view->chain.family, view->chain.table, view->chain.name);
		findings_add(findings, FINDING_PROBLEM, "table-established", &what,
			"An intruder who is registered stays in by that rule, whatever the sets say: "
			"the PBX's own packets keep his flow open.",
			&change, NULL);
		text_free(&what);
		text_free(&change);
		return;
	}
	if (view->config->monitor) {
		text_puts(&change, "mode: enforce, when only strangers are left in the log");
		text_puts(&place, view->config->path);
	} else {
		text_puts(&change, "nothing");
	}
	findings_add(findings, FINDING_NOTE, "table-established", &what,
		view->config->monitor
			? "An intruder who is registered stays in by that rule, as long as the mode is "
			  "monitor."
		: view->config->sets_only
			? "Harmless, as long as your rules drop whoever is in none of the sets."
			: "Harmless: sipfence drops who is not listed all the same; without it an "
			  "intruder who is registered would stay in by that rule.",
		&change, &place);
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

void doctor_tables(
	const struct config *config, const struct nft_survey *survey, struct findings *findings)
{
	for (size_t i = 0; i < nft_survey_count(survey); i++) {
		struct table_view view = {.config = config, .survey = survey, .index = i};

		nft_survey_chain(survey, i, &view.chain);
		if (doctor_is_sipfences(survey, &view.chain) ||
			(!config->sets_only && is_named(config, &view.chain)) ||
			(view.chain.forward && config->destination_count == 0))
			continue;
		check_drops(&view, findings);
		check_established(&view, findings);
	}
}

/* --- Talkers --- */

void doctor_talkers(const struct config *config, const struct talker *talkers, size_t count,
	struct findings *findings)
{
	struct text what = {0}, change = {0}, place = {0};

	for (size_t i = 0; i < count; i++) {
		const struct talker *talker = &talkers[i];
		const struct service *service = &config->services[talker->service];
		char address[ADDR_TEXT_SIZE];

		addr_print(&talker->addr, address);
		text_printf(&what, "%s is not listed, and the PBX talks to it from %s port %u",
			address, protocol_word(talker->protocol), talker->port);
		text_printf(&change, "peers: {trunk: {hosts: [%s%s%s]",
			strchr(address, ':') ? "\"" : "", address,
			strchr(address, ':') ? "\"" : "");
		if (talker->service != 0)
			text_printf(&change, ", services: [%s]", service->name);
		text_puts(&change, "}}");
		text_puts(&place, config->path);
		findings_add(findings, FINDING_PROBLEM, "trunk", &what,
			config->monitor
				? "If it is a trunk, it breaks as soon as the mode is enforce; "
				  "if you do not know it, it is an intruder's phone: then "
				  "leave it out."
				: "If it is a trunk, its answers are dropped; if you do not know "
				  "it, it is an intruder's phone: then leave it out.",
			&change, &place);
	}
	text_free(&what);
	text_free(&change);
	text_free(&place);
}
