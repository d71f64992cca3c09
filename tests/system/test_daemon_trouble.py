#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The daemon in trouble: DNS that is dead for long or says nonsense, a disk that is full or read-only,
a state file that is damaged, a process that is stopped for a while (design, sections 7 and 8).
"""
import os
import re
import signal
import subprocess
import time

from daemon_case import HOME, HOME2, LAN, NAME, PATIENCE, ROGUE, DaemonCase
from harness import main, wait_until
from scripted_dns import answer, nodata, rcode


class NamesCase(DaemonCase):
    def started(self, more=""):
        self.points(HOME)
        self.configure(more)
        daemon = self.daemon()
        self.assertAllowed(HOME)
        return daemon

    def states(self, daemon):
        return [event["state"] for event in daemon.events("state", host=NAME)]


class Hold(NamesCase):
    def check_hold(self, trouble, repair=lambda: None):
        """Held for as long as `hold` says, then out; each word once; back with the first answer."""
        daemon = self.started("hold: 4s\n")
        time.sleep(1)
        trouble()
        last_good = time.monotonic()
        daemon.wait_event("state", host=NAME, state="held")
        while time.monotonic() < last_good + 1.8:  # the last answer is at most two seconds older
            self.assertEqual(self.hosts4(), [HOME])
        self.assertPasses(HOME)
        self.assertAllowed(seconds=5)
        self.assertLess(time.monotonic() - last_good, 4 + 1 * PATIENCE)
        self.assertShut(HOME, ROGUE)
        self.assertPasses(LAN)
        time.sleep(3)  # several more failures, of which nothing is said
        self.assertEqual(self.states(daemon), ["held", "expired"], daemon)
        repair()
        self.points(HOME2)
        self.assertAllowed(HOME2, seconds=8)
        daemon.wait_event("state", host=NAME, state="fresh")
        # One family may have its answer before the other.
        self.assertIn(self.states(daemon)[2:], (["fresh"], ["held", "fresh"]), daemon)
        return daemon

    def test_silence(self):
        daemon = self.check_hold(self.dns_silent)
        self.assertEqual([event["state"] for event in daemon.events("dns")], ["dead", "alive"], daemon)

    def test_servfail(self):
        self.check_hold(self.dns_broken)

    def test_nobody_listens(self):
        """The server's machine says so."""
        def again():
            self.server = self.dns(port=self.server.port)
        self.check_hold(self.server.close, again)


class Apart(NamesCase):
    def test_one_name_of_two(self):
        """Its trouble is its own."""
        self.points(HOME2, name="home22.example")
        self.points(HOME)
        self.configure("hold: 3s\n", "21: %s, 22: home22.example" % NAME)
        daemon = self.daemon()
        self.assertAllowed(HOME, HOME2)
        self.server.both(NAME, rcode("SERVFAIL"))
        self.assertAllowed(HOME2, seconds=8)
        self.assertEqual(self.states(daemon), ["held", "expired"], daemon)
        self.assertEqual(daemon.events("state", host="home22.example"), [])
        self.assertEqual(daemon.events("dns"), [])

    def test_refused(self):
        daemon = self.started("hold: 3s\n")
        self.server.set(NAME, "A", answer("127.0.0.1", ttl=1))
        daemon.wait_event("state", host=NAME, state="refused")
        self.assertEqual(self.hosts4(), [HOME])
        self.assertAllowed(seconds=6)
        time.sleep(2.5)
        self.assertEqual(len(daemon.events("state", host=NAME, state="refused")), 1, daemon)
        self.points(HOME)
        self.assertAllowed(HOME)

    def test_failures_are_asked_less_and_less(self):
        """Twenty names, no word from DNS: not a flood."""
        names = ["n%d.example" % number for number in range(20)]
        self.dns_silent()
        self.fence.config("extensions:\n" + "".join(
            "  %d: %s\n" % item for item in enumerate(names)) + self.server.resolver("200ms"))
        self.daemon()
        time.sleep(3)
        self.server.forget()
        time.sleep(4)
        self.assertLess(self.server.total, 100)


class Gone(NamesCase):
    def test_gone(self):
        for word, behaviour in (("NXDOMAIN", rcode("NXDOMAIN")), ("no data", nodata()),
                                ("0.0.0.0", answer("0.0.0.0", ttl=1))):
            with self.subTest(word):
                daemon = self.started("gone: 3s\n")
                self.server.both(NAME, behaviour)
                daemon.wait_event("state", host=NAME, state="gone")
                start = time.monotonic()
                while time.monotonic() < start + 1.5:
                    self.assertEqual(self.hosts4(), [HOME])
                self.assertAllowed(seconds=4)
                self.assertShut(HOME)
                time.sleep(2.5)
                self.assertEqual(self.states(daemon), ["gone"], daemon)
                self.server.clear()
                self.points(HOME)
                self.assertAllowed(HOME)
                self.assertEqual(self.states(daemon), ["gone", "fresh"], daemon)
                daemon.stop()

    def test_gone_for_a_moment_is_not_gone(self):
        """A provider that replaces a record by delete and add."""
        daemon = self.started("gone: 5s\n")
        self.server.both(NAME, nodata())
        daemon.wait_event("state", host=NAME, state="gone")
        self.points(HOME)
        daemon.wait_event("state", host=NAME, state="fresh")
        self.assertEqual(self.hosts4(), [HOME])
        time.sleep(5)
        self.assertEqual(self.hosts4(), [HOME])


class Stopped(DaemonCase):
    def test_stopped_and_continued(self):
        """The kernel goes on without us; when we are back, it is made right."""
        self.points(HOME)
        self.points("203.0.113.22", name="home22.example")
        self.configure(extensions="21: %s, 22: home22.example" % NAME)
        daemon = self.daemon()
        self.assertAllowed(HOME, "203.0.113.22")
        with self.knocking(phone="203.0.113.10") as probes:
            daemon.send_signal(signal.SIGSTOP)
            self.points("203.0.113.23", name="home22.example")
            time.sleep(5)
            self.assertEqual(self.hosts4(), [HOME, "203.0.113.22"])
            daemon.send_signal(signal.SIGCONT)
            self.assertAllowed(HOME, "203.0.113.23")
        probes.check(self)
        self.assertTrue(daemon.request({"request": "status"})["ok"])

    def test_stopped_while_questions_are_under_way(self):
        """Their time has passed when it wakes up; that is no reason to think DNS dead."""
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        self.assertAllowed(HOME)
        for _ in range(4):
            asked = self.server.total
            self.assertTrue(wait_until(lambda: self.server.total > asked, 5, 0.001))
            daemon.send_signal(signal.SIGSTOP)
            time.sleep(1)
            daemon.send_signal(signal.SIGCONT)
            time.sleep(0.5)
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.assertEqual(daemon.events("dns"), [])

    def test_stopped_past_hold(self):
        """What is over is over, the sleep counts; but DNS is asked before phones are thrown out."""
        self.points(HOME)
        self.configure("hold: 2s\n")
        daemon = self.daemon()
        self.assertAllowed(HOME)
        daemon.send_signal(signal.SIGSTOP)
        time.sleep(4)
        self.dns_silent()
        daemon.send_signal(signal.SIGCONT)
        self.assertAllowed(seconds=3)


class Disk(DaemonCase):
    def mounted(self, options):
        self.pbx.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.fence.state])
        self.addCleanup(self.pbx.run, ["umount", self.fence.state])

    def started(self, **more):
        self.points(HOME)
        self.configure()
        daemon = self.daemon(codes=(0, 1), **more)
        self.assertAllowed(HOME)
        return daemon

    def fill(self):
        path = os.path.join(self.fence.state, "ballast")
        with open(path, "wb", buffering=0) as file:
            try:
                for _ in range(1000):
                    file.write(b"x" * 4096)
            except OSError:
                return path
        raise AssertionError("the disk is not full")

    def move(self, *addresses):
        for address in addresses:
            self.points(address)
            self.assertAllowed(address)
            self.assertPasses(address)
            self.assertShut(ROGUE)

    def said(self, daemon):
        """What the daemon has said of saving: once that it failed, however often it did."""
        return [event["result"] for event in daemon.events("save")]

    def test_full(self):
        self.mounted("size=20k")
        self.started().stop()
        old = self.fence.saved()["state"]
        daemon = self.started()
        self.fill()
        self.move(HOME2)
        failed = daemon.wait_event("save", seconds=15, result="failed")
        self.assertIn("No space left on device", failed["error"])
        self.assertIn(self.fence.state, failed["error"])
        self.move(HOME, HOME2)
        daemon.stop()
        self.assertEqual(self.said(daemon), ["failed"], daemon)
        saved = self.fence.saved()
        self.assertLessEqual(set(saved), {"ballast", "state", "state.journal", "config", "history"},
                             "half a file was left")
        self.assertEqual(len(saved["state"]), len(old), "the old state is lost")

    def test_room_again(self):
        self.mounted("size=20k")
        daemon = self.started()
        ballast = self.fill()
        self.move(HOME2)
        daemon.wait_event("save", seconds=15, result="failed")
        os.unlink(ballast)
        self.assertEqual(daemon.stop(), 0, daemon)
        self.assertEqual(self.said(daemon), ["failed", "done"], daemon)
        self.assertIn(HOME2.encode(), self.fence.saved()["state"])

    def test_read_only(self):
        self.mounted("ro")
        daemon = self.started()
        failed = daemon.wait_event("save", seconds=15, result="failed")
        self.assertIn("Read-only file system", failed["error"])
        self.move(HOME2, HOME)
        self.pbx.run(["mount", "-o", "remount,rw", self.fence.state])
        self.assertEqual(daemon.stop(), 0, daemon)
        self.assertEqual(self.said(daemon), ["failed", "done"], daemon)
        self.assertIn(HOME.encode(), self.fence.saved()["state"])

    def test_read_only_to_the_end(self):
        self.mounted("ro")
        daemon = self.started()
        daemon.stop()
        self.assertAllowed(HOME)
        self.assertShut(ROGUE)

    def test_state_folder_removed_and_back(self):
        daemon = self.started()
        os.rename(self.fence.state, self.fence.state + ".away")
        self.move(HOME2)
        os.rename(self.fence.state + ".away", self.fence.state)
        self.move(HOME)
        daemon.stop()
        self.assertIn(HOME.encode(), self.fence.saved()["state"])

    def test_state_folder_missing_at_the_start(self):
        os.rmdir(self.fence.state)
        daemon = self.started()
        daemon.stop()
        self.assertIn(HOME.encode(), self.fence.saved()["state"])


class DamagedState(DaemonCase):
    def damaged(self, change):
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        self.assertAllowed(HOME)
        daemon.stop()
        self.pbx.run(["nft", "flush", "ruleset"])
        path = os.path.join(self.fence.state, "state")
        with open(path, "rb") as file:
            data = change(file.read())
        with open(path, "wb") as file:
            file.write(data)
        return data

    def test_set_aside(self):
        for name, change in (("half", lambda data: data[:len(data) // 2]), ("empty", lambda data: b""),
                             ("garbage", lambda data: os.urandom(4096)),
                             ("another address", lambda data: data.replace(b"113.10", b"113.66"))):
            with self.subTest(name):
                data = self.damaged(change)
                self.dns_silent()
                daemon = self.daemon()
                self.assertEqual(self.hosts4(), [])
                self.assertPasses(LAN)
                self.assertShut(HOME, ROGUE)
                daemon.wait_log("state")
                self.assertIn(data, [content for name, content in self.fence.saved().items()
                                     if name != "state"], "the damaged file is lost: %s" % daemon)
                self.points(HOME)
                self.assertAllowed(HOME, seconds=8)
                daemon.stop()
                self.assertIn(HOME.encode(), self.fence.saved()["state"])

    def test_it_can_not_be_read(self):
        """A folder in its place. The port is guarded all the same."""
        self.damaged(lambda data: data)
        path = os.path.join(self.fence.state, "state")
        os.unlink(path)
        os.mkdir(path)
        daemon = self.daemon(codes=(0, 1))
        self.assertAllowed(HOME)
        self.assertShut(ROGUE)
        daemon.wait_log(re.escape(path))
        self.assertTrue(os.path.isdir(path))


class Clocks(DaemonCase):
    def test_boot_time_that_passed_while_nobody_ran(self):
        """A time namespace whose boot lies 25 hours further back: `hold` is over at the start."""
        later = ["unshare", "-T", "--boottime", str(25 * 3600)]
        try:
            self.pbx.run([*later, "--fork", "true"])
        except RuntimeError as error:
            self.skipTest("no time namespaces here: %s" % error)
        self.points(HOME)
        self.configure("hold: 24h\n")
        daemon = self.daemon()
        self.assertAllowed(HOME)
        daemon.stop()
        self.dns_silent()
        daemon = self.daemon()
        self.assertEqual(self.hosts4(), [HOME])
        daemon.stop()
        # Such a namespace is for the children of who made it; they end with it.
        keeper = self.fence.host.popen(
            [*later, "--fork", "--kill-child=TERM", *self.fence.argv("run")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.fence.environment)
        self.assertAllowed()
        self.assertShut(HOME)
        keeper.kill()
        keeper.wait()
        self.assertTrue(wait_until(lambda: not os.path.exists(daemon.control_path)), "it lives on")


if __name__ == "__main__":
    main(at_once=4)
