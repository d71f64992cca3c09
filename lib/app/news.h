/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens while somebody waits for a refresh or a reload: the engine's events of the list and
 * the table, to be told in the answer. Nothing is kept while nobody listens.
 */
#ifndef SIPFENCE_NEWS_H
#define SIPFENCE_NEWS_H

#include "event.h"
#include "text.h"

#include <stddef.h>

enum { NEWS_MAX = 1000 }; /* events; more are counted */

/* A zeroed struct is ready. */
struct news {
	struct text lines; /* as they were logged, each with a line feed */
	size_t count, left_out;
	unsigned listeners;
};

/* Where a listener began. */
struct news_mark {
	size_t offset, left_out;
};

struct news_mark news_listen(struct news *news);
/* Once for each news_listen(). When nobody is left, all is forgotten. */
void news_leave(struct news *news);
/* For each event of the engine; keeps `change`, `state`, `flapping`, `table`, `damage` and
 * `shut-out`, and counts what the log has left out. */
void news_note(struct news *news, const struct event *event);
void news_clear(struct news *news);

/*
 * What was noted since `mark`, as members of an object: "changes":[{"event":"change",
 * "extension":"21",…},…],"changes_left_out":N. All values are strings, as they were logged.
 */
void news_put(const struct news *news, const struct news_mark *mark, struct text *text);

#endif
