/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "traffic.h"

#include "allowlist.h"
#include "kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_knockers(const void *a, const void *b)
{
	const struct knocker *left = a, *right = b;

	if (left->answers != right->answers)
		return left->answers ? -1 : 1;
	if (left->packets != right->packets)
		return left->packets < right->packets ? 1 : -1;
	if (left->service != right->service)
		return left->service - right->service;
	return addr_compare(&left->addr, &right->addr);
}

static int64_t idle_of(const struct element *element)
{
	uint64_t left = element->expires_ms;

	return left < REJECTED_TIMEOUT_MS ? (int64_t)(REJECTED_TIMEOUT_MS - left) / 1000 : 0;
}

static int list_knockers(struct traffic *traffic, struct error *error)
{
	const struct observed *observed = traffic->observed;
	size_t room = 0;

	for (size_t i = 0; i < observed->set_count; i++)
		room += observed->sets[i].kind == SET_REJECTED ? observed->sets[i].count : 0;
	traffic->knockers = calloc(room + 1, sizeof(*traffic->knockers));
	if (!traffic->knockers)
		return error_no_memory(error);
	for (size_t i = 0; i < observed->set_count; i++) {
		const struct set *set = &observed->sets[i];

		for (size_t j = 0; set->kind == SET_REJECTED && j < set->count; j++)
			traffic->knockers[traffic->knocker_count++] = (struct knocker){
				.addr = set->elements[j].prefix.addr,
				.service = set->service,
				.packets = set->elements[j].packets,
				.bytes = set->elements[j].bytes,
				.idle = idle_of(&set->elements[j]),
			};
	}
	return 0;
}

static int compare_flows(const void *a, const void *b)
{
	const struct talker *left = a, *right = b;

	if (left->service != right->service)
		return left->service - right->service;
	return addr_compare(&left->addr, &right->addr);
}

/* Without connection tracking nobody answers, as far as is known. */
static int mark_answering(struct traffic *traffic, struct kernel *kernel, struct error *error)
{
	struct own_addresses own = {0};
	struct talker *flows = NULL;
	size_t count = 0, opened = 0;
	bool blind;
	int result = kernel_own_addresses(&own, error);

	if (result == 0)
		result = kernel_talkers(
			kernel, traffic->config, &own, &flows, &count, &blind, error);
	free((void *)own.addrs);
	if (result < 0)
		return result;
	for (size_t i = 0; i < count; i++) {
		if (flows[i].opened_here)
			flows[opened++] = flows[i];
	}
	if (opened > 0)
		qsort(flows, opened, sizeof(*flows), compare_flows);
	for (size_t i = 0; opened > 0 && i < traffic->knocker_count; i++) {
		struct knocker *knocker = &traffic->knockers[i];
		struct talker key = {.addr = knocker->addr, .service = knocker->service};

		knocker->answers =
			bsearch(&key, flows, opened, sizeof(*flows), compare_flows) != NULL;
	}
	free(flows);
	return 0;
}

static int look(struct traffic *traffic, unsigned what, struct kernel *kernel, struct error *error)
{
	unsigned kinds = 0;
	int result;

	if (what & TRAFFIC_LISTED)
		kinds |= 1 << SET_HOSTS | 1 << SET_NETS;
	if (what & TRAFFIC_KEPT_OUT)
		kinds |= 1 << SET_REJECTED;
	result =
		kernel_observe_counters(kernel, traffic->ruleset, kinds, &traffic->observed, error);
	if (result < 0)
		return result;
	if (!traffic->observed->present)
		return TRAFFIC_NO_TABLE;
	result = list_knockers(traffic, error);
	if (result == 0 && what & TRAFFIC_FLOWS && traffic->knocker_count > 0)
		result = mark_answering(traffic, kernel, error);
	if (result == 0)
		qsort(traffic->knockers, traffic->knocker_count, sizeof(*traffic->knockers),
			compare_knockers);
	return result;
}

int traffic_begin(const struct config *config, struct traffic *ret_traffic)
{
	struct traffic traffic = {.config = config};
	struct allowlist nobody = {0};

	if (ruleset_build(config, &nobody, &traffic.ruleset) < 0)
		return -ENOMEM;
	*ret_traffic = traffic;
	return 0;
}

int traffic_look(struct traffic *traffic, unsigned what, struct error *error)
{
	struct kernel *kernel = NULL;
	int result = kernel_open(&kernel, error);

	if (result == 0)
		result = look(traffic, what, kernel, error);
	kernel_close(kernel);
	return result;
}

int traffic_read(const struct config *config, unsigned what, struct traffic *ret_traffic,
	struct error *error)
{
	struct traffic traffic = {0};
	int result;

	if (traffic_begin(config, &traffic) < 0)
		return error_no_memory(error);
	result = traffic_look(&traffic, what, error);
	if (result == 0)
		*ret_traffic = traffic;
	else
		traffic_clear(&traffic);
	return result;
}

void traffic_clear(struct traffic *traffic)
{
	ruleset_free(traffic->ruleset);
	observed_free(traffic->observed);
	free(traffic->knockers);
	*traffic = (struct traffic){0};
}

bool traffic_packets(const struct traffic *traffic, const struct prefix *prefix, uint32_t services,
	uint64_t *ret_packets)
{
	const struct observed *observed = traffic->observed;
	uint64_t packets = 0;
	bool found = false;

	for (size_t i = 0; i < observed->set_count; i++) {
		const struct set *set = &observed->sets[i];
		const struct element *element;

		if ((set->kind != SET_HOSTS && set->kind != SET_NETS) ||
			set->family != prefix->addr.family || !(services >> set->service & 1))
			continue;
		element = element_find(set->elements, set->count, &prefix->addr);
		if (!element)
			continue;
		found = true;
		packets += element->packets;
	}
	*ret_packets = packets;
	return found;
}

void traffic_dropped(
	const struct traffic *traffic, size_t service, uint64_t *ret_packets, uint64_t *ret_bytes)
{
	const struct observed *observed = traffic->observed;
	char chain[128];

	*ret_packets = *ret_bytes = 0;
	snprintf(chain, sizeof(chain), "%s_reject", traffic->config->services[service].name);
	for (size_t i = 0; i < observed->counter_count; i++) {
		if (strcmp(observed->counters[i].chain, chain) != 0)
			continue;
		*ret_packets += observed->counters[i].packets;
		*ret_bytes += observed->counters[i].bytes;
	}
}
