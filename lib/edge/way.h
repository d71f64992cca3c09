/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way to a file, watched by inotify: each folder on it for the next name on the way, through
 * all symbolic links, as far as they exist. So it is noticed when the path names another file, or
 * one at last.
 */
#ifndef SIPFENCE_WAY_H
#define SIPFENCE_WAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/inotify.h>

/* What is watched: a name in a folder, or the file. */
struct way_step {
	int watch;
	char *name; /* NULL: the file */
};

/* A zeroed struct watches nothing. */
struct way {
	struct way_step *steps;
	size_t count;
	bool gaps; /* what happens in a folder of it can't be noticed */
};

/*
 * Watches the way to `path` (absolute) by the inotify descriptor `fd`, as it is now; what was on
 * the way before, and is no more, is not watched any more. To be called again after each event that
 * concerns the way. `file_events`: for a regular file at its end, that is watched, too; 0: it is
 * not. A folder that may not be read can't be watched, which is no error, but a gap. -ENAMETOOLONG,
 * -ENOMEM, -ENOSPC (fs.inotify.max_user_watches): only a part of it is watched.
 */
int way_watch(struct way *way, int fd, const char *path, uint32_t file_events);
/* Whether something on the way may have changed. */
bool way_concerns(const struct way *way, const struct inotify_event *event);
/* Frees it; the watches end with their descriptor. */
void way_clear(struct way *way);

#endif
