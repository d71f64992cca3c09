#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The tree builds without a warning on Debian 13, by gcc and by clang, with its c-ares 1.34, and its
unit tests pass there (design, section 7).

Needs root, debootstrap and a Debian mirror, that of this machine's own apt. The chroot is made anew
each time, unless SIPFENCE_DEBIAN13 names a folder for it, which is kept, and used again.
"""
import os
import re
import shutil
import tempfile
import time
import unittest

from harness import REPO, SKIP
import debian

RELEASE = "trixie"
MINUTES = 8  # for all of it
MORE = ["clang", "libcmocka-dev"]
TREE = ["cmd", "examples", "lib", "tests", "meson.build", "LICENSE", "README.md"]


def build_packages():
    """Those of section [build] of tests/packages."""
    section, found = None, []
    with open(os.path.join(REPO, "tests/packages")) as file:
        for line in file:
            line = line.strip()
            if line.startswith("["):
                section = line
            elif section == "[build]" and line and not line.startswith("#"):
                found.append(line)
    return found


class Debian13(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        problem = debian.missing()
        if problem:
            raise unittest.SkipTest(problem)
        cls.deadline = time.monotonic() + MINUTES * 60
        cls.root = os.environ.get("SIPFENCE_DEBIAN13")
        if not cls.root:
            cls.root = tempfile.mkdtemp(prefix="sipfence-debian13-")
            cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
            os.chmod(cls.root, 0o755)
        cls.root = os.path.abspath(cls.root)
        cls.fill()
        cls.work = tempfile.mkdtemp(prefix="sipfence-", dir=os.path.join(cls.root, "tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        os.mkdir(os.path.join(cls.work, "tree"))
        for name in TREE:
            source, target = os.path.join(REPO, name), os.path.join(cls.work, "tree", name)
            if os.path.isdir(source):
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    @classmethod
    def run_bounded(cls, argv, **more):
        return debian.run_bounded(argv, cls.deadline, **more)

    @classmethod
    def inside(cls, *argv, **more):
        return cls.run_bounded(["chroot", cls.root, *argv], **more)

    @classmethod
    def inside_with_proc(cls, *argv):
        """With a /proc, for tests that look at themselves."""
        return cls.run_bounded(["unshare", "--mount-proc=%s/proc" % cls.root,
                                "chroot", cls.root, *argv])

    @classmethod
    def fill(cls):
        """Makes the chroot, or what it lacks; skips where that can't be."""
        packages = build_packages() + MORE
        if not os.path.exists(os.path.join(cls.root, "etc/debian_version")):
            problem = debian.bootstrap(RELEASE, cls.root, packages, cls.deadline)
            if not problem:
                return
            raise unittest.SkipTest(problem)
        done = cls.inside("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n")
        here = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
        missing = [package for package in packages if package not in here]
        if missing:
            for argv in (["apt-get", "-q", "update"],
                         ["apt-get", "-q", "install", "-y", "--no-install-recommends", *missing]):
                done = cls.inside(*argv)
                if done.returncode != 0:
                    raise unittest.SkipTest("apt-get: " + " / ".join(done.stdout.strip().splitlines()[-3:]))

    def place(self, name):
        return "/tmp/%s/%s" % (os.path.basename(self.work), name)

    def test_it_is_debian_13_with_c_ares_1_34(self):
        with open(os.path.join(self.root, "etc/debian_version")) as file:
            self.assertRegex(file.read(), r"^13\.")
        version = self.inside("pkg-config", "--modversion", "libcares").stdout.strip()
        self.assertGreaterEqual([int(part) for part in version.split(".")], [1, 34], version)

    def build_and_test(self, compiler, *options):
        folder = self.place(compiler)
        for argv in (["meson", "setup", "-Dwerror=true", *options, folder, self.place("tree")],
                     ["ninja", "-j", "2", "-C", folder]):
            done = self.inside(*argv, CC=compiler)
            self.assertEqual(done.returncode, 0, done.stdout[-8000:])
            self.assertNotRegex(done.stdout, r"(?m)warning:")
        self.assertRegex(self.inside(folder + "/cmd/sipfence/sipfence", "--version").stdout, r"^sipfence \d")
        tests = sorted(name for name in os.listdir(os.path.join(self.work, compiler, "tests"))
                       if re.fullmatch(r"test_\w+", name))
        self.assertTrue(tests, "no unit tests were built")
        for name in tests:
            with self.subTest(name):
                done = self.inside_with_proc("%s/tests/%s" % (folder, name))
                if done.returncode == SKIP:
                    self.skipTest(done.stdout.strip())
                self.assertEqual(done.returncode, 0, done.stdout[-8000:])
                self.assertIn("[       OK ]", done.stdout)
        self.live(folder)

    def live(self, folder):
        """A short life of the daemon: the C library of there makes no system call that it may not."""
        os.chmod(self.work, 0o755)
        for name in ("state", "run"):
            os.makedirs(os.path.join(self.work, name), exist_ok=True)
        with open(os.path.join(self.work, "live.yaml"), "w") as file:
            file.write("extensions: {21: home21.example, 22: 203.0.113.22}\nuser: nobody\n"
                       "resolver: {servers: [192.0.2.1], timeout: 1s}\n")
        done = self.run_bounded(
            ["unshare", "-n", "--mount-proc=%s/proc" % self.root, "chroot", self.root, "timeout",
             "--preserve-status", "3", folder + "/cmd/sipfence/sipfence", "-c",
             self.place("live.yaml"), "--state-dir", self.place("state"), "--run-dir",
             self.place("run"), "run"])
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, "event=privilege user=nobody landlock=.* seccomp=on")
        self.assertIn("event=stop", done.stdout)
        self.assertIn("state", os.listdir(os.path.join(self.work, "state")))

    def test_gcc(self):
        self.build_and_test("gcc")

    def test_clang(self):
        self.build_and_test("clang", "-Doptimization=0")  # it is its warnings that count


if __name__ == "__main__":
    debian.main()
