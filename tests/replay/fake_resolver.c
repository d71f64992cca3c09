/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resolver.h with scripted answers. What DNS says of a name is decided when the question is sent,
 * and arrives when the script says so; what takes longer than the budget is answered "time-out",
 * and then once more when it arrives after all.
 */
#include "resolver.h"
#include "world.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct asked {
	const char *name; /* of the engine: must be there until the end */
	char copy[FQDN_SIZE];
	enum dns_type type;
	enum resolver_need wanted;
	uint64_t tag;
	bool sent, answered;	    /* answered: but a late answer is still to come */
	int64_t deadline, arrival;  /* of the packet; INT64_MAX: none comes */
	struct dns_script *verdict; /* a copy */
};

struct resolver {
	struct resolver *next;
	struct resolver_options options;
	resolver_answer_fn *answer;
	void *context;
	struct asked *list;
	size_t count, capacity;
	struct resolver_stats stats;
};

struct dns_script *fake_dns_find(const char *name, enum dns_type type)
{
	struct fake_dns *dns = &world()->dns;

	for (size_t i = 0; i < dns->script_count; i++) {
		if (dns->scripts[i].type == type && strcmp(dns->scripts[i].name, name) == 0)
			return &dns->scripts[i];
	}
	return NULL;
}

struct dns_script *fake_dns_script(const char *name, enum dns_type type)
{
	struct fake_dns *dns = &world()->dns;
	struct dns_script *script = fake_dns_find(name, type);

	if (script)
		return script;
	dns->scripts =
		need(reallocarray(dns->scripts, dns->script_count + 1, sizeof(*dns->scripts)));
	script = &dns->scripts[dns->script_count++];
	*script = (struct dns_script){
		.type = type, .kind = ANSWER_NO_DATA, .ttl = 60, .delay_ms = DNS_DELAY_MS};
	snprintf(script->name, sizeof(script->name), "%s", name);
	return script;
}

int resolver_new(struct resolver **ret_resolver, const struct resolver_options *options,
	resolver_answer_fn *answer, void *context, struct error *error)
{
	struct fake_dns *dns = &world()->dns;
	struct resolver *resolver;

	if (dns->open_failures > 0) {
		if (dns->open_failures != FOR_EVER)
			dns->open_failures--;
		return error_set(error, -dns->open_errno, "", "cannot set up DNS: %s",
			strerror(dns->open_errno));
	}
	resolver = need(calloc(1, sizeof(*resolver)));
	resolver->options = *options;
	resolver->answer = answer;
	resolver->context = context;
	resolver->next = dns->first;
	dns->first = resolver;
	dns->resolvers++;
	*ret_resolver = resolver;
	return 0;
}

struct resolver *resolver_free(struct resolver *resolver)
{
	struct resolver **link = &world()->dns.first;

	if (!resolver)
		return NULL;
	while (*link != resolver)
		link = &(*link)->next;
	*link = resolver->next;
	world()->dns.resolvers--;
	for (size_t i = 0; i < resolver->count; i++)
		free(resolver->list[i].verdict);
	free(resolver->list);
	free(resolver);
	return NULL;
}

/* Is a server of this resolver a trusted one? */
static bool is_trusted(const struct resolver *resolver)
{
	const struct resolver_options *options = &resolver->options;

	/* Those of resolv.conf are as the script says. */
	if (options->server_count == 0)
		return !world()->dns.untrusted;
	for (size_t i = 0; i < options->server_count; i++) {
		for (size_t j = 0; j < options->trusted_count; j++) {
			if (prefix_contains(&options->trusted[j], &options->servers[i].addr))
				return true;
		}
	}
	return false;
}

int resolver_ask(struct resolver *resolver, const char *name, enum dns_type type,
	enum resolver_need wanted, uint64_t tag)
{
	struct asked *asked;

	if (resolver->count == resolver->capacity) {
		resolver->capacity = resolver->capacity ? 2 * resolver->capacity : 16;
		resolver->list = need(
			reallocarray(resolver->list, resolver->capacity, sizeof(*resolver->list)));
	}
	asked = &resolver->list[resolver->count++];
	*asked = (struct asked){.name = name, .type = type, .wanted = wanted, .tag = tag};
	snprintf(asked->copy, sizeof(asked->copy), "%s", name);
	return 0;
}

/* What DNS says of it now: names of which the script says nothing at all do not exist. */
static struct dns_script *judge(const char *name, enum dns_type type)
{
	static const enum dns_type types[] = {DNS_A, DNS_AAAA, DNS_SRV};
	struct dns_script *verdict = need(calloc(1, sizeof(*verdict)));
	struct dns_script *script = fake_dns_find(name, type);
	enum answer_reason outage = world()->dns.outage;

	*verdict = (struct dns_script){
		.kind = ANSWER_NO_NAME, .ttl = 60, .delay_ms = DNS_DELAY_MS, .type = type};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (fake_dns_find(name, types[i]))
			verdict->kind = ANSWER_NO_DATA;
	}
	if (script) {
		script->asked++;
		script->asked_at = world()->boot_ms;
		*verdict = *script;
	}
	if (outage) {
		verdict->kind = ANSWER_COULD_NOT_ASK;
		verdict->reason = outage;
	}
	return verdict;
}

static void count_question(struct fake_dns *dns, int64_t second)
{
	if (dns->second != second)
		dns->in_second = 0;
	dns->second = second;
	dns->asked++;
	if (++dns->in_second > dns->busiest)
		dns->busiest = dns->in_second;
}

static void send_one(struct resolver *resolver, struct asked *asked)
{
	int64_t now = world()->boot_ms;

	asked->sent = true;
	asked->verdict = judge(asked->copy, asked->type);
	asked->deadline = now + resolver->options.timeout_ms;
	if (asked->wanted == RESOLVER_VALIDATED && !is_trusted(resolver)) {
		asked->verdict->kind = ANSWER_COULD_NOT_ASK;
		asked->verdict->reason = REASON_NO_TRUSTED;
		asked->verdict->delay_ms = 0;
	}
	asked->arrival = asked->verdict->reason == REASON_TIMEOUT ? INT64_MAX
								  : now + asked->verdict->delay_ms;
	count_question(&world()->dns, now / 1000);
	resolver->stats.asked++;
	resolver->stats.in_flight++;
}

static void check_name(const struct asked *asked)
{
	if (strcmp(asked->name, asked->copy) == 0)
		return;
	fprintf(stderr, "the name %s did not outlive its question\n", asked->copy);
	abort();
}

static void deliver(struct resolver *resolver, struct asked asked, bool in_time)
{
	const char *targets[WORLD_ADDRS];
	struct answer answer = {.kind = ANSWER_COULD_NOT_ASK, .reason = REASON_TIMEOUT};

	check_name(&asked);
	if (in_time) {
		const struct dns_script *verdict = asked.verdict;

		answer = (struct answer){.kind = verdict->kind,
			.reason = verdict->reason,
			.ttl = verdict->ttl,
			.validated = verdict->validated && asked.wanted == RESOLVER_VALIDATED,
			.count = verdict->count};
		for (size_t i = 0; i < verdict->count; i++)
			targets[i] = verdict->targets[i];
		if (answer.kind != ANSWER_ADDRESSES)
			answer.count = 0;
		if (answer.count && asked.type == DNS_SRV)
			answer.targets = targets;
		else if (answer.count)
			answer.addrs = verdict->addrs;
	}
	if (world()->dns.answered)
		world()->dns.answered(
			world()->dns.answered_context, asked.copy, asked.type, &answer);
	resolver->answer(resolver->context, asked.tag, &answer);
}

static void forget(struct resolver *resolver, size_t index)
{
	resolver->list[index] = resolver->list[--resolver->count];
}

/* The first question that something is to be said of; SIZE_MAX: none. */
static size_t next_due(const struct resolver *resolver, bool *ret_in_time)
{
	int64_t now = world()->boot_ms, best = INT64_MAX;
	size_t found = SIZE_MAX;

	for (size_t i = 0; i < resolver->count; i++) {
		const struct asked *asked = &resolver->list[i];
		int64_t when = asked->arrival;

		if (!asked->sent)
			continue;
		if (!asked->answered && asked->deadline < when)
			when = asked->deadline;
		if (when > now || when >= best)
			continue;
		best = when;
		found = i;
		*ret_in_time = asked->arrival == when;
	}
	return found;
}

static void answer_one(struct resolver *resolver, size_t index, bool in_time)
{
	struct asked asked = resolver->list[index];
	bool late = asked.answered;
	int64_t patience = asked.deadline + resolver->options.timeout_ms;

	if (!late) {
		resolver->stats.in_flight--;
		resolver->stats.answered++;
	}
	resolver->stats.late += late;
	if (!in_time) {
		resolver->stats.timed_out++;
		resolver->list[index].answered = true;
		if (asked.arrival > patience) {
			forget(resolver, index);
			deliver(resolver, asked, false);
			free(asked.verdict);
			return;
		}
		deliver(resolver, asked, false);
		return;
	}
	forget(resolver, index);
	deliver(resolver, asked, true);
	free(asked.verdict);
}

int resolver_dispatch(struct resolver *resolver, struct error *error)
{
	bool in_time;
	size_t index;

	(void)error;
	/* Questions of the answers that come now are sent, too. */
	for (size_t i = 0; i < resolver->count; i++) {
		if (!resolver->list[i].sent)
			send_one(resolver, &resolver->list[i]);
	}
	while ((index = next_due(resolver, &in_time)) != SIZE_MAX)
		answer_one(resolver, index, in_time);
	for (size_t i = 0; i < resolver->count; i++)
		check_name(&resolver->list[i]);
	return 0;
}

int resolver_fd(const struct resolver *resolver)
{
	(void)resolver;
	return 1000; /* nobody polls it here */
}

/* Packets are no matter of this: they make the descriptor readable. */
int resolver_wait_ms(const struct resolver *resolver)
{
	int64_t next = INT64_MAX, now = world()->boot_ms;

	for (size_t i = 0; i < resolver->count; i++) {
		const struct asked *asked = &resolver->list[i];

		if (!asked->sent)
			return 0;
		if (!asked->answered && asked->deadline < next)
			next = asked->deadline;
	}
	if (next == INT64_MAX)
		return -1;
	return next < now ? 0 : (int)(next - now);
}

size_t resolver_unanswered(const struct resolver *resolver)
{
	size_t count = 0;

	for (size_t i = 0; i < resolver->count; i++)
		count += !resolver->list[i].answered;
	return count;
}

/* The daemon, which alone is played here, puts each answer in force as it comes. */
int resolver_quiet_in_ms(const struct resolver *resolver)
{
	(void)resolver;
	return -1;
}

struct resolver_stats resolver_stats(const struct resolver *resolver)
{
	return resolver->stats;
}

int64_t fake_dns_arrival(void)
{
	int64_t next = INT64_MAX;

	for (const struct resolver *resolver = world()->dns.first; resolver;
		resolver = resolver->next) {
		for (size_t i = 0; i < resolver->count; i++) {
			const struct asked *asked = &resolver->list[i];

			if (asked->sent && asked->arrival < next)
				next = asked->arrival;
		}
	}
	return next;
}
