/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "clock.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct clock_reading clock_read(void)
{
	struct clock_reading reading = {0};
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	struct timespec now;

	if (clock_gettime(CLOCK_REALTIME, &now) == 0)
		reading.wall = now.tv_sec;
	if (clock_gettime(CLOCK_BOOTTIME, &now) == 0)
		reading.boottime = now.tv_sec;
	if (fd >= 0) {
		if (read(fd, reading.boot_id, BOOT_ID_SIZE - 1) != BOOT_ID_SIZE - 1)
			reading.boot_id[0] = '\0';
		close(fd);
	}
	return reading;
}

int64_t clock_boot_ms(void)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

int64_t clock_wall(void)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}
