#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`sipfence doctor` on the real thing: listeners, other tables, flows, DNS, files and modes. Each check
is seen silent on a machine that is in order, and heard when that one thing is wrong."""
import ctypes
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from asterisk_stand_in import StandIn
from fault_case import ALLOCATIONS, FAULTY, SANITIZER, Faults
from harness import NO_CAPS, PYTHON, Case as FenceCase, Knot, end, keeps_orphans, main, privileged
from scripted_dns import answer, delay, nodata, rcode

SIP = """
[general]
bindport=5060
allowguest=no
alwaysauthreject=yes
[21]
type=friend
host=dynamic
secret=twelve-chars-and-more
acl=sipfence-21
[30]
type=friend
host=dynamic
secret=twelve-chars-and-more
deny=0.0.0.0/0.0.0.0
permit=192.168.1.0/255.255.255.0
"""
LOGGER = "[general]\n[logfiles]\nconsole => notice\nsecurity.log => security\n"


class Case(FenceCase):
    """A machine on which all is well: the base of every test."""
    shared_net = True
    needs = ("knotd", "knsupdate")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.mkdtemp(prefix="sipfence-test-")
        cls.knot = Knot(cls.class_net.pbx, cls.folder + "/knot",
                        records="home21 A 203.0.113.10\nvoipco A 198.51.100.66\n")
        cls.addClassCleanup(cls.knot.log.close)
        cls.addClassCleanup(cls.knot.stop)

    def setUp(self):
        super().setUp()
        self.write("asterisk/sip.conf", SIP)
        self.write("asterisk/logger.conf", LOGGER)
        self.write("resolv.conf", "nameserver 127.0.0.1\n")
        self.write("nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\n")
        if os.path.exists("/etc/nftables.conf"):
            self.bind("nftables.conf", "/etc/nftables.conf")
        os.chmod(self.fence.state, 0o700)
        self.configure()

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def bind(self, name, place):
        subprocess.run(["mount", "--bind", self.path(name), place], check=True)
        self.addCleanup(subprocess.run, ["umount", place], check=True)

    def configure(self, more="", extensions="{21: home21.example, 30: local}", resolver=None,
                  asterisk=""):
        self.fence.config(
            "extensions: %s\nlocal-subnets: [192.168.1.0/24]\nuser: root\n%s\n"
            "asterisk: {acl-file: %s%s}\n%s" % (
                extensions, self.knot.resolver() if resolver is None else resolver,
                self.path("asterisk/sipfence_acl.conf"), asterisk, more))

    def doctor(self, code, **more):
        result = self.assertCode(self.fence.run("doctor", "--json", **more), code)
        self.assertEqual(result.err, "")
        document = result.json()
        self.assertEqual(document["problems"],
                         sum(item["level"] == "problem" for item in document["findings"]))
        self.assertEqual(document["exit"], code)
        for item in document["findings"]:
            # What, why in one sentence, and what is to be done.
            for part in ("what", "why", "change"):
                self.assertTrue(item[part], item)
            self.assertRegex(item["why"], r"^[^.]*[^. ]([.][^ ][^.]*)*[.]$")
            self.assertLess(len(item["why"]), 170, item)
        return document

    # Notes that hang on the machine and on what else it does, and on that no daemon runs in most of
    # these tests.
    USUAL = ("clock", "not-running", "resolver-slow")

    def words(self, document, level="problem"):
        return sorted(item["check"] for item in document["findings"] if item["level"] == level
                      and (level == "problem" or item["check"] not in self.USUAL))

    def check_well(self):
        document = self.doctor(0)
        self.assertEqual(self.words(document), [], document)
        return document

    def find(self, check, level="problem"):
        """The one finding of that check: nothing else is wrong."""
        document = self.doctor(3 if level == "problem" else 0)
        found = [item for item in document["findings"]
                 if item["check"] == check and item["level"] == level]
        self.assertEqual(len(found), 1, document)
        if level == "problem":
            self.assertEqual(set(self.words(document)), {check}, document)
        return found[0]

    def mend(self, found):
        """The command that it says does it."""
        for command in found["change"].split(" && "):
            self.net.pbx.run(command.split())
        self.check_well()


class Well(Case):
    def test_all_is_well(self):
        document = self.check_well()
        self.assertEqual(document["result"], "ok")
        self.assertEqual(self.words(document, "note"), ["asterisk-port"])

    def test_for_people(self):
        result = self.assertCode(self.fence.run("doctor"), 0)
        self.assertIn("no problem found", result.out)
        self.assertEqual(self.fence.run("doctor", "-q").out, "")

    def test_a_finding_for_people(self):
        self.write("asterisk/sip.conf", SIP.replace("allowguest=no", "allowguest=yes"))
        result = self.assertCode(self.fence.run("doctor"), 3)
        self.assertRegex(result.out, r"(?m)^problem: chan_sip takes calls of guests")
        self.assertRegex(result.out, r"(?m)^  why: Whoever reaches the port can call")
        self.assertRegex(result.out, r"(?m)^  in .*/sip\.conf:4\n    allowguest=no$")
        self.assertIn("\n1 problem\n", result.out)

    def test_without_a_config(self):
        os.unlink(self.fence.path)
        result = self.assertCode(self.fence.run("doctor"), 2)
        self.assertIn("sipfence init", result.err)
        document = self.assertCode(self.fence.run("doctor", "--json"), 2).json()
        self.assertEqual((document["result"], document["exit"]), ("error", 2))

    def test_a_broken_config(self):
        self.fence.config("extension: {21: home21.example}\n")
        self.assertIn("unknown key", self.assertCode(self.fence.run("doctor"), 2).err)

    def test_it_changes_nothing(self):
        before = self.net.pbx.generation()
        self.check_well()
        self.assertEqual(self.net.pbx.generation(), before)
        self.assertEqual(self.fence.saved(), {})

    def test_unprivileged(self):
        """It says what it could not look at, and does the rest."""
        os.chmod(self.directory, 0o755)
        self.write("asterisk/sip.conf", SIP.replace("allowguest=no", "allowguest=yes"))
        result = self.fence.run("doctor", "--json", prefix=NO_CAPS)
        document = self.assertCode(result, 3).json()
        self.assertEqual(self.words(document), ["asterisk-guests"])
        skipped = {item["check"]: item for item in document["not_looked_at"]}
        self.assertIn("table-drops", skipped)
        self.assertIn("trunk", skipped)
        self.assertIn("root", skipped["table-drops"]["change"])


class Listeners(Case):
    def listen(self, kind, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.net.pbx.inside():
            sock = socket.socket(family, kind)
        self.addCleanup(sock.close)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def test_covered_ones_are_well(self):
        self.listen(socket.SOCK_DGRAM, "0.0.0.0", 5060)
        self.listen(socket.SOCK_STREAM, "::", 5061)
        self.listen(socket.SOCK_STREAM, "0.0.0.0", 5080)   # a web server
        self.listen(socket.SOCK_DGRAM, "127.0.0.1", 5090)
        self.listen(socket.SOCK_DGRAM, "0.0.0.0", 12345)
        self.check_well()

    def test_each_kind_of_socket(self):
        for kind, word in ((socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")):
            for address in ("0.0.0.0", "::", "192.168.1.1", "fd00:1::1"):
                with self.subTest(word + " " + address):
                    self.configure("services: {sip: {udp: [5070], tcp: [5071]}}\n")
                    sock = self.listen(kind, address, 5060)
                    found = self.find("listener")
                    self.assertIn("%s port 5060 (%s)" % (word, address), found["what"])
                    self.assertIn("python3", found["what"])
                    self.assertEqual(found["place"], self.fence.path)
                    line = "services: {sip: {udp: [5070], tcp: [5071]}}"
                    self.assertEqual(found["change"], line.replace(
                        *(("5070", "5070, 5060") if word == "udp" else ("5071", "5071, 5060"))))
                    # The line that it says mends it.
                    self.configure(found["change"] + "\n")
                    self.check_well()
                    sock.close()

    def test_programs_that_are_no_sip_server(self):
        for port in (5062, 5070, 5080):
            self.listen(socket.SOCK_DGRAM, "0.0.0.0", port)
        document = self.doctor(0)
        notes = [item for item in document["findings"] if item["check"] == "listener"]
        self.assertEqual([item["level"] for item in notes], ["note"])
        for port in (5062, 5070, 5080):
            self.assertIn("python3 listens on udp port %d" % port, notes[0]["what"])
        self.listen(socket.SOCK_DGRAM, "192.168.1.1", 5061)
        self.assertIn("udp port 5061", self.find("listener")["what"])

    def test_a_connected_socket_is_no_listener(self):
        sock = self.listen(socket.SOCK_DGRAM, "0.0.0.0", 5080)
        self.find("listener", level="note")
        sock.connect(("192.168.1.50", 9))
        self.check_well()

    def test_a_port_that_asterisk_names(self):
        self.listen(socket.SOCK_DGRAM, "0.0.0.0", 7777)
        self.check_well()
        self.write("asterisk/pjsip.conf", "[t]\ntype=transport\nprotocol=udp\nbind=0.0.0.0:7777\n")
        self.check_well()           # but the socket is python's
        script = self.write("asterisk/listen", "import socket, sys\n"
                            "open('/proc/self/comm', 'w').write('asterisk')\n"
                            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                            "s.bind(('0.0.0.0', 7778)); print('ready', flush=True); input()\n")
        child = self.net.pbx.popen([PYTHON, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(end, child)
        child.stdout.readline()
        self.check_well()
        self.write("asterisk/pjsip.conf", "[t]\ntype=transport\nprotocol=udp\nbind=0.0.0.0:7778\n")
        self.assertIn("asterisk listens on udp port 7778", self.find("listener")["what"])


class Tables(Case):
    def chain(self, rules, head="type filter hook input priority 0;", family="inet"):
        self.net.pbx.nft("table %s filter {\nset ports { type inet_service; flags interval\n"
                         "elements = { 5000-5070 }\n}\nset block { type ipv4_addr\n}\n"
                         "set pace { type ipv4_addr; flags dynamic; timeout 60s\n}\n"
                         "chain side { %s\n}\nchain in { %s\n%s\n}\n}\n" % (
                             family, "ip saddr 192.0.2.99 drop\n" if family != "ip6" else "", head,
                             "\n".join(rules)))

    def test_a_table_that_passes_all(self):
        self.chain(["tcp dport 22 accept", "udp dport 5353 drop", "udp dport { 5000-5059, 5061-5070 } drop",
                    "tcp dport 5062-5070 drop", "tcp dport vmap { 1-5059 : drop, 5062-9000 : drop }",
                    "ct state invalid drop", "meta l4proto icmp drop", "fib daddr type != local drop"])
        self.assertEqual(self.words(self.check_well(), "note"), ["asterisk-port"])

    DROPS = {
        "policy": (["iif lo accept"], "type filter hook input priority 0; policy drop;", "inet"),
        "policy, and the usual rules": ([
            "iif lo accept", "ct state vmap { established: accept, related: accept, invalid: drop }",
            "tcp dport 22 accept"], "type filter hook input priority 0; policy drop;", "inet"),
        "a port": (["udp dport 5060 drop"],) + ("type filter hook input priority 0;", "inet"),
        "reject": (["udp dport 5060 reject"], "type filter hook input priority 9;", "ip"),
        "a range": (["udp dport 5000-6000 drop"], "type filter hook input priority 0;", "ip"),
        "a set": (["udp dport { 53, 5060 } counter log drop"],
                  "type filter hook prerouting priority -400;", "inet"),
        "a named set": (["meta l4proto udp th dport @ports drop"],
                        "type filter hook prerouting priority -400;", "inet"),
        "a concatenation": (["meta l4proto . th dport { udp . 5060, tcp . 22 } drop"],
                            "type filter hook input priority 0;", "inet"),
        "a verdict map": (["udp dport vmap { 53: accept, 5060: drop }"],
                          "type filter hook input priority 0;", "ip6"),
        "goto a chain that ends": (["iif lo accept", "udp dport 5060 goto side", "meta l4proto udp accept"],
                                "type filter hook input priority 0; policy drop;", "ip6"),
    }

    def test_drops(self):
        for name, (rules, head, family) in self.DROPS.items():
            with self.subTest(name):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                self.chain(rules, head, family)
                found = self.find("table-drops")
                self.assertIn("table %s filter, chain in" % family, found["what"])
                self.assertIn("udp 5060", found["what"])
                self.assertIn("before sipfence" if "prerouting" in head else "behind sipfence",
                              found["what"])
                # The command that it says mends it.
                self.assertTrue(found["change"].startswith("nft insert rule "), found)
                commands, hint = found["change"].split(" (", 1)
                self.assertIn("until the next reload or boot", hint)
                for command in commands.split("; "):
                    self.net.pbx.run(command.split())
                self.assertEqual(self.words(self.doctor(0)), [])

    MAY_DROP = {
        "a blocklist": ["ip saddr @block udp dport 5060 drop"],
        "a limit": ["udp dport 5060 limit rate over 5/second drop"],
        "a chain of its own": ["udp dport 5060 jump side"],
        "a limit for each source": ["udp dport 5060 update @pace { ip saddr limit rate over "
                                    "5/second } drop"],
        "one of two ports": ["tcp dport 5061 drop"],
    }

    def test_may_drop(self):
        for name, rules in self.MAY_DROP.items():
            with self.subTest(name):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                self.chain(rules, family="ip")      # of an inet table IPv6 might pass it by
                found = self.find("table-may-drop", "note")
                self.assertIn("rule with handle", found["what"])
                self.net.pbx.run(found["change"].split())

    def test_established_first(self):
        head = "type filter hook input priority 0; policy drop;"
        for rule in ("ct state established,related accept", "ct state established accept",
                     "ct state vmap { established: accept }", "ct state & established != 0 accept"):
            with self.subTest(rule):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                self.chain(["iif lo accept", rule, "udp dport 5060 ip saddr 203.0.113.10 accept"],
                           head)
                self.assertTrue(self.note("table-established")["why"].startswith("Harmless"))

    def note(self, check):
        """A note beside a problem."""
        found = [item for item in self.doctor(3)["findings"] if item["check"] == check]
        self.assertEqual([item["level"] for item in found], ["note"])
        return found[0]

    def test_established_first_in_monitor_mode(self):
        self.configure("mode: monitor\n")
        self.chain(["ct state established accept", "udp dport 5060 drop"])
        found = self.note("table-established")
        self.assertIn("monitor", found["why"])
        self.assertTrue(found["change"].startswith("mode: enforce"))
        # Nothing would keep strangers out that were let in there.
        drops = [item for item in self.doctor(3)["findings"] if item["check"] == "table-drops"]
        self.assertTrue(drops[0]["change"].startswith("first mode: enforce; then: nft insert"))

    def test_nobody_is_let_in_by_the_state_alone(self):
        self.chain(["iif lo accept", "ct state established accept", "udp dport 5060 accept",
                    "tcp dport 5060-5061 accept"],
                   "type filter hook input priority 0; policy drop;")
        self.assertEqual(self.words(self.check_well(), "note"), ["asterisk-port"])

    def test_sets_in_a_table_of_the_admins(self):
        rules = ["iif lo accept", "ct state established accept", "udp dport 5060 ip saddr @phones accept"]
        head = "type filter hook input priority 0; policy drop;"
        only = 'nftables: {sets-only: {table: "inet filter", sip: {hosts4: phones}}}\n'
        self.configure(only)
        for order, code in ((rules, 3), ([rules[0], rules[2], "udp dport 5060 drop",
                                          "tcp dport 5060-5061 drop", rules[1]], 0)):
            with self.subTest(order):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                self.net.pbx.nft("table inet filter { set phones { type ipv4_addr\n}\n}\n")
                self.chain(order, head)
                result = self.fence.run("doctor", "--json").json()
                found = [item for item in result["findings"]
                         if item["check"] == "table-established"]
                self.assertEqual([item["level"] for item in found],
                                 ["problem"] if code else [], result)

    def test_our_own_table_is_none_of_these(self):
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.assertEqual(self.words(self.check_well(), "note"), ["asterisk-port"])

    def test_output_and_forward_are_none_either(self):
        self.chain(["oif lo accept"], "type filter hook output priority 0; policy drop;")
        self.net.pbx.nft("table ip f { chain through { type filter hook forward priority 0; "
                         "policy drop;\n}\n}\n")
        self.assertEqual(self.words(self.check_well(), "note"), ["asterisk-port"])
        self.configure("destinations: [10.9.0.0/16]\n")
        self.assertIn("chain through", self.find("table-drops")["what"])

    def test_of_iptables(self):
        if not shutil.which("iptables-nft"):
            self.skipTest("iptables-nft is missing")

        def run(*words):
            self.net.pbx.run(["iptables-nft", *words])
        run("-P", "INPUT", "DROP")
        run("-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
        run("-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
        run("-A", "INPUT", "-p", "udp", "-m", "multiport", "--dports", "53,123", "-j", "ACCEPT")
        found = self.find("table-drops")
        self.assertIn("policy is drop", found["what"])
        for command in found["change"].split(" (")[0].split("; "):
            program, *words = command.split()
            self.assertEqual(program, "iptables")
            run(*words)
        self.assertEqual(self.words(self.doctor(0)), [])
        self.net.pbx.run(["iptables-nft", "-F"])
        run("-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
        run("-A", "INPUT", "-p", "udp", "-m", "multiport", "--dports", "53,5000:5070", "-j", "ACCEPT")
        run("-A", "INPUT", "-p", "tcp", "-j", "ACCEPT")
        self.assertEqual(self.words(self.doctor(0)), [])

    def iptables(self, *rules):
        if not shutil.which("iptables-nft"):
            self.skipTest("iptables-nft is missing")
        for rule in rules:
            self.net.pbx.run(["iptables-nft", *rule.split()])

    def test_of_iptables_by_state(self):
        """`-m state`, and the two ports that iptables-nft asks for by one load."""
        self.iptables("-P INPUT DROP", "-A INPUT -i lo -j ACCEPT",
                      "-A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT",
                      "-A INPUT -p udp --sport 67 --dport 68 -j ACCEPT",
                      "-A INPUT -p tcp --dport 22 -j ACCEPT")
        found = self.find("table-drops")
        self.assertIn("udp 5060", found["what"])
        self.assertIn("policy is drop, and no rule accepts them", found["what"])
        self.assertIn("table-established", self.words(self.doctor(3), "note"))
        self.iptables("-I INPUT -p udp --sport 5060 --dport 5060 -j ACCEPT",
                      "-A INPUT -p tcp -j ACCEPT")
        self.assertIn("udp 5060", self.find("table-may-drop", level="note")["what"])

    def test_of_ufw(self):
        self.iptables("-P INPUT DROP", "-A INPUT -i lo -j ACCEPT",
                      "-N ufw-before-input", "-N ufw-not-local",
                      "-A INPUT -j ufw-before-input",
                      "-A ufw-before-input -j ufw-not-local",
                      "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
                      "-A ufw-not-local -j DROP")
        found = self.find("table-drops")
        self.assertIn("policy is drop, and no rule accepts them", found["what"])
        self.assertIn("ufw allow 5060/udp", found["change"].split("; "))
        self.assertIn("ufw allow 5060:5061/tcp", found["change"].split("; "))
        self.assertNotIn("iptables", found["change"])
        self.iptables("-A INPUT -p udp --dport 5060 -j ACCEPT", "-A INPUT -p tcp -j ACCEPT")
        self.assertEqual(self.words(self.doctor(0), "note"), ["asterisk-port"])

    def test_of_firewalld(self):
        self.net.pbx.nft("table inet firewalld {\nchain filter_INPUT { type filter hook input "
                         "priority 10; policy drop;\niif lo accept\n}\n}\n")
        self.assertEqual(self.find("table-drops")["change"],
                         "firewall-cmd --permanent --add-port=5060-5061/tcp --add-port=5060/udp; "
                         "firewall-cmd --reload")

    def test_the_chain_that_may_drop_is_the_one_to_list(self):
        self.chain(["udp dport 5060 jump side", "accept"])
        found = self.find("table-may-drop", level="note")
        self.assertIn("in chain side)", found["what"])
        self.assertEqual(found["change"], "nft -a list chain inet filter side")
        self.net.pbx.run(found["change"].split())

class Trunks(Case):
    needs = Case.needs + ("conntrack",)

    def setUp(self):
        super().setUp()
        self.net.pbx.nft("table inet filter {\n chain out {\n  type filter hook output priority 0\n"
                         "  ct state established,related accept\n }\n chain in {\n"
                         "  type filter hook input priority 0\n"
                         "  ct state established,related accept\n }\n}\n")
        self.net.pbx.run(["conntrack", "-F"])

    def talk(self, host, source, destination):
        with self.net.pbx.udp("192.0.2.10", 5060) as pbx, host.udp(source, 5060) as other:
            if destination == source:
                pbx.sendto(b"OPTIONS", (source, 5060))
                other.recvfrom(100)
            else:
                other.sendto(b"REGISTER", (destination, 5060))
                pbx.recvfrom(100)

    def test_an_unlisted_trunk(self):
        self.talk(self.net.rogue, "198.51.100.66", "198.51.100.66")
        found = self.find("trunk")
        self.assertIn("198.51.100.66 is not listed", found["what"])
        self.assertIn("udp port 5060", found["what"])
        self.configure(found["change"] + "\n")
        self.check_well()

    def test_an_unlisted_trunk_whose_answers_are_dropped(self):
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        with self.net.pbx.udp("192.0.2.10", 5060) as pbx:
            pbx.sendto(b"OPTIONS", ("198.51.100.66", 5060))
        self.assertIn("198.51.100.66 is not listed", self.find("trunk")["what"])

    def test_a_listed_trunk(self):
        self.configure("peers: {voipco: voipco.example}\n")
        self.talk(self.net.rogue, "198.51.100.66", "198.51.100.66")
        self.check_well()

    def test_a_stranger_who_knocks_is_no_trunk(self):
        self.talk(self.net.rogue, "198.51.100.66", "192.0.2.10")
        self.check_well()

    def test_no_flow_is_known(self):
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.net.pbx.run(["conntrack", "-F"])
        document = self.check_well()
        self.assertIn("trunk", [item["check"] for item in document["not_looked_at"]])


class Names(Case):
    def test_each_that_does_not_resolve(self):
        for name, words in (("nobody.example", "no such name"), ("empty.example", "no data"),
                            ("other.zone.test", "could not be asked")):
            with self.subTest(name):
                self.knot.update('del empty.example.\nadd empty.example. 30 TXT "x"')
                self.configure(extensions="{21: home21.example, 22: %s}" % name)
                found = self.find("name")
                self.assertIn("%s (extension 22)" % name, found["what"])
                self.assertIn(words, found["what"])
                self.assertEqual(found["place"], self.fence.path)

    def test_one_in_private_space(self):
        self.knot.update("del inner.example.\nadd inner.example. 30 A 10.1.2.3")
        self.configure(extensions="{21: home21.example, 22: inner.example}")
        found = self.find("name-private")
        self.assertIn("10.1.2.3", found["what"])
        self.assertIn("dynamic-DNS client give the public address", found["why"])
        self.configure(extensions="{21: home21.example, 22: {hosts: inner.example, "
                                  "within: [10.1.0.0/16]}}")
        self.check_well()

    def test_one_outside_of_within(self):
        self.configure(extensions="{21: {hosts: [home21.example], within: [198.51.100.0/24]}}")
        found = self.find("name")
        self.assertIn("203.0.113.10", found["what"])
        self.assertIn("change the password of the dynamic-DNS account", found["change"])
        self.assertNotIn("Without an answer", found["why"])

    def test_one_of_several_owners(self):
        self.configure(extensions="{21: nobody.example, 22: nobody.example, 23: nobody.example}")
        self.assertIn("nobody.example (extension 21 and 2 more)", self.find("name")["what"])

    def test_two_that_share_an_address(self):
        self.knot.update("del twin.example.\nadd twin.example. 30 A 203.0.113.10")
        self.configure(extensions="{21: home21.example, 22: twin.example}")
        found = self.find("name-shared", "note")
        for word in ("203.0.113.10", "home21.example (extension 21)", "twin.example (extension 22)"):
            self.assertIn(word, found["what"])
        for well in ("{21: home21.example, 22: home21.example}",
                     "{21: [home21.example, twin.example]}"):
            with self.subTest(well):
                self.configure(extensions=well)
                self.assertNotIn("name-shared", self.words(self.check_well(), "note"))

    def test_an_srv_name(self):
        self.configure("peers: {voipco: {srv: [_sip._udp.example]}}\n")
        self.assertIn("SRV _sip._udp.example", self.find("name")["what"])

    def test_many(self):
        self.configure(extensions="{%s}" % ", ".join(
            "%d: n%d.example" % (number, number) for number in range(100, 170)))
        document = self.assertCode(self.fence.run("doctor", "--json"), 3).json()
        self.assertEqual(document["left_off"], 20)
        self.assertEqual(document["problems"], 70)


class Resolvers(Case):
    def test_one_that_is_silent(self):
        with self.net.pbx.udp("127.0.0.1", 0) as silent:
            port = silent.getsockname()[1]
            self.configure(resolver='resolver: {servers: ["127.0.0.1:%d", "127.0.0.1:%d"], '
                                    'timeout: 1s}\n' % (self.knot.port, port))
            found = self.find("resolver")
            self.assertIn("127.0.0.1:%d does not answer" % port, found["what"])

    def test_none_that_answers(self):
        with self.net.pbx.udp("127.0.0.1", 0) as silent:
            self.configure(resolver='resolver: {servers: ["127.0.0.1:%d", "127.0.0.1:9"], '
                                    'timeout: 1s}\n' % silent.getsockname()[1])
            found = self.find("resolver")
        self.assertIn("no resolver answers", found["what"])
        self.assertIn("127.0.0.1:9", found["what"])

    def servers(self, *servers):
        return "resolver: {servers: [%s], timeout: 1s}\n" % ", ".join(
            '"127.0.0.1:%d"' % server.port for server in servers)

    def test_one_that_answers_with_errors(self):
        """Of no use, though it answers; the line without it mends that."""
        for word, words in (("SERVFAIL", "see that server's log"),
                             ("REFUSED", "let this machine ask that server")):
            with self.subTest(word):
                bad = self.dns()
                bad.default = rcode(word)
                self.configure(resolver=self.servers(bad, self.knot))
                found = self.find("resolver")
                self.assertIn("127.0.0.1:%d answers each question with an error" % bad.port,
                              found["what"])
                self.assertIn(word, found["what"])
                self.assertIn(words, found["change"])
                self.configure(resolver=found["change"].split("; or ")[1] + "\n")
                self.check_well()

    def test_one_of_whom_a_name_alone_is_refused(self):
        one = self.dns()
        one.default = rcode("NXDOMAIN")
        one.set("home21.example", "A", rcode("SERVFAIL"))
        self.configure(resolver=self.servers(one))
        self.find("name")

    def test_all_answer_with_errors(self):
        bad = self.dns()
        # Many know by themselves that there is no such name: that is no way to the world.
        bad.default = lambda question: rcode(
            "NXDOMAIN" if question.name.endswith(".invalid") else "SERVFAIL")(question)
        self.configure(resolver=self.servers(bad))
        document = self.doctor(3)
        self.assertEqual(self.words(document), ["resolver"])
        self.assertIn("no resolver is of use: 127.0.0.1:%d (" % bad.port,
                      [item["what"] for item in document["findings"]
                       if item["check"] == "resolver"][0])

    def test_one_that_invents_addresses(self):
        for top in (".com", ".invalid"):
            with self.subTest(top):
                liar = self.dns()
                liar.default = lambda question: (
                    answer("198.51.100.99") if question.name.endswith(top) and question.type == "A"
                    else rcode("NXDOMAIN"))(question)
                liar.set("home21.example", "A", answer("203.0.113.10"))
                self.configure(resolver=self.servers(liar))
                found = self.find("resolver-lies")
                self.assertIn("127.0.0.1:%d invents addresses: it gives 198.51.100.99" % liar.port,
                              found["what"])

    def test_a_slow_one(self):
        slow = self.dns()
        slow.default = delay(600, rcode("NXDOMAIN"))
        slow.set("home21.example", "A", delay(600, answer("203.0.113.10")))
        slow.set("home21.example", "AAAA", nodata())
        self.configure(resolver=self.servers(slow))
        found = self.find("resolver-slow", "note")
        self.assertRegex(found["what"], r"its fastest answer took (6|7|8|9)\d\d ms")
        slow.default = rcode("NXDOMAIN")
        # One that is fast enough may be slow once on a machine that has much to do.
        self.assertTrue(any("resolver-slow" not in str(self.check_well()) for _ in range(3)))

    def test_resolv_conf(self):
        self.bind("resolv.conf", "/etc/resolv.conf")
        self.configure(resolver="resolver: {timeout: 1s}\n")
        for text, words in (("", "names no server"), ("# nameserver 127.0.0.1\nsearch x\n",
                                                       "names no server"),
                            ("nameserver 127.0.0.1\n", "no resolver answers: 127.0.0.1 (")):
            with self.subTest(text):
                with open(self.path("resolv.conf"), "w") as file:
                    file.write(text)
                document = self.doctor(3)
                found = [item for item in document["findings"] if item["check"] == "resolver"]
                self.assertIn(words, found[0]["what"])
                self.assertEqual(found[0]["place"], "/etc/resolv.conf")
                self.assertTrue(found[0]["change"].startswith("nameserver ADDRESS,"), found)

    def test_dnssec_without_a_trusted_resolver(self):
        with_trust = self.knot.resolver().replace("{", "{trusted: [192.0.2.53], ", 1)
        self.configure("require-dnssec: true\n", resolver=with_trust)
        self.assertIn("dnssec", self.words(self.fence.run("doctor", "--json").json()))
        self.configure("require-dnssec: true\n")
        self.assertNotIn("dnssec", self.words(self.fence.run("doctor", "--json").json()))

    def test_a_trusted_one_elsewhere(self):
        self.configure("require-dnssec: true\n",
                       resolver='resolver: {servers: ["192.0.2.1"], trusted: ["192.0.2.1"], '
                                'timeout: 1s}\n')
        self.assertIn("dnssec", self.words(self.doctor(3), "note"))


class Clock(Case):
    """What the kernel says of this machine's clock, whatever that is."""

    def clock(self, **more):
        document = self.doctor(0, **more)
        return ([item["what"] for item in document["findings"] if item["check"] == "clock"],
                [item["why"] for item in document["not_looked_at"] if item["check"] == "clock"])

    def test_in_step_or_not(self):
        state = ctypes.create_string_buffer(1024)   # struct timex; modes 0: only asked
        self.assertGreaterEqual(ctypes.CDLL(None, use_errno=True).adjtimex(state), 0)
        # int modes; long offset, freq, maxerror, esterror; int status
        status, = struct.unpack_from("@i", state.raw, struct.calcsize("@i4l"))
        in_step = not status & 0x40 or os.path.exists("/run/systemd/timesync/synchronized")
        notes, skipped = self.clock()
        self.assertEqual(skipped, [])
        self.assertEqual(notes, [] if in_step
                         else ["no time server (NTP) is known to keep the clock right"])

    def test_by_timesyncd(self):
        if not privileged():
            self.skipTest("/run is not ours")
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/run"], check=True)
        os.makedirs("/run/systemd/timesync")
        open("/run/systemd/timesync/synchronized", "w").close()
        self.assertEqual(self.clock(), ([], []))

    def test_where_it_may_not_be_asked(self):
        """As in a container whose filter of system calls knows no adjtimex."""
        if os.uname().machine != "x86_64":
            self.skipTest("the filter is made for x86-64")
        script = self.write("shut", """import ctypes, os, struct, sys
# adjtimex and clock_adjtime: EPERM; all else is let through.
code = [(0x20, 0, 0, 0), (0x15, 1, 0, 159), (0x15, 0, 1, 305), (6, 0, 0, 0x50001),
        (6, 0, 0, 0x7fff0000)]
filter = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
program = struct.pack("@HP", len(code), ctypes.addressof(filter))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
""")
        notes, skipped = self.clock(prefix=[PYTHON, script])
        if os.path.exists("/run/systemd/timesync/synchronized"):
            self.skipTest("timesyncd says it here")
        self.assertEqual(notes, [])
        self.assertEqual(len(skipped), 1)
        self.assertIn("Operation not permitted", skipped[0])


class OwnTable(Case):
    def sync(self):
        self.assertCode(self.fence.run("sync", "--yes"), 0)

    def use(self, name, mode="enforce"):
        self.configure("nftables: {table: %s}\nmode: %s\n" % (name, mode))

    def forget(self):
        """No state file remembers any table."""
        os.unlink(os.path.join(self.fence.state, "state"))

    def test_missing(self):
        self.sync()
        self.check_well()
        self.net.pbx.nft("delete table inet sipfence\n")
        found = self.find("own-table")
        self.assertIn("the table inet sipfence is missing", found["what"])
        self.assertEqual(found["change"], "sipfence sync")
        self.sync()
        self.check_well()

    def test_outdated(self):
        self.sync()
        for change in ("services: {sip: {udp: [5060, 5061]}}\n", "mode: monitor\n",
                       "replies: accept\n"):
            with self.subTest(change):
                self.configure(change)
                self.assertIn("not what the config asks for", self.find("own-table")["what"])
                self.sync()
                self.check_well()

    def test_a_daemon_of_each_kind(self):
        for change in ("", "mode: monitor\n", "replies: accept\n", "destinations: [10.9.0.0/16]\n"):
            with self.subTest(change):
                self.configure(change)
                daemon = self.daemon()
                self.check_well()
                daemon.stop()
                self.net.pbx.run(["nft", "flush", "ruleset"])

    def test_other_addresses_alone_are_no_matter(self):
        self.sync()
        self.configure(extensions="{21: 203.0.113.77, 30: local}")
        self.check_well()

    def test_elements_by_another_hand(self):
        self.sync()
        self.net.pbx.nft("add element inet sipfence sip_hosts4 { 203.0.113.66 }\n"
                         "delete element inet sipfence sip_nets4 { 192.168.1.0/24 }\n")
        found = self.find("elements")
        self.assertEqual(found["what"], "the table inet sipfence is not as the last run left it: 1 element was added: "
                         "203.0.113.66 (sip_hosts4); 1 is missing: 192.168.1.0/24 (sip_nets4)")
        self.assertTrue(found["change"].startswith("sipfence sync; "), found)
        self.sync()
        self.check_well()

    def test_elements_that_have_aged(self):
        """DNS has an address that is not in force yet: the next sync's business."""
        self.sync()
        move = "del home21.example.\nadd home21.example. 30 A %s"
        self.addCleanup(self.knot.update, move % "203.0.113.10")
        self.knot.update(move % "203.0.113.77")
        self.check_well()
        self.net.pbx.nft("flush set inet sipfence sip_hosts4\n")
        self.assertIn("203.0.113.10 (sip_hosts4)", self.find("elements")["what"])

    def test_elements_of_another_config(self):
        """That it is not in force is said, and no more."""
        self.sync()
        self.net.pbx.nft("flush set inet sipfence sip_hosts4\n")
        self.configure("mode: monitor\n")
        self.find("own-table")
        self.configure(extensions="{21: [home21.example, 203.0.113.99], 30: local}")
        self.check_well()

    def test_somebody_elses(self):
        self.use("theirs")
        self.net.pbx.nft("table inet theirs { chain c { }\n}\n")
        self.assertIn("sipfence has not made it", self.find("own-table")["what"])

    def test_never_run(self):
        found = [item for item in self.check_well()["findings"] if item["check"] == "not-running"]
        self.assertEqual([item["level"] for item in found], ["note"])
        self.assertIn("not in use yet", found[0]["what"])

    def test_nobody_keeps_it(self):
        self.sync()
        old = time.time() - 3 * 3600 - 60
        os.utime(os.path.join(self.fence.state, "state"), (old, old))
        found = self.find("not-running")
        self.assertIn("no daemon is running, and the last sync was 3 hours ago", found["what"])
        self.sync()
        self.assertIn("neither cron nor the timer", [
            item for item in self.check_well()["findings"]
            if item["check"] == "not-running"][0]["what"])

    def test_cron_keeps_it(self):
        if not os.path.isdir("/etc/cron.d"):
            self.skipTest("there is no /etc/cron.d to stand in for")
        self.write("cron.d/sipfence", "* * * * * root /usr/sbin/sipfence sync\n")
        self.bind("cron.d", "/etc/cron.d")
        self.sync()
        self.assertNotIn("not-running", [item["check"] for item in self.check_well()["findings"]])
        self.write("cron.d/sipfence", "#* * * * * root /usr/sbin/sipfence sync\n")
        self.assertIn("not-running", [item["check"] for item in self.check_well()["findings"]])

    def test_a_daemon_keeps_it(self):
        daemon = self.daemon()
        self.assertNotIn("not-running", [item["check"] for item in self.check_well()["findings"]])
        with open(self.fence.path, "a") as file:
            file.write("mode: monitor\n")
        found = self.find("not-reloaded")
        self.assertEqual(found["change"], "sipfence reload")
        self.assertCode(self.fence.run("reload"), 0)
        self.check_well()
        daemon.stop()

    def test_a_former_one(self):
        for mode in ("enforce", "monitor"):
            for known in (True, False):
                with self.subTest(mode, known=known):
                    self.net.pbx.run(["nft", "flush", "ruleset"])
                    self.use("former", mode)
                    self.sync()
                    if not known:
                        self.forget()
                    self.use("sipfence", mode)
                    self.sync()
                    found = self.find("former-table", "problem" if mode == "enforce" else "note")
                    self.assertIn("the table inet former was made by sipfence", found["what"])
                    if mode == "monitor":
                        self.assertIn("it drops nobody", found["what"])
                    # It is no stranger's, and nothing is said of what it does as such.
                    document = self.fence.run("doctor", "--json").json()
                    self.assertFalse([item for item in document["findings"]
                                      if item["check"].startswith("table-")], document)
                    self.mend(found)
                    self.assertNotIn("former-table", self.words(self.check_well(), "note"))

    def test_a_former_one_without_sip(self):
        """As a sync leaves it that was not to shut the SIP ports."""
        self.configure("nftables: {table: former}\nservices: {web: {tcp: [80]}}\n"
                       "local-services: [sip, web]\n")
        self.sync()
        left = re.sub(r"(?s)\t(chain|set) sip_.*?\n\t}\n", "", re.sub(
            r"(?s)\tmap ports .*?\n\t}\n", "", self.net.pbx.ruleset()).replace(
                "meta l4proto . th dport vmap @ports", "tcp dport 80 goto web_guard"))
        self.assertNotIn("sip_", left)
        self.net.pbx.nft("flush ruleset\n" + left)
        self.forget()
        self.use("sipfence")
        self.assertIn("inet former", self.find("former-table")["what"])

    def test_strangers_with_such_names(self):
        for chains in ("chain sip_guard { }", "chain _guard { }\nchain _reject { }",
                       "chain sip_guard { }\nchain web_reject { }"):
            with self.subTest(chains):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                self.net.pbx.nft("table inet x {\n%s\nchain prerouting { type filter hook prerouting "
                                 "priority raw;\nudp dport 5060 drop\n}\n}\n" % chains)
                self.find("table-drops")

    def test_one_of_another_daemon(self):
        if not keeps_orphans(self.net.pbx):
            self.skipTest("this kernel has no owned and persistent tables")
        self.use("other")
        daemon = self.daemon()
        with open(self.fence.path) as file:
            text = file.read()
        path = self.fence.config(text.replace("table: other", "table: sipfence"), "second.yaml")
        argv = self.fence.argv("doctor", "--json")
        argv[argv.index("-c") + 1] = path
        argv[argv.index("--run-dir") + 1] = self.path("elsewhere")
        found = [item for item in self.fence.run(argv=argv).json()["findings"]
                 if item["check"] == "former-table"]
        self.assertEqual([item["level"] for item in found], ["note"])
        self.assertIn("another sipfence daemon", found[0]["what"])
        daemon.stop()


class Dumps(Case):
    def setUp(self):
        super().setUp()
        if not os.path.exists("/etc/nftables.conf"):
            self.skipTest("there is no /etc/nftables.conf to stand in for")

    def dump(self, text):
        with open(self.path("nftables.conf"), "w") as file:
            file.write(text)

    def test_what_nft_prints_of_an_orphan(self):
        listing = self.orphan()
        self.assertIn("\tflags", listing)
        self.dump("#!/usr/sbin/nft -f\nflush ruleset\n\n" + listing)
        loads = self.net.pbx.run(["nft", "-c", "-f", self.path("nftables.conf")], check=False)
        found = self.find("saved-table")
        self.assertEqual(found["place"], "/etc/nftables.conf:4")
        if "flags owner" not in listing:
            self.assertNotEqual(loads.returncode, 0, "nft loads it, after all")

    def test_each_kind_of_listing(self):
        """A problem is what nft refuses to load, and nothing else."""
        def owned(*arguments):
            daemon = self.daemon()
            listing = self.net.pbx.ruleset(*arguments)
            daemon.stop()
            return listing

        def plain(*arguments):
            self.assertCode(self.fence.run("sync", "--yes"), 0)
            return self.net.pbx.ruleset(*arguments)
        for make in (owned, plain):
            for arguments in ((), ("-a", "list", "ruleset"), ("-s", "list", "ruleset"),
                              ("list", "table", "inet", "sipfence")):
                with self.subTest(make.__name__, arguments=arguments):
                    self.net.pbx.run(["nft", "flush", "ruleset"])
                    listing = make(*arguments)
                    self.net.pbx.run(["nft", "delete", "table", "inet", "sipfence"])
                    self.dump("#!/usr/sbin/nft -f\nflush ruleset\n" + listing)
                    loads = self.net.pbx.run(["nft", "-c", "-f", self.path("nftables.conf")],
                                             check=False).returncode == 0
                    document = self.fence.run("doctor", "--json").json()
                    found = [item for item in document["findings"] if item["check"] == "saved-table"]
                    self.assertEqual([item["level"] for item in found],
                                     ["note" if loads else "problem"], listing)

    def test_beside_a_daemon_that_owns_its_table(self):
        """Then nft loads no file that has a copy, whatever it looks like."""
        if not keeps_orphans(self.net.pbx):
            self.skipTest("this kernel has no owned and persistent tables")
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.dump("flush ruleset\n" + self.net.pbx.ruleset())
        for code in (0, 1):
            self.assertEqual(self.net.pbx.run(["nft", "-c", "-f", self.path("nftables.conf")],
                                              check=False).returncode, code)
            found = self.find("saved-table", "problem" if code else "note")
            self.assertEqual("a reload of the firewall" in found["why"], bool(code))
            if not code:
                daemon = self.daemon()
        daemon.stop()

    def orphan(self):
        if not keeps_orphans(self.net.pbx):
            self.skipTest("this kernel has no owned and persistent tables")
        daemon = self.daemon()
        daemon.stop()
        listing = self.net.pbx.ruleset()
        self.assertIn("table inet sipfence", listing)
        return listing

    def test_a_plain_copy(self):
        self.dump("table ip other {\n}\ntable inet sipfence {\n\tset x { type ipv4_addr; "
                  "flags interval; }\n}\n")
        document = self.check_well()
        found = [item for item in document["findings"] if item["check"] == "saved-table"]
        self.assertEqual([item["place"] for item in found], ["/etc/nftables.conf:3"])

    def test_another_tables_flags(self):
        self.dump("table inet other {\n\tflags \n}\n# table inet sipfence {\n#\tflags\n# }\n"
                  "table inet sipfence_old {\n\tflags owner\n}\n")
        self.assertEqual(self.words(self.check_well(), "note"), ["asterisk-port"])

    def test_included_ones(self):
        self.write("more/a.nft", "include \"%s\"\n" % self.path("more/b.conf"))
        self.write("more/b.conf", "table inet sipfence {\n\tflags \n}\n")
        self.dump('include "%s/*.nft"\n' % self.path("more"))
        self.assertEqual(self.find("saved-table")["place"], self.path("more/b.conf") + ":1")

    def test_a_file_that_includes_itself(self):
        self.dump('include "/etc/nftables.conf"\n')
        self.check_well()


class Modes(Case):
    def setUp(self):
        super().setUp()
        if not privileged():
            self.skipTest("there is but one user here")
        self.user("nobody")

    def user(self, name):
        with open(self.fence.path) as file:
            text = file.read()
        self.fence.config(text.replace("user: root", "user: " + name))

    def test_well(self):
        self.check_well()

    def test_a_config_that_the_daemon_can_not_read(self):
        os.chmod(self.fence.path, 0o600)
        found = self.find("config-mode")
        self.assertIn("nobody cannot read " + self.fence.path, found["what"])
        self.mend(found)

    def test_check_warns_of_it(self):
        """Root reads what the daemon may not."""
        self.assertEqual(self.assertCode(self.fence.run("check"), 0).err, "")
        os.chmod(self.fence.path, 0o600)
        result = self.assertCode(self.fence.run("check"), 0)
        self.assertIn("warning: the daemon's user nobody cannot read %s: chgrp nogroup " % self.fence.path, result.err)
        self.assertEqual(self.assertCode(self.fence.run("check", "--json"), 0).json()["result"], "ok")
        self.mend(self.find("config-mode"))
        self.assertEqual(self.assertCode(self.fence.run("check"), 0).err, "")
        os.chmod(self.directory, 0o700)
        self.assertIn("cannot enter " + self.directory, self.assertCode(self.fence.run("check"), 0).err)

    def group(self):
        """nobody is a member of group 64400."""
        with open("/etc/group") as file:
            text = file.read()
        self.write("group", text + "sipfence-test:x:64400:nobody\n")
        os.chmod(self.path("group"), 0o644)
        self.bind("group", "/etc/group")

    def test_a_group_of_the_daemons_user(self):
        os.chown(self.fence.path, 0, 64400)
        os.chmod(self.fence.path, 0o640)
        self.assertIn("nobody cannot read", self.find("config-mode")["what"])
        self.group()
        self.check_well()

    def test_a_daemon_that_has_left_its_groups(self):
        """Root's daemon becomes its user, and has no other group than that user's own."""
        daemon = self.daemon()
        self.group()
        os.chown(self.fence.path, 0, 64400)
        os.chmod(self.fence.path, 0o640)
        self.assertIn("nobody cannot read", self.find("config-mode")["what"])
        daemon.stop()
        self.check_well()

    def test_an_included_one(self):
        path = self.fence.config("extensions: {44: local}\n", "more.yaml", 0o600)
        with open(self.fence.path) as file:
            self.fence.config(file.read() + "include: [more.yaml]\n")
        self.assertIn(path, self.find("config-mode")["what"])

    def test_a_folder_on_the_way(self):
        os.chmod(self.directory, 0o700)
        self.assertIn("cannot enter " + self.directory, self.find("config-mode")["what"])

    def test_a_config_of_the_daemons_user(self):
        os.chown(self.fence.path, 65534, 0)
        found = self.find("config-mode")
        self.assertIn("belongs to the daemon's user nobody", found["what"])
        self.mend(found)

    def test_a_state_that_others_read(self):
        os.chmod(self.fence.state, 0o755)
        self.mend(self.find("state-mode"))

    def test_a_run_folder_that_others_write(self):
        os.chmod(self.fence.run_dir, 0o777)
        self.mend(self.find("state-mode"))

    def test_a_state_of_a_stranger(self):
        os.chown(self.fence.state, 12345, 12345)
        self.mend(self.find("state-mode"))


class Asterisk(Case):
    def sip(self, before, after):
        self.assertIn(before, SIP)
        self.write("asterisk/sip.conf", SIP.replace(before, after, 1))

    def test_guests(self):
        for after in ("allowguest=yes", "", "AllowGuest = TRUE"):
            with self.subTest(after):
                self.sip("allowguest=no", after)
                found = self.find("asterisk-guests")
                self.assertTrue(found["change"].startswith("allowguest=no"))
                self.assertIn("sip.conf:", found["place"])

    def test_guests_of_pjsip(self):
        self.write("asterisk/pjsip.conf", "[anonymous]\ntype=endpoint\ncontext=public\n")
        self.assertIn("pjsip.conf:1", self.find("asterisk-guests")["place"])

    def test_always_auth_reject(self):
        self.sip("alwaysauthreject=yes", "alwaysauthreject=no")
        self.assertEqual(self.find("asterisk-reject")["change"], "alwaysauthreject=yes")
        self.sip("alwaysauthreject=yes", "")    # on by default
        self.check_well()

    def test_a_local_extension_without_rules(self):
        self.sip("deny=0.0.0.0/0.0.0.0\npermit=192.168.1.0/255.255.255.0\n", "")
        found = self.find("asterisk-acl")
        self.assertIn("[30] has no deny", found["what"])
        self.assertIn("permit=192.168.1.0/24", found["change"])
        self.sip("deny=0.0.0.0/0.0.0.0\npermit=192.168.1.0/255.255.255.0\n", "acl=lan\n")
        self.check_well()

    def test_a_contact_acl_is_none(self):
        self.sip("deny=0.0.0.0/0.0.0.0\npermit=192.168.1.0/255.255.255.0\n",
                 "contactdeny=0.0.0.0/0\ncontactacl=lan\n")
        self.find("asterisk-acl")

    def test_a_remote_extension_without_acl(self):
        self.sip("acl=sipfence-21\n", "")
        document = self.check_well()
        found = [item for item in document["findings"] if item["check"] == "asterisk-acl"]
        self.assertIn("acl=sipfence-21", found[0]["change"])

    def test_secrets(self):
        for after, words in (("secret=elevenchars", "has 11 characters"),
                             ("secret=", "needs no password"), ("", "needs no password")):
            with self.subTest(after):
                self.sip("secret=twelve-chars-and-more", after)
                found = self.find("asterisk-secret")
                self.assertIn(words, found["what"])
                self.assertNotIn("elevenchars", str(found))
        for after in ("secret=twelve-chars", "md5secret=0123456789abcdef"):
            with self.subTest(after):
                self.sip("secret=twelve-chars-and-more", after)
                self.check_well()

    def test_secrets_of_pjsip(self):
        text = "[40]\ntype=endpoint\naors=40\nauth=a40\n[a40]\ntype=auth\n%s\n[40]\ntype=aor\n"
        for line, well in (("password=short", False), ("password=twelve-chars-and-more", True),
                           ("auth_type=md5\nmd5_cred=0123456789abcdef", True)):
            with self.subTest(line):
                self.write("asterisk/pjsip.conf", text % line)
                if well:
                    self.check_well()
                else:
                    self.assertIn("pjsip.conf:7", self.find("asterisk-secret")["place"])

    def test_an_endpoint_that_nobody_can_register_as(self):
        self.configure(extensions="{21: home21.example, dpma: local}")
        self.write("asterisk/pjsip.conf", "[dpma]\ntype=endpoint\ncontext=dpma-invalid\n")
        found = self.find("asterisk-secret")
        self.assertIn("can call as it", found["why"])
        self.assertNotIn("register", found["why"])

    def test_a_password_that_is_elsewhere(self):
        """Of what is in no file nothing is said but that."""
        self.write("asterisk/pjsip.conf", "[40]\ntype=endpoint\nauth=a40\n"
                   "[41]\ntype=endpoint\nauth=a41\n")
        document = self.check_well()
        found = [item for item in document["not_looked_at"] if item["check"] == "asterisk-secret"]
        self.assertEqual(len(found), 1, document)
        self.assertIn("the password of [40] and of 1 more: there is no section [a40]", found[0]["why"])
        self.write("asterisk/pjsip.conf", "[40]\ntype=endpoint\n#exec /bin/true\n")
        self.assertIn("[40] needs no password, as far as Asterisk's files could be followed",
                      self.find("asterisk-secret")["what"])
        self.write("asterisk/pjsip.conf", "[40]\ntype=endpoint\nauth=40\n[40]\ntype=auth\n")
        self.assertIn("the password of [40] is empty", self.find("asterisk-secret")["what"])

    def keeps(self):
        """With ACLs that sipfence keeps, in a stand-in that answers."""
        stand_in = StandIn(self.path("pbx"))
        self.write("asterisk/acl.conf", "#tryinclude sipfence_acl.conf\n")
        self.write("asterisk/sip.conf", SIP.replace("permit=192", "acl=sipfence-30\npermit=192"))
        self.configure(asterisk=", acl: true, command: [%s, -rx]" % stand_in.program)
        return stand_in

    def test_acls_that_are_kept(self):
        stand_in = self.keeps()
        self.check_well()
        self.assertEqual(stand_in.commands(), ["acl show sipfence-21"])

    def test_an_acl_that_nothing_names(self):
        self.keeps()
        self.sip("acl=sipfence-21\n", "")
        found = self.find("asterisk-acl")
        self.assertIn("extension 21 is bound to no ACL", found["what"])
        self.assertIn("acl=sipfence-21", found["change"])
        self.assertIn("keeps nobody out", found["why"])

    def test_acls_that_are_not_included(self):
        self.keeps()
        for text in ("", "#tryinclude other.conf\n", None):
            with self.subTest(text):
                if text is None:
                    os.unlink(self.path("asterisk/acl.conf"))
                else:
                    self.write("asterisk/acl.conf", text)
                found = self.find("asterisk-acl")
                self.assertIn("does not include", found["what"])
                self.write("asterisk/acl.conf", found["change"] + "\n")
                self.check_well()
        self.write("asterisk/acl.conf", "[general]\n#tryinclude sipfence_acl.conf\n")
        self.assertIn("has a section [general]", self.find("asterisk-acl")["what"])

    def test_asterisk_is_down(self):
        stand_in = self.keeps()
        stand_in.world(down=True)
        found = self.find("asterisk-down")
        self.assertIn("Asterisk", found["what"])
        stand_in.world(down=False, boots=time.time() + 60)
        self.check_well()
        os.unlink(stand_in.program)
        self.assertIn(stand_in.program, self.find("asterisk-down")["what"])

    def test_the_security_log(self):
        for text in ("[logfiles]\nconsole => security\nmessages => notice,warning\n", "[general]\n"):
            with self.subTest(text):
                self.write("asterisk/logger.conf", text)
                found = self.find("asterisk-log")
                self.assertIn("security => security", found["change"])
                self.assertIn("logger.conf", found["place"])
        self.write("asterisk/logger.conf", LOGGER)
        log = self.path("security.log")
        self.configure(asterisk=", security-log: " + log)
        self.assertIn(log + " is not there", self.find("asterisk-log")["what"])
        self.write("security.log", "")
        for line in ("full => *", "s => [json]notice,SECURITY", "s => notice , security"):
            with self.subTest(line):
                self.write("asterisk/logger.conf", "[logfiles]\n%s\n" % line)
                self.check_well()

    HEAD = """;--------------------------------------------------------------------------------;
;          Do NOT edit this file as it is auto-generated by FreePBX.             ;
;--------------------------------------------------------------------------------;
"""

    def freepbx(self):
        """Its files, which include those of the administrator's."""
        os.unlink(self.path("asterisk/sip.conf"))
        kinds = ("endpoint", "auth", "aor")
        self.write("asterisk/pjsip.conf", self.HEAD + "".join(
            "#include pjsip.%s.conf\n#include pjsip.%s_custom_post.conf\n" % (kind, kind) for kind in kinds))
        for kind, settings in (("endpoint", "aors=%s\nauth=%s-auth"), ("aor", "max_contacts=1"),
                               ("auth", "auth_type=userpass\npassword=0123456789abcdef")):
            self.write("asterisk/pjsip.%s.conf" % kind, self.HEAD + "".join(
                "\n[%s]\ntype=%s\n%s\n" % (phone + "-auth" * (kind == "auth"), kind,
                                          settings.replace("%s", phone)) for phone in ("21", "30")))
            self.write("asterisk/pjsip.%s_custom_post.conf" % kind, "")

    def test_what_freepbx_generates_is_not_edited(self):
        """It would be lost at the next change of a setting: what is advised goes elsewhere, and helps."""
        self.freepbx()
        self.configure(asterisk=", acl: true")
        custom = self.path("asterisk/pjsip.endpoint_custom_post.conf")
        found = {re.search(r"extension (\d+)", item["what"]).group(1): item
                 for item in self.doctor(3)["findings"] if item["check"] == "asterisk-acl"
                 and item["what"].startswith("extension")}
        self.assertEqual({item["place"] for item in found.values()}, {custom})
        self.assertEqual(found["21"]["change"],
                         "[21](+), and below it: acl=sipfence-21 (sipfence asterisk --write makes it)")
        self.assertEqual(found["30"]["change"], "[30](+), and below it: deny=0.0.0.0/0.0.0.0, deny=::/0, "
                                                "permit=192.168.1.0/24 (a line each)")
        text = "".join(re.sub(r" \(.*?\)$", "", item["change"]).replace(", and below it: ", "\n")
                       .replace(", ", "\n") + "\n" for item in found.values())
        self.write("asterisk/pjsip.endpoint_custom_post.conf", text)
        self.assertEqual([item for item in self.doctor(3)["findings"] if item["check"] == "asterisk-acl"
                          and item["what"].startswith("extension")], [])

    def test_what_freepbx_alone_may_change(self):
        self.freepbx()
        self.write("asterisk/pjsip.auth.conf", self.HEAD + "[21-auth]\ntype=auth\nauth_type=userpass\n"
                   "password=1234\n")
        found = next(item for item in self.doctor(3)["findings"] if item["check"] == "asterisk-secret")
        self.assertIn("in FreePBX's web interface, as the secret of extension 21: 12 or more", found["change"])
        self.assertRegex(found["place"], r"/pjsip\.auth\.conf:7$")

    def test_general_settings_of_freepbx(self):
        self.write("asterisk/sip.conf", self.HEAD + "[general]\n#include sip_general_additional.conf\n"
                   "#include sip_general_custom.conf\n" +
                   SIP.replace("[general]", "").replace("allowguest=no", ""))
        self.write("asterisk/sip_general_additional.conf", self.HEAD + "allowguest=yes\n")
        self.write("asterisk/sip_general_custom.conf", "")
        self.sip_is_left_to(self.find("asterisk-guests"), "sip_general_custom.conf", "allowguest=no")
        self.write("asterisk/sip_general_custom.conf", "allowguest=no\n")
        self.check_well()
        self.write("asterisk/logger.conf", self.HEAD + "[logfiles]\nfull => notice\n")
        self.sip_is_left_to(self.find("asterisk-log"), "logger_logfiles_custom.conf",
                            "security => security; then: asterisk -rx 'logger reload'")

    def sip_is_left_to(self, found, name, change):
        self.assertEqual((found["place"], found["change"]), (self.path("asterisk/" + name), change))

    def test_another_port(self):
        self.sip("bindport=5060", "bindport=5160")
        self.configure("services: {sip: {udp: [5160]}}\n")
        self.assertEqual(self.words(self.check_well(), "note"), [])

    def test_no_asterisk(self):
        os.unlink(self.path("asterisk/sip.conf"))
        document = self.check_well()
        self.assertIn("asterisk", [item["check"] for item in document["not_looked_at"]])

    def test_files_that_can_not_be_read(self):
        os.unlink(self.path("asterisk/sip.conf"))
        os.mkdir(self.path("asterisk/sip.conf"))
        document = self.check_well()
        self.assertIn("asterisk", [item["check"] for item in document["not_looked_at"]])

    def test_odd_names(self):
        self.write("asterisk/sip.conf", SIP + "[\x1b[31m\xe9]\ntype=friend\nhost=dynamic\n")
        found = self.find("asterisk-secret")
        self.assertNotIn("\x1b", found["what"])
        self.assertNotIn("\x1b", self.fence.run("doctor").out)


class Trouble(Case):
    """A call or an allocation of the program fails: it says so, or what it could not look at."""

    def test_each(self):
        if not os.access(FAULTY, os.X_OK):
            self.skipTest(FAULTY + " is not built")
        self.write("asterisk/sip.conf", SIP + "[40]\ntype=friend\nhost=dynamic\n")
        self.configure(extensions="{21: home21.example, 22: nobody.example, 30: local}")
        faults = Faults(self.directory)
        self.addCleanup(faults.close)
        for command in (("doctor", "--json"), ("init", "--dry-run", "--from", self.path("asterisk"))):
            argv = [FAULTY, *self.fence.argv(*command)[1:]]
            for kind in (*ALLOCATIONS, "open", "read", "send", "receive", "descriptor"):
                faults.count(kind)
                whole = self.fence.run(argv=argv, env=faults.environment)
                seen = faults.seen
                for nth in range(1, seen + 1, max(1, seen // 12)):
                    with self.subTest(command[0], kind=kind, nth=nth):
                        faults.arm(kind, nth)
                        result = self.fence.run(argv=argv, env=faults.environment)
                        self.assertIn(result.code, (0, 1, 2, 3), result)
                        self.assertNotRegex(result.err, SANITIZER)
                        self.assertTrue(result.code in (0, 3) or result.err, result)
                        if command[0] == "init":
                            self.assertTrue(result.code or result.out == whole.out, result)
                        elif result.code == 3:
                            self.assertEqual(result.json()["exit"], 3)


if __name__ == "__main__":
    main(at_once=3)
