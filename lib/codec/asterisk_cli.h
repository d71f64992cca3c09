/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Asterisk's command line says of registrations and calls, and the commands that end them, for
 * chan_sip and pjsip (measured on 16 and 22).
 *
 * Names in Asterisk's answers were chosen by callers. What goes back into a command is checked for
 * that: a name that could mean anything else there makes no command.
 */
#ifndef SIPFENCE_ASTERISK_CLI_H
#define SIPFENCE_ASTERISK_CLI_H

#include "addr.h"
#include "arena.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All registrations, from the database in which both drivers keep them: other commands cut long
 * ones off. */
#define ASTERISK_CLI_CONTACTS                                                                      \
	"database query \"SELECT key, value FROM astdb WHERE key LIKE '/SIP/Registry/%' OR key "   \
	"LIKE '/registrar/contact/%'\""
#define ASTERISK_CLI_RELOAD   "module reload acl"
#define ASTERISK_CLI_CHANNELS "core show channels concise"
#define ASTERISK_CLI_BOOTED   "core waitfullybooted"

struct asterisk_contact {
	bool pjsip;	       /* else chan_sip */
	const char *extension; /* the peer, or the endpoint */
	const char *aor;       /* pjsip; chan_sip: the extension */
	const char *key;       /* of the database */
	const char *uri;       /* as it was given */
	bool has_addr;	       /* its host is an address, and not a name */
	struct addr addr;      /* where calls go to */
	uint16_t port;	       /* 0: none is given */
};

/* A zeroed struct is an empty one. */
struct asterisk_contacts {
	struct arena arena;
	struct asterisk_contact *list;
	size_t count, capacity;
	size_t unread; /* entries that are not understood */
};

/* Reads what ASTERISK_CLI_CONTACTS prints; adds to `contacts`. -ENOMEM. */
int asterisk_contacts_parse(const char *output, size_t length, struct asterisk_contacts *contacts);
void asterisk_contacts_clear(struct asterisk_contacts *contacts);

/* `acl show NAME` and `sip show peer NAME` take such a name; the ids of a config are. */
bool asterisk_cli_is_name(const char *name);
void asterisk_cli_show_acl(const char *name, struct text *text);

/*
 * The commands that throw the contact out, in their order; each is one call of Asterisk. There are
 * ASTERISK_EVICT_STEPS at most; false: there is no such step, or it can't be said safely.
 */
enum { ASTERISK_EVICT_STEPS = 2 };
bool asterisk_cli_evict(const struct asterisk_contact *contact, unsigned step, struct text *text);

/*
 * Calls `found` with the name of each channel of the extension in what ASTERISK_CLI_CHANNELS
 * prints; the name is valid during the call.
 */
typedef void asterisk_channel_fn(void *context, const char *channel);
void asterisk_channels_parse(const char *output, size_t length, const char *extension,
	asterisk_channel_fn *found, void *context);
/* False: the name can't be said safely. */
bool asterisk_cli_hangup(const char *channel, struct text *text);

/* Asterisk is there, but does not know the command: it has not fully booted, or the module that
 * has it is not loaded. */
bool asterisk_cli_is_unknown(const char *output, size_t length);

#endif
