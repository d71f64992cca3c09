/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The answers of the control socket, from a real config and roster, and as a JSON parser reads
 * them. */
#include "check.h"

#include "config_yaml.h"
#include "json_put.h"
#include "metrics.h"
#include "news.h"
#include "status.h"
#include "why.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NOW = 1700000000, MANY = 1001 };

/* --- a world --- */

struct world {
	struct config *config;
	struct roster *roster;
	struct steady clock;
	struct view view;
};

static int read_text(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	struct config_source *source = calloc(1, sizeof(*source));

	(void)base;
	(void)error;
	source->path = strdup(pattern);
	source->data = strdup(context);
	source->length = strlen(context);
	*ret_sources = source;
	*ret_count = 1;
	return 0;
}

static void make_world(struct world *world, const char *text)
{
	struct text messages = {0};

	*world = (struct world){.clock = {.now = NOW, .at = {.wall = NOW}}};
	if (config_yaml_parse(
		    "/etc/test.yaml", read_text, (void *)text, &world->config, &messages) < 0)
		fail_msg("%s", text_string(&messages));
	text_free(&messages);
	assert_int_equal(roster_build(world->config, NULL, &world->roster), 0);
	world->view = (struct view){
		.version = "1.2.3",
		.config = world->config,
		.roster = world->roster,
		.clock = &world->clock,
		.saved_wall = NOW - 60,
	};
}

static void clear_world(struct world *world)
{
	roster_free(world->roster);
	config_free(world->config);
}

static struct host *host_of(struct world *world, const char *name)
{
	for (size_t i = 0; i < world->roster->host_count; i++) {
		if (strcmp(world->roster->hosts[i].name, name) == 0)
			return &world->roster->hosts[i];
	}
	fail_msg("no host %s", name);
	return NULL;
}

static struct addr address(const char *text)
{
	struct addr addr;

	assert_true(addr_parse(text, strlen(text), &addr));
	return addr;
}

static void answers(struct world *world, const char *name, enum family family,
	enum answer_kind kind, enum answer_reason reason, const char *text, int64_t when)
{
	struct addr addr = text ? address(text) : (struct addr){0};
	struct answer answer = {.kind = kind,
		.reason = reason,
		.ttl = 60,
		.addrs = &addr,
		.count = kind == ANSWER_ADDRESSES,
		.culprit = addr};
	size_t index = (size_t)(host_of(world, name) - world->roster->hosts);

	assert_true(host_take(&world->roster->hosts[index], family, &answer,
			    world->roster->linger[index], when) >= 0);
}

static void points(struct world *world, const char *name, const char *text, int64_t when)
{
	enum family family = (enum family)address(text).family;

	answers(world, name, family, ANSWER_ADDRESSES, REASON_NONE, text, when);
	answers(world, name, family == FAMILY_IPV4 ? FAMILY_IPV6 : FAMILY_IPV4, ANSWER_NO_DATA,
		REASON_NONE, NULL, when);
}

/* --- reading --- */

static json_t *parse(const struct text *text)
{
	json_error_t error;
	json_t *json = json_loadb(text->data, text->length, JSON_REJECT_DUPLICATES, &error);

	if (!json)
		fail_msg("%s at %d of %s", error.text, error.position, text->data);
	assert_null(strchr(text->data, '\n'));
	return json;
}

static const char *string_at(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_null(value) ? "null" : json_string_value(value);
}

static json_t *find(const json_t *list, const char *key, const char *value)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		const char *found = json_string_value(json_object_get(item, key));

		if (found && strcmp(found, value) == 0)
			return item;
	}
	fail_msg("no %s %s", key, value);
	return NULL;
}

static json_t *status_of(struct world *world)
{
	struct status_cursor *cursor;
	struct text text = {0};
	json_t *json, *status;
	int result;

	assert_int_equal(status_begin(&world->view, &cursor), 0);
	while ((result = status_next(cursor, &world->view, &text)) == STATUS_MORE)
		;
	assert_int_equal(result, 0);
	status_end(cursor);
	json = parse(&text);
	assert_true(json_is_true(json_object_get(json, "ok")));
	status = json_incref(json_object_get(json, "status"));
	json_decref(json);
	text_free(&text);
	return status;
}

/* --- JSON as text --- */

static void test_any_bytes_are_a_string(void **state)
{
	struct dice dice = dice_new("test_any_bytes_are_a_string");

	(void)state;
	for (int round = 0; round < 2000; round++) {
		char bytes[16] = {0};
		struct text text = {0}, escaped = {0};
		json_t *json;

		for (size_t i = 0; i < 1 + dice_roll(&dice, sizeof(bytes) - 1); i++)
			bytes[i] = (char)(1 + dice_roll(&dice, 255));
		json_put_open(&text, "[");
		json_put_string(&text, bytes);
		json_put_string(&text, NULL);
		json_put_close(&text, "]");
		json = parse(&text);
		/* As text_escaped(), but a backslash is one. */
		for (const char *at = bytes; *at; at++) {
			if (*at == '\\')
				text_puts(&escaped, "\\");
			else
				text_escaped(&escaped, at, 1);
		}
		assert_string_equal(
			json_string_value(json_array_get(json, 0)), text_string(&escaped));
		assert_true(json_is_null(json_array_get(json, 1)));
		json_decref(json);
		text_free(&text);
		text_free(&escaped);
	}
}

static void test_times(void **state)
{
	static const struct {
		int64_t wall;
		const char *text;
	} rows[] = {{1, "\"1970-01-01T00:00:01Z\""}, {NOW, "\"2023-11-14T22:13:20Z\""},
		{253402300799, "\"9999-12-31T23:59:59Z\""}, {253402300800, "null"}, {0, "null"},
		{-5, "null"}, {INT64_MAX, "null"}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct text text = {0};

		json_put_time(&text, rows[i].wall);
		assert_string_equal(text_string(&text), rows[i].text);
		text_free(&text);
	}
}

/* --- status --- */

static void test_each_state(void **state)
{
	struct world world;
	json_t *status, *name, *a;

	(void)state;
	make_world(&world,
		"extensions:\n  1: fresh.example\n  2: held.example\n  3: gone.example\n"
		"  4: refused.example\n  5: never.example\n  6: expired.example\n  7: local\n"
		"  8: special.example\n"
		"local-subnets: [192.168.1.0/24]\n"
		"peers: {p: {hosts: [198.51.100.0/28], srv: [_sip._udp.example]}}\n");
	points(&world, "fresh.example", "203.0.113.1", NOW - 30);
	points(&world, "held.example", "203.0.113.2", NOW - 90);
	answers(&world, "held.example", FAMILY_IPV4, ANSWER_COULD_NOT_ASK, REASON_SERVFAIL, NULL,
		NOW - 5);
	points(&world, "gone.example", "203.0.113.3", NOW - 900);
	answers(&world, "gone.example", FAMILY_IPV4, ANSWER_NO_NAME, REASON_NONE, NULL, NOW - 100);
	answers(&world, "refused.example", FAMILY_IPV4, ANSWER_REFUSED, REASON_PRIVATE, "10.0.0.1",
		NOW - 1);
	answers(&world, "special.example", FAMILY_IPV4, ANSWER_REFUSED, REASON_SPECIAL, "127.0.0.1",
		NOW - 1);
	host_of(&world, "expired.example")->lookup[FAMILY_IPV4] = (struct lookup){.asked = NOW - 2,
		.good = NOW - 90000,
		.last = ANSWER_COULD_NOT_ASK,
		.reason = REASON_TIMEOUT};
	status = status_of(&world);

	name = find(json_object_get(status, "names"), "name", "fresh.example");
	assert_string_equal(string_at(name, "state"), "fresh");
	assert_string_equal(
		string_at(json_array_get(json_object_get(name, "owners"), 0), "kind"), "extension");
	assert_string_equal(
		string_at(json_array_get(json_object_get(name, "owners"), 0), "id"), "1");
	a = json_object_get(name, "A");
	assert_string_equal(json_string_value(json_array_get(json_object_get(a, "addresses"), 0)),
		"203.0.113.1");
	assert_string_equal(string_at(a, "last"), "addresses");
	assert_string_equal(string_at(a, "reason"), "null");
	assert_string_equal(string_at(a, "good"), "2023-11-14T22:12:50Z");
	assert_string_equal(string_at(a, "leaves"), "null");
	assert_true(json_is_null(json_object_get(a, "next")));
	assert_string_equal(string_at(json_object_get(name, "AAAA"), "last"), "no data");

	name = find(json_object_get(status, "names"), "name", "held.example");
	assert_string_equal(string_at(name, "state"), "held");
	a = json_object_get(name, "A");
	assert_string_equal(string_at(a, "last"), "could not ask");
	assert_string_equal(string_at(a, "reason"), answer_reason_text(REASON_SERVFAIL));
	assert_string_equal(string_at(a, "asked"), "2023-11-14T22:13:15Z");
	assert_string_equal(string_at(a, "leaves"), "2023-11-15T22:11:50Z"); /* 24 h after */

	name = find(json_object_get(status, "names"), "name", "gone.example");
	assert_string_equal(string_at(name, "state"), "gone");
	a = json_object_get(name, "A");
	assert_string_equal(string_at(a, "last"), "no such name");
	assert_string_equal(string_at(a, "leaves"), "2023-11-14T22:16:40Z"); /* 5 min after */

	name = find(json_object_get(status, "names"), "name", "refused.example");
	assert_string_equal(string_at(name, "state"), "refused");
	a = json_object_get(name, "A");
	assert_string_equal(string_at(a, "refused_address"), "10.0.0.1");
	assert_string_equal(string_at(a, "reason"), answer_reason_text(REASON_PRIVATE));
	name = find(json_object_get(status, "names"), "name", "special.example");
	assert_string_equal(string_at(json_object_get(name, "A"), "reason"), "a loopback address");

	name = find(json_object_get(status, "names"), "name", "never.example");
	assert_string_equal(string_at(name, "state"), "never answered");
	assert_string_equal(string_at(json_object_get(name, "A"), "last"), "never");
	name = find(json_object_get(status, "names"), "name", "expired.example");
	assert_string_equal(string_at(name, "state"), "expired");

	a = json_object_get(status, "totals");
	assert_int_equal(json_integer_value(json_object_get(a, "fresh")), 1);
	assert_int_equal(json_integer_value(json_object_get(a, "held")), 1);
	assert_int_equal(json_integer_value(json_object_get(a, "gone")), 1);
	assert_int_equal(json_integer_value(json_object_get(a, "refused")), 2);
	assert_int_equal(json_integer_value(json_object_get(a, "expired")), 1);
	/* With the SRV name. */
	assert_int_equal(json_integer_value(json_object_get(a, "never answered")), 2);
	assert_string_equal(string_at(json_array_get(json_object_get(status, "srv"), 0), "name"),
		"_sip._udp.example");

	a = json_object_get(status, "permits");
	assert_int_equal(json_array_size(a), 2);
	assert_string_equal(string_at(json_array_get(a, 0), "prefix"), "198.51.100.0/28");
	assert_string_equal(string_at(json_array_get(a, 1), "prefix"), "192.168.1.0/24");
	assert_string_equal(
		string_at(json_object_get(json_array_get(a, 1), "owner"), "kind"), "local-subnets");
	a = json_object_get(status, "local_extensions");
	assert_int_equal(json_array_size(a), 1);
	assert_string_equal(json_string_value(json_array_get(a, 0)), "7");
	assert_string_equal(string_at(status, "saved"), "2023-11-14T22:12:20Z");
	assert_string_equal(string_at(status, "version"), "1.2.3");
	json_decref(status);

	/* A state file does not know what was refused: 0.0.0.0 it was not. */
	host_of(&world, "refused.example")->culprit[FAMILY_IPV4] = (struct addr){0};
	host_of(&world, "special.example")->culprit[FAMILY_IPV4] = (struct addr){0};
	status = status_of(&world);
	name = find(json_object_get(status, "names"), "name", "refused.example");
	assert_null(json_object_get(json_object_get(name, "A"), "refused_address"));
	name = find(json_object_get(status, "names"), "name", "special.example");
	assert_string_equal(string_at(json_object_get(name, "A"), "reason"),
		answer_reason_text(REASON_SPECIAL));
	json_decref(status);
	clear_world(&world);
}

static void expect_mode(
	struct world *world, const char *mode, const char *of, const char *config, json_type right)
{
	static const char *const unknown[] = {
		"pid", "started", "dns", "save_failing", "refused", "repairs"};
	json_t *status = status_of(world);

	assert_string_equal(string_at(status, "mode"), mode);
	assert_string_equal(string_at(status, "mode_of"), of);
	assert_string_equal(string_at(status, "config_mode"), config);
	assert_int_equal(json_typeof(json_object_get(status, "table_right")), right);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_true(json_is_null(json_object_get(status, unknown[i])));
	json_decref(status);
}

static void test_the_mode_is_that_of_the_table(void **state)
{
	static struct enforced_port sip[] = {{PROTOCOL_UDP, 5060, 5060}};
	struct observed drops = {.present = true, .enforced = sip, .enforced_count = 1};
	struct observed monitors = {.present = true, .monitor = true};
	struct world world;

	(void)state;
	make_world(&world, "extensions: {1: a.example}\n");
	expect_mode(&world, "enforce", "config", "enforce", JSON_NULL);
	world.view.no_table = true;
	expect_mode(&world, "enforce", "config", "enforce", JSON_FALSE);
	world.view.no_table = false;
	world.view.in_force = &drops;
	expect_mode(&world, "enforce", "table", "enforce", JSON_TRUE);
	world.view.in_force = &monitors;
	world.view.differs = true;
	expect_mode(&world, "monitor", "table", "enforce", JSON_FALSE);
	clear_world(&world);
	make_world(&world, "extensions: {1: a.example}\nmode: monitor\n");
	expect_mode(&world, "monitor", "config", "monitor", JSON_NULL);
	world.view.in_force = &drops;
	world.view.differs = true;
	expect_mode(&world, "enforce", "table", "monitor", JSON_FALSE);
	clear_world(&world);
}

/* Who was let in by another's hand: the rules are right, and the table is not. */
static void test_a_table_that_others_have_changed(void **state)
{
	static struct enforced_port sip[] = {{PROTOCOL_UDP, 5060, 5060}};
	struct observed drops = {.present = true, .enforced = sip, .enforced_count = 1};
	struct drift drift = {0};
	struct text metrics = {0};
	struct world world;
	json_t *status, *of, *first;

	(void)state;
	make_world(&world, "extensions: {1: a.example}\n");
	world.view.in_force = &drops;
	status = status_of(&world);
	assert_true(json_is_null(json_object_get(status, "drift")));
	json_decref(status);

	world.view.drift = &drift;
	expect_mode(&world, "enforce", "table", "enforce", JSON_TRUE);
	status = status_of(&world);
	of = json_object_get(status, "drift");
	assert_int_equal(json_integer_value(json_object_get(of, "added")), 0);
	assert_true(json_is_null(json_object_get(of, "text")));
	json_decref(status);

	drift.added.count = 1;
	drift.added.first[0].set = "sip_hosts4";
	drift.added.first[0].prefix = prefix_of(&(struct addr){.bytes = {203, 0, 113, 66}}, 32);
	drift.missing.count = DRIFT_NAMED + 2;
	for (size_t i = 0; i < DRIFT_NAMED; i++) {
		drift.missing.first[i].set = "sip_nets4";
		drift.missing.first[i].prefix =
			prefix_of(&(struct addr){.bytes = {10, (uint8_t)i}}, 16);
	}
	expect_mode(&world, "enforce", "table", "enforce", JSON_FALSE);
	status = status_of(&world);
	of = json_object_get(status, "drift");
	assert_int_equal(json_integer_value(json_object_get(of, "added")), 1);
	assert_int_equal(json_integer_value(json_object_get(of, "missing")), DRIFT_NAMED + 2);
	first = json_object_get(of, "first");
	assert_int_equal(json_array_size(first), 1 + DRIFT_NAMED);
	assert_string_equal(string_at(json_array_get(first, 0), "change"), "added");
	assert_string_equal(string_at(json_array_get(first, 0), "set"), "sip_hosts4");
	assert_string_equal(string_at(json_array_get(first, 0), "element"), "203.0.113.66");
	assert_string_equal(string_at(json_array_get(first, 1), "change"), "missing");
	assert_string_equal(string_at(json_array_get(first, 2), "element"), "10.1.0.0/16");
	assert_non_null(strstr(string_at(of, "text"), "1 element was added: 203.0.113.66"));
	json_decref(status);

	assert_int_equal(metrics_print(&world.view, NULL, NULL, NOW, &metrics), 0);
	assert_non_null(strstr(text_string(&metrics), "\nsipfence_table_right 0\n"));
	text_free(&metrics);
	clear_world(&world);
}

/* The two clocks change their seconds at different moments. */
static void test_times_do_not_waver(void **state)
{
	struct world world;

	(void)state;
	make_world(&world, "extensions: {1: a.example}\n");
	world.clock = (struct steady){.now = NOW, .at = {.wall = NOW, .boottime = 500}};
	world.view.boot_wall = NOW - 501;
	assert_int_equal(view_wall(&world.view, NOW - 100), NOW - 101);
	/* 0.4 s later the wall clock is at its next second, 0.3 s later the other one, too. */
	world.clock.at.wall++;
	assert_int_equal(view_wall(&world.view, NOW - 100), NOW - 101);
	world.clock.now++;
	world.clock.at.boottime++;
	assert_int_equal(view_wall(&world.view, NOW - 100), NOW - 101);
	/* Without a daemon the clock is that of the state file. */
	world.view.boot_wall = 0;
	assert_int_equal(view_wall(&world.view, NOW - 100), NOW - 100);
	clear_world(&world);
}

/* Whether a piece is appended to the former ones or stands alone, and however many names there are:
 * together they are one JSON line. */
static void test_pieces(void **state)
{
	static const size_t counts[] = {
		1, STATUS_NAMES - 1, STATUS_NAMES, STATUS_NAMES + 1, 2 * STATUS_NAMES, MANY};

	(void)state;
	for (size_t round = 0; round < sizeof(counts) / sizeof(counts[0]); round++) {
		struct text yaml = {0}, whole = {0}, pieces = {0}, piece = {0};
		struct status_cursor *one, *other;
		struct world world;
		size_t turns = 0;
		json_t *json, *status;
		int result;

		text_puts(&yaml, "extensions:\n");
		for (size_t i = 0; i < counts[round]; i++)
			text_printf(&yaml,
				"  %zu: {hosts: [h%zu.example, 203.0.113.1], local: true}\n", i, i);
		text_puts(&yaml, "local-subnets: [192.168.1.0/24]\n");
		make_world(&world, text_string(&yaml));
		assert_int_equal(status_begin(&world.view, &one), 0);
		assert_int_equal(status_begin(&world.view, &other), 0);
		do {
			size_t before = whole.length;

			result = status_next(one, &world.view, &whole);
			assert_true(whole.length > before);
			text_clear(&piece);
			assert_int_equal(status_next(other, &world.view, &piece), result);
			text_write(&pieces, piece.data, piece.length);
			turns++;
		} while (result == STATUS_MORE);
		assert_int_equal(result, 0);
		assert_string_equal(text_string(&whole), text_string(&pieces));
		assert_true(turns > 3 * (counts[round] / STATUS_NAMES));
		json = parse(&whole);
		status = json_object_get(json, "status");
		assert_int_equal(json_array_size(json_object_get(status, "names")), counts[round]);
		assert_int_equal(
			json_array_size(json_object_get(status, "permits")), counts[round] + 1);
		assert_int_equal(json_array_size(json_object_get(status, "local_extensions")),
			counts[round]);
		json_decref(json);
		status_end(one);
		status_end(other);
		clear_world(&world);
		text_free(&yaml);
		text_free(&whole);
		text_free(&pieces);
		text_free(&piece);
	}
	assert_null(status_end(NULL));
}

static void test_shared_names_have_all_their_owners(void **state)
{
	struct world world;
	json_t *status, *name;

	(void)state;
	make_world(&world,
		"extensions: {21: a.example, 22: a.example}\n"
		"peers: {p: {srv: [_sip._udp.example]}, q: {srv: [_sip._udp.example]}}\n");
	status = status_of(&world);
	name = find(json_object_get(status, "names"), "name", "a.example");
	assert_int_equal(json_array_size(json_object_get(name, "owners")), 2);
	assert_string_equal(
		string_at(json_array_get(json_object_get(name, "owners"), 1), "id"), "22");
	name = json_array_get(json_object_get(status, "srv"), 0);
	assert_int_equal(json_array_size(json_object_get(name, "owners")), 2);
	assert_string_equal(
		string_at(json_array_get(json_object_get(name, "owners"), 0), "id"), "p");
	assert_string_equal(
		string_at(json_array_get(json_object_get(name, "owners"), 1), "id"), "q");
	json_decref(status);
	clear_world(&world);
}

/* --- refresh and reload --- */

static void note(struct news *news, const char *name, const char *key, const char *value)
{
	struct event event;

	event_begin(&event, EVENT_NOTICE, name);
	event_put(&event, key, value);
	event_put(&event, "more", "plain");
	news_note(news, &event);
	event_clear(&event);
}

static json_t *reloaded(const struct news *news, const struct news_mark *mark)
{
	struct text text = {0};
	json_t *json;

	assert_int_equal(status_reloaded(news, mark, &text), 0);
	json = parse(&text);
	text_free(&text);
	return json;
}

static void test_news(void **state)
{
	struct news news = {0};
	struct news_mark first, second;
	json_t *json, *list;

	(void)state;
	note(&news, "change", "host", "nobody.listens");
	assert_int_equal(news.count, 0);
	first = news_listen(&news);
	note(&news, "change", "host", "a.example");
	note(&news, "start", "host", "no.news");
	note(&news, "changes", "host", "no.news");
	second = news_listen(&news);
	note(&news, "state", "reason", "the \"server\" failed \\ \n");
	note(&news, "shut-out", "source", "198.51.100.66");
	json = reloaded(&news, &first);
	list = json_object_get(json, "changes");
	assert_int_equal(json_array_size(list), 3);
	assert_string_equal(string_at(json_array_get(list, 2), "source"), "198.51.100.66");
	assert_string_equal(string_at(json_array_get(list, 0), "event"), "change");
	assert_string_equal(string_at(json_array_get(list, 0), "host"), "a.example");
	assert_string_equal(string_at(json_array_get(list, 0), "more"), "plain");
	assert_string_equal(
		string_at(json_array_get(list, 1), "reason"), "the \"server\" failed \\ \\x0a");
	assert_string_equal(string_at(json_array_get(list, 1), "more"), "plain");
	json_decref(json);
	json = reloaded(&news, &second);
	assert_int_equal(json_array_size(json_object_get(json, "changes")), 2);
	json_decref(json);
	news_leave(&news);
	assert_true(news.count > 0);
	news_leave(&news);
	assert_int_equal(news.count, 0);
	assert_int_equal(news.lines.length, 0);
}

static void test_too_much_news(void **state)
{
	struct news news = {0};
	struct news_mark first = news_listen(&news), second;
	json_t *json;

	(void)state;
	for (size_t i = 0; i < NEWS_MAX + 3; i++)
		note(&news, "change", "host", "a.example");
	second = news_listen(&news);
	note(&news, "change", "host", "a.example");
	json = reloaded(&news, &first);
	assert_int_equal(json_array_size(json_object_get(json, "changes")), NEWS_MAX);
	assert_int_equal(json_integer_value(json_object_get(json, "changes_left_out")), 4);
	json_decref(json);
	json = reloaded(&news, &second);
	assert_int_equal(json_array_size(json_object_get(json, "changes")), 0);
	assert_int_equal(json_integer_value(json_object_get(json, "changes_left_out")), 1);
	json_decref(json);
	news_clear(&news);
}

static json_t *refreshed(struct world *world, const char *const *names, size_t count)
{
	struct news news = {0};
	struct news_mark mark = news_listen(&news);
	struct text text = {0};
	json_t *json;

	assert_int_equal(status_refreshed(&world->view, names, count, &news, &mark, &text), 0);
	json = parse(&text);
	text_free(&text);
	news_leave(&news);
	return json;
}

static void test_unsure_names(void **state)
{
	static const char *const names[] = {"a.example", "b.example", "_sip._udp.example"};
	struct world world;
	json_t *json;

	(void)state;
	/* `b` under two guards is one question, and two names that may be unsure. */
	make_world(&world, "extensions:\n  1: a.example\n  2: b.example\n"
			   "  3: {hosts: [b.example], within: [203.0.113.0/24]}\n"
			   "peers: {p: {srv: [_sip._udp.example]}}\n");
	points(&world, "a.example", "203.0.113.1", NOW);
	json = refreshed(&world, NULL, 0);
	assert_int_equal(json_integer_value(json_object_get(json, "asked")), 3);
	assert_int_equal(json_array_size(json_object_get(json, "unsure")), 3);
	json_decref(json);
	json = refreshed(&world, names, 1);
	assert_int_equal(json_integer_value(json_object_get(json, "asked")), 1);
	assert_int_equal(json_array_size(json_object_get(json, "unsure")), 0);
	json_decref(json);
	json = refreshed(&world, names, 3);
	assert_int_equal(json_array_size(json_object_get(json, "unsure")), 3);
	json_decref(json);
	clear_world(&world);
}

/* --- why --- */

static json_t *ask_why(struct world *world, const char *what)
{
	static const struct addr own_list[] = {{FAMILY_IPV4, {192, 0, 2, 10}}};
	static const struct own_addresses own = {own_list, 1};
	struct text text = {0};
	json_t *json;

	assert_int_equal(why_answer(&world->view, &own, what, &text), 0);
	json = parse(&text);
	text_free(&text);
	return json;
}

/* The verdict on the service, and a piece of text that the whole answer must have. */
static void expect(struct world *world, const char *what, const char *service, const char *verdict,
	const char *piece)
{
	json_t *json = ask_why(world, what), *why = json_object_get(json, "why");
	char *dump = json_dumps(why, JSON_COMPACT);
	json_t *found = find(json_object_get(why, "services"), "service", service);

	if (strcmp(string_at(found, "verdict"), verdict) != 0 || !strstr(dump, piece))
		fail_msg("%s at %s, expected %s and %s: %s", what, service, verdict, piece, dump);
	assert_string_equal(string_at(why, "kind"), "address");
	free(dump);
	json_decref(json);
}

static void never(struct world *world, const char *what, const char *piece)
{
	json_t *json = ask_why(world, what);
	char *dump = json_dumps(json, JSON_COMPACT);

	if (strstr(dump, piece))
		fail_msg("%s: %s in %s", what, piece, dump);
	free(dump);
	json_decref(json);
}

static const char yaml[] =
	"extensions:\n  21: home21.example\n  22: {hosts: [wide.example], ipv6-prefix: 64}\n"
	"  23: local\n  24: {hosts: [pinned.example], within: [198.18.0.0/15]}\n  25: none.example\n"
	"  p: phone.example\n"
	"local-subnets: [192.168.1.0/24]\n"
	"peers:\n  carrier: {hosts: [198.51.100.0/28, 198.51.100.9]}\n  p: trunk.example\n"
	"  anna: {hosts: [anna.example], services: [web]}\n"
	"services: {web: {tcp: [443]}}\n";

static void make_why_world(struct world *world, const char *more)
{
	struct text text = {0};

	text_puts(&text, yaml);
	text_puts(&text, more);
	make_world(world, text_string(&text));
	text_free(&text);
	points(world, "home21.example", "203.0.113.10", NOW - 10);
	points(world, "wide.example", "2001:db8:22::1", NOW - 10);
	points(world, "anna.example", "203.0.113.40", NOW - 10);
	points(world, "trunk.example", "203.0.113.50", NOW - 20);
	points(world, "trunk.example", "203.0.113.51", NOW - 10);
	points(world, "pinned.example", "198.18.0.1", NOW - 10);
	answers(world, "phone.example", FAMILY_IPV4, ANSWER_REFUSED, REASON_PRIVATE, "10.0.0.3",
		NOW - 10);
}

static void test_why_an_address_passes(void **state)
{
	struct world world;

	(void)state;
	make_why_world(&world, "");
	expect(&world, "203.0.113.10", "sip", "accept",
		"\"set\":\"sip_hosts4\",\"element\":\"203.0.113.10\",\"owners\":[{\"kind\":"
		"\"extension\",\"id\":\"21\",\"host\":\"home21.example\"");
	expect(&world, "203.0.113.10", "sip", "accept", "\"state\":\"fresh\"");
	/* Inside of the prefix that is granted. */
	expect(&world, "2001:db8:22::99", "sip", "accept", "\"element\":\"2001:db8:22::/64\"");
	/* Lingering. */
	expect(&world, "203.0.113.50", "sip", "accept", "\"state\":\"replaced\"");
	expect(&world, "203.0.113.50", "sip", "accept", "\"leaves\":\"2023-11-14T23:13:10Z\"");
	expect(&world, "198.51.100.3", "sip", "accept", "\"set\":\"sip_nets4\"");
	expect(&world, "192.168.1.77", "sip", "accept", "\"kind\":\"local-subnets\"");
	expect(&world, "203.0.113.40", "web", "accept", "\"id\":\"anna\"");
	expect(&world, "127.0.0.1", "sip", "accept", "a loopback address");
	expect(&world, "::1", "web", "accept", "a loopback address");
	expect(&world, "192.0.2.10", "sip", "accept", "an address of this machine");
	clear_world(&world);
}

/* Of one name under two guards, one may have refused what the other has taken. */
static void test_why_by_two_guards(void **state)
{
	struct world world;
	struct host *first, *second;

	(void)state;
	make_world(&world, "extensions:\n  2: b.example\n"
			   "  3: {hosts: [b.example], within: [203.0.113.0/24]}\n");
	points(&world, "b.example", "203.0.113.1", NOW - 10);
	first = host_of(&world, "b.example");
	second = first + 1;
	assert_string_equal(second->name, "b.example");
	for (int turn = 0; turn < 2; turn++) {
		struct addr addr = address(turn ? "10.0.0.1" : "203.0.113.1");
		struct answer answer = {.kind = turn ? ANSWER_REFUSED : ANSWER_ADDRESSES,
			.reason = turn ? REASON_OUTSIDE : REASON_NONE,
			.addrs = &addr,
			.count = 1,
			.culprit = addr};

		assert_true(host_take(second, FAMILY_IPV4, &answer, 0, NOW - 5 + turn) >= 0);
	}
	expect(&world, "203.0.113.1", "sip", "accept",
		"\"id\":\"2\",\"host\":\"b.example\",\"prefix\":\"203.0.113.1\",\"state\":\"fresh\"");
	expect(&world, "203.0.113.1", "sip", "accept",
		"\"id\":\"3\",\"host\":\"b.example\",\"prefix\":\"203.0.113.1\",\"state\":\"refused\"");
	clear_world(&world);
}

static void test_why_an_address_is_kept_out(void **state)
{
	struct world world;

	(void)state;
	make_why_world(&world, "");
	/* A stranger: what to do, and which phones have no address. */
	expect(&world, "100.64.0.1", "sip", "drop", "to let it in, if it is yours, ");
	expect(&world, "100.64.0.1", "sip", "drop", "none.example of extension 25");
	/* The wrong service. */
	expect(&world, "203.0.113.40", "sip", "drop", "peer anna has this address by anna.example");
	expect(&world, "203.0.113.10", "web", "drop", "passes sip only, not web");
	expect(&world, "198.51.100.3", "web", "drop", "peer carrier has this address, but");
	expect(&world, "192.168.1.77", "web", "drop", "does not name web");
	/* A guard held it back. */
	expect(&world, "10.0.0.3", "sip", "drop", "which was refused: private");
	setenv("TZ", "XYZ-3", 1);
	tzset();
	expect(&world, "10.0.0.3", "sip", "drop", "by its last answer (2023-11-15 01:13:10 XYZ)");
	unsetenv("TZ");
	tzset();
	/* It has moved, and its name not yet: a guess, and of a name that is in trouble alone. */
	never(&world, "203.0.113.11", "same network");
	answers(&world, "home21.example", FAMILY_IPV4, ANSWER_COULD_NOT_ASK, REASON_TIMEOUT, NULL,
		NOW - 5);
	expect(&world, "203.0.113.11", "sip", "drop",
		"home21.example of extension 21 has 203.0.113.10, and this address is in the same "
		"network");
	never(&world, "203.0.113.11", "anna.example of");
	expect(&world, "198.19.0.1", "sip", "drop", "lies in its `within` 198.18.0.0/15");
	/* It lingers for some and not for others: those whom it was taken from are named. */
	expect(&world, "203.0.113.50", "web", "drop",
		"trunk.example of peer p had this address until");
	clear_world(&world);
}

static void test_why_in_other_modes(void **state)
{
	struct world world;

	(void)state;
	make_why_world(&world, "mode: monitor\n");
	expect(&world, "100.64.0.1", "sip", "accept (monitor)", "\"mode\":\"monitor\"");
	clear_world(&world);
	make_why_world(&world, "replies: accept\n");
	expect(&world, "100.64.0.1", "sip", "drop", "replies in flows that the PBX opened");
	clear_world(&world);
}

/* Without a daemon the kernel's table may be of another config: it decides. */
static void test_why_by_the_table_in_force(void **state)
{
	static struct enforced_port ports[] = {
		{PROTOCOL_UDP, 5060, 5060}, {PROTOCOL_TCP, 5060, 5061}, {PROTOCOL_UDP, 5061, 5061}};
	struct element let_in = {.prefix = {.addr = address("100.64.0.7"), .length = 32}};
	struct set hosts = {
		.name = "sip_hosts4", .kind = SET_HOSTS, .elements = &let_in, .count = 1};
	struct observed drops = {.present = true,
		.enforced = ports,
		.enforced_count = 3,
		.sets = &hosts,
		.set_count = 1};
	struct observed monitors = {.present = true, .monitor = true};
	struct world world;

	(void)state;
	make_why_world(&world, "");
	world.view.no_table = true;
	expect(&world, "100.64.0.1", "sip", "accept (no table)", "\"by_config\":\"drop\"");
	expect(&world, "203.0.113.10", "sip", "accept (no table)", "\"by_config\":\"accept\"");
	expect(&world, "127.0.0.1", "sip", "accept", "iif lo");
	never(&world, "100.64.0.1", "and dropped");
	world.view.no_table = false;
	world.view.in_force = &monitors;
	expect(&world, "100.64.0.1", "sip", "accept (monitor)", "\"by_config\":\"drop\"");
	never(&world, "100.64.0.1", "and dropped");
	world.view.in_force = &drops;
	expect(&world, "100.64.0.1", "sip", "drop", "\"by_config\":\"drop\"");
	/* A service that the table does not have. */
	expect(&world, "100.64.0.1", "web", "accept (monitor)", "\"by_config\":\"drop\"");
	/* The table lets in whom the config does not, and the other way round. */
	expect(&world, "100.64.0.7", "sip", "accept",
		"sip_hosts4 accept: 100.64.0.7 is an element");
	expect(&world, "203.0.113.10", "sip", "drop", "put the config in force");
	drops.enforced_count = 1;
	expect(&world, "100.64.0.1", "sip", "drop", "but at the ports that are not shut yet");
	clear_world(&world);

	make_why_world(&world, "mode: monitor\n");
	drops.enforced_count = 3;
	world.view.in_force = &drops;
	expect(&world, "100.64.0.1", "sip", "drop", "\"by_config\":\"accept (monitor)\"");
	expect(&world, "100.64.0.1", "sip", "drop", "\"mode\":\"enforce\"");
	clear_world(&world);
}

static void test_why_a_name(void **state)
{
	struct world world;
	json_t *json, *why;

	(void)state;
	make_why_world(&world, "");
	json = ask_why(&world, "21");
	why = json_object_get(json, "why");
	assert_string_equal(string_at(why, "kind"), "extension");
	assert_string_equal(string_at(json_array_get(json_object_get(why, "hosts"), 0), "name"),
		"home21.example");
	json_decref(json);

	/* Of both kinds: the extension, with a hint; and each by its kind. */
	json = ask_why(&world, "p");
	why = json_object_get(json, "why");
	assert_string_equal(string_at(why, "kind"), "extension");
	assert_string_equal(string_at(why, "also"), "peer");
	json_decref(json);
	json = ask_why(&world, "peer:p");
	why = json_object_get(json, "why");
	assert_string_equal(string_at(why, "kind"), "peer");
	assert_string_equal(string_at(json_array_get(json_object_get(why, "hosts"), 0), "name"),
		"trunk.example");
	json_decref(json);

	json = ask_why(&world, "23");
	why = json_object_get(json, "why");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(why, "local_subnets"), 0)),
		"192.168.1.0/24");
	json_decref(json);
	json = ask_why(&world, "carrier");
	why = json_object_get(json, "why");
	assert_int_equal(json_array_size(json_object_get(why, "fixed")), 2);
	json_decref(json);

	json = ask_why(&world, "Home21.Example.");
	why = json_object_get(json, "why");
	assert_string_equal(string_at(why, "kind"), "host");
	json_decref(json);
	clear_world(&world);
}

static void test_why_something_unknown(void **state)
{
	static const struct {
		const char *what, *next;
	} rows[] = {{"hom21.example", "did you mean home21.example?"},
		{"home21", "did you mean home21.example?"}, {"carier", "did you mean carrier?"},
		{"extension:carrier", "sipfence status lists"},
		{"203.0.113.0/24", "a single address"},
		{"nothing.at.all.like.it", "sipfence status lists"},
		{"\x1b[31m", "sipfence status"}};
	struct world world;

	(void)state;
	make_why_world(&world, "");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *json = ask_why(&world, rows[i].what);

		assert_true(json_is_false(json_object_get(json, "ok")));
		assert_int_equal(json_integer_value(json_object_get(json, "exit")), 2);
		if (!strstr(string_at(json, "next"), rows[i].next))
			fail_msg("%s: %s", rows[i].what, string_at(json, "next"));
		json_decref(json);
	}
	clear_world(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_bytes_are_a_string),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_each_state),
		cmocka_unit_test(test_the_mode_is_that_of_the_table),
		cmocka_unit_test(test_a_table_that_others_have_changed),
		cmocka_unit_test(test_times_do_not_waver),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_shared_names_have_all_their_owners),
		cmocka_unit_test(test_news),
		cmocka_unit_test(test_too_much_news),
		cmocka_unit_test(test_unsure_names),
		cmocka_unit_test(test_why_an_address_passes),
		cmocka_unit_test(test_why_by_two_guards),
		cmocka_unit_test(test_why_an_address_is_kept_out),
		cmocka_unit_test(test_why_in_other_modes),
		cmocka_unit_test(test_why_by_the_table_in_force),
		cmocka_unit_test(test_why_a_name),
		cmocka_unit_test(test_why_something_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
