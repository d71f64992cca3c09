/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "why_knocks.h"
#include "client.h"
#include "config_load.h"
#include "status_traffic.h"
#include "traffic.h"
#include "words.h"

#include <string.h>
#include <time.h>

enum {
	LATEST = 3,	   /* of those who are not known to be it */
	LATEST_IDLE = 600, /* seconds: a phone tries again every few minutes */
	FORMER_MOST = 20,
};

static bool append(
	json_t *list, const struct traffic *traffic, const struct knocker *knocker, bool former)
{
	char address[ADDR_TEXT_SIZE];

	addr_print(&knocker->addr, address);
	return json_array_append_new(
		       list, json_pack("{s:s, s:s, s:I, s:o, s:b, s:b}", "address", address,
				     "service", traffic->config->services[knocker->service].name,
				     "packets", (json_int_t)knocker->packets, "last",
				     client_time(time(NULL) - knocker->idle), "answers",
				     knocker->answers, "former", former)) == 0;
}

/* An address of it that is over: of the history, which is that of it alone. */
static bool is_former(const json_t *why, const struct addr *addr)
{
	const json_t *history = answer_list(why, "history");

	for (size_t i = 0; i < json_array_size(history); i++) {
		const char *prefix = answer_string(json_array_get(history, i), "prefix");
		struct prefix parsed;

		if (prefix_parse(prefix, strlen(prefix), &parsed) == PREFIX_OK &&
			prefix_contains(&parsed, addr))
			return true;
	}
	return false;
}

/* Of a service that it may reach at all. */
static bool is_of_interest(
	const json_t *why, const struct traffic *traffic, const struct knocker *knocker)
{
	const json_t *services = answer_list(why, "services");
	const char *service = traffic->config->services[knocker->service].name;

	for (size_t i = 0; i < json_array_size(services); i++) {
		const char *name = json_string_value(json_array_get(services, i));

		if (name && strcmp(name, service) == 0)
			return true;
	}
	return json_array_size(services) == 0;
}

static bool append_latest(json_t *list, const json_t *why, const struct traffic *traffic)
{
	int64_t least = -1;

	for (size_t taken = 0; taken < LATEST; taken++) {
		const struct knocker *next = NULL;

		/* In the order of their last packets; of one moment, one. */
		for (size_t i = 0; i < traffic->knocker_count; i++) {
			const struct knocker *knocker = &traffic->knockers[i];

			if (knocker->idle > least && knocker->idle < LATEST_IDLE &&
				(!next || knocker->idle < next->idle) &&
				!is_former(why, &knocker->addr) &&
				is_of_interest(why, traffic, knocker))
				next = knocker;
		}
		if (!next)
			break;
		least = next->idle;
		if (!append(list, traffic, next, false))
			return false;
	}
	return true;
}

static json_t *make_list(const json_t *why, const struct traffic *traffic)
{
	const char *what = answer_string(why, "what");
	json_t *list = json_array();
	bool named, done = list != NULL;
	struct addr addr;

	named = !addr_parse(what, strlen(what), &addr);
	for (size_t i = 0; done && i < traffic->knocker_count; i++) {
		const struct knocker *knocker = &traffic->knockers[i];

		if (named ? is_former(why, &knocker->addr) && json_array_size(list) < FORMER_MOST
			  : addr_equal(&knocker->addr, &addr))
			done = append(list, traffic, knocker, named);
	}
	if (done && named)
		done = append_latest(list, why, traffic);
	if (done)
		return list;
	json_decref(list);
	return NULL;
}

bool why_add_knocks(const struct invocation *invocation, json_t *why)
{
	struct text archive = {0}, messages = {0};
	struct config *config = NULL;
	struct traffic traffic = {0};
	struct error error = {0};
	json_t *list = NULL;
	bool known, done;

	/* While the config is broken: by the daemon's copy of the last good one. */
	known = (config_load(invocation->config_path, &config, &archive, &messages) >= 0 ||
			load_kept_config(invocation, &config)) &&
		!config->sets_only &&
		traffic_read(config, TRAFFIC_KEPT_OUT | TRAFFIC_FLOWS, &traffic, &error) == 0;
	text_free(&archive);
	text_free(&messages);
	if (known)
		list = make_list(why, &traffic);
	done = (!known || list) &&
	       json_object_set_new(why, "kept_out", known ? list : json_null()) == 0;
	traffic_clear(&traffic);
	config_free(config);
	return done;
}

/* --- for people --- */

static void put_source(const json_t *source, struct text *line)
{
	int64_t packets = answer_number(source, "packets");

	words_packets(packets, line);
	text_printf(line, " packet%s to %s, the last ", words_plural(packets),
		answer_string(source, "service"));
	words_duration(time(NULL) - answer_time(source, "last"), line);
	text_puts(line, " ago");
	if (answer_is(source, "answers", true))
		text_puts(line, "; it answers what the PBX sends: a trunk that is not listed?");
}

void why_print_knocks(const json_t *why)
{
	const json_t *list = answer_list(why, "kept_out");
	bool of_address = strcmp(answer_string(why, "kind"), "address") == 0;
	const char *kept = strcmp(answer_string(why, "mode"), "monitor") == 0
				   ? "would have been kept out"
			   : of_address ? "was kept out"
					: "kept out";
	struct text line = {0};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *source = json_array_get(list, i);

		text_clear(&line);
		put_source(source, &line);
		if (of_address)
			printf("- it %s in the last hour: %s\n", kept, text_string(&line));
		else if (answer_is(source, "former", true))
			printf("- %s in the last hour: %s, which it had formerly: %s\n", kept,
				answer_string(source, "address"), text_string(&line));
		else
			printf("- %s lately, and perhaps it: %s: %s\n", kept,
				answer_string(source, "address"), text_string(&line));
	}
	text_free(&line);
}
