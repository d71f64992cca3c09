/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The world around the engine: a clock, a kernel, DNS and a disk that do what they are told.
 *
 * model_kernel.c, fake_resolver.c, fake_files.c and fake_geo.c define the functions of lib/edge's
 * kernel.h, resolver.h, files.h and geo.h; the program is linked with them in the place of
 * lib/edge's own. Those functions take no context, so there is one world, at world().
 */
#ifndef SIPFENCE_TEST_WORLD_H
#define SIPFENCE_TEST_WORLD_H

#include "answer.h"
#include "config.h"
#include "dns_message.h"
#include "geo.h"
#include "nf_model.h"
#include "plan.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FOR_EVER = INT32_MAX, WORLD_ADDRS = 64, WORLD_NAME_SIZE = 256 };

typedef void world_hook_fn(void *context);

/* --- The kernel --- */

struct model_talker {
	struct addr addr;
	uint8_t protocol;
	uint16_t port;
	bool opened_here;
};

struct model_kernel {
	struct nf_ruleset rules;
	struct addr own[WORLD_ADDRS]; /* this machine's addresses, sorted */
	size_t own_count;
	struct model_talker talkers[WORLD_ADDRS];
	size_t talker_count;

	/* What goes wrong. Counts are of the next ones, FOR_EVER: all. */
	int commit_errno, commit_failures;
	int open_errno, open_failures;
	int read_errno, read_failures;
	int watch_errno, watch_failures;
	int lost_acks;
	bool lost_acks_mean_done; /* the transaction whose ACKs are lost took effect */
	bool loses_events;
	int64_t counters_ms; /* that long a reading of them takes that a thread does (beside.h) */
	world_hook_fn *before_commit; /* once, right before a batch takes effect */
	void *before_commit_context;

	/* What was done. */
	uint64_t transactions; /* that took effect */
	uint64_t refusals;     /* that did not */
	uint64_t reads;	       /* of the whole table */
	uint64_t element_reads;
	int handles, watches; /* open ones */
	uint32_t last_port;
	struct kernel_watch *first_watch;
	struct kernel_network *network;
};

/* Another program's transaction. `table` (NULL: of no interest) has been changed by it. */
void model_kernel_others(const char *table, const char *program, int pid);
/* An address has come or gone. */
void model_kernel_network_changes(void);
/* True when kernel_watch_fd() of any watch, or kernel_network_fd(), is readable. */
bool model_kernel_ready(void);
/* True when some process has made the table its own. */
bool model_kernel_is_owned(const char *table);

/* --- DNS --- */

struct dns_script {
	char name[WORLD_NAME_SIZE];
	enum dns_type type;
	enum answer_kind kind;
	enum answer_reason reason;
	uint32_t ttl;
	bool validated;	  /* the resolver vouches for it */
	int64_t delay_ms; /* until the answer arrives */
	struct addr addrs[WORLD_ADDRS];
	char targets[WORLD_ADDRS][WORLD_NAME_SIZE];
	size_t count;
	uint64_t asked;	  /* how often */
	int64_t asked_at; /* ms since boot, the last time */
};

/* Whoever wants to know each answer that the engine gets. */
typedef void dns_answered_fn(
	void *context, const char *name, enum dns_type type, const struct answer *answer);

enum { DNS_DELAY_MS = 20 };

struct fake_dns {
	struct dns_script *scripts;
	size_t script_count;
	/* All questions fail like this; REASON_NONE: DNS works. */
	enum answer_reason outage;
	bool untrusted; /* the servers of resolv.conf are no trusted ones */
	uint64_t asked;
	int64_t second; /* of the last question, and how many were asked in it */
	uint64_t in_second, busiest;
	int open_errno, open_failures; /* resolver_new() */
	int resolvers;		       /* open ones */
	struct resolver *first;
	dns_answered_fn *answered; /* before the engine; NULL: nobody */
	void *answered_context;
};

/* What DNS will say of (name, type) from now on, made if it is new: no data. */
struct dns_script *fake_dns_script(const char *name, enum dns_type type);
struct dns_script *fake_dns_find(const char *name, enum dns_type type);
/* When the next packet arrives, in ms since boot; INT64_MAX: none is under way. */
int64_t fake_dns_arrival(void);

/* --- The disk --- */

struct fake_file {
	char *path;
	struct text data;
	size_t synced; /* up to here it survives a power cut */
};

/* Whoever wants to know what is written behind the engine's back (disk.h): what it hands over, with
 * a note of his own, which comes back when that is done, or when it is lost. */
typedef void *disk_queued_fn(void *context, bool save, const char *data, size_t length);
typedef void disk_done_fn(void *context, void *note, bool done);

enum { DISK_DELAY_MS = 3 };

struct fake_disk {
	struct fake_file *files;
	size_t count;
	int write_errno; /* ENOSPC: full; EROFS: read-only; 0: it works */
	int read_errno;
	int64_t delay_ms; /* of each job */
	uint64_t saves, failed_saves;
	bool frozen; /* the process is being killed: nothing is written any more */
	struct disk *first;
	int disks;	       /* open ones */
	struct beside *beside; /* work of the only other thread that is under way; NULL: none */
	int64_t beside_done_at;
	disk_queued_fn *queued;
	disk_done_fn *done;
	void *context; /* of both */
};

/* Does the jobs that are done by now, and what another thread has done. */
void fake_disk_work(void);
/* When the next one is done, in ms since boot; now when the disk has a result to be taken;
 * INT64_MAX: never. */
int64_t fake_disk_next(void);
struct fake_file *fake_disk_find(const char *path);
void fake_disk_write(const char *path, const void *data, size_t length);
void fake_disk_delete(const char *path);
/* The power fails: what was only appended is lost. */
void fake_disk_power_cut(void);

/* --- All of it --- */

/* Where addresses belong; of several that hold an address the last one counts. */
struct fake_geo {
	struct {
		struct prefix prefix;
		struct origin origin;
	} list[WORLD_ADDRS];
	size_t count;
	enum geo_state states[GEO_KIND_COUNT]; /* GEO_UNUSED: found */
};

struct world {
	int64_t boot_ms;
	struct fake_geo geo;
	struct model_kernel kernel;
	struct fake_dns dns;
	struct fake_disk disk;
};

struct world *world(void);
void world_reset(void);

#endif
