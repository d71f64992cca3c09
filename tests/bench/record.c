/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loaded before libc (LD_PRELOAD): appends the netlink batches that a program sends to the file
 * $RECORD, as they are, so that floor.c can send the very same.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void keep(const struct msghdr *message)
{
	const char *path = getenv("RECORD");
	int file = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;

	if (file < 0 || writev(file, message->msg_iov, (int)message->msg_iovlen) < 0)
		abort();
	close(file);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	static ssize_t (*next)(int, const struct msghdr *, int);
	const struct sockaddr *to = message->msg_name;

	if (!next)
		next = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
	if (to && to->sa_family == AF_NETLINK)
		keep(message);
	return next(fd, message, flags);
}
