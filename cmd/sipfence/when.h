/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Times on the command line. */
#ifndef SIPFENCE_WHEN_H
#define SIPFENCE_WHEN_H

#include <stdbool.h>
#include <stdint.h>

/*
 * So long before `now` ("2d", "1h30m"), "yesterday", "today", a time of today (10:55), or a date:
 * 2026-11-22, 2026-11-22 10:55, with seconds, with a T for the blank; local time, or with Z or
 * +01:00 behind it.
 */
bool when_parse(const char *text, int64_t now, int64_t *ret_wall);

#endif
