/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SIP_KEY	  "/SIP/Registry/"
#define PJSIP_KEY "/registrar/contact/"

/* --- Names that may stand in a command --- */

static bool is_plain(const char *name, const char *signs)
{
	if (!*name)
		return false;
	for (; *name; name++) {
		if ((*name >= '0' && *name <= '9') || (*name >= 'a' && *name <= 'z') ||
			(*name >= 'A' && *name <= 'Z') || strchr(signs, *name))
			continue;
		return false;
	}
	return true;
}

/* Those of a config's ids. */
bool asterisk_cli_is_name(const char *name)
{
	return is_plain(name, "._+-*#@!~");
}

void asterisk_cli_show_acl(const char *name, struct text *text)
{
	text_printf(text, "acl show %s", name);
}

bool asterisk_cli_evict(const struct asterisk_contact *contact, unsigned step, struct text *text)
{
	if (step >= (contact->pjsip ? 2 : 1))
		return false;
	if (!contact->pjsip) {
		if (!asterisk_cli_is_name(contact->extension))
			return false;
		text_printf(text, "sip unregister %s", contact->extension);
		return true;
	}
	/* In quotes of SQL, which are in quotes of the command line. */
	if (!is_plain(contact->key, "._+-*#@!~;/") || !asterisk_cli_is_name(contact->aor))
		return false;
	if (step == 0)
		text_printf(text,
			"database query \"UPDATE astdb SET value=json_set(value,"
			"'$.expiration_time','1') WHERE key='%s'\"",
			contact->key);
	else
		/* Reading drops what has expired. */
		text_printf(text, "pjsip show aor %s", contact->aor);
	return true;
}

bool asterisk_cli_hangup(const char *channel, struct text *text)
{
	if (!is_plain(channel, "._+-*#@!~;/"))
		return false;
	text_printf(text, "channel request hangup %s", channel);
	return true;
}

bool asterisk_cli_is_unknown(const char *output, size_t length)
{
	static const char words[] = "No such command '";
	const char *end = output + length;

	/* At the start of a line: what stands behind it in others may be a caller's choice. */
	for (const char *line = output; line < end;) {
		const char *feed = memchr(line, '\n', (size_t)(end - line));

		if ((size_t)(end - line) >= sizeof(words) - 1 &&
			memcmp(line, words, sizeof(words) - 1) == 0)
			return true;
		line = feed ? feed + 1 : end;
	}
	return false;
}

/* --- Registrations --- */

/* "203.0.113.10:5060…" or "[2001:db8::1]:5060…" at the start of `text`. */
static bool parse_host(const char *text, size_t length, struct asterisk_contact *contact)
{
	const char *end = text + length, *stop;
	uint32_t port = 0;

	if (length > 0 && *text == '[') {
		stop = memchr(text, ']', length);
		if (!stop || !addr_parse(text + 1, (size_t)(stop - text) - 1, &contact->addr) ||
			contact->addr.family != FAMILY_IPV6)
			return false;
		stop++;
	} else {
		for (stop = text; stop < end && (*stop == '.' || (*stop >= '0' && *stop <= '9'));)
			stop++;
		if (!addr_parse(text, (size_t)(stop - text), &contact->addr))
			return false;
	}
	if (stop < end && *stop == ':') {
		for (stop++; stop < end && *stop >= '0' && *stop <= '9' && port <= UINT16_MAX;
			stop++)
			port = port * 10 + (uint32_t)(*stop - '0');
		if (port > UINT16_MAX)
			return false;
	}
	contact->port = (uint16_t)port;
	/* "203.0.113.10.example" is a name. */
	return stop == end || strchr(":;>?", *stop);
}

/* "sip:21@203.0.113.10:5060;transport=udp": its host. */
static bool parse_uri(const char *uri, struct asterisk_contact *contact)
{
	const char *host = strrchr(uri, '@');

	if (!host)
		host = strchr(uri, ':');
	return host && parse_host(host + 1, strlen(host + 1), contact);
}

static int add(struct asterisk_contacts *contacts, const struct asterisk_contact *contact)
{
	if (contacts->count == contacts->capacity) {
		size_t capacity = contacts->capacity ? contacts->capacity * 2 : 16;
		struct asterisk_contact *grown =
			reallocarray(contacts->list, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		contacts->list = grown;
		contacts->capacity = capacity;
	}
	contacts->list[contacts->count++] = *contact;
	return 0;
}

static const char *keep(struct asterisk_contacts *contacts, const char *text, size_t length)
{
	return arena_copy(&contacts->arena, text, length);
}

/* "203.0.113.10:5060:3600:21:sip:21@203.0.113.10:5060", under "/SIP/Registry/21" */
static int take_sip(
	struct asterisk_contacts *contacts, const char *key, const char *value, size_t length)
{
	struct asterisk_contact contact = {.key = key, .extension = key + strlen(SIP_KEY)};
	const char *uri = memmem(value, length, ":sip", 4);

	contact.aor = contact.extension;
	contact.has_addr = parse_host(value, length, &contact);
	contact.uri = uri ? keep(contacts, uri + 1, length - (size_t)(uri + 1 - value))
			  : keep(contacts, value, length);
	return contact.uri ? add(contacts, &contact) : -ENOMEM;
}

/* A JSON object, under "/registrar/contact/AOR;@HASH" */
static int take_pjsip(
	struct asterisk_contacts *contacts, const char *key, const char *value, size_t length)
{
	const char *aor = key + strlen(PJSIP_KEY), *hash = strstr(aor, ";@");
	struct asterisk_contact contact = {.pjsip = true, .key = key};
	json_t *object = json_loadb(value, length, 0, NULL);
	const char *endpoint = json_string_value(json_object_get(object, "endpoint"));
	const char *uri = json_string_value(json_object_get(object, "uri"));
	int result = -ENOMEM;

	if (!object || !uri || !hash) {
		contacts->unread++;
		result = 0;
		goto out;
	}
	contact.aor = keep(contacts, aor, (size_t)(hash - aor));
	contact.extension =
		endpoint && *endpoint ? keep(contacts, endpoint, strlen(endpoint)) : contact.aor;
	contact.uri = keep(contacts, uri, strlen(uri));
	if (!contact.aor || !contact.extension || !contact.uri)
		goto out;
	contact.has_addr = parse_uri(contact.uri, &contact);
	result = add(contacts, &contact);
out:
	json_decref(object);
	return result;
}

static int take_entry(struct asterisk_contacts *contacts, const char *key, size_t key_length,
	const char *value, size_t length)
{
	const char *copy;

	while (key_length > 0 && key[key_length - 1] == ' ')
		key_length--;
	copy = keep(contacts, key, key_length);
	if (!copy)
		return -ENOMEM;
	if (strncmp(copy, SIP_KEY, strlen(SIP_KEY)) == 0)
		return take_sip(contacts, copy, value, length);
	if (strncmp(copy, PJSIP_KEY, strlen(PJSIP_KEY)) == 0)
		return take_pjsip(contacts, copy, value, length);
	contacts->unread++;
	return 0;
}

/* The rest of a line that begins with `mark`; NULL: it does not. */
static const char *behind(const char *line, size_t length, const char *mark, size_t *ret_length)
{
	size_t size = strlen(mark);

	if (length < size || memcmp(line, mark, size) != 0)
		return NULL;
	while (length > size && (line[length - 1] == '\r' || line[length - 1] == ' '))
		length--;
	*ret_length = length - size;
	return line + size;
}

int asterisk_contacts_parse(const char *output, size_t length, struct asterisk_contacts *contacts)
{
	const char *end = output + length, *key = NULL;
	size_t key_length = 0, value_length;
	int result = 0;

	for (const char *line = output; line < end && result == 0;) {
		const char *feed = memchr(line, '\n', (size_t)(end - line));
		size_t size = (size_t)((feed ? feed : end) - line);
		const char *found = behind(line, size, "key  : ", &key_length);
		const char *value = behind(line, size, "value: ", &value_length);

		if (found) {
			key = found;
		} else if (value && key) {
			result = take_entry(contacts, key, key_length, value, value_length);
			key = NULL;
		}
		line = feed ? feed + 1 : end;
	}
	return result;
}

void asterisk_contacts_clear(struct asterisk_contacts *contacts)
{
	free(contacts->list);
	arena_free(&contacts->arena);
	*contacts = (struct asterisk_contacts){0};
}

/* --- Calls --- */

/* "SIP/20-00000000": of extension 20? */
static bool is_channel_of(const char *channel, const char *extension)
{
	size_t length = strlen(extension);
	const char *name = strchr(channel, '/');

	return name && (strncmp(channel, "SIP/", 4) == 0 || strncmp(channel, "PJSIP/", 6) == 0) &&
	       strncmp(name + 1, extension, length) == 0 && name[1 + length] == '-' &&
	       !strchr(name + 2 + length, '-');
}

void asterisk_channels_parse(const char *output, size_t length, const char *extension,
	asterisk_channel_fn *found, void *context)
{
	enum { CHANNEL_SIZE = 128 }; /* Asterisk's own limit is 80 */
	const char *end = output + length;

	for (const char *line = output; line < end;) {
		const char *feed = memchr(line, '\n', (size_t)(end - line));
		const char *bang = memchr(line, '!', (size_t)((feed ? feed : end) - line));
		char channel[CHANNEL_SIZE];

		if (bang && bang - line < CHANNEL_SIZE) {
			memcpy(channel, line, (size_t)(bang - line));
			channel[bang - line] = '\0';
			if (is_channel_of(channel, extension))
				found(context, channel);
		}
		line = feed ? feed + 1 : end;
	}
}
