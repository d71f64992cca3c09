/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include "config_archive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char main_path[] = "/etc/sipfence.yaml", pattern[] = "d/*.yaml";
/* Bytes that look like the archive's own. */
static const char first[] = "end\nsource 1 1\nread - 3 1\n", second[] = "", third[] = "a\0b";

static struct config_source source(const char *path, const char *data, size_t length)
{
	struct config_source made = {.path = strdup(path), .data = malloc(length + 1)};

	memcpy(made.data, data, length);
	made.length = length;
	return made;
}

static int read_fake(void *context, const char *base, const char *wanted,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	struct config_source *sources = calloc(2, sizeof(*sources));

	(void)context;
	if (strcmp(wanted, "missing") == 0) {
		free(sources);
		return error_set(error, -ENOENT, "", "it is not there");
	}
	if (!base) {
		sources[0] = source(main_path, first, sizeof(first) - 1);
	} else {
		sources[0] = source("d/1.yaml", second, 0);
		sources[1] = source("d/2.yaml", third, 3);
	}
	*ret_sources = sources;
	*ret_count = base ? 2 : 1;
	return 0;
}

static void record(struct config_recorder *recorder)
{
	struct config_source *sources;
	size_t count;

	recorder->read = read_fake;
	assert_int_equal(config_record(recorder, NULL, main_path, &sources, &count, NULL), 0);
	config_sources_free(sources, count);
	assert_int_equal(
		config_record(recorder, main_path, "missing", &sources, &count, NULL), -ENOENT);
	assert_int_equal(config_record(recorder, main_path, pattern, &sources, &count, NULL), 0);
	config_sources_free(sources, count);
	config_record_end(recorder);
}

static void test_what_was_read_is_read_again(void **state)
{
	struct config_recorder recorder = {0};
	struct config_source *sources;
	struct error error = {0};
	size_t count;

	(void)state;
	record(&recorder);
	assert_int_equal(
		config_replay(&recorder.archive, NULL, main_path, &sources, &count, NULL), 0);
	assert_int_equal(count, 1);
	assert_string_equal(sources[0].path, main_path);
	assert_int_equal(sources[0].length, sizeof(first) - 1);
	assert_memory_equal(sources[0].data, first, sizeof(first) - 1);
	config_sources_free(sources, count);
	assert_int_equal(
		config_replay(&recorder.archive, main_path, pattern, &sources, &count, NULL), 0);
	assert_int_equal(count, 2);
	assert_int_equal(sources[0].length, 0);
	assert_string_equal(sources[1].path, "d/2.yaml");
	assert_int_equal(sources[1].length, 3);
	assert_memory_equal(sources[1].data, third, 3);
	config_sources_free(sources, count);
	assert_int_equal(
		config_replay(&recorder.archive, main_path, main_path, &sources, &count, &error),
		-ENOENT);
	assert_non_null(strstr(error.what, "another file"));
	text_free(&recorder.archive);
}

/* Cut anywhere, or with any byte changed: whole pieces or an error, never a byte beyond the end. */
static void test_damage(void **state)
{
	struct config_recorder recorder = {0};
	struct config_source *sources;
	size_t count, cut_results = 0;

	(void)state;
	record(&recorder);
	for (size_t cut = 0; cut < recorder.archive.length; cut++) {
		struct text exact = {0};
		int result;

		exact.data = malloc(cut + 1);
		memcpy(exact.data, recorder.archive.data, cut);
		exact.data[cut] = '\0';
		exact.length = cut;
		result = config_replay(&exact, main_path, pattern, &sources, &count, NULL);
		assert_true(result == 0 || result == -EBADMSG);
		if (result == 0)
			config_sources_free(sources, count);
		else
			cut_results++;
		free(exact.data);
	}
	assert_true(cut_results + 8 > recorder.archive.length);
	for (size_t i = 0; i < recorder.archive.length; i++) {
		char before = recorder.archive.data[i];

		for (const char *other = "9 \n\xff-"; *other; other++) {
			recorder.archive.data[i] = *other;
			if (config_replay(&recorder.archive, main_path, pattern, &sources, &count,
				    NULL) == 0)
				config_sources_free(sources, count);
		}
		recorder.archive.data[i] = before;
	}
	text_free(&recorder.archive);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_read_is_read_again),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
