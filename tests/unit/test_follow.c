/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A real folder. inotify has its events at once, so nothing here waits: after each change changed()
 * says whether the follower has noticed.
 */
#include "check.h"

#include "follow.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned opened; /* files, by open() under both of its names */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	opened++;
	return __real_open(path, flags, 0600);
}

int __wrap_open64(const char *path, int flags, ...)
{
	return __wrap_open(path, flags);
}

struct world {
	char folder[64];
	struct follow *follow;
};

static const char *in(const struct world *world, const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", world->folder, name);
	return path;
}

static void put(const struct world *world, const char *name, const char *content)
{
	FILE *file = fopen(in(world, name), "w");

	assert_non_null(file);
	fputs(content, file);
	assert_int_equal(fclose(file), 0);
}

static void move(const struct world *world, const char *from, const char *to)
{
	assert_int_equal(rename(in(world, from), in(world, to)), 0);
}

static void make_folder(const struct world *world, const char *name)
{
	assert_int_equal(mkdir(in(world, name), 0755), 0);
}

static void make_link(const struct world *world, const char *target, const char *name)
{
	assert_int_equal(symlink(target, in(world, name)), 0);
}

/* A new link in the place of an old one, as systemd and ln -sf do it. */
static void swap_link(const struct world *world, const char *target, const char *name)
{
	make_link(world, target, "new-link");
	move(world, "new-link", name);
}

static void take_away(const struct world *world, const char *name)
{
	assert_int_equal(remove(in(world, name)), 0);
}

static void start(struct world *world, const char *name)
{
	follow_close(world->follow);
	assert_int_equal(follow_open(&world->follow, in(world, name), NULL), 0);
}

static bool is_readable(const struct world *world)
{
	struct pollfd item = {.fd = follow_fd(world->follow), .events = POLLIN};

	return poll(&item, 1, 0) > 0;
}

/* As a loop would: as often as it is readable. Others may use /tmp meanwhile, which is watched,
 * too. */
static bool changed(struct world *world)
{
	bool result = false;
	int rounds = 0;

	for (; rounds < 1000 && is_readable(world); rounds++)
		result |= follow_read(world->follow);
	assert_in_range(rounds, 0, 999);
	return result;
}

static unsigned count_watches(const struct world *world)
{
	char path[64], line[512];
	unsigned count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", follow_fd(world->follow));
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		count += strncmp(line, "inotify wd", 10) == 0;
	fclose(file);
	return count;
}

static int set_up(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	alarm(60); /* what must not wait, and does */
	strcpy(world->folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	make_folder(world, "etc");
	put(world, "etc/resolv.conf", "one");
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

	follow_close(world->follow);
	nftw(world->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(world);
	return 0;
}

static void test_in_place(void **state)
{
	struct world *world = *state;

	start(world, "etc/resolv.conf");
	assert_false(changed(world));
	put(world, "etc/resolv.conf", "two");
	assert_true(changed(world));
	assert_false(changed(world));
	put(world, "etc/resolv.conf", "two");
	assert_false(changed(world));
	put(world, "etc/resolv.conf", "");
	assert_false(changed(world));
	put(world, "etc/resolv.conf", "twO");
	put(world, "etc/resolv.conf", "three");
	assert_true(changed(world));
	assert_int_equal(truncate(in(world, "etc/resolv.conf"), 2), 0);
	put(world, "etc/resolv.conf", "three");
	assert_false(changed(world));
}

static void test_rename(void **state)
{
	struct world *world = *state;

	start(world, "etc/resolv.conf");
	for (int i = 0; i < 3; i++) {
		put(world, "etc/resolv.conf.tmp", i % 2 ? "even" : "odd");
		assert_false(changed(world));
		move(world, "etc/resolv.conf.tmp", "etc/resolv.conf");
		assert_true(changed(world));
		assert_false(changed(world));
	}
	put(world, "etc/resolv.conf.tmp", "odd");
	move(world, "etc/resolv.conf.tmp", "etc/resolv.conf");
	assert_false(changed(world));
	/* The new file is the one that is watched. */
	put(world, "etc/resolv.conf", "in place");
	assert_true(changed(world));
}

static void test_missing(void **state)
{
	struct world *world = *state;

	take_away(world, "etc/resolv.conf");
	start(world, "etc/resolv.conf");
	assert_false(changed(world));
	put(world, "etc/resolv.conf", "one");
	assert_true(changed(world));
	take_away(world, "etc/resolv.conf");
	assert_false(changed(world));
	put(world, "etc/resolv.conf", "one");
	assert_false(changed(world));
	/* Away and back, unseen: the same. */
	take_away(world, "etc/resolv.conf");
	put(world, "etc/resolv.conf", "one");
	assert_false(changed(world));
	move(world, "etc/resolv.conf", "etc/resolv.conf.bak");
	assert_false(changed(world));
	move(world, "etc/resolv.conf.bak", "etc/resolv.conf");
	assert_false(changed(world));
}

static void test_no_file(void **state)
{
	struct world *world = *state;

	start(world, "etc/resolv.conf");
	take_away(world, "etc/resolv.conf");
	make_folder(world, "etc/resolv.conf");
	assert_false(changed(world));
	take_away(world, "etc/resolv.conf");
	assert_false(changed(world));
	assert_int_equal(mkfifo(in(world, "etc/resolv.conf"), 0600), 0);
	assert_false(changed(world)); /* and does not wait for a writer */
	swap_link(world, "/dev/zero", "etc/resolv.conf");
	assert_false(changed(world));
	take_away(world, "etc/resolv.conf");
	put(world, "etc/resolv.conf", "two");
	assert_true(changed(world));
}

/* Like systemd-resolved's: a relative link to a folder that is there or not. */
static void test_link(void **state)
{
	struct world *world = *state;

	take_away(world, "etc/resolv.conf");
	make_link(world, "../run/resolve/stub.conf", "etc/resolv.conf");
	start(world, "etc/resolv.conf");
	make_folder(world, "run");
	assert_false(changed(world));
	make_folder(world, "run/resolve");
	put(world, "run/resolve/stub.conf", "stub");
	assert_true(changed(world));
	put(world, "run/resolve/stub.conf.tmp", "stub 2");
	assert_false(changed(world));
	move(world, "run/resolve/stub.conf.tmp", "run/resolve/stub.conf");
	assert_true(changed(world));
	put(world, "run/resolve/stub.conf", "stub 3");
	assert_true(changed(world));
	/* The service ends, and its folder with it; and comes back. */
	take_away(world, "run/resolve/stub.conf");
	take_away(world, "run/resolve");
	assert_false(changed(world));
	make_folder(world, "run/resolve");
	assert_false(changed(world));
	put(world, "run/resolve/stub.conf", "stub 4");
	assert_true(changed(world));
}

static void test_link_swapped(void **state)
{
	struct world *world = *state;

	make_folder(world, "a");
	make_folder(world, "b");
	put(world, "a/file", "a");
	put(world, "b/file", "b");
	take_away(world, "etc/resolv.conf");
	make_link(world, in(world, "a/file"), "etc/resolv.conf");
	start(world, "etc/resolv.conf");
	put(world, "a/file", "a2");
	assert_true(changed(world));
	take_away(world, "etc/resolv.conf");
	assert_false(changed(world));
	swap_link(world, "../b/file", "etc/resolv.conf");
	assert_true(changed(world));
	put(world, "a/file", "aa"); /* nobody's any more */
	assert_false(changed(world));
	put(world, "b/file", "bb");
	assert_true(changed(world));
	take_away(world, "etc/resolv.conf");
	make_link(world, "../a/file", "etc/resolv.conf");
	assert_true(changed(world));
	put(world, "a/file", "aaa");
	assert_true(changed(world));
	/* A file in the place of the link, as when a manager is removed. */
	put(world, "plain", "plain");
	move(world, "plain", "etc/resolv.conf");
	assert_true(changed(world));
	put(world, "etc/resolv.conf", "plain 2");
	assert_true(changed(world));
}

/* Links to links, and a link in the middle of a way. */
static void test_link_chain(void **state)
{
	struct world *world = *state;

	make_folder(world, "x1");
	make_folder(world, "x2");
	put(world, "x1/file", "1");
	put(world, "x2/file", "2");
	make_link(world, "x1", "x");
	make_link(world, "./../etc//../x/file", "etc/second");
	take_away(world, "etc/resolv.conf");
	make_link(world, "second", "etc/resolv.conf");
	start(world, "etc/resolv.conf");
	put(world, "x1/file", "1b");
	assert_true(changed(world));
	swap_link(world, "x2", "x");
	assert_true(changed(world));
	put(world, "x2/file", "2b");
	assert_true(changed(world));
	swap_link(world, "../x1/file", "etc/second");
	assert_true(changed(world));
	put(world, "x1/file", "1c");
	assert_true(changed(world));
	put(world, "x2/file", "2c");
	assert_false(changed(world));
	make_folder(world, "x1/deep");
	make_link(world, "../../x2/file", "x1/deep/link");
	swap_link(world, "../x1/deep/link", "etc/second");
	assert_true(changed(world));
	put(world, "x2/file", "2d");
	assert_true(changed(world));
}

static void test_folder_replaced(void **state)
{
	struct world *world = *state;

	start(world, "etc/resolv.conf");
	make_folder(world, "etc2");
	put(world, "etc2/resolv.conf", "other");
	move(world, "etc", "old");
	assert_false(changed(world));
	move(world, "etc2", "etc");
	assert_true(changed(world));
	put(world, "old/resolv.conf", "nobody's");
	assert_false(changed(world));
	put(world, "etc/resolv.conf", "other 2");
	assert_true(changed(world));
	/* One step higher, and both in one go. */
	make_folder(world, "top");
	move(world, "etc", "top/etc");
	assert_false(changed(world));
	start(world, "top/etc/resolv.conf");
	make_folder(world, "top2");
	make_folder(world, "top2/etc");
	put(world, "top2/etc/resolv.conf", "2");
	move(world, "top", "top.old");
	move(world, "top2", "top");
	assert_true(changed(world));
	put(world, "top/etc/resolv.conf", "3");
	assert_true(changed(world));
}

static void test_link_loop(void **state)
{
	struct world *world = *state;

	take_away(world, "etc/resolv.conf");
	make_link(world, "b", "etc/resolv.conf");
	make_link(world, "resolv.conf", "etc/b");
	start(world, "etc/resolv.conf");
	assert_false(changed(world));
	put(world, "etc/new", "way out");
	move(world, "etc/new", "etc/b");
	assert_true(changed(world));
}

/* Others may do in these folders what they like. */
static void test_flood(void **state)
{
	struct world *world = *state;

	start(world, "etc/resolv.conf");
	changed(world);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 500; i++) {
			put(world, "etc/other", "x");
			move(world, "etc/other", "etc/resolv.con");
			take_away(world, "etc/resolv.con");
		}
		opened = 0;
		assert_false(changed(world));
		assert_int_equal(opened, 0);
	}
	/* One of us among them: the file is read, once for all of them. */
	for (int i = 0; i < 100; i++) {
		put(world, "etc/other", "x");
		move(world, "etc/other", "etc/resolv.conf");
		put(world, "etc/resolv.conf", "y");
	}
	opened = 0;
	assert_true(follow_read(world->follow));
	assert_int_equal(opened, 1);
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
	start(world, "etc/resolv.conf");
	for (unsigned i = 0; i < limit / 2 + 10; i++) {
		make_folder(world, "etc/x");
		take_away(world, "etc/x");
	}
	put(world, "etc/new", "two");
	move(world, "etc/new", "etc/resolv.conf");
	assert_true(changed(world));
	put(world, "etc/resolv.conf", "three");
	assert_true(changed(world));
}

static void test_watches_do_not_grow(void **state)
{
	struct world *world = *state;
	unsigned before;

	make_folder(world, "a");
	put(world, "a/file", "a");
	make_folder(world, "b");
	put(world, "b/file", "b");
	swap_link(world, "../a/file", "etc/resolv.conf");
	start(world, "etc/resolv.conf");
	before = count_watches(world);
	for (int i = 0; i < 100; i++) {
		swap_link(world, i % 2 ? "../a/file" : "../b/file", "etc/resolv.conf");
		assert_true(changed(world));
		take_away(world, i % 2 ? "a/file" : "b/file");
		put(world, i % 2 ? "a/file" : "b/file", i % 2 ? "a" : "b");
		assert_false(changed(world));
	}
	assert_int_equal(count_watches(world), before);
}

static void test_large(void **state)
{
	struct world *world = *state;
	char *content = malloc(FOLLOW_SIZE_MAX + 2);

	memset(content, 'x', FOLLOW_SIZE_MAX + 1);
	content[FOLLOW_SIZE_MAX + 1] = '\0';
	put(world, "etc/resolv.conf", content);
	start(world, "etc/resolv.conf");
	content[FOLLOW_SIZE_MAX - 1] = 'y';
	put(world, "etc/resolv.conf", content);
	assert_true(changed(world));
	content[FOLLOW_SIZE_MAX] = 'y';
	put(world, "etc/resolv.conf", content);
	assert_false(changed(world));
	free(content);
}

static void test_bad_path(void **state)
{
	struct follow *follow = NULL;
	struct error error = {0};

	(void)state;
	assert_int_equal(follow_open(&follow, "resolv.conf", &error), -EINVAL);
	assert_non_null(strstr(error.what, "resolv.conf"));
	assert_null(follow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_place, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rename, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_link, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_link_swapped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_link_chain, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_folder_replaced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_link_loop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_flood, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_overflow, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_watches_do_not_grow, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_large, set_up, tear_down),
		cmocka_unit_test(test_bad_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
