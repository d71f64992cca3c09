#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Packets against the table that the program installs. What counts is what a real listener on 0.0.0.0
and [::] received: everything from a listed phone, nothing from a stranger.

Every kind of packet has its controls: without the table the stranger's arrives, with it the phone's.
"""
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

import harness
import packets
from harness import Case, main, wait_until

PROBE = os.environ.get("SIPFENCE_PROBE", os.path.join(
    os.path.dirname(harness.SIPFENCE), "../../tests/system/probe"))

PBX4, PBX6 = "192.0.2.10", "2001:db8:1::10"
PHONE4, PHONE6 = "203.0.113.10", "2001:db8:21::10"
ROGUE4, ROGUE6 = "198.51.100.66", "2001:db8:66::66"
LISTED = """
extensions: {21: [%s, "%s"]}
""" % (PHONE4, PHONE6)

# How long a packet may take that nobody holds back; the namespaces are one machine.
SETTLE = 0.3


class Listener:
    """The probe on UDP and TCP ports of a host."""

    def __init__(self, host, *ports):
        self.child = host.popen([PROBE, "listen", *map(str, ports)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        if self.child.stdout.readline() != "ready\n":
            raise RuntimeError("the listener does not start")

    def counts(self, settle=SETTLE):
        time.sleep(settle)
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        found = {}
        while True:
            words = self.child.stdout.readline().split()
            if words == ["end"]:
                return found
            found[words[0]] = int(words[1])

    def names(self, tag):
        """The kinds that arrived under a tag."""
        return {key.partition(":")[2] for key in self.counts() if key.startswith(tag + ":")}


class Sender:
    """The probe, sending until it is stopped."""

    def __init__(self, host, source, target, tag, microseconds, port=5060):
        self.child = host.popen([PROBE, "send", source, target, str(port), tag, str(microseconds)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop(self):
        """Returns how many were sent."""
        sent, _ = self.child.communicate(timeout=10)
        return int(sent)


class Names(threading.Thread):
    """A DNS server for A records that a test changes between two questions."""

    def __init__(self, host, **addresses):
        super().__init__(daemon=True)
        self.addresses = addresses
        self.socket = host.udp("127.0.0.1", 0, None)
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                question, peer = self.socket.recvfrom(2048)
                if not question:  # close() shut the socket down
                    return
                self.socket.sendto(self.answer(question), peer)

    def answer(self, question):
        stop = question.index(b"\0", 12)
        label = question[13:13 + question[12]].decode().lower()
        kind, = struct.unpack_from("!H", question, stop + 1)
        address = self.addresses.get(label) if kind == 1 else None
        record = b""
        if address:
            record = struct.pack("!HHHIH", 0xC00C, 1, 1, 30, 4) + socket.inet_aton(address)
        head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, bool(address), 0, 0)
        return head + question[12:stop + 5] + record

    def resolver(self):
        return 'resolver: {servers: ["127.0.0.1:%d"], timeout: 2s}\n' % self.port

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.join(2)
        self.socket.close()


class PacketCase(Case):
    def setUp(self):
        if not os.access(PROBE, os.X_OK):
            self.skipTest(PROBE + " is not built")
        super().setUp()

    def sync(self, config=None, *arguments, code=0):
        if config is not None:
            self.fence.config(config)
        return self.assertCode(self.fence.run("sync", "--yes", *arguments), code)

    def names(self, **addresses):
        names = Names(self.net.pbx, **addresses)
        self.addCleanup(names.close)
        return names

    def exchange(self, listener, tag, *senders):
        """Five datagrams from each (host, source, target, port); returns who arrived how often."""
        for number, (host, source, target, port) in enumerate(senders):
            host.run([PROBE, "send", source, target, str(port), "%s%d" % (tag, number), "100", "5"])
        counts = listener.counts()
        return [counts.get("%s%d" % (tag, number), 0) for number in range(len(senders))]

    def connects(self, host, source, target, port):
        """Does a TCP connection come about?"""
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with host.inside():
            sock = socket.socket(family, socket.SOCK_STREAM)
        with sock:
            sock.settimeout(SETTLE)
            sock.bind((source, 0))
            try:
                sock.connect((target, port))
            except OSError:
                return False
            return True


class Rewrites(PacketCase):
    """A probe each millisecond while the table changes under it."""

    def watch(self, change, times, rogue_microseconds):
        """Calls change(n) that often; returns (sent, arrived) of the phone, then of the rogue."""
        listener = Listener(self.net.pbx, 5060)
        phone = Sender(self.net.home, PHONE4, PBX4, "phone", 1000)
        rogue = Sender(self.net.rogue, ROGUE4, PBX4, "rogue", rogue_microseconds)
        time.sleep(0.2)
        for number in range(1, times + 1):
            change(number)
        sent = phone.stop(), rogue.stop()
        counts = listener.counts()
        return (sent[0], counts.get("phone", 0)), (sent[1], counts.get("rogue", 0))

    def check(self, phone, rogue, at_least):
        self.assertGreater(phone[0], at_least, "the phone hardly sent")
        self.assertGreater(rogue[0], at_least, "the rogue hardly sent")
        self.assertEqual(phone[0], phone[1], "the phone lost packets")
        self.assertEqual(rogue[1], 0, "the rogue got in, of %d packets" % rogue[0])

    def test_moving_addresses(self):
        """1,000 moves; in every second one the phone's own element gets another comment."""
        names = self.names(phone=PHONE4, moving="203.0.113.200")
        self.sync("extensions: {21: phone.example, 22: moving.example}\n" + names.resolver())
        before = self.net.pbx.generation()

        def move(number):
            names.addresses["moving"] = PHONE4 if number % 2 else "203.0.113.%d" % (
                100 + number // 2 % 100)
            self.sync()
        phone, rogue = self.watch(move, 1000, 1000)
        self.check(phone, rogue, 1000)
        self.assertEqual(self.net.pbx.generation() - before, 1000, "one transaction a move")
        self.assertEqual(sorted(self.net.pbx.elements("sip_hosts4")), [PHONE4, "203.0.113.100"])

    def test_table_swaps(self):
        """200 changed configs, and a flood: the swap must have no instant without a guard."""
        self.sync(LISTED)
        before = self.net.pbx.generation()

        def swap(number):
            self.sync(LISTED + "local-subnets: [10.%d.0.0/16]\nservices: {web: {tcp: [%d]}}\n" % (
                number % 200, 8000 + number % 2))
        phone, rogue = self.watch(swap, 200, 0)
        self.check(phone, rogue, 1000)
        self.assertGreaterEqual(self.net.pbx.generation() - before, 200)

    def test_mode_swaps(self):
        """The ways between `replies: drop` and `accept` change the place of the base chain."""
        self.sync(LISTED)

        def swap(number):
            self.sync(LISTED + "replies: %s\n" % ("accept" if number % 2 else "drop"))
        phone, rogue = self.watch(swap, 100, 0)
        self.check(phone, rogue, 500)


class Kinds(PacketCase):
    """Every kind of packet, from the cable itself."""

    def setUp(self):
        super().setUp()
        self.wire = packets.Wire(self.net.router, "pbx0", self.net.pbx, "wan")
        self.addCleanup(self.wire.close)
        self.listener = Listener(self.net.pbx, 5060, 5061)
        interface, = json.loads(self.net.pbx.run(
            ["ip", "-j", "-6", "address", "show", "dev", "wan"]).stdout)
        self.link_local, = [entry["local"] for entry in interface["addr_info"]
                            if entry["scope"] == "link"]
        self.round = 0

    def knock(self, source4, source6):
        """Sends all kinds; returns (kinds, names of those that arrived or were answered)."""
        self.round += 1
        tag = "round%d" % self.round
        kinds = packets.unicast_kinds(source4, source6, PBX4, PBX6, tag, self.round * 1000)
        kinds += packets.link_kinds(
            source4, source6, PBX4, PBX6, ["192.0.2.255", "192.168.1.255"],
            ["192.168.1.1", "fd00:1::1"], ["2001:db8:1::", "fd00:1::"], self.link_local, tag)
        for kind in kinds:
            self.wire.send(kind.packets)
        arrived = self.listener.names(tag)

        segments = list(packets.tcp_kinds(source4, source6, PBX4, PBX6, 20000 + self.round * 100))
        self.wire.discard()
        for kind in segments:
            self.wire.send(kind.packets)
        ports = {port for port, _ in self.wire.answers(SETTLE)}
        arrived |= {kind.name for kind in segments if kind.source_port in ports}
        return kinds + segments, arrived

    def check_open(self, who, source4, source6, nobodys):
        """All kinds that a listener can get arrive; nobodys: those from nobody's source, too."""
        kinds, arrived = self.knock(source4, source6)
        wanted = {kind.name for kind in kinds
                  if (kind.delivered and not kind.source_port or kind.answered)
                  and (nobodys or not kind.own_source)}
        self.assertEqual(wanted - arrived, set(), who + ": these should arrive")
        self.assertGreater(len(wanted), 60)

    def check_closed(self, source4, source6):
        kinds, arrived = self.knock(source4, source6)
        self.assertGreater(len(kinds), 100)
        self.assertEqual(arrived, set(), "a stranger's packets arrived")

    def check(self, state):
        with self.subTest(state):
            self.check_closed(ROGUE4, ROGUE6)
            self.check_open("phone", PHONE4, PHONE6, False)

    def test_without_table(self):
        """The control of them all: without a table each kind arrives."""
        self.check_open("rogue", ROGUE4, ROGUE6, True)

    def test_enforced(self):
        self.sync(LISTED)
        self.check("as installed")
        # Somebody's conntrack puts fragments together before the table sees them.
        self.net.pbx.nft("table inet other {\nchain input { type filter hook input priority 0;\n"
                         "ct state established accept\n}\n}\n")
        self.check("fragments put together first")

    def test_replies_accepted(self):
        self.sync(LISTED + "replies: accept\n")
        self.check("replies: accept")

    def flood(self, count, slowly=False):
        """Spoofed sources of both families, each once; slowly: so that each is noted."""
        datagram4 = packets.udp(ROGUE4, PBX4, b"flood")
        datagram6 = packets.ipv6("2001:db8:f::", PBX6, packets.udp(ROGUE6, PBX6, b"flood"))
        for number in range(count):
            source = "%d.%d.%d.%d" % (11 + (number >> 16), number >> 8 & 255, number & 255, 9)
            self.wire.send([packets.ipv4(source, PBX4, datagram4, ttl=2),
                            datagram6[:20] + struct.pack("!I", number) + datagram6[24:]])
            if slowly and number % 40 == 39:
                time.sleep(0.008)

    def test_rejected_set_full(self):
        """Neither a full set of rejected sources nor a spent log limit lets anything through."""
        self.sync(LISTED)
        sizes = {}
        for item in self.net.pbx.nft_json("list", "table", "inet", "sipfence"):
            if item.get("set", {}).get("name") in ("sip_rejected4", "sip_rejected6"):
                sizes[item["set"]["name"]] = item["set"]["size"]
        self.assertEqual(len(sizes), 2)
        self.flood(max(sizes.values()) + 4000, slowly=True)
        for name, size in sizes.items():
            self.assertEqual(len(self.net.pbx.elements(name)), size, name + " is not full")
        self.check("full")
        self.assertNotIn(ROGUE4, self.net.pbx.elements("sip_rejected4"))
        self.assertNotIn(ROGUE6, self.net.pbx.elements("sip_rejected6"))

    def test_flood(self):
        """What is too much to write its sources down is dropped and counted like the rest."""
        datagram = packets.udp(ROGUE4, PBX4, b"flood:v4", sum_it=False)
        count = 40000

        def dropped():
            return next(expression["counter"]["packets"] for item in self.net.pbx.nft_json(
                "list", "chain", "inet", "sipfence", "sip_reject") if "rule" in item
                        for expression in item["rule"]["expr"] if "counter" in expression)
        self.wire.send([packets.ipv4(
            ROGUE4, PBX4, packets.udp(ROGUE4, PBX4, b"open:v4", sum_it=False))])
        self.assertEqual(self.listener.names("open"), {"v4"})
        self.sync(LISTED)
        flood = [packets.ipv4("11.0.%d.%d" % (number >> 6 & 127, number & 63), PBX4, datagram)
                 for number in range(count)]
        begin = time.monotonic()
        self.wire.send(flood)
        seconds = time.monotonic() - begin
        self.assertLess(seconds, 2, "that was no flood")
        self.assertEqual(self.listener.names("flood"), set())
        self.assertEqual(dropped(), count)
        noted = sum(source["packets"] for source in self.net.pbx.elements("sip_rejected4").values())
        self.assertGreater(noted, 1000)
        self.assertLess(noted, 10000 + 10000 * seconds + 1)
        self.check_open("phone", PHONE4, PHONE6, False)

    def test_local_by_policy(self):
        """Addresses that are this machine's by a routing rule only, as in VRFs, are guarded too."""
        self.net.pbx.ip("rule add pref 10 to 10.88.0.1 lookup 77\n"
                        "route add local 10.88.0.1 dev lo table 77\n"
                        "route add local 10.89.0.0/24 dev lo\n"
                        "route add local fd88::1 dev lo table 77\n"
                        "route add local fd89::/64 dev lo\n")
        self.net.pbx.run(["ip", "-6", "rule", "add", "pref", "10", "to", "fd88::1", "lookup", "77"])
        targets = ("10.88.0.1", "10.89.0.7", "fd88::1", "fd89::7")

        def arriving(tag, source4, source6):
            for target in targets:
                source, build = (source6, packets.ipv6) if ":" in target else (source4, packets.ipv4)
                text = ("%s:%s" % (tag, target)).encode()
                self.wire.send([build(source, target, packets.udp(source, target, text))])
            return self.listener.names(tag)
        self.assertEqual(arriving("open", ROGUE4, ROGUE6), set(targets))
        self.sync(LISTED)
        self.assertEqual(arriving("rogue", ROGUE4, ROGUE6), set())
        self.assertEqual(arriving("phone", PHONE4, PHONE6), set(targets))


class Router(PacketCase):
    """The PBX is another machine, behind this one."""

    def setUp(self):
        super().setUp()
        self.net.router.ip("route add 192.168.1.0/24 via %s\nroute add fd00:1::/64 via %s\n" % (
            PBX4, PBX6))

    def test_dnat(self):
        """At raw the address is still this machine's: no `destinations` needed."""
        self.net.pbx.nft("table inet nat {\nchain prerouting {\n"
                         "type nat hook prerouting priority dstnat\n"
                         "iifname wan meta l4proto {tcp, udp} th dport {5060, 5070, 15060}"
                         " dnat ip to 192.168.1.50\n}\n}\n")
        listener = Listener(self.net.lan, 5060, 5070)
        home, rogue = self.net.home, self.net.rogue
        ways = ((home, PHONE4, PBX4, 5060), (rogue, ROGUE4, PBX4, 5060),
                (rogue, ROGUE4, PBX4, 5070), (rogue, ROGUE4, "192.168.1.50", 5060))
        self.assertEqual(self.exchange(listener, "open", *ways), [5, 5, 5, 5])
        self.assertTrue(self.connects(rogue, ROGUE4, PBX4, 5060))
        self.sync(LISTED)
        # Other ports, and SIP that is routed to somebody who is not ours to guard, stay as they are.
        self.assertEqual(self.exchange(listener, "closed", *ways), [5, 0, 5, 5])
        self.assertFalse(self.connects(rogue, ROGUE4, PBX4, 5060))
        self.assertTrue(self.connects(home, PHONE4, PBX4, 5060))
        self.assertTrue(self.connects(rogue, ROGUE4, PBX4, 5070))

    def test_destinations(self):
        pbx, lan, home, rogue = self.net.pbx, self.net.lan, self.net.home, self.net.rogue
        pbx.ip("address add 10.9.0.1/24 dev lan\naddress add fd09::1/64 dev lan nodad\n")
        lan.ip("address add 10.9.0.10/24 dev eth0\naddress add fd09::10/64 dev eth0 nodad\n")
        self.net.router.ip("route add 10.9.0.0/24 via %s\nroute add fd09::/64 via %s\n" % (PBX4, PBX6))
        listener = Listener(lan, 5060, 5070)
        own = Listener(pbx, 5060)
        wire = packets.Wire(self.net.router, "pbx0", pbx, "wan")
        self.addCleanup(wire.close)
        ways = ((home, PHONE4, "10.9.0.10", 5060), (home, PHONE6, "fd09::10", 5060),
                (rogue, ROGUE4, "10.9.0.10", 5070), (rogue, ROGUE6, "fd09::10", 5070),
                (rogue, ROGUE4, "192.168.1.50", 5060), (rogue, ROGUE6, "fd00:1::50", 5060),
                (rogue, ROGUE4, "10.9.0.10", 5060), (rogue, ROGUE6, "fd09::10", 5060))

        def kinds(tag, number, source4, source6):
            sent = packets.unicast_kinds(source4, source6, "10.9.0.10", "fd09::10", tag, number)
            for kind in sent:
                wire.send(kind.packets)
            return {kind.name for kind in sent if kind.delivered}, listener.names(tag)

        self.assertEqual(self.exchange(listener, "open", *ways), [5] * 8)
        wanted, arrived = kinds("without", 1000, ROGUE4, ROGUE6)
        # What a router takes as its own business: addressed options that it may not pass on.
        routed = wanted & arrived
        self.assertGreater(len(routed), 25, wanted - arrived)

        self.sync(LISTED + 'destinations: [10.9.0.0/24, "fd09::/64"]\n')
        self.assertEqual(self.exchange(listener, "closed", *ways), [5] * 6 + [0] * 2)
        self.assertEqual(kinds("rogue", 2000, ROGUE4, ROGUE6)[1], set())
        self.assertEqual(routed - kinds("phone", 3000, PHONE4, PHONE6)[1], set())
        self.assertFalse(self.connects(rogue, ROGUE4, "10.9.0.10", 5060))
        self.assertFalse(self.connects(rogue, ROGUE6, "fd09::10", 5060))
        self.assertTrue(self.connects(home, PHONE4, "10.9.0.10", 5060))
        # The router's own listener is guarded beside them.
        self.assertEqual(self.exchange(own, "own", (home, PHONE4, PBX4, 5060),
                                       (rogue, ROGUE4, PBX4, 5060)), [5, 0])


class Passing(PacketCase):
    """What the table must leave alone."""

    def test_other_ports(self):
        """RTP comes from anywhere."""
        ports = (10000, 15000, 20000, 5059, 5062)
        listener = Listener(self.net.pbx, 5060, *ports)
        self.sync(LISTED)
        ways = [(self.net.rogue, ROGUE4, PBX4, port) for port in ports] + \
            [(self.net.rogue, ROGUE6, PBX6, port) for port in ports]
        self.assertEqual(self.exchange(listener, "rtp", *ways), [5] * len(ways))
        self.assertEqual(self.exchange(listener, "sip", (self.net.rogue, ROGUE4, PBX4, 5060)), [0])
        self.assertTrue(self.connects(self.net.rogue, ROGUE4, PBX4, 10000))

    def test_loopback(self):
        """The machine itself reaches its PBX, at each of its addresses."""
        listener = Listener(self.net.pbx, 5060)
        self.sync(LISTED)
        pairs = (("127.0.0.1", "127.0.0.1"), ("::1", "::1"), (PBX4, PBX4), (PBX6, PBX6),
                 ("127.0.0.1", "127.0.0.9"), ("192.168.1.1", PBX4))
        ways = [(self.net.pbx, source, target, 5060) for source, target in pairs]
        self.assertEqual(self.exchange(listener, "own", *ways), [5] * len(ways))
        self.assertTrue(self.connects(self.net.pbx, "127.0.0.1", "127.0.0.1", 5060))
        self.assertEqual(self.exchange(listener, "rogue", (self.net.rogue, ROGUE4, PBX4, 5060)), [0])

    def test_monitor(self):
        """Monitoring drops nothing, and counts who would have been dropped."""
        listener = Listener(self.net.pbx, 5060)
        ways = ((self.net.rogue, ROGUE4, PBX4, 5060), (self.net.rogue, ROGUE6, PBX6, 5060),
                (self.net.home, PHONE4, PBX4, 5060))
        self.sync(LISTED + "mode: monitor\n")
        self.assertEqual(self.exchange(listener, "monitor", *ways), [5, 5, 5])
        for name, source in (("sip_rejected4", ROGUE4), ("sip_rejected6", ROGUE6)):
            rejected = self.net.pbx.elements(name)
            self.assertEqual(list(rejected), [source])
            # The packet that makes an element is not in its counter on every kernel.
            self.assertGreaterEqual(rejected[source]["packets"], 4)
        self.sync(LISTED + "mode: enforce\n")
        self.assertEqual(self.exchange(listener, "enforce", *ways), [0, 0, 5])


class Replies(PacketCase):
    """Flows that the PBX opened itself."""

    def say(self, sender, receiver, target):
        """Does one datagram from sender's socket arrive at receiver's?"""
        token = os.urandom(8)
        sender.sendto(token, target)
        receiver.settimeout(SETTLE)
        try:
            while True:
                if receiver.recvfrom(2048)[0] == token:
                    return True
        except socket.timeout:
            return False

    def sockets(self, *places):
        found = [host.udp(address, port) for host, address, port in places]
        for sock in found:
            self.addCleanup(sock.close)
        return found

    def test_trunk(self):
        trunk_at, pbx_at = (ROGUE4, 5060), (PBX4, 5060)
        pbx, trunk, same, other = self.sockets(
            (self.net.pbx, *pbx_at), (self.net.rogue, *trunk_at), (self.net.rogue, ROGUE4, 5062),
            (self.net.rogue, "198.51.100.67", 5060))
        self.sync(LISTED + "replies: accept\n")
        self.assertFalse(self.say(trunk, pbx, pbx_at), "nobody spoke to it")
        self.assertTrue(self.say(pbx, trunk, trunk_at))
        self.assertTrue(self.say(trunk, pbx, pbx_at), "the reply")
        self.assertTrue(self.say(trunk, pbx, pbx_at), "and the next")
        self.assertFalse(self.say(same, pbx, pbx_at), "another port is another flow")
        self.assertFalse(self.say(other, pbx, pbx_at), "another address too")
        self.sync(LISTED + "replies: drop\n")
        self.assertTrue(self.say(pbx, trunk, trunk_at))
        self.assertFalse(self.say(trunk, pbx, pbx_at), "replies: drop")

    def test_registered_through_two_flows(self):
        """One that it opened, one that the PBX opened to it: whichever the kernel lists first."""
        pbx_at, contact = (PBX4, 5060), (ROGUE4, 5060)
        pbx, by_contact = self.sockets((self.net.pbx, *pbx_at), (self.net.rogue, *contact))
        # Somebody's table makes the kernel track connections.
        self.net.pbx.nft("table inet other {\nchain in {\ntype filter hook input priority 0;\n"
                         "ct state established accept\n}\n}\n")
        (opened,) = self.sockets((self.net.rogue, ROGUE4, 4000))
        self.assertTrue(self.say(opened, pbx, pbx_at))
        # Many of the PBX's, so that one of them is likely to stand first.
        for port in range(4001, 4012):
            (contacted,) = self.sockets((self.net.rogue, ROGUE4, port))
            self.assertTrue(self.say(pbx, contacted, (ROGUE4, port)))
        self.assertTrue(self.say(pbx, by_contact, contact))
        self.sync(LISTED + "replies: accept\n")
        self.assertIn(ROGUE4, self.net.pbx.elements("sip_revoked4"))
        self.assertTrue(self.say(pbx, by_contact, contact))
        self.assertFalse(self.say(by_contact, pbx, pbx_at))

    def test_trunk_let_in_later(self):
        """Whose replies were dropped is let in by `replies: accept`: that is what it is for."""
        trunk_at, pbx_at = (ROGUE4, 5060), (PBX4, 5060)
        pbx, trunk = self.sockets((self.net.pbx, *pbx_at), (self.net.rogue, *trunk_at))
        self.sync(LISTED)
        self.assertTrue(self.say(pbx, trunk, trunk_at))
        self.assertFalse(self.say(trunk, pbx, pbx_at), "replies: drop")
        self.sync(LISTED + "replies: accept\n")
        self.assertTrue(self.say(pbx, trunk, trunk_at))
        self.assertTrue(self.say(trunk, pbx, pbx_at), "replies: accept")

    def revoked(self, address):
        for item in self.net.pbx.nft_json("list", "set", "inet", "sipfence", "sip_revoked4"):
            for element in item.get("set", {}).get("elem", []):
                if element["elem"]["val"] == address:
                    return element["elem"]["expires"]
        return None

    def test_revoked(self):
        """The PBX's own qualify keeps the flow open; the address is out all the same."""
        names = self.names(phone=PHONE4)
        config = "extensions: {21: phone.example}\nreplies: accept\n" + names.resolver()
        pbx_at, old_at, new_at = (PBX4, 5060), (PHONE4, 5060), ("203.0.113.77", 5060)
        pbx, old, new = self.sockets(
            (self.net.pbx, *pbx_at), (self.net.home, *old_at), (self.net.home, *new_at))
        self.sync(config)
        self.assertTrue(self.say(pbx, old, old_at), "the PBX opens the flow")
        self.assertTrue(self.say(old, pbx, pbx_at))
        self.assertFalse(self.say(new, pbx, pbx_at))

        names.addresses["phone"] = new_at[0]
        self.sync()
        self.assertTrue(self.say(new, pbx, pbx_at))
        self.assertIsNotNone(self.revoked(PHONE4))
        self.assertTrue(self.say(pbx, old, old_at), "the qualify goes out")
        self.assertFalse(self.say(old, pbx, pbx_at), "in the open flow")

        self.sync(config + "local-subnets: [10.1.0.0/16]\n")
        self.assertIsNotNone(self.revoked(PHONE4), "after the swap")
        self.assertTrue(self.say(pbx, old, old_at))
        self.assertFalse(self.say(old, pbx, pbx_at), "after the swap")

        # Its time runs out only when it is silent.
        self.assertTrue(wait_until(lambda: self.revoked(PHONE4) <= 7200 - 2, 5), "2 h, and running")
        self.assertFalse(self.say(old, pbx, pbx_at))
        self.assertGreaterEqual(self.revoked(PHONE4), 7200 - 1, "renewed")

        names.addresses["phone"] = PHONE4
        self.sync()
        self.assertIsNone(self.revoked(PHONE4), "listed again")
        self.assertTrue(self.say(old, pbx, pbx_at))
        self.assertFalse(self.say(new, pbx, pbx_at))

    def forget_flows(self):
        """As after two quiet minutes: the PBX's next qualify opens a flow of its own."""
        if not shutil.which("conntrack"):
            self.skipTest("conntrack is missing")
        self.net.pbx.run(["conntrack", "-F"])

    def check_registered(self, config):
        """A rogue that talked to the PBX before `config` is not kept in by the PBX's qualify."""
        pbx_at, rogue_at = (PBX4, 5060), (ROGUE4, 5060)
        pbx, rogue = self.sockets((self.net.pbx, *pbx_at), (self.net.rogue, *rogue_at))
        self.assertTrue(self.say(rogue, pbx, pbx_at))
        self.assertTrue(self.say(pbx, rogue, rogue_at))
        self.sync(config)
        self.assertFalse(self.say(rogue, pbx, pbx_at), "in its own flow")
        self.forget_flows()
        self.assertTrue(self.say(pbx, rogue, rogue_at), "the qualify goes out")
        self.assertFalse(self.say(rogue, pbx, pbx_at), "no answer comes in")

    def test_registered_before_installation(self):
        self.net.pbx.nft("table inet other {\nchain input { type filter hook input priority 0;\n"
                         "ct state established accept\n}\n}\n")
        self.check_registered(LISTED + "replies: accept\n")

    def test_registered_while_monitoring(self):
        self.sync(LISTED + "replies: accept\nmode: monitor\n")
        self.check_registered(LISTED + "replies: accept\nmode: enforce\n")

    def test_open_connection(self):
        """An established TCP connection ends with its address."""
        names = self.names(phone=PHONE4)
        self.sync("extensions: {21: phone.example}\n" + names.resolver())
        with self.net.pbx.inside():
            server = socket.create_server((PBX4, 5061))
        with self.net.home.inside():
            phone = socket.socket()
        with server, phone:
            server.settimeout(2)
            phone.bind((PHONE4, 0))
            phone.settimeout(2)
            phone.connect((PBX4, 5061))
            connection, _ = server.accept()
            with connection:
                connection.settimeout(SETTLE)
                phone.send(b"in")
                self.assertEqual(connection.recv(8), b"in")
                names.addresses["phone"] = "203.0.113.77"
                self.sync()
                phone.send(b"out")
                with self.assertRaises(socket.timeout):
                    connection.recv(8)


if __name__ == "__main__":
    main()
