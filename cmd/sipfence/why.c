/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "client.h"
#include "offline.h"
#include "why.h"
#include "why_history.h"
#include "why_knocks.h"
#include "words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- addresses --- */

/* "local subnets": whose phones that may be. */
static void put_local(const json_t *owner, struct text *line)
{
	const json_t *ids = answer_list(owner, "extensions");
	int64_t count = answer_number(owner, "extension_count");
	int64_t more = count - (int64_t)json_array_size(ids);

	if (json_array_size(ids) == 0)
		return;
	text_printf(line, ", for extension%s ", words_plural(count));
	words_list(ids, line);
	if (more > 0)
		text_printf(line, " and %" PRId64 " more", more);
}

static void print_owner(const json_t *why, const json_t *owner)
{
	const char *host = answer_string(owner, "host"), *state = answer_string(owner, "state");
	int64_t answered = answer_time(owner, "answered"), leaves = answer_time(owner, "leaves");
	struct text line = {0};
	bool by = false;
	int64_t since = why_since(why, owner, &by);

	words_owner(owner, &line);
	if (*host)
		text_printf(&line, " by %s", host);
	else
		text_printf(&line, ": %s in the config", answer_string(owner, "prefix"));
	put_local(owner, &line);
	if (*state)
		text_printf(&line, ": %s",
			strcmp(state, "replaced") == 0 ? "a former address of it, which lingers"
						       : state);
	if (json_is_true(json_object_get(owner, "flapping")))
		text_puts(&line, ", flapping");
	if (answered) {
		text_puts(&line, ", last answer ");
		words_duration(time(NULL) - answered, &line);
		text_puts(&line, " ago");
	}
	if (leaves) {
		text_puts(&line, "; it leaves at ");
		words_time(leaves, &line);
		text_puts(&line, strcmp(state, "replaced") == 0 ? "" : " unless DNS answers");
	}
	if (since) {
		text_puts(&line, "; it has had this address since ");
		words_time(since, &line);
		text_puts(&line, by ? ", or before" : "");
	}
	printf("  for %s\n", text_string(&line));
	text_free(&line);
}

/* Where the kernel's table is not that of the config: what would be. */
static const char *by_the_config(const json_t *service)
{
	const char *verdict = answer_string(service, "verdict");
	const char *by_config = answer_string(service, "by_config");

	if (!*by_config || strcmp(by_config, verdict) == 0)
		return NULL;
	if (strcmp(by_config, "drop") == 0)
		return "it would be dropped";
	if (strcmp(by_config, "accept") == 0)
		return "it would be let in";
	return "it would pass, since the mode would be monitor, and enforce would drop it";
}

static void print_verdict(
	const struct invocation *invocation, const char *what, const json_t *service, bool unseen)
{
	const char *verdict = answer_string(service, "verdict");
	bool dropped = strcmp(verdict, "drop") == 0, accepted = strcmp(verdict, "accept") == 0;
	const char *colour = dropped ? "\033[31m" : accepted ? "\033[32m" : "\033[33m";
	const char *words = dropped ? "is dropped at" : "may pass to", *since = "";

	if (strcmp(verdict, "listed") == 0 || strcmp(verdict, "not listed") == 0) {
		bool listed = strcmp(verdict, "listed") == 0;

		printf("%s%s is %s for %s%s\n",
			!invocation->colour_out ? ""
			: listed		? "\033[32m"
						: "\033[31m",
			what, verdict, answer_string(service, "service"),
			invocation->colour_out ? "\033[0m" : "");
		return;
	}
	if (unseen)
		words = dropped ? "would be dropped at" : "would pass to";
	if (strcmp(verdict, "accept (no table)") == 0)
		since = ", as everybody may: there is no table in the kernel";
	else if (!dropped && !accepted)
		since = ", since the mode is monitor: enforce would drop it";
	printf("%s%s %s %s%s%s\n", invocation->colour_out ? colour : "", what, words,
		answer_string(service, "service"), since, invocation->colour_out ? "\033[0m" : "");
}

static void print_service(
	const struct invocation *invocation, const json_t *why, const json_t *service, bool unseen)
{
	const char *what = answer_string(why, "what");
	const json_t *owners = answer_list(service, "owners");
	const char *by_config = by_the_config(service);

	print_verdict(invocation, what, service, unseen);
	if (by_config)
		printf("  by the config, which is not in force: %s\n", by_config);
	for (size_t i = 0; i < json_array_size(owners); i++)
		print_owner(why, json_array_get(owners, i));
	printf("  rule: %s\n", answer_string(service, "rule"));
}

/* Proven ones alone, or the others: those may be calls. */
static void print_takeovers(const struct invocation *invocation, const json_t *why, bool proven)
{
	const json_t *list = answer_list(why, "takeovers");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *takeover = json_array_get(list, i);
		const char *certainty = answer_string(takeover, "certainty");
		const char *address = answer_string(takeover, "address");
		bool excused = answer_is(takeover, "excused", true);
		int64_t count = answer_number(takeover, "count");
		struct text line = {0};

		if (proven != (strcmp(certainty, "proven") == 0 && !excused))
			continue;
		text_puts(&line, proven ? "TAKEOVER: " : "- ");
		words_owner(json_object_get(takeover, "owner"), &line);
		text_printf(&line,
			" logged in from %s, which %s (%s): %" PRId64 " time%s, the last ",
			*address ? address : "somewhere",
			excused ? "one of its names has followed to" : "is none of its addresses",
			certainty, count, words_plural(count));
		words_duration(time(NULL) - answer_time(takeover, "last"), &line);
		text_puts(&line, " ago");
		printf("%s%s%s\n", proven && invocation->colour_out ? "\033[31m" : "",
			text_string(&line), proven && invocation->colour_out ? "\033[0m" : "");
		text_free(&line);
	}
}

static void print_address(const struct invocation *invocation, const json_t *why)
{
	const char *what = answer_string(why, "what");
	const char *note = answer_string(why, "note"), *next = answer_string(why, "next");
	const json_t *services = answer_list(why, "services");
	const json_t *reasons = answer_list(why, "reasons");
	bool unseen = json_is_null(json_object_get(why, "table_right"));

	print_takeovers(invocation, why, true);
	if (*note)
		printf("%s is %s\n", what, note);
	for (size_t i = 0; i < json_array_size(services); i++)
		print_service(invocation, why, json_array_get(services, i), unseen);
	for (size_t i = 0; i < json_array_size(reasons); i++)
		printf("- %s\n", answer_string(json_array_get(reasons, i), "text"));
	print_takeovers(invocation, why, false);
	why_print_knocks(why);
	why_print_former(why);
	if (*next)
		printf("%s\n", next);
}

/* --- extensions, peers, hosts --- */

/* Another extension of the same house. */
static void put_others(const json_t *why, const json_t *place, struct text *line)
{
	const json_t *owners = answer_list(place, "owners");
	const char *kind = answer_string(why, "kind"), *id = answer_string(why, "id");
	bool host = strcmp(kind, "host") == 0;
	struct text others = {0};

	for (size_t i = 0; i < json_array_size(owners); i++) {
		const json_t *owner = json_array_get(owners, i);

		if ((strcmp(answer_string(owner, "kind"), kind) == 0 &&
			    strcmp(answer_string(owner, "id"), id) == 0) ||
			strcmp(answer_string(owner, "kind"), "local-subnets") == 0)
			continue;
		text_puts(&others, others.length ? ", " : "");
		words_owner(owner, &others);
	}
	if (others.length > 0)
		text_printf(
			line, "; %s %s", host ? "lets in" : "also lets in", text_string(&others));
	text_free(&others);
}

/* The end, which says that the address is an element, is no news where the line begins with it. */
static void put_rule(const json_t *place, const char *prefix, struct text *line)
{
	const char *rule = answer_string(place, "rule"), *end = strstr(rule, ": ");

	if (end && strncmp(end + 2, prefix, strlen(prefix)) == 0 &&
		strcmp(end + 2 + strlen(prefix), " is an element of it") == 0)
		text_printf(line, "%.*s", (int)(end - rule), rule);
	else
		text_puts(line, rule);
}

static void print_place(const struct invocation *invocation, const json_t *why, const json_t *place)
{
	const char *prefix = answer_string(place, "prefix"), *host = answer_string(place, "host");
	bool dropped = strcmp(answer_string(place, "verdict"), "drop") == 0, by = false;
	int64_t since = *host ? why_since_at(why, host, prefix, &by) : 0;
	struct text line = {0};

	text_puts(&line, prefix);
	if (since) {
		text_puts(&line, " since ");
		words_time(since, &line);
		text_puts(&line, by ? " or before" : "");
	}
	if (dropped)
		text_puts(&line, ", which is dropped all the same");
	text_puts(&line, "; rule: ");
	put_rule(place, prefix, &line);
	put_others(why, place, &line);
	printf("    %s%s%s\n", dropped && invocation->colour_out ? "\033[31m" : "",
		text_string(&line), dropped && invocation->colour_out ? "\033[0m" : "");
	text_free(&line);
}

/* Those of one name, or with "" those that are fixed in the config. */
static void print_places(const struct invocation *invocation, const json_t *why, const char *name)
{
	const json_t *places = answer_list(why, "addresses");

	for (size_t i = 0; i < json_array_size(places); i++) {
		const json_t *place = json_array_get(places, i);

		if (strcmp(answer_string(place, "host"), name) == 0)
			print_place(invocation, why, place);
	}
}

static void print_name(const json_t *name, bool daemon)
{
	struct text line = {0};
	int64_t good = words_good(name), next = words_next(name);
	size_t before;

	text_printf(&line, "%s: %s", answer_string(name, "name"), answer_string(name, "state"));
	text_puts(&line, ", ");
	before = line.length;
	words_addresses(name, &line);
	if (line.length == before)
		text_puts(&line, "no address");
	if (good) {
		text_puts(&line, "; last answer with addresses ");
		words_duration(time(NULL) - good, &line);
		text_puts(&line, " ago");
	}
	if (daemon && next == 0)
		text_puts(&line, "; being asked now");
	if (daemon && next > 0) {
		text_puts(&line, "; next question in ");
		words_duration(next, &line);
	}
	printf("  %s\n", text_string(&line));
	text_clear(&line);
	words_trouble(name, &line);
	if (line.length > 0)
		printf("    %s\n", text_string(&line));
	text_free(&line);
}

static void print_names(const struct invocation *invocation, const json_t *why, const char *key)
{
	const json_t *names = answer_list(why, key);
	bool daemon = answer_is(why, "daemon", true);

	for (size_t i = 0; i < json_array_size(names); i++) {
		const json_t *name = json_array_get(names, i), *next = json_array_get(names, i + 1);
		const char *words = answer_string(name, "name");

		print_name(name, daemon);
		/* One name may be there twice, with other guards. */
		if (strcmp(words, answer_string(next, "name")) != 0)
			print_places(invocation, why, words);
	}
}

static void print_prefixes(const json_t *why, const char *key, const char *words)
{
	struct text line = {0};

	words_list(answer_list(why, key), &line);
	if (line.length > 0)
		printf("  %s %s\n", words, text_string(&line));
	text_free(&line);
}

static bool comes_from_somewhere(const json_t *why)
{
	const json_t *names = answer_list(why, "hosts");
	bool found = json_array_size(answer_list(why, "fixed")) > 0 ||
		     json_array_size(answer_list(why, "local_subnets")) > 0;

	for (size_t i = 0; !found && i < json_array_size(names); i++) {
		struct text addresses = {0};

		words_addresses(json_array_get(names, i), &addresses);
		found = addresses.length > 0;
		text_free(&addresses);
	}
	return found;
}

/* "and from nowhere else" is not true while nobody is dropped. */
static const char *from_where(const json_t *why)
{
	bool no_table = answer_is(why, "table_right", false) && answer_is(why, "daemon", false) &&
			strcmp(answer_string(why, "mode_of"), "config") == 0;

	if (no_table)
		return "from anywhere, since there is no table; with one, from";
	if (strcmp(answer_string(why, "mode"), "monitor") == 0)
		return "from anywhere, since the mode is monitor; enforcing, from";
	return "from";
}

/* Asterisk has a list of its own for each extension. */
static void print_acl(const json_t *why)
{
	const json_t *acl = json_object_get(why, "acl");
	const char *state = answer_string(acl, "state"), *error = answer_string(acl, "error");

	if (!*state || strcmp(state, "in-force") == 0)
		return;
	printf("- its ACL in Asterisk %s%s (sipfence status)\n",
		*error ? "is not in force: " : "is on its way", error);
}

static void print_owner_or_host(const struct invocation *invocation, const json_t *why)
{
	const char *kind = answer_string(why, "kind"), *id = answer_string(why, "id");
	const char *next = answer_string(why, "next");
	struct text line = {0};

	print_takeovers(invocation, why, true);
	if (strcmp(kind, "host") != 0) {
		words_list(answer_list(why, "services"), &line);
		printf("%s %s may reach %s %s %s:\n", kind, id, text_string(&line), from_where(why),
			comes_from_somewhere(why) ? "here, and from nowhere else"
						  : "nowhere at present");
	} else {
		const json_t *name = json_array_get(answer_list(why, "hosts"), 0);

		words_owners(name ? name : json_array_get(answer_list(why, "srv"), 0), &line);
		printf("%s is a host of %s\n", answer_string(why, "what"), text_string(&line));
	}
	text_free(&line);
	print_names(invocation, why, "srv");
	print_names(invocation, why, "hosts");
	print_prefixes(why, "fixed", "fixed in the config:");
	print_prefixes(why, "local_subnets", "the local subnets:");
	print_places(invocation, why, "");
	print_acl(why);
	print_takeovers(invocation, why, false);
	why_print_knocks(why);
	why_print_former(why);
	if (*answer_string(why, "also"))
		printf("there is a peer of this id, too: sipfence why peer:%s\n", id);
	if (*next)
		printf("%s\n", next);
}

/* --- the command --- */

static void print_doubt_without_daemon(const json_t *why)
{
	const char *mode = answer_string(why, "mode"),
		   *by_config = answer_string(why, "config_mode"),
		   *drift = answer_string(json_object_get(why, "drift"), "text");

	printf("no daemon is running; this is from the state file and the config%s\n",
		answer_is(why, "table_right", true) ? ", and the kernel's table" : "");
	if (json_is_null(json_object_get(why, "table_right")))
		printf("the kernel's table could not be looked at (run it as root)\n");
	else if (answer_is(why, "table_right", false) &&
		 strcmp(answer_string(why, "mode_of"), "config") == 0)
		printf("there is no table in the kernel: nobody is kept out\n");
	else if (strcmp(mode, by_config) != 0)
		printf("the kernel's table is in mode %s; the config, which says %s, is not in "
		       "force\n",
			mode, by_config);
	else if (*drift)
		printf("the kernel's table is not as the last run left it, and sipfence sync puts "
		       "that right: %s\n",
			drift);
	else if (answer_is(why, "table_right", false))
		printf("the kernel's table is not that of the config, which is not in force\n");
}

static void print_doubt(const json_t *why)
{
	if (answer_is(why, "daemon", false))
		print_doubt_without_daemon(why);
	else if (answer_is(why, "table_right", false))
		printf("the kernel's table is not as it should be at this moment; this is how it "
		       "is to be\n");
}

static int report(const struct invocation *invocation, json_t *answer)
{
	json_t *why = client_payload(invocation, answer, "why");

	if (!why)
		return EXIT_REFUSED;
	if (!why_add_history(invocation, why) || !why_add_knocks(invocation, why)) {
		struct error error = {0};

		error_no_memory(&error);
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	if (invocation->json) {
		json_object_set_new(why, "version", json_integer(1));
		json_object_set_new(why, "command", json_string(invocation->command));
		json_object_set_new(why, "result", json_string("ok"));
		json_object_set_new(why, "exit", json_integer(EXIT_DONE));
		return client_print(invocation, json_incref(why)) ? EXIT_DONE : EXIT_REFUSED;
	}
	print_doubt(why);
	if (strcmp(answer_string(why, "kind"), "address") == 0)
		print_address(invocation, why);
	else
		print_owner_or_host(invocation, why);
	return EXIT_DONE;
}

static int answer_offline(const struct invocation *invocation, json_t **ret_answer)
{
	struct offline offline;
	struct text text = {0};
	struct error error = {0};
	int result, code = offline_load(invocation, &offline);

	if (code != EXIT_DONE)
		return code;
	result = why_answer(
		&offline.view, &offline.cycle.around.own, invocation->arguments[0], &text);
	offline_clear(&offline);
	if (result < 0)
		error_no_memory(&error);
	else
		result = client_parse(&text, ret_answer, &error);
	text_free(&text);
	if (result == 0)
		return EXIT_DONE;
	say_error(invocation, &error);
	return EXIT_REFUSED;
}

int command_why(const struct invocation *invocation)
{
	struct control_request request = {.kind = CONTROL_WHY, .what = invocation->arguments[0]};
	struct error error = {0};
	json_t *answer = NULL;
	int code, result;

	if (!client_is_askable(request.what)) {
		say_usage(invocation,
			"why takes an address, or an extension, peer or host of the config");
		return EXIT_USAGE;
	}
	result = client_ask(invocation, &request, &answer, &error);
	if (result < 0) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	if (result == CLIENT_NO_DAEMON) {
		code = answer_offline(invocation, &answer);
		if (code != EXIT_DONE)
			return code;
	}
	if (answer_is(answer, "ok", true))
		code = report(invocation, answer);
	else
		code = client_say_refusal(invocation, answer);
	json_decref(answer);
	return code;
}
