/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and folders: reading what may be trusted, replacing whole files, locks. */
#ifndef SIPFENCE_FILES_H
#define SIPFENCE_FILES_H

#include "config_yaml.h"
#include "error.h"
#include "text.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A config_read_fn (codec/config_yaml.h). Refuses what is not a regular file, what others can
 * change (trust.h), and what is larger than 64 MiB. `context` is not used. */
int files_read_config(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error);

/* The same of another program's files, which we only look at: whoever may change them may do so. */
int files_read_foreign(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error);

/* What a config means by `pattern`: a relative one counts from the folder of the file that names
 * it, `base` (NULL: from where we are). -ENAMETOOLONG. */
int file_beside(const char *base, const char *pattern, char ret_path[PATH_MAX]);

enum { FILE_MISSING = 1 };
/* The whole of a regular file of our own, appended to `text`; what others can change, a symbolic
 * link, and a file with more than one name is refused. FILE_MISSING: there is none of that name. */
int file_load(const char *path, struct text *text, struct error *error);

/* As file_load(), but for what stands before its last `most` bytes. *ret_size: of the whole file.
 */
int file_load_end(
	const char *path, size_t most, struct text *text, size_t *ret_size, struct error *error);

/*
 * Makes `path` hold exactly these bytes, or leaves it as it was: written to a new file beside it
 * (`path`.new, mode 0600), fsync, rename. After a power cut it is the old file or the new one, and
 * whole. One process at a time: the caller has a lock.
 */
int file_save(const char *path, const void *data, size_t length, struct error *error);
/*
 * The same for a file that everybody on the machine may read, and whose content is soon of the
 * past: mode 0644, and no fsync.
 */
int file_publish(const char *path, const void *data, size_t length, struct error *error);
/* All of it, however many calls that takes. 0; -errno: a part of it may be written. */
int file_write_all(int fd, const char *data, size_t length);
/* Removes what a file_save() has left whose process was killed; the next one does that, too. */
void file_tidy(const char *path);

/* Adds these bytes at the end of `path`, which is made if it is missing; they outlive the process,
 * but maybe not a power cut. Negative: a part of them may be there. */
int file_append(const char *path, const void *data, size_t length, struct error *error);
/* That it is not there is no error. */
int file_remove(const char *path, struct error *error);

/* Renames it; what has the other name is no more. FILE_MISSING: there is none of that name. */
int file_move(const char *from, const char *to, struct error *error);

/* Renames a damaged file so that it is out of the way but not lost; *ret_name is malloc'ed. */
int file_set_aside(const char *path, char **ret_name, struct error *error);

/* A folder of our own, mode 0700, made if it is missing; its parent must be there. -EPERM: others
 * can change what is in it. */
int folder_make(const char *path, struct error *error);

enum { LOCK_TAKEN = 1, LOCK_WORD_SIZE = 16 };
struct lock_holder {
	pid_t pid;		   /* 0: unknown */
	char word[LOCK_WORD_SIZE]; /* what it does; "": unknown */
};
/*
 * Locks `path` (made if missing) for as long as *ret_fd is open; the lock dies with its process.
 * `word` says in one word, for the others, what this process does with it (`sync`, `run`).
 * LOCK_TAKEN: another process has it, *ret_holder says which.
 */
int lock_take(const char *path, const char *word, int *ret_fd, struct lock_holder *ret_holder,
	struct error *error);
/* Does another process live that has noted itself as its holder? For who must not take it, not even
 * for a moment: with another program under the former one's number it may be so for nothing. */
bool lock_holder_lives(const char *path);

#endif
