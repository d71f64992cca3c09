/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon and its helper process (app/helper.h) say to each other: one message a packet of
 * a SOCK_SEQPACKET pair. The helper has the privileges that the daemon has given up, so neither
 * side believes the other: what is not exactly as below is refused whole, and ends the connection.
 *
 * Numbers are little-endian.
 *
 *   0  1  version: 1
 *   1  1  kind (enum helper_kind)
 *   2  2  HOOK: number of fields; HOOK_ENDED: enum helper_outcome; ACLS: 1 in the last one, else 0;
 *         ASK: enum helper_command; others: 0
 *   4  4  id: the daemon's choice; an answer has that of its request; LOG…: 0
 *   8     HOOK: each field as key NUL value NUL
 *         HOOK_ENDED: 4 code, 4 milliseconds, then text NUL next NUL
 *         ACLS, OUTPUT, LOG: bytes, at least one
 *         ASK: SHOW, HANGUP: name NUL; EVICT: 1 pjsip (0, 1), 1 step, then extension NUL aor NUL
 *         key NUL
 *         DONE: 4 result (two's complement), then text NUL next NUL
 *         LOG_MISSING: text NUL next NUL
 *
 * Nothing here says what program is run, or which file is read or written: the helper knows that
 * from its start. A key becomes the name of an environment variable behind a prefix, and has no
 * character that could make it anything else. Names become parts of a command that asterisk_cli.h
 * makes, and checks.
 */
#ifndef SIPFENCE_HELPER_MESSAGE_H
#define SIPFENCE_HELPER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HELPER_VERSION = 1,
	HELPER_MESSAGE_MAX = 16384, /* bytes of a message */
	HELPER_FIELDS_MAX = 32,
	HELPER_KEY_MAX = 31,	 /* [a-z][a-z0-9-]*, each once in a message; the first is "event" */
	HELPER_VALUE_MAX = 4096, /* printable ASCII */
	HELPER_TEXT_MAX = 1024,	 /* of text and next; any bytes */
	HELPER_NAME_MAX = 511,	 /* of the strings of ASK; printable ASCII */
	HELPER_BYTES_MAX = HELPER_MESSAGE_MAX - 8,
};

enum helper_kind {
	HELPER_HOOK = 1,       /* daemon to helper: run the hook for this event */
	HELPER_HOOK_ENDED = 2, /* helper to daemon */

	/* Daemon to helper, one request at a time: its next one follows DONE. */
	HELPER_ACLS = 3, /* a part of the ACL file, which is written with the last of them */
	HELPER_ASK = 4,	 /* run this command of Asterisk */
	/* Helper to daemon. */
	HELPER_OUTPUT = 5, /* a part of what the command has printed; before a DONE of result 0 */
	HELPER_DONE = 6,
	/* Unasked; those of a log that is followed. */
	HELPER_LOG = 7, /* bytes that go on where the former ended */
	HELPER_LOG_OPENED = 8,
	HELPER_LOG_MISSING = 9,
};

enum helper_command {
	HELPER_BOOTED = 1,
	HELPER_RELOAD = 2,
	HELPER_SHOW = 3, /* `name`: of the ACL */
	HELPER_CONTACTS = 4,
	HELPER_EVICT = 5, /* `pjsip`, `step`, `extension`, `aor`, `key`: see asterisk_cli_evict() */
	HELPER_CHANNELS = 6,
	HELPER_HANGUP = 7, /* `name`: of the channel */
};

enum helper_outcome {
	HELPER_EXITED = 1,	/* `code`: the exit code */
	HELPER_SIGNALLED = 2,	/* `code`: the signal that ended it */
	HELPER_TIMED_OUT = 3,	/* it was ended, since it ran for too long; `code`: 0 */
	HELPER_NOT_STARTED = 4, /* `code`: an errno; `text` what is wrong, `next` what to do */
};

struct helper_field {
	const char *key, *value;
};

struct helper_message {
	enum helper_kind kind;
	uint32_t id;
	/* HELPER_HOOK */
	struct helper_field fields[HELPER_FIELDS_MAX];
	size_t field_count; /* at least 1 */
	/* HELPER_HOOK_ENDED */
	enum helper_outcome outcome;
	int code; /* not negative */
	uint32_t milliseconds;
	/* HELPER_ACLS, HELPER_OUTPUT, HELPER_LOG */
	const void *bytes;
	size_t length; /* 1 to HELPER_BYTES_MAX */
	bool last;     /* HELPER_ACLS */
	/* HELPER_ASK */
	enum helper_command command;
	bool pjsip;
	uint8_t step;
	const char *name, *extension, *aor, *key;
	/* HELPER_DONE: 0, 1 (an outcome, by the request), or -errno */
	int result;
	/* HELPER_HOOK_ENDED, HELPER_LOG_MISSING, HELPER_DONE (if negative; else ""). Any bytes but
	 * NUL: whoever shows them escapes them. `text` of a hook that was started is the last line
	 * that it has printed. */
	const char *text;
	const char *next;
};

/*
 * The strings and bytes of *ret_message are those in `data`, and live as long. -EBADMSG: it is no
 * message; nothing of it may be used.
 */
int helper_message_parse(const void *data, size_t length, struct helper_message *ret_message);

/*
 * Into `buffer` of HELPER_MESSAGE_MAX bytes. -EINVAL: helper_message_parse() would refuse it;
 * -EMSGSIZE: it is too long.
 */
int helper_message_print(const struct helper_message *message, void *buffer, size_t *ret_length);

#endif
