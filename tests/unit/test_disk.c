/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real files in a folder of their own. How long a disk takes, and a process that may have no more
 * threads, are the test's doing (--wrap). */
#include "check.h"

#include "disk.h"
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* The disk as file_save() finds it. Set only while no job is queued. */
static struct {
	bool shut;    /* waits for a byte in the pipe */
	bool discard; /* writes nothing */
	unsigned slow_ms;
	int pipe[2];
	sigset_t blocked; /* in the thread that wrote last */
} gate;
static bool no_threads;

int __real_file_save(const char *path, const void *data, size_t length, struct error *error);
int __wrap_file_save(const char *path, const void *data, size_t length, struct error *error);
int __real_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
	void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
	void *(*run)(void *), void *context);

int __wrap_file_save(const char *path, const void *data, size_t length, struct error *error)
{
	char byte;

	pthread_sigmask(SIG_BLOCK, NULL, &gate.blocked);
	if (gate.shut && read(gate.pipe[0], &byte, 1) != 1)
		abort();
	if (gate.slow_ms)
		usleep(gate.slow_ms * 1000);
	return gate.discard ? 0 : __real_file_save(path, data, length, error);
}

int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
	void *(*run)(void *), void *context)
{
	if (no_threads)
		return EAGAIN;
	return __real_pthread_create(ret_thread, attributes, run, context);
}

static void open_gate(void)
{
	assert_int_equal(write(gate.pipe[1], "", 1), 1);
}

/* The folder is the working directory. A test that would wait for ever ends by SIGALRM. */
static int set_up(void **state)
{
	static char folder[32];

	strcpy(folder, "/tmp/test_disk.XXXXXX");
	memset(&gate, 0, sizeof(gate));
	if (!mkdtemp(folder) || chdir(folder) < 0 || pipe(gate.pipe) < 0)
		return -1;
	*state = folder;
	alarm(60);
	return 0;
}

/* That nothing else was left there is a part of the test. */
static int tear_down(void **state)
{
	static const char *const names[] = {"state", "journal", "other"};

	alarm(0);
	close(gate.pipe[0]);
	close(gate.pipe[1]);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(names[i]);
	return chdir("/") < 0 || rmdir(*state) < 0 ? -1 : 0;
}

static struct disk *new_disk(void)
{
	struct disk *disk = NULL;

	assert_int_equal(disk_open(&disk, NULL), 0);
	return disk;
}

static struct text text_of(const char *string)
{
	struct text text = {0};

	text_puts(&text, string);
	return text;
}

static void append(struct disk *disk, const char *path, const char *string)
{
	struct text text = text_of(string);

	assert_int_equal(disk_append(disk, path, &text), 0);
	assert_null(text.data);
	assert_int_equal(text.length, 0);
}

static void save(struct disk *disk, const char *path, const char *string, const char *journal)
{
	struct text text = text_of(string);

	assert_int_equal(disk_save(disk, path, &text, journal), 0);
	assert_null(text.data);
	assert_int_equal(text.length, 0);
}

/* What the file holds; NULL: there is none. */
static void check_file(const char *path, const char *expected)
{
	struct text text = {0};
	int result = file_load(path, &text, NULL);

	if (expected) {
		assert_int_equal(result, 0);
		assert_string_equal(text_string(&text), expected);
	} else {
		assert_int_equal(result, FILE_MISSING);
	}
	text_free(&text);
}

static void expect(struct disk *disk, bool is_save, int number, const char *what)
{
	struct disk_result result = {0};

	assert_true(disk_take_result(disk, &result));
	assert_int_equal(result.save, is_save);
	assert_int_equal(result.result, number);
	assert_int_equal(result.error.code, number);
	if (what)
		assert_non_null(strstr(result.error.what, what));
	else
		assert_string_equal(result.error.what, "");
}

static void expect_nothing(struct disk *disk)
{
	struct disk_result result;

	assert_false(disk_take_result(disk, &result));
}

static bool readable(const struct disk *disk, int wait_ms)
{
	struct pollfd fd = {.fd = disk_fd(disk), .events = POLLIN};

	return poll(&fd, 1, wait_ms) == 1;
}

/* Ours alone: a sanitizer may have some as well. */
static unsigned count_threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		char path[300], name[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && strcmp(name, "sipfence-disk\n") == 0)
			count++;
		fclose(file);
	}
	closedir(folder);
	return count;
}

/* It gives itself its name, by which it is known here. */
static void expect_thread(void)
{
	for (int i = 0; i < 5000 && count_threads() == 0; i++)
		usleep(1000);
	assert_int_equal(count_threads(), 1);
}

static void test_no_thread_without_a_job(void **state)
{
	struct disk *disk = new_disk();

	(void)state;
	assert_false(disk_is_busy(disk));
	disk_wait(disk);
	expect_nothing(disk);
	assert_int_equal(count_threads(), 0);
	append(disk, "journal", "a");
	expect_thread();
	append(disk, "journal", "b");
	disk_wait(disk);
	expect_thread();
	assert_null(disk_close(disk));
	/* A joined thread may be seen for a moment longer. */
	for (int i = 0; i < 5000 && count_threads() > 0; i++)
		usleep(1000);
	assert_int_equal(count_threads(), 0);

	disk = new_disk();
	assert_null(disk_close(disk));
	assert_null(disk_close(NULL));
}

static void test_no_more_threads(void **state)
{
	struct disk *disk = new_disk();
	struct text text = text_of("lost");

	(void)state;
	no_threads = true;
	assert_int_equal(disk_append(disk, "journal", &text), -EAGAIN);
	no_threads = false;
	assert_null(text.data);
	assert_false(disk_is_busy(disk));
	append(disk, "journal", "kept");
	disk_wait(disk);
	check_file("journal", "kept");
	disk_close(disk);
}

static void test_order(void **state)
{
	struct disk *disk = new_disk();
	struct text expected = {0};

	(void)state;
	append(disk, "journal", "before ");
	append(disk, "other", "other ");
	save(disk, "state", "first", "journal");
	save(disk, "state", "second", NULL);
	for (unsigned i = 0; i < 1000; i++) {
		char number[16];

		snprintf(number, sizeof(number), "%u ", i);
		append(disk, "journal", number);
		text_puts(&expected, number);
	}
	disk_wait(disk);
	assert_false(disk_is_busy(disk));
	check_file("state", "second");
	check_file("journal", expected.data);
	check_file("other", "other ");
	expect(disk, true, 0, NULL);
	expect(disk, true, 0, NULL);
	expect_nothing(disk);
	disk_close(disk);
	text_free(&expected);
}

static void test_failed_save_keeps_the_journal(void **state)
{
	struct disk *disk = new_disk();

	(void)state;
	append(disk, "other", "a file");
	append(disk, "journal", "known");
	save(disk, "other/state", "all", "journal");
	append(disk, "journal", " more");
	disk_wait(disk);
	expect(disk, true, -ENOTDIR, "other/state");
	expect_nothing(disk);
	check_file("journal", "known more");

	save(disk, "state", "all", NULL);
	disk_wait(disk);
	check_file("journal", "known more");
	save(disk, "state", "all", "journal");
	disk_wait(disk);
	check_file("journal", NULL);
	disk_close(disk);
}

/* The thread may write files of this size at most. */
static void wait_with_limit(struct disk *disk, rlim_t size, const char *string)
{
	struct rlimit before, limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	append(disk, "journal", string);
	disk_wait(disk);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

static void test_torn_journal(void **state)
{
	struct disk *disk = new_disk();

	(void)state;
	append(disk, "journal", "good,");
	wait_with_limit(disk, 7, "torn,");
	check_file("journal", "good,to");
	append(disk, "journal", "dropped,");
	append(disk, "journal", "dropped,");
	append(disk, "other", "another file");
	save(disk, "missing/state", "all", "journal");
	append(disk, "journal", "dropped,");
	save(disk, "state", "all", NULL);
	append(disk, "journal", "dropped,");
	disk_wait(disk);
	check_file("journal", "good,to");
	check_file("other", "another file");
	expect(disk, false, -EFBIG, "cannot add to journal");
	expect(disk, true, -ENOENT, "missing/state");
	expect(disk, true, 0, NULL);
	expect_nothing(disk);

	save(disk, "state", "all", "journal");
	append(disk, "journal", "good again,");
	disk_wait(disk);
	check_file("journal", "good again,");
	expect(disk, true, 0, NULL);
	expect_nothing(disk);

	wait_with_limit(disk, 12, "torn again,");
	expect(disk, false, -EFBIG, "cannot add to journal");
	expect_nothing(disk);
	disk_close(disk);
}

static void test_journal_that_stays(void **state)
{
	struct disk *disk = new_disk();

	(void)state;
	assert_int_equal(mkdir("journal", 0700), 0);
	/* Nothing is torn: that it stays does no harm. */
	save(disk, "state", "all", "journal");
	append(disk, "journal", "a");
	disk_wait(disk);
	expect(disk, true, 0, NULL);
	expect(disk, false, -EISDIR, "cannot add to journal");
	save(disk, "state", "all of it", "journal");
	append(disk, "journal", "b");
	append(disk, "journal", "c");
	disk_wait(disk);
	check_file("state", "all of it");
	expect(disk, true, 0, NULL);
	expect(disk, false, -EISDIR, "cannot remove journal");
	expect_nothing(disk);

	assert_int_equal(rmdir("journal"), 0);
	append(disk, "journal", "d");
	save(disk, "state", "all of it", "journal");
	append(disk, "journal", "e");
	disk_wait(disk);
	check_file("journal", "e");
	expect(disk, true, 0, NULL);
	expect_nothing(disk);
	disk_close(disk);
}

static void test_results_come_through_the_descriptor(void **state)
{
	struct disk *disk = new_disk();

	(void)state;
	append(disk, "journal", "a");
	disk_wait(disk);
	assert_false(readable(disk, 0));
	save(disk, "state", "1", "journal");
	assert_true(readable(disk, 30000));
	save(disk, "state", "2", "journal");
	disk_wait(disk);
	expect(disk, true, 0, NULL);
	assert_true(readable(disk, 0));
	expect(disk, true, 0, NULL);
	assert_false(readable(disk, 0));
	expect_nothing(disk);
	save(disk, "missing/state", "3", "journal");
	assert_true(readable(disk, 30000));
	expect(disk, true, -ENOENT, "missing/state");
	assert_false(readable(disk, 0));
	disk_close(disk);
}

/* While the thread hangs in a save, everything here has to return. */
static void test_slow_disk_holds_up_nobody(void **state)
{
	struct disk *disk = new_disk();

	(void)state;
	gate.shut = true;
	save(disk, "state", "1", NULL);
	for (unsigned i = 0; i < 100; i++)
		append(disk, "journal", "x");
	save(disk, "state", "2", "journal");
	append(disk, "journal", "y");
	assert_true(disk_is_busy(disk));
	assert_false(readable(disk, 100));
	expect_nothing(disk);
	check_file("journal", NULL);

	open_gate();
	assert_true(readable(disk, 30000));
	expect(disk, true, 0, NULL);
	assert_true(disk_is_busy(disk));
	open_gate();
	disk_wait(disk);
	assert_false(disk_is_busy(disk));
	expect(disk, true, 0, NULL);
	check_file("journal", "y");
	disk_close(disk);
}

static void large(struct text *text, size_t length)
{
	*text = (struct text){.data = calloc(1, length), .length = 1, .capacity = length};
	assert_non_null(text->data);
}

static void test_queue_has_an_end(void **state)
{
	const size_t mega = 1024 * 1024;
	struct disk *disk = new_disk();
	unsigned queued = 0;
	struct text text;
	struct stat status;
	int result;

	(void)state;
	gate.shut = true;
	save(disk, "state", "1", NULL);
	for (;;) {
		large(&text, mega);
		result = disk_append(disk, "journal", &text);
		assert_null(text.data);
		if (result < 0)
			break;
		queued++;
		assert_in_range(queued, 1, DISK_QUEUE_MOST / mega);
	}
	assert_int_equal(result, -ENOBUFS);
	assert_int_equal(queued, DISK_QUEUE_MOST / mega - 1);
	large(&text, mega);
	assert_int_equal(disk_save(disk, "state", &text, "journal"), -ENOBUFS);
	assert_null(text.data);
	append(disk, "journal", "z");

	open_gate();
	disk_wait(disk);
	expect(disk, true, 0, NULL);
	expect_nothing(disk);
	assert_int_equal(stat("journal", &status), 0);
	assert_int_equal(status.st_size, queued + 1);

	/* There is room again, */
	save(disk, "state", "1", NULL);
	large(&text, mega);
	assert_int_equal(disk_append(disk, "journal", &text), 0);
	open_gate();
	disk_wait(disk);
	expect(disk, true, 0, NULL);

	/* also for one of any size, but for nothing beside that. */
	gate.discard = true;
	large(&text, DISK_QUEUE_MOST + mega);
	assert_int_equal(disk_save(disk, "state", &text, "journal"), 0);
	text = text_of("a");
	assert_int_equal(disk_append(disk, "journal", &text), -ENOBUFS);
	assert_null(text.data);
	open_gate();
	disk_wait(disk);
	append(disk, "journal", "b");
	disk_close(disk);
	check_file("journal", "b");
}

static void test_many_small_jobs_have_an_end(void **state)
{
	struct disk *disk = new_disk();
	struct text text = {0};
	unsigned queued = 0;

	(void)state;
	gate.shut = true;
	save(disk, "state", "1", NULL);
	/* The jobs themselves need memory, also without any text. */
	while (disk_append(disk, "journal", &text) == 0 && queued < 1000000)
		queued++;
	assert_in_range(queued, 10000, 999999);
	open_gate();
	disk_close(disk);
}

static void test_close_does_what_is_queued(void **state)
{
	struct disk *disk = new_disk();

	(void)state;
	gate.slow_ms = 200;
	save(disk, "state", "1", NULL);
	append(disk, "journal", "a");
	save(disk, "state", "2", "journal");
	append(disk, "journal", "b");
	assert_true(disk_is_busy(disk));
	assert_null(disk_close(disk));
	check_file("state", "2");
	check_file("journal", "b");
}

static void test_half_a_text_is_none(void **state)
{
	struct disk *disk = new_disk();
	struct text text = text_of("half");

	(void)state;
	save(disk, "state", "whole", NULL);
	append(disk, "journal", "whole");
	text.failed = true;
	assert_int_equal(disk_append(disk, "journal", &text), -ENOMEM);
	assert_null(text.data);
	assert_false(text.failed);
	text = text_of("half");
	text.failed = true;
	assert_int_equal(disk_save(disk, "state", &text, "journal"), -ENOMEM);
	assert_null(text.data);
	disk_wait(disk);
	expect(disk, true, 0, NULL);
	expect_nothing(disk);
	check_file("state", "whole");
	check_file("journal", "whole");
	disk_close(disk);
}

static void test_signals_stay_with_the_caller(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCHLD, SIGXFSZ};
	struct disk *disk = new_disk();
	sigset_t mine;

	(void)state;
	save(disk, "state", "1", NULL);
	disk_wait(disk);
	pthread_sigmask(SIG_BLOCK, NULL, &mine);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		assert_int_equal(sigismember(&gate.blocked, signals[i]), 1);
		assert_int_equal(sigismember(&mine, signals[i]), 0);
	}
	disk_close(disk);
}

static unsigned count_open_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void test_nothing_is_open_between_jobs(void **state)
{
	unsigned before = count_open_files();
	struct disk *disk = new_disk();

	(void)state;
	append(disk, "journal", "a");
	save(disk, "state", "1", NULL);
	append(disk, "journal", "b");
	disk_wait(disk);
	assert_int_equal(count_open_files(), before + 1);
	disk_close(disk);
	assert_int_equal(count_open_files(), before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_thread_without_a_job),
		TEST(test_no_more_threads),
		TEST(test_order),
		TEST(test_failed_save_keeps_the_journal),
		TEST(test_torn_journal),
		TEST(test_journal_that_stays),
		TEST(test_results_come_through_the_descriptor),
		TEST(test_slow_disk_holds_up_nobody),
		TEST(test_queue_has_an_end),
		TEST(test_many_small_jobs_have_an_end),
		TEST(test_close_does_what_is_queued),
		TEST(test_half_a_text_is_none),
		TEST(test_signals_stay_with_the_caller),
		TEST(test_nothing_is_open_between_jobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
