/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cycle.h"

#include "clock.h"
#include "files.h"
#include "history_file.h"
#include "nft_netlink.h"
#include "record.h"
#include "state.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	APPLY_TRIES = 20,
	GENERATION_TRIES = 1, /* then a batch counts whatever others do to their tables */
	OWNER_TRIES = 5,      /* for the former owner of the table to be gone */
	OWNER_WAIT_MS = 20,
	TAG_KINDS = 4, /* tag = index * TAG_KINDS + (family, or TAG_SRV) */
	TAG_SRV = 2,
	FIRST_PAUSE_MS = 20, /* between two stalls; then twice as long each time */
};

/* The rest of a line: names of files may hold anything. */
static void put_line(struct text *notes, const char *rest)
{
	text_escaped(notes, rest, strlen(rest));
	text_puts(notes, "\n");
}

static int load_state(struct cycle *cycle, bool read_only, struct saved_state **ret_state,
	struct text *notes, struct error *error)
{
	struct text text = {0};
	struct error problem = {0};
	char *aside = NULL;
	size_t line;
	int result = file_load(cycle->state_path, &text, &problem);

	*ret_state = NULL;
	if (result == FILE_MISSING) {
		result = 0;
		goto out;
	}
	if (result < 0 && read_only && result != -ENOMEM) {
		text_puts(notes, "saved addresses are missing, held ones are not shown: ");
		put_line(notes, problem.what);
		result = 0;
		goto out;
	}
	if (result < 0) {
		error_set(error, result,
			"see that it is a file that this user may read, and that the disk works",
			"cannot read the saved state: %s", problem.what);
		goto out;
	}
	result = state_parse(text_string(&text), text.length, ret_state, &line);
	if (result != -EBADMSG)
		goto out;
	result = 0;
	text_puts(notes, "the saved state ");
	text_escaped(notes, cycle->state_path, strlen(cycle->state_path));
	text_printf(notes, " is damaged (line %zu); going on without it", line);
	if (!read_only && file_set_aside(cycle->state_path, &aside, &problem) == 0)
		text_puts(notes, ", it is kept as ");
	put_line(notes, aside ? aside : "");
out:
	free(aside);
	text_free(&text);
	return result == -ENOMEM ? error_no_memory(error) : result;
}

char *cycle_journal_path(const char *state_path)
{
	char *path;

	return asprintf(&path, "%s.journal", state_path) < 0 ? NULL : path;
}

/* What was noted since the state was saved. One that can't be read is gone without: what it knew is
 * what DNS will say again. */
static int load_journal(const struct cycle *cycle, struct saved_state **state, struct text *notes)
{
	char *path;
	struct error problem = {0};
	struct text text = {0};
	int result;

	if (!cycle->state_path[0])
		return 0;
	path = cycle_journal_path(cycle->state_path);
	result = path ? file_load(path, &text, &problem) : -ENOMEM;

	if (result == 0 && !*state)
		*state = calloc(1, sizeof(**state));
	if (result == 0)
		result = *state ? state_parse_journal(*state, text_string(&text), text.length)
				: -ENOMEM;
	else if (result < 0 && result != -ENOMEM) {
		text_puts(notes, "the latest changes are missing: ");
		put_line(notes, problem.what);
	}
	text_free(&text);
	free(path);
	return result == -ENOMEM ? -ENOMEM : 0;
}

/* What the last run enforced in our table, and the name of another table that earlier runs made. */
static int remember(struct cycle *cycle, const struct saved_state *state)
{
	if (!state)
		return 0;
	for (size_t i = 0; i < state->table_count && !cycle->former_table; i++) {
		if (strcmp(state->tables[i], cycle->config->table) == 0 &&
			cycle->config->table_family == TABLE_INET) {
			cycle->table_known = !cycle->config->sets_only;
			continue;
		}
		cycle->former_table = strdup(state->tables[i]);
		if (!cycle->former_table)
			return -ENOMEM;
	}
	cycle->enforced_before = calloc(state->enforced_count + 1, sizeof(*cycle->enforced_before));
	if (!cycle->enforced_before)
		return -ENOMEM;
	for (size_t i = 0; i < state->enforced_count; i++) {
		if (!cycle->config->sets_only &&
			strcmp(state->enforced_table, cycle->config->table) == 0)
			cycle->enforced_before[cycle->enforced_before_count++] = state->enforced[i];
	}
	return 0;
}

int cycle_look_around(struct cycle *cycle, struct error *error)
{
	int result = kernel_own_addresses(&cycle->around.own, error);

	if (result < 0)
		return result;
	if (geo_open(cycle->config, &cycle->geo) < 0)
		return error_no_memory(error);
	geo_look(cycle->geo);
	cycle->around.origin = cycle->geo ? geo_origin : NULL;
	cycle->around.context = cycle->geo;
	return 0;
}

/* The names of the config, and what the state (NULL: none) knows of them. */
static int restore(const struct config *config, const struct saved_state *state,
	const struct surroundings *around, int64_t now, struct roster **ret_roster)
{
	struct roster *known = NULL;
	/* SRV names first: their targets are hosts, too. */
	int result = roster_build(config, NULL, &known);

	if (result == 0 && state)
		result = state_restore_srvs(state, known, now);
	if (result == 0 && known->srv_count == 0) {
		*ret_roster = known;
		known = NULL;
	} else if (result == 0) {
		result = roster_build(config, known, ret_roster);
	}
	if (result == 0 && state)
		result = state_restore_hosts(state, config, around, *ret_roster, now);
	roster_free(known);
	return result;
}

int cycle_start(struct cycle *cycle, const struct config *config, const char *state_path,
	bool read_only, const struct clock_reading *reading, struct text *notes,
	struct error *error)
{
	struct saved_state *state = NULL;
	int result;

	*cycle = (struct cycle){.config = config, .state_path = state_path};
	result = cycle_look_around(cycle, error);
	if (result < 0)
		return result;
	result = load_state(cycle, read_only, &state, notes, error);
	if (result == 0 && load_journal(cycle, &state, notes) < 0) {
		state_free(state);
		result = error_no_memory(error);
	}
	if (result < 0)
		return result;
	cycle->clock = steady_advance(state ? &state->clock : NULL, reading);
	cycle->now = cycle->clock.now;
	result = remember(cycle, state);
	if (result == 0)
		result = restore(config, state, &cycle->around, cycle->now, &cycle->roster);
	state_free(state);
	return result < 0 ? error_no_memory(error) : 0;
}

int cycle_last_ruleset(
	const struct config *config, const char *state_path, struct ruleset **ret_ruleset)
{
	/* What was let in was judged then: not by the databases and own addresses of today. */
	const struct surroundings nothing_around = {0};
	struct cycle cycle = {.config = config, .state_path = state_path};
	struct allowlist allowlist = {0};
	struct saved_state *state = NULL;
	struct roster *roster = NULL;
	struct text notes = {0};
	int result = load_state(&cycle, true, &state, &notes, NULL);

	*ret_ruleset = NULL;
	if (result == 0)
		result = load_journal(&cycle, &state, &notes);
	if (result < 0 || notes.length > 0 || !state || state->permits != state_permits(config))
		goto out;
	result = restore(config, state, &nothing_around, state->clock.now, &roster);
	if (result == 0)
		result = allowlist_build(config, roster, state->clock.now, &allowlist);
	if (result == 0)
		result = ruleset_build(config, &allowlist, ret_ruleset);
out:
	allowlist_clear(&allowlist);
	roster_free(roster);
	state_free(state);
	text_free(&notes);
	return result;
}

static void take_host_answer(
	struct cycle *cycle, size_t index, enum family family, const struct answer *answer)
{
	size_t first = index;

	/* One question serves several hosts of that name, whatever their guards. */
	for (; roster_same_name(cycle->roster, first, index); index++) {
		struct host *host = &cycle->roster->hosts[index];
		struct answer guarded;
		bool had_answer;
		int changed;

		if (!roster_same_question(cycle->roster, first, index))
			continue;
		guarded = answer_guard(answer, &cycle->config->guards[host->guard], &cycle->around);
		had_answer = host->lookup[family].good != 0;
		changed =
			host_take(host, family, &guarded, cycle->roster->linger[index], cycle->now);
		if (changed < 0)
			cycle->questions.failed = true;
		if (changed > 0)
			host_count_change(
				host, had_answer, cycle->config->changes_per_hour, cycle->now);
	}
}

static void take_answer(void *context, uint64_t tag, const struct answer *answer)
{
	struct cycle *cycle = context;
	size_t index = (size_t)(tag / TAG_KINDS);
	struct answer guarded;
	struct srv *srv;
	int changed;

	if (tag % TAG_KINDS != TAG_SRV) {
		take_host_answer(cycle, index, (enum family)(tag % TAG_KINDS), answer);
		return;
	}
	srv = &cycle->roster->srvs[index];
	guarded = srv->validated ? answer_need_validated(answer) : *answer;
	changed = srv_take(srv, &guarded, cycle->now);
	if (changed < 0)
		cycle->questions.failed = true;
	if (changed > 0)
		cycle->questions.srv_changed = true;
}

/* Asks what was not asked in this cycle. */
static int ask_all(struct cycle *cycle, struct resolver *resolver, bool srvs)
{
	const struct roster *roster = cycle->roster;
	static const enum dns_type types[] = {[FAMILY_IPV4] = DNS_A, [FAMILY_IPV6] = DNS_AAAA};

	for (size_t i = 0; srvs && i < roster->srv_count; i++) {
		if (resolver_ask(resolver, roster->srvs[i].name, DNS_SRV,
			    roster->srvs[i].validated ? RESOLVER_VALIDATED : RESOLVER_ANY,
			    i * TAG_KINDS + TAG_SRV) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < roster->host_count; i++) {
		if (!roster_is_first_of_question(roster, i))
			continue;
		for (uint64_t family = 0; family < FAMILY_COUNT; family++) {
			if (!srvs && roster->hosts[i].lookup[family].asked == cycle->now &&
				roster->hosts[i].lookup[family].last != ANSWER_NEVER)
				continue;
			if (resolver_ask(resolver, roster->hosts[i].name, types[family],
				    roster->hosts[i].validated ? RESOLVER_VALIDATED : RESOLVER_ANY,
				    i * TAG_KINDS + family) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

/* New answers have come since the last time, and now none comes. */
static bool has_stalled(const struct cycle_questions *questions)
{
	return resolver_quiet_in_ms(questions->resolver) == 0 &&
	       resolver_stats(questions->resolver).answered > questions->answered &&
	       clock_boot_ms() >= questions->paused_at + questions->pause_ms;
}

static void note_stall(struct cycle_questions *questions)
{
	questions->answered = resolver_stats(questions->resolver).answered;
	questions->paused_at = clock_boot_ms();
	questions->pause_ms = questions->pause_ms ? questions->pause_ms * 2 : FIRST_PAUSE_MS;
}

static int wait_ms(const struct cycle_questions *questions, bool may_stall)
{
	int wait = resolver_wait_ms(questions->resolver), quiet;
	int64_t pause;

	if (!may_stall || resolver_stats(questions->resolver).answered <= questions->answered)
		return wait;
	quiet = resolver_quiet_in_ms(questions->resolver);
	pause = questions->paused_at + questions->pause_ms - clock_boot_ms();
	if (quiet >= 0 && quiet < pause)
		quiet = (int)pause; /* at most pause_ms */
	return quiet >= 0 && (wait < 0 || quiet < wait) ? quiet : wait;
}

static int wait_for_answers(struct cycle_questions *questions, bool may_stall,
	cycle_progress_fn *progress, void *context, struct error *error)
{
	struct resolver *resolver = questions->resolver;

	while (resolver_unanswered(resolver) > 0) {
		struct pollfd ready = {.fd = resolver_fd(resolver), .events = POLLIN};
		int result = resolver_dispatch(resolver, error);

		if (result < 0)
			return result;
		if (progress)
			progress(context, questions->total - resolver_unanswered(resolver),
				questions->total);
		if (resolver_unanswered(resolver) == 0)
			break;
		if (may_stall && has_stalled(questions)) {
			note_stall(questions);
			return CYCLE_STALLED;
		}
		if (poll(&ready, 1, wait_ms(questions, may_stall)) < 0 && errno != EINTR)
			return error_set(
				error, -errno, "", "cannot wait for DNS: %s", strerror(errno));
	}
	return 0;
}

static int begin_questions(struct cycle *cycle, struct error *error)
{
	struct cycle_questions *questions = &cycle->questions;
	const struct config *config = cycle->config;
	struct resolver_options options = {
		.servers = config->resolver.servers,
		.server_count = config->resolver.server_count,
		.timeout_ms = config->resolver.timeout_ms,
		.in_flight = config->resolver.in_flight,
		.trusted = config->resolver.trusted,
		.trusted_count = config->resolver.trusted_count,
	};
	int result = resolver_new(&questions->resolver, &options, take_answer, cycle, error);

	if (result < 0)
		return result;
	questions->answered = 0;
	result = ask_all(cycle, questions->resolver, !questions->second_pass);
	questions->total = resolver_unanswered(questions->resolver);
	return result < 0 ? error_no_memory(error) : 0;
}

static void end_questions(struct cycle *cycle)
{
	struct resolver_stats stats;

	if (!cycle->questions.resolver)
		return;
	stats = resolver_stats(cycle->questions.resolver);
	cycle->dns.asked += stats.asked;
	cycle->dns.answered += stats.answered;
	cycle->dns.timed_out += stats.timed_out;
	cycle->questions.resolver = resolver_free(cycle->questions.resolver);
}

int cycle_resolve(struct cycle *cycle, bool may_stall, cycle_progress_fn *progress, void *context,
	struct error *error)
{
	struct cycle_questions *questions = &cycle->questions;
	struct roster *roster = NULL;
	int result = 0;

	for (;;) {
		if (!questions->resolver)
			result = begin_questions(cycle, error);
		if (result == 0)
			result = wait_for_answers(questions, may_stall, progress, context, error);
		if (result == CYCLE_STALLED)
			return result;
		end_questions(cycle);
		if (result == 0 && questions->failed)
			result = error_no_memory(error);
		if (result < 0 || !questions->srv_changed || questions->second_pass)
			return result;
		/* The targets that SRV names have now. */
		if (roster_build(cycle->config, cycle->roster, &roster) < 0)
			return error_no_memory(error);
		roster_free(cycle->roster);
		cycle->roster = roster;
		questions->second_pass = true;
	}
}

/* A target that has left its SRV name takes its addresses with it. */
static int expire(struct cycle *cycle)
{
	struct roster *roster = NULL;

	if (!roster_expire(cycle->roster, cycle->config, cycle->now) ||
		cycle->roster->srv_count == 0)
		return 0;
	if (roster_build(cycle->config, cycle->roster, &roster) < 0)
		return -ENOMEM;
	roster_free(cycle->roster);
	cycle->roster = roster;
	return 0;
}

void cycle_judge_flapping(struct cycle *cycle)
{
	for (size_t i = 0; i < cycle->roster->host_count; i++)
		changes_judge(&cycle->roster->hosts[i].changes, cycle->config->changes_per_hour,
			cycle->now);
}

int cycle_record(struct cycle *cycle, struct error *error)
{
	struct history_writer writer = {0};
	char *path = record_path(cycle->state_path);
	struct text listing = {0};
	int result = path ? 0 : error_no_memory(error);

	if (result == 0) {
		record_listing(cycle->config, cycle->roster, cycle->now, &listing);
		result = listing.failed ? error_no_memory(error) : 0;
	}
	if (result == 0)
		result = history_file_look(&writer, path, HISTORY_SYNC, cycle->clock.at.wall,
			text_string(&listing), listing.length, error);
	text_free(&listing);
	free(path);
	return result;
}

int cycle_build(struct cycle *cycle, struct error *error)
{
	if (expire(cycle) < 0)
		return error_no_memory(error);
	return cycle_ruleset(cycle, error);
}

int cycle_ruleset(struct cycle *cycle, struct error *error)
{
	allowlist_clear(&cycle->allowlist);
	cycle->ruleset = ruleset_free(cycle->ruleset);
	text_free(&cycle->shape);
	if (allowlist_build(cycle->config, cycle->roster, cycle->now, &cycle->allowlist) < 0 ||
		ruleset_build(cycle->config, &cycle->allowlist, &cycle->ruleset) < 0 ||
		nft_shape(cycle->ruleset, &cycle->shape) < 0)
		return error_no_memory(error);
	cycle->ruleset->lock = cycle->lock;
	return 0;
}

static int compare_talkers(const void *a, const void *b)
{
	const struct talker *left = a, *right = b;
	int order;

	if (left->service != right->service)
		return left->service < right->service ? -1 : 1;
	order = addr_compare(&left->addr, &right->addr);
	if (order)
		return order;
	/* What connection tracking says tells more than a rejected set. */
	return (left->protocol == 0) - (right->protocol == 0);
}

/* Is the port, or for a talker of a rejected set any port of its service, open until now? */
static bool shut_newly(const struct cycle *cycle, const struct talker *talker)
{
	const struct enforced_ports before[] = {
		{cycle->observed->enforced, cycle->observed->enforced_count},
		{cycle->enforced_before, cycle->enforced_before_count},
	};

	/* In another's table it is that one's rules that shut ports. */
	if (cycle->config->monitor || cycle->config->sets_only)
		return false;
	/* So far its replies came in, though not by the list. */
	if (talker->opened_here && cycle->observed->accepts_replies &&
		!cycle->config->accept_replies)
		return true;
	if (talker->protocol == 0)
		return service_is_new(&cycle->config->services[talker->service], before, 2);
	return !enforced_has(&before[0], talker->protocol, talker->port) &&
	       !enforced_has(&before[1], talker->protocol, talker->port);
}

bool cycle_shuts_new_ports(const struct cycle *cycle)
{
	for (size_t i = 0; i < cycle->config->service_count; i++) {
		struct talker anybody = {.service = (uint8_t)i};

		if (shut_newly(cycle, &anybody))
			return true;
	}
	return false;
}

/* The ports of `range` that were shut before, as ranges at `ret_kept`, which has room for each
 * port. */
static size_t keep_enforced(
	const struct cycle *cycle, const struct port_range *range, struct port_range *ret_kept)
{
	const struct enforced_ports before[] = {
		{cycle->observed->enforced, cycle->observed->enforced_count},
		{cycle->enforced_before, cycle->enforced_before_count},
	};
	size_t count = 0;

	for (unsigned port = range->first; port <= range->last; port++) {
		if (!enforced_has(&before[0], range->protocol, (uint16_t)port) &&
			!enforced_has(&before[1], range->protocol, (uint16_t)port))
			continue;
		if (count > 0 && ret_kept[count - 1].last + 1u == port)
			ret_kept[count - 1].last = (uint16_t)port;
		else
			ret_kept[count++] = (struct port_range){.protocol = range->protocol,
				.first = (uint16_t)port,
				.last = (uint16_t)port};
	}
	return count;
}

int cycle_restrict(struct cycle *cycle, struct error *error)
{
	struct config *restricted = &cycle->restricted;
	struct service *services;
	size_t left = 0;

	*restricted = *cycle->config;
	restricted->arena = (struct arena){0};
	services = arena_alloc(&restricted->arena, restricted->service_count * sizeof(*services));
	for (size_t i = 0; services && i < restricted->service_count; i++) {
		const struct service *whole = &cycle->config->services[i];
		size_t room = 1;

		services[i] = *whole;
		services[i].port_count = 0;
		for (size_t j = 0; j < whole->port_count; j++)
			room += (size_t)(whole->ports[j].last - whole->ports[j].first) + 1;
		services[i].ports =
			arena_alloc(&restricted->arena, room * sizeof(*services[i].ports));
		if (!services[i].ports)
			return error_no_memory(error);
		for (size_t j = 0; j < whole->port_count; j++)
			services[i].port_count += keep_enforced(cycle, &whole->ports[j],
				services[i].ports + services[i].port_count);
		left += services[i].port_count;
	}
	if (!services)
		return error_no_memory(error);
	restricted->services = services;
	/* Who is let in by replies stays so, too: that is half of what was asked about. */
	if (cycle->observed->accepts_replies)
		restricted->accept_replies = true;
	cycle->config = restricted;
	return left == 0 ? CYCLE_NOTHING_LEFT : 0;
}

size_t cycle_newly_shut_out(const struct cycle *cycle)
{
	size_t count = 0;

	for (size_t i = 0; i < cycle->talker_count; i++)
		count += cycle->talkers[i].newly_shut;
	return count;
}

static bool is_enforced(const struct cycle *cycle)
{
	return cycle->observed->enforced_count > 0;
}

bool cycle_opens(const struct cycle *cycle)
{
	return cycle->config->monitor && is_enforced(cycle);
}

/* Two flows of one source: it has opened one of them if it has opened any, and the one that is
 * newly shut is what an admin has to know of. */
static void merge_talker(struct talker *kept, const struct talker *other)
{
	bool opened_here = kept->opened_here && (other->opened_here || !other->protocol);

	if (other->newly_shut && !kept->newly_shut)
		*kept = *other;
	kept->opened_here = opened_here;
}

/* Unlisted ones alone, one for each (service, address). */
static size_t keep_unlisted(const struct cycle *cycle, struct talker *list, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (ruleset_permits(cycle->ruleset, list[i].service, &list[i].addr))
			continue;
		/* Whom a table that enforces has rejected was kept out by it, at whichever port. */
		list[i].newly_shut =
			shut_newly(cycle, &list[i]) && (list[i].protocol || !is_enforced(cycle));
		if (kept > 0 && list[kept - 1].service == list[i].service &&
			addr_equal(&list[kept - 1].addr, &list[i].addr))
			merge_talker(&list[kept - 1], &list[i]);
		else
			list[kept++] = list[i];
	}
	return kept;
}

/* Those that connection tracking knows, and those that a monitoring table has noted. */
static int list_talkers(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	struct talker *list = NULL, *grown;
	size_t count = 0, room;
	int result = kernel_talkers(
		kernel, cycle->config, &cycle->around.own, &list, &count, &cycle->blind, error);

	if (result < 0)
		return result;
	room = count + 1;
	for (size_t i = 0; i < cycle->observed->set_count; i++)
		room += cycle->observed->sets[i].count;
	grown = reallocarray(list, room, sizeof(*list));
	if (!grown) {
		free(list);
		return error_no_memory(error);
	}
	list = grown;
	for (size_t i = 0; i < cycle->observed->set_count; i++) {
		const struct set *set = &cycle->observed->sets[i];

		for (size_t j = 0; set->kind == SET_REJECTED && j < set->count; j++)
			list[count++] = (struct talker){
				.addr = set->elements[j].prefix.addr,
				.service = set->service,
				.packets = set->elements[j].packets,
			};
	}
	qsort(list, count, sizeof(*list), compare_talkers);
	cycle->talkers = list;
	cycle->talker_count = keep_unlisted(cycle, list, count);
	return 0;
}

/* The first set as it has to be, for the admin's firewall. */
static int refuse_misfit(const struct cycle *cycle, struct error *error)
{
	const struct ruleset *ruleset = cycle->ruleset;
	const char *family = ruleset_family_name((enum table_family)ruleset->family);

	return error_set(error, -EINVAL,
		"declare the sets in your firewall: `set NAME { type ipv4_addr; }` for hosts4, "
		"ipv6_addr for hosts6, and with `flags interval;` for nets4 and nets6; leave them "
		"to sipfence alone",
		"the sets in the table %s %s cannot be kept: %s", family, ruleset->table,
		cycle->observed->misfit);
}

/* The config may name somebody else's table by mistake: that is not ours to replace. */
static bool is_foreign(const struct cycle *cycle)
{
	const struct observed *observed = cycle->observed;

	return observed->present && !observed->ours && !observed->persistent &&
	       !cycle->table_known && strcmp(cycle->ruleset->table, CONFIG_DEFAULT_TABLE) != 0 &&
	       !observed_find_set(observed, "ports");
}

static int refuse_table(const struct cycle *cycle, struct error *error)
{
	return error_set(error, -EEXIST,
		"name another one (nftables: {table: NAME}), or keep sets in it (nftables: "
		"{sets-only: ...})",
		"the table inet %s is there already, and sipfence has not made it: it is "
		"left alone",
		cycle->ruleset->table);
}

int cycle_compare(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	int result;

	plan_clear(&cycle->plan);
	cycle->observed = observed_free(cycle->observed);
	free(cycle->talkers); /* of an earlier look */
	cycle->talkers = NULL;
	cycle->talker_count = 0;
	cycle->blind = false;
	if (cycle->want_snapshot)
		text_clear(&cycle->snapshot);
	result = kernel_observe(kernel, cycle->ruleset, &cycle->observed, &cycle->generation,
		cycle->want_snapshot ? &cycle->snapshot : NULL, error);
	if (result < 0)
		return result;
	if (cycle->observed->misfit)
		return refuse_misfit(cycle, error);
	if (cycle_shuts_new_ports(cycle) || cycle->config->accept_replies ||
		cycle->observed->accepts_replies) {
		result = list_talkers(cycle, kernel, error);
		if (result < 0)
			return result;
	}
	if (plan_make(cycle->ruleset, text_string(&cycle->shape), cycle->observed, cycle->talkers,
		    cycle->talker_count, &cycle->plan) < 0)
		return error_no_memory(error);
	if (cycle->plan.kind == PLAN_SWAP && is_foreign(cycle))
		return refuse_table(cycle, error);
	if (cycle->former_table && kernel_has_table(kernel, cycle->former_table, NULL) == 0) {
		free(cycle->former_table);
		cycle->former_table = NULL;
	}
	return 0;
}

int cycle_compare_with_nothing(struct cycle *cycle, struct error *error)
{
	plan_clear(&cycle->plan);
	cycle->observed = observed_free(cycle->observed);
	cycle->observed = calloc(1, sizeof(*cycle->observed));
	if (!cycle->observed || plan_make(cycle->ruleset, text_string(&cycle->shape),
					cycle->observed, NULL, 0, &cycle->plan) < 0)
		return error_no_memory(error);
	return 0;
}

/* All ports of all services, if they are enforced. */
static int list_enforced(
	const struct config *config, struct enforced_port **ret_list, size_t *ret_count)
{
	struct enforced_port *list;
	size_t count = 0;

	for (size_t i = 0; i < config->service_count; i++)
		count += config->services[i].port_count;
	list = calloc(count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	count = 0;
	for (size_t i = 0; !config->monitor && !config->sets_only && i < config->service_count;
		i++) {
		for (size_t j = 0; j < config->services[i].port_count; j++) {
			const struct port_range *range = &config->services[i].ports[j];

			list[count++] = (struct enforced_port){.protocol = range->protocol,
				.first = range->first,
				.last = range->last};
		}
	}
	*ret_list = list;
	*ret_count = count;
	return 0;
}

/* All that it says is saved. If it stays, it is known to be older. */
static void end_journal(struct cycle *cycle)
{
	char *path = cycle_journal_path(cycle->state_path);

	if (path)
		file_remove(path, NULL);
	free(path);
	text_free(&cycle->journal);
}

int cycle_print_state(const struct cycle *cycle, enum cycle_standing standing, struct text *text)
{
	struct enforced_ports enforced = {cycle->enforced_before, cycle->enforced_before_count};
	uint64_t permits = standing == CYCLE_IN_FORCE ? state_permits(cycle->config) : 0;
	struct enforced_port *list = NULL;

	if (standing != CYCLE_TAKEN_BACK) {
		if (list_enforced(cycle->config, &list, &enforced.count) < 0)
			return -ENOMEM;
		enforced.list = list;
	}
	state_print(cycle->roster, cycle->config, &cycle->clock, &enforced, permits,
		cycle->former_table, text);
	free(list);
	return text->failed ? -ENOMEM : 0;
}

int cycle_save(struct cycle *cycle, enum cycle_standing standing, struct error *error)
{
	struct text text = {0};
	int result = cycle_print_state(cycle, standing, &text);

	if (result < 0)
		error_no_memory(error);
	else
		result = file_save(cycle->state_path, text.data, text.length, error);
	if (result == 0)
		end_journal(cycle);
	text_free(&text);
	return result;
}

void cycle_note_host(struct cycle *cycle, const struct host *host)
{
	state_print_host(host, cycle->config, &cycle->clock, &cycle->journal);
}

void cycle_note_srv(struct cycle *cycle, const struct srv *srv)
{
	state_print_srv(srv, &cycle->clock, &cycle->journal);
}

static int commit_and_clear(
	struct kernel *kernel, struct nft_batch *batch, int built, struct error *error)
{
	int result;

	if (built < 0)
		return error_no_memory(error);
	result = kernel_commit(kernel, batch, error);
	nft_batch_clear(batch);
	return result;
}

/* The table is right with it or without, so one more try is all that a refusal costs. */
static int drop_relay(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	enum { TRIES = 3 };
	struct error refusal = {0};
	struct nft_batch batch;
	int result = -EAGAIN;

	for (int i = 0; result < 0 && i < TRIES; i++) {
		int built = nft_batch_drop_relay(cycle->ruleset, &batch);

		refusal = (struct error){0};
		result = commit_and_clear(kernel, &batch, built, &refusal);
	}
	if (result < 0)
		return error_set(error, result, "run sync again (a daemon tries again by itself)",
			"the new table is in force, but the extra chain prerouting_relay is "
			"still in it: %s",
			refusal.what);
	return result;
}

static int swap(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	/* Only from enforcing to enforcing is there something to keep shut. */
	bool relay = is_enforced(cycle) && !cycle->config->monitor;
	struct nft_batch batch;
	int result, built;

	built = nft_batch_swap(
		cycle->ruleset, cycle->generation, cycle->observed->present, relay, &batch);
	result = commit_and_clear(kernel, &batch, built, error);
	cycle->touched |= result == 0 || result == KERNEL_MOVED;
	cycle->table_known |= result == 0;
	if (result != 0 || !relay)
		return result;
	kernel_settle();
	return drop_relay(cycle, kernel, error);
}

static int commit_plan(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	struct nft_batch batch;
	int result;

	if (cycle->plan.kind == PLAN_SWAP)
		return swap(cycle, kernel, error);
	result = nft_batch_changes(cycle->ruleset, &cycle->plan, cycle->generation, &batch);
	result = commit_and_clear(kernel, &batch, result, error);
	cycle->touched |= result == 0 || result == KERNEL_MOVED;
	return result;
}

static int refuse_foreign(const struct cycle *cycle, struct error *error)
{
	if (cycle->ruleset->sets_only)
		return error_set(error, -EPERM,
			"put the sets into a table that nobody owns (no `flags owner`)",
			"the table %s %s belongs to another running process, which alone may change "
			"it",
			ruleset_family_name((enum table_family)cycle->ruleset->family),
			cycle->ruleset->table);
	return error_set(error, -EPERM,
		"end that process (`nft monitor` shows who changes it), or give sipfence another "
		"table name (nftables: {table: NAME})",
		"the table inet %s belongs to another running process, which alone may change it",
		cycle->ruleset->table);
}

int cycle_apply(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	struct error reason = {0};

	for (int i = 0; i < APPLY_TRIES; i++) {
		bool foreign = cycle->observed->owned && !cycle->observed->ours;
		int result = KERNEL_MOVED;

		if (cycle->plan.kind == PLAN_NOTHING && !(foreign && cycle->lock))
			return 0;
		if (foreign && (!cycle->lock || i >= OWNER_TRIES))
			return refuse_foreign(cycle, error);
		if (i >= GENERATION_TRIES)
			cycle->generation = 0;
		/* The kernel takes a moment to tell a dead process from a living one. */
		if (foreign)
			poll(NULL, 0, OWNER_WAIT_MS);
		else
			result = commit_plan(cycle, kernel, error);
		if (result <= 0)
			return result;
		if (result == KERNEL_NO_LOCK)
			cycle->lock = cycle->ruleset->lock = false;
		cycle->retries++;
		result = cycle_compare(cycle, kernel, &reason);
		if (result < 0 && cycle->touched)
			return error_set(error, result, reason.next,
				"the change was sent, but it is not known whether it is in force: "
				"%s",
				reason.what);
		if (result < 0)
			return error_set(error, result, reason.next, "%s", reason.what);
	}
	return error_set(error, -EAGAIN, "find out who does that (`nft monitor`), and try again",
		"another program changes the firewall without a pause; gave up after %d tries",
		APPLY_TRIES);
}

void cycle_relax(struct cycle *cycle)
{
	allowlist_clear(&cycle->allowlist);
	plan_clear(&cycle->plan);
	cycle->ruleset = ruleset_free(cycle->ruleset);
	cycle->observed = observed_free(cycle->observed);
	text_free(&cycle->shape);
	free(cycle->talkers);
	cycle->talkers = NULL;
	cycle->talker_count = 0;
}

void cycle_clear(struct cycle *cycle)
{
	end_questions(cycle);
	cycle_relax(cycle);
	free((void *)cycle->around.own.addrs);
	geo_free(cycle->geo);
	roster_free(cycle->roster);
	text_free(&cycle->snapshot);
	text_free(&cycle->journal);
	free(cycle->enforced_before);
	free(cycle->former_table);
	arena_free(&cycle->restricted.arena);
	*cycle = (struct cycle){0};
}

/* What a batch did is not known when its ACKs were lost; both of these may be sent once more. */
static int commit_restore(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	struct nft_batch batch;

	return commit_and_clear(kernel, &batch,
		nft_batch_restore(cycle->ruleset->table, cycle->snapshot.data,
			cycle->snapshot.length, &batch),
		error);
}

int cycle_take_back(struct cycle *cycle, struct kernel *kernel, struct error *error)
{
	struct error refusal = {0};
	int result = KERNEL_MOVED;

	if (cycle->ruleset->sets_only)
		return error_set(error, -ENOTSUP, "",
			"the table is not sipfence's own: it cannot be taken back");
	for (int i = 0; result == KERNEL_MOVED && i < APPLY_TRIES; i++)
		result = commit_restore(cycle, kernel, &refusal);
	if (result != 0)
		return error_set(error, result < 0 ? result : -EAGAIN,
			"the NEW table is in force: put the old config back and run sync, or run "
			"sipfence remove",
			"the table could not be taken back: %s",
			refusal.code ? refusal.what : "the kernel's answers were lost");
	return 0;
}

int cycle_forget(const char *table, const char *state_path, char **ret_other, struct error *error)
{
	struct text text = {0}, without = {0};
	struct saved_state *state = NULL;
	size_t line;
	int result = file_load(state_path, &text, error);

	*ret_other = NULL;
	/* Without a state file there is nothing to forget, and a damaged one is nobody's. */
	if (result == 0 && state_parse(text_string(&text), text.length, &state, &line) == 0) {
		for (size_t i = 0; i < state->table_count && !*ret_other; i++) {
			if (strcmp(state->tables[i], table) != 0)
				*ret_other = strdup(state->tables[i]);
		}
		state_forget_enforced(text.data, text.length, table, &without);
		result = without.failed
				 ? error_no_memory(error)
				 : file_save(state_path, without.data, without.length, error);
	}
	state_free(state);
	text_free(&text);
	text_free(&without);
	return result < 0 ? result : 0;
}

static struct saved_state *peek(const char *state_path)
{
	struct saved_state *state = NULL;
	struct text text = {0};
	size_t line;

	if (file_load(state_path, &text, NULL) == 0)
		state_parse(text_string(&text), text.length, &state, &line);
	text_free(&text);
	return state;
}

bool cycle_knows_table(const char *table, const char *state_path)
{
	struct saved_state *state = peek(state_path);
	bool known = false;

	for (size_t i = 0; state && i < state->table_count; i++)
		known |= strcmp(state->tables[i], table) == 0;
	state_free(state);
	return known;
}

char *cycle_last_table(const char *state_path)
{
	struct saved_state *state = peek(state_path);
	/* A former one comes behind it. */
	char *table = state && state->table_count > 0 ? strdup(state->tables[0]) : NULL;

	state_free(state);
	return table;
}

int cycle_remove(const char *table, struct kernel *kernel, bool *ret_removed, struct error *error)
{
	struct nft_batch batch;
	int result = 0;

	*ret_removed = false;
	for (int i = 0; i < APPLY_TRIES; i++) {
		result = kernel_has_table(kernel, table, error);
		if (result <= 0)
			return result;
		result =
			commit_and_clear(kernel, &batch, nft_batch_remove(table, 0, &batch), error);
		if (result < 0)
			return result;
		*ret_removed = true;
	}
	return error_set(error, -EAGAIN, "find out who does that (`nft monitor`)",
		"the table inet %s comes back each time that it is removed", table);
}
