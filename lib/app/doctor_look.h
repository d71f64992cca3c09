/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What doctor_examine() looks at outside of this process, and what of it takes more than a call:
 * DNS servers, the daemon, the files that would start a `sync`. The judging is in doctor.h.
 */
#ifndef SIPFENCE_DOCTOR_LOOK_H
#define SIPFENCE_DOCTOR_LOOK_H

#include "doctor.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { DOCTOR_SERVERS_MAX = 8 };

#define DOCTOR_AS_ROOT "run it as root"

struct examination {
	const struct doctor_request *request;
	const struct config *config;
	struct findings *findings;
	struct asterisk_source sources[ASTERISK_FILE_COUNT];
	struct asterisk_inventory inventory;
	bool has_inventory;
	struct doctor_keeper keeper;
	struct cycle cycle;
	char state_path[PATH_MAX];
	size_t scripts; /* read so far */
};

/* That check could not be made. */
void doctor_skip(struct examination *all, const char *check, const struct error *error);

/* Asterisk's own files. -ENOMEM. */
int doctor_look_at_asterisk(struct examination *all);
/* Once the names are known, with `asterisk: {acl: true}`: are the ACLs included, and is Asterisk
 * there? */
void doctor_look_at_acls(struct examination *all);
void doctor_look_at_scripts(struct examination *all);
void doctor_look_at_modes(struct examination *all);

/* The servers in use, up to DOCTOR_SERVERS_MAX; *ret_odd: see doctor_resolv_conf(). */
size_t doctor_list_servers(
	const struct config *config, struct doctor_server *servers, size_t *ret_odd);
/* Asks them all at once, and fills in what they say. Without a name in the config nothing is
 * asked. -ENOMEM or the like. */
int doctor_probe_servers(const struct config *config, struct doctor_server *servers, size_t count);

/* Is there a daemon, and whom does it run as? Begin with a zeroed struct. */
void doctor_find_daemon(const char *run_dir, struct doctor_keeper *keeper);
/* That, and by which config does it run? */
void doctor_find_keeper(const struct doctor_request *request, struct doctor_keeper *ret_keeper);
/* Whom the daemon is or will be. doctor_user_clear() it. -ENOMEM. */
int doctor_find_user(const struct config *config, const struct doctor_keeper *keeper,
	struct doctor_user *ret_user);
void doctor_user_clear(struct doctor_user *user);

#endif
