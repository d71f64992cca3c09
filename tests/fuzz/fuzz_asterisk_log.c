/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lines of an Asterisk log, any bytes in them. Each line lies in memory of its own, so that reading
 * behind its end is seen.
 */
#include "fuzz.h"

#include "asterisk_log.h"

static void check_span(
	const struct asterisk_span *span, const char *line, size_t length, const char *plain)
{
	bool of_line, of_plain;

	if (span->length == 0)
		return;
	of_line = span->data >= line && span->length <= length &&
		  span->data + span->length <= line + length;
	of_plain = span->data >= plain && span->length <= ASTERISK_PLAIN_SIZE &&
		   span->data + span->length <= plain + ASTERISK_PLAIN_SIZE;
	FUZZ_CHECK(of_line || of_plain);
}

static void check_time(const struct asterisk_time *time)
{
	FUZZ_CHECK(time->kind <= ASTERISK_TIME_EXACT);
	FUZZ_CHECK(time->kind == ASTERISK_TIME_NONE || time->millisecond < 1000);
	if (time->kind != ASTERISK_TIME_NO_YEAR && time->kind != ASTERISK_TIME_LOCAL)
		return;
	FUZZ_CHECK(time->month >= 1 && time->month <= 12 && time->day >= 1 && time->day <= 31);
	FUZZ_CHECK(time->hour < 24 && time->minute < 60 && time->second <= 60);
}

static void check_addr(const struct asterisk_line *found)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	FUZZ_CHECK(found->addr.family < FAMILY_COUNT);
	/* Mapped IPv4 comes out as IPv4, with nothing behind its four bytes. */
	if (found->addr.family == FAMILY_IPV6)
		FUZZ_CHECK(memcmp(found->addr.bytes, mapped, sizeof(mapped)) != 0);
	for (size_t i = addr_size((enum family)found->addr.family); i < 16; i++)
		FUZZ_CHECK(found->addr.bytes[i] == 0);
}

static void take_line(const char *data, size_t length)
{
	static struct asterisk_line found, again;
	struct asterisk_time date = {0};
	char *line = fuzz_copy(data, length);
	enum asterisk_line_kind kind;

	memset(&found, 0, sizeof(found));
	memset(&again, 0, sizeof(again));
	kind = asterisk_log_parse(line, length, &found);
	FUZZ_CHECK(kind <= ASTERISK_SECURITY);
	if (asterisk_log_date(line, length, &date))
		check_time(&date);
	if (kind != ASTERISK_OTHER) {
		FUZZ_CHECK(found.kind == kind && found.event <= ASTERISK_FAILED_ACL);
		FUZZ_CHECK(found.failure <= ASTERISK_FAILURE_ACL);
		FUZZ_CHECK(found.service <= ASTERISK_PJSIP);
		check_time(&found.time);
		check_span(&found.account, line, length, found.plain);
		check_span(&found.session, line, length, found.plain);
		check_span(&found.transport, line, length, found.plain);
		check_span(&found.text, line, length, found.plain);
		if (found.has_addr)
			check_addr(&found);
	}
	FUZZ_CHECK(asterisk_log_parse(line, length, &again) == kind);
	FUZZ_CHECK(found.account.length == again.account.length);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data;

	while (size > 0) {
		const char *feed = memchr(at, '\n', size);
		size_t length = feed ? (size_t)(feed - at) : size;

		take_line(at, length);
		if (!feed)
			break;
		at += length + 1;
		size -= length + 1;
	}
	return 0;
}
