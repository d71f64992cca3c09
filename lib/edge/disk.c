/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disk.h"

#include "files.h"
#include "history_file.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Paths and error texts; nothing of any size is on the stack. */
enum { STACK_SIZE = 256 * 1024 };

/* The list is the caller's, the rest the thread's. */
struct journal {
	struct journal *next;
	char *path;
	bool torn;
	bool reported;
	struct error error; /* while it is torn: why */
};

enum job_kind { JOB_APPEND, JOB_SAVE, JOB_PUBLISH, JOB_LOOK, JOB_LINES };

struct job {
	struct job *next;
	enum job_kind kind;
	enum history_word word;	 /* of a look */
	int64_t now;		 /* of the history's */
	char *path;		 /* NULL: an append */
	struct journal *journal; /* may be NULL for a save */
	struct text text;
	size_t cost;
	struct disk_result result;
};

struct job_list {
	struct job *first, **end;
};

struct disk {
	pthread_mutex_t mutex; /* never held while a file is touched */
	pthread_cond_t work, idle;
	pthread_t thread;
	bool started;
	int fd;
	struct journal *journals;
	struct history_writer history; /* the thread's */

	/* Under the mutex. */
	struct job_list queue, results;
	size_t jobs; /* queued or being done */
	size_t cost; /* of those */
	bool ending;
};

static void list_clear(struct job_list *list)
{
	*list = (struct job_list){.end = &list->first};
}

static void list_add(struct job_list *list, struct job *job)
{
	job->next = NULL;
	*list->end = job;
	list->end = &job->next;
}

static struct job *list_take(struct job_list *list)
{
	struct job *job = list->first;

	if (!job)
		return NULL;
	list->first = job->next;
	if (!list->first)
		list->end = &list->first;
	return job;
}

static struct job *job_free(struct job *job)
{
	if (!job)
		return NULL;
	text_free(&job->text);
	free(job->path);
	free(job);
	return NULL;
}

/* --- The thread --- */

/* Whether there is something to report. */
static bool append(struct job *job)
{
	struct journal *journal = job->journal;

	if (!journal->torn)
		journal->torn = file_append(journal->path, job->text.data, job->text.length,
					&journal->error) < 0;
	if (!journal->torn || journal->reported)
		return false;
	journal->reported = true;
	job->result.result = journal->error.code;
	job->result.error = journal->error;
	return true;
}

static void save(struct job *job)
{
	struct journal *journal = job->journal;
	struct error error = {0};

	job->result.save = true;
	job->result.result =
		file_save(job->path, job->text.data, job->text.length, &job->result.error);
	if (job->result.result < 0 || !journal)
		return;
	if (file_remove(journal->path, &error) == 0)
		journal->torn = false;
	if (!journal->torn)
		error = (struct error){0}; /* it is only older than what was saved */
	journal->error = error;
	journal->reported = false;
}

static void publish(struct job *job)
{
	job->result.result = file_publish(
		job->path, text_string(&job->text), job->text.length, &job->result.error);
}

/* Whether there is something to report. */
static bool record(struct history_writer *writer, struct job *job)
{
	bool was_whole = writer->whole;
	struct disk_result *result = &job->result;

	result->history = true;
	result->look = job->kind == JOB_LOOK;
	if (result->look)
		result->result = history_file_look(writer, job->path, job->word, job->now,
			text_string(&job->text), job->text.length, &result->error);
	else if (was_whole)
		result->result = history_file_add(writer, job->path, job->now,
			text_string(&job->text), job->text.length, &result->error);
	return result->look || result->result < 0;
}

static void finish(struct disk *disk, struct job *job, bool reports)
{
	size_t cost = job->cost;

	/* A large text goes back to the system, which takes its time as well. */
	text_free(&job->text);
#ifdef __GLIBC__
	if (job->kind == JOB_LOOK)
		malloc_trim(0);
#endif
	if (!reports)
		job = job_free(job);
	pthread_mutex_lock(&disk->mutex);
	if (job && !disk->results.first)
		(void)!write(disk->fd, &(uint64_t){1}, sizeof(uint64_t));
	if (job)
		list_add(&disk->results, job);
	disk->cost -= cost;
	if (--disk->jobs == 0)
		pthread_cond_signal(&disk->idle);
	pthread_mutex_unlock(&disk->mutex);
}

/* NULL: there will be no more. */
static struct job *next_job(struct disk *disk)
{
	struct job *job;

	pthread_mutex_lock(&disk->mutex);
	while (!(job = list_take(&disk->queue)) && !disk->ending)
		pthread_cond_wait(&disk->work, &disk->mutex);
	pthread_mutex_unlock(&disk->mutex);
	return job;
}

static void *run(void *context)
{
	struct disk *disk = context;
	struct job *job;

	/* By itself: others would have to write to /proc. */
	pthread_setname_np(pthread_self(), "sipfence-disk");
	while ((job = next_job(disk))) {
		bool reports = true;

		switch (job->kind) {
		case JOB_APPEND:
			reports = append(job);
			break;
		case JOB_SAVE:
			save(job);
			break;
		case JOB_PUBLISH:
			publish(job);
			break;
		case JOB_LOOK:
		case JOB_LINES:
			reports = record(&disk->history, job);
			break;
		}
		finish(disk, job, reports);
	}
	return NULL;
}

static int start(struct disk *disk)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int number;

	if (disk->started)
		return 0;
	number = pthread_attr_init(&attributes);
	if (number)
		return -number;
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	number = pthread_create(&disk->thread, &attributes, run, disk);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (number)
		return -number;
	disk->started = true;
	return 0;
}

/* --- The caller --- */

int disk_open(struct disk **ret_disk, struct error *error)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	int number;

	if (!disk)
		return error_no_memory(error);
	disk->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (disk->fd < 0) {
		number = errno;
		free(disk);
		return error_set(error, -number, "see how many files may be open (ulimit -n)",
			"cannot make an eventfd: %s", strerror(number));
	}
	/* With default attributes these cannot fail. */
	pthread_mutex_init(&disk->mutex, NULL);
	pthread_cond_init(&disk->work, NULL);
	pthread_cond_init(&disk->idle, NULL);
	list_clear(&disk->queue);
	list_clear(&disk->results);
	*ret_disk = disk;
	return 0;
}

struct disk *disk_close(struct disk *disk)
{
	struct job *job;

	if (!disk)
		return NULL;
	if (disk->started) {
		pthread_mutex_lock(&disk->mutex);
		disk->ending = true;
		pthread_cond_signal(&disk->work);
		pthread_mutex_unlock(&disk->mutex);
		pthread_join(disk->thread, NULL);
	}
	while ((job = list_take(&disk->results)))
		job_free(job);
	for (struct journal *next, *journal = disk->journals; journal; journal = next) {
		next = journal->next;
		free(journal->path);
		free(journal);
	}
	pthread_cond_destroy(&disk->idle);
	pthread_cond_destroy(&disk->work);
	pthread_mutex_destroy(&disk->mutex);
	close(disk->fd);
	free(disk);
	return NULL;
}

static struct journal *find_journal(struct disk *disk, const char *path)
{
	struct journal *journal = disk->journals;

	while (journal && strcmp(journal->path, path) != 0)
		journal = journal->next;
	if (journal)
		return journal;
	journal = calloc(1, sizeof(*journal));
	if (!journal)
		return NULL;
	journal->path = strdup(path);
	if (!journal->path) {
		free(journal);
		return NULL;
	}
	journal->next = disk->journals;
	disk->journals = journal;
	return journal;
}

static int enqueue(struct disk *disk, struct job *job)
{
	int result = start(disk);

	if (result < 0)
		return result;
	pthread_mutex_lock(&disk->mutex);
	if (disk->jobs > 0 && disk->cost + job->cost > DISK_QUEUE_MOST) {
		result = -ENOBUFS;
	} else {
		list_add(&disk->queue, job);
		disk->jobs++;
		disk->cost += job->cost;
		pthread_cond_signal(&disk->work);
	}
	pthread_mutex_unlock(&disk->mutex);
	return result;
}

/* `wanted` says what is to be done; the text is taken over in any case. */
static int add_job(struct disk *disk, const struct job *wanted, const char *path,
	const char *journal, struct text *text)
{
	struct job *job = malloc(sizeof(*job));
	int result = -ENOMEM;

	if (!job) {
		text_free(text);
		return -ENOMEM;
	}
	*job = *wanted;
	job->text = *text;
	*text = (struct text){0};
	job->cost = job->text.capacity + sizeof(*job);
	if (job->text.failed || (path && !(job->path = strdup(path))) ||
		(journal && !(job->journal = find_journal(disk, journal))))
		goto out;
	result = enqueue(disk, job);
out:
	if (result < 0)
		job_free(job);
	return result;
}

int disk_append(struct disk *disk, const char *path, struct text *text)
{
	return add_job(disk, &(struct job){.kind = JOB_APPEND}, NULL, path, text);
}

int disk_save(struct disk *disk, const char *path, struct text *text, const char *journal)
{
	return add_job(disk, &(struct job){.kind = JOB_SAVE}, path, journal, text);
}

int disk_publish(struct disk *disk, const char *path, struct text *text)
{
	return add_job(disk, &(struct job){.kind = JOB_PUBLISH}, path, NULL, text);
}

int disk_history_look(struct disk *disk, const char *path, enum history_word word, int64_t now,
	struct text *listing)
{
	const struct job job = {.kind = JOB_LOOK, .word = word, .now = now};

	return add_job(disk, &job, path, NULL, listing);
}

int disk_history_add(struct disk *disk, const char *path, int64_t now, struct text *lines)
{
	return add_job(disk, &(struct job){.kind = JOB_LINES, .now = now}, path, NULL, lines);
}

int disk_fd(const struct disk *disk)
{
	return disk->fd;
}

bool disk_take_result(struct disk *disk, struct disk_result *ret_result)
{
	struct job *job;

	pthread_mutex_lock(&disk->mutex);
	job = list_take(&disk->results);
	if (job && !disk->results.first)
		(void)!read(disk->fd, &(uint64_t){0}, sizeof(uint64_t));
	pthread_mutex_unlock(&disk->mutex);
	if (!job)
		return false;
	*ret_result = job->result;
	job_free(job);
	return true;
}

bool disk_is_busy(const struct disk *disk)
{
	/* Locking changes the mutex, but nothing that the caller sees. */
	pthread_mutex_t *mutex = (pthread_mutex_t *)&disk->mutex;
	bool busy;

	pthread_mutex_lock(mutex);
	busy = disk->jobs > 0;
	pthread_mutex_unlock(mutex);
	return busy;
}

void disk_wait(struct disk *disk)
{
	pthread_mutex_lock(&disk->mutex);
	while (disk->jobs > 0)
		pthread_cond_wait(&disk->idle, &disk->mutex);
	pthread_mutex_unlock(&disk->mutex);
}
