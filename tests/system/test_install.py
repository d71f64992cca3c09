#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`meson install`: every file that belongs to it, nothing else, and each names where the others are."""
import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

from harness import PATH, REPO, SIPFENCE, main

BUILD = os.path.abspath(os.path.join(os.path.dirname(SIPFENCE), "../.."))
# Of examples/: what is installed as what it is, and what needs the source tree.
ELSEWHERE = re.compile(r"(debian|try\.d)/|systemd/(sipfence|sysusers|tmpfiles)|try$|.*meson\.build$")


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("meson", path=PATH):
            raise unittest.SkipTest("meson is missing")
        if not os.path.exists(os.path.join(BUILD, "build.ninja")):
            raise unittest.SkipTest("no build folder around " + SIPFENCE)
        cls.root = tempfile.mkdtemp(prefix="sipfence-install-")
        cls.addClassCleanup(shutil.rmtree, cls.root)
        cls.done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", cls.root],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        cls.files = {}
        for folder, _, names in os.walk(cls.root):
            for name in names:
                path = os.path.join(folder, name)
                cls.files[path[len(cls.root):]] = stat.S_IMODE(os.lstat(path).st_mode)
        programs = [path for path in cls.files if path.endswith("/sbin/sipfence")]
        cls.prefix = programs[0][:-len("/sbin/sipfence")] if programs else None

    def setUp(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout)
        self.assertTrue(self.prefix, sorted(self.files))

    def read(self, path):
        with open(self.root + path) as file:
            return file.read()

    def units(self):
        return sorted(path for path in self.files if "/systemd/system/" in path)

    def test_every_file(self):
        self.assertEqual([os.path.basename(path) for path in self.units()],
                         ["sipfence-sync.service", "sipfence-sync.timer", "sipfence.service"])
        share = self.prefix + "/share/"
        expected = {
            self.prefix + "/sbin/sipfence": 0o755,
            share + "bash-completion/completions/sipfence": 0o644,
            share + "doc/sipfence/README.md": 0o644,
            share + "fish/vendor_completions.d/sipfence.fish": 0o644,
            share + "zsh/site-functions/_sipfence": 0o644,
            self.prefix + "/lib/sysusers.d/sipfence.conf": 0o644,
            self.prefix + "/lib/tmpfiles.d/sipfence.conf": 0o644,
            ("/etc" if self.prefix == "/usr" else self.prefix + "/etc") + "/logrotate.d/sipfence": 0o644,
        }
        expected.update((path, 0o644) for path in self.units())
        if shutil.which("scdoc", path=PATH):
            expected.update({share + "man/man8/sipfence.8": 0o644, share + "man/man5/sipfence.yaml.5": 0o644})
        examples = os.path.join(REPO, "examples")
        for folder, _, names in os.walk(examples):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), examples)
                if not ELSEWHERE.match(path):
                    mode = os.stat(os.path.join(examples, path)).st_mode & 0o111
                    expected[share + "doc/sipfence/examples/" + path] = 0o755 if mode else 0o644
        self.assertEqual(set(self.files) ^ set(expected), set())
        # Readable for all, writable for root.
        self.assertEqual({path: mode for path, mode in self.files.items()
                          if mode & 0o755 != expected[path]}, {})

    def test_each_names_the_program(self):
        for path in self.units() + [self.prefix + "/share/" + name for name in (
                "bash-completion/completions/sipfence", "zsh/site-functions/_sipfence",
                "fish/vendor_completions.d/sipfence.fish")]:
            if path.endswith(".timer"):
                continue
            with self.subTest(path):
                named = set(re.findall(r"[\w/]*/sbin/sipfence", self.read(path)))
                self.assertEqual(named, {self.prefix + "/sbin/sipfence"})

    def test_examples_that_the_manuals_name(self):
        """Of those that the manuals name."""
        examples = self.prefix + "/share/doc/sipfence/examples"
        for page in ("sipfence.8.scd", "sipfence.yaml.5.scd"):
            with open(os.path.join(REPO, "cmd/sipfence", page)) as file:
                for name in re.findall(r"_examples/([^_]+)_", file.read()):
                    with self.subTest(page + " " + name):
                        self.assertTrue(os.path.exists("%s%s/%s" % (self.root, examples, name)))


if __name__ == "__main__":
    main()
