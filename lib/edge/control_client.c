/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The side of those who ask. */
#include "control.h"
#include "trust.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNECT_MS = 5000 };

/* Whose group would do; the folder may be shut to us, then it is the folder's. */
static int explain_denied(const char *path, struct error *error)
{
	char folder[PATH_MAX], next[160];
	const struct group *group = NULL;
	struct stat status;

	snprintf(folder, sizeof(folder), "%s", path);
	if ((stat(path, &status) == 0 || stat(dirname(folder), &status) == 0) && status.st_gid != 0)
		group = getgrgid(status.st_gid);
	if (group)
		snprintf(next, sizeof(next), "run it as root, or as a member of the group %s",
			group->gr_name);
	return error_set(error, -EACCES, group ? next : "run it as root",
		"you may not talk to the daemon (%s: %s)", path, strerror(EACCES));
}

static int explain_connect(const char *path, int number, struct error *error)
{
	if (number == ENOENT || number == ECONNREFUSED || number == ENOTDIR)
		return error_set(error, -ECONNREFUSED,
			"start it (systemctl start sipfence, or sipfence run); from cron, without "
			"a daemon, sipfence sync does its work",
			"no daemon is running (%s: %s)", path, strerror(number));
	if (number == EACCES || number == EPERM)
		return explain_denied(path, error);
	if (number == EAGAIN)
		return error_set(error, -ETIMEDOUT,
			"see what it does (systemctl status sipfence), then try again",
			"the daemon takes no requests now (%s)", path);
	return error_set(
		error, -number, "", "cannot talk to the daemon (%s): %s", path, strerror(number));
}

/* Root, we, or whom the folder belongs to: where others may write it, they can have put their own
 * socket there, and its answers are not the daemon's. */
static int check_daemon(int fd, const char *path, struct error *error)
{
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct ucred peer = {.uid = TRUST_NOBODY_ELSE};
	socklen_t length = sizeof(peer);
	uid_t owner = TRUST_NOBODY_ELSE;
	struct stat folder;

	snprintf(copy, sizeof(copy), "%s", path);
	if (stat(dirname(copy), &folder) == 0 && !trust_others_may_write(&folder))
		owner = folder.st_uid;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
		trust_user(peer.uid, owner))
		return 0;
	return error_set(error, -EPERM,
		"see which process that is (ps), and whose folder it is in (ls -ld)",
		"process %ld of user number %lu listens at %s, and that is no daemon of ours",
		(long)peer.pid, (unsigned long)peer.uid, path);
}

int control_connect(const char *path, int *ret_fd, struct error *error)
{
	/* A full queue of a process that does not run would hold connect() up for ever. */
	struct timeval limit = {.tv_sec = CONNECT_MS / 1000}, none = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	int fd, number;

	if (length >= sizeof(address.sun_path))
		return explain_connect(path, ENAMETOOLONG, error);
	memcpy(address.sun_path, path, length);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return explain_connect(path, errno, error);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		number = errno;
		close(fd);
		return explain_connect(path, number, error);
	}
	number = check_daemon(fd, path, error);
	if (number < 0) {
		close(fd);
		return number;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	*ret_fd = fd;
	return 0;
}

static int explain_end(int number, struct error *error)
{
	if (number == ENOMEM)
		return error_no_memory(error);
	if (number == EPIPE || number == ECONNRESET)
		return error_set(error, -ECONNRESET,
			"see its log (journalctl -u sipfence), then try again",
			"the daemon hung up before its answer was complete");
	return error_set(error, -number, "", "cannot talk to the daemon: %s", strerror(number));
}

/* 0: ready. */
static int wait_for(int fd, short events, int timeout_ms, struct error *error)
{
	struct pollfd item = {.fd = fd, .events = events};
	int count;

	do
		count = poll(&item, 1, timeout_ms);
	while (count < 0 && errno == EINTR);
	if (count < 0)
		return explain_end(errno, error);
	if (count > 0)
		return 0;
	return error_set(error, -ETIMEDOUT,
		"see what it does (systemctl status sipfence, journalctl -u sipfence)",
		"no word from the daemon for %d seconds", timeout_ms / 1000);
}

/* A daemon that refuses does not read to the end: then its answer says why. */
static int send_all(int fd, const char *data, size_t length, int timeout_ms, struct error *error)
{
	while (length > 0) {
		ssize_t size = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		int result = 0;

		if (size >= 0) {
			data += size;
			length -= (size_t)size;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return 0;
		} else if (errno == EAGAIN) {
			result = wait_for(fd, POLLOUT, timeout_ms, error);
		} else if (errno != EINTR) {
			result = explain_end(errno, error);
		}
		if (result < 0)
			return result;
	}
	return 0;
}

static int receive_line(int fd, struct text *answer, int timeout_ms, struct error *error)
{
	size_t start = answer->length;
	char buffer[65536];

	for (;;) {
		const char *end = NULL;
		int result = wait_for(fd, POLLIN, timeout_ms, error);
		ssize_t size;

		if (result < 0)
			return result;
		size = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (size < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (size <= 0)
			return explain_end(size < 0 ? errno : EPIPE, error);
		end = memchr(buffer, '\n', (size_t)size);
		text_write(answer, buffer, end ? (size_t)(end - buffer) : (size_t)size);
		if (answer->failed)
			return error_no_memory(error);
		if (answer->length - start > CONTROL_ANSWER_MAX)
			return error_set(
				error, -EMSGSIZE, "", "the daemon's answer is longer than 1 GB");
		if (end)
			return 0;
	}
}

int control_ask(int fd, const char *line, size_t length, struct text *answer, int timeout_ms,
	struct error *error)
{
	int result = send_all(fd, line, length, timeout_ms, error);

	if (result == 0)
		result = send_all(fd, "\n", 1, timeout_ms, error);
	if (result == 0)
		result = receive_line(fd, answer, timeout_ms, error);
	return result;
}
