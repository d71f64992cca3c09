/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who had which address when: the lines of STATE_DIR/history, and questions to them.
 *
 * A line is a time (UTC, of the wall clock), a word and what belongs to it, parted by one space:
 *
 *   2026-11-22T10:55:03Z file 1 off -          a file begins (1: the format); the recorder was off
 *   2026-11-22T10:55:03Z run                   a daemon has begun to record; it goes on until `end`
 *   2026-11-22T10:55:03Z gained extension 21 home21.dyndns.example A 203.0.113.7
 *   2026-11-22T11:10:00Z alive                 it is still there
 *   2026-11-22T11:40:12Z lost extension 21 home21.dyndns.example A 203.0.113.7
 *   2026-11-22T12:00:00Z end                   it ends; nobody records until the next `run`
 *   2026-11-22T12:05:00Z sync                  one look, by `sipfence sync`
 *   2026-11-22T12:05:00Z listed 83122 9f3c…    what that look has found, in one number, see below
 *   2026-11-22T12:05:00Z missed                the daemon could not write, and can again
 *   2026-11-22T12:05:00Z clock 2026-11-22T13:05:00Z
 *                                              the wall clock was set: it had been that time
 *   2026-11-22T12:05:00Z has extension 21 home21.dyndns.example A 203.0.113.7 2026-11-20T08:00:00Z
 *
 * `has` stands only at the head of a file, behind `file`: what was gained, and when, in files
 * before it, so that each file stands alone. What differs between the last line before `run`,
 * `sync` or `missed` and then follows as `gained` and `lost`: it has changed at some time between.
 *
 * `listed SIZE SEED DIGEST` ends a look: the SIZE bytes of the file before this line say what a
 * listing says whose XXH3 (128 bits, of a seed that is chosen anew each time) is DIGEST. As long as
 * it is the file's last line, a look that finds the same list need not read the file. Who reads the
 * history passes it over.
 *
 * "Had" means: sipfence took the address from DNS for that owner and held it (design, section 7),
 * `linger` included. The prefix is what was permitted: wider than the answer with `ipv6-prefix`.
 * Fixed addresses and local subnets are not in it, the config has them. A name that changes is
 * asked when its TTL is over: what was gained was true a little earlier, too.
 *
 * In an id or a host, what is not printable ASCII, a space and a backslash are \xNN. A line without
 * a line feed, or one that is no such line, is passed over; what happened then is unknown until the
 * next `run`, `sync` or `missed`.
 *
 * Times are as the wall clock was. The order is that of the lines: where the clock went back, one
 * time stands for two moments, and if they contradict each other the verdict is "unknown".
 */
#ifndef SIPFENCE_HISTORY_H
#define SIPFENCE_HISTORY_H

#include "addr.h"
#include "config.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- Lines --- */

enum history_word {
	HISTORY_FILE,
	HISTORY_RUN,
	HISTORY_SYNC,
	HISTORY_MISSED,
	HISTORY_ALIVE,
	HISTORY_CLOCK,
	HISTORY_END,
	HISTORY_HAS,
	HISTORY_GAINED,
	HISTORY_LOST,
	HISTORY_LISTED,
};
enum { HISTORY_WORD_COUNT = HISTORY_LISTED + 1 };

/* Times are seconds since the epoch. */
struct history_line {
	enum history_word word;
	int64_t when;
	int64_t other; /* `clock`: the time before; `has`: since; `file`: of the line before, or 0
			*/
	bool on;       /* `file`: a recorder was running */
	/* Of `has`, `gained` and `lost`: */
	enum owner_kind kind;
	const char *id, *host;
	struct prefix prefix;
	/* Of `listed`: */
	uint64_t size, seed, digest[2]; /* the digest's high half first */
};

/* Nothing of what comes before year 0 or after year 9999 can be said: it is set to the limits. */
void history_print_line(const struct history_line *line, struct text *text); /* with line feed */
/*
 * `line` without its line feed. The strings lie in `buffer`, of HISTORY_LINE_MAX bytes. False: not
 * a line of this format.
 */
enum { HISTORY_LINE_MAX = 8192, HISTORY_ID_MAX = 1024 }; /* of a longer id nothing is recorded */
bool history_parse_line(
	const char *line, size_t length, char *buffer, struct history_line *ret_line);

/*
 * What is had now, as the recorder gives it: lines of `has` without time and word, in any order.
 * The two are as those above.
 *
 *   extension 21 home21.dyndns.example A 203.0.113.7
 */
void history_print_had(const struct history_line *line, struct text *text);
bool history_parse_had(
	const char *line, size_t length, char *buffer, struct history_line *ret_line);

/* "2026-11-22T10:55:03Z" */
void history_print_time(int64_t when, struct text *text);

/* --- Questions --- */

struct history;

int history_new(struct history **ret_history);	       /* -ENOMEM */
struct history *history_free(struct history *history); /* returns NULL */
/* A whole file; the oldest first. -ENOMEM: the history is good for history_free() alone. */
int history_read(struct history *history, const char *data, size_t length);
/* After the last file, before the first question. -ENOMEM as above. */
int history_finish(struct history *history);

enum history_verdict { HISTORY_UNKNOWN, HISTORY_HAD, HISTORY_HAD_NOT };

/*
 * Did that owner have `addr`, by any of its names, at that second? Known while a recorder ran, and
 * in a gap of at most HISTORY_GAP seconds, or that long behind the last line, if both ends agree.
 * An owner that no line speaks of had nothing while a recorder ran.
 */
enum { HISTORY_GAP = 3600 };
enum history_verdict history_at(const struct history *history, enum owner_kind kind, const char *id,
	const struct addr *addr, int64_t wall);

/* The first second that is known at all; INT64_MAX: there is none. */
int64_t history_begins(const struct history *history);

struct history_entry {
	enum owner_kind kind;
	const char *id, *host;
	struct prefix prefix;
	int64_t from, to; /* to: INT64_MAX: still */
	/* Not later than `from` and `to`; earlier where nobody was recording when it changed: it
	 * was between these two times. INT64_MIN: not known. */
	int64_t from_after, to_after;
	size_t order; /* of its first line in the files */
};

/* In the order of `from`. */
size_t history_count(const struct history *history);
const struct history_entry *history_entry(const struct history *history, size_t index);

/* All that is given must match; a zeroed filter with `until` INT64_MAX lets all through. */
struct history_filter {
	const char *id, *host; /* NULL: any */
	const struct addr *addr;
	int64_t since, until; /* had at any time between the two, both included */
};
bool history_matches(const struct history_entry *entry, const struct history_filter *filter);

/* --- For the recorder (edge/history_file.h) --- */

/*
 * What is to be appended to a file that holds `data` so that it ends in saying what `listing` says:
 * all that is had now (history_print_had()). `word` is HISTORY_RUN, HISTORY_SYNC or
 * HISTORY_MISSED; HISTORY_ALIVE of a recorder that has been there since the last line: what differs
 * has changed at `now`, and where nothing does there is nothing to append. -ENOMEM.
 */
int history_reconcile(const char *data, size_t length, enum history_word word, int64_t now,
	const char *listing, size_t listing_length, struct text *text);
/* The line `listed` of a listing, behind `size` bytes of the file. `seed`: by chance. */
void history_print_listed(size_t size, uint64_t seed, int64_t now, const char *listing,
	size_t listing_length, struct text *text);
/*
 * Does a file of `size` bytes say what `listing` says? `end` is the last of it, HISTORY_LISTED_MAX
 * bytes or the whole file. False: no, or the file has to be read.
 */
enum { HISTORY_LISTED_MAX = 256 };
bool history_is_listed(
	const char *end, size_t length, size_t size, const char *listing, size_t listing_length);
/* The head of the file that follows the one that holds `data`. -ENOMEM. */
int history_head(const char *data, size_t length, int64_t now, struct text *text);
/* How long the head of a file is, but for its first line, of which all that `listing` says is had.
 */
size_t history_head_size(const char *listing, size_t length);

#endif
