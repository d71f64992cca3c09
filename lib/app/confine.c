/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "confine.h"
#include "config_archive.h"
#include "files.h"
#include "sandbox.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void allow_folder_of(struct sandbox_rules *rules, const char *path, enum sandbox_right right)
{
	char folder[PATH_MAX];

	if (snprintf(folder, sizeof(folder), "%s", path) < PATH_MAX)
		sandbox_allow(rules, dirname(folder), right);
}

/* Where it stands, and where it points to. */
static void allow_to_read(struct sandbox_rules *rules, const char *path)
{
	allow_folder_of(rules, path, SANDBOX_READ);
	sandbox_allow_file(rules, path, SANDBOX_READ);
}

/* A pattern's own folder, whether there is a file in it now or not. */
static void allow_place(void *context, const char *base, const char *pattern, const char *path)
{
	struct sandbox_rules *rules = context;
	char full[PATH_MAX];

	if (path)
		allow_to_read(rules, path);
	if (!pattern || file_beside(base, pattern, full) < 0)
		return;
	/* The main file's name is no pattern. */
	if (base)
		full[strcspn(full, "*?[")] = '\0';
	/* What is left of "dir/x*" is "dir/x", of "dir/ *" it is "dir/": as a file both are in dir.
	 */
	if (base && *full && full[strlen(full) - 1] == '/')
		sandbox_allow(rules, full, SANDBOX_READ);
	else
		allow_to_read(rules, full);
}

static void make_rules(const struct confine_options *options, struct sandbox_rules *rules)
{
	const char *notify = getenv("NOTIFY_SOCKET");

	rules->abstract_sockets = notify && notify[0] == '@';
	allow_to_read(rules, options->config_path);
	if (options->archive)
		config_archive_places(options->archive, allow_place, rules);
	allow_to_read(rules, options->resolv_conf);
	if (options->config->geoip.country)
		allow_to_read(rules, options->config->geoip.country);
	if (options->config->geoip.asn)
		allow_to_read(rules, options->config->geoip.asn);
	/* The boot's id. */
	sandbox_allow(rules, "/proc/sys/kernel/random", SANDBOX_READ);
	/* c-ares before 1.19 makes the ids of questions of it, and without it of the time. */
	sandbox_allow(rules, "/dev/urandom", SANDBOX_READ);
	/* A sanitizer's search for leaks reads which threads there are. */
	if (sandbox_is_instrumented())
		sandbox_allow(rules, "/proc/self", SANDBOX_READ);
	if (options->config->metrics_file)
		allow_folder_of(rules, options->config->metrics_file, SANDBOX_WRITE);
	sandbox_allow(rules, options->state_dir, SANDBOX_WRITE);
	sandbox_allow(rules, options->run_dir, SANDBOX_WRITE);
	if (options->pidfile)
		allow_folder_of(rules, options->pidfile, SANDBOX_REMOVE);
}

int confine(const struct confine_options *options, struct confinement *ret_confinement,
	struct error *error)
{
	struct confinement confinement = {0};
	struct sandbox_rules rules = {0};
	int result;

	/* The time zone is read with the first local time: now, while it can be. */
	tzset();
	make_rules(options, &rules);
	result = sandbox_files(&rules, &confinement.landlock, error);
	if (result == 0)
		result = sandbox_calls(&confinement.seccomp, error);
	sandbox_rules_clear(&rules);
	if (result == 0)
		*ret_confinement = confinement;
	return result;
}
