/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SECRET_MIN = 12, PLACE_SIZE = PATH_MAX + 32 };

static const char *print_place(const char *path, size_t line, char buffer[PLACE_SIZE])
{
	snprintf(buffer, PLACE_SIZE, "%s:%zu", path, line);
	return buffer;
}

/* --- What goes for all callers --- */

static void check_guests(const struct asterisk_inventory *inventory, struct findings *findings)
{
	static const char why[] =
		"Whoever reaches the port can call without a password, as far as the dialplan's "
		"context for guests goes.";
	const struct asterisk_switch *guests = &inventory->allow_guest;
	const struct asterisk_switch *reject = &inventory->always_auth_reject;
	char place[PLACE_SIZE];

	if (guests->known && guests->on)
		findings_add_plain(findings, FINDING_PROBLEM, "asterisk-guests",
			guests->set ? "chan_sip takes calls of guests (allowguest)"
				    : "chan_sip takes calls of guests: allowguest is not set, and "
				      "then it is on",
			why, guests->set ? "allowguest=no" : "allowguest=no, below [general]",
			print_place(guests->path, guests->line, place));
	if (inventory->anonymous_path)
		findings_add_plain(findings, FINDING_PROBLEM, "asterisk-guests",
			"pjsip takes calls of guests: it has an endpoint [anonymous]", why,
			"take that endpoint out, unless guests are meant to call",
			print_place(inventory->anonymous_path, inventory->anonymous_line, place));
	if (reject->known && !reject->on)
		findings_add_plain(findings, FINDING_PROBLEM, "asterisk-reject",
			"chan_sip tells who guesses whether an extension exists "
			"(alwaysauthreject)",
			"A scanner then tries passwords of those that exist alone.",
			"alwaysauthreject=yes", print_place(reject->path, reject->line, place));
}

static void check_ports(const struct asterisk_inventory *inventory, struct findings *findings)
{
	struct text what = {0};
	char place[PLACE_SIZE];

	for (size_t i = 0; i < inventory->port_count; i++) {
		const struct asterisk_port *port = &inventory->ports[i];

		if (port->port != 5060)
			continue;
		text_printf(&what, "Asterisk listens on the usual port, %s 5060%s",
			port->protocol == PROTOCOL_TCP ? "tcp" : "udp",
			port->path ? "" : " (no port is set)");
		findings_add_plain(findings, FINDING_NOTE, "asterisk-port", text_string(&what),
			"Scanners try that one first. sipfence keeps them out; on another port there "
			"is less to keep out. The phones have to follow.",
			"another port in bind, bindport or udpbindaddr, and in `services` here",
			port->path ? print_place(port->path, port->line, place) : "");
		text_clear(&what);
	}
	text_free(&what);
}

/* --- Phones --- */

static const struct owner *find_extension(const struct config *config, const char *id)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		if (config->owners[i].kind == OWNER_EXTENSION &&
			strcmp(config->owners[i].id, id) == 0)
			return &config->owners[i];
	}
	return NULL;
}

static bool is_remote(const struct owner *owner)
{
	return owner->name_count + owner->fixed_count + owner->srv_count > 0;
}

/* "deny=0.0.0.0/0.0.0.0, deny=::/0, permit=192.168.10.0/24", each a line of its own. */
static void put_local_rules(
	const struct config *config, const struct asterisk_phone *phone, struct text *text)
{
	const char *prefix = phone->file == ASTERISK_PJSIP_WIZARD_CONF ? "endpoint/" : "";
	char buffer[PREFIX_TEXT_SIZE];

	/* Denies alone would shut it out. */
	if (config->local_subnet_count == 0) {
		text_puts(text, "list local-subnets in the config first: then run this again");
		return;
	}
	text_printf(text, "%sdeny=0.0.0.0/0.0.0.0, %sdeny=::/0", prefix, prefix);
	for (size_t i = 0; i < config->local_subnet_count; i++) {
		prefix_print(&config->local_subnets[i], buffer);
		text_printf(text, ", %spermit=%s", prefix, buffer);
	}
	text_puts(text, " (a line each, below that one)");
}

static void check_acl(
	const struct config *config, const struct asterisk_phone *phone, struct findings *findings)
{
	const struct owner *owner = find_extension(config, phone->id);
	struct text what = {0}, change = {0};
	char name[ASTERISK_ACL_NAME_SIZE], place[PLACE_SIZE];

	if (!owner || phone->bound)
		return;
	print_place(phone->path, phone->line, place);
	if (!is_remote(owner)) {
		text_printf(&what,
			"extension %s is local, and Asterisk lets it in from anywhere: [%s] "
			"has no deny, permit or acl",
			phone->id, phone->id);
		put_local_rules(config, phone, &change);
		findings_add_plain(findings, FINDING_PROBLEM, "asterisk-acl", text_string(&what),
			"Whoever is let in as another extension can register as this one, if the "
			"password is known.",
			text_string(&change), place);
	} else {
		asterisk_acl_name(phone->id, name);
		text_printf(&what, "extension %s is bound to no ACL in Asterisk: [%s]", phone->id,
			phone->id);
		text_printf(&change, "%s=%s (sipfence asterisk --write makes it)",
			asterisk_setup_key(phone->file), name);
		findings_add_plain(findings, FINDING_NOTE, "asterisk-acl", text_string(&what),
			"The firewall's list is one for all: from another extension's home one could "
			"register as this one, if the password is known.",
			text_string(&change), place);
	}
	findings->failed |= what.failed || change.failed;
	text_free(&what);
	text_free(&change);
}

static void check_secret(const struct asterisk_phone *phone, struct findings *findings)
{
	struct text what = {0}, change = {0};
	char place[PLACE_SIZE];

	if (phone->hashed || (!phone->open && phone->secret_length >= SECRET_MIN))
		return;
	if (phone->open)
		text_printf(&what, "[%s] needs no password", phone->id);
	else
		text_printf(&what, "the password of [%s] has %zu characters", phone->id,
			phone->secret_length);
	text_printf(&change, "%s=%d or more random characters (openssl rand -hex 12)",
		phone->secret_key, SECRET_MIN);
	findings_add_plain(findings, FINDING_PROBLEM, "asterisk-secret", text_string(&what),
		phone->open ? "Whoever reaches the port can register as it, and call."
			    : "Short ones are found by trying, and one is enough to run up a bill.",
		text_string(&change), print_place(phone->secret_path, phone->secret_line, place));
	findings->failed |= what.failed || change.failed;
	text_free(&what);
	text_free(&change);
}

void doctor_asterisk(const struct config *config, const struct asterisk_inventory *inventory,
	struct findings *findings)
{
	check_guests(inventory, findings);
	for (size_t i = 0; i < inventory->phone_count; i++)
		check_secret(&inventory->phones[i], findings);
	for (size_t i = 0; i < inventory->phone_count; i++)
		check_acl(config, &inventory->phones[i], findings);
	check_ports(inventory, findings);
}

/* --- logger.conf --- */

/* "notice,warning,security": is one of them `security`, or `*`? A format in brackets may stand in
 * front. */
static bool logs_security(const char *levels)
{
	while (*levels) {
		size_t size;

		levels += strspn(levels, ", \t");
		size = strcspn(levels, ", \t(");
		if ((size == 8 && strncasecmp(levels, "security", 8) == 0) ||
			(size == 1 && *levels == '*'))
			return true;
		levels += size + strspn(levels + size, "(");
	}
	return false;
}

void doctor_asterisk_log(
	const struct asterisk_conf *logger, const char *path, struct findings *findings)
{
	const struct asterisk_section *files = NULL;
	char place[PLACE_SIZE];

	for (size_t i = 0; i < logger->count; i++) {
		const struct asterisk_section *section = &logger->sections[i];

		if (strcasecmp(section->name, "logfiles") != 0)
			continue;
		files = section;
		for (size_t j = 0; j < section->count; j++) {
			/* The console is no log: nothing of it stays. */
			if (strcasecmp(section->settings[j].key, "console") != 0 &&
				logs_security(section->settings[j].value))
				return;
		}
	}
	if (files)
		print_place(files->file, files->line, place);
	findings_add_plain(findings, FINDING_PROBLEM, "asterisk-log",
		"Asterisk writes no security log",
		"Only that log proves who registered from where; the others repeat what the caller "
		"claims.",
		"security => security, below [logfiles]; then: asterisk -rx 'logger reload'",
		files ? place : path);
}
