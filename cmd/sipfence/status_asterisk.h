/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon says of Asterisk's ACLs, for people. `status` is that of sipfence(8), JSON. */
#ifndef SIPFENCE_STATUS_ASTERISK_H
#define SIPFENCE_STATUS_ASTERISK_H

#include "command.h"

#include <jansson.h>
#include <stdbool.h>

/* They are not in force, or who should be evicted is still there. */
bool status_asterisk_is_wrong(const json_t *status);
/* Lines that begin with a colour; nothing if nothing is wrong. */
void status_print_asterisk_problems(const struct invocation *invocation, const json_t *status);
/* One line when they are in force or on the way; nothing where the config asks for none. */
void status_print_asterisk(const json_t *status);

#endif
