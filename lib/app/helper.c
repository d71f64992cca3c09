/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper.h"
#include "clock.h"
#include "helper_frame.h"
#include "json_put.h"
#include "process.h"
#include "program.h"
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KILL_MS = 1000 /* for the kernel to end what was killed */ };

struct hook {
	struct process *process; /* NULL: free */
	uint32_t id;
};

struct helper_process {
	struct helper_frame *frame;
	const char *const *argv;
	uid_t owner;
	struct hook hooks[HELPER_RUNNING];
};

/* --- What a hook is given --- */

struct environment {
	char *names[HELPER_FIELDS_MAX + 2]; /* PATH, the fields, NULL */
	size_t count;
};

static void environment_clear(struct environment *environment)
{
	for (size_t i = 0; i < environment->count; i++)
		free(environment->names[i]);
	environment->count = 0;
}

static int environment_add(
	struct environment *environment, const char *prefix, const char *key, const char *value)
{
	char name[HELPER_KEY_MAX + 1], *entry;
	size_t length = strlen(key);

	for (size_t i = 0; i <= length; i++) {
		name[i] = key[i] == '-' ? '_' : key[i];
		if (key[i] >= 'a' && key[i] <= 'z')
			name[i] = (char)(key[i] - 'a' + 'A');
	}
	if (asprintf(&entry, "%s%s=%s", prefix, name, value) < 0)
		return -ENOMEM;
	environment->names[environment->count++] = entry;
	return 0;
}

static int make_environment(const struct helper_message *message, struct environment *ret)
{
	struct environment environment = {0};
	int result = environment_add(&environment, "", "PATH", HELPER_PATH);

	for (size_t i = 0; i < message->field_count && result == 0; i++)
		result = environment_add(&environment, "SIPFENCE_", message->fields[i].key,
			message->fields[i].value);
	if (result < 0)
		environment_clear(&environment);
	else
		*ret = environment;
	return result;
}

static void put_document(const struct helper_message *message, struct text *text)
{
	json_put_open(text, "{");
	for (size_t i = 0; i < message->field_count; i++) {
		json_put_key(text, message->fields[i].key);
		json_put_string(text, message->fields[i].value);
	}
	json_put_close(text, "}");
	text_puts(text, "\n");
}

static int start_hook(const struct helper_process *helper, const struct helper_message *message,
	struct process **ret_process, struct error *error)
{
	struct process_options options = {
		.path = helper->argv[0],
		.arguments = helper->argv,
		.limit_ms = HELPER_LIMIT_MS,
		.grace_ms = HELPER_GRACE_MS,
	};
	struct environment environment = {0};
	struct text input = {0};
	int result = program_check(helper->argv[0], helper->owner, error);

	if (result < 0)
		return result;
	put_document(message, &input);
	if (input.failed || make_environment(message, &environment) < 0) {
		text_free(&input);
		return error_no_memory(error);
	}
	options.environment = (const char *const *)environment.names;
	options.input = text_string(&input);
	options.input_length = input.length;
	result = process_start(ret_process, &options, clock_boot_ms(), error);
	environment_clear(&environment);
	text_free(&input);
	return result;
}

/* --- Messages --- */

/* There is room: the daemon has taken what came before, or it would not have asked for more. */
static void answer(struct helper_process *helper, struct helper_message *message)
{
	message->kind = HELPER_HOOK_ENDED;
	if (!helper_frame_send(helper->frame, message))
		helper_frame_end(helper->frame, EXIT_FAILURE);
}

static void answer_not_started(
	struct helper_process *helper, uint32_t id, const struct error *error)
{
	struct helper_message message = {
		.id = id,
		.outcome = HELPER_NOT_STARTED,
		.code = -error->code,
		.text = error->what,
		.next = error->next,
	};

	answer(helper, &message);
}

static void take_hook(struct helper_process *helper, const struct helper_message *message)
{
	struct hook *unused = NULL;
	struct error error = {0};

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		struct hook *hook = &helper->hooks[i];

		if (!hook->process)
			unused = hook;
		else if (hook->id == message->id)
			helper_frame_end(helper->frame, EXIT_FAILURE);
	}
	if (!unused)
		helper_frame_end(helper->frame, EXIT_FAILURE);
	if (helper->frame->done)
		return;
	unused->id = message->id;
	if (start_hook(helper, message, &unused->process, &error) < 0)
		answer_not_started(helper, message->id, &error);
}

static void take_messages(struct helper_process *helper)
{
	struct helper_packet packet;
	struct helper_message message;

	while (helper_frame_receive(helper->frame, &packet, &message)) {
		if (message.kind == HELPER_HOOK)
			take_hook(helper, &message);
		else
			helper_frame_end(helper->frame, EXIT_FAILURE);
	}
}

static void answer_ended(
	struct helper_process *helper, const struct hook *hook, const struct process_result *result)
{
	static const enum helper_outcome outcomes[] = {
		[PROCESS_EXITED] = HELPER_EXITED,
		[PROCESS_SIGNALLED] = HELPER_SIGNALLED,
		[PROCESS_TIMED_OUT] = HELPER_TIMED_OUT,
	};
	struct helper_message message = {.id = hook->id, .text = result->line, .next = ""};
	struct error error = {0};

	if (result->outcome == PROCESS_NOT_STARTED) {
		program_explain(helper->argv[0], -result->code, &error);
		answer_not_started(helper, hook->id, &error);
		return;
	}
	message.outcome = outcomes[result->outcome];
	message.code = result->code;
	message.milliseconds = (uint32_t)result->milliseconds;
	answer(helper, &message);
}

/* --- The loop --- */

/* Those that have ended are answered for, unless nobody listens any more; how many are left. */
static size_t step(struct helper_process *helper)
{
	size_t left = 0;

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		struct hook *hook = &helper->hooks[i];
		struct process_result result;
		int64_t now = clock_boot_ms();

		if (!hook->process)
			continue;
		process_read(hook->process);
		process_tick(hook->process, now);
		if (!process_end(hook->process, now, &result)) {
			left++;
			continue;
		}
		if (!helper->frame->done)
			answer_ended(helper, hook, &result);
		hook->process = process_free(hook->process);
	}
	return left;
}

/* Until something happens, or it is `due`. */
static void wait_for_work(const struct helper_process *helper, int64_t due)
{
	struct pollfd fds[HELPER_RUNNING * PROCESS_FDS];
	nfds_t count = 0;

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		const struct process *process = helper->hooks[i].process;

		if (!process)
			continue;
		process_fds(process, fds + count);
		count += PROCESS_FDS;
		if (process_due(process) < due)
			due = process_due(process);
	}
	helper_frame_wait(helper->frame, fds, count, due, false);
}

static void stop_hooks(struct helper_process *helper)
{
	int64_t end = clock_boot_ms() + HELPER_GRACE_MS + KILL_MS;

	for (size_t i = 0; i < HELPER_RUNNING; i++) {
		if (helper->hooks[i].process)
			process_stop(helper->hooks[i].process, clock_boot_ms());
	}
	while (step(helper) > 0 && clock_boot_ms() < end)
		wait_for_work(helper, end);
}

struct hooks_order {
	const char *const *argv;
	uid_t owner;
};

static void work(struct helper_frame *frame, void *context)
{
	const struct hooks_order *order = context;
	struct helper_process helper = {.frame = frame, .argv = order->argv, .owner = order->owner};

	while (!frame->done) {
		take_messages(&helper);
		step(&helper);
		if (!frame->done)
			wait_for_work(&helper, INT64_MAX);
	}
	stop_hooks(&helper);
}

int helper_start(
	const char *const *argv, uid_t owner, struct helper *ret_helper, struct error *error)
{
	struct hooks_order order = {.argv = argv, .owner = owner};

	return helper_frame_start(
		"sipfence-helper", "that runs hooks", work, &order, ret_helper, error);
}
