#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""sync against a real Knot whose names are moved by RFC 2136 updates, and the real kernel
(design, sections 5 to 7; what the transactions of sync are)."""
import os
import re
import time

from harness import NO_CAPS, Case, Monitor, end, main, reaches, wait_until
from scripted_dns import answer, delay

PBX, PBX6 = "192.0.2.10", "2001:db8:1::10"
HOME, HOME2, ROGUE, LAN = "203.0.113.10", "203.0.113.77", "198.51.100.66", "192.168.1.50"


class Base(Case):
    needs = ("knotd", "knsupdate")

    def setUp(self):
        super().setUp()
        self.names = self.knot()
        self.pbx = self.net.pbx

    def configure(self, text):
        self.fence.config(text + self.names.resolver())

    def sync(self, code=0, *options):
        return self.assertCode(self.fence.run("sync", "--yes", *options), code)

    def hosts4(self, service="sip"):
        return self.pbx.elements(service + "_hosts4")

    def passes(self, source, port=5060):
        if ":" in source:
            sender = self.net.home if source.startswith("2001:db8:21") else self.net.rogue
            return reaches(sender, source, self.pbx, PBX6, port)
        sender = {"203": self.net.home, "198": self.net.rogue, "192": self.net.lan}[source[:3]]
        return reaches(sender, source, self.pbx, "192.168.1.1" if sender is self.net.lan else PBX, port)


class Moves(Base):
    def test_a_name_moves(self):
        self.names.update("add home21.example. 30 A " + HOME)
        self.configure("extensions:\n  21: home21.example\nlocal-subnets: [192.168.1.0/24]\n")
        self.assertTrue(self.passes(ROGUE), "nothing guards yet")
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME])
        self.assertEqual(self.hosts4()[HOME]["comment"], "21 home21.example")
        self.assertTrue(self.passes(HOME))
        self.assertTrue(self.passes(LAN))
        self.assertFalse(self.passes(HOME2))
        self.assertFalse(self.passes(ROGUE))
        self.assertTrue(self.passes(ROGUE, 5080), "other ports are nobody's business")
        self.names.move("home21.example", HOME2)
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME2])
        self.assertTrue(self.passes(HOME2))
        self.assertFalse(self.passes(HOME))
        self.assertFalse(self.passes(ROGUE))
        self.assertIn(ROGUE, self.pbx.elements("sip_rejected4"))
        self.assertIn(HOME, self.pbx.elements("sip_rejected4"))
        self.assertNotIn(LAN, self.pbx.elements("sip_rejected4"))

    def test_ipv6_moves(self):
        self.names.update("add home21.example. 30 AAAA 2001:db8:21::10")
        self.configure("extensions:\n  21: home21.example\n")
        self.sync()
        self.assertEqual(list(self.pbx.elements("sip_hosts6")), ["2001:db8:21::10"])
        self.assertTrue(self.passes("2001:db8:21::10"))
        self.assertFalse(self.passes("2001:db8:66::66"))
        self.names.move("home21.example", "2001:db8:21::77")
        self.sync()
        self.assertEqual(list(self.pbx.elements("sip_hosts6")), ["2001:db8:21::77"])
        self.assertFalse(self.passes("2001:db8:21::10"))
        self.assertTrue(self.passes("2001:db8:21::77"))
        self.assertIn("2001:db8:66::66", self.pbx.elements("sip_rejected6"))

    def test_ipv6_prefix_64(self):
        self.names.update("add home24.example. 30 AAAA 2001:db8:21::10")
        self.configure("extensions:\n  24: {hosts: [home24.example], ipv6-prefix: 64}\n")
        self.sync()
        self.assertEqual(list(self.pbx.elements("sip_nets6")), ["2001:db8:21::/64"])
        self.assertEqual(self.pbx.elements("sip_hosts6"), {})
        self.assertTrue(self.passes("2001:db8:21::77"))
        self.assertFalse(self.passes("2001:db8:66::66"))
        generation = self.pbx.generation()
        self.names.move("home24.example", "2001:db8:21::77")
        self.sync()
        self.assertEqual(self.pbx.generation(), generation, "the /64 is the same")
        self.names.move("home24.example", "2001:db8:66::1")
        self.sync()
        self.assertEqual(list(self.pbx.elements("sip_nets6")), ["2001:db8:66::/64"])

    def test_cname(self):
        self.names.update("add home21.example. 30 CNAME alias.example.\n"
                          "add alias.example. 30 CNAME real.example.\nadd real.example. 30 A " + HOME)
        self.configure("extensions:\n  21: home21.example\n")
        self.sync()
        self.assertEqual(self.hosts4()[HOME]["comment"], "21 home21.example")
        self.names.move("real.example", HOME2)
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME2])

    def test_srv_trunk(self):
        self.names.update(
            "add _sip._udp.voipco.example. 30 SRV 10 10 5060 sip1.voipco.example.\n"
            "add sip1.voipco.example. 30 A %s\nadd sip2.voipco.example. 30 A %s" % (HOME, HOME2))
        self.configure("peers:\n  voipco: {srv: [_sip._udp.voipco.example]}\nlinger: {peers: 0s}\n")
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME])
        self.assertIn("voipco", self.hosts4()[HOME]["comment"])
        self.names.update("del _sip._udp.voipco.example. SRV\n"
                          "add _sip._udp.voipco.example. 30 SRV 10 10 5060 sip2.voipco.example.")
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME2])

    def test_linger_of_peers(self):
        self.names.update("add home21.example. 30 A %s\nadd trunk.example. 30 A 198.51.100.67" % HOME)
        self.configure("extensions: {21: home21.example}\npeers: {voipco: {hosts: [trunk.example]}}\n"
                       "linger: {peers: 2s}\n")
        self.sync()
        self.names.move("home21.example", HOME2)
        self.names.move("trunk.example", ROGUE)
        self.sync()
        self.assertEqual(sorted(self.hosts4()), sorted([HOME2, ROGUE, "198.51.100.67"]))
        self.assertTrue(self.passes("198.51.100.67"))
        time.sleep(2.5)
        self.sync()
        self.assertEqual(sorted(self.hosts4()), sorted([HOME2, ROGUE]))

    def test_linger_default_is_an_hour_for_peers(self):
        self.names.update("add trunk.example. 30 A 198.51.100.67")
        self.configure("peers: {voipco: {hosts: [trunk.example]}}\n")
        self.sync()
        self.names.move("trunk.example", ROGUE)
        self.sync()
        self.assertEqual(sorted(self.hosts4()), [ROGUE, "198.51.100.67"])

    def test_extension_leaves_the_config(self):
        self.names.update("add home21.example. 30 A %s\nadd home22.example. 30 A %s" % (HOME, HOME2))
        self.configure("extensions: {21: home21.example, 22: home22.example}\n")
        self.sync()
        self.configure("extensions: {21: home21.example}\n")
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME])
        self.assertFalse(self.passes(HOME2))


class Owners(Base):
    def test_an_address_leaves_with_its_last_owner(self):
        self.names.update("add home21.example. 30 A %s\nadd home22.example. 30 A %s" % (HOME, HOME))
        self.configure("extensions: {21: home21.example, 22: home22.example}\n")
        self.sync()
        comment = self.hosts4()[HOME]["comment"]
        self.assertIn("21 home21.example", comment)
        self.assertIn("22 home22.example", comment)
        self.assertTrue(self.passes(HOME))
        packets = self.hosts4()[HOME]["packets"]
        self.assertGreater(packets, 0)
        self.names.move("home22.example", HOME2)
        self.sync()
        self.assertEqual(self.hosts4()[HOME]["comment"], "21 home21.example")
        self.assertEqual(self.hosts4()[HOME]["packets"], packets, "the counter was lost")
        self.assertTrue(self.passes(HOME))
        self.names.move("home21.example", HOME2)
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME2])
        self.assertFalse(self.passes(HOME))

    def test_counters_survive_a_swap(self):
        self.names.update("add home21.example. 30 A " + HOME)
        self.configure("extensions: {21: home21.example}\nlocal-subnets: [192.168.1.0/24]\n")
        self.sync()
        self.assertTrue(self.passes(HOME))
        self.assertTrue(self.passes(LAN))
        self.assertFalse(self.passes(ROGUE))
        before = self.hosts4()[HOME]["packets"], self.pbx.elements("sip_nets4")["192.168.1.0/24"]["packets"]
        self.assertNotIn(0, before)
        self.configure("extensions: {21: home21.example}\nlocal-subnets: [192.168.1.0/24]\n"
                       "services: {sip: {udp: [5060, 5080], tcp: [5060]}}\n")
        self.sync()
        after = self.hosts4()[HOME]["packets"], self.pbx.elements("sip_nets4")["192.168.1.0/24"]["packets"]
        self.assertEqual(after, before)
        self.assertFalse(self.passes(ROGUE, 5080))
        self.assertIn(ROGUE, self.pbx.elements("sip_rejected4"))

    def test_services_are_counted_apart(self):
        self.names.update("add home21.example. 30 A %s\nadd anna.example. 30 A %s" % (HOME, HOME))
        self.configure("extensions: {21: home21.example}\n"
                       "peers: {anna: {hosts: [anna.example], services: [web]}}\n"
                       "services: {web: {tcp: [80], udp: [443]}}\nlinger: {peers: 0s}\n"
                       "local-subnets: [192.168.1.0/24]\nlocal-services: [sip]\n")
        self.sync()
        self.assertEqual(self.hosts4()[HOME]["comment"], "21 home21.example")
        self.assertEqual(self.hosts4("web")[HOME]["comment"], "anna anna.example")
        self.assertTrue(self.passes(HOME, 443))
        self.assertFalse(self.passes(LAN, 443))
        self.assertTrue(self.passes(LAN, 5060))
        self.names.move("anna.example", HOME2)
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME])
        self.assertEqual(list(self.hosts4("web")), [HOME2])
        self.assertTrue(self.passes(HOME))
        self.assertFalse(self.passes(HOME2))
        self.assertTrue(self.passes(HOME2, 443))
        self.assertFalse(self.passes(HOME, 443))

    def test_name_and_fixed_address_meet(self):
        self.names.update("add home21.example. 30 A " + HOME)
        self.configure("extensions: {21: home21.example, 22: %s}\n" % HOME)
        self.sync()
        self.assertIn("22", self.hosts4()[HOME]["comment"])
        self.assertIn("21 home21.example", self.hosts4()[HOME]["comment"])
        self.names.move("home21.example", HOME2)
        self.sync()
        self.assertEqual(sorted(self.hosts4()), [HOME, HOME2])


class Transactions(Base):
    def start(self):
        self.names.update("add home21.example. 30 A %s\nadd home22.example. 30 A 203.0.113.22" % HOME)
        self.configure("extensions: {21: home21.example, 22: home22.example}\n"
                       "local-subnets: [192.168.1.0/24]\n")

    def watched(self, action):
        """(generations that passed, nft monitor's lines) of what action does."""
        with Monitor(self.pbx) as monitor:
            generation = self.pbx.generation()
            action()
            return self.pbx.generation() - generation, monitor.events()

    def test_first_installation_is_one_transaction(self):
        self.start()
        generations, events = self.watched(self.sync)
        self.assertEqual(generations, 1, events)
        self.assertTrue(any(line == "create table inet sipfence" for line in events), events)

    def test_nothing_changed_nothing_sent(self):
        self.start()
        self.sync()
        self.assertTrue(self.pbx.has_table())
        generations, events = self.watched(lambda: (self.sync(), self.sync()))
        self.assertEqual((generations, events), (0, []))

    def test_traffic_is_no_change(self):
        self.start()
        self.sync()
        self.assertTrue(self.passes(HOME))
        self.assertFalse(self.passes(ROGUE))
        generations, events = self.watched(self.sync)
        self.assertEqual((generations, events), (0, []))

    def test_changed_address_is_one_small_transaction(self):
        self.start()
        self.sync()
        self.names.move("home21.example", HOME2)
        generations, events = self.watched(self.sync)
        self.assertEqual(generations, 1, events)
        changes = [line for line in events if not line.startswith("#")]
        self.assertTrue(all(" element inet sipfence sip_hosts4 " in line for line in changes), events)
        self.assertEqual(sorted(line.split()[0] for line in changes), ["add", "delete"], events)

    def test_changed_config_is_one_swap(self):
        self.start()
        self.sync()
        self.configure("extensions: {21: home21.example, 22: home22.example}\n"
                       "local-subnets: [192.168.1.0/24]\nmode: monitor\n")
        _, events = self.watched(self.sync)
        self.assertSwappedOnce(events)

    def test_a_swap_under_enforcement(self):
        """A relay chain may keep the door shut while the kernel switches; it comes with the swap's own
        transaction, and a second one takes it away. Nothing else is sent, nothing of it is left."""
        self.start()
        self.sync()
        self.configure("extensions: {21: home21.example, 22: home22.example}\n"
                       "local-subnets: [192.168.1.0/24, 10.0.0.0/8]\nreplies: accept\n")
        _, events = self.watched(self.sync)
        self.assertSwappedOnce(events)
        self.assertNotIn("relay", self.pbx.ruleset())
        self.assertEqual([item["table"]["name"] for item in self.pbx.nft_json("list", "tables")
                          if "table" in item], ["sipfence"])
        generations, _ = self.watched(self.sync)
        self.assertEqual(generations, 0)

    def assertSwappedOnce(self, events):
        transactions, lines = [], []
        for line in events:
            if line.startswith("# new generation"):
                transactions.append(lines)
                lines = []
            else:
                lines.append(line)
        self.assertTrue(all(re.match(r"\w+ \w+ inet sipfence( |$)", line)
                            for lines in transactions for line in lines), events)
        own = [lines for lines in transactions if any("_relay " not in line + " " for line in lines)]
        self.assertEqual(len(own), 1, events)
        self.assertLessEqual(len(transactions), 2, events)
        self.assertIn("delete table inet sipfence", own[0])
        self.assertIn("create table inet sipfence", own[0])

    def test_others_commit_all_the_time(self):
        self.start()
        self.sync()
        # Each commit of theirs moves the generation that our batch was made for.
        script = ("import subprocess, itertools\n"
                  "for n in itertools.count():\n"
                  "    subprocess.run(['nft', 'add table ip busy%d; delete table ip busy%d' % (n % 7, n % 7)])\n")
        busy = [self.pbx.popen(["/usr/bin/python3", "-c", script]) for _ in range(2)]
        try:
            start = self.pbx.generation()
            refused = 0  # batches that the kernel sent back with ERESTART
            for round in range(150):
                address = "203.0.113.%d" % (100 + round)
                self.names.move("home21.example", address)
                refused += "tried again" in self.sync(0, "-v").err
                self.assertIn(address, self.hosts4())
                if round >= 20 and refused:
                    break
            self.assertGreater(self.pbx.generation() - start, 40, "the others did not commit")
            self.assertGreater(refused, 0, "no batch met a generation that had moved")
        finally:
            for child in busy:
                end(child)

    def test_thousand_elements_at_once(self):
        self.names.update("\n".join("add n%d.example. 30 A 5.1.%d.%d" % (n, n // 250, n % 250 + 1)
                                    for n in range(1000)))
        self.configure("extensions:\n" + "".join("  %d: n%d.example\n" % (n, n) for n in range(1000)))
        generations, _ = self.watched(self.sync)
        self.assertEqual(generations, 1)
        self.assertEqual(len(self.hosts4()), 1000)


class Refusals(Base):
    def test_without_privilege(self):
        self.names.update("add home21.example. 30 A " + HOME)
        self.configure("extensions: {21: home21.example}\n")
        self.sync()
        before = self.pbx.ruleset()
        self.names.move("home21.example", HOME2)
        result = self.assertCode(self.fence.run("sync", prefix=NO_CAPS), 1)
        self.assertRegex(result.err, "not permitted|no permission")
        self.assertRegex(result.err, "root|CAP_NET_ADMIN")
        self.assertEqual(self.pbx.ruleset(), before)
        result = self.assertCode(self.fence.run("remove", prefix=NO_CAPS), 1)
        self.assertRegex(result.err, "not permitted|no permission")
        self.assertEqual(self.pbx.ruleset(), before)
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME2])

    def test_remove_without_a_good_config(self):
        self.names.update("add home21.example. 30 A " + HOME)
        self.configure("extensions: {21: home21.example}\n")
        self.sync()
        self.fence.config("extensions: {21: [}\n")
        os.unlink(os.path.join(self.fence.state, "state"))
        result = self.assertCode(self.fence.run("remove"), 0)
        self.assertRegex(result.err, r"sipfence\.yaml:1:\d+: error: (.|\n)*"
                                     "table inet sipfence, the name that sipfence's has by default")
        self.assertIn("removed table inet sipfence", result.out)
        self.assertFalse(self.pbx.has_table())

    def test_two_at_once(self):
        server = self.dns()
        server.set("home21.example", "A", delay(1500, answer(HOME)))
        self.fence.config("extensions: {21: home21.example}\n" + server.resolver("5s"))
        first = self.fence.popen("sync", "--yes")
        self.assertTrue(wait_until(lambda: server.total > 0))
        second = self.assertCode(self.fence.run("sync", "--yes"), 1)
        self.assertLess(second.seconds, 1.0, "the second one waited")
        self.assertRegex(second.err, "(?i)running|lock|at work|under way")
        self.assertCode(self.fence.run("sync", "--dry-run"), 0)
        _, err = first.communicate(timeout=15)
        self.assertEqual(first.returncode, 0, err)
        self.assertEqual(list(self.hosts4()), [HOME])
        self.sync()

    def test_a_killed_sync_leaves_no_lock(self):
        server = self.dns()
        server.set("home21.example", "A", delay(1000, answer(HOME)))
        self.fence.config("extensions: {21: home21.example}\n" + server.resolver("5s"))
        first = self.fence.popen("sync", "--yes")
        self.assertTrue(wait_until(lambda: server.total > 0))
        first.kill()
        first.wait(5)
        self.sync()
        self.assertEqual(list(self.hosts4()), [HOME])


if __name__ == "__main__":
    main()
