/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SIPFENCE_CLOCK_H
#define SIPFENCE_CLOCK_H

#include "steady.h"

#include <stdint.h>

/* The machine's clocks now (core/steady.h). Never fails: what can't be read is empty. */
struct clock_reading clock_read(void);

/* Milliseconds since boot, suspend included; goes forward only. */
int64_t clock_boot_ms(void);
/* Seconds since the epoch; whoever sets the clock moves it anywhere. */
int64_t clock_wall(void);

#endif
