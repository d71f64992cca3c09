/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_setup.h"
#include "files.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const names[ASTERISK_FILE_COUNT] = {
	[ASTERISK_SIP_CONF] = "sip.conf",
	[ASTERISK_PJSIP_CONF] = "pjsip.conf",
	[ASTERISK_PJSIP_WIZARD_CONF] = "pjsip_wizard.conf",
	[ASTERISK_ACL_CONF] = "acl.conf",
};

const char *asterisk_setup_key(enum asterisk_file file)
{
	return file == ASTERISK_PJSIP_WIZARD_CONF ? "endpoint/acl" : "acl";
}

const char *asterisk_setup_driver(enum asterisk_file file)
{
	return file == ASTERISK_SIP_CONF ? "chan_sip" : "pjsip";
}

bool asterisk_setup_has_phones(const struct asterisk_setup *setup)
{
	return setup->sources[ASTERISK_SIP_CONF].conf || setup->sources[ASTERISK_PJSIP_CONF].conf ||
	       setup->sources[ASTERISK_PJSIP_WIZARD_CONF].conf;
}

/* --- Is there a peer, and what is it bound to? --- */

static bool is_any(const char *value, const char *const *words)
{
	for (; *words; words++) {
		if (strcasecmp(value, *words) == 0)
			return true;
	}
	return false;
}

static bool is_phone(const struct asterisk_section *section, enum asterisk_file file)
{
	static const char *const sip[] = {"peer", "friend", "user", NULL};
	static const char *const endpoint[] = {"endpoint", NULL}, *const wizard[] = {
									  "wizard", NULL};
	const struct asterisk_setting *type = asterisk_conf_get(section, "type");

	if (section->is_template)
		return false;
	if (file == ASTERISK_PJSIP_CONF)
		return type && is_any(type->value, endpoint);
	if (file == ASTERISK_PJSIP_WIZARD_CONF)
		return type && is_any(type->value, wizard);
	if (strcasecmp(section->name, "general") == 0 ||
		strcasecmp(section->name, "authentication") == 0)
		return false;
	return (type && is_any(type->value, sip)) || asterisk_conf_get(section, "host");
}

/* One of the names in "a,b"? */
static bool names_acl(const char *value, const char *name)
{
	size_t length = strlen(name);

	while (*value) {
		size_t size;

		value += strspn(value, ", \t");
		size = strcspn(value, ", \t");
		if (size == length && memcmp(value, name, length) == 0)
			return true;
		value += size;
	}
	return false;
}

/* All of them have to let a caller in: so one is enough. */
static void judge(
	const struct asterisk_section *section, const char *name, struct asterisk_binding *binding)
{
	const char *key = asterisk_setup_key(binding->file);

	binding->bound = ASTERISK_NOT_BOUND;
	binding->path = section->file;
	binding->line = section->line;
	for (size_t i = 0; i < section->count; i++) {
		const struct asterisk_setting *setting = &section->settings[i];

		if (strcasecmp(setting->key, key) != 0)
			continue;
		if (names_acl(setting->value, name)) {
			binding->bound = ASTERISK_BOUND;
			binding->path = section->file;
			binding->line = section->line;
			binding->other = NULL;
			return;
		}
		if (!setting->value[strspn(setting->value, ", \t")])
			continue;
		binding->bound = ASTERISK_BOUND_ELSEHOW;
		binding->path = setting->file;
		binding->line = setting->line;
		binding->other = setting->value;
	}
}

static int add(struct asterisk_setup *setup, const struct asterisk_binding *binding)
{
	if (setup->count == setup->capacity) {
		size_t capacity = setup->capacity ? setup->capacity * 2 : 16;
		struct asterisk_binding *grown =
			reallocarray(setup->bindings, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		setup->bindings = grown;
		setup->capacity = capacity;
	}
	setup->bindings[setup->count++] = *binding;
	return 0;
}

static int take_phones(
	const struct asterisk_acls *acls, enum asterisk_file file, struct asterisk_setup *setup)
{
	const struct asterisk_conf *conf = setup->sources[file].conf;

	for (size_t i = 0; conf && i < conf->count; i++) {
		const struct asterisk_section *section = &conf->sections[i];
		struct asterisk_binding binding = {
			.file = file, .extension = asterisk_acls_find(acls, section->name)};
		char name[ASTERISK_ACL_NAME_SIZE];

		if (binding.extension == acls->count || !is_phone(section, file))
			continue;
		setup->known[binding.extension] = true;
		asterisk_acl_name(section->name, name);
		judge(section, name, &binding);
		if (add(setup, &binding) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* --- acl.conf --- */

struct acl_reader {
	const char *acl_file;
	bool included;
};

/* `path`: where `pattern` points to from here. In a container or a chroot an absolute one may be
 * another, but has the same name. */
static bool is_acl_file(const char *acl_file, const char *pattern, const char *path)
{
	const char *name = strrchr(acl_file, '/'), *other = strrchr(pattern, '/');

	if (fnmatch(path, acl_file, FNM_PATHNAME) == 0)
		return true;
	return name && pattern[0] == '/' && strcmp(name, other) == 0;
}

/* A config_read_fn. The file itself is not looked at: it may not be there yet. */
static int read_acl_conf(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	struct acl_reader *reader = context;
	char path[PATH_MAX];

	if (base && file_beside(base, pattern, path) == 0 &&
		is_acl_file(reader->acl_file, pattern, path)) {
		reader->included = true;
		*ret_sources = NULL;
		*ret_count = 0;
		return 0;
	}
	return files_read_foreign(NULL, base, pattern, ret_sources, ret_count, error);
}

/* --- All of it --- */

/* `base`: a path in Asterisk's folder. */
static int read_file(struct asterisk_setup *setup, enum asterisk_file file, const char *base,
	const char *acl_file)
{
	struct asterisk_source *source = &setup->sources[file];
	struct acl_reader reader = {.acl_file = acl_file};
	int result = file_beside(base, names[file], source->path);

	source->error = (struct error){0};
	if (result < 0)
		return error_set(&source->error, result, "", "the path %s is too long", base);
	result = asterisk_conf_parse(source->path,
		file == ASTERISK_ACL_CONF ? read_acl_conf : files_read_foreign, &reader,
		&source->conf, &source->error);
	setup->included |= reader.included;
	return result;
}

/* 1: none of the files is there. */
static int read_folder(struct asterisk_setup *setup, const char *base, const char *acl_file)
{
	int missing = 0;

	for (int file = 0; file < ASTERISK_FILE_COUNT; file++) {
		if (read_file(setup, (enum asterisk_file)file, base, acl_file) == -ENOMEM)
			return -ENOMEM;
		missing += setup->sources[file].error.code == -ENOENT;
	}
	return missing == ASTERISK_FILE_COUNT;
}

/* The ACL file may have a folder of its own in Asterisk's, so that its writer may write no other.
 */
static int read_sources(struct asterisk_setup *setup, const char *acl_file)
{
	char base[PATH_MAX], *slash;
	int result = read_folder(setup, acl_file, acl_file);

	if (result != 1 || snprintf(base, sizeof(base), "%s", acl_file) >= (int)sizeof(base))
		return result < 0 ? result : 0;
	slash = strrchr(base, '/');
	if (!slash || slash == base)
		return 0;
	*slash = '\0';
	result = read_folder(setup, base, acl_file);
	/* Neither there: where they are looked for first is what is said. */
	if (result == 1)
		result = read_folder(setup, acl_file, acl_file);
	return result < 0 ? result : 0;
}

int asterisk_setup_read(
	const struct asterisk_acls *acls, const char *acl_file, struct asterisk_setup *ret_setup)
{
	struct asterisk_setup setup = {.known = calloc((size_t)acls->count + 1, sizeof(bool))};
	const struct asterisk_conf *conf;
	int result = setup.known ? 0 : -ENOMEM;

	if (result == 0)
		result = read_sources(&setup, acl_file);
	for (int file = 0; file < ASTERISK_ACL_CONF && result == 0; file++)
		result = take_phones(acls, (enum asterisk_file)file, &setup);
	if (result < 0) {
		asterisk_setup_clear(&setup);
		return result;
	}
	conf = setup.sources[ASTERISK_ACL_CONF].conf;
	for (size_t i = 0; conf && i < conf->count; i++)
		setup.general |= strcasecmp(conf->sections[i].name, "general") == 0;
	*ret_setup = setup;
	return 0;
}

void asterisk_setup_clear(struct asterisk_setup *setup)
{
	for (int file = 0; file < ASTERISK_FILE_COUNT; file++)
		asterisk_conf_free(setup->sources[file].conf);
	free(setup->bindings);
	free(setup->known);
	*setup = (struct asterisk_setup){0};
}
