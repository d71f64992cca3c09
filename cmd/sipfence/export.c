/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "acl.h"
#include "command.h"
#include "freeswitch_acl.h"
#include "kamailio_acl.h"
#include "offline.h"
#include "replace.h"

#include <stdio.h>
#include <string.h>

static int each_list(const struct offline *offline,
	void (*print)(const char *, uint32_t, const struct acl *, void *), void *context)
{
	const struct config *config = offline->config;
	struct acl acl = {0};
	int result = 0;

	for (uint32_t i = 0; i < config->owner_count && result == 0; i++) {
		if (config->owners[i].kind != OWNER_EXTENSION)
			break; /* extensions stand in front of peers */
		result = acl_of(config, offline->cycle.roster, i, offline->cycle.now, &acl);
		if (result == 0)
			print(config->owners[i].id, i, &acl, context);
	}
	acl_clear(&acl);
	return result;
}

/* --- Kamailio --- */

struct kamailio_file {
	struct text *text;
	size_t subnets;
};

static void put_kamailio(
	const char *extension, uint32_t number, const struct acl *acl, void *context)
{
	struct kamailio_file *file = context;

	kamailio_acl_print(extension, number, acl, file->text);
	file->subnets += kamailio_acl_subnets(acl);
}

static int print_kamailio(
	const struct invocation *invocation, const struct offline *offline, struct text *text)
{
	struct kamailio_file file = {.text = text};
	int result;

	kamailio_acl_print_head(offline->config->path, text);
	result = each_list(offline, put_kamailio, &file);
	if (result == 0 && file.subnets > KAMAILIO_SUBNETS)
		say_note(invocation,
			"there are %zu prefixes: max_subnets of Kamailio's module permissions must be "
			"no less (it is %d unless its config says otherwise)",
			file.subnets, KAMAILIO_SUBNETS);
	return result;
}

/* --- FreeSWITCH --- */

static void put_freeswitch(
	const char *extension, uint32_t number, const struct acl *acl, void *context)
{
	(void)number;
	freeswitch_acl_print(extension, acl, context);
}

static int print_freeswitch(
	const struct invocation *invocation, const struct offline *offline, struct text *text)
{
	int result;

	(void)invocation;
	freeswitch_acl_print_head(offline->config->path, text);
	result = each_list(offline, put_freeswitch, text);
	freeswitch_acl_print_end(text);
	return result;
}

/* --- The command --- */

typedef int print_fn(
	const struct invocation *invocation, const struct offline *offline, struct text *text);

static print_fn *find_format(const char *name)
{
	if (strcmp(name, "kamailio") == 0)
		return print_kamailio;
	if (strcmp(name, "freeswitch") == 0)
		return print_freeswitch;
	return NULL;
}

static print_fn *choose_format(const struct invocation *invocation)
{
	print_fn *print = find_format(invocation->arguments[0]);

	if (!print)
		say_usage(invocation, "export knows kamailio and freeswitch, not `%s`",
			invocation->arguments[0]);
	else if (invocation->write && invocation->argument_count < 2)
		say_usage(invocation, "--write needs the file: sipfence export %s --write FILE",
			invocation->arguments[0]);
	else if (!invocation->write && invocation->argument_count > 1)
		say_usage(invocation, "to write a file: sipfence export %s --write %s",
			invocation->arguments[0], invocation->arguments[1]);
	else
		return print;
	return NULL;
}

static int put_out(
	const struct invocation *invocation, const struct text *text, struct error *error)
{
	const char *path;
	int result;

	if (!invocation->write) {
		fwrite(text->data, 1, text->length, stdout);
		return 0;
	}
	path = invocation->arguments[1];
	result = replace_file(path, NULL, text->data, text->length, error);
	if (result >= 0)
		say_note(invocation, "%s %s", path,
			result == REPLACE_UNCHANGED ? "is as it should be" : "was written");
	return result < 0 ? result : 0;
}

int command_export(const struct invocation *invocation)
{
	print_fn *print = choose_format(invocation);
	struct offline offline;
	struct error error = {0};
	struct text text = {0};
	int code, result;

	if (!print)
		return EXIT_USAGE;
	code = offline_load_whole(invocation, &offline);
	if (code != EXIT_DONE)
		return code;
	result = print(invocation, &offline, &text);
	if (result < 0 || text.failed)
		result = error_no_memory(&error);
	else
		result = put_out(invocation, &text, &error);
	if (result < 0) {
		say_error(invocation, &error);
		code = EXIT_REFUSED;
	}
	text_free(&text);
	offline_clear(&offline);
	return code;
}
