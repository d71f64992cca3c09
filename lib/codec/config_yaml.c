/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_yaml.h"
#include "answer.h"
#include "config_build.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_sources_free(struct config_source *sources, size_t count)
{
	for (size_t i = 0; sources && i < count; i++) {
		free(sources[i].path);
		free(sources[i].data);
	}
	free(sources);
}

void *build_alloc(struct build *build, size_t count, size_t size)
{
	static max_align_t nothing;
	void *memory;

	if (count == 0)
		return &nothing;
	memory = count > SIZE_MAX / size ? NULL : arena_alloc(&build->config->arena, count * size);
	if (!memory)
		build->report.no_memory = true;
	return memory;
}

const char *build_copy(struct build *build, const char *string, size_t length)
{
	const char *copy = arena_copy(&build->config->arena, string, length);

	if (!copy)
		build->report.no_memory = true;
	return copy;
}

static void build_free(struct build *build)
{
	free(build->includes.items);
	free(build->owners[0].items);
	free(build->owners[1].items);
	free(build->guards);
	free(build->ports);
	free(build->names.items);
	free(build->srv.items);
	free(build->countries.items);
	free(build->asns.items);
	free(build->fixed.items);
	free(build->within.items);
	free(build->servers.items);
	config_sources_free(build->report.sources, build->report.source_count);
	report_free(&build->report);
	config_free(build->config);
}

/* One message without a place in a text. */
static void print_error(struct text *messages, const char *path, const struct error *error)
{
	text_escaped(messages, path, strlen(path));
	text_puts(messages, ": error: ");
	text_escaped(messages, error->what, strlen(error->what));
	if (error->next[0]) {
		text_puts(messages, "; ");
		text_escaped(messages, error->next, strlen(error->next));
	}
	text_puts(messages, "\n");
}

static void read_source(struct build *build, uint32_t index)
{
	struct report *report = &build->report;
	struct reader reader;
	bool empty;

	if (!reader_open(&reader, report, build, index, &empty)) {
		if (empty && index == 0)
			report_error(report, (struct place){index, 1, 1},
				"the config is empty; it needs \"local-subnets\", \"extensions\" "
				"or \"peers\"");
		return;
	}
	if (index == 0)
		read_main_file(&reader, reader_root(&reader));
	else
		read_included_file(&reader, reader_root(&reader));
	reader_close(&reader);
}

/* Appends `count` sources to those of the report, and takes the array. */
static bool take_sources(struct report *report, struct config_source *sources, size_t count)
{
	struct config_source *all;

	if (count == 0) {
		free(sources);
		return true;
	}
	all = realloc(report->sources, (report->source_count + count) * sizeof(all[0]));
	if (!all) {
		report->no_memory = true;
		config_sources_free(sources, count);
		return false;
	}
	memcpy(all + report->source_count, sources, count * sizeof(all[0]));
	report->sources = all;
	report->source_count += count;
	free(sources);
	return true;
}

static bool same_bytes(const struct config_source *a, const struct config_source *b)
{
	return a->length == b->length && memcmp(a->data, b->data, a->length) == 0;
}

/* False, and reported, when sources[index] was read before. */
static bool check_new(struct build *build, uint32_t index, const struct draft_name *include)
{
	struct report *report = &build->report;
	const struct config_source *source = &report->sources[index];

	if (strcmp(source->path, report->sources[0].path) == 0 ||
		same_bytes(source, &report->sources[0])) {
		report_error(report, include->place, "this file includes itself");
		return false;
	}
	for (uint32_t i = 1; i < index; i++) {
		if (strcmp(source->path, report->sources[i].path) != 0)
			continue;
		report_error(report, include->place, "%s is included twice",
			quote(source->path, strlen(source->path)).text);
		return false;
	}
	return true;
}

static void read_include_pattern(
	struct build *build, const struct draft_name *include, config_read_fn *read, void *context)
{
	struct report *report = &build->report;
	struct config_source *sources = NULL;
	struct error error = {0};
	size_t count = 0, first = report->source_count;
	int r = read(context, report->sources[0].path, include->name, &sources, &count, &error);

	if (r == -ENOMEM) {
		report->no_memory = true;
		return;
	}
	if (r < 0) {
		const char *what = error.what[0] ? error.what : strerror(-r);
		struct text escaped = {0};

		text_escaped(&escaped, what, strlen(what));
		report_error(report, include->place, "%s%s%s", text_string(&escaped),
			error.next[0] ? "; " : "", error.next);
		report->no_memory |= escaped.failed;
		text_free(&escaped);
		return;
	}
	if (!take_sources(report, sources, count))
		return;
	for (size_t i = first; i < report->source_count && !report->no_memory; i++)
		if (check_new(build, (uint32_t)i, include))
			read_source(build, (uint32_t)i);
}

static bool local_subnets_pass(const struct config *config)
{
	for (size_t i = 0; i < config->service_count; i++)
		if (config->services[i].local)
			return config->local_subnet_count > 0;
	return false;
}

static bool has_hosts(const struct owner *owner)
{
	return owner->name_count + owner->srv_count + owner->fixed_count > 0;
}

/* Of extensions that come from the local subnets, where there are none. */
static const struct draft_owner *first_stray(const struct build *build, size_t *ret_count)
{
	const struct owner_list *list = &build->owners[OWNER_EXTENSION];
	const struct draft_owner *first = NULL;

	*ret_count = 0;
	for (size_t i = 0; i < list->count && build->config->local_subnet_count == 0; i++) {
		if (!list->items[i].owner.local)
			continue;
		first = first ? first : &list->items[i];
		++*ret_count;
	}
	return first;
}

/* Bit i: somebody may reach config->services[i]. */
static uint32_t services_in_use(const struct config *config)
{
	uint32_t used = 0;

	for (size_t i = 0; i < config->owner_count; i++)
		if (has_hosts(&config->owners[i]))
			used |= config->owners[i].services;
	for (size_t i = 0; i < config->service_count; i++)
		if (config->services[i].local && config->local_subnet_count > 0)
			used |= 1U << i;
	return used;
}

/* Of one that the text does not name warn_of_locals() tells, if it can. */
static void warn_of_services(struct build *build)
{
	const struct config *config = build->config;
	uint32_t used = services_in_use(config);
	size_t strays;
	bool told = first_stray(build, &strays) != NULL;

	for (size_t i = 0; i < config->service_count; i++) {
		struct place place = build->service_places[i];

		if (used >> i & 1 || (!place.line && told))
			continue;
		if (!place.line)
			place = (struct place){0, 1, 1};
		report_warning(&build->report, place,
			"nobody may reach service \"%s\": no extension, no peer, no local subnet",
			config->services[i].name);
	}
}

static void warn_of_locals(struct build *build)
{
	const struct config *config = build->config;
	const char *shut = NULL;
	char more[48] = "";
	size_t count;
	const struct draft_owner *first = first_stray(build, &count);
	uint32_t used;

	if (!first)
		return;
	used = services_in_use(config);
	for (size_t i = 0; i < config->service_count && !shut; i++) {
		if (!build->service_places[i].line && !(used >> i & 1))
			shut = config->services[i].name;
	}
	if (count > 1)
		snprintf(more, sizeof(more), " and %zu more", count - 1);
	report_warning(&build->report, first->place,
		"extension \"%s\"%s %s local, but there are no \"local-subnets\"%s%s%s",
		first->owner.id, more, count > 1 ? "are" : "is",
		shut ? ": nobody may reach service \"" : "", shut ? shut : "", shut ? "\"" : "");
}

/* Which servers resolv.conf names is known when they are asked. */
static bool names_untrusted_servers_only(const struct config *config)
{
	for (size_t i = 0; i < config->resolver.server_count; i++) {
		for (size_t j = 0; j < config->resolver.trusted_count; j++)
			if (prefix_contains(&config->resolver.trusted[j],
				    &config->resolver.servers[i].addr))
				return false;
	}
	return config->resolver.server_count > 0;
}

static void warn_of_resolvers(struct build *build)
{
	const struct config *config = build->config;
	const struct draft_owner *first = NULL;
	size_t next = 0, count = 0;

	/* The config's owners are extensions, then peers, each in the order of its list. */
	for (int kind = 0; kind < OWNER_KIND_COUNT; kind++) {
		const struct owner_list *list = &build->owners[kind];

		for (size_t i = 0; i < list->count && next < config->owner_count; i++, next++) {
			const struct owner *owner = &config->owners[next];

			if (!config->guards[owner->guard].require_dnssec ||
				owner->name_count + owner->srv_count == 0)
				continue;
			first = first ? first : &list->items[i];
			count++;
		}
	}
	if (first && names_untrusted_servers_only(config))
		report_warning(&build->report, first->place,
			"%s \"%s\"%s requires DNSSEC, but no server of \"resolver: {servers: …}\" is "
			"in \"trusted\": %s",
			first->owner.kind == OWNER_EXTENSION ? "extension" : "peer",
			first->owner.id, count > 1 ? " (and others)" : "",
			answer_reason_next(REASON_NO_TRUSTED));
}

/* What only the whole shows. */
static void check_whole(struct build *build)
{
	const struct config *config = build->config;
	size_t i = 0;

	while (i < config->owner_count && !has_hosts(&config->owners[i]) &&
		!config->owners[i].local)
		i++;
	if (i == config->owner_count && !local_subnets_pass(config)) {
		report_error(&build->report, (struct place){0, 1, 1},
			"this config names nobody; it needs \"local-subnets\", \"extensions\" or "
			"\"peers\"");
		return;
	}
	warn_of_services(build);
	warn_of_locals(build);
	warn_of_resolvers(build);
}

static void read_all(struct build *build, config_read_fn *read, void *context)
{
	struct report *report = &build->report;

	services_begin(build);
	settings_begin(build);
	read_source(build, 0);
	for (size_t i = 0; i < build->includes.count && !report->no_memory; i++)
		read_include_pattern(build, &build->includes.items[i], read, context);
	if (!report->no_memory)
		services_finish(build);
	if (!report->no_memory)
		sets_only_finish(build);
	if (!report->no_memory)
		owners_finish(build);
	if (!report->no_memory && report->errors == 0)
		check_whole(build);
}

/* Reads the main file into the report's first source. */
static int read_main(struct build *build, const char *path, config_read_fn *read, void *context,
	struct text *messages)
{
	struct error error = {0};
	int r = read(
		context, NULL, path, &build->report.sources, &build->report.source_count, &error);

	if (r == 0 && build->report.source_count != 1)
		r = error_set(&error, -ENOENT, "name one file", "this is not one config file");
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		if (!error.code)
			error_set(&error, r, NULL, "%s", strerror(-r));
		print_error(messages, path, &error);
	}
	return r;
}

int config_yaml_parse(const char *path, config_read_fn *read, void *context,
	struct config **ret_config, struct text *messages)
{
	struct build *build = calloc(1, sizeof(*build));
	int r = -ENOMEM;

	if (!build)
		return r;
	build->config = calloc(1, sizeof(*build->config));
	if (!build->config)
		goto out;
	build->config->path = build_copy(build, path, strlen(path));
	if (!build->config->path)
		goto out;
	r = read_main(build, path, read, context, messages);
	if (r < 0)
		goto out;
	read_all(build, read, context);
	/* What was said without memory need not be so: a list may only seem to be empty. */
	if (!build->report.no_memory)
		report_print(&build->report, messages);
	r = build->report.no_memory || messages->failed ? -ENOMEM
	    : build->report.errors			? -EINVAL
							: 0;
	if (r == 0) {
		*ret_config = build->config;
		build->config = NULL;
	}
out:
	build_free(build);
	free(build);
	return r;
}
