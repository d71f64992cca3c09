/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "drift.h"

static void note(struct drifted *drifted, const struct set *set, const struct element *element)
{
	if (drifted->count < DRIFT_NAMED) {
		drifted->first[drifted->count].set = set->name;
		drifted->first[drifted->count].prefix = element->prefix;
	}
	drifted->count++;
}

/* Both sides are sorted: one pass. */
static void compare(const struct set *put, const struct set *found, struct drift *drift)
{
	size_t found_count = found ? found->count : 0, i = 0, j = 0;

	while (i < found_count || j < put->count) {
		int order = i == found_count  ? 1
			    : j == put->count ? -1
					      : prefix_compare(&found->elements[i].prefix,
							&put->elements[j].prefix);

		if (order < 0)
			note(&drift->added, put, &found->elements[i]);
		if (order > 0)
			note(&drift->missing, put, &put->elements[j]);
		i += order <= 0;
		j += order >= 0;
	}
}

void drift_find(const struct ruleset *put, const struct observed *observed, struct drift *ret_drift)
{
	*ret_drift = (struct drift){0};
	for (size_t i = 0; i < put->set_count; i++) {
		const struct set *set = &put->sets[i];

		if (set->kind == SET_HOSTS || set->kind == SET_NETS)
			compare(set, observed_find_set(observed, set->name), ret_drift);
	}
}

bool drift_any(const struct drift *drift)
{
	return drift->added.count > 0 || drift->missing.count > 0;
}

static void print_list(const struct drifted *drifted, struct text *text)
{
	for (size_t i = 0; i < drifted->count && i < DRIFT_NAMED; i++) {
		char prefix[PREFIX_TEXT_SIZE];

		prefix_print(&drifted->first[i].prefix, prefix);
		text_printf(text, "%s%s (%s)", i ? ", " : ": ", prefix, drifted->first[i].set);
	}
	if (drifted->count > DRIFT_NAMED)
		text_printf(text, " and %zu more", drifted->count - DRIFT_NAMED);
}

void drift_print(const struct drift *drift, struct text *text)
{
	size_t added = drift->added.count, missing = drift->missing.count;

	if (added > 0) {
		text_printf(text, "%zu element%s added", added, added == 1 ? " was" : "s were");
		print_list(&drift->added, text);
	}
	if (missing > 0) {
		text_printf(text, "%s%zu%s %s missing", added ? "; " : "", missing,
			added	       ? ""
			: missing == 1 ? " element"
				       : " elements",
			missing == 1 ? "is" : "are");
		print_list(&drift->missing, text);
	}
}
