# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the tests of the daemon share: one network for a class, a DNS server that does as it is told, and
a phone and a rogue that knock all the while.

    class Follows(DaemonCase):
        def test_one(self):
            self.configure()                     # extension 21 is home21.example, asked each second
            self.points(HOME)                    # what DNS says of that name
            daemon = self.daemon()               # see harness.Daemon
            self.assertAllowed(HOME)             # the kernel's set, within a few seconds
            with self.knocking() as probes:      # a datagram each millisecond from both
                ...
            probes.check(self)                   # nothing of the phone's lost, nothing of the rogue's in
"""
import os
import time

from harness import Case, end, reaches, sanitized, wait_until
from scripted_dns import answer, rcode, silence
from test_packets import PROBE, Listener, Sender

PBX, PBX6 = "192.0.2.10", "2001:db8:1::10"
HOME, HOME2, ROGUE, LAN = "203.0.113.10", "203.0.113.77", "198.51.100.66", "192.168.1.50"
NAME = "home21.example"
QUICK = "refresh: {min: 1s, max: 2s}\n"
# A sanitizer makes all of it several times slower.
PATIENCE = 3 if sanitized() else 1


class Probes:
    """Two senders and a listener; what was sent and what arrived, once it is left."""

    def __init__(self, net, phone=HOME, microseconds=1000):
        self.net, self.source, self.microseconds = net, phone, microseconds

    def __enter__(self):
        self.listener = Listener(self.net.pbx, 5060)
        self.phone = Sender(self.net.home, self.source, PBX, "phone", self.microseconds)
        self.rogue = Sender(self.net.rogue, ROGUE, PBX, "rogue", self.microseconds)
        time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.sent = {"phone": self.phone.stop(), "rogue": self.rogue.stop()}
        counts = self.listener.counts()
        self.arrived = {name: counts.get(name, 0) for name in self.sent}
        end(self.listener.child)

    def check(self, case, at_least=500):
        case.assertGreater(self.sent["phone"], at_least, "the phone hardly sent")
        case.assertGreater(self.sent["rogue"], at_least, "the rogue hardly sent")
        case.assertEqual(self.arrived["phone"], self.sent["phone"], "the phone lost packets")
        case.assertEqual(self.arrived["rogue"], 0, "the rogue got in")


class DaemonCase(Case):
    shared_net = True

    def setUp(self):
        if not os.access(PROBE, os.X_OK):
            self.skipTest(PROBE + " is not built")
        super().setUp()
        self.pbx = self.net.pbx
        self.server = self.dns()

    # Config and DNS

    def configure(self, more="", extensions="21: " + NAME, timeout="300ms", resolver=None):
        self.fence.config("extensions: {%s}\nlocal-subnets: [192.168.1.0/24]\n%s%s%s" % (
            extensions, self.server.resolver(timeout) if resolver is None else resolver, QUICK, more))

    def points(self, *addresses, name=NAME, ttl=1):
        self.server.set(name, "A", answer(*addresses, ttl=ttl))

    def dns_is(self, behaviour):
        """The same for all questions, until points() is called again."""
        self.server.clear()
        self.server.default = behaviour

    def dns_silent(self):
        self.dns_is(silence())

    def dns_broken(self):
        self.dns_is(rcode("SERVFAIL"))

    # What passes

    def hosts4(self):
        """The addresses of sip_hosts4; None without a table."""
        try:
            return sorted(self.pbx.elements("sip_hosts4"))
        except RuntimeError:
            return None

    def assertAllowed(self, *addresses, seconds=5.0, message=None):
        """sip_hosts4 holds exactly these within that time; returns how long it took."""
        start = time.monotonic()
        wait_until(lambda: self.hosts4() == sorted(addresses), seconds * PATIENCE)
        self.assertEqual(self.hosts4(), sorted(addresses), message)
        return time.monotonic() - start

    def passes(self, source, port=5060):
        sender = {"203": self.net.home, "198": self.net.rogue, "192": self.net.lan}[source[:3]]
        return reaches(sender, source, self.pbx, "192.168.1.1" if source == LAN else PBX, port)

    def assertPasses(self, *sources):
        for source in sources:
            self.assertTrue(self.passes(source), source + " is not let in")

    def assertShut(self, *sources):
        for source in sources:
            self.assertFalse(self.passes(source), source + " is let in")

    def knocking(self, **more):
        return Probes(self.net, **more)
