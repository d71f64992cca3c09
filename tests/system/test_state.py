#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What sync remembers between runs, and what it does when that is damaged (design, sections 5, 8)."""
import ctypes
import os
import random
import re
import shutil
import subprocess
import time

from harness import Case, end, main, wait_until
from scripted_dns import answer, nodata, rcode, silence, truncated

OLD, NEW = "203.0.113.10", "203.0.113.77"


XXH3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
XXH3.argtypes, XXH3.restype = (ctypes.c_char_p, ctypes.c_size_t), ctypes.c_uint64


def sealed(data, lines=0):
    """The state with a last line that fits what stands above (XXH3, 64 bits)."""
    body, end_line = re.fullmatch(rb"(.*\n)(end [^\n]*\n)", data, re.DOTALL).groups()
    value = XXH3(body, len(body))
    return body + b"end %d %016x\n" % (int(end_line.split()[1]) + lines, value)


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
        files = {name: data for name, data in self.fence.saved().items() if data and name != "history"}
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
        self.assertRegex(result.err, "(?i)belongs|not permitted|permission")
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
        """It is no damaged file: nobody knows what it hides. Nothing is touched."""
        self.sync(0)
        path = self.state_file()
        os.unlink(path)
        os.mkdir(path)
        before = self.net.pbx.table()
        self.server.set("home21.example", "A", answer(NEW))
        result = self.sync(1)
        self.assertIn(path, result.err)
        self.assertIn("folder", result.err)
        self.assertEqual(self.net.pbx.table(), before)
        self.assertEqual(sorted(os.listdir(self.fence.state)), ["history", os.path.basename(path)])
        self.assertTrue(os.path.isdir(path))
        for option in ("--dry-run", "--diff"):
            with self.subTest(option):
                result = self.assertCode(self.fence.run("sync", option), 0)
                self.assertIn(path, result.err)

    def test_another_version(self):
        """From a later sipfence: as good as damaged, and kept."""
        self.assertSetAside(*self.damage(
            lambda data: sealed(data.replace(b"sipfence-state 2", b"sipfence-state 3"))))

    def test_the_seal_of_these_tests(self):
        """What sealed() makes is taken: else the tests that edit the state would prove nothing."""
        path, data = self.damage(sealed)
        self.dead()
        result = self.sync(3)
        self.assertNotIn("damaged", result.err)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])
        with open(path, "rb") as file:
            self.assertEqual(file.read().splitlines()[-1].split()[:1], [b"end"])

    def test_damaged_and_dns_dead(self):
        path, _ = self.damage(lambda data: data[:len(data) // 2])
        self.dead()
        result = self.sync(3)
        self.assertIn(os.path.basename(path), result.err)
        self.assertIn("home21.example", result.err)


class Clocks(Base):
    """The state looks as if it came from another boot, or from another time of this one."""

    def clock(self):
        """[steady, wall, boottime, boot id] of the saved state."""
        with open(self.state_file()) as file:
            found = re.search(r"(?m)^clock (\d+) (\d+) (\d+) (\S+)$", file.read())
        self.assertTrue(found, "no clock in the state")
        return [*map(int, found.groups()[:3]), found.group(4)]

    def set_clock(self, wall=0, boottime=0, boot=None):
        """Moves what the last run noted of its clocks, by seconds."""
        now = self.clock()
        line = "clock %d %d %d %s\n" % (now[0], now[1] + wall, max(now[2] + boottime, 0), boot or now[3])
        with open(self.state_file(), "r+b") as file:
            data = sealed(re.sub(rb"(?m)^clock .*\n", line.encode(), file.read()))
            file.seek(0)
            file.truncate()
            file.write(data)

    def off_for(self, seconds):
        """As if all of it had been written that long ago, and the machine had been off since."""
        def earlier(found):
            return found.group(1) + b" ".join(
                b"%d" % (int(time) - seconds if int(time) else 0) for time in found.group(2).split())

        with open(self.state_file(), "r+b") as file:
            data = re.sub(rb"(?m)^(lookup [46] |targets )(\d+ \d+ \d+)", earlier, file.read())
            data = re.sub(rb"(?m)^(clock )(\d+ \d+)", earlier, data)
            file.seek(0)
            file.truncate()
            file.write(sealed(data))
        self.set_clock(boot=self.OTHER_BOOT)

    OTHER_BOOT = "01234567-89ab-4cde-8f01-23456789abcd"

    def begin(self, hold):
        self.configure("hold: %s\n" % hold)
        self.sync(0)
        self.dead()

    def test_what_is_noted(self):
        self.begin("1h")
        _, wall, boottime, boot = self.clock()
        self.assertLess(abs(wall - time.time()), 30)
        self.assertLess(abs(boottime - time.clock_gettime(time.CLOCK_BOOTTIME)), 30)
        with open("/proc/sys/kernel/random/boot_id") as file:
            self.assertEqual(boot, file.read().strip())

    def test_booted_in_1970(self):
        """No battery: the wall clock was far ahead when the state was saved. (All that is known to
        have passed is this machine's time since its boot.)"""
        self.begin("30d")
        self.set_clock(wall=20 * 365 * 86400, boot=self.OTHER_BOOT)
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.assertIn("held", self.sync(3).err)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])
        # And once that clock is set, the ages go on from there.
        self.sync(3)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def test_a_clock_that_is_set_after_boot(self):
        """Within one boot, the wall clock may jump by years: it ages nothing."""
        for wall in (-20 * 365 * 86400, 20 * 365 * 86400):
            with self.subTest(wall=wall):
                self.good()
                self.begin("1h")
                self.set_clock(wall=wall)
                self.assertIn("held", self.sync(3).err)
                self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])
                self.sync(3)
                self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def test_off_for_longer_than_hold(self):
        self.begin("24h")
        self.off_for(25 * 3600)
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.sync(3)
        self.assertEqual(self.addresses(), [])

    def day_and_uptime(self):
        """A `hold` that this machine's own time since boot, which counts in another boot, is no part of."""
        with open("/proc/uptime") as file:
            uptime = int(float(file.read().split()[0])) + 60
        self.begin("%ds" % (24 * 3600 + uptime))
        return uptime

    def test_off_for_less_than_hold(self):
        uptime = self.day_and_uptime()
        self.off_for(23 * 3600)
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.assertIn("held", self.sync(3).err)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])
        # The time off counts: two hours more, and it is over.
        self.off_for(2 * 3600 + uptime)
        self.sync(3)
        self.assertEqual(self.addresses(), [])

    def test_time_of_this_boot_counts(self):
        """A real one: a time namespace whose boot lies 25 hours further back."""
        later = ["unshare", "-T", "--fork", "--boottime", str(25 * 3600)]
        try:
            self.net.pbx.run([*later, "true"])
        except RuntimeError as error:
            self.skipTest("no time namespaces here: %s" % error)
        self.begin("24h")
        self.sync(3)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])
        self.sync(3, prefix=later)
        self.assertEqual(self.addresses(), [])

    def test_gone_runs_by_the_same_clock(self):
        self.configure("gone: 1h\n")
        self.sync(0)
        for name in ("home21.example", "home22.example"):
            self.server.both(name, rcode("NXDOMAIN"))
        self.sync(3)
        self.set_clock(wall=-7200)
        self.sync(3)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])
        self.off_for(7200)
        self.sync(3)
        self.assertEqual(self.addresses(), [])

    def test_a_clock_that_is_right_again_in_the_next_boot(self):
        """1970, saved; then another boot, with the right time: 50 years have not passed."""
        self.day_and_uptime()
        self.set_clock(wall=-int(time.time()) + 100, boot=self.OTHER_BOOT)
        self.sync(3)
        self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])

    def test_a_state_without_a_clock(self):
        """As an earlier version has written it."""
        self.begin("1h")
        with open(self.state_file(), "r+b") as file:
            data = sealed(re.sub(rb"(?m)^clock .*\n", b"", file.read()), lines=-1)
            file.seek(0)
            file.truncate()
            file.write(data)
        result = self.fence.run("sync", "--yes")
        self.assertEqual(result.code, 3, result)
        if "damaged" not in result.err:
            self.assertEqual(self.addresses(), [OLD, "203.0.113.22"])


class Trunks(Base):
    def test_a_pool_that_returns_others_each_time(self):
        """64 new addresses in each answer, all of them to linger: the state stays readable."""
        self.fence.config("peers: {pool: {hosts: [pool.example]}}\nlinger: {peers: 1d}\n"
                          + self.server.resolver("2s"))
        for run in range(30):
            self.server.set("pool.example", "A", truncated(answer(
                *["45.0.%d.%d" % (run, number) for number in range(1, 65)])))
            result = self.sync(0)
            self.assertNotIn("damaged", result.err, "run %d" % run)
            self.assertEqual(sorted(self.fence.saved()), ["history", "state"])
            with open(self.state_file()) as file:
                retired = re.findall(r"(?m)^retired \d+ 45\.0\.(\d+)\.\d+$", file.read())
            self.assertEqual(len(retired), min(run * 64, 256))
            # The oldest are the ones to go.
            self.assertEqual({int(number) for number in retired}, set(range(max(run - 4, 0), run)))
        inside = {int(address.split(".")[2]) for address in self.addresses()}
        self.assertEqual(inside, {25, 26, 27, 28, 29})
        self.assertEqual(len(self.addresses()), 64 + 256)


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
        self.net.pbx.run(["mount", "-t", "tmpfs", "-o", options + ",mode=0755", "tmpfs", self.fence.state])
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
        self.mounted("size=64k")
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
