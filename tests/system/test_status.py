#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What people and scripts see of the daemon: status, refresh, reload, why, remove; with the real daemon,
from the state file without one, and against one that answers nonsense.
"""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

from daemon_case import HOME, HOME2, LAN, NAME, PATIENCE, ROGUE, DaemonCase
from harness import NO_CAPS, Case, main, privileged, wait_until
from scripted_dns import answer as scripted, delay, nodata, rcode, srv

TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
CONTROL = "[\x00-\x08\x0b-\x1f\x7f-\x9f]"


def on_terminal(fence, columns, *arguments, env=None, seconds=20):
    """Runs with a terminal of that width as stdout; returns (exit code, what it showed)."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    child = fence.host.popen(fence.argv(*arguments), stdout=follower, stderr=follower,
                             env=dict(fence.environment, **(env or {})))
    os.close(follower)
    shown, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.05)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        elif child.poll() is not None:
            break
    os.close(leader)
    return child.wait(5), shown.decode(errors="replace").replace("\r\n", "\n")


def row(text, *words):
    """The only line of the text that has all the words."""
    found = [line for line in text.splitlines() if all(word in line for word in words)]
    if len(found) != 1:
        raise AssertionError("%d lines with %s in\n%s" % (len(found), words, text))
    return found[0]


class Base(DaemonCase):
    EXTENSIONS = ("21: home21.example, 22: [alice.example, 203.0.113.99], 23: local, 9: bad.example, "
                  "100: gone.example, 30: dead.example")
    MORE = ("peers: {trunk: trunk.example, carrier: [198.51.100.0/28],\n"
            "  anna: {hosts: [home21.example], services: [web]}}\n"
            "services: {web: {tcp: [443]}}\n")

    def names(self):
        self.points(HOME)
        self.points("203.0.113.20", name="alice.example")
        self.points("10.0.0.3", name="bad.example")
        self.points("198.51.100.7", "198.51.100.8", "198.51.100.9", name="trunk.example")
        self.server.set("gone.example", "A", rcode("NXDOMAIN"))
        self.server.set("gone.example", "AAAA", rcode("NXDOMAIN"))
        self.server.set("dead.example", "A", rcode("SERVFAIL"))
        self.server.set("dead.example", "AAAA", rcode("SERVFAIL"))

    def settled(self, daemon, count=7, seconds=5):
        """Every name has had its first outcome."""
        def done():
            status = daemon.status()
            return len(status["names"]) == count and all(
                name[kind]["last"] != "never" for name in status["names"] for kind in ("A", "AAAA"))
        self.assertTrue(wait_until(done, seconds * PATIENCE, 0.1), daemon)

    def mixed(self, more=""):
        """A daemon with names of every kind."""
        self.names()
        self.configure(self.MORE + more, self.EXTENSIONS)
        daemon = self.daemon()
        self.settled(daemon)
        return daemon

    def good(self):
        """One with a single name, which is fresh."""
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.settled(daemon, 1)
        return daemon


class Status(Base):
    def test_table(self):
        self.mixed()
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertEqual(result.err, "")
        self.assertRegex(result.out, r"^running since \d{4}-.*, table inet sipfence in force, ")
        self.assertRegex(result.out, r"(?m)^7 names: 4 fresh, 1 gone, 1 refused, 1 never answered; 3 fixed")
        line = row(result.out, "extension 21", NAME)
        self.assertRegex(line, r"%s +203\.0\.113\.10 +fresh +\d+ s +(\d+ s|now) +0 +-$" % NAME)
        self.assertIn(HOME, row(result.out, "peer anna"))
        self.assertIn("198.51.100.7, 198.51.100.8, 198.51.100.9", row(result.out, "peer trunk"))
        self.assertRegex(row(result.out, "peer carrier"), r"198\.51\.100\.0/28 +fixed +0 +-$")
        self.assertRegex(row(result.out, "203.0.113.99"), r"^extension 22 +203\.0\.113\.99 +fixed +0 +-$")
        self.assertRegex(row(result.out, "extension 23"), r"local subnets +fixed$")
        self.assertRegex(row(result.out, "192.168.1.0/24"), r"^local subnets +192\.168\.1\.0/24 +fixed +0 +-$")
        self.assertNotIn("\x1b", result.out)

    def test_last_packet(self):
        daemon = self.good()
        self.assertTrue(wait_until(lambda: "counted" in daemon.status()["names"][0], 5 * PATIENCE, 0.1))
        self.assertPasses(HOME)
        line = row(self.fence.run("status").out, "extension 21")
        self.assertRegex(line, r" [1-9]\d* +<\d+ s$")
        last = self.fence.run("status", "--json").json()["names"][0]["last_packet"]
        self.assertRegex(last["after"], TIME)
        self.assertIsNone(last["before"])

    def test_kept_out_and_listed_since(self):
        daemon = self.good()
        self.assertShut(HOME2)
        self.points(HOME2)
        self.assertCode(self.fence.run("refresh"), 0)
        self.assertAllowed(HOME2)
        out = self.fence.run("status").out
        self.assertRegex(out, r"(?m)^%s .*\n    it is in the kernel's set now, and may pass$" % re.escape(HOME2))
        self.assertTrue(self.fence.run("status", "--json").json()["traffic"]["kept_out"][0]["listed"], daemon)

    def test_problems_stand_first_and_say_why(self):
        self.mixed()
        lines = self.fence.run("status").out.splitlines()
        table = lines[next(i for i, line in enumerate(lines) if line.startswith("WHO")):]
        owners = [re.match(r"(extension|peer) (\S+)|local", line) for line in table[1:]]
        self.assertEqual([match.group(2) for match in owners if match],
                         ["9", "30", "100", "21", "22", "22", "23", "anna", "carrier", "trunk", None])
        self.assertRegex(table[2], r"^    the A answer holds 10\.0\.0\.3: private.*; it has no address now$")
        self.assertRegex(table[4], r"^    A could not be asked: the server failed \(SERVFAIL\)")
        self.assertRegex(table[6], r"^    DNS says that it has no address \(no such name\)$")

    def test_all_is_well(self):
        self.good()
        result = self.assertCode(self.fence.run("status"), 0)
        self.assertRegex(result.out, r"(?m)^1 name: 1 fresh; 1 fixed")

    def test_held_addresses_and_a_dead_dns(self):
        daemon = self.good()
        self.dns_broken()
        daemon.wait_event("state", 10, state="held")
        wait_until(lambda: not daemon.status()["dns"]["alive"], 10)
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertIn("DNS answers no question now", result.out)
        self.assertRegex(row(result.out, "extension 21"), HOME.replace(".", r"\.") + " +held")
        self.assertRegex(result.out, r"(?m)^    A could not be asked: .*SERVFAIL.*; the addresses known "
                         r"before stay until \d{4}-")

    def test_quiet_and_verbose(self):
        self.mixed()
        result = self.assertCode(self.fence.run("-q", "status"), 3)
        self.assertNotIn("fresh", result.out)
        self.assertNotIn("running", result.out)
        self.assertIn("gone.example", result.out)
        result = self.assertCode(self.fence.run("-v", "status"), 3)
        self.assertRegex(result.out, r"(?m)^DNS: \d+ questions asked, 0 without an answer in time$")
        self.assertRegex(result.out, r"(?m)^elements: 9; ")

    def test_quiet_about_what_is_well(self):
        self.good()
        result = self.assertCode(self.fence.run("-q", "status"), 0)
        self.assertEqual(result.out + result.err, "")

    def test_monitor(self):
        self.names()
        self.configure(self.MORE + "mode: monitor\n", self.EXTENSIONS)
        self.daemon()
        self.assertRegex(self.fence.run("status").out, r"(?m)^mode monitor: nobody is dropped$")

    def test_a_refused_config(self):
        """What is in force is not what is on the disk: until it is, that is a problem."""
        self.good()
        self.assertIsNone(self.fence.run("status", "--json").json()["refused"])
        with open(self.fence.path) as file:
            good = file.read()
        self.fence.config("hld: 1h\n")
        self.assertCode(self.fence.run("reload"), 2)
        for options in ([], ["-q"]):
            result = self.assertCode(self.fence.run(*options, "status"), 3)
            self.assertRegex(result.out, r"^the config on the disk was refused, a former one is in force: "
                             r".*:1:1: error: unknown key .*; correct it, then sipfence reload\n")
        document = self.assertCode(self.fence.run("status", "--json"), 3).json()
        self.assertIn("unknown key", document["refused"])
        self.fence.config(good)
        self.assertCode(self.fence.run("reload"), 0)
        self.assertNotIn("refused", self.assertCode(self.fence.run("status"), 0).out)

    def test_saving_fails(self):
        daemon = self.good()
        self.assertIs(daemon.status()["save_failing"], False)
        self.pbx.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", self.fence.state])
        self.points(HOME2)
        self.assertAllowed(HOME2)
        daemon.wait_event("save", seconds=15, result="failed")
        result = self.assertCode(self.fence.run("-q", "status"), 3)
        self.assertEqual(result.out, "what is known can't be written to the disk (see the log)\n")
        self.assertIs(self.fence.run("status", "--json").json()["save_failing"], True)

    def test_times_stand_still(self):
        daemon = self.good()
        started = daemon.status()["started"]
        deadline = time.monotonic() + 2.1
        while time.monotonic() < deadline:
            self.assertEqual(daemon.status()["started"], started)
            time.sleep(0.02)

    def test_times_have_their_zone(self):
        self.good()
        result = self.fence.run("status", env={"TZ": "XYZ-3"})
        self.assertRegex(result.out, r"running since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d XYZ, ")

    def test_json(self):
        daemon = self.mixed()
        result = self.assertCode(self.fence.run("status", "--json"), 3)
        self.assertEqual(result.err, "")
        document = result.json()
        self.assertEqual((document["command"], document["exit"], document["result"]),
                         ("status", 3, "unsure"))
        self.assertEqual((document["pid"], document["table"], document["mode"], document["config"]),
                         (daemon.pid, "sipfence", "enforce", self.fence.path))
        self.assertRegex(document["version"], r"^\d+\.\d+")
        self.assertEqual(document["schema"], 1)
        self.assertRegex(document["started"], TIME)
        self.assertIn(document["lock"], ("owned", "events"))
        self.assertIs(document["table_right"], True)
        self.assertIs(document["dns"]["alive"], True)
        self.assertGreaterEqual(document["dns"]["asked"], 12)
        self.assertEqual(document["elements"], 9)
        names = {(name["name"], name["owners"][0]["id"]): name for name in document["names"]}
        self.assertEqual(len(names), 7)
        home = names[NAME, "21"]
        self.assertEqual(home["owners"], [{"kind": "extension", "id": "21"}])
        self.assertEqual((home["state"], home["A"]["addresses"], home["A"]["last"], home["A"]["reason"]),
                         ("fresh", [HOME], "addresses", None))
        self.assertEqual((home["AAAA"]["addresses"], home["AAAA"]["last"]), ([], "no data"))
        self.assertRegex(home["A"]["good"], TIME)
        self.assertRegex(home["A"]["asked"], TIME)
        self.assertIn(home["A"]["next"], (None, 0, 1, 2))
        self.assertEqual(names["bad.example", "9"]["A"]["refused_address"], "10.0.0.3")
        self.assertEqual(names["gone.example", "100"]["A"]["last"], "no such name")
        self.assertEqual(names["dead.example", "30"]["state"], "never answered")
        self.assertEqual(document["totals"], {"fresh": 4, "held": 0, "gone": 1, "refused": 1, "expired": 0,
                                              "never answered": 1})
        permits = {permit["prefix"]: permit for permit in document["permits"]}
        counted = permits["198.51.100.0/28"].pop("counted")
        self.assertEqual((counted["packets"], counted["moved"]), (0, None))
        self.assertRegex(counted["at"], TIME)
        self.assertEqual(permits["198.51.100.0/28"], {"owner": {"kind": "peer", "id": "carrier"},
                                                      "prefix": "198.51.100.0/28", "services": ["sip"],
                                                      "packets": 0, "last_packet": None})
        self.assertEqual(permits["192.168.1.0/24"]["owner"], {"kind": "local-subnets", "id": None})
        self.assertEqual(document["local_extensions"], ["23"])

    def test_refused_in_one_family(self):
        """The other family's addresses are there, and nothing else is said."""
        self.points(HOME)
        self.server.set(NAME, "A", scripted("10.0.0.3"))
        self.server.set(NAME, "AAAA", scripted("2001:db8:21::10"))
        self.configure()
        self.settled(self.daemon(), 1)
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertRegex(row(result.out, "extension 21"), r"2001:db8:21::10 +refused")
        self.assertRegex(result.out, r"(?m)^    the A answer holds 10\.0\.0\.3: private, [^;]*$")

    def test_replaced_addresses_linger(self):
        self.mixed()
        self.points("198.51.100.7", name="trunk.example")
        self.assertCode(self.fence.run("refresh", "trunk.example"), 0)
        trunk = [name for name in self.fence.run("status", "--json").json()["names"]
                 if name["name"] == "trunk.example"][0]
        self.assertEqual([gone["address"] for gone in trunk["retired"]], ["198.51.100.8", "198.51.100.9"])
        self.assertRegex(trunk["retired"][0]["leaves"], TIME)
        self.assertIn("198.51.100.7, 198.51.100.8 (former), 198.51.100.9 (former)",
                      self.fence.run("status").out)

    def test_srv(self):
        self.names()
        self.server.set("_sip._udp.example", "SRV", rcode("SERVFAIL"))
        self.configure("peers: {p: {srv: [_sip._udp.example]}}\n")
        daemon = self.daemon()
        self.settled(daemon, 1)
        wait_until(lambda: daemon.status()["srv"][0]["SRV"]["last"] != "never", 5)
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertRegex(row(result.out, "peer p"), r"_sip\._udp\.example +never answered")
        self.assertIn("SRV could not be asked: the server failed (SERVFAIL); it has no target now", result.out)


class Terminal(Base):
    def test_colours(self):
        daemon = self.mixed()
        _, shown = on_terminal(self.fence, 120, "status")
        self.assertRegex(row(shown, "bad.example"), "\x1b\\[31mrefused *\x1b\\[0m")
        self.assertRegex(row(shown, "gone.example"), "\x1b\\[31mgone *\x1b\\[0m")
        self.assertRegex(row(shown, "extension 21"), "\x1b\\[32mfresh *\x1b\\[0m")
        self.assertNotIn("\x1b", row(shown, "peer carrier"))
        self.dns_broken()
        daemon.wait_event("state", 10, state="held", extension="21")
        _, shown = on_terminal(self.fence, 120, "status")
        self.assertRegex(row(shown, "extension 21"), "\x1b\\[33mheld *\x1b\\[0m")
        for arguments, env in ((["--color=never"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})):
            _, shown = on_terminal(self.fence, 120, *arguments, "status", env=env)
            self.assertNotIn("\x1b", shown)

    def table(self, shown):
        lines = shown.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("WHO"))
        return [line for line in lines[start:] if line and not line.startswith("    ")]

    def test_width(self):
        """Narrow terminals lose columns and the ends of long texts, and who is in stays readable."""
        self.mixed()
        for columns in (200, 110, 80, 66, 60, 52, 40):
            for env in ({}, {"COLUMNS": str(columns)}):
                with self.subTest(columns=columns, env=env):
                    _, shown = on_terminal(self.fence, 132 if env else columns, "--color=never", "status",
                                           env=env)
                    table = self.table(shown)
                    self.assertLessEqual(max(len(line) for line in table), columns, shown)
                    self.assertEqual("NEXT" in table[0], columns >= 110, shown)
                    self.assertEqual("PACKETS" in table[0], columns >= 80, shown)
                    self.assertEqual("LAST" in table[0], columns >= 66, shown)
                    for owner in () if columns < 50 else ("extension 9", "extension 21", "extension 23", "peer anna", "peer trunk",
                                  "peer carrier", "local subnets"):
                        self.assertTrue(any(line.startswith(owner) for line in table), owner + "\n" + shown)
                    self.assertIn(HOME, row("\n".join(table), "extension 21"))
                    self.assertIn("fresh", row("\n".join(table), "extension 21"))
                    if columns < 80:
                        self.assertRegex(row("\n".join(table), "peer trunk"), r"198\.51\.100\.7, \+2 +fresh( +-)?$")
                    self.assertEqual("HOST" in table[0], columns >= 60)

    def test_long_addresses_are_cut_in_the_middle(self):
        """Before what tells who has gone silent is left out."""
        self.server.set(NAME, "A", scripted())
        self.server.set(NAME, "AAAA", scripted("2001:db8:aaaa:bbbb:cccc:dddd:eeee:1234"))
        self.configure()
        self.settled(self.daemon(), 1)
        _, shown = on_terminal(self.fence, 80, "--color=never", "status")
        table = self.table(shown)
        self.assertLessEqual(max(len(line) for line in table), 80, shown)
        for title in ("HOST", "AGE", "NEXT", "PACKETS", "LAST"):
            self.assertIn(title, table[0], shown)
        self.assertRegex(row(shown, "extension 21"), r" 2001:db[0-9a-f:]*\.\.[0-9a-f:]*1234 +fresh")

    def test_a_name_is_worth_more_than_the_next_question(self):
        """Ten letters of a name tell nobody whose it is."""
        name = "phone-of-alice.ddns.example"
        self.points(HOME, name=name)
        self.configure(extensions="4021: %s, 4022: %s" % (name, name))
        self.settled(self.daemon(), 1)
        for columns, shortest, there in ((120, 24, True), (80, 17, False)):
            with self.subTest(columns=columns):
                _, shown = on_terminal(self.fence, columns, "--color=never", "status")
                table = self.table(shown)
                self.assertLessEqual(max(len(line) for line in table), columns, shown)
                self.assertGreaterEqual(len(re.search(r"\S+\.example", shown).group()), shortest, shown)
                self.assertEqual("NEXT" in table[0], there, shown)
                for title in ("AGE", "PACKETS", "LAST"):
                    self.assertIn(title, table[0], shown)

    def test_no_terminal_no_limit(self):
        self.mixed()
        result = self.fence.run("status", env={"COLUMNS": "30"})
        self.assertIn("NEXT", result.out)
        self.assertIn("198.51.100.7, 198.51.100.8, 198.51.100.9", result.out)

    def test_nothing_changed_is_said_on_a_terminal(self):
        self.good()
        code, shown = on_terminal(self.fence, 80, "refresh")
        self.assertEqual((code, shown), (0, "nothing changed; 1 name asked\n"))
        code, shown = on_terminal(self.fence, 80, "reload")
        self.assertEqual((code, shown), (0, "the config is in force\n"))


class Elements(Base):
    """Without a daemon: who was let in or thrown out by another's hand since the last run."""

    def setUp(self):
        super().setUp()
        self.points(HOME)

    def sync(self, more="", extensions="21: " + NAME):
        self.configure(more, extensions)
        return self.assertCode(self.fence.run("sync", "--yes"), 0)

    def drift(self, code):
        document = self.assertCode(self.fence.run("status", "--json"), code).json()
        self.assertIs(document["table_right"], code == 0)
        return document["drift"]

    def check_well(self):
        drift = self.drift(0)
        self.assertEqual((drift["added"], drift["missing"], drift["first"], drift["text"]), (0, 0, [], None))
        out = self.assertCode(self.fence.run("status"), 0).out
        self.assertIn("\ntable inet sipfence is in the kernel, mode enforce\n", out)
        self.assertIn("\nsipfence_table_right 1\n", self.fence.run("status", "--prometheus").out)

    def check_not_judged(self):
        self.assertIsNone(self.drift(0))
        self.assertNotIn("last run", self.assertCode(self.fence.run("status"), 0).out)

    def check_wrong(self, words):
        for option in ([], ["-q"]):
            out = self.assertCode(self.fence.run("status", *option), 3).out
            self.assertIn("\ntable inet sipfence in the kernel, mode enforce, is not as the last run left it: "
                          "sipfence sync puts that right\n    %s\n" % words, out)
            self.assertNotIn("not in force", out)
        self.assertIn("\nsipfence_table_right 0\n", self.fence.run("status", "--prometheus").out)
        self.assertEqual(self.drift(3)["text"], words)

    def test_flushed(self):
        self.sync()
        self.check_well()
        self.pbx.nft("flush set inet sipfence sip_hosts4\n")
        self.assertShut(HOME)
        self.check_wrong("1 element is missing: %s (sip_hosts4)" % HOME)
        drift = self.drift(3)
        self.assertEqual((drift["added"], drift["missing"], drift["first"]),
                         (0, 1, [{"change": "missing", "set": "sip_hosts4", "element": HOME}]))
        out = self.assertCode(self.fence.run("why", HOME), 0).out
        self.assertIn("the kernel's table is not as the last run left it, and sipfence sync puts that right: "
                      "1 element is missing: %s (sip_hosts4)\n" % HOME, out)
        self.sync()
        self.check_well()
        self.assertPasses(HOME)

    def test_a_stranger_was_added(self):
        self.sync()
        self.pbx.nft("add element inet sipfence sip_hosts4 { %s }\n" % ROGUE)
        self.assertPasses(ROGUE)
        self.check_wrong("1 element was added: %s (sip_hosts4)" % ROGUE)
        self.sync()
        self.check_well()
        self.assertShut(ROGUE)

    def test_networks(self):
        self.sync("peers: {carrier: [198.51.100.0/28]}\n")
        self.check_well()
        self.pbx.nft("delete element inet sipfence sip_nets4 { 198.51.100.0/28 }\n"
                     "add element inet sipfence sip_nets4 { 10.0.0.0/8 }\n"
                     "add element inet sipfence sip_nets6 { 2001:db8:66::/48 }\n")
        self.check_wrong("2 elements were added: 10.0.0.0/8 (sip_nets4), 2001:db8:66::/48 (sip_nets6); "
                         "1 is missing: 198.51.100.0/28 (sip_nets4)")

    def test_many(self):
        self.sync()
        self.pbx.nft("add element inet sipfence sip_hosts4 { %s }\n" %
                     ", ".join("198.51.100.%d" % i for i in range(1, 8)))
        self.check_wrong("7 elements were added: %s and 2 more" %
                         ", ".join("198.51.100.%d (sip_hosts4)" % i for i in range(1, 6)))
        self.assertEqual(len(self.drift(3)["first"]), 5)

    def test_strangers_who_knock_are_none(self):
        self.sync()
        self.assertShut(ROGUE)
        self.assertTrue(self.pbx.elements("sip_rejected4"))
        self.check_well()

    def test_what_has_aged_since(self):
        """DNS says otherwise by now, a TTL has passed, and what lingers or is held has had its time."""
        self.points("198.51.100.7", name="trunk.example")
        more = "peers: {trunk: trunk.example}\nlinger: {peers: 1s}\nhold: 1s\ngone: 1s\n"
        self.sync(more)
        self.points("198.51.100.8", name="trunk.example")
        self.sync(more)
        self.assertAllowed(HOME, "198.51.100.7", "198.51.100.8")
        self.points(HOME2)
        time.sleep(2.5)
        self.assertEqual(self.hosts4(), sorted([HOME, "198.51.100.7", "198.51.100.8"]))
        self.check_well()
        self.dns_broken()
        self.check_well()
        # It is what was in force, all the same.
        self.pbx.nft("delete element inet sipfence sip_hosts4 { 198.51.100.7 }\n")
        self.check_wrong("1 element is missing: 198.51.100.7 (sip_hosts4)")

    def test_an_address_that_is_ours_by_now(self):
        """It would be refused today: the next sync's business."""
        self.sync()
        self.pbx.ip("address add %s/32 dev lo" % HOME)
        self.addCleanup(self.pbx.ip, "address delete %s/32 dev lo" % HOME)
        self.check_well()

    def test_held(self):
        self.sync()
        self.dns_broken()
        self.assertCode(self.fence.run("sync"), 3)
        document = self.assertCode(self.fence.run("status", "--json"), 3).json()
        self.assertEqual((document["table_right"], document["drift"]["text"]), (True, None))

    def test_srv(self):
        self.server.set("_sip._udp.example", "SRV", srv("trunk.example"))
        self.points("198.51.100.7", name="trunk.example")
        self.sync("peers: {voipco: {srv: [_sip._udp.example]}}\n")
        self.assertAllowed(HOME, "198.51.100.7")
        self.check_well()
        self.pbx.nft("delete element inet sipfence sip_hosts4 { 198.51.100.7 }\n")
        self.check_wrong("1 element is missing: 198.51.100.7 (sip_hosts4)")

    def test_another_config_since(self):
        """What it permits is not in force yet: that is nobody's hand."""
        self.sync("peers: {carrier: [198.51.100.0/28]}\n")
        for more, extensions in (("", "21: " + NAME), ("peers: {carrier: [198.51.100.0/27]}\n", "21: " + NAME),
                                 ("peers: {carrier: [198.51.100.0/28]}\n", "22: [203.0.113.99, %s]" % NAME)):
            with self.subTest(more=more, extensions=extensions):
                self.configure(more, extensions)
                self.check_not_judged()
        # Of another mode or other ports no more is said than that.
        self.configure("peers: {carrier: [198.51.100.0/28]}\nmode: monitor\n")
        self.pbx.nft("flush set inet sipfence sip_hosts4\n")
        self.assertIsNone(self.drift(3))
        out = self.fence.run("status").out
        self.assertIn("is not that of the config, which is not in force", out)
        self.assertNotIn("last run", out)
        # What is for people alone, and the config of before, change nothing.
        self.configure("# a comment\npeers: {carrier: [198.51.100.0/28]}\n")
        self.check_wrong("1 element is missing: %s (sip_hosts4)" % HOME)

    def test_who_may_not_look(self):
        self.sync()
        self.pbx.nft("flush set inet sipfence sip_hosts4\n")
        result = self.assertCode(self.fence.run("status", prefix=NO_CAPS), 0)
        self.assertIn("could not be looked at (run it as root)", result.out)
        self.assertNotIn("last run", result.out)

    def test_beside_a_sync(self):
        """It saves what it knows before it changes the kernel: between the two nothing is wrong."""
        self.sync()
        self.configure(timeout="4s")
        self.dns_silent()
        sync = self.pbx.popen(self.fence.argv("sync"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(sync.wait)
        lock = os.path.join(self.fence.run_dir, "lock")

        def is_at_work():
            with open(lock) as file:
                return file.read() == "%d sync\n" % sync.pid
        self.assertTrue(wait_until(is_at_work, 3), "it does not begin")
        self.pbx.nft("add element inet sipfence sip_hosts4 { %s }\n" % ROGUE)
        self.check_not_judged()
        self.assertIsNone(sync.poll(), "it has ended already")
        sync.kill()
        sync.wait()
        self.check_wrong("1 element was added: %s (sip_hosts4)" % ROGUE)

    def test_a_daemon_watches_itself(self):
        daemon = self.good()
        self.assertIsNone(daemon.status()["drift"])
        self.pbx.nft("flush set inet sipfence sip_hosts4\n", check=False)
        self.assertAllowed(HOME)
        self.assertIsNone(daemon.status()["drift"])


class Offline(Base):
    def left_by(self, command):
        """What a daemon, or a sync, has left."""
        self.points(HOME)
        if command == "sync":
            self.configure()
            self.assertCode(self.fence.run("sync"), 0)
        else:
            self.good().stop()

    def test_from_the_state_file(self):
        for command in ("sync", "run"):
            with self.subTest(command):
                self.pbx.run(["nft", "flush", "ruleset"])
                self.left_by(command)
                result = self.assertCode(self.fence.run("status"), 0)
                self.assertRegex(result.out, r"^no daemon is running; from the state file, saved \d{4}-.* ago\)\n"
                                 r"table inet sipfence is in the kernel, mode enforce\n")
                self.assertRegex(row(result.out, "extension 21"), r"203\.0\.113\.10 +fresh +\d+ s( +0 +-)?$")
                self.assertNotIn("NEXT", result.out)
                self.assertNotIn("no table", result.out)
                document = self.fence.run("status", "--json").json()
                self.assertEqual((document["pid"], document["started"], document["dns"]), (None, None, None))
                self.assertEqual((document["names"][0]["A"]["addresses"], document["names"][0]["A"]["next"]),
                                 ([HOME], None))
                result = self.assertCode(self.fence.run("why", HOME), 0)
                self.assertIn("no daemon is running", result.out)
                self.assertIn("for extension 21 by " + NAME, result.out)
                self.assertCode(self.fence.run("why", "100.64.0.9"), 0)

    def test_unsure_names(self):
        self.left_by("sync")
        self.dns_broken()
        self.assertCode(self.fence.run("sync"), 3)
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertRegex(row(result.out, "extension 21"), r"203\.0\.113\.10 +held")

    def test_no_table(self):
        self.left_by("sync")
        self.pbx.run(["nft", "flush", "ruleset"])
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertIn("there is no table inet sipfence in the kernel: nobody is kept out", result.out)
        self.assertIs(self.fence.run("status", "--json").json()["table_right"], False)
        for source in (ROGUE, HOME):
            out = self.assertCode(self.fence.run("why", source), 0).out
            self.assertIn("%s may pass to sip, as everybody may: there is no table" % source, out)
            self.assertNotIn("is dropped", out)
        self.assertIn("  by the config, which is not in force: it would be dropped\n",
                      self.fence.run("why", ROGUE).out)
        self.assertIn("may reach sip from anywhere, since there is no table", self.fence.run("why", "21").out)
        result = self.fence.run("status", prefix=NO_CAPS)
        self.assertNotIn("no table", result.out, "it may not look")
        self.assertIn("could not be looked at (run it as root); by the config: mode enforce", result.out)
        out = self.fence.run("why", ROGUE, prefix=NO_CAPS).out
        self.assertIn("the kernel's table could not be looked at", out)
        self.assertIn(ROGUE + " would be dropped at sip\n", out)

    def test_another_config_than_the_table(self):
        """What is in force counts, whatever was written into the config since."""
        self.points(HOME)
        self.configure("mode: monitor\n")
        self.assertCode(self.fence.run("sync"), 0)
        result = self.assertCode(self.fence.run("status"), 0)
        self.assertIn("in the kernel, mode monitor\nmode monitor: nobody is dropped\n", result.out)
        for kernel, config in (("monitor", "enforce"), ("enforce", "monitor")):
            with self.subTest(kernel):
                self.configure("mode: %s\n" % kernel)
                self.assertCode(self.fence.run("sync", "--yes"), 0)
                self.configure("mode: %s\n" % config)
                result = self.assertCode(self.fence.run("status"), 3)
                self.assertIn("in the kernel, mode %s, is not that of the config, which is not in force (mode %s)"
                              % (kernel, config), result.out)
                self.assertEqual("mode monitor: nobody is dropped\n" in result.out, kernel == "monitor")
                out = self.fence.run("why", ROGUE).out
                passes = self.passes(ROGUE)
                self.assertEqual(passes, kernel == "monitor")
                self.assertIn(ROGUE + (" may pass to sip, since" if passes else " is dropped at sip\n"), out)
                self.assertIn("by the config, which is not in force: it would %s" %
                              ("be dropped" if passes else "pass"), out)
                self.assertEqual("from anywhere" in self.fence.run("why", "21").out, passes)
        self.configure("peers: {new: %s}\nmode: enforce\n" % ROGUE)
        self.assertShut(ROGUE)
        out = self.fence.run("why", ROGUE).out
        self.assertIn(ROGUE + " is dropped at sip\n  by the config, which is not in force: it would be let in\n",
                      out)
        self.assertIn("sipfence sync, or start the daemon", out)

    def test_a_daemon_that_was_killed(self):
        """What its journal says is what it has put in force."""
        daemon = self.good()
        self.points(HOME2)
        self.assertAllowed(HOME2)
        daemon.kill()
        self.assertIsNot(self.fence.run("status", "--json").json()["table_right"], False)
        self.pbx.nft("flush set inet sipfence sip_hosts4\n")
        self.assertIn("1 element is missing: %s (sip_hosts4)" % HOME2,
                      self.assertCode(self.fence.run("status"), 3).out)

    def test_a_refused_address_is_not_saved(self):
        self.points("10.0.0.3")
        self.configure()
        daemon = self.daemon()
        self.settled(daemon, 1)
        self.assertIn("holds 10.0.0.3", self.fence.run("status").out)
        daemon.stop()
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertIn("the A answer was refused: private", result.out)
        self.assertNotIn("0.0.0.0", result.out)

    def test_nothing_there(self):
        self.configure()
        for command in (["status"], ["why", HOME]):
            result = self.assertCode(self.fence.run(*command), 1)
            self.assertIn("no daemon is running, and no former run has left a state file", result.err)
            self.assertEqual(result.out, "")
        document = self.assertCode(self.fence.run("status", "--json"), 1).json()
        self.assertEqual((document["result"], document["exit"]), ("error", 1))

    def test_a_damaged_state_file(self):
        self.left_by("sync")
        path = os.path.join(self.fence.state, "state")
        with open(path, "a") as file:
            file.write("more\n")
        result = self.assertCode(self.fence.run("status"), 1)
        self.assertRegex(result.err, "damaged")
        self.assertTrue(os.path.exists(path), "status has moved it")

    def test_a_bad_config(self):
        self.left_by("sync")
        self.fence.config("extensions: {21: home}\n")
        result = self.assertCode(self.fence.run("status"), 2)
        self.assertIn(":1:18: error:", result.err)

    def test_another_user(self):
        if not privileged():
            self.skipTest("other users need real root")
        self.left_by("sync")
        os.chmod(self.fence.state, 0o700)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *NO_CAPS[1:]]
        result = self.assertCode(self.fence.run("status", prefix=nobody), 1)
        self.assertIn("run it as root", result.err)
        daemon = self.daemon()
        result = self.assertCode(self.fence.run("status", prefix=nobody), 1)
        self.assertIn("you may not talk to the daemon", result.err)
        self.assertTrue(daemon.runs())

    def test_refresh_and_reload_need_a_daemon(self):
        self.configure()
        for command in ("refresh", "reload"):
            result = self.assertCode(self.fence.run(command), 1)
            self.assertIn("no daemon is running", result.err)
            self.assertIn("systemctl start sipfence", result.err)
            document = self.assertCode(self.fence.run(command, "--json"), 1).json()
            self.assertEqual((document["command"], document["result"]), (command, "error"))


class Refresh(Base):
    def test_what_changed(self):
        self.points(HOME, ttl=3600)
        self.points("203.0.113.20", name="alice.example", ttl=3600)
        self.configure("refresh: {min: 10m, max: 20m}\n".replace("refresh", "hold: 1h #"),
                       extensions="21: %s, 22: alice.example" % NAME)
        daemon = self.daemon()
        self.settled(daemon, 2)
        self.points(HOME2, ttl=3600)
        result = self.assertCode(self.fence.run("refresh", NAME.upper() + "."), 0)
        self.assertEqual((result.out, result.err),
                         ("extension 21 %s: A %s -> %s\n" % (NAME, HOME, HOME2), ""))
        self.assertEqual(self.hosts4(), sorted(["203.0.113.20", HOME2]), "it came back too early")
        result = self.assertCode(self.fence.run("refresh"), 0)
        self.assertEqual(result.out + result.err, "", "nothing changed, and no terminal")

    def test_unsure(self):
        self.mixed()
        result = self.assertCode(self.fence.run("refresh", "bad.example", NAME), 3)
        self.assertEqual(result.out, "")
        self.assertRegex(result.err, r"^sipfence: warning: extension 9 bad\.example: refused: the A answer "
                         r"holds 10\.0\.0\.3: private.*\n$")
        result = self.assertCode(self.fence.run("refresh"), 3)
        self.assertEqual(len(result.err.splitlines()), 3, result)
        document = self.assertCode(self.fence.run("refresh", "--json"), 3).json()
        self.assertEqual((document["version"], document["command"], document["result"], document["exit"]),
                         (1, "refresh", "done", 3))
        self.assertEqual(document["asked"], 6, "two guards of a name are one question")
        self.assertEqual({name["name"] for name in document["unsure"]},
                         {"bad.example", "gone.example", "dead.example"})

    def test_changes_in_json(self):
        self.good()
        self.points(HOME2)
        document = self.fence.run("refresh", "--json").json()
        self.assertEqual(document["changes"], [{"event": "change", "extension": "21", "host": NAME,
                                                "type": "A", "old": HOME, "new": HOME2}])
        self.assertEqual((document["changes_left_out"], document["unsure"]), (0, []))

    def test_bad_names(self):
        daemon = self.good()
        for name, words in (("home21", "not the name of a host"), ("a..example", "not the name of a host"),
                            ("\x1b[31m.example", r"\x1b[31m"), ("other.example", "other.example")):
            result = self.assertCode(self.fence.run("refresh", name), 2)
            self.assertIn(words, result.err)
            self.assertNotRegex(result.err, CONTROL)
        self.assertTrue(daemon.runs())

    def test_ids(self):
        self.mixed()
        self.points("203.0.113.21", name="alice.example")
        result = self.assertCode(self.fence.run("refresh", "22"), 0)
        self.assertEqual(result.out, "extension 22 alice.example: A 203.0.113.20 -> 203.0.113.21\n")
        document = self.fence.run("refresh", "peer:trunk", "21", "alice.example", "--json").json()
        self.assertEqual(document["asked"], 3)
        result = self.assertCode(self.fence.run("refresh", "23"), 2)
        self.assertIn("extension 23 has no name that DNS could be asked for", result.err)
        result = self.assertCode(self.fence.run("refresh", "nobody"), 2)
        self.assertIn("`nobody` is not the name of a host", result.err)
        self.assertIn("nor an extension or peer; sipfence status lists them", result.err)

    def test_output_that_cannot_be_written(self):
        self.good()
        for command in (["refresh"], ["reload"], ["refresh", "--json"]):
            self.points(HOME2 if self.hosts4() == [HOME] else HOME)
            with open("/dev/full", "w") as full:
                result = self.assertCode(self.fence.run(*command, stdout=full), 0)
            if command != ["reload"]:
                self.assertIn("standard output", result.err)
        for command in (["status"], ["status", "--json"], ["why", HOME], ["why", "21", "--json"]):
            with open("/dev/full", "w") as full:
                result = self.assertCode(self.fence.run(*command, stdout=full), 1)
            self.assertIn("standard output", result.err)


class Reload(Base):
    def test_all_errors_come_through(self):
        daemon = self.good()
        self.fence.config("extentions: {}\nhold: soon\nlocal-subnets: [10.0.0.0/33]\n")
        result = self.assertCode(self.fence.run("reload"), 2)
        for line in (1, 2, 3):
            self.assertRegex(result.err, r"(?m)^%s:%d:\d+: error: " % (re.escape(self.fence.path), line))
        self.assertIn("did you mean", result.err)
        self.assertRegex(result.err, r"(?m)^ +\^$", "the carets are there")
        self.assertIn("what to do: correct the config", result.err)
        document = self.assertCode(self.fence.run("reload", "--json"), 2).json()
        self.assertEqual((document["command"], document["result"], document["exit"]), ("reload", "error", 2))
        self.assertEqual(document["error"].count(": error: "), 3)
        _, shown = on_terminal(self.fence, 100, "reload")
        self.assertIn("\x1b[1;31merror:\x1b[0m", shown)
        self.assertTrue(daemon.runs())
        self.assertAllowed(HOME)

    def test_what_changed(self):
        self.good()
        self.configure("mode: monitor\n")
        result = self.assertCode(self.fence.run("reload"), 0)
        self.assertEqual(result.out, "the table was swapped: 2 elements; mode monitor: nobody is dropped\n")
        self.assertIn("strangers, who were kept out until now, get in", result.err)
        document = self.assertCode(self.fence.run("reload", "--json"), 0).json()
        self.assertEqual((document["command"], document["result"], document["changes"]),
                         ("reload", "done", []))

    def test_who_is_shut_out(self):
        self.points(HOME)
        self.configure("mode: monitor\n")
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertPasses(ROGUE)
        self.configure("mode: enforce\n")
        result = self.assertCode(self.fence.run("reload"), 0)
        self.assertEqual(result.out, "the table was swapped: 2 elements; mode enforce: strangers are dropped "
                                     "from now on\n")
        self.assertIn("warning: %s talked to sip until now, and is shut out" % ROGUE, result.err)
        self.assertIn("belongs to you: list it under `peers` or the `hosts` of an extension", result.err)
        self.configure("mode: monitor\n")
        self.assertNotIn("is shut out", self.fence.run("reload").err)
        self.assertPasses(ROGUE)
        self.configure("mode: enforce\n")
        document = self.fence.run("reload", "--json").json()
        self.assertEqual([change["source"] for change in document["changes"] if change["event"] == "shut-out"],
                         [ROGUE])
        self.assertTrue(daemon.runs())

    def test_sync_beside_a_daemon(self):
        self.good()
        result = self.assertCode(self.fence.run("sync"), 1)
        self.assertIn("after a change of the config: sipfence reload", result.err)
        self.assertIn("sipfence refresh", result.err)
        if privileged():
            nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *NO_CAPS[1:]]
            result = self.assertCode(self.fence.run("sync", prefix=nobody), 1)
            self.assertIn("what to do: run it as root", result.err)


class Why(Base):
    def why(self, what, code=0):
        result = self.assertCode(self.fence.run("why", what), code)
        self.assertNotRegex(result.out + result.err, CONTROL)
        return result

    def test_agrees_with_the_kernel(self):
        """What it says of an address is what happens to its packets."""
        self.mixed()
        for source in (HOME, HOME2, ROGUE, LAN):
            with self.subTest(source):
                out = self.why(source).out
                verdict = "may pass to sip" if self.passes(source) else "is dropped at sip"
                self.assertIn("%s %s\n" % (source, verdict), out)

    def test_who_and_by_what(self):
        self.mixed()
        self.assertRegex(self.why(HOME).out, r"(?m)^  for extension 21 by home21\.example: fresh, last answer \d+ s "
                         r"ago(; it has had this address since .*)?\n  rule: ip saddr @sip_hosts4 accept: 203\.0\.113\.10 is an element of it$")
        self.assertIn("for peer carrier: 198.51.100.0/28 in the config", self.why("198.51.100.3").out)
        self.assertIn("for local subnets: 192.168.1.0/24 in the config, for extension 23\n", self.why(LAN).out)
        document = self.fence.run("why", LAN, "--json").json()
        self.assertEqual(document["version"], 1)
        self.assertEqual([(owner["extensions"], owner["extension_count"]) for owner in
                          document["services"][0]["owners"]], [(["23"], 1)])
        document = self.fence.run("why", HOME, "--json").json()
        self.assertEqual((document["kind"], document["command"], document["exit"]), ("address", "why", 0))
        sip, web = document["services"]
        self.assertEqual((sip["verdict"], sip["set"], sip["element"]), ("accept", "sip_hosts4", HOME))
        self.assertEqual(sip["owners"][0]["id"], "21")
        self.assertEqual((web["verdict"], web["owners"][0]["id"]), ("accept", "anna"))

    def test_since_when_and_who_had_it_formerly(self):
        """From the history; who may not read that is told the rest."""
        daemon = self.good()
        for address in (HOME2, HOME):
            self.points(address)
            self.assertAllowed(address)
        def recorded():
            entries = self.fence.run("history", "--json").json()["entries"]
            return len(entries) == 3 and entries[2]["to"] is None
        self.assertTrue(wait_until(recorded, 10, 0.1))
        out = self.why(HOME).out
        when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+"
        self.assertRegex(out, r"(?m)^  for extension 21 by .*; it has had this address since %s$" % when)
        self.assertRegex(out, r"(?m)^- formerly: extension 21 had it by home21\.example from %s(, or before,)? to "
                         r"%s$" % (when, when))
        self.assertEqual(out.count("formerly"), 1)
        out = self.why(HOME2).out
        self.assertNotIn("it has had", out)
        self.assertEqual(out.count("- formerly: extension 21"), 1)
        document = self.fence.run("why", HOME, "--json").json()
        self.assertEqual([(entry["id"], entry["host"], entry["to"] is None) for entry in document["history"]],
                         [("21", NAME, True), ("21", NAME, False)])
        self.assertEqual(self.fence.run("why", ROGUE, "--json").json()["history"], [])
        self.assertEqual([(entry["prefix"], entry["to"] is None) for entry in
                          self.fence.run("why", "21", "--json").json()["history"]],
                         [(HOME, True), (HOME2, False), (HOME, False)])
        os.rename(self.fence.state, self.fence.state + ".away")
        out = self.why(HOME).out
        os.rename(self.fence.state + ".away", self.fence.state)
        self.assertIn("for extension 21 by home21.example: fresh", out)
        self.assertNotIn("it has had", out)
        self.assertTrue(daemon.runs())

    def test_what_would_have_to_change(self):
        self.mixed()
        out = self.why("10.0.0.3").out
        self.assertRegex(out, r"- bad\.example of extension 9 has this address by its last answer .* refused: "
                         r"private")
        out = self.why("198.51.100.3").out
        self.assertIn("198.51.100.3 is dropped at web", out)
        self.assertIn("- peer carrier has this address, but passes sip only, not web", out)
        out = self.why(ROGUE).out
        self.assertIn("to let it in, if it is yours, ", out)
        self.points("198.51.100.7", name="trunk.example")
        self.fence.run("refresh", "trunk.example")
        out = self.why("198.51.100.9").out
        self.assertRegex(out, r"198\.51\.100\.9 may pass to sip\n  for peer carrier: .*\n" if "carrier:" in
                         out.splitlines()[1] else r"for peer trunk by trunk\.example: a former address")

    def test_why_can_t_it_register(self):
        """It knocks from where it was, or from anywhere."""
        self.mixed()
        self.points(HOME2)
        self.fence.run("refresh", NAME)
        self.assertFalse(self.passes(HOME))
        self.assertFalse(self.passes(ROGUE))
        out = self.why("21").out
        packets = r": \d+ packets? to sip, the last \d+ s ago$"
        self.assertRegex(out, r"(?m)^- kept out in the last hour: %s, which it had formerly" % HOME + packets)
        self.assertRegex(out, r"(?m)^- kept out lately, and perhaps it: %s" % ROGUE + packets)
        self.assertRegex(out, r"(?m)^- formerly: %s by %s, from " % (HOME, NAME))
        self.assertRegex(out, r"(?m)^    %s since \S+ \S+ \S+( or before)?; rule: ip saddr @sip_hosts4 accept$" % HOME2)
        document = self.fence.run("why", "21", "--json").json()
        self.assertEqual([(item["address"], item["former"]) for item in document["kept_out"]],
                         [(HOME, True), (ROGUE, False)])
        place, = document["addresses"]
        self.assertEqual((place["prefix"], place["host"], place["service"], place["verdict"], place["set"]),
                         (HOME2, NAME, "sip", "accept", "sip_hosts4"))
        self.assertIn(NAME, document["next"])
        # Of the one, that it was kept out, and no other.
        out = self.why(ROGUE).out
        self.assertRegex(out, r"(?m)^- it was kept out in the last hour" + packets)
        self.assertEqual(len(self.fence.run("why", ROGUE, "--json").json()["kept_out"]), 1)
        self.assertEqual(self.fence.run("why", HOME2, "--json").json()["kept_out"], [])
        # A name that two guards judge is told once.
        out = self.why(NAME).out
        self.assertEqual(out.count("%s since" % HOME2), 2)
        self.assertIn("lets in peer anna", out)
        if privileged():
            result = self.fence.run("why", "21", "--json", prefix=NO_CAPS)
            self.assertIsNone(result.json()["kept_out"])

    def test_extensions_and_hosts(self):
        self.mixed()
        out = self.why("21").out
        self.assertRegex(out, r"^extension 21 may reach sip from here, and from nowhere else:\n"
                         r"  home21\.example: fresh, 203\.0\.113\.10; last answer with addresses \d+ s ago; "
                         r"(next question in \d+ s|being asked now)\n"
                         r"    203\.0\.113\.10( since .*)?; rule: ip saddr @sip_hosts4 accept\n"
                         r"if it is anywhere else, have home21\.example point there, then sipfence refresh "
                         r"home21\.example; if it is here, look into the PBX's log\n$")
        # What would have to change.
        for extension, name, words in (
                ("30", "dead", "was never answered: see that the name is right"),
                ("9", "bad", "have it give the public one"), ("100", "gone", "has to tell the dynamic-DNS service")):
            for what in (extension, name + ".example"):
                self.assertIn(words, self.why(what).out.splitlines()[-1])
            self.assertIn("from nowhere at present", self.why(extension).out)
        self.assertIn("give it `hosts` in the config, then sipfence reload", self.why("23").out)
        # A provider has no phone, and its names are not the admin's.
        for peer in ("carrier", "trunk", "trunk.example"):
            self.assertEqual(self.why(peer).out.splitlines()[-1], "if it sends from other addresses, add them to it "
                             "under `peers`, then sipfence reload")
        self.assertIn("fixed in the config: 203.0.113.99", self.why("22").out)
        self.assertIn("the local subnets: 192.168.1.0/24", self.why("23").out)
        self.assertIn("is a host of extension 22", self.why("alice.example").out)

    def test_one_sound_name_and_one_in_trouble(self):
        """One sentence, of what is wrong."""
        self.points(HOME)
        self.server.set("gone.example", "A", rcode("NXDOMAIN"))
        self.server.set("gone.example", "AAAA", rcode("NXDOMAIN"))
        self.configure(extensions="21: [%s, gone.example]" % NAME)
        self.settled(self.daemon(), 2)
        self.assertRegex(self.why("21").out.splitlines()[-1], "^DNS says that gone[.]example has no address: ")

    def test_without_a_daemon(self):
        """What it advises can be done."""
        self.names()
        self.configure(self.MORE, self.EXTENSIONS)
        self.fence.run("sync")
        for what in (HOME2, "21", "23", "carrier", "100", "30", NAME):
            with self.subTest(what):
                out = self.why(what).out
                self.assertNotRegex(out, "sipfence (reload|refresh)")
                self.assertIn("then sipfence sync", out)

    def test_right_after_a_reload(self):
        """A name whose last answer was judged by other rules is no failure of DNS."""
        daemon = self.good()
        self.server.set(NAME, "A", delay(1500, scripted(HOME)))
        for within, state in (("198.51.100.0/24", "expired"), ("203.0.113.0/24", "held")):
            with self.subTest(state):
                self.configure(extensions="21: {hosts: [%s], within: [%s]}" % (NAME, within), timeout="5s")
                self.assertTrue(daemon.request({"request": "reload"})["ok"])
                out = self.why("21").out
                self.assertIn("%s: %s, " % (NAME, state), out)
                self.assertIn("DNS is being asked for %s, since " % NAME, out)
                self.assertNotRegex(out, "longer than|can't be asked|doctor")
                self.configure(timeout="5s")
                self.assertTrue(daemon.request({"request": "reload"})["ok"])
                self.assertAllowed(HOME, seconds=10)

    def test_unknown(self):
        self.good()
        for what in ("203.0.113.10:5060", "[2001:db8::1]:5060"):
            self.assertIn("ask without the port: sipfence why %s\n" % what[:-5].strip("[]"), self.why(what, 2).err)
        self.assertIn("did you mean %s?" % NAME, self.why("hone21.example", 2).err)
        for what in ("", "\x1b[31m", "a" * 300):
            self.assertIn("why takes an address, or an extension", self.why(what, 2).err)
        result = self.assertCode(self.fence.run("why"), 2)
        self.assertIn("why needs an argument", result.err)
        self.assertCode(self.fence.run("why", "1", "2"), 2)

    def test_own_and_loopback(self):
        self.good()
        self.assertIn("a loopback address", self.why("127.0.0.1").out)
        self.assertIn("an address of this machine", self.why("192.0.2.10").out)

    def test_monitor(self):
        self.points(HOME)
        self.configure("mode: monitor\n")
        self.daemon()
        out = self.why(ROGUE).out
        self.assertIn("may pass to sip, since the mode is monitor: enforce would drop it", out)
        self.assertPasses(ROGUE)


class Remove(Base):
    def test_the_daemon_is_asked(self):
        daemon = self.good()
        self.assertShut(ROGUE)
        result = self.assertCode(self.fence.run("remove"), 0)
        self.assertIn("the daemon has removed its table and ended", result.out)
        self.assertEqual(daemon.wait(0.5), 0)
        self.assertFalse(self.pbx.has_table())
        self.assertPasses(ROGUE)
        self.assertCode(self.fence.run("sync"), 0)  # the lock is free at once
        self.assertCode(self.fence.run("remove"), 0)
        self.assertFalse(self.pbx.has_table())

    def test_a_stopped_daemon(self):
        daemon = self.good()
        os.unlink(daemon.control_path)
        result = self.assertCode(self.fence.run("remove"), 1)
        self.assertIn("a daemon is running", result.err)
        self.assertTrue(self.pbx.has_table())


class LongLists(Base):
    COUNT = 3000

    def test_a_list_that_is_made_anew(self):
        """A reload while an answer is half written cuts it; the command asks again."""
        self.server.default = nodata()
        extensions = ", ".join("%d: h%d.example" % (i, i) for i in range(self.COUNT))
        self.configure(extensions=extensions)
        daemon = self.daemon()
        with socket.socket(socket.AF_UNIX) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.settimeout(20)
            slow.connect(daemon.control_path)
            slow.sendall(b'{"request":"status"}\n')
            data = slow.recv(100)
            self.configure(extensions=extensions + ", more: more.example")
            self.assertCode(self.fence.run("reload"), 0)
            while True:
                part = slow.recv(65536)
                if not part:
                    break
                data += part
        self.assertTrue(data.startswith(b'{"ok":true'))
        self.assertFalse(data.endswith(b"\n"), "half of an old list and half of a new one")
        result = self.fence.run("status", "--json", timeout=60)
        self.assertEqual(len(result.json()["names"]), self.COUNT + 1)
        self.assertGreater(len(result.out), 500000)


class FakeDaemon:
    """Listens where the daemon would; each connection gets the next answer: bytes, or a function of the
    socket."""

    def __init__(self, fence, *answers):
        self.answers, self.requests = list(answers), []
        self.path = os.path.join(fence.run_dir, "control")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(8)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(30)
                line = client.makefile("rb").readline()
                self.requests.append(json.loads(line))
                answered = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if callable(answered):
                    answered(client)
                else:
                    client.sendall(answered)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        os.unlink(self.path)
        self.thread.join(40)


COMMANDS = (["status"], ["refresh"], ["refresh", "a.example"], ["reload"], ["why", "21"], ["remove"])
STATUS = (b'{"ok":true,"status":{"table":"sipfence","table_right":true,"names":[],"srv":[],"permits":[],'
          b'"totals":{"fresh":0}}}\n')


class BrokenAnswers(Case):
    """The other side may be of another version, be stuck, or be somebody else."""
    shared_net = True

    def setUp(self):
        super().setUp()
        self.fence.config("local-subnets: [192.168.1.0/24]\n")

    @contextlib.contextmanager
    def fake(self, *answers):
        daemon = FakeDaemon(self.fence, *answers)
        try:
            yield daemon
        finally:
            daemon.close()

    def test_requests(self):
        with self.fake(b'{"ok":true}\n') as daemon:
            for command in COMMANDS[:5]:
                self.fence.run(*command)
            self.assertEqual(daemon.requests, [
                {"request": "status"}, {"request": "refresh"}, {"request": "refresh", "names": ["a.example"]},
                {"request": "reload"}, {"request": "why", "what": "21"}])

    def test_nonsense(self):
        for name, sent in (("nothing", b""), ("half a line", b'{"ok":true,"status":{"names":['),
                           ("not JSON", b"hello\n"), ("an empty line", b"\n"), ("a list", b"[1,2]\n"),
                           ("no verdict", b"{}\n"), ("a wrong verdict", b'{"ok":"yes"}\n'),
                           ("NUL", b'{"ok":true,"x":"\\u0000"}\n'), ("not UTF-8", b'{"ok":true,"x":"\xff"}\n'),
                           ("too deep", b"[" * 5000 + b"\n"), ("much of nothing", b" " * 20000000 + b"x\n")):
            with self.subTest(name), self.fake(sent):
                for command in COMMANDS:
                    result = self.assertCode(self.fence.run(*command, timeout=20), 1)
                    self.assertRegex(result.err, r"^sipfence: error: \S")
                    self.assertEqual(result.out, "")
                    if sent.endswith(b"\n"):
                        self.assertIn("the daemon's answer is not understood", result.err)
                    if command[0] != "remove":
                        document = self.fence.run(*command, "--json", timeout=20).json()
                        self.assertEqual((document["result"], document["exit"]), ("error", 1))

    def test_good_and_useless(self):
        """Whatever is missing, or of another type, is no reason to fall over."""
        for sent in (b'{"ok":true}\n', b'{"ok":true,"status":1,"why":2,"changes":3,"unsure":4}\n',
                     b'{"ok":true,"status":{"names":{},"srv":[1,null,"x"],"permits":[{"owner":7,"prefix":{}}],'
                     b'"totals":[],"dns":[],"local_extensions":[7]},"why":{"kind":{},"services":[1,{}],'
                     b'"hosts":[0]},"changes":[1,{"event":3},{}],"unsure":[{}, 5],"asked":"x"}\n',
                     b'{"ok":true,"status":{"names":[{"name":1,"owners":[2,{}],"A":{"addresses":[5,"x"],'
                     b'"good":"x","next":"y"},"retired":[1,{}]},{"owners":[{}]}],"saved":"99999-01-01",'
                     b'"totals":{"fresh":"x"},"table_right":true},"why":{"kind":"address","services":'
                     b'[{"owners":[1,{}]}],"reasons":[1]}}\n'):
            with self.fake(sent):
                for command in COMMANDS[:5]:
                    for options in ([], ["-v"], ["--json"], ["-q"]):
                        with self.subTest(sent=sent[:60], command=command, options=options):
                            result = self.fence.run(*command, *options)
                            self.assertIn(result.code, (0, 1, 3), result)
                            if options == ["--json"]:
                                result.json()

    def test_refusals(self):
        for sent, code, words in ((b'{"ok":false,"exit":2,"error":"what","next":"then"}\n', 2, ["what", "then"]),
                                  (b'{"ok":false,"exit":99,"error":"what"}\n', 1, ["what"]),
                                  (b'{"ok":false,"exit":0,"error":"what"}\n', 1, ["what"]),
                                  (b'{"ok":false}\n', 1, ["does not say why"]),
                                  (b'{"ok":false,"exit":2,"error":"f:1:2: error: a\\n  b\\n  ^"}\n', 2,
                                   ["f:1:2: error: a\n  b\n  ^\n"])):
            with self.subTest(sent), self.fake(sent):
                for command in COMMANDS:
                    result = self.assertCode(self.fence.run(*command), code)
                    for word in words:
                        self.assertIn(word, result.err)

    def test_nothing_dangerous_reaches_the_terminal(self):
        evil = json.dumps("a\x1b[2J\x07\n\u009b31mb\u202e")
        name = ('{"name":EVIL,"owners":[{"kind":EVIL,"id":EVIL}],"state":EVIL,"A":{"addresses":[EVIL],'
                '"last":"refused","reason":EVIL,"refused_address":EVIL},"retired":[{"address":EVIL}]}')
        sent = ('{"ok":true,"status":{"version":EVIL,"config":EVIL,"table":EVIL,"mode":EVIL,"table_right":false,'
                '"names":[NAME],"totals":{"fresh":1},"local_extensions":[EVIL],'
                '"permits":[{"owner":{"kind":EVIL,"id":EVIL},"prefix":EVIL}]},'
                '"changes":[{"event":"change","extension":EVIL,"host":EVIL,"old":EVIL,"new":EVIL},{"event":EVIL}],'
                '"unsure":[NAME],"why":{"what":EVIL,"kind":"address","note":EVIL,"services":[{"service":EVIL,'
                '"verdict":EVIL,"rule":EVIL,"owners":[{"kind":EVIL,"host":EVIL}]}],"reasons":[{"text":EVIL}],'
                '"next":EVIL}}\n').replace("NAME", name).replace("EVIL", evil).encode()
        for answered in (sent, ('{"ok":false,"exit":2,"error":%s,"next":%s}\n' % (evil, evil)).encode()):
            with self.fake(answered):
                for command in COMMANDS[:5]:
                    for options in ([], ["-v"], ["--json"]):
                        with self.subTest(command=command, options=options):
                            result = self.fence.run(*command, *options)
                            self.assertNotRegex(result.out + result.err, CONTROL + "|[\u0080-\uffff]")
                            self.assertIn("x1b[2J", result.out + result.err)
                            if answered is sent:  # a line feed would forge a line
                                self.assertNotRegex(result.out + result.err, r"(?m)^\\xc2")

    def test_keys_are_no_way_around_it(self):
        evil = json.dumps("\x1b[2J")
        with self.fake(('{"ok":true,"status":{"table_right":true,"totals":{%s:1}}}\n' % evil).encode()):
            result = self.fence.run("status")
            self.assertNotRegex(result.out + result.err, CONTROL)

    def test_a_cut_answer_is_asked_for_again(self):
        cut = STATUS[:40]
        with self.fake(cut, cut, STATUS) as daemon:
            self.assertCode(self.fence.run("status"), 0)
            self.assertEqual(len(daemon.requests), 3)
        with self.fake(cut) as daemon:
            self.assertCode(self.fence.run("status"), 1)
            self.assertLess(len(daemon.requests), 10)
        with self.fake(cut, b'{"ok":true}\n') as daemon:  # a change is not asked for twice
            self.assertCode(self.fence.run("remove"), 1)
            self.assertEqual(len(daemon.requests), 1)

    def test_silence(self):
        with self.fake(lambda client: time.sleep(25)):
            result = self.assertCode(self.fence.run("status", timeout=24), 1)
            self.assertTrue(5 < result.seconds < 20, result)
            self.assertIn("no word from the daemon for 10 seconds", result.err)

    def test_remove_waits_for_the_end(self):
        """Whoever comes next shall find the lock free."""
        lock = open(os.path.join(self.fence.run_dir, "lock"), "w")
        with lock, self.fake(b'{"ok":true}\n'):
            fcntl.flock(lock, fcntl.LOCK_EX)
            release = threading.Timer(1, fcntl.flock, (lock, fcntl.LOCK_UN))
            release.start()
            result = self.assertCode(self.fence.run("remove"), 0)
            release.join()
            self.assertTrue(0.9 < result.seconds < 4, result)
            self.assertEqual(result.err, "")
            fcntl.flock(lock, fcntl.LOCK_EX)
            result = self.assertCode(self.fence.run("remove"), 0)
            self.assertIn("the daemon is still there", result.err)

    def test_byte_by_byte(self):
        def slowly(client):
            for byte in STATUS:
                client.sendall(bytes([byte]))
                time.sleep(0.002)
        with self.fake(slowly):
            self.assertCode(self.fence.run("status"), 0)

    def test_a_socket_that_nobody_listens_at(self):
        path = os.path.join(self.fence.run_dir, "control")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        self.assertIn("no daemon is running", self.assertCode(self.fence.run("refresh"), 1).err)
        os.unlink(path)
        with open(path, "w"):
            pass
        self.assertIn("no daemon is running", self.assertCode(self.fence.run("refresh"), 1).err)

    def test_a_daemon_that_does_not_run(self):
        """One that is stopped still has a socket; its queue fills up."""
        with FakeDaemonStopped(self.fence):
            result = self.assertCode(self.fence.run("status", timeout=40), 1)
            self.assertNotIn("no daemon", result.err)


class FakeDaemonStopped:
    def __init__(self, fence):
        self.path = os.path.join(fence.run_dir, "control")

    def __enter__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(0)
        self.others = []
        for _ in range(2):
            other = socket.socket(socket.AF_UNIX)
            other.setblocking(False)
            with contextlib.suppress(OSError):
                other.connect(self.path)
            self.others.append(other)
        return self

    def __exit__(self, *_):
        for other in (*self.others, self.socket):
            other.close()
        os.unlink(self.path)


if __name__ == "__main__":
    main()
