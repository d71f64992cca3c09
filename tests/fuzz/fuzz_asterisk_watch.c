/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A security log that a daemon follows: any bytes, in pieces of any size. What is found does not
 * depend on the pieces, and what is said is what events and hooks may hold. The last byte is the
 * pieces' size.
 */
#include "fuzz.h"

#include "asterisk_watch.h"
#include "event.h"

enum { BOOT_MS = 1000000, WALL = 1795344582 };

static struct owner owners[] = {
	{.id = "20", .local = true},
	{.id = "21", .fixed_count = 1},
	{.id = "22", .fixed_count = 1},
	{.id = "voipco", .kind = OWNER_PEER, .fixed_count = 1},
};
static struct prefix home, other, trunk, desk;
static struct config config = {.owners = owners, .owner_count = 4, .local_subnet_count = 1};
static struct roster roster;

static struct asterisk_watch_basis basis(void *context)
{
	(void)context;
	return (struct asterisk_watch_basis){&config, &roster, WALL};
}

static bool is_key(const char *key)
{
	size_t length = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return length > 0 && key[length] == '\0' && key[0] >= 'a' && key[0] <= 'z';
}

static void take_event(void *context, const struct event *event)
{
	struct text value = {0};
	const char *at = text_string(&event->line);
	char key[EVENT_KEY_SIZE];
	bool any = false;

	(void)context;
	FUZZ_CHECK(!event->line.failed && event->line.length < 2048);
	for (size_t i = 0; i < event->line.length; i++)
		FUZZ_CHECK(event->line.data[i] >= ' ' && event->line.data[i] <= '~');
	for (; event_next(&at, key, &value); any = true)
		FUZZ_CHECK(is_key(key));
	FUZZ_CHECK(any && *at == '\0');
	text_free(&value);
}

static void follow(const uint8_t *data, size_t size, size_t piece, struct text *ret_found)
{
	const struct asterisk_watch_options options = {
		.basis = basis, .log = take_event, .seed = 5};
	struct moment now = {.boot_ms = BOOT_MS, .wall = WALL};
	struct asterisk_watch *watch;
	struct error error = {0};

	FUZZ_CHECK(asterisk_watch_open(&watch, &options, &now, &error) == 0);
	asterisk_watch_log(watch, ASTERISK_LOG_OPENED, NULL, 0, NULL, &now);
	while (size > 0) {
		size_t length = piece < size ? piece : size;
		char *bytes = fuzz_copy(data, length);

		asterisk_watch_log(watch, ASTERISK_LOG_BYTES, bytes, length, NULL, &now);
		free(bytes);
		data += length;
		size -= length;
	}
	asterisk_watch_log(watch, ASTERISK_LOG_OPENED, NULL, 0, NULL, &now);
	for (int i = 0; i < 200 && asterisk_watch_due(watch) < BOOT_MS + 60000; i++) {
		if (asterisk_watch_due(watch) > now.boot_ms)
			now.boot_ms = asterisk_watch_due(watch);
		asterisk_watch_tick(watch, &now);
	}
	FUZZ_CHECK(asterisk_watch_due(watch) >= BOOT_MS + 60000);
	asterisk_watch_configure(watch, &now);
	asterisk_watch_put(watch, ret_found);
	asterisk_watch_close(watch);
}

static struct prefix prefix_from(const char *text)
{
	struct prefix prefix;

	FUZZ_CHECK(prefix_parse(text, strlen(text), &prefix) == PREFIX_OK);
	return prefix;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text whole = {0}, pieces = {0};

	home = prefix_from("203.0.113.10");
	other = prefix_from("203.0.113.77");
	trunk = prefix_from("2001:db8::/32");
	desk = prefix_from("192.168.1.0/24");
	config.local_subnets = &desk;
	owners[1].fixed = &home;
	owners[2].fixed = &other;
	owners[3].fixed = &trunk;
	if (size == 0)
		return 0;
	follow(data, size - 1, size, &whole);
	follow(data, size - 1, data[size - 1] + 1u, &pieces);
	FUZZ_CHECK(whole.length == pieces.length);
	FUZZ_CHECK(strcmp(text_string(&whole), text_string(&pieces)) == 0);
	text_free(&whole);
	text_free(&pieces);
	return 0;
}
