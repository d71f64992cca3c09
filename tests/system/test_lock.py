#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The table and those who would change it (design, section 8), by keeper.c, which does to the kernel
what the daemon does: owned tables that outlive their owner, and notifications where there are none.
"""
import os
import re
import select
import signal
import socket
import struct
import threading
import time

from harness import SIPFENCE, Case, end, keeps_orphans, main, privileged, reaches
from test_packets import PROBE, Listener, Sender

KEEPER = os.path.abspath(os.path.join(os.path.dirname(SIPFENCE), "../../tests/system/keeper"))
PBX, HOME, HOME2, ROGUE, LAN = (
    "192.0.2.10", "203.0.113.10", "203.0.113.77", "198.51.100.66", "192.168.1.50")
EPERM, ENOENT, ENFILE = 1, 2, 23
CONFIG = "extensions: {21: %s}\nlocal-subnets: [192.168.1.0/24]\n"
DYNAMIC_SET_SIZE = 12288
INIT_PID_NAMESPACE = "pid:[4026531836]"

# What others may do to the table, as arguments of nft.
DAMAGE = [
    "delete table inet sipfence",
    "flush table inet sipfence",
    "flush chain inet sipfence prerouting",
    "flush chain inet sipfence sip_reject",
    "insert rule inet sipfence prerouting accept",
    "add chain inet sipfence another",
    "add set inet sipfence another { type ipv4_addr; }",
    "delete element inet sipfence sip_hosts4 { %s }" % HOME,
    "add element inet sipfence sip_hosts4 { %s }" % ROGUE,
    "flush set inet sipfence sip_hosts4",
    "flush set inet sipfence sip_nets4",
    "add table inet sipfence { flags dormant; }",
]


class Keeper:
    def __init__(self, host, config, state):
        self.host = host
        self.child = host.popen([KEEPER, config, state], stdin=-1, stdout=-1, bufsize=0)
        self.rest = b""
        self.read(10)

    def read(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.child.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.child.stdout.fileno(), 65536) if ready else b""
            if not data:
                raise RuntimeError("the keeper does not answer: exit %s" % self.child.poll())
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode(errors="replace")

    def ask(self, *words, seconds=60):
        self.child.stdin.write((" ".join(words) + "\n").encode())
        return self.read(seconds)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def news(self, milliseconds=1000):
        """What the watch has to say: (damaged, lost, pid, program)."""
        found = re.match(r"ok damaged=(\d) lost=(\d) (\d+) ?(.*)$", self.ask("report", str(milliseconds)))
        return found[1] == "1", found[2] == "1", int(found[3]), found[4]


class Base(Case):
    shared_net = True

    def setUp(self):
        for program in (KEEPER, PROBE):
            if not os.access(program, os.X_OK):
                self.skipTest(program + " is not built")
        super().setUp()
        self.pbx = self.net.pbx
        self.config = self.fence.config(CONFIG % HOME)
        # Orphans of an earlier test are not flushed with the ruleset.
        if self.present():
            self.pbx.run(["nft", "delete", "table", "inet", "sipfence"])

    def keeper(self):
        keeper = Keeper(self.pbx, self.config, os.path.join(self.fence.state, "state"))
        self.addCleanup(end, keeper.child)
        return keeper

    def install(self, kind="lock"):
        keeper = self.keeper()
        self.assertEqual(keeper.ask("apply", kind), "ok swap adopt=0 lock=%d retries=0" % (kind == "lock"))
        return keeper

    def nft(self, command):
        """The exit code of one nft command."""
        return self.pbx.run(["nft", *command.split()], check=False).returncode

    # As text: nft 1.0.6 reads freed memory where its JSON has one flag of a table, as orphans have.

    def present(self, name="sipfence"):
        return "table inet " + name in self.pbx.ruleset("list", "tables").splitlines()

    def whole(self):
        """The table without its own flags, and without counters and times."""
        lines = self.pbx.ruleset("-s", "list", "table", "inet", "sipfence").splitlines()
        return "\n".join(line for line in lines[1:] if not line.startswith("\tflags ")).strip()

    def flags(self):
        """The table's flags: 2 owned, 4 persistent; None without a table."""
        answer = self.keeper().ask("compare", "plain")
        found = re.search(r"owned=(\d) ours=\d persistent=(\d)", answer)
        return int(found[1]) * 2 + int(found[2]) * 4 if self.present() else None

    def add_many(self, table, name, count):
        """Addresses from 16.0.0.0 on; in pieces that an unprivileged nft can send."""
        step = 32768 if privileged() else 2048
        for first in range(0, count, step):
            self.pbx.nft("add element %s %s { %s }\n" % (table, name, ", ".join(
                socket.inet_ntoa(struct.pack(">I", (16 << 24) + number))
                for number in range(first, min(count, first + step)))))

    def steps(self, before):
        return self.pbx.generation() - before

    def sync(self, code=0):
        return self.assertCode(self.fence.run("sync", "--yes"), code)


class Owned(Base):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not keeps_orphans(cls.class_net.pbx):
            cls.skipTest(cls, "this kernel has no tables that outlive their owner")

    def test_nobody_else_changes_it(self):
        keeper = self.install()
        before = self.whole()
        for command in DAMAGE:
            with self.subTest(command):
                self.assertNotEqual(self.nft(command), 0)
                self.assertEqual(self.whole(), before)
        self.pbx.nft("table inet firewalld {\n chain input {\n }\n}\n")
        self.assertEqual(self.nft("flush ruleset"), 0)
        self.assertFalse(self.present("firewalld"))
        self.assertEqual(self.whole(), before)
        self.assertEqual(keeper.ask("compare", "lock"),
                         "ok nothing adopt=0 owned=1 ours=1 persistent=1 changes=0")

    def test_the_owner_goes_on_changing_it(self):
        keeper = self.install()
        generation = self.pbx.generation()
        self.assertEqual(keeper.ask("change", "+", "sip_hosts4", HOME2), "ok 0")
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME, HOME2})
        self.assertEqual(keeper.ask("apply", "lock"), "ok elements adopt=0 lock=1 retries=0")
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME})
        self.assertEqual(self.steps(generation), 2)
        self.assertEqual(keeper.ask("remove"), "ok 1")
        self.assertFalse(self.present())

    def test_an_orphan_stays_and_is_adopted(self):
        keeper = self.install()
        whole = self.whole()
        keeper.kill()
        self.assertEqual(self.whole(), whole)
        self.assertEqual(self.flags(), 4)
        generation = self.pbx.generation()
        heir = self.keeper()
        self.assertEqual(heir.ask("compare", "lock"),
                         "ok elements adopt=1 owned=0 ours=0 persistent=1 changes=0")
        self.assertEqual(heir.ask("apply", "lock"), "ok elements adopt=1 lock=1 retries=0")
        self.assertEqual(self.steps(generation), 1)
        self.assertEqual(self.whole(), whole)
        self.assertEqual(heir.ask("compare", "lock"),
                         "ok nothing adopt=0 owned=1 ours=1 persistent=1 changes=0")
        self.assertNotEqual(self.nft(DAMAGE[0]), 0)
        self.assertEqual(self.flags(), 6)

    def test_it_stays_when_the_owner_ends_in_peace(self):
        keeper = self.install()
        whole = self.whole()
        keeper.child.stdin.close()
        self.assertEqual(keeper.child.wait(10), 0)
        self.assertEqual(self.whole(), whole)
        self.assertEqual(self.flags(), 4)

    def test_adoption_and_repair_are_one_batch(self):
        """An orphan is unprotected: what was done to it meanwhile is put right as it is adopted."""
        self.install().kill()
        whole = self.whole()
        self.pbx.nft("delete element inet sipfence sip_hosts4 { %s }\n"
                     "add element inet sipfence sip_hosts4 { %s }\n" % (HOME, ROGUE))
        generation = self.pbx.generation()
        self.assertEqual(self.keeper().ask("apply", "lock"), "ok elements adopt=1 lock=1 retries=0")
        self.assertEqual(self.steps(generation), 1)
        self.assertEqual(self.whole(), whole)

    def test_a_refused_adoption_leaves_the_orphan(self):
        self.install().kill()
        whole = self.whole()
        heir = self.keeper()
        self.assertIn("adopt=1", heir.ask("compare", "lock"))
        self.assertRegex(heir.ask("change", "-", "sip_hosts4", ROGUE), "^error %d .*%s" % (ENOENT, ROGUE))
        self.assertEqual(self.flags(), 4)
        self.assertEqual(self.whole(), whole)
        self.assertEqual(heir.ask("apply", "lock"), "ok elements adopt=1 lock=1 retries=0")

    def test_a_plain_table_is_swapped(self):
        self.sync()
        self.assertEqual(self.flags(), 0)
        self.assertTrue(reaches(self.net.home, HOME, self.pbx, PBX))
        whole, counted = self.whole(), self.pbx.elements("sip_hosts4")
        self.assertGreater(counted[HOME]["packets"], 0)
        generation = self.pbx.generation()
        keeper = self.keeper()
        self.assertEqual(keeper.ask("apply", "lock"), "ok swap adopt=0 lock=1 retries=0")
        self.assertEqual(self.steps(generation), 2, "the swap, and the relay taken out")
        self.assertEqual(self.whole(), whole)
        self.assertEqual(self.pbx.elements("sip_hosts4"), counted)
        self.assertEqual(keeper.ask("compare", "lock"),
                         "ok nothing adopt=0 owned=1 ours=1 persistent=1 changes=0")

    def test_its_own_table_is_swapped(self):
        keeper = self.install()
        other = self.fence.config("services: {sip: {udp: [5060, 5080]}}\n" + CONFIG % HOME, "other.yaml")
        self.assertEqual(keeper.ask("load", other), "ok")
        generation = self.pbx.generation()
        self.assertEqual(keeper.ask("apply", "lock"), "ok swap adopt=0 lock=1 retries=0")
        self.assertEqual(self.steps(generation), 2)
        self.assertEqual(self.flags(), 6)
        self.assertNotIn("relay", self.whole())
        # An orphan of another shape is not adopted, but swapped.
        keeper.kill()
        self.assertEqual(self.flags(), 4)
        generation = self.pbx.generation()
        self.assertEqual(self.keeper().ask("apply", "lock"), "ok swap adopt=0 lock=1 retries=0")
        self.assertEqual(self.steps(generation), 2)

    def test_it_is_given_up_by_a_swap(self):
        """The kernel lets no owner give a table up: who wants no lock any more makes a plain one."""
        keeper = self.install()
        whole = self.whole()
        generation = self.pbx.generation()
        self.assertEqual(keeper.ask("apply", "plain"), "ok swap adopt=0 lock=0 retries=0")
        self.assertEqual(self.steps(generation), 2)
        self.assertEqual(self.whole(), whole)
        self.assertEqual(self.flags(), 0)

    def test_no_packet_is_lost_or_let_in(self):
        """From plain to owned, through deaths, adoptions and a swap of the shape."""
        self.sync()
        other = self.fence.config("services: {sip: {udp: [5060, 5080]}}\n" + CONFIG % HOME, "other.yaml")
        listener = Listener(self.pbx, 5060)
        phone = Sender(self.net.home, HOME, PBX, "phone", 500)
        rogue = Sender(self.net.rogue, ROGUE, PBX, "rogue", 500)
        time.sleep(0.1)
        for _ in range(10):
            keeper = self.keeper()
            self.assertRegex(keeper.ask("apply", "lock"), "^ok (swap|elements)")
            self.nft("flush ruleset")
            self.assertEqual(keeper.ask("load", other), "ok")
            self.assertRegex(keeper.ask("apply", "lock"), "^ok swap")
            self.nft("flush ruleset")
            keeper.kill()
        sent = {"phone": phone.stop(), "rogue": rogue.stop()}
        counts = listener.counts()
        end(listener.child)
        self.assertGreater(sent["rogue"], 500)
        self.assertEqual(counts.get("phone"), sent["phone"])
        self.assertNotIn("rogue", counts)

    def test_a_second_owner_is_refused(self):
        self.install()
        whole = self.whole()
        second = self.keeper()
        start = time.monotonic()
        self.assertRegex(second.ask("apply", "lock"), "^error %d .*belongs to another" % EPERM)
        self.assertLess(time.monotonic() - start, 2)
        # Who does not want it for himself finds nothing to do.
        self.assertEqual(second.ask("apply", "plain"), "ok nothing adopt=0 lock=0 retries=0")
        self.assertEqual(self.whole(), whole)
        self.config = self.fence.config(CONFIG % HOME2)
        self.assertEqual(second.ask("load", self.config), "ok")
        for kind in ("lock", "plain"):
            self.assertRegex(second.ask("apply", kind), "^error %d .*belongs to another" % EPERM)
        self.assertEqual(self.whole(), whole)

    def test_an_owner_that_is_about_to_end_is_waited_for(self):
        first, second = self.install(), self.keeper()
        timer = threading.Timer(0.03, os.kill, (first.child.pid, signal.SIGKILL))
        timer.start()
        self.addCleanup(timer.join)
        self.assertRegex(second.ask("apply", "lock"), r"^ok elements adopt=1 lock=1 retries=[1-9]")

    def test_without_lock_an_orphan_is_left_one(self):
        self.install().kill()
        self.config = self.fence.config(CONFIG % HOME2)
        self.assertEqual(self.keeper().ask("apply", "plain"), "ok elements adopt=0 lock=0 retries=0")
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME2})
        self.assertEqual(self.flags(), 4)

    def test_sync(self):
        """Beside a living owner, then with an orphan."""
        keeper = self.install()
        self.sync()
        self.fence.config(CONFIG % HOME2)
        self.assertIn("belongs to another running process", self.sync(1).err)
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME})
        keeper.kill()
        self.sync()
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME2})
        self.assertEqual(self.flags(), 4)
        self.fence.config("mode: monitor\n" + CONFIG % HOME2)
        self.sync()
        self.assertEqual(self.flags(), 0)

    def test_a_kernel_without_such_tables(self):
        """It refuses the flags; so does this one where they can't be had."""
        self.sync()
        whole, generation = self.whole(), self.pbx.generation()
        self.assertEqual(self.keeper().ask("pretend"), "ok nothing adopt=0 lock=0 retries=1")
        self.assertEqual(self.whole(), whole)
        self.assertEqual(self.steps(generation), 0)
        self.assertEqual(self.flags(), 0)

    def test_for_months(self):
        keeper = self.install()
        generation = self.pbx.generation()
        answer = keeper.ask("repeat", "400")
        self.assertEqual(self.steps(generation), 2 * 400)
        self.assertLess(int(re.match(r"ok (-?\d+) KB more$", answer)[1]), 16, answer)


class Elements(Base):
    def test_counters(self):
        self.config = self.fence.config(
            "extensions: {21: [%s, 2001:db8:21::10]}\n"
            "local-subnets: [192.168.1.0/24, fd00:1::/64, 10.0.0.0/8]\n" % HOME)
        keeper = self.install("plain")
        places = ((self.net.home, HOME, PBX, "sip_hosts4", HOME),
                  (self.net.home, "2001:db8:21::10", "2001:db8:1::10", "sip_hosts6", "2001:db8:21::10"),
                  (self.net.lan, LAN, "192.168.1.1", "sip_nets4", "192.168.1.0/24"),
                  (self.net.lan, "fd00:1::50", "fd00:1::1", "sip_nets6", "fd00:1::/64"))
        for number, (host, source, target, name, prefix) in enumerate(places):
            with self.subTest(name):
                self.assertEqual(keeper.ask("get", name, prefix), "ok 0 0")
                for _ in range(number + 1):
                    self.assertTrue(reaches(host, source, self.pbx, target))
                seen = self.pbx.elements(name)[prefix]
                self.assertEqual(seen["packets"], number + 1)
                self.assertEqual(keeper.ask("get", name, prefix),
                                 "ok %d %d" % (seen["packets"], seen["bytes"]))
        for name, prefix in (("sip_hosts4", ROGUE), ("sip_nets4", "192.168.2.0/24"),
                             ("sip_nets4", "10.1.0.0/16"), ("sip_hosts6", "2001:db8::1")):
            self.assertEqual(keeper.ask("get", name, prefix), "ok missing")
        self.pbx.run(["nft", "flush", "ruleset"])
        self.assertEqual(keeper.ask("get", "sip_hosts4", HOME), "ok missing")

    def test_who_leaves_is_revoked(self):
        self.config = self.fence.config("replies: accept\n" + CONFIG % HOME)
        keeper = self.install("plain")
        self.assertEqual(keeper.ask("move", "sip_hosts4", HOME, HOME2), "ok 4 changes")
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME2})
        self.assertEqual(set(self.pbx.elements("sip_revoked4")), {HOME})
        self.assertEqual(keeper.ask("move", "sip_hosts4", HOME2, HOME), "ok 4 changes")
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME})
        self.assertEqual(set(self.pbx.elements("sip_revoked4")), {HOME2})
        # Whoever of a net is revoked or talks, only a whole comparison knows.
        self.assertEqual(keeper.ask("move", "sip_nets4", "192.168.1.0/24", "192.168.2.0/24"), "ok compare")

    def test_a_full_revoked_set(self):
        """The batch is refused as a whole; the whole comparison makes room."""
        self.config = self.fence.config("replies: accept\n" + CONFIG % HOME)
        keeper = self.install("plain")
        self.add_many("inet sipfence", "sip_revoked4", DYNAMIC_SET_SIZE)
        before = self.pbx.generation()
        self.assertRegex(keeper.ask("move", "sip_hosts4", HOME, HOME2), "^error %d .*sip_revoked4" % ENFILE)
        self.assertEqual(self.steps(before), 0)
        self.assertEqual(keeper.ask("load", self.fence.config("replies: accept\n" + CONFIG % HOME2)), "ok")
        self.assertEqual(keeper.ask("apply", "plain"), "ok elements adopt=0 lock=0 retries=0")
        self.assertEqual(set(self.pbx.elements("sip_hosts4")), {HOME2})
        revoked = self.pbx.elements("sip_revoked4")
        self.assertIn(HOME, revoked)
        self.assertEqual(len(revoked), DYNAMIC_SET_SIZE)


class Watched(Base):
    def setUp(self):
        super().setUp()
        self.watcher = self.install("plain")
        self.assertEqual(self.watcher.ask("watch"), "ok")

    def run_nft(self, command):
        child = self.pbx.popen(["nft", *command.split()])
        self.assertEqual(child.wait(10), 0, command)
        return child.pid

    def assertNews(self, pid, program="nft"):
        news = self.watcher.news()
        self.assertEqual((news[0], news[1], news[3]), (True, False, program))
        if os.readlink("/proc/self/ns/pid") == INIT_PID_NAMESPACE:
            self.assertEqual(news[2], pid)
        else:
            self.assertGreater(news[2], 0)

    def assertNothing(self):
        self.assertEqual(self.watcher.news(100), (False, False, 0, ""))

    def test_each_damage_is_seen(self):
        self.assertNothing()
        for command in ["flush ruleset"] + DAMAGE:
            with self.subTest(command):
                pid = self.run_nft(command)
                self.assertNews(pid)
                self.assertNothing()
                self.assertRegex(self.watcher.ask("apply", "plain"), "^ok (swap|elements)")
                self.assertNothing()

    def test_others_and_ourselves_are_no_damage(self):
        self.pbx.nft("""
table inet filter {
	set sip_hosts4 { type ipv4_addr; elements = { %s } }
	chain prerouting { type filter hook prerouting priority raw; ip saddr @sip_hosts4 accept; }
}
table ip sipfence {
	chain prerouting { type filter hook prerouting priority raw; accept; }
}
""" % ROGUE)
        self.run_nft("delete element inet filter sip_hosts4 { %s }" % ROGUE)
        self.run_nft("delete table ip sipfence")
        self.assertEqual(self.watcher.ask("change", "+", "sip_hosts4", HOME2), "ok 0")
        self.assertEqual(self.watcher.ask("apply", "plain"), "ok elements adopt=0 lock=0 retries=0")
        self.assertNothing()

    def test_rejected_sources_are_no_damage(self):
        self.assertFalse(reaches(self.net.rogue, ROGUE, self.pbx, PBX))
        self.assertIn(ROGUE, self.pbx.elements("sip_rejected4"))
        self.run_nft("flush set inet sipfence sip_rejected4")
        self.run_nft("add element inet sipfence sip_rejected4 { %s }" % ROGUE)
        self.assertNothing()

    def test_damage_among_others(self):
        """One transaction that does many things, between transactions of others."""
        self.pbx.nft("table inet filter {\n chain input {\n }\n}\n")
        child = self.pbx.popen(["nft", "-f", "-"], stdin=-1)
        child.communicate(("table inet filter {\n set many { type ipv4_addr; elements = { %s } }\n}\n"
                           "delete element inet sipfence sip_hosts4 { %s }\nflush table inet filter\n" % (
                               ", ".join("10.0.%d.%d" % divmod(n, 256) for n in range(5000)), HOME)).encode(),
                          timeout=20)
        self.run_nft("delete table inet filter")
        self.assertNews(child.pid)
        self.assertNothing()

    def test_another_sipfence_is_a_culprit(self):
        self.fence.config(CONFIG % HOME2)
        self.sync()
        news = self.watcher.news()
        self.assertEqual((news[0], news[3]), (True, "sipfence"))

    def test_lost_news(self):
        """More than the socket can hold, while nobody reads."""
        self.pbx.nft("table ip others {\n set many { type ipv4_addr; }\n}\n")
        self.add_many("ip others", "many", 320000)
        self.run_nft(DAMAGE[0])
        self.assertTrue(self.watcher.news()[1])
        # And all is as before once it was read.
        self.assertNothing()
        self.assertRegex(self.watcher.ask("apply", "plain"), "^ok swap")
        self.assertNews(self.run_nft(DAMAGE[0]))


if __name__ == "__main__":
    main()
