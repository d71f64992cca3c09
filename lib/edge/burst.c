/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "burst.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

bool burst_add(struct burst *burst, int fd, struct burst_path *path, const void *bytes, size_t size)
{
	if (size == 0 || size > BURST_SIZE || burst->count == BURST_DATAGRAMS ||
		(burst->count > 0 && burst->fd != fd))
		return false;
	burst->fd = fd;
	burst->path = path;
	burst->sizes[burst->count] = (uint16_t)size;
	memcpy(burst->bytes[burst->count++], bytes, size);
	return true;
}

bool burst_is_cut(const struct burst *burst)
{
	for (unsigned i = 0; !burst->path->singly && i + 1 < burst->count; i++)
		if (burst->sizes[i] == burst->sizes[burst->count - 1])
			return true;
	return false;
}

/* As one message, to be cut into pieces of `size`. */
static int send_cut(int fd, struct iovec *pieces, size_t count, uint16_t size)
{
	union {
		struct cmsghdr header; /* aligns the bytes */
		char bytes[CMSG_SPACE(sizeof(size))];
	} control = {0};
	struct mmsghdr message = {
		.msg_hdr =
			{
				.msg_iov = pieces,
				.msg_iovlen = count,
				.msg_control = control.bytes,
				.msg_controllen = sizeof(control.bytes),
			},
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message.msg_hdr);

	header->cmsg_level = SOL_UDP;
	header->cmsg_type = UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(header), &size, sizeof(size));
	/* By a call of its own: a trace tells questions from netlink's messages. */
	return sendmmsg(fd, &message, 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_singly(int fd, const struct iovec *pieces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (send(fd, pieces[i].iov_base, pieces[i].iov_len, MSG_NOSIGNAL) < 0)
			return -errno;
	return 0;
}

/* These tell of the other side, of the way there, or of a full socket: it is not the length. */
static bool fails_at_any_length(int result)
{
	return result == -ECONNREFUSED || result == -EHOSTUNREACH || result == -ENETUNREACH ||
	       result == -ENETDOWN || result == -EAGAIN || result == -ENOBUFS || result == -ENOMEM;
}

static void pause_cutting(struct burst_path *path)
{
	path->pause = path->pause ? path->pause * 2 : BURST_PAUSE_LEAST;
	if (path->pause > BURST_PAUSE_MOST)
		path->pause = BURST_PAUSE_MOST;
	path->singly = path->pause;
	path->heard = path->lost = 0;
}

static int send_group(const struct burst *burst, struct iovec *pieces, size_t count, uint16_t size)
{
	int result;

	if (count == 1 || burst->path->singly)
		return send_singly(burst->fd, pieces, count);
	result = send_cut(burst->fd, pieces, count, size);
	if (result == 0 || fails_at_any_length(result))
		return result;
	result = send_singly(burst->fd, pieces, count);
	if (result == 0)
		pause_cutting(burst->path);
	return result;
}

int burst_send(struct burst *burst)
{
	int result = 0;

	/* Those of one length at a time, in the order in which the first of each came. */
	for (unsigned first = 0; result == 0 && first < burst->count; first++) {
		struct iovec pieces[BURST_DATAGRAMS];
		uint16_t size = burst->sizes[first];
		size_t count = 0;

		for (unsigned i = first; size > 0 && i < burst->count; i++) {
			if (burst->sizes[i] != size)
				continue;
			pieces[count++] = (struct iovec){burst->bytes[i], size};
			burst->sizes[i] = 0;
		}
		if (count > 0)
			result = send_group(burst, pieces, count, size);
	}
	burst->count = 0;
	return result;
}

static void age(struct burst_path *path)
{
	if (path->heard + path->lost < BURST_OF_LATE)
		return;
	path->heard /= 2;
	path->lost /= 2;
}

void burst_heard(struct burst_path *path, bool cut)
{
	if (path->singly > 0)
		path->singly--;
	else
		path->heard += cut;
	age(path);
}

void burst_lost(struct burst_path *path)
{
	/* It left before. */
	if (path->singly > 0)
		return;
	path->lost++;
	if (path->lost >= BURST_LOST_MOST && path->lost >= path->heard)
		pause_cutting(path);
	age(path);
}

void burst_forget(struct burst *burst, int fd)
{
	if (burst->fd == fd)
		burst->count = 0;
}
