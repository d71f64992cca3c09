/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "words.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

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
	json_t *document = json_pack("{s:i, s:s, s:s, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I}",
		"version", 1, "command", "check", "result", "ok", "exit", 0, "mode",
		config->monitor ? "monitor" : "enforce", "remote_extensions",
		(json_int_t)summary->remote, "local_extensions", (json_int_t)summary->local,
		"peers", (json_int_t)summary->peers, "names", (json_int_t)summary->names,
		"fixed_addresses", (json_int_t)summary->fixed, "local_subnets",
		(json_int_t)config->local_subnet_count);
	int result = document ? json_dumpf(document, stdout, JSON_INDENT(2)) : -1;

	json_decref(document);
	putchar('\n');
	return result < 0 ? -ENOMEM : 0;
}

int command_check(const struct invocation *invocation)
{
	struct config *config = NULL;
	struct summary summary;
	int result = load_config(invocation, &config);

	if (result != EXIT_DONE)
		return result;
	summary = summarise(config);
	if (invocation->json) {
		if (print_json(config, &summary) < 0)
			result = EXIT_REFUSED;
	} else if (invocation->verbosity >= 0) {
		printf("%s is good: mode %s\n", config->path,
			config->monitor ? "monitor" : "enforce");
		printf("%zu remote and %zu local extensions, %zu peer%s; %zu name%s to resolve, "
		       "%zu fixed %s, %zu local subnet%s\n",
			summary.remote, summary.local, summary.peers,
			words_plural((int64_t)summary.peers), summary.names,
			words_plural((int64_t)summary.names), summary.fixed,
			summary.fixed == 1 ? "address or prefix" : "addresses and prefixes",
			config->local_subnet_count,
			words_plural((int64_t)config->local_subnet_count));
		print_services(config);
	}
	config_free(config);
	return result;
}
