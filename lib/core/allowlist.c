/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "allowlist.h"

#include <errno.h>
#include <stdbool.h>
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

/* To each service of the owner. */
static int grant_owner(
	struct builder *builder, const struct prefix *prefix, uint32_t owner, const char *host)
{
	uint32_t services = builder->config->owners[owner].services;

	for (size_t i = 0; i < builder->config->service_count; i++) {
		if ((services >> i & 1) && grant_add(builder, prefix, i, owner, host) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* `ipv6-prefix` widens an answer, but never past the prefix of `within` that it was judged by. */
static unsigned grant_length(const struct builder *builder, const struct addr *addr, uint32_t owner)
{
	const struct owner *of = &builder->config->owners[owner];
	const struct prefix *within = guard_within(&builder->config->guards[of->guard], addr);
	unsigned length = addr->family == FAMILY_IPV6 ? of->ipv6_prefix : addr_bits(FAMILY_IPV4);

	return within && within->length > length ? within->length : length;
}

static int grant_addr(
	struct builder *builder, const struct addr *addr, uint32_t owner, const char *host)
{
	struct prefix prefix = prefix_of(addr, grant_length(builder, addr, owner));

	return grant_owner(builder, &prefix, owner, host);
}

static int grant_host(struct builder *builder, const struct host *host, uint32_t owner, int64_t now)
{
	int64_t linger = builder->config->linger[builder->config->owners[owner].kind];

	for (int family = 0; family < FAMILY_COUNT; family++) {
		for (size_t i = 0; i < host->count[family]; i++) {
			if (grant_addr(builder, &host->addrs[family][i], owner, host->name) < 0)
				return -ENOMEM;
		}
	}
	for (size_t i = 0; i < host->retired_count; i++) {
		if (now - host->retired[i].when >= linger)
			continue;
		if (grant_addr(builder, &host->retired[i].addr, owner, host->name) < 0)
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
	if (builder.count > 1)
		qsort(builder.grants, builder.count, sizeof(*builder.grants), compare_grants);
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
