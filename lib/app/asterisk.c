/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t count_extensions(const struct config *config)
{
	uint32_t count = 0;

	while (count < config->owner_count && config->owners[count].kind == OWNER_EXTENSION)
		count++;
	return count;
}

static int by_id(const void *a, const void *b, void *context)
{
	const struct asterisk_acls *acls = context;
	const struct owner *owners = acls->config->owners;

	return strcmp(owners[*(const uint32_t *)a].id, owners[*(const uint32_t *)b].id);
}

/* DNS may not have been asked yet; then nobody knows who is a stranger. */
static void find_unlearned(const struct roster *roster, struct asterisk_acls *acls)
{
	for (size_t i = 0; i < roster->binding_count; i++) {
		const struct binding *binding = &roster->bindings[i];
		const struct lookup *lookup = roster->hosts[binding->host].lookup;
		bool good = false;

		for (int family = 0; family < FAMILY_COUNT; family++)
			good |= lookup[family].good != 0;
		if (!good && binding->owner < acls->count)
			acls->unlearned[binding->owner] = true;
	}
}

int asterisk_acls_make(const struct config *config, const struct roster *roster, int64_t now,
	struct asterisk_acls *acls)
{
	uint32_t count = count_extensions(config);
	int result = 0;

	asterisk_acls_clear(acls);
	acls->config = config;
	acls->list = calloc((size_t)count + 1, sizeof(*acls->list));
	acls->sorted = calloc((size_t)count + 1, sizeof(*acls->sorted));
	acls->unlearned = calloc((size_t)count + 1, sizeof(*acls->unlearned));
	if (!acls->list || !acls->sorted || !acls->unlearned)
		result = -ENOMEM;
	for (uint32_t i = 0; i < count && result == 0; i++) {
		result = acl_of(config, roster, i, now, &acls->list[i]);
		acls->sorted[i] = i;
		acls->count = i + 1;
	}
	for (size_t i = 0; i < config->local_subnet_count && result == 0; i++)
		result = acl_add(&acls->local, &config->local_subnets[i]);
	if (result < 0) {
		asterisk_acls_clear(acls);
		return result;
	}
	acl_settle(&acls->local);
	find_unlearned(roster, acls);
	qsort_r(acls->sorted, count, sizeof(*acls->sorted), by_id, acls);
	return 0;
}

void asterisk_acls_clear(struct asterisk_acls *acls)
{
	for (uint32_t i = 0; i < acls->count; i++)
		acl_clear(&acls->list[i]);
	acl_clear(&acls->local);
	free(acls->list);
	free(acls->sorted);
	free(acls->unlearned);
	*acls = (struct asterisk_acls){0};
}

void asterisk_acls_print(const struct asterisk_acls *acls, struct text *text)
{
	asterisk_acl_print_head(acls->config->path, text);
	for (uint32_t i = 0; i < acls->count; i++)
		asterisk_acl_print(acls->config->owners[i].id, &acls->list[i], text);
}

uint32_t asterisk_acls_find(const struct asterisk_acls *acls, const char *id)
{
	uint32_t from = 0, to = acls->count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2, index = acls->sorted[middle];
		int order = strcmp(acls->config->owners[index].id, id);

		if (order == 0)
			return index;
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return acls->count;
}

int asterisk_acls_compare(
	const struct asterisk_acls *acls, uint32_t index, const char *output, size_t length)
{
	char name[ASTERISK_ACL_NAME_SIZE];
	struct acl shown = {0};
	int result;

	asterisk_acl_name(acls->config->owners[index].id, name);
	result = asterisk_acl_parse_shown(output, length, name, &shown);
	if (result == -EBADMSG)
		result = ASTERISK_UNREADABLE;
	else if (result == ASTERISK_SHOWN_NONE)
		result = ASTERISK_MISSING;
	else if (result == ASTERISK_SHOWN_OPEN)
		result = ASTERISK_OPEN;
	else if (result == ASTERISK_SHOWN)
		result =
			acl_equal(&shown, &acls->list[index]) ? ASTERISK_EQUAL : ASTERISK_DIFFERENT;
	acl_clear(&shown);
	return result;
}

const char *asterisk_match_text(enum asterisk_match match)
{
	static const char *const texts[] = {
		[ASTERISK_EQUAL] = "is in force",
		[ASTERISK_MISSING] = "is not there: Asterisk refuses all who are bound to it",
		[ASTERISK_OPEN] = "lacks a deny: it lets strangers in",
		[ASTERISK_DIFFERENT] = "permits other addresses than it should",
		[ASTERISK_UNREADABLE] = "is not known: the answer is not understood",
	};

	return texts[match];
}

enum asterisk_fit asterisk_acls_judge(const struct asterisk_acls *acls,
	const struct asterisk_contact *contact, uint32_t *ret_index)
{
	uint32_t index = asterisk_acls_find(acls, contact->extension);

	if (index == acls->count)
		return ASTERISK_UNLISTED;
	*ret_index = index;
	if (!contact->has_addr)
		return ASTERISK_UNKNOWABLE;
	if (acl_permits(&acls->list[index], &contact->addr))
		return ASTERISK_FITS;
	if (addr_special(&contact->addr) == ADDR_PRIVATE &&
		!acl_permits(&acls->local, &contact->addr))
		return ASTERISK_UNKNOWABLE;
	return acls->unlearned[index] ? ASTERISK_UNKNOWABLE : ASTERISK_WRONG;
}

const char *asterisk_fit_word(enum asterisk_fit fit)
{
	static const char *const words[] = {
		[ASTERISK_FITS] = "right",
		[ASTERISK_WRONG] = "wrong",
		[ASTERISK_UNKNOWABLE] = "unknowable",
		[ASTERISK_UNLISTED] = "unlisted",
	};

	return words[fit];
}
