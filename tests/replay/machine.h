/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine in the world (world.h) that runs the engine: what daemon.c is in earnest, with a clock
 * that jumps from one event to the next.
 */
#ifndef SIPFENCE_TEST_MACHINE_H
#define SIPFENCE_TEST_MACHINE_H

#include "config.h"
#include "engine.h"
#include "error.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const char state_path[];

struct log_line {
	char *text;
	enum event_level level;
	int64_t boot_ms;
	bool taken; /* an expectation has spoken of it */
};

struct machine {
	struct engine *engine; /* NULL: the daemon doesn't run */
	int64_t wall_at_boot;  /* seconds; the wall clock when boot_ms was 0 */
	unsigned boots;
	uint32_t seed;
	uint64_t wakeups;
	bool spins; /* the engine asked to be called again and again without time going on */
	struct log_line *log;
	size_t log_count;
};

void machine_begin(struct machine *machine, int64_t wall, uint32_t seed);
/* False: the engine has left something open; said on stderr. */
bool machine_end(struct machine *machine);

struct moment machine_now(const struct machine *machine);
/* Config text as YAML. NULL: it has errors, which are in `messages`. */
struct config *machine_config(const char *yaml, struct text *messages);

/* Takes `config` over. */
int machine_start(struct machine *machine, struct config *config, struct error *error);
/* Time goes on by `ms`, and the engine does what is due. */
void machine_run(struct machine *machine, int64_t ms);
/* What daemon.c does at SIGTERM. */
int machine_stop(struct machine *machine, struct error *error);
/* kill -9: nothing is saved. */
void machine_kill(struct machine *machine);
/* The kernel's tables are gone, and `down_ms` have passed. The daemon must have ended. */
void machine_boot(struct machine *machine, int64_t down_ms);
/* The wall clock steps. */
void machine_step_clock(struct machine *machine, int64_t seconds);

void machine_forget_log(struct machine *machine);

#endif
