/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dns_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum {
	MESSAGE_SIZE = 65535,
	NS = 2,
	CNAME = 5,
	SOA = 6,
	TXT = 16,
	OPT = 41,
	QR = 0x8000,
	AA = 0x0400,
	TC = 0x0200,
	RD = 0x0100,
	RA = 0x0080,
};

#define ASKED "phone.example.org"

/* A message under construction. */
struct builder {
	uint8_t bytes[MESSAGE_SIZE];
	size_t length;
	size_t rdata; /* where the record that is open has its data */
};

static struct builder b;
static struct dns_scratch scratch;

static void put16(unsigned value)
{
	b.bytes[b.length++] = (uint8_t)(value >> 8);
	b.bytes[b.length++] = (uint8_t)value;
}

static void put32(uint32_t value)
{
	put16(value >> 16);
	put16(value & 0xffff);
}

static void put_name(const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");
		b.bytes[b.length++] = (uint8_t)label;
		memcpy(b.bytes + b.length, name, label);
		b.length += label;
		name += label + (name[label] == '.');
	}
	b.bytes[b.length++] = 0;
}

static void start(unsigned flags, const char *name, unsigned type)
{
	memset(&b, 0, sizeof(b));
	put16(0x1234);
	put16(flags);
	put16(1);
	put16(0);
	put32(0);
	put_name(name);
	put16(type);
	put16(1);
}

static void count_record(unsigned section)
{
	uint8_t *count = b.bytes + 6 + 2 * section;
	unsigned value = (unsigned)(count[0] << 8 | count[1]) + 1;

	count[0] = (uint8_t)(value >> 8);
	count[1] = (uint8_t)value;
}

/* section 0: answer, 1: authority, 2: additional; owner NULL: a pointer to the question. */
static void open_record(unsigned section, const char *owner, unsigned type, uint32_t ttl)
{
	count_record(section);
	if (owner)
		put_name(owner);
	else
		put16(0xc00c);
	put16(type);
	put16(1);
	put32(ttl);
	put16(0);
	b.rdata = b.length;
}

static void close_record(void)
{
	size_t length = b.length - b.rdata;

	b.bytes[b.rdata - 2] = (uint8_t)(length >> 8);
	b.bytes[b.rdata - 1] = (uint8_t)length;
}

static void put_a(const char *owner, uint32_t ttl, uint32_t address)
{
	open_record(0, owner, DNS_A, ttl);
	put32(address);
	close_record();
}

static void put_cname(const char *owner, uint32_t ttl, const char *target)
{
	open_record(0, owner, CNAME, ttl);
	put_name(target);
	close_record();
}

static void put_soa(uint32_t ttl, uint32_t minimum)
{
	open_record(1, "example.org", SOA, ttl);
	put_name("ns.example.org");
	put_name("admin.example.org");
	for (unsigned i = 0; i < 4; i++)
		put32(7);
	put32(minimum);
	close_record();
}

static void put_srv(unsigned priority, const char *target)
{
	open_record(0, NULL, DNS_SRV, 60);
	put16(priority);
	put16(1);
	put16(5060);
	put_name(target);
	close_record();
}

/* From memory of exactly this size, so that a sanitizer sees a byte read too far. */
static struct answer decode_bytes(const uint8_t *bytes, size_t length, enum dns_type type)
{
	uint8_t *copy = malloc(length ? length : 1);

	assert_non_null(copy);
	if (length)
		memcpy(copy, bytes, length);
	struct answer answer = dns_decode(copy, length, ASKED, type, &scratch);
	free(copy);
	return answer;
}

static struct answer decode(enum dns_type type)
{
	return decode_bytes(b.bytes, b.length, type);
}

static void assert_answer(
	enum answer_kind kind, enum answer_reason reason, uint32_t ttl, enum dns_type type)
{
	struct answer answer = decode(type);

	assert_int_equal(answer.kind, kind);
	assert_int_equal(answer.reason, reason);
	assert_int_equal(answer.ttl, ttl);
}

static void assert_failed(enum answer_reason reason)
{
	assert_answer(ANSWER_COULD_NOT_ASK, reason, 0, DNS_A);
}

/* Two addresses that differ in the last byte: 192.0.2.x. */
static void assert_a(const struct answer *answer, size_t index, unsigned last)
{
	assert_true(index < answer->count);
	assert_int_equal(answer->addrs[index].family, FAMILY_IPV4);
	const uint8_t expected[16] = {192, 0, 2, (uint8_t)last};
	assert_memory_equal(answer->addrs[index].bytes, expected, 16);
}

static void test_addresses(void **state)
{
	(void)state;
	start(QR | RD | RA, "PHONE.Example.org", DNS_A);
	put_a(NULL, 60, 0xc0000209);
	put_a("Phone.EXAMPLE.org", 50, 0xc0000203);
	put_a(NULL, 70, 0xc0000209);
	put_a(NULL, 40, 0xc0000204);
	b.bytes[b.rdata - 7] = 3; /* class CHAOS */
	struct answer answer = decode(DNS_A);
	assert_int_equal(answer.kind, ANSWER_ADDRESSES);
	assert_int_equal(answer.reason, REASON_NONE);
	assert_int_equal(answer.count, 2);
	assert_a(&answer, 0, 3);
	assert_a(&answer, 1, 9);
	assert_int_equal(answer.ttl, 50);
}

/* Addresses in other sections are nobody's answer. */
static void test_sections(void **state)
{
	(void)state;
	start(QR | AA, ASKED, DNS_A);
	put_a(NULL, 60, 0xc0000201);
	for (unsigned section = 1; section <= 2; section++) {
		open_record(section, NULL, DNS_A, 60);
		put32(0xc0000202 + section);
		close_record();
	}
	struct answer answer = decode(DNS_A);
	assert_int_equal(answer.count, 1);
	assert_a(&answer, 0, 1);
}

static void test_ipv6(void **state)
{
	(void)state;
	start(QR, ASKED, DNS_AAAA);
	open_record(0, NULL, DNS_AAAA, 9);
	for (unsigned i = 0; i < 8; i++)
		put16(0x2001 + i);
	close_record();
	struct answer answer = decode(DNS_AAAA);
	assert_int_equal(answer.kind, ANSWER_ADDRESSES);
	assert_int_equal(answer.count, 1);
	assert_int_equal(answer.addrs[0].family, FAMILY_IPV6);
	assert_memory_equal(answer.addrs[0].bytes, b.bytes + b.rdata, 16);
}

static void test_chain(void **state)
{
	(void)state;
	/* In an order that no server sends. */
	start(QR, ASKED, DNS_A);
	put_a("c.example.net", 60, 0xc0000201);
	put_cname("b.example.net", 20, "C.example.net");
	put_cname(NULL, 90, "b.Example.NET");
	put_a("stranger.example.net", 1, 0xc0000202);
	put_cname("stranger.example.net", 1, "c.example.net");
	struct answer answer = decode(DNS_A);
	assert_int_equal(answer.kind, ANSWER_ADDRESSES);
	assert_int_equal(answer.count, 1);
	assert_a(&answer, 0, 1);
	assert_int_equal(answer.ttl, 20);
}

/* A chain of `hops` aliases, with an address at its end. */
static void put_chain(unsigned hops)
{
	char owner[] = "c00.example.org", target[] = "c00.example.org";

	start(QR, ASKED, DNS_A);
	for (unsigned i = 1; i <= hops; i++) {
		target[1] = (char)('0' + i / 10);
		target[2] = (char)('0' + i % 10);
		put_cname(i == 1 ? NULL : owner, 60, target);
		memcpy(owner, target, sizeof(owner));
	}
	put_a(owner, 60, 0xc0000201);
}

static void test_chain_limits(void **state)
{
	(void)state;
	put_chain(DNS_MAX_CHAIN);
	assert_answer(ANSWER_ADDRESSES, REASON_NONE, 60, DNS_A);
	put_chain(DNS_MAX_CHAIN + 1);
	assert_failed(REASON_CNAME_LOOP);

	start(QR, ASKED, DNS_A);
	put_cname(NULL, 60, ASKED);
	assert_failed(REASON_CNAME_LOOP);
	start(QR, ASKED, DNS_A);
	put_cname(NULL, 60, "other.example.org");
	put_cname("other.example.org", 60, ASKED);
	assert_failed(REASON_CNAME_LOOP);
}

static void test_contradictions(void **state)
{
	(void)state;
	start(QR, ASKED, DNS_A);
	put_cname(NULL, 60, "a.example.org");
	put_cname(NULL, 60, "b.example.org");
	put_a("a.example.org", 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
	start(QR, ASKED, DNS_A);
	put_cname(NULL, 60, "a.example.org");
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
	start(QR | 3, ASKED, DNS_A);
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
}

static void test_ttl(void **state)
{
	(void)state;
	start(QR, ASKED, DNS_A);
	put_a(NULL, 0x80000001, 0xc0000201);
	assert_answer(ANSWER_ADDRESSES, REASON_NONE, 0, DNS_A);
	start(QR, ASKED, DNS_A);
	put_a(NULL, 0x7fffffff, 0xc0000201);
	assert_answer(ANSWER_ADDRESSES, REASON_NONE, 0x7fffffff, DNS_A);
}

static void test_negative(void **state)
{
	(void)state;
	start(QR | AA, ASKED, DNS_A);
	put_soa(300, 20);
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 20, DNS_A);
	start(QR | AA | 3, ASKED, DNS_A);
	put_soa(10, 20);
	assert_answer(ANSWER_NO_NAME, REASON_NONE, 10, DNS_A);
	start(QR | RA, ASKED, DNS_A);
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 0, DNS_A);
	start(QR | RA | 3, ASKED, DNS_A);
	assert_answer(ANSWER_NO_NAME, REASON_NONE, 0, DNS_A);
	/* An alias may change sooner than what it leads to. */
	start(QR | AA, ASKED, DNS_A);
	put_cname(NULL, 5, "b.example.org");
	put_soa(300, 20);
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 5, DNS_A);
	/* Records of another type, class or owner are no data. */
	start(QR | AA, ASKED, DNS_A);
	open_record(0, NULL, TXT, 60);
	put32(0x03616263);
	close_record();
	put_a("stranger.example.org", 60, 0xc0000201);
	put_a(NULL, 60, 0xc0000201);
	b.bytes[b.rdata - 7] = 3; /* class CHAOS */
	put_soa(300, 20);
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 20, DNS_A);
}

static void put_ns(void)
{
	open_record(1, "example.org", NS, 60);
	put_name("ns.example.net");
	close_record();
}

static void test_referral(void **state)
{
	(void)state;
	start(QR, ASKED, DNS_A);
	put_ns();
	assert_failed(REASON_REFERRAL);
	start(QR | RA, ASKED, DNS_A);
	put_ns();
	assert_failed(REASON_REFERRAL);
	start(QR | AA, ASKED, DNS_A);
	put_ns();
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 0, DNS_A);
	start(QR, ASKED, DNS_A);
	put_ns();
	put_soa(60, 60);
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 60, DNS_A);
	/* The authoritative server of the alias knows nothing of the target. */
	start(QR | AA, ASKED, DNS_A);
	put_cname(NULL, 5, "b.example.net");
	assert_failed(REASON_REFERRAL);
	start(QR | RA, ASKED, DNS_A);
	put_cname(NULL, 5, "b.example.net");
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 0, DNS_A);
}

static void test_header(void **state)
{
	static const struct {
		unsigned flags;
		enum answer_reason reason;
	} cases[] = {
		{0, REASON_GARBAGE},
		{QR | TC, REASON_GARBAGE},
		{QR | 0x0800, REASON_GARBAGE}, /* another opcode */
		{QR | 1, REASON_OTHER_RCODE},
		{QR | 2, REASON_SERVFAIL},
		{QR | 4, REASON_OTHER_RCODE},
		{QR | 5, REASON_SERVER_REFUSED},
		{QR | 15, REASON_OTHER_RCODE},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start(cases[i].flags, ASKED, DNS_A);
		put_a(NULL, 60, 0xc0000201);
		assert_failed(cases[i].reason);
	}
	/* An error may leave the question out, an answer may not. */
	start(QR | 2, ASKED, DNS_A);
	b.length = 12;
	b.bytes[5] = 0;
	assert_failed(REASON_SERVFAIL);
	b.bytes[3] = 0;
	assert_failed(REASON_GARBAGE);
	b.bytes[3] = 3;
	assert_failed(REASON_GARBAGE);
}

static void test_question(void **state)
{
	(void)state;
	start(QR, "other.example.org", DNS_A);
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
	start(QR, ASKED, DNS_AAAA);
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
	start(QR, ASKED, DNS_A);
	b.bytes[b.length - 1] = 3; /* class */
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
	start(QR, ASKED, DNS_A);
	put_a(NULL, 60, 0xc0000201);
	b.bytes[5] = 2;
	assert_failed(REASON_GARBAGE);
	start(QR, ASKED, DNS_A);
	b.bytes[5] = 2;
	put_name(ASKED);
	put16(DNS_A);
	put16(1);
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
}

/* It is compared label by label, whatever the case. */
static void test_question_name(void **state)
{
	static const char *const others[] = {
		"",
		"phone",
		"phone.example",
		"phone.example.org.net",
		"phone.example.orgs",
		"phones.example.org",
		"phone.example.oru",
		"xhone.example.org",
		"example.org",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		start(QR, others[i], DNS_A);
		put_a(NULL, 60, 0xc0000201);
		assert_failed(REASON_GARBAGE);
	}
	/* A dot within a label. */
	start(QR, ASKED, DNS_A);
	b.bytes[12] = sizeof("phone.example") - 1;
	b.bytes[12 + sizeof("phone")] = '.';
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
	/* One more label, of what looks like type and class. */
	start(QR, ASKED, DNS_A);
	b.bytes[b.length - 5] = 4;
	put_a(NULL, 60, 0xc0000201);
	assert_failed(REASON_GARBAGE);
	start(QR, "PHONE.eXample.Org", DNS_A);
	put_a(NULL, 60, 0xc0000201);
	put_a("phone.EXAMPLE.org", 60, 0xc0000202);
	put_a("other.example.org", 60, 0xc0000203);
	assert_answer(ANSWER_ADDRESSES, REASON_NONE, 60, DNS_A);
	assert_int_equal(decode(DNS_A).count, 2);
}

/* The upper bits of the rcode stand in the OPT record. */
static void test_extended_rcode(void **state)
{
	(void)state;
	start(QR, ASKED, DNS_A);
	open_record(2, "", OPT, 0);
	close_record();
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 0, DNS_A);
	start(QR, ASKED, DNS_A);
	open_record(2, "", TXT, 0x01000000);
	close_record();
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 0, DNS_A);
	start(QR, ASKED, DNS_A);
	open_record(2, "", OPT, 0x01000000); /* BADVERS */
	close_record();
	assert_failed(REASON_OTHER_RCODE);
}

static void test_record_sizes(void **state)
{
	(void)state;
	start(QR, ASKED, DNS_A);
	open_record(0, NULL, DNS_A, 60);
	put32(0xc0000201);
	put16(0);
	close_record();
	assert_failed(REASON_GARBAGE);
	start(QR, ASKED, DNS_A);
	open_record(0, NULL, CNAME, 60);
	put_name("a.example.org");
	put16(0);
	close_record();
	assert_failed(REASON_GARBAGE);
}

static void test_pointers(void **state)
{
	(void)state;
	/* To itself, and forwards. */
	for (unsigned target = 0; target < 4; target += 2) {
		start(QR, ASKED, DNS_A);
		put_a(NULL, 60, 0xc0000201);
		size_t owner = b.rdata - 12;
		b.bytes[owner] = 0xc0;
		b.bytes[owner + 1] = (uint8_t)(owner + target);
		assert_failed(REASON_GARBAGE);
	}
	/* A label before the pointer that leads back to that label. */
	start(QR, ASKED, DNS_A);
	count_record(0);
	size_t at = b.length;
	b.bytes[b.length++] = 1;
	b.bytes[b.length++] = 'a';
	put16(0xc000 | (unsigned)at);
	put16(DNS_A);
	put16(1);
	put32(60);
	put16(4);
	put32(0xc0000201);
	assert_failed(REASON_GARBAGE);
	/* The two reserved kinds of label, with bytes enough behind them to be read as a long one.
	 */
	for (unsigned kind = 0x40; kind <= 0x80; kind += 0x40) {
		start(QR, ASKED, DNS_A);
		count_record(0);
		b.bytes[b.length++] = (uint8_t)kind;
		memset(b.bytes + b.length, 'a', kind);
		b.length += kind;
		put_name("");
		put16(DNS_A);
		put16(1);
		put32(60);
		put16(4);
		put32(0xc0000201);
		assert_failed(REASON_GARBAGE);
	}
	/* The same in an alias' target, and in a record that does not count. */
	for (unsigned type = CNAME; type <= TXT; type += TXT - CNAME) {
		start(QR, ASKED, DNS_A);
		if (type == CNAME)
			open_record(0, NULL, CNAME, 60);
		else
			count_record(0);
		b.bytes[b.length++] = 0x40;
		memset(b.bytes + b.length, 'a', 0x40);
		b.length += 0x40;
		put_name("");
		if (type == CNAME) {
			close_record();
		} else {
			put16(TXT);
			put16(1);
			put32(60);
			put16(0);
		}
		assert_failed(REASON_GARBAGE);
	}
	/* Backwards to a part of the question's name: good. */
	start(QR, ASKED, DNS_A);
	open_record(0, NULL, CNAME, 60);
	b.bytes[b.length++] = 1;
	b.bytes[b.length++] = 'x';
	put16(0xc012); /* example.org */
	close_record();
	put_a("x.example.org", 60, 0xc0000201);
	assert_answer(ANSWER_ADDRESSES, REASON_NONE, 60, DNS_A);
}

/* 255 bytes of name are allowed, 256 are not. */
static void test_long_names(void **state)
{
	char name[300];

	(void)state;
	for (unsigned extra = 0; extra < 2; extra++) {
		memset(name, 'a', sizeof(name));
		name[63] = name[127] = name[191] = '.';
		name[253 + extra] = 0;
		start(QR, ASKED, DNS_A);
		put_cname(NULL, 60, name);
		put_a(name, 60, 0xc0000201);
		if (extra)
			assert_failed(REASON_GARBAGE);
		else
			assert_answer(ANSWER_ADDRESSES, REASON_NONE, 60, DNS_A);
	}
}

static void test_srv(void **state)
{
	(void)state;
	start(QR, ASKED, DNS_SRV);
	put_srv(10, "Sip2.Example.ORG");
	put_srv(10, "not_a_name");
	put_srv(10, "sip1.example.org");
	put_srv(20, "sip2.example.org");
	put_srv(10, "");
	struct answer answer = decode(DNS_SRV);
	assert_int_equal(answer.kind, ANSWER_ADDRESSES);
	assert_int_equal(answer.count, 2);
	assert_string_equal(answer.targets[0], "sip1.example.org");
	assert_string_equal(answer.targets[1], "sip2.example.org");

	start(QR, ASKED, DNS_SRV);
	put_srv(0, "");
	assert_answer(ANSWER_NO_DATA, REASON_NONE, 60, DNS_SRV);
	/* Nothing usable is not the same as nothing there. */
	start(QR, ASKED, DNS_SRV);
	put_srv(0, "nodots");
	assert_answer(ANSWER_COULD_NOT_ASK, REASON_GARBAGE, 0, DNS_SRV);
	/* A dot within a label would become another name. */
	start(QR, ASKED, DNS_SRV);
	put_srv(0, "sip1xexample.org");
	b.bytes[b.rdata + 6 + 5] = '.';
	assert_answer(ANSWER_COULD_NOT_ASK, REASON_GARBAGE, 0, DNS_SRV);
	/* No room for the target. */
	start(QR, ASKED, DNS_SRV);
	open_record(0, NULL, DNS_SRV, 60);
	put32(0);
	put16(0);
	close_record();
	assert_answer(ANSWER_COULD_NOT_ASK, REASON_GARBAGE, 0, DNS_SRV);
}

static void test_many(void **state)
{
	char target[] = "s00.example.org";

	(void)state;
	start(QR, ASKED, DNS_A);
	for (uint32_t i = 0; i < DNS_MAX_RECORDS + 10; i++)
		put_a(NULL, 60, 0x14000000 + (i * 7919) % 65536);
	struct answer answer = decode(DNS_A);
	assert_int_equal(answer.count, DNS_MAX_RECORDS);
	for (size_t i = 1; i < answer.count; i++)
		assert_true(addr_compare(&answer.addrs[i - 1], &answer.addrs[i]) < 0);

	/* Duplicates do not hide the surplus; where there is none they count as one. */
	for (uint32_t same = DNS_MAX_RECORDS - 20; same < DNS_MAX_RECORDS + 10; same++) {
		start(QR, ASKED, DNS_A);
		for (uint32_t i = 0; i < same; i++)
			put_a(NULL, 60, 0x14000000);
		for (uint32_t i = 1; i < 20; i++)
			put_a(NULL, 60, 0x14000000 + i);
		answer = decode(DNS_A);
		if (same + 19 <= DNS_MAX_RECORDS)
			assert_int_equal(answer.count, 20);
		else
			assert_true(answer.count > CONFIG_MAX_ADDRESSES);
	}

	/* The first targets in the message stay. */
	start(QR, ASKED, DNS_SRV);
	for (unsigned i = DNS_MAX_TARGETS + 9; i-- > 0;) {
		target[1] = (char)('0' + i / 10);
		target[2] = (char)('0' + i % 10);
		put_srv(0, target);
	}
	answer = decode(DNS_SRV);
	assert_int_equal(answer.count, DNS_MAX_TARGETS);
	for (size_t i = 1; i < answer.count; i++)
		assert_true(strcmp(answer.targets[i - 1], answer.targets[i]) < 0);
	assert_string_equal(answer.targets[0], "s09.example.org");
}

/* A message with something of everything. */
static void put_everything(void)
{
	start(QR | RA, ASKED, DNS_A);
	put_cname(NULL, 60, "b.example.org");
	put_a("b.example.org", 60, 0xc0000201);
	put_a("b.example.org", 60, 0xc0000202);
	put_ns();
	put_soa(60, 60);
	open_record(2, "", OPT, 0);
	close_record();
}

/* Cut anywhere, a message is garbage and nothing else. */
static void test_cut(void **state)
{
	(void)state;
	put_everything();
	assert_answer(ANSWER_ADDRESSES, REASON_NONE, 60, DNS_A);
	for (size_t length = 0; length < b.length; length++) {
		struct answer answer = decode_bytes(b.bytes, length, DNS_A);
		assert_int_equal(answer.kind, ANSWER_COULD_NOT_ASK);
		assert_int_equal(answer.reason, REASON_GARBAGE);
	}
}

/* Any bytes give an answer, within bounds: sanitizers and the sorting watch. */
static void test_damaged(void **state)
{
	uint32_t random = 20250101;

	(void)state;
	for (unsigned round = 0; round < 200000; round++) {
		if (round % 50 == 0)
			put_everything();
		for (unsigned i = 0; i < 3; i++) {
			random = random * 1664525 + 1013904223;
			b.bytes[(random >> 8) % b.length] ^= (uint8_t)(1U << (random >> 29));
		}
		struct answer answer = decode(round % 4 ? DNS_A : DNS_SRV);
		assert_true(answer.kind >= ANSWER_ADDRESSES && answer.kind <= ANSWER_COULD_NOT_ASK);
		assert_int_equal(answer.kind == ANSWER_COULD_NOT_ASK, answer.reason != REASON_NONE);
		assert_int_equal(answer.kind == ANSWER_ADDRESSES, answer.count > 0);
	}
}

/* --- DNSSEC --- */

static void put_opt(void)
{
	count_record(2);
	b.bytes[b.length++] = 0;
	put16(41);
	put16(1232);
	put32(0);
	put16(0);
	b.rdata = b.length;
}

static void put_option(unsigned code, unsigned length)
{
	put16(code);
	put16(length);
}

static void test_ad_bit(void **state)
{
	enum { AD = 0x20 };

	(void)state;
	for (unsigned ad = 0; ad <= AD; ad += AD) {
		start(0x8180 | ad, ASKED, DNS_A);
		put_a(NULL, 60, 0xcb00710a);
		assert_int_equal(decode(DNS_A).kind, ANSWER_ADDRESSES);
		assert_int_equal(decode(DNS_A).validated, ad != 0);

		start(0x8180 | ad, ASKED, DNS_A);
		put_soa(60, 5);
		assert_int_equal(decode(DNS_A).kind, ANSWER_NO_DATA);
		assert_int_equal(decode(DNS_A).validated, ad != 0);

		start(0x8183 | ad, ASKED, DNS_A);
		put_soa(60, 5);
		assert_int_equal(decode(DNS_A).kind, ANSWER_NO_NAME);
		assert_int_equal(decode(DNS_A).validated, ad != 0);

		start(0x8180 | ad, ASKED, DNS_SRV);
		put_srv(10, "sip.example.org");
		assert_int_equal(decode(DNS_SRV).kind, ANSWER_ADDRESSES);
		assert_int_equal(decode(DNS_SRV).validated, ad != 0);

		/* Says nothing of the name. */
		start(0x8182 | ad, ASKED, DNS_A);
		assert_false(decode(DNS_A).validated);
	}
	/* CD, its neighbour, is something else. */
	start(0x8190, ASKED, DNS_A);
	put_a(NULL, 60, 0xcb00710a);
	assert_false(decode(DNS_A).validated);
}

static enum answer_reason reason_with_error(unsigned flags, unsigned code)
{
	start(flags, ASKED, DNS_A);
	put_opt();
	put_option(10, 8); /* a cookie, before it */
	put32(1);
	put32(2);
	put_option(15, 5);
	put16(code);
	put16(0x7768);
	b.bytes[b.length++] = 'y';
	close_record();
	return decode(DNS_A).reason;
}

static void test_extended_dns_errors(void **state)
{
	(void)state;
	for (unsigned code = 0; code < 40; code++) {
		bool dnssec = code >= 5 && code <= 12;

		assert_int_equal(
			reason_with_error(0x8182, code), dnssec ? REASON_BOGUS : REASON_SERVFAIL);
	}
	/* Only a SERVFAIL is one. */
	assert_int_equal(reason_with_error(0x8185, 6), REASON_SERVER_REFUSED);
}

static void test_damaged_options(void **state)
{
	(void)state;
	/* An option that ends outside of its record, in one without the code, in one of no length.
	 */
	for (unsigned length = 0; length < 8; length++) {
		start(0x8182, ASKED, DNS_A);
		put_opt();
		put_option(15, length);
		if (length == 1)
			b.bytes[b.length++] = 0;
		close_record();
		assert_int_equal(decode(DNS_A).reason, REASON_SERVFAIL);
	}
	start(0x8182, ASKED, DNS_A);
	put_opt();
	put16(15);
	put16(2);
	b.bytes[b.length++] = 0;
	close_record();
	assert_int_equal(decode(DNS_A).reason, REASON_SERVFAIL);
	/* What cannot be read says nothing more. */
	start(0x8182, ASKED, DNS_A);
	put_opt();
	put_option(15, 2);
	put16(6);
	close_record();
	assert_int_equal(decode(DNS_A).reason, REASON_BOGUS);
	b.length--;
	assert_int_equal(decode(DNS_A).reason, REASON_SERVFAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_chain_limits),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_ttl),
		cmocka_unit_test(test_negative),
		cmocka_unit_test(test_referral),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_question),
		cmocka_unit_test(test_question_name),
		cmocka_unit_test(test_extended_rcode),
		cmocka_unit_test(test_record_sizes),
		cmocka_unit_test(test_pointers),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_srv),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_ad_bit),
		cmocka_unit_test(test_extended_dns_errors),
		cmocka_unit_test(test_damaged_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
