/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"

#include "clock.h"
#include "control_json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	BACKLOG = 64,
	PAUSE_MS = 1000,
	GROUPS = 64, /* of a client, at first */
	EXIT_CODE_REFUSED = 1,
};

enum phase {
	PHASE_READING, /* no request under way */
	PHASE_ASKED,
	PHASE_WRITING,
};

struct client {
	struct control *control;
	int fd; /* -1: unused */
	enum phase phase;
	uint64_t ticket;  /* of the request under way */
	uint64_t resting; /* when it began to be without a request: a count, not a time */
	bool calling;	  /* a control_request_fn looks at `input` */
	bool hang_up;	  /* when the answer is written */
	char *input;	  /* CONTROL_LINE_MAX bytes; what is not taken: */
	size_t input_start, input_end;
	struct text output;
	size_t output_start;
	int64_t taken; /* when it took the last byte, ms since boot */
	control_produce_fn *produce;
	control_release_fn *release;
	void *produce_context;
};

struct control {
	struct loop *loop;
	char *path;
	int fd;
	dev_t device; /* of the socket's file */
	ino_t inode;
	gid_t group;
	int64_t paused_until; /* no client is let in; INT64_MAX: they are */
	uint64_t last_ticket, last_resting;
	control_request_fn *request;
	void *context;
	struct client clients[CONTROL_MAX_CLIENTS];
};

/* --- clients ---------------------------------------------------------------------------------- */

static void end_production(struct client *client)
{
	control_release_fn *release = client->release;

	client->produce = NULL;
	client->release = NULL;
	if (release)
		release(client->produce_context);
}

static void drop(struct client *client)
{
	if (client->fd < 0)
		return;
	loop_forget(client->control->loop, client->fd);
	close(client->fd);
	client->fd = -1;
	text_free(&client->output);
	if (!client->calling) {
		free(client->input);
		client->input = NULL;
	}
	end_production(client);
}

static const char *find_line_end(const struct client *client)
{
	return memchr(
		client->input + client->input_start, '\n', client->input_end - client->input_start);
}

static void rest(struct client *client)
{
	client->phase = PHASE_READING;
	client->resting = ++client->control->last_resting;
	text_free(&client->output);
	client->output_start = 0;
	if (client->hang_up)
		drop(client);
	else /* A line that is here already is taken in the next round; others come first. */
		loop_change(client->control->loop, client->fd,
			find_line_end(client) ? LOOP_WRITE : LOOP_READ);
}

/* Fills the output by at least a piece, if there is as much. */
static void make_piece(struct client *client)
{
	enum control_more more = CONTROL_MORE;

	text_clear(&client->output);
	client->output_start = 0;
	while (more == CONTROL_MORE && client->output.length < CONTROL_PIECE &&
		!client->output.failed)
		more = client->produce(client->produce_context, &client->output);
	if (more == CONTROL_BREAK || client->output.failed) {
		drop(client);
	} else if (more == CONTROL_DONE) {
		text_write(&client->output, "\n", 1);
		end_production(client);
	}
}

/* One piece, or what the client takes of it. */
static void write_output(struct client *client)
{
	struct text *output = &client->output;
	ssize_t size;

	if (client->output_start == output->length && client->produce)
		make_piece(client);
	if (client->fd >= 0 && output->failed)
		drop(client);
	if (client->fd < 0)
		return;
	size = send(client->fd, output->data + client->output_start,
		output->length - client->output_start, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (size < 0 && errno != EAGAIN && errno != EINTR) {
		drop(client);
		return;
	}
	if (size > 0) {
		client->output_start += (size_t)size;
		client->taken = clock_boot_ms();
	}
	if (client->output_start == output->length && !client->produce)
		rest(client);
	else
		loop_change(client->control->loop, client->fd, LOOP_WRITE);
}

static void begin_answer(struct client *client)
{
	client->phase = PHASE_WRITING;
	client->taken = clock_boot_ms();
}

/* The line is no request: it is said, and that was all. */
static void fail(struct client *client, const char *what)
{
	struct error error = {0};

	error_set(&error, -EINVAL,
		"a request is a line like {\"request\":\"status\"}, at most 64 KB long", "%s",
		what);
	begin_answer(client);
	client->hang_up = true;
	control_print_error(&client->output, EXIT_CODE_REFUSED, &error);
	text_write(&client->output, "\n", 1);
	write_output(client);
}

static void pass_on(struct client *client, size_t length)
{
	struct control *control = client->control;
	char *line = client->input + client->input_start;

	line[length] = '\0';
	client->input_start += length + 1;
	if (line[strspn(line, " \t\r")] != '{') {
		fail(client, "the request is not a JSON object");
		return;
	}
	client->phase = PHASE_ASKED;
	client->ticket = ++control->last_ticket;
	loop_change(control->loop, client->fd, 0);
	client->calling = true;
	control->request(control->context, client->ticket, line, length);
	client->calling = false;
	if (client->fd < 0) {
		free(client->input);
		client->input = NULL;
	}
}

/* False: the client is gone. */
static bool read_input(struct client *client)
{
	size_t left = client->input_end - client->input_start;
	ssize_t size;

	memmove(client->input, client->input + client->input_start, left);
	client->input_start = 0;
	client->input_end = left;
	size = recv(client->fd, client->input + left, CONTROL_LINE_MAX - left, MSG_DONTWAIT);
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (size <= 0) {
		drop(client);
		return false;
	}
	client->input_end += (size_t)size;
	return true;
}

static void on_client(void *context, int fd, unsigned events)
{
	struct client *client = context;
	const char *end;

	(void)fd;
	if (client->phase == PHASE_WRITING && events & LOOP_WRITE) {
		write_output(client);
		return;
	}
	if (client->phase != PHASE_READING) {
		if (events & LOOP_HANGUP)
			drop(client);
		return;
	}
	if (!find_line_end(client) && !read_input(client))
		return;
	end = find_line_end(client);
	if (end)
		pass_on(client, (size_t)(end - client->input) - client->input_start);
	else if (client->input_end - client->input_start == CONTROL_LINE_MAX)
		fail(client, "the request is longer than 64 KB");
}

/* --- letting clients in ----------------------------------------------------------------------- */

static bool has_group(int fd, gid_t group)
{
	socklen_t size = GROUPS * sizeof(gid_t);
	gid_t *groups = malloc(size), *more;
	bool found = false;
	int result = -1;

	if (!groups)
		return false;
	result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size);
	if (result < 0 && errno == ERANGE) { /* the size that it takes is in `size` now */
		more = realloc(groups, size);
		if (more) {
			groups = more;
			result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size);
		}
	}
	for (size_t i = 0; result == 0 && i < size / sizeof(gid_t); i++)
		found = found || groups[i] == group;
	free(groups);
	return found;
}

/* Root's group is that of many who are not root. */
static bool may_ask(const struct control *control, int fd, struct error *error)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
		error_set(error, -EACCES, "", "the kernel does not say who asks");
		return false;
	}
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	if (control->group != 0 && (peer.gid == control->group || has_group(fd, control->group)))
		return true;
	error_set(error, -EACCES,
		control->group == 0 ? "run it as root"
				    : "run it as root, or as a member of the socket's group",
		"user %ld may not talk to the daemon", (long)peer.uid);
	return false;
}

static void turn_away(int fd, const struct error *error)
{
	struct text text = {0};

	control_print_error(&text, EXIT_CODE_REFUSED, error);
	text_write(&text, "\n", 1);
	if (!text.failed)
		(void)!send(fd, text.data, text.length, MSG_DONTWAIT | MSG_NOSIGNAL);
	text_free(&text);
	close(fd);
}

/* Hangs up on the one that has been without a request for longest. NULL: all have one. */
static struct client *make_room(struct control *control)
{
	struct client *longest = NULL;

	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (client->fd >= 0 && client->phase == PHASE_READING &&
			(!longest || client->resting < longest->resting))
			longest = client;
	}
	if (longest)
		drop(longest);
	return longest;
}

static struct client *free_client(struct control *control)
{
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (control->clients[i].fd < 0)
			return &control->clients[i];
	}
	return make_room(control);
}

static void let_in(struct control *control, int fd)
{
	struct error error = {0};
	struct client *client;
	char *input = NULL;

	if (!may_ask(control, fd, &error)) {
		turn_away(fd, &error);
		return;
	}
	client = free_client(control);
	if (!client)
		error_set(&error, -EBUSY, "wait until they are done, then try again",
			"%d other requests are under way", CONTROL_MAX_CLIENTS);
	else
		input = malloc(CONTROL_LINE_MAX);
	if (!input || loop_watch(control->loop, fd, LOOP_READ, on_client, client) < 0) {
		error_no_memory(&error);
		turn_away(fd, &error);
		free(input);
		return;
	}
	*client = (struct client){
		.control = control, .fd = fd, .input = input, .resting = ++control->last_resting};
}

/* Clients that can't be let in keep the listening socket ready: look away for a while. */
static void pause_listening(struct control *control)
{
	loop_change(control->loop, control->fd, 0);
	control->paused_until = clock_boot_ms() + PAUSE_MS;
}

/* One a round: accept4() complains of a lack of descriptors also when there is nobody to let in,
 * and somebody would have to make room for nobody. */
static void on_listening(void *context, int fd, unsigned events)
{
	struct control *control = context;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (client >= 0)
		let_in(control, client);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED && !make_room(control))
		pause_listening(control);
}

/* --- the socket ------------------------------------------------------------------------------- */

static int set_address(const char *path, struct sockaddr_un *ret_address, struct error *error)
{
	size_t length = strlen(path);

	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (length >= sizeof(ret_address->sun_path))
		return error_set(error, -ENAMETOOLONG, "name a shorter folder (--run-dir)",
			"the path %s is too long for a socket", path);
	memcpy(ret_address->sun_path, path, length);
	return 0;
}

/* Only a socket, and only one that nobody listens at. */
static int remove_stale(const struct sockaddr_un *address, struct error *error)
{
	const char *path = address->sun_path;
	struct stat status;
	int fd, number;

	if (lstat(path, &status) < 0)
		return 0; /* if it is there all the same, bind() will say so */
	if (!S_ISSOCK(status.st_mode))
		return error_set(
			error, -EEXIST, "move it away", "%s is there, but is not a socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		number = errno;
		return error_set(error, -number, "", "cannot make a socket: %s", strerror(number));
	}
	number = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
	close(fd);
	if (number == 0 || number == EAGAIN)
		return error_set(error, -EADDRINUSE, "end that process first (fuser -v)",
			"another process listens at %s", path);
	if (unlink(path) < 0 && errno != ENOENT) {
		number = errno;
		return error_set(error, -number, "see whose folder it is in (ls -ld)",
			"cannot remove the old socket %s: %s", path, strerror(number));
	}
	return 0;
}

/* At no moment may anybody connect who may not in the end. */
static int bind_socket(struct control *control, const struct sockaddr_un *address, gid_t group,
	struct error *error)
{
	const char *step = "cannot make the socket";
	struct stat status;
	mode_t mask = umask(0177);
	int result = bind(control->fd, (const struct sockaddr *)address, sizeof(*address));
	int number = errno;

	umask(mask);
	if (result == 0) {
		result = lstat(control->path, &status);
		number = errno;
	}
	if (result == 0) {
		control->device = status.st_dev;
		control->inode = status.st_ino;
		if (group != (gid_t)-1 && group != status.st_gid) {
			step = "cannot give the group to the socket";
			result = lchown(control->path, (uid_t)-1, group);
			number = errno;
			status.st_gid = group;
		}
		control->group = status.st_gid;
	}
	if (result == 0 && (chmod(control->path, 0660) < 0 || listen(control->fd, BACKLOG) < 0)) {
		result = -1;
		number = errno;
	}
	if (result == 0)
		return 0;
	return error_set(error, -number,
		"see whose folder it is in, and that it has room (ls -ld, df)", "%s %s: %s", step,
		control->path, strerror(number));
}

int control_open(struct control **ret_control, struct loop *loop, const char *path, gid_t group,
	control_request_fn *request, void *context, struct error *error)
{
	struct control *control = calloc(1, sizeof(*control));
	struct sockaddr_un address;
	int result;

	if (!control)
		return error_no_memory(error);
	*control = (struct control){.loop = loop,
		.path = strdup(path),
		.paused_until = INT64_MAX,
		.request = request,
		.context = context};
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++)
		control->clients[i].fd = -1;
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	result = control->fd < 0 ? -errno : 0;
	if (result == 0 && !control->path)
		result = -ENOMEM;
	if (result < 0)
		error_set(error, result, "", "cannot make a socket: %s", strerror(-result));
	if (result == 0)
		result = set_address(path, &address, error);
	if (result == 0)
		result = remove_stale(&address, error);
	if (result == 0)
		result = bind_socket(control, &address, group, error);
	if (result == 0) {
		result = loop_watch(loop, control->fd, LOOP_READ, on_listening, control);
		if (result < 0)
			error_set(error, result, "", "cannot watch the socket %s: %s", path,
				strerror(-result));
	}
	if (result == 0)
		*ret_control = control;
	else
		control_close(control);
	return result;
}

struct control *control_close(struct control *control)
{
	struct stat status;

	if (!control)
		return NULL;
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++)
		drop(&control->clients[i]);
	if (control->fd >= 0) {
		loop_forget(control->loop, control->fd);
		close(control->fd);
	}
	/* Not what somebody else has put there. */
	if (control->inode && lstat(control->path, &status) == 0 &&
		status.st_ino == control->inode && status.st_dev == control->device)
		unlink(control->path);
	free(control->path);
	free(control);
	return NULL;
}

/* --- answers ---------------------------------------------------------------------------------- */

static bool has_asked(const struct client *client, uint64_t ticket)
{
	return client->fd >= 0 && client->phase == PHASE_ASKED && client->ticket == ticket;
}

static struct client *asked_by(struct control *control, uint64_t ticket)
{
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (has_asked(&control->clients[i], ticket))
			return &control->clients[i];
	}
	return NULL;
}

bool control_waits(const struct control *control, uint64_t ticket)
{
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		if (has_asked(&control->clients[i], ticket))
			return true;
	}
	return false;
}

void control_shut(struct control *control)
{
	loop_forget(control->loop, control->fd);
	control->paused_until = INT64_MAX;
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (client->fd >= 0 && client->phase == PHASE_READING)
			drop(client);
		else
			client->hang_up = true;
	}
}

void control_answer(struct control *control, uint64_t ticket, const char *line, size_t length)
{
	struct client *client = asked_by(control, ticket);

	if (!client)
		return;
	begin_answer(client);
	text_write(&client->output, line, length);
	text_write(&client->output, "\n", 1);
	write_output(client);
}

void control_stream(struct control *control, uint64_t ticket, control_produce_fn *produce,
	control_release_fn *release, void *context)
{
	struct client *client = asked_by(control, ticket);

	if (!client) {
		if (release)
			release(context);
		return;
	}
	begin_answer(client);
	client->produce = produce;
	client->release = release;
	client->produce_context = context;
	write_output(client);
}

int64_t control_due(const struct control *control)
{
	int64_t due = control->paused_until;

	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		const struct client *client = &control->clients[i];

		if (client->fd >= 0 && client->phase == PHASE_WRITING &&
			client->taken + CONTROL_STALL_MS < due)
			due = client->taken + CONTROL_STALL_MS;
	}
	return due;
}

void control_tick(struct control *control, int64_t boot_ms)
{
	if (boot_ms >= control->paused_until) {
		control->paused_until = INT64_MAX;
		loop_change(control->loop, control->fd, LOOP_READ);
	}
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (client->fd >= 0 && client->phase == PHASE_WRITING &&
			boot_ms >= client->taken + CONTROL_STALL_MS)
			drop(client);
	}
}

static size_t count_phase(const struct control *control, enum phase phase)
{
	size_t count = 0;

	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++)
		count += control->clients[i].fd >= 0 && control->clients[i].phase == phase;
	return count;
}

size_t control_unanswered(const struct control *control)
{
	return count_phase(control, PHASE_ASKED);
}

size_t control_unwritten(const struct control *control)
{
	return count_phase(control, PHASE_WRITING);
}
