#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The daemon beside a real Asterisk: the ACLs follow DNS, who does not belong there any more is thrown out,
and a takeover is told while it happens.
"""
import os
import signal
import time

from pbx import DRIVERS, HOME, HOME2, LAN, ROGUE, SIP, main, wait_until
from story import HOME22, QUIET, TOLL, Story

QUICK = "refresh: {min: 1s, max: 1s}\nuser: nobody\n"
MONITOR = "mode: monitor\n"


class Live(Story):
    def start(self, more=MONITOR, **asterisk):
        """A daemon; with acl=true all ACLs are in force when this returns."""
        self.configure(more + QUICK, **asterisk)
        daemon = self.daemon()
        self.assertHosts(HOME, HOME22)
        if asterisk.get("acl"):
            self.assertAcl("21", HOME)
            self.assertAcl("22", HOME22)
            # The first file may be from before the first answer
            self.assertTrue(wait_until(lambda: self.acls(daemon)["state"] == "in-force", 5), daemon)
            self.pbx.settle()
        return daemon

    def acls(self, daemon):
        """The daemon's own word."""
        return daemon.status()["asterisk"]

    def assertAcl(self, extension, address, seconds=5):
        """Asterisk has it, soon."""
        command = "acl show sipfence-" + extension
        self.assertTrue(wait_until(lambda: address + "/" in self.pbx.ask(command), seconds),
                        self.pbx.ask(command))

    def moves(self, address=HOME2):
        """Where 21 and 22 are from now on; when that was."""
        self.names.update("".join("del %s A\nadd %s 1 A %s\n" % (name, name, address) for name in (
            "home21.example.", "home22.example.")))
        return time.monotonic()

    def admitted(self, extension, address, seconds=5.0):
        """The time at which a phone there is first let in; it tries all the while."""
        phone = self.phone(extension, address)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if phone.register(seconds=0.2) == 200:
                return time.monotonic()
            time.sleep(0.02)
        self.fail("%s is not let in at %s" % (extension, address))


class Follows(Live):
    def test_dns_moves(self):
        """Both the table and the ACLs; from DNS' change on it takes a second or so, most of it the TTL."""
        daemon = self.start("", acl="true")
        for extension, home, _ in self.homes():
            self.assertEqual(home.register(), 200)
        mark = daemon.mark()
        moved = self.moves()
        for extension in DRIVERS:
            took = self.admitted(extension, HOME2) - moved
            print("%s moved: registers at its new address %.2f s after DNS had it" % (extension, took))
            self.assertLess(took, 3.0)
            self.assertWhere(extension, HOME2)
        force = daemon.wait_event("acl", since=mark, result="in-force")
        print("ACLs are in force %s ms after the kernel" % force["ms"])
        self.assertLess(int(force["ms"]), 1000)
        self.assertIsNone(self.phone("21", HOME).register(seconds=QUIET))
        # The former home of 22 is still that of 24: the table lets it in, the ACL does not
        self.assertRefused(self.phone("22", HOME22).register(), "22")

    def test_the_acls_alone(self):
        daemon = self.start(acl="true")
        mark = daemon.mark()
        self.moves()
        daemon.wait_event("acl", 5, since=mark, result="in-force")
        self.pbx.settle()
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                self.assertRefused(home.register(), extension)
                self.assertRefused(rogue.register(), extension)
                self.assertRefused(rogue.invite(TOLL), extension)
                self.assertEqual(self.phone(extension, HOME2).register(), 200)
        self.assertEqual(self.phone("20", LAN).register(), 200)

    def test_refresh_takes_milliseconds(self):
        self.configure(MONITOR, acl="true")
        self.daemon()
        self.assertAcl("21", HOME)
        self.assertRefused(self.phone("21", HOME2).register(), "21")
        self.moves()
        moved = time.monotonic()
        self.sipfence("refresh")
        took = self.admitted("21", HOME2) - moved
        print("after `sipfence refresh` it is let in within %.2f s" % took)
        self.assertLess(took, 1.5)

    def test_a_burst_shares_one_reload(self):
        daemon = self.start(acl="true")
        reloads = self.pbx.log("full").count("Reloading module 'acl'")
        mark = daemon.mark()
        for address in (HOME2, "203.0.113.30", "203.0.113.31"):
            self.moves(address)
        self.assertTrue(wait_until(lambda: "203.0.113.31" in self.pbx.ask("acl show sipfence-22"), 5))
        daemon.wait_event("acl", 5, since=mark, result="in-force")
        reloads = self.pbx.log("full").count("Reloading module 'acl'") - reloads
        self.assertIn(reloads, (1, 2), "one for each time that DNS is asked")


class Troubles(Live):
    def test_asterisk_is_down_while_dns_changes(self):
        daemon = self.start(acl="true")
        self.pbx.stop()
        mark = daemon.mark()
        self.moves()
        daemon.wait_event("acl", 5, since=mark, result="down")
        with open(self.pbx.acl_file) as file:
            self.assertIn(HOME2, file.read())
        self.assertHosts(HOME2)
        back = daemon.mark()
        start = time.monotonic()
        self.pbx.start()
        daemon.wait_event("acl", 15, since=back, result="in-force")
        print("Asterisk is back: verified %.1f s after its start" % (time.monotonic() - start))
        self.pbx.settle()
        for extension, home, _ in self.homes():
            with self.subTest(extension):
                self.assertRefused(home.register(), extension)
                self.assertEqual(self.phone(extension, HOME2).register(), 200)

    def test_asterisk_hangs_and_nothing_waits_for_it(self):
        daemon = self.start(acl="true")
        mark = daemon.mark()
        self.pbx.child.send_signal(signal.SIGSTOP)
        try:
            moved = self.moves()
            self.assertHosts(HOME2)
            took = time.monotonic() - moved
            print("while Asterisk hangs the table follows within %.2f s" % took)
            self.assertLess(took, 3.0)
            time.sleep(0.5)
            self.assertEqual(daemon.events("acl", mark, result="in-force"), [])
            self.sipfence("why", HOME2)
        finally:
            self.pbx.child.send_signal(signal.SIGCONT)
        daemon.wait_event("acl", 5, since=mark, result="in-force")
        self.pbx.settle()
        self.assertEqual(self.phone("21", HOME2).register(), 200)
        self.assertRefused(self.phone("21", HOME).register(), "21")

    def test_asterisk_comes_after_the_daemon(self):
        self.pbx.stop()
        self.configure(MONITOR + QUICK, acl="true")
        daemon = self.daemon()
        daemon.wait_event("acl", 5, result="down")
        self.pbx.start()
        daemon.wait_event("acl", 15, result="in-force")
        self.assertAcl("21", HOME)
        self.pbx.settle()
        self.assertRefused(self.phone("21", ROGUE).register(), "21")
        self.assertEqual(self.phone("21", HOME).register(), 200)

    def test_bad_line_in_acl_conf(self):
        """Asterisk says that it has reloaded, and has not. An alarm, until it is mended."""
        self.pbx.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n"
                        "[office]\npermit=203.0.113.300\n")
        self.configure(MONITOR + QUICK, acl="true")
        daemon = self.daemon()
        event = daemon.wait_event("acl", 10, result="mismatch")
        self.assertIn("acl.conf", event["next"])
        self.assertEqual(self.phone("21", ROGUE).register(), 200, "the alarm is false")
        self.assertEqual(self.sipfence("status", "--json", code=3).json()["asterisk"]["state"], "mismatch")
        self.pbx.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n")
        daemon.wait_event("acl", 20, result="in-force")
        self.pbx.settle()
        self.assertRefused(self.phone("21", ROGUE).register(), "21")

    def test_the_file_is_not_asterisks_to_read(self):
        """Whoever did that, it is mended with the next change: owner and mode are acl.conf's."""
        daemon = self.start(acl="true")
        os.chmod(self.pbx.acl_file, 0)
        os.chown(self.pbx.acl_file, 0, 0)
        mark = daemon.mark()
        self.moves()
        daemon.wait_event("acl", 5, since=mark, result="in-force")
        self.assertEqual(self.phone("21", HOME2).register(), 200)


class Evicts(Live):
    def test_who_was_there_before(self):
        rogues = {}
        for extension, _, rogue in self.homes():
            self.assertEqual(rogue.register(), 200)
            self.assertEqual(rogue.invite(TOLL), 200)
            rogues[extension] = rogue
        self.assertEqual(len(self.pbx.channels()), 2)
        daemon = self.start(acl="true", evict="true", hangup="true")
        for extension, rogue in rogues.items():
            with self.subTest(extension):
                daemon.wait_event("evict", 5, extension=extension, address=ROGUE)
                self.assertTrue(wait_until(lambda: self.where(extension) == [], 3))
                self.assertIn("BYE", rogue.listen(3.0, until="BYE"))
        self.assertEqual(self.pbx.channels(), [])

    def test_who_has_moved(self):
        daemon = self.start(acl="true", evict="true")
        homes = {}
        for extension, home, _ in self.homes():
            self.assertEqual(home.register(), 200)
            homes[extension] = home
        mark = daemon.mark()
        moved = self.moves()
        for extension, home in homes.items():
            with self.subTest(extension):
                daemon.wait_event("evict", 5, since=mark, extension=extension, address=home.address)
                self.assertWhere(extension)
        print("registrations of the old address are gone %.1f s after DNS moved" % (time.monotonic() - moved))
        self.assertEqual(self.phone("21", HOME2).register(), 200)
        self.assertEqual(self.phone("20", LAN).register(), 200)
        time.sleep(0.5)
        self.assertWhere("21", HOME2)
        self.assertWhere("20", LAN)

    def test_who_belongs_there_stays(self):
        """Also while the daemon starts, and knows of no name yet where it points."""
        phones = [phone for extension, home, _ in self.homes() for phone in (home,)] + [self.phone("20", LAN)]
        for phone in phones:
            self.assertEqual(phone.register(), 200)
        before = self.pbx.contacts()
        daemon = self.start(acl="true", evict="true", hangup="true")
        time.sleep(1.0)
        self.assertEqual(daemon.events("evict"), [])
        self.assertEqual(self.pbx.contacts(), before)

    def test_nobody_is_thrown_out_because_dns_is_down(self):
        phones = [phone for extension, home, _ in self.homes() for phone in (home,)]
        for phone in phones:
            self.assertEqual(phone.register(), 200)
        before = self.pbx.contacts()
        self.configure(MONITOR + QUICK, acl="true", evict="true", hangup="true")
        self.names.stop()
        daemon = self.daemon()
        daemon.wait_event("acl", 5, result="in-force")
        time.sleep(1.5)
        self.assertEqual(daemon.events("evict"), [])
        self.assertEqual(self.pbx.contacts(), before)

    def test_nobody_unless_asked_for(self):
        rogue = self.phone("21", ROGUE)
        self.assertEqual(rogue.register(), 200)
        self.start(acl="true")
        time.sleep(0.5)
        self.assertWhere("21", ROGUE)


class Takeover(Live):
    def watch(self):
        return self.start(security_log=self.pbx.path("log/security"))

    def assertTold(self, daemon, phone, since):
        """Within a second; it says how long it took."""
        start = time.monotonic()
        event = daemon.wait_event("takeover", 3, since=since, extension=phone.user, address=phone.address)
        took = time.monotonic() - start
        self.assertEqual((event["state"], event["certainty"]), ("found", "proven"), event)
        self.assertEqual(event["driver"], "chan_sip" if phone.user in SIP else "pjsip")
        self.assertLess(took, 1.5)
        return took

    def test_told_within_a_second(self):
        daemon = self.watch()
        for extension, home, rogue in self.homes():
            with self.subTest(extension):
                mark = daemon.mark()
                self.assertEqual(home.register(), 200)
                self.assertEqual(rogue.register(), 200)
                print("%s: the takeover is told after %.2f s" % (
                    extension, self.assertTold(daemon, rogue, mark)))
                self.assertEqual(home.register(), 200)
        self.assertEqual({event["address"] for event in daemon.events("takeover")}, {ROGUE})

    def test_no_false_alarm(self):
        daemon = self.watch()
        caller = self.caller()
        self.assertEqual(caller.register(), 200)
        for extension, home, rogue in self.homes():
            self.assertEqual(home.register(), 200)
            self.assertTrue(self.rings(extension, home, caller))
            self.assertEqual(home.invite("100"), 200)
            self.assertNotEqual(self.phone(extension, ROGUE, password="1234").register(), 200)
            self.assertEqual(self.forge(home, home), 200)
        time.sleep(4.5)  # what may be a call waits 3.5 s for its explanation
        # A call to an extension reads like a log-in of it: ambiguous, which is no alarm
        self.assertEqual([event for event in daemon.events("takeover")
                          if event["certainty"] != "ambiguous"], [])

    def test_rotation_and_restart_lose_nothing(self):
        daemon = self.watch()
        betweens = (None, "logger rotate", "logger reload", "restart", "logger rotate")
        for number, between in enumerate(betweens):
            with self.subTest(between or "at first"):
                if between == "restart":
                    self.pbx.stop()
                    self.pbx.start()
                elif between:
                    self.pbx.ask(between)
                address = "198.51.100.%d" % (70 + number)
                self.net.rogue.ip("address add %s/24 dev eth0" % address)
                for extension in DRIVERS:
                    phone = self.phone(extension, address)
                    mark = daemon.mark()
                    self.assertEqual(phone.register(), 200)
                    self.assertTold(daemon, phone, mark)


if __name__ == "__main__":
    main(at_once=3)
