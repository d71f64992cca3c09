/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resolver alone, for test_resolver.py:
 *
 *     ask SERVER,… TIMEOUT-MS IN-FLIGHT LINGER-MS <QUESTIONS
 *
 * SERVER is "192.0.2.1:53" or "[2001:db8::1]:53", without a port 53; `-` is resolv.conf. With a `!`
 * before it it is a trusted one, which for `!-` are those of loopback. A question is a line "name
 * A", "name AAAA" or "name SRV", and another word when it is to be validated. Each answer is a line
 * "MS LINE KIND REASON TTL VALUE…": when it came, and to which line (from 0); KIND ends with a `*`
 * if it is validated. A line "then MS" waits for all answers to those above, and as long after
 * that; it is counted as a line, too. When all have come it goes on listening for LINGER-MS, for
 * late ones; LINGER-MS -1 leaves after the first dispatch, with everything under way. The last line
 * is "stats ASKED ANSWERED TIMED-OUT LATE LIMIT PEAK CPU-MS".
 */
#include "resolver.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SERVERS = 70 };

struct run {
	double start;
};

struct names {
	char **list;
	size_t count;
};

struct trusted {
	struct prefix list[MAX_SERVERS];
	size_t count;
};

static double milliseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void on_answer(void *context, uint64_t tag, const struct answer *answer)
{
	static const char *const kinds[] = {"never", "addresses", "nodata", "noname", "failed"};
	struct run *run = context;

	printf("%.1f %llu %s%s %d %u", milliseconds(CLOCK_MONOTONIC) - run->start,
		(unsigned long long)tag, kinds[answer->kind], answer->validated ? "*" : "",
		answer->reason, answer->ttl);
	for (size_t i = 0; i < answer->count; i++) {
		char text[ADDR_TEXT_SIZE];
		if (!answer->targets)
			addr_print(&answer->addrs[i], text);
		printf(" %s", answer->targets ? answer->targets[i] : text);
	}
	putchar('\n');
}

static enum dns_type type_of(const char *text)
{
	return !strcmp(text, "A") ? DNS_A : !strcmp(text, "AAAA") ? DNS_AAAA : DNS_SRV;
}

/* Returns how many there are; ends the program at what is none. */
static size_t parse_servers(char *list, struct config_server *servers, struct trusted *trusted)
{
	size_t count = 0;

	for (char *text = strtok(list, ","); text && count < MAX_SERVERS;
		text = strtok(NULL, ",")) {
		struct config_server *server = &servers[count++];
		bool trust = *text == '!';
		text += trust;
		char *end = *text == '[' ? strchr(++text, ']') : strchr(text, ':');
		char *port = end && *end == ']' ? end + 1 : end;

		server->port = port && *port == ':' ? (uint16_t)atoi(port + 1) : CONFIG_DNS_PORT;
		if (!addr_parse(text, end ? (size_t)(end - text) : strlen(text), &server->addr) ||
			!server->port) {
			fprintf(stderr, "ask: not a server: %s\n", text);
			exit(2);
		}
		if (trust)
			trusted->list[trusted->count++] = prefix_of(
				&server->addr, server->addr.family == FAMILY_IPV4 ? 32 : 128);
	}
	return count;
}

static int dispatch(struct resolver *resolver, int wait_ms)
{
	struct error error = {0};
	struct pollfd poll_fd = {.fd = resolver_fd(resolver), .events = POLLIN};

	poll(&poll_fd, 1, wait_ms);
	if (!resolver_dispatch(resolver, &error))
		return 0;
	fprintf(stderr, "ask: %s\n", error.what);
	return -1;
}

static int run_all(struct resolver *resolver, int linger)
{
	if (linger < 0)
		return dispatch(resolver, 0);
	while (resolver_unanswered(resolver))
		if (dispatch(resolver, resolver_wait_ms(resolver)))
			return -1;
	double end = milliseconds(CLOCK_MONOTONIC) + linger;
	for (double left; (left = end - milliseconds(CLOCK_MONOTONIC)) > 0;) {
		int wait = resolver_wait_ms(resolver);
		if (dispatch(resolver, wait < 0 || wait > left ? (int)left + 1 : wait))
			return -1;
	}
	return 0;
}

/* Those up to the next "then", or to the end; returns how long to wait after them, or -1: that was
 * the end. */
static int ask_round(struct resolver *resolver, struct names *names)
{
	char *line = NULL;
	size_t size = 0;
	int then = -1;

	while (then < 0 && getline(&line, &size, stdin) > 0) {
		char *name = strtok(line, " \n"), *word = strtok(NULL, " \n");
		if (!name || !word)
			continue;
		char **grown = realloc(names->list, (names->count + 1) * sizeof(*grown));
		if (!grown)
			abort();
		names->list = grown;
		grown[names->count] = strdup(name);
		if (!grown[names->count])
			abort();
		enum resolver_need need = strtok(NULL, " \n") ? RESOLVER_VALIDATED : RESOLVER_ANY;
		if (strcmp(name, "then") == 0)
			then = atoi(word);
		else if (resolver_ask(
				 resolver, grown[names->count], type_of(word), need, names->count))
			abort();
		names->count++;
	}
	free(line);
	return then;
}

int main(int argc, char **argv)
{
	struct config_server servers[MAX_SERVERS];
	static const struct prefix loopback = {
		.addr = {.family = FAMILY_IPV4, .bytes = {127}}, .length = 8};
	struct trusted trusted = {0};
	struct resolver_options options = {.servers = servers, .trusted = trusted.list};
	struct error error = {0};
	struct names names = {0};
	struct resolver *resolver;
	int result, then;

	if (argc != 5)
		return 2;
	if (strcmp(argv[1], "!-") == 0)
		trusted.list[trusted.count++] = loopback;
	else if (strcmp(argv[1], "-") != 0)
		options.server_count = parse_servers(argv[1], servers, &trusted);
	options.trusted_count = trusted.count;
	options.timeout_ms = (uint32_t)atoi(argv[2]);
	options.in_flight = (uint32_t)atoi(argv[3]);
	struct run run = {0};
	if (resolver_new(&resolver, &options, on_answer, &run, &error)) {
		fprintf(stderr, "ask: %s\n", error.what);
		return 1;
	}
	then = ask_round(resolver, &names);
	run.start = milliseconds(CLOCK_MONOTONIC);
	double cpu = milliseconds(CLOCK_PROCESS_CPUTIME_ID);
	while ((result = run_all(resolver, then < 0 ? atoi(argv[4]) : then)) == 0 && then >= 0)
		then = ask_round(resolver, &names);
	struct resolver_stats stats = resolver_stats(resolver);
	printf("stats %llu %llu %llu %llu %u %u %.1f\n", (unsigned long long)stats.asked,
		(unsigned long long)stats.answered, (unsigned long long)stats.timed_out,
		(unsigned long long)stats.late, stats.in_flight_limit, stats.in_flight_peak,
		milliseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	resolver_free(resolver);
	for (size_t i = 0; i < names.count; i++)
		free(names.list[i]);
	free(names.list);
	return result ? 1 : 0;
}
