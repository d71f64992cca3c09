/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "config_archive.h"
#include "config_load.h"
#include "confine.h"
#include "daemon.h"
#include "files.h"
#include "helper_asterisk.h"
#include "lock.h"
#include "pbx.h"
#include "privilege.h"
#include "program.h"
#include "system_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RESOLV_CONF "/etc/resolv.conf"

/* Where the log goes, a line an event: to stderr, or to syslog, and then what syslog does not take
 * to stderr. */
struct log {
	enum event_level most; /* what is less important is left out */
	int syslog;	       /* a socket (edge/system_log.h); negative: none */
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

static bool write_stderr(const struct log *log, enum event_level level, const char *event)
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

static bool write_line(const struct log *log, enum event_level level, const char *event)
{
	if (log->syslog < 0)
		return write_stderr(log, level, event);
	return system_log_send(log->syslog, level, time(NULL), event) == 0;
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
	if (!log->left_out && write_line(log, event->level, text_string(&event->line)))
		return;
	log->left_out++;
	if (log->syslog >= 0)
		write_stderr(log, event->level, text_string(&event->line));
}

static bool join(const struct invocation *invocation, char path[PATH_MAX], const char *folder,
	const char *name)
{
	if (snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX)
		return true;
	say_usage(invocation, "the folder %s has too long a name", folder);
	return false;
}

/* For anybody to read. By a descriptor: in a folder like /tmp the name may be another file's by
 * now. */
static int write_pidfile(const char *path, struct error *error)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	int fd, number, result;

	if (!path)
		return 0;
	if (file_save(path, text, (size_t)length, error) < 0)
		return error->code;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	result = fd < 0 ? -1 : fchmod(fd, 0644);
	number = errno;
	if (fd >= 0)
		close(fd);
	return result == 0 ? 0
			   : error_set(error, -number, "see whose folder it is in (ls -ld)",
				     "cannot make %s readable: %s", path, strerror(number));
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
	bool kept;		    /* the config is the copy of a former one */
	struct privilege_user user; /* whom the daemon runs as */
	struct error user_error;    /* why it is not whom the config names */
	struct error state_error;   /* why nothing can be saved */
	struct error refusal;	    /* why the daemon ends */
	struct log log;
	char state_path[PATH_MAX], control_path[PATH_MAX], kept_path[PATH_MAX];
};

/* --- Privileges --- */

static void log_error(struct log *log, const char *name, const struct error *error)
{
	struct event event;

	event_begin(&event, EVENT_WARNING, name);
	event_put(&event, "error", error->what);
	event_put(&event, "next", error->next);
	if (!event.line.failed)
		log_event(log, &event);
	event_clear(&event);
}

static void log_privilege(
	struct log *log, const struct privilege_user *user, const struct confinement *confinement)
{
	struct event event;

	event_begin(&event, user->missing ? EVENT_WARNING : EVENT_INFO, "privilege");
	event_put(&event, "user", user->name);
	if (confinement->landlock)
		event_put_number(&event, "landlock", confinement->landlock);
	else
		event_put(&event, "landlock", "off");
	event_put(&event, "seccomp", confinement->seccomp ? "on" : "off");
	if (user->missing)
		event_put(&event, "next",
			"make a user for it, then start it again: " PRIVILEGE_MAKE_USER
				CONFIG_DEFAULT_USER);
	if (!event.line.failed)
		log_event(log, &event);
	event_clear(&event);
}

/* The first of the config's files that the daemon's user can't read. */
struct unreadable {
	const char *user;
	struct error error;
};

/* The folder on the way that is shut, or the file. */
static void blame(struct unreadable *unreadable, const char *path)
{
	char part[PATH_MAX];
	const char *slash = path;

	while ((slash = strchr(slash + 1, '/')) && slash - path < PATH_MAX) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		if (access(part, X_OK) < 0) {
			error_set(&unreadable->error, -EACCES, "",
				"user %s may not enter the folder %s of the config: a reload will "
				"be refused",
				unreadable->user, part);
			snprintf(unreadable->error.next, sizeof(unreadable->error.next),
				"chgrp %s %.200s; chmod g+rx %.200s", unreadable->user, part, part);
			return;
		}
	}
	error_set(&unreadable->error, -EACCES, "",
		"user %s may not read %s: a reload will be refused", unreadable->user, path);
	snprintf(unreadable->error.next, sizeof(unreadable->error.next),
		"chgrp %s %.200s; chmod g+r %.200s", unreadable->user, path, path);
}

static void look_at_place(void *context, const char *base, const char *pattern, const char *path)
{
	struct unreadable *unreadable = context;

	(void)base;
	(void)pattern;
	if (path && !unreadable->error.code && access(path, R_OK) < 0 && errno == EACCES)
		blame(unreadable, path);
}

/* From the first event on it is the daemon's user that acts, and it has become that already. */
static int shut_off(const struct invocation *invocation, const struct start *start, struct log *log,
	struct error *error)
{
	struct confine_options options = {
		.config = start->config,
		.archive = &start->archive,
		.config_path = invocation->config_path,
		.state_dir = invocation->state_dir,
		.run_dir = invocation->run_dir,
		.pidfile = invocation->pidfile,
		.resolv_conf = RESOLV_CONF,
	};
	struct unreadable unreadable = {.user = start->user.name};
	struct confinement confinement = {0};
	int result = confine(&options, &confinement, error);

	if (result < 0)
		return result;
	log_privilege(log, &start->user, &confinement);
	if (start->user_error.code)
		log_error(log, "config", &start->user_error);
	if (start->state_error.code)
		log_error(log, "state-file", &start->state_error);
	config_archive_places(&start->archive, look_at_place, &unreadable);
	if (unreadable.error.code)
		log_error(log, "config", &unreadable.error);
	return 0;
}

/* Whose word the config is. Negative: nobody's who may say what is run; `what` does not happen. */
static int check_config_owner(const struct invocation *invocation, const char *what,
	uid_t *ret_owner, struct error *error)
{
	struct stat status;

	if (stat(invocation->config_path, &status) < 0)
		return error_set(error, -errno, "", "%s: cannot look at %s: %s", what,
			invocation->config_path, strerror(errno));
	if (geteuid() == 0 && status.st_uid != 0)
		return error_set(error, -EPERM,
			"chown root the config, and let the daemon's user read it by its group (chgrp, "
			"chmod 640); then restart the daemon",
			"%s: the config belongs to user number %lu, who could have root run anything",
			what, (unsigned long)status.st_uid);
	*ret_owner = status.st_uid;
	return 0;
}

static const char no_hooks[] = "no hooks are run";
static const char no_pbx[] = "nothing is done for Asterisk";

/* Before the privileges are gone. */
static void start_helpers(const struct invocation *invocation, const struct start *start,
	struct daemon_options *options)
{
	const struct config *config = start->config;
	const char *const *on_change = config->on_change;
	uid_t owner = 0; /* said by check_config_owner() */

	if (on_change &&
		check_config_owner(invocation, no_hooks, &owner, &options->helper_problem) == 0 &&
		helper_start(on_change, owner, &options->helper, &options->helper_problem) == 0)
		program_check(on_change[0], owner, &options->helper_problem);
	if (pbx_is_wanted(config) &&
		check_config_owner(invocation, no_pbx, &owner, &options->pbx_problem) == 0)
		helper_asterisk_start(config, owner, &options->pbx_helper, &options->pbx_problem);
}

/* It says what is run. */
static void distrust_kept(const char *what, struct error *error)
{
	error_set(error, -EPERM, "correct the config (sipfence check), then restart the daemon",
		"%s: only the config itself may say what is run, and it is wrong", what);
}

/*
 * The copy of a former config lies where the daemon's user writes. So it is that user, and not
 * root, that reads it; and it does not say what is run.
 */
static bool load_kept(
	const struct invocation *invocation, struct start *start, struct daemon_options *options)
{
	if (config_load_kept(invocation->config_path, start->kept_path, &start->config) < 0)
		return false;
	if (start->config->on_change)
		distrust_kept(no_hooks, &options->helper_problem);
	if (pbx_is_wanted(start->config))
		distrust_kept(no_pbx, &options->pbx_problem);
	return true;
}

/* Folders and lock are there. */
static int run(const struct invocation *invocation, struct start *start)
{
	struct daemon_options options = {
		.version = SIPFENCE_VERSION,
		.config_path = invocation->config_path,
		.archive = start->kept ? NULL : &start->archive,
		.config_error = text_string(&start->messages),
		.kept_path = start->kept_path,
		.state_path = start->state_path,
		.control_path = start->control_path,
		.resolv_conf = RESOLV_CONF,
		.log = log_event,
		.context = &start->log,
		.helper = {.fd = -1},
		.pbx_helper = {.fd = -1},
	};
	struct config *config;
	struct error error = {0};
	int code = EXIT_REFUSED, result;

	if (!start->kept)
		start_helpers(invocation, start, &options);
	result = write_pidfile(invocation->pidfile, &error);
	if (result < 0)
		goto refused;
	result = privilege_drop(&start->user, &error);
	if (result == 0 && start->kept && !load_kept(invocation, start, &options)) {
		code = EXIT_USAGE; /* what is wrong with the config was said */
		goto out;
	}
	if (result == 0)
		result = shut_off(invocation, start, &start->log, &error);
	if (result == 0) {
		config = start->config;
		start->config = NULL;
		result = daemon_run(&options, config, &error);
	}
	code = result < 0 ? EXIT_REFUSED : EXIT_DONE;
out:
	if (invocation->pidfile)
		unlink(invocation->pidfile);
refused:
	if (result < 0) {
		say_error(invocation, &error);
		start->refusal = error;
	}
	return code;
}

/* A config that is broken at boot must not leave the ports open: the last good one does then. */
static int load(const struct invocation *invocation, struct start *start)
{
	int result = config_load(
		invocation->config_path, &start->config, &start->archive, &start->messages);

	if (result == 0 || access(start->kept_path, F_OK) < 0)
		return say_config(invocation, result, &start->messages);
	say_config(invocation, result, &start->messages);
	/* For the log: there may be no memory for more. */
	if (start->messages.length == 0)
		text_puts(&start->messages, strerror(-result));
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

/* Texts of many names come and go. By default the C library keeps memory of ever larger ones for
 * later: with 100,000 names, 40 MB that nobody needs again. */
static void give_large_memory_back(void)
{
#ifdef __GLIBC__
	enum { LARGE = 1024 * 1024 };

	mallopt(M_MMAP_THRESHOLD, LARGE);
#endif
}

/*
 * The copy of a former config lies where the daemon's user writes: it can't say who that is, but
 * whose it is does. That goes for a name that nobody has, too: where the daemon has run before, it
 * must not leave the ports open.
 */
static int choose_user(const struct invocation *invocation, struct start *start)
{
	if (!start->kept &&
		privilege_find(start->config->user, &start->user, &start->user_error) == 0)
		return EXIT_DONE;
	if (!start->kept && access(start->kept_path, F_OK) < 0)
		return find_user(invocation, start->config->user, &start->user);
	privilege_find_owner(invocation->state_dir, &start->user);
	return EXIT_DONE;
}

/* Who has syslog read does not see standard error, where all of it stands. */
static void log_refusal(struct start *start, int code)
{
	const char *lines =
		start->messages.length ? text_string(&start->messages) : "standard error says why";
	struct event event;

	if (start->log.syslog < 0)
		return;
	if (!start->refusal.code)
		error_set(&start->refusal, -EINVAL, "run sipfence at a terminal: it says all",
			"%.*s", (int)strcspn(lines, "\n"), lines);
	event_begin(&event, EVENT_ERROR, "refused");
	event_put_number(&event, "exit", code);
	event_put(&event, "error", start->refusal.what);
	event_put(&event, "next", start->refusal.next);
	if (!event.line.failed)
		log_event(&start->log, &event);
	event_clear(&event);
}

int command_run(const struct invocation *invocation)
{
	struct start start = {
		.log = {.most = log_level(invocation),
			.journal = is_journal(STDERR_FILENO),
			.syslog = -1},
	};
	int lock = -1, code;

	give_large_memory_back();
	privilege_begin();
	hold_signals();
	if (invocation->syslog && system_log_open(&start.log.syslog, &start.refusal) < 0) {
		say_error(invocation, &start.refusal);
		return EXIT_REFUSED;
	}
	if (!join(invocation, start.state_path, invocation->state_dir, "state") ||
		!join(invocation, start.kept_path, invocation->state_dir, "config") ||
		!join(invocation, start.control_path, invocation->run_dir, "control"))
		return EXIT_USAGE;
	code = load(invocation, &start);
	if (code == EXIT_DONE)
		code = choose_user(invocation, &start);
	if (code != EXIT_DONE)
		goto out;
	code = EXIT_REFUSED;
	if (!lock_folders(invocation, &start.user, &lock))
		goto out;
	/* The port must be shut even where nothing can be saved; the engine says so. */
	if (folder_make(invocation->state_dir, &start.state_error) == 0)
		privilege_take_folder(invocation->state_dir, &start.user, &start.state_error);
	code = run(invocation, &start);
out:
	if (code != EXIT_DONE)
		log_refusal(&start, code);
	if (start.log.syslog >= 0)
		close(start.log.syslog);
	if (lock >= 0)
		close(lock);
	config_free(start.config);
	text_free(&start.archive);
	text_free(&start.messages);
	return code;
}
