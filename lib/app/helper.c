/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper.h"
#include "clock.h"
#include "helper_message.h"
#include "json_put.h"
#include "process.h"
#include "program.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KILL_MS = 1000 /* for the kernel to end what was killed */ };

struct hook {
	struct process *process; /* NULL: free */
	uint32_t id;
};

struct helper_process {
	int socket, signals;
	const char *const *argv;
	uid_t owner;
	struct hook hooks[HELPER_RUNNING];
	bool done;
	int exit_code;
};

/* --- What a hook is given --- */

struct environment {
	char *names[HELPER_FIELDS_MAX + 2]; /* PATH, the fields, NULL */
	size_t count;
};

static void environment_clear(struct environment *environment)
{
	for (size_t i = 0; i < environment->count; i++)
		free(environment->names[i]);
	environment->count = 0;
}

static int environment_add(
	struct environment *environment, const char *prefix, const char *key, const char *value)
{
	char name[HELPER_KEY_MAX + 1], *entry;
	size_t length = strlen(key);

	for (size_t i = 0; i <= length; i++) {
		name[i] = key[i] == '-' ? '_' : key[i];
		if (key[i] >= 'a' && key[i] <= 'z')
			name[i] = (char)(key[i] - 'a' + 'A');
	}
	if (asprintf(&entry, "%s%s=%s", prefix, name, value) < 0)
		return -ENOMEM;
	environment->names[environment->count++] = entry;
	return 0;
}

static int make_environment(const struct helper_message *message, struct environment *ret)
{
	struct environment environment = {0};
	int result = environment_add(&environment, "", "PATH", HELPER_PATH);

	for (size_t i = 0; i < message->field_count && result == 0; i++)
		result = environment_add(&environment, "SIPFENCE_", message->fields[i].key,
			message->fields[i].value);
	if (result < 0)
		environment_clear(&environment);
	else
		*ret = environment;
	return result;
}

static void put_document(const struct helper_message *message, struct text *text)
{
	json_put_open(text, "{");
	for (size_t i = 0; i < message->field_count; i++) {
		json_put_key(text, message->fields[i].key);
		json_put_string(text, message->fields[i].value);
	}
	json_put_close(text, "}");
	text_puts(text, "\n");
}

static int start_hook(const struct helper_process *helper, const struct helper_message *message,
	struct process **ret_process, struct error *error)
{
	struct process_options options = {
		.path = helper->argv[0],
		.arguments = helper->argv,
		.limit_ms = HELPER_LIMIT_MS,
		.grace_ms = HELPER_GRACE_MS,
	};
	struct environment environment = {0};
	struct text input = {0};
	int result = program_check(helper->argv[0], helper->owner, error);

	if (result < 0)
		return result;
	put_document(message, &input);
	if (input.failed || make_environment(message, &environment) < 0) {
		text_free(&input);
		return error_no_memory(error);
	}
	options.environment = (const char *const *)environment.names;
	options.input = text_string(&input);
	options.input_length = input.length;
	result = process_start(ret_process, &options, clock_boot_ms(), error);
	environment_clear(&environment);
	text_free(&input);
	return result;
}

/* --- Messages --- */

static void end_with(struct helper_process *helper, int exit_code)
{
	helper->done = true;
	helper->exit_code = exit_code;
}

/* There is room: the daemon has taken what came before, or it would not have asked for more. */
static void answer(struct helper_process *helper, struct helper_message *message)
{
	char buffer[HELPER_MESSAGE_MAX];
	size_t length;

	message->kind = HELPER_HOOK_ENDED;
	if (helper_message_print(message, buffer, &length) < 0 ||
		send(helper->socket, buffer, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		end_with(helper, EXIT_FAILURE);
}

static void answer_not_started(
	struct helper_process *helper, uint32_t id, const struct error *error)
{
	struct helper_message message = {
		.id = id,
		.outcome = HELPER_NOT_STARTED,
		.code = -error->code,
		.text = error->what,
		.next = error->next,
	};

	answer(helper, &message);
}

static void take_hook(struct helper_process *helper, const struct helper_message *message)
{
	struct hook *unused = NULL;
	struct error error = {0};

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		struct hook *hook = &helper->hooks[i];

		if (!hook->process)
			unused = hook;
		else if (hook->id == message->id)
			end_with(helper, EXIT_FAILURE);
	}
	if (!unused)
		end_with(helper, EXIT_FAILURE);
	if (helper->done)
		return;
	unused->id = message->id;
	if (start_hook(helper, message, &unused->process, &error) < 0)
		answer_not_started(helper, message->id, &error);
}

static void take_messages(struct helper_process *helper)
{
	while (!helper->done) {
		char buffer[HELPER_MESSAGE_MAX + 1];
		struct helper_message message;
		ssize_t size = recv(helper->socket, buffer, sizeof(buffer), MSG_DONTWAIT);

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno == EAGAIN)
			return;
		if (size <= 0)
			end_with(helper, EXIT_SUCCESS);
		else if (helper_message_parse(buffer, (size_t)size, &message) < 0 ||
			 message.kind != HELPER_HOOK)
			end_with(helper, EXIT_FAILURE);
		else
			take_hook(helper, &message);
	}
}

static void answer_ended(
	struct helper_process *helper, const struct hook *hook, const struct process_result *result)
{
	static const enum helper_outcome outcomes[] = {
		[PROCESS_EXITED] = HELPER_EXITED,
		[PROCESS_SIGNALLED] = HELPER_SIGNALLED,
		[PROCESS_TIMED_OUT] = HELPER_TIMED_OUT,
	};
	struct helper_message message = {.id = hook->id, .text = result->line, .next = ""};
	struct error error = {0};

	if (result->outcome == PROCESS_NOT_STARTED) {
		program_explain(helper->argv[0], -result->code, &error);
		answer_not_started(helper, hook->id, &error);
		return;
	}
	message.outcome = outcomes[result->outcome];
	message.code = result->code;
	message.milliseconds = (uint32_t)result->milliseconds;
	answer(helper, &message);
}

/* --- The loop --- */

/* Those that have ended are answered for, unless nobody listens any more; how many are left. */
static size_t step(struct helper_process *helper)
{
	size_t left = 0;

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		struct hook *hook = &helper->hooks[i];
		struct process_result result;
		int64_t now = clock_boot_ms();

		if (!hook->process)
			continue;
		process_read(hook->process);
		process_tick(hook->process, now);
		if (!process_end(hook->process, now, &result)) {
			left++;
			continue;
		}
		if (!helper->done)
			answer_ended(helper, hook, &result);
		hook->process = process_free(hook->process);
	}
	return left;
}

static int poll_timeout(const struct helper_process *helper, int64_t due)
{
	int64_t now = clock_boot_ms();

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		const struct process *process = helper->hooks[i].process;

		if (process && process_due(process) < due)
			due = process_due(process);
	}
	if (due == INT64_MAX)
		return -1;
	return due <= now ? 0 : (int)(due - now);
}

/* Until something happens, or it is `due`. */
static void wait_for_work(const struct helper_process *helper, int64_t due)
{
	struct pollfd fds[2 + HELPER_RUNNING * PROCESS_FDS];
	struct signalfd_siginfo info;
	nfds_t count = 0;

	fds[count++] = (struct pollfd){.fd = helper->signals, .events = POLLIN};
	if (!helper->done)
		fds[count++] = (struct pollfd){.fd = helper->socket, .events = POLLIN};
	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		if (!helper->hooks[i].process)
			continue;
		process_fds(helper->hooks[i].process, fds + count);
		count += PROCESS_FDS;
	}
	if (poll(fds, count, poll_timeout(helper, due)) > 0 && fds[0].revents) {
		while (read(helper->signals, &info, sizeof(info)) > 0)
			;
	}
}

static void stop_hooks(struct helper_process *helper)
{
	int64_t end = clock_boot_ms() + HELPER_GRACE_MS + KILL_MS;

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		if (helper->hooks[i].process)
			process_stop(helper->hooks[i].process, clock_boot_ms());
	}
	while (step(helper) > 0 && clock_boot_ms() < end)
		wait_for_work(helper, end);
}

/* The daemon's death: the socket says so as well, unless somebody has got hold of its other end. */
static void take_parent(struct helper_process *helper, pid_t parent)
{
	if (getppid() != parent)
		end_with(helper, EXIT_SUCCESS);
}

static int set_signals(void)
{
	static const int ignored[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR2};
	sigset_t signals;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Leaves 0, 1 and 2 open, the first two on nothing; `socket` becomes 3. */
static int set_descriptors(int socket)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		return -errno;
	if (fcntl(2, F_GETFD) < 0 && dup2(null, 2) < 0)
		return -errno;
	if (socket != 3 && dup3(socket, 3, O_CLOEXEC) < 0)
		return -errno;
	if (syscall(SYS_close_range, 4U, ~0U, 0U) < 0) {
		for (int fd = 4; fd < 1024; fd++)
			close(fd);
	}
	return 3;
}

static _Noreturn void run(int socket, const char *const *argv, uid_t owner, pid_t parent)
{
	struct helper_process helper = {.argv = argv, .owner = owner};

	prctl(PR_SET_NAME, "sipfence-helper");
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	/* Under a unit it has the daemon's user, who must not reach into its memory. */
	prctl(PR_SET_DUMPABLE, 0);
	setsid();
	helper.socket = set_descriptors(socket);
	helper.signals = set_signals();
	if (helper.socket < 0 || helper.signals < 0 || chdir("/") < 0)
		_exit(EXIT_FAILURE);
	while (!helper.done) {
		take_parent(&helper, parent);
		take_messages(&helper);
		step(&helper);
		if (!helper.done)
			wait_for_work(&helper, INT64_MAX);
	}
	stop_hooks(&helper);
	/* Not exit(): buffers and handlers are the daemon's. */
	_exit(helper.exit_code);
}

int helper_start(
	const char *const *argv, uid_t owner, struct helper *ret_helper, struct error *error)
{
	pid_t parent = getpid(), pid = -1;
	int pair[2], number;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0) {
		pid = fork();
		if (pid == 0)
			run(pair[1], argv, owner, parent);
		number = errno;
		close(pair[1]);
		if (pid < 0)
			close(pair[0]);
		errno = number;
	}
	if (pid < 0)
		return error_set(error, -errno, "see what it lacks (ulimit -a), then restart",
			"the helper process that runs hooks cannot be started: %s",
			strerror(errno));
	*ret_helper = (struct helper){.fd = pair[0], .pid = pid};
	return 0;
}
