/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_load.h"
#include "config_archive.h"
#include "files.h"

#include <errno.h>
#include <string.h>

int config_load(
	const char *path, struct config **ret_config, struct text *archive, struct text *messages)
{
	struct config_recorder recorder = {.read = files_read_config};
	int result = config_yaml_parse(path, config_record, &recorder, ret_config, messages);

	config_record_end(&recorder);
	*archive = recorder.archive;
	return result;
}

int config_keep(const char *kept_path, const struct text *archive, struct error *error)
{
	struct text kept = {0};
	int result;

	if (archive->failed)
		return error_no_memory(error);
	result = file_load(kept_path, &kept, NULL);
	if (result != 0 || kept.length != archive->length ||
		memcmp(kept.data, archive->data, kept.length) != 0)
		result = file_save(kept_path, archive->data, archive->length, error);
	else
		file_tidy(kept_path);
	text_free(&kept);
	return result;
}

int config_load_kept(const char *path, const char *kept_path, struct config **ret_config)
{
	struct text kept = {0}, messages = {0};
	int result = file_load(kept_path, &kept, NULL);

	if (result == FILE_MISSING)
		result = -ENOENT;
	if (result == 0)
		result = config_yaml_parse(path, config_replay, &kept, ret_config, &messages);
	text_free(&kept);
	text_free(&messages);
	return result;
}
