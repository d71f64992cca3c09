/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history.h"

#include "arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { JITTER = 5 }; /* seconds that a clock which is kept right may go back */

/* A moment in the order of the lines: time alone has none where the clock was set back. */
struct place {
	uint32_t stretch;
	int64_t when;
};

struct span {
	struct history_entry entry;
	struct place from, to;
	bool open;
	bool in_head; /* the file that is being read says that it has it */
};

/* From `from` to `to` a recorder ran. */
struct stretch {
	int64_t from, to;
	bool detached; /* the clock was set: how long it is since the stretch before is not known */
};

struct history {
	struct arena arena;
	struct span *spans;
	size_t count, capacity;
	uint32_t *table; /* of spans that are open, by hash; 0: none, else index + 1 */
	size_t table_size, opened;
	uint32_t *by_owner; /* after history_finish() */
	struct stretch *stretches;
	size_t stretch_count, stretch_capacity;
	uint32_t *eras; /* after history_finish(): the first stretch of each time that the clock
			 * went back, ended by stretch_count */
	size_t era_count;
	bool on;      /* the last stretch goes on */
	bool looked;  /* and it is a look, which has no length */
	bool damaged; /* since then, nothing is sure until a recorder looks at all again */
	bool head;    /* of a file: its `has` */
	int64_t last; /* time of the last line; 0: none */
	int64_t mark; /* of the last `run`, `sync`, `missed`, and the time before it that is known
		       */
	int64_t before_mark;
	bool marked;
};

int history_new(struct history **ret_history)
{
	struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return -ENOMEM;
	*ret_history = history;
	return 0;
}

struct history *history_free(struct history *history)
{
	if (!history)
		return NULL;
	free(history->spans);
	free(history->table);
	free(history->by_owner);
	free(history->stretches);
	free(history->eras);
	arena_free(&history->arena);
	free(history);
	return NULL;
}

/* --- What is had --- */

/* Of a table in memory alone: eight bytes at a time. */
static uint64_t mix(uint64_t hash, const void *data, size_t length)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length; i += sizeof(uint64_t)) {
		size_t left = length - i;
		uint64_t word = 0;

		memcpy(&word, bytes + i, left < sizeof(word) ? left : sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
	}
	return hash;
}

static uint64_t hash_of(
	enum owner_kind kind, const char *id, const char *host, const struct prefix *prefix)
{
	uint64_t hash = 0xcbf29ce484222325 ^ (uint64_t)kind << 8 ^ prefix->length;

	hash = mix(hash, id, strlen(id) + 1);
	hash = mix(hash, host, strlen(host));
	return mix(hash, prefix->addr.bytes, sizeof(prefix->addr.bytes));
}

static bool is_of(const struct history_entry *entry, const struct history_line *line)
{
	return entry->kind == line->kind && prefix_compare(&entry->prefix, &line->prefix) == 0 &&
	       strcmp(entry->id, line->id) == 0 && strcmp(entry->host, line->host) == 0;
}

/* Where it is in the table, or where it would be. */
static uint32_t *slot_of(const struct history *history, const struct history_line *line)
{
	size_t at = hash_of(line->kind, line->id, line->host, &line->prefix);

	for (;; at++) {
		uint32_t *slot = &history->table[at & (history->table_size - 1)];

		if (*slot == 0 || is_of(&history->spans[*slot - 1].entry, line))
			return slot;
	}
}

static int grow_table(struct history *history)
{
	size_t size = history->table_size ? history->table_size * 2 : 256;
	uint32_t *table;

	if (history->opened * 2 < history->table_size)
		return 0;
	table = calloc(size, sizeof(*table));
	if (!table)
		return -ENOMEM;
	free(history->table);
	history->table = table;
	history->table_size = size;
	for (size_t i = 0; i < history->count; i++) {
		const struct history_entry *entry = &history->spans[i].entry;
		struct history_line line = {.kind = entry->kind,
			.id = entry->id,
			.host = entry->host,
			.prefix = entry->prefix};

		/* Of several of the same, the last is the one that may be open. */
		*slot_of(history, &line) = (uint32_t)i + 1;
	}
	return 0;
}

/* The last one of the same; NULL: none. */
static struct span *find(const struct history *history, const struct history_line *line)
{
	uint32_t slot = history->table_size ? *slot_of(history, line) : 0;

	return slot ? &history->spans[slot - 1] : NULL;
}

static int grow(void **list, size_t count, size_t *capacity, size_t size)
{
	size_t wanted = *capacity ? *capacity * 2 : 64;
	void *grown;

	if (count < *capacity)
		return 0;
	grown = reallocarray(*list, wanted, size);
	if (!grown)
		return -ENOMEM;
	*list = grown;
	*capacity = wanted;
	return 0;
}

/* Now, behind the last line: while nobody records, that is before the next stretch. */
static struct place place_now(const struct history *history, int64_t when)
{
	if (history->on && history->stretch_count)
		return (struct place){
			.stretch = (uint32_t)history->stretch_count - 1, .when = when};
	return (struct place){.stretch = (uint32_t)history->stretch_count, .when = INT64_MIN};
}

static struct span *open_span(
	struct history *history, const struct history_line *line, const struct span *same)
{
	struct arena *arena = &history->arena;
	struct span *span;
	const char *id, *host;

	/* The strings of one that was had before do again. */
	id = same ? same->entry.id : arena_copy(arena, line->id, strlen(line->id));
	host = same ? same->entry.host : arena_copy(arena, line->host, strlen(line->host));
	if (!id || !host || history->count >= UINT32_MAX - 1 ||
		grow((void **)&history->spans, history->count, &history->capacity,
			sizeof(*history->spans)) < 0 ||
		grow_table(history) < 0)
		return NULL;
	span = &history->spans[history->count];
	*span = (struct span){
		.entry = {.kind = line->kind,
			.id = id,
			.host = host,
			.prefix = line->prefix,
			.to = INT64_MAX,
			.to_after = INT64_MAX,
			.order = history->count},
		.to = {.stretch = UINT32_MAX, .when = INT64_MAX},
		.open = true,
	};
	history->opened += !same;
	*slot_of(history, line) = (uint32_t)++history->count;
	return span;
}

/* Found by a look: it may have changed at any time since the last line before. */
static int64_t changed_after(const struct history *history, int64_t when)
{
	return history->marked && history->mark == when ? history->before_mark : when;
}

static int take_gained(struct history *history, const struct history_line *line)
{
	struct span *span = find(history, line);

	if (span && span->open)
		return 0;
	span = open_span(history, line, span);
	if (!span)
		return -ENOMEM;
	span->entry.from = line->when;
	span->entry.from_after = changed_after(history, line->when);
	span->from = place_now(history, line->when);
	return 0;
}

static void close_span(struct history *history, struct span *span, int64_t when)
{
	span->open = false;
	span->entry.to = when;
	span->entry.to_after = changed_after(history, when);
	span->to = place_now(history, when);
}

static int take_has(struct history *history, const struct history_line *line)
{
	struct span *span = find(history, line);

	if (!history->head)
		return 0;
	if (!span || !span->open) {
		span = open_span(history, line, span);
		if (!span)
			return -ENOMEM;
		span->entry.from = span->entry.from_after = line->other;
		span->from = place_now(history, INT64_MIN);
	}
	span->in_head = true;
	return 0;
}

/* What the head of a file has not is not had: a file before it is missing. */
static void end_head(struct history *history)
{
	if (!history->head)
		return;
	history->head = false;
	for (size_t i = 0; i < history->count; i++) {
		struct span *span = &history->spans[i];

		if (span->open && !span->in_head)
			close_span(history, span, history->last);
		span->in_head = false;
	}
}

/* --- Who recorded when --- */

static int begin_stretch(struct history *history, int64_t when, bool detached)
{
	if (grow((void **)&history->stretches, history->stretch_count, &history->stretch_capacity,
		    sizeof(*history->stretches)) < 0)
		return -ENOMEM;
	history->stretches[history->stretch_count++] =
		(struct stretch){.from = when, .to = when, .detached = detached};
	history->on = true;
	history->looked = false;
	return 0;
}

/* Up to this line. Returns its time: that of the line before where a right clock went back a bit */
static int reach(struct history *history, int64_t *when)
{
	struct stretch *last;

	if (!history->on || history->looked)
		return 0;
	last = &history->stretches[history->stretch_count - 1];
	if (*when >= last->to) {
		last->to = *when;
		return 0;
	}
	if (last->to - *when > JITTER)
		return begin_stretch(history, *when, true);
	*when = last->to;
	return 0;
}

static int take_mark(struct history *history, const struct history_line *line)
{
	const struct stretch *last =
		history->stretch_count ? &history->stretches[history->stretch_count - 1] : NULL;

	history->marked = true;
	history->mark = line->when;
	history->before_mark = last && last->to <= line->when ? last->to : INT64_MIN;
	history->damaged = false;
	if (begin_stretch(history, line->when, false) < 0)
		return -ENOMEM;
	history->looked = line->word == HISTORY_SYNC;
	return 0;
}

static int take_clock(struct history *history, const struct history_line *line)
{
	int64_t before = line->other;
	int result = 0;

	if (!history->on)
		return 0;
	if (before >= history->stretches[history->stretch_count - 1].to)
		result = reach(history, &before);
	return result < 0 ? result : begin_stretch(history, line->when, true);
}

/* `last` is the time of the line before: of the end of the file before. */
static int take_file(struct history *history, const struct history_line *line, int64_t last)
{
	bool follows = history->on && !history->looked && line->on && line->other == last;

	history->head = true;
	if (follows) {
		int64_t when = line->when;

		return reach(history, &when);
	}
	history->on = false;
	history->marked = false;
	return line->on ? begin_stretch(history, line->when, false) : 0;
}

static int take_line(struct history *history, struct history_line *line)
{
	int64_t before = history->last;
	int result = 0;

	if (line->word != HISTORY_HAS)
		end_head(history);
	/* A head says how things were; these say what happens. */
	if (line->word == HISTORY_ALIVE || line->word == HISTORY_END ||
		line->word == HISTORY_GAINED || line->word == HISTORY_LOST)
		result = reach(history, &line->when);
	if (result < 0)
		return result;
	history->last = line->when;
	switch (line->word) {
	case HISTORY_FILE:
		return take_file(history, line, before);
	case HISTORY_RUN:
	case HISTORY_SYNC:
	case HISTORY_MISSED:
		return take_mark(history, line);
	case HISTORY_CLOCK:
		return take_clock(history, line);
	case HISTORY_HAS:
		return take_has(history, line);
	case HISTORY_GAINED:
		return take_gained(history, line);
	case HISTORY_LOST: {
		struct span *span = find(history, line);

		if (span && span->open)
			close_span(history, span, line->when);
		return 0;
	}
	case HISTORY_END:
		history->on = false;
		return 0;
	case HISTORY_ALIVE:
	case HISTORY_LISTED:
		return 0;
	}
	return 0;
}

int history_read(struct history *history, const char *data, size_t length)
{
	char buffer[HISTORY_LINE_MAX];
	struct history_line line;

	for (size_t at = 0; at < length;) {
		const char *feed = memchr(data + at, '\n', length - at);
		size_t size = feed ? (size_t)(feed - data) - at : length - at;

		/* Each of them costs a look at all that is had, so there is one, at the top. */
		if (!feed || !history_parse_line(data + at, size, buffer, &line) ||
			(line.word == HISTORY_FILE && at > 0)) {
			history->damaged = true;
			history->on = false;
		} else if (take_line(history, &line) < 0) {
			return -ENOMEM;
		}
		at += size + 1;
	}
	end_head(history);
	return 0;
}

/* --- Questions --- */

static int compare_spans(const void *a, const void *b)
{
	const struct history_entry *left = &((const struct span *)a)->entry;
	const struct history_entry *right = &((const struct span *)b)->entry;

	if (left->from != right->from)
		return left->from < right->from ? -1 : 1;
	return left->order < right->order ? -1 : left->order > right->order;
}

static int compare_owners(enum owner_kind kind, const char *id, const struct history_entry *entry)
{
	if (kind != entry->kind)
		return kind < entry->kind ? -1 : 1;
	return strcmp(id, entry->id);
}

static int compare_by_owner(const void *a, const void *b, void *context)
{
	const struct span *spans = context;
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	int order =
		compare_owners(spans[left].entry.kind, spans[left].entry.id, &spans[right].entry);

	return order ? order : left < right ? -1 : left > right;
}

static bool begins_era(const struct history *history, size_t stretch)
{
	return stretch == 0 ||
	       history->stretches[stretch].from < history->stretches[stretch - 1].to;
}

static int find_eras(struct history *history)
{
	size_t count = 0;

	for (size_t i = 0; i < history->stretch_count; i++)
		count += begins_era(history, i);
	history->eras = calloc(count + 1, sizeof(*history->eras));
	if (!history->eras)
		return -ENOMEM;
	for (size_t i = 0; i < history->stretch_count; i++) {
		if (begins_era(history, i))
			history->eras[history->era_count++] = (uint32_t)i;
	}
	history->eras[count] = (uint32_t)history->stretch_count;
	return 0;
}

int history_finish(struct history *history)
{
	history->by_owner = calloc(history->count + 1, sizeof(*history->by_owner));
	if (!history->by_owner || find_eras(history) < 0)
		return -ENOMEM;
	if (history->count == 0)
		return 0;
	qsort(history->spans, history->count, sizeof(*history->spans), compare_spans);
	for (size_t i = 0; i < history->count; i++)
		history->by_owner[i] = (uint32_t)i;
	qsort_r(history->by_owner, history->count, sizeof(*history->by_owner), compare_by_owner,
		history->spans);
	return 0;
}

static bool is_before(const struct place *a, const struct place *b)
{
	return a->stretch != b->stretch ? a->stretch < b->stretch : a->when < b->when;
}

struct question {
	enum owner_kind kind;
	const char *id;
	const struct addr *addr;
};

static bool had(const struct history *history, const struct question *question, size_t stretch,
	int64_t when)
{
	struct place place = {.stretch = (uint32_t)stretch, .when = when};
	size_t low = 0, high = history->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct span *span = &history->spans[history->by_owner[middle]];

		if (compare_owners(question->kind, question->id, &span->entry) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < history->count; low++) {
		const struct span *span = &history->spans[history->by_owner[low]];

		if (compare_owners(question->kind, question->id, &span->entry) != 0)
			return false;
		if (!is_before(&place, &span->from) && is_before(&place, &span->to) &&
			prefix_contains(&span->entry.prefix, question->addr))
			return true;
	}
	return false;
}

static enum history_verdict verdict_of(bool has)
{
	return has ? HISTORY_HAD : HISTORY_HAD_NOT;
}

/* In the stretches of [first, end), whose times only go forward. */
static enum history_verdict verdict_in(const struct history *history,
	const struct question *question, size_t first, size_t end, int64_t when)
{
	const struct stretch *stretches = history->stretches, *before, *behind;
	size_t low = first, high = end;
	bool has;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (stretches[middle].from <= when)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == first)
		return HISTORY_UNKNOWN;
	before = &stretches[low - 1];
	behind = low < end ? &stretches[low] : NULL;
	has = had(history, question, low - 1, when < before->to ? when : before->to);
	if (when <= before->to)
		return verdict_of(has);
	if (!behind)
		return low == history->stretch_count && !history->damaged &&
				       when - before->to <= HISTORY_GAP
			       ? verdict_of(has)
			       : HISTORY_UNKNOWN;
	if (behind->detached || behind->from - before->to > HISTORY_GAP ||
		had(history, question, low, behind->from) != has)
		return HISTORY_UNKNOWN;
	return verdict_of(has);
}

enum history_verdict history_at(const struct history *history, enum owner_kind kind, const char *id,
	const struct addr *addr, int64_t wall)
{
	const struct question question = {.kind = kind, .id = id, .addr = addr};
	enum history_verdict verdict = HISTORY_UNKNOWN;

	for (size_t i = 0; i < history->era_count; i++) {
		enum history_verdict one = verdict_in(
			history, &question, history->eras[i], history->eras[i + 1], wall);

		if (one != HISTORY_UNKNOWN && verdict != HISTORY_UNKNOWN && one != verdict)
			return HISTORY_UNKNOWN;
		if (one != HISTORY_UNKNOWN)
			verdict = one;
	}
	return verdict;
}

int64_t history_begins(const struct history *history)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < history->stretch_count; i++) {
		if (history->stretches[i].from < first)
			first = history->stretches[i].from;
	}
	return first;
}

size_t history_count(const struct history *history)
{
	return history->count;
}

const struct history_entry *history_entry(const struct history *history, size_t index)
{
	return &history->spans[index].entry;
}

bool history_matches(const struct history_entry *entry, const struct history_filter *filter)
{
	if (filter->id && strcmp(filter->id, entry->id) != 0)
		return false;
	if (filter->host && strcmp(filter->host, entry->host) != 0)
		return false;
	if (filter->addr && !prefix_contains(&entry->prefix, filter->addr))
		return false;
	return entry->from <= filter->until && entry->to >= filter->since;
}

/* --- For the recorder --- */

static void print_entry(
	enum history_word word, const struct history_entry *entry, int64_t now, struct text *text)
{
	struct history_line line = {.word = word,
		.when = now,
		.other = entry->from,
		.kind = entry->kind,
		.id = entry->id,
		.host = entry->host,
		.prefix = entry->prefix};

	history_print_line(&line, text);
}

/* Of a file of this recorder; what can't be read in it is passed over. */
static int read_new(const char *data, size_t length, struct history **ret_history)
{
	struct history *history;

	if (history_new(&history) < 0)
		return -ENOMEM;
	if (history_read(history, data, length) < 0) {
		history_free(history);
		return -ENOMEM;
	}
	*ret_history = history;
	return 0;
}

/* Of a file that says of nothing that it is had: all is new, and the lines need no reading. */
static void gain_all(int64_t now, const char *listing, size_t length, struct text *gained)
{
	struct text begin = {0};
	size_t size;

	history_print_time(now, &begin);
	text_puts(&begin, " gained ");
	gained->failed |= begin.failed;
	for (size_t at = 0; at < length && !begin.failed; at += size + 1) {
		const char *feed = memchr(listing + at, '\n', length - at);

		size = feed ? (size_t)(feed - listing) - at : length - at;
		text_write(gained, begin.data, begin.length);
		text_write(gained, listing + at, size);
		text_write(gained, "\n", 1);
	}
	text_free(&begin);
}

/* Marks what is listed, and says what of it is new, in `gained`. */
static int compare_listing(struct history *history, int64_t now, const char *listing, size_t length,
	struct text *gained)
{
	char buffer[HISTORY_LINE_MAX];
	struct history_line line;
	size_t size;

	if (history->count == 0) {
		gain_all(now, listing, length, gained);
		return 0;
	}
	for (size_t at = 0; at < length; at += size + 1) {
		const char *feed = memchr(listing + at, '\n', length - at);
		struct span *span;

		size = feed ? (size_t)(feed - listing) - at : length - at;
		if (!history_parse_had(listing + at, size, buffer, &line))
			continue;
		span = find(history, &line);
		if (!span || !span->open) {
			span = open_span(history, &line, span);
			if (!span)
				return -ENOMEM;
			line.word = HISTORY_GAINED;
			line.when = now;
			history_print_line(&line, gained);
		}
		span->in_head = true;
	}
	return 0;
}

int history_reconcile(const char *data, size_t length, enum history_word word, int64_t now,
	const char *listing, size_t listing_length, struct text *text)
{
	struct history *history;
	struct text gained = {0};
	int result = read_new(data, length, &history);

	if (result < 0)
		return result;
	result = compare_listing(history, now, listing, listing_length, &gained);
	if (result < 0)
		goto out;
	/* A line without its end must not become a whole one, of another address maybe. */
	if (length > 0 && data[length - 1] != '\n') {
		text_puts(text, "?\n");
		history->on = false;
	}
	if (length == 0)
		history_print_line(&(struct history_line){.word = HISTORY_FILE, .when = now}, text);
	/* Of one who was there all the while only what is new; but not where a line is missing. */
	if (word == HISTORY_ALIVE && (!history->on || history->looked))
		word = HISTORY_RUN;
	if (word != HISTORY_ALIVE)
		history_print_line(&(struct history_line){.word = word, .when = now}, text);
	for (size_t i = 0; i < history->count; i++) {
		if (history->spans[i].open && !history->spans[i].in_head)
			print_entry(HISTORY_LOST, &history->spans[i].entry, now, text);
	}
	text_write(text, gained.data, gained.length);
	if (gained.failed || text->failed)
		result = -ENOMEM;
out:
	text_free(&gained);
	history_free(history);
	return result;
}

size_t history_head_size(const char *listing, size_t length)
{
	static const char more[] = "2026-11-22T12:00:00Z has  2026-11-22T10:00:00Z";
	size_t lines = 0;

	for (const char *at = listing, *end = listing + length;
		at < end && (at = memchr(at, '\n', (size_t)(end - at))); at++)
		lines++;
	return length + lines * (sizeof(more) - 1);
}

int history_head(const char *data, size_t length, int64_t now, struct text *text)
{
	struct history_line file = {.word = HISTORY_FILE, .when = now};
	struct history *history;
	int result = read_new(data, length, &history);

	if (result < 0)
		return result;
	file.on = history->on && !history->looked;
	file.other = history->last;
	history_print_line(&file, text);
	for (size_t i = 0; i < history->count; i++) {
		if (history->spans[i].open)
			print_entry(HISTORY_HAS, &history->spans[i].entry, now, text);
	}
	history_free(history);
	return text->failed ? -ENOMEM : 0;
}
