/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keeper against a model of Asterisk: it has a file, ACLs that a reload takes from it, and
 * registrations; it can lie, lag, go down, come back without what it had, and be reloaded by
 * others. The model checks with each task what must always be so.
 */
#include "asterisk_keeper.h"
#include "asterisk_ask.h"
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXTENSIONS = 400, TASK_MS = 10, RELOAD_MS = 15 };

struct phone {
	const char *extension, *address;
	bool pjsip, there;
	bool stubborn; /* it comes back at once */
};

struct model {
	struct asterisk_keeper *keeper;
	int64_t now;
	/* What is wanted. */
	struct config config;
	struct owner owners[EXTENSIONS];
	char ids[EXTENSIONS][8];
	char addresses[EXTENSIONS][40];
	/* What the keeper was told of it, and whether it has seen that in Asterisk since. */
	char told[EXTENSIONS][40];
	bool seen[EXTENSIONS];
	bool unsettled[EXTENSIONS];
	/* Asterisk's. */
	char *file;    /* on the disk */
	char *loaded;  /* in force */
	char *lagging; /* in force from `lag_at` on */
	int64_t lag_at;
	int lag_ms;
	bool down, booting, lies, hangs, unknown_evict, unwritable, no_contacts;
	char by_hand[256]; /* what it shows of an ACL that the file does not have */
	char *read;	   /* the file that it has read: the same is not read again */
	struct phone phones[8];
	size_t phone_count;
	/* Registrations of pjsip beside them, of extension 1000, and how many have gone. */
	size_t rogues, rogues_gone;
	bool calls;
	/* Counted. */
	size_t tasks, writes, reloads, shows, evictions, hangups, contacts, boots, lines;
	struct text log;
	struct asterisk_task task;
	bool under_way;
};

static void take_event(void *context, const struct event *event)
{
	struct model *model = context;

	text_puts(&model->log, text_string(&event->line));
	text_puts(&model->log, "\n");
	model->lines++;
}

static size_t said(const struct model *model, const char *what)
{
	size_t count = 0;

	for (const char *at = text_string(&model->log); (at = strstr(at, what)); at++)
		count++;
	return count;
}

/* --- What is wanted --- */

static struct asterisk_acls make_acls(struct model *model)
{
	struct asterisk_acls acls = {.config = &model->config};
	uint32_t count = (uint32_t)model->config.owner_count;

	acls.list = calloc(count + 1U, sizeof(*acls.list));
	acls.sorted = calloc(count + 1U, sizeof(*acls.sorted));
	acls.unlearned = calloc(count + 1U, sizeof(*acls.unlearned));
	acls.count = count;
	assert_non_null(acls.list);
	assert_non_null(acls.sorted);
	assert_non_null(acls.unlearned);
	for (uint32_t i = 0; i < count; i++) {
		struct prefix prefix;
		struct addr addr;

		acls.sorted[i] = i; /* the ids are in order */
		if (strcmp(model->told[i], model->addresses[i]) != 0)
			model->seen[i] = false;
		memcpy(model->told[i], model->addresses[i], sizeof(model->told[i]));
		if (!model->addresses[i][0])
			continue;
		assert_true(addr_parse(model->addresses[i], strlen(model->addresses[i]), &addr));
		prefix = prefix_of(&addr, addr_bits((enum family)addr.family));
		assert_int_equal(acl_add(&acls.list[i], &prefix), 0);
	}
	return acls;
}

static void extensions(struct model *model, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		snprintf(model->ids[i], sizeof(model->ids[i]), "%zu", 1000 + i);
		snprintf(model->addresses[i], sizeof(model->addresses[i]), "203.0.%zu.%zu", i / 250,
			i % 250 + 1);
		model->owners[i].id = model->ids[i];
	}
	model->config.path = "/etc/sipfence/sipfence.yaml";
	model->config.owners = model->owners;
	model->config.owner_count = count;
}

static void move(struct model *model, size_t extension, const char *address)
{
	snprintf(model->addresses[extension], sizeof(model->addresses[extension]), "%s", address);
	asterisk_keeper_changed(model->keeper, model->now);
}

/* --- Asterisk --- */

static void set(char **target, const char *value)
{
	char *copy = value ? strdup(value) : NULL;

	free(*target);
	*target = copy;
}

static void load(struct model *model)
{
	if (model->lies || !model->file || (model->read && strcmp(model->read, model->file) == 0))
		return;
	set(&model->read, model->file);
	if (model->lag_ms == 0) {
		set(&model->loaded, model->file);
		return;
	}
	set(&model->lagging, model->file);
	model->lag_at = model->now + model->lag_ms;
}

static void boot(struct model *model)
{
	model->down = false;
	set(&model->read, NULL);
	set(&model->loaded, NULL);
	load(model);
}

static void show(struct model *model, struct text *output)
{
	char head[128];
	const char *at;
	int number = 0;

	snprintf(head, sizeof(head), "\n[%s]\n", model->task.name);
	at = model->loaded ? strstr(model->loaded, head) : NULL;
	if (!at && strstr(model->by_hand, model->task.name))
		text_printf(output, "\n%s", model->by_hand);
	if (!at)
		return;
	text_printf(output, "\nACL: %s\n---------------------------------------------\n",
		model->task.name);
	for (at += strlen(head); strncmp(at, "deny=", 5) == 0 || strncmp(at, "permit=", 7) == 0;
		at = strchr(at, '\n') + 1) {
		bool deny = *at == 'd';
		const char *value = strchr(at, '=') + 1;
		int length = (int)strcspn(value, "/");
		bool all = atoi(value + length + 1) == 0;

		if (memchr(value, ':', (size_t)length))
			text_printf(output, "%3d: %s - %.*s/%s\n", number++,
				deny ? "deny" : "allow", length, value,
				all ? "::" : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
		else
			text_printf(output, "%3d: %s - %.*s/%s\n", number++,
				deny ? "deny" : "allow", length, value,
				all ? "0.0.0.0" : "255.255.255.255");
	}
}

static void list_contacts(const struct model *model, struct text *output)
{
	for (size_t i = model->rogues_gone; i < model->rogues; i++)
		text_printf(output,
			"key  : /registrar/contact/1000;@r%zu\nvalue: {\"uri\":\"sip:1000@198.51.100.66\","
			"\"endpoint\":\"1000\"}\n",
			i);
	for (size_t i = 0; i < model->phone_count; i++) {
		const struct phone *phone = &model->phones[i];

		if (!phone->there)
			continue;
		if (phone->pjsip)
			text_printf(output,
				"key  : /registrar/contact/%s;@0%zu\nvalue: {\"uri\":\"sip:%s@%s:5060\","
				"\"endpoint\":\"%s\"}\n",
				phone->extension, i, phone->extension, phone->address,
				phone->extension);
		else
			text_printf(output,
				"key  : /SIP/Registry/%s\nvalue: %s:5060:3600:%s:sip:%s@%s:5060\n",
				phone->extension, phone->address, phone->extension,
				phone->extension, phone->address);
	}
}

static size_t index_of(const struct model *model, const char *extension)
{
	size_t i = 0;

	while (strcmp(model->ids[i], extension) != 0)
		i++;
	return i;
}

/* The extension's ACL in force is what the keeper was told. */
static bool is_in_force(const struct model *model, size_t extension)
{
	char section[128];

	snprintf(section, sizeof(section),
		"[sipfence-%s]\ndeny=0.0.0.0/0\ndeny=::/0\npermit=%s/32\n", model->ids[extension],
		model->told[extension]);
	return model->loaded && strstr(model->loaded, section);
}

static void evict(struct model *model)
{
	const struct asterisk_contact *contact = model->task.contact;

	assert_true(model->seen[index_of(model, contact->extension)]);
	model->evictions++;
	model->rogues_gone += model->rogues_gone < model->rogues && model->task.step == 1;
	for (size_t i = 0; i < model->phone_count; i++) {
		struct phone *phone = &model->phones[i];

		if (phone->there && strcmp(phone->extension, contact->extension) == 0 &&
			phone->pjsip == contact->pjsip && !phone->stubborn &&
			model->task.step == (phone->pjsip ? 1U : 0U))
			phone->there = false;
	}
}

static struct asterisk_outcome refuse(int code, const char *what)
{
	struct asterisk_outcome outcome = {.result = code};

	error_set(&outcome.error, code, "do something", "%s", what);
	return outcome;
}

static struct asterisk_outcome write_file(struct model *model)
{
	model->writes++;
	/* The helper would end over another one. */
	assert_true(asterisk_acl_check_file(model->task.file->data, model->task.file->length));
	if (model->unwritable)
		return refuse(-ENOENT, "cannot write");
	if (model->file && strcmp(model->file, model->task.file->data) == 0)
		return (struct asterisk_outcome){.result = ASTERISK_WRITE_SAME};
	set(&model->file, model->task.file->data);
	return (struct asterisk_outcome){0};
}

static struct asterisk_outcome ask(struct model *model, struct text *output)
{
	struct asterisk_outcome outcome = {0};

	model->boots += model->task.kind == ASTERISK_TASK_BOOTED;
	if (model->hangs)
		return refuse(-ETIMEDOUT, "it hangs");
	if (model->down)
		return refuse(-ECONNREFUSED, "Asterisk is not running");
	if (model->task.kind == ASTERISK_TASK_BOOTED) {
		model->booting = false;
		return outcome;
	}
	if (model->booting)
		return (struct asterisk_outcome){.result = ASTERISK_ASK_UNKNOWN};
	switch (model->task.kind) {
	case ASTERISK_TASK_RELOAD:
		model->reloads++;
		load(model);
		break;
	case ASTERISK_TASK_SHOW:
		model->shows++;
		show(model, output);
		for (size_t i = 0; i < model->config.owner_count; i++) {
			if (strcmp(model->ids[i], model->task.name + strlen("sipfence-")) == 0)
				model->seen[i] = is_in_force(model, i);
		}
		break;
	case ASTERISK_TASK_CONTACTS:
		model->contacts++;
		if (model->no_contacts)
			return (struct asterisk_outcome){.result = ASTERISK_ASK_UNKNOWN};
		list_contacts(model, output);
		break;
	case ASTERISK_TASK_EVICT:
		if (model->unknown_evict)
			return (struct asterisk_outcome){.result = ASTERISK_ASK_UNKNOWN};
		evict(model);
		break;
	case ASTERISK_TASK_CHANNELS:
		if (model->calls)
			text_puts(
				output, "SIP/1000-00000001!x!y\nSIP/1001-00000002!x\nLocal/x!y\n");
		break;
	case ASTERISK_TASK_HANGUP:
		assert_string_equal(model->task.name, "SIP/1000-00000001");
		model->hangups++;
		break;
	default:
		fail();
	}
	return outcome;
}

/* One task, from its beginning to its end; false: there was none. */
static bool work(struct model *model)
{
	struct text output = {0};
	struct asterisk_outcome outcome;
	struct asterisk_task other;

	if (asterisk_keeper_wants(model->keeper, model->now)) {
		struct asterisk_acls acls = make_acls(model);

		assert_int_equal(
			asterisk_keeper_want(model->keeper, &acls, model->unsettled, model->now),
			0);
		asterisk_acls_clear(&acls);
	}
	if (!asterisk_keeper_next(model->keeper, model->now, &model->task))
		return false;
	model->tasks++;
	/* Never a second one meanwhile. */
	assert_false(asterisk_keeper_next(model->keeper, model->now, &other));
	assert_int_equal(asterisk_keeper_due(model->keeper), INT64_MAX);
	assert_false(asterisk_keeper_wants(model->keeper, model->now));
	if (model->lagging && model->now >= model->lag_at) {
		set(&model->loaded, model->lagging);
		set(&model->lagging, NULL);
	}
	model->now += model->task.kind == ASTERISK_TASK_RELOAD ? RELOAD_MS : TASK_MS;
	outcome = model->task.kind == ASTERISK_TASK_WRITE ? write_file(model) : ask(model, &output);
	outcome.output = text_string(&output);
	outcome.length = output.length;
	asterisk_keeper_done(model->keeper, &outcome, model->now);
	text_free(&output);
	return true;
}

/* As the daemon would: it sleeps until something is due. */
static void run(struct model *model, int64_t milliseconds)
{
	int64_t end = model->now + milliseconds;

	while (model->now < end) {
		int64_t due;

		if (work(model))
			continue;
		due = asterisk_keeper_due(model->keeper);
		/* What is due is done: no wake-up without a cause. */
		assert_true(due > model->now);
		model->now = due < end ? due : end;
	}
}

static enum asterisk_keeper_state state_of(const struct model *model)
{
	return asterisk_keeper_summary(model->keeper).state;
}

static struct model *start(size_t count)
{
	struct model *model = calloc(1, sizeof(*model));
	struct error error = {0};

	assert_non_null(model);
	model->now = 1000;
	assert_int_equal(asterisk_keeper_new(&model->keeper, take_event, model, &error), 0);
	extensions(model, count);
	asterisk_keeper_changed(model->keeper, model->now);
	return model;
}

static void end(struct model *model)
{
	asterisk_keeper_free(model->keeper);
	free(model->file);
	free(model->loaded);
	free(model->lagging);
	free(model->read);
	text_free(&model->log);
	free(model);
}

static void assert_in_force(const struct model *model)
{
	assert_int_equal(state_of(model), ASTERISK_KEEPER_IN_FORCE);
	for (size_t i = 0; i < model->config.owner_count; i++)
		assert_true(is_in_force(model, i));
}

/* --- Tests --- */

static void test_start(void **state)
{
	struct model *model = start(3);

	(void)state;
	run(model, 100);
	assert_in_force(model);
	assert_int_equal(model->writes, 1);
	assert_int_equal(model->reloads, 1);
	assert_int_equal(model->shows, 3);
	assert_int_equal(model->contacts, 0);
	assert_int_equal(said(model, "result=in-force"), 1);
	/* What is as before costs nothing. */
	move(model, 0, "203.0.0.1");
	run(model, 10000);
	assert_int_equal(model->writes, 1);
	assert_int_equal(model->reloads, 1);
	assert_int_equal(model->tasks, 5);
	end(model);
}

/* The daemon is started again: file and Asterisk are right. */
static void test_start_again(void **state)
{
	struct model *first = start(3), *model = start(3);

	(void)state;
	run(first, 100);
	set(&model->file, first->file);
	load(model);
	run(model, 100);
	assert_in_force(model);
	assert_int_equal(model->reloads, 0);
	assert_int_equal(said(model, "written"), 0);
	end(first);
	end(model);
}

static void test_change(void **state)
{
	struct model *model = start(3);
	int64_t begun;

	(void)state;
	run(model, 100);
	begun = model->now;
	move(model, 1, "198.51.100.7");
	run(model, 200);
	assert_in_force(model);
	/* The one that changed is looked at, and no other. */
	assert_int_equal(model->shows, 4);
	assert_int_equal(model->reloads, 2);
	assert_true(model->now - begun < 1000);
	assert_int_equal(said(model, "result=mismatch"), 0);
	end(model);
}

static void test_burst(void **state)
{
	struct model *model = start(300);

	(void)state;
	run(model, 20000);
	assert_in_force(model);
	assert_int_equal(model->reloads, 1);
	for (size_t i = 0; i < 50; i++) {
		char address[32];

		snprintf(address, sizeof(address), "198.51.100.%zu", i + 1);
		move(model, i, address);
		run(model, 1);
	}
	run(model, 2000);
	assert_in_force(model);
	assert_int_equal(model->reloads, 2);
	assert_int_equal(model->writes, 2);
	end(model);
}

static void test_gone(void **state)
{
	struct model *model = start(3);

	(void)state;
	run(model, 100);
	model->config.owner_count = 2;
	model->lies = true;
	asterisk_keeper_changed(model->keeper, model->now);
	run(model, 3000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_MISMATCH);
	assert_int_equal(said(model, "result=mismatch extension=1002"), 1);
	model->lies = false;
	run(model, 60000);
	assert_in_force(model);
	assert_null(strstr(model->loaded, "1002"));
	end(model);
}

/* Somebody has written one of that name by hand: that is said once, and no alarm for good. */
static void test_gone_and_by_hand(void **state)
{
	struct model *model = start(3);

	(void)state;
	run(model, 100);
	snprintf(model->by_hand, sizeof(model->by_hand),
		"ACL: sipfence-1002\n---------------------------------------------\n"
		"  0:  deny - 0.0.0.0/0.0.0.0\n  1: allow - 192.0.2.77/255.255.255.255\n");
	model->config.owner_count = 2;
	asterisk_keeper_changed(model->keeper, model->now);
	run(model, 3000);
	assert_in_force(model);
	assert_int_equal(said(model, "result=mismatch extension=1002"), 1);
	assert_int_equal(said(model, "a section [sipfence-1002]"), 1);
	run(model, 60 * 60 * 1000);
	assert_int_equal(said(model, "result=mismatch extension=1002"), 1);
	assert_in_force(model);
	end(model);
	/* The same addresses: it may be the former file, which is tried again for a while. */
	model = start(3);
	run(model, 100);
	model->lies = true;
	model->config.owner_count = 2;
	asterisk_keeper_changed(model->keeper, model->now);
	run(model, 20000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_MISMATCH);
	run(model, 180000);
	assert_int_equal(said(model, "result=mismatch extension=1002"), 2);
	assert_int_equal(said(model, "a section [sipfence-1002]"), 1);
	assert_in_force(model);
	end(model);
}

/* It says that it has reloaded, and has not. */
static void test_lie(void **state)
{
	struct model *model = start(30);
	struct asterisk_keeper_summary summary;
	size_t reloads;

	(void)state;
	run(model, 2000);
	model->lies = true;
	for (size_t i = 0; i < 30; i++)
		move(model, i, i % 2 ? "198.51.100.1" : "198.51.100.2");
	run(model, 2000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_MISMATCH);
	summary = asterisk_keeper_summary(model->keeper);
	assert_int_equal(summary.mismatch_count, 30);
	assert_string_equal(summary.mismatches[0].extension, "1000");
	assert_int_equal(summary.mismatches[0].match, ASTERISK_DIFFERENT);
	assert_true(summary.mismatches[0].since_ms > 1000);
	/* Some lines, one for all others. */
	assert_int_equal(said(model, "result=mismatch extension="), ASTERISK_KEEPER_SAID);
	assert_int_equal(said(model, "result=mismatch count=20"), 1);
	run(model, 60 * 60 * 1000);
	/* Tried again all the time, later and later, and not said again. */
	reloads = model->reloads;
	assert_in_range(reloads, 60, 80);
	assert_int_equal(said(model, "result=mismatch extension="), ASTERISK_KEEPER_SAID);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_MISMATCH);
	assert_int_equal(asterisk_keeper_summary(model->keeper).mismatches[0].since_ms,
		summary.mismatches[0].since_ms);
	model->lies = false;
	run(model, 62000);
	assert_in_force(model);
	assert_int_equal(said(model, "result=in-force"), 2);
	assert_int_equal(asterisk_keeper_summary(model->keeper).mismatch_count, 0);
	/* Alarmed anew when it happens anew. */
	model->lies = true;
	move(model, 3, "198.51.100.9");
	run(model, 3000);
	assert_int_equal(said(model, "result=mismatch extension=1003"), 2);
	end(model);
}

/* It could not read the file, and does not try again as long as that is the same. */
static void test_not_read_again(void **state)
{
	struct model *model = start(2);

	(void)state;
	run(model, 100);
	move(model, 0, "198.51.100.1");
	run(model, 105);
	model->lies = true;
	run(model, 1000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_MISMATCH);
	set(&model->read, model->file);
	model->lies = false;
	run(model, 10000);
	assert_in_force(model);
	end(model);
}

static void test_lag(void **state)
{
	struct model *model = start(3);

	(void)state;
	model->lag_ms = 150;
	run(model, 2000);
	assert_in_force(model);
	move(model, 1, "198.51.100.7");
	run(model, 2000);
	assert_in_force(model);
	assert_int_equal(said(model, "result=mismatch"), 0);
	assert_int_equal(model->reloads, 2);
	end(model);
}

static void test_down(void **state)
{
	struct model *model = start(3);
	struct asterisk_keeper_summary summary;

	(void)state;
	model->down = true;
	run(model, 100);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_DOWN);
	assert_non_null(model->file);
	assert_int_equal(said(model, "result=down"), 1);
	run(model, 10 * 60 * 1000);
	/* Asked now and then: not more often than each 30 s. */
	assert_in_range(model->boots, 18, 26);
	assert_int_equal(model->writes, 1);
	/* What changes is written all the same. */
	move(model, 2, "198.51.100.7");
	run(model, 150);
	assert_non_null(strstr(model->file, "198.51.100.7"));
	summary = asterisk_keeper_summary(model->keeper);
	assert_int_equal(summary.state, ASTERISK_KEEPER_DOWN);
	assert_true(summary.since_ms < 1100);
	assert_string_equal(summary.trouble->what, "Asterisk is not running");
	boot(model);
	model->booting = true;
	run(model, 31000);
	assert_in_force(model);
	assert_int_equal(said(model, "result=up"), 1);
	assert_int_equal(model->reloads, 1);
	assert_int_equal(model->writes, 2);
	assert_int_equal(said(model, "result=down"), 1);
	assert_int_equal(said(model, "result=in-force"), 1);
	end(model);
}

/* Between a reload and a look. */
static void test_down_midway(void **state)
{
	(void)state;
	for (size_t at = 1; at < 12; at++) {
		struct model *model = start(3);

		asterisk_keeper_configure(model->keeper, true, false);
		model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
		model->phone_count = 1;
		while (model->tasks < at)
			assert_true(work(model) || at > 8);
		model->down = true;
		run(model, 5000);
		boot(model);
		run(model, 40000);
		move(model, 0, "198.51.100.1");
		run(model, 1000);
		assert_in_force(model);
		assert_false(model->phones[0].there);
		end(model);
		if (at == 8)
			break;
	}
}

/* Nothing has changed meanwhile: still it reloads, and all ACLs are looked at. */
static void test_restart(void **state)
{
	struct model *model = start(3);
	size_t shows;

	(void)state;
	run(model, 100);
	model->down = true;
	run(model, ASTERISK_KEEPER_AGAIN_MS);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_DOWN);
	shows = model->shows;
	boot(model);
	run(model, 31000);
	assert_in_force(model);
	assert_int_equal(model->reloads, 2);
	assert_int_equal(model->shows, shows + 3);
	end(model);
}

/* What was listed before says nothing of who is there when it is back. */
static void test_restart_while_evicting(void **state)
{
	struct model *model = start(3);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->phone_count = 2;
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
	model->phones[1] = (struct phone){"1001", "198.51.100.66", false, true, false};
	while (model->phones[0].there)
		run(model, 1);
	model->down = true;
	run(model, 1000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_DOWN);
	/* What was done is said. */
	assert_int_equal(said(model, "event=evict result=evicted extension=1000"), 1);
	model->phones[1].address = "203.0.0.2";
	boot(model);
	run(model, 31000);
	assert_in_force(model);
	assert_true(model->phones[1].there);
	end(model);
}

static void test_not_booted(void **state)
{
	struct model *model = start(3);

	(void)state;
	model->booting = true;
	run(model, 200);
	assert_in_force(model);
	assert_int_equal(model->boots, 1);
	assert_int_equal(said(model, "event=acl"), 2);
	end(model);
}

static void test_hang(void **state)
{
	struct model *model = start(3);

	(void)state;
	run(model, 100);
	model->hangs = true;
	move(model, 0, "198.51.100.1");
	run(model, 10 * 60 * 1000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_FAILED);
	assert_string_equal(asterisk_keeper_summary(model->keeper).trouble->what, "it hangs");
	assert_int_equal(said(model, "result=failed"), 1);
	model->hangs = false;
	run(model, 61000);
	assert_in_force(model);
	assert_int_equal(asterisk_keeper_summary(model->keeper).trouble->code, 0);
	end(model);
}

static void test_unwritable(void **state)
{
	struct model *model = start(3);

	(void)state;
	model->unwritable = true;
	run(model, 10 * 60 * 1000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_FAILED);
	assert_int_equal(said(model, "result=failed"), 1);
	assert_in_range(model->writes, 10, 20);
	/* Nothing was asked about a file that is not there. */
	assert_int_equal(model->shows, 0);
	model->unwritable = false;
	move(model, 0, "198.51.100.1");
	run(model, 61000);
	assert_in_force(model);
	end(model);
}

/* Others write the file, or have Asterisk load something else. */
static void test_others(void **state)
{
	struct model *model = start(3);

	(void)state;
	run(model, 100);
	set(&model->file, "; mine\n");
	load(model);
	run(model, ASTERISK_KEEPER_AGAIN_MS);
	run(model, 1000);
	assert_in_force(model);
	assert_int_equal(said(model, "result=repaired"), 1);
	/* Restarted without what it had. */
	set(&model->loaded, "");
	set(&model->read, model->file);
	run(model, ASTERISK_KEEPER_AGAIN_MS);
	run(model, 1000);
	assert_in_force(model);
	assert_int_equal(said(model, "result=repaired"), 2);
	assert_int_equal(said(model, "result=mismatch"), 0);
	end(model);
}

/* Nothing happens: a look at some of them, each ten minutes. */
static void test_quiet(void **state)
{
	struct model *model = start(EXTENSIONS);
	size_t shows;

	(void)state;
	run(model, 20000);
	assert_in_force(model);
	/* Not all in one go. */
	assert_true(asterisk_keeper_summary(model->keeper).since_ms >
		    1000 + 2 * ASTERISK_KEEPER_PAUSE_MS + EXTENSIONS * TASK_MS);
	shows = model->shows;
	assert_int_equal(shows, EXTENSIONS);
	run(model, 5 * ASTERISK_KEEPER_AGAIN_MS);
	assert_int_equal(model->shows, shows + 5 * ASTERISK_KEEPER_AGAIN);
	assert_int_equal(model->reloads, 1);
	assert_int_equal(said(model, "event="), 2);
	end(model);
}

static void test_evict(void **state)
{
	struct model *model = start(3);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->calls = true;
	model->phone_count = 4;
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
	model->phones[1] = (struct phone){"1001", "203.0.0.2", true, true, false};
	model->phones[2] = (struct phone){"1002", "198.51.100.66", true, true, false};
	model->phones[3] = (struct phone){"7777", "198.51.100.66", true, true, false};
	run(model, 1000);
	assert_in_force(model);
	assert_false(model->phones[0].there);
	assert_true(model->phones[1].there);
	assert_false(model->phones[2].there);
	assert_true(model->phones[3].there);
	assert_int_equal(model->hangups, 0);
	assert_int_equal(asterisk_keeper_summary(model->keeper).evicted, 2);
	assert_int_equal(said(model, "event=evict result=evicted"), 2);
	assert_int_equal(said(model, "extension=1002 address=198.51.100.66 driver=pjsip"), 1);
	/* It moves, and the old registration goes; and its call. */
	asterisk_keeper_configure(model->keeper, true, true);
	model->phones[0] = (struct phone){"1000", "203.0.0.1", false, true, false};
	move(model, 0, "198.51.100.1");
	run(model, 1000);
	assert_false(model->phones[0].there);
	assert_int_equal(model->hangups, 1);
	assert_int_equal(said(model, "result=hung-up channel=SIP/1000-00000001"), 1);
	/* One that sneaks in is found. */
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
	run(model, ASTERISK_KEEPER_AGAIN_MS);
	run(model, 1000);
	assert_false(model->phones[0].there);
	/* Off. */
	asterisk_keeper_configure(model->keeper, false, false);
	model->phones[0].there = true;
	run(model, 2 * ASTERISK_KEEPER_AGAIN_MS);
	assert_true(model->phones[0].there);
	end(model);
}

static void test_no_eviction_without_acl(void **state)
{
	struct model *model = start(3);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	run(model, 1000);
	model->lies = true;
	model->phone_count = 1;
	model->phones[0] = (struct phone){"1000", "203.0.0.1", false, true, false};
	move(model, 0, "198.51.100.1");
	run(model, 10 * 60 * 1000);
	assert_int_equal(state_of(model), ASTERISK_KEEPER_MISMATCH);
	assert_true(model->phones[0].there);
	assert_int_equal(model->evictions, 0);
	model->lies = false;
	run(model, 61000);
	assert_in_force(model);
	assert_false(model->phones[0].there);
	end(model);
}

static void test_evict_in_vain(void **state)
{
	struct model *model = start(3);
	size_t rounds;

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->phone_count = 1;
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, true};
	run(model, 5000);
	assert_in_force(model);
	assert_int_equal(said(model, "event=evict result=failed"), 1);
	assert_int_equal(asterisk_keeper_summary(model->keeper).not_evicted, 1);
	rounds = model->evictions;
	run(model, 60 * 60 * 1000);
	assert_in_range(model->evictions, rounds + 10, rounds + 20);
	model->phones[0].stubborn = false;
	run(model, ASTERISK_KEEPER_AGAIN_MS);
	run(model, 1000);
	assert_false(model->phones[0].there);
	assert_int_equal(asterisk_keeper_summary(model->keeper).not_evicted, 0);
	/* Another one is not made to wait for that. */
	model->phones[0].there = model->phones[0].stubborn = true;
	move(model, 1, "198.51.100.1");
	run(model, 5000);
	assert_true(model->phones[0].there);
	model->phones[0].stubborn = false;
	run(model, 40000);
	assert_false(model->phones[0].there);
	end(model);
}

/* A driver that is not loaded: what the database has of it is nobody's. */
static void test_evict_unknown(void **state)
{
	struct model *model = start(3);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->phone_count = 1;
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
	model->unknown_evict = true;
	run(model, 5000);
	assert_in_force(model);
	assert_int_equal(said(model, "event=evict"), 0);
	assert_int_equal(model->boots, 1);
	/* The list itself can't be had: said, and no trouble of the ACLs. */
	model->no_contacts = true;
	move(model, 1, "198.51.100.1");
	run(model, 5000);
	assert_in_force(model);
	assert_int_equal(said(model, "event=evict result=failed"), 1);
	assert_int_equal(asterisk_keeper_summary(model->keeper).evict_trouble->code, -ENOSYS);
	end(model);
}

/* Names that were not answered yet: their phones may be where they should be. */
static void test_unsettled(void **state)
{
	struct model *model = start(3);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->phone_count = 2;
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
	model->phones[1] = (struct phone){"1001", "198.51.100.66", false, true, false};
	model->unsettled[0] = true;
	run(model, 30000);
	assert_in_force(model);
	assert_true(model->phones[0].there);
	assert_false(model->phones[1].there);
	/* Answered, and nothing of the ACL changes by that: nobody says so. */
	model->unsettled[0] = false;
	run(model, 70000);
	assert_false(model->phones[0].there);
	assert_int_equal(model->writes, 1);
	end(model);
}

/* A change cuts nothing off: what was evicted is said, and who is right by now stays. */
static void test_change_while_evicting(void **state)
{
	struct model *model = start(3);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->phone_count = 2;
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
	model->phones[1] = (struct phone){"1001", "198.51.100.7", false, true, false};
	while (model->phones[0].there)
		run(model, 1);
	move(model, 1, "198.51.100.7");
	model->now += ASTERISK_KEEPER_GATHER_MS;
	run(model, 5000);
	assert_in_force(model);
	assert_true(model->phones[1].there);
	assert_int_equal(said(model, "event=evict"), 1);
	assert_int_equal(said(model, "extension=1000"), 1);
	end(model);
}

/* More than fit into one round: the next one follows at once. */
static void test_many(void **state)
{
	struct model *model = start(2);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->rogues = 450;
	run(model, 30000);
	assert_in_force(model);
	assert_int_equal(model->rogues_gone, 450);
	assert_int_equal(asterisk_keeper_summary(model->keeper).evicted, 450);
	/* Some lines a round, and the number of the others. */
	assert_int_equal(said(model, "event=evict result=evicted"), 3 * 20);
	assert_int_equal(said(model, "event=evict result=left-out"), 3);
	end(model);
}

static void test_unknowable(void **state)
{
	struct model *model = start(2);
	struct phone *phone = &model->phones[0];

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->phone_count = 1;
	*phone = (struct phone){"1000", "host.example", true, true, false};
	run(model, 1000);
	/* A name: nobody can tell. */
	assert_true(phone->there);
	assert_int_equal(said(model, "event=evict"), 0);
	end(model);
}

/* Whatever happens in whatever order: never evicted before verified (the model looks), and in the
 * end all is in force. */
static void test_at_random(void **state)
{
	uint32_t seed = 20250704;

	(void)state;
	for (int round = 0; round < 40; round++) {
		struct model *model = start(20);

		asterisk_keeper_configure(model->keeper, true, true);
		model->phone_count = 2;
		for (int i = 0; i < 300; i++) {
			char address[32];
			uint32_t dice;

			seed = seed * 1664525U + 1013904223U;
			dice = seed >> 16;
			snprintf(
				address, sizeof(address), "198.51.%u.%u", dice % 3, dice % 250 + 1);
			switch (dice % 16) {
			case 0:
				model->down = true;
				break;
			case 1:
				boot(model);
				model->booting = dice & 16;
				break;
			case 2:
				model->lies = !model->lies;
				break;
			case 3:
				model->hangs = dice & 16;
				break;
			case 4:
				model->unwritable = dice & 16;
				break;
			case 5:
				model->lag_ms = dice & 16 ? 120 : 0;
				break;
			case 6:
				set(&model->file, dice & 16 ? "; other\n" : NULL);
				break;
			case 7:
				model->config.owner_count = 10 + dice / 16 % 10;
				asterisk_keeper_changed(model->keeper, model->now);
				break;
			case 8:
			case 9:
				model->phones[dice & 1] = (struct phone){
					"1000", "198.51.100.66", dice & 1, true, dice & 32};
				break;
			default:
				move(model, dice / 16 % 20, address);
				break;
			}
			run(model, dice % 7 == 0 ? 30000 : dice % 400);
		}
		model->lies = model->hangs = model->unwritable = model->booting = false;
		model->lag_ms = 0;
		if (model->down)
			boot(model);
		model->phones[0].stubborn = model->phones[1].stubborn = false;
		run(model, 2 * ASTERISK_KEEPER_AGAIN_MS);
		assert_in_force(model);
		assert_false(model->phones[0].there);
		assert_false(model->phones[1].there);
		end(model);
	}
}

/* Until the phone is out; at most 20 minutes. */
static int64_t throw_out(struct model *model, const struct phone *phone)
{
	int64_t begun = model->now;

	asterisk_keeper_sighted(model->keeper, model->now);
	while (phone->there && model->now - begun < 20 * 60 * 1000)
		run(model, 100);
	return model->now - begun;
}

/* Whoever is proven is out soon, whatever another one does. */
static void test_sighted(void **state)
{
	const struct phone proven = {"1001", "198.51.100.66", false, true, false};
	struct model *model = start(3);

	(void)state;
	asterisk_keeper_configure(model->keeper, true, false);
	model->phone_count = 2;
	model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, true};
	model->phones[1] = (struct phone){"1001", "203.0.0.2", false, false, false};
	run(model, 5 * 60 * 1000);
	model->phones[1] = proven;
	assert_in_range(throw_out(model, &model->phones[1]), 0, 2000);
	model->phones[0].there = false;
	run(model, 30 * 60 * 1000);
	for (int i = 0; i < 40; i++) {
		model->phones[0] = (struct phone){"1000", "198.51.100.66", false, true, false};
		asterisk_keeper_sighted(model->keeper, model->now);
		run(model, 20000);
	}
	model->phones[1] = proven;
	assert_in_range(throw_out(model, &model->phones[1]), 0, 35 * 1000);
	end(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_sighted),
		cmocka_unit_test(test_start_again),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_gone_and_by_hand),
		cmocka_unit_test(test_lie),
		cmocka_unit_test(test_not_read_again),
		cmocka_unit_test(test_lag),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_down_midway),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_restart_while_evicting),
		cmocka_unit_test(test_not_booted),
		cmocka_unit_test(test_hang),
		cmocka_unit_test(test_unwritable),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_evict),
		cmocka_unit_test(test_no_eviction_without_acl),
		cmocka_unit_test(test_evict_in_vain),
		cmocka_unit_test(test_evict_unknown),
		cmocka_unit_test(test_unsettled),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_change_while_evicting),
		cmocka_unit_test(test_unknowable),
		cmocka_unit_test(test_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
