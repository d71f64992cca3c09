#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon whose config is broken at its start: the copy of the last good one guards the ports."""
import os

from daemon_case import DaemonCase, HOME, HOME2, ROGUE
from harness import main, wait_until

GOOD = "extensions: {21: %s}\ninclude: [more.d/*.yaml]\n" % HOME
BROKEN = "extensions: {21: [}\n"


class Kept(DaemonCase):
    def setUp(self):
        super().setUp()
        self.fence.config(GOOD)
        self.fence.config("peers: {trunk: %s}\n" % HOME2, "more.d/one.yaml")

    def once(self):
        """A daemon that has been ready, and was stopped; its table is gone, as after a reboot."""
        daemon = self.daemon()
        self.assertEqual(daemon.stop(), 0)
        self.net.pbx.nft("flush ruleset")
        return daemon

    def assertGuarded(self, *addresses):
        self.assertEqual(sorted(self.net.pbx.elements("sip_hosts4")), sorted(addresses))

    def test_broken_at_boot(self):
        self.once()
        self.fence.config(BROKEN)
        daemon = self.daemon()
        self.assertGuarded(HOME, HOME2)
        event = daemon.wait_event("config")
        self.assertIn("sipfence.yaml:1:19", event["error"])
        self.assertIn("reload", event["next"])
        # A reload is still refused, and then taken when the config is good again.
        answer = daemon.request({"request": "reload"})
        self.assertEqual((answer["ok"], answer["exit"]), (False, 2))
        self.assertGuarded(HOME, HOME2)
        self.fence.config("extensions: {21: %s}\n" % HOME2)
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertGuarded(HOME2)
        self.assertEqual(daemon.stop(), 0)
        # From now on that is the copy.
        self.fence.config(BROKEN)
        self.daemon()
        self.assertGuarded(HOME2)

    def test_missing_at_boot(self):
        """Of the include, or all of it."""
        self.once()
        os.unlink(self.fence.path)
        self.daemon()
        self.assertGuarded(HOME, HOME2)

    def test_what_that_means_is_said(self):
        """Without a daemon, by the commands that need a config."""
        self.once()
        for text in (BROKEN, None):
            if text:
                self.fence.config(text)
            else:
                os.unlink(self.fence.path)
            for command in (["status"], ["why", HOME], ["doctor"], ["sync"]):
                with self.subTest(text=text, command=command):
                    err = self.assertCode(self.fence.run(*command), 2).err
                    self.assertIn("no name is followed until the config is right", err)
                    self.assertEqual("%s/config is the daemon's copy" % self.fence.state in err, not text)
        # Where it could be from: the copy is the text itself.
        with open(os.path.join(self.fence.state, "config")) as file:
            self.assertIn(GOOD, file.read())
        self.assertNotIn("no name is followed", self.fence.run("check").err)

    def test_beside_a_daemon(self):
        self.daemon()
        os.unlink(self.fence.path)
        err = self.assertCode(self.fence.run("sync"), 2).err
        self.assertIn("the daemon that runs goes on with the config that it has", err)

    def test_who_was_kept_out_is_told(self):
        self.daemon()
        self.assertShut(ROGUE)
        self.fence.config(BROKEN)
        why = self.assertCode(self.fence.run("why", ROGUE, "--json"), 0).json()
        self.assertEqual([source["address"] for source in why["kept_out"]], [ROGUE])

    def test_refused_reload_is_not_kept(self):
        daemon = self.daemon()
        self.fence.config(BROKEN)
        self.assertFalse(daemon.request({"request": "reload"})["ok"])
        self.assertEqual(daemon.stop(), 0)
        self.net.pbx.nft("flush ruleset")
        self.daemon()
        self.assertGuarded(HOME, HOME2)

    def test_no_copy(self):
        self.fence.config(BROKEN)
        result = self.fence.run("run", timeout=20)
        self.assertEqual(result.code, 2, result)
        self.assertIn("sipfence.yaml:1:19", result.err)
        self.assertFalse(self.net.pbx.has_table())

    def test_damaged_copy(self):
        self.once()
        copy = os.path.join(self.fence.state, "config")
        with open(copy, "r+b") as file:
            file.truncate(os.path.getsize(copy) - 9)
        self.fence.config(BROKEN)
        self.assertEqual(self.fence.run("run", timeout=20).code, 2)

    def test_copy_of_another_file(self):
        self.once()
        other = self.fence.config(BROKEN, "other.yaml")
        argv = [argument if argument != self.fence.path else other
                for argument in self.fence.argv("run")]
        self.assertEqual(self.fence.run(argv=argv, timeout=20).code, 2)

    def test_kept_once(self):
        """The same again is not written again."""
        daemon = self.daemon()
        copy = os.path.join(self.fence.state, "config")
        self.assertTrue(wait_until(lambda: os.path.exists(copy)))
        before = os.stat(copy)
        self.assertEqual(before.st_mode & 0o777, 0o600)
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertEqual(os.stat(copy).st_ino, before.st_ino)


if __name__ == "__main__":
    main()
