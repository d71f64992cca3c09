/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.h"
#include "duration.h"
#include "privilege.h"
#include "text.h"
#include "watch.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum command_bit {
	CHECK = 1,
	SYNC = 2,
	RUN = 4,
	STATUS = 8,
	REFRESH = 16,
	RELOAD = 32,
	WHY = 64,
	REMOVE = 128,
	AUDIT = 256,
	HISTORY = 512,
	ASTERISK = 1024,
	DOCTOR = 2048,
	INIT = 4096,
	EXPORT = 8192,
	ALL = 16383,
};

enum { ANY_NUMBER = 100000 };

static const struct command {
	const char *name;
	enum command_bit bit;
	int (*run)(const struct invocation *);
	const char *argument; /* NULL: none */
	size_t least, most;   /* number of arguments */
	const char *summary;
} commands[] = {
	{"init", INIT, command_init, NULL, 0, 0,
		"write a first config, with the extensions in Asterisk's files; never over one"},
	{"check", CHECK, command_check, NULL, 0, 0,
		"read the config; print its errors, or a summary"},
	{"sync", SYNC, command_sync, NULL, 0, 0,
		"resolve all names, and make the kernel's table right in one transaction"},
	{"run", RUN, command_run, NULL, 0, 0,
		"the daemon, in the foreground: follow the names, and keep the table right"},
	{"status", STATUS, command_status, NULL, 0, 0,
		"who is in: extensions and peers, their hosts, addresses and states"},
	{"refresh", REFRESH, command_refresh, "[NAME…]", 0, ANY_NUMBER,
		"have the daemon ask DNS now: for names, extensions, peers, or all; say what changed"},
	{"reload", RELOAD, command_reload, NULL, 0, 0,
		"have the daemon read its config again; say what changed"},
	{"why", WHY, command_why, "WHAT", 1, 1,
		"why an address may pass or not; what is known of an extension, peer or host"},
	{"history", HISTORY, command_history, "[WHAT…]", 0, ANY_NUMBER,
		"who had which address when: all, or of extensions, peers, hosts, addresses"},
	{"audit", AUDIT, command_audit, "LOG…", 1, ANY_NUMBER,
		"who registered from where it was not, by Asterisk's logs"},
	{"asterisk", ASTERISK, command_asterisk, NULL, 0, 0,
		"print or write an ACL for each extension; list or evict registrations that do not fit"},
	{"export", EXPORT, command_export, "SYSTEM", 1, 2,
		"print or write the same ACLs for kamailio or freeswitch"},
	{"doctor", DOCTOR, command_doctor, NULL, 0, 0,
		"look around: what is wrong on this machine, and the line that mends it"},
	{"remove", REMOVE, command_remove, NULL, 0, 0,
		"take the table out of the kernel; a running daemon does it, and ends"},
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

enum option_id {
	OPTION_CONFIG = 'c',
	OPTION_VERBOSE = 'v',
	OPTION_QUIET = 'q',
	OPTION_HELP = 'h',
	OPTION_STATE_DIR = 256,
	OPTION_RUN_DIR,
	OPTION_COLOR,
	OPTION_DRY_RUN,
	OPTION_DIFF,
	OPTION_JSON,
	OPTION_YES,
	OPTION_CONFIRM,
	OPTION_PIDFILE,
	OPTION_SYSLOG,
	OPTION_SINCE,
	OPTION_UNTIL,
	OPTION_YEAR,
	OPTION_GRACE,
	OPTION_WRITE,
	OPTION_CONTACTS,
	OPTION_EVICT,
	OPTION_HANGUP,
	OPTION_FROM,
	OPTION_WATCH,
	OPTION_INTERVAL,
	OPTION_PROMETHEUS,
	OPTION_VERSION,
};

static const struct option_row {
	enum option_id id;
	const char *name;
	const char *argument; /* NULL: none */
	unsigned commands;
	const char *help;
} options[] = {
	{OPTION_CONFIG, "config", "FILE", ALL, "the config (default: /etc/sipfence/sipfence.yaml)"},
	{OPTION_STATE_DIR, "state-dir", "DIR", ALL,
		"where addresses are kept between runs (default: /var/lib/sipfence)"},
	{OPTION_RUN_DIR, "run-dir", "DIR", ALL,
		"where lock and control socket are (default: /run/sipfence)"},
	{OPTION_VERBOSE, "verbose", NULL, ALL, "say more"},
	{OPTION_QUIET, "quiet", NULL, ALL, "say errors and warnings only"},
	{OPTION_COLOR, "color", "WHEN", ALL, "auto, always or never"},
	{OPTION_DRY_RUN, "dry-run", NULL, SYNC | INIT,
		"print the ruleset as a script for `nft -f`, or the first config; change nothing"},
	{OPTION_DIFF, "diff", NULL, SYNC, "print what would change; change nothing"},
	{OPTION_JSON, "json", NULL,
		CHECK | SYNC | STATUS | REFRESH | RELOAD | WHY | AUDIT | HISTORY | ASTERISK |
			DOCTOR,
		"print one JSON document"},
	{OPTION_YES, "yes", NULL, SYNC, "enforce although unlisted sources talk to the ports now"},
	{OPTION_CONFIRM, "confirm", "TIME", SYNC,
		"take the change back unless you confirm it at the terminal in that time"},
	{OPTION_PIDFILE, "pidfile", "FILE", RUN,
		"write the process number there; removed at the end"},
	{OPTION_SYSLOG, "syslog", NULL, RUN, "log to syslog instead of standard error"},
	{OPTION_SINCE, "since", "TIME", AUDIT | HISTORY,
		"only from then on: 2d (ago), yesterday, 10:55, 2026-11-22, \"2026-11-22 10:55\""},
	{OPTION_UNTIL, "until", "TIME", HISTORY, "only until then"},
	{OPTION_YEAR, "year", "YEAR", AUDIT,
		"of the first line, where its dates have none (default: by the files' times)"},
	{OPTION_GRACE, "grace", "TIME", AUDIT,
		"so close to a change of address the other one is no finding (default: 15m)"},
	{OPTION_WRITE, "write", NULL, ASTERISK | EXPORT,
		"write the file; have Asterisk reload its ACLs, and read them back"},
	{OPTION_CONTACTS, "contacts", NULL, ASTERISK,
		"list registrations that do not fit the ACLs"},
	{OPTION_EVICT, "evict", NULL, ASTERISK, "throw them out"},
	{OPTION_HANGUP, "hangup", NULL, ASTERISK, "and end the calls of these extensions"},
	{OPTION_FROM, "from", "DIR", INIT, "where Asterisk's files are (default: /etc/asterisk)"},
	{OPTION_WATCH, "watch", NULL, STATUS, "draw it again and again, until q or ^C"},
	{OPTION_INTERVAL, "interval", "TIME", STATUS, "from one drawing to the next (default: 2s)"},
	{OPTION_PROMETHEUS, "prometheus", NULL, STATUS, "print metrics for Prometheus"},
	{OPTION_HELP, "help", NULL, ALL, "print this"},
	{OPTION_VERSION, "version", NULL, ALL, "print the version"},
};

enum { OPTION_COUNT = sizeof(options) / sizeof(options[0]) };

static void print_help(void)
{
	printf("Usage: sipfence [OPTION…] COMMAND\n\n"
	       "Keeps strangers off a PBX's SIP ports: only the addresses behind the names in the\n"
	       "config, the local subnets and the listed peers may reach them.\n\nCommands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		const char *argument = commands[i].argument ? commands[i].argument : "";
		/* "…" is three bytes, and one column. */
		int width = 22 + (strstr(argument, "…") ? 2 : 0);
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s", commands[i].name, *argument ? " " : "",
			argument);
		printf("  %-*s %s\n", width, left, commands[i].summary);
	}
	printf("\nOptions:\n");
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s", options[i].id < 256 ? "-" : "",
			options[i].id < 256 ? (char)options[i].id : ' ',
			options[i].id < 256 ? ", " : "   ", options[i].name,
			options[i].argument ? "=" : "",
			options[i].argument ? options[i].argument : "");
		printf("  %-22s %s", left, options[i].help);
		for (size_t j = 0; options[i].commands != ALL && j < COMMAND_COUNT; j++) {
			if (options[i].commands & commands[j].bit)
				printf(" [%s]", commands[j].name);
		}
		printf("\n");
	}
	printf("\nExit codes: 0 all names answered and the kernel equals the config; 3 done, but some\n"
	       "names are held, gone, refused or were never answered; 2 usage or config error, nothing\n"
	       "touched; 1 the kernel, a permission or I/O refused, the kernel is as before.\n\n"
	       "See sipfence(8) and sipfence.yaml(5).\n");
}

static void fill_long_options(struct option *long_options)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		long_options[i] = (struct option){
			.name = options[i].name,
			.has_arg = options[i].argument ? required_argument : no_argument,
			.val = (int)options[i].id,
		};
}

static const struct option_row *find_option(int id)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if ((int)options[i].id == id)
			return &options[i];
	}
	return NULL;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* What the command line asks for beside the invocation. */
struct request {
	struct invocation invocation;
	const char *colour;
	bool help, version;
	uint64_t used; /* bit i: options[i] was given */
};

static bool take_year(struct invocation *invocation, const char *argument)
{
	if (strlen(argument) == 4 && strspn(argument, "0123456789") == 4) {
		invocation->year = (int)strtol(argument, NULL, 10);
		if (invocation->year >= 1990 && invocation->year <= 2200)
			return true;
	}
	say_usage(invocation, "--year takes a year of four digits, as in 2026, not `%s`", argument);
	return false;
}

static bool take_grace(struct invocation *invocation, const char *argument)
{
	int64_t milliseconds;

	if (duration_parse(argument, strlen(argument), &milliseconds) == DURATION_OK) {
		invocation->grace = milliseconds / 1000;
		return true;
	}
	say_usage(invocation, "--grace takes a time, as in 15m or 0s, not `%s`", argument);
	return false;
}

/* From a second to an hour. */
static bool take_seconds(const struct invocation *invocation, const char *option,
	const char *example, const char *argument, uint32_t *ret_seconds)
{
	int64_t milliseconds;

	if (duration_parse(argument, strlen(argument), &milliseconds) == DURATION_OK &&
		milliseconds >= 1000 && milliseconds <= 3600 * 1000) {
		*ret_seconds = (uint32_t)(milliseconds / 1000);
		return true;
	}
	say_usage(invocation, "%s takes a time from 1s to 1h, as in %s, not `%s`", option, example,
		argument);
	return false;
}

static bool take_option(struct request *request, int id, const char *argument)
{
	struct invocation *invocation = &request->invocation;

	switch ((enum option_id)id) {
	case OPTION_CONFIG:
		invocation->config_path = argument;
		return true;
	case OPTION_STATE_DIR:
		invocation->state_dir = argument;
		return true;
	case OPTION_RUN_DIR:
		invocation->run_dir = argument;
		return true;
	case OPTION_VERBOSE:
		invocation->verbosity = 1;
		return true;
	case OPTION_QUIET:
		invocation->verbosity = -1;
		return true;
	case OPTION_COLOR:
		request->colour = argument;
		if (strcmp(argument, "auto") == 0 || strcmp(argument, "always") == 0 ||
			strcmp(argument, "never") == 0)
			return true;
		say_usage(invocation, "--color takes auto, always or never, not `%s`", argument);
		return false;
	case OPTION_DRY_RUN:
		return invocation->dry_run = true;
	case OPTION_DIFF:
		return invocation->diff = true;
	case OPTION_JSON:
		return invocation->json = true;
	case OPTION_YES:
		return invocation->yes = true;
	case OPTION_CONFIRM:
		return take_seconds(invocation, "--confirm", "60s", argument, &invocation->confirm);
	case OPTION_PIDFILE:
		invocation->pidfile = argument;
		return true;
	case OPTION_SYSLOG:
		return invocation->syslog = true;
	case OPTION_SINCE:
		invocation->since = argument;
		return true;
	case OPTION_UNTIL:
		invocation->until = argument;
		return true;
	case OPTION_YEAR:
		return take_year(invocation, argument);
	case OPTION_GRACE:
		return take_grace(invocation, argument);
	case OPTION_WRITE:
		return invocation->write = true;
	case OPTION_CONTACTS:
		return invocation->contacts = true;
	case OPTION_EVICT:
		return invocation->evict = true;
	case OPTION_HANGUP:
		return invocation->hangup = true;
	case OPTION_FROM:
		invocation->from = argument;
		return true;
	case OPTION_WATCH:
		return invocation->watch = true;
	case OPTION_INTERVAL:
		return take_seconds(
			invocation, "--interval", "5s", argument, &invocation->interval);
	case OPTION_PROMETHEUS:
		return invocation->prometheus = true;
	case OPTION_HELP:
		return request->help = true;
	case OPTION_VERSION:
		return request->version = true;
	}
	return false;
}

/* getopt_long() leaves in optopt what it stumbled over: a letter, or an option that takes no value;
 * 0 for a long name. */
static void say_unknown_option(const struct invocation *invocation, const char *argument)
{
	const struct option_row *known = optopt ? find_option(optopt) : NULL;

	if (known)
		say_usage(invocation, "--%s takes no value; see sipfence --help", known->name);
	else if (optopt)
		say_usage(invocation, "unknown option -%c; see sipfence --help", optopt);
	else
		say_usage(invocation, "unknown option %s; see sipfence --help", argument);
}

static bool parse_options(struct request *request, int argc, char **argv)
{
	struct option long_options[OPTION_COUNT + 1] = {0};
	int id;

	fill_long_options(long_options);
	opterr = 0;
	while ((id = getopt_long(argc, argv, ":c:vqh", long_options, NULL)) != -1) {
		const struct option_row *row = find_option(id);

		if (id == ':') {
			say_usage(&request->invocation, "%s needs a value; see sipfence --help",
				argv[optind - 1]);
			return false;
		}
		if (!row) {
			say_unknown_option(&request->invocation, argv[optind - 1]);
			return false;
		}
		request->used |= UINT64_C(1) << (row - options);
		if (!take_option(request, id, optarg))
			return false;
	}
	return true;
}

static bool options_fit(const struct request *request, const struct command *command)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (!(request->used >> i & 1) || options[i].commands & command->bit)
			continue;
		say_usage(&request->invocation, "--%s does not go with %s; see sipfence --help",
			options[i].name, command->name);
		return false;
	}
	if (request->invocation.dry_run && request->invocation.diff) {
		say_usage(&request->invocation, "--dry-run and --diff: choose one");
		return false;
	}
	if (request->invocation.json + request->invocation.watch + request->invocation.prometheus >
		1) {
		say_usage(&request->invocation, "--json, --watch and --prometheus: choose one");
		return false;
	}
	if (request->invocation.confirm &&
		(request->invocation.dry_run || request->invocation.diff)) {
		say_usage(
			&request->invocation, "--confirm goes with a sync that changes something");
		return false;
	}
	return true;
}

static void say_no_command(const struct invocation *invocation)
{
	struct text names = {0};

	for (size_t i = 0; i < COMMAND_COUNT; i++)
		text_printf(&names, "%s%s",
			i == 0			 ? ""
			: i + 1 == COMMAND_COUNT ? " or "
						 : ", ",
			commands[i].name);
	say_usage(invocation, "no command given: %s; see sipfence --help", text_string(&names));
	text_free(&names);
}

static bool take_arguments(struct invocation *invocation, const struct command *command,
	char *const *arguments, size_t count)
{
	if (count > command->most) {
		say_usage(invocation, "`%s` is one argument too many for %s; see sipfence --help",
			arguments[command->most], command->name);
		return false;
	}
	if (count < command->least) {
		say_usage(invocation,
			"%s needs an argument: sipfence %s %s (%s); see sipfence --help",
			command->name, command->name, command->argument, command->summary);
		return false;
	}
	invocation->arguments = (const char *const *)arguments;
	invocation->argument_count = count;
	return true;
}

/* No colour but on a terminal, and never with NO_COLOR (https://no-color.org), unless it is asked
 * for. */
static bool wants_colour(const struct request *request, int fd)
{
	const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");

	if (strcmp(request->colour, "always") == 0)
		return true;
	if (strcmp(request->colour, "never") == 0 || (no_colour && *no_colour))
		return false;
	return isatty(fd) && term && strcmp(term, "dumb") != 0;
}

/* A result that did not reach its reader is no result. */
static int close_stdout(const struct invocation *invocation, int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	say_usage(invocation, "cannot write to standard output");
	return EXIT_REFUSED;
}

int main(int argc, char **argv)
{
	struct request request = {
		.invocation =
			{
				.config_path = "/etc/sipfence/sipfence.yaml",
				.state_dir = "/var/lib/sipfence",
				.run_dir = "/run/sipfence",
				.grace = -1,
				.interval = WATCH_SECONDS,
			},
		.colour = "auto",
	};
	struct invocation *invocation = &request.invocation;
	const struct command *command;

	privilege_open_streams();
	signal(SIGPIPE, SIG_IGN);
	/* Errors that stand before it on the command line come as JSON, too. */
	for (int i = 1; i < argc; i++)
		invocation->json |= strcmp(argv[i], "--json") == 0;
	if (!parse_options(&request, argc, argv))
		return EXIT_USAGE;
	invocation->colour_out = wants_colour(&request, STDOUT_FILENO);
	invocation->colour_err = wants_colour(&request, STDERR_FILENO);
	if (request.help || request.version) {
		if (request.help)
			print_help();
		else
			printf("sipfence %s\n", SIPFENCE_VERSION);
		return close_stdout(invocation, EXIT_DONE);
	}
	if (optind >= argc) {
		say_no_command(invocation);
		return EXIT_USAGE;
	}
	if (strcmp(argv[optind], "help") == 0) {
		print_help();
		return close_stdout(invocation, EXIT_DONE);
	}
	command = find_command(argv[optind]);
	if (!command) {
		say_usage(invocation, "unknown command `%s`; see sipfence --help", argv[optind]);
		return EXIT_USAGE;
	}
	invocation->command = command->name;
	if (!take_arguments(invocation, command, argv + optind + 1, (size_t)(argc - optind - 1)) ||
		!options_fit(&request, command))
		return EXIT_USAGE;
	return close_stdout(invocation, command->run(invocation));
}
