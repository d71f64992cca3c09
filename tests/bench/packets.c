/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests/bench/path sends, and how long it takes.
 *
 *     packets ROUNDS SLICE INTERFACE,PID,ADDRESS,PROTOCOL,PORT,FIRST,COUNT…
 *
 * Each setup is one end of a veth pair, whose other end is in the network namespace of the process
 * PID. A packet that is put on it runs through the whole receive path of that namespace before the
 * call returns, on this CPU, in this thread: the time of the call is what the packet costs. A
 * socket at ADDRESS and PORT takes what arrives, in the same thread. The setups take turns of SLICE
 * packets each, there and back again; a turn that the scheduler interrupted is told as 0. The
 * sources are drawn at random from COUNT addresses of rig.py's numbering, from FIRST on. PROTOCOL
 * is udp, tcp (a SYN), or cable: the UDP packet in a frame of a type that nobody takes, which is
 * thrown away before any protocol sees it.
 *
 * Prints for each setup a line: how many were sent, how many arrived, nanoseconds a packet of each
 * turn.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PACKET_SIZE = 400, /* of a UDP packet with its IP header: a short REGISTER */
	FRAME_SIZE = ETH_HLEN + PACKET_SIZE,
	BATCH = 64,
	SLICE_MAX = 4096,
	SETUPS_MAX = 64,
	TCP_HEADER = 40, /* of a SYN with its options */
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	SOURCE_PORT = 5060,
	NOBODYS_TYPE = 0x88b5, /* IEEE's first one for experiments */
};

struct setup {
	char interface[IFNAMSIZ];
	char address[INET6_ADDRSTRLEN];
	char protocol[8];
	int pid;
	unsigned port;
	uint64_t first, count;
	int family;
	int sender, receiver;
	uint8_t frame[FRAME_SIZE]; /* without source and checksums */
	size_t size;
	uint64_t sent, arrived;
	double *times;
};

struct bench {
	struct setup setups[SETUPS_MAX];
	size_t count;
	uint64_t dice;
	uint8_t frames[SLICE_MAX][FRAME_SIZE];
	struct mmsghdr messages[SLICE_MAX];
	struct iovec vectors[SLICE_MAX];
	uint8_t received[BATCH][2048];
	struct mmsghdr inbox[BATCH];
	struct iovec inbox_vectors[BATCH];
};

static void die(const char *what)
{
	fprintf(stderr, "packets: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t draw(uint64_t *dice)
{
	*dice ^= *dice << 13;
	*dice ^= *dice >> 7;
	*dice ^= *dice << 17;
	return *dice;
}

/* RFC 1071. */
static uint32_t sum(const uint8_t *data, size_t size, uint32_t so_far)
{
	for (size_t i = 0; i < size; i++)
		so_far += i & 1 ? data[i] : (uint32_t)data[i] << 8;
	return so_far;
}

static void put16(uint8_t *place, uint32_t value)
{
	place[0] = (uint8_t)(value >> 8);
	place[1] = (uint8_t)value;
}

static void put_sum(uint8_t *place, uint32_t value)
{
	while (value >> 16)
		value = (value & 0xffff) + (value >> 16);
	value = ~value & 0xffff;
	put16(place, value ? value : 0xffff);
}

/* As rig.py's address4 and address6. */
static void put_source(uint8_t *place, int family, uint64_t number)
{
	if (family == AF_INET) {
		uint32_t spread = (uint32_t)number * 0x9e3779b1u & 0xffffff;

		place[0] = 20;
		place[1] = (uint8_t)(spread >> 16);
		put16(place + 2, spread & 0xffff);
		return;
	}
	memset(place, 0, 16);
	place[0] = 0x26;
	for (int i = 0; i < 8; i++)
		place[15 - i] = (uint8_t)(number >> 8 * i);
}

static size_t header_size(const struct setup *setup)
{
	return setup->family == AF_INET ? IPV4_HEADER : IPV6_HEADER;
}

static size_t address_size(const struct setup *setup)
{
	return setup->family == AF_INET ? 4 : 16;
}

static bool is_tcp(const struct setup *setup)
{
	return strcmp(setup->protocol, "tcp") == 0;
}

static bool is_cable(const struct setup *setup)
{
	return strcmp(setup->protocol, "cable") == 0;
}

static void make_transport(struct setup *setup, uint8_t *place, size_t size)
{
	static const uint8_t options[] = {
		2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};
	static const char text[] = "REGISTER sip:pbx.example SIP/2.0\r\n";

	put16(place, SOURCE_PORT);
	put16(place + 2, setup->port);
	if (is_tcp(setup)) {
		place[12] = TCP_HEADER / 4 << 4;
		place[13] = 2; /* SYN */
		put16(place + 14, 64240);
		memcpy(place + 20, options, sizeof(options));
		return;
	}
	put16(place + 4, (uint32_t)size);
	for (size_t i = 8; i < size; i++)
		place[i] = (uint8_t)text[(i - 8) % (sizeof(text) - 1)];
}

static void make_frame(struct setup *setup)
{
	static const uint8_t macs[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
	uint8_t *ip = setup->frame + ETH_HLEN;
	size_t header = header_size(setup);
	size_t size = is_tcp(setup) ? header + TCP_HEADER : PACKET_SIZE;
	uint8_t protocol = is_tcp(setup) ? IPPROTO_TCP : IPPROTO_UDP;

	memcpy(setup->frame, macs, sizeof(macs));
	put16(setup->frame + 12, is_cable(setup)	    ? NOBODYS_TYPE
				 : setup->family == AF_INET ? ETH_P_IP
							    : ETH_P_IPV6);
	if (setup->family == AF_INET) {
		ip[0] = 0x45;
		put16(ip + 2, (uint32_t)size);
		ip[8] = 64;
		ip[9] = protocol;
	} else {
		ip[0] = 0x60;
		put16(ip + 4, (uint32_t)(size - header));
		ip[6] = protocol;
		ip[7] = 64;
	}
	if (inet_pton(setup->family, setup->address, ip + header - address_size(setup)) != 1) {
		fprintf(stderr, "packets: %s is no address\n", setup->address);
		exit(2);
	}
	make_transport(setup, ip + header, size - header);
	setup->size = ETH_HLEN + size;
}

/* The next slice's packets, each with a source of its own. */
static void draw_frames(struct bench *bench, const struct setup *setup, size_t slice)
{
	size_t header = header_size(setup), addresses = 2 * address_size(setup);
	uint8_t protocol = is_tcp(setup) ? IPPROTO_TCP : IPPROTO_UDP;
	uint32_t pseudo = (uint32_t)(setup->size - ETH_HLEN - header) + protocol;

	for (size_t i = 0; i < slice; i++) {
		uint8_t *ip = bench->frames[i] + ETH_HLEN, *transport = ip + header;
		uint8_t *check = transport + (is_tcp(setup) ? 16 : 6);

		memcpy(bench->frames[i], setup->frame, setup->size);
		put_source(ip + header - addresses, setup->family,
			setup->first + draw(&bench->dice) % setup->count);
		if (setup->family == AF_INET)
			put_sum(ip + 10, sum(ip, header, 0));
		put_sum(check, sum(ip + header - addresses,
				       addresses + setup->size - ETH_HLEN - header, pseudo));
		bench->vectors[i] = (struct iovec){bench->frames[i], setup->size};
		bench->messages[i] = (struct mmsghdr){
			.msg_hdr = {.msg_iov = &bench->vectors[i], .msg_iovlen = 1}};
	}
}

static void receive(struct bench *bench, struct setup *setup)
{
	int count;

	if (is_tcp(setup))
		return;
	do {
		count = recvmmsg(setup->receiver, bench->inbox, BATCH, MSG_DONTWAIT, NULL);
		if (count > 0)
			setup->arrived += (uint64_t)count;
	} while (count == BATCH);
}

static void send_slice(struct bench *bench, struct setup *setup, size_t begin, size_t end)
{
	while (begin < end) {
		size_t wanted = end - begin < BATCH ? end - begin : BATCH;
		int sent = sendmmsg(setup->sender, bench->messages + begin, (unsigned)wanted, 0);

		if (sent <= 0)
			die("sendmmsg");
		begin += (size_t)sent;
		setup->sent += (uint64_t)sent;
		receive(bench, setup);
	}
}

static long switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

/* The first eighth of a slice warms the caches up again, and is not timed. */
static double time_slice(struct bench *bench, struct setup *setup, size_t slice)
{
	size_t warm = slice / 8;
	double begin;
	long before;

	draw_frames(bench, setup, slice);
	send_slice(bench, setup, 0, warm);
	before = switches();
	begin = now();
	send_slice(bench, setup, warm, slice);
	begin = now() - begin;
	return switches() == before ? begin / (double)(slice - warm) : 0;
}

static void open_sender(struct setup *setup)
{
	struct sockaddr_ll link = {.sll_family = AF_PACKET};
	int yes = 1;

	link.sll_ifindex = (int)if_nametoindex(setup->interface);
	setup->sender = socket(AF_PACKET, SOCK_RAW, 0);
	if (setup->sender < 0 || link.sll_ifindex == 0 ||
		setsockopt(setup->sender, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) < 0 ||
		bind(setup->sender, (struct sockaddr *)&link, sizeof(link)) < 0)
		die(setup->interface);
}

static void open_receiver(struct setup *setup, int home)
{
	struct sockaddr_in6 any6 = {
		.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)setup->port)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)setup->port)};
	bool four = setup->family == AF_INET;
	char path[64];
	int there, yes = 1, room = 4 << 20;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", setup->pid);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (there < 0 || setns(there, CLONE_NEWNET) < 0)
		die(path);
	setup->receiver = socket(setup->family, is_tcp(setup) ? SOCK_STREAM : SOCK_DGRAM, 0);
	if (setup->receiver < 0 ||
		setsockopt(setup->receiver, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
		(!four && setsockopt(setup->receiver, IPPROTO_IPV6, IPV6_V6ONLY, &yes,
				  sizeof(yes)) < 0) ||
		setsockopt(setup->receiver, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) < 0 ||
		bind(setup->receiver, four ? (struct sockaddr *)&any4 : (struct sockaddr *)&any6,
			four ? sizeof(any4) : sizeof(any6)) < 0 ||
		(is_tcp(setup) && listen(setup->receiver, 128) < 0))
		die("receiver");
	close(there);
	if (setns(home, CLONE_NEWNET) < 0)
		die("setns");
}

/* Setups of the same namespace and port share a socket: each takes its own packets at once. */
static void find_receiver(struct bench *bench, struct setup *setup, int home)
{
	for (struct setup *other = bench->setups; other < setup; other++) {
		if (other->pid == setup->pid && other->port == setup->port &&
			other->family == setup->family && is_tcp(other) == is_tcp(setup)) {
			setup->receiver = other->receiver;
			return;
		}
	}
	open_receiver(setup, home);
}

static void parse(struct setup *setup, const char *text)
{
	if (sscanf(text, "%15[^,],%d,%45[^,],%7[^,],%u,%lu,%lu", setup->interface, &setup->pid,
		    setup->address, setup->protocol, &setup->port, &setup->first,
		    &setup->count) != 7 ||
		setup->count == 0) {
		fprintf(stderr, "packets: %s is no setup\n", text);
		exit(2);
	}
	setup->family = strchr(setup->address, ':') ? AF_INET6 : AF_INET;
}

static void stay_on_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		die("sched_setaffinity");
}

int main(int argc, char **argv)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct bench *bench = calloc(1, sizeof(*bench));
	size_t rounds, slice;

	if (argc < 4 || !bench || home < 0)
		return 2;
	rounds = strtoul(argv[1], NULL, 10);
	slice = strtoul(argv[2], NULL, 10);
	if (rounds == 0 || slice < 8 || slice > SLICE_MAX || argc - 3 > SETUPS_MAX)
		return 2;
	bench->dice = (uint64_t)now() | 1;
	bench->count = (size_t)argc - 3;
	for (int i = 0; i < BATCH; i++) {
		bench->inbox_vectors[i] =
			(struct iovec){bench->received[i], sizeof(bench->received[i])};
		bench->inbox[i].msg_hdr =
			(struct msghdr){.msg_iov = &bench->inbox_vectors[i], .msg_iovlen = 1};
	}
	for (size_t i = 0; i < bench->count; i++) {
		parse(&bench->setups[i], argv[3 + i]);
		open_sender(&bench->setups[i]);
		find_receiver(bench, &bench->setups[i], home);
		make_frame(&bench->setups[i]);
		bench->setups[i].times = calloc(rounds, sizeof(double));
		if (!bench->setups[i].times)
			return 1;
	}
	stay_on_one_cpu();
	for (size_t round = 0; round < rounds; round++) {
		for (size_t turn = 0; turn < bench->count; turn++) {
			struct setup *setup =
				&bench->setups[round & 1 ? bench->count - 1 - turn : turn];

			setup->times[round] = time_slice(bench, setup, slice);
		}
	}
	for (size_t i = 0; i < bench->count; i++) {
		struct setup *setup = &bench->setups[i];

		printf("%lu %lu", setup->sent, setup->arrived);
		for (size_t round = 0; round < rounds; round++)
			printf(" %.1f", setup->times[round]);
		printf("\n");
	}
	return 0;
}
