/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The helper process (helper_frame.h) that works for Asterisk: it writes the config's ACL file,
 * runs the config's command, and follows the config's security log, each only if the config of its
 * start asks for it. All three were fixed then. asterisk_link.h is the daemon's end of it.
 *
 * - The ACL file is written by replace.h, with the owner and mode that it has, or else those of the
 *   acl.conf beside it; and only if asterisk_acl_check_file() takes it for one.
 * - Commands are those of asterisk_cli.h, and are made here of their few arguments, which are
 *   checked here. The program is found and checked (program.h) each time it is run.
 * - The log is read no faster than the daemon takes it, and goes on while a command runs.
 *
 * One request at a time. What the daemon would not say by itself ends this process, and nothing of
 * it is done: the daemon is taken for somebody else's then.
 */
#ifndef SIPFENCE_HELPER_ASTERISK_H
#define SIPFENCE_HELPER_ASTERISK_H

#include "config.h"
#include "error.h"
#include "helper.h"
#include "helper_message.h"
#include "text.h"

#include <stdbool.h>
#include <sys/types.h>

enum { HELPER_ASTERISK_FILE_MAX = 64 * 1024 * 1024 };

/*
 * Forks it, for a config that belongs to `owner`: see program.h for what that is good for. Requests
 * are taken only if config.asterisk.acl, the log is followed only if config.asterisk.security_log.
 * Before any thread.
 */
int helper_asterisk_start(
	const struct config *config, uid_t owner, struct helper *ret_helper, struct error *error);

/* The command of a HELPER_ASK, for both ends. False: it can't be said safely. See text.failed. */
bool helper_asterisk_command(const struct helper_message *message, struct text *text);

#endif
