/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "account.h"

#include <stdio.h>
#include <string.h>

enum { MARGIN_MS = 2500 }; /* the engine counts whole seconds */

struct account_name *account_find(struct account *account, const char *name)
{
	for (size_t i = 0; i < account->count; i++) {
		if (strcmp(account->names[i].name, name) == 0)
			return &account->names[i];
	}
	return NULL;
}

struct account_name *account_add(struct account *account, const char *name, bool of_peer)
{
	struct account_name *found = account_find(account, name);

	if (found)
		return found;
	if (account->count == ACCOUNT_NAMES)
		return NULL;
	found = &account->names[account->count++];
	memset(found, 0, sizeof(*found));
	snprintf(found->name, sizeof(found->name), "%s", name);
	found->of_peer = of_peer;
	return found;
}

void account_remove(struct account *account, const char *name)
{
	struct account_name *found = account_find(account, name);

	if (found)
		*found = account->names[--account->count];
}

/* --- Is it in force? --- */

static bool surely_within(const struct account *account, struct stamp since, int64_t limit)
{
	return account->now.most - since.most < limit - MARGIN_MS;
}

static bool maybe_within(const struct account *account, struct stamp since, int64_t limit)
{
	return account->now.least - since.least < limit + MARGIN_MS;
}

static bool surely_in_force(const struct account *account, const struct tale *tale)
{
	if (tale->count == 0 || tale->doubtful)
		return false;
	if (tale->fresh)
		return true;
	return tale->none ? surely_within(account, tale->none_since, account->rules.gone)
			  : surely_within(account, tale->good, account->rules.hold);
}

static bool maybe_in_force(const struct account *account, const struct tale *tale)
{
	if (tale->count == 0)
		return false;
	if (tale->fresh)
		return true;
	return tale->none ? maybe_within(account, tale->none_since, account->rules.gone)
			  : maybe_within(account, tale->good, account->rules.hold);
}

static int64_t linger_of(const struct account *account, const struct account_name *name)
{
	return account->rules.linger[name->of_peer ? OWNER_PEER : OWNER_EXTENSION];
}

/* --- Answers --- */

static bool same_value(const struct value *a, const struct value *b)
{
	return strcmp(a->target, b->target) == 0 && addr_equal(&a->addr, &b->addr);
}

static bool has_value(const struct value *values, size_t count, const struct value *value)
{
	for (size_t i = 0; i < count; i++) {
		if (same_value(&values[i], value))
			return true;
	}
	return false;
}

static bool is_zero(const struct addr *addr)
{
	static const uint8_t zeroes[16];

	return memcmp(addr->bytes, zeroes, sizeof(zeroes)) == 0;
}

/* By the few kinds of bad addresses that the dice of replay_year know. */
static bool is_forbidden(const struct account_name *name, const struct addr *addr)
{
	const uint8_t *b = addr->bytes;

	if (addr->family == FAMILY_IPV6)
		return name->within || is_zero(addr);
	return b[0] == 127 || b[0] == 10 || b[0] == 0 ||
	       (name->within && (b[0] != 203 || b[1] != 0 || b[2] != 113));
}

enum verdict { VERDICT_GOOD, VERDICT_NONE, VERDICT_NOTHING };

static enum verdict judge(const struct account_name *name, int tale, const struct answer *answer)
{
	enum { MOST_OF_EXTENSION = 8, MOST_OF_PEER = 64 };
	bool all_zero = true;

	if (answer->kind == ANSWER_NO_DATA || answer->kind == ANSWER_NO_NAME)
		return VERDICT_NONE;
	if (answer->kind != ANSWER_ADDRESSES)
		return VERDICT_NOTHING;
	if (tale == TALE_SRV)
		return VERDICT_GOOD;
	for (size_t i = 0; i < answer->count; i++)
		all_zero &= is_zero(&answer->addrs[i]);
	if (all_zero)
		return VERDICT_NONE;
	for (size_t i = 0; i < answer->count; i++) {
		if (is_forbidden(name, &answer->addrs[i]))
			return VERDICT_NOTHING;
	}
	return answer->count > (name->of_peer ? MOST_OF_PEER : MOST_OF_EXTENSION) ? VERDICT_NOTHING
										  : VERDICT_GOOD;
}

static size_t read_values(
	int tale, const struct answer *answer, struct value values[ACCOUNT_VALUES])
{
	size_t count = answer->count < ACCOUNT_VALUES ? answer->count : ACCOUNT_VALUES;

	memset(values, 0, ACCOUNT_VALUES * sizeof(*values));
	for (size_t i = 0; i < count; i++) {
		if (tale == TALE_SRV)
			snprintf(values[i].target, sizeof(values[i].target), "%s",
				answer->targets[i]);
		else
			values[i].addr = answer->addrs[i];
	}
	return count;
}

static void retire(struct tale *tale, const struct retired_value *retired)
{
	if (tale->retired_count == ACCOUNT_RETIRED) {
		memmove(tale->retired, tale->retired + 1,
			(ACCOUNT_RETIRED - 1) * sizeof(*tale->retired));
		tale->retired_count--;
	}
	tale->retired[tale->retired_count++] = *retired;
}

/* What the new answer has no more goes on for a while; what it has again is no rest any more. */
static void replace(struct account *account, struct account_name *name, struct tale *tale,
	const struct value *values, size_t count)
{
	bool surely = surely_in_force(account, tale), maybe = maybe_in_force(account, tale);
	size_t kept = 0;
	bool changed = tale->count != count || !surely;

	for (size_t i = 0; i < tale->count; i++) {
		struct retired_value retired = {
			.value = tale->values[i], .when = account->now, .doubtful = !surely};

		if (has_value(values, count, &tale->values[i]))
			continue;
		changed = true;
		if (maybe && linger_of(account, name) > 0)
			retire(tale, &retired);
	}
	for (size_t i = 0; i < tale->retired_count; i++) {
		if (!has_value(values, count, &tale->retired[i].value))
			tale->retired[kept++] = tale->retired[i];
	}
	tale->retired_count = kept;
	memcpy(tale->values, values, sizeof(tale->values));
	tale->count = count;
	account->changes += changed;
}

void account_take(struct account *account, const char *name, int which, const struct answer *answer)
{
	struct account_name *found = account_find(account, name);
	struct value values[ACCOUNT_VALUES];
	struct tale *tale;
	size_t count;

	if (!found)
		return;
	tale = &found->tales[which];
	switch (judge(found, which, answer)) {
	case VERDICT_NOTHING:
		tale->doubtful |= !surely_in_force(account, tale);
		tale->fresh = false;
		return;
	case VERDICT_NONE:
		tale->doubtful |= !surely_in_force(account, tale);
		tale->fresh = false;
		if (!tale->none)
			tale->none_since = account->now;
		tale->none = true;
		return;
	case VERDICT_GOOD:
		count = read_values(which, answer, values);
		replace(account, found, tale, values, count);
		tale->fresh = true;
		tale->none = tale->doubtful = false;
		tale->good = account->now;
		return;
	}
}

/* --- Time --- */

static void pass_tale(struct account *account, struct tale *tale, int64_t linger)
{
	size_t kept = 0;

	if (tale->count > 0 && !maybe_in_force(account, tale)) {
		tale->count = 0;
		account->changes++;
	}
	for (size_t i = 0; i < tale->retired_count; i++) {
		if (maybe_within(account, tale->retired[i].when, linger))
			tale->retired[kept++] = tale->retired[i];
		else
			account->changes++;
	}
	tale->retired_count = kept;
}

void account_pass(struct account *account)
{
	for (size_t i = 0; i < account->count; i++) {
		struct account_name *name = &account->names[i];

		for (int tale = 0; tale < TALE_COUNT; tale++)
			pass_tale(account, &name->tales[tale], linger_of(account, name));
	}
}

/* What may have left by the old rules does not surely count by new ones, however generous. */
static void doubt(const struct account *account, struct tale *tale, int64_t linger)
{
	tale->doubtful |= !surely_in_force(account, tale);
	for (size_t i = 0; i < tale->retired_count; i++)
		tale->retired[i].doubtful |= !surely_within(account, tale->retired[i].when, linger);
}

void account_rule(struct account *account, const struct account_rules *rules)
{
	account_pass(account);
	for (size_t i = 0; i < account->count; i++) {
		struct account_name *name = &account->names[i];

		for (int tale = 0; tale < TALE_COUNT; tale++)
			doubt(account, &name->tales[tale], linger_of(account, name));
	}
	account->rules = *rules;
	account_pass(account);
}

void account_guard(struct account *account, struct account_name *name, bool within)
{
	if (name->within == within)
		return;
	name->within = within;
	account->changes++;
	for (int which = TALE_A; which <= TALE_AAAA; which++) {
		struct tale *tale = &name->tales[which];
		size_t kept = 0;

		for (size_t i = 0; i < tale->count; i++) {
			if (!is_forbidden(name, &tale->values[i].addr))
				tale->values[kept++] = tale->values[i];
		}
		tale->count = kept;
		kept = 0;
		for (size_t i = 0; i < tale->retired_count; i++) {
			if (!is_forbidden(name, &tale->retired[i].value.addr))
				tale->retired[kept++] = tale->retired[i];
		}
		tale->retired_count = kept;
		tale->fresh = false;
	}
}

void account_restart(struct account *account)
{
	for (size_t i = 0; i < account->count; i++) {
		for (int tale = 0; tale < TALE_COUNT; tale++)
			account->names[i].tales[tale].fresh = false;
	}
	account_pass(account);
}

void account_list(const struct account *account, const struct account_name *name, int which,
	account_tell_fn *tell, void *context)
{
	const struct tale *tale = &name->tales[which];
	int64_t linger = linger_of(account, name);

	for (size_t i = 0; i < tale->count && maybe_in_force(account, tale); i++)
		tell(context, name, &tale->values[i], surely_in_force(account, tale));
	for (size_t i = 0; i < tale->retired_count; i++) {
		const struct retired_value *retired = &tale->retired[i];

		if (linger > 0 && maybe_within(account, retired->when, linger))
			tell(context, name, &retired->value,
				!retired->doubtful &&
					surely_within(account, retired->when, linger));
	}
}
