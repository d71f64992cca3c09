/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A first config, as text with comments, from what was found on this machine. A value of values: it
 * reads nothing. What it makes passes config_yaml_parse(), lets in nobody but local subnets, and
 * drops nobody, since its mode is monitor.
 */
#ifndef SIPFENCE_FIRST_CONFIG_H
#define SIPFENCE_FIRST_CONFIG_H

#include "asterisk_inventory.h"
#include "interfaces.h"
#include "text.h"

#include <stddef.h>

struct first_config_counts {
	size_t extensions;  /* in the config */
	size_t left_out;    /* ids that a config does not take */
	size_t subnets;	    /* in force; those in comments are not counted */
	size_t peers;	    /* in comments */
	size_t other_ports; /* Asterisk listens on other ports than the usual ones */
};

/* Where Asterisk's files are. */
struct first_config_origin {
	const char *files;     /* the names of those that were read; NULL: none */
	const char *folder;    /* theirs, an absolute path; NULL: the usual one */
	const char *main_file; /* asterisk.conf of that folder; NULL: the usual one */
};

/* See text.failed. */
void first_config_print(const struct asterisk_inventory *inventory,
	const struct first_config_origin *origin, const struct interface_subnet *subnets,
	size_t subnet_count, struct text *text, struct first_config_counts *ret_counts);

#endif
