/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's end of the helper process that works for Asterisk (helper.h): has it do one task at
 * a time (asterisk_keeper.h), and takes what the security log gets. Nothing here waits.
 *
 * The helper writes one file, the config's ACL file, and only what asterisk_acl_check_file() takes
 * for one; it runs the config's command with the few commands of asterisk_cli.h, whose arguments
 * it checks itself; it reads one file, the config's security log. All three were fixed when it was
 * forked.
 */
#ifndef SIPFENCE_ASTERISK_LINK_H
#define SIPFENCE_ASTERISK_LINK_H

#include "asterisk_keeper.h"
#include "error.h"
#include "helper.h"
#include "loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct asterisk_link;

/* Of the security log. */
enum asterisk_log_news {
	ASTERISK_LOG_BYTES,   /* `bytes` go on where the former ended */
	ASTERISK_LOG_OPENED,  /* the file is followed from here: at the start from its end, later
				 from  the beginning of what has replaced it. What came before is
				 complete. */
	ASTERISK_LOG_MISSING, /* it is not there, or can't be read: `error`. Looked for again. */
};

struct asterisk_link_options {
	struct loop *loop;    /* kept */
	struct helper helper; /* taken over, also on failure */
	void *context;
	/* The task that was begun has ended. `outcome` is valid during the call. */
	void (*ended)(void *context, const struct asterisk_outcome *outcome);
	void (*log)(void *context, enum asterisk_log_news news, const char *bytes, size_t length,
		const struct error *error);
	/* The helper has ended, and nobody can start it again: no task will end any more. */
	void (*died)(void *context, const char *how);
};

int asterisk_link_open(struct asterisk_link **ret_link, const struct asterisk_link_options *options,
	struct error *error);
/* Returns NULL. The helper ends; nobody waits for it. Not to be called by the above, but for
 * `died`. */
struct asterisk_link *asterisk_link_close(struct asterisk_link *link);

/*
 * Not while one is under way; `ended` may begin the next. What the task points to is not needed
 * after the call. Negative: nothing is under way. -EINVAL: the task can't be said safely to
 * Asterisk (asterisk_cli.h), or has no such step; -EPIPE: the helper has ended, or ends by this.
 */
int asterisk_link_begin(
	struct asterisk_link *link, const struct asterisk_task *task, struct error *error);
/* What is left over from a full socket, and a helper that does not answer. */
void asterisk_link_tick(struct asterisk_link *link, int64_t now_ms);
int64_t asterisk_link_due(const struct asterisk_link *link); /* ms since boot */

#endif
