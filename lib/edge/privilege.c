/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "privilege.h"
#include "config.h"

#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { DESCRIPTORS = 65536, LOOKUP_SIZE = 16384 };

void privilege_open_streams(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		/* The lowest free number is taken. */
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", O_RDWR);
	}
}

void privilege_begin(void)
{
	umask(0077);
	privilege_open_streams();
	if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0)
		return;
	for (int fd = 3; fd < DESCRIPTORS; fd++)
		close(fd);
}

/* --- Whom --- */

/* By `name`, or (NULL) by user->uid. A system user stands in that file, and it can be read before
 * there is a network to ask. */
static bool find_local(const char *name, struct privilege_user *user)
{
	FILE *file = fopen("/etc/passwd", "re");
	struct passwd *entry;
	bool found = false;

	while (file && !found && (entry = fgetpwent(file))) {
		found = name ? strcmp(entry->pw_name, name) == 0 : entry->pw_uid == user->uid;
		if (!found)
			continue;
		user->uid = entry->pw_uid;
		user->gid = entry->pw_gid;
		snprintf(user->name, sizeof(user->name), "%s", entry->pw_name);
	}
	if (file)
		fclose(file);
	return found;
}

static bool find_anywhere(const char *name, struct privilege_user *user)
{
	char buffer[LOOKUP_SIZE];
	struct passwd entry, *found = NULL;

	if (find_local(name, user))
		return true;
	if (getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) != 0 || !found)
		return false;
	user->uid = found->pw_uid;
	user->gid = found->pw_gid;
	snprintf(user->name, sizeof(user->name), "%s", name);
	return true;
}

/* /proc/self/uid_map: "inside outside count". Without that file there is but one namespace. */
static bool is_mapped(const char *path, unsigned long id)
{
	FILE *file = fopen(path, "re");
	bool mapped = !file;
	char line[128];

	while (file && !mapped && fgets(line, sizeof(line), file)) {
		char *at = line;
		unsigned long first = strtoul(at, &at, 10), count;

		strtoul(at, &at, 10);
		count = strtoul(at, &at, 10);
		mapped = id >= first && id - first < count;
	}
	if (file)
		fclose(file);
	return mapped;
}

static bool may_set_groups(void)
{
	FILE *file = fopen("/proc/self/setgroups", "re");
	char word[16] = "allow";

	if (file) {
		(void)!fgets(word, sizeof(word), file);
		fclose(file);
	}
	return strncmp(word, "deny", 4) != 0;
}

static bool may_become(const struct privilege_user *user)
{
	if (capng_get_caps_process() < 0)
		return false;
	return capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID) && may_set_groups() &&
	       is_mapped("/proc/self/uid_map", user->uid) &&
	       is_mapped("/proc/self/gid_map", user->gid);
}

static struct privilege_user stay(void)
{
	struct privilege_user user = {.uid = geteuid()};

	if (!find_local(NULL, &user))
		snprintf(user.name, sizeof(user.name), "%lu", (unsigned long)user.uid);
	user.gid = getegid();
	return user;
}

int privilege_find(const char *name, struct privilege_user *ret_user, struct error *error)
{
	struct privilege_user user = {0};
	bool found = name ? find_anywhere(name, &user) : find_local(CONFIG_DEFAULT_USER, &user);

	if (!found && name)
		return error_set(error, -ENOENT,
			"make that user (" PRIVILEGE_MAKE_USER
			"NAME), or correct `user` in the config",
			"there is no user %s, whom the config names", name);
	if (found && (user.uid == geteuid() || may_become(&user))) {
		user.change = user.uid != geteuid();
		*ret_user = user;
		return 0;
	}
	if (name)
		return error_set(error, -EPERM,
			"start it as root or as that user (systemd: User=), or leave `user` out",
			"cannot become user %s, whom the config names: this process may not change "
			"users",
			name);
	*ret_user = stay();
	ret_user->missing = ret_user->uid == 0;
	return 0;
}

void privilege_find_owner(const char *folder, struct privilege_user *ret_user)
{
	struct privilege_user user = {0};
	struct stat status;

	*ret_user = stay();
	if (stat(folder, &status) < 0)
		return;
	user.uid = status.st_uid;
	user.gid = status.st_gid;
	if (user.uid == geteuid() || !may_become(&user))
		return;
	user.change = true;
	if (!find_local(NULL, &user))
		snprintf(user.name, sizeof(user.name), "%lu", (unsigned long)user.uid);
	*ret_user = user;
}

/* --- Folders --- */

/* Nobody else has had a hand in it: what belongs to a stranger, or has a second name somewhere,
 * would be given away. */
static bool is_ours(const struct stat *status, const struct privilege_user *user)
{
	bool owner =
		status->st_uid == 0 || status->st_uid == user->uid || status->st_uid == geteuid();

	return owner && (S_ISDIR(status->st_mode) || status->st_nlink == 1);
}

/* By the name in the folder that is open: what stands there afterwards may be another thing, but
 * then it is one that the kernel gave us this descriptor of. */
/* "state", "state.journal", "history.3", …: nothing else is sipfence's, wherever it lies. */
static bool is_our_name(const char *name)
{
	static const char *const names[] = {"state", "history", "config", "lock", "control"};
	const char *dot = strrchr(name, '.');

	if (dot && strcmp(dot, ".pid") == 0)
		return true;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t length = strlen(names[i]);

		if (strncmp(name, names[i], length) == 0 &&
			(name[length] == '\0' || name[length] == '.'))
			return true;
	}
	return false;
}

/* True when the folder holds something else, so that it was not made for us. */
static bool has_foreign(DIR *folder)
{
	struct dirent *entry;
	bool foreign = false;

	while (!foreign && (entry = readdir(folder)))
		foreign = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			  !is_our_name(entry->d_name);
	rewinddir(folder);
	return foreign;
}

static void take_entry(int folder, const char *name, const struct privilege_user *user)
{
	int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && is_ours(&status, user) &&
		(S_ISREG(status.st_mode) || S_ISSOCK(status.st_mode)))
		(void)!fchownat(fd, "", user->uid, user->gid, AT_EMPTY_PATH);
	close(fd);
}

static int take_all(DIR *folder, const struct stat *status, const char *path,
	const struct privilege_user *user, struct error *error)
{
	int fd = dirfd(folder), number;
	struct dirent *entry;

	if (status->st_uid != user->uid && has_foreign(folder))
		return error_set(error, -EPERM,
			"name a folder that is sipfence's alone (--state-dir, --run-dir), or give it to "
			"that user by hand (chown)",
			"the folder %s holds files that are not sipfence's: it is not given to user %s",
			path, user->name);
	if ((status->st_uid != user->uid || status->st_gid != user->gid) &&
		fchown(fd, user->uid, user->gid) < 0) {
		number = errno;
		return error_set(error, -number, "give it to that user (chown -R)",
			"cannot give the folder %s to user %s: %s", path, user->name,
			strerror(number));
	}
	while ((entry = readdir(folder))) {
		if (is_our_name(entry->d_name))
			take_entry(fd, entry->d_name, user);
	}
	return 0;
}

int privilege_take_folder(const char *path, const struct privilege_user *user, struct error *error)
{
	struct stat status;
	int fd, number, result;
	DIR *folder;

	/* Without a change of user and as no root it is the folder's modes that decide. */
	if (!user->change && user->uid != 0)
		return 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0) {
		number = errno;
		if (fd >= 0)
			close(fd);
		return error_set(error, -number, "see what is there (ls -ld)",
			"cannot open the folder %s: %s", path, strerror(number));
	}
	if (!is_ours(&status, user)) {
		close(fd);
		return error_set(error, -EPERM,
			"name its owner in the config (user: NAME), or give it to the right one "
			"(chown -R), or name another folder (--state-dir, --run-dir)",
			"the folder %s belongs to user number %lu, but the config is for %s", path,
			(unsigned long)status.st_uid, user->name);
	}
	folder = fdopendir(fd);
	if (!folder) {
		close(fd);
		return error_no_memory(error);
	}
	result = user->change ? take_all(folder, &status, path, user, error) : 0;
	closedir(folder);
	return result;
}

/* --- The drop --- */

static int refuse(struct error *error, const char *what)
{
	int number = errno ? errno : EPERM;

	return error_set(error, -number,
		"see what keeps this process from it (a container's settings, a security module)",
		"cannot give up privileges: %s: %s", what, strerror(number));
}

static int change_user(const struct privilege_user *user, struct error *error)
{
	errno = 0;
	/* Without it the change of user would take CAP_NET_ADMIN along. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return refuse(error, "keeping CAP_NET_ADMIN");
	if (setgroups(0, NULL) < 0)
		return refuse(error, "leaving the groups");
	if (setresgid(user->gid, user->gid, user->gid) < 0)
		return refuse(error, "changing the group");
	if (setresuid(user->uid, user->uid, user->uid) < 0)
		return refuse(error, "changing the user");
	return 0;
}

static int reduce_capabilities(bool net_admin, struct error *error)
{
	capng_clear(CAPNG_SELECT_CAPS);
	if (net_admin)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN);
	errno = 0;
	/* A unit may leave nothing to drop but the inheritable set, and forbid the call. */
	if (capng_apply(CAPNG_SELECT_CAPS) != 0 && errno != EPERM)
		return refuse(error, "capset");
	/* Where the inheritable set is empty, so is this; but for what a kernel may think of. */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return refuse(error, "no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return refuse(error, "core dumps");
	return 0;
}

static bool has_other_than_net_admin(capng_type_t set)
{
	for (unsigned capability = 0; capability <= CAP_LAST_CAP; capability++) {
		if (capability != CAP_NET_ADMIN && capng_have_capability(set, capability))
			return true;
	}
	return false;
}

/* What should have happened is not taken for granted. */
static int check(const struct privilege_user *user, bool net_admin, struct error *error)
{
	uid_t real, effective, saved;
	gid_t real_group, effective_group, saved_group;

	errno = 0;
	if (user->change &&
		(getresuid(&real, &effective, &saved) < 0 ||
			getresgid(&real_group, &effective_group, &saved_group) < 0 ||
			real != user->uid || effective != user->uid || saved != user->uid ||
			real_group != user->gid || effective_group != user->gid ||
			saved_group != user->gid || getgroups(0, NULL) != 0))
		return refuse(error, "the user is another one than was asked for");
	errno = 0;
	if (user->change && user->uid != 0 && setuid(0) == 0)
		return refuse(error, "root could be had again");
	if (capng_get_caps_process() < 0)
		return refuse(error, "capget");
	errno = 0;
	if (has_other_than_net_admin(CAPNG_EFFECTIVE) ||
		has_other_than_net_admin(CAPNG_PERMITTED) ||
		has_other_than_net_admin(CAPNG_INHERITABLE) ||
		capng_have_capabilities(CAPNG_SELECT_AMBIENT) != CAPNG_NONE ||
		(net_admin && !capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN)))
		return refuse(error, "capabilities are others than was asked for");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return refuse(error, "no_new_privs is not set");
	return 0;
}

int privilege_drop(const struct privilege_user *user, struct error *error)
{
	bool net_admin, groups;
	int result = 0;

	if (capng_get_caps_process() < 0)
		return refuse(error, "capget");
	groups = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID);
	net_admin = capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN);
	/* While CAP_SETPCAP is there. */
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP)) {
		capng_clear(CAPNG_SELECT_BOUNDS);
		errno = 0;
		if (capng_apply(CAPNG_SELECT_BOUNDS) != 0)
			return refuse(error, "emptying the bounding set");
	}
	if (user->change)
		result = change_user(user, error);
	else if (groups)
		setgroups(0, NULL); /* in some user namespaces it can't be done */
	if (result == 0)
		result = reduce_capabilities(net_admin, error);
	if (result == 0)
		result = check(user, net_admin, error);
	return result;
}
