/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"
#include "doctor.h"
#include "privilege.h"
#include "program.h"
#include "reading.h"
#include "words.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct summary {
	size_t remote, local, peers, names, fixed;
};

static struct summary summarise(const struct config *config)
{
	struct summary summary = {0};

	for (size_t i = 0; i < config->owner_count; i++) {
		const struct owner *owner = &config->owners[i];
		bool has_hosts = owner->name_count || owner->fixed_count || owner->srv_count;

		if (owner->kind == OWNER_PEER)
			summary.peers++;
		else if (has_hosts)
			summary.remote++;
		else
			summary.local++;
		summary.names += owner->name_count + owner->srv_count;
		summary.fixed += owner->fixed_count;
	}
	return summary;
}

static void print_services(const struct config *config)
{
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service *service = &config->services[i];

		printf("service %s:", service->name);
		for (size_t j = 0; j < service->port_count; j++) {
			const struct port_range *range = &service->ports[j];

			printf("%s %s %u", j ? "," : "",
				range->protocol == PROTOCOL_TCP ? "tcp" : "udp", range->first);
			if (range->last != range->first)
				printf("-%u", range->last);
		}
		printf("%s\n",
			service->local && config->local_subnet_count ? "; local subnets pass" : "");
	}
}

static int print_json(const struct config *config, const struct summary *summary)
{
	json_t *document = json_pack(
		"{s:i, s:s, s:s, s:i, s:s, s:s++, s:I, s:I, s:I, s:I, s:I, s:I}", "version", 1,
		"command", "check", "result", "ok", "exit", 0, "mode", config_mode_name(config),
		"table", ruleset_family_name((enum table_family)config->table_family), " ",
		config->table, "remote_extensions", (json_int_t)summary->remote, "local_extensions",
		(json_int_t)summary->local, "peers", (json_int_t)summary->peers, "names",
		(json_int_t)summary->names, "fixed_addresses", (json_int_t)summary->fixed,
		"local_subnets", (json_int_t)config->local_subnet_count);
	bool done = say_json(document);

	json_decref(document);
	return done ? 0 : -ENOMEM;
}

/* The daemon looks again, each time. Who may not look at it can't tell. */
static void check_hook(const struct invocation *invocation, const struct config *config)
{
	struct error error = {0};
	struct text text = {0};
	struct stat status;
	int result;

	if (!config->on_change || stat(config->path, &status) < 0)
		return;
	if (geteuid() == 0 && status.st_uid != 0)
		result = error_set(&error, -EPERM, "chown root it",
			"the config belongs to user number %lu, who could have root run anything",
			(unsigned long)status.st_uid);
	else
		result = program_check(config->on_change[0], status.st_uid, &error);
	if (result == 0 || (result == -EACCES && geteuid() != 0))
		return;
	text_escaped(&text, error.what, strlen(error.what));
	text_puts(&text, ": ");
	text_escaped(&text, error.next, strlen(error.next));
	say_warning(invocation, "on-change would not be run: %s", text_string(&text));
	text_free(&text);
}

/* What root reads the daemon may not, and finds it out at the next reload. */
static void check_modes(const struct invocation *invocation, const struct config *config,
	const struct reading *reading)
{
	const struct doctor_request request = {
		.config = config,
		.config_paths = (const char *const *)reading->paths,
		.config_path_count = reading->count,
		.run_dir = invocation->run_dir,
	};
	struct findings findings = {0};
	struct text text = {0};

	if (geteuid() == 0 && doctor_examine_config(&request, &findings) < 0)
		say_warning(invocation, "out of memory: who may read the config was not checked");
	for (size_t i = 0; i < findings.count; i++) {
		const struct finding *finding = &findings.list[i];

		text_escaped(&text, finding->what, strlen(finding->what));
		text_puts(&text, ": ");
		text_escaped(&text, finding->change, strlen(finding->change));
		say_warning(invocation, "%s", text_string(&text));
		text_clear(&text);
	}
	text_free(&text);
	findings_clear(&findings);
}

static void print_summary(const struct config *config, const struct summary *summary)
{
	struct text path = {0};

	text_escaped(&path, config->path, strlen(config->path));
	printf("%s is good: mode %s\n", text_string(&path), config_mode_name(config));
	printf("%zu remote and %zu local extensions, %zu peer%s; %zu name%s to resolve, "
	       "%zu fixed %s, %zu local subnet%s\n",
		summary->remote, summary->local, summary->peers,
		words_plural((int64_t)summary->peers), summary->names,
		words_plural((int64_t)summary->names), summary->fixed,
		summary->fixed == 1 ? "address or prefix" : "addresses and prefixes",
		config->local_subnet_count, words_plural((int64_t)config->local_subnet_count));
	print_services(config);
	text_free(&path);
}

static int check(const struct invocation *invocation, const struct config *config,
	const struct reading *reading)
{
	struct summary summary = summarise(config);
	struct privilege_user user;
	struct error error = {0};
	struct geo *geo = NULL;

	/* Only a name that nobody has is the config's fault. */
	if (privilege_find(config->user, &user, &error) == -ENOENT) {
		say_error(invocation, &error);
		return EXIT_USAGE;
	}
	error = (struct error){0};
	check_hook(invocation, config);
	check_modes(invocation, config, reading);
	/* No fault of the config, but its guards would refuse to decide. */
	if (geo_open(config, &geo) < 0) {
		error_no_memory(&error);
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	geo_look(geo);
	report_databases(invocation, geo);
	geo_free(geo);
	if (!invocation->json && invocation->verbosity >= 0)
		print_summary(config, &summary);
	if (!invocation->json || print_json(config, &summary) == 0)
		return EXIT_DONE;
	say_warning(invocation, "out of memory: the JSON document is missing");
	return EXIT_REFUSED;
}

int command_check(const struct invocation *invocation)
{
	struct reading reading = {0};
	struct config *config = NULL;
	int code = reading_load(invocation, &config, &reading);

	if (code == EXIT_DONE)
		code = check(invocation, config, &reading);
	config_free(config);
	reading_clear(&reading);
	return code;
}
