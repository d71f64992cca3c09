/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floor under a sync that changes nothing, and under a daemon at rest: what the same questions,
 * and the same reading of the kernel, cost without us.
 *
 *     flood SERVER PORT once IN-FLIGHT TABLE SET… <NAMES
 *     flood SERVER PORT even PERIOD SECONDS <NAMES
 *
 * `once` asks A and AAAA of every name by one bare c-ares channel, IN-FLIGHT at once; then dumps
 * the sets of the table inet TABLE into a buffer and looks at nothing but the messages' headers.
 * `even` asks each question once in PERIOD seconds, one after the other at an even distance, for
 * SECONDS; it wakes for a question that is due and for an answer, and for nothing else.
 * Prints one line of JSON: questions asked and failed, bytes dumped.
 */
#define CARES_NO_DEPRECATED
#include "questions.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
	DUMP_ROOM = 256 * 1024,
	TICK_MS = 50, /* how often c-ares looks for questions that got lost */
};

struct flood {
	ares_channel channel;
	char **names;
	size_t count, next, under_way, asked, failed;
	size_t limit; /* in flight; 0: whoever calls knows when */
};

/* --- DNS --- */

static void fill(struct flood *flood);

static void on_reply(void *context, int status, int timeouts, unsigned char *bytes, int length)
{
	struct flood *flood = context;

	(void)timeouts;
	(void)bytes;
	(void)length;
	flood->under_way--;
	flood->failed += status != ARES_SUCCESS;
	fill(flood);
}

static void ask_next(struct flood *flood)
{
	size_t question = flood->next++ % (2 * flood->count);

	flood->under_way++;
	flood->asked++;
	ares_query(flood->channel, flood->names[question / 2], CLASS_IN,
		question % 2 ? TYPE_AAAA : TYPE_A, on_reply, flood);
}

static void fill(struct flood *flood)
{
	while (flood->under_way < flood->limit && flood->next < 2 * flood->count)
		ask_next(flood);
}

static void open_channel(struct flood *flood, const char *server, int port)
{
	struct ares_options options = {.timeout = 250, .tries = 6, .flags = ARES_FLAG_STAYOPEN};
	struct ares_addr_port_node node = {.family = AF_INET, .udp_port = port, .tcp_port = port};

	if (inet_pton(AF_INET, server, &node.addr.addr4) != 1)
		die("not an IPv4 address");
	if (ares_library_init(ARES_LIB_INIT_ALL) ||
		ares_init_options(&flood->channel, &options,
			ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_FLAGS) ||
		ares_set_servers_ports(flood->channel, &node))
		die("c-ares");
	ares_set_socket_configure_callback(flood->channel, on_socket, NULL);
}

/* Until an answer comes, or `milliseconds` are over. */
static void wait_for_answer(struct flood *flood, int milliseconds)
{
	ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
	int mask = ares_getsock(flood->channel, sockets, ARES_GETSOCK_MAXNUM);
	struct pollfd ready = {.fd = mask ? sockets[0] : -1, .events = POLLIN};

	if (poll(&ready, 1, milliseconds) > 0)
		ares_process_fd(flood->channel, sockets[0], ARES_SOCKET_BAD);
	else if (flood->under_way)
		ares_process_fd(flood->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void ask_all(struct flood *flood)
{
	fill(flood);
	while (flood->under_way)
		wait_for_answer(flood, TICK_MS);
}

static void ask_evenly(struct flood *flood, double period, double duration)
{
	double start = seconds(), gap = period / (2 * (double)flood->count);

	for (;;) {
		double now = seconds() - start;
		double due = gap * (double)flood->asked;

		if (now >= duration)
			break;
		if (now >= due) {
			ask_next(flood);
			continue;
		}
		/* Rounded up, as any timer of milliseconds does. */
		wait_for_answer(flood, (int)((due - now) * 1000) + 1);
	}
}

/* --- The kernel --- */

static size_t dump_set(struct mnl_socket *socket, char *buffer, const char *table, const char *set)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *generic = mnl_nlmsg_put_extra_header(header, sizeof(*generic));
	size_t bytes = 0;

	header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header->nlmsg_seq = 1;
	*generic = (struct nfgenmsg){.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
	mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, set);
	if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0)
		die("netlink send");
	for (;;) {
		ssize_t length = mnl_socket_recvfrom(socket, buffer, DUMP_ROOM);
		int rest = (int)length;

		if (length < 0)
			die("netlink receive");
		bytes += (size_t)length;
		for (header = (void *)buffer; mnl_nlmsg_ok(header, rest);
			header = mnl_nlmsg_next(header, &rest)) {
			if (header->nlmsg_type == NLMSG_DONE)
				return bytes;
			if (header->nlmsg_type == NLMSG_ERROR)
				die("the kernel refused to list a set");
		}
	}
}

static size_t dump_sets(const char *table, char **sets, int count)
{
	struct mnl_socket *socket = mnl_socket_open(NETLINK_NETFILTER);
	char *buffer = malloc(DUMP_ROOM);
	size_t bytes = 0;

	if (!socket || !buffer || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID))
		die("netlink socket");
	for (int i = 0; i < count; i++)
		bytes += dump_set(socket, buffer, table, sets[i]);
	mnl_socket_close(socket);
	free(buffer);
	return bytes;
}

int main(int argc, char **argv)
{
	struct flood flood = {.limit = 0};
	size_t bytes = 0;

	if (argc < 6 || (strcmp(argv[3], "once") != 0 && strcmp(argv[3], "even") != 0)) {
		fprintf(stderr, "usage: flood SERVER PORT once IN-FLIGHT TABLE SET... <NAMES\n"
				"       flood SERVER PORT even PERIOD SECONDS <NAMES\n");
		return 2;
	}
	flood.names = read_names(&flood.count);
	open_channel(&flood, argv[1], atoi(argv[2]));
	if (strcmp(argv[3], "once") == 0) {
		flood.limit = strtoul(argv[4], NULL, 10);
		ask_all(&flood);
		bytes = dump_sets(argv[5], argv + 6, argc - 6);
	} else {
		ask_evenly(&flood, strtod(argv[4], NULL), strtod(argv[5], NULL));
	}
	ares_destroy(flood.channel);
	printf("{\"asked\": %zu, \"failed\": %zu, \"bytes\": %zu}\n", flood.asked, flood.failed,
		bytes);
	for (size_t i = 0; i < flood.count; i++)
		free(flood.names[i]);
	free(flood.names);
	return 0;
}
