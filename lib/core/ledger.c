/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One balanced tree of all that is permitted, ordered by set and prefix, so that what a prefix
 * covers stands right behind it. A second one of what is permitted no more, until the kernel has
 * let go of it. Nodes are numbered, and 0 is none.
 */
#include "ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	NONE = 0,
	KINDS = 4, /* of sets of a service: hosts and nets of two families */
	LENGTHS = 129,
	BEHIND = 255, /* as a prefix length: behind all that begin at that address */
	DEPTH = 48,   /* an AVL tree of 2^32 nodes is no higher */
	ROOM_SHARE = 8,
	ROOM_LEAST = 16,
};

enum node_flag {
	NODE_HELD = 1,	  /* the kernel has it */
	NODE_DIRTY = 2,	  /* may differ from what the kernel has: it is in ledger.dirty */
	NODE_PLANNED = 4, /* the last plan saw it as it is */
	NODE_JOINS = 8,	  /* its first claim continues the last one of the node before */
};

/* A grant, but for what its node says. */
struct claim {
	uint32_t owner;
	uint32_t host; /* index into roster.hosts, plus 1; 0: fixed in the config */
};

/* There is one for each address, so each byte counts. */
struct node {
	uint32_t left, right; /* of free nodes `left` is the next free one */
	union {
		struct claim one;
		struct claim *many; /* when `count` > 1: sorted; room for the next power of 2 */
	};
	uint64_t hash;	 /* of the comment that the kernel has */
	uint32_t count;	 /* claims */
	uint32_t pieces; /* of comments, in this node and below: see own_pieces() */
	struct prefix prefix;
	uint8_t slot;  /* index into ledger.slots */
	uint8_t flags; /* enum node_flag */
	uint8_t height;
};

/* Of each kind of set of each service. */
struct slot {
	bool present;		   /* the service is guarded */
	uint32_t set;		   /* index into skeleton->sets */
	uint32_t lengths[LENGTHS]; /* nodes by length of their prefix; of nets */
};

struct verdict {
	uint32_t node;
	bool remove, add; /* both: it has another comment */
	uint64_t hash;
	const char *comment; /* when `add` */
};

struct ledger {
	const struct config *config;
	const struct roster *roster;
	struct slot *slots;
	size_t slot_count;
	uint32_t *owners;      /* of all hosts, one host behind the other */
	uint32_t *first_owner; /* of each host in `owners`, and the end */

	struct node *nodes;
	uint32_t *dirty; /* as much room as for nodes */
	size_t count, capacity;
	uint32_t free;
	uint32_t permitted, gone; /* roots of the trees */
	size_t dirty_count, held;
	size_t list_bytes; /* of nodes with more than one claim */

	struct verdict *verdicts; /* of the last plan; NULL: none is under way */
	size_t verdict_count;
};

/* --- Trees --- */

static int compare_key(uint8_t slot, const struct prefix *prefix, const struct node *node)
{
	if (slot != node->slot)
		return slot < node->slot ? -1 : 1;
	return prefix_compare(prefix, &node->prefix);
}

static bool is_net(const struct node *node)
{
	return !prefix_is_host(&node->prefix);
}

/* What the node adds to the comment of an element that it folds into. Hosts do not fold. */
static uint32_t own_pieces(const struct node *node)
{
	return is_net(node) ? node->count - !!(node->flags & NODE_JOINS) : 0;
}

static void refresh(struct node *nodes, uint32_t at)
{
	const struct node *left = &nodes[nodes[at].left], *right = &nodes[nodes[at].right];

	nodes[at].height = (uint8_t)(1 + (left->height > right->height ? left : right)->height);
	nodes[at].pieces = left->pieces + right->pieces + own_pieces(&nodes[at]);
}

static void rotate_right(struct node *nodes, uint32_t *link)
{
	uint32_t top = *link, left = nodes[top].left;

	nodes[top].left = nodes[left].right;
	nodes[left].right = top;
	*link = left;
	refresh(nodes, top);
	refresh(nodes, left);
}

static void rotate_left(struct node *nodes, uint32_t *link)
{
	uint32_t top = *link, right = nodes[top].right;

	nodes[top].right = nodes[right].left;
	nodes[right].left = top;
	*link = right;
	refresh(nodes, top);
	refresh(nodes, right);
}

static int lean(const struct node *nodes, uint32_t at)
{
	return nodes[nodes[at].left].height - nodes[nodes[at].right].height;
}

static void balance(struct node *nodes, uint32_t *link)
{
	struct node *top = &nodes[*link];

	if (*link == NONE)
		return;
	if (lean(nodes, *link) > 1) {
		if (lean(nodes, top->left) < 0)
			rotate_left(nodes, &top->left);
		rotate_right(nodes, link);
	} else if (lean(nodes, *link) < -1) {
		if (lean(nodes, top->right) > 0)
			rotate_right(nodes, &top->right);
		rotate_left(nodes, link);
	} else {
		refresh(nodes, *link);
	}
}

/* The links that lead to a node, from the root's on. */
struct path {
	uint32_t *links[DEPTH];
	size_t depth;
};

/* The last link is the node's own; NONE stands there when it is not in the tree. */
static void descend(struct node *nodes, uint32_t *root, uint8_t slot, const struct prefix *prefix,
	struct path *ret_path)
{
	uint32_t *link = root;
	size_t depth = 0;

	for (;;) {
		int order;

		ret_path->links[depth++] = link;
		if (*link == NONE)
			break;
		order = compare_key(slot, prefix, &nodes[*link]);
		if (order == 0)
			break;
		link = order < 0 ? &nodes[*link].left : &nodes[*link].right;
	}
	ret_path->depth = depth;
}

static void balance_path(struct node *nodes, const struct path *path)
{
	for (size_t i = path->depth; i-- > 0;)
		balance(nodes, path->links[i]);
}

static void tree_insert(struct node *nodes, uint32_t *root, uint32_t at)
{
	struct path path;

	nodes[at].left = nodes[at].right = NONE;
	descend(nodes, root, nodes[at].slot, &nodes[at].prefix, &path);
	*path.links[path.depth - 1] = at;
	balance_path(nodes, &path);
}

static void tree_remove(struct node *nodes, uint32_t *root, uint32_t at)
{
	struct node *node = &nodes[at];
	struct path path;
	uint32_t *link, next;
	size_t own;

	descend(nodes, root, node->slot, &node->prefix, &path);
	own = path.depth - 1;
	if (node->left == NONE || node->right == NONE) {
		*path.links[own] = node->left != NONE ? node->left : node->right;
		balance_path(nodes, &path);
		return;
	}
	/* The next one in order takes its place. */
	for (link = &node->right; nodes[*link].left != NONE; link = &nodes[*link].left)
		path.links[path.depth++] = link;
	path.links[path.depth++] = link;
	next = *link;
	*link = nodes[next].right;
	nodes[next].left = node->left;
	nodes[next].right = node->right;
	*path.links[own] = next;
	path.links[own + 1] = &nodes[next].right;
	balance_path(nodes, &path);
}

/* After a change of the node's own pieces. */
static void tree_update(struct node *nodes, uint32_t *root, uint32_t at)
{
	struct path path;

	descend(nodes, root, nodes[at].slot, &nodes[at].prefix, &path);
	balance_path(nodes, &path);
}

static uint32_t tree_find(
	const struct node *nodes, uint32_t root, uint8_t slot, const struct prefix *prefix)
{
	uint32_t at = root;

	while (at != NONE) {
		int order = compare_key(slot, prefix, &nodes[at]);

		if (order == 0)
			break;
		at = order < 0 ? nodes[at].left : nodes[at].right;
	}
	return at;
}

/* The neighbours of a place in the order; of the same slot, or NONE. */
static uint32_t tree_next(
	const struct node *nodes, uint32_t root, uint8_t slot, const struct prefix *prefix)
{
	uint32_t found = NONE;

	for (uint32_t at = root; at != NONE;) {
		bool behind = compare_key(slot, prefix, &nodes[at]) < 0;

		if (behind)
			found = at;
		at = behind ? nodes[at].left : nodes[at].right;
	}
	return found != NONE && nodes[found].slot == slot ? found : NONE;
}

static uint32_t tree_previous(
	const struct node *nodes, uint32_t root, uint8_t slot, const struct prefix *prefix)
{
	uint32_t found = NONE;

	for (uint32_t at = root; at != NONE;) {
		bool before = compare_key(slot, prefix, &nodes[at]) > 0;

		if (before)
			found = at;
		at = before ? nodes[at].right : nodes[at].left;
	}
	return found != NONE && nodes[found].slot == slot ? found : NONE;
}

static uint32_t tree_pieces_before(
	const struct node *nodes, uint32_t root, uint8_t slot, const struct prefix *prefix)
{
	uint32_t pieces = 0;

	for (uint32_t at = root; at != NONE;) {
		bool before = compare_key(slot, prefix, &nodes[at]) > 0;

		if (before)
			pieces += nodes[nodes[at].left].pieces + own_pieces(&nodes[at]);
		at = before ? nodes[at].right : nodes[at].left;
	}
	return pieces;
}

/* Stands behind all that `prefix` covers, and before what comes next. */
static struct prefix end_of(const struct prefix *prefix)
{
	return (struct prefix){.addr = prefix_last(prefix), .length = BEHIND};
}

/* --- Nodes and their claims --- */

static int reserve(struct ledger *ledger, size_t capacity)
{
	struct node *nodes;
	uint32_t *dirty;

	if (capacity > UINT32_MAX)
		return -ENOMEM;
	nodes = reallocarray(ledger->nodes, capacity, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	ledger->nodes = nodes;
	dirty = reallocarray(ledger->dirty, capacity, sizeof(*dirty));
	if (!dirty)
		return -ENOMEM;
	ledger->dirty = dirty;
	ledger->capacity = capacity;
	return 0;
}

static int node_new(
	struct ledger *ledger, uint8_t slot, const struct prefix *prefix, uint32_t *ret_node)
{
	uint32_t at = ledger->free;

	if (at != NONE) {
		ledger->free = ledger->nodes[at].left;
	} else {
		size_t count = ledger->count;

		if (count == ledger->capacity &&
			reserve(ledger, count + count / ROOM_SHARE + ROOM_LEAST) < 0)
			return -ENOMEM;
		at = (uint32_t)ledger->count++;
	}
	ledger->nodes[at] = (struct node){.slot = slot, .prefix = *prefix};
	*ret_node = at;
	return 0;
}

static void node_free(struct ledger *ledger, uint32_t at)
{
	ledger->nodes[at] = (struct node){.left = ledger->free};
	ledger->free = at;
}

static const struct claim *claims_of(const struct node *node)
{
	return node->count > 1 ? node->many : &node->one;
}

/* As grants are sorted: hosts by name, which is their order in the roster. */
static int compare_claims(const struct claim *a, const struct claim *b)
{
	if (a->owner != b->owner)
		return a->owner < b->owner ? -1 : 1;
	return a->host < b->host ? -1 : a->host > b->host;
}

static bool find_claim(const struct node *node, const struct claim *claim, uint32_t *ret_at)
{
	const struct claim *claims = claims_of(node);
	uint32_t low = 0, high = node->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare_claims(&claims[middle], claim);

		if (order == 0) {
			*ret_at = middle;
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_at = low;
	return false;
}

static bool is_power_of_two(uint32_t number)
{
	return (number & (number - 1)) == 0;
}

/* A node of one claim and more gets room for one more. */
static int grow_claims(struct ledger *ledger, struct node *node)
{
	struct claim *old = node->count > 1 ? node->many : NULL, *many;

	if (!is_power_of_two(node->count))
		return 0;
	many = reallocarray(old, node->count, 2 * sizeof(*many));
	if (!many)
		return -ENOMEM;
	if (!old)
		many[0] = node->one;
	ledger->list_bytes += (old ? node->count : 2) * sizeof(*many);
	node->many = many;
	return 0;
}

static int insert_claim(
	struct ledger *ledger, struct node *node, uint32_t at, const struct claim *claim)
{
	if (node->count == 0) {
		node->one = *claim;
		node->count = 1;
		return 0;
	}
	if (grow_claims(ledger, node) < 0)
		return -ENOMEM;
	memmove(&node->many[at + 1], &node->many[at], (node->count - at) * sizeof(*claim));
	node->many[at] = *claim;
	node->count++;
	return 0;
}

static void remove_claim(struct ledger *ledger, struct node *node, uint32_t at)
{
	struct claim *many = node->many, *smaller;

	if (node->count-- == 1)
		return;
	if (node->count == 1) {
		node->one = many[at == 0 ? 1 : 0];
		free(many);
		ledger->list_bytes -= 2 * sizeof(*many);
		return;
	}
	memmove(&many[at], &many[at + 1], (node->count - at) * sizeof(*many));
	if (!is_power_of_two(node->count))
		return;
	smaller = reallocarray(many, node->count, sizeof(*many));
	if (smaller)
		node->many = smaller;
	ledger->list_bytes -= node->count * sizeof(*many);
}

/* --- What changes with a grant --- */

static uint8_t slot_of(size_t service, const struct prefix *prefix)
{
	unsigned kind = prefix_is_host(prefix) ? 0 : FAMILY_COUNT;

	return (uint8_t)(service * KINDS + kind + prefix->addr.family);
}

/* The widest permitted net that covers the prefix, or is it; NONE: there is none. */
static uint32_t outermost(const struct ledger *ledger, uint8_t slot, const struct prefix *prefix)
{
	for (unsigned length = 0; length <= prefix->length; length++) {
		struct prefix wider;
		uint32_t at;

		if (!ledger->slots[slot].lengths[length])
			continue;
		wider = prefix_of(&prefix->addr, length);
		at = tree_find(ledger->nodes, ledger->permitted, slot, &wider);
		if (at != NONE)
			return at;
	}
	return NONE;
}

static void mark(struct ledger *ledger, uint32_t at)
{
	struct node *node = &ledger->nodes[at];

	node->flags &= (uint8_t)~NODE_PLANNED;
	if (node->flags & NODE_DIRTY)
		return;
	node->flags |= NODE_DIRTY;
	ledger->dirty[ledger->dirty_count++] = at;
}

/* The nets that are elements of their own unless `prefix` covers them. */
static void mark_nested(struct ledger *ledger, uint8_t slot, const struct prefix *prefix)
{
	const struct node *nodes = ledger->nodes;
	uint32_t at = tree_next(nodes, ledger->permitted, slot, prefix);

	while (at != NONE && prefix_covers(prefix, &nodes[at].prefix)) {
		struct prefix end = end_of(&nodes[at].prefix);

		mark(ledger, at);
		at = tree_next(nodes, ledger->permitted, slot, &end);
	}
}

/* Marks the element that the net belongs to; without one, what the net has covered. */
static void mark_net(struct ledger *ledger, uint8_t slot, const struct prefix *prefix)
{
	uint32_t element = outermost(ledger, slot, prefix);

	if (element != NONE)
		mark(ledger, element);
	else
		mark_nested(ledger, slot, prefix);
}

/* Sees whether the first claim continues that of the node before; the pieces follow. */
static void join(struct ledger *ledger, uint32_t at)
{
	struct node *nodes = ledger->nodes, *node = &nodes[at];
	uint32_t before;

	if (at == NONE)
		return;
	before = tree_previous(nodes, ledger->permitted, node->slot, &node->prefix);
	node->flags &= (uint8_t)~NODE_JOINS;
	if (before != NONE && compare_claims(&claims_of(&nodes[before])[nodes[before].count - 1],
				      claims_of(node)) == 0)
		node->flags |= NODE_JOINS;
	tree_update(nodes, &ledger->permitted, at);
}

static void join_behind(struct ledger *ledger, uint8_t slot, const struct prefix *prefix)
{
	join(ledger, tree_next(ledger->nodes, ledger->permitted, slot, prefix));
}

/* A prefix that nobody had until now. */
static int enter(
	struct ledger *ledger, uint8_t slot, const struct prefix *prefix, const struct claim *claim)
{
	bool host = prefix_is_host(prefix);
	uint32_t at = tree_find(ledger->nodes, ledger->gone, slot, prefix);

	if (at != NONE)
		tree_remove(ledger->nodes, &ledger->gone, at);
	else if (node_new(ledger, slot, prefix, &at) < 0)
		return -ENOMEM;
	if (host || outermost(ledger, slot, prefix) == NONE)
		mark(ledger, at);
	if (!host)
		mark_net(ledger, slot, prefix);
	insert_claim(ledger, &ledger->nodes[at], 0, claim);
	tree_insert(ledger->nodes, &ledger->permitted, at);
	if (host)
		return 0;
	ledger->slots[slot].lengths[prefix->length]++;
	join(ledger, at);
	join_behind(ledger, slot, prefix);
	return 0;
}

/* The last one who had the prefix has it no more. */
static void leave(struct ledger *ledger, uint32_t at)
{
	struct node *node = &ledger->nodes[at];
	struct prefix prefix = node->prefix;
	uint8_t slot = node->slot;

	tree_remove(ledger->nodes, &ledger->permitted, at);
	if (node->flags & (NODE_HELD | NODE_DIRTY)) {
		mark(ledger, at);
		tree_insert(ledger->nodes, &ledger->gone, at);
	} else {
		node_free(ledger, at);
	}
	if (prefix_is_host(&prefix))
		return;
	ledger->slots[slot].lengths[prefix.length]--;
	join_behind(ledger, slot, &prefix);
	mark_net(ledger, slot, &prefix);
}

/* Other claims of a prefix that stays. */
static void mark_changed(struct ledger *ledger, uint32_t at)
{
	const struct node *node = &ledger->nodes[at];

	if (!is_net(node)) {
		mark(ledger, at);
		return;
	}
	join(ledger, at);
	join_behind(ledger, node->slot, &node->prefix);
	mark_net(ledger, node->slot, &node->prefix);
}

static int grant(struct ledger *ledger, size_t service, const struct prefix *prefix,
	const struct claim *claim)
{
	uint8_t slot = slot_of(service, prefix);
	uint32_t at, place;

	if (!ledger->slots[slot].present)
		return 0;
	at = tree_find(ledger->nodes, ledger->permitted, slot, prefix);
	if (at == NONE)
		return enter(ledger, slot, prefix, claim);
	if (find_claim(&ledger->nodes[at], claim, &place))
		return 0;
	if (insert_claim(ledger, &ledger->nodes[at], place, claim) < 0)
		return -ENOMEM;
	mark_changed(ledger, at);
	return 0;
}

static void revoke(struct ledger *ledger, size_t service, const struct prefix *prefix,
	const struct claim *claim)
{
	uint8_t slot = slot_of(service, prefix);
	uint32_t at = tree_find(ledger->nodes, ledger->permitted, slot, prefix), place;

	if (at == NONE || !find_claim(&ledger->nodes[at], claim, &place))
		return;
	remove_claim(ledger, &ledger->nodes[at], place);
	if (ledger->nodes[at].count == 0)
		leave(ledger, at);
	else
		mark_changed(ledger, at);
}

/* --- Names and answers --- */

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static int update_owner(struct ledger *ledger, size_t host, uint32_t owner,
	const struct addr *before, size_t count, int64_t now)
{
	const struct config *config = ledger->config;
	struct claim claim = {.owner = owner, .host = (uint32_t)host + 1};
	struct prefix wanted[HOST_ADDRS_MAX];
	size_t wanted_count =
		allowlist_prefixes(config, owner, &ledger->roster->hosts[host], now, wanted);

	if (wanted_count > 1)
		qsort(wanted, wanted_count, sizeof(*wanted), compare_prefixes);
	for (size_t service = 0; service < config->service_count; service++) {
		if (!allowlist_serves(config, owner, service))
			continue;
		for (size_t i = 0; i < wanted_count; i++) {
			if (grant(ledger, service, &wanted[i], &claim) < 0)
				return -ENOMEM;
		}
		for (size_t i = 0; i < count; i++) {
			struct prefix prefix = allowlist_prefix(config, owner, &before[i]);

			if (!bsearch(&prefix, wanted, wanted_count, sizeof(*wanted),
				    compare_prefixes))
				revoke(ledger, service, &prefix, &claim);
		}
	}
	return 0;
}

int ledger_update(
	struct ledger *ledger, size_t host, const struct addr *before, size_t count, int64_t now)
{
	for (uint32_t i = ledger->first_owner[host]; i < ledger->first_owner[host + 1]; i++) {
		if (update_owner(ledger, host, ledger->owners[i], before, count, now) < 0)
			return -ENOMEM;
	}
	return 0;
}

size_t host_list_addrs(const struct host *host, struct addr ret_addrs[HOST_ADDRS_MAX])
{
	size_t count = 0;

	for (int family = 0; family < FAMILY_COUNT; family++) {
		for (size_t i = 0; i < host->count[family] && count < HOST_ADDRS_MAX; i++)
			ret_addrs[count++] = host->addrs[family][i];
	}
	for (size_t i = 0; i < host->retired_count && count < HOST_ADDRS_MAX; i++)
		ret_addrs[count++] = host->retired[i].addr;
	return count;
}

/* --- What the kernel must be told --- */

static struct grant grant_of(
	const struct ledger *ledger, const struct node *node, const struct claim *claim)
{
	return (struct grant){
		.prefix = node->prefix,
		.service = (uint8_t)(node->slot / KINDS),
		.owner = claim->owner,
		.host = claim->host ? ledger->roster->hosts[claim->host - 1].name : NULL,
	};
}

static void add_claims(
	const struct ledger *ledger, const struct node *node, struct comment *comment)
{
	const struct claim *claims = claims_of(node);

	for (uint32_t i = 0; i < node->count && !comment_is_full(comment); i++) {
		struct grant grant = grant_of(ledger, node, &claims[i]);

		comment_add(comment, ledger->config, &grant);
	}
}

/* Reads no further than the comment has room for; how many there are the tree knows. */
static void write_comment(const struct ledger *ledger, uint32_t element, struct comment *comment)
{
	const struct node *nodes = ledger->nodes, *node = &nodes[element];
	struct prefix end = end_of(&node->prefix);
	size_t total = node->count;
	uint32_t at = element;

	*comment = (struct comment){.length = 0};
	do {
		add_claims(ledger, &nodes[at], comment);
		if (!is_net(node))
			break;
		at = tree_next(nodes, ledger->permitted, node->slot, &nodes[at].prefix);
	} while (at != NONE && prefix_covers(&node->prefix, &nodes[at].prefix) &&
		 !comment_is_full(comment));
	if (is_net(node))
		total = tree_pieces_before(nodes, ledger->permitted, node->slot, &end) -
			tree_pieces_before(nodes, ledger->permitted, node->slot, &node->prefix) +
			!!(node->flags & NODE_JOINS);
	comment_end(comment, ledger->config, total - comment->count);
}

/* FNV-1a */
static uint64_t hash_text(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
	return hash;
}

static int judge(
	const struct ledger *ledger, uint32_t at, struct arena *arena, struct verdict *ret_verdict)
{
	const struct node *node = &ledger->nodes[at];
	bool held = node->flags & NODE_HELD, wanted = node->count > 0;
	struct verdict verdict = {.node = at};
	struct comment comment = {.length = 0};

	if (wanted && is_net(node))
		wanted = outermost(ledger, node->slot, &node->prefix) == at;
	if (wanted) {
		write_comment(ledger, at, &comment);
		verdict.hash = hash_text(comment.text);
	}
	verdict.remove = held && !(wanted && verdict.hash == node->hash);
	verdict.add = wanted && !(held && verdict.hash == node->hash);
	if (verdict.add && arena) {
		verdict.comment = arena_copy(arena, comment.text, comment.length);
		if (!verdict.comment)
			return -ENOMEM;
	}
	*ret_verdict = verdict;
	return 0;
}

static int compare_nodes(const void *a, const void *b, void *context)
{
	const struct node *nodes = ((const struct ledger *)context)->nodes;
	const struct node *left = &nodes[*(const uint32_t *)a];

	return compare_key(left->slot, &left->prefix, &nodes[*(const uint32_t *)b]);
}

static void forget_plan(struct ledger *ledger)
{
	free(ledger->verdicts);
	ledger->verdicts = NULL;
	ledger->verdict_count = 0;
}

/* Verdicts of all dirty nodes, in the order of the sets. */
static int judge_all(struct ledger *ledger, struct arena *arena, size_t *ret_changes)
{
	size_t changes = 0;

	forget_plan(ledger);
	ledger->verdicts = calloc(ledger->dirty_count, sizeof(*ledger->verdicts));
	if (!ledger->verdicts)
		return -ENOMEM;
	qsort_r(ledger->dirty, ledger->dirty_count, sizeof(*ledger->dirty), compare_nodes, ledger);
	for (size_t i = 0; i < ledger->dirty_count; i++) {
		struct verdict *verdict = &ledger->verdicts[i];

		if (judge(ledger, ledger->dirty[i], arena, verdict) < 0) {
			forget_plan(ledger);
			return -ENOMEM;
		}
		changes += (size_t)verdict->remove + (size_t)verdict->add;
	}
	for (size_t i = 0; i < ledger->dirty_count; i++)
		ledger->nodes[ledger->dirty[i]].flags |= NODE_PLANNED;
	ledger->verdict_count = ledger->dirty_count;
	*ret_changes = changes;
	return 0;
}

static void list_change(const struct ledger *ledger, const struct verdict *verdict, bool add,
	ledger_rename_fn *carry, void *context, struct plan *plan)
{
	const struct node *node = &ledger->nodes[verdict->node];
	struct change *change;

	if (add ? !verdict->add : !verdict->remove)
		return;
	change = &plan->changes[plan->count++];
	*change = (struct change){
		.add = add,
		.set = ledger->slots[node->slot].set,
		.element = {.prefix = node->prefix, .comment = add ? verdict->comment : NULL},
	};
	if (add && verdict->remove && carry)
		carry(context, change->set, &change->element);
}

int ledger_plan(struct ledger *ledger, ledger_rename_fn *carry, void *context, struct arena *arena,
	struct plan *ret_plan)
{
	struct plan plan = {.kind = PLAN_NOTHING};
	const struct verdict *verdicts;
	size_t changes = 0;

	if (ledger->dirty_count > 0 && judge_all(ledger, arena, &changes) < 0)
		return -ENOMEM;
	if (changes == 0) {
		ledger_done(ledger);
		*ret_plan = plan;
		return 0;
	}
	plan.changes = calloc(changes, sizeof(*plan.changes));
	if (!plan.changes) {
		forget_plan(ledger);
		return -ENOMEM;
	}
	plan.kind = PLAN_ELEMENTS;
	plan.capacity = changes;
	verdicts = ledger->verdicts;
	for (size_t i = 0, end = 0; i < ledger->verdict_count; i = end) {
		uint8_t slot = ledger->nodes[verdicts[i].node].slot;

		while (end < ledger->verdict_count &&
			ledger->nodes[verdicts[end].node].slot == slot)
			end++;
		for (int add = 0; add <= 1; add++) {
			for (size_t j = i; j < end; j++)
				list_change(ledger, &verdicts[j], add, carry, context, &plan);
		}
	}
	*ret_plan = plan;
	return 0;
}

/* What the plan saw is clean, unless it has changed since. */
static void clean(struct ledger *ledger)
{
	size_t kept = 0;

	for (size_t i = 0; i < ledger->dirty_count; i++) {
		uint32_t at = ledger->dirty[i];
		struct node *node = &ledger->nodes[at];

		if (!(node->flags & NODE_PLANNED)) {
			ledger->dirty[kept++] = at;
			continue;
		}
		node->flags &= (uint8_t) ~(NODE_PLANNED | NODE_DIRTY);
		if (node->count == 0) {
			tree_remove(ledger->nodes, &ledger->gone, at);
			node_free(ledger, at);
		}
	}
	ledger->dirty_count = kept;
}

void ledger_done(struct ledger *ledger)
{
	if (!ledger->verdicts)
		return;
	for (size_t i = 0; i < ledger->verdict_count; i++) {
		const struct verdict *verdict = &ledger->verdicts[i];
		struct node *node = &ledger->nodes[verdict->node];

		if (verdict->remove) {
			node->flags &= (uint8_t)~NODE_HELD;
			ledger->held--;
		}
		if (verdict->add) {
			node->flags |= NODE_HELD;
			node->hash = verdict->hash;
			ledger->held++;
		}
	}
	forget_plan(ledger);
	clean(ledger);
}

bool ledger_is_dirty(const struct ledger *ledger)
{
	return ledger->dirty_count > 0;
}

/* --- Beginning and end --- */

static int find_slots(struct ledger *ledger, const struct ruleset *skeleton)
{
	ledger->slot_count = ledger->config->service_count * KINDS;
	ledger->slots = calloc(ledger->slot_count + 1, sizeof(*ledger->slots));
	if (!ledger->slots)
		return -ENOMEM;
	for (size_t i = 0; i < ledger->slot_count; i++) {
		enum set_kind kind = i % KINDS < FAMILY_COUNT ? SET_HOSTS : SET_NETS;
		const struct set *set = ruleset_find_set(
			skeleton, kind, i / KINDS, (enum family)(i % FAMILY_COUNT));

		if (!set)
			continue;
		ledger->slots[i].present = true;
		ledger->slots[i].set = (uint32_t)(set - skeleton->sets);
	}
	return 0;
}

/* roster.bindings, by host. */
static int list_owners(struct ledger *ledger)
{
	const struct roster *roster = ledger->roster;
	uint32_t *first = calloc(roster->host_count + 2, sizeof(*first));
	uint32_t *owners = calloc(roster->binding_count + 1, sizeof(*owners));

	ledger->first_owner = first;
	ledger->owners = owners;
	if (!first || !owners)
		return -ENOMEM;
	/* Counted two places on, then one: the pass that fills moves each to its own. */
	for (size_t i = 0; i < roster->binding_count; i++)
		first[roster->bindings[i].host + 2]++;
	for (size_t i = 2; i < roster->host_count + 2; i++)
		first[i] += first[i - 1];
	for (size_t i = 0; i < roster->binding_count; i++)
		owners[first[roster->bindings[i].host + 1]++] = roster->bindings[i].owner;
	return 0;
}

/* The host of the owner with that name; its bindings are sorted like the names. -EINVAL: the list
 * is not this roster's. */
static int find_host(
	const struct roster *roster, uint32_t owner, const char *name, uint32_t *ret_host)
{
	size_t low = 0, high = roster->binding_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct binding *binding = &roster->bindings[middle];
		const char *other = roster->hosts[binding->host].name;

		if (binding->owner < owner ||
			(binding->owner == owner && other != name && strcmp(other, name) < 0))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == roster->binding_count || roster->bindings[low].owner != owner)
		return -EINVAL;
	*ret_host = roster->bindings[low].host;
	return 0;
}

/* The kernel has all that was granted until now. */
static void hold_all(struct ledger *ledger)
{
	struct verdict verdict;

	for (size_t i = 0; i < ledger->dirty_count; i++) {
		struct node *node = &ledger->nodes[ledger->dirty[i]];

		judge(ledger, ledger->dirty[i], NULL, &verdict);
		if (verdict.add) {
			node->hash = verdict.hash;
			node->flags |= NODE_HELD;
			ledger->held++;
		}
		node->flags |= NODE_PLANNED;
	}
	clean(ledger);
}

static int take_over(struct ledger *ledger, const struct allowlist *allowlist)
{
	if (reserve(ledger, allowlist->count + ROOM_LEAST) < 0)
		return -ENOMEM;
	ledger->nodes[NONE] = (struct node){.height = 0};
	ledger->count = 1;
	for (size_t i = 0; i < allowlist->count; i++) {
		const struct grant *taken = &allowlist->grants[i];
		struct claim claim = {.owner = taken->owner};
		int result = 0;

		if (taken->host) {
			result = find_host(ledger->roster, taken->owner, taken->host, &claim.host);
			claim.host++;
		}
		if (result == 0)
			result = grant(ledger, taken->service, &taken->prefix, &claim);
		if (result < 0)
			return result;
	}
	hold_all(ledger);
	return 0;
}

int ledger_new(const struct config *config, const struct roster *roster,
	const struct ruleset *skeleton, const struct allowlist *allowlist,
	struct ledger **ret_ledger)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));
	int result;

	if (!ledger)
		return -ENOMEM;
	ledger->config = config;
	ledger->roster = roster;
	result = find_slots(ledger, skeleton);
	if (result == 0)
		result = list_owners(ledger);
	if (result == 0)
		result = take_over(ledger, allowlist);
	if (result < 0) {
		ledger_free(ledger);
		return result;
	}
	*ret_ledger = ledger;
	return 0;
}

struct ledger *ledger_free(struct ledger *ledger)
{
	if (!ledger)
		return NULL;
	for (size_t i = 1; i < ledger->count; i++) {
		if (ledger->nodes[i].count > 1)
			free(ledger->nodes[i].many);
	}
	free(ledger->nodes);
	free(ledger->dirty);
	free(ledger->slots);
	free(ledger->owners);
	free(ledger->first_owner);
	forget_plan(ledger);
	free(ledger);
	return NULL;
}

size_t ledger_elements(const struct ledger *ledger)
{
	return ledger->held;
}

size_t ledger_bytes(const struct ledger *ledger)
{
	const struct roster *roster = ledger->roster;

	return sizeof(*ledger) + (ledger->slot_count + 1) * sizeof(*ledger->slots) +
	       (roster->host_count + 2) * sizeof(*ledger->first_owner) +
	       (roster->binding_count + 1) * sizeof(*ledger->owners) +
	       ledger->capacity * (sizeof(*ledger->nodes) + sizeof(*ledger->dirty)) +
	       ledger->list_bytes + ledger->verdict_count * sizeof(*ledger->verdicts);
}

/* --- For people --- */

static void tell_claims(const struct ledger *ledger, uint32_t element, uint32_t at,
	ledger_tell_fn *tell, void *context)
{
	const struct node *node = &ledger->nodes[at];
	const struct claim *claims = claims_of(node);

	for (uint32_t i = 0; i < node->count && tell; i++) {
		struct grant grant = grant_of(ledger, node, &claims[i]);

		tell(context, &ledger->nodes[element].prefix, &grant);
	}
}

bool ledger_explain(const struct ledger *ledger, size_t service, const struct addr *addr,
	ledger_tell_fn *tell, void *context)
{
	unsigned bits = addr_bits((enum family)addr->family);
	uint32_t element = NONE;
	bool permitted = false;

	for (unsigned i = 0; i <= bits; i++) {
		unsigned length = i == 0 ? bits : i - 1; /* hosts come first */
		struct prefix prefix = prefix_of(addr, length);
		uint8_t slot = slot_of(service, &prefix);
		uint32_t at;

		if (length < bits && !ledger->slots[slot].lengths[length])
			continue;
		at = tree_find(ledger->nodes, ledger->permitted, slot, &prefix);
		if (at == NONE)
			continue;
		if (element == NONE || !is_net(&ledger->nodes[element]))
			element = at;
		permitted = true;
		tell_claims(ledger, element, at, tell, context);
	}
	return permitted;
}
