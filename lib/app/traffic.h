/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel's table has counted: packets of those who may pass, what was dropped, and who was
 * kept out within the last hour. Reading it takes CAP_NET_ADMIN, and is for whoever asks: it costs
 * as much as there are elements.
 *
 * Counters count from when the address entered the list; swaps of the table carry them over.
 */
#ifndef SIPFENCE_TRAFFIC_H
#define SIPFENCE_TRAFFIC_H

#include "addr.h"
#include "config.h"
#include "error.h"
#include "plan.h"
#include "ruleset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A source that is not listed. Its element in the kernel lives for an hour from its last packet:
 * what is left of it says when that was. */
struct knocker {
	struct addr addr;
	uint8_t service;	 /* index into config.services */
	uint64_t packets, bytes; /* since it began to knock, pauses of up to an hour included; of a
				  * flood a sample (core/ruleset.h: NOTED_RATE) */
	int64_t idle;		 /* seconds since the last one */
	bool answers;		 /* to a flow that the PBX opened: a forgotten trunk? */
};

struct traffic {
	const struct config *config; /* not owned */
	struct ruleset *ruleset;     /* what is looked for, without elements */
	struct observed *observed;
	struct knocker *knockers; /* who answers first; then by packets, the most first */
	size_t knocker_count;
};

enum {
	TRAFFIC_LISTED = 1,   /* packets of those who may pass */
	TRAFFIC_KEPT_OUT = 2, /* knockers */
	TRAFFIC_FLOWS = 4,    /* and which of them answer: reads all of connection tracking */
};
enum { TRAFFIC_NO_TABLE = 1 };
/* `what`: any of these bits; what was dropped is always read. */
int traffic_read(const struct config *config, unsigned what, struct traffic *ret_traffic,
	struct error *error);
/* The same in two steps. The second touches nothing of the config without TRAFFIC_FLOWS: a thread
 * may do it while the config goes. */
int traffic_begin(const struct config *config, struct traffic *ret_traffic); /* -ENOMEM */
int traffic_look(struct traffic *traffic, unsigned what, struct error *error);
void traffic_clear(struct traffic *traffic);

/* Packets of the elements that let `prefix` in, of all services in `services` (bit i:
 * config.services[i]). False: no element does. */
bool traffic_packets(const struct traffic *traffic, const struct prefix *prefix, uint32_t services,
	uint64_t *ret_packets);
/* What was dropped (`mode: monitor`: would have been) since the table was made first. */
void traffic_dropped(
	const struct traffic *traffic, size_t service, uint64_t *ret_packets, uint64_t *ret_bytes);

#endif
