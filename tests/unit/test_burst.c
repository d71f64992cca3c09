/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Over real sockets on the loopback. */
#include "check.h"

#include "burst.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct line {
	int from, to;
	struct burst burst;
	struct burst_path path;
};

static int set_up(void **state)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	struct line *line = calloc(1, sizeof(*line));

	alarm(60); /* what must not wait, and does */
	line->to = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	line->from = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(line->to, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(line->to, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(line->from, (struct sockaddr *)&address, size), 0);
	*state = line;
	return 0;
}

static int tear_down(void **state)
{
	struct line *line = *state;

	if (line->to >= 0)
		close(line->to);
	close(line->from);
	free(line);
	return 0;
}

/* The n-th datagram says its number, again and again. */
static void add(struct line *line, unsigned number, size_t size)
{
	char bytes[BURST_SIZE];

	memset(bytes, 'a' + (int)number, size);
	assert_true(burst_add(&line->burst, line->from, &line->path, bytes, size));
}

static void assert_arrives(struct line *line, unsigned number, size_t size)
{
	char bytes[0x10000];

	assert_int_equal(recv(line->to, bytes, sizeof(bytes), 0), size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(bytes[i], 'a' + (int)number);
}

static void assert_nothing_arrives(struct line *line)
{
	char byte;

	assert_int_equal(recv(line->to, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

/* How many messages the kernel has taken: a socket that asks for it gets them uncut (UDP_GRO). */
static unsigned count_messages(struct line *line)
{
	static char bytes[0x10000];
	unsigned count = 0;

	while (recv(line->to, bytes, sizeof(bytes), 0) >= 0)
		count++;
	return count;
}

static void test_each_arrives_as_it_is(void **state)
{
	static const size_t sizes[] = {60, 60, 61, 60, BURST_SIZE, 61, 1};
	static const unsigned order[] = {0, 1, 3, 2, 5, 4, 6};
	struct line *line = *state;

	for (unsigned i = 0; i < 7; i++)
		add(line, i, sizes[i]);
	assert_nothing_arrives(line);
	assert_int_equal(burst_send(&line->burst), 0);
	for (unsigned i = 0; i < 7; i++)
		assert_arrives(line, order[i], sizes[order[i]]);
	assert_nothing_arrives(line);
	assert_int_equal(burst_send(&line->burst), 0);
	assert_nothing_arrives(line);
}

static void test_one_length_is_one_message(void **state)
{
	struct line *line = *state;
	int one = 1;

	assert_int_equal(setsockopt(line->to, SOL_UDP, UDP_GRO, &one, sizeof(one)), 0);
	for (unsigned i = 0; i < BURST_DATAGRAMS; i++) {
		add(line, i, 60 + i % 2);
		assert_int_equal(burst_is_cut(&line->burst), i >= 2);
	}
	assert_int_equal(burst_send(&line->burst), 0);
	assert_int_equal(count_messages(line), 2);
}

/* Without checksums the kernel cuts nothing. */
static void test_where_nothing_can_be_cut(void **state)
{
	struct line *line = *state;
	int one = 1;

	assert_int_equal(setsockopt(line->from, SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one)), 0);
	for (unsigned i = 0; i < 3; i++)
		add(line, i, 60);
	assert_int_equal(burst_send(&line->burst), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_arrives(line, i, 60);
	assert_nothing_arrives(line);
	assert_true(line->path.singly);
	add(line, 0, 60);
	add(line, 0, 60);
	assert_false(burst_is_cut(&line->burst));
}

static void test_what_does_not_fit(void **state)
{
	struct line *line = *state;
	char bytes[BURST_SIZE + 1] = {0};

	assert_false(burst_add(&line->burst, line->from, &line->path, bytes, sizeof(bytes)));
	for (unsigned i = 0; i < BURST_DATAGRAMS; i++)
		add(line, i, 60);
	assert_false(burst_add(&line->burst, line->from, &line->path, bytes, 60));
	assert_int_equal(burst_send(&line->burst), 0);
	for (unsigned i = 0; i < BURST_DATAGRAMS; i++)
		assert_arrives(line, i, 60);
	add(line, 0, 60);
	assert_false(burst_add(&line->burst, line->to, &line->path, bytes, 60));
}

static void test_forgotten_with_their_socket(void **state)
{
	struct line *line = *state;

	add(line, 0, 60);
	burst_forget(&line->burst, line->to);
	assert_int_equal(line->burst.count, 1);
	burst_forget(&line->burst, line->from);
	assert_int_equal(burst_send(&line->burst), 0);
	assert_nothing_arrives(line);
}

static void test_lost_and_never_heard(void **state)
{
	struct line *line = *state;

	for (unsigned i = 1; i < BURST_LOST_MOST; i++)
		burst_lost(&line->path);
	assert_false(line->path.singly);
	burst_lost(&line->path);
	assert_true(line->path.singly);
}

static void test_lost_as_others_are(void **state)
{
	struct line *line = *state;

	for (unsigned i = 0; i < 1000; i++) {
		burst_heard(&line->path, true);
		burst_heard(&line->path, true);
		burst_heard(&line->path, true);
		burst_lost(&line->path);
	}
	assert_false(line->path.singly);
}

/* However long it went well before. */
static void test_lost_of_late(void **state)
{
	struct line *line = *state;

	for (unsigned i = 0; i < 10000; i++)
		burst_heard(&line->path, true);
	for (unsigned i = 0; i < 4 * BURST_LOST_MOST; i++)
		burst_lost(&line->path);
	assert_false(line->path.singly);
	for (unsigned i = 0; i < BURST_OF_LATE; i++)
		burst_lost(&line->path);
	assert_true(line->path.singly);
}

/* Who was away for a while is a good server again, and a bad way is tried ever less often. */
static void test_cutting_is_tried_again(void **state)
{
	struct line *line = *state;

	for (uint32_t pause = BURST_PAUSE_LEAST; pause <= BURST_PAUSE_MOST; pause *= 2) {
		for (unsigned i = 0; i < 3 * BURST_LOST_MOST; i++)
			burst_lost(&line->path);
		for (uint32_t i = 1; i < pause; i++)
			burst_heard(&line->path, false);
		assert_true(line->path.singly);
		burst_heard(&line->path, false);
		assert_false(line->path.singly);
		add(line, 0, 60);
		add(line, 1, 60);
		assert_true(burst_is_cut(&line->burst));
		burst_forget(&line->burst, line->from);
	}
	for (unsigned i = 0; i < BURST_LOST_MOST; i++)
		burst_lost(&line->path);
	assert_int_equal(line->path.singly, BURST_PAUSE_MOST);
}

/* The second message fails for what became of the first one, and the third is not sent. */
static void test_nobody_listens(void **state)
{
	struct line *line = *state;

	close(line->to);
	line->to = -1;
	for (unsigned i = 0; i < 6; i++)
		add(line, i, 60 + i / 2);
	assert_int_equal(burst_send(&line->burst), -ECONNREFUSED);
	assert_int_equal(line->burst.count, 0);
	assert_false(line->path.singly);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_arrives_as_it_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_length_is_one_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_where_nothing_can_be_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_does_not_fit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_forgotten_with_their_socket, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lost_and_never_heard, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lost_as_others_are, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lost_of_late, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cutting_is_tried_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nobody_listens, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
