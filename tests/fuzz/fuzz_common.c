/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include "allowlist.h"
#include "config_yaml.h"
#include "dns_message.h"
#include "fqdn.h"
#include "nft_attr.h"
#include "nft_netlink.h"
#include "nft_text.h"
#include "roster.h"

#include <errno.h>
#include <fnmatch.h>
#include <linux/netfilter/nfnetlink.h>

enum { PORT_ID = 4711 };

/* --- answers --- */

static bool is_name(const char *text)
{
	char normal[FQDN_SIZE];
	size_t at;

	return fqdn_parse(text, strlen(text), normal, &at) == FQDN_OK && strcmp(normal, text) == 0;
}

void fuzz_check_answer(const struct answer *answer, bool srv)
{
	bool reasoned = answer->kind == ANSWER_COULD_NOT_ASK;

	FUZZ_CHECK(answer->kind == ANSWER_ADDRESSES || answer->kind == ANSWER_NO_DATA ||
		   answer->kind == ANSWER_NO_NAME || answer->kind == ANSWER_COULD_NOT_ASK);
	FUZZ_CHECK(answer->ttl <= INT32_MAX); /* RFC 2181, section 8 */
	FUZZ_CHECK((answer->reason != REASON_NONE) == reasoned);
	FUZZ_CHECK(answer_reason_text(answer->reason));
	if (answer->kind != ANSWER_ADDRESSES) {
		FUZZ_CHECK(answer->count == 0);
		return;
	}
	FUZZ_CHECK(answer->count > 0);
	FUZZ_CHECK(answer->count <= (size_t)(srv ? DNS_MAX_TARGETS : DNS_MAX_RECORDS));
	for (size_t i = 0; i < answer->count; i++) {
		if (srv) {
			FUZZ_CHECK(is_name(answer->targets[i]));
			FUZZ_CHECK(
				i == 0 || strcmp(answer->targets[i - 1], answer->targets[i]) < 0);
			continue;
		}
		FUZZ_CHECK(answer->addrs[i].family == answer->addrs[0].family);
		if (i > 0 && answer->count < DNS_MAX_RECORDS)
			FUZZ_CHECK(addr_compare(&answer->addrs[i - 1], &answer->addrs[i]) < 0);
		else if (i > 0)
			FUZZ_CHECK(addr_compare(&answer->addrs[i - 1], &answer->addrs[i]) <= 0);
	}
}

/* --- configs --- */

static void check_prefixes(const struct prefix *prefixes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK(fuzz_prefix_is_good(&prefixes[i]));
		FUZZ_CHECK(i == 0 || prefix_compare(&prefixes[i - 1], &prefixes[i]) < 0);
	}
}

static bool is_plain_word(const char *word, size_t longest)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t length = strlen(word);

	return length > 0 && length <= longest && strspn(word, plain) == length &&
	       !strchr("0123456789-", word[0]);
}

static bool ports_overlap(const struct port_range *a, const struct port_range *b)
{
	return a->protocol == b->protocol && a->first <= b->last && b->first <= a->last;
}

static void check_services(const struct config *config)
{
	FUZZ_CHECK(config->service_count > 0 && config->service_count <= CONFIG_MAX_SERVICES);
	FUZZ_CHECK(strcmp(config->services[0].name, "sip") == 0);
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service *service = &config->services[i];

		FUZZ_CHECK(is_plain_word(service->name, 32) && service->name[0] != '_');
		FUZZ_CHECK(service->port_count > 0);
		for (size_t j = 0; j < service->port_count; j++) {
			const struct port_range *range = &service->ports[j];

			FUZZ_CHECK(
				range->protocol == PROTOCOL_TCP || range->protocol == PROTOCOL_UDP);
			FUZZ_CHECK(range->first > 0 && range->first <= range->last);
		}
		for (size_t j = 0; j < i; j++) {
			const struct service *other = &config->services[j];

			FUZZ_CHECK(strcmp(service->name, other->name) != 0);
			for (size_t k = 0; k < service->port_count; k++)
				for (size_t l = 0; l < other->port_count; l++)
					FUZZ_CHECK(!ports_overlap(
						&service->ports[k], &other->ports[l]));
		}
	}
}

static void check_fixed(const struct owner *owner)
{
	for (size_t i = 0; i < owner->fixed_count; i++) {
		FUZZ_CHECK(fuzz_prefix_is_good(&owner->fixed[i]));
		FUZZ_CHECK(owner->kind == OWNER_PEER || prefix_is_host(&owner->fixed[i]));
	}
}

static void check_owner(const struct config *config, const struct owner *owner)
{
	uint64_t services = (UINT64_C(1) << config->service_count) - 1;

	FUZZ_CHECK(owner->kind < OWNER_KIND_COUNT);
	FUZZ_CHECK(owner->id[0] && fuzz_is_printable(owner->id, strlen(owner->id), ""));
	FUZZ_CHECK(owner->services && !(owner->services & ~services));
	FUZZ_CHECK(owner->guard < config->guard_count);
	FUZZ_CHECK(owner->ipv6_prefix >= 1 && owner->ipv6_prefix <= 128);
	FUZZ_CHECK(owner->kind == OWNER_PEER || (owner->srv_count == 0 && owner->services == 1));
	FUZZ_CHECK(owner->kind == OWNER_EXTENSION || !owner->local);
	for (size_t i = 0; i < owner->name_count; i++)
		FUZZ_CHECK(is_name(owner->names[i]));
	for (size_t i = 0; i < owner->srv_count; i++)
		FUZZ_CHECK(is_name(owner->srv[i]));
	check_fixed(owner);
}

static void check_guard(const struct guard *guard)
{
	check_prefixes(guard->within, guard->within_count);
	FUZZ_CHECK(guard->max_addresses >= 1 && guard->max_addresses <= CONFIG_MAX_ADDRESSES);
	for (size_t i = 0; i < guard->country_count; i++) {
		const char *country = guard->countries[i];

		FUZZ_CHECK(strspn(country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 2 && !country[2]);
		FUZZ_CHECK(i == 0 || strcmp(guard->countries[i - 1], country) < 0);
	}
	for (size_t i = 1; i < guard->asn_count; i++)
		FUZZ_CHECK(guard->asns[i - 1] < guard->asns[i]);
}

static void check_times(const struct config *config)
{
	static const int64_t longest = INT64_C(3660) * 86400;

	FUZZ_CHECK(config->refresh_min >= 1 && config->refresh_min <= config->refresh_max);
	FUZZ_CHECK(config->refresh_max <= longest);
	FUZZ_CHECK(config->hold >= 1 && config->hold <= longest);
	FUZZ_CHECK(config->gone >= 0 && config->gone <= longest);
	for (int kind = 0; kind < OWNER_KIND_COUNT; kind++)
		FUZZ_CHECK(config->linger[kind] >= 0 && config->linger[kind] <= longest);
	FUZZ_CHECK(config->resolver.timeout_ms >= 100 && config->resolver.timeout_ms <= 60000);
}

void fuzz_check_config(const struct config *config)
{
	check_services(config);
	for (size_t i = 0; i < config->guard_count; i++)
		check_guard(&config->guards[i]);
	for (size_t i = 0; i < config->owner_count; i++) {
		check_owner(config, &config->owners[i]);
		FUZZ_CHECK(i == 0 || config->owners[i - 1].kind <= config->owners[i].kind);
	}
	check_prefixes(config->local_subnets, config->local_subnet_count);
	check_prefixes(config->destinations, config->destination_count);
	check_times(config);
	FUZZ_CHECK(config->resolver.server_count <= CONFIG_MAX_SERVERS);
	for (size_t i = 0; i < config->resolver.server_count; i++)
		FUZZ_CHECK(config->resolver.servers[i].addr.family < FAMILY_COUNT &&
			   config->resolver.servers[i].port > 0);
	FUZZ_CHECK(config->resolver.trusted_count > 0);
	check_prefixes(config->resolver.trusted, config->resolver.trusted_count);
	FUZZ_CHECK(is_plain_word(config->table, 64));
	FUZZ_CHECK(!config->user || is_plain_word(config->user, 32));
	FUZZ_CHECK(config->log_rate == 0 || config->log_rate_unit == 1 ||
		   config->log_rate_unit == 60 || config->log_rate_unit == 3600 ||
		   config->log_rate_unit == 86400);
	FUZZ_CHECK(fuzz_is_printable(config->log_prefix, strlen(config->log_prefix), ""));
	FUZZ_CHECK(!strchr(config->log_prefix, '"'));
	FUZZ_CHECK(!config->geoip.country || config->geoip.country[0] == '/');
	FUZZ_CHECK(!config->geoip.asn || config->geoip.asn[0] == '/');
	FUZZ_CHECK(!config->on_change || config->on_change[0][0] == '/');
}

static int read_text(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const char *text = context;
	struct config_source *source = calloc(1, sizeof(*source));

	(void)base;
	(void)error;
	FUZZ_CHECK(source);
	source->path = strdup(pattern);
	source->data = strdup(text);
	source->length = strlen(text);
	FUZZ_CHECK(source->path && source->data);
	*ret_sources = source;
	*ret_count = 1;
	return 0;
}

struct config *fuzz_config(const char *text)
{
	struct text messages = {0};
	struct config *config = NULL;
	int result = config_yaml_parse("/etc/sipfence/sipfence.yaml", read_text,
		(void *)(uintptr_t)text, &config, &messages);

	if (result < 0)
		fputs(text_string(&messages), stderr);
	FUZZ_CHECK(result == 0);
	text_free(&messages);
	return config;
}

/* --- files in memory --- */

struct fuzz_files fuzz_split(const char *data, size_t size)
{
	static const char marker[] = "\n%%% ";
	struct fuzz_files files = {.count = 1, .list[0] = {.data = data}};
	const char *end = data + size;

	for (;;) {
		struct fuzz_file *file = &files.list[files.count - 1];
		const char *next =
			memmem(file->data, (size_t)(end - file->data), marker, strlen(marker));
		const char *name, *feed;
		size_t length;

		file->length = (size_t)((next ? next + 1 : end) - file->data);
		if (!next || files.count == FUZZ_FILES_MAX)
			return files;
		name = next + strlen(marker);
		feed = memchr(name, '\n', (size_t)(end - name));
		length = (size_t)((feed ? feed : end) - name);
		if (length >= FUZZ_NAME_SIZE)
			length = FUZZ_NAME_SIZE - 1;
		file = &files.list[files.count++];
		memcpy(file->name, name, length);
		file->data = feed ? feed + 1 : end;
	}
}

static void add_source(const struct fuzz_file *file, const char *path, struct config_source *source)
{
	source->path = strdup(path);
	source->data = fuzz_copy(file->data, file->length);
	source->length = file->length;
	FUZZ_CHECK(source->path);
}

int fuzz_read_files(void *context, const char *base, const char *pattern,
	struct config_source **ret_sources, size_t *ret_count, struct error *error)
{
	const struct fuzz_files *files = context;
	struct config_source *sources = calloc(FUZZ_FILES_MAX, sizeof(*sources));
	size_t count = 0;

	FUZZ_CHECK(sources);
	if (!base)
		add_source(&files->list[0], pattern, &sources[count++]);
	for (size_t i = 1; base && i < files->count; i++) {
		if (fnmatch(pattern, files->list[i].name, FNM_PATHNAME | FNM_PERIOD) == 0)
			add_source(&files->list[i], files->list[i].name, &sources[count++]);
	}
	if (count == 0 && !strpbrk(pattern, "*?[")) {
		free(sources);
		return error_set(error, -ENOENT, "", "%s does not exist", pattern);
	}
	*ret_sources = sources;
	*ret_count = count;
	return 0;
}

/* --- rulesets --- */

void fuzz_check_batch(const struct nft_batch *batch)
{
	const uint8_t *at = batch->data;
	size_t left = batch->length;
	uint32_t number = 0;

	FUZZ_CHECK(!batch->failed);
	for (;; number++) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)at;
		size_t size;

		FUZZ_CHECK(message_is_whole(message, left));
		FUZZ_CHECK(message->nlmsg_seq == number);
		if (number > 0 && number <= batch->messages)
			FUZZ_CHECK(batch->data + batch->offsets[number - 1] == at);
		size = ((size_t)message->nlmsg_len + 3) & ~(size_t)3;
		FUZZ_CHECK(size <= left);
		at += size;
		left -= size;
		if (left == 0)
			break;
	}
	FUZZ_CHECK(number == batch->messages + 1);
	for (uint32_t i = 0; i <= batch->messages + 1; i += 1 + batch->messages / 16) {
		struct text text = {0};

		nft_batch_describe(batch, i, 64, &text);
		nft_batch_asks_for_lock(batch, i);
		FUZZ_CHECK(!text.failed && text.length > 0);
		text_free(&text);
	}
}

/* What the batch makes, as the kernel would tell of it. */
static struct observed *read_back(const struct ruleset *ruleset, const struct nft_batch *batch)
{
	struct nft_observer *observer = NULL;
	struct observed *observed = NULL;
	const uint8_t *at = batch->data, *end = batch->data + batch->length;

	FUZZ_CHECK(nft_observer_new(ruleset, PORT_ID, &observer) == 0);
	while (at < end) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)at;

		if (message->nlmsg_type != NFNL_MSG_BATCH_BEGIN &&
			message->nlmsg_type != NFNL_MSG_BATCH_END)
			FUZZ_CHECK(nft_observer_message(observer, message) == 0);
		at += ((size_t)message->nlmsg_len + 3) & ~(size_t)3;
	}
	FUZZ_CHECK(nft_observer_end(observer, &observed) == 0);
	nft_observer_free(observer);
	return observed;
}

static void check_installed(struct ruleset *ruleset, const struct nft_batch *batch)
{
	struct observed *observed = read_back(ruleset, batch);
	struct text shape = {0};
	struct plan plan = {0};

	FUZZ_CHECK(nft_shape(ruleset, &shape) == 0);
	FUZZ_CHECK(strcmp(text_string(&shape), observed->shape) == 0);
	FUZZ_CHECK(plan_make(ruleset, text_string(&shape), observed, NULL, 0, &plan) == 0);
	FUZZ_CHECK(plan.kind == PLAN_NOTHING && plan.count == 0);
	plan_clear(&plan);
	observed_free(observed);
	text_free(&shape);
}

static void check_script(const struct ruleset *ruleset, struct text *script)
{
	nft_text_print(ruleset, script);
	FUZZ_CHECK(!script->failed && script->length > 0);
	FUZZ_CHECK(fuzz_is_printable(script->data, script->length, "\n\t"));
	/* Quotes come in pairs on each line, so nothing in them has ended them. */
	for (const char *line = script->data, *feed; (feed = strchr(line, '\n')); line = feed + 1) {
		size_t quotes = 0;

		for (const char *at = line; at < feed; at++)
			quotes += *at == '"';
		FUZZ_CHECK(quotes == 0 || quotes == 2);
	}
}

/* Into a table with such sets, all of them empty. */
static void check_sets(struct ruleset *ruleset)
{
	const struct observed empty = {.present = true, .shape = ""};
	struct nft_batch batch;
	struct plan plan;
	size_t elements = 0;

	for (size_t i = 0; i < ruleset->set_count; i++)
		elements += ruleset->sets[i].count;
	FUZZ_CHECK(ruleset->chain_count == 0);
	FUZZ_CHECK(plan_make(ruleset, "", &empty, NULL, 0, &plan) == 0);
	FUZZ_CHECK(plan.count == elements);
	FUZZ_CHECK(plan.kind == (elements ? PLAN_ELEMENTS : PLAN_NOTHING));
	FUZZ_CHECK(nft_batch_changes(ruleset, &plan, 1, &batch) == 0);
	fuzz_check_batch(&batch);
	nft_batch_clear(&batch);
	plan_clear(&plan);
}

void fuzz_check_ruleset(
	const struct config *config, const struct roster *roster, int64_t now, struct text *script)
{
	struct allowlist allowlist = {0};
	struct ruleset *ruleset = NULL;
	struct nft_batch batch;
	struct text own = {0};

	FUZZ_CHECK(allowlist_build(config, roster, now, &allowlist) == 0);
	FUZZ_CHECK(ruleset_build(config, &allowlist, &ruleset) == 0);
	allowlist_clear(&allowlist);
	check_script(ruleset, script ? script : &own);
	text_free(&own);

	if (ruleset->sets_only) {
		check_sets(ruleset);
		ruleset_free(ruleset);
		return;
	}
	FUZZ_CHECK(nft_batch_swap(ruleset, 1, true, true, &batch) == 0);
	fuzz_check_batch(&batch);
	nft_batch_clear(&batch);
	FUZZ_CHECK(nft_batch_swap(ruleset, 0, false, false, &batch) == 0);
	fuzz_check_batch(&batch);
	check_installed(ruleset, &batch);
	nft_batch_clear(&batch);
	ruleset_free(ruleset);
}
