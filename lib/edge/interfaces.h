/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The networks that this machine is in, as its interfaces say. */
#ifndef SIPFENCE_INTERFACES_H
#define SIPFENCE_INTERFACES_H

#include "addr.h"
#include "error.h"

#include <net/if.h>
#include <stddef.h>

struct interface_subnet {
	char interface[IF_NAMESIZE];
	struct prefix prefix;
};

/* Of all interfaces that are up, in the kernel's order; a network may be there twice. free() it. */
int interfaces_list(struct interface_subnet **ret_subnets, size_t *ret_count, struct error *error);

#endif
