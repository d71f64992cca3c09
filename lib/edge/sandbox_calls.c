/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sandbox.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Calls have numbers in the order in which the kernel got them, for years some ten a year. */
enum { CALL_NUMBERS = 1024, NEWER_CALLS = 128 };

/* Below the size from which malloc() would map a block of its own, which does not stay. */
enum { RESERVE_BLOCKS = 24, RESERVE_SIZE = 64 * 1024 };

/*
 * By name, so that what an architecture does not have, or libseccomp does not know, is left out.
 * The 32-bit forms of a call stand beside it: which of them glibc takes depends on the
 * architecture.
 */
static const char *const allowed[] = {
	/* Files: config, state, resolv.conf. Which may be opened is Landlock's matter. */
	"open openat close read write pread64 pwrite64 readv writev lseek _llseek fstat fstat64 "
	"stat stat64 lstat lstat64 fstatat64 newfstatat statx fstatfs fstatfs64 statfs statfs64 "
	"access faccessat faccessat2 getdents getdents64 readlink readlinkat getcwd fcntl fcntl64 "
	"flock dup dup2 dup3 fadvise64 fadvise64_64 arm_fadvise64_64",
	/* State is replaced by a new file; journals grow and are cut; the control socket is made.
	 */
	"fsync fdatasync ftruncate ftruncate64 rename renameat renameat2 unlink unlinkat mkdir "
	"mkdirat chmod fchmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchown fchown32 "
	"fchownat umask",
	/* DNS, netlink, the control socket, the supervisor, the helper process. */
	"bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt send "
	"sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 shutdown "
	"socketpair pipe pipe2",
	/* The loop. */
	"epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll "
	"ppoll_time64 select _newselect pselect6 pselect6_time64 timerfd_create timerfd_settime "
	"timerfd_settime64 timerfd_gettime timerfd_gettime64 eventfd eventfd2 signalfd signalfd4 "
	"inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
	/* Time, which the vdso does not always know by itself. */
	"clock_gettime clock_gettime64 clock_getres clock_getres_time64 gettimeofday time "
	"nanosleep clock_nanosleep clock_nanosleep_time64",
	/* Memory, and for the copy of a database (geo.h); for mmap and mprotect see below. */
	"brk munmap mremap madvise membarrier memfd_create",
	/* Threads: what glibc does to start and end one; for clone see below. */
	"futex futex_time64 futex_waitv set_robust_list get_robust_list rseq set_tid_address "
	"gettid sched_yield sched_getaffinity exit exit_group restart_syscall",
	/* Signals that come; for those to ourselves see below. */
	"rt_sigaction rt_sigprocmask rt_sigpending rt_sigreturn sigreturn sigaction sigprocmask "
	"sigaltstack",
	/* Who we are, and what has become of the helper process. */
	"getpid getppid getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 "
	"getresuid getresuid32 getresgid getresgid32 getgroups getgroups32 wait4 waitid waitpid",
	/* Of the machine; for prlimit64 see below. */
	"getrlimit ugetrlimit getrusage sysinfo uname getrandom getcpu",
};

/* One comparison of one argument; a call with several of them passes if it fits one. */
struct argument_rule {
	const char *name;
	unsigned argument;
	enum scmp_compare compare;
	uint64_t a, b;
};

static const struct argument_rule argument_rules[] = {
	{"socket", 0, SCMP_CMP_EQ, AF_UNIX, 0},
	{"socket", 0, SCMP_CMP_EQ, AF_INET, 0},
	{"socket", 0, SCMP_CMP_EQ, AF_INET6, 0},
	{"socket", 0, SCMP_CMP_EQ, AF_NETLINK, 0},
	/* No new code. */
	{"mmap", 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0},
	{"mmap2", 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0},
	{"mprotect", 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0},
	/* Threads, no processes. */
	{"clone", 0, SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_NEWUSER | CLONE_NEWNS, CLONE_THREAD},
	/* A terminal is asked whether it is one, an interface for its name. */
	{"ioctl", 1, SCMP_CMP_EQ, TCGETS, 0},
	{"ioctl", 1, SCMP_CMP_EQ, 0x802c542a /* TCGETS2 */, 0},
	{"ioctl", 1, SCMP_CMP_EQ, FIONREAD, 0},
	{"ioctl", 1, SCMP_CMP_EQ, FIONBIO, 0},
	{"ioctl", 1, SCMP_CMP_EQ, 0x8910 /* SIOCGIFNAME */, 0},
	{"ioctl", 1, SCMP_CMP_EQ, 0x8933 /* SIOCGIFINDEX */, 0},
	/* A thread gives itself a name; glibc names its memory. */
	{"prctl", 0, SCMP_CMP_EQ, PR_SET_NAME, 0},
	{"prctl", 0, SCMP_CMP_EQ, PR_GET_NAME, 0},
	{"prctl", 0, SCMP_CMP_EQ, 0x53564d41 /* PR_SET_VMA */, 0},
	/* Limits are read, not set. */
	{"prlimit64", 2, SCMP_CMP_EQ, 0, 0},
};

enum {
	ALLOWED = sizeof(allowed) / sizeof(allowed[0]),
	ARGUMENT_RULES = sizeof(argument_rules) / sizeof(argument_rules[0]),
};

bool sandbox_is_instrumented(void)
{
#if SANITIZED
	return true;
#else
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "vgpreload_");
#endif
}

static int add_words(scmp_filter_ctx filter, const char *words)
{
	int result = 0;

	while (result == 0 && *words) {
		size_t length = strcspn(words, " ");
		char name[32];
		int call;

		snprintf(name, sizeof(name), "%.*s", (int)length, words);
		call = seccomp_syscall_resolve_name(name);
		if (call != __NR_SCMP_ERROR)
			result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
		/* Two names of one call. */
		if (result == -EEXIST)
			result = 0;
		words += length + strspn(words + length, " ");
	}
	return result;
}

static int add_allowed(scmp_filter_ctx filter)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < ALLOWED; i++)
		result = add_words(filter, allowed[i]);
	return result;
}

/* The flags of clone3 lie in memory, where a filter can't look; glibc takes clone then. */
static int refuse_clone3(scmp_filter_ctx filter)
{
	int call = seccomp_syscall_resolve_name("clone3");

	return call == __NR_SCMP_ERROR ? 0
				       : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);
}

static int add_argument_rules(scmp_filter_ctx filter)
{
	for (size_t i = 0; i < ARGUMENT_RULES; i++) {
		const struct argument_rule *rule = &argument_rules[i];
		struct scmp_arg_cmp compare = {rule->argument, rule->compare, rule->a, rule->b};
		int call = seccomp_syscall_resolve_name(rule->name);
		int result = call == __NR_SCMP_ERROR ? 0
						     : seccomp_rule_add_array(filter,
							       SCMP_ACT_ALLOW, call, 1, &compare);

		if (result < 0 && result != -EEXIST)
			return result;
	}
	return 0;
}

/* Raising and aborting, but nobody else. */
static int add_own_signals(scmp_filter_ctx filter)
{
	struct scmp_arg_cmp own = {0, SCMP_CMP_EQ, (uint64_t)getpid(), 0};

	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &own);
}

/* A newer glibc tries what this filter has never heard of, and takes an older call when there is no
 * such one. */
static int add_unknown(scmp_filter_ctx filter)
{
	int first = 0, result = 0;

	for (int call = 0; call < CALL_NUMBERS; call++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);

		if (name)
			first = call + 1;
		free(name);
	}
	for (int call = first; result == 0 && call < first + NEWER_CALLS; call++)
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);
	return result;
}

/*
 * libseccomp 2.5 does not survive without memory: it leaves a rule out, or frees twice. So the heap
 * gets what it needs first. Returns the block behind it, which keeps the heap from being given
 * back; NULL: there is not so much.
 */
static void *reserve_memory(void)
{
	void *blocks[RESERVE_BLOCKS];
	void *last = NULL;
	size_t count = 0;

	while (count < RESERVE_BLOCKS && (blocks[count] = malloc(RESERVE_SIZE)))
		count++;
	if (count == RESERVE_BLOCKS)
		last = malloc(RESERVE_SIZE);
	while (count > 0)
		free(blocks[--count]);
	return last;
}

static int load(void)
{
	void *reserved = reserve_memory();
	scmp_filter_ctx filter = reserved ? seccomp_init(SCMP_ACT_KILL_PROCESS) : NULL;
	int result;

	if (!filter) {
		free(reserved);
		return -ENOMEM;
	}
	/* no_new_privs is the caller's; a tree of comparisons instead of a list. */
	seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
	result = add_allowed(filter);
	if (result == 0)
		result = refuse_clone3(filter);
	if (result == 0)
		result = add_argument_rules(filter);
	if (result == 0)
		result = add_own_signals(filter);
	if (result == 0)
		result = add_unknown(filter);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	free(reserved);
	return result;
}

int sandbox_calls(bool *ret_on, struct error *error)
{
	int result;

	*ret_on = false;
	if (sandbox_is_instrumented() || (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 && errno == EINVAL))
		return 0;
	result = load();
	if (result < 0)
		return error_set(error, result,
			"see what keeps this process from it (a container's settings, the kernel's "
			"CONFIG_SECCOMP_FILTER)",
			"cannot shut itself off from the system calls that it does not need "
			"(seccomp): %s",
			strerror(-result));
	*ret_on = true;
	return 0;
}
