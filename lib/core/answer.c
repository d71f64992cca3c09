/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "answer.h"

const char *answer_reason_text(enum answer_reason reason)
{
	switch (reason) {
	case REASON_NONE:
		return "";
	case REASON_TIMEOUT:
		return "no answer in time";
	case REASON_SERVFAIL:
		return "the server failed (SERVFAIL)";
	case REASON_SERVER_REFUSED:
		return "the server refuses to answer us (REFUSED)";
	case REASON_OTHER_RCODE:
		return "the server answers with an error code";
	case REASON_GARBAGE:
		return "the answer is malformed";
	case REASON_CNAME_LOOP:
		return "its CNAME chain is a loop or too long";
	case REASON_REFERRAL:
		return "the server knows nothing of it and points elsewhere (lame delegation)";
	case REASON_NO_SERVER:
		return "no DNS server can be reached";
	case REASON_TOO_MANY:
		return "more addresses than `limits` allows";
	case REASON_OUTSIDE:
		return "outside `within`";
	case REASON_SPECIAL:
		return "not an address that a phone can have";
	case REASON_PRIVATE:
		return "private, and `within` does not name it";
	case REASON_OWN_ADDRESS:
		return "an address of this machine";
	}
	return "an unknown reason";
}

bool own_has(const struct own_addresses *own, const struct addr *addr)
{
	size_t low = 0, high = own->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = addr_compare(&own->addrs[middle], addr);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

const struct prefix *guard_within(const struct guard *guard, const struct addr *addr)
{
	const struct prefix *found = NULL;

	/* Sorted: of those that hold the address, a longer one stands behind. */
	for (size_t i = 0; i < guard->within_count; i++) {
		if (prefix_contains(&guard->within[i], addr))
			found = &guard->within[i];
	}
	return found;
}

/* Does `within` speak of private addresses there? 0.0.0.0/0 does not. */
static bool names_private(const struct prefix *within)
{
	struct addr last = prefix_last(within);

	return addr_special(&within->addr) == ADDR_PRIVATE && addr_special(&last) == ADDR_PRIVATE;
}

static enum answer_reason judge(
	const struct addr *addr, const struct guard *guard, const struct own_addresses *own)
{
	enum addr_special special = addr_special(addr);
	const struct prefix *within;

	/* Never permitted, whatever `within` says. */
	if (special != ADDR_ORDINARY && special != ADDR_PRIVATE)
		return REASON_SPECIAL;
	if (own_has(own, addr))
		return REASON_OWN_ADDRESS;
	within = guard_within(guard, addr);
	if (guard->within_count > 0 && !within)
		return REASON_OUTSIDE;
	if (special == ADDR_PRIVATE && !(within && names_private(within)))
		return REASON_PRIVATE;
	return REASON_NONE;
}

struct answer answer_guard(
	const struct answer *answer, const struct guard *guard, const struct own_addresses *own)
{
	struct answer result = *answer;

	if (answer->kind != ANSWER_ADDRESSES)
		return result;
	if (answer->count == 1 && addr_special(&answer->addrs[0]) == ADDR_UNSPECIFIED) {
		return (struct answer){.kind = ANSWER_NO_DATA, .ttl = answer->ttl};
	}
	result.reason = REASON_NONE;
	if (answer->count > guard->max_addresses) {
		result.reason = REASON_TOO_MANY;
		result.culprit = answer->addrs[0];
	}
	for (size_t i = 0; i < answer->count && !result.reason; i++) {
		result.reason = judge(&answer->addrs[i], guard, own);
		result.culprit = answer->addrs[i];
	}
	if (!result.reason)
		return result;
	return (struct answer){
		.kind = ANSWER_REFUSED,
		.reason = result.reason,
		.ttl = answer->ttl,
		.count = answer->count,
		.culprit = result.culprit,
	};
}
