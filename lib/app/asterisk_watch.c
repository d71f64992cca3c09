/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_watch.h"
#include "allowlist.h"
#include "asterisk_log.h"
#include "audit_line.h"
#include "json_put.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOST = 4096,	  /* addresses that names have lost: the oldest are forgotten */
	LISTED = 4,	  /* of the audit: takeover.h keeps what is said */
	WATCHED = 64,	  /* of the audit: others' deeds are not told here */
	SETTLE_MS = 1000, /* between two looks at claims that wait */
	OTHER_LINES = 1000,
};

/* An address that a name had. */
struct lost {
	uint64_t host; /* hash of the name; 0: not used */
	struct addr addr;
	int64_t when_ms;
};

struct asterisk_watch {
	struct asterisk_watch_options options;
	struct config *roll; /* ids of the owners alone: the basis' config may go before */
	struct audit *audit; /* NULL: there was no memory for it */
	struct takeovers *takeovers;
	struct moment now, began;
	struct lost *lost;
	size_t lost_next;

	char *partial; /* what a line has begun with */
	size_t partial_length;
	bool passing; /* over the rest of a line that is too long */

	int64_t log_ms;	   /* the date of the last line that has one, as if it were UTC */
	int64_t log_at_ms; /* when it came, ms since boot */
	int64_t settle_ms; /* INT64_MAX: no claim waits */

	enum asterisk_watch_state state;
	struct moment since;
	struct error problem;
	uint64_t lines, understood, too_long, doubled, security;
	int64_t last_line, security_ms;
	bool silent;
	struct asterisk_line line;
};

/* --- who had what, now --- */

static struct asterisk_watch_basis basis_of(const struct asterisk_watch *watch)
{
	return watch->options.basis(watch->options.context);
}

static uint64_t hash_name(const struct asterisk_watch *watch, const char *name)
{
	uint64_t hash = watch->options.seed ^ UINT64_C(0xcbf29ce484222325);

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	return hash | 1;
}

static bool contains(const struct prefix *prefixes, size_t count, const struct addr *addr)
{
	for (size_t i = 0; i < count; i++) {
		if (prefix_contains(&prefixes[i], addr))
			return true;
	}
	return false;
}

/* The first binding of the owner; they are sorted by owner. */
static size_t first_binding(const struct roster *roster, uint32_t owner)
{
	size_t low = 0, high = roster->binding_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (roster->bindings[middle].owner < owner)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool host_has(const struct asterisk_watch_basis *basis, uint32_t owner,
	const struct host *host, const struct addr *addr)
{
	struct prefix prefixes[HOST_ADDRS_MAX];
	size_t count = allowlist_prefixes(basis->config, owner, host, basis->now, prefixes);

	return contains(prefixes, count, addr);
}

static bool owner_has(
	const struct asterisk_watch_basis *basis, uint32_t owner, const struct addr *addr)
{
	const struct config *config = basis->config;
	const struct roster *roster = basis->roster;
	const struct owner *who = &config->owners[owner];

	if (contains(who->fixed, who->fixed_count, addr))
		return true;
	if (who->kind == OWNER_EXTENSION && who->local &&
		contains(config->local_subnets, config->local_subnet_count, addr))
		return true;
	for (size_t i = first_binding(roster, owner);
		i < roster->binding_count && roster->bindings[i].owner == owner; i++) {
		if (host_has(basis, owner, &roster->hosts[roster->bindings[i].host], addr))
			return true;
	}
	return false;
}

static bool lost_lately(const struct asterisk_watch *watch,
	const struct asterisk_watch_basis *basis, uint32_t owner, const char *name,
	const struct addr *addr)
{
	uint64_t hash = hash_name(watch, name);

	for (size_t i = 0; i < LOST; i++) {
		const struct lost *lost = &watch->lost[i];
		struct prefix prefix;

		if (lost->host != hash || lost->addr.family != addr->family ||
			watch->now.boot_ms - lost->when_ms > TAKEOVER_GRACE_MS)
			continue;
		prefix = allowlist_prefix(basis->config, owner, &lost->addr);
		if (prefix_contains(&prefix, addr))
			return true;
	}
	return false;
}

static enum audit_verdict verdict_of(
	const struct asterisk_watch *watch, uint32_t owner, const struct addr *addr)
{
	struct asterisk_watch_basis basis = basis_of(watch);
	const struct roster *roster = basis.roster;
	enum audit_verdict verdict = AUDIT_HAD_NOT;

	if (owner_has(&basis, owner, addr))
		return AUDIT_HAD;
	for (size_t i = first_binding(roster, owner);
		i < roster->binding_count && roster->bindings[i].owner == owner; i++) {
		const struct host *host = &roster->hosts[roster->bindings[i].host];

		if (lost_lately(watch, &basis, owner, host->name, addr))
			return AUDIT_GRACE;
		/* Its first question is still under way. */
		if (host->lookup[addr->family].asked == 0)
			verdict = AUDIT_NOT_KNOWN;
	}
	return verdict;
}

static enum audit_verdict audit_verdict_now(
	const void *context, uint32_t owner, const struct addr *addr, int64_t wall)
{
	(void)wall; /* of the log: its clock may be wrong */
	return verdict_of(context, owner, addr);
}

static enum audit_verdict verdict_now(void *context, uint32_t owner, const struct addr *addr)
{
	return verdict_of(context, owner, addr);
}

/* A peer says most, and an extension that is at home in the local subnets least. */
static enum takeover_other other_now(
	void *context, uint32_t owner, const struct addr *addr, uint32_t *ret_other)
{
	struct asterisk_watch_basis basis = basis_of(context);
	const struct config *config = basis.config;
	bool local = contains(config->local_subnets, config->local_subnet_count, addr);

	/* Peers stand behind the extensions. */
	for (size_t i = config->owner_count; i-- > 0;) {
		bool peer = config->owners[i].kind == OWNER_PEER;

		if (!peer && local)
			break;
		if (i == owner || !owner_has(&basis, (uint32_t)i, addr))
			continue;
		*ret_other = (uint32_t)i;
		return peer ? TAKEOVER_PEER : TAKEOVER_EXTENSION;
	}
	return local ? TAKEOVER_LOCAL : TAKEOVER_NOBODY;
}

static const struct config *config_now(void *context)
{
	return basis_of(context).config;
}

void asterisk_watch_note(
	struct asterisk_watch *watch, const struct event *event, const struct moment *now)
{
	static const char begin[] = "event=change ";
	const char *line = text_string(&event->line), *at = line;
	struct text value = {0}, old = {0};
	char key[EVENT_KEY_SIZE];
	uint64_t host = 0;

	if (!watch || strncmp(line, begin, sizeof(begin) - 1) != 0)
		return;
	takeovers_look(watch->takeovers, now);
	while (event_next(&at, key, &value)) {
		if (strcmp(key, "host") == 0)
			host = hash_name(watch, text_string(&value));
		else if (strcmp(key, "old") == 0)
			text_puts(&old, text_string(&value));
	}
	/* Those that it has still are asked for first: no need to look who stays. */
	for (const char *start = text_string(&old); host != 0 && *start;) {
		size_t length = strcspn(start, ",");
		struct addr addr;

		if (addr_parse(start, length, &addr)) {
			watch->lost[watch->lost_next++ % LOST] =
				(struct lost){.host = host, .addr = addr, .when_ms = now->boot_ms};
		}
		start += length + (start[length] == ',');
	}
	text_free(&value);
	text_free(&old);
}

/* --- the audit --- */

static void take_sighting(void *listener, const struct audit_sighting *sighting)
{
	struct asterisk_watch *watch = listener;

	takeovers_see(watch->takeovers, sighting, &watch->now);
}

/* NULL: no memory. */
static struct audit *audit_of(struct asterisk_watch *watch, const struct config *roll)
{
	const struct audit_settings settings = {
		.verdict = audit_verdict_now,
		.context = watch,
		.found = take_sighting,
		.listener = watch,
		.since = INT64_MIN,
		.seed = watch->options.seed,
		.listed = LISTED,
		.watched = WATCHED,
	};
	struct audit *audit = NULL;

	return roll && audit_new(roll, &settings, &audit) == 0 ? audit : NULL;
}

static struct config *roll_free(struct config *roll)
{
	if (roll) {
		free(roll->owners);
		arena_free(&roll->arena);
		free(roll);
	}
	return NULL;
}

/* NULL: no memory. */
static struct config *roll_of(const struct config *config)
{
	struct config *roll = calloc(1, sizeof(*roll));

	if (!roll)
		return NULL;
	roll->owner_count = config->owner_count;
	roll->owners = calloc(config->owner_count + 1, sizeof(*roll->owners));
	for (size_t i = 0; roll->owners && i < config->owner_count; i++) {
		const char *id = config->owners[i].id;

		roll->owners[i].kind = config->owners[i].kind;
		roll->owners[i].id = arena_copy(&roll->arena, id, strlen(id));
		if (!roll->owners[i].id)
			return roll_free(roll);
	}
	return roll->owners ? roll : roll_free(roll);
}

/* It is good for nothing any more: the next line begins a new one. */
static void end_audit(struct asterisk_watch *watch)
{
	watch->audit = audit_free(watch->audit);
	watch->settle_ms = INT64_MAX;
}

static void make_audit(struct asterisk_watch *watch)
{
	if (!watch->roll)
		watch->roll = roll_of(basis_of(watch).config);
	watch->audit = audit_of(watch, watch->roll);
}

static void take_event(struct asterisk_watch *watch, const struct audit_event *event)
{
	if (event->kind != AUDIT_LOGIN && event->kind != AUDIT_CLAIM && event->kind != AUDIT_AGENT)
		return;
	if (!watch->audit)
		make_audit(watch);
	if (!watch->audit)
		return;
	if (audit_take(watch->audit, event) < 0) {
		end_audit(watch);
		return;
	}
	if (event->kind == AUDIT_CLAIM && watch->settle_ms == INT64_MAX)
		watch->settle_ms = watch->now.boot_ms + AUDIT_WINDOW + SETTLE_MS;
}

static int compare_owners(const void *a, const void *b)
{
	const struct owner *x = *(const struct owner *const *)a;
	const struct owner *y = *(const struct owner *const *)b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* Where each owner of `old` stands in `roll`. NULL: no memory. */
static uint32_t *find_renamed(const struct config *old, const struct config *roll)
{
	uint32_t *renamed = calloc(old->owner_count + 1, sizeof(*renamed));
	const struct owner **sorted = calloc(roll->owner_count + 1, sizeof(const struct owner *));

	if (!renamed || !sorted) {
		free(renamed);
		free(sorted);
		return NULL;
	}
	for (size_t i = 0; i < roll->owner_count; i++)
		sorted[i] = &roll->owners[i];
	if (roll->owner_count > 1)
		qsort(sorted, roll->owner_count, sizeof(const struct owner *), compare_owners);
	for (size_t i = 0; i < old->owner_count; i++) {
		const struct owner *key = &old->owners[i];
		const struct owner *const *found = bsearch(&key, sorted, roll->owner_count,
			sizeof(const struct owner *), compare_owners);

		renamed[i] = found ? (uint32_t)(*found - roll->owners) : TAKEOVER_OWNER_GONE;
	}
	free(sorted);
	return renamed;
}

void asterisk_watch_configure(struct asterisk_watch *watch, const struct moment *now)
{
	struct config *roll;
	struct audit *audit;
	uint32_t *renamed = NULL;

	if (!watch)
		return;
	watch->now = *now;
	roll = roll_of(basis_of(watch).config);
	/* Without memory all is forgotten: indices of the former config must not be used. */
	if (roll && watch->roll)
		renamed = find_renamed(watch->roll, roll);
	takeovers_rename(watch->takeovers, renamed, renamed ? watch->roll->owner_count : 0);
	free(renamed);
	audit = audit_of(watch, roll);
	if (audit && watch->audit && audit_inherit(audit, watch->audit) < 0)
		audit = audit_free(audit);
	end_audit(watch);
	roll_free(watch->roll);
	watch->roll = roll;
	watch->audit = audit;
	watch->settle_ms = now->boot_ms + AUDIT_WINDOW + SETTLE_MS;
	takeovers_look(watch->takeovers, now);
}

/* --- lines --- */

/* Days since 1970-01-01 in the Gregorian calendar. */
static int64_t days_of(int year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year, era = y / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/*
 * How far two lines are apart is told by the dates at their beginnings, which are all of one zone,
 * whichever it is; what an event says of its own time adds the milliseconds.
 */
static int64_t time_of_line(struct asterisk_watch *watch, const char *line, size_t length)
{
	enum { SOME_LEAP_YEAR = 2000 };
	const struct asterisk_time *own = &watch->line.time;
	struct asterisk_time time;
	int64_t when;

	if (!asterisk_log_date(line, length, &time)) {
		when = watch->log_ms + watch->now.boot_ms - watch->log_at_ms;
	} else if (time.kind == ASTERISK_TIME_EXACT) {
		when = time.wall * 1000 + time.millisecond;
	} else {
		int year = time.kind == ASTERISK_TIME_LOCAL ? time.year : SOME_LEAP_YEAR;

		when = days_of(year, time.month, time.day) * 86400 + time.hour * 3600 +
		       time.minute * 60 + time.second;
		when = when * 1000 + (own->kind == ASTERISK_TIME_EXACT && time.millisecond == 0
						     ? own->millisecond
						     : time.millisecond);
	}
	watch->log_ms = when;
	watch->log_at_ms = watch->now.boot_ms;
	return when;
}

static void take_line(struct asterisk_watch *watch, const char *line, size_t length)
{
	struct audit_event event;

	watch->lines++;
	watch->last_line = watch->now.wall;
	if (asterisk_log_parse(line, length, &watch->line) == ASTERISK_OTHER)
		return;
	watch->understood++;
	watch->doubled += watch->line.doubled;
	if (watch->line.kind == ASTERISK_SECURITY) {
		watch->security++;
		watch->security_ms = watch->now.boot_ms;
		watch->silent = false;
	}
	if (audit_line_event(&watch->line, time_of_line(watch, line, length), &event))
		take_event(watch, &event);
}

/* A line is complete; its end is `data`. */
static void end_line(struct asterisk_watch *watch, const char *data, size_t length)
{
	if (watch->passing || watch->partial_length + length > ASTERISK_WATCH_LINE) {
		watch->lines++;
		watch->too_long++;
	} else if (watch->partial_length > 0) {
		memcpy(watch->partial + watch->partial_length, data, length);
		take_line(watch, watch->partial, watch->partial_length + length);
	} else {
		take_line(watch, data, length);
	}
	watch->partial_length = 0;
	watch->passing = false;
}

static void take_bytes(struct asterisk_watch *watch, const char *bytes, size_t length)
{
	const char *end = bytes + length, *feed;

	for (; bytes < end && (feed = memchr(bytes, '\n', (size_t)(end - bytes))); bytes = feed + 1)
		end_line(watch, bytes, (size_t)(feed - bytes));
	length = (size_t)(end - bytes);
	if (length == 0)
		return;
	if (watch->passing || watch->partial_length + length > ASTERISK_WATCH_LINE) {
		watch->passing = true;
		watch->partial_length = 0;
		return;
	}
	memcpy(watch->partial + watch->partial_length, bytes, length);
	watch->partial_length += length;
}

/* --- the state of the file --- */

static void say_state(struct asterisk_watch *watch, enum event_level level, const char *state,
	const char *error, const char *next)
{
	struct event event;

	event_begin(&event, level, "security-log");
	event_put(&event, "state", state);
	if (error)
		event_put(&event, "error", error);
	if (next && *next)
		event_put(&event, "next", next);
	if (!event.line.failed)
		watch->options.log(watch->options.context, &event);
	event_clear(&event);
}

static void set_state(struct asterisk_watch *watch, enum asterisk_watch_state state)
{
	watch->state = state;
	watch->since = watch->now;
}

static void take_missing(struct asterisk_watch *watch, const struct error *problem)
{
	bool news = watch->state != ASTERISK_WATCH_MISSING;

	watch->problem = problem ? *problem : (struct error){.code = -ENOENT};
	if (!news)
		return;
	set_state(watch, ASTERISK_WATCH_MISSING);
	say_state(watch, EVENT_WARNING, "missing",
		watch->problem.what[0] ? watch->problem.what : "the file is not there",
		watch->problem.next[0]
			? watch->problem.next
			: "let logger.conf have a line `security => security` in [logfiles], then "
			  "asterisk -rx 'logger reload'");
}

static void take_opened(struct asterisk_watch *watch)
{
	if (watch->partial_length > 0 || watch->passing)
		end_line(watch, "", 0);
	if (watch->state == ASTERISK_WATCH_FOLLOWED)
		return;
	if (watch->state == ASTERISK_WATCH_MISSING)
		say_state(watch, EVENT_NOTICE, "followed", NULL, NULL);
	set_state(watch, ASTERISK_WATCH_FOLLOWED);
	watch->problem = (struct error){0};
}

/* INT64_MAX: it has been said. */
static int64_t silent_at(const struct asterisk_watch *watch)
{
	if (watch->state != ASTERISK_WATCH_FOLLOWED || watch->silent)
		return INT64_MAX;
	if (watch->security > 0)
		return watch->security_ms + ASTERISK_WATCH_STALE_MS;
	return watch->lines >= OTHER_LINES ? watch->now.boot_ms
					   : watch->since.boot_ms + ASTERISK_WATCH_SILENT_MS;
}

static void say_silence(struct asterisk_watch *watch)
{
	if (silent_at(watch) > watch->now.boot_ms)
		return;
	watch->silent = true;
	say_state(watch, EVENT_WARNING, "silent",
		watch->security > 0 ? "it has had no security event for more than a day"
		: watch->lines > 0  ? "its lines are no security events"
				    : "nothing is written to it, although phones register each "
				      "hour at least",
		"let logger.conf have a line `security => security` in [logfiles], then asterisk "
		"-rx 'logger reload'; takeovers are not found without it");
}

/* --- what comes from outside --- */

int asterisk_watch_open(struct asterisk_watch **ret_watch,
	const struct asterisk_watch_options *options, const struct moment *now, struct error *error)
{
	struct asterisk_watch *watch = calloc(1, sizeof(*watch));
	const struct takeover_judge judge = {
		.context = watch,
		.verdict = verdict_now,
		.other = other_now,
		.config = config_now,
		.log = options->log,
		.log_context = options->context,
	};
	int result = -ENOMEM;

	if (!watch)
		return error_no_memory(error);
	watch->options = *options;
	watch->now = watch->began = watch->since = *now;
	watch->settle_ms = INT64_MAX;
	watch->lost = calloc(LOST, sizeof(*watch->lost));
	watch->partial = malloc(ASTERISK_WATCH_LINE);
	if (watch->lost && watch->partial)
		result = takeovers_new(&watch->takeovers, &judge,
			now->boot_ms + ASTERISK_WATCH_SETTLED_MS, options->seed);
	if (result == 0)
		make_audit(watch);
	if (!watch->audit) {
		asterisk_watch_close(watch);
		return error_no_memory(error);
	}
	*ret_watch = watch;
	return 0;
}

struct asterisk_watch *asterisk_watch_close(struct asterisk_watch *watch)
{
	if (!watch)
		return NULL;
	audit_free(watch->audit);
	takeovers_free(watch->takeovers);
	roll_free(watch->roll);
	free(watch->lost);
	free(watch->partial);
	free(watch);
	return NULL;
}

void asterisk_watch_log(struct asterisk_watch *watch, enum asterisk_log_news news,
	const char *bytes, size_t length, const struct error *problem, const struct moment *now)
{
	if (!watch)
		return;
	watch->now = *now;
	switch (news) {
	case ASTERISK_LOG_BYTES:
		/* Another one, since closed, was told that it is open. */
		if (watch->state == ASTERISK_WATCH_WAITING)
			set_state(watch, ASTERISK_WATCH_FOLLOWED);
		take_bytes(watch, bytes, length);
		break;
	case ASTERISK_LOG_OPENED:
		take_opened(watch);
		break;
	case ASTERISK_LOG_MISSING:
		take_missing(watch, problem);
		break;
	}
	takeovers_tick(watch->takeovers, now);
}

static void settle(struct asterisk_watch *watch)
{
	const struct moment *now = &watch->now;
	int64_t when = watch->log_ms + now->boot_ms - watch->log_at_ms;

	if (now->boot_ms < watch->settle_ms)
		return;
	/* One more look, behind the last claim's time, finds nothing: then it is over. */
	watch->settle_ms = now->boot_ms - watch->log_at_ms > AUDIT_WINDOW + SETTLE_MS
				   ? INT64_MAX
				   : now->boot_ms + SETTLE_MS;
	if (watch->audit && audit_settle(watch->audit, when) < 0)
		end_audit(watch);
}

void asterisk_watch_tick(struct asterisk_watch *watch, const struct moment *now)
{
	if (!watch)
		return;
	watch->now = *now;
	settle(watch);
	say_silence(watch);
	takeovers_tick(watch->takeovers, now);
}

int64_t asterisk_watch_due(const struct asterisk_watch *watch)
{
	int64_t due, silent;

	if (!watch)
		return INT64_MAX;
	due = takeovers_due(watch->takeovers);
	silent = silent_at(watch);
	if (watch->settle_ms < due)
		due = watch->settle_ms;
	return silent < due ? silent : due;
}

/* --- for status --- */

struct asterisk_watch_summary asterisk_watch_summary(const struct asterisk_watch *watch)
{
	return (struct asterisk_watch_summary){
		.state = watch->state,
		.since = watch->since.wall,
		.problem = &watch->problem,
		.lines = watch->lines,
		.understood = watch->understood,
		.too_long = watch->too_long,
		.doubled = watch->doubled,
		.security = watch->security,
		.last_line = watch->last_line,
		.silent = watch->silent,
		.left_out = takeovers_left_out(watch->takeovers),
	};
}

size_t asterisk_watch_takeovers(
	const struct asterisk_watch *watch, struct takeover *takeovers, size_t max)
{
	return takeovers_list(watch->takeovers, takeovers, max);
}

uint64_t asterisk_watch_proven(const struct asterisk_watch *watch)
{
	return watch ? takeovers_proven(watch->takeovers) : 0;
}

size_t asterisk_watch_find(const struct asterisk_watch *watch, const struct addr *addr,
	uint32_t owner, struct takeover *takeovers, size_t max)
{
	return takeovers_find(watch->takeovers, addr, owner, takeovers, max);
}

static void put_log(const struct asterisk_watch *watch, struct text *text)
{
	static const char *const states[] = {"waiting", "followed", "missing"};
	struct asterisk_watch_summary summary = asterisk_watch_summary(watch);
	bool missing = summary.state == ASTERISK_WATCH_MISSING;

	json_put_open(text, "{");
	json_put_key(text, "state");
	json_put_string(text, states[summary.state]);
	json_put_key(text, "since");
	json_put_time(text, summary.since);
	json_put_key(text, "error");
	json_put_string(text, missing ? summary.problem->what : NULL);
	json_put_key(text, "next");
	json_put_string(text, missing ? summary.problem->next : NULL);
	json_put_key(text, "silent");
	json_put_bool(text, summary.silent);
	json_put_key(text, "lines");
	json_put_number(text, (int64_t)summary.lines);
	json_put_key(text, "understood");
	json_put_number(text, (int64_t)summary.understood);
	json_put_key(text, "security_events");
	json_put_number(text, (int64_t)summary.security);
	json_put_key(text, "too_long");
	json_put_number(text, (int64_t)summary.too_long);
	json_put_key(text, "doubled");
	json_put_number(text, (int64_t)summary.doubled);
	json_put_key(text, "last_line");
	json_put_time(text, summary.last_line);
	json_put_close(text, "}");
}

static void put_takeover(
	const struct config *config, const struct takeover *takeover, struct text *text)
{
	const struct owner *owner = &config->owners[takeover->owner];

	json_put_open(text, "{");
	json_put_key(text, "owner");
	json_put_open(text, "{");
	json_put_key(text, "kind");
	json_put_string(text, owner->kind == OWNER_EXTENSION ? "extension" : "peer");
	json_put_key(text, "id");
	json_put_string(text, owner->id);
	json_put_close(text, "}");
	json_put_key(text, "address");
	if (takeover->has_addr)
		json_put_addr(text, &takeover->addr);
	else
		json_put_null(text);
	json_put_key(text, "port");
	if (takeover->port)
		json_put_number(text, takeover->port);
	else
		json_put_null(text);
	json_put_key(text, "driver");
	json_put_string(text, takeover->protocol == AUDIT_SIP ? "chan_sip" : "pjsip");
	json_put_key(text, "certainty");
	json_put_string(text, audit_certainty_name((enum audit_certainty)takeover->certainty));
	json_put_key(text, "excused");
	json_put_bool(text, takeover->excused);
	json_put_key(text, "count");
	json_put_number(text, (int64_t)takeover->count);
	json_put_key(text, "first");
	json_put_time(text, takeover->first);
	json_put_key(text, "last");
	json_put_time(text, takeover->last);
	json_put_close(text, "}");
}

void asterisk_watch_put_takeovers(const struct asterisk_watch *watch, const struct addr *addr,
	uint32_t owner, struct text *text)
{
	struct takeover list[ASTERISK_WATCH_LISTED];
	size_t count;

	json_put_key(text, "takeovers");
	if (!watch) {
		json_put_null(text);
		return;
	}
	count = takeovers_find(watch->takeovers, addr, owner, list, ASTERISK_WATCH_LISTED);
	json_put_open(text, "[");
	for (size_t i = 0; i < count && i < ASTERISK_WATCH_LISTED; i++)
		put_takeover(basis_of(watch).config, &list[i], text);
	json_put_close(text, "]");
}

void asterisk_watch_put(const struct asterisk_watch *watch, struct text *text)
{
	json_put_key(text, "security_log");
	if (watch)
		put_log(watch, text);
	else
		json_put_null(text);
	asterisk_watch_put_takeovers(watch, NULL, TAKEOVER_OWNER_GONE, text);
}
