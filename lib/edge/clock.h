/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SIPFENCE_CLOCK_H
#define SIPFENCE_CLOCK_H

#include "steady.h"

/* The machine's clocks now (core/steady.h). Never fails: what can't be read is empty. */
struct clock_reading clock_read(void);

#endif
