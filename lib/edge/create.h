/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that is made once, and is the administrator's from then on. */
#ifndef SIPFENCE_CREATE_H
#define SIPFENCE_CREATE_H

#include "error.h"

#include <stddef.h>
#include <sys/types.h>

#define CREATE_OWN_GROUP ((gid_t)-1)

enum { CREATE_EXISTS = 1 };
/*
 * Makes `path` with these bytes, mode 0640, its group `group`: whole, or not at all, and never in
 * the place of anything of that name (CREATE_EXISTS; a link that leads nowhere counts). Its folder
 * is made if it is missing, but not the folders above: mode 0750 with that group, 0755 without.
 * -EPERM also where others can change a folder on the way.
 */
int create_file(
	const char *path, const void *data, size_t length, gid_t group, struct error *error);

#endif
