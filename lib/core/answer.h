/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What DNS said of one question. The five outcomes never fold into each other: two of them would
 * empty an allowlist by mistake if they did.
 */
#ifndef SIPFENCE_ANSWER_H
#define SIPFENCE_ANSWER_H

#include "addr.h"
#include "config.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an address belongs, as databases say. What could not be looked up is not `known`. */
struct origin {
	uint32_t asn;		    /* its autonomous system; 0: it is of none */
	char country[COUNTRY_SIZE]; /* "": it is of none */
	uint8_t known;		    /* of enum origin_known */
};
enum origin_known { ORIGIN_COUNTRY = 1, ORIGIN_ASN = 2 };

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
	REASON_NO_TRUSTED = 9,	 /* DNSSEC is required, and no server is a trusted one */
	REASON_NO_ORIGIN = 10,	 /* where an address belongs could not be looked up */
	REASON_BOGUS = 11,	 /* SERVFAIL, and the server says: DNSSEC validation failed */
	REASON_TOO_MANY = 16,	 /* more addresses than `limits` allows */
	REASON_OUTSIDE = 17,	 /* outside `within` */
	REASON_SPECIAL = 18,	 /* loopback, link-local, multicast, reserved, mapped */
	REASON_PRIVATE = 19,	 /* private, and `within` does not name it */
	REASON_OWN_ADDRESS = 20, /* an address of this machine */
	REASON_COUNTRY = 21, /* of another country than `within` allows, or of none that is known */
	REASON_ASN = 22,     /* of another autonomous system */
	REASON_NOT_VALIDATED = 23, /* DNSSEC is required, and no trusted resolver vouched for it */
};

struct answer {
	enum answer_kind kind;
	enum answer_reason reason;
	bool validated; /* by DNSSEC, as a trusted resolver says; no data and no name, too */
	uint32_t ttl; /* seconds, the least along the CNAME chain; of negative answers RFC 2308's */
	/* ANSWER_ADDRESSES: distinct, sorted by addr_compare; owned by whoever made the answer. For
	 * SRV `targets` instead, normalised names. */
	size_t count;
	const struct addr *addrs;
	const char *const *targets;
	/* ANSWER_REFUSED: the first address that the guard objects to; zeroed: there is none. */
	struct addr culprit;
	struct origin origin; /* of the culprit, where `within` asks for it */
};

const char *answer_reason_text(enum answer_reason reason);
/* What an admin can do about it; "": nothing that the reason does not say. */
const char *answer_reason_next(enum answer_reason reason);
/*
 * Why a guard objects to an address, in more detail where that is known: "in NL, `within` allows
 * CA". `culprit` NULL, and an `origin` of which nothing is known: there is no more to say than the
 * reason's text.
 */
void answer_refusal_print(enum answer_reason reason, const struct addr *culprit,
	const struct origin *origin, const struct guard *guard, struct text *text);

/* The prefix of `within` that `addr` lies in, the longest; NULL: none. */
const struct prefix *guard_within(const struct guard *guard, const struct addr *addr);

/* The PBX's own addresses, sorted by addr_compare. */
struct own_addresses {
	const struct addr *addrs;
	size_t count;
};

bool own_has(const struct own_addresses *own, const struct addr *addr);

/* Writes *ret_origin, whatever is known of it. */
typedef void origin_fn(void *context, const struct addr *addr, struct origin *ret_origin);

/* What a guard must know of the world. */
struct surroundings {
	struct own_addresses own;
	origin_fn *origin; /* NULL: nothing is known of any address */
	void *context;	   /* for `origin` */
};

/*
 * What DNS says of the name, refused unless it is validated; "there is none" is such a word, too.
 * An answer that says nothing of the name passes unchanged.
 */
struct answer answer_need_validated(const struct answer *answer);

/*
 * The answer as it may be used (design, section 7): refused as a whole when one address breaks a
 * rule, or when it must be validated and is not, negative ones included; "no data" when it consists
 * of 0.0.0.0 or :: alone, which is how dynamic-DNS providers say "offline"; as if it could not be
 * asked when it must be known where an address belongs, and is not. Answers of other kinds pass
 * unchanged.
 */
struct answer answer_guard(
	const struct answer *answer, const struct guard *guard, const struct surroundings *around);

#endif
