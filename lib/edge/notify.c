/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_SIZE = 512 };

/* The number that a variable holds; 0: none that makes sense. */
static uint64_t number_of(const char *name)
{
	const char *text = getenv(name);
	unsigned long long number;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	number = strtoull(text, &end, 10);
	return errno || *end ? 0 : number;
}

static int64_t watchdog_of_environment(void)
{
	uint64_t microseconds = number_of("WATCHDOG_USEC");

	if (getenv("WATCHDOG_PID") && number_of("WATCHDOG_PID") != (uint64_t)getpid())
		return 0; /* meant for our parent */
	if (microseconds == 0 || microseconds == UINT64_MAX)
		return 0;
	return microseconds < 1000 ? 1 : (int64_t)(microseconds / 1000);
}

static bool take_address(struct notify *notify, const char *text)
{
	size_t length = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || length < 2 ||
		length >= sizeof(notify->address.sun_path))
		return false;
	notify->address.sun_family = AF_UNIX;
	memcpy(notify->address.sun_path, text, length);
	if (text[0] == '@')
		notify->address.sun_path[0] = '\0'; /* an abstract name ends with its length */
	else
		length++;
	notify->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return true;
}

static int open_socket(struct notify *notify, const char *text, struct error *error)
{
	int number;

	if (!take_address(notify, text))
		return error_set(error, -EINVAL, "a path or @name of a Unix socket is expected",
			"NOTIFY_SOCKET names no socket that can be used; the supervisor will not "
			"hear from us");
	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	number = errno;
	if (notify->fd < 0)
		return error_set(error, -number, "", "cannot make a socket for NOTIFY_SOCKET: %s",
			strerror(number));
	return 0;
}

int notify_open(struct notify *ret_notify, struct error *error)
{
	const char *text = getenv("NOTIFY_SOCKET");
	int result = 0;

	*ret_notify = (struct notify){.fd = -1};
	if (text && *text)
		result = open_socket(ret_notify, text, error);
	if (ret_notify->fd >= 0)
		ret_notify->watchdog_ms = watchdog_of_environment();
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return result;
}

void notify_close(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	notify->fd = -1;
}

/* One line of it: no line feed may begin another word of the protocol. */
static void put_status(char *message, size_t size, const char *status)
{
	size_t at = strlen(message);

	at += (size_t)snprintf(message + at, size - at, "STATUS=");
	for (; *status && at < size - 1; status++)
		message[at++] = (unsigned char)*status < ' ' ? ' ' : *status;
	/* Not in the middle of a UTF-8 sequence. */
	if (*status & 0x80) {
		while ((message[at - 1] & 0xc0) == 0x80)
			at--;
		if (message[at - 1] & 0x80)
			at--;
	}
	message[at] = '\0';
}

static int tell(struct notify *notify, const char *words, const char *status)
{
	char message[MESSAGE_SIZE];

	if (notify->fd < 0)
		return 0;
	snprintf(message, sizeof(message), "%s%s", notify->ready_unsent ? "READY=1\n" : "", words);
	if (status)
		put_status(message, sizeof(message), status);
	if (sendto(notify->fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL,
		    (const struct sockaddr *)&notify->address, notify->address_length) < 0)
		return -errno;
	notify->ready_unsent = false;
	return 0;
}

int notify_ready(struct notify *notify, const char *status)
{
	notify->ready_unsent = true; /* tell() puts it in, and takes it back when it is out */
	return tell(notify, "", status);
}

int notify_reloading(struct notify *notify)
{
	struct timespec now = {0};
	char words[80];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(words, sizeof(words), "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\n",
		now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000);
	return tell(notify, words, NULL);
}

int notify_stopping(struct notify *notify)
{
	notify->ready_unsent = false;
	return tell(notify, "STOPPING=1\n", NULL);
}

int notify_status(struct notify *notify, const char *status)
{
	return tell(notify, "", status);
}

int notify_watchdog(struct notify *notify)
{
	return tell(notify, "WATCHDOG=1\n", NULL);
}
