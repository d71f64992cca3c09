/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	WAYS = 8,	 /* addresses that share a place, of which the least one gives way */
	RECENT = 4,	 /* log-ins and claims of an account that are looked back at */
	CHANNELS = 8,	 /* of an account at the same time */
	SEEN = 4096,	 /* security events that may come twice, from two files */
	TRIED_WORDS = 4, /* a bit for each name tried: 256 of them */
	RESERVED = 4,	 /* addresses that every account may list, however many others do */
	LISTED_IN_ALL = 1 << 17,
	NOBODY = -1,
};

enum sighting { BY_LOGIN, BY_CLAIM, SIGHTINGS };

/* Where an account was seen. */
struct place {
	struct addr addr;
	bool has_addr;
	uint16_t port;
	uint8_t protocol;
	int64_t when;
};

struct claim {
	struct place place;
	bool waiting; /* for a log-in that explains it */
	uint8_t verdict;
	struct audit_name contact; /* where it has no address */
};

/* A chan_sip registration, in a list of those whose address and port fall together. */
struct registration {
	struct place place;
	bool listed;
	uint32_t next; /* account * SIGHTINGS + sighting, or UINT32_MAX */
};

struct account {
	struct audit_tally tally, others;
	struct audit_finding *findings;
	size_t finding_count, finding_capacity, finding_last;
	uint64_t in_grace;
	struct registration registered[SIGHTINGS];
	struct place last; /* where it is registered now, by whatever is known */
	struct place logins[RECENT], doubtful;
	struct claim claims[RECENT];
	uint8_t login_next, claim_next, channel_next;
	uint32_t channels[CHANNELS];
	struct audit_name agent;
	struct place agent_place;
};

/* An address that is watched. */
struct watched {
	struct addr addr;
	uint64_t failures[2][AUDIT_FAILURE_COUNT]; /* full log, security log */
	uint64_t calls;
	int64_t first, last;
	int64_t refused; /* the last refusal in the full log that was not for a password */
	uint64_t tried_bits[TRIED_WORDS];
	uint8_t tried_count, dialled_count;
	/* Last, since a new entry is cleared up to here: a flood makes millions. */
	struct audit_name tried[AUDIT_NAMES], dialled[AUDIT_NAMES];
};

/* What is looked at before an address is: the entries are far apart in memory. */
struct watched_tags {
	uint32_t tags[WAYS];	/* of the address; 0: not used */
	uint32_t weights[WAYS]; /* UINT32_MAX: pinned, since a finding names it */
	uint32_t next;		/* where to look for the least one first */
};

struct stranger {
	struct audit_stranger said;
	uint64_t hash, address_bits[TRIED_WORDS];
};

struct audit {
	const struct config *config;
	struct audit_settings settings;
	uint32_t *names; /* hash -> owner + 1 */
	size_t name_mask;
	struct account **accounts; /* of each owner; NULL: not seen */
	uint32_t *registered;	   /* hash of address and port -> the first of its list */
	size_t registered_mask;
	struct watched *watched;
	struct watched_tags *watched_tags;
	size_t set_mask;
	struct stranger *strangers;
	size_t stranger_count;
	uint64_t strangers_more;
	uint64_t seen[SEEN];
	uint64_t in_order, in_grace;
	size_t listed;
	uint32_t *found; /* accounts with findings */
	size_t found_count;
};

const char *audit_certainty_name(enum audit_certainty certainty)
{
	static const char *const names[] = {"unknown", "ambiguous", "claimed", "proven"};

	return (size_t)certainty < AUDIT_CERTAINTY_COUNT ? names[certainty] : "unknown";
}

/* addr_equal(), inline: floods are compared by this. Unused bytes are zero. */
static inline bool same_addr(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

_Static_assert(sizeof(struct addr) == 17, "no padding, which would be compared");

/* --- hashes --- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash ^= value;
	hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
	hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
	return hash ^ hash >> 31;
}

static uint64_t mix_bytes(uint64_t hash, const void *data, size_t length)
{
	const uint8_t *bytes = data;
	uint64_t value;

	hash = mix(hash, length);
	for (; length >= sizeof(value); bytes += sizeof(value), length -= sizeof(value)) {
		memcpy(&value, bytes, sizeof(value));
		hash = mix(hash, value);
	}
	value = 0;
	memcpy(&value, bytes, length);
	return mix(hash, value);
}

static uint64_t mix_addr(uint64_t hash, const struct addr *addr)
{
	return mix_bytes(mix(hash, addr->family), addr->bytes, sizeof(addr->bytes));
}

static size_t power_of_two(size_t least)
{
	size_t size = 64;

	while (size < least)
		size *= 2;
	return size;
}

/* --- names --- */

static struct audit_name name_of(const char *bytes, size_t length)
{
	struct audit_name name = {.cut = length > AUDIT_NAME_SIZE};

	name.length = (uint8_t)(name.cut ? AUDIT_NAME_SIZE : length);
	if (name.length > 0)
		memcpy(name.bytes, bytes, name.length);
	return name;
}

static bool name_equal(const struct audit_name *a, const struct audit_name *b)
{
	return a->length == b->length && a->cut == b->cut &&
	       memcmp(a->bytes, b->bytes, a->length) == 0;
}

/* Unless it is there, or the list is full. */
static void name_add(struct audit_name *names, uint8_t *count, const struct audit_name *name)
{
	for (size_t i = 0; i < *count; i++) {
		if (name_equal(&names[i], name))
			return;
	}
	if (*count < AUDIT_NAMES)
		names[(*count)++] = *name;
}

static size_t bits_count(const uint64_t bits[TRIED_WORDS])
{
	size_t count = 0;

	for (size_t i = 0; i < TRIED_WORDS; i++)
		count += (size_t)__builtin_popcountll(bits[i]);
	return count;
}

static void bits_set(uint64_t bits[TRIED_WORDS], uint64_t hash)
{
	bits[hash >> 6 & (TRIED_WORDS - 1)] |= 1ull << (hash & 63);
}

/* --- owners by their ids --- */

static const char *owner_id(const struct audit *audit, uint32_t owner)
{
	return audit->config->owners[owner].id;
}

static uint32_t *name_slot(const struct audit *audit, const char *name, size_t length)
{
	size_t slot = mix_bytes(audit->settings.seed, name, length) & audit->name_mask;

	for (; audit->names[slot]; slot = (slot + 1) & audit->name_mask) {
		const char *id = owner_id(audit, audit->names[slot] - 1);

		if (strlen(id) == length && memcmp(id, name, length) == 0)
			break;
	}
	return &audit->names[slot];
}

static int64_t find_owner(const struct audit *audit, const char *name, size_t length)
{
	return (int64_t)*name_slot(audit, name, length) - 1;
}

static struct account *account_of(struct audit *audit, uint32_t owner)
{
	if (!audit->accounts[owner]) {
		struct account *account = calloc(1, sizeof(*account));

		if (!account)
			return NULL;
		for (int i = 0; i < SIGHTINGS; i++)
			account->registered[i].next = UINT32_MAX;
		audit->accounts[owner] = account;
	}
	return audit->accounts[owner];
}

/* --- who is registered at an address and port of chan_sip --- */

static size_t place_hash(const struct audit *audit, const struct place *place)
{
	return mix_addr(audit->settings.seed ^ place->port, &place->addr) & audit->registered_mask;
}

static struct registration *registration_at(const struct audit *audit, uint32_t link)
{
	return &audit->accounts[link / SIGHTINGS]->registered[link % SIGHTINGS];
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->port == b->port && same_addr(&a->addr, &b->addr);
}

static void move_registration(
	struct audit *audit, uint32_t owner, enum sighting sighting, const struct place *place)
{
	uint32_t self = owner * SIGHTINGS + (uint32_t)sighting, *link;
	struct registration *registration = registration_at(audit, self);

	if (registration->listed && same_place(&registration->place, place)) {
		registration->place = *place;
		return;
	}
	if (registration->listed) {
		link = &audit->registered[place_hash(audit, &registration->place)];
		while (*link != self)
			link = &registration_at(audit, *link)->next;
		*link = registration->next;
	}
	link = &audit->registered[place_hash(audit, place)];
	registration->place = *place;
	registration->listed = true;
	registration->next = *link;
	*link = self;
}

/* Another account that is registered there; NOBODY. */
static int64_t registered_there(const struct audit *audit, const struct place *place, int64_t not )
{
	uint32_t link = audit->registered[place_hash(audit, place)];

	for (; link != UINT32_MAX; link = registration_at(audit, link)->next) {
		if ((int64_t)(link / SIGHTINGS) !=
			not &&same_place(&registration_at(audit, link)->place, place))
			return link / SIGHTINGS;
	}
	return NOBODY;
}

/* --- addresses that are watched --- */

/* Its place among the sets and, never 0, its tag. */
static size_t watched_set(const struct audit *audit, const struct addr *addr, uint32_t *ret_tag)
{
	uint64_t hash = mix_addr(audit->settings.seed, addr);

	*ret_tag = (uint32_t)(hash >> 32) | 1;
	return hash & audit->set_mask;
}

static struct watched *find_watched(const struct audit *audit, const struct addr *addr)
{
	uint32_t tag;
	size_t set = watched_set(audit, addr, &tag);

	for (size_t i = 0; i < WAYS; i++) {
		struct watched *watched = &audit->watched[set * WAYS + i];

		if (audit->watched_tags[set].tags[i] == tag && same_addr(&watched->addr, addr))
			return watched;
	}
	return NULL;
}

static uint32_t *weight_of(const struct audit *audit, const struct watched *watched)
{
	size_t index = (size_t)(watched - audit->watched);

	return &audit->watched_tags[index / WAYS].weights[index % WAYS];
}

/* What it does makes it stay, of those that no finding names. */
static void add_weight(const struct audit *audit, const struct watched *watched)
{
	uint32_t *weight = weight_of(audit, watched);

	*weight += *weight < UINT32_MAX - 1;
}

static void pin(const struct audit *audit, const struct watched *watched)
{
	*weight_of(audit, watched) = UINT32_MAX;
}

/* A free place of the set, or that of the address that did least; of equals the one that came
 * first. WAYS: all are pinned. */
static size_t find_place(struct watched_tags *tags)
{
	size_t place = WAYS, way;

	for (size_t i = 0; i < WAYS; i++) {
		/* Beginning elsewhere each time, so that newcomers do not drive each other out. */
		way = (tags->next + i) % WAYS;
		if (tags->tags[way] == 0)
			return way;
		if (tags->weights[way] != UINT32_MAX &&
			(place == WAYS || tags->weights[way] < tags->weights[place]))
			place = way;
	}
	if (place != WAYS)
		tags->next = (uint32_t)place + 1;
	return place;
}

/* NULL: there is no room but that of addresses with findings. */
static struct watched *watch(struct audit *audit, const struct addr *addr, int64_t when)
{
	struct watched *watched = find_watched(audit, addr);

	if (!watched) {
		uint32_t tag;
		size_t set = watched_set(audit, addr, &tag);
		size_t way = find_place(&audit->watched_tags[set]);

		if (way == WAYS)
			return NULL;
		audit->watched_tags[set].tags[way] = tag;
		audit->watched_tags[set].weights[way] = 0;
		watched = &audit->watched[set * WAYS + way];
		memset(watched, 0, offsetof(struct watched, tried));
		watched->addr = *addr;
		watched->first = watched->last = when;
	}
	if (when < watched->first)
		watched->first = when;
	if (when > watched->last)
		watched->last = when;
	return watched;
}

static void note_tried(
	struct audit *audit, struct watched *watched, const char *name, size_t length)
{
	struct audit_name tried = name_of(name, length);

	if (length == 0 || (length == 9 && memcmp(name, "<unknown>", 9) == 0))
		return;
	bits_set(watched->tried_bits, mix_bytes(audit->settings.seed, name, length));
	name_add(watched->tried, &watched->tried_count, &tried);
}

/* --- findings --- */

static void tally_add(struct audit_tally *tally, enum audit_certainty certainty, int64_t when)
{
	bool empty = true;

	for (size_t i = 0; i < AUDIT_CERTAINTY_COUNT; i++)
		empty &= tally->counts[i] == 0;
	tally->counts[certainty]++;
	if (empty || when < tally->first)
		tally->first = when;
	if (empty || when > tally->last)
		tally->last = when;
}

static void tally_sum(struct audit_tally *sum, const struct audit_tally *tally)
{
	bool empty = true;

	for (size_t i = 0; i < AUDIT_CERTAINTY_COUNT; i++) {
		empty &= sum->counts[i] == 0;
		sum->counts[i] += tally->counts[i];
	}
	if (empty || tally->first < sum->first)
		sum->first = tally->first;
	if (empty || tally->last > sum->last)
		sum->last = tally->last;
}

static enum audit_certainty surest(const struct audit_tally *tally)
{
	for (int i = AUDIT_PROVEN; i > AUDIT_UNKNOWN; i--) {
		if (tally->counts[i] > 0)
			return (enum audit_certainty)i;
	}
	return AUDIT_UNKNOWN;
}

static struct audit_finding *find_finding(struct account *account, const struct place *place)
{
	for (size_t i = 0; i < account->finding_count; i++) {
		/* A flood comes from one address mostly: begin with the last one. */
		size_t index = (account->finding_last + i) % account->finding_count;
		struct audit_finding *finding = &account->findings[index];

		if (finding->has_addr == place->has_addr &&
			(!place->has_addr || same_addr(&finding->addr, &place->addr))) {
			account->finding_last = index;
			return finding;
		}
	}
	return NULL;
}

/* Room for one more; false: out of memory. */
static bool grow(struct account *account)
{
	size_t capacity = account->finding_capacity ? 2 * account->finding_capacity : 2;
	struct audit_finding *findings;

	if (account->finding_count < account->finding_capacity)
		return true;
	findings = reallocarray(account->findings, capacity, sizeof(*findings));
	if (!findings)
		return false;
	account->findings = findings;
	account->finding_capacity = capacity;
	return true;
}

/* The least sure one, if it is less sure than `certainty`; of equals the one seen last longest ago.
 */
static struct audit_finding *least_sure(struct account *account, enum audit_certainty certainty)
{
	struct audit_finding *least = NULL;

	for (size_t i = 0; i < account->finding_count; i++) {
		struct audit_finding *finding = &account->findings[i];

		if (finding->certainty >= certainty)
			continue;
		if (!least || finding->certainty < least->certainty ||
			(finding->certainty == least->certainty &&
				finding->tally.last < least->tally.last))
			least = finding;
	}
	return least;
}

enum { NO_ROOM = 1 };

static int new_finding(struct audit *audit, struct account *account, const struct place *place,
	enum audit_certainty certainty, struct audit_finding **ret_finding)
{
	bool room = account->finding_count < audit->settings.listed &&
		    (account->finding_count < RESERVED || audit->listed < LISTED_IN_ALL);
	struct audit_finding *finding;

	if (room) {
		if (!grow(account))
			return -ENOMEM;
		finding = &account->findings[account->finding_count++];
		audit->listed++;
	} else {
		finding = least_sure(account, certainty);
		if (!finding)
			return NO_ROOM;
		tally_sum(&account->others, &finding->tally);
	}
	*finding = (struct audit_finding){.has_addr = place->has_addr, .addr = place->addr};
	*ret_finding = finding;
	return 0;
}

static bool near(int64_t a, int64_t b)
{
	return a - b <= AUDIT_WINDOW && b - a <= AUDIT_WINDOW;
}

/* What is known of the phone that has just registered there; NULL: nothing. */
static const struct audit_name *agent_at(const struct account *account, const struct place *place)
{
	bool known = account->agent.length > 0 && near(account->agent_place.when, place->when) &&
		     place->has_addr && same_addr(&account->agent_place.addr, &place->addr);

	return known ? &account->agent : NULL;
}

static void tell(const struct audit *audit, uint32_t owner, const struct place *place,
	const struct audit_sighting *more)
{
	struct audit_sighting sighting = *more;

	if (!audit->settings.found)
		return;
	sighting.owner = owner;
	sighting.protocol = place->protocol;
	sighting.has_addr = place->has_addr;
	sighting.addr = place->addr;
	sighting.port = place->port;
	sighting.when = place->when;
	if (!sighting.agent)
		sighting.agent = agent_at(audit->accounts[owner], place);
	audit->settings.found(audit->settings.listener, &sighting);
}

/* `event` NULL: a claim, of the Contact `contact`. */
static int record(struct audit *audit, uint32_t owner, const struct place *place,
	enum audit_certainty certainty, const struct audit_event *event,
	const struct audit_name *contact)
{
	struct account *account = audit->accounts[owner];
	const struct audit_name *agent = agent_at(account, place);
	struct audit_finding *finding;
	struct watched *watched = NULL;
	int result = 0;

	if (place->when < audit->settings.since)
		return 0;
	tell(audit, owner, place,
		&(struct audit_sighting){.certainty = (uint8_t)certainty,
			.login = event != NULL,
			.agent = place->has_addr ? NULL : contact});
	tally_add(&account->tally, certainty, place->when);
	if (place->has_addr)
		watched = watch(audit, &place->addr, place->when);
	if (watched) {
		note_tried(audit, watched, owner_id(audit, owner), strlen(owner_id(audit, owner)));
	}
	finding = find_finding(account, place);
	if (!finding)
		result = new_finding(audit, account, place, certainty, &finding);
	if (result == NO_ROOM)
		tally_add(&account->others, certainty, place->when);
	if (result != 0)
		return result < 0 ? result : 0;
	if (watched)
		pin(audit, watched);
	tally_add(&finding->tally, certainty, place->when);
	if (certainty > (enum audit_certainty)finding->certainty)
		finding->certainty = (uint8_t)certainty;
	finding->port = place->port;
	finding->protocols[place->protocol] = true;
	if (event && event->transport_length > 0)
		finding->transport = name_of(event->transport, event->transport_length);
	if (agent)
		finding->agent = *agent;
	else if (contact && !place->has_addr)
		finding->agent = *contact;
	return 0;
}

/* --- log-ins --- */

static enum audit_verdict ask(const struct audit *audit, uint32_t owner, const struct place *place)
{
	int64_t wall = place->when / 1000;

	if (!place->has_addr)
		return AUDIT_NOT_KNOWN;
	return audit->settings.verdict(audit->settings.context, owner, &place->addr, wall);
}

/* True when it is no finding. */
static bool in_order(
	struct audit *audit, struct account *account, enum audit_verdict verdict, int64_t when)
{
	if (verdict != AUDIT_HAD && verdict != AUDIT_GRACE)
		return false;
	if (when >= audit->settings.since) {
		audit->in_order++;
		audit->in_grace += verdict == AUDIT_GRACE;
		account->in_grace += verdict == AUDIT_GRACE;
	}
	return true;
}

static enum audit_certainty certainty_of(enum audit_verdict verdict, enum audit_certainty known)
{
	return verdict == AUDIT_NOT_KNOWN ? AUDIT_UNKNOWN : known;
}

static void take_stranger(struct audit *audit, const struct audit_event *event)
{
	uint64_t hash = mix_bytes(audit->settings.seed, event->account, event->account_length);
	struct stranger *stranger = audit->strangers;
	size_t i = 0;

	if (event->when < audit->settings.since)
		return;
	while (i < audit->stranger_count && stranger[i].hash != hash)
		i++;
	if (i == AUDIT_STRANGERS) {
		audit->strangers_more++;
		return;
	}
	stranger += i;
	if (i == audit->stranger_count) {
		audit->stranger_count++;
		*stranger = (struct stranger){.hash = hash};
		stranger->said.name = name_of(event->account, event->account_length);
		stranger->said.first = stranger->said.last = event->when;
	}
	stranger->said.count++;
	if (event->when < stranger->said.first)
		stranger->said.first = event->when;
	if (event->when < stranger->said.last || !event->has_addr)
		return;
	stranger->said.last = event->when;
	stranger->said.has_addr = true;
	stranger->said.addr = event->addr;
	bits_set(stranger->address_bits, mix_addr(audit->settings.seed, &event->addr));
	stranger->said.addresses_at_least = bits_count(stranger->address_bits);
}

/* A call that an account of the config places from where it is registered. */
static void take_call_from(struct audit *audit, const struct audit_event *event)
{
	struct watched *watched = find_watched(audit, &event->addr);

	if (watched && event->when >= audit->settings.since && event->when > watched->last)
		watched->last = event->when;
}

/* The claims that this log-in made are told by it. */
static void explain_claims(struct account *account, const struct place *login)
{
	for (size_t i = 0; i < RECENT; i++) {
		struct claim *claim = &account->claims[i];

		if (claim->waiting && claim->place.protocol == login->protocol &&
			near(claim->place.when, login->when))
			claim->waiting = false;
	}
}

/* A registration in the full log, at the address of what may be a call. */
static bool claimed_there(const struct account *account, const struct place *place)
{
	const struct place *claim = &account->registered[BY_CLAIM].place;

	return account->registered[BY_CLAIM].listed && near(claim->when, place->when) &&
	       same_addr(&claim->addr, &place->addr);
}

static void remember_login(
	struct audit *audit, uint32_t owner, struct account *account, const struct place *place)
{
	account->logins[account->login_next++ % RECENT] = *place;
	account->last = *place;
	explain_claims(account, place);
	if (place->protocol == AUDIT_SIP)
		move_registration(audit, owner, BY_LOGIN, place);
}

/* A peer that is at home there: a trunk calls without ever having registered. NOBODY. */
static int64_t peer_there(const struct audit *audit, int64_t owner, const struct place *place)
{
	const struct config *config = audit->config;

	/* Peers stand behind the extensions. */
	for (size_t i = config->owner_count; i-- > 0 && config->owners[i].kind == OWNER_PEER;) {
		if ((int64_t)i != owner && ask(audit, (uint32_t)i, place) == AUDIT_HAD)
			return (int64_t)i;
	}
	return NOBODY;
}

static int take_login(struct audit *audit, const struct audit_event *event, struct place *place)
{
	int64_t owner = find_owner(audit, event->account, event->account_length);
	int64_t caller = NOBODY;
	struct account *account;
	enum audit_verdict verdict;
	bool fine;

	if (!event->has_addr)
		return 0;
	if (event->protocol == AUDIT_SIP)
		caller = registered_there(audit, place, owner);
	if (owner == NOBODY) {
		if (caller == NOBODY)
			take_stranger(audit, event);
		else
			take_call_from(audit, event);
		return 0;
	}
	account = account_of(audit, (uint32_t)owner);
	if (!account)
		return -ENOMEM;
	verdict = ask(audit, (uint32_t)owner, place);
	fine = in_order(audit, account, verdict, place->when);
	if (!fine && caller == NOBODY && event->protocol == AUDIT_SIP)
		caller = peer_there(audit, owner, place);
	if (caller != NOBODY && !fine && !claimed_there(account, place)) {
		account->doubtful = *place;
		return record(audit, (uint32_t)owner, place, AUDIT_AMBIGUOUS, event, NULL);
	}
	remember_login(audit, (uint32_t)owner, account, place);
	if (fine)
		return 0;
	return record(
		audit, (uint32_t)owner, place, certainty_of(verdict, AUDIT_PROVEN), event, NULL);
}

/* --- claims --- */

/* What was ambiguous was a registration: the full log has it, at that address and time. */
static void decide_doubtful(struct audit *audit, uint32_t owner, const struct place *claim)
{
	struct account *account = audit->accounts[owner];
	struct place *place = &account->doubtful;
	enum audit_certainty certainty;
	struct audit_finding *finding;

	if (!place->has_addr || !near(place->when, claim->when) ||
		!same_addr(&place->addr, &claim->addr))
		return;
	remember_login(audit, owner, account, place);
	if (place->when < audit->settings.since) {
		place->has_addr = false;
		return;
	}
	certainty = certainty_of(ask(audit, owner, place), AUDIT_PROVEN);
	tell(audit, owner, place,
		&(struct audit_sighting){
			.certainty = (uint8_t)certainty, .login = true, .rises = true});
	finding = find_finding(account, place);
	account->tally.counts[AUDIT_AMBIGUOUS]--;
	account->tally.counts[certainty]++;
	if (finding && finding->tally.counts[AUDIT_AMBIGUOUS] > 0) {
		finding->tally.counts[AUDIT_AMBIGUOUS]--;
		finding->tally.counts[certainty]++;
		finding->certainty = (uint8_t)surest(&finding->tally);
	} else if (account->others.counts[AUDIT_AMBIGUOUS] > 0) {
		account->others.counts[AUDIT_AMBIGUOUS]--;
		account->others.counts[certainty]++;
	}
	place->has_addr = false;
}

static int settle_claim(struct audit *audit, uint32_t owner, struct claim *claim)
{
	struct account *account = audit->accounts[owner];

	if (!claim->waiting)
		return 0;
	claim->waiting = false;
	if (in_order(audit, account, (enum audit_verdict)claim->verdict, claim->place.when))
		return 0;
	return record(audit, owner, &claim->place,
		certainty_of((enum audit_verdict)claim->verdict, AUDIT_CLAIMED), NULL,
		&claim->contact);
}

static int settle_old_claims(struct audit *audit, uint32_t owner, int64_t when)
{
	struct account *account = audit->accounts[owner];

	for (size_t i = 0; i < RECENT; i++) {
		struct claim *claim = &account->claims[(account->claim_next + i) % RECENT];
		int result = 0;

		if (!near(claim->place.when, when))
			result = settle_claim(audit, owner, claim);
		if (result < 0)
			return result;
	}
	return 0;
}

static bool is_explained(const struct account *account, const struct place *claim)
{
	for (size_t i = 0; i < RECENT; i++) {
		const struct place *login = &account->logins[i];

		if (login->has_addr && login->protocol == claim->protocol &&
			near(login->when, claim->when))
			return true;
	}
	return false;
}

static int take_claim(struct audit *audit, const struct audit_event *event, struct place *place)
{
	int64_t owner = find_owner(audit, event->account, event->account_length);
	struct account *account;
	struct claim *claim;
	int result;

	if (owner == NOBODY) {
		take_stranger(audit, event);
		return 0;
	}
	account = account_of(audit, (uint32_t)owner);
	if (!account)
		return -ENOMEM;
	decide_doubtful(audit, (uint32_t)owner, place);
	if (place->has_addr) {
		account->last = *place;
		if (place->protocol == AUDIT_SIP)
			move_registration(audit, (uint32_t)owner, BY_CLAIM, place);
	}
	if (is_explained(account, place))
		return 0;
	claim = &account->claims[account->claim_next++ % RECENT];
	result = settle_claim(audit, (uint32_t)owner, claim);
	*claim = (struct claim){
		.place = *place,
		.waiting = true,
		.verdict = (uint8_t)ask(audit, (uint32_t)owner, place),
		.contact = name_of(event->text, event->text_length),
	};
	/* What it does until the claim is settled counts, too. */
	if (place->has_addr && claim->verdict != AUDIT_HAD && claim->verdict != AUDIT_GRACE)
		watch(audit, &place->addr, place->when);
	return result;
}

/* --- the rest --- */

static bool is_unknown(const struct audit_event *event)
{
	return event->account_length == 9 && memcmp(event->account, "<unknown>", 9) == 0;
}

/* pjsip says "wrong password", too, behind every refusal for another reason. */
static bool is_echo(const struct watched *watched, const struct audit_event *event)
{
	if (event->protocol != AUDIT_PJSIP || event->failure != AUDIT_FAILURE_PASSWORD)
		return false;
	if (event->security)
		return is_unknown(event);
	return watched->refused / 1000 == event->when / 1000;
}

static void take_failed(struct audit *audit, const struct audit_event *event)
{
	struct watched *watched;

	if (!event->has_addr || event->when < audit->settings.since)
		return;
	watched = watch(audit, &event->addr, event->when);
	if (!watched)
		return;
	add_weight(audit, watched);
	if (!is_echo(watched, event))
		watched->failures[event->security][event->failure]++;
	if (!event->security && event->failure != AUDIT_FAILURE_PASSWORD)
		watched->refused = event->when;
	note_tried(audit, watched, event->account, event->account_length);
}

static void take_agent(struct audit *audit, const struct audit_event *event)
{
	int64_t owner = find_owner(audit, event->account, event->account_length);
	struct account *account = owner == NOBODY ? NULL : audit->accounts[owner];
	const struct registration *claim;
	struct audit_finding *finding;

	if (!account)
		return;
	/* It stands right behind the registration that it belongs to. */
	claim = &account->registered[BY_CLAIM];
	if (!claim->listed || claim->place.when / 1000 != event->when / 1000)
		return;
	account->agent = name_of(event->text, event->text_length);
	account->agent_place = claim->place;
	finding = find_finding(account, &claim->place);
	if (finding && near(finding->tally.last, event->when))
		finding->agent = account->agent;
}

static void take_call(struct audit *audit, const struct audit_event *event)
{
	int64_t owner = find_owner(audit, event->account, event->account_length);
	struct account *account = owner == NOBODY ? NULL : audit->accounts[owner];
	struct audit_name number = name_of(event->text, event->text_length);
	struct watched *watched;

	if (!account || !account->last.has_addr || event->when < audit->settings.since)
		return;
	watched = find_watched(audit, &account->last.addr);
	if (!watched)
		return;
	for (size_t i = 0; i < CHANNELS; i++) {
		if (account->channels[i] == event->channel + 1)
			return;
	}
	account->channels[account->channel_next++ % CHANNELS] = event->channel + 1;
	watched->calls++;
	add_weight(audit, watched);
	if (event->when > watched->last)
		watched->last = event->when;
	if (number.length > 0)
		name_add(watched->dialled, &watched->dialled_count, &number);
}

/* An event of the security log that is in the full log, too, or in a second copy. */
static bool seen_before(struct audit *audit, const struct audit_event *event)
{
	uint64_t hash = mix(audit->settings.seed, (uint64_t)event->when);
	uint64_t *slot;

	if (!event->security)
		return false;
	hash = mix(
		hash, (uint64_t)event->kind << 32 | (uint64_t)event->failure << 16 | event->port);
	hash = mix_addr(hash, &event->addr);
	hash = mix_bytes(hash, event->account, event->account_length);
	hash = mix_bytes(hash, event->session, event->session_length) | 1;
	slot = &audit->seen[hash >> 1 & (SEEN - 1)];
	if (*slot == hash)
		return true;
	*slot = hash;
	return false;
}

int audit_take(struct audit *audit, const struct audit_event *event)
{
	struct place place = {
		.addr = event->addr,
		.has_addr = event->has_addr,
		.port = event->port,
		.protocol = event->protocol,
		.when = event->when,
	};
	int64_t owner;

	if (seen_before(audit, event))
		return 0;
	if (event->kind == AUDIT_LOGIN || event->kind == AUDIT_CLAIM) {
		owner = find_owner(audit, event->account, event->account_length);
		if (owner != NOBODY && audit->accounts[owner]) {
			int result = settle_old_claims(audit, (uint32_t)owner, event->when);

			if (result < 0)
				return result;
		}
	}
	switch ((enum audit_event_kind)event->kind) {
	case AUDIT_LOGIN:
		return take_login(audit, event, &place);
	case AUDIT_CLAIM:
		return take_claim(audit, event, &place);
	case AUDIT_FAILED:
		take_failed(audit, event);
		break;
	case AUDIT_AGENT:
		take_agent(audit, event);
		break;
	case AUDIT_CALL:
		take_call(audit, event);
		break;
	}
	return 0;
}

int audit_settle(struct audit *audit, int64_t when)
{
	for (size_t owner = 0; owner < audit->config->owner_count; owner++) {
		int result = 0;

		if (audit->accounts[owner])
			result = settle_old_claims(audit, (uint32_t)owner, when);
		if (result < 0)
			return result;
	}
	return 0;
}

static int inherit_account(struct audit *audit, uint32_t owner, const struct account *from)
{
	struct account *account = account_of(audit, owner);

	if (!account)
		return -ENOMEM;
	for (int sighting = 0; sighting < SIGHTINGS; sighting++) {
		if (from->registered[sighting].listed)
			move_registration(audit, owner, (enum sighting)sighting,
				&from->registered[sighting].place);
	}
	account->last = from->last;
	account->doubtful = from->doubtful;
	memcpy(account->logins, from->logins, sizeof(account->logins));
	memcpy(account->claims, from->claims, sizeof(account->claims));
	account->login_next = from->login_next;
	account->claim_next = from->claim_next;
	account->agent = from->agent;
	account->agent_place = from->agent_place;
	return 0;
}

int audit_inherit(struct audit *audit, const struct audit *old)
{
	for (uint32_t owner = 0; owner < audit->config->owner_count; owner++) {
		const char *id = owner_id(audit, owner);
		int64_t before = find_owner(old, id, strlen(id));
		int result = 0;

		if (before != NOBODY && old->accounts[before] &&
			find_owner(audit, id, strlen(id)) == owner)
			result = inherit_account(audit, owner, old->accounts[before]);
		if (result < 0)
			return result;
	}
	return 0;
}

/* --- the result --- */

static bool has_findings(const struct account *account)
{
	uint64_t sum = 0;

	for (size_t i = 0; account && i < AUDIT_CERTAINTY_COUNT; i++)
		sum += account->tally.counts[i];
	return sum > 0;
}

static int by_certainty(const void *a, const void *b)
{
	const struct audit_finding *x = a, *y = b;

	if (x->certainty != y->certainty)
		return x->certainty > y->certainty ? -1 : 1;
	if (x->tally.first != y->tally.first)
		return x->tally.first < y->tally.first ? -1 : 1;
	return addr_compare(&x->addr, &y->addr);
}

static int by_stranger_name(const void *a, const void *b)
{
	const struct audit_name *x = &((const struct stranger *)a)->said.name;
	const struct audit_name *y = &((const struct stranger *)b)->said.name;
	int order = memcmp(x->bytes, y->bytes, AUDIT_NAME_SIZE);

	return order != 0 ? order : (int)x->length - (int)y->length;
}

int audit_finish(struct audit *audit)
{
	size_t owners = audit->config->owner_count, count = 0;

	for (size_t owner = 0; owner < owners; owner++) {
		struct account *account = audit->accounts[owner];

		for (size_t i = 0; account && i < RECENT; i++) {
			size_t index = (account->claim_next + i) % RECENT;
			int result = settle_claim(audit, (uint32_t)owner, &account->claims[index]);

			if (result < 0)
				return result;
		}
		count += has_findings(account);
	}
	audit->found = calloc(count + 1, sizeof(*audit->found));
	if (!audit->found)
		return -ENOMEM;
	for (int certainty = AUDIT_PROVEN; certainty >= AUDIT_UNKNOWN; certainty--) {
		for (uint32_t owner = 0; owner < owners; owner++) {
			struct account *account = audit->accounts[owner];

			if (has_findings(account) && (int)surest(&account->tally) == certainty)
				audit->found[audit->found_count++] = owner;
		}
	}
	for (size_t i = 0; i < audit->found_count; i++) {
		struct account *account = audit->accounts[audit->found[i]];

		if (account->finding_count > 1)
			qsort(account->findings, account->finding_count, sizeof(*account->findings),
				by_certainty);
	}
	if (audit->stranger_count > 1)
		qsort(audit->strangers, audit->stranger_count, sizeof(*audit->strangers),
			by_stranger_name);
	return 0;
}

size_t audit_account_count(const struct audit *audit)
{
	return audit->found_count;
}

struct audit_account audit_account(const struct audit *audit, size_t index)
{
	uint32_t owner = audit->found[index];
	const struct account *account = audit->accounts[owner];

	return (struct audit_account){
		.owner = owner,
		.certainty = (uint8_t)surest(&account->tally),
		.tally = account->tally,
		.findings = account->findings,
		.finding_count = account->finding_count,
		.others = account->others,
		.in_grace = account->in_grace,
	};
}

bool audit_deeds(const struct audit *audit, const struct addr *addr, struct audit_deeds *ret_deeds)
{
	const struct watched *watched = find_watched(audit, addr);
	struct audit_deeds deeds = {0};
	uint64_t in_security = 0;

	if (!watched)
		return false;
	/* Both logs tell of the same failures; the security log does it better. */
	for (size_t i = 0; i < AUDIT_FAILURE_COUNT; i++)
		in_security += watched->failures[1][i];
	memcpy(deeds.failures, watched->failures[in_security > 0], sizeof(deeds.failures));
	deeds.calls = watched->calls;
	deeds.first = watched->first;
	deeds.last = watched->last;
	memcpy(deeds.tried, watched->tried, watched->tried_count * sizeof(*deeds.tried));
	memcpy(deeds.dialled, watched->dialled, watched->dialled_count * sizeof(*deeds.dialled));
	deeds.tried_count = watched->tried_count;
	deeds.dialled_count = watched->dialled_count;
	deeds.tried_at_least = bits_count(watched->tried_bits);
	if (deeds.tried_at_least < deeds.tried_count)
		deeds.tried_at_least = deeds.tried_count;
	*ret_deeds = deeds;
	return true;
}

size_t audit_stranger_count(const struct audit *audit)
{
	return audit->stranger_count;
}

const struct audit_stranger *audit_stranger(const struct audit *audit, size_t index)
{
	return &audit->strangers[index].said;
}

uint64_t audit_strangers_more(const struct audit *audit)
{
	return audit->strangers_more;
}

uint64_t audit_in_grace(const struct audit *audit)
{
	return audit->in_grace;
}

uint64_t audit_in_order(const struct audit *audit)
{
	return audit->in_order;
}

/* --- beginning and end --- */

static int allocate(struct audit *audit)
{
	size_t owners = audit->config->owner_count;

	audit->name_mask = power_of_two(2 * owners) - 1;
	audit->registered_mask = audit->name_mask;
	audit->set_mask = power_of_two(audit->settings.watched / WAYS) - 1;
	audit->names = calloc(audit->name_mask + 1, sizeof(*audit->names));
	audit->registered = malloc((audit->registered_mask + 1) * sizeof(*audit->registered));
	audit->accounts = calloc(owners + 1, sizeof(struct account *));
	audit->watched = calloc((audit->set_mask + 1) * WAYS, sizeof(*audit->watched));
	audit->watched_tags = calloc(audit->set_mask + 1, sizeof(*audit->watched_tags));
	audit->strangers = calloc(AUDIT_STRANGERS, sizeof(*audit->strangers));
	if (!audit->names || !audit->registered || !audit->accounts || !audit->watched ||
		!audit->watched_tags || !audit->strangers)
		return -ENOMEM;
	memset(audit->registered, 0xff, (audit->registered_mask + 1) * sizeof(*audit->registered));
	return 0;
}

int audit_new(const struct config *config, const struct audit_settings *settings,
	struct audit **ret_audit)
{
	struct audit *audit = calloc(1, sizeof(*audit));

	if (!audit)
		return -ENOMEM;
	audit->config = config;
	audit->settings = *settings;
	if (audit->settings.listed == 0)
		audit->settings.listed = AUDIT_LISTED;
	if (audit->settings.watched == 0)
		audit->settings.watched = AUDIT_WATCHED;
	if (allocate(audit) < 0) {
		audit_free(audit);
		return -ENOMEM;
	}
	/* Extensions stand first: a peer of the same id is not the one that logs in. */
	for (size_t i = 0; i < config->owner_count; i++) {
		uint32_t *slot =
			name_slot(audit, config->owners[i].id, strlen(config->owners[i].id));

		if (!*slot)
			*slot = (uint32_t)i + 1;
	}
	*ret_audit = audit;
	return 0;
}

struct audit *audit_free(struct audit *audit)
{
	if (!audit)
		return NULL;
	for (size_t i = 0; audit->accounts && i < audit->config->owner_count; i++) {
		if (audit->accounts[i])
			free(audit->accounts[i]->findings);
		free(audit->accounts[i]);
	}
	free(audit->accounts);
	free(audit->names);
	free(audit->registered);
	free(audit->watched);
	free(audit->watched_tags);
	free(audit->strangers);
	free(audit->found);
	free(audit);
	return NULL;
}
