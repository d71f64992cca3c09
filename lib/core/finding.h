/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is wrong on a machine: a list of findings, each with what it is, why it matters and the line
 * that mends it. Strings are copied; bytes of any kind may stand in them: whoever prints escapes.
 */
#ifndef SIPFENCE_FINDING_H
#define SIPFENCE_FINDING_H

#include "arena.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>

enum finding_level {
	FINDING_PROBLEM, /* to be mended */
	FINDING_NOTE,	 /* to be known; nothing is wrong with it as such */
};

enum { FINDINGS_OF_A_CHECK = 50 }; /* the rest is counted */

struct finding {
	enum finding_level level;
	const char *check; /* a word for programs: "listener", "name" */
	const char *what, *why;
	const char *change; /* the line to change, or the command; "": there is none */
	const char *place;  /* where that line goes: a file, maybe with :LINE; "": nowhere */
};

/* What could not be looked at. */
struct unchecked {
	const char *check, *why, *change;
};

struct findings {
	struct arena arena;
	struct finding *list; /* in the order in which they were added */
	size_t count, capacity;
	size_t problems; /* among them and those left off */
	size_t left_off; /* more than FINDINGS_OF_A_CHECK of one check and level */
	struct unchecked *unchecked;
	size_t unchecked_count, unchecked_capacity;
	bool failed; /* out of memory, sticky */
};

/* `what`, `change` and `place` are taken and cleared, to be filled again; NULL: empty. */
void findings_add(struct findings *findings, enum finding_level level, const char *check,
	struct text *what, const char *why, struct text *change, struct text *place);
/* The same of texts that are there. */
void findings_add_plain(struct findings *findings, enum finding_level level, const char *check,
	const char *what, const char *why, const char *change, const char *place);
void findings_skip(
	struct findings *findings, const char *check, const char *why, const char *change);
void findings_clear(struct findings *findings);

#endif
