/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nf_tables in small: what the kernel does with a batch's bytes, as far as sipfence's batches and
 * the damage that others do go. As strict as the kernel: what it refuses is refused with the same
 * errno, and a batch of which one message is refused has no effect at all.
 *
 * Only the inet family. Memory that runs out ends the program: this is a test.
 */
#ifndef SIPFENCE_TEST_NF_MODEL_H
#define SIPFENCE_TEST_NF_MODEL_H

#include "addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

enum {
	NF_NAME_SIZE = 64,
	NF_KEY_MAX = 16,
	NF_DATA_MAX = 128,
	NF_USERDATA_MAX = 256,
	NF_TABLE_PERSIST = 4, /* NFT_TABLE_F_PERSIST, which older headers don't have */
};

struct nf_element {
	uint8_t key[NF_KEY_MAX], key_end[NF_KEY_MAX];
	bool has_key_end;
	bool interval_end; /* of an interval set: the address behind the last one */
	bool counted;
	uint64_t packets, bytes;
	int64_t expires; /* ms since boot; 0: never */
	uint16_t userdata_size, data_size;
	uint8_t userdata[NF_USERDATA_MAX];
	uint8_t data[NF_DATA_MAX]; /* payload of NFTA_SET_ELEM_DATA */
};

/* Sets, chains and rules keep the message that made them: it is what a dump gives back. */
struct nf_set {
	char name[NF_NAME_SIZE];
	struct nlmsghdr *message;
	uint32_t flags, key_size, size_limit;
	int64_t timeout; /* ms; 0: none */
	bool counted;
	struct nf_element *elements;
	size_t count, capacity;
};

struct nf_chain {
	char name[NF_NAME_SIZE];
	struct nlmsghdr *message;
	bool base;
	int priority;
};

struct nf_rule {
	char chain[NF_NAME_SIZE];
	struct nlmsghdr *message;
};

struct nf_table {
	char name[NF_NAME_SIZE];
	uint32_t flags;
	uint32_t owner; /* netlink port of its owner; 0: none */
	struct nf_set *sets;
	struct nf_chain *chains;
	struct nf_rule *rules;
	size_t set_count, chain_count, rule_count;
};

struct nf_ruleset {
	struct nf_table *tables;
	size_t table_count;
	uint32_t generation;
	bool knows_persist; /* kernel 6.9 and later */
};

void nf_clear(struct nf_ruleset *ruleset); /* no table any more; the generation goes on */
struct nf_table *nf_find_table(const struct nf_ruleset *ruleset, const char *name);
struct nf_set *nf_find_set(const struct nf_table *table, const char *name);
struct nf_chain *nf_find_chain(const struct nf_table *table, const char *name);
/* Elements whose time is over are not found. */
struct nf_element *nf_find_element(
	const struct nf_set *set, const uint8_t *key, bool interval_end, int64_t now);
/* The element that lets `addr` be found: of an interval set the one that its interval begins with.
 */
struct nf_element *nf_lookup(const struct nf_set *set, const uint8_t *key, int64_t now);

/*
 * A whole batch from the socket of `port`. 0, or the -errno of the first message that is refused,
 * whose sequence number is *ret_sequence. `now` is in ms since boot.
 */
int nf_apply(struct nf_ruleset *ruleset, const void *batch, size_t length, uint32_t port,
	int64_t now, uint32_t *ret_sequence);
/* The socket of `port` is closed. */
void nf_close(struct nf_ruleset *ruleset, uint32_t port);

/* Hands each message of a dump of the table to `give`, until that returns a negative number, which
 * is returned. `set` (NULL: all but elements): the elements of that set alone. */
typedef int nf_give_fn(void *context, const struct nlmsghdr *message);
int nf_dump(const struct nf_table *table, const char *set, int64_t now, nf_give_fn *give,
	void *context);

/* What the set permits, sorted by prefix_compare, to be freed. Of an interval set one that is no
 * prefix has length 255. */
size_t nf_list(const struct nf_set *set, int64_t now, struct prefix **ret_list);

/* Damage by hand, as any program may do it; false: there is no such thing. */
bool nf_delete_table(struct nf_ruleset *ruleset, const char *table);
bool nf_delete_rule(struct nf_table *table, const char *chain, size_t index);
bool nf_delete_element(struct nf_set *set, const uint8_t *key, bool interval_end);
struct nf_element *nf_add_element(struct nf_set *set, const uint8_t *key);

struct nf_packet {
	struct addr source;
	uint8_t protocol; /* IPPROTO_UDP, IPPROTO_TCP */
	uint16_t port;
	bool reply; /* of a flow that this machine opened */
};

/* What becomes of a packet to this machine, by all base chains; counts and notes as the rules say.
 */
bool nf_accepts(struct nf_ruleset *ruleset, const struct nf_packet *packet, int64_t now);

void *need(void *memory); /* ends the program if it is NULL */

#endif
