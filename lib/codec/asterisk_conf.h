/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asterisk's own configuration files (sip.conf, pjsip.conf, …), as far as it takes to tell which
 * extensions there are and what is set for them. Pure: whoever calls reads the files.
 *
 * What Asterisk does (main/config.c) is followed: `;` begins a comment unless a backslash stands
 * before it, `;--` one that `--;` ends; [name](!) is a template, [name](a,b) takes over what the
 * templates a and b say, [name](+) goes on with a section that was there before; `key = value` and
 * `key => value` are the same; #include and #tryinclude name files and patterns; what #exec would
 * say is not known, and counted. Keys are compared without regard to case, names of sections with.
 */
#ifndef SIPFENCE_ASTERISK_CONF_H
#define SIPFENCE_ASTERISK_CONF_H

#include "config_yaml.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	ASTERISK_CONF_DEPTH = 16,	  /* of includes within each other */
	ASTERISK_CONF_FILES = 4096,	  /* in all */
	ASTERISK_CONF_SETTINGS = 1 << 22, /* those of templates counted for each section */
};

struct asterisk_setting {
	const char *key, *value;
	const char *file;
	size_t line; /* in it, from 1 */
};

struct asterisk_section {
	const char *name;
	const char *file; /* of its head */
	size_t line;
	bool is_template;
	/* Those of its templates first, in the order in which Asterisk takes them. */
	struct asterisk_setting *settings;
	size_t count, capacity;
};

/* A file that FreePBX writes anew, with all that others have put into it, whenever its settings are
 * applied; its head says so. */
struct asterisk_generated {
	const char *file;
	const char *custom; /* the path of the one that it includes behind it, for others' lines */
};

struct asterisk_conf {
	struct arena arena;
	struct asterisk_generated *generated;
	size_t generated_count, generated_capacity;
	struct asterisk_section *sections; /* in their order; pjsip.conf has several of a name */
	size_t count, capacity;
	size_t unknown; /* #exec, includes that could not be read, lines that are none */
};

/*
 * Reads `path` and what it includes, by `read` (config_yaml.h; `base` NULL for the first file).
 * What can't be read of the includes is counted in `unknown`; that goes for everything that
 * Asterisk would not understand either. -errno of the first file; -E2BIG: past the limits above;
 * -ENOMEM.
 */
int asterisk_conf_parse(const char *path, config_read_fn *read, void *context,
	struct asterisk_conf **ret_conf, struct error *error);
struct asterisk_conf *asterisk_conf_free(struct asterisk_conf *conf); /* returns NULL */

/* The last of that key, which is the one that counts; NULL: it is not set. */
const struct asterisk_setting *asterisk_conf_get(
	const struct asterisk_section *section, const char *key);
/* Where lines for what stands in `file` belong, if FreePBX has generated that; else NULL. */
const char *asterisk_conf_custom(const struct asterisk_conf *conf, const char *file);
/* As Asterisk reads them: yes, true, y, t, 1, on. */
bool asterisk_conf_is_true(const char *value);

#endif
