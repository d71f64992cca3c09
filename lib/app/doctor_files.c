/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"

#include <string.h>
#include <unistd.h>

/* --- Scripts for nft --- */

/* The next word or sign of a script, without comments; false at its end. */
static bool next_token(const char **text, const char *end, const char **ret_start, size_t *ret_size)
{
	static const char signs[] = "{};\n";
	const char *at = *text;

	while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '#')) {
		if (*at == '#')
			while (at < end && *at != '\n')
				at++;
		else
			at++;
	}
	*ret_start = at;
	if (at == end) {
		*text = at;
		return false;
	}
	if (strchr(signs, *at)) {
		at++;
	} else if (*at == '"') {
		for (at++; at < end && *at != '"' && *at != '\n'; at++)
			;
		at += at < end && *at == '"';
	} else {
		while (at < end && !strchr(" \t\r{};\n\"", *at))
			at++;
	}
	*ret_size = (size_t)(at - *ret_start);
	*text = at;
	return true;
}

static bool is(const char *token, size_t size, const char *word)
{
	return strlen(word) == size && memcmp(token, word, size) == 0;
}

static bool is_table_head(
	const char **text, const char *end, const char *token, size_t size, const char *table)
{
	const char *at = *text;

	if (!is(token, size, "table") || !next_token(&at, end, &token, &size) ||
		!is(token, size, "inet") || !next_token(&at, end, &token, &size) ||
		!is(token, size, table) || !next_token(&at, end, &token, &size) ||
		!is(token, size, "{"))
		return false;
	*text = at;
	return true;
}

/* In the table's own block, in front of chains and sets. */
enum flags {
	FLAGS_NONE,
	FLAGS_EMPTY, /* nft 1.0.6 prints those of an orphaned owned table so, and cannot read it */
	FLAGS_OWNER, /* a table that is gone when the process ends that has made it: nft */
	FLAGS_OTHER,
};

static enum flags read_flags(const char *text, const char *end)
{
	enum flags found = FLAGS_EMPTY;
	const char *token;
	size_t size;

	while (next_token(&text, end, &token, &size)) {
		if (is(token, size, "\n") || is(token, size, ";") || is(token, size, "}"))
			return found;
		found = is(token, size, "owner") ? FLAGS_OWNER : FLAGS_OTHER;
	}
	return found;
}

static enum flags find_flags(const char *text, const char *end)
{
	unsigned depth = 1;
	const char *token;
	size_t size;

	while (depth > 0 && next_token(&text, end, &token, &size)) {
		if (is(token, size, "{"))
			depth++;
		else if (is(token, size, "}"))
			depth--;
		else if (depth == 1 && is(token, size, "flags"))
			return read_flags(text, end);
		else if (depth == 1 && (is(token, size, "chain") || is(token, size, "set")))
			break;
	}
	return FLAGS_NONE;
}

static const char *explain_copy(enum flags flags, bool owned)
{
	if (flags == FLAGS_EMPTY)
		return "nft cannot load that, and loads nothing else of the file either: after a "
		       "reboot the whole firewall is missing.";
	if (owned)
		return "As long as the daemon runs, nft refuses the whole file: a reload of the "
		       "firewall changes nothing.";
	if (flags == FLAGS_OWNER)
		return "It is good for nothing: the table that nft makes of it is gone when nft ends.";
	return "After a reboot it lets in the addresses of that day, until sipfence has started.";
}

void doctor_nft_script(const char *path, const char *text, size_t length, const char *table,
	bool owned, struct findings *findings)
{
	const char *end = text + length, *token, *at = text;
	struct text what = {0}, change = {0}, place = {0};
	size_t size;

	while (next_token(&at, end, &token, &size)) {
		enum flags flags;
		size_t line = 1;

		if (!is_table_head(&at, end, token, size, table))
			continue;
		for (const char *c = text; c < token; c++)
			line += *c == '\n';
		flags = find_flags(at, end);
		text_printf(&what, "%s holds a saved copy of table inet %s%s", path, table,
			flags == FLAGS_EMPTY ? ", with an empty list of flags" : "");
		text_printf(&change, "take out the block: table inet %s { ... }", table);
		text_printf(&place, "%s:%zu", path, line);
		findings_add(findings,
			flags == FLAGS_EMPTY || owned ? FINDING_PROBLEM : FINDING_NOTE,
			"saved-table", &what, explain_copy(flags, owned), &change, &place);
	}
	text_free(&what);
	text_free(&change);
	text_free(&place);
}

void doctor_nft_includes(const char *text, size_t length,
	void (*take)(void *context, const char *pattern), void *context)
{
	const char *end = text + length, *token;
	size_t size;

	while (next_token(&text, end, &token, &size)) {
		char pattern[PATH_MAX];

		if (!is(token, size, "include") || !next_token(&text, end, &token, &size))
			continue;
		if (size < 3 || *token != '"' || token[size - 1] != '"' || size >= sizeof(pattern))
			continue;
		memcpy(pattern, token + 1, size - 2);
		pattern[size - 2] = '\0';
		take(context, pattern);
	}
}

/* --- Modes --- */

static bool is_in_group(const struct doctor_user *user, gid_t group)
{
	for (size_t i = 0; i < user->group_count; i++) {
		if (user->groups[i] == group)
			return true;
	}
	return user->gid == group;
}

bool doctor_may(const struct stat *status, const struct doctor_user *user, int what)
{
	mode_t bit = what == R_OK ? S_IROTH : S_IXOTH;

	if (user->uid == 0)
		return true;
	if (status->st_uid == user->uid)
		return status->st_mode & bit << 6;
	return status->st_mode & (is_in_group(user, status->st_gid) ? bit << 3 : bit);
}

void doctor_config_file(const char *path, const struct stat *status, const char *blocked,
	const struct doctor_user *user, struct findings *findings)
{
	static const char why[] =
		"The daemon reads its config again at a reload and after a restart, as that user: it "
		"goes on with the old one, and says so.";
	struct text what = {0}, change = {0};

	if (user->uid != 0 && status->st_uid == user->uid) {
		text_printf(&what, "%s belongs to the daemon's user %s", path, user->name);
		text_printf(&change, "chown root:%s %s && chmod 640 %s", user->group, path, path);
		findings_add(findings, FINDING_PROBLEM, "config-mode", &what,
			"Whoever breaks into the daemon could change who is let in, and what root "
			"runs by it.",
			&change, NULL);
	}
	if (blocked) {
		text_printf(&what, "the daemon's user %s cannot enter %s, the way to %s",
			user->name, blocked, path);
		text_printf(&change, "chmod o+x %s, or chgrp %s %s && chmod g+x %s", blocked,
			user->group, blocked, blocked);
		findings_add(findings, FINDING_PROBLEM, "config-mode", &what, why, &change, NULL);
	} else if (!doctor_may(status, user, R_OK)) {
		text_printf(&what, "the daemon's user %s cannot read %s", user->name, path);
		text_printf(&change, "chgrp %s %s && chmod 640 %s", user->group, path, path);
		findings_add(findings, FINDING_PROBLEM, "config-mode", &what, why, &change, NULL);
	}
	text_free(&what);
	text_free(&change);
}

void doctor_folder(const char *path, const struct stat *status, bool secret,
	const struct doctor_user *user, struct findings *findings)
{
	mode_t wrong = status->st_mode & (secret ? 077 : S_IWGRP | S_IWOTH);
	struct text what = {0}, change = {0};

	if (wrong) {
		text_printf(&what, "others may %s the folder %s (mode %04o)",
			wrong & (S_IWGRP | S_IWOTH) ? "write" : "look into", path,
			(unsigned)status->st_mode & 07777);
		text_printf(&change, "chmod %s %s", secret ? "0700" : "0750", path);
		findings_add(findings, FINDING_PROBLEM, "state-mode", &what,
			wrong & (S_IWGRP | S_IWOTH)
				? "Whoever writes there can say who was let in before a restart, and "
				  "is let in."
				: "Who is at home, and when, can be read there.",
			&change, NULL);
	}
	if (status->st_uid != user->uid && status->st_uid != 0) {
		text_printf(&what, "the folder %s belongs to user number %lu, not to %s", path,
			(unsigned long)status->st_uid, user->name);
		text_printf(&change, "chown -R %s:%s %s", user->name, user->group, path);
		findings_add(findings, FINDING_PROBLEM, "state-mode", &what,
			"The daemon cannot keep its state there, or that user can change it.",
			&change, NULL);
	}
	text_free(&what);
	text_free(&change);
}
