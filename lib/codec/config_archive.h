/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A copy of a config, with all that it includes, as one text: so that a daemon that finds its
 * config broken at boot can go on with the one that was in force, instead of leaving the ports
 * open.
 *
 *   sipfence-config 1
 *   read BASE PATTERN COUNT       lengths in bytes (BASE -: the main file), then these bytes
 *   source PATH DATA              of COUNT sources; lengths, then these bytes
 *   end
 */
#ifndef SIPFENCE_CONFIG_ARCHIVE_H
#define SIPFENCE_CONFIG_ARCHIVE_H

#include "config_yaml.h"
#include "error.h"
#include "text.h"

#include <stddef.h>

/* Reads through `read`, and keeps what it gave. Begin with an empty `archive`. */
struct config_recorder {
	config_read_fn *read;
	void *context; /* for `read` */
	struct text archive;
};

/* A config_read_fn; `context` is a struct config_recorder. */
int config_record(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error);
/* After the config was parsed: the archive is whole. */
void config_record_end(struct config_recorder *recorder);

/* A config_read_fn; `context` is a struct text, such an archive. -EBADMSG: it is damaged; -ENOENT:
 * that was never read. */
int config_replay(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error);

/* What was read: `pattern`, and the file that names it (`base` NULL: it is the main file itself);
 * then each file that was found, as `path`, the others being NULL. */
typedef void config_place_fn(
	void *context, const char *base, const char *pattern, const char *path);
/* Also of an archive that a broken config has cut short. -EBADMSG, -ENOMEM: some are missing. */
int config_archive_places(const struct text *archive, config_place_fn *place, void *context);

#endif
