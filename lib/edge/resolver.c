/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * c-ares carries the packets: ids, matching, EDNS, TCP. When to send, to which server, how often
 * and for how long is decided by core/course.h, because c-ares 1.18 doubles its time-outs,
 * multiplies them by the number of servers, and forgets which server is dead. Here are what
 * course.h has no part in: the queue, and the channels, which change the source port that c-ares
 * keeps while it is busy.
 *
 * So each c-ares channel knows one server and makes one try. A try that stays silent is not taken
 * back when the next one is sent: whichever is answered first counts, and it lives for twice the
 * budget, so that a late answer finds it.
 */
#define CARES_NO_DEPRECATED
#include "resolver.h"

#include "addr.h"
#include "burst.h"
#include "course.h"
#include "dns_message.h"
#include "pace.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PORT_QUESTIONS = 50, /* half of what is promised: the kernel may give a port twice */
#ifdef ARES_OPT_UDP_MAX_QUERIES
	CHANNEL_QUESTIONS = INT_MAX, /* c-ares changes the port itself */
#else
	CHANNEL_QUESTIONS = PORT_QUESTIONS,
#endif
	CHANNELS_SPARE = 44, /* beside those that carry the questions under way */
	CHANNELS_AT_REST = 1,

	CLASS_IN = 1,
	TYPE_NS = 2,
	RCODE_FORMERR = 1,
	FLAGS_AT = 2,	  /* in a message */
	FLAG_AD = 0x0020, /* RFC 6840, 5.7 */
	EDNS_SIZE = 1232,
	ANSWER_MEMORY = 4096, /* of a socket's receive buffer, for one answer */
	FEW_QUESTIONS = 8,

	MAX_ATTEMPTS = COURSE_MAX_STEPS, /* of one question that wait at once */

	RETRIES_MS = 20, /* PACE_LEAST of them in that time; in silence half as many each time */

	REFUSAL_IN_FLIGHT = 50, /* with fewer under way, REFUSED does not mean "too many" */

	QUIET_LEAST_MS = 5,

	IDS_DRAWN = 128, /* at once: 256 bytes are what getrandom() gives whole */

	QUEUE_LEAST = 64,
	SLAB_QUESTIONS = 64,
	EVENTS = 64,
	ROUNDS = 16,
};

struct queued {
	const char *name;
	uint64_t tag;
	uint16_t type;
	bool validated;
};

struct queue {
	struct queued *items;
	size_t first, count, room;
};

struct attempt {
	struct question *question;
	struct channel *channel; /* NULL: unused */
	int64_t sent;		 /* microseconds */
	bool first, done;
	bool cut; /* left in a message that the kernel cuts (burst.h) */
};

/* A question that has been sent. */
struct question {
	const char *name;
	uint64_t tag;
	struct course_try try;
	struct question *previous, *next; /* of the same step; `next` of the free ones too */
	struct question *next_again;
	uint16_t type;
	uint8_t waiting;     /* attempts that c-ares still has */
	bool validated;	     /* is to be: by a trusted server */
	bool root;	     /* a canary (course.h): nobody waits for its answer */
	bool again;	     /* in resolver.again */
	bool answered, good; /* with an answer that counts */
	struct attempt attempts[MAX_ATTEMPTS];
};

struct question_list {
	struct question *first, *last;
};

struct slab {
	struct slab *next;
	struct question questions[SLAB_QUESTIONS];
};

struct server {
	struct ares_addr_port_node node;
	struct channel *current; /* takes questions */
	struct channel *idle;	 /* fresh ones */
	struct burst_path path;
};

/* One c-ares channel, one server, one source port at a time. */
struct channel {
	struct resolver *resolver;
	uint32_t server; /* index into resolver.servers and course.servers */
	ares_channel ares;
	struct channel *next_idle;
	int64_t reap; /* not before this does c-ares have a time-out to handle */
	uint32_t index;
	uint32_t used; /* questions since the sockets were opened */
	uint32_t under_way;
	uint32_t sockets;
	int udp; /* the socket that was opened last; -1: none */
	bool edns;
	bool full;
	bool broken; /* sending failed, so what it carries is lost */
	bool unsent; /* the same of its part of a burst: to be told to c-ares yet */
};

struct resolver {
	resolver_answer_fn *answer;
	void *context;
	int epoll;
	int failure; /* -errno of a callback, for resolver_dispatch() */
	bool library, closing;

	uint32_t timeout_ms;
	int64_t reap;

	struct server *servers;	   /* course.server_count of them */
	uint64_t trusted;	   /* bit i: servers[i] */
	struct channel **channels; /* by index, with holes */
	uint32_t channel_count, channel_slots;
	uint32_t attempts; /* that c-ares has */
	uint32_t sockets;  /* that `epoll` watches */

	struct queue queue;
	struct queue hopeless; /* they need a trusted server, and there is none */
	struct question_list by_step[COURSE_MAX_STEPS];
	struct question *again_first, *again_last; /* to be sent now */
	size_t again_count;
	struct question *free_questions;
	struct slab *slabs;

	struct burst burst;
	struct channel *burst_channel; /* whose questions wait in it */
	struct attempt *handed_over;   /* that c-ares is about to send; NULL: none */
	bool unsent;		       /* there are channels with `unsent` */

	struct course course;
	struct pace pace;
	uint32_t in_first_step;
	uint32_t retries;    /* that may be sent now, after time-outs */
	unsigned silent;     /* times that such were granted, and nothing was heard since */
	int64_t retries_due; /* when some are granted again */
	uint32_t roots;	     /* questions under way that nobody waits for */

	uint16_t ids[IDS_DRAWN]; /* the last `id_count` are not used yet */
	size_t id_count;

	/* When the last question was sent the first time, and when the last one was answered by a
	 * server; 0: none was. */
	int64_t sent_ms, answered_ms;

	struct resolver_stats stats;
	struct dns_scratch scratch;
};

static int64_t clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t clock_ms(void)
{
	return clock_us() / 1000;
}

/* --- Questions that have not been sent --- */

static int queue_push(struct queue *queue, const struct queued *item)
{
	if (queue->first + queue->count == queue->room) {
		if (queue->first > queue->room / 2) {
			memmove(queue->items, queue->items + queue->first,
				queue->count * sizeof(*queue->items));
			queue->first = 0;
		} else {
			size_t room = queue->room ? queue->room * 2 : QUEUE_LEAST;
			struct queued *items = reallocarray(queue->items, room, sizeof(*items));
			if (!items)
				return -ENOMEM;
			queue->items = items;
			queue->room = room;
		}
	}
	queue->items[queue->first + queue->count++] = *item;
	return 0;
}

/* Takes one out from anywhere; the last one fills its place, so that the front keeps its order. */
static struct queued queue_take(struct queue *queue, size_t index)
{
	struct queued *place = &queue->items[queue->first + index], item = *place;

	queue->count--;
	if (index)
		*place = queue->items[queue->first + queue->count];
	else
		queue->first++;
	if (!queue->count)
		queue->first = 0;
	return item;
}

/* After a burst. */
static void queue_trim(struct queue *queue)
{
	if (queue->count || queue->room <= QUEUE_LEAST)
		return;
	free(queue->items);
	*queue = (struct queue){0};
}

/* --- Questions under way --- */

static struct question *question_new(struct resolver *r)
{
	struct question *question = r->free_questions;

	if (!question) {
		struct slab *slab = malloc(sizeof(*slab));
		if (!slab)
			return NULL;
		slab->next = r->slabs;
		r->slabs = slab;
		for (size_t i = 0; i < SLAB_QUESTIONS; i++) {
			slab->questions[i].next = question;
			question = &slab->questions[i];
		}
	}
	r->free_questions = question->next;
	memset(question, 0, sizeof(*question));
	return question;
}

/* Gives it back once nothing points to it any more. */
static void question_release(struct resolver *r, struct question *question)
{
	if (!question->answered || question->waiting || question->again)
		return;
	question->next = r->free_questions;
	r->free_questions = question;
}

static void step_enter(struct resolver *r, struct question *question, unsigned step)
{
	struct question_list *list = &r->by_step[step];

	question->try.step = (uint8_t)step;
	question->next = NULL;
	question->previous = list->last;
	if (list->last)
		list->last->next = question;
	else
		list->first = question;
	list->last = question;
	if (!step)
		r->in_first_step++;
}

static void step_leave(struct resolver *r, struct question *question)
{
	struct question_list *list = &r->by_step[question->try.step];

	if (question->previous)
		question->previous->next = question->next;
	else
		list->first = question->next;
	if (question->next)
		question->next->previous = question->previous;
	else
		list->last = question->previous;
	if (!question->try.step)
		r->in_first_step--;
}

/*
 * To be sent now, before the others if `first`. Those whose connection broke go the other way round
 * than they failed: c-ares 1.34 drops a whole connection for one malformed reply, and those that
 * stood behind the culprit now stand before it.
 */
static void ask_again(struct resolver *r, struct question *question, bool first)
{
	if (question->again)
		return;
	question->again = true;
	r->again_count++;
	question->next_again = first ? r->again_first : NULL;
	if (first || !r->again_first)
		r->again_first = question;
	else
		r->again_last->next_again = question;
	if (!question->next_again)
		r->again_last = question;
}

/* The first answer: frees the slot. */
static void question_answer(
	struct resolver *r, struct question *question, const struct answer *answer)
{
	bool good = answer->kind != ANSWER_COULD_NOT_ASK;

	step_leave(r, question);
	question->answered = true;
	question->good = good || question->root; /* no second answer then */
	course_ended(&r->course, &question->try, good ? REASON_NONE : answer->reason);
	r->stats.in_flight--;
	if (question->root) {
		r->roots--;
		return;
	}
	r->stats.answered++;
	r->answer(r->context, question->tag, answer);
}

static void question_fail(struct resolver *r, struct question *question, enum answer_reason reason)
{
	struct answer answer = {.kind = ANSWER_COULD_NOT_ASK, .reason = reason};

	question_answer(r, question, &answer);
}

/* --- Channels --- */

static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
	struct channel *channel = context;
	struct resolver *r = channel->resolver;
	struct epoll_event event = {
		.events = (readable ? EPOLLIN : 0U) | (writable ? EPOLLOUT : 0U),
		.data.u64 = (uint64_t)channel->index << 32 | (uint32_t)fd,
	};

	if (!readable && !writable) {
		if (!epoll_ctl(r->epoll, EPOLL_CTL_DEL, fd, NULL)) {
			channel->sockets--;
			r->sockets--;
		}
		return;
	}
	if (!epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event)) {
		channel->sockets++;
		r->sockets++;
		return;
	}
	if (errno != EEXIST || epoll_ctl(r->epoll, EPOLL_CTL_MOD, fd, &event))
		r->failure = -errno;
}

/* In one call what c-ares does in four. */
static ares_socket_t socket_open(int domain, int type, int protocol, void *context)
{
	struct channel *channel = context;
	const struct resolver *r = channel->resolver;
	int size = PORT_QUESTIONS * ANSWER_MEMORY, one = 1;
	int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	/* Room for an answer to every question that this port may ask; the kernel's default does
	 * for a few. */
	if (fd >= 0 && type == SOCK_DGRAM && r->queue.count + r->stats.in_flight > FEW_QUESTIONS &&
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	/* A question does not wait until the one before has been acknowledged. */
	if (fd >= 0 && type == SOCK_STREAM)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (type == SOCK_DGRAM)
		channel->udp = fd;
	return fd;
}

static int socket_close(ares_socket_t fd, void *context)
{
	struct channel *channel = context;

	burst_forget(&channel->resolver->burst, fd);
	if (channel->udp == fd)
		channel->udp = -1;
	return close(fd);
}

static int socket_connect(
	ares_socket_t fd, const struct sockaddr *addr, ares_socklen_t size, void *context)
{
	(void)context;
	return connect(fd, addr, size);
}

static ares_ssize_t socket_receive(ares_socket_t fd, void *data, size_t size, int flags,
	struct sockaddr *from, ares_socklen_t *from_size, void *context)
{
	(void)context;
	return recvfrom(fd, data, size, flags, from, from_size);
}

/* c-ares may be in the midst of something: it is told later, by tell_unsent(). */
static void send_burst(struct resolver *r)
{
	if (r->burst.count > 0 && burst_send(&r->burst) < 0)
		r->unsent = r->burst_channel->unsent = true;
}

static ares_ssize_t send_now(ares_socket_t fd, const struct iovec *pieces, int count)
{
	struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};

	/* The cheaper call for UDP, which has one piece. */
	return count == 1 ? send(fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL)
			  : sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* First tries leave together, at the end of resolver_dispatch() at the latest; what has got no
 * answer goes by itself, so that nobody depends on how well messages are cut on the way. */
static ares_ssize_t socket_send(
	ares_socket_t fd, const struct iovec *pieces, int count, void *context)
{
	struct channel *channel = context;
	struct resolver *r = channel->resolver;
	struct attempt *attempt = r->handed_over;
	struct burst_path *path = &r->servers[channel->server].path;

	if (!attempt || !attempt->first || fd != channel->udp || count != 1)
		return send_now(fd, pieces, count);
	if (!burst_add(&r->burst, fd, path, pieces->iov_base, pieces->iov_len)) {
		send_burst(r);
		if (!burst_add(&r->burst, fd, path, pieces->iov_base, pieces->iov_len))
			return send_now(fd, pieces, count);
	}
	r->burst_channel = channel;
	attempt->cut = burst_is_cut(&r->burst);
	return (ares_ssize_t)pieces->iov_len;
}

static const struct ares_socket_functions socket_functions = {
	.asocket = socket_open,
	.aclose = socket_close,
	.aconnect = socket_connect,
	.arecvfrom = socket_receive,
	.asendv = socket_send,
};

static void channel_free(struct channel *channel)
{
	if (!channel)
		return;
	struct resolver *r = channel->resolver;
	struct server *server = &r->servers[channel->server];
	if (channel->ares)
		ares_destroy(channel->ares);
	r->channels[channel->index] = NULL;
	r->channel_count--;
	if (server->current == channel)
		server->current = NULL;
	free(channel);
}

static int channel_slot(struct resolver *r, uint32_t *ret_index)
{
	for (uint32_t i = 0; i < r->channel_slots; i++)
		if (!r->channels[i]) {
			*ret_index = i;
			return 0;
		}
	uint32_t slots = r->channel_slots ? r->channel_slots * 2 : 8;
	struct channel **channels = realloc(r->channels, slots * sizeof(struct channel *));
	if (!channels)
		return -ENOMEM;
	memset(channels + r->channel_slots, 0,
		(slots - r->channel_slots) * sizeof(struct channel *));
	*ret_index = r->channel_slots;
	r->channels = channels;
	r->channel_slots = slots;
	return 0;
}

/*
 * Everything that resolv.conf could say is given, so that c-ares 1.18 reads no file here. The
 * answers are handed on whatever their rcode.
 */
static int channel_init(struct channel *channel)
{
	char lookups[] = "b";
	struct ares_options options = {
		.flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH |
			 (channel->edns ? ARES_FLAG_EDNS : 0),
		.timeout = (int)(channel->resolver->timeout_ms * 2),
		.tries = 1,
		.ndots = 1,
		.lookups = lookups,
		.ednspsz = EDNS_SIZE,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = channel,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
		   ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS | ARES_OPT_SERVERS | ARES_OPT_SORTLIST |
		   ARES_OPT_EDNSPSZ | ARES_OPT_NOROTATE | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_UDP_MAX_QUERIES
	/* Here c-ares learns its time-outs from the server's pace; tries keep a question alive. */
	options.tries = COURSE_MAX_STEPS;
	options.udp_max_queries = PORT_QUESTIONS;
	mask |= ARES_OPT_UDP_MAX_QUERIES;
#endif
#ifdef ARES_OPT_QUERY_CACHE
	options.qcache_max_ttl = 0;
	mask |= ARES_OPT_QUERY_CACHE;
#endif
	int status = ares_init_options(&channel->ares, &options, mask);
	if (status)
		return status;
	ares_set_socket_functions(channel->ares, &socket_functions, channel);
	return ares_set_servers_ports(
		channel->ares, &channel->resolver->servers[channel->server].node);
}

static int channel_new(struct resolver *r, uint32_t server, struct channel **ret_channel)
{
	uint32_t index;
	struct channel *channel = calloc(1, sizeof(*channel));

	if (!channel || channel_slot(r, &index)) {
		free(channel);
		return -ENOMEM;
	}
	channel->resolver = r;
	channel->server = server;
	channel->index = index;
	channel->udp = -1;
	channel->edns = !r->course.servers[server].plain;
	r->channels[index] = channel;
	r->channel_count++;
	int status = channel_init(channel);
	if (status) {
		channel_free(channel);
		return status == ARES_ENOMEM ? -ENOMEM : -EIO;
	}
	*ret_channel = channel;
	return 0;
}

/* Its last question has been answered: c-ares closes its sockets now. */
static void channel_drained(struct channel *channel)
{
	if (!channel->full)
		return;
	struct server *server = &channel->resolver->servers[channel->server];
	channel->full = false;
	channel->next_idle = server->idle;
	server->idle = channel;
}

/*
 * Frees the full channel that the fewest questions hold back. c-ares hands these questions back,
 * and those without an answer are sent again.
 */
static void channel_abandon(struct resolver *r)
{
	struct channel *least = NULL;

	for (uint32_t i = 0; i < r->channel_slots; i++) {
		struct channel *channel = r->channels[i];
		if (channel && channel->full && (!least || channel->under_way < least->under_way))
			least = channel;
	}
	if (least)
		ares_cancel(least->ares);
}

/* Enough for one try of every question that can be under way, so that abandoning makes room. */
static uint32_t channel_limit(const struct resolver *r)
{
	uint32_t questions = r->pace.fixed ? r->pace.limit : PACE_UNDER_WAY_MOST;

	return CHANNELS_SPARE + r->course.server_count + questions / PORT_QUESTIONS;
}

/* A channel of this server that may carry one more question. */
static int channel_choose(struct resolver *r, uint32_t index, struct channel **ret_channel)
{
	struct server *server = &r->servers[index];
	struct channel *channel = server->current;
	bool edns = !r->course.servers[index].plain;

	if (channel) {
		if (!channel->under_way && !channel->sockets)
			channel->used = 0;
		if (channel->used < CHANNEL_QUESTIONS && channel->edns == edns) {
			*ret_channel = channel;
			return 0;
		}
		server->current = NULL;
		channel->full = true;
		if (!channel->under_way)
			channel_drained(channel);
	}
	if (!server->idle && r->channel_count >= channel_limit(r))
		channel_abandon(r);
	while ((channel = server->idle)) {
		server->idle = channel->next_idle;
		if (!channel->sockets && channel->edns == edns)
			break;
		channel_free(channel);
	}
	if (!channel) {
		int result = channel_new(r, index, &channel);
		if (result)
			return result;
	}
	channel->used = 0;
	server->current = channel;
	*ret_channel = channel;
	return 0;
}

/* After a burst: a channel takes 70 KB. */
static void channels_trim(struct resolver *r)
{
	for (uint32_t i = 0; i < r->course.server_count; i++) {
		struct server *server = &r->servers[i];
		unsigned kept = 0;
		for (struct channel **link = &server->idle, *channel; (channel = *link);) {
			if (kept++ < CHANNELS_AT_REST) {
				link = &channel->next_idle;
				continue;
			}
			*link = channel->next_idle;
			channel_free(channel);
		}
	}
}

/* --- Replies --- */

static enum answer_reason status_reason(int status)
{
	switch (status) {
	case ARES_ETIMEOUT:
		return REASON_TIMEOUT;
	case ARES_ESERVFAIL:
		return REASON_SERVFAIL;
	case ARES_EREFUSED:
		return REASON_SERVER_REFUSED;
	case ARES_EFORMERR:
	case ARES_ENOTIMP:
		return REASON_OTHER_RCODE;
	case ARES_EBADRESP:
	case ARES_EBADNAME:
		return REASON_GARBAGE;
	default:
		return REASON_NO_SERVER;
	}
}

/* The servers that other tries wait for. */
static uint64_t open_tries(const struct question *question)
{
	uint64_t servers = 0;

	for (size_t i = 0; i < MAX_ATTEMPTS; i++) {
		const struct attempt *attempt = &question->attempts[i];
		if (attempt->channel && !attempt->done)
			servers |= UINT64_C(1) << attempt->channel->server;
	}
	return servers;
}

/* `bytes` NULL: c-ares could not send it, or the other side said that nobody listens. */
static void attempt_failed(struct resolver *r, struct question *question, struct channel *channel,
	enum answer_reason reason, const uint8_t *bytes, int length, int64_t now)
{
	struct course_failure failure = {
		.server = channel->server,
		.reason = reason,
		.spoke = bytes != NULL,
		.no_edns = length > 3 && (bytes[3] & 0x0f) == RCODE_FORMERR && channel->edns,
		.crowded =
			r->stats.in_flight > REFUSAL_IN_FLIGHT && r->pace.heard && !r->pace.fixed,
		.open = open_tries(question),
	};

	if (!bytes)
		channel->broken = true;
	switch (course_failed(&r->course, &question->try, &failure, now)) {
	case COURSE_WAIT:
		return;
	case COURSE_EASE:
		pace_shrink(&r->pace, now);
		return;
	case COURSE_ASK:
		ask_again(r, question, !bytes);
		return;
	case COURSE_FAIL:
		question_fail(r, question, course_reason(&question->try));
		return;
	}
}

static struct answer reply_decode(struct resolver *r, const struct question *question, int status,
	const uint8_t *bytes, int length)
{
	if (bytes && length > 0) {
		struct answer answer = dns_decode(bytes, (size_t)length, question->name,
			(enum dns_type)question->type, &r->scratch);
		/* Of others it was not asked, and nobody knows who they are. */
		answer.validated &= question->validated;
		return answer;
	}
	/* c-ares answers *.onion by itself (RFC 7686). */
	if (status == ARES_ENOTFOUND)
		return (struct answer){.kind = ANSWER_NO_NAME};
	return (struct answer){.kind = ANSWER_COULD_NOT_ASK, .reason = status_reason(status)};
}

/* The answer came to a later try, and the first one at the same server has none. */
static bool first_lost(const struct question *question, const struct attempt *attempt)
{
	if (attempt->first)
		return false;
	for (size_t i = 0; i < MAX_ATTEMPTS; i++)
		if (question->attempts[i].first && question->attempts[i].channel)
			return question->attempts[i].channel->server == attempt->channel->server;
	return false;
}

/* The question is answered: those of its tries that left in a cut message, and have no answer, were
 * lost, if others get through. */
static void note_cut_losses(struct resolver *r, const struct question *question)
{
	for (size_t i = 0; i < MAX_ATTEMPTS; i++) {
		const struct attempt *attempt = &question->attempts[i];
		if (attempt->channel && attempt->cut && !attempt->done)
			burst_lost(&r->servers[attempt->channel->server].path);
	}
}

static void answer_take(struct resolver *r, struct question *question,
	const struct attempt *attempt, const struct answer *answer, int64_t now_us)
{
	if (first_lost(question, attempt))
		pace_lost(&r->pace);
	note_cut_losses(r, question);
	pace_heard(&r->pace, now_us - attempt->sent, r->queue.count > 0, now_us);
	pace_weigh_losses(&r->pace, now_us / 1000);
	if (r->course.patience)
		r->course.due[0] = pace_patience_ms(&r->pace, r->course.patience);
	question_answer(r, question, answer);
}

static void late_answer_take(
	struct resolver *r, struct question *question, const struct answer *answer)
{
	if (question->good || answer->kind == ANSWER_COULD_NOT_ASK)
		return;
	question->good = true;
	r->stats.late++;
	r->answer(r->context, question->tag, answer);
}

static void reply_handle(struct resolver *r, struct question *question, struct attempt *attempt,
	int status, const uint8_t *bytes, int length)
{
	int64_t now_us = clock_us(), now = now_us / 1000;
	struct answer answer = reply_decode(r, question, status, bytes, length);

	if (bytes) {
		course_heard(&r->course, attempt->channel->server, now);
		burst_heard(&r->servers[attempt->channel->server].path, attempt->cut);
		r->silent = 0;
		if (r->retries < PACE_LEAST)
			r->retries++;
	}
	if (bytes && !question->answered)
		r->answered_ms = now;
	if (status == ARES_ENOMEM)
		r->failure = -ENOMEM;
	if (question->answered)
		late_answer_take(r, question, &answer);
	else if (question->root && bytes)
		question_fail(r, question, REASON_NONE);
	else if (answer.kind != ANSWER_COULD_NOT_ASK)
		answer_take(r, question, attempt, &answer, now_us);
	else if (status != ARES_ETIMEOUT || bytes) /* of time our own clock decides */
		attempt_failed(r, question, attempt->channel, answer.reason, bytes, length, now);
}

static void on_reply(void *context, int status, int timeouts, unsigned char *bytes, int length)
{
	struct attempt *attempt = context;
	struct question *question = attempt->question;
	struct channel *channel = attempt->channel;
	struct resolver *r = channel->resolver;

	(void)timeouts;
	question->waiting--;
	channel->under_way--;
	r->attempts--;
	if (r->closing)
		return;
	attempt->done = true;
	if ((status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) && !channel->broken) {
		if (!question->answered && !question->waiting)
			ask_again(r, question, false);
	} else {
		reply_handle(r, question, attempt, status, bytes, length);
	}
	attempt->channel = NULL;
	question_release(r, question);
	if (!channel->under_way)
		channel_drained(channel);
}

/* --- Sending --- */

static struct attempt *attempt_free(struct question *question)
{
	for (size_t i = 0; i < MAX_ATTEMPTS; i++)
		if (!question->attempts[i].channel)
			return &question->attempts[i];
	return NULL;
}

/*
 * ares_query() would set no AD bit. And the ids of c-ares 1.18 are as good as /dev/urandom, if it
 * may open it, else rand()'s; 1.34 gives a message an id of its own here, too.
 */
static void hand_over(struct channel *channel, struct attempt *attempt, uint16_t id)
{
	const struct question *question = attempt->question;
	unsigned char *bytes = NULL;
	int length = 0, status = ares_create_query(question->name, CLASS_IN, question->type, id, 1,
				&bytes, &length, channel->edns ? EDNS_SIZE : 0);

	if (status) {
		on_reply(attempt, status, 0, NULL, 0);
		return;
	}
	if (question->validated)
		bytes[FLAGS_AT + 1] |= FLAG_AD;
	channel->resolver->handed_over = attempt;
	ares_send(channel->ares, bytes, length, on_reply, attempt);
	channel->resolver->handed_over = NULL;
	ares_free_string(bytes);
}

/* An id that nobody can foresee. */
static int draw_id(struct resolver *r, uint16_t *ret_id)
{
	if (r->id_count == 0) {
		ssize_t drawn = getrandom(r->ids, sizeof(r->ids), 0);
		if (drawn != sizeof(r->ids))
			return drawn < 0 && errno > 0 ? -errno : -EIO;
		r->id_count = IDS_DRAWN;
	}
	*ret_id = r->ids[--r->id_count];
	return 0;
}

static int question_send(struct resolver *r, struct question *question, int64_t now_us)
{
	int64_t now = now_us / 1000;
	struct channel *channel;
	struct attempt *attempt = attempt_free(question);
	uint16_t id = 0;

	if (!attempt)
		return 0;
	int result = draw_id(r, &id);
	if (result)
		return result;
	bool first = !question->try.sent;
	uint32_t server = course_choose(&r->course, &question->try, now);
	result = channel_choose(r, server, &channel);
	if (result)
		return result;
	if (first)
		r->sent_ms = now;
	question->waiting++;
	*attempt = (struct attempt){
		.question = question,
		.channel = channel,
		.sent = now_us,
		.first = first,
	};
	if (!channel->under_way++) {
#ifdef ARES_OPT_UDP_MAX_QUERIES
		channel->reap = now + 250; /* the least that it waits */
#else
		channel->reap = now + r->timeout_ms * 2;
#endif
		if (!r->attempts || channel->reap < r->reap)
			r->reap = channel->reap;
	}
	channel->used++;
	channel->broken = false;
	r->attempts++;
	hand_over(channel, attempt, id);
	/* What else it carries is lost as well: see tell_unsent(). */
	if (channel->broken) {
		ares_cancel(channel->ares);
		channel->broken = false;
	}
	return 0;
}

static int send_again(struct resolver *r, int64_t now_us)
{
	/* Those that come back at once wait for the next dispatch, so that time goes on. */
	struct question *question;
	for (size_t count = r->again_count; count && (question = r->again_first); count--) {
		r->again_count--;
		r->again_first = question->next_again;
		if (!r->again_first)
			r->again_last = NULL;
		question->again = false;
		if (question->answered) {
			question_release(r, question);
			continue;
		}
		int result = question_send(r, question, now_us);
		if (result) {
			ask_again(r, question, false);
			return result;
		}
	}
	return 0;
}

static bool may_send(const struct resolver *r)
{
	return r->queue.count && course_may_ask(&r->course) &&
	       pace_allows(&r->pace, r->in_first_step, r->stats.in_flight);
}

/*
 * The kernel tells of an unreachable server once, at whichever send comes next: not only the
 * questions of that burst, but all that were sent before on this channel would wait in vain.
 */
static void tell_unsent(struct resolver *r)
{
	for (uint32_t i = 0; r->unsent && i < r->channel_slots; i++) {
		struct channel *channel = r->channels[i];
		if (!channel || !channel->unsent)
			continue;
		channel->unsent = false;
		channel->broken = true;
		ares_cancel(channel->ares);
		channel->broken = false;
	}
	r->unsent = false;
}

static int send_queued(struct resolver *r)
{
	static const struct queued root = {.name = ".", .type = TYPE_NS};
	int result = r->again_first ? send_again(r, clock_us()) : 0;

	while (!result && may_send(r)) {
		struct question *question = question_new(r);
		if (!question)
			return -ENOMEM;
		int64_t now_us = clock_us(), now = now_us / 1000;
		struct course_pick pick = course_pick(&r->course, r->queue.count, now);
		struct queued item = pick.root ? root : queue_take(&r->queue, pick.index);
		question->name = item.name;
		question->tag = item.tag;
		question->type = (uint16_t)item.type;
		question->root = pick.root;
		question->validated = item.validated;
		question->try.only = item.validated ? r->trusted : 0;
		course_begin(&r->course, &question->try, now);
		step_enter(r, question, 0);
		r->roots += pick.root;
		r->stats.asked += !pick.root;
		if (++r->stats.in_flight > r->stats.in_flight_peak)
			r->stats.in_flight_peak = r->stats.in_flight;
		ask_again(r, question, false);
		result = send_again(r, now_us);
	}
	return result;
}

/* Not a word on whether DNS lives: nobody was asked. */
static void answer_hopeless(struct resolver *r)
{
	struct answer answer = {.kind = ANSWER_COULD_NOT_ASK, .reason = REASON_NO_TRUSTED};

	/* Those that are asked meanwhile wait for the next dispatch. */
	for (size_t count = r->hopeless.count; count; count--) {
		struct queued item = queue_take(&r->hopeless, 0);
		r->stats.answered++;
		r->answer(r->context, item.tag, &answer);
	}
}

/* --- Time --- */

/* DNS is dead: what waits behind the questions that proved it would only wait in vain. */
static void queue_give_up(struct resolver *r, enum answer_reason reason)
{
	struct answer answer = {.kind = ANSWER_COULD_NOT_ASK, .reason = reason};

	course_settle(&r->course);
	for (size_t count = r->queue.count; count; count--) {
		struct queued item = queue_take(&r->queue, 0);
		r->stats.answered++;
		r->stats.timed_out += reason == REASON_TIMEOUT;
		r->answer(r->context, item.tag, &answer);
	}
}

static void step_expired(struct resolver *r, struct question *question, int64_t now)
{
	bool lost = course_lost(&r->course, &question->try);

	if (course_due(&r->course, &question->try, now) == COURSE_FAIL) {
		r->stats.timed_out += !question->root;
		question_fail(r, question, course_reason(&question->try));
		question_release(r, question);
		return;
	}
	if (lost)
		pace_lost(&r->pace);
	step_leave(r, question);
	step_enter(r, question, course_step(&r->course, &question->try, now));
	ask_again(r, question, false);
}

/*
 * What was lost together times out together, and would get lost together again, try by try. So
 * tries after time-outs begin with few at a time: some in each moment, ever fewer if no server says
 * a word, and one for each message that a server sends, as that one has left the way.
 */
static bool may_retry(struct resolver *r, int64_t now)
{
	if (now >= r->retries_due) {
		uint32_t granted = PACE_LEAST >> r->silent;

		r->retries_due = now + RETRIES_MS;
		if (r->retries < granted)
			r->retries = granted;
		if (granted > 1)
			r->silent++;
	}
	if (!r->retries)
		return false;
	r->retries--;
	return true;
}

static void expire(struct resolver *r)
{
	int64_t now = clock_ms(), budget = r->course.due[r->course.step_count - 1];
	uint32_t lost = r->pace.lost;

	for (unsigned step = r->course.step_count; step-- > 0;) {
		struct question *question;
		while ((question = r->by_step[step].first) &&
			now >= question->try.started + r->course.due[step] &&
			(now >= question->try.started + budget || may_retry(r, now)))
			step_expired(r, question, now);
	}
	if (r->pace.lost != lost)
		pace_weigh_losses(&r->pace, now);
	pace_forget(&r->pace, now);
	enum answer_reason dead = course_dead(&r->course);
	if (dead)
		queue_give_up(r, dead);
	if (!r->queue.count && !r->stats.in_flight)
		course_settle(&r->course);
}

/* Lets c-ares end the tries that nobody answered. */
static void reap(struct resolver *r)
{
	int64_t now = clock_ms(), next = INT64_MAX;

	if (!r->attempts || now < r->reap)
		return;
	for (uint32_t i = 0; i < r->channel_slots; i++) {
		struct channel *channel = r->channels[i];
		if (!channel || !channel->under_way)
			continue;
		if (now >= channel->reap) {
			struct timeval wait;
			ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
			if (!channel->under_way || !ares_timeout(channel->ares, NULL, &wait))
				continue;
			channel->reap = now + wait.tv_sec * 1000 + wait.tv_usec / 1000 + 1;
		}
		if (channel->reap < next)
			next = channel->reap;
	}
	r->reap = next;
}

/* --- The public face --- */

static int error_ares(struct error *error, int status)
{
	if (status == ARES_ENOMEM)
		return error_no_memory(error);
	return error_set(error, -EIO, "See whether /etc/resolv.conf can be read.",
		"c-ares can't be set up: %s", ares_strerror(status));
}

static int servers_allocate(struct resolver *r, size_t count, struct error *error)
{
	if (!count)
		return error_set(error, -EINVAL, "Name the resolvers in resolver.servers.",
			"no DNS server is known");
	if (count > COURSE_MAX_SERVERS)
		return error_set(error, -EINVAL, "Name fewer in resolver.servers.",
			"more than %d DNS servers", COURSE_MAX_SERVERS);
	r->servers = calloc(count, sizeof(r->servers[0]));
	return r->servers ? 0 : error_no_memory(error);
}

/* Returns how many there are. */
static int servers_from_options(
	struct resolver *r, const struct resolver_options *options, struct error *error)
{
	int result = servers_allocate(r, options->server_count, error);

	if (result)
		return result;
	for (size_t i = 0; i < options->server_count; i++) {
		const struct config_server *server = &options->servers[i];
		enum family family = (enum family)server->addr.family;
		struct ares_addr_port_node *node = &r->servers[i].node;
		node->family = family == FAMILY_IPV4 ? AF_INET : AF_INET6;
		node->udp_port = node->tcp_port = server->port;
		memcpy(&node->addr, server->addr.bytes, addr_size(family));
	}
	return (int)options->server_count;
}

/* Returns how many there are. */
static int servers_from_system(struct resolver *r, struct error *error)
{
	ares_channel channel;
	struct ares_addr_port_node *nodes = NULL;
	size_t count = 0;
	int status = ares_init(&channel);

	if (status)
		return error_ares(error, status);
	status = ares_get_servers_ports(channel, &nodes);
	ares_destroy(channel);
	if (status)
		return error_ares(error, status);
	for (const struct ares_addr_port_node *node = nodes; node; node = node->next)
		count++;
	if (count > COURSE_MAX_SERVERS)
		count = COURSE_MAX_SERVERS;
	int result = servers_allocate(r, count, error);
	const struct ares_addr_port_node *node = nodes;
	for (size_t i = 0; !result && i < count; i++, node = node->next) {
		r->servers[i].node = *node;
		r->servers[i].node.next = NULL;
	}
	ares_free_data(nodes);
	return result ? result : (int)count;
}

static void find_trusted(struct resolver *r, const struct resolver_options *options)
{
	for (uint32_t i = 0; i < r->course.server_count; i++) {
		const struct ares_addr_port_node *node = &r->servers[i].node;
		struct addr addr = {
			.family = node->family == AF_INET ? FAMILY_IPV4 : FAMILY_IPV6,
		};

		memcpy(addr.bytes, &node->addr, addr_size((enum family)addr.family));
		for (size_t j = 0; j < options->trusted_count; j++)
			r->trusted |= (uint64_t)prefix_contains(&options->trusted[j], &addr) << i;
	}
}

int resolver_new(struct resolver **ret_resolver, const struct resolver_options *options,
	resolver_answer_fn *answer, void *context, struct error *error)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return error_no_memory(error);
	r->epoll = -1;
	r->answer = answer;
	r->context = context;
	r->timeout_ms = options->timeout_ms ? options->timeout_ms : 1;
	if (r->timeout_ms > INT_MAX / 2)
		r->timeout_ms = INT_MAX / 2;
	pace_init(&r->pace, options->in_flight);

	int result = ares_library_init(ARES_LIB_INIT_ALL);
	if (result) {
		result = error_ares(error, result);
		goto failed;
	}
	r->library = true;
	result = options->server_count ? servers_from_options(r, options, error)
				       : servers_from_system(r, error);
	if (result < 0)
		goto failed;
	course_plan(&r->course, (uint32_t)result, r->timeout_ms, options->in_flight);
	find_trusted(r, options);
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll < 0) {
		result = error_set(error, -errno, "See the limits of open files (ulimit -n).",
			"can't make an epoll descriptor: %s", strerror(errno));
		goto failed;
	}
	*ret_resolver = r;
	return 0;
failed:
	resolver_free(r);
	return result;
}

struct resolver *resolver_free(struct resolver *r)
{
	if (!r)
		return NULL;
	r->closing = true;
	for (uint32_t i = 0; i < r->channel_slots; i++)
		channel_free(r->channels[i]);
	free(r->channels);
	free(r->servers);
	free(r->queue.items);
	free(r->hopeless.items);
	while (r->slabs) {
		struct slab *slab = r->slabs;
		r->slabs = slab->next;
		free(slab);
	}
	if (r->epoll >= 0)
		close(r->epoll);
	if (r->library)
		ares_library_cleanup();
	free(r);
	return NULL;
}

int resolver_ask(struct resolver *r, const char *name, enum dns_type type, enum resolver_need need,
	uint64_t tag)
{
	struct queued item = {
		.name = name,
		.tag = tag,
		.type = (uint16_t)type,
		.validated = need == RESOLVER_VALIDATED,
	};

	return queue_push(item.validated && !r->trusted ? &r->hopeless : &r->queue, &item);
}

int resolver_fd(const struct resolver *r)
{
	return r->epoll;
}

int resolver_wait_ms(const struct resolver *r)
{
	int64_t next = INT64_MAX;

	if (r->hopeless.count || r->again_first || may_send(r) || course_dead(&r->course))
		return 0;
	for (unsigned step = 0; step < r->course.step_count; step++) {
		const struct question *question = r->by_step[step].first;
		if (question && question->try.started + r->course.due[step] < next)
			next = question->try.started + r->course.due[step];
	}
	if (!r->retries && next < r->retries_due)
		next = r->retries_due;
	if (r->attempts && r->reap < next)
		next = r->reap;
	if (next == INT64_MAX)
		return -1;
	next -= clock_ms();
	return next < 0 ? 0 : next > INT_MAX ? INT_MAX : (int)next;
}

static int receive(struct resolver *r, int *ret_count)
{
	struct epoll_event events[EVENTS];
	int count = r->sockets ? epoll_wait(r->epoll, events, EVENTS, 0) : 0;

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < count; i++) {
		uint32_t index = (uint32_t)(events[i].data.u64 >> 32);
		ares_socket_t fd = (ares_socket_t)(uint32_t)events[i].data.u64;
		struct channel *channel = index < r->channel_slots ? r->channels[index] : NULL;
		if (!channel)
			continue;
		ares_process_fd(channel->ares,
			events[i].events & (uint32_t)~EPOLLOUT ? fd : ARES_SOCKET_BAD,
			events[i].events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
	}
	*ret_count = count;
	return 0;
}

int resolver_dispatch(struct resolver *r, struct error *error)
{
	int result = 0, count = 0;

	answer_hopeless(r);
	for (unsigned round = 0; !result && round < ROUNDS; round++) {
		count = 0;
		result = receive(r, &count);
		if (result)
			break;
		expire(r);
		reap(r);
		result = send_queued(r);
		send_burst(r);
		tell_unsent(r);
		if (count < EVENTS)
			break;
	}
	if (!r->attempts && !r->queue.count) {
		channels_trim(r);
		queue_trim(&r->queue);
		queue_trim(&r->hopeless);
	}
	if (!result)
		result = r->failure;
	r->failure = 0;
	if (result == -ENOMEM)
		return error_no_memory(error);
	if (result)
		return error_set(error, result, "See the limits of open files (ulimit -n).",
			"DNS questions can't be sent: %s", strerror(-result));
	return 0;
}

size_t resolver_unanswered(const struct resolver *r)
{
	return r->hopeless.count + r->queue.count + r->stats.in_flight - r->roots;
}

int resolver_quiet_in_ms(const struct resolver *r)
{
	int64_t silence = r->pace.round_trip / 4000, end, left;

	if (r->queue.count || r->again_count || !r->answered_ms || !resolver_unanswered(r))
		return -1;
	if (silence < QUIET_LEAST_MS)
		silence = QUIET_LEAST_MS;
	end = r->sent_ms + (r->pace.round_trip + 2 * r->pace.deviation) / 1000;
	if (end < r->answered_ms + silence)
		end = r->answered_ms + silence;
	left = end - clock_ms();
	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

struct resolver_stats resolver_stats(const struct resolver *r)
{
	struct resolver_stats stats = r->stats;

	stats.in_flight_limit = r->pace.limit;
	return stats;
}
