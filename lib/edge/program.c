/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 }; /* as the kernel's own limit */

/* A walk from / to the program. Each step is looked at by its descriptor, and the next one starts
 * from there, so nobody can swap what was looked at. */
struct walk {
	int folder;	      /* where it is; -1: nowhere */
	bool shared;	      /* others may write the folder, but not remove what is not theirs */
	char where[PATH_MAX]; /* the same, for messages; "" is / */
	char rest[PATH_MAX];  /* what is still to go, behind `folder` */
	unsigned links;
	uid_t owner;
};

/* A group that has the owner's number is the owner's own (user private groups). */
static bool others_may_write(const struct stat *status)
{
	if (status->st_mode & S_IWOTH)
		return true;
	return status->st_mode & S_IWGRP && status->st_gid != 0 && status->st_gid != status->st_uid;
}

static bool is_trusted(const struct walk *walk, uid_t user)
{
	return user == 0 || user == walk->owner || user == geteuid();
}

static int refuse_owner(const struct stat *status, const char *path, struct error *error)
{
	char next[sizeof(error->next)];

	snprintf(next, sizeof(next), "chown root %.400s", path);
	return error_set(error, -EPERM, next,
		"%s belongs to user %lu, who is neither root nor the owner of the config, and could "
		"have another program run",
		path, (unsigned long)status->st_uid);
}

static int refuse_mode(const char *path, struct error *error)
{
	char next[sizeof(error->next)];

	snprintf(next, sizeof(next), "chmod go-w %.400s", path);
	return error_set(error, -EPERM, next,
		"%s may be written by others than its owner and root, who could have another "
		"program run",
		path);
}

/* Of what is neither a folder nor a link: the program. */
static int check_file(
	const struct walk *walk, const struct stat *status, const char *path, struct error *error)
{
	char next[sizeof(error->next)];

	if (!S_ISREG(status->st_mode))
		return error_set(
			error, -EACCES, "name a program in the config", "%s is not a file", path);
	if (walk->shared)
		return error_set(error, -EPERM,
			"move it to where only root can write (/usr/local/bin)",
			"%s is in a folder where everybody may put files", path);
	if (others_may_write(status))
		return refuse_mode(path, error);
	if (status->st_mode & 0111)
		return 0;
	snprintf(next, sizeof(next), "chmod +x %.400s", path);
	return error_set(error, -EACCES, next, "%s is not executable", path);
}

static int enter(
	struct walk *walk, int fd, const char *path, const struct stat *status, struct error *error)
{
	bool writable = others_may_write(status);

	if (writable && !(status->st_mode & S_ISVTX))
		return refuse_mode(path, error);
	if (walk->folder >= 0)
		close(walk->folder);
	walk->folder = fd;
	walk->shared = writable;
	if (path != walk->where)
		snprintf(walk->where, sizeof(walk->where), "%s", path);
	return 0;
}

static int to_root(struct walk *walk, struct error *error)
{
	struct stat status;
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), result;

	walk->where[0] = '\0';
	if (fd < 0 || fstat(fd, &status) < 0)
		result = error_set(error, -errno, "", "cannot look at /: %s", strerror(errno));
	else if (!is_trusted(walk, status.st_uid))
		result = refuse_owner(&status, "/", error);
	else
		result = enter(walk, fd, walk->where, &status, error);
	if (result < 0 && fd >= 0)
		close(fd);
	return result;
}

static int follow(struct walk *walk, int link, const char *path, struct error *error)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t length = readlinkat(link, "", target, sizeof(target) - 1);

	if (length < 0)
		return error_set(error, -errno, "", "cannot read the symbolic link %s: %s", path,
			strerror(errno));
	target[length] = '\0';
	memcpy(rest, walk->rest, sizeof(rest));
	if (++walk->links > LINKS_MAX)
		return error_set(error, -ELOOP, "name the program itself in the config",
			"%s: too many symbolic links", path);
	if (snprintf(walk->rest, sizeof(walk->rest), "%s/%s", target, rest) >=
		(int)sizeof(walk->rest))
		return error_set(error, -ENAMETOOLONG, "name the program itself in the config",
			"the symbolic link %s leads to a path that is too long", path);
	return target[0] == '/' ? to_root(walk, error) : 0;
}

/* Cuts the next name off the rest; false: there is none. */
static bool next_name(struct walk *walk, char name[NAME_MAX + 1], struct error *error)
{
	const char *start = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(start, "/");

	if (length == 0)
		return false;
	if (length > NAME_MAX) {
		error_set(error, -ENAMETOOLONG, "correct its path in the config",
			"a name in %.200s is too long", start);
		return false;
	}
	memcpy(name, start, length);
	name[length] = '\0';
	memmove(walk->rest, start + length, strlen(start + length) + 1);
	return true;
}

static int look(const struct walk *walk, const char *name, const char *path, int *ret_fd,
	struct stat *ret_status, struct error *error)
{
	int fd = openat(walk->folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, ret_status) == 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return error_set(error, -errno,
		errno == ENOENT ? "put the program there, or correct its path in the config"
				: "see who may go there (namei -l)",
		errno == ENOENT ? "%s does not exist" : "cannot look at %s: %s", path,
		strerror(errno));
}

/* 0: a step was made; 1: the program is found, and good. */
static int step(struct walk *walk, const char *name, struct error *error)
{
	char path[PATH_MAX];
	struct stat status = {0};
	int fd = -1, result;

	if (strcmp(name, "..") == 0) {
		char *slash = strrchr(walk->where, '/');

		snprintf(path, sizeof(path), "%.*s", (int)(slash ? slash - walk->where : 0),
			walk->where);
	} else if (snprintf(path, sizeof(path), "%s/%s", walk->where, name) >= (int)sizeof(path)) {
		return error_set(error, -ENAMETOOLONG, "correct its path in the config",
			"the path of the program is too long");
	}
	result = look(walk, name, path, &fd, &status, error);
	if (result < 0)
		return result;
	if (!is_trusted(walk, status.st_uid))
		result = refuse_owner(&status, path, error);
	else if (S_ISDIR(status.st_mode))
		result = enter(walk, fd, path, &status, error);
	else if (!S_ISLNK(status.st_mode))
		result = check_file(walk, &status, path, error);
	else if (walk->shared)
		result = error_set(error, -EPERM, "name the program itself in the config",
			"the symbolic link %s is in a folder where everybody may put files", path);
	else
		result = follow(walk, fd, path, error);
	if (result < 0 || !S_ISDIR(status.st_mode))
		close(fd);
	return result < 0 ? result : S_ISREG(status.st_mode);
}

int program_check(const char *path, uid_t owner, struct error *error)
{
	struct walk walk = {.folder = -1, .owner = owner};
	struct error problem = {0};
	char name[NAME_MAX + 1] = "";
	int result;

	if (path[0] != '/' ||
		snprintf(walk.rest, sizeof(walk.rest), "%s", path) >= (int)sizeof(walk.rest))
		return error_set(error, -EINVAL, "name it by its whole path, from /",
			"%.200s is not the path of a program", path);
	result = to_root(&walk, &problem);
	while (result == 0 && next_name(&walk, name, &problem))
		result = strcmp(name, ".") == 0 ? 0 : step(&walk, name, &problem);
	if (walk.folder >= 0)
		close(walk.folder);
	/* More to go behind a file, or nothing behind a folder. */
	if (result == 0)
		error_set(
			&problem, -EACCES, "name a program in the config", "%s is a folder", path);
	else if (result > 0 && walk.rest[strspn(walk.rest, "/")])
		error_set(&problem, -ENOTDIR, "correct its path in the config",
			"%s: a file stands where a folder should be", path);
	if (!problem.code)
		return 0;
	return error_set(error, problem.code, problem.next, "%s", problem.what);
}

static bool is_program(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_mode & 0111;
}

int program_find(
	const char *name, const char *folders, char ret_path[PATH_MAX], struct error *error)
{
	char path[PATH_MAX];

	if (strchr(name, '/')) {
		if (snprintf(path, sizeof(path), "%s", name) >= (int)sizeof(path))
			return error_set(error, -ENAMETOOLONG, "correct its path in the config",
				"the path of the program %.200s is too long", name);
		memcpy(ret_path, path, sizeof(path));
		return 0;
	}
	while (*folders) {
		size_t length = strcspn(folders, ":");
		int size = snprintf(path, sizeof(path), "%.*s/%s", (int)length, folders, name);

		if (length > 0 && size < (int)sizeof(path) && is_program(path)) {
			memcpy(ret_path, path, sizeof(path));
			return 0;
		}
		folders += length + (folders[length] == ':');
	}
	return error_set(error, -ENOENT, "install it, or give its whole path in the config",
		"there is no program %.200s in the usual folders", name);
}

int program_explain(const char *path, int code, struct error *error)
{
	const char *next = "";

	if (code == -ENOENT)
		next = "see that it is there, and so is the interpreter of its first line (#!)";
	else if (code == -ENOEXEC)
		next = "begin the script with the path of its interpreter: #!/bin/sh";
	else if (code == -EACCES)
		next = "chmod +x it and its interpreter; see that no file system on the way is "
		       "mounted noexec";
	else if (code == -ETXTBSY)
		next = "a program writes to it; it is run again at the next event";
	else if (code == -E2BIG)
		next = "give it fewer arguments";
	return error_set(error, code, next, "%s cannot be run: %s", path, strerror(-code));
}
