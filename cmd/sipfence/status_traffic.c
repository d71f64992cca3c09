/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status_traffic.h"
#include "client.h"
#include "config_load.h"
#include "traffic.h"
#include "words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { KEPT_OUT_SHOWN = 10, ALL_SERVICES = -1 };

/* --- in JSON --- */

static bool add(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0;
}

static bool append(json_t *list, json_t *value)
{
	return json_array_append_new(list, value) == 0;
}

static json_t *make_dropped(const struct traffic *traffic)
{
	const struct config *config = traffic->config;
	json_t *list = json_array();

	for (size_t i = 0; list && i < config->service_count; i++) {
		uint64_t packets, bytes;

		traffic_dropped(traffic, i, &packets, &bytes);
		if (!append(list,
			    json_pack("{s:s, s:I, s:I}", "service", config->services[i].name,
				    "packets", (json_int_t)packets, "bytes", (json_int_t)bytes))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* It may pass by now. */
static bool is_listed(const struct traffic *traffic, const struct knocker *knocker)
{
	struct prefix prefix = {
		.addr = knocker->addr, .length = knocker->addr.family == FAMILY_IPV6 ? 128 : 32};
	uint64_t packets;

	return traffic_packets(traffic, &prefix, 1U << knocker->service, &packets);
}

static json_t *make_kept_out(const struct traffic *traffic)
{
	json_t *list = json_array();
	int64_t now = time(NULL);

	for (size_t i = 0; list && i < traffic->knocker_count; i++) {
		const struct knocker *knocker = &traffic->knockers[i];
		char address[ADDR_TEXT_SIZE];

		addr_print(&knocker->addr, address);
		if (!append(list,
			    json_pack("{s:s, s:s, s:I, s:I, s:o, s:b, s:b}", "address", address,
				    "service", traffic->config->services[knocker->service].name,
				    "packets", (json_int_t)knocker->packets, "bytes",
				    (json_int_t)knocker->bytes, "last",
				    client_time(now - knocker->idle), "answers", knocker->answers,
				    "listed", is_listed(traffic, knocker)))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Whether an element lets it in; adds the packets of those. */
static bool count_address(const struct traffic *traffic, const char *string, int64_t *packets)
{
	struct prefix prefix;
	uint64_t counted;

	if (!traffic || prefix_parse(string, strlen(string), &prefix) != PREFIX_OK ||
		!traffic_packets(traffic, &prefix, (uint32_t)ALL_SERVICES, &counted))
		return false;
	*packets += (int64_t)counted;
	return true;
}

/*
 * When the last packet came, from the daemon's last look at the counters: later than "after", or no
 * later than "before" and none since then. What has no packet has none.
 */
static bool add_last(json_t *item, bool found, int64_t packets)
{
	const json_t *counted = json_object_get(item, "counted");
	json_t *last = json_null();

	if (found && packets > 0 && json_is_object(counted)) {
		bool moved = packets != answer_number(counted, "packets");
		const char *before = answer_string(counted, "moved");

		if (!*before)
			before = answer_string(counted, "since");
		last = moved ? json_pack("{s:s, s:n}", "after", answer_string(counted, "at"),
				       "before")
			     : json_pack("{s:n, s:s, s:b}", "after", "before", before, "exact",
				       json_is_string(json_object_get(counted, "moved")));
	}
	return add(item, "last_packet", last);
}

void words_last(const json_t *item, int64_t now, struct text *text)
{
	const json_t *last = json_object_get(item, "last_packet");

	if (!json_is_integer(json_object_get(item, "packets")))
		return;
	if (!json_is_object(last)) {
		text_puts(text, "-");
	} else if (answer_time(last, "after")) {
		text_puts(text, "<");
		words_duration(now - answer_time(last, "after"), text);
	} else {
		text_puts(text, answer_is(last, "exact", false) ? ">" : "");
		words_duration(now - answer_time(last, "before"), text);
	}
}

static bool add_packets_of_name(const struct traffic *traffic, json_t *name)
{
	static const char *const types[] = {"A", "AAAA"};
	const json_t *retired = answer_list(name, "retired");
	int64_t packets = 0;
	bool found = false;

	for (size_t type = 0; type < sizeof(types) / sizeof(types[0]); type++) {
		const json_t *list = answer_list(json_object_get(name, types[type]), "addresses");

		for (size_t i = 0; i < json_array_size(list); i++) {
			const char *string = json_string_value(json_array_get(list, i));

			found |= string && count_address(traffic, string, &packets);
		}
	}
	for (size_t i = 0; i < json_array_size(retired); i++)
		found |= count_address(
			traffic, answer_string(json_array_get(retired, i), "address"), &packets);
	return add(name, "packets", found ? json_integer(packets) : json_null()) &&
	       add_last(name, found, packets);
}

static bool add_packets(const struct traffic *traffic, const json_t *status)
{
	const json_t *names = answer_list(status, "names"),
		     *permits = answer_list(status, "permits");

	for (size_t i = 0; i < json_array_size(names); i++) {
		if (!add_packets_of_name(traffic, json_array_get(names, i)))
			return false;
	}
	for (size_t i = 0; i < json_array_size(permits); i++) {
		json_t *permit = json_array_get(permits, i);
		int64_t packets = 0;
		bool found = count_address(traffic, answer_string(permit, "prefix"), &packets);

		if (!add(permit, "packets", found ? json_integer(packets) : json_null()) ||
			!add_last(permit, found, packets))
			return false;
	}
	return true;
}

static bool has_counted(const struct traffic *traffic)
{
	for (size_t i = 0; i < traffic->observed->set_count; i++) {
		const struct set *set = &traffic->observed->sets[i];

		for (size_t j = 0; j < set->count; j++) {
			if (set->elements[j].packets > 0)
				return true;
		}
	}
	return false;
}

bool status_add_traffic(const struct invocation *invocation, json_t *status)
{
	struct text archive = {0}, messages = {0};
	struct config *config = NULL;
	struct traffic traffic = {0};
	struct error error = {0};
	json_t *object = NULL;
	bool known, counts, done;

	/* The services' names; while the config is broken, by the daemon's copy of the last good
	 * one. A daemon may have another table than the config on the disk says. With sets alone,
	 * who is kept out is the admin's rule. */
	known = (config_load(invocation->config_path, &config, &archive, &messages) >= 0 ||
			load_kept_config(invocation, &config)) &&
		strcmp(config->table, answer_string(status, "table")) == 0 &&
		traffic_read(config,
			config->sets_only ? TRAFFIC_LISTED
					  : TRAFFIC_LISTED | TRAFFIC_KEPT_OUT | TRAFFIC_FLOWS,
			&traffic, &error) == 0;
	text_free(&archive);
	text_free(&messages);
	/* Sets of the admin's own need not count. */
	counts = known && (!config->sets_only || has_counted(&traffic));
	known = known && !config->sets_only;
	if (known)
		object = json_pack("{s:o, s:o}", "dropped", make_dropped(&traffic), "kept_out",
			make_kept_out(&traffic));
	done = (!known || object) && add(status, "traffic", known ? object : json_null()) &&
	       add_packets(counts ? &traffic : NULL, status);
	traffic_clear(&traffic);
	config_free(config);
	return done;
}

/* --- for people --- */

void words_packets(int64_t packets, struct text *text)
{
	enum { KILO = 1000, MEGA = 1000 * 1000 };

	if (packets < 100 * KILO)
		text_printf(text, "%" PRId64, packets);
	else if (packets < INT64_C(100) * MEGA)
		text_printf(text, "%" PRId64 " k", packets / KILO);
	else
		text_printf(text, "%" PRId64 " M", packets / MEGA);
}

void status_print_dropped(const json_t *status)
{
	const json_t *list = answer_list(json_object_get(status, "traffic"), "dropped");
	bool monitor = strcmp(answer_string(status, "mode"), "monitor") == 0, first = true;
	struct text packets = {0};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *service = json_array_get(list, i);
		int64_t count = answer_number(service, "packets");

		if (count == 0)
			continue;
		text_clear(&packets);
		words_packets(count, &packets);
		printf("%s%s %s packet%s",
			first ? monitor ? "; would drop: " : "; dropped: " : ", ",
			answer_string(service, "service"), text_string(&packets),
			words_plural(count));
		first = false;
	}
	text_free(&packets);
}

static void print_source(const struct invocation *invocation, const json_t *source, int width)
{
	struct text packets = {0}, idle = {0};

	words_packets(answer_number(source, "packets"), &packets);
	words_duration(time(NULL) - answer_time(source, "last"), &idle);
	printf("%-*s  %-4s  %7s  %s\n", width, answer_string(source, "address"),
		answer_string(source, "service"), text_string(&packets), text_string(&idle));
	if (answer_is(source, "listed", true))
		printf("    it is in the kernel's set now, and may pass\n");
	else if (answer_is(source, "answers", true))
		printf("    %sit answers what the PBX sends: a trunk that is not listed?%s\n",
			invocation->colour_out ? "\033[33m" : "",
			invocation->colour_out ? "\033[0m" : "");
	text_free(&packets);
	text_free(&idle);
}

void status_print_kept_out(const struct invocation *invocation, const json_t *status, size_t rows)
{
	const json_t *traffic = json_object_get(status, "traffic");
	const json_t *list = answer_list(traffic, "kept_out");
	bool monitor = strcmp(answer_string(status, "mode"), "monitor") == 0;
	size_t count = json_array_size(list), shown = KEPT_OUT_SHOWN;
	int width = (int)strlen("ADDRESS");

	/* With sets alone it is the admin's rules that keep people out. */
	if (invocation->verbosity < 0 || strcmp(answer_string(status, "mode"), "sets-only") == 0)
		return;
	if (json_is_null(traffic)) {
		printf("\npackets, and who is kept out: not known here (the kernel's counters are "
		       "for root, and of a table that is in force)\n");
		return;
	}
	if (count == 0) {
		printf("\nnobody %s kept out in the last hour\n",
			monitor ? "would have been" : "was");
		return;
	}
	if (invocation->verbosity > 0)
		shown = count;
	if (rows < shown + 4)
		shown = rows > 5 ? rows - 4 : 1;
	if (shown > count)
		shown = count;
	for (size_t i = 0; i < shown; i++) {
		int length = (int)strlen(answer_string(json_array_get(list, i), "address"));

		width = length > width ? length : width;
	}
	printf("\n%zu source%s %skept out in the last hour\n%-*s  FOR   PACKETS  LAST\n", count,
		words_plural((int64_t)count),
		monitor	     ? "would have been "
		: count == 1 ? "was "
			     : "were ",
		width, "ADDRESS");
	for (size_t i = 0; i < shown; i++)
		print_source(invocation, json_array_get(list, i), width);
	if (shown < count)
		printf("and %zu more (status -v, or --json)\n", count - shown);
}
