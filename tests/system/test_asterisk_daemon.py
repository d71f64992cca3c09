#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`sipfence run` with `asterisk: {acl: true}`: real DNS, a real kernel, and a stand-in for Asterisk that
can be slow, down, forgetful or a liar. The real one is in tests/asterisk."""
import contextlib
import json
import os
import shutil
import signal
import stat
import time

from asterisk_stand_in import StandIn, contact, registered
from daemon_case import HOME, HOME2, NAME, PATIENCE, ROGUE, DaemonCase
from harness import main, privileged, wait_until
from test_takeover import login

# What the daemon needs at most, but for DNS; two cores may have more to do.
SOON = 5.0


class AsteriskCase(DaemonCase):
    needs = ("nft",)

    def setUp(self):
        super().setUp()
        if os.stat("/").st_uid != 0:
            self.skipTest("/ belongs to a user that this namespace does not know")
        self.asterisk = StandIn(os.path.join(self.directory, "asterisk"))
        self.world = self.asterisk.world
        with open(os.path.join(self.asterisk.etc, "acl.conf"), "w") as file:
            file.write("#tryinclude sipfence_acl.conf\n")
        self.points(HOME)

    def keeps(self, more="", keys="acl: true", **rest):
        """A config with these keys of `asterisk`."""
        self.configure("asterisk: {acl-file: %s, command: %s, %s}\n%s" % (
            self.asterisk.file, json.dumps([self.asterisk.program, "-rx"]), keys, more), **rest)

    def running(self, **more):
        """A daemon whose ACLs are in force."""
        self.keeps(**more)
        daemon = self.daemon()
        self.assertInForce(HOME)
        self.wait_state(daemon, "in-force")
        return daemon

    def content(self):
        with contextlib.suppress(FileNotFoundError), open(self.asterisk.file) as file:
            return file.read()
        return ""

    def acl(self, extension="21"):
        """What is in force in Asterisk."""
        return [net.split("/")[0] for sense, net in
                self.world()["acls"].get("sipfence-" + extension, []) if sense == "allow"]

    def assertInForce(self, *addresses, extension="21", seconds=SOON):
        wait_until(lambda: self.acl(extension) == list(addresses), seconds * PATIENCE)
        self.assertEqual(self.acl(extension), list(addresses))

    def acls_of(self, daemon):
        return daemon.status()["asterisk"]

    def wait_state(self, daemon, state, seconds=SOON):
        wait_until(lambda: self.acls_of(daemon)["state"] == state, seconds * PATIENCE)
        found = self.acls_of(daemon)
        self.assertEqual(found["state"], state, "%s\n%s" % (found, daemon))
        return found

    def moves(self, daemon, *addresses):
        """DNS says so; returns when the daemon has seen it."""
        mark = daemon.mark()
        self.points(*addresses)
        daemon.wait_event("change", SOON * PATIENCE, since=mark, new=addresses[0])
        return mark

    def helper(self, daemon):
        with open("/proc/%d/task/%d/children" % (daemon.pid, daemon.pid)) as file:
            found = [int(word) for word in file.read().split()]
        self.assertEqual(len(found), 1, daemon)
        return found[0]


class Keeps(AsteriskCase):
    def test_start_and_change(self):
        daemon = self.running()
        self.assertInForce(HOME)
        self.assertIn("[sipfence-21]\ndeny=0.0.0.0/0\ndeny=::/0\npermit=%s/32\n" % HOME, self.content())
        found = self.wait_state(daemon, "in-force")
        self.assertEqual((found["acls"], found["right"], found["mismatches"]), (1, True, []))
        self.asterisk.asked()
        mark = self.moves(daemon, HOME2)
        seen = time.monotonic()
        said = daemon.wait_event("acl", SOON * PATIENCE, since=mark, result="in-force")
        self.assertLess(time.monotonic() - seen, 1.0 * PATIENCE)
        self.assertLess(int(said["ms"]), 1000 * PATIENCE)
        self.assertEqual(self.acl(), [HOME2])
        self.assertNotIn(HOME + "/", self.content())
        # What the helper runs is what is needed, by argument vector.
        asked = self.asterisk.asked()
        self.assertEqual([one["argv"] for one in asked],
                         [["-rx", "module reload acl"], ["-rx", "acl show sipfence-21"]])
        self.assertEqual(self.fence.run("status").code, 0)
        self.assertRegex(self.fence.run("status").out, r"(?m)^Asterisk: 1 ACL loaded since 20")

    def test_the_kernel_comes_first(self):
        self.world(runs=["nft", "list", "set", "inet", "sipfence", "sip_hosts4"])
        daemon = self.running()
        self.asterisk.asked()
        mark = self.moves(daemon, HOME2)
        daemon.wait_event("acl", SOON * PATIENCE, since=mark, result="in-force")
        for one in self.asterisk.asked():
            self.assertIn(HOME2, one["ran"])

    def test_saved_addresses_are_written_before_dns(self):
        daemon = self.running()
        daemon.stop()
        self.dns_silent()
        os.unlink(self.asterisk.file)
        self.world(acls={}, read=None)
        daemon = self.daemon()
        daemon.wait_event("acl", SOON * PATIENCE, result="in-force")
        self.assertEqual(self.acl(), [HOME])

    def test_started_again_nothing_is_reloaded(self):
        self.running().stop()
        before = os.stat(self.asterisk.file)
        self.asterisk.asked()
        daemon = self.running()
        self.assertNotIn("module reload acl", self.asterisk.commands())
        self.assertEqual(os.stat(self.asterisk.file).st_ino, before.st_ino)
        self.assertEqual(daemon.events("acl", result="written"), [])

    def test_a_burst_shares_reloads(self):
        names = {str(100 + i): "h%d.example" % i for i in range(50)}
        for i, name in enumerate(names.values()):
            self.points("203.0.113.%d" % (100 + i), name=name)
        self.keeps(extensions=", ".join("%s: %s" % pair for pair in names.items()))
        daemon = self.daemon()
        wait_until(lambda: len(self.hosts4() or []) == 50, 20 * PATIENCE)
        self.wait_state(daemon, "in-force", 20)
        self.asterisk.asked()
        for i, name in enumerate(names.values()):
            self.points("198.51.100.%d" % (100 + i), name=name)
        wait_until(lambda: sum(a.startswith("198") for a in self.hosts4()) == 50, 20 * PATIENCE)
        wait_until(lambda: self.acl("149") == ["198.51.100.149"], 20 * PATIENCE)
        self.wait_state(daemon, "in-force", 20)
        asked = self.asterisk.commands()
        self.assertLess(asked.count("module reload acl"), 25, asked)
        for i in range(50):
            self.assertEqual(self.acl(str(100 + i)), ["198.51.100.%d" % (100 + i)])

    def test_the_file_keeps_its_mode(self):
        with open(self.asterisk.file, "w") as file:
            file.write("; mine\n")
        os.chmod(self.asterisk.file, 0o664)
        self.running()
        self.assertEqual(stat.S_IMODE(os.stat(self.asterisk.file).st_mode), 0o664)

    def test_with_privileges_dropped(self):
        if not privileged():
            self.skipTest("no other user here")
        daemon = self.running(more="user: nobody\n")
        self.assertEqual(daemon.proc("Uid"), 65534)
        mark = self.moves(daemon, HOME2)
        daemon.wait_event("acl", SOON * PATIENCE, since=mark, result="in-force")
        self.assertEqual({one["uid"] for one in self.asterisk.asked()}, {0})
        self.assertEqual(os.stat(self.asterisk.file).st_uid, 0)

    def test_as_the_unit_and_its_drop_in(self):
        """The helper has no more rights than the daemon: see examples/systemd/asterisk.conf."""
        if not privileged():
            self.skipTest("no other user here")
        user, group = 65534, 54321
        folder = os.path.join(self.asterisk.etc, "sipfence")
        os.mkdir(folder)
        os.chown(folder, user, group)
        os.chmod(folder, 0o2750)
        with open(os.path.join(self.asterisk.etc, "acl.conf"), "w") as file:
            file.write("#tryinclude sipfence/sipfence_acl.conf\n")
        # What the stand-in notes for the test.
        os.chown(self.asterisk.notes, user, user)
        for path in (self.fence.state, self.fence.run_dir):
            os.chown(path, user, user)
        self.asterisk.file = os.path.join(folder, "sipfence_acl.conf")
        self.keeps()
        daemon = self.daemon(prefix=[
            "setpriv", "--reuid=%d" % user, "--regid=%d" % user, "--groups=%d" % group,
            "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin",
            "--bounding-set=-all,+net_admin", "--no-new-privs"])
        self.assertInForce(HOME)
        self.moves(daemon, HOME2)
        self.assertInForce(HOME2)
        self.wait_state(daemon, "in-force")
        status = os.stat(self.asterisk.file)
        self.assertEqual((status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)),
                         (user, group, 0o640))
        self.assertEqual({one["uid"] for one in self.asterisk.asked()}, {user})

    def test_a_stranger_s_config(self):
        if not privileged():
            self.skipTest("no other user here")
        self.keeps("user: nobody\n")
        self.assertEqual(self.asterisk.asked(), [])
        os.chown(self.fence.path, 65534, 65534)
        daemon = self.daemon()
        said = daemon.wait_event("acl", result="failed")
        self.assertIn("belongs to user number 65534", said["error"])
        daemon.wait_ready()
        found = self.acls_of(daemon)
        self.assertEqual((found["state"], found["right"], found["alive"]), ("off", False, False))
        self.assertEqual(self.fence.run("status").code, 3)
        self.assertEqual(self.asterisk.asked(), [])

    def test_a_kept_config_says_nothing_of_what_is_run(self):
        self.running().stop()
        self.asterisk.asked()
        with open(self.fence.path, "a") as file:
            file.write("wrong: [\n")
        daemon = self.daemon()
        daemon.wait_ready()
        said = daemon.wait_event("acl", result="failed")
        self.assertIn("only the config itself may say what is run", said["error"])
        self.assertEqual(self.asterisk.asked(), [])

    def test_without_the_key_there_is_no_helper(self):
        self.keeps(keys="acl: false")
        daemon = self.daemon()
        daemon.wait_ready()
        self.assertAllowed(HOME)
        with open("/proc/%d/task/%d/children" % (daemon.pid, daemon.pid)) as file:
            self.assertEqual(file.read().split(), [])
        self.assertIsNone(self.acls_of(daemon))
        self.assertEqual(self.content(), "")

    def test_sync_leaves_asterisk_alone(self):
        self.keeps()
        self.assertEqual(self.fence.run("sync", "--yes").code, 0)
        self.assertEqual(self.content(), "")
        self.assertEqual(self.asterisk.asked(), [])

    def test_write_beside_the_daemon_is_refused(self):
        daemon = self.running()
        result = self.fence.run("asterisk", "--write")
        self.assertEqual(result.code, 1, result)
        self.assertIn("the daemon (process %d) keeps the ACLs" % daemon.pid, result.err)
        # Looking is fine.
        self.assertEqual(self.fence.run("asterisk").code, 0)
        daemon.stop()
        self.assertEqual(self.fence.run("asterisk", "--write").code, 0)


class Trouble(AsteriskCase):
    def test_a_liar(self):
        daemon = self.running()
        self.world(lies=True)
        mark = self.moves(daemon, HOME2)
        said = daemon.wait_event("acl", SOON * PATIENCE, since=mark, result="mismatch")
        self.assertEqual((said["extension"], said["acl"]), ("21", "sipfence-21"))
        found = self.wait_state(daemon, "mismatch")
        self.assertEqual(found["mismatch_count"], 1)
        self.assertEqual(found["mismatches"][0]["extension"], "21")
        self.assertIsNotNone(found["since"])
        result = self.fence.run("status")
        self.assertEqual(result.code, 3, result)
        self.assertIn("Asterisk: 1 ACL is not in force since", result.out)
        self.assertIn("extension 21: ACL sipfence-21 permits other addresses than it should", result.out)
        # The list does not care.
        self.assertAllowed(HOME2)
        reloads = found["reloads"]
        wait_until(lambda: self.acls_of(daemon)["reloads"] > reloads, 10 * PATIENCE)
        self.assertGreater(self.acls_of(daemon)["reloads"], reloads)
        self.assertEqual(len(daemon.events("acl", since=mark, result="mismatch")), 1)
        self.world(lies=False)
        daemon.wait_event("acl", 20 * PATIENCE, since=mark, result="in-force")
        self.assertInForce(HOME2)
        self.assertEqual(self.fence.run("status").code, 0)

    def test_hooks_are_told_of_trouble_alone(self):
        notes = os.path.join(self.directory, "notes")
        hook = os.path.join(self.directory, "tell")
        with open(hook, "w") as file:
            file.write("#!/bin/sh\necho $SIPFENCE_EVENT $SIPFENCE_RESULT $SIPFENCE_EXTENSION >>%s\n"
                       % notes)
        os.chmod(hook, 0o755)
        daemon = self.running(more="on-change: %s\n" % hook)
        self.world(lies=True)
        self.moves(daemon, HOME2)
        self.wait_state(daemon, "mismatch")

        def told():
            with contextlib.suppress(FileNotFoundError), open(notes) as file:
                return [line.split() for line in file if line.startswith("acl")]
            return []
        wait_until(lambda: ["acl", "mismatch", "21"] in told(), SOON * PATIENCE)
        self.assertIn(["acl", "mismatch", "21"], told())
        self.assertNotIn("written", [line[1] for line in told()])

    def test_one_bad_line_of_the_admin_s(self):
        with open(os.path.join(self.asterisk.etc, "acl.conf"), "a") as file:
            file.write("[other]\nrubbish\n")
        self.keeps()
        daemon = self.daemon()
        said = daemon.wait_event("acl", SOON * PATIENCE, result="mismatch")
        self.assertIn("is not there", said["error"])

    def test_down_and_up(self):
        self.world(down=True)
        self.keeps()
        daemon = self.daemon()
        daemon.wait_event("acl", SOON * PATIENCE, result="down")
        wait_until(lambda: HOME in self.content(), SOON * PATIENCE)
        self.assertIn(HOME, self.content())
        found = self.wait_state(daemon, "down")
        self.assertIn("Asterisk is not running", found["error"])
        result = self.fence.run("status")
        self.assertEqual(result.code, 3)
        self.assertIn("Asterisk is down since", result.out)
        self.moves(daemon, HOME2)
        wait_until(lambda: HOME2 in self.content(), SOON * PATIENCE)
        self.assertIn(HOME2, self.content())
        # It comes back with what it had in a former life, and takes a while.
        self.world(down=False, boots=time.time() + 1)
        daemon.wait_event("acl", 20 * PATIENCE, result="up")
        daemon.wait_event("acl", SOON * PATIENCE, result="in-force")
        self.assertInForce(HOME2)
        self.assertEqual(len(daemon.events("acl", result="down")), 1)

    def test_a_slow_asterisk_holds_up_nothing(self):
        daemon = self.running()
        self.world(slow=5)
        self.moves(daemon, HOME2)
        time.sleep(1)
        mark = daemon.mark()
        start = time.monotonic()
        self.points(HOME)
        daemon.wait_event("change", SOON * PATIENCE, since=mark, new=HOME)
        self.assertAllowed(HOME)
        self.assertLess(time.monotonic() - start, 3.5 * PATIENCE)
        start = time.monotonic()
        self.acls_of(daemon)
        self.assertLess(time.monotonic() - start, 0.5 * PATIENCE)
        # The end does not wait for it, either.
        start = time.monotonic()
        self.assertEqual(daemon.stop(), 0)
        self.assertLess(time.monotonic() - start, 2 * PATIENCE)

    def test_the_folder_is_missing(self):
        shutil.move(self.asterisk.etc, self.asterisk.etc + ".away")
        self.keeps()
        daemon = self.daemon()
        said = daemon.wait_event("acl", SOON * PATIENCE, result="failed")
        self.assertIn(self.asterisk.etc, said["error"])
        daemon.wait_ready()
        self.assertAllowed(HOME)
        found = self.wait_state(daemon, "failed")
        self.assertEqual(found["error"], said["error"])
        result = self.fence.run("status")
        self.assertEqual(result.code, 3)
        self.assertIn("Asterisk: its ACLs are not kept since", result.out)
        shutil.move(self.asterisk.etc + ".away", self.asterisk.etc)
        daemon.wait_event("acl", 20 * PATIENCE, result="in-force")
        self.assertInForce(HOME)
        self.assertEqual(len(daemon.events("acl", result="failed")), 1)

    def test_no_such_program(self):
        os.rename(self.asterisk.program, self.asterisk.program + ".away")
        self.keeps()
        daemon = self.daemon()
        said = daemon.wait_event("acl", SOON * PATIENCE, result="failed")
        self.assertIn(self.asterisk.program, said["error"])
        os.rename(self.asterisk.program + ".away", self.asterisk.program)
        daemon.wait_event("acl", 20 * PATIENCE, result="in-force")

    def test_the_helper_is_killed(self):
        daemon = self.running()
        os.kill(self.helper(daemon), signal.SIGKILL)
        said = daemon.wait_event("acl", SOON * PATIENCE, result="failed")
        self.assertIn("kept any more", said["error"])
        self.assertIn("restart", said["next"])
        self.moves(daemon, HOME2)
        self.assertAllowed(HOME2)
        found = self.acls_of(daemon)
        self.assertEqual((found["state"], found["alive"], found["right"]), ("off", False, False))
        result = self.fence.run("status")
        self.assertEqual(result.code, 3)
        self.assertIn("Asterisk: its ACLs are not kept: ", result.out)
        # No wake-ups for what can't be done.
        before = daemon.cpu()
        time.sleep(1)
        self.assertLess(daemon.cpu() - before, 0.2 * PATIENCE)
        self.assertEqual(daemon.stop(), 0)

    def test_idle_is_idle(self):
        daemon = self.running()
        self.asterisk.asked()
        before = daemon.cpu()
        time.sleep(3)
        self.assertLess(daemon.cpu() - before, 0.3 * PATIENCE)
        self.assertEqual(self.asterisk.asked(), [])


class Evicts(AsteriskCase):
    def here(self):
        return sorted(key for key, value in self.world()["contacts"])

    def contacts(self):
        self.world(contacts=[registered("21", ROGUE + ":5060"),
                             contact("21", "sip:21@%s:5061" % ROGUE, 1),
                             contact("21", "sip:21@%s:5060" % HOME, 2)],
                   channels=["SIP/21-00000001", "SIP/22-00000002"])

    def assertEvicted(self, seconds=SOON):
        right = [contact("21", "", 2)[0]]
        wait_until(lambda: self.here() == right, seconds * PATIENCE)
        self.assertEqual(self.here(), right)

    def test_off(self):
        self.contacts()
        daemon = self.running()
        time.sleep(1)
        self.assertEqual(len(self.here()), 3)
        self.assertEqual(daemon.events("evict"), [])

    def test_on(self):
        self.contacts()
        daemon = self.running(keys="acl: true, evict: true")
        self.assertEvicted()
        for driver in ("chan_sip", "pjsip"):
            daemon.wait_event("evict", SOON * PATIENCE, result="evicted", extension="21",
                              address=ROGUE, driver=driver)
        self.assertEqual(self.acls_of(daemon)["evicted"], 2)
        self.assertEqual(len(self.world()["channels"]), 2)
        # Each contact after its ACL.
        asked = self.asterisk.commands()
        self.assertLess(asked.index("acl show sipfence-21"), asked.index("sip unregister 21"))
        # A phone that moves: its old registration is the rogue's to have.
        self.world(contacts=[registered("21", HOME + ":5060")])
        self.moves(daemon, HOME2)
        wait_until(lambda: self.here() == [], SOON * PATIENCE)
        self.assertEqual(self.here(), [])

    def test_hangup(self):
        self.contacts()
        self.running(keys="acl: true, evict: true, hangup: true")
        self.assertEvicted()
        wait_until(lambda: len(self.world()["channels"]) == 1, SOON * PATIENCE)
        self.assertEqual(self.world()["channels"], ["SIP/22-00000002"])

    def test_not_while_the_acl_is_wrong(self):
        daemon = self.running(keys="acl: true, evict: true")
        self.world(lies=True)
        self.moves(daemon, HOME2)
        self.wait_state(daemon, "mismatch")
        self.world(contacts=[registered("21", ROGUE + ":5060")])
        time.sleep(3)
        self.assertEqual(len(self.here()), 1)
        self.world(lies=False)
        wait_until(lambda: self.here() == [], 20 * PATIENCE)
        self.assertEqual(self.here(), [])

    def test_one_that_comes_back(self):
        self.world(contacts=[registered("21", ROGUE + ":5060")], returns=True)
        daemon = self.running(keys="acl: true, evict: true")
        said = daemon.wait_event("evict", SOON * PATIENCE, result="failed")
        self.assertIn("acl=", said["next"])
        self.assertEqual(self.acls_of(daemon)["not_evicted"], 1)
        result = self.fence.run("status")
        self.assertEqual(result.code, 3)
        self.assertIn("Asterisk: 1 registration does not go", result.out)

    def watching(self, evict):
        """A daemon that follows the security log, whose first round of evictions is over."""
        self.log = os.path.join(self.asterisk.folder, "security")
        open(self.log, "w").close()
        daemon = self.running(keys="acl: true, evict: %s, security-log: %s" % (evict, self.log))
        wait_until(lambda: daemon.status()["security_log"]["state"] == "followed", 15 * PATIENCE)
        time.sleep(0.5)
        return daemon

    def registers(self, daemon, address, *contacts):
        """So the log says. Nothing but the log is news: names and ACLs stay as they are."""
        self.world(contacts=list(contacts))
        mark = daemon.mark()
        with open(self.log, "a", encoding="ascii") as file:
            file.write(login("21", address))
        return mark

    def test_a_proven_takeover_begins_it(self):
        daemon = self.watching("true")
        mark = self.registers(daemon, ROGUE, contact("21", "sip:21@%s:5061" % ROGUE, 1),
                              contact("21", "sip:21@%s:5060" % HOME, 2))
        daemon.wait_event("takeover", SOON * PATIENCE, mark, certainty="proven", address=ROGUE)
        self.assertEvicted()
        daemon.wait_event("evict", SOON * PATIENCE, mark, result="evicted", address=ROGUE)
        # Who comes again at once is not asked after at once.
        self.asterisk.commands()
        for _ in range(3):
            self.registers(daemon, ROGUE, contact("21", "sip:21@%s:5061" % ROGUE, 1))
            time.sleep(0.3)
        self.assertEqual(self.asterisk.commands(), [])
        wait_until(lambda: self.here() == [], 10 * PATIENCE)
        self.assertEqual(self.here(), [])

    def test_a_takeover_evicts_under_the_same_guards(self):
        daemon = self.watching("true")
        # Behind a NAT it is the phone's own address.
        self.registers(daemon, ROGUE, contact("21", "sip:21@192.168.77.9:5060", 1))
        time.sleep(2)
        self.assertEqual(len(self.here()), 1)
        # An ACL that is not known to be in force.
        self.world(lies=True)
        self.moves(daemon, HOME2)
        self.wait_state(daemon, "mismatch")
        time.sleep(5)
        self.registers(daemon, ROGUE, registered("21", ROGUE + ":5060"))
        time.sleep(2)
        self.assertEqual(len(self.here()), 1)
        self.assertEqual(daemon.events("evict"), [])

    def test_a_takeover_without_evict(self):
        daemon = self.watching("false")
        mark = self.registers(daemon, ROGUE, registered("21", ROGUE + ":5060"))
        daemon.wait_event("takeover", SOON * PATIENCE, mark, address=ROGUE)
        time.sleep(1)
        self.assertEqual(len(self.here()), 1)
        self.assertEqual(daemon.events("evict"), [])

    def test_switched_by_a_reload(self):
        self.contacts()
        daemon = self.running()
        self.keeps(keys="acl: true, evict: true")
        daemon.request({"request": "reload"})
        self.assertEvicted()
        self.assertFalse(self.acls_of(daemon)["restart_needed"])
        self.keeps()
        daemon.request({"request": "reload"})
        self.contacts()
        self.moves(daemon, HOME2)
        self.wait_state(daemon, "in-force")
        self.assertEqual(len(self.here()), 3)


class Reloads(AsteriskCase):
    def test_extensions_come_and_go(self):
        daemon = self.running()
        self.keeps(extensions="21: %s, 22: 203.0.113.22, 23: local" % NAME)
        daemon.request({"request": "reload"})
        self.assertInForce("203.0.113.22", extension="22")
        self.assertInForce("192.168.1.0", extension="23")
        # No address of the kernel's changes by this.
        self.keeps(extensions="21: %s, 22: {hosts: [203.0.113.22], local: true}, 23: local" % NAME)
        daemon.request({"request": "reload"})
        self.assertInForce("192.168.1.0", "203.0.113.22", extension="22")
        self.keeps()
        daemon.request({"request": "reload"})
        wait_until(lambda: list(self.world()["acls"]) == ["sipfence-21"], SOON * PATIENCE)
        self.assertEqual(list(self.world()["acls"]), ["sipfence-21"])
        self.wait_state(daemon, "in-force")

    def test_what_needs_a_restart(self):
        daemon = self.running()
        for keys in ("acl: true, acl-file: /srv/other.conf", "acl: true, security-log: /srv/security"):
            mark = daemon.mark()
            self.configure("asterisk: {command: %s, %s%s}\n" % (
                json.dumps([self.asterisk.program, "-rx"]), keys,
                "" if "acl-file" in keys else ", acl-file: " + self.asterisk.file))
            daemon.request({"request": "reload"})
            daemon.wait_event("acl", since=mark, result="restart-needed")
            self.assertTrue(self.acls_of(daemon)["restart_needed"])
            self.assertEqual(self.fence.run("status").code, 3)
        # The former one goes on.
        self.moves(daemon, HOME2)
        self.assertInForce(HOME2)
        self.keeps()
        daemon.request({"request": "reload"})
        self.assertFalse(self.acls_of(daemon)["restart_needed"])
        self.assertEqual(self.fence.run("status").code, 0)

    def test_off_and_on(self):
        daemon = self.running()
        self.keeps(keys="acl: false")
        daemon.request({"request": "reload"})
        self.assertIsNone(self.acls_of(daemon))
        self.moves(daemon, HOME2)
        self.assertAllowed(HOME2)
        time.sleep(0.5)
        self.assertEqual(self.acl(), [HOME])
        self.keeps()
        daemon.request({"request": "reload"})
        self.assertInForce(HOME2)

    def test_new_by_a_reload(self):
        self.keeps(keys="acl: false")
        daemon = self.daemon()
        daemon.wait_ready()
        self.keeps()
        daemon.request({"request": "reload"})
        said = daemon.wait_event("acl", result="restart-needed")
        self.assertIn("restart the daemon", said["next"])
        self.assertEqual(self.fence.run("status").code, 3)


if __name__ == "__main__":
    main(at_once=2)
