/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's metrics file (config: metrics-file), for node_exporter's textfile collector: written
 * anew each METRICS_FILE_MS, and a last time when the daemon ends. Threads of its own read the
 * kernel's counters, which takes 13 ms where 12,288 sources were kept out, and write the file:
 * neither they nor a slow disk hold anybody up.
 */
#ifndef SIPFENCE_METRICS_FILE_H
#define SIPFENCE_METRICS_FILE_H

#include "engine.h"
#include "metrics.h"
#include "status.h"

#include <stdint.h>

enum { METRICS_FILE_MS = 15 * 1000 };

struct metrics_file;

/* `log` gets an event when the file can't be written, and when it can be again. -ENOMEM. */
int metrics_file_open(
	struct metrics_file **ret_file, engine_log_fn *log, void *context, struct error *error);
/* When metrics_file_tick() has something to do, ms since boot; INT64_MAX: the config names no file.
 */
int64_t metrics_file_due(const struct metrics_file *file, const struct config *config);
void metrics_file_tick(struct metrics_file *file, const struct view *view);
/* Says that no daemon runs any more. Returns NULL; `file` may be NULL. */
struct metrics_file *metrics_file_close(struct metrics_file *file, const struct view *view);

/* All that can be known by this process now; the kernel's counters only if they may be read. The
 * text of the file, and of `status --prometheus`. -ENOMEM. */
int metrics_make(
	const struct view *view, const struct metrics_run *run, int64_t wall, struct text *text);

#endif
