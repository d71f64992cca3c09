/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DNS replies through the real resolver and c-ares: a server on loopback, in this process, sends
 * what the fuzzer made. Nothing waits: packets on loopback have arrived when sendto() returns, and
 * the clock of the resolver is ours, so that time-outs and second tries come at once.
 *
 * In the input the first byte says how many questions are asked, and the replies follow, each
 * behind a byte of flags (below) and two of its length. When they are used up, the server is
 * silent.
 */
#include "fuzz.h"

#include "resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	REPLY_AS_IT_IS = 1,  /* neither id nor question are made right: c-ares must not take it */
	REPLY_TRUNCATED = 2, /* with TC: the question comes again over TCP */
	REPLY_NEVER = 4,     /* this packet gets lost */
	REPLY_LATER = 8,     /* time goes on before it */
	REPLY_TWICE = 16,
	REPLY_HELD = 32, /* it arrives behind the next one */

	QUESTIONS_MAX = 8,
	PACKET_MAX = 65536,
	HEADER_SIZE = 12,
	TIMEOUT_MS = 5000,
	ROUNDS_MAX = 64,
	TCP_MAX = 8,
};

static const char *const names[QUESTIONS_MAX] = {"phone.example.org", "a.example", "b.example.net",
	"_sip._udp.trunk.example", "x.phone.example.org", "phone.example.org", "c.example",
	"_sips._tcp.trunk.example"};
static const enum dns_type types[QUESTIONS_MAX] = {
	DNS_A, DNS_AAAA, DNS_A, DNS_SRV, DNS_AAAA, DNS_AAAA, DNS_A, DNS_SRV};

static int64_t now_ns = INT64_C(1000000000);

/* The resolver's own clock. c-ares reads another one. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	(void)clock;
	ret_time->tv_sec = (time_t)(now_ns / 1000000000);
	ret_time->tv_nsec = (long)(now_ns % 1000000000);
	return 0;
}

static void advance(int64_t milliseconds)
{
	now_ns += milliseconds * 1000000;
}

/* --- the server --- */

struct server {
	int udp, tcp;
	uint16_t port;
};

static int open_socket(int type, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	FUZZ_CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		(type == SOCK_STREAM && listen(fd, 16) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct server server_open(void)
{
	for (int i = 0; i < 100; i++) {
		struct sockaddr_in address;
		socklen_t size = sizeof(address);
		struct server server = {.udp = open_socket(SOCK_DGRAM, 0)};

		FUZZ_CHECK(server.udp >= 0);
		FUZZ_CHECK(getsockname(server.udp, (struct sockaddr *)&address, &size) == 0);
		server.port = ntohs(address.sin_port);
		server.tcp = open_socket(SOCK_STREAM, server.port);
		if (server.tcp >= 0)
			return server;
		close(server.udp);
	}
	fputs("no port is free for both UDP and TCP\n", stderr);
	abort();
}

struct run {
	const struct server *server;
	struct resolver *resolver;
	struct fuzz_bytes replies;
	int tcp[TCP_MAX];
	size_t tcp_count;
	unsigned answers[QUESTIONS_MAX], good[QUESTIONS_MAX];
	size_t asked;
	struct packet {
		struct sockaddr_storage to;
		size_t length;
		uint8_t bytes[PACKET_MAX];
	} * held;
};

/* Of a question: up to the end of its first name, type and class. */
static size_t question_length(const uint8_t *message, size_t size)
{
	size_t at = HEADER_SIZE;

	while (at < size && message[at] && message[at] < 64)
		at += 1u + message[at];
	return at + 5 <= size ? at + 5 : 0;
}

/* The next reply, with the id and the question of what was asked; 0: none. */
static size_t make_reply(
	struct run *run, const uint8_t *asked, size_t size, uint8_t *reply, uint8_t *ret_flags)
{
	uint8_t flags = fuzz_byte(&run->replies);
	size_t length = fuzz_byte(&run->replies);
	struct fuzz_bytes piece;
	size_t question = question_length(asked, size), own;

	length = length << 8 | fuzz_byte(&run->replies);
	piece = fuzz_piece(&run->replies, length);
	*ret_flags = flags;
	if (piece.left)
		memcpy(reply, piece.at, piece.left);
	if (flags & REPLY_AS_IT_IS || piece.left < HEADER_SIZE || !question)
		return piece.left;
	own = question_length(piece.at, piece.left);
	if (!own)
		own = HEADER_SIZE;
	memcpy(reply, asked, 2);
	reply[2] |= 0x80;
	if (flags & REPLY_TRUNCATED)
		reply[2] |= 0x02;
	reply[4] = 0;
	reply[5] = 1;
	memcpy(reply + HEADER_SIZE, asked + HEADER_SIZE, question - HEADER_SIZE);
	memcpy(reply + question, piece.at + own, piece.left - own);
	return question + piece.left - own;
}

static void send_held(struct run *run)
{
	struct packet *held = run->held;

	if (held->length)
		sendto(run->server->udp, held->bytes, held->length, 0,
			(const struct sockaddr *)&held->to, sizeof(struct sockaddr_in));
	held->length = 0;
}

static bool serve_udp(struct run *run)
{
	static uint8_t asked[PACKET_MAX], reply[PACKET_MAX * 2];
	struct sockaddr_storage from;
	bool busy = false;

	for (int i = 0; i < 2 * QUESTIONS_MAX; i++) {
		socklen_t size = sizeof(from);
		ssize_t length = recvfrom(
			run->server->udp, asked, sizeof(asked), 0, (struct sockaddr *)&from, &size);
		uint8_t flags = 0;
		size_t answer;

		if (length < 0)
			break;
		busy = true;
		if (run->replies.left == 0)
			continue;
		answer = make_reply(run, asked, (size_t)length, reply, &flags);
		if (answer > 65507)
			answer = 65507;
		if (flags & REPLY_LATER)
			advance(TIMEOUT_MS / 4);
		if (flags & REPLY_HELD && run->held->length == 0) {
			run->held->to = from;
			run->held->length = answer;
			memcpy(run->held->bytes, reply, answer);
			continue;
		}
		for (int j = 0; !(flags & REPLY_NEVER) && j <= !!(flags & REPLY_TWICE); j++)
			sendto(run->server->udp, reply, answer, 0, (struct sockaddr *)&from, size);
		send_held(run);
	}
	return busy;
}

static bool serve_tcp(struct run *run)
{
	static uint8_t asked[PACKET_MAX], reply[2 + PACKET_MAX * 2];
	bool busy = false;

	while (run->tcp_count < TCP_MAX) {
		int fd = accept4(run->server->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			break;
		run->tcp[run->tcp_count++] = fd;
		busy = true;
	}
	for (size_t i = 0; i < run->tcp_count; i++) {
		ssize_t length = recv(run->tcp[i], asked, sizeof(asked), 0);
		uint8_t flags = 0;
		size_t answer;

		if (length <= 2)
			continue;
		busy = true;
		if (run->replies.left == 0)
			continue;
		answer = make_reply(run, asked + 2, (size_t)length - 2, reply + 2, &flags);
		if (answer > UINT16_MAX)
			answer = UINT16_MAX;
		/* A wrong length, too: as it is, the first two bytes are the length. */
		reply[0] = (uint8_t)(answer >> 8);
		reply[1] = (uint8_t)answer;
		if (flags & REPLY_AS_IT_IS)
			send(run->tcp[i], reply + 2, answer, MSG_NOSIGNAL);
		else if (!(flags & REPLY_NEVER))
			send(run->tcp[i], reply, answer + 2, MSG_NOSIGNAL);
		if (flags & REPLY_TWICE)
			shutdown(run->tcp[i], SHUT_RDWR);
	}
	return busy;
}

/* --- the asker --- */

static void on_answer(void *context, uint64_t tag, const struct answer *answer)
{
	struct run *run = context;
	bool good = answer->kind != ANSWER_COULD_NOT_ASK;

	FUZZ_CHECK(tag < run->asked);
	fuzz_check_answer(answer, types[tag] == DNS_SRV);
	/* The first one, and one that came late and counts; never two that count. */
	FUZZ_CHECK(run->answers[tag] == 0 || (run->answers[tag] == 1 && good));
	run->answers[tag]++;
	run->good[tag] += good;
	FUZZ_CHECK(run->good[tag] <= 1);
}

static void dispatch(struct run *run)
{
	struct error error = {0};

	FUZZ_CHECK(resolver_dispatch(run->resolver, &error) == 0);
	FUZZ_CHECK(resolver_wait_ms(run->resolver) >= -1);
}

static void pump(struct run *run)
{
	for (int quiet = 0, i = 0; i < ROUNDS_MAX && quiet < 2; i++) {
		bool busy;

		dispatch(run);
		busy = serve_udp(run);
		busy |= serve_tcp(run);
		quiet = busy ? 0 : quiet + 1;
	}
}

/* Whatever came, and whatever did not: each question is answered, at worst one behind the other,
 * each after its budget. */
static void check_end(struct run *run)
{
	for (size_t i = 0; i < 8 * (run->asked + 1) && resolver_unanswered(run->resolver); i++) {
		pump(run);
		advance(TIMEOUT_MS / 8);
	}
	dispatch(run);
	FUZZ_CHECK(resolver_unanswered(run->resolver) == 0);
	for (size_t i = 0; i < run->asked; i++)
		FUZZ_CHECK(run->answers[i] >= 1);
}

/* What is left in the sockets is of no later run. */
static void drain(struct run *run)
{
	static uint8_t packet[PACKET_MAX];
	int fd;

	while (recv(run->server->udp, packet, sizeof(packet), 0) >= 0)
		;
	while ((fd = accept4(run->server->tcp, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
	for (size_t i = 0; i < run->tcp_count; i++) {
		/* No port waits for the other side's last word. */
		struct linger now = {.l_onoff = 1, .l_linger = 0};

		setsockopt(run->tcp[i], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(run->tcp[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct prefix loopback = {
		.addr = {.family = FAMILY_IPV4, .bytes = {127}}, .length = 8};
	static struct server server;
	struct fuzz_bytes bytes = {data, size};
	uint8_t choice = fuzz_byte(&bytes);
	struct config_server node = {.addr = {.family = FAMILY_IPV4, .bytes = {127, 0, 0, 1}}};
	struct resolver_options options = {.servers = &node,
		.server_count = 1,
		.trusted = &loopback,
		.trusted_count = 1,
		.timeout_ms = TIMEOUT_MS,
		.in_flight = choice >> 6};
	static struct packet held;
	struct run run = {.replies = bytes, .held = &held};
	struct error error = {0};

	if (!server.port) {
		server = server_open();
		/* As the program does: c-ares writes to connections that the server has closed. */
		signal(SIGPIPE, SIG_IGN);
	}
	node.port = server.port;
	run.server = &server;
	held.length = 0;
	FUZZ_CHECK(resolver_new(&run.resolver, &options, on_answer, &run, &error) == 0);
	for (size_t i = 0, count = 1 + choice % QUESTIONS_MAX; i < count; i++) {
		enum resolver_need need = choice & 0x20 ? RESOLVER_VALIDATED : RESOLVER_ANY;

		run.asked++;
		FUZZ_CHECK(resolver_ask(run.resolver, names[i], types[i], need, i) == 0);
	}
	if (choice & 0x10) {
		pump(&run); /* and given up in the middle */
		advance(TIMEOUT_MS / 2);
		pump(&run);
	} else {
		check_end(&run);
	}
	resolver_free(run.resolver);
	drain(&run);
	return 0;
}
