/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helper_talk.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

int helper_talk_send(int fd, const struct helper_message *message)
{
	char bytes[HELPER_MESSAGE_MAX];
	size_t length = 0;
	int result = helper_message_print(message, bytes, &length);

	if (result < 0)
		return result;
	while (send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return errno == ENOBUFS ? -EAGAIN : -errno;
	}
	return 0;
}

int helper_talk_receive(int fd, struct helper_packet *packet, struct helper_message *ret_message)
{
	ssize_t size;

	do {
		size = recv(fd, packet->bytes, sizeof(packet->bytes), MSG_DONTWAIT);
	} while (size < 0 && errno == EINTR);
	if (size < 0)
		return -errno;
	return size == 0 ? -EPIPE : helper_message_parse(packet->bytes, (size_t)size, ret_message);
}

void helper_death_begin(struct helper_death *death, int code)
{
	*death = (struct helper_death){
		.what = code == -EBADMSG     ? "the helper process has sent what is no message"
			: code == -ETIMEDOUT ? "the helper process has not answered in time"
					     : "the helper process has ended"};
}

bool helper_death_tell(
	struct helper_death *death, pid_t pid, int64_t now_ms, char ret_how[HELPER_DEATH_SIZE])
{
	pid_t found;
	int status;

	if (now_ms < death->due_ms)
		return false;
	found = waitpid(pid, &status, WNOHANG);
	if (found == 0 && death->tries++ < HELPER_REAP_TRIES) {
		death->due_ms = now_ms + HELPER_REAP_MS;
		return false;
	}
	death->due_ms = INT64_MAX;
	if (found > 0 && WIFSIGNALED(status))
		snprintf(ret_how, HELPER_DEATH_SIZE, "%s (signal %d)", death->what,
			WTERMSIG(status));
	else if (found > 0)
		snprintf(ret_how, HELPER_DEATH_SIZE, "%s (exit code %d)", death->what,
			WEXITSTATUS(status));
	else
		snprintf(ret_how, HELPER_DEATH_SIZE, "%s", death->what);
	return true;
}
