/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "interfaces.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static unsigned count_bits(const uint8_t *mask, size_t size)
{
	unsigned bits = 0;

	for (size_t i = 0; i < size; i++) {
		bits += (unsigned)__builtin_popcount(mask[i]);
		if (mask[i] != 0xff)
			break;
	}
	return bits;
}

static bool take(const struct ifaddrs *entry, struct interface_subnet *ret_subnet)
{
	struct addr addr = {0};
	uint8_t mask[16];

	if (!entry->ifa_addr || !entry->ifa_netmask || !(entry->ifa_flags & IFF_UP))
		return false;
	if (entry->ifa_addr->sa_family == AF_INET) {
		addr.family = FAMILY_IPV4;
		memcpy(addr.bytes, &((const struct sockaddr_in *)entry->ifa_addr)->sin_addr, 4);
		memcpy(mask, &((const struct sockaddr_in *)entry->ifa_netmask)->sin_addr, 4);
	} else if (entry->ifa_addr->sa_family == AF_INET6) {
		addr.family = FAMILY_IPV6;
		memcpy(addr.bytes, &((const struct sockaddr_in6 *)entry->ifa_addr)->sin6_addr, 16);
		memcpy(mask, &((const struct sockaddr_in6 *)entry->ifa_netmask)->sin6_addr, 16);
	} else {
		return false;
	}
	ret_subnet->prefix =
		prefix_of(&addr, count_bits(mask, addr_size((enum family)addr.family)));
	snprintf(ret_subnet->interface, sizeof(ret_subnet->interface), "%s", entry->ifa_name);
	return true;
}

int interfaces_list(struct interface_subnet **ret_subnets, size_t *ret_count, struct error *error)
{
	struct interface_subnet *subnets;
	struct ifaddrs *first, *entry;
	size_t count = 0;

	if (getifaddrs(&first) < 0)
		return error_set(error, -errno, "", "cannot list this machine's addresses: %s",
			strerror(errno));
	for (entry = first; entry; entry = entry->ifa_next)
		count++;
	subnets = calloc(count + 1, sizeof(*subnets));
	if (!subnets) {
		freeifaddrs(first);
		return error_no_memory(error);
	}
	count = 0;
	for (entry = first; entry; entry = entry->ifa_next)
		count += take(entry, &subnets[count]);
	freeifaddrs(first);
	*ret_subnets = subnets;
	*ret_count = count;
	return 0;
}
