#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who had which address when: what sync and the daemon record, and the command `history`."""
import datetime
import os
import re
import shutil
import subprocess
import time
import unittest

from harness import PATH, Case, main, privileged, sanitized, wait_until

NAME, HOME, HOME2, HOME3 = "home21.example", "203.0.113.10", "203.0.113.77", "203.0.113.99"
PATIENCE = 3 if sanitized() else 1
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [a-z]+( \S+)*")


def stamp(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def entry(text, kind="extension", ident="21", host=NAME, address=HOME, since=None):
    words = [text, kind, ident, host, "AAAA" if ":" in address else "A", address]
    return " ".join(words + ([since] if since else []))


class Base(Case):
    shared_net = True
    needs = ("knotd", "knsupdate")

    def setUp(self):
        super().setUp()
        self.dns = self.knot(records="home21 5 A %s\nhome22 5 A 203.0.113.22\n" % HOME)
        self.configure()

    def configure(self, more="", extensions="21: home21.example, 22: home22.example"):
        self.fence.config("extensions: {%s}\nrefresh: {min: 1s, max: 1s}\n%s%s"
                          % (extensions, self.dns.resolver(), more))

    def path(self, number=0):
        return os.path.join(self.fence.state, "history" + (".%d" % number if number else ""))

    def lines(self, number=0):
        """Without their times; the file must be one of whole lines, each as the manual has it."""
        try:
            with open(self.path(number)) as file:
                text = file.read()
        except FileNotFoundError:
            return []
        for line in text.split("\n")[:-1]:
            self.assertRegex(line, LINE)
        self.assertTrue(text.endswith("\n"), text)
        lines = [line.partition(" ")[2] for line in text.splitlines()]
        return [line for line in lines if not line.startswith("listed ")]

    def write(self, *lines, number=0):
        os.makedirs(self.fence.state, exist_ok=True)
        with open(self.path(number), "w") as file:
            file.write("".join(line + "\n" for line in lines))

    def sync(self, code=0):
        return self.assertCode(self.fence.run("sync", "--yes"), code)

    def history(self, *arguments, code=0, **more):
        return self.assertCode(self.fence.run("history", *arguments, **more), code)

    def entries(self, *arguments, **more):
        return self.history("--json", *arguments, **more).json()["entries"]

    def had(self, ident="21"):
        return [item["prefix"] for item in self.entries(ident) if item["to"] is None]


class OfSync(Base):
    def test_runs_record_what_has_changed(self):
        self.sync()
        self.assertEqual(self.lines()[:2], ["file 1 off -", "sync"])
        self.assertEqual(sorted(self.lines()[2:]), [
            entry("gained"), entry("gained", ident="22", host="home22.example", address="203.0.113.22")])
        before = len(self.lines())
        self.sync()
        self.assertEqual(self.lines()[before:], ["sync"], "nothing had changed")
        self.dns.move(NAME, HOME2, ttl=5)
        self.sync()
        self.assertEqual(self.lines()[before + 1:],
                         ["sync", entry("lost"), entry("gained", address=HOME2)])

    def test_dry_runs_record_nothing(self):
        for option in ("--dry-run", "--diff"):
            self.fence.run("sync", option)
            self.assertFalse(os.path.exists(self.path()), option)

    def test_extension_that_left_the_config_has_lost_its_address(self):
        self.sync()
        before = len(self.lines())
        self.configure(extensions="22: home22.example, 23: home22.example")
        self.sync()
        self.assertEqual(self.lines()[before:], [
            "sync", entry("lost"), entry("gained", ident="23", host="home22.example", address="203.0.113.22")])

    def test_prefix_is_what_was_permitted(self):
        self.dns.update("add home21.example. 5 AAAA 2001:db8:21::10")
        self.configure(extensions="21: {hosts: [home21.example], ipv6-prefix: 64}")
        self.sync()
        self.assertIn(entry("gained", address="2001:db8:21::/64"), self.lines())
        self.assertEqual(len(self.entries("2001:db8:21::99")), 1, "an address in the prefix")
        self.assertEqual(self.entries("2001:db8:22::99"), [])

    def test_ids_of_all_signs(self):
        self.configure(extensions='"a.b_+-*#@!~": home21.example, "0021": home22.example')
        self.sync()
        self.assertIn(entry("gained", ident="a.b_+-*#@!~"), self.lines())
        self.assertEqual(len(self.entries("a.b_+-*#@!~")), 1)
        self.assertEqual(len(self.entries("0021")), 1)
        self.assertIn("neither in the config nor in the history", self.history("21", code=2).err)

    def test_read_only_state_stops_no_sync_that_could_save(self):
        """The history is a folder: the state can be saved, it can't."""
        os.mkdir(self.path())
        result = self.sync()
        self.assertIn("history", result.err)
        self.assertEqual(sorted(self.net.pbx.elements("sip_hosts4")), [HOME, "203.0.113.22"])

    def test_cut_line_is_passed_over_and_never_completed(self):
        self.sync()
        with open(self.path(), "a") as file:
            file.write(stamp(time.time()) + " gained extension 21 home21.example A 203.0.113.7")
        self.assertEqual(self.had(), [HOME])
        self.sync()
        with open(self.path()) as file:
            self.assertIn("203.0.113.7?\n", file.read())
        self.assertEqual(self.had(), [HOME])


class Unchanged(Base):
    """What ends a look, so that the next one need not read the file."""
    needs = (*Base.needs, "strace")

    def setUp(self):
        super().setUp()
        self.log = os.path.join(self.directory, "strace.log")
        strace = shutil.which("strace", path=PATH)
        if subprocess.run([strace, "-o", self.log, "true"], stderr=subprocess.DEVNULL, timeout=30).returncode:
            self.skipTest("no process can be traced here")
        # Leaks can't be looked for in a traced process.
        self.fence.environment["ASAN_OPTIONS"] += ":detect_leaks=0"
        self.prefix = [strace, "-y", "-o", self.log, "-e", "trace=read"]
        self.sync()
        with open(self.path(), "a") as file:
            file.write((stamp(time.time()) + " alive\n") * 1000)

    def bytes_read(self):
        self.assertCode(self.fence.run("sync", "--yes", prefix=self.prefix), 0)
        with open(self.log) as file:
            return sum(int(line.rpartition("= ")[2]) for line in file if "/history>" in line)

    def test_its_end_alone_is_read(self):
        before = os.path.getsize(self.path())
        self.assertEqual(self.bytes_read(), before + 256, "another line stands behind `listed`")
        for _ in range(2):
            self.assertIn(self.bytes_read(), range(1, 257))
        self.assertEqual(self.lines()[-3:], ["sync"] * 3)
        self.dns.move(NAME, HOME2, ttl=5)
        self.assertGreater(self.bytes_read(), before)
        self.assertEqual(self.lines()[-2:], [entry("lost"), entry("gained", address=HOME2)])
        self.assertEqual(self.had(), [HOME2])
        self.daemon().stop()
        self.assertEqual(self.lines()[-2:], ["run", "end"])
        self.assertEqual(self.had(), [HOME2])

    def test_a_line_that_is_missing_is_said_again(self):
        self.sync()
        with open(self.path()) as file:
            text = file.read()
        with open(self.path(), "w") as file:
            file.writelines(line for line in text.splitlines(True) if HOME not in line)
        self.assertEqual(self.had(), [])
        self.sync()
        self.assertEqual(self.had(), [HOME])


class OfTheDaemon(Base):
    def test_changes_restarts_and_the_end(self):
        daemon = self.daemon()
        self.assertTrue(wait_until(lambda: entry("gained") in self.lines(), 5 * PATIENCE), self.lines())
        self.assertEqual(self.lines()[:2], ["file 1 off -", "run"])
        self.dns.move(NAME, HOME2, ttl=1)
        self.assertTrue(wait_until(lambda: entry("gained", address=HOME2) in self.lines(), 5 * PATIENCE))
        self.assertEqual(self.lines()[-2:], [entry("lost"), entry("gained", address=HOME2)])
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(self.lines()[-1], "end")
        before = len(self.lines())
        self.daemon().stop()
        self.assertEqual(self.lines()[before:], ["run", "end"], "nothing had changed")

    def test_reload_is_no_gap(self):
        daemon = self.daemon()
        self.assertTrue(wait_until(lambda: entry("gained") in self.lines(), 5 * PATIENCE))
        before = len(self.lines())
        # What changes in the second of a look is taken for found by it.
        time.sleep(1.1)
        self.configure(extensions="22: home22.example")
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertTrue(wait_until(lambda: entry("lost") in self.lines(), 5 * PATIENCE), self.lines())
        self.assertEqual(self.lines()[before:], [entry("lost")], daemon)
        found = self.entries("21")
        self.assertEqual(found[0]["to"], found[0]["to_after"])

    def test_change_is_there_after_a_kill(self):
        """As far as the kernel has it, the history has it, too: it is queued first."""
        daemon = self.daemon()
        self.assertTrue(wait_until(lambda: HOME in self.net.pbx.elements("sip_hosts4"), 5 * PATIENCE))
        for number in range(1, 6):
            address = "203.0.113.%d" % (100 + number)
            self.dns.move(NAME, address, ttl=1)
            self.assertTrue(wait_until(lambda a=address: a in self.net.pbx.elements("sip_hosts4"),
                                       5 * PATIENCE, 0.001))
            daemon.kill()
            found = self.had()
            daemon = self.daemon()
            # The disk's thread may be a moment behind; then the next run finds it.
            self.assertTrue(wait_until(lambda a=address: self.had() == [a], 5 * PATIENCE), found)
        daemon.stop()
        self.assertEqual(len(self.entries("21")), 6)

    def test_full_disk_stops_nothing_and_is_said_once(self):
        self.net.pbx.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", self.fence.state])
        self.addCleanup(self.net.pbx.run, ["umount", self.fence.state])
        daemon = self.daemon()
        state = "/proc/%d/root%s" % (daemon.pid, self.fence.state)
        ballast = os.path.join(state, "ballast")
        self.assertTrue(wait_until(lambda: os.path.exists(os.path.join(state, "history")), 5 * PATIENCE))
        time.sleep(0.5)
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 512)
            except OSError:
                pass
        # What there is of the last page is soon full as well.
        for number in range(1, 60):
            self.dns.move(NAME, "203.0.113.%d" % (100 + number % 2), ttl=1)
            self.assertTrue(wait_until(lambda n=number: "203.0.113.%d" % (100 + n % 2)
                                       in self.net.pbx.elements("sip_hosts4"), 5 * PATIENCE))
            if daemon.events("history"):
                break
        failed = daemon.events("history")
        self.assertEqual(len(failed), 1, daemon)
        self.assertEqual(failed[0]["result"], "failed")
        self.assertTrue(failed[0]["next"])
        self.dns.move(NAME, HOME3, ttl=1)
        self.assertTrue(wait_until(lambda: HOME3 in self.net.pbx.elements("sip_hosts4"), 5 * PATIENCE))
        os.unlink(ballast)
        daemon.wait_event("history", 75 * PATIENCE, result="done")
        self.assertEqual(len(daemon.events("history")), 2)
        with open(os.path.join(state, "history")) as file:
            text = file.read()
        self.assertIn(" missed\n", text)
        self.assertRegex(text, " missed\n(.* lost .*\n)?.* gained .* %s\n" % re.escape(HOME3))


class Rotation(Base):
    def fill(self, count=14000, start=1700000000):
        """A file that is longer than a file may be: extension 21 has moved that often."""
        lines = [stamp(start) + " file 1 off -", stamp(start) + " run"]
        for number in range(count):
            address = "198.51.100.%d" % (number % 200 + 1)
            lines.append(stamp(start + 10 * number) + " " + entry("gained", address=address))
            if number < count - 1:
                lines.append(stamp(start + 10 * number + 9) + " " + entry("lost", address=address))
        lines.append(stamp(start + 10 * count) + " end")
        self.write(*lines)
        return address, stamp(start + 10 * (count - 1))

    def test_each_file_stands_alone(self):
        last, since = self.fill()
        for number in range(1, 10):
            self.write("%s file 1 off -" % stamp(1600000000 - number), number=number)
        self.sync()
        self.assertEqual(self.lines(10), [], "one file more than is promised")
        self.assertEqual(self.lines(9), ["file 1 off -"])
        self.assertGreater(len(self.lines(1)), 20000)
        self.assertEqual(self.lines(1)[-1], entry("gained", ident="22", host="home22.example",
                                                  address="203.0.113.22"))
        self.assertRegex(self.lines()[0], "^file 1 off 20")
        self.assertEqual(len(self.lines()), 3, self.lines())
        os.unlink(self.path(1))
        os.unlink(self.path(2))
        self.assertEqual(self.had(), [HOME])
        self.assertEqual(last, "198.51.100.200")
        self.assertEqual(os.listdir(self.fence.state).count("history.next"), 0)
        del since

    def test_what_was_had_before_keeps_its_time(self):
        self.configure(extensions="21: home21.example")
        self.sync()
        begun = self.entries("21")[0]["from"]
        with open(self.path(), "a") as file:
            for _ in range(50000):
                file.write(begun + " alive\n")
        time.sleep(1.1)
        self.sync()
        self.assertEqual(self.lines()[1:], [entry("has", since=begun)])
        for name in ("history.1",):
            os.unlink(os.path.join(self.fence.state, name))
        found = self.entries("21")
        self.assertEqual([(item["from"], item["to"]) for item in found], [(begun, None)])

    def test_killed_between_two_renames(self):
        self.sync()
        os.rename(self.path(), self.path(1))
        self.sync()
        self.assertEqual(self.lines()[-1], "sync")
        self.assertEqual(sum(line.startswith("has ") for line in self.lines()), 2)
        self.assertEqual(len(self.entries()), 2)


class Asked(Base):
    """A history of 2026-11-22, in UTC: 21 moved at 10:00 and 11:00, a gap from 12:00 to 18:00."""

    def setUp(self):
        super().setUp()
        day = "2026-11-22T"
        self.write(day + "08:00:00Z file 1 off -", day + "08:00:00Z run",
                   day + "08:00:00Z " + entry("gained"),
                   day + "08:00:00Z " + entry("gained", kind="peer", ident="voipco", host="sip.voipco.example",
                                              address="198.51.100.5"),
                   day + "10:00:00Z " + entry("lost"),
                   day + "10:00:00Z " + entry("gained", address=HOME2),
                   day + "11:00:00Z " + entry("gained", ident="22", host="home22.example", address=HOME),
                   day + "12:00:00Z end",
                   day + "18:00:00Z sync",
                   day + "18:00:00Z " + entry("lost", address=HOME2),
                   day + "18:00:00Z " + entry("gained", address=HOME3))

    def test_table(self):
        out = self.history(env={"TZ": "UTC"}).out.splitlines()
        self.assertEqual(out[0].split(), ["WHO", "HOST", "ADDRESS", "FROM", "TO"])
        rows = [re.split("  +", line.strip()) for line in out[1:]]
        self.assertEqual(rows, [
            ["extension 21", NAME, HOME, "by 2026-11-22 08:00:00", "2026-11-22 10:00:00"],
            ["peer voipco", "sip.voipco.example", "198.51.100.5", "by 2026-11-22 08:00:00", "still"],
            ["extension 21", NAME, HOME2, "2026-11-22 10:00:00", "by 2026-11-22 18:00:00"],
            ["extension 22", "home22.example", HOME, "2026-11-22 11:00:00", "still"],
            ["extension 21", NAME, HOME3, "by 2026-11-22 18:00:00", "still"]])

    def test_local_time_zone(self):
        for zone, hour in (("UTC", "10"), ("Asia/Tokyo", "19"), ("EST5", "05")):
            with self.subTest(zone):
                result = self.history("22", env={"TZ": zone})
                self.assertIn("2026-11-22 %02d:00:00" % ((int(hour) + 1) % 24), result.out)
                found = self.entries("--until", "2026-11-22 %s:30" % hour, "--since",
                                     "2026-11-22 %s:10" % hour, "21", env={"TZ": zone})
                self.assertEqual([item["prefix"] for item in found], [HOME2])

    def test_filters(self):
        for what, wanted in ((["21"], [HOME, HOME2, HOME3]), (["extension:22"], [HOME]),
                             (["voipco"], ["198.51.100.5"]),
                             (["HOME22.example."], [HOME]), ([HOME], [HOME, HOME]),
                             (["22", "voipco"], ["198.51.100.5", HOME]),
                             (["--until", "2026-11-22 09:00:00Z", "21"], [HOME]),
                             (["--since", "2026-11-22 17:00:00Z", "21"], [HOME2, HOME3]),
                             (["--since", "2026-11-22 19:00:00Z", "21"], [HOME3])):
            with self.subTest(what):
                self.assertEqual([item["prefix"] for item in self.entries(*what)], wanted)

    def test_unheard_of(self):
        """Neither in the config nor in the history: a slip of the hand, if the config can be read."""
        self.fence.config("extensions: {77: home77.example}\n")
        for what in ("77", "extension:77", "home77.example", "22", "voipco", "home22.example", "192.0.2.250"):
            self.history(what)
        for what in ("99", "peer:22", "peer:77", "home99.example"):
            result = self.history(what, code=2)
            self.assertIn("%s is neither in the config nor in the history" % what, result.err)
        self.assertEqual(self.history("99", "--json", code=2).json()["result"], "error")
        self.fence.config("nonsense: 1\n")
        self.assertIn("nothing of that is known", self.history("99").err)

    def test_json(self):
        document = self.history("--json", "21").json()
        self.assertEqual((document["version"], document["command"], document["exit"]), (1, "history", 0))
        day = "2026-11-22T"
        self.assertEqual(document["recorded_since"], day + "08:00:00Z")
        self.assertEqual(document["entries"][1], {
            "kind": "extension", "id": "21", "host": NAME, "type": "A", "prefix": HOME2,
            "from": day + "10:00:00Z", "to": day + "18:00:00Z",
            "from_after": day + "10:00:00Z", "to_after": day + "12:00:00Z"})
        self.assertIsNone(document["entries"][0]["from_after"])
        self.assertIsNone(document["entries"][2]["to"])

    def test_times(self):
        now = time.time()
        self.write(stamp(now - 7200) + " file 1 off -", stamp(now - 7200) + " run",
                   stamp(now - 7200) + " " + entry("gained"), stamp(now - 3600) + " " + entry("lost"))
        self.assertEqual(len(self.entries("--since", "2h")), 1)
        self.assertEqual(len(self.entries("--since", "30m")), 0)
        self.assertEqual(len(self.entries("--since", "yesterday")), 1)
        self.assertEqual(len(self.entries("--until", "yesterday")), 0)
        clock = time.strftime("%H:%M", time.localtime(now - 60))
        if clock > "00:02":
            self.assertEqual(len(self.entries("--since", clock)), 0)
        for bad in ("tomorrow", "25:00", "2026-13-01", "", "10", "2026-11-22 10:55; id"):
            with self.subTest(bad):
                result = self.history("--since", bad, code=2)
                self.assertIn("--since", result.err)

    def test_reads_without_a_config(self):
        os.unlink(self.fence.path)
        self.assertEqual(len(self.entries()), 5)

    def test_nothing_recorded_yet(self):
        os.unlink(self.path())
        result = self.history()
        self.assertEqual(result.out, "")
        self.assertIn("nothing was recorded yet", result.err)

    @unittest.skipUnless(privileged(), "only root can be somebody else")
    def test_no_permission_says_what_to_do(self):
        os.chmod(self.fence.state, 0o700)
        result = self.history(prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"], code=1)
        self.assertIn("history", result.err)
        self.assertIn("root", result.err)

    def test_damaged_lines_are_passed_over(self):
        with open(self.path(), "ab") as file:
            file.write(b"\0\xff\033[31m garbage\n" + b"x" * 10000 + b"\n2026-11-22T19:00:00Z run\n")
        self.assertEqual(len(self.entries()), 5)
        self.assertNotIn("\033", self.history().out)


if __name__ == "__main__":
    main(2)
