#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Everything at once. Strangers send every kind of packet that packets.py knows, floods from sources
that nobody has seen, replies in flows that the PBX opened, and go on in the flow of an address that
was just revoked; meanwhile the list and the config change, the daemon is killed and started again,
others flush the ruleset, and DNS fails. What counts is what a real listener received: nothing of
theirs, and all of the phone's.
"""
import contextlib
import json
import random
import signal
import socket
import threading
import time

import packets
from daemon_case import HOME, HOME2, NAME, PATIENCE, PBX, PBX6, DaemonCase
from harness import end, keeps_orphans, main, sanitized, wait_until
from scripted_dns import address_records, answer
from test_packets import Listener, Sender

ROGUE, ROGUE6 = "198.51.100.66", "2001:db8:66::66"
MOVING, ROTATING = "moving.example", "rotating.example"
NOBODY = "203.0.113.200"
SIP = 5060
# What each phase lasts. A sanitizer's daemon starts slowly, and lives as many lives in more time.
SECONDS = 20 if sanitized() else 12


class Attack(threading.Thread):
    """One way of knocking, again and again until it is stopped."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.rounds, self.error = 0, None

    def run(self):
        try:
            while not self.over.is_set():
                self.knock()
                self.rounds += 1
        except Exception as error:  # told by stop(), in the test's own thread
            self.error = error

    def knock(self):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError

    def stop(self):
        """How often it knocked; what went wrong with it is raised here."""
        self.over.set()
        if self.is_alive():
            self.join(20)
        self.close()
        if self.error:
            raise self.error
        return self.rounds


class Kinds(Attack):
    """Every kind of packet, from the cable; `answered` are the segments that got an answer."""

    def __init__(self, net, link_local, tag):
        super().__init__()
        self.wire = packets.Wire(net.router, "pbx0", net.pbx, "wan")
        self.link_local, self.tag = link_local, tag
        self.sent, self.answered = 0, set()

    def knock(self):
        kinds = packets.unicast_kinds(ROGUE, ROGUE6, PBX, PBX6, self.tag, self.rounds % 60 * 1000)
        kinds += packets.link_kinds(
            ROGUE, ROGUE6, PBX, PBX6, ["192.0.2.255", "192.168.1.255"],
            ["192.168.1.1", "fd00:1::1"], ["2001:db8:1::", "fd00:1::"], self.link_local, self.tag)
        segments = list(packets.tcp_kinds(ROGUE, ROGUE6, PBX, PBX6, 20000))
        for kind in kinds + segments:
            self.wire.send(kind.packets)
            self.sent += len(kind.packets)
        ports = {port for port, _ in self.wire.answers(0.05)}
        self.answered |= {kind.name for kind in segments if kind.source_port in ports}

    def close(self):
        self.wire.close()


class Flood(Attack):
    """Datagrams and SYNs of both families, each from a source that was never seen before."""

    def __init__(self, net, tag):
        super().__init__()
        self.wire = packets.Wire(net.router, "pbx0", net.pbx, "wan")
        self.text, self.number = tag.encode(), 0
        self.datagram4 = packets.udp(ROGUE, PBX, self.text, sum_it=False)

    def burst(self, count):
        for _ in range(count):
            self.number += 1
            source4 = "%d.%d.%d.9" % (11 + (self.number >> 16) % 80, self.number >> 8 & 255,
                                      self.number & 255)
            source6 = "2001:db8:f:%x::%x" % (self.number >> 16, self.number & 0xFFFF)
            self.wire.send([
                packets.ipv4(source4, PBX, self.datagram4),
                packets.ipv6(source6, PBX6, packets.udp(source6, PBX6, self.text))])
            if self.number % 8 == 0:
                syn = packets.tcp(source4, PBX, packets.SYN, 30000)
                self.wire.send([packets.ipv4(source4, PBX, syn, packets.TCP)])

    def knock(self):
        self.burst(20)
        time.sleep(0.004)  # beyond that the cable's own queue would lose the phone's packets

    def close(self):
        self.wire.close()


class Qualifies(Attack):
    """The PBX sends from its SIP port to others', as its OPTIONS do: it opens a flow each time."""

    def __init__(self, net, *targets):
        super().__init__()
        with net.pbx.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.targets = targets

    def knock(self):
        for target in self.targets:
            datagram = packets.udp(PBX, target, b"OPTIONS", port=SIP, source_port=SIP)
            with contextlib.suppress(OSError):
                self.socket.sendto(packets.ipv4(PBX, target, datagram), (target, 0))
        time.sleep(0.02)

    def close(self):
        self.socket.close()


class Replies(Attack):
    """From the port to which the PBX speaks."""

    def __init__(self, net, tag):
        super().__init__()
        self.socket = net.rogue.udp(ROGUE, SIP)
        self.text = tag.encode()

    def knock(self):
        self.socket.sendto(self.text, (PBX, SIP))
        time.sleep(0.002)

    def close(self):
        self.socket.close()


class LeakProof(DaemonCase):
    shared_net = False  # flows that one test has opened are no business of the next

    def setUp(self):
        super().setUp()
        if not keeps_orphans(self.pbx):
            self.skipTest("this kernel has no tables that are owned and outlive their owner")
        self.seed = random.randrange(1 << 32)
        self.dice = random.Random(self.seed)
        interface, = json.loads(self.pbx.run(
            ["ip", "-j", "-6", "address", "show", "dev", "wan"]).stdout)
        self.link_local, = [entry["local"] for entry in interface["addr_info"]
                            if entry["scope"] == "link"]
        self.listener = Listener(self.pbx, SIP, 5061)
        self.addCleanup(end, self.listener.child)
        self.others_table()

    def others_table(self):
        """Of an admin who believes in established flows; it makes the kernel track connections."""
        self.pbx.nft("table inet other\ndelete table inet other\ntable inet other {\nchain input {\n"
                     "type filter hook input priority 0; policy accept;\n"
                     "ct state established,related accept\n}\n}\n")

    def prepare(self, replies):
        self.replies, self.shape = replies, 0
        self.points(HOME)
        self.points(NOBODY, name=MOVING)
        number = iter(range(1 << 30))

        def rotate(question):
            address = "203.0.%d.%d" % (128 + next(number) // 250 % 64, next(number) % 250 + 1)
            return [question.message(address_records(question.name, [address], 1))]
        self.server.set(ROTATING, "A", rotate)
        self.rotate = rotate
        self.reshape()

    def reshape(self):
        """Another config, and now and then another shape of the ruleset, which makes it swap."""
        self.shape += 1
        self.configure("replies: %s\nservices: {web: {tcp: [%d]}}\n" % (
            self.replies, 8000 + self.shape // 3 % 2),
            "21: %s, 22: %s, 23: %s, 24: 192.0.2.%d" % (
                NAME, MOVING, ROTATING, 100 + self.shape % 100))

    # What happens meanwhile

    def kill(self):
        self.running.kill()
        if self.dice.random() < 0.5:
            # Nobody owns the table now: cron's sync takes it over, and the daemon takes it back.
            result = self.fence.run("sync", "--yes", timeout=60)
            self.assertIn(result.code, (0, 1, 3), result)
        self.running = self.daemon()

    def reload(self):
        self.reshape()
        self.running.send_signal(signal.SIGHUP)

    def flush(self):
        """What a firewall's restart does. The owned table is out of its reach."""
        self.pbx.run(["nft", "flush", "ruleset"], check=False)
        self.others_table()

    def attack_table(self):
        for text in ("delete table inet sipfence", "flush set inet sipfence sip_hosts4",
                     "flush chain inet sipfence prerouting", "flush table inet sipfence",
                     "add element inet sipfence sip_hosts4 { %s }" % ROGUE):
            self.pbx.nft(text, check=False)

    def break_dns(self):
        self.server.default = None
        self.dns_silent() if self.dice.random() < 0.5 else self.dns_broken()
        time.sleep(0.3)
        self.heal_dns()

    def heal_dns(self):
        self.points(HOME)
        self.points(NOBODY, name=MOVING)
        self.server.set(ROTATING, "A", self.rotate)

    def refresh(self):
        self.running.request({"request": "refresh"}, timeout=20)

    def revoke(self):
        """A phone is let in, talks, and its name moves on; it goes on in the same flow."""
        self.points(HOME2, name=MOVING)
        seconds = 10 * PATIENCE
        self.assertTrue(wait_until(lambda: HOME2 in (self.hosts4() or ()), seconds), self.running)
        self.talk("listed", 50)
        self.points(NOBODY, name=MOVING)
        self.assertTrue(wait_until(lambda: HOME2 not in (self.hosts4() or ()), seconds), self.running)
        self.talk("revoked", 200)

    def talk(self, tag, count):
        for _ in range(count):
            self.moved.sendto(tag.encode(), (PBX, SIP))
            time.sleep(0.001)
        self.talked[tag] = self.talked.get(tag, 0) + count
        time.sleep(0.05)

    def trouble(self):
        """All of it, in a random order, at least once each."""
        ways = [self.kill, self.reload, self.flush, self.attack_table, self.break_dns, self.refresh,
                self.revoke]
        done = dict.fromkeys(ways, 0)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline or not all(done.values()):
            self.dice.shuffle(ways)
            for way in ways:
                way()
                done[way] += 1
                time.sleep(self.dice.uniform(0, 0.1))
        return done

    # The test

    def test_without_table(self):
        """The control: all of this arrives where nobody guards the ports."""
        kinds, flood = Kinds(self.net, self.link_local, "kinds"), Flood(self.net, "flood")
        qualifies, replies = Qualifies(self.net, ROGUE), Replies(self.net, "replies")
        kinds.knock()
        flood.burst(50)
        qualifies.knock()
        replies.knock()
        for attack in (kinds, flood, qualifies, replies):
            attack.stop()
        counts = self.listener.counts()
        arrived = {name.partition(":")[2] for name in counts if name.startswith("kinds:")}
        self.assertGreater(len(arrived | kinds.answered), 60)
        self.assertLess({"v4-broadcast-all", "v6-multicast-ff02::1", "v4-fragments", "v6-fragments",
                         "v6-all-headers"}, arrived)
        self.assertLess({"tcp4-syn", "tcp4-data", "tcp6-syn"}, kinds.answered)
        self.assertEqual(counts["flood"], 100)
        self.assertEqual(counts["replies"], 1)

    def check(self, replies, qualified, strangers=()):
        self.prepare(replies)
        self.running = self.daemon()
        self.assertTrue(wait_until(lambda: HOME in (self.hosts4() or ()), 10), self.running)
        self.moved, self.talked = self.net.home.udp(HOME2, SIP), {}
        self.addCleanup(self.moved.close)
        kinds, flood = Kinds(self.net, self.link_local, "kinds"), Flood(self.net, "flood")
        # Sources enough to fill the rejected sets, before anybody is counted.
        for _ in range(425):
            flood.burst(40)
            time.sleep(0.008)  # of a faster flood not all sources are noted
        full = len(self.pbx.elements("sip_rejected4"))
        attacks = [kinds, flood, Qualifies(self.net, *qualified), *strangers]
        rogues = [Sender(self.net.rogue, ROGUE, PBX, "rogue", 1000),
                  Sender(self.net.rogue, ROGUE6, PBX6, "rogue", 1000)]
        phone = Sender(self.net.home, HOME, PBX, "phone", 1000)
        for attack in attacks:
            attack.start()
        try:
            done = self.trouble()
        finally:
            rounds = [attack.stop() for attack in attacks]
            sent, knocked = phone.stop(), [rogue.stop() for rogue in rogues]
        counts = self.listener.counts()
        told = "seed %d, %s, %s" % (self.seed, {way.__name__: n for way, n in done.items()}, counts)
        # It was an attack.
        self.assertEqual(full, 12288, "the rejected set is not full")
        self.assertGreater(min(rounds), 5, told)
        self.assertGreater(min(knocked), 1000, told)
        self.assertGreater(flood.number, 20000, told)
        # Nothing came through, and nothing that should was lost.
        strange = {name: count for name, count in counts.items()
                   if name not in ("phone", "listed")}
        self.assertEqual(strange, {}, told)
        self.assertEqual(kinds.answered, set(), told)
        self.assertEqual(counts["phone"], sent, told)
        self.assertEqual(counts["listed"], self.talked["listed"], told)
        self.assertGreater(self.talked["revoked"], 0)

    def test_all_at_once(self):
        self.check("drop", [ROGUE, HOME2], [Replies(self.net, "replies")])

    def test_all_at_once_with_replies_accepted(self):
        """There a stranger to whom the PBX speaks first is let in, so it speaks to the phones alone."""
        self.check("accept", [HOME2])


if __name__ == "__main__":
    main(at_once=2)
