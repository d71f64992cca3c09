/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real programs: what they are given, what they print, how they end. */
#include "check.h"

#include "clock.h"
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

struct fixture {
	char folder[64], out[80];
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	alarm(120); /* what must not wait, and does */
	strcpy(fixture->folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->out, sizeof(fixture->out), "%s/out", fixture->folder);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	unlink(fixture->out);
	rmdir(fixture->folder);
	free(fixture);
	alarm(0);
	return 0;
}

static struct process *start(const char *script, const char *out, int64_t limit, int64_t grace)
{
	const char *arguments[] = {"sh", "-c", script, "sh", out, NULL};
	const char *environment[] = {"ONE=1", "TWO=a b", NULL};
	struct process_options options = {
		.path = "/bin/sh",
		.arguments = arguments,
		.environment = environment,
		.input = "{\"event\":\"change\"}\n",
		.input_length = 19,
		.limit_ms = limit,
		.grace_ms = grace,
	};
	struct process *process = NULL;

	assert_int_equal(process_start(&process, &options, clock_boot_ms(), NULL), 0);
	return process;
}

/* Reads and ticks until it has ended. */
static struct process_result finish(struct process *process)
{
	int64_t last = clock_boot_ms() + PATIENCE_MS;
	struct process_result result;

	while (!process_end(process, clock_boot_ms(), &result)) {
		struct pollfd fds[PROCESS_FDS];

		assert_true(clock_boot_ms() < last);
		process_fds(process, fds);
		poll(fds, PROCESS_FDS, 10);
		process_read(process);
		process_tick(process, clock_boot_ms());
	}
	/* It stays ended. */
	assert_true(process_end(process, clock_boot_ms() + 1000, &result));
	assert_int_equal(process_due(process), INT64_MAX);
	process_free(process);
	return result;
}

static struct process_result run(const char *script, const char *out)
{
	return finish(start(script, out, PATIENCE_MS, PATIENCE_MS));
}

static void read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	assert_true(fd >= 0);
	length = read(fd, buffer, size - 1);
	assert_true(length >= 0);
	buffer[length] = '\0';
	close(fd);
}

static size_t descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void test_it_gets_what_it_is_given_and_no_more(void **state)
{
	struct fixture *fixture = *state;
	char text[4096];
	sigset_t all, before;
	mode_t mask = umask(0077);
	int extra = open("/dev/null", O_RDONLY); /* would be inherited */
	void (*pipe_was)(int) = signal(SIGPIPE, SIG_IGN);
	struct process_result result;

	setenv("SECRET", "1", 1);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	/* A shell that is about to start a program may block signals meanwhile: it reads itself. */
	result = run("exec >\"$1\"; cat; echo \"$ONE,$TWO,$SECRET,$PWD,$(umask)\"; "
		     /* Neither by a pipe nor into a file: the shell would have that, too. */
		     "for fd in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && "
		     "printf '%s ' $fd; done; "
		     "while read -r key value; do case $key in "
		     "SigBlk:) printf 'Blk %s ' $value;; SigIgn:) printf 'Ign %s ' $value;; "
		     "esac; done </proc/$$/status; "
		     "[ $(cut -d' ' -f5 /proc/$$/stat) = $$ ] && echo own",
		fixture->out);
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGPIPE, pipe_was);
	umask(mask);
	close(extra);
	assert_int_equal(result.outcome, PROCESS_EXITED);
	assert_int_equal(result.code, 0);
	read_file(fixture->out, text, sizeof(text));
	assert_string_equal(text, "{\"event\":\"change\"}\n"
				  "1,a b,,/,0022\n"
				  "0 1 2 Blk 0000000000000000 Ign 0000000000000000 own\n");
}

static void test_its_last_words(void **state)
{
	static const struct {
		const char *script, *line;
	} cases[] = {
		{"true", ""},
		{"echo a >&2; echo b >&2", "b"},
		{"printf 'a\\nb' >&2", "b"},
		{"printf 'a\\n\\n \\t\\r\\n' >&2", "a"},
		{"echo out; echo err >&2; echo out", "err"},
		{"echo out; echo more", "more"},
		{"printf '1%%\\r2%%\\r\\n' >&2", "2%"},
		{"printf 'a\\0b\\n' >&2", "a?b"},
		{"printf '\\033[2J\\n' >&2", "\033[2J"},
	};
	char expected[PROCESS_LINE_SIZE];
	struct process_result result;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		result = run(cases[i].script, "");
		assert_string_equal(result.line, cases[i].line);
	}
	memset(expected, 'x', sizeof(expected) - 1);
	expected[sizeof(expected) - 1] = '\0';
	result = run("head -c 1000 /dev/zero | tr '\\0' x >&2", "");
	assert_string_equal(result.line, expected);
	/* More than a pipe holds: it is not held up. */
	result = run("head -c 3000000 /dev/zero | tr '\\0' '\\n' >&2; echo end >&2; exit 7", "");
	assert_string_equal(result.line, "end");
	assert_int_equal(result.code, 7);
}

static void test_how_it_ends(void **state)
{
	struct process_result result = run("exit 42", "");

	(void)state;
	assert_int_equal(result.outcome, PROCESS_EXITED);
	assert_int_equal(result.code, 42);
	result = run("kill -ABRT $$", "");
	assert_int_equal(result.outcome, PROCESS_SIGNALLED);
	assert_int_equal(result.code, SIGABRT);
}

static void test_what_cannot_be_executed(void **state)
{
	struct fixture *fixture = *state;
	const char *arguments[] = {"x", NULL}, *environment[] = {NULL};
	struct process_options options = {.arguments = arguments,
		.environment = environment,
		.input = "",
		.limit_ms = PATIENCE_MS,
		.grace_ms = PATIENCE_MS};
	const struct {
		const char *path, *content;
		int mode, code;
	} cases[] = {
		{"/nonexistent/program", NULL, 0, ENOENT},
		{fixture->folder, NULL, 0, EACCES},
		{fixture->out, "", 0644, EACCES},
		{fixture->out, "echo no first line\n", 0755, ENOEXEC},
		{fixture->out, "#!/nonexistent/interpreter\n", 0755, ENOENT},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct process *process = NULL;
		struct process_result result;

		if (cases[i].content) {
			FILE *file = fopen(cases[i].path, "w");

			assert_non_null(file);
			fputs(cases[i].content, file);
			fclose(file);
			assert_int_equal(chmod(cases[i].path, (mode_t)cases[i].mode), 0);
		}
		options.path = cases[i].path;
		assert_int_equal(process_start(&process, &options, clock_boot_ms(), NULL), 0);
		result = finish(process);
		assert_int_equal(result.outcome, PROCESS_NOT_STARTED);
		assert_int_equal(result.code, cases[i].code);
	}
}

static bool lives(const char *path)
{
	char text[32];

	read_file(path, text, sizeof(text));
	assert_true(atoi(text) > 1);
	return kill((pid_t)atoi(text), 0) == 0;
}

/* A process whose parent is gone is somebody else's to wait for: a zombie counts as gone. */
static bool goes(const char *path)
{
	int64_t last = clock_boot_ms() + 5000;
	char text[32], name[64], status[512];

	read_file(path, text, sizeof(text));
	snprintf(name, sizeof(name), "/proc/%d/stat", atoi(text));
	while (lives(path) && clock_boot_ms() < last) {
		int fd = open(name, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return true;
		close(fd);
		read_file(name, status, sizeof(status));
		if (strstr(status, ") Z ") || strstr(status, ") X "))
			return true;
		usleep(10000);
	}
	return !lives(path);
}

static void test_time_is_limited(void **state)
{
	struct fixture *fixture = *state;
	int64_t began = clock_boot_ms();
	struct process_result result =
		finish(start("echo before >&2; sleep 100", "", 300, PATIENCE_MS));

	/* It goes by SIGTERM, and so does what it has started. */
	assert_int_equal(result.outcome, PROCESS_TIMED_OUT);
	assert_string_equal(result.line, "before");
	assert_in_range(result.milliseconds, 300, 5000);
	/* SIGTERM is not for everybody. */
	result =
		finish(start("trap '' TERM; sleep 100 & echo $! >\"$1\"; while :; do sleep 1; done",
			fixture->out, 300, 500));
	assert_int_equal(result.outcome, PROCESS_TIMED_OUT);
	assert_in_range(result.milliseconds, 800, 5000);
	assert_true(goes(fixture->out));
	/* It has its chance to tidy up. */
	result = finish(start("trap 'echo tidied >&2; exit 0' TERM; while :; do sleep 0.05; done",
		"", 300, PATIENCE_MS));
	assert_int_equal(result.outcome, PROCESS_TIMED_OUT);
	assert_string_equal(result.line, "tidied");
	assert_in_range(clock_boot_ms() - began, 0, PATIENCE_MS);
}

static void test_what_it_leaves_behind_is_killed(void **state)
{
	struct fixture *fixture = *state;
	int64_t began = clock_boot_ms();
	struct process_result result = run("sleep 100 & echo $! >\"$1\"; exit 5", fixture->out);

	/* Its output is not waited for, though the one in the background has it open. */
	assert_int_equal(result.outcome, PROCESS_EXITED);
	assert_int_equal(result.code, 5);
	assert_in_range(clock_boot_ms() - began, 0, 10000);
	assert_true(goes(fixture->out));
}

static void test_it_is_stopped_on_demand(void **state)
{
	struct process *process = start("sleep 100", "", INT64_C(1) << 40, PATIENCE_MS);
	struct process_result result;

	(void)state;
	assert_false(process_end(process, clock_boot_ms(), &result));
	process_stop(process, clock_boot_ms());
	process_stop(process, clock_boot_ms());
	result = finish(process);
	assert_int_equal(result.outcome, PROCESS_TIMED_OUT);
}

static void test_free_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	size_t before = descriptors();

	for (int i = 0; i < 20; i++) {
		struct process *process =
			start("echo $$ >\"$1\"; exec sleep 100", fixture->out, 100000, 100000);

		while (access(fixture->out, F_OK) < 0)
			usleep(1000);
		process_free(process);
	}
	run("true", "");
	assert_int_equal(descriptors(), before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_null(process_free(NULL));
}

/* kill -9 of whoever has started it takes it along. */
static void test_it_dies_with_its_parent(void **state)
{
	struct fixture *fixture = *state;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		start("echo $$ >\"$1\"; exec sleep 100", fixture->out, 100000, 100000);
		while (1)
			pause();
	}
	for (int i = 0; i < 500; i++) {
		struct stat status;

		if (stat(fixture->out, &status) == 0 && status.st_size > 0)
			break;
		usleep(10000);
	}
	assert_true(lives(fixture->out));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(goes(fixture->out));
}

static struct process_result run_for_output(
	const char *script, size_t most, int64_t limit, struct text *output)
{
	const char *arguments[] = {"sh", "-c", script, NULL}, *environment[] = {NULL};
	const struct process_options options = {
		.path = "/bin/sh",
		.arguments = arguments,
		.environment = environment,
		.input = "",
		.limit_ms = limit,
		.grace_ms = PATIENCE_MS,
		.output_most = most,
	};
	struct process_result result;

	assert_int_equal(process_run(&options, output, &result, NULL), 0);
	return result;
}

static void test_its_output_is_kept_on_demand(void **state)
{
	struct text output = {0};
	struct process_result result;

	(void)state;
	result = run_for_output("printf 'one\\n\\0two'; echo three >&2", 100, PATIENCE_MS, &output);
	assert_int_equal(output.length, 8);
	assert_memory_equal(output.data, "one\n\0two", 8);
	assert_string_equal(result.line, "three");
	assert_false(result.cut);
	/* Just as much as is kept. */
	result = run_for_output("printf 12345", 5, PATIENCE_MS, &output);
	assert_string_equal(text_string(&output), "12345");
	assert_false(result.cut);
	assert_int_equal(result.outcome, PROCESS_EXITED);
	result = run_for_output("printf 12345", 4, PATIENCE_MS, &output);
	assert_string_equal(text_string(&output), "1234");
	assert_true(result.cut);
	result = run_for_output("printf 12345; exit 3", 0, PATIENCE_MS, &output);
	assert_string_equal(text_string(&output), "");
	assert_int_equal(result.code, 3);
	text_free(&output);
}

static void test_a_long_output_and_one_without_an_end(void **state)
{
	size_t before = descriptors();
	struct text output = {0};
	struct process_result result;

	(void)state;
	result = run_for_output("head -c 5000000 /dev/zero", 8 << 20, PATIENCE_MS, &output);
	assert_int_equal(output.length, 5000000);
	assert_int_equal(result.outcome, PROCESS_EXITED);
	result = run_for_output("exec cat /dev/zero", 1 << 20, INT64_C(1) << 40, &output);
	assert_int_equal(output.length, 1 << 20);
	assert_true(result.cut);
	text_free(&output);
	assert_int_equal(descriptors(), before);
}

static void test_to_run_is_limited_in_time(void **state)
{
	struct text output = {0};
	struct process_result result =
		run_for_output("echo begun; exec sleep 100", 100, 200, &output);

	(void)state;
	assert_int_equal(result.outcome, PROCESS_TIMED_OUT);
	assert_string_equal(text_string(&output), "begun\n");
	/* It closes what it prints to, and goes on. */
	result = run_for_output("exec >&- 2>&-; sleep 0.3", 100, PATIENCE_MS, &output);
	assert_int_equal(result.outcome, PROCESS_EXITED);
	assert_true(result.milliseconds >= 300);
	text_free(&output);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_gets_what_it_is_given_and_no_more),
		cmocka_unit_test(test_its_last_words),
		cmocka_unit_test(test_how_it_ends),
		cmocka_unit_test(test_what_cannot_be_executed),
		cmocka_unit_test(test_time_is_limited),
		cmocka_unit_test(test_what_it_leaves_behind_is_killed),
		cmocka_unit_test(test_it_is_stopped_on_demand),
		cmocka_unit_test(test_free_leaves_nothing),
		cmocka_unit_test(test_it_dies_with_its_parent),
		cmocka_unit_test(test_its_output_is_kept_on_demand),
		cmocka_unit_test(test_a_long_output_and_one_without_an_end),
		cmocka_unit_test(test_to_run_is_limited_in_time),
	};
	struct CMUnitTest with_fixture[sizeof(tests) / sizeof(tests[0])];

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		with_fixture[i] = tests[i];
		with_fixture[i].setup_func = set_up;
		with_fixture[i].teardown_func = tear_down;
	}
	return cmocka_run_group_tests(with_fixture, NULL, NULL);
}
