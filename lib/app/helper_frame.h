/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all helper processes have in common: they are forked before the daemon gives its privileges
 * up, and only if the config asks for what they do.
 *
 * Such a process has nothing of the daemon's but one end of a socket pair, and standard error. It
 * has its own session, so no signal of a terminal reaches it, and ignores those that a supervisor
 * sends to all processes of a service: it ends when the daemon's end of the pair is closed, however
 * that came about, and when it is sent what is no request. It has no seccomp filter and does not
 * set no_new_privs: what it runs would inherit both.
 */
#ifndef SIPFENCE_HELPER_FRAME_H
#define SIPFENCE_HELPER_FRAME_H

#include "error.h"
#include "helper.h"
#include "helper_talk.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct helper_frame {
	int socket; /* to the daemon; never blocks */
	int signals;
	pid_t parent;
	bool done; /* it is to end */
	int exit_code;
};

/* Runs in the new process, until frame->done. `context` is a copy, as is all memory. */
typedef void helper_work_fn(struct helper_frame *frame, void *context);
/* Forks it. `name` is what ps(1) shows, `purpose` for messages: "that runs hooks". Before any
 * thread. */
int helper_frame_start(const char *name, const char *purpose, helper_work_fn *work, void *context,
	struct helper *ret_helper, struct error *error);

/* It is to end; the first exit code counts. */
void helper_frame_end(struct helper_frame *frame, int exit_code);

/* The next message of the daemon. False: there is none now, or frame->done. */
bool helper_frame_receive(struct helper_frame *frame, struct helper_packet *packet,
	struct helper_message *ret_message);
/* False: the socket takes nothing at present, or frame->done. */
bool helper_frame_send(struct helper_frame *frame, const struct helper_message *message);

/* Until something happens (the daemon's words among it, unless done; with `writing` also that the
 * socket takes something), one of `fds` is ready, or it is `due`. */
void helper_frame_wait(const struct helper_frame *frame, const struct pollfd *fds, nfds_t count,
	int64_t due, bool writing);
enum { HELPER_FRAME_FDS = 16 }; /* of one wait */

#endif
