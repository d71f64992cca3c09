/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the other tables of this machine's nf_tables do to one kind of packet. Bytes and values, no
 * socket: the kernel's chains, rules and sets go in, and a judgement comes out for each base chain
 * that sees what arrives.
 *
 * A rule is followed as far as it asks what is known of the packet: its family, protocol, port and
 * state of connection tracking, that it does not come from this machine, and, in an input chain,
 * that it goes to it. All else (addresses,
 * interfaces, limits, marks, …) may or may not match, so a judgement says what *may* become of it.
 */
#ifndef SIPFENCE_NFT_SURVEY_H
#define SIPFENCE_NFT_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;
struct nft_survey;

int nft_survey_new(struct nft_survey **ret_survey); /* -ENOMEM */
struct nft_survey *nft_survey_free(struct nft_survey *survey);

/* Requests, each a whole message in `buffer` (of NFT_REQUEST_SIZE bytes); returns its length. In
 * this order, then the elements of each set that nft_survey_element_request() names. */
enum nft_survey_kind { NFT_SURVEY_CHAINS, NFT_SURVEY_SETS, NFT_SURVEY_RULES, NFT_SURVEY_KINDS };
size_t nft_survey_request(enum nft_survey_kind kind, uint32_t sequence, void *buffer);
/* Of the set of that index whose elements decide; 0: there is none. */
size_t nft_survey_element_request(
	const struct nft_survey *survey, size_t index, uint32_t sequence, void *buffer);
/* -EBADMSG, -ENOMEM. */
int nft_survey_message(struct nft_survey *survey, const struct nlmsghdr *message);

/* A base chain that sees what arrives at this machine, or is forwarded. */
struct nft_base_chain {
	const char *family, *table, *name, *hook; /* "inet", "filter", "input", "input" */
	int32_t priority;
	bool before_raw; /* it stands before any chain of hook prerouting */
	bool prerouting, forward;
	bool ipv4, ipv6; /* which packets it sees */
};
size_t nft_survey_count(const struct nft_survey *survey);
void nft_survey_chain(
	const struct nft_survey *survey, size_t index, struct nft_base_chain *ret_chain);

/* Has that table of family inet the two chains that a service has in sipfence's (core/ruleset.h)?
 */
bool nft_survey_has_service(const struct nft_survey *survey, const char *table);
/* Has the base chain of that index a jump to one whose name begins so? */
bool nft_survey_jumps_to(const struct nft_survey *survey, size_t index, const char *prefix);

struct nft_probe {
	bool ipv6;
	bool established; /* of a flow that is known; else the first packet of a new one */
	uint8_t protocol; /* enum protocol */
	uint16_t port;
};
struct nft_judgement {
	bool accepts, drops;	/* what may become of it */
	bool by_policy;		/* no rule drops it, but the policy */
	const char *drop_chain; /* whose rule drops it first; NULL: none does */
	uint64_t drop_handle;
};
/* -ENOMEM never: it only looks. */
void nft_survey_judge(const struct nft_survey *survey, size_t index, const struct nft_probe *probe,
	struct nft_judgement *ret_judgement);

#endif
