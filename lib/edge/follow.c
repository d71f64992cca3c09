/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAX_LINKS = 40, /* as the kernel follows */
	REST_SIZE = 2 * PATH_MAX,
	READS = 16, /* of events, in one call */

	GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT,
	IN_FOLDER = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
		    IN_MOVE_SELF | IN_ONLYDIR,
	IN_FILE = IN_CLOSE_WRITE | IN_ATTRIB | IN_DONT_FOLLOW,
};

/* What is watched: a name in a folder, or the file. */
struct step {
	int watch;
	char *name; /* NULL: the file */
};

struct way {
	struct step *steps;
	size_t count;
};

struct follow {
	int fd;
	char *path;
	struct way way;
	char *content, *fresh; /* FOLLOW_SIZE_MAX bytes each */
	size_t length;
};

static void way_clear(struct way *way)
{
	for (size_t i = 0; i < way->count; i++)
		free(way->steps[i].name);
	free(way->steps);
	*way = (struct way){0};
}

static bool way_has(const struct way *way, int watch)
{
	for (size_t i = 0; i < way->count; i++) {
		if (way->steps[i].watch == watch)
			return true;
	}
	return false;
}

/* A folder that we may not read can't be watched; the rest of the way can. */
static int add_step(int fd, struct way *way, const char *path, const char *name)
{
	struct step *steps;
	char *copy = NULL;
	int watch = inotify_add_watch(fd, path, name ? IN_FOLDER : IN_FILE);

	if (watch < 0)
		return errno == ENOSPC || errno == ENOMEM ? -errno : 0;
	steps = realloc(way->steps, (way->count + 1) * sizeof(*steps));
	if (!steps)
		return -ENOMEM;
	way->steps = steps;
	if (name) {
		copy = strdup(name);
		if (!copy)
			return -ENOMEM;
	}
	way->steps[way->count++] = (struct step){watch, copy};
	return 0;
}

/* Where a walk is: in the folder `here`, without links in it, and has yet to go `rest`. */
struct walk {
	char here[PATH_MAX];
	char rest[REST_SIZE];
	char name[NAME_MAX + 1];
	unsigned links;
};

/* Moves the first name of `rest` to `name`. False: there is none, or it is too long. */
static bool next_name(struct walk *walk)
{
	char *start = walk->rest + strspn(walk->rest, "/");
	size_t length = strcspn(start, "/");

	if (length == 0 || length > NAME_MAX)
		return false;
	memcpy(walk->name, start, length);
	walk->name[length] = '\0';
	memmove(walk->rest, start + length, strlen(start + length) + 1);
	return true;
}

static void go_up(struct walk *walk)
{
	char *slash = strrchr(walk->here, '/');

	if (slash)
		slash[slash == walk->here] = '\0';
}

/* `rest` begins with what the link at `path` says. */
static bool follow_link(struct walk *walk, const char *path)
{
	char target[PATH_MAX], rest[REST_SIZE];
	ssize_t size = readlink(path, target, sizeof(target));

	if (size <= 0 || size >= PATH_MAX || ++walk->links > MAX_LINKS)
		return false;
	if (snprintf(rest, sizeof(rest), "%.*s/%s", (int)size, target, walk->rest) >= REST_SIZE)
		return false;
	memcpy(walk->rest, rest, sizeof(rest));
	if (target[0] == '/')
		strcpy(walk->here, "/");
	return true;
}

/* Each folder is watched before it is looked into, so that nothing passes between the two. */
static int walk_all(int fd, const char *path, struct way *way)
{
	struct walk walk = {.here = "/"};
	char full[PATH_MAX];
	struct stat status;
	int result;

	if (snprintf(walk.rest, sizeof(walk.rest), "%s", path) >= PATH_MAX)
		return -ENAMETOOLONG;
	while (next_name(&walk)) {
		if (strcmp(walk.name, ".") == 0)
			continue;
		if (strcmp(walk.name, "..") == 0) {
			go_up(&walk);
			continue;
		}
		result = add_step(fd, way, walk.here, walk.name);
		if (result < 0)
			return result;
		if (snprintf(full, sizeof(full), "%s/%s", walk.here[1] ? walk.here : "",
			    walk.name) >= PATH_MAX)
			return 0;
		if (lstat(full, &status) < 0)
			return 0;
		if (S_ISLNK(status.st_mode)) {
			if (!follow_link(&walk, full))
				return 0;
		} else if (S_ISDIR(status.st_mode)) {
			memcpy(walk.here, full, sizeof(full));
		} else {
			return S_ISREG(status.st_mode) ? add_step(fd, way, full, NULL) : 0;
		}
	}
	return 0;
}

static int watch_again(struct follow *follow)
{
	struct way old = follow->way;
	int result;

	follow->way = (struct way){0};
	result = walk_all(follow->fd, follow->path, &follow->way);
	for (size_t i = 0; i < old.count; i++) {
		if (!way_has(&follow->way, old.steps[i].watch))
			inotify_rm_watch(follow->fd, old.steps[i].watch);
	}
	way_clear(&old);
	return result;
}

static size_t read_file(const char *path, char *buffer)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;
	size_t length = 0;

	if (fd < 0)
		return 0;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
		while (length < FOLLOW_SIZE_MAX) {
			ssize_t size = read(fd, buffer + length, FOLLOW_SIZE_MAX - length);

			if (size < 0 && errno == EINTR)
				continue;
			if (size <= 0)
				break;
			length += (size_t)size;
		}
	}
	close(fd);
	return length;
}

static bool concerns_us(const struct way *way, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW)
		return true;
	for (size_t i = 0; i < way->count; i++) {
		const struct step *step = &way->steps[i];

		if (step->watch != event->wd)
			continue;
		if (!step->name || event->mask & GONE)
			return true;
		if (event->len > 0 && strcmp(step->name, event->name) == 0)
			return true;
	}
	return false;
}

/* Empties the queue, but not for ever; the rest keeps the descriptor readable. */
static bool read_events(const struct follow *follow)
{
	_Alignas(struct inotify_event) char buffer[16384];
	bool ours = false;

	for (int i = 0; i < READS; i++) {
		ssize_t size = read(follow->fd, buffer, sizeof(buffer));

		if (size <= 0)
			break;
		for (char *at = buffer; at < buffer + size;) {
			const struct inotify_event *event =
				(const struct inotify_event *)(void *)at;

			ours = ours || concerns_us(&follow->way, event);
			at += sizeof(*event) + event->len;
		}
	}
	return ours;
}

bool follow_read(struct follow *follow)
{
	char *content = follow->content;
	size_t length;
	bool same;

	if (!read_events(follow))
		return false;
	watch_again(follow);
	length = read_file(follow->path, follow->fresh);
	if (length == 0)
		return false;
	same = length == follow->length && memcmp(follow->fresh, content, length) == 0;
	follow->content = follow->fresh;
	follow->fresh = content;
	follow->length = length;
	return !same;
}

int follow_open(struct follow **ret_follow, const char *path, struct error *error)
{
	struct follow *follow = calloc(1, sizeof(*follow));
	int result = 0;

	if (!follow)
		return error_no_memory(error);
	follow->path = strdup(path);
	follow->content = malloc(FOLLOW_SIZE_MAX);
	follow->fresh = malloc(FOLLOW_SIZE_MAX);
	follow->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (follow->fd < 0)
		result = -errno;
	else if (!follow->path || !follow->content || !follow->fresh)
		result = -ENOMEM;
	else
		result = path[0] == '/' ? watch_again(follow) : -EINVAL;
	if (result == 0 && follow->way.count == 0)
		result = -EACCES;
	if (result < 0) {
		follow_close(follow);
		return error_set(error, result,
			result == -EMFILE || result == -ENOSPC
				? "raise fs.inotify.max_user_instances and max_user_watches (sysctl)"
				: "",
			"cannot watch %s for changes: %s", path, strerror(-result));
	}
	follow->length = read_file(path, follow->content);
	*ret_follow = follow;
	return 0;
}

struct follow *follow_close(struct follow *follow)
{
	if (!follow)
		return NULL;
	if (follow->fd >= 0)
		close(follow->fd);
	way_clear(&follow->way);
	free(follow->path);
	free(follow->content);
	free(follow->fresh);
	free(follow);
	return NULL;
}

int follow_fd(const struct follow *follow)
{
	return follow->fd;
}
