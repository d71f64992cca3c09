/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The helper process: what needs more privilege than the daemon keeps is done here. It is forked
 * before the daemon gives its privileges up, and only if the config asks for it. Now it runs hooks
 * (on-change); other kinds of requests have their place in codec/helper_message.h.
 *
 * - It has nothing of the daemon's but one end of a socket pair, and standard error. It has its own
 *   session, so no signal of a terminal reaches it, and ignores those that a supervisor sends to
 * all processes of a service: it ends when the daemon's end of the pair is closed, however that
 * came about. Hooks under way get SIGTERM then, and SIGKILL HELPER_GRACE_MS later.
 * - What is run was fixed when it was forked. What comes over the socket fills in the event alone.
 * A message that is not one, or more hooks at a time than HELPER_RUNNING, end it.
 * - It has no seccomp filter and does not set no_new_privs: hooks inherit both, and a hook may be a
 *   setuid thing like sudo, or hand a mail to a setgid postdrop. What hooks may do is the unit's
 *   matter.
 *
 * A hook's environment is PATH, and for each key of the event SIPFENCE_KEY (upper case, - is _).
 * Its standard input is the event as one JSON object and a line feed; all values are strings.
 */
#ifndef SIPFENCE_HELPER_H
#define SIPFENCE_HELPER_H

#include "error.h"

#include <sys/types.h>

enum {
	HELPER_RUNNING = 4, /* hooks at a time */
	HELPER_LIMIT_MS = 30 * 1000,
	HELPER_GRACE_MS = 5 * 1000,
};
#define HELPER_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct helper {
	int fd; /* of the pair: never blocks, closed on exec */
	pid_t pid;
};

/*
 * Forks it, to run `argv` (an absolute path and its arguments, ended by NULL), as the config says
 * that belongs to `owner`: see program.h for what that is good for. Before any thread.
 */
int helper_start(
	const char *const *argv, uid_t owner, struct helper *ret_helper, struct error *error);

#endif
