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
#include "drift.h"
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

/* "config-mode" alone. -ENOMEM. */
int doctor_examine_config(const struct doctor_request *request, struct findings *findings);

/* --- The network (doctor_network.c) --- */

/* "listener". `inventory` NULL: Asterisk's files were not read. */
void doctor_listeners(const struct config *config, const struct listener *listeners, size_t count,
	const struct asterisk_inventory *inventory, struct findings *findings);
/* "table-drops", "table-may-drop", "table-established": not of sipfence's own tables. */
void doctor_tables(
	const struct config *config, const struct nft_survey *survey, struct findings *findings);
/* "trunk". The talkers are unlisted ones to whom the PBX has opened a flow. */
void doctor_talkers(const struct config *config, const struct talker *talkers, size_t count,
	struct findings *findings);

/* --- Names, time (doctor_names.c) --- */

/* "name", "name-private", "name-shared". */
void doctor_names(
	const struct config *config, const struct roster *roster, struct findings *findings);
/* "clock". `wall`: seconds since the epoch; `in_step`: a time server keeps it right, as far as the
 * kernel or systemd-timesyncd knows. */
void doctor_clock(int64_t wall, bool in_step, struct findings *findings);

/* --- DNS servers (doctor_servers.c) --- */

struct doctor_server {
	struct config_server server;
	bool asked;
	bool answered;		   /* a word of some kind has come */
	bool useful;		   /* and not only errors */
	bool lies;		   /* it has an address for a name that nobody has */
	struct addr lie;	   /* that address */
	uint32_t fastest_ms;	   /* of its answers; 0 where there is none */
	enum answer_reason reason; /* it has not answered, or answered with an error */
};
/* The servers of a resolv.conf's text, `most` at the most; returns how many. *ret_odd: lines that
 * name a server in a form that is not understood. */
size_t doctor_resolv_conf(const char *text, size_t length, struct doctor_server *servers,
	size_t most, size_t *ret_odd);
/* "resolver", "resolver-lies", "resolver-slow", "dnssec". `servers`: those that are in use. True:
 * some server answers, or none was asked. What is slow or lies is said of each. */
bool doctor_servers(const struct config *config, const struct doctor_server *servers, size_t count,
	size_t odd, struct findings *findings);

/* --- Its own table, and who keeps it up to date (doctor_own.c) --- */

struct doctor_keeper {
	/* Unknown: this user may not ask. */
	enum { DOCTOR_NO_DAEMON, DOCTOR_DAEMON_RUNS, DOCTOR_DAEMON_UNKNOWN } daemon;
	pid_t pid; /* of the daemon; 0: not known */
	uid_t uid;
	gid_t gid;
	bool config_changed; /* since the daemon has read it */
	bool scheduled;	     /* cron or the timer runs `sync` */
	bool has_run;	     /* there is a state file */
	int64_t saved, now;  /* of the wall clock, in seconds: when that was written */
};
/* "not-reloaded", "not-running". */
void doctor_keeper(const struct doctor_keeper *keeper, struct findings *findings);
/* A crontab that runs `sipfence sync`? */
bool doctor_runs_sync(const char *text, size_t length);

/* "own-table". `plan`: from `observed` to what the config asks for. */
void doctor_own_table(const struct config *config, const struct observed *observed,
	const struct plan *plan, const struct doctor_keeper *keeper, struct findings *findings);
/* "elements", of that table or of the sets that are kept. */
void doctor_drift(
	const struct config *config, const struct drift *drift, struct findings *findings);
/* Is that a table of sipfence's, whatever its name is? By the chains that it has. */
bool doctor_is_sipfences(const struct nft_survey *survey, const struct nft_base_chain *chain);
/* "former-table": one of sipfence's that the config does not name. */
void doctor_former_table(
	const char *table, const struct observed *observed, struct findings *findings);

/* --- Files (doctor_files.c) --- */

/* "saved-table": a script for nft that holds our table. `owned`: the table belongs to a daemon that
 * is running, and nobody else may touch it. */
void doctor_nft_script(const char *path, const char *text, size_t length, const char *table,
	bool owned, struct findings *findings);
/* What the script includes: calls `take` with each pattern. */
void doctor_nft_includes(const char *text, size_t length,
	void (*take)(void *context, const char *pattern), void *context);

struct doctor_user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* besides; `gid` may be among them */
	size_t group_count;
	char name[64];
	char group[64]; /* of `gid`: its name, or its number where it has none */
};
/* May that user do this (R_OK, X_OK) by owner, groups and mode alone? */
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
/* "asterisk-acl", with `asterisk: {acl: true}`: what keeps the ACLs from being in force. */
void doctor_asterisk_acls(
	const struct config *config, const struct asterisk_setup *setup, struct findings *findings);
/* "asterisk-down": why it has not answered. */
void doctor_asterisk_down(const struct error *error, struct findings *findings);
/* "asterisk-log": the file that the config names is not there. */
void doctor_security_log_missing(const struct config *config, struct findings *findings);
/* "asterisk-log", of logger.conf. */
void doctor_asterisk_log(
	const struct asterisk_conf *logger, const char *path, struct findings *findings);

#endif
