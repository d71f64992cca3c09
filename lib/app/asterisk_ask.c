/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_ask.h"
#include "asterisk_cli.h"
#include "helper.h"
#include "program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const environment[] = {"PATH=" HELPER_PATH, "LC_ALL=C", NULL};

int asterisk_ask_find(const struct config *config, uid_t owner,
	struct asterisk_program *ret_program, struct error *error)
{
	struct asterisk_program program = {.command = config->asterisk.command};
	int result = program_find(program.command[0], HELPER_PATH, program.path, error);

	if (result == 0)
		result = program_check(program.path, owner, error);
	if (result == 0)
		*ret_program = program;
	return result;
}

void asterisk_ask_prepare(const struct asterisk_program *program, const char *command,
	int64_t limit_ms, struct asterisk_run *ret_run)
{
	size_t count = 0;

	*ret_run = (struct asterisk_run){0};
	while (count < ASTERISK_ASK_ARGUMENTS - 2 && program->command[count]) {
		ret_run->arguments[count] = program->command[count];
		count++;
	}
	ret_run->arguments[count] = command;
	ret_run->options = (struct process_options){
		.path = program->path,
		.arguments = ret_run->arguments,
		.environment = environment,
		.input = "",
		.limit_ms = limit_ms,
		.grace_ms = ASTERISK_ASK_GRACE_MS,
		.output_most = ASTERISK_ASK_OUTPUT,
	};
}

static int explain_failure(const struct asterisk_program *program, const char *command,
	const struct process_result *result, struct error *error)
{
	const char *line = result->line[0] ? result->line : "it says nothing";

	if (strstr(result->line, "Unable to connect to remote asterisk"))
		return error_set(error, -ECONNREFUSED,
			"start it (systemctl start asterisk), or run this as root, who may talk to "
			"it",
			"Asterisk is not running: %s", line);
	if (result->outcome == PROCESS_SIGNALLED)
		return error_set(error, -EIO, "try the command by hand",
			"%s was ended by signal %d (%s) while it ran `%.200s`", program->path,
			result->code, strsignal(result->code), command);
	return error_set(error, -EIO, "try the command by hand",
		"%s has failed with exit code %d when it ran `%.200s`: %s", program->path,
		result->code, command, line);
}

int asterisk_ask_judge(const struct asterisk_program *program, const char *command,
	const struct process_result *result, const struct text *output, struct error *error)
{
	if (result->outcome == PROCESS_NOT_STARTED)
		return program_explain(program->path, -result->code, error);
	if (result->cut)
		return error_set(error, -EFBIG, "try the command by hand",
			"Asterisk's answer to `%.200s` is longer than %d MiB", command,
			ASTERISK_ASK_OUTPUT / 1024 / 1024);
	if (result->outcome == PROCESS_TIMED_OUT)
		return error_set(error, -ETIMEDOUT, "see whether it hangs (asterisk -rvvv)",
			"Asterisk has not answered `%.200s` within %lld s", command,
			(long long)(result->milliseconds / 1000));
	if (result->outcome != PROCESS_EXITED || result->code != 0)
		return explain_failure(program, command, result, error);
	if (output->failed)
		return error_no_memory(error);
	return asterisk_cli_is_unknown(output->data ? output->data : "", output->length)
		       ? ASTERISK_ASK_UNKNOWN
		       : 0;
}

static int ask_once(const struct asterisk_program *program, const char *command, int64_t limit_ms,
	struct text *output, struct error *error)
{
	struct process_result result;
	struct asterisk_run run;
	int code;

	asterisk_ask_prepare(program, command, limit_ms, &run);
	code = process_run(&run.options, output, &result, error);
	return code < 0 ? code : asterisk_ask_judge(program, command, &result, output, error);
}

int asterisk_ask(const struct asterisk_program *program, const char *command, struct text *output,
	struct error *error)
{
	int result = ask_once(program, command, ASTERISK_ASK_LIMIT_MS, output, error);

	if (result != ASTERISK_ASK_UNKNOWN)
		return result;
	result = ask_once(program, ASTERISK_CLI_BOOTED, ASTERISK_ASK_BOOT_MS, output, error);
	if (result != 0)
		return result;
	return ask_once(program, command, ASTERISK_ASK_LIMIT_MS, output, error);
}
