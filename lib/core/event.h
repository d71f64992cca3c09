/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon has to say, one line an event with fixed keys:
 *
 *   event=change extension=21 host=home21.dyndns.example type=A old=203.0.113.7 new=203.0.113.9
 *
 * A value that is not plain (letters, digits and .,:;/_+-%@*) stands in double quotes, with \" and
 * \\ and all that is not printable ASCII as \xNN. An empty value is "".
 */
#ifndef SIPFENCE_EVENT_H
#define SIPFENCE_EVENT_H

#include "addr.h"
#include "error.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As syslog(3) numbers them. */
enum event_level {
	EVENT_ERROR = 3,   /* sipfence can't do its work, somebody must look */
	EVENT_WARNING = 4, /* somebody may not get in, or might get in */
	EVENT_NOTICE = 5,  /* the list, the table or the config has changed */
	EVENT_INFO = 6,
	EVENT_DEBUG = 7,
	EVENT_UNSAID = 8, /* one of too many: counted in the log, but told to those who asked */
};

struct event {
	enum event_level level;
	struct text line;
};

/* Whatever the struct held is forgotten, not freed. */
void event_begin(struct event *event, enum event_level level, const char *name);
void event_put(struct event *event, const char *key, const char *value); /* NULL: "" */
/* `error`, and `next` where there is something to do. */
void event_put_error(struct event *event, const struct error *error);
void event_put_number(struct event *event, const char *key, int64_t value);
/* Comma-separated; "-" for none; after the eighth "+N". */
void event_put_addrs(struct event *event, const char *key, const struct addr *addrs, size_t count);
void event_clear(struct event *event); /* frees the line */

enum { EVENT_KEY_SIZE = 32 };
/*
 * The key and the value at *at, in a line as above; *at moves behind them. False: there is none,
 * *at stands at the end of the line. `value` gets what was put, but for what is not printable,
 * which stays \xNN.
 */
bool event_next(const char **at, char key[EVENT_KEY_SIZE], struct text *value);

#endif
