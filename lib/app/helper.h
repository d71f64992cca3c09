/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The helper process (helper_frame.h) that runs hooks (on-change), which need more privilege than
 * the daemon keeps. What else the daemon has done for it is done by other processes of that kind
 * (helper_asterisk.h), so that neither holds up the other.
 *
 * - It ends when the daemon's end of its socket is closed. Hooks under way get SIGTERM then, and
 *   SIGKILL HELPER_GRACE_MS later.
 * - What is run was fixed when it was forked. What comes over the socket fills in the event alone.
 *   A message that is not one, or more hooks at a time than HELPER_RUNNING, end it.
 * - A hook may be a setuid thing like sudo, or hand a mail to a setgid postdrop: what hooks may do
 *   is the unit's matter.
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
