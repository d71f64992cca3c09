#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The daemon with a real DNS server and the real kernel: it follows the names, is quiet when nothing
changes, starts without DNS, and ends as it should (design, section 8).
"""
import os
import re
import signal
import stat
import subprocess
import time

from daemon_case import HOME, HOME2, LAN, NAME, PATIENCE, PBX6, ROGUE, DaemonCase
from harness import PYTHON, Monitor, Strace, end, main, privileged, reaches, wait_until
from scripted_dns import ScriptedDns, answer, silence

HOME6, HOME6_2, ROGUE6 = "2001:db8:21::10", "2001:db8:21::77", "2001:db8:66::66"


class Follows(DaemonCase):
    needs = ("knotd", "knsupdate")

    def setUp(self):
        super().setUp()
        self.names = self.knot()

    def start(self, more="", extensions="21: " + NAME):
        self.configure(more, extensions, resolver=self.names.resolver())
        return self.daemon()

    def test_a_phone_moves(self):
        """The main job. Its record changes by an update; the phone is in within seconds, wherever it is,
        and nobody else ever."""
        self.names.update("add %s. 1 A %s" % (NAME, HOME))
        daemon = self.start()
        self.assertAllowed(HOME)
        self.assertPasses(HOME, LAN)
        self.assertShut(HOME2, ROGUE)
        for new, old in ((HOME2, HOME), (HOME, HOME2), (HOME2, HOME)):
            mark = daemon.mark()
            self.names.move(NAME, new, ttl=1)
            self.assertAllowed(new, seconds=4)
            change = daemon.wait_event("change", since=mark, extension="21", host=NAME, type="A")
            self.assertEqual((change["old"], change["new"]), (old, new))
            self.assertPasses(new, LAN)
            self.assertShut(old, ROGUE)
        self.assertIn(ROGUE, self.pbx.elements("sip_rejected4"))
        self.assertEqual(self.pbx.elements("sip_hosts4")[HOME2]["comment"], "21 " + NAME)

    def test_both_families(self):
        self.names.update("add {0}. 1 A {1}\nadd {0}. 1 AAAA {2}".format(NAME, HOME, HOME6))
        daemon = self.start()
        self.assertAllowed(HOME)
        self.assertTrue(wait_until(lambda: HOME6 in self.pbx.elements("sip_hosts6")))
        self.names.move(NAME, HOME6_2, ttl=1)
        self.assertTrue(wait_until(lambda: list(self.pbx.elements("sip_hosts6")) == [HOME6_2], 4))
        daemon.wait_event("change", host=NAME, type="AAAA", old=HOME6, new=HOME6_2)
        self.assertEqual(self.hosts4(), [HOME], "the other family lost its address")
        for source, expected in ((HOME6_2, True), (HOME6, False)):
            self.assertEqual(reaches(self.net.home, source, self.pbx, PBX6), expected, source)
        self.assertFalse(reaches(self.net.rogue, ROGUE6, self.pbx, PBX6))

    def test_the_phone_that_stays_notices_nothing(self):
        """Of two phones one moves ten times; the other one's datagrams, and none of the rogue's, arrive."""
        self.names.update("add %s. 1 A %s\nadd moving.example. 1 A 203.0.113.100" % (NAME, HOME))
        self.start(extensions="21: %s, 22: moving.example" % NAME)
        self.assertAllowed(HOME, "203.0.113.100")
        with self.knocking() as probes:
            for step in range(1, 7):
                address = HOME if step % 2 else "203.0.113.%d" % (100 + step)  # shared by both, too
                self.names.move("moving.example", address, ttl=1)
                self.assertAllowed(*{HOME, address})
        probes.check(self)

    def test_srv(self):
        """A trunk's SRV record changes its target."""
        self.names.update("add _sip._udp.voipco.example. 1 SRV 10 10 5060 a.voipco.example.\n"
                          "add a.voipco.example. 1 A 203.0.113.20\nadd b.voipco.example. 1 A 203.0.113.21")
        self.configure("peers: {voipco: {srv: [_sip._udp.voipco.example]}}\nlinger: {peers: 0s}\n",
                       "21: " + NAME, resolver=self.names.resolver())
        daemon = self.daemon()
        self.assertAllowed("203.0.113.20")
        self.names.update("del _sip._udp.voipco.example. SRV\n"
                          "add _sip._udp.voipco.example. 1 SRV 10 10 5060 b.voipco.example.")
        self.assertAllowed("203.0.113.21")
        daemon.wait_event("change", peer="voipco", type="SRV")

    def test_the_server_is_away_for_a_while(self):
        self.names.update("add %s. 1 A %s" % (NAME, HOME))
        daemon = self.start()
        self.assertAllowed(HOME)
        self.names.stop()
        daemon.wait_event("state", seconds=10, host=NAME, state="held")
        self.assertAllowed(HOME)
        self.names.start()
        self.names.move(NAME, HOME2, ttl=1)
        self.assertAllowed(HOME2, seconds=8)
        daemon.wait_event("state", host=NAME, state="fresh")


class Grows(DaemonCase):
    """The kernel's sets have a size."""
    COUNT, EACH, ROOM = 100, 8, 768

    def answers(self, first, each):
        """Each name has so many addresses, from the first-th of its own on."""
        return {"n%d.example" % name: ["203.%d.%d.%d" % (100 + name // 50, name % 50, first + number)
                                       for number in range(each)]
                for name in range(self.COUNT)}

    def answer(self, answers):
        for name, addresses in answers.items():
            self.points(*addresses, name=name)
        return [address for addresses in answers.values() for address in addresses]

    def size(self):
        listed = self.pbx.nft_json("list", "set", "inet", "sipfence", "sip_hosts4")
        return next(item["set"]["size"] for item in listed if "set" in item)

    def test_answers_outgrow_the_table(self):
        """Name by name until the set is full, then by a new table, with all that are due."""
        few = self.answer(self.answers(1, 1))
        self.configure(extensions=", ".join(
            "e%d: n%d.example" % (name, name) for name in range(self.COUNT)))
        daemon = self.daemon()
        self.assertAllowed(*few)
        self.assertEqual(self.size(), self.ROOM)
        many = self.answer(self.answers(1, self.EACH))
        self.assertGreater(len(many), self.ROOM)
        self.assertAllowed(*many, seconds=10)
        self.assertGreater(self.size(), len(many))
        # It follows as before, and nothing was said to have failed.
        others = self.answer(self.answers(101, self.EACH))
        self.assertAllowed(*others, seconds=10)
        self.assertEqual([event for event in daemon.events() if event.get("result") == "failed"], [])


class Quiet(DaemonCase):
    def test_nothing_changes_nothing_is_sent(self):
        self.points(HOME)
        self.points("203.0.113.22", name="home22.example")
        self.configure(extensions="21: %s, 22: home22.example" % NAME)
        self.daemon()
        self.assertAllowed(HOME, "203.0.113.22")
        with Monitor(self.pbx) as monitor:
            asked, generation = self.server.total, self.pbx.generation()
            self.assertTrue(wait_until(lambda: self.server.total >= asked + 8, 10))
            self.assertEqual((self.pbx.generation() - generation, monitor.events()), (0, []))

    def test_no_netlink_message(self):
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        self.assertAllowed(HOME)
        trace = Strace(self.pbx, daemon.pid, ["sendto", "sendmsg", "sendmmsg", "write"])
        self.assertTrue(wait_until(lambda: self.server.asked(NAME) >= 6, 10))
        calls = trace.calls()
        self.assertTrue(any("UDP:" in line for line in calls), "no question was seen: %s" % calls)
        self.assertEqual([line for line in calls if "NETLINK" in line], [])

    def test_no_wake_up_without_names(self):
        self.configure(extensions="21: %s, 23: local" % HOME)
        daemon = self.daemon()
        self.assertAllowed(HOME)
        time.sleep(0.5)
        before = daemon.proc("voluntary_ctxt_switches")
        time.sleep(4)
        self.assertEqual(daemon.proc("voluntary_ctxt_switches"), before)
        self.assertEqual(self.server.total, 0)

    def test_few_wake_ups_between_questions(self):
        """A minute until the next question: nothing to do until then."""
        self.points(HOME, ttl=60)
        self.fence.config("extensions: {21: %s}\n%s" % (NAME, self.server.resolver()))
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertTrue(wait_until(lambda: HOME.encode() in self.fence.saved().get("state", b""), 15))
        before = daemon.proc("voluntary_ctxt_switches"), self.server.total
        time.sleep(4)
        self.assertEqual((daemon.proc("voluntary_ctxt_switches"), self.server.total), before)


class Starts(DaemonCase):
    def remembered(self, *addresses):
        """A state that holds these addresses, and a machine that has just booted."""
        self.points(*(addresses or [HOME]))
        self.configure()
        daemon = self.daemon()
        self.assertAllowed(*(addresses or [HOME]))
        self.assertEqual(daemon.stop(), 0, daemon)
        self.pbx.run(["nft", "flush", "ruleset"])

    def test_saved_addresses_before_dns(self):
        self.remembered()
        self.dns_silent()
        self.configure(timeout="2s")
        daemon = self.daemon(ready=False)
        self.assertLess(daemon.wait_ready(), 1 * PATIENCE, "readiness waited for something")
        self.assertEqual(self.hosts4(), [HOME])
        self.assertPasses(HOME, LAN)
        self.assertShut(ROGUE, HOME2)
        table, = daemon.events("table")
        self.assertEqual((table["action"], table["elements"]), ("installed", "2"), daemon)
        names = [event["event"] for event in daemon.events()]
        self.assertLess(names.index("table"), names.index("ready"))
        daemon.wait_event("dns", seconds=15, state="dead")
        self.assertEqual(self.hosts4(), [HOME])
        self.points(HOME2)
        self.assertAllowed(HOME2, seconds=8)
        daemon.wait_event("dns", state="alive")

    def test_closed_from_the_first_instant(self):
        """No state: the permits get in, nobody else does, and then the phone does. It recovers by itself."""
        self.dns_silent()
        self.configure()
        daemon = self.daemon()
        self.assertEqual(self.hosts4(), [])
        self.assertPasses(LAN)
        self.assertShut(HOME, ROGUE)
        daemon.wait_event("dns", seconds=10, state="dead")
        daemon.wait_event("state", host=NAME, state="never answered")
        self.points(HOME)
        self.assertAllowed(HOME, seconds=8)
        self.assertPasses(HOME)
        self.assertShut(ROGUE)

    def test_a_start_in_one_transaction(self):
        self.remembered()
        self.dns_silent()
        generation = self.pbx.generation()
        daemon = self.daemon()
        daemon.wait_event("dns", seconds=10, state="dead")
        self.assertEqual(self.pbx.generation() - generation, 1)

    def test_what_was_held_too_long_is_not_let_in(self):
        self.points(HOME)
        self.configure("hold: 2s\n")
        daemon = self.daemon()
        self.assertAllowed(HOME)
        daemon.stop()
        self.pbx.run(["nft", "flush", "ruleset"])
        self.dns_silent()
        time.sleep(2.5)
        self.daemon()
        self.assertEqual(self.hosts4(), [])
        self.assertShut(HOME)

    def test_a_config_that_is_wrong(self):
        self.fence.config("extensions: {21: [}\n")
        daemon = self.daemon(ready=False, codes=(2,))
        self.assertEqual(daemon.wait(), 2, daemon)
        self.assertIn("sipfence.yaml:1:", daemon.log())
        self.assertFalse(self.pbx.has_table())

    def test_a_config_that_has_become_wrong(self):
        """Somebody has edited it, and then the machine boots: the port is shut by the last good one."""
        self.remembered()
        self.dns_silent()
        with open(self.fence.path) as file:
            good = file.read()
        self.fence.config("extensions: {21: [}\n")
        daemon = self.daemon()
        self.assertEqual(self.hosts4(), [HOME])
        self.assertPasses(HOME, LAN)
        self.assertShut(ROGUE)
        daemon.wait_log(r"sipfence\.yaml:1:")
        self.assertEqual(daemon.request({"request": "reload"})["exit"], 2)
        self.fence.config(good)
        self.assertTrue(daemon.request({"request": "reload"})["ok"])

    def test_restart_changes_nothing(self):
        """An upgrade: the new process takes over what is there, and what is in the table stays."""
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertPasses(HOME)
        before = self.pbx.table()
        packets = self.pbx.elements("sip_hosts4")[HOME]["packets"]
        with self.knocking() as probes:
            for _ in range(5):
                self.assertEqual(daemon.stop(), 0)
                daemon = self.daemon()
        probes.check(self, 100)
        self.assertEqual(self.pbx.table(), before)
        self.assertGreaterEqual(self.pbx.elements("sip_hosts4")[HOME]["packets"],
                                packets + probes.sent["phone"], "the counter was lost")


class Network(DaemonCase):
    shared_net = False

    def test_it_comes_up_later(self):
        """At boot. Nobody waits for the next question of those that failed meanwhile."""
        self.server = self.dns_of_the_router()
        self.points(HOME)
        self.fence.config("extensions: {21: %s}\nlocal-subnets: [192.168.1.0/24]\n%s" % (
            NAME, self.server.resolver()))
        self.pbx.ip("link set wan down\naddress del 192.0.2.10/24 dev wan")
        daemon = self.daemon()
        daemon.wait_event("dns", seconds=10, state="dead")
        asked = self.server.total
        self.assertEqual((asked, self.hosts4()), (0, []))
        self.pbx.ip("link set wan up\naddress add 192.0.2.10/24 dev wan\nroute add default via 192.0.2.1")
        self.assertAllowed(HOME, seconds=5, message="the next attempt is ten seconds away")
        self.assertPasses(HOME, LAN)
        self.assertShut(ROGUE)

    def dns_of_the_router(self):
        server = ScriptedDns(self.net.router, address="192.0.2.1")
        self.addCleanup(server.close)
        return server


class ResolvConf(DaemonCase):
    """Two name servers, which know different addresses, and an /etc of the daemon's own."""

    def setUp(self):
        super().setUp()
        self.etc = os.path.join(self.directory, "etc")
        os.mkdir(self.etc)
        for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache"):
            if os.path.exists("/etc/" + name):
                with open("/etc/" + name, "rb") as source, \
                        open(os.path.join(self.etc, name), "wb") as target:
                    target.write(source.read())
        self.first, self.second = (self.dns(port=53, address=address)
                                   for address in ("127.0.0.1", "127.0.0.2"))
        self.first.set(NAME, "A", answer(HOME, ttl=1))
        self.second.set(NAME, "A", answer(HOME2, ttl=1))
        self.configure(resolver="resolver: {timeout: 300ms}\n")

    def write(self, server, name="resolv.conf", how="rename"):
        path = os.path.join(self.etc, name)
        text = "# made by a DHCP client\nnameserver %s\n" % server.address
        with open(path + ".new" if how == "rename" else path, "w") as file:
            file.write(text)
        if how == "rename":
            os.rename(path + ".new", path)

    def link(self, target):
        path = os.path.join(self.etc, "resolv.conf")
        os.symlink(target, path + ".new")
        os.rename(path + ".new", path)

    def run_it(self):
        return self.daemon(prefix=["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"',
                                   self.etc])

    def check_followed(self, daemon, change):
        self.assertAllowed(HOME)
        mark = daemon.mark()
        change()
        self.assertAllowed(HOME2)
        daemon.wait_event("servers", since=mark)
        asked = self.first.total
        time.sleep(1.5)
        self.assertLessEqual(self.first.total, asked + 1, "the server of old is still asked")

    def test_replaced(self):
        self.write(self.first)
        self.check_followed(self.run_it(), lambda: self.write(self.second))

    def test_written_in_place(self):
        self.write(self.first)
        self.check_followed(self.run_it(), lambda: self.write(self.second, how="in place"))

    def test_symlink_switched(self):
        self.write(self.first, "of-dhcp")
        self.write(self.second, "of-vpn")
        self.link("of-dhcp")
        self.check_followed(self.run_it(), lambda: self.link("of-vpn"))

    def test_replaced_behind_a_symlink(self):
        """As systemd-resolved, resolvconf and NetworkManager do it."""
        os.mkdir(os.path.join(self.etc, "elsewhere"))
        self.write(self.first, "elsewhere/resolv.conf")
        self.link("elsewhere/resolv.conf")
        self.check_followed(self.run_it(), lambda: self.write(self.second, "elsewhere/resolv.conf"))

    def test_a_file_becomes_a_symlink(self):
        self.write(self.first)
        daemon = self.run_it()
        os.mkdir(os.path.join(self.etc, "elsewhere"))
        self.write(self.second, "elsewhere/resolv.conf")
        self.check_followed(daemon, lambda: self.link("elsewhere/resolv.conf"))
        self.write(self.first, "elsewhere/resolv.conf")
        self.assertAllowed(HOME)

    def test_missing_at_the_start(self):
        """At boot the file may come with the network."""
        self.first.close()  # without the file, the local machine is asked
        daemon = self.run_it()
        self.assertShut(HOME, HOME2, ROGUE)
        self.write(self.second)
        self.assertAllowed(HOME2, seconds=8)
        self.assertTrue(daemon.runs())

    def test_removed_and_back(self):
        self.write(self.first)
        daemon = self.run_it()
        self.assertAllowed(HOME)
        os.unlink(os.path.join(self.etc, "resolv.conf"))
        time.sleep(2.5)
        self.assertTrue(daemon.runs())
        self.assertIn(HOME, self.hosts4())
        self.write(self.second)
        self.assertAllowed(HOME2, seconds=8)

    def test_the_same_again_says_nothing(self):
        self.write(self.first)
        daemon = self.run_it()
        self.assertAllowed(HOME)
        mark = daemon.mark()
        for _ in range(5):
            self.write(self.first)
            self.write(self.first, how="in place")
            time.sleep(0.1)
        time.sleep(1)
        self.assertEqual(daemon.events("servers", mark), [])


class Ends(DaemonCase):
    def setUp(self):
        super().setUp()
        self.points(HOME)
        self.configure()

    def started(self, *options, **more):
        daemon = self.daemon(*options, **more)
        self.assertAllowed(HOME)
        return daemon

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                daemon = self.started()
                before = self.pbx.table()
                self.assertEqual(daemon.stop(number), 0, daemon)
                self.assertEqual(len(daemon.events("stop")), 1, daemon)
                self.assertEqual(self.pbx.table(), before, "the table changed at the end")
                self.assertIn(HOME.encode(), self.fence.saved()["state"])
                self.assertPasses(HOME)
                self.assertShut(ROGUE)

    def test_the_end_saves_the_time_of_the_last_answer(self):
        """Else a name that has not changed for a week would look a week old after a boot without DNS."""
        self.started().stop()

        def good():
            return int(re.search(rb"(?m)^lookup 4 \d+ (\d+)", self.fence.saved()["state"]).group(1))
        before = good()
        daemon = self.daemon()
        time.sleep(3)
        daemon.stop()
        self.assertGreaterEqual(good(), before + 2)

    def test_questions_under_way_hold_nothing_up(self):
        self.points(HOME)
        daemon = self.started()
        self.dns_silent()
        time.sleep(1.2)
        start = time.monotonic()
        self.assertEqual(daemon.stop(), 0)
        self.assertLess(time.monotonic() - start, 1 * PATIENCE)

    def test_pending_clients_are_answered(self):
        daemon = self.started()
        self.server.set(NAME, "A", silence())
        self.configure(timeout="30s")
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        with daemon.control() as control:
            control.send({"request": "refresh"})
            time.sleep(0.5)
            daemon.send_signal(signal.SIGTERM)
            self.assertIsInstance(control.receive(), dict)
        self.assertEqual(daemon.wait(), 0)

    def test_the_terminal_goes(self):
        """SIGHUP is the reload, not the end; and nobody reads the log any more."""
        read_end, write_end = os.pipe()
        child = self.fence.host.popen(self.fence.argv("run"), stdout=write_end, stderr=write_end,
                                      env=self.fence.environment)
        os.close(write_end)
        self.assertAllowed(HOME)
        os.close(read_end)
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.points(HOME)
        self.assertAllowed(HOME)
        child.terminate()
        self.assertEqual(child.wait(10), 0)

    def test_a_reader_that_does_not_read(self):
        """The log is a pipe that is full: the table goes on."""
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        os.set_blocking(write_end, False)
        try:
            while True:
                os.write(write_end, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write_end, True)
        child = self.fence.host.popen(self.fence.argv("run"), stdout=write_end, stderr=write_end,
                                      env=self.fence.environment)
        os.close(write_end)
        self.addCleanup(end, child)
        self.assertAllowed(HOME)
        self.points(HOME2)
        self.assertAllowed(HOME2)
        child.terminate()
        self.assertEqual(child.wait(10), 0)

    def test_second_instance(self):
        daemon = self.started()
        before = self.pbx.generation()
        second = self.daemon(ready=False, codes=(1,))
        self.assertEqual(second.wait(), 1, second)
        self.assertIn(str(daemon.pid), second.log())
        self.assertEqual(self.pbx.generation(), before)
        self.assertTrue(daemon.request({"request": "status"})["ok"], "the socket was taken from it")

    def test_sync_beside_it(self):
        daemon = self.started()
        before = self.pbx.generation()
        self.points(HOME2)
        result = self.assertCode(self.fence.run("sync", "--yes"), 1)
        self.assertIn("sipfence refresh", result.err)
        self.assertIn(str(daemon.pid), result.err)
        self.assertCode(self.fence.run("sync", "--dry-run"), 0)
        self.assertAllowed(HOME2)
        self.assertEqual(self.pbx.generation() - before, 1, "sync touched the table")

    def test_the_lock_dies_with_the_process(self):
        for _ in range(3):
            daemon = self.started()
            daemon.kill()
            self.assertPasses(HOME)
            self.assertShut(ROGUE)
        daemon = self.started()
        daemon.kill()
        self.assertCode(self.fence.run("sync", "--yes"), 0)

    def test_after_sync_and_before_sync(self):
        """Both kinds of life take turns, and the table is right throughout."""
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        with self.knocking() as probes:
            for _ in range(3):
                daemon = self.started()
                self.assertEqual(daemon.stop(), 0)
                self.assertCode(self.fence.run("sync", "--yes"), 0)
                self.assertEqual(self.hosts4(), [HOME])
        probes.check(self, 100)

    def test_remove(self):
        daemon = self.started()
        self.assertCode(self.fence.run("remove"), 0)
        self.assertEqual(daemon.wait(), 0, daemon)
        self.assertFalse(self.pbx.has_table())
        self.assertCode(self.fence.run("remove"), 0)

    def test_remove_without_a_good_config(self):
        """Who has shut himself out and broken his config still gets out."""
        for breakage in ("extensions: {21: \n", None):
            daemon = self.started()
            if breakage:
                self.fence.config(breakage)
            else:
                os.unlink(self.fence.path)
            result = self.assertCode(self.fence.run("remove"), 0)
            self.assertIn("sipfence.yaml", result.err)
            self.assertIn("table inet sipfence, which the last run has made", result.err)
            self.assertEqual(daemon.wait(), 0, daemon)
            self.assertFalse(self.pbx.has_table())
            self.assertCode(self.fence.run("remove"), 0)
            self.configure()

    def test_remove_of_another_name_without_a_good_config(self):
        """Nobody runs any more, and the config does not say what the table was called."""
        self.configure("nftables: {table: pbx}\n")
        self.daemon().kill()
        self.assertTrue(self.pbx.has_table("pbx"))
        self.fence.config("- nothing\n")
        result = self.assertCode(self.fence.run("remove"), 0)
        self.assertIn("table inet pbx, which the last run has made", result.err)
        self.assertIn("removed table inet pbx", result.out)
        self.assertFalse(self.pbx.has_table("pbx"))

    def test_remove_without_a_good_config_or_state(self):
        """The copy of the config is the next best; and a name there makes no table ours."""
        self.configure("nftables: {table: pbx}\n")
        self.daemon().kill()
        os.unlink(os.path.join(self.fence.state, "state"))
        self.fence.config("- nothing\n")
        result = self.assertCode(self.fence.run("remove"), 1)
        self.assertIn("table inet pbx, by the copy", result.err)
        self.assertIn("nft delete table inet pbx", result.err)
        self.assertTrue(self.pbx.has_table("pbx"))
        self.pbx.run(["nft", "delete", "table", "inet", "pbx"])

    def test_remove_where_the_copy_is_older_than_the_state(self):
        """A daemon was there once; since then cron's sync makes another table."""
        self.configure("nftables: {table: old}\n")
        self.daemon().kill()
        self.configure("nftables: {table: fence}\n")
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.pbx.run(["nft", "delete", "table", "inet", "old"])
        self.fence.config("- nothing\n")
        self.assertIn("removed table inet fence", self.assertCode(self.fence.run("remove"), 0).out)
        self.assertFalse(self.pbx.has_table("fence"))

    def test_pidfile(self):
        path = os.path.join(self.directory, "sipfence.pid")
        daemon = self.started("--pidfile=" + path)

        def written():
            with open(path) as file:
                return file.read()
        self.assertEqual(written(), "%d\n" % daemon.pid)
        daemon.kill()
        daemon = self.started("--pidfile=" + path)
        self.assertEqual(written(), "%d\n" % daemon.pid)
        second = self.daemon("--pidfile=" + path, ready=False, codes=(1,))
        self.assertEqual(second.wait(), 1)
        self.assertEqual(written(), "%d\n" % daemon.pid, "the second one took the pidfile")
        daemon.stop()
        self.assertFalse(os.path.exists(path))

    def test_control_socket(self):
        daemon = self.started()
        found = os.lstat(daemon.control_path)
        self.assertTrue(stat.S_ISSOCK(found.st_mode))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o660)
        daemon.kill()
        daemon = self.started()
        self.assertTrue(daemon.request({"request": "status"})["ok"])
        daemon.stop()
        with self.assertRaises(OSError):
            daemon.control()

    def test_others_may_not_ask(self):
        """Even where somebody has opened the folder and the socket: credentials are checked."""
        if not privileged():
            self.skipTest("no other users here")
        daemon = self.started()
        script = ("import json, socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(3)\n"
                  "try:\n    s.connect(sys.argv[1])\n    s.sendall(b'{\"request\":\"status\"}\\n')\n"
                  "    print(s.recv(65536).decode() or 'closed')\n"
                  "except OSError as error:\n    print('refused', error)\n")

        def ask(*as_whom):
            return subprocess.run([*as_whom, PYTHON, "-c", script, daemon.control_path], text=True,
                                  stdout=subprocess.PIPE, timeout=20, check=True).stdout
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        self.assertIn('"ok":true', ask().replace(" ", ""))
        for path in (self.fence.run_dir, self.directory):
            os.chmod(path, 0o755)
        self.assertIn("refused", ask(*nobody))
        os.chmod(daemon.control_path, 0o666)
        self.assertNotIn('"ok":true', ask(*nobody).replace(" ", ""))
        self.assertTrue(daemon.request({"request": "status"})["ok"])


if __name__ == "__main__":
    main(at_once=4)
