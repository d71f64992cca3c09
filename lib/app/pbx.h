/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's part in Asterisk: keeps its ACLs right (asterisk_keeper.h) through the helper
 * process that may write its file and talk to it (asterisk_link.h), after the kernel has each
 * change. Nothing here waits, and nothing that Asterisk does holds up the list.
 *
 * When the helper has died nobody can start it again: the daemon goes on without it, says so, and
 * `status` does, too.
 */
#ifndef SIPFENCE_PBX_H
#define SIPFENCE_PBX_H

#include "asterisk_keeper.h"
#include "asterisk_watch.h"
#include "config.h"
#include "engine.h"
#include "error.h"
#include "helper.h"
#include "loop.h"

#include <stdbool.h>
#include <stdint.h>

struct pbx;

struct pbx_options {
	struct loop *loop; /* kept */
	engine_log_fn *log;
	void *context; /* for `log` */
	/* What the helper was forked with: what is needed of it is copied. */
	const struct config *config;
	struct helper helper; /* fd -1: there is none. Taken over, also on failure. */
	/* Why it could not be started; code 0: it was, or the config asks for none. */
	const struct error *problem;
};

/* True: the config needs the helper process. */
bool pbx_is_wanted(const struct config *config);

int pbx_open(struct pbx **ret_pbx, const struct pbx_options *options, struct error *error);
/* Returns NULL. The helper ends; nobody waits for it. */
struct pbx *pbx_close(struct pbx *pbx);

/* The table is in force: from here on the ACLs follow it. Kept; it must live as long as `pbx`. */
void pbx_begin(struct pbx *pbx, const struct engine *engine, const struct moment *now);
void pbx_tick(struct pbx *pbx, const struct moment *now);
int64_t pbx_due(const struct pbx *pbx); /* when pbx_tick() must be called, ms since boot */
/*
 * A reload has brought another config in. `acl: false`: the ACLs are left as they are from now on.
 * What the helper was forked with needs a restart to be changed: that is said, and the former
 * goes on.
 */
void pbx_configure(struct pbx *pbx, const struct config *config, const struct moment *now);

/* For each event that is logged (asterisk_watch.h). */
void pbx_note(struct pbx *pbx, const struct event *event, const struct moment *now);
/* What the security log has told; NULL: none is followed. */
const struct asterisk_watch *pbx_watch(const struct pbx *pbx);

struct pbx_summary {
	bool wanted;	     /* the config in force asks for ACLs to be kept */
	bool alive;	     /* the helper lives */
	bool restart_needed; /* what the config asks for is not what the helper does */
	bool known;	     /* `acls` holds something */
	const char *acl_file;
	const struct error *problem; /* why there is no helper; code 0: none */
	struct asterisk_keeper_summary acls;
};
/* Pointers are valid until the next call that is not const. */
struct pbx_summary pbx_summary(const struct pbx *pbx);
/* Nothing is to be done about the ACLs, as far as is known, or they are none of ours. */
bool pbx_is_right(const struct pbx_summary *summary);

/* "asterisk":{…} as a member of the daemon's status; null: the config asks for no ACLs,
 * nor for anything that needs a restart. */
void pbx_put(const struct pbx_summary *summary, int64_t boot_wall, struct text *text);

#endif
