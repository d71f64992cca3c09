/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The packets between the daemon and its helper: either side may be the attacker's. */
#include "fuzz.h"

#include "helper_message.h"

#include <errno.h>

static bool is_key(const char *key)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

	return key[0] >= 'a' && key[0] <= 'z' && strlen(key) <= HELPER_KEY_MAX &&
	       strspn(key, plain) == strlen(key);
}

static bool is_within(const char *string, const char *data, size_t size)
{
	return string >= data && string < data + size &&
	       memchr(string, 0, (size_t)(data + size - string));
}

static void check_fields(const struct helper_message *message, const char *data, size_t size)
{
	FUZZ_CHECK(message->field_count >= 1 && message->field_count <= HELPER_FIELDS_MAX);
	FUZZ_CHECK(strcmp(message->fields[0].key, "event") == 0);
	for (size_t i = 0; i < message->field_count; i++) {
		const struct helper_field *field = &message->fields[i];

		FUZZ_CHECK(
			is_within(field->key, data, size) && is_within(field->value, data, size));
		FUZZ_CHECK(is_key(field->key));
		FUZZ_CHECK(strlen(field->value) <= HELPER_VALUE_MAX);
		FUZZ_CHECK(fuzz_is_printable(field->value, strlen(field->value), ""));
		for (size_t j = 0; j < i; j++)
			FUZZ_CHECK(strcmp(message->fields[j].key, field->key) != 0);
	}
}

static void check_texts(const struct helper_message *message, const char *data, size_t size)
{
	FUZZ_CHECK(is_within(message->text, data, size) && is_within(message->next, data, size));
	FUZZ_CHECK(strlen(message->text) <= HELPER_TEXT_MAX);
	FUZZ_CHECK(strlen(message->next) <= HELPER_TEXT_MAX);
}

static void check_end(const struct helper_message *message, const char *data, size_t size)
{
	FUZZ_CHECK(message->outcome >= HELPER_EXITED && message->outcome <= HELPER_NOT_STARTED);
	FUZZ_CHECK(message->code >= 0);
	check_texts(message, data, size);
}

static void check_bytes(const struct helper_message *message, const char *data, size_t size)
{
	const char *bytes = message->bytes;

	FUZZ_CHECK(message->length >= 1 && message->length <= HELPER_BYTES_MAX);
	FUZZ_CHECK(bytes >= data && bytes + message->length == data + size);
}

static void check_name(const char *name, const char *data, size_t size)
{
	FUZZ_CHECK(is_within(name, data, size));
	FUZZ_CHECK(*name && strlen(name) <= HELPER_NAME_MAX);
	FUZZ_CHECK(fuzz_is_printable(name, strlen(name), ""));
}

static void check_ask(const struct helper_message *message, const char *data, size_t size)
{
	FUZZ_CHECK(message->command >= HELPER_BOOTED && message->command <= HELPER_HANGUP);
	if (message->command == HELPER_SHOW || message->command == HELPER_HANGUP)
		check_name(message->name, data, size);
	if (message->command != HELPER_EVICT)
		return;
	check_name(message->extension, data, size);
	check_name(message->aor, data, size);
	check_name(message->key, data, size);
}

static void check_message(const struct helper_message *message, const char *data, size_t size)
{
	switch (message->kind) {
	case HELPER_HOOK:
		check_fields(message, data, size);
		return;
	case HELPER_HOOK_ENDED:
		check_end(message, data, size);
		return;
	case HELPER_ASK:
		check_ask(message, data, size);
		return;
	case HELPER_DONE:
		FUZZ_CHECK(message->result >= -4095 && message->result <= 1);
		FUZZ_CHECK((message->result < 0) == (*message->text != '\0'));
		check_texts(message, data, size);
		return;
	case HELPER_ACLS:
	case HELPER_OUTPUT:
	case HELPER_LOG:
		check_bytes(message, data, size);
		break;
	case HELPER_LOG_OPENED:
		break;
	case HELPER_LOG_MISSING:
		check_texts(message, data, size);
		break;
	default:
		FUZZ_CHECK(message->kind == HELPER_HOOK); /* there are no other kinds */
	}
	FUZZ_CHECK(message->kind < HELPER_LOG || message->id == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *packet = fuzz_copy(data, size);
	uint8_t *printed = malloc(HELPER_MESSAGE_MAX);
	struct helper_message message = {0};
	size_t length = 0;
	int result = helper_message_parse(packet, size, &message);

	FUZZ_CHECK(printed && (result == 0 || result == -EBADMSG));
	if (result == 0) {
		FUZZ_CHECK(size <= HELPER_MESSAGE_MAX);
		check_message(&message, packet, size);
		/* There is one way to write a message. */
		FUZZ_CHECK(helper_message_print(&message, printed, &length) == 0);
		FUZZ_CHECK(length == size && memcmp(printed, packet, size) == 0);
	}
	free(printed);
	free(packet);
	return 0;
}
