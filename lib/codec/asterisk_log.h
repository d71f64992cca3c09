/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A line of an Asterisk log -> what it says of registrations, log-ins and calls.
 *
 * Reads the full log and the security log of chan_sip and pjsip, Asterisk 1.4 to 22: the default
 * dates ("[Nov 22 10:55:37]"), "%F %T" with or without a fraction and a zone, lines of the console
 * (colours, "file.c:123 function:"), of syslog, and the messages that begin with "    -- ". IPv6,
 * also mapped IPv4, which comes out as IPv4.
 *
 * A line holds what callers send: names, Contacts, Call-IDs. So a message counts only where
 * Asterisk puts it, at its place in a line of the right source file, and a field that callers can
 * forge never covers the one that Asterisk wrote. Lines may be cut, binary or of any length.
 * Nothing is allocated; most lines cost a look at their beginning.
 */
#ifndef SIPFENCE_ASTERISK_LOG_H
#define SIPFENCE_ASTERISK_LOG_H

#include "addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of the line: any bytes, no NUL behind it. */
struct asterisk_span {
	const char *data;
	size_t length;
};

enum asterisk_line_kind {
	ASTERISK_OTHER = 0,	  /* nothing of the below; nothing else is written */
	ASTERISK_REGISTERED,	  /* chan_sip: account, addr: what the Contact claims */
	ASTERISK_UNREGISTERED,	  /* chan_sip: account */
	ASTERISK_CONTACT_ADDED,	  /* pjsip, refreshed ones too: account, addr as above, text:
				     the Contact */
	ASTERISK_CONTACT_REMOVED, /* pjsip, by request or expired: account, addr */
	ASTERISK_FAILED,	  /* a request was refused: account as claimed, addr, failure */
	ASTERISK_AGENT,		  /* chan_sip: account, text: a phone's User-Agent */
	ASTERISK_CALL,		  /* a channel enters the dialplan: account (its owner), text: the
				     number, channel: what tells channels of an account apart */
	ASTERISK_SECURITY, /* event, service, account, addr, transport, session, text: the ACL */
};

enum asterisk_event {
	ASTERISK_EVENT_OTHER = 0,
	ASTERISK_SUCCESSFUL_AUTH,
	ASTERISK_CHALLENGE_SENT,
	ASTERISK_INVALID_PASSWORD, /* InvalidPassword, ChallengeResponseFailed */
	ASTERISK_INVALID_ACCOUNT,
	ASTERISK_FAILED_ACL,
};

enum asterisk_failure {
	ASTERISK_FAILURE_OTHER = 0,
	ASTERISK_FAILURE_PASSWORD,
	ASTERISK_FAILURE_ACCOUNT, /* there is no such extension */
	ASTERISK_FAILURE_ACL,
};

enum asterisk_service { ASTERISK_SERVICE_OTHER = 0, ASTERISK_SIP, ASTERISK_PJSIP };

enum asterisk_time_kind {
	ASTERISK_TIME_NONE = 0,
	ASTERISK_TIME_NO_YEAR, /* month to millisecond, in the zone of the PBX */
	ASTERISK_TIME_LOCAL,   /* the same with the year */
	ASTERISK_TIME_EXACT,   /* wall and millisecond */
};

struct asterisk_time {
	uint8_t kind;		      /* enum asterisk_time_kind */
	uint8_t month, day;	      /* from 1 */
	uint8_t hour, minute, second; /* second: up to 60 */
	uint16_t year;
	uint16_t millisecond;
	int64_t wall; /* seconds since the epoch */
};

enum { ASTERISK_PLAIN_SIZE = 2048 };

struct asterisk_line {
	uint8_t kind;	 /* enum asterisk_line_kind */
	uint8_t event;	 /* enum asterisk_event */
	uint8_t failure; /* enum asterisk_failure */
	uint8_t service; /* enum asterisk_service; of every kind but ASTERISK_OTHER */
	bool has_addr;	 /* else addr and port are not written: a name, or not to be told */
	bool doubled;  /* a field stands there twice: somebody writes log lines into SIP headers */
	uint16_t port; /* 0: not given */
	uint32_t channel;
	struct addr addr;
	struct asterisk_time time; /* EventTV, where there is one; else the line's own date */
	struct asterisk_span account, session, transport, text;
	char plain[ASTERISK_PLAIN_SIZE]; /* a line of a coloured console: what the spans point into
					  */
};

/*
 * `line` without its line feed. Writes of *ret_line what the kind has, and only that; spans point
 * into `line` (or into ret_line->plain) and are empty where a line lacks the part. Returns the
 * kind.
 */
enum asterisk_line_kind asterisk_log_parse(
	const char *line, size_t length, struct asterisk_line *ret_line);

/* The date that any line begins with, read by Asterisk or not. False: none. */
bool asterisk_log_date(const char *line, size_t length, struct asterisk_time *ret_time);

#endif
