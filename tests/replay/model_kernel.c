/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kernel.h over nf_model.h: batches and dumps are real netlink messages, and the codec is real. */
#include "kernel.h"
#include "nft_attr.h"
#include "world.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kernel {
	uint32_t port;
};

struct kernel_watch {
	struct kernel_watch *next;
	char table[NF_NAME_SIZE];
	struct kernel_report pending;
};

static struct model_kernel *model(void)
{
	return &world()->kernel;
}

/* Counts one down; true: it is its turn to fail. */
static bool fails(int *failures)
{
	if (*failures <= 0)
		return false;
	if (*failures != FOR_EVER)
		--*failures;
	return true;
}

int kernel_open(struct kernel **ret_kernel, struct error *error)
{
	struct kernel *kernel;

	if (fails(&model()->open_failures))
		return error_set(error, -model()->open_errno, "",
			"cannot open a netlink socket: %s", strerror(model()->open_errno));
	kernel = need(calloc(1, sizeof(*kernel)));
	kernel->port = ++model()->last_port;
	model()->handles++;
	*ret_kernel = kernel;
	return 0;
}

struct kernel *kernel_close(struct kernel *kernel)
{
	if (!kernel)
		return NULL;
	nf_close(&model()->rules, kernel->port);
	model()->handles--;
	free(kernel);
	return NULL;
}

struct observation {
	struct nft_observer *observer;
	struct text *snapshot;
};

static int observe(void *context, const struct nlmsghdr *message)
{
	struct observation *observation = context;

	if (observation->snapshot)
		text_write(observation->snapshot, message, NLMSG_ALIGN(message->nlmsg_len));
	return nft_observer_message(observation->observer, message);
}

static int observe_table(const struct nf_table *table, struct observation *observation)
{
	int64_t now = world()->boot_ms;
	const char *set;
	int result = nf_dump(table, NULL, now, observe, observation);

	for (size_t i = 0; result == 0 && (set = nft_observer_set(observation->observer, i)); i++)
		result = nf_dump(table, set, now, observe, observation);
	return result;
}

int kernel_observe(struct kernel *kernel, const struct ruleset *wanted,
	struct observed **ret_observed, uint32_t *ret_generation, struct text *snapshot,
	struct error *error)
{
	const struct nf_table *table = nf_find_table(&model()->rules, wanted->table);
	struct observation observation = {.snapshot = snapshot};
	int result;

	model()->reads++;
	if (fails(&model()->read_failures))
		return error_set(error, -model()->read_errno, "",
			"cannot read the kernel's table inet %s: %s", wanted->table,
			strerror(model()->read_errno));
	result = nft_observer_new(wanted, kernel->port, &observation.observer);
	if (result == 0 && table)
		result = observe_table(table, &observation);
	if (result == 0)
		result = nft_observer_end(observation.observer, ret_observed);
	nft_observer_free(observation.observer);
	if (result < 0)
		return error_set(error, result, "", "cannot read the kernel's table inet %s: %s",
			wanted->table, strerror(-result));
	*ret_generation = model()->rules.generation;
	return 0;
}

/* What people want to know: a failure that a scenario plans is for those who decide by it. */
int kernel_observe_counters(struct kernel *kernel, const struct ruleset *wanted, unsigned kinds,
	struct observed **ret_observed, struct error *error)
{
	int failures = model()->read_failures;
	uint64_t reads = model()->reads;
	uint32_t generation;
	int result;

	(void)kinds;
	model()->read_failures = 0;
	result = kernel_observe(kernel, wanted, ret_observed, &generation, NULL, error);
	model()->read_failures = failures;
	model()->reads = reads;
	return result;
}

static int refuse(const struct nft_batch *batch, int result, uint32_t sequence, struct error *error)
{
	struct text what = {0};

	model()->refusals++;
	if (result == -ERESTART)
		return KERNEL_MOVED;
	if (result == -EOPNOTSUPP && nft_batch_asks_for_lock(batch, sequence))
		return KERNEL_NO_LOCK;
	nft_batch_describe(batch, sequence, 0, &what);
	error_set(error, result, "look at the kernel's log", "the kernel refused %s: %s",
		text_string(&what), strerror(-result));
	text_free(&what);
	return result;
}

/* The message that a failure which a scenario has planned is blamed on. */
static uint32_t culprit(const struct nft_batch *batch, int reason)
{
	uint32_t sequence = 1;

	/* A kernel without owned tables takes all but their flag. */
	while (reason == EOPNOTSUPP && sequence <= batch->messages) {
		if (nft_batch_asks_for_lock(batch, sequence))
			return sequence;
		sequence++;
	}
	return 1;
}

int kernel_commit(struct kernel *kernel, const struct nft_batch *batch, struct error *error)
{
	world_hook_fn *hook = model()->before_commit;
	uint32_t sequence;
	int result;

	model()->before_commit = NULL;
	if (hook)
		hook(model()->before_commit_context);
	if (fails(&model()->commit_failures))
		return refuse(batch, -model()->commit_errno, culprit(batch, model()->commit_errno),
			error);
	if (model()->lost_acks > 0 && !model()->lost_acks_mean_done) {
		model()->lost_acks--;
		model()->refusals++;
		return KERNEL_MOVED;
	}
	result = nf_apply(&model()->rules, batch->data, batch->length, kernel->port,
		world()->boot_ms, &sequence);
	if (result < 0)
		return refuse(batch, result, sequence, error);
	model()->transactions++;
	return fails(&model()->lost_acks) ? KERNEL_MOVED : 0;
}

int kernel_has_table(struct kernel *kernel, const char *table, struct error *error)
{
	(void)kernel;
	if (fails(&model()->read_failures))
		return error_set(error, -model()->read_errno, "",
			"cannot look for the kernel's table inet %s: %s", table,
			strerror(model()->read_errno));
	return nf_find_table(&model()->rules, table) != NULL;
}

int kernel_read_element(struct kernel *kernel, const struct ruleset *ruleset, const struct set *set,
	struct element *element, struct error *error)
{
	const struct nf_table *found = nf_find_table(&model()->rules, ruleset->table);
	const struct nf_set *in = found ? nf_find_set(found, set->name) : NULL;
	const struct nf_element *there =
		in ? nf_find_element(in, element->prefix.addr.bytes, false, world()->boot_ms)
		   : NULL;

	(void)kernel;
	model()->element_reads++;
	if (fails(&model()->read_failures))
		return error_set(error, -model()->read_errno, "",
			"cannot read an element of %s: %s", set->name,
			strerror(model()->read_errno));
	if (!there)
		return KERNEL_NO_ELEMENT;
	element->packets = there->packets;
	element->bytes = there->bytes;
	return 0;
}

int kernel_watch_open(
	struct kernel_watch **ret_watch, const struct config *config, struct error *error)
{
	struct kernel_watch *watch;

	if (fails(&model()->watch_failures))
		return error_set(error, -model()->watch_errno, "",
			"cannot listen to nftables' events: %s", strerror(model()->watch_errno));
	watch = need(calloc(1, sizeof(*watch)));
	snprintf(watch->table, sizeof(watch->table), "%s", config->table);
	watch->next = model()->first_watch;
	model()->first_watch = watch;
	model()->watches++;
	*ret_watch = watch;
	return 0;
}

int kernel_watch_fd(const struct kernel_watch *watch)
{
	(void)watch;
	return 1001; /* nobody polls it here */
}

void kernel_watch_read(
	struct kernel_watch *watch, const struct kernel *own, struct kernel_report *ret_report)
{
	(void)own; /* its events are not even noted */
	*ret_report = watch->pending;
	watch->pending = (struct kernel_report){0};
}

struct kernel_watch *kernel_watch_close(struct kernel_watch *watch)
{
	struct kernel_watch **link = &model()->first_watch;

	if (!watch)
		return NULL;
	while (*link != watch)
		link = &(*link)->next;
	*link = watch->next;
	model()->watches--;
	free(watch);
	return NULL;
}

struct kernel_network {
	bool changed;
};

int kernel_network_open(struct kernel_network **ret_network, struct error *error)
{
	(void)error;
	*ret_network = need(calloc(1, sizeof(**ret_network)));
	model()->network = *ret_network;
	model()->watches++;
	return 0;
}

int kernel_network_fd(const struct kernel_network *network)
{
	(void)network;
	return 1002; /* nobody polls it here */
}

bool kernel_network_read(struct kernel_network *network)
{
	bool changed = network->changed;

	network->changed = false;
	return changed;
}

struct kernel_network *kernel_network_close(struct kernel_network *network)
{
	if (!network)
		return NULL;
	model()->network = NULL;
	model()->watches--;
	free(network);
	return NULL;
}

void model_kernel_network_changes(void)
{
	if (model()->network)
		model()->network->changed = true;
}

void model_kernel_others(const char *table, const char *program, int pid)
{
	model()->rules.generation++;
	for (struct kernel_watch *watch = model()->first_watch; watch; watch = watch->next) {
		struct kernel_report *pending = &watch->pending;

		if (model()->loses_events) {
			pending->lost = true;
			continue;
		}
		if (!table || strcmp(table, watch->table) != 0 || pending->damaged)
			continue;
		pending->damaged = true;
		pending->pid = pid;
		snprintf(pending->program, sizeof(pending->program), "%s", program);
	}
}

bool model_kernel_ready(void)
{
	for (const struct kernel_watch *watch = model()->first_watch; watch; watch = watch->next) {
		if (watch->pending.damaged || watch->pending.lost)
			return true;
	}
	return model()->network && model()->network->changed;
}

bool model_kernel_is_owned(const char *table)
{
	const struct nf_table *found = nf_find_table(&model()->rules, table);

	return found && found->flags & NFT_TABLE_F_OWNER;
}

void kernel_settle(void)
{
}

static bool serves(const struct service *service, const struct model_talker *talker)
{
	for (size_t i = 0; i < service->port_count; i++) {
		const struct port_range *range = &service->ports[i];

		if (range->protocol == talker->protocol && range->first <= talker->port &&
			talker->port <= range->last)
			return true;
	}
	return false;
}

int kernel_talkers(struct kernel *kernel, const struct config *config,
	const struct own_addresses *own, struct talker **ret_talkers, size_t *ret_count,
	bool *ret_blind, struct error *error)
{
	struct talker *list = need(calloc(WORLD_ADDRS, sizeof(*list)));
	size_t count = 0;

	(void)kernel;
	(void)own;
	(void)error;
	for (size_t i = 0; i < model()->talker_count; i++) {
		const struct model_talker *talker = &model()->talkers[i];

		for (size_t j = 0; j < config->service_count && count < WORLD_ADDRS; j++) {
			if (serves(&config->services[j], talker))
				list[count++] = (struct talker){.addr = talker->addr,
					.service = (uint8_t)j,
					.protocol = talker->protocol,
					.port = talker->port,
					.opened_here = talker->opened_here};
		}
	}
	*ret_blind = model()->talker_count == 0;
	*ret_talkers = list;
	*ret_count = count;
	return 0;
}

int kernel_own_addresses(struct own_addresses *ret_own, struct error *error)
{
	struct addr *addrs = need(calloc(WORLD_ADDRS, sizeof(*addrs)));

	(void)error;
	memcpy(addrs, model()->own, sizeof(model()->own));
	ret_own->addrs = addrs;
	ret_own->count = model()->own_count;
	return 0;
}
