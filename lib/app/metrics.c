/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "metrics.h"

#include "host.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const enum host_state states[] = {
	HOST_FRESH, HOST_HELD, HOST_GONE, HOST_REFUSED, HOST_EXPIRED, HOST_NEVER};

enum {
	STATES = sizeof(states) / sizeof(states[0]),
	RUN_DONE = 0, /* exit codes of a sync that has made the table right */
	RUN_UNSURE = 3,
};

struct printer {
	const struct view *view;
	const struct traffic *traffic;
	struct text *text;
	struct owner_index hosts, srvs;
	bool names; /* the list is short enough for metrics of each name */
};

static void begin(
	const struct printer *printer, const char *name, const char *type, const char *help)
{
	text_printf(printer->text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(const struct printer *printer, const char *name, int64_t value)
{
	text_printf(printer->text, "%s %" PRId64 "\n", name, value);
}

/* A metric without labels. */
static void put_one(const struct printer *printer, const char *name, const char *type,
	const char *help, int64_t value)
{
	begin(printer, name, type, help);
	put_value(printer, name, value);
}

/* What is not printable stands as \xNN, whose backslash is escaped here in its turn. */
static void put_label(const struct printer *printer, const char *key, const char *value)
{
	struct text plain = {0};

	text_escaped(&plain, value, strlen(value));
	text_printf(printer->text, "%s=\"", key);
	for (const char *at = text_string(&plain); *at; at++) {
		if (*at == '"' || *at == '\\')
			text_puts(printer->text, "\\");
		text_write(printer->text, at, 1);
	}
	text_puts(printer->text, "\"");
	printer->text->failed |= plain.failed;
	text_free(&plain);
}

/* --- Each name of each owner --- */

struct named {
	const char *name;
	enum host_state state;
	int64_t good; /* steady; 0: never */
	size_t values;
};

static struct named named_host(const struct host *host)
{
	struct named named = {.name = host->name, .state = host_state(host)};

	for (int family = 0; family < FAMILY_COUNT; family++) {
		if (host->lookup[family].good > named.good)
			named.good = host->lookup[family].good;
		named.values += host->count[family];
	}
	return named;
}

static struct named named_srv(const struct srv *srv)
{
	return (struct named){.name = srv->name,
		.state = srv_state(srv),
		.good = srv->lookup.good,
		.values = srv->count};
}

typedef void put_named_fn(const struct printer *printer, const struct named *named, uint32_t owner);

static void put_owner_labels(const struct printer *printer, const char *metric,
	const struct named *named, uint32_t owner)
{
	const struct owner *of = &printer->view->config->owners[owner];

	text_printf(printer->text, "%s{kind=\"%s\",", metric,
		of->kind == OWNER_EXTENSION ? "extension" : "peer");
	put_label(printer, "id", of->id);
	text_puts(printer->text, ",");
	put_label(printer, "name", named->name);
}

static void put_state(const struct printer *printer, const struct named *named, uint32_t owner)
{
	for (size_t i = 0; i < STATES; i++) {
		put_owner_labels(printer, "sipfence_name_state", named, owner);
		text_printf(printer->text, ",state=\"%s\"} %d\n", host_state_name(states[i]),
			named->state == states[i]);
	}
}

static void put_good(const struct printer *printer, const struct named *named, uint32_t owner)
{
	if (named->good <= 0)
		return;
	put_owner_labels(printer, "sipfence_name_last_answer_timestamp_seconds", named, owner);
	text_printf(printer->text, "} %" PRId64 "\n", view_wall(printer->view, named->good));
}

static void put_values(const struct printer *printer, const struct named *named, uint32_t owner)
{
	put_owner_labels(printer, "sipfence_name_addresses", named, owner);
	text_printf(printer->text, "} %zu\n", named->values);
}

/* An owner may have a name twice, as a host with two guards has: one series of it. */
static bool is_first(
	const struct owner_index *index, const struct roster *roster, size_t host, uint32_t at)
{
	for (size_t other = host; other > 0 && roster_same_name(roster, host, other - 1); other--) {
		for (uint32_t i = index->first[other - 1]; i < index->first[other]; i++) {
			if (index->owners[i] == index->owners[at])
				return false;
		}
	}
	return at == index->first[host] || index->owners[at - 1] != index->owners[at];
}

static void each_name(const struct printer *printer, put_named_fn *put)
{
	const struct roster *roster = printer->view->roster;
	const struct owner_index *index = &printer->hosts;

	for (size_t i = 0; i < roster->host_count; i++) {
		struct named named = named_host(&roster->hosts[i]);

		for (uint32_t j = index->first[i]; j < index->first[i + 1]; j++) {
			if (is_first(index, roster, i, j))
				put(printer, &named, index->owners[j]);
		}
	}
	index = &printer->srvs;
	for (size_t i = 0; i < roster->srv_count; i++) {
		struct named named = named_srv(&roster->srvs[i]);

		for (uint32_t j = index->first[i]; j < index->first[i + 1]; j++) {
			if (j == index->first[i] || index->owners[j - 1] != index->owners[j])
				put(printer, &named, index->owners[j]);
		}
	}
}

static void put_names(const struct printer *printer)
{
	const struct roster *roster = printer->view->roster;
	int64_t totals[STATES] = {0};

	for (size_t i = 0; i < STATES; i++) {
		for (size_t j = 0; j < roster->host_count; j++)
			totals[i] += host_state(&roster->hosts[j]) == states[i];
		for (size_t j = 0; j < roster->srv_count; j++)
			totals[i] += srv_state(&roster->srvs[j]) == states[i];
	}
	begin(printer, "sipfence_names", "gauge", "Names by state.");
	for (size_t i = 0; i < STATES; i++)
		text_printf(printer->text, "sipfence_names{state=\"%s\"} %" PRId64 "\n",
			host_state_name(states[i]), totals[i]);
	if (!printer->names)
		return;
	begin(printer, "sipfence_name_state", "gauge",
		"Whether a name of an extension or a peer is in the state: 1, or 0.");
	each_name(printer, put_state);
	begin(printer, "sipfence_name_last_answer_timestamp_seconds", "gauge",
		"When DNS last gave addresses of the name.");
	each_name(printer, put_good);
	begin(printer, "sipfence_name_addresses", "gauge",
		"Addresses of the name that are let in; of an SRV name its targets.");
	each_name(printer, put_values);
}

/* --- The rest --- */

static void put_dropped(const struct printer *printer)
{
	const struct traffic *traffic = printer->traffic;
	const struct config *config = traffic->config;
	uint64_t packets, bytes;

	begin(printer, "sipfence_dropped_packets_total", "counter",
		"Packets that were dropped, or in mode monitor would have been.");
	for (size_t i = 0; i < config->service_count; i++) {
		traffic_dropped(traffic, i, &packets, &bytes);
		text_printf(printer->text,
			"sipfence_dropped_packets_total{service=\"%s\"} %" PRIu64 "\n",
			config->services[i].name, packets);
	}
	begin(printer, "sipfence_dropped_bytes_total", "counter", "The bytes of these packets.");
	for (size_t i = 0; i < config->service_count; i++) {
		traffic_dropped(traffic, i, &packets, &bytes);
		text_printf(printer->text,
			"sipfence_dropped_bytes_total{service=\"%s\"} %" PRIu64 "\n",
			config->services[i].name, bytes);
	}
}

static void put_kept_out(const struct printer *printer)
{
	const struct traffic *traffic = printer->traffic;
	size_t counts[CONFIG_MAX_SERVICES] = {0};

	for (size_t i = 0; i < traffic->knocker_count; i++)
		counts[traffic->knockers[i].service]++;
	begin(printer, "sipfence_kept_out_sources", "gauge",
		"Addresses that were kept out in the last hour.");
	for (size_t i = 0; i < traffic->config->service_count; i++)
		text_printf(printer->text, "sipfence_kept_out_sources{service=\"%s\"} %zu\n",
			traffic->config->services[i].name, counts[i]);
}

static void put_table(const struct printer *printer, const struct metrics_run *run)
{
	const struct view *view = printer->view;
	bool known = run || view->engine || view->no_table || view->in_force;
	bool right = view_table_right(view);

	if (run)
		right = run->exit_code == RUN_DONE || run->exit_code == RUN_UNSURE;
	if (known)
		put_one(printer, "sipfence_table_right", "gauge",
			"Whether the kernel's table is as the config asks for: 1, or 0.", right);
	if (view->config->sets_only)
		return;
	put_one(printer, "sipfence_enforcing", "gauge",
		"Whether strangers are dropped: 1, or 0 in mode monitor and without a table.",
		!view_monitors(view) && !view->no_table);
}

static void put_hooks(const struct printer *printer)
{
	const struct hooks_summary *hooks = &printer->view->hooks;

	if (!hooks->wanted)
		return;
	put_one(printer, "sipfence_hooks_alive", "gauge",
		"Whether the process that runs on-change lives: 1, or 0.", hooks->alive);
	begin(printer, "sipfence_hooks_total", "counter",
		"Runs of on-change, by what became of them.");
	text_printf(printer->text,
		"sipfence_hooks_total{result=\"done\"} %" PRIu64
		"\nsipfence_hooks_total{result=\"failed\"} %" PRIu64
		"\nsipfence_hooks_total{result=\"dropped\"} %" PRIu64 "\n",
		hooks->done, hooks->failed, hooks->dropped);
}

static void put_daemon(const struct printer *printer)
{
	const struct view *view = printer->view;
	struct engine_summary summary = engine_summary(view->engine);

	put_one(printer, "sipfence_start_timestamp_seconds", "gauge",
		"When the daemon was started.", view_wall(view, summary.started_at));
	put_one(printer, "sipfence_config_refused", "gauge",
		"Whether the config on the disk was refused, and a former one is in force: 1, or 0.",
		view->refused != NULL);
	put_one(printer, "sipfence_dns_alive", "gauge",
		"Whether DNS answers any question: 1, or 0.", !summary.outage);
	put_one(printer, "sipfence_dns_questions_total", "counter", "Questions to DNS.",
		(int64_t)summary.dns.asked);
	put_one(printer, "sipfence_dns_answers_total", "counter", "Answers to them.",
		(int64_t)summary.dns.answered);
	put_one(printer, "sipfence_dns_timeouts_total", "counter",
		"Questions without an answer in time.", (int64_t)summary.dns.timed_out);
	put_one(printer, "sipfence_table_changes_total", "counter",
		"Transactions that changed who is let in.", (int64_t)summary.changes);
	put_one(printer, "sipfence_table_repairs_total", "counter",
		"Repairs of what others did to the table.", (int64_t)summary.repairs);
	if (view->ledger)
		put_one(printer, "sipfence_table_elements", "gauge",
			"Addresses and prefixes that are let in.",
			(int64_t)ledger_elements(view->ledger));
	put_one(printer, "sipfence_state_save_failing", "gauge",
		"Whether what is known can't be written to the disk: 1, or 0.",
		summary.save_failing);
	if (summary.saved_at > 0)
		put_one(printer, "sipfence_state_saved_timestamp_seconds", "gauge",
			"When it was last written.", view_wall(view, summary.saved_at));
	put_hooks(printer);
}

static void put_all(const struct printer *printer, const struct metrics_run *run, int64_t wall)
{
	const struct view *view = printer->view;

	begin(printer, "sipfence_build_info", "gauge", "Always 1; the version is a label.");
	text_puts(printer->text, "sipfence_build_info{");
	put_label(printer, "version", view->version);
	text_puts(printer->text, "} 1\n");
	put_one(printer, "sipfence_metrics_timestamp_seconds", "gauge",
		"When these metrics were made.", wall);
	put_one(printer, "sipfence_daemon_running", "gauge", "Whether a daemon runs: 1, or 0.",
		view->engine != NULL);
	if (run) {
		put_one(printer, "sipfence_sync_timestamp_seconds", "gauge",
			"When the last sipfence sync ended.", run->ended);
		put_one(printer, "sipfence_sync_exit_code", "gauge", "Its exit status.",
			run->exit_code);
	}
	put_table(printer, run);
	if (printer->traffic && !view->config->sets_only) {
		put_dropped(printer);
		put_kept_out(printer);
	}
	if (view->engine)
		put_daemon(printer);
	put_names(printer);
}

int metrics_print(const struct view *view, const struct traffic *traffic,
	const struct metrics_run *run, int64_t wall, struct text *text)
{
	struct printer printer = {.view = view, .traffic = traffic, .text = text};

	if (owner_index_of_hosts(view, &printer.hosts) < 0)
		return -ENOMEM;
	if (owner_index_of_srvs(view, &printer.srvs) < 0) {
		owner_index_clear(&printer.hosts);
		return -ENOMEM;
	}
	printer.names = printer.hosts.first[view->roster->host_count] +
				printer.srvs.first[view->roster->srv_count] <=
			METRICS_NAMES_MOST;
	put_all(&printer, run, wall);
	owner_index_clear(&printer.hosts);
	owner_index_clear(&printer.srvs);
	return text->failed ? -ENOMEM : 0;
}
