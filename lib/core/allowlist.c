/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "allowlist.h"

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

/* What nearly all comparisons are decided by, side by side in memory. */
struct key {
	uint32_t group; /* service, family */
	uint32_t index;
	uint64_t high, low; /* of the address */
};

static struct key key_of(const struct grant *grants, size_t index)
{
	const struct addr *addr = &grants[index].prefix.addr;

	return (struct key){
		.group = (uint32_t)(grants[index].service << 8 | addr->family),
		.index = (uint32_t)index,
		.high = addr_half(addr, 0),
		.low = addr_half(addr, 1),
	};
}

static int compare_keys(const void *a, const void *b, void *grants)
{
	const struct key *left = a, *right = b;
	const struct grant *all = grants;

	if (left->group != right->group)
		return left->group < right->group ? -1 : 1;
	if (left->high != right->high)
		return left->high < right->high ? -1 : 1;
	if (left->low != right->low)
		return left->low < right->low ? -1 : 1;
	return compare_grants(&all[left->index], &all[right->index]);
}

/* As qsort() with compare_grants() would, in a third of its time. */
static int sort_grants(struct builder *builder)
{
	size_t count = builder->count;
	struct key *keys = reallocarray(NULL, count + 1, sizeof(*keys));
	struct grant *sorted = reallocarray(NULL, count + 1, sizeof(*sorted));

	if (!keys || !sorted || count > UINT32_MAX) {
		free(keys);
		free(sorted);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++)
		keys[i] = key_of(builder->grants, i);
	qsort_r(keys, count, sizeof(*keys), compare_keys, builder->grants);
	for (size_t i = 0; i < count; i++)
		sorted[i] = builder->grants[keys[i].index];
	free(keys);
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
