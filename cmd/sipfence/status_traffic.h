/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel has counted, beside what is known of the names: in JSON, and for people. */
#ifndef SIPFENCE_STATUS_TRAFFIC_H
#define SIPFENCE_STATUS_TRAFFIC_H

#include "command.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Adds "traffic" to the status, and "packets" to its names and permits; all of it is null where
 * the counters cannot be read: by whoever may not look at the kernel, without a table or without a
 * config that can be read. False: out of memory.
 */
bool status_add_traffic(const struct invocation *invocation, json_t *status);

/* The last lines for people: who was kept out. `rows`: how many lines there is room for. */
void status_print_kept_out(const struct invocation *invocation, const json_t *status, size_t rows);
/* "; dropped: sip 120 packets", or nothing. */
void status_print_dropped(const json_t *status);

/* "12345", "1234 k", "98 M": at most five digits. */
void words_packets(int64_t packets, struct text *text);

/* "<4m": within these; "2h": none since then; ">2h": not for that long, or longer; "-": unknown. */
void words_last(const json_t *item, int64_t now, struct text *text);

#endif
