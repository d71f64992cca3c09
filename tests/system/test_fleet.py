#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""examples/fleet as it stands there: one primary, three edges, and what goes wrong between them."""
import os
import shutil
import subprocess
import tempfile
import time
import unittest

import harness
from fleet import FILES, KEYS, PRIMARY, WRONG, ZONE, Fleet, edge_address, example, question
from harness import end, main, sanitized, wait_until

HOME21, HOME22 = "home21." + ZONE, "home22." + ZONE
FIRST, OTHERS = "203.0.113.21", "203.0.113.22"
# Knot sends NOTIFY a second after an update; the rest is ours.
IN_ALL_KERNELS = 6.0 if sanitized() else 2.0
SERVFAIL = 2
DENIED = (5, 9)     # REFUSED, NOTAUTH


class FleetCase(unittest.TestCase):
    longMessage = True

    @classmethod
    def setUpClass(cls):
        for program in ("knotd", "knsupdate", "kdig", "nft", "ip"):
            if not shutil.which(program, path=harness.PATH):
                raise unittest.SkipTest(program + " is missing")
        if not os.access(harness.SIPFENCE, os.X_OK):
            raise unittest.SkipTest(harness.SIPFENCE + " is not built")

    @classmethod
    def fleet_of(cls, **more):
        directory = tempfile.mkdtemp(prefix="sipfence-test-")
        cls.addClassCleanup(shutil.rmtree, directory, ignore_errors=True)
        os.chmod(directory, 0o755)
        fleet = Fleet(directory, **more)
        cls.addClassCleanup(fleet.close)
        return fleet

    def assertAll(self, fleet, addresses, seconds, message=None):
        """All kernels have exactly these within that time; returns how long it took."""
        start = time.monotonic()
        wait_until(lambda: all(edge.hosts4() == sorted(addresses) for edge in fleet.edges), seconds)
        taken = time.monotonic() - start
        for edge in fleet.edges:
            self.assertEqual(edge.hosts4(), sorted(addresses), "edge %d: %s%s%s" % (
                edge.number, message or "", edge.follow_log(), edge.knot.log()[-1500:]))
        return taken

    def in_kernels(self, fleet, addresses, since):
        """They are in all kernels in time, counted from then."""
        self.assertAll(fleet, addresses, 15)
        self.assertLess(time.monotonic() - since, IN_ALL_KERNELS)


class Works(FleetCase):
    DENIED = "REFUSED|NOTAUTH|BADKEY|BADSIG"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fleet = cls.fleet_of(edges=3)
        cls.fleet.start()
        cls.number = 100
        cls.fleet.expect(lambda: all(edge.hosts4() == [FIRST, OTHERS] for edge in cls.fleet.edges), 5,
                         "the first answers")

    def setUp(self):
        """Phone 21 was somewhere else before each test, and is `self.new` after its move."""
        type(self).number += 1
        self.new = "203.0.113.%d" % self.number

    def now(self):
        return self.fleet.primary.ask(HOME21), self.fleet.primary.ask(HOME22)

    def denied(self, lines, **more):
        before = self.now()
        code, said = self.fleet.update(lines, check=False, **more)
        self.assertNotEqual(code, 0, said)
        self.assertRegex(said, self.DENIED)
        self.assertEqual(self.now(), before)

    def test_update_is_in_all_kernels_within_two_seconds(self):
        # Its records live for a minute: that they are asked at once is follow-zone's doing.
        start = time.monotonic()
        self.fleet.move(HOME21, self.new)
        self.in_kernels(self.fleet, [self.new, OTHERS], start)

    def test_names_that_are_not_ours_keep_nobody_waiting(self):
        start = time.monotonic()
        self.fleet.update("add aaa.%s. 60 A 203.0.113.1\ndel %s. A\nadd %s. 60 A %s\n"
                          "add *.%s. 60 A 203.0.113.2\nadd -x-.%s. 60 A 203.0.113.3"
                          % (ZONE, HOME21, HOME21, self.new, ZONE, ZONE))
        self.in_kernels(self.fleet, [self.new, OTHERS], start)

    def test_phone_sets_its_own_name_alone(self):
        self.fleet.move(HOME21, self.new, key=HOME21)
        self.assertAll(self.fleet, [self.new, OTHERS], 5)
        self.denied("del %s. A\nadd %s. 60 A 198.51.100.66" % (HOME22, HOME22), key=HOME21)
        self.denied("add %s. 60 TXT mine" % HOME21, key=HOME21)

    def test_wrong_key_changes_nothing(self):
        lines = "del %s. A\nadd %s. 60 A 198.51.100.66" % (HOME21, HOME21)
        self.denied(lines, key="gateway", secret=WRONG)
        self.denied(lines, key=HOME21, secret=WRONG)
        # The edges' key is for the zone's transfer.
        self.denied(lines, key="edges")

    def test_strangers_are_told_nothing(self):
        def asked(host, server):
            with host.udp(timeout=1) as sock:
                sock.sendto(question(HOME21), (server, 53))
                return sock.recv(512)[3] & 15
        edge, stranger = self.fleet.edges[0], self.fleet.host("switch")
        self.assertEqual(asked(edge.host, PRIMARY), 0)
        self.assertIn(asked(self.fleet.edges[1].host, edge_address(1)), DENIED)
        stranger.ip("address add 192.0.2.200/24 dev br0")
        self.fleet.primary.host.ip("address add 198.51.100.1/24 dev eth0")
        stranger.ip("address add 198.51.100.66/24 dev br0\n"
                    "route replace 192.0.2.53/32 dev br0 src 198.51.100.66")
        self.assertIn(asked(stranger, PRIMARY), DENIED)
        done = stranger.run(["kdig", "@" + PRIMARY, ZONE, "AXFR", "+retry=0"], check=False)
        self.assertRegex(done.stdout + done.stderr, "NOTAUTH|REFUSED")

    def test_dead_primary_is_not_missed(self):
        def restart():
            self.fleet.primary.start()
            self.fleet.expect(lambda: self.fleet.primary.ask(HOME22) == (0, bytes([203, 0, 113, 22])),
                              10, self.fleet.primary.log)
        before = self.fleet.edges[0].hosts4()
        self.fleet.primary.stop()
        self.addCleanup(restart)
        for edge in self.fleet.edges:
            result = edge.fence.run("refresh")
            self.assertEqual(result.code, 0, result)
            self.assertEqual(edge.hosts4(), before)
            self.assertEqual(edge.state(HOME21), "fresh")

    def test_unbound_before_the_secondary_keeps_nothing(self):
        if not shutil.which("unbound", path=harness.PATH):
            self.skipTest("unbound is missing")
        edge = self.fleet.edges[0]
        path = os.path.join(edge.directory, "unbound.conf")
        with open(path, "w") as file:
            file.write(example("edge/unbound.conf") + 'server:\n\tchroot: ""\n\tusername: ""\n'
                       '\tpidfile: ""\n\tuse-syslog: no\n\tnum-threads: 1\n')
        edge.host.run(["unbound-checkconf", path])
        with open(path + ".log", "wb") as log:
            child = edge.host.popen(["unbound", "-d", "-c", path], stdout=log, stderr=log)
        self.addCleanup(end, child)

        def says(address):
            return edge.knot.ask(HOME21, port=5301) == (0, bytes(map(int, address.split("."))))
        self.fleet.expect(lambda: says(edge.hosts4()[0]), 5, "unbound does not answer")
        self.fleet.move(HOME21, self.new)
        self.fleet.expect(lambda: edge.knot.has(HOME21, self.new), 5, edge.knot.log)
        self.assertTrue(says(self.new), "unbound answers from its cache")
        self.assertAll(self.fleet, [self.new, OTHERS], 5)

    def test_follow_zone_that_was_away_has_missed_nothing(self):
        before = self.fleet.edges[0].hosts4()
        for edge in self.fleet.edges:
            end(edge.follower)
        self.fleet.move(HOME21, self.new)
        self.fleet.expect(lambda: all(edge.knot.has(HOME21, self.new)
                                      for edge in self.fleet.edges), 5, "the secondaries")
        time.sleep(0.3)
        # Nobody asks before the minute is over.
        self.assertAll(self.fleet, before, 0)
        for edge in self.fleet.edges:
            edge.start_follower()
        self.assertAll(self.fleet, [self.new, OTHERS], 5)


class Expires(FleetCase):
    """The secondary has not heard of its primary for too long."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fleet = cls.fleet_of(edges=1, soa="2 1 3 1")
        cls.fleet.start()

    def test_expired_zone_is_held(self):
        edge = self.fleet.edges[0]
        self.assertAll(self.fleet, [FIRST, OTHERS], 5)
        self.fleet.primary.stop()
        self.fleet.expect(lambda: edge.knot.ask(HOME21) == (SERVFAIL, b""), 10, edge.knot.log)
        result = edge.fence.run("refresh")
        self.assertEqual(result.code, 3, result)
        self.assertEqual(edge.hosts4(), [FIRST, OTHERS])
        self.assertEqual(edge.state(HOME21), "held")
        self.fleet.expect(lambda: "cannot be followed" in edge.follow_log(), 5, edge.follow_log)
        self.fleet.primary.start()
        self.fleet.expect(lambda: self.fleet.primary.has(HOME21, FIRST), 10, self.fleet.primary.log)
        self.fleet.move(HOME21, "203.0.113.94")
        self.assertAll(self.fleet, ["203.0.113.94", OTHERS], 10)
        self.assertEqual(edge.state(HOME21), "fresh")
        self.assertIn("is followed again", edge.follow_log())


class WrongKey(FleetCase):
    """An edge with another key than the primary's."""

    def test_it_gets_no_zone(self):
        fleet = self.fleet_of(edges=1, keys={"edges": WRONG})
        fleet.primary.start()
        fleet.expect(lambda: fleet.primary.has(HOME21, FIRST), 10, fleet.primary.log)
        edge = fleet.edges[0]
        edge.knot.start()
        fleet.expect(lambda: edge.knot.ask(HOME21) == (SERVFAIL, b""), 5, edge.knot.log)
        fleet.expect(lambda: "failed to verify TSIG" in edge.knot.log(), 5, edge.knot.log)
        self.assertEqual(edge.knot.ask(HOME21), (SERVFAIL, b""), edge.knot.log())
        edge.knot.write_keys({"edges": KEYS["edges"]})
        edge.knot.control("reload")
        edge.knot.control("zone-refresh", ZONE)
        fleet.expect(lambda: edge.knot.has(HOME21, FIRST), 5, edge.knot.log)


class Files(FleetCase):
    """What the daemons of this test do not read."""

    def test_program_says_how_it_is_called(self):
        program = os.path.join(FILES, "edge/follow-zone")
        for arguments, code in (((), 2), (("-h",), 0), (("--server", "localhost", ZONE), 2),
                                (("no zone",), 2)):
            done = subprocess.run([harness.PYTHON, program, *arguments], capture_output=True,
                                  text=True, timeout=10, check=False)
            self.assertEqual(done.returncode, code, done)
            self.assertIn("usage: follow-zone", done.stdout + done.stderr)


if __name__ == "__main__":
    main(at_once=2)
