/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "when.h"
#include "asterisk_log.h"
#include "duration.h"
#include "local_time.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { FULL_SIZE = 64 };

static void add_date(time_t day, const char *time_of_day, char full[FULL_SIZE])
{
	struct tm parts;

	if (!localtime_r(&day, &parts) || strftime(full, FULL_SIZE, "%Y-%m-%d ", &parts) == 0)
		full[0] = '\0';
	else
		strncat(full, time_of_day, FULL_SIZE - strlen(full) - 1);
}

/* What speaks of today, with its date; else as it is. */
static void complete(const char *text, int64_t now, char full[FULL_SIZE])
{
	size_t length = strlen(text);
	struct tm parts;
	time_t day = (time_t)now;

	if (strcmp(text, "today") == 0) {
		add_date(day, "00:00:00", full);
	} else if (strcmp(text, "yesterday") == 0) {
		/* Noon of the day before, however long the days are. */
		if (localtime_r(&day, &parts)) {
			parts.tm_mday--;
			parts.tm_hour = 12;
			parts.tm_isdst = -1;
			day = mktime(&parts);
		}
		add_date(day, "00:00:00", full);
	} else if ((length == 5 || length == 8) && text[2] == ':') {
		add_date(day, text, full);
	} else {
		snprintf(full, FULL_SIZE, "%s", text);
	}
}

bool when_parse(const char *text, int64_t now, int64_t *ret_wall)
{
	struct local_clock clock = {0};
	struct asterisk_time time;
	struct local_date date;
	char given[FULL_SIZE], full[FULL_SIZE + 10];
	int64_t ago;
	size_t length = strlen(text);

	if (duration_parse(text, length, &ago) == DURATION_OK) {
		*ret_wall = now - ago / 1000;
		return true;
	}
	complete(text, now, given);
	length = strlen(given);
	/* What is not given is the beginning of the day or the minute. */
	if (length < 10 || length > 30)
		return false;
	snprintf(full, sizeof(full), "%s%s", given,
		length == 10   ? " 00:00:00"
		: length == 16 ? ":00"
			       : "");
	if (strspn(full, "0123456789") != 4 ||
		strspn(full + 11, "0123456789:Z+- ") != strlen(full + 11) ||
		!asterisk_log_date(full, strlen(full), &time))
		return false;
	if (time.kind == ASTERISK_TIME_EXACT) {
		*ret_wall = time.wall;
		return true;
	}
	date = (struct local_date){
		time.year, time.month, time.day, time.hour, time.minute, time.second};
	return strlen(full) == 19 && local_time_wall(&clock, &date, INT64_MIN, ret_wall);
}
