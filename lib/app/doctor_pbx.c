/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asterisk's files, and Asterisk. */
#include "asterisk_ask.h"
#include "doctor_look.h"
#include "files.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- Asterisk's files --- */

static void look_at_logger(struct examination *all, const char *folder)
{
	struct asterisk_conf *conf = NULL;
	struct error error = {0};
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/logger.conf", folder) >= (int)sizeof(path))
		return;
	if (asterisk_conf_parse(path, files_read_foreign, NULL, &conf, &error) < 0) {
		doctor_skip(all, "asterisk-log", &error);
		return;
	}
	doctor_asterisk_log(conf, path, all->findings);
	asterisk_conf_free(conf);
}

/* The folder of the ACL file, or the one above, where that has none of Asterisk's files. */
static int read_asterisk(struct examination *all, char folder[PATH_MAX])
{
	int missing = 0, result = asterisk_inventory_read(folder, all->sources);
	char above[PATH_MAX];

	for (int i = 0; i < ASTERISK_FILE_COUNT && result == 0; i++)
		missing += all->sources[i].error.code == -ENOENT;
	if (missing < ASTERISK_FILE_COUNT)
		return result;
	memcpy(above, folder, sizeof(above));
	dirname(above);
	result = asterisk_inventory_read(above, all->sources);
	for (int i = 0; i < ASTERISK_FILE_COUNT && result == 0; i++) {
		if (all->sources[i].error.code != -ENOENT) {
			memcpy(folder, above, sizeof(above));
			break;
		}
	}
	return result;
}

/* The one that the config has sipfence follow. */
static void look_at_security_log(struct examination *all)
{
	const char *path = all->config->asterisk.security_log;
	struct stat status;

	if (path && stat(path, &status) < 0 && (errno == ENOENT || errno == ENOTDIR))
		doctor_security_log_missing(all->config, all->findings);
}

int doctor_look_at_asterisk(struct examination *all)
{
	const struct asterisk_conf *confs[ASTERISK_FILE_COUNT] = {0};
	char folder[PATH_MAX];
	size_t found = 0;

	look_at_security_log(all);
	if (snprintf(folder, sizeof(folder), "%s", all->config->asterisk.acl_file) >=
		(int)sizeof(folder))
		return 0;
	dirname(folder);
	if (read_asterisk(all, folder) < 0)
		return -ENOMEM;
	for (int i = 0; i < ASTERISK_ACL_CONF; i++) {
		confs[i] = all->sources[i].conf;
		found += confs[i] != NULL;
		if (!confs[i] && all->sources[i].error.code != -ENOENT) {
			doctor_skip(all, "asterisk", &all->sources[i].error);
			found++;
		}
	}
	if (found == 0) {
		struct text why = {0};

		text_printf(&why, "there is neither sip.conf nor pjsip.conf in %s", folder);
		findings_skip(all->findings, "asterisk", text_string(&why),
			"name Asterisk's folder by asterisk: {acl-file: ...} in the config, if there is "
			"one");
		text_free(&why);
		return 0;
	}
	if (asterisk_inventory_make(confs, &all->inventory) < 0)
		return -ENOMEM;
	all->has_inventory = true;
	doctor_asterisk(all->config, &all->inventory, all->findings);
	look_at_logger(all, folder);
	if (all->inventory.not_followed > 0) {
		struct text why = {0};

		text_printf(&why,
			"%zu line(s) of Asterisk's files were not followed (#exec, or an #include "
			"of a file that cannot be read)",
			all->inventory.not_followed);
		findings_skip(all->findings, "asterisk", text_string(&why), "");
		text_free(&why);
	}
	return 0;
}

/* --- Its ACLs, and itself --- */

static int find_program(
	const struct examination *all, struct asterisk_program *ret_program, struct error *error)
{
	const char *path = all->config->path;
	struct stat status;

	if (stat(path, &status) < 0)
		return error_set(error, -errno, "", "cannot look at %s: %s", path, strerror(errno));
	if (geteuid() == 0 && status.st_uid != 0)
		return error_set(error, -EPERM, "chown root the config",
			"Asterisk is not asked: the config %s belongs to user number %lu, who could "
			"have root run anything by asterisk.command",
			path, (unsigned long)status.st_uid);
	return asterisk_ask_find(all->config, status.st_uid, ret_program, error);
}

/* 0: it has answered something, be it that it is not done with booting. */
static int ask(const struct examination *all, const char *extension, struct error *error)
{
	char name[ASTERISK_ACL_NAME_SIZE];
	struct text command = {0}, output = {0};
	struct asterisk_program program = {0};
	struct process_result answer;
	struct asterisk_run run;
	int result = find_program(all, &program, error);

	if (result < 0)
		return result;
	asterisk_acl_name(extension, name);
	asterisk_cli_show_acl(name, &command);
	if (command.failed) {
		result = error_no_memory(error);
	} else {
		asterisk_ask_prepare(&program, text_string(&command), ASTERISK_ASK_LIMIT_MS, &run);
		result = process_run(&run.options, &output, &answer, error);
	}
	if (result == 0)
		result = asterisk_ask_judge(
			&program, text_string(&command), &answer, &output, error);
	text_free(&command);
	text_free(&output);
	return result < 0 ? result : 0;
}

static void look_at_program(struct examination *all, const char *extension)
{
	struct error error = {0};

	if (geteuid() != 0)
		findings_skip(all->findings, "asterisk-down",
			"whether Asterisk answers: only root may ask", DOCTOR_AS_ROOT);
	else if (ask(all, extension, &error) < 0)
		doctor_asterisk_down(&error, all->findings);
}

void doctor_look_at_acls(struct examination *all)
{
	struct asterisk_acls acls = {0};
	struct asterisk_setup setup = {0};

	if (!all->config->asterisk.acl)
		return;
	if (asterisk_acls_make(all->config, all->cycle.roster, all->cycle.now, &acls) < 0 ||
		asterisk_setup_read(&acls, all->config->asterisk.acl_file, &setup) < 0) {
		all->findings->failed = true;
	} else {
		doctor_asterisk_acls(all->config, &setup, all->findings);
		if (acls.count > 0)
			look_at_program(all, all->config->owners[0].id);
	}
	asterisk_setup_clear(&setup);
	asterisk_acls_clear(&acls);
}
