/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz_netlink.h"

#include "fuzz.h"

enum {
	MESSAGE_HEADER = 20, /* nlmsghdr and nfgenmsg */
	ATTR_HEADER = 4,
	DEPTH_MAX = 8,
	CHANGE_MAX = 8, /* bytes by which a payload grows or shrinks */
};

/* Only libFuzzer has it. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));

struct mutation {
	uint8_t *data;
	size_t size, max_size;
	uint64_t dice;
	size_t message;		   /* where the chosen one begins */
	size_t parents[DEPTH_MAX]; /* attributes around the chosen one */
	size_t depth;
};

static size_t roll(struct mutation *m, size_t limit)
{
	m->dice ^= m->dice << 13;
	m->dice ^= m->dice >> 7;
	m->dice ^= m->dice << 17;
	return limit ? (size_t)(m->dice % limit) : 0;
}

static size_t aligned(size_t length)
{
	return (length + 3) & ~(size_t)3;
}

static size_t message_length(const struct mutation *m, size_t at)
{
	uint32_t length;

	if (m->size - at < MESSAGE_HEADER)
		return 0;
	memcpy(&length, m->data + at, sizeof(length));
	return length >= MESSAGE_HEADER && length <= m->size - at ? length : 0;
}

static size_t attr_length(const struct mutation *m, size_t at, size_t end)
{
	uint16_t length;

	if (at > end || end - at < ATTR_HEADER)
		return 0;
	memcpy(&length, m->data + at, sizeof(length));
	return length >= ATTR_HEADER && length <= end - at ? length : 0;
}

static void add_to_attr(struct mutation *m, size_t at, long change)
{
	uint16_t length;

	memcpy(&length, m->data + at, sizeof(length));
	length = (uint16_t)(length + change);
	memcpy(m->data + at, &length, sizeof(length));
}

static void add_to_message(struct mutation *m, long change)
{
	uint32_t length;

	memcpy(&length, m->data + m->message, sizeof(length));
	length = (uint32_t)(length + change);
	memcpy(m->data + m->message, &length, sizeof(length));
}

/* Other bytes in the place of some; all that is around has the right length afterwards. */
static bool splice(struct mutation *m, size_t at, size_t out, size_t in)
{
	long change = (long)in - (long)out;

	if (m->size - out + in > m->max_size || at + out > m->size)
		return false;
	memmove(m->data + at + in, m->data + at + out, m->size - at - out);
	if (in > out)
		memset(m->data + at + out, roll(m, 2) ? 'x' : 0, in - out);
	m->size = m->size - out + in;
	for (size_t i = 0; i < m->depth; i++)
		add_to_attr(m, m->parents[i], change);
	add_to_message(m, change);
	return true;
}

static bool choose_message(struct mutation *m)
{
	size_t count = 0, length;

	for (size_t at = 0; at < m->size && (length = message_length(m, at));
		at += aligned(length)) {
		if (roll(m, ++count) == 0)
			m->message = at;
	}
	return count > 0;
}

static size_t choose_attr(struct mutation *m, size_t at, size_t end)
{
	size_t count = 0, chosen = 0, length;

	for (; (length = attr_length(m, at, end)); at += aligned(length)) {
		if (roll(m, ++count) == 0)
			chosen = at;
	}
	return chosen;
}

/* 0: there is none. */
static size_t descend(struct mutation *m)
{
	size_t end = m->message + message_length(m, m->message);
	size_t attr = choose_attr(m, m->message + MESSAGE_HEADER, end);

	while (attr && m->depth < DEPTH_MAX && roll(m, 5) > 0) {
		size_t inner_end = attr + attr_length(m, attr, end);
		size_t inner = choose_attr(m, attr + ATTR_HEADER, inner_end);

		if (!inner)
			break;
		m->parents[m->depth++] = attr;
		attr = inner;
		end = inner_end;
	}
	return attr;
}

static void resize_attr(struct mutation *m, size_t attr, size_t length, size_t wanted)
{
	size_t room = aligned(length), left = m->size - attr;

	/* The last one of all may end without padding. */
	if (room > left)
		room = left;
	if (splice(m, attr + length, room - length, 0)) {
		size_t padding = roll(m, 2) ? aligned(wanted) - wanted : 0;
		bool done = wanted < length
				    ? splice(m, attr + wanted, length - wanted, padding)
				    : splice(m, attr + length, 0, wanted - length + padding);

		if (done)
			add_to_attr(m, attr, (long)wanted - (long)length);
	}
}

static void mutate_attr(struct mutation *m)
{
	size_t attr = descend(m), length = attr ? attr_length(m, attr, m->size) : 0;
	size_t room = aligned(length);

	if (length == 0)
		return;
	if (room > m->size - attr)
		room = m->size - attr;
	switch (roll(m, 7)) {
	case 0:
		m->data[attr + 2] = (uint8_t)roll(m, 24);
		break;
	case 1:
	case 2:
		resize_attr(m, attr, length,
			length - roll(m, length - ATTR_HEADER < CHANGE_MAX
						 ? length - ATTR_HEADER + 1
						 : CHANGE_MAX + 1));
		break;
	case 3:
		resize_attr(m, attr, length, length + 1 + roll(m, CHANGE_MAX));
		break;
	case 4:
		splice(m, attr, room, 0);
		break;
	case 5:
		if (splice(m, attr + room, 0, room))
			memcpy(m->data + attr + room, m->data + attr, room);
		break;
	default:
		if (LLVMFuzzerMutate && length > ATTR_HEADER)
			LLVMFuzzerMutate(m->data + attr + ATTR_HEADER, length - ATTR_HEADER,
				length - ATTR_HEADER);
		break;
	}
}

static void drop_message(struct mutation *m)
{
	size_t room = aligned(message_length(m, m->message));

	if (room >= m->size - m->message) {
		m->size = m->message;
		return;
	}
	memmove(m->data + m->message, m->data + m->message + room, m->size - m->message - room);
	m->size -= room;
}

size_t fuzz_netlink_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct mutation m = {.data = data,
		.size = size,
		.max_size = max_size,
		.dice = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
	size_t action = roll(&m, 8);

	if (action < 2 || !choose_message(&m))
		return LLVMFuzzerMutate ? LLVMFuzzerMutate(data, size, max_size) : size;
	if (action == 2)
		drop_message(&m);
	else
		mutate_attr(&m);
	return m.size;
}
