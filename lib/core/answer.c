/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "answer.h"

#include <string.h>

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
	case REASON_NO_TRUSTED:
		return "DNSSEC is required, and no trusted resolver can be asked";
	case REASON_NO_ORIGIN:
		return "where its address belongs cannot be looked up";
	case REASON_BOGUS:
		return "DNSSEC validation failed at the resolver (SERVFAIL)";
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
	case REASON_COUNTRY:
		return "not in a country that `within` allows";
	case REASON_ASN:
		return "not of an autonomous system that `within` allows";
	case REASON_NOT_VALIDATED:
		return "not validated by DNSSEC";
	}
	return "an unknown reason";
}

static void print_countries(const struct guard *guard, size_t most, struct text *text)
{
	for (size_t i = 0; i < guard->country_count && i < most; i++)
		text_printf(text, "%s%s", i ? ", " : "", guard->countries[i]);
	if (guard->country_count > most)
		text_printf(text, " and %zu more", guard->country_count - most);
}

static void print_asns(const struct guard *guard, size_t most, struct text *text)
{
	for (size_t i = 0; i < guard->asn_count && i < most; i++)
		text_printf(text, "%sAS%lu", i ? ", " : "", (unsigned long)guard->asns[i]);
	if (guard->asn_count > most)
		text_printf(text, " and %zu more", guard->asn_count - most);
}

void answer_refusal_print(enum answer_reason reason, const struct addr *culprit,
	const struct origin *origin, const struct guard *guard, struct text *text)
{
	enum { LISTED = 8 };

	if (reason == REASON_COUNTRY && origin->known & ORIGIN_COUNTRY) {
		if (origin->country[0])
			text_printf(text, "in %s, `within` allows ", origin->country);
		else
			text_puts(text, "of no country that the database knows, `within` allows ");
		print_countries(guard, LISTED, text);
	} else if (reason == REASON_ASN && origin->known & ORIGIN_ASN) {
		if (origin->asn)
			text_printf(text, "of AS%lu, `within` allows ", (unsigned long)origin->asn);
		else
			text_puts(text, "of no AS that the database knows, `within` allows ");
		print_asns(guard, LISTED, text);
	} else if (reason == REASON_SPECIAL && culprit) {
		text_puts(text, addr_special_name(addr_special(culprit)));
	} else {
		text_puts(text, answer_reason_text(reason));
	}
}

const char *answer_reason_next(enum answer_reason reason)
{
	switch (reason) {
	case REASON_NO_TRUSTED:
		return "point resolver.servers at a validating resolver on this machine, or add it "
		       "to resolver.trusted";
	case REASON_NOT_VALIDATED:
		return "see that the name's zone is signed, and that the resolver validates (delv "
		       "NAME, or dig +adflag NAME)";
	case REASON_BOGUS:
		return "see which signature is wrong (delv NAME) and that this machine's clock is "
		       "right; it may be an attack";
	case REASON_OUTSIDE:
	case REASON_COUNTRY:
	case REASON_ASN:
		return "if the phone is not there, somebody else has changed the record: change the "
		       "password of the dynamic-DNS account; if it is, add that to `within`";
	case REASON_PRIVATE:
		return "the phone's dynamic-DNS client gives its address behind the router: have it "
		       "give the public one; or, if the phone is reached by that address, name it in "
		       "`within`";
	default:
		return "";
	}
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

static bool allows_country(const struct guard *guard, const char *country)
{
	for (size_t i = 0; i < guard->country_count; i++)
		if (strcmp(guard->countries[i], country) == 0)
			return true;
	return guard->country_count == 0;
}

static bool allows_asn(const struct guard *guard, uint32_t asn)
{
	for (size_t i = 0; i < guard->asn_count; i++)
		if (guard->asns[i] == asn)
			return true;
	return guard->asn_count == 0;
}

static enum answer_reason judge_origin(const struct addr *addr, const struct guard *guard,
	const struct surroundings *around, struct origin *ret_origin)
{
	unsigned needed =
		(guard->country_count ? ORIGIN_COUNTRY : 0u) | (guard->asn_count ? ORIGIN_ASN : 0u);
	struct origin origin = {0};

	if (!needed)
		return REASON_NONE;
	if (around->origin)
		around->origin(around->context, addr, &origin);
	*ret_origin = origin;
	if (origin.known & ORIGIN_COUNTRY && !allows_country(guard, origin.country))
		return REASON_COUNTRY;
	if (origin.known & ORIGIN_ASN && !allows_asn(guard, origin.asn))
		return REASON_ASN;
	return (origin.known & needed) == needed ? REASON_NONE : REASON_NO_ORIGIN;
}

static enum answer_reason judge(const struct addr *addr, const struct guard *guard,
	const struct surroundings *around, struct origin *ret_origin)
{
	enum addr_special special = addr_special(addr);
	const struct prefix *within;

	/* Never permitted, whatever `within` says. */
	if (special != ADDR_ORDINARY && special != ADDR_PRIVATE)
		return REASON_SPECIAL;
	if (own_has(&around->own, addr))
		return REASON_OWN_ADDRESS;
	within = guard_within(guard, addr);
	if (guard->within_count > 0 && !within)
		return REASON_OUTSIDE;
	if (special == ADDR_PRIVATE && !(within && names_private(within)))
		return REASON_PRIVATE;
	/* A private address belongs nowhere; `within` has named it. */
	return special == ADDR_PRIVATE ? REASON_NONE
				       : judge_origin(addr, guard, around, ret_origin);
}

struct answer answer_need_validated(const struct answer *answer)
{
	bool says_something = answer->kind == ANSWER_ADDRESSES || answer->kind == ANSWER_NO_DATA ||
			      answer->kind == ANSWER_NO_NAME;
	struct answer refused = {
		.kind = ANSWER_REFUSED,
		.reason = REASON_NOT_VALIDATED,
		.ttl = answer->ttl,
		.count = answer->count,
	};

	if (!says_something || answer->validated)
		return *answer;
	if (answer->count > 0 && answer->addrs)
		refused.culprit = answer->addrs[0];
	return refused;
}

/* A refusal says more than that something could not be looked up. */
static enum answer_reason judge_all(const struct answer *answer, const struct guard *guard,
	const struct surroundings *around, struct answer *result)
{
	enum answer_reason found = REASON_NONE;

	for (size_t i = 0; i < answer->count; i++) {
		struct origin origin = {0};
		enum answer_reason reason = judge(&answer->addrs[i], guard, around, &origin);

		if (!reason || (reason == REASON_NO_ORIGIN && found))
			continue;
		found = reason;
		result->culprit = answer->addrs[i];
		result->origin = origin;
		if (reason != REASON_NO_ORIGIN)
			break;
	}
	return found;
}

struct answer answer_guard(
	const struct answer *answer, const struct guard *guard, const struct surroundings *around)
{
	struct answer result = guard->require_dnssec ? answer_need_validated(answer) : *answer;

	if (result.kind != ANSWER_ADDRESSES)
		return result;
	if (answer->count == 1 && addr_special(&answer->addrs[0]) == ADDR_UNSPECIFIED) {
		return (struct answer){.kind = ANSWER_NO_DATA, .ttl = answer->ttl};
	}
	result.reason = REASON_NONE;
	if (answer->count > guard->max_addresses) {
		result.reason = REASON_TOO_MANY;
		result.culprit = answer->addrs[0];
	} else {
		result.reason = judge_all(answer, guard, around, &result);
	}
	if (!result.reason)
		return result;
	return (struct answer){
		.kind = result.reason == REASON_NO_ORIGIN ? ANSWER_COULD_NOT_ASK : ANSWER_REFUSED,
		.reason = result.reason,
		.ttl = answer->ttl,
		.count = answer->count,
		.culprit = result.culprit,
		.origin = result.origin,
	};
}
