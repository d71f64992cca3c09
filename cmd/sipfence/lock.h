/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SIPFENCE_LOCK_H
#define SIPFENCE_LOCK_H

#include "command.h"
#include "privilege.h"

#include <stdbool.h>

/* Makes the run folder if needed, gives it to `user` (NULL: leaves it), and takes the lock in it,
 * so that no two processes change the same table and state. False after a message. The caller
 * closes *ret_fd. */
bool lock_folders(
	const struct invocation *invocation, const struct privilege_user *user, int *ret_fd);

/* Whom `name` of the config means (privilege_find()). EXIT_DONE, or another code after a message:
 * nothing has been touched then. */
int find_user(
	const struct invocation *invocation, const char *name, struct privilege_user *ret_user);

#endif
