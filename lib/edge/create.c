/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "create.h"
#include "files.h"
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MODE = 0640, GROUP_FOLDER_MODE = 0750, FOLDER_MODE = 0755 };

static const char *advice(int result)
{
	return result == -EPERM || result == -EACCES
		       ? "run it as root, or name another file with -c"
		       : "see that the disk has room and works (df, dmesg)";
}

static int make_folder(const char *folder, gid_t group, struct error *error)
{
	int result = 0;

	if (mkdir(folder, 0700) < 0) {
		int number = errno;

		if (number == EEXIST)
			return 0;
		return error_set(error, -number,
			number == ENOENT ? "make the folders above it first (mkdir -p)"
					 : advice(-number),
			"cannot make the folder %s: %s", folder, strerror(number));
	}
	if (group != CREATE_OWN_GROUP && chown(folder, (uid_t)-1, group) < 0)
		result = -errno;
	if (result == 0 &&
		chmod(folder, group == CREATE_OWN_GROUP ? FOLDER_MODE : GROUP_FOLDER_MODE) < 0)
		result = -errno;
	if (result < 0) {
		rmdir(folder);
		return error_set(error, result, advice(result),
			"cannot set owner and mode of the folder %s: %s", folder,
			strerror(-result));
	}
	return 0;
}

static int fill(int fd, const void *data, size_t length, gid_t group)
{
	int result;

	if (group != CREATE_OWN_GROUP && fchown(fd, (uid_t)-1, group) < 0)
		return -errno;
	if (fchmod(fd, FILE_MODE) < 0)
		return -errno;
	result = file_write_all(fd, data, length);
	if (result == 0 && fsync(fd) < 0)
		result = -errno;
	return result;
}

static void sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* Under another name first, which then becomes its second one: link() takes nothing's place. */
static int write_beside(
	const char *path, const char *folder, const void *data, size_t length, gid_t group)
{
	char *temporary;
	int fd, result;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0) {
		result = -errno;
		free(temporary);
		return result;
	}
	result = fill(fd, data, length, group);
	if (close(fd) < 0 && result == 0)
		result = -errno;
	if (result == 0 && link(temporary, path) < 0)
		result = errno == EEXIST ? CREATE_EXISTS : -errno;
	unlink(temporary);
	if (result == 0)
		sync_folder(folder);
	free(temporary);
	return result;
}

int create_file(const char *path, const void *data, size_t length, gid_t group, struct error *error)
{
	char copy[PATH_MAX];
	const char *folder;
	struct stat status;
	int result;

	if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
		return error_set(error, -ENAMETOOLONG, "", "the path %.200s… is too long", path);
	if (lstat(path, &status) == 0)
		return CREATE_EXISTS;
	folder = dirname(copy);
	result = make_folder(folder, group, error);
	if (result == 0)
		result = trust_way(path, TRUST_NOBODY_ELSE, error);
	if (result < 0)
		return result;
	result = write_beside(path, folder, data, length, group);
	if (result < 0)
		return error_set(error, result, advice(result), "cannot write %s: %s", path,
			strerror(-result));
	return result;
}
