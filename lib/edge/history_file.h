/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of the history (codec/history.h): `path` is the one that is written, `path`.1 the one
 * before it, up to `path`.9. Each stands alone. One process writes at a time: it has the lock of
 * the state folder. Who reads needs no lock.
 */
#ifndef SIPFENCE_HISTORY_FILE_H
#define SIPFENCE_HISTORY_FILE_H

#include "error.h"
#include "history.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HISTORY_FILES = 9, /* beside the one that is written */
	/* What a file may grow by before the next one follows; more where the list itself is long.
	 */
	HISTORY_FILE_GROWTH = 1024 * 1024,
};

enum { HISTORY_MISSING = 1 };
/*
 * All files, ready for questions. HISTORY_MISSING: there are none, *ret_history is an empty one.
 * Negative: one can't be read, `error` says which.
 */
int history_file_load(const char *path, struct history **ret_history, struct error *error);

/* What a writer knows of its file; zeroed: nothing yet. */
struct history_writer {
	bool whole;	    /* the file ends in a whole line, and says what is known */
	size_t size, limit; /* bytes; over the limit, the next file is begun */
};

/*
 * Makes the file, whatever its end looks like, say what `listing` says (history_reconcile()).
 * Negative: call it again, later; until then nothing else can be written.
 */
int history_file_look(struct history_writer *writer, const char *path, enum history_word word,
	int64_t now, const char *listing, size_t length, struct error *error);
/* Adds lines. Negative: they are not in the file, or a part is; a look is due. */
int history_file_add(struct history_writer *writer, const char *path, int64_t now,
	const char *lines, size_t length, struct error *error);

#endif
