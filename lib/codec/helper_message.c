/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper_message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { HEADER = 8, ENDED_HEADER = 16, DONE_HEADER = 12, HOOK_CODE_MAX = 4096, ERRNO_MAX = 4095 };

_Static_assert(HEADER + HELPER_BYTES_MAX == HELPER_MESSAGE_MAX, "a full message has so many bytes");

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

static bool texts_are_valid(const struct helper_message *message)
{
	return *message->text && strlen(message->text) <= HELPER_TEXT_MAX &&
	       strlen(message->next) <= HELPER_TEXT_MAX;
}

static bool done_is_valid(const struct helper_message *message)
{
	if (message->result < 0)
		return message->result >= -ERRNO_MAX && texts_are_valid(message);
	return message->result <= 1 && !*message->text && !*message->next;
}

static bool is_name(const char *name)
{
	return *name && is_printable(name, HELPER_NAME_MAX);
}

static bool ask_is_valid(const struct helper_message *message)
{
	switch (message->command) {
	case HELPER_BOOTED:
	case HELPER_RELOAD:
	case HELPER_CONTACTS:
	case HELPER_CHANNELS:
		return true;
	case HELPER_SHOW:
	case HELPER_HANGUP:
		return is_name(message->name);
	case HELPER_EVICT:
		return is_name(message->extension) && is_name(message->aor) &&
		       is_name(message->key);
	}
	return false;
}

static bool is_valid(const struct helper_message *message)
{
	switch (message->kind) {
	case HELPER_HOOK:
		return hook_is_valid(message);
	case HELPER_HOOK_ENDED:
		return ended_is_valid(message);
	case HELPER_ASK:
		return ask_is_valid(message);
	case HELPER_DONE:
		return done_is_valid(message);
	case HELPER_ACLS:
	case HELPER_OUTPUT:
		return message->length > 0;
	case HELPER_LOG:
		return message->id == 0 && message->length > 0;
	case HELPER_LOG_OPENED:
		return message->id == 0;
	case HELPER_LOG_MISSING:
		return message->id == 0 && texts_are_valid(message);
	}
	return false;
}

/* --- Reading --- */

/* What has not been read of it. */
struct input {
	const uint8_t *at, *end;
	bool failed; /* it ended before its time */
};

static const uint8_t *take(struct input *input, size_t size)
{
	static const uint8_t nothing[8];
	const uint8_t *at = input->at;

	if ((size_t)(input->end - at) < size) {
		input->failed = true;
		return nothing;
	}
	input->at += size;
	return at;
}

static const char *take_string(struct input *input)
{
	const uint8_t *nul = memchr(input->at, '\0', (size_t)(input->end - input->at));

	if (!nul) {
		input->failed = true;
		return "";
	}
	return (const char *)take(input, (size_t)(nul - input->at) + 1);
}

static void take_texts(struct input *input, struct helper_message *message)
{
	message->text = take_string(input);
	message->next = take_string(input);
}

static void take_hook(struct input *input, uint16_t count, struct helper_message *message)
{
	message->field_count = count;
	if (count > HELPER_FIELDS_MAX)
		input->failed = true;
	for (size_t i = 0; i < count && !input->failed; i++) {
		message->fields[i].key = take_string(input);
		message->fields[i].value = take_string(input);
	}
}

static void take_ended(struct input *input, uint16_t outcome, struct helper_message *message)
{
	uint32_t code = get32(take(input, 4));

	message->outcome = (enum helper_outcome)outcome;
	message->milliseconds = get32(take(input, 4));
	if (code > HOOK_CODE_MAX)
		input->failed = true;
	else
		message->code = (int)code;
	take_texts(input, message);
}

static void take_ask(struct input *input, uint16_t command, struct helper_message *message)
{
	const uint8_t *head;

	message->command = (enum helper_command)command;
	if (command == HELPER_SHOW || command == HELPER_HANGUP)
		message->name = take_string(input);
	if (command != HELPER_EVICT)
		return;
	head = take(input, 2);
	input->failed |= head[0] > 1;
	message->pjsip = head[0] == 1;
	message->step = head[1];
	message->extension = take_string(input);
	message->aor = take_string(input);
	message->key = take_string(input);
}

static void take_done(struct input *input, struct helper_message *message)
{
	uint32_t result = get32(take(input, 4));

	/* As far as is_valid() takes it, whatever it is. */
	if (result <= 1)
		message->result = (int)result;
	else if (-result <= ERRNO_MAX)
		message->result = -(int)-result;
	else
		input->failed = true;
	take_texts(input, message);
}

static void take_bytes(struct input *input, struct helper_message *message)
{
	message->length = (size_t)(input->end - input->at);
	message->bytes = take(input, message->length);
}

static void take_body(struct input *input, uint16_t number, struct helper_message *message)
{
	bool numbered = true;

	switch (message->kind) {
	case HELPER_HOOK:
		take_hook(input, number, message);
		break;
	case HELPER_HOOK_ENDED:
		take_ended(input, number, message);
		break;
	case HELPER_ASK:
		take_ask(input, number, message);
		break;
	case HELPER_ACLS:
		message->last = number == 1;
		input->failed |= number > 1;
		take_bytes(input, message);
		break;
	default:
		numbered = false;
	}
	if (numbered)
		return;
	input->failed |= number != 0;
	if (message->kind == HELPER_OUTPUT || message->kind == HELPER_LOG)
		take_bytes(input, message);
	else if (message->kind == HELPER_DONE)
		take_done(input, message);
	else if (message->kind == HELPER_LOG_MISSING)
		take_texts(input, message);
}

int helper_message_parse(const void *data, size_t length, struct helper_message *ret_message)
{
	const uint8_t *bytes = data;
	struct helper_message message = {0};
	struct input input;

	if (length < HEADER || length > HELPER_MESSAGE_MAX || bytes[0] != HELPER_VERSION)
		return -EBADMSG;
	message.kind = (enum helper_kind)bytes[1];
	message.id = get32(bytes + 4);
	input = (struct input){.at = bytes + HEADER, .end = bytes + length};
	take_body(&input, get16(bytes + 2), &message);
	if (input.failed || input.at != input.end || !is_valid(&message))
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

static void put(struct packet *packet, const void *data, size_t size)
{
	if (size > HELPER_MESSAGE_MAX - packet->length) {
		packet->full = true;
		return;
	}
	memcpy(packet->bytes + packet->length, data, size);
	packet->length += size;
}

static void put_string(struct packet *packet, const char *string)
{
	put(packet, string, strlen(string) + 1);
}

static void put_number(struct packet *packet, uint32_t number)
{
	uint8_t bytes[4];

	put32(bytes, number);
	put(packet, bytes, sizeof(bytes));
}

static void put_ask(struct packet *packet, const struct helper_message *message)
{
	uint8_t head[2] = {message->pjsip, message->step};

	if (message->command == HELPER_SHOW || message->command == HELPER_HANGUP)
		put_string(packet, message->name);
	if (message->command != HELPER_EVICT)
		return;
	put(packet, head, sizeof(head));
	put_string(packet, message->extension);
	put_string(packet, message->aor);
	put_string(packet, message->key);
}

/* Returns what stands at 2. */
static size_t put_body(struct packet *packet, const struct helper_message *message)
{
	switch (message->kind) {
	case HELPER_HOOK:
		for (size_t i = 0; i < message->field_count && !packet->full; i++) {
			put_string(packet, message->fields[i].key);
			put_string(packet, message->fields[i].value);
		}
		return message->field_count;
	case HELPER_HOOK_ENDED:
		put_number(packet, (uint32_t)message->code);
		put_number(packet, message->milliseconds);
		break;
	case HELPER_ASK:
		put_ask(packet, message);
		return message->command;
	case HELPER_ACLS:
	case HELPER_OUTPUT:
	case HELPER_LOG:
		put(packet, message->bytes, message->length);
		return message->kind == HELPER_ACLS && message->last;
	case HELPER_DONE:
		put_number(packet, (uint32_t)message->result);
		break;
	case HELPER_LOG_OPENED:
		return 0;
	case HELPER_LOG_MISSING:
		break;
	}
	put_string(packet, message->text);
	put_string(packet, message->next);
	return message->kind == HELPER_HOOK_ENDED ? message->outcome : 0;
}

int helper_message_print(const struct helper_message *message, void *buffer, size_t *ret_length)
{
	struct packet packet = {.bytes = buffer, .length = HEADER};

	if (!is_valid(message))
		return -EINVAL;
	packet.bytes[0] = HELPER_VERSION;
	packet.bytes[1] = (uint8_t)message->kind;
	put32(packet.bytes + 4, message->id);
	put16(packet.bytes + 2, (uint32_t)put_body(&packet, message));
	if (packet.full)
		return -EMSGSIZE;
	*ret_length = packet.length;
	return 0;
}
