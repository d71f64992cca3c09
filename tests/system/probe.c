/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A listener and a sender for the packet tests: quick enough for a probe each millisecond, and for
 * floods.
 *
 *   probe listen PORT...
 *       Listens on UDP and TCP, on 0.0.0.0 and [::], and prints "ready". A datagram counts under
 * its first word, a TCP connection under "tcp:" and its source. A line on stdin prints the counts,
 *       one "TAG COUNT" a line, then "end". Ends when stdin does.
 *
 *   probe send SOURCE DESTINATION PORT TAG MICROSECONDS [COUNT]
 *       Sends datagrams that hold TAG, one each MICROSECONDS (0: as fast as it can), COUNT of them
 * or until stdin ends. Then prints how many it sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SOCKETS = 64, MAX_TAGS = 4096, TAG_SIZE = 64, RECEIVE_BUFFER = 8 << 20 };

struct count {
	char tag[TAG_SIZE];
	unsigned long seen;
};

struct listener {
	struct pollfd polled[MAX_SOCKETS]; /* [0] is stdin */
	bool stream[MAX_SOCKETS];
	nfds_t polled_count;
	struct count counts[MAX_TAGS];
	size_t tag_count;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static void die(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static socklen_t address_size(const union address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

static union address address_parse(const char *text, const char *port)
{
	union address address;
	char *end;
	unsigned long number = strtoul(port, &end, 10);

	memset(&address, 0, sizeof(address));
	errno = EINVAL;
	if (*port == '\0' || *end != '\0' || number > UINT16_MAX)
		die(port);
	if (inet_pton(AF_INET, text, &address.v4.sin_addr) == 1) {
		address.v4.sin_family = AF_INET;
		address.v4.sin_port = htons((uint16_t)number);
		return address;
	}
	if (inet_pton(AF_INET6, text, &address.v6.sin6_addr) != 1)
		die(text);
	address.v6.sin6_family = AF_INET6;
	address.v6.sin6_port = htons((uint16_t)number);
	return address;
}

static int socket_bound(const union address *address, int type)
{
	const int on = 1, buffer = RECEIVE_BUFFER;
	int fd = socket(address->any.sa_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
		setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)))
		die("setsockopt");
	/* Without CAP_NET_ADMIN on the whole machine only the plain request works. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)))
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	if (address->any.sa_family == AF_INET6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)))
		die("IPV6_V6ONLY");
	if (bind(fd, &address->any, address_size(address)))
		die("bind");
	return fd;
}

static void listener_add(struct listener *listener, const char *host, const char *port, int type)
{
	const union address address = address_parse(host, port);
	const nfds_t i = listener->polled_count;
	int fd;

	errno = ENOSPC;
	if (i == MAX_SOCKETS)
		die("too many ports");
	fd = socket_bound(&address, type | SOCK_NONBLOCK);
	if (type == SOCK_STREAM && listen(fd, 128))
		die("listen");
	listener->polled[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	listener->stream[i] = type == SOCK_STREAM;
	listener->polled_count++;
}

static void listener_count(struct listener *listener, const char *tag)
{
	size_t i;

	for (i = 0; i < listener->tag_count; i++)
		if (!strcmp(listener->counts[i].tag, tag))
			break;
	errno = ENOSPC;
	if (i == MAX_TAGS)
		die("too many tags");
	if (i == listener->tag_count)
		snprintf(listener->counts[listener->tag_count++].tag, TAG_SIZE, "%s", tag);
	listener->counts[i].seen++;
}

static void listener_receive(struct listener *listener, int fd)
{
	char tag[TAG_SIZE];
	ssize_t size;

	while ((size = recv(fd, tag, sizeof(tag) - 1, 0)) >= 0) {
		tag[size] = '\0';
		tag[strcspn(tag, " \r\n")] = '\0';
		listener_count(listener, *tag ? tag : "(empty)");
	}
}

static void listener_accept(struct listener *listener, int fd)
{
	union address peer;
	socklen_t size = sizeof(peer);
	char text[INET6_ADDRSTRLEN], tag[TAG_SIZE];
	int connection;

	while ((connection = accept(fd, &peer.any, &size)) >= 0) {
		const void *source = peer.any.sa_family == AF_INET
					     ? (const void *)&peer.v4.sin_addr
					     : (const void *)&peer.v6.sin6_addr;

		inet_ntop(peer.any.sa_family, source, text, sizeof(text));
		snprintf(tag, sizeof(tag), "tcp:%s", text);
		listener_count(listener, tag);
		close(connection);
		size = sizeof(peer);
	}
}

static void listener_drain(struct listener *listener)
{
	for (nfds_t i = 1; i < listener->polled_count; i++) {
		if (listener->stream[i])
			listener_accept(listener, listener->polled[i].fd);
		else
			listener_receive(listener, listener->polled[i].fd);
	}
}

static void listener_print(struct listener *listener)
{
	/* What had arrived when the counts were asked for belongs to them. */
	listener_drain(listener);
	for (size_t i = 0; i < listener->tag_count; i++)
		printf("%s %lu\n", listener->counts[i].tag, listener->counts[i].seen);
	puts("end");
	fflush(stdout);
}

static int command_listen(char **ports)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	char line[64];

	if (!listener)
		die("memory");
	listener->polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	listener->polled_count = 1;
	for (; *ports; ports++) {
		listener_add(listener, "0.0.0.0", *ports, SOCK_DGRAM);
		listener_add(listener, "::", *ports, SOCK_DGRAM);
		listener_add(listener, "0.0.0.0", *ports, SOCK_STREAM);
		listener_add(listener, "::", *ports, SOCK_STREAM);
	}
	puts("ready");
	fflush(stdout);
	while (poll(listener->polled, listener->polled_count, -1) >= 0 || errno == EINTR) {
		if (listener->polled[0].revents) {
			if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
				break;
			listener_print(listener);
		}
		listener_drain(listener);
	}
	free(listener);
	return 0;
}

static void timespec_add(struct timespec *time, long microseconds)
{
	time->tv_nsec += microseconds * 1000;
	time->tv_sec += time->tv_nsec / 1000000000;
	time->tv_nsec %= 1000000000;
}

static bool stdin_ended(void)
{
	struct pollfd polled = {.fd = STDIN_FILENO, .events = POLLIN};
	char byte;

	return poll(&polled, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static int command_send(char **argv, unsigned long limit)
{
	const union address source = address_parse(argv[0], "0");
	const union address destination = address_parse(argv[1], argv[2]);
	const long interval = strtol(argv[4], NULL, 10);
	const int fd = socket_bound(&source, SOCK_DGRAM);
	struct timespec next;
	unsigned long sent = 0;

	clock_gettime(CLOCK_MONOTONIC, &next);
	while (sent < limit) {
		if (limit == ULONG_MAX && (interval || sent % 64 == 0) && stdin_ended())
			break;
		if (sendto(fd, argv[3], strlen(argv[3]), 0, &destination.any,
			    address_size(&destination)) >= 0)
			sent++;
		else if (errno != ENOBUFS && errno != ECONNREFUSED)
			die("sendto");
		if (interval) {
			timespec_add(&next, interval);
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		}
	}
	printf("%lu\n", sent);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && !strcmp(argv[1], "listen"))
		return command_listen(argv + 2);
	if (argc == 7 && !strcmp(argv[1], "send"))
		return command_send(argv + 2, ULONG_MAX);
	if (argc == 8 && !strcmp(argv[1], "send"))
		return command_send(argv + 2, strtoul(argv[7], NULL, 10));
	fputs("usage: probe listen PORT...\n"
	      "       probe send SOURCE DESTINATION PORT TAG MICROSECONDS [COUNT]\n",
		stderr);
	return 2;
}
