/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The syslog of this machine: a datagram a line to /dev/log, as RFC 3164 has it on one machine
 * (without a host name), facility daemon. Unlike syslog(3) it never waits: a log daemon that hangs
 * must not hold up ours. Each line is addressed anew, so a log daemon that was started again gets
 * the next one.
 */
#ifndef SIPFENCE_SYSTEM_LOG_H
#define SIPFENCE_SYSTEM_LOG_H

#include "error.h"
#include "event.h"

#include <time.h>

#define SYSTEM_LOG_SOCKET "/dev/log"

/* Longer lines are cut; all log daemons take so much. */
enum { SYSTEM_LOG_LINE = 2048 };

/* A log daemon need not be there yet. */
int system_log_open(int *ret_fd, struct error *error);

/* 0, or -errno: the line is not there. `now` is printed in local time. */
int system_log_send(int fd, enum event_level level, time_t now, const char *line);

#endif
