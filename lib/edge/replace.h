/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that another program, of another user, reads: it must be able to, at any moment. */
#ifndef SIPFENCE_REPLACE_H
#define SIPFENCE_REPLACE_H

#include "error.h"

#include <stddef.h>

enum { REPLACE_UNCHANGED = 1 };
/*
 * Makes `path` hold exactly these bytes, or leaves it as it was: written to `path`.new, which gets
 * its owner and mode first, then its content; fsync, rename. Only one process at a time does so in
 * that folder: it is locked meanwhile.
 *
 * Owner, group and mode are those of the file that is there, or of the file `like` if there is
 * none, or one that not all who may read `like` may read. Without either of them: the owner of this
 * process, the folder's group, 0640 (0644 if the folder's group is root's). It is never executable,
 * and never to be written by everybody.
 *
 * REPLACE_UNCHANGED: it held them already, nothing was written. Refuses (-EPERM, -EINVAL) a
 * symbolic link, a file with more than one name, what is no file, one that belongs to a stranger,
 * and a folder that everybody may write. Strangers are all but root, this user, the folder's owner
 * and that of `like`. -EBUSY: another process keeps the folder locked.
 */
int replace_file(
	const char *path, const char *like, const void *data, size_t length, struct error *error);

#endif
