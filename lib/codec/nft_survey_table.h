/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between nft_survey.c, which keeps what the kernel has said, and nft_judge.c, which tells what
 * becomes of a packet. Nobody else includes it.
 */
#ifndef SIPFENCE_NFT_SURVEY_TABLE_H
#define SIPFENCE_NFT_SURVEY_TABLE_H

#include "nft_survey.h"

#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>

struct survey_chain {
	struct nftnl_chain *chain;
	uint32_t family;
	const char *table, *name; /* of `chain` */
	size_t *rules;		  /* indices, in their order */
	size_t count, capacity;
};

struct survey_set {
	struct nftnl_set *set;
	uint32_t family;
	char *table, *name; /* owned: parsing elements frees those of `set` */
	bool wanted;	    /* its elements decide, and are small */
};

struct nft_survey {
	struct survey_chain *chains;
	size_t chain_count, chain_capacity;
	struct nftnl_rule **rules;
	size_t rule_count, rule_capacity;
	struct survey_set *sets;
	size_t set_count, set_capacity;
	size_t *bases; /* indices of chains */
	size_t base_count, base_capacity;
};

/* NULL: there is none; also of a NULL table or name. */
struct survey_chain *survey_find_chain(
	const struct nft_survey *survey, uint32_t family, const char *table, const char *name);
const struct survey_set *survey_find_set(
	const struct nft_survey *survey, uint32_t family, const char *table, const char *name);

#endif
