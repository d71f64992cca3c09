/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "question_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t question_of(size_t host, enum family family)
{
	return host * FAMILY_COUNT + (size_t)family;
}

size_t question_of_srv(const struct question_index *index, size_t srv)
{
	return index->hosts * FAMILY_COUNT + srv;
}

size_t question_count(const struct question_index *index)
{
	return index->hosts * FAMILY_COUNT + index->srvs;
}

static int compare_by_host(const void *a, const void *b)
{
	const struct binding *left = a, *right = b;

	if (left->host != right->host)
		return left->host < right->host ? -1 : 1;
	return left->owner < right->owner ? -1 : left->owner > right->owner;
}

void question_index_clear(struct question_index *index)
{
	schedule_clear(&index->questions);
	schedule_clear(&index->expiries);
	free(index->flags);
	free(index->tickets);
	free(index->later);
	free(index->streaks);
	free(index->owners);
	*index = (struct question_index){0};
}

int question_index_make(const struct roster *roster, struct question_index *ret_index)
{
	struct question_index index = {.hosts = roster->host_count, .srvs = roster->srv_count};
	size_t count = question_count(&index);

	index.flags = calloc(count + 1, sizeof(*index.flags));
	index.tickets = calloc(count + 1, sizeof(*index.tickets));
	index.later = calloc(count + 1, sizeof(*index.later));
	index.streaks = calloc(count + 1, sizeof(*index.streaks));
	index.owners = calloc(roster->binding_count + 1, sizeof(*index.owners));
	if (!index.flags || !index.tickets || !index.later || !index.streaks || !index.owners ||
		schedule_init(&index.questions, count) < 0 ||
		schedule_init(&index.expiries, index.hosts + index.srvs) < 0) {
		question_index_clear(&index);
		return -ENOMEM;
	}
	index.asked_for = index.srvs;
	for (size_t i = 0; i < index.hosts; i++)
		index.asked_for += roster_is_first_of_question(roster, i) ? FAMILY_COUNT : 0;
	index.owner_count = roster->binding_count;
	if (index.owner_count) {
		memcpy(index.owners, roster->bindings, index.owner_count * sizeof(*index.owners));
		qsort(index.owners, index.owner_count, sizeof(*index.owners), compare_by_host);
	}
	*ret_index = index;
	return 0;
}

static void carry_question(const struct carriage *carriage, size_t from, size_t to)
{
	const struct question_index *old = carriage->old;
	int64_t due = schedule_due(&old->questions, from);

	/* What was under way is lost with the resolver. */
	if (old->flags[from] & QUESTION_ASKED || due == INT64_MAX)
		due = carriage->now_ms;
	carriage->index->flags[to] = old->flags[from] & QUESTION_SETTLED;
	carriage->index->tickets[to] = old->tickets[from];
	carriage->index->later[to] = old->later[from];
	carriage->index->streaks[to] = old->streaks[from];
	carriage->index->bad += old->streaks[from] != 0;
	schedule_set(&carriage->index->questions, to,
		due < carriage->latest_ms ? due : carriage->latest_ms);
}

/* The host of that question, where names go up; SIZE_MAX: there was none. */
static size_t find_former(const struct roster *former, const struct host *host, size_t *from)
{
	while (*from < former->host_count && strcmp(former->hosts[*from].name, host->name) < 0)
		++*from;
	for (size_t i = *from; i < former->host_count; i++) {
		if (strcmp(former->hosts[i].name, host->name) != 0)
			break;
		if (former->hosts[i].validated == host->validated)
			return i;
	}
	return SIZE_MAX;
}

static void carry_host(
	const struct carriage *carriage, const struct host *host, size_t to, size_t from)
{
	bool known = from != SIZE_MAX;

	for (int family = 0; family < FAMILY_COUNT; family++) {
		size_t question = question_of(to, (enum family)family);

		if (known)
			carry_question(carriage, question_of(from, (enum family)family), question);
		if (!known || host->lookup[family].last == ANSWER_NEVER)
			schedule_set(&carriage->index->questions, question, carriage->now_ms);
	}
}

void question_index_carry(
	const struct carriage *carriage, const struct roster *roster, const struct roster *former)
{
	size_t from = 0;

	for (size_t to = 0; to < roster->host_count; to++) {
		const struct host *host = &roster->hosts[to];

		if (!roster_is_first_of_question(roster, to))
			continue;
		carry_host(carriage, host, to, find_former(former, host, &from));
	}
	for (size_t i = 0; i < roster->srv_count; i++) {
		const struct srv *srv = roster_find_srv(former, roster->srvs[i].name);
		size_t question = question_of_srv(carriage->index, i);

		if (srv)
			carry_question(carriage,
				question_of_srv(carriage->old, (size_t)(srv - former->srvs)),
				question);
		else
			schedule_set(&carriage->index->questions, question, carriage->now_ms);
	}
}

void question_index_all_due(
	struct question_index *index, const struct roster *roster, int64_t now_ms)
{
	for (size_t i = 0; i < roster->host_count; i++) {
		for (int family = 0;
			roster_is_first_of_question(roster, i) && family < FAMILY_COUNT; family++)
			schedule_set(
				&index->questions, question_of(i, (enum family)family), now_ms);
	}
	for (size_t i = 0; i < roster->srv_count; i++)
		schedule_set(&index->questions, question_of_srv(index, i), now_ms);
}
