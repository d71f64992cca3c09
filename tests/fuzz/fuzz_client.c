/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a daemon answers, through the real commands: status, why, refresh, reload, with and without
 * --json. The answer stands in a socket already when the command connects. Nothing of it may reach
 * the terminal but printable text. The first byte says which command.
 */
#include "fuzz.h"

#include "command.h"
#include "control.h"

#include <jansson.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct fuzz_bytes answer;
static int daemon_side = -1;

static void hang_up(void)
{
	if (daemon_side >= 0)
		close(daemon_side);
	daemon_side = -1;
}

int __wrap_control_connect(const char *path, int *ret_fd, struct error *error);
int __wrap_control_connect(const char *path, int *ret_fd, struct error *error)
{
	int pair[2];

	(void)path;
	(void)error;
	hang_up();
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	if (answer.left)
		FUZZ_CHECK(send(pair[1], answer.at, answer.left, MSG_DONTWAIT) ==
			   (ssize_t)answer.left);
	send(pair[1], "\n", 1, MSG_DONTWAIT);
	shutdown(pair[1], SHUT_WR);
	daemon_side = pair[1];
	*ret_fd = pair[0];
	return 0;
}

/* Ages are printed. */
time_t __wrap_time(time_t *ret_time);
time_t __wrap_time(time_t *ret_time)
{
	time_t now = 1700000000;

	if (ret_time)
		*ret_time = now;
	return now;
}

static void check_document(const char *text, size_t size)
{
	json_error_t why;
	json_t *document = json_loadb(text, size, 0, &why);

	FUZZ_CHECK(size == 0 || json_is_object(document));
	json_decref(document);
}

static void run(int (*command)(const struct invocation *), const struct invocation *invocation)
{
	FILE *real_out = stdout, *real_err = stderr;
	char *out = NULL, *err = NULL;
	size_t out_size = 0, err_size = 0;
	FILE *out_file = open_memstream(&out, &out_size);
	FILE *err_file = open_memstream(&err, &err_size);
	int code;

	FUZZ_CHECK(out_file && err_file);
	stdout = out_file;
	stderr = err_file;
	code = command(invocation);
	stdout = real_out;
	stderr = real_err;
	fclose(out_file);
	fclose(err_file);
	hang_up();
	FUZZ_CHECK(code >= EXIT_DONE && code <= EXIT_UNSURE);
	FUZZ_CHECK(fuzz_is_printable(out, out_size, "\n"));
	FUZZ_CHECK(fuzz_is_printable(err, err_size, "\n"));
	FUZZ_CHECK(out_size + err_size > 0 || code == EXIT_DONE);
	if (invocation->json)
		check_document(out, out_size);
	free(out);
	free(err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		const char *name;
		int (*command)(const struct invocation *);
		const char *argument;
	} commands[] = {
		{"status", command_status, NULL},
		{"why", command_why, "203.0.113.7"},
		{"why", command_why, "21"},
		{"refresh", command_refresh, NULL},
		{"refresh", command_refresh, "home21.dyndns.example"},
		{"refresh", command_refresh, "21"},
		{"reload", command_reload, NULL},
	};
	struct fuzz_bytes bytes = {data, size};
	uint8_t choice = fuzz_byte(&bytes);
	size_t index = (choice & 0x3f) % (sizeof(commands) / sizeof(commands[0]));
	struct invocation invocation = {
		.command = commands[index].name,
		.config_path = "/nonexistent/sipfence.yaml",
		.state_dir = "/nonexistent",
		.run_dir = "/nonexistent",
		.arguments = &commands[index].argument,
		.argument_count = commands[index].argument ? 1 : 0,
		.verbosity = choice & 0x40 ? 1 : 0,
		.json = choice & 0x80,
	};

	answer = bytes;
	run(commands[index].command, &invocation);
	return 0;
}
