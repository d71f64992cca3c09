/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lookup_take(struct lookup *lookup, const struct answer *answer, int64_t now)
{
	lookup->asked = now;
	lookup->ttl = answer->ttl;
	lookup->last = (uint8_t)answer->kind;
	lookup->reason = (uint8_t)answer->reason;
	switch (answer->kind) {
	case ANSWER_ADDRESSES:
		lookup->good = now;
		lookup->none = 0;
		lookup->failures = 0;
		return;
	case ANSWER_NO_DATA:
	case ANSWER_NO_NAME:
		if (!lookup->none)
			lookup->none = now;
		lookup->failures = 0;
		return;
	case ANSWER_NEVER:
	case ANSWER_COULD_NOT_ASK:
	case ANSWER_REFUSED:
		if (lookup->failures < UINT16_MAX)
			lookup->failures++;
		return;
	}
}

/* Never overflows: durations are bounded by the config, but saved times are not. */
static int64_t later(int64_t time, int64_t seconds)
{
	return time > INT64_MAX - seconds ? INT64_MAX : time + seconds;
}

int64_t lookup_expires(const struct lookup *lookup, const struct timing *timing)
{
	if (lookup->none)
		return later(lookup->none, timing->gone);
	if (!lookup->good)
		return INT64_MAX;
	return later(lookup->good, timing->hold);
}

bool lookup_expired(const struct lookup *lookup, const struct timing *timing, int64_t now)
{
	/* `hold` bounds how long we go on without an answer, not how long a TTL lets us wait. */
	if (lookup->last == ANSWER_ADDRESSES)
		return false;
	return now >= lookup_expires(lookup, timing);
}

static void correct(int64_t *time, int64_t now)
{
	if (*time > now)
		*time = now;
}

void lookup_restore(struct lookup *lookup, int64_t now)
{
	correct(&lookup->asked, now);
	correct(&lookup->good, now);
	correct(&lookup->none, now);
	if (lookup->last == ANSWER_ADDRESSES)
		lookup->last = ANSWER_NEVER;
}

void host_restore(struct host *host, int64_t now)
{
	for (int family = 0; family < FAMILY_COUNT; family++)
		lookup_restore(&host->lookup[family], now);
	for (size_t i = 0; i < host->retired_count; i++)
		correct(&host->retired[i].when, now);
	changes_restore(host->changes, now);
}

static void doubt(struct lookup *lookup, size_t count, int64_t now)
{
	lookup->good = 0;
	if (count > 0 && !lookup->none)
		lookup->none = now;
}

static void forget_retired(struct host *host)
{
	free(host->retired);
	host->retired = NULL;
	host->retired_count = 0;
}

void host_unproven(struct host *host, int64_t now)
{
	for (int family = 0; family < FAMILY_COUNT; family++)
		doubt(&host->lookup[family], host->count[family], now);
	forget_retired(host);
}

/* Did host_unproven(), or srv_unproven(), have the last word? */
static bool is_unproven(bool validated, const struct lookup *lookup)
{
	return validated && !lookup->good;
}

static bool has_addr(const struct addr *addrs, size_t count, const struct addr *addr)
{
	for (size_t i = 0; i < count; i++) {
		if (addr_equal(&addrs[i], addr))
			return true;
	}
	return false;
}

static bool same_addrs(const struct addr *a, size_t a_count, const struct addr *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		if (!addr_equal(&a[i], &b[i]))
			return false;
	}
	return true;
}

static void unretire(struct host *host, const struct addr *addrs, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < host->retired_count; i++) {
		if (!has_addr(addrs, count, &host->retired[i].addr))
			host->retired[kept++] = host->retired[i];
	}
	host->retired_count = (uint16_t)kept;
}

/* Remembers the addresses of `family` that the new answer has no more. */
static int retire(struct host *host, enum family family, const struct answer *answer, int64_t now)
{
	size_t count = host->count[family];
	struct retired *grown;

	if (count == 0)
		return 0;
	grown = realloc(host->retired, (host->retired_count + count) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	host->retired = grown;
	for (size_t i = 0; i < count; i++) {
		const struct addr *old = &host->addrs[family][i];

		if (has_addr(answer->addrs, answer->count, old))
			continue;
		host->retired[host->retired_count++] = (struct retired){.addr = *old, .when = now};
	}
	if (host->retired_count > RETIRED_MAX) {
		size_t surplus = host->retired_count - RETIRED_MAX;

		memmove(grown, grown + surplus, RETIRED_MAX * sizeof(*grown));
		host->retired_count = RETIRED_MAX;
	}
	return 0;
}

static int replace(struct host *host, enum family family, const struct answer *answer,
	int64_t linger, int64_t now)
{
	struct addr *fresh = malloc(answer->count * sizeof(*fresh));

	if (!fresh)
		return -ENOMEM;
	if (linger > 0 && !is_unproven(host->validated, &host->lookup[family]) &&
		retire(host, family, answer, now) < 0) {
		free(fresh);
		return -ENOMEM;
	}
	memcpy(fresh, answer->addrs, answer->count * sizeof(*fresh));
	unretire(host, fresh, answer->count);
	free(host->addrs[family]);
	host->addrs[family] = fresh;
	host->count[family] = (uint16_t)answer->count;
	return 0;
}

int host_take(struct host *host, enum family family, const struct answer *answer, int64_t linger,
	int64_t now)
{
	bool changed =
		answer->kind == ANSWER_ADDRESSES &&
		!same_addrs(host->addrs[family], host->count[family], answer->addrs, answer->count);

	if (changed) {
		int result = replace(host, family, answer, linger, now);

		if (result < 0)
			return result;
	}
	if (answer->kind == ANSWER_REFUSED) {
		host->culprit[family] = answer->culprit;
		host->origin[family] = answer->origin;
	}
	lookup_take(&host->lookup[family], answer, now);
	return changed;
}

void host_count_change(struct host *host, bool had_answer, uint32_t limit, int64_t now)
{
	if (had_answer)
		changes_add(&host->changes, limit, now);
}

static bool expire_family(
	struct host *host, enum family family, const struct timing *timing, int64_t now)
{
	if (host->count[family] == 0 || !lookup_expired(&host->lookup[family], timing, now))
		return false;
	free(host->addrs[family]);
	host->addrs[family] = NULL;
	host->count[family] = 0;
	return true;
}

bool host_expire(struct host *host, const struct timing *timing, int64_t linger, int64_t now)
{
	bool left = false;
	size_t kept = 0;

	for (int family = 0; family < FAMILY_COUNT; family++)
		left |= expire_family(host, (enum family)family, timing, now);
	for (size_t i = 0; i < host->retired_count; i++) {
		if (now < later(host->retired[i].when, linger))
			host->retired[kept++] = host->retired[i];
	}
	left |= kept < host->retired_count;
	host->retired_count = (uint16_t)kept;
	if (kept == 0)
		forget_retired(host);
	return left;
}

static int64_t family_expires(
	const struct host *host, enum family family, const struct timing *timing)
{
	const struct lookup *lookup = &host->lookup[family];

	if (host->count[family] == 0 || lookup->last == ANSWER_ADDRESSES)
		return INT64_MAX;
	return lookup_expires(lookup, timing);
}

int64_t host_expires(const struct host *host, const struct timing *timing,
	const int64_t linger[OWNER_KIND_COUNT], int64_t now)
{
	int64_t next = INT64_MAX, longest = 0;

	for (int family = 0; family < FAMILY_COUNT; family++) {
		int64_t when = family_expires(host, (enum family)family, timing);

		if (when < next)
			next = when;
	}
	for (int kind = 0; kind < OWNER_KIND_COUNT; kind++)
		longest = linger[kind] > longest ? linger[kind] : longest;
	for (size_t i = 0; i < host->retired_count; i++) {
		for (int kind = 0; kind < OWNER_KIND_COUNT; kind++) {
			int64_t when = later(host->retired[i].when, linger[kind]);

			/* With a shorter time it has left that owner already. */
			if ((when > now || linger[kind] == longest) && when < next)
				next = when;
		}
	}
	return next;
}

static bool still_good(
	const struct addr *addr, const struct guard *guard, const struct surroundings *around)
{
	struct answer answer = {
		.kind = ANSWER_ADDRESSES,
		.count = 1,
		.addrs = addr,
		.validated = true, /* or else host_unproven() comes */
	};

	answer = answer_guard(&answer, guard, around);
	/* What can't be looked up now was good once: a lost database revokes nobody. */
	return answer.kind == ANSWER_ADDRESSES || answer.reason == REASON_NO_ORIGIN;
}

static int inherit_family(struct host *host, const struct host *from, enum family family,
	const struct guard *guard, const struct surroundings *around)
{
	size_t count = from->count[family];

	host->lookup[family] = from->lookup[family];
	host->culprit[family] = from->culprit[family];
	host->origin[family] = from->origin[family];
	if (count == 0 || count > guard->max_addresses)
		return 0;
	host->addrs[family] = malloc(count * sizeof(*host->addrs[family]));
	if (!host->addrs[family])
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct addr *addr = &from->addrs[family][i];

		if (still_good(addr, guard, around))
			host->addrs[family][host->count[family]++] = *addr;
	}
	return 0;
}

int host_inherit(struct host *host, const struct host *from, const struct guard *guard,
	const struct surroundings *around)
{
	host->told = from->told;
	if (changes_copy(from->changes, &host->changes) < 0)
		return -ENOMEM;
	for (int family = 0; family < FAMILY_COUNT; family++) {
		if (inherit_family(host, from, (enum family)family, guard, around) < 0)
			return -ENOMEM;
	}
	if (from->retired_count == 0)
		return 0;
	host->retired = malloc(from->retired_count * sizeof(*host->retired));
	if (!host->retired)
		return -ENOMEM;
	for (size_t i = 0; i < from->retired_count; i++) {
		if (still_good(&from->retired[i].addr, guard, around))
			host->retired[host->retired_count++] = from->retired[i];
	}
	return 0;
}

static bool unsure(const struct lookup *lookup)
{
	return lookup->last == ANSWER_COULD_NOT_ASK || lookup->last == ANSWER_REFUSED ||
	       lookup->last == ANSWER_NEVER;
}

enum family host_deciding_family(const struct host *host)
{
	const struct lookup *four = &host->lookup[FAMILY_IPV4], *six = &host->lookup[FAMILY_IPV6];

	if (four->last == ANSWER_REFUSED)
		return FAMILY_IPV4;
	if (six->last == ANSWER_REFUSED)
		return FAMILY_IPV6;
	return unsure(six) && !unsure(four) ? FAMILY_IPV6 : FAMILY_IPV4;
}

enum host_state host_state(const struct host *host)
{
	const struct lookup *four = &host->lookup[FAMILY_IPV4], *six = &host->lookup[FAMILY_IPV6];
	bool any = host->count[FAMILY_IPV4] > 0 || host->count[FAMILY_IPV6] > 0;

	if (four->last == ANSWER_REFUSED || six->last == ANSWER_REFUSED)
		return HOST_REFUSED;
	if (unsure(four) || unsure(six)) {
		if (any)
			return HOST_HELD;
		return (unsure(four) && four->good) || (unsure(six) && six->good) ? HOST_EXPIRED
										  : HOST_NEVER;
	}
	return four->last == ANSWER_ADDRESSES || six->last == ANSWER_ADDRESSES ? HOST_FRESH
									       : HOST_GONE;
}

const struct addr *host_culprit(const struct host *host, enum family family)
{
	static const struct addr none;
	const struct lookup *lookup = &host->lookup[family];

	if (lookup->last != ANSWER_REFUSED || lookup->reason == REASON_TOO_MANY)
		return NULL;
	if (lookup->reason == REASON_NOT_VALIDATED && addr_equal(&host->culprit[family], &none))
		return NULL;
	return &host->culprit[family];
}

static uint8_t telling(enum host_state state, const struct lookup *lookup)
{
	enum { STATE_BITS = 3 };
	bool dnssec = lookup->last == ANSWER_COULD_NOT_ASK &&
		      (lookup->reason == REASON_BOGUS || lookup->reason == REASON_NO_TRUSTED);
	unsigned reason = state == HOST_REFUSED || dnssec ? lookup->reason : REASON_NONE;

	return (uint8_t)(reason << STATE_BITS | state);
}

uint8_t host_telling(const struct host *host)
{
	return telling(host_state(host), &host->lookup[host_deciding_family(host)]);
}

const char *host_state_name(enum host_state state)
{
	static const char *const names[] = {
		[HOST_UNTOLD] = "new",
		[HOST_NEVER] = "never answered",
		[HOST_FRESH] = "fresh",
		[HOST_HELD] = "held",
		[HOST_GONE] = "gone",
		[HOST_REFUSED] = "refused",
		[HOST_EXPIRED] = "expired",
	};

	return names[state];
}

void host_clear(struct host *host)
{
	for (int family = 0; family < FAMILY_COUNT; family++) {
		free(host->addrs[family]);
		host->addrs[family] = NULL;
		host->count[family] = 0;
	}
	forget_retired(host);
	free(host->changes);
	host->changes = NULL;
}

static void free_targets(char **targets, size_t count)
{
	for (size_t i = 0; targets && i < count; i++)
		free(targets[i]);
	free(targets);
}

static bool has_target(const char *const *targets, size_t count, const char *target)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(targets[i], target) == 0)
			return true;
	}
	return false;
}

static bool same_targets(const struct srv *srv, const struct answer *answer)
{
	if (srv->count != answer->count)
		return false;
	for (size_t i = 0; i < srv->count; i++) {
		if (!has_target(answer->targets, answer->count, srv->targets[i]))
			return false;
	}
	return true;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char **copy_targets(const struct answer *answer)
{
	char **copy = calloc(answer->count ? answer->count : 1, sizeof(*copy));

	if (!copy)
		return NULL;
	for (size_t i = 0; i < answer->count; i++) {
		copy[i] = strdup(answer->targets[i]);
		if (!copy[i]) {
			free_targets(copy, i);
			return NULL;
		}
	}
	qsort(copy, answer->count, sizeof(*copy), compare_strings);
	return copy;
}

/* Moves the targets that the answer has no more to `retired`, which has room for all. */
static void retire_targets(struct srv *srv, const struct answer *answer, int64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < srv->retired_count; i++) {
		if (has_target(answer->targets, answer->count, srv->retired[i].target))
			free(srv->retired[i].target);
		else
			srv->retired[kept++] = srv->retired[i];
	}
	for (size_t i = 0; i < srv->count; i++) {
		if (has_target(answer->targets, answer->count, srv->targets[i]))
			free(srv->targets[i]);
		else
			srv->retired[kept++] =
				(struct retired_target){.target = srv->targets[i], .when = now};
	}
	/* The oldest stand first. */
	for (; kept > RETIRED_MAX; kept--) {
		free(srv->retired[0].target);
		memmove(srv->retired, srv->retired + 1, (kept - 1) * sizeof(*srv->retired));
	}
	srv->retired_count = kept;
}

int srv_take(struct srv *srv, const struct answer *answer, int64_t now)
{
	bool linger = !is_unproven(srv->validated, &srv->lookup);
	struct retired_target *grown;
	char **fresh;

	if (answer->kind != ANSWER_ADDRESSES || same_targets(srv, answer)) {
		lookup_take(&srv->lookup, answer, now);
		return 0;
	}
	fresh = copy_targets(answer);
	if (!fresh)
		return -ENOMEM;
	grown = realloc(srv->retired, (srv->retired_count + srv->count + 1) * sizeof(*grown));
	if (!grown) {
		free_targets(fresh, answer->count);
		return -ENOMEM;
	}
	srv->retired = grown;
	if (linger) {
		retire_targets(srv, answer, now);
		free(srv->targets);
	} else {
		free_targets(srv->targets, srv->count);
	}
	srv->targets = fresh;
	srv->count = answer->count;
	lookup_take(&srv->lookup, answer, now);
	return 1;
}

bool srv_expire(struct srv *srv, const struct timing *timing, int64_t linger, int64_t now)
{
	bool left = false;
	size_t kept = 0;

	if (srv->count > 0 && lookup_expired(&srv->lookup, timing, now)) {
		free_targets(srv->targets, srv->count);
		srv->targets = NULL;
		srv->count = 0;
		left = true;
	}
	for (size_t i = 0; i < srv->retired_count; i++) {
		if (now < later(srv->retired[i].when, linger))
			srv->retired[kept++] = srv->retired[i];
		else
			free(srv->retired[i].target);
	}
	left |= kept < srv->retired_count;
	srv->retired_count = kept;
	return left;
}

static uint64_t hash_name(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
	return hash;
}

uint64_t srv_names_hash(const struct srv *srv)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < srv->count; i++)
		sum += hash_name(srv->targets[i]);
	for (size_t i = 0; i < srv->retired_count; i++)
		sum += hash_name(srv->retired[i].target);
	return sum;
}

int64_t srv_expires(const struct srv *srv, const struct timing *timing, int64_t linger)
{
	int64_t next = INT64_MAX;

	if (srv->count > 0 && srv->lookup.last != ANSWER_ADDRESSES)
		next = lookup_expires(&srv->lookup, timing);
	for (size_t i = 0; i < srv->retired_count; i++) {
		if (later(srv->retired[i].when, linger) < next)
			next = later(srv->retired[i].when, linger);
	}
	return next;
}

int srv_inherit(struct srv *srv, const struct srv *from)
{
	srv->told = from->told;
	srv->lookup = from->lookup;
	srv->targets = calloc(from->count + 1, sizeof(*srv->targets));
	srv->retired = calloc(from->retired_count + 1, sizeof(*srv->retired));
	if (!srv->targets || !srv->retired)
		return -ENOMEM;
	for (size_t i = 0; i < from->count; i++) {
		srv->targets[i] = strdup(from->targets[i]);
		if (!srv->targets[i])
			return -ENOMEM;
		srv->count++;
	}
	for (size_t i = 0; i < from->retired_count; i++) {
		srv->retired[i].when = from->retired[i].when;
		srv->retired[i].target = strdup(from->retired[i].target);
		if (!srv->retired[i].target)
			return -ENOMEM;
		srv->retired_count++;
	}
	return 0;
}

enum host_state srv_state(const struct srv *srv)
{
	if (srv->lookup.last == ANSWER_REFUSED)
		return HOST_REFUSED;
	if (unsure(&srv->lookup)) {
		if (srv->count > 0)
			return HOST_HELD;
		return srv->lookup.good ? HOST_EXPIRED : HOST_NEVER;
	}
	return srv->lookup.last == ANSWER_ADDRESSES ? HOST_FRESH : HOST_GONE;
}

uint8_t srv_telling(const struct srv *srv)
{
	return telling(srv_state(srv), &srv->lookup);
}

static void drop_retired_targets(struct srv *srv)
{
	for (size_t i = 0; i < srv->retired_count; i++)
		free(srv->retired[i].target);
	free(srv->retired);
	srv->retired = NULL;
	srv->retired_count = 0;
}

void srv_unproven(struct srv *srv, int64_t now)
{
	doubt(&srv->lookup, srv->count, now);
	drop_retired_targets(srv);
}

void srv_clear(struct srv *srv)
{
	free_targets(srv->targets, srv->count);
	drop_retired_targets(srv);
	srv->targets = NULL;
	srv->count = 0;
}
