/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who waits for packets on this machine, in this network namespace. */
#ifndef SIPFENCE_LISTENERS_H
#define SIPFENCE_LISTENERS_H

#include "error.h"
#include "socket_diag.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * All listening TCP and unconnected UDP sockets, IPv4 and IPv6, sorted by protocol, port, address.
 * Their programs are looked for in /proc: *ret_hidden: that of some socket was not found, since it
 * takes root to look at others' processes. free() the list.
 */
int listeners_list(
	struct listener **ret_listeners, size_t *ret_count, bool *ret_hidden, struct error *error);

#endif
