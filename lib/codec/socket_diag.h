/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's list of sockets (linux/inet_diag.h) -> who waits for packets on which port. */
#ifndef SIPFENCE_SOCKET_DIAG_H
#define SIPFENCE_SOCKET_DIAG_H

#include "addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

enum { LISTENER_PROGRAM_SIZE = 64 };

struct listener {
	struct addr addr; /* of all zeroes: any */
	uint8_t protocol; /* enum protocol */
	uint16_t port;
	uint32_t inode;
	uint32_t pid;			     /* 0: not known */
	char program[LISTENER_PROGRAM_SIZE]; /* "": not known */
};

/* A whole message in `buffer`, for sockets that listen (tcp) or are not connected (udp). */
enum { SOCKET_DIAG_REQUEST_SIZE = 128 };
size_t socket_diag_request(uint8_t protocol, enum family family, uint32_t sequence, void *buffer);
/* False: that is none. The protocol is that of the request. */
bool socket_diag_listener(
	const struct nlmsghdr *message, uint8_t protocol, struct listener *ret_listener);

#endif
