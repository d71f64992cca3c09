/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One round of throwing out the registrations that the ACLs do not permit, for asterisk_keeper.h:
 * it says what is to be done next, and is told what came of it.
 *
 *   contacts -> each wrong one is evicted, step by step -> contacts again: are they gone? ->
 *   if asked for: channels -> each of those extensions is hung up
 *
 * An ACL removes no registration that is there: who was let in before it goes on receiving calls.
 */
#ifndef SIPFENCE_ASTERISK_EVICT_H
#define SIPFENCE_ASTERISK_EVICT_H

#include "asterisk_keeper.h"

enum asterisk_evict_phase {
	ASTERISK_EVICT_NONE = 0, /* no round is under way */
	ASTERISK_EVICT_LIST,
	ASTERISK_EVICT_WORK,
	ASTERISK_EVICT_PROVE,
	ASTERISK_EVICT_CHANNELS,
	ASTERISK_EVICT_HANGUP,
};

struct asterisk_target;

/* A zeroed struct is one without a round. */
struct asterisk_evict {
	engine_log_fn *log;
	void *context; /* for `log` */
	bool hangup;
	enum asterisk_evict_phase phase;
	int64_t at; /* not before: ms */
	struct asterisk_contacts contacts;
	struct asterisk_target *targets;
	size_t count, cursor;
	unsigned proofs; /* looks that have found some of them still there */
	char **channels;
	size_t channel_count;
	unsigned lines;		   /* said in this round */
	size_t left_out;	   /* not said */
	size_t left;		   /* of this round: still there */
	bool more;		   /* there were too many for one round */
	size_t turn;		   /* where in the list the next round begins */
	uint64_t evicted, hung_up; /* since the start */
};

/* What is judged, now. `verified(context, i)`: acls->list[i] is in force, and what it should permit
 * is known; what it does not permit is only evicted then. */
struct asterisk_evict_judge {
	const struct asterisk_acls *acls;
	bool (*verified)(const void *context, uint32_t index);
	const void *context;
};

void asterisk_evict_begin(struct asterisk_evict *evict, int64_t now_ms);
/* False: the round has ended; evict->left and evict->more tell how. Not before evict->at. */
bool asterisk_evict_next(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge,
	struct asterisk_task *task, int64_t now_ms);
/*
 * What came of the task: 0, or ASTERISK_ASK_UNKNOWN of an Asterisk that has booted (the driver is
 * not loaded). Negative: the round can't go on (-ENOMEM, -ENOSYS), and has ended; `error` is set.
 */
int asterisk_evict_done(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge,
	const struct asterisk_task *task, const struct asterisk_outcome *outcome, int64_t now_ms,
	struct error *error);
/* Ends the round, if one is under way; what it has done already is said. */
void asterisk_evict_stop(struct asterisk_evict *evict);
/* Frees what it holds. */
void asterisk_evict_clear(struct asterisk_evict *evict);

#endif
