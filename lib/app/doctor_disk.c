/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files: scripts for nft, and who may read and write what. */
#include "doctor_look.h"
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCRIPT_DEPTH = 8, SCRIPTS_MAX = 200 };

/* --- Scripts for nft --- */

struct scripts {
	struct examination *all;
	const char *base;
	unsigned depth;
};

static bool is_owned(const struct examination *all)
{
	if (all->cycle.observed)
		return all->cycle.observed->owned;
	return all->config->lock && all->keeper.daemon == DOCTOR_DAEMON_RUNS;
}

/* Files include files, SCRIPT_DEPTH deep at most. */
/* NOLINTBEGIN(misc-no-recursion) */

static void read_scripts(
	struct examination *all, const char *base, const char *pattern, unsigned depth);

static void take_include(void *context, const char *pattern)
{
	const struct scripts *scripts = context;

	read_scripts(scripts->all, scripts->base, pattern, scripts->depth + 1);
}

static void read_scripts(
	struct examination *all, const char *base, const char *pattern, unsigned depth)
{
	struct config_source *sources = NULL;
	struct error error = {0};
	size_t count = 0;

	if (depth > SCRIPT_DEPTH || all->scripts > SCRIPTS_MAX)
		return;
	if (files_read_foreign(NULL, base, pattern, &sources, &count, &error) < 0) {
		if (error.code != -ENOENT)
			doctor_skip(all, "saved-table", &error);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct scripts scripts = {.all = all, .base = sources[i].path, .depth = depth};

		all->scripts++;
		doctor_nft_script(sources[i].path, sources[i].data, sources[i].length,
			all->config->table, is_owned(all), all->findings);
		doctor_nft_includes(sources[i].data, sources[i].length, take_include, &scripts);
	}
	config_sources_free(sources, count);
}

/* NOLINTEND(misc-no-recursion) */

void doctor_look_at_scripts(struct examination *all)
{
	/* Of Debian, Fedora, Alpine and Gentoo. */
	static const char *const scripts[] = {"/etc/nftables.conf", "/etc/sysconfig/nftables.conf",
		"/etc/nftables.nft", "/var/lib/nftables/rules-save"};

	/* With sets-only the table is the administrator's own: it belongs there. */
	if (all->config->sets_only)
		return;
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
		read_scripts(all, NULL, scripts[i], 0);
	/* With a base the pattern stands for many files. */
	read_scripts(all, "/etc/nftables.conf", "/etc/nftables/*.nft", 0);
}

/* --- Modes --- */

/* The first folder on the way that the user can't enter. */
static bool find_blocked(
	const char *path, const struct doctor_user *user, char ret_folder[PATH_MAX])
{
	struct stat status;
	char *real = realpath(path, NULL);

	if (!real)
		return false;
	for (char *slash = strchr(real + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (stat(real, &status) == 0 && !doctor_may(&status, user, X_OK)) {
			snprintf(ret_folder, PATH_MAX, "%s", real);
			free(real);
			return true;
		}
		*slash = '/';
	}
	free(real);
	return false;
}

static void look_at_config(const struct doctor_request *request, const struct doctor_user *user,
	struct findings *findings)
{
	char blocked[PATH_MAX];
	struct stat status;

	for (size_t i = 0; i < request->config_path_count; i++) {
		const char *path = request->config_paths[i];
		bool is_blocked = find_blocked(path, user, blocked);

		if (stat(path, &status) == 0)
			doctor_config_file(
				path, &status, is_blocked ? blocked : NULL, user, findings);
	}
}

int doctor_examine_config(const struct doctor_request *request, struct findings *findings)
{
	struct doctor_keeper keeper = {0};
	struct doctor_user user;

	doctor_find_daemon(request->run_dir, &keeper);
	if (doctor_find_user(request->config, &keeper, &user) < 0)
		return -ENOMEM;
	look_at_config(request, &user, findings);
	doctor_user_clear(&user);
	return findings->failed ? -ENOMEM : 0;
}

void doctor_look_at_modes(struct examination *all)
{
	const struct doctor_request *request = all->request;
	struct doctor_user user;
	struct stat status;

	if (doctor_find_user(all->config, &all->keeper, &user) < 0) {
		all->findings->failed = true;
		return;
	}
	look_at_config(request, &user, all->findings);
	if (stat(request->state_dir, &status) == 0)
		doctor_folder(request->state_dir, &status, true, &user, all->findings);
	if (stat(request->run_dir, &status) == 0)
		doctor_folder(request->run_dir, &status, false, &user, all->findings);
	doctor_user_clear(&user);
}
