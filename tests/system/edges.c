/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's edges without the daemon, for test_edges.py:
 *
 *     edges serve PATH GROUP        a control socket; GROUP is a number, -1: none. Prints "ready".
 *     edges ask PATH MS             asks each line of stdin, prints each answer, or
 *                                   "error ERRNO what / next"
 *     edges lock PATH WORD          prints "taken", and holds it until stdin ends; or
 *                                   "locked PID WORD", or "error ERRNO what / next"
 *
 * The server's answers hang on "request":
 *     echo            {"ok":true,"echo":the request}
 *     later           when somebody asks `now`, with {"ok":true,"late":N}, in the order of asking
 *     now             {"ok":true,"answered":N}
 *     twice           two answers, the second of which must never be seen
 *     big             {"ok":true,"pad":"xxx…"} of `bytes` bytes, in one go
 *     stream          the same piece by piece, `piece` bytes at a time (default 1000)
 *     break           gives up after `bytes` bytes
 *     tick            control_tick() as if `ms` had passed
 *     stats           what the server has seen, see put_stats()
 *     quit            {"ok":true}, then it closes and ends
 */
#include "clock.h"
#include "control.h"
#include "control_json.h"
#include "files.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LATE = 1000 };

struct stream;

struct server {
	struct loop *loop;
	struct stream *last_stream;
	struct control *control;
	uint64_t late[MAX_LATE];
	size_t late_count;
	unsigned long rounds, requests, streams, released, pieces;
	bool done;
};

struct stream {
	struct server *server;
	struct stream *previous;
	size_t left, piece;
	bool begun, breaks, over;
};

static void answer(struct server *server, uint64_t ticket, const char *line)
{
	control_answer(server->control, ticket, line, strlen(line));
}

static void pad(struct text *text, size_t count)
{
	char block[4096];

	memset(block, 'x', sizeof(block));
	for (; count > 0; count -= count < sizeof(block) ? count : sizeof(block))
		text_write(text, block, count < sizeof(block) ? count : sizeof(block));
}

static enum control_more next_piece(void *context, struct text *out)
{
	struct stream *stream = context;
	size_t count = stream->left < stream->piece ? stream->left : stream->piece;

	stream->server->pieces++;
	if (!stream->begun)
		text_puts(out, "{\"ok\":true,\"pad\":\"");
	stream->begun = true;
	pad(out, count);
	stream->left -= count;
	if (stream->left > 0)
		return CONTROL_MORE;
	if (stream->breaks)
		return CONTROL_BREAK;
	text_puts(out, "\"}");
	return CONTROL_DONE;
}

static void end_stream(void *context)
{
	struct stream *stream = context;

	if (stream->over)
		abort();
	stream->over = true;
	stream->server->released++;
}

static size_t number_of(const json_t *root, const char *key, size_t fallback)
{
	const json_t *value = json_object_get(root, key);

	return value ? (size_t)json_integer_value(value) : fallback;
}

static void begin_stream(struct server *server, uint64_t ticket, const json_t *root, bool breaks)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		abort();
	stream->server = server;
	stream->previous = server->last_stream;
	server->last_stream = stream;
	stream->left = number_of(root, "bytes", 0);
	stream->piece = number_of(root, "piece", 1000);
	stream->breaks = breaks;
	server->streams++;
	control_stream(server->control, ticket, next_piece, end_stream, stream);
}

static void answer_big(struct server *server, uint64_t ticket, const json_t *root)
{
	struct text text = {0};

	text_puts(&text, "{\"ok\":true,\"pad\":\"");
	pad(&text, number_of(root, "bytes", 0));
	text_puts(&text, "\"}");
	answer(server, ticket, text_string(&text));
	text_free(&text);
}

static void answer_late_ones(struct server *server, uint64_t ticket)
{
	char line[80];

	for (size_t i = 0; i < server->late_count; i++) {
		snprintf(line, sizeof(line), "{\"ok\":true,\"late\":%zu}", i);
		answer(server, server->late[i], line);
	}
	snprintf(line, sizeof(line), "{\"ok\":true,\"answered\":%zu}", server->late_count);
	server->late_count = 0;
	answer(server, ticket, line);
}

static void put_stats(struct server *server, uint64_t ticket)
{
	int64_t due = control_due(server->control);
	char line[512];

	snprintf(line, sizeof(line),
		"{\"ok\":true,\"rounds\":%lu,\"requests\":%lu,\"streams\":%lu,\"released\":%lu,"
		"\"pieces\":%lu,\"unanswered\":%zu,\"unwritten\":%zu,\"due_ms\":%lld,"
		"\"cpu_ms\":%lld}",
		server->rounds, server->requests, server->streams, server->released, server->pieces,
		control_unanswered(server->control), control_unwritten(server->control),
		due == INT64_MAX ? -1 : (long long)(due - clock_boot_ms()),
		(long long)clock() * 1000 / CLOCKS_PER_SEC);
	answer(server, ticket, line);
}

static void echo(struct server *server, uint64_t ticket, const char *line, size_t length)
{
	struct text text = {0};

	text_puts(&text, "{\"ok\":true,\"echo\":");
	text_write(&text, line, length);
	text_puts(&text, "}");
	answer(server, ticket, text_string(&text));
	text_free(&text);
}

static void take_request(void *context, uint64_t ticket, const char *line, size_t length)
{
	struct server *server = context;
	json_t *root = json_loadb(line, length, 0, NULL);
	const char *request = json_string_value(json_object_get(root, "request"));

	server->requests++;
	if (!request)
		answer(server, ticket, "{\"ok\":false,\"exit\":2,\"error\":\"no request\"}");
	else if (strcmp(request, "echo") == 0)
		echo(server, ticket, line, length);
	else if (strcmp(request, "later") == 0 && server->late_count < MAX_LATE)
		server->late[server->late_count++] = ticket;
	else if (strcmp(request, "now") == 0)
		answer_late_ones(server, ticket);
	else if (strcmp(request, "big") == 0)
		answer_big(server, ticket, root);
	else if (strcmp(request, "stream") == 0 || strcmp(request, "break") == 0)
		begin_stream(server, ticket, root, request[0] == 'b');
	else if (strcmp(request, "stats") == 0)
		put_stats(server, ticket);
	else if (strcmp(request, "twice") == 0)
		answer(server, ticket, "{\"ok\":true,\"time\":1}");
	else if (strcmp(request, "tick") == 0)
		control_tick(server->control, clock_boot_ms() + (int64_t)number_of(root, "ms", 0));
	else if (strcmp(request, "quit") == 0)
		server->done = true;
	if (!request || strcmp(request, "later") != 0)
		answer(server, ticket, "{\"ok\":true}"); /* dropped, if there was one */
	if (request && strcmp(request, "twice") == 0)
		begin_stream(server, ticket, root, false);
	json_decref(root);
}

static void stop(void *context, int signal)
{
	struct server *server = context;

	(void)signal;
	server->done = true;
}

static int say_error(const struct error *error)
{
	printf("error %d %s / %s\n", error->code, error->what, error->next);
	fflush(stdout);
	return 1;
}

static int serve(const char *path, gid_t group)
{
	struct server server = {0};
	struct error error = {0};

	if (loop_new(&server.loop, &error) < 0 ||
		loop_signals(server.loop, stop, &server, &error) < 0 ||
		control_open(&server.control, server.loop, path, group, take_request, &server,
			&error) < 0) {
		loop_free(server.loop);
		return say_error(&error);
	}
	puts("ready");
	fflush(stdout);
	while (!server.done) {
		int64_t due = control_due(server.control);

		loop_set_timer(server.loop, due);
		if (loop_wait(server.loop, &error) < 0)
			return say_error(&error);
		server.rounds++;
		if (clock_boot_ms() >= due)
			control_tick(server.control, clock_boot_ms());
	}
	control_close(server.control);
	loop_free(server.loop);
	while (server.last_stream) {
		struct stream *stream = server.last_stream;

		server.last_stream = stream->previous;
		free(stream);
	}
	if (server.streams != server.released)
		printf("%lu streams, %lu released\n", server.streams, server.released);
	return server.streams == server.released ? 0 : 1;
}

static int ask(const char *path, int timeout_ms)
{
	struct text reply = {0};
	struct error error = {0};
	char *line = NULL;
	size_t size = 0;
	ssize_t length;
	int fd, result = control_connect(path, &fd, &error);

	if (result < 0)
		return say_error(&error);
	while (result == 0 && (length = getline(&line, &size, stdin)) > 0) {
		if (line[length - 1] == '\n')
			length--;
		text_clear(&reply);
		result = control_ask(fd, line, (size_t)length, &reply, timeout_ms, &error);
		if (result == 0)
			printf("%s\n", text_string(&reply));
	}
	free(line);
	text_free(&reply);
	close(fd);
	return result < 0 ? say_error(&error) : 0;
}

static int lock(const char *path, const char *word)
{
	struct lock_holder holder = {0};
	struct error error = {0};
	int fd, result = lock_take(path, word, &fd, &holder, &error);

	if (result < 0)
		return say_error(&error);
	if (result == LOCK_TAKEN) {
		printf("locked %ld %s\n", (long)holder.pid, holder.word);
		return 0;
	}
	puts("taken");
	fflush(stdout);
	while (getchar() != EOF)
		;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2], (gid_t)strtol(argv[3], NULL, 10));
	if (argc == 4 && strcmp(argv[1], "ask") == 0)
		return ask(argv[2], atoi(argv[3]));
	if (argc == 4 && strcmp(argv[1], "lock") == 0)
		return lock(argv[2], argv[3]);
	return 2;
}
