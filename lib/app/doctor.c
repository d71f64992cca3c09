/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"
#include "clock.h"
#include "files.h"
#include "kernel.h"
#include "listeners.h"
#include "privilege.h"
#include "resolver.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERVERS_MAX = 8, SERVER_TIMEOUT_MS = 3000, SCRIPT_DEPTH = 8, SCRIPTS_MAX = 200 };

static const char as_root[] = "run it as root";

struct examination {
	const struct doctor_request *request;
	const struct config *config;
	struct findings *findings;
	struct asterisk_source sources[ASTERISK_FILE_COUNT];
	struct asterisk_inventory inventory;
	bool has_inventory;
	struct cycle cycle;
	char state_path[PATH_MAX];
	size_t scripts; /* read so far */
};

static void skip(struct examination *all, const char *check, const struct error *error)
{
	bool denied = error->code == -EPERM || error->code == -EACCES;

	findings_skip(all->findings, check, error->what, denied ? as_root : error->next);
}

/* --- Asterisk's files --- */

static void look_at_logger(struct examination *all, const char *folder)
{
	struct asterisk_conf *conf = NULL;
	struct error error = {0};
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/logger.conf", folder) >= (int)sizeof(path))
		return;
	if (asterisk_conf_parse(path, files_read_foreign, NULL, &conf, &error) < 0) {
		skip(all, "asterisk-log", &error);
		return;
	}
	doctor_asterisk_log(conf, path, all->findings);
	asterisk_conf_free(conf);
}

/* The folder of the ACL file, or the one above, where that has none of Asterisk's files. */
static int read_asterisk(struct examination *all, char folder[PATH_MAX])
{
	int missing = 0, result = asterisk_inventory_read(folder, all->sources);
	char above[PATH_MAX];

	for (int i = 0; i < ASTERISK_FILE_COUNT && result == 0; i++)
		missing += all->sources[i].error.code == -ENOENT;
	if (missing < ASTERISK_FILE_COUNT)
		return result;
	memcpy(above, folder, sizeof(above));
	dirname(above);
	result = asterisk_inventory_read(above, all->sources);
	for (int i = 0; i < ASTERISK_FILE_COUNT && result == 0; i++) {
		if (all->sources[i].error.code != -ENOENT) {
			memcpy(folder, above, sizeof(above));
			break;
		}
	}
	return result;
}

static int look_at_asterisk(struct examination *all)
{
	const struct asterisk_conf *confs[ASTERISK_FILE_COUNT] = {0};
	char folder[PATH_MAX];
	size_t found = 0;

	if (snprintf(folder, sizeof(folder), "%s", all->config->asterisk.acl_file) >=
		(int)sizeof(folder))
		return 0;
	dirname(folder);
	if (read_asterisk(all, folder) < 0)
		return -ENOMEM;
	for (int i = 0; i < ASTERISK_ACL_CONF; i++) {
		confs[i] = all->sources[i].conf;
		found += confs[i] != NULL;
		if (!confs[i] && all->sources[i].error.code != -ENOENT) {
			skip(all, "asterisk", &all->sources[i].error);
			found++;
		}
	}
	if (found == 0) {
		struct text why = {0};

		text_printf(&why, "there is neither sip.conf nor pjsip.conf in %s", folder);
		findings_skip(all->findings, "asterisk", text_string(&why),
			"name Asterisk's folder by asterisk: {acl-file: ...} in the config, if there is "
			"one");
		text_free(&why);
		return 0;
	}
	if (asterisk_inventory_make(confs, &all->inventory) < 0)
		return -ENOMEM;
	all->has_inventory = true;
	doctor_asterisk(all->config, &all->inventory, all->findings);
	look_at_logger(all, folder);
	if (all->inventory.not_followed > 0) {
		struct text why = {0};

		text_printf(&why,
			"%zu line(s) of Asterisk's files were not followed (#exec, or an #include "
			"of a file that cannot be read)",
			all->inventory.not_followed);
		findings_skip(all->findings, "asterisk", text_string(&why), "");
		text_free(&why);
	}
	return 0;
}

/* --- Listeners --- */

static void look_at_listeners(struct examination *all)
{
	struct listener *listeners = NULL;
	struct error error = {0};
	bool hidden = false;
	size_t count = 0;

	if (listeners_list(&listeners, &count, &hidden, &error) < 0) {
		skip(all, "listener", &error);
		return;
	}
	doctor_listeners(all->config, listeners, count, all->has_inventory ? &all->inventory : NULL,
		all->findings);
	if (hidden)
		findings_skip(all->findings, "listener",
			"the programs of some sockets are hidden from this user: on unusual ports a "
			"SIP server cannot be told",
			as_root);
	free(listeners);
}

/* --- DNS --- */

static void take_probe(void *context, uint64_t tag, const struct answer *answer)
{
	struct doctor_server *server = context;

	(void)tag;
	server->answered = answer->kind != ANSWER_COULD_NOT_ASK ||
			   (answer->reason != REASON_TIMEOUT && answer->reason != REASON_NO_SERVER);
	server->reason = answer->reason;
}

/* The shortest wait of all that still have a question under way; -2: none has. */
static int next_wait(struct resolver *const *resolvers, size_t count, struct pollfd *ready)
{
	int wait = -2;

	for (size_t i = 0; i < count; i++) {
		int own;

		ready[i] = (struct pollfd){.fd = -1};
		if (!resolvers[i] || resolver_unanswered(resolvers[i]) == 0)
			continue;
		ready[i] = (struct pollfd){.fd = resolver_fd(resolvers[i]), .events = POLLIN};
		own = resolver_wait_ms(resolvers[i]);
		if (wait == -2 || wait == -1 || (own >= 0 && own < wait))
			wait = own;
	}
	return wait;
}

/* One question to each server, all at once. */
static int probe_servers(
	const struct config *config, const char *name, struct doctor_server *servers, size_t count)
{
	uint32_t timeout = config->resolver.timeout_ms < SERVER_TIMEOUT_MS
				   ? config->resolver.timeout_ms
				   : (uint32_t)SERVER_TIMEOUT_MS;
	struct resolver *resolvers[SERVERS_MAX] = {0};
	struct pollfd ready[SERVERS_MAX];
	struct error ignored = {0};
	int result = 0;

	for (size_t i = 0; i < count && result == 0; i++) {
		struct resolver_options options = {
			.servers = &servers[i].server, .server_count = 1, .timeout_ms = timeout};

		result = resolver_new(&resolvers[i], &options, take_probe, &servers[i], &ignored);
		if (result == 0)
			result = resolver_ask(resolvers[i], name, DNS_A, RESOLVER_ANY, 0);
		servers[i].asked = result == 0;
	}
	while (result == 0) {
		int wait;

		for (size_t i = 0; i < count; i++)
			resolver_dispatch(resolvers[i], &ignored);
		wait = next_wait(resolvers, count, ready);
		if (wait == -2 || (poll(ready, count, wait) < 0 && errno != EINTR))
			break;
	}
	for (size_t i = 0; i < count; i++)
		resolver_free(resolvers[i]);
	return result;
}

static const char *any_name(const struct config *config)
{
	for (size_t i = 0; i < config->owner_count; i++) {
		if (config->owners[i].name_count > 0)
			return config->owners[i].names[0];
		if (config->owners[i].srv_count > 0)
			return config->owners[i].srv[0];
	}
	return NULL;
}

static size_t list_servers(
	const struct config *config, struct doctor_server *servers, size_t *ret_odd)
{
	struct config_source *sources = NULL;
	struct error error = {0};
	size_t count = 0;

	*ret_odd = 0;
	for (size_t i = 0; i < config->resolver.server_count && count < SERVERS_MAX; i++)
		servers[count++] = (struct doctor_server){.server = config->resolver.servers[i]};
	if (count > 0 ||
		files_read_foreign(NULL, NULL, "/etc/resolv.conf", &sources, &count, &error) < 0)
		return count;
	count = count ? doctor_resolv_conf(
				sources[0].data, sources[0].length, servers, SERVERS_MAX, ret_odd)
		      : 0;
	config_sources_free(sources, 1);
	return count;
}

/* True: it is worth asking for the names. */
static bool look_at_resolvers(struct examination *all)
{
	struct doctor_server servers[SERVERS_MAX] = {0};
	const char *name = any_name(all->config);
	size_t odd, count = list_servers(all->config, servers, &odd);

	if (!name)
		return true;
	if (probe_servers(all->config, name, servers, count) < 0) {
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
		findings_skip(all->findings, "name", notes.data, as_root);
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
		skip(all, "trunk", &error);
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
		skip(all, "sets", &error);
	} else if (observed->misfit) {
		snprintf(what, sizeof(what), "the sets in table %s %s cannot be kept: %s",
			ruleset_family_name((enum table_family)config->table_family), config->table,
			observed->misfit);
		findings_add_plain(all->findings, FINDING_PROBLEM, "sets", what,
			"Nothing is kept in them, so your rules let in whom they let in without.",
			"in your firewall: `set NAME { type ipv4_addr; }` for hosts4, ipv6_addr for "
			"hosts6, and with `flags interval;` for nets4 and nets6",
			"");
	}
	observed_free(observed);
	ruleset_free(ruleset);
}

static void look_at_kernel(struct examination *all)
{
	struct nft_survey *survey = NULL;
	struct kernel *kernel = NULL;
	struct error error = {0};

	if (kernel_open(&kernel, &error) < 0 || kernel_survey(kernel, &survey, &error) < 0) {
		skip(all, "table-drops", &error);
	} else {
		doctor_tables(all->config, survey, all->findings);
		look_at_legacy_tables(all);
	}
	nft_survey_free(survey);
	if (kernel)
		look_at_sets(all, kernel);
	if (!kernel)
		findings_skip(all->findings, "trunk",
			"the kernel's connection tracking could not be read", as_root);
	else
		look_at_talkers(all, kernel);
	kernel_close(kernel);
}

/* --- Scripts for nft --- */

struct scripts {
	struct examination *all;
	const char *base;
	unsigned depth;
};

/* Files include files, SCRIPT_DEPTH deep at most. */
/* NOLINTBEGIN(misc-no-recursion) */

static void read_scripts(
	struct examination *all, const char *base, const char *pattern, unsigned depth);

static void take_include(void *context, const char *pattern)
{
	const struct scripts *scripts = context;

	read_scripts(scripts->all, scripts->base, pattern, scripts->depth + 1);
}

static void read_scripts(
	struct examination *all, const char *base, const char *pattern, unsigned depth)
{
	struct config_source *sources = NULL;
	struct error error = {0};
	size_t count = 0;

	if (depth > SCRIPT_DEPTH || all->scripts > SCRIPTS_MAX)
		return;
	if (files_read_foreign(NULL, base, pattern, &sources, &count, &error) < 0) {
		if (error.code != -ENOENT)
			skip(all, "saved-table", &error);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct scripts scripts = {.all = all, .base = sources[i].path, .depth = depth};

		all->scripts++;
		doctor_nft_script(sources[i].path, sources[i].data, sources[i].length,
			all->config->table, all->findings);
		doctor_nft_includes(sources[i].data, sources[i].length, take_include, &scripts);
	}
	config_sources_free(sources, count);
}

/* NOLINTEND(misc-no-recursion) */

static void look_at_scripts(struct examination *all)
{
	/* With sets-only the table is the administrator's own: it belongs there. */
	if (all->config->sets_only)
		return;
	read_scripts(all, NULL, "/etc/nftables.conf", 0);
	/* With a base the pattern stands for many files. */
	read_scripts(all, "/etc/nftables.conf", "/etc/nftables/*.nft", 0);
}

/* --- Modes --- */

/* Whom the daemon becomes, as far as that can be told. */
static void find_user(
	const struct config *config, struct privilege_user *found, struct doctor_user *ret_user)
{
	const struct passwd *user;
	unsigned long number;
	char *end;

	if (geteuid() == 0 && privilege_find(config->user, found, NULL) == 0) {
		*ret_user = (struct doctor_user){found->uid, found->gid, found->name};
		return;
	}
	/* This process could not become that user; root can. */
	user = getpwnam(config->user ? config->user : CONFIG_DEFAULT_USER);
	number = config->user ? strtoul(config->user, &end, 10) : 0;
	if (!user && config->user && *config->user && !*end)
		user = getpwuid((uid_t)number);
	if (user)
		*ret_user = (struct doctor_user){user->pw_uid, user->pw_gid, user->pw_name};
	else
		*ret_user = (struct doctor_user){geteuid(), getegid(), "that started it"};
}

/* The first folder on the way that the user can't enter. */
static bool find_blocked(
	const char *path, const struct doctor_user *user, char ret_folder[PATH_MAX])
{
	struct stat status;
	char *real = realpath(path, NULL);

	if (!real)
		return false;
	for (char *slash = strchr(real + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (stat(real, &status) == 0 && !doctor_may(&status, user, X_OK)) {
			snprintf(ret_folder, PATH_MAX, "%s", real);
			free(real);
			return true;
		}
		*slash = '/';
	}
	free(real);
	return false;
}

static void look_at_modes(struct examination *all)
{
	const struct doctor_request *request = all->request;
	struct privilege_user found;
	struct doctor_user user;
	char blocked[PATH_MAX];
	struct stat status;

	find_user(all->config, &found, &user);
	for (size_t i = 0; i < request->config_path_count; i++) {
		const char *path = request->config_paths[i];
		bool is_blocked = find_blocked(path, &user, blocked);

		if (stat(path, &status) == 0)
			doctor_config_file(
				path, &status, is_blocked ? blocked : NULL, &user, all->findings);
	}
	if (stat(request->state_dir, &status) == 0)
		doctor_folder(request->state_dir, &status, true, &user, all->findings);
	if (stat(request->run_dir, &status) == 0)
		doctor_folder(request->run_dir, &status, false, &user, all->findings);
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
	result = look_at_asterisk(all) < 0 ? error_no_memory(error) : 0;
	if (result == 0) {
		doctor_clock(clock_wall(), findings);
		look_at_listeners(all);
		result = look_at_names(all, error);
	}
	if (result == 0) {
		look_at_kernel(all);
		look_at_scripts(all);
		look_at_modes(all);
	}
	if (result == 0 && findings->failed)
		result = error_no_memory(error);
	cycle_clear(&all->cycle);
	asterisk_inventory_clear(&all->inventory);
	asterisk_inventory_clear_sources(all->sources);
	free(all);
	return result;
}
