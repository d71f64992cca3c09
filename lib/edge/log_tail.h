/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Follows a log file by its path, from its present end, as tail -F does: by inotify, without a
 * timer while all is well, and without waiting.
 *
 *     log_tail_open(&tail, path, now, &error);
 *     for (;;) {
 *             until log_tail_read() says LOG_TAIL_NOTHING, or there is no room for more
 *             poll() log_tail_fd(), until log_tail_due() at the latest
 *             log_tail_notice(tail, now);
 *     }
 *
 * A file that has been renamed, deleted or replaced is still the one that is written until its
 * successor at the path has got its first bytes. Only then is the former one read to its end, and
 * the successor from its beginning. Successors that come while nobody reads wait in their order, up
 * to LOG_TAIL_FILES; log_tail_notice() opens them, and has to be called while they are at the path.
 * A file that is shorter than what was read of it was emptied in place (copytruncate), and is read
 * from its beginning; what was written in between is lost, as that way of rotation loses it.
 *
 * Symbolic links are followed. What is not a regular file is not read, and never waited for. A file
 * that is not there, or can't be read, is looked for each LOG_TAIL_RETRY_MS, and as soon as
 * something changes on the way to it. Where the kernel gives no watch for it, one looks each
 * LOG_TAIL_BLIND_MS.
 */
#ifndef SIPFENCE_LOG_TAIL_H
#define SIPFENCE_LOG_TAIL_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

enum {
	LOG_TAIL_FILES = 8,
	LOG_TAIL_RETRY_MS = 10 * 1000,
	LOG_TAIL_BLIND_MS = 1000,
	LOG_TAIL_MISSING_MS = 5 * 1000, /* that it is not there any more is no news before */
};

enum log_tail_news {
	LOG_TAIL_NOTHING,
	LOG_TAIL_BYTES,	  /* they go on where the former ended */
	LOG_TAIL_OPENED,  /* here begins another file, or the same one anew; at first: what follows
			     is added from now on. It also ends LOG_TAIL_MISSING. */
	LOG_TAIL_MISSING, /* it is not there, or can't be read */
};

struct log_tail;

/* `path` is absolute. That there is no such file is no error. */
int log_tail_open(
	struct log_tail **ret_tail, const char *path, int64_t now_ms, struct error *error);
struct log_tail *log_tail_close(struct log_tail *tail); /* returns NULL */

int log_tail_fd(const struct log_tail *tail);	   /* readable: log_tail_notice() */
int64_t log_tail_due(const struct log_tail *tail); /* when to call it at the latest */
void log_tail_notice(struct log_tail *tail, int64_t now_ms);

/* Bytes are read into `buffer`, at most `size`; `error` is of LOG_TAIL_MISSING. Times are ms since
 * boot. */
enum log_tail_news log_tail_read(struct log_tail *tail, int64_t now_ms, char *buffer, size_t size,
	size_t *ret_length, struct error *error);

#endif
