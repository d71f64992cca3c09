/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "way.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAX_LINKS = 40, /* as the kernel follows */
	REST_SIZE = 2 * PATH_MAX,

	GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT,
	IN_FOLDER = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
		    IN_MOVE_SELF | IN_ONLYDIR,
};

void way_clear(struct way *way)
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
static int add_step(int fd, struct way *way, const char *path, const char *name, uint32_t mask)
{
	struct way_step *steps;
	char *copy = NULL;
	int watch = inotify_add_watch(fd, path, mask);

	if (watch < 0) {
		way->gaps = true;
		return errno == ENOSPC || errno == ENOMEM ? -errno : 0;
	}
	steps = realloc(way->steps, (way->count + 1) * sizeof(*steps));
	if (!steps)
		return -ENOMEM;
	way->steps = steps;
	if (name) {
		copy = strdup(name);
		if (!copy)
			return -ENOMEM;
	}
	way->steps[way->count++] = (struct way_step){watch, copy};
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
static int walk_all(int fd, const char *path, uint32_t file_events, struct way *way)
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
		result = add_step(fd, way, walk.here, walk.name, IN_FOLDER);
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
			return S_ISREG(status.st_mode) && file_events
				       ? add_step(fd, way, full, NULL, file_events | IN_DONT_FOLLOW)
				       : 0;
		}
	}
	return 0;
}

int way_watch(struct way *way, int fd, const char *path, uint32_t file_events)
{
	struct way old = *way;
	int result;

	*way = (struct way){0};
	result = walk_all(fd, path, file_events, way);
	for (size_t i = 0; i < old.count; i++) {
		if (!way_has(way, old.steps[i].watch))
			inotify_rm_watch(fd, old.steps[i].watch);
	}
	way_clear(&old);
	return result;
}

bool way_concerns(const struct way *way, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW)
		return true;
	for (size_t i = 0; i < way->count; i++) {
		const struct way_step *step = &way->steps[i];

		if (step->watch != event->wd)
			continue;
		if (!step->name || event->mask & GONE)
			return true;
		if (event->len > 0 && strcmp(step->name, event->name) == 0)
			return true;
	}
	return false;
}
