/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_link.h"
#include "asterisk_ask.h"
#include "helper_asterisk.h"
#include "helper_talk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	RECEIVES = 64, /* messages in one call of the loop */

	/* So long a helper that works may say nothing of a task: the time of the command and the
	 * end of it, or a slow disk. */
	WRITE_MS = 60 * 1000,
	ASK_MS = ASTERISK_ASK_LIMIT_MS + 20 * 1000,
	BOOT_MS = ASTERISK_ASK_BOOT_MS + 20 * 1000,
};

struct asterisk_link {
	struct asterisk_link_options options;
	/* The task under way; kind ASTERISK_TASK_NONE: none. */
	enum asterisk_task_kind kind;
	uint32_t id;
	struct text file; /* what is left to send begins at `sent` */
	size_t sent;
	bool full; /* the socket takes nothing at present */
	struct text output;
	bool heard;	  /* since the last tick */
	int64_t limit_ms; /* it must be heard until then */
	struct helper_death death;
};

/* --- The helper's end --- */

static bool is_alive(const struct asterisk_link *link)
{
	return link->options.helper.fd >= 0;
}

static void end_task(struct asterisk_link *link)
{
	link->kind = ASTERISK_TASK_NONE;
	link->limit_ms = INT64_MAX;
	text_free(&link->file);
}

static void bury(struct asterisk_link *link, int code)
{
	loop_forget(link->options.loop, link->options.helper.fd);
	close(link->options.helper.fd);
	link->options.helper.fd = -1;
	helper_death_begin(&link->death, code);
	end_task(link);
	text_free(&link->output);
}

/* --- Sending --- */

static void watch_writing(struct asterisk_link *link, bool full)
{
	if (link->full == full)
		return;
	link->full = full;
	loop_change(
		link->options.loop, link->options.helper.fd, LOOP_READ | (full ? LOOP_WRITE : 0U));
}

/* 0; -EAGAIN: later; other negative numbers: it is not sent, and maybe the helper is dead. */
static int send_message(struct asterisk_link *link, const struct helper_message *message)
{
	int result = helper_talk_send(link->options.helper.fd, message);

	watch_writing(link, result == -EAGAIN);
	if (result < 0 && result != -EAGAIN && result != -EINVAL && result != -EMSGSIZE)
		bury(link, result);
	return result;
}

static void send_file(struct asterisk_link *link)
{
	while (is_alive(link) && link->sent < link->file.length) {
		size_t left = link->file.length - link->sent;
		struct helper_message message = {.kind = HELPER_ACLS,
			.id = link->id,
			.bytes = link->file.data + link->sent,
			.length = left < HELPER_BYTES_MAX ? left : HELPER_BYTES_MAX,
			.last = left <= HELPER_BYTES_MAX};

		if (send_message(link, &message) < 0)
			return;
		link->sent += message.length;
		link->heard = true;
	}
	text_free(&link->file);
}

static int refuse(int code, const char *why, struct error *error)
{
	return error_set(error, code, "", "Asterisk's helper process is not asked: %s", why);
}

static int begin_writing(
	struct asterisk_link *link, const struct asterisk_task *task, struct error *error)
{
	if (task->file->failed || task->file->length == 0 ||
		task->file->length > HELPER_ASTERISK_FILE_MAX)
		return refuse(-EFBIG, "the ACL file is too long", error);
	text_clear(&link->file);
	text_write(&link->file, task->file->data, task->file->length);
	if (link->file.failed) {
		text_free(&link->file);
		return error_no_memory(error);
	}
	link->sent = 0;
	return 0;
}

static struct helper_message message_of(const struct asterisk_task *task)
{
	static const enum helper_command commands[] = {
		[ASTERISK_TASK_BOOTED] = HELPER_BOOTED,
		[ASTERISK_TASK_RELOAD] = HELPER_RELOAD,
		[ASTERISK_TASK_SHOW] = HELPER_SHOW,
		[ASTERISK_TASK_CONTACTS] = HELPER_CONTACTS,
		[ASTERISK_TASK_EVICT] = HELPER_EVICT,
		[ASTERISK_TASK_CHANNELS] = HELPER_CHANNELS,
		[ASTERISK_TASK_HANGUP] = HELPER_HANGUP,
	};
	struct helper_message message = {
		.kind = HELPER_ASK, .command = commands[task->kind], .name = task->name};

	if (task->kind == ASTERISK_TASK_EVICT) {
		message.pjsip = task->contact->pjsip;
		message.step = (uint8_t)task->step;
		message.extension = task->contact->extension;
		message.aor = task->contact->aor;
		message.key = task->contact->key;
	}
	return message;
}

/* The helper, which would end at it, is asked nothing that can't be said. */
static int begin_asking(
	struct asterisk_link *link, const struct asterisk_task *task, struct error *error)
{
	struct helper_message message = message_of(task);
	struct text command = {0};
	bool safe = (task->kind != ASTERISK_TASK_EVICT || task->step < ASTERISK_EVICT_STEPS) &&
		    helper_asterisk_command(&message, &command);
	int result;

	text_free(&command);
	if (!safe)
		return refuse(-EINVAL, "a name can't be said safely", error);
	message.id = link->id;
	result = send_message(link, &message);
	return result < 0 ? refuse(result, strerror(-result), error) : 0;
}

int asterisk_link_begin(
	struct asterisk_link *link, const struct asterisk_task *task, struct error *error)
{
	int result;

	if (!is_alive(link))
		return refuse(-EPIPE, "it has ended", error);
	if (link->kind != ASTERISK_TASK_NONE)
		return refuse(-EBUSY, "it has not done what it was asked before", error);
	link->id++;
	text_clear(&link->output);
	if (task->kind == ASTERISK_TASK_WRITE)
		result = begin_writing(link, task, error);
	else if (task->kind > ASTERISK_TASK_NONE && task->kind <= ASTERISK_TASK_HANGUP)
		result = begin_asking(link, task, error);
	else
		result = refuse(-EINVAL, "that is no task", error);
	if (result < 0)
		return result;
	link->kind = task->kind;
	link->heard = true;
	if (task->kind == ASTERISK_TASK_WRITE)
		send_file(link);
	return 0;
}

/* --- Receiving --- */

static bool take_output(struct asterisk_link *link, const struct helper_message *message)
{
	if (link->kind <= ASTERISK_TASK_WRITE || message->id != link->id ||
		message->length > ASTERISK_ASK_OUTPUT - link->output.length)
		return false;
	text_write(&link->output, message->bytes, message->length);
	link->heard = true;
	return true;
}

static bool take_done(struct asterisk_link *link, const struct helper_message *message)
{
	struct asterisk_outcome outcome = {.result = message->result};
	struct text output = link->output;

	if (link->kind == ASTERISK_TASK_NONE || message->id != link->id ||
		link->sent < link->file.length)
		return false;
	if (message->result < 0)
		error_set(&outcome.error, message->result, message->next, "%s", message->text);
	else if (output.failed)
		outcome.result = error_no_memory(&outcome.error);
	outcome.output = text_string(&output);
	outcome.length = output.length;
	/* The next task may begin in the call. */
	link->output = (struct text){0};
	end_task(link);
	link->options.ended(link->options.context, &outcome);
	text_free(&output);
	return true;
}

static void tell_log(struct asterisk_link *link, const struct helper_message *message)
{
	const struct asterisk_link_options *options = &link->options;
	struct error error = {0};

	if (message->kind == HELPER_LOG) {
		options->log(options->context, ASTERISK_LOG_BYTES, message->bytes, message->length,
			NULL);
	} else if (message->kind == HELPER_LOG_OPENED) {
		options->log(options->context, ASTERISK_LOG_OPENED, NULL, 0, NULL);
	} else {
		error_set(&error, -EIO, message->next, "%s", message->text);
		options->log(options->context, ASTERISK_LOG_MISSING, NULL, 0, &error);
	}
}

static bool take_message(struct asterisk_link *link, const struct helper_message *message)
{
	switch (message->kind) {
	case HELPER_OUTPUT:
		return take_output(link, message);
	case HELPER_DONE:
		return take_done(link, message);
	case HELPER_LOG:
	case HELPER_LOG_OPENED:
	case HELPER_LOG_MISSING:
		tell_log(link, message);
		return true;
	default:
		return false;
	}
}

static void take_messages(void *context, int fd, unsigned events)
{
	struct asterisk_link *link = context;
	struct helper_packet packet;
	struct helper_message message;

	(void)fd;
	if (events & LOOP_WRITE) {
		watch_writing(link, false);
		send_file(link);
	}
	for (int i = 0; i < RECEIVES && is_alive(link); i++) {
		int result = helper_talk_receive(link->options.helper.fd, &packet, &message);

		if (result == -EAGAIN)
			return;
		if (result == 0 && !take_message(link, &message))
			result = -EBADMSG;
		if (result < 0 && is_alive(link))
			bury(link, result);
	}
}

/* --- For the daemon --- */

static int64_t patience_of(enum asterisk_task_kind kind)
{
	return kind == ASTERISK_TASK_WRITE    ? WRITE_MS
	       : kind == ASTERISK_TASK_BOOTED ? BOOT_MS
					      : ASK_MS;
}

void asterisk_link_tick(struct asterisk_link *link, int64_t now_ms)
{
	char how[HELPER_DEATH_SIZE];

	if (link->heard && link->kind != ASTERISK_TASK_NONE)
		link->limit_ms = now_ms + patience_of(link->kind);
	link->heard = false;
	if (is_alive(link) && now_ms >= link->limit_ms)
		bury(link, -ETIMEDOUT);
	if (helper_death_tell(&link->death, link->options.helper.pid, now_ms, how))
		link->options.died(link->options.context, how);
}

int64_t asterisk_link_due(const struct asterisk_link *link)
{
	if (link->heard)
		return 0;
	return link->death.due_ms < link->limit_ms ? link->death.due_ms : link->limit_ms;
}

int asterisk_link_open(struct asterisk_link **ret_link, const struct asterisk_link_options *options,
	struct error *error)
{
	struct asterisk_link *link = calloc(1, sizeof(*link));
	int result = link ? 0 : -ENOMEM;

	if (link) {
		*link = (struct asterisk_link){
			.options = *options, .limit_ms = INT64_MAX, .death = HELPER_ALIVE};
		result = loop_watch(
			options->loop, options->helper.fd, LOOP_READ, take_messages, link);
	}
	if (result < 0) {
		free(link);
		close(options->helper.fd);
		return error_set(error, result, "",
			"the helper process that works for Asterisk cannot be talked to: %s",
			strerror(-result));
	}
	*ret_link = link;
	return 0;
}

struct asterisk_link *asterisk_link_close(struct asterisk_link *link)
{
	if (!link)
		return NULL;
	if (is_alive(link)) {
		loop_forget(link->options.loop, link->options.helper.fd);
		close(link->options.helper.fd);
	}
	text_free(&link->file);
	text_free(&link->output);
	free(link);
	return NULL;
}
