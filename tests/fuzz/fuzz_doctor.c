/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What doctor and init read of this machine: Asterisk's files (the first byte says as which of
 * them), a script for nft, resolv.conf. Whatever stands there, the first config that is made of it
 * is a good one.
 */
#include "fuzz.h"

#include "doctor.h"
#include "first_config.h"

#include <errno.h>

static int read_text(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const struct text *text = context;

	if (base)
		return error_set(error, -ENOENT, "", "%s does not exist", pattern);
	*ret_sources = calloc(1, sizeof(**ret_sources));
	FUZZ_CHECK(*ret_sources);
	**ret_sources = (struct config_source){
		.path = strdup(pattern),
		.data = fuzz_copy(text_string(text), text->length),
		.length = text->length,
	};
	*ret_count = 1;
	return 0;
}

static void check_first_config(const struct asterisk_inventory *inventory)
{
	static const struct interface_subnet subnets[] = {
		{"eth0", {{FAMILY_IPV4, {192, 168, 7}}, 24}}, {"eth1", {{FAMILY_IPV4, {10}}, 8}}};
	static const struct first_config_origin origin = {"sip.conf", "/opt/a 'b': #c", NULL};
	struct text text = {0}, messages = {0};
	struct first_config_counts counts;
	struct config *config = NULL;

	first_config_print(inventory, &origin, subnets, 2, &text, &counts);
	FUZZ_CHECK(!text.failed && counts.subnets == 2);
	FUZZ_CHECK(config_yaml_parse("first.yaml", read_text, &text, &config, &messages) == 0);
	FUZZ_CHECK(config->monitor);
	config_free(config);
	text_free(&messages);
	text_free(&text);
}

static void check_findings(struct findings *findings)
{
	FUZZ_CHECK(!findings->failed);
	for (size_t i = 0; i < findings->count; i++)
		FUZZ_CHECK(findings->list[i].what[0] && findings->list[i].why[0]);
	findings_clear(findings);
}

static void check_asterisk(enum asterisk_file file, const struct text *input)
{
	const struct asterisk_conf *confs[ASTERISK_FILE_COUNT] = {0};
	struct owner owner = {.id = "21", .local = true};
	const struct config config = {.path = "c", .owners = &owner, .owner_count = 1};
	struct asterisk_inventory inventory;
	struct asterisk_conf *conf = NULL;
	struct findings findings = {0};
	struct error error = {0};

	if (asterisk_conf_parse("sip.conf", read_text, (void *)input, &conf, &error) < 0)
		return;
	confs[file] = conf;
	FUZZ_CHECK(asterisk_inventory_make(confs, &inventory) == 0);
	check_first_config(&inventory);
	doctor_asterisk(&config, &inventory, &findings);
	doctor_asterisk_log(conf, "logger.conf", &findings);
	check_findings(&findings);
	asterisk_inventory_clear(&inventory);
	asterisk_conf_free(conf);
}

static void take(void *context, const char *pattern)
{
	*(size_t *)context += strlen(pattern);
}

static void check_others(const struct text *input)
{
	char *copy = fuzz_copy(text_string(input), input->length);
	struct doctor_server servers[4];
	struct findings findings = {0};
	size_t odd, included = 0;

	doctor_nft_script("f", copy, input->length, "sipfence", false, &findings);
	(void)doctor_runs_sync(copy, input->length);
	doctor_nft_includes(copy, input->length, take, &included);
	FUZZ_CHECK(included <= input->length);
	FUZZ_CHECK(doctor_resolv_conf(copy, input->length, servers, 4, &odd) <= 4);
	check_findings(&findings);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text input = {0};

	if (size == 0)
		return 0;
	text_write(&input, data + 1, size - 1);
	FUZZ_CHECK(!input.failed);
	check_others(&input);
	check_asterisk((enum asterisk_file)(data[0] % ASTERISK_ACL_CONF), &input);
	text_free(&input);
	return 0;
}
