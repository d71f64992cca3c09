/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "follow.h"
#include "way.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READS = 16 /* of events, in one call */ };

struct follow {
	int fd;
	char *path;
	struct way way;
	char *content, *fresh; /* FOLLOW_SIZE_MAX bytes each */
	size_t length;
};

static int watch_again(struct follow *follow)
{
	return way_watch(&follow->way, follow->fd, follow->path, IN_CLOSE_WRITE | IN_ATTRIB);
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

			ours = ours || way_concerns(&follow->way, event);
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
