/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SIPFENCE_CONFIRM_H
#define SIPFENCE_CONFIRM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Asks at the terminal on standard input whether to keep what was done. True only when the answer
 * is yes in time. A hang-up, an interrupt or the end of input mean no: the session may have been
 * cut off by what was done.
 */
bool confirm_at_terminal(uint32_t seconds);

#endif
