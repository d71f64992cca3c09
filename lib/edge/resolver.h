/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asks DNS, by c-ares (which no other source file mentions). The caller owns the loop: poll
 * resolver_fd() for reading, for at most resolver_wait_ms(), then resolver_dispatch().
 *
 *  - A question is one (name, type), asked as an absolute name: no search list, no hosts file.
 *  - It has one budget, options.timeout_ms from the moment it is first sent, over all servers and
 *    retries, by our own clock. When that is spent it is answered "could not ask", for what a
 * server said last, or else for time-out. An answer (a failure is none) that arrives after all is
 *    delivered too, once, as a second answer to the same tag, for about one more budget's length;
 *    sooner given up when its source port is needed for others.
 *  - At most options.in_flight questions are under way; 0 adapts: it grows while answers come, and
 *    shrinks when questions time out or need a second try.
 *  - A server that cannot answer (SERVFAIL, REFUSED, nobody listens, ...) does not decide while
 *    another one, that is not known to be silent, has yet to be asked or to answer; NXDOMAIN and
 * "no data" are answers and decide. A server that stays silent is asked last until it speaks again.
 *  - Dead DNS does not cost a budget for each question. When questions from all over the queue, and
 *    one for the root, have all failed without a word from any server (core/course.h: within two to
 *    five budgets, at once where nobody listens), all that are still queued are answered "could not
 *    ask" without being sent, for the same reason. Those asked later are sent again. Names that a
 *    living server is silent about hold up a slot for a budget each and nothing else.
 *  - A question that is to be validated goes to trusted servers alone, and asks for the AD bit (RFC
 *    6840, 5.7). Where there is no such server it is answered at once, REASON_NO_TRUSTED, unsent.
 *    The AD bit counts in answers to these questions only.
 *  - No source port serves more than 100 questions. Ids are the kernel's random numbers.
 *  - Truncated answers are asked again over TCP.
 */
#ifndef SIPFENCE_RESOLVER_H
#define SIPFENCE_RESOLVER_H

#include "answer.h"
#include "config.h"
#include "dns_message.h"
#include "error.h"

#include <stddef.h>
#include <stdint.h>

struct resolver;

struct resolver_options {
	const struct config_server *servers; /* copied */
	size_t server_count;		     /* 0: resolv.conf, its first COURSE_MAX_SERVERS */
	const struct prefix *trusted;	     /* those whose AD bit counts; not kept */
	size_t trusted_count;
	uint32_t timeout_ms;
	uint32_t in_flight; /* 0: adapt */
};

enum resolver_need {
	RESOLVER_ANY,	    /* whoever answers */
	RESOLVER_VALIDATED, /* a trusted server, and it says whether the answer is validated */
};

/* `answer` is unguarded, and valid during the call only. resolver_ask() may be called from it. */
typedef void resolver_answer_fn(void *context, uint64_t tag, const struct answer *answer);

struct resolver_stats {
	/* Questions: sent; answered, unsent ones included; of these for time-out; answered late. */
	uint64_t asked, answered, timed_out, late;
	uint32_t in_flight, in_flight_limit, in_flight_peak; /* with the one for the root */
};

int resolver_new(struct resolver **ret_resolver, const struct resolver_options *options,
	resolver_answer_fn *answer, void *context, struct error *error);
struct resolver *resolver_free(struct resolver *resolver); /* returns NULL; answers nothing more */

/*
 * Queues a question. `name` is normalised (fqdn.h) and must outlive the resolver; `tag` comes back
 * with the answer. Nothing is answered before the next resolver_dispatch(). -ENOMEM.
 */
int resolver_ask(struct resolver *resolver, const char *name, enum dns_type type,
	enum resolver_need need, uint64_t tag);

int resolver_fd(const struct resolver *resolver); /* an epoll descriptor */
/* How long resolver_dispatch() can wait for at most; -1: until the descriptor is readable. */
int resolver_wait_ms(const struct resolver *resolver);
/* Sends, receives, times out; calls `answer`. Never blocks. */
int resolver_dispatch(struct resolver *resolver, struct error *error);
/* Questions that have not had their first answer, queued ones included. */
size_t resolver_unanswered(const struct resolver *resolver);
/*
 * All questions have been sent, some were answered, the others wait for longer than answers take
 * here, and no more come: what is left is slow, failing or silent. Returns in how many milliseconds
 * that will be so if nothing comes; 0: it is so; -1: there is more to send, or nothing was
 * answered.
 */
int resolver_quiet_in_ms(const struct resolver *resolver);
struct resolver_stats resolver_stats(const struct resolver *resolver);

#endif
