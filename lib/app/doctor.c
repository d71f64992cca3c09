/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"
#include "clock.h"
#include "doctor_look.h"
#include "files.h"
#include "kernel.h"
#include "last_run.h"
#include "listeners.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

void doctor_skip(struct examination *all, const char *check, const struct error *error)
{
	bool denied = error->code == -EPERM || error->code == -EACCES;

	findings_skip(all->findings, check, error->what, denied ? DOCTOR_AS_ROOT : error->next);
}

/* --- Listeners --- */

static void look_at_listeners(struct examination *all)
{
	struct listener *listeners = NULL;
	struct error error = {0};
	bool hidden = false;
	size_t count = 0;

	if (listeners_list(&listeners, &count, &hidden, &error) < 0) {
		doctor_skip(all, "listener", &error);
		return;
	}
	doctor_listeners(all->config, listeners, count, all->has_inventory ? &all->inventory : NULL,
		all->findings);
	if (hidden)
		findings_skip(all->findings, "listener",
			"the programs of some sockets are hidden from this user: on unusual ports a "
			"SIP server cannot be told",
			DOCTOR_AS_ROOT);
	free(listeners);
}

/* --- DNS --- */

static bool has_names(const struct config *config)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		if (config->owners[i].name_count + config->owners[i].srv_count > 0)
			return true;
	}
	return false;
}

/* True: it is worth asking for the names. */
static bool look_at_resolvers(struct examination *all)
{
	struct doctor_server servers[DOCTOR_SERVERS_MAX] = {0};
	size_t odd, count = doctor_list_servers(all->config, servers, &odd);

	if (!has_names(all->config))
		return true;
	if (doctor_probe_servers(all->config, servers, count) < 0) {
		all->findings->failed = true;
		return false;
	}
	return doctor_servers(all->config, servers, count, odd, all->findings);
}

static int look_at_names(struct examination *all, struct error *error)
{
	struct cycle *cycle = &all->cycle;
	struct clock_reading reading = clock_read();
	struct text notes = {0};
	bool answers = look_at_resolvers(all);
	int result;

	if (snprintf(all->state_path, sizeof(all->state_path), "%s/state",
		    all->request->state_dir) >= (int)sizeof(all->state_path))
		return error_set(error, -ENAMETOOLONG, "", "--state-dir is too long");
	result = cycle_start(cycle, all->config, all->state_path, true, &reading, &notes, error);
	if (result == 0 && notes.length > 0) {
		notes.data[strcspn(notes.data, "\n")] = '\0';
		findings_skip(all->findings, "name", notes.data, DOCTOR_AS_ROOT);
	}
	text_free(&notes);
	if (result == 0 && answers)
		result = cycle_resolve(cycle, false, NULL, NULL, error);
	if (result < 0)
		return result;
	if (answers)
		doctor_names(all->config, cycle->roster, all->findings);
	else
		findings_skip(all->findings, "name",
			"the names were not asked for: no resolver "
			"answers",
			"mend that first");
	return cycle_build(cycle, error);
}

/* --- Time --- */

static void look_at_clock(struct examination *all)
{
	/* systemd-timesyncd keeps the kernel in the dark where the hardware clock runs in local
	 * time. */
	bool in_step = access("/run/systemd/timesync/synchronized", F_OK) == 0;
	struct timex state = {.modes = 0};

	if (!in_step && adjtimex(&state) < 0) {
		struct text why = {0};

		text_printf(&why,
			"whether a time server keeps the clock right: the kernel does not say here "
			"(adjtimex: %s)",
			strerror(errno));
		findings_skip(all->findings, "clock", text_string(&why),
			"timedatectl, or on the host where this is a container");
		text_free(&why);
		in_step = true;
	}
	doctor_clock(clock_wall(), in_step || !(state.status & STA_UNSYNC), all->findings);
}

/* --- The kernel --- */

static void look_at_legacy_tables(struct examination *all)
{
	static const char *const paths[] = {
		"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"};

	for (size_t i = 0; i < 2; i++) {
		struct config_source *sources = NULL;
		struct error error = {0};
		size_t count = 0;

		if (files_read_foreign(NULL, NULL, paths[i], &sources, &count, &error) < 0)
			continue;
		if (count > 0 && sources[0].length > 0)
			findings_skip(all->findings, "table-drops",
				i ? "there are rules of ip6tables-legacy, which are not looked at"
				  : "there are rules of iptables-legacy, which are not looked at",
				i ? "look yourself: ip6tables-legacy-save"
				  : "look yourself: iptables-legacy-save");
		config_sources_free(sources, count);
	}
}

static int compare_talkers(const void *a, const void *b)
{
	const struct talker *left = a, *right = b;

	if (left->service != right->service)
		return left->service < right->service ? -1 : 1;
	return addr_compare(&left->addr, &right->addr);
}

/* Sources that are not listed and to whom the PBX has opened a flow, each once. */
static size_t keep_unlisted(const struct ruleset *ruleset, struct talker *talkers, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (!talkers[i].opened_here ||
			ruleset_permits(ruleset, talkers[i].service, &talkers[i].addr) ||
			(kept > 0 && compare_talkers(&talkers[kept - 1], &talkers[i]) == 0))
			continue;
		talkers[kept++] = talkers[i];
	}
	return kept;
}

static void look_at_talkers(struct examination *all, struct kernel *kernel)
{
	struct cycle *cycle = &all->cycle;
	struct talker *talkers = NULL;
	struct error error = {0};
	size_t count = 0;
	bool blind = false;

	if (kernel_talkers(kernel, all->config, &cycle->around.own, &talkers, &count, &blind,
		    &error) < 0) {
		doctor_skip(all, "trunk", &error);
		return;
	}
	if (count > 0)
		qsort(talkers, count, sizeof(*talkers), compare_talkers);
	count = keep_unlisted(cycle->ruleset, talkers, count);
	doctor_talkers(all->config, talkers, count, all->findings);
	if (blind)
		findings_skip(all->findings, "trunk",
			"connection tracking knows of no flow: nobody can be seen talking", "");
	free(talkers);
}

/* Of nftables.sets-only: are the sets there, and what they have to be? */
static void look_at_sets(struct examination *all, struct kernel *kernel)
{
	const struct config *config = all->config;
	struct allowlist nobody = {0};
	struct ruleset *ruleset = NULL;
	struct observed *observed = NULL;
	struct error error = {0};
	uint32_t generation;
	char what[512];

	if (!config->sets_only)
		return;
	if (ruleset_build(config, &nobody, &ruleset) < 0)
		error_no_memory(&error);
	else
		kernel_observe(kernel, ruleset, &observed, &generation, NULL, &error);
	if (!observed) {
		doctor_skip(all, "sets", &error);
	} else if (observed->misfit) {
		snprintf(what, sizeof(what), "the sets in table %s %s cannot be kept: %s",
			ruleset_family_name((enum table_family)config->table_family), config->table,
			observed->misfit);
		findings_add_plain(all->findings, FINDING_PROBLEM, "sets", what,
			"Nobody keeps them up to date, and your rules go by what is in them.",
			"in your firewall: `set NAME { type ipv4_addr; }` for hosts4, ipv6_addr for "
			"hosts6, and with `flags interval;` for nets4 and nets6",
			"");
	}
	observed_free(observed);
	ruleset_free(ruleset);
}

/* What is in a table of another name than the config has; NULL after a skip. */
static struct observed *observe_table(
	struct examination *all, struct kernel *kernel, const char *table)
{
	struct config other = *all->config;
	struct allowlist nobody = {0};
	struct ruleset *ruleset = NULL;
	struct observed *observed = NULL;
	struct error error = {0};
	uint32_t generation;

	other.table = table;
	other.table_family = TABLE_INET;
	other.sets_only = false;
	if (ruleset_build(&other, &nobody, &ruleset) < 0)
		error_no_memory(&error);
	else
		kernel_observe(kernel, ruleset, &observed, &generation, NULL, &error);
	if (!observed)
		doctor_skip(all, "former-table", &error);
	ruleset_free(ruleset);
	return observed;
}

static void look_at_former_tables(
	struct examination *all, struct kernel *kernel, const struct nft_survey *survey)
{
	for (size_t i = 0; i < nft_survey_count(survey); i++) {
		struct observed *observed;
		struct nft_base_chain chain;

		nft_survey_chain(survey, i, &chain);
		if (!doctor_is_sipfences(survey, &chain) ||
			(!all->config->sets_only && strcmp(chain.table, all->config->table) == 0))
			continue;
		observed = observe_table(all, kernel, chain.table);
		if (observed)
			doctor_former_table(chain.table, observed, all->findings);
		observed_free(observed);
	}
}

/* Is our own table there, and what the config asks for? */
static void look_at_own_table(struct examination *all, struct kernel *kernel)
{
	struct cycle *cycle = &all->cycle;
	struct error error = {0};
	int result;

	if (all->config->sets_only)
		return;
	result = cycle_compare(cycle, kernel, &error);
	if (result == -EEXIST)
		findings_add_plain(all->findings, FINDING_PROBLEM, "own-table", error.what,
			"sipfence cannot make its own table under that name, so nobody is kept "
			"out.",
			error.next, "");
	else if (result < 0)
		doctor_skip(all, "own-table", &error);
	else
		doctor_own_table(
			all->config, cycle->observed, &cycle->plan, &all->keeper, all->findings);
}

/* A daemon watches them itself. */
static void look_at_elements(struct examination *all, struct kernel *kernel)
{
	const struct doctor_request *request = all->request;
	struct last_run run;

	if (all->keeper.daemon != DOCTOR_NO_DAEMON)
		return;
	if (last_run_look(all->config, request->state_dir, request->run_dir, kernel, &run) < 0)
		all->findings->failed = true;
	else if (run.known)
		doctor_drift(all->config, &run.drift, all->findings);
	last_run_clear(&run);
}

static void look_at_kernel(struct examination *all)
{
	struct nft_survey *survey = NULL;
	struct kernel *kernel = NULL;
	struct error error = {0};

	if (kernel_open(&kernel, &error) < 0 || kernel_survey(kernel, &survey, &error) < 0) {
		doctor_skip(all, "table-drops", &error);
	} else {
		doctor_tables(all->config, survey, all->findings);
		look_at_legacy_tables(all);
		look_at_own_table(all, kernel);
		look_at_former_tables(all, kernel, survey);
	}
	nft_survey_free(survey);
	if (kernel) {
		look_at_sets(all, kernel);
		look_at_elements(all, kernel);
	}
	if (!kernel)
		findings_skip(all->findings, "trunk",
			"the kernel's connection tracking could not be read", DOCTOR_AS_ROOT);
	else
		look_at_talkers(all, kernel);
	kernel_close(kernel);
}

/* --- All of it --- */

int doctor_examine(
	const struct doctor_request *request, struct findings *findings, struct error *error)
{
	struct examination *all = calloc(1, sizeof(*all));
	int result;

	if (!all)
		return error_no_memory(error);
	all->request = request;
	all->config = request->config;
	all->findings = findings;
	result = doctor_look_at_asterisk(all) < 0 ? error_no_memory(error) : 0;
	if (result == 0) {
		look_at_clock(all);
		look_at_listeners(all);
		doctor_find_keeper(request, &all->keeper);
		doctor_keeper(&all->keeper, findings);
		result = look_at_names(all, error);
	}
	if (result == 0) {
		doctor_look_at_acls(all);
		look_at_kernel(all);
		doctor_look_at_scripts(all);
		doctor_look_at_modes(all);
	}
	if (result == 0 && findings->failed)
		result = error_no_memory(error);
	cycle_clear(&all->cycle);
	asterisk_inventory_clear(&all->inventory);
	asterisk_inventory_clear_sources(all->sources);
	free(all);
	return result;
}
