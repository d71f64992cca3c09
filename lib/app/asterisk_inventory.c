/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_inventory.h"
#include "files.h"
#include "fqdn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const names[ASTERISK_FILE_COUNT] = {
	[ASTERISK_SIP_CONF] = "sip.conf",
	[ASTERISK_PJSIP_CONF] = "pjsip.conf",
	[ASTERISK_PJSIP_WIZARD_CONF] = "pjsip_wizard.conf",
	[ASTERISK_ACL_CONF] = "acl.conf",
};

/* --- Growing lists --- */

/* Room for one more; NULL, and `failed`, without memory. */
static void *grow(struct asterisk_inventory *to, void *list, size_t count, size_t *capacity,
	size_t item_size, void **ret_list)
{
	if (count == *capacity) {
		size_t more = *capacity ? *capacity * 2 : 16;
		void *grown = reallocarray(list, more, item_size);

		if (!grown) {
			to->failed = true;
			return NULL;
		}
		*ret_list = list = grown;
		*capacity = more;
	}
	return (char *)list + count * item_size;
}

static void add_phone(struct asterisk_inventory *to, const struct asterisk_phone *phone)
{
	void *list = to->phones;
	struct asterisk_phone *place =
		grow(to, list, to->phone_count, &to->phone_capacity, sizeof(*place), &list);

	to->phones = list;
	if (place) {
		*place = *phone;
		to->phone_count++;
	}
}

static void add_port(struct asterisk_inventory *to, const struct asterisk_port *port)
{
	void *list = to->ports;
	struct asterisk_port *place;

	for (size_t i = 0; i < to->port_count; i++) {
		if (to->ports[i].protocol == port->protocol && to->ports[i].port == port->port)
			return;
	}
	place = grow(to, list, to->port_count, &to->port_capacity, sizeof(*place), &list);
	to->ports = list;
	if (place) {
		*place = *port;
		to->port_count++;
	}
}

/* --- Addresses in settings --- */

/* Where the host ends in "host:port", "[2001:db8::1]:5060", "host;transport=tcp", "host/contact".
 */
static size_t host_length(const char *text)
{
	struct addr addr;
	size_t length = strcspn(text, ";/,> \t");

	if (addr_parse(text, length, &addr))
		return length;
	if (*text == '[' && strchr(text, ']'))
		return (size_t)(strchr(text, ']') - text) + 1;
	return strcspn(text, ":;/,> \t");
}

static uint16_t read_port(const char *text)
{
	unsigned long port = *text >= '0' && *text <= '9' ? strtoul(text, NULL, 10) : 0;

	return port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* The port of "0.0.0.0:5060", "[::]:5060"; 0: none is given. */
static uint16_t port_of(const char *bind)
{
	const char *bracket = strchr(bind, ']');
	const char *colon = strchr(bracket ? bracket : bind, ':');
	struct addr addr;

	if (!colon || (!bracket && addr_parse(bind, strlen(bind), &addr)))
		return 0;
	return read_port(colon + 1);
}

static bool is_usable(const char *host)
{
	char name[FQDN_SIZE];
	struct prefix prefix;
	size_t at;

	return prefix_parse(host, strlen(host), &prefix) == PREFIX_OK ||
	       fqdn_parse(host, strlen(host), name, &at) == FQDN_OK;
}

static void add_trunk(struct asterisk_inventory *to, const char *id, const char *host,
	size_t length, const char *path, size_t line)
{
	struct asterisk_trunk trunk = {.id = id, .path = path, .line = line};
	void *list = to->trunks;
	struct asterisk_trunk *place;
	char own_id[32];

	if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
		host++;
		length -= 2;
	}
	trunk.host = length ? arena_copy(&to->arena, host, length) : NULL;
	if (!trunk.host) {
		to->failed |= length > 0;
		return;
	}
	if (!trunk.id && strchr(trunk.host, ':')) {
		/* An id has no colons. */
		snprintf(own_id, sizeof(own_id), "trunk-%zu", line);
		trunk.id = arena_copy(&to->arena, own_id, strlen(own_id));
		to->failed |= !trunk.id;
	}
	if (!trunk.id)
		trunk.id = trunk.host;
	trunk.usable = is_usable(trunk.host);
	for (size_t i = 0; i < to->trunk_count; i++) {
		const struct asterisk_trunk *other = &to->trunks[i];

		/* A registration at a host that a peer has already says nothing new. */
		if (strcasecmp(other->host, trunk.host) == 0 &&
			(!id || strcmp(other->id, trunk.id) == 0))
			return;
	}
	place = grow(to, list, to->trunk_count, &to->trunk_capacity, sizeof(*place), &list);
	to->trunks = list;
	if (place) {
		*place = trunk;
		to->trunk_count++;
	}
}

/* "sip:user@host:5060;transport=udp" */
static void add_trunk_of_uri(
	struct asterisk_inventory *to, const char *id, const struct asterisk_setting *uri)
{
	const char *host = uri->value;
	const char *at = strrchr(host, '@');

	if (at)
		host = at + 1;
	else if (strncasecmp(host, "sips:", 5) == 0)
		host += 5;
	else if (strncasecmp(host, "sip:", 4) == 0)
		host += 4;
	add_trunk(to, id, host, host_length(host), uri->file, uri->line);
}

/* Each of "203.0.113.0/24,sip.voipco.example". */
static void add_trunks_of_list(
	struct asterisk_inventory *to, const char *id, const struct asterisk_setting *list)
{
	const char *value = list->value;

	while (*value) {
		size_t length;

		value += strspn(value, ", \t");
		length = strcspn(value, ", \t");
		if (length > 0)
			add_trunk(to, id, value, length, list->file, list->line);
		value += length;
	}
}

/* --- What a section permits --- */

static bool is_private(const char *text)
{
	char address[ADDR_TEXT_SIZE];
	size_t length = strcspn(text, "/");
	struct addr addr;

	if (length >= sizeof(address))
		return false;
	memcpy(address, text, length);
	address[length] = '\0';
	return addr_parse(address, length, &addr) &&
	       (addr_special(&addr) == ADDR_PRIVATE || addr_special(&addr) == ADDR_LOOPBACK);
}

/* `prefix` is "" or "endpoint/". */
static void read_permits(
	const struct asterisk_section *section, const char *prefix, struct asterisk_phone *phone)
{
	size_t skip = strlen(prefix), permits = 0;
	bool denies = false, elsewhere = false;

	for (size_t i = 0; i < section->count; i++) {
		const struct asterisk_setting *setting = &section->settings[i];
		const char *key = setting->key;

		if (strncasecmp(key, prefix, skip) != 0)
			continue;
		key += skip;
		if (strcasecmp(key, "deny") == 0 && setting->value[0]) {
			denies = phone->bound = true;
		} else if (strcasecmp(key, "permit") == 0 && setting->value[0]) {
			permits++;
			elsewhere |= !is_private(setting->value);
		} else if (strcasecmp(key, "acl") == 0 && setting->value[0]) {
			phone->bound = true;
			elsewhere = true; /* what it permits is not looked at */
		}
	}
	phone->local |= denies && permits > 0 && !elsewhere;
}

/* --- sip.conf --- */

static bool is_word(const char *value, const char *a, const char *b, const char *c)
{
	return strcasecmp(value, a) == 0 || strcasecmp(value, b) == 0 || strcasecmp(value, c) == 0;
}

static bool is_peer(const struct asterisk_section *section)
{
	const struct asterisk_setting *type = asterisk_conf_get(section, "type");

	if (section->is_template || strcasecmp(section->name, "general") == 0 ||
		strcasecmp(section->name, "authentication") == 0)
		return false;
	return (type && is_word(type->value, "peer", "friend", "user")) ||
	       asterisk_conf_get(section, "host");
}

static void take_secret(struct asterisk_phone *phone, const struct asterisk_setting *secret)
{
	phone->secret_path = secret->file;
	phone->secret_line = secret->line;
	phone->secret_length = strlen(secret->value);
	phone->open = phone->secret_length == 0;
}

static void take_peer(struct asterisk_inventory *to, const struct asterisk_section *section)
{
	const struct asterisk_setting *host = asterisk_conf_get(section, "host");
	const struct asterisk_setting *secret = asterisk_conf_get(section, "secret");
	struct asterisk_phone phone = {
		.id = section->name,
		.file = ASTERISK_SIP_CONF,
		.path = section->file,
		.line = section->line,
		.open = true,
		.secret_path = section->file,
		.secret_line = section->line,
		.secret_key = "secret",
	};

	if (host && strcasecmp(host->value, "dynamic") != 0 && !is_private(host->value)) {
		add_trunk(to, section->name, host->value, host_length(host->value), host->file,
			host->line);
		return;
	}
	phone.local = host && is_private(host->value);
	read_permits(section, "", &phone);
	if (secret)
		take_secret(&phone, secret);
	if (asterisk_conf_get(section, "md5secret")) {
		phone.hashed = true;
		phone.open = false;
	}
	add_phone(to, &phone);
}

/* A trailing part of "[peer?][transport://]user[:secret]@host[:port][/contact]". */
static void take_register(struct asterisk_inventory *to, const struct asterisk_setting *setting)
{
	const char *at = strrchr(setting->value, '@');

	if (at)
		add_trunk(to, NULL, at + 1, host_length(at + 1), setting->file, setting->line);
}

static void read_switch(const struct asterisk_section *general, const char *key, bool fallback,
	struct asterisk_switch *ret_switch)
{
	const struct asterisk_setting *setting = asterisk_conf_get(general, key);

	*ret_switch = (struct asterisk_switch){
		.known = true,
		.on = setting ? asterisk_conf_is_true(setting->value) : fallback,
		.path = setting ? setting->file : general->file,
		.line = setting ? setting->line : general->line,
		.set = setting != NULL,
	};
}

static void add_bound_port(struct asterisk_inventory *to, enum protocol protocol, uint16_t fallback,
	const struct asterisk_setting *bind)
{
	struct asterisk_port port = {.protocol = (uint8_t)protocol, .port = fallback};

	if (bind && port_of(bind->value)) {
		port.port = port_of(bind->value);
		port.path = bind->file;
		port.line = bind->line;
	}
	add_port(to, &port);
}

static bool is_on(const struct asterisk_section *section, const char *key)
{
	const struct asterisk_setting *setting = asterisk_conf_get(section, key);

	return setting && asterisk_conf_is_true(setting->value);
}

static void take_general_ports(
	struct asterisk_inventory *to, const struct asterisk_section *general)
{
	const struct asterisk_setting *port = asterisk_conf_get(general, "bindport");
	const struct asterisk_setting *bind = asterisk_conf_get(general, "bindaddr");
	const struct asterisk_setting *udp = asterisk_conf_get(general, "udpbindaddr");
	uint16_t fallback = 5060;

	if (bind && port_of(bind->value))
		port = bind;
	if (!udp && port && (port_of(port->value) || read_port(port->value))) {
		struct asterisk_port own = {
			.protocol = PROTOCOL_UDP, .path = port->file, .line = port->line};

		own.port = fallback =
			port_of(port->value) ? port_of(port->value) : read_port(port->value);
		add_port(to, &own);
	} else {
		add_bound_port(to, PROTOCOL_UDP, fallback, udp);
	}
	if (is_on(general, "tcpenable"))
		add_bound_port(
			to, PROTOCOL_TCP, fallback, asterisk_conf_get(general, "tcpbindaddr"));
	if (is_on(general, "tlsenable"))
		add_bound_port(to, PROTOCOL_TCP, (uint16_t)(fallback + 1),
			asterisk_conf_get(general, "tlsbindaddr"));
}

static void read_sip(struct asterisk_inventory *to, const struct asterisk_conf *conf)
{
	for (size_t i = 0; i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];

		if (is_peer(section))
			take_peer(to, section);
		if (strcasecmp(section->name, "general") != 0)
			continue;
		read_switch(section, "alwaysauthreject", true, &to->always_auth_reject);
		read_switch(section, "allowguest", true, &to->allow_guest);
		take_general_ports(to, section);
	}
	/* Behind the peers: they have the better name for a host. */
	for (size_t i = 0; i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];

		for (size_t j = 0; j < section->count && !section->is_template &&
				   strcasecmp(section->name, "general") == 0;
			j++) {
			if (strcasecmp(section->settings[j].key, "register") == 0)
				take_register(to, &section->settings[j]);
		}
	}
}

/* --- pjsip.conf --- */

static bool has_type(const struct asterisk_section *section, const char *type)
{
	const struct asterisk_setting *setting = asterisk_conf_get(section, "type");

	return !section->is_template && setting && strcasecmp(setting->value, type) == 0;
}

/* One of the names in "a,b"? */
static bool lists(const char *value, const char *name)
{
	size_t length = strlen(name);

	while (*value) {
		size_t size;

		value += strspn(value, ", \t");
		size = strcspn(value, ", \t");
		if (size == length && memcmp(value, name, length) == 0)
			return true;
		value += size;
	}
	return false;
}

/* Its own contacts, or addresses that tell it: then it is a trunk. */
static bool take_trunk(struct asterisk_inventory *to, const struct asterisk_conf *conf,
	const struct asterisk_section *endpoint)
{
	const struct asterisk_setting *aors = asterisk_conf_get(endpoint, "aors");
	bool found = false;

	for (size_t i = 0; i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];
		const struct asterisk_setting *of = asterisk_conf_get(section, "endpoint");
		bool aor = has_type(section, "aor") && aors && lists(aors->value, section->name);
		bool identify = has_type(section, "identify") && of &&
				strcmp(of->value, endpoint->name) == 0;

		for (size_t j = 0; (aor || identify) && j < section->count; j++) {
			const struct asterisk_setting *setting = &section->settings[j];

			if (aor && strcasecmp(setting->key, "contact") == 0 && setting->value[0]) {
				add_trunk_of_uri(to, endpoint->name, setting);
				found = true;
			} else if (identify && strcasecmp(setting->key, "match") == 0) {
				add_trunks_of_list(to, endpoint->name, setting);
				found = true;
			}
		}
	}
	return found;
}

/* `first`: no other section of the endpoint's was read before. */
static void read_auth(const struct asterisk_section *auth, bool first, struct asterisk_phone *phone)
{
	const struct asterisk_setting *type = asterisk_conf_get(auth, "auth_type");
	const struct asterisk_setting *password = asterisk_conf_get(auth, "password");
	size_t length = password ? strlen(password->value) : 0;

	/* Hashes, OAuth, …: there is a secret, and no length to tell. */
	if (type && strcasecmp(type->value, "userpass") != 0 && !password) {
		phone->hashed = true;
		return;
	}
	if (!first && length >= phone->secret_length)
		return;
	phone->secret_length = length;
	phone->secret_path = password ? password->file : auth->file;
	phone->secret_line = password ? password->line : auth->line;
}

/* The sections that `auth` of an endpoint names; conf NULL: there are none. */
static void read_auths(const struct asterisk_conf *conf, const struct asterisk_setting *auth,
	struct asterisk_phone *phone)
{
	size_t found = 0;

	phone->open = !auth || !auth->value[0];
	for (size_t i = 0; !phone->open && conf && i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];

		if (has_type(section, "auth") && lists(auth->value, section->name))
			read_auth(section, found++ == 0, phone);
	}
	if (!phone->open && found == 0)
		phone->unseen = auth->value;
}

static void take_endpoint(struct asterisk_inventory *to, const struct asterisk_conf *conf,
	const struct asterisk_section *endpoint)
{
	const struct asterisk_setting *auth = asterisk_conf_get(endpoint, "auth");
	const struct asterisk_setting *aors = asterisk_conf_get(endpoint, "aors");
	struct asterisk_phone phone = {
		.id = endpoint->name,
		.file = ASTERISK_PJSIP_CONF,
		.path = endpoint->file,
		.line = endpoint->line,
		.unregistrable = !aors || !aors->value[0],
		.secret_path = endpoint->file,
		.secret_line = endpoint->line,
		.secret_key = "password",
	};

	if (strcmp(endpoint->name, "anonymous") == 0) {
		to->anonymous_path = endpoint->file;
		to->anonymous_line = endpoint->line;
		return;
	}
	if (take_trunk(to, conf, endpoint))
		return;
	read_permits(endpoint, "", &phone);
	read_auths(conf, auth, &phone);
	add_phone(to, &phone);
}

static void take_transport(struct asterisk_inventory *to, const struct asterisk_section *section)
{
	const struct asterisk_setting *protocol = asterisk_conf_get(section, "protocol");
	const struct asterisk_setting *bind = asterisk_conf_get(section, "bind");
	const char *name = protocol ? protocol->value : "udp";

	if (strcasecmp(name, "udp") == 0)
		add_bound_port(to, PROTOCOL_UDP, 5060, bind);
	else if (strcasecmp(name, "tcp") == 0)
		add_bound_port(to, PROTOCOL_TCP, 5060, bind);
	else if (strcasecmp(name, "tls") == 0)
		add_bound_port(to, PROTOCOL_TCP, 5061, bind);
}

static void read_pjsip(struct asterisk_inventory *to, const struct asterisk_conf *conf)
{
	for (size_t i = 0; i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];

		if (has_type(section, "endpoint"))
			take_endpoint(to, conf, section);
		else if (has_type(section, "transport"))
			take_transport(to, section);
	}
	for (size_t i = 0; i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];
		const struct asterisk_setting *server = asterisk_conf_get(section, "server_uri");

		if (has_type(section, "registration") && server)
			add_trunk_of_uri(to, NULL, server);
	}
}

/* --- pjsip_wizard.conf --- */

/* `pjsip` may be NULL. */
static void read_wizard(struct asterisk_inventory *to, const struct asterisk_conf *conf,
	const struct asterisk_conf *pjsip)
{
	for (size_t i = 0; i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];
		const struct asterisk_setting *hosts = asterisk_conf_get(section, "remote_hosts");
		const struct asterisk_setting *password =
			asterisk_conf_get(section, "inbound_auth/password");
		const struct asterisk_setting *auth = asterisk_conf_get(section, "endpoint/auth");
		struct asterisk_phone phone = {
			.id = section->name,
			.file = ASTERISK_PJSIP_WIZARD_CONF,
			.path = section->file,
			.line = section->line,
			.open = true,
			.secret_path = section->file,
			.secret_line = section->line,
			.secret_key = "inbound_auth/password",
		};

		if (!has_type(section, "wizard"))
			continue;
		if (hosts && hosts->value[0]) {
			for (const char *host = hosts->value; *host;) {
				size_t length;

				host += strspn(host, ", \t");
				length = strcspn(host, ", \t");
				if (length > 0)
					add_trunk(to, section->name, host, host_length(host),
						hosts->file, hosts->line);
				host += length;
			}
			continue;
		}
		read_permits(section, "endpoint/", &phone);
		/* Without accepts_auth the wizard makes no section for the password. */
		if (is_on(section, "accepts_auth")) {
			if (password)
				take_secret(&phone, password);
			phone.open = false;
			phone.hashed = asterisk_conf_get(section, "inbound_auth/md5_cred") != NULL;
		} else {
			read_auths(pjsip, auth, &phone);
		}
		add_phone(to, &phone);
	}
}

/* --- All of it --- */

int asterisk_inventory_make(const struct asterisk_conf *const confs[ASTERISK_FILE_COUNT],
	struct asterisk_inventory *ret_inventory)
{
	struct asterisk_inventory inventory = {0};

	if (confs[ASTERISK_SIP_CONF])
		read_sip(&inventory, confs[ASTERISK_SIP_CONF]);
	if (confs[ASTERISK_PJSIP_CONF])
		read_pjsip(&inventory, confs[ASTERISK_PJSIP_CONF]);
	if (confs[ASTERISK_PJSIP_WIZARD_CONF])
		read_wizard(
			&inventory, confs[ASTERISK_PJSIP_WIZARD_CONF], confs[ASTERISK_PJSIP_CONF]);
	for (int i = 0; i < ASTERISK_FILE_COUNT; i++) {
		inventory.confs[i] = confs[i];
		inventory.not_followed += confs[i] ? confs[i]->unknown : 0;
	}
	if (inventory.failed) {
		asterisk_inventory_clear(&inventory);
		return -ENOMEM;
	}
	*ret_inventory = inventory;
	return 0;
}

void asterisk_inventory_clear(struct asterisk_inventory *inventory)
{
	free(inventory->phones);
	free(inventory->trunks);
	free(inventory->ports);
	arena_free(&inventory->arena);
	*inventory = (struct asterisk_inventory){0};
}

const char *asterisk_inventory_custom(const struct asterisk_inventory *inventory, const char *file)
{
	const char *custom = NULL;

	for (int i = 0; i < ASTERISK_FILE_COUNT && !custom; i++) {
		if (inventory->confs[i])
			custom = asterisk_conf_custom(inventory->confs[i], file);
	}
	return custom;
}

int asterisk_inventory_read(
	const char *folder, struct asterisk_source ret_sources[ASTERISK_FILE_COUNT])
{
	for (int i = 0; i < ASTERISK_FILE_COUNT; i++) {
		struct asterisk_source *source = &ret_sources[i];
		int result;

		*source = (struct asterisk_source){0};
		if (snprintf(source->path, sizeof(source->path), "%s/%s", folder, names[i]) >=
			(int)sizeof(source->path)) {
			error_set(&source->error, -ENAMETOOLONG, "", "the path %.100s… is too long",
				folder);
			continue;
		}
		result = asterisk_conf_parse(
			source->path, files_read_foreign, NULL, &source->conf, &source->error);
		if (result == -ENOMEM) {
			asterisk_inventory_clear_sources(ret_sources);
			return result;
		}
	}
	return 0;
}

void asterisk_inventory_clear_sources(struct asterisk_source sources[ASTERISK_FILE_COUNT])
{
	for (int i = 0; i < ASTERISK_FILE_COUNT; i++)
		sources[i].conf = asterisk_conf_free(sources[i].conf);
}
