/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "config_load.h"
#include "daemon.h"
#include "files.h"
#include "lock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the log goes: stderr, a line an event. */
struct log {
	enum event_level most; /* what is less important is left out */
	bool journal; /* it is read by systemd's journal, which takes a priority in front */
	unsigned long left_out; /* lines that nobody would take */
};

/* JOURNAL_STREAM (systemd.exec(5)) names the device and inode of a stream to the journal. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;
	char *end;

	if (!stream)
		return false;
	device = strtoull(stream, &end, 10);
	if (*end != ':')
		return false;
	inode = strtoull(end + 1, &end, 10);
	return !*end && fstat(fd, &status) == 0 && status.st_dev == device &&
	       status.st_ino == inode;
}

/* True when the line is out. Never waits: a reader that does not read must not stop the daemon. A
 * pipe that is ready has room for PIPE_BUF bytes. */
static bool try_write(const struct text *line)
{
	struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
	ssize_t size = send(STDERR_FILENO, line->data, line->length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (size >= 0 || errno != ENOTSOCK)
		return size >= 0;
	if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
		return false;
	return write(STDERR_FILENO, line->data, line->length) >= 0;
}

static bool write_line(const struct log *log, enum event_level level, const char *event)
{
	struct text line = {0};
	bool written;

	if (log->journal)
		text_printf(&line, "<%d>", (int)level);
	text_write(&line, event, strnlen(event, PIPE_BUF - 8));
	text_puts(&line, "\n");
	/* One write for a line: others may write to the same file. */
	written = !line.failed && try_write(&line);
	text_free(&line);
	return written;
}

static void log_event(void *context, const struct event *event)
{
	struct log *log = context;
	char note[64];

	if (event->level > log->most)
		return;
	snprintf(note, sizeof(note), "event=left-out lines=%lu", log->left_out);
	if (log->left_out && write_line(log, EVENT_WARNING, note))
		log->left_out = 0;
	if (log->left_out || !write_line(log, event->level, text_string(&event->line)))
		log->left_out++;
}

static bool join(const struct invocation *invocation, char path[PATH_MAX], const char *folder,
	const char *name)
{
	if (snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX)
		return true;
	say_usage(invocation, "the folder %s has too long a name", folder);
	return false;
}

/* For anybody to read. */
static int write_pidfile(const char *path, struct error *error)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	if (!path)
		return 0;
	if (file_save(path, text, (size_t)length, error) < 0)
		return error->code;
	return chmod(path, 0644) == 0
		       ? 0
		       : error_set(error, -errno, "see whose folder it is in (ls -ld)",
				 "cannot make %s readable: %s", path, strerror(errno));
}

static enum event_level log_level(const struct invocation *invocation)
{
	if (invocation->verbosity > 0)
		return EVENT_DEBUG;
	return invocation->verbosity < 0 ? EVENT_WARNING : EVENT_INFO;
}

/* What the command line and the config come to. */
struct start {
	struct config *config;
	struct text archive, messages;
	bool kept; /* the config is the copy of a former one */
	char state_path[PATH_MAX], control_path[PATH_MAX], kept_path[PATH_MAX];
};

/* Folders and lock are there. */
static int run(const struct invocation *invocation, struct start *start)
{
	struct log log = {.most = log_level(invocation), .journal = is_journal(STDERR_FILENO)};
	struct daemon_options options = {
		.version = SIPFENCE_VERSION,
		.config_path = invocation->config_path,
		.archive = start->kept ? NULL : &start->archive,
		.config_error = text_string(&start->messages),
		.kept_path = start->kept_path,
		.state_path = start->state_path,
		.control_path = start->control_path,
		.resolv_conf = "/etc/resolv.conf",
		.log = log_event,
		.context = &log,
	};
	struct config *config = start->config;
	struct error error = {0};
	int result;

	start->config = NULL;
	if (write_pidfile(invocation->pidfile, &error) < 0) {
		config_free(config);
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	result = daemon_run(&options, config, &error);
	if (invocation->pidfile)
		unlink(invocation->pidfile);
	if (result < 0) {
		say_error(invocation, &error);
		return EXIT_REFUSED;
	}
	return EXIT_DONE;
}

/* A config that is broken at boot must not leave the ports open: the last good one does then. */
static int load(const struct invocation *invocation, struct start *start)
{
	int result = config_load(
		invocation->config_path, &start->config, &start->archive, &start->messages);

	if (result == 0 ||
		config_load_kept(invocation->config_path, start->kept_path, &start->config) < 0)
		return say_config(invocation, result, &start->messages);
	say_config(invocation, result, &start->messages);
	start->kept = true;
	return EXIT_DONE;
}

/* Until the loop takes them they wait: one that comes early must not end us unheard. */
static void hold_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

int command_run(const struct invocation *invocation)
{
	struct start start = {0};
	int lock = -1, code;

	hold_signals();
	if (!join(invocation, start.state_path, invocation->state_dir, "state") ||
		!join(invocation, start.kept_path, invocation->state_dir, "config") ||
		!join(invocation, start.control_path, invocation->run_dir, "control"))
		return EXIT_USAGE;
	code = load(invocation, &start);
	if (code != EXIT_DONE)
		goto out;
	code = EXIT_REFUSED;
	if (!lock_folders(invocation, &lock))
		goto out;
	/* The port must be shut even where nothing can be saved; the engine says so. */
	folder_make(invocation->state_dir, NULL);
	code = run(invocation, &start);
out:
	if (lock >= 0)
		close(lock);
	config_free(start.config);
	text_free(&start.archive);
	text_free(&start.messages);
	return code;
}
