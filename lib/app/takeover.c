/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "takeover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHAINS = 2 * TAKEOVER_PAIRS,
	NONE = UINT16_MAX, /* of a chain */
	MINUTE_MS = 60 * 1000,
	SECOND_MS = 1000,
	UNANSWERED_MS = 60 * 1000, /* a name gets so long for its first answer */
};

struct pair {
	struct takeover said;
	int64_t first_ms, last_ms;
	int64_t said_ms;
	int64_t due_ms;	  /* INT64_MAX: there is nothing to say */
	int64_t other_ms; /* `other` is as it was then */
	uint64_t said_count;
	enum takeover_other other;
	uint32_t other_owner;
	uint8_t said_certainty;
	bool is_said, used;
	uint16_t next;
};

struct takeovers {
	struct takeover_judge judge;
	int64_t settled_ms; /* until then phones may be registered of which nobody knows */
	uint64_t seed;
	struct pair pairs[TAKEOVER_PAIRS];
	uint16_t chains[CHAINS];
	int64_t due_ms, look_ms, looked_ms;
	int64_t minute_ms; /* its beginning */
	unsigned minute_said;
	uint64_t minute_left_out, left_out, proven;
};

int takeovers_new(struct takeovers **ret_takeovers, const struct takeover_judge *judge,
	int64_t settled_ms, uint64_t seed)
{
	struct takeovers *takeovers = calloc(1, sizeof(*takeovers));

	if (!takeovers)
		return -ENOMEM;
	takeovers->judge = *judge;
	takeovers->settled_ms = settled_ms;
	takeovers->seed = seed;
	takeovers->due_ms = takeovers->look_ms = INT64_MAX;
	memset(takeovers->chains, 0xff, sizeof(takeovers->chains));
	*ret_takeovers = takeovers;
	return 0;
}

struct takeovers *takeovers_free(struct takeovers *takeovers)
{
	free(takeovers);
	return NULL;
}

/* --- pairs --- */

static uint16_t *chain_of(
	struct takeovers *takeovers, uint32_t owner, bool has_addr, const struct addr *addr)
{
	uint64_t hash = takeovers->seed ^ owner;

	for (size_t i = 0; has_addr && i < sizeof(addr->bytes); i++)
		hash = (hash ^ addr->bytes[i]) * UINT64_C(0x100000001b3);
	hash = (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return &takeovers->chains[(hash ^ hash >> 32) % CHAINS];
}

static bool is_pair(const struct pair *pair, uint32_t owner, bool has_addr, const struct addr *addr)
{
	return pair->said.owner == owner && pair->said.has_addr == has_addr &&
	       (!has_addr || addr_equal(&pair->said.addr, addr));
}

static void chain_in(struct takeovers *takeovers, struct pair *pair)
{
	uint16_t *link =
		chain_of(takeovers, pair->said.owner, pair->said.has_addr, &pair->said.addr);

	pair->next = *link;
	*link = (uint16_t)(pair - takeovers->pairs);
}

static void drop_pair(struct takeovers *takeovers, struct pair *pair)
{
	uint16_t self = (uint16_t)(pair - takeovers->pairs);
	uint16_t *link =
		chain_of(takeovers, pair->said.owner, pair->said.has_addr, &pair->said.addr);

	while (*link != self)
		link = &takeovers->pairs[*link].next;
	*link = pair->next;
	*pair = (struct pair){0};
}

/* How much it would be missed. */
static unsigned worth(const struct pair *pair)
{
	if (pair->said.excused)
		return 0;
	return pair->said.certainty + 1u;
}

static struct pair *room(struct takeovers *takeovers)
{
	struct pair *least = NULL;

	for (size_t i = 0; i < TAKEOVER_PAIRS; i++) {
		struct pair *pair = &takeovers->pairs[i];

		if (!pair->used)
			return pair;
		if (!least || worth(pair) < worth(least) ||
			(worth(pair) == worth(least) && pair->last_ms < least->last_ms))
			least = pair;
	}
	drop_pair(takeovers, least);
	return least;
}

static struct pair *find_or_add(struct takeovers *takeovers, const struct audit_sighting *sighting,
	const struct moment *now)
{
	uint16_t at = *chain_of(takeovers, sighting->owner, sighting->has_addr, &sighting->addr);
	struct pair *pair;

	for (; at != NONE; at = takeovers->pairs[at].next) {
		pair = &takeovers->pairs[at];
		if (is_pair(pair, sighting->owner, sighting->has_addr, &sighting->addr))
			return pair;
	}
	pair = room(takeovers);
	*pair = (struct pair){
		.said = {.owner = sighting->owner,
			.has_addr = sighting->has_addr,
			.addr = sighting->addr,
			.first = now->wall},
		.first_ms = now->boot_ms,
		.other_ms = INT64_MIN,
		.due_ms = INT64_MAX,
		.used = true,
	};
	chain_in(takeovers, pair);
	return pair;
}

void takeovers_rename(struct takeovers *takeovers, const uint32_t *renamed, size_t count)
{
	memset(takeovers->chains, 0xff, sizeof(takeovers->chains));
	for (size_t i = 0; i < TAKEOVER_PAIRS; i++) {
		struct pair *pair = &takeovers->pairs[i];
		uint32_t owner = TAKEOVER_OWNER_GONE;

		if (pair->used && pair->said.owner < count)
			owner = renamed[pair->said.owner];
		if (owner == TAKEOVER_OWNER_GONE) {
			*pair = (struct pair){0};
			continue;
		}
		pair->said.owner = owner;
		pair->other_ms = INT64_MIN;
		chain_in(takeovers, pair);
	}
}

/* --- judging --- */

static void look_for_others(
	const struct takeovers *takeovers, struct pair *pair, const struct moment *now)
{
	const struct takeover_judge *judge = &takeovers->judge;

	if (!pair->said.has_addr ||
		(pair->other_ms != INT64_MIN && now->boot_ms - pair->other_ms < SECOND_MS))
		return;
	pair->other_ms = now->boot_ms;
	pair->other = judge->other(
		judge->context, pair->said.owner, &pair->said.addr, &pair->other_owner);
}

/* The security log of chan_sip has named whom somebody calls as if it had logged in. */
static bool may_be_a_call(
	const struct takeovers *takeovers, struct pair *pair, const struct moment *now)
{
	look_for_others(takeovers, pair, now);
	return pair->other != TAKEOVER_NOBODY && now->boot_ms < takeovers->settled_ms;
}

static enum audit_verdict verdict_of(const struct takeovers *takeovers, const struct pair *pair)
{
	const struct takeover_judge *judge = &takeovers->judge;

	if (!pair->said.has_addr)
		return AUDIT_NOT_KNOWN;
	return judge->verdict(judge->context, pair->said.owner, &pair->said.addr);
}

static enum audit_certainty certainty_of(const struct takeovers *takeovers, struct pair *pair,
	const struct audit_sighting *sighting, const struct moment *now)
{
	if (sighting->certainty == AUDIT_PROVEN && sighting->protocol == AUDIT_SIP &&
		!sighting->rises && may_be_a_call(takeovers, pair, now))
		return AUDIT_AMBIGUOUS;
	return (enum audit_certainty)sighting->certainty;
}

/* --- saying --- */

static const char *next_step(const struct pair *pair)
{
	switch ((enum audit_certainty)pair->said.certainty) {
	case AUDIT_PROVEN:
		return "somebody there knows its password: change it, and throw the registration "
		       "out (sipfence asterisk --evict); sipfence why ADDRESS says who lets the "
		       "address in";
	case AUDIT_CLAIMED:
		return "so the Contact says, which the caller chooses: follow the security log, "
		       "which has the true address; change the password if it is nobody you know";
	case AUDIT_AMBIGUOUS:
		return "it is probably a call to the extension: the full log tells calls from "
		       "registrations (sipfence audit)";
	case AUDIT_UNKNOWN:
		break;
	}
	return "it is not known yet whose address it is: see sipfence status";
}

static void put_name(struct event *event, const char *key, const struct audit_name *name)
{
	char printed[AUDIT_NAME_SIZE + 1] = "";

	memcpy(printed, name->bytes, name->length);
	event_put(event, key, printed);
}

static void put_other(const struct takeovers *takeovers, struct event *event, struct pair *pair)
{
	const struct takeover_judge *judge = &takeovers->judge;

	if (pair->other == TAKEOVER_LOCAL)
		event_put(event, "address-of", "local-subnets");
	else if (pair->other != TAKEOVER_NOBODY)
		event_put(event, "address-of",
			judge->config(judge->context)->owners[pair->other_owner].id);
}

static enum event_level level_of(const struct pair *pair, const char *state)
{
	if (pair->said.certainty < AUDIT_CLAIMED)
		return EVENT_NOTICE;
	return strcmp(state, "excused") == 0 ? EVENT_WARNING : EVENT_ERROR;
}

static void say(const struct takeovers *takeovers, struct pair *pair, const char *state,
	const struct moment *now)
{
	const struct takeover_judge *judge = &takeovers->judge;
	const struct owner *owner = &judge->config(judge->context)->owners[pair->said.owner];
	bool excused = strcmp(state, "excused") == 0;
	struct event event;

	look_for_others(takeovers, pair, now);
	event_begin(&event, level_of(pair, state), "takeover");
	event_put(&event, "state", state);
	event_put(&event, owner->kind == OWNER_EXTENSION ? "extension" : "peer", owner->id);
	if (pair->said.has_addr)
		event_put_addrs(&event, "address", &pair->said.addr, 1);
	if (pair->said.port)
		event_put_number(&event, "port", pair->said.port);
	event_put(&event, "driver", pair->said.protocol == AUDIT_SIP ? "chan_sip" : "pjsip");
	event_put(&event, "certainty",
		audit_certainty_name((enum audit_certainty)pair->said.certainty));
	event_put_number(&event, "count", (int64_t)pair->said.count);
	put_other(takeovers, &event, pair);
	if (pair->said.agent.length > 0)
		put_name(&event, pair->said.has_addr ? "agent" : "contact", &pair->said.agent);
	event_put(&event, "next",
		excused ? "a name of its points there by now: its phone was faster than its name"
			: next_step(pair));
	if (!event.line.failed)
		judge->log(judge->log_context, &event);
	event_clear(&event);
}

static void end_minute(struct takeovers *takeovers, const struct moment *now)
{
	const struct takeover_judge *judge = &takeovers->judge;
	struct event event;

	if (now->boot_ms - takeovers->minute_ms < MINUTE_MS)
		return;
	if (takeovers->minute_left_out > 0) {
		event_begin(&event, EVENT_ERROR, "takeover");
		event_put(&event, "state", "left-out");
		event_put_number(&event, "count", (int64_t)takeovers->minute_left_out);
		event_put(&event, "next",
			"so many more in the last minute: sipfence status, and sipfence audit with "
			"the log");
		if (!event.line.failed)
			judge->log(judge->log_context, &event);
		event_clear(&event);
	}
	takeovers->minute_ms = now->boot_ms;
	takeovers->minute_said = 0;
	takeovers->minute_left_out = 0;
}

/* Nobody can talk so much that others are not heard. */
static bool may_say(struct takeovers *takeovers, const struct pair *pair)
{
	unsigned said = 0;

	for (size_t i = 0; i < TAKEOVER_PAIRS; i++) {
		const struct pair *other = &takeovers->pairs[i];

		said += other->used && other->is_said && other->said.owner == pair->said.owner &&
			other->said_ms >= takeovers->minute_ms;
	}
	if (said < TAKEOVER_MINUTE_EACH && takeovers->minute_said < TAKEOVER_MINUTE_ALL) {
		takeovers->minute_said++;
		return true;
	}
	takeovers->minute_left_out++;
	takeovers->left_out++;
	return false;
}

/* What has waited may have been explained. False: it was, and is forgotten. */
static bool still_stands(struct takeovers *takeovers, struct pair *pair, const struct moment *now)
{
	enum audit_verdict verdict;

	if (pair->is_said || pair->said.certainty >= AUDIT_CLAIMED)
		return true;
	verdict = verdict_of(takeovers, pair);
	if (verdict == AUDIT_HAD || verdict == AUDIT_GRACE) {
		drop_pair(takeovers, pair);
		return false;
	}
	if (pair->said.certainty != AUDIT_UNKNOWN || !pair->said.has_addr)
		return true;
	if (verdict == AUDIT_NOT_KNOWN && now->boot_ms - pair->first_ms < UNANSWERED_MS) {
		pair->due_ms = now->boot_ms + SECOND_MS;
		return false;
	}
	if (verdict == AUDIT_HAD_NOT) {
		bool call = pair->said.login && pair->said.protocol == AUDIT_SIP &&
			    may_be_a_call(takeovers, pair, now);

		pair->said.certainty = !pair->said.login ? AUDIT_CLAIMED
				       : call		 ? AUDIT_AMBIGUOUS
							 : AUDIT_PROVEN;
		takeovers->proven += pair->said.certainty == AUDIT_PROVEN;
	}
	return true;
}

static void say_due(struct takeovers *takeovers, struct pair *pair, const struct moment *now)
{
	const char *state = !pair->is_said				  ? "found"
			    : pair->said.certainty > pair->said_certainty ? "surer"
									  : "goes-on";

	if (!still_stands(takeovers, pair, now))
		return;
	pair->due_ms = INT64_MAX;
	if (may_say(takeovers, pair))
		say(takeovers, pair, state, now);
	pair->is_said = true;
	pair->said_ms = now->boot_ms;
	pair->said_count = pair->said.count;
	pair->said_certainty = pair->said.certainty;
}

static void excuse(struct takeovers *takeovers, const struct moment *now)
{
	takeovers->looked_ms = now->boot_ms;
	takeovers->look_ms = INT64_MAX;
	for (size_t i = 0; i < TAKEOVER_PAIRS; i++) {
		struct pair *pair = &takeovers->pairs[i];

		if (!pair->used || !pair->is_said || pair->said.excused || !pair->said.has_addr ||
			now->boot_ms - pair->last_ms > TAKEOVER_GRACE_MS ||
			verdict_of(takeovers, pair) != AUDIT_HAD)
			continue;
		pair->said.excused = true;
		pair->due_ms = INT64_MAX;
		say(takeovers, pair, "excused", now);
	}
}

/* --- what comes from outside --- */

void takeovers_see(struct takeovers *takeovers, const struct audit_sighting *sighting,
	const struct moment *now)
{
	struct pair *pair = find_or_add(takeovers, sighting, now);
	enum audit_certainty certainty = certainty_of(takeovers, pair, sighting, now);
	int64_t due = INT64_MAX;

	if (pair->said.excused) {
		pair->said.excused = pair->is_said = false;
		pair->said.certainty = pair->said_certainty = 0;
		pair->said.count = pair->said_count = 0;
		pair->said.first = now->wall;
		pair->first_ms = now->boot_ms;
	}
	pair->said.count += !sighting->rises;
	pair->said.last = now->wall;
	pair->last_ms = now->boot_ms;
	pair->said.port = sighting->port;
	pair->said.protocol = sighting->protocol;
	pair->said.login |= sighting->login;
	takeovers->proven += certainty == AUDIT_PROVEN;
	if (sighting->agent)
		pair->said.agent = *sighting->agent;
	if (certainty > (enum audit_certainty)pair->said.certainty)
		pair->said.certainty = (uint8_t)certainty;
	if (!pair->is_said && pair->said.certainty < AUDIT_CLAIMED)
		due = pair->first_ms + TAKEOVER_PAUSE_MS;
	else if (!pair->is_said || pair->said.certainty > pair->said_certainty)
		due = now->boot_ms;
	else if (pair->said.count > pair->said_count)
		due = pair->said_ms + TAKEOVER_AGAIN_MS;
	if (due < pair->due_ms)
		pair->due_ms = due;
	if (pair->due_ms < takeovers->due_ms)
		takeovers->due_ms = pair->due_ms;
}

void takeovers_look(struct takeovers *takeovers, const struct moment *now)
{
	int64_t at = takeovers->looked_ms + SECOND_MS;

	if (takeovers->look_ms == INT64_MAX)
		takeovers->look_ms = at > now->boot_ms ? at : now->boot_ms;
}

void takeovers_tick(struct takeovers *takeovers, const struct moment *now)
{
	if (takeovers->look_ms <= now->boot_ms)
		excuse(takeovers, now);
	end_minute(takeovers, now);
	if (takeovers->due_ms > now->boot_ms)
		return;
	takeovers->due_ms = INT64_MAX;
	for (size_t i = 0; i < TAKEOVER_PAIRS; i++) {
		struct pair *pair = &takeovers->pairs[i];

		if (!pair->used)
			continue;
		if (pair->due_ms <= now->boot_ms)
			say_due(takeovers, pair, now);
		if (pair->used && pair->due_ms < takeovers->due_ms)
			takeovers->due_ms = pair->due_ms;
	}
}

int64_t takeovers_due(const struct takeovers *takeovers)
{
	int64_t due = takeovers->due_ms;

	if (takeovers->look_ms < due)
		due = takeovers->look_ms;
	if (takeovers->minute_left_out > 0 && takeovers->minute_ms + MINUTE_MS < due)
		due = takeovers->minute_ms + MINUTE_MS;
	return due;
}

/* --- for status --- */

static int by_last(const void *a, const void *b)
{
	const struct takeover *x = a, *y = b;

	if (x->last != y->last)
		return x->last > y->last ? -1 : 1;
	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	return addr_compare(&x->addr, &y->addr);
}

size_t takeovers_find(const struct takeovers *takeovers, const struct addr *addr, uint32_t owner,
	struct takeover *list, size_t max)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < TAKEOVER_PAIRS; i++) {
		const struct pair *pair = &takeovers->pairs[i];
		size_t at;

		if (!pair->used || !pair->is_said)
			continue;
		if (addr && !(pair->said.has_addr && addr_equal(&pair->said.addr, addr)))
			continue;
		if (owner != TAKEOVER_OWNER_GONE && pair->said.owner != owner)
			continue;
		count++;
		/* An insertion into the sorted list of the `max` latest. */
		for (at = kept; at > 0 && by_last(&pair->said, &list[at - 1]) < 0; at--)
			;
		if (at == max)
			continue;
		if (kept < max)
			kept++;
		memmove(&list[at + 1], &list[at], (kept - at - 1) * sizeof(*list));
		list[at] = pair->said;
	}
	return count;
}

size_t takeovers_list(const struct takeovers *takeovers, struct takeover *list, size_t max)
{
	return takeovers_find(takeovers, NULL, TAKEOVER_OWNER_GONE, list, max);
}

uint64_t takeovers_left_out(const struct takeovers *takeovers)
{
	return takeovers->left_out;
}

uint64_t takeovers_proven(const struct takeovers *takeovers)
{
	return takeovers->proven;
}
