/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IPv4 and IPv6 addresses and prefixes as values. Bytes are in network order. Text follows
 * RFC 4291 section 2.2 on input and RFC 5952 on output; IPv4 is four decimal numbers without
 * leading zeroes, nothing else (no octal, no "10.1").
 */
#ifndef SIPFENCE_ADDR_H
#define SIPFENCE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum family {
	FAMILY_IPV4 = 0,
	FAMILY_IPV6 = 1,
};
enum { FAMILY_COUNT = 2 };

struct addr {
	uint8_t family;	   /* enum family */
	uint8_t bytes[16]; /* the first 4 for IPv4, the rest zero */
};

struct prefix {
	struct addr addr; /* host bits are zero */
	uint8_t length;	  /* 0 to 32 or 128 */
};

enum {
	ADDR_TEXT_SIZE = 46,   /* with NUL */
	PREFIX_TEXT_SIZE = 50, /* with NUL */
};

/* Special-purpose blocks that an answer is judged by (RFC 6890 and its registry). */
enum addr_special {
	ADDR_ORDINARY = 0,
	ADDR_UNSPECIFIED,  /* 0.0.0.0, :: */
	ADDR_THIS_NETWORK, /* the rest of 0.0.0.0/8 */
	ADDR_LOOPBACK,	   /* 127.0.0.0/8, ::1 */
	ADDR_LINK_LOCAL,   /* 169.254.0.0/16, fe80::/10 */
	ADDR_MULTICAST,	   /* 224.0.0.0/4, ff00::/8 */
	ADDR_RESERVED,	   /* 240.0.0.0/4, 255.255.255.255 included */
	ADDR_MAPPED,	   /* ::ffff:0:0/96, and the deprecated ::/96 */
	ADDR_PRIVATE,	   /* RFC 1918, 100.64.0.0/10, fc00::/7 */
};

unsigned addr_bits(enum family family); /* 32 or 128 */
size_t addr_size(enum family family);	/* 4 or 16 */

/* True when `text` (of `length` bytes) is an address and nothing else. */
bool addr_parse(const char *text, size_t length, struct addr *ret_addr);
/* Writes at most ADDR_TEXT_SIZE bytes; returns the length without NUL. */
size_t addr_print(const struct addr *addr, char *buffer);
/* The first (0) or the second (1) half of an IPv6 address as a number; of IPv4: all, and 0. */
uint64_t addr_half(const struct addr *addr, int which);
/* IPv4 before IPv6, then by value. */
int addr_compare(const struct addr *a, const struct addr *b);
bool addr_equal(const struct addr *a, const struct addr *b);
enum addr_special addr_special(const struct addr *addr);
/* "a loopback address", for messages. */
const char *addr_special_name(enum addr_special special);

enum prefix_error {
	PREFIX_OK = 0,
	PREFIX_BAD_ADDRESS,
	PREFIX_BAD_LENGTH, /* not a number, or longer than the address */
	PREFIX_HOST_BITS,  /* ret_prefix is written with them cleared */
};
/* An address with or without "/length" (without: the full length). */
enum prefix_error prefix_parse(const char *text, size_t length, struct prefix *ret_prefix);
/* Writes at most PREFIX_TEXT_SIZE bytes, without "/32" or "/128"; returns the length. */
size_t prefix_print(const struct prefix *prefix, char *buffer);
/* The prefix of `length` bits that `addr` lies in. */
struct prefix prefix_of(const struct addr *addr, unsigned length);
bool prefix_is_host(const struct prefix *prefix); /* /32 or /128 */
bool prefix_contains(const struct prefix *prefix, const struct addr *addr);
bool prefix_covers(const struct prefix *outer, const struct prefix *inner); /* or equals */
/* By first address, then the shorter (wider) one first: a covering prefix stands before what it
 * covers. */
int prefix_compare(const struct prefix *a, const struct prefix *b);
struct addr prefix_last(const struct prefix *prefix);
/* addr + 1; false, and nothing written, after the family's last address. */
bool addr_next(const struct addr *addr, struct addr *ret_next);

#endif
