/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "config_yaml.h"
#include "create.h"
#include "files.h"
#include "first_config.h"
#include "kernel.h"
#include "words.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASTERISK_FOLDER "/etc/asterisk"

struct init {
	const struct invocation *invocation;
	struct asterisk_source sources[ASTERISK_FILE_COUNT];
	struct asterisk_inventory inventory;
	struct interface_subnet *subnets;
	size_t subnet_count;
	struct text files;			    /* that were read */
	char folder[PATH_MAX], main_file[PATH_MAX]; /* of Asterisk, where --from names another */
	struct text config;
	struct first_config_counts counts;
	struct error error;
};

/* What is there, but could not be read, is worth a word: its extensions are missing. */
static int read_asterisk(struct init *init)
{
	const char *from = init->invocation->from ? init->invocation->from : ASTERISK_FOLDER;
	const struct asterisk_conf *confs[ASTERISK_FILE_COUNT] = {0};

	if (asterisk_inventory_read(from, init->sources) < 0)
		return error_no_memory(&init->error);
	for (int i = 0; i < ASTERISK_ACL_CONF; i++) {
		const struct asterisk_source *source = &init->sources[i];

		confs[i] = source->conf;
		if (source->conf)
			text_printf(
				&init->files, "%s%s", init->files.length ? ", " : "", source->path);
		else if (source->error.code != -ENOENT && init->invocation->from)
			return error_set(&init->error, source->error.code,
				source->error.next[0] ? source->error.next
						      : "run it as root, or let this user read it",
				"%s", source->error.what);
		else if (source->error.code != -ENOENT)
			say_warning(init->invocation, "%s; its extensions are missing",
				source->error.what);
	}
	if (init->files.length == 0 && init->invocation->from)
		return error_set(&init->error, -ENOENT,
			"name the folder of Asterisk's configuration with --from",
			"there is neither sip.conf nor pjsip.conf in %s", from);
	if (asterisk_inventory_make(confs, &init->inventory) < 0)
		return error_no_memory(&init->error);
	return 0;
}

/* A config_read_fn: the text that is about to be written. */
static int read_text(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const struct text *text = context;
	struct config_source *source = calloc(1, sizeof(*source));

	(void)base;
	if (source) {
		source->path = strdup(pattern);
		source->data = strndup(text_string(text), text->length);
		source->length = text->length;
	}
	if (!source || !source->path || !source->data) {
		config_sources_free(source, source ? 1 : 0);
		return error_no_memory(error);
	}
	*ret_sources = source;
	*ret_count = 1;
	return 0;
}

/* A first config that `check` refuses would help nobody. */
static int verify(struct init *init)
{
	struct text messages = {0};
	struct config *config = NULL;
	int result = config_yaml_parse(
		init->invocation->config_path, read_text, &init->config, &config, &messages);

	if (result < 0)
		error_set(&init->error, result,
			"report this, with the files that it was made from, without passwords",
			"the config that would be written is not good: %.*s",
			(int)strcspn(text_string(&messages), "\n"), text_string(&messages));
	config_free(config);
	text_free(&messages);
	return result;
}

/* The commands that follow have to find what --from has found. */
static void find_folder(struct init *init)
{
	char usual[PATH_MAX];
	int length;

	if (!init->invocation->from || !realpath(init->invocation->from, init->folder) ||
		(realpath(ASTERISK_FOLDER, usual) && strcmp(usual, init->folder) == 0) ||
		strcmp(init->folder, ASTERISK_FOLDER) == 0) {
		init->folder[0] = '\0';
		return;
	}
	length = snprintf(
		init->main_file, sizeof(init->main_file), "%s/asterisk.conf", init->folder);
	if (length >= (int)sizeof(init->main_file) || access(init->main_file, F_OK) < 0)
		init->main_file[0] = '\0';
}

static int make(struct init *init)
{
	struct first_config_origin origin = {0};
	int result = read_asterisk(init);

	find_folder(init);
	origin.files = init->files.length ? text_string(&init->files) : NULL;
	origin.folder = init->folder[0] ? init->folder : NULL;
	origin.main_file = init->main_file[0] ? init->main_file : NULL;
	if (result == 0)
		result = interfaces_list(&init->subnets, &init->subnet_count, &init->error);
	if (result < 0)
		return result;
	first_config_print(&init->inventory, &origin, init->subnets, init->subnet_count,
		&init->config, &init->counts);
	if (init->config.failed || init->files.failed)
		return error_no_memory(&init->error);
	return verify(init);
}

/* " -c '/srv/a b.yaml'", for a shell. */
static void put_option(const char *option, const char *value, struct text *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_./+,:@%-";

	text_printf(text, " %s ", option);
	if (value[strspn(value, plain)] == '\0') {
		text_puts(text, value);
		return;
	}
	text_puts(text, "'");
	for (; *value; value++)
		text_printf(text, *value == '\'' ? "'\\''" : "%c", *value);
	text_puts(text, "'");
}

/* The options as they were given: without them the next commands would look elsewhere. */
static void put_options(const struct invocation *invocation, struct text *text)
{
	if (strcmp(invocation->config_path, "/etc/sipfence/sipfence.yaml") != 0)
		put_option("-c", invocation->config_path, text);
	if (strcmp(invocation->state_dir, "/var/lib/sipfence") != 0)
		put_option("--state-dir", invocation->state_dir, text);
	if (strcmp(invocation->run_dir, "/run/sipfence") != 0)
		put_option("--run-dir", invocation->run_dir, text);
}

/* "3 extensions", "no extension" */
static void put_count(size_t count, const char *what, struct text *text)
{
	if (count == 0)
		text_printf(text, "no %s", what);
	else
		text_printf(text, "%zu %s%s", count, what, words_plural((int64_t)count));
}

static void print_counts(const struct init *init)
{
	const struct first_config_counts *counts = &init->counts;
	struct text found = {0};

	put_count(counts->extensions, "extension", &found);
	text_puts(&found, ", ");
	put_count(counts->subnets, "local subnet", &found);
	printf("%s was written: %s; mode monitor\n", init->invocation->config_path,
		text_string(&found));
	text_free(&found);
	if (counts->peers == 1)
		printf("1 trunk stands there in a comment: take away its # if it is right\n");
	else if (counts->peers > 1)
		printf("%zu trunks stand there in comments: take away the # of those that are "
		       "right\n",
			counts->peers);
	if (counts->left_out > 0)
		printf("%zu extension%s left out: letters, digits and ._+-*#@!~ are allowed\n",
			counts->left_out, counts->left_out == 1 ? " was" : "s were");
}

static void print_steps(const struct init *init)
{
	struct text options = {0};
	const char *given;

	put_options(init->invocation, &options);
	given = text_string(&options);
	print_counts(init);
	printf("\nNext:\n"
	       "  1. edit it: the names of the remote phones, your subnets, your trunks\n");
	if (init->counts.extensions == 0)
		printf("     No extension was found: put yours in the place of `example`.\n");
	if (init->counts.subnets == 0)
		printf("     This machine is in no private network that desk phones could be in: until "
		       "local-subnets\n"
		       "     has one, nobody gets in who is `local`.\n");
	printf("  2. sipfence%s check\n"
	       "  3. sipfence%s doctor            what is wrong around it, and how to mend it\n"
	       "  4. sipfence%s sync --dry-run    resolves the names, changes nothing\n",
		given, given, given);
	/* The unit knows the usual places alone. */
	printf(options.length == 0
			? "  5. systemctl enable --now sipfence%s; nobody is dropped yet\n"
			: "  5. sipfence%s run             in the foreground; nobody is dropped yet\n",
		options.length == 0 ? ", or sipfence run" : given);
	printf("  6. after a day: sipfence%s status, list who is missing, then mode: enforce, and\n"
	       "     sipfence%s reload\n",
		given, given);
	text_free(&options);
}

static int say_exists(const struct invocation *invocation)
{
	struct error error = {0};

	error_set(&error, -EEXIST,
		"look at what would be written with --dry-run, or name another file with -c",
		"%s is there already; nothing was written", invocation->config_path);
	say_problem(invocation, &error);
	return EXIT_USAGE;
}

/* The daemon's group, so that it can read its config again. */
static gid_t find_group(void)
{
	const struct group *group = geteuid() == 0 ? getgrnam(CONFIG_DEFAULT_USER) : NULL;

	return group ? group->gr_gid : CREATE_OWN_GROUP;
}

/* Whoever has lost his config, and takes the first one for it, would open the ports. */
static void warn_of_what_is_there(const struct invocation *invocation)
{
	struct kernel *kernel = NULL;
	char lock[PATH_MAX];
	bool runs =
		snprintf(lock, sizeof(lock), "%s/lock", invocation->run_dir) < (int)sizeof(lock) &&
		lock_holder_lives(lock);
	bool there = kernel_open(&kernel, NULL) == 0 &&
		     kernel_has_table(kernel, CONFIG_DEFAULT_TABLE, NULL) > 0;

	kernel_close(kernel);
	if (runs || there)
		say_warning(invocation,
			"sipfence guards this machine already (%s): this config, once it is "
			"reloaded, lets strangers in, as its mode is monitor; put the one from "
			"before back (%s/config is a daemon's copy of it), or list all phones here "
			"and set mode: enforce first",
			runs ? "its daemon runs" : "table inet " CONFIG_DEFAULT_TABLE " is there",
			invocation->state_dir);
}

static int write_config(struct init *init)
{
	int result = create_file(init->invocation->config_path, text_string(&init->config),
		init->config.length, find_group(), &init->error);

	if (result == CREATE_EXISTS)
		return say_exists(init->invocation);
	if (result < 0) {
		say_error(init->invocation, &init->error);
		return EXIT_REFUSED;
	}
	if (init->inventory.not_followed > 0)
		say_warning(init->invocation,
			"%zu line(s) of Asterisk's files could not be followed (#exec, or an "
			"#include of a file that cannot be read): extensions may be missing",
			init->inventory.not_followed);
	warn_of_what_is_there(init->invocation);
	if (init->invocation->verbosity >= 0)
		print_steps(init);
	return EXIT_DONE;
}

int command_init(const struct invocation *invocation)
{
	struct init *init;
	struct stat status;
	int code = EXIT_REFUSED;

	if (!invocation->dry_run && lstat(invocation->config_path, &status) == 0)
		return say_exists(invocation);
	init = calloc(1, sizeof(*init));
	if (!init) {
		say_problem(invocation, &(struct error){.what = "out of memory"});
		return EXIT_REFUSED;
	}
	init->invocation = invocation;
	if (make(init) < 0) {
		say_error(invocation, &init->error);
		code = init->error.code == -ENOENT ? EXIT_USAGE : EXIT_REFUSED;
	} else if (invocation->dry_run) {
		fwrite(init->config.data, 1, init->config.length, stdout);
		code = EXIT_DONE;
	} else {
		code = write_config(init);
	}
	asterisk_inventory_clear(&init->inventory);
	asterisk_inventory_clear_sources(init->sources);
	free(init->subnets);
	text_free(&init->files);
	text_free(&init->config);
	free(init);
	return code;
}
