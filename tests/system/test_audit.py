#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""sipfence audit on logs that a real Asterisk wrote (tests/asterisk/logs, with what really happened
in steps.tsv), and on the same in other dresses: dates, addresses, files."""

import datetime
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import Case as FenceCase, main
from scripted_dns import answer

SIPFENCE = os.environ.get("SIPFENCE", "build/cmd/sipfence/sipfence")
LOGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../asterisk/logs")
ROGUE, HOME, MOVED, LAN = "198.51.100.66", "203.0.113.10", "203.0.113.77", "192.168.1.50"

CONFIG = """
extensions:
  21: {hosts: [home.dyn.example], local: true}
  22: {hosts: [home.dyn.example], local: true}
  23: local
local-subnets: [192.168.1.0/24]
"""


def log(name):
    with open(os.path.join(LOGS, name), encoding="ascii") as file:
        return file.read().splitlines()


def steps():
    """What really happened: (seconds since the epoch, words)."""
    return [(int(line.split("\t")[0]), line.split("\t")[2]) for line in log("steps.tsv")]


FULL, SECURITY, BOTH = log("full.log"), log("security.log"), log("full-with-security.log")


def stamp(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(
        "%Y-%m-%dT%H:%M:%SZ")


def history(begin="2026-11-22T10:00:00Z", home=HOME, moved=MOVED, kind="A"):
    """The history that the steps' DNS would have left."""
    lines = [f"{begin} file 1 off -", f"{begin} run"]
    lines += [f"{begin} gained extension {e} home.dyn.example {kind} {home}" for e in (21, 22)]
    old = home
    for when, words in steps():
        found = re.search(r"dns (?:moves to )?(203\.0\.113\.\d+)", words)
        new = {HOME: home, MOVED: moved}[found[1]] if found else old
        if new != old:
            lines += [f"{stamp(when)} {word} extension {e} home.dyn.example {kind} {addr}"
                      for e in (21, 22) for word, addr in (("gained", new), ("lost", old))]
        old = new
    lines.append("2026-11-22T11:30:00Z alive")
    return "\n".join(lines) + "\n"


def logins_in_truth():
    """Of each extension, how often the rogue logged in by the security log: its lines that stand
    within a step of which steps.tsv says that the rogue was let in."""
    times = steps() + [(1 << 40, "")]
    count = {}
    for line in SECURITY:
        if 'SecurityEvent="SuccessfulAuth"' not in line or f"/{ROGUE}/" not in line:
            continue
        moment = float(stamp_of(line))
        words = next(w for (t, w), (n, _) in zip(times, times[1:]) if t <= moment < n)
        assert re.search("rogue|TAKEOVER|contact ACL", words), (line, words)
        extension = re.search('AccountID="([^"]*)"', line)[1]
        count[extension] = count.get(extension, 0) + 1
    return count


def stamp_of(line):
    text = re.search('EventTV="([^"]*)"', line)[1]
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.write("config.yaml", CONFIG)
        os.mkdir(self.path("state"), 0o700)
        self.write("state/history", history())

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mtime=1795344705):
        data = text if isinstance(text, bytes) else (
            text if isinstance(text, str) else "\n".join(text) + "\n").encode()
        with open(self.path(name), "wb") as file:
            file.write(gzip.compress(data) if name.endswith(".gz") else data)
        os.chmod(self.path(name), 0o600)
        os.utime(self.path(name), (mtime, mtime))
        return self.path(name)

    def sipfence(self, *arguments, stdin=None, zone="UTC"):
        return subprocess.run(
            [SIPFENCE, "-c", self.path("config.yaml"), "--state-dir", self.path("state"), "audit",
             *arguments], input=stdin, capture_output=True, timeout=120, check=False,
            env={"PATH": "/usr/bin:/bin", "TZ": zone, "LC_ALL": "C.UTF-8"})

    def audit(self, *arguments, code=3, stdin=None, zone="UTC", quiet=True):
        result = self.sipfence("--json", *arguments, stdin=stdin, zone=zone)
        self.assertEqual(result.returncode, code, result.stderr.decode())
        if quiet:
            self.assertEqual(result.stderr, b"")
        document = json.loads(result.stdout)
        self.assertEqual(document["exit"], code)
        return document

    def findings(self, document):
        """{(extension, address): (certainty, count)}"""
        return {(e["id"], a["address"]): (a["certainty"], a[a["certainty"]])
                for e in document["extensions"] for a in e["addresses"]}


TRUTH = logins_in_truth()
PROVEN = {(e, ROGUE): ("proven", n) for e, n in TRUTH.items()}
CLAIMED = {("21", ROGUE): ("claimed", 3), ("22", ROGUE): ("claimed", 3)}


class Truth(Case):
    def test_the_truth_is_what_it_was(self):
        # 2 takeovers, 1 toll call of pjsip, 2 refreshes, 2 unregister, 1 forged, 1 by contactacl,
        # 2 before the eviction
        self.assertEqual(TRUTH, {"21": 6, "22": 5})

    def test_both_logs_in_one(self):
        document = self.audit(self.write("full", BOTH))
        self.assertEqual(self.findings(document), PROVEN)
        self.assertEqual(document["judged_by"], "history")
        rogue = document["extensions"][0]["addresses"][0]
        self.assertEqual(rogue["first"], "2026-11-22T10:50:05Z")
        self.assertEqual(rogue["last"], "2026-11-22T10:50:52Z")
        self.assertEqual(rogue["user_agent"], "friendly-scanner")
        self.assertEqual(rogue["drivers"], ["chan_sip"])
        besides = rogue["besides"]
        self.assertEqual(besides["wrong_passwords"], 3)
        self.assertEqual(besides["calls"], 2)
        self.assertEqual(besides["dialled"], ["1000"])
        self.assertLessEqual({"21", "22", "23", "1199"}, set(besides["accounts"]))
        # the phone that came back from the old address, 2 s after the move
        self.assertEqual(document["in_grace"], 2)

    def test_security_log_alone(self):
        self.assertEqual(self.findings(self.audit(self.write("security", SECURITY))), PROVEN)

    def test_full_log_alone(self):
        document = self.audit(self.write("full", FULL))
        self.assertEqual(self.findings(document), CLAIMED)
        self.assertEqual(document["extensions"][0]["addresses"][0]["besides"]["calls"], 2)

    def test_before_and_after_nothing_is_found(self):
        calm = [line for line in BOTH if ROGUE not in line]
        document = self.audit(self.write("full", calm), code=0)
        self.assertEqual(document["extensions"], [])
        self.assertEqual(document["result"], "ok")
        self.assertGreater(document["in_order"], 15)

    def test_without_grace_the_stale_phone_is_one(self):
        document = self.audit("--grace=0s", self.write("full", BOTH))
        self.assertEqual(self.findings(document), PROVEN | {
            ("21", HOME): ("proven", 1), ("22", HOME): ("proven", 1)})

    def test_a_phone_that_comes_before_its_name(self):
        # DDNS follows 10 minutes after the phone: not with a grace of 5.
        late = history().replace("2026-11-22T10:50:31Z", "2026-11-22T11:00:31Z").replace(
            "2026-11-22T10:50:34Z", "2026-11-22T11:10:34Z")
        self.write("state/history", late)
        log_file = self.write("full", BOTH)
        self.assertEqual(self.findings(self.audit(log_file)), PROVEN)
        document = self.audit("--grace=5m", log_file)
        self.assertEqual(self.findings(document), PROVEN | {
            ("21", MOVED): ("proven", 1), ("22", MOVED): ("proven", 1)})

    def test_the_lan_where_it_may_not(self):
        self.write("config.yaml", CONFIG.replace(", local: true", ""))
        document = self.audit(self.write("full", BOTH))
        self.assertEqual(self.findings(document), PROVEN | {
            ("21", LAN): ("proven", 1), ("22", LAN): ("proven", 1)})

    def test_since(self):
        document = self.audit("--since=2026-11-22 10:50:50", self.write("full", BOTH))
        self.assertEqual(self.findings(document), {
            ("21", ROGUE): ("proven", 1), ("22", ROGUE): ("proven", 1)})
        self.audit("--since=2026-11-22 10:50:53", self.write("full", BOTH), code=0)

    def test_not_in_the_config(self):
        self.write("config.yaml", "extensions: {21: {hosts: [home.dyn.example], local: true}}\n"
                   "local-subnets: [192.168.1.0/24]\n")
        document = self.audit(self.write("security", SECURITY))
        self.assertEqual({key: PROVEN[key] for key in [("21", ROGUE)]}, self.findings(document))
        stranger, = document["not_in_config"]
        self.assertEqual((stranger["account"], stranger["count"]), ("22", 15))
        self.assertIn(stranger["addresses_at_least"], (2, 3, 4))

    def test_fixed_addresses_were_always_there(self):
        self.write("config.yaml", CONFIG.replace("[home.dyn.example]", f"[{ROGUE}]"))
        os.remove(self.path("state/history"))
        document = self.audit(self.write("full", BOTH), quiet=False)
        self.assertNotIn(("21", ROGUE), self.findings(document))
        self.assertIn(("21", HOME), self.findings(document))


class Dress(Case):
    """The same story, written otherwise."""

    def test_two_files_in_any_order(self):
        full, security = self.write("a", FULL), self.write("b", SECURITY)
        for arguments in ((full, security), (security, full)):
            document = self.audit(*arguments)
            self.assertEqual(self.findings(document), PROVEN)
            self.assertEqual(
                document["extensions"][0]["addresses"][0]["user_agent"], "friendly-scanner")

    def test_lines_dealt_out_to_files(self):
        dice = random.Random(6)
        for turn in range(10):
            hands = [[] for _ in range(1 + turn)]
            for line in BOTH:
                dice.choice(hands).append(line)
            names = [self.write(f"full.{i}" + (".gz" if i % 2 else ""), hand)
                     for i, hand in enumerate(hands) if hand]
            dice.shuffle(names)
            self.assertEqual(self.findings(self.audit(*names)), PROVEN)

    def test_rotated(self):
        third = len(BOTH) // 3
        names = [self.write("full", BOTH[2 * third:]), self.write("full.1", BOTH[third:2 * third]),
                 self.write("full.2.gz", BOTH[:third])]
        self.assertEqual(self.findings(self.audit(*names)), PROVEN)
        # a set and its copies are the same events
        self.write("full.copy", BOTH[third:2 * third])
        self.assertEqual(self.findings(self.audit(*names, self.path("full.copy"))), PROVEN)

    def test_order_of_time_decides(self):
        """20 has left its port when 23 logs in from there: no call of 20's, in whatever files."""
        self.write("config.yaml", CONFIG.replace("  23:", "  20: {hosts: [home.dyn.example]}\n  23:"))
        self.write("state/history", history() + "".join(
            f"2026-11-22T11:30:00Z gained extension 20 home.dyn.example A {a}\n"
            for a in (HOME, MOVED)))
        form = next(line for line in SECURITY if "SuccessfulAuth" in line and '"SIP"' in line)

        def login(extension, addr, minute):
            return form.replace("10:49:", f"11:{minute}:").replace(
                'AccountID="21"', f'AccountID="{extension}"').replace(HOME, addr)

        lines = [login(20, HOME, 31), login(20, MOVED, 32), login(23, HOME, 33)]
        self.assertEqual([stamp_of(line) % 3600 // 60 for line in lines], [31, 32, 33])
        for first, second, third in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)):
            names = [self.write(f"s{i}", lines[i:i + 1]) for i in (first, second, third)]
            self.assertEqual(self.findings(self.audit(*names)), {("23", HOME): ("proven", 1)})
        names = [self.write("a", [lines[0], lines[2]]), self.write("b", [lines[1]])]
        self.assertEqual(self.findings(self.audit(*names)), {("23", HOME): ("proven", 1)})
        self.assertEqual(self.findings(self.audit(names[0], code=0)), {
            ("23", HOME): ("ambiguous", 1)})

    def test_the_same_file_twice(self):
        name = self.write("full", FULL)
        document = self.audit(name, name, quiet=False)
        self.assertEqual(self.findings(document), CLAIMED)

    def test_standard_input(self):
        data = ("\n".join(BOTH) + "\n").encode()
        self.assertEqual(self.findings(self.audit("-", stdin=data)), PROVEN)
        self.assertEqual(self.findings(self.audit("-", stdin=gzip.compress(data))), PROVEN)
        self.assertEqual(self.findings(self.audit("-", stdin=data.replace(b"\n", b"\r\n"))), PROVEN)

    def default_dates(self, lines):
        """[Nov 22 10:49:42], and the "    -- " of Asterisk 11."""
        months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
        lines = [re.sub(r"^\[\d+-(\d\d)-(\d\d) (\S+)\]", lambda m: "[%s %2d %s]" % (
            months[int(m[1]) - 1], int(m[2]), m[3]), line) for line in lines]
        return [re.sub(r"(VERBOSE\S* \S+\.c: )", r"\1    -- ", line) for line in lines]

    def test_dates_without_a_year(self):
        name = self.write("full", self.default_dates(FULL))
        self.assertEqual(self.findings(self.audit(name)), CLAIMED)
        # a file of the next January: the November before
        os.utime(name, (1800000000, 1800000000))
        self.assertEqual(self.findings(self.audit(name)), CLAIMED)
        # of another year, unless it is told
        os.utime(name, (1890000000, 1890000000))
        document = self.audit(name, code=0)
        self.assertEqual({c for c, _ in self.findings(document).values()}, {"unknown"})
        self.assertEqual(self.findings(self.audit("--year=2026", name)), CLAIMED)

    def test_over_new_year(self):
        lines = ["[Dec 31 23:59:58] VERBOSE[1] chan_sip.c:     -- Registered SIP '21' at "
                 f"{HOME}:5060",
                 "[Jan  1 00:00:03] VERBOSE[1] chan_sip.c:     -- Registered SIP '21' at "
                 f"{ROGUE}:5060"]
        self.write("state/history", history(begin="2026-12-01T00:00:00Z").replace(
            "2026-11-22T11:30:00Z alive", "2027-01-02T00:00:00Z alive"))
        for arguments in ((), ("--year=2026",)):
            document = self.audit(*arguments, self.write("full", lines, mtime=1798848000))
            address, = document["extensions"][0]["addresses"]
            self.assertEqual(address["first"], "2027-01-01T00:00:03Z")
            names = self.write("full", lines[1:], 1798848000), self.write("full.1", lines[:1],
                                                                         1798761600)
            address, = self.audit(*arguments, *names)["extensions"][0]["addresses"]
            self.assertEqual(address["first"], "2027-01-01T00:00:03Z")

    def test_zones(self):
        shifted = [re.sub(r"^\[2026-11-22 10:", "[2026-11-22 05:", line) for line in FULL]
        name = self.write("full", shifted)
        self.assertEqual(self.findings(self.audit(name, zone="EST5EDT")), CLAIMED)
        # EventTV has a zone of its own; the lines' dates are another machine's
        result = self.sipfence("--json", self.write("both", BOTH), zone="EST5EDT")
        self.assertIn(b"another one than this machine", result.stderr)
        self.assertEqual(self.findings(json.loads(result.stdout))[("21", ROGUE)][0], "proven")

    def test_ipv6(self):
        six = {ROGUE: "2001:db8:66::66", HOME: "2001:db8:113::10", MOVED: "2001:db8:113::77",
               LAN: "fd00::50"}

        def dress(line):
            for old, new in six.items():
                line = line.replace(f"IPV4/UDP/{old}/", f"IPV6/UDP/{new}/")
                line = re.sub(rf"(?<![\d.@]){re.escape(old)}:(\d)", rf"[{new}]:\1", line)
                line = line.replace(f"@{old}:", f"@[{new}]:").replace(old, new)
            return line

        self.write("config.yaml", CONFIG.replace("192.168.1.0/24", "fd00::/64"))
        self.write("state/history", history(home=six[HOME], moved=six[MOVED], kind="AAAA"))
        lines = [dress(line) for line in BOTH]
        self.assertTrue(any("at [2001:db8:66::66]:5060" in line for line in lines))
        document = self.audit(self.write("full", lines))
        self.assertEqual(self.findings(document), {
            (e, six[ROGUE]): value for (e, _), value in PROVEN.items()})


class Doubt(Case):
    def test_call_is_ambiguous_and_no_alarm(self):
        self.write("config.yaml", CONFIG + "  \n")
        call = [line.replace('AccountID="21"', 'AccountID="23"') for line in SECURITY
                if f"/{HOME}/" in line and 'Service="SIP"' in line][:4]
        lines = SECURITY[:2] + call
        document = self.audit(self.write("security", lines), code=0)
        self.assertEqual(self.findings(document), {("23", HOME): ("ambiguous", 2)})

    def test_no_history_for_then(self):
        self.write("state/history", history(begin="2026-11-22T10:50:30Z"))
        document = self.audit("--grace=0s", self.write("security", SECURITY))
        counts = {a["address"]: (a["proven"], a["unknown"])
                  for a in document["extensions"][0]["addresses"]}
        # 5 times at home and 4 times the rogue before; then the stale phone, and the rogue twice
        self.assertEqual(counts, {HOME: (1, 5), ROGUE: (2, 4)})

    def test_behind_the_end_of_the_history(self):
        late = [line.replace("22 10:5", "22 15:5") for line in FULL if HOME in line]
        document = self.audit(self.write("full", late), code=0)
        self.assertEqual({key: c for key, (c, _) in self.findings(document).items()}, {
            ("21", HOME): "unknown", ("22", HOME): "unknown"})
        # what was so before and after a gap was so in it
        self.write("state/history", history().replace("11:30:00Z alive", (
            "11:30:00Z alive\n2026-11-22T20:00:00Z run\n2026-11-22T20:30:00Z gained extension 22 "
            "home.dyn.example A 203.0.113.99")))
        self.audit(self.path("full"), code=0)
        document = self.audit(self.path("full"), code=0)
        self.assertEqual(self.findings(document), {})

    def test_without_history_it_is_judged_by_now(self):
        os.remove(self.path("state/history"))
        result = self.sipfence("--json", self.write("full", BOTH))
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"neither a history nor a state file", result.stderr)
        document = json.loads(result.stdout)
        self.assertEqual(document["judged_by"], "config")
        self.assertEqual({c for c, _ in self.findings(document).values()}, {"unknown"})

    def test_forged_call_id(self):
        forged = [line.replace('SessionID="1-14122@198.51.100.66"', (
            f'SessionID="x",LocalAddress="IPV4/UDP/10.99.0.2/5060",RemoteAddress="IPV4/UDP/{HOME}'
            '/5062",UsingPassword="1"')) for line in SECURITY]
        self.assertNotEqual(forged, SECURITY)
        document = self.audit(self.write("security", forged), quiet=False)
        self.assertEqual(self.findings(document), PROVEN)
        self.assertGreater(document["files"][0]["doubled"], 0)


class Files(Case):
    def test_what_cannot_be_read(self):
        good = self.write("full", BOTH)
        for arguments, code, words in (
                ([self.path("missing")], 1, b"No such file"),
                ([good, self.path("missing")], 3, b"No such file"),
                ([self.folder], 1, b"Is a directory"),
                ([self.write("x.xz", b"\xfd7zXZ\0" + bytes(100))], 1, b"packed by xz"),
                ([self.write("cut", gzip.compress(("\n".join(FULL) * 50).encode())[:3000])], 3,
                 b"cut short"),
                ([self.write("bad", gzip.compress(b"x" * 999)[:20] + b"\xff" * 50)], 1,
                 b"damaged"),
                ([self.write("empty", b"")], 0, b""),
                ([self.write("other", b"nothing\n" * 9)], 0, b"none of its 9 lines")):
            with self.subTest(words):
                result = self.sipfence(*arguments)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertIn(words, result.stderr)

    def test_long_and_binary_lines(self):
        data = os.urandom(300000) + b"\n" + b"x" * 3000000 + b"\n" + "\n".join(BOTH).encode()
        document = self.audit(self.write("full", data), quiet=False)
        self.assertEqual(self.findings(document), PROVEN)
        self.assertGreaterEqual(document["files"][0]["too_long"], 1)

    def test_names_reach_no_terminal(self):
        evil = "\\033]0;x\\007\033[2J\x01\u202e"
        lines = [line.replace("friendly-scanner", evil).replace("1199", evil).replace(
            "[1000@", f"[{evil}@") for line in BOTH]
        result = self.sipfence("--color=never", self.write("full", "\n".join(lines)))
        self.assertEqual(result.returncode, 3)
        for output in (result.stdout, result.stderr):
            self.assertFalse(re.search(rb"[^\n\x20-\x7e]", output))
        self.assertIn(rb"\x1b[2J", result.stdout)
        json.loads(self.sipfence("--json", self.path("full")).stdout)
        for name in ("no\033[2Jsuch", self.write("a\033[2J", "x\n")):
            result = self.sipfence(self.path(name))
            self.assertIn(rb"\x1b[2J", result.stderr)
            self.assertNotIn(b"\033", result.stdout + result.stderr)

    def test_text_says_what_to_do(self):
        text = self.sipfence(self.write("full", BOTH)).stdout.decode()
        self.assertLess(text.index("extension 21: taken over"), text.index("extension 22"))
        self.assertIn("sip unregister 21", text)
        self.assertIn("/registrar/contact/22;@%", text)
        self.assertIn(f"'%@{ROGUE}:%'", text)
        self.assertNotIn("\033", text)

    def test_usage(self):
        for arguments in ([], ["--year=26", "x"], ["--year=x", "x"], ["--since=soon", "x"],
                          ["--grace=1", "x"]):
            with self.subTest(arguments):
                self.assertEqual(self.sipfence(*arguments).returncode, 2)

    def test_constant_memory(self):
        """30 MB with a million addresses, in the memory of a small file and the tables."""
        if "asan" in SIPFENCE:
            self.skipTest("the sanitizers have a memory of their own")
        name = self.path("flood")
        with open(name, "w", encoding="ascii") as file:
            for i in range(300000):
                file.write(f"[2026-11-22 10:50:{i // 6000:02d}] NOTICE[14007] chan_sip.c: Registration "
                           f"from '<sip:{i}@10.99.0.1>' failed for '10.{i >> 16}.{i >> 8 & 255}."
                           f"{i & 255}:5060' - Wrong password\n")
            file.write("\n".join(BOTH) + "\n")
        code = ("import resource,subprocess,sys; r=subprocess.run(sys.argv[1:],stdout=2); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        result = subprocess.run(
            [sys.executable, "-c", code, SIPFENCE, "-c", self.path("config.yaml"), "--state-dir",
             self.path("state"), "audit", name], capture_output=True, timeout=120, check=True,
            env={"PATH": "/usr/bin:/bin", "TZ": "UTC"})
        self.assertIn(f"{ROGUE}: 6 proven".encode(), result.stderr)
        self.assertLess(int(result.stdout), 48 * 1024)


class Recorded(FenceCase):
    """What sync has learned from DNS, and left in its state folder."""

    def test_by_history_and_by_now(self):
        server = self.dns()
        server.set("home.dyn.example", "A", answer(HOME))
        self.fence.config("extensions: {21: home.dyn.example}\n" + server.resolver())
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        form = next(line for line in SECURITY if "SuccessfulAuth" in line and '"SIP"' in line)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        lines = [re.sub('EventTV="[^"]*"', f'EventTV="{now}"', form).replace(HOME, addr)
                 for addr in (HOME, ROGUE)]
        log_file = os.path.join(self.fence.state, "security.log")
        with open(log_file, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        for basis in ("history", "now"):
            result = self.fence.run("--json", "audit", log_file)
            self.assertEqual(result.code, 3, result.err)
            document = json.loads(result.out)
            self.assertEqual(document["judged_by"], basis)
            address, = document["extensions"][0]["addresses"]
            self.assertEqual((address["address"], address["certainty"]), (ROGUE, "proven"))
            self.assertEqual("there is no history" in result.err, basis == "now")
            if basis == "history":
                os.remove(os.path.join(self.fence.state, "history"))


if __name__ == "__main__":
    main()
