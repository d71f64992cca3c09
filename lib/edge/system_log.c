/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "system_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

int system_log_open(int *ret_fd, struct error *error)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_set(error, -errno, "leave --syslog out, and look at the unit's limits",
			"cannot make a socket for syslog: %s", strerror(errno));
	*ret_fd = fd;
	return 0;
}

int system_log_send(int fd, enum event_level level, time_t now, const char *line)
{
	static const struct sockaddr_un there = {AF_UNIX, SYSTEM_LOG_SOCKET};
	char message[SYSTEM_LOG_LINE], when[32];
	struct tm local;
	int length;

	/* No locale is ever set, so the month is English. */
	if (!localtime_r(&now, &local) || strftime(when, sizeof(when), "%b %e %T", &local) == 0)
		return -EOVERFLOW;
	length = snprintf(message, sizeof(message), "<%d>%s sipfence[%ld]: %s",
		LOG_DAEMON | (int)level, when, (long)getpid(), line);
	if (length < 0)
		return -EOVERFLOW;
	if (length >= (int)sizeof(message))
		length = (int)sizeof(message) - 1;
	if (sendto(fd, message, (size_t)length, MSG_NOSIGNAL, (const struct sockaddr *)&there,
		    sizeof(there)) < 0)
		return -errno;
	return 0;
}
