/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linked into sipfence-faulty, a sipfence that test_fault_loops.py can have fail: these functions
 * stand before the C library's (and before the sanitizer's, which are weak), for our own code and
 * for the libraries alike. What the C library calls inside itself passes them by.
 *
 * SIPFENCE_FAULT_PAGE names a file of a struct page, which the test writes and reads while the
 * program runs: from the nth call of that kind on, so many calls fail with that error, and are not
 * made. nth is 0: they are only counted. SIPFENCE_FAULT_TRACE=1 shows where a call failed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

/* As in test_fault_loops.py. */
struct page {
	char kind[24];
	uint64_t nth, times, error;
	uint64_t seen, failed;
	uint64_t caller; /* of the first that failed, from the program's start */
};

static struct page *page;
static bool trace;

extern char __executable_start, etext;
void __sanitizer_print_stack_trace(void) __attribute__((weak));

/* libseccomp 2.5.4 does not survive it; the program reserves memory for it. */
struct spared {
	uintptr_t first, last;
};

static struct spared spared;

static int find_spared(struct dl_phdr_info *library, size_t size, void *context)
{
	(void)size;
	(void)context;
	if (!strstr(library->dlpi_name, "libseccomp"))
		return 0;
	for (size_t i = 0; i < library->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &library->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
			spared.first = library->dlpi_addr + part->p_vaddr;
			spared.last = spared.first + part->p_memsz;
		}
	}
	return 1;
}

static bool is_spared(const void *caller)
{
	return (uintptr_t)caller >= spared.first && (uintptr_t)caller < spared.last;
}

static bool is_ours(const void *caller)
{
	return (const char *)caller >= &__executable_start && (const char *)caller < &etext;
}

__attribute__((constructor)) static void map_page(void)
{
	const char *path = getenv("SIPFENCE_FAULT_PAGE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *memory = MAP_FAILED;

	trace = getenv("SIPFENCE_FAULT_TRACE");
	if (fd >= 0)
		memory = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (path && memory == MAP_FAILED) {
		perror("SIPFENCE_FAULT_PAGE");
		_exit(EXIT_FAILURE);
	}
	if (fd >= 0)
		close(fd);
	dl_iterate_phdr(find_spared, NULL);
	if (memory != MAP_FAILED)
		page = memory;
}

static bool fails(const char *kind, const void *caller)
{
	uint64_t seen, nth;

	if (!page || strcmp(page->kind, kind) != 0 || is_spared(caller))
		return false;
	seen = __atomic_add_fetch(&page->seen, 1, __ATOMIC_SEQ_CST);
	nth = __atomic_load_n(&page->nth, __ATOMIC_SEQ_CST);
	if (nth == 0 || seen < nth || seen - nth >= page->times)
		return false;
	if (__atomic_fetch_add(&page->failed, 1, __ATOMIC_SEQ_CST) == 0)
		page->caller = (uint64_t)((const char *)caller - &__executable_start);
	if (trace && __sanitizer_print_stack_trace)
		__sanitizer_print_stack_trace();
	errno = (int)page->error;
	return true;
}

/*
 * type symbol(parameters), with the name that the linker knows: headers call some of them by
 * others. The real one is the sanitizer's where there is one, and else the C library's.
 */
#define CALL(kind, type, symbol, parameters, arguments, outcome)                                   \
	type faulty_##symbol parameters __asm__(#symbol);                                          \
	type sanitized_##symbol parameters __asm__("__interceptor_" #symbol)                       \
		__attribute__((weak));                                                             \
	type faulty_##symbol parameters                                                            \
	{                                                                                          \
		static type(*real) parameters;                                                     \
                                                                                                   \
		if (fails(kind, __builtin_return_address(0)))                                      \
			return outcome;                                                            \
		if (!real)                                                                         \
			real = sanitized_##symbol;                                                 \
		if (!real)                                                                         \
			*(void **)&real = dlsym(RTLD_NEXT, #symbol);                               \
		return real arguments;                                                             \
	}

/* --- Memory. dlsym() needs some itself. --- */

#define ALLOCATION(symbol, parameters, arguments, otherwise)                                       \
	void *faulty_##symbol parameters __asm__(#symbol);                                         \
	void *sanitized_##symbol parameters __asm__("__interceptor_" #symbol)                      \
		__attribute__((weak));                                                             \
	void *faulty_##symbol parameters                                                           \
	{                                                                                          \
		const void *caller = __builtin_return_address(0);                                  \
                                                                                                   \
		if (fails(is_ours(caller) ? "own-allocation" : "library-allocation", caller))      \
			return NULL;                                                               \
		return sanitized_##symbol ? sanitized_##symbol arguments : otherwise;              \
	}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

static void *grow(void *memory, size_t count, size_t size)
{
	size_t whole;

	if (!__builtin_mul_overflow(count, size, &whole))
		return __libc_realloc(memory, whole);
	errno = ENOMEM;
	return NULL;
}

static void *copy(const char *string, size_t length)
{
	char *memory = __libc_malloc(length + 1);

	if (!memory)
		return NULL;
	memcpy(memory, string, length);
	memory[length] = '\0';
	return memory;
}

ALLOCATION(malloc, (size_t size), (size), __libc_malloc(size))
ALLOCATION(calloc, (size_t count, size_t size), (count, size), __libc_calloc(count, size))
ALLOCATION(realloc, (void *memory, size_t size), (memory, size), __libc_realloc(memory, size))
ALLOCATION(reallocarray, (void *memory, size_t count, size_t size), (memory, count, size),
	grow(memory, count, size))
ALLOCATION(strdup, (const char *string), (string), copy(string, strlen(string)))
ALLOCATION(strndup, (const char *string, size_t most), (string, most),
	copy(string, strnlen(string, most)))

/* --- Files --- */

CALL("open", int, open, (const char *path, int flags, mode_t mode), (path, flags, mode), -1)
CALL("open", int, open64, (const char *path, int flags, mode_t mode), (path, flags, mode), -1)
CALL("open", int, openat, (int folder, const char *path, int flags, mode_t mode),
	(folder, path, flags, mode), -1)
CALL("open", int, openat64, (int folder, const char *path, int flags, mode_t mode),
	(folder, path, flags, mode), -1)
CALL("open", FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
CALL("open", FILE *, fopen64, (const char *path, const char *mode), (path, mode), NULL)
CALL("read", ssize_t, read, (int fd, void *data, size_t size), (fd, data, size), -1)
CALL("read", ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at), -1)
CALL("read", ssize_t, pread64, (int fd, void *data, size_t size, off_t at), (fd, data, size, at),
	-1)
CALL("write", ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), -1)
CALL("write", ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at),
	(fd, data, size, at), -1)
CALL("write", ssize_t, pwrite64, (int fd, const void *data, size_t size, off_t at),
	(fd, data, size, at), -1)
CALL("write", ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count),
	-1)
CALL("fsync", int, fsync, (int fd), (fd), -1)
CALL("fsync", int, fdatasync, (int fd), (fd), -1)
CALL("rename", int, rename, (const char *from, const char *to), (from, to), -1)
CALL("rename", int, renameat, (int from_folder, const char *from, int to_folder, const char *to),
	(from_folder, from, to_folder, to), -1)
CALL("file", int, unlink, (const char *path), (path), -1)
CALL("file", int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), -1)
CALL("file", int, mkdir, (const char *path, mode_t mode), (path, mode), -1)
CALL("file", int, chmod, (const char *path, mode_t mode), (path, mode), -1)
CALL("file", int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
CALL("file", int, chown, (const char *path, uid_t user, gid_t group), (path, user, group), -1)
CALL("file", int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group), -1)
CALL("file", int, lchown, (const char *path, uid_t user, gid_t group), (path, user, group), -1)
CALL("file", int, ftruncate, (int fd, off_t size), (fd, size), -1)
CALL("file", int, ftruncate64, (int fd, off_t size), (fd, size), -1)
CALL("file", int, flock, (int fd, int operation), (fd, operation), -1)
CALL("file", int, access, (const char *path, int mode), (path, mode), -1)
CALL("file", int, stat, (const char *path, struct stat *status), (path, status), -1)
CALL("file", int, stat64, (const char *path, struct stat *status), (path, status), -1)
CALL("file", int, lstat, (const char *path, struct stat *status), (path, status), -1)
CALL("file", int, lstat64, (const char *path, struct stat *status), (path, status), -1)
CALL("file", int, fstat, (int fd, struct stat *status), (fd, status), -1)
CALL("file", int, fstat64, (int fd, struct stat *status), (fd, status), -1)
CALL("file", int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask),
	-1)

/* --- Sockets and other descriptors --- */

CALL("descriptor", int, socket, (int family, int type, int protocol), (family, type, protocol), -1)
CALL("descriptor", int, socketpair, (int family, int type, int protocol, int *ends),
	(family, type, protocol, ends), -1)
CALL("descriptor", int, accept4, (int fd, struct sockaddr *from, socklen_t *size, int flags),
	(fd, from, size, flags), -1)
CALL("descriptor", int, epoll_create1, (int flags), (flags), -1)
CALL("descriptor", int, eventfd, (unsigned value, int flags), (value, flags), -1)
CALL("descriptor", int, signalfd, (int fd, const sigset_t *signals, int flags),
	(fd, signals, flags), -1)
CALL("descriptor", int, timerfd_create, (int clock, int flags), (clock, flags), -1)
CALL("descriptor", int, inotify_init1, (int flags), (flags), -1)
CALL("descriptor", int, pipe2, (int *ends, int flags), (ends, flags), -1)
CALL("descriptor", int, dup, (int fd), (fd), -1)
CALL("descriptor", int, dup2, (int fd, int to), (fd, to), -1)
CALL("descriptor", int, dup3, (int fd, int to, int flags), (fd, to, flags), -1)
CALL("bind", int, bind, (int fd, const struct sockaddr *address, socklen_t size),
	(fd, address, size), -1)
CALL("bind", int, connect, (int fd, const struct sockaddr *address, socklen_t size),
	(fd, address, size), -1)
CALL("bind", int, listen, (int fd, int queue), (fd, queue), -1)
CALL("bind", int, getsockname, (int fd, struct sockaddr *address, socklen_t *size),
	(fd, address, size), -1)
CALL("bind", int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
	(fd, level, name, value, size), -1)
CALL("bind", int, getsockopt, (int fd, int level, int name, void *value, socklen_t *size),
	(fd, level, name, value, size), -1)
CALL("send", ssize_t, send, (int fd, const void *data, size_t size, int flags),
	(fd, data, size, flags), -1)
CALL("send", ssize_t, sendto,
	(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
		socklen_t to_size),
	(fd, data, size, flags, to, to_size), -1)
CALL("send", ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags),
	(fd, message, flags), -1)
CALL("send", int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned count, int flags),
	(fd, messages, count, flags), -1)
CALL("receive", ssize_t, recv, (int fd, void *data, size_t size, int flags),
	(fd, data, size, flags), -1)
CALL("receive", ssize_t, recvfrom,
	(int fd, void *data, size_t size, int flags, struct sockaddr *from, socklen_t *from_size),
	(fd, data, size, flags, from, from_size), -1)
CALL("receive", ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags),
	-1)

/* --- Waiting, processes, chance --- */

CALL("wait", int, poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout), -1)
CALL("wait", int, epoll_wait, (int fd, struct epoll_event *events, int most, int timeout),
	(fd, events, most, timeout), -1)
CALL("wait", int, epoll_ctl, (int fd, int operation, int watched, struct epoll_event *event),
	(fd, operation, watched, event), -1)
CALL("wait", int, timerfd_settime,
	(int fd, int flags, const struct itimerspec *when, struct itimerspec *before),
	(fd, flags, when, before), -1)
CALL("process", pid_t, fork, (void), (), -1)
CALL("process", int, pthread_create,
	(pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *),
		void *argument),
	(thread, attributes, run, argument), errno)
CALL("random", ssize_t, getrandom, (void *data, size_t size, unsigned flags), (data, size, flags),
	-1)
