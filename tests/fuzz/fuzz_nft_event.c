/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notifications of nf_tables, and what connection tracking says of flows: datagrams of netlink
 * messages. The first byte says after how many more the datagram is cut in two.
 */
#include "fuzz.h"
#include "fuzz_netlink.h"

#include "conntrack.h"
#include "nft_attr.h"
#include "nft_event.h"

enum { OWN_PORT = 4711 };

static struct nft_damage take_events(const uint8_t *data, size_t size, bool *ret_touched)
{
	struct nft_events events = {.table = "sipfence"};
	struct nft_damage damage = {0};
	void *datagram = fuzz_copy(data, size);

	nft_events_take(&events, datagram, size, OWN_PORT, &damage);
	FUZZ_CHECK(memchr(damage.program, 0, sizeof(damage.program)));
	FUZZ_CHECK(damage.found || (!damage.pid && !damage.program[0]));
	/* A second one is not the first culprit. */
	if (damage.found) {
		struct nft_damage before = damage;

		nft_events_take(&events, datagram, size, OWN_PORT, &damage);
		FUZZ_CHECK(memcmp(&before, &damage, sizeof(damage)) == 0);
	}
	*ret_touched = events.touched;
	free(datagram);
	return damage;
}

static void check_talker(const struct nlmsghdr *message, const struct config *config,
	const struct own_addresses *own)
{
	const struct service *service;
	struct talker talker = {0};
	bool guarded = false;

	conntrack_count(message);
	if (!conntrack_talker(message, config, own, &talker))
		return;
	FUZZ_CHECK(talker.service < config->service_count);
	FUZZ_CHECK(talker.addr.family < FAMILY_COUNT);
	FUZZ_CHECK(!own_has(own, &talker.addr));
	service = &config->services[talker.service];
	for (size_t i = 0; i < service->port_count; i++)
		guarded |= service->ports[i].protocol == talker.protocol &&
			   service->ports[i].first <= talker.port &&
			   talker.port <= service->ports[i].last;
	FUZZ_CHECK(guarded);
}

static void take_flows(
	struct fuzz_bytes piece, const struct config *config, const struct own_addresses *own)
{
	struct nlmsghdr header;

	while (piece.left >= sizeof(header)) {
		struct nlmsghdr *message;
		struct fuzz_bytes bytes;

		memcpy(&header, piece.at, sizeof(header));
		if (!message_is_whole(&header, piece.left))
			return;
		message = fuzz_copy(piece.at, header.nlmsg_len);
		check_talker(message, config, own);
		free(message);
		bytes = fuzz_piece(&piece, ((size_t)header.nlmsg_len + 3) & ~(size_t)3);
		FUZZ_CHECK(bytes.left >= header.nlmsg_len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct addr addrs[] = {
		{.family = FAMILY_IPV4, .bytes = {192, 0, 2, 1}},
		{.family = FAMILY_IPV6, .bytes = {0x20, 1, 0xd, 0xb8, [15] = 1}},
	};
	static const struct own_addresses own = {.addrs = addrs, .count = 2};
	static struct config *config;
	struct fuzz_bytes bytes = {data, size};
	size_t cut = fuzz_byte(&bytes);
	struct fuzz_bytes first = fuzz_piece(&bytes, cut ? cut * 4 : SIZE_MAX);
	bool touched;

	if (!config)
		config = fuzz_config("extensions: {21: 203.0.113.7}\n"
				     "services: {web: {tcp: [80, 443]}}\n"
				     "destinations: [198.51.100.0/24, '2001:db8:5::/48']\n");
	take_events(first.at, first.left, &touched);
	take_events(bytes.at, bytes.left, &touched);
	take_flows(first, config, &own);
	take_flows(bytes, config, &own);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	if (size == 0)
		return size;
	return 1 + fuzz_netlink_mutate(data + 1, size - 1, max_size - 1, seed);
}
