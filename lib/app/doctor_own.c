/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"

#include <inttypes.h>
#include <string.h>

enum { STALE_S = 3600, MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400 };

/* --- Who keeps it up to date --- */

/* A line of a crontab that is no comment, and runs `sipfence ... sync`. */
static bool is_sync_line(const char *line, size_t length)
{
	static const char program[] = "sipfence", command[] = "sync";
	const char *found;

	while (length > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		length--;
	}
	if (length == 0 || *line == '#')
		return false;
	found = memmem(line, length, program, sizeof(program) - 1);
	return found &&
	       memmem(found, length - (size_t)(found - line), command, sizeof(command) - 1);
}

bool doctor_runs_sync(const char *text, size_t length)
{
	const char *end = text + length;

	while (text < end) {
		const char *feed = memchr(text, '\n', (size_t)(end - text));
		const char *stop = feed ? feed : end;

		if (is_sync_line(text, (size_t)(stop - text)))
			return true;
		text = feed ? feed + 1 : end;
	}
	return false;
}

static void put_age(int64_t seconds, struct text *text)
{
	if (seconds >= 2 * DAY_S)
		text_printf(text, "%" PRId64 " days", seconds / DAY_S);
	else if (seconds >= 2 * HOUR_S)
		text_printf(text, "%" PRId64 " hours", seconds / HOUR_S);
	else
		text_printf(text, "%" PRId64 " minutes", seconds / MINUTE_S);
}

void doctor_keeper(const struct doctor_keeper *keeper, struct findings *findings)
{
	static const char why[] = "A phone whose address changes is kept out until the next sync, "
				  "and who gets its former address is let in.";
	static const char change[] =
		"systemctl enable --now sipfence; or, without a daemon, "
		"in /etc/cron.d/sipfence: * * * * * root /usr/sbin/sipfence sync";
	int64_t age = keeper->now - keeper->saved;
	struct text what = {0};

	if (keeper->daemon == DOCTOR_DAEMON_RUNS && keeper->config_changed)
		findings_add_plain(findings, FINDING_PROBLEM, "not-reloaded",
			"the config was changed, and the daemon has not read it again",
			"What was changed is not in force.", "sipfence reload", "");
	if (keeper->daemon == DOCTOR_DAEMON_UNKNOWN)
		findings_skip(findings, "not-running",
			"whether a daemon or cron keeps the list up to date: this user may not see it",
			"run it as root");
	if (keeper->daemon != DOCTOR_NO_DAEMON)
		return;
	if (!keeper->has_run) {
		findings_add_plain(findings, FINDING_NOTE, "not-running",
			"sipfence is not in use yet: no daemon is running, and there was no sync",
			"Nobody is kept out.", change, "");
	} else if (age > STALE_S) {
		text_puts(&what, "no daemon is running, and the last sync was ");
		put_age(age, &what);
		text_puts(&what, " ago");
		findings_add_plain(findings, FINDING_PROBLEM, "not-running", text_string(&what),
			why, change, "");
	} else if (!keeper->scheduled) {
		findings_add_plain(findings, FINDING_NOTE, "not-running",
			"no daemon is running, and neither cron nor the timer runs `sipfence sync`",
			why, change, "");
	}
	findings->failed |= what.failed;
	text_free(&what);
}

/* --- The table --- */

static void put_table(const char *table, struct text *text)
{
	text_printf(text, "the table inet %s", table);
}

static void report_missing(
	const struct config *config, const struct doctor_keeper *keeper, struct findings *findings)
{
	struct text what = {0};

	put_table(config->table, &what);
	text_puts(&what, keeper->daemon == DOCTOR_DAEMON_RUNS
				 ? " is missing, although the daemon is running"
				 : " is missing");
	findings_add_plain(findings, FINDING_PROBLEM, "own-table", text_string(&what),
		"Everybody may reach the SIP ports, as far as other tables let them.",
		keeper->daemon == DOCTOR_DAEMON_RUNS
			? "systemctl restart sipfence, and see its log: journalctl -u sipfence"
			: "sipfence sync",
		"");
	findings->failed |= what.failed;
	text_free(&what);
}

static void report_outdated(const struct config *config, enum plan_cause cause,
	const struct doctor_keeper *keeper, struct findings *findings)
{
	struct text what = {0};

	put_table(config->table, &what);
	text_puts(&what, " is not what the config asks for");
	findings_add_plain(findings, FINDING_PROBLEM, "own-table", text_string(&what),
		cause == PLAN_NO_ROOM
			? "The list of hosts has outgrown the table's sets."
			: "The ports, the mode or `replies` in force are those of an earlier config.",
		keeper->daemon == DOCTOR_DAEMON_RUNS
			? "sipfence reload"
			: "sipfence sync --diff, then: sipfence sync (with --yes where it asks for "
			  "that)",
		"");
	findings->failed |= what.failed;
	text_free(&what);
}

void doctor_own_table(const struct config *config, const struct observed *observed,
	const struct plan *plan, const struct doctor_keeper *keeper, struct findings *findings)
{
	/* Sets in a table of the administrator's have a check of their own. */
	if (config->sets_only)
		return;
	if (!observed->present) {
		/* Of who has never run it no more is to be said. */
		if (keeper->has_run || keeper->daemon == DOCTOR_DAEMON_RUNS)
			report_missing(config, keeper, findings);
	} else if (plan->kind == PLAN_SWAP && !keeper->config_changed) {
		report_outdated(config, plan->cause, keeper, findings);
	}
}

void doctor_drift(const struct config *config, const struct drift *drift, struct findings *findings)
{
	struct text what = {0};

	if (!drift_any(drift))
		return;
	text_printf(&what, "%sthe table %s %s %s not as the last run left %s: ",
		config->sets_only ? "the sets in " : "",
		ruleset_family_name((enum table_family)config->table_family), config->table,
		config->sets_only ? "are" : "is", config->sets_only ? "them" : "it");
	drift_print(drift, &what);
	findings_add_plain(findings, FINDING_PROBLEM, "elements", text_string(&what),
		"Another program has changed who is let in: who was added passes, and who is "
		"missing is kept out.",
		"sipfence sync; if it comes back, see which program does that (nft monitor), or "
		"run the daemon, which undoes it at once and names the program",
		"");
	findings->failed |= what.failed;
	text_free(&what);
}

bool doctor_is_sipfences(const struct nft_survey *survey, const struct nft_base_chain *chain)
{
	return strcmp(chain->family, "inet") == 0 && strcmp(chain->name, "prerouting") == 0 &&
	       nft_survey_has_service(survey, chain->table);
}

void doctor_former_table(
	const char *table, const struct observed *observed, struct findings *findings)
{
	struct text what = {0}, change = {0};

	put_table(table, &what);
	if (observed->owned) {
		text_puts(&what, " is that of another sipfence daemon, which is running");
		text_puts(&change, "end the other one (ps -C sipfence), unless it is meant to be");
		findings_add(findings, FINDING_NOTE, "former-table", &what,
			"Who is not in both lists is kept out.", &change, NULL);
	} else {
		text_printf(&what,
			" was made by sipfence, under another name than the config has%s",
			observed->monitor ? "; it drops nobody" : "");
		text_printf(&change, "nft delete table inet %s", table);
		findings_add(findings, observed->monitor ? FINDING_NOTE : FINDING_PROBLEM,
			"former-table", &what,
			observed->monitor
				? "It only costs each packet to the SIP ports a look-up."
				: "Nobody keeps it up to date: it drops everybody who was "
				  "not on its list when it was left.",
			&change, NULL);
	}
	text_free(&what);
	text_free(&change);
}
