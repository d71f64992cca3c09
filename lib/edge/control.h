/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket, RUN_DIR/control: a Unix stream socket of mode 0660. A request is one line,
 * and so is its answer; what stands in them is JSON (codec/control_json.h) and no matter of this
 * module, but for its own error answers.
 *
 * Server side
 *  - Who may: root, our own user, and the members of the socket's group unless that is root's. The
 *    kernel says who it is. Others get an error answer, and are hung up on.
 *  - One request at a time of each client: the next line is read when the answer has been written.
 *    A line may have CONTROL_LINE_MAX bytes, and begins with `{`; otherwise: an error answer, and
 *    hung up on.
 *  - CONTROL_MAX_CLIENTS at a time. When there are as many, the one that has been without a request
 *    for longest makes room; when all have one under way, the new one gets an error answer.
 *  - Nothing waits. A client that takes no byte of its answer for CONTROL_STALL_MS is hung up on;
 *    that is what control_due() and control_tick() are for. A client that hangs up while its
 *    request is under way is forgotten; one that has only said that it will send no more is not.
 */
#ifndef SIPFENCE_CONTROL_H
#define SIPFENCE_CONTROL_H

#include "error.h"
#include "loop.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	CONTROL_LINE_MAX = 65536, /* of a request, with its line feed */
	CONTROL_MAX_CLIENTS = 32,
	CONTROL_STALL_MS = 30000,
	CONTROL_PIECE = 65536,			 /* of a streamed answer, at least this at a time */
	CONTROL_ANSWER_MAX = 1024 * 1024 * 1024, /* what the client side takes */
};

struct control;

/*
 * A request, without its line feed, NUL-terminated, valid during the call. It is answered once, by
 * control_answer() or control_stream(), in this call or at any time later. `ticket` stands for this
 * one request: answers to a ticket that has been answered, or whose client is gone, are dropped.
 */
typedef void control_request_fn(void *context, uint64_t ticket, const char *line, size_t length);

/*
 * Listens at `path`. A socket that is left there by a dead process is replaced; anything else is an
 * error. `group` (-1: leave it) is given to the socket. Keeps `loop`.
 */
int control_open(struct control **ret_control, struct loop *loop, const char *path, gid_t group,
	control_request_fn *request, void *context, struct error *error);
/* Returns NULL. Hangs up on all, and removes the socket. */
struct control *control_close(struct control *control);

/*
 * `line` has no line feed; it is copied. Never calls a control_request_fn. For what may grow long
 * control_stream() is better.
 */
void control_answer(struct control *control, uint64_t ticket, const char *line, size_t length);

/* False once the ticket has been answered, or its client is gone: nobody waits for it any more. */
bool control_waits(const struct control *control, uint64_t ticket);
/* No more clients, and no more requests of those that are there; answers go out as before. */
void control_shut(struct control *control);

enum control_more {
	CONTROL_MORE,  /* there is more to come */
	CONTROL_DONE,  /* that was all; the line feed is added */
	CONTROL_BREAK, /* it can't be finished: the client is hung up on, and sees half a line */
};
/*
 * Appends the next bytes of an answer to `out` (no line feed), some KB at a time; called when the
 * client has taken the former ones. CONTROL_MORE without a byte is called again at once, so: not
 * for waiting.
 */
typedef enum control_more control_produce_fn(void *context, struct text *out);
/* The answer has been made to its end, or its client is gone: free the context. May be NULL. */
typedef void control_release_fn(void *context);
/*
 * An answer that is made piece by piece as the client takes it; a piece a round of the loop, so
 * that a long one holds nothing up. The first one is made in this call. `release` is called once,
 * whatever happens: in this call, too, when that was all, or the ticket is void.
 */
void control_stream(struct control *control, uint64_t ticket, control_produce_fn *produce,
	control_release_fn *release, void *context);

/* When control_tick() must be called (ms since boot); INT64_MAX: nobody makes us wait. */
int64_t control_due(const struct control *control);
void control_tick(struct control *control, int64_t boot_ms);

/* Requests that are not answered yet, and answers of which something is left to write: an ending
 * daemon gives them a moment. */
size_t control_unanswered(const struct control *control);
size_t control_unwritten(const struct control *control);

/*
 * Client side; blocks. *ret_fd is the caller's. -ECONNREFUSED: there is no daemon; -EACCES: we may
 * not talk to it; -EPERM: who listens there is neither root nor we nor the owner of the folder;
 * -ETIMEDOUT: it takes no client. All of them say what to do.
 */
int control_connect(const char *path, int *ret_fd, struct error *error);
/*
 * Sends `line` (no line feed) and appends the answer to `answer`, without its line feed.
 * -ETIMEDOUT: nothing has come for `timeout_ms` (-1: no limit), neither at first nor in the middle;
 * -ECONNRESET: the daemon hung up; -EMSGSIZE: longer than CONTROL_ANSWER_MAX.
 */
int control_ask(int fd, const char *line, size_t length, struct text *answer, int timeout_ms,
	struct error *error);

#endif
