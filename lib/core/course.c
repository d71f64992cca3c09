/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "course.h"

#include <string.h>

enum { STEP_MAX_MS = 1000 };

void course_plan(struct course *course, uint32_t servers, uint32_t budget, uint32_t in_flight)
{
	int64_t length = budget / 4, at = 0;

	memset(course, 0, sizeof(*course));
	course->server_count = servers;
	course->canaries =
		in_flight && in_flight < COURSE_CANARIES_MOST ? in_flight : COURSE_CANARIES_MOST;
	if (course->canaries < COURSE_CANARIES_LEAST)
		course->canaries = COURSE_CANARIES_LEAST;

	if (length > budget / (2 * (int64_t)servers))
		length = budget / (2 * (int64_t)servers);
	if (length > STEP_MAX_MS)
		length = STEP_MAX_MS;
	course->patience = length / 2;
	if (course->patience)
		course->due[course->step_count++] = course->patience;
	if (length < 1)
		length = 1;
	for (unsigned tries = 0; course->step_count + 1 < COURSE_MAX_STEPS; tries++) {
		at += length << tries / servers;
		if (at >= budget)
			break;
		course->due[course->step_count++] = at;
	}
	course->due[course->step_count++] = budget;
}

/* --- Servers --- */

static bool silent(const struct course_server *server)
{
	return server->misses >= COURSE_SILENT_AFTER;
}

static bool may_ask(const struct course_try *try, uint32_t server)
{
	return !try->only || (try->only >> server & 1);
}

/*
 * Of those that the question may ask. A few tries of a slow server, sent at once, make it silent
 * until the next answer is there, a moment later: it has not gone.
 */
static uint64_t speaking(const struct course *course, const struct course_try *try, int64_t now)
{
	int64_t budget = course->due[course->step_count - 1];
	uint64_t servers = 0;

	for (uint32_t i = 0; i < course->server_count; i++) {
		const struct course_server *server = &course->servers[i];
		bool lately = server->heard > 0 && now - server->heard < budget;

		servers |= (uint64_t)(may_ask(try, i) && (!silent(server) || lately)) << i;
	}
	return servers;
}

static uint32_t choices(const struct course *course, const struct course_try *try)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < course->server_count; i++)
		count += may_ask(try, i);
	return count;
}

static void missed(struct course_server *server, int64_t sent, int64_t now)
{
	if (server->heard >= sent)
		return; /* it lives; this name is slow */
	if (++server->misses == COURSE_SILENT_AFTER)
		server->probe = now + COURSE_PROBE_MS;
}

void course_heard(struct course *course, uint32_t server, int64_t now)
{
	course->servers[server].heard = now;
	course->servers[server].misses = 0;
	course_settle(course);
}

/* The first one that the question has not been at in this round, silent ones last. */
static uint32_t first_choice(struct course *course, const struct course_try *try, int64_t now)
{
	uint32_t chosen = course->server_count;

	for (uint32_t i = 0; i < course->server_count; i++) {
		struct course_server *server = &course->servers[i];
		if (!may_ask(try, i) || try->tried >> i & 1)
			continue;
		if (!silent(server))
			return i;
		if (now >= server->probe) {
			server->probe = now + COURSE_PROBE_MS;
			return i;
		}
		if (chosen == course->server_count)
			chosen = i;
	}
	return chosen;
}

uint32_t course_choose(struct course *course, struct course_try *try, int64_t now)
{
	uint32_t chosen = first_choice(course, try, now);

	if (chosen == course->server_count) {
		try->tried = 0;
		chosen = first_choice(course, try, now);
	}
	try->tried |= UINT64_C(1) << chosen;
	try->server = (uint8_t)chosen;
	try->sent = now;
	return chosen;
}

/* --- One question --- */

void course_begin(const struct course *course, struct course_try *try, int64_t now)
{
	try->started = now;
	try->doubt = course->doubt.number;
}

static enum course_next unsent(
	struct course *course, struct course_try *try, uint32_t server, int64_t now)
{
	missed(&course->servers[server], try->sent, now);
	if (try->faults >= COURSE_MAX_FAULTS + choices(course, try) - 1)
		return COURSE_FAIL;
	try->faults++;
	return COURSE_ASK;
}

static enum course_next rejected(struct course *course, const struct course_try *try,
	const struct course_failure *failure, int64_t now)
{
	bool first_of_steps = !try->step && course->step_count > 1;

	if (failure->no_edns) {
		course->servers[failure->server].plain = true;
		return COURSE_ASK;
	}
	if (speaking(course, try, now) & ~try->tried)
		return COURSE_ASK;
	/* dnsmasq's way to say "too many at once": once more, at the next step. */
	if (failure->reason == REASON_SERVER_REFUSED && failure->crowded && first_of_steps)
		return COURSE_EASE;
	return COURSE_FAIL;
}

enum course_next course_failed(struct course *course, struct course_try *try,
	const struct course_failure *failure, int64_t now)
{
	enum course_next next;

	/* That signatures are wrong is what an admin must hear of, whatever another server says. */
	if (try->reason != REASON_BOGUS)
		try->reason = (uint8_t)failure->reason;
	next = failure->spoke ? rejected(course, try, failure, now)
			      : unsent(course, try, failure->server, now);
	if (next == COURSE_FAIL && speaking(course, try, now) & (~try->tried | failure->open))
		return COURSE_WAIT;
	return next;
}

enum course_next course_due(struct course *course, const struct course_try *try, int64_t now)
{
	unsigned last = course->step_count - 1;

	missed(&course->servers[try->server], try->sent, now);
	return try->step < last && now < try->started + course->due[last] ? COURSE_ASK
									  : COURSE_FAIL;
}

unsigned course_step(const struct course *course, const struct course_try *try, int64_t now)
{
	unsigned step = try->step + 1U;

	while (step + 1 < course->step_count && now >= try->started + course->due[step])
		step++;
	return step;
}

enum answer_reason course_reason(const struct course_try *try)
{
	return try->reason ? (enum answer_reason)try->reason : REASON_TIMEOUT;
}

bool course_lost(const struct course *course, const struct course_try *try)
{
	return try->step && course->servers[try->server].heard >= try->started;
}

/* --- Doubt --- */

static bool heard_since(const struct course *course, int64_t when)
{
	for (uint32_t i = 0; i < course->server_count; i++)
		if (course->servers[i].heard >= when)
			return true;
	return false;
}

void course_settle(struct course *course)
{
	course->doubt.open = false;
}

void course_ended(struct course *course, const struct course_try *try, enum answer_reason reason)
{
	bool canary = course->doubt.open && try->doubt == course->doubt.number;

	if (!reason) {
		/* Answered without asking anybody (*.onion): another one takes its place. */
		if (canary)
			course->doubt.sent--;
		return;
	}
	if (heard_since(course, try->started))
		return;
	if (!course->doubt.open) {
		course->doubt.number++;
		course->doubt.open = true;
		course->doubt.sent = course->doubt.failed = 0;
	}
	course->doubt.failed += canary;
	course->doubt.reason = reason;
}

bool course_may_ask(const struct course *course)
{
	return !course->doubt.open || course->doubt.sent < course->canaries;
}

struct course_pick course_pick(struct course *course, size_t queued, int64_t now)
{
	uint32_t samples = course->canaries - 1, number;

	if (!course->doubt.open)
		return (struct course_pick){.index = 0};
	number = course->doubt.sent++;
	if (number == samples)
		return (struct course_pick){.root = true};
	if (!number)
		return (struct course_pick){.index = queued - 1};
	return (struct course_pick){
		.index = (size_t)((uint64_t)now + (uint64_t)queued * number / samples) % queued,
	};
}

enum answer_reason course_dead(const struct course *course)
{
	if (!course->doubt.open || course->doubt.failed < course->canaries)
		return REASON_NONE;
	return course->doubt.reason;
}
