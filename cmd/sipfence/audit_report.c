/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "audit_report.h"
#include "json_put.h"
#include "words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const protocol_names[] = {"chan_sip", "pjsip"};
static const char *const failure_keys[] = {
	"other_failures", "wrong_passwords", "unknown_extensions", "refused_by_acl"};
static const char *const basis_names[] = {"history", "now", "config"};

enum { EVICTIONS_SHOWN = 4 }; /* of each extension */

static const struct owner *owner_of(
	const struct audit_result *result, const struct audit_account *account)
{
	return &result->config->owners[account->owner];
}

static const char *kind_of(const struct owner *owner)
{
	return owner->kind == OWNER_PEER ? "peer" : "extension";
}

/* --- for people --- */

static void put_name(const struct audit_name *name, struct text *text)
{
	text_escaped(text, name->bytes, name->length);
	if (name->cut)
		text_puts(text, "...");
}

static void put_names(const struct audit_name *names, size_t count, size_t at_least,
	const struct audit_name * not, struct text *text)
{
	size_t put = 0;

	for (size_t i = 0; i < count; i++) {
		if (not &&not ->length == names[i].length &&
			memcmp(not ->bytes, names[i].bytes, not ->length) == 0)
			continue;
		text_puts(text, put++ > 0 ? ", " : "");
		put_name(&names[i], text);
	}
	if (at_least > count)
		text_printf(text, " and at least %zu more", at_least - count);
}

static void put_times(const struct audit_tally *tally, struct text *text)
{
	words_time(tally->first / 1000, text);
	if (tally->first / 1000 == tally->last / 1000)
		return;
	text_puts(text, " to ");
	words_time(tally->last / 1000, text);
}

/* "6 log-ins proven, 1 claimed" */
static void put_counts(const struct audit_tally *tally, struct text *text)
{
	bool first = true;

	for (int i = AUDIT_PROVEN; i >= AUDIT_UNKNOWN; i--) {
		if (tally->counts[i] == 0)
			continue;
		text_printf(text, "%s%" PRIu64 " %s", first ? "" : ", ", tally->counts[i],
			audit_certainty_name((enum audit_certainty)i));
		first = false;
	}
}

static void put_addr(const struct audit_finding *finding, struct text *text)
{
	char addr[ADDR_TEXT_SIZE];

	if (finding->has_addr) {
		addr_print(&finding->addr, addr);
		text_puts(text, addr);
		return;
	}
	text_puts(text, "a Contact without an address: ");
	put_name(&finding->agent, text);
}

static void put_deed(struct text *text, uint64_t count, const char *words)
{
	if (count > 0)
		text_printf(text, "%s%" PRIu64 " %s%s", text->length ? ", " : "", count, words,
			words_plural((int64_t)count));
}

static void print_deeds(
	const struct audit_result *result, const struct owner *owner, const struct addr *addr)
{
	struct audit_name self = {.length = 0};
	struct audit_deeds deeds;
	struct text text = {0};
	size_t length = strlen(owner->id), others;

	if (!audit_deeds(result->audit, addr, &deeds)) {
		printf("      what else it did is not known: there were too many addresses\n");
		return;
	}
	put_deed(&text, deeds.failures[AUDIT_FAILURE_PASSWORD], "wrong password");
	put_deed(&text, deeds.failures[AUDIT_FAILURE_ACCOUNT], "unknown extension");
	put_deed(&text, deeds.failures[AUDIT_FAILURE_ACL], "ACL refusal");
	put_deed(&text, deeds.calls, "call");
	if (deeds.calls > 0 && deeds.dialled_count > 0) {
		text_puts(&text, " (to ");
		put_names(deeds.dialled, deeds.dialled_count, 0, NULL, &text);
		text_puts(&text, ")");
	}
	if (length <= AUDIT_NAME_SIZE) {
		self.length = (uint8_t)length;
		memcpy(self.bytes, owner->id, length);
	}
	others = deeds.tried_at_least > 0 ? deeds.tried_at_least - 1 : 0;
	if (others > 0) {
		text_puts(&text, text.length ? "; " : "");
		text_puts(&text, "also tried ");
		put_names(deeds.tried, deeds.tried_count, deeds.tried_at_least, &self, &text);
	}
	if (text.length > 0)
		printf("      besides: %s\n", text_string(&text));
	text_free(&text);
}

static void print_finding(const struct audit_result *result, const struct owner *owner,
	const struct audit_finding *finding)
{
	struct text line = {0};

	put_addr(finding, &line);
	text_puts(&line, ": ");
	put_counts(&finding->tally, &line);
	text_puts(&line, ", ");
	put_times(&finding->tally, &line);
	for (size_t i = 0; i < 2; i++) {
		if (finding->protocols[i])
			text_printf(&line, ", %s", protocol_names[i]);
	}
	if (finding->transport.length > 0) {
		text_puts(&line, " over ");
		put_name(&finding->transport, &line);
	}
	if (finding->has_addr && finding->agent.length > 0) {
		text_puts(&line, ", says it is \"");
		put_name(&finding->agent, &line);
		text_puts(&line, "\"");
	}
	printf("    %s\n", text_string(&line));
	text_free(&line);
	if (finding->has_addr)
		print_deeds(result, owner, &finding->addr);
}

static const char *headline(enum audit_certainty certainty)
{
	switch (certainty) {
	case AUDIT_PROVEN:
		return "taken over: proven by the security log";
	case AUDIT_CLAIMED:
		return "taken over, by what Contacts claim; only a security log would prove it";
	case AUDIT_AMBIGUOUS:
		return "nothing for sure: probably calls to it, which chan_sip logs like log-ins";
	case AUDIT_UNKNOWN:
		break;
	}
	return "nothing for sure: nobody knows who had these addresses then";
}

static uint64_t sum_of(const struct audit_tally *tally)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < AUDIT_CERTAINTY_COUNT; i++)
		sum += tally->counts[i];
	return sum;
}

static void print_account(const struct invocation *invocation, const struct audit_result *result,
	const struct audit_account *account)
{
	const struct owner *owner = owner_of(result, account);
	enum audit_certainty certainty = (enum audit_certainty)account->certainty;
	const char *colour = certainty >= AUDIT_CLAIMED ? "\033[31m" : "\033[33m";
	struct text id = {0};

	text_escaped(&id, owner->id, strlen(owner->id));
	printf("%s%s %s: %s%s\n", invocation->colour_out ? colour : "", kind_of(owner),
		text_string(&id), headline(certainty), invocation->colour_out ? "\033[0m" : "");
	text_clear(&id);
	for (size_t i = 0; i < account->finding_count; i++)
		print_finding(result, owner, &account->findings[i]);
	if (sum_of(&account->others) > 0) {
		put_counts(&account->others, &id);
		text_puts(&id, ", ");
		put_times(&account->others, &id);
		printf("    from more addresses, which are not listed: %s\n", text_string(&id));
	}
	text_free(&id);
}

static void print_strangers(const struct audit_result *result)
{
	size_t count = audit_stranger_count(result->audit);

	if (count == 0)
		return;
	printf("not in the config, so nothing is known of where they belong:\n");
	for (size_t i = 0; i < count; i++) {
		const struct audit_stranger *stranger = audit_stranger(result->audit, i);
		struct text line = {0};
		char addr[ADDR_TEXT_SIZE];

		put_name(&stranger->name, &line);
		text_printf(&line, ": %" PRIu64 " registration%s or log-in%s", stranger->count,
			words_plural((int64_t)stranger->count),
			words_plural((int64_t)stranger->count));
		if (stranger->has_addr) {
			addr_print(&stranger->addr, addr);
			text_printf(&line, ", the last one from %s", addr);
		}
		if (stranger->addresses_at_least > 1)
			text_printf(&line, ", from at least %zu addresses",
				stranger->addresses_at_least);
		text_puts(&line, ", ");
		put_times(&(struct audit_tally){.first = stranger->first, .last = stranger->last},
			&line);
		printf("    %s\n", text_string(&line));
		text_free(&line);
	}
	if (audit_strangers_more(result->audit) > 0)
		printf("    and %" PRIu64 " registrations of more names\n",
			audit_strangers_more(result->audit));
}

/* Where an id goes into a command that is to be typed, it is a plain one or not shown. */
static const char *plain_id(const char *id)
{
	static const char plain[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.";

	return id[strspn(id, plain)] == '\0' ? id : "EXTENSION";
}

static void print_eviction(const struct owner *owner, const struct audit_finding *finding)
{
	const char *id = plain_id(owner->id), *open = "", *close = "";
	char addr[ADDR_TEXT_SIZE];

	if (!finding->has_addr)
		return;
	if (finding->addr.family == FAMILY_IPV6) {
		open = "[";
		close = "]";
	}
	addr_print(&finding->addr, addr);
	if (finding->protocols[AUDIT_SIP])
		printf("       asterisk -rx 'sip unregister %s'\n", id);
	if (finding->protocols[AUDIT_PJSIP])
		printf("       asterisk -rx \"database query \\\"UPDATE astdb SET "
		       "value=json_set(value,'\\$.expiration_time','1') WHERE key LIKE "
		       "'/registrar/contact/%s;@%%' AND json_extract(value,'\\$.uri') LIKE "
		       "'%%@%s%s%s:%%'\\\"\"; asterisk -rx 'pjsip show aor %s'\n",
			id, open, addr, close, id);
}

static void print_advice(const struct audit_result *result)
{
	const struct audit *audit = result->audit;
	bool claimed = false;

	printf("what to do, in this order:\n"
	       "    1. keep them out: `sipfence why ADDRESS` for each address above must say "
	       "dropped\n"
	       "    2. change the passwords (secret in sip.conf, password in pjsip.conf) of:");
	for (size_t i = 0; i < audit_account_count(audit); i++) {
		struct audit_account account = audit_account(audit, i);
		struct text id = {0};

		if (account.certainty < AUDIT_CLAIMED)
			continue;
		text_escaped(&id, owner_of(result, &account)->id,
			strlen(owner_of(result, &account)->id));
		printf(" %s", text_string(&id));
		text_free(&id);
		claimed |= account.certainty == AUDIT_CLAIMED;
	}
	printf("\n    3. throw out what is still registered:\n");
	for (size_t i = 0; i < audit_account_count(audit); i++) {
		struct audit_account account = audit_account(audit, i);

		for (size_t j = 0; j < account.finding_count && j < EVICTIONS_SHOWN; j++) {
			if (account.findings[j].certainty >= AUDIT_CLAIMED)
				print_eviction(owner_of(result, &account), &account.findings[j]);
		}
	}
	printf("    4. end its calls: `core show channels`, `channel request hangup CHANNEL` in "
	       "the CLI\n");
	if (claimed)
		printf("    5. have proof the next time: `security => security` in logger.conf, "
		       "then `logger reload`\n");
}

static void print_summary(const struct audit_result *result)
{
	uint64_t understood = 0, lines = 0;

	for (size_t i = 0; i < result->input->count; i++) {
		understood += result->input->files[i].understood;
		lines += result->input->files[i].lines;
	}
	printf("%" PRIu64 " lines, %" PRIu64 " of registrations, log-ins and calls; %" PRIu64
	       " log-ins and registrations in order",
		lines, understood, audit_in_order(result->audit));
	if (audit_in_grace(result->audit) > 0)
		printf(", %" PRIu64 " of them close to a change of address",
			audit_in_grace(result->audit));
	printf("\n");
}

/* What was before sipfence came can still be judged by who knows it. */
static void print_unknown_advice(const struct audit_result *result)
{
	struct text begins = {0};

	if (result->basis == AUDIT_BY_HISTORY && result->history_begins != INT64_MAX) {
		words_time(result->history_begins, &begins);
		printf("The history begins at %s: it can't tell who had which address before.\n",
			text_string(&begins));
		text_free(&begins);
	}
	printf("If you know the addresses that the phones had then, write them as fixed hosts into a "
	       "copy of the config, and judge by that: sipfence -c COPY --state-dir /nonexistent "
	       "audit LOG…\n");
}

static bool is_understood(const struct audit_result *result)
{
	bool understood = false;

	for (size_t i = 0; i < result->input->count; i++)
		understood |= result->input->files[i].understood > 0;
	return understood;
}

void audit_print(const struct invocation *invocation, const struct audit_result *result)
{
	size_t count = audit_account_count(result->audit);
	bool unknown = false;

	for (size_t i = 0; i < count; i++) {
		struct audit_account account = audit_account(result->audit, i);

		print_account(invocation, result, &account);
		unknown |= account.certainty == AUDIT_UNKNOWN;
	}
	print_strangers(result);
	if (result->exit_code == EXIT_UNSURE)
		print_advice(result);
	if (unknown)
		print_unknown_advice(result);
	if (count == 0 && is_understood(result))
		printf("no extension was registered from where it does not belong\n");
	else if (count == 0)
		printf("nothing can be said: no line tells of registrations\n");
	if (invocation->verbosity >= 0)
		print_summary(result);
}

/* --- for programs --- */

/* The string is what a terminal would be shown: \\xNN for what is not printable ASCII. */
static void json_name(struct text *text, const struct audit_name *name)
{
	struct text escaped = {0};

	text_escaped(&escaped, name->bytes, name->length);
	json_put_string(text, text_string(&escaped));
	text->failed |= escaped.failed;
	text_free(&escaped);
}

static void json_names(
	struct text *text, const char *key, const struct audit_name *names, size_t count)
{
	json_put_key(text, key);
	json_put_open(text, "[");
	for (size_t i = 0; i < count; i++)
		json_name(text, &names[i]);
	json_put_close(text, "]");
}

static void json_number(struct text *text, const char *key, uint64_t number)
{
	json_put_key(text, key);
	json_put_number(text, (int64_t)number);
}

static void json_time(struct text *text, const char *key, int64_t milliseconds)
{
	json_put_key(text, key);
	json_put_time(text, milliseconds / 1000);
}

static void json_tally(struct text *text, const struct audit_tally *tally)
{
	for (int i = AUDIT_PROVEN; i >= AUDIT_UNKNOWN; i--)
		json_number(text, audit_certainty_name((enum audit_certainty)i), tally->counts[i]);
	json_time(text, "first", tally->first);
	json_time(text, "last", tally->last);
}

static void json_deeds(
	struct text *text, const struct audit_result *result, const struct addr *addr)
{
	struct audit_deeds deeds;

	json_put_key(text, "besides");
	if (!audit_deeds(result->audit, addr, &deeds)) {
		json_put_null(text);
		return;
	}
	json_put_open(text, "{");
	for (size_t i = 0; i < AUDIT_FAILURE_COUNT; i++)
		json_number(text, failure_keys[i], deeds.failures[i]);
	json_number(text, "calls", deeds.calls);
	json_names(text, "dialled", deeds.dialled, deeds.dialled_count);
	json_names(text, "accounts", deeds.tried, deeds.tried_count);
	json_number(text, "accounts_at_least", deeds.tried_at_least);
	json_time(text, "first", deeds.first);
	json_time(text, "last", deeds.last);
	json_put_close(text, "}");
}

static void json_finding(
	struct text *text, const struct audit_result *result, const struct audit_finding *finding)
{
	json_put_open(text, "{");
	json_put_key(text, "address");
	if (finding->has_addr)
		json_put_addr(text, &finding->addr);
	else
		json_put_null(text);
	json_number(text, "port", finding->port);
	json_put_key(text, "certainty");
	json_put_string(text, audit_certainty_name((enum audit_certainty)finding->certainty));
	json_tally(text, &finding->tally);
	json_put_key(text, "drivers");
	json_put_open(text, "[");
	for (size_t i = 0; i < 2; i++) {
		if (finding->protocols[i])
			json_put_string(text, protocol_names[i]);
	}
	json_put_close(text, "]");
	json_put_key(text, "transport");
	json_name(text, &finding->transport);
	json_put_key(text, finding->has_addr ? "user_agent" : "contact");
	json_name(text, &finding->agent);
	if (finding->has_addr)
		json_deeds(text, result, &finding->addr);
	json_put_close(text, "}");
}

static void json_account(
	struct text *text, const struct audit_result *result, const struct audit_account *account)
{
	const struct owner *owner = owner_of(result, account);

	json_put_open(text, "{");
	json_put_key(text, "kind");
	json_put_string(text, kind_of(owner));
	json_put_key(text, "id");
	json_put_string(text, owner->id);
	json_put_key(text, "certainty");
	json_put_string(text, audit_certainty_name((enum audit_certainty)account->certainty));
	json_tally(text, &account->tally);
	json_number(text, "in_grace", account->in_grace);
	json_put_key(text, "addresses");
	json_put_open(text, "[");
	for (size_t i = 0; i < account->finding_count; i++)
		json_finding(text, result, &account->findings[i]);
	json_put_close(text, "]");
	json_put_key(text, "more_addresses");
	if (sum_of(&account->others) > 0) {
		json_put_open(text, "{");
		json_tally(text, &account->others);
		json_put_close(text, "}");
	} else {
		json_put_null(text);
	}
	json_put_close(text, "}");
}

static void json_strangers(struct text *text, const struct audit_result *result)
{
	json_put_key(text, "not_in_config");
	json_put_open(text, "[");
	for (size_t i = 0; i < audit_stranger_count(result->audit); i++) {
		const struct audit_stranger *stranger = audit_stranger(result->audit, i);

		json_put_open(text, "{");
		json_put_key(text, "account");
		json_name(text, &stranger->name);
		json_number(text, "count", stranger->count);
		json_put_key(text, "address");
		if (stranger->has_addr)
			json_put_addr(text, &stranger->addr);
		else
			json_put_null(text);
		json_number(text, "addresses_at_least", stranger->addresses_at_least);
		json_time(text, "first", stranger->first);
		json_time(text, "last", stranger->last);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
	json_number(text, "not_in_config_more", audit_strangers_more(result->audit));
}

static void json_files(struct text *text, const struct audit_input *input)
{
	json_put_key(text, "files");
	json_put_open(text, "[");
	for (size_t i = 0; i < input->count; i++) {
		const struct audit_file *file = &input->files[i];

		json_put_open(text, "{");
		json_put_key(text, "path");
		json_put_string(text, file->path);
		json_put_key(text, "error");
		json_put_string(text, file->error.code ? file->error.what : NULL);
		json_number(text, "lines", file->lines);
		json_number(text, "bytes", file->bytes);
		json_number(text, "understood", file->understood);
		json_number(text, "undated", file->undated);
		json_number(text, "too_long", file->too_long);
		json_number(text, "doubled", file->doubled);
		json_time(text, "first", file->first);
		json_time(text, "last", file->last);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
}

bool audit_print_json(const struct audit_result *result)
{
	struct text text = {0};
	bool done;

	json_put_open(&text, "{");
	json_number(&text, "version", 1);
	json_put_key(&text, "command");
	json_put_string(&text, "audit");
	json_put_key(&text, "result");
	json_put_string(&text, result->exit_code == EXIT_DONE	  ? "ok"
			       : result->exit_code == EXIT_UNSURE ? "findings"
								  : "incomplete");
	json_number(&text, "exit", (uint64_t)result->exit_code);
	json_put_key(&text, "judged_by");
	json_put_string(&text, basis_names[result->basis]);
	json_put_key(&text, "history_begins");
	json_put_time(&text, result->history_begins == INT64_MAX ? 0 : result->history_begins);
	json_put_key(&text, "since");
	json_put_time(&text, result->since == INT64_MIN ? 0 : result->since);
	json_number(&text, "grace", (uint64_t)result->grace);
	json_put_key(&text, "extensions");
	json_put_open(&text, "[");
	for (size_t i = 0; i < audit_account_count(result->audit); i++) {
		struct audit_account account = audit_account(result->audit, i);

		json_account(&text, result, &account);
	}
	json_put_close(&text, "]");
	json_strangers(&text, result);
	json_number(&text, "in_order", audit_in_order(result->audit));
	json_number(&text, "in_grace", audit_in_grace(result->audit));
	json_files(&text, result->input);
	json_put_close(&text, "}");
	done = !text.failed && puts(text_string(&text)) >= 0;
	text_free(&text);
	return done;
}
