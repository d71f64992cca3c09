/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "asterisk_acl.h"
#include "asterisk_cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME_PREFIX "sipfence-"

void asterisk_acl_name(const char *extension, char ret_name[ASTERISK_ACL_NAME_SIZE])
{
	snprintf(ret_name, ASTERISK_ACL_NAME_SIZE, NAME_PREFIX "%s", extension);
}

/* --- The file --- */

static const char head_start[] = "; Written by sipfence from ";
static const char head_end[] =
	": changes made here are lost.\n"
	"; acl.conf includes it by #tryinclude: `sipfence asterisk` has the line.\n"
	"; An extension is bound to its ACL by a line in its peer or endpoint:  "
	"acl=" NAME_PREFIX "21\n";
static const char section_start[] = "\n[" NAME_PREFIX;
static const char denies[] = "]\ndeny=0.0.0.0/0\ndeny=::/0\n";

/* Asterisk reads lines of 8 KB; what stands behind that is another line to it. */
enum { FILE_LINE_MAX = 4096 };

void asterisk_acl_print_head(const char *config_path, struct text *text)
{
	text_puts(text, head_start);
	text_escaped(text, config_path, strlen(config_path));
	text_puts(text, head_end);
}

void asterisk_acl_print(const char *extension, const struct acl *acl, struct text *text)
{
	size_t length = strnlen(extension, ASTERISK_ACL_NAME_SIZE - sizeof(NAME_PREFIX));
	char address[ADDR_TEXT_SIZE];

	text_write(text, section_start, sizeof(section_start) - 1);
	text_write(text, extension, length);
	text_write(text, denies, sizeof(denies) - 1);
	for (size_t i = 0; i < acl->count; i++) {
		addr_print(&acl->permits[i].addr, address);
		text_write(text, "permit=", strlen("permit="));
		text_puts(text, address);
		text_write(text, "/", 1);
		text_number(text, acl->permits[i].length);
		text_write(text, "\n", 1);
	}
}

static bool starts(const char **line, const char *end, const char *with)
{
	size_t length = strlen(with);

	if ((size_t)(end - *line) < length || memcmp(*line, with, length) != 0)
		return false;
	*line += length;
	return true;
}

/* The path is printable, and all of it is one line. */
static bool take_head(const char **at, const char *end)
{
	const char *line = *at, *stop;

	if (!starts(at, end, head_start))
		return false;
	stop = memmem(*at, (size_t)(end - *at), head_end, strlen(head_end));
	if (!stop || stop - line > FILE_LINE_MAX)
		return false;
	for (; *at < stop; (*at)++) {
		if (**at < 0x20 || **at > 0x7e)
			return false;
	}
	return starts(at, end, head_end);
}

/* "203.0.113.10/32", written as we do. */
static bool take_prefix(const char **at, const char *end)
{
	const char *feed = memchr(*at, '\n', (size_t)(end - *at));
	char again[ADDR_TEXT_SIZE + 8], address[ADDR_TEXT_SIZE];
	size_t length = feed ? (size_t)(feed - *at) : 0;
	struct prefix prefix;
	int size;

	if (!memchr(*at, '/', length) || prefix_parse(*at, length, &prefix) != PREFIX_OK)
		return false;
	addr_print(&prefix.addr, address);
	size = snprintf(again, sizeof(again), "%s/%u\n", address, prefix.length);
	return size == (int)length + 1 && starts(at, end, again);
}

static bool take_section(const char **at, const char *end)
{
	char name[ASTERISK_ACL_NAME_SIZE];
	const char *stop;
	size_t length;

	if (!starts(at, end, section_start))
		return false;
	stop = memchr(*at, ']', (size_t)(end - *at));
	length = stop ? (size_t)(stop - *at) : 0;
	if (length + strlen(NAME_PREFIX) >= sizeof(name) || memchr(*at, '\0', length))
		return false;
	memcpy(name, *at, length);
	name[length] = '\0';
	*at += length;
	if (!asterisk_cli_is_name(name) || !starts(at, end, denies))
		return false;
	while (starts(at, end, "permit=")) {
		if (!take_prefix(at, end))
			return false;
	}
	return true;
}

bool asterisk_acl_check_file(const char *data, size_t length)
{
	const char *at = data, *end = data + length;

	if (!take_head(&at, end))
		return false;
	while (at < end) {
		if (!take_section(&at, end))
			return false;
	}
	return true;
}

/* --- What is in force --- */

/* Asterisk prints a mask as an address: its ones in front are the length. */
static bool mask_length(const struct addr *mask, unsigned *ret_length)
{
	unsigned bits = addr_bits((enum family)mask->family), ones = 0;

	while (ones < bits && mask->bytes[ones / 8] >> (7 - ones % 8) & 1)
		ones++;
	for (unsigned i = ones; i < bits; i++) {
		if (mask->bytes[i / 8] >> (7 - i % 8) & 1)
			return false;
	}
	*ret_length = ones;
	return true;
}

/* "203.0.113.10/255.255.255.255" */
static bool parse_masked(const char *text, size_t length, struct prefix *ret_prefix)
{
	const char *slash = memchr(text, '/', length);
	struct addr addr, mask;
	unsigned bits;

	if (!slash || !addr_parse(text, (size_t)(slash - text), &addr) ||
		!addr_parse(slash + 1, length - (size_t)(slash - text) - 1, &mask) ||
		mask.family != addr.family || !mask_length(&mask, &bits))
		return false;
	*ret_prefix = prefix_of(&addr, bits);
	return true;
}

struct shown {
	const char *name;
	struct acl *acl;
	bool titled;
	bool denies[FAMILY_COUNT];
};

/* "  2: allow - 203.0.113.10/255.255.255.255" */
static int read_rule(struct shown *shown, const char *line, const char *end)
{
	struct prefix prefix;
	bool allow;

	while (line < end && *line == ' ')
		line++;
	while (line < end && *line >= '0' && *line <= '9')
		line++;
	if (!starts(&line, end, ":"))
		return -EBADMSG;
	while (line < end && *line == ' ')
		line++;
	allow = starts(&line, end, "allow - ");
	if (!allow && !starts(&line, end, "deny - "))
		return -EBADMSG;
	if (!parse_masked(line, (size_t)(end - line), &prefix))
		return -EBADMSG;
	if (allow)
		return acl_add(shown->acl, &prefix);
	if (prefix.length > 0 || shown->acl->count > 0)
		return -EBADMSG; /* no rule of ours */
	shown->denies[prefix.addr.family] = true;
	return 0;
}

static int read_line(struct shown *shown, const char *line, const char *end)
{
	const char *at = line;

	while (end > line && (end[-1] == '\r' || end[-1] == ' '))
		end--;
	if (line == end)
		return 0;
	if (starts(&at, end, "ACL: ")) {
		shown->titled = (size_t)(end - at) == strlen(shown->name) &&
				memcmp(at, shown->name, (size_t)(end - at)) == 0;
		return shown->titled ? 0 : -EBADMSG;
	}
	/* Before the title Asterisk's client may have something to say; below it stands a rule. */
	if (!shown->titled || *line == '-')
		return 0;
	return read_rule(shown, line, end);
}

int asterisk_acl_parse_shown(const char *output, size_t length, const char *name, struct acl *acl)
{
	struct shown shown = {.name = name, .acl = acl};
	const char *end = output + length;
	int result = 0;

	acl->count = 0;
	for (const char *line = output; line < end && result == 0;) {
		const char *feed = memchr(line, '\n', (size_t)(end - line));

		result = read_line(&shown, line, feed ? feed : end);
		line = feed ? feed + 1 : end;
	}
	if (result == 0 && !shown.titled)
		/* Without any ACL in force Asterisk prints nothing at all. */
		return ASTERISK_SHOWN_NONE;
	if (result < 0) {
		acl_clear(acl);
		return result;
	}
	acl_settle(acl);
	return shown.denies[FAMILY_IPV4] && shown.denies[FAMILY_IPV6] ? ASTERISK_SHOWN
								      : ASTERISK_SHOWN_OPEN;
}
