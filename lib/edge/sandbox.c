/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of the distributions that we are built on. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule	    445
#define SYS_landlock_restrict_self  446
#endif

enum { ASK_VERSION = 1, RULE_PATH = 1, MAX_LINKS = 40 };

/* landlock(7). Each version has those of the ones before it. */
enum file_right {
	RIGHT_EXECUTE = 1 << 0,
	RIGHT_WRITE_FILE = 1 << 1,
	RIGHT_READ_FILE = 1 << 2,
	RIGHT_READ_DIR = 1 << 3,
	RIGHT_REMOVE_DIR = 1 << 4,
	RIGHT_REMOVE_FILE = 1 << 5,
	RIGHT_MAKE_REG = 1 << 8,
	RIGHT_MAKE_SOCK = 1 << 9,
	RIGHTS_1 = (1 << 13) - 1,
	RIGHT_REFER = 1 << 13,	   /* since 2 */
	RIGHT_TRUNCATE = 1 << 14,  /* since 3 */
	RIGHT_IOCTL_DEV = 1 << 15, /* since 5 */
};
enum net_right { RIGHT_BIND_TCP = 1 << 0 };				/* since 4 */
enum scope { SCOPE_ABSTRACT_SOCKETS = 1 << 0, SCOPE_SIGNALS = 1 << 1 }; /* since 6 */

struct ruleset_attributes {
	uint64_t files, net, scopes; /* net since 4, scopes since 6 */
};

struct path_attributes {
	uint64_t allowed;
	int32_t folder;
} __attribute__((packed));

/* --- Rules --- */

void sandbox_allow(struct sandbox_rules *rules, const char *path, enum sandbox_right right)
{
	struct sandbox_rule *list =
		reallocarray(rules->list, rules->count + 1, sizeof(*rules->list));
	char *copy = strdup(path);

	if (list)
		rules->list = list;
	if (!list || !copy) {
		free(copy);
		rules->no_memory = true;
		return;
	}
	list[rules->count].path = copy;
	list[rules->count].right = right;
	rules->count++;
}

void sandbox_rules_clear(struct sandbox_rules *rules)
{
	for (size_t i = 0; i < rules->count; i++)
		free(rules->list[i].path);
	free(rules->list);
	*rules = (struct sandbox_rules){0};
}

/* `path` becomes what the link at `path` points to. False: it is no link, or goes too far. */
static bool step(char path[PATH_MAX])
{
	char target[PATH_MAX], folder[PATH_MAX], next[PATH_MAX];
	ssize_t size = readlink(path, target, sizeof(target) - 1);
	int length;

	if (size <= 0)
		return false;
	target[size] = '\0';
	memcpy(folder, path, PATH_MAX);
	if (target[0] == '/')
		length = snprintf(next, sizeof(next), "%s", target);
	else
		length = snprintf(next, sizeof(next), "%s/%s", dirname(folder), target);
	if (length < 0 || length >= PATH_MAX)
		return false;
	memcpy(path, next, (size_t)length + 1);
	return true;
}

void sandbox_allow_file(struct sandbox_rules *rules, const char *path, enum sandbox_right right)
{
	char at[PATH_MAX];

	if (snprintf(at, sizeof(at), "%s", path) >= PATH_MAX)
		return;
	for (int links = 0; links < MAX_LINKS && step(at); links++)
		;
	sandbox_allow(rules, dirname(at), right);
}

/* --- Landlock --- */

static uint64_t known_files(long abi)
{
	uint64_t known = RIGHTS_1;

	if (abi >= 2)
		known |= RIGHT_REFER;
	if (abi >= 3)
		known |= RIGHT_TRUNCATE;
	if (abi >= 5)
		known |= RIGHT_IOCTL_DEV;
	return known;
}

static uint64_t rights_of(enum sandbox_right right)
{
	switch (right) {
	case SANDBOX_READ:
		break;
	case SANDBOX_WRITE:
		return RIGHT_READ_FILE | RIGHT_READ_DIR | RIGHT_WRITE_FILE | RIGHT_TRUNCATE |
		       RIGHT_MAKE_REG | RIGHT_MAKE_SOCK | RIGHT_REMOVE_FILE;
	case SANDBOX_REMOVE:
		return RIGHT_REMOVE_FILE;
	}
	return RIGHT_READ_FILE | RIGHT_READ_DIR;
}

/* The nearest folder above it that is there; never "/", which would allow all there is. */
static int open_above(const char *path)
{
	char at[PATH_MAX];
	int fd = -1;

	if (snprintf(at, sizeof(at), "%s", path) >= PATH_MAX)
		return -1;
	while (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		/* dirname() may return a constant. */
		memmove(at, dirname(at), strlen(dirname(at)) + 1);
		if (strcmp(at, "/") == 0 || strcmp(at, ".") == 0)
			return -1;
		fd = open(at, O_PATH | O_CLOEXEC);
	}
	return fd;
}

static int add_rule(int ruleset, long abi, const struct sandbox_rule *rule)
{
	struct path_attributes attributes = {.allowed = rights_of(rule->right) & known_files(abi)};
	struct stat status;
	int result = 0, fd = open(rule->path, O_PATH | O_CLOEXEC);

	if (fd < 0 && rule->right == SANDBOX_READ)
		fd = open_above(rule->path);
	/* What this user can't even reach needs no rule. Too many open files are another matter. */
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
	if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode))
		attributes.allowed &= RIGHT_READ_FILE | RIGHT_WRITE_FILE | RIGHT_TRUNCATE;
	attributes.folder = fd;
	if (attributes.allowed &&
		syscall(SYS_landlock_add_rule, ruleset, RULE_PATH, &attributes, 0u) < 0)
		result = -errno;
	close(fd);
	return result;
}

static int refuse(int result, struct error *error)
{
	return error_set(error, result,
		"see what keeps this process from it (a container's settings, a security module)",
		"cannot shut itself off from the files that are not its own (Landlock): %s",
		strerror(-result));
}

int sandbox_files(const struct sandbox_rules *rules, int *ret_abi, struct error *error)
{
	struct ruleset_attributes attributes = {0};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, ASK_VERSION);
	size_t size = sizeof(attributes.files);
	int ruleset, result = 0;

	if (rules->no_memory)
		return error_no_memory(error);
	if (abi < 1) {
		*ret_abi = 0;
		return 0;
	}
	attributes.files = known_files(abi);
	if (abi >= 4) {
		attributes.net = RIGHT_BIND_TCP;
		size += sizeof(attributes.net);
	}
	if (abi >= 6) {
		attributes.scopes =
			SCOPE_SIGNALS | (rules->abstract_sockets ? 0 : SCOPE_ABSTRACT_SOCKETS);
		size += sizeof(attributes.scopes);
	}
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0u);
	if (ruleset < 0)
		return refuse(-errno, error);
	for (size_t i = 0; result == 0 && i < rules->count; i++)
		result = add_rule(ruleset, abi, &rules->list[i]);
	if (result == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
				   syscall(SYS_landlock_restrict_self, ruleset, 0u) < 0))
		result = -errno;
	close(ruleset);
	if (result < 0)
		return refuse(result, error);
	*ret_abi = (int)abi;
	return 0;
}
