/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dns_message.h"

#include "addr.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEADER_SIZE = 12,
	WIRE_NAME_MAX = 255,
	LABEL_MAX = 63,

	FLAG_QR = 0x8000,
	FLAG_OPCODE = 0x7800,
	FLAG_AA = 0x0400,
	FLAG_TC = 0x0200,
	FLAG_RA = 0x0080,
	FLAG_AD = 0x0020,
	RCODE_MASK = 0x000f,

	RCODE_NOERROR = 0,
	RCODE_SERVFAIL = 2,
	RCODE_NXDOMAIN = 3,
	RCODE_REFUSED = 5,

	CLASS_IN = 1,
	TYPE_NS = 2,
	TYPE_CNAME = 5,
	TYPE_SOA = 6,
	TYPE_OPT = 41,

	OPTION_EDE = 15,       /* RFC 8914 */
	OPTION_FIXED_SIZE = 4, /* before its data */
	EDE_INDETERMINATE = 5, /* the first, */
	EDE_NSEC_MISSING = 12, /* and the last one of those that say: DNSSEC */

	RECORD_FIXED_SIZE = 10, /* between the owner and the data */
	SOA_FIXED_SIZE = 20,	/* behind the two names */
	SRV_FIXED_SIZE = 6,	/* before the target */
};

/* An uncompressed name in lower case. */
struct wire_name {
	uint8_t bytes[WIRE_NAME_MAX];
	size_t length; /* with the root's zero */
};

struct record {
	size_t owner; /* offset of the name */
	uint16_t type, class;
	uint32_t ttl;
	size_t data, data_length; /* offset into the message; lies within it */
};

struct message {
	const uint8_t *bytes;
	size_t length;
	uint16_t flags, questions, answers, authorities, additionals;
	size_t answer_start;
};

/* What the sections behind the answers say. */
struct verdict {
	bool soa, ns;
	uint32_t negative_ttl; /* RFC 2308, section 5 */
	uint8_t extended_rcode;
	bool bogus; /* an Extended DNS Error says so */
};

/* Where the CNAME chain ends. */
struct chain {
	struct wire_name end; /* when there are hops; without, it is the question's name */
	unsigned hops;
	uint32_t ttl;
	bool found; /* records of the asked type stand at its end */
};

static uint16_t read16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t read32(const uint8_t *bytes)
{
	return (uint32_t)read16(bytes) << 16 | read16(bytes + 2);
}

/* RFC 2181, section 8. */
static uint32_t read_ttl(const uint8_t *bytes)
{
	uint32_t ttl = read32(bytes);
	return ttl & 0x80000000U ? 0 : ttl;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

/*
 * Reads the name at *at, and moves *at behind it. A pointer must lead to before the piece that it
 * ends, so that following pointers always comes to an end.
 */
static bool name_read(const struct message *message, size_t *at, struct wire_name *ret_name)
{
	const uint8_t *bytes = message->bytes;
	size_t position = *at, piece = *at, length = 0;
	bool jumped = false;

	for (;;) {
		if (position >= message->length)
			return false;
		uint8_t label = bytes[position];
		if ((label & 0xc0) == 0xc0) {
			if (position + 2 > message->length)
				return false;
			size_t target = read16(bytes + position) & 0x3fffU;
			if (target >= piece)
				return false;
			if (!jumped)
				*at = position + 2;
			jumped = true;
			position = piece = target;
			continue;
		}
		if (label > LABEL_MAX || label >= message->length - position ||
			length + label + 1U > WIRE_NAME_MAX)
			return false;
		ret_name->bytes[length++] = label;
		position++;
		if (!label)
			break;
		for (unsigned i = 0; i < label; i++)
			ret_name->bytes[length++] = lower(bytes[position++]);
	}
	if (!jumped)
		*at = position;
	ret_name->length = length;
	return true;
}

static bool name_equal(const struct wire_name *a, const struct wire_name *b)
{
	return a->length == b->length && !memcmp(a->bytes, b->bytes, a->length);
}

/* Is it the name at *at? Moves *at behind it. In a question nothing stands before the name that it
 * could point to. */
static bool name_is(const struct message *message, size_t *at, const char *text)
{
	const uint8_t *bytes = message->bytes;
	size_t position = *at;

	while (*text) {
		size_t label = strcspn(text, ".");
		if (!label || label > LABEL_MAX || label + 1 >= message->length - position ||
			bytes[position++] != label)
			return false;
		for (size_t i = 0; i < label; i++, position++, text++) {
			/* What was asked comes back as it was. */
			if (bytes[position] != (uint8_t)*text &&
				lower(bytes[position]) != lower((uint8_t)*text))
				return false;
		}
		if (*text == '.')
			text++;
	}
	if (position >= message->length || bytes[position])
		return false;
	*at = position + 1;
	return *at - HEADER_SIZE <= WIRE_NAME_MAX;
}

/* As text without the final dot; false when a label holds what text cannot carry. */
static bool name_to_text(const struct wire_name *name, char *buffer, size_t *ret_length)
{
	size_t length = 0;

	for (size_t at = 0; name->bytes[at];) {
		size_t label = name->bytes[at++];
		if (length)
			buffer[length++] = '.';
		for (; label; label--, at++) {
			if (name->bytes[at] == '.' || !name->bytes[at])
				return false;
			buffer[length++] = (char)name->bytes[at];
		}
	}
	*ret_length = length;
	return true;
}

/* Moves *at behind a name without following its pointer. */
static bool name_skip(const struct message *message, size_t *at)
{
	size_t position = *at;

	while (position < message->length) {
		uint8_t label = message->bytes[position];
		bool pointer = (label & 0xc0) == 0xc0;
		if (label > LABEL_MAX && !pointer)
			return false;
		position += pointer ? 2U : label + 1U;
		if (pointer || !label)
			break;
	}
	*at = position;
	return position <= message->length;
}

static bool record_read(const struct message *message, size_t *at, struct record *ret_record)
{
	size_t position = *at;

	if (!name_skip(message, &position) || message->length - position < RECORD_FIXED_SIZE)
		return false;
	const uint8_t *fixed = message->bytes + position;
	ret_record->owner = *at;
	ret_record->type = read16(fixed);
	ret_record->class = read16(fixed + 2);
	ret_record->ttl = read_ttl(fixed + 4);
	ret_record->data_length = read16(fixed + 8);
	ret_record->data = position + RECORD_FIXED_SIZE;
	if (ret_record->data_length > message->length - ret_record->data)
		return false;
	*at = ret_record->data + ret_record->data_length;
	return true;
}

/* Does the record stand at the end of the chain? False when its owner cannot be read. */
static bool owner_compare(const struct message *message, const struct record *record,
	const struct chain *chain, bool *ret_same)
{
	/* What nearly every server sends: a pointer to the question. */
	if (!chain->hops && read16(message->bytes + record->owner) == (0xc000 | HEADER_SIZE)) {
		*ret_same = true;
		return true;
	}
	struct wire_name owner, question;
	const struct wire_name *end = &chain->end;
	size_t at = record->owner;
	if (!name_read(message, &at, &owner))
		return false;
	if (!chain->hops) {
		at = HEADER_SIZE;
		if (!name_read(message, &at, &question))
			return false;
		end = &question;
	}
	*ret_same = name_equal(&owner, end);
	return true;
}

/* The next record in the answer section that counts: of this type, at the end of the chain. */
static bool next_record(const struct message *message, const struct chain *chain, uint16_t type,
	size_t *at, unsigned *left, struct record *ret_record)
{
	bool same;

	for (; *left; (*left)--) {
		if (!record_read(message, at, ret_record))
			break;
		if (ret_record->class != CLASS_IN || ret_record->type != type ||
			!owner_compare(message, ret_record, chain, &same) || !same)
			continue;
		(*left)--;
		return true;
	}
	return false;
}

static bool header_read(const uint8_t *bytes, size_t length, const char *name, uint16_t type,
	struct message *message)
{
	if (length < HEADER_SIZE)
		return false;
	message->bytes = bytes;
	message->length = length;
	message->flags = read16(bytes + 2);
	message->questions = read16(bytes + 4);
	message->answers = read16(bytes + 6);
	message->authorities = read16(bytes + 8);
	message->additionals = read16(bytes + 10);
	if (!(message->flags & FLAG_QR) || message->flags & (FLAG_OPCODE | FLAG_TC))
		return false;

	unsigned rcode = message->flags & RCODE_MASK;
	/* Servers may leave the question out of an error. */
	if (!message->questions && rcode != RCODE_NOERROR && rcode != RCODE_NXDOMAIN) {
		message->answer_start = HEADER_SIZE;
		return true;
	}
	size_t at = HEADER_SIZE;
	if (message->questions != 1 || !name_is(message, &at, name) || length - at < 4 ||
		read16(bytes + at) != type || read16(bytes + at + 2) != CLASS_IN)
		return false;
	message->answer_start = at + 4;
	return true;
}

/* RFC 6891, 6.1.2; RFC 8914. Options that end outside are passed over. */
static bool options_say_bogus(const struct message *message, const struct record *opt)
{
	const uint8_t *data = message->bytes + opt->data;

	for (size_t at = 0; opt->data_length - at >= OPTION_FIXED_SIZE;) {
		uint16_t code = read16(data + at), length = read16(data + at + 2);

		at += OPTION_FIXED_SIZE;
		if (length > opt->data_length - at)
			return false;
		if (code == OPTION_EDE && length >= 2) {
			uint16_t info = read16(data + at);

			if (info >= EDE_INDETERMINATE && info <= EDE_NSEC_MISSING)
				return true;
		}
		at += length;
	}
	return false;
}

/* Checks the bounds of every record, and reads what stands behind the answers. */
static bool sections_read(struct message *message, struct verdict *ret_verdict)
{
	struct record record;
	struct wire_name skipped;
	size_t at = message->answer_start;

	*ret_verdict = (struct verdict){0};
	for (unsigned i = 0; i < message->answers; i++)
		if (!record_read(message, &at, &record))
			return false;
	for (unsigned i = 0; i < message->authorities; i++) {
		if (!record_read(message, &at, &record))
			return false;
		if (record.class != CLASS_IN)
			continue;
		if (record.type == TYPE_NS)
			ret_verdict->ns = true;
		if (record.type != TYPE_SOA || ret_verdict->soa)
			continue;
		size_t data = record.data;
		for (unsigned names = 0; names < 2; names++)
			if (!name_read(message, &data, &skipped))
				return false;
		if (data + SOA_FIXED_SIZE != record.data + record.data_length)
			return false;
		uint32_t minimum = read_ttl(message->bytes + data + 16);
		ret_verdict->soa = true;
		ret_verdict->negative_ttl = record.ttl < minimum ? record.ttl : minimum;
	}
	for (unsigned i = 0; i < message->additionals; i++) {
		size_t start = at;
		if (!record_read(message, &at, &record))
			return false;
		/* The upper bits of the rcode stand in the OPT record (RFC 6891, 6.1.3): without
		 * them BADVERS would look like "no data". */
		if (record.type != TYPE_OPT || message->bytes[start] != 0)
			continue;
		ret_verdict->extended_rcode = message->bytes[record.data - 6];
		ret_verdict->bogus |= options_say_bogus(message, &record);
	}
	return true;
}

static enum answer_reason rcode_reason(unsigned rcode)
{
	switch (rcode) {
	case RCODE_NOERROR:
	case RCODE_NXDOMAIN:
		return REASON_NONE;
	case RCODE_SERVFAIL:
		return REASON_SERVFAIL;
	case RCODE_REFUSED:
		return REASON_SERVER_REFUSED;
	default:
		return REASON_OTHER_RCODE;
	}
}

/* One step: what stands at chain->end? *ret_next is the target when a CNAME does. */
static enum answer_reason chain_step(const struct message *message, uint16_t type,
	struct chain *chain, bool *ret_alias, struct wire_name *ret_next)
{
	struct record record;
	size_t at = message->answer_start;
	bool alias = false, same;
	uint32_t ttl = UINT32_MAX;

	for (unsigned i = 0; i < message->answers; i++) {
		if (!record_read(message, &at, &record))
			return REASON_GARBAGE;
		if (record.class != CLASS_IN || (record.type != type && record.type != TYPE_CNAME))
			continue;
		if (!owner_compare(message, &record, chain, &same))
			return REASON_GARBAGE;
		if (!same)
			continue;
		ttl = record.ttl < ttl ? record.ttl : ttl;
		if (record.type == type) {
			chain->found = true;
			continue;
		}
		struct wire_name target;
		size_t data = record.data;
		if (!name_read(message, &data, &target) || data != record.data + record.data_length)
			return REASON_GARBAGE;
		if (alias && !name_equal(&target, ret_next))
			return REASON_GARBAGE;
		alias = true;
		*ret_next = target;
	}
	if (alias && chain->found)
		return REASON_GARBAGE;
	chain->ttl = ttl < chain->ttl ? ttl : chain->ttl;
	*ret_alias = alias;
	return REASON_NONE;
}

static enum answer_reason chain_follow(
	const struct message *message, uint16_t type, struct chain *chain)
{
	struct wire_name next;
	bool alias;

	next.length = 0;
	chain->hops = 0;
	chain->ttl = UINT32_MAX;
	chain->found = false;
	for (;;) {
		enum answer_reason reason = chain_step(message, type, chain, &alias, &next);
		if (reason || !alias)
			return reason;
		if (++chain->hops > DNS_MAX_CHAIN)
			return REASON_CNAME_LOOP;
		chain->end = next;
	}
}

static int compare_addrs(const void *a, const void *b)
{
	return addr_compare(a, b);
}

static bool collect_addrs(const struct message *message, const struct chain *chain, uint16_t type,
	struct dns_scratch *scratch, struct answer *answer)
{
	enum family family = type == DNS_A ? FAMILY_IPV4 : FAMILY_IPV6;
	size_t size = type == DNS_A ? 4 : 16, at = message->answer_start, count = 0, kept = 0;
	unsigned left = message->answers;
	bool surplus = false;
	struct record record;

	while (next_record(message, chain, type, &at, &left, &record)) {
		if (record.data_length != size)
			return false;
		/* Duplicates must not hide what there is no room for. */
		surplus = count == DNS_MAX_RECORDS;
		if (surplus)
			continue;
		struct addr *addr = &scratch->addrs[count++];
		*addr = (struct addr){.family = (uint8_t)family};
		memcpy(addr->bytes, message->bytes + record.data, size);
	}
	if (count > 1)
		qsort(scratch->addrs, count, sizeof(scratch->addrs[0]), compare_addrs);
	for (size_t i = 0; i < count; i++)
		if (surplus || !kept || !addr_equal(&scratch->addrs[kept - 1], &scratch->addrs[i]))
			scratch->addrs[kept++] = scratch->addrs[i];
	answer->kind = ANSWER_ADDRESSES;
	answer->addrs = scratch->addrs;
	answer->count = kept;
	return true;
}

/* Keeps scratch->targets sorted and distinct. */
static void target_insert(struct dns_scratch *scratch, size_t *count, const char *target)
{
	size_t at = *count;

	if (at == DNS_MAX_TARGETS)
		return;
	for (size_t i = 0; i < *count; i++) {
		int order = strcmp(target, scratch->targets[i]);
		if (!order)
			return;
		if (order < 0) {
			at = i;
			break;
		}
	}
	memmove(&scratch->targets[at + 1], &scratch->targets[at],
		(*count - at) * sizeof(scratch->targets[0]));
	scratch->targets[at] = memcpy(scratch->target_text[*count], target, strlen(target) + 1);
	(*count)++;
}

static bool collect_targets(const struct message *message, const struct chain *chain,
	struct dns_scratch *scratch, struct answer *answer)
{
	struct record record;
	size_t at = message->answer_start, count = 0;
	unsigned left = message->answers;
	bool no_service = false;

	while (next_record(message, chain, DNS_SRV, &at, &left, &record)) {
		struct wire_name wire;
		size_t data = record.data + SRV_FIXED_SIZE;
		if (!name_read(message, &data, &wire) || data != record.data + record.data_length)
			return false;
		char text[WIRE_NAME_MAX], target[FQDN_SIZE];
		size_t length, offset;
		if (wire.length == 1)
			no_service = true;
		else if (name_to_text(&wire, text, &length) &&
			 fqdn_parse(text, length, target, &offset) == FQDN_OK)
			target_insert(scratch, &count, target);
	}
	/* All targets unusable is not the owner's word that there is no service. */
	if (!count && !no_service)
		return false;
	answer->kind = count ? ANSWER_ADDRESSES : ANSWER_NO_DATA;
	answer->targets = count ? scratch->targets : NULL;
	answer->count = count;
	return true;
}

/* Of a message that says SERVFAIL. */
static enum answer_reason failure_reason(struct message *message)
{
	struct verdict verdict;

	return sections_read(message, &verdict) && verdict.bogus ? REASON_BOGUS : REASON_SERVFAIL;
}

static struct answer could_not_ask(enum answer_reason reason)
{
	return (struct answer){.kind = ANSWER_COULD_NOT_ASK, .reason = reason};
}

/* No record of the asked type stands at the end of the chain. */
static struct answer negative(
	const struct message *message, const struct verdict *verdict, const struct chain *chain)
{
	bool name_error = (message->flags & RCODE_MASK) == RCODE_NXDOMAIN;

	if (!name_error && !verdict->soa) {
		if (verdict->ns && !(message->flags & FLAG_AA))
			return could_not_ask(REASON_REFERRAL);
		/* A server that does not recurse followed an alias to where it knows nothing. */
		if (chain->hops && !(message->flags & FLAG_RA))
			return could_not_ask(REASON_REFERRAL);
	}
	uint32_t ttl = verdict->negative_ttl;
	return (struct answer){
		.kind = name_error ? ANSWER_NO_NAME : ANSWER_NO_DATA,
		.ttl = ttl < chain->ttl ? ttl : chain->ttl,
		.validated = (message->flags & FLAG_AD) != 0,
	};
}

struct answer dns_decode(const uint8_t *bytes, size_t length, const char *name, enum dns_type type,
	struct dns_scratch *scratch)
{
	struct message message;
	struct verdict verdict;
	struct chain chain;
	struct answer answer = {0};

	if (!header_read(bytes, length, name, (uint16_t)type, &message))
		return could_not_ask(REASON_GARBAGE);
	unsigned rcode = message.flags & RCODE_MASK;
	enum answer_reason reason = rcode_reason(rcode);
	if (reason == REASON_SERVFAIL)
		reason = failure_reason(&message);
	if (reason)
		return could_not_ask(reason);
	if (!sections_read(&message, &verdict))
		return could_not_ask(REASON_GARBAGE);
	if (verdict.extended_rcode)
		return could_not_ask(REASON_OTHER_RCODE);
	reason = chain_follow(&message, (uint16_t)type, &chain);
	if (reason)
		return could_not_ask(reason);
	if (!chain.found)
		return negative(&message, &verdict, &chain);
	if (rcode == RCODE_NXDOMAIN)
		return could_not_ask(REASON_GARBAGE);

	bool good = type == DNS_SRV
			    ? collect_targets(&message, &chain, scratch, &answer)
			    : collect_addrs(&message, &chain, (uint16_t)type, scratch, &answer);
	if (!good)
		return could_not_ask(REASON_GARBAGE);
	answer.ttl = chain.ttl;
	answer.validated = (message.flags & FLAG_AD) != 0;
	return answer;
}
