#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What sync remembers between runs, and what it does when that is damaged (design, sections 5, 8)."""
import os
import random
import shutil
import subprocess

from harness import Case, end, main, wait_until
from scripted_dns import answer, nodata, rcode, silence

OLD, NEW = "203.0.113.10", "203.0.113.77"


class Base(Case):
    shared_net = True

    def setUp(self):
        super().setUp()
        self.server = self.dns()
        self.good()
        self.configure()

    def configure(self, more=""):
        self.fence.config("extensions: {21: home21.example, 22: home22.example}\n"
                          + self.server.resolver("500ms") + more)

    def good(self):
        self.server.clear()
        self.server.set("home21.example", "A", answer(OLD))
        self.server.set("home22.example", "A", answer("203.0.113.22"))

    def dead(self):
        for name in ("home21.example", "home22.example"):
            self.server.both(name, rcode("SERVFAIL"))

    def sync(self, code, **more):
        return self.assertCode(self.fence.run("sync", "--yes", **more), code)

    def addresses(self):
        return sorted(self.net.pbx.elements("sip_hosts4"))

    def state_file(self):
        """The file that holds the addresses: the one with content, lock files are empty."""
        files = {name: data for name, data in self.fence.saved().items() if data}
        self.assertEqual(len(files), 1, files.keys())
        return os.path.join(self.fence.state, next(iter(files)))


class Survives(Base):
    def test_reboot_without_dns(self):
        self.sync(0)
        before = self.net.pbx.table()
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.dead()
        result = self.sync(3)
        for word in ("home21.example", "home22.example", "held"):
            self.assertIn(word, result.err)
        self.assertEqual(self.net.pbx.table(), before)

    def test_reboot_with_silent_dns(self):
        self.sync(0)
        self.net.pbx.run(["nft", "flush", "ruleset"])
        for name in ("home21.example", "home22.example"):
            self.server.both(name, silence())
        self.sync(3)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def test_ipv6_and_its_prefix_survive(self):
        self.fence.config("extensions: {21: {hosts: [home21.example], ipv6-prefix: 64}}\n"
                          + self.server.resolver("500ms"))
        self.server.set("home21.example", "A", nodata())
        self.server.set("home21.example", "AAAA", answer("2001:db8:21::10"))
        self.sync(0)
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.dead()
        self.sync(3)
        self.assertEqual(list(self.net.pbx.elements("sip_nets6")), ["2001:db8:21::/64"])

    def test_another_guard_does_not_inherit(self):
        """What was learned without `within` is not let in by a config that has one."""
        self.sync(0)
        self.dead()
        self.fence.config("extensions: {21: {hosts: [home21.example], within: [198.51.100.0/24]}}\n"
                          + self.server.resolver("500ms"))
        self.sync(3)
        self.assertEqual(self.addresses(), [])

    def test_state_is_saved_before_the_kernel_is_touched(self):
        """Another program owns the table: the kernel can be read, but refuses the batch."""
        owner = self.net.pbx.popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(end, owner)
        owner.stdin.write(b"add table inet sipfence { flags owner; }\n")
        owner.stdin.flush()
        self.assertTrue(wait_until(self.net.pbx.has_table))
        before = self.net.pbx.ruleset()
        result = self.sync(1)
        self.assertIn("sipfence", result.err)
        self.assertRegex(result.err, "(?i)own|not permitted|permission")
        self.assertEqual(self.net.pbx.ruleset(), before)
        end(owner)
        self.assertTrue(wait_until(lambda: not self.net.pbx.has_table()))
        self.dead()
        self.sync(3)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def test_moved_name_is_saved(self):
        self.sync(0)
        self.server.set("home21.example", "A", answer(NEW))
        self.sync(0)
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.dead()
        self.sync(3)
        self.assertEqual(self.addresses(), ["203.0.113.22", NEW])

    def test_no_leftovers(self):
        for _ in range(3):
            self.sync(0)
        self.assertTrue(self.state_file())
        files = os.listdir(self.fence.state)
        self.assertFalse([name for name in files if "tmp" in name or name.endswith("~")], files)
        self.assertLessEqual(len(files), 2, files)

    def test_saved_state_is_private(self):
        self.sync(0)
        self.assertEqual(os.stat(self.state_file()).st_mode & 0o022, 0)


class Damaged(Base):
    def damage(self, change):
        """A good run, then the state file changed; returns (its path, what stands in it now)."""
        shutil.rmtree(self.fence.state)
        os.mkdir(self.fence.state)
        self.good()
        self.sync(0)
        path = self.state_file()
        with open(path, "rb") as file:
            data = change(file.read())
        with open(path, "wb") as file:
            file.write(data)
        return path, data

    def assertSetAside(self, path, data):
        result = self.sync(0)
        self.assertIn(os.path.basename(path), result.err, result)
        self.assertIn(data, [content for name, content in self.fence.saved().items()
                             if name != os.path.basename(path)], "the damaged file is gone")
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])
        # What this run saved is whole again.
        self.dead()
        again = self.sync(3)
        self.assertIn("held", again.err)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def test_contents(self):
        for name, change in (("half", lambda data: data[:len(data) // 2]),
                             ("last byte missing", lambda data: data[:-1]),
                             ("empty", lambda data: b""),
                             ("garbage", lambda data: os.urandom(4096)),
                             ("zeroes of the same length", lambda data: b"\0" * len(data)),
                             ("twice", lambda data: data + data),
                             ("a line in front", lambda data: b"x\n" + data)):
            with self.subTest(name):
                self.assertSetAside(*self.damage(change))

    def test_single_bits(self):
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        for _ in range(12):
            position, bit = dice.random(), dice.randrange(8)

            def flip(data):
                place = int(position * len(data))
                return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1:]
            with self.subTest(seed=seed, position=round(position, 3), bit=bit):
                self.assertSetAside(*self.damage(flip))

    def test_a_flipped_address_is_not_let_in(self):
        path, _ = self.damage(lambda data: data.replace(OLD.encode(), b"203.0.113.66"))
        self.dead()
        result = self.sync(3)
        self.assertIn(os.path.basename(path), result.err)
        self.assertEqual(self.addresses(), [])

    def test_a_folder_in_its_place(self):
        self.sync(0)
        path = self.state_file()
        os.unlink(path)
        os.mkdir(path)
        result = self.fence.run("sync", "--yes")
        self.assertIn(path, result.err)
        self.assertIn(result.code, (0, 1), result)
        if result.code == 0:
            self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def test_damaged_and_dns_dead(self):
        path, _ = self.damage(lambda data: data[:len(data) // 2])
        self.dead()
        result = self.sync(3)
        self.assertIn(os.path.basename(path), result.err)
        self.assertIn("home21.example", result.err)


class Folders(Base):
    def test_missing_state_folder(self):
        os.rmdir(self.fence.state)
        result = self.fence.run("sync", "--yes")
        if result.code == 0:
            self.assertTrue(self.state_file())
            return
        self.assertCode(result, 1)
        self.assertIn(self.fence.state, result.err)
        self.assertFalse(self.net.pbx.has_table())

    def test_missing_run_folder(self):
        os.rmdir(self.fence.run_dir)
        result = self.fence.run("sync", "--yes")
        if result.code != 0:
            self.assertCode(result, 1)
            self.assertIn(self.fence.run_dir, result.err)
            return
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def mounted(self, options):
        self.net.pbx.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.fence.state])
        self.addCleanup(self.net.pbx.run, ["umount", self.fence.state])

    def assertRefused(self, meaning):
        before = self.net.pbx.ruleset()
        self.server.set("home21.example", "A", answer(NEW))
        result = self.sync(1)
        self.assertIn(self.fence.state, result.err)
        self.assertIn(meaning, result.err)
        self.assertEqual(self.net.pbx.ruleset(), before, "the kernel was changed, the state was not")

    def test_read_only_state_folder(self):
        self.mounted("ro")
        self.assertRefused("Read-only file system")

    def test_full_disk(self):
        self.mounted("size=8k")
        self.sync(0)
        with open(os.path.join(self.fence.state, "ballast"), "wb", buffering=0) as file:
            try:
                for _ in range(100):
                    file.write(b"x" * 4096)
            except OSError:
                pass
        saved = self.fence.saved()
        self.assertRefused("No space left on device")
        self.assertEqual(self.fence.saved(), saved, "the old state is lost")


if __name__ == "__main__":
    main()
