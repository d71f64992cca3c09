/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's nf_tables and connection tracking, over netlink. No other source file has such a
 * socket. Reading and changing nf_tables takes CAP_NET_ADMIN in the network namespace.
 */
#ifndef SIPFENCE_KERNEL_H
#define SIPFENCE_KERNEL_H

#include "answer.h"
#include "config.h"
#include "error.h"
#include "nft_netlink.h"
#include "nft_survey.h"
#include "plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct kernel;

/* Tables that this handle's batches make or adopt with `lock` are owned as long as it is open. */
int kernel_open(struct kernel **ret_kernel, struct error *error);
struct kernel *kernel_close(struct kernel *kernel); /* returns NULL */

/*
 * What is there of our table, and the generation in which it was so. `snapshot` (NULL: none) gets
 * the kernel's messages as they came, for nft_batch_restore().
 *
 * The kernel has one generation for all tables. When others' changes never let it rest, what was
 * read of ours counts all the same, of no generation (0): a change of it in that very moment shows
 * when the batch is refused, or in the watch.
 */
int kernel_observe(struct kernel *kernel, const struct ruleset *wanted,
	struct observed **ret_observed, uint32_t *ret_generation, struct text *snapshot,
	struct error *error);

/*
 * For those who count: the elements of the sets of these kinds (bit SET_HOSTS and so on), and the
 * counters of the reject chains. Of all else nothing is looked at: `shape` and what follows of
 * chains are not the table's. Costs as much as these sets have elements.
 */
int kernel_observe_counters(struct kernel *kernel, const struct ruleset *wanted, unsigned kinds,
	struct observed **ret_observed, struct error *error);

enum { KERNEL_MOVED = 1, KERNEL_NO_LOCK = 2 };
/*
 * Sends the batch by one sendmsg(), and reads every ACK. 0: all of it is in force. KERNEL_MOVED:
 * none of it, since the ruleset is no longer of the batch's generation, or it is not known because
 * answers were lost: read again. KERNEL_NO_LOCK: none of it, since this kernel has no tables that
 * are owned and persistent: make a plain one. Negative: none of it, and the first refusal is in
 * `error`.
 */
int kernel_commit(struct kernel *kernel, const struct nft_batch *batch, struct error *error);

/* True, 0, negative: is there a table of that name? */
int kernel_has_table(struct kernel *kernel, const char *table, struct error *error);

enum { KERNEL_NO_ELEMENT = 1 };
/*
 * The counter of one element: element->prefix says which, packets and bytes are filled in (0: it
 * has none). Of `set` of `ruleset`, whose elements are not looked at. KERNEL_NO_ELEMENT: neither
 * table, nor set, nor element is there. Costs the same however large the set is.
 */
int kernel_read_element(struct kernel *kernel, const struct ruleset *ruleset, const struct set *set,
	struct element *element, struct error *error);

/*
 * Who else changes our table, or the sets that are kept in another one. For tables that are not
 * owned: nobody can change an owned one.
 *
 * Open it first and look at the table then, so that nothing is missed in between.
 */
struct kernel_watch;
enum { KERNEL_PROGRAM_SIZE = 16 }; /* the kernel keeps no more of a name */
struct kernel_report {
	/* A transaction that was not sent by `own` has changed the table: itself, a chain, a rule,
	 * a set, an element; but elements of rejected sets do not count. */
	bool damaged;
	/* Notifications were lost: anything may have happened, and who did it is not known. */
	bool lost;
	/* Of the first transaction that did damage: the process as the first PID namespace numbers
	 * it, and its name, any bytes; 0 and "": unknown. */
	pid_t pid;
	char program[KERNEL_PROGRAM_SIZE];
};

int kernel_watch_open(
	struct kernel_watch **ret_watch, const struct config *config, struct error *error);
int kernel_watch_fd(const struct kernel_watch *watch);
/*
 * Reads what is there, without waiting; if the fd is still readable, there is more. Events of other
 * tables and of `own` come to nothing. Damage is reported when the whole transaction has arrived.
 */
void kernel_watch_read(
	struct kernel_watch *watch, const struct kernel *own, struct kernel_report *ret_report);
struct kernel_watch *kernel_watch_close(struct kernel_watch *watch); /* returns NULL */

/*
 * Says when this machine's addresses have changed: kernel_own_addresses() has others then, and
 * where there was no network there may be one.
 */
struct kernel_network;
int kernel_network_open(struct kernel_network **ret_network, struct error *error);
int kernel_network_fd(const struct kernel_network *network);
/* Reads what is there, without waiting. True: an address has come or gone. */
bool kernel_network_read(struct kernel_network *network);
struct kernel_network *kernel_network_close(struct kernel_network *network); /* returns NULL */

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

/* What all tables of this machine do to packets that arrive: to look at, never for decisions. */
int kernel_survey(struct kernel *kernel, struct nft_survey **ret_survey, struct error *error);

/* This machine's addresses, of all interfaces, sorted. free() ret_own->addrs. */
int kernel_own_addresses(struct own_addresses *ret_own, struct error *error);

#endif
