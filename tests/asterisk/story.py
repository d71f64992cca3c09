# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the tests on a real Asterisk share: two homes with names that are changed by RFC 2136 updates, a
rogue who knows all passwords, and a config of sipfence for them.
"""
from pbx import HOME, LAN, ROGUE, SIP, PbxCase, wait_until

HOME22 = "203.0.113.22"
TOLL = "0019005550123"
QUIET = 0.7  # seconds in which nothing must come

CONFIG = """
extensions:
  20: local
  21: home21.example
  22: home22.example
  24: [home24.example, 203.0.113.24]
local-subnets: [192.168.1.0/24]
services: {{sip: {{udp: [5060, 5070], tcp: [5060-5061]}}}}
asterisk: {{acl-file: {file}, command: [{command}]{asterisk}}}
"""


class Story(PbxCase):
    needs = (*PbxCase.needs, "knotd", "knsupdate")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.class_net.home.ip("address add %s/24 dev eth0" % HOME22)

    def configure(self, more="", **asterisk):
        """The names of 21 and 22 have an address each. asterisk: more keys of that section."""
        self.names = self.knot()
        self.names.update("add home21.example. 1 A %s\nadd home22.example. 1 A %s\n"
                          "add home24.example. 1 A %s" % (HOME, HOME22, HOME22))
        self.fence.config(CONFIG.format(
            file=self.pbx.acl_file, command=", ".join(self.pbx.command), asterisk="".join(
                ", %s: %s" % (key.replace("_", "-"), value) for key, value in asterisk.items())) +
            self.names.resolver() + more)

    def acls_alone(self):
        """The table counts and drops nothing; the ACLs are in force."""
        self.configure("mode: monitor\n")
        self.sipfence("sync")
        self.write_acls()

    def write_acls(self):
        self.sipfence("asterisk", "--write")
        self.pbx.settle()

    def assertHosts(self, *addresses):
        """The table lets these in, soon."""
        self.assertTrue(wait_until(
            lambda: set(addresses) <= set(self.net.pbx.elements("sip_hosts4")), 10), addresses)

    def homes(self):
        """(extension, its phone at home, the rogue's phone) for both drivers."""
        for extension, address in (("21", HOME), ("22", HOME22)):
            yield extension, self.phone(extension, address), self.phone(extension, ROGUE)

    def forge(self, phone, target, seconds=2.0):
        """It registers, and says that it is where the target is."""
        phone.rport = ""
        return phone.register(contact="sip:%s@%s" % (phone.user, target.here), seconds=seconds)

    def assertRefused(self, status, extension):
        """By the ACL: pjsip asks for a password again and again, whatever is given."""
        self.assertEqual(status, 403 if extension in SIP else 401)
        self.assertTrue(wait_until(lambda: self.refusals(extension), 1), "not by an ACL")

    def caller(self):
        return self.phone("20", LAN)

    def refusals(self, extension):
        return [event for event in self.security()
                if event["SecurityEvent"] == "FailedACL" and event["AccountID"] == extension]
