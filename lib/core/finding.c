/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "finding.h"

#include <stdlib.h>
#include <string.h>

static const char *keep(struct findings *findings, const char *string)
{
	const char *copy = arena_copy(&findings->arena, string, strlen(string));

	findings->failed |= !copy;
	return copy ? copy : "";
}

/* Room for one more; NULL, and `failed`, without memory. */
static void *make_room(
	struct findings *findings, void *list, size_t count, size_t *capacity, size_t size)
{
	size_t more = *capacity ? *capacity * 2 : 16;

	if (count < *capacity)
		return list;
	list = reallocarray(list, more, size);
	if (!list)
		findings->failed = true;
	else
		*capacity = more;
	return list;
}

void findings_add_plain(struct findings *findings, enum finding_level level, const char *check,
	const char *what, const char *why, const char *change, const char *place)
{
	size_t same = 0;
	void *list;

	findings->problems += level == FINDING_PROBLEM;
	for (size_t i = findings->count; i > 0; i--)
		same += findings->list[i - 1].level == level &&
			strcmp(findings->list[i - 1].check, check) == 0;
	if (same == FINDINGS_OF_A_CHECK) {
		findings->left_off++;
		return;
	}
	list = make_room(findings, findings->list, findings->count, &findings->capacity,
		sizeof(*findings->list));
	if (!list)
		return;
	findings->list = list;
	findings->list[findings->count++] = (struct finding){.level = level,
		.check = check,
		.what = keep(findings, what),
		.why = why,
		.change = keep(findings, change),
		.place = keep(findings, place)};
}

void findings_add(struct findings *findings, enum finding_level level, const char *check,
	struct text *what, const char *why, struct text *change, struct text *place)
{
	struct text *const texts[] = {what, change, place};
	const char *strings[3];

	for (size_t i = 0; i < 3; i++) {
		findings->failed |= texts[i] && texts[i]->failed;
		strings[i] = texts[i] ? text_string(texts[i]) : "";
	}
	findings_add_plain(findings, level, check, strings[0], why, strings[1], strings[2]);
	for (size_t i = 0; i < 3; i++) {
		if (texts[i])
			text_clear(texts[i]);
	}
}

void findings_skip(
	struct findings *findings, const char *check, const char *why, const char *change)
{
	void *list = make_room(findings, findings->unchecked, findings->unchecked_count,
		&findings->unchecked_capacity, sizeof(*findings->unchecked));

	if (!list)
		return;
	findings->unchecked = list;
	findings->unchecked[findings->unchecked_count++] = (struct unchecked){
		.check = check, .why = keep(findings, why), .change = keep(findings, change)};
}

void findings_clear(struct findings *findings)
{
	free(findings->list);
	free(findings->unchecked);
	arena_free(&findings->arena);
	*findings = (struct findings){0};
}
