/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_conf.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where the parser stands, over all files. */
struct parser {
	struct asterisk_conf *conf;
	config_read_fn *read;
	void *context;
	const char *path; /* of the first file: includes are relative to its folder */
	struct error *error;
	size_t current; /* index of the section that takes settings; conf->count: none yet */
	size_t files, settings;
	unsigned depth;
	unsigned comment; /* how many ;-- are open */
};

/* A piece of a line. */
struct piece {
	const char *start, *end;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct piece trim(struct piece piece)
{
	while (piece.start < piece.end && is_blank(*piece.start))
		piece.start++;
	while (piece.end > piece.start && is_blank(piece.end[-1]))
		piece.end--;
	return piece;
}

static const char *find(struct piece piece, char c)
{
	return memchr(piece.start, c, (size_t)(piece.end - piece.start));
}

static const char *copy(struct parser *parser, struct piece piece)
{
	return arena_copy(&parser->conf->arena, piece.start, (size_t)(piece.end - piece.start));
}

static int no_memory(struct parser *parser)
{
	return error_no_memory(parser->error);
}

/* --- Comments --- */

static bool at(const char *text, const char *end, const char *mark)
{
	size_t length = strlen(mark);

	return (size_t)(end - text) >= length && memcmp(text, mark, length) == 0;
}

/*
 * The line without its comments and without the backslashes that keep a `;` from being one, into
 * `out`, which has room for it; returns its length. `;--` opens a comment unless a third dash
 * follows, and `--;` closes it; they nest.
 */
static size_t strip(struct parser *parser, struct piece line, char *out)
{
	size_t length = 0;

	for (const char *c = line.start; c < line.end; c++) {
		if (parser->comment && at(c, line.end, "--;")) {
			parser->comment--;
			c += 2;
		} else if (at(c, line.end, ";--") && !at(c, line.end, ";---")) {
			parser->comment++;
			c += 2;
		} else if (parser->comment) {
			continue;
		} else if (at(c, line.end, "\\;")) {
			out[length++] = ';';
			c++;
		} else if (*c == ';') {
			break;
		} else {
			out[length++] = *c;
		}
	}
	return length;
}

/* --- Sections --- */

static int add_setting(struct parser *parser, struct asterisk_section *section,
	const struct asterisk_setting *setting)
{
	if (++parser->settings > ASTERISK_CONF_SETTINGS)
		return error_set(parser->error, -E2BIG, "see whether it includes itself",
			"%s and what it includes have more than %d settings", parser->path,
			ASTERISK_CONF_SETTINGS);
	if (section->count == section->capacity) {
		size_t capacity = section->capacity ? section->capacity * 2 : 8;
		struct asterisk_setting *grown =
			reallocarray(section->settings, capacity, sizeof(*grown));

		if (!grown)
			return no_memory(parser);
		section->settings = grown;
		section->capacity = capacity;
	}
	section->settings[section->count++] = *setting;
	return 0;
}

/* The last one of that name; conf->count: there is none. */
static size_t find_section(const struct asterisk_conf *conf, struct piece name)
{
	size_t length = (size_t)(name.end - name.start);

	for (size_t i = conf->count; i > 0; i--) {
		const char *other = conf->sections[i - 1].name;

		if (strncmp(other, name.start, length) == 0 && !other[length])
			return i - 1;
	}
	return conf->count;
}

static int add_section(struct parser *parser, struct piece name, const char *file, size_t line)
{
	struct asterisk_conf *conf = parser->conf;
	const char *text = copy(parser, name);

	if (conf->count == conf->capacity) {
		size_t capacity = conf->capacity ? conf->capacity * 2 : 16;
		struct asterisk_section *grown =
			reallocarray(conf->sections, capacity, sizeof(*grown));

		if (!grown)
			return no_memory(parser);
		conf->sections = grown;
		conf->capacity = capacity;
	}
	if (!text)
		return no_memory(parser);
	parser->current = conf->count;
	conf->sections[conf->count++] =
		(struct asterisk_section){.name = text, .file = file, .line = line};
	return 0;
}

/* What the template says so far goes into the section. */
static int take_template(struct parser *parser, size_t section, size_t template)
{
	struct asterisk_conf *conf = parser->conf;
	size_t count = conf->sections[template].count;

	for (size_t i = 0; i < count && section != template; i++) {
		struct asterisk_setting setting = conf->sections[template].settings[i];
		int result = add_setting(parser, &conf->sections[section], &setting);

		if (result < 0)
			return result;
	}
	return 0;
}

/* One word of what stands in parentheses behind [name]. */
static int take_option(struct parser *parser, size_t section, struct piece word)
{
	struct asterisk_conf *conf = parser->conf;
	size_t template;

	word = trim(word);
	if (word.end - word.start == 1 && *word.start == '+')
		return 0; /* taken already: see read_head() */
	if (word.end - word.start == 1 && *word.start == '!') {
		conf->sections[section].is_template = true;
		return 0;
	}
	template = find_section(conf, word);
	if (template == conf->count) {
		conf->unknown++;
		return 0;
	}
	return take_template(parser, section, template);
}

static bool has_plus(struct piece options)
{
	while (options.start < options.end) {
		const char *comma = find(options, ',');
		struct piece word =
			trim((struct piece){options.start, comma ? comma : options.end});

		if (word.end - word.start == 1 && *word.start == '+')
			return true;
		options.start = comma ? comma + 1 : options.end;
	}
	return false;
}

static int read_head(struct parser *parser, struct piece line, const char *file, size_t number)
{
	const char *close = find(line, ']');
	struct piece name, options = {NULL, NULL};
	int result = 0;

	if (!close) {
		parser->conf->unknown++;
		return 0;
	}
	name = (struct piece){line.start + 1, close};
	line = trim((struct piece){close + 1, line.end});
	if (line.start < line.end && *line.start == '(' && find(line, ')'))
		options = (struct piece){line.start + 1, find(line, ')')};
	parser->current = parser->conf->count;
	if (has_plus(options))
		parser->current = find_section(parser->conf, name);
	if (parser->current == parser->conf->count)
		result = add_section(parser, name, file, number);
	while (result == 0 && options.start < options.end) {
		const char *comma = find(options, ',');

		result = take_option(parser, parser->current,
			(struct piece){options.start, comma ? comma : options.end});
		options.start = comma ? comma + 1 : options.end;
	}
	return result;
}

static int read_setting(struct parser *parser, struct piece line, const char *file, size_t number)
{
	const char *equals = find(line, '=');
	struct asterisk_setting setting = {.file = file, .line = number};
	struct piece value;

	if (!equals || parser->current == parser->conf->count) {
		parser->conf->unknown++;
		return 0;
	}
	value = (struct piece){equals + 1, line.end};
	if (value.start < value.end && *value.start == '>')
		value.start++;
	setting.key = copy(parser, trim((struct piece){line.start, equals}));
	setting.value = copy(parser, trim(value));
	if (!setting.key || !setting.value)
		return no_memory(parser);
	return add_setting(parser, &parser->conf->sections[parser->current], &setting);
}

/* --- FreePBX --- */

/* In the comment with which the text begins. */
static bool is_generated(const struct config_source *source)
{
	static const char mark[] = "generated by FreePBX";
	const char *line = source->data, *end = source->data + source->length;

	while (line < end && (*line == ';' || *line == '\n' || *line == '\r')) {
		const char *feed = memchr(line, '\n', (size_t)(end - line));
		const char *stop = feed ? feed : end;

		if (memmem(line, (size_t)(stop - line), mark, sizeof(mark) - 1))
			return true;
		line = feed ? feed + 1 : end;
	}
	return false;
}

/* Those that end up behind what they add to: in the same section, or after it. */
static void put_custom(const char *file, char ret_path[PATH_MAX])
{
	static const struct {
		const char *name, *custom;
	} odd[] = {
		{"sip.conf", "sip_general_custom.conf"},
		{"sip_general_additional.conf", "sip_general_custom.conf"},
		{"sip_additional.conf", "sip_custom_post.conf"},
		{"logger.conf", "logger_logfiles_custom.conf"},
		{"logger_logfiles_additional.conf", "logger_logfiles_custom.conf"},
	};
	const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
	int folder = (int)(name - file), stem = (int)strlen(name);

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		if (strcmp(name, odd[i].name) != 0)
			continue;
		snprintf(ret_path, PATH_MAX, "%.*s%s", folder, file, odd[i].custom);
		return;
	}
	if (stem > 5 && strcmp(name + stem - 5, ".conf") == 0)
		stem -= 5;
	snprintf(ret_path, PATH_MAX, "%.*s%.*s_custom_post.conf", folder, file, stem, name);
}

static int note_generated(struct parser *parser, const char *file)
{
	struct asterisk_conf *conf = parser->conf;
	struct asterisk_generated *grown;
	char path[PATH_MAX];
	const char *custom;

	if (conf->generated_count == conf->generated_capacity) {
		size_t capacity = conf->generated_capacity ? conf->generated_capacity * 2 : 8;

		grown = reallocarray(conf->generated, capacity, sizeof(*grown));
		if (!grown)
			return no_memory(parser);
		conf->generated = grown;
		conf->generated_capacity = capacity;
	}
	put_custom(file, path);
	custom = arena_copy(&conf->arena, path, strlen(path));
	if (!custom)
		return no_memory(parser);
	conf->generated[conf->generated_count++] =
		(struct asterisk_generated){.file = file, .custom = custom};
	return 0;
}

/* --- Files --- */

/* Files include files, ASTERISK_CONF_DEPTH deep at most. */
/* NOLINTBEGIN(misc-no-recursion) */

static int read_file(struct parser *parser, const char *base, const char *pattern);

static bool directive(struct piece *line, const char *name)
{
	size_t length = strlen(name);

	if ((size_t)(line->end - line->start) <= length ||
		strncasecmp(line->start, name, length) != 0 || !is_blank(line->start[length]))
		return false;
	*line = trim((struct piece){line->start + length, line->end});
	return true;
}

static int read_directive(struct parser *parser, struct piece line)
{
	struct error ignored = {0}, *outer = parser->error;
	const char *name;
	int result;

	if (!directive(&line, "#include") && !directive(&line, "#tryinclude")) {
		parser->conf->unknown++;
		return 0;
	}
	if (line.end - line.start >= 2 && ((*line.start == '"' && line.end[-1] == '"') ||
						  (*line.start == '<' && line.end[-1] == '>')))
		line = (struct piece){line.start + 1, line.end - 1};
	name = copy(parser, line);
	if (!name)
		return no_memory(parser);
	if (parser->depth == ASTERISK_CONF_DEPTH) {
		parser->conf->unknown++;
		return 0;
	}
	parser->error = &ignored;
	result = read_file(parser, parser->path, name);
	parser->error = outer;
	if (result == -ENOMEM || result == -E2BIG)
		return error_set(outer, result, ignored.next, "%s", ignored.what);
	parser->conf->unknown += result < 0;
	return 0;
}

static int read_line(
	struct parser *parser, struct piece line, char *room, const char *file, size_t number)
{
	struct piece stripped = {room, room + strip(parser, line, room)};

	stripped = trim(stripped);
	if (stripped.start == stripped.end)
		return 0;
	if (*stripped.start == '[')
		return read_head(parser, stripped, file, number);
	if (*stripped.start == '#')
		return read_directive(parser, stripped);
	return read_setting(parser, stripped, file, number);
}

static int read_source(struct parser *parser, const struct config_source *source)
{
	const char *file = arena_copy(&parser->conf->arena, source->path, strlen(source->path));
	const char *end = source->data + source->length;
	char *room = malloc(source->length + 1);
	size_t number = 1;
	int result = 0;

	if (!file || !room) {
		free(room);
		return no_memory(parser);
	}
	if (is_generated(source))
		result = note_generated(parser, file);
	for (const char *line = source->data; line < end && result == 0; number++) {
		const char *feed = memchr(line, '\n', (size_t)(end - line));

		result = read_line(
			parser, (struct piece){line, feed ? feed : end}, room, file, number);
		line = feed ? feed + 1 : end;
	}
	free(room);
	return result;
}

static int read_file(struct parser *parser, const char *base, const char *pattern)
{
	struct config_source *sources = NULL;
	size_t count = 0;
	int result;

	result = parser->read(parser->context, base, pattern, &sources, &count, parser->error);
	if (result < 0)
		return result;
	parser->depth++;
	for (size_t i = 0; i < count && result == 0; i++) {
		unsigned comment = parser->comment;

		parser->comment = 0; /* one that a file does not close ends with it */
		if (++parser->files > ASTERISK_CONF_FILES)
			result = error_set(parser->error, -E2BIG, "see whether it includes itself",
				"%s includes more than %d files", parser->path,
				ASTERISK_CONF_FILES);
		else
			result = read_source(parser, &sources[i]);
		parser->comment = comment;
	}
	parser->depth--;
	config_sources_free(sources, count);
	return result;
}

/* NOLINTEND(misc-no-recursion) */

int asterisk_conf_parse(const char *path, config_read_fn *read, void *context,
	struct asterisk_conf **ret_conf, struct error *error)
{
	struct asterisk_conf *conf = calloc(1, sizeof(*conf));
	struct parser parser = {
		.conf = conf, .read = read, .context = context, .path = path, .error = error};
	int result;

	if (!conf)
		return error_no_memory(error);
	result = read_file(&parser, NULL, path);
	if (result < 0) {
		asterisk_conf_free(conf);
		return result;
	}
	*ret_conf = conf;
	return 0;
}

struct asterisk_conf *asterisk_conf_free(struct asterisk_conf *conf)
{
	if (!conf)
		return NULL;
	for (size_t i = 0; i < conf->count; i++)
		free(conf->sections[i].settings);
	free(conf->sections);
	free(conf->generated);
	arena_free(&conf->arena);
	free(conf);
	return NULL;
}

const struct asterisk_setting *asterisk_conf_get(
	const struct asterisk_section *section, const char *key)
{
	for (size_t i = section->count; i > 0; i--) {
		if (strcasecmp(section->settings[i - 1].key, key) == 0)
			return &section->settings[i - 1];
	}
	return NULL;
}

const char *asterisk_conf_custom(const struct asterisk_conf *conf, const char *file)
{
	for (size_t i = 0; i < conf->generated_count; i++) {
		if (strcmp(conf->generated[i].file, file) == 0)
			return conf->generated[i].custom;
	}
	return NULL;
}

bool asterisk_conf_is_true(const char *value)
{
	static const char *const words[] = {"yes", "true", "y", "t", "1", "on"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(value, words[i]) == 0)
			return true;
	}
	return false;
}
