/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real helper process for Asterisk, by the daemon's end of it, with a script for Asterisk's
 * command line, and real files. */
#include "check.h"

#include "asterisk_acl.h"
#include "asterisk_ask.h"
#include "asterisk_link.h"
#include "clock.h"
#include "helper_asterisk.h"
#include "helper_talk.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, LARGE = 5 * 1024 * 1024 };

struct fixture {
	char folder[64], program[80], acl_file[96], log[80], ran[80];
	const char *command[3];
	struct config config;
	struct loop *loop;
	struct asterisk_link *link;
	pid_t helper;

	unsigned ended, died;
	int result;
	struct text output, death;
	struct error error;
	struct text seen;		  /* of the log; "<": opened, "?": missing */
	const struct asterisk_task *next; /* begun by `ended` */
};

/* --- The daemon --- */

static void on_ended(void *context, const struct asterisk_outcome *outcome)
{
	struct fixture *fixture = context;

	fixture->ended++;
	fixture->result = outcome->result;
	fixture->error = outcome->error;
	text_clear(&fixture->output);
	text_write(&fixture->output, outcome->output, outcome->length);
	if (fixture->next) {
		const struct asterisk_task *next = fixture->next;

		fixture->next = NULL;
		assert_int_equal(asterisk_link_begin(fixture->link, next, NULL), 0);
	}
}

static void on_log(void *context, enum asterisk_log_news news, const char *bytes, size_t length,
	const struct error *error)
{
	struct fixture *fixture = context;

	if (news == ASTERISK_LOG_BYTES) {
		assert_true(length > 0);
		text_write(&fixture->seen, bytes, length);
	} else if (news == ASTERISK_LOG_OPENED) {
		text_puts(&fixture->seen, "<");
	} else {
		fixture->error = *error;
		text_puts(&fixture->seen, "?");
	}
}

static void on_died(void *context, const char *how)
{
	struct fixture *fixture = context;

	fixture->died++;
	text_clear(&fixture->death);
	text_puts(&fixture->death, how);
}

/* One turn of the daemon's loop, of at most `most` ms. */
static void turn(struct fixture *fixture, int64_t most)
{
	int64_t due = asterisk_link_due(fixture->link), now = clock_boot_ms();

	loop_set_timer(fixture->loop, due < now + most ? due : now + most);
	assert_int_equal(loop_wait(fixture->loop, NULL), 0);
	asterisk_link_tick(fixture->link, clock_boot_ms());
}

#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		int64_t until = clock_boot_ms() + PATIENCE_MS;                                     \
		while (!(condition)) {                                                             \
			if (clock_boot_ms() > until)                                               \
				fail_msg("in vain: %s", #condition);                               \
			turn(fixture, 100);                                                        \
		}                                                                                  \
	} while (0)

static void begin(struct fixture *fixture, const struct asterisk_task *task)
{
	struct error error = {0};

	fixture->ended = 0;
	fixture->result = INT_MIN;
	if (asterisk_link_begin(fixture->link, task, &error) < 0)
		fail_msg("%s", error.what);
}

static int do_task(struct fixture *fixture, const struct asterisk_task *task)
{
	begin(fixture, task);
	UNTIL(fixture->ended > 0 || fixture->died > 0);
	assert_int_equal(fixture->ended, 1);
	return fixture->result;
}

static int ask(struct fixture *fixture, enum asterisk_task_kind kind)
{
	return do_task(fixture, &(struct asterisk_task){.kind = kind});
}

/* --- Files --- */

static void write_file(const char *path, const char *content, mode_t mode, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void add_log(const struct fixture *fixture, const char *content)
{
	write_file(fixture->log, content, 0644, O_APPEND);
}

/* `script` has the command as $2; what it has been run with is in fixture->ran. */
static void write_program(const struct fixture *fixture, const char *script)
{
	char all[4096];

	snprintf(all, sizeof(all), "#!/bin/sh\necho \"$*\" >>%s\n%s\n", fixture->ran, script);
	write_file(fixture->program, all, 0755, O_TRUNC);
}

static const char *read_file(const char *path)
{
	static char buffer[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, buffer, sizeof(buffer) - 1);

	assert_true(length >= 0);
	buffer[length] = '\0';
	if (fd >= 0)
		close(fd);
	return buffer;
}

/* What was run since the last time. */
static const char *take_ran(const struct fixture *fixture)
{
	const char *text = read_file(fixture->ran);

	unlink(fixture->ran);
	return text;
}

static void print_acls(const char *address, struct text *text)
{
	struct acl acl = {0};
	struct prefix prefix;

	assert_int_equal(prefix_parse(address, strlen(address), &prefix), PREFIX_OK);
	assert_int_equal(acl_add(&acl, &prefix), 0);
	asterisk_acl_print_head("/etc/sipfence/sipfence.yaml", text);
	asterisk_acl_print("21", &acl, text);
	acl_clear(&acl);
}

static int write_acls(struct fixture *fixture, const char *address)
{
	struct text file = {0};
	struct asterisk_task task = {.kind = ASTERISK_TASK_WRITE, .file = &file};

	print_acls(address, &file);
	begin(fixture, &task);
	text_free(&file);
	UNTIL(fixture->ended > 0 || fixture->died > 0);
	return fixture->result;
}

/* --- The fixture --- */

static struct helper start_helper(struct fixture *fixture)
{
	struct helper helper = {.fd = -1};

	assert_int_equal(helper_asterisk_start(&fixture->config, getuid(), &helper, NULL), 0);
	fixture->helper = helper.pid;
	return helper;
}

static void start(struct fixture *fixture)
{
	struct asterisk_link_options options = {.loop = fixture->loop,
		.helper = start_helper(fixture),
		.context = fixture,
		.ended = on_ended,
		.log = on_log,
		.died = on_died};

	assert_int_equal(asterisk_link_open(&fixture->link, &options, NULL), 0);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	alarm(110);
	strcpy(fixture->folder, "/tmp/sipfence-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->program, sizeof(fixture->program), "%s/asterisk", fixture->folder);
	snprintf(fixture->acl_file, sizeof(fixture->acl_file), "%s/sipfence_acl.conf",
		fixture->folder);
	snprintf(fixture->log, sizeof(fixture->log), "%s/security", fixture->folder);
	snprintf(fixture->ran, sizeof(fixture->ran), "%s/ran", fixture->folder);
	write_program(fixture, "echo answer");
	add_log(fixture, "of before\n");
	fixture->command[0] = fixture->program;
	fixture->command[1] = "-rx";
	fixture->config.asterisk.acl = true;
	fixture->config.asterisk.acl_file = fixture->acl_file;
	fixture->config.asterisk.security_log = fixture->log;
	fixture->config.asterisk.command = fixture->command;
	assert_int_equal(loop_new(&fixture->loop, NULL), 0);
	*state = fixture;
	return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	return remove(path);
}

/* Its wait status. */
static int end_of(struct fixture *fixture)
{
	int64_t last = clock_boot_ms() + PATIENCE_MS;
	int status = 0;

	while (waitpid(fixture->helper, &status, WNOHANG) == 0) {
		assert_true(clock_boot_ms() < last);
		usleep(5000);
	}
	fixture->helper = 0;
	return status;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	asterisk_link_close(fixture->link);
	if (fixture->helper > 0)
		end_of(fixture);
	loop_free(fixture->loop);
	nftw(fixture->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	text_free(&fixture->output);
	text_free(&fixture->death);
	text_free(&fixture->seen);
	free(fixture);
	alarm(0);
	return 0;
}

/* --- What it does --- */

static void test_it_writes(void **state)
{
	struct fixture *fixture = *state;
	struct text wanted = {0};
	char acl_conf[96];
	struct stat status;

	snprintf(acl_conf, sizeof(acl_conf), "%s/acl.conf", fixture->folder);
	write_file(acl_conf, "#tryinclude sipfence_acl.conf\n", 0640, 0);
	if (getuid() == 0)
		assert_int_equal(chown(acl_conf, 0, 4711), 0);
	start(fixture);
	assert_int_equal(write_acls(fixture, "203.0.113.10"), 0);
	print_acls("203.0.113.10", &wanted);
	assert_string_equal(read_file(fixture->acl_file), text_string(&wanted));
	assert_int_equal(stat(fixture->acl_file, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	if (getuid() == 0)
		assert_int_equal(status.st_gid, 4711);
	assert_int_equal(write_acls(fixture, "203.0.113.10"), ASTERISK_WRITE_SAME);
	assert_int_equal(write_acls(fixture, "203.0.113.77"), 0);
	assert_non_null(strstr(read_file(fixture->acl_file), "permit=203.0.113.77/32\n"));
	/* What can't be written is said. */
	unlink(fixture->acl_file);
	assert_int_equal(mkdir(fixture->acl_file, 0755), 0);
	assert_int_equal(write_acls(fixture, "203.0.113.10"), -EINVAL);
	assert_non_null(strstr(fixture->error.what, "is not a file"));
	assert_int_equal(rmdir(fixture->acl_file), 0);
	assert_int_equal(write_acls(fixture, "203.0.113.10"), 0);
	text_free(&wanted);
}

/* More than the socket takes at once, while the helper does not run. */
static void test_it_writes_much(void **state)
{
	struct fixture *fixture = *state;
	struct text file = {0};
	struct asterisk_task task = {.kind = ASTERISK_TASK_WRITE, .file = &file};
	struct acl acl = {0};
	char id[16];
	struct stat status;

	asterisk_acl_print_head("/etc/sipfence/sipfence.yaml", &file);
	for (int i = 0; i < 100000; i++) {
		snprintf(id, sizeof(id), "%d", i);
		asterisk_acl_print(id, &acl, &file);
	}
	start(fixture);
	kill(fixture->helper, SIGSTOP);
	begin(fixture, &task);
	for (int i = 0; i < 10; i++)
		turn(fixture, 10);
	assert_int_equal(fixture->ended, 0);
	kill(fixture->helper, SIGCONT);
	UNTIL(fixture->ended || fixture->died);
	assert_int_equal(fixture->result, 0);
	assert_int_equal(stat(fixture->acl_file, &status), 0);
	assert_int_equal(status.st_size, file.length);
	text_free(&file);
}

static void test_it_runs_commands(void **state)
{
	static const struct asterisk_contact sip = {.extension = "21", .aor = "21", .key = "k"},
					     pjsip = {.pjsip = true,
						     .extension = "22",
						     .aor = "22a",
						     .key = "/registrar/contact/22a;@0af"};
	static const struct asterisk_task tasks[] = {
		{.kind = ASTERISK_TASK_BOOTED},
		{.kind = ASTERISK_TASK_RELOAD},
		{.kind = ASTERISK_TASK_SHOW, .name = "sipfence-21"},
		{.kind = ASTERISK_TASK_CONTACTS},
		{.kind = ASTERISK_TASK_CHANNELS},
		{.kind = ASTERISK_TASK_HANGUP, .name = "PJSIP/22-0000000a"},
		{.kind = ASTERISK_TASK_EVICT, .contact = &sip},
		{.kind = ASTERISK_TASK_EVICT, .contact = &pjsip},
		{.kind = ASTERISK_TASK_EVICT, .contact = &pjsip, .step = 1},
	};
	struct fixture *fixture = *state;
	struct text wanted = {0}, command = {0};

	write_program(fixture, "printf 'answer to %s\\n' \"$2\"; env | grep -v PWD= | sort; cat");
	start(fixture);
	for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++) {
		text_clear(&command);
		switch (i) {
		case 0:
			text_puts(&command, ASTERISK_CLI_BOOTED);
			break;
		case 1:
			text_puts(&command, ASTERISK_CLI_RELOAD);
			break;
		case 2:
			text_puts(&command, "acl show sipfence-21");
			break;
		case 3:
			text_puts(&command, ASTERISK_CLI_CONTACTS);
			break;
		case 4:
			text_puts(&command, ASTERISK_CLI_CHANNELS);
			break;
		case 5:
			text_puts(&command, "channel request hangup PJSIP/22-0000000a");
			break;
		default:
			assert_true(asterisk_cli_evict(tasks[i].contact, tasks[i].step, &command));
		}
		text_clear(&wanted);
		text_printf(&wanted,
			"answer to %s\nLC_ALL=C\n"
			"PATH=" HELPER_PATH "\n",
			text_string(&command));
		assert_int_equal(do_task(fixture, &tasks[i]), 0);
		assert_string_equal(text_string(&fixture->output), text_string(&wanted));
		text_clear(&wanted);
		text_printf(&wanted, "-rx %s\n", text_string(&command));
		assert_string_equal(take_ran(fixture), text_string(&wanted));
	}
	text_free(&wanted);
	text_free(&command);
}

/* The next one is begun as the keeper does it. */
static void test_one_task_after_the_other(void **state)
{
	struct fixture *fixture = *state;
	const struct asterisk_task reload = {.kind = ASTERISK_TASK_RELOAD},
				   channels = {.kind = ASTERISK_TASK_CHANNELS};
	struct error error = {0};

	start(fixture);
	fixture->next = &channels;
	begin(fixture, &reload);
	assert_int_equal(asterisk_link_begin(fixture->link, &reload, &error), -EBUSY);
	UNTIL(fixture->ended == 2);
	assert_string_equal(
		take_ran(fixture), "-rx " ASTERISK_CLI_RELOAD "\n-rx " ASTERISK_CLI_CHANNELS "\n");
	assert_int_equal(asterisk_link_due(fixture->link), INT64_MAX);
}

static void test_a_large_output(void **state)
{
	struct fixture *fixture = *state;

	write_program(fixture, "exec /usr/bin/python3 -c 'import sys\n"
			       "sys.stdout.write(\"\".join(\"%07d\\n\" % i for i in "
			       "range(5 * 1024 * 1024 // 8)))'");
	start(fixture);
	assert_int_equal(ask(fixture, ASTERISK_TASK_CONTACTS), 0);
	assert_int_equal(fixture->output.length, LARGE);
	for (unsigned i = 0; i < LARGE / 8; i++)
		assert_int_equal(strtoul(fixture->output.data + (size_t)i * 8, NULL, 10), i);
}

static void test_too_large_an_output(void **state)
{
	struct fixture *fixture = *state;

	write_program(fixture, "exec head -c 70000000 /dev/zero");
	start(fixture);
	assert_int_equal(ask(fixture, ASTERISK_TASK_CONTACTS), -EFBIG);
	assert_int_equal(fixture->output.length, 0);
}

static void test_unknown_down_and_failed(void **state)
{
	struct fixture *fixture = *state;

	write_program(fixture, "echo \"No such command '$2' (type 'core show help')\"");
	start(fixture);
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), ASTERISK_ASK_UNKNOWN);
	/* It is asked once: to wait until it has booted is another task. */
	assert_string_equal(take_ran(fixture), "-rx " ASTERISK_CLI_RELOAD "\n");
	write_program(fixture, "echo 'Unable to connect to remote asterisk (does x exist?)' >&2\n"
			       "exit 1");
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), -ECONNREFUSED);
	assert_non_null(strstr(fixture->error.what, "Asterisk is not running"));
	write_program(fixture, "echo nonsense; exit 3");
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), -EIO);
	assert_non_null(strstr(fixture->error.what, "exit code 3"));
	assert_int_equal(fixture->output.length, 0);
	assert_int_equal(chmod(fixture->program, 0777), 0);
	take_ran(fixture);
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), -EPERM);
	assert_string_equal(take_ran(fixture), "");
	unlink(fixture->program);
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), -ENOENT);
	/* And then it is installed again. */
	write_program(fixture, "echo answer");
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), 0);
	assert_int_equal(fixture->died, 0);
}

/* Meanwhile the log goes on. */
static void test_a_command_that_hangs(void **state)
{
	struct fixture *fixture = *state;
	int64_t began = clock_boot_ms();

	write_program(fixture, "exec sleep 100");
	start(fixture);
	begin(fixture, &(struct asterisk_task){.kind = ASTERISK_TASK_RELOAD});
	UNTIL(fixture->seen.length > 0);
	add_log(fixture, "one\n");
	UNTIL(fixture->seen.length == 5);
	assert_int_equal(fixture->ended, 0);
	assert_string_equal(text_string(&fixture->seen), "<one\n");
	UNTIL(fixture->ended > 0);
	assert_int_equal(fixture->result, -ETIMEDOUT);
	assert_in_range(clock_boot_ms() - began, ASTERISK_ASK_LIMIT_MS,
		ASTERISK_ASK_LIMIT_MS + 2 * ASTERISK_ASK_GRACE_MS);
	write_program(fixture, "echo answer");
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), 0);
}

/* --- The log --- */

static void test_the_log(void **state)
{
	struct fixture *fixture = *state;
	char old[96];

	start(fixture);
	UNTIL(fixture->seen.length == 1);
	add_log(fixture, "one\n");
	UNTIL(fixture->seen.length == 5);
	snprintf(old, sizeof(old), "%s.1", fixture->log);
	assert_int_equal(rename(fixture->log, old), 0);
	add_log(fixture, "two\n");
	UNTIL(fixture->seen.length == 10);
	assert_string_equal(text_string(&fixture->seen), "<one\n<two\n");
	assert_int_equal(unlink(fixture->log), 0);
	UNTIL(fixture->seen.length == 11);
	assert_string_equal(text_string(&fixture->seen), "<one\n<two\n?");
	assert_non_null(strstr(fixture->error.what, "security cannot be followed"));
	assert_non_null(strstr(fixture->error.next, "logger.conf"));
	add_log(fixture, "three\n");
	UNTIL(fixture->seen.length == 18);
	assert_string_equal(text_string(&fixture->seen), "<one\n<two\n?<three\n");
}

static void test_a_log_that_is_not_there(void **state)
{
	struct fixture *fixture = *state;

	fixture->config.asterisk.acl = false;
	unlink(fixture->log);
	start(fixture);
	UNTIL(fixture->seen.length == 1);
	add_log(fixture, "one\n");
	UNTIL(fixture->seen.length == 6);
	assert_string_equal(text_string(&fixture->seen), "?<one\n");
}

/* By the helper, in all. 0: that is not for us to know. */
static unsigned long bytes_read(const struct fixture *fixture)
{
	char path[64];
	const char *text;

	snprintf(path, sizeof(path), "/proc/%d/io", fixture->helper);
	text = read_file(path);
	return strncmp(text, "rchar: ", 7) == 0 ? strtoul(text + 7, NULL, 10) : 0;
}

/* The helper reads no faster than the daemon takes it; a task is done meanwhile. */
static void test_a_flood_of_log(void **state)
{
	struct fixture *fixture = *state;
	struct text flood = {0};
	int64_t last = clock_boot_ms() + PATIENCE_MS;
	char line[32];

	start(fixture);
	UNTIL(fixture->seen.length == 1);
	for (int i = 0; i < LARGE / 8; i++) {
		snprintf(line, sizeof(line), "%07d\n", i);
		text_puts(&flood, line);
	}
	add_log(fixture, text_string(&flood));
	begin(fixture, &(struct asterisk_task){.kind = ASTERISK_TASK_RELOAD});
	usleep(300 * 1000);
	/* What was not taken waits in the file. */
	assert_in_range(bytes_read(fixture), 0, LARGE / 2);
	while (!fixture->ended && clock_boot_ms() < last)
		turn(fixture, 100);
	assert_int_equal(fixture->result, 0);
	UNTIL(fixture->seen.length == LARGE + 1);
	assert_memory_equal(fixture->seen.data + 1, flood.data, LARGE);
	text_free(&flood);
}

/* --- What it does not let itself be told --- */

static void send_raw(const struct helper *helper, const struct helper_message *message)
{
	struct pollfd ready = {.fd = helper->fd, .events = POLLOUT};

	assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
	assert_int_equal(helper_talk_send(helper->fd, message), 0);
}

/* It has ended by itself with an error, and neither wrote nor ran anything. */
static void assert_refused(struct fixture *fixture, struct helper helper)
{
	struct helper_packet packet;
	struct helper_message answer;
	struct pollfd ready = {.fd = helper.fd, .events = POLLIN};
	char temporary[104];
	int status, result;

	do {
		assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
		result = helper_talk_receive(helper.fd, &packet, &answer);
		assert_true(result < 0 || answer.kind >= HELPER_LOG);
	} while (result == 0);
	status = end_of(fixture);
	close(helper.fd);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	snprintf(temporary, sizeof(temporary), "%s.new", fixture->acl_file);
	assert_int_equal(access(fixture->acl_file, F_OK), -1);
	assert_int_equal(access(temporary, F_OK), -1);
	assert_int_equal(access(fixture->ran, F_OK), -1);
}

static void refuses(struct fixture *fixture, const struct helper_message *messages, size_t count)
{
	struct helper helper = start_helper(fixture);

	for (size_t i = 0; i < count; i++)
		send_raw(&helper, &messages[i]);
	assert_refused(fixture, helper);
}

static struct helper_message chunk(const char *bytes, bool last)
{
	return (struct helper_message){.kind = HELPER_ACLS,
		.id = 1,
		.bytes = bytes,
		.length = strlen(bytes),
		.last = last};
}

static void test_another_file(void **state)
{
	static const char *const contents[] = {"x", "[general]\n",
		"\n[sipfence-21]\npermit=0.0.0.0/0\n", "#include /etc/shadow\n"};
	struct fixture *fixture = *state;
	struct text file = {0};
	struct helper_message messages[2];

	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		messages[0] = chunk(contents[i], true);
		refuses(fixture, messages, 1);
		/* Behind a good one, too. */
		text_clear(&file);
		print_acls("203.0.113.10", &file);
		messages[0] = chunk(text_string(&file), false);
		messages[1] = chunk(contents[i], true);
		refuses(fixture, messages, 2);
	}
	text_free(&file);
}

static void test_a_file_without_end(void **state)
{
	static char bytes[HELPER_BYTES_MAX];
	struct fixture *fixture = *state;
	struct helper helper = start_helper(fixture);
	struct helper_message message = {
		.kind = HELPER_ACLS, .id = 1, .bytes = bytes, .length = sizeof(bytes)};
	struct pollfd ready = {.fd = helper.fd, .events = POLLOUT};
	size_t sent = 0;
	int result;

	memset(bytes, ';', sizeof(bytes));
	do {
		assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
		result = helper_talk_send(helper.fd, &message);
		sent += result == 0 ? sizeof(bytes) : 0;
		assert_true(sent < 2U * HELPER_ASTERISK_FILE_MAX);
	} while (result == 0 || result == -EAGAIN);
	assert_true(sent > HELPER_ASTERISK_FILE_MAX - sizeof(bytes));
	assert_refused(fixture, helper);
}

static void test_bad_names(void **state)
{
	static const struct helper_message messages[] = {
		{.kind = HELPER_ASK, .command = HELPER_SHOW, .name = "21;core stop now"},
		{.kind = HELPER_ASK, .command = HELPER_SHOW, .name = "21 22"},
		{.kind = HELPER_ASK, .command = HELPER_SHOW, .name = "$(id)"},
		{.kind = HELPER_ASK, .command = HELPER_HANGUP, .name = "all calls"},
		{.kind = HELPER_ASK, .command = HELPER_HANGUP, .name = "a\"b"},
		{.kind = HELPER_ASK,
			.command = HELPER_EVICT,
			.extension = "21 22",
			.aor = "a",
			.key = "k"},
		{.kind = HELPER_ASK,
			.command = HELPER_EVICT,
			.extension = "21",
			.aor = "21",
			.key = "k",
			.step = 1},
		{.kind = HELPER_ASK,
			.command = HELPER_EVICT,
			.pjsip = true,
			.extension = "22",
			.aor = "22",
			.key = "x' OR '1'='1"},
		{.kind = HELPER_ASK,
			.command = HELPER_EVICT,
			.pjsip = true,
			.extension = "22",
			.aor = "2 2",
			.key = "k",
			.step = 1},
		/* A hook, and answers. */
		{.kind = HELPER_HOOK, .fields = {{"event", "change"}}, .field_count = 1},
		{.kind = HELPER_DONE, .text = "", .next = ""},
		{.kind = HELPER_OUTPUT, .bytes = "x", .length = 1},
		{.kind = HELPER_LOG_OPENED},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
		refuses(fixture, &messages[i], 1);
}

static void test_what_is_no_message(void **state)
{
	static const char *const packets[] = {"x", "\1\4\1\1\1\1\1\1more", "\1\11\1\1\1\1\1\1"};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		struct helper helper = start_helper(fixture);

		assert_int_equal(send(helper.fd, packets[i], strlen(packets[i]), MSG_NOSIGNAL),
			strlen(packets[i]));
		assert_refused(fixture, helper);
	}
}

static void test_out_of_turn(void **state)
{
	static const struct helper_message reload = {
		.kind = HELPER_ASK, .id = 2, .command = HELPER_RELOAD};
	struct fixture *fixture = *state;
	struct text file = {0};
	struct helper_message messages[2];
	struct helper helper;
	int64_t began = clock_boot_ms();

	print_acls("203.0.113.10", &file);
	messages[0] = chunk(text_string(&file), false);
	messages[1] = reload;
	refuses(fixture, messages, 2);
	messages[1] = chunk("permit=203.0.113.11/32\n", true);
	messages[1].id = 2;
	refuses(fixture, messages, 2);
	/* While a command runs: it is ended, too. */
	write_program(fixture, "exec sleep 100");
	helper = start_helper(fixture);
	send_raw(&helper, &reload);
	send_raw(&helper, &reload);
	while (poll(&(struct pollfd){.fd = helper.fd, .events = 0}, 1, 10) == 0)
		assert_true(clock_boot_ms() < began + PATIENCE_MS);
	assert_true(WEXITSTATUS(end_of(fixture)) != 0);
	close(helper.fd);
	text_free(&file);
}

/* The config of its start has asked for the log alone. */
static void test_no_requests_without_acl(void **state)
{
	static const struct helper_message reload = {.kind = HELPER_ASK, .command = HELPER_RELOAD};
	struct fixture *fixture = *state;
	struct text file = {0};
	struct helper_message message;

	fixture->config.asterisk.acl = false;
	refuses(fixture, &reload, 1);
	print_acls("203.0.113.10", &file);
	message = chunk(text_string(&file), true);
	refuses(fixture, &message, 1);
	text_free(&file);
}

/* What the daemon's end does not ask for. */
static void test_the_link_says_nothing_unsafe(void **state)
{
	static const struct asterisk_contact bad = {.pjsip = true,
						     .extension = "22",
						     .aor = "22",
						     .key = "x' OR '1'='1"},
					     sip = {.extension = "21", .aor = "21", .key = "k"};
	static const struct asterisk_task tasks[] = {
		{.kind = ASTERISK_TASK_EVICT, .contact = &bad},
		{.kind = ASTERISK_TASK_EVICT, .contact = &sip, .step = 1},
		{.kind = ASTERISK_TASK_EVICT, .contact = &sip, .step = 256},
		{.kind = ASTERISK_TASK_HANGUP, .name = "a b"},
		{.kind = ASTERISK_TASK_SHOW, .name = ""},
		{.kind = ASTERISK_TASK_NONE},
		{.kind = (enum asterisk_task_kind)99},
	};
	struct fixture *fixture = *state;
	struct error error = {0};

	start(fixture);
	for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++)
		assert_int_equal(asterisk_link_begin(fixture->link, &tasks[i], &error), -EINVAL);
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), 0);
}

/* --- Ends --- */

static void test_a_killed_helper_is_told_once(void **state)
{
	struct fixture *fixture = *state;
	struct error error = {0};

	write_program(fixture, "echo $$ >>\"${0%/*}/pid\"; exec sleep 100");
	start(fixture);
	begin(fixture, &(struct asterisk_task){.kind = ASTERISK_TASK_RELOAD});
	UNTIL(access(fixture->ran, F_OK) == 0);
	kill(fixture->helper, SIGKILL);
	UNTIL(fixture->died > 0);
	fixture->helper = 0;
	assert_string_equal(
		text_string(&fixture->death), "the helper process has ended (signal 9)");
	assert_int_equal(fixture->ended, 0);
	assert_int_equal(asterisk_link_due(fixture->link), INT64_MAX);
	for (int i = 0; i < 5; i++)
		asterisk_link_tick(fixture->link, clock_boot_ms() + 1000 * i);
	assert_int_equal(fixture->died, 1);
	assert_int_equal(asterisk_link_begin(fixture->link,
				 &(struct asterisk_task){.kind = ASTERISK_TASK_RELOAD}, &error),
		-EPIPE);
}

static void test_a_hung_helper_is_noticed(void **state)
{
	struct fixture *fixture = *state;
	int64_t now;

	start(fixture);
	UNTIL(fixture->seen.length == 1);
	kill(fixture->helper, SIGSTOP);
	begin(fixture, &(struct asterisk_task){.kind = ASTERISK_TASK_RELOAD});
	assert_int_equal(asterisk_link_due(fixture->link), 0);
	now = clock_boot_ms();
	asterisk_link_tick(fixture->link, now);
	assert_in_range(
		asterisk_link_due(fixture->link) - now, ASTERISK_ASK_LIMIT_MS + 5000, 60000);
	asterisk_link_tick(fixture->link, asterisk_link_due(fixture->link) - 1);
	now = asterisk_link_due(fixture->link);
	for (int i = 0; i < 100; i++)
		asterisk_link_tick(fixture->link, now += 1000);
	assert_int_equal(fixture->died, 1);
	assert_int_equal(fixture->ended, 0);
	assert_string_equal(
		text_string(&fixture->death), "the helper process has not answered in time");
	kill(fixture->helper, SIGCONT);
}

/* Also from a command that hangs; it ends with it. */
static void test_it_ends_with_the_link(void **state)
{
	struct fixture *fixture = *state;
	int64_t began;
	char name[80];
	pid_t pid;
	int status;

	write_program(
		fixture, "echo $$ >\"${0%/*}/pid\"; trap '' TERM; while :; do sleep 0.1; done");
	start(fixture);
	begin(fixture, &(struct asterisk_task){.kind = ASTERISK_TASK_RELOAD});
	snprintf(name, sizeof(name), "%s/pid", fixture->folder);
	UNTIL(*read_file(name));
	pid = (pid_t)atoi(read_file(name));
	assert_true(pid > 1);
	assert_int_equal(kill(pid, 0), 0);
	began = clock_boot_ms();
	fixture->link = asterisk_link_close(fixture->link);
	status = end_of(fixture);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_in_range(clock_boot_ms() - began, ASTERISK_ASK_GRACE_MS - 100, 5000);
	assert_int_equal(kill(pid, 0), -1);
}

/* It keeps nothing of the daemon's, and its name tells it from the one that runs hooks. */
static void test_it_stands_alone(void **state)
{
	struct fixture *fixture = *state;
	char path[64], target[256];
	size_t open_ones = 0;

	start(fixture);
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), 0);
	UNTIL(fixture->seen.length == 1);
	snprintf(path, sizeof(path), "/proc/%d/comm", fixture->helper);
	assert_string_equal(read_file(path), "sipfence-pbx\n");
	assert_int_equal(getsid(fixture->helper), fixture->helper);
	for (int fd = 0; fd < 100; fd++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", fixture->helper, fd);
		length = readlink(path, target, sizeof(target) - 1);
		open_ones += length >= 0;
	}
	/* Two and standard error; its socket, its signals; the log and its watches. But for root
	 * nobody may look. */
	assert_int_equal(open_ones, getuid() == 0 ? 7 : 0);
	kill(fixture->helper, SIGTERM);
	kill(fixture->helper, SIGHUP);
	assert_int_equal(ask(fixture, ASTERISK_TASK_RELOAD), 0);
}

/* --- A helper that is somebody else's --- */

static void answers_garbage(struct fixture *fixture, const void *bytes, size_t length)
{
	struct asterisk_link_options options = {.loop = fixture->loop,
		.context = fixture,
		.ended = on_ended,
		.log = on_log,
		.died = on_died};
	int pair[2];
	pid_t pid = fork();

	if (pid == 0)
		_exit(7);
	assert_true(pid > 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	options.helper = (struct helper){.fd = pair[0], .pid = pid};
	assert_int_equal(asterisk_link_open(&fixture->link, &options, NULL), 0);
	fixture->died = 0;
	begin(fixture, &(struct asterisk_task){.kind = ASTERISK_TASK_RELOAD});
	assert_int_equal(send(pair[1], bytes, length, MSG_NOSIGNAL), length);
	UNTIL(fixture->died > 0);
	assert_string_equal(text_string(&fixture->death),
		"the helper process has sent what is no message (exit code 7)");
	assert_int_equal(fixture->ended, 0);
	fixture->link = asterisk_link_close(fixture->link);
	close(pair[1]);
}

static void test_garbage(void **state)
{
	struct fixture *fixture = *state;
#define GARBAGE(bytes) answers_garbage(fixture, bytes, sizeof(bytes) - 1)
	/* No message; of another task; a request; a hook's end; an outcome that there is not. */
	GARBAGE("x");
	GARBAGE("\1\6\0\0\2\0\0\0\0\0\0\0\0\0");
	GARBAGE("\1\5\0\0\2\0\0\0output");
	GARBAGE("\1\4\1\0\1\0\0\0");
	GARBAGE("\1\2\1\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0");
	GARBAGE("\1\6\0\0\1\0\0\0\2\0\0\0\0\0");
}

int main(void)
{
#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(test_it_writes),
		WITH_FIXTURE(test_it_writes_much),
		WITH_FIXTURE(test_it_runs_commands),
		WITH_FIXTURE(test_one_task_after_the_other),
		WITH_FIXTURE(test_a_large_output),
		WITH_FIXTURE(test_too_large_an_output),
		WITH_FIXTURE(test_unknown_down_and_failed),
		WITH_FIXTURE(test_a_command_that_hangs),
		WITH_FIXTURE(test_the_log),
		WITH_FIXTURE(test_a_log_that_is_not_there),
		WITH_FIXTURE(test_a_flood_of_log),
		WITH_FIXTURE(test_another_file),
		WITH_FIXTURE(test_a_file_without_end),
		WITH_FIXTURE(test_bad_names),
		WITH_FIXTURE(test_what_is_no_message),
		WITH_FIXTURE(test_out_of_turn),
		WITH_FIXTURE(test_no_requests_without_acl),
		WITH_FIXTURE(test_the_link_says_nothing_unsafe),
		WITH_FIXTURE(test_a_killed_helper_is_told_once),
		WITH_FIXTURE(test_a_hung_helper_is_noticed),
		WITH_FIXTURE(test_it_ends_with_the_link),
		WITH_FIXTURE(test_it_stands_alone),
		WITH_FIXTURE(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
