/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is wrong around sipfence on this machine. doctor_examine() looks at everything; the checks
 * below it are values in, findings out, so that each can be tried alone.
 *
 * The words of checks (finding.check) are listed in sipfence(8).
 */
#ifndef SIPFENCE_DOCTOR_H
#define SIPFENCE_DOCTOR_H

#include "asterisk_inventory.h"
#include "config.h"
#include "cycle.h"
#include "error.h"
#include "finding.h"
#include "nft_survey.h"
#include "plan.h"
#include "roster.h"
#include "socket_diag.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct doctor_request {
	const struct config *config;
	const char *const *config_paths; /* of the config and all that it includes */
	size_t config_path_count;
	const char *state_dir, *run_dir;
};

/* What can't be looked at is in the findings. Negative, and `error`: nothing could be. */
int doctor_examine(
	const struct doctor_request *request, struct findings *findings, struct error *error);

/* --- The network (doctor_network.c) --- */

/* "listener". `inventory` NULL: Asterisk's files were not read. */
void doctor_listeners(const struct config *config, const struct listener *listeners, size_t count,
	const struct asterisk_inventory *inventory, struct findings *findings);
/* "table-drops", "table-may-drop", "table-established". */
void doctor_tables(
	const struct config *config, const struct nft_survey *survey, struct findings *findings);
/* "trunk". The talkers are unlisted ones to whom the PBX has opened a flow. */
void doctor_talkers(const struct config *config, const struct talker *talkers, size_t count,
	struct findings *findings);

/* --- Names, DNS, time (doctor_names.c) --- */

/* "name", "name-private", "name-shared". */
void doctor_names(
	const struct config *config, const struct roster *roster, struct findings *findings);
/* "clock". `wall`: seconds since the epoch. */
void doctor_clock(int64_t wall, struct findings *findings);

struct doctor_server {
	struct config_server server;
	bool asked, answered;
	enum answer_reason reason; /* it has not answered */
};
/* The servers of a resolv.conf's text, `most` at the most; returns how many. *ret_odd: lines that
 * name a server in a form that is not understood. */
size_t doctor_resolv_conf(const char *text, size_t length, struct doctor_server *servers,
	size_t most, size_t *ret_odd);
/* "resolver", "dnssec". `servers`: those that are in use. True: some server answers, or none was
 * asked. */
bool doctor_servers(const struct config *config, const struct doctor_server *servers, size_t count,
	size_t odd, struct findings *findings);

/* --- Files (doctor_files.c) --- */

/* "saved-table": a script for nft that holds our table. */
void doctor_nft_script(const char *path, const char *text, size_t length, const char *table,
	struct findings *findings);
/* What the script includes: calls `take` with each pattern. */
void doctor_nft_includes(const char *text, size_t length,
	void (*take)(void *context, const char *pattern), void *context);

struct doctor_user {
	uid_t uid;
	gid_t gid;
	const char *name;
};
/* May that user do this (R_OK, X_OK) by owner and mode alone? */
bool doctor_may(const struct stat *status, const struct doctor_user *user, int what);
/* "config-mode". `status`: of the file; `blocked`: the folder above it that the user can't enter,
 * NULL: none. */
void doctor_config_file(const char *path, const struct stat *status, const char *blocked,
	const struct doctor_user *user, struct findings *findings);
/* "state-mode": of the state folder, and the run folder. */
void doctor_folder(const char *path, const struct stat *status, bool secret,
	const struct doctor_user *user, struct findings *findings);

/* --- Asterisk's own files (doctor_asterisk.c) --- */

/* "asterisk-guests", "asterisk-reject", "asterisk-acl", "asterisk-secret", "asterisk-port". */
void doctor_asterisk(const struct config *config, const struct asterisk_inventory *inventory,
	struct findings *findings);
/* "asterisk-log", of logger.conf. */
void doctor_asterisk_log(
	const struct asterisk_conf *logger, const char *path, struct findings *findings);

#endif
