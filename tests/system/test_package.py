#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The Debian package of examples/debian: built from a copy of the tree, clean for lintian, installed into
a clean Debian 12 with nothing but what it depends on, started there, upgraded while it works, and purged.

Needs root, debootstrap and a Debian mirror, that of this machine's own apt. The clean Debian is made
once and kept in ${SIPFENCE_CACHE:-/var/cache/sipfence-tests}/bookworm; the package goes into a copy.
There is no systemd at work in a chroot: of the units systemd says whether it understands them, and
what the package asks of it in an upgrade is done by a script of this test.
"""
import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
import unittest

import debian
from harness import PATH, REPO, Knot, Network, wait_until

MINUTES = 6  # for all of it
TREE = ["cmd", "examples", "lib", "tests", "meson.build", "LICENSE", "README.md"]


def section(name):
    """The packages of a section of tests/packages."""
    with open(os.path.join(REPO, "tests/packages")) as file:
        text = file.read().split("[%s]\n" % name)[1].split("\n[")[0]
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


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
        making = threading.Thread(target=lambda: found.append(debian.clean(cls.deadline)))
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
        self.assertEqual(re.findall(r"(?m)^.*warning: .*$", self.built.stdout), [])

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
        shutil.copy(self.packages[0], self.path("/tmp/new.deb"))
        self.make_old("/tmp/new.deb", "/tmp/sipfence.deb")
        for argv in (["update"], ["install", "-y", "--no-install-recommends", "/tmp/sipfence.deb"]):
            done = self.inside("apt-get", "-q", *argv, network=True)
            if done.returncode != 0 and not re.search(r"dpkg|sipfence", "".join(done.stdout.splitlines()[-3:])):
                self.skipTest("apt-get: " + " / ".join(done.stdout.splitlines()[-3:]))
            self.assertEqual(done.returncode, 0, done.stdout)
        self.user_and_folders()
        self.not_started()
        self.runs()
        self.upgraded()
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

    def make_old(self, new, old):
        """The same package as a former version."""
        folder = os.path.join(self.work, "old")
        self.assertEqual(self.run_bounded("dpkg-deb", "-R", self.path(new), folder).returncode, 0)
        control = os.path.join(folder, "DEBIAN/control")
        with open(control) as file:
            text = file.read()
        with open(control, "w") as file:
            file.write(re.sub(r"(?m)^Version: (.*)$", r"Version: \1~old", text))
        done = self.run_bounded("dpkg-deb", "--root-owner-group", "-b", folder, self.path(old))
        self.assertEqual(done.returncode, 0, done.stdout)

    # The upgrade

    CONFIG = """extensions: {21: home21.example, 22: 203.0.113.77}
resolver: {servers: ["127.0.0.1:5353"], timeout: 1s}
nftables: {table: pbxfence}
"""
    # It notes what it is asked, and starts again what runs.
    SYSTEMCTL = """#!/bin/sh
echo "$*" >>/tmp/asked
case " $* " in
*" try-restart "*sipfence.service*)
	pid=$(cat /tmp/pid) && kill "$pid" || exit 0
	while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
	sipfence run --pidfile /tmp/pid >>/tmp/log 2>&1 &
	;;
esac
"""

    def in_network(self, *argv, **more):
        return self.pbx.run(["unshare", "--mount-proc=%s/proc" % self.root, "chroot", self.root, *argv],
                            env=dict(debian.ENVIRONMENT), **more).stdout

    def network(self):
        net = Network()
        self.addCleanup(net.close)
        self.pbx, self.world = net.host("pbx"), net.host("world")
        net.link(self.pbx, "wan", ["192.0.2.10/24"], self.world, "eth0",
                 ["203.0.113.10/24", "203.0.113.77/24", "198.51.100.66/24"])
        self.pbx.ip("route add default dev wan")
        self.world.ip("route add 192.0.2.0/24 dev eth0")
        knot = Knot(self.pbx, os.path.join(self.work, "knot"), records="home21 A 203.0.113.10", port=5353)
        self.addCleanup(knot.log.close)
        self.addCleanup(knot.stop)
        return knot

    def text(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def end_daemon(self):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(self.text("/tmp/pid")), signal.SIGTERM)

    def ready(self):
        return len(re.findall(r"(?m)^event=ready", self.text("/tmp/log")))

    @contextlib.contextmanager
    def knocking(self, seen):
        """Each of them sends a datagram each millisecond; seen has how many were sent and arrived."""
        sources = ("203.0.113.10", "203.0.113.77", "198.51.100.66")
        over = threading.Event()
        heard = self.pbx.udp("192.0.2.10", 5060, 0.3)
        heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        talks = {source: self.world.udp(source) for source in sources}
        seen.update({source: [0, 0] for source in sources})

        def send():
            while not over.wait(0.001):
                for source, talk in talks.items():
                    talk.sendto(b"x", ("192.0.2.10", 5060))
                    seen[source][0] += 1

        def receive():
            while True:
                try:
                    seen[heard.recvfrom(16)[1][0]][1] += 1
                except socket.timeout:
                    if over.is_set():
                        return
        threads = [threading.Thread(target=job) for job in (send, receive)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()
            for sock in (heard, *talks.values()):
                sock.close()

    def upgraded(self):
        """While it works and DNS is dead: nobody loses a packet, and nobody else gets in."""
        knot = self.network()
        with open(self.path("/etc/sipfence/sipfence.yaml"), "w") as file:
            file.write(self.CONFIG)
        with open(self.path("/etc/logrotate.d/sipfence"), "a") as file:
            file.write("# the admin's line\n")
        for name in ("asked", "log"):
            open(self.path("/tmp/" + name), "w").close()
        os.rename(self.path("/usr/bin/systemctl"), self.path("/usr/bin/systemctl.real"))
        with open(self.path("/usr/bin/systemctl"), "w") as file:
            file.write(self.SYSTEMCTL)
            os.fchmod(file.fileno(), 0o755)
        os.makedirs(self.path("/run/systemd/system"), exist_ok=True)
        self.addCleanup(self.end_daemon)
        self.in_network("sh", "-c", "sipfence run --pidfile /tmp/pid >>/tmp/log 2>&1 &")
        self.assertTrue(wait_until(lambda: "203.0.113.10" in self.text("/tmp/log"), 10), self.text("/tmp/log"))
        kept = {name: (self.text(name), self.mode(name)) for name in
                ("/etc/sipfence/sipfence.yaml", "/etc/logrotate.d/sipfence")}
        knot.stop()
        seen = {}
        with self.knocking(seen):
            self.in_network("dpkg", "-i", "/tmp/new.deb")
            self.assertTrue(wait_until(lambda: self.ready() == 2, 10), self.text("/tmp/log"))
            time.sleep(0.3)
        for source, (sent, arrived) in seen.items():
            self.assertGreater(sent, 300)
            self.assertEqual(arrived, 0 if source.startswith("198") else sent, source)
        asked = self.text("/tmp/asked")
        self.assertRegex(asked, r"(?m)daemon-reload$")
        self.assertRegex(asked, r"(?m)try-restart .*sipfence\.service")
        self.assertNotRegex(asked, r"(?m)\b(stop|start|enable)\b")
        for name, what in kept.items():
            self.assertEqual((self.text(name), self.mode(name)), what)
        self.assertNotIn("~old", self.in_network("dpkg-query", "-W", "sipfence"))
        self.assertIn("203.0.113.10", self.in_network("sipfence", "status", check=False))
        self.user_and_folders()

    def what_stays(self):
        """What its removal says of a table in the kernel."""
        with open(self.path("/etc/sipfence/sipfence.yaml")) as file:
            config = file.read()
        script = ["sh", "/var/lib/dpkg/info/sipfence.prerm", "remove"]
        for name, words in (("examples/firewalls/sets-only.yaml", "sets in the table inet filter stay"),
                            ("LICENSE", "nft delete table inet sipfence")):
            shutil.copy(os.path.join(REPO, name), self.path("/etc/sipfence/sipfence.yaml"))
            self.assertIn(words, self.in_network(*script))
        with open(self.path("/etc/sipfence/sipfence.yaml"), "w") as file:
            file.write(config)
        self.end_daemon()

    def purged(self):
        self.what_stays()
        done = self.inside("apt-get", "-q", "remove", "-y", "sipfence")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("nft delete table inet pbxfence", done.stdout)
        self.assertTrue(os.path.exists(self.path("/etc/sipfence/sipfence.yaml")))
        done = self.inside("apt-get", "-q", "purge", "-y", "sipfence")
        self.assertEqual(done.returncode, 0, done.stdout)
        left = self.run_bounded("find", self.root, "-xdev", "-name", "*sipfence*").stdout.split()
        left = {name[len(self.root):] for name in left} - {"/tmp/sipfence.deb"}
        self.assertEqual({name for name in left if not name.startswith("/var/lib/systemd/")}, set())


if __name__ == "__main__":
    debian.main()
