/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SECRET_MIN = 12, PLACE_SIZE = PATH_MAX + 32 };

static const char *print_place(const char *path, size_t line, char buffer[PLACE_SIZE])
{
	snprintf(buffer, PLACE_SIZE, "%s:%zu", path, line);
	return buffer;
}

/* Where to write a line for what stands there: not where FreePBX would write over it. */
static const char *print_way(const struct asterisk_inventory *inventory, const char *path,
	size_t line, char buffer[PLACE_SIZE])
{
	const char *custom = asterisk_inventory_custom(inventory, path);

	if (!custom)
		return print_place(path, line, buffer);
	snprintf(buffer, PLACE_SIZE, "%s", custom);
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
			why,
			guests->set || asterisk_inventory_custom(inventory, guests->path)
				? "allowguest=no"
				: "allowguest=no, below [general]",
			print_way(inventory, guests->path, guests->line, place));
	if (inventory->anonymous_path)
		findings_add_plain(findings, FINDING_PROBLEM, "asterisk-guests",
			"pjsip takes calls of guests: it has an endpoint [anonymous]", why,
			asterisk_inventory_custom(inventory, inventory->anonymous_path)
				? "in FreePBX's web interface, Asterisk SIP Settings: allow no "
				  "anonymous calls, unless guests are meant to call"
				: "take that endpoint out, unless guests are meant to call",
			print_place(inventory->anonymous_path, inventory->anonymous_line, place));
	if (reject->known && !reject->on)
		findings_add_plain(findings, FINDING_PROBLEM, "asterisk-reject",
			"chan_sip tells a scanner which extensions exist (alwaysauthreject is off)",
			"A scanner then tries passwords only for those that exist.",
			"alwaysauthreject=yes",
			print_way(inventory, reject->path, reject->line, place));
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
			"Scanners try that one first: on another port there is less to keep out, but all "
			"phones have to be changed, too.",
			port->path && asterisk_inventory_custom(inventory, port->path)
				? "in FreePBX's web interface, Asterisk SIP Settings: another "
				  "port; and in `services` here"
				: "another port in bind, bindport or udpbindaddr, and in "
				  "`services` here",
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

/* In a file of its own the section has to be named. */
static void put_section(const struct asterisk_inventory *inventory,
	const struct asterisk_phone *phone, struct text *text)
{
	if (asterisk_inventory_custom(inventory, phone->path))
		text_printf(text, "[%s](+), and below it: ", phone->id);
}

/* "deny=0.0.0.0/0.0.0.0, deny=::/0, permit=192.168.10.0/24", each a line of its own. */
static void put_local_rules(const struct config *config, const struct asterisk_inventory *inventory,
	const struct asterisk_phone *phone, struct text *text)
{
	const char *prefix = phone->file == ASTERISK_PJSIP_WIZARD_CONF ? "endpoint/" : "";
	char buffer[PREFIX_TEXT_SIZE];

	/* Denies alone would shut it out. */
	if (config->local_subnet_count == 0) {
		text_puts(text, "list local-subnets in the config first: then run this again");
		return;
	}
	put_section(inventory, phone, text);
	text_printf(text, "%sdeny=0.0.0.0/0.0.0.0, %sdeny=::/0", prefix, prefix);
	for (size_t i = 0; i < config->local_subnet_count; i++) {
		prefix_print(&config->local_subnets[i], buffer);
		text_printf(text, ", %spermit=%s", prefix, buffer);
	}
	text_puts(text, asterisk_inventory_custom(inventory, phone->path)
				? " (a line each)"
				: " (a line each, below that one)");
}

static void check_acl(const struct config *config, const struct asterisk_inventory *inventory,
	const struct asterisk_phone *phone, struct findings *findings)
{
	const struct owner *owner = find_extension(config, phone->id);
	struct text what = {0}, change = {0};
	char name[ASTERISK_ACL_NAME_SIZE], place[PLACE_SIZE];

	if (!owner || phone->bound || phone->unregistrable)
		return;
	print_way(inventory, phone->path, phone->line, place);
	if (!is_remote(owner)) {
		text_printf(&what,
			"extension %s is local, and Asterisk lets it in from anywhere: [%s] "
			"has no deny, permit or acl",
			phone->id, phone->id);
		put_local_rules(config, inventory, phone, &change);
		findings_add_plain(findings, FINDING_PROBLEM, "asterisk-acl", text_string(&what),
			"Whoever is let in as another extension can register as this one, if the "
			"password is known.",
			text_string(&change), place);
	} else {
		asterisk_acl_name(phone->id, name);
		text_printf(&what, "extension %s is bound to no ACL in Asterisk: [%s]", phone->id,
			phone->id);
		put_section(inventory, phone, &change);
		text_printf(&change, "%s=%s (sipfence asterisk --write makes it)",
			asterisk_setup_key(phone->file), name);
		findings_add_plain(findings, config->asterisk.acl ? FINDING_PROBLEM : FINDING_NOTE,
			"asterisk-acl", text_string(&what),
			config->asterisk.acl
				? "Its ACL keeps nobody out: from another extension's home one "
				  "could register as this one, if the password is known."
				: "The firewall's list is one for all: from another extension's "
				  "home one could register as this one, if the password is known.",
			text_string(&change), place);
	}
	findings->failed |= what.failed || change.failed;
	text_free(&what);
	text_free(&change);
}

/* Nothing that was read asks [phone] for a password: what would. */
static void put_question(const struct asterisk_phone *phone, struct text *text)
{
	switch (phone->file) {
	case ASTERISK_PJSIP_CONF:
		text_printf(text,
			"auth=%s, and below it a section: [%s], type=auth, auth_type=userpass, "
			"username=%s, password=",
			phone->id, phone->id, phone->id);
		return;
	case ASTERISK_PJSIP_WIZARD_CONF:
		text_printf(text,
			"accepts_auth=yes, inbound_auth/username=%s, inbound_auth/password=",
			phone->id);
		return;
	default:
		text_printf(text, "%s=", phone->secret_key);
	}
}

static void check_secret(const struct asterisk_inventory *inventory,
	const struct asterisk_phone *phone, struct findings *findings)
{
	/* All lines of Asterisk's files could be followed. */
	bool whole = inventory->not_followed == 0;
	struct text what = {0}, change = {0};
	bool exposed = phone->open || phone->secret_length == 0;
	char place[PLACE_SIZE];

	if (phone->hashed || phone->unseen || (!phone->open && phone->secret_length >= SECRET_MIN))
		return;
	if (phone->open)
		text_printf(&what, "[%s] needs no password%s", phone->id,
			whole ? "" : ", as far as Asterisk's files could be followed");
	else if (exposed)
		text_printf(&what, "the password of [%s] is empty", phone->id);
	else
		text_printf(&what, "the password of [%s] has %zu character%s", phone->id,
			phone->secret_length, phone->secret_length == 1 ? "" : "s");
	if (asterisk_inventory_custom(inventory, phone->secret_path))
		text_printf(&change,
			"in FreePBX's web interface, as the secret of extension %s: ", phone->id);
	else if (phone->open)
		put_question(phone, &change);
	else
		text_printf(&change, "%s=", phone->secret_key);
	text_printf(&change, "%d or more random characters (openssl rand -hex 12)", SECRET_MIN);
	findings_add_plain(findings, FINDING_PROBLEM, "asterisk-secret", text_string(&what),
		!exposed ? "A short one is found by trying, and one is enough to run up a bill."
		: phone->unregistrable
			? "Whoever reaches the port can call as it, as far as its context goes."
			: "Whoever reaches the port can register as it, and call.",
		text_string(&change), print_place(phone->secret_path, phone->secret_line, place));
	findings->failed |= what.failed || change.failed;
	text_free(&what);
	text_free(&change);
}

/* Endpoints may have their passwords in a database. */
static void say_unseen(const struct asterisk_inventory *inventory, struct findings *findings)
{
	const struct asterisk_phone *first = NULL;
	struct text why = {0};
	size_t count = 0;

	for (size_t i = 0; i < inventory->phone_count; i++) {
		if (!inventory->phones[i].unseen)
			continue;
		first = first ? first : &inventory->phones[i];
		count++;
	}
	if (!first)
		return;
	text_printf(&why, "the password of [%s]", first->id);
	if (count > 1)
		text_printf(&why, " and of %zu more", count - 1);
	text_printf(
		&why, ": there is no section [%s] of type=auth in Asterisk's files", first->unseen);
	findings_skip(findings, "asterisk-secret", text_string(&why),
		"see whether it is in a database (sorcery.conf), or a slip of the pen");
	findings->failed |= why.failed;
	text_free(&why);
}

void doctor_asterisk(const struct config *config, const struct asterisk_inventory *inventory,
	struct findings *findings)
{
	check_guests(inventory, findings);
	for (size_t i = 0; i < inventory->phone_count; i++)
		check_secret(inventory, &inventory->phones[i], findings);
	say_unseen(inventory, findings);
	for (size_t i = 0; i < inventory->phone_count; i++)
		check_acl(config, inventory, &inventory->phones[i], findings);
	check_ports(inventory, findings);
}

/* --- Its ACLs, and itself --- */

void doctor_asterisk_acls(
	const struct config *config, const struct asterisk_setup *setup, struct findings *findings)
{
	static const char why[] =
		"Asterisk has none of sipfence's ACLs, and refuses whoever is bound to one.";
	const struct asterisk_source *source = &setup->sources[ASTERISK_ACL_CONF];
	const char *file = config->asterisk.acl_file, *slash = strrchr(source->path, '/');
	size_t folder = slash ? (size_t)(slash + 1 - source->path) : 0;
	struct text what = {0}, change = {0}, place = {0};

	text_puts(&place, source->path);
	if (!setup->included && (source->conf || source->error.code == -ENOENT)) {
		text_printf(&what, "%s does not include %s", source->path, file);
		/* Asterisk looks beside acl.conf. */
		text_printf(&change, "#tryinclude %s",
			strncmp(file, source->path, folder) == 0 ? file + folder : file);
		findings_add(
			findings, FINDING_PROBLEM, "asterisk-acl", &what, why, &change, &place);
	}
	if (setup->general) {
		text_clear(&place);
		text_puts(&place, source->path);
		text_printf(&what, "%s has a section [general]", source->path);
		text_puts(&change, "take out the section [general]");
		findings_add(findings, FINDING_PROBLEM, "asterisk-acl", &what,
			"Asterisk then discards all of the file, and refuses whoever is bound to one "
			"of its ACLs.",
			&change, &place);
	}
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

void doctor_asterisk_down(const struct error *error, struct findings *findings)
{
	findings_add_plain(findings, FINDING_PROBLEM, "asterisk-down", error->what,
		"A change of address does not reach its ACLs, so a phone that has moved is refused.",
		error->next[0] ? error->next : "systemctl status asterisk", "");
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

void doctor_security_log_missing(const struct config *config, struct findings *findings)
{
	struct text what = {0};

	text_printf(&what, "the security log %s is not there", config->asterisk.security_log);
	findings_add_plain(findings, FINDING_PROBLEM, "asterisk-log", text_string(&what),
		"sipfence cannot see there who registers as an extension from elsewhere.",
		"asterisk: {security-log: the file that logger.conf names in the line "
		"`NAME => security`}",
		config->path);
	findings->failed |= what.failed;
	text_free(&what);
}

void doctor_asterisk_log(
	const struct asterisk_conf *logger, const char *path, struct findings *findings)
{
	const struct asterisk_section *files = NULL;
	const char *custom = asterisk_conf_custom(logger, path);
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
		custom ? "security => security; then: asterisk -rx 'logger reload'"
		       : "security => security, below [logfiles]; then: asterisk -rx 'logger "
			 "reload'",
		custom	? custom
		: files ? place
			: path);
}
