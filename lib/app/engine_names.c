/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_state.h"

#include <stdlib.h>
#include <string.h>

enum {
	TAG_EPOCH_SHIFT = 40, /* below it the question's number, and whether it is QUESTION_ODD */
	OUTAGE_AFTER = 64,    /* good questions that fail in a row, or all if there are less */
	ASK_RETRY_MS = 1000,
	CATCH_UP_MS = 20,	  /* a question, after an outage */
	CATCH_UP_LEAST_MS = 1000, /* a route comes after its address */
};

/* xorshift32: jitter needs no more. */
static uint32_t throw_dice(struct engine *engine)
{
	uint32_t dice = engine->dice;

	dice ^= dice << 13;
	dice ^= dice >> 17;
	dice ^= dice << 5;
	return engine->dice = dice;
}

static int64_t to_ms(const struct engine *engine, int64_t steady)
{
	const struct steady *clock = &engine->cycle.clock;

	if (steady >= INT64_MAX / 2000)
		return INT64_MAX;
	return (clock->at.boottime + steady - clock->now) * 1000;
}

struct lookup *engine_lookup(struct engine *engine, size_t question)
{
	const struct question_index *index = &engine->index;
	struct roster *roster = engine->cycle.roster;

	if (question >= index->hosts * FAMILY_COUNT)
		return &roster->srvs[question - index->hosts * FAMILY_COUNT].lookup;
	return &roster->hosts[question / FAMILY_COUNT].lookup[question % FAMILY_COUNT];
}

/* --- Expiries --- */

static struct timing timing_of(const struct engine *engine)
{
	return (struct timing){.hold = engine->config->hold, .gone = engine->config->gone};
}

static void lingers_of(const struct engine *engine, size_t host, int64_t ret[OWNER_KIND_COUNT])
{
	const struct config *config = engine->config;

	/* The longest is known; the other kind's may matter, and costs a look at most. */
	for (int kind = 0; kind < OWNER_KIND_COUNT; kind++)
		ret[kind] = min64(config->linger[kind], engine->cycle.roster->linger[host]);
}

static void expire_later(struct engine *engine, size_t host)
{
	struct timing timing = timing_of(engine);
	int64_t linger[OWNER_KIND_COUNT], when;

	lingers_of(engine, host, linger);
	when = host_expires(&engine->cycle.roster->hosts[host], &timing, linger, engine->cycle.now);
	when = min64(when, changes_end(engine->cycle.roster->hosts[host].changes,
				   engine->config->changes_per_hour));
	if (when == INT64_MAX)
		schedule_cancel(&engine->index.expiries, host);
	else
		schedule_set(&engine->index.expiries, host, to_ms(engine, when));
}

static void expire_srv_later(struct engine *engine, size_t srv)
{
	struct timing timing = timing_of(engine);
	int64_t when = srv_expires(
		&engine->cycle.roster->srvs[srv], &timing, engine->config->linger[OWNER_PEER]);

	if (when == INT64_MAX)
		schedule_cancel(&engine->index.expiries, engine->index.hosts + srv);
	else
		schedule_set(
			&engine->index.expiries, engine->index.hosts + srv, to_ms(engine, when));
}

void engine_schedule_expiries(struct engine *engine)
{
	for (size_t i = 0; i < engine->index.hosts; i++)
		expire_later(engine, i);
	for (size_t i = 0; i < engine->index.srvs; i++)
		expire_srv_later(engine, i);
}

/* What the list held of the host before, for the ledger. */
struct former {
	struct addr addrs[HOST_ADDRS_MAX];
	size_t count;
};

static void note_host(struct engine *engine, size_t host, const struct former *former)
{
	if (engine->ledger && ledger_update(engine->ledger, host, former->addrs, former->count,
				      engine->cycle.now) < 0)
		engine_doubt(engine);
}

static void judge_flapping(struct engine *engine, size_t index)
{
	struct host *host = &engine->cycle.roster->hosts[index];

	if (!changes_judge(&host->changes, engine->config->changes_per_hour, engine->cycle.now))
		return;
	engine_log_flapping(engine, index);
	changes_say(host->changes);
	cycle_note_host(&engine->cycle, host);
	engine_save_soon(engine);
}

static void expire_host(struct engine *engine, size_t index)
{
	struct host *host = &engine->cycle.roster->hosts[index];
	struct timing timing = timing_of(engine);
	struct prior prior[FAMILY_COUNT];
	struct record_host before;
	struct former former;
	bool left;

	for (int family = 0; family < FAMILY_COUNT; family++)
		engine_prior(host, (enum family)family, &prior[family]);
	record_copy(host, &before);
	former.count = host_list_addrs(host, former.addrs);
	left = host_expire(host, &timing, engine->cycle.roster->linger[index], engine->cycle.now);
	note_host(engine, index, &former);
	engine_history_note(engine, index, &before);
	judge_flapping(engine, index);
	expire_later(engine, index);
	if (!left)
		return;
	cycle_note_host(&engine->cycle, host);
	engine_save_soon(engine);
	for (int family = 0; family < FAMILY_COUNT; family++) {
		if (prior[family].count != host->count[family])
			engine_log_change(engine, index, (enum family)family, &prior[family]);
	}
	engine_log_state(engine, index);
}

/* Targets that come or go by rotation, while the former ones linger, change nothing. */
static void note_srv(struct engine *engine, const struct srv *srv, uint64_t names_before)
{
	engine->srv_changed |= srv_names_hash(srv) != names_before;
	cycle_note_srv(&engine->cycle, srv);
	engine_save_soon(engine);
}

static void expire_srv(struct engine *engine, size_t index)
{
	struct srv *srv = &engine->cycle.roster->srvs[index];
	uint64_t names = srv_names_hash(srv);
	struct timing timing = timing_of(engine);
	size_t targets = srv->count;

	if (srv_expire(srv, &timing, engine->config->linger[OWNER_PEER], engine->cycle.now)) {
		note_srv(engine, srv, names);
		if (srv->count != targets)
			engine_log_targets(engine, srv);
		engine_log_srv_state(engine, srv);
	}
	expire_srv_later(engine, index);
}

void engine_expire_due(struct engine *engine)
{
	size_t item;

	while (schedule_take(&engine->index.expiries, engine->now_ms, &item)) {
		if (item < engine->index.hosts)
			expire_host(engine, item);
		else
			expire_srv(engine, item - engine->index.hosts);
	}
	engine->history.judged = engine->cycle.now;
}

/* --- Answers --- */

static struct rhythm rhythm_of(const struct engine *engine)
{
	return (struct rhythm){
		.min_ms = engine->config->refresh_min * 1000,
		.max_ms = engine->config->refresh_max * 1000,
		.questions = question_count(&engine->index),
		.outage = engine->outage,
	};
}

static void log_dns(struct engine *engine, enum answer_reason reason)
{
	struct event event;

	event_begin(&event, engine->outage ? EVENT_ERROR : EVENT_NOTICE, "dns");
	event_put(&event, "state", engine->outage ? "dead" : "alive");
	if (engine->outage) {
		event_put(&event, "reason", answer_reason_text(reason));
		event_put(&event, "next",
			"known addresses are held; see that the resolvers of resolv.conf, or of "
			"the config, answer");
	}
	engine_log(engine, &event);
}

static int64_t soon(struct engine *engine)
{
	int64_t spread = min64((int64_t)question_count(&engine->index) * CATCH_UP_MS,
		engine->config->refresh_min * 1000);

	if (spread < CATCH_UP_LEAST_MS)
		spread = CATCH_UP_LEAST_MS;
	return engine->now_ms + (int64_t)throw_dice(engine) % (spread + 1);
}

/* What failed in that streak (0: in any) is asked soon, though not all at once. */
static void catch_up(struct engine *engine, uint32_t streak)
{
	struct question_index *index = &engine->index;

	for (size_t i = 0; i < question_count(index); i++) {
		int64_t when;

		if (index->flags[i] & QUESTION_ASKED)
			index->flags[i] |= QUESTION_EARLY;
		if (index->flags[i] & QUESTION_ASKED || index->streaks[i] == 0 ||
			(streak && index->streaks[i] != streak) ||
			schedule_due(&index->questions, i) == INT64_MAX)
			continue;
		when = soon(engine);
		if (when < schedule_due(&index->questions, i))
			schedule_set(&index->questions, i, when);
	}
}

static bool is_of_network(const struct addr *addr)
{
	enum addr_special special = addr_special(addr);

	return special != ADDR_LOOPBACK && special != ADDR_LINK_LOCAL;
}

/* Addresses that come with every interface, or are announced again, are no other network. */
static bool same_network(const struct own_addresses *a, const struct own_addresses *b)
{
	size_t i = 0, j = 0;

	for (;; i++, j++) {
		while (i < a->count && !is_of_network(&a->addrs[i]))
			i++;
		while (j < b->count && !is_of_network(&b->addrs[j]))
			j++;
		if (i == a->count || j == b->count)
			return i == a->count && j == b->count;
		if (!addr_equal(&a->addrs[i], &b->addrs[j]))
			return false;
	}
}

void engine_follow_network(struct engine *engine)
{
	struct own_addresses own, before = engine->cycle.around.own;
	bool same;

	/* If they can't be read, the old ones do until the next change. */
	if (!kernel_network_read(engine->network) || kernel_own_addresses(&own, NULL) < 0)
		return;
	engine->cycle.around.own = own;
	same = same_network(&before, &own);
	free((void *)before.addrs);
	if (same || engine->now_ms < engine->network_due)
		return;
	/* Where there was no network there may be one now. */
	engine->network_due = engine->now_ms + engine->config->refresh_min * 1000;
	catch_up(engine, 0);
}

static void judge_failure(struct engine *engine, size_t question, enum answer_reason reason)
{
	uint32_t *streak = &engine->index.streaks[question];
	size_t good;

	/* A bad name is no news, however often it is asked. */
	if (*streak)
		return;
	*streak = engine->streak;
	engine->index.bad++;
	engine->failed++;
	good = engine->index.asked_for - (engine->index.bad - engine->failed);
	if (engine->outage || (engine->failed < good && engine->failed < OUTAGE_AFTER))
		return;
	engine->outage = true;
	log_dns(engine, reason);
}

/* An outage is when those fail that were good, one after the other, and none is answered. */
static void judge_dns(struct engine *engine, size_t question, const struct answer *answer)
{
	uint32_t streak = engine->streak;

	if (answer->kind == ANSWER_COULD_NOT_ASK && answer->reason == REASON_NO_TRUSTED) {
		/* Nobody was asked: no sign that DNS is dead, nor one that can show its life. */
		if (!engine->index.streaks[question]) {
			engine->index.streaks[question] = streak;
			engine->index.bad++;
		}
		return;
	}
	if (answer->kind == ANSWER_COULD_NOT_ASK) {
		judge_failure(engine, question, answer->reason);
		return;
	}
	engine->index.bad -= engine->index.streaks[question] != 0;
	engine->index.streaks[question] = 0;
	engine->failed = 0;
	if (++engine->streak == 0)
		engine->streak = 1;
	if (!engine->outage)
		return;
	engine->outage = false;
	log_dns(engine, REASON_NONE);
	catch_up(engine, streak);
}

/* The question has its outcome, which its lookup knows: when is it asked again? */
static void settle(struct engine *engine, size_t question, const struct lookup *lookup)
{
	enum {
		OF_THIS_TIME = QUESTION_ASKED | QUESTION_HEARD | QUESTION_EARLY | QUESTION_SETTLED |
			       QUESTION_AGAIN
	};
	struct question_index *index = &engine->index;
	struct rhythm rhythm = rhythm_of(engine);
	uint8_t flags = index->flags[question];
	bool answered = lookup->failures == 0 || lookup->last == ANSWER_REFUSED;
	int64_t due = rhythm_due(
		&rhythm, lookup, !(flags & QUESTION_SETTLED), throw_dice(engine), engine->now_ms);

	index->flags[question] = (uint8_t)(flags & ~OF_THIS_TIME);
	if (answered)
		index->flags[question] |= QUESTION_SETTLED;
	engine_learned(engine);
	engine_end_ticket(engine, index->tickets[question]);
	index->tickets[question] = 0;
	if (answered && flags & QUESTION_AGAIN) {
		/* They came while it was asked: the next answer is theirs. */
		index->tickets[question] = index->later[question];
		index->later[question] = 0;
		schedule_set(&index->questions, question, engine->now_ms);
		return;
	}
	schedule_set(&index->questions, question,
		!answered && flags & QUESTION_EARLY ? soon(engine) : due);
	engine_end_ticket(engine, index->later[question]);
	index->later[question] = 0;
}

static void take_for_host(
	struct engine *engine, size_t index, enum family family, const struct answer *answer)
{
	struct cycle *cycle = &engine->cycle;
	struct host *host = &cycle->roster->hosts[index];
	struct answer guarded =
		answer_guard(answer, &engine->config->guards[host->guard], &cycle->around);
	struct prior prior;
	bool had_answer = host->lookup[family].good != 0;
	struct record_host before;
	struct former former;
	int changed;

	engine_prior(host, family, &prior);
	record_copy(host, &before);
	former.count = host_list_addrs(host, former.addrs);
	changed =
		host_take(host, family, &guarded, cycle->roster->linger[index], engine->cycle.now);
	if (changed < 0) {
		struct error error = {0};

		error_no_memory(&error);
		engine_log_error(engine, "memory", &error);
		return;
	}
	if (changed > 0) {
		note_host(engine, index, &former);
		engine_history_note(engine, index, &before);
		host_count_change(
			host, had_answer, engine->config->changes_per_hour, engine->cycle.now);
		cycle_note_host(cycle, host);
		engine_save_soon(engine);
		engine_log_change(engine, index, family, &prior);
		judge_flapping(engine, index);
	}
	expire_later(engine, index);
	engine_log_state(engine, index);
}

static void take_host_answer(struct engine *engine, size_t question, const struct answer *answer)
{
	const struct roster *roster = engine->cycle.roster;
	size_t first = question / FAMILY_COUNT;
	enum family family = (enum family)(question % FAMILY_COUNT);

	/* One question serves several hosts of that name, whatever their guards. */
	for (size_t i = first; roster_same_name(roster, first, i); i++) {
		if (roster_same_question(roster, first, i))
			take_for_host(engine, i, family, answer);
	}
}

static void take_srv_answer(struct engine *engine, size_t srv_index, const struct answer *answer)
{
	struct srv *srv = &engine->cycle.roster->srvs[srv_index];
	uint64_t names = srv_names_hash(srv);
	struct answer guarded = srv->validated ? answer_need_validated(answer) : *answer;
	int changed = srv_take(srv, &guarded, engine->cycle.now);

	if (changed > 0) {
		note_srv(engine, srv, names);
		engine_log_targets(engine, srv);
	}
	expire_srv_later(engine, srv_index);
	engine_log_srv_state(engine, srv);
}

static uint64_t tag_of(const struct engine *engine, size_t question)
{
	uint64_t odd = engine->index.flags[question] & QUESTION_ODD ? 1 : 0;

	return (uint64_t)(engine->epoch & 0xffffff) << TAG_EPOCH_SHIFT | (uint64_t)question << 1 |
	       odd;
}

static void take_answer(void *context, uint64_t tag, const struct answer *answer)
{
	struct engine *engine = context;
	size_t question = (size_t)((tag & ((UINT64_C(1) << TAG_EPOCH_SHIFT) - 1)) >> 1);
	bool of_now, says_nothing;
	uint8_t *flags;

	if (tag >> TAG_EPOCH_SHIFT != (engine->epoch & 0xffffff) ||
		question >= question_count(&engine->index))
		return;
	flags = &engine->index.flags[question];
	of_now = tag == tag_of(engine, question);
	/* An answer to the time before is younger than the silence to this one. */
	says_nothing = answer->kind == ANSWER_COULD_NOT_ASK && *flags & QUESTION_HEARD;
	if (!says_nothing) {
		judge_dns(engine, question, answer);
		if (question < engine->index.hosts * FAMILY_COUNT)
			take_host_answer(engine, question, answer);
		else
			take_srv_answer(
				engine, question - engine->index.hosts * FAMILY_COUNT, answer);
	}
	if (of_now || !(*flags & QUESTION_ASKED))
		settle(engine, question, engine_lookup(engine, question));
	else
		*flags |= QUESTION_HEARD;
}

/* --- Asking --- */

static int open_resolver(struct engine *engine, struct error *error)
{
	const struct config *config = engine->config;
	struct resolver_options options = {
		.servers = config->resolver.servers,
		.server_count = config->resolver.server_count,
		.timeout_ms = config->resolver.timeout_ms,
		.in_flight = config->resolver.in_flight,
		.trusted = config->resolver.trusted,
		.trusted_count = config->resolver.trusted_count,
	};

	return resolver_new(&engine->resolver, &options, take_answer, engine, error);
}

static int ask(struct engine *engine, size_t question)
{
	static const enum dns_type types[] = {[FAMILY_IPV4] = DNS_A, [FAMILY_IPV6] = DNS_AAAA};
	const struct roster *roster = engine->cycle.roster;
	size_t hosts = engine->index.hosts;
	const struct host *host;
	uint64_t tag;

	engine->index.flags[question] ^= QUESTION_ODD;
	tag = tag_of(engine, question);
	if (question >= hosts * FAMILY_COUNT) {
		const struct srv *srv = &roster->srvs[question - hosts * FAMILY_COUNT];

		return resolver_ask(engine->resolver, srv->name, DNS_SRV,
			srv->validated ? RESOLVER_VALIDATED : RESOLVER_ANY, tag);
	}
	host = &roster->hosts[question / FAMILY_COUNT];
	return resolver_ask(engine->resolver, host->name, types[question % FAMILY_COUNT],
		host->validated ? RESOLVER_VALIDATED : RESOLVER_ANY, tag);
}

static void ask_due(struct engine *engine)
{
	size_t question;

	while (schedule_take(&engine->index.questions, engine->now_ms, &question)) {
		if (ask(engine, question) < 0) {
			schedule_set(
				&engine->index.questions, question, engine->now_ms + ASK_RETRY_MS);
			return;
		}
		engine->index.flags[question] |= QUESTION_ASKED;
	}
}

/* Drops the resolver with all that is under way, which is due again. */
void engine_drop_resolver(struct engine *engine)
{
	engine->resolver = resolver_free(engine->resolver);
	engine->epoch++;
	for (size_t i = 0; i < question_count(&engine->index); i++) {
		if (!(engine->index.flags[i] & QUESTION_ASKED))
			continue;
		engine->index.flags[i] &= (uint8_t) ~(QUESTION_ASKED | QUESTION_AGAIN);
		schedule_set(&engine->index.questions, i, engine->now_ms);
	}
}

void engine_resolve(struct engine *engine)
{
	struct error error = {0};
	bool due = schedule_first(&engine->index.questions) <= engine->now_ms;

	if (!engine->resolver && !due)
		return;
	if (!engine->resolver && open_resolver(engine, &error) < 0)
		goto failed;
	ask_due(engine);
	if (due)
		engine_count_packets(engine);
	if (resolver_dispatch(engine->resolver, &error) == 0) {
		engine->resolver_failed = false;
		return;
	}
failed:
	if (!engine->resolver_failed)
		engine_log_error(engine, "resolver", &error);
	engine->resolver_failed = true;
	if (engine->resolver)
		engine_drop_resolver(engine);
	/* Not a wave of attempts: a pause for all that is due. */
	for (size_t i = 0; i < question_count(&engine->index); i++) {
		if (schedule_due(&engine->index.questions, i) <= engine->now_ms)
			schedule_set(&engine->index.questions, i,
				engine->now_ms + engine->config->refresh_min * 1000);
	}
}
