/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "audit_line.h"

static enum audit_failure failure_of(const struct asterisk_line *line)
{
	static const enum audit_failure by_event[] = {
		[ASTERISK_INVALID_PASSWORD] = AUDIT_FAILURE_PASSWORD,
		[ASTERISK_INVALID_ACCOUNT] = AUDIT_FAILURE_ACCOUNT,
		[ASTERISK_FAILED_ACL] = AUDIT_FAILURE_ACL,
	};
	static const enum audit_failure by_text[] = {
		[ASTERISK_FAILURE_OTHER] = AUDIT_FAILURE_OTHER,
		[ASTERISK_FAILURE_PASSWORD] = AUDIT_FAILURE_PASSWORD,
		[ASTERISK_FAILURE_ACCOUNT] = AUDIT_FAILURE_ACCOUNT,
		[ASTERISK_FAILURE_ACL] = AUDIT_FAILURE_ACL,
	};

	return line->kind == ASTERISK_SECURITY ? by_event[line->event] : by_text[line->failure];
}

static bool kind_of(const struct asterisk_line *line, enum audit_event_kind *ret_kind)
{
	switch ((enum asterisk_line_kind)line->kind) {
	case ASTERISK_REGISTERED:
	case ASTERISK_CONTACT_ADDED:
		*ret_kind = AUDIT_CLAIM;
		return true;
	case ASTERISK_FAILED:
		*ret_kind = AUDIT_FAILED;
		return true;
	case ASTERISK_AGENT:
		*ret_kind = AUDIT_AGENT;
		return true;
	case ASTERISK_CALL:
		*ret_kind = AUDIT_CALL;
		return true;
	case ASTERISK_SECURITY:
		*ret_kind = line->event == ASTERISK_SUCCESSFUL_AUTH ? AUDIT_LOGIN : AUDIT_FAILED;
		return line->event != ASTERISK_CHALLENGE_SENT;
	case ASTERISK_UNREGISTERED:
	case ASTERISK_CONTACT_REMOVED:
	case ASTERISK_OTHER:
		break;
	}
	return false;
}

bool audit_line_event(const struct asterisk_line *line, int64_t when, struct audit_event *ret_event)
{
	struct audit_event event = {
		.protocol = line->service == ASTERISK_PJSIP ? AUDIT_PJSIP : AUDIT_SIP,
		.security = line->kind == ASTERISK_SECURITY,
		.has_addr = line->has_addr,
		.port = line->port,
		.when = when,
		.account = line->account.data,
		.account_length = line->account.length,
		.text = line->text.data,
		.text_length = line->text.length,
		.transport = line->transport.data,
		.transport_length = line->transport.length,
		.session = line->session.data,
		.session_length = line->session.length,
	};
	enum audit_event_kind kind;

	if (!kind_of(line, &kind))
		return false;
	event.kind = (uint8_t)kind;
	if (line->has_addr)
		event.addr = line->addr;
	if (kind == AUDIT_FAILED)
		event.failure = (uint8_t)failure_of(line);
	if (kind == AUDIT_CALL)
		event.channel = line->channel;
	*ret_event = event;
	return true;
}
