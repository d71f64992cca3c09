/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct planner {
	struct ruleset *wanted;
	const struct observed *observed;
	struct plan *plan;
	bool failed; /* out of memory, asked once at the end */
};

static bool append(struct plan *plan, bool add, size_t set, const struct element *element)
{
	if (plan->count == plan->capacity) {
		size_t capacity = plan->capacity ? plan->capacity * 2 : 64;
		struct change *changes = reallocarray(plan->changes, capacity, sizeof(*changes));

		if (!changes)
			return false;
		plan->changes = changes;
		plan->capacity = capacity;
	}
	plan->changes[plan->count++] =
		(struct change){.add = add, .set = (uint32_t)set, .element = *element};
	return true;
}

static void add_change(struct planner *planner, bool add, size_t set, const struct element *element)
{
	if (!append(planner->plan, add, set, element))
		planner->failed = true;
}

static bool same_comment(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Both sides are sorted: one pass. Deletions stand before the additions of the same set, since a
 * prefix may take the place of others that it overlaps. */
static void compare_elements(struct planner *planner, size_t index, const struct set *old)
{
	struct set *set = &planner->wanted->sets[index];
	size_t old_count = old ? old->count : 0;
	int last_round = 0; /* 1: there is something to add */

	for (int adding = 0; adding <= last_round; adding++) {
		size_t i = 0, j = 0;

		while (i < old_count || j < set->count) {
			int order = i == old_count    ? 1
				    : j == set->count ? -1
						      : prefix_compare(&old->elements[i].prefix,
								&set->elements[j].prefix);
			bool renamed;

			if (order < 0) {
				if (!adding)
					add_change(planner, false, index, &old->elements[i]);
				i++;
				continue;
			}
			if (order > 0) {
				last_round = 1;
				if (adding)
					add_change(planner, true, index, &set->elements[j]);
				j++;
				continue;
			}
			renamed = !same_comment(old->elements[i].comment, set->elements[j].comment);
			set->elements[j].packets = old->elements[i].packets;
			set->elements[j].bytes = old->elements[i].bytes;
			last_round |= renamed;
			if (renamed)
				add_change(planner, adding, index,
					adding ? &set->elements[j] : &old->elements[i]);
			i++;
			j++;
		}
	}
}

static bool observed_permits(const struct planner *planner, size_t service, const struct addr *addr)
{
	for (size_t i = 0; i < planner->observed->set_count; i++) {
		const struct set *set = &planner->observed->sets[i];

		if ((set->kind == SET_HOSTS || set->kind == SET_NETS) && set->service == service &&
			set->family == addr->family &&
			element_find(set->elements, set->count, addr))
			return true;
	}
	return false;
}

static int compare_elements_by_prefix(const void *a, const void *b)
{
	return prefix_compare(
		&((const struct element *)a)->prefix, &((const struct element *)b)->prefix);
}

/* Soonest to expire last; 0 is the full time-out. */
static int compare_by_expiry(const void *a, const void *b)
{
	const struct element *left = a, *right = b;
	uint64_t l = left->expires_ms ? left->expires_ms : UINT64_MAX;
	uint64_t r = right->expires_ms ? right->expires_ms : UINT64_MAX;

	return l > r ? -1 : l < r;
}

/* Sorted and distinct; of more than fit, those that would expire first are left out. */
static size_t settle(struct element *elements, size_t count, size_t limit)
{
	size_t kept = 0;

	if (count == 0)
		return 0;
	qsort(elements, count, sizeof(*elements), compare_elements_by_prefix);
	for (size_t i = 0; i < count; i++) {
		if (kept == 0 ||
			prefix_compare(&elements[kept - 1].prefix, &elements[i].prefix) != 0)
			elements[kept++] = elements[i];
	}
	if (kept > limit) {
		qsort(elements, kept, sizeof(*elements), compare_by_expiry);
		kept = limit;
		qsort(elements, kept, sizeof(*elements), compare_elements_by_prefix);
	}
	return kept;
}

static struct element lone(const struct addr *addr)
{
	return (struct element){.prefix = prefix_of(addr, addr_bits((enum family)addr->family))};
}

/*
 * An unlisted source whose flow was let in by the old list, or by there being none that enforced.
 * Not one that only answers flows that the PBX opened: to let those in is what `replies: accept` is
 * for.
 */
static bool lost_its_permit(const struct planner *planner, const struct set *set, bool had_set,
	const struct talker *talker)
{
	bool was_enforced = had_set && !planner->observed->monitor;
	bool only_rejected = talker->protocol == 0;

	if (talker->service != set->service || talker->addr.family != set->family ||
		ruleset_permits(planner->wanted, set->service, &talker->addr))
		return false;
	/* A rejected set names strangers only where replies were let in; else it has our trunks,
	 * too. */
	if (only_rejected && !(had_set && planner->observed->monitor))
		return false;
	if (!was_enforced && !talker->opened_here)
		return true;
	return observed_permits(planner, set->service, &talker->addr);
}

/*
 * The revoked set as it must be: who is in it stays until permitted again; who leaves hosts, and
 * whose flow is open though no permit is left, comes in.
 */
static void fill_revoked(struct planner *planner, struct set *set, const struct set *old,
	const struct talker *talkers, size_t talker_count)
{
	const struct set *hosts = NULL;
	size_t room = (old ? old->count : 0) + talker_count, count = 0;
	struct element *elements;

	for (size_t i = 0; i < planner->observed->set_count; i++) {
		const struct set *candidate = &planner->observed->sets[i];

		if (candidate->kind == SET_HOSTS && candidate->service == set->service &&
			candidate->family == set->family)
			hosts = candidate;
	}
	room += hosts ? hosts->count : 0;
	elements = arena_alloc(&planner->wanted->arena, (room ? room : 1) * sizeof(*elements));
	if (!elements) {
		planner->failed = true;
		return;
	}
	for (size_t i = 0; old && i < old->count; i++) {
		if (!ruleset_permits(planner->wanted, set->service, &old->elements[i].prefix.addr))
			elements[count++] = old->elements[i];
	}
	for (size_t i = 0; hosts && i < hosts->count; i++) {
		const struct addr *addr = &hosts->elements[i].prefix.addr;

		if (!ruleset_permits(planner->wanted, set->service, addr))
			elements[count++] = lone(addr);
	}
	for (size_t i = 0; i < talker_count; i++) {
		if (lost_its_permit(planner, set, old != NULL, &talkers[i]))
			elements[count++] = lone(&talkers[i].addr);
	}
	set->elements = elements;
	set->count = settle(elements, count, DYNAMIC_SET_SIZE);
}

/* `old` NULL: there is none, and those of an earlier comparison are gone. */
static void carry_rejected(struct planner *planner, struct set *set, const struct set *old)
{
	set->elements = old ? old->elements : NULL;
	set->count = old ? old->count : 0;
	/* A set of another making may have had more room. */
	if (set->count <= DYNAMIC_SET_SIZE)
		return;
	set->elements = arena_alloc(&planner->wanted->arena, old->count * sizeof(*old->elements));
	if (!set->elements) {
		planner->failed = true;
		return;
	}
	memcpy(set->elements, old->elements, old->count * sizeof(*old->elements));
	set->count = settle(set->elements, old->count, DYNAMIC_SET_SIZE);
}

static void compare_set(
	struct planner *planner, size_t index, const struct talker *talkers, size_t talker_count)
{
	struct set *set = &planner->wanted->sets[index];
	const struct set *old = observed_find_set(planner->observed, set->name);

	switch ((enum set_kind)set->kind) {
	case SET_PORTS:
	case SET_DESTINATIONS:
		return; /* part of the shape */
	case SET_HOSTS:
	case SET_NETS:
		compare_elements(planner, index, old);
		return;
	case SET_REJECTED:
		carry_rejected(planner, set, old);
		return;
	case SET_REVOKED:
		fill_revoked(planner, set, old, talkers, talker_count);
		compare_elements(planner, index, old);
		return;
	}
}

static void carry_counters(struct planner *planner)
{
	for (size_t i = 0; i < planner->wanted->chain_count; i++) {
		struct chain *chain = &planner->wanted->chains[i];

		for (size_t j = 0; j < planner->observed->counter_count; j++) {
			const struct counter *counter = &planner->observed->counters[j];

			if (strcmp(counter->chain, chain->name) != 0)
				continue;
			for (size_t k = 0; k < chain->count; k++) {
				struct expression *first = &chain->rules[k].expressions[0];

				if (first->kind == EXPRESSION_COUNTER) {
					first->packets = counter->packets;
					first->bytes = counter->bytes;
				}
			}
		}
	}
}

/* A table becomes ours when it is made, or when its owner has ended and left it; and the kernel
 * lets no owner give it up. An orphan is as good as a plain one to who wants no lock. */
static bool has_wrong_lock(const struct ruleset *wanted, const struct observed *observed)
{
	return wanted->lock ? !observed->persistent && !observed->ours : observed->ours;
}

static bool has_too_little_room(const struct ruleset *wanted, const struct observed *observed)
{
	for (size_t i = 0; i < wanted->set_count; i++) {
		const struct set *set = &wanted->sets[i];
		const struct set *old = observed_find_set(observed, set->name);

		if (set->kind == SET_HOSTS && old && old->room && set->count > old->room)
			return true;
	}
	return false;
}

/* `wanted` may be compared more than once: the room of a table that stayed is none for a swap. */
static void settle_room(struct ruleset *wanted, const struct observed *observed, bool swap)
{
	for (size_t i = 0; i < wanted->set_count; i++) {
		struct set *set = &wanted->sets[i];
		const struct set *old = observed_find_set(observed, set->name);

		if (set->kind == SET_HOSTS)
			set->room = !swap && old ? old->room : set->fresh_room;
	}
}

static bool must_swap(const struct ruleset *wanted, const char *wanted_shape,
	const struct observed *observed, enum plan_cause *ret_cause)
{
	if (wanted->sets_only)
		return false;
	if (!observed->present)
		*ret_cause = PLAN_NO_TABLE;
	else if (strcmp(observed->shape, wanted_shape) != 0)
		*ret_cause = PLAN_OTHER_RULES;
	else if (has_wrong_lock(wanted, observed))
		*ret_cause = PLAN_OTHER_LOCK;
	else if (has_too_little_room(wanted, observed))
		*ret_cause = PLAN_NO_ROOM;
	else
		return false;
	return true;
}

int plan_make(struct ruleset *wanted, const char *wanted_shape, const struct observed *observed,
	const struct talker *talkers, size_t talker_count, struct plan *ret_plan)
{
	struct plan plan = {.kind = PLAN_NOTHING};
	struct planner planner = {.wanted = wanted, .observed = observed, .plan = &plan};

	for (size_t i = 0; i < wanted->set_count && !planner.failed; i++)
		compare_set(&planner, i, talkers, talker_count);
	if (planner.failed) {
		plan_clear(&plan);
		return -ENOMEM;
	}
	carry_counters(&planner);
	if (must_swap(wanted, wanted_shape, observed, &plan.cause))
		plan.kind = PLAN_SWAP;
	else if (!wanted->sets_only)
		plan.adopt = wanted->lock && !observed->owned;
	if (!wanted->sets_only)
		settle_room(wanted, observed, plan.kind == PLAN_SWAP);
	if (plan.kind != PLAN_SWAP && (plan.count > 0 || plan.adopt))
		plan.kind = PLAN_ELEMENTS;
	*ret_plan = plan;
	return 0;
}

void plan_clear(struct plan *plan)
{
	free(plan->changes);
	*plan = (struct plan){0};
}

static bool permits_sources(const struct set *set)
{
	return set->kind == SET_HOSTS || set->kind == SET_NETS;
}

/* Changes that add to the set, or that delete from it. */
static size_t count_changes(const struct plan *plan, uint32_t set, bool add)
{
	size_t count = 0;

	for (size_t i = 0; i < plan->count; i++)
		count += plan->changes[i].set == set && plan->changes[i].add == add;
	return count;
}

/* May the additions go before the deletions of the same set? */
static bool may_be_added_first(const struct plan *plan, const struct ruleset *ruleset,
	const struct observed *observed, uint32_t index)
{
	const struct set *set = &ruleset->sets[index];
	const struct set *old = observed_find_set(observed, set->name);

	if (set->kind == SET_NETS)
		return count_changes(plan, index, false) == 0;
	return set->kind == SET_HOSTS &&
	       (!old || !old->room || old->count + count_changes(plan, index, true) <= old->room);
}

void plan_keep_additions(
	struct plan *plan, const struct ruleset *ruleset, const struct observed *observed)
{
	uint32_t asked = UINT32_MAX; /* the last set: changes of one set stand together */
	bool may = false;
	size_t kept = 0, count = plan->count;

	for (size_t i = 0; i < count; i++) {
		const struct change *change = &plan->changes[i];

		if (change->set != asked) {
			asked = change->set;
			may = may_be_added_first(plan, ruleset, observed, asked);
		}
		if (change->add && may)
			plan->changes[kept++] = *change;
	}
	plan->count = kept;
	if (kept == 0 && !plan->adopt)
		plan->kind = PLAN_NOTHING;
}

static int compare_changes(const void *a, const void *b)
{
	const struct change *left = *(const struct change *const *)a;
	const struct change *right = *(const struct change *const *)b;

	if (left->set != right->set)
		return left->set < right->set ? -1 : 1;
	return prefix_compare(&left->element.prefix, &right->element.prefix);
}

/*
 * The changes of hosts and nets that are no mere renames, sorted, into `list`, which has room for
 * all. A renamed element is there twice, deleted and added.
 */
static size_t list_real_changes(
	const struct plan *plan, const struct ruleset *ruleset, const struct change **list)
{
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < plan->count; i++) {
		if (permits_sources(&ruleset->sets[plan->changes[i].set]))
			list[count++] = &plan->changes[i];
	}
	if (count)
		qsort(list, count, sizeof(*list), compare_changes);
	for (size_t i = 0; i < count; i++) {
		if (i + 1 < count && compare_changes(&list[i], &list[i + 1]) == 0)
			i++;
		else
			list[kept++] = list[i];
	}
	return kept;
}

static bool has_revoked_sets(const struct ruleset *ruleset)
{
	for (size_t i = 0; i < ruleset->set_count; i++) {
		if (ruleset->sets[i].kind == SET_REVOKED)
			return true;
	}
	return false;
}

/* What the revoked sets need because of `list`, deletions first. */
static int revoke(struct plan *more, const struct ruleset *ruleset,
	const struct change *const *list, size_t count, plan_permits_fn *permits, void *context)
{
	for (int adding = 0; adding <= 1; adding++) {
		for (size_t i = 0; i < count; i++) {
			const struct set *hosts = &ruleset->sets[list[i]->set];
			const struct addr *addr = &list[i]->element.prefix.addr;
			struct element element = lone(addr);
			const struct set *revoked;

			if (list[i]->add == adding ||
				(adding && permits(context, hosts->service, addr)))
				continue;
			revoked = ruleset_find_set(
				ruleset, SET_REVOKED, hosts->service, (enum family)hosts->family);
			if (revoked &&
				!append(more, adding, (size_t)(revoked - ruleset->sets), &element))
				return -ENOMEM;
		}
	}
	return 0;
}

int plan_add_revoked(
	struct plan *plan, const struct ruleset *ruleset, plan_permits_fn *permits, void *context)
{
	const struct change **list;
	struct plan more = {.kind = PLAN_ELEMENTS};
	size_t count;
	int result = 0;

	if (plan->count == 0 || !has_revoked_sets(ruleset))
		return 0;
	list = calloc(plan->count, sizeof(*list));
	if (!list)
		return -ENOMEM;
	count = list_real_changes(plan, ruleset, list);
	for (size_t i = 0; i < count; i++) {
		if (ruleset->sets[list[i]->set].kind == SET_NETS)
			result = PLAN_COMPARE;
	}
	if (result == 0)
		result = revoke(&more, ruleset, list, count, permits, context);
	count = plan->count;
	for (size_t i = 0; result == 0 && i < more.count; i++) {
		if (!append(plan, more.changes[i].add, more.changes[i].set,
			    &more.changes[i].element))
			result = -ENOMEM;
	}
	if (result != 0)
		plan->count = count;
	free(list);
	plan_clear(&more);
	return result;
}

const struct set *observed_find_set(const struct observed *observed, const char *name)
{
	for (size_t i = 0; i < observed->set_count; i++) {
		if (strcmp(observed->sets[i].name, name) == 0)
			return &observed->sets[i];
	}
	return NULL;
}

struct observed *observed_free(struct observed *observed)
{
	if (observed)
		arena_free(&observed->arena);
	free(observed);
	return NULL;
}

bool enforced_has(const struct enforced_ports *ports, uint8_t protocol, uint16_t port)
{
	for (size_t i = 0; i < ports->count; i++) {
		if (ports->list[i].protocol == protocol && ports->list[i].first <= port &&
			port <= ports->list[i].last)
			return true;
	}
	return false;
}

bool service_is_new(
	const struct service *service, const struct enforced_ports *before, size_t count)
{
	for (size_t i = 0; i < service->port_count; i++) {
		const struct port_range *range = &service->ports[i];

		for (unsigned port = range->first; port <= range->last; port++) {
			bool known = false;

			for (size_t j = 0; j < count && !known; j++)
				known = enforced_has(&before[j], range->protocol, (uint16_t)port);
			if (!known)
				return true;
		}
	}
	return false;
}
