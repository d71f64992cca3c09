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

static void check_end(const struct helper_message *message, const char *data, size_t size)
{
	FUZZ_CHECK(message->outcome >= HELPER_EXITED && message->outcome <= HELPER_NOT_STARTED);
	FUZZ_CHECK(message->code >= 0);
	FUZZ_CHECK(is_within(message->text, data, size) && is_within(message->next, data, size));
	FUZZ_CHECK(strlen(message->text) <= HELPER_TEXT_MAX);
	FUZZ_CHECK(strlen(message->next) <= HELPER_TEXT_MAX);
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
		FUZZ_CHECK(message.kind == HELPER_HOOK || message.kind == HELPER_HOOK_ENDED);
		if (message.kind == HELPER_HOOK)
			check_fields(&message, packet, size);
		else
			check_end(&message, packet, size);
		/* There is one way to write a message. */
		FUZZ_CHECK(helper_message_print(&message, printed, &length) == 0);
		FUZZ_CHECK(length == size && memcmp(printed, packet, size) == 0);
	}
	free(printed);
	free(packet);
	return 0;
}
