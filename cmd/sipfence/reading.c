/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reading.h"
#include "config_yaml.h"
#include "files.h"

#include <stdlib.h>
#include <string.h>

/* A config_read_fn. */
static int read_and_note(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	struct reading *reading = context;
	struct config_source *sources = NULL;
	size_t count = 0;
	int result = files_read_config(NULL, base, pattern, &sources, &count, error);
	char **grown;

	if (result < 0)
		return result;
	grown = reallocarray(reading->paths, reading->count + count + 1, sizeof(*grown));
	if (grown)
		reading->paths = grown;
	for (size_t i = 0; grown && i < count; i++) {
		char *path = strdup(sources[i].path);

		if (!path)
			grown = NULL;
		else
			reading->paths[reading->count++] = path;
	}
	if (!grown) {
		config_sources_free(sources, count);
		return error_no_memory(error);
	}
	*ret_sources = sources;
	*ret_count = count;
	return 0;
}

void reading_clear(struct reading *reading)
{
	for (size_t i = 0; i < reading->count; i++)
		free(reading->paths[i]);
	free(reading->paths);
}

int reading_load(
	const struct invocation *invocation, struct config **ret_config, struct reading *reading)
{
	struct text messages = {0};
	int result = config_yaml_parse(
		invocation->config_path, read_and_note, reading, ret_config, &messages);
	int code = say_config(invocation, result, &messages);

	text_free(&messages);
	return code;
}
