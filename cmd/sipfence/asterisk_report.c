/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_work.h"
#include "client.h"
#include "json_put.h"
#include "words.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- For people --- */

void asterisk_say_match(
	const struct asterisk_work *work, uint32_t extension, enum asterisk_match match)
{
	char name[ASTERISK_ACL_NAME_SIZE];

	asterisk_acl_name(work->config->owners[extension].id, name);
	say_warning(
		work->invocation, "in Asterisk the ACL %s %s", name, asterisk_match_text(match));
}

static bool is_there(const struct asterisk_source *source)
{
	return source->conf || source->error.code != -ENOENT;
}

static size_t say_sources(const struct asterisk_work *work)
{
	size_t said = 0;

	for (int i = 0; i < ASTERISK_FILE_COUNT; i++) {
		const struct asterisk_source *source = &work->setup.sources[i];

		if (source->conf || !is_there(source))
			continue;
		say_warning(work->invocation, "%s; what it binds to ACLs is not known%s%s",
			source->error.what, source->error.next[0] ? ": " : "", source->error.next);
		said++;
	}
	if (said > 0 || asterisk_setup_has_phones(&work->setup))
		return said;
	say_warning(work->invocation,
		"there is neither %s nor %s: whether Asterisk's peers and endpoints are bound to "
		"their ACLs is not known",
		work->setup.sources[ASTERISK_SIP_CONF].path,
		work->setup.sources[ASTERISK_PJSIP_CONF].path);
	return 1;
}

static size_t say_binding(const struct asterisk_work *work, const struct asterisk_binding *binding)
{
	const char *id = work->config->owners[binding->extension].id;
	const char *key = asterisk_setup_key(binding->file);
	const char *custom =
		asterisk_conf_custom(work->setup.sources[binding->file].conf, binding->path);
	char name[ASTERISK_ACL_NAME_SIZE];

	if (binding->bound == ASTERISK_BOUND)
		return 0;
	asterisk_acl_name(id, name);
	if (custom)
		say_warning(work->invocation,
			"%s:%zu: [%s] is bound to %s%.200s; FreePBX writes that file anew, so add to "
			"%s: [%s](+), and below it: %s=%s",
			binding->path, binding->line, id,
			binding->other ? "another ACL, " : "no ACL",
			binding->other ? binding->other : "", custom, id, key, name);
	else if (binding->bound == ASTERISK_NOT_BOUND)
		say_warning(work->invocation,
			"%s:%zu: [%s] is bound to no ACL; add below that line: %s=%s",
			binding->path, binding->line, id, key, name);
	else
		say_warning(work->invocation,
			"%s:%zu: [%s] is bound to another ACL, %.200s; add: %s=%s", binding->path,
			binding->line, id, binding->other, key, name);
	return 1;
}

/* #exec, includes that can't be read: there may be more than is seen. */
static size_t count_unread(const struct asterisk_setup *setup)
{
	size_t unread = 0;

	for (int i = 0; i < ASTERISK_ACL_CONF; i++)
		unread += setup->sources[i].conf ? setup->sources[i].conf->unknown : 0;
	return unread;
}

static size_t say_unknown(const struct asterisk_work *work)
{
	struct text list = {0};
	size_t count = 0, unread = count_unread(&work->setup);

	if (!asterisk_setup_has_phones(&work->setup))
		return 0;
	for (uint32_t i = 0; i < work->acls.count; i++) {
		if (work->setup.known[i])
			continue;
		text_printf(&list, "%s%s", count++ > 0 ? ", " : "", work->config->owners[i].id);
	}
	if (count > 0)
		say_warning(work->invocation, "Asterisk's files have no extension %s%s",
			text_string(&list),
			unread > 0 ? "; but they have lines that could not be followed (#exec, or "
				     "an #include of a file that cannot be read)"
				   : "");
	text_free(&list);
	return count;
}

bool asterisk_lacks_include(const struct asterisk_work *work, struct text *line)
{
	const struct asterisk_source *source = &work->setup.sources[ASTERISK_ACL_CONF];
	const char *file = work->config->asterisk.acl_file, *name = strrchr(file, '/');
	const char *folder_end = strrchr(source->path, '/');
	size_t folder = folder_end ? (size_t)(folder_end + 1 - source->path) : 0;

	if (work->setup.included || (!source->conf && source->error.code != -ENOENT))
		return false;
	/* Asterisk looks beside acl.conf. In a container that has another path. */
	if (folder > 0 && strncmp(file, source->path, folder) == 0)
		name = file + folder - 1;
	text_printf(line, "#tryinclude %s", name ? name + 1 : file);
	return true;
}

static bool folder_is_missing(const char *path)
{
	char folder[PATH_MAX];

	return snprintf(folder, sizeof(folder), "%s", path) < (int)sizeof(folder) &&
	       access(dirname(folder), F_OK) < 0 && errno == ENOENT;
}

static size_t say_acl_conf(const struct asterisk_work *work)
{
	const char *path = work->setup.sources[ASTERISK_ACL_CONF].path;
	struct text line = {0};
	size_t said = 0;

	if (asterisk_lacks_include(work, &line)) {
		if (folder_is_missing(path))
			say_warning(work->invocation,
				"there is no folder for %s: correct asterisk.acl-file in the "
				"config, which stands beside acl.conf, or install Asterisk",
				path);
		else
			say_warning(work->invocation, "%s %s: %s", path,
				work->setup.sources[ASTERISK_ACL_CONF].conf
					? "does not include the ACLs; add to it"
					: "does not exist; make it, with this line",
				text_string(&line));
		said++;
	}
	if (work->setup.general) {
		say_warning(work->invocation,
			"%s has a section [general]: Asterisk then discards all ACLs; remove it",
			path);
		said++;
	}
	text_free(&line);
	return said;
}

/* Whoever is to be bound to an ACL comes after it. */
static void say_order(const struct asterisk_work *work)
{
	const struct asterisk_setup *setup = &work->setup;
	size_t unbound = 0;

	for (size_t i = 0; i < setup->count; i++)
		unbound += setup->bindings[i].bound != ASTERISK_BOUND;
	say_note(work->invocation,
		"then `sipfence asterisk --write`, until it ends with 0: whoever is bound to an "
		"ACL that is not there is kept out%s",
		unbound > 0 ? "; and only then:" : "");
}

size_t asterisk_say_setup(const struct asterisk_work *work)
{
	const struct asterisk_setup *setup = &work->setup;
	bool chan_sip = false, pjsip = false;
	size_t said = say_sources(work), lacks = say_acl_conf(work), unbound = 0;

	if (lacks > 0 && !folder_is_missing(setup->sources[ASTERISK_ACL_CONF].path))
		say_order(work);
	for (size_t i = 0; i < setup->count; i++) {
		const struct asterisk_binding *binding = &setup->bindings[i];

		unbound += say_binding(work, binding);
		if (binding->bound != ASTERISK_BOUND) {
			chan_sip |= binding->file == ASTERISK_SIP_CONF;
			pjsip |= binding->file != ASTERISK_SIP_CONF;
		}
	}
	if (unbound > 0)
		say_note(work->invocation, "after that, once: %s%s%s",
			chan_sip ? "asterisk -rx 'sip reload'" : "",
			chan_sip && pjsip ? " and " : "",
			pjsip ? "asterisk -rx 'module reload res_pjsip.so'" : "");
	return said + lacks + unbound + say_unknown(work);
}

/* --- For programs --- */

static void put_text(struct text *text, const char *key, const char *value)
{
	json_put_key(text, key);
	json_put_string(text, value);
}

void asterisk_put_head(
	const struct asterisk_work *work, const char *result, int exit_code, struct text *text)
{
	json_put_open(text, "{");
	json_put_key(text, "version");
	json_put_number(text, 1);
	put_text(text, "command", work->invocation->command);
	put_text(text, "result", result);
	json_put_key(text, "exit");
	json_put_number(text, exit_code);
	put_text(text, "acl_file", work->config->asterisk.acl_file);
}

static const char *match_word(int match)
{
	static const char *const words[] = {
		[ASTERISK_EQUAL] = "equal",
		[ASTERISK_MISSING] = "missing",
		[ASTERISK_OPEN] = "open",
		[ASTERISK_DIFFERENT] = "different",
		[ASTERISK_UNREADABLE] = "unreadable",
	};

	return match < 0 ? NULL : words[match];
}

void asterisk_put_acls(const struct asterisk_work *work, const int *matches, struct text *text)
{
	json_put_key(text, "acls");
	json_put_open(text, "[");
	for (uint32_t i = 0; i < work->acls.count; i++) {
		const struct acl *acl = &work->acls.list[i];
		char name[ASTERISK_ACL_NAME_SIZE];

		asterisk_acl_name(work->config->owners[i].id, name);
		json_put_open(text, "{");
		put_text(text, "extension", work->config->owners[i].id);
		put_text(text, "name", name);
		json_put_key(text, "permits");
		json_put_open(text, "[");
		for (size_t j = 0; j < acl->count; j++)
			json_put_prefix(text, &acl->permits[j]);
		json_put_close(text, "]");
		if (matches)
			put_text(text, "in_asterisk", match_word(matches[i]));
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
}

static void put_binding(
	const struct asterisk_work *work, const struct asterisk_binding *binding, struct text *text)
{
	static const char *const words[] = {
		[ASTERISK_BOUND] = "bound",
		[ASTERISK_NOT_BOUND] = "not bound",
		[ASTERISK_BOUND_ELSEHOW] = "other",
	};
	const char *id = work->config->owners[binding->extension].id;
	char name[ASTERISK_ACL_NAME_SIZE];
	struct text line = {0};

	asterisk_acl_name(id, name);
	if (binding->bound != ASTERISK_BOUND)
		text_printf(&line, "%s=%s", asterisk_setup_key(binding->file), name);
	json_put_open(text, "{");
	put_text(text, "extension", id);
	put_text(text, "driver", asterisk_setup_driver(binding->file));
	put_text(text, "state", words[binding->bound]);
	put_text(text, "acl", binding->bound == ASTERISK_BOUND ? name : binding->other);
	put_text(text, "path", binding->path);
	json_put_key(text, "line");
	json_put_number(text, (int64_t)binding->line);
	put_text(text, "add", line.length > 0 ? text_string(&line) : NULL);
	json_put_close(text, "}");
	text->failed |= line.failed;
	text_free(&line);
}

static void put_sources(const struct asterisk_work *work, struct text *text)
{
	json_put_key(text, "files");
	json_put_open(text, "[");
	for (int i = 0; i < ASTERISK_FILE_COUNT; i++) {
		const struct asterisk_source *source = &work->setup.sources[i];

		json_put_open(text, "{");
		put_text(text, "path", source->path);
		put_text(text, "error", source->conf ? NULL : source->error.what);
		json_put_key(text, "not_followed");
		json_put_number(text, source->conf ? (int64_t)source->conf->unknown : 0);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
}

static void put_unknown(const struct asterisk_work *work, struct text *text)
{
	json_put_key(text, "not_in_asterisk");
	if (!asterisk_setup_has_phones(&work->setup)) {
		json_put_null(text);
		return;
	}
	json_put_open(text, "[");
	for (uint32_t i = 0; i < work->acls.count; i++) {
		if (!work->setup.known[i])
			json_put_string(text, work->config->owners[i].id);
	}
	json_put_close(text, "]");
}

void asterisk_put_setup(const struct asterisk_work *work, struct text *text)
{
	struct text line = {0};

	json_put_key(text, "endpoints");
	json_put_open(text, "[");
	for (size_t i = 0; i < work->setup.count; i++)
		put_binding(work, &work->setup.bindings[i], text);
	json_put_close(text, "]");
	put_unknown(work, text);
	asterisk_lacks_include(work, &line);
	put_text(text, "acl_conf_lacks", line.length > 0 ? text_string(&line) : NULL);
	json_put_key(text, "acl_conf_general");
	json_put_bool(text, work->setup.general);
	put_sources(work, text);
	text_free(&line);
}

int asterisk_print_document(const struct asterisk_work *work, struct text *text, int exit_code)
{
	json_t *document = NULL;

	json_put_close(text, "}");
	if (!text->failed)
		document = json_loadb(text_string(text), text->length, 0, NULL);
	text_free(text);
	return client_print(work->invocation, document) ? exit_code : EXIT_REFUSED;
}
