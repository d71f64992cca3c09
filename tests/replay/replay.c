/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * README: the replay tests
 *
 * Text scenarios (*.scn) against the daemon's real engine, with its real codecs, plans and batches,
 * in a world of its own: a clock that jumps, DNS by script, a disk in memory, and a model of
 * nf_tables that reads the batches' bytes and is as strict as the kernel. A day takes milliseconds.
 *
 *   test_replay                     all scenarios
 *   test_replay FILE.scn …          these
 *
 * year.c is the other test of this world: a year by the dice.
 *
 * A scenario has one purpose, which is its file's name (origin_…: it needs libmaxminddb, and is
 * skipped without it); a comment at its top says why it matters.
 * It goes from top to bottom, one command a line. `#` begins a comment. Words with blanks stand in
 * double quotes. The first expectation that does not hold ends it, with file and line, what was
 * wanted, what is, and the end of the log. Durations are 500ms, 90s, 2h30m, 7d; clocks also know
 * years (10y). A RANGE is N, N..M or N.. . A line that begins with @A..B stands for as many lines,
 * with each number from A to B in the place of its %.
 *
 * The daemon
 *   config                          the indented lines that follow are sipfence.yaml
 *   start                           with that config; refused unless `expect error` follows
 *   reload                          with the indented lines that follow
 *   stop                            SIGTERM: saves, leaves the table
 *   kill                            SIGKILL: does neither
 *   reboot [down DURATION]          stops it, and starts the machine anew, without tables
 *   power-cut [down DURATION]       the same without stopping it; appended bytes are lost
 *   refresh [NAME…]                 the command `refresh`
 *   remove                          the command `remove`
 *   save                            engine_save()
 *   servers-changed                 resolv.conf has changed
 *
 * Time
 *   advance DURATION                time goes on, and the daemon does what is due
 *   clock DURATION | epoch          the wall clock alone steps; by -10y, say, or to 1970
 *
 * DNS: says what the last line says. A name of no line does not exist. An answer takes 20 ms.
 *   dns NAME A|AAAA ADDRESS… [ttl SECONDS] [delay DURATION]
 *   dns NAME SRV TARGET… [ttl …] [delay …]
 *   dns NAME [A|AAAA|SRV] no-data|nxdomain|timeout|servfail|bogus|refused|garbage|no-server
 *                                   without a type: A and AAAA, or SRV of a name that begins with _
 *   … validated                     the resolver vouches for this answer, if it is asked to
 *   dns untrusted · trusted         the servers of resolv.conf are (no) trusted ones
 *   dns dead [timeout|servfail|no-server …]   no question is answered …
 *   dns alive                       … until here
 *   dns unusable ERRNO [N]          no resolver can be made, the next N times, or until `dns alive`
 *
 * Origins, for `within: {country: …, asn: …}`
 *   origin PREFIX COUNTRY|- [ASN]   that is where it belongs; any other address belongs nowhere
 *   geoip country|asn found|ageing|stale|missing   how the database is from now on
 *
 * The kernel
 *   kernel old                      it has no persistent owned tables
 *   kernel refuses ERRNO [N]        the next N batches; without a number: all, until
 *   kernel well                     here
 *   kernel unreadable ERRNO [N]     the table can't be read
 *   kernel closed ERRNO [N]         no socket can be opened
 *   kernel loses-acks N [of-done]   answers to N batches are lost, which took no effect, or did
 *   kernel loses-events             others' changes are not told, only that some were lost
 *   kernel slow-counters DURATION   that long it takes to read them
 *   packets ADDRESS [udp|tcp PORT] [N]   N packets arrive, for counters; to udp 5060
 *   talker ADDRESS [udp|tcp PORT] [opened-here]   connection tracking knows a flow
 *   own-addresses ADDRESS…          of this machine
 *
 * What other programs do; what the kernel forbids them has no effect
 *   damage [by PROGRAM PID] WHAT    delete table [T] · flush ruleset · delete rule CHAIN [INDEX] ·
 *                                   flush set S · delete element S A · add element S A ·
 *                                   other table (a change of a table that is not ours)
 *   damage unnoticed …              the same without an event
 *   damage before-commit …          the same, right before our next batch
 *   seize-table                     another running process makes our table its own
 *
 * The disk
 *   disk full|read-only|unreadable|works
 *   disk slow DURATION              each write takes that long
 *   state-file [journal] lost|damaged|cut|empty   the journal is what was noted since the last save
 *   state-file [journal] kept|back  is copied · is again what was copied
 *   state-file history …            the same with the history
 *
 * Expectations
 *   expect set SET ADDRESS… | empty       exactly these
 *   expect comment SET ADDRESS TEXT       expect counter SET ADDRESS RANGE
 *   expect pass|drop ADDRESS [udp|tcp PORT] [reply]   what the rules do with a packet
 *   expect table [T] · no-table [T] · owned · not-owned
 *   expect batch RANGE                    transactions since the last `expect batch`
 *   expect refused RANGE · reads RANGE    refused ones; how often the whole table was read
 *   expect no-batch                       no message to the kernel at all, none that asks either,
 *                                         since the last `expect batch` or `expect no-batch`
 *   expect asked NAME [A|AAAA|SRV] RANGE  questions since the last such line
 *   expect busiest-second RANGE           the most questions in one second since the last such line
 *   expect log KEY=VALUE…                 a line of the log that has these words and was not found
 *                                         by such a line before; KEY=* is any value
 *   expect no-log KEY=VALUE…              no such line that was not found yet
 *   forget-log                            all lines so far were never said
 *   show-log                              for who writes scenarios
 *   expect error [WORD…]                  the command before was refused, with these words
 *   expect due RANGE | never              when the daemon wants to be called
 *   expect next NAME A|AAAA RANGE         when that question is asked
 *   expect last-packet ADDRESS PACKETS RANGE   by the daemon's last look at the counters; seconds
 *                                         since the look that found the last of them; -1: never
 *   expect wakeups RANGE                  calls of the daemon since the last such line
 *   expect saves RANGE                    of the state file, since the last such line
 *   expect state-file [SUFFIX]            it is there
 *   expect history RANGE WORD…            lines of the history that are a time and these words
 *   expect had|had-not|unknown EXTENSION ADDRESS AGO   what the history says of that time ago
 *   expect refreshed · not-refreshed      do all names of the last `refresh` have an outcome?
 *   expect status outage=yes|no owned=… table-right=…
 */
#include "scenario.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int is_scenario(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && strcmp(dot, ".scn") == 0;
}

/* "hold_keeps_addresses_for_24h", from the path. */
static void print_name(const char *result, const char *path)
{
	const char *name = strrchr(path, '/');

	name = name ? name + 1 : path;
	printf("[%s] test_%.*s\n", result, (int)strcspn(name, "."), name);
	fflush(stdout);
}

/* In a process of its own: a crash is one failure, and what is lost is found. */
static bool run_apart(const char *path)
{
	int status = 0;
	pid_t child;

	print_name(" RUN      ", path);
	child = fork();
	if (child == 0) {
		bool passed = scenario_run(path);

		fflush(stdout);
		exit(passed ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0) {
		perror("cannot run a scenario");
		return false;
	}
	if (WIFSIGNALED(status))
		printf("it was ended by signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

/* Without libmaxminddb the parser refuses the config of these. */
static bool is_skipped(const char *path)
{
	const char *name = strrchr(path, '/');

	return !SIPFENCE_GEOIP &&
	       strncmp(name ? name + 1 : path, "origin_", strlen("origin_")) == 0;
}

static int run_all(char **paths, size_t count)
{
	bool *failed = calloc(count, sizeof(*failed));
	size_t failures = 0, skipped = 0;

	if (!failed)
		return EXIT_FAILURE;
	for (size_t i = 0; i < count; i++) {
		if (is_skipped(paths[i])) {
			skipped++;
			continue;
		}
		failed[i] = !run_apart(paths[i]);
		failures += failed[i];
		print_name(failed[i] ? "  FAILED  " : "       OK ", paths[i]);
	}
	printf("[  PASSED  ] %zu scenario(s).\n", count - failures - skipped);
	for (size_t i = 0; i < count; i++) {
		if (is_skipped(paths[i]))
			print_name("  SKIPPED ", paths[i]);
	}
	/* Named twice, as cmocka does, and as tests/run counts. */
	for (size_t i = 0; i < count; i++) {
		if (failed[i])
			print_name("  FAILED  ", paths[i]);
	}
	free(failed);
	return failures || !count ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	int count, result;
	char **paths;

	if (argc > 1)
		return run_all(argv + 1, (size_t)argc - 1);
	count = scandir(SCENARIO_DIR, &entries, is_scenario, alphasort);
	if (count <= 0) {
		printf("there are no scenarios in %s\n", SCENARIO_DIR);
		return EXIT_FAILURE;
	}
	paths = calloc((size_t)count, sizeof(*paths));
	for (int i = 0; paths && i < count; i++) {
		if (asprintf(&paths[i], "%s/%s", SCENARIO_DIR, entries[i]->d_name) < 0)
			abort();
		free(entries[i]);
	}
	free(entries);
	if (!paths)
		return EXIT_FAILURE;
	result = run_all(paths, (size_t)count);
	for (int i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
	return result;
}
