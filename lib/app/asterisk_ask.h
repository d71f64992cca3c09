/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asterisk's command line: one command, one run of the program that the config names
 * (asterisk.command), without a shell. It gets PATH and LC_ALL as its environment, and nothing on
 * standard input.
 *
 * Whoever must not wait prepares the run by asterisk_ask_prepare(), runs it as process.h says, and
 * has asterisk_ask_judge() tell what came of it. asterisk_ask() does all of that, and waits.
 */
#ifndef SIPFENCE_ASTERISK_ASK_H
#define SIPFENCE_ASTERISK_ASK_H

#include "config.h"
#include "error.h"
#include "process.h"
#include "text.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	ASTERISK_ASK_ARGUMENTS = 72, /* those of a config, the command, NULL */
	ASTERISK_ASK_OUTPUT = 64 * 1024 * 1024,
	ASTERISK_ASK_LIMIT_MS = 10 * 1000,
	ASTERISK_ASK_GRACE_MS = 1000,
	ASTERISK_ASK_BOOT_MS = 60 * 1000, /* ASTERISK_CLI_BOOTED answers when it has booted */
};

struct asterisk_program {
	char path[PATH_MAX];
	const char *const *command; /* config.asterisk.command; not owned */
};

/* The program of the config, whose owner is `owner`: see program.h for what that is good for.
 * Negative: there is none, or it may not be run. */
int asterisk_ask_find(const struct config *config, uid_t owner,
	struct asterisk_program *ret_program, struct error *error);

struct asterisk_run {
	const char *arguments[ASTERISK_ASK_ARGUMENTS];
	struct process_options options; /* points to the above, and to `command` */
};
void asterisk_ask_prepare(const struct asterisk_program *program, const char *command,
	int64_t limit_ms, struct asterisk_run *ret_run);

enum { ASTERISK_ASK_UNKNOWN = 1 };
/*
 * 0: it has answered. ASTERISK_ASK_UNKNOWN: it does not know the command, because it has not fully
 * booted, or lacks a module. -ECONNREFUSED: Asterisk is down; -ETIMEDOUT: it hangs; other negative
 * numbers: the program has failed.
 */
int asterisk_ask_judge(const struct asterisk_program *program, const char *command,
	const struct process_result *result, const struct text *output, struct error *error);

/*
 * Asks, and waits for the answer, which replaces what `output` held. When the command is not known,
 * it waits until Asterisk has booted, and asks once more. Returns as above.
 */
int asterisk_ask(const struct asterisk_program *program, const char *command, struct text *output,
	struct error *error);

#endif
