/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft_event.h"
#include "nft_attr.h"
#include "nft_netlink.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* Filled by packets, and of no use to anybody who wants to do damage. */
static bool is_rejected_set(const char *name)
{
	static const char *const suffixes[] = {"_rejected4", "_rejected6"};
	size_t length = name ? strlen(name) : 0;

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t size = strlen(suffixes[i]);

		if (length > size && strcmp(name + length - size, suffixes[i]) == 0)
			return true;
	}
	return false;
}

static bool is_of_sets(const char *const *sets, const char *name)
{
	for (; name && *sets; sets++) {
		if (strcmp(*sets, name) == 0)
			return true;
	}
	return false;
}

/* Of a table where some sets are ours: they, and the table itself. */
static bool touches_sets(const char *const *sets, unsigned command, struct attr_walk walk)
{
	switch (command) {
	case NFT_MSG_NEWTABLE:
	case NFT_MSG_DELTABLE:
		return true;
	case NFT_MSG_NEWSET:
	case NFT_MSG_DELSET:
		return is_of_sets(sets, attr_find_string(walk, NFTA_SET_NAME));
	case NFT_MSG_NEWSETELEM:
	case NFT_MSG_DELSETELEM:
		return is_of_sets(sets, attr_find_string(walk, NFTA_SET_ELEM_LIST_SET));
	default:
		return false;
	}
}

/* Does the message tell of a change of the table that matters? */
static bool touches(const struct nft_events *events, const struct nlmsghdr *message)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	struct attr_walk walk = attr_walk_message(message, sizeof(*header));
	unsigned command = message->nlmsg_type & 0xff;
	/* The table's name is attribute 1 in the messages of all its objects. */
	const char *table = attr_find_string(walk, NFTA_TABLE_NAME);

	if (header->nfgen_family != nft_protocol_family(events->family) || !table ||
		strcmp(table, events->table) != 0)
		return false;
	if (events->sets)
		return touches_sets(events->sets, command, walk);
	if (command != NFT_MSG_NEWSETELEM && command != NFT_MSG_DELSETELEM)
		return true;
	return !is_rejected_set(attr_find_string(walk, NFTA_SET_ELEM_LIST_SET));
}

static void note_culprit(const struct nlmsghdr *message, struct nft_damage *damage)
{
	struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));
	const char *name = attr_find_string(walk, NFTA_GEN_PROC_NAME);

	damage->found = true;
	damage->pid = attr_find_be32(walk, NFTA_GEN_PROC_PID);
	if (name)
		strncpy(damage->program, name, sizeof(damage->program) - 1);
}

static void take_event(struct nft_events *events, const struct nlmsghdr *message, uint32_t own_port,
	struct nft_damage *damage)
{
	if (message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES ||
		mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return;
	if ((message->nlmsg_type & 0xff) != NFT_MSG_NEWGEN) {
		events->touched |= message->nlmsg_pid != own_port && touches(events, message);
		return;
	}
	if (events->touched && !damage->found)
		note_culprit(message, damage);
	events->touched = false;
}

void nft_events_take(struct nft_events *events, const void *data, size_t length, uint32_t own_port,
	struct nft_damage *damage)
{
	const struct nlmsghdr *message = data;

	for (; message_is_whole(message, length); message = message_behind(message, &length))
		take_event(events, message, own_port, damage);
}
