/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all commands share: the options as given, where messages go, exit codes. The table of
 * commands in main.c feeds dispatch, usage errors and help.
 */
#ifndef SIPFENCE_COMMAND_H
#define SIPFENCE_COMMAND_H

#include "config.h"
#include "error.h"
#include "text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum exit_code {
	EXIT_DONE = 0,	  /* all names answered, and the kernel equals the config */
	EXIT_REFUSED = 1, /* the kernel, a permission or I/O refused; the kernel is as before */
	EXIT_USAGE = 2,	  /* usage or config error; nothing was touched */
	EXIT_UNSURE = 3,  /* done, but some names are held, gone, refused or were never answered */
};

struct invocation {
	const char *command;
	const char *config_path;
	const char *state_dir, *run_dir;
	const char *pidfile; /* NULL: none */
	bool syslog;
	const char *const *arguments; /* behind the command */
	size_t argument_count;
	bool dry_run, diff, json, yes;
	uint32_t confirm;	   /* seconds; 0: not asked for */
	const char *since, *until; /* as given; NULL: not */
	int year;		   /* 0: not given */
	int64_t grace;		   /* seconds; -1: not given */
	bool write, contacts, evict, hangup;
	const char *from; /* a folder of Asterisk's; NULL: not given */
	bool watch, prometheus;
	unsigned interval;    /* seconds from one drawing to the next */
	size_t columns, rows; /* of the terminal that is drawn on; 0: find out */
	int verbosity;	      /* -1 quiet, 0, 1 verbose */
	bool colour_out, colour_err;
};

int command_check(const struct invocation *invocation);
int command_sync(const struct invocation *invocation);
int command_remove(const struct invocation *invocation);
int command_run(const struct invocation *invocation);
int command_status(const struct invocation *invocation);
int command_refresh(const struct invocation *invocation);
int command_reload(const struct invocation *invocation);
int command_why(const struct invocation *invocation);
int command_history(const struct invocation *invocation);
int command_audit(const struct invocation *invocation);
int command_asterisk(const struct invocation *invocation);
int command_export(const struct invocation *invocation);
int command_doctor(const struct invocation *invocation);
int command_init(const struct invocation *invocation);

/* stderr: "sipfence: error: what" and "  next" below; with --json a document on stdout as well. */
void say_error(const struct invocation *invocation, const struct error *error);
/* The same without a document. */
void say_problem(const struct invocation *invocation, const struct error *error);
/* An error of several lines, as a config has them, that another process reports: printable already.
 */
void say_refusal(
	const struct invocation *invocation, int exit_code, const char *what, const char *next);
void say_usage(const struct invocation *invocation, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void say_warning(const struct invocation *invocation, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Not with -q. */
void say_note(const struct invocation *invocation, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* What a config that is broken or missing means until it is mended, and where the last good one is;
 * to commands that need one. */
void say_meanwhile(const struct invocation *invocation);
/* The mode is monitor now, and was enforce. */
void say_opened(const struct invocation *invocation);

/* A document on stdout, as a whole or, without memory for it, not at all. */
bool say_json(const json_t *document);

/* After a change: the result may not reach its reader, and that is no reason for another exit code.
 */
void flush_result(const struct invocation *invocation);

/* What config_yaml_parse() has said, and its exit code. */
int say_config(const struct invocation *invocation, int result, const struct text *messages);
/* EXIT_DONE and *ret_config, or EXIT_USAGE after all errors were printed. */
int load_config(const struct invocation *invocation, struct config **ret_config);
/* The copy that a daemon has kept of the last good one. False, and nothing said: there is none. */
bool load_kept_config(const struct invocation *invocation, struct config **ret_config);

#endif
