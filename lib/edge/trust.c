/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "trust.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINKS_MAX = 40, REST_SIZE = 2 * PATH_MAX };

bool trust_others_may_write(const struct stat *status)
{
	if (status->st_mode & S_IWOTH)
		return true;
	return status->st_mode & S_IWGRP && status->st_gid != 0 && status->st_gid != status->st_uid;
}

bool trust_user(uid_t user, uid_t also)
{
	struct stat top;

	if (user == 0 || user == geteuid() || (also != TRUST_NOBODY_ELSE && user == also))
		return true;
	return stat("/", &top) == 0 && top.st_uid == user;
}

static int refuse_owner(const char *path, const struct stat *status, struct error *error)
{
	return error_set(error, -EPERM, "",
		"%s belongs to user number %lu, who is neither root nor the user that sipfence runs "
		"as: chown root %s",
		path, (unsigned long)status->st_uid, path);
}

int trust_status(const char *path, const struct stat *status, uid_t also, struct error *error)
{
	if (!trust_user(status->st_uid, also))
		return refuse_owner(path, status, error);
	if (trust_others_may_write(status))
		return error_set(error, -EPERM, "",
			"%s may be written by others than its owner and root: chmod go-w %s", path,
			path);
	return 0;
}

/* In the folder `here`, without links in it; `rest` is still to go. */
struct walk {
	char here[PATH_MAX]; /* "" is / */
	char rest[REST_SIZE];
	char full[PATH_MAX]; /* `here` and the next name */
	uid_t also;
	unsigned links;
};

/* Moves the first name of `rest` behind `here`, in `full`. False: there is none. */
static bool next_name(struct walk *walk)
{
	char *start = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(start, "/");
	int size =
		snprintf(walk->full, sizeof(walk->full), "%s/%.*s", walk->here, (int)length, start);

	if (length == 0 || size >= PATH_MAX)
		return false;
	memmove(walk->rest, start + length, strlen(start + length) + 1);
	return true;
}

/* The folder that the next name is looked up in. */
static int check_folder(const struct walk *walk, struct error *error)
{
	const char *path = walk->here[0] ? walk->here : "/";
	struct stat status, entry;

	if (stat(path, &status) < 0)
		return 0;
	if (!trust_user(status.st_uid, walk->also))
		return refuse_owner(path, &status, error);
	if (!trust_others_may_write(&status))
		return 0;
	if (status.st_mode & S_ISVTX && lstat(walk->full, &entry) == 0 &&
		trust_user(entry.st_uid, walk->also))
		return 0;
	return error_set(error, -EPERM, "",
		"the folder %s may be written by others than its owner and root, who can replace "
		"what is in it: chmod go-w %s",
		path, path);
}

/* False: it leads nowhere. */
static bool follow(struct walk *walk)
{
	char target[PATH_MAX], rest[REST_SIZE];
	ssize_t size = readlink(walk->full, target, sizeof(target));

	if (size <= 0 || size >= PATH_MAX || ++walk->links > LINKS_MAX ||
		snprintf(rest, sizeof(rest), "%.*s/%s", (int)size, target, walk->rest) >= REST_SIZE)
		return false;
	memcpy(walk->rest, rest, sizeof(rest));
	if (target[0] == '/')
		walk->here[0] = '\0';
	return true;
}

static void enter(struct walk *walk)
{
	const char *name = strrchr(walk->full, '/') + 1;
	char *slash = strrchr(walk->here, '/');

	if (strcmp(name, "..") == 0 && slash)
		*slash = '\0';
	else if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		memcpy(walk->here, walk->full, sizeof(walk->here));
}

int trust_way(const char *path, uid_t also, struct error *error)
{
	struct walk walk = {.also = also};
	char from[PATH_MAX] = "";
	struct stat status;

	if (path[0] != '/' && !getcwd(from, sizeof(from)))
		return error_set(error, -errno, "", "cannot tell what folder %s is in: %s", path,
			strerror(errno));
	if (snprintf(walk.rest, sizeof(walk.rest), "%s/%s", from, path) >= REST_SIZE)
		return error_set(error, -ENAMETOOLONG, "", "the path %s is too long", path);
	while (next_name(&walk)) {
		int result = check_folder(&walk, error);

		if (result < 0)
			return result;
		if (lstat(walk.full, &status) < 0)
			return 0;
		if (S_ISLNK(status.st_mode)) {
			if (!follow(&walk))
				return 0;
		} else if (S_ISDIR(status.st_mode)) {
			enter(&walk);
		} else {
			return 0;
		}
	}
	return 0;
}
