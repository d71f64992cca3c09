/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's config, and the copy of the last one that was in force: what it falls back to when
 * the config is broken at its start, since ports that nobody guards are worse than a list of
 * yesterday.
 */
#ifndef SIPFENCE_CONFIG_LOAD_H
#define SIPFENCE_CONFIG_LOAD_H

#include "config.h"
#include "error.h"
#include "text.h"

/*
 * As config_yaml_parse(), from files. `archive` gets what config_keep() takes; it is the caller's,
 * also when this fails.
 */
int config_load(
	const char *path, struct config **ret_config, struct text *archive, struct text *messages);
/* Makes it the copy at `kept_path`; writes nothing if it is that already. */
int config_keep(const char *kept_path, const struct text *archive, struct error *error);
/* The config of that copy. -ENOENT: there is none of `path`; -EBADMSG: it is damaged; -EINVAL: it
 * is not good for this version; -ENOMEM. */
int config_load_kept(const char *path, const char *kept_path, struct config **ret_config);

#endif
