/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All names that must be asked, and who owns them: the config's names, and the targets of the
 * peers' SRV names. Made anew when the config or an SRV answer changes; what is known of the names
 * moves over.
 *
 * Hosts of one name share one question, whatever else their guards say; but those that need
 * validated answers have one of their own, because it may go to other servers. An SRV name has no
 * guard: its answers must be validated when an owner's guard requires it.
 */
#ifndef SIPFENCE_ROSTER_H
#define SIPFENCE_ROSTER_H

#include "config.h"
#include "host.h"

/* `owner` is let in from `host`. Sorted by owner, then by the order of the config. */
struct binding {
	uint32_t owner; /* index into config.owners */
	uint32_t host;	/* index into roster.hosts */
};

struct roster {
	struct host *hosts; /* sorted by name, then guard; distinct */
	size_t host_count;
	struct srv *srvs; /* sorted by name; distinct */
	size_t srv_count;
	struct binding *bindings;
	size_t binding_count;
	struct arena names; /* of SRV targets; the other names are the config's */
	int64_t *linger;    /* of each host: the longest of its owners' */
};

/*
 * The roster of `config`, where SRV names have the targets that `old` knows. States move out of
 * `old` (NULL: none), which is left without them but must still be freed; a host keeps its state
 * when name and guard are the same. -ENOMEM: `old` is untouched.
 */
int roster_build(const struct config *config, struct roster *old, struct roster **ret_roster);
/*
 * The roster of `config` with what `old`, a roster of `old_config`, knows of the same names; `old`
 * is untouched. A host whose guard is another now keeps the addresses that it lets through (see
 * host_inherit()), but has to be asked anew. -ENOMEM.
 */
int roster_inherit(const struct config *config, const struct roster *old,
	const struct config *old_config, const struct surroundings *around, int64_t now,
	struct roster **ret_roster);
struct roster *roster_free(struct roster *roster); /* returns NULL */

/* Is there a host `other`, with the same name? Those stand together. */
bool roster_same_name(const struct roster *roster, size_t host, size_t other);
/* Of two hosts of one name: does one question serve both? */
bool roster_same_question(const struct roster *roster, size_t host, size_t other);
/* The host that has the question of this one. */
size_t roster_first_of_question(const struct roster *roster, size_t host);
bool roster_is_first_of_question(const struct roster *roster, size_t host);

/* Drops what has outlived its time in every host and SRV name. */
bool roster_expire(struct roster *roster, const struct config *config, int64_t now);

/* NULL: no such SRV name. */
struct srv *roster_find_srv(const struct roster *roster, const char *name);

#endif
