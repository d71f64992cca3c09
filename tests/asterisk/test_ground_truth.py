#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
sipfence audit on the logs of a real Asterisk, against what really happened: who logged in from where
is written down while it is done. tests/system/test_audit.py does it with logs of before.
"""
import gzip
import os
import shutil
import time

from pbx import HOME, HOME2, HOME_V6, LAN, ROGUE, ROGUE_V6, SIP, main, wait_until
from story import HOME22, TOLL, Story

ROGUE2 = "198.51.100.67"


class Truth(Story):
    """Both drivers, dates as the admin should have them (dateformat)."""

    def setUp(self):
        super().setUp()
        self.truth = {}    # (extension, address): how often somebody logged in as it from where it was not
        self.right = 0     # how often from where it was
        self.home = {"21": {HOME}, "22": {HOME22}, "20": {LAN}}

    def logged_in(self, phone):
        if phone.address in self.home[phone.user]:
            self.right += 1
        else:
            key = phone.user, phone.address
            self.truth[key] = self.truth.get(key, 0) + 1

    def register(self, phone, **more):
        self.assertEqual(phone.register(**more), 200)
        self.logged_in(phone)
        return phone

    def call(self, phone, number):
        """chan_sip logs a call as a log-in of the number that was dialled."""
        self.assertEqual(phone.invite(number), 200)
        if phone.user not in SIP:
            self.logged_in(phone)

    def moves(self, name, address):
        self.names.move(name, address, ttl=1)
        self.assertTrue(wait_until(lambda: address in self.net.pbx.elements("sip_hosts4"), 10))

    def play(self):
        caller = self.caller()
        self.register(caller)
        for extension, home, rogue in self.homes():
            self.register(home)
            self.register(home)                              # a refresh
            self.register(rogue)                             # the takeover
            self.call(rogue, TOLL)
            self.assertTrue(self.rings(extension, rogue, caller))  # ambiguous, and no finding alone
            self.register(home)                              # takes it back
            self.register(rogue)
            self.register(rogue, expires=0)
            self.register(home)
            # No takeovers: a wrong password, and an extension that is not there
            self.assertIn(self.phone(extension, ROGUE2, password="1234").register(), (401, 403))
            stranger = self.phone(extension, ROGUE2)
            stranger.user = "99" + extension
            self.assertIn(stranger.register(), (401, 403, 404))
            self.register(self.phone(extension, LAN))         # it is no local extension
            self.register(self.phone(extension, HOME_V6))     # home has no AAAA
            self.register(self.phone(extension, ROGUE_V6))
            forger = self.phone(extension, ROGUE2)            # says that he is at home
            self.assertEqual(self.forge(forger, home), 200)
            self.logged_in(forger)
            self.register(home)
            # From 22's home as 21, and the other way round
            self.register(self.phone(extension, HOME22 if extension == "21" else HOME))
            self.register(home)

    def findings(self, *arguments, code=3):
        document = self.sipfence("--json", "audit", *arguments, code=code).json()
        self.assertEqual(document["judged_by"], "history")
        found = {}
        for one in document["extensions"]:
            for address in one["addresses"]:
                certainty = address["certainty"]
                found[one["id"], address["address"]] = certainty, address[certainty]
        return document, found

    def test_no_takeover_missed_no_false_alarm(self):
        self.configure("mode: monitor\nrefresh: {min: 1s, max: 2s}\n")
        self.daemon()
        self.assertHosts(HOME, HOME22)
        time.sleep(1.1)                                       # the history has whole seconds
        self.play()
        # DNS moves: whoever is where the name points now is right
        self.moves("home21.example", HOME2)
        self.home["21"].add(HOME2)
        time.sleep(1.1)
        self.register(self.phone("21", HOME2))
        # With the ACLs in force the rogue logs in no more
        self.write_acls()
        for extension in ("21", "22"):
            self.assertRefused(self.phone(extension, ROGUE).register(), extension)
        time.sleep(0.3)                                       # a thread of Asterisk's writes the logs
        logs = [self.pbx.path("log", name) for name in ("full", "security")]
        proven = {key: ("proven", count) for key, count in self.truth.items()}
        print("%s: %d log-ins from elsewhere, %d from home" % (
            type(self).__name__, sum(self.truth.values()), self.right))

        document, found = self.findings(*logs)
        self.assertEqual(found, proven)
        for one in document["extensions"]:
            rogue = next(address for address in one["addresses"] if address["address"] == ROGUE)
            self.assertEqual(rogue["besides"]["calls"], 2, rogue)
            self.assertEqual(rogue["besides"]["dialled"], [TOLL])
            self.assertGreaterEqual(rogue["besides"]["refused_by_acl"], 2, rogue)
        document, found = self.findings(logs[1])
        self.assertEqual(found, proven, "by the security log alone")
        self.assertEqual(document["in_order"], self.right)

        # The full log alone repeats what phones say of themselves: the forger is not seen
        _, claimed = self.findings(logs[0])
        self.assertEqual({certainty for certainty, _ in claimed.values()}, {"claimed"})
        self.assertEqual(set(claimed), {key for key in proven if key[1] != ROGUE2})

        # Rotated, packed, and what was before is complete
        self.pbx.ask("logger rotate")
        rotated = self.pbx.path("log", "security.0")
        self.assertTrue(os.path.exists(rotated), os.listdir(self.pbx.path("log")))
        with open(rotated, "rb") as source, gzip.open(rotated + ".gz", "wb") as target:
            shutil.copyfileobj(source, target)
        self.assertEqual(self.findings(rotated + ".gz", logs[1])[1], proven)

        # Without the rogue's lines nothing is found
        calm = os.path.join(self.directory, "calm")
        strangers = {address for _, address in self.truth} - {HOME, HOME22}
        with open(rotated) as source, open(calm, "w") as target:
            target.writelines(line for line in source if not any("/%s/" % one in line for one in strangers)
                              and not ('"21"' in line and HOME22 in line)
                              and not ('"22"' in line and "/%s/" % HOME in line))
        self.assertEqual(self.findings(calm, code=0)[1], {})


class DatesWithoutYear(Truth):
    """As Asterisk writes them unless it is told otherwise."""
    date = None


if __name__ == "__main__":
    main(at_once=2)
