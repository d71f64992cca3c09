#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Sets in the admin's own table (nftables.sets-only): nothing else of it is ever touched, sets that are not
what they have to be are said and left alone, and the daemon fills them again when the firewall is loaded
anew.
"""
import os
import time

from daemon_case import HOME, HOME2, LAN, PATIENCE, ROGUE, DaemonCase
from harness import main, wait_until

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/firewalls")
SETS = ("nftables: {sets-only: {table: inet filter, sip: {hosts4: phones4, hosts6: phones6, nets4: lan4,"
        " nets6: lan6}}}\n")
DECLARED = {
    "phones4": "type ipv4_addr; counter;",
    "phones6": "type ipv6_addr;",
    "lan4": "type ipv4_addr; flags interval;",
    "lan6": "type ipv6_addr; flags interval; auto-merge;",
}
FIREWALL = """
table inet filter
delete table inet filter
table inet filter {
%s
    set blocked { type ipv4_addr; elements = { 10.9.8.7 } }
    chain input {
        type filter hook input priority 0; policy accept;
        ip saddr @blocked drop
%s
    }
}
"""
RULES = """
        udp dport 5060 ip saddr @phones4 accept
        udp dport 5060 ip saddr @lan4 accept
        udp dport 5060 counter drop
"""


def firewall(**other):
    """With other declarations of some sets, and without rules then, which might not go with them."""
    sets = dict(DECLARED, **other)
    return FIREWALL % ("\n".join("    set %s { %s }" % one for one in sets.items() if one[1]),
                       "" if other else RULES)


class Base(DaemonCase):
    def setUp(self):
        super().setUp()
        self.pbx.nft("flush ruleset")
        self.points(HOME)
        self.configure(SETS)

    def sync(self, *options, code=0):
        result = self.fence.run("sync", *options)
        self.assertEqual(result.code, code, str(result))
        return result

    def members(self, name):
        try:
            return sorted(self.pbx.elements(name, "filter"))
        except RuntimeError:
            return None

    def everything_else(self):
        """The admin's table without the elements of the kept sets, its handles and counters."""
        table = self.pbx.table("filter")
        return [part for part in table if "set" not in part or part["set"]["name"] not in DECLARED]


class Examples(Base):
    def test_they_go_together(self):
        with open(os.path.join(EXAMPLES, "nftables.conf")) as file:
            self.pbx.nft(file.read())
        with open(os.path.join(EXAMPLES, "sets-only.yaml")) as file:
            self.fence.config(file.read() + self.server.resolver("300ms"))
        self.points(HOME, name="home21.dyndns.example")
        self.points(HOME2, name="alice.ddns.example")
        self.sync()
        self.assertEqual(self.members("phones4"), sorted([HOME, HOME2, "203.0.113.7"]))
        self.assertEqual(self.members("lan4"), ["192.168.10.0/24", "198.51.100.0/28"])
        self.assertEqual(self.members("lan6"), ["fd00:10::/64"])
        self.assertPasses(HOME, HOME2)
        self.assertShut(ROGUE)


class Sync(Base):
    def test_fills_the_sets_and_touches_nothing_else(self):
        self.pbx.nft(firewall())
        before = self.everything_else()
        self.sync()
        self.assertEqual(self.members("phones4"), [HOME])
        self.assertEqual(self.members("lan4"), ["192.168.1.0/24"])
        self.assertEqual(self.everything_else(), before)
        self.assertFalse(self.pbx.has_table("sipfence"))
        self.assertPasses(HOME, LAN)
        self.assertShut(HOME2)
        generation = self.pbx.generation()
        self.sync()
        self.assertEqual(self.pbx.generation(), generation, "nothing had changed")

    def test_moves_and_what_others_have_put_in(self):
        self.pbx.nft(firewall())
        self.sync()
        self.points(HOME2)
        self.pbx.nft("add element inet filter phones4 { 198.51.100.66 }")
        self.pbx.nft("add element inet filter lan4 { 198.51.100.0/24 }")
        result = self.sync()
        self.assertEqual(self.members("phones4"), [HOME2])
        self.assertEqual(self.members("lan4"), ["192.168.1.0/24"])
        self.assertIn("198.51.100.0/24", result.out)

    def test_without_a_daemon_a_reload_of_the_firewall_is_noticed(self):
        """It leaves the sets empty, until the next sync."""
        self.pbx.nft(firewall())
        self.sync()
        self.assertIn("\nthe sets in table inet filter are in the kernel", self.fence.run("status").out)
        self.pbx.nft(firewall())
        result = self.fence.run("status")
        self.assertEqual(result.code, 3, str(result))
        self.assertIn("\nthe sets in table inet filter in the kernel, mode sets-only, are not as the last run left "
                      "them: sipfence sync puts that right\n    2 elements are missing: %s (phones4), "
                      "192.168.1.0/24 (lan4)\n" % HOME, result.out)
        self.sync()
        self.pbx.nft("add element inet filter phones4 { %s }\n" % ROGUE)
        found = [item for item in self.fence.run("doctor", "--json").json()["findings"]
                 if item["check"] == "elements"]
        self.assertEqual([item["what"] for item in found],
                         ["the sets in the table inet filter are not as the last run left them: 1 element was added: "
                          "%s (phones4)" % ROGUE])
        self.sync()
        self.assertEqual(self.fence.run("status").code, 0)

    def test_dry_run_loads(self):
        self.pbx.nft(firewall())
        self.pbx.nft("add element inet filter phones4 { 198.51.100.66 }")
        script = self.sync("--dry-run").out
        self.assertEqual(self.members("phones4"), ["198.51.100.66"], "a dry run changes nothing")
        self.pbx.nft(script)
        by_hand = self.pbx.table("filter")
        self.sync()
        self.assertEqual(self.pbx.table("filter"), by_hand)

    def test_sets_that_do_not_fit(self):
        cases = [
            ("phones4 is missing", {"phones4": ""}),
            ("phones6 is not of type ipv6_addr", {"phones6": "type ipv4_addr;"}),
            ("phones4 is not of type ipv4_addr", {"phones4": "type ipv4_addr . inet_service;"}),
            ("phones4 is not of type ipv4_addr", {"phones4": "type mark;"}),
            ("phones4 has a time-out", {"phones4": "type ipv4_addr; flags timeout; timeout 1h;"}),
            ("lan4 lacks flags interval", {"lan4": "type ipv4_addr;"}),
            ("phones4 has flags interval", {"phones4": "type ipv4_addr; flags interval;"}),
            ("phones4 is constant", {"phones4": "type ipv4_addr; flags constant; elements = { 192.0.2.99 }"}),
            ("neither addresses nor prefixes",
             {"lan4": "type ipv4_addr; flags interval; elements = { 192.0.2.3-192.0.2.8 }"}),
        ]
        for message, other in cases:
            with self.subTest(message):
                self.pbx.nft(firewall(**other))
                before = self.pbx.ruleset()
                result = self.sync(code=1)
                self.assertIn(message, result.err)
                self.assertIn("inet filter", result.err)
                self.assertIn("what to do", result.err)
                self.assertEqual(self.pbx.ruleset(), before, "left alone")
                doctor = self.fence.run("doctor")
                self.assertEqual(doctor.code, 3, str(doctor))
                self.assertIn(message, doctor.out)

    def test_without_the_table(self):
        result = self.sync(code=1)
        self.assertIn("there is no such table", result.err)
        self.assertFalse(self.pbx.has_table("filter"), "it is the firewall's to make")

    def test_tables_of_one_family(self):
        for family, name, member, points in (("ip", "hosts4", HOME, None), ("ip6", "hosts6", "2001:db8::7", None)):
            with self.subTest(family):
                kind = "ipv4_addr" if family == "ip" else "ipv6_addr"
                self.configure("nftables: {sets-only: {table: %s mine, sip: {%s: phones}}}\n" % (family, name),
                               extensions='21: {hosts: ["%s"]}' % member)
                self.pbx.nft("table %s mine { set phones { type %s; }; }" % (family, kind))
                self.sync()
                self.assertEqual(list(self.pbx.elements("phones", "mine", family)), [member])

    def test_own_table_of_before(self):
        self.pbx.nft(firewall())
        self.configure()
        self.sync("--yes")
        self.assertTrue(self.pbx.has_table("sipfence"))
        self.configure(SETS)
        result = self.sync()
        self.assertEqual(self.members("phones4"), [HOME])
        self.assertIn("table inet sipfence of a former config", result.err)

    def test_never_takes_the_table_away(self):
        self.pbx.nft(firewall())
        self.sync()
        before = self.pbx.ruleset()
        result = self.fence.run("remove")
        self.assertEqual(result.code, 0, str(result))
        self.assertIn("stay as they are", result.out)
        self.assertEqual(self.pbx.ruleset(), before)
        # And back to a table of its own: the admin's is no "former table" either.
        self.configure()
        result = self.sync("--yes")
        self.assertNotIn("former config", result.err)
        self.assertTrue(self.pbx.has_table("filter"))

    def test_a_table_of_somebody_else_is_not_taken(self):
        """`table: filter` for `sets-only: {table: inet filter}`: the admin's firewall stays."""
        self.pbx.nft(firewall())
        self.configure("nftables: {table: filter}\n")
        before = self.pbx.ruleset()
        result = self.sync("--yes", code=1)
        self.assertIn("the table inet filter is there already", result.err)
        self.assertIn("sets-only", result.err)
        self.assertEqual(self.pbx.ruleset(), before)
        result = self.fence.run("remove")
        self.assertEqual(result.code, 1, str(result))
        self.assertEqual(self.pbx.ruleset(), before)

    def test_remove_names_the_table_of_before(self):
        self.pbx.nft(firewall())
        self.configure()
        self.sync("--yes")
        self.configure(SETS)
        self.sync()
        result = self.fence.run("remove")
        self.assertIn("table inet sipfence of a former config is still in force", result.err)

    def test_removed_sets_are_the_admins_again(self):
        self.pbx.nft(firewall())
        self.sync()
        self.assertEqual(self.fence.run("remove").code, 0)
        self.pbx.nft("flush set inet filter phones4\n")
        status = self.fence.run("status", "--json")
        self.assertEqual((status.code, status.json()["drift"]), (0, None), str(status))

    def test_a_full_set(self):
        self.pbx.nft(firewall(phones4="type ipv4_addr; size 1;"))
        self.points(HOME, HOME2)
        self.assertIn("larger `size`", self.sync(code=1).err)

    def test_confirm_is_refused(self):
        self.pbx.nft(firewall())
        result = self.fence.run("sync", "--confirm", "5s")
        self.assertEqual(result.code, 2, str(result))


class InTheDaemon(Base):
    def start(self):
        daemon = self.daemon()
        daemon.wait_ready()
        return daemon

    def assertMembers(self, name, *members):
        wait_until(lambda: self.members(name) == sorted(members), 5 * PATIENCE)
        self.assertEqual(self.members(name), sorted(members))

    def test_follows_and_repairs(self):
        self.pbx.nft(firewall())
        daemon = self.start()
        self.assertMembers("phones4", HOME)
        self.points(HOME2)
        self.assertMembers("phones4", HOME2)
        before = self.everything_else()
        self.pbx.nft("flush set inet filter phones4")
        self.assertMembers("phones4", HOME2)
        mark = daemon.mark()
        self.pbx.nft(firewall())  # as a reload of nftables.service does
        self.assertMembers("phones4", HOME2)
        self.assertMembers("lan4", "192.168.1.0/24")
        daemon.wait_event("table", 5, since=mark, action="repaired")
        self.assertEqual(self.everything_else(), before)

    def test_other_parts_of_the_table_are_not_its_business(self):
        self.pbx.nft(firewall())
        daemon = self.start()
        self.assertMembers("phones4", HOME)
        mark = daemon.mark()
        self.pbx.nft("add rule inet filter input counter")
        self.pbx.nft("add element inet filter blocked { 10.1.1.1 }")
        self.pbx.nft("add table inet another")
        time.sleep(0.5)
        self.assertEqual(daemon.events("damage", mark), [])
        self.assertEqual(daemon.events("table", mark), [])

    def test_waits_for_the_firewall(self):
        daemon = self.start()
        daemon.wait_event("kernel", 5)
        self.pbx.nft(firewall(lan4="type ipv4_addr;"))
        time.sleep(0.3)
        self.assertEqual(self.members("phones4"), [])
        self.pbx.nft(firewall())
        self.assertMembers("phones4", HOME)
        self.assertTrue(daemon.runs())

    def test_status_and_why(self):
        self.pbx.nft(firewall())
        daemon = self.start()
        self.assertMembers("phones4", HOME)
        for running in (True, False):
            status = self.fence.run("status")
            self.assertRegex(status.out, "the sets in table inet filter (are in the kernel|in force)")
            self.assertNotIn("dropped", status.out)
            self.assertNotIn("monitor", status.out)
            self.assertEqual(self.fence.run("status", "--json").json()["mode"], "sets-only")
            why = self.fence.run("why", HOME).out
            self.assertIn(HOME + " is listed for sip", why)
            self.assertIn("element of phones4 in table inet filter", why)
            why = self.fence.run("why", ROGUE).out
            self.assertIn(ROGUE + " is not listed for sip", why)
            self.assertIn("none of the sets", why)
            if running:
                daemon.stop()
        self.pbx.nft("delete table inet filter")
        status = self.fence.run("status")
        self.assertIn("there is no table inet filter in the kernel", status.out)

    def test_end_and_remove_leave_all_in_place(self):
        self.pbx.nft(firewall())
        daemon = self.start()
        self.assertMembers("phones4", HOME)
        before = self.pbx.ruleset()
        result = self.fence.run("remove")
        self.assertEqual(result.code, 0, str(result))
        self.assertIn("stay as they are", result.out)
        self.assertEqual(daemon.wait(), 0, str(daemon))
        self.assertEqual(self.pbx.ruleset(), before)

    def test_reload_to_the_same_table_is_refused(self):
        self.pbx.nft(firewall())
        self.start()
        self.assertMembers("phones4", HOME)
        before = self.pbx.ruleset()
        self.configure("nftables: {table: filter}\n")
        result = self.fence.run("reload")
        self.assertEqual(result.code, 1, str(result))
        self.assertIn("the table inet filter is there already", result.err)
        self.assertEqual(self.pbx.ruleset(), before)

    def test_sets_in_its_own_table_are_refused(self):
        self.configure("nftables: {table: mine}\n")
        self.start()
        wait_until(lambda: self.pbx.has_table("mine"), 5)
        self.configure(SETS.replace("inet filter", "inet mine").replace("phones4", "sip_hosts4"))
        result = self.fence.run("reload")
        self.assertEqual(result.code, 1, str(result))
        self.assertIn("sipfence's own until now", result.err)
        self.assertTrue(self.pbx.has_table("mine"))

    def test_reload_from_a_table_of_its_own_and_back(self):
        self.pbx.nft(firewall())
        self.configure()
        self.start()
        self.assertAllowed(HOME)
        self.configure(SETS)
        self.assertEqual(self.fence.run("reload").code, 0)
        self.assertMembers("phones4", HOME)
        self.assertFalse(self.pbx.has_table("sipfence"))
        self.configure()
        self.assertEqual(self.fence.run("reload").code, 0)
        self.assertAllowed(HOME)
        self.assertTrue(self.pbx.has_table("filter"), "the admin's table is not ours to remove")


if __name__ == "__main__":
    main()
