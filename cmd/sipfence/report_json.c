/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* jansson's *_new functions take the value over, NULL included: what fails shows at the dump, since
 * the document is checked as a whole by `failed`. */
struct builder {
	const struct cycle *cycle;
	bool failed;
};

static void set(struct builder *builder, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) < 0)
		builder->failed = true;
}

static void append(struct builder *builder, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) < 0)
		builder->failed = true;
}

static json_t *address_text(const struct addr *addr)
{
	char buffer[ADDR_TEXT_SIZE];

	addr_print(addr, buffer);
	return json_string(buffer);
}

static const char *outcome_name(uint8_t kind)
{
	static const char *const names[] = {
		[ANSWER_NEVER] = "not asked",
		[ANSWER_ADDRESSES] = "addresses",
		[ANSWER_NO_DATA] = "no data",
		[ANSWER_NO_NAME] = "no such name",
		[ANSWER_COULD_NOT_ASK] = "could not ask",
		[ANSWER_REFUSED] = "refused",
	};

	return names[kind];
}

static json_t *lookup_object(struct builder *builder, const struct lookup *lookup)
{
	json_t *object = json_object();

	set(builder, object, "outcome", json_string(outcome_name(lookup->last)));
	if (lookup->reason)
		set(builder, object, "reason", json_string(answer_reason_text(lookup->reason)));
	set(builder, object, "ttl", json_integer(lookup->ttl));
	if (lookup->good)
		set(builder, object, "last_good",
			json_integer(steady_to_wall(&builder->cycle->clock, lookup->good)));
	if (lookup->none)
		set(builder, object, "none_since",
			json_integer(steady_to_wall(&builder->cycle->clock, lookup->none)));
	return object;
}

/* What the guard objects to, and why in detail. */
static void add_refusal(
	struct builder *builder, json_t *object, const struct host *host, enum family family)
{
	enum answer_reason reason = host->lookup[family].reason;
	const struct addr *culprit = host_culprit(host, family);
	const struct origin *origin = &host->origin[family];
	struct text text = {0};

	if (!culprit)
		return;
	set(builder, object, "refused_address", address_text(culprit));
	answer_refusal_print(
		reason, culprit, origin, &builder->cycle->config->guards[host->guard], &text);
	set(builder, object, "reason", json_string(text_string(&text)));
	builder->failed |= text.failed;
	text_free(&text);
	if (reason == REASON_COUNTRY && origin->known & ORIGIN_COUNTRY)
		set(builder, object, "refused_country",
			origin->country[0] ? json_string(origin->country) : json_null());
	if (reason == REASON_ASN && origin->known & ORIGIN_ASN)
		set(builder, object, "refused_asn", json_integer((json_int_t)origin->asn));
}

static json_t *host_object(struct builder *builder, const struct binding *binding)
{
	const struct owner *owner = &builder->cycle->config->owners[binding->owner];
	const struct host *host = &builder->cycle->roster->hosts[binding->host];
	json_t *object = json_object();

	set(builder, object, owner->kind == OWNER_EXTENSION ? "extension" : "peer",
		json_string(owner->id));
	set(builder, object, "name", json_string(host->name));
	set(builder, object, "state", json_string(host_state_name(host_state(host))));
	set(builder, object, "flapping", json_boolean(changes_flapping(host->changes)));
	for (int family = 0; family < FAMILY_COUNT; family++) {
		json_t *lookup = lookup_object(builder, &host->lookup[family]);
		json_t *addresses = json_array();

		for (size_t i = 0; i < host->count[family]; i++)
			append(builder, addresses, address_text(&host->addrs[family][i]));
		set(builder, lookup, "addresses", addresses);
		add_refusal(builder, lookup, host, (enum family)family);
		set(builder, object, family == FAMILY_IPV4 ? "A" : "AAAA", lookup);
	}
	return object;
}

static json_t *srv_object(struct builder *builder, const struct srv *srv)
{
	json_t *object = json_object(), *targets = json_array();

	set(builder, object, "name", json_string(srv->name));
	set(builder, object, "state", json_string(host_state_name(srv_state(srv))));
	set(builder, object, "SRV", lookup_object(builder, &srv->lookup));
	for (size_t i = 0; i < srv->count; i++)
		append(builder, targets, json_string(srv->targets[i]));
	set(builder, object, "targets", targets);
	return object;
}

static json_t *change_object(struct builder *builder, const struct change *change)
{
	const struct set *in = &builder->cycle->ruleset->sets[change->set];
	json_t *object = json_object();
	char prefix[PREFIX_TEXT_SIZE];
	struct text owners = {0};

	prefix_print(&change->element.prefix, prefix);
	set(builder, object, "change", json_string(change->add ? "add" : "delete"));
	set(builder, object, "set", json_string(in->name));
	set(builder, object, "address", json_string(prefix));
	/* What is deleted may be somebody else's text. */
	if (change->element.comment)
		text_escaped(&owners, change->element.comment, strlen(change->element.comment));
	if (owners.failed)
		builder->failed = true;
	if (owners.length)
		set(builder, object, "owners", json_string(text_string(&owners)));
	text_free(&owners);
	return object;
}

static json_t *talker_object(struct builder *builder, const struct talker *talker)
{
	json_t *object = json_object();

	set(builder, object, "address", address_text(&talker->addr));
	set(builder, object, "service",
		json_string(builder->cycle->config->services[talker->service].name));
	if (talker->protocol) {
		set(builder, object, "protocol",
			json_string(talker->protocol == PROTOCOL_TCP ? "tcp" : "udp"));
		set(builder, object, "port", json_integer(talker->port));
		set(builder, object, "opened_here", json_boolean(talker->opened_here));
	}
	if (talker->packets)
		set(builder, object, "packets", json_integer((json_int_t)talker->packets));
	return object;
}

static json_t *database_object(
	struct builder *builder, enum geo_kind kind, const struct geo_database *database)
{
	json_t *object = json_object();
	bool trouble = database->error.code != 0;

	set(builder, object, "database", json_string(geo_kind_name(kind)));
	set(builder, object, "path", json_string(database->path));
	set(builder, object, "state", json_string(geo_state_name(database->state)));
	set(builder, object, "built",
		database->built ? json_integer((json_int_t)database->built) : json_null());
	set(builder, object, "error", trouble ? json_string(database->error.what) : json_null());
	set(builder, object, "next", trouble ? json_string(database->error.next) : json_null());
	return object;
}

static json_t *databases_array(struct builder *builder, const struct geo *geo)
{
	json_t *array = json_array();

	for (int kind = 0; kind < GEO_KIND_COUNT; kind++) {
		struct geo_database database = geo_database(geo, (enum geo_kind)kind);

		if (database.state != GEO_UNUSED)
			append(builder, array,
				database_object(builder, (enum geo_kind)kind, &database));
	}
	return array;
}

int report_json(const struct cycle *cycle, const char *command, const char *result, int exit_code,
	const char *script)
{
	struct builder builder = {.cycle = cycle};
	json_t *document = json_object(), *list;
	int status = -ENOMEM;

	set(&builder, document, "version", json_integer(1));
	set(&builder, document, "command", json_string(command));
	set(&builder, document, "result", json_string(result));
	set(&builder, document, "exit", json_integer(exit_code));
	set(&builder, document, "table",
		json_sprintf("%s %s",
			ruleset_family_name((enum table_family)cycle->config->table_family),
			cycle->config->table));
	set(&builder, document, "mode", json_string(config_mode_name(cycle->config)));
	list = json_array();
	for (size_t i = 0; i < cycle->roster->binding_count; i++)
		append(&builder, list, host_object(&builder, &cycle->roster->bindings[i]));
	set(&builder, document, "hosts", list);
	list = json_array();
	for (size_t i = 0; i < cycle->roster->srv_count; i++)
		append(&builder, list, srv_object(&builder, &cycle->roster->srvs[i]));
	set(&builder, document, "srv", list);
	list = json_array();
	for (size_t i = 0; i < cycle->plan.count; i++)
		append(&builder, list, change_object(&builder, &cycle->plan.changes[i]));
	set(&builder, document, "changes", list);
	list = json_array();
	for (size_t i = 0; i < cycle->talker_count; i++) {
		if (cycle->talkers[i].newly_shut)
			append(&builder, list, talker_object(&builder, &cycle->talkers[i]));
	}
	set(&builder, document, "unlisted_talkers", list);
	set(&builder, document, "geoip", databases_array(&builder, cycle->geo));
	if (script)
		set(&builder, document, "script", json_string(script));
	if (!builder.failed && say_json(document))
		status = 0;
	json_decref(document);
	return status;
}
