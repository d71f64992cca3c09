/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A config with what it includes, through the real parser, from memory. */
#include "fuzz.h"

#include "config_archive.h"
#include "config_yaml.h"
#include "roster.h"

#include <errno.h>

static const char main_path[] = "/etc/sipfence/sipfence.yaml";

enum { NOW = 1700000000 };

/* Each is three lines: what it is, the config's own line (which may say anything), a caret. */
static void check_warnings(const char *messages)
{
	unsigned part = 0;

	for (const char *line = messages; *line; line = strchr(line, '\n') + 1, part++) {
		/* "12 more errors and warnings are not shown" */
		if (part % 3 == 0 && line[0] == '/')
			FUZZ_CHECK(memmem(line, strcspn(line, "\n"), ": warning: ", 11));
	}
}

static void check_messages(const struct text *messages, int result)
{
	/* Names are quoted, lines are shown escaped: nothing reaches a terminal as it is. */
	FUZZ_CHECK(fuzz_is_printable(text_string(messages), messages->length, "\n"));
	if (result < 0)
		FUZZ_CHECK(strstr(text_string(messages), ": error: "));
	else
		check_warnings(text_string(messages));
}

/* Every name answers, each with another number of addresses. */
static void answer_all(struct roster *roster)
{
	for (size_t i = 0; i < roster->host_count; i++) {
		struct host *host = &roster->hosts[i];
		struct addr addrs[2] = {
			{.family = FAMILY_IPV4, .bytes = {198, 51, 100, (uint8_t)(i * 5)}},
			{.family = FAMILY_IPV6,
				.bytes = {0x20, 0x01, 0x0d,
					0xb8, [8] = (uint8_t)(i % 3), [15] = (uint8_t)i}},
		};

		for (int family = 0; family < FAMILY_COUNT; family++) {
			struct answer answer = {.kind = ANSWER_ADDRESSES,
				.ttl = 60,
				.count = 1,
				.addrs = &addrs[family]};

			if ((i & 3) != (size_t)family)
				FUZZ_CHECK(
					host_take(host, (enum family)family, &answer, 0, NOW) >= 0);
		}
	}
}

static void print_script(const struct config *config, struct text *script)
{
	struct roster *roster = NULL;

	FUZZ_CHECK(roster_build(config, NULL, &roster) == 0);
	answer_all(roster);
	fuzz_check_ruleset(config, roster, NOW, script);
	roster_free(roster);
}

/* The archive of a config is that config. */
static void check_archive(struct config_recorder *recorder, int result, const struct text *messages,
	const struct text *script)
{
	struct text again = {0}, script_again = {0};
	struct config *config = NULL;

	config_record_end(recorder);
	FUZZ_CHECK(!recorder->archive.failed);
	FUZZ_CHECK(config_yaml_parse(main_path, config_replay, &recorder->archive, &config,
			   &again) == result);
	FUZZ_CHECK(fuzz_same_text(messages, &again));
	print_script(config, &script_again);
	FUZZ_CHECK(fuzz_same_text(script, &script_again));
	config_free(config);
	text_free(&again);
	text_free(&script_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_files files = fuzz_split((const char *)data, size);
	struct config_recorder recorder = {.read = fuzz_read_files, .context = &files};
	struct text messages = {0}, script = {0};
	struct config *config = NULL;
	int result = config_yaml_parse(main_path, config_record, &recorder, &config, &messages);

	FUZZ_CHECK(result == 0 || result == -EINVAL);
	check_messages(&messages, result);
	if (result == 0) {
		fuzz_check_config(config);
		print_script(config, &script);
		check_archive(&recorder, result, &messages, &script);
	}
	config_free(config);
	text_free(&recorder.archive);
	text_free(&messages);
	text_free(&script);
	return 0;
}
