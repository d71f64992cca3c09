/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All questions of a roster by number, and when each is due.
 *
 * Of roster.hosts[h] and a family: 2 h + family; then the SRV names. Only the first host of a
 * question (roster.h) has it, and its answers are for all hosts of that question. Expiries: hosts,
 * then SRV names. Times are milliseconds since boot.
 */
#ifndef SIPFENCE_QUESTION_INDEX_H
#define SIPFENCE_QUESTION_INDEX_H

#include "roster.h"
#include "schedule.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum question_flag {
	QUESTION_ASKED = 1,   /* the resolver has it */
	QUESTION_SETTLED = 2, /* its last outcome was an answer, in this run, and in its own time */
	QUESTION_ODD = 4,     /* tells the last time it was asked from the time before */
	QUESTION_HEARD = 8,   /* while it is asked, an answer to the time before has come */
	QUESTION_EARLY = 16,  /* it was asked before DNS came back: its failure says little */
	QUESTION_AGAIN = 32,  /* a refresh has come while it is asked: an answer may be older */
};

struct question_index {
	size_t hosts, srvs;
	size_t bad;	  /* questions whose last outcome was a failure */
	size_t asked_for; /* questions that there are: a second host of a name has none */
	struct schedule questions, expiries;
	uint8_t *flags;	   /* of each question, enum question_flag */
	uint64_t *tickets; /* of each question: the first that waits for it; 0: none */
	uint64_t *later;   /* the same, of those that came while it was asked */
	uint32_t *streaks; /* of each question: the streak of failures it went bad in; 0: it is good
			    */
	struct binding *owners; /* roster.bindings, sorted by host */
	size_t owner_count;
};

/* Nothing is due in it. -ENOMEM. */
int question_index_make(const struct roster *roster, struct question_index *ret_index);
void question_index_clear(struct question_index *index);
void question_index_all_due(
	struct question_index *index, const struct roster *roster, int64_t now_ms);

/* From an older index to one that is empty. */
struct carriage {
	const struct question_index *old;
	struct question_index *index;
	int64_t now_ms, latest_ms;
};
/*
 * Questions that stay keep their time, up to latest_ms; new ones are due now, and those that were
 * under way. `former` is the older roster.
 */
void question_index_carry(
	const struct carriage *carriage, const struct roster *roster, const struct roster *former);

size_t question_of(size_t host, enum family family);
size_t question_of_srv(const struct question_index *index, size_t srv);
size_t question_count(const struct question_index *index);

#endif
