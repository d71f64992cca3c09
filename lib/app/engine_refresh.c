/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_state.h"

#include <errno.h>
#include <string.h>

static void want(struct engine *engine, size_t question, uint64_t ticket, size_t *outstanding)
{
	struct question_index *index = &engine->index;
	uint64_t *waits = index->flags[question] & QUESTION_ASKED ? &index->later[question]
								  : &index->tickets[question];

	/* Who waits already is served by the same answer, and tickets end in their order. */
	if (*waits == 0) {
		*waits = ticket;
		++*outstanding;
	}
	/* The answers of many come in a wave, as after the start. */
	index->flags[question] &= (uint8_t)~QUESTION_SETTLED;
	if (index->flags[question] & QUESTION_ASKED)
		index->flags[question] |= QUESTION_AGAIN;
	else
		schedule_set(&index->questions, question, engine->now_ms);
}

static bool want_name(struct engine *engine, const char *name, uint64_t ticket, size_t *outstanding)
{
	const struct roster *roster = engine->cycle.roster;
	const struct srv *srv = roster_find_srv(roster, name);
	size_t low = 0, high = roster->host_count;

	if (srv)
		want(engine, question_of_srv(&engine->index, (size_t)(srv - roster->srvs)), ticket,
			outstanding);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(roster->hosts[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == roster->host_count || strcmp(roster->hosts[low].name, name) != 0)
		return srv;
	for (size_t i = low; roster_same_name(roster, low, i); i++) {
		for (int family = 0;
			roster_is_first_of_question(roster, i) && family < FAMILY_COUNT; family++)
			want(engine, question_of(i, (enum family)family), ticket, outstanding);
	}
	return true;
}

static void want_all(struct engine *engine, uint64_t ticket, size_t *outstanding)
{
	const struct roster *roster = engine->cycle.roster;

	for (size_t i = 0; i < roster->host_count; i++) {
		for (int family = 0;
			roster_is_first_of_question(roster, i) && family < FAMILY_COUNT; family++)
			want(engine, question_of(i, (enum family)family), ticket, outstanding);
	}
	for (size_t i = 0; i < roster->srv_count; i++)
		want(engine, question_of_srv(&engine->index, i), ticket, outstanding);
	engine_doubt(engine);
}

int engine_refresh(struct engine *engine, const char *const *names, size_t count,
	const struct moment *now, uint64_t *ret_ticket, struct error *error)
{
	uint64_t ticket = engine->last_ticket + 1;
	size_t outstanding = 0;
	int result = 0;

	/* Younger tickets count on those that are waited for already. */
	if (engine->tickets[ticket % TICKETS].outstanding > 0)
		return error_set(error, -EBUSY, "try again in some seconds",
			"%d refreshes wait for DNS already", TICKETS);
	engine->last_ticket = ticket;
	engine_advance(engine, now);
	if (count == 0)
		want_all(engine, ticket, &outstanding);
	for (size_t i = 0; i < count; i++) {
		if (!want_name(engine, names[i], ticket, &outstanding))
			result = error_set(error, -ENOENT,
				"see `sipfence status` for the names that are asked; a new one is "
				"taken up by `sipfence reload`",
				"%s is no name of the config that is in force", names[i]);
	}
	engine->tickets[ticket % TICKETS].id = ticket;
	engine->tickets[ticket % TICKETS].outstanding = outstanding;
	*ret_ticket = ticket;
	return result;
}

void engine_end_ticket(struct engine *engine, uint64_t id)
{
	for (size_t i = 0; id && i < TICKETS; i++) {
		if (engine->tickets[i].id == id && engine->tickets[i].outstanding > 0)
			engine->tickets[i].outstanding--;
	}
}

static void count_ticket(struct engine *engine, uint64_t id)
{
	if (id && engine->tickets[id % TICKETS].id == id)
		engine->tickets[id % TICKETS].outstanding++;
}

void engine_count_tickets(struct engine *engine)
{
	for (size_t i = 0; i < TICKETS; i++)
		engine->tickets[i].outstanding = 0;
	for (size_t i = 0; i < question_count(&engine->index); i++) {
		count_ticket(engine, engine->index.tickets[i]);
		count_ticket(engine, engine->index.later[i]);
	}
}

bool engine_refreshed(const struct engine *engine, uint64_t ticket)
{
	for (size_t i = 0; i < TICKETS; i++) {
		if (engine->tickets[i].id <= ticket && engine->tickets[i].outstanding > 0)
			return false;
	}
	return true;
}
