/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { PACKED_SIZE = 64 * 1024, MAGIC_SIZE = 6 };

struct log_file {
	const char *path; /* not owned */
	int fd;
	bool is_stdin, looked, ended, passing; /* passing: within a line that is too long */
	bool packed, between;		       /* between: two members of a gzip file */
	z_stream unpacker;
	unsigned char *packed_data;
	char *data;
	size_t from, to; /* what is not given out yet */
	size_t searched; /* of it: holds no line feed */
	uint64_t bytes, lines, too_long;
};

static int say(
	struct log_file *file, int code, const char *next, const char *what, struct error *error)
{
	return error_set(
		error, code, next, "%s: %s", file->is_stdin ? "standard input" : file->path, what);
}

static int open_path(const char *path, struct error *error)
{
	/* A FIFO without a writer is waited for: O_NONBLOCK would read it as empty. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		return fd;
	return error_set(error, -errno,
		errno == EACCES ? "run it as root, or as a member of Asterisk's group"
				: "see that the path is right",
		"%s cannot be opened: %s", path, strerror(errno));
}

int log_file_open(const char *path, struct log_file **ret_file,
	struct log_file_identity *ret_identity, struct error *error)
{
	struct log_file *file;
	struct stat status;
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open_path(path, error);

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0 || S_ISDIR(status.st_mode)) {
		int code = S_ISDIR(status.st_mode) ? -EISDIR : -errno;

		if (!is_stdin)
			close(fd);
		return error_set(error, code, "name the log files themselves",
			"%s cannot be read: %s", path, strerror(-code));
	}
	file = calloc(1, sizeof(*file));
	if (file)
		file->data = malloc(LOG_FILE_BUFFER);
	if (!file || !file->data) {
		free(file);
		if (!is_stdin)
			close(fd);
		return error_no_memory(error);
	}
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	file->path = path;
	file->fd = fd;
	file->is_stdin = is_stdin;
	*ret_identity = (struct log_file_identity){
		.device = status.st_dev,
		.inode = status.st_ino,
		.regular = S_ISREG(status.st_mode),
		.modified = status.st_mtime,
	};
	*ret_file = file;
	return 0;
}

struct log_file *log_file_close(struct log_file *file)
{
	if (!file)
		return NULL;
	if (file->packed)
		inflateEnd(&file->unpacker);
	if (!file->is_stdin)
		close(file->fd);
	free(file->packed_data);
	free(file->data);
	free(file);
	return NULL;
}

/* Bytes read, 0 at the end. */
static ssize_t read_some(struct log_file *file, void *data, size_t size, struct error *error)
{
	ssize_t got;

	do
		got = read(file->fd, data, size);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return say(file, -errno, "see that the disk works", strerror(errno), error);
	return got;
}

static int refuse_other_formats(struct log_file *file, struct error *error)
{
	static const struct {
		const char *magic, *tool;
		size_t length;
	} formats[] = {
		{"BZh", "bzip2", 3},
		{"\xfd"
		 "7zXZ",
			"xz", 5},
		{"\x28\xb5\x2f\xfd", "zstd", 4},
		{"PK\x03\x04", "zip", 4},
	};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (file->to < formats[i].length ||
			memcmp(file->data, formats[i].magic, formats[i].length) != 0)
			continue;
		file->to = 0;
		return error_set(error, -EPROTONOSUPPORT,
			"unpack it, and pipe it into sipfence audit -",
			"%s is packed by %s, which is not read here", file->path, formats[i].tool);
	}
	return 0;
}

static int begin_unpacking(struct log_file *file, struct error *error)
{
	file->packed_data = malloc(PACKED_SIZE);
	/* 16: a gzip header, nothing else */
	if (!file->packed_data || inflateInit2(&file->unpacker, 16 + MAX_WBITS) != Z_OK)
		return error_no_memory(error);
	file->packed = true;
	memcpy(file->packed_data, file->data, file->to);
	file->unpacker.next_in = file->packed_data;
	file->unpacker.avail_in = (unsigned)file->to;
	file->to = 0;
	return 0;
}

/* The first bytes, which say what it is. */
static int look(struct log_file *file, struct error *error)
{
	int result;

	file->looked = true;
	while (file->to < MAGIC_SIZE) {
		ssize_t got = read_some(file, file->data + file->to, MAGIC_SIZE - file->to, error);

		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		file->to += (size_t)got;
	}
	result = refuse_other_formats(file, error);
	if (result < 0)
		return result;
	if (file->to >= 2 && memcmp(file->data, "\x1f\x8b", 2) == 0)
		return begin_unpacking(file, error);
	return 0;
}

static int refill_packed(struct log_file *file, struct error *error)
{
	ssize_t got;

	if (file->unpacker.avail_in > 0)
		return 0;
	got = read_some(file, file->packed_data, PACKED_SIZE, error);
	if (got < 0)
		return (int)got;
	file->unpacker.next_in = file->packed_data;
	file->unpacker.avail_in = (unsigned)got;
	return got == 0 ? LOG_FILE_END : 0;
}

/* Between members there may be zeroes, as on a tape, and nothing else. */
static bool begin_member(struct log_file *file)
{
	while (file->unpacker.avail_in > 0 && *file->unpacker.next_in == 0) {
		file->unpacker.next_in++;
		file->unpacker.avail_in--;
	}
	if (file->unpacker.avail_in == 0)
		return true;
	file->between = false;
	return inflateReset(&file->unpacker) == Z_OK;
}

/* More unpacked bytes; LOG_FILE_END. */
static int unpack(struct log_file *file, struct error *error)
{
	static const char next[] = "the lines before that are in the result; get a whole copy";
	size_t room = LOG_FILE_BUFFER - file->to;
	int status = Z_OK;

	while (room == LOG_FILE_BUFFER - file->to) {
		int result = refill_packed(file, error);

		if (result == LOG_FILE_END && !file->between)
			return say(file, -ENODATA, next, "the gzip file is cut short", error);
		if (result != 0)
			return result;
		if (file->between && !begin_member(file))
			return say(file, -EBADMSG, next, "the gzip file is damaged", error);
		if (file->between)
			continue;
		file->unpacker.next_out = (unsigned char *)file->data + file->to;
		file->unpacker.avail_out = (unsigned)room;
		status = inflate(&file->unpacker, Z_NO_FLUSH);
		file->to = LOG_FILE_BUFFER - file->unpacker.avail_out;
		if (status == Z_STREAM_END)
			file->between = true;
		else if (status != Z_OK && status != Z_BUF_ERROR)
			return say(file, -EBADMSG, next, "the gzip file is damaged", error);
	}
	return 0;
}

/* More bytes behind `to`; LOG_FILE_END. */
static int fill(struct log_file *file, struct error *error)
{
	ssize_t got;

	if (!file->looked) {
		int result = look(file, error);

		if (result < 0 || file->to > 0)
			return result;
	}
	if (file->from > 0) {
		memmove(file->data, file->data + file->from, file->to - file->from);
		file->to -= file->from;
		file->from = 0;
	}
	if (file->packed)
		return unpack(file, error);
	got = read_some(file, file->data + file->to, LOG_FILE_BUFFER - file->to, error);
	if (got <= 0)
		return got < 0 ? (int)got : LOG_FILE_END;
	file->to += (size_t)got;
	return 0;
}

/* A line that ends at `length`, with `feed` bytes behind it; false: it is passed over. */
static bool give(struct log_file *file, size_t length, size_t feed, const char **ret_line,
	size_t *ret_length)
{
	bool good = !file->passing && length <= LOG_LINE_MAX;

	*ret_line = file->data + file->from;
	*ret_length = length;
	file->from += length + feed;
	file->bytes += length + feed;
	file->searched = 0;
	file->lines++;
	file->too_long += !good;
	file->passing = false;
	return good;
}

int log_file_line(
	struct log_file *file, const char **ret_line, size_t *ret_length, struct error *error)
{
	for (;;) {
		const char *begin = file->data + file->from;
		size_t length = file->to - file->from;
		const char *feed = memchr(begin + file->searched, '\n', length - file->searched);
		int result;

		if (feed) {
			if (give(file, (size_t)(feed - begin), 1, ret_line, ret_length))
				return 0;
			continue;
		}
		file->searched = length;
		if (length > LOG_LINE_MAX) {
			file->passing = true;
			file->bytes += length;
			file->from = file->to;
			file->searched = 0;
		}
		result = file->ended ? LOG_FILE_END : fill(file, error);
		if (result == 0)
			continue;
		/* After an error too, what came before it was good. */
		file->ended = true;
		if (result == LOG_FILE_END && (file->to > file->from || file->passing) &&
			give(file, file->to - file->from, 0, ret_line, ret_length))
			return 0;
		return result;
	}
}

uint64_t log_file_bytes(const struct log_file *file)
{
	return file->bytes;
}

uint64_t log_file_lines(const struct log_file *file)
{
	return file->lines;
}

uint64_t log_file_too_long(const struct log_file *file)
{
	return file->too_long;
}
