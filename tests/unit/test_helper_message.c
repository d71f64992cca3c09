/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What daemon and helper say to each other, and what neither takes from the other. */
#include "check.h"

#include "helper_message.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { ROUNDS = 50000 };

static struct helper_message hook(void)
{
	return (struct helper_message){.kind = HELPER_HOOK,
		.id = 0x12345678,
		.fields = {{"event", "change"}, {"host", "home21.example"}, {"new", ""}},
		.field_count = 3};
}

static struct helper_message ended(void)
{
	return (struct helper_message){.kind = HELPER_HOOK_ENDED,
		.id = UINT32_MAX,
		.outcome = HELPER_EXITED,
		.code = 3,
		.milliseconds = 70000,
		.text = "no \xc3\xbc\x1b[2J",
		.next = ""};
}

/* One of each kind, and of each command. */
static const struct helper_message others[] = {
	{.kind = HELPER_ACLS, .id = 7, .bytes = "\0[x]\n", .length = 5},
	{.kind = HELPER_ACLS, .id = 7, .bytes = "y", .length = 1, .last = true},
	{.kind = HELPER_ASK, .id = 8, .command = HELPER_BOOTED},
	{.kind = HELPER_ASK, .id = 8, .command = HELPER_RELOAD},
	{.kind = HELPER_ASK, .id = 8, .command = HELPER_SHOW, .name = "sipfence-21"},
	{.kind = HELPER_ASK, .id = 8, .command = HELPER_CONTACTS},
	{.kind = HELPER_ASK,
		.id = 8,
		.command = HELPER_EVICT,
		.pjsip = true,
		.step = 1,
		.extension = "22",
		.aor = "22a",
		.key = "/registrar/contact/22a;@0"},
	{.kind = HELPER_ASK, .id = 8, .command = HELPER_CHANNELS},
	{.kind = HELPER_ASK, .id = 8, .command = HELPER_HANGUP, .name = "SIP/21-0"},
	{.kind = HELPER_OUTPUT, .id = 9, .bytes = "out\n", .length = 4},
	{.kind = HELPER_DONE, .id = 9, .result = 1, .text = "", .next = ""},
	{.kind = HELPER_DONE, .id = 9, .result = -ECONNREFUSED, .text = "down", .next = "start it"},
	{.kind = HELPER_LOG, .bytes = "\xff", .length = 1},
	{.kind = HELPER_LOG_OPENED},
	{.kind = HELPER_LOG_MISSING, .text = "gone", .next = ""},
};
enum { OTHERS = sizeof(others) / sizeof(others[0]) };

#define BYTES(text)                                                                                \
	{                                                                                          \
		text, sizeof(text) - 1                                                             \
	}
static const struct {
	const char *bytes;
	size_t length;
} others_bytes[OTHERS] = {
	BYTES("\1\3\0\0\7\0\0\0\0[x]\n"),
	BYTES("\1\3\1\0\7\0\0\0y"),
	BYTES("\1\4\1\0\10\0\0\0"),
	BYTES("\1\4\2\0\10\0\0\0"),
	BYTES("\1\4\3\0\10\0\0\0sipfence-21\0"),
	BYTES("\1\4\4\0\10\0\0\0"),
	BYTES("\1\4\5\0\10\0\0\0\1\00122\00022a\0/registrar/contact/22a;@0\0"),
	BYTES("\1\4\6\0\10\0\0\0"),
	BYTES("\1\4\7\0\10\0\0\0SIP/21-0\0"),
	BYTES("\1\5\0\0\11\0\0\0out\n"),
	BYTES("\1\6\0\0\11\0\0\0\1\0\0\0\0\0"),
	BYTES("\1\6\0\0\11\0\0\0\x91\xff\xff\xff"
	      "down\0start it\0"),
	BYTES("\1\7\0\0\0\0\0\0\xff"),
	BYTES("\1\10\0\0\0\0\0\0"),
	BYTES("\1\11\0\0\0\0\0\0gone\0\0"),
};

static void test_bytes_are_fixed(void **state)
{
	static const char wanted[] = "\1\1\3\0\x78\x56\x34\x12"
				     "event\0change\0host\0home21.example\0new\0";
	static const char wanted_ended[] = "\1\2\1\0\xff\xff\xff\xff\3\0\0\0\x70\x11\1\0"
					   "no \xc3\xbc\x1b[2J\0";
	struct helper_message message = hook();
	char buffer[HELPER_MESSAGE_MAX];
	size_t length = 0;

	(void)state;
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(length, sizeof(wanted));
	assert_memory_equal(buffer, wanted, length);
	message = ended();
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(length, sizeof(wanted_ended));
	assert_memory_equal(buffer, wanted_ended, length);
	for (size_t i = 0; i < OTHERS; i++) {
		assert_int_equal(helper_message_print(&others[i], buffer, &length), 0);
		assert_int_equal(length, others_bytes[i].length);
		assert_memory_equal(buffer, others_bytes[i].bytes, length);
	}
}

/* From memory of exactly that size, so that a sanitizer sees a read behind its end. */
static int parse(const void *data, size_t length, struct helper_message *ret_message)
{
	char *copy = malloc(length ? length : 1);
	int result;

	assert_non_null(copy);
	memcpy(copy, data, length);
	result = helper_message_parse(copy, length, ret_message);
	free(copy);
	return result;
}

static void test_what_was_printed_is_read(void **state)
{
	struct helper_message message = hook(), read;
	char buffer[HELPER_MESSAGE_MAX];
	size_t length = 0;

	(void)state;
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(helper_message_parse(buffer, length, &read), 0);
	assert_int_equal(read.kind, HELPER_HOOK);
	assert_int_equal(read.id, message.id);
	assert_int_equal(read.field_count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(read.fields[i].key, message.fields[i].key);
		assert_string_equal(read.fields[i].value, message.fields[i].value);
	}
	message = ended();
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(helper_message_parse(buffer, length, &read), 0);
	assert_int_equal(read.outcome, HELPER_EXITED);
	assert_int_equal(read.code, 3);
	assert_int_equal(read.milliseconds, 70000);
	assert_string_equal(read.text, message.text);
	assert_string_equal(read.next, "");
}

static void assert_same_string(const char *a, const char *b)
{
	assert_string_equal(a ? a : "", b ? b : "");
}

static void test_all_kinds_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < OTHERS; i++) {
		const struct helper_message *wanted = &others[i];
		struct helper_message read;

		assert_int_equal(
			helper_message_parse(others_bytes[i].bytes, others_bytes[i].length, &read),
			0);
		assert_int_equal(read.kind, wanted->kind);
		assert_int_equal(read.id, wanted->id);
		assert_int_equal(read.length, wanted->length);
		if (read.length > 0)
			assert_memory_equal(read.bytes, wanted->bytes, read.length);
		assert_int_equal(read.last, wanted->last);
		assert_int_equal(read.command, wanted->command);
		assert_int_equal(read.pjsip, wanted->pjsip);
		assert_int_equal(read.step, wanted->step);
		assert_int_equal(read.result, wanted->result);
		assert_same_string(read.name, wanted->name);
		assert_same_string(read.extension, wanted->extension);
		assert_same_string(read.aor, wanted->aor);
		assert_same_string(read.key, wanted->key);
		assert_same_string(read.text, wanted->text);
		assert_same_string(read.next, wanted->next);
	}
}

static void test_limits_of_the_others(void **state)
{
	static char bytes[HELPER_BYTES_MAX + 1], name[HELPER_NAME_MAX + 2];
	static char text[HELPER_TEXT_MAX + 2];
	struct helper_message message = others[0], read;
	char buffer[HELPER_MESSAGE_MAX];
	size_t length = 0;

	(void)state;
	message.bytes = bytes;
	message.length = HELPER_BYTES_MAX;
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(length, HELPER_MESSAGE_MAX);
	assert_int_equal(parse(buffer, length, &read), 0);
	message.length++;
	assert_int_equal(helper_message_print(&message, buffer, &length), -EMSGSIZE);
	message.length = 0;
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
	message = (struct helper_message){.kind = HELPER_ASK, .command = HELPER_SHOW, .name = name};
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
	memset(name, 'n', HELPER_NAME_MAX);
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(parse(buffer, length, &read), 0);
	name[HELPER_NAME_MAX] = 'n';
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
	message = (struct helper_message){
		.kind = HELPER_DONE, .result = -4095, .text = text, .next = ""};
	memset(text, 't', HELPER_TEXT_MAX);
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(parse(buffer, length, &read), 0);
	message.result = -4096;
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
	message.result = -1;
	text[HELPER_TEXT_MAX] = 't';
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
	message.kind = (enum helper_kind)10;
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
}

static void test_limits_are_reached_and_not_passed(void **state)
{
	static char value[HELPER_VALUE_MAX + 2];
	static char keys[HELPER_FIELDS_MAX + 1][8];
	struct helper_message message = hook(), read;
	char buffer[HELPER_MESSAGE_MAX], key[HELPER_KEY_MAX + 2];
	size_t length = 0;

	(void)state;
	memset(value, 'v', HELPER_VALUE_MAX);
	message.fields[1].value = value;
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(parse(buffer, length, &read), 0);
	value[HELPER_VALUE_MAX] = 'v';
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
	value[HELPER_VALUE_MAX] = '\0';
	message = hook();
	for (size_t i = 1; i < 5; i++)
		message.fields[i] = (struct helper_field){keys[i], value};
	for (size_t i = 0; i <= HELPER_FIELDS_MAX; i++)
		snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
	message.field_count = 5;
	assert_int_equal(helper_message_print(&message, buffer, &length), -EMSGSIZE);
	for (size_t i = 1; i < HELPER_FIELDS_MAX; i++)
		message.fields[i] = (struct helper_field){keys[i], "v"};
	message.field_count = HELPER_FIELDS_MAX;
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	assert_int_equal(parse(buffer, length, &read), 0);
	message.field_count = 0;
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
	message = hook();
	memset(key, 'k', sizeof(key));
	key[HELPER_KEY_MAX] = '\0';
	message.fields[1].key = key;
	assert_int_equal(helper_message_print(&message, buffer, &length), 0);
	key[HELPER_KEY_MAX] = 'k';
	key[HELPER_KEY_MAX + 1] = '\0';
	assert_int_equal(helper_message_print(&message, buffer, &length), -EINVAL);
}

/* A packet as a broken or hostile other side might send it. */
static void assert_refused(const char *bytes, size_t length)
{
	struct helper_message read, untouched;

	memset(&read, 0x5a, sizeof(read));
	memset(&untouched, 0x5a, sizeof(untouched));
	assert_int_equal(parse(bytes, length, &read), -EBADMSG);
	assert_memory_equal(&read, &untouched, sizeof(read));
}

#define REFUSED(bytes) assert_refused(bytes, sizeof(bytes) - 1)
#define ID	       "\0\0\0\0"

static void test_refused(void **state)
{
	static char long_one[HELPER_MESSAGE_MAX + 1] = "\1\1\1\0" ID "event";
	struct helper_message read;

	(void)state;
	assert_int_equal(parse("\1\1\1\0" ID "event\0x\0", 16, &read), 0);
	REFUSED("");
	REFUSED("\1\1\1\0" ID);		     /* nothing behind the head */
	REFUSED("\2\1\1\0" ID "event\0x\0"); /* another version */
	REFUSED("\1\0\1\0" ID "event\0x\0"); /* other kinds */
	REFUSED("\1\12\1\0" ID "event\0x\0");
	REFUSED("\1\1\0\0" ID);			 /* no field */
	REFUSED("\1\1\1\0" ID "event\0x");	 /* no end */
	REFUSED("\1\1\1\0" ID "event\0x\0y");	 /* something behind it */
	REFUSED("\1\1\2\0" ID "event\0x\0");	 /* one field is missing */
	REFUSED("\1\1\xff\xff" ID "event\0x\0"); /* very many */
	REFUSED("\1\1\1\0" ID "host\0x\0");	 /* an event comes first */
	REFUSED("\1\1\2\0" ID "event\0x\0event\0y\0");
	/* What a shell, the loader or a terminal would take for something else. */
	REFUSED("\1\1\2\0" ID "event\0x\0LD_PRELOAD\0y\0");
	REFUSED("\1\1\2\0" ID "event\0x\0a=b\0y\0");
	REFUSED("\1\1\2\0" ID "event\0x\0a_b\0y\0");
	REFUSED("\1\1\2\0" ID "event\0x\0\0y\0");
	REFUSED("\1\1\2\0" ID "event\0x\0-a\0y\0");
	REFUSED("\1\1\2\0" ID "event\0x\0host\0a\nb\0");
	REFUSED("\1\1\2\0" ID "event\0x\0host\0\x1b[2J\0");
	REFUSED("\1\1\2\0" ID "event\0x\0host\0\xc3\xbc\0");
	REFUSED("\1\1\2\0" ID "event\0x\0host\0\x7f\0");
	memset(long_one + 13, 'x', sizeof(long_one) - 14);
	assert_refused(long_one, sizeof(long_one));

	assert_int_equal(parse("\1\2\1\0" ID "\0\0\0\0\0\0\0\0\0\0", 18, &read), 0);
	REFUSED("\1\2\0\0" ID "\0\0\0\0\0\0\0\0\0\0"); /* no outcome */
	REFUSED("\1\2\5\0" ID "\0\0\0\0\0\0\0\0\0\0");
	REFUSED("\1\2\1\0" ID "\xff\xff\xff\xff\0\0\0\0\0\0"); /* no code */
	REFUSED("\1\2\1\0" ID "\0\0\0\0\0\0\0\0\0");	       /* one string */
	REFUSED("\1\2\1\0" ID "\0\0\0\0\0\0\0\0\0\0\0");       /* three */
	REFUSED("\1\2\1\0" ID "\0\0\0\0\0\0\0");
	/* Only what could not be started has a next step. */
	REFUSED("\1\2\1\0" ID "\0\0\0\0\0\0\0\0a\0b\0");
	assert_int_equal(parse("\1\2\4\0" ID "\2\0\0\0\0\0\0\0a\0b\0", 20, &read), 0);
}

static void test_others_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < OTHERS; i++) {
		char longer[64];

		/* Whole or not at all; bytes alone may be fewer. */
		memcpy(longer, others_bytes[i].bytes, others_bytes[i].length);
		longer[others_bytes[i].length] = '\0';
		if (others[i].length == 0) {
			assert_refused(others_bytes[i].bytes, others_bytes[i].length - 1);
			assert_refused(longer, others_bytes[i].length + 1);
		}
		longer[3] = 1;
		assert_refused(longer, others_bytes[i].length);
	}
	REFUSED("\1\3\2\0" ID "x"); /* neither the last nor another one */
	REFUSED("\1\3\1\0" ID);	    /* without bytes */
	REFUSED("\1\5\0\0" ID);
	REFUSED("\1\7\0\0" ID);
	REFUSED("\1\5\1\0" ID "x"); /* a number where none stands */
	REFUSED("\1\7\1\0" ID "x");
	REFUSED("\1\4\0\0" ID); /* no command */
	REFUSED("\1\4\10\0" ID);
	REFUSED("\1\4\3\0" ID "\0"); /* no name */
	REFUSED("\1\4\3\0" ID "a\nb\0");
	REFUSED("\1\4\7\0" ID "\xc3\xbc\0");
	REFUSED("\1\4\5\0" ID "\2\0a\0b\0c\0"); /* neither pjsip nor chan_sip */
	REFUSED("\1\4\5\0" ID "\0\0a\0\0c\0");
	REFUSED("\1\4\5\0" ID "\0");
	REFUSED("\1\6\0\0" ID "\2\0\0\0\0\0"); /* no result */
	REFUSED("\1\6\0\0" ID "\0\0\0\x80x\0\0");
	REFUSED("\1\6\0\0" ID "\0\xf0\xff\xffx\0\0");
	REFUSED("\1\6\0\0" ID "\0\0\0\0x\0\0"); /* only what failed has a text */
	REFUSED("\1\6\0\0" ID "\1\0\0\0\0y\0");
	REFUSED("\1\6\0\0" ID "\xff\xff\xff\xff\0\0");
	REFUSED("\1\7\0\0\1\0\0\0x"); /* that is no answer */
	REFUSED("\1\10\0\0\1\0\0\0");
	REFUSED("\1\11\0\0\1\0\0\0x\0\0");
	REFUSED("\1\11\0\0" ID "\0x\0");
}

/* Whatever is accepted is within the limits, and printed again it is the same bytes. */
static void test_damaged_ones_are_refused_or_whole(void **state)
{
	struct dice dice = dice_new(__func__);
	size_t accepted = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned which = dice_roll(&dice, OTHERS + 10);
		struct helper_message message = which < OTHERS ? others[which]
						: which % 2    ? hook()
							       : ended(),
				      read;
		char buffer[HELPER_MESSAGE_MAX], again[HELPER_MESSAGE_MAX], *copy;
		size_t length = 0, length_again = 0;

		assert_int_equal(helper_message_print(&message, buffer, &length), 0);
		for (unsigned n = dice_roll(&dice, 4); n > 0; n--)
			buffer[dice_roll(&dice, (unsigned)length)] = (char)dice_roll(&dice, 256);
		length -= dice_roll(&dice, 3);
		copy = malloc(length);
		assert_non_null(copy);
		memcpy(copy, buffer, length);
		if (helper_message_parse(copy, length, &read) == 0) {
			accepted++;
			assert_int_equal(helper_message_print(&read, again, &length_again), 0);
			assert_int_equal(length_again, length);
			assert_memory_equal(again, copy, length);
		}
		free(copy);
	}
	assert_in_range(accepted, ROUNDS / 100, ROUNDS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_are_fixed),
		cmocka_unit_test(test_what_was_printed_is_read),
		cmocka_unit_test(test_all_kinds_are_read),
		cmocka_unit_test(test_limits_of_the_others),
		cmocka_unit_test(test_limits_are_reached_and_not_passed),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_others_refused),
		cmocka_unit_test(test_damaged_ones_are_refused_or_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
