/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_keeper.h"
#include "asterisk_ask.h"
#include "asterisk_evict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	EVICT_AGAIN_MS = 30 * 1000,
	/* The log tells of a registration a moment before the list of them has it. Who comes again
	 * and again, since nothing refuses him, is thrown out ever more rarely. */
	SIGHTED_MS = 250,
	SIGHTED_AGAIN_MS = 5 * 1000,
	SIGHTED_MOST_MS = 30 * 1000, /* nobody who returns keeps another one in for longer */
	NO_MEMORY_MS = 1000,
	GATHER_ACLS_A_MS = 100,
	GONE_TRIES = 8, /* what is there all the same comes from elsewhere */
};

/* What is known of an ACL in Asterisk. */
enum check_state {
	CHECK_RIGHT = 0, /* it is in force */
	CHECK_AGAIN,	 /* it was; to be looked at */
	CHECK_UNKNOWN,	 /* to be looked at when there is time */
	CHECK_URGENT,	 /* the same, now */
	CHECK_WRONG,
	CHECK_STATES
};

struct check {
	bool unsettled;	  /* not all of its names were answered yet */
	uint8_t state;	  /* enum check_state */
	uint8_t alarm;	  /* enum asterisk_match: it was found to be so, and that was said */
	int64_t alarm_ms; /* since when */
};

/* All that is wanted: of no config that may go. */
struct wanted {
	struct config config; /* its path and its owners' ids, all that `acls` needs */
	struct asterisk_acls acls;
	struct check *checks; /* of each ACL */
};

struct retry {
	int64_t at; /* ms */
	unsigned failures;
};

struct asterisk_keeper {
	engine_log_fn *log;
	void *context;
	struct wanted *wanted; /* NULL: nothing yet */
	uint32_t counts[CHECK_STATES], alarms;
	uint32_t turn; /* whose turn it is to be looked at again */
	/* One that the file has no more: it shows whether Asterisk has taken the file. "": none. */
	char gone[ASTERISK_ACL_NAME_SIZE];
	struct acl gone_acl;	     /* as it was */
	bool gone_known;	     /* so it was in Asterisk, too */
	unsigned gone_tries;	     /* to have it go */
	bool gone_alarm, gone_waits; /* it was found, and that was said; until the next try */
	struct text file;	     /* as it is written, a remark included; empty: to be made */
	int64_t anew_ms;	     /* it was written again then; 0: it was not */

	bool stale; /* a look at what is wanted is due at gather_ms */
	int64_t stale_ms, gather_ms;
	int64_t changed_ms; /* what is under way began then */
	uint32_t changed;   /* ACLs that it concerns */

	bool write, reload, boot; /* to be done; `boot`: wait for it first */
	bool routine;		  /* the file was right when it was last seen */
	bool booted;		  /* it has booted, so a command that is unknown is so for good */
	bool loaded;		  /* it was reloaded for what is being looked at */
	bool second_look;
	struct retry write_retry, ask_retry, wrong_retry;
	unsigned down_polls;
	bool down;
	unsigned burst;
	int64_t pause_ms, again_ms;

	struct asterisk_evict evict;
	bool evicts, evict_due;
	uint32_t unsettled;
	struct retry unsettled_retry;
	struct retry evict_retry;
	int64_t sighted_ms;	    /* a round is due then; INT64_MAX: none is */
	struct retry sighted_retry; /* `at`: the next one at the earliest */
	struct error evict_trouble;

	struct asterisk_task task;
	char name[ASTERISK_ACL_NAME_SIZE]; /* of the task */
	uint32_t index;			   /* its ACL */
	bool busy;

	enum asterisk_keeper_state state;
	int64_t since_ms;
	struct error trouble;
	bool said;	/* something was wrong, and that was said */
	unsigned lines; /* mismatches that were said one by one */
	uint32_t left_out;
	uint64_t reloads;
};

static void settle(struct asterisk_keeper *keeper, int64_t now_ms);

/* --- Small things --- */

static int64_t gap(unsigned failures, int64_t first, int64_t most)
{
	int64_t value = first << (failures < 16 ? failures : 16);

	return value < most ? value : most;
}

static void later(struct retry *retry, int64_t now_ms)
{
	retry->at = now_ms +
		    gap(retry->failures++, ASTERISK_KEEPER_RETRY_MS, ASTERISK_KEEPER_RETRY_MOST_MS);
}

static void set_check(struct asterisk_keeper *keeper, uint32_t index, enum check_state state)
{
	struct check *check = &keeper->wanted->checks[index];

	keeper->counts[check->state]--;
	keeper->counts[state]++;
	check->state = (uint8_t)state;
}

/* All that are `from` become `to`; CHECK_STATES: whatever they are. */
static void set_all(struct asterisk_keeper *keeper, enum check_state from, enum check_state to)
{
	for (uint32_t i = 0; i < keeper->wanted->acls.count; i++) {
		if (from == CHECK_STATES || keeper->wanted->checks[i].state == from)
			set_check(keeper, i, to);
	}
}

static void clear_alarm(struct asterisk_keeper *keeper, uint32_t index)
{
	struct check *check = &keeper->wanted->checks[index];

	keeper->alarms -= check->alarm != ASTERISK_EQUAL;
	check->alarm = ASTERISK_EQUAL;
}

/* --- Saying --- */

static void say(struct asterisk_keeper *keeper, struct event *event)
{
	if (!event->line.failed)
		keeper->log(keeper->context, event);
	event_clear(event);
}

static void begin(struct event *event, enum event_level level, const char *result)
{
	event_begin(event, level, "acl");
	event_put(event, "result", result);
}

static void say_written(struct asterisk_keeper *keeper)
{
	struct event event;

	/* To try once more is no news. */
	begin(&event, keeper->anew_ms ? EVENT_DEBUG : EVENT_INFO, "written");
	event_put_number(&event, "acls", keeper->wanted->acls.count);
	event_put_number(&event, "changed", keeper->changed);
	say(keeper, &event);
}

static void say_foreign(struct asterisk_keeper *keeper, const char *what)
{
	struct event event;

	begin(&event, EVENT_WARNING, "repaired");
	event_put(&event, "error", what);
	say(keeper, &event);
}

static void say_in_force(struct asterisk_keeper *keeper, bool news, int64_t now_ms)
{
	struct event event;

	begin(&event, news ? EVENT_NOTICE : EVENT_INFO, "in-force");
	event_put_number(&event, "acls", keeper->wanted->acls.count);
	event_put_number(&event, "changed", keeper->changed);
	event_put_number(&event, "ms", now_ms - keeper->changed_ms);
	say(keeper, &event);
}

static const char mismatch_next[] =
	"see what Asterisk objects to in acl.conf and what that includes (its log), and that its "
	"user can read the file; sipfence asterisk says whether acl.conf includes it";

static void say_mismatch(
	struct asterisk_keeper *keeper, const char *name, enum asterisk_match match)
{
	static const char prefix[] = "sipfence-";
	struct event event;

	if (keeper->lines >= ASTERISK_KEEPER_SAID) {
		keeper->left_out++;
		return;
	}
	keeper->lines++;
	begin(&event, EVENT_ERROR, "mismatch");
	event_put(&event, "extension", name + strlen(prefix));
	event_put(&event, "acl", name);
	event_put(&event, "error", asterisk_match_text(match));
	event_put(&event, "next", mismatch_next);
	say(keeper, &event);
	keeper->said = true;
}

/* It was taken out of the file. `foreign`: it is somebody else's, and left alone from now on. */
static void say_gone(struct asterisk_keeper *keeper, bool foreign)
{
	struct event event;
	struct text next = {0};

	if (foreign)
		text_printf(&next,
			"somebody has written a section [%s] into acl.conf or a file that it "
			"includes: delete it; sipfence does not look for it any more",
			keeper->gone);
	else
		text_puts(&next, mismatch_next);
	begin(&event, foreign ? EVENT_WARNING : EVENT_ERROR, "mismatch");
	event_put(&event, "extension", keeper->gone + strlen("sipfence-"));
	event_put(&event, "acl", keeper->gone);
	event_put(&event, "error",
		"Asterisk has it, although the config has no such extension any more");
	event_put(&event, "next", text_string(&next));
	event.line.failed |= next.failed;
	say(keeper, &event);
	text_free(&next);
	keeper->said = true;
}

static void say_left_out(struct asterisk_keeper *keeper)
{
	struct event event;

	if (keeper->left_out == 0)
		return;
	begin(&event, EVENT_ERROR, "mismatch");
	event_put_number(&event, "count", keeper->left_out);
	event_put(&event, "error", "so many more ACLs are not what they should be");
	say(keeper, &event);
	keeper->left_out = 0;
}

/* `error` NULL: it is up again. */
static void say_down(struct asterisk_keeper *keeper, const struct error *error)
{
	struct event event;

	begin(&event, error ? EVENT_WARNING : EVENT_NOTICE, error ? "down" : "up");
	if (error)
		event_put_error(&event, error);
	say(keeper, &event);
	keeper->said |= error != NULL;
}

/* Once, until it works again. */
static void take_trouble(struct asterisk_keeper *keeper, const struct error *error)
{
	struct event event;
	bool known = keeper->trouble.code != 0;

	keeper->trouble = *error;
	if (!keeper->trouble.code)
		error_set(&keeper->trouble, -EIO, "", "it failed");
	if (known)
		return;
	begin(&event, EVENT_ERROR, "failed");
	event_put_error(&event, &keeper->trouble);
	say(keeper, &event);
	keeper->said = true;
}

static void say_evict_trouble(struct asterisk_keeper *keeper)
{
	struct event event;

	event_begin(&event, EVENT_ERROR, "evict");
	event_put(&event, "result", "failed");
	event_put_error(&event, &keeper->evict_trouble);
	say(keeper, &event);
}

/* --- What is wanted --- */

static struct wanted *wanted_free(struct wanted *wanted)
{
	if (!wanted)
		return NULL;
	asterisk_acls_clear(&wanted->acls);
	free(wanted->checks);
	arena_free(&wanted->config.arena);
	free(wanted);
	return NULL;
}

static int copy_names(struct wanted *wanted, const struct asterisk_acls *acls)
{
	struct config *config = &wanted->config;

	config->owners = arena_alloc(&config->arena, (acls->count + 1) * sizeof(*config->owners));
	config->path = arena_copy(&config->arena, acls->config->path, strlen(acls->config->path));
	if (!config->owners || !config->path)
		return -ENOMEM;
	memset(config->owners, 0, (acls->count + 1) * sizeof(*config->owners));
	config->owner_count = acls->count;
	for (uint32_t i = 0; i < acls->count; i++) {
		const char *id = acls->config->owners[i].id;

		config->owners[i].id = arena_copy(&config->arena, id, strlen(id));
		if (!config->owners[i].id)
			return -ENOMEM;
	}
	return 0;
}

/* Takes `acls` on success. */
static struct wanted *wanted_new(struct asterisk_acls *acls)
{
	struct wanted *wanted = calloc(1, sizeof(*wanted));

	if (!wanted)
		return NULL;
	wanted->checks = calloc((size_t)acls->count + 1, sizeof(*wanted->checks));
	if (!wanted->checks || copy_names(wanted, acls) < 0)
		return wanted_free(wanted);
	wanted->acls = *acls;
	wanted->acls.config = &wanted->config;
	*acls = (struct asterisk_acls){0};
	return wanted;
}

/* The file would be the same. */
static bool same_wanted(const struct wanted *a, const struct wanted *b)
{
	if (a->acls.count != b->acls.count || strcmp(a->config.path, b->config.path) != 0)
		return false;
	for (uint32_t i = 0; i < a->acls.count; i++) {
		if (strcmp(a->config.owners[i].id, b->config.owners[i].id) != 0 ||
			!acl_equal(&a->acls.list[i], &b->acls.list[i]))
			return false;
	}
	return true;
}

/* Where the former ones have that id; most are where they were. */
static uint32_t find_former(const struct wanted *old, uint32_t index, const char *id)
{
	if (index < old->acls.count && strcmp(old->config.owners[index].id, id) == 0)
		return index;
	return asterisk_acls_find(&old->acls, id);
}

/* What is known of the former ones goes on; what is new or different is urgent. */
static void inherit(struct asterisk_keeper *keeper, struct wanted *wanted)
{
	struct wanted *old = keeper->wanted;

	memset(keeper->counts, 0, sizeof(keeper->counts));
	keeper->alarms = 0;
	keeper->changed = 0;
	for (uint32_t i = 0; i < wanted->acls.count; i++) {
		struct check *check = &wanted->checks[i];
		uint32_t at = old ? find_former(old, i, wanted->config.owners[i].id) : 0;

		if (!old) {
			check->state = CHECK_UNKNOWN;
		} else if (at == old->acls.count) {
			check->state = CHECK_URGENT;
		} else {
			*check = old->checks[at];
			if (!acl_equal(&wanted->acls.list[i], &old->acls.list[at]) ||
				check->state == CHECK_WRONG)
				check->state = CHECK_URGENT;
		}
		keeper->changed += check->state == CHECK_URGENT;
		keeper->counts[check->state]++;
		keeper->alarms += check->alarm != ASTERISK_EQUAL;
	}
}

static void forget_gone(struct asterisk_keeper *keeper)
{
	acl_clear(&keeper->gone_acl);
	keeper->gone[0] = '\0';
	keeper->gone_alarm = keeper->gone_waits = keeper->gone_known = false;
	keeper->gone_tries = 0;
}

/* What was wanted is freed next: one of its ACLs is taken from it. */
static void find_gone(struct asterisk_keeper *keeper, const struct wanted *wanted)
{
	struct wanted *old = keeper->wanted;

	for (uint32_t i = 0; old && i < old->acls.count; i++) {
		const char *id = old->config.owners[i].id;

		if (find_former(wanted, i, id) < wanted->acls.count)
			continue;
		forget_gone(keeper);
		asterisk_acl_name(id, keeper->gone);
		keeper->gone_acl = old->acls.list[i];
		old->acls.list[i] = (struct acl){0};
		keeper->gone_known = old->checks[i].state <= CHECK_AGAIN;
		return;
	}
	for (uint32_t i = 0; keeper->gone[0] && i < wanted->acls.count; i++) {
		char name[ASTERISK_ACL_NAME_SIZE];

		asterisk_acl_name(wanted->config.owners[i].id, name);
		if (strcmp(name, keeper->gone) == 0)
			forget_gone(keeper);
	}
}

/* Asterisk does not read a file again that has not changed, whatever it made of it before: so one
 * that is written anew says so in its head. */
static int make_file(struct asterisk_keeper *keeper)
{
	const struct wanted *wanted = keeper->wanted;
	struct asterisk_acls acls = wanted->acls;
	struct config config = wanted->config;
	struct text path = {0};

	if (keeper->file.length > 0)
		return 0;
	text_puts(&path, config.path);
	if (keeper->anew_ms)
		text_printf(&path, " (written anew: %" PRId64 ")", keeper->anew_ms);
	config.path = text_string(&path);
	acls.config = &config;
	asterisk_acls_print(&acls, &keeper->file);
	if (!keeper->file.failed && !path.failed) {
		text_free(&path);
		return 0;
	}
	text_free(&path);
	text_free(&keeper->file);
	keeper->file = (struct text){0};
	return -ENOMEM;
}

static void begin_write(struct asterisk_keeper *keeper, bool routine, int64_t now_ms)
{
	keeper->write = true;
	keeper->routine = routine;
	keeper->loaded = false;
	keeper->second_look = false;
	keeper->burst = 0;
	if (keeper->write_retry.failures == 0)
		keeper->write_retry.at = now_ms;
}

void asterisk_keeper_changed(struct asterisk_keeper *keeper, int64_t now_ms)
{
	if (keeper->stale)
		return;
	keeper->stale = true;
	keeper->stale_ms = now_ms;
	keeper->gather_ms = now_ms;
	/* To make the whole file takes a while: the more of it, the rarer. */
	if (keeper->wanted)
		keeper->gather_ms +=
			ASTERISK_KEEPER_GATHER_MS + keeper->wanted->acls.count / GATHER_ACLS_A_MS;
}

/* When the next look at what is wanted is due. */
static int64_t want_due(const struct asterisk_keeper *keeper)
{
	int64_t due = keeper->stale ? keeper->gather_ms : INT64_MAX;

	if (keeper->evicts && keeper->unsettled > 0 && keeper->unsettled_retry.at < due)
		due = keeper->unsettled_retry.at;
	return due;
}

bool asterisk_keeper_wants(const struct asterisk_keeper *keeper, int64_t now_ms)
{
	return !keeper->busy && now_ms >= want_due(keeper);
}

/* That a name was answered need not change anything that is wanted, nor be heard of here. */
static void take_unsettled(struct asterisk_keeper *keeper, const bool *unsettled, int64_t now_ms)
{
	struct wanted *wanted = keeper->wanted;
	uint32_t before = keeper->unsettled;

	keeper->unsettled = 0;
	for (uint32_t i = 0; i < wanted->acls.count; i++) {
		bool is_now = unsettled && unsettled[i];

		if (wanted->checks[i].unsettled && !is_now)
			keeper->evict_due = keeper->evicts;
		wanted->checks[i].unsettled = is_now;
		keeper->unsettled += is_now;
	}
	if (keeper->unsettled != before)
		keeper->unsettled_retry.failures = 0;
	keeper->unsettled_retry.at =
		now_ms + gap(keeper->unsettled_retry.failures++, ASTERISK_KEEPER_RETRY_MS,
				 ASTERISK_KEEPER_AGAIN_MS);
}

void asterisk_keeper_put_off(struct asterisk_keeper *keeper, int64_t now_ms)
{
	asterisk_keeper_changed(keeper, now_ms);
	keeper->gather_ms = now_ms + NO_MEMORY_MS;
	keeper->unsettled_retry.at = keeper->gather_ms;
}

static void take_wanted(struct asterisk_keeper *keeper, struct wanted *wanted, int64_t now_ms)
{
	inherit(keeper, wanted);
	find_gone(keeper, wanted);
	wanted_free(keeper->wanted);
	keeper->wanted = wanted;
	keeper->changed_ms = keeper->stale_ms;
	keeper->anew_ms = 0;
	text_clear(&keeper->file);
	keeper->evict_due = keeper->evicts;
	begin_write(keeper, false, now_ms);
}

int asterisk_keeper_want(struct asterisk_keeper *keeper, struct asterisk_acls *acls,
	const bool *unsettled, int64_t now_ms)
{
	struct wanted *wanted = wanted_new(acls);

	if (!wanted) {
		asterisk_keeper_put_off(keeper, now_ms);
		return -ENOMEM;
	}
	keeper->stale = false;
	if (keeper->wanted && same_wanted(wanted, keeper->wanted)) {
		bool *unlearned = keeper->wanted->acls.unlearned;
		struct acl local = keeper->wanted->acls.local;

		/* All else is the same. */
		keeper->wanted->acls.unlearned = wanted->acls.unlearned;
		wanted->acls.unlearned = unlearned;
		keeper->wanted->acls.local = wanted->acls.local;
		wanted->acls.local = local;
		wanted_free(wanted);
	} else {
		take_wanted(keeper, wanted, now_ms);
	}
	take_unsettled(keeper, unsettled, now_ms);
	settle(keeper, now_ms);
	return 0;
}

/* --- What is next --- */

enum work {
	WORK_NONE,
	WORK_WRITE,
	WORK_BOOT,
	WORK_RELOAD,
	WORK_GONE,
	WORK_URGENT,
	WORK_AGAIN,
	WORK_EVICT,
	WORK_UNKNOWN,
	WORK_RETRY,
	WORK_ROUND, /* to look at it all again from time to time */
};

static int64_t later_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Not before *ret_at. */
static enum work choose(const struct asterisk_keeper *keeper, int64_t *ret_at)
{
	int64_t look_at = later_of(keeper->ask_retry.at, keeper->pause_ms);

	*ret_at = INT64_MAX;
	if (!keeper->wanted)
		return WORK_NONE;
	*ret_at = keeper->write_retry.at;
	if (keeper->write)
		return WORK_WRITE;
	*ret_at = keeper->ask_retry.at;
	if (keeper->down || keeper->boot)
		return WORK_BOOT;
	if (keeper->reload)
		return WORK_RELOAD;
	*ret_at = look_at;
	if (keeper->gone[0] && !keeper->gone_waits)
		return WORK_GONE;
	if (keeper->counts[CHECK_URGENT] > 0)
		return WORK_URGENT;
	if (keeper->counts[CHECK_AGAIN] > 0)
		return WORK_AGAIN;
	*ret_at = later_of(keeper->ask_retry.at, keeper->evict.at);
	if (keeper->evict.phase != ASTERISK_EVICT_NONE || (keeper->evicts && keeper->evict_due))
		return WORK_EVICT;
	*ret_at = look_at;
	if (keeper->counts[CHECK_UNKNOWN] > 0)
		return WORK_UNKNOWN;
	*ret_at = later_of(keeper->ask_retry.at, keeper->wrong_retry.at);
	if (keeper->counts[CHECK_WRONG] > 0 || keeper->gone_waits)
		return WORK_RETRY;
	*ret_at = keeper->again_ms;
	return WORK_ROUND;
}

int64_t asterisk_keeper_due(const struct asterisk_keeper *keeper)
{
	int64_t due, evict = INT64_MAX;

	if (keeper->busy)
		return INT64_MAX;
	choose(keeper, &due);
	if (keeper->wanted && keeper->evicts && keeper->evict_retry.failures > 0)
		evict = keeper->evict_retry.at;
	if (want_due(keeper) < due)
		due = want_due(keeper);
	if (keeper->wanted && keeper->sighted_ms < due)
		due = keeper->sighted_ms;
	return evict < due ? evict : due;
}

static void begin_show(struct asterisk_keeper *keeper, const char *name, int64_t now_ms)
{
	memmove(keeper->name, name, strlen(name) + 1);
	keeper->task = (struct asterisk_task){.kind = ASTERISK_TASK_SHOW, .name = keeper->name};
	if (++keeper->burst < ASTERISK_KEEPER_BURST)
		return;
	keeper->burst = 0;
	keeper->pause_ms = now_ms + ASTERISK_KEEPER_PAUSE_MS;
}

/* The next one of that state; there is one. */
static void begin_look(struct asterisk_keeper *keeper, enum check_state state, int64_t now_ms)
{
	const struct wanted *wanted = keeper->wanted;
	char name[ASTERISK_ACL_NAME_SIZE];
	uint32_t index = 0;

	while (index + 1 < wanted->acls.count && wanted->checks[index].state != state)
		index++;
	keeper->index = index;
	asterisk_acl_name(wanted->config.owners[index].id, name);
	begin_show(keeper, name, now_ms);
}

/* The file is loaded once more, and looked at: what is wrong, and whatever else was to be. */
static void reload_all(struct asterisk_keeper *keeper, int64_t now_ms)
{
	set_all(keeper, CHECK_WRONG, CHECK_URGENT);
	keeper->gone_waits = false;
	keeper->anew_ms = now_ms;
	text_clear(&keeper->file);
	begin_write(keeper, false, now_ms);
	keeper->reload = true;
}

static void look_again(struct asterisk_keeper *keeper, int64_t now_ms)
{
	uint32_t count = keeper->wanted->acls.count;

	for (uint32_t i = 0; i < count && i < ASTERISK_KEEPER_AGAIN; i++) {
		uint32_t index = keeper->turn++ % count;

		if (keeper->wanted->checks[index].state == CHECK_RIGHT)
			set_check(keeper, index, CHECK_AGAIN);
	}
	keeper->again_ms = now_ms + ASTERISK_KEEPER_AGAIN_MS;
	keeper->changed_ms = now_ms;
	keeper->evict_due = keeper->evicts;
	begin_write(keeper, true, now_ms);
}

void asterisk_keeper_sighted(struct asterisk_keeper *keeper, int64_t now_ms)
{
	struct retry *retry = &keeper->sighted_retry;

	/* Who can't be thrown out is tried again by itself, and puts off nobody else's round. */
	if (!keeper->evicts || keeper->sighted_ms != INT64_MAX)
		return;
	if (now_ms - retry->at > ASTERISK_KEEPER_AGAIN_MS)
		*retry = (struct retry){0};
	keeper->sighted_ms = later_of(now_ms + SIGHTED_MS, retry->at);
	retry->at = keeper->sighted_ms + gap(retry->failures++, SIGHTED_AGAIN_MS, SIGHTED_MOST_MS);
}

static void evict_later(struct asterisk_keeper *keeper, int64_t now_ms)
{
	keeper->evict_retry.at = now_ms + gap(keeper->evict_retry.failures++, EVICT_AGAIN_MS,
						  ASTERISK_KEEPER_AGAIN_MS);
}

static void end_evict(struct asterisk_keeper *keeper, int64_t now_ms)
{
	keeper->evict_due |= keeper->evict.more && keeper->evict.left == 0;
	if (keeper->evict.left > 0)
		evict_later(keeper, now_ms);
	else
		keeper->evict_retry = (struct retry){0};
	keeper->evict_trouble = (struct error){0};
}

static bool is_verified(const void *context, uint32_t index)
{
	const struct asterisk_keeper *keeper = context;
	const struct check *check = &keeper->wanted->checks[index];

	return check->state == CHECK_RIGHT && !check->unsettled;
}

static struct asterisk_evict_judge judge_of(const struct asterisk_keeper *keeper)
{
	return (struct asterisk_evict_judge){
		.acls = &keeper->wanted->acls, .verified = is_verified, .context = keeper};
}

static bool begin_evict(struct asterisk_keeper *keeper, int64_t now_ms)
{
	const struct asterisk_evict_judge judge = judge_of(keeper);
	struct asterisk_evict *evict = &keeper->evict;

	if (evict->phase == ASTERISK_EVICT_NONE) {
		asterisk_evict_begin(evict, now_ms);
		keeper->evict_due = false;
		keeper->booted = false;
	}
	if (asterisk_evict_next(evict, &judge, &keeper->task, now_ms))
		return true;
	end_evict(keeper, now_ms);
	return false;
}

static bool begin_file(struct asterisk_keeper *keeper, int64_t now_ms)
{
	struct error error = {0};

	if (make_file(keeper) == 0) {
		keeper->task =
			(struct asterisk_task){.kind = ASTERISK_TASK_WRITE, .file = &keeper->file};
		return true;
	}
	error_no_memory(&error);
	take_trouble(keeper, &error);
	later(&keeper->write_retry, now_ms);
	return false;
}

/* False: there was less to do than it seemed, or something else. */
static bool begin_work(struct asterisk_keeper *keeper, enum work work, int64_t now_ms)
{
	keeper->task = (struct asterisk_task){0};
	switch (work) {
	case WORK_WRITE:
		return begin_file(keeper, now_ms);
	case WORK_BOOT:
		keeper->task.kind = ASTERISK_TASK_BOOTED;
		return true;
	case WORK_RELOAD:
		keeper->task.kind = ASTERISK_TASK_RELOAD;
		return true;
	case WORK_GONE:
		begin_show(keeper, keeper->gone, now_ms);
		return true;
	case WORK_URGENT:
		begin_look(keeper, CHECK_URGENT, now_ms);
		return true;
	case WORK_AGAIN:
		begin_look(keeper, CHECK_AGAIN, now_ms);
		return true;
	case WORK_UNKNOWN:
		begin_look(keeper, CHECK_UNKNOWN, now_ms);
		return true;
	case WORK_EVICT:
		return begin_evict(keeper, now_ms);
	case WORK_RETRY:
		reload_all(keeper, now_ms);
		return false;
	case WORK_ROUND:
		look_again(keeper, now_ms);
		return false;
	case WORK_NONE:
		return false;
	}
	return false;
}

bool asterisk_keeper_next(
	struct asterisk_keeper *keeper, int64_t now_ms, struct asterisk_task *ret_task)
{
	enum { STEPS = 4 }; /* a round's beginning or end between two tasks */

	if (keeper->busy)
		return false;
	if (keeper->evicts && keeper->evict_retry.at <= now_ms &&
		keeper->evict_retry.failures > 0) {
		keeper->evict_due = true;
		keeper->evict_retry.at = INT64_MAX;
	}
	if (keeper->sighted_ms <= now_ms) {
		keeper->evict_due = keeper->evicts;
		keeper->sighted_ms = INT64_MAX;
	}
	for (int i = 0; i < STEPS; i++) {
		int64_t at;
		enum work work = choose(keeper, &at);

		if (work == WORK_NONE || at > now_ms)
			break;
		if (!begin_work(keeper, work, now_ms))
			continue;
		keeper->busy = true;
		*ret_task = keeper->task;
		return true;
	}
	settle(keeper, now_ms);
	return false;
}

/* --- What came of it --- */

static void ask_later(struct asterisk_keeper *keeper, const struct error *error, int64_t now_ms)
{
	take_trouble(keeper, error);
	later(&keeper->ask_retry, now_ms);
}

static void poll_later(struct asterisk_keeper *keeper, const struct error *error, int64_t now_ms)
{
	keeper->trouble = *error;
	keeper->ask_retry.at = now_ms + gap(keeper->down_polls++, ASTERISK_KEEPER_DOWN_MS,
						ASTERISK_KEEPER_DOWN_MOST_MS);
}

static void go_down(struct asterisk_keeper *keeper, const struct error *error, int64_t now_ms)
{
	if (!keeper->down)
		say_down(keeper, error);
	keeper->down = true;
	keeper->booted = false;
	asterisk_evict_stop(&keeper->evict);
	poll_later(keeper, error, now_ms);
}

static void come_up(struct asterisk_keeper *keeper, int64_t now_ms)
{
	keeper->down = false;
	keeper->down_polls = 0;
	keeper->trouble = (struct error){0};
	keeper->reload = true;
	keeper->changed_ms = now_ms;
	set_all(keeper, CHECK_RIGHT, CHECK_UNKNOWN);
	set_all(keeper, CHECK_AGAIN, CHECK_UNKNOWN);
	set_all(keeper, CHECK_WRONG, CHECK_URGENT);
	keeper->gone_waits = false;
	keeper->evict_due = keeper->evicts;
	say_down(keeper, NULL);
}

static void done_write(
	struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome, int64_t now_ms)
{
	if (outcome->result < 0) {
		take_trouble(keeper, &outcome->error);
		later(&keeper->write_retry, now_ms);
		return;
	}
	if (keeper->write_retry.failures > 0)
		keeper->trouble = (struct error){0};
	keeper->write_retry = (struct retry){0};
	keeper->write = false;
	if (outcome->result == ASTERISK_WRITE_SAME)
		return;
	keeper->reload = true;
	if (!keeper->routine) {
		say_written(keeper);
		return;
	}
	say_foreign(keeper, "others have changed the file; it was written again");
	set_all(keeper, CHECK_RIGHT, CHECK_AGAIN);
}

static void raise_alarm(struct asterisk_keeper *keeper, enum asterisk_match match, int64_t now_ms)
{
	struct check *check = &keeper->wanted->checks[keeper->index];

	set_check(keeper, keeper->index, CHECK_WRONG);
	if (check->alarm == ASTERISK_EQUAL) {
		keeper->alarms++;
		check->alarm_ms = now_ms;
	}
	if (check->alarm != match)
		say_mismatch(keeper, keeper->name, match);
	check->alarm = (uint8_t)match;
}

/* It is not what the file says; of the one that is gone: it is there. */
static void take_mismatch(struct asterisk_keeper *keeper, enum asterisk_match match, int64_t now_ms)
{
	bool gone = strcmp(keeper->name, keeper->gone) == 0;

	if (!keeper->loaded) {
		if (!gone && keeper->wanted->checks[keeper->index].state == CHECK_AGAIN)
			say_foreign(keeper,
				"Asterisk had other ACLs than those of the file; it loads it "
				"again");
		if (!gone)
			set_check(keeper, keeper->index, CHECK_URGENT);
		reload_all(keeper, now_ms);
		return;
	}
	/* It may need a moment. */
	if (!keeper->second_look) {
		keeper->second_look = true;
		if (!gone)
			set_check(keeper, keeper->index, CHECK_URGENT);
		keeper->pause_ms = now_ms + ASTERISK_KEEPER_LOOK_MS;
		return;
	}
	if (!gone) {
		raise_alarm(keeper, match, now_ms);
	} else if (match == ASTERISK_OPEN || ++keeper->gone_tries == GONE_TRIES) {
		say_gone(keeper, true);
		forget_gone(keeper);
		return;
	} else {
		if (!keeper->gone_alarm)
			say_gone(keeper, false);
		keeper->gone_alarm = keeper->gone_waits = true;
	}
	if (keeper->wrong_retry.at <= now_ms)
		later(&keeper->wrong_retry, now_ms);
}

/* ASTERISK_EQUAL: it is gone; ASTERISK_DIFFERENT: it is there, and may be the former one;
 * ASTERISK_OPEN: it is there, and another. */
static int compare_gone(
	const struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome)
{
	struct acl shown = {0};
	int result =
		asterisk_acl_parse_shown(outcome->output, outcome->length, keeper->gone, &shown);
	bool another = result == ASTERISK_SHOWN_OPEN ||
		       (result == ASTERISK_SHOWN && !acl_equal(&shown, &keeper->gone_acl));

	acl_clear(&shown);
	if (result == -ENOMEM)
		return result;
	if (result == ASTERISK_SHOWN_NONE)
		return ASTERISK_EQUAL;
	return another && keeper->gone_known ? ASTERISK_OPEN : ASTERISK_DIFFERENT;
}

static void done_show(
	struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome, int64_t now_ms)
{
	bool gone = strcmp(keeper->name, keeper->gone) == 0;
	struct error error = {0};
	int match = gone ? compare_gone(keeper, outcome)
			 : asterisk_acls_compare(&keeper->wanted->acls, keeper->index,
				   outcome->output, outcome->length);

	if (match < 0) {
		error_no_memory(&error);
		ask_later(keeper, &error, now_ms);
	} else if (match != ASTERISK_EQUAL) {
		take_mismatch(keeper, (enum asterisk_match)match, now_ms);
	} else if (gone) {
		forget_gone(keeper);
	} else {
		enum check_state was = keeper->wanted->checks[keeper->index].state;

		set_check(keeper, keeper->index, CHECK_RIGHT);
		clear_alarm(keeper, keeper->index);
		/* Who could not be judged before can be now. */
		if (was != CHECK_AGAIN && keeper->counts[was] == 0)
			keeper->evict_due = keeper->evicts;
	}
}

static bool is_of_evict(enum asterisk_task_kind kind)
{
	return kind == ASTERISK_TASK_CONTACTS || kind == ASTERISK_TASK_EVICT ||
	       kind == ASTERISK_TASK_CHANNELS || kind == ASTERISK_TASK_HANGUP;
}

/* A round that can't go on is no trouble of the ACLs. */
static void done_evict(
	struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome, int64_t now_ms)
{
	const struct asterisk_evict_judge judge = judge_of(keeper);
	struct error error = outcome->error;
	int result = outcome->result;

	if (!keeper->evicts) {
		asterisk_evict_stop(&keeper->evict);
		return;
	}
	if (result >= 0)
		result = asterisk_evict_done(
			&keeper->evict, &judge, &keeper->task, outcome, now_ms, &error);
	if (result >= 0 && keeper->evict.phase == ASTERISK_EVICT_NONE)
		end_evict(keeper, now_ms);
	if (result >= 0)
		return;
	asterisk_evict_stop(&keeper->evict);
	evict_later(keeper, now_ms);
	if (keeper->evict_trouble.code == 0) {
		keeper->evict_trouble = error;
		say_evict_trouble(keeper);
	}
}

static void done_boot(
	struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome, int64_t now_ms)
{
	if (outcome->result < 0 && keeper->down) {
		poll_later(keeper, &outcome->error, now_ms);
		return;
	}
	if (outcome->result < 0) {
		ask_later(keeper, &outcome->error, now_ms);
		return;
	}
	keeper->boot = false;
	keeper->booted = true;
	if (keeper->down)
		come_up(keeper, now_ms);
}

/* What Asterisk was asked for, which lives. */
static void done_ask(
	struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome, int64_t now_ms)
{
	struct error error = {0};

	if (outcome->result == ASTERISK_ASK_UNKNOWN && !keeper->booted) {
		keeper->boot = true;
		return;
	}
	if (is_of_evict(keeper->task.kind)) {
		done_evict(keeper, outcome, now_ms);
		return;
	}
	if (outcome->result == ASTERISK_ASK_UNKNOWN) {
		keeper->booted = false;
		error_set(&error, -ENOSYS,
			"see modules.conf (nothing may keep `acl` out), and asterisk.command in "
			"the config",
			"Asterisk has booted, but does not know the command `%s`",
			keeper->task.kind == ASTERISK_TASK_RELOAD ? ASTERISK_CLI_RELOAD
								  : "acl show");
		ask_later(keeper, &error, now_ms);
		return;
	}
	if (outcome->result < 0) {
		ask_later(keeper, &outcome->error, now_ms);
		return;
	}
	if (keeper->ask_retry.failures > 0)
		keeper->trouble = (struct error){0};
	keeper->ask_retry = (struct retry){0};
	if (keeper->task.kind == ASTERISK_TASK_SHOW) {
		done_show(keeper, outcome, now_ms);
		return;
	}
	keeper->reload = false;
	keeper->loaded = true;
	keeper->second_look = false;
	keeper->reloads++;
}

void asterisk_keeper_done(
	struct asterisk_keeper *keeper, const struct asterisk_outcome *outcome, int64_t now_ms)
{
	if (!keeper->busy)
		return;
	keeper->busy = false;
	if (keeper->task.kind == ASTERISK_TASK_WRITE)
		done_write(keeper, outcome, now_ms);
	else if (outcome->result == -ECONNREFUSED)
		go_down(keeper, &outcome->error, now_ms);
	else if (keeper->task.kind == ASTERISK_TASK_BOOTED)
		done_boot(keeper, outcome, now_ms);
	else
		done_ask(keeper, outcome, now_ms);
	settle(keeper, now_ms);
}

/* --- How it is --- */

static enum asterisk_keeper_state judge(const struct asterisk_keeper *keeper)
{
	if (keeper->down)
		return ASTERISK_KEEPER_DOWN;
	if (keeper->trouble.code)
		return ASTERISK_KEEPER_FAILED;
	if (keeper->alarms > 0 || keeper->gone_alarm)
		return ASTERISK_KEEPER_MISMATCH;
	if ((keeper->write && !keeper->routine) || keeper->reload || keeper->boot ||
		keeper->gone[0] || keeper->counts[CHECK_UNKNOWN] > 0 ||
		keeper->counts[CHECK_URGENT] > 0 || keeper->counts[CHECK_WRONG] > 0)
		return ASTERISK_KEEPER_PENDING;
	return ASTERISK_KEEPER_IN_FORCE;
}

/* After each step: what that makes of the whole. */
static void settle(struct asterisk_keeper *keeper, int64_t now_ms)
{
	enum asterisk_keeper_state state = keeper->wanted ? judge(keeper) : ASTERISK_KEEPER_PENDING;
	bool first = keeper->again_ms == 0;

	if (keeper->counts[CHECK_URGENT] == 0)
		say_left_out(keeper);
	if (state == keeper->state)
		return;
	keeper->state = state;
	keeper->since_ms = now_ms;
	if (state != ASTERISK_KEEPER_IN_FORCE)
		return;
	say_in_force(keeper, keeper->said || first, now_ms);
	keeper->again_ms = now_ms + ASTERISK_KEEPER_AGAIN_MS;
	keeper->said = false;
	keeper->lines = 0;
	keeper->wrong_retry = (struct retry){0};
}

const char *asterisk_keeper_word(enum asterisk_keeper_state state)
{
	static const char *const words[] = {
		[ASTERISK_KEEPER_PENDING] = "pending",
		[ASTERISK_KEEPER_IN_FORCE] = "in-force",
		[ASTERISK_KEEPER_MISMATCH] = "mismatch",
		[ASTERISK_KEEPER_DOWN] = "down",
		[ASTERISK_KEEPER_FAILED] = "failed",
	};

	return words[state];
}

static void list_mismatches(
	const struct asterisk_keeper *keeper, struct asterisk_keeper_summary *summary)
{
	const struct wanted *wanted = keeper->wanted;
	uint32_t count = 0;

	for (uint32_t i = 0;
		i < wanted->acls.count && count < keeper->alarms && count < ASTERISK_KEEPER_SAID;
		i++) {
		const struct check *check = &wanted->checks[i];

		if (check->alarm == ASTERISK_EQUAL)
			continue;
		summary->mismatches[count++] = (struct asterisk_mismatch){
			.extension = wanted->config.owners[i].id,
			.match = (enum asterisk_match)check->alarm,
			.since_ms = check->alarm_ms,
		};
	}
}

struct asterisk_keeper_summary asterisk_keeper_summary(const struct asterisk_keeper *keeper)
{
	struct asterisk_keeper_summary summary = {
		.state = keeper->state,
		.since_ms = keeper->since_ms,
		.acls = keeper->wanted ? keeper->wanted->acls.count : 0,
		.mismatch_count = keeper->alarms + keeper->gone_alarm,
		.trouble = &keeper->trouble,
		.evict = keeper->evicts,
		.reloads = keeper->reloads,
		.evicted = keeper->evict.evicted,
		.hung_up = keeper->evict.hung_up,
		.not_evicted = keeper->evict.left,
		.evict_trouble = &keeper->evict_trouble,
	};

	if (keeper->wanted)
		list_mismatches(keeper, &summary);
	return summary;
}

/* --- Begin and end --- */

int asterisk_keeper_new(
	struct asterisk_keeper **ret_keeper, engine_log_fn *log, void *context, struct error *error)
{
	struct asterisk_keeper *keeper = calloc(1, sizeof(*keeper));

	if (!keeper)
		return error_no_memory(error);
	keeper->log = log;
	keeper->context = context;
	keeper->evict.log = log;
	keeper->evict.context = context;
	keeper->sighted_ms = INT64_MAX;
	*ret_keeper = keeper;
	return 0;
}

struct asterisk_keeper *asterisk_keeper_free(struct asterisk_keeper *keeper)
{
	if (!keeper)
		return NULL;
	asterisk_evict_clear(&keeper->evict);
	wanted_free(keeper->wanted);
	text_free(&keeper->file);
	acl_clear(&keeper->gone_acl);
	free(keeper);
	return NULL;
}

void asterisk_keeper_configure(struct asterisk_keeper *keeper, bool evict, bool hangup)
{
	bool begins = evict && !keeper->evicts;

	keeper->evict.hangup = hangup;
	keeper->evicts = evict;
	keeper->evict_due = evict && (keeper->evict_due || begins);
	keeper->unsettled_retry = (struct retry){0};
	if (evict)
		return;
	keeper->evict_retry = keeper->sighted_retry = (struct retry){0};
	keeper->sighted_ms = INT64_MAX;
	keeper->evict_trouble = (struct error){0};
	keeper->evict.left = 0;
	/* What is under way is the keeper's until it has ended. */
	if (!keeper->busy)
		asterisk_evict_stop(&keeper->evict);
}
