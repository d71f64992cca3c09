/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state.h"
#include "fqdn.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { HASHED_NUMBERS = 8 }; /* at most in one piece */

static const char first_line[] = "sipfence-state 2\n";
static const char former_first_line[] = "sipfence-state 1\n"; /* as long */
static const char validated_word[] = " validated"; /* at the end of its line, with the blank */

static bool is_former(const char *data, size_t length)
{
	size_t size = sizeof(former_first_line) - 1;

	return length >= size && memcmp(data, former_first_line, size) == 0;
}

/* XXH3; of version 1 it was FNV-1a. */
static uint64_t checksum(const char *data, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325;

	if (!is_former(data, length))
		return XXH3_64bits(data, length);
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (uint8_t)data[i]) * 0x100000001b3;
	return hash;
}

static void print_end(struct text *text, size_t start, size_t lines)
{
	if (!text->failed)
		text_printf(text, "end %zu %016" PRIx64 "\n", lines,
			checksum(text_string(text) + start, text->length - start));
}

static void put(struct text *text, uint64_t number)
{
	text_write(text, " ", 1);
	text_number(text, number);
}

static void put_hexadecimal(struct text *text, uint64_t number)
{
	char digits[17] = " ";

	for (size_t i = sizeof(digits) - 1; i > 0; i--, number >>= 4)
		digits[i] = "0123456789abcdef"[number & 15];
	text_write(text, digits, sizeof(digits));
}

static uint64_t not_before_0(int64_t time)
{
	return time > 0 ? (uint64_t)time : 0;
}

static void put_time(struct text *text, int64_t time)
{
	put(text, not_before_0(time));
}

/* Most of a state is made here: one piece. */
static void put_lookup(struct text *text, const struct lookup *lookup)
{
	const uint64_t numbers[] = {not_before_0(lookup->asked), not_before_0(lookup->good),
		not_before_0(lookup->none), lookup->ttl, lookup->failures, lookup->last,
		lookup->reason};
	enum { COUNT = sizeof(numbers) / sizeof(numbers[0]), DIGITS = 20 };
	char buffer[COUNT * (DIGITS + 1)];
	size_t at = sizeof(buffer);

	for (size_t i = COUNT; i-- > 0;) {
		uint64_t number = numbers[i];

		do {
			buffer[--at] = (char)('0' + number % 10);
			number /= 10;
		} while (number);
		buffer[--at] = ' ';
	}
	text_write(text, buffer + at, sizeof(buffer) - at);
}

static void put_addr(struct text *text, const struct addr *addr)
{
	char buffer[ADDR_TEXT_SIZE];
	size_t length = addr_print(addr, buffer);

	text_write(text, " ", 1);
	text_write(text, buffer, length);
}

static bool is_blank(const struct lookup *lookup)
{
	return !lookup->asked && !lookup->good && !lookup->none;
}

/* Most names have none: no line then. */
static size_t print_changes(const struct changes *changes, int64_t now, struct text *text)
{
	uint32_t recent = changes_within(changes, now);

	if (recent == 0 && !(changes && changes->said))
		return 0;
	text_puts(text, changes->said ? "changes 1" : "changes 0");
	for (uint32_t i = changes->count - recent; i < changes->count; i++)
		put_time(text, changes->times[i]);
	text_puts(text, "\n");
	return 1;
}

static size_t print_host(
	const struct host *host, uint64_t fingerprint, int64_t now, struct text *text)
{
	size_t lines = 1;

	text_puts(text, "host ");
	text_puts(text, host->name);
	put_hexadecimal(text, fingerprint);
	put(text, host->told);
	text_puts(text, host->validated ? validated_word : "");
	text_puts(text, "\n");
	for (int family = 0; family < FAMILY_COUNT; family++) {
		if (is_blank(&host->lookup[family]))
			continue;
		text_puts(text, family == FAMILY_IPV4 ? "lookup 4" : "lookup 6");
		put_lookup(text, &host->lookup[family]);
		for (size_t i = 0; i < host->count[family]; i++)
			put_addr(text, &host->addrs[family][i]);
		text_puts(text, "\n");
		lines++;
	}
	lines += print_changes(host->changes, now, text);
	for (size_t i = 0; i < host->retired_count; i++) {
		text_puts(text, "retired");
		put_time(text, host->retired[i].when);
		put_addr(text, &host->retired[i].addr);
		text_puts(text, "\n");
		lines++;
	}
	return lines;
}

static size_t print_srv(const struct srv *srv, struct text *text)
{
	size_t lines = 2;

	text_printf(text, "srv %s %u%s\ntargets", srv->name, srv->told,
		srv->validated ? validated_word : "");
	put_lookup(text, &srv->lookup);
	for (size_t i = 0; i < srv->count; i++)
		text_printf(text, " %s", srv->targets[i]);
	text_puts(text, "\n");
	for (size_t i = 0; i < srv->retired_count; i++) {
		text_puts(text, "retired-target");
		put_time(text, srv->retired[i].when);
		text_printf(text, " %s\n", srv->retired[i].target);
		lines++;
	}
	return lines;
}

static size_t print_enforced(
	const char *table, const struct enforced_ports *enforced, struct text *text)
{
	for (size_t i = 0; i < enforced->count; i++)
		text_printf(text, "enforced %s %u %u %u\n", table, enforced->list[i].protocol,
			enforced->list[i].first, enforced->list[i].last);
	return enforced->count;
}

static void print_clock(const struct steady *clock, struct text *text)
{
	text_puts(text, first_line);
	text_puts(text, "clock");
	put_time(text, clock->now);
	put_time(text, clock->at.wall);
	put_time(text, clock->at.boottime);
	text_printf(text, " %s\n", clock->at.boot_id[0] ? clock->at.boot_id : "-");
}

/* In few pieces: each costs more than its bytes. */
static void hash_numbers(XXH3_state_t *hash, const uint64_t *numbers, size_t count)
{
	uint64_t bytes[HASHED_NUMBERS];

	for (size_t i = 0; i < count; i++)
		bytes[i] = htole64(numbers[i]);
	XXH3_64bits_update(hash, bytes, count * sizeof(bytes[0]));
}

/* With its NUL, so that no two lists of texts are one. */
static void hash_text(XXH3_state_t *hash, const char *string)
{
	XXH3_64bits_update(hash, string ? string : "", strlen(string ? string : "") + 1);
}

static void hash_prefixes(XXH3_state_t *hash, const struct prefix *prefixes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char buffer[PREFIX_TEXT_SIZE];

		prefix_print(&prefixes[i], buffer);
		hash_text(hash, buffer);
	}
}

static void hash_owner(XXH3_state_t *hash, const struct config *config, const struct owner *owner)
{
	const uint64_t numbers[] = {owner->kind, owner->services, owner->ipv6_prefix,
		config->guards[owner->guard].fingerprint, owner->name_count, owner->srv_count,
		owner->fixed_count};

	hash_numbers(hash, numbers, sizeof(numbers) / sizeof(numbers[0]));
	for (size_t i = 0; i < owner->name_count; i++)
		hash_text(hash, owner->names[i]);
	for (size_t i = 0; i < owner->srv_count; i++)
		hash_text(hash, owner->srv[i]);
	hash_prefixes(hash, owner->fixed, owner->fixed_count);
}

static void hash_service(XXH3_state_t *hash, const struct service *service)
{
	const uint64_t local = service->local;

	hash_numbers(hash, &local, 1);
	hash_text(hash, service->name);
	for (int family = 0; family < FAMILY_COUNT; family++) {
		hash_text(hash, service->sets[0][family]);
		hash_text(hash, service->sets[1][family]);
	}
}

/* Not the ports, the mode or `replies`: those are the table's shape, which is compared itself. */
uint64_t state_permits(const struct config *config)
{
	const uint64_t numbers[] = {config->table_family, config->sets_only, config->service_count,
		config->local_subnet_count, config->owner_count};
	XXH3_state_t hash;
	uint64_t digest;

	XXH3_64bits_reset(&hash);
	hash_numbers(&hash, numbers, sizeof(numbers) / sizeof(numbers[0]));
	hash_text(&hash, config->table);
	for (int kind = 0; kind < OWNER_KIND_COUNT; kind++) {
		const uint64_t linger = (uint64_t)config->linger[kind];

		hash_numbers(&hash, &linger, 1);
	}
	for (size_t i = 0; i < config->service_count; i++)
		hash_service(&hash, &config->services[i]);
	hash_prefixes(&hash, config->local_subnets, config->local_subnet_count);
	for (size_t i = 0; i < config->owner_count; i++)
		hash_owner(&hash, config, &config->owners[i]);
	digest = XXH3_64bits_digest(&hash);
	return digest ? digest : 1;
}

void state_print_host(const struct host *host, const struct config *config,
	const struct steady *clock, struct text *text)
{
	size_t start = text->length;

	print_clock(clock, text);
	print_end(text, start,
		1 + print_host(host, config->guards[host->guard].fingerprint, clock->now, text));
}

void state_print_srv(const struct srv *srv, const struct steady *clock, struct text *text)
{
	size_t start = text->length;

	print_clock(clock, text);
	print_end(text, start, 1 + print_srv(srv, text));
}

void state_print(const struct roster *roster, const struct config *config,
	const struct steady *clock, const struct enforced_ports *enforced, uint64_t permits,
	const char *former_table, struct text *text)
{
	size_t start = text->length, lines = 1;

	print_clock(clock, text);
	/* Another's table is none that a later run may take for its own. */
	if (!config->sets_only) {
		text_printf(text, "table %s\n", config->table);
		lines++;
	}
	if (former_table) {
		text_printf(text, "table %s\n", former_table);
		lines++;
	}
	if (permits) {
		text_puts(text, "permits");
		put_hexadecimal(text, permits);
		text_puts(text, "\n");
		lines++;
	}
	lines += print_enforced(config->table, enforced, text);
	for (size_t i = 0; i < roster->host_count; i++) {
		const struct host *host = &roster->hosts[i];

		if (is_blank(&host->lookup[FAMILY_IPV4]) && is_blank(&host->lookup[FAMILY_IPV6]))
			continue;
		lines +=
			print_host(host, config->guards[host->guard].fingerprint, clock->now, text);
	}
	for (size_t i = 0; i < roster->srv_count; i++) {
		if (!is_blank(&roster->srvs[i].lookup))
			lines += print_srv(&roster->srvs[i], text);
	}
	print_end(text, start, lines);
}

static bool line_begins(const char *line, size_t size, const char *word, const char *next)
{
	size_t length = strlen(word), next_length = strlen(next);

	return size > length + next_length && memcmp(line, word, length) == 0 &&
	       memcmp(line + length, next, next_length) == 0 &&
	       (line[length + next_length] == ' ' || line[length + next_length] == '\n');
}

void state_forget_enforced(const char *data, size_t length, const char *table, struct text *text)
{
	size_t start = text->length, lines = 0, at = 0;

	while (at < length) {
		const char *line = data + at, *feed = memchr(line, '\n', length - at);
		size_t size = feed ? (size_t)(feed - line) + 1 : length - at;

		at += size;
		if (at >= length || line_begins(line, size, "enforced ", table) ||
			line_begins(line, size, "table ", table) ||
			line_begins(line, size, "permits", ""))
			continue; /* the last line is made anew */
		text_write(text, line, size);
		lines++;
	}
	print_end(text, start, lines ? lines - 1 : 0);
}

/* Words of one line, parted by single spaces. */
struct line {
	const char *at, *end;
};

struct parser {
	struct saved_state *state;
	size_t host_capacity, srv_capacity, enforced_capacity;
	bool in_host, in_srv; /* the last record may get more lines */
	bool no_memory;
};

static bool word(struct line *line, const char **ret_word, size_t *ret_length)
{
	const char *space;

	if (line->at >= line->end)
		return false;
	space = memchr(line->at, ' ', (size_t)(line->end - line->at));
	*ret_word = line->at;
	*ret_length = (size_t)((space ? space : line->end) - line->at);
	line->at = space ? space + 1 : line->end;
	return *ret_length > 0;
}

/* In one pass, without word(): most words of a state are numbers. */
static bool number(struct line *line, uint64_t limit, uint64_t *ret_number)
{
	enum { DIGITS_MAX = 19 }; /* so many never overflow */
	const char *at = line->at;
	uint64_t value = 0;
	ptrdiff_t length;

	for (; at < line->end && *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (uint64_t)(*at - '0');
	length = at - line->at;
	if (length == 0 || length > DIGITS_MAX || value > limit || (at < line->end && *at != ' '))
		return false;
	line->at = at < line->end ? at + 1 : at;
	*ret_number = value;
	return true;
}

static bool hexadecimal(struct line *line, uint64_t *ret_number)
{
	const char *digits;
	uint64_t value = 0;
	size_t length;

	if (!word(line, &digits, &length) || length != 16)
		return false;
	for (size_t i = 0; i < length; i++) {
		char digit = digits[i];

		if (digit >= '0' && digit <= '9')
			value = value << 4 | (uint64_t)(digit - '0');
		else if (digit >= 'a' && digit <= 'f')
			value = value << 4 | (uint64_t)(digit - 'a' + 10);
		else
			return false;
	}
	*ret_number = value;
	return true;
}

static bool address(struct line *line, struct addr *ret_addr)
{
	const char *text;
	size_t length;

	return word(line, &text, &length) && addr_parse(text, length, ret_addr);
}

static char *name(struct parser *parser, struct line *line)
{
	char normal[FQDN_SIZE], *copy;
	const char *text;
	size_t length, at;

	if (!word(line, &text, &length) || fqdn_parse(text, length, normal, &at) != FQDN_OK)
		return NULL;
	copy = arena_copy(&parser->state->arena, normal, strlen(normal));
	parser->no_memory |= !copy;
	return copy;
}

static bool lookup(struct line *line, struct lookup *ret_lookup)
{
	uint64_t asked, good, none, ttl, failures, last, reason;

	if (!number(line, INT64_MAX, &asked) || !number(line, INT64_MAX, &good) ||
		!number(line, INT64_MAX, &none) || !number(line, UINT32_MAX, &ttl) ||
		!number(line, UINT16_MAX, &failures) || !number(line, ANSWER_REFUSED, &last) ||
		!number(line, UINT8_MAX, &reason))
		return false;
	*ret_lookup = (struct lookup){
		.asked = (int64_t)asked,
		.good = (int64_t)good,
		.none = (int64_t)none,
		.ttl = (uint32_t)ttl,
		.failures = (uint16_t)failures,
		.last = (uint8_t)last,
		.reason = (uint8_t)reason,
	};
	return true;
}

/* Room for one more in an array of the state; false when out of memory. */
static bool grow(struct parser *parser, void **list, size_t count, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity * 2 : 64;
	void *grown;

	if (count < *capacity)
		return true;
	grown = reallocarray(*list, wanted, size);
	if (!grown) {
		parser->no_memory = true;
		return false;
	}
	*list = grown;
	*capacity = wanted;
	return true;
}

static bool parse_clock(struct parser *parser, struct line *line)
{
	struct steady *clock = &parser->state->clock;
	uint64_t now, wall, boottime;
	const char *boot_id;
	size_t length;

	if (!number(line, INT64_MAX, &now) || !number(line, INT64_MAX, &wall) ||
		!number(line, INT64_MAX, &boottime) || !word(line, &boot_id, &length) ||
		length >= BOOT_ID_SIZE)
		return false;
	*clock = (struct steady){
		.now = (int64_t)now, .at = {.wall = (int64_t)wall, .boottime = (int64_t)boottime}};
	if (length != 1 || boot_id[0] != '-')
		memcpy(clock->at.boot_id, boot_id, length);
	return true;
}

/* As a config may name one: it meets the kernel and a terminal. */
static bool table_name(struct line *line, const char **ret_table, size_t *ret_length)
{
	static const char plain[] =
		"_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (!word(line, ret_table, ret_length) || *ret_length > CONFIG_MAX_TABLE_NAME)
		return false;
	for (size_t i = 0; i < *ret_length; i++) {
		if (!memchr(plain, (*ret_table)[i], sizeof(plain) - 1))
			return false;
	}
	return true;
}

static bool parse_table(struct parser *parser, struct line *line)
{
	struct saved_state *state = parser->state;
	const char *table;
	size_t length;

	if (state->table_count == STATE_MAX_TABLES || !table_name(line, &table, &length))
		return false;
	state->tables[state->table_count] = arena_copy(&state->arena, table, length);
	parser->no_memory |= !state->tables[state->table_count];
	return state->tables[state->table_count++] != NULL;
}

static bool parse_permits(struct parser *parser, struct line *line)
{
	return hexadecimal(line, &parser->state->permits);
}

static bool parse_enforced(struct parser *parser, struct line *line)
{
	struct saved_state *state = parser->state;
	uint64_t protocol, first, last;
	const char *table;
	size_t length;

	if (!table_name(line, &table, &length) || !number(line, UINT8_MAX, &protocol) ||
		!number(line, UINT16_MAX, &first) || !number(line, UINT16_MAX, &last) ||
		!grow(parser, (void **)&state->enforced, state->enforced_count,
			&parser->enforced_capacity, sizeof(*state->enforced)))
		return false;
	/* All of one table: a run has one. */
	if (!state->enforced_table) {
		state->enforced_table = arena_copy(&state->arena, table, length);
		parser->no_memory |= !state->enforced_table;
	}
	state->enforced[state->enforced_count++] = (struct enforced_port){
		.protocol = (uint8_t)protocol, .first = (uint16_t)first, .last = (uint16_t)last};
	return state->enforced_table != NULL;
}

/* The word, or the end of the line. */
static bool is_validated(struct line *line, bool *ret_validated)
{
	const char *text;
	size_t length;

	*ret_validated = line->at < line->end;
	return !*ret_validated ||
	       (word(line, &text, &length) && length == strlen(validated_word + 1) &&
		       memcmp(text, validated_word + 1, length) == 0);
}

static bool parse_host(struct parser *parser, struct line *line)
{
	struct saved_state *state = parser->state;
	const char *host = name(parser, line);
	uint64_t fingerprint, told;
	bool validated;

	if (!host || !hexadecimal(line, &fingerprint) || !number(line, UINT8_MAX, &told) ||
		!is_validated(line, &validated))
		return false;
	if (!grow(parser, (void **)&state->hosts, state->host_count, &parser->host_capacity,
		    sizeof(*state->hosts)))
		return false;
	state->hosts[state->host_count++] = (struct saved_host){
		.host = {.name = host, .told = (uint8_t)told, .validated = validated},
		.fingerprint = fingerprint,
	};
	parser->in_host = true;
	parser->in_srv = false;
	return true;
}

static size_t count_words(const struct line *line)
{
	size_t count = line->at < line->end;

	for (const char *at = line->at; at < line->end; at++)
		count += *at == ' ';
	return count;
}

static bool parse_lookup(struct parser *parser, struct line *line)
{
	struct host *host = &parser->state->hosts[parser->state->host_count - 1].host;
	uint64_t digit;
	size_t count;
	int family;

	if (!number(line, 6, &digit) || (digit != 4 && digit != 6))
		return false;
	family = digit == 4 ? FAMILY_IPV4 : FAMILY_IPV6;
	if (!lookup(line, &host->lookup[family]))
		return false;
	count = count_words(line);
	if (count > CONFIG_MAX_ADDRESSES || host->addrs[family])
		return false;
	if (count == 0)
		return true;
	host->addrs[family] =
		arena_alloc(&parser->state->arena, count * sizeof(*host->addrs[family]));
	if (!host->addrs[family]) {
		parser->no_memory = true;
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		struct addr *addrs = host->addrs[family];

		/* Sorted and distinct, as they were printed. */
		if (!address(line, &addrs[i]) || addrs[i].family != family ||
			(i > 0 && addr_compare(&addrs[i - 1], &addrs[i]) >= 0))
			return false;
		host->count[family]++;
	}
	return true;
}

/* Room for one more at the end of an array in the arena, which has room for the next power of two.
 */
static bool grow_retired(struct parser *parser, void **list, size_t count, size_t size)
{
	void *grown;

	if (count & (count - 1))
		return true;
	grown = arena_alloc(&parser->state->arena, (count ? 2 * count : 1) * size);
	if (!grown) {
		parser->no_memory = true;
		return false;
	}
	if (count)
		memcpy(grown, *list, count * size);
	*list = grown;
	return true;
}

static bool parse_retired(struct parser *parser, struct line *line)
{
	struct host *host = &parser->state->hosts[parser->state->host_count - 1].host;
	uint64_t when;

	if (host->retired_count >= RETIRED_MAX ||
		!grow_retired(parser, (void **)&host->retired, host->retired_count,
			sizeof(*host->retired)) ||
		!number(line, INT64_MAX, &when) ||
		!address(line, &host->retired[host->retired_count].addr))
		return false;
	host->retired[host->retired_count++].when = (int64_t)when;
	return true;
}

static bool parse_changes(struct parser *parser, struct line *line)
{
	struct host *host = &parser->state->hosts[parser->state->host_count - 1].host;
	struct changes *changes;
	uint64_t flapping, when;
	size_t count;

	if (host->changes || !number(line, 1, &flapping))
		return false;
	count = count_words(line);
	if (count > FLAPPING_LIMIT_MAX + 1)
		return false;
	changes = arena_alloc(
		&parser->state->arena, sizeof(*changes) + count * sizeof(changes->times[0]));
	if (!changes) {
		parser->no_memory = true;
		return false;
	}
	changes->flapping = changes->said = flapping;
	for (; changes->count < count; changes->count++) {
		uint32_t last = changes->count;

		if (!number(line, INT64_MAX, &when) ||
			(last > 0 && (int64_t)when < changes->times[last - 1]))
			return false;
		changes->times[last] = (int64_t)when;
	}
	host->changes = changes;
	return true;
}

static bool parse_srv(struct parser *parser, struct line *line)
{
	struct saved_state *state = parser->state;
	const char *srv = name(parser, line);
	uint64_t told;
	bool validated;

	if (!srv || !number(line, UINT8_MAX, &told) || !is_validated(line, &validated))
		return false;
	if (!grow(parser, (void **)&state->srvs, state->srv_count, &parser->srv_capacity,
		    sizeof(*state->srvs)))
		return false;
	state->srvs[state->srv_count++] =
		(struct srv){.name = srv, .told = (uint8_t)told, .validated = validated};
	parser->in_host = false;
	parser->in_srv = true;
	return true;
}

static bool parse_targets(struct parser *parser, struct line *line)
{
	struct srv *srv = &parser->state->srvs[parser->state->srv_count - 1];
	size_t count;

	if (srv->targets || !lookup(line, &srv->lookup))
		return false;
	count = count_words(line);
	srv->targets = arena_alloc(&parser->state->arena, (count + 1) * sizeof(*srv->targets));
	if (!srv->targets) {
		parser->no_memory = true;
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		srv->targets[i] = name(parser, line);
		if (!srv->targets[i])
			return false;
		srv->count++;
	}
	return true;
}

static bool parse_retired_target(struct parser *parser, struct line *line)
{
	struct srv *srv = &parser->state->srvs[parser->state->srv_count - 1];
	struct retired_target *retired;
	uint64_t when;

	if (srv->retired_count >= RETIRED_MAX ||
		!grow_retired(parser, (void **)&srv->retired, srv->retired_count,
			sizeof(*srv->retired)) ||
		!number(line, INT64_MAX, &when))
		return false;
	retired = &srv->retired[srv->retired_count];
	retired->when = (int64_t)when;
	retired->target = name(parser, line);
	if (!retired->target)
		return false;
	srv->retired_count++;
	return true;
}

static bool parse_line(struct parser *parser, struct line *line)
{
	static const struct {
		const char *keyword;
		bool (*parse)(struct parser *, struct line *);
		bool of_host, of_srv;
	} kinds[] = {
		/* What there is most of stands first. */
		{"lookup", parse_lookup, true, false},
		{"host", parse_host, false, false},
		{"clock", parse_clock, false, false},
		{"table", parse_table, false, false},
		{"permits", parse_permits, false, false},
		{"enforced", parse_enforced, false, false},
		{"changes", parse_changes, true, false},
		{"retired", parse_retired, true, false},
		{"srv", parse_srv, false, false},
		{"targets", parse_targets, false, true},
		{"retired-target", parse_retired_target, false, true},
	};
	const char *keyword;
	size_t length;

	if (!word(line, &keyword, &length))
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strlen(kinds[i].keyword) != length ||
			memcmp(kinds[i].keyword, keyword, length) != 0)
			continue;
		if ((kinds[i].of_host && !parser->in_host) || (kinds[i].of_srv && !parser->in_srv))
			return false;
		/* All of the line must be understood. */
		return kinds[i].parse(parser, line) && line->at == line->end;
	}
	return false;
}

/* The last line, and whether it fits what stands before. Returns the length without it. */
static bool check_end(const char *data, size_t length, size_t *ret_body, uint64_t *ret_lines)
{
	const char *end;
	uint64_t sum;
	struct line line;
	const char *keyword;
	size_t size;

	if (length < 2 || data[length - 1] != '\n')
		return false;
	end = memrchr(data, '\n', length - 1);
	if (!end)
		return false;
	end++;
	line = (struct line){.at = end, .end = data + length - 1};
	if (!word(&line, &keyword, &size) || size != 3 || memcmp(keyword, "end", 3) != 0 ||
		!number(&line, SIZE_MAX, ret_lines) || !hexadecimal(&line, &sum) ||
		line.at != line.end)
		return false;
	*ret_body = (size_t)(end - data);
	return sum == checksum(data, *ret_body);
}

/* By name; of one name and guard, the one that was printed last stands first. */
static int compare_hosts(const void *a, const void *b)
{
	const struct saved_host *left = a, *right = b;
	int order = strcmp(left->host.name, right->host.name);

	if (order)
		return order;
	if (left->fingerprint != right->fingerprint)
		return left->fingerprint < right->fingerprint ? -1 : 1;
	return left->order > right->order ? -1 : left->order < right->order;
}

static int compare_srvs(const void *a, const void *b)
{
	return strcmp(((const struct srv *)a)->name, ((const struct srv *)b)->name);
}

static void sort_hosts(struct saved_state *state)
{
	size_t kept = 0;
	bool sorted = true;

	if (state->host_count == 0)
		return;
	for (size_t i = 0; i < state->host_count; i++) {
		state->hosts[i].order = i;
		sorted &= i == 0 || compare_hosts(&state->hosts[i - 1], &state->hosts[i]) < 0;
	}
	/* As state_print() has them, but for what a journal has added. */
	if (!sorted)
		qsort(state->hosts, state->host_count, sizeof(*state->hosts), compare_hosts);
	for (size_t i = 0; i < state->host_count; i++) {
		if (kept == 0 ||
			state->hosts[kept - 1].fingerprint != state->hosts[i].fingerprint ||
			strcmp(state->hosts[kept - 1].host.name, state->hosts[i].host.name) != 0)
			state->hosts[kept++] = state->hosts[i];
	}
	state->host_count = kept;
}

/* One whole text, behind what the parser's state has already. */
static bool parse_text(struct parser *parser, const char *data, size_t length, size_t *ret_line)
{
	size_t body, at = sizeof(first_line) - 1, lines = 1;
	uint64_t counted = 0;
	bool good = length >= at &&
		    (memcmp(data, first_line, at) == 0 || is_former(data, length)) &&
		    check_end(data, length, &body, &counted);

	*ret_line = 1;
	parser->in_host = parser->in_srv = false;
	while (good && at < body) {
		const char *feed = memchr(data + at, '\n', body - at);
		struct line line = {.at = data + at, .end = feed};

		*ret_line = ++lines;
		good = feed && parse_line(parser, &line);
		if (feed)
			at = (size_t)(feed - data) + 1;
	}
	return good && lines - 1 == counted;
}

int state_parse(const char *data, size_t length, struct saved_state **ret_state, size_t *ret_line)
{
	struct parser parser = {.state = calloc(1, sizeof(*parser.state))};

	*ret_line = 1;
	if (!parser.state)
		return -ENOMEM;
	if (!parse_text(&parser, data, length, ret_line)) {
		state_free(parser.state);
		return parser.no_memory ? -ENOMEM : -EBADMSG;
	}
	sort_hosts(parser.state);
	if (parser.state->srv_count)
		qsort(parser.state->srvs, parser.state->srv_count, sizeof(*parser.state->srvs),
			compare_srvs);
	*ret_state = parser.state;
	return 0;
}

/* Length of the text at the beginning of `data`: up to its line `end`; 0: there is none. */
static size_t first_text(const char *data, size_t length)
{
	const char *end = memmem(data, length, "\nend ", 5), *feed;

	if (!end)
		return 0;
	feed = memchr(end + 1, '\n', length - (size_t)(end + 1 - data));
	return feed ? (size_t)(feed - data) + 1 : 0;
}

/* The last one of a name counts. */
static void replace_srvs(struct saved_state *state, size_t first)
{
	for (size_t i = first; i < state->srv_count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(state->srvs[j].name, state->srvs[i].name) != 0)
				continue;
			state->srvs[j] = state->srvs[i];
			state->srvs[i--] = state->srvs[--state->srv_count];
			break;
		}
	}
	if (state->srv_count)
		qsort(state->srvs, state->srv_count, sizeof(*state->srvs), compare_srvs);
}

int state_parse_journal(struct saved_state *state, const char *data, size_t length)
{
	struct parser parser = {.state = state,
		.host_capacity = state->host_count,
		.srv_capacity = state->srv_count,
		.enforced_capacity = state->enforced_count};
	size_t srvs = state->srv_count, size, line;

	while ((size = first_text(data, length)) > 0) {
		struct saved_state before = *state;
		bool good = parse_text(&parser, data, size, &line);

		if (parser.no_memory)
			return -ENOMEM;
		if (!good || state->clock.now < before.clock.now) {
			state->host_count = before.host_count;
			state->srv_count = before.srv_count;
			state->table_count = before.table_count;
			state->permits = before.permits;
			state->enforced_count = before.enforced_count;
			state->enforced_table = before.enforced_table;
			state->clock = before.clock;
		}
		if (!good)
			break;
		data += size;
		length -= size;
	}
	sort_hosts(state);
	replace_srvs(state, srvs);
	return 0;
}

struct saved_state *state_free(struct saved_state *state)
{
	if (!state)
		return NULL;
	free(state->hosts);
	free(state->srvs);
	free(state->enforced);
	arena_free(&state->arena);
	free(state);
	return NULL;
}

/* The record of that name under that guard, else of its question, else any of it, else NULL. All
 * before `*first` are of names that come before this one. */
static const struct saved_host *find_host(const struct saved_state *state, size_t *first,
	const struct host *wanted, uint64_t fingerprint)
{
	const struct saved_host *found = NULL;
	const char *host = wanted->name;

	while (*first < state->host_count && strcmp(state->hosts[*first].host.name, host) < 0)
		++*first;
	for (size_t i = *first; i < state->host_count; i++) {
		if (strcmp(state->hosts[i].host.name, host) != 0)
			break;
		if (state->hosts[i].fingerprint == fingerprint)
			return &state->hosts[i];
		if (!found || (found->host.validated != wanted->validated &&
				      state->hosts[i].host.validated == wanted->validated))
			found = &state->hosts[i];
	}
	return found;
}

int state_restore_hosts(const struct saved_state *state, const struct config *config,
	const struct surroundings *around, struct roster *roster, int64_t now)
{
	size_t first = 0;

	/* Both are sorted by name. */
	for (size_t i = 0; i < roster->host_count; i++) {
		struct host *host = &roster->hosts[i];
		const struct guard *guard = &config->guards[host->guard];
		const struct saved_host *saved = find_host(state, &first, host, guard->fingerprint);

		if (!saved)
			continue;
		if (host_inherit(host, &saved->host, guard, around) < 0)
			return -ENOMEM;
		host_restore(host, now);
		if (host->validated && !saved->host.validated)
			host_unproven(host, now);
	}
	return 0;
}

int state_restore_srvs(const struct saved_state *state, struct roster *roster, int64_t now)
{
	for (size_t i = 0; i < state->srv_count; i++) {
		struct srv *srv = roster_find_srv(roster, state->srvs[i].name);

		/* Twice in the text: the first one counts. */
		if (!srv || srv->targets)
			continue;
		if (srv_inherit(srv, &state->srvs[i]) < 0)
			return -ENOMEM;
		lookup_restore(&srv->lookup, now);
		for (size_t j = 0; j < srv->retired_count; j++) {
			if (srv->retired[j].when > now)
				srv->retired[j].when = now;
		}
		if (srv->validated && !state->srvs[i].validated)
			srv_unproven(srv, now);
	}
	return 0;
}
