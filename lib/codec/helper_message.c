/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper_message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { HEADER = 8, ENDED_HEADER = 16, HOOK_CODE_MAX = 4096 };

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) | (uint32_t)get16(at + 2) << 16;
}

static void put16(uint8_t *at, uint32_t number)
{
	at[0] = (uint8_t)number;
	at[1] = (uint8_t)(number >> 8);
}

static void put32(uint8_t *at, uint32_t number)
{
	put16(at, number);
	put16(at + 2, number >> 16);
}

/* --- What may stand in a message, for both directions --- */

static bool is_key(const char *key)
{
	size_t length = strnlen(key, HELPER_KEY_MAX + 1);

	return length <= HELPER_KEY_MAX && *key >= 'a' && *key <= 'z' &&
	       key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static bool is_printable(const char *string, size_t most)
{
	size_t length = strnlen(string, most + 1);

	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)string[i] < 0x20 || (unsigned char)string[i] > 0x7e)
			return false;
	}
	return length <= most;
}

static bool hook_is_valid(const struct helper_message *message)
{
	if (message->field_count < 1 || message->field_count > HELPER_FIELDS_MAX)
		return false;
	for (size_t i = 0; i < message->field_count; i++) {
		const struct helper_field *field = &message->fields[i];

		if (!is_key(field->key) || !is_printable(field->value, HELPER_VALUE_MAX))
			return false;
		for (size_t j = 0; j < i; j++) {
			if (strcmp(message->fields[j].key, field->key) == 0)
				return false;
		}
	}
	return strcmp(message->fields[0].key, "event") == 0;
}

static bool ended_is_valid(const struct helper_message *message)
{
	bool started = message->outcome != HELPER_NOT_STARTED;

	if (message->outcome < HELPER_EXITED || message->outcome > HELPER_NOT_STARTED ||
		message->code < 0 || message->code > HOOK_CODE_MAX)
		return false;
	return strlen(message->text) <= HELPER_TEXT_MAX &&
	       strlen(message->next) <= HELPER_TEXT_MAX && (!started || !*message->next);
}

/* --- Reading --- */

/* The string at *at, which moves behind its NUL; NULL: it has no end. */
static const char *take_string(const uint8_t **at, const uint8_t *end)
{
	const char *string = (const char *)*at;
	const uint8_t *nul = *at < end ? memchr(*at, '\0', (size_t)(end - *at)) : NULL;

	if (!nul)
		return NULL;
	*at = nul + 1;
	return string;
}

static bool read_hook(const uint8_t *data, size_t length, struct helper_message *message)
{
	const uint8_t *at = data + HEADER, *end = data + length;

	message->field_count = get16(data + 2);
	if (message->field_count > HELPER_FIELDS_MAX)
		return false;
	for (size_t i = 0; i < message->field_count; i++) {
		message->fields[i].key = take_string(&at, end);
		message->fields[i].value = take_string(&at, end);
		if (!message->fields[i].key || !message->fields[i].value)
			return false;
	}
	return at == end && hook_is_valid(message);
}

static bool read_ended(const uint8_t *data, size_t length, struct helper_message *message)
{
	const uint8_t *at = data + ENDED_HEADER, *end = data + length;

	if (length < ENDED_HEADER || get32(data + HEADER) > HOOK_CODE_MAX)
		return false;
	message->outcome = (enum helper_outcome)get16(data + 2);
	message->code = (int)get32(data + HEADER);
	message->milliseconds = get32(data + HEADER + 4);
	message->text = take_string(&at, end);
	message->next = take_string(&at, end);
	return message->text && message->next && at == end && ended_is_valid(message);
}

int helper_message_parse(const void *data, size_t length, struct helper_message *ret_message)
{
	struct helper_message message = {0};
	const uint8_t *bytes = data;
	bool valid = false;

	if (length < HEADER || length > HELPER_MESSAGE_MAX || bytes[0] != HELPER_VERSION)
		return -EBADMSG;
	message.id = get32(bytes + 4);
	if (bytes[1] == HELPER_HOOK) {
		message.kind = HELPER_HOOK;
		valid = read_hook(bytes, length, &message);
	} else if (bytes[1] == HELPER_HOOK_ENDED) {
		message.kind = HELPER_HOOK_ENDED;
		valid = read_ended(bytes, length, &message);
	}
	if (!valid)
		return -EBADMSG;
	*ret_message = message;
	return 0;
}

/* --- Writing --- */

struct packet {
	uint8_t *bytes;
	size_t length;
	bool full;
};

static void put_string(struct packet *packet, const char *string)
{
	size_t size = strlen(string) + 1;

	if (size > HELPER_MESSAGE_MAX - packet->length) {
		packet->full = true;
		return;
	}
	memcpy(packet->bytes + packet->length, string, size);
	packet->length += size;
}

int helper_message_print(const struct helper_message *message, void *buffer, size_t *ret_length)
{
	struct packet packet = {.bytes = buffer, .length = HEADER};
	bool hook = message->kind == HELPER_HOOK;

	if (!hook && message->kind != HELPER_HOOK_ENDED)
		return -EINVAL;
	if (hook ? !hook_is_valid(message) : !ended_is_valid(message))
		return -EINVAL;
	packet.bytes[0] = HELPER_VERSION;
	packet.bytes[1] = (uint8_t)message->kind;
	put16(packet.bytes + 2, hook ? (uint32_t)message->field_count : (uint32_t)message->outcome);
	put32(packet.bytes + 4, message->id);
	for (size_t i = 0; hook && i < message->field_count && !packet.full; i++) {
		put_string(&packet, message->fields[i].key);
		put_string(&packet, message->fields[i].value);
	}
	if (!hook) {
		put32(packet.bytes + HEADER, (uint32_t)message->code);
		put32(packet.bytes + HEADER + 4, message->milliseconds);
		packet.length = ENDED_HEADER;
		put_string(&packet, message->text);
		put_string(&packet, message->next);
	}
	if (packet.full)
		return -EMSGSIZE;
	*ret_length = packet.length;
	return 0;
}
