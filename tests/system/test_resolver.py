#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The resolver alone (lib/edge/resolver.h), against Knot and against servers that misbehave.

ASK=path of the program that ask.c makes (default: build/tests/system/ask in the repository)."""
import collections
import json
import os
import shutil
import socket
import struct
import tempfile
import threading
import time
import unittest

import scripted_dns
from harness import PATH, REPO, Host, Knot, main
from scripted_dns import (ScriptedDns, answer, cname_loop, cut_short, delay, foreign_owner, garbage,
                          in_turn, rcode, silence, wrong_id, wrong_question)

ASK = os.path.abspath(os.environ.get("ASK", os.path.join(REPO, "build/tests/system/ask")))
SLACK = 0.05  # what a budget may be exceeded by, in seconds
(TIMEOUT, SERVFAIL, REFUSED, OTHER_RCODE, GARBAGE, CNAME_LOOP, REFERRAL, NO_SERVER) = range(1, 9)

Answer = collections.namedtuple("Answer", "at kind reason ttl values")


class Run:
    """What ask printed: answers[i] are those to the i-th question, in turn."""

    def __init__(self, done):
        self.done = done
        self.answers = collections.defaultdict(list)
        self.stats = None
        for line in done.stdout.splitlines():
            words = line.split()
            if words[0] == "stats":
                names = "asked answered timed_out late limit peak".split()
                self.stats = dict(zip(names, map(int, words[1:7])))
                continue
            self.answers[int(words[1])].append(Answer(
                float(words[0]) / 1000, words[2], int(words[3]), int(words[4]), words[5:]))

    def only(self, question=0):
        answers = self.answers[question]
        assert len(answers) == 1, "%s: %s" % (question, answers)
        return answers[0]


class Base(unittest.TestCase):
    needs = ()

    @classmethod
    def setUpClass(cls):
        for program in cls.needs:
            if not shutil.which(program, path=PATH):
                raise unittest.SkipTest(program + " is missing")
        if not os.access(ASK, os.X_OK):
            raise unittest.SkipTest(ASK + " is not built")
        cls.host = Host("pbx")
        cls.addClassCleanup(cls.host.close)

    def dns(self, **more):
        server = ScriptedDns(self.host, **more)
        self.addCleanup(server.close)
        return server

    def dead_server(self):
        """A port where somebody listens and says nothing."""
        with self.host.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self.addCleanup(sock.close)
        return "127.0.0.1:%d" % sock.getsockname()[1]

    @staticmethod
    def closed_port():
        """Nobody listens there. Below the ephemeral ports: a socket of ours could get such a one, and
        be connected to itself."""
        return "127.0.0.1:1053"

    def ask(self, servers, questions, timeout=500, in_flight=0, linger=0, code=0):
        texts = [server if isinstance(server, str) else "127.0.0.1:%d" % server.port
                 for server in servers]
        done = self.host.run([ASK, ",".join(texts), str(timeout), str(in_flight), str(linger)],
                             input="\n".join(questions) + "\n", check=False)
        self.assertEqual(done.returncode, code, done.stdout[-1000:] + done.stderr[-3000:])
        return Run(done)


class RealServer(Base):
    needs = ("knotd",)
    RECORDS = "\n".join([
        "a 60 A 203.0.113.1", "a 50 AAAA 2001:db8::1",
        "alias 300 CNAME alias2", "alias2 20 CNAME a",
        "only4 60 A 203.0.113.2",
        "away 60 CNAME host.elsewhere.example.net.",
        "_sip._udp 70 SRV 10 10 5060 b.example.", "_sip._udp 70 SRV 20 10 5060 A.example.",
        "_sip._udp 70 SRV 20 10 5062 a.example.", "_none._udp SRV 0 0 0 .",
        "lame NS ns.elsewhere.example.net.",
        *["many 60 A 198.51.100.%d" % number for number in range(1, 41)],
        *["huge 60 AAAA 2001:db8:1::%x" % number for number in range(1, 101)]])

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        directory = tempfile.mkdtemp(prefix="sipfence-test-")
        cls.addClassCleanup(shutil.rmtree, directory, ignore_errors=True)
        cls.knot = Knot(cls.host, directory, records=cls.RECORDS)
        cls.addClassCleanup(cls.knot.log.close)
        cls.addClassCleanup(cls.knot.stop)

    def one(self, question, **more):
        result = self.ask([self.knot], [question], **more).only()
        return result[1:]

    def test_answers(self):
        for question, expected in {
            "a.example A": ("addresses", 0, 60, ["203.0.113.1"]),
            "a.example AAAA": ("addresses", 0, 50, ["2001:db8::1"]),
            "alias.example A": ("addresses", 0, 20, ["203.0.113.1"]),
            "only4.example AAAA": ("nodata", 0, 5, []),
            "none.example A": ("noname", 0, 5, []),
            "_sip._udp.example SRV": ("addresses", 0, 70, ["a.example", "b.example"]),
            "_none._udp.example SRV": ("nodata", 0, 30, []),
            "away.example A": ("failed", REFERRAL, 0, []),
            "x.lame.example A": ("failed", REFERRAL, 0, []),
            "elsewhere.test A": ("failed", REFUSED, 0, []),
        }.items():
            with self.subTest(question):
                self.assertEqual(self.one(question), expected)

    def test_forty_addresses(self):
        self.assertEqual(self.one("many.example A")[3],
                         ["198.51.100.%d" % number for number in range(1, 41)])

    def test_truncated_then_tcp(self):
        """100 AAAA records do not fit into 1232 bytes."""
        self.assertEqual(self.one("huge.example AAAA")[3],
                         ["2001:db8:1::%x" % number for number in range(1, 101)])

    def test_ipv6_server_with_port(self):
        run = self.ask(["[::1]:%d" % self.knot.port], ["a.example A"])
        self.assertEqual(run.only().values, ["203.0.113.1"])

    def test_all_at_once_and_one_at_a_time(self):
        questions = ["a.example A", "only4.example AAAA", "none.example A", "huge.example AAAA"] * 50
        for in_flight in (0, 1, 7, 5000):
            with self.subTest(in_flight):
                run = self.ask([self.knot], questions, in_flight=in_flight, timeout=5000)
                kinds = [run.only(index).kind for index in range(len(questions))]
                self.assertEqual(kinds, ["addresses", "nodata", "noname", "addresses"] * 50)
                if in_flight:
                    self.assertLessEqual(run.stats["peak"], in_flight)

    def test_resolv_conf(self):
        """Servers of resolv.conf are asked, at port 53."""
        path = tempfile.mktemp(prefix="sipfence-test-")
        with open(path, "w") as file:
            file.write("nameserver 127.0.0.77\noptions ndots:5\nsearch example\n")
        self.addCleanup(os.unlink, path)
        server = self.dns(port=53, address="127.0.0.77")
        server.set("a.example", "A", answer("203.0.113.9"))
        self.host.run(["mount", "--bind", path, "/etc/resolv.conf"])
        self.addCleanup(self.host.run, ["umount", "/etc/resolv.conf"])
        done = self.host.run([ASK, "-", "500", "0", "0"], input="a.example A\na A\n")
        run = Run(done)
        self.assertEqual(run.only(0).values, ["203.0.113.9"])
        self.assertEqual(run.only(1).reason, REFUSED)
        self.assertEqual([q.name for q in server.questions()], ["a.example", "a"])


class Faults(Base):
    def setUp(self):
        self.server = self.dns()
        self.server.set("good.example", "A", answer("203.0.113.5", ttl=33))

    def bad(self, behaviour, timeout=400, servers=None, **more):
        self.server.set("bad.example", "A", behaviour)
        run = self.ask(servers or [self.server], ["bad.example A", "good.example A"],
                       timeout=timeout, **more)
        self.assertEqual(run.only(1)[1:], ("addresses", 0, 33, ["203.0.113.5"]))
        self.assertLess(run.only(1).at, 0.2, "a good name waited for a bad one")
        self.assertLessEqual(run.only(0).at, timeout / 1000 + SLACK)
        return run.only(0)

    def test_at_once(self):
        """What a server says by itself is not waited for."""
        for behaviour, reason in ((rcode("SERVFAIL"), SERVFAIL), (rcode("REFUSED"), REFUSED),
                                  (rcode("NOTIMP"), OTHER_RCODE), (rcode("FORMERR"), OTHER_RCODE),
                                  (cname_loop(), CNAME_LOOP), (cut_short(), GARBAGE)):
            with self.subTest(reason):
                result = self.bad(behaviour)
                self.assertEqual((result.kind, result.reason), ("failed", reason))
                if reason != GARBAGE:  # c-ares 1.34 tries a few times more
                    self.assertLess(result.at, 0.2)

    def test_never_an_answer(self):
        for behaviour in (silence(), wrong_id(), wrong_question()):
            result = self.bad(behaviour)
            self.assertEqual((result.kind, result.reason), ("failed", TIMEOUT))
            self.assertGreaterEqual(result.at, 0.4 - 0.002)

    def test_garbage(self):
        """c-ares 1.18 takes it for nobody's answer, 1.34 for a broken one."""
        result = self.bad(garbage())
        self.assertEqual(result.kind, "failed")
        self.assertIn(result.reason, (TIMEOUT, GARBAGE))

    def test_record_of_another_name(self):
        self.assertEqual(self.bad(foreign_owner()).kind, "nodata")

    def test_no_such_name_beside_silence(self):
        self.server.set("silent.example", "A", silence())
        result = self.bad(rcode("NXDOMAIN"))
        self.assertEqual(result.kind, "noname")

    def test_lost_packet(self):
        """One lost packet costs a part of the budget, not all of it."""
        result = self.bad(in_turn(silence(), answer("203.0.113.6")), timeout=2000)
        self.assertEqual(result.values, ["203.0.113.6"])
        self.assertLess(result.at, 0.6)

    def test_lost_packet_where_answers_are_quick(self):
        """Once the round trip is known, a lost packet costs no more than 0.1 s."""
        self.server.set("lost.example", "A", in_turn(silence(), answer("203.0.113.6")))
        run = self.ask([self.server], ["good.example A"] * 20 + ["lost.example A"], timeout=8000,
                       in_flight=1)
        self.assertEqual(run.only(20).values, ["203.0.113.6"])
        self.assertLess(run.only(20).at - run.only(19).at, 0.4)  # 0.5 without

    def test_late_answer(self):
        """It comes after the time-out, as a second answer."""
        self.server.set("late.example", "A", delay(450, answer("203.0.113.7")))
        run = self.ask([self.server], ["late.example A"], timeout=300, linger=400)
        first, second = run.answers[0]
        self.assertEqual((first.kind, first.reason), ("failed", TIMEOUT))
        self.assertAlmostEqual(first.at, 0.3, delta=SLACK)
        self.assertEqual(second.values, ["203.0.113.7"])
        self.assertEqual(run.stats["late"], 1)

    def test_late_failure_is_no_answer(self):
        self.server.set("late.example", "A", delay(350, rcode("SERVFAIL")))
        run = self.ask([self.server], ["late.example A"], timeout=300, linger=300)
        self.assertEqual(run.only().reason, TIMEOUT)

    def test_port_closed(self):
        begin = time.monotonic()
        run = self.ask([self.closed_port()], ["a%d.example A" % i for i in range(500)], timeout=5000)
        self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual({run.only(i).reason for i in range(500)}, {NO_SERVER})

    def test_no_network(self):
        """No route: said at once."""
        run = self.ask(["192.0.2.1"], ["a.example A"], timeout=5000)
        self.assertEqual(run.only().reason, NO_SERVER)
        self.assertLess(run.only().at, 1)

    def test_freed_with_questions_under_way(self):
        self.server.set("slow.example", "A", silence())
        run = self.ask([self.server], ["slow.example A"] * 300, linger=-1)
        self.assertFalse(run.answers)
        self.assertEqual(run.stats["answered"], 0)

    def test_plain_server(self):
        """A server that does not know EDNS says FORMERR to it."""
        def behave(question):
            # Without the attribute: asked before or after this test's run.
            if getattr(question, "edns", True):
                return [question.message(rcode=1)]
            return answer("203.0.113.8")(question)
        original = scripted_dns.Question.__init__

        def with_edns(question, data, tcp, port=0):
            original(question, data, tcp, port)
            question.edns = data[10:12] != b"\0\0"
        scripted_dns.Question.__init__ = with_edns
        self.addCleanup(setattr, scripted_dns.Question, "__init__", original)
        names = ["n%d.example" % number for number in range(300)]
        for name in names:
            self.server.set(name, "A", behave)
        run = self.ask([self.server], [name + " A" for name in names], timeout=5000)
        self.assertEqual({run.only(index).kind for index in range(300)}, {"addresses"})



class Servers(Base):
    def test_budget(self):
        """One, two, three dead servers: the budget is the same."""
        for count in (1, 2, 3):
            with self.subTest(count):
                servers = [self.dead_server() for _ in range(count)]
                run = self.ask(servers, ["a.example A", "b.example AAAA"], timeout=700)
                for index in (0, 1):
                    self.assertEqual(run.only(index).reason, TIMEOUT)
                    self.assertGreaterEqual(run.only(index).at, 0.698)
                    self.assertLessEqual(run.only(index).at, 0.7 + SLACK)

    def test_one_is_dead(self):
        """The other one answers, and those asked later do not wait for the dead one."""
        server = self.dns()
        names = ["n%d.example" % number for number in range(600)]
        for name in names:
            server.set(name, "A", answer("203.0.113.5"))
        for servers in ([self.dead_server(), server], [self.closed_port(), server],
                        [self.dead_server(), self.dead_server(), server]):
            with self.subTest(len(servers)):
                begin = time.monotonic()
                run = self.ask(servers, [name + " A" for name in names], timeout=2000)
                self.assertEqual({run.only(index).kind for index in range(600)}, {"addresses"})
                self.assertLess(time.monotonic() - begin, 2)

    def test_dead_one_is_learnt(self):
        """With few at once, only the first ones wait for the dead server."""
        server = self.dns()
        names = ["n%d.example" % number for number in range(400)]
        for name in names:
            server.set(name, "A", answer("203.0.113.5"))
        begin = time.monotonic()
        run = self.ask([self.dead_server(), server], [name + " A" for name in names],
                       timeout=8000, in_flight=5)
        self.assertEqual({run.only(index).kind for index in range(400)}, {"addresses"})
        self.assertLess(time.monotonic() - begin, 3)  # 80 waits of 0.1 s otherwise

    def test_one_says_no(self):
        """A server that cannot answer does not decide while another one can."""
        names = ["n%d.example" % number for number in range(200)]
        good = self.dns()
        for name in names:
            good.set(name, "A", answer("203.0.113.5"))
        for word in ("SERVFAIL", "REFUSED"):
            with self.subTest(word):
                bad = self.dns()
                bad.default = rcode(word)
                run = self.ask([bad, good], [name + " A" for name in names], timeout=2000)
                self.assertEqual({run.only(index).kind for index in range(200)}, {"addresses"})

    def test_both_say_no(self):
        one, two = self.dns(), self.dns()
        one.default = two.default = rcode("SERVFAIL")
        run = self.ask([one, two], ["a.example A"], timeout=2000)
        self.assertEqual(run.only().reason, SERVFAIL)
        self.assertLess(run.only().at, 0.2, "the second server was not asked at once")
        self.assertEqual((one.total, two.total), (1, 1))

    def test_no_such_name_counts(self):
        """NXDOMAIN is an answer: the next server is not asked."""
        one, two = self.dns(), self.dns()
        one.default = rcode("NXDOMAIN")
        run = self.ask([one, two], ["a.example A"])
        self.assertEqual((run.only().kind, two.total), ("noname", 0))


class PlainServer(threading.Thread):
    """Answers A questions fast, and keeps who asked from where."""

    def __init__(self, host, silent=lambda number: False):
        super().__init__(daemon=True)
        with host.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.1)
        self.port = self.sock.getsockname()[1]
        self.silent = silent
        self.ports = collections.defaultdict(set)
        self.ids = []
        self.seen = collections.Counter()
        self.stopping = False
        self.start()

    def run(self):
        while not self.stopping:
            try:
                data, peer = self.sock.recvfrom(2048)
            except socket.timeout:
                continue
            end = data.index(b"\0", 12) + 5
            name = data[12:end]
            self.ports[peer[1]].add((data[:2], name))
            self.ids.append(data[:2])
            self.seen[name] += 1
            if not self.silent(name):
                self.sock.sendto(data[:2] + b"\x84\0\0\1\0\1\0\0\0\0" + name + struct.pack(
                    ">HHHIH4s", 0xc00c, 1, 1, 60, 4, b"\xcb\0\x71\x05"), peer)

    def close(self):
        self.stopping = True
        self.join(5)
        self.sock.close()


class Doubt(Base):
    """Silent names are no dead DNS, and dead DNS is not waited for."""
    IN_FLIGHT = (1, 4, 10, 20, 0)

    def ask_behind_silence(self, place, silent, in_flight, speaks_of_root):
        """One good name among so many silent ones: `place` is where in the queue it stands (from 0 to
        1). Returns its answer."""
        good = int(silent * place)
        server = PlainServer(self.host, lambda name: name[1:3] != b"ok" and not
                             (speaks_of_root and name[0] == 0))
        self.addCleanup(server.close)
        names = ["s%d.example" % number for number in range(silent)]
        names.insert(good, "ok.example")
        run = self.ask([server], [name + " A" for name in names],
                       timeout=self.budget(in_flight), in_flight=in_flight)
        self.assertEqual(len(run.answers), silent + 1)
        if in_flight:
            self.assertLessEqual(run.stats["peak"], in_flight)
        return run.only(good)

    @staticmethod
    def silent_names(in_flight):
        """More than are under way before the first one fails, and than the canaries in doubt."""
        return {1: 18, 4: 24, 10: 30, 20: 50, 0: 2000}[in_flight]

    @staticmethod
    def budget(in_flight):
        """Enough for this server to get through the questions of that time."""
        return 150 if in_flight else 700

    def test_good_name_far_behind_silent_ones(self):
        """The far end of the queue is looked at, also where the server is silent about the root."""
        for in_flight in self.IN_FLIGHT:
            with self.subTest(in_flight):
                result = self.ask_behind_silence(
                    1, self.silent_names(in_flight), in_flight, False)
                self.assertEqual(result.kind, "addresses")

    def test_good_name_among_silent_ones(self):
        """Where canaries rarely find it, the server's word about the root shows that it lives."""
        for in_flight in self.IN_FLIGHT:
            with self.subTest(in_flight):
                result = self.ask_behind_silence(
                    0.9, self.silent_names(in_flight), in_flight, True)
                self.assertEqual(result.kind, "addresses")

    def test_the_rest_after_the_dead_ones(self):
        """All good names are asked, not just one, when the silent ones sort first."""
        for in_flight in self.IN_FLIGHT:
            with self.subTest(in_flight):
                silent = self.silent_names(in_flight)
                server = PlainServer(self.host, lambda name: name[1:2] == b"s")
                self.addCleanup(server.close)
                run = self.ask([server], ["%s%d.example A" % ("s" if number < silent else "z", number)
                                          for number in range(silent + 300)],
                               timeout=self.budget(in_flight), in_flight=in_flight)
                kinds = [run.only(index).kind for index in range(silent + 300)]
                self.assertEqual(kinds, ["failed"] * silent + ["addresses"] * 300)

    def test_dead_dns_is_not_asked_forever(self):
        """When nothing answers, a long queue does not take its length times the budget."""
        for in_flight in self.IN_FLIGHT:
            with self.subTest(in_flight):
                begin = time.monotonic()
                run = self.ask([self.dead_server()], ["a%d.example A" % i for i in range(10000)],
                               timeout=300, in_flight=in_flight)
                self.assertLess(time.monotonic() - begin, (5 if in_flight == 1 else 3) * 0.3 + 1)
                self.assertEqual({run.only(i).reason for i in range(10000)}, {TIMEOUT})
                self.assertEqual(run.stats["answered"], 10000)
                self.assertEqual(run.stats["timed_out"], 10000)
                self.assertLess(run.stats["asked"], 10000)

    def test_nobody_listens(self):
        """A closed port, no route: at once."""
        for server in (self.closed_port(), "192.0.2.1"):
            for in_flight in self.IN_FLIGHT:
                with self.subTest((server, in_flight)):
                    begin = time.monotonic()
                    run = self.ask([server], ["a%d.example A" % i for i in range(10000)],
                                   timeout=5000, in_flight=in_flight)
                    self.assertLess(time.monotonic() - begin, 2)
                    self.assertEqual({run.only(i).reason for i in range(10000)}, {NO_SERVER})

    def test_the_root_is_nobodys_question(self):
        """Its answer is nobody's, and it is not counted."""
        server = PlainServer(self.host, lambda name: True)
        self.addCleanup(server.close)
        run = self.ask([server], ["a%d.example A" % i for i in range(30)], timeout=150, in_flight=4)
        self.assertEqual(sorted(run.answers), list(range(30)))
        self.assertEqual(run.stats["asked"], 7)  # four, and three canaries beside the root
        self.assertEqual(len(server.seen), 8)


class Ports(Base):
    COUNT = 10000

    def count(self, silent=lambda name: False, **more):
        server = PlainServer(self.host, silent)
        self.addCleanup(server.close)
        run = self.ask([server], ["n%d.example A" % number for number in range(self.COUNT)], **more)
        self.assertEqual(len(run.answers), self.COUNT)
        most = max(len(questions) for questions in server.ports.values())
        self.assertLessEqual(most, 100, "questions from one source port")
        self.assertGreaterEqual(len(server.ports), self.COUNT // 100)
        return run, server

    def test_source_ports(self):
        _, server = self.count(timeout=5000)
        self.assertGreater(len(set(server.ids)), 8000, "ids repeat more than chance has it")

    def test_source_ports_with_silent_names(self):
        """Questions that stay silent hold their ports back, and nothing else."""
        endings = (b"33", b"77", b"99")  # more than are asked at once
        run, _ = self.count(lambda name: name[2:1 + name[0]].endswith(endings), timeout=1500)
        kinds = collections.Counter(run.only(index).kind for index in range(self.COUNT))
        self.assertEqual(kinds["failed"], 300)
        good = [run.only(index).at for index in range(self.COUNT)
                if run.only(index).kind == "addresses"]
        self.assertLess(max(good), 1.4, "good names waited for silent ones")

    def test_small_server(self):
        """A resolver with a small receive buffer gets all its questions answered."""
        server = PlainServer(self.host)
        self.addCleanup(server.close)
        server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        run = self.ask([server], ["n%d.example A" % number for number in range(2000)], timeout=5000)
        self.assertEqual({run.only(index).kind for index in range(2000)}, {"addresses"})

    def test_what_got_lost_together_is_not_sent_together_again(self):
        """A server that takes few questions in a moment, and drops the rest: of each new try of all at
        once 50 would get an answer, 280 in the budget."""
        moment, few, taken = 0.02, 50, collections.Counter()

        def drops(name):
            now = int(time.monotonic() / moment)
            taken[now] += 1
            return taken[now] > few
        server = PlainServer(self.host, drops)
        self.addCleanup(server.close)
        run = self.ask([server], ["n%d.example A" % number for number in range(1000)], timeout=5000,
                       in_flight=1000)
        kinds = collections.Counter(run.only(index).kind for index in range(1000))
        self.assertGreater(kinds["addresses"], 600, kinds)


class Together(Base):
    """First questions leave in messages that the kernel cuts (lib/edge/burst.h)."""
    needs = ("nft",)
    COUNT = 400
    MESSAGES = COUNT // 50 * 3  # sixteen questions at most in one, and fifty from one port
    QUESTIONS = ["n%03d.example A" % number for number in range(COUNT)]

    def setUp(self):
        self.server = self.dns()
        self.server.default = answer("203.0.113.1")

    def count_messages(self, size, verdict="accept", within="", hook="input"):
        """Those to the server of at least this size (one question is 69 bytes); returns a function that
        says how many. Also on their way in they are whole: nothing needs to cut them on the loopback."""
        self.host.run(["nft", "add table ip messages; add chain ip messages seen { type filter hook %s "
                       "priority 0; }; add rule ip messages seen udp dport %d meta length >= %d %s counter %s"
                       % (hook, self.server.port, size, within, verdict)])
        self.addCleanup(self.host.run, ["nft", "delete table ip messages"])

        def count():
            listed = json.loads(self.host.run(["nft", "-j", "list", "table", "ip", "messages"]).stdout)
            rule = next(item["rule"] for item in listed["nftables"] if "rule" in item)
            return next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
        return count

    def in_rounds(self, rounds, *, pause=0, servers=None):
        """All questions so many times; the answers of each round, in turn."""
        run = self.ask(servers or [self.server], (self.QUESTIONS + ["then %d" % pause]) * rounds,
                       timeout=5000, in_flight=self.COUNT)
        return [[run.only(first + index) for index in range(self.COUNT)]
                for first in range(0, rounds * (self.COUNT + 1), self.COUNT + 1)]

    def assertAnswered(self, answers):
        self.assertEqual({answer.kind for answer in answers}, {"addresses"})

    def test_few_messages_and_the_same_questions(self):
        count = self.count_messages(200)
        self.assertAnswered(*self.in_rounds(1))
        self.assertEqual(count(), self.MESSAGES)
        self.assertEqual({question.name for question in self.server.questions()},
                         {text.split()[0] for text in self.QUESTIONS})

    def test_where_they_get_lost(self):
        """Of a firewall, or a driver, that loses what is to be cut: each question is asked again by
        itself, and later ones are from the first."""
        dropped = self.count_messages(200, "drop")
        for answers in self.in_rounds(4):
            self.assertAnswered(answers)
        self.assertEqual(dropped(), self.MESSAGES)

    def test_where_they_begin_to_get_lost(self):
        """As many as one round has do get through."""
        whole = 28 + 16 * (69 - 28)
        dropped = self.count_messages(200, "drop", within="quota over %d bytes" % (self.MESSAGES * whole))
        for answers in self.in_rounds(5):
            self.assertAnswered(answers)
        self.assertEqual(dropped(), self.MESSAGES)

    def test_where_they_get_lost_on_the_way_to_one_of_two(self):
        """Else it would be taken for dead, and be asked behind the other one, again and again."""
        other = self.dns()
        other.default = answer("203.0.113.1")
        dropped = self.count_messages(200, "drop")
        # Who was silent is asked first again after five seconds, by one question.
        for answers in self.in_rounds(4, pause=5100, servers=[self.server, other]):
            self.assertAnswered(answers)
        self.assertEqual(dropped(), self.MESSAGES)
        self.assertGreater(len(self.server.questions()), 2 * self.COUNT)

    def test_where_they_are_refused(self):
        """By a rule of this machine: those of the message go one by one at once."""
        refused = self.count_messages(200, "drop", hook="output")
        for answers in self.in_rounds(2):
            self.assertAnswered(answers)
        self.assertEqual(refused(), 1)

    def test_where_one_question_does_not_fit_a_packet(self):
        self.host.run(["ip", "link", "set", "lo", "mtu", "68"])
        self.addCleanup(self.host.run, ["ip", "link", "set", "lo", "mtu", "65536"])
        self.assertAnswered(*self.in_rounds(1))

    def test_what_cannot_be_sent_is_asked_elsewhere_at_once(self):
        """The kernel says so of a whole message, after c-ares was told that it is sent."""
        other = self.dns()
        other.default = answer("203.0.113.1")
        self.count_messages(0, "drop", hook="output")
        run = self.ask([self.server, other], self.QUESTIONS[:8], timeout=30000)
        for index in range(8):
            self.assertEqual(run.only(index).kind, "addresses")
            self.assertLess(run.only(index).at, 0.4, "it was waited for")


if __name__ == "__main__":
    main()
