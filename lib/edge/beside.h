/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work beside the caller's own, in a thread: for what can use one core while the kernel uses
 * another. The caller neither forks nor touches what the work touches until beside_wait().
 */
#ifndef SIPFENCE_BESIDE_H
#define SIPFENCE_BESIDE_H

#include <pthread.h>
#include <stdbool.h>

struct beside {
	pthread_t thread;
	bool running;
	void (*work)(void *context);
	void *context;
};

/* Where no thread can be had, the work is done before it returns. */
void beside_start(struct beside *beside, void (*work)(void *context), void *context);
void beside_wait(struct beside *beside);

#endif
