/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waits for descriptors, one timer and signals, and calls those who are concerned. There is no
 * other wait in the daemon, and no wake-up without a cause.
 *
 *     while (!done) {
 *             loop_set_timer(loop, whatever_is_due_first);
 *             if (loop_wait(loop, &error) < 0)
 *                     break;
 *             ... what is due by the clock ...
 *     }
 *
 * The timer calls nobody: loop_wait() returns, and its caller looks at the clock.
 */
#ifndef SIPFENCE_LOOP_H
#define SIPFENCE_LOOP_H

#include "error.h"

#include <stdint.h>

struct loop;

enum loop_event {
	LOOP_READ = 1,
	LOOP_WRITE = 2,
	LOOP_HANGUP = 4, /* the other side is gone, or an error is pending; comes unasked */
};

/* `events`: which of loop_event are so. */
typedef void loop_fn(void *context, int fd, unsigned events);

int loop_new(struct loop **ret_loop, struct error *error);
/* Returns NULL. Gives back the signals that loop_signals() took; the descriptors stay open. */
struct loop *loop_free(struct loop *loop);

/*
 * Calls `call` for as long as `fd` is ready for any of `events` (0: for a hang-up alone). The fd is
 * the caller's, who forgets it before closing it. -EEXIST: it is watched already; -EPERM: a file or
 * a folder, which is always ready; -ENOMEM, -ENOSPC (fs.epoll.max_user_watches).
 */
int loop_watch(struct loop *loop, int fd, unsigned events, loop_fn *call, void *context);
/* Other events for a watched fd; the same ones again cost nothing. -ENOENT: it is not watched. */
int loop_change(struct loop *loop, int fd, unsigned events);
/*
 * An fd that is not watched, or is -1, is no error. May be called by any `call`, for any fd: what
 * was ready in the same round is not delivered any more, also when the number is in use again at
 * once, and watched anew.
 */
void loop_forget(struct loop *loop, int fd);

/*
 * From this moment on (milliseconds since boot, clock.h; one that is past: at once) loop_wait()
 * does not wait; once, then it has to be set again. There is one timer: each call replaces the one
 * before. INT64_MAX: never. The same value again makes no system call.
 */
int loop_set_timer(struct loop *loop, int64_t boot_ms);

/*
 * SIGTERM, SIGINT and SIGHUP come as calls from loop_wait() from now on; SIGPIPE is ignored. The
 * three are blocked in this process, so a child has to unblock them. Once a loop, before anything
 * that such a signal must not end.
 */
typedef void loop_signal_fn(void *context, int signal);
int loop_signals(struct loop *loop, loop_signal_fn *call, void *context, struct error *error);

/*
 * Waits until something is ready, without a time limit, and calls for what is. 0; or negative: it
 * can't wait any more.
 */
int loop_wait(struct loop *loop, struct error *error);

#endif
