/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is said over the control socket (edge/control.h): one JSON object a line, each way.
 *
 *   {"request":"status"}                          {"ok":true,"status":{…}}
 *   {"request":"metrics"}                         {"ok":true,"metrics":"# HELP …"}
 *   {"request":"refresh"}                         {"ok":true,"asked":N,"changes":[…],"unsure":[…]}
 *   {"request":"refresh","names":["a.example"]}
 *   {"request":"reload"}                          {"ok":true,"changes":[…]}
 *   {"request":"why","what":"192.0.2.1"}          {"ok":true,"why":{…}}
 *   {"request":"remove"}                          {"ok":true}
 *                                                 {"ok":false,"exit":N,"error":what,"next":what to
 * do}
 *
 * The functions that print append to a text, and make valid JSON of any bytes; without a line feed.
 */
#ifndef SIPFENCE_CONTROL_JSON_H
#define SIPFENCE_CONTROL_JSON_H

#include "arena.h"
#include "error.h"
#include "text.h"

#include <stddef.h>

enum {
	CONTROL_MAX_NAMES = 100000,
	CONTROL_WHAT_SIZE = 256, /* with NUL */
};

enum control_kind {
	CONTROL_STATUS,
	CONTROL_METRICS,
	CONTROL_REFRESH,
	CONTROL_RELOAD,
	CONTROL_WHY,
	CONTROL_REMOVE,
};

struct control_request {
	enum control_kind kind;
	const char *const *names; /* of refresh: normalised (fqdn.h), as often as they were named */
	size_t name_count;	  /* 0: all */
	const char *what;	  /* of why: not empty, printable ASCII */
	struct arena arena;	  /* both live here */
};

/* -EINVAL: not a request, `error` says why (nothing of the line stands in it unescaped); -ENOMEM.
 */
int control_request_parse(
	const char *line, size_t length, struct control_request *ret_request, struct error *error);
void control_request_clear(struct control_request *request);
void control_request_print(const struct control_request *request, struct text *text);

/* {"ok":true} with `members` (NULL: none; ready JSON, `"asked":3`) behind it. */
void control_print_ok(struct text *text, const char *members);
/* An `error` without a next step has "next":"". */
void control_print_error(struct text *text, int exit_code, const struct error *error);

/* A JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void control_print_string(struct text *text, const char *string, size_t length);

#endif
