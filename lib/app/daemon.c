/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon.h"
#include "clock.h"
#include "config_load.h"
#include "control.h"
#include "control_json.h"
#include "follow.h"
#include "hooks.h"
#include "loop.h"
#include "metrics_asked.h"
#include "metrics_file.h"
#include "news.h"
#include "notify.h"
#include "pbx.h"
#include "status.h"
#include "why.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
	EXIT_CODE_REFUSED = 1, /* for the control socket's clients: as of the commands */
	EXIT_CODE_USAGE = 2,
	EXTRAS_MS = 60 * 1000,
	LAST_WORDS_MS = 1000, /* for answers that are still to be read, at the end */
};

/* A refresh that somebody waits for. */
struct waiting {
	uint64_t client, ticket; /* of control.h, of engine.h */
	struct control_request request;
	struct news_mark mark;
	struct waiting *next;
};

struct daemon {
	const struct daemon_options *options;
	struct engine *engine;
	struct loop *loop;
	struct control *control;
	struct follow *follow;
	struct notify notify;
	struct news news;
	struct hooks *hooks; /* NULL: not yet */
	struct metrics_file *metrics;
	struct metrics_asked *asked; /* NULL: nobody can ask */
	struct pbx *pbx;	     /* NULL: not yet */
	struct waiting *waiting;
	/* What the loop watches of the engine's, and when it was so. */
	int resolver_fd, kernel_fd;
	uint32_t epoch;
	int64_t watchdog_due, extras_due;
	struct text refused; /* what is wrong with the config on the disk; empty: it is in force */
	bool done, removed;
};

static struct moment moment_now(void)
{
	return (struct moment){.boot_ms = clock_boot_ms(), .wall = clock_wall()};
}

static void log_event(void *context, const struct event *event)
{
	struct daemon *daemon = context;
	struct moment now = moment_now();

	news_note(&daemon->news, event);
	hooks_note(daemon->hooks, event, now.wall);
	pbx_note(daemon->pbx, event, &now);
	if (event->level != EVENT_UNSAID)
		daemon->options->log(daemon->options->context, event);
}

static void say(struct daemon *daemon, enum event_level level, const char *name, const char *key,
	const char *value)
{
	struct event event;

	event_begin(&event, level, name);
	event_put(&event, key, value);
	if (!event.line.failed)
		log_event(daemon, &event);
	event_clear(&event);
}

static void say_error(struct daemon *daemon, const char *name, const struct error *error)
{
	struct event event;

	event_begin(&event, EVENT_ERROR, name);
	event_put_error(&event, error);
	if (!event.line.failed)
		log_event(daemon, &event);
	event_clear(&event);
}

/* --- The loop and the engine's descriptors --- */

/* The loop returns, and then the engine's step is due anyway. */
static void wake(void *context, int fd, unsigned events)
{
	(void)context;
	(void)fd;
	(void)events;
}

static void watch_one(struct daemon *daemon, int *watched, int fd)
{
	*watched = -1;
	if (fd >= 0 && loop_watch(daemon->loop, fd, LOOP_READ, wake, daemon) == 0)
		*watched = fd;
}

/* After each call of the engine that may have opened or closed some: a number may be in use again,
 * by the other one, too. */
static void watch_engine(struct daemon *daemon)
{
	int kernel = engine_kernel_fd(daemon->engine);
	int resolver = engine_resolver_fd(daemon->engine);

	if (engine_epoch(daemon->engine) == daemon->epoch && daemon->kernel_fd == kernel &&
		daemon->resolver_fd == resolver)
		return;
	loop_forget(daemon->loop, daemon->kernel_fd);
	loop_forget(daemon->loop, daemon->resolver_fd);
	watch_one(daemon, &daemon->kernel_fd, kernel);
	watch_one(daemon, &daemon->resolver_fd, resolver);
	daemon->epoch = engine_epoch(daemon->engine);
}

/* --- Requests --- */

static void answer_text(struct daemon *daemon, uint64_t client, const struct text *text)
{
	static const char no_memory[] =
		"{\"ok\":false,\"exit\":1,\"error\":\"out of memory\",\"next\":\"\"}";

	if (text->failed)
		control_answer(daemon->control, client, no_memory, sizeof(no_memory) - 1);
	else
		control_answer(daemon->control, client, text_string(text), text->length);
}

static void answer_error(
	struct daemon *daemon, uint64_t client, int exit_code, const struct error *error)
{
	struct text text = {0};

	control_print_error(&text, exit_code, error);
	answer_text(daemon, client, &text);
	text_free(&text);
}

/* The context of a status answer that is under way. */
struct telling {
	struct daemon *daemon;
	struct status_cursor *cursor;
};

static struct view view_now(const struct daemon *daemon)
{
	struct moment now = moment_now();
	struct view view = view_of_engine(daemon->engine, daemon->options->version, &now);

	view.refused = daemon->refused.length ? text_string(&daemon->refused) : NULL;
	view.hooks = hooks_summary(daemon->hooks);
	view.pbx = pbx_summary(daemon->pbx);
	view.watch = pbx_watch(daemon->pbx);
	return view;
}

static enum control_more tell_more(void *context, struct text *out)
{
	struct telling *telling = context;
	struct view view = view_now(telling->daemon);
	int result = status_next(telling->cursor, &view, out);

	if (result < 0 || out->failed)
		return CONTROL_BREAK;
	return result == STATUS_MORE ? CONTROL_MORE : CONTROL_DONE;
}

static void end_telling(void *context)
{
	struct telling *telling = context;

	status_end(telling->cursor);
	free(telling);
}

static void answer_status(struct daemon *daemon, uint64_t client)
{
	struct view view = view_now(daemon);
	struct telling *telling = calloc(1, sizeof(*telling));
	struct error error = {0};

	if (telling && status_begin(&view, &telling->cursor) == 0) {
		telling->daemon = daemon;
		control_stream(daemon->control, client, tell_more, end_telling, telling);
		return;
	}
	free(telling);
	error_no_memory(&error);
	answer_error(daemon, client, EXIT_CODE_REFUSED, &error);
}

static void answer_why(struct daemon *daemon, uint64_t client, const char *what)
{
	struct view view = view_now(daemon);
	struct text text = {0};

	if (why_answer(&view, engine_own_addresses(daemon->engine), what, &text) < 0)
		text.failed = true;
	answer_text(daemon, client, &text);
	text_free(&text);
}

static void say_ending(struct error *error)
{
	error_set(error, -ECANCELED, "ask again when it is running", "the daemon is ending");
}

/* A metrics_asked_fn. */
static void answer_metrics(void *context, uint64_t client, const struct text *metrics)
{
	struct daemon *daemon = context;
	struct error error = {0};
	struct text text = {0};

	if (!metrics) {
		say_ending(&error);
		answer_error(daemon, client, EXIT_CODE_REFUSED, &error);
		return;
	}
	text.failed = metrics->failed;
	text_puts(&text, "{\"ok\":true,\"metrics\":");
	control_print_string(&text, text_string(metrics), metrics->length);
	text_puts(&text, "}");
	answer_text(daemon, client, &text);
	text_free(&text);
}

static void begin_metrics(struct daemon *daemon, uint64_t client)
{
	struct view view = view_now(daemon);
	struct error error = {0};

	if (daemon->asked && metrics_asked_begin(daemon->asked, &view, client) == 0)
		return;
	error_no_memory(&error);
	answer_error(daemon, client, EXIT_CODE_REFUSED, &error);
}

/* Takes the request over. */
static void begin_refresh(struct daemon *daemon, uint64_t client, struct control_request *request)
{
	struct moment now = moment_now();
	struct waiting *waiting = calloc(1, sizeof(*waiting));
	struct error error = {0};

	if (!waiting) {
		error_no_memory(&error);
		goto failed;
	}
	if (engine_refresh(daemon->engine, request->names, request->name_count, &now,
		    &waiting->ticket, &error) < 0)
		goto failed;
	waiting->client = client;
	waiting->request = *request;
	waiting->mark = news_listen(&daemon->news);
	waiting->next = daemon->waiting;
	daemon->waiting = waiting;
	return;
failed:
	answer_error(daemon, client, error.code == -ENOENT ? EXIT_CODE_USAGE : EXIT_CODE_REFUSED,
		&error);
	control_request_clear(request);
	free(waiting);
}

static void end_waiting(struct daemon *daemon, struct waiting *waiting)
{
	news_leave(&daemon->news);
	control_request_clear(&waiting->request);
	free(waiting);
}

static void answer_refresh(struct daemon *daemon, struct waiting *waiting)
{
	struct view view = view_now(daemon);
	struct error error = {0};
	struct text text = {0};

	if (!engine_summary(daemon->engine).table_right) {
		error_set(&error, -EIO, "see the daemon's log (journalctl -u sipfence)",
			"all names were asked, but the kernel's table could not be made right");
		answer_error(daemon, waiting->client, EXIT_CODE_REFUSED, &error);
		return;
	}
	if (status_refreshed(&view, waiting->request.names, waiting->request.name_count,
		    &daemon->news, &waiting->mark, &text) < 0)
		text.failed = true;
	answer_text(daemon, waiting->client, &text);
	text_free(&text);
}

/* There are no more of them than clients: who has hung up is forgotten. */
static void answer_refreshes(struct daemon *daemon)
{
	for (struct waiting **at = &daemon->waiting; *at;) {
		struct waiting *waiting = *at;
		bool wanted = control_waits(daemon->control, waiting->client);

		if (wanted && !engine_refreshed(daemon->engine, waiting->ticket)) {
			at = &waiting->next;
			continue;
		}
		*at = waiting->next;
		if (wanted)
			answer_refresh(daemon, waiting);
		end_waiting(daemon, waiting);
	}
}

/* The next start can do without, as long as the config is good then. */
static void keep_config(struct daemon *daemon, const struct text *archive)
{
	struct error problem = {0}, error = {0};

	if (config_keep(daemon->options->kept_path, archive, &problem) == 0)
		return;
	error_set(&error, problem.code, problem.next,
		"no copy of the config could be kept, for a start with a broken one: %s",
		problem.what);
	say_error(daemon, "config", &error);
}

/* `messages` gets the config's errors and warnings as they are for people. */
static int reload(struct daemon *daemon, struct text *messages, struct error *error)
{
	const char *path = daemon->options->config_path;
	struct moment now = moment_now();
	struct config *config = NULL;
	struct text archive = {0};
	int result = config_load(path, &config, &archive, messages);

	if (result == -ENOMEM || (result < 0 && messages->length == 0)) {
		error_set(error, result, "ask for the reload again; all is as it was",
			"cannot read the config %s: %s", path, strerror(-result));
	} else if (result < 0) {
		size_t line = strcspn(text_string(messages), "\n");

		error_set(error, -EINVAL,
			"correct the config (sipfence check shows all its errors); all is as it was",
			"%.*s", line > 700 ? 700 : (int)line, text_string(messages));
	} else {
		result = engine_reload(daemon->engine, config, &now, error);
		watch_engine(daemon);
	}
	if (result == 0)
		keep_config(daemon, &archive);
	text_free(&archive);
	if (result < 0) {
		struct event event;

		event_begin(&event, EVENT_ERROR, "reload");
		event_put(&event, "result", "refused");
		event_put_error(&event, error);
		if (!event.line.failed)
			log_event(daemon, &event);
		event_clear(&event);
		text_clear(&daemon->refused);
		text_puts(&daemon->refused, error->what);
		return error->code;
	}
	text_clear(&daemon->refused);
	hooks_configure(daemon->hooks, engine_config(daemon->engine)->on_change);
	pbx_configure(daemon->pbx, engine_config(daemon->engine), &now);
	say(daemon, EVENT_NOTICE, "reload", "result", "done");
	return 0;
}

static int reload_and_notify(struct daemon *daemon, struct text *messages, struct error *error)
{
	int result;

	notify_reloading(&daemon->notify);
	result = reload(daemon, messages, error);
	notify_ready(&daemon->notify,
		result < 0 ? "the config was refused; the former one is in force" : "reloaded");
	return result;
}

static void answer_reload(struct daemon *daemon, uint64_t client)
{
	struct news_mark mark = news_listen(&daemon->news);
	struct text messages = {0}, text = {0};
	struct error error = {0};

	if (reload_and_notify(daemon, &messages, &error) == 0) {
		if (status_reloaded(&daemon->news, &mark, &text) < 0)
			text.failed = true;
	} else if (error.code == -EINVAL && messages.length > 0) {
		/* All errors of the config, not just the first. */
		text_printf(&text, "{\"ok\":false,\"exit\":%d,\"error\":", EXIT_CODE_USAGE);
		control_print_string(&text, text_string(&messages), messages.length);
		text_puts(&text, ",\"next\":");
		control_print_string(&text, error.next, strlen(error.next));
		text_puts(&text, "}");
	} else {
		control_print_error(&text, EXIT_CODE_REFUSED, &error);
	}
	answer_text(daemon, client, &text);
	news_leave(&daemon->news);
	text_free(&messages);
	text_free(&text);
}

static void answer_remove(struct daemon *daemon, uint64_t client)
{
	struct moment now = moment_now();
	struct error error = {0};
	struct text text = {0};

	if (engine_remove(daemon->engine, &now, &error) < 0) {
		answer_error(daemon, client, EXIT_CODE_REFUSED, &error);
		return;
	}
	control_print_ok(&text, NULL);
	answer_text(daemon, client, &text);
	text_free(&text);
	say(daemon, EVENT_NOTICE, "stop", "reason", "the table was removed, as asked for");
	daemon->removed = true;
	daemon->done = true;
}

static void take_request(void *context, uint64_t client, const char *line, size_t length)
{
	struct daemon *daemon = context;
	struct control_request request;
	struct error error = {0};

	if (daemon->done) {
		say_ending(&error);
		answer_error(daemon, client, EXIT_CODE_REFUSED, &error);
		return;
	}
	if (control_request_parse(line, length, &request, &error) < 0) {
		answer_error(daemon, client, EXIT_CODE_USAGE, &error);
		return;
	}
	switch (request.kind) {
	case CONTROL_STATUS:
		answer_status(daemon, client);
		break;
	case CONTROL_REFRESH:
		begin_refresh(daemon, client, &request);
		return;
	case CONTROL_RELOAD:
		answer_reload(daemon, client);
		break;
	case CONTROL_METRICS:
		begin_metrics(daemon, client);
		break;
	case CONTROL_WHY:
		answer_why(daemon, client, request.what);
		break;
	case CONTROL_REMOVE:
		answer_remove(daemon, client);
		break;
	}
	control_request_clear(&request);
}

/* --- Signals, resolv.conf --- */

static void take_signal(void *context, int signal)
{
	struct daemon *daemon = context;
	struct text messages = {0};
	struct error error = {0};

	if (daemon->done)
		return;
	if (signal == SIGHUP) {
		reload_and_notify(daemon, &messages, &error);
		text_free(&messages);
		return;
	}
	daemon->done = true;
	say(daemon, EVENT_NOTICE, "stop", "reason", signal == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void take_resolv_conf(void *context, int fd, unsigned events)
{
	struct daemon *daemon = context;
	struct moment now = moment_now();

	(void)fd;
	(void)events;
	if (!follow_read(daemon->follow) || daemon->done)
		return;
	engine_servers_changed(daemon->engine, &now);
	watch_engine(daemon);
}

/* --- Start, loop, end --- */

static void say_start(struct daemon *daemon, const struct config *config)
{
	struct event event;
	size_t names = 0;

	for (size_t i = 0; i < config->owner_count; i++)
		names += config->owners[i].name_count + config->owners[i].srv_count;
	event_begin(&event, EVENT_NOTICE, "start");
	event_put(&event, "version", daemon->options->version);
	event_put(&event, "config", daemon->options->config_path);
	event_put_number(&event, "names", (int64_t)names);
	event_put(&event, "mode", config_mode_name(config));
	if (!event.line.failed)
		log_event(daemon, &event);
	event_clear(&event);
}

/* Without hooks the daemon does its work all the same. */
static void open_hooks(struct daemon *daemon, const struct config *config)
{
	const struct hooks_options options = {
		.loop = daemon->loop,
		.log = log_event,
		.context = daemon,
		.on_change = config->on_change,
		.helper = daemon->options->helper,
		.problem = &daemon->options->helper_problem,
	};
	struct error error = {0};

	if (hooks_open(&daemon->hooks, &options, &error) < 0)
		say_error(daemon, "hook", &error);
}

static void open_pbx(struct daemon *daemon, const struct config *config)
{
	const struct pbx_options options = {
		.loop = daemon->loop,
		.log = log_event,
		.context = daemon,
		.config = config,
		.helper = daemon->options->pbx_helper,
		.problem = &daemon->options->pbx_problem,
	};
	struct error error = {0};

	if (pbx_open(&daemon->pbx, &options, &error) < 0)
		say_error(daemon, "acl", &error);
}

static void tick_metrics(struct daemon *daemon, int64_t now_ms)
{
	struct view view;

	if (now_ms < metrics_file_due(daemon->metrics, engine_config(daemon->engine)))
		return;
	view = view_now(daemon);
	metrics_file_tick(daemon->metrics, &view);
}

/* With what is saved, which is in the kernel by now. */
static void begin_pbx(struct daemon *daemon)
{
	struct moment now = moment_now();

	pbx_begin(daemon->pbx, daemon->engine, &now);
}

static void open_metrics(struct daemon *daemon)
{
	struct error error = {0};

	if (metrics_file_open(&daemon->metrics, log_event, daemon, &error) < 0)
		say_error(daemon, "metrics", &error);
}

static void take_metrics(void *context, int fd, unsigned events)
{
	struct daemon *daemon = context;
	struct view view = view_now(daemon);

	(void)fd;
	(void)events;
	metrics_asked_take(daemon->asked, &view);
}

/* Who asks gets an error then. */
static void open_asked(struct daemon *daemon)
{
	struct error error = {0};
	int result = metrics_asked_open(&daemon->asked, answer_metrics, daemon, &error);

	if (result == 0 && loop_watch(daemon->loop, metrics_asked_fd(daemon->asked), LOOP_READ,
				   take_metrics, daemon) < 0) {
		daemon->asked = metrics_asked_close(daemon->asked);
		result = error_no_memory(&error);
	}
	if (result < 0)
		say_error(daemon, "metrics", &error);
}

/* With an answer to each who waits. */
static void close_asked(struct daemon *daemon)
{
	if (daemon->asked)
		loop_forget(daemon->loop, metrics_asked_fd(daemon->asked));
	daemon->asked = metrics_asked_close(daemon->asked);
}

/* The last ones. */
static void close_metrics(struct daemon *daemon)
{
	struct view view;

	if (!daemon->metrics)
		return;
	view = view_now(daemon);
	view.no_table = daemon->removed;
	daemon->metrics = metrics_file_close(daemon->metrics, &view);
}

static void say_config_error(struct daemon *daemon)
{
	struct error error = {0};

	error_set(&error, -EINVAL, "correct it (sipfence check shows all its errors), then reload",
		"the config is wrong, the copy of the last good one is in force: %.*s",
		(int)strcspn(daemon->options->config_error, "\n"), daemon->options->config_error);
	say_error(daemon, "config", &error);
	text_write(&daemon->refused, daemon->options->config_error,
		strcspn(daemon->options->config_error, "\n"));
}

static int start_engine(struct daemon *daemon, struct config *config, struct error *error)
{
	struct engine_options options = {
		.state_path = daemon->options->state_path,
		.log = log_event,
		.context = daemon,
	};
	struct clock_reading reading = clock_read();
	struct moment now = moment_now();
	int result;

	memcpy(options.boot_id, reading.boot_id, sizeof(options.boot_id));
	if (getrandom(&options.seed, sizeof(options.seed), GRND_NONBLOCK) < 0)
		options.seed = (uint32_t)now.boot_ms;
	say_start(daemon, config);
	result = engine_new(&daemon->engine, config, &options, error);
	return result < 0 ? result : engine_start(daemon->engine, &now, error);
}

static void open_control(struct daemon *daemon, bool first)
{
	struct error error = {0};

	if (control_open(&daemon->control, daemon->loop, daemon->options->control_path, (gid_t)-1,
		    take_request, daemon, &error) < 0 &&
		first)
		say_error(daemon, "control", &error);
}

static void open_follow(struct daemon *daemon, bool first)
{
	struct error error = {0};

	if (follow_open(&daemon->follow, daemon->options->resolv_conf, &error) == 0)
		loop_watch(daemon->loop, follow_fd(daemon->follow), LOOP_READ, take_resolv_conf,
			daemon);
	else if (first)
		say_error(daemon, "servers", &error);
}

/* What is good to have: the table does not wait for it, and what can't be had is tried again. */
static void open_extras(struct daemon *daemon, int64_t now_ms)
{
	bool first = daemon->extras_due == 0;

	if (now_ms < daemon->extras_due)
		return;
	if (!daemon->control)
		open_control(daemon, first);
	if (!daemon->follow)
		open_follow(daemon, first);
	daemon->extras_due = daemon->control && daemon->follow ? INT64_MAX : now_ms + EXTRAS_MS;
}

static void feed_watchdog(struct daemon *daemon, int64_t now_ms)
{
	if (!daemon->notify.watchdog_ms || now_ms < daemon->watchdog_due)
		return;
	notify_watchdog(&daemon->notify);
	daemon->watchdog_due = now_ms + daemon->notify.watchdog_ms / 2;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t next_due(const struct daemon *daemon)
{
	struct moment now = moment_now();
	int64_t due = engine_due(daemon->engine, &now);

	if (daemon->control)
		due = earlier(due, control_due(daemon->control));
	due = earlier(due, daemon->extras_due);
	due = earlier(due, hooks_due(daemon->hooks));
	due = earlier(due, metrics_file_due(daemon->metrics, engine_config(daemon->engine)));
	due = earlier(due, pbx_due(daemon->pbx));
	if (daemon->notify.watchdog_ms)
		due = earlier(due, daemon->watchdog_due);
	return due;
}

static int loop_once(struct daemon *daemon, struct error *error)
{
	struct moment now;
	int result;

	loop_set_timer(daemon->loop, next_due(daemon));
	result = loop_wait(daemon->loop, error);
	if (result < 0 || daemon->done)
		return result;
	now = moment_now();
	engine_step(daemon->engine, &now);
	watch_engine(daemon);
	answer_refreshes(daemon);
	if (daemon->control)
		control_tick(daemon->control, now.boot_ms);
	open_extras(daemon, now.boot_ms);
	hooks_tick(daemon->hooks, now.boot_ms);
	tick_metrics(daemon, now.boot_ms);
	pbx_tick(daemon->pbx, &now);
	feed_watchdog(daemon, now.boot_ms);
	return 0;
}

/* Whoever waits is told; a moment for the answers to be read. */
static void say_goodbye(struct daemon *daemon)
{
	struct error error = {0};
	int64_t end;

	close_asked(daemon);
	end = clock_boot_ms() + LAST_WORDS_MS;
	say_ending(&error);
	while (daemon->waiting) {
		struct waiting *waiting = daemon->waiting;

		daemon->waiting = waiting->next;
		answer_error(daemon, waiting->client, EXIT_CODE_REFUSED, &error);
		end_waiting(daemon, waiting);
	}
	while (daemon->control && control_unwritten(daemon->control) > 0 && clock_boot_ms() < end) {
		loop_set_timer(daemon->loop, end);
		if (loop_wait(daemon->loop, NULL) < 0)
			break;
	}
}

static void finish(struct daemon *daemon)
{
	struct moment now = moment_now();

	notify_stopping(&daemon->notify);
	if (daemon->control)
		control_shut(daemon->control);
	if (!daemon->removed)
		engine_save(daemon->engine, &now, NULL);
	/* It is the engine's: it must not be ready while the last answers are written. */
	loop_forget(daemon->loop, daemon->resolver_fd);
	loop_forget(daemon->loop, daemon->kernel_fd);
	loop_forget(daemon->loop, engine_network_fd(daemon->engine));
	loop_forget(daemon->loop, engine_disk_fd(daemon->engine));
	say_goodbye(daemon);
}

int daemon_run(const struct daemon_options *options, struct config *config, struct error *error)
{
	struct daemon daemon = {.options = options, .resolver_fd = -1, .kernel_fd = -1};
	struct error problem = {0};
	int result = loop_new(&daemon.loop, error);

	if (result == 0)
		result = loop_signals(daemon.loop, take_signal, &daemon, error);
	if (notify_open(&daemon.notify, &problem) < 0)
		say_error(&daemon, "notify", &problem);
	if (result < 0) {
		config_free(config);
		goto out;
	}
	open_hooks(&daemon, config);
	open_pbx(&daemon, config);
	result = start_engine(&daemon, config, error);
	if (result < 0)
		goto out;
	open_extras(&daemon, clock_boot_ms());
	open_metrics(&daemon);
	open_asked(&daemon);
	begin_pbx(&daemon);
	watch_engine(&daemon);
	loop_watch(daemon.loop, engine_network_fd(daemon.engine), LOOP_READ, wake, &daemon);
	loop_watch(daemon.loop, engine_disk_fd(daemon.engine), LOOP_READ, wake, &daemon);
	daemon.watchdog_due = clock_boot_ms();
	/* Before others hear that it runs: by the copy they tell what config is in force. */
	if (options->archive)
		keep_config(&daemon, options->archive);
	notify_ready(&daemon.notify, "the table is in force");
	say(&daemon, EVENT_NOTICE, "ready", "control", options->control_path);
	if (!options->archive)
		say_config_error(&daemon);
	while (result == 0 && !daemon.done)
		result = loop_once(&daemon, error);
	finish(&daemon);
out:
	control_close(daemon.control);
	if (daemon.follow)
		loop_forget(daemon.loop, follow_fd(daemon.follow));
	follow_close(daemon.follow);
	close_metrics(&daemon);
	daemon.hooks = hooks_close(daemon.hooks);
	daemon.pbx = pbx_close(daemon.pbx);
	engine_free(daemon.engine);
	loop_free(daemon.loop);
	notify_close(&daemon.notify);
	news_clear(&daemon.news);
	text_free(&daemon.refused);
	return result;
}
