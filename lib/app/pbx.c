/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pbx.h"
#include "asterisk_link.h"
#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static const char restart[] = "restart the daemon (systemctl restart sipfence)";

/* What the helper was forked with. */
struct forked {
	bool acl;
	char *acl_file, *security_log; /* of the log NULL: none */
	char **command;
};

struct pbx {
	engine_log_fn *log;
	void *context;
	struct forked forked;
	struct asterisk_link *link;	/* NULL: there is no helper */
	struct asterisk_keeper *keeper; /* NULL: the helper keeps no ACLs */
	struct asterisk_watch *watch;	/* NULL: no log is followed */
	const struct engine *engine;	/* NULL: not yet */
	uint64_t seen;			/* changes of the list that the keeper knows of */
	uint64_t proven;		/* takeovers that it knows of */
	bool wanted;			/* the config in force asks for ACLs */
	bool restart_needed;
	bool dead;
	struct error problem;
};

/* --- Saying --- */

static void say(
	struct pbx *pbx, enum event_level level, const char *result, const struct error *error)
{
	struct event event;

	event_begin(&event, level, "acl");
	event_put(&event, "result", result);
	event_put_error(&event, error);
	if (!event.line.failed)
		pbx->log(pbx->context, &event);
	event_clear(&event);
}

/* --- What the helper was forked with --- */

static void forked_clear(struct forked *forked)
{
	free(forked->acl_file);
	free(forked->security_log);
	for (size_t i = 0; forked->command && forked->command[i]; i++)
		free(forked->command[i]);
	free(forked->command);
	*forked = (struct forked){0};
}

static bool copy_command(struct forked *forked, const char *const *command)
{
	size_t count = 0;

	while (command[count])
		count++;
	forked->command = calloc(count + 1, sizeof(*forked->command));
	for (size_t i = 0; forked->command && i < count; i++) {
		forked->command[i] = strdup(command[i]);
		if (!forked->command[i])
			return false;
	}
	return forked->command != NULL;
}

static int forked_copy(struct forked *forked, const struct config *config)
{
	const char *log = config->asterisk.security_log;

	forked->acl = config->asterisk.acl;
	forked->acl_file = strdup(config->asterisk.acl_file);
	forked->security_log = log ? strdup(log) : NULL;
	if (forked->acl_file && (!log || forked->security_log) &&
		copy_command(forked, config->asterisk.command))
		return 0;
	forked_clear(forked);
	return -ENOMEM;
}

static bool same_command(char *const *a, const char *const *b)
{
	for (; *a && *b; a++, b++) {
		if (strcmp(*a, *b) != 0)
			return false;
	}
	return !*a && !*b;
}

static bool serves_acls(const struct forked *forked, const struct config *config)
{
	return forked->acl && strcmp(forked->acl_file, config->asterisk.acl_file) == 0 &&
	       same_command(forked->command, config->asterisk.command);
}

static bool serves_log(const struct forked *forked, const struct config *config)
{
	return forked->security_log &&
	       strcmp(forked->security_log, config->asterisk.security_log) == 0;
}

bool pbx_is_wanted(const struct config *config)
{
	return config->asterisk.acl || config->asterisk.security_log;
}

/* --- What the helper says --- */

static void take_ended(void *context, const struct asterisk_outcome *outcome)
{
	struct pbx *pbx = context;

	asterisk_keeper_done(pbx->keeper, outcome, clock_boot_ms());
}

static void take_log(void *context, enum asterisk_log_news news, const char *bytes, size_t length,
	const struct error *error)
{
	const struct pbx *pbx = context;
	const struct moment now = {.boot_ms = clock_boot_ms(), .wall = clock_wall()};

	asterisk_watch_log(pbx->watch, news, bytes, length, error, &now);
}

/* Nobody can follow it. */
static void miss_log(struct pbx *pbx, const struct moment *now)
{
	struct error error = pbx->problem;

	if (!error.code)
		error_set(&error, -EPERM, restart, "the daemon was started without a security-log");
	asterisk_watch_log(pbx->watch, ASTERISK_LOG_MISSING, NULL, 0, &error, now);
}

static void take_death(void *context, const char *how)
{
	const struct moment now = {.boot_ms = clock_boot_ms(), .wall = clock_wall()};
	struct pbx *pbx = context;

	pbx->dead = true;
	pbx->problem = (struct error){0};
	error_set(&pbx->problem, -EPIPE, restart, "%s: Asterisk's %s not %s any more", how,
		pbx->forked.acl ? "ACLs are" : "security log is",
		pbx->forked.acl ? "kept" : "followed");
	say(pbx, EVENT_ERROR, "failed", &pbx->problem);
	miss_log(pbx, &now);
}

/* --- The security log --- */

static struct asterisk_watch_basis basis_now(void *context)
{
	const struct pbx *pbx = context;

	return (struct asterisk_watch_basis){
		.config = engine_config(pbx->engine),
		.roster = engine_roster(pbx->engine),
		.now = engine_clock(pbx->engine)->now,
	};
}

static void log_of_watch(void *context, const struct event *event)
{
	const struct pbx *pbx = context;

	pbx->log(pbx->context, event);
}

static void open_watch(struct pbx *pbx, const struct moment *now)
{
	struct asterisk_watch_options options = {
		.context = pbx, .basis = basis_now, .log = log_of_watch};
	struct error error = {0};

	if (pbx->watch || !engine_config(pbx->engine)->asterisk.security_log)
		return;
	if (getrandom(&options.seed, sizeof(options.seed), GRND_NONBLOCK) < 0)
		options.seed = (uint64_t)now->boot_ms;
	if (asterisk_watch_open(&pbx->watch, &options, now, &error) < 0)
		say(pbx, EVENT_ERROR, "failed", &error);
	else if (!pbx->link || pbx->dead || !pbx->forked.security_log)
		miss_log(pbx, now);
}

void pbx_note(struct pbx *pbx, const struct event *event, const struct moment *now)
{
	if (pbx)
		asterisk_watch_note(pbx->watch, event, now);
}

const struct asterisk_watch *pbx_watch(const struct pbx *pbx)
{
	return pbx ? pbx->watch : NULL;
}

/* --- Work --- */

static bool is_keeping(const struct pbx *pbx)
{
	return pbx && pbx->keeper && pbx->link && !pbx->dead && pbx->engine && pbx->wanted;
}

/* DNS has said something of all of it, as far as it can be asked. */
static bool is_settled(const struct host *host)
{
	enum host_state state = host_state(host);

	if (state == HOST_NEVER || state == HOST_EXPIRED)
		return false;
	return host->lookup[FAMILY_IPV4].asked && host->lookup[FAMILY_IPV6].asked;
}

/* The extensions whose phones may be at addresses that are not known yet. */
static void find_unsettled(const struct roster *roster, bool *unsettled, uint32_t count)
{
	for (size_t i = 0; i < roster->binding_count && roster->bindings[i].owner < count; i++) {
		const struct binding *binding = &roster->bindings[i];

		unsettled[binding->owner] |= !is_settled(&roster->hosts[binding->host]);
	}
}

static void tell_keeper(struct pbx *pbx, const struct moment *now)
{
	const struct roster *roster = engine_roster(pbx->engine);
	struct asterisk_acls acls = {0};
	bool *unsettled = NULL;

	if (asterisk_acls_make(
		    engine_config(pbx->engine), roster, engine_clock(pbx->engine)->now, &acls) == 0)
		unsettled = calloc((size_t)acls.count + 1, sizeof(*unsettled));
	if (unsettled) {
		find_unsettled(roster, unsettled, acls.count);
		asterisk_keeper_want(pbx->keeper, &acls, unsettled, now->boot_ms);
	} else {
		asterisk_keeper_put_off(pbx->keeper, now->boot_ms);
	}
	free(unsettled);
	asterisk_acls_clear(&acls);
}

/* Who was let in before an ACL was in force, or past it, is thrown out when it is proven. */
static void tell_of_takeovers(struct pbx *pbx, const struct moment *now)
{
	uint64_t proven = asterisk_watch_proven(pbx->watch);

	if (proven != pbx->proven && proven > 0)
		asterisk_keeper_sighted(pbx->keeper, now->boot_ms);
	pbx->proven = proven;
}

static void begin_task(struct pbx *pbx, const struct moment *now)
{
	struct asterisk_outcome outcome = {0};
	struct asterisk_task task;

	if (!asterisk_keeper_next(pbx->keeper, now->boot_ms, &task))
		return;
	outcome.result = asterisk_link_begin(pbx->link, &task, &outcome.error);
	if (outcome.result < 0)
		asterisk_keeper_done(pbx->keeper, &outcome, now->boot_ms);
}

void pbx_tick(struct pbx *pbx, const struct moment *now)
{
	if (!pbx || !pbx->link)
		return;
	asterisk_link_tick(pbx->link, now->boot_ms);
	asterisk_watch_tick(pbx->watch, now);
	if (!is_keeping(pbx))
		return;
	if (engine_list_changes(pbx->engine) != pbx->seen) {
		pbx->seen = engine_list_changes(pbx->engine);
		asterisk_keeper_changed(pbx->keeper, now->boot_ms);
	}
	tell_of_takeovers(pbx, now);
	/* With 100,000 extensions this takes 30 ms, and the file 10: not both at once. */
	if (asterisk_keeper_wants(pbx->keeper, now->boot_ms)) {
		tell_keeper(pbx, now);
		return;
	}
	begin_task(pbx, now);
}

int64_t pbx_due(const struct pbx *pbx)
{
	int64_t due, keeper, watch;

	if (!pbx || !pbx->link)
		return INT64_MAX;
	due = asterisk_link_due(pbx->link);
	watch = asterisk_watch_due(pbx->watch);
	due = watch < due ? watch : due;
	if (!is_keeping(pbx))
		return due;
	keeper = asterisk_keeper_due(pbx->keeper);
	return keeper < due ? keeper : due;
}

void pbx_begin(struct pbx *pbx, const struct engine *engine, const struct moment *now)
{
	if (!pbx)
		return;
	pbx->engine = engine;
	pbx->seen = engine_list_changes(engine);
	open_watch(pbx, now);
	if (pbx->keeper)
		asterisk_keeper_changed(pbx->keeper, now->boot_ms);
}

void pbx_configure(struct pbx *pbx, const struct config *config, const struct moment *now)
{
	bool acl = config->asterisk.acl, log = config->asterisk.security_log != NULL;
	struct error error = {0};
	bool needed;

	if (!pbx)
		return;
	needed = (acl && !serves_acls(&pbx->forked, config)) ||
		 (log && !serves_log(&pbx->forked, config));
	pbx->wanted = acl;
	if (!log)
		pbx->watch = asterisk_watch_close(pbx->watch);
	asterisk_watch_configure(pbx->watch, now);
	if (log && pbx->engine)
		open_watch(pbx, now);
	if (pbx->keeper) {
		asterisk_keeper_configure(
			pbx->keeper, config->asterisk.evict, config->asterisk.hangup);
		asterisk_keeper_changed(pbx->keeper, now->boot_ms);
	}
	if (needed) {
		error_set(&error, -EPERM, restart,
			"acl, acl-file, command or security-log of asterisk have been changed, "
			"which the helper process can't take over; what it had at the start goes "
			"on");
		say(pbx, EVENT_WARNING, "restart-needed", &error);
	}
	pbx->restart_needed = needed;
}

/* --- Status --- */

struct pbx_summary pbx_summary(const struct pbx *pbx)
{
	struct pbx_summary summary = {0};

	if (!pbx)
		return summary;
	summary.wanted = pbx->wanted;
	summary.alive = pbx->link && !pbx->dead;
	summary.restart_needed = pbx->restart_needed;
	summary.acl_file = pbx->forked.acl_file;
	summary.problem = &pbx->problem;
	summary.known = pbx->keeper && pbx->wanted;
	if (summary.known)
		summary.acls = asterisk_keeper_summary(pbx->keeper);
	return summary;
}

bool pbx_is_right(const struct pbx_summary *summary)
{
	if (summary->restart_needed)
		return false;
	return !summary->wanted || (summary->alive && summary->known &&
					   (summary->acls.state == ASTERISK_KEEPER_IN_FORCE ||
						   summary->acls.state == ASTERISK_KEEPER_PENDING));
}

/* --- Begin and end --- */

static int open_link(struct pbx *pbx, const struct pbx_options *options, struct error *error)
{
	const struct asterisk_link_options link = {
		.loop = options->loop,
		.helper = options->helper,
		.context = pbx,
		.ended = take_ended,
		.log = take_log,
		.died = take_death,
	};
	int result = forked_copy(&pbx->forked, options->config);

	if (result == 0 && pbx->forked.acl)
		result = asterisk_keeper_new(&pbx->keeper, options->log, options->context, error);
	if (result == 0)
		return asterisk_link_open(&pbx->link, &link, error);
	close(options->helper.fd);
	return error_no_memory(error);
}

int pbx_open(struct pbx **ret_pbx, const struct pbx_options *options, struct error *error)
{
	struct pbx *pbx = calloc(1, sizeof(*pbx));
	int result = 0;

	if (!pbx) {
		if (options->helper.fd >= 0)
			close(options->helper.fd);
		return error_no_memory(error);
	}
	pbx->log = options->log;
	pbx->context = options->context;
	pbx->wanted = options->config->asterisk.acl;
	pbx->problem = *options->problem;
	if (options->helper.fd >= 0)
		result = open_link(pbx, options, error);
	if (result < 0) {
		pbx_close(pbx);
		return result;
	}
	if (pbx->keeper)
		asterisk_keeper_configure(pbx->keeper, options->config->asterisk.evict,
			options->config->asterisk.hangup);
	if (pbx->problem.code)
		say(pbx, EVENT_ERROR, "failed", &pbx->problem);
	*ret_pbx = pbx;
	return 0;
}

struct pbx *pbx_close(struct pbx *pbx)
{
	if (!pbx)
		return NULL;
	asterisk_link_close(pbx->link);
	asterisk_keeper_free(pbx->keeper);
	asterisk_watch_close(pbx->watch);
	forked_clear(&pbx->forked);
	free(pbx);
	return NULL;
}
