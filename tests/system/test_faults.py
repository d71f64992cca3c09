#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What sync does when the system fails it: each system call of a run fails once, one after the other
(strace's fault injection), and each run ends by itself, with an exit code that tells the truth about
the kernel's table (design, section 5).
"""
import errno
import json
import os
import re
import shutil
import subprocess
import unittest

from harness import PATH, SIPFENCE, Case, Monitor, main
from scripted_dns import answer

OLD, NEW, STAYS = "203.0.113.10", "203.0.113.77", "203.0.113.22"

# Each call of a run, and how it may fail. The failed call is not made at all.
CALLS = {
    "mkdir": ["EACCES"],
    "flock": ["ENOLCK"],
    "openat": ["EIO", "EMFILE"],
    "read": ["EIO"],
    "write": ["ENOSPC", "EIO"],
    "fsync": ["EIO", "ENOSPC"],
    "rename": ["EIO", "ENOSPC"],
    "socket": ["EPROTONOSUPPORT", "EPERM", "ENOMEM"],
    "bind": ["ENOMEM"],
    "epoll_create1": ["EMFILE", "ENOMEM"],
    "epoll_ctl": ["ENOMEM"],
    "poll": ["ENOMEM"],
    "sendto": ["ENOBUFS", "EPERM"],
    "recvmsg": ["ENOBUFS", "ENOMEM"],
    "sendmsg": ["ENOBUFS", "EMSGSIZE", "ENOMEM", "EPERM"],
    "recvfrom": ["ENOBUFS", "ENOMEM"],
    "mmap": ["ENOMEM"],
}
CALLS_MAX = 100  # of one kind in one run; more would be a loop


class Traced(Case):
    shared_net = True
    needs = ("strace",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        probe = subprocess.run(
            [shutil.which("strace", path=PATH), "-f", "-o", "/dev/null", "-e", "inject=fsync:error=EIO",
             "true"], stderr=subprocess.PIPE, text=True, timeout=30)
        if probe.returncode != 0:
            raise unittest.SkipTest("no process can be traced here: " + probe.stderr.strip())
        with open(SIPFENCE, "rb") as file:
            cls.own_allocator = b"__asan_init" in file.read()

    def setUp(self):
        super().setUp()
        self.log = os.path.join(self.directory, "strace.log")
        self.server = self.dns()
        self.server.set("home21.example", "A", answer(OLD))
        self.server.set("home22.example", "A", answer(STAYS))
        self.configure()
        # Leaks can't be looked for in a traced process.
        self.fence.environment["ASAN_OPTIONS"] += ":detect_leaks=0"

    def configure(self, more=""):
        self.fence.config("extensions: {21: home21.example, 22: home22.example}\n"
                          + self.server.resolver("300ms") + more)

    def traced(self, *options, injections=(), arguments=("sync", "--yes"), **more):
        prefix = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", self.log, *options]
        for injection in injections:
            prefix += ["-e", "inject=" + injection]
        # Bounded: the resolver's time and the socket's, not this limit, end each run.
        return self.fence.run(*arguments, prefix=prefix, timeout=30, **more)

    def calls(self):
        """[(name of the call, the rest of the line)] of the last traced run."""
        with open(self.log, errors="replace") as file:
            return re.findall(r"(?m)^\d+ +(\w+)\((.*)$", file.read())

    def injected(self):
        return any("(INJECTED)" in rest for _, rest in self.calls())

    def own_calls(self):
        """[(name, how many of that name were before it)], without those that load the program."""
        self.assertCode(self.traced("-e", "trace=" + ",".join(CALLS)), 0)
        counts, found, own = {}, [], False
        for name, rest in self.calls():
            own |= name == "openat" and self.fence.path in rest
            if own:
                found.append((name, counts.get(name, 0)))
            counts[name] = counts.get(name, 0) + 1
        self.assertTrue(found)
        return found

    def tables(self):
        """All that a run may change in the kernel."""
        names = sorted(item["table"]["name"] for item in self.net.pbx.nft_json("list", "tables")
                       if "table" in item)
        return json.dumps([names, self.net.pbx.table()], sort_keys=True)

    NOTHING = "[[], null]"
    AHEAD = "the names that had answered until then are in force"

    def both(self, change):
        """Two syncs; what change() does between them. Returns the two tables, and who is wanted."""
        found = {}
        for which in (0, 1):
            change(which)
            self.assertCode(self.fence.run("sync", "--yes"), 0)
            found[which] = self.tables()
        self.assertNotEqual(found[0], found[1])
        return found

    def assertContract(self, result, before, wanted):
        """Returns whether the table is as wanted now."""
        now = self.tables()
        where = {before: "as before", wanted: "as wanted"}.get(now, "something else")
        # 2 is for a config that can't be read.
        self.assertIn(result.code, (0, 1, 2, 3), result)
        allowed = {0: ["as wanted"], 3: ["as before", "as wanted"]}.get(result.code, ["as before"])
        # On a busy machine an answer may be late, and what is known goes ahead of it: that is said.
        if result.code == 1 and self.AHEAD in result.err:
            allowed = ["as before", "something else"]
        self.assertIn(where, allowed, result)
        if result.code == 2:
            self.assertIn(self.fence.path, result.err)
        if result.code in (1, 2):
            self.assertIn("error:", result.err)
        left = [name for name in os.listdir(self.fence.state) if name not in ("state", "history")]
        self.assertEqual(left, [], result)
        return now == wanted


class Faults(Traced):
    def move(self, which):
        self.server.set("home21.example", "A", answer((OLD, NEW)[which]))

    def settle(self, tables):
        """A run went wrong: the next one starts from a table that is known."""
        if self.tables() not in tables.values():
            self.fence.run("sync", "--yes")
        return 0 if self.tables() == tables[0] else 1

    def fail_each(self, names, change, tables):
        """Each of these calls fails once, from the table of one kind to that of the other."""
        change(0)
        own = dict(reversed(self.own_calls()))
        current = 0
        for name in names:
            self.assertIn(name, own, "the run does not call it any more")
            for error in CALLS[name]:
                with self.subTest(call=name, error=error):
                    wrong, number = [], own[name] + 1
                    while True:
                        change(1 - current)
                        result = self.traced("-e", "trace=" + name, injections=[
                            "%s:error=%s:when=%d" % (name, error, number)])
                        if not self.injected():
                            break
                        try:
                            if self.assertContract(result, tables[current], tables[1 - current]):
                                current = 1 - current
                            elif self.AHEAD in result.err:
                                current = self.settle(tables)
                        except AssertionError as problem:
                            wrong.append("number %d: %s" % (number, problem))
                            current = self.settle(tables)
                        number += 1
                        self.assertLess(number, own[name] + CALLS_MAX, "called without end")
                    self.assertGreater(number, own[name] + 1, "nothing failed")
                    self.assertEqual(len(wrong), 0, "%d of them, such as\n%s" % (len(wrong), wrong[:1]))
                current = self.settle(tables)
        # And then all is well.
        change(1 - current)
        self.assertTrue(self.assertContract(
            self.assertCode(self.fence.run("sync", "--yes"), 0), tables[current], tables[1 - current]))

    def changed_address(self, names):
        tables = self.both(self.move)
        with Monitor(self.net.pbx) as monitor:
            self.fail_each(names, self.move, tables)
            events = monitor.events()
        self.assertTrue(any("delete element" in line and OLD in line for line in events))
        self.assertEqual([line for line in events if "delete" in line and (
            STAYS in line or "delete table inet sipfence" in line)], [], "a listed phone was cut off")

    def test_files(self):
        self.changed_address(["mkdir", "flock", "openat", "read", "write", "fsync", "rename"])

    def test_dns(self):
        self.changed_address(["socket", "bind", "epoll_create1", "epoll_ctl", "poll"])

    def test_mappings(self):
        if self.own_allocator:
            self.skipTest("the sanitizer's allocator ends the process when there is no memory")
        self.changed_address(["mmap"])

    def test_netlink(self):
        self.changed_address(["sendto", "recvmsg", "sendmsg", "recvfrom"])

    def test_memory(self):
        """The address space ends a little later each time: any allocation is the first to fail."""
        if self.own_allocator:
            self.skipTest("the sanitizer needs more address space than it uses memory")
        tables = self.both(self.move)
        current, codes, wrong, room = 1, set(), [], 1 << 20
        while 0 not in codes and room < 64 << 20:
            self.move(1 - current)
            result = self.fence.run("sync", "--yes", prefix=["prlimit", "--as=%d" % room], timeout=30)
            # The loader found no room; prlimit itself is killed where the program can't be started.
            if not codes and (result.code == 127 or result.code < 0):
                room += 64 << 10
                continue
            codes.add(result.code)
            try:
                if self.assertContract(result, tables[current], tables[1 - current]):
                    current = 1 - current
                if result.code in (1, 2):
                    self.assertRegex(result.err, "(?i)memory")
            except AssertionError as problem:
                wrong.append("%d KiB: %s" % (room >> 10, problem))
                current = self.settle(tables)
            room += 16 << 10
        self.assertIn(0, codes, "it never had enough")
        self.assertGreater(len(codes), 1, "it never had too little")
        self.assertEqual(len(wrong), 0, "%d of them, such as\n%s\n%s" % (len(wrong), wrong[:1], wrong[-1:]))

    def test_swap(self):
        """A changed config: more than one transaction, and a table in between."""
        def reconfigure(which):
            self.configure(("", "services: {sip: {udp: [5060, 5080]}}\n")[which])
        tables = self.both(reconfigure)
        self.fail_each(["sendmsg", "recvfrom"], reconfigure, tables)

    def test_first_installation(self):
        """Each call to the kernel fails before there is a table: it is whole, or it is not there."""
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        wanted = self.tables()
        for name in ("sendmsg", "recvfrom"):
            for error in CALLS[name]:
                with self.subTest(call=name, error=error):
                    wrong = []
                    for number in range(1, CALLS_MAX):
                        self.net.pbx.run(["nft", "flush", "ruleset"])
                        result = self.traced("-e", "trace=" + name, injections=[
                            "%s:error=%s:when=%d" % (name, error, number)])
                        if not self.injected():
                            break
                        try:
                            self.assertContract(result, self.NOTHING, wanted)
                        except AssertionError as problem:
                            wrong.append("number %d: %s" % (number, problem))
                    self.assertEqual(len(wrong), 0, "%d of them, such as\n%s" % (len(wrong), wrong[:1]))


class Consequences(Traced):
    def test_what_the_kernel_refused_was_not_enforced(self):
        """The state is saved before the kernel is touched: it must not remember what never was."""
        self.net.pbx.nft("table inet filter {\n chain input {\n  type filter hook input priority 0;\n"
                         "  ct state established,related accept\n }\n}\n")
        talker = self.net.rogue.udp("198.51.100.66", 5060)
        talker.sendto(b"hello", ("192.0.2.10", 5060))
        talker.close()
        self.assertCode(self.fence.run("sync"), 2)
        self.assertCode(self.traced("-e", "trace=sendmsg", injections=["sendmsg:error=EPERM"]), 1)
        self.assertFalse(self.net.pbx.has_table())
        result = self.assertCode(self.fence.run("sync"), 2)
        self.assertIn("198.51.100.66", result.err)

    def test_unreadable_state(self):
        """It is there, but the disk does not give it: nothing is touched, and it stays."""
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        before, saved = self.tables(), self.fence.saved()
        self.server.set("home21.example", "A", answer(NEW))
        path = os.path.join(self.fence.state, "state")
        for call in ("openat", "read"):
            with self.subTest(call):
                result = self.traced("-P", path, "-e", "trace=" + call,
                                     injections=["%s:error=EIO:when=1" % call])
                self.assertTrue(self.injected(), result)
                self.assertCode(result, 1)
                self.assertIn(path, result.err)
                self.assertIn("Input/output error", result.err)
                self.assertEqual(self.tables(), before)
                self.assertEqual(self.fence.saved(), saved)

    def test_each_refusal_says_what_to_do(self):
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        advice = {}
        for number, (call, error, words) in enumerate((
                ("sendmsg", "ENOBUFS", "wmem_max"), ("sendmsg", "EMSGSIZE", "wmem_max"),
                ("sendmsg", "ENOMEM", "memory"), ("sendmsg", "EPERM", "root|CAP_NET_ADMIN"),
                ("socket", "EPROTONOSUPPORT", "nf_tables"), ("socket", "EPERM", ""))):
            with self.subTest(call=call, error=error):
                self.server.set("home21.example", "A", answer((NEW, OLD)[number % 2]))
                self.server.set("home22.example", "A", answer("203.0.113.%d" % (30 + number)))
                self.assertCode(self.traced("-e", "trace=socket"), 0)
                sockets = [rest for name, rest in self.calls() if name == "socket"]
                at = [index for index, rest in enumerate(sockets) if "NETLINK_NETFILTER" in rest]
                self.server.set("home22.example", "A", answer("203.0.113.%d" % (60 + number)))
                result = self.assertCode(self.traced("-e", "trace=" + call, injections=[
                    "%s:error=%s:when=%d" % (call, error, at[0] + 1 if call == "socket" else 1)]), 1)
                self.assertTrue(self.injected(), result)
                self.assertRegex(result.err, "what to do: .*(%s)" % words)
                what, _, todo = result.err.partition("what to do:")
                advice[call, error] = todo.strip()
                self.assertIn(os.strerror(getattr(errno, error)), what)
        different = [advice.get(key) for key in (
            ("sendmsg", "ENOBUFS"), ("sendmsg", "ENOMEM"), ("sendmsg", "EPERM"),
            ("socket", "EPROTONOSUPPORT"))]
        self.assertEqual(len(set(different)), len(different), advice)


if __name__ == "__main__":
    main()
