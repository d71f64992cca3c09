/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DNS message (RFC 1035 section 4) -> struct answer. Pure: bytes in, value out, no c-ares.
 *
 * The transport has matched id, source and question already; the question is checked here once
 * more. Only the CNAME chain that starts at the asked name counts: records of other owners in the
 * answer section are ignored.
 */
#ifndef SIPFENCE_DNS_MESSAGE_H
#define SIPFENCE_DNS_MESSAGE_H

#include "answer.h"
#include "fqdn.h"

#include <stddef.h>
#include <stdint.h>

enum dns_type { DNS_A = 1, DNS_SRV = 33, DNS_AAAA = 28 };

enum { DNS_MAX_RECORDS = 1024, DNS_MAX_TARGETS = 64, DNS_MAX_CHAIN = 16 };

/* Memory that a decoded answer points into; valid until the next decode with it. */
struct dns_scratch {
	struct addr addrs[DNS_MAX_RECORDS];
	char target_text[DNS_MAX_TARGETS][FQDN_SIZE];
	const char *targets[DNS_MAX_TARGETS];
};

/*
 * Always gives an answer: what cannot be read is ANSWER_COULD_NOT_ASK with its reason. `name` is
 * normalised (fqdn.h).
 *
 * `validated` is the message's AD bit (RFC 4035, 3.2.3): what it is worth depends on who sent it.
 * A SERVFAIL with an Extended DNS Error (RFC 8914) that says why is REASON_BOGUS when that is
 * DNSSEC.
 *
 * More address records than DNS_MAX_RECORDS: the surplus is not kept, and `count` is
 * DNS_MAX_RECORDS, larger than any limit in a config; `addrs` is sorted, but then not distinct.
 * More distinct SRV targets than DNS_MAX_TARGETS: the first ones in the message are the answer, the
 * others are passed over.
 */
struct answer dns_decode(const uint8_t *message, size_t length, const char *name,
	enum dns_type type, struct dns_scratch *scratch);

#endif
