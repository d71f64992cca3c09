/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "files.h"
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_SIZE_MAX = 64 * 1024 * 1024 };

static int read_all(int fd, struct text *text)
{
	char buffer[65536];

	for (;;) {
		ssize_t size = read(fd, buffer, sizeof(buffer));

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0)
			return -errno;
		if (size == 0)
			return 0;
		text_write(text, buffer, (size_t)size);
		if (text->failed)
			return -ENOMEM;
		if (text->length > FILE_SIZE_MAX)
			return -EFBIG;
	}
}

/* The modes allow it, and it can't be opened all the same: Landlock, which does not look at
 * access().
 */
static const char *explain_denied(int number, const char *path)
{
	if (number != EACCES)
		return "";
	return access(path, R_OK) == 0
		       ? "; the daemon reads only the folders that the config named when it was "
			 "started: restart it (systemctl restart sipfence)"
		       : "; let this user read it (chgrp, chmod g+r), and enter its folder";
}

/* dirname(), but of a copy. */
static const char *folder_of(const char *path, char buffer[PATH_MAX])
{
	return snprintf(buffer, PATH_MAX, "%s", path) < PATH_MAX ? dirname(buffer) : "/";
}

/* Never blocks: a FIFO in the place of a file is opened without waiting, and refused. */
static int open_regular(const char *path, int flags, struct stat *ret_status, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags);
	int number = errno;

	if (fd < 0 && number == ENOENT)
		return error_set(error, -ENOENT, "", "%s does not exist", path);
	if (fd < 0 && number == ELOOP && flags & O_NOFOLLOW)
		return error_set(error, -number, "", "%s is a symbolic link", path);
	if (fd < 0)
		return error_set(error, -number, "", "cannot open %s: %s%s", path, strerror(number),
			flags & O_NOFOLLOW ? "" : explain_denied(number, path));
	if (fstat(fd, ret_status) < 0) {
		number = errno;
		close(fd);
		return error_set(
			error, -number, "", "cannot look at %s: %s", path, strerror(number));
	}
	if (S_ISREG(ret_status->st_mode))
		return fd;
	close(fd);
	return error_set(error, -EINVAL, "", "%s is %s, not a file", path,
		S_ISDIR(ret_status->st_mode) ? "a folder" : "something special");
}

enum kind { KIND_CONFIG, KIND_OWN, KIND_FOREIGN };

/* A config's owner may be anybody: only who may change the folder can have put it there. Of a file
 * of ours it is the folder's owner who wrote it: the daemon's user, where root reads it. */
static int check(const char *path, const struct stat *status, enum kind kind, struct error *error)
{
	char folder_path[PATH_MAX];
	struct stat folder;
	uid_t also = status->st_uid;
	int result;

	if (kind == KIND_OWN)
		also = stat(folder_of(path, folder_path), &folder) == 0 ? folder.st_uid
									: TRUST_NOBODY_ELSE;
	result = trust_status(path, status, also, error);
	if (result == 0)
		result = trust_way(path, also, error);
	if (result == 0 && kind == KIND_OWN && status->st_nlink > 1)
		result = error_set(error, -EPERM, "",
			"%s has another name as well (a hard link), where others may change it",
			path);
	return result;
}

static int open_checked(
	const char *path, enum kind kind, struct stat *ret_status, struct error *error)
{
	int result, fd = open_regular(path, kind == KIND_OWN ? O_NOFOLLOW : 0, ret_status, error);

	if (fd < 0 || kind == KIND_FOREIGN)
		return fd;
	result = check(path, ret_status, kind, error);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

static int load(const char *path, enum kind kind, struct text *text, struct error *error)
{
	struct stat status = {0};
	int result, fd = open_checked(path, kind, &status, error);

	if (fd < 0)
		return fd;
	result = read_all(fd, text);
	close(fd);
	if (result == -EFBIG)
		return error_set(error, result, "", "%s is larger than %d MiB", path,
			FILE_SIZE_MAX / 1024 / 1024);
	if (result == -ENOMEM)
		return error_no_memory(error);
	if (result < 0)
		return error_set(error, result, "", "cannot read %s: %s", path, strerror(-result));
	return 0;
}

static int load_source(
	const char *path, enum kind kind, struct config_source *ret_source, struct error *error)
{
	struct text text = {0};
	char *copy = strdup(path);
	int result = copy ? load(path, kind, &text, error) : error_no_memory(error);

	if (result < 0) {
		free(copy);
		text_free(&text);
		return result;
	}
	if (!text.data)
		text_puts(&text, ""); /* an empty file is a source, too */
	*ret_source =
		(struct config_source){.path = copy, .data = text.data, .length = text.length};
	return 0;
}

int file_beside(const char *base, const char *pattern, char ret_path[PATH_MAX])
{
	char folder[PATH_MAX];
	int length;

	if (!base || pattern[0] == '/') {
		length = snprintf(ret_path, PATH_MAX, "%s", pattern);
	} else {
		if (snprintf(folder, sizeof(folder), "%s", base) >= (int)sizeof(folder))
			return -ENAMETOOLONG;
		length = snprintf(ret_path, PATH_MAX, "%s/%s", dirname(folder), pattern);
	}
	return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int load_matches(const glob_t *matches, enum kind kind, struct config_source **ret_sources,
	size_t *ret_count, struct error *error)
{
	struct config_source *sources = calloc(matches->gl_pathc + 1, sizeof(*sources));

	if (!sources)
		return error_no_memory(error);
	for (size_t i = 0; i < matches->gl_pathc; i++) {
		int result = load_source(matches->gl_pathv[i], kind, &sources[i], error);

		if (result < 0) {
			config_sources_free(sources, i);
			return result;
		}
	}
	*ret_sources = sources;
	*ret_count = matches->gl_pathc;
	return 0;
}

/* A folder that is not there holds no file; any other error ends the listing. */
static int glob_failed(const char *path, int number)
{
	(void)path;
	return number != ENOENT;
}

/* The main file: what is wrong with it most often is that there is none, or that root's may not be
 * read. */
static int explain_main(const char *path, int result, struct error *error)
{
	const char *what =
		"does not exist; sipfence init writes a first one; or name another with -c";

	if (result != -ENOENT && (result != -EACCES || access(path, R_OK) == 0))
		return result;
	if (result == -EACCES)
		what = "may not be read by this user; run it as root, or let the user read it (chgrp, "
		       "chmod g+r; its folders: chmod g+x)";
	*error = (struct error){0};
	return error_set(error, result, "", "it %s", what);
}

static int read_sources(enum kind kind, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	bool wild = base && strpbrk(pattern, "*?[");
	char path[PATH_MAX], folder[PATH_MAX];
	char *single[] = {path, NULL};
	glob_t matches = {0};
	int result, number;

	if (file_beside(base, pattern, path) < 0)
		return error_set(error, -ENAMETOOLONG, "", "the path is too long");
	if (!wild) {
		matches.gl_pathc = 1;
		matches.gl_pathv = single;
		result = load_matches(&matches, kind, ret_sources, ret_count, error);
		return base || kind == KIND_FOREIGN ? result : explain_main(path, result, error);
	}
	errno = 0;
	result = glob(path, 0, glob_failed, &matches);
	number = errno;
	if (result == GLOB_NOMATCH) {
		*ret_sources = NULL;
		*ret_count = 0;
		return 0;
	}
	if (result != 0)
		return error_set(error, result == GLOB_NOSPACE ? -ENOMEM : -EIO, "",
			"cannot list %s: %s%s", path,
			result == GLOB_NOSPACE ? "out of memory" : strerror(number),
			result == GLOB_NOSPACE ? ""
					       : explain_denied(number, folder_of(path, folder)));
	result = load_matches(&matches, kind, ret_sources, ret_count, error);
	globfree(&matches);
	return result;
}

int files_read_config(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	(void)context;
	return read_sources(KIND_CONFIG, base, pattern, ret_sources, ret_count, error);
}

int files_read_foreign(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	(void)context;
	return read_sources(KIND_FOREIGN, base, pattern, ret_sources, ret_count, error);
}

int file_load(const char *path, struct text *text, struct error *error)
{
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return FILE_MISSING;
	return load(path, KIND_OWN, text, error);
}

int file_load_end(
	const char *path, size_t most, struct text *text, size_t *ret_size, struct error *error)
{
	struct stat status = {0};
	int fd, result;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return FILE_MISSING;
	fd = open_checked(path, KIND_OWN, &status, error);
	if (fd < 0)
		return fd;
	*ret_size = (size_t)status.st_size;
	if (*ret_size > most && lseek(fd, -(off_t)most, SEEK_END) < 0)
		result = -errno;
	else
		result = read_all(fd, text);
	close(fd);
	if (result == -ENOMEM)
		return error_no_memory(error);
	if (result < 0)
		return error_set(error, result, "", "cannot read the end of %s: %s", path,
			strerror(-result));
	return 0;
}

int file_write_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t size = write(fd, data, length);

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0)
			return -errno;
		data += size;
		length -= (size_t)size;
	}
	return 0;
}

/* What root leaves in a folder of the daemon's user must be the daemon's to read and replace. */
static void adopt(int fd, const char *path)
{
	char folder[PATH_MAX];
	struct stat status;

	if (geteuid() == 0 && stat(folder_of(path, folder), &status) == 0 && status.st_uid != 0)
		(void)!fchown(fd, status.st_uid, status.st_gid);
}

int file_save(const char *path, const void *data, size_t length, struct error *error)
{
	char temporary[PATH_MAX];
	int fd, result, size = snprintf(temporary, sizeof(temporary), "%s.new", path);

	if (size < 0 || size >= PATH_MAX)
		return error_set(error, -ENAMETOOLONG, "", "the path %s is too long", path);
	/* What a process that was killed has left: always the same name, or they would pile up. */
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		result = -errno;
		return error_set(error, result,
			"see that the folder is there, is yours, and has room (df, ls -ld)",
			"cannot write beside %s: %s", path, strerror(-result));
	}
	adopt(fd, path);
	result = file_write_all(fd, data, length);
	if (result == 0 && fsync(fd) < 0)
		result = -errno;
	if (close(fd) < 0 && result == 0)
		result = -errno;
	if (result == 0 && rename(temporary, path) < 0)
		result = -errno;
	if (result < 0)
		unlink(temporary);
	if (result < 0)
		return error_set(error, result, "see that the disk has room and works (df, dmesg)",
			"cannot write %s: %s", path, strerror(-result));
	return 0;
}

int file_publish(const char *path, const void *data, size_t length, struct error *error)
{
	char temporary[PATH_MAX];
	int fd, result, size = snprintf(temporary, sizeof(temporary), "%s.new", path);

	if (size < 0 || size >= PATH_MAX)
		return error_set(error, -ENAMETOOLONG, "", "the path %s is too long", path);
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	result = fd < 0 ? -errno : file_write_all(fd, data, length);
	if (result == 0 && fchmod(fd, 0644) < 0)
		result = -errno;
	if (fd >= 0 && close(fd) < 0 && result == 0)
		result = -errno;
	if (result == 0 && rename(temporary, path) < 0)
		result = -errno;
	if (result < 0 && fd >= 0)
		unlink(temporary);
	if (result < 0)
		return error_set(error, result,
			"see that the folder is there, has room, and may be written by sipfence's "
			"user (df, ls -ld)",
			"cannot write %s: %s", path, strerror(-result));
	return 0;
}

void file_tidy(const char *path)
{
	char temporary[PATH_MAX];

	if (snprintf(temporary, sizeof(temporary), "%s.new", path) < (int)sizeof(temporary))
		unlink(temporary);
}

int file_append(const char *path, const void *data, size_t length, struct error *error)
{
	int fd = open(
		path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	int result = fd < 0 ? -errno : file_write_all(fd, data, length);

	if (fd >= 0)
		close(fd);
	if (result < 0)
		return error_set(error, result,
			"see that the disk has room and works, and whose file it is (df, ls -l)",
			"cannot add to %s: %s", path, strerror(-result));
	return 0;
}

int file_remove(const char *path, struct error *error)
{
	int number;

	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	number = errno;
	return error_set(error, -number, "", "cannot remove %s: %s", path, strerror(number));
}

int file_move(const char *from, const char *to, struct error *error)
{
	int number;

	if (rename(from, to) == 0)
		return 0;
	number = errno;
	if (number == ENOENT)
		return FILE_MISSING;
	return error_set(
		error, -number, "", "cannot rename %s to %s: %s", from, to, strerror(number));
}

int file_set_aside(const char *path, char **ret_name, struct error *error)
{
	char *name = NULL;
	int number;

	if (asprintf(&name, "%s.damaged", path) < 0)
		return error_no_memory(error);
	if (rename(path, name) == 0) {
		*ret_name = name;
		return 0;
	}
	number = errno;
	free(name);
	return error_set(error, -number, "", "cannot set %s aside: %s", path, strerror(number));
}

int folder_make(const char *path, struct error *error)
{
	struct stat status;
	int number;

	if (mkdir(path, 0700) == 0)
		return 0;
	number = errno;
	if (number != EEXIST)
		return error_set(error, -number,
			number == EACCES || number == EPERM
				? "run it as root, or name another folder (--state-dir, --run-dir)"
				: "make the folder above it first, or name another one "
				  "(--state-dir, --run-dir)",
			"cannot make the folder %s: %s", path, strerror(number));
	if (stat(path, &status) < 0 || !S_ISDIR(status.st_mode))
		return error_set(error, -ENOTDIR, "move away what is there",
			"%s is there, but is not a folder", path);
	if (trust_others_may_write(&status))
		return error_set(error, -EPERM,
			"take that right away (chmod go-w), or name a folder of its own "
			"(--state-dir, --run-dir)",
			"the folder %s may be written by others than its owner and root", path);
	return trust_way(path, status.st_uid, error);
}

/* "PID WORD", or only a number; the file is another process's, which may be writing it just now. */
static struct lock_holder read_holder(int fd)
{
	struct lock_holder holder = {0};
	char buffer[64] = "", *end = buffer;
	ssize_t size = pread(fd, buffer, sizeof(buffer) - 1, 0);
	long pid = size > 0 ? strtol(buffer, &end, 10) : 0;
	size_t length;

	if (pid <= 0 || pid > INT32_MAX)
		return holder;
	holder.pid = (pid_t)pid;
	if (*end++ != ' ')
		return holder;
	length = strspn(end, "abcdefghijklmnopqrstuvwxyz-");
	if (length < sizeof(holder.word) && end[length] == '\n')
		memcpy(holder.word, end, length);
	return holder;
}

/* What is written into it is not written into anything else. */
static int open_lock(const char *path, struct error *error)
{
	int fd =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	int number = errno;
	struct stat status;

	if (fd < 0 && number == ELOOP)
		return error_set(
			error, -number, "remove it", "the lock %s is a symbolic link", path);
	if (fd < 0)
		return error_set(error, -number, "see whose folder it is in (ls -ld)",
			"cannot open the lock %s: %s", path, strerror(number));
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink <= 1) {
		adopt(fd, path);
		return fd;
	}
	close(fd);
	return error_set(error, -EINVAL, "move it away", "the lock %s is not a file of its own: %s",
		path,
		S_ISREG(status.st_mode) ? "it has another name (a hard link)"
					: "it is something special");
}

int lock_take(const char *path, const char *word, int *ret_fd, struct lock_holder *ret_holder,
	struct error *error)
{
	int number, fd = open_lock(path, error);

	if (fd < 0)
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		number = errno;
		*ret_holder = read_holder(fd);
		close(fd);
		if (number == EWOULDBLOCK)
			return LOCK_TAKEN;
		return error_set(error, -number, "", "cannot lock %s: %s", path, strerror(number));
	}
	/* Only for the message of the next one; the lock is good without. */
	if (ftruncate(fd, 0) == 0)
		(void)!dprintf(fd, "%ld %s\n", (long)getpid(), word);
	*ret_fd = fd;
	return 0;
}

bool lock_holder_lives(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct lock_holder holder;

	if (fd < 0)
		return false;
	holder = read_holder(fd);
	close(fd);
	return holder.pid > 0 && holder.pid != getpid() &&
	       (kill(holder.pid, 0) == 0 || errno == EPERM);
}
