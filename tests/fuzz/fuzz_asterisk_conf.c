/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asterisk's own configuration files, with templates and includes. */
#include "fuzz.h"

#include "asterisk_conf.h"

#include <errno.h>

struct reading {
	struct fuzz_files files;
	int left; /* files that include themselves take their time until the limit */
};

static int read_some(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	struct reading *reading = context;

	if (reading->left-- <= 0)
		return error_set(error, -ENOENT, "", "%s does not exist", pattern);
	return fuzz_read_files(&reading->files, base, pattern, ret_sources, ret_count, error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading reading = {.files = fuzz_split((const char *)data, size), .left = 32};
	struct asterisk_conf *conf = NULL;
	struct error error = {0};
	size_t settings = 0;
	int result =
		asterisk_conf_parse("/etc/asterisk/pjsip.conf", read_some, &reading, &conf, &error);

	FUZZ_CHECK(result == 0 || result == -E2BIG);
	if (result < 0) {
		FUZZ_CHECK(error.code && error.what[0]);
		return 0;
	}
	for (size_t i = 0; i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];

		FUZZ_CHECK(section->name && section->file && section->line >= 1);
		settings += section->count;
		for (size_t j = 0; j < section->count; j++) {
			const struct asterisk_setting *setting = &section->settings[j];

			FUZZ_CHECK(setting->key && setting->value && setting->file);
			FUZZ_CHECK(setting->line >= 1);
			FUZZ_CHECK(asterisk_conf_get(section, setting->key));
			asterisk_conf_is_true(setting->value);
		}
	}
	FUZZ_CHECK(settings <= ASTERISK_CONF_SETTINGS);
	asterisk_conf_free(conf);
	return 0;
}
