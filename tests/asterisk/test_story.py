#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The story that sipfence was made for, on a real Asterisk: a stranger who knows the password of a phone
takes its extension over. First without sipfence, which shows that the tests prove something; then what
each of its parts does about it.
"""
import os
import re
import subprocess
import time

from pbx import (DRIVERS, HERE, HOME, HOME2, HOME_V6, LAN, PBX, ROGUE, ROGUE_V6, SECRET, SIP, end, main)
from story import HOME22, QUIET, TOLL, Story

REGISTER = os.path.join(HERE, "register.xml")
FIREWALL = """
table inet admin {
	chain input {
		type filter hook input priority 0
		ct state established,related accept
		udp dport {5060, 5070} ip saddr != {203.0.113.10, 192.168.1.0/24} drop
	}
}
"""


class Without(Story):
    """sipfence is off: the rogue wins."""

    def test_takeover(self):
        caller = self.caller()
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                self.assertEqual(home.register(), 200)
                self.assertWhere(extension, home.address)
                self.assertTrue(self.rings(extension, home, caller))
                self.assertEqual(rogue.register(), 200)
                self.assertWhere(extension, ROGUE)
                self.assertTrue(self.rings(extension, rogue, caller))
                self.assertNotIn("INVITE", home.listen(0.1), "the phone at home hears of it")
                self.assertEqual(rogue.invite(TOLL), 200)
                self.assertEqual(len(self.pbx.channels()), 1)
                self.pbx.forget()

    def test_call_without_registration(self):
        for extension, _, rogue in self.homes():
            with self.subTest(extension):
                self.assertEqual(rogue.invite(TOLL), 200)

    def test_forged_contact(self):
        """The log repeats what the rogue says of his address; the security log does not."""
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                self.assertEqual(self.forge(rogue, home), 200)
                self.assertWhere(extension, home.address)
                self.assertIn(ROGUE, [event["from"] for event in self.security()
                                      if event["SecurityEvent"] == "SuccessfulAuth"])

    def test_a_firewall_that_lets_replies_in_is_open_to_who_is_registered(self):
        """Asterisk's own OPTIONS open the flow for the rogue. sipfence never asks for the flow."""
        for extension, _, rogue in self.homes():
            with self.subTest(extension):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                self.assertEqual(rogue.register(), 200)
                self.net.pbx.nft(FIREWALL)
                self.net.pbx.run(["conntrack", "-F"], check=False)
                self.assertIsNone(rogue.invite(TOLL, seconds=QUIET))
                qualify = "sip qualify peer 21" if extension in SIP else "pjsip qualify 22"
                self.pbx.ask(qualify)
                self.assertIn("OPTIONS", rogue.listen(2.0, until="OPTIONS"))
                self.assertEqual(rogue.invite(TOLL), 200, "no hole: this test proves nothing")
                self.pbx.ask(qualify)
                rogue.listen(0.2)
                self.configure()
                self.sipfence("sync", "--yes")
                self.assertIsNone(rogue.invite(TOLL, seconds=QUIET))
                self.pbx.ask(qualify)
                self.assertIn("OPTIONS", rogue.listen(2.0, until="OPTIONS"))
                self.assertIsNone(rogue.invite(TOLL, seconds=QUIET))
                self.sipfence("remove")


class Kernel(Story):
    """The table alone: the ACLs let everybody in."""

    def test_no_answer_for_the_rogue(self):
        self.configure()
        daemon = self.daemon()
        self.assertHosts(HOME, HOME22)
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                self.assertEqual(home.register(), 200)
                self.assertIsNone(rogue.register(seconds=QUIET))
                self.assertIsNone(self.forge(rogue, home, QUIET))
                self.assertIsNone(rogue.invite(TOLL, seconds=QUIET))
                self.assertWhere(extension, home.address)
                self.assertTrue(self.rings(extension, home, self.caller()))
                self.assertEqual(home.invite("100"), 200)
        self.assertEqual([event for event in self.security() if event["from"] == ROGUE], [],
                         "Asterisk has heard of the rogue")
        # The daemon's end opens nothing; without the table the rogue is back.
        self.assertEqual(daemon.stop(), 0)
        self.assertIsNone(self.phone("21", ROGUE).register(seconds=QUIET))
        self.sipfence("remove")
        self.assertEqual(self.phone("21", ROGUE).register(), 200)

    def test_over_ipv6(self):
        self.configure()
        self.names.update("add home21.example. 1 AAAA %s\nadd home22.example. 1 AAAA %s" % (HOME_V6, HOME_V6))
        for extension in DRIVERS:
            self.assertEqual(self.phone(extension, ROGUE_V6).register(), 200)
        self.sipfence("sync", "--yes")
        for extension in DRIVERS:
            with self.subTest(extension):
                self.assertIsNone(self.phone(extension, ROGUE_V6).register(seconds=QUIET))
                self.assertEqual(self.phone(extension, HOME_V6).register(), 200)
                self.assertWhere(extension, HOME_V6)


class Flood(Story):
    """sipp, which is not of our making, as the phones: one registers all the while, the other is a flood."""
    needs = (*Story.needs, "sipp")

    def sipp(self, extension, address, calls):
        host = self.net.rogue if address == ROGUE else self.net.home
        return host.popen([
            "sipp", "%s:%d" % (PBX, 5060 if extension in SIP else 5070), "-sf", REGISTER, "-i", address,
            "-p", "5062", "-m", str(calls), "-r", "100", "-s", extension, "-au", extension, "-ap", SECRET,
            "-nostdin", "-timeout", "20", "-nr"], cwd=self.directory,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def results(self, child):
        """(successful, failed) of a sipp, which ends by itself."""
        output, _ = child.communicate(timeout=30)
        return tuple(int(re.findall(r"%s call +\| +\d+ +\| +(\d+)" % word, output)[-1])
                     for word in ("Successful", "Failed"))

    def test_flood(self):
        for extension in DRIVERS:
            self.assertEqual(self.results(self.sipp(extension, ROGUE, 20)), (20, 0))
        self.configure()
        self.sipfence("sync", "--yes")
        time.sleep(0.2)
        heard = len(self.of_the_rogue())
        for extension, address in (("21", HOME), ("22", HOME22)):
            with self.subTest(extension):
                flood = self.sipp(extension, ROGUE, 100000)
                self.assertEqual(self.results(self.sipp(extension, address, 100)), (100, 0))
                self.assertIsNone(flood.poll(), "the flood did not last")
                end(flood)
                self.assertWhere(extension, address)
        self.assertGreater(self.net.pbx.elements("sip_rejected4")[ROGUE]["packets"], 100)
        self.assertEqual(len(self.of_the_rogue()), heard)

    def of_the_rogue(self):
        return [event for event in self.security() if event["from"] == ROGUE]


class Acls(Story):
    """Asterisk's ACLs alone: the table drops nothing."""

    def test_only_from_its_own_host(self):
        self.acls_alone()
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                self.assertEqual(home.register(), 200)
                self.assertRefused(rogue.register(), extension)
                self.assertRefused(rogue.invite(TOLL), extension)
                self.assertWhere(extension, home.address)
                self.assertEqual(self.pbx.channels(), [])
                self.assertEqual({event["from"] for event in self.refusals(extension)}, {ROGUE})
                self.assertEqual(home.invite("100"), 200)
                self.pbx.forget()

    def test_nobody_is_another_one_at_home(self):
        """The table lets the homes of 21 and 22 in: only the ACL knows which is which."""
        self.acls_alone()
        for extension, address in (("21", HOME22), ("22", HOME), ("20", HOME), ("24", HOME)):
            with self.subTest(extension + " at " + address):
                phone = self.phone(extension, address)
                self.assertRefused(phone.register(), extension)
                self.assertRefused(phone.invite(TOLL), extension)
                self.assertWhere(extension)
        for extension, address in (("20", LAN), ("24", HOME22)):
            self.assertEqual(self.phone(extension, address).register(), 200)

    def test_local_subnets_are_for_local_extensions(self):
        self.acls_alone()
        self.assertEqual(self.phone("20", LAN).register(), 200)
        for extension in DRIVERS:
            with self.subTest(extension):
                self.assertRefused(self.phone(extension, LAN).register(), extension)

    def test_over_ipv6(self):
        self.configure("mode: monitor\n")
        self.names.update("add home21.example. 1 AAAA %s\nadd home22.example. 1 AAAA %s" % (HOME_V6, HOME_V6))
        self.sipfence("sync")
        self.write_acls()
        for extension in DRIVERS:
            with self.subTest(extension):
                self.assertEqual(self.phone(extension, HOME_V6).register(), 200)
                self.assertRefused(self.phone(extension, ROGUE_V6).register(), extension)
                self.assertWhere(extension, HOME_V6)

    def test_a_name_without_address_lets_nobody_in(self):
        self.configure("mode: monitor\ngone: 0s\n")
        self.names.update("del home21.example.\ndel home22.example.")
        self.sipfence("sync", code=3)
        self.write_acls()
        for extension, home, _ in self.homes():
            with self.subTest(extension):
                self.assertRefused(home.register(), extension)

    def test_contact_of_home_from_elsewhere(self):
        self.acls_alone()
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                self.assertRefused(self.forge(rogue, home), extension)
                self.assertWhere(extension)

    def test_contact_of_elsewhere_from_home(self):
        """No ACL keeps that out, since it comes from home: it is found, and thrown out."""
        self.acls_alone()
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                self.assertEqual(self.forge(home, rogue), 200)
                self.assertWhere(extension, ROGUE)
                listed = self.sipfence("asterisk", "--contacts", code=3).out
                self.assertRegex(listed, r"(?m)^wrong +%s  %s:\d+" % (extension, ROGUE))
                self.sipfence("asterisk", "--evict")
                self.assertWhere(extension)
                self.assertFalse(self.rings(extension, rogue, self.caller(), QUIET))

    def test_bad_line_in_acl_conf(self):
        """Asterisk says that it has reloaded, and goes on with the ACLs of before: that is found out."""
        self.configure("mode: monitor\n")
        self.pbx.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n"
                        "[office]\npermit=203.0.113.300\n")
        self.sipfence("sync")
        result = self.sipfence("asterisk", "--write", code=1)
        self.assertIn("sipfence-21", result.err)
        self.assertEqual(self.phone("21", ROGUE).register(), 200, "it is in force")
        # The same where ACLs of ours are in force, those of a former address
        self.pbx.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n")
        self.write_acls()
        self.pbx.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n"
                        "[office]\npermit=no-address\n")
        self.names.move("home21.example", HOME2, ttl=1)
        self.sipfence("sync")
        result = self.sipfence("asterisk", "--write", code=1)
        self.assertIn("sipfence-21", result.err)
        self.assertRefused(self.phone("21", HOME2).register(), "21")
        self.pbx.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n")
        self.write_acls()
        self.assertRefused(self.phone("21", ROGUE).register(), "21")


class Evict(Story):
    """Who has registered before the ACLs came."""

    def taken_over(self):
        """21 and 22 are the rogue's, and he is in a call with each; then come the ACLs."""
        rogues = {}
        for extension, home, rogue in self.homes():
            self.assertEqual(home.register(), 200)
            self.assertEqual(rogue.register(), 200)
            self.assertEqual(rogue.invite(TOLL), 200)
            rogues[extension] = rogue
        self.acls_alone()
        for extension in rogues:
            self.assertWhere(extension, ROGUE, message="an ACL does not end a registration")
        self.assertEqual(len(self.pbx.channels()), 2)
        return rogues

    def test_listed_and_thrown_out(self):
        rogues = self.taken_over()
        listed = self.sipfence("asterisk", "--contacts", code=3)
        for extension in rogues:
            self.assertRegex(listed.out, r"(?m)^wrong +%s  %s:\d+" % (extension, ROGUE))
        document = self.sipfence("asterisk", "--contacts", "--json", code=3).json()
        self.assertEqual([(one["extension"], one["driver"], one["verdict"], one["address"])
                          for one in document["registrations"]],
                         [("21", "chan_sip", "wrong", ROGUE), ("22", "pjsip", "wrong", ROGUE)])
        result = self.sipfence("asterisk", "--evict")
        print("evicting two took %.2f s" % result.seconds)
        caller = self.caller()
        for extension, rogue in rogues.items():
            with self.subTest(extension):
                self.assertWhere(extension)
                self.assertFalse(self.rings(extension, rogue, caller, QUIET))
                self.assertRefused(rogue.register(), extension)
        self.assertEqual(len(self.pbx.channels()), 2, "calls go on")
        for extension, home, _ in self.homes():
            self.assertEqual(home.register(), 200)
            self.assertTrue(self.rings(extension, home, caller))
        self.sipfence("asterisk", "--contacts")

    def test_hangup_ends_their_calls(self):
        rogues = self.taken_over()
        self.assertEqual(self.phone("20", LAN).invite("100"), 200)
        self.sipfence("asterisk", "--evict", "--hangup")
        for extension, rogue in rogues.items():
            with self.subTest(extension):
                self.assertIn("BYE", rogue.listen(2.0, until="BYE"))
        self.assertEqual([channel.split("-")[0] for channel in self.pbx.channels()], ["SIP/20"])

    def test_nobody_is_thrown_out_because_dns_never_answered(self):
        """Then the ACLs of all names are empty, and in force: that makes nobody a stranger."""
        homes = {extension: home for extension, home, _ in self.homes()}
        for home in homes.values():
            self.assertEqual(home.register(), 200)
        self.configure("mode: monitor\n")
        self.names.stop()
        self.sipfence("sync", code=3)
        self.write_acls()
        for options in (("--contacts",), ("--evict", "--hangup")):
            result = self.sipfence("asterisk", *options)
            self.assertIn("2 registrations: 0 right, 0 wrong", result.err)
            self.assertIn("2 registrations are left alone", result.err)
        for extension, home in homes.items():
            self.assertWhere(extension, home.address)
        self.names.start()
        self.sipfence("sync")
        self.write_acls()
        self.sipfence("asterisk", "--contacts")

    def test_nobody_is_thrown_out_before_the_acl_is_in_force(self):
        """He would be back at once."""
        self.taken_over()
        self.pbx.open_acls()
        result = self.sipfence("asterisk", "--evict", code=1)
        self.assertIn("nobody was evicted", result.err)
        for extension in DRIVERS:
            self.assertWhere(extension, ROGUE)


if __name__ == "__main__":
    main(at_once=2)
