/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "create.h"
#include "check.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Somebody else makes the file right after it was seen not to be there. */
static bool blind;

int __real_lstat(const char *path, struct stat *status);
int __real_lstat64(const char *path, struct stat *status);
int __wrap_lstat(const char *path, struct stat *status);
int __wrap_lstat64(const char *path, struct stat *status);

int __wrap_lstat(const char *path, struct stat *status)
{
	if (!blind)
		return __real_lstat(path, status);
	blind = false;
	return -1;
}

int __wrap_lstat64(const char *path, struct stat *status)
{
	if (!blind)
		return __real_lstat64(path, status);
	blind = false;
	return -1;
}

struct place {
	char folder[32], path[64];
};

static void open_place(struct place *ret_place)
{
	strcpy(ret_place->folder, "/tmp/test-create-XXXXXX");
	assert_non_null(mkdtemp(ret_place->folder));
	snprintf(ret_place->path, sizeof(ret_place->path), "%s/file", ret_place->folder);
}

static void close_place(const struct place *place)
{
	unlink(place->path);
	/* Nothing else was left in it. */
	assert_int_equal(rmdir(place->folder), 0);
}

static void check_content(const char *path, const char *wanted)
{
	char buffer[64] = {0};
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, buffer, sizeof(buffer) - 1), strlen(wanted));
	close(fd);
	assert_string_equal(buffer, wanted);
}

static void test_it_makes_a_file_once(void **state)
{
	struct error error = {0};
	struct place place;
	struct stat status;

	(void)state;
	open_place(&place);
	assert_int_equal(create_file(place.path, "one\n", 4, CREATE_OWN_GROUP, &error), 0);
	check_content(place.path, "one\n");
	assert_int_equal(stat(place.path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	assert_int_equal(status.st_nlink, 1);
	assert_int_equal(
		create_file(place.path, "two\n", 4, CREATE_OWN_GROUP, &error), CREATE_EXISTS);
	check_content(place.path, "one\n");
	close_place(&place);
}

static void test_it_loses_no_race(void **state)
{
	struct error error = {0};
	struct place place;

	(void)state;
	open_place(&place);
	assert_int_equal(create_file(place.path, "one\n", 4, CREATE_OWN_GROUP, &error), 0);
	blind = true;
	assert_int_equal(
		create_file(place.path, "two\n", 4, CREATE_OWN_GROUP, &error), CREATE_EXISTS);
	assert_false(blind);
	check_content(place.path, "one\n");
	close_place(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_makes_a_file_once),
		cmocka_unit_test(test_it_loses_no_race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
