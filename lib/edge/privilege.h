/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the process is while it works: an unprivileged user with CAP_NET_ADMIN alone.
 *
 *     privilege_begin();                     first of all, nothing of ours is open yet
 *     privilege_find(config->user, &user)    before anything is touched
 *     ... folders, lock ...
 *     privilege_take_folder(path, &user)     what the user will have to write
 *     ... what needs root, and what keeps it: the helper process is forked here ...
 *     privilege_drop(&user)
 *
 * What is opened after the drop has to make do with CAP_NET_ADMIN, and nf_tables does.
 */
#ifndef SIPFENCE_PRIVILEGE_H
#define SIPFENCE_PRIVILEGE_H

#include "error.h"

#include <stdbool.h>
#include <sys/types.h>

/* The command that makes a user for it; its name goes behind. */
#define PRIVILEGE_MAKE_USER                                                                        \
	"useradd --system --home-dir /var/lib/sipfence --no-create-home "                          \
	"--shell /usr/sbin/nologin "

enum { PRIVILEGE_NAME_SIZE = 64 };

struct privilege_user {
	uid_t uid;
	gid_t gid;
	bool change;			/* another user than the process is now */
	bool missing;			/* root stays root: there is no CONFIG_DEFAULT_USER */
	char name[PRIVILEGE_NAME_SIZE]; /* or the number, where it has none */
};

/* Opens those of the descriptors 0 to 2 that are not: a file must never end up as somebody's
 * stderr.
 */
void privilege_open_streams(void);
/* That, and makes new files private, and closes every descriptor above 2. */
void privilege_begin(void);

/*
 * Whom to become. `name` NULL: CONFIG_DEFAULT_USER, if it is there and this process may become
 * somebody else; who started it, if not.
 * Of a name that was given: -ENOENT: there is no such user; -EPERM: this process can't become it.
 */
int privilege_find(const char *name, struct privilege_user *ret_user, struct error *error);

/* Whom a folder belongs to, where no config can be trusted to say it. Who started this process, if
 * it can't become that user, or there is no such folder. */
void privilege_find_owner(const char *folder, struct privilege_user *ret_user);

/*
 * Gives a folder of ours, and what is in it, to the user. No link is followed, and nothing is taken
 * over that has another name as well (a hard link) or that belongs to somebody else than root, the
 * user or us. Does nothing but look where no user is changed. -EPERM: the folder itself is somebody
 * else's, and root without its privileges could not write to it.
 */
int privilege_take_folder(const char *path, const struct privilege_user *user, struct error *error);

/*
 * For good. Afterwards: the user and its group, no other groups, CAP_NET_ADMIN in the permitted and
 * effective set if it was there before, the inheritable and the ambient set empty, the bounding
 * set, too, if the process may empty it; no_new_privs; no core dump and no tracer. All of it is
 * read back.
 */
int privilege_drop(const struct privilege_user *user, struct error *error);

#endif
