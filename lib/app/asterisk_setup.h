/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether Asterisk's own files bind each extension to its ACL. An ACL that no peer or endpoint
 * names keeps nobody out, and one whose file acl.conf does not include is not there. These files
 * are the administrator's: they are read, and never written.
 */
#ifndef SIPFENCE_ASTERISK_SETUP_H
#define SIPFENCE_ASTERISK_SETUP_H

#include "asterisk.h"
#include "asterisk_conf.h"
#include "error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum asterisk_file {
	ASTERISK_SIP_CONF,
	ASTERISK_PJSIP_CONF,
	ASTERISK_PJSIP_WIZARD_CONF,
	ASTERISK_ACL_CONF,
	ASTERISK_FILE_COUNT
};

struct asterisk_source {
	char path[PATH_MAX];
	struct asterisk_conf *conf; /* NULL: not read */
	struct error error;	    /* why not; -ENOENT: it is not there */
};

enum asterisk_bound {
	ASTERISK_BOUND,		/* to its ACL */
	ASTERISK_NOT_BOUND,	/* it names no ACL */
	ASTERISK_BOUND_ELSEHOW, /* it names others, but not its own */
};

/* A peer of chan_sip or an endpoint of pjsip that is an extension of the config. */
struct asterisk_binding {
	uint32_t extension;	 /* index into the ACLs */
	enum asterisk_file file; /* its kind */
	enum asterisk_bound bound;
	const char *path; /* of its section's head; if bound elsehow, of the setting */
	size_t line;
	const char *other; /* bound elsehow: to what; else NULL */
};

struct asterisk_setup {
	struct asterisk_source sources[ASTERISK_FILE_COUNT];
	struct asterisk_binding *bindings; /* in the order of files and sections */
	size_t count, capacity;
	bool *known;   /* of each extension: it has such a section */
	bool included; /* acl.conf includes the ACL file */
	bool general;  /* acl.conf has a section [general]: Asterisk discards the whole file then */
};

/* Looks into the files beside `acl_file`, or, where there is none, in the folder above. What can't
 * be read is in the sources. -ENOMEM. */
int asterisk_setup_read(
	const struct asterisk_acls *acls, const char *acl_file, struct asterisk_setup *ret_setup);
void asterisk_setup_clear(struct asterisk_setup *setup);

/* Its peers or endpoints could be looked for: at least one of the files was read. */
bool asterisk_setup_has_phones(const struct asterisk_setup *setup);
/* The key that names an endpoint's ACLs in this file: "acl", "endpoint/acl". */
const char *asterisk_setup_key(enum asterisk_file file);
const char *asterisk_setup_driver(enum asterisk_file file); /* "chan_sip" or "pjsip" */

#endif
