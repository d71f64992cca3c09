/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asks each DNS server by itself: for names of the config, and for some that can't exist. */
#include "doctor_look.h"
#include "clock.h"
#include "files.h"
#include "resolver.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { SERVER_TIMEOUT_MS = 3000, NAMES_ASKED = 3, LABEL_LENGTH = 20, IN_FLIGHT = 16 };

/* What all servers are asked for. */
struct questions {
	const char *names[NAMES_ASKED + 2];
	size_t count;
	size_t first_made_up; /* from here on names that nobody has */
	size_t reserved;      /* its top level is reserved (RFC 6761): many answer it themselves */
	char made_up[2][LABEL_LENGTH + sizeof("www..invalid")];
};

static void add_name(struct questions *questions, const char *name)
{
	for (size_t i = 0; i < questions->count; i++) {
		if (strcmp(questions->names[i], name) == 0)
			return;
	}
	if (questions->count < NAMES_ASKED)
		questions->names[questions->count++] = name;
}

/* Both kinds: some resolvers invent addresses for one of them only. */
static void add_made_up(struct questions *questions)
{
	unsigned char random[LABEL_LENGTH];
	char label[LABEL_LENGTH + 1] = {0};

	questions->first_made_up = questions->count;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return;
	for (size_t i = 0; i < LABEL_LENGTH; i++)
		label[i] = (char)('a' + random[i] % 26);
	snprintf(questions->made_up[0], sizeof(questions->made_up[0]), "www.%s.com", label);
	snprintf(questions->made_up[1], sizeof(questions->made_up[1]), "%s.invalid", label);
	questions->names[questions->count++] = questions->made_up[0];
	questions->reserved = questions->count;
	questions->names[questions->count++] = questions->made_up[1];
}

static void collect(const struct config *config, struct questions *ret_questions)
{
	*ret_questions = (struct questions){.reserved = SIZE_MAX};
	for (size_t i = 0; i < config->owner_count && ret_questions->count < NAMES_ASKED; i++) {
		for (uint32_t j = 0; j < config->owners[i].name_count; j++)
			add_name(ret_questions, config->owners[i].names[j]);
		for (uint32_t j = 0; j < config->owners[i].srv_count; j++)
			add_name(ret_questions, config->owners[i].srv[j]);
	}
	if (ret_questions->count > 0)
		add_made_up(ret_questions);
}

struct probe {
	const struct questions *questions;
	struct doctor_server *server;
	int64_t began_ms;
};

static void take_probe(void *context, uint64_t tag, const struct answer *answer)
{
	const struct probe *probe = context;
	struct doctor_server *server = probe->server;
	int64_t took = clock_boot_ms() - probe->began_ms;

	if (answer->kind == ANSWER_COULD_NOT_ASK &&
		(answer->reason == REASON_TIMEOUT || answer->reason == REASON_NO_SERVER)) {
		if (!server->answered)
			server->reason = answer->reason;
		return;
	}
	if (!server->answered)
		server->fastest_ms = (uint32_t)took; /* the first one is the fastest */
	server->answered = true;
	if (answer->kind == ANSWER_COULD_NOT_ASK)
		server->reason = answer->reason;
	else if (tag != probe->questions->reserved)
		server->useful = true;
	if (tag >= probe->questions->first_made_up && answer->kind == ANSWER_ADDRESSES) {
		server->lies = true;
		server->lie = answer->addrs[0];
	}
}

/* The shortest wait of all that still have a question under way; -2: none has. */
static int next_wait(struct resolver *const *resolvers, size_t count, struct pollfd *ready)
{
	int wait = -2;

	for (size_t i = 0; i < count; i++) {
		int own;

		ready[i] = (struct pollfd){.fd = -1};
		if (!resolvers[i] || resolver_unanswered(resolvers[i]) == 0)
			continue;
		ready[i] = (struct pollfd){.fd = resolver_fd(resolvers[i]), .events = POLLIN};
		own = resolver_wait_ms(resolvers[i]);
		if (wait == -2 || wait == -1 || (own >= 0 && own < wait))
			wait = own;
	}
	return wait;
}

static int begin(struct probe *probe, uint32_t timeout_ms, struct resolver **ret_resolver)
{
	struct resolver_options options = {
		.servers = &probe->server->server,
		.server_count = 1,
		.timeout_ms = timeout_ms,
		.in_flight = IN_FLIGHT,
	};
	struct error ignored = {0};
	int result = resolver_new(ret_resolver, &options, take_probe, probe, &ignored);

	probe->began_ms = clock_boot_ms();
	for (size_t i = 0; i < probe->questions->count && result == 0; i++)
		result = resolver_ask(
			*ret_resolver, probe->questions->names[i], DNS_A, RESOLVER_ANY, i);
	probe->server->asked = result == 0;
	return result;
}

int doctor_probe_servers(const struct config *config, struct doctor_server *servers, size_t count)
{
	uint32_t timeout = config->resolver.timeout_ms < SERVER_TIMEOUT_MS
				   ? config->resolver.timeout_ms
				   : (uint32_t)SERVER_TIMEOUT_MS;
	struct resolver *resolvers[DOCTOR_SERVERS_MAX] = {0};
	struct probe probes[DOCTOR_SERVERS_MAX];
	struct pollfd ready[DOCTOR_SERVERS_MAX];
	struct questions questions;
	struct error ignored = {0};
	int result = 0;

	collect(config, &questions);
	for (size_t i = 0; i < count && result == 0 && questions.count > 0; i++) {
		probes[i] = (struct probe){.questions = &questions, .server = &servers[i]};
		result = begin(&probes[i], timeout, &resolvers[i]);
	}
	while (result == 0) {
		int wait;

		for (size_t i = 0; i < count; i++) {
			if (resolvers[i])
				resolver_dispatch(resolvers[i], &ignored);
		}
		wait = next_wait(resolvers, count, ready);
		if (wait == -2 || (poll(ready, count, wait) < 0 && errno != EINTR))
			break;
	}
	for (size_t i = 0; i < count; i++)
		resolver_free(resolvers[i]);
	return result;
}

size_t doctor_list_servers(
	const struct config *config, struct doctor_server *servers, size_t *ret_odd)
{
	struct config_source *sources = NULL;
	struct error error = {0};
	size_t count = 0;

	*ret_odd = 0;
	for (size_t i = 0; i < config->resolver.server_count && count < DOCTOR_SERVERS_MAX; i++)
		servers[count++] = (struct doctor_server){.server = config->resolver.servers[i]};
	if (count > 0 ||
		files_read_foreign(NULL, NULL, "/etc/resolv.conf", &sources, &count, &error) < 0)
		return count;
	count = count ? doctor_resolv_conf(sources[0].data, sources[0].length, servers,
				DOCTOR_SERVERS_MAX, ret_odd)
		      : 0;
	config_sources_free(sources, 1);
	return count;
}
