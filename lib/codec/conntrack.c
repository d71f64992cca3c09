/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "conntrack.h"
#include "nft_attr.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>

struct tuple {
	struct addr source, destination;
	uint8_t protocol;
	uint16_t port; /* of the destination */
};

static size_t request(uint32_t sequence, uint16_t command, uint16_t flags, void *buffer)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | command);
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	message->nlmsg_seq = sequence;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = 0; /* AF_UNSPEC: both families */
	header->version = NFNETLINK_V0;
	return message->nlmsg_len;
}

size_t conntrack_request(uint32_t sequence, void *buffer)
{
	return request(sequence, IPCTNL_MSG_CT_GET, NLM_F_DUMP, buffer);
}

size_t conntrack_count_request(uint32_t sequence, void *buffer)
{
	return request(sequence, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, buffer);
}

uint32_t conntrack_count(const struct nlmsghdr *message)
{
	struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg) ||
		!attr_find(walk, CTA_STATS_GLOBAL_ENTRIES))
		return UINT32_MAX;
	return attr_find_be32(walk, CTA_STATS_GLOBAL_ENTRIES);
}

static bool read_addrs(struct attr_walk ip, struct tuple *tuple)
{
	static const struct {
		enum family family;
		uint16_t source, destination;
	} kinds[] = {
		{FAMILY_IPV4, CTA_IP_V4_SRC, CTA_IP_V4_DST},
		{FAMILY_IPV6, CTA_IP_V6_SRC, CTA_IP_V6_DST},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t size = addr_size(kinds[i].family);
		const void *source = attr_find_fixed(ip, kinds[i].source, size);
		const void *destination = attr_find_fixed(ip, kinds[i].destination, size);

		if (!source || !destination)
			continue;
		tuple->source.family = tuple->destination.family = (uint8_t)kinds[i].family;
		memcpy(tuple->source.bytes, source, size);
		memcpy(tuple->destination.bytes, destination, size);
		return true;
	}
	return false;
}

static bool read_tuple(const struct nlmsghdr *message, uint16_t type, struct tuple *ret_tuple)
{
	struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));
	const struct nlattr *attr = attr_find(walk, type);
	const struct nlattr *ip, *proto;
	const uint8_t *protocol, *port;
	struct tuple tuple = {0};

	if (!attr)
		return false;
	ip = attr_find(attr_walk_nested(attr), CTA_TUPLE_IP);
	proto = attr_find(attr_walk_nested(attr), CTA_TUPLE_PROTO);
	if (!ip || !proto || !read_addrs(attr_walk_nested(ip), &tuple))
		return false;
	protocol = attr_find_fixed(attr_walk_nested(proto), CTA_PROTO_NUM, 1);
	port = attr_find_fixed(attr_walk_nested(proto), CTA_PROTO_DST_PORT, 2);
	if (!protocol || !port)
		return false;
	tuple.protocol = *protocol;
	tuple.port = (uint16_t)(port[0] << 8 | port[1]);
	*ret_tuple = tuple;
	return true;
}

static bool is_guarded_destination(
	const struct config *config, const struct own_addresses *own, const struct addr *addr)
{
	for (size_t i = 0; i < config->destination_count; i++) {
		if (prefix_contains(&config->destinations[i], addr))
			return true;
	}
	return own_has(own, addr);
}

static bool find_service(
	const struct config *config, uint8_t protocol, uint16_t port, uint8_t *ret_service)
{
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service *service = &config->services[i];

		for (size_t j = 0; j < service->port_count; j++) {
			if (service->ports[j].protocol == protocol &&
				service->ports[j].first <= port && port <= service->ports[j].last) {
				*ret_service = (uint8_t)i;
				return true;
			}
		}
	}
	return false;
}

bool conntrack_talker(const struct nlmsghdr *message, const struct config *config,
	const struct own_addresses *own, struct talker *ret_talker)
{
	static const struct {
		uint16_t tuple, counters;
	} directions[] = {
		{CTA_TUPLE_ORIG, CTA_COUNTERS_ORIG},
		{CTA_TUPLE_REPLY, CTA_COUNTERS_REPLY},
	};

	if (message->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) ||
		mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return false;
	for (size_t i = 0; i < sizeof(directions) / sizeof(directions[0]); i++) {
		struct attr_walk walk = attr_walk_message(message, sizeof(struct nfgenmsg));
		const struct nlattr *counters = attr_find(walk, directions[i].counters);
		struct talker talker = {.opened_here = i == 1};
		struct tuple tuple;

		if (!read_tuple(message, directions[i].tuple, &tuple) ||
			own_has(own, &tuple.source) ||
			!is_guarded_destination(config, own, &tuple.destination) ||
			!find_service(config, tuple.protocol, tuple.port, &talker.service))
			continue;
		talker.addr = tuple.source;
		talker.protocol = tuple.protocol;
		talker.port = tuple.port;
		if (counters)
			talker.packets =
				attr_find_be64(attr_walk_nested(counters), CTA_COUNTERS_PACKETS);
		*ret_talker = talker;
		return true;
	}
	return false;
}
