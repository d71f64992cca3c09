#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the kernel has counted in `status`, and `status --watch` on a real pseudo-terminal: drawn in place,
followed when it is resized, put back in order at every end.
"""
import os
import re
import signal
import time

from daemon_case import HOME, HOME2, NAME, PBX, PATIENCE, ROGUE
from harness import NO_CAPS, main, wait_until
from screen import Terminal
from scripted_dns import answer as scripted, delay, nodata, rcode
from test_status import Base, row

# Nobody else talks to it: connection tracking remembers.
TRUNK = "198.51.100.67"
WIDTHS = (200, 80, 60, 40, 24)


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(word) for word in file.read().split()]


class Counted(Base):
    def packets(self, name=NAME):
        found = [item["packets"] for item in self.document()["names"] if item["name"] == name]
        return found[0]

    def document(self):
        return self.fence.run("status", "--json").json()

    def test_packets_and_who_was_kept_out(self):
        self.good()
        self.assertEqual(self.packets(), 0)
        self.assertIn("nobody was kept out in the last hour", self.fence.run("status").out)
        for _ in range(3):
            self.assertPasses(HOME)
        for _ in range(2):
            self.assertShut(ROGUE)
        self.assertShut(HOME2)
        packets = self.packets()
        self.assertGreaterEqual(packets, 3)
        out = self.fence.run("status").out
        self.assertRegex(row(out, "extension 21"), r" %d +<\d+ \w+$" % packets)
        self.assertRegex(out, r"(?m)^1 name: .*; dropped: sip \d+ packets?$")
        self.assertIn("2 sources were kept out in the last hour", out)
        self.assertRegex(row(out, ROGUE), r"^198\.51\.100\.66 +sip +\d+ +\d s$")
        self.assertLess(out.index(ROGUE), out.index(HOME2), "the most packets come first")
        self.assertNotIn("trunk", out)
        traffic = self.document()["traffic"]
        self.assertEqual([(source["address"], source["service"], source["answers"])
                          for source in traffic["kept_out"]],
                         [(ROGUE, "sip", False), (HOME2, "sip", False)])
        kept = sum(source["packets"] for source in traffic["kept_out"])
        self.assertEqual(traffic["dropped"][0]["service"], "sip")
        self.assertEqual(traffic["dropped"][0]["packets"], kept)
        self.assertGreater(traffic["dropped"][0]["bytes"], kept * 28)
        self.assertNotIn("kept out", self.fence.run("-q", "status").out)

    def test_beside_a_config_that_is_broken(self):
        """The daemon's copy of the last good one has the names of the services as well."""
        self.good()
        self.assertShut(ROGUE)
        self.fence.config("extensions: {21: \n")
        self.assertIn("1 source was kept out in the last hour", self.fence.run("status").out)
        self.assertEqual(self.document()["traffic"]["kept_out"][0]["address"], ROGUE)

    def test_last_is_when_the_last_packet_came(self):
        self.good()
        self.assertShut(ROGUE)
        time.sleep(2.2)
        first = self.document()["traffic"]["kept_out"][0]["last"]
        self.assertRegex(row(self.fence.run("status").out, ROGUE), r" [2-5] s$")
        self.assertShut(ROGUE)
        self.assertGreater(self.document()["traffic"]["kept_out"][0]["last"], first)

    def test_many_are_cut(self):
        self.good()
        numbers = range(100, 130)
        self.net.rogue.ip("\n".join("addr add 198.51.100.%d/32 dev eth0" % number for number in numbers))
        for number in numbers:
            with self.net.rogue.udp("198.51.100.%d" % number) as sender:
                sender.sendto(b"x", (PBX, 5060))
        out = self.fence.run("status").out
        self.assertIn("30 sources were kept out in the last hour", out)
        self.assertIn("and 20 more (status -v, or --json)", out)
        self.assertNotIn("more (status", self.fence.run("-v", "status").out)

    def test_a_trunk_that_is_not_listed(self):
        """The PBX sends to it first: its answers are dropped, and that is said."""
        self.good()
        self.pbx.nft("table ip tracking { chain c { type filter hook output priority 0; "
                     "ct state new accept; }; }")
        with self.pbx.udp(PBX, 5060) as ours, self.net.rogue.udp(TRUNK, 5060) as theirs:
            ours.sendto(b"OPTIONS", (TRUNK, 5060))
            self.assertEqual(theirs.recvfrom(100)[0], b"OPTIONS")
            theirs.sendto(b"200 OK", (PBX, 5060))
            wait_until(lambda: self.document()["traffic"]["kept_out"], 3)
            self.assertIs(self.document()["traffic"]["kept_out"][0]["answers"], True)
            self.assertShut(HOME2)
            out = self.fence.run("status").out
        self.assertRegex(out, r"(?m)^198\.51\.100\.67 .*\n    it answers what the PBX sends: a trunk that is "
                         r"not listed\?\n203\.0\.113\.77 .*$")
        self.assertEqual(out.count("a trunk that is not listed?"), 1)

    def test_without_a_daemon(self):
        daemon = self.good()
        self.assertPasses(HOME)
        self.assertShut(ROGUE)
        before = self.packets()
        daemon.stop()
        result = self.fence.run("status")
        if "kernel" in result.out and "nobody is kept out" in result.out:
            self.skipTest("the table does not outlive its daemon here")
        self.assertRegex(row(result.out, "extension 21"), r" %d +-$" % before)
        self.assertIn("1 source was kept out in the last hour", result.out)
        self.assertEqual(self.packets(), before)

    def test_who_may_not_look(self):
        """Without the right to, nothing is known, and nothing fails."""
        self.good()
        for prefix in (NO_CAPS,):
            result = self.assertCode(self.fence.run("status", prefix=prefix), 0)
            self.assertIn("packets, and who is kept out: not known here", result.out)
            self.assertNotIn("PACKETS", result.out)
            document = self.fence.run("status", "--json", prefix=prefix).json()
            self.assertIsNone(document["traffic"])
            self.assertIsNone(document["names"][0]["packets"])

    def test_monitor(self):
        self.points(HOME)
        self.configure("mode: monitor\n")
        daemon = self.daemon()
        self.settled(daemon, 1)
        self.assertIn("nobody would have been kept out in the last hour", self.fence.run("status").out)
        self.assertPasses(ROGUE)
        out = self.fence.run("status").out
        self.assertIn("1 source would have been kept out in the last hour", out)
        self.assertRegex(out, r"; would drop: sip \d+ packet")


class Watch(Base):
    def watch(self, columns=100, rows=40, *more, **keywords):
        return Terminal(self.fence, columns, rows, "status", "--watch", "--interval=1s", *more, **keywords)

    def test_follows_in_place(self):
        daemon = self.good()
        with self.watch() as terminal:
            terminal.wait(lambda: HOME in terminal.text() and "q ends" in terminal.text())
            self.assertTrue(terminal.screen.alternate)
            self.assertFalse(terminal.screen.cursor_shown)
            self.assertRegex(terminal.text(), r"(?m)^\d\d:\d\d:\d\d  every 1 s; q ends$")
            self.points(HOME2)
            self.assertAllowed(HOME2)
            terminal.wait(lambda: HOME2 in terminal.text())
            self.assertNotIn(HOME, row(terminal.text(), "extension 21"))
            self.assertEqual(terminal.text().count("extension 21"), 1)
            self.assertShut(ROGUE)
            terminal.wait(lambda: ROGUE in terminal.text())
            self.dns_broken()
            daemon.wait_event("state", 10, state="held")
            terminal.wait(lambda: "held" in row(terminal.text(), "extension 21"))
            self.assertEqual(terminal.screen.scrolled, 0)
            terminal.keys("xyz")
            terminal.wait(lambda: time.sleep(0.3) is None)
            self.assertNotIn("xyz", terminal.text())
            terminal.keys("q")
            self.assertEqual(terminal.end(), 0)
            self.assertTrue(terminal.is_as_before())

    def test_survives_the_daemon(self):
        daemon = self.good()
        with self.watch() as terminal:
            terminal.wait(lambda: "running since" in terminal.text())
            daemon.stop()
            terminal.wait(lambda: "no daemon is running" in terminal.text())
            self.assertIn(HOME, terminal.text())
            self.assertNotIn("running since", terminal.text())
            terminal.keys("\x03")
            self.assertEqual(terminal.end(), 0)
            self.assertTrue(terminal.is_as_before())

    def test_ends(self):
        """Whatever ends it, the terminal is as it was."""
        self.good()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(signal=number), self.watch() as terminal:
                terminal.wait(lambda: HOME in terminal.text())
                terminal.send_signal(number)
                self.assertEqual(terminal.end(), 0 if number == signal.SIGINT else -number)
                self.assertTrue(terminal.is_as_before(), terminal.raw[-100:])
        with self.subTest("what draws is killed"), self.watch() as terminal:
            terminal.wait(lambda: HOME in terminal.text())
            os.kill(children(terminal.child.pid)[0], signal.SIGKILL)
            self.assertEqual(terminal.end(), 1)
            self.assertTrue(terminal.is_as_before())
            self.assertIn("ended by signal 9", terminal.text())
        # Below a shell that stays, so that no hangup comes.
        shell = ["/bin/sh", "-c", '"$@"; exec sleep 20', "sh", *self.fence.argv("status", "--watch")]
        with self.subTest("what waits is killed"), self.watch(argv=shell) as terminal:
            terminal.wait(lambda: HOME in terminal.text())
            waiting = children(terminal.child.pid)[0]
            drawing = children(waiting)[0]
            os.kill(waiting, signal.SIGKILL)
            self.assertTrue(wait_until(lambda: not os.path.exists("/proc/%d" % drawing), 5))
            self.assertIsNone(terminal.child.poll())

    def test_a_daemon_that_does_not_answer(self):
        """^C does not wait for it."""
        daemon = self.good()
        daemon.send_signal(signal.SIGSTOP)
        try:
            with self.watch() as terminal:
                terminal.wait(lambda: terminal.screen.alternate)
                time.sleep(0.5)
                start = time.monotonic()
                terminal.keys("\x03")
                self.assertEqual(terminal.end(), 0)
                self.assertLess(time.monotonic() - start, 3)
                self.assertTrue(terminal.is_as_before())
        finally:
            daemon.send_signal(signal.SIGCONT)

    def test_stop_and_go_on(self):
        """^Z gives the shell its screen; fg takes it again."""
        self.good()
        with self.watch() as terminal:
            terminal.wait(lambda: HOME in terminal.text())
            terminal.send_signal(signal.SIGTSTP)
            terminal.wait(terminal.is_as_before)
            terminal.send_signal(signal.SIGCONT)
            terminal.wait(lambda: terminal.screen.alternate and HOME in terminal.text())
            terminal.keys("q")
            self.assertEqual(terminal.end(), 0)
            self.assertTrue(terminal.is_as_before())

    def test_widths(self):
        """Columns go, sense stays: who, which address, what state, what is wrong with it; resized as it
        runs."""
        self.mixed()
        with self.watch(132, 60, "--interval=9s") as terminal:
            terminal.wait(lambda: "q ends" in terminal.text())
            for columns in WIDTHS:
                with self.subTest(columns=columns):
                    start = time.monotonic()
                    terminal.resize(columns, 60)
                    terminal.wait(lambda: "every" in terminal.text() and "local subnets" in terminal.text())
                    self.assertLess(time.monotonic() - start, 4.0, "not at once")
                    time.sleep(0.2)
                    terminal.read(0)
                    flat = re.sub(r"\s+", " ", terminal.text())
                    for words in ("table inet sipfence in force", "1 refused", "extension 9", "peer carrier",
                                  "`within` does not name it", "DNS says that it has no address",
                                  "198.51.100.7", HOME, "never answered"):
                        self.assertIn(words, flat, terminal.text())
                    self.assertRegex(flat, r"extension 21 .*%s fresh" % HOME.replace(".", r"\."))
                    self.assertEqual(terminal.screen.scrolled, 0)
                    self.assertEqual("AGE" in flat, columns > 110)
            terminal.keys("q")
            self.assertEqual(terminal.end(), 0)

    def test_heights(self):
        """Problems stay, then what fits; who is kept out keeps its place."""
        self.mixed()
        self.assertShut(ROGUE)
        with self.watch(120, 14) as terminal:
            for rows in (14, 20, 8, 3, 1, 60):
                with self.subTest(rows=rows):
                    terminal.resize(120, rows)
                    terminal.wait(lambda: ("running since" if rows == 1 else "q ends") in terminal.text())
                    time.sleep(0.2)
                    terminal.read(0)
                    self.assertEqual(terminal.screen.scrolled, 0)
                    if rows == 14:
                        self.assertIn("extension 9 ", terminal.text())
                    if 8 <= rows < 25:
                        self.assertRegex(terminal.text(), r"\(\d+ more lines\)")
                    if rows >= 14:
                        self.assertIn(ROGUE, terminal.text())
                    if rows == 60:
                        self.assertNotIn("more lines", terminal.text())
            terminal.keys("q")
            self.assertEqual(terminal.end(), 0)

    def test_colours(self):
        self.mixed()
        with self.watch() as terminal:
            terminal.wait(lambda: "q ends" in terminal.text())
            self.assertIn("31", terminal.screen.styles)
            terminal.keys("q")
            self.assertEqual(terminal.end(), 0)
        for options, env in (((), {"NO_COLOR": "1"}), (("--color=never",), {})):
            with self.watch(100, 40, *options, env=env) as terminal:
                terminal.wait(lambda: "q ends" in terminal.text())
                self.assertLessEqual(terminal.screen.styles, {"0"})
                terminal.keys("q")
                self.assertEqual(terminal.end(), 0)
                self.assertNotIn("\x1b[3", terminal.raw)

    def test_names_draw_nothing(self):
        """What stands in a config's ids or in DNS never reaches the terminal as it is."""
        self.good()
        self.fence.config('"2\\e[31m\\u0007\\u0085é": 1\n')
        self.assertCode(self.fence.run("reload"), 2)
        with self.watch() as terminal:
            terminal.wait(lambda: HOME in terminal.text())
            self.assertIn("\\x1b[31m\\x07", terminal.text())
            terminal.keys("q")
            self.assertEqual(terminal.end(), 0)

    def test_errors_stand_on_the_screen(self):
        """Without daemon and state file it says so, again and again, and goes on when there is one."""
        self.points(HOME)
        self.configure()
        with self.watch() as terminal:
            terminal.wait(lambda: "no former run has left a state file" in terminal.text())
            daemon = self.daemon()
            terminal.wait(lambda: "running since" in terminal.text(), 10 * PATIENCE)
            self.assertNotIn("no former run", terminal.text())
            terminal.keys("q")
            self.assertEqual(terminal.end(), 0)
            self.assertTrue(daemon.runs())

    def test_where_it_cannot_be_drawn(self):
        self.good()
        result = self.assertCode(self.fence.run("status", "--watch"), 2)
        self.assertIn("--watch needs a terminal", result.err)
        with self.watch(env={"TERM": "dumb"}) as terminal:
            self.assertEqual(terminal.end(), 2)
            self.assertNotIn("\x1b", terminal.raw)
        for options in (["--json", "--watch"], ["--watch", "--prometheus"], ["--interval=0s"],
                        ["--interval=2h"], ["--interval=x"]):
            self.assertCode(self.fence.run("status", *options), 2)


class Progress(Base):
    """The line that a sync of many names draws."""
    COUNT = 300

    def many(self, count=COUNT):
        # A server that takes its time: there is something to look at.
        self.server.default = delay(600, scripted(HOME))
        self.configure("", ", ".join(
            "%d: n%d.example" % (1000 + number, number) for number in range(count)), timeout="5s")

    def sync(self, columns=80, *options, **more):
        terminal = Terminal(self.fence, columns, 24, "sync", *options, **more)
        shown = set()
        with terminal:
            def ended():
                shown.update(line for line in terminal.screen.lines() if line)
                return terminal.child.poll() is not None
            terminal.wait(ended, 30 * PATIENCE)
            terminal.read(0.1)
        return terminal, {line for line in shown if re.search(r"\d+(/| of )\d+", line)}

    def test_on_a_terminal(self):
        self.many()
        terminal, shown = self.sync()
        self.assertGreater(len(shown), 1, "one line, that counts")
        for line in shown:
            self.assertRegex(line, r"^resolving: \d+ of 600 questions answered$")
        self.assertNotIn("resolving", terminal.text(), "it is left behind")
        self.assertIn("installed table inet sipfence", terminal.text())
        self.assertLessEqual(terminal.raw.count("\n"), len(terminal.text().split("\n")))

    def test_narrow(self):
        self.many()
        terminal, shown = self.sync(30)
        for line in shown:
            self.assertRegex(line, r"^\d+/600$")
        self.assertTrue(shown)
        self.assertNotIn("/600", terminal.text())

    def test_quiet(self):
        """Without a terminal, with -q, and for a few names nothing is drawn."""
        self.many()
        result = self.assertCode(self.fence.run("sync"), 0)
        self.assertNotIn("resolving", result.err + result.out)
        self.assertNotIn("\r", result.err + result.out)
        _, shown = self.sync(80, "-q")
        self.assertEqual(shown, set())
        self.many(200)
        _, shown = self.sync()
        self.assertEqual(shown, set())

    def test_cron_says_what_changed(self):
        """Nothing changed: not a word. A name that fails is said once, and once when it is well again."""
        self.many(3)
        self.server.default = scripted(HOME, ttl=1)
        self.assertCode(self.fence.run("sync"), 0)
        for _ in range(2):
            result = self.assertCode(self.fence.run("sync"), 0)
            self.assertEqual(result.out + result.err, "")
        self.server.set("n1.example", "A", rcode("SERVFAIL"))
        self.server.set("n1.example", "AAAA", rcode("SERVFAIL"))
        result = self.assertCode(self.fence.run("sync"), 3)
        self.assertIn("n1.example", result.err)
        result = self.assertCode(self.fence.run("sync"), 3)
        self.assertEqual(result.out + result.err, "")
        self.points(HOME, name="n1.example")
        self.server.set("n1.example", "AAAA", nodata())
        result = self.assertCode(self.fence.run("sync"), 0)
        self.assertIn("n1.example", result.out + result.err)
        self.points(HOME2, name="n2.example")
        result = self.assertCode(self.fence.run("sync"), 0)
        self.assertRegex(result.out, r"(?m)^\+ sip 203\.0\.113\.77 .*n2\.example")
        self.assertEqual(result.err, "")


if __name__ == "__main__":
    main(at_once=2)
