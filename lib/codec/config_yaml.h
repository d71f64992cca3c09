/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * YAML text -> struct config (design, section 4; sipfence.yaml(5) is the manual of the keys).
 *
 * Reads no file by itself: the caller hands over a function that does, so that the parser can be
 * fuzzed and tested without a disk. Resolves no name. YAML 1.1 by libyaml, its document API; only
 * the schema's shape is accepted, scalars are taken as text (no "no" -> false for keys).
 */
#ifndef SIPFENCE_CONFIG_YAML_H
#define SIPFENCE_CONFIG_YAML_H

#include "config.h"
#include "error.h"
#include "text.h"

#include <stddef.h>

/* One readable piece of config. */
struct config_source {
	char *path; /* as it shall stand in messages */
	char *data; /* not NUL-terminated by contract */
	size_t length;
};

/*
 * Reads what the pattern of an `include` (or, for the first call, the path of the main file) names,
 * in the order of the names. `base` is the path of the file that includes, NULL for the main file:
 * relative patterns are relative to its folder. A pattern with wildcards that matches nothing gives
 * no source and 0. Errors (missing file, a folder, writable by others, …) are reported in `error`
 * with a negative result. The caller frees with config_sources_free().
 */
typedef int config_read_fn(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error);

void config_sources_free(struct config_source *sources, size_t count);

/*
 * 0 and *ret_config (free with config_free()), or -EINVAL when the config has errors, or another
 * -errno. `messages` gets every error and warning, each as
 *     FILE:LINE:COLUMN: error: what is wrong
 *     the line
 *        ^
 * Warnings do not change the result.
 */
int config_yaml_parse(const char *path, config_read_fn *read, void *context,
	struct config **ret_config, struct text *messages);

#endif
