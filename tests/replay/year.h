/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of replay_year, for its own source files: year*.c. year.c is its manual. */
#ifndef SIPFENCE_TEST_YEAR_H
#define SIPFENCE_TEST_YEAR_H

#include "account.h"
#include "check.h"
#include "machine.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PHONE_NAMES = 8, /* e0.example … */
	TRUNK_NAMES = 4, /* t0.example … */
	TARGETS = 3,	 /* s0.example …, of _sip._udp.t.example */
	OWNERS_MAX = 12,
	NAMES_MAX = PHONE_NAMES + TRUNK_NAMES,
	WITHIN_FROM = 6, /* e6 and e7 have owners whose guard comes and goes */
	REMEMBERED = 24, /* actions, for the report */
};

extern const char srv_name[];

/* A config by the dice, as text and as what it means. */
struct year_owner {
	char id[16];
	bool peer, within, has_srv;
	uint8_t services; /* bit 0: sip, bit 1: web */
	uint8_t ipv6_prefix;
	bool names[NAMES_MAX];
	struct prefix fixed[4];
	size_t fixed_count;
};

struct year_config {
	struct year_owner owners[OWNERS_MAX];
	size_t owner_count;
	struct account_rules rules;
	int64_t refresh_max; /* ms */
	bool replies, lock;
	struct text yaml;
};

void year_config_roll(struct dice *dice, struct year_config *ret_config);
const char *year_name(size_t index); /* of NAMES_MAX */

/* What must be, and what may be in one set. */
struct permit {
	struct prefix prefix;
	uint8_t service;
	bool certain;
	char owner[48]; /* "21 e0.example" */
};

enum { PERMITS_MAX = 1024 };
struct permits {
	struct permit list[PERMITS_MAX]; /* sorted by service, prefix, owner; distinct */
	size_t count;
	bool certain; /* all of them are */
};

/* By config and account alone. */
void year_permits(const struct year_config *config, const struct account *account,
	struct permits *ret_permits);

/* The account as a file knows it. */
struct copy {
	struct account account;
	int64_t wall; /* when it was written */
	bool stepped;
};

/* What the disk knows: as of the last save, with all that was noted in the journal since, and with
 * all but the last of that. */
struct snapshot {
	bool exists;
	unsigned boots; /* in which it was written */
	struct copy saved, noted, noted_before;
};

struct year {
	struct machine machine;
	struct dice dice;
	uint64_t seed, step, steps_checked;
	struct year_config config;
	struct account account;
	struct snapshot snapshot;
	int64_t last_boot_ms; /* up to here the account's clocks went on */
	int64_t simulated_ms; /* since the beginning, with the machine off, too */
	bool stepped;	      /* somebody has set the wall clock since the state file began */

	/* Until when, in ms of simulated time, what is checked is not to be expected. */
	/* The first good answer that is not saved, and the first since a save began; INT64_MAX:
	 * none. */
	int64_t unsaved_since, unsaved_next;
	int64_t kernel_sick_until, asking_since, disk_sick_until, dns_sick_until;
	bool kernel_sick, disk_sick, restless;
	bool touched; /* by more than DNS and time, in this step */

	char told[ACCOUNT_NAMES][2][96]; /* host, and what was last said of it; "": nothing */
	bool told_dead;			 /* of DNS */
	struct permits before, now;
	uint64_t changes_before, transactions_before;
	char remembered[REMEMBERED][96];
	size_t remembered_count;
	bool failed;
};

void year_complain(struct year *year, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void year_remember(struct year *year, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void year_forget_targets(struct account *account);
/* The account's clocks go on to now. */
void year_sync_clock(struct year *year);

/* year_check.c: the invariants. */
void year_check(struct year *year);
/* What the log says since the last step. */
void year_check_log(struct year *year);
/* What would be lost by a power cut? */
void year_check_loss(struct year *year);

#endif
