/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "allowlist.h"
#include "addr_order.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct builder {
	const struct config *config;
	struct grant *grants;
	size_t count, capacity;
};

static int grant_add(struct builder *builder, const struct prefix *prefix, size_t service,
	uint32_t owner, const char *host)
{
	if (builder->count == builder->capacity) {
		size_t capacity = builder->capacity ? builder->capacity * 2 : 64;
		struct grant *grants = reallocarray(builder->grants, capacity, sizeof(*grants));

		if (!grants)
			return -ENOMEM;
		builder->grants = grants;
		builder->capacity = capacity;
	}
	builder->grants[builder->count++] = (struct grant){
		.prefix = *prefix, .service = (uint8_t)service, .owner = owner, .host = host};
	return 0;
}

bool allowlist_serves(const struct config *config, uint32_t owner, size_t service)
{
	return config->owners[owner].services >> service & 1;
}

/* To each service of the owner. */
static int grant_owner(
	struct builder *builder, const struct prefix *prefix, uint32_t owner, const char *host)
{
	for (size_t i = 0; i < builder->config->service_count; i++) {
		if (allowlist_serves(builder->config, owner, i) &&
			grant_add(builder, prefix, i, owner, host) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* `ipv6-prefix` widens an answer, but never past the prefix of `within` that it was judged by. */
struct prefix allowlist_prefix(const struct config *config, uint32_t owner, const struct addr *addr)
{
	const struct owner *of = &config->owners[owner];
	const struct prefix *within = guard_within(&config->guards[of->guard], addr);
	unsigned length = addr->family == FAMILY_IPV6 ? of->ipv6_prefix : addr_bits(FAMILY_IPV4);

	if (within && within->length > length)
		length = within->length;
	return prefix_of(addr, length);
}

size_t allowlist_prefixes(const struct config *config, uint32_t owner, const struct host *host,
	int64_t now, struct prefix ret_prefixes[HOST_ADDRS_MAX])
{
	int64_t linger = config->linger[config->owners[owner].kind];
	size_t count = 0;

	for (int family = 0; family < FAMILY_COUNT; family++) {
		for (size_t i = 0; i < host->count[family] && count < HOST_ADDRS_MAX; i++)
			ret_prefixes[count++] =
				allowlist_prefix(config, owner, &host->addrs[family][i]);
	}
	for (size_t i = 0; i < host->retired_count && count < HOST_ADDRS_MAX; i++) {
		if (now - host->retired[i].when < linger)
			ret_prefixes[count++] =
				allowlist_prefix(config, owner, &host->retired[i].addr);
	}
	return count;
}

static int grant_host(struct builder *builder, const struct host *host, uint32_t owner, int64_t now)
{
	struct prefix prefixes[HOST_ADDRS_MAX];
	size_t count = allowlist_prefixes(builder->config, owner, host, now, prefixes);

	for (size_t i = 0; i < count; i++) {
		if (grant_owner(builder, &prefixes[i], owner, host->name) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int grant_fixed(struct builder *builder)
{
	const struct config *config = builder->config;

	for (size_t i = 0; i < config->owner_count; i++) {
		for (size_t j = 0; j < config->owners[i].fixed_count; j++) {
			if (grant_owner(builder, &config->owners[i].fixed[j], (uint32_t)i, NULL) <
				0)
				return -ENOMEM;
		}
	}
	for (size_t i = 0; i < config->service_count; i++) {
		for (size_t j = 0; config->services[i].local && j < config->local_subnet_count;
			j++) {
			if (grant_add(builder, &config->local_subnets[j], i, GRANT_LOCAL, NULL) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int compare_grants(const void *a, const void *b)
{
	const struct grant *left = a, *right = b;
	int order;

	if (left->service != right->service)
		return left->service < right->service ? -1 : 1;
	order = prefix_compare(&left->prefix, &right->prefix);
	if (order)
		return order;
	if (left->owner != right->owner)
		return left->owner < right->owner ? -1 : 1;
	if (!left->host || !right->host)
		return !right->host - !left->host;
	return left->host == right->host ? 0 : strcmp(left->host, right->host);
}

/* The keys of those grants. */
static size_t list_keys(
	const struct builder *builder, size_t service, int family, struct addr_key *keys)
{
	size_t count = 0;

	for (size_t i = 0; i < builder->count; i++) {
		const struct grant *grant = &builder->grants[i];

		if (grant->service == service && grant->prefix.addr.family == family)
			keys[count++] = addr_key(&grant->prefix.addr, i);
	}
	return count;
}

/* Copies the grants of sorted keys; those of one address still have to be sorted by the rest. */
static void copy_sorted(const struct builder *builder, const struct addr_key *keys, size_t count,
	struct grant *sorted)
{
	size_t end;

	for (size_t first = 0; first < count; first = end) {
		end = first;
		while (end < count && keys[end].high == keys[first].high &&
			keys[end].low == keys[first].low) {
			sorted[end] = builder->grants[keys[end].index];
			end++;
		}
		if (end - first > 1)
			qsort(sorted + first, end - first, sizeof(*sorted), compare_grants);
	}
}

/* As qsort() with compare_grants() would, but nearly without comparisons. */
static int sort_grants(struct builder *builder)
{
	struct addr_key *keys = reallocarray(NULL, builder->count + 1, sizeof(*keys));
	struct grant *sorted = reallocarray(NULL, builder->count + 1, sizeof(*sorted));
	size_t done = 0;
	int result = keys && sorted ? 0 : -ENOMEM;

	for (size_t service = 0; result == 0 && service < builder->config->service_count;
		service++) {
		for (int family = 0; result == 0 && family < FAMILY_COUNT; family++) {
			size_t count = list_keys(builder, service, family, keys);

			result = addr_keys_sort(keys, count);
			if (result == 0)
				copy_sorted(builder, keys, count, sorted + done);
			done += count;
		}
	}
	free(keys);
	if (result < 0) {
		free(sorted);
		return result;
	}
	free(builder->grants);
	builder->grants = sorted;
	return 0;
}

static size_t distinct(struct grant *grants, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (kept == 0 || compare_grants(&grants[kept - 1], &grants[i]) != 0)
			grants[kept++] = grants[i];
	}
	return kept;
}

int allowlist_build(const struct config *config, const struct roster *roster, int64_t now,
	struct allowlist *ret_allowlist)
{
	struct builder builder = {.config = config};

	if (grant_fixed(&builder) < 0)
		goto no_memory;
	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct binding *binding = &roster->bindings[i];

		if (grant_host(&builder, &roster->hosts[binding->host], binding->owner, now) < 0)
			goto no_memory;
	}
	if (builder.count > 1 && sort_grants(&builder) < 0)
		goto no_memory;
	ret_allowlist->count = distinct(builder.grants, builder.count);
	ret_allowlist->grants = builder.grants;
	return 0;
no_memory:
	free(builder.grants);
	return -ENOMEM;
}

void allowlist_clear(struct allowlist *allowlist)
{
	free(allowlist->grants);
	*allowlist = (struct allowlist){0};
}
