/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which programs may be run, and which somebody else could have put there. */
#include "check.h"

#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STRANGER = 12345, OWNER = 23456, PATH = 256 };

/* FOLDER/a/b/tell, all of it ours, in /tmp. */
struct fixture {
	char folder[64], program[PATH];
};

static const char *at(const struct fixture *fixture, const char *name)
{
	static char paths[4][PATH];
	static int next;

	next = (next + 1) % 4;
	snprintf(paths[next], PATH, "%s/%s", fixture->folder, name);
	return paths[next];
}

static void make(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	assert_int_equal(chmod(fixture->folder, 0755), 0);
	assert_int_equal(mkdir(at(fixture, "a"), 0755), 0);
	assert_int_equal(mkdir(at(fixture, "a/b"), 0755), 0);
	strcpy(fixture->program, at(fixture, "a/b/tell"));
	make(fixture->program, 0755);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = {"a/b/tell", "a/b/link", "a/b/link2", "a/b/up", "link",
		"folder-link", "a/b", "a", "shared/sub/tell", "shared/sub", "shared/link",
		"shared/tell", "shared"};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		remove(at(fixture, files[i]));
	rmdir(fixture->folder);
	free(fixture);
	return 0;
}

static void assert_good(const char *path)
{
	struct error error = {0};

	program_check(path, OWNER, &error);
	assert_string_equal(error.what, "");
	assert_int_equal(error.code, 0);
}

/* `blamed` stands in the message, and in what to do. */
static void assert_bad(const char *path, int code, const char *blamed)
{
	struct error error = {0};

	assert_int_equal(program_check(path, OWNER, &error), code);
	assert_int_equal(error.code, code);
	if (!strstr(error.what, blamed))
		fail_msg("\"%s\" does not name %s", error.what, blamed);
	assert_true(strlen(error.next) > 0);
}

static void test_what_is_ours_is_good(void **state)
{
	struct fixture *fixture = *state;

	assert_good("/bin/sh"); /* through symbolic links */
	assert_good(fixture->program);
	assert_good(at(fixture, "a/./b/../b//tell"));
	assert_int_equal(symlink("tell", at(fixture, "a/b/link")), 0);
	assert_int_equal(symlink("../b/link", at(fixture, "a/b/link2")), 0);
	assert_int_equal(symlink(at(fixture, "a"), at(fixture, "folder-link")), 0);
	assert_good(at(fixture, "a/b/link2"));
	assert_good(at(fixture, "folder-link/b/link"));
	assert_int_equal(symlink("../../../../../../../../bin/sh", at(fixture, "a/b/up")), 0);
	assert_good(at(fixture, "a/b/up"));
}

static void test_what_is_no_program(void **state)
{
	struct fixture *fixture = *state;

	assert_bad("tell", -EINVAL, "tell");
	assert_bad(at(fixture, "a/none"), -ENOENT, "a/none");
	assert_bad(at(fixture, "none/tell"), -ENOENT, "none");
	assert_bad(at(fixture, "a/b"), -EACCES, "a/b");
	assert_bad(at(fixture, "a/b/tell/more"), -ENOTDIR, "tell/more");
	assert_bad(at(fixture, "a/b/tell/.."), -ENOTDIR, "tell/..");
	assert_bad("/dev/null", -EACCES, "/dev/null");
	assert_bad("/", -EACCES, "/");
	assert_int_equal(chmod(fixture->program, 0644), 0);
	assert_bad(fixture->program, -EACCES, "executable");
	assert_int_equal(symlink("link2", at(fixture, "a/b/link")), 0);
	assert_int_equal(symlink("link", at(fixture, "a/b/link2")), 0);
	assert_bad(at(fixture, "a/b/link"), -ELOOP, "links");
}

static void test_what_others_may_write(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(chmod(fixture->program, 0757), 0);
	assert_bad(fixture->program, -EPERM, "a/b/tell may be written");
	assert_int_equal(chmod(fixture->program, 0755), 0);
	assert_int_equal(chmod(at(fixture, "a"), 0757), 0);
	assert_bad(fixture->program, -EPERM, "/a may be written");
	/* Also on the way of a link. */
	assert_int_equal(symlink(fixture->program, at(fixture, "link")), 0);
	assert_bad(at(fixture, "link"), -EPERM, "/a may be written");
	assert_int_equal(chmod(at(fixture, "a"), 0755), 0);
	assert_good(at(fixture, "link"));
}

/* Everybody may put files into such a folder, so they prove nothing; a folder can't be linked. */
static void test_shared_folders(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(mkdir(at(fixture, "shared"), 0755), 0);
	assert_int_equal(chmod(at(fixture, "shared"), 01777), 0);
	assert_int_equal(mkdir(at(fixture, "shared/sub"), 0755), 0);
	make(at(fixture, "shared/sub/tell"), 0755);
	make(at(fixture, "shared/tell"), 0755);
	assert_int_equal(symlink(fixture->program, at(fixture, "shared/link")), 0);
	assert_good(at(fixture, "shared/sub/tell"));
	assert_bad(at(fixture, "shared/tell"), -EPERM, "shared/tell");
	assert_bad(at(fixture, "shared/link"), -EPERM, "shared/link");
}

static void test_owners_and_groups(void **state)
{
	struct fixture *fixture = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(fixture->program, OWNER, OWNER), 0);
	assert_good(fixture->program);
	assert_int_equal(chown(fixture->program, STRANGER, STRANGER), 0);
	assert_bad(fixture->program, -EPERM, "user 12345");
	assert_int_equal(chown(fixture->program, 0, 0), 0);
	assert_int_equal(chown(at(fixture, "a"), STRANGER, 0), 0);
	assert_bad(fixture->program, -EPERM, "/a belongs to user 12345");
	assert_int_equal(chown(at(fixture, "a"), 0, 0), 0);
	/* A group: root's, the owner's own one, another one. */
	assert_int_equal(chmod(fixture->program, 0775), 0);
	assert_good(fixture->program);
	assert_int_equal(chown(fixture->program, OWNER, OWNER), 0);
	assert_int_equal(chmod(fixture->program, 0775), 0);
	assert_good(fixture->program);
	assert_int_equal(chown(fixture->program, 0, STRANGER), 0);
	assert_int_equal(chmod(fixture->program, 0775), 0);
	assert_bad(fixture->program, -EPERM, "a/b/tell may be written");
	assert_int_equal(chmod(fixture->program, 0755), 0);
	assert_good(fixture->program);
	/* The link itself is somebody's. */
	assert_int_equal(symlink(fixture->program, at(fixture, "link")), 0);
	assert_int_equal(lchown(at(fixture, "link"), STRANGER, STRANGER), 0);
	assert_bad(at(fixture, "link"), -EPERM, "link belongs to user 12345");
}

static void test_long_paths(void **state)
{
	static char path[9000];
	struct error error = {0};

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	assert_int_equal(program_check(path, OWNER, &error), -EINVAL);
	path[4000] = '\0';
	assert_bad(path, -ENAMETOOLONG, "too long");
}

static void test_each_refusal_says_what_to_do(void **state)
{
	static const int codes[] = {ENOENT, ENOEXEC, EACCES, ETXTBSY, E2BIG};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct error error = {0};

		assert_int_equal(program_explain("/bin/tell", -codes[i], &error), -codes[i]);
		assert_non_null(strstr(error.what, "/bin/tell"));
		assert_true(strlen(error.next) > 0);
	}
}

static void assert_found(const char *name, const char *folders, const char *path)
{
	char found[PATH_MAX] = "unchanged";
	struct error error = {0};
	int result = program_find(name, folders, found, &error);

	assert_int_equal(result, path ? 0 : -ENOENT);
	assert_string_equal(found, path ? path : "unchanged");
	assert_int_equal(error.next[0] != '\0', !path);
}

static void test_names_are_looked_up_in_folders(void **state)
{
	const struct fixture *fixture = *state;
	char folders[4 * PATH];

	snprintf(folders, sizeof(folders), "%s:%s::%s", at(fixture, "none"), at(fixture, "a"),
		at(fixture, "a/b"));
	assert_found("tell", folders, fixture->program);
	/* A folder, and what is not executable, are none. */
	assert_found("b", folders, NULL);
	assert_int_equal(chmod(fixture->program, 0644), 0);
	assert_found("tell", folders, NULL);
	assert_found("tell", "", NULL);
	/* Not looked up, nor looked at. */
	assert_found("/no/tell", folders, "/no/tell");
	assert_found("a/tell", folders, "a/tell");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_ours_is_good, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_no_program, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_others_may_write, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared_folders, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_owners_and_groups, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_names_are_looked_up_in_folders, set_up, tear_down),
		cmocka_unit_test(test_long_paths),
		cmocka_unit_test(test_each_refusal_says_what_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
