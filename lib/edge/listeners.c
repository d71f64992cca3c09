/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "listeners.h"
#include "config.h"
#include "nft_attr.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { RECEIVE_SIZE = 64 * 1024, REPLY_SECONDS = 5 };

struct list {
	struct listener *items;
	size_t count, capacity;
};

static int add(struct list *list, const struct listener *listener)
{
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		struct listener *grown = reallocarray(list->items, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->items = grown;
		list->capacity = capacity;
	}
	list->items[list->count++] = *listener;
	return 0;
}

/* --- The kernel's list --- */

/* 1: the list goes on; 0: that was all of it. */
static int take_messages(
	const void *buffer, size_t size, uint8_t protocol, uint32_t sequence, struct list *list)
{
	const struct nlmsghdr *message = buffer;
	size_t left = size;

	for (; message_is_whole(message, left); message = message_behind(message, &left)) {
		const struct nlmsgerr *refusal = mnl_nlmsg_get_payload(message);
		struct listener listener;

		if (message->nlmsg_seq != sequence)
			continue;
		if (message->nlmsg_type == NLMSG_DONE)
			return 0;
		if (message->nlmsg_type == NLMSG_ERROR)
			return mnl_nlmsg_get_payload_len(message) < sizeof(*refusal) ||
					       refusal->error >= 0
				       ? -EBADMSG
				       : refusal->error;
		if (socket_diag_listener(message, protocol, &listener) && add(list, &listener) < 0)
			return -ENOMEM;
	}
	return 1;
}

static int ask(int fd, uint8_t protocol, enum family family, uint32_t sequence, struct list *list)
{
	_Alignas(struct nlmsghdr) uint8_t request[SOCKET_DIAG_REQUEST_SIZE] = {0};
	size_t length = socket_diag_request(protocol, family, sequence, request);
	int result = 1;
	void *buffer;

	if (send(fd, request, length, 0) < 0)
		return -errno;
	buffer = malloc(RECEIVE_SIZE);
	if (!buffer)
		return -ENOMEM;
	while (result > 0) {
		ssize_t size = recv(fd, buffer, RECEIVE_SIZE, 0);

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0)
			result = errno == EAGAIN ? -ETIMEDOUT : -errno;
		else
			result = take_messages(buffer, (size_t)size, protocol, sequence, list);
	}
	free(buffer);
	/* A kernel without IPv6 has no such sockets. */
	return result == -ENOENT || result == -EAFNOSUPPORT ? 0 : result;
}

static int ask_all(struct list *list, struct error *error)
{
	static const uint8_t protocols[] = {PROTOCOL_TCP, PROTOCOL_UDP};
	struct timeval limit = {.tv_sec = REPLY_SECONDS};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	uint32_t sequence = 0;
	int result = fd < 0 ? -errno : 0;

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (size_t i = 0; i < 2 && result == 0; i++) {
		for (int family = 0; family < FAMILY_COUNT && result == 0; family++)
			result = ask(fd, protocols[i], (enum family)family, ++sequence, list);
	}
	if (fd >= 0)
		close(fd);
	if (result == -ENOMEM)
		return error_no_memory(error);
	if (result < 0)
		return error_set(error, result, "load its modules: modprobe -a udp_diag tcp_diag",
			"cannot ask the kernel for this machine's sockets: %s", strerror(-result));
	return 0;
}

/* --- Whose they are --- */

static int compare_inodes(const void *a, const void *b)
{
	const struct listener *left = a, *right = b;

	return (left->inode > right->inode) - (left->inode < right->inode);
}

static void read_program(const char *pid, char *ret_program)
{
	char path[64];
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	size = read(fd, ret_program, LISTENER_PROGRAM_SIZE - 1);
	close(fd);
	if (size > 0)
		ret_program[strcspn(ret_program, "\n")] = '\0';
}

/* "socket:[12345]" */
static void take_descriptor(int folder, const char *name, const char *pid, struct list *list)
{
	struct listener wanted = {0};
	struct listener *found;
	char target[64];
	ssize_t size = readlinkat(folder, name, target, sizeof(target) - 1);

	if (size <= 0)
		return;
	target[size] = '\0';
	if (strncmp(target, "socket:[", 8) != 0)
		return;
	wanted.inode = (uint32_t)strtoul(target + 8, NULL, 10);
	found = bsearch(&wanted, list->items, list->count, sizeof(*list->items), compare_inodes);
	if (!found || found->pid)
		return;
	found->pid = (uint32_t)strtoul(pid, NULL, 10);
	read_program(pid, found->program);
}

static void take_process(const char *pid, struct list *list)
{
	const struct dirent *entry;
	char path[64];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		if (entry->d_name[0] != '.')
			take_descriptor(dirfd(folder), entry->d_name, pid, list);
	}
	if (folder)
		closedir(folder);
}

static bool find_programs(struct list *list)
{
	const struct dirent *entry;
	DIR *folder = opendir("/proc");
	bool hidden = false;

	qsort(list->items, list->count, sizeof(*list->items), compare_inodes);
	while (folder && (entry = readdir(folder))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			take_process(entry->d_name, list);
	}
	if (folder)
		closedir(folder);
	/* The kernel itself listens, too (NFS, …): for root nothing is hidden. */
	for (size_t i = 0; i < list->count && geteuid() != 0; i++)
		hidden |= list->items[i].pid == 0;
	return hidden;
}

static int compare(const void *a, const void *b)
{
	const struct listener *left = a, *right = b;

	if (left->protocol != right->protocol)
		return left->protocol < right->protocol ? 1 : -1; /* udp first */
	if (left->port != right->port)
		return left->port < right->port ? -1 : 1;
	return addr_compare(&left->addr, &right->addr);
}

int listeners_list(
	struct listener **ret_listeners, size_t *ret_count, bool *ret_hidden, struct error *error)
{
	struct list list = {0};
	int result = ask_all(&list, error);

	if (result < 0) {
		free(list.items);
		return result;
	}
	if (list.count > 0) {
		*ret_hidden = find_programs(&list);
		qsort(list.items, list.count, sizeof(*list.items), compare);
	} else {
		*ret_hidden = false;
	}
	*ret_listeners = list.items;
	*ret_count = list.count;
	return 0;
}
