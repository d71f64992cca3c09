/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floor under a cold sync: what the same questions and the same elements cost without us.
 *
 *     floor SERVER PORT IN-FLIGHT TABLE [BATCH] <NAMES
 *
 * One bare c-ares channel asks A and AAAA of every name, IN-FLIGHT at once, with a receive buffer
 * sized for it. Then one raw netlink batch makes a table with a set for each family and all the
 * addresses, sent by one sendmsg, and every acknowledgement is read. BATCH: a file with a batch
 * that sipfence has sent (record.c), which is sent instead, as it is. Prints what was measured in
 * seconds of the monotonic clock; the caller measures the whole process.
 */
#define CARES_NO_DEPRECATED
#include "questions.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum {
	HEADER_SIZE = 12,
	NESTED_MAX = 60000, /* of elements in one message: an attribute's length has 16 bits */
	MESSAGE_ROOM = 65536,
	SET_KEY_IPV4 = 7, /* nft's type numbers */
	SET_KEY_IPV6 = 8,
	FAILURE = 1,
};

struct flood {
	ares_channel channel;
	char **names;
	size_t count, next, under_way, limit, failed;
	uint8_t *ipv4, *ipv6;
	size_t ipv4_count, ipv6_count;
};

static void *allocate(size_t size)
{
	void *memory = malloc(size ? size : 1);

	if (!memory)
		die("memory");
	return memory;
}

/* --- DNS --- */

/* The zone has one record a question, and it is the last but the OPT record. */
static void keep_address(struct flood *flood, const unsigned char *bytes, int length)
{
	const unsigned char *at = bytes + HEADER_SIZE, *end = bytes + length;

	while (at < end && *at)
		at += *at + 1;
	at += 5; /* the root, type and class */
	if (end - at < 16 || bytes[7] != 1) {
		flood->failed++;
		return;
	}
	unsigned size = at[11]; /* the owner is a pointer of two bytes */
	if (size == 4 && end - at >= 16)
		memcpy(flood->ipv4 + 4 * flood->ipv4_count++, at + 12, 4);
	else if (size == 16 && end - at >= 28)
		memcpy(flood->ipv6 + 16 * flood->ipv6_count++, at + 12, 16);
	else
		flood->failed++;
}

static void flood_fill(struct flood *flood);

static void on_reply(void *context, int status, int timeouts, unsigned char *bytes, int length)
{
	struct flood *flood = context;

	(void)timeouts;
	flood->under_way--;
	if (status == ARES_SUCCESS)
		keep_address(flood, bytes, length);
	else
		flood->failed++;
	flood_fill(flood);
}

static void flood_fill(struct flood *flood)
{
	while (flood->under_way < flood->limit && flood->next < 2 * flood->count) {
		size_t index = flood->next++;
		flood->under_way++;
		ares_query(flood->channel, flood->names[index / 2], CLASS_IN,
			index % 2 ? TYPE_AAAA : TYPE_A, on_reply, flood);
	}
}

static void flood_run(struct flood *flood, const char *server, int port)
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
	flood_fill(flood);
	while (flood->under_way) {
		ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
		int mask = ares_getsock(flood->channel, sockets, ARES_GETSOCK_MAXNUM);
		struct pollfd poll_fd = {.fd = sockets[0], .events = POLLIN};
		int ready = mask ? poll(&poll_fd, 1, 50) : 0;
		ares_process_fd(
			flood->channel, ready > 0 ? sockets[0] : ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	}
	ares_destroy(flood->channel);
}

/* --- Netlink --- */

struct batch {
	char *data;
	size_t length;
	uint32_t sequence, acks;
};

static size_t aligned(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

static struct nlmsghdr *message_begin(
	struct batch *batch, uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(batch->data + batch->length);
	struct nfgenmsg *generic = mnl_nlmsg_put_extra_header(header, sizeof(*generic));

	header->nlmsg_type = type;
	header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	header->nlmsg_seq = ++batch->sequence;
	*generic = (struct nfgenmsg){
		.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
	batch->acks += flags & NLM_F_ACK ? 1 : 0;
	return header;
}

static void message_end(struct batch *batch, const struct nlmsghdr *header)
{
	batch->length += aligned(header->nlmsg_len);
}

static struct nlmsghdr *table_message(struct batch *batch, unsigned type, unsigned flags)
{
	return message_begin(batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type),
		(uint16_t)(flags | NLM_F_ACK), NFPROTO_INET, 0);
}

static void put_set(
	struct batch *batch, const char *table, const char *set, uint32_t type, uint32_t size)
{
	struct nlmsghdr *header = table_message(batch, NFT_MSG_NEWSET, NLM_F_CREATE);

	mnl_attr_put_strz(header, NFTA_SET_TABLE, table);
	mnl_attr_put_strz(header, NFTA_SET_NAME, set);
	mnl_attr_put_u32(header, NFTA_SET_ID, htonl(type));
	mnl_attr_put_u32(header, NFTA_SET_FLAGS, 0);
	mnl_attr_put_u32(header, NFTA_SET_KEY_TYPE, htonl(type));
	mnl_attr_put_u32(header, NFTA_SET_KEY_LEN, htonl(size));
	message_end(batch, header);
}

static void put_elements(struct batch *batch, const char *table, const char *set,
	const uint8_t *addresses, size_t count, size_t size)
{
	size_t element = 4 * sizeof(struct nlattr) + aligned(size), at = 0;

	while (at < count) {
		struct nlmsghdr *header = table_message(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
		mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table);
		mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, set);
		struct nlattr *list = mnl_attr_nest_start(header, NFTA_SET_ELEM_LIST_ELEMENTS);
		for (size_t used = 0; at < count && used + element < NESTED_MAX; at++) {
			struct nlattr *item = mnl_attr_nest_start(header, NFTA_LIST_ELEM);
			struct nlattr *key = mnl_attr_nest_start(header, NFTA_SET_ELEM_KEY);
			mnl_attr_put(header, NFTA_DATA_VALUE, size, addresses + at * size);
			mnl_attr_nest_end(header, key);
			mnl_attr_nest_end(header, item);
			used += element;
		}
		mnl_attr_nest_end(header, list);
		message_end(batch, header);
	}
}

static void send_batch(const struct batch *batch)
{
	struct mnl_socket *socket = mnl_socket_open(NETLINK_NETFILTER);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct iovec piece = {.iov_base = batch->data, .iov_len = batch->length};
	struct msghdr message = {.msg_name = &kernel,
		.msg_namelen = sizeof(kernel),
		.msg_iov = &piece,
		.msg_iovlen = 1};
	int send_size = (int)batch->length + MESSAGE_ROOM, receive_size = 1 << 20;
	char *buffer = allocate(MESSAGE_ROOM);

	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID))
		die("netlink socket");
	int fd = mnl_socket_get_fd(socket);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &send_size, sizeof(send_size)) ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_size, sizeof(receive_size)))
		die("netlink buffer");
	if (sendmsg(fd, &message, 0) < 0)
		die("netlink send");
	for (uint32_t acks = 0; acks < batch->acks;) {
		ssize_t length = mnl_socket_recvfrom(socket, buffer, MESSAGE_ROOM);
		if (length < 0)
			die("netlink receive");
		int rest = (int)length;
		for (struct nlmsghdr *header = (void *)buffer; mnl_nlmsg_ok(header, rest);
			header = mnl_nlmsg_next(header, &rest), acks++) {
			const struct nlmsgerr *reply = mnl_nlmsg_get_payload(header);
			if (header->nlmsg_type == NLMSG_ERROR && reply->error) {
				errno = -reply->error;
				die("the kernel refused the batch");
			}
		}
	}
	mnl_socket_close(socket);
	free(buffer);
}

static void write_table(const struct flood *flood, const char *table)
{
	/* An IPv6 element takes 32 bytes; each message has a header of its own. */
	struct batch batch = {
		.data = allocate(32 * (flood->ipv4_count + flood->ipv6_count) + 4 * MESSAGE_ROOM)};
	struct nlmsghdr *header =
		message_begin(&batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);

	message_end(&batch, header);
	header = table_message(&batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	mnl_attr_put_strz(header, NFTA_TABLE_NAME, table);
	message_end(&batch, header);
	put_set(&batch, table, "hosts4", SET_KEY_IPV4, 4);
	put_set(&batch, table, "hosts6", SET_KEY_IPV6, 16);
	put_elements(&batch, table, "hosts4", flood->ipv4, flood->ipv4_count, 4);
	put_elements(&batch, table, "hosts6", flood->ipv6, flood->ipv6_count, 16);
	header = message_begin(&batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	message_end(&batch, header);
	send_batch(&batch);
	free(batch.data);
}

/* The ruleset's generation, an attribute of the first message, is another one by now. */
static void forget_generation(struct batch *batch)
{
	size_t size = NLMSG_HDRLEN + sizeof(struct nfgenmsg);
	const struct nlmsghdr *begin = (void *)batch->data;
	size_t extra = begin->nlmsg_len - size;

	memmove(batch->data + extra, batch->data, size);
	batch->data += extra;
	batch->length -= extra;
	((struct nlmsghdr *)(void *)batch->data)->nlmsg_len = (uint32_t)size;
}

static void write_recorded(const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat status;

	if (!file || fstat(fileno(file), &status))
		die(path);
	char *recorded = allocate((size_t)status.st_size);
	struct batch batch = {.data = recorded, .length = (size_t)status.st_size};
	if (batch.length < sizeof(struct nlmsghdr) || fread(recorded, batch.length, 1, file) != 1)
		die(path);
	fclose(file);
	forget_generation(&batch);
	int rest = (int)batch.length;
	for (struct nlmsghdr *header = (void *)batch.data; mnl_nlmsg_ok(header, rest);
		header = mnl_nlmsg_next(header, &rest))
		batch.acks += header->nlmsg_flags & NLM_F_ACK ? 1 : 0;
	send_batch(&batch);
	free(recorded);
}

int main(int argc, char **argv)
{
	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: floor SERVER PORT IN-FLIGHT TABLE [BATCH] <NAMES\n");
		return 2;
	}
	struct flood flood = {.limit = strtoul(argv[3], NULL, 10)};
	double start = seconds();
	flood.names = read_names(&flood.count);
	flood.ipv4 = allocate(4 * flood.count);
	flood.ipv6 = allocate(16 * flood.count);
	flood_run(&flood, argv[1], atoi(argv[2]));
	double asked = seconds();
	if (argc == 6)
		write_recorded(argv[5]);
	else
		write_table(&flood, argv[4]);
	double written = seconds();
	struct timespec cpu;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	printf("{\"dns\": %.6f, \"netlink\": %.6f, \"cpu\": %.6f, \"failed\": %zu, "
	       "\"ipv4\": %zu, \"ipv6\": %zu}\n",
		asked - start, written - asked, (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9,
		flood.failed, flood.ipv4_count, flood.ipv6_count);
	for (size_t i = 0; i < flood.count; i++)
		free(flood.names[i]);
	free(flood.names);
	free(flood.ipv4);
	free(flood.ipv6);
	return flood.failed ? FAILURE : 0;
}
