/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The copy of a config that a daemon keeps for the next boot. */
#include "fuzz.h"

#include "config_archive.h"

#include <errno.h>

static const char main_path[] = "/etc/sipfence/sipfence.yaml";

/* What the archive gives, recorded again, gives the same. */
static void check_again(
	const struct text *archive, const struct config_source *sources, size_t count)
{
	struct config_recorder recorder = {
		.read = config_replay, .context = (void *)(uintptr_t)archive};
	struct config_source *first = NULL, *second = NULL;
	struct error error = {0};
	size_t firsts = 0, seconds = 0;

	FUZZ_CHECK(config_record(&recorder, NULL, main_path, &first, &firsts, &error) == 0);
	config_record_end(&recorder);
	FUZZ_CHECK(!recorder.archive.failed);
	FUZZ_CHECK(
		config_replay(&recorder.archive, NULL, main_path, &second, &seconds, &error) == 0);
	FUZZ_CHECK(firsts == count && seconds == count);
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK(strcmp(sources[i].path, second[i].path) == 0);
		FUZZ_CHECK(sources[i].length == second[i].length);
		FUZZ_CHECK(memcmp(sources[i].data, second[i].data, second[i].length) == 0);
	}
	config_sources_free(first, firsts);
	config_sources_free(second, seconds);
	text_free(&recorder.archive);
}

static void check_sources(const struct text *archive)
{
	struct config_source *sources = NULL;
	struct error error = {0};
	size_t count = 0, total = 0;
	int result = config_replay(
		(void *)(uintptr_t)archive, NULL, main_path, &sources, &count, &error);

	FUZZ_CHECK(result == 0 || result == -EBADMSG || result == -ENOENT);
	if (result < 0) {
		FUZZ_CHECK(error.code == result && error.what[0]);
		return;
	}
	for (size_t i = 0; i < count; i++)
		total += strlen(sources[i].path) + sources[i].length;
	FUZZ_CHECK(total <= archive->length);
	check_again(archive, sources, count);
	config_sources_free(sources, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text archive = {.data = fuzz_copy(data, size), .length = size, .capacity = size};
	struct text messages = {0};
	struct config *config = NULL;
	int result;

	if (size > 0)
		check_sources(&archive);
	result = config_yaml_parse(main_path, config_replay, &archive, &config, &messages);
	FUZZ_CHECK(result == 0 || result == -EINVAL || result == -EBADMSG || result == -ENOENT);
	FUZZ_CHECK(fuzz_is_printable(text_string(&messages), messages.length, "\n"));
	FUZZ_CHECK(result == 0 || messages.length > 0);
	if (result == 0)
		fuzz_check_config(config);
	config_free(config);
	text_free(&archive);
	text_free(&messages);
	return 0;
}
