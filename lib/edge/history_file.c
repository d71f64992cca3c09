/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history_file.h"

#include "files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

static int number_path(const char *path, int number, char *ret_path, struct error *error)
{
	int length = number ? snprintf(ret_path, PATH_MAX, "%s.%d", path, number)
			    : snprintf(ret_path, PATH_MAX, "%s", path);

	if (length < 0 || length >= PATH_MAX)
		return error_set(error, -ENAMETOOLONG, "", "the path %s is too long", path);
	return 0;
}

/* --- Reading --- */

static int read_files(const char *path, struct history *history, bool *ret_any, struct error *error)
{
	char name[PATH_MAX];
	struct text text = {0};
	int result = 0;

	*ret_any = false;
	for (int number = HISTORY_FILES; number >= 0 && result >= 0; number--) {
		result = number_path(path, number, name, error);
		if (result < 0)
			break;
		text_clear(&text);
		result = file_load(name, &text, error);
		if (result == FILE_MISSING)
			continue;
		if (result < 0)
			break;
		*ret_any = true;
		result = history_read(history, text_string(&text), text.length);
		if (result < 0)
			error_no_memory(error);
	}
	text_free(&text);
	return result < 0 ? result : 0;
}

static ino_t inode_of(const char *path)
{
	struct stat status;

	return stat(path, &status) < 0 ? 0 : status.st_ino;
}

int history_file_load(const char *path, struct history **ret_history, struct error *error)
{
	enum { TRIES = 5 };

	for (int tries = 1;; tries++) {
		struct history *history;
		ino_t before = inode_of(path);
		bool any;
		int result = history_new(&history) < 0 ? error_no_memory(error) : 0;

		if (result < 0)
			return result;
		result = read_files(path, history, &any, error);
		if (result == 0 && history_finish(history) < 0)
			result = error_no_memory(error);
		/* The next file was begun meanwhile: one may be missing among those read. */
		if (result == 0 && inode_of(path) != before && tries < TRIES) {
			history_free(history);
			continue;
		}
		if (result < 0) {
			history_free(history);
			return result;
		}
		*ret_history = history;
		return any ? 0 : HISTORY_MISSING;
	}
}

/* --- Writing --- */

/* NAME.8 becomes NAME.9 and so on; NAME becomes NAME.1. */
static int shift(const char *path, struct error *error)
{
	char from[PATH_MAX], to[PATH_MAX];

	for (int number = HISTORY_FILES - 1; number >= 0; number--) {
		int result = number_path(path, number, from, error);

		if (result == 0)
			result = number_path(path, number + 1, to, error);
		if (result == 0)
			result = file_move(from, to, error);
		if (result < 0)
			return result;
	}
	return 0;
}

static void set_limit(struct history_writer *writer, size_t head)
{
	/* A long list repeats itself at the head of each file: the rest must outweigh it. */
	writer->limit = HISTORY_FILE_GROWTH + 2 * head;
}

/* The file that follows the one of `data`. The head is written first: where there is no room for
 * it, all stays as it is. */
static int begin_next(struct history_writer *writer, const char *path, const char *data,
	size_t length, int64_t now, struct error *error)
{
	char next[PATH_MAX];
	struct text head = {0};
	int result;

	if (snprintf(next, sizeof(next), "%s.next", path) >= (int)sizeof(next))
		return error_set(error, -ENAMETOOLONG, "", "the path %s is too long", path);
	result = history_head(data, length, now, &head) < 0 ? error_no_memory(error) : 0;
	if (result == 0)
		result = file_save(next, text_string(&head), head.length, error);
	if (result == 0)
		result = shift(path, error);
	if (result == 0)
		result = file_move(next, path, error);
	if (result == 0) {
		writer->size = head.length;
		set_limit(writer, head.length);
	}
	text_free(&head);
	return result;
}

/* The file that is there, or a new one behind that of before. */
static int load_last(const char *path, int64_t now, struct text *ret_text, struct error *error)
{
	char before[PATH_MAX];
	struct text old = {0};
	int result = file_load(path, ret_text, error);

	if (result != FILE_MISSING)
		return result;
	result = number_path(path, 1, before, error);
	if (result == 0)
		result = file_load(before, &old, error);
	/* Killed between two of the renames. */
	if (result == 0)
		result = history_head(old.data, old.length, now, ret_text) < 0
				 ? error_no_memory(error)
				 : file_save(path, ret_text->data, ret_text->length, error);
	text_free(&old);
	return result < 0 ? result : 0;
}

/* What a look of `sipfence sync` leaves for the next one. */
static void put_listed(
	size_t size, int64_t now, const char *listing, size_t length, struct text *lines)
{
	uint64_t seed;

	/* Without it, the next look reads the file. */
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
		history_print_listed(size + lines->length, seed, now, listing, length, lines);
}

enum { LOOK_DONE = 1 };
/* The file says it already, and its last line says so. 0: it has to be read. */
static int look_at_end(struct history_writer *writer, const char *path, enum history_word word,
	int64_t now, const char *listing, size_t length, struct error *error)
{
	struct text end = {0}, lines = {0};
	size_t size = 0;
	int result = file_load_end(path, HISTORY_LISTED_MAX, &end, &size, NULL);

	set_limit(writer, history_head_size(listing, length));
	if (result != 0 || size + HISTORY_LISTED_MAX > writer->limit ||
		!history_is_listed(text_string(&end), end.length, size, listing, length)) {
		result = 0;
		goto out;
	}
	history_print_line(&(struct history_line){.word = word, .when = now}, &lines);
	if (word == HISTORY_SYNC)
		put_listed(size, now, listing, length, &lines);
	result = lines.failed ? error_no_memory(error)
			      : file_append(path, lines.data, lines.length, error);
	if (result == 0) {
		writer->whole = true;
		writer->size = size + lines.length;
		result = LOOK_DONE;
	}
out:
	text_free(&end);
	text_free(&lines);
	return result;
}

int history_file_look(struct history_writer *writer, const char *path, enum history_word word,
	int64_t now, const char *listing, size_t length, struct error *error)
{
	struct text data = {0}, lines = {0};
	int result = 0;

	writer->whole = false;
	if (word != HISTORY_ALIVE)
		result = look_at_end(writer, path, word, now, listing, length, error);
	if (result != 0)
		return result < 0 ? result : 0;
	result = load_last(path, now, &data, error);
	if (result == 0 && history_reconcile(text_string(&data), data.length, word, now, listing,
				   length, &lines) < 0)
		result = error_no_memory(error);
	if (result == 0 && word == HISTORY_SYNC)
		put_listed(data.length, now, listing, length, &lines);
	if (result == 0 && lines.length > 0)
		result = file_append(path, lines.data, lines.length, error);
	if (result == 0) {
		writer->whole = true;
		writer->size = data.length + lines.length;
		set_limit(writer, history_head_size(listing, length));
	}
	if (result == 0 && writer->size > writer->limit) {
		text_write(&data, lines.data, lines.length);
		result = data.failed ? error_no_memory(error)
				     : begin_next(writer, path, data.data, data.length, now, error);
		writer->limit = result < 0 ? writer->size + HISTORY_FILE_GROWTH : writer->limit;
	}
	text_free(&data);
	text_free(&lines);
	return writer->whole ? 0 : result;
}

int history_file_add(struct history_writer *writer, const char *path, int64_t now,
	const char *lines, size_t length, struct error *error)
{
	struct text data = {0};
	int result;

	if (!writer->whole)
		return error_set(error, -EIO, "", "the end of %s is not whole", path);
	result = file_append(path, lines, length, error);
	writer->whole = result == 0;
	writer->size += length;
	if (result < 0 || writer->size <= writer->limit)
		return result;
	result = file_load(path, &data, error);
	if (result == 0)
		result = begin_next(writer, path, text_string(&data), data.length, now, error);
	/* It goes on in the old one; the next attempt is not at once. */
	if (result != 0)
		writer->limit = writer->size + HISTORY_FILE_GROWTH;
	text_free(&data);
	return 0;
}
