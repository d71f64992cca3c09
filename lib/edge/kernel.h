/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's nf_tables and connection tracking, over netlink. No other source file has a netlink
 * socket. Reading and changing nf_tables takes CAP_NET_ADMIN in the network namespace.
 */
#ifndef SIPFENCE_KERNEL_H
#define SIPFENCE_KERNEL_H

#include "answer.h"
#include "config.h"
#include "error.h"
#include "nft_netlink.h"
#include "plan.h"

#include <stddef.h>
#include <stdint.h>

struct kernel;

int kernel_open(struct kernel **ret_kernel, struct error *error);
struct kernel *kernel_close(struct kernel *kernel); /* returns NULL */

/*
 * What is there of our table, and the generation in which it was so. `snapshot` (NULL: none) gets
 * the kernel's messages as they came, for nft_batch_restore().
 */
int kernel_observe(struct kernel *kernel, const struct ruleset *wanted,
	struct observed **ret_observed, uint32_t *ret_generation, struct text *snapshot,
	struct error *error);

enum { KERNEL_MOVED = 1 };
/*
 * Sends the batch by one sendmsg(), and reads every ACK. 0: all of it is in force. KERNEL_MOVED:
 * none of it, since the ruleset is no longer of the batch's generation, or it is not known because
 * answers were lost: read again. Negative: none of it, and the first refusal is in `error`.
 */
int kernel_commit(struct kernel *kernel, const struct nft_batch *batch, struct error *error);

/* True, 0, negative: is there a table of that name? */
int kernel_has_table(struct kernel *kernel, const char *table, struct error *error);

/*
 * Waits until no packet is in the middle of an older ruleset any more (an RCU grace period, see
 * membarrier(2)).
 */
void kernel_settle(void);

/*
 * Who talks to the guarded ports now. *ret_blind: connection tracking knows of no flow at all, so
 * that nobody could be seen. free() the list.
 */
int kernel_talkers(struct kernel *kernel, const struct config *config,
	const struct own_addresses *own, struct talker **ret_talkers, size_t *ret_count,
	bool *ret_blind, struct error *error);

/* This machine's addresses, of all interfaces, sorted. free() ret_own->addrs. */
int kernel_own_addresses(struct own_addresses *ret_own, struct error *error);

#endif
