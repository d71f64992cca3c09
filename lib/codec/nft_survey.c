/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft_survey_table.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

enum {
	TYPE_INET_SERVICE = 13, /* nft's own number of a type of sets: ports */
	INET_INGRESS = 5,	/* NF_INET_INGRESS; headers of Linux before 5.10 do not have it */
};

int nft_survey_new(struct nft_survey **ret_survey)
{
	struct nft_survey *survey = calloc(1, sizeof(*survey));

	if (!survey)
		return -ENOMEM;
	*ret_survey = survey;
	return 0;
}

static void clear_set(struct survey_set *set)
{
	if (set->set)
		nftnl_set_free(set->set);
	free(set->table);
	free(set->name);
}

struct nft_survey *nft_survey_free(struct nft_survey *survey)
{
	if (!survey)
		return NULL;
	for (size_t i = 0; i < survey->chain_count; i++) {
		nftnl_chain_free(survey->chains[i].chain);
		free(survey->chains[i].rules);
	}
	for (size_t i = 0; i < survey->rule_count; i++)
		nftnl_rule_free(survey->rules[i]);
	for (size_t i = 0; i < survey->set_count; i++)
		clear_set(&survey->sets[i]);
	free(survey->chains);
	free(survey->rules);
	free(survey->sets);
	free(survey->bases);
	free(survey);
	return NULL;
}

/* --- Requests --- */

static struct nlmsghdr *put_header(void *buffer, uint16_t type, uint32_t family, uint32_t sequence)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = sequence;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = (uint8_t)family;
	header->version = NFNETLINK_V0;
	return message;
}

size_t nft_survey_request(enum nft_survey_kind kind, uint32_t sequence, void *buffer)
{
	static const uint16_t types[NFT_SURVEY_KINDS] = {
		[NFT_SURVEY_CHAINS] = NFT_MSG_GETCHAIN,
		[NFT_SURVEY_SETS] = NFT_MSG_GETSET,
		[NFT_SURVEY_RULES] = NFT_MSG_GETRULE,
	};

	return put_header(buffer, types[kind], NFPROTO_UNSPEC, sequence)->nlmsg_len;
}

size_t nft_survey_element_request(
	const struct nft_survey *survey, size_t index, uint32_t sequence, void *buffer)
{
	struct nlmsghdr *message;

	for (size_t i = 0; i < survey->set_count; i++) {
		const struct survey_set *set = &survey->sets[i];

		if (!set->wanted || index-- > 0)
			continue;
		message = put_header(buffer, NFT_MSG_GETSETELEM, set->family, sequence);
		mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_TABLE, set->table);
		mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, set->name);
		return message->nlmsg_len;
	}
	return 0;
}

/* --- Replies --- */

static bool make_room(void *list, size_t count, size_t *capacity, size_t size)
{
	void **place = list;
	size_t more = *capacity ? *capacity * 2 : 32;
	void *grown;

	if (count < *capacity)
		return true;
	grown = reallocarray(*place, more, size);
	if (!grown)
		return false;
	*place = grown;
	*capacity = more;
	return true;
}

/* Those that a packet meets on its way in. NAT does not filter, and bridges are another way. */
static bool sees_arrivals(const struct nftnl_chain *chain, uint32_t family)
{
	const char *type = nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE);
	uint32_t hook;

	if (!nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM) || (type && strcmp(type, "nat") == 0))
		return false;
	hook = nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM);
	if (family == NFPROTO_NETDEV)
		return hook == NF_NETDEV_INGRESS;
	if (family != NFPROTO_INET && family != NFPROTO_IPV4 && family != NFPROTO_IPV6)
		return false;
	return hook == NF_INET_PRE_ROUTING || hook == NF_INET_LOCAL_IN || hook == NF_INET_FORWARD ||
	       (family == NFPROTO_INET && hook == INET_INGRESS);
}

static int take_chain(struct nft_survey *survey, const struct nlmsghdr *message)
{
	struct survey_chain chain = {.chain = nftnl_chain_alloc()};

	if (!chain.chain)
		return -ENOMEM;
	if (nftnl_chain_nlmsg_parse(message, chain.chain) < 0 ||
		!nftnl_chain_is_set(chain.chain, NFTNL_CHAIN_NAME) ||
		!nftnl_chain_is_set(chain.chain, NFTNL_CHAIN_TABLE)) {
		nftnl_chain_free(chain.chain);
		return -EBADMSG;
	}
	chain.family = nftnl_chain_get_u32(chain.chain, NFTNL_CHAIN_FAMILY);
	chain.table = nftnl_chain_get_str(chain.chain, NFTNL_CHAIN_TABLE);
	chain.name = nftnl_chain_get_str(chain.chain, NFTNL_CHAIN_NAME);
	if (!make_room(&survey->chains, survey->chain_count, &survey->chain_capacity,
		    sizeof(*survey->chains)) ||
		!make_room(&survey->bases, survey->base_count, &survey->base_capacity,
			sizeof(*survey->bases))) {
		nftnl_chain_free(chain.chain);
		return -ENOMEM;
	}
	if (sees_arrivals(chain.chain, chain.family))
		survey->bases[survey->base_count++] = survey->chain_count;
	survey->chains[survey->chain_count++] = chain;
	return 0;
}

struct survey_chain *survey_find_chain(
	const struct nft_survey *survey, uint32_t family, const char *table, const char *name)
{
	for (size_t i = 0; table && name && i < survey->chain_count; i++) {
		struct survey_chain *chain = &survey->chains[i];

		if (chain->family == family && strcmp(chain->name, name) == 0 &&
			strcmp(chain->table, table) == 0)
			return chain;
	}
	return NULL;
}

static int take_rule(struct nft_survey *survey, const struct nlmsghdr *message)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	struct survey_chain *chain;

	if (!rule)
		return -ENOMEM;
	if (nftnl_rule_nlmsg_parse(message, rule) < 0) {
		nftnl_rule_free(rule);
		return -EBADMSG;
	}
	/* One that came after the chains were listed is none that we know of. */
	chain = survey_find_chain(survey, nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY),
		nftnl_rule_get_str(rule, NFTNL_RULE_TABLE),
		nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN));
	if (!chain) {
		nftnl_rule_free(rule);
		return 0;
	}
	if (!make_room(&survey->rules, survey->rule_count, &survey->rule_capacity,
		    sizeof(struct nftnl_rule *)) ||
		!make_room(&chain->rules, chain->count, &chain->capacity, sizeof(size_t))) {
		nftnl_rule_free(rule);
		return -ENOMEM;
	}
	chain->rules[chain->count++] = survey->rule_count;
	survey->rules[survey->rule_count++] = rule;
	return 0;
}

/* Blocklists of addresses may be huge, and say nothing here. */
static bool decides(const struct nftnl_set *set)
{
	return nftnl_set_get_u32(set, NFTNL_SET_FLAGS) & NFT_SET_ANONYMOUS ||
	       nftnl_set_get_u32(set, NFTNL_SET_KEY_TYPE) == TYPE_INET_SERVICE;
}

static int take_set(struct nft_survey *survey, const struct nlmsghdr *message)
{
	struct survey_set set = {.set = nftnl_set_alloc()};

	if (!set.set)
		return -ENOMEM;
	if (nftnl_set_nlmsg_parse(message, set.set) < 0 ||
		!nftnl_set_is_set(set.set, NFTNL_SET_NAME) ||
		!nftnl_set_is_set(set.set, NFTNL_SET_TABLE)) {
		clear_set(&set);
		return -EBADMSG;
	}
	set.family = nftnl_set_get_u32(set.set, NFTNL_SET_FAMILY);
	set.table = strdup(nftnl_set_get_str(set.set, NFTNL_SET_TABLE));
	set.name = strdup(nftnl_set_get_str(set.set, NFTNL_SET_NAME));
	set.wanted = decides(set.set);
	if (!set.table || !set.name ||
		!make_room(&survey->sets, survey->set_count, &survey->set_capacity,
			sizeof(*survey->sets))) {
		clear_set(&set);
		return -ENOMEM;
	}
	survey->sets[survey->set_count++] = set;
	return 0;
}

const struct survey_set *survey_find_set(
	const struct nft_survey *survey, uint32_t family, const char *table, const char *name)
{
	for (size_t i = 0; table && name && i < survey->set_count; i++) {
		const struct survey_set *set = &survey->sets[i];

		if (set->family == family && strcmp(set->name, name) == 0 &&
			strcmp(set->table, table) == 0)
			return set;
	}
	return NULL;
}

static int take_elements(struct nft_survey *survey, const struct nlmsghdr *message)
{
	struct nftnl_set *heard = nftnl_set_alloc();
	const struct survey_set *set = NULL;
	int result = -EBADMSG;

	if (!heard)
		return -ENOMEM;
	/* Once to learn whose they are, once more into that set. */
	if (nftnl_set_elems_nlmsg_parse(message, heard) >= 0) {
		const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);

		set = survey_find_set(survey, header->nfgen_family,
			nftnl_set_get_str(heard, NFTNL_SET_TABLE),
			nftnl_set_get_str(heard, NFTNL_SET_NAME));
		result = 0;
	}
	nftnl_set_free(heard);
	if (set && nftnl_set_elems_nlmsg_parse(message, set->set) < 0)
		result = -EBADMSG;
	return result;
}

int nft_survey_message(struct nft_survey *survey, const struct nlmsghdr *message)
{
	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return -EBADMSG;
	switch (message->nlmsg_type) {
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN:
		return take_chain(survey, message);
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSET:
		return take_set(survey, message);
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE:
		return take_rule(survey, message);
	case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM:
		return take_elements(survey, message);
	default:
		return 0;
	}
}

bool nft_survey_has_service(const struct nft_survey *survey, const char *table)
{
	static const char guard[] = "_guard", reject[] = "_reject";

	for (size_t i = 0; i < survey->chain_count; i++) {
		const struct survey_chain *chain = &survey->chains[i];
		size_t length = strlen(chain->name), stem = length - (sizeof(guard) - 1);
		char other[NFT_NAME_MAXLEN];

		if (chain->family != NFPROTO_INET || strcmp(chain->table, table) != 0 ||
			length < sizeof(guard) || strcmp(chain->name + stem, guard) != 0 ||
			stem + sizeof(reject) > sizeof(other))
			continue;
		memcpy(other, chain->name, stem);
		memcpy(other + stem, reject, sizeof(reject));
		if (survey_find_chain(survey, NFPROTO_INET, table, other))
			return true;
	}
	return false;
}

/* --- Base chains --- */

static const char *family_name(uint32_t family)
{
	switch (family) {
	case NFPROTO_INET:
		return "inet";
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	case NFPROTO_NETDEV:
		return "netdev";
	default:
		return "bridge";
	}
}

size_t nft_survey_count(const struct nft_survey *survey)
{
	return survey->base_count;
}

void nft_survey_chain(
	const struct nft_survey *survey, size_t index, struct nft_base_chain *ret_chain)
{
	const struct survey_chain *chain = &survey->chains[survey->bases[index]];
	uint32_t hook = nftnl_chain_get_u32(chain->chain, NFTNL_CHAIN_HOOKNUM);
	bool ingress = chain->family == NFPROTO_NETDEV || hook == INET_INGRESS;

	*ret_chain = (struct nft_base_chain){
		.family = family_name(chain->family),
		.table = chain->table,
		.name = chain->name,
		.hook = ingress			      ? "ingress"
			: hook == NF_INET_PRE_ROUTING ? "prerouting"
			: hook == NF_INET_FORWARD     ? "forward"
						      : "input",
		.priority = nftnl_chain_get_s32(chain->chain, NFTNL_CHAIN_PRIO),
		.before_raw = ingress,
		.prerouting = !ingress && hook == NF_INET_PRE_ROUTING,
		.forward = !ingress && hook == NF_INET_FORWARD,
		.ipv4 = chain->family != NFPROTO_IPV6,
		.ipv6 = chain->family != NFPROTO_IPV4,
	};
}
