/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ruleset, plan <-> netlink messages of nf_tables (linux/netfilter/nf_tables.h; what each message
 * means is in the kernel's net/netfilter/nf_tables_api.c). Pure: bytes and values, no socket.
 *
 * Tables, sets, chains and rules go through libnftnl. Elements, of which there may be 100,000, are
 * written and read attribute by attribute: no object for each.
 */
#ifndef SIPFENCE_NFT_NETLINK_H
#define SIPFENCE_NFT_NETLINK_H

#include "error.h"
#include "plan.h"
#include "ruleset.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

/*
 * One transaction: NFNL_MSG_BATCH_BEGIN … END, to be sent by one sendmsg(). Each message asks for
 * an ACK; sequence numbers count from 1, those of the two brackets are 0 and `messages` + 1.
 */
struct nft_batch {
	uint8_t *data;
	size_t length, capacity;
	size_t clean; /* up to here what is behind `length` is zero, as attributes' padding must be
		       */
	uint32_t messages; /* between the brackets */
	uint32_t *offsets; /* of message i + 1 in data */
	size_t offset_capacity;
	bool failed;	/* out of memory, sticky */
	uint8_t family; /* enum table_family, of the table that it is about */
};

/*
 * The whole table; `replaces` says whether there is one of that name now. (Deleting what is not
 * there can be had, too, but makes the kernel wait for a grace period when our socket is closed.)
 * -ENOMEM. `generation`: the transaction is refused (ERESTART) when the ruleset is no longer of
 * that generation; 0: any.
 *
 * The kernel hooks a new base chain before it switches generations. A packet may pass the new chain
 * while that is still empty, and the old one when that is empty already: some 10 ns a swap, but a
 * flood gets through. `relay` adds a second base chain behind both, with the same rules: whoever
 * slips through meets it live. Take it out with nft_batch_drop_relay() once no packet is under way
 * any more.
 *
 * With ruleset->lock the table is owned by the socket that sends the batch, and persistent.
 */
int nft_batch_swap(const struct ruleset *ruleset, uint32_t generation, bool replaces, bool relay,
	struct nft_batch *ret_batch);
int nft_batch_drop_relay(const struct ruleset *ruleset, struct nft_batch *ret_batch);
/* The changes of a PLAN_ELEMENTS, and the adoption. Elements of `ruleset` are not looked at. */
int nft_batch_changes(const struct ruleset *ruleset, const struct plan *plan, uint32_t generation,
	struct nft_batch *ret_batch);
/* Is message `sequence` the one that asks for an owned, persistent table? */
bool nft_batch_asks_for_lock(const struct nft_batch *batch, uint32_t sequence);
/* Deletes the table. */
int nft_batch_remove(const char *table, uint32_t generation, struct nft_batch *ret_batch);
/*
 * Puts a table back as it was. `snapshot`: what the kernel answered to the requests below, message
 * after message; empty: there was no table. -EBADMSG, -ENOMEM.
 */
int nft_batch_restore(
	const char *table, const void *snapshot, size_t length, struct nft_batch *ret_batch);
void nft_batch_clear(struct nft_batch *batch);

/*
 * What message `sequence` is about: "set sip_hosts4", and, where `offset` (from the start of the
 * message; 0: unknown) lies in an element, "element 203.0.113.7 of set sip_hosts4".
 */
void nft_batch_describe(
	const struct nft_batch *batch, uint32_t sequence, uint32_t offset, struct text *text);

/* All of the shape (core/plan.h) that `ruleset` asks for. */
int nft_shape(const struct ruleset *ruleset, struct text *ret_shape);

/* That of netfilter's messages (NFPROTO_) for an enum table_family. */
uint8_t nft_protocol_family(uint8_t family);

/* Requests, each a whole message in `buffer` (NFT_REQUEST_SIZE bytes); returns its length. */
enum { NFT_REQUEST_SIZE = 512 };
size_t nft_request_generation(uint32_t sequence, void *buffer);
size_t nft_request_table(
	enum table_family family, const char *table, uint32_t sequence, void *buffer);
size_t nft_request_chains(uint32_t sequence, void *buffer);
size_t nft_request_sets(
	enum table_family family, const char *table, uint32_t sequence, void *buffer);
size_t nft_request_rules(
	enum table_family family, const char *table, uint32_t sequence, void *buffer);
size_t nft_request_elements(enum table_family family, const char *table, const char *set,
	uint32_t sequence, void *buffer);

/* One element, by element->prefix; elements of `set` are not looked at. */
size_t nft_request_element(enum table_family family, const char *table, const struct set *set,
	const struct element *element, uint32_t sequence, void *buffer);
/* Its counter, from the reply. -ENOENT: that is another element. -EBADMSG. */
int nft_parse_element(
	const struct nlmsghdr *message, const struct set *set, struct element *element);

/* The generation of a reply to nft_request_generation(); -EBADMSG. */
int nft_parse_generation(const struct nlmsghdr *message, uint32_t *ret_generation);

/*
 * Reads the replies to the other requests, in any order but tables first and elements last;
 * messages of other tables are passed over. Then nft_observer_end() gives the table. `wanted` says
 * which set name stands for what; `port` is that of the socket, which may own the table.
 */
struct nft_observer;
int nft_observer_new(
	const struct ruleset *wanted, uint32_t port, struct nft_observer **ret_observer);
/* After the table's message: does `port` own it? */
bool nft_observer_is_ours(const struct nft_observer *observer);
int nft_observer_message(struct nft_observer *observer, const struct nlmsghdr *message);
/* The table's sets, whose elements are to be requested: their names; NULL: no more. Those that are
 * not wanted are passed over, but a snapshot needs them. */
const char *nft_observer_set(const struct nft_observer *observer, size_t index);
int nft_observer_end(struct nft_observer *observer, struct observed **ret_observed);
struct nft_observer *nft_observer_free(struct nft_observer *observer);

#endif
