/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "why_advice.h"
#include "answer.h"

#include <string.h>

static bool has_address(const struct host *host)
{
	return host->count[FAMILY_IPV4] > 0 || host->count[FAMILY_IPV6] > 0;
}

/* The reason of the family that was refused. */
static const char *refusal_next(const struct host *host)
{
	for (int family = 0; family < FAMILY_COUNT; family++) {
		const struct lookup *lookup = &host->lookup[family];

		if (lookup->last == ANSWER_REFUSED)
			return answer_reason_next((enum answer_reason)lookup->reason);
	}
	return "";
}

static const char *into_force(const struct view *view)
{
	return view->engine ? "sipfence reload" : "sipfence sync";
}

/* What asks DNS for the name at once: without a daemon, all names together. */
static void put_ask(const struct view *view, const char *name, struct text *text)
{
	if (view->engine)
		text_printf(text, "sipfence refresh %s", name);
	else
		text_puts(text, "sipfence sync");
}

/* Under way, and nothing was learned since the start, or since other rules count for it. */
static bool is_being_asked(const struct view *view, const struct host *host)
{
	size_t index = (size_t)(host - view->roster->hosts);

	for (int family = 0; view->engine && family < FAMILY_COUNT; family++) {
		int64_t next = engine_next_question(view->engine, index, (enum family)family);

		if (host->lookup[family].last == ANSWER_NEVER &&
			(next == INT64_MAX || next <= view->now.boot_ms))
			return true;
	}
	return false;
}

static void advise_gone(
	const struct view *view, const struct host *host, bool of_peer, struct text *text)
{
	text_printf(text, "DNS says that %s has no address: ", host->name);
	text_puts(text, of_peer ? "ask who runs it for its name, then "
				: "its router or phone has to tell the dynamic-DNS service its "
				  "address again, then ");
	put_ask(view, host->name, text);
}

/* False: nothing is wrong with the name. */
static bool advise_name(
	const struct view *view, const struct host *host, bool of_peer, struct text *text)
{
	enum host_state state = host_state(host);
	const char *next;

	if (state != HOST_FRESH && state != HOST_REFUSED && is_being_asked(view, host)) {
		text_printf(text,
			"DNS is being asked for %s, since the daemon has started or the config "
			"has changed: look again in a few seconds",
			host->name);
		return true;
	}
	switch (state) {
	case HOST_GONE:
		advise_gone(view, host, of_peer, text);
		return true;
	case HOST_REFUSED:
		next = refusal_next(host);
		text_printf(text, "the last answer for %s was refused: %s", host->name,
			*next	  ? next
			: of_peer ? "ask who runs it for its name"
				  : "mend the record at the dynamic-DNS service");
		return true;
	case HOST_EXPIRED:
		text_printf(text,
			"%s could not be asked for longer than `hold`: see that this machine "
			"reaches its DNS servers (sipfence doctor), then ",
			host->name);
		put_ask(view, host->name, text);
		return true;
	case HOST_HELD:
		text_printf(text,
			"%s can't be asked at present, and keeps its last address: who has moved "
			"since has to wait until DNS answers (sipfence doctor says what is wrong "
			"with DNS)",
			host->name);
		return true;
	case HOST_NEVER:
	case HOST_UNTOLD:
		text_printf(text,
			"%s was never answered: see that the name is right, and that this machine "
			"reaches its DNS servers (sipfence doctor), then ",
			host->name);
		put_ask(view, host->name, text);
		return true;
	case HOST_FRESH:
		break;
	}
	return false;
}

/* `bound`: Asterisk has a list of its own for it. */
static void advise_elsewhere(
	const struct view *view, const char *name, bool bound, struct text *text)
{
	text_printf(text, "if it is anywhere else, have %s point there, then ", name);
	put_ask(view, name, text);
	if (!view->config->sets_only)
		text_printf(text, "; if it is here, look into the PBX's log%s",
			bound ? ", and at its acl= line (sipfence asterisk)" : "");
}

/* Its names are not the admin's. */
static void advise_other_addresses(const struct view *view, struct text *text)
{
	text_printf(text, "if it sends from other addresses, add them to it under `peers`, then %s",
		into_force(view));
}

static void advise_without_names(const struct view *view, uint32_t owner, struct text *text)
{
	const struct config *config = view->config;
	const struct owner *of = &config->owners[owner];

	if (of->srv_count > 0) {
		text_printf(text, "its hosts come from the SRV record %s: see that it has targets",
			of->srv[0]);
		return;
	}
	if (of->local && config->local_subnet_count == 0 && of->fixed_count == 0)
		text_puts(text,
			"it is local, and the config has no `local-subnets`: list the subnet of "
			"its phone there, then ");
	else if (of->local)
		text_puts(text,
			"if its phone is anywhere else, give it `hosts` in the config, then ");
	else
		text_puts(text,
			"if it is anywhere else, add that to its `hosts` in the config, then ");
	text_puts(text, into_force(view));
}

static bool is_bound(const struct view *view)
{
	return view->pbx.wanted && view->pbx.known;
}

void why_advise_owner(const struct view *view, uint32_t owner, struct text *text)
{
	const struct roster *roster = view->roster;
	const struct host *sound = NULL, *troubled = NULL;
	bool of_peer = view->config->owners[owner].kind == OWNER_PEER;

	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct host *host = &roster->hosts[roster->bindings[i].host];

		if (roster->bindings[i].owner != owner)
			continue;
		if (host_state(host) == HOST_FRESH)
			sound = sound ? sound : host;
		/* One without any address says more than one that is only held. */
		else if (!troubled || (has_address(troubled) && !has_address(host)))
			troubled = host;
	}
	/* One thing at a time: what is wrong comes first. */
	if (troubled)
		advise_name(view, troubled, of_peer, text);
	else if (of_peer && (sound || view->config->owners[owner].fixed_count > 0))
		advise_other_addresses(view, text);
	else if (sound)
		advise_elsewhere(view, sound->name, is_bound(view), text);
	else
		advise_without_names(view, owner, text);
}

/* Nobody's phone. */
static bool is_of_peers(const struct view *view, const struct host *host)
{
	const struct roster *roster = view->roster;
	bool any = false;

	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct binding *binding = &roster->bindings[i];

		if (&roster->hosts[binding->host] != host)
			continue;
		if (view->config->owners[binding->owner].kind != OWNER_PEER)
			return false;
		any = true;
	}
	return any;
}

void why_advise_host(const struct view *view, size_t first, struct text *text)
{
	const struct roster *roster = view->roster;
	const struct host *host = &roster->hosts[first];
	bool of_peer;

	/* Of several guards, that which refuses. */
	for (size_t i = first; i < roster->host_count && roster_same_name(roster, first, i); i++) {
		if (host_state(&roster->hosts[i]) != HOST_FRESH)
			host = &roster->hosts[i];
	}
	of_peer = is_of_peers(view, &roster->hosts[first]);
	if (advise_name(view, host, of_peer, text))
		return;
	if (of_peer)
		advise_other_addresses(view, text);
	else
		advise_elsewhere(view, host->name, is_bound(view), text);
}
