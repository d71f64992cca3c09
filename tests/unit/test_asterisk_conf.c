/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_conf.h"
#include "check.h"

#include <errno.h>
#include <string.h>

/* The files of a test: {name, content, …, NULL}. */
static int read_memory(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const char *const *files = context;

	(void)base;
	for (; *files; files += 2) {
		if (strcmp(files[0], pattern) != 0)
			continue;
		*ret_sources = calloc(1, sizeof(**ret_sources));
		assert_non_null(*ret_sources);
		(*ret_sources)->path = strdup(files[0]);
		(*ret_sources)->data = strdup(files[1]);
		(*ret_sources)->length = strlen(files[1]);
		*ret_count = 1;
		return 0;
	}
	return error_set(error, -ENOENT, "", "%s: no such file", pattern);
}

static struct asterisk_conf *parse(const char *const *files)
{
	struct asterisk_conf *conf = NULL;
	struct error error = {0};

	assert_int_equal(
		asterisk_conf_parse(files[0], read_memory, (void *)files, &conf, &error), 0);
	return conf;
}

static const struct asterisk_section *section(const struct asterisk_conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->count; i++) {
		if (strcmp(conf->sections[i].name, name) == 0)
			return &conf->sections[i];
	}
	fail_msg("there is no section %s", name);
	return NULL;
}

static const char *value(const struct asterisk_conf *conf, const char *name, const char *key)
{
	const struct asterisk_setting *setting = asterisk_conf_get(section(conf, name), key);

	return setting ? setting->value : NULL;
}

static void test_settings_and_comments(void **state)
{
	static const char *const files[] = {"sip.conf",
		"; a comment\n[general]\nudpbindaddr = 0.0.0.0:5060 ; more\r\n"
		"alwaysAuthReject=>yes\n"
		"[21]\nsecret=with\\;semicolon\nacl = sipfence-21\nacl=sipfence-22\n"
		"empty=\n;-- one\nsecret=hidden\n;-- two --;\nsecret=hidden\n--;\nlast=seen\n"
		";--- a line of dashes ---\nbehind=seen",
		NULL};
	struct asterisk_conf *conf = parse(files);

	(void)state;
	assert_int_equal(conf->count, 2);
	assert_string_equal(value(conf, "general", "udpbindaddr"), "0.0.0.0:5060");
	assert_string_equal(value(conf, "general", "ALWAYSauthreject"), "yes");
	assert_string_equal(value(conf, "21", "secret"), "with;semicolon");
	assert_string_equal(value(conf, "21", "acl"), "sipfence-22");
	assert_string_equal(value(conf, "21", "empty"), "");
	assert_string_equal(value(conf, "21", "last"), "seen");
	assert_string_equal(value(conf, "21", "behind"), "seen");
	assert_null(value(conf, "21", "nothing"));
	assert_int_equal(asterisk_conf_get(section(conf, "21"), "acl")->line, 8);
	assert_int_equal(section(conf, "21")->line, 5);
	assert_int_equal(conf->unknown, 0);
	asterisk_conf_free(conf);
}

static void test_templates(void **state)
{
	static const char *const files[] = {"sip.conf",
		"[base](!)\nhost=dynamic\nacl=all\n[nat](!)\nnat=yes\n"
		"[21](base, nat)\nsecret=a\n[22](base)\nacl=own\n[23](nowhere)\n"
		"[21](+)\nlate=yes\n[office](!,base)\nx=1\n[24](office)\n",
		NULL};
	struct asterisk_conf *conf = parse(files);

	(void)state;
	assert_true(section(conf, "base")->is_template);
	assert_false(section(conf, "21")->is_template);
	assert_string_equal(value(conf, "21", "host"), "dynamic");
	assert_string_equal(value(conf, "21", "nat"), "yes");
	assert_string_equal(value(conf, "21", "acl"), "all");
	assert_string_equal(value(conf, "21", "late"), "yes");
	assert_string_equal(value(conf, "22", "acl"), "own");
	assert_true(section(conf, "office")->is_template);
	assert_string_equal(value(conf, "24", "acl"), "all");
	assert_string_equal(value(conf, "24", "x"), "1");
	assert_int_equal(conf->count, 7);
	assert_int_equal(conf->unknown, 1);
	asterisk_conf_free(conf);
}

static void test_sections_of_one_name_stay_apart(void **state)
{
	static const char *const files[] = {"pjsip.conf",
		"[22]\ntype=endpoint\n[22]\ntype=aor\n[22](+)\nmax_contacts=1\n", NULL};
	struct asterisk_conf *conf = parse(files);

	(void)state;
	assert_int_equal(conf->count, 2);
	assert_string_equal(asterisk_conf_get(&conf->sections[0], "type")->value, "endpoint");
	assert_string_equal(asterisk_conf_get(&conf->sections[1], "max_contacts")->value, "1");
	asterisk_conf_free(conf);
}

static void test_includes(void **state)
{
	static const char *const files[] = {"sip.conf",
		"[general]\n#include \"a.conf\"\nafter=1\n#tryinclude nothing.conf\n"
		"#include <b.conf>\n#exec /bin/true\n",
		"a.conf", "inside=1\n[21]\nsecret=x\n;-- never closed\n", "b.conf", "[22]\n", NULL};
	struct asterisk_conf *conf = parse(files);

	(void)state;
	assert_string_equal(value(conf, "general", "inside"), "1");
	assert_string_equal(value(conf, "21", "after"), "1");
	assert_string_equal(section(conf, "21")->file, "a.conf");
	assert_string_equal(asterisk_conf_get(section(conf, "21"), "after")->file, "sip.conf");
	assert_int_equal(section(conf, "22")->count, 0);
	assert_int_equal(conf->unknown, 2);
	asterisk_conf_free(conf);
}

static void test_a_file_that_includes_itself_ends(void **state)
{
	static const char *const once[] = {"sip.conf", "[a]\nx=1\n#include sip.conf\n", NULL};
	static const char *const twice[] = {
		"sip.conf", "[a]\n#include sip.conf\n#include sip.conf\n", NULL};
	struct asterisk_conf *conf = parse(once);
	struct error error = {0};

	(void)state;
	assert_int_equal(conf->count, ASTERISK_CONF_DEPTH);
	assert_int_equal(conf->unknown, 1);
	asterisk_conf_free(conf);
	assert_int_equal(
		asterisk_conf_parse("sip.conf", read_memory, (void *)twice, &conf, &error), -E2BIG);
	assert_int_equal(error.code, -E2BIG);
}

/* Each template takes over the one before it, twice. */
static void test_templates_that_double_end(void **state)
{
	struct text text = {0};
	struct asterisk_conf *conf = NULL;
	struct error error = {0};
	const char *files[3] = {"sip.conf"};

	(void)state;
	text_puts(&text, "[t0](!)\nx=1\n");
	for (int i = 1; i < 40; i++)
		text_printf(&text, "[t%d](!,t%d,t%d)\n", i, i - 1, i - 1);
	files[1] = text_string(&text);
	assert_int_equal(
		asterisk_conf_parse("sip.conf", read_memory, (void *)files, &conf, &error), -E2BIG);
	text_free(&text);
}

static void test_what_is_no_line_is_counted(void **state)
{
	static const char *const files[] = {
		"sip.conf", "before=1\n[21\n[22]\nno equals sign\n=x\n[23](22\n](\n", NULL};
	struct asterisk_conf *conf = parse(files);
	struct error error = {0};
	static const char *const none[] = {"x", "", NULL};

	(void)state;
	assert_int_equal(conf->unknown, 4);
	assert_int_equal(conf->count, 2);
	asterisk_conf_free(conf);
	assert_int_equal(
		asterisk_conf_parse("y", read_memory, (void *)none, &conf, &error), -ENOENT);
	assert_true(asterisk_conf_is_true("Yes"));
	assert_false(asterisk_conf_is_true("no"));
	assert_null(asterisk_conf_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_settings_and_comments),
		cmocka_unit_test(test_templates),
		cmocka_unit_test(test_sections_of_one_name_stay_apart),
		cmocka_unit_test(test_includes),
		cmocka_unit_test(test_a_file_that_includes_itself_ends),
		cmocka_unit_test(test_templates_that_double_end),
		cmocka_unit_test(test_what_is_no_line_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
