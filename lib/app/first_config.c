/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "first_config.h"
#include "config.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { ID_MAX = 64, COMMENT_COLUMN = 34 };

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* As the config takes it for an extension or a peer. */
static bool is_id(const char *text)
{
	size_t length = strlen(text), plain;

	for (plain = 0; text[plain]; plain++) {
		if (!strchr(letters, text[plain]) && !strchr("._+-*#@!~", text[plain]))
			return false;
	}
	return length > 0 && length <= ID_MAX;
}

/* YAML would read some of them otherwise. */
static void put_key(struct text *text, const char *id)
{
	size_t plain = strspn(id, letters);
	bool quote = plain == 0 ||
		     id[plain + strspn(id + plain, "._-abcdefghijklmnopqrstuvwxyz"
						   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")];

	text_printf(text, quote ? "\"%s\": " : "%s: ", id);
}

/* Blanks up to a comment, behind what stands in the line since `start`. */
static void put_gap(struct text *text, size_t start)
{
	size_t width = text->length - start;

	text_printf(text, "%*s", width < COMMENT_COLUMN ? (int)(COMMENT_COLUMN - width) : 2, "");
}

static void put_place(struct text *text, const char *path, size_t line)
{
	const char *name = strrchr(path, '/');

	name = name ? name + 1 : path;
	text_escaped(text, name, strlen(name));
	text_printf(text, ":%zu", line);
}

/* --- Extensions --- */

/* The one that counts: an extension that stands in two files is one. */
static bool is_first(const struct asterisk_inventory *inventory, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (strcmp(inventory->phones[i].id, inventory->phones[index].id) == 0)
			return false;
	}
	return true;
}

static void put_phone(struct text *text, const struct asterisk_phone *phone)
{
	size_t start = text->length;

	text_puts(text, phone->unregistrable ? "# " : "  ");
	put_key(text, phone->id);
	text_puts(text, "local");
	put_gap(text, start);
	if (phone->unregistrable) {
		text_puts(text,
			"# no phone, most likely: nobody can register as it, it has no aors  (");
		put_place(text, phone->path, phone->line);
		text_puts(text, ")\n");
		return;
	}
	text_puts(text, phone->local ? "# " : "# remote? then its name instead of local  (");
	put_place(text, phone->path, phone->line);
	text_puts(text, phone->local ? " lets it in from private addresses alone\n" : ")\n");
}

static void put_phones(const struct asterisk_inventory *inventory, struct text *text,
	struct first_config_counts *counts)
{
	text_puts(text,
		"# The phones, by their extensions. `local` is a desk phone: it comes from the "
		"local-subnets\n"
		"# alone. A remote phone has a name there, kept by its router or the phone itself "
		"(dynamic DNS):\n"
		"#   21: home21.dyndns.example\n"
		"#   22: [alice.ddns.example, alice-cell.ddns.example]\n");
	text_puts(text, "extensions:\n");
	for (size_t i = 0; i < inventory->phone_count; i++) {
		const struct asterisk_phone *phone = &inventory->phones[i];

		if (!is_id(phone->id)) {
			text_puts(text, "  # left out, not an id of an extension here: [");
			text_escaped(text, phone->id, strlen(phone->id));
			text_puts(text, "] ");
			put_place(text, phone->path, phone->line);
			text_puts(text, "\n");
			counts->left_out++;
		} else if (is_first(inventory, i)) {
			put_phone(text, phone);
			counts->extensions += !phone->unregistrable;
		}
	}
	if (counts->extensions == 0)
		text_puts(text, "  example: local                  # put your extensions in its "
				"place\n");
	text_puts(text, "\n");
}

/* --- Local subnets --- */

/* Why a network is not one of desk phones, most likely; NULL: it may well be. */
static const char *foreign(const struct interface_subnet *subnet)
{
	static const struct {
		const char *start, *what;
	} kinds[] = {
		{"docker", "containers"},
		{"br-", "containers"},
		{"veth", "containers"},
		{"cni", "containers"},
		{"podman", "containers"},
		{"lxc", "containers"},
		{"virbr", "virtual machines"},
		{"vnet", "virtual machines"},
		{"tun", "a tunnel"},
		{"wg", "a tunnel"},
		{"tailscale", "a tunnel"},
		{"ppp", "a line to a provider"},
	};
	const struct prefix *prefix = &subnet->prefix;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(subnet->interface, kinds[i].start, strlen(kinds[i].start)) == 0)
			return kinds[i].what;
	}
	if (prefix->addr.family == FAMILY_IPV4 && prefix->addr.bytes[0] == 100)
		return "a provider's own (100.64.0.0/10)";
	return NULL;
}

static bool is_proposed(const struct interface_subnet *subnets, size_t index)
{
	const struct prefix *prefix = &subnets[index].prefix;

	if (addr_special(&prefix->addr) != ADDR_PRIVATE || prefix_is_host(prefix))
		return false;
	for (size_t i = 0; i < index; i++) {
		if (prefix_compare(&subnets[i].prefix, prefix) == 0 &&
			!foreign(&subnets[i]) == !foreign(&subnets[index]))
			return false;
	}
	return true;
}

static void put_subnet(struct text *text, const struct interface_subnet *subnet)
{
	const char *why = foreign(subnet);
	char buffer[PREFIX_TEXT_SIZE];
	size_t start = text->length;

	prefix_print(&subnet->prefix, buffer);
	text_printf(text, "%s - %s", why ? "#" : " ", buffer);
	put_gap(text, start);
	text_puts(text, "# interface ");
	text_escaped(text, subnet->interface, strlen(subnet->interface));
	text_printf(text, "%s%s\n", why ? ": " : "", why ? why : "");
}

static void put_subnets(const struct interface_subnet *subnets, size_t count, struct text *text,
	struct first_config_counts *counts)
{
	size_t others = 0;

	for (size_t i = 0; i < count; i++) {
		if (!is_proposed(subnets, i))
			continue;
		counts->subnets += !foreign(&subnets[i]);
		others += foreign(&subnets[i]) != NULL;
	}
	if (counts->subnets > 0)
		text_puts(text, "# The networks of the desk phones: the private ones that this "
				"machine is in. Take out those that\n"
				"# have none.\n"
				"local-subnets:\n");
	else
		text_puts(text, "# The networks of the desk phones. This machine is in no private "
				"network of that kind.\n"
				"#local-subnets:\n");
	for (size_t i = 0; i < count; i++) {
		if (is_proposed(subnets, i) && (counts->subnets == 0 || !foreign(&subnets[i])))
			put_subnet(text, &subnets[i]);
	}
	for (size_t i = 0; i < count && counts->subnets > 0 && others > 0; i++) {
		if (is_proposed(subnets, i) && foreign(&subnets[i]))
			put_subnet(text, &subnets[i]);
	}
	if (counts->subnets + others == 0)
		text_puts(text, "#  - 192.168.10.0/24\n");
	text_puts(text, "\n");
}

/* --- Peers --- */

static const char *peer_id(const struct asterisk_trunk *trunk)
{
	return is_id(trunk->id) ? trunk->id : trunk->host;
}

static bool is_first_host(const struct asterisk_inventory *inventory, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (inventory->trunks[i].usable && strcmp(peer_id(&inventory->trunks[i]),
							   peer_id(&inventory->trunks[index])) == 0)
			return false;
	}
	return true;
}

/* All hosts of the trunk, as a list. */
static void put_trunk(const struct asterisk_inventory *inventory, size_t index, struct text *text)
{
	const struct asterisk_trunk *trunk = &inventory->trunks[index];
	const char *separator = "[";
	size_t start = text->length;

	text_puts(text, "#  ");
	put_key(text, peer_id(trunk));
	for (size_t i = index; i < inventory->trunk_count; i++) {
		const struct asterisk_trunk *other = &inventory->trunks[i];

		if (!other->usable || strcmp(peer_id(other), peer_id(trunk)) != 0)
			continue;
		text_printf(text, strchr(other->host, ':') ? "%s\"%s\"" : "%s%s", separator,
			other->host);
		separator = ", ";
	}
	text_puts(text, "]");
	put_gap(text, start);
	text_puts(text, "# ");
	put_place(text, trunk->path, trunk->line);
	text_puts(text, "\n");
}

static void put_peers(const struct asterisk_inventory *inventory, struct text *text,
	struct first_config_counts *counts)
{
	text_puts(text,
		"# Others who must get in: trunk providers, phones with a fixed address, "
		"admins.\n# A trunk that is not listed breaks as soon as\n"
		"# the mode is enforce: its answers arrive at the same port. Take away the # "
		"of those that are right.\n"
		"#peers:\n");
	for (size_t i = 0; i < inventory->trunk_count; i++) {
		const struct asterisk_trunk *trunk = &inventory->trunks[i];

		if (trunk->usable && is_id(peer_id(trunk))) {
			if (!is_first_host(inventory, i))
				continue;
			put_trunk(inventory, i, text);
			counts->peers++;
		} else {
			text_puts(text, "#  left out, neither an address nor a full name: ");
			text_escaped(text, trunk->host, strlen(trunk->host));
			text_puts(text, "  ");
			put_place(text, trunk->path, trunk->line);
			text_puts(text, "\n");
		}
	}
	if (counts->peers == 0)
		text_puts(text, "#  voipco: sip.voipco.example\n");
	text_puts(text, "\n");
}

/* --- Ports --- */

static bool is_usual(const struct asterisk_port *port)
{
	return port->port == 5060 || (port->protocol == PROTOCOL_TCP && port->port == 5061);
}

static void put_ports(const struct asterisk_inventory *inventory, enum protocol protocol,
	const char *word, const char **separator, struct text *text)
{
	const char *before = "";

	for (size_t i = 0; i < inventory->port_count; i++) {
		if (inventory->ports[i].protocol != protocol)
			continue;
		if (!*before) {
			text_printf(text, "%s%s: [", *separator, word);
			*separator = ", ";
		}
		text_printf(text, "%s%u", before, inventory->ports[i].port);
		before = ", ";
	}
	if (*before)
		text_puts(text, "]");
}

static void put_services(const struct asterisk_inventory *inventory, struct text *text,
	struct first_config_counts *counts)
{
	const char *separator = "";

	for (size_t i = 0; i < inventory->port_count; i++)
		counts->other_ports += !is_usual(&inventory->ports[i]);
	if (counts->other_ports == 0) {
		text_puts(text, "# Guarded are udp 5060 and tcp 5060-5061; other ports would stand "
				"here.\n"
				"#services: {sip: {udp: [5060], tcp: [5060, 5061]}}\n");
		return;
	}
	text_puts(text, "# The ports that are guarded: those on which Asterisk listens, by its "
			"files.\n"
			"services: {sip: {");
	put_ports(inventory, PROTOCOL_UDP, "udp", &separator, text);
	put_ports(inventory, PROTOCOL_TCP, "tcp", &separator, text);
	text_puts(text, "}}\n");
}

/* --- Where Asterisk is --- */

static void put_quoted(struct text *text, const char *string)
{
	text_puts(text, "'");
	for (; *string; string++)
		text_printf(text, *string == '\'' ? "''" : "%c", *string);
	text_puts(text, "'");
}

static void put_asterisk(const struct first_config_origin *origin, struct text *text)
{
	struct text file = {0};

	if (!origin->folder)
		return;
	text_printf(&file, "%s/sipfence_acl.conf", origin->folder);
	text_puts(text,
		"\n# Asterisk's files are not in /etc/asterisk: sipfence doctor and sipfence "
		"asterisk look beside\n# this one.\nasterisk:\n  acl-file: ");
	put_quoted(text, text_string(&file));
	text_puts(text, "\n");
	if (origin->main_file) {
		text_puts(text, "  command: [asterisk, -C, ");
		put_quoted(text, origin->main_file);
		text_puts(text, ", -rx]\n");
	}
	text->failed |= file.failed;
	text_free(&file);
}

void first_config_print(const struct asterisk_inventory *inventory,
	const struct first_config_origin *origin, const struct interface_subnet *subnets,
	size_t subnet_count, struct text *text, struct first_config_counts *ret_counts)
{
	struct first_config_counts counts = {0};

	text_puts(text, "# sipfence: who may reach the SIP ports of this PBX. All keys: man "
			"sipfence.yaml\n# Made by `sipfence init`");
	if (origin->files) {
		text_puts(text, " from ");
		text_escaped(text, origin->files, strlen(origin->files));
	}
	text_puts(text, ". After each change: sipfence check, then\n# sipfence reload (from cron: "
			"sipfence sync).\n\n"
			"# Strangers are counted and logged, and nobody is dropped yet. When only "
			"strangers are left in\n"
			"# the log, change it to enforce.\n"
			"mode: monitor\n\n");
	put_phones(inventory, text, &counts);
	put_subnets(subnets, subnet_count, text, &counts);
	put_peers(inventory, text, &counts);
	put_services(inventory, text, &counts);
	put_asterisk(origin, text);
	*ret_counts = counts;
}
