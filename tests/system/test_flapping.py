#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A name whose address changes too often is reported, once, and taken all the same."""
import re

from harness import Case, main, sanitized, wait_until

NAME = "home21.example"
PATIENCE = 3 if sanitized() else 1


def address(number):
    return "203.0.113.%d" % (10 + number)


class Base(Case):
    shared_net = True
    needs = ("knotd", "knsupdate")

    def setUp(self):
        super().setUp()
        self.dns = self.knot(records="home21 1 A %s\nhome22 1 A 203.0.113.200\n" % address(0))
        self.configure()

    def configure(self, more=""):
        self.fence.config("extensions: {21: home21.example, 22: home22.example}\n"
                          "refresh: {min: 1s, max: 1s}\n" + self.dns.resolver() + more)

    def hosts(self):
        return self.net.pbx.elements("sip_hosts4") if self.net.pbx.has_table() else {}

    def move(self, number):
        self.dns.move(NAME, address(number), ttl=1)

    def follows(self, number):
        self.assertTrue(wait_until(lambda: address(number) in self.hosts(), 6 * PATIENCE),
                        "%s is not let in" % address(number))

    def of_status(self, name=NAME):
        result = self.fence.run("status", "--json")
        names = result.json()["names"]
        return next(item for item in names if item["name"] == name)


class Daemon(Base):
    def test_thirteenth_change_is_said_once(self):
        daemon = self.daemon()
        self.follows(0)
        for number in range(1, 13):
            self.move(number)
            self.follows(number)
        self.assertEqual(daemon.events("flapping"), [], "twelve an hour are allowed")
        self.assertEqual((self.of_status()["flapping"], self.of_status()["changes_within_hour"]), (False, 12))
        self.move(13)
        event = daemon.wait_event("flapping", 6 * PATIENCE, state="begun")
        self.assertEqual((event["extension"], event["host"], event["changes"]), ("21", NAME, "13"))
        self.follows(13)
        self.move(14)
        self.follows(14)
        self.assertEqual(len(daemon.events("flapping")), 1, "it is said once")
        self.assertEqual((self.of_status()["flapping"], self.of_status()["state"]), (True, "fresh"))
        self.assertFalse(self.of_status("home22.example")["flapping"])
        table = self.fence.run("status").out.partition("WHO ")[2].splitlines()
        self.assertIn("extension 21", table[1], "problems stand first")
        self.assertIn("flapping", table[2])
        self.assertIn("flapping", self.fence.run("why", address(14)).out)
        self.assertIn("flapping", self.fence.run("why", "21").out)
        self.assertNotIn("flapping", self.fence.run("why", "22").out)
        self.assertCode(self.fence.run("refresh"), 0)

    def test_it_outlives_restarts_and_kills(self):
        self.configure("limits: {changes-per-hour: 3}\n")
        daemon = self.daemon()
        self.follows(0)
        for number in (1, 2):
            self.move(number)
            self.follows(number)
        daemon.stop()
        self.move(3)
        daemon = self.daemon()
        self.follows(3)
        daemon.kill()
        daemon = self.daemon()
        self.assertEqual(daemon.events("flapping"), [])
        self.move(4)
        daemon.wait_event("flapping", 6 * PATIENCE, state="begun")
        self.follows(4)
        daemon.kill()
        daemon = self.daemon()
        self.assertTrue(self.of_status()["flapping"])
        self.move(5)
        self.follows(5)
        self.assertEqual(daemon.events("flapping"), [], "it was said before the restart")
        daemon.stop()
        self.assertTrue(self.of_status()["flapping"], "from the state file")


class Cron(Base):
    def sync(self, code=0, *more):
        return self.assertCode(self.fence.run("sync", "--yes", *more), code)

    def test_each_run_counts_and_one_says_it(self):
        self.configure("limits: {changes-per-hour: 4}\n")
        self.sync()
        for number in range(1, 5):
            self.move(number)
            self.assertNotIn("flapping", self.sync().err)
        self.move(5)
        result = self.sync()
        self.assertEqual(len(re.findall("flapping", result.err)), 1, result)
        self.assertRegex(result.err, "extension 21 home21.example: flapping: .* more than 4 times")
        self.assertIn(address(5), self.hosts(), "its address is taken all the same")
        self.assertNotIn("flapping", self.sync().err, "a mail from cron is for news")
        self.move(6)
        self.assertNotIn("flapping", self.sync().err)
        self.assertIn("flapping", self.fence.run("sync", "--diff").err, "who asks is told")
        host = next(item for item in self.sync(0, "--json").json()["hosts"] if item["name"] == NAME)
        self.assertTrue(host["flapping"])

    def test_former_state_without_changes_loads(self):
        self.sync()
        self.assertNotIn(b"\nchanges ", self.fence.saved()["state"])
        self.move(1)
        self.sync()
        self.assertIn(b"\nchanges 0 ", self.fence.saved()["state"])


if __name__ == "__main__":
    main(2)
