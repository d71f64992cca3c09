/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "process.h"
#include "clock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif

enum { READ_MOST = 65536 };		  /* of one output in one round */
enum { STANDARD_ERROR, STANDARD_OUTPUT }; /* of process.output */

/* Keeps the last line of what a program prints. */
struct output {
	int fd; /* -1: closed */
	char line[PROCESS_LINE_SIZE], last[PROCESS_LINE_SIZE];
	size_t length; /* of `line`, which is not complete */
	size_t most;   /* of `kept`; 0: nothing is kept */
	struct text kept;
	bool cut;
};

struct process {
	pid_t pid;
	int report; /* the errno of execve() comes from here */
	struct output output[PROCESS_FDS];
	int64_t started, due, grace_ms;
	bool told, killed, ended;
	struct process_result result;
};

/* --- Start --- */

/* The pipes and files of a start, until the child has them. */
struct start {
	int input;
	int output[PROCESS_FDS][2];
	int report[2];
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void start_clear(struct start *start)
{
	close_fd(&start->input);
	for (int i = 0; i < 2; i++) {
		close_fd(&start->report[i]);
		for (int j = 0; j < PROCESS_FDS; j++)
			close_fd(&start->output[j][i]);
	}
}

/* A file in memory: the program may read it whenever it likes, or never. */
static int open_input(const void *data, size_t length)
{
	size_t written = 0;
	int number, fd = memfd_create("input", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("input", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	while (written < length) {
		ssize_t size = write(fd, (const char *)data + written, length - written);

		if (size < 0 && errno != EINTR)
			goto failed;
		written += size > 0 ? (size_t)size : 0;
	}
	if (lseek(fd, 0, SEEK_SET) == 0 &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) ==
			0)
		return fd;
failed:
	number = errno;
	close(fd);
	return -number;
}

/* The end that we read must not make us wait; the program's may. */
static int open_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int start_open(struct start *start, const struct process_options *options)
{
	int result = open_input(options->input, options->input_length);

	if (result < 0)
		return result;
	start->input = result;
	result = open_pipe(start->report);
	for (int i = 0; i < PROCESS_FDS && result == 0; i++)
		result = open_pipe(start->output[i]);
	return result;
}

static void reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child. */
static void become(const struct process_options *options, const struct start *start, pid_t parent)
{
	int number;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	umask(022);
	if (chdir("/") == 0 && dup2(start->input, 0) == 0 && dup2(start->output[1][1], 1) == 1 &&
		dup2(start->output[0][1], 2) == 2) {
		syscall(SYS_close_range, 3U, ~0U, (unsigned)CLOSE_RANGE_CLOEXEC);
		reset_signals();
		execve(options->path, (char *const *)options->arguments,
			(char *const *)options->environment);
	}
	number = errno;
	while (write(start->report[1], &number, sizeof(number)) < 0 && errno == EINTR)
		;
	_exit(127);
}

int process_start(struct process **ret_process, const struct process_options *options,
	int64_t now_ms, struct error *error)
{
	struct start start = {-1, {{-1, -1}, {-1, -1}}, {-1, -1}};
	struct process *process = calloc(1, sizeof(*process));
	int result = process ? start_open(&start, options) : -ENOMEM;
	pid_t parent = getpid(), pid = -1;

	if (result == 0) {
		pid = fork();
		if (pid == 0)
			become(options, &start, parent);
		if (pid < 0)
			result = -errno;
	}
	if (result < 0) {
		start_clear(&start);
		free(process);
		return error_set(error, result,
			"see what it lacks (ulimit -a; TasksMax= and MemoryMax= of the unit)",
			"%s cannot be started: %s", options->path, strerror(-result));
	}
	/* The child does it, too: whoever comes first. */
	setpgid(pid, pid);
	*process = (struct process){.pid = pid,
		.report = start.report[0],
		.started = now_ms,
		.due = now_ms + options->limit_ms,
		.grace_ms = options->grace_ms};
	start.report[0] = -1;
	for (int i = 0; i < PROCESS_FDS; i++) {
		process->output[i].fd = start.output[i][0];
		start.output[i][0] = -1;
	}
	start_clear(&start);
	process->output[STANDARD_OUTPUT].most = options->output_most;
	*ret_process = process;
	return 0;
}

/* --- Its output --- */

static void end_line(struct output *output)
{
	size_t length = output->length;

	while (length > 0 && isspace((unsigned char)output->line[length - 1]))
		length--;
	output->length = 0;
	if (length == 0)
		return;
	memcpy(output->last, output->line, length);
	output->last[length] = '\0';
}

static void keep(struct output *output, const char *data, size_t length)
{
	size_t room = output->most - output->kept.length;

	output->cut = output->cut || length > room;
	text_write(&output->kept, data, length > room ? room : length);
}

static void take(struct output *output, const char *data, size_t length)
{
	if (output->most > 0)
		keep(output, data, length);
	for (size_t i = 0; i < length; i++) {
		if (data[i] == '\n' || data[i] == '\r')
			end_line(output);
		else if (output->length < sizeof(output->line) - 1)
			output->line[output->length++] = data[i] ? data[i] : '?';
	}
}

static void read_output(struct output *output)
{
	char buffer[4096];

	for (size_t total = 0; output->fd >= 0 && total < READ_MOST;) {
		ssize_t size = read(output->fd, buffer, sizeof(buffer));

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno == EAGAIN)
			return;
		if (size <= 0) {
			close_fd(&output->fd);
			return;
		}
		take(output, buffer, (size_t)size);
		total += (size_t)size;
	}
}

void process_fds(const struct process *process, struct pollfd fds[PROCESS_FDS])
{
	for (int i = 0; i < PROCESS_FDS; i++)
		fds[i] = (struct pollfd){.fd = process->output[i].fd, .events = POLLIN};
}

void process_read(struct process *process)
{
	for (int i = 0; i < PROCESS_FDS; i++)
		read_output(&process->output[i]);
}

/* --- Its end --- */

/* The process is not waited for yet, so neither number can be somebody else's. */
static void send_signal(const struct process *process, int number)
{
	kill(-process->pid, number);
	/* It may have gone to another group. */
	kill(process->pid, number);
}

int64_t process_due(const struct process *process)
{
	return process->ended ? INT64_MAX : process->due;
}

void process_tick(struct process *process, int64_t now_ms)
{
	if (process->ended || now_ms < process->due)
		return;
	send_signal(process, process->told ? SIGKILL : SIGTERM);
	process->killed = process->told;
	process->told = true;
	process->due = process->killed ? INT64_MAX : now_ms + process->grace_ms;
}

void process_stop(struct process *process, int64_t now_ms)
{
	if (process->told)
		return;
	process->due = now_ms;
	process_tick(process, now_ms);
}

static void conclude(struct process *process, const siginfo_t *info)
{
	struct process_result *result = &process->result;
	int number = 0;

	for (int i = 0; i < PROCESS_FDS; i++) {
		read_output(&process->output[i]);
		end_line(&process->output[i]);
		close_fd(&process->output[i].fd);
	}
	memcpy(result->line, process->output[process->output[0].last[0] ? 0 : 1].last,
		sizeof(result->line));
	result->outcome = info->si_code == CLD_EXITED ? PROCESS_EXITED : PROCESS_SIGNALLED;
	result->code = info->si_status;
	if (read(process->report, &number, sizeof(number)) == sizeof(number)) {
		result->outcome = PROCESS_NOT_STARTED;
		result->code = number;
	} else if (process->told) {
		result->outcome = PROCESS_TIMED_OUT;
		result->code = 0;
	}
	result->cut = process->output[STANDARD_OUTPUT].cut;
	close_fd(&process->report);
}

bool process_end(struct process *process, int64_t now_ms, struct process_result *ret_result)
{
	siginfo_t info = {0};

	if (!process->ended) {
		if (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
			info.si_pid == 0)
			return false;
		send_signal(process, SIGKILL);
		while (waitid(P_PID, (id_t)process->pid, &info, WEXITED) < 0 && errno == EINTR)
			;
		process->ended = true;
		process->result.milliseconds = now_ms - process->started;
		conclude(process, &info);
	}
	*ret_result = process->result;
	return true;
}

struct process *process_free(struct process *process)
{
	struct process_result result;

	if (!process)
		return NULL;
	if (!process->ended) {
		send_signal(process, SIGKILL);
		while (waitid(P_PID, (id_t)process->pid, &(siginfo_t){0}, WEXITED | WNOWAIT) < 0 &&
			errno == EINTR)
			;
		process_end(process, process->started, &result);
	}
	text_free(&process->output[STANDARD_OUTPUT].kept);
	free(process);
	return NULL;
}

const struct text *process_output(const struct process *process)
{
	return &process->output[STANDARD_OUTPUT].kept;
}

/* --- All of it --- */

/* Until it prints, ends or is due. Without a descriptor of the process (pidfd_open() failed) a look
 * now and then has to do. */
static void wait_for(const struct process *process, int end)
{
	struct pollfd fds[PROCESS_FDS + 1];
	int64_t left = process_due(process) - clock_boot_ms();
	int timeout = end >= 0 ? 1000 : 10;

	process_fds(process, fds);
	fds[PROCESS_FDS] = (struct pollfd){.fd = end, .events = POLLIN};
	if (left < timeout)
		timeout = left > 0 ? (int)left : 0;
	poll(fds, PROCESS_FDS + 1, timeout);
}

int process_run(const struct process_options *options, struct text *output,
	struct process_result *ret_result, struct error *error)
{
	struct process *process = NULL;
	int end, result = process_start(&process, options, clock_boot_ms(), error);

	if (result < 0 || !process)
		return result;
	/* Not every C library has a function for it. */
	end = (int)syscall(SYS_pidfd_open, process->pid, 0U);
	while (!process_end(process, clock_boot_ms(), ret_result)) {
		wait_for(process, end);
		process_read(process);
		process_tick(process, clock_boot_ms());
		/* The rest is of no use to anybody. */
		if (process->output[STANDARD_OUTPUT].cut)
			process_stop(process, clock_boot_ms());
	}
	close_fd(&end);
	text_clear(output);
	text_write(output, text_string(process_output(process)), process_output(process)->length);
	if (process_output(process)->failed || output->failed)
		result = error_no_memory(error);
	process_free(process);
	return result;
}
