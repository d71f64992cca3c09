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

/* False: nothing is wrong with the name. */
static bool advise_name(const struct host *host, struct text *text)
{
	const char *next;

	switch (host_state(host)) {
	case HOST_GONE:
		text_printf(text,
			"DNS says that %s has no address: its router or phone has to tell the "
			"dynamic-DNS service its address again, then sipfence refresh %s",
			host->name, host->name);
		return true;
	case HOST_REFUSED:
		next = refusal_next(host);
		text_printf(text, "the last answer for %s was refused: %s", host->name,
			*next ? next : "mend the record at the dynamic-DNS service");
		return true;
	case HOST_EXPIRED:
		text_printf(text,
			"%s could not be asked for longer than `hold`: see that this machine "
			"reaches its DNS servers (sipfence doctor), then sipfence refresh %s",
			host->name, host->name);
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
			"reaches its DNS servers (sipfence doctor), then sipfence refresh %s",
			host->name, host->name);
		return true;
	case HOST_FRESH:
		break;
	}
	return false;
}

static void advise_elsewhere(const struct view *view, const char *name, struct text *text)
{
	text_printf(text,
		"if it is anywhere else, have %s point there (sipfence refresh %s asks DNS at "
		"once)",
		name, name);
	if (!view->config->sets_only)
		text_puts(text,
			"; if it is there, its packets do reach the PBX: look into the PBX's log "
			"(password, and the acl= line: sipfence asterisk)");
}

static void advise_without_names(const struct view *view, uint32_t owner, struct text *text)
{
	const struct config *config = view->config;
	const struct owner *of = &config->owners[owner];

	if (of->srv_count > 0) {
		text_printf(text, "its hosts come from the SRV record %s: see that it has targets",
			of->srv[0]);
	} else if (of->local && config->local_subnet_count == 0 && of->fixed_count == 0) {
		text_puts(text,
			"it is local, and the config has no `local-subnets`: list the subnet of "
			"its phone there, then sipfence reload");
	} else if (of->local) {
		text_puts(text,
			"if its phone is anywhere else, give it `hosts` in the config, then "
			"sipfence reload");
	} else {
		text_puts(text,
			"if it is anywhere else, add that to its `hosts` in the config, then "
			"sipfence reload");
	}
}

void why_advise_owner(const struct view *view, uint32_t owner, struct text *text)
{
	const struct roster *roster = view->roster;
	const struct host *sound = NULL, *troubled = NULL;
	bool in = false;

	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct host *host = &roster->hosts[roster->bindings[i].host];

		if (roster->bindings[i].owner != owner)
			continue;
		in |= has_address(host);
		if (host_state(host) == HOST_FRESH)
			sound = sound ? sound : host;
		/* One without any address says more than one that is only held. */
		else if (!troubled || (has_address(troubled) && !has_address(host)))
			troubled = host;
	}
	if (troubled && (!in || !sound))
		advise_name(troubled, text);
	else if (sound)
		advise_elsewhere(view, sound->name, text);
	else
		advise_without_names(view, owner, text);
	if (troubled && in && sound) {
		text_puts(text, ". And ");
		advise_name(troubled, text);
	}
}

void why_advise_host(const struct view *view, size_t first, struct text *text)
{
	const struct roster *roster = view->roster;
	const struct host *host = &roster->hosts[first];

	/* Of several guards, that which refuses. */
	for (size_t i = first; i < roster->host_count && roster_same_name(roster, first, i); i++) {
		if (host_state(&roster->hosts[i]) != HOST_FRESH)
			host = &roster->hosts[i];
	}
	if (!advise_name(host, text))
		advise_elsewhere(view, host->name, text);
}
