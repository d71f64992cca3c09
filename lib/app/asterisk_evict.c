/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_evict.h"
#include "asterisk_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	PROOFS = 4,
	PROOF_MS = 100, /* twice as long before each further look */
	TARGETS = 200,	/* in a round: the loop must not wait while they are compared */
	/* chan_sip ends a registration by its peer's name, whoever has that by then: few, so that
	 * the list is fresh. */
	SIP_TARGETS = 10,
	LINES = 20, /* of registrations in a round */
};

enum fate {
	FATE_NONE = 0,
	FATE_EVICTED, /* all steps are done */
	FATE_IDLE,    /* its driver is not loaded: nobody can call it */
	FATE_RIGHT,   /* it is, by now */
	FATE_UNNAMED, /* its name can't be said safely */
	FATE_STAYS,   /* it is there all the same */
};

struct asterisk_target {
	const struct asterisk_contact *contact;
	enum fate fate;
	unsigned step;
};

void asterisk_evict_clear(struct asterisk_evict *evict)
{
	asterisk_contacts_clear(&evict->contacts);
	for (size_t i = 0; i < evict->channel_count; i++)
		free(evict->channels[i]);
	free(evict->channels);
	free(evict->targets);
	evict->channels = NULL;
	evict->targets = NULL;
	evict->channel_count = evict->count = evict->cursor = 0;
	evict->phase = ASTERISK_EVICT_NONE;
}

void asterisk_evict_begin(struct asterisk_evict *evict, int64_t now_ms)
{
	asterisk_evict_clear(evict);
	evict->phase = ASTERISK_EVICT_LIST;
	evict->at = now_ms;
	evict->proofs = 0;
	evict->lines = 0;
	evict->left_out = 0;
	/* Where all of them are gone, others stand in their places. */
	if (evict->left == 0)
		evict->turn = 0;
	evict->left = 0;
	evict->more = false;
}

/* --- Saying --- */

static void say(struct asterisk_evict *evict, struct event *event)
{
	if (!event->line.failed)
		evict->log(evict->context, event);
	event_clear(event);
}

static void put_contact(struct event *event, const struct asterisk_contact *contact)
{
	event_put(event, "extension", contact->extension);
	event_put_addrs(event, "address", &contact->addr, 1);
	event_put(event, "driver", contact->pjsip ? "pjsip" : "chan_sip");
}

static void say_target(struct asterisk_evict *evict, const struct asterisk_target *target)
{
	static const char *const results[] = {
		[FATE_EVICTED] = "evicted",
		[FATE_UNNAMED] = "failed",
		[FATE_STAYS] = "failed",
	};
	struct event event;

	if (evict->lines >= LINES) {
		evict->left_out++;
		return;
	}
	evict->lines++;
	event_begin(&event, target->fate == FATE_EVICTED ? EVENT_WARNING : EVENT_ERROR, "evict");
	event_put(&event, "result", results[target->fate]);
	put_contact(&event, target->contact);
	if (target->fate == FATE_UNNAMED) {
		event_put(&event, "error",
			"its name has characters that no command of Asterisk's can hold");
		event_put(&event, "next", "delete it in Asterisk by hand (database show)");
	} else if (target->fate == FATE_STAYS) {
		event_put(&event, "error", "the registration is still there, or has come back");
		event_put(&event, "next",
			"see whether its peer or endpoint has its acl= line (sipfence asterisk)");
	}
	say(evict, &event);
}

static void say_left_out(struct asterisk_evict *evict)
{
	struct event event;

	if (evict->left_out == 0)
		return;
	event_begin(&event, EVENT_WARNING, "evict");
	event_put(&event, "result", "left-out");
	event_put_number(&event, "count", (int64_t)evict->left_out);
	event_put(&event, "next", "sipfence asterisk --contacts lists what is there");
	say(evict, &event);
}

static void say_hangup(struct asterisk_evict *evict, const char *channel)
{
	struct event event;

	event_begin(&event, EVENT_WARNING, "evict");
	event_put(&event, "result", "hung-up");
	event_put(&event, "channel", channel);
	say(evict, &event);
}

/* What there is to say of those that were tried. */
static void say_fates(struct asterisk_evict *evict)
{
	for (size_t i = 0; i < evict->count; i++) {
		struct asterisk_target *target = &evict->targets[i];

		evict->evicted += target->fate == FATE_EVICTED;
		evict->left += target->fate == FATE_STAYS || target->fate == FATE_UNNAMED;
		if (target->fate != FATE_IDLE && target->fate != FATE_RIGHT &&
			target->fate != FATE_NONE)
			say_target(evict, target);
	}
	say_left_out(evict);
}

void asterisk_evict_stop(struct asterisk_evict *evict)
{
	if (evict->phase == ASTERISK_EVICT_WORK || evict->phase == ASTERISK_EVICT_PROVE) {
		for (size_t i = 0; i < evict->count; i++) {
			if (evict->targets[i].fate == FATE_NONE && evict->targets[i].step > 0)
				evict->targets[i].fate = FATE_EVICTED;
		}
		say_fates(evict);
	}
	asterisk_evict_clear(evict);
}

/* --- What is done next --- */

static bool is_wrong(
	const struct asterisk_evict_judge *judge, const struct asterisk_contact *contact)
{
	uint32_t index;

	return asterisk_acls_judge(judge->acls, contact, &index) == ASTERISK_WRONG &&
	       judge->verified(judge->context, index);
}

/* The next step of the target at the cursor, or of one behind it. */
static bool next_step(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge,
	struct asterisk_task *task)
{
	struct text command = {0};
	bool found = false;

	for (; evict->cursor < evict->count && !found; evict->cursor += !found) {
		struct asterisk_target *target = &evict->targets[evict->cursor];

		if (target->fate != FATE_NONE)
			continue;
		/* The list may have changed since it was found. */
		if (target->step == 0 && !is_wrong(judge, target->contact)) {
			target->fate = FATE_RIGHT;
			continue;
		}
		found = asterisk_cli_evict(target->contact, target->step, &command);
		if (found)
			*task = (struct asterisk_task){.kind = ASTERISK_TASK_EVICT,
				.contact = target->contact,
				.step = target->step};
		else
			target->fate = target->step == 0 ? FATE_UNNAMED : FATE_EVICTED;
	}
	text_free(&command);
	return found;
}

static bool next_hangup(struct asterisk_evict *evict, struct asterisk_task *task)
{
	struct text command = {0};
	bool found = false;

	for (; evict->cursor < evict->channel_count && !found; evict->cursor += !found) {
		found = asterisk_cli_hangup(evict->channels[evict->cursor], &command);
		if (found)
			*task = (struct asterisk_task){.kind = ASTERISK_TASK_HANGUP,
				.name = evict->channels[evict->cursor]};
	}
	text_free(&command);
	return found;
}

bool asterisk_evict_next(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge,
	struct asterisk_task *task, int64_t now_ms)
{
	if (evict->phase == ASTERISK_EVICT_WORK && !next_step(evict, judge, task)) {
		evict->phase = ASTERISK_EVICT_PROVE;
		evict->at = now_ms;
	}
	switch (evict->phase) {
	case ASTERISK_EVICT_WORK:
		return true;
	case ASTERISK_EVICT_LIST:
	case ASTERISK_EVICT_PROVE:
		*task = (struct asterisk_task){.kind = ASTERISK_TASK_CONTACTS};
		return true;
	case ASTERISK_EVICT_CHANNELS:
		*task = (struct asterisk_task){.kind = ASTERISK_TASK_CHANNELS};
		return true;
	case ASTERISK_EVICT_HANGUP:
		if (next_hangup(evict, task))
			return true;
		break;
	case ASTERISK_EVICT_NONE:
		break;
	}
	asterisk_evict_clear(evict);
	return false;
}

/* --- What came of it --- */

/* Where some have stayed a round goes on behind the one before: they must not keep others in. */
static void take_targets(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge)
{
	const struct asterisk_contacts *contacts = &evict->contacts;
	size_t first = evict->turn, sip = 0;

	evict->turn = 0;
	for (size_t i = 0; i < contacts->count; i++) {
		size_t at = (first + i) % contacts->count;
		struct asterisk_contact *contact = &contacts->list[at];

		if (!is_wrong(judge, contact))
			continue;
		if (evict->count == TARGETS || (!contact->pjsip && sip == SIP_TARGETS)) {
			if (!evict->more)
				evict->turn = at;
			evict->more = true;
			continue;
		}
		sip += !contact->pjsip;
		evict->targets[evict->count++].contact = contact;
	}
}

static int take_list(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge,
	const struct asterisk_outcome *outcome)
{
	if (asterisk_contacts_parse(outcome->output, outcome->length, &evict->contacts) < 0)
		return -ENOMEM;
	evict->targets = calloc(TARGETS, sizeof(*evict->targets));
	if (!evict->targets)
		return -ENOMEM;
	take_targets(evict, judge);
	evict->cursor = 0;
	if (evict->count > 0)
		evict->phase = ASTERISK_EVICT_WORK;
	else
		asterisk_evict_clear(evict);
	return 0;
}

/* chan_sip has one for each peer, pjsip one for each URI. */
static bool is_there(const struct asterisk_contacts *now, const struct asterisk_evict_judge *judge,
	const char *key)
{
	for (size_t i = 0; i < now->count; i++) {
		if (strcmp(now->list[i].key, key) == 0 && is_wrong(judge, &now->list[i]))
			return true;
	}
	return false;
}

/* Also for those that are back. */
static bool has_calls(const struct asterisk_target *target)
{
	return target->fate == FATE_EVICTED || target->fate == FATE_STAYS;
}

static void conclude(struct asterisk_evict *evict)
{
	bool calls = false;

	for (size_t i = 0; i < evict->count; i++)
		calls |= has_calls(&evict->targets[i]);
	say_fates(evict);
	if (evict->hangup && calls)
		evict->phase = ASTERISK_EVICT_CHANNELS;
	else
		asterisk_evict_clear(evict);
}

static int take_proof(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge,
	const struct asterisk_outcome *outcome, int64_t now_ms)
{
	struct asterisk_contacts now = {0};
	size_t left = 0;
	bool last = ++evict->proofs >= PROOFS;

	if (asterisk_contacts_parse(outcome->output, outcome->length, &now) < 0) {
		asterisk_contacts_clear(&now);
		return -ENOMEM;
	}
	for (size_t i = 0; i < evict->count; i++) {
		struct asterisk_target *target = &evict->targets[i];

		if (target->fate != FATE_EVICTED || !is_there(&now, judge, target->contact->key))
			continue;
		left++;
		if (last)
			target->fate = FATE_STAYS;
	}
	asterisk_contacts_clear(&now);
	if (left > 0 && !last)
		evict->at = now_ms + (PROOF_MS << evict->proofs);
	else
		conclude(evict);
	return 0;
}

struct found {
	struct asterisk_evict *evict;
	bool failed;
};

static void take_channel(void *context, const char *channel)
{
	struct found *found = context;
	struct asterisk_evict *evict = found->evict;
	char **grown = reallocarray(evict->channels, evict->channel_count + 1, sizeof(*grown));

	if (grown)
		evict->channels = grown;
	if (!grown || !(grown[evict->channel_count] = strdup(channel)))
		found->failed = true;
	else
		evict->channel_count++;
}

static bool is_first_of_extension(const struct asterisk_evict *evict, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (has_calls(&evict->targets[i]) &&
			strcmp(evict->targets[i].contact->extension,
				evict->targets[index].contact->extension) == 0)
			return false;
	}
	return true;
}

/* All calls of the extensions, since nothing tells which of them is whose. */
static int take_channels(struct asterisk_evict *evict, const struct asterisk_outcome *outcome)
{
	struct found found = {.evict = evict};

	for (size_t i = 0; i < evict->count; i++) {
		if (has_calls(&evict->targets[i]) && is_first_of_extension(evict, i))
			asterisk_channels_parse(outcome->output, outcome->length,
				evict->targets[i].contact->extension, take_channel, &found);
	}
	evict->cursor = 0;
	evict->phase = ASTERISK_EVICT_HANGUP;
	return found.failed ? -ENOMEM : 0;
}

static int take(struct asterisk_evict *evict, const struct asterisk_task *task,
	const struct asterisk_outcome *outcome, const struct asterisk_evict_judge *judge,
	int64_t now_ms)
{
	bool unknown = outcome->result == ASTERISK_ASK_UNKNOWN;

	switch (task->kind) {
	case ASTERISK_TASK_CONTACTS:
		if (unknown)
			return -ENOSYS;
		return evict->phase == ASTERISK_EVICT_LIST
			       ? take_list(evict, judge, outcome)
			       : take_proof(evict, judge, outcome, now_ms);
	case ASTERISK_TASK_EVICT:
		if (unknown)
			evict->targets[evict->cursor].fate = FATE_IDLE;
		evict->targets[evict->cursor].step++;
		return 0;
	case ASTERISK_TASK_CHANNELS:
		return unknown ? -ENOSYS : take_channels(evict, outcome);
	case ASTERISK_TASK_HANGUP:
		evict->hung_up++;
		say_hangup(evict, evict->channels[evict->cursor++]);
		return 0;
	default:
		return 0;
	}
}

int asterisk_evict_done(struct asterisk_evict *evict, const struct asterisk_evict_judge *judge,
	const struct asterisk_task *task, const struct asterisk_outcome *outcome, int64_t now_ms,
	struct error *error)
{
	int result = take(evict, task, outcome, judge, now_ms);

	if (result == 0)
		return 0;
	asterisk_evict_stop(evict);
	if (result == -ENOMEM)
		return error_no_memory(error);
	return error_set(error, result, "see modules.conf, and asterisk.command in the config",
		"Asterisk has booted, but does not know the command that lists %s",
		task->kind == ASTERISK_TASK_CONTACTS ? "registrations" : "channels");
}
