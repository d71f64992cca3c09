#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The daemon is killed at random moments, 200 times: while it starts, adopts or swaps its table, takes
answers, saves, reloads. A phone and a rogue knock throughout: nothing of the phone's is lost, nothing
of the rogue's gets in.
"""
import itertools
import os
import random
import signal
import time

from daemon_case import HOME, HOME2, LAN, NAME, ROGUE, DaemonCase
from harness import keeps_orphans, main, sanitized, wait_until
from scripted_dns import address_records, answer

# A sanitizer's start alone takes longer than all of a life here.
LIVES = 60 if sanitized() else 200


class Killed(DaemonCase):
    def moving(self):
        """A name with another address in each answer: each answer is a change, and is saved."""
        number = itertools.count()

        def behave(question):
            address = "203.0.%d.%d" % (next(number) // 250 % 64 + 128, next(number) % 250 + 1)
            return [question.message(address_records(question.name, [address], 1))]
        return behave

    def shape(self, dice, lock):
        """One of some configs: among them are changed shapes of the ruleset, which make it swap."""
        self.configure("nftables: {lock: %s}\nservices: {web: {tcp: [%d]}}\n" % (
            lock, 8000 + dice.randrange(2)), "21: %s, 22: moving.example, 23: local" % NAME)

    def end_of_life(self, daemon, dice, usual, lock):
        """Waits for a random moment, about half of which lie before it is ready; then the end."""
        time.sleep(dice.choice((dice.uniform(0, usual), dice.uniform(0, 3 * usual), 0)))
        # Before it has said a word the program may not be there yet, and SIGHUP would be its end.
        if dice.random() < 0.3 and daemon.events("start"):
            self.shape(dice, lock)
            daemon.send_signal(signal.SIGHUP)
            time.sleep(dice.uniform(0, usual))
        daemon.kill()
        names = [event["event"] for event in daemon.events()]
        return "ready" if "ready" in names else "table" if "table" in names else "start"

    def check(self, lives, locks):
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        self.points(HOME)
        self.server.set("moving.example", "A", self.moving())
        self.shape(dice, locks[0])
        daemon = self.daemon()
        self.assertTrue(daemon.wait_event("change", host=NAME, new=HOME))
        self.assertTrue(daemon.wait_event("change", host="moving.example"))
        self.assertPasses(HOME)
        daemon.stop()
        start = time.monotonic()
        daemon = self.daemon()
        usual = time.monotonic() - start
        daemon.kill()
        moments = {"start": 0, "table": 0, "ready": 0}
        with self.knocking() as probes:
            for life in range(lives):
                lock = locks[life % len(locks)]
                self.shape(dice, lock)
                daemon = self.daemon(ready=False)
                moments[self.end_of_life(daemon, dice, usual, lock)] += 1
                self.assertNotRegex(daemon.log(), "damaged|set aside", "seed %d" % seed)
                self.assertEqual(daemon.events("stop"), [], "it ended by itself: %s" % daemon)
            daemon = self.daemon()
            self.assertTrue(daemon.request({"request": "status"})["ok"])
        probes.check(self, 200)
        self.assertGreater(moments["start"], lives // 20, (seed, moments))
        self.assertGreater(moments["ready"], lives // 20, (seed, moments))
        self.assertPasses(HOME, LAN)
        self.assertShut(ROGUE)
        self.check_nothing_is_left(daemon)

    def check_nothing_is_left(self, daemon):
        """Of 200 lives there is one table of one shape, and no heap of half-written files."""
        self.assertNotIn("relay", self.pbx.ruleset())
        self.assertEqual([item["table"]["name"] for item in self.pbx.nft_json("list", "tables")
                          if "table" in item], ["sipfence"])
        self.assertEqual(daemon.stop(), 0, daemon)
        self.assertLessEqual(set(os.listdir(self.fence.state)),
                             {"state", "state.journal", "config", "history"})
        self.daemon().stop()
        survived = self.still()
        self.pbx.run(["nft", "flush", "ruleset"])
        self.daemon()
        self.assertEqual(survived, self.still(), "the table is not what a fresh start makes")

    def still(self):
        """The table without what changes all the time."""
        table = self.pbx.table()
        for item in table:
            if "elem" in item.get("set", {}):
                item["set"]["elem"] = [element for element in item["set"]["elem"]
                                       if "moving.example" not in str(element)]
        return table

    def test_locked(self):
        if not keeps_orphans(self.pbx):
            self.skipTest("this kernel has no tables that are owned and outlive their owner")
        self.check(LIVES, ["auto"])

    def test_watched(self):
        self.check(LIVES // 4, ["off"])

    def test_both_in_turns(self):
        if not keeps_orphans(self.pbx):
            self.skipTest("this kernel has no tables that are owned and outlive their owner")
        self.check(LIVES // 4, ["auto", "off"])


class KilledWhileItSaves(DaemonCase):
    def test_state_is_the_old_or_the_new(self):
        """A state file large enough that writing it takes a while."""
        count = 300 if sanitized() else 2000
        for number in range(count):
            self.server.set("n%d.example" % number, "A", answer("5.2.%d.%d" % divmod(number, 250), ttl=600))
        self.points(HOME)
        self.configure(extensions="21: %s, %s" % (NAME, ", ".join(
            "%d: n%d.example" % (1000 + number, number) for number in range(count))), timeout="5s")
        daemon = self.daemon()
        self.assertTrue(wait_until(lambda: len(self.hosts4()) == count + 1, 60, 0.5), daemon)
        start = time.monotonic()
        self.assertEqual(daemon.stop(), 0)
        usual = time.monotonic() - start
        size = len(self.fence.saved()["state"])
        dice = random.Random(1)
        for life in range(20):
            daemon = self.daemon()
            self.points("203.0.113.%d" % (100 + life))
            daemon.wait_event("change", host=NAME, type="A", seconds=10)
            daemon.send_signal(signal.SIGTERM)
            time.sleep(dice.uniform(0, usual))
            daemon.kill()
            self.assertNotIn("damaged", daemon.log())
        daemon = self.daemon()
        self.assertNotIn("damaged", daemon.log())
        self.assertGreaterEqual(len(self.hosts4()), count)
        daemon.stop()
        self.assertAlmostEqual(len(self.fence.saved()["state"]), size, delta=200)
        self.assertLessEqual(set(os.listdir(self.fence.state)),
                             {"state", "state.journal", "config", "history"},
                             "half-written files pile up")


class KilledAfterAChange(DaemonCase):
    def test_the_new_address_is_not_forgotten(self):
        """The phone has just moved, the daemon dies, and DNS is dead when it is back."""
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        self.assertAllowed(HOME)
        daemon.stop()
        daemon = self.daemon()
        self.points(HOME2)
        self.assertAllowed(HOME2)
        with self.knocking(phone=HOME2) as probes:
            self.dns_silent()
            daemon.kill()
            daemon = self.daemon()
            time.sleep(1)
            self.assertEqual(self.hosts4(), [HOME2])
        probes.check(self)


if __name__ == "__main__":
    main(at_once=3)
