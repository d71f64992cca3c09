/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine.h"
#include "config_yaml.h"
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BOOT_MS = 5000,	   /* since boot, when the daemon starts */
	SPINS_MOST = 1000, /* calls within one millisecond */
};

const char state_path[] = "/var/lib/sipfence/state";

void machine_begin(struct machine *machine, int64_t wall, uint32_t seed)
{
	world_reset();
	*machine = (struct machine){.wall_at_boot = wall - BOOT_MS / 1000, .seed = seed};
	world()->boot_ms = BOOT_MS;
}

void machine_forget_log(struct machine *machine)
{
	for (size_t i = 0; i < machine->log_count; i++)
		free(machine->log[i].text);
	free(machine->log);
	machine->log = NULL;
	machine->log_count = 0;
}

static bool nothing_left(const char *what, int count)
{
	if (count != 0)
		fprintf(stderr, "%d %s left open\n", count, what);
	return count == 0;
}

bool machine_end(struct machine *machine)
{
	const struct world *here = world();
	bool clean = true;

	if (machine->engine)
		machine_kill(machine);
	clean &= nothing_left("kernel handles", here->kernel.handles);
	clean &= nothing_left("kernel watches", here->kernel.watches);
	clean &= nothing_left("resolvers", here->dns.resolvers);
	clean &= nothing_left("disks", here->disk.disks);
	machine_forget_log(machine);
	world_reset();
	return clean;
}

struct moment machine_now(const struct machine *machine)
{
	int64_t boot_ms = world()->boot_ms;

	return (struct moment){.boot_ms = boot_ms, .wall = machine->wall_at_boot + boot_ms / 1000};
}

static int read_text(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const char *yaml = context;
	struct config_source *source;

	if (base)
		return error_set(error, -ENOENT, "", "there is no file %s", pattern);
	source = need(calloc(1, sizeof(*source)));
	source->path = need(strdup(pattern));
	source->data = need(strdup(yaml));
	source->length = strlen(yaml);
	*ret_sources = source;
	*ret_count = 1;
	return 0;
}

struct config *machine_config(const char *yaml, struct text *messages)
{
	struct config *config = NULL;

	if (config_yaml_parse(
		    "sipfence.yaml", read_text, (void *)(uintptr_t)yaml, &config, messages) < 0)
		return NULL;
	return config;
}

static void take_event(void *context, const struct event *event)
{
	struct machine *machine = context;

	machine->log =
		need(reallocarray(machine->log, machine->log_count + 1, sizeof(*machine->log)));
	machine->log[machine->log_count++] = (struct log_line){
		.text = need(strdup(text_string(&event->line))),
		.level = event->level,
		.boot_ms = world()->boot_ms,
	};
}

int machine_start(struct machine *machine, struct config *config, struct error *error)
{
	struct engine_options options = {
		.state_path = state_path,
		.log = take_event,
		.context = machine,
		.seed = machine->seed + machine->boots,
	};
	struct moment now = machine_now(machine);
	int result;

	snprintf(options.boot_id, sizeof(options.boot_id), "00000000-0000-4000-8000-%012u",
		machine->boots);
	result = engine_new(&machine->engine, config, &options, error);
	if (result == 0)
		result = engine_start(machine->engine, &now, error);
	if (result < 0)
		machine->engine = engine_free(machine->engine);
	return result;
}

/* When the engine must be called. */
static int64_t next_call(const struct machine *machine)
{
	struct moment now = machine_now(machine);
	int64_t due = engine_due(machine->engine, &now), arrival = fake_dns_arrival();

	if (model_kernel_ready())
		return now.boot_ms;
	return due < arrival ? due : arrival;
}

/* True when the disk is what comes next: it has done its work, and has something to say or not. */
static bool disk_comes_first(int64_t next, int64_t end)
{
	int64_t disk = fake_disk_next();

	if (disk > next || disk > end || disk <= world()->boot_ms)
		return false;
	world()->boot_ms = disk;
	fake_disk_work();
	return true;
}

void machine_run(struct machine *machine, int64_t ms)
{
	int64_t end = world()->boot_ms + ms;
	unsigned spins = 0;

	while (machine->engine && !machine->spins) {
		int64_t next = next_call(machine);
		struct moment now;

		if (disk_comes_first(next, end)) {
			spins = 0;
			continue;
		}
		if (fake_disk_next() <= world()->boot_ms)
			next = world()->boot_ms; /* a result is to be taken */
		if (next > end)
			break;
		if (next > world()->boot_ms) {
			world()->boot_ms = next;
			spins = 0;
		}
		machine->spins = ++spins > SPINS_MOST;
		now = machine_now(machine);
		engine_step(machine->engine, &now);
		machine->wakeups++;
	}
	world()->boot_ms = end;
}

int machine_stop(struct machine *machine, struct error *error)
{
	struct moment now = machine_now(machine);
	int result = engine_save(machine->engine, &now, error);

	machine->engine = engine_free(machine->engine);
	return result;
}

void machine_kill(struct machine *machine)
{
	uint64_t transactions = world()->kernel.transactions;

	world()->disk.frozen = true;
	machine->engine = engine_free(machine->engine);
	world()->disk.frozen = false;
	if (world()->kernel.transactions != transactions) {
		fputs("engine_free() has changed the table\n", stderr);
		abort();
	}
}

void machine_boot(struct machine *machine, int64_t down_ms)
{
	struct moment before = machine_now(machine);
	uint32_t generation = world()->kernel.rules.generation;

	nf_clear(&world()->kernel.rules);
	world()->kernel.rules.generation = generation % 7 + 1;
	world()->boot_ms = BOOT_MS;
	machine->boots++;
	machine->wall_at_boot = before.wall + down_ms / 1000 - BOOT_MS / 1000;
}

void machine_step_clock(struct machine *machine, int64_t seconds)
{
	struct moment now = machine_now(machine);

	/* Nobody can set it to a time before 1970. */
	machine->wall_at_boot += now.wall + seconds < 1 ? 1 - now.wall : seconds;
}
