/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who keeps the list up to date, and what for. */
#include "doctor_look.h"
#include "clock.h"
#include "config_archive.h"
#include "config_load.h"
#include "control.h"
#include "files.h"
#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GROUPS_MAX = 1024 };

/* --- The daemon --- */

void doctor_find_daemon(const char *run_dir, struct doctor_keeper *keeper)
{
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	struct error error = {0};
	char path[PATH_MAX];
	int fd, result;

	if (snprintf(path, sizeof(path), "%s/control", run_dir) >= (int)sizeof(path))
		return;
	result = control_connect(path, &fd, &error);
	if (result == -ECONNREFUSED)
		return;
	keeper->daemon = result < 0 ? DOCTOR_DAEMON_UNKNOWN : DOCTOR_DAEMON_RUNS;
	if (result < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
		keeper->pid = peer.pid;
		keeper->uid = peer.uid;
		keeper->gid = peer.gid;
	}
	close(fd);
}

/* A config_place_fn: the path of the main file. */
static void take_place(void *context, const char *base, const char *pattern, const char *path)
{
	struct text *main_path = context;

	if (!base && !path && main_path->length == 0)
		text_puts(main_path, pattern);
}

/* True: the daemon's copy of the config is another text than the config is now. */
static bool is_config_changed(const struct doctor_request *request)
{
	struct text kept = {0}, archive = {0}, messages = {0}, main_path = {0};
	struct config *config = NULL;
	char path[PATH_MAX];
	bool changed = false;

	/* Of a copy of another file nothing can be told, and so without memory. */
	if (snprintf(path, sizeof(path), "%s/config", request->state_dir) < (int)sizeof(path) &&
		file_load(path, &kept, NULL) == 0 &&
		config_archive_places(&kept, take_place, &main_path) == 0 &&
		strcmp(text_string(&main_path), request->config->path) == 0 &&
		config_load(request->config->path, &config, &archive, &messages) == 0 &&
		!archive.failed)
		changed = kept.length != archive.length ||
			  memcmp(kept.data, archive.data, kept.length) != 0;
	config_free(config);
	text_free(&kept);
	text_free(&archive);
	text_free(&messages);
	text_free(&main_path);
	return changed;
}

/* --- cron and timers --- */

static bool is_in_cron(const char *pattern)
{
	struct config_source *sources = NULL;
	struct error error = {0};
	bool found = false;
	size_t count = 0;

	/* With a base the pattern stands for many files. */
	if (files_read_foreign(NULL, "/etc/crontab", pattern, &sources, &count, &error) < 0)
		return false;
	for (size_t i = 0; i < count; i++)
		found |= doctor_runs_sync(sources[i].data, sources[i].length);
	config_sources_free(sources, count);
	return found;
}

static bool is_scheduled(void)
{
	static const char *const crontabs[] = {"/etc/crontab", "/etc/cron.d/*",
		"/var/spool/cron/crontabs/*", "/var/spool/cron/*", "/etc/crontabs/*"};
	static const char timer[] = "/etc/systemd/system/timers.target.wants/sipfence-sync.timer";

	for (size_t i = 0; i < sizeof(crontabs) / sizeof(crontabs[0]); i++) {
		if (is_in_cron(crontabs[i]))
			return true;
	}
	return access(timer, F_OK) == 0;
}

void doctor_find_keeper(const struct doctor_request *request, struct doctor_keeper *keeper)
{
	char path[PATH_MAX];
	struct stat status;

	doctor_find_daemon(request->run_dir, keeper);
	keeper->config_changed = keeper->daemon == DOCTOR_DAEMON_RUNS && is_config_changed(request);
	keeper->scheduled = is_scheduled();
	if (snprintf(path, sizeof(path), "%s/state", request->state_dir) >= (int)sizeof(path))
		return;
	if (stat(path, &status) == 0) {
		keeper->has_run = true;
		keeper->saved = status.st_mtime;
	} else if (errno != ENOENT && errno != ENOTDIR && keeper->daemon == DOCTOR_NO_DAEMON) {
		keeper->daemon = DOCTOR_DAEMON_UNKNOWN;
	}
	keeper->now = clock_wall();
}

/* --- Its user --- */

/* Those that the running process has. */
static bool read_groups(pid_t pid, struct doctor_user *user)
{
	char path[64], *line = NULL;
	size_t size = 0;
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && getline(&line, &size, file) > 0) {
		char *at = line + strlen("Groups:"), *end;

		if (strncmp(line, "Groups:", strlen("Groups:")) != 0)
			continue;
		found = true;
		for (unsigned long group = strtoul(at, &end, 10);
			end != at && user->group_count < GROUPS_MAX;
			group = strtoul(at = end, &end, 10))
			user->groups[user->group_count++] = (gid_t)group;
	}
	free(line);
	fclose(file);
	return found;
}

/* Those that it gets at its start, by /etc/group. */
static void look_up_groups(struct doctor_user *user)
{
	int count = GROUPS_MAX;

	if (getgrouplist(user->name, user->gid, user->groups, &count) >= 0)
		user->group_count = (size_t)count;
}

static void name_user(struct doctor_user *user, uid_t uid, gid_t gid, const char *name)
{
	const struct group *group = getgrgid(gid);

	user->uid = uid;
	user->gid = gid;
	snprintf(user->name, sizeof(user->name), "%s", name);
	if (group)
		snprintf(user->group, sizeof(user->group), "%s", group->gr_name);
	else
		snprintf(user->group, sizeof(user->group), "%lu", (unsigned long)gid);
}

static void name_number(struct doctor_user *user, uid_t uid, gid_t gid)
{
	const struct passwd *entry = getpwuid(uid);

	name_user(user, uid, gid, entry ? entry->pw_name : "");
	if (!entry)
		snprintf(user->name, sizeof(user->name), "%lu", (unsigned long)uid);
}

/* Whom the daemon becomes, as far as that can be told. */
static void guess_user(const struct config *config, struct doctor_user *user)
{
	struct privilege_user found;
	const struct passwd *entry;
	unsigned long number;
	char *end;

	if (geteuid() == 0 && privilege_find(config->user, &found, NULL) == 0) {
		name_user(user, found.uid, found.gid, found.name);
		return;
	}
	/* This process could not become that user; root can. */
	entry = getpwnam(config->user ? config->user : CONFIG_DEFAULT_USER);
	number = config->user ? strtoul(config->user, &end, 10) : 0;
	if (!entry && config->user && *config->user && !*end)
		entry = getpwuid((uid_t)number);
	if (entry)
		name_user(user, entry->pw_uid, entry->pw_gid, entry->pw_name);
	else
		name_number(user, geteuid(), getegid());
}

int doctor_find_user(const struct config *config, const struct doctor_keeper *keeper,
	struct doctor_user *ret_user)
{
	struct doctor_user user = {.groups = calloc(GROUPS_MAX, sizeof(gid_t))};

	if (!user.groups)
		return -ENOMEM;
	if (keeper->daemon == DOCTOR_DAEMON_RUNS && keeper->pid > 0)
		name_number(&user, keeper->uid, keeper->gid);
	else
		guess_user(config, &user);
	if (keeper->pid <= 0 || !read_groups(keeper->pid, &user))
		look_up_groups(&user);
	*ret_user = user;
	return 0;
}

void doctor_user_clear(struct doctor_user *user)
{
	free(user->groups);
	*user = (struct doctor_user){0};
}
