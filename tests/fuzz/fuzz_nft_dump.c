/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's answers to the requests for our table, message behind message, as kernel_observe()
 * keeps them for a snapshot: read into what was observed, compared with what is wanted, and put
 * back.
 */
#include "fuzz.h"
#include "fuzz_netlink.h"

#include "allowlist.h"
#include "nft_attr.h"
#include "nft_netlink.h"
#include "roster.h"

#include <dlfcn.h>
#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <setjmp.h>
#include <signal.h>

enum { PORT_ID = 4711, NOW = 1700000000 };

/* What the dumps of the corpus were made with, and more than is in them. */
static const char config_text[] = "extensions:\n"
				  "  21: 203.0.113.7\n"
				  "  22: [203.0.113.9, '2001:db8::9']\n"
				  "  23: local\n"
				  "peers:\n"
				  "  carrier: {hosts: [198.51.100.0/28, '2001:db8:1::/48']}\n"
				  "  anna: {hosts: [192.0.2.5], services: [web]}\n"
				  "services: {web: {tcp: [80, 443]}, range: {udp: [10000-10200]}}\n"
				  "local-subnets: [192.168.10.0/24, 'fd00:10::/64']\n"
				  "destinations: [192.0.2.0/24]\n"
				  "replies: accept\n";

struct wanted {
	struct config *config;
	struct roster *roster;
	struct allowlist allowlist;
	struct text shape;
};

static struct wanted *wanted_make(void)
{
	struct wanted *wanted = calloc(1, sizeof(*wanted));
	struct ruleset *ruleset = NULL;

	FUZZ_CHECK(wanted);
	wanted->config = fuzz_config(config_text);
	FUZZ_CHECK(roster_build(wanted->config, NULL, &wanted->roster) == 0);
	FUZZ_CHECK(allowlist_build(wanted->config, wanted->roster, NOW, &wanted->allowlist) == 0);
	FUZZ_CHECK(ruleset_build(wanted->config, &wanted->allowlist, &ruleset) == 0);
	FUZZ_CHECK(nft_shape(ruleset, &wanted->shape) == 0);
	ruleset_free(ruleset);
	return wanted;
}

/*
 * libnftnl believes the kernel: an attribute that is missing is a null pointer to it, and one of
 * another size than it knows makes it call exit(). Neither is what is looked for here, so each
 * message is shown to libnftnl alone first.
 */
static sigjmp_buf way_back;
static bool in_libnftnl;

void exit(int code)
{
	void (*real)(int) = (void (*)(int))dlsym(RTLD_NEXT, "exit");

	if (in_libnftnl)
		siglongjmp(way_back, 1);
	real(code);
	abort();
}

static void on_fault(int number)
{
	(void)number;
	siglongjmp(way_back, 1);
}

/* Only with a sanitizer: what libnftnl holds when it gives up is not our leak. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void parse_alone(const struct nlmsghdr *message)
{
	unsigned command = message->nlmsg_type & 0xff;

	if (command == NFT_MSG_NEWRULE) {
		struct nftnl_rule *rule = nftnl_rule_alloc();

		nftnl_rule_nlmsg_parse(message, rule);
		nftnl_rule_free(rule);
	} else if (command == NFT_MSG_NEWSET) {
		struct nftnl_set *set = nftnl_set_alloc();

		nftnl_set_nlmsg_parse(message, set);
		nftnl_set_free(set);
	} else if (command == NFT_MSG_NEWCHAIN) {
		struct nftnl_chain *chain = nftnl_chain_alloc();

		nftnl_chain_nlmsg_parse(message, chain);
		nftnl_chain_free(chain);
	}
}

static bool is_for_libnftnl(const struct nlmsghdr *message)
{
	struct sigaction action = {.sa_handler = on_fault}, before;
	volatile bool good = false;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return true; /* nobody gives it such a message */
	if (__lsan_disable)
		__lsan_disable();
	sigaction(SIGSEGV, &action, &before);
	in_libnftnl = true;
	if (sigsetjmp(way_back, 1) == 0) {
		parse_alone(message);
		good = true;
	}
	in_libnftnl = false;
	sigaction(SIGSEGV, &before, NULL);
	if (__lsan_enable)
		__lsan_enable();
	return good;
}

static void take_one(struct nft_observer *observer, const struct ruleset *ruleset,
	const struct nlmsghdr *message, int *result)
{
	const struct set *set = &ruleset->sets[message->nlmsg_len % ruleset->set_count];
	struct element element = {
		.prefix = {.addr = {.family = set->family, .bytes = {203, 0, 113, 7}}}};
	uint32_t generation = 0;
	int found = nft_parse_element(message, set, &element);

	FUZZ_CHECK(found == 0 || found == -ENOENT || found == -EBADMSG);
	found = nft_parse_generation(message, &generation);
	FUZZ_CHECK(found == 0 || found == -EBADMSG);
	if (*result == 0 && is_for_libnftnl(message))
		*result = nft_observer_message(observer, message);
	FUZZ_CHECK(*result == 0 || *result == -EBADMSG);
}

/*
 * Each message in memory of its own, so that reading into the next one is seen. Only libnftnl gets
 * zeros behind it: it takes for granted that strings end.
 */
static struct nlmsghdr *copy_message(const uint8_t *dump, size_t length)
{
	struct nlmsghdr *message;

	if ((((const struct nlmsghdr *)dump)->nlmsg_type & 0xff) == NFT_MSG_NEWSETELEM)
		return fuzz_copy(dump, length);
	message = calloc(1, length + 16);
	FUZZ_CHECK(message);
	memcpy(message, dump, length);
	return message;
}

static int observe(const struct ruleset *ruleset, const uint8_t *dump, size_t size,
	struct observed **ret_observed)
{
	struct nft_observer *observer = NULL;
	int result = 0;

	FUZZ_CHECK(nft_observer_new(ruleset, PORT_ID, &observer) == 0);
	while (message_is_whole((const struct nlmsghdr *)dump, size)) {
		size_t length = ((const struct nlmsghdr *)dump)->nlmsg_len, aligned;
		struct nlmsghdr *message = copy_message(dump, length);

		take_one(observer, ruleset, message, &result);
		free(message);
		aligned = (length + 3) & ~(size_t)3;
		if (aligned >= size)
			break;
		dump += aligned;
		size -= aligned;
	}
	for (size_t i = 0; nft_observer_set(observer, i); i++)
		FUZZ_CHECK(i < 1u << 20);
	nft_observer_is_ours(observer);
	if (result == 0)
		FUZZ_CHECK(nft_observer_end(observer, ret_observed) == 0);
	nft_observer_free(observer);
	return result;
}

static void check_observed(const struct observed *observed, const struct ruleset *ruleset)
{
	FUZZ_CHECK(observed->set_count <= ruleset->set_count);
	FUZZ_CHECK(observed->shape);
	FUZZ_CHECK(!observed->ours || observed->owned);
	for (size_t i = 0; i < observed->set_count; i++) {
		const struct set *set = &observed->sets[i];

		FUZZ_CHECK(set->name && observed_find_set(observed, set->name) == set);
		for (size_t j = 0; j < set->count; j++) {
			const struct element *element = &set->elements[j];

			FUZZ_CHECK(element->prefix.addr.family == set->family);
			FUZZ_CHECK(fuzz_prefix_is_good(&element->prefix));
			FUZZ_CHECK(
				!element->comment || strlen(element->comment) <= COMMENT_MAX + 1);
			FUZZ_CHECK(set_has_prefixes(set) || prefix_is_host(&element->prefix));
			FUZZ_CHECK(j == 0 || prefix_compare(&set->elements[j - 1].prefix,
						     &element->prefix) <= 0);
		}
	}
	for (size_t i = 0; i < observed->counter_count; i++)
		FUZZ_CHECK(observed->counters[i].chain);
}

static void check_plan(
	const struct wanted *wanted, struct ruleset *ruleset, const struct observed *observed)
{
	struct plan plan = {0};
	struct nft_batch batch;
	int result = plan_make(ruleset, text_string(&wanted->shape), observed, NULL, 0, &plan);

	FUZZ_CHECK(result == 0);
	FUZZ_CHECK(plan.kind != PLAN_NOTHING || plan.count == 0);
	result = plan.kind == PLAN_SWAP
			 ? nft_batch_swap(ruleset, 7, observed->present, true, &batch)
			 : nft_batch_changes(ruleset, &plan, 7, &batch);
	FUZZ_CHECK(result == 0);
	fuzz_check_batch(&batch);
	nft_batch_clear(&batch);
	plan_clear(&plan);
}

/* A single address that was not in the whole dump was made up. */
static void check_subset(const struct observed *part, const struct observed *whole)
{
	for (size_t i = 0; i < part->set_count; i++) {
		const struct set *set = &part->sets[i];
		const struct set *full = observed_find_set(whole, set->name);

		FUZZ_CHECK(full);
		if (set_has_prefixes(set))
			continue;
		FUZZ_CHECK(set->count <= full->count);
		for (size_t j = 0, k = 0; j < set->count; j++) {
			while (k < full->count && !addr_equal(&full->elements[k].prefix.addr,
							  &set->elements[j].prefix.addr))
				k++;
			FUZZ_CHECK(k < full->count);
		}
	}
}

static void check_cut(const struct ruleset *ruleset, const uint8_t *dump, size_t size,
	const struct observed *whole)
{
	struct observed *part = NULL;
	size_t cut = size ? fuzz_hash(dump, size) % size : 0;

	if (observe(ruleset, dump, cut, &part) == 0)
		check_subset(part, whole);
	observed_free(part);
}

static void check_restore(const char *table, const uint8_t *dump, size_t size)
{
	void *snapshot = fuzz_copy(dump, size);
	struct nft_batch batch;
	int result = nft_batch_restore(table, snapshot, size, &batch);

	FUZZ_CHECK(result == 0 || result == -EBADMSG);
	if (result == 0) {
		fuzz_check_batch(&batch);
		nft_batch_clear(&batch);
	}
	free(snapshot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct wanted *wanted;
	struct ruleset *ruleset = NULL;
	struct observed *observed = NULL;

	if (!wanted)
		wanted = wanted_make();
	FUZZ_CHECK(ruleset_build(wanted->config, &wanted->allowlist, &ruleset) == 0);
	ruleset->lock = size & 1;
	if (observe(ruleset, data, size, &observed) == 0) {
		check_observed(observed, ruleset);
		check_cut(ruleset, data, size, observed);
		check_plan(wanted, ruleset, observed);
	}
	check_restore(ruleset->table, data, size);
	observed_free(observed);
	ruleset_free(ruleset);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	return fuzz_netlink_mutate(data, size, max_size, seed);
}
