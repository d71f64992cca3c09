#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The Debian package of examples/debian: built from a copy of the tree, clean for lintian, installed into
a clean Debian 12 with nothing but what it depends on, started there, and purged.

Needs root, debootstrap and a Debian mirror, that of this machine's own apt. The clean Debian is made
once and kept in ${SIPFENCE_CACHE:-/var/cache/sipfence-tests}/bookworm; the package goes into a copy.
There is no systemd at work in a chroot: of the units systemd says whether it understands them.
"""
import glob
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import unittest

import debian
from harness import PATH, REPO

RELEASE = "bookworm"
MINUTES = 6  # for all of it
TREE = ["cmd", "examples", "lib", "tests", "meson.build", "LICENSE", "README.md"]


def section(name):
    """The packages of a section of tests/packages."""
    with open(os.path.join(REPO, "tests/packages")) as file:
        text = file.read().split("[%s]\n" % name)[1].split("\n[")[0]
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def clean_debian(deadline):
    """(folder, None) or (None, why there is none)."""
    return debian.kept(RELEASE, ["ca-certificates"], os.path.isdir, deadline)


class Sources(unittest.TestCase):
    """What needs no build."""

    def read(self, name):
        with open(os.path.join(REPO, "examples/debian", name)) as file:
            return file.read()

    def test_build_depends(self):
        """Those of tests/packages, but for what each Debian that builds packages has."""
        field = re.search(r"(?m)^Build-Depends:((?:.*\n )*.*)$", self.read("control")).group(1)
        named = {re.sub(r" \(.*\)$", "", part.strip()) for part in field.split(",")}
        self.assertEqual(named - {"debhelper-compat", "systemd-dev | systemd"},
                         set(section("build")) - {"gcc", "libc6-dev"})

    def test_version(self):
        with open(os.path.join(REPO, "meson.build")) as file:
            version = re.search(r"version: '([^']+)'", file.read()).group(1)
        self.assertRegex(self.read("changelog"), r"^sipfence \(%s\) " % re.escape(version))


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        problem = debian.missing()
        if problem:
            raise unittest.SkipTest(problem)
        for program in ("dpkg-buildpackage", "dh", "lintian"):
            if not shutil.which(program, path=PATH):
                raise unittest.SkipTest(program + " is missing")
        cls.deadline = time.monotonic() + MINUTES * 60
        cls.work = tempfile.mkdtemp(prefix="sipfence-package-")
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        found = []
        making = threading.Thread(target=lambda: found.append(clean_debian(cls.deadline)))
        making.start()
        try:
            cls.build()
        finally:
            making.join()
        cls.clean, problem = found[0]
        if problem:
            raise unittest.SkipTest(problem)

    @classmethod
    def build(cls):
        tree = os.path.join(cls.work, "sipfence")
        os.mkdir(tree)
        for name in TREE:
            source, target = os.path.join(REPO, name), os.path.join(tree, name)
            if os.path.isdir(source):
                shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        shutil.copytree(os.path.join(tree, "examples/debian"), os.path.join(tree, "debian"))
        cls.built = debian.run_bounded(
            ["sh", "-c", 'cd "$1" && exec dpkg-buildpackage -b -us -uc', "sh", tree], cls.deadline,
            DEB_BUILD_OPTIONS="parallel=2 noautodbgsym")

    def setUp(self):
        self.packages = glob.glob(os.path.join(self.work, "sipfence_*.deb"))
        self.assertEqual((self.built.returncode, len(self.packages)), (0, 1), self.built.stdout[-8000:])

    def run_bounded(self, *argv, **more):
        return debian.run_bounded(list(argv), self.deadline, **more)

    def test_no_warning(self):
        self.assertNotRegex(self.built.stdout, r"(?m)warning: ")

    def test_lintian(self):
        changes = glob.glob(os.path.join(self.work, "*.changes"))
        done = self.run_bounded("lintian", "--allow-root", "--fail-on", "error,warning", *changes)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertNotRegex(done.stdout, r"(?m)^[EW]: ")

    # In the chroot

    def inside(self, *argv, network=False):
        """In a copy of the clean Debian, with a /proc, and but for apt with a network of its own."""
        return self.run_bounded(*([] if network else ["unshare", "-n"]), "unshare",
                                "--mount-proc=%s/proc" % self.root, "chroot", self.root, *argv)

    def path(self, name):
        return os.path.join(self.root, name.lstrip("/"))

    def mode(self, name):
        """(mode, user, group), names as the chroot has them."""
        status = os.stat(self.path(name))
        names = []
        for file, number in (("etc/passwd", status.st_uid), ("etc/group", status.st_gid)):
            with open(self.path(file)) as text:
                names.append(re.search(r"(?m)^([^:]*):x:%d:" % number, text.read()).group(1))
        return (stat.S_IMODE(status.st_mode), *names)

    def test_installed_started_and_purged(self):
        self.root = os.path.join(self.work, "root")
        self.assertEqual(self.run_bounded("cp", "-a", self.clean, self.root).returncode, 0)
        shutil.copy(self.packages[0], self.path("/tmp/sipfence.deb"))
        for argv in (["update"], ["install", "-y", "--no-install-recommends", "/tmp/sipfence.deb"]):
            done = self.inside("apt-get", "-q", *argv, network=True)
            if done.returncode != 0 and "sipfence" not in done.stdout.splitlines()[-1]:
                self.skipTest("apt-get: " + " / ".join(done.stdout.splitlines()[-3:]))
            self.assertEqual(done.returncode, 0, done.stdout)
        self.user_and_folders()
        self.not_started()
        self.runs()
        self.purged()

    def script(self, name):
        """One of the package's; "" when it has none."""
        path = self.path("/var/lib/dpkg/info/sipfence." + name)
        if not os.path.exists(path):
            return ""
        with open(path) as file:
            return file.read()

    def user_and_folders(self):
        self.assertEqual(self.mode("/etc/sipfence"), (0o750, "root", "sipfence"))
        self.assertEqual(self.mode("/var/lib/sipfence"), (0o700, "sipfence", "sipfence"))
        self.assertEqual(self.mode("/run/sipfence"), (0o750, "sipfence", "sipfence"))
        for name in ("/usr/sbin/sipfence", "/usr/share/bash-completion/completions/sipfence",
                     "/usr/share/zsh/vendor-completions/_sipfence", "/etc/logrotate.d/sipfence",
                     "/usr/share/fish/vendor_completions.d/sipfence.fish"):
            self.assertTrue(os.path.exists(self.path(name)), name)

    def not_started(self):
        """Nor at the next boot: there is no config. And there it could be: systemd understands it."""
        links = [name for folder, _, names in os.walk(self.path("/etc/systemd")) for name in names
                 if "sipfence" in name]
        self.assertEqual(links, [])
        self.assertEqual(os.listdir(self.path("/run/sipfence")), [])
        # An upgrade starts again what runs, and only then; before it stops nothing. Without systemd at
        # work, that is what the scripts say.
        scripts = {name: self.script(name) for name in ("preinst", "postinst", "prerm", "postrm")}
        self.assertRegex(scripts["postinst"], r'-n "\$2" \]; then\s+deb-systemd-invoke try-restart .*sipfence\.service')
        self.assertNotRegex(scripts["postinst"], r"deb-systemd-invoke (start|restart|\$)")
        self.assertRegex(scripts["prerm"], r'"\$1" = remove \](.*\n)*.*deb-systemd-invoke stop .*sipfence\.service')
        self.assertNotIn("deb-systemd-invoke", scripts["preinst"])
        done = self.inside("systemd-analyze", "verify", "--man=no", "sipfence.service", "sipfence-sync.timer")
        self.assertNotIn("sipfence", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)

    def runs(self):
        done = self.inside("sipfence", "check")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("/etc/sipfence/sipfence.yaml", done.stdout)
        shutil.copy(os.path.join(REPO, "examples/minimal.yaml"), self.path("/etc/sipfence/sipfence.yaml"))
        done = self.inside("sipfence", "check")
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.inside("timeout", "--preserve-status", "2", "sipfence", "run")
        self.assertEqual(done.returncode, 0, done.stdout)
        for event in ("privilege user=sipfence", "table action=installed", "ready", "stop"):
            self.assertRegex(done.stdout, r"(?m)^event=" + event)
        self.assertIn("state", os.listdir(self.path("/var/lib/sipfence")))
        # What is installed for the shell works with what is installed to run.
        done = self.inside("bash", "-c", "source /usr/share/bash-completion/completions/sipfence; "
                           "COMP_LINE='sipfence sy' COMP_POINT=11; _sipfence; echo \"[${COMPREPLY[*]}]\"")
        self.assertEqual(done.stdout, "[sync]\n")

    def purged(self):
        done = self.inside("apt-get", "-q", "remove", "-y", "sipfence")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("nft delete table inet sipfence", done.stdout)
        self.assertTrue(os.path.exists(self.path("/etc/sipfence/sipfence.yaml")))
        done = self.inside("apt-get", "-q", "purge", "-y", "sipfence")
        self.assertEqual(done.returncode, 0, done.stdout)
        left = self.run_bounded("find", self.root, "-xdev", "-name", "*sipfence*").stdout.split()
        left = {name[len(self.root):] for name in left} - {"/tmp/sipfence.deb"}
        self.assertEqual({name for name in left if not name.startswith("/var/lib/systemd/")}, set())


if __name__ == "__main__":
    debian.main()
