/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process may still do to its machine once it works: files only below some folders
 * (Landlock), and only the system calls that it needs (seccomp). For good, and for every thread
 * that it starts later; call it while there is but one.
 *
 * Rules are for folders and all that is below them: a file that is replaced by another one of the
 * same name has the same rights.
 */
#ifndef SIPFENCE_SANDBOX_H
#define SIPFENCE_SANDBOX_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

enum sandbox_right {
	SANDBOX_READ,	/* files, and lists of what is there */
	SANDBOX_WRITE,	/* that, and to write, make, rename and remove files and sockets */
	SANDBOX_REMOVE, /* only to remove files */
};

struct sandbox_rule {
	char *path;
	enum sandbox_right right;
};

/* A zeroed struct is an empty one. */
struct sandbox_rules {
	struct sandbox_rule *list;
	size_t count;
	bool no_memory;	       /* a rule is missing */
	bool abstract_sockets; /* of other programs may be talked to: the supervisor has one */
};

/*
 * `path` is a folder, or a device. What is not there can't be ruled on: where it is to be read, the
 * nearest folder above it that is there is taken instead, unless it is "/".
 */
void sandbox_allow(struct sandbox_rules *rules, const char *path, enum sandbox_right right);
/* The folder in which the file is, or would be: all symbolic links are followed, also to a file
 * that does not exist yet. */
void sandbox_allow_file(struct sandbox_rules *rules, const char *path, enum sandbox_right right);
void sandbox_rules_clear(struct sandbox_rules *rules);

/*
 * *ret_abi: the version of Landlock that is in force; 0: this kernel has none, or it is switched
 * off. No error then: it is one wall of several. Negative: something that should have worked.
 */
int sandbox_files(const struct sandbox_rules *rules, int *ret_abi, struct error *error);

/* Somebody else makes system calls in this process's name: sanitizers (known at compile time), and
 * valgrind (known by what it puts into LD_PRELOAD). */
bool sandbox_is_instrumented(void);

/*
 * From here on a system call that is not needed ends the process. *ret_on is false where the kernel
 * has no seccomp, and where the process is instrumented.
 */
int sandbox_calls(bool *ret_on, struct error *error);

#endif
