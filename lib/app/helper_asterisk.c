/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper_asterisk.h"
#include "asterisk_acl.h"
#include "asterisk_ask.h"
#include "asterisk_cli.h"
#include "asterisk_keeper.h"
#include "clock.h"
#include "files.h"
#include "helper_frame.h"
#include "log_tail.h"
#include "process.h"
#include "replace.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
	SENDS = 64, /* messages in one round of the loop */
	STOP_MS = 1000,
};

enum stage {
	STAGE_IDLE,
	STAGE_FILE,   /* more of the ACL file is to come */
	STAGE_RUNS,   /* the command */
	STAGE_ANSWER, /* its output, and how it ended */
};

struct worker {
	struct helper_frame *frame;
	const struct config *config;
	uid_t owner;

	/* The request. */
	enum stage stage;
	uint32_t id;
	struct text file;
	struct text command;
	struct asterisk_program program;
	struct process *process;
	/* Its answer. */
	size_t sent; /* of the output */
	int result;
	struct error error;

	struct log_tail *log; /* NULL: it is not followed */
	struct error log_problem;
	/* What the socket had no room for. */
	struct helper_message waiting; /* kind 0: none */
	struct error waiting_error;
	char waiting_bytes[HELPER_BYTES_MAX];
};

/* --- Requests --- */

static bool command_of(const struct helper_message *message, struct text *text)
{
	const struct asterisk_contact contact = {
		.pjsip = message->pjsip,
		.extension = message->extension,
		.aor = message->aor,
		.key = message->key,
	};

	switch (message->command) {
	case HELPER_BOOTED:
		text_puts(text, ASTERISK_CLI_BOOTED);
		return true;
	case HELPER_RELOAD:
		text_puts(text, ASTERISK_CLI_RELOAD);
		return true;
	case HELPER_CONTACTS:
		text_puts(text, ASTERISK_CLI_CONTACTS);
		return true;
	case HELPER_CHANNELS:
		text_puts(text, ASTERISK_CLI_CHANNELS);
		return true;
	case HELPER_SHOW:
		if (!asterisk_cli_is_name(message->name))
			return false;
		asterisk_cli_show_acl(message->name, text);
		return true;
	case HELPER_EVICT:
		return asterisk_cli_evict(&contact, message->step, text);
	case HELPER_HANGUP:
		return asterisk_cli_hangup(message->name, text);
	}
	return false;
}

bool helper_asterisk_command(const struct helper_message *message, struct text *text)
{
	text_clear(text);
	return command_of(message, text);
}

static void refuse(struct worker *worker)
{
	helper_frame_end(worker->frame, EXIT_FAILURE);
}

static void answer(struct worker *worker, int result)
{
	worker->stage = STAGE_ANSWER;
	worker->result = result;
	worker->sent = 0;
}

static int write_file(struct worker *worker)
{
	const char *path = worker->config->asterisk.acl_file;
	char like[PATH_MAX];
	bool known = file_beside(path, "acl.conf", like) == 0;
	int result = replace_file(path, known ? like : NULL, text_string(&worker->file),
		worker->file.length, &worker->error);

	return result == REPLACE_UNCHANGED ? ASTERISK_WRITE_SAME : result;
}

static void take_file(struct worker *worker, const struct helper_message *message)
{
	if (worker->stage == STAGE_IDLE) {
		worker->stage = STAGE_FILE;
		worker->id = message->id;
		text_clear(&worker->file);
	}
	if (worker->stage != STAGE_FILE || worker->id != message->id ||
		message->length > HELPER_ASTERISK_FILE_MAX - worker->file.length) {
		refuse(worker);
		return;
	}
	text_write(&worker->file, message->bytes, message->length);
	if (!message->last)
		return;
	if (worker->file.failed)
		answer(worker, error_no_memory(&worker->error));
	else if (asterisk_acl_check_file(text_string(&worker->file), worker->file.length))
		answer(worker, write_file(worker));
	else
		refuse(worker);
	text_free(&worker->file);
}

static int start_command(struct worker *worker, bool boots)
{
	struct asterisk_run run;
	int result =
		asterisk_ask_find(worker->config, worker->owner, &worker->program, &worker->error);

	if (result < 0)
		return result;
	asterisk_ask_prepare(&worker->program, text_string(&worker->command),
		boots ? ASTERISK_ASK_BOOT_MS : ASTERISK_ASK_LIMIT_MS, &run);
	return process_start(&worker->process, &run.options, clock_boot_ms(), &worker->error);
}

static void take_command(struct worker *worker, const struct helper_message *message)
{
	int result;

	if (worker->stage != STAGE_IDLE || !helper_asterisk_command(message, &worker->command)) {
		refuse(worker);
		return;
	}
	worker->id = message->id;
	worker->stage = STAGE_RUNS;
	result = worker->command.failed ? error_no_memory(&worker->error)
					: start_command(worker, message->command == HELPER_BOOTED);
	if (result < 0)
		answer(worker, result);
}

static void take_messages(struct worker *worker)
{
	struct helper_packet packet;
	struct helper_message message;

	while (helper_frame_receive(worker->frame, &packet, &message)) {
		bool wanted = worker->config->asterisk.acl;

		if (wanted && message.kind == HELPER_ACLS)
			take_file(worker, &message);
		else if (wanted && message.kind == HELPER_ASK)
			take_command(worker, &message);
		else
			refuse(worker);
	}
}

/* --- The command --- */

static void step(struct worker *worker)
{
	const struct text *output;
	struct process_result result;
	int64_t now = clock_boot_ms();

	if (worker->stage != STAGE_RUNS)
		return;
	process_read(worker->process);
	process_tick(worker->process, now);
	output = process_output(worker->process);
	/* The rest is of no use to anybody. */
	if (output->length >= ASTERISK_ASK_OUTPUT)
		process_stop(worker->process, now);
	if (process_end(worker->process, now, &result))
		answer(worker, asterisk_ask_judge(&worker->program, text_string(&worker->command),
				       &result, output, &worker->error));
}

/* --- What is sent --- */

static void end_request(struct worker *worker)
{
	worker->process = process_free(worker->process);
	worker->error = (struct error){0};
	worker->stage = STAGE_IDLE;
}

/* False: there is nothing. */
static bool next_of_answer(struct worker *worker, struct helper_message *message)
{
	const struct text *output = worker->process ? process_output(worker->process) : NULL;

	if (worker->stage != STAGE_ANSWER)
		return false;
	*message = (struct helper_message){.id = worker->id};
	if (worker->result == 0 && output && worker->sent < output->length) {
		size_t left = output->length - worker->sent;

		message->kind = HELPER_OUTPUT;
		message->bytes = output->data + worker->sent;
		message->length = left < HELPER_BYTES_MAX ? left : HELPER_BYTES_MAX;
		return true;
	}
	message->kind = HELPER_DONE;
	message->result = worker->result;
	message->text = worker->error.what;
	message->next = worker->error.next;
	return true;
}

static bool send_answer(struct worker *worker)
{
	struct helper_message message;

	if (!next_of_answer(worker, &message) || !helper_frame_send(worker->frame, &message))
		return false;
	if (message.kind == HELPER_DONE)
		end_request(worker);
	else
		worker->sent += message.length;
	return true;
}

static const char written_by[] =
	"have Asterisk write it (logger.conf, [logfiles]: security => security; then `logger "
	"reload`), or correct asterisk.security-log in the config; it is waited for";

/* The next of the log; kind 0: there is none. */
static void fill_waiting(struct worker *worker)
{
	struct helper_message *message = &worker->waiting;
	struct error *error = &worker->waiting_error;
	size_t length = 0;

	*message = (struct helper_message){0};
	*error = (struct error){0};
	switch (log_tail_read(worker->log, clock_boot_ms(), worker->waiting_bytes, HELPER_BYTES_MAX,
		&length, error)) {
	case LOG_TAIL_NOTHING:
		return;
	case LOG_TAIL_BYTES:
		message->kind = HELPER_LOG;
		message->bytes = worker->waiting_bytes;
		message->length = length;
		return;
	case LOG_TAIL_OPENED:
		message->kind = HELPER_LOG_OPENED;
		return;
	case LOG_TAIL_MISSING:
		message->kind = HELPER_LOG_MISSING;
		message->text = error->what;
		message->next = error->code == -ENOENT ? written_by : error->next;
		return;
	}
}

static bool send_log(struct worker *worker)
{
	if (!worker->waiting.kind && worker->log)
		fill_waiting(worker);
	if (!worker->waiting.kind || !helper_frame_send(worker->frame, &worker->waiting))
		return false;
	worker->waiting.kind = 0;
	return true;
}

/* True: there may be more to send at once. */
static bool send_all(struct worker *worker)
{
	for (int i = 0; i < SENDS; i++) {
		if (!send_answer(worker) && !send_log(worker))
			return false;
	}
	return true;
}

/* --- The loop --- */

static int64_t due_of(const struct worker *worker)
{
	int64_t due = worker->stage == STAGE_RUNS ? process_due(worker->process) : INT64_MAX;

	if (worker->log && !worker->waiting.kind && log_tail_due(worker->log) < due)
		due = log_tail_due(worker->log);
	return due;
}

static void wait_for_work(const struct worker *worker, int64_t due, bool writing)
{
	struct pollfd fds[PROCESS_FDS + 1];
	nfds_t count = 0;

	if (worker->stage == STAGE_RUNS) {
		process_fds(worker->process, fds);
		count += PROCESS_FDS;
	}
	if (worker->log)
		fds[count++] = (struct pollfd){.fd = log_tail_fd(worker->log), .events = POLLIN};
	helper_frame_wait(worker->frame, fds, count, due, writing);
}

/* The command that runs has ASTERISK_ASK_GRACE_MS to end, then it is killed. */
static void stop_command(struct worker *worker)
{
	int64_t end = clock_boot_ms() + ASTERISK_ASK_GRACE_MS + STOP_MS;

	if (worker->stage != STAGE_RUNS)
		return;
	worker->log = log_tail_close(worker->log);
	process_stop(worker->process, clock_boot_ms());
	for (step(worker); worker->stage == STAGE_RUNS && clock_boot_ms() < end; step(worker))
		wait_for_work(worker, process_due(worker->process), false);
	end_request(worker);
}

static void open_log(struct worker *worker)
{
	const char *path = worker->config->asterisk.security_log;

	if (!path ||
		log_tail_open(&worker->log, path, clock_boot_ms(), &worker->waiting_error) == 0)
		return;
	worker->waiting = (struct helper_message){.kind = HELPER_LOG_MISSING,
		.text = worker->waiting_error.what,
		.next = worker->waiting_error.next};
}

struct order {
	const struct config *config;
	uid_t owner;
};

static void work(struct helper_frame *frame, void *context)
{
	const struct order *order = context;
	struct worker *worker = calloc(1, sizeof(*worker));

	if (!worker) {
		helper_frame_end(frame, EXIT_FAILURE);
		return;
	}
	worker->frame = frame;
	worker->config = order->config;
	worker->owner = order->owner;
	open_log(worker);
	while (!frame->done) {
		bool more;

		take_messages(worker);
		step(worker);
		if (worker->log)
			log_tail_notice(worker->log, clock_boot_ms());
		more = send_all(worker);
		if (!frame->done)
			wait_for_work(worker, more ? 0 : due_of(worker),
				worker->stage == STAGE_ANSWER || worker->waiting.kind);
	}
	stop_command(worker);
	process_free(worker->process);
	log_tail_close(worker->log);
	text_free(&worker->file);
	text_free(&worker->command);
	free(worker);
}

int helper_asterisk_start(
	const struct config *config, uid_t owner, struct helper *ret_helper, struct error *error)
{
	struct order order = {.config = config, .owner = owner};

	return helper_frame_start(
		"sipfence-pbx", "that works for Asterisk", work, &order, ret_helper, error);
}
