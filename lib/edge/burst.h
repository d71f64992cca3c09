/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams of one connected UDP socket that leave together. A send() of 60 bytes costs more than
 * all that is done for a question beside it; so those of one length are handed to the kernel as
 * one message, which goes through the stack as one and is cut where the path needs it (UDP_SEGMENT,
 * udp(7), Linux 4.18). On the wire, and at the receiver's socket, they are the same datagrams.
 * Where a message can't be cut (an IPsec policy, a device that makes no checksums), or is refused
 * as a whole (a firewall's limit of length), they go one by one; as they do when at least half of
 * what was cut has been lost of late on the way to that server: drivers and firewalls have their
 * defects. A server that was away for a while looks the same, so cutting is tried again after some
 * thousands of answers, then twice as many, and so on.
 */
#ifndef SIPFENCE_BURST_H
#define SIPFENCE_BURST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BURST_DATAGRAMS = 16,
	BURST_LOST_MOST = 8,
	BURST_OF_LATE = 128,	     /* so many fates weigh as much as half as many younger ones */
	BURST_PAUSE_LEAST = 1 << 12, /* answers until cutting is tried again */
	BURST_PAUSE_MOST = 1 << 20,
	BURST_SIZE = 336, /* of one: a name of 255 bytes, EDNS, and a cookie (RFC 7873) */
};

/* The way to one server. Zeroed in the beginning. */
struct burst_path {
	uint32_t singly; /* answers from now on until cutting is tried again; 0: it is */
	uint32_t pause;	 /* the last such number */
	uint8_t heard, lost;
};

struct burst {
	int fd;			 /* of those that wait */
	struct burst_path *path; /* the same, not owned */
	unsigned count;		 /* that wait; 0 in the beginning */
	uint16_t sizes[BURST_DATAGRAMS];
	uint8_t bytes[BURST_DATAGRAMS][BURST_SIZE];
};

/* Keeps a copy, to be sent by burst_send(). false: there is no room, or others wait for another
 * socket, or it is larger than BURST_SIZE. */
bool burst_add(
	struct burst *burst, int fd, struct burst_path *path, const void *bytes, size_t size);
/* The one that was added last is going to leave in a message that is cut. Others may be, too. */
bool burst_is_cut(const struct burst *burst);
/*
 * Sends what waits; none waits then, whatever it returns. -errno: of these some were not sent,
 * or the other side has refused what was sent before.
 */
int burst_send(struct burst *burst);
/* The server has sent a message; `cut`: to one that burst_is_cut() was true of. */
void burst_heard(struct burst_path *path, bool cut);
/* One that burst_is_cut() was true of has got no answer, and others get through. */
void burst_lost(struct burst_path *path);
/* Forgets what waits for this socket, which is about to be closed. */
void burst_forget(struct burst *burst, int fd);

#endif
