/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who stands in Asterisk's own files: the phones, the trunks, and the ports on which it listens for
 * SIP. Values only; the files are read by asterisk_inventory_read().
 *
 * A peer of chan_sip is a phone if its host is `dynamic`, or a private address; else a trunk. An
 * endpoint of pjsip is a trunk if its AOR has a contact of its own, or an `identify` tells it by
 * its address; else a phone. No password leaves this module: only how long it is.
 */
#ifndef SIPFENCE_ASTERISK_INVENTORY_H
#define SIPFENCE_ASTERISK_INVENTORY_H

#include "arena.h"
#include "asterisk_setup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct asterisk_phone {
	const char *id;
	enum asterisk_file file; /* its kind */
	const char *path;	 /* of its section's head */
	size_t line;
	bool bound; /* it has a deny, a permit or an acl that Asterisk obeys */
	bool local; /* its permits, or its fixed host, are private, and the rest is denied */
	bool open;  /* nothing of what was read asks it for a password */
	bool unregistrable; /* an endpoint without AORs: it can call, and nobody can register */
	/* The section of pjsip's that has its password, and that none of the files has: whether it
	 * needs one is not known. NULL: no such matter. */
	const char *unseen;
	bool hashed;		 /* its password stands there as a hash: its length is not known */
	size_t secret_length;	 /* characters; of the shortest, if it has several; 0: empty */
	const char *secret_path; /* where the password, or its lack, is */
	size_t secret_line;
	const char *secret_key; /* "secret", "password", "inbound_auth/password" */
};

struct asterisk_trunk {
	const char *id;
	const char *host; /* a name or an address, without port */
	const char *path;
	size_t line;
	bool usable; /* `host` is an address, a prefix or a full name, as a config takes it */
};

struct asterisk_port {
	uint8_t protocol; /* enum protocol */
	uint16_t port;
	const char *path; /* NULL: that is chan_sip's default */
	size_t line;
};

/* A setting that is on or off for all. */
struct asterisk_switch {
	bool known; /* the file that has it was read, and [general] is there */
	bool on;
	const char *path; /* of the setting; if it is not set, of [general] */
	size_t line;
	bool set;
};

struct asterisk_inventory {
	struct arena arena;
	const struct asterisk_conf *confs[ASTERISK_FILE_COUNT]; /* not owned; that it is made of */
	struct asterisk_phone *phones;
	size_t phone_count, phone_capacity;
	struct asterisk_trunk *trunks; /* distinct by id and host */
	size_t trunk_count, trunk_capacity;
	struct asterisk_port *ports; /* distinct; websockets are not among them */
	size_t port_count, port_capacity;
	struct asterisk_switch always_auth_reject, allow_guest; /* of sip.conf */
	const char *anonymous_path; /* of pjsip's endpoint of that name; NULL: none */
	size_t anonymous_line;
	size_t not_followed; /* #exec, includes that can't be read, lines that are none */
	bool failed;	     /* while it is made */
};

/* Of the files that were read; a conf may be NULL. Points into them. -ENOMEM. */
int asterisk_inventory_make(const struct asterisk_conf *const confs[ASTERISK_FILE_COUNT],
	struct asterisk_inventory *ret_inventory);
void asterisk_inventory_clear(struct asterisk_inventory *inventory);
/* asterisk_conf_custom() of whichever of them it is a file of. */
const char *asterisk_inventory_custom(const struct asterisk_inventory *inventory, const char *file);

/* The files of Asterisk's configuration folder; what can't be read says so itself. -ENOMEM. */
int asterisk_inventory_read(
	const char *folder, struct asterisk_source ret_sources[ASTERISK_FILE_COUNT]);
void asterisk_inventory_clear_sources(struct asterisk_source sources[ASTERISK_FILE_COUNT]);

#endif
