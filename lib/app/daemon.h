/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon: the engine (engine.h) in its loop, with the control socket, signals, the supervisor's
 * notifications and resolv.conf around it.
 *
 * SIGTERM and SIGINT end it: what is known is saved, the table stays. SIGHUP reads the config
 * again.
 */
#ifndef SIPFENCE_DAEMON_H
#define SIPFENCE_DAEMON_H

#include "config.h"
#include "engine.h"
#include "error.h"
#include "helper.h"
#include "text.h"

struct daemon_options {
	const char *version;
	const char *config_path;
	/* What config_load() made of config_path; NULL: `config` is not what it says now, and
	 * `config_error` why. */
	const struct text *archive;
	const char *config_error;
	const char *kept_path; /* where the config that is in force is kept (config_load.h) */
	const char *state_path;
	const char *control_path;
	const char *resolv_conf; /* the file whose changes are followed */
	engine_log_fn *log;	 /* gets everything that there is to say */
	void *context;		 /* for `log` */
	/* Runs on_change of the config (helper.h); fd -1: there is none. Taken over. */
	struct helper helper;
	struct error helper_problem; /* why there is none, or what will keep hooks from running */
	/* Works for Asterisk as the config says (helper_asterisk.h); fd -1: there is none. Taken
	 * over. */
	struct helper pbx_helper;
	struct error pbx_problem; /* why there is none */
};

/*
 * Runs until it is told to end. Takes `config` over, which is that of config_path. 0: it ended as
 * it was told to; negative: it could not start, or cannot go on.
 */
int daemon_run(const struct daemon_options *options, struct config *config, struct error *error);

#endif
