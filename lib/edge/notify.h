/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells the supervisor how we are: the protocol of sd_notify(3), a datagram to $NOTIFY_SOCKET.
 * Without that variable all calls do nothing, and succeed. Nothing here waits.
 *
 * The functions return 0 or -errno (-EAGAIN: the supervisor does not read). A readiness that could
 * not be sent goes along with whatever is sent next, so nobody has to look.
 */
#ifndef SIPFENCE_NOTIFY_H
#define SIPFENCE_NOTIFY_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
	int fd;		     /* -1: nobody wants to know */
	int64_t watchdog_ms; /* we are killed unless notify_watchdog() is called in that time; 0: no
				such watch */
	struct sockaddr_un address;
	socklen_t address_length;
	bool ready_unsent;
};

/*
 * Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and removes them from the environment: no
 * child may speak for us. *ret_notify is good in any case; negative: the variable names no socket
 * that can be used (in `error`), and nothing will be sent.
 */
int notify_open(struct notify *ret_notify, struct error *error);
void notify_close(struct notify *notify);

/* `status` (NULL: none) is one line for `systemctl status`. */
int notify_ready(struct notify *notify, const char *status);
/* The config is being read again; notify_ready() ends that. */
int notify_reloading(struct notify *notify);
int notify_stopping(struct notify *notify);
int notify_status(struct notify *notify, const char *status);
int notify_watchdog(struct notify *notify);

#endif
