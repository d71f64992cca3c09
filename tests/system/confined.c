/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gives up privileges and shuts itself off as the daemon does, then tries one thing, and prints
 * `ok`, or the error's name.
 *
 *     confined files|calls USER CONFIG STATE RUN RESOLV ACTION [ARGUMENT]
 *
 * `files` leaves the filter of system calls out, so that what the rules for files do is seen alone.
 */
#include "confine.h"
#include "privilege.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int try_read(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 || read(fd, &byte, 1) < 0 ? -1 : 0;
}

/* Once there is something to read at standard input. */
static int try_read_later(const char *path)
{
	char byte;

	return read(STDIN_FILENO, &byte, 1) == 1 ? try_read(path) : -1;
}

static int try_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 || write(fd, "x", 1) < 0 ? -1 : 0;
}

static int try_list(const char *path)
{
	DIR *folder = opendir(path);

	return folder ? closedir(folder) : -1;
}

static int try_unlink(const char *path)
{
	return unlink(path);
}

static int try_mkdir(const char *path)
{
	return mkdir(path, 0700);
}

static int try_symlink(const char *path)
{
	return symlink("/etc/passwd", path);
}

static int try_chmod(const char *path)
{
	return chmod(path, 0666);
}

/* Below a folder of ours, from "a" to "b". */
static int try_rename(const char *path)
{
	char other[4096];

	snprintf(other, sizeof(other), "%s.moved", path);
	return rename(path, other);
}

static int try_exec(const char *path)
{
	return execl(path, path, (char *)NULL);
}

static int try_fork(const char *unused)
{
	pid_t pid = fork();

	(void)unused;
	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : (waitpid(pid, NULL, 0), 0);
}

static void *nothing(void *unused)
{
	return unused;
}

static int try_thread(const char *unused)
{
	pthread_t thread;
	int number = pthread_create(&thread, NULL, nothing, NULL);

	(void)unused;
	if (number == 0)
		pthread_setname_np(thread, "x");
	if (number == 0)
		number = pthread_join(thread, NULL);
	errno = number;
	return number ? -1 : 0;
}

/* FAMILY.TYPE, as numbers. */
static int try_socket(const char *what)
{
	int family = 0, type = 0;

	if (sscanf(what, "%d.%d", &family, &type) != 2)
		return -1;
	return socket(family, type, 0) < 0 ? -1 : 0;
}

static int try_bind(const char *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return bind(fd, (const struct sockaddr *)&address, sizeof(address));
}

static int try_connect(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (const struct sockaddr *)&address, sizeof(address));
}

static int try_abstract(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path + 1, name, length);
	return connect(fd, (const struct sockaddr *)&address,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

static int try_kill(const char *pid)
{
	return kill(atoi(pid), SIGUSR1);
}

static int try_signal_thread(const char *pid)
{
	return (int)syscall(SYS_tgkill, atoi(pid), atoi(pid), SIGUSR1);
}

static int try_raise(const char *unused)
{
	(void)unused;
	signal(SIGUSR1, SIG_IGN);
	return raise(SIGUSR1);
}

static int try_ptrace(const char *pid)
{
	return (int)ptrace(PTRACE_ATTACH, atoi(pid), NULL, NULL);
}

static int try_mount(const char *path)
{
	return mount("none", path, "tmpfs", 0, NULL);
}

static int try_unshare(const char *unused)
{
	(void)unused;
	return unshare(CLONE_NEWUSER);
}

static int try_code(const char *unused)
{
	void *memory = mmap(
		NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	return memory == MAP_FAILED ? -1 : 0;
}

static int try_protect(const char *unused)
{
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	return memory == MAP_FAILED ? -1 : mprotect(memory, 4096, PROT_READ | PROT_EXEC);
}

static int try_watch(const char *path)
{
	return inotify_add_watch(inotify_init1(IN_CLOEXEC), path, IN_CREATE) < 0 ? -1 : 0;
}

/* With no argument that could do harm. */
static int try_call(const char *number)
{
	return syscall(atoi(number), -1L, 0L, 0L, 0L, 0L, 0L) < 0 ? -1 : 0;
}

static int try_setuid(const char *uid)
{
	return setuid((uid_t)atoi(uid));
}

static const struct {
	const char *name;
	int (*run)(const char *argument);
} actions[] = {
	{"read", try_read},
	{"read-later", try_read_later},
	{"write", try_write},
	{"list", try_list},
	{"unlink", try_unlink},
	{"mkdir", try_mkdir},
	{"symlink", try_symlink},
	{"chmod", try_chmod},
	{"rename", try_rename},
	{"exec", try_exec},
	{"fork", try_fork},
	{"thread", try_thread},
	{"socket", try_socket},
	{"bind", try_bind},
	{"connect", try_connect},
	{"abstract", try_abstract},
	{"kill", try_kill},
	{"tgkill", try_signal_thread},
	{"raise", try_raise},
	{"ptrace", try_ptrace},
	{"mount", try_mount},
	{"unshare", try_unshare},
	{"code", try_code},
	{"protect", try_protect},
	{"watch", try_watch},
	{"call", try_call},
	{"setuid", try_setuid},
};

static int shut_off(char **argv)
{
	struct config config = {.path = argv[3]};
	struct confine_options options = {
		.config = &config,
		.config_path = argv[3],
		.state_dir = argv[4],
		.run_dir = argv[5],
		.resolv_conf = argv[6],
	};
	struct confinement confinement = {0};
	struct privilege_user user;
	struct error error = {0};

	privilege_begin();
	/* What valgrind does, and then there is no filter. */
	if (strcmp(argv[1], "files") == 0)
		setenv("LD_PRELOAD", "vgpreload_", 1);
	if (privilege_find(argv[2], &user, &error) < 0 ||
		privilege_take_folder(argv[4], &user, &error) < 0 ||
		privilege_take_folder(argv[5], &user, &error) < 0 ||
		privilege_drop(&user, &error) < 0 || confine(&options, &confinement, &error) < 0) {
		fprintf(stderr, "confined: %s\n", error.what);
		return 1;
	}
	fprintf(stderr, "landlock=%d seccomp=%d\n", confinement.landlock, confinement.seccomp);
	return 0;
}

int main(int argc, char **argv)
{
	const char *argument = argc > 8 ? argv[8] : "";

	if (argc < 8 || shut_off(argv) != 0)
		return 2;
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(actions[i].name, argv[7]) != 0)
			continue;
		puts(actions[i].run(argument) == 0 ? "ok" : strerrorname_np(errno));
		return 0;
	}
	return 2;
}
