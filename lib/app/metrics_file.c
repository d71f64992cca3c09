/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "metrics_file.h"

#include "beside.h"
#include "disk.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LOOK_MS = 500 };

struct metrics_file {
	struct disk *disk;
	engine_log_fn *log;
	void *context;
	int64_t due;  /* of the next writing */
	int64_t look; /* of what has become of the last one */
	bool reading, writing, failing;

	/* While the counters are read, the thread's. */
	struct traffic traffic;
	bool known; /* they could be read */
	struct beside reader;
	atomic_bool read;
	uint32_t epoch; /* the engine's; another one has another config */
};

int metrics_file_open(
	struct metrics_file **ret_file, engine_log_fn *log, void *context, struct error *error)
{
	struct metrics_file *file = calloc(1, sizeof(*file));
	int result;

	if (!file)
		return error_no_memory(error);
	result = disk_open(&file->disk, error);
	if (result < 0) {
		free(file);
		return result;
	}
	file->log = log;
	file->context = context;
	*ret_file = file;
	return 0;
}

int64_t metrics_file_due(const struct metrics_file *file, const struct config *config)
{
	bool busy = file && (file->reading || file->writing);

	if (!file || (!config->metrics_file && !busy))
		return INT64_MAX;
	return busy && (file->look < file->due || !config->metrics_file) ? file->look : file->due;
}

int metrics_make(
	const struct view *view, const struct metrics_run *run, int64_t wall, struct text *text)
{
	struct traffic traffic = {0};
	bool known = traffic_read(view->config, TRAFFIC_KEPT_OUT, &traffic, NULL) == 0;
	int result = metrics_print(view, known ? &traffic : NULL, run, wall, text);

	traffic_clear(&traffic);
	return result;
}

static void note_result(struct metrics_file *file, int result, const struct error *error)
{
	struct event event;

	if ((result < 0) == file->failing)
		return;
	file->failing = result < 0;
	event_begin(&event, file->failing ? EVENT_ERROR : EVENT_NOTICE, "metrics");
	event_put(&event, "result", file->failing ? "failed" : "done");
	if (file->failing) {
		event_put(&event, "error", error->what);
		event_put(&event, "next",
			result == -EACCES || result == -EPERM
				? "let sipfence's user write that folder; if the config has named "
				  "it since the daemon was started, restart the daemon"
				: error->next);
	}
	if (!event.line.failed)
		file->log(file->context, &event);
	event_clear(&event);
}

static void take_results(struct metrics_file *file)
{
	struct disk_result result;

	while (disk_take_result(file->disk, &result)) {
		file->writing = false;
		note_result(file, result.result, &result.error);
	}
}

/* `text` is emptied; `result`: whether it could be made. */
static void write_file(
	struct metrics_file *file, const struct view *view, struct text *text, int result)
{
	struct error error = {0};

	if (result == 0)
		result = disk_publish(file->disk, view->config->metrics_file, text);
	text_free(text);
	if (result == 0) {
		file->writing = true;
		return;
	}
	error_set(&error, result, "see that there is memory",
		"the metrics can't be handed to the disk");
	note_result(file, result, &error);
}

static void read_counters(void *context)
{
	struct metrics_file *file = context;

	file->known = traffic_look(&file->traffic, TRAFFIC_KEPT_OUT, NULL) == 0;
	atomic_store(&file->read, true);
}

static void begin_reading(struct metrics_file *file, const struct view *view)
{
	struct text text = {0};

	if (traffic_begin(view->config, &file->traffic) < 0) {
		write_file(file, view, &text, -ENOMEM);
		return;
	}
	file->epoch = engine_epoch(view->engine);
	file->reading = true;
	atomic_store(&file->read, false);
	beside_start(&file->reader, read_counters, file);
}

static void end_reading(struct metrics_file *file)
{
	beside_wait(&file->reader);
	traffic_clear(&file->traffic);
	file->reading = false;
}

static void take_counters(struct metrics_file *file, const struct view *view)
{
	struct text text = {0};

	if (!file->reading || !atomic_load(&file->read))
		return;
	if (file->epoch != engine_epoch(view->engine))
		file->due = view->now.boot_ms; /* of a former config: once more */
	else if (view->config->metrics_file)
		write_file(file, view, &text,
			metrics_print(view, file->known ? &file->traffic : NULL, NULL,
				view->now.wall, &text));
	end_reading(file);
}

void metrics_file_tick(struct metrics_file *file, const struct view *view)
{
	if (!file || view->now.boot_ms < metrics_file_due(file, view->config))
		return;
	take_results(file);
	take_counters(file, view);
	file->look = view->now.boot_ms + LOOK_MS;
	if (!view->config->metrics_file || view->now.boot_ms < file->due)
		return;
	file->due = view->now.boot_ms + METRICS_FILE_MS;
	/* A disk that does not keep up gets no more to do. */
	if (!file->reading && !file->writing)
		begin_reading(file, view);
}

struct metrics_file *metrics_file_close(struct metrics_file *file, const struct view *view)
{
	if (!file)
		return NULL;
	if (file->reading)
		end_reading(file);
	if (view->config->metrics_file) {
		struct view last = *view;
		struct text text = {0};

		last.engine = NULL;
		write_file(file, &last, &text, metrics_make(&last, NULL, last.now.wall, &text));
	}
	disk_close(file->disk);
	free(file);
	return NULL;
}
