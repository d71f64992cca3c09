/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programs that the config names, and that are run with more privileges than others have. */
#ifndef SIPFENCE_PROGRAM_H
#define SIPFENCE_PROGRAM_H

#include "error.h"

#include <limits.h>
#include <sys/types.h>

/*
 * Whether the program at `path` (absolute) may be run: nobody but root, this process's user and
 * `owner` (of the config that names it) can have put it there, or can put another one in its place.
 * So it belongs to one of them, as do all folders and symbolic links on the way to it, and others
 * may write none of them. A folder like /tmp, where each may remove his own things only, may be on
 * the way, but it may not hold the program itself.
 *
 * What passed can be run by its path: only those three can change what is there. 0; -EPERM: it may
 * not be run; -ENOENT, -EACCES, … : it can't be looked at, or is no program. All of them in
 * `error`, with what to do.
 */
int program_check(const char *path, uid_t owner, struct error *error);

/*
 * The path of the program that `name` means: itself where it has a slash, else the first of the
 * folders (with colons between them, as in PATH) that has an executable file of that name. Whether
 * it may be run is for program_check() to say. -ENOENT: none has.
 */
int program_find(
	const char *name, const char *folders, char ret_path[PATH_MAX], struct error *error);

/* Why execve() has refused `path` with -`code`, and what to do. Returns `code`. */
int program_explain(const char *path, int code, struct error *error);

#endif
