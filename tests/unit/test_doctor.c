/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor.h"
#include "check.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- Findings --- */

static void test_findings_are_counted(void **state)
{
	struct findings findings = {0};
	struct text what = {0};

	(void)state;
	for (int i = 0; i < FINDINGS_OF_A_CHECK + 7; i++) {
		text_printf(&what, "number %d", i);
		findings_add(&findings, FINDING_PROBLEM, "name", &what, "why", NULL, NULL);
		assert_int_equal(what.length, 0);
	}
	findings_add_plain(&findings, FINDING_NOTE, "name", "a note", "why", "do", "place");
	assert_int_equal(findings.count, FINDINGS_OF_A_CHECK + 1);
	assert_int_equal(findings.left_off, 7);
	assert_int_equal(findings.problems, FINDINGS_OF_A_CHECK + 7);
	assert_string_equal(findings.list[3].what, "number 3");
	assert_string_equal(findings.list[3].change, "");
	assert_string_equal(findings.list[FINDINGS_OF_A_CHECK].place, "place");
	assert_false(findings.failed);
	text_free(&what);
	findings_clear(&findings);
}

static void test_a_text_that_failed_is_no_finding_unseen(void **state)
{
	struct findings findings = {0};
	struct text what = {.failed = true};

	(void)state;
	findings_add(&findings, FINDING_PROBLEM, "name", &what, "why", NULL, NULL);
	assert_true(findings.failed);
	findings_clear(&findings);
}

/* --- Time --- */

static void test_clock(void **state)
{
	static const struct {
		int64_t wall;
		bool in_step;
		size_t problems, notes;
	} cases[] = {{0, true, 1, 0}, {0, false, 1, 0}, {1767225599, true, 1, 0},
		{1767225600, true, 0, 0}, {1767225600, false, 0, 1}, {4102444800, true, 0, 0},
		{-5, true, 1, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct findings findings = {0};

		doctor_clock(cases[i].wall, cases[i].in_step, &findings);
		assert_int_equal(findings.problems, cases[i].problems);
		assert_int_equal(findings.count, cases[i].problems + cases[i].notes);
		findings_clear(&findings);
	}
}

/* --- DNS servers --- */

static struct doctor_server make_server(uint8_t last, bool answered, bool useful)
{
	struct doctor_server server = {
		.server = {.port = 53}, .asked = true, .answered = answered, .useful = useful};

	server.server.addr.family = FAMILY_IPV4;
	memcpy(server.server.addr.bytes, (uint8_t[]){192, 0, 2, last}, 4);
	server.reason = useful ? REASON_NONE : answered ? REASON_SERVER_REFUSED : REASON_TIMEOUT;
	return server;
}

static void test_servers(void **state)
{
	const struct config config = {.path = "c"};
	struct doctor_server servers[3] = {make_server(1, true, true), make_server(2, true, false),
		make_server(3, false, false)};
	struct findings findings = {0};

	(void)state;
	/* Each by itself; the line of resolv.conf is named. */
	assert_true(doctor_servers(&config, servers, 3, 0, &findings));
	assert_int_equal(findings.problems, 2);
	assert_string_equal(findings.list[0].what,
		"the resolver 192.0.2.2 answers each question with an error (the server refuses to "
		"answer us (REFUSED))");
	assert_non_null(
		strstr(findings.list[0].change, "or take out the line: nameserver 192.0.2.2"));
	assert_string_equal(findings.list[1].change, "take out the line: nameserver 192.0.2.3");
	assert_string_equal(findings.list[1].place, "/etc/resolv.conf");
	findings_clear(&findings);

	/* None is of use: one finding, and the names are not asked for. */
	servers[0] = make_server(1, true, false);
	assert_false(doctor_servers(&config, servers, 3, 0, &findings));
	assert_int_equal(findings.problems, 1);
	assert_non_null(strstr(findings.list[0].what, "no resolver is of use: 192.0.2.1 (the"));
	findings_clear(&findings);
	assert_false(doctor_servers(&config, &servers[2], 1, 0, &findings));
	assert_string_equal(
		findings.list[0].what, "no resolver answers: 192.0.2.3 (no answer in time)");
	assert_null(strstr(findings.list[0].change, "nameserver:"));
	findings_clear(&findings);
}

static void test_servers_that_lie_or_are_slow(void **state)
{
	struct config config = {.path = "c", .resolver = {.server_count = 2}};
	struct doctor_server servers[2] = {make_server(1, true, true), make_server(2, true, true)};
	struct findings findings = {0};

	(void)state;
	servers[0].fastest_ms = 500;
	assert_true(doctor_servers(&config, servers, 2, 0, &findings));
	assert_int_equal(findings.count, 0);
	servers[0].fastest_ms = 501;
	servers[1].lies = true;
	servers[1].lie = servers[1].server.addr;
	assert_true(doctor_servers(&config, servers, 2, 0, &findings));
	assert_int_equal(findings.count, 2);
	assert_int_equal(findings.problems, 1);
	assert_string_equal(findings.list[0].check, "resolver-slow");
	assert_int_equal(findings.list[0].level, FINDING_NOTE);
	assert_non_null(strstr(findings.list[0].what, "took 501 ms"));
	assert_string_equal(findings.list[1].check, "resolver-lies");
	assert_non_null(strstr(findings.list[1].what, "gives 192.0.2.2 for a name"));
	assert_string_equal(findings.list[1].place, "c");
	findings_clear(&findings);
}

/* --- Its own table, and who keeps it --- */

static void check_keeper(const struct doctor_keeper *keeper, const char *problem, const char *note)
{
	struct findings findings = {0};

	doctor_keeper(keeper, &findings);
	assert_int_equal(findings.count, (problem != NULL) + (note != NULL));
	assert_int_equal(findings.problems, problem != NULL);
	assert_int_equal(findings.unchecked_count, keeper->daemon == DOCTOR_DAEMON_UNKNOWN);
	for (size_t i = 0; i < findings.count; i++)
		assert_string_equal(findings.list[i].check,
			findings.list[i].level == FINDING_PROBLEM ? problem : note);
	findings_clear(&findings);
}

static void test_keeper(void **state)
{
	static const char not [] = "not-running";

	(void)state;
	check_keeper(&(struct doctor_keeper){.daemon = DOCTOR_DAEMON_RUNS}, NULL, NULL);
	check_keeper(&(struct doctor_keeper){.daemon = DOCTOR_DAEMON_RUNS, .config_changed = true},
		"not-reloaded", NULL);
	check_keeper(&(struct doctor_keeper){.daemon = DOCTOR_DAEMON_UNKNOWN}, NULL, NULL);
	check_keeper(&(struct doctor_keeper){.now = 99999}, NULL, not );
	/* A cron that has stopped is no cron. */
	check_keeper(&(struct doctor_keeper){.has_run = true, .scheduled = true, .now = 3600}, NULL,
		NULL);
	check_keeper(&(struct doctor_keeper){.has_run = true, .scheduled = true, .now = 3601}, not,
		NULL);
	check_keeper(&(struct doctor_keeper){.has_run = true, .now = 60}, NULL, not );
}

static void test_crontabs(void **state)
{
	static const struct {
		const char *text;
		bool runs;
	} cases[] = {
		{"", false},
		{"* * * * * root /usr/sbin/sipfence sync\n", true},
		{"MAILTO=root\n*/5 * * * * sipfence -q -c /a sync", true},
		{"# * * * * * root sipfence sync\n", false},
		{"  \t#sipfence sync", false},
		{"* * * * * root sipfence status\n0 * * * * rsync -a x y\n", false},
		{"@reboot root sync; sipfence", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(
			doctor_runs_sync(cases[i].text, strlen(cases[i].text)), cases[i].runs);
}

static void check_own(bool present, enum plan_kind kind, const struct doctor_keeper *keeper,
	bool sets_only, size_t problems)
{
	const struct config config = {.table = "sipfence", .sets_only = sets_only};
	const struct observed observed = {.present = present};
	const struct plan plan = {.kind = kind};
	struct findings findings = {0};

	doctor_own_table(&config, &observed, &plan, keeper, &findings);
	assert_int_equal(findings.count, problems);
	assert_int_equal(findings.problems, problems);
	findings_clear(&findings);
}

static void test_own_table(void **state)
{
	const struct doctor_keeper daemon = {.daemon = DOCTOR_DAEMON_RUNS}, none = {0},
				   cron = {.has_run = true},
				   late = {.daemon = DOCTOR_DAEMON_RUNS, .config_changed = true};

	(void)state;
	check_own(false, PLAN_SWAP, &daemon, false, 1);
	check_own(false, PLAN_SWAP, &cron, false, 1);
	check_own(false, PLAN_SWAP, &none, false, 0); /* that it was never run is a note */
	check_own(true, PLAN_NOTHING, &daemon, false, 0);
	check_own(true, PLAN_ELEMENTS, &daemon, false, 0);
	check_own(true, PLAN_SWAP, &daemon, false, 1);
	check_own(true, PLAN_SWAP, &cron, false, 1);
	check_own(true, PLAN_SWAP, &late, false, 0); /* said already */
	check_own(false, PLAN_SWAP, &daemon, true, 0);
}

static void check_drift(const struct config *config, const struct drift *drift, const char *what)
{
	struct findings findings = {0};

	doctor_drift(config, drift, &findings);
	assert_int_equal(findings.problems, what != NULL);
	if (what) {
		assert_string_equal(findings.list[0].check, "elements");
		assert_string_equal(findings.list[0].what, what);
	}
	findings_clear(&findings);
}

static void test_drift(void **state)
{
	const struct config config = {.table = "sipfence"},
			    sets = {.table = "filter", .sets_only = true};
	struct drift drift = {0};

	(void)state;
	check_drift(&config, &drift, NULL);
	drift.missing.count = 1;
	drift.missing.first[0].set = "phones4";
	drift.missing.first[0].prefix = prefix_of(&(struct addr){.bytes = {203, 0, 113, 7}}, 32);
	check_drift(&config, &drift,
		"the table inet sipfence is not as the last run left it: 1 element is missing: "
		"203.0.113.7 (phones4)");
	check_drift(&sets, &drift,
		"the sets in the table inet filter are not as the last run left them: 1 element "
		"is missing: 203.0.113.7 (phones4)");
}

static void test_former_table(void **state)
{
	struct findings findings = {0};

	(void)state;
	doctor_former_table("old", &(struct observed){.present = true}, &findings);
	assert_int_equal(findings.problems, 1);
	assert_string_equal(findings.list[0].change, "nft delete table inet old");
	doctor_former_table("old", &(struct observed){.present = true, .monitor = true}, &findings);
	doctor_former_table("old", &(struct observed){.present = true, .owned = true}, &findings);
	assert_int_equal(findings.problems, 1);
	assert_int_equal(findings.count, 3);
	assert_null(strstr(findings.list[1].why, "drop"));
	assert_non_null(strstr(findings.list[1].what, "drops nobody"));
	assert_null(strstr(findings.list[2].change, "delete"));
	findings_clear(&findings);
}

/* --- resolv.conf --- */

static void test_resolv_conf(void **state)
{
	static const char text[] = "# nameserver 192.0.2.1\n"
				   "nameserver 127.0.0.1\n"
				   "\tnameserver\t2001:db8::53 # more\r\n"
				   "nameserver fe80::1%eth0\n"
				   "nameserver\n"
				   "nameservers 192.0.2.2\n"
				   "nameserver   192.0.2.3";
	static const char *const wanted[] = {"127.0.0.1", "2001:db8::53", "192.0.2.3"};
	struct doctor_server servers[4];
	size_t odd;

	(void)state;
	assert_int_equal(doctor_resolv_conf(text, strlen(text), servers, 4, &odd), 3);
	assert_int_equal(odd, 1);
	for (size_t i = 0; i < 3; i++) {
		char address[ADDR_TEXT_SIZE];

		addr_print(&servers[i].server.addr, address);
		assert_string_equal(address, wanted[i]);
		assert_int_equal(servers[i].server.port, 53);
	}
	assert_int_equal(doctor_resolv_conf(text, strlen(text), servers, 2, &odd), 2);
	assert_int_equal(doctor_resolv_conf("", 0, servers, 4, &odd), 0);
	assert_int_equal(odd, 0);
}

/* --- Scripts for nft --- */

static void check_script(const char *text, size_t problems, size_t notes, const char *place)
{
	for (int owned = 0; owned < 2; owned++) {
		struct findings findings = {0};

		doctor_nft_script("f", text, strlen(text), "sipfence", owned, &findings);
		assert_int_equal(findings.count, problems + notes);
		assert_int_equal(findings.problems, owned ? findings.count : problems);
		if (place)
			assert_string_equal(findings.list[0].place, place);
		findings_clear(&findings);
	}
}

static void test_scripts(void **state)
{
	(void)state;
	check_script("", 0, 0, NULL);
	check_script("table inet sipfence {\n\tflags \n\tset x {\n\t}\n}\n", 1, 0, "f:1");
	check_script("table inet sipfence { # handle 7\n\tflags # handle\n\n\tmap p {\n\t}\n}\n", 1,
		0, "f:1");
	check_script("table inet sipfence {\n\tflags ;\n}\n", 1, 0, "f:1");
	check_script("table inet sipfence {\n\tflags }", 1, 0, "f:1");
	check_script("\n\ntable inet sipfence { # progname x\n\tflags owner\n}", 0, 1, "f:3");
	check_script("flush ruleset; table inet sipfence {flags owner,persist;}", 0, 1, "f:1");
	check_script("table inet sipfence {\n\tflags dormant\n}\n", 0, 1, "f:1");
	check_script(
		"table inet sipfence {\n\tchain c {\n\t}\n\tset s {\n\t\tflags interval\n\t}\n}\n",
		0, 1, "f:1");
	check_script("table inet sipfence {\n\tmap m {\n\t\tflags \n\t}\n}\n", 0, 1, "f:1");
	check_script("table ip sipfence {\n\tflags \n}\n", 0, 0, NULL);
	check_script("table inet sipfence2 {\n\tflags \n}\n", 0, 0, NULL);
	check_script("# table inet sipfence {\n#flags \n", 0, 0, NULL);
	check_script("delete table inet sipfence\n", 0, 0, NULL);
	check_script("table inet sipfence {", 0, 1, NULL);
	check_script("table inet", 0, 0, NULL);
	check_script("add rule x y \"table inet sipfence {\" \"", 0, 0, NULL);
}

static void take(void *context, const char *pattern)
{
	struct text *text = context;

	text_printf(text, "%s|", pattern);
}

static void test_includes(void **state)
{
	static const char script[] =
		"include \"/etc/nftables/*.nft\"\n# include \"no\"\n"
		"include\n\"no\"\ninclude \"\"; include \"b\"\ninclude \"open\n";
	struct text text = {0};

	(void)state;
	doctor_nft_includes(script, strlen(script), take, &text);
	assert_string_equal(text_string(&text), "/etc/nftables/*.nft|b|");
	text_free(&text);
}

/* --- Modes --- */

static void test_may(void **state)
{
	gid_t groups[] = {300, 301};
	const struct doctor_user user = {.uid = 100,
					 .gid = 200,
					 .name = "x",
					 .groups = groups,
					 .group_count = 2},
				 root = {.name = "root"};
	static const struct {
		uid_t uid;
		gid_t gid;
		mode_t mode;
		bool read, enter;
	} cases[] = {
		{0, 0, 0644, true, false},
		{0, 0, 0640, false, false},
		{0, 200, 0640, true, false},
		{0, 200, 0604, false, false},
		{100, 0, 0400, true, false},
		{100, 200, 0077, false, false},
		{0, 0, 0711, false, true},
		{0, 200, 0710, false, true},
		{0, 301, 0640, true, false},
		{0, 301, 0604, false, false},
		{0, 302, 0640, false, false},
		{0, 300, 0710, false, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stat status = {
			.st_uid = cases[i].uid, .st_gid = cases[i].gid, .st_mode = cases[i].mode};

		assert_int_equal(doctor_may(&status, &user, R_OK), cases[i].read);
		assert_int_equal(doctor_may(&status, &user, X_OK), cases[i].enter);
		assert_true(doctor_may(&status, &root, R_OK));
	}
}

/* --- Asterisk's files --- */

static int read_memory(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const char *text = context;

	(void)base;
	(void)error;
	*ret_sources = calloc(1, sizeof(**ret_sources));
	assert_non_null(*ret_sources);
	(*ret_sources)->path = strdup(pattern);
	(*ret_sources)->data = strdup(text);
	(*ret_sources)->length = strlen(text);
	*ret_count = 1;
	return 0;
}

struct world {
	struct asterisk_conf *conf;
	struct asterisk_inventory inventory;
};

static void open_world(enum asterisk_file file, const char *text, struct world *ret_world)
{
	const struct asterisk_conf *confs[ASTERISK_FILE_COUNT] = {0};
	struct error error = {0};

	assert_int_equal(
		asterisk_conf_parse("f", read_memory, (void *)text, &ret_world->conf, &error), 0);
	confs[file] = ret_world->conf;
	assert_int_equal(asterisk_inventory_make(confs, &ret_world->inventory), 0);
}

static void close_world(struct world *world)
{
	asterisk_inventory_clear(&world->inventory);
	asterisk_conf_free(world->conf);
}

/* "udp 5060 tcp 5061 " */
static void check_ports(enum asterisk_file file, const char *text, const char *wanted)
{
	struct text found = {0};
	struct world world;

	open_world(file, text, &world);
	for (size_t i = 0; i < world.inventory.port_count; i++)
		text_printf(&found, "%s %u ",
			world.inventory.ports[i].protocol == PROTOCOL_TCP ? "tcp" : "udp",
			world.inventory.ports[i].port);
	assert_string_equal(text_string(&found), wanted);
	text_free(&found);
	close_world(&world);
}

static void test_ports_of_sip_conf(void **state)
{
	static const enum asterisk_file file = ASTERISK_SIP_CONF;

	(void)state;
	check_ports(file, "[general]\n", "udp 5060 ");
	check_ports(file, "[general]\nbindport=5160\n", "udp 5160 ");
	check_ports(file, "[general]\nbindaddr=0.0.0.0:5161\n", "udp 5161 ");
	check_ports(file, "[general]\nudpbindaddr=[::]:5162\n", "udp 5162 ");
	check_ports(file, "[general]\nudpbindaddr=::\n", "udp 5060 ");
	check_ports(file, "[general]\ntcpenable=yes\ntlsenable=yes\ntlsbindaddr=0.0.0.0\n",
		"udp 5060 tcp 5060 tcp 5061 ");
	check_ports(
		file, "[general]\ntcpenable=yes\ntcpbindaddr=0.0.0.0:5170\n", "udp 5060 tcp 5170 ");
	check_ports(file, "[general]\nbindport=99999\n", "udp 5060 ");
}

static void test_ports_of_pjsip_conf(void **state)
{
	static const enum asterisk_file file = ASTERISK_PJSIP_CONF;

	(void)state;
	check_ports(file, "[a]\ntype=transport\nbind=0.0.0.0\n", "udp 5060 ");
	check_ports(file, "[a]\ntype=transport\nprotocol=tls\nbind=[::]\n", "tcp 5061 ");
	check_ports(file, "[a]\ntype=transport\nprotocol=tcp\nbind=192.0.2.1:5070\n", "tcp 5070 ");
	check_ports(file, "[a]\ntype=transport\nprotocol=wss\nbind=0.0.0.0\n", "");
	check_ports(file, "[a](!)\ntype=transport\n[b](a)\nbind=0.0.0.0:5071\n", "udp 5071 ");
}

/* "id host " of each trunk */
static void check_trunks(enum asterisk_file file, const char *text, const char *wanted)
{
	struct text found = {0};
	struct world world;

	open_world(file, text, &world);
	for (size_t i = 0; i < world.inventory.trunk_count; i++)
		text_printf(&found, "%s %s%s ", world.inventory.trunks[i].id,
			world.inventory.trunks[i].host,
			world.inventory.trunks[i].usable ? "" : "?");
	assert_string_equal(text_string(&found), wanted);
	text_free(&found);
	close_world(&world);
}

static void test_trunks(void **state)
{
	(void)state;
	check_trunks(ASTERISK_SIP_CONF,
		"[general]\nregister => u:p@w@sip.a.example:5061/77\nregister => tcp://u@203.0.113.9\n"
		"register => no-host\n[b]\nhost=sip.b.example\n[c]\nhost=gw\n[d]\nhost=10.0.0.1\n",
		"b sip.b.example c gw? sip.a.example sip.a.example 203.0.113.9 203.0.113.9 ");
	check_trunks(ASTERISK_SIP_CONF,
		"[general]\nregister => u@SIP.b.example\n[b]\ntype=peer\nhost=sip.b.example\n",
		"b sip.b.example ");
	check_trunks(ASTERISK_PJSIP_CONF,
		"[c]\ntype=endpoint\naors=c\n[c]\ntype=aor\ncontact=sip:u@[2001:db8::1]:5060\n"
		"[c]\ntype=identify\nendpoint=c\nmatch=192.0.2.0/28, sip.c.example\n",
		"c 2001:db8::1 c 192.0.2.0/28 c sip.c.example ");
	check_trunks(ASTERISK_PJSIP_CONF,
		"[r]\ntype=registration\nserver_uri=sip:sip.r.example:5060\\;transport=tcp\n",
		"sip.r.example sip.r.example ");
	check_trunks(ASTERISK_PJSIP_WIZARD_CONF,
		"[w]\ntype=wizard\nremote_hosts=sip.w.example:5060,203.0.113.3\n",
		"w sip.w.example w 203.0.113.3 ");
}

static void test_phones(void **state)
{
	static const struct {
		enum asterisk_file file;
		const char *text;
		bool bound, local, open, hashed;
		size_t length;
	} cases[] = {
		{ASTERISK_SIP_CONF, "[1]\nhost=dynamic\nsecret=abc\n", false, false, false, false,
			3},
		{ASTERISK_SIP_CONF, "[1]\ntype=friend\n", false, false, true, false, 0},
		{ASTERISK_SIP_CONF, "[1]\nhost=dynamic\nmd5secret=0f\n", false, false, false, true,
			0},
		{ASTERISK_SIP_CONF, "[1]\nhost=192.168.1.5\nsecret=abcd\n", false, true, false,
			false, 4},
		{ASTERISK_SIP_CONF,
			"[1]\nhost=dynamic\nsecret=a\ndeny=0.0.0.0/0\npermit=10.0.0.0/8\npermit=fd00::/8\n",
			true, true, false, false, 1},
		{ASTERISK_SIP_CONF,
			"[1]\nhost=dynamic\nsecret=a\ndeny=0.0.0.0/0\npermit=10.0.0.0/8\n"
			"permit=203.0.113.0/24\n",
			true, false, false, false, 1},
		{ASTERISK_SIP_CONF, "[1]\nhost=dynamic\nsecret=a\npermit=10.0.0.0/8\n", false,
			false, false, false, 1},
		{ASTERISK_SIP_CONF, "[1]\nhost=dynamic\nsecret=a\nacl=x\n", true, false, false,
			false, 1},
		{ASTERISK_PJSIP_CONF,
			"[1]\ntype=endpoint\nauth=1\nacl=x\n[1]\ntype=auth\npassword=abcde\n", true,
			false, false, false, 5},
		{ASTERISK_PJSIP_CONF,
			"[1]\ntype=endpoint\nauth=1\n[1]\ntype=auth\nauth_type=md5\nmd5_cred=0f\n",
			false, false, false, true, 0},
		{ASTERISK_PJSIP_CONF, "[1]\ntype=endpoint\naors=1\n[1]\ntype=aor\n", false, false,
			true, false, 0},
		{ASTERISK_PJSIP_CONF,
			"[1]\ntype=endpoint\nauth=a,b\n[a]\ntype=auth\npassword=abcdef\n"
			"[b]\ntype=auth\npassword=abc\n",
			false, false, false, false, 3},
		{ASTERISK_PJSIP_WIZARD_CONF,
			"[1]\ntype=wizard\naccepts_auth=yes\ninbound_auth/password=ab\n"
			"endpoint/deny=0.0.0.0/0\nendpoint/permit=10.1.0.0/16\n",
			true, true, false, false, 2},
		/* What the wizard is not told to ask for is not asked for. */
		{ASTERISK_PJSIP_WIZARD_CONF, "[1]\ntype=wizard\ninbound_auth/password=ab\n", false,
			false, true, false, 0},
		{ASTERISK_PJSIP_WIZARD_CONF, "[1]\ntype=wizard\naccepts_auth=yes\n", false, false,
			false, false, 0},
		{ASTERISK_PJSIP_CONF, "[1]\ntype=endpoint\nauth=1\n[1]\ntype=auth\n", false, false,
			false, false, 0},
		{ASTERISK_PJSIP_CONF,
			"[1]\ntype=endpoint\nauth=1\n[1]\ntype=auth\nauth_type=google_oauth\n",
			false, false, false, true, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world world;

		open_world(cases[i].file, cases[i].text, &world);
		assert_int_equal(world.inventory.phone_count, 1);
		assert_int_equal(world.inventory.phones[0].bound, cases[i].bound);
		assert_int_equal(world.inventory.phones[0].local, cases[i].local);
		assert_int_equal(world.inventory.phones[0].open, cases[i].open);
		assert_int_equal(world.inventory.phones[0].hashed, cases[i].hashed);
		assert_int_equal(world.inventory.phones[0].secret_length, cases[i].length);
		close_world(&world);
	}
}

/* An endpoint whose password stands elsewhere is not one without a password. */
static void test_a_password_that_is_not_in_the_files(void **state)
{
	static const struct {
		enum asterisk_file file;
		const char *text, *unseen;
		size_t problems, unchecked;
	} cases[] = {
		{ASTERISK_PJSIP_CONF, "[1]\ntype=endpoint\nauth=a1\n[2]\ntype=auth\npassword=x\n",
			"a1", 0, 1},
		/* A template is no section of its own. */
		{ASTERISK_PJSIP_CONF,
			"[1]\ntype=endpoint\nauth=a1\n[a1](!)\ntype=auth\npassword=x\n", "a1", 0,
			1},
		{ASTERISK_PJSIP_WIZARD_CONF, "[1]\ntype=wizard\nendpoint/auth=a1\n", "a1", 0, 1},
		{ASTERISK_PJSIP_CONF, "[1]\ntype=endpoint\n[a1]\ntype=auth\npassword=x\n", NULL, 1,
			0},
		{ASTERISK_PJSIP_CONF, "[1]\ntype=endpoint\nauth=a1\n[a1]\ntype=auth\nusername=1\n",
			NULL, 1, 0},
	};
	const struct config config = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct findings findings = {0};
		const char *unseen;
		struct world world;

		open_world(cases[i].file, cases[i].text, &world);
		unseen = world.inventory.phones[0].unseen;
		assert_int_equal(unseen != NULL, cases[i].unseen != NULL);
		if (unseen)
			assert_string_equal(unseen, cases[i].unseen);
		doctor_asterisk(&config, &world.inventory, &findings);
		assert_int_equal(findings.problems, cases[i].problems);
		assert_int_equal(findings.unchecked_count, cases[i].unchecked);
		findings_clear(&findings);
		close_world(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_findings_are_counted),
		cmocka_unit_test(test_a_text_that_failed_is_no_finding_unseen),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_servers),
		cmocka_unit_test(test_servers_that_lie_or_are_slow),
		cmocka_unit_test(test_keeper),
		cmocka_unit_test(test_crontabs),
		cmocka_unit_test(test_own_table),
		cmocka_unit_test(test_drift),
		cmocka_unit_test(test_former_table),
		cmocka_unit_test(test_resolv_conf),
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_includes),
		cmocka_unit_test(test_may),
		cmocka_unit_test(test_ports_of_sip_conf),
		cmocka_unit_test(test_ports_of_pjsip_conf),
		cmocka_unit_test(test_trunks),
		cmocka_unit_test(test_phones),
		cmocka_unit_test(test_a_password_that_is_not_in_the_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
