/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking the daemon, and reading what it says. */
#ifndef SIPFENCE_CLIENT_H
#define SIPFENCE_CLIENT_H

#include "command.h"
#include "control_json.h"
#include "error.h"
#include "text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLIENT_NO_DAEMON = 1 };
/*
 * 0 and an object with a boolean "ok" (json_decref() it); CLIENT_NO_DAEMON: nobody listens at
 * RUN_DIR/control, `error` says so; negative: no answer, or none that is one.
 */
int client_ask(const struct invocation *invocation, const struct control_request *request,
	json_t **ret_answer, struct error *error);
/* Whether the request `why` takes it. */
bool client_is_askable(const char *what);
/* The text of an answer as that object. */
int client_parse(const struct text *text, json_t **ret_answer, struct error *error);
/* As client_ask(), and what there is to say of a failure or a refusal is said. EXIT_DONE and
 * *ret_answer, or the exit code. No daemon is a failure. */
int client_ask_or_say(const struct invocation *invocation, const struct control_request *request,
	json_t **ret_answer);
/* Says what the daemon answered with "ok":false; returns the exit code. */
int client_say_refusal(const struct invocation *invocation, const json_t *answer);

/* The object at `key` of an answer; NULL after a message: there is none. */
json_t *client_payload(const struct invocation *invocation, const json_t *answer, const char *key);

/* What there is in an answer; "", 0 or NULL where it isn't, or is of another type. All strings are
 * printable: whatever else was sent stands as \xNN (line feeds stay in "error" and "metrics"). */
const char *answer_string(const json_t *object, const char *key);
int64_t answer_number(const json_t *object, const char *key);
bool answer_is(const json_t *object, const char *key, bool value);
const json_t *answer_list(const json_t *object, const char *key);
/* Seconds since the epoch; 0: none. */
int64_t answer_time(const json_t *object, const char *key);

/* "result", "exit" and, in front, "version" (1) and "command" are those of all documents for
 * --json. */
/* "2026-11-22T10:55:03Z"; null for a time that is not known (INT64_MIN, INT64_MAX). NULL: no
 * memory. */
json_t *client_time(int64_t wall);
json_t *client_document(const struct invocation *invocation, const char *result, int exit_code);
/* One document on stdout; takes it over. False after a message: out of memory. */
bool client_print(const struct invocation *invocation, json_t *document);

#endif
