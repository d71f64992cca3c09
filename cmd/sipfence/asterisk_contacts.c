/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_work.h"
#include "clock.h"
#include "json_put.h"
#include "words.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GONE_MS = 2000, GONE_PAUSE_MS = 100 };

struct registration {
	struct asterisk_contact *contact;
	enum asterisk_fit fit;
	uint32_t extension; /* unless it is unlisted */
	bool evicted;	    /* it is gone */
};

struct registrations {
	struct asterisk_contacts contacts;
	struct registration *list; /* of those contacts whose driver is loaded */
	size_t count;
	size_t idle; /* contacts of a driver that is not loaded: nobody can call them */
};

struct hangup {
	char **channels;
	size_t count, failed;
};

static void registrations_clear(struct registrations *all)
{
	free(all->list);
	asterisk_contacts_clear(&all->contacts);
	*all = (struct registrations){0};
}

/* --- Which there are --- */

static int compare_ids(const char *a, const char *b)
{
	size_t length = strlen(a), other = strlen(b);

	/* 9 before 10 */
	if (length != other && strspn(a, "0123456789") == length &&
		strspn(b, "0123456789") == other)
		return length < other ? -1 : 1;
	return strcmp(a, b);
}

static int by_fit(const void *a, const void *b)
{
	static const int ranks[] = {
		[ASTERISK_WRONG] = 0,
		[ASTERISK_UNKNOWABLE] = 1,
		[ASTERISK_FITS] = 2,
		[ASTERISK_UNLISTED] = 3,
	};
	const struct registration *left = a, *right = b;
	int order = ranks[left->fit] - ranks[right->fit];

	if (order == 0)
		order = compare_ids(left->contact->extension, right->contact->extension);
	return order ? order : strcmp(left->contact->key, right->contact->key);
}

/* Its entries outlive a driver in the database: after a change to pjsip those of chan_sip stay. */
static int is_loaded(struct asterisk_work *work, const char *module, struct error *error)
{
	char command[64], name[64];
	int result;

	snprintf(command, sizeof(command), "module show like %s", module);
	snprintf(name, sizeof(name), "%s ", module);
	result = asterisk_command(work, command, error);
	if (result < 0)
		return result;
	return strstr(text_string(&work->answer), name) != NULL;
}

static bool has_driver(const struct asterisk_contacts *contacts, bool pjsip)
{
	for (size_t i = 0; i < contacts->count; i++) {
		if (contacts->list[i].pjsip == pjsip)
			return true;
	}
	return false;
}

static int judge(struct asterisk_work *work, struct registrations *all, struct error *error)
{
	static const char *const modules[] = {"chan_sip.so", "res_pjsip.so"};
	int loaded[2] = {0, 0};

	for (int pjsip = 0; pjsip < 2; pjsip++) {
		if (has_driver(&all->contacts, pjsip))
			loaded[pjsip] = is_loaded(work, modules[pjsip], error);
		if (loaded[pjsip] < 0)
			return loaded[pjsip];
	}
	all->list = calloc(all->contacts.count + 1, sizeof(*all->list));
	if (!all->list)
		return error_no_memory(error);
	for (size_t i = 0; i < all->contacts.count; i++) {
		struct asterisk_contact *contact = &all->contacts.list[i];
		struct registration *registration = &all->list[all->count];

		if (!loaded[contact->pjsip]) {
			all->idle++;
			continue;
		}
		registration->contact = contact;
		registration->fit =
			asterisk_acls_judge(&work->acls, contact, &registration->extension);
		all->count++;
	}
	if (all->count > 0)
		qsort(all->list, all->count, sizeof(*all->list), by_fit);
	return 0;
}

static int list_registrations(
	struct asterisk_work *work, struct registrations *ret_all, struct error *error)
{
	struct registrations all = {0};
	int result = asterisk_command(work, ASTERISK_CLI_CONTACTS, error);

	if (result < 0)
		return result;
	result = asterisk_contacts_parse(
		text_string(&work->answer), work->answer.length, &all.contacts);
	if (result < 0)
		error_no_memory(error);
	else
		result = judge(work, &all, error);
	if (result < 0) {
		registrations_clear(&all);
		return result;
	}
	*ret_all = all;
	return 0;
}

static size_t count_fit(const struct registrations *all, enum asterisk_fit fit)
{
	size_t count = 0;

	for (size_t i = 0; i < all->count; i++)
		count += all->list[i].fit == fit;
	return count;
}

/* --- What is said of them --- */

static const char *driver_of(const struct asterisk_contact *contact)
{
	return contact->pjsip ? "pjsip" : "chan_sip";
}

static void put_target(const struct asterisk_contact *contact, struct text *text)
{
	char address[ADDR_TEXT_SIZE];

	if (!contact->has_addr) {
		text_escaped(text, contact->uri, strlen(contact->uri));
		return;
	}
	addr_print(&contact->addr, address);
	text_printf(text, contact->addr.family == FAMILY_IPV6 ? "[%s]" : "%s", address);
	if (contact->port)
		text_printf(text, ":%u", contact->port);
}

enum why_unknowable { NAMELESS, HIDDEN, UNLEARNED };

static enum why_unknowable why_unknowable(const struct asterisk_contact *contact)
{
	if (!contact->has_addr)
		return NAMELESS;
	return addr_special(&contact->addr) == ADDR_PRIVATE ? HIDDEN : UNLEARNED;
}

static void print_registration(const struct registration *registration, const char *mark)
{
	const struct asterisk_contact *contact = registration->contact;
	struct text line = {0};

	text_printf(&line, "%-10s ", mark);
	text_escaped(&line, contact->extension, strlen(contact->extension));
	text_puts(&line, "  ");
	put_target(contact, &line);
	text_printf(&line, "  %s", driver_of(contact));
	/* Calls that go there come back to the PBX's own network, or nowhere. */
	if (registration->fit == ASTERISK_UNKNOWABLE && why_unknowable(contact) == HIDDEN)
		text_puts(&line, "  (a private address: perhaps the phone's own, behind a NAT)");
	if (registration->fit == ASTERISK_UNKNOWABLE && why_unknowable(contact) == UNLEARNED)
		text_puts(&line, "  (a name of its extension never had an address)");
	printf("%s\n", text_string(&line));
	text_free(&line);
}

/* The problems; with -v all of them. */
static void print_list(const struct invocation *invocation, const struct registrations *all)
{
	bool titled = false;

	for (size_t i = 0; i < all->count; i++) {
		const struct registration *registration = &all->list[i];

		if (registration->fit == ASTERISK_FITS && invocation->verbosity < 1)
			continue;
		if (registration->fit == ASTERISK_UNLISTED) {
			if (invocation->verbosity < 0)
				break;
			if (!titled)
				printf("%snot in the config:\n", i > 0 ? "\n" : "");
			titled = true;
		}
		print_registration(registration,
			registration->evicted ? "evicted" : asterisk_fit_word(registration->fit));
	}
	fflush(stdout);
}

static size_t count_unknowable(const struct registrations *all, enum why_unknowable why)
{
	size_t count = 0;

	for (size_t i = 0; i < all->count; i++)
		count += all->list[i].fit == ASTERISK_UNKNOWABLE &&
			 why_unknowable(all->list[i].contact) == why;
	return count;
}

static void say_counts(const struct invocation *invocation, const struct registrations *all)
{
	size_t nameless = count_unknowable(all, NAMELESS), hidden = count_unknowable(all, HIDDEN);
	size_t unlearned = count_unknowable(all, UNLEARNED);
	size_t evicted = 0;
	char gone[64] = "";

	for (size_t i = 0; i < all->count; i++)
		evicted += all->list[i].evicted;
	if (invocation->evict)
		snprintf(gone, sizeof(gone), ", %zu evicted", evicted);
	say_note(invocation,
		"%zu registration%s: %zu right, %zu wrong%s, %zu unknowable, %zu not in the config",
		all->count, words_plural((int64_t)all->count), count_fit(all, ASTERISK_FITS),
		count_fit(all, ASTERISK_WRONG) - evicted, gone, nameless + hidden + unlearned,
		count_fit(all, ASTERISK_UNLISTED));
	if (nameless > 0)
		say_warning(invocation,
			"%zu registration%s a name in the place of an address: where calls go to "
			"cannot be told",
			nameless, nameless == 1 ? " has" : "s have");
	if (hidden > 0)
		say_warning(invocation,
			"%zu registration%s a private address that is not of the local subnets: calls do "
			"not come out of this network; set nat=force_rport,comedia (chan_sip) or "
			"rewrite_contact=yes (pjsip) for a phone behind a NAT",
			hidden, hidden == 1 ? " has" : "s have");
	if (unlearned > 0)
		say_warning(invocation,
			"%zu registration%s left alone: DNS never had an address for a name of the "
			"extension, so nobody knows where it belongs (sipfence sync asks)",
			unlearned, unlearned == 1 ? " is" : "s are");
	if (all->contacts.unread > 0)
		say_warning(invocation, "%zu entr%s of Asterisk's database cannot be read",
			all->contacts.unread, all->contacts.unread == 1 ? "y" : "ies");
	if (all->idle > 0)
		say_note(invocation,
			"%zu registration%s of a driver that is not loaded %s left out", all->idle,
			words_plural((int64_t)all->idle), all->idle == 1 ? "is" : "are");
}

static void put_text(struct text *text, const char *key, const char *value)
{
	json_put_key(text, key);
	json_put_string(text, value);
}

static void put_number(struct text *text, const char *key, size_t number)
{
	json_put_key(text, key);
	json_put_number(text, (int64_t)number);
}

static void put_registration(const struct asterisk_work *work,
	const struct registration *registration, struct text *text)
{
	const struct asterisk_contact *contact = registration->contact;

	json_put_open(text, "{");
	put_text(text, "extension", contact->extension);
	put_text(text, "verdict", asterisk_fit_word(registration->fit));
	put_text(text, "driver", driver_of(contact));
	put_text(text, "aor", contact->aor);
	put_text(text, "uri", contact->uri);
	json_put_key(text, "address");
	if (contact->has_addr)
		json_put_addr(text, &contact->addr);
	else
		json_put_null(text);
	put_number(text, "port", contact->port);
	if (work->invocation->evict) {
		json_put_key(text, "evicted");
		json_put_bool(text, registration->evicted);
	}
	json_put_close(text, "}");
}

static int print_json(const struct asterisk_work *work, const struct registrations *all,
	const struct hangup *hangup, const char *result, int code)
{
	struct text text = {0};

	asterisk_put_head(work, result, code, &text);
	json_put_key(&text, "registrations");
	json_put_open(&text, "[");
	for (size_t i = 0; i < all->count; i++)
		put_registration(work, &all->list[i], &text);
	json_put_close(&text, "]");
	put_number(&text, "unread", all->contacts.unread);
	put_number(&text, "not_loaded", all->idle);
	if (hangup) {
		json_put_key(&text, "hung_up");
		json_put_open(&text, "[");
		for (size_t i = 0; i < hangup->count; i++)
			json_put_string(&text, hangup->channels[i]);
		json_put_close(&text, "]");
	}
	return asterisk_print_document(work, &text, code);
}

/* --- --evict --- */

/* The ACL of each extension that loses a registration: without it, whoever is thrown out comes back
 * at once. */
static int verify(struct asterisk_work *work, const struct registrations *all, struct error *error)
{
	size_t wrong = 0;
	uint32_t last = UINT32_MAX;
	int result;

	for (size_t i = 0; i < all->count && all->list[i].fit == ASTERISK_WRONG; i++) {
		if (all->list[i].extension == last)
			continue;
		last = all->list[i].extension;
		result = asterisk_compare(work, last, error);
		if (result < 0)
			return result;
		if (result > 0)
			asterisk_say_match(work, last, (enum asterisk_match)result);
		wrong += result > 0;
	}
	if (wrong > 0)
		return error_set(error, -EPERM,
			"put the ACLs in force first: sipfence asterisk --write",
			"nobody was evicted: %zu ACL%s not in force in Asterisk, and an evicted "
			"phone would be back at once",
			wrong, wrong == 1 ? " is" : "s are");
	return 0;
}

/* Of what Asterisk's files show: an ACL that no peer names keeps nobody out. */
static void say_unbound(const struct asterisk_work *work, const struct registrations *all)
{
	for (size_t i = 0; i < work->setup.count; i++) {
		const struct asterisk_binding *binding = &work->setup.bindings[i];
		const char *id = work->config->owners[binding->extension].id;

		if (binding->bound == ASTERISK_BOUND)
			continue;
		for (size_t j = 0; j < all->count && all->list[j].fit == ASTERISK_WRONG; j++) {
			if (all->list[j].extension != binding->extension ||
				all->list[j].contact->pjsip != (binding->file != ASTERISK_SIP_CONF))
				continue;
			say_warning(work->invocation,
				"%s:%zu: [%s] is not bound to its ACL, which keeps nobody out: "
				"the evicted phone may be back at once",
				binding->path, binding->line, id);
			break;
		}
	}
}

static int evict_one(
	struct asterisk_work *work, const struct asterisk_contact *contact, struct error *error)
{
	struct text command = {0};
	int result = 0;

	for (unsigned step = 0; result == 0 && asterisk_cli_evict(contact, step, &command);
		step++) {
		result = command.failed ? error_no_memory(error)
					: asterisk_command(work, text_string(&command), error);
		text_clear(&command);
	}
	text_free(&command);
	return result;
}

static bool same_contact(const struct asterisk_contact *a, const struct asterisk_contact *b)
{
	/* chan_sip has one for each peer, pjsip one for each URI. */
	return strcmp(a->key, b->key) == 0;
}

/* Marks what is not among the wrong ones any more; how many are left. */
static size_t mark_gone(struct registrations *all, const struct registrations *now)
{
	size_t left = 0;

	for (size_t i = 0; i < all->count && all->list[i].fit == ASTERISK_WRONG; i++) {
		bool there = false;

		for (size_t j = 0; j < now->count && now->list[j].fit == ASTERISK_WRONG && !there;
			j++)
			there = same_contact(all->list[i].contact, now->list[j].contact);
		all->list[i].evicted = !there;
		left += there;
	}
	return left;
}

static int prove_gone(struct asterisk_work *work, struct registrations *all, struct error *error)
{
	static const struct timespec pause = {.tv_nsec = GONE_PAUSE_MS * 1000000L};
	int64_t end = clock_boot_ms() + GONE_MS;
	size_t left;

	for (;;) {
		struct registrations now;
		int result = list_registrations(work, &now, error);

		if (result < 0)
			return result;
		left = mark_gone(all, &now);
		registrations_clear(&now);
		if (left == 0 || clock_boot_ms() >= end)
			break;
		nanosleep(&pause, NULL);
	}
	if (left > 0)
		return error_set(error, -EBUSY,
			"see whether they came back (a peer without its acl= line; sipfence "
			"asterisk names it), or whether Asterisk still has such peers",
			"%zu registration%s still there after the eviction", left,
			left == 1 ? " is" : "s are");
	return 0;
}

static void found_channel(void *context, const char *channel)
{
	struct hangup *hangup = context;
	char **grown = reallocarray(hangup->channels, hangup->count + 1, sizeof(*grown));

	if (!grown) {
		hangup->failed++;
		return;
	}
	hangup->channels = grown;
	grown[hangup->count] = strdup(channel);
	hangup->failed += !grown[hangup->count];
	hangup->count += grown[hangup->count] != NULL;
}

static void hangup_clear(struct hangup *hangup)
{
	for (size_t i = 0; i < hangup->count; i++)
		free(hangup->channels[i]);
	free(hangup->channels);
}

/* All calls of the extensions, since nothing tells which of them is whose. */
static int hang_up(struct asterisk_work *work, const struct registrations *all,
	struct hangup *hangup, struct error *error)
{
	uint32_t last = UINT32_MAX;
	int result = asterisk_command(work, ASTERISK_CLI_CHANNELS, error);

	if (result < 0)
		return result;
	for (size_t i = 0; i < all->count && all->list[i].fit == ASTERISK_WRONG; i++) {
		if (all->list[i].extension == last)
			continue;
		last = all->list[i].extension;
		asterisk_channels_parse(text_string(&work->answer), work->answer.length,
			all->list[i].contact->extension, found_channel, hangup);
	}
	if (hangup->failed > 0)
		return error_no_memory(error);
	for (size_t i = 0; i < hangup->count && result == 0; i++) {
		struct text command = {0};

		if (asterisk_cli_hangup(hangup->channels[i], &command))
			result = command.failed
					 ? error_no_memory(error)
					 : asterisk_command(work, text_string(&command), error);
		text_free(&command);
	}
	return result;
}

static int evict(struct asterisk_work *work, struct registrations *all, struct hangup *hangup,
	struct error *error)
{
	int result = verify(work, all, error);

	if (result < 0)
		return result;
	say_unbound(work, all);
	for (size_t i = 0; i < all->count && all->list[i].fit == ASTERISK_WRONG && result == 0; i++)
		result = evict_one(work, all->list[i].contact, error);
	if (result == 0)
		result = prove_gone(work, all, error);
	/* Also of those that are back. */
	if (work->invocation->hangup && (result == 0 || result == -EBUSY)) {
		struct error failed = {0};
		int hung_up = hang_up(work, all, hangup, &failed);

		if (result == 0 && hung_up < 0) {
			*error = failed;
			result = hung_up;
		}
	}
	return result;
}

/* --- The command --- */

static int report_evicted(const struct asterisk_work *work, const struct registrations *all,
	const struct hangup *hangup, const struct error *error)
{
	int code = error->code < 0 ? EXIT_REFUSED : EXIT_DONE;

	if (error->code < 0)
		say_problem(work->invocation, error);
	if (work->invocation->json)
		return print_json(
			work, all, hangup, code == EXIT_DONE ? "ok" : "not evicted", code);
	print_list(work->invocation, all);
	for (size_t i = 0; i < hangup->count; i++) {
		struct text channel = {0};

		text_escaped(&channel, hangup->channels[i], strlen(hangup->channels[i]));
		printf("%-10s %s\n", "hung up", text_string(&channel));
		text_free(&channel);
	}
	say_counts(work->invocation, all);
	return code;
}

int asterisk_contacts(struct asterisk_work *work)
{
	struct registrations all = {0};
	struct hangup hangup = {0};
	struct error error = {0};
	int code;

	if (list_registrations(work, &all, &error) < 0) {
		say_error(work->invocation, &error);
		return EXIT_REFUSED;
	}
	if (work->invocation->evict) {
		if (count_fit(&all, ASTERISK_WRONG) > 0)
			evict(work, &all, &hangup, &error);
		code = report_evicted(work, &all, &hangup, &error);
	} else {
		code = count_fit(&all, ASTERISK_WRONG) > 0 ? EXIT_UNSURE : EXIT_DONE;
		if (work->invocation->json) {
			code = print_json(
				work, &all, NULL, code == EXIT_DONE ? "ok" : "wrong", code);
		} else {
			print_list(work->invocation, &all);
			say_counts(work->invocation, &all);
		}
	}
	hangup_clear(&hangup);
	registrations_clear(&all);
	return code;
}
