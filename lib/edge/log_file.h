/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A log file, line by line: plain or gzip (told by its first bytes, not by its name), a file, a
 * FIFO or standard input. Memory is one buffer, whatever the file holds.
 */
#ifndef SIPFENCE_LOG_FILE_H
#define SIPFENCE_LOG_FILE_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	LOG_FILE_BUFFER = 256 * 1024,
	LOG_LINE_MAX = 128 * 1024, /* longer lines are passed over, and counted */
};

struct log_file;

/* What a file is, before it is read. */
struct log_file_identity {
	dev_t device;
	ino_t inode;
	bool regular;
	int64_t modified; /* seconds since the epoch */
};

/* "-" is standard input. Refuses folders. */
int log_file_open(const char *path, struct log_file **ret_file,
	struct log_file_identity *ret_identity, struct error *error);
struct log_file *log_file_close(struct log_file *file); /* returns NULL */

enum { LOG_FILE_END = 1 };
/*
 * 0 and the next line without its line feed, which is good until the next call; LOG_FILE_END.
 * Negative: it can't be read on; a file of gzip that was cut or damaged, or one that is compressed
 * by something else, is such an error, after the lines before it. `error` says what and where.
 */
int log_file_line(
	struct log_file *file, const char **ret_line, size_t *ret_length, struct error *error);

uint64_t log_file_bytes(const struct log_file *file); /* of lines, uncompressed */
uint64_t log_file_lines(const struct log_file *file);
uint64_t log_file_too_long(const struct log_file *file); /* lines that were passed over */

#endif
