/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_archive.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char first_line[] = "sipfence-config 1\n", last_line[] = "end\n";

int config_record(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	struct config_recorder *recorder = context;
	struct text *archive = &recorder->archive;
	int result =
		recorder->read(recorder->context, base, pattern, ret_sources, ret_count, error);

	if (result < 0)
		return result;
	if (archive->length == 0)
		text_puts(archive, first_line);
	if (base)
		text_printf(archive, "read %zu ", strlen(base));
	else
		text_puts(archive, "read - ");
	text_printf(
		archive, "%zu %zu\n%s%s\n", strlen(pattern), *ret_count, base ? base : "", pattern);
	for (size_t i = 0; i < *ret_count; i++) {
		const struct config_source *source = &(*ret_sources)[i];

		text_printf(archive, "source %zu %zu\n%s", strlen(source->path), source->length,
			source->path);
		text_write(archive, source->data, source->length);
		text_puts(archive, "\n");
	}
	return result;
}

void config_record_end(struct config_recorder *recorder)
{
	text_puts(&recorder->archive, last_line);
}

/* What is left of an archive. */
struct cursor {
	const char *at, *end;
};

static bool take_word(struct cursor *cursor, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, word, length) != 0)
		return false;
	cursor->at += length;
	return true;
}

/* Digits, and the byte behind them. */
static bool take_number(struct cursor *cursor, char behind, size_t *ret_number)
{
	size_t number = 0, digits = 0;

	while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
		if (++digits > 15)
			return false;
		number = number * 10 + (size_t)(*cursor->at++ - '0');
	}
	if (digits == 0 || cursor->at == cursor->end || *cursor->at++ != behind)
		return false;
	*ret_number = number;
	return true;
}

static bool take_bytes(struct cursor *cursor, size_t length, const char **ret_bytes)
{
	if ((size_t)(cursor->end - cursor->at) < length)
		return false;
	*ret_bytes = cursor->at;
	cursor->at += length;
	return true;
}

/* One act of reading, and where its sources begin. */
struct reading {
	const char *base, *pattern; /* base NULL: of the main file */
	size_t base_length, pattern_length, count;
};

static bool take_reading(struct cursor *cursor, struct reading *ret_reading)
{
	struct reading reading = {0};
	bool has_base;

	if (!take_word(cursor, "read "))
		return false;
	has_base = !take_word(cursor, "- ");
	if ((has_base && !take_number(cursor, ' ', &reading.base_length)) ||
		!take_number(cursor, ' ', &reading.pattern_length) ||
		!take_number(cursor, '\n', &reading.count) ||
		!take_bytes(cursor, reading.base_length, &reading.base) ||
		!take_bytes(cursor, reading.pattern_length, &reading.pattern) ||
		!take_word(cursor, "\n"))
		return false;
	if (!has_base)
		reading.base = NULL;
	*ret_reading = reading;
	return true;
}

struct piece {
	const char *path, *data;
	size_t path_length, data_length;
};

static bool take_piece(struct cursor *cursor, struct piece *ret_piece)
{
	return take_word(cursor, "source ") && take_number(cursor, ' ', &ret_piece->path_length) &&
	       take_number(cursor, '\n', &ret_piece->data_length) &&
	       take_bytes(cursor, ret_piece->path_length, &ret_piece->path) &&
	       take_bytes(cursor, ret_piece->data_length, &ret_piece->data) &&
	       take_word(cursor, "\n");
}

static bool is_same(const char *bytes, size_t length, const char *string)
{
	return string ? bytes && strlen(string) == length && memcmp(bytes, string, length) == 0
		      : !bytes;
}

static int copy_pieces(struct cursor *cursor, size_t count, struct config_source **ret_sources)
{
	struct config_source *sources;

	/* Each piece takes some bytes at least: no more can be there. */
	if (count > (size_t)(cursor->end - cursor->at))
		return -EBADMSG;
	sources = calloc(count + 1, sizeof(*sources));
	if (!sources)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct piece piece;
		bool good = take_piece(cursor, &piece);

		if (good) {
			sources[i].path = strndup(piece.path, piece.path_length);
			sources[i].data = malloc(piece.data_length + 1);
		}
		if (!good || !sources[i].path || !sources[i].data) {
			config_sources_free(sources, count);
			return good ? -ENOMEM : -EBADMSG;
		}
		memcpy(sources[i].data, piece.data, piece.data_length);
		sources[i].length = piece.data_length;
	}
	*ret_sources = sources;
	return 0;
}

static int find(const struct text *archive, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count)
{
	struct cursor cursor = {text_string(archive), text_string(archive) + archive->length};
	struct reading reading;

	if (!take_word(&cursor, first_line))
		return -EBADMSG;
	while (take_reading(&cursor, &reading)) {
		struct piece passed;

		if (is_same(reading.base, reading.base_length, base) &&
			is_same(reading.pattern, reading.pattern_length, pattern)) {
			*ret_count = reading.count;
			return copy_pieces(&cursor, reading.count, ret_sources);
		}
		for (size_t i = 0; i < reading.count; i++) {
			if (!take_piece(&cursor, &passed))
				return -EBADMSG;
		}
	}
	return take_word(&cursor, last_line) ? -ENOENT : -EBADMSG;
}

int config_replay(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const struct text *archive = context;
	int result = find(archive, base, pattern, ret_sources, ret_count);

	if (result == -ENOMEM)
		return error_no_memory(error);
	if (result < 0)
		return error_set(error, result, "", "the copy of the former config %s",
			result == -ENOENT ? "is of another file" : "is damaged");
	return 0;
}

static int tell_reading(const struct reading *reading, config_place_fn *place, void *context)
{
	char *base = reading->base ? strndup(reading->base, reading->base_length) : NULL;
	char *pattern = strndup(reading->pattern, reading->pattern_length);
	int result = pattern && (base || !reading->base) ? 0 : -ENOMEM;

	if (result == 0)
		place(context, base, pattern, NULL);
	free(base);
	free(pattern);
	return result;
}

static int tell_piece(struct cursor *cursor, config_place_fn *place, void *context)
{
	struct piece piece;
	char *path;

	if (!take_piece(cursor, &piece))
		return -EBADMSG;
	path = strndup(piece.path, piece.path_length);
	if (!path)
		return -ENOMEM;
	place(context, NULL, NULL, path);
	free(path);
	return 0;
}

int config_archive_places(const struct text *archive, config_place_fn *place, void *context)
{
	struct cursor cursor = {text_string(archive), text_string(archive) + archive->length};
	struct reading reading;
	int result = 0;

	if (!take_word(&cursor, first_line))
		return -EBADMSG;
	while (result == 0 && take_reading(&cursor, &reading)) {
		result = tell_reading(&reading, place, context);
		for (size_t i = 0; result == 0 && i < reading.count; i++)
			result = tell_piece(&cursor, place, context);
	}
	return result;
}
