/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moves a DNS server away, and makes it small or faulty: a kernel without netem needs this.
 *
 *     relay LISTEN PORT SERVER PORT DELAY-US [RATE QUEUE]
 *
 * Each datagram to LISTEN gets to SERVER after DELAY-US microseconds, and its answer back after as
 * many again. None is lost here: the buffers are large, and the server is never sent more at once
 * than its own buffer holds. With RATE and QUEUE it is a small server: it answers RATE questions a
 * second, one after the other, and drops what comes while QUEUE of them wait. Names that begin with
 * `servfail` get SERVFAIL, those that begin with `silent` nothing.
 *
 * Prints "ready", and at SIGTERM one line of JSON: how many questions came, how many of them were
 * the first of their name and type, what became of them, and when the last good answer was given to
 * the asker, in seconds of the monotonic clock.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum {
	MESSAGE_SIZE = 512,
	HEADER_SIZE = 12,
	BATCH = 64,
	BUFFER = 16 << 20,
	IDS = 1 << 16,
	QUEUE_SIZE = 1 << 17, /* datagrams on their way, each direction */
	SEEN_SIZE = 1 << 20,
	WINDOW = 128, /* questions that the server has at once: half of what a default buffer holds
		       */
	LOST_US = 200000,
	SERVFAIL = 2,
};

struct datagram {
	int64_t due; /* microseconds */
	struct sockaddr_in peer;
	uint16_t length;
	bool good;
	uint8_t bytes[MESSAGE_SIZE];
};

/* First in, first out: both directions take equally long for all. */
struct queue {
	struct datagram *ring;
	size_t first, count;
};

struct waiting { /* for the server's answer, by the id that it was asked with */
	struct sockaddr_in peer;
	uint16_t id;
	bool used;
	int64_t since;
};

struct relay {
	int asker, server;
	int64_t delay, gap,
		backlog; /* gap: of the server's answers; backlog: the most that wait, in time */
	int64_t busy_until;
	struct queue there, back;
	struct waiting *waiting;
	uint16_t next_id;
	size_t at_server;
	int64_t checked;
	uint64_t *seen;
	size_t seen_count;
	size_t asked, first, dropped, servfail, silent, answered, lost;
	int64_t last_good;
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		die("memory");
	return memory;
}

static struct sockaddr_in address(const char *host, const char *port)
{
	struct sockaddr_in found = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};

	if (inet_pton(AF_INET, host, &found.sin_addr) != 1)
		die("not an IPv4 address");
	return found;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = BUFFER;

	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

static struct datagram *queue_add(struct queue *queue)
{
	if (queue->count == QUEUE_SIZE) {
		errno = ENOBUFS;
		die("more datagrams are on their way than there is room for");
	}
	return &queue->ring[(queue->first + queue->count++) % QUEUE_SIZE];
}

static struct datagram *queue_due(struct queue *queue, int64_t now)
{
	struct datagram *next = &queue->ring[queue->first];

	return queue->count && next->due <= now ? next : NULL;
}

static void queue_drop_first(struct queue *queue)
{
	queue->first = (queue->first + 1) % QUEUE_SIZE;
	queue->count--;
}

/* --- Questions --- */

/* Of name and type; a name that was asked before is known by it. */
static uint64_t question_hash(const uint8_t *bytes, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325;
	size_t at = HEADER_SIZE;

	while (at < length && bytes[at])
		at += bytes[at] + 1u;
	for (size_t i = HEADER_SIZE; i < at + 3 && i < length; i++)
		hash = (hash ^ (bytes[i] | 0x20)) * 0x100000001b3;
	return hash ? hash : 1;
}

static void note_question(struct relay *relay, const uint8_t *bytes, size_t length)
{
	uint64_t hash = question_hash(bytes, length);
	size_t at = (hash ^ hash >> 32) % SEEN_SIZE;

	relay->asked++;
	while (relay->seen[at] && relay->seen[at] != hash)
		at = (at + 1) % SEEN_SIZE;
	if (relay->seen[at])
		return;
	if (++relay->seen_count > SEEN_SIZE / 2) {
		errno = ENOBUFS;
		die("more different questions than there is room for");
	}
	relay->seen[at] = hash;
	relay->first++;
}

static bool begins(const struct datagram *question, const char *word)
{
	size_t length = strlen(word);

	return question->length > HEADER_SIZE + 1 + length &&
	       strncasecmp((const char *)question->bytes + HEADER_SIZE + 1, word, length) == 0;
}

static void take_question(struct relay *relay, const uint8_t *bytes, size_t length,
	const struct sockaddr_in *peer, int64_t now)
{
	int64_t arrival = now + relay->delay, done = arrival;

	if (length <= HEADER_SIZE || length > MESSAGE_SIZE)
		return;
	note_question(relay, bytes, length);
	if (relay->gap) {
		if (relay->busy_until - arrival > relay->backlog) {
			relay->dropped++;
			return;
		}
		done = (relay->busy_until > arrival ? relay->busy_until : arrival) + relay->gap;
		relay->busy_until = done;
	}
	struct datagram *question = queue_add(&relay->there);
	question->due = done;
	question->peer = *peer;
	question->length = (uint16_t)length;
	memcpy(question->bytes, bytes, length);
}

static void refuse(struct relay *relay, const struct datagram *question, int64_t now)
{
	struct datagram *answer = queue_add(&relay->back);
	size_t end = HEADER_SIZE;

	*answer = *question;
	while (end < question->length && question->bytes[end])
		end += question->bytes[end] + 1u;
	end += 5; /* the root, type and class; what follows, EDNS, is left out */
	answer->length = (uint16_t)(end < question->length ? end : question->length);
	answer->bytes[2] = (uint8_t)(0x80 | (question->bytes[2] & 1));
	answer->bytes[3] = 0x80 | SERVFAIL;
	memset(answer->bytes + 6, 0, 6);
	answer->due = now + relay->delay;
	answer->good = false;
	relay->servfail++;
}

static void ask_server(struct relay *relay, const struct datagram *question, int64_t now)
{
	struct waiting *waiting;
	uint16_t id = htons(relay->next_id);

	while (relay->waiting[relay->next_id].used) /* at most WINDOW are */
		id = htons(++relay->next_id);
	waiting = &relay->waiting[relay->next_id++];
	*waiting = (struct waiting){.peer = question->peer, .used = true, .since = now};
	memcpy(&waiting->id, question->bytes, 2);
	uint8_t bytes[MESSAGE_SIZE];
	memcpy(bytes, question->bytes, question->length);
	memcpy(bytes, &id, 2);
	if (send(relay->server, bytes, question->length, 0) < 0)
		die("send to the server");
	relay->at_server++;
}

static void pass_questions(struct relay *relay, int64_t now)
{
	struct datagram *question;

	while (relay->at_server < WINDOW && (question = queue_due(&relay->there, now))) {
		if (begins(question, "servfail"))
			refuse(relay, question, now);
		else if (begins(question, "silent"))
			relay->silent++;
		else
			ask_server(relay, question, now);
		queue_drop_first(&relay->there);
	}
}

/* --- Answers --- */

static void take_answer(struct relay *relay, const uint8_t *bytes, size_t length, int64_t now)
{
	struct waiting *waiting;
	uint16_t id;

	if (length <= HEADER_SIZE || length > MESSAGE_SIZE)
		return;
	memcpy(&id, bytes, 2);
	waiting = &relay->waiting[ntohs(id)];
	if (!waiting->used)
		return;
	waiting->used = false;
	relay->at_server--;
	struct datagram *answer = queue_add(&relay->back);
	answer->due = now + relay->delay;
	answer->peer = waiting->peer;
	answer->length = (uint16_t)length;
	answer->good = true;
	memcpy(answer->bytes, bytes, length);
	memcpy(answer->bytes, &waiting->id, 2);
}

static void pass_answers(struct relay *relay, int64_t now)
{
	struct datagram *answer;

	while ((answer = queue_due(&relay->back, now))) {
		/* Whoever has asked may be gone: no error of ours. */
		(void)sendto(relay->asker, answer->bytes, answer->length, 0,
			(const struct sockaddr *)&answer->peer, sizeof(answer->peer));
		relay->answered++;
		if (answer->good)
			relay->last_good = now_us();
		queue_drop_first(&relay->back);
	}
}

/* What the server did not answer: told, not hidden. */
static void forget_lost(struct relay *relay, int64_t now)
{
	if (now - relay->checked < LOST_US)
		return;
	relay->checked = now;
	for (size_t i = 0; i < IDS && relay->at_server; i++) {
		if (!relay->waiting[i].used || now - relay->waiting[i].since < LOST_US)
			continue;
		relay->waiting[i].used = false;
		relay->at_server--;
		relay->lost++;
	}
}

/* --- The loop --- */

static void read_all(struct relay *relay, int fd)
{
	static uint8_t bytes[BATCH][MESSAGE_SIZE + 1];
	struct sockaddr_in peers[BATCH];
	struct iovec pieces[BATCH];
	struct mmsghdr messages[BATCH];
	int count;

	do {
		for (int i = 0; i < BATCH; i++) {
			pieces[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
			messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &peers[i],
							       .msg_namelen = sizeof(peers[i]),
							       .msg_iov = &pieces[i],
							       .msg_iovlen = 1}};
		}
		count = recvmmsg(fd, messages, BATCH, 0, NULL);
		int64_t now = now_us();
		for (int i = 0; i < count; i++) {
			if (fd == relay->asker)
				take_question(relay, bytes[i], messages[i].msg_len, &peers[i], now);
			else
				take_answer(relay, bytes[i], messages[i].msg_len, now);
		}
	} while (count == BATCH);
}

static int64_t next_due(const struct relay *relay)
{
	int64_t due = INT64_MAX;

	if (relay->there.count && relay->at_server < WINDOW)
		due = relay->there.ring[relay->there.first].due;
	if (relay->back.count && relay->back.ring[relay->back.first].due < due)
		due = relay->back.ring[relay->back.first].due;
	if (relay->at_server && relay->checked + LOST_US < due)
		due = relay->checked + LOST_US;
	return due;
}

static void run(struct relay *relay, const sigset_t *while_waiting)
{
	struct pollfd ready[2] = {
		{.fd = relay->asker, .events = POLLIN}, {.fd = relay->server, .events = POLLIN}};

	while (!ended) {
		int64_t due = next_due(relay), wait = due - now_us();
		struct timespec timeout = {0};

		if (wait > 0)
			timeout = (struct timespec){wait / 1000000, wait % 1000000 * 1000};
		if (ppoll(ready, 2, due == INT64_MAX ? NULL : &timeout, while_waiting) < 0 &&
			errno != EINTR)
			die("ppoll");
		read_all(relay, relay->server);
		read_all(relay, relay->asker);
		int64_t now = now_us();
		forget_lost(relay, now);
		pass_questions(relay, now);
		pass_answers(relay, now);
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct relay relay = {0};
	sigset_t blocked, before;

	if (argc != 6 && argc != 8) {
		fprintf(stderr, "usage: relay LISTEN PORT SERVER PORT DELAY-US [RATE QUEUE]\n");
		return 2;
	}
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigaction(SIGTERM, &action, NULL);
	prctl(PR_SET_TIMERSLACK, 1UL);
	relay.delay = strtol(argv[5], NULL, 10);
	if (argc == 8) {
		relay.gap = 1000000 / strtol(argv[6], NULL, 10);
		relay.backlog = relay.gap * strtol(argv[7], NULL, 10);
	}
	relay.there.ring = allocate(QUEUE_SIZE, sizeof(struct datagram));
	relay.back.ring = allocate(QUEUE_SIZE, sizeof(struct datagram));
	relay.waiting = allocate(IDS, sizeof(struct waiting));
	relay.seen = allocate(SEEN_SIZE, sizeof(uint64_t));
	relay.asker = open_socket();
	relay.server = open_socket();
	struct sockaddr_in here = address(argv[1], argv[2]), server = address(argv[3], argv[4]);
	if (bind(relay.asker, (struct sockaddr *)&here, sizeof(here)))
		die("bind");
	if (connect(relay.server, (struct sockaddr *)&server, sizeof(server)))
		die("connect");
	puts("ready");
	fflush(stdout);
	run(&relay, &before);
	printf("{\"asked\": %zu, \"first\": %zu, \"dropped\": %zu, \"servfail\": %zu, \"silent\": %zu, "
	       "\"answered\": %zu, \"lost\": %zu, \"last_good\": %.6f}\n",
		relay.asked, relay.first, relay.dropped, relay.servfail, relay.silent,
		relay.answered, relay.lost, (double)relay.last_good / 1e6);
	free(relay.there.ring);
	free(relay.back.ring);
	free(relay.waiting);
	free(relay.seen);
	return 0;
}
