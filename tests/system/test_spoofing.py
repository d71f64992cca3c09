#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Replies that are not the server's: a stranger who sees no question sends more than a million of them,
with the server's address on them. None of them changes anything; and what he would have to guess,
id and source port, can't be foretold.

The stranger of these tests knows more than a real one: the test sees each question at the server, and
sends everything right but one thing.
"""
import collections
import os
import random
import shutil
import socket
import statistics
import struct
import threading
import time
import unittest

from daemon_case import PATIENCE
from harness import PATH, SIPFENCE, Case, Daemon, Host, main, sanitized, wait_until
from scripted_dns import (ScriptedDns, address_records, answer, delay, name_bytes, record, silence)

ASK = os.environ.get("ASK", os.path.join(os.path.dirname(SIPFENCE), "../../tests/system/ask"))
SPOOFER = os.path.abspath(os.environ.get("SPOOFER", os.path.join(
    os.path.dirname(os.path.abspath(ASK)), "spoofer")))

TRUE, MOVED, PLANTED = "203.0.113.10", "203.0.113.77", "198.51.100.66"
NAME, OTHER = "home21.example", "home22.example"
SERVER, PBX = "192.168.1.50", "192.168.1.1"  # the server stands in the LAN, the stranger does not
VOID_MOST = 20
CLASS_IN, CLASS_CHAOS = 1, 3


def section(name, kind=1, which=CLASS_IN):
    return name_bytes(name) + struct.pack(">HH", kind, which)


def planted(question, **more):
    """The reply that is to be believed."""
    return question.message(address_records(question.name, [PLANTED], 600), **more)


# What of a reply is wrong, beside what the spoofer itself makes wrong.
MESSAGES = {
    "another name": lambda q: q.message(address_records(OTHER, [PLANTED], 600), section=section(OTHER)),
    "another name, the right owner": lambda q: planted(q, section=section(OTHER)),
    "another type": lambda q: planted(q, section=section(q.name, 16)),
    "another class": lambda q: planted(q, section=section(q.name, 1, CLASS_CHAOS)),
    "a longer name": lambda q: planted(q, section=section("x." + q.name)),
}
# c-ares 1.34 closes a port for one such message; the question is asked again from another one, which
# the stranger would have to find in turn.
MALFORMED = {
    "no question": lambda q: struct.pack(">HHHHHH", q.id, 0x8400, 0, 1, 0, 0)
    + address_records(q.name, [PLANTED], 600)[0],
    "half a header": lambda q: planted(q)[:6],
}


class SpoofCase(Case):
    shared_net = True

    def setUp(self):
        if not os.access(SPOOFER, os.X_OK):
            self.skipTest(SPOOFER + " is not built")
        super().setUp()
        self.sent = 0
        self.net.router.ip("route replace 192.168.1.0/24 via 192.0.2.10")
        self.server = ScriptedDns(self.net.lan, address=SERVER)
        self.addCleanup(self.server.close)
        self.server.set(NAME, "A", answer(TRUE, ttl=1))
        self.fence.config("extensions: {21: %s}\n%srefresh: {min: 1s, max: 2s}\n" % (
            NAME, self.server.resolver("10s")))

    def spoof(self, ports, count, message, ids="as-is", source=SERVER, port=None, rate=0):
        """From the outside. Returns when all are sent."""
        first, last = ports if isinstance(ports, tuple) else (ports, ports)
        done = self.net.rogue.run([SPOOFER, source, str(port or self.server.port), PBX, str(first),
                                   str(last), str(count), str(rate), ids, message.hex()], timeout=120)
        self.sent += int(done.stdout)

    def attacks(self, count=5000):
        """{what is wrong: function (question) that sends many such replies}."""
        def ids(q):
            return "but:%d:%d" % (q.id, random.randrange(65536))

        def ports(q):
            first = random.randrange(1024, 65535 - count)
            return (first, first + count) if q.port not in range(first, first + count + 1) else (
                "!%d" % q.port, 65535)

        def each(message):
            return lambda q: self.spoof(q.port, count // 10, message(q))

        def once(message):
            left = [message]
            return lambda q: left and self.spoof(q.port, count // 10, left.pop()(q))
        found = {
            "id": lambda q: self.spoof(q.port, count, planted(q), ids(q)),
            "port": lambda q: self.spoof(ports(q), count, planted(q)),
            "id and port": lambda q: self.spoof(ports(q), count, planted(q), ids(q)),
            "source address": lambda q: self.spoof(q.port, count, planted(q), source="192.168.1.51"),
            "an address outside": lambda q: self.spoof(q.port, count, planted(q), source=PLANTED),
            "source port": lambda q: self.spoof(q.port, count, planted(q), port=self.server.port ^ 1),
        }
        self.many = len(found)
        found.update((what, each(message)) for what, message in MESSAGES.items())
        found.update((what, once(message)) for what, message in MALFORMED.items())
        return found

    def attacked(self, attack, then):
        """
        A behaviour: the stranger is quicker than the server. Void when another question came from
        the same port meanwhile (a second try), whose id may have been among those that were wrong.
        """
        def behave(q):
            attack(q)
            self.void |= any(other.port == q.port and other.id != q.id and other.type == q.type
                             for other in self.server.questions())
            return then(q)
        self.void = False
        self.server.forget()
        return behave

    def believed(self):
        return PLANTED in self.net.pbx.elements("sip_hosts4")


class Sync(SpoofCase):
    def test_each(self):
        """One reply of each kind is enough, if it is believed at all; here are thousands."""
        for what, attack in self.attacks().items():
            with self.subTest(wrong=what):
                before = self.sent
                for _ in range(VOID_MOST):
                    self.server.set(NAME, "A", self.attacked(attack, answer(TRUE)))
                    result = self.fence.run("sync", "--yes")
                    if not self.void:
                        break
                self.assertFalse(self.void, "each time a second try was sent")
                self.assertTrue(wait_until(lambda: self.sent > before), "nothing was sent")
                self.assertCode(result, 0)
                self.assertEqual(list(self.net.pbx.elements("sip_hosts4")), [TRUE], result)

    def test_nothing_wrong(self):
        """The proof that the other tests can fail: with nothing wrong it is believed."""
        self.server.set(NAME, "A", self.attacked(lambda q: self.spoof(q.port, 1, planted(q)),
                                                 delay(300, silence())))
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.assertTrue(self.believed())


class Followed(SpoofCase):
    def setUp(self):
        super().setUp()
        self.daemon_ = Daemon(self.fence)
        self.addCleanup(self.daemon_.check_end)
        self.daemon_.wait_ready()
        self.assertTrue(wait_until(lambda: TRUE in self.net.pbx.elements("sip_hosts4"), 5 * PATIENCE))

    def refresh(self, seconds=60):
        reply = self.daemon_.request({"request": "refresh"}, seconds)
        self.assertTrue(reply["ok"], reply)

    def test_million(self):
        attacks = list(self.attacks().values())[:self.many]
        memory, number, counted = None, 0, 0
        while counted < 1000000:
            attack = attacks[number % len(attacks)]
            address = (TRUE, MOVED)[number % 2]
            self.server.set(NAME, "A", self.attacked(attack, answer(address, ttl=60)))
            before = self.sent
            self.refresh()
            number += 1
            if self.void:
                continue
            counted += self.sent - before
            self.assertEqual(list(self.net.pbx.elements("sip_hosts4")), [address])
            if number == 2 * len(attacks):
                memory = self.daemon_.proc("VmRSS")
        print("%d replies, %d rounds" % (self.sent, number))
        self.assertLess(self.sent, 3 * counted, "hardly a round without a second try")
        if not sanitized():
            self.assertLess(self.daemon_.proc("VmRSS"), memory + 512, "it grows")

    def test_flood_slows_nothing(self):
        """A stream of wrong replies to all ports, and to the open one, while each answer comes late."""
        stop = threading.Event()
        def stream():
            wrong = struct.pack(">HHHHHH", 0, 0x8400, 1, 1, 0, 0) + section(NAME) + record(
                NAME, "A", socket.inet_aton(PLANTED), 600)
            while not stop.is_set():
                # Guesses of both kinds; the one id that would be right can't be among them.
                question = self.server.questions()[-1]
                self.spoof(question.port, 2000, wrong, "but:%d:0" % question.id, rate=20000)
        self.server.set(NAME, "A", delay(20, answer(TRUE, ttl=1)))
        self.refresh()
        thread = threading.Thread(target=stream)
        thread.start()
        try:
            for _ in range(20):
                start = time.monotonic()
                self.refresh()
                self.assertLess(time.monotonic() - start, 2 * PATIENCE)
                time.sleep(0.1)
        finally:
            stop.set()
            thread.join()
        self.assertGreater(self.sent, 20000)
        self.assertEqual(list(self.net.pbx.elements("sip_hosts4")), [TRUE])
        self.assertEqual(self.daemon_.events("state", state="held"), [])


class Recorder:
    """A DNS server that notes each question's id and port, and answers `seconds` later: no such name."""

    def __init__(self, host, seconds):
        self.seen = []
        self.seconds = seconds
        self.most = 0
        self.stopping = False
        with host.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.001)
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        late = collections.deque()
        while not self.stopping:
            try:
                data, peer = self.socket.recvfrom(512)
                self.seen.append((struct.unpack_from(">H", data)[0], peer[1]))
                end = data.index(b"\0", 12) + 5
                late.append((time.monotonic() + self.seconds, peer, data[:2] + b"\x81\x83" + data[4:6]
                             + bytes(6) + data[12:end]))
                self.most = max(self.most, len(late))
            except socket.timeout:
                pass
            while late and late[0][0] <= time.monotonic():
                _, peer, reply = late.popleft()
                self.socket.sendto(reply, peer)

    def close(self):
        self.stopping = True
        self.thread.join()
        self.socket.close()


class Unpredictable(unittest.TestCase):
    COUNT = 10000
    PORT_MOST = 100
    SIGMAS = 5.5

    def setUp(self):
        if not os.access(ASK, os.X_OK):
            self.skipTest(ASK + " is not built")
        self.host = Host("pbx")
        self.addCleanup(self.host.close)

    def ask(self, in_flight, seconds=0.0, prefix=()):
        server = Recorder(self.host, seconds)
        try:
            text = "".join("n%d.example A\n" % number for number in range(self.COUNT))
            done = self.host.run([*prefix, ASK, "127.0.0.1:%d" % server.port, "20000", str(in_flight), "0"],
                                 input=text, timeout=120)
        finally:
            server.close()
        self.assertEqual(done.stdout.count(" noname "), self.COUNT, done.stdout[-500:] + done.stderr)
        return server

    def check_ids(self, ids):
        count = len(ids)
        for bit in range(16):
            ones = sum(number >> bit & 1 for number in ids)
            self.assertLess(abs(ones - count / 2), self.SIGMAS * (count / 4) ** 0.5, "bit %d" % bit)
        missed = 65536 * (1 - 1 / 65536) ** count  # numbers that so many throws leave out
        self.assertLess(abs(65536 - len(set(ids)) - missed), self.SIGMAS * missed ** 0.5, "distinct ids")
        for lag in (1, 2, 3, 7, 50):
            correlation = statistics.correlation(ids[:-lag], ids[lag:])
            self.assertLess(abs(correlation), self.SIGMAS / count ** 0.5, "lag %d" % lag)
            # A counter, a stride, a xor: the same difference again and again.
            for name, difference in (("minus", lambda a, b: (b - a) & 0xffff), ("xor", lambda a, b: a ^ b)):
                common = collections.Counter(map(difference, ids[:-lag], ids[lag:])).most_common(1)[0][1]
                self.assertLess(common, 9, "%s, lag %d" % (name, lag))

    def check_ports(self, ports):
        low, high = map(int, self.host.sysctl("net.ipv4.ip_local_port_range").split())
        uses = collections.Counter(ports)
        self.assertLessEqual(max(uses.values()), self.PORT_MOST)
        self.assertTrue(all(low <= port <= high for port in uses), "not the kernel's choice")
        order = list(dict.fromkeys(ports))
        self.assertGreaterEqual(len(order), len(ports) // self.PORT_MOST)
        self.assertGreater(max(order) - min(order), (high - low) * 0.8, "in a corner of the range")
        steps = collections.Counter(b - a for a, b in zip(order, order[1:]))
        self.assertLess(steps.most_common(1)[0][1], len(order) / 10 + 3, "one after the other")

    def check(self, server):
        self.assertGreaterEqual(len(server.seen), self.COUNT)
        self.check_ids([number for number, _ in server.seen])
        self.check_ports([port for _, port in server.seen])
        return server

    def check_different(self, one, other):
        """Two runs have nothing in common."""
        same = sum(a == b for a, b in zip(one.seen, other.seen))
        self.assertLess(same, 3)
        same = sum(a[0] == b[0] for a, b in zip(one.seen, other.seen))
        self.assertLess(same, 9)

    def test_at_once(self):
        """Answered at once: one question after the other finds a free slot."""
        self.check_different(self.check(self.ask(50)), self.check(self.ask(50)))

    def test_under_load(self):
        server = self.check(self.ask(3000, 0.3))
        self.assertGreater(server.most, 1000, "so many were under way")

    def test_few(self):
        """A handful under way, as the daemon has it all day: c-ares would keep its port."""
        self.check(self.ask(3))

    def test_without_devices(self):
        """c-ares 1.18 makes its ids by rand() where it can't open /dev/urandom."""
        if not shutil.which("unshare", path=PATH):
            self.skipTest("unshare(1) is missing")
        hidden = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"]
        self.check_different(self.check(self.ask(50, prefix=hidden)), self.check(self.ask(50, prefix=hidden)))


if __name__ == "__main__":
    main(at_once=2)
