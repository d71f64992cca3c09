/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who registered from where it was not: what the events of a PBX's logs come to, set against what
 * the hosts of each extension were at that time.
 *
 * How sure a finding is:
 *   proven     the security log says that somebody logged in as the extension from that address;
 *              the hosts did not have it
 *   claimed    only the full log says so, and it repeats the Contact, which the caller chose. A
 *              claim near a log-in (AUDIT_WINDOW) by the same driver is that log-in's, and counts
 *              no more: what the security log says of the address stands
 *   ambiguous  chan_sip logs a call to an extension as a log-in of it: from the address and port of
 *              another's last registration, or from where a peer is at home, it is probably a call.
 *              With a registration in the full log at the same time it is proven after all
 *   unknown    nobody knows who had the address then; or the Contact holds no address at all
 *
 * Memory is bounded whatever the logs hold: it grows with the accounts of the config alone. Of each
 * of them the addresses up to a limit are told apart; the rest is counted, surer ones push out less
 * sure ones, and the sums of an account leave nothing out. So no flood hides that an extension was
 * taken over, nor (per extension) the worst of its addresses.
 */
#ifndef SIPFENCE_AUDIT_H
#define SIPFENCE_AUDIT_H

#include "addr.h"
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AUDIT_WINDOW = 3000 }; /* milliseconds between two lines on the same thing */

enum audit_certainty {
	AUDIT_UNKNOWN = 0,
	AUDIT_AMBIGUOUS,
	AUDIT_CLAIMED,
	AUDIT_PROVEN,
};
enum { AUDIT_CERTAINTY_COUNT = AUDIT_PROVEN + 1 };
const char *audit_certainty_name(enum audit_certainty certainty); /* "proven" */

/* --- Who had what --- */

enum audit_verdict {
	AUDIT_NOT_KNOWN = 0,
	AUDIT_HAD,
	AUDIT_GRACE, /* soon after that, or until shortly before */
	AUDIT_HAD_NOT,
};
/* Of config.owners[owner], at `wall`. */
typedef enum audit_verdict audit_verdict_fn(
	const void *context, uint32_t owner, const struct addr *addr, int64_t wall);

/* --- Events --- */

enum audit_event_kind {
	AUDIT_LOGIN,  /* security log: the password was right */
	AUDIT_CLAIM,  /* full log: registered, at the address of a Contact */
	AUDIT_FAILED, /* refused */
	AUDIT_AGENT,  /* full log: `text` is the User-Agent of what has just registered */
	AUDIT_CALL,   /* full log: the account places a call to `text` */
};

enum audit_failure {
	AUDIT_FAILURE_OTHER,
	AUDIT_FAILURE_PASSWORD,
	AUDIT_FAILURE_ACCOUNT, /* no such extension */
	AUDIT_FAILURE_ACL,
};
enum { AUDIT_FAILURE_COUNT = AUDIT_FAILURE_ACL + 1 };

enum audit_protocol { AUDIT_SIP, AUDIT_PJSIP };

/* Strings are not NUL-terminated, and any bytes. */
struct audit_event {
	uint8_t kind;	  /* enum audit_event_kind */
	uint8_t failure;  /* enum audit_failure */
	uint8_t protocol; /* enum audit_protocol */
	bool security;	  /* from the security log */
	bool has_addr;
	uint16_t port;
	uint32_t channel; /* AUDIT_CALL: which */
	struct addr addr;
	int64_t when; /* milliseconds since the epoch */
	const char *account, *text, *transport, *session;
	size_t account_length, text_length, transport_length, session_length;
};

/* --- The audit --- */

/* A log-in or a claim that is a finding, when it is known to be one. */
struct audit_sighting {
	uint32_t owner;
	uint8_t certainty; /* enum audit_certainty */
	uint8_t protocol;  /* enum audit_protocol */
	bool login;	   /* the security log has it */
	bool rises;	   /* it was told before, as ambiguous */
	bool has_addr;
	uint16_t port;
	struct addr addr;
	int64_t when;
	const struct audit_name *agent; /* NULL: not known; without an address, the Contact */
};
typedef void audit_found_fn(void *listener, const struct audit_sighting *sighting);

struct audit_settings {
	audit_verdict_fn *verdict;
	const void *context;
	audit_found_fn *found; /* NULL: nobody wants to know before audit_finish() */
	void *listener;
	int64_t since;	/* milliseconds: what is older is looked at, but no finding */
	uint64_t seed;	/* random: nobody can choose what falls together */
	size_t listed;	/* addresses of each account; 0: AUDIT_LISTED */
	size_t watched; /* addresses whose other deeds are kept; 0: AUDIT_WATCHED */
};
enum { AUDIT_LISTED = 64, AUDIT_WATCHED = 32768, AUDIT_STRANGERS = 256 };

struct audit;

/* The config must outlive it. -ENOMEM. */
int audit_new(const struct config *config, const struct audit_settings *settings,
	struct audit **ret_audit);
struct audit *audit_free(struct audit *audit); /* returns NULL */
/* In the order of time, but for a few seconds. -ENOMEM: the audit is good for audit_free() alone.
 */
int audit_take(struct audit *audit, const struct audit_event *event);
/* For who listens: claims that are waiting for a log-in since AUDIT_WINDOW before `when` have
 * waited long enough. -ENOMEM as above. */
int audit_settle(struct audit *audit, int64_t when);
/* Before the first event of an audit that goes on where `old`, of another config, stops: who is
 * registered where. -ENOMEM as above. */
int audit_inherit(struct audit *audit, const struct audit *old);
/* After the last event. -ENOMEM. */
int audit_finish(struct audit *audit);

/* --- What it found, after audit_finish() --- */

enum { AUDIT_NAME_SIZE = 40, AUDIT_NAMES = 8 };

/* As it stood in the log: any bytes. Longer ones are cut. */
struct audit_name {
	uint8_t length;
	bool cut;
	char bytes[AUDIT_NAME_SIZE];
};

struct audit_tally {
	uint64_t counts[AUDIT_CERTAINTY_COUNT]; /* log-ins or claims */
	int64_t first, last;			/* milliseconds since the epoch */
};

struct audit_finding {
	bool has_addr; /* else `agent` holds the Contact */
	struct addr addr;
	uint16_t port;	   /* of the last one; 0: not known */
	uint8_t certainty; /* enum audit_certainty: of the surest */
	bool protocols[2]; /* enum audit_protocol */
	struct audit_tally tally;
	struct audit_name transport; /* of the last one; empty: not known */
	struct audit_name agent;     /* empty: not known */
};

struct audit_account {
	uint32_t owner; /* index into config.owners */
	uint8_t certainty;
	struct audit_tally tally;	      /* of all addresses */
	const struct audit_finding *findings; /* the surest first, then by first time */
	size_t finding_count;
	struct audit_tally others; /* of addresses that are not listed */
	uint64_t in_grace;	   /* log-ins and claims that AUDIT_GRACE excused */
};

/* What else came from an address. */
struct audit_deeds {
	uint64_t failures[AUDIT_FAILURE_COUNT];
	uint64_t calls; /* that were seen to begin while its registration was the account's last */
	int64_t first, last;
	struct audit_name tried[AUDIT_NAMES]; /* accounts, by failures or with success */
	size_t tried_count, tried_at_least;   /* listed, and in all */
	struct audit_name dialled[AUDIT_NAMES];
	size_t dialled_count;
};

/* A name that the config has not. */
struct audit_stranger {
	struct audit_name name;
	uint64_t count;
	int64_t first, last;
	bool has_addr;
	struct addr addr; /* of the last one */
	size_t addresses_at_least;
};

/* Accounts with findings: the surest first, then in the order of the config. */
size_t audit_account_count(const struct audit *audit);
struct audit_account audit_account(const struct audit *audit, size_t index);
/* False: nothing is known any more; there were too many addresses. */
bool audit_deeds(const struct audit *audit, const struct addr *addr, struct audit_deeds *ret_deeds);
size_t audit_stranger_count(const struct audit *audit);
const struct audit_stranger *audit_stranger(const struct audit *audit, size_t index);
uint64_t audit_strangers_more(const struct audit *audit); /* log-ins of those not listed */
uint64_t audit_in_grace(const struct audit *audit);	  /* over all accounts */
/* Over all accounts: log-ins and claims that were all right, grace included. */
uint64_t audit_in_order(const struct audit *audit);

#endif
