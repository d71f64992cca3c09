/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the administrator asked for, as a value. codec/config_yaml.h makes it from files; everything
 * after reads it and never changes it. All strings and arrays live in `arena`.
 *
 * Names are normalised (fqdn.h), prefixes have no host bits, every default is filled in: a reader
 * of this struct needs no further checks.
 */
#ifndef SIPFENCE_CONFIG_H
#define SIPFENCE_CONFIG_H

#include "addr.h"
#include "arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONFIG_MAX_SERVICES = 32, CONFIG_MAX_ADDRESSES = 256 };
enum { CONFIG_MAX_SERVERS = 64, CONFIG_DNS_PORT = 53, CONFIG_MAX_TABLE_NAME = 64 };
enum { COUNTRY_SIZE = 3 }; /* ISO 3166-1 alpha-2, upper case, and a NUL */

enum protocol { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };

struct port_range {
	uint8_t protocol; /* enum protocol */
	uint16_t first, last;
};

struct service {
	const char *name; /* [A-Za-z][A-Za-z0-9_-]{0,31} */
	struct port_range *ports;
	size_t port_count;
	bool local; /* the local subnets pass it */
	/* With sets_only: the sets that are kept, for addresses [0] and prefixes [1] of each
	 * family; NULL: none. */
	const char *sets[2][FAMILY_COUNT];
};

/* Of nftables' tables: whose packets they see. */
enum table_family { TABLE_INET, TABLE_IPV4, TABLE_IPV6 };

/*
 * What an answer must satisfy before its addresses count: all of it. Equal ones are one: compare
 * indices.
 */
struct guard {
	struct prefix *within; /* sorted by prefix_compare; none: anywhere */
	size_t within_count;
	char (*countries)[COUNTRY_SIZE]; /* sorted, distinct; none: any */
	size_t country_count;
	uint32_t *asns; /* autonomous systems; sorted, distinct; none: any */
	size_t asn_count;
	uint32_t max_addresses; /* more in one answer: refused */
	bool require_dnssec;	/* only what a trusted resolver has validated counts */
	uint64_t fingerprint;	/* of the above, the same in every run: keys saved state */
};

enum owner_kind { OWNER_EXTENSION, OWNER_PEER, OWNER_KIND_COUNT };

/* An extension or a peer: who an address is permitted for. */
struct owner {
	const char *id;		  /* as written: "0021" */
	const char *const *names; /* names whose A and AAAA are asked */
	const char *const *srv;	  /* names whose SRV is asked; peers only */
	const struct prefix *fixed;
	uint32_t services; /* bit i: config.services[i] */
	uint32_t guard;	   /* index into config.guards */
	uint32_t name_count, srv_count, fixed_count;
	uint8_t kind;	     /* enum owner_kind */
	uint8_t ipv6_prefix; /* 1 to 128 */
	bool local;	     /* extensions: may also register from the local subnets */
};

/* A DNS server. */
struct config_server {
	struct addr addr;
	uint16_t port; /* CONFIG_DNS_PORT when none is given */
};

struct config {
	struct arena arena;
	const char *path; /* of the main file */

	struct service *services; /* services[0] is sip */
	size_t service_count;
	struct owner *owners; /* extensions in the order of the files, then peers */
	size_t owner_count;
	struct guard *guards;
	size_t guard_count;
	struct prefix *local_subnets;
	size_t local_subnet_count;
	struct prefix *destinations;
	size_t destination_count;

	struct {
		const struct config_server *servers; /* in the order of the file */
		size_t server_count;		     /* 0: resolv.conf */
		uint32_t timeout_ms;		     /* whole budget of one question */
		uint32_t in_flight;		     /* 0: adapt */
		/* Whose word on DNSSEC counts; sorted by prefix_compare. Never empty: loopback. */
		const struct prefix *trusted;
		size_t trusted_count;
	} resolver;

	/* MaxMind-format databases, absolute paths; NULL: none. */
	struct {
		const char *country, *asn;
		int64_t max_age; /* seconds since a database was built: then it is stale */
	} geoip;

	/* All in seconds. */
	int64_t refresh_min, refresh_max;
	int64_t hold, gone;
	int64_t linger[OWNER_KIND_COUNT];
	uint32_t changes_per_hour; /* a name that changes more often is flapping */

	bool monitor;
	bool accept_replies;
	const char *table;
	/* The table is the admin's own, and only the services' sets of it are kept. Nothing is
	 * guarded by itself: no ports, no chains, no mode. */
	bool sets_only;
	uint8_t table_family;	/* enum table_family; TABLE_INET but with sets_only */
	bool lock;		/* the daemon may own its table */
	uint32_t log_rate;	/* log lines per log_rate_unit; 0: no log */
	uint32_t log_rate_unit; /* seconds: 1, 60, 3600, 86400 */
	const char *log_prefix;
	const char *user; /* the daemon's; NULL: not given, CONFIG_DEFAULT_USER if there is one */

	const char *metrics_file; /* an absolute path; NULL: none */
	/* A program (an absolute path) and its arguments, ended by NULL; NULL: none. */
	const char *const *on_change;

	struct {
		bool acl;	      /* the daemon keeps the ACLs */
		bool evict;	      /* and throws registrations out that they don't permit */
		bool hangup;	      /* and ends the calls of who was thrown out */
		const char *acl_file; /* of named ACLs (codec/asterisk_acl.h); an absolute path */
		const char *security_log; /* that is followed; an absolute path; NULL: none */
		/* What passes a command to Asterisk's command line, ended by NULL; the command
		 * itself is one more argument. The program may be a name without a slash. */
		const char *const *command;
	} asterisk;
};

#define CONFIG_DEFAULT_USER  "sipfence"
#define CONFIG_DEFAULT_TABLE "sipfence"

/* "enforce", "monitor", "sets-only" */
const char *config_mode_name(const struct config *config);

void config_free(struct config *config); /* NULL is allowed; frees the struct too */

#endif
