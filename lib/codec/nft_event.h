/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notifications of nf_tables (NFNLGRP_NFTABLES): who has changed one table. Pure: bytes and values.
 *
 * The kernel sends what a transaction has changed, message by message, and behind it the new
 * generation with the process that sent the transaction. Transactions do not mix. Each message
 * carries the port of the netlink socket that sent the transaction.
 */
#ifndef SIPFENCE_NFT_EVENT_H
#define SIPFENCE_NFT_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NFT_PROGRAM_SIZE = 16 };

/* What the first transaction that did damage says of its sender; 0 and "" if nothing. */
struct nft_damage {
	bool found;
	uint32_t pid;
	char program[NFT_PROGRAM_SIZE];
};

struct nft_events {
	const char *table; /* not owned */
	uint8_t family;	   /* enum table_family */
	/* Of a table of somebody else: the sets that matter, ended by NULL, not owned. NULL: it is
	 * ours, and all of it matters but the rejected sets. */
	const char *const *sets;
	bool touched; /* by the transaction whose end has not arrived yet */
};

/*
 * Takes one datagram. Changes by `own_port` are passed over, and elements of rejected sets, and
 * other tables. `damage` is filled in by the first transaction that has something left, when its
 * end arrives, and not touched otherwise. Anything that is no such message is passed over.
 */
void nft_events_take(struct nft_events *events, const void *data, size_t length, uint32_t own_port,
	struct nft_damage *damage);

#endif
