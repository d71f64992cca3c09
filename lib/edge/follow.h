/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notices that a file has another content: resolv.conf. By inotify, without a timer.
 *
 * Such files are replaced by rename, are links that are swapped, and lie in folders of programs
 * that are not running yet. So each folder on the way to the file is watched for the next name on
 * it, through all symbolic links, as far as they exist; and so is the file itself, for those who
 * write it in place (which counts when they close it). A file system that is mounted over a part of
 * the way is noticed with the next change there.
 */
#ifndef SIPFENCE_FOLLOW_H
#define SIPFENCE_FOLLOW_H

#include "error.h"

#include <stdbool.h>

struct follow;

enum { FOLLOW_SIZE_MAX = 65536 }; /* bytes that are looked at; the rest of a file is not */

/* `path` is absolute. A file that is missing, can't be read or is no file counts as an empty one.
 */
int follow_open(struct follow **ret_follow, const char *path, struct error *error);
struct follow *follow_close(struct follow *follow); /* returns NULL */

int follow_fd(const struct follow *follow); /* readable: call follow_read() */
/*
 * True when there is content, and it is not what it was at the last call, or at follow_open(). An
 * empty file is one that somebody is about to write: what was there before counts until he is done.
 * However many events there were, it reads the file once, and not at all for those of other files.
 * Never blocks.
 */
bool follow_read(struct follow *follow);

#endif
