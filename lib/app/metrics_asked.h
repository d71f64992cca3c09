/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers to who asks a daemon for its metrics (`status --prometheus`). A thread of its own reads
 * the kernel's counters, which takes 13 ms where 12,288 sources were kept out: the loop has the
 * finished answer made when metrics_asked_fd() is readable. One reading serves all who asked before
 * it began.
 */
#ifndef SIPFENCE_METRICS_ASKED_H
#define SIPFENCE_METRICS_ASKED_H

#include "error.h"
#include "status.h"
#include "text.h"

#include <stdint.h>

struct metrics_asked;

/* `metrics` NULL: there won't be any, it ends; failed: out of memory. */
typedef void metrics_asked_fn(void *context, uint64_t ticket, const struct text *metrics);

int metrics_asked_open(struct metrics_asked **ret_asked, metrics_asked_fn *answer, void *context,
	struct error *error);
int metrics_asked_fd(const struct metrics_asked *asked);
/* `answer` is called once for `ticket`, later. -ENOMEM: it is not. */
int metrics_asked_begin(struct metrics_asked *asked, const struct view *view, uint64_t ticket);
/* Whenever the fd is readable. */
void metrics_asked_take(struct metrics_asked *asked, const struct view *view);
/* Returns NULL. Waits for a reading that is under way. `asked` may be NULL. */
struct metrics_asked *metrics_asked_close(struct metrics_asked *asked);

#endif
