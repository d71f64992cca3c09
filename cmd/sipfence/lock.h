/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SIPFENCE_LOCK_H
#define SIPFENCE_LOCK_H

#include "command.h"

#include <stdbool.h>

/* Makes the run folder if needed, and takes the lock in it, so that no two processes change the
 * same table and state. False after a message. The caller closes *ret_fd. */
bool lock_folders(const struct invocation *invocation, int *ret_fd);

#endif
