/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many questions may be under way at once, and how long a first try waits.
 *
 * The limit grows while more at once brings more answers a second: twofold, or fourfold where the
 * answers of a round came so close together that the path is far from full. What does not pay is
 * taken back. It is halved when answers get lost: what a path or a small resolver does not carry is
 * not sent again and again. Rounds are counted in answers: as many as may be under way make one.
 * The wait follows the round trip (RFC 6298), so that one lost packet costs little.
 */
#ifndef SIPFENCE_PACE_H
#define SIPFENCE_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	/* All at once in the beginning: below what dnsmasq forwards (150), and little above what a
	 * resolver with room for 100 takes. */
	PACE_START = 120,
	PACE_LEAST = 32,
	PACE_MOST = 2048,
	PACE_UNDER_WAY_MOST = 2560, /* with those whose first try stayed silent */
};

struct pace {
	bool fixed;
	uint32_t limit;			 /* questions in their first try; if fixed: all questions */
	uint32_t threshold;		 /* from here on growth is slow */
	uint32_t proven;		 /* the last limit that has paid; 0: none */
	uint32_t lost, heard;		 /* tries, of late */
	int64_t shrink_after, forget_at; /* milliseconds */
	int64_t round_trip, deviation;	 /* microseconds, smoothed; 0: none measured */
	int64_t round_start, round_first, round_trips; /* microseconds; first: the first answer */
	int64_t empty_trip; /* microseconds: the round trip of the quickest round; 0: none */
	int64_t best_pace;  /* answers a second */
	uint32_t round_size, round_heard, round_weighed;
};

/* `fixed`: that many at once, always; 0: adapt. */
void pace_init(struct pace *pace, uint32_t fixed);

/* May one more question be sent? `first_try`: those under way that wait for their first answer. */
bool pace_allows(const struct pace *pace, uint32_t first_try, uint32_t under_way);

/* An answer came. `more`: questions wait to be sent; without, there is no need to grow. */
void pace_heard(struct pace *pace, int64_t round_trip_us, bool more, int64_t now_us);

/* A try was lost though its server lives. */
void pace_lost(struct pace *pace);
/* Halves the limit when too many were lost; a few are bad names, not a full pipe. */
void pace_weigh_losses(struct pace *pace, int64_t now_ms);
/* Halves it, at most once in the time that losses take to show: the server says itself that it has
 * too much. */
void pace_shrink(struct pace *pace, int64_t now_ms);
/* Losses are weighed against the answers of about the same time. */
void pace_forget(struct pace *pace, int64_t now_ms);

/* Milliseconds that a first try waits, at most `most`, before another is sent beside it. */
int64_t pace_patience_ms(const struct pace *pace, int64_t most);

#endif
