/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One scenario file, run from its first line to its last; replay.c is the manual of the format. */
#ifndef SIPFENCE_TEST_SCENARIO_H
#define SIPFENCE_TEST_SCENARIO_H

#include "machine.h"
#include "nf_model.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORDS_MAX = 64 };

struct words {
	char *list[WORDS_MAX];
	size_t count;
	char *memory;
};

struct scenario {
	const char *path;
	struct text source;
	size_t at;     /* the next byte of it */
	unsigned line; /* of the command that runs */
	unsigned line_read;
	unsigned failed; /* expectations */
	struct words words;
	struct text block; /* the indented lines behind the command */
	struct text config;
	struct text kept; /* a copy of a file */

	struct machine machine;
	struct error error; /* of the last command; code 0: it was done */
	bool answered;	    /* an expectation has spoken of that error */
	uint64_t ticket;
	struct words delayed_damage;
	/* As of the last expectation of that kind. */
	uint64_t transactions, refusals, reads, saves, wakeups;
	uint64_t messages; /* to the kernel, as of the last one about batches */
};

/* False: it failed; what was wanted and what is was said on stdout. */
bool scenario_run(const char *path);

/* The words of a line; those in double quotes are one, without the quotes. */
bool words_split(const char *line, size_t length, struct words *ret_words);
void words_free(struct words *words);

/* "file:line: wanted …, but it is …" */
void scenario_fail(struct scenario *scenario, const char *wanted, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* "file:line: …": the scenario itself is wrong. */
void scenario_nonsense(struct scenario *scenario, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The word of that number; "" if there is none. */
const char *scenario_word(const struct scenario *scenario, size_t index);

/* scenario_expect.c: the line "expect …". */
void scenario_expect(struct scenario *scenario);

/* 90s, 2h30m, 500ms, 3d, 2y, each with a sign; in ms. */
bool scenario_duration(const char *text, int64_t *ret_ms);
/* "udp 5060" from words[index]; nothing there: udp 5060. Returns the number of words. */
size_t scenario_port(const struct scenario *scenario, size_t index, struct nf_packet *packet);
bool scenario_addr(const char *text, struct addr *ret_addr);
struct nf_set *scenario_set(const char *name); /* of any table; NULL */

#endif
