/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decisions about DNS questions under way: when to try again, at which server, when to fail,
 * and when DNS as a whole is dead. Values alone: what is decided here is sent elsewhere. All times
 * are milliseconds of one clock, and `now` is an argument.
 *
 * Steps. A question has one budget from its first try. It is cut into steps; a step that ends
 * without an answer starts another try, at the next server, beside those under way; the last step
 * ends the question. A lost packet costs a part of the budget that way, and so does a dead server:
 * the first round over all servers takes at most half of it, each later round twice as long as the
 * one before.
 *
 * Servers are asked in their order. One that stays silent to a few tries in a row is asked behind
 * the others, and first again every few seconds, until it says anything. A server that cannot
 * answer (SERVFAIL, REFUSED, nobody listens) does not decide while one that is not silent, or has
 * said anything within the last budget, has yet to be asked or to answer.
 *
 * A question may be for some servers only: then the others are as good as none to it, and as long
 * as one of those speaks its failure raises no doubt.
 *
 * Doubt. Silence tells nothing by itself whether the server is dead or only that name: a resolver
 * is silent for as long as it waits for a dead name's own servers. So one question that fails
 * without a word from any server since its first try begins a doubt. In doubt only canaries are
 * sent: questions from the far end of the queue and from all over it, at other places each time,
 * and as the last one a question for the root, which a server answers whatever becomes of the names
 * in the queue. Any word from any server, late ones included, ends the doubt. When all the canaries
 * have failed without one, DNS is dead. Canaries count as under way like any question; there are as
 * many as may be under way at once, but COURSE_CANARIES_LEAST to COURSE_CANARIES_MOST, so that the
 * verdict takes two to three budgets, and at most five with fewer than COURSE_CANARIES_LEAST at
 * once.
 */
#ifndef SIPFENCE_COURSE_H
#define SIPFENCE_COURSE_H

#include "answer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	COURSE_MAX_SERVERS = 64, /* bits of course_try.tried */
	COURSE_MAX_STEPS = 8,

	COURSE_SILENT_AFTER = 3, /* unanswered tries in a row: ask the others first */
	COURSE_PROBE_MS = 5000,	 /* ask a silent server first again */
	COURSE_MAX_FAULTS = 2,	 /* immediate new tries, beside one for each further server */

	COURSE_CANARIES_LEAST = 4,
	COURSE_CANARIES_MOST = 16,
};

struct course_server {
	int64_t heard; /* its last word */
	int64_t probe; /* when to ask it first although it is silent */
	uint32_t misses;
	bool plain; /* does not know EDNS */
};

struct course {
	struct course_server servers[COURSE_MAX_SERVERS];
	uint32_t server_count;
	uint32_t step_count;
	int64_t due[COURSE_MAX_STEPS]; /* when a step ends, since the first try */
	int64_t patience;	       /* due[0] may be less than this; 0: it may not */

	uint32_t canaries; /* failed ones that prove DNS dead */
	struct {
		uint32_t number; /* of this doubt, or of the last one */
		bool open;
		uint32_t sent, failed;
		enum answer_reason reason; /* of the last one that failed */
	} doubt;
};

/* A question under way. Zeroed but for `only`, then course_begin(). */
struct course_try {
	int64_t started, sent; /* the first try, the last one */
	uint64_t only;	       /* bit i: servers[i] may be asked; 0: all may */
	uint64_t tried;	       /* bit i: servers[i], in this round */
	uint32_t doubt;	       /* course.doubt.number at the first try */
	uint8_t server;	       /* of the last try */
	uint8_t step; /* kept by the caller: COURSE_ASK of course_due() makes it course_step() */
	uint8_t faults;
	uint8_t reason; /* enum answer_reason: why the last try failed */
};

enum course_next {
	COURSE_WAIT, /* a try under way or the next step decides */
	COURSE_EASE, /* wait, and have fewer under way: the server says "too many at once" */
	COURSE_ASK,  /* now, at the next server */
	COURSE_FAIL, /* could not ask, for course_reason() */
};

/* How a try failed. */
struct course_failure {
	uint32_t server;
	enum answer_reason reason;
	bool spoke;    /* a message of the server says so; else nothing could be sent or listens */
	bool no_edns;  /* the message objects to EDNS */
	bool crowded;  /* so many are under way that REFUSED may mean "too many at once" */
	uint64_t open; /* bit i: another try, at servers[i], is under way */
};

/* `servers` is 1 to COURSE_MAX_SERVERS, `budget` at least 1; `in_flight` 0 is "adapt". */
void course_plan(struct course *course, uint32_t servers, uint32_t budget, uint32_t in_flight);

/* The first try is to be sent. */
void course_begin(const struct course *course, struct course_try *try, int64_t now);
/* The server that the try is to be sent to. */
uint32_t course_choose(struct course *course, struct course_try *try, int64_t now);
/* Any message came from the server. */
void course_heard(struct course *course, uint32_t server, int64_t now);
/* A try failed before its step was over; what the server said went to course_heard() already. */
enum course_next course_failed(struct course *course, struct course_try *try,
	const struct course_failure *failure, int64_t now);
/* The step is over: COURSE_ASK, or COURSE_FAIL. */
enum course_next course_due(struct course *course, const struct course_try *try, int64_t now);
/* The step after that: the first one that is not over yet, if the caller has come late. */
unsigned course_step(const struct course *course, const struct course_try *try, int64_t now);
/* Why a question fails whose time is over. */
enum answer_reason course_reason(const struct course_try *try);
/* The step was not the first one and is over, but the server lives: its tries get lost. */
bool course_lost(const struct course *course, const struct course_try *try);
/* The question has its first answer; REASON_NONE when that was no failure. */
void course_ended(struct course *course, const struct course_try *try, enum answer_reason reason);

/* May another question be sent now? Not in doubt, once all the canaries are. */
bool course_may_ask(const struct course *course);
/* Which one, when course_may_ask() and `queued` (> 0) wait; course_begin() comes next. */
struct course_pick {
	bool root;    /* the root; a queued one otherwise */
	size_t index; /* from the front of the queue */
};
struct course_pick course_pick(struct course *course, size_t queued, int64_t now);
/* Why DNS is dead; REASON_NONE: it is not. */
enum answer_reason course_dead(const struct course *course);
/* Doubt starts anew with the next failure: the queue was given up, or all is answered. */
void course_settle(struct course *course);

#endif
