#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Phones (sipp) that register at a PBX (a small registrar here) from home, from elsewhere and from a
stranger's network, while their name moves; and the first enforcement, which must not lock out a
trunk that was forgotten (design, sections 5 and 6).
"""
import os
import re
import socket
import threading

from harness import Case, main, wait_until

PBX = "192.0.2.10"
HOME, HOME2, ROGUE, TRUNK, LAN = (
    "203.0.113.10", "203.0.113.77", "198.51.100.66", "198.51.100.67", "192.168.1.50")

REGISTER = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="register">
  <send retrans="200">
    <![CDATA[
      REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      Max-Forwards: 70
      From: <sip:[service]@[remote_ip]>;tag=[pid]-[call_number]
      To: <sip:[service]@[remote_ip]>
      Call-ID: [call_id]
      CSeq: 1 REGISTER
      Contact: <sip:[service]@[local_ip]:[local_port]>
      Expires: 60
      Content-Length: 0

    ]]>
  </send>
  <recv response="200" timeout="1200" />
</scenario>
"""


class Registrar:
    """Answers each REGISTER with 200 and notes who came: registered = [(user, address)]."""

    def __init__(self, host, address="0.0.0.0"):
        self.registered = []
        self.stopping = False
        self.sock = host.udp(address, 5060, 0.1)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.stopping:
            try:
                data, peer = self.sock.recvfrom(65536)
            except socket.timeout:
                continue
            lines = data.decode(errors="replace").split("\r\n")
            if not lines[0].startswith("REGISTER "):
                continue
            user = re.search(r"(?m)^To: <sip:([^@>]*)", "\n".join(lines))
            self.registered.append((user.group(1) if user else "", peer[0]))
            kept = [line for line in lines[1:] if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
            self.sock.sendto("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0", "", ""]).encode(), peer)

    def close(self):
        self.stopping = True
        self.thread.join(3)
        self.sock.close()


class Base(Case):
    needs = ("knotd", "knsupdate", "sipp")

    def setUp(self):
        super().setUp()
        self.names = self.knot(records="home21 A %s\nhome22 A 203.0.113.22" % HOME)
        self.registrar = Registrar(self.net.pbx)
        self.addCleanup(self.registrar.close)
        self.scenario = self.fence.config(REGISTER, "register.xml")
        self.ports = 6000

    def configure(self, more="", extensions="21: home21.example, 22: home22.example"):
        self.fence.config("extensions: {%s}\nlocal-subnets: [192.168.1.0/24]\n%s%s" % (
            extensions, self.names.resolver(), more))

    def sync(self, code=0, *options):
        return self.assertCode(self.fence.run("sync", *options), code)

    def register(self, host, source, user="21", calls=1, target=PBX):
        """True when sipp got a 200 for each of its calls; what arrived must agree with it."""
        before = len(self.registrar.registered)
        self.ports += 1
        done = host.run(["sipp", "-sf", self.scenario, "-i", source, "-p", str(self.ports), "-s", user,
                         "-m", str(calls), "-r", "50", "-nostdin", "-max_retrans", "2", "-timeout", "5",
                         "%s:5060" % target], check=False, timeout=20, cwd=self.directory,
                        env={"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": self.directory})
        arrived = self.registrar.registered[before:]
        if done.returncode == 0:
            self.assertEqual(arrived.count((user, source)), calls, done.stdout[-2000:])
            return True
        self.assertEqual(done.returncode, 1, done.stdout[-2000:] + done.stderr)
        self.assertEqual(arrived, [], "sipp got no answer, but its packets arrived")
        return False


class Phones(Base):
    def test_the_phone_moves(self):
        home, rogue, lan = self.net.home, self.net.rogue, self.net.lan
        self.configure()
        self.assertTrue(self.register(rogue, ROGUE, "100"), "nothing guards yet")
        self.sync(0, "--yes")
        self.assertTrue(self.register(home, HOME, calls=5))
        self.assertFalse(self.register(home, HOME2))
        self.assertFalse(self.register(rogue, ROGUE))
        self.assertTrue(self.register(lan, LAN, "23", target="192.168.1.1"))
        self.names.move("home21.example", HOME2)
        self.sync()
        self.assertTrue(self.register(home, HOME2, calls=5))
        self.assertFalse(self.register(home, HOME))
        self.assertFalse(self.register(rogue, ROGUE))
        self.assertTrue(self.register(lan, LAN, "23", target="192.168.1.1"))
        self.assertGreaterEqual(self.net.pbx.elements("sip_hosts4")[HOME2]["packets"], 5)
        knocked = self.net.pbx.elements("sip_rejected4")
        self.assertLessEqual({HOME, ROGUE}, set(knocked))
        self.assertNotIn(LAN, knocked)
        self.assertCode(self.fence.run("remove"), 0)
        self.assertTrue(self.register(rogue, ROGUE))

    def test_a_registered_rogue_is_cut_off(self):
        """The flow exists, and another firewall accepts what is established: it must not help."""
        self.net.pbx.nft("table inet filter {\n chain input {\n  type filter hook input priority 0;\n"
                         "  ct state established,related accept\n }\n}\n")
        self.configure()
        rogue = self.net.rogue.udp(ROGUE, 5070, 0.5)
        self.addCleanup(rogue.close)

        def knock():
            rogue.sendto(b"REGISTER sip:pbx SIP/2.0\r\nTo: <sip:21@pbx>\r\n\r\n", (PBX, 5060))
            try:
                return bool(rogue.recv(2048))
            except socket.timeout:
                return False
        self.assertTrue(knock())
        self.sync(0, "--yes")
        self.assertFalse(knock())
        self.registrar.sock.sendto(b"OPTIONS sip:21 SIP/2.0\r\n\r\n", (ROGUE, 5070))
        self.assertTrue(rogue.recv(2048), "what the PBX sends is none of our business")
        self.assertFalse(knock(), "the PBX's own packet opened the door")

    def test_monitor_lets_all_in_but_counts(self):
        self.configure("mode: monitor\n")
        self.sync()
        self.assertTrue(self.register(self.net.home, HOME))
        self.assertTrue(self.register(self.net.rogue, ROGUE))
        self.assertIn(ROGUE, self.net.pbx.elements("sip_rejected4"))
        self.assertNotIn(HOME, self.net.pbx.elements("sip_rejected4"))
        self.configure("mode: enforce\n")
        self.sync(0, "--yes")
        self.assertTrue(self.register(self.net.home, HOME))
        self.assertFalse(self.register(self.net.rogue, ROGUE))


class FirstEnforcement(Base):
    needs = Base.needs + ("conntrack",)

    def setUp(self):
        super().setUp()
        # Any rule on connections makes the kernel track them, as most machines do.
        self.net.pbx.nft("table inet filter {\n chain input {\n  type filter hook input priority 0;\n"
                         "  ct state established,related accept\n }\n}\n")

    def tracked(self, address):
        return address in self.net.pbx.run(["conntrack", "-L"]).stdout

    def talk(self, host, source):
        self.assertTrue(self.register(host, source))
        self.assertTrue(self.tracked(source), "the kernel does not track connections here")

    def test_a_forgotten_talker_is_shown(self):
        self.talk(self.net.rogue, TRUNK)
        self.talk(self.net.home, HOME)
        self.configure()
        result = self.fence.run("sync")
        self.assertNotEqual(result.code, 0, result)
        self.assertIn(TRUNK, result.out + result.err)
        self.assertNotIn(HOME, result.err, "a listed phone is no stranger")
        self.assertIn("--yes", result.err)
        self.assertFalse(self.net.pbx.has_table(), "installed without --yes")
        self.assertTrue(self.register(self.net.rogue, TRUNK))
        self.sync(0, "--yes")
        self.assertFalse(self.register(self.net.rogue, TRUNK))
        self.names.move("home21.example", HOME2)
        self.sync()

    def test_a_trunk_that_the_pbx_calls_is_shown(self):
        """The PBX sends from its port 5060: what comes back arrives at the guarded port."""
        trunk = self.net.rogue.udp(TRUNK, 5060, 1)
        self.addCleanup(trunk.close)
        self.registrar.sock.sendto(b"OPTIONS sip:trunk SIP/2.0\r\n\r\n", (TRUNK, 5060))
        trunk.sendto(b"SIP/2.0 200 OK\r\n\r\n", trunk.recvfrom(2048)[1])
        self.assertTrue(wait_until(lambda: self.tracked(TRUNK)))
        self.configure()
        result = self.fence.run("sync")
        self.assertNotEqual(result.code, 0, result)
        self.assertIn(TRUNK, result.out + result.err)
        self.assertFalse(self.net.pbx.has_table())

    def test_other_ports_are_not_talkers(self):
        listener = self.net.pbx.udp("0.0.0.0", 5090, 1)
        talker = self.net.rogue.udp(TRUNK, 5091, 1)
        self.addCleanup(listener.close)
        self.addCleanup(talker.close)
        talker.sendto(b"hello", (PBX, 5090))
        listener.sendto(b"hello", listener.recvfrom(100)[1])
        self.assertTrue(wait_until(lambda: self.tracked(TRUNK)))
        self.configure()
        self.sync()
        self.assertTrue(self.net.pbx.has_table())

    def test_monitor_asks_nothing_and_enforce_after_it_does(self):
        self.talk(self.net.rogue, TRUNK)
        self.configure("mode: monitor\n")
        self.sync()
        before = self.net.pbx.table()
        self.configure("mode: enforce\n")
        result = self.fence.run("sync")
        self.assertNotEqual(result.code, 0, result)
        self.assertIn(TRUNK, result.out + result.err)
        self.assertEqual(self.net.pbx.table(), before)
        self.sync(0, "--yes")
        self.assertFalse(self.register(self.net.rogue, TRUNK))

    def test_listed_talkers_are_no_question(self):
        self.talk(self.net.home, HOME)
        self.configure()
        self.sync()
        self.assertTrue(self.net.pbx.has_table())

    def test_dry_run_installs_nothing(self):
        self.talk(self.net.rogue, TRUNK)
        self.configure()
        self.assertIn("table inet sipfence", self.sync(0, "--dry-run").out)
        self.assertFalse(self.net.pbx.has_table())


if __name__ == "__main__":
    main()
