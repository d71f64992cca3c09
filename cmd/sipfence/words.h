/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon's answers say of names, in words. Times are the reader's local ones. */
#ifndef SIPFENCE_WORDS_H
#define SIPFENCE_WORDS_H

#include "text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* "12 s", "5 min", "3 h", "2 d": the largest unit that fits, rounded down. */
void words_duration(int64_t seconds, struct text *text);
/* "2026-11-22 16:31:00 CET"; "an unknown time" for 0. */
void words_time(int64_t wall, struct text *text);

/* "extension 21, peer voipco" of {"owners":[…]}, or "extension 21" of one owner. */
void words_owners(const json_t *name, struct text *text);
void words_owner(const json_t *owner, struct text *text);
/* The strings of a list with commas between them. */
void words_list(const json_t *list, struct text *text);

/* `name` is an item of "names" or of "srv" (sipfence(8), JSON). Its addresses of both families or
 * its targets, those that linger included; nothing where it has none. */
void words_addresses(const json_t *name, struct text *text);
/* Its addresses change more often than the config's limit. */
bool words_is_flapping(const json_t *name);
/* What is wrong with it, and what becomes of its addresses: "A could not be asked: no answer in
 * time; its addresses stay until 2026-11-23 16:31:00". Nothing for a fresh one. */
void words_trouble(const json_t *name, struct text *text);
/* The last answer with addresses, seconds since the epoch; 0: never. */
int64_t words_good(const json_t *name);
/* Seconds until the next question; 0: being asked now; -1: not known. */
int64_t words_next(const json_t *name);

/* "s", or nothing of one. */
const char *words_plural(int64_t count);

/* An event of "changes": "extension 21 home21.example: A 203.0.113.7 -> 203.0.113.9". */
void words_change(const json_t *event, struct text *text);

#endif
