/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
/*
 * What is known of the names, as text that outlives a run and a reboot.
 *
 *   sipfence-state 2
 *   clock STEADY WALL BOOTTIME BOOT_ID     core/steady.h; BOOT_ID may be -
 *   table NAME                             that runs have made, and that is still there
 *   permits FINGERPRINT                    of the config that was put in force: state_permits()
 *   enforced TABLE PROTOCOL FIRST LAST     ports that the last run shut to strangers
 *   host NAME GUARD TOLD [validated]       `validated`: learned under require-dnssec
 *   lookup FAMILY ASKED GOOD NONE TTL FAILURES LAST REASON [ADDRESS ...]   FAMILY: 4 or 6
 *   changes FLAPPING WHEN ...              of the last hour; only where there are any
 *   retired WHEN ADDRESS
 *   srv NAME TOLD [validated]
 *   targets ASKED GOOD NONE TTL FAILURES LAST REASON [NAME ...]
 *   retired-target WHEN NAME
 *   end LINES CHECKSUM
 *
 * Lines below `host` and `srv` belong to it. Times are seconds of the steady clock. CHECKSUM is
 * XXH3 (64 bits) of all bytes before the last line: a text that was cut or damaged is refused whole.
 * Version 1, whose checksum was FNV-1a, is read, too.
 */
/* clang-format on */
#ifndef SIPFENCE_STATE_H
#define SIPFENCE_STATE_H

#include "answer.h"
#include "arena.h"
#include "config.h"
#include "plan.h"
#include "roster.h"
#include "steady.h"
#include "text.h"

#include <stddef.h>
#include <stdint.h>

struct saved_host {
	struct host host;     /* .guard is not used */
	uint64_t fingerprint; /* of the guard that it was learned under */
	size_t order;	      /* of its record in the text */
};

enum { STATE_MAX_TABLES = 4 };

struct saved_state {
	struct arena arena;	  /* all that the structs point to */
	struct saved_host *hosts; /* sorted by name and fingerprint, distinct */
	size_t host_count;
	struct srv *srvs; /* sorted by name */
	size_t srv_count;
	struct steady clock; /* of the run that saved it */
	const char *tables[STATE_MAX_TABLES];
	size_t table_count;
	uint64_t permits;	    /* 0: unknown */
	const char *enforced_table; /* of all of `enforced` */
	struct enforced_port *enforced;
	size_t enforced_count;
};

/*
 * A number of all in a config that decides, together with what DNS says, which elements the table
 * has: another one where that is another. The same in every run; never 0. How long an address is
 * held, or lingers, is left out: it decides about later runs alone.
 */
uint64_t state_permits(const struct config *config);

/*
 * Of everything that was ever asked. `enforced` are the ports that are shut to strangers, or about
 * to be, in config->table; `permits` is of the config that is in force, 0: not known.
 */
void state_print(const struct roster *roster, const struct config *config,
	const struct steady *clock, const struct enforced_ports *enforced, uint64_t permits,
	const char *former_table, struct text *text);

/*
 * A text of one name alone, to be appended to a journal: a file of such texts, one behind the
 * other, of what has changed since the state was saved.
 */
void state_print_host(const struct host *host, const struct config *config,
	const struct steady *clock, struct text *text);
void state_print_srv(const struct srv *srv, const struct steady *clock, struct text *text);

/* 0, -EBADMSG: damaged, or another version (*ret_line: where), -ENOMEM. */
int state_parse(const char *data, size_t length, struct saved_state **ret_state, size_t *ret_line);
/*
 * What a journal knows better. Texts that are older than the state are passed over, and all from
 * the first damaged one on: the end of a journal may be missing. -ENOMEM: `state` is good for
 * state_free() alone.
 */
int state_parse_journal(struct saved_state *state, const char *data, size_t length);
/* The same text without the `enforced` and `table` lines of `table`, and without `permits`: nothing
 * is to be as it was. `data` is what state_parse() takes. */
void state_forget_enforced(const char *data, size_t length, const char *table, struct text *text);
struct saved_state *state_free(struct saved_state *state); /* returns NULL */

/*
 * Takes over what the roster's SRV names, or its hosts, were. A host whose guard has changed keeps
 * the addresses that the new guard lets through (host_inherit(), host_unproven()). -ENOMEM.
 */
int state_restore_srvs(const struct saved_state *state, struct roster *roster, int64_t now);
int state_restore_hosts(const struct saved_state *state, const struct config *config,
	const struct surroundings *around, struct roster *roster, int64_t now);

#endif
