/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real files, renamed, replaced, emptied and taken away as those who rotate logs do it. */
#include "check.h"

#include "clock.h"
#include "log_tail.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, ROTATIONS = 200 };

struct world {
	char folder[64];
	struct log_tail *tail;
	int64_t now;	   /* of the tail */
	struct text seen;  /* bytes; "<" for each opening, "?" for each time that it is missing */
	struct error last; /* of these */
	size_t largest;
};

static const char *in(const struct world *world, const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", world->folder, name);
	return path;
}

static void add(const struct world *world, const char *name, const char *content)
{
	int fd = open(in(world, name), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
}

static void move(const struct world *world, const char *from, const char *to)
{
	assert_int_equal(rename(in(world, from), in(world, to)), 0);
}

static void take_away(const struct world *world, const char *name)
{
	assert_int_equal(remove(in(world, name)), 0);
}

static void make_folder(const struct world *world, const char *name)
{
	assert_int_equal(mkdir(in(world, name), 0755), 0);
}

static void start(struct world *world, const char *name)
{
	log_tail_close(world->tail);
	text_clear(&world->seen);
	assert_int_equal(log_tail_open(&world->tail, in(world, name), world->now, NULL), 0);
}

static void read_all(struct world *world)
{
	char buffer[10];
	size_t length = 0;

	for (;;) {
		switch (log_tail_read(
			world->tail, world->now, buffer, sizeof(buffer), &length, &world->last)) {
		case LOG_TAIL_NOTHING:
			return;
		case LOG_TAIL_BYTES:
			assert_in_range(length, 1, sizeof(buffer));
			text_write(&world->seen, buffer, length);
			break;
		case LOG_TAIL_OPENED:
			text_puts(&world->seen, "<");
			break;
		case LOG_TAIL_MISSING:
			text_puts(&world->seen, "?");
			break;
		}
	}
}

static bool is_readable(const struct world *world, int timeout)
{
	struct pollfd item = {.fd = log_tail_fd(world->tail), .events = POLLIN};

	return poll(&item, 1, timeout) > 0;
}

/* What there is since the last time; by what a loop would notice. */
static const char *news(struct world *world)
{
	static char copy[4096];

	read_all(world);
	for (int i = 0; i < 1000 && is_readable(world, 0); i++) {
		log_tail_notice(world->tail, world->now);
		read_all(world);
	}
	/* Readable again it may be at any moment: others are busy in /tmp, too. */
	snprintf(copy, sizeof(copy), "%s", text_string(&world->seen));
	text_clear(&world->seen);
	return copy;
}

/* And when time has passed, but only if the tail says that it is due. */
static const char *news_after(struct world *world, int64_t milliseconds)
{
	world->now += milliseconds;
	if (log_tail_due(world->tail) <= world->now)
		log_tail_notice(world->tail, world->now);
	return news(world);
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	alarm(100); /* what must not wait, and does */
	strcpy(world->folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	make_folder(world, "log");
	world->now = 1000;
	*state = world;
	return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	return remove(path);
}

static int tear_down(void **state)
{
	struct world *world = *state;

	log_tail_close(world->tail);
	nftw(world->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	text_free(&world->seen);
	free(world);
	alarm(0);
	return 0;
}

static void test_from_its_end(void **state)
{
	struct world *world = *state;

	add(world, "log/security", "of before\n");
	start(world, "log/security");
	assert_string_equal(news(world), "<");
	assert_int_equal(log_tail_due(world->tail), INT64_MAX);
	add(world, "log/security", "one\nand a longer line\n");
	add(world, "log/other", "nobody's");
	assert_string_equal(news(world), "one\nand a longer line\n");
	add(world, "log/security", "a part");
	assert_string_equal(news(world), "a part");
	add(world, "log/security", " of one\n");
	assert_string_equal(news(world), " of one\n");
	assert_string_equal(news_after(world, 3600 * 1000), "");
}

/* The writer has the old file open for some time after it was renamed. */
static void test_renamed_and_made_anew(void **state)
{
	struct world *world = *state;

	add(world, "log/security", "of before\n");
	start(world, "log/security");
	add(world, "log/security", "one\n");
	move(world, "log/security", "log/security.1");
	add(world, "log/security.1", "two\n");
	add(world, "log/security", "");
	assert_string_equal(news(world), "<one\ntwo\n");
	add(world, "log/security.1", "three\n");
	assert_string_equal(news(world), "three\n");
	add(world, "log/security.1", "four\n");
	add(world, "log/security", "five\n");
	assert_string_equal(news(world), "four\n<five\n");
	/* Nobody's any more. */
	add(world, "log/security.1", "x\n");
	assert_string_equal(news(world), "");
	take_away(world, "log/security.1");
	add(world, "log/security", "six\n");
	assert_string_equal(news_after(world, 60 * 1000), "six\n");
	assert_int_equal(log_tail_due(world->tail), INT64_MAX);
}

/* mv new security */
static void test_replaced(void **state)
{
	struct world *world = *state;

	add(world, "log/security", "");
	start(world, "log/security");
	add(world, "log/security", "one\n");
	add(world, "log/new", "two\n");
	move(world, "log/new", "log/security");
	assert_string_equal(news(world), "<one\n<two\n");
}

static void test_successors_wait_in_their_order(void **state)
{
	struct world *world = *state;
	char name[64], line[64];

	add(world, "log/security", "");
	start(world, "log/security");
	for (int i = 0; i < LOG_TAIL_FILES; i++) {
		snprintf(line, sizeof(line), "%d\n", i);
		add(world, "log/security", line);
		log_tail_notice(world->tail, world->now);
		snprintf(name, sizeof(name), "log/security.%d", i);
		move(world, "log/security", name);
	}
	add(world, "log/security", "last\n");
	log_tail_notice(world->tail, world->now);
	/* There was no place for it; it is found again all the same. */
	assert_string_equal(news(world), "<0\n<1\n<2\n<3\n<4\n<5\n<6\n<7\n<last\n");
}

/* Week after week of logs in which nothing is. */
static void test_empty_ones_take_no_place(void **state)
{
	struct world *world = *state;
	char name[64];

	add(world, "log/security", "");
	start(world, "log/security");
	for (int i = 0; i < 3 * LOG_TAIL_FILES; i++) {
		assert_string_equal(news(world), i == 0 ? "<" : i < LOG_TAIL_FILES ? "" : "<");
		snprintf(name, sizeof(name), "log/security.%d", i);
		move(world, "log/security", name);
		add(world, "log/security", "");
	}
	add(world, name, "of the last\n");
	assert_non_null(strstr(news(world), ""));
	add(world, "log/security", "of now\n");
	assert_non_null(strstr(news(world), "<of now\n"));
}

static void test_emptied_in_place(void **state)
{
	struct world *world = *state;

	add(world, "log/security", "of before\n");
	start(world, "log/security");
	add(world, "log/security", "one\n");
	assert_string_equal(news(world), "<one\n");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(truncate(in(world, "log/security"), 0), 0);
		assert_string_equal(news(world), "<");
		add(world, "log/security", "two\n");
		assert_string_equal(news(world), "two\n");
	}
	assert_int_equal(truncate(in(world, "log/security"), 0), 0);
	add(world, "log/security", "3\n");
	assert_string_equal(news(world), "<3\n");
}

static void test_deleted_and_made_again(void **state)
{
	struct world *world = *state;

	add(world, "log/security", "");
	start(world, "log/security");
	add(world, "log/security", "one\n");
	take_away(world, "log/security");
	assert_string_equal(news(world), "<one\n");
	assert_int_equal(log_tail_due(world->tail), world->now + LOG_TAIL_MISSING_MS);
	/* Soon enough: that is no news. */
	add(world, "log/security", "two\n");
	assert_string_equal(news_after(world, LOG_TAIL_MISSING_MS - 1), "<two\n");
	assert_int_equal(log_tail_due(world->tail), INT64_MAX);
	take_away(world, "log/security");
	assert_string_equal(news(world), "");
	assert_string_equal(news_after(world, LOG_TAIL_MISSING_MS), "?");
	assert_int_equal(world->last.code, -ENOENT);
	assert_non_null(strstr(world->last.what, "log/security cannot be followed: No such file"));
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "");
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "");
	/* That it is back is said also when nothing is in it. */
	add(world, "log/security", "");
	assert_string_equal(news(world), "<");
	add(world, "log/security", "three\n");
	assert_string_equal(news(world), "three\n");
	/* The same one taken away, and put back. */
	move(world, "log/security", "log/elsewhere");
	assert_string_equal(news(world), "");
	add(world, "log/elsewhere", "four\n");
	assert_string_equal(news_after(world, LOG_TAIL_MISSING_MS), "four\n?");
	move(world, "log/elsewhere", "log/security");
	add(world, "log/security", "five\n");
	assert_string_equal(news(world), "five\n<");
	assert_int_equal(log_tail_due(world->tail), INT64_MAX);
}

static void test_folder_that_appears(void **state)
{
	struct world *world = *state;

	start(world, "var/asterisk/security");
	assert_string_equal(news(world), "?");
	make_folder(world, "var");
	assert_string_equal(news(world), "");
	make_folder(world, "var/asterisk");
	add(world, "var/asterisk/security", "one\n");
	assert_string_equal(news(world), "<one\n");
	/* And another one in its place. */
	make_folder(world, "new");
	add(world, "new/security", "two\n");
	move(world, "var/asterisk", "var/old");
	move(world, "new", "var/asterisk");
	assert_string_equal(news(world), "<two\n");
	add(world, "var/asterisk/security", "three\n");
	assert_string_equal(news(world), "three\n");
}

/* As another user than root, whom no mode keeps out. */
static void test_readable_later(void **state)
{
	struct world *world = *state;
	bool root = geteuid() == 0;

	if (root)
		assert_int_equal(chown(in(world, "."), 65534, 65534), 0);
	add(world, "log/security", "of before\n");
	assert_int_equal(chmod(in(world, "log/security"), 0), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	start(world, "log/security");
	assert_string_equal(news(world), "?");
	assert_int_equal(world->last.code, -EACCES);
	assert_int_equal(log_tail_due(world->tail), world->now + LOG_TAIL_RETRY_MS);
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "");
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(in(world, "log/security"), 0644), 0);
	add(world, "log/security", "one\n");
	if (root)
		assert_int_equal(seteuid(65534), 0);
	/* What it held at the start is not read: it was followed from its end. */
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "<one\n");
	if (root)
		assert_int_equal(seteuid(0), 0);
	add(world, "log/security", "two\n");
	assert_string_equal(news(world), "two\n");
	assert_int_equal(log_tail_due(world->tail), INT64_MAX);
}

/* A folder that others may go through, but not look into, can't be watched. */
static void test_folder_that_cannot_be_watched(void **state)
{
	struct world *world = *state;
	bool root = geteuid() == 0;

	if (root)
		assert_int_equal(chown(in(world, "."), 65534, 65534), 0);
	add(world, "log/security", "of before\n");
	assert_int_equal(chmod(in(world, "log"), 0311), 0);
	if (root) {
		assert_int_equal(chown(in(world, "log"), 65534, 65534), 0);
		assert_int_equal(seteuid(65534), 0);
	}
	start(world, "log/security");
	assert_string_equal(news(world), "<");
	assert_int_equal(log_tail_due(world->tail), world->now + LOG_TAIL_BLIND_MS);
	if (root)
		assert_int_equal(seteuid(0), 0);
	add(world, "log/security", "one\n");
	assert_string_equal(news(world), "one\n");
	move(world, "log/security", "log/security.1");
	add(world, "log/security", "two\n");
	if (root)
		assert_int_equal(seteuid(65534), 0);
	assert_string_equal(news_after(world, LOG_TAIL_BLIND_MS), "<two\n");
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(in(world, "log"), 0755), 0);
}

static void swap_link(const struct world *world, const char *target, const char *name)
{
	assert_int_equal(symlink(target, in(world, "new-link")), 0);
	move(world, "new-link", name);
}

static void test_links(void **state)
{
	struct world *world = *state;

	make_folder(world, "a");
	make_folder(world, "b");
	add(world, "a/file", "of before\n");
	add(world, "b/file", "other\n");
	swap_link(world, "a", "x");
	swap_link(world, "../x/file", "log/security");
	start(world, "log/security");
	add(world, "a/file", "one\n");
	assert_string_equal(news(world), "<one\n");
	swap_link(world, "b", "x");
	assert_string_equal(news(world), "<other\n");
	add(world, "b/file", "two\n");
	assert_string_equal(news(world), "two\n");
	swap_link(world, "../nowhere", "log/security");
	assert_string_equal(news(world), "");
	assert_string_equal(news_after(world, LOG_TAIL_MISSING_MS), "?");
	add(world, "nowhere", "three\n");
	assert_string_equal(news(world), "<three\n");
	swap_link(world, "security", "log/security"); /* a loop */
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "");
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "?");
	assert_int_equal(world->last.code, -ELOOP);
}

static void test_what_is_no_file(void **state)
{
	struct world *world = *state;
	pid_t writer;

	assert_int_equal(mkfifo(in(world, "log/security"), 0644), 0);
	writer = fork();
	if (writer == 0) {
		open(in(world, "log/security"), O_WRONLY | O_CLOEXEC); /* waits for a reader */
		_exit(0);
	}
	usleep(50 * 1000);
	start(world, "log/security");
	assert_string_equal(news(world), "?");
	assert_non_null(strstr(world->last.what, "it is not a file"));
	/* It was not opened: nobody who writes is made to believe that it is read. */
	usleep(50 * 1000);
	assert_int_equal(waitpid(writer, NULL, WNOHANG), 0);
	kill(writer, SIGKILL);
	assert_int_equal(waitpid(writer, NULL, 0), writer);
	take_away(world, "log/security");
	assert_string_equal(news(world), "");
	make_folder(world, "log/security");
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "?");
	take_away(world, "log/security");
	swap_link(world, "/dev/zero", "log/security");
	assert_string_equal(news_after(world, LOG_TAIL_RETRY_MS), "");
	take_away(world, "log/security");
	add(world, "log/security", "one\n");
	assert_string_equal(news(world), "<one\n");
}

static unsigned count_watches(const struct world *world)
{
	char path[64], line[512];
	unsigned count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", log_tail_fd(world->tail));
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		count += strncmp(line, "inotify wd", 10) == 0;
	fclose(file);
	return count;
}

static int next_descriptor(void)
{
	int fd = dup(2);

	close(fd);
	return fd;
}

static void test_nothing_is_left_open(void **state)
{
	struct world *world = *state;
	unsigned watches;
	int fd;

	add(world, "log/security", "");
	start(world, "log/security");
	news(world);
	watches = count_watches(world);
	fd = next_descriptor();
	for (int i = 0; i < 50; i++) {
		move(world, "log/security", "log/security.1");
		add(world, "log/security", "one\n");
		assert_string_equal(news(world), "<one\n");
	}
	assert_int_equal(count_watches(world), watches);
	assert_int_equal(next_descriptor(), fd);
}

/* More events than the kernel keeps: what was lost may have been ours. */
static void test_overflow(void **state)
{
	struct world *world = *state;
	FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	unsigned limit = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%u", &limit), 1);
	fclose(file);
	add(world, "log/security", "");
	start(world, "log/security");
	for (unsigned i = 0; i < limit / 2 + 10; i++) {
		make_folder(world, "log/x");
		take_away(world, "log/x");
	}
	move(world, "log/security", "log/security.1");
	add(world, "log/security", "one\n");
	assert_string_equal(news(world), "<<one\n");
}

/* In a user namespace of its own, in which there are no watches at all; its exit code. */
static int follow_blindly(struct world *world)
{
	int limit;

	if (unshare(CLONE_NEWUSER) < 0)
		return 77;
	limit = open("/proc/sys/user/max_inotify_watches", O_WRONLY | O_CLOEXEC);
	if (limit < 0 || write(limit, "0", 1) != 1)
		return 77;
	start(world, "log/security");
	if (strcmp(news(world), "<") != 0 ||
		log_tail_due(world->tail) != world->now + LOG_TAIL_BLIND_MS)
		return 1;
	for (int i = 0; i < 3; i++) {
		add(world, "log/security", "one\n");
		move(world, "log/security", "log/security.1");
		add(world, "log/security", "two\n");
		if (strcmp(news_after(world, LOG_TAIL_BLIND_MS), "one\n<two\n") != 0)
			return 2;
	}
	return 0;
}

static void test_without_watches(void **state)
{
	struct world *world = *state;
	int status;
	pid_t pid;

	add(world, "log/security", "of before\n");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(follow_blindly(world));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- A writer who never stops --- */

/* What the two tell each other. */
struct ledger {
	volatile unsigned opened; /* by the reader */
	volatile bool done;
	volatile unsigned lines;
};

/* Each rotation in another way; the next one when the reader has seen the one before, as it does
 * within milliseconds. */
static void write_and_rotate(const struct world *world, struct ledger *ledger)
{
	const char *path = in(world, "log/security");
	FILE *log = fopen(path, "a"), *next;
	struct dice dice = dice_new("writer");
	unsigned line = 0;
	char name[PATH_MAX];

	for (unsigned i = 0; i < ROTATIONS; i++) {
		while (ledger->opened <= i) {
			fprintf(log, "%u\n", line++);
			fflush(log);
			usleep(dice_roll(&dice, 300));
		}
		snprintf(name, sizeof(name), "%s.%u", path, i % 3);
		if (dice_roll(&dice, 4) > 0)
			rename(path, name);
		else
			unlink(path);
		if (dice_roll(&dice, 2))
			usleep(dice_roll(&dice, 2000));
		next = fopen(path, "a");
		for (unsigned n = dice_roll(&dice, 50); n > 0; n--)
			fprintf(log, "%u\n", line++);
		fclose(log);
		log = next;
	}
	for (unsigned n = 0; n < 100; n++)
		fprintf(log, "%u\n", line++);
	fclose(log);
	ledger->lines = line;
	ledger->done = true;
}

static void test_rotations_lose_nothing(void **state)
{
	struct world *world = *state;
	struct ledger *ledger = mmap(
		NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int64_t last = clock_boot_ms() + PATIENCE_MS * 3;
	unsigned line = 0;
	char *at;
	pid_t pid;
	int status;

	assert_true(ledger != MAP_FAILED);
	add(world, "log/security", "");
	start(world, "log/security");
	pid = fork();
	if (pid == 0) {
		write_and_rotate(world, ledger);
		_exit(0);
	}
	assert_true(pid > 0);
	for (bool done = false; !done;) {
		size_t before = world->seen.length;

		assert_true(clock_boot_ms() < last);
		done = ledger->done;
		is_readable(world, done ? 0 : 1000);
		world->now = clock_boot_ms();
		log_tail_notice(world->tail, world->now);
		read_all(world);
		for (size_t i = before; i < world->seen.length; i++)
			ledger->opened += world->seen.data[i] == '<';
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* Each number once, in their order; no opening is missing, none stands within a line. */
	for (at = world->seen.data; *at;) {
		if (*at == '<') {
			at++;
			continue;
		}
		assert_int_equal(strtoul(at, &at, 10), line);
		assert_int_equal(*at, '\n');
		line++;
		at++;
	}
	assert_int_equal(line, ledger->lines);
	assert_int_equal(ledger->opened, ROTATIONS + 1);
	assert_true(line > ROTATIONS);
	munmap(ledger, sizeof(*ledger));
}

static void test_bad_path(void **state)
{
	struct log_tail *tail = NULL;
	struct error error = {0};

	(void)state;
	assert_int_equal(log_tail_open(&tail, "security", 0, &error), -EINVAL);
	assert_non_null(strstr(error.what, "security"));
	assert_null(tail);
}

int main(void)
{
#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_from_its_end),
		WITH_WORLD(test_renamed_and_made_anew),
		WITH_WORLD(test_replaced),
		WITH_WORLD(test_successors_wait_in_their_order),
		WITH_WORLD(test_empty_ones_take_no_place),
		WITH_WORLD(test_emptied_in_place),
		WITH_WORLD(test_deleted_and_made_again),
		WITH_WORLD(test_folder_that_appears),
		WITH_WORLD(test_readable_later),
		WITH_WORLD(test_folder_that_cannot_be_watched),
		WITH_WORLD(test_links),
		WITH_WORLD(test_what_is_no_file),
		WITH_WORLD(test_nothing_is_left_open),
		WITH_WORLD(test_overflow),
		WITH_WORLD(test_without_watches),
		WITH_WORLD(test_rotations_lose_nothing),
		cmocka_unit_test(test_bad_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
