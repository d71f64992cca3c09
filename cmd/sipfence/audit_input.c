/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "audit_input.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	DAY = 86400,
	HALF_A_YEAR = 183 * DAY,
	LOOK_AT_MOST = 1000, /* lines of a file in search of a date */
	A_QUARTER = 900,     /* of an hour: zones differ by that at least */
};

/* --- dates --- */

static bool wall_in(struct audit_file *file, const struct asterisk_time *time, int year,
	int64_t not_before, int64_t *ret_wall)
{
	const struct local_date date = {
		.year = year,
		.month = time->month,
		.day = time->day,
		.hour = time->hour,
		.minute = time->minute,
		.second = time->second,
	};

	return local_time_wall(&file->clock, &date, not_before, ret_wall);
}

/* The year in which the date stands nearest to `near`; 0: it is `year`. */
static bool nearest_year(struct audit_file *file, const struct asterisk_time *time, int year,
	int64_t near, int64_t *ret_wall)
{
	int64_t best = 0, wall;
	bool found = false;

	if (near == 0) /* the first one */
		return wall_in(file, time, year, INT64_MIN, ret_wall);
	for (int candidate = year - 1; candidate <= year + 1; candidate++) {
		if (!wall_in(file, time, candidate, near, &wall))
			continue;
		if (!found || llabs(wall - near) < llabs(best - near)) {
			best = wall;
			file->year = candidate;
		}
		found = true;
	}
	if (found)
		*ret_wall = best;
	return found;
}

/* The last year in which it was not after the file was written. */
static bool year_of_file(struct audit_file *file, const struct asterisk_time *time,
	int64_t not_before, int64_t *ret_wall)
{
	int64_t written = file->identity.modified;
	int year = local_time_date(written + DAY).year, last = year - 8; /* a 29th of February */

	for (; year >= last; year--) {
		if (wall_in(file, time, year, not_before, ret_wall) && *ret_wall <= written + DAY)
			return true;
	}
	return false;
}

/*
 * Without a year in the date and without --year, the year is that of the file's own time, or the
 * one before: a log of more than a year can't be told so, and is found by its going backwards.
 */
static bool wall_of(struct audit_file *file, const struct asterisk_time *time, bool year_given,
	int64_t *ret_wall)
{
	int64_t before = file->when / 1000;
	bool has_before = file->understood > 0 || file->year != 0;

	switch ((enum asterisk_time_kind)time->kind) {
	case ASTERISK_TIME_EXACT:
		*ret_wall = time->wall;
		return true;
	case ASTERISK_TIME_LOCAL:
		return wall_in(file, time, time->year, before, ret_wall);
	case ASTERISK_TIME_NO_YEAR:
		break;
	case ASTERISK_TIME_NONE:
		return false;
	}
	if (year_given)
		return nearest_year(file, time, file->year, before, ret_wall);
	if (!year_of_file(file, time, has_before ? before : INT64_MIN, ret_wall))
		return false;
	file->several_years |= file->understood > 0 && *ret_wall < before - HALF_A_YEAR;
	return true;
}

/* --- one file --- */

/* A date of an event with its zone, beside that of its line in the zone of this machine. */
static void compare_zones(struct audit_file *file, const char *line, size_t length, bool year_given)
{
	struct asterisk_time time;
	int64_t wall, off;

	if (file->zone_seen || file->line.kind != ASTERISK_SECURITY ||
		file->line.time.kind != ASTERISK_TIME_EXACT ||
		!asterisk_log_date(line, length, &time) || time.kind == ASTERISK_TIME_EXACT)
		return;
	file->zone_seen = true;
	if (!wall_of(file, &time, year_given, &wall))
		return;
	off = wall - file->line.time.wall;
	if (llabs(off) >= A_QUARTER - 60 && llabs(off) < 2 * DAY)
		file->zone_off = off;
}

static void end_file(struct audit_file *file)
{
	file->bytes = log_file_bytes(file->file);
	file->lines = log_file_lines(file->file);
	file->too_long = log_file_too_long(file->file);
	file->file = log_file_close(file->file);
}

/* The next line that says something; false: the file is at its end. */
static bool read_on(struct audit_file *file, bool year_given)
{
	const char *line;
	size_t length;
	int64_t wall = 0;

	while (log_file_line(file->file, &line, &length, &file->error) == 0) {
		bool dated;

		if (asterisk_log_parse(line, length, &file->line) == ASTERISK_OTHER)
			continue;
		dated = wall_of(file, &file->line.time, year_given, &wall);
		/* On the console lines may have no dates: it was when the one before was. */
		file->undated += !dated;
		file->doubled += file->line.doubled;
		if (dated)
			file->when = wall * 1000 + file->line.time.millisecond;
		else if (file->understood == 0)
			continue;
		if (file->understood == 0 || file->when < file->first)
			file->first = file->when;
		if (file->understood == 0 || file->when > file->last)
			file->last = file->when;
		file->understood++;
		compare_zones(file, line, length, year_given);
		return true;
	}
	end_file(file);
	return false;
}

/* The first date of a file, for its place among the others. The file is closed again, since there
 * may be many of them; what can't be read twice stays open. */
static void look_at(struct audit_file *file)
{
	struct error error = {0};
	const char *line;
	size_t length;

	file->start = INT64_MIN;
	if (log_file_open(file->path, &file->file, &file->identity, &file->error) < 0)
		return;
	if (!file->identity.regular || strcmp(file->path, "-") == 0)
		return;
	for (int i = 0; i < LOOK_AT_MOST; i++) {
		struct asterisk_time time;

		if (log_file_line(file->file, &line, &length, &error) != 0)
			break;
		if (!asterisk_log_date(line, length, &time) ||
			!wall_of(file, &time, false, &file->start))
			continue;
		break;
	}
	file->file = log_file_close(file->file);
}

/* --- all of them --- */

static int by_time_of_file(const void *a, const void *b)
{
	const struct audit_file *x = *(struct audit_file *const *)a;
	const struct audit_file *y = *(struct audit_file *const *)b;

	if (x->identity.modified != y->identity.modified)
		return x->identity.modified < y->identity.modified ? -1 : 1;
	return x < y ? -1 : 1;
}

static int by_start(const void *a, const void *b)
{
	const struct audit_file *x = *(struct audit_file *const *)a;
	const struct audit_file *y = *(struct audit_file *const *)b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x < y ? -1 : 1;
}

/*
 * --year is the year of the first line of the file that was written first; the others begin less
 * than half a year from the one before.
 */
static void set_years(struct audit_input *input)
{
	int64_t near = 0;
	int year = input->year;

	qsort(input->order, input->count, sizeof(struct audit_file *), by_time_of_file);
	for (size_t i = 0; i < input->count; i++) {
		struct audit_file *file = input->order[i];
		struct local_date date;
		struct asterisk_time time;

		file->year = year;
		file->when = near * 1000;
		if (file->start == INT64_MIN)
			continue;
		date = local_time_date(file->start);
		time = (struct asterisk_time){
			.kind = ASTERISK_TIME_NO_YEAR,
			.month = (uint8_t)date.month,
			.day = (uint8_t)date.day,
			.hour = (uint8_t)date.hour,
			.minute = (uint8_t)date.minute,
			.second = (uint8_t)date.second,
		};
		nearest_year(file, &time, year, near, &file->start);
		near = file->start;
		year = file->year;
		file->when = near * 1000;
	}
}

static void mark_twins(struct audit_input *input)
{
	for (size_t i = 1; i < input->count; i++) {
		struct audit_file *file = &input->files[i];

		for (size_t j = 0; j < i && !file->again; j++) {
			const struct audit_file *other = &input->files[j];

			file->again = file->error.code == 0 && other->error.code == 0 &&
				      file->identity.inode == other->identity.inode &&
				      file->identity.device == other->identity.device &&
				      (file->identity.regular || strcmp(file->path, "-") == 0);
		}
	}
}

int audit_input_open(const char *const *paths, size_t count, int year, int64_t now,
	struct audit_input *ret_input)
{
	struct audit_input input = {.count = count, .year = year, .now = now};

	input.files = calloc(count, sizeof(*input.files));
	input.order = calloc(count, sizeof(struct audit_file *));
	input.open = calloc(count, sizeof(struct audit_file *));
	if (!input.files || !input.order || !input.open) {
		audit_input_close(&input);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		struct audit_file *file = &input.files[i];

		file->path = paths[i];
		input.order[i] = file;
		look_at(file);
		/* What is being written has the time of now. */
		if (file->error.code == 0 && !file->identity.regular)
			file->identity.modified = now;
	}
	mark_twins(&input);
	if (year != 0)
		set_years(&input);
	qsort(input.order, count, sizeof(struct audit_file *), by_start);
	*ret_input = input;
	return 0;
}

static void open_next(struct audit_input *input)
{
	struct audit_file *file = input->order[input->next++];

	file->opened = true;
	if (file->again || file->error.code != 0) {
		file->file = log_file_close(file->file);
		return;
	}
	if (input->open_count == AUDIT_FILES_OPEN) {
		file->file = log_file_close(file->file);
		error_set(&file->error, -EMFILE, "give fewer files at a time",
			"%s was not read: more than %d of the files are of the same time",
			file->path, AUDIT_FILES_OPEN);
		return;
	}
	if (!file->file &&
		log_file_open(file->path, &file->file, &file->identity, &file->error) < 0)
		return;
	if (read_on(file, input->year != 0))
		input->open[input->open_count++] = file;
}

const struct asterisk_line *audit_input_next(
	struct audit_input *input, int64_t *ret_when, struct audit_file **ret_file)
{
	struct audit_file *first;
	size_t at;

	/* The line that was given out last is used up now. */
	for (size_t i = 0; i < input->open_count; i++) {
		struct audit_file *file = input->open[i];

		if (!file->ready)
			continue;
		file->ready = false;
		if (!read_on(file, input->year != 0))
			input->open[i] = input->open[--input->open_count];
		break;
	}
	for (;;) {
		at = 0;
		for (size_t i = 1; i < input->open_count; i++) {
			if (input->open[i]->when < input->open[at]->when)
				at = i;
		}
		if (input->next == input->count ||
			(input->open_count > 0 &&
				input->order[input->next]->start > input->open[at]->when / 1000))
			break;
		open_next(input);
	}
	if (input->open_count == 0)
		return NULL;
	first = input->open[at];
	first->ready = true;
	*ret_when = first->when;
	*ret_file = first;
	return &first->line;
}

void audit_input_close(struct audit_input *input)
{
	for (size_t i = 0; input->files && i < input->count; i++)
		log_file_close(input->files[i].file);
	free(input->files);
	free(input->order);
	free(input->open);
	*input = (struct audit_input){0};
}
