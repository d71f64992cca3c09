/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "metrics_asked.h"

#include "beside.h"
#include "metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct asker {
	uint64_t ticket;
	bool served; /* by the reading that is under way */
	struct asker *next;
};

struct metrics_asked {
	metrics_asked_fn *answer;
	void *context;
	struct asker *askers;
	int fd; /* readable when a reading has ended */
	bool reading;
	uint32_t epoch; /* the engine's, when it began; another one has another config */

	/* While it reads, the thread's. */
	struct traffic traffic;
	bool known; /* they could be read */
	struct beside reader;
};

int metrics_asked_open(struct metrics_asked **ret_asked, metrics_asked_fn *answer, void *context,
	struct error *error)
{
	struct metrics_asked *asked = calloc(1, sizeof(*asked));

	if (!asked)
		return error_no_memory(error);
	asked->answer = answer;
	asked->context = context;
	asked->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (asked->fd < 0) {
		int number = errno;

		free(asked);
		return error_set(
			error, -number, "", "cannot make an eventfd: %s", strerror(number));
	}
	*ret_asked = asked;
	return 0;
}

int metrics_asked_fd(const struct metrics_asked *asked)
{
	return asked->fd;
}

static void read_counters(void *context)
{
	struct metrics_asked *asked = context;
	uint64_t one = 1;

	asked->known = traffic_look(&asked->traffic, TRAFFIC_KEPT_OUT, NULL) == 0;
	(void)!write(asked->fd, &one, sizeof(one));
}

/* For all who wait now: what was counted before they asked is in it. */
static int begin_reading(struct metrics_asked *asked, const struct view *view)
{
	int result = traffic_begin(view->config, &asked->traffic);

	if (result < 0)
		return result;
	for (struct asker *asker = asked->askers; asker; asker = asker->next)
		asker->served = true;
	asked->epoch = engine_epoch(view->engine);
	asked->reading = true;
	beside_start(&asked->reader, read_counters, asked);
	return 0;
}

static void end_reading(struct metrics_asked *asked)
{
	if (!asked->reading)
		return;
	beside_wait(&asked->reader);
	traffic_clear(&asked->traffic);
	asked->reading = false;
}

/* `all`: else those alone whom the reading serves. */
static void answer_askers(struct metrics_asked *asked, bool all, const struct text *metrics)
{
	for (struct asker **at = &asked->askers; *at;) {
		struct asker *asker = *at;

		if (!all && !asker->served) {
			at = &asker->next;
			continue;
		}
		*at = asker->next;
		asked->answer(asked->context, asker->ticket, metrics);
		free(asker);
	}
}

int metrics_asked_begin(struct metrics_asked *asked, const struct view *view, uint64_t ticket)
{
	struct asker *asker = calloc(1, sizeof(*asker));
	int result;

	if (!asker)
		return -ENOMEM;
	asker->ticket = ticket;
	asker->next = asked->askers;
	asked->askers = asker;
	result = asked->reading ? 0 : begin_reading(asked, view);
	if (result < 0) {
		asked->askers = asker->next;
		free(asker);
	}
	return result;
}

void metrics_asked_take(struct metrics_asked *asked, const struct view *view)
{
	struct text text = {0};
	uint64_t count;

	if (read(asked->fd, &count, sizeof(count)) < 0 || !asked->reading)
		return;
	/* The thread has ended, or is about to. */
	beside_wait(&asked->reader);
	if (asked->epoch == engine_epoch(view->engine)) {
		if (metrics_print(view, asked->known ? &asked->traffic : NULL, NULL, view->now.wall,
			    &text) < 0)
			text.failed = true;
		answer_askers(asked, false, &text);
		text_free(&text);
	}
	end_reading(asked);
	if (asked->askers && begin_reading(asked, view) < 0) {
		text.failed = true;
		answer_askers(asked, true, &text);
	}
}

struct metrics_asked *metrics_asked_close(struct metrics_asked *asked)
{
	if (!asked)
		return NULL;
	end_reading(asked);
	answer_askers(asked, true, NULL);
	close(asked->fd);
	free(asked);
	return NULL;
}
