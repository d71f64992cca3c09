/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One message of the daemon or of its helper process (codec/helper_message.h), sent or received at
 * either end, and how the daemon learns what a helper has died of. Nothing here waits.
 */
#ifndef SIPFENCE_HELPER_TALK_H
#define SIPFENCE_HELPER_TALK_H

#include "helper_message.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* 0; -EAGAIN: the socket takes nothing at present; -EINVAL, -EMSGSIZE: it can't be printed; other
 * negative numbers: nobody is at the other end. */
int helper_talk_send(int fd, const struct helper_message *message);

/* Room for one that is too long, so that it is seen to be. */
struct helper_packet {
	char bytes[HELPER_MESSAGE_MAX + 1];
};
/* What *ret_message points to lies in `packet`. 0; -EAGAIN: there is none now; -EBADMSG: the other
 * end has sent what is no message; other negative numbers: nobody is at the other end. */
int helper_talk_receive(int fd, struct helper_packet *packet, struct helper_message *ret_message);

/* A helper whose socket has been closed is no zombie yet; it is looked for so often. */
enum { HELPER_REAP_MS = 20, HELPER_REAP_TRIES = 50 };

struct helper_death {
	int64_t due_ms; /* INT64_MAX: nobody is dead */
	unsigned tries;
	const char *what; /* "the helper process has ended" */
};
#define HELPER_ALIVE ((struct helper_death){.due_ms = INT64_MAX})

/* By the negative number of the above; to be told at once, or soon. */
void helper_death_begin(struct helper_death *death, int code);
/* True, once: `ret_how` is what it died of, as far as that is known. */
enum { HELPER_DEATH_SIZE = 128 };
bool helper_death_tell(
	struct helper_death *death, pid_t pid, int64_t now_ms, char ret_how[HELPER_DEATH_SIZE]);

#endif
