/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's connection tracking (ctnetlink, linux/netfilter/nfnetlink_conntrack.h) -> talkers:
 * who sends packets to a guarded port of ours now. A flow that the PBX opened counts as well: its
 * replies arrive at the same port, and are dropped like all else from an unlisted source.
 */
#ifndef SIPFENCE_CONNTRACK_H
#define SIPFENCE_CONNTRACK_H

#include "answer.h"
#include "config.h"
#include "plan.h"

#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

enum { CONNTRACK_REQUEST_SIZE = 64 };
/* For all flows. The kernel walks its whole hash table for that, even when it is empty: */
size_t conntrack_request(uint32_t sequence, void *buffer);
/* How many flows are there? */
size_t conntrack_count_request(uint32_t sequence, void *buffer);
/* The answer; UINT32_MAX when it doesn't say. */
uint32_t conntrack_count(const struct nlmsghdr *message);

/* True when the flow of a reply message reaches a guarded port. */
bool conntrack_talker(const struct nlmsghdr *message, const struct config *config,
	const struct own_addresses *own, struct talker *ret_talker);

#endif
