/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "socket_diag.h"

#include "config.h"

#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

/* The kernel's numbers of states (include/net/tcp_states.h). A UDP socket that is not connected is
 * "closed". */
enum { STATE_CLOSE = 7, STATE_LISTEN = 10 };

size_t socket_diag_request(uint8_t protocol, enum family family, uint32_t sequence, void *buffer)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct inet_diag_req_v2 *request;

	message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = sequence;
	request = mnl_nlmsg_put_extra_header(message, sizeof(*request));
	request->sdiag_family = family == FAMILY_IPV6 ? AF_INET6 : AF_INET;
	request->sdiag_protocol = protocol;
	request->idiag_states =
		1u << (protocol == PROTOCOL_TCP ? (unsigned)STATE_LISTEN : (unsigned)STATE_CLOSE);
	return message->nlmsg_len;
}

bool socket_diag_listener(
	const struct nlmsghdr *message, uint8_t protocol, struct listener *ret_listener)
{
	const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);
	struct listener listener = {.protocol = protocol};

	if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
		mnl_nlmsg_get_payload_len(message) < sizeof(*socket) ||
		(socket->idiag_family != AF_INET && socket->idiag_family != AF_INET6))
		return false;
	listener.addr.family = socket->idiag_family == AF_INET6 ? FAMILY_IPV6 : FAMILY_IPV4;
	memcpy(listener.addr.bytes, socket->id.idiag_src,
		addr_size((enum family)listener.addr.family));
	listener.port = ntohs(socket->id.idiag_sport);
	listener.inode = socket->idiag_inode;
	*ret_listener = listener;
	return listener.port > 0;
}
