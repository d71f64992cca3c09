/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who can change what a path names: not only the file, but any folder or link on the way to it.
 *
 * Trusted are root, the user of this process, whoever "/" belongs to (in a user namespace root has
 * another number), and one more that the caller names. Others may not have write permission; a
 * group counts as others unless it is root's, or has the owner's own number (user private groups).
 * A folder with the sticky bit, such as /tmp, may be on the way, since nobody can take away what is
 * not his.
 */
#ifndef SIPFENCE_TRUST_H
#define SIPFENCE_TRUST_H

#include "error.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#define TRUST_NOBODY_ELSE ((uid_t)-1)

bool trust_others_may_write(const struct stat *status);
bool trust_user(uid_t user, uid_t also);

/* The way to `path`: all but its last name. -EPERM, and `error` says which folder or link others
 * can change, and what to do. What does not exist is trusted as far as it does. */
int trust_way(const char *path, uid_t also, struct error *error);
/* What is open as `path`. -EPERM: it is a stranger's, or others may write it. */
int trust_status(const char *path, const struct stat *status, uid_t also, struct error *error);

#endif
