/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that keeps a table, for test_lock.py: what the daemon does to the kernel, one command a
 * line on stdin, one line of answer each. It asks no DNS: the config has fixed addresses.
 *
 *     keeper CONFIG STATE
 *
 *     load CONFIG              another config from now on
 *     apply lock|plain         build, compare, apply: "ok KIND adopt=0 lock=1 retries=0"
 *     compare lock|plain       the same without applying: "ok KIND adopt=0 owned=1 ours=1 …"
 *     pretend                  adopts the table as if it were an orphan; answers like apply
 *     change +|- SET PREFIX    one element in one batch, with the adoption that the last comparison
 *                              has found due: "ok 0"
 *     move SET OLD NEW         OLD leaves, NEW comes, the revoked sets follow: "ok 4 changes"
 *     get SET PREFIX           its counter: "ok 3 84" or "ok missing"
 *     watch                    listens from here on
 *     report MS                waits for news up to MS: "ok damaged=1 lost=0 4711 nft"
 *     repeat COUNT             takes an element out, builds, compares and applies, again and again:
 *                              "ok 0 KB more"
 *     bench COUNT SET          deletes and adds an element: "ok 60.1 us, 2.0 us of them to build"
 *     remove
 *
 * What was refused is answered with "error ERRNO what".
 */
#include "clock.h"
#include "config_yaml.h"
#include "cycle.h"
#include "files.h"
#include "kernel.h"
#include "nft_netlink.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WORDS_MAX = 5 };

struct keeper {
	const char *state_path;
	struct config *config;
	struct cycle cycle;
	struct kernel *kernel;
	struct kernel_watch *watch;
	struct error error;
};

static const char *kind_name(const struct plan *plan)
{
	static const char *const names[] = {
		[PLAN_NOTHING] = "nothing", [PLAN_ELEMENTS] = "elements", [PLAN_SWAP] = "swap"};

	return names[plan->kind];
}

static int fail(struct keeper *keeper, const char *what)
{
	return error_set(&keeper->error, -EINVAL, "", "%s", what);
}

static int number(const char *text)
{
	return (int)strtol(text, NULL, 10);
}

static int load(struct keeper *keeper, char **words)
{
	struct text messages = {0};
	struct config *config;
	int result = config_yaml_parse(words[0], files_read_config, NULL, &config, &messages);

	if (result < 0) {
		error_set(&keeper->error, result, "", "%s", text_string(&messages));
	} else {
		cycle_clear(&keeper->cycle);
		config_free(keeper->config);
		keeper->config = config;
		puts("ok");
	}
	text_free(&messages);
	return result;
}

static int prepare(struct keeper *keeper, bool lock)
{
	struct clock_reading reading = clock_read();
	struct text notes = {0};
	int result;

	cycle_clear(&keeper->cycle);
	result = cycle_start(&keeper->cycle, keeper->config, keeper->state_path, false, &reading,
		&notes, &keeper->error);
	text_free(&notes);
	keeper->cycle.lock = lock;
	if (result == 0)
		result = cycle_build(&keeper->cycle, &keeper->error);
	if (result == 0)
		result = cycle_compare(&keeper->cycle, keeper->kernel, &keeper->error);
	return result;
}

static int apply(struct keeper *keeper)
{
	struct cycle *cycle = &keeper->cycle;
	int result = cycle_apply(cycle, keeper->kernel, &keeper->error);

	if (result == 0)
		printf("ok %s adopt=%d lock=%d retries=%u\n", kind_name(&cycle->plan),
			cycle->plan.adopt, cycle->lock, cycle->retries);
	return result;
}

static int command_apply(struct keeper *keeper, char **words)
{
	int result = prepare(keeper, strcmp(words[0], "lock") == 0);

	return result < 0 ? result : apply(keeper);
}

static int command_compare(struct keeper *keeper, char **words)
{
	const struct observed *observed;
	int result = prepare(keeper, strcmp(words[0], "lock") == 0);

	if (result < 0)
		return result;
	observed = keeper->cycle.observed;
	printf("ok %s adopt=%d owned=%d ours=%d persistent=%d changes=%zu\n",
		kind_name(&keeper->cycle.plan), keeper->cycle.plan.adopt, observed->owned,
		observed->ours, observed->persistent, keeper->cycle.plan.count);
	return 0;
}

/* What a kernel without persistent tables refuses, another refuses of a table that is plain. */
static int pretend(struct keeper *keeper, char **words)
{
	int result = prepare(keeper, true);

	(void)words;
	if (result < 0)
		return result;
	keeper->cycle.plan.kind = PLAN_ELEMENTS;
	keeper->cycle.plan.adopt = true;
	return apply(keeper);
}

static const struct set *find_set(struct keeper *keeper, const char *name)
{
	const struct ruleset *ruleset = keeper->cycle.ruleset;

	for (size_t i = 0; ruleset && i < ruleset->set_count; i++) {
		if (strcmp(ruleset->sets[i].name, name) == 0)
			return &ruleset->sets[i];
	}
	fail(keeper, "no such set");
	return NULL;
}

static bool parse(struct keeper *keeper, const char *text, struct element *ret_element)
{
	struct prefix prefix;

	if (prefix_parse(text, strlen(text), &prefix) != PREFIX_OK) {
		fail(keeper, "not a prefix");
		return false;
	}
	*ret_element = (struct element){.prefix = prefix};
	return true;
}

static int commit(struct keeper *keeper, const struct plan *plan)
{
	struct nft_batch batch;
	int result = nft_batch_changes(keeper->cycle.ruleset, plan, 0, &batch);

	if (result < 0)
		return result;
	result = kernel_commit(keeper->kernel, &batch, &keeper->error);
	nft_batch_clear(&batch);
	return result;
}

static int change(struct keeper *keeper, char **words)
{
	struct change one = {.add = words[0][0] == '+'};
	struct plan plan = {.kind = PLAN_ELEMENTS, .changes = &one, .count = 1};
	const struct set *set = find_set(keeper, words[1]);
	int result;

	plan.adopt = keeper->cycle.plan.adopt;

	if (!set || !parse(keeper, words[2], &one.element))
		return -EINVAL;
	one.set = (uint32_t)(set - keeper->cycle.ruleset->sets);
	result = commit(keeper, &plan);
	if (result >= 0)
		printf("ok %d\n", result);
	return result;
}

static bool never(void *context, size_t service, const struct addr *addr)
{
	(void)context;
	(void)service;
	(void)addr;
	return false;
}

static int move(struct keeper *keeper, char **words)
{
	const struct set *set = find_set(keeper, words[0]);
	struct plan plan = {.kind = PLAN_ELEMENTS, .count = 2, .capacity = 2};
	int result = -EINVAL;

	plan.changes = calloc(2, sizeof(*plan.changes));
	if (!plan.changes || !set || !parse(keeper, words[1], &plan.changes[0].element) ||
		!parse(keeper, words[2], &plan.changes[1].element))
		goto out;
	plan.changes[0].set = plan.changes[1].set = (uint32_t)(set - keeper->cycle.ruleset->sets);
	plan.changes[1].add = true;
	result = plan_add_revoked(&plan, keeper->cycle.ruleset, never, NULL);
	if (result == PLAN_COMPARE)
		puts("ok compare");
	if (result != 0)
		goto out;
	result = commit(keeper, &plan);
	if (result >= 0)
		printf("ok %zu changes\n", plan.count);
out:
	plan_clear(&plan);
	return result;
}

static int get(struct keeper *keeper, char **words)
{
	const struct set *set = find_set(keeper, words[0]);
	struct element element;
	int result;

	if (!set || !parse(keeper, words[1], &element))
		return -EINVAL;
	result = kernel_read_element(
		keeper->kernel, keeper->cycle.ruleset, set, &element, &keeper->error);
	if (result == KERNEL_NO_ELEMENT)
		puts("ok missing");
	if (result == 0)
		printf("ok %llu %llu\n", (unsigned long long)element.packets,
			(unsigned long long)element.bytes);
	return result;
}

static int watch(struct keeper *keeper, char **words)
{
	int result;

	(void)words;
	keeper->watch = kernel_watch_close(keeper->watch);
	result = kernel_watch_open(&keeper->watch, keeper->config, &keeper->error);
	if (result == 0)
		puts("ok");
	return result;
}

static int report(struct keeper *keeper, char **words)
{
	struct pollfd ready = {.events = POLLIN};
	struct kernel_report news;

	if (!keeper->watch)
		return fail(keeper, "not watching");
	ready.fd = kernel_watch_fd(keeper->watch);
	poll(&ready, 1, number(words[0]));
	kernel_watch_read(keeper->watch, keeper->kernel, &news);
	printf("ok damaged=%d lost=%d %ld %s\n", news.damaged, news.lost, (long)news.pid,
		news.program);
	return 0;
}

static int take_one_out(struct keeper *keeper)
{
	const struct ruleset *ruleset = keeper->cycle.ruleset;
	const struct set *hosts = ruleset_find_set(ruleset, SET_HOSTS, 0, FAMILY_IPV4);
	struct change one = {.set = (uint32_t)(hosts - ruleset->sets)};
	struct plan plan = {.kind = PLAN_ELEMENTS, .changes = &one, .count = 1};

	one.element = hosts->elements[0];
	return commit(keeper, &plan);
}

static int repeat(struct keeper *keeper, char **words)
{
	size_t before = 0;
	int count = number(words[0]), result = 0;

	for (int i = 0; i < count && result == 0; i++) {
		/* The first rounds bring the heap to its size. */
		if (i == count / 2)
			before = mallinfo2().uordblks;
		result = take_one_out(keeper);
		if (result == 0)
			result = cycle_build(&keeper->cycle, &keeper->error);
		if (result == 0)
			result = cycle_compare(&keeper->cycle, keeper->kernel, &keeper->error);
		if (result == 0)
			result = cycle_apply(&keeper->cycle, keeper->kernel, &keeper->error);
	}
	if (result == 0)
		printf("ok %ld KB more\n", ((long)mallinfo2().uordblks - (long)before) / 1024);
	return result;
}

static double microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare_numbers(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static int bench(struct keeper *keeper, char **words)
{
	struct change one = {0};
	struct plan plan = {.kind = PLAN_ELEMENTS, .changes = &one, .count = 1};
	const struct set *set = find_set(keeper, words[1]);
	size_t count = (size_t)number(words[0]) & ~(size_t)1;
	double *whole = calloc(count + 1, sizeof(*whole)), *own = calloc(count + 1, sizeof(*own));
	int result = -EINVAL;

	if (!set || !whole || !own || !parse(keeper, "198.18.0.1", &one.element))
		goto out;
	one.set = (uint32_t)(set - keeper->cycle.ruleset->sets);
	for (size_t i = 0; i < count; i++) {
		struct nft_batch batch;
		double start = microseconds(), built;

		one.add = !one.add;
		result = nft_batch_changes(keeper->cycle.ruleset, &plan, 0, &batch);
		built = microseconds();
		if (result == 0)
			result = kernel_commit(keeper->kernel, &batch, &keeper->error);
		nft_batch_clear(&batch);
		if (result != 0)
			goto out;
		whole[i] = microseconds() - start;
		own[i] = built - start;
	}
	qsort(whole, count, sizeof(*whole), compare_numbers);
	qsort(own, count, sizeof(*own), compare_numbers);
	printf("ok %.1f us, %.1f us of them to build\n", whole[count / 2], own[count / 2]);
out:
	free(whole);
	free(own);
	return result;
}

static int command_remove(struct keeper *keeper, char **words)
{
	bool removed;
	int result = cycle_remove(keeper->config->table, keeper->kernel, &removed, &keeper->error);

	(void)words;
	if (result == 0)
		printf("ok %d\n", removed);
	return result;
}

static void obey(struct keeper *keeper, char *line)
{
	static const struct {
		const char *name;
		size_t words;
		int (*run)(struct keeper *keeper, char **words);
	} commands[] = {
		{"load", 1, load},
		{"apply", 1, command_apply},
		{"compare", 1, command_compare},
		{"pretend", 0, pretend},
		{"change", 3, change},
		{"move", 3, move},
		{"get", 2, get},
		{"watch", 0, watch},
		{"report", 1, report},
		{"repeat", 1, repeat},
		{"bench", 2, bench},
		{"remove", 0, command_remove},
	};
	char *words[WORDS_MAX] = {0};
	size_t count = 0;
	int result = -EINVAL;

	keeper->error = (struct error){0};
	for (char *word = strtok(line, " \n"); word && count < WORDS_MAX;
		word = strtok(NULL, " \n"))
		words[count++] = word;
	for (size_t i = 0; count > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, words[0]) == 0 && commands[i].words == count - 1)
			result = commands[i].run(keeper, words + 1);
	}
	if (result < 0)
		printf("error %d %s\n", -result, keeper->error.what);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct keeper keeper = {0};
	char *line = NULL;
	size_t capacity = 0;

	if (argc != 3) {
		fputs("usage: keeper CONFIG STATE\n", stderr);
		return 2;
	}
	keeper.state_path = argv[2];
	if (load(&keeper, &argv[1]) < 0 || kernel_open(&keeper.kernel, &keeper.error) < 0) {
		fprintf(stderr, "keeper: %s\n", keeper.error.what);
		return 1;
	}
	fflush(stdout);
	while (getline(&line, &capacity, stdin) >= 0)
		obey(&keeper, line);
	free(line);
	cycle_clear(&keeper.cycle);
	kernel_watch_close(keeper.watch);
	kernel_close(keeper.kernel);
	config_free(keeper.config);
	return 0;
}
