/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DNS replies, decoded alone: the fast way to deep places. The first byte says the type that was
 * asked for, and whether the name is that of the question in the message or another one.
 */
#include "fuzz.h"

#include "dns_message.h"
#include "fqdn.h"

enum { HEADER_SIZE = 12 };

static struct dns_scratch scratch, scratch_again;

/* The name of the question, if it is one that could be asked. */
static bool read_question(const uint8_t *message, size_t size, char name[FQDN_SIZE])
{
	char text[FQDN_SIZE];
	size_t at = HEADER_SIZE, length = 0, offset;

	while (at < size && message[at] && message[at] < 64) {
		size_t label = message[at++];

		if (label > size - at || length + label + 1 >= sizeof(text))
			return false;
		if (length)
			text[length++] = '.';
		memcpy(text + length, message + at, label);
		length += label;
		at += label;
	}
	return fqdn_parse(text, length, name, &offset) == FQDN_OK;
}

static bool same_answer(const struct answer *a, const struct answer *b, bool srv)
{
	if (a->kind != b->kind || a->reason != b->reason || a->ttl != b->ttl ||
		a->count != b->count)
		return false;
	for (size_t i = 0; a->kind == ANSWER_ADDRESSES && i < a->count; i++) {
		if (srv ? strcmp(a->targets[i], b->targets[i]) != 0
			: !addr_equal(&a->addrs[i], &b->addrs[i]))
			return false;
	}
	return true;
}

/* An address that is not in the message was made up. */
static void check_origin(const struct answer *answer, const uint8_t *message, size_t size)
{
	for (size_t i = 0; i < answer->count && i < 64; i++)
		FUZZ_CHECK(memmem(message, size, answer->addrs[i].bytes,
			addr_size((enum family)answer->addrs[i].family)));
}

/* Cut anywhere, it is the same answer (what was cut off was not part of it) or none. */
static void check_cut(const struct answer *whole, const uint8_t *message, size_t size,
	const char *name, enum dns_type type)
{
	size_t cut = size ? fuzz_hash(message, size) % size : 0;
	uint8_t *copy = fuzz_copy(message, cut);
	struct answer answer = dns_decode(copy, cut, name, type, &scratch_again);

	FUZZ_CHECK(answer.kind == ANSWER_COULD_NOT_ASK ||
		   same_answer(whole, &answer, type == DNS_SRV));
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = {DNS_A, DNS_AAAA, DNS_SRV};
	struct fuzz_bytes bytes = {data, size};
	uint8_t choice = fuzz_byte(&bytes);
	enum dns_type type = types[choice % 3];
	bool srv = type == DNS_SRV;
	char name[FQDN_SIZE] = "phone.example.org";
	struct answer answer, again;
	uint8_t *message = fuzz_copy(bytes.at, bytes.left);

	if (!(choice & 0x80) && !read_question(message, bytes.left, name))
		memcpy(name, "phone.example.org", sizeof("phone.example.org"));
	answer = dns_decode(message, bytes.left, name, type, &scratch);
	fuzz_check_answer(&answer, srv);
	again = dns_decode(message, bytes.left, name, type, &scratch_again);
	FUZZ_CHECK(same_answer(&answer, &again, srv));
	if (!srv && answer.kind == ANSWER_ADDRESSES)
		check_origin(&answer, message, bytes.left);
	check_cut(&answer, message, bytes.left, name, type);
	free(message);
	return 0;
}
