/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log_tail.h"
#include "way.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READS = 16 /* of events, in one call */ };

struct tail_file {
	int fd, watch;
	dev_t device;
	ino_t inode;
	off_t offset; /* up to which it was read */
	bool told;    /* that it was opened */
};

struct log_tail {
	int fd;
	char *path;
	struct way way;
	struct tail_file files[LOG_TAIL_FILES]; /* the first is read, the last is at the path */
	size_t count;
	bool crowded;	   /* there was no place for the one at the path */
	bool blind;	   /* what happens to it can't be noticed */
	bool back;	   /* it was told to be missing, and is there again */
	struct stat start; /* of the file that is read from its end; st_nlink 0: of none */
	int64_t retry_ms;
	/* What is at the path can't be read. */
	struct error problem;
	bool told;
	int64_t tell_ms; /* not before; of the next one when `told` */
};

/* --- Files --- */

static void drop_file(struct log_tail *tail, size_t index)
{
	struct tail_file *file = &tail->files[index];

	if (file->watch >= 0)
		inotify_rm_watch(tail->fd, file->watch);
	close(file->fd);
	tail->count--;
	memmove(file, file + 1, (tail->count - index) * sizeof(*file));
}

/* By its descriptor, since the path may name another one by now. */
static int watch_file(const struct log_tail *tail, int fd)
{
	char path[64];
	int watch;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	watch = inotify_add_watch(tail->fd, path, IN_MODIFY);
	return watch >= 0 ? watch : inotify_add_watch(tail->fd, tail->path, IN_MODIFY);
}

static bool is_read_to_its_end(const struct tail_file *file)
{
	struct stat status;

	return fstat(file->fd, &status) < 0 || status.st_size <= file->offset;
}

/* Takes the descriptor over. */
static void add_file(struct log_tail *tail, int fd, const struct stat *status)
{
	struct tail_file file = {.fd = fd, .device = status->st_dev, .inode = status->st_ino};

	for (size_t i = 0; i < tail->count; i++) {
		if (tail->files[i].device != file.device || tail->files[i].inode != file.inode)
			continue;
		/* What had replaced it has been taken away again. */
		while (tail->count > i + 1)
			drop_file(tail, tail->count - 1);
		close(fd);
		return;
	}
	if (tail->count == LOG_TAIL_FILES && is_read_to_its_end(&tail->files[0]))
		drop_file(tail, 0);
	tail->crowded = tail->count == LOG_TAIL_FILES;
	if (tail->crowded) {
		close(fd);
		return;
	}
	if (tail->start.st_nlink > 0 && tail->start.st_dev == file.device &&
		tail->start.st_ino == file.inode && tail->start.st_size <= status->st_size)
		file.offset = tail->start.st_size;
	tail->start.st_nlink = 0;
	file.watch = -1;
	tail->files[tail->count++] = file;
}

static void watch_files(struct log_tail *tail)
{
	for (size_t i = 0; i < tail->count; i++) {
		struct tail_file *file = &tail->files[i];

		if (file->watch < 0)
			file->watch = watch_file(tail, file->fd);
		tail->blind |= file->watch < 0;
	}
}

static int refuse(const struct log_tail *tail, int code, const char *why, struct error *error)
{
	return error_set(error, code,
		code == -ENOENT	  ? "see that it is written, and its path; it is waited for"
		: code == -EACCES ? "let it, and the folders on the way to it, be read"
				  : "see what is there (ls -l), and its path",
		"%s cannot be followed: %s", tail->path, why);
}

/* A FIFO would make its writer believe that it is read, and a device may do anything: so they are
 * not opened. */
static int open_file(const struct log_tail *tail, struct stat *ret_status, struct error *error)
{
	int fd;

	if (stat(tail->path, ret_status) < 0)
		return refuse(tail, -errno, strerror(errno), error);
	if (!S_ISREG(ret_status->st_mode))
		return refuse(tail, -EINVAL, "it is not a file", error);
	fd = open(tail->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return refuse(tail, -errno, strerror(errno), error);
	if (fstat(fd, ret_status) == 0 && S_ISREG(ret_status->st_mode))
		return fd;
	close(fd);
	return refuse(tail, -EINVAL, "it is not a file", error);
}

/* --- What is at the path --- */

static void set_problem(struct log_tail *tail, const struct error *error, int64_t now_ms)
{
	if (tail->problem.code && strcmp(tail->problem.what, error->what) == 0)
		return;
	if (!tail->problem.code && tail->count > 0 && tail->tell_ms < now_ms + LOG_TAIL_MISSING_MS)
		tail->tell_ms = now_ms + LOG_TAIL_MISSING_MS;
	tail->problem = *error;
	tail->told = false;
}

/* The folders are watched first, so that nothing passes between the two. */
static void look(struct log_tail *tail, int64_t now_ms)
{
	struct error error = {0};
	struct stat status;
	int fd;

	tail->blind = way_watch(&tail->way, tail->fd, tail->path, 0) < 0 || tail->way.gaps;
	fd = open_file(tail, &status, &error);
	if (fd < 0) {
		set_problem(tail, &error, now_ms);
	} else {
		tail->back |= tail->problem.code && tail->told;
		tail->problem = (struct error){0};
		add_file(tail, fd, &status);
	}
	watch_files(tail);
	tail->retry_ms = tail->blind ? now_ms + LOG_TAIL_BLIND_MS
			 : fd < 0    ? now_ms + LOG_TAIL_RETRY_MS
				     : INT64_MAX;
}

/* Empties the queue, but not for ever; the rest keeps the descriptor readable. */
static bool read_events(const struct log_tail *tail)
{
	_Alignas(struct inotify_event) char buffer[16384];
	bool ours = false;

	for (int i = 0; i < READS; i++) {
		ssize_t size = read(tail->fd, buffer, sizeof(buffer));

		if (size <= 0)
			break;
		for (char *at = buffer; at < buffer + size;) {
			const struct inotify_event *event =
				(const struct inotify_event *)(void *)at;

			ours = ours || way_concerns(&tail->way, event);
			at += sizeof(*event) + event->len;
		}
	}
	return ours;
}

void log_tail_notice(struct log_tail *tail, int64_t now_ms)
{
	if (read_events(tail) || now_ms >= tail->retry_ms)
		look(tail, now_ms);
}

/* --- Reading --- */

/* Who writes has closed all files before the one that he has begun. */
static bool successor_has_begun(const struct log_tail *tail)
{
	struct stat status;

	for (size_t i = 1; i < tail->count; i++) {
		if (fstat(tail->files[i].fd, &status) == 0 && status.st_size > 0)
			return true;
	}
	return false;
}

static ssize_t read_on(struct tail_file *file, char *buffer, size_t size)
{
	ssize_t length;

	do {
		length = pread(file->fd, buffer, size, file->offset);
	} while (length < 0 && errno == EINTR);
	if (length > 0)
		file->offset += length;
	return length;
}

static enum log_tail_news read_file(
	struct log_tail *tail, char *buffer, size_t size, size_t *ret_length)
{
	struct tail_file *file = &tail->files[0];
	struct stat status;
	ssize_t length;

	if (!file->told || (tail->back && tail->count == 1)) {
		file->told = true;
		tail->back = false;
		return LOG_TAIL_OPENED;
	}
	if (fstat(file->fd, &status) == 0 && status.st_size < file->offset) {
		file->offset = 0;
		return LOG_TAIL_OPENED;
	}
	length = read_on(file, buffer, size);
	if (length <= 0)
		return LOG_TAIL_NOTHING;
	*ret_length = (size_t)length;
	return LOG_TAIL_BYTES;
}

enum log_tail_news log_tail_read(struct log_tail *tail, int64_t now_ms, char *buffer, size_t size,
	size_t *ret_length, struct error *error)
{
	while (tail->count > 0) {
		/* Asked before it is read to its end, so that this is the end. */
		bool complete = tail->count > 1 && (tail->back || successor_has_begun(tail));
		enum log_tail_news news = read_file(tail, buffer, size, ret_length);

		if (news != LOG_TAIL_NOTHING)
			return news;
		if (!complete)
			break;
		drop_file(tail, 0);
		if (tail->crowded)
			look(tail, now_ms);
	}
	if (!tail->problem.code || tail->told || now_ms < tail->tell_ms)
		return LOG_TAIL_NOTHING;
	tail->told = true;
	tail->tell_ms = now_ms + LOG_TAIL_RETRY_MS;
	*error = tail->problem;
	return LOG_TAIL_MISSING;
}

int64_t log_tail_due(const struct log_tail *tail)
{
	if (tail->problem.code && !tail->told && tail->tell_ms < tail->retry_ms)
		return tail->tell_ms;
	return tail->retry_ms;
}

int log_tail_fd(const struct log_tail *tail)
{
	return tail->fd;
}

int log_tail_open(struct log_tail **ret_tail, const char *path, int64_t now_ms, struct error *error)
{
	struct log_tail *tail = calloc(1, sizeof(*tail));
	int result = 0;

	if (!tail)
		return error_no_memory(error);
	tail->path = strdup(path);
	tail->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	tail->tell_ms = now_ms;
	if (tail->fd < 0)
		result = -errno;
	else if (!tail->path)
		result = -ENOMEM;
	else if (path[0] != '/')
		result = -EINVAL;
	if (result < 0) {
		log_tail_close(tail);
		return error_set(error, result,
			result == -EMFILE ? "raise fs.inotify.max_user_instances (sysctl)" : "",
			"%s cannot be followed: %s", path, strerror(-result));
	}
	if (stat(path, &tail->start) < 0 || !S_ISREG(tail->start.st_mode))
		tail->start.st_nlink = 0;
	look(tail, now_ms);
	*ret_tail = tail;
	return 0;
}

struct log_tail *log_tail_close(struct log_tail *tail)
{
	if (!tail)
		return NULL;
	while (tail->count > 0)
		drop_file(tail, tail->count - 1);
	if (tail->fd >= 0)
		close(tail->fd);
	way_clear(&tail->way);
	free(tail->path);
	free(tail);
	return NULL;
}
