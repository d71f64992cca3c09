/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "acl.h"

#include "allowlist.h"

#include <errno.h>
#include <stdlib.h>

enum { LEAST_CAPACITY = 4 };

int acl_add(struct acl *acl, const struct prefix *prefix)
{
	if (acl->count == acl->capacity) {
		size_t capacity = acl->capacity ? acl->capacity * 2 : LEAST_CAPACITY;
		struct prefix *grown = reallocarray(acl->permits, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		acl->permits = grown;
		acl->capacity = capacity;
	}
	acl->permits[acl->count++] = *prefix;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

void acl_settle(struct acl *acl)
{
	size_t kept = 0;

	if (acl->count > 1)
		qsort(acl->permits, acl->count, sizeof(*acl->permits), compare);
	/* A covering prefix stands before all that it covers. */
	for (size_t i = 0; i < acl->count; i++) {
		if (kept == 0 || !prefix_covers(&acl->permits[kept - 1], &acl->permits[i]))
			acl->permits[kept++] = acl->permits[i];
	}
	acl->count = kept;
}

/* The first binding of the owner; they are sorted by owner. */
static size_t first_binding(const struct roster *roster, uint32_t owner)
{
	size_t low = 0, high = roster->binding_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (roster->bindings[middle].owner < owner)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int add_hosts(struct acl *acl, const struct config *config, const struct roster *roster,
	uint32_t owner, int64_t now)
{
	for (size_t i = first_binding(roster, owner);
		i < roster->binding_count && roster->bindings[i].owner == owner; i++) {
		struct prefix prefixes[HOST_ADDRS_MAX];
		size_t count = allowlist_prefixes(
			config, owner, &roster->hosts[roster->bindings[i].host], now, prefixes);

		for (size_t j = 0; j < count; j++) {
			if (acl_add(acl, &prefixes[j]) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

int acl_of(const struct config *config, const struct roster *roster, uint32_t owner, int64_t now,
	struct acl *acl)
{
	const struct owner *of = &config->owners[owner];

	acl->count = 0;
	for (size_t i = 0; i < of->fixed_count; i++) {
		if (acl_add(acl, &of->fixed[i]) < 0)
			goto no_memory;
	}
	for (size_t i = 0; of->local && i < config->local_subnet_count; i++) {
		if (acl_add(acl, &config->local_subnets[i]) < 0)
			goto no_memory;
	}
	if (add_hosts(acl, config, roster, owner, now) < 0)
		goto no_memory;
	acl_settle(acl);
	return 0;
no_memory:
	acl_clear(acl);
	return -ENOMEM;
}

bool acl_permits(const struct acl *acl, const struct addr *addr)
{
	for (size_t i = 0; i < acl->count; i++) {
		if (prefix_contains(&acl->permits[i], addr))
			return true;
	}
	return false;
}

bool acl_equal(const struct acl *a, const struct acl *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (prefix_compare(&a->permits[i], &b->permits[i]) != 0)
			return false;
	}
	return true;
}

void acl_clear(struct acl *acl)
{
	free(acl->permits);
	*acl = (struct acl){0};
}
