#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
For each N the Nth allocation, send, receive, open, write, fsync, rename, … of a sync and of the
daemon fails: never a crash, never a leak, never an open port, never half of a list; the exit code and
the message are right, and what comes after makes it whole (design, section 5).

All N of the system calls. Of the allocations, all N with SIPFENCE_FAULTS=all in the environment, and
otherwise one in so many, STEP; each time the same ones.
"""
import contextlib
import copy
import errno
import glob
import json
import os
import re
import shutil
from pathlib import Path

from daemon_case import PATIENCE, QUICK, Probes
from fault_case import ALLOCATIONS, CALLS, FAULTY, SANITIZER, SANITIZER_CODE, Faults
from harness import Case, Daemon, main, sanitized, wait_until
from scripted_dns import answer, rcode, srv

ALL = os.environ.get("SIPFENCE_FAULTS") == "all"
# Of allocations. Primes, so that the same place in a loop is not met each time. COARSE is for
# variations of what STEP has gone through.
# Without a sanitizer fewer of them do: what they break shows there.
if ALL:
    STEP = COARSE = {"own-allocation": 1, "library-allocation": 1}
elif sanitized():
    STEP = {"own-allocation": 1, "library-allocation": 7}
    COARSE = {"own-allocation": 5, "library-allocation": 31}
else:
    STEP = {"own-allocation": 5, "library-allocation": 31}
    COARSE = {"own-allocation": 17, "library-allocation": 101}

# Of one kind in one act of the daemon; half of those that are sent are lines of its log.
DAEMON_MOST = dict.fromkeys((*CALLS, *ALLOCATIONS), 4) | dict.fromkeys(
    ("open", "write", "fsync", "rename"), 16 if sanitized() else 6) | dict.fromkeys(
        ("send", "receive"), 64 if sanitized() else 20)

# What DNS says of each name: before, and now.
NAMES = {
    "home21.example": (["203.0.113.21"], ["203.0.113.77"]),
    "home22.example": (["203.0.113.10"], ["203.0.113.10"]),
    "home23.example": ([], ["203.0.113.23"]),
    "home24.example": (["203.0.113.24", "203.0.113.25"], ["203.0.113.25"]),
    "sip.voipco.example": (["203.0.113.30"], ["203.0.113.30", "203.0.113.31"]),
}
CONFIG = """
extensions:
  21: home21.example
  22: home22.example
  23: {hosts: home23.example, ipv6-prefix: 64}
peers:
  voipco: {srv: _sip._udp.voipco.example}
  fixed: {hosts: [198.51.100.0/28]}
local-subnets: [192.168.1.0/24, "fd00:1::/64"]
linger: {peers: 0s}
services: {web: {tcp: [80, 443]}}
include: [more/*.yaml]
"""
MORE = "extensions: {24: home24.example}\n"


def split(table):
    """A table without the elements of its hosts sets, and these: {name: [address, …]}."""
    if table is None:
        return None, None
    table, found = json.loads(json.dumps(table)), {}
    for item in table:
        content = item.get("set", {})
        if re.fullmatch(r"\w+_hosts[46]", content.get("name", "")):
            for element in content.pop("elem", []):
                comment = element["elem"]["comment"]
                found.setdefault(comment, []).append(element["elem"]["val"])
    return json.dumps(table, sort_keys=True), found


class FaultCase(Case):
    shared_net = True

    def setUp(self):
        if not os.access(FAULTY, os.X_OK):
            self.skipTest(FAULTY + " is not built")
        super().setUp()
        self.faults = Faults(self.directory)
        self.addCleanup(self.faults.close)
        self.server = self.dns()
        self.fence.environment["ASAN_OPTIONS"] = "exitcode=%d:%s" % (
            SANITIZER_CODE, self.fence.environment["ASAN_OPTIONS"])
        # libyaml 0.2.5 loses the pairs of a mapping when its list of nodes cannot grow. What we lose
        # of its memory is found by tests/unit/test_config.c.
        suppressions = os.path.join(self.directory, "suppressions")
        with open(suppressions, "w") as file:
            file.write("leak:yaml_parser_load\n")
        self.fence.environment["LSAN_OPTIONS"] = "suppressions=%s:print_suppressions=0" % suppressions
        self.fence.config(MORE, "more/24.yaml")
        self.fence.config(CONFIG + self.server.resolver("300ms"))

    def dns_says(self, which):
        self.server.set("_sip._udp.voipco.example", "SRV", srv("sip.voipco.example"))
        for name, answers in NAMES.items():
            addresses = answers[which]
            self.server.set(name, "A", answer(*addresses) if addresses else rcode("NXDOMAIN"))

    def faulty(self, *arguments):
        return self.fence.run(*arguments, argv=[FAULTY, *self.fence.argv(*arguments)[1:]],
                              env=self.faults.environment, timeout=30)

    def healthy(self, result):
        self.assertGreaterEqual(result.code, 0, result)
        self.assertNotEqual(result.code, SANITIZER_CODE, result)
        self.assertIsNone(SANITIZER.search(result.err), result)
        return result


class Sync(FaultCase):
    """From a table that is in force to what config and DNS say now."""
    yes = ("sync", "--yes")

    def setUp(self):
        super().setUp()
        self.world(0)
        self.start()
        self.table_then = self.net.pbx.table()
        self.script_then = self.net.pbx.ruleset("list", "ruleset")
        self.state_then = self.fence.saved()
        self.frame_then, self.hosts_then = split(self.table_then)
        self.world(1)
        self.run_well(0)
        self.table_now = self.net.pbx.table()
        self.frame, self.hosts_now = split(self.table_now)
        self.assertNotEqual(self.table_then, self.table_now)
        self.restore()

    def world(self, which):
        self.dns_says(which)

    def start(self):
        self.run_well(3)

    def run_well(self, code):
        """A run in which nothing fails; on a machine that is busy DNS may be late."""
        for _ in range(3):
            result = self.fence.run(*self.yes)
            if result.code == code:
                return result
        return self.assertCode(result, code)

    def restore(self):
        self.net.pbx.nft("flush ruleset\n" + self.script_then)
        self.assertEqual(self.net.pbx.table(), self.table_then)
        self.generation = self.net.pbx.generation()
        self.handle = self.table_handle()
        shutil.rmtree(self.fence.state)
        os.makedirs(self.fence.state)
        for name, content in self.state_then.items():
            with open(os.path.join(self.fence.state, name), "wb") as file:
                file.write(content)

    def table_handle(self):
        """Another one: another table."""
        return [item["table"]["handle"] for item in self.net.pbx.nft_json("list", "tables")
                if "table" in item]

    def touched(self):
        """Whether the kernel or the disk is not as it was."""
        return self.net.pbx.generation() != self.generation or self.fence.saved() != self.state_then

    def must(self, right, what, result):
        # The tables are long: without them.
        self.assertTrue(right, "%s\n%s" % (what, result))

    def check_whole(self, result):
        """After a run in which something failed."""
        self.healthy(result)
        changed = self.net.pbx.generation() != self.generation
        table = self.net.pbx.table() if changed else self.table_then
        frame, hosts = split(table)
        self.must(result.code in (0, 1, 2, 3), "no such exit code", result)
        said = re.search("not known whether it is in force|the new table is in force|"
                         "that had answered until then are in force", result.err)
        self.must(frame in (self.frame_then, self.frame) or said, "the table is not whole", result)
        if result.code in (1, 2):
            self.must("error:" in result.err, "no message", result)
            self.must(table == self.table_then or said, "refused, but the table has changed", result)
        else:
            self.must(frame == self.frame, "done, but it is the former table", result)
        if result.code == 2:
            self.must(self.fence.path in result.err, "not the config, but a usage error?", result)
        if result.code == 0:
            self.must(hosts == self.hosts_now, "done, but the hosts are %s" % hosts, result)
        if result.code == 3:
            self.check_names(hosts, result)

    def check_names(self, hosts, result):
        """Each name has what DNS said of it before, or what it says now; who has not is named."""
        for name, (then, now) in NAMES.items():
            found = sorted(address for comment, addresses in hosts.items()
                           if name in comment for address in addresses)
            if self.hosts_then is None:
                then = []
            self.must(found in (then, now), "%s has %s" % (name, found), result)
            self.must(found == now or name in result.err, name + " is not named", result)

    def check_next(self, result):
        """What a fault left behind, the next run makes right."""
        after = self.run_well(0)
        self.must(self.net.pbx.table() == self.table_now, "still wrong after\n%s" % after, result)
        self.must(not re.search("damaged|set aside", after.err), "said afterwards:\n%s" % after, result)
        left = set(os.listdir(self.fence.state)) - {"state", "history"}
        self.must(not left, "left: %s" % left, result)

    def fail_each(self, kind, step=1, arguments=None, check=None, **more):
        number, wrong = 1, []
        while True:
            self.faults.arm(kind, number, **more)
            result = self.faulty(*(arguments or self.yes))
            if not self.faults.failed:
                break
            try:
                (check or self.check_whole)(result)
                if self.touched():
                    self.check_next(result)
            except AssertionError as problem:
                wrong.append("number %d, caller %#x: %s" % (
                    number, self.faults.caller, str(problem).partition(" : ")[2]))
            if self.touched():
                self.restore()
            number += step
        self.restore()
        self.assertGreater(number, 1, "nothing failed")
        if wrong:
            self.fail("%d of %d, such as\n%s" % (len(wrong), number // step, "\n".join(wrong[:3])))

    def fail_calls(self, kinds=tuple(CALLS), **more):
        for kind in kinds:
            self.faults.count(kind)
            self.healthy(self.faulty(*self.yes))
            self.restore()
            if self.faults.seen:
                with self.subTest(kind):
                    self.fail_each(kind, **more)


class Moved(Sync):
    """Addresses come and go."""

    def check_whole(self, result):
        super().check_whole(result)
        self.must(self.table_handle() == self.handle, "the table was swapped", result)

    def test_calls(self):
        self.fail_calls()

    def test_calls_from_then_on(self):
        """The Nth call fails, and each one after it."""
        self.fail_calls(times=1 << 62)

    def test_signals(self):
        """Interrupted is not failed."""
        for kind in ("read", "write", "send", "receive", "wait"):
            with self.subTest(kind):
                self.fail_each(kind, error=errno.EINTR)

    def test_own_allocations(self):
        self.fail_each("own-allocation", STEP["own-allocation"])

    def test_library_allocations(self):
        self.fail_each("library-allocation", STEP["library-allocation"])

    def test_allocations_from_then_on(self):
        for kind in ALLOCATIONS:
            with self.subTest(kind):
                self.fail_each(kind, COARSE[kind], times=1 << 62)

    def check_output(self, same, code):
        """What is printed is whole, or it is said that it is not."""
        def check(result):
            self.healthy(result)
            self.must(not self.touched(), "something was changed", result)
            self.must(result.code in (1, 2) or same(result), "half an output", result)
            self.must(result.code in (0, code) or result.err, "no message", result)
        return check

    def test_output(self):
        """--dry-run and --diff: exit 0 and 3 are for an output that is whole."""
        for option in ("--dry-run", "--diff"):
            whole = self.assertCode(self.fence.run("sync", option), 0).out

            def same(result):
                return result.out == whole or result.code == 3 or "is missing" in result.err
            for kind in ("write", *ALLOCATIONS):
                with self.subTest(option, kind=kind):
                    self.faults.count(kind)
                    self.faulty("sync", option)
                    if self.faults.seen:
                        self.fail_each(kind, COARSE.get(kind, 1),
                                       ("sync", option), self.check_output(same, 0))

    def test_json(self):
        """One document, or none and a message."""
        def same(result):
            if result.out.strip():
                return json.loads(result.out)["exit"] == result.code
            return "JSON" in result.err
        for kind in ALLOCATIONS:
            with self.subTest(kind):
                self.fail_each(kind, COARSE[kind], ("sync", "--dry-run", "--json"),
                               self.check_output(same, 0))


class Swapped(Sync):
    """The table itself is another one."""

    def world(self, which):
        self.dns_says(which)
        self.fence.config(CONFIG.replace("443]", "443, 8443]" if which else "443]")
                          + self.server.resolver("300ms"))

    def test_calls(self):
        self.fail_calls(("open", "descriptor", "bind", "send", "receive", "wait"))

    def test_allocations(self):
        for kind in ALLOCATIONS:
            with self.subTest(kind):
                self.fail_each(kind, COARSE[kind])

    def test_calls_from_then_on(self):
        self.fail_calls(("send", "receive"), times=1 << 62)


class First(Sync):
    """There is no table, and nothing is known."""

    def start(self):
        pass

    def restore(self):
        super().restore()
        self.assertFalse(self.net.pbx.has_table())

    def test_calls(self):
        self.fail_calls()

    def test_allocations(self):
        for kind in ALLOCATIONS:
            with self.subTest(kind):
                self.fail_each(kind, COARSE[kind])


class DaemonCase(FaultCase):
    """
    A daemon in which one call fails: it goes on, or ends with a message. Either way the table stays
    whole, the phone is let in and the rogue is not, and without help the list is right again soon.
    """
    restarts = False  # the test itself starts it again
    anew = False  # without a table
    RIGHT_SECONDS = 20 * PATIENCE  # the longest pause between tries, and some more

    def setUp(self):
        super().setUp()
        self.config_is(0)
        self.dns_says(0)
        self.child = None
        self.starts = self.total = self.seen_in_act = 0
        self.start()
        self.frames = {}
        for which in (1, 0):
            self.config_is(which)
            self.assertTrue(self.ask("reload")["ok"])
            self.dns_says(which)
            self.ask("refresh")
            self.wait_hosts(which)
            self.frames[which] = split(self.net.pbx.table())[0]
        self.assertNotEqual(self.frames[0], self.frames[1])

    def config_is(self, which):
        self.fence.config(CONFIG.replace("443]", "443, 8443]" if which else "443]")
                          + self.server.resolver("300ms") + QUICK + "gone: 1s\n")

    def start(self, ready=True):
        fence = copy.copy(self.fence)
        fence.argv = lambda *arguments: [FAULTY, *self.fence.argv(*arguments)[1:]]
        self.child = Daemon(fence, env=self.faults.environment)
        self.addCleanup(self.child.kill)
        self.starts += 1
        if ready:
            self.child.wait_ready()

    def ask(self, request):
        """The daemon's answer; None without one."""
        try:
            return self.child.request({"request": request}, 5.0 * PATIENCE)
        except (OSError, ValueError):
            return None

    def hosts(self):
        try:
            elements = self.net.pbx.elements("sip_hosts4")
        except RuntimeError:
            return None
        return sorted(elements)

    def wanted(self, which):
        return sorted({address for answers in NAMES.values() for address in answers[which]})

    def wait_hosts(self, which):
        wanted = self.wanted(which)
        return wait_until(lambda: self.hosts() == wanted, self.RIGHT_SECONDS, 0.01)

    def check_alive(self):
        """It runs; or it has ended as it may, and is started again."""
        if self.child.runs():
            return
        self.must(self.child.child.returncode == 1, "it ended otherwise")
        self.must("error" in self.child.log(), "it ended without a word")
        self.faults.disarm()
        self.start()

    def must(self, right, what):
        if not right:
            raise AssertionError("%s\n%s" % (what, str(self.child)[-3000:]))

    def check_whole(self):
        table = self.net.pbx.table()
        if self.anew and table is None and not self.child.runs():
            return
        self.must(split(table)[0] in self.frames.values(), "the table is not whole")

    def check_sane(self):
        self.must(not SANITIZER.search(self.child.log()), "the sanitizer has a word to say")

    def fail_each(self, kind, act, settle, step=1, at_most=None):
        """act(): while the Nth call in it fails; settle(): all is right again, without help."""
        if not self.restarts:
            self.check_alive()
        self.faults.count(kind)
        act()
        settle()
        total = self.seen_in_act or self.faults.seen
        self.total += total
        if at_most and not ALL:
            step = max(step, -(-total // at_most))
        wrong = []
        for number in range(1, total + 1, step):
            self.faults.arm(kind, number)
            try:
                act()
                self.check_whole()
                self.after(settle)
                self.check_whole()
                self.check_sane()
            except AssertionError as problem:
                wrong.append("number %d, caller %#x: %s" % (number, self.faults.caller, problem))
                self.child.kill()
                self.faults.disarm()
                self.start()
        self.faults.disarm()
        if not self.restarts:
            self.check_alive()
        if wrong:
            self.fail("%d of %d, such as\n%s" % (len(wrong), total // step, "\n".join(wrong[:2])))

    def after(self, settle):
        if self.restarts:
            return settle()
        self.check_alive()
        try:
            settle()
        except AssertionError:
            if self.child.runs():
                raise
            self.check_alive()
            settle()

    def check_probes(self, probes):
        """A start that can't read the state goes on without it, and says so: the phone has to wait for
        DNS then. Nobody else is let in."""
        if any("event=state-file error=" in Path(log).read_text(errors="replace")
               for log in glob.glob(self.directory + "/daemon*.log")):
            self.assertEqual(probes.arrived["rogue"], 0, "the rogue got in")
            self.assertGreater(probes.arrived["phone"], 0.8 * probes.sent["phone"])
        else:
            probes.check(self, at_least=20)

    def fail_all(self, act, settle, kinds=(*CALLS, *ALLOCATIONS)):
        for kind in kinds:
            with self.subTest(kind), Probes(self.net, phone="203.0.113.10", microseconds=2000) as probes:
                self.fail_each(kind, act, settle, at_most=DAEMON_MOST[kind])
            if not self.anew:
                with self.subTest(kind, probes="all"):
                    self.check_probes(probes)
        self.assertEqual(self.child.stop(), 0, self.child)
        self.check_sane()
        self.assertGreater(self.total, 100, "hardly a call was seen")


class Changes(DaemonCase):
    def test(self):
        """DNS says something else, and the daemon is asked to look."""
        self.which = 0

        def act():
            self.which = 1 - self.which
            self.dns_says(self.which)
            self.ask("refresh")

        def settle():
            self.must(self.wait_hosts(self.which), "the hosts are not right: %s" % self.hosts())
        self.fail_all(act, settle)


class Reloads(DaemonCase):
    def test(self):
        """The config has another port. A reload that is refused leaves all as it was."""
        self.which = 0

        def act():
            self.which = 1 - self.which
            self.config_is(self.which)
            self.said = self.ask("reload")

        def settle():
            def right():
                return split(self.net.pbx.table())[0] == self.frames[self.which]
            if self.said and not self.said["ok"]:
                self.must(self.said["error"], "refused without a word")
                self.must(not right(), "refused, but in force")
                self.must((self.ask("reload") or {}).get("ok"), "refused again")
            elif not self.said:
                self.ask("reload")  # the connection broke: whether it was done is not known
            self.must(wait_until(right, self.RIGHT_SECONDS, 0.05), "the config is not in force")
            self.must(self.wait_hosts(0), "the hosts are not right: %s" % self.hosts())
        self.fail_all(act, settle)


class Questions(DaemonCase):
    def test(self):
        """`status` and `why`: an answer or none, and the next one is right."""
        def act():
            self.ask("status")
            with contextlib.suppress(OSError, ValueError):
                self.child.request({"request": "why", "what": "203.0.113.10"})

        def settle():
            self.must(wait_until(lambda: (self.ask("status") or {}).get("ok"), self.RIGHT_SECONDS),
                      "no status")
            self.must(self.wait_hosts(0), "the hosts are not right: %s" % self.hosts())
        self.fail_all(act, settle)


class Starts(DaemonCase):
    restarts = True

    def test(self):
        """With a table in force and addresses saved; then the end by SIGTERM."""
        def act():
            if self.child.runs():
                self.faults.pause()
                self.child.stop()
                self.faults.resume()
            if self.anew:
                self.net.pbx.run(["nft", "flush", "ruleset"])
            self.start(ready=False)
            wait_until(lambda: self.child.events("ready") or not self.child.runs(), 15)
            if self.child.runs():
                self.ask("refresh")
                self.child.stop()
                self.must(self.child.child.returncode in (0, 1), "it ended otherwise")
                self.check_sane()
            else:
                self.must(self.child.child.returncode == 1, "it ended otherwise")
                self.must("error" in self.child.log(), "it ended without a word")
            self.seen_in_act = self.faults.seen

        def settle():
            if not self.child.runs():
                self.faults.disarm()
                self.start()
            self.must(self.wait_hosts(0), "the hosts are not right: %s" % self.hosts())
        self.fail_all(act, settle)



class Boots(Starts):
    """The same without a table: a start that fails leaves none, or a whole one."""
    anew = True


if __name__ == "__main__":
    main(at_once=2)
