/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kernel.h"
#include "conntrack.h"
#include "nft_attr.h"
#include "nft_event.h"
#include "nft_survey.h"
#include "text.h"

#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/membarrier.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	RECEIVE_SIZE = 256 * 1024, /* the kernel fills up to 32 KB at a time, larger on request */
	SOCKET_BUFFER_MIN = 1024 * 1024,
	WATCH_SOCKET_BUFFER = 16 * 1024 * 1024, /* somebody else's sets of 100,000 fit */
	WATCH_SIZE = 64 * 1024,
	WATCH_READS_MAX = 16384, /* then somebody else is to have a turn */
	OBSERVE_TRIES = 3,	 /* in the last one others may change their tables meanwhile */
	LOSSES_MAX = 16,	 /* of answers to one batch; each is told once */
	FIRST_REQUEST = 1 << 30, /* sequence numbers of batches count from 1: never the same */
	REPLY_SECONDS = 5,
	ALL_KINDS = (1 << (SET_REVOKED + 1)) - 1,
};

static const char advice_privilege[] =
	"run it as root, or give it CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN)";

struct kernel {
	struct mnl_socket *socket;
	uint32_t sequence;  /* of the last request */
	size_t send_buffer; /* what was asked for, bytes */
	uint8_t *buffer;    /* RECEIVE_SIZE */
	bool tolerant;	    /* a dump may be interrupted by changes that are not of our table */
};

/* The errno's meaning for somebody who called for nf_tables, and what to do. */
static const char *advice(int number)
{
	switch (number) {
	case EPERM:
	case EACCES:
		return advice_privilege;
	case EPROTONOSUPPORT:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
		return "this kernel has no nf_tables: load the module (modprobe nf_tables), or use "
		       "a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET";
	case ENOENT:
		return "a part of nf_tables is missing: load its module (modprobe -a nft_fib_inet "
		       "nft_log nft_limit nft_ct), or use a kernel that has it";
	case ENOBUFS:
	case EMSGSIZE:
		return "the transaction is larger than this process may send at once: raise "
		       "net.core.wmem_max (sysctl), or run it with CAP_NET_ADMIN outside "
		       "containers";
	case ENOMEM:
		return "the kernel has no memory for it: free some, or raise the memory limit of "
		       "this container";
	case ENFILE:
	case ENOSPC:
		return "the set is full: give it a larger `size`, or none";
	case EBUSY:
		return "another program holds on to a part of the table: look at `nft list "
		       "ruleset`";
	default:
		return "look at the kernel's log (dmesg), and at `nft list ruleset`";
	}
}

int kernel_open(struct kernel **ret_kernel, struct error *error)
{
	struct kernel *kernel = calloc(1, sizeof(*kernel));
	int one = 1, size = SOCKET_BUFFER_MIN;
	struct timeval limit = {.tv_sec = REPLY_SECONDS};
	int fd;

	if (!kernel)
		return error_no_memory(error);
	kernel->sequence = FIRST_REQUEST;
	kernel->buffer = malloc(RECEIVE_SIZE);
	if (!kernel->buffer) {
		kernel_close(kernel);
		return error_no_memory(error);
	}
	kernel->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!kernel->socket || mnl_socket_bind(kernel->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		int number = errno;

		kernel_close(kernel);
		return error_set(error, -number, advice(number),
			"cannot open a netlink socket to the kernel's nf_tables: %s",
			strerror(number));
	}
	fd = mnl_socket_get_fd(kernel->socket);
	mnl_socket_setsockopt(kernel->socket, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(kernel->socket, NETLINK_CAP_ACK, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	*ret_kernel = kernel;
	return 0;
}

struct kernel *kernel_close(struct kernel *kernel)
{
	if (!kernel)
		return NULL;
	if (kernel->socket)
		mnl_socket_close(kernel->socket);
	free(kernel->buffer);
	free(kernel);
	return NULL;
}

static uint32_t next_sequence(struct kernel *kernel)
{
	kernel->sequence = kernel->sequence == UINT32_MAX ? FIRST_REQUEST : kernel->sequence + 1;
	return kernel->sequence;
}

/* 0 to go on, negative to stop with that errno. */
typedef int message_fn(const struct nlmsghdr *message, void *context);

struct exchange {
	uint32_t sequence, port;
	message_fn *handle;
	void *context;
	bool tolerant;
	bool ended;
	int result; /* the first error */
};

static void note_result(struct exchange *exchange, int result)
{
	if (result < 0 && exchange->result == 0)
		exchange->result = result;
}

static void take_message(struct exchange *exchange, const struct nlmsghdr *message)
{
	const struct nlmsgerr *ack = mnl_nlmsg_get_payload(message);

	/* What is left of an earlier, broken-off exchange. */
	if (!mnl_nlmsg_seq_ok(message, exchange->sequence) ||
		!mnl_nlmsg_portid_ok(message, exchange->port))
		return;
	if (message->nlmsg_flags & NLM_F_DUMP_INTR && !exchange->tolerant)
		note_result(exchange, -EINTR);
	if (message->nlmsg_type == NLMSG_ERROR) {
		exchange->ended = true;
		note_result(exchange,
			mnl_nlmsg_get_payload_len(message) < sizeof(*ack) ? -EBADMSG : ack->error);
	} else if (message->nlmsg_type == NLMSG_DONE) {
		exchange->ended = true;
	} else if (message->nlmsg_type >= NLMSG_MIN_TYPE && exchange->result == 0) {
		note_result(exchange, exchange->handle(message, exchange->context));
	}
}

/*
 * Sends one request, which asks for a dump or an ACK, and hands each message of the answer to
 * `handle`. Reads to the end even after an error, so that the next request finds an idle socket.
 * -EINTR: the dump is inconsistent, ask again. Errors of the kernel come back unreported.
 */
static int ask(struct kernel *kernel, const void *request, size_t length, message_fn *handle,
	void *context)
{
	struct exchange exchange = {
		.sequence = ((const struct nlmsghdr *)request)->nlmsg_seq,
		.port = mnl_socket_get_portid(kernel->socket),
		.handle = handle,
		.context = context,
		.tolerant = kernel->tolerant,
	};

	if (mnl_socket_sendto(kernel->socket, request, length) < 0)
		return -errno;
	while (!exchange.ended) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)kernel->buffer;
		ssize_t size = mnl_socket_recvfrom(kernel->socket, kernel->buffer, RECEIVE_SIZE);
		int left = (int)size;

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
			take_message(&exchange, message);
	}
	return exchange.result;
}

static int take_generation(const struct nlmsghdr *message, void *context)
{
	return nft_parse_generation(message, context);
}

static int read_generation(struct kernel *kernel, uint32_t *ret_generation)
{
	_Alignas(struct nlmsghdr) uint8_t request[NFT_REQUEST_SIZE] = {0};
	size_t length = nft_request_generation(next_sequence(kernel), request);

	return ask(kernel, request, length, take_generation, ret_generation);
}

struct observation {
	struct nft_observer *observer;
	struct text *snapshot;
};

static int observe(const struct nlmsghdr *message, void *context)
{
	struct observation *observation = context;

	if (observation->snapshot) {
		text_write(observation->snapshot, message, NLMSG_ALIGN(message->nlmsg_len));
		if (observation->snapshot->failed)
			return -ENOMEM;
	}
	return nft_observer_message(observation->observer, message);
}

static bool is_of_kinds(const struct ruleset *wanted, const char *name, unsigned kinds)
{
	for (size_t i = 0; i < wanted->set_count; i++) {
		if (strcmp(wanted->sets[i].name, name) == 0)
			return kinds >> wanted->sets[i].kind & 1;
	}
	return kinds == ALL_KINDS;
}

static int observe_rules(
	struct kernel *kernel, const struct ruleset *wanted, struct observation *observation)
{
	_Alignas(struct nlmsghdr) uint8_t request[NFT_REQUEST_SIZE] = {0};
	size_t length = nft_request_chains(next_sequence(kernel), request);
	int result = ask(kernel, request, length, observe, observation);

	if (result < 0)
		return result;
	length = nft_request_rules(
		(enum table_family)wanted->family, wanted->table, next_sequence(kernel), request);
	return ask(kernel, request, length, observe, observation);
}

/* The table, once, with the elements of sets of these kinds; of another's table our sets. */
static int observe_once(struct kernel *kernel, const struct ruleset *wanted, unsigned kinds,
	struct observation *observation)
{
	_Alignas(struct nlmsghdr) uint8_t request[NFT_REQUEST_SIZE] = {0};
	enum table_family family = (enum table_family)wanted->family;
	const char *set;
	size_t length;
	int result;

	length = nft_request_table(family, wanted->table, next_sequence(kernel), request);
	result = ask(kernel, request, length, observe, observation);
	if (result == -ENOENT)
		return 0; /* no table: nothing else to read */
	if (result < 0)
		return result;
	/* Nobody else can change it, whatever the generation of all tables. */
	kernel->tolerant |= nft_observer_is_ours(observation->observer);
	length = nft_request_sets(family, wanted->table, next_sequence(kernel), request);
	result = ask(kernel, request, length, observe, observation);
	if (result == 0 && !wanted->sets_only)
		result = observe_rules(kernel, wanted, observation);
	for (size_t i = 0; result == 0 && (set = nft_observer_set(observation->observer, i)); i++) {
		if (!is_of_kinds(wanted, set, kinds))
			continue;
		length = nft_request_elements(
			family, wanted->table, set, next_sequence(kernel), request);
		result = ask(kernel, request, length, observe, observation);
	}
	return result;
}

int kernel_observe(struct kernel *kernel, const struct ruleset *wanted,
	struct observed **ret_observed, uint32_t *ret_generation, struct text *snapshot,
	struct error *error)
{
	int result = -EINTR;

	for (int i = 0; i < OBSERVE_TRIES; i++) {
		struct nft_observer *observer = NULL;
		struct observation observation = {.snapshot = snapshot};
		uint32_t before = 0, after = 0;

		kernel->tolerant = i == OBSERVE_TRIES - 1;
		if (snapshot)
			text_clear(snapshot);
		result = nft_observer_new(wanted, mnl_socket_get_portid(kernel->socket), &observer);
		observation.observer = observer;
		if (result < 0)
			break;
		result = read_generation(kernel, &before);
		if (result == 0)
			result = observe_once(kernel, wanted, ALL_KINDS, &observation);
		if (result == 0)
			result = read_generation(kernel, &after);
		if (result == 0 && before != after && !kernel->tolerant)
			result = -EINTR;
		if (result == 0)
			result = nft_observer_end(observer, ret_observed);
		nft_observer_free(observer);
		kernel->tolerant = false;
		if (result == 0) {
			*ret_generation = before == after ? after : 0;
			return 0;
		}
		/* A table that vanished while it was read, or a dump that was interrupted. */
		if (result != -EINTR && result != -ENOENT && result != -ENOBUFS)
			break;
	}
	if (result == -ENOMEM)
		return error_no_memory(error);
	if (result == -EINTR)
		return error_set(error, -EAGAIN,
			"find out who does that (`nft monitor`), and try again",
			"another program changes the firewall without a pause; the table %s "
			"could not be read in one piece",
			wanted->table);
	/* ENOBUFS here: an answer was lost, for want of memory; nothing was too large. */
	return error_set(error, result,
		advice(result == -EINVAL     ? EOPNOTSUPP
			: result == -ENOBUFS ? ENOMEM
					     : -result),
		"cannot read the kernel's table %s %s: %s",
		ruleset_family_name((enum table_family)wanted->family), wanted->table,
		strerror(-result));
}

int kernel_observe_counters(struct kernel *kernel, const struct ruleset *wanted, unsigned kinds,
	struct observed **ret_observed, struct error *error)
{
	struct observation observation = {0};
	int result = nft_observer_new(
		wanted, mnl_socket_get_portid(kernel->socket), &observation.observer);

	/* Of a table that changes meanwhile, some counters are of before and some of after. */
	kernel->tolerant = true;
	if (result == 0)
		result = observe_once(kernel, wanted, kinds, &observation);
	kernel->tolerant = false;
	if (result == 0)
		result = nft_observer_end(observation.observer, ret_observed);
	nft_observer_free(observation.observer);
	if (result == -ENOMEM)
		return error_no_memory(error);
	if (result < 0)
		return error_set(error, result, advice(-result),
			"cannot read the counters of the kernel's table inet %s: %s", wanted->table,
			strerror(-result));
	return 0;
}

struct refusal {
	int number; /* errno; 0: none */
	uint32_t sequence, offset;
	char text[128]; /* the kernel's own words */
};

/* One ACK or error of a batch; the first error stays. */
static void take_ack(const struct nlmsghdr *message, struct refusal *refusal)
{
	const struct nlmsgerr *ack = mnl_nlmsg_get_payload(message);
	size_t header = sizeof(*ack);
	const char *words;
	const uint32_t *offset;

	if (message->nlmsg_type != NLMSG_ERROR ||
		mnl_nlmsg_get_payload_len(message) < sizeof(*ack) || ack->error == 0 ||
		refusal->number)
		return;
	refusal->number = -ack->error;
	refusal->sequence = message->nlmsg_seq;
	if (!(message->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(message->nlmsg_flags & NLM_F_CAPPED))
		header += ack->msg.nlmsg_len - sizeof(struct nlmsghdr);
	if (header > mnl_nlmsg_get_payload_len(message))
		return;
	words = attr_find_string(attr_walk_message(message, header), NLMSGERR_ATTR_MSG);
	offset = attr_find_fixed(
		attr_walk_message(message, header), NLMSGERR_ATTR_OFFS, sizeof(*offset));
	if (words)
		strncpy(refusal->text, words, sizeof(refusal->text) - 1);
	if (offset)
		memcpy(&refusal->offset, offset, sizeof(*offset));
}

/* All answers to a batch are queued before sendmsg() returns. -ENOBUFS: some were lost. */
static int read_acks(struct kernel *kernel, uint32_t *ret_count, struct refusal *refusal)
{
	int fd = mnl_socket_get_fd(kernel->socket);
	unsigned lost = 0;

	*ret_count = 0;
	for (;;) {
		ssize_t size = recv(fd, kernel->buffer, RECEIVE_SIZE, MSG_DONTWAIT);
		const struct nlmsghdr *message = (const struct nlmsghdr *)kernel->buffer;
		int left = (int)size;

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno == ENOBUFS && ++lost < LOSSES_MAX)
			continue;
		if (size < 0)
			return errno == EAGAIN ? (lost ? -ENOBUFS : 0) : -errno;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			/* What is left of an earlier, broken-off exchange. */
			if (!mnl_nlmsg_portid_ok(message, mnl_socket_get_portid(kernel->socket)) ||
				message->nlmsg_seq >= FIRST_REQUEST)
				continue;
			take_ack(message, refusal);
			*ret_count += message->nlmsg_type == NLMSG_ERROR;
		}
	}
}

static int report_refusal(
	const struct nft_batch *batch, const struct refusal *refusal, struct error *error)
{
	struct text what = {0};
	int number = refusal->number;

	nft_batch_describe(batch, refusal->sequence, refusal->offset, &what);
	error_set(error, -number, advice(number), "the kernel refused %s: %s%s%s%s",
		text_string(&what), strerror(number), refusal->text[0] ? " (" : "", refusal->text,
		refusal->text[0] ? ")" : "");
	text_free(&what);
	return -number;
}

/* One message, however large: the socket's buffer must hold all of it. */
static int send_batch(struct kernel *kernel, const struct nft_batch *batch, struct error *error)
{
	struct sockaddr_nl to = {.nl_family = AF_NETLINK};
	struct iovec piece = {.iov_base = batch->data, .iov_len = batch->length};
	struct msghdr message = {
		.msg_name = &to,
		.msg_namelen = sizeof(to),
		.msg_iov = &piece,
		.msg_iovlen = 1,
	};
	int fd = mnl_socket_get_fd(kernel->socket);
	size_t wanted = batch->length + SOCKET_BUFFER_MIN;
	int size = wanted > INT32_MAX / 2 ? INT32_MAX / 2 : (int)wanted;

	if (wanted > kernel->send_buffer &&
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (wanted > kernel->send_buffer)
		kernel->send_buffer = wanted;
	while (sendmsg(fd, &message, 0) < 0) {
		int number = errno;

		if (number == EINTR)
			continue;
		return error_set(error, -number, advice(number),
			"cannot send %zu bytes in one transaction to the kernel: %s", batch->length,
			strerror(number));
	}
	return 0;
}

int kernel_commit(struct kernel *kernel, const struct nft_batch *batch, struct error *error)
{
	struct refusal refusal = {0};
	uint32_t count = 0;
	int result;

	result = send_batch(kernel, batch, error);
	if (result < 0)
		return result;
	result = read_acks(kernel, &count, &refusal);
	if (refusal.number == ERESTART)
		return KERNEL_MOVED;
	/* EINVAL: from before 5.12, when tables could not be owned at all. */
	if ((refusal.number == EOPNOTSUPP || refusal.number == EINVAL) &&
		nft_batch_asks_for_lock(batch, refusal.sequence))
		return KERNEL_NO_LOCK;
	if (refusal.number)
		return report_refusal(batch, &refusal, error);
	/* Not all answers could be read: it may be in force or not. */
	if (result < 0 || count < batch->messages)
		return KERNEL_MOVED;
	return 0;
}

static int ignore(const struct nlmsghdr *message, void *context)
{
	(void)message;
	(void)context;
	return 0;
}

int kernel_has_table(struct kernel *kernel, const char *table, struct error *error)
{
	_Alignas(struct nlmsghdr) uint8_t request[NFT_REQUEST_SIZE] = {0};
	size_t length = nft_request_table(TABLE_INET, table, next_sequence(kernel), request);
	int result = ask(kernel, request, length, ignore, NULL);

	if (result == -ENOENT)
		return 0;
	if (result < 0)
		return error_set(error, result,
			result == -EINVAL ? advice(EOPNOTSUPP) : advice(-result),
			"cannot look for the kernel's table inet %s: %s", table, strerror(-result));
	return 1;
}

struct element_request {
	const struct set *set;
	struct element *element;
};

static int take_element(const struct nlmsghdr *message, void *context)
{
	const struct element_request *request = context;

	return nft_parse_element(message, request->set, request->element);
}

int kernel_read_element(struct kernel *kernel, const struct ruleset *ruleset, const struct set *set,
	struct element *element, struct error *error)
{
	_Alignas(struct nlmsghdr) uint8_t request[NFT_REQUEST_SIZE] = {0};
	struct element_request context = {.set = set, .element = element};
	size_t length = nft_request_element((enum table_family)ruleset->family, ruleset->table, set,
		element, next_sequence(kernel), request);
	int result = ask(kernel, request, length, take_element, &context);

	if (result == -ENOENT)
		return KERNEL_NO_ELEMENT;
	if (result < 0)
		return error_set(error, result, advice(-result),
			"cannot read an element of set %s of table %s %s: %s", set->name,
			ruleset_family_name((enum table_family)ruleset->family), ruleset->table,
			strerror(-result));
	return 0;
}

struct kernel_watch {
	struct mnl_socket *socket;
	char *table;
	char **sets; /* ended by NULL; NULL: the table is ours */
	struct nft_events events;
	uint8_t buffer[WATCH_SIZE];
};

/* What of the table matters, copied: the config may go. */
static bool watch_what(struct kernel_watch *watch, const struct config *config)
{
	enum { SETS = 2 * FAMILY_COUNT };
	size_t count = 0;

	watch->table = strdup(config->table);
	if (!watch->table)
		return false;
	watch->events.table = watch->table;
	watch->events.family = config->table_family;
	if (!config->sets_only)
		return true;
	watch->sets = calloc(config->service_count * SETS + 1, sizeof(*watch->sets));
	if (!watch->sets)
		return false;
	for (size_t i = 0; i < config->service_count * SETS; i++) {
		const char *name =
			config->services[i / SETS].sets[i / FAMILY_COUNT % 2][i % FAMILY_COUNT];

		if (!name)
			continue;
		watch->sets[count] = strdup(name);
		if (!watch->sets[count++])
			return false;
	}
	watch->events.sets = (const char *const *)watch->sets;
	return true;
}

int kernel_watch_open(
	struct kernel_watch **ret_watch, const struct config *config, struct error *error)
{
	struct kernel_watch *watch = calloc(1, sizeof(*watch));
	int size = WATCH_SOCKET_BUFFER;
	int fd, number;

	if (!watch || !watch_what(watch, config)) {
		kernel_watch_close(watch);
		return error_no_memory(error);
	}
	watch->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!watch->socket)
		goto failed;
	/* Before it is bound: no notification meets the small buffer. */
	fd = mnl_socket_get_fd(watch->socket);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (mnl_socket_bind(watch->socket, 1U << (NFNLGRP_NFTABLES - 1), MNL_SOCKET_AUTOPID) == 0) {
		*ret_watch = watch;
		return 0;
	}
failed:
	number = errno;
	kernel_watch_close(watch);
	return error_set(error, -number, advice(number),
		"cannot listen to what changes the kernel's nf_tables: %s", strerror(number));
}

int kernel_watch_fd(const struct kernel_watch *watch)
{
	return mnl_socket_get_fd(watch->socket);
}

void kernel_watch_read(
	struct kernel_watch *watch, const struct kernel *own, struct kernel_report *ret_report)
{
	uint32_t own_port = mnl_socket_get_portid(own->socket);
	struct nft_damage damage = {0};
	struct kernel_report report = {0};

	for (int i = 0; i < WATCH_READS_MAX; i++) {
		ssize_t size = recv(kernel_watch_fd(watch), watch->buffer, sizeof(watch->buffer),
			MSG_DONTWAIT | MSG_TRUNC);

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno == EAGAIN)
			break;
		if (size < 0 || (size_t)size > sizeof(watch->buffer)) {
			report.lost = true;
			if (size < 0 && errno != ENOBUFS)
				break;
			continue;
		}
		nft_events_take(&watch->events, watch->buffer, (size_t)size, own_port, &damage);
	}
	/* The end of a transaction may be missing, and the next one's be taken for it. */
	if (report.lost) {
		watch->events.touched = false;
		damage = (struct nft_damage){.found = damage.found};
	}
	report.damaged = damage.found;
	report.pid = (pid_t)damage.pid;
	memcpy(report.program, damage.program, sizeof(report.program));
	*ret_report = report;
}

struct kernel_watch *kernel_watch_close(struct kernel_watch *watch)
{
	if (!watch)
		return NULL;
	if (watch->socket)
		mnl_socket_close(watch->socket);
	for (size_t i = 0; watch->sets && watch->sets[i]; i++)
		free(watch->sets[i]);
	free(watch->sets);
	free(watch->table);
	free(watch);
	return NULL;
}

void kernel_settle(void)
{
	/* Not on kernels with nohz_full processors; a pause of some milliseconds does there. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		usleep(20 * 1000);
}

struct talker_list {
	const struct config *config;
	const struct own_addresses *own;
	struct talker *list;
	size_t count, capacity;
};

static int collect_talker(const struct nlmsghdr *message, void *context)
{
	struct talker_list *talkers = context;
	struct talker talker;

	if (!conntrack_talker(message, talkers->config, talkers->own, &talker))
		return 0;
	if (talkers->count == talkers->capacity) {
		size_t capacity = talkers->capacity ? talkers->capacity * 2 : 64;
		struct talker *list = reallocarray(talkers->list, capacity, sizeof(*list));

		if (!list)
			return -ENOMEM;
		talkers->list = list;
		talkers->capacity = capacity;
	}
	talkers->list[talkers->count++] = talker;
	return 0;
}

static int take_count(const struct nlmsghdr *message, void *context)
{
	*(uint32_t *)context = conntrack_count(message);
	return 0;
}

static int take_survey(const struct nlmsghdr *message, void *context)
{
	return nft_survey_message(context, message);
}

static int survey_once(struct kernel *kernel, struct nft_survey *survey)
{
	_Alignas(struct nlmsghdr) uint8_t request[NFT_REQUEST_SIZE] = {0};
	size_t length;
	int result = 0;

	for (int kind = 0; kind < NFT_SURVEY_KINDS && result == 0; kind++) {
		length = nft_survey_request(
			(enum nft_survey_kind)kind, next_sequence(kernel), request);
		result = ask(kernel, request, length, take_survey, survey);
	}
	for (size_t i = 0; result == 0; i++) {
		length = nft_survey_element_request(survey, i, next_sequence(kernel), request);
		if (length == 0)
			break;
		result = ask(kernel, request, length, take_survey, survey);
	}
	return result;
}

int kernel_survey(struct kernel *kernel, struct nft_survey **ret_survey, struct error *error)
{
	int result = -EINTR;

	for (int i = 0; i < OBSERVE_TRIES; i++) {
		struct nft_survey *survey = NULL;

		if (nft_survey_new(&survey) < 0)
			return error_no_memory(error);
		kernel->tolerant = i == OBSERVE_TRIES - 1;
		result = survey_once(kernel, survey);
		kernel->tolerant = false;
		if (result == 0) {
			*ret_survey = survey;
			return 0;
		}
		nft_survey_free(survey);
		/* What was listed may have gone before its turn came. */
		if (result != -EINTR && result != -ENOENT && result != -ENOBUFS)
			break;
	}
	if (result == -ENOMEM)
		return error_no_memory(error);
	return error_set(error, result, advice(result == -EINVAL ? EOPNOTSUPP : -result),
		"cannot read the kernel's other tables: %s", strerror(-result));
}

int kernel_talkers(struct kernel *kernel, const struct config *config,
	const struct own_addresses *own, struct talker **ret_talkers, size_t *ret_count,
	bool *ret_blind, struct error *error)
{
	struct talker_list talkers = {.config = config, .own = own};
	_Alignas(struct nlmsghdr) uint8_t request[CONNTRACK_REQUEST_SIZE] = {0};
	uint32_t flows = UINT32_MAX;
	size_t length = conntrack_count_request(next_sequence(kernel), request);
	int result = ask(kernel, request, length, take_count, &flows);

	if (result == 0 && flows > 0) {
		length = conntrack_request(next_sequence(kernel), request);
		result = ask(kernel, request, length, collect_talker, &talkers);
	}
	/* No connection tracking in this kernel: nobody is known to talk. */
	if (result == -EINVAL || result == -EOPNOTSUPP || result == -EPROTONOSUPPORT)
		result = 0;
	if (result == -EINTR && talkers.count > 0)
		result = 0; /* the table changed while it was read, as it always does */
	if (result < 0) {
		free(talkers.list);
		return error_set(error, result, advice(-result),
			"cannot read the kernel's connection tracking: %s", strerror(-result));
	}
	*ret_blind = flows == 0 || flows == UINT32_MAX;
	*ret_talkers = talkers.list;
	*ret_count = talkers.count;
	return 0;
}

static int compare_addrs(const void *a, const void *b)
{
	return addr_compare(a, b);
}

static bool from_sockaddr(const struct sockaddr *from, struct addr *ret_addr)
{
	struct addr addr = {0};

	if (from && from->sa_family == AF_INET) {
		addr.family = FAMILY_IPV4;
		memcpy(addr.bytes, &((const struct sockaddr_in *)from)->sin_addr, 4);
	} else if (from && from->sa_family == AF_INET6) {
		addr.family = FAMILY_IPV6;
		memcpy(addr.bytes, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
	} else {
		return false;
	}
	*ret_addr = addr;
	return true;
}

int kernel_own_addresses(struct own_addresses *ret_own, struct error *error)
{
	struct ifaddrs *first, *entry;
	struct addr *addrs;
	size_t count = 0;

	if (getifaddrs(&first) < 0) {
		int number = errno;

		return error_set(error, -number, "", "cannot list this machine's addresses: %s",
			strerror(number));
	}
	for (entry = first; entry; entry = entry->ifa_next)
		count++;
	addrs = calloc(count ? count : 1, sizeof(*addrs));
	if (!addrs) {
		freeifaddrs(first);
		return error_no_memory(error);
	}
	count = 0;
	for (entry = first; entry; entry = entry->ifa_next)
		count += from_sockaddr(entry->ifa_addr, &addrs[count]);
	freeifaddrs(first);
	if (count)
		qsort(addrs, count, sizeof(*addrs), compare_addrs);
	ret_own->addrs = addrs;
	ret_own->count = count;
	return 0;
}

struct kernel_network {
	struct mnl_socket *socket;
	uint8_t buffer[16 * 1024];
};

int kernel_network_open(struct kernel_network **ret_network, struct error *error)
{
	enum { GROUPS = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	struct kernel_network *network = calloc(1, sizeof(*network));

	if (!network)
		return error_no_memory(error);
	network->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!network->socket || mnl_socket_bind(network->socket, GROUPS, MNL_SOCKET_AUTOPID) < 0) {
		int number = errno;

		kernel_network_close(network);
		return error_set(error, -number, "", "cannot follow this machine's addresses: %s",
			strerror(number));
	}
	*ret_network = network;
	return 0;
}

int kernel_network_fd(const struct kernel_network *network)
{
	return mnl_socket_get_fd(network->socket);
}

bool kernel_network_read(struct kernel_network *network)
{
	bool changed = false;

	for (;;) {
		ssize_t size = recv(
			kernel_network_fd(network), network->buffer, sizeof(network->buffer), 0);

		if (size < 0 && errno == EINTR)
			continue;
		/* What was lost may have been a change. */
		if (size < 0 && errno != ENOBUFS)
			return changed;
		changed = true;
	}
}

struct kernel_network *kernel_network_close(struct kernel_network *network)
{
	if (network && network->socket)
		mnl_socket_close(network->socket);
	free(network);
	return NULL;
}
