#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Takeovers told while they happen: the real daemon, which follows a log that gets lines of a real
Asterisk (tests/asterisk/logs); rotation, restarts, names that move, hooks and `status`.
"""
import datetime
import json
import os
import re
import signal
import time

from daemon_case import HOME, HOME2, LAN, NAME, PATIENCE, ROGUE
from harness import main, wait_until
from test_hooks import HookCase

LOGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../asterisk/logs")
ELSEWHERE = "192.0.2.66"

with open(os.path.join(LOGS, "security.log"), encoding="ascii") as real:
    REAL = real.read().splitlines()
# A log-in of 21 by chan_sip and one of 22 by pjsip, as Asterisk has written them.
LOGIN = {driver: next(line for line in REAL if "SuccessfulAuth" in line and 'Service="%s"' % service in line)
         for driver, service in (("chan_sip", "SIP"), ("pjsip", "PJSIP"))}


def login(extension, address, driver="pjsip"):
    """Such a line of now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    line = LOGIN[driver]
    for pattern, value in ((r"^\[[^]]*\]", now.strftime("[%Y-%m-%d %H:%M:%S]")),
                           (r'EventTV="[^"]*"', now.strftime('EventTV="%Y-%m-%dT%H:%M:%S.%f')[:-3] + '+0000"'),
                           (r'AccountID="[^"]*"', 'AccountID="%s"' % extension),
                           (r'SessionID="[^"]*"', 'SessionID="%d"' % time.monotonic_ns()),
                           (r"RemoteAddress=\"IPV4/UDP/[^/]*", 'RemoteAddress="IPV4/UDP/' + address)):
        line, count = re.subn(pattern, value, line)
        assert count == 1, pattern
    return line + "\n"


class TakeoverCase(HookCase):
    latencies = []

    def setUp(self):
        super().setUp()
        self.asterisk = os.path.join(self.directory, "asterisk")
        os.mkdir(self.asterisk)
        os.chmod(self.directory, 0o755)
        self.log = os.path.join(self.asterisk, "security")
        open(self.log, "w").close()

    def watched(self, *others, more="", **rest):
        """A daemon that follows the log, and knows that 21 is at home, and where others are."""
        self.points(HOME)
        self.hooked(more="asterisk: {security-log: %s}\n%s" % (self.log, more), **rest)
        daemon = self.daemon()
        self.assertAllowed(HOME, *others)
        self.wait_state(daemon, "followed")
        return daemon

    def wait_state(self, daemon, state):
        def there():
            return daemon.status()["security_log"]["state"] == state
        wait_until(there, 15 * PATIENCE)
        self.assertTrue(there(), "%s %s" % (daemon.status()["security_log"], daemon))

    def write(self, text, path=None):
        with open(path or self.log, "a", encoding="ascii") as file:
            file.write(text)

    def assertTold(self, daemon, mark, seconds=5.0, **wanted):
        """Within a few seconds, where one is what is wished for; returns the event."""
        start = time.monotonic()
        event = daemon.wait_event("takeover", seconds * PATIENCE, mark, **wanted)
        TakeoverCase.latencies.append(time.monotonic() - start)
        return event

    def assertSilent(self, daemon, mark, seconds=1.5):
        time.sleep(seconds)
        self.assertEqual(daemon.events("takeover", mark), [])

    @classmethod
    def tearDownClass(cls):
        if cls.latencies:
            print("%s: told within %s ms" % (cls.__name__, ", ".join(
                "%.0f" % (1000 * latency) for latency in sorted(cls.latencies))))
        cls.latencies.clear()
        super().tearDownClass()


class Told(TakeoverCase):
    def test_a_stranger_is_told_and_home_is_not(self):
        daemon = self.watched()
        mark = daemon.mark()
        self.write(login("21", HOME) + login("21", HOME, "chan_sip") + login("nobody", ROGUE))
        self.assertSilent(daemon, mark)
        for driver in ("pjsip", "chan_sip"):
            address = {"pjsip": ROGUE, "chan_sip": ELSEWHERE}[driver]
            self.write(login("21", address, driver))
            event = self.assertTold(daemon, mark, address=address)
            for key, value in (("state", "found"), ("extension", "21"), ("driver", driver),
                               ("certainty", "proven"), ("count", "1")):
                self.assertEqual(event.get(key), value, event)
            self.assertIn("change it", event["next"])
        # Once, however often he is back.
        mark = daemon.mark()
        self.write("".join(login("21", ROGUE) for _ in range(50)))
        self.assertSilent(daemon, mark)
        takeover = [item for item in daemon.status()["takeovers"] if item["address"] == ROGUE]
        self.assertEqual(takeover[0]["count"], 51)

    def test_a_hook_and_status_tell_it(self):
        daemon = self.watched()
        self.assertCode(self.fence.run("status"), 0)
        self.write(login("21", ROGUE))
        run = self.wait_runs(1, event="takeover")[0]
        self.assertEqual((run["extension"], run["address"], run["certainty"], run["state"]),
                         ("21", ROGUE, "proven", "found"))
        self.assertEqual(json.loads(run.text)["address"], ROGUE)
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertRegex(result.out, r"(?m)^TAKEOVER: extension 21 logged in from %s port \d+ \(pjsip, proven\): "
                                     r"1 time, the last \d+ s ago$" % re.escape(ROGUE))
        status = json.loads(self.assertCode(self.fence.run("status", "--json"), 3).out)
        self.assertEqual(len(status["takeovers"]), 1)
        takeover = status["takeovers"][0]
        self.assertEqual((takeover["owner"], takeover["address"], takeover["certainty"], takeover["excused"]),
                         ({"kind": "extension", "id": "21"}, ROGUE, "proven", False))
        self.assertEqual(status["security_log"]["security_events"], 1)

    def test_why_says_it_first(self):
        daemon = self.watched()
        mark = daemon.mark()
        self.write(login("21", ROGUE))
        self.assertTold(daemon, mark, address=ROGUE)
        told = r"^TAKEOVER: extension 21 logged in from %s, which is none of its addresses \(proven\): 1 time, the " \
               r"last \d+ s ago\n" % ROGUE
        out = self.fence.run("why", ROGUE).out
        self.assertRegex(out, told)
        self.assertRegex(out.splitlines()[-1], r"^change the password of extension 21, and throw the registration out ")
        self.assertNotIn("to let it in, if it is yours", out)
        out = self.fence.run("why", "21").out
        self.assertRegex(out, told)
        self.assertIn("\nchange the password of extension 21, and throw", out)
        for what in (ROGUE, "21"):
            takeover, = self.fence.run("why", what, "--json").json()["takeovers"]
            self.assertEqual((takeover["address"], takeover["certainty"]), (ROGUE, "proven"))
        for what in (ELSEWHERE, HOME):
            self.assertEqual(self.fence.run("why", what, "--json").json()["takeovers"], [])
            self.assertNotIn("TAKEOVER", self.fence.run("why", what).out)
        self.assertIn("to let it in, if it is yours", self.fence.run("why", ELSEWHERE).out)

    def test_what_is_probably_a_call_runs_no_hook(self):
        """chan_sip logs a call to 21 as a log-in of it; 22's home is another's."""
        self.points(HOME2, name="home22.example")
        daemon = self.watched(HOME2, extensions="21: %s, 22: home22.example" % NAME)
        mark = daemon.mark()
        self.write(login("22", HOME2, "chan_sip") + login("21", HOME2, "chan_sip"))
        event = self.assertTold(daemon, mark, seconds=8)
        self.assertEqual((event["certainty"], event["address-of"]), ("ambiguous", "22"))
        self.write(login("21", HOME2))
        self.assertEqual(self.assertTold(daemon, mark, state="surer")["certainty"], "proven")
        self.wait_runs(1, event="takeover")
        self.assertEqual([run["certainty"] for run in self.runs(event="takeover")], ["proven"])

    def test_the_real_log_tells_what_the_audit_tells(self):
        fixed = "21: {hosts: [%s], local: true}, 22: {hosts: [%s], local: true}" % (HOME, HOME)
        self.hooked(more="asterisk: {security-log: %s}\n" % self.log, extensions=fixed)
        daemon = self.daemon()
        self.wait_state(daemon, "followed")
        for line in REAL:
            self.write(line[:100])
            self.write(line[100:] + "\n")
        wait_until(lambda: daemon.status()["security_log"]["lines"] == len(REAL), 10 * PATIENCE)
        audit = self.fence.run("audit", "--json", "--state-dir", os.path.join(self.directory, "none"),
                               os.path.join(LOGS, "security.log"))
        expected = {(extension["id"], found["address"], found["certainty"])
                    for extension in json.loads(self.assertCode(audit, 3).out)["extensions"]
                    for found in extension["addresses"]}
        self.assertIn(("21", ROGUE, "proven"), expected)
        self.assertEqual({(item["owner"]["id"], item["address"], item["certainty"])
                          for item in daemon.status()["takeovers"]}, expected)


class Moves(TakeoverCase):
    def test_a_phone_that_was_faster_than_its_name_is_excused(self):
        daemon = self.watched()
        mark = daemon.mark()
        self.write(login("21", HOME2))
        self.assertTold(daemon, mark, address=HOME2, state="found")
        self.assertCode(self.fence.run("status"), 3)
        self.points(HOME2)
        self.assertTold(daemon, mark, seconds=8, address=HOME2, state="excused")
        self.assertCode(self.fence.run("status"), 0)
        self.wait_runs(1, event="takeover", state="excused")
        # It is home now, and the former home is excused for a while.
        mark = daemon.mark()
        self.write(login("21", HOME2) + login("21", HOME))
        self.assertSilent(daemon, mark)

    def test_another_config(self):
        daemon = self.watched()
        mark = daemon.mark()
        self.write(login("21", LAN))
        self.assertTold(daemon, mark, address=LAN, **{"address-of": "local-subnets"})
        self.hooked(more="asterisk: {security-log: %s}\n" % self.log,
                    extensions="7: local, 21: {hosts: [%s], local: true}" % NAME)
        self.assertCode(self.fence.run("reload"), 0)
        self.assertTold(daemon, mark, address=LAN, state="excused")
        mark = daemon.mark()
        self.write(login("21", LAN) + login("7", LAN) + login("21", HOME))
        self.assertSilent(daemon, mark)
        self.write(login("7", HOME))
        self.assertTold(daemon, mark, extension="7", address=HOME, **{"address-of": "21"})


class Files(TakeoverCase):
    def name_of(self, pid):
        with open("/proc/%d/comm" % pid) as file:
            return file.read().strip()

    def test_rotation_by_rename(self):
        """The last line is half written, and goes on in the old file, as Asterisk does it."""
        daemon = self.watched()
        mark = daemon.mark()
        line = login("21", ROGUE)
        self.write(line[:200])
        os.rename(self.log, self.log + ".1")
        time.sleep(0.2)
        self.write(line[200:], self.log + ".1")
        self.write(login("21", "198.51.100.1"), self.log + ".1")
        self.write(login("21", "198.51.100.2"))
        for address in (ROGUE, "198.51.100.1", "198.51.100.2"):
            self.assertTold(daemon, mark, address=address, seconds=10)
        for number in range(3, 8):
            os.rename(self.log, "%s.%d" % (self.log, number))
            self.write(login("21", "198.51.100.%d" % number))
            self.assertTold(daemon, mark, address="198.51.100.%d" % number)

    def test_rotation_by_copytruncate(self):
        daemon = self.watched()
        for number in range(1, 5):
            mark = daemon.mark()
            self.write(login("21", "198.51.100.%d" % number))
            self.assertTold(daemon, mark, address="198.51.100.%d" % number)
            os.truncate(self.log, 0)
            time.sleep(0.2)

    def test_a_missing_log_is_told_and_waited_for(self):
        os.unlink(self.log)
        self.points(HOME)
        self.hooked(more="asterisk: {security-log: %s}\n" % self.log)
        daemon = self.daemon()
        event = daemon.wait_event("security-log", 15 * PATIENCE, state="missing")
        self.assertTrue(event.get("next"), event)
        self.assertRegex(self.assertCode(self.fence.run("status"), 3).out,
                         r"(?m)^Asterisk's security log can't be followed: ")
        mark = daemon.mark()
        self.write(login("21", ROGUE))
        daemon.wait_event("security-log", 15 * PATIENCE, mark, state="followed")
        self.assertTold(daemon, mark, address=ROGUE)

    def test_a_helper_that_is_dead_is_told(self):
        daemon = self.watched()
        with open("/proc/%d/task/%d/children" % (daemon.pid, daemon.pid)) as file:
            children = [int(word) for word in file.read().split()]
        helpers = [pid for pid in children if self.name_of(pid) == "sipfence-pbx"]
        self.assertEqual(len(helpers), 1, children)
        os.kill(helpers[0], signal.SIGKILL)
        event = daemon.wait_event("security-log", 10 * PATIENCE, state="missing")
        self.assertIn("restart the daemon", event["next"])
        self.assertCode(self.fence.run("status"), 3)
        self.assertTrue(daemon.runs())

    def test_a_log_that_a_reload_brings_needs_a_restart(self):
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertIsNone(daemon.status()["security_log"])
        self.hooked(more="asterisk: {security-log: %s}\n" % self.log)
        self.assertCode(self.fence.run("reload"), 0)
        self.assertEqual(daemon.status()["security_log"]["state"], "missing")
        self.assertIn("restart the daemon", daemon.status()["security_log"]["next"])
        self.hooked()
        self.assertCode(self.fence.run("reload"), 0)
        self.assertIsNone(daemon.status()["security_log"])

    def test_a_restart_of_asterisk_loses_nothing(self):
        """It closes the file, and opens it again to append; the next line is whole."""
        daemon = self.watched()
        for number in range(1, 4):
            mark = daemon.mark()
            with open(self.log, "a", encoding="ascii") as file:
                file.write(login("21", "198.51.100.%d" % number))
            self.assertTold(daemon, mark, address="198.51.100.%d" % number)

    def test_a_daemon_begins_at_the_end(self):
        self.write(login("21", ROGUE))
        daemon = self.watched()
        self.assertSilent(daemon, 0)
        self.write(login("21", "198.51.100.1"))
        self.assertTold(daemon, 0, address="198.51.100.1")

    def test_a_flood_of_strangers(self):
        """Memory stays, and who has a password is told behind it."""
        daemon = self.watched()
        failed = next(line for line in REAL if "ChallengeResponseFailed" in line) + "\n"
        self.write(failed * 1000)
        wait_until(lambda: daemon.status()["security_log"]["lines"] >= 1000, 10 * PATIENCE)
        before = daemon.proc("VmRSS")
        for _ in range(100):
            self.write(failed * 1000)
        mark = daemon.mark()
        self.write(login("21", ROGUE))
        self.assertTold(daemon, mark, address=ROGUE, seconds=30)
        self.assertEqual(daemon.status()["security_log"]["lines"], 101001)
        self.assertLess(daemon.proc("VmRSS") - before, 1024 * (10 if PATIENCE > 1 else 2))


if __name__ == "__main__":
    main()
