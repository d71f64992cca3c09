/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon shuts itself off from all that it does not need (edge/sandbox.h). It reads its
 * config's folders, resolv.conf's and those of the geoip databases; it writes its state and run
 * folders.
 */
#ifndef SIPFENCE_CONFINE_H
#define SIPFENCE_CONFINE_H

#include "config.h"
#include "error.h"
#include "text.h"

#include <stdbool.h>

struct confine_options {
	const struct config *config;
	const struct text *archive; /* of all that was read for it (codec/config_archive.h) */
	const char *config_path;
	const char *state_dir, *run_dir;
	const char *pidfile; /* is removed at the end; NULL: none */
	const char *resolv_conf;
};

struct confinement {
	int landlock; /* the version that is in force; 0: none */
	bool seccomp;
};

/* After the drop of privileges, and before any thread. */
int confine(const struct confine_options *options, struct confinement *ret_confinement,
	struct error *error);

#endif
