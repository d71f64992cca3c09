/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Walking over netlink attributes. libmnl's own loops are macros that do not compile without
 * conversion warnings.
 */
#ifndef SIPFENCE_NFT_ATTR_H
#define SIPFENCE_NFT_ATTR_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Table flags. Headers older than Linux 6.9 do not have the second one. */
enum {
	TABLE_FLAG_OWNER = 2,	/* NFT_TABLE_F_OWNER */
	TABLE_FLAG_PERSIST = 4, /* NFT_TABLE_F_PERSIST */
};

struct attr_walk {
	const struct nlattr *next;
	const uint8_t *end;
};

/* Is there a whole message at the beginning of `left` bytes? libmnl's mnl_nlmsg_ok() takes a length
 * of 2 GB and more for a negative one, and says yes. */
static inline bool message_is_whole(const struct nlmsghdr *message, size_t left)
{
	return left >= sizeof(*message) && message->nlmsg_len >= sizeof(*message) &&
	       message->nlmsg_len <= left;
}

/* What stands behind a whole message; *left is what is left from there on. */
static inline const struct nlmsghdr *message_behind(const struct nlmsghdr *message, size_t *left)
{
	size_t size = ((size_t)message->nlmsg_len + MNL_ALIGNTO - 1) & ~(size_t)(MNL_ALIGNTO - 1);

	if (size > *left)
		size = *left;
	*left -= size;
	return (const struct nlmsghdr *)((const uint8_t *)message + size);
}

/* The attributes behind the family header of `header_size` bytes. */
static inline struct attr_walk attr_walk_message(const struct nlmsghdr *message, size_t header_size)
{
	return (struct attr_walk){
		.next = mnl_nlmsg_get_payload_offset(message, header_size),
		.end = (const uint8_t *)message + message->nlmsg_len,
	};
}

static inline struct attr_walk attr_walk_nested(const struct nlattr *nest)
{
	const uint8_t *payload = mnl_attr_get_payload(nest);

	return (struct attr_walk){
		.next = mnl_attr_get_payload(nest),
		.end = payload + mnl_attr_get_payload_len(nest),
	};
}

/* The next whole attribute, or NULL. */
static inline const struct nlattr *attr_walk_step(struct attr_walk *walk)
{
	const struct nlattr *attr = walk->next;

	if ((const uint8_t *)attr > walk->end ||
		!mnl_attr_ok(attr, (int)(walk->end - (const uint8_t *)attr)))
		return NULL;
	walk->next = mnl_attr_next(attr);
	return attr;
}

static inline const struct nlattr *attr_find(struct attr_walk walk, uint16_t type)
{
	const struct nlattr *attr;

	while ((attr = attr_walk_step(&walk))) {
		if (mnl_attr_get_type(attr) == type)
			return attr;
	}
	return NULL;
}

/* The attribute of `type`, if its payload has exactly `size` bytes; else NULL. */
static inline const void *attr_find_fixed(struct attr_walk walk, uint16_t type, size_t size)
{
	const struct nlattr *attr = attr_find(walk, type);

	return attr && mnl_attr_get_payload_len(attr) == size ? mnl_attr_get_payload(attr) : NULL;
}

/* Big-endian numbers, 0 when they are missing; netlink aligns to 4 bytes only. */
static inline uint32_t attr_find_be32(struct attr_walk walk, uint16_t type)
{
	const uint8_t *b = attr_find_fixed(walk, type, 4);

	return b ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3] : 0;
}

static inline uint64_t attr_find_be64(struct attr_walk walk, uint16_t type)
{
	const uint8_t *b = attr_find_fixed(walk, type, 8);
	uint64_t number = 0;

	for (int i = 0; b && i < 8; i++)
		number = number << 8 | b[i];
	return number;
}

/* A NUL-terminated string, or NULL. */
static inline const char *attr_find_string(struct attr_walk walk, uint16_t type)
{
	const struct nlattr *attr = attr_find(walk, type);

	return attr && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 ? mnl_attr_get_str(attr)
									 : NULL;
}

#endif
