/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_work.h"
#include "client.h"
#include "json_put.h"
#include "privilege.h"
#include "replace.h"
#include "words.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Asking Asterisk --- */

static int find_program(struct asterisk_work *work, struct error *error)
{
	struct stat status;

	if (stat(work->invocation->config_path, &status) < 0)
		return error_set(error, -errno, "", "cannot look at %s: %s",
			work->invocation->config_path, strerror(errno));
	if (geteuid() == 0 && status.st_uid != 0)
		return error_set(error, -EPERM, "chown root the config, or run this as its owner",
			"Asterisk is not asked: the config %s belongs to user number %lu, who could "
			"have root run anything by asterisk.command",
			work->invocation->config_path, (unsigned long)status.st_uid);
	return asterisk_ask_find(work->config, status.st_uid, &work->program, error);
}

int asterisk_command(struct asterisk_work *work, const char *command, struct error *error)
{
	int result = work->program.command ? 0 : find_program(work, error);

	if (result == 0)
		result = asterisk_ask(&work->program, command, &work->answer, error);
	if (result > 0)
		return error_set(error, -ENOSYS,
			"see that the module that has it is loaded (modules.conf), and "
			"asterisk.command in the config",
			"Asterisk has booted, but does not know the command `%.200s`", command);
	return result;
}

int asterisk_compare(struct asterisk_work *work, uint32_t extension, struct error *error)
{
	char name[ASTERISK_ACL_NAME_SIZE];
	struct text command = {0};
	int result;

	asterisk_acl_name(work->config->owners[extension].id, name);
	asterisk_cli_show_acl(name, &command);
	result = command.failed ? -ENOMEM : asterisk_command(work, text_string(&command), error);
	text_free(&command);
	if (result == 0)
		result = asterisk_acls_compare(
			&work->acls, extension, text_string(&work->answer), work->answer.length);
	if (result == -ENOMEM)
		error_no_memory(error);
	return result;
}

/* --- --write --- */

struct written {
	bool changed, reloaded;
	size_t wrong;
	int *matches;	    /* of each ACL; -1: not asked */
	struct error error; /* Asterisk could not be asked */
};

static int write_file(struct asterisk_work *work, struct written *written, struct error *error)
{
	const char *path = work->config->asterisk.acl_file;
	struct text file = {0};
	int result;

	asterisk_acls_print(&work->acls, &file);
	if (file.failed)
		result = error_no_memory(error);
	else
		result = replace_file(path, work->setup.sources[ASTERISK_ACL_CONF].path,
			text_string(&file), file.length, error);
	text_free(&file);
	written->changed = result == 0;
	return result < 0 ? result : 0;
}

static int read_back(struct asterisk_work *work, struct written *written)
{
	int result = 0;

	written->wrong = 0;
	for (uint32_t i = 0; i < work->acls.count; i++)
		written->matches[i] = -1;
	for (uint32_t i = 0; i < work->acls.count && result >= 0; i++) {
		result = asterisk_compare(work, i, &written->error);
		written->matches[i] = result < 0 ? -1 : result;
		written->wrong += result > 0;
	}
	return result < 0 ? result : 0;
}

/* What was written before, by a run that came no further, is not in force either: then the reload
 * is made good. */
static int put_in_force(struct asterisk_work *work, struct written *written)
{
	int result = written->changed ? 0 : read_back(work, written);

	if (result < 0 || (!written->changed && written->wrong == 0))
		return result;
	result = asterisk_command(work, ASTERISK_CLI_RELOAD, &written->error);
	if (result < 0)
		return result;
	written->reloaded = true;
	return read_back(work, written);
}

static size_t count_matches(
	const struct asterisk_work *work, const struct written *written, int match)
{
	size_t count = 0;

	for (uint32_t i = 0; i < work->acls.count; i++)
		count += written->matches[i] == match;
	return count;
}

/* Why ACLs of the file are not in force, unless asterisk_say_setup() has the reason. */
static void say_reason(const struct asterisk_work *work, const struct written *written)
{
	const struct invocation *invocation = work->invocation;
	struct text line = {0};
	bool lacks = asterisk_lacks_include(work, &line);

	text_free(&line);
	if (lacks || work->setup.general)
		return;
	if (count_matches(work, written, ASTERISK_MISSING) == work->acls.count)
		say_warning(invocation,
			"Asterisk has none of the ACLs; see that its user can read %s, and every "
			"folder above it (ls -l, namei -l)",
			work->config->asterisk.acl_file);
	else
		say_warning(invocation,
			"Asterisk says that it has reloaded its ACLs, but has not; see what it "
			"objects to in acl.conf or what that includes (its log, "
			"/var/log/asterisk/messages), then run this again");
}

static void say_written(const struct asterisk_work *work, const struct written *written)
{
	const struct invocation *invocation = work->invocation;
	const char *path = work->config->asterisk.acl_file;

	say_note(
		invocation, "%s %s", path, written->changed ? "was written" : "is as it should be");
	for (uint32_t i = 0; i < work->acls.count; i++) {
		if (written->matches[i] > ASTERISK_EQUAL)
			asterisk_say_match(work, i, (enum asterisk_match)written->matches[i]);
	}
	if (written->wrong > 0 && written->error.code == 0)
		say_reason(work, written);
	if (written->error.code == 0 && written->wrong == 0)
		say_note(invocation, "read back, and in force in Asterisk: %" PRIu32 " ACL%s%s",
			work->acls.count, words_plural(work->acls.count),
			written->reloaded ? ", reloaded" : "");
}

static int report_written(const struct asterisk_work *work, struct written *written)
{
	bool down = written->error.code != 0;
	int code = down || written->wrong > 0 ? EXIT_REFUSED : EXIT_DONE;
	struct text document = {0};

	say_written(work, written);
	if (down) {
		struct error error = {0};

		error_set(&error, written->error.code, written->error.next,
			"%.600s; the ACLs in %.120s are not known to be in force",
			written->error.what,
			written->changed ? "the file, which was written," : "the file");
		say_problem(work->invocation, &error);
	} else {
		asterisk_say_setup(work);
	}
	if (!work->invocation->json)
		return code;
	asterisk_put_head(work,
		down		     ? "not asked"
		: written->wrong > 0 ? "not in force"
				     : "in force",
		code, &document);
	json_put_key(&document, "file");
	json_put_string(&document, written->changed ? "written" : "unchanged");
	json_put_key(&document, "reloaded");
	json_put_bool(&document, written->reloaded);
	json_put_key(&document, "error");
	json_put_string(&document, down ? written->error.what : NULL);
	json_put_key(&document, "next");
	json_put_string(&document, down ? written->error.next : NULL);
	asterisk_put_acls(work, written->matches, &document);
	asterisk_put_setup(work, &document);
	return asterisk_print_document(work, &document, code);
}

static int write_acls(struct asterisk_work *work)
{
	struct written written = {.matches = calloc((size_t)work->acls.count + 1, sizeof(int))};
	struct error error = {0};
	int code = EXIT_REFUSED;

	if (!written.matches) {
		error_no_memory(&error);
		say_error(work->invocation, &error);
		return EXIT_REFUSED;
	}
	for (uint32_t i = 0; i < work->acls.count; i++)
		written.matches[i] = -1;
	if (write_file(work, &written, &error) == 0) {
		put_in_force(work, &written);
		code = report_written(work, &written);
	} else {
		say_error(work->invocation, &error);
	}
	free(written.matches);
	return code;
}

/* --- Printing --- */

static int print_acls(struct asterisk_work *work)
{
	struct text file = {0};
	struct error error = {0};

	if (work->invocation->json) {
		asterisk_put_head(work, "ok", EXIT_DONE, &file);
		asterisk_put_acls(work, NULL, &file);
		asterisk_put_setup(work, &file);
		return asterisk_print_document(work, &file, EXIT_DONE);
	}
	asterisk_acls_print(&work->acls, &file);
	if (file.failed) {
		error_no_memory(&error);
		say_error(work->invocation, &error);
	} else {
		fwrite(file.data, 1, file.length, stdout);
		fflush(stdout);
		asterisk_say_setup(work);
	}
	text_free(&file);
	return error.code < 0 ? EXIT_REFUSED : EXIT_DONE;
}

/* --- The command --- */

/* The config says what root runs and writes here: that is not for the user to say who the daemon
 * gives its privileges up for. */
static int check_config_owner(const struct asterisk_work *work, struct error *error)
{
	const char *path = work->invocation->config_path;
	struct privilege_user user;
	struct stat status;

	if (stat(path, &status) < 0)
		return error_set(error, -errno, "", "cannot look at %s: %s", path, strerror(errno));
	if (geteuid() != 0 || status.st_uid == 0 ||
		privilege_find(work->config->user, &user, NULL) < 0 || user.uid != status.st_uid)
		return 0;
	return error_set(error, -EPERM,
		"give it to root, and let the user's group read it (chown root, chgrp, chmod 640)",
		"%s belongs to the daemon's user %s, who could have root run any program; Asterisk "
		"is not asked, and nothing is written",
		path, user.name);
}

/* One writes the file: what a daemon is going to write next may be newer than what is saved. */
static int check_no_keeper(const struct asterisk_work *work, struct error *error)
{
	const struct control_request request = {.kind = CONTROL_STATUS};
	const json_t *status, *asterisk;
	json_t *answer = NULL;
	int64_t pid;

	if (!work->config->asterisk.acl ||
		client_ask(work->invocation, &request, &answer, &(struct error){0}) != 0)
		return 0;
	status = json_object_get(answer, "status");
	asterisk = json_object_get(status, "asterisk");
	pid = answer_number(status, "pid");
	if (answer_is(asterisk, "alive", true))
		error_set(error, -EBUSY,
			"sipfence status shows whether they are in force; sipfence refresh has all names asked now",
			"the daemon (process %" PRId64 ") keeps the ACLs: it writes %s by itself",
			pid, answer_string(asterisk, "acl_file"));
	json_decref(answer);
	return error->code;
}

static bool options_fit(const struct invocation *invocation)
{
	if (invocation->write + invocation->contacts + invocation->evict > 1) {
		say_usage(invocation, "--write, --contacts and --evict: choose one");
		return false;
	}
	if (invocation->hangup && !invocation->evict) {
		say_usage(invocation, "--hangup goes with --evict");
		return false;
	}
	return true;
}

static int prepare(struct asterisk_work *work, struct error *error)
{
	int result;

	work->config = work->offline.config;
	result = asterisk_acls_make(
		work->config, work->offline.cycle.roster, work->offline.cycle.now, &work->acls);
	if (result == 0)
		result = asterisk_setup_read(
			&work->acls, work->config->asterisk.acl_file, &work->setup);
	return result < 0 ? error_no_memory(error) : 0;
}

int command_asterisk(const struct invocation *invocation)
{
	struct asterisk_work *work;
	struct error error = {0};
	int code;

	if (!options_fit(invocation))
		return EXIT_USAGE;
	work = calloc(1, sizeof(*work));
	if (!work) {
		error_no_memory(&error);
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	work->invocation = invocation;
	code = offline_load_whole(invocation, &work->offline);
	if (code != EXIT_DONE) {
		free(work);
		return code;
	}
	if (prepare(work, &error) < 0 ||
		((invocation->write || invocation->contacts || invocation->evict) &&
			check_config_owner(work, &error) < 0) ||
		(invocation->write && check_no_keeper(work, &error) < 0)) {
		say_error(invocation, &error);
		code = EXIT_REFUSED;
	} else if (invocation->contacts || invocation->evict) {
		code = asterisk_contacts(work);
	} else {
		code = invocation->write ? write_acls(work) : print_acls(work);
	}
	asterisk_setup_clear(&work->setup);
	asterisk_acls_clear(&work->acls);
	text_free(&work->answer);
	offline_clear(&work->offline);
	free(work);
	return code;
}
