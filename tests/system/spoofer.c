/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sends UDP datagrams under any source address, as fast as they go; for test_spoofing.py.
 *
 *     spoofer FROM FROM-PORT TO FIRST-PORT LAST-PORT COUNT RATE ID MESSAGE
 *
 * RATE is datagrams a second, 0: as fast as it goes. MESSAGE is hexadecimal and begins with a DNS
 * id. ID is `as-is`, or `but:N:M`: another one in each, from M on, all but N. FIRST-PORT is where
 * it begins; behind LAST-PORT it begins again. With `!` before FIRST-PORT that port is left out and
 * 1024 the first one. Prints how many were sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, MESSAGE_MAX = 1024, PORT_LEAST = 1024, RETRY_US = 50 };

struct packet {
	struct iphdr ip;
	struct udphdr udp;
	uint8_t message[MESSAGE_MAX];
} __attribute__((packed));

struct job {
	struct in_addr from, to;
	uint16_t from_port, first_port, last_port, port_but;
	bool has_port_but, has_id_but;
	uint16_t id_but, first_id;
	unsigned long count, rate;
	uint8_t message[MESSAGE_MAX];
	size_t length;
};

static size_t read_hex(const char *text, uint8_t *ret_bytes)
{
	size_t length = 0;
	unsigned byte;

	for (; length < MESSAGE_MAX && sscanf(text, "%2x", &byte) == 1; text += 2)
		ret_bytes[length++] = (uint8_t)byte;
	return *text ? 0 : length;
}

static bool read_job(char **arguments, struct job *job)
{
	const char *ports = arguments[3];

	*job = (struct job){0};
	if (inet_pton(AF_INET, arguments[0], &job->from) != 1 ||
		inet_pton(AF_INET, arguments[2], &job->to) != 1)
		return false;
	job->from_port = (uint16_t)atoi(arguments[1]);
	job->has_port_but = ports[0] == '!';
	job->port_but = (uint16_t)atoi(ports + job->has_port_but);
	job->first_port = job->has_port_but ? PORT_LEAST : job->port_but;
	job->last_port = (uint16_t)atoi(arguments[4]);
	job->count = strtoul(arguments[5], NULL, 10);
	job->rate = strtoul(arguments[6], NULL, 10);
	job->has_id_but = strncmp(arguments[7], "but:", 4) == 0;
	if (job->has_id_but &&
		sscanf(arguments[7], "but:%hu:%hu", &job->id_but, &job->first_id) != 2)
		return false;
	job->length = read_hex(arguments[8], job->message);
	return job->length > 2 && job->first_port && job->first_port <= job->last_port;
}

static void fill(const struct job *job, struct packet *packet, uint16_t port, uint16_t id)
{
	size_t udp_length = sizeof(packet->udp) + job->length;

	packet->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = job->from.s_addr,
		.daddr = job->to.s_addr,
		.tot_len = htons((uint16_t)(sizeof(packet->ip) + udp_length)),
	};
	/* No checksum: IPv4 allows that. */
	packet->udp = (struct udphdr){
		.source = htons(job->from_port),
		.dest = htons(port),
		.len = htons((uint16_t)udp_length),
	};
	memcpy(packet->message, job->message, job->length);
	if (job->has_id_but) {
		packet->message[0] = (uint8_t)(id >> 8);
		packet->message[1] = (uint8_t)id;
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool send_all(int fd, struct mmsghdr *messages, unsigned count)
{
	for (unsigned done = 0; done < count;) {
		int sent = sendmmsg(fd, messages + done, count - done, 0);

		if (sent > 0)
			done += (unsigned)sent;
		else if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR)
			usleep(RETRY_US);
		else
			return false;
	}
	return true;
}

static bool flood(int fd, const struct job *job)
{
	static struct packet packets[BATCH];
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = job->to};
	struct mmsghdr messages[BATCH] = {0};
	struct iovec pieces[BATCH];
	double begin = now();
	uint16_t port = job->first_port, id = job->first_id;

	for (unsigned long sent = 0; sent < job->count;) {
		unsigned count = 0;

		for (; count < BATCH && sent + count < job->count; count++) {
			if (job->has_port_but && port == job->port_but)
				port = port == job->last_port ? job->first_port
							      : (uint16_t)(port + 1);
			if (job->has_id_but && id == job->id_but)
				id++;
			fill(job, &packets[count], port, id++);
			port = port >= job->last_port ? job->first_port : (uint16_t)(port + 1);
			pieces[count] = (struct iovec){&packets[count],
				sizeof(struct iphdr) + sizeof(struct udphdr) + job->length};
			messages[count].msg_hdr = (struct msghdr){.msg_name = &to,
				.msg_namelen = sizeof(to),
				.msg_iov = &pieces[count],
				.msg_iovlen = 1};
		}
		if (!send_all(fd, messages, count))
			return false;
		sent += count;
		while (job->rate && (double)sent > (now() - begin) * (double)job->rate)
			usleep(RETRY_US);
	}
	return true;
}

int main(int argc, char **argv)
{
	struct job job;
	int fd;

	if (argc != 10 || !read_job(argv + 1, &job)) {
		fprintf(stderr, "see the source\n");
		return EXIT_FAILURE;
	}
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0 || !flood(fd, &job)) {
		perror("spoofer");
		return EXIT_FAILURE;
	}
	printf("%lu\n", job.count);
	return EXIT_SUCCESS;
}
