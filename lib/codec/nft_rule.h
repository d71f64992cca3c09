/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rules, sets and chains of a ruleset as libnftnl's objects, and those objects as the lines of a
 * shape. Both sides of a comparison, what we want and what the kernel has, become text here.
 * The expressions are those that nft 1.0.6 makes of the same text (codec/nft_text.h).
 */
#ifndef SIPFENCE_NFT_RULE_H
#define SIPFENCE_NFT_RULE_H

#include "ruleset.h"
#include "text.h"

#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>

/* Each NULL when out of memory. `id`: the set's number within the batch. */
struct nftnl_set *nft_rule_set(const struct ruleset *ruleset, const struct set *set, uint32_t id);
struct nftnl_chain *nft_rule_chain(const struct ruleset *ruleset, const struct chain *chain);
struct nftnl_rule *nft_rule_make(
	const struct ruleset *ruleset, const struct chain *chain, const struct rule *rule);

/* How many elements it may have; 0: any number. */
uint32_t nft_rule_room(const struct nftnl_set *set);

/* The room of hosts is no part of it: it grows with the list. */
void nft_shape_set(struct nftnl_set *set, enum set_kind kind, struct text *text);
void nft_shape_chain(const struct nftnl_chain *chain, struct text *text);
/* Counters count as zero. */
void nft_shape_rule(struct nftnl_rule *rule, struct text *text);

#endif
