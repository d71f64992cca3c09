/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json_put.h"
#include "pbx.h"

static void put_error(
	const char *error, const char *next, const struct error *what, struct text *text)
{
	bool is_one = what && what->code;

	json_put_key(text, error);
	json_put_string(text, is_one ? what->what : NULL);
	json_put_key(text, next);
	json_put_string(text, is_one ? what->next : NULL);
}

static void put_time(int64_t boot_ms, int64_t boot_wall, struct text *text)
{
	json_put_time(text, boot_ms ? boot_wall + boot_ms / 1000 : 0);
}

static void put_mismatches(
	const struct asterisk_keeper_summary *acls, int64_t boot_wall, struct text *text)
{
	json_put_key(text, "mismatches");
	json_put_open(text, "[");
	for (size_t i = 0; i < ASTERISK_KEEPER_SAID && acls->mismatches[i].extension; i++) {
		char name[ASTERISK_ACL_NAME_SIZE];

		asterisk_acl_name(acls->mismatches[i].extension, name);
		json_put_open(text, "{");
		json_put_key(text, "extension");
		json_put_string(text, acls->mismatches[i].extension);
		json_put_key(text, "acl");
		json_put_string(text, name);
		json_put_key(text, "what");
		json_put_string(text, asterisk_match_text(acls->mismatches[i].match));
		json_put_key(text, "since");
		put_time(acls->mismatches[i].since_ms, boot_wall, text);
		json_put_close(text, "}");
	}
	json_put_close(text, "]");
	json_put_key(text, "mismatch_count");
	json_put_number(text, acls->mismatch_count);
}

static void put_evictions(const struct asterisk_keeper_summary *acls, struct text *text)
{
	json_put_key(text, "evict");
	json_put_bool(text, acls->evict);
	json_put_key(text, "evicted");
	json_put_number(text, (int64_t)acls->evicted);
	json_put_key(text, "not_evicted");
	json_put_number(text, (int64_t)acls->not_evicted);
	json_put_key(text, "hung_up");
	json_put_number(text, (int64_t)acls->hung_up);
	put_error("evict_error", "evict_next", acls->evict_trouble, text);
}

void pbx_put(const struct pbx_summary *summary, int64_t boot_wall, struct text *text)
{
	const struct asterisk_keeper_summary *acls = &summary->acls;
	bool works = summary->alive && summary->known;

	json_put_key(text, "asterisk");
	if (!summary->wanted && !summary->restart_needed) {
		json_put_null(text);
		return;
	}
	json_put_open(text, "{");
	json_put_key(text, "alive");
	json_put_bool(text, summary->alive);
	json_put_key(text, "restart_needed");
	json_put_bool(text, summary->restart_needed);
	json_put_key(text, "right");
	json_put_bool(text, pbx_is_right(summary));
	json_put_key(text, "acl_file");
	json_put_string(text, summary->acl_file);
	json_put_key(text, "state");
	json_put_string(text, works		? asterisk_keeper_word(acls->state)
			      : summary->wanted ? "off"
						: NULL);
	json_put_key(text, "since");
	put_time(works ? acls->since_ms : 0, boot_wall, text);
	json_put_key(text, "acls");
	json_put_number(text, acls->acls);
	put_error("error", "next", works ? acls->trouble : summary->problem, text);
	put_mismatches(acls, boot_wall, text);
	json_put_key(text, "reloads");
	json_put_number(text, (int64_t)acls->reloads);
	put_evictions(acls, text);
	json_put_close(text, "}");
}
