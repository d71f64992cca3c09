/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk.h and beside.h without threads: each job of the disk takes its time by the world's clock,
 * one behind the other. */
#include "beside.h"
#include "disk.h"
#include "files.h"
#include "history_file.h"
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS_MOST = 256, RESULTS_MOST = 256 };

struct job {
	bool save;
	bool history, look;
	enum history_word word;
	int64_t now;
	char path[128], journal[128];
	struct text text;
	int64_t done_at;
	void *note;
};

struct disk {
	struct disk *next;
	struct job jobs[JOBS_MOST];
	size_t job_count;
	struct disk_result results[RESULTS_MOST];
	size_t result_count;
	bool torn;	/* an append has failed: the journal takes none before it is made anew */
	bool torn_said; /* once is enough */
	struct history_writer history;
};

/* Without threads, so that each run is the same: at once, or when it is done. */
void beside_start(struct beside *beside, void (*work)(void *context), void *context)
{
	struct fake_disk *fake = &world()->disk;

	*beside = (struct beside){.work = work, .context = context};
	if (world()->kernel.counters_ms == 0 || fake->beside) {
		work(context);
		return;
	}
	beside->running = true;
	fake->beside = beside;
	fake->beside_done_at = world()->boot_ms + world()->kernel.counters_ms;
}

void beside_wait(struct beside *beside)
{
	if (!beside->running)
		return;
	beside->running = false;
	if (world()->disk.beside != beside)
		return;
	world()->disk.beside = NULL;
	beside->work(beside->context);
}

int disk_open(struct disk **ret_disk, struct error *error)
{
	struct fake_disk *fake = &world()->disk;
	struct disk *disk = need(calloc(1, sizeof(*disk)));

	(void)error;
	disk->next = fake->first;
	fake->first = disk;
	fake->disks++;
	*ret_disk = disk;
	return 0;
}

static void end_job(struct disk *disk, bool done)
{
	struct fake_disk *fake = &world()->disk;
	struct job *job = &disk->jobs[0];

	if (fake->done && !job->history)
		fake->done(fake->context, job->note, done);
	text_free(&job->text);
	memmove(job, job + 1, (--disk->job_count) * sizeof(*job));
}

static void note_result(struct disk *disk, bool save, int result, const struct error *error)
{
	if (disk->result_count == RESULTS_MOST)
		abort(); /* nobody takes them */
	disk->results[disk->result_count++] =
		(struct disk_result){.save = save, .result = result, .error = *error};
}

static int do_job(struct disk *disk, const struct job *job, struct error *error)
{
	int result;

	if (!job->save && disk->torn)
		return error_set(error, -EIO, "", "the end of %s may be torn", job->path);
	if (!job->save)
		return file_append(job->path, job->text.data, job->text.length, error);
	result = file_save(job->path, job->text.data, job->text.length, error);
	if (result < 0)
		return result;
	disk->torn_said = false;
	if (!job->journal[0] || file_remove(job->journal, NULL) == 0)
		disk->torn = false;
	return 0;
}

static void record(struct disk *disk, const struct job *job)
{
	struct disk_result result = {.history = true, .look = job->look};
	const char *text = text_string(&job->text);

	if (job->look)
		result.result = history_file_look(&disk->history, job->path, job->word, job->now,
			text, job->text.length, &result.error);
	else if (disk->history.whole)
		result.result = history_file_add(
			&disk->history, job->path, job->now, text, job->text.length, &result.error);
	if (disk->result_count == RESULTS_MOST)
		abort(); /* nobody takes them */
	if (job->look || result.result < 0)
		disk->results[disk->result_count++] = result;
	end_job(disk, result.result == 0);
}

static void work(struct disk *disk)
{
	const struct job *job = &disk->jobs[0];
	struct error error = {0};
	int result;

	if (job->history) {
		record(disk, job);
		return;
	}
	result = do_job(disk, job, &error);
	if (job->save) {
		note_result(disk, true, result, &error);
	} else if (result < 0) {
		if (!disk->torn_said)
			note_result(disk, false, result, &error);
		disk->torn = disk->torn_said = true;
	}
	end_job(disk, result == 0);
}

struct disk *disk_close(struct disk *disk)
{
	struct fake_disk *fake = &world()->disk;
	struct disk **link = &fake->first;

	if (!disk)
		return NULL;
	while (disk->job_count > 0) {
		if (fake->frozen)
			end_job(disk, false);
		else
			work(disk);
	}
	while (*link != disk)
		link = &(*link)->next;
	*link = disk->next;
	fake->disks--;
	free(disk);
	return NULL;
}

static int queue_job(struct disk *disk, const struct job *wanted, const char *path,
	struct text *text, const char *journal)
{
	struct fake_disk *fake = &world()->disk;
	struct job *job = &disk->jobs[disk->job_count];
	int64_t begins = world()->boot_ms;

	if (text->failed) {
		text_free(text);
		return -ENOMEM;
	}
	if (disk->job_count == JOBS_MOST) {
		text_free(text);
		return -ENOBUFS;
	}
	if (disk->job_count > 0)
		begins = disk->jobs[disk->job_count - 1].done_at;
	*job = *wanted;
	job->text = *text;
	job->done_at = begins + fake->delay_ms;
	snprintf(job->path, sizeof(job->path), "%s", path);
	snprintf(job->journal, sizeof(job->journal), "%s", journal ? journal : "");
	*text = (struct text){0};
	if (fake->queued && !job->history)
		job->note = fake->queued(
			fake->context, job->save, text_string(&job->text), job->text.length);
	disk->job_count++;
	return 0;
}

int disk_append(struct disk *disk, const char *path, struct text *text)
{
	return queue_job(disk, &(struct job){0}, path, text, NULL);
}

int disk_save(struct disk *disk, const char *path, struct text *text, const char *journal)
{
	return queue_job(disk, &(struct job){.save = true}, path, text, journal);
}

int disk_history_look(struct disk *disk, const char *path, enum history_word word, int64_t now,
	struct text *listing)
{
	const struct job job = {.history = true, .look = true, .word = word, .now = now};

	return queue_job(disk, &job, path, listing, NULL);
}

int disk_history_add(struct disk *disk, const char *path, int64_t now, struct text *lines)
{
	return queue_job(disk, &(struct job){.history = true, .now = now}, path, lines, NULL);
}

int disk_fd(const struct disk *disk)
{
	(void)disk;
	return 1003; /* nobody polls it here */
}

bool disk_take_result(struct disk *disk, struct disk_result *ret_result)
{
	if (disk->result_count == 0)
		return false;
	*ret_result = disk->results[0];
	memmove(disk->results, disk->results + 1,
		(--disk->result_count) * sizeof(disk->results[0]));
	return true;
}

bool disk_is_busy(const struct disk *disk)
{
	return disk->job_count > 0;
}

void disk_wait(struct disk *disk)
{
	while (disk->job_count > 0)
		work(disk);
}

void fake_disk_work(void)
{
	struct fake_disk *fake = &world()->disk;
	struct beside *beside = fake->beside;

	if (beside && fake->beside_done_at <= world()->boot_ms) {
		fake->beside = NULL;
		beside->work(beside->context);
	}
	for (struct disk *disk = world()->disk.first; disk; disk = disk->next) {
		while (disk->job_count > 0 && disk->jobs[0].done_at <= world()->boot_ms)
			work(disk);
	}
}

int64_t fake_disk_next(void)
{
	int64_t next = world()->disk.beside ? world()->disk.beside_done_at : INT64_MAX;

	for (const struct disk *disk = world()->disk.first; disk; disk = disk->next) {
		if (disk->result_count > 0)
			return world()->boot_ms;
		if (disk->job_count > 0 && disk->jobs[0].done_at < next)
			next = disk->jobs[0].done_at;
	}
	return next;
}
