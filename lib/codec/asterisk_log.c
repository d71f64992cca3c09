/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_log.h"

#include <string.h>

/* What is left of a line. */
struct cursor {
	const char *at, *end;
};

static size_t left(const struct cursor *cursor)
{
	return (size_t)(cursor->end - cursor->at);
}

static bool skip(struct cursor *cursor, const char *word, size_t length)
{
	if (left(cursor) < length || memcmp(cursor->at, word, length) != 0)
		return false;
	cursor->at += length;
	return true;
}

#define SKIP(cursor, literal) skip(cursor, literal, sizeof(literal) - 1)

static void skip_blanks(struct cursor *cursor)
{
	while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t'))
		cursor->at++;
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

/* Exactly `digits` digits. */
static bool take_number(struct cursor *cursor, size_t digits, unsigned *ret_number)
{
	unsigned number = 0;

	if (left(cursor) < digits)
		return false;
	for (size_t i = 0; i < digits; i++) {
		if (!is_digit(cursor->at[i]))
			return false;
		number = number * 10 + (unsigned)(cursor->at[i] - '0');
	}
	cursor->at += digits;
	*ret_number = number;
	return true;
}

/* The last `word` in what is left, and how often it is there. */
static const char *find_last(
	const struct cursor *cursor, const char *word, size_t length, unsigned *ret_count)
{
	const char *last = NULL, *at = cursor->at;

	*ret_count = 0;
	while ((at = memmem(at, (size_t)(cursor->end - at), word, length))) {
		last = at;
		at += length;
		++*ret_count;
	}
	return last;
}

static struct asterisk_span span(const char *from, const char *to)
{
	return (struct asterisk_span){from, (size_t)(to - from)};
}

/* Up to `stop`, which is passed over. */
static bool take_until(struct cursor *cursor, char stop, struct asterisk_span *ret_span)
{
	const char *at = memchr(cursor->at, stop, left(cursor));

	if (!at)
		return false;
	*ret_span = span(cursor->at, at);
	cursor->at = at + 1;
	return true;
}

/* --- dates --- */

/* Days from 1970-01-01 in the Gregorian calendar; a year that begins in March ends with the day
 * that comes and goes. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t era_year, of_year;

	year -= month <= 2;
	era_year = year % 400;
	of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	return year / 400 * 146097 + era_year * 365 + era_year / 4 - era_year / 100 + of_year -
	       719468;
}

static bool take_clock(struct cursor *cursor, struct asterisk_time *time)
{
	unsigned hour, minute, second;

	if (!take_number(cursor, 2, &hour) || !SKIP(cursor, ":") ||
		!take_number(cursor, 2, &minute) || !SKIP(cursor, ":") ||
		!take_number(cursor, 2, &second) || hour > 23 || minute > 59 || second > 60)
		return false;
	time->hour = (uint8_t)hour;
	time->minute = (uint8_t)minute;
	time->second = (uint8_t)second;
	time->millisecond = 0;
	if (left(cursor) >= 2 && (*cursor->at == '.' || *cursor->at == ',') &&
		is_digit(cursor->at[1])) {
		unsigned scale = 100;

		for (cursor->at++; cursor->at < cursor->end && is_digit(*cursor->at);
			cursor->at++, scale /= 10)
			time->millisecond = (uint16_t)(time->millisecond +
						       scale * (unsigned)(*cursor->at - '0'));
	}
	return true;
}

/* "Z", "+0100", "+01:00", also behind a blank; there need not be one. */
static void take_zone(struct cursor *cursor, struct asterisk_time *time)
{
	struct cursor zone = *cursor;
	unsigned hours = 0, minutes = 0;
	int64_t offset;
	bool west = false;

	SKIP(&zone, " ");
	if (!SKIP(&zone, "Z")) {
		west = left(&zone) > 0 && *zone.at == '-';
		if ((!west && !(left(&zone) > 0 && *zone.at == '+')))
			return;
		zone.at++;
		if (!take_number(&zone, 2, &hours))
			return;
		SKIP(&zone, ":");
		if (!take_number(&zone, 2, &minutes) || hours > 26 || minutes > 59)
			return;
	}
	offset = (int64_t)hours * 3600 + (int64_t)minutes * 60;
	time->kind = ASTERISK_TIME_EXACT;
	time->wall = days_of(time->year, time->month, time->day) * 86400 +
		     (int64_t)time->hour * 3600 + (int64_t)time->minute * 60 + time->second -
		     (west ? -offset : offset);
	*cursor = zone;
}

/* "2026-11-22 10:49:42", with a T for the blank, a fraction and a zone as may be. */
static bool take_iso_date(struct cursor *cursor, struct asterisk_time *time)
{
	unsigned year, month, day;

	if (!take_number(cursor, 4, &year) || !SKIP(cursor, "-") ||
		!take_number(cursor, 2, &month) || !SKIP(cursor, "-") ||
		!take_number(cursor, 2, &day) || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	if (!SKIP(cursor, " ") && !SKIP(cursor, "T"))
		return false;
	time->kind = ASTERISK_TIME_LOCAL;
	time->year = (uint16_t)year;
	time->month = (uint8_t)month;
	time->day = (uint8_t)day;
	if (!take_clock(cursor, time))
		return false;
	take_zone(cursor, time);
	return true;
}

/* "Nov 22 10:55:37", "Nov  2 10:55:37", "Nov 22 2026 10:55:37" */
static bool take_month_date(struct cursor *cursor, struct asterisk_time *time)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	unsigned day, year;
	size_t month = 0;

	if (left(cursor) < 15)
		return false;
	while (month < 12 && memcmp(months + 3 * month, cursor->at, 3) != 0)
		month++;
	cursor->at += 3;
	if (month == 12 || !SKIP(cursor, " "))
		return false;
	if (!take_number(cursor, SKIP(cursor, " ") ? 1 : 2, &day) || day < 1 || day > 31 ||
		!SKIP(cursor, " "))
		return false;
	time->kind = ASTERISK_TIME_NO_YEAR;
	time->year = 0;
	time->month = (uint8_t)(month + 1);
	time->day = (uint8_t)day;
	if (left(cursor) > 4 && cursor->at[4] == ' ' && take_number(cursor, 4, &year)) {
		time->kind = ASTERISK_TIME_LOCAL;
		time->year = (uint16_t)year;
		cursor->at++;
	}
	return take_clock(cursor, time);
}

static bool take_date(struct cursor *cursor, struct asterisk_time *time)
{
	if (left(cursor) == 0)
		return false;
	return is_digit(*cursor->at) ? take_iso_date(cursor, time) : take_month_date(cursor, time);
}

bool asterisk_log_date(const char *line, size_t length, struct asterisk_time *ret_time)
{
	struct cursor cursor = {line, line + length};
	struct asterisk_time time = {0};

	while (SKIP(&cursor, "\033[")) {
		struct asterisk_span code;

		if (!take_until(&cursor, 'm', &code))
			return false;
	}
	SKIP(&cursor, "[");
	if (!take_date(&cursor, &time))
		return false;
	*ret_time = time;
	return true;
}

/* --- the beginning of a line --- */

enum source {
	SOURCE_NONE = 0, /* none given: the console; or the file that once logged for all */
	SOURCE_OTHER,
	SOURCE_CHAN_SIP,
	SOURCE_REGISTRAR,
	SOURCE_DISTRIBUTOR,
	SOURCE_SECURITY,
	SOURCE_PBX,
};

static enum source source_of(const char *name, size_t length)
{
	static const struct {
		const char *name;
		size_t length;
		enum source source;
	} sources[] = {
#define SOURCE(name, source) {name, sizeof(name) - 1, source}
		SOURCE("chan_sip.c", SOURCE_CHAN_SIP),
		SOURCE("pbx.c", SOURCE_PBX),
		SOURCE("res_pjsip_registrar.c", SOURCE_REGISTRAR),
		SOURCE("res_security_log.c", SOURCE_SECURITY),
		SOURCE("res_pjsip/pjsip_distributor.c", SOURCE_DISTRIBUTOR),
		SOURCE("pjsip_distributor.c", SOURCE_DISTRIBUTOR),
		SOURCE("logger.c", SOURCE_NONE),
#undef SOURCE
	};

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (sources[i].length == length && memcmp(sources[i].name, name, length) == 0)
			return sources[i].source;
	}
	return SOURCE_OTHER;
}

/* "NOTICE[1234][C-00000001] " or "NOTICE[1234]: "; false: nothing of the kind. */
static bool skip_level(struct cursor *cursor)
{
	const char *at = cursor->at;

	while (at < cursor->end && *at >= 'A' && *at <= 'Z')
		at++;
	if (at == cursor->at || at == cursor->end || *at != '[')
		return false;
	while (at < cursor->end && *at == '[') {
		at = memchr(at, ']', (size_t)(cursor->end - at));
		if (!at)
			return false;
		at++;
	}
	if (at < cursor->end && *at == ':')
		at++;
	cursor->at = at;
	skip_blanks(cursor);
	return true;
}

/* "chan_sip.c: ", "chan_sip.c:24421 handle_request_register: ", "x.c:116 in function: " */
static bool take_source(struct cursor *cursor, enum source *ret_source)
{
	struct asterisk_span name, rest;

	if (!take_until(cursor, ':', &name))
		return false;
	*ret_source = source_of(name.data, name.length);
	if (*ret_source == SOURCE_OTHER)
		return true;
	if (cursor->at < cursor->end && is_digit(*cursor->at) && !take_until(cursor, ':', &rest))
		return false;
	return SKIP(cursor, " ");
}

/* What syslog or a container's log puts before a line that may have a date of its own. */
static bool skip_syslog(struct cursor *cursor)
{
	struct cursor rest = *cursor;
	struct asterisk_span token;

	skip_blanks(&rest);
	if (left(&rest) > 0 && *rest.at == '[') {
		*cursor = rest;
		return true;
	}
	if (!take_until(&rest, ' ', &token) || token.length > 255 || !SKIP(&rest, "asterisk") ||
		!take_until(&rest, ' ', &token) || token.length > 16)
		return false;
	*cursor = rest;
	return true;
}

/*
 * Leaves the cursor at the message. The date is not read yet: most lines are passed over by their
 * source.
 */
static bool find_message(struct cursor *cursor, enum source *ret_source)
{
	struct asterisk_span date;
	struct asterisk_time time;

	*ret_source = SOURCE_NONE;
	if (left(cursor) > 0 && *cursor->at == ' ') /* the console, without dates */
		return SKIP(cursor, "    -- ");
	if (left(cursor) > 0 && *cursor->at != '[') {
		if (!(is_digit(*cursor->at) || (*cursor->at >= 'A' && *cursor->at <= 'Z')) ||
			!take_date(cursor, &time) || !skip_syslog(cursor))
			return false;
	}
	if (SKIP(cursor, "[") && !take_until(cursor, ']', &date))
		return false;
	skip_blanks(cursor);
	if (skip_level(cursor) && !take_source(cursor, ret_source))
		return false;
	skip_blanks(cursor);
	if (SKIP(cursor, "-- ") || SKIP(cursor, "== "))
		skip_blanks(cursor);
	return true;
}

/* --- addresses --- */

/* The address of "203.0.113.10", "2001:db8::1", "::ffff:203.0.113.10", "fe80::1%eth0". */
static bool read_address(struct asterisk_span text, struct addr *ret_addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const char *scope = memchr(text.data, '%', text.length);
	struct addr addr;

	if (scope)
		text.length = (size_t)(scope - text.data);
	if (!addr_parse(text.data, text.length, &addr))
		return false;
	if (addr.family == FAMILY_IPV6 && memcmp(addr.bytes, mapped, sizeof(mapped)) == 0) {
		struct addr ipv4 = {.family = FAMILY_IPV4};

		memcpy(ipv4.bytes, addr.bytes + sizeof(mapped), 4);
		addr = ipv4;
	}
	*ret_addr = addr;
	return true;
}

static uint16_t read_port(struct asterisk_span text)
{
	unsigned port = 0;

	for (size_t i = 0; i < text.length && is_digit(text.data[i]) && port <= UINT16_MAX; i++)
		port = port * 10 + (unsigned)(text.data[i] - '0');
	return port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* "203.0.113.10:5060", "[2001:db8::1]:5060", and both without a port. */
static void read_host_port(struct asterisk_span text, struct asterisk_line *line)
{
	struct cursor cursor = {text.data, text.data + text.length};
	struct asterisk_span host;

	line->port = 0;
	if (SKIP(&cursor, "[")) {
		if (!take_until(&cursor, ']', &host))
			return;
		if (SKIP(&cursor, ":"))
			line->port = read_port(span(cursor.at, cursor.end));
	} else if (take_until(&cursor, ':', &host)) {
		line->port = read_port(span(cursor.at, cursor.end));
	} else {
		host = text;
	}
	line->has_addr = read_address(host, &line->addr);
}

/* The user and the host of a SIP URI, with or without its "<…>" and a name before it. */
static void read_uri(
	struct asterisk_span text, struct asterisk_span *ret_user, struct asterisk_span *ret_host)
{
	struct cursor cursor = {text.data, text.data + text.length};
	const char *uri = memmem(text.data, text.length, "sip:", 4), *stop;

	*ret_user = *ret_host = (struct asterisk_span){text.data, 0};
	if (!uri)
		uri = memmem(text.data, text.length, "sips:", 5);
	if (!uri)
		return;
	cursor.at = (const char *)memchr(uri, ':', (size_t)(cursor.end - uri)) + 1;
	if (take_until(&cursor, '@', ret_user)) {
		stop = memchr(ret_user->data, ':', ret_user->length);
		if (stop) /* a password */
			ret_user->length = (size_t)(stop - ret_user->data);
	}
	stop = cursor.at;
	while (stop < cursor.end && !memchr(";?>' \t", *stop, 6))
		stop++;
	*ret_host = span(cursor.at, stop);
}

/* --- messages --- */

/* "21' at 203.0.113.10:5060", once "21' at 203.0.113.10 port 5060 expires 3600" */
static bool read_registered(struct cursor *cursor, struct asterisk_line *line)
{
	unsigned count;
	const char *quote = find_last(cursor, "' at ", 5, &count), *port;
	struct asterisk_span place;

	if (!quote)
		return false;
	line->account = span(cursor->at, quote);
	place = span(quote + 5, cursor->end);
	port = memmem(place.data, place.length, " port ", 6);
	if (port) {
		line->has_addr = read_address(span(place.data, port), &line->addr);
		line->port = read_port(span(port + 6, cursor->end));
	} else {
		read_host_port(place, line);
	}
	line->kind = ASTERISK_REGISTERED;
	line->service = ASTERISK_SIP;
	return line->account.length > 0;
}

/* "21'" */
static bool read_unregistered(struct cursor *cursor, struct asterisk_line *line)
{
	if (left(cursor) < 2 || cursor->end[-1] != '\'')
		return false;
	line->account = span(cursor->at, cursor->end - 1);
	line->kind = ASTERISK_UNREGISTERED;
	line->service = ASTERISK_SIP;
	return true;
}

/* "Yealink-T42" for peer 21: the agent is the caller's, the peer is the config's. */
static bool read_agent(struct cursor *cursor, struct asterisk_line *line)
{
	unsigned count;
	const char *quote = find_last(cursor, "\" for peer ", 11, &count);

	if (!quote)
		return false;
	line->text = span(cursor->at, quote);
	line->account = span(quote + 11, cursor->end);
	line->kind = ASTERISK_AGENT;
	line->service = ASTERISK_SIP;
	return line->account.length > 0;
}

/* "sip:22@203.0.113.10:5062' to AOR '22' with expiration of 120 seconds"; `link` stands between
 * Contact and name. The Contact is the caller's: the last link is Asterisk's. */
static bool read_contact(struct cursor *cursor, const char *link, enum asterisk_line_kind kind,
	struct asterisk_line *line)
{
	unsigned count;
	const char *quote = find_last(cursor, link, strlen(link), &count);
	struct cursor rest;
	struct asterisk_span user, host;

	if (!quote)
		return false;
	rest = (struct cursor){quote + strlen(link), cursor->end};
	if (!take_until(&rest, '\'', &line->account) || line->account.length == 0)
		return false;
	line->text = span(cursor->at, quote);
	read_uri(line->text, &user, &host);
	read_host_port(host, line);
	line->kind = (uint8_t)kind;
	line->service = ASTERISK_PJSIP;
	return true;
}

static enum asterisk_failure failure_of(struct asterisk_span reason)
{
	static const struct {
		const char *text;
		enum asterisk_failure failure;
	} failures[] = {
		{"Wrong password", ASTERISK_FAILURE_PASSWORD},
		{"Failed to authenticate", ASTERISK_FAILURE_PASSWORD},
		{"No matching peer found", ASTERISK_FAILURE_ACCOUNT},
		{"No matching endpoint found", ASTERISK_FAILURE_ACCOUNT},
		{"Username/auth name mismatch", ASTERISK_FAILURE_ACCOUNT},
		{"Device does not match ACL", ASTERISK_FAILURE_ACL},
		{"Not match Endpoint", ASTERISK_FAILURE_ACL},
		{"ACL error", ASTERISK_FAILURE_ACL},
	};

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		size_t length = strlen(failures[i].text);

		if (reason.length >= length && memcmp(reason.data, failures[i].text, length) == 0)
			return failures[i].failure;
	}
	return ASTERISK_FAILURE_OTHER;
}

/* "<sip:21@10.99.0.1>' failed for '198.51.100.66:5060' - Wrong password" */
static bool read_failed(
	struct cursor *cursor, enum asterisk_service service, struct asterisk_line *line)
{
	static const char link[] = "' failed for '";
	unsigned count, reasons;
	const char *quote = find_last(cursor, link, sizeof(link) - 1, &count), *reason;
	struct asterisk_span place, host;
	struct cursor rest;

	if (!quote)
		return false;
	rest = (struct cursor){quote + sizeof(link) - 1, cursor->end};
	if (!take_until(&rest, '\'', &place))
		return false;
	read_uri(span(cursor->at, quote), &line->account, &host);
	read_host_port(place, line);
	/* From before it and Call-ID behind it are the caller's: which one is Asterisk's? */
	line->doubled = count > 1;
	line->has_addr &= !line->doubled;
	reason = find_last(&rest, " - ", 3, &reasons);
	line->failure =
		(uint8_t)(reason ? failure_of(span(reason + 3, rest.end)) : ASTERISK_FAILURE_OTHER);
	line->kind = ASTERISK_FAILED;
	line->service = (uint8_t)service;
	return true;
}

/* "SIP/21-00000000": the account has dashes of its own, too. */
static bool read_channel(struct asterisk_span name, struct asterisk_line *line)
{
	struct cursor cursor = {name.data, name.data + name.length};
	const char *dash = memrchr(name.data, '-', name.length);
	uint32_t number = 0;

	if (SKIP(&cursor, "SIP/"))
		line->service = ASTERISK_SIP;
	else if (SKIP(&cursor, "PJSIP/"))
		line->service = ASTERISK_PJSIP;
	else
		return false;
	if (!dash || dash <= cursor.at)
		return false;
	line->account = span(cursor.at, dash);
	for (const char *at = dash + 1; at < cursor.end; at++)
		number = number * 31 + (uint8_t)*at;
	line->channel = number;
	return true;
}

/* "1000@remote:1] NoOp("SIP/21-00000000", …": every channel begins with a priority 1. */
static bool read_call(struct cursor *cursor, struct asterisk_line *line)
{
	struct asterisk_span place, application, channel;
	const char *at;

	if (!take_until(cursor, ']', &place) || place.length < 4 ||
		memcmp(place.data + place.length - 2, ":1", 2) != 0)
		return false;
	if (!take_until(cursor, '(', &application) || !SKIP(cursor, "\"") ||
		!take_until(cursor, '"', &channel) || !read_channel(channel, line))
		return false;
	at = memchr(place.data, '@', place.length);
	line->text = span(place.data, at ? at : place.data + place.length);
	line->kind = ASTERISK_CALL;
	return true;
}

/* --- security events --- */

static enum asterisk_event event_of(struct asterisk_span name)
{
	static const struct {
		const char *name;
		enum asterisk_event event;
	} events[] = {
		{"SuccessfulAuth", ASTERISK_SUCCESSFUL_AUTH},
		{"ChallengeSent", ASTERISK_CHALLENGE_SENT},
		{"InvalidPassword", ASTERISK_INVALID_PASSWORD},
		{"ChallengeResponseFailed", ASTERISK_INVALID_PASSWORD},
		{"InvalidAccountID", ASTERISK_INVALID_ACCOUNT},
		{"FailedACL", ASTERISK_FAILED_ACL},
	};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (strlen(events[i].name) == name.length &&
			memcmp(events[i].name, name.data, name.length) == 0)
			return events[i].event;
	}
	return ASTERISK_EVENT_OTHER;
}

/* "2026-11-22T10:49:42.722+0000", or of Asterisk 11 "1462285045-874209". */
static void read_event_time(struct asterisk_span text, struct asterisk_time *time)
{
	struct cursor cursor = {text.data, text.data + text.length};
	struct asterisk_time read = {0};
	unsigned high, low, micro = 0;

	if (take_iso_date(&cursor, &read)) {
		*time = read;
		return;
	}
	cursor.at = text.data;
	if (text.length < 12 || text.data[10] != '-' || !take_number(&cursor, 5, &high) ||
		!take_number(&cursor, 5, &low))
		return;
	for (cursor.at++; cursor.at < cursor.end && is_digit(*cursor.at) && micro < 1000000;
		cursor.at++)
		micro = micro * 10 + (unsigned)(*cursor.at - '0');
	*time = (struct asterisk_time){
		.kind = ASTERISK_TIME_EXACT,
		.wall = (int64_t)high * 100000 + low,
		.millisecond = (uint16_t)(micro < 1000000 ? micro / 1000 : 0),
	};
}

/* "IPV4/UDP/198.51.100.66/5060" */
static void read_remote(struct asterisk_span text, struct asterisk_line *line)
{
	struct cursor cursor = {text.data, text.data + text.length};
	struct asterisk_span family, host;

	if (!take_until(&cursor, '/', &family) || !take_until(&cursor, '/', &line->transport) ||
		!take_until(&cursor, '/', &host))
		return;
	line->port = read_port(span(cursor.at, cursor.end));
	line->has_addr = read_address(host, &line->addr);
}

static bool is_span(struct asterisk_span text, const char *word)
{
	return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

/* The fields before AccountID are Asterisk's own, in its order. */
static bool read_event_head(
	struct cursor *cursor, struct asterisk_span *ret_event_time, struct asterisk_line *line)
{
	struct asterisk_span key, value;

	*ret_event_time = (struct asterisk_span){cursor->at, 0};
	for (;;) {
		if (!take_until(cursor, '=', &key) || !SKIP(cursor, "\""))
			return false;
		if (is_span(key, "AccountID"))
			return true;
		if (!take_until(cursor, '"', &value) || !SKIP(cursor, ","))
			return false;
		if (is_span(key, "SecurityEvent"))
			line->event = (uint8_t)event_of(value);
		else if (is_span(key, "EventTV"))
			*ret_event_time = value;
		else if (is_span(key, "Service"))
			line->service =
				(uint8_t)(is_span(value, "SIP")	    ? ASTERISK_SIP
					  : is_span(value, "PJSIP") ? ASTERISK_PJSIP
								    : ASTERISK_SERVICE_OTHER);
	}
}

/*
 * AccountID and SessionID (a Call-ID, in pjsip) may hold anything, quotes and other fields too. Of
 * a success, RemoteAddress is Asterisk's where it stands last, since no field of the caller's comes
 * behind it. Of a failure there is such a field, so a second one leaves the address open.
 */
static bool read_security(struct cursor *cursor, struct asterisk_line *line)
{
	static const char remote[] = "\",RemoteAddress=\"", session[] = "\",SessionID=\"";
	static const char acl[] = ",ACLName=\"";
	struct asterisk_span event_time, value;
	struct cursor rest;
	unsigned count;
	const char *at;

	if (!read_event_head(cursor, &event_time, line) ||
		line->service == ASTERISK_SERVICE_OTHER || line->event == ASTERISK_EVENT_OTHER)
		return false;
	rest = *cursor;
	if (!take_until(&rest, '"', &line->account))
		return false;
	at = find_last(cursor, remote, sizeof(remote) - 1, &count);
	if (!at)
		return false;
	rest.at = at + sizeof(remote) - 1;
	if (!take_until(&rest, '"', &value))
		return false;
	/* A success that was cut before its last field may end within a forged one. */
	if (line->event == ASTERISK_SUCCESSFUL_AUTH && !SKIP(&rest, ",UsingPassword=\""))
		return false;
	read_remote(value, line);
	line->doubled = count > 1;
	line->has_addr &= !line->doubled || line->event == ASTERISK_SUCCESSFUL_AUTH;
	if (SKIP(&rest, acl) && take_until(&rest, '"', &value))
		line->text = value;
	rest = (struct cursor){line->account.data + line->account.length, at};
	if (SKIP(&rest, session))
		line->session = span(rest.at, rest.end);
	read_event_time(event_time, &line->time);
	line->kind = ASTERISK_SECURITY;
	return true;
}

/* --- lines --- */

static bool read_chan_sip(struct cursor *cursor, struct asterisk_line *line)
{
	if (left(cursor) < 12)
		return false;
	switch (*cursor->at) {
	case 'R':
		if (SKIP(cursor, "Registered SIP '"))
			return read_registered(cursor, line);
		return SKIP(cursor, "Registration from '") &&
		       read_failed(cursor, ASTERISK_SIP, line);
	case 'U':
		return SKIP(cursor, "Unregistered SIP '") && read_unregistered(cursor, line);
	case 'S':
		return SKIP(cursor, "Saved useragent \"") && read_agent(cursor, line);
	default:
		return false;
	}
}

static bool read_registrar(struct cursor *cursor, struct asterisk_line *line)
{
	if (SKIP(cursor, "Added contact '"))
		return read_contact(cursor, "' to AOR '", ASTERISK_CONTACT_ADDED, line);
	if (SKIP(cursor, "Refreshed contact '"))
		return read_contact(cursor, "' on AOR '", ASTERISK_CONTACT_ADDED, line);
	if (SKIP(cursor, "Removed contact '"))
		return read_contact(cursor, "' from AOR '", ASTERISK_CONTACT_REMOVED, line);
	return false;
}

static bool read_distributor(struct cursor *cursor, struct asterisk_line *line)
{
	struct asterisk_span method;

	return SKIP(cursor, "Request '") && take_until(cursor, '\'', &method) &&
	       SKIP(cursor, " from '") && read_failed(cursor, ASTERISK_PJSIP, line);
}

static bool read_message(struct cursor *cursor, enum source source, struct asterisk_line *line)
{
	switch (source) {
	case SOURCE_CHAN_SIP:
		return read_chan_sip(cursor, line);
	case SOURCE_REGISTRAR:
		return read_registrar(cursor, line);
	case SOURCE_DISTRIBUTOR:
		return read_distributor(cursor, line);
	case SOURCE_PBX:
		return SKIP(cursor, "Executing [") && read_call(cursor, line);
	case SOURCE_SECURITY:
		return left(cursor) > 15 && memcmp(cursor->at, "SecurityEvent=\"", 15) == 0 &&
		       read_security(cursor, line);
	case SOURCE_NONE:
		if (SKIP(cursor, "Executing ["))
			return read_call(cursor, line);
		return read_chan_sip(cursor, line) || read_registrar(cursor, line);
	case SOURCE_OTHER:
		break;
	}
	return false;
}

/* Without "\033[1;33m" and the like; what does not fit is cut. */
static size_t strip_colours(const char *line, size_t length, char plain[ASTERISK_PLAIN_SIZE])
{
	size_t used = 0;

	for (size_t i = 0; i < length && used < ASTERISK_PLAIN_SIZE; i++) {
		size_t end = i + 2;

		if (line[i] == '\033' && i + 1 < length && line[i + 1] == '[') {
			while (end < length && (is_digit(line[end]) || line[end] == ';'))
				end++;
			if (end < length && line[end] == 'm') {
				i = end;
				continue;
			}
		}
		plain[used++] = line[i];
	}
	return used;
}

static enum asterisk_line_kind parse_plain(
	const char *text, size_t length, struct asterisk_line *line)
{
	struct cursor cursor = {text, text + length};
	enum source source;

	if (!find_message(&cursor, &source) || source == SOURCE_OTHER)
		return ASTERISK_OTHER;
	line->kind = ASTERISK_OTHER;
	line->event = line->failure = line->service = 0;
	line->has_addr = line->doubled = false;
	line->port = 0;
	line->time.kind = ASTERISK_TIME_NONE;
	line->account = line->session = line->transport = line->text = span(text, text);
	if (!read_message(&cursor, source, line))
		return line->kind = ASTERISK_OTHER;
	if (line->time.kind == ASTERISK_TIME_NONE)
		asterisk_log_date(text, length, &line->time);
	return (enum asterisk_line_kind)line->kind;
}

enum asterisk_line_kind asterisk_log_parse(
	const char *line, size_t length, struct asterisk_line *ret_line)
{
	enum { COLOURS_WITHIN = 128 }; /* a level, a file or a message in colour begins here */

	while (length > 0 && (line[length - 1] == '\r' || line[length - 1] == '\n'))
		length--;
	ret_line->kind = ASTERISK_OTHER;
	if (length < 16)
		return ASTERISK_OTHER;
	if (!memchr(line, '\033', length < COLOURS_WITHIN ? length : COLOURS_WITHIN))
		return parse_plain(line, length, ret_line);
	length = strip_colours(line, length, ret_line->plain);
	return parse_plain(ret_line->plain, length, ret_line);
}
