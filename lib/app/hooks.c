/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hooks.h"
#include "helper_talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	PERIOD_MS = 60 * 1000,
	PERIOD_LINES = 10, /* failures that are said one by one in a period */
};

/* An event that waits, or whose hook runs. */
struct entry {
	struct entry *next;
	int64_t wall;	  /* when it was */
	const char *name; /* of the event, and its host ("": none): in `text` */
	const char *host;
	const char *line;
	char text[];
};

struct running {
	struct entry *entry; /* NULL: free */
	uint32_t id;
};

/* So many, since when, of what is said from time to time. */
struct tally {
	int64_t next_ms; /* it may be said from here on */
	uint64_t count;	 /* not said yet */
};

struct hooks {
	struct loop *loop;
	engine_log_fn *log;
	void *context;
	char **argv; /* copied; NULL: none */
	struct helper helper;
	bool full;   /* the socket takes nothing at present */
	bool unseen; /* hooks_tick() has not looked at what waits */
	bool wanted, restart_needed;
	struct entry *first, **last;
	size_t waiting;
	struct running running[HELPER_RUNNING];
	uint32_t next_id;
	uint64_t done, failed, dropped;
	/* What is left to say. */
	struct tally drops, failures;
	unsigned failure_lines; /* in this period */
	struct helper_death death;
};

/* --- Saying --- */

static void begin(struct event *event, enum event_level level, const char *result)
{
	event_begin(event, level, "hook");
	event_put(event, "result", result);
}

static void put_entry(struct event *event, const struct entry *entry)
{
	event_put(event, "of", entry->name);
	if (*entry->host)
		event_put(event, "host", entry->host);
}

static void say(struct hooks *hooks, struct event *event)
{
	if (!event->line.failed)
		hooks->log(hooks->context, event);
	event_clear(event);
}

static void say_error(struct hooks *hooks, const struct error *error)
{
	struct event event;

	begin(&event, EVENT_ERROR, "failed");
	event_put_error(&event, error);
	say(hooks, &event);
}

static void say_drops(struct hooks *hooks, int64_t now_ms)
{
	struct event event;

	if (hooks->drops.count == 0 || now_ms < hooks->drops.next_ms)
		return;
	begin(&event, EVENT_WARNING, "dropped");
	event_put_number(&event, "count", (int64_t)hooks->drops.count);
	event_put(&event, "next",
		"the program of on-change is too slow for so many events: have it hand them on and "
		"end at once");
	say(hooks, &event);
	hooks->drops = (struct tally){.next_ms = now_ms + PERIOD_MS};
}

static void say_more_failures(struct hooks *hooks, int64_t now_ms)
{
	struct event event;

	if (now_ms < hooks->failures.next_ms)
		return;
	if (hooks->failures.count > 0) {
		begin(&event, EVENT_WARNING, "failed");
		event_put_number(&event, "count", (int64_t)hooks->failures.count);
		event_put(&event, "error", "so many more have failed in the last minute");
		say(hooks, &event);
	}
	hooks->failures = (struct tally){.next_ms = now_ms + PERIOD_MS};
	hooks->failure_lines = 0;
}

static void describe(const struct helper_message *message, struct event *event)
{
	char what[64];

	if (message->outcome == HELPER_NOT_STARTED) {
		event_put(event, "error", message->text);
		if (*message->next)
			event_put(event, "next", message->next);
		return;
	}
	if (message->outcome == HELPER_TIMED_OUT)
		snprintf(what, sizeof(what), "it was ended: it took longer than %d s",
			HELPER_LIMIT_MS / 1000);
	else if (message->outcome == HELPER_SIGNALLED)
		snprintf(what, sizeof(what), "signal %d ended it", message->code);
	else
		snprintf(what, sizeof(what), "it ended with exit code %d", message->code);
	event_put(event, "error", what);
	if (*message->text)
		event_put(event, "output", message->text);
}

static void say_failure(
	struct hooks *hooks, const struct entry *entry, const struct helper_message *message)
{
	struct event event;

	if (hooks->failure_lines >= PERIOD_LINES) {
		hooks->failures.count++;
		return;
	}
	hooks->failure_lines++;
	begin(&event, EVENT_WARNING, message->outcome == HELPER_TIMED_OUT ? "timed-out" : "failed");
	put_entry(&event, entry);
	describe(message, &event);
	say(hooks, &event);
}

static void say_done(
	struct hooks *hooks, const struct entry *entry, const struct helper_message *message)
{
	struct event event;

	begin(&event, EVENT_DEBUG, "done");
	put_entry(&event, entry);
	event_put_number(&event, "ms", message->milliseconds);
	say(hooks, &event);
}

/* --- Queue --- */

static void drop(struct hooks *hooks, size_t count)
{
	hooks->dropped += count;
	hooks->drops.count += count;
}

static void clear_queue(struct hooks *hooks)
{
	while (hooks->first) {
		struct entry *entry = hooks->first;

		hooks->first = entry->next;
		free(entry);
	}
	hooks->last = &hooks->first;
	hooks->waiting = 0;
}

static bool is_wanted(const char *name)
{
	static const char *const wanted[] = {"change", "state", "flapping", "table", "damage",
		"shut-out", "dns", "geoip", "reload", "config", "kernel", "save", "takeover",
		"security-log", "acl", "evict"};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (strcmp(name, wanted[i]) == 0)
			return true;
	}
	return false;
}

static struct entry *entry_new(const char *line, const char *name, const char *host, int64_t wall)
{
	size_t line_size = strlen(line) + 1, name_size = strlen(name) + 1;
	size_t host_size = strlen(host) + 1;
	struct entry *entry = malloc(sizeof(*entry) + line_size + name_size + host_size);

	if (!entry)
		return NULL;
	*entry = (struct entry){.wall = wall,
		.line = entry->text,
		.name = entry->text + line_size,
		.host = entry->text + line_size + name_size};
	memcpy(entry->text, line, line_size);
	memcpy(entry->text + line_size, name, name_size);
	memcpy(entry->text + line_size + name_size, host, host_size);
	return entry;
}

/* NULL: no memory. *ret_skip: it is none for hooks. */
static struct entry *entry_of(const char *line, int64_t wall, bool *ret_skip)
{
	struct text value = {0}, name = {0}, host = {0};
	struct entry *entry = NULL;
	char key[EVENT_KEY_SIZE];
	const char *at = line;

	while (event_next(&at, key, &value)) {
		if (strcmp(key, "event") == 0 && name.length == 0)
			text_puts(&name, text_string(&value));
		else if (strcmp(key, "host") == 0)
			text_puts(&host, text_string(&value));
		else
			continue;
		if (name.length > 0 && !is_wanted(text_string(&name)))
			break;
	}
	*ret_skip = !is_wanted(text_string(&name));
	if (!*ret_skip && !value.failed && !name.failed && !host.failed)
		entry = entry_new(line, text_string(&name), text_string(&host), wall);
	text_free(&value);
	text_free(&name);
	text_free(&host);
	return entry;
}

static bool is_named(const struct event *event, const char *start)
{
	return strncmp(text_string(&event->line), start, strlen(start)) == 0;
}

/* What is probably a call gets nobody out of bed, nor do ACLs that follow a change. */
static bool is_minor(const struct event *event)
{
	return (event->level > EVENT_WARNING && is_named(event, "event=takeover ")) ||
	       (event->level > EVENT_NOTICE && is_named(event, "event=acl "));
}

void hooks_note(struct hooks *hooks, const struct event *event, int64_t wall)
{
	struct entry *entry;
	bool skip;

	if (!hooks || !hooks->wanted || hooks->helper.fd < 0 || event->line.failed ||
		is_minor(event))
		return;
	entry = entry_of(text_string(&event->line), wall, &skip);
	if (skip)
		return;
	if (!entry || hooks->waiting >= HOOKS_WAITING) {
		free(entry);
		drop(hooks, 1);
		return;
	}
	*hooks->last = entry;
	hooks->last = &entry->next;
	hooks->waiting++;
	hooks->unseen = true;
}

/* The oldest whose host has no hook under way. */
static struct entry **find_next(struct hooks *hooks)
{
	for (struct entry **at = &hooks->first; *at; at = &(*at)->next) {
		bool busy = false;

		for (size_t i = 0; i < HELPER_RUNNING; i++) {
			const struct entry *other = hooks->running[i].entry;

			busy |= other && strcmp(other->host, (*at)->host) == 0;
		}
		if (!busy)
			return at;
	}
	return NULL;
}

static struct running *find_place(struct hooks *hooks)
{
	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		if (!hooks->running[i].entry)
			return &hooks->running[i];
	}
	return NULL;
}

/* --- The helper's end --- */

static const char restart[] = "restart the daemon (systemctl restart sipfence)";

static void say_death(struct hooks *hooks, int64_t now_ms)
{
	struct error error = {0};
	char how[HELPER_DEATH_SIZE];

	if (!helper_death_tell(&hooks->death, hooks->helper.pid, now_ms, how))
		return;
	error_set(&error, -EPIPE, restart, "%s: no hooks are run any more", how);
	say_error(hooks, &error);
}

static void bury(struct hooks *hooks, int code)
{
	loop_forget(hooks->loop, hooks->helper.fd);
	close(hooks->helper.fd);
	hooks->helper.fd = -1;
	helper_death_begin(&hooks->death, code);
	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		free(hooks->running[i].entry);
		hooks->running[i].entry = NULL;
	}
	hooks->dropped += hooks->waiting;
	clear_queue(hooks);
}

/* --- Messages --- */

/* A request while it is put together: where its strings are in `store`, which may move. */
struct request {
	struct text store;
	size_t keys[HELPER_FIELDS_MAX], values[HELPER_FIELDS_MAX], count;
	bool failed;
};

/* A value that is too long for a message is cut; the log has all of it. */
static void add_field(struct request *request, const char *key, const char *value)
{
	static const char cut[] = "...";
	size_t length = strlen(value);

	if (request->count >= HELPER_FIELDS_MAX) {
		request->failed = true;
		return;
	}
	request->keys[request->count] = request->store.length;
	text_write(&request->store, key, strlen(key) + 1);
	request->values[request->count++] = request->store.length;
	if (length <= HELPER_VALUE_MAX) {
		text_write(&request->store, value, length + 1);
	} else {
		text_write(&request->store, value, HELPER_VALUE_MAX - strlen(cut));
		text_write(&request->store, cut, sizeof(cut));
	}
}

static void print_time(int64_t wall, char time[32])
{
	time_t seconds = (time_t)wall;
	struct tm parts;

	if (!gmtime_r(&seconds, &parts) || strftime(time, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		time[0] = '\0';
}

static int send_request(const struct hooks *hooks, const struct entry *entry)
{
	struct helper_message message = {.kind = HELPER_HOOK, .id = hooks->next_id};
	struct request request = {0};
	struct text value = {0};
	const char *at = entry->line;
	char key[EVENT_KEY_SIZE], time[32];
	int result = -EINVAL;

	print_time(entry->wall, time);
	while (event_next(&at, key, &value)) {
		add_field(&request, key, text_string(&value));
		if (request.count == 1)
			add_field(&request, "time", time);
	}
	if (!request.failed && !request.store.failed && !value.failed) {
		message.field_count = request.count;
		for (size_t i = 0; i < request.count; i++) {
			message.fields[i].key = request.store.data + request.keys[i];
			message.fields[i].value = request.store.data + request.values[i];
		}
		result = helper_talk_send(hooks->helper.fd, &message);
	}
	text_free(&request.store);
	text_free(&value);
	return result;
}

static void watch_writing(struct hooks *hooks, bool full)
{
	hooks->full = full;
	loop_change(hooks->loop, hooks->helper.fd, LOOP_READ | (full ? LOOP_WRITE : 0U));
}

/* True: the next one can be tried. */
static bool send_next(struct hooks *hooks)
{
	struct entry **at = find_next(hooks), *entry = at ? *at : NULL;
	struct running *place = find_place(hooks);
	int result;

	if (!entry || !place || hooks->helper.fd < 0)
		return false;
	result = send_request(hooks, entry);
	if (result == -EAGAIN) {
		watch_writing(hooks, true);
		return false;
	}
	if (result < 0 && result != -EINVAL && result != -EMSGSIZE) {
		bury(hooks, result);
		return false;
	}
	*at = entry->next;
	if (!*at)
		hooks->last = at;
	hooks->waiting--;
	entry->next = NULL;
	if (result == 0) {
		*place = (struct running){.entry = entry, .id = hooks->next_id++};
	} else {
		drop(hooks, 1);
		free(entry);
	}
	return true;
}

static bool take_ended(struct hooks *hooks, const struct helper_message *message)
{
	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		struct running *running = &hooks->running[i];

		if (!running->entry || running->id != message->id)
			continue;
		if (message->outcome == HELPER_EXITED && message->code == 0) {
			hooks->done++;
			say_done(hooks, running->entry, message);
		} else {
			hooks->failed++;
			say_failure(hooks, running->entry, message);
		}
		free(running->entry);
		running->entry = NULL;
		return true;
	}
	return false;
}

static void take_messages(void *context, int fd, unsigned events)
{
	struct hooks *hooks = context;
	struct helper_packet packet;
	struct helper_message message;

	if (events & LOOP_WRITE)
		watch_writing(hooks, false);
	for (;;) {
		int result = helper_talk_receive(fd, &packet, &message);

		if (result == -EAGAIN)
			return;
		if (result == 0 &&
			(message.kind != HELPER_HOOK_ENDED || !take_ended(hooks, &message)))
			result = -EBADMSG;
		if (result < 0) {
			bury(hooks, result);
			return;
		}
	}
}

/* --- For the daemon --- */

void hooks_tick(struct hooks *hooks, int64_t now_ms)
{
	if (!hooks)
		return;
	hooks->unseen = false;
	while (!hooks->full && hooks->first && send_next(hooks))
		;
	say_death(hooks, now_ms);
	say_drops(hooks, now_ms);
	say_more_failures(hooks, now_ms);
}

int64_t hooks_due(const struct hooks *hooks)
{
	int64_t due;

	if (!hooks)
		return INT64_MAX;
	due = hooks->unseen ? 0 : hooks->death.due_ms;
	if (hooks->drops.count > 0 && hooks->drops.next_ms < due)
		due = hooks->drops.next_ms;
	if ((hooks->failures.count > 0 || hooks->failure_lines > 0) &&
		hooks->failures.next_ms < due)
		due = hooks->failures.next_ms;
	return due;
}

static bool same_arguments(char *const *a, const char *const *b)
{
	for (; *a && *b; a++, b++) {
		if (strcmp(*a, *b) != 0)
			return false;
	}
	return !*a && !*b;
}

void hooks_configure(struct hooks *hooks, const char *const *on_change)
{
	bool needed;
	struct event event;

	if (!hooks)
		return;
	hooks->wanted = on_change && hooks->argv;
	needed = on_change && (!hooks->argv || !same_arguments(hooks->argv, on_change));
	if (!on_change)
		clear_queue(hooks);
	if (needed) {
		begin(&event, EVENT_WARNING, "restart-needed");
		event_put(&event, "error",
			hooks->argv ? "on-change has been changed, which the helper process "
				      "can't take over; the former program is run"
				    : "on-change is new, and no helper process was started that "
				      "could run it");
		event_put(&event, "next", restart);
		say(hooks, &event);
	}
	hooks->restart_needed = needed;
}

struct hooks_summary hooks_summary(const struct hooks *hooks)
{
	struct hooks_summary summary = {0};

	if (!hooks)
		return summary;
	for (size_t i = 0; i < HELPER_RUNNING; i++)
		summary.running += hooks->running[i].entry != NULL;
	summary.wanted = hooks->wanted || hooks->restart_needed;
	summary.alive = hooks->helper.fd >= 0;
	summary.restart_needed = hooks->restart_needed;
	summary.program = hooks->argv ? hooks->argv[0] : NULL;
	summary.waiting = hooks->waiting;
	summary.done = hooks->done;
	summary.failed = hooks->failed;
	summary.dropped = hooks->dropped;
	return summary;
}

static void free_arguments(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}

static char **copy_arguments(const char *const *argv)
{
	size_t count = 0;
	char **copy;

	while (argv[count])
		count++;
	copy = calloc(count + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i]) {
			free_arguments(copy);
			return NULL;
		}
	}
	return copy;
}

int hooks_open(struct hooks **ret_hooks, const struct hooks_options *options, struct error *error)
{
	struct hooks *hooks = calloc(1, sizeof(*hooks));
	int result = hooks ? 0 : -ENOMEM;

	if (hooks) {
		hooks->loop = options->loop;
		hooks->log = options->log;
		hooks->context = options->context;
		hooks->helper = options->helper;
		hooks->last = &hooks->first;
		hooks->death = HELPER_ALIVE;
		hooks->wanted = options->on_change != NULL;
		if (options->on_change) {
			hooks->argv = copy_arguments(options->on_change);
			result = hooks->argv ? 0 : -ENOMEM;
		}
	}
	if (result == 0 && hooks->helper.fd >= 0)
		result = loop_watch(hooks->loop, hooks->helper.fd, LOOP_READ, take_messages, hooks);
	if (result < 0) {
		if (hooks)
			free_arguments(hooks->argv);
		free(hooks);
		if (options->helper.fd >= 0)
			close(options->helper.fd);
		return error_set(error, result, "", "hooks cannot be run: %s", strerror(-result));
	}
	if (options->problem->code)
		say_error(hooks, options->problem);
	*ret_hooks = hooks;
	return 0;
}

struct hooks *hooks_close(struct hooks *hooks)
{
	if (!hooks)
		return NULL;
	if (hooks->helper.fd >= 0) {
		loop_forget(hooks->loop, hooks->helper.fd);
		close(hooks->helper.fd);
	}
	for (size_t i = 0; i < HELPER_RUNNING; i++)
		free(hooks->running[i].entry);
	clear_queue(hooks);
	free_arguments(hooks->argv);
	free(hooks);
	return NULL;
}
