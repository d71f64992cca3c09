/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What DNS said of one question. The five outcomes never fold into each other: two of them would
 * empty an allowlist by mistake if they did.
 */
#ifndef SIPFENCE_ANSWER_H
#define SIPFENCE_ANSWER_H

#include "addr.h"
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum answer_kind {
	ANSWER_NEVER = 0,     /* not asked yet in this run */
	ANSWER_ADDRESSES,     /* for SRV: targets */
	ANSWER_NO_DATA,	      /* NOERROR without a record of the type (RFC 2308 2.2) */
	ANSWER_NO_NAME,	      /* NXDOMAIN */
	ANSWER_COULD_NOT_ASK, /* nobody said anything that counts */
	ANSWER_REFUSED,	      /* an answer came, and a guard refused it */
};

/* Why, for ANSWER_COULD_NOT_ASK and ANSWER_REFUSED. Stable numbers: they are saved. */
enum answer_reason {
	REASON_NONE = 0,
	REASON_TIMEOUT = 1,
	REASON_SERVFAIL = 2,
	REASON_SERVER_REFUSED = 3,
	REASON_OTHER_RCODE = 4,	 /* FORMERR, NOTIMP, … */
	REASON_GARBAGE = 5,	 /* not a DNS message, or one that contradicts itself */
	REASON_CNAME_LOOP = 6,	 /* a loop, or a chain of over 16 */
	REASON_REFERRAL = 7,	 /* a lame server points elsewhere */
	REASON_NO_SERVER = 8,	 /* connection refused, network unreachable, no server known */
	REASON_TOO_MANY = 16,	 /* more addresses than `limits` allows */
	REASON_OUTSIDE = 17,	 /* outside `within` */
	REASON_SPECIAL = 18,	 /* loopback, link-local, multicast, reserved, mapped */
	REASON_PRIVATE = 19,	 /* private, and `within` does not name it */
	REASON_OWN_ADDRESS = 20, /* an address of this machine */
};

struct answer {
	enum answer_kind kind;
	enum answer_reason reason;
	uint32_t ttl; /* seconds, the least along the CNAME chain; of negative answers RFC 2308's */
	/* ANSWER_ADDRESSES: distinct, sorted by addr_compare; owned by whoever made the answer. For
	 * SRV `targets` instead, normalised names. */
	size_t count;
	const struct addr *addrs;
	const char *const *targets;
	struct addr culprit; /* ANSWER_REFUSED: the first address that the guard objects to */
};

const char *answer_reason_text(enum answer_reason reason);

/* The prefix of `within` that `addr` lies in, the longest; NULL: none. */
const struct prefix *guard_within(const struct guard *guard, const struct addr *addr);

/* The PBX's own addresses, sorted by addr_compare. */
struct own_addresses {
	const struct addr *addrs;
	size_t count;
};

bool own_has(const struct own_addresses *own, const struct addr *addr);

/*
 * The answer as it may be used (design, section 7): refused as a whole when one address breaks a
 * rule; "no data" when it consists of 0.0.0.0 or :: alone, which is how dynamic-DNS providers say
 * "offline". Answers of other kinds pass unchanged.
 */
struct answer answer_guard(
	const struct answer *answer, const struct guard *guard, const struct own_addresses *own);

#endif
