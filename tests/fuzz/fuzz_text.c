/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Single words: addresses, prefixes, names, durations. What parses is printed and parsed again, and
 * of addresses the C library must think the same.
 */
#include "fuzz.h"

#include "duration.h"
#include "fqdn.h"

#include <arpa/inet.h>

static void check_addr(const char *text, size_t size, const char *terminated)
{
	struct addr addr = {0}, again = {0};
	bool good = addr_parse(text, size, &addr);
	uint8_t bytes[16] = {0};
	bool four = inet_pton(AF_INET, terminated, bytes) == 1;
	bool six = !four && inet_pton(AF_INET6, terminated, bytes) == 1;
	char buffer[ADDR_TEXT_SIZE];
	size_t length;

	if (strlen(terminated) == size)
		FUZZ_CHECK(good == (four || six));
	if (!good)
		return;
	FUZZ_CHECK(addr.family == (four ? FAMILY_IPV4 : FAMILY_IPV6));
	FUZZ_CHECK(memcmp(addr.bytes, bytes, sizeof(bytes)) == 0);
	length = addr_print(&addr, buffer);
	FUZZ_CHECK(length < ADDR_TEXT_SIZE && strlen(buffer) == length);
	FUZZ_CHECK(addr_parse(buffer, length, &again) && addr_equal(&addr, &again));
	FUZZ_CHECK(addr_special_name(addr_special(&addr)));
}

static void check_prefix(const char *text, size_t size)
{
	struct prefix prefix, again;
	struct addr last, next, written = {0};
	const char *slash;
	enum prefix_error error = prefix_parse(text, size, &prefix);
	char buffer[PREFIX_TEXT_SIZE];
	size_t length;

	if (error != PREFIX_OK && error != PREFIX_HOST_BITS)
		return;
	FUZZ_CHECK(fuzz_prefix_is_good(&prefix));
	slash = memchr(text, '/', size);
	FUZZ_CHECK(addr_parse(text, slash ? (size_t)(slash - text) : size, &written));
	FUZZ_CHECK(addr_equal(&written, &prefix.addr) == (error == PREFIX_OK));
	length = prefix_print(&prefix, buffer);
	FUZZ_CHECK(length < PREFIX_TEXT_SIZE && strlen(buffer) == length);
	FUZZ_CHECK(prefix_parse(buffer, length, &again) == PREFIX_OK);
	FUZZ_CHECK(prefix_compare(&prefix, &again) == 0);
	last = prefix_last(&prefix);
	FUZZ_CHECK(prefix_contains(&prefix, &prefix.addr) && prefix_contains(&prefix, &last));
	FUZZ_CHECK(prefix_covers(&prefix, &again));
	if (addr_next(&last, &next))
		FUZZ_CHECK(addr_compare(&last, &next) < 0 && !prefix_contains(&prefix, &next));
}

static void check_name(const char *text, size_t size)
{
	char name[FQDN_SIZE], again[FQDN_SIZE];
	size_t at = 0;
	enum fqdn_error error = fqdn_parse(text, size, name, &at);

	if (error != FQDN_OK) {
		FUZZ_CHECK(fqdn_error_text(error) && at <= size);
		return;
	}
	FUZZ_CHECK(strlen(name) < FQDN_SIZE);
	for (const char *label = name; *label;
		label += strcspn(label, ".") + (strchr(label, '.') != NULL))
		FUZZ_CHECK(strcspn(label, ".") >= 1 && strcspn(label, ".") <= 63);
	FUZZ_CHECK(fqdn_parse(name, strlen(name), again, &at) == FQDN_OK);
	FUZZ_CHECK(strcmp(name, again) == 0);
	FUZZ_CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(name));
}

static void check_duration(const char *text, size_t size)
{
	int64_t milliseconds = -1;
	enum duration_error error = duration_parse(text, size, &milliseconds);

	if (error == DURATION_OK)
		FUZZ_CHECK(milliseconds >= 0 && milliseconds <= INT64_C(3653) * 86400 * 1000);
	else
		FUZZ_CHECK(duration_error_text(error) && milliseconds == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_copy(data, size), *terminated = calloc(size + 1, 1);

	FUZZ_CHECK(terminated);
	if (size)
		memcpy(terminated, data, size);
	check_addr(text, size, terminated);
	check_prefix(text, size);
	check_name(text, size);
	check_duration(text, size);
	free(text);
	free(terminated);
	return 0;
}
