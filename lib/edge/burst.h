/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams of one connected UDP socket that leave together. A send() of 60 bytes costs more than
 * all that is done for a question beside it; so those of one length are handed to the kernel as
 * one message, which goes through the stack as one and is cut where the path needs it (UDP_SEGMENT,
 * udp(7), Linux 4.18). On the wire, and at the receiver's socket, they are the same datagrams.
 * Where a message can't be cut (an IPsec policy, a device that makes no checksums), they go one by
 * one; as they do when what was cut gets lost on the way, and nothing of it has ever got an answer:
 * drivers and firewalls have their defects.
 */
#ifndef SIPFENCE_BURST_H
#define SIPFENCE_BURST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BURST_DATAGRAMS = 16,
	BURST_LOST_MOST = 8,
	BURST_SIZE = 336, /* of one: a name of 255 bytes, EDNS, and a cookie (RFC 7873) */
};

struct burst {
	int fd;		/* of those that wait */
	unsigned count; /* that wait; 0 in the beginning */
	bool singly;	/* nothing is cut any more */
	bool heard;
	unsigned lost;
	uint16_t sizes[BURST_DATAGRAMS];
	uint8_t bytes[BURST_DATAGRAMS][BURST_SIZE];
};

/* Keeps a copy, to be sent by burst_send(). false: there is no room, or others wait for another
 * socket, or it is larger than BURST_SIZE. */
bool burst_add(struct burst *burst, int fd, const void *bytes, size_t size);
/* The one that was added last is going to leave in a message that is cut. Others may be, too. */
bool burst_is_cut(const struct burst *burst);
/*
 * Sends what waits; none waits then, whatever it returns. -errno: of these some were not sent,
 * or the other side has refused what was sent before.
 */
int burst_send(struct burst *burst);
/* One that burst_is_cut() was true of has got an answer; is lost, while others get through. */
void burst_heard(struct burst *burst);
void burst_lost(struct burst *burst);
/* Forgets what waits for this socket, which is about to be closed. */
void burst_forget(struct burst *burst, int fd);

#endif
