/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes files without holding up the caller: an fsync on an SD card may take seconds. One thread
 * does the jobs, in the order in which they came.
 *
 *     disk_append(disk, journal, &text);             what has changed
 *     disk_save(disk, state, &text, journal);        all of it; the journal is of no use then
 *     ... when disk_fd() is readable:
 *     while (disk_take_result(disk, &result))
 *             ... say it, try again later ...
 *
 * All functions are for one thread, the caller's; only disk_wait() and disk_close() wait. The
 * thread starts with the first job, so nothing runs beside a program that writes nothing. It has
 * the credentials that the process has then, and no fork takes it along: first drop privileges and
 * become a daemon, then write. No signal is delivered to it. Between two jobs it has no file open.
 */
#ifndef SIPFENCE_DISK_H
#define SIPFENCE_DISK_H

#include "error.h"
#include "history.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

enum { DISK_QUEUE_MOST = 64 * 1024 * 1024 };

struct disk;

int disk_open(struct disk **ret_disk, struct error *error);
/* Does what is queued, then ends the thread; results that were not taken are lost. Returns NULL. */
struct disk *disk_close(struct disk *disk);

/*
 * Jobs. The text is taken over, also on failure: *text is empty afterwards. Paths are copied; those
 * of journals are remembered until disk_close(), so they should be few.
 *
 * 0: queued. Negative: nothing of it will be written, and no result comes:
 *   -ENOMEM   also when `text` has failed already: half a text is none
 *   -ENOBUFS  more than DISK_QUEUE_MOST would wait (memory of the texts that are queued or being
 *             written, and some for each job). A single job may have any size.
 *   -EAGAIN   the thread can't be started; the next job tries again
 * An append that was refused so is a gap; later ones are done all the same.
 */

/*
 * file_append(). After one has failed, the end of the file may be torn: from then on, appends to
 * this path are dropped, and count as failed, until a disk_save() with this path as its `journal`
 * has worked.
 */
int disk_append(struct disk *disk, const char *path, struct text *text);

/*
 * file_save(). When that has worked, file_remove() of `journal` (NULL: there is none), which holds
 * only what is older. When that fails, the save has worked all the same; but a journal with a torn
 * end takes no appends then, and the next one fails with what keeps it from being removed.
 */
int disk_save(struct disk *disk, const char *path, struct text *text, const char *journal);

/* file_publish(). Each has a result. */
int disk_publish(struct disk *disk, const char *path, struct text *text);

/*
 * The history (edge/history_file.h); one path until disk_close(). `now` is the wall clock's. A look
 * has a result of its own. Of lines, only the first failure has one, and until a look has worked,
 * lines are dropped.
 */
int disk_history_look(struct disk *disk, const char *path, enum history_word word, int64_t now,
	struct text *listing);
int disk_history_add(struct disk *disk, const char *path, int64_t now, struct text *lines);

struct disk_result {
	bool save;
	bool history, look; /* it is one of the history, and one of a look */
	int result;	    /* 0, -errno */
	struct error error;
};

/* Readable for as long as disk_take_result() has something. The descriptor stays disk's. */
int disk_fd(const struct disk *disk);
/*
 * The oldest result: one of each save and each look; of appends only the first failure since a save
 * has made the journal good. False: there is none now.
 */
bool disk_take_result(struct disk *disk, struct disk_result *ret_result);

/* A job is queued or being done. When it is not, all results are there to be taken. */
bool disk_is_busy(const struct disk *disk);
/* Until no job is queued or being done. */
void disk_wait(struct disk *disk);

#endif
