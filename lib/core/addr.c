/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "addr.h"

#include <string.h>

unsigned addr_bits(enum family family)
{
	return family == FAMILY_IPV4 ? 32 : 128;
}

size_t addr_size(enum family family)
{
	return family == FAMILY_IPV4 ? 4 : 16;
}

/* A decimal number up to `limit` without a leading zero; the digits used, 0 when there is none. */
static size_t parse_decimal(const char *text, size_t length, unsigned limit, unsigned *ret_number)
{
	unsigned number = 0;
	size_t at = 0;

	while (at < length && text[at] >= '0' && text[at] <= '9') {
		if (at > 0 && number == 0)
			return 0;
		number = number * 10 + (unsigned)(text[at] - '0');
		if (number > limit)
			return 0;
		at++;
	}
	if (at)
		*ret_number = number;
	return at;
}

static bool parse_ipv4(const char *text, size_t length, uint8_t *ret_bytes)
{
	uint8_t bytes[4];
	size_t at = 0;

	for (int i = 0; i < 4; i++) {
		unsigned number;
		size_t digits;

		if (i > 0 && (at >= length || text[at++] != '.'))
			return false;
		digits = parse_decimal(text + at, length - at, 255, &number);
		if (!digits)
			return false;
		bytes[i] = (uint8_t)number;
		at += digits;
	}
	if (at != length)
		return false;
	memcpy(ret_bytes, bytes, 4);
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One group of up to four hex digits; the digits used, 0 when there is none or too many. */
static size_t parse_group(const char *text, size_t length, unsigned *ret_group)
{
	unsigned group = 0;
	size_t at = 0;

	while (at < length && hex_digit(text[at]) >= 0) {
		if (at == 4)
			return 0;
		group = group << 4 | (unsigned)hex_digit(text[at]);
		at++;
	}
	*ret_group = group;
	return at;
}

/* The text before or after "::": groups parted by single colons, IPv4 allowed at the very end.
 * Returns the number of bytes written, or -1. */
static int parse_groups(const char *text, size_t length, bool last, uint8_t *bytes, int room)
{
	size_t at = 0;
	int count = 0;

	if (length == 0)
		return 0;
	for (;;) {
		unsigned group;
		size_t digits;

		if (last && room - count >= 4 && parse_ipv4(text + at, length - at, bytes + count))
			return count + 4;
		digits = parse_group(text + at, length - at, &group);
		if (!digits || room - count < 2)
			return -1;
		bytes[count++] = (uint8_t)(group >> 8);
		bytes[count++] = (uint8_t)(group & 0xff);
		at += digits;
		if (at == length)
			return count;
		if (text[at++] != ':')
			return -1;
	}
}

static bool parse_ipv6(const char *text, size_t length, uint8_t *ret_bytes)
{
	const char *gap = length < 2 ? NULL : memmem(text, length, "::", 2);
	uint8_t head[16], tail[16];
	int head_size, tail_size = 0;

	if (!gap) {
		if (parse_groups(text, length, true, head, 16) != 16)
			return false;
		memcpy(ret_bytes, head, 16);
		return true;
	}
	/* "::" stands for one group at least (RFC 4291, 2.2). */
	head_size = parse_groups(text, (size_t)(gap - text), false, head, 14);
	if (head_size < 0)
		return false;
	tail_size = parse_groups(
		gap + 2, length - (size_t)(gap + 2 - text), true, tail, 14 - head_size);
	if (tail_size < 0)
		return false;
	memset(ret_bytes, 0, 16);
	memcpy(ret_bytes, head, (size_t)head_size);
	memcpy(ret_bytes + 16 - tail_size, tail, (size_t)tail_size);
	return true;
}

bool addr_parse(const char *text, size_t length, struct addr *ret_addr)
{
	struct addr addr = {0};
	bool ipv6 = length && memchr(text, ':', length);

	addr.family = ipv6 ? FAMILY_IPV6 : FAMILY_IPV4;
	if (ipv6 ? !parse_ipv6(text, length, addr.bytes) : !parse_ipv4(text, length, addr.bytes))
		return false;
	*ret_addr = addr;
	return true;
}

static char *print_decimal(char *out, unsigned number)
{
	if (number >= 100)
		*out++ = (char)('0' + number / 100);
	if (number >= 10)
		*out++ = (char)('0' + number / 10 % 10);
	*out++ = (char)('0' + number % 10);
	return out;
}

static char *print_ipv4(char *out, const uint8_t *bytes)
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			*out++ = '.';
		out = print_decimal(out, bytes[i]);
	}
	return out;
}

static char *print_group(char *out, unsigned group)
{
	static const char digits[] = "0123456789abcdef";
	int shift = 12;

	while (shift > 0 && !(group >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*out++ = digits[group >> shift & 0xf];
	return out;
}

/* RFC 5952: the longest run of two or more zero groups becomes "::", the first of equal ones. */
static char *print_ipv6(char *out, const uint8_t *bytes)
{
	unsigned group[8];
	int best = -1, best_length = 1;

	for (int i = 0; i < 8; i++)
		group[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
	for (int i = 0; i < 8; i++) {
		int end = i;

		while (end < 8 && group[end] == 0)
			end++;
		if (end - i > best_length) {
			best = i;
			best_length = end - i;
		}
		if (end > i)
			i = end - 1;
	}
	if (best == 0 && best_length == 5 && group[5] == 0xffff) {
		memcpy(out, "::ffff:", 7);
		return print_ipv4(out + 7, bytes + 12);
	}
	for (int i = 0; i < 8; i++) {
		if (i == best) {
			*out++ = ':';
			*out++ = ':';
			i += best_length - 1;
			continue;
		}
		if (i > 0 && i != best + best_length)
			*out++ = ':';
		out = print_group(out, group[i]);
	}
	return out;
}

size_t addr_print(const struct addr *addr, char *buffer)
{
	char *end = addr->family == FAMILY_IPV4 ? print_ipv4(buffer, addr->bytes)
						: print_ipv6(buffer, addr->bytes);

	*end = '\0';
	return (size_t)(end - buffer);
}

/* Eight bytes in network order; compilers make one load of it. */
static uint64_t number_of(const uint8_t *b)
{
	return (uint64_t)b[0] << 56 | (uint64_t)b[1] << 48 | (uint64_t)b[2] << 40 |
	       (uint64_t)b[3] << 32 | (uint64_t)b[4] << 24 | (uint64_t)b[5] << 16 |
	       (uint64_t)b[6] << 8 | (uint64_t)b[7];
}

uint64_t addr_half(const struct addr *addr, int which)
{
	if (addr->family == FAMILY_IPV6)
		return number_of(addr->bytes + (which ? 8 : 0));
	return which ? 0 : number_of(addr->bytes) >> 32;
}

static int compare_numbers(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* Long lists are sorted by it: no call, no loop. */
int addr_compare(const struct addr *a, const struct addr *b)
{
	int order;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	order = compare_numbers(addr_half(a, 0), addr_half(b, 0));
	return order ? order : compare_numbers(addr_half(a, 1), addr_half(b, 1));
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return addr_compare(a, b) == 0;
}

static enum addr_special special_ipv4(const uint8_t *b)
{
	static const uint8_t zero[4];

	if (memcmp(b, zero, 4) == 0)
		return ADDR_UNSPECIFIED;
	if (b[0] == 0)
		return ADDR_THIS_NETWORK;
	if (b[0] == 127)
		return ADDR_LOOPBACK;
	if (b[0] == 169 && b[1] == 254)
		return ADDR_LINK_LOCAL;
	if (b[0] >= 224 && b[0] < 240)
		return ADDR_MULTICAST;
	if (b[0] >= 240)
		return ADDR_RESERVED;
	if (b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
		(b[0] == 100 && (b[1] & 0xc0) == 64))
		return ADDR_PRIVATE;
	return ADDR_ORDINARY;
}

static enum addr_special special_ipv6(const uint8_t *b)
{
	static const uint8_t zero[15];

	if (memcmp(b, zero, 15) == 0 && b[15] == 0)
		return ADDR_UNSPECIFIED;
	if (memcmp(b, zero, 15) == 0 && b[15] == 1)
		return ADDR_LOOPBACK;
	if (memcmp(b, zero, 12) == 0 ||
		(memcmp(b, zero, 10) == 0 && b[10] == 0xff && b[11] == 0xff))
		return ADDR_MAPPED;
	if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
		return ADDR_LINK_LOCAL;
	if (b[0] == 0xff)
		return ADDR_MULTICAST;
	if ((b[0] & 0xfe) == 0xfc)
		return ADDR_PRIVATE;
	return ADDR_ORDINARY;
}

enum addr_special addr_special(const struct addr *addr)
{
	return addr->family == FAMILY_IPV4 ? special_ipv4(addr->bytes) : special_ipv6(addr->bytes);
}

const char *addr_special_name(enum addr_special special)
{
	static const char *const names[] = {
		[ADDR_ORDINARY] = "an ordinary address",
		[ADDR_UNSPECIFIED] = "the unspecified address",
		[ADDR_THIS_NETWORK] = "an address of 0.0.0.0/8",
		[ADDR_LOOPBACK] = "a loopback address",
		[ADDR_LINK_LOCAL] = "a link-local address",
		[ADDR_MULTICAST] = "a multicast address",
		[ADDR_RESERVED] = "a reserved address",
		[ADDR_MAPPED] = "an IPv4 address in IPv6 form",
		[ADDR_PRIVATE] = "a private address",
	};

	return names[special];
}

static void clear_host_bits(struct prefix *prefix)
{
	size_t size = addr_size(prefix->addr.family);

	for (size_t i = prefix->length / 8; i < size; i++) {
		unsigned bit = (unsigned)i * 8;

		if (bit >= prefix->length)
			prefix->addr.bytes[i] = 0;
		else if (bit + 8 > prefix->length)
			prefix->addr.bytes[i] &= (uint8_t)(0xff << (bit + 8 - prefix->length));
	}
}

struct prefix prefix_of(const struct addr *addr, unsigned length)
{
	struct prefix prefix = {.addr = *addr, .length = (uint8_t)length};

	clear_host_bits(&prefix);
	return prefix;
}

enum prefix_error prefix_parse(const char *text, size_t length, struct prefix *ret_prefix)
{
	const char *slash = length ? memchr(text, '/', length) : NULL;
	size_t addr_length = slash ? (size_t)(slash - text) : length;
	struct addr addr;
	unsigned bits;

	if (!addr_parse(text, addr_length, &addr))
		return PREFIX_BAD_ADDRESS;
	bits = addr_bits(addr.family);
	if (slash) {
		size_t digits = length - addr_length - 1;

		if (!digits || parse_decimal(slash + 1, digits, bits, &bits) != digits)
			return PREFIX_BAD_LENGTH;
	}
	*ret_prefix = prefix_of(&addr, bits);
	return addr_equal(&ret_prefix->addr, &addr) ? PREFIX_OK : PREFIX_HOST_BITS;
}

size_t prefix_print(const struct prefix *prefix, char *buffer)
{
	size_t length = addr_print(&prefix->addr, buffer);
	char *end = buffer + length;

	if (prefix_is_host(prefix))
		return length;
	*end++ = '/';
	end = print_decimal(end, prefix->length);
	*end = '\0';
	return (size_t)(end - buffer);
}

bool prefix_is_host(const struct prefix *prefix)
{
	return prefix->length == addr_bits(prefix->addr.family);
}

bool prefix_contains(const struct prefix *prefix, const struct addr *addr)
{
	struct prefix same;

	if (prefix->addr.family != addr->family)
		return false;
	same = prefix_of(addr, prefix->length);
	return addr_equal(&same.addr, &prefix->addr);
}

bool prefix_covers(const struct prefix *outer, const struct prefix *inner)
{
	return outer->length <= inner->length && prefix_contains(outer, &inner->addr);
}

int prefix_compare(const struct prefix *a, const struct prefix *b)
{
	int order = addr_compare(&a->addr, &b->addr);

	if (order)
		return order;
	return (int)a->length - (int)b->length;
}

struct addr prefix_last(const struct prefix *prefix)
{
	struct addr last = prefix->addr;
	size_t size = addr_size(last.family);

	for (size_t i = 0; i < size; i++) {
		unsigned bit = (unsigned)i * 8;

		if (bit >= prefix->length)
			last.bytes[i] = 0xff;
		else if (bit + 8 > prefix->length)
			last.bytes[i] |= (uint8_t)(0xff >> (prefix->length - bit));
	}
	return last;
}

bool addr_next(const struct addr *addr, struct addr *ret_next)
{
	struct addr next = *addr;

	for (size_t i = addr_size(addr->family); i-- > 0;) {
		if (++next.bytes[i]) {
			*ret_next = next;
			return true;
		}
	}
	return false;
}
