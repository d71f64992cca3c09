/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replace.h"

#include "files.h"
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 250, LOCK_PAUSE_MS = 20 };

struct replacement {
	const char *path;
	char folder_path[PATH_MAX];
	const char *name; /* in the folder */
	char temporary[NAME_MAX + 1];
	int folder;
	struct stat folder_status;
	struct stat like; /* st_nlink 0: there is none */
	struct stat old;  /* the same */
	uid_t uid;
	gid_t gid;
	mode_t mode;
};

/* The daemon of sipfence.service sees most of the disk as read-only, and is not root. */
static const char *advice(int number)
{
	switch (number) {
	case EROFS:
		return "under systemd, the unit must allow that folder: ReadWritePaths= in the "
		       "drop-in examples/systemd/asterisk.conf; else the disk is mounted read-only "
		       "(findmnt -T on the folder)";
	case EPERM:
	case EACCES:
		if (geteuid() == 0)
			return "see what keeps root from it (lsattr, a security module)";
		return "let this user write the folder (ls -ld; examples/systemd/asterisk.conf "
		       "says how for the daemon), or run it as root";
	case ENOENT:
	case ENOTDIR:
		return "make the folder, or name a file in another one";
	case ENOSPC:
	case EDQUOT:
		return "make room on that disk (df)";
	default:
		return "see that the disk works (dmesg)";
	}
}

/* --- The folder --- */

static int check_folder(const struct replacement *to, struct error *error)
{
	uid_t owner = to->folder_status.st_uid;
	char *real = realpath(to->folder_path, NULL);
	int result;

	/* The folder itself is its owner's matter, and his group's. */
	if (to->folder_status.st_mode & S_IWOTH) {
		free(real);
		return error_set(error, -EPERM,
			"take that right away (chmod o-w), or name another folder",
			"everybody may write the folder %s", to->folder_path);
	}
	result = trust_way(to->folder_path, owner, error);
	if (result == 0 && real)
		result = trust_way(real, owner, error);
	free(real);
	return result;
}

static int open_folder(struct replacement *to, struct error *error)
{
	char copy[PATH_MAX];
	int size = snprintf(copy, sizeof(copy), "%s", to->path);
	const char *slash = strrchr(to->path, '/');

	to->name = slash ? slash + 1 : to->path;
	if (size >= PATH_MAX || snprintf(to->temporary, sizeof(to->temporary), "%s.new",
					to->name) >= (int)sizeof(to->temporary))
		return error_set(error, -ENAMETOOLONG, "", "the path %.200s is too long", to->path);
	snprintf(to->folder_path, sizeof(to->folder_path), "%s", dirname(copy));
	to->folder = open(to->folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (to->folder < 0 || fstat(to->folder, &to->folder_status) < 0)
		return error_set(error, -errno, advice(errno), "cannot open the folder %s: %s",
			to->folder_path, strerror(errno));
	return check_folder(to, error);
}

static int lock_folder(const struct replacement *to, struct error *error)
{
	static const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(to->folder, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_set(error, -errno, "", "cannot lock the folder %s: %s",
				to->folder_path, strerror(errno));
		nanosleep(&pause, NULL);
	}
	return error_set(error, -EBUSY, "see which one it is (fuser -v on the folder), try again",
		"another process keeps the folder %s locked", to->folder_path);
}

/* --- Whose it shall be --- */

static int look_at_old(struct replacement *to, struct error *error)
{
	uid_t also = to->like.st_nlink ? to->like.st_uid : TRUST_NOBODY_ELSE;
	const char *wrong = NULL;

	if (fstatat(to->folder, to->name, &to->old, AT_SYMLINK_NOFOLLOW) < 0) {
		to->old = (struct stat){0};
		if (errno == ENOENT)
			return 0;
		return error_set(error, -errno, advice(errno), "cannot look at %s: %s", to->path,
			strerror(errno));
	}
	if (S_ISLNK(to->old.st_mode))
		wrong = "is a symbolic link";
	else if (!S_ISREG(to->old.st_mode))
		wrong = "is not a file";
	else if (to->old.st_nlink > 1)
		wrong = "has another name as well (a hard link)";
	if (wrong)
		return error_set(error, -EINVAL, "move it away, or name another file in the config",
			"%s %s; it is not written", to->path, wrong);
	if (trust_user(to->old.st_uid, also) || to->old.st_uid == to->folder_status.st_uid)
		return 0;
	return error_set(error, -EPERM, "move it away, or name another file in the config",
		"%s belongs to user number %lu, who is neither root nor the owner of the folder; "
		"it is not written",
		to->path, (unsigned long)to->old.st_uid);
}

/* May all who read `like` read `old`, as far as modes tell? Of a file that everybody reads it can't
 * be told who has to. */
static bool serves(const struct stat *old, const struct stat *like)
{
	if (like->st_nlink == 0 || old->st_mode & S_IROTH)
		return true;
	/* Anybody may read that one: so who should, is not known; but it is not root alone. */
	if (like->st_mode & S_IROTH)
		return (old->st_uid != 0 && old->st_mode & S_IRUSR) ||
		       (old->st_gid != 0 && old->st_mode & S_IRGRP);
	if (like->st_mode & S_IRGRP && like->st_gid != 0)
		return old->st_gid == like->st_gid && old->st_mode & S_IRGRP;
	return like->st_uid == 0 || (old->st_uid == like->st_uid && old->st_mode & S_IRUSR);
}

static void choose_owner(struct replacement *to)
{
	const struct stat *from = NULL;

	if (to->old.st_nlink && serves(&to->old, &to->like))
		from = &to->old;
	else if (to->like.st_nlink)
		from = &to->like;
	to->uid = from ? from->st_uid : geteuid();
	to->gid = from ? from->st_gid : to->folder_status.st_gid;
	if (from)
		to->mode = (from->st_mode & (0660 | S_IROTH)) | S_IRUSR | S_IWUSR;
	else
		to->mode = to->gid ? 0640 : 0644;
}

/* --- Its content --- */

static bool holds(const struct replacement *to, const char *data, size_t length)
{
	const struct stat *old = &to->old;
	char buffer[65536];
	size_t done = 0;
	ssize_t size = 0;
	int fd;

	if (!old->st_nlink || old->st_size != (off_t)length || old->st_uid != to->uid ||
		old->st_gid != to->gid || (old->st_mode & 07777) != to->mode)
		return false;
	fd = openat(to->folder, to->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	while (fd >= 0 && (size = read(fd, buffer, sizeof(buffer))) > 0) {
		if ((size_t)size > length - done || memcmp(data + done, buffer, (size_t)size) != 0)
			break;
		done += (size_t)size;
	}
	if (fd >= 0)
		close(fd);
	return fd >= 0 && size == 0 && done == length;
}

static int give_away(const struct replacement *to, int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if ((status.st_uid != to->uid || status.st_gid != to->gid) &&
		fchown(fd, to->uid, to->gid) < 0)
		return -errno;
	return fchmod(fd, to->mode) < 0 ? -errno : 0;
}

static int write_new(const struct replacement *to, const void *data, size_t length)
{
	int fd, result;

	/* What a process that was killed has left. */
	unlinkat(to->folder, to->temporary, 0);
	fd = openat(to->folder, to->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		0600);
	if (fd < 0)
		return -errno;
	result = give_away(to, fd);
	if (result == 0)
		result = file_write_all(fd, data, length);
	if (result == 0 && fsync(fd) < 0)
		result = -errno;
	if (close(fd) < 0 && result == 0)
		result = -errno;
	if (result == 0 && renameat(to->folder, to->temporary, to->folder, to->name) < 0)
		result = -errno;
	if (result < 0)
		unlinkat(to->folder, to->temporary, 0);
	else
		fsync(to->folder);
	return result;
}

static int replace(struct replacement *to, const char *like, const void *data, size_t length,
	struct error *error)
{
	int result = open_folder(to, error);

	if (result == 0)
		result = lock_folder(to, error);
	if (result < 0)
		return result;
	if (!like || stat(like, &to->like) < 0 || !S_ISREG(to->like.st_mode))
		to->like = (struct stat){0};
	result = look_at_old(to, error);
	if (result < 0)
		return result;
	choose_owner(to);
	if (holds(to, data, length))
		return REPLACE_UNCHANGED;
	result = write_new(to, data, length);
	if (result < 0)
		return error_set(error, result, advice(-result), "cannot write %s: %s", to->path,
			strerror(-result));
	return 0;
}

int replace_file(
	const char *path, const char *like, const void *data, size_t length, struct error *error)
{
	struct replacement to = {.path = path, .folder = -1};
	int result = replace(&to, like, data, length, error);

	if (to.folder >= 0)
		close(to.folder);
	return result;
}
