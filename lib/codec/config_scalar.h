/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values of a config that are one text: numbers, durations, names, addresses. Each function reports
 * what is wrong with the text at its place, and writes its output only when nothing is.
 * Internal to the config parser.
 */
#ifndef SIPFENCE_CONFIG_SCALAR_H
#define SIPFENCE_CONFIG_SCALAR_H

#include "config_build.h"
#include "fqdn.h"

bool scalar_bool(struct reader *reader, const yaml_node_t *node, bool *ret_value);
/* The index of the text in `choices`, or -1. */
int scalar_choice(
	struct reader *reader, const yaml_node_t *node, const char *const *choices, size_t count);
bool scalar_number(struct reader *reader, const yaml_node_t *node, const char *what, uint32_t least,
	uint32_t most, uint32_t *ret_number);
/* In milliseconds, between `least` and `most` (given as text for the message). */
bool scalar_milliseconds(struct reader *reader, const yaml_node_t *node, const char *least,
	const char *most, int64_t *ret_milliseconds);
/* Whole seconds, from `least` up. */
bool scalar_seconds(
	struct reader *reader, const yaml_node_t *node, const char *least, int64_t *ret_seconds);

/* A name, normalised into `buffer` of FQDN_SIZE bytes. */
bool scalar_name(struct reader *reader, const yaml_node_t *node, char *buffer);
/* A name of the form _service._protocol.domain. */
bool scalar_srv_name(struct reader *reader, const yaml_node_t *node, char *buffer);
/* Whether a text is meant as an address or prefix, however badly written. */
bool scalar_looks_like_address(const yaml_node_t *node);
/* Whether a text is an address with a port. */
bool scalar_has_port(const yaml_node_t *node);
bool scalar_prefix(struct reader *reader, const yaml_node_t *node, struct prefix *ret_prefix);
/* A prefix that packets may rightly come from: not everything, not loopback, … */
bool scalar_source_prefix(
	struct reader *reader, const yaml_node_t *node, struct prefix *ret_prefix);
/* An address with or without a port, as a resolver is named. */
bool scalar_server(
	struct reader *reader, const yaml_node_t *node, struct config_server *ret_server);
/* The two letters of a country, into `buffer` of COUNTRY_SIZE bytes, in upper case. */
bool scalar_country(struct reader *reader, const yaml_node_t *node, char *buffer);
/* The number of an autonomous system: 577 or AS577. */
bool scalar_asn(struct reader *reader, const yaml_node_t *node, uint32_t *ret_asn);
/* The absolute path of `what`, in the config's memory; NULL: not one, and reported. */
const char *scalar_path(struct reader *reader, const yaml_node_t *node, const char *what);

/* A letter or "_", then letters, digits, "_" and "-". */
bool node_is_identifier(const yaml_node_t *node, size_t longest);
/* The name of `what` ("a table") in nftables, in the config's memory; NULL: not one, and reported.
 */
const char *scalar_nft_name(struct reader *reader, const yaml_node_t *node, const char *what);

/* Adds to a list, place included; false when out of memory (remembered). */
bool list_add_prefix(struct reader *reader, const yaml_node_t *node, struct prefix_list *list,
	const struct prefix *prefix);
bool list_add_name(
	struct reader *reader, const yaml_node_t *node, struct name_list *list, const char *name);
/* Sorts, and reports each item that stands there twice. */
void list_sort_prefixes(struct build *build, struct prefix_list *list);
void list_sort_names(struct build *build, struct name_list *list, const char *what);

#endif
