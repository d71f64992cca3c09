#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The systemd units: that systemd understands them, that they start in the right order, and that the
program does with what they leave it (capabilities, system calls, kinds of sockets).
"""
import os
import re
import shutil
import subprocess

from daemon_case import HOME, HOME2, ROGUE, DaemonCase
from harness import PATH, REPO, SIPFENCE, main, privileged, sanitized, wait_until

UNITS = os.path.join(REPO, "examples/systemd")
EDGE = os.path.join(REPO, "examples/fleet/edge")
NAMES = ("sipfence.service", "sipfence-sync.service", "sipfence-sync.timer")


def read_unit(name):
    """{section: {key: [values]}}; a list that is given in several lines is one list."""
    found, section = {}, None
    with open(os.path.join(UNITS, name)) as file:
        for line in file.read().replace("\\\n", " ").splitlines():
            if not line or line[0] in "#;":
                continue
            header = re.fullmatch(r"\[(\w+)\]", line)
            if header:
                section = found.setdefault(header.group(1), {})
                continue
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return found


def words(unit, section, key):
    return " ".join(unit[section].get(key, [])).split()


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, check=False)


class Units(DaemonCase):
    """No network is needed here, but one skips all or none."""

    def staged(self, directory):
        """As they are installed, with a program that is there."""
        for name in NAMES:
            with open(os.path.join(UNITS, name)) as source, \
                    open(os.path.join(directory, name), "w") as target:
                target.write(source.read().replace("/usr/sbin/sipfence", SIPFENCE))
        return [os.path.join(directory, name) for name in NAMES]

    def needs_analyze(self):
        if not shutil.which("systemd-analyze", path=PATH):
            self.skipTest("systemd-analyze is missing")

    def test_systemd_understands_them(self):
        self.needs_analyze()
        paths = self.staged(self.directory)
        done = analyze("verify", "--man=no", *paths)
        about = [line for line in done.stdout.splitlines() if "sipfence" in line]
        self.assertEqual((done.returncode, about), (0, []), done.stdout)
        # And it would say so otherwise.
        with open(paths[0], "a") as file:
            file.write("[Service]\nProtectSistem=strict\n")
        self.assertIn("ProtectSistem", analyze("verify", "--man=no", paths[0]).stdout)

    def test_the_unit_that_follows_a_zone(self):
        self.needs_analyze()
        name, program = "sipfence-follow.service", "/usr/local/sbin/follow-zone"
        with open(os.path.join(EDGE, name)) as file:
            unit = file.read()
        self.assertIn("ExecStart=%s " % program, unit)
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(unit.replace(program, os.path.join(EDGE, "follow-zone")))
        done = analyze("verify", "--man=no", path, *self.staged(self.directory)[:1])
        about = [line for line in done.stdout.splitlines() if "sipfence" in line]
        self.assertEqual((done.returncode, about), (0, []), done.stdout)
        # And it would say so otherwise.
        with open(path, "a") as file:
            file.write("[Service]\nRestart=sometimes\n")
        self.assertIn("sometimes", analyze("verify", "--man=no", path).stdout)

    def test_exposure(self):
        self.needs_analyze()
        done = analyze("security", "--offline=yes", "--threshold=15", *self.staged(self.directory)[:2])
        if "unrecognized option" in done.stdout:
            self.skipTest("this systemd-analyze can't judge units that are not loaded")
        self.assertEqual(done.returncode, 0, done.stdout[-3000:])

    def test_the_drop_in_for_asterisk(self):
        """test_asterisk_daemon.py lives with what it gives."""
        self.needs_analyze()
        path = self.staged(self.directory)[0]
        os.mkdir(path + ".d")
        shutil.copy(os.path.join(UNITS, "asterisk.conf"), path + ".d")
        done = analyze("verify", "--man=no", path)
        about = [line for line in done.stdout.splitlines() if "sipfence" in line]
        self.assertEqual((done.returncode, about), (0, []), done.stdout)
        done = analyze("security", "--offline=yes", "--threshold=15", path)
        if "unrecognized option" not in done.stdout:
            self.assertEqual(done.returncode, 0, done.stdout[-3000:])
        dropped = read_unit("asterisk.conf")
        self.assertEqual(dropped, {"Service": {"SupplementaryGroups": ["asterisk"],
                                               "ReadWritePaths": ["-/etc/asterisk/sipfence"]}})
        # And it is read.
        with open(path + ".d/asterisk.conf", "a") as file:
            file.write("ProtectSistem=strict\n")
        self.assertIn("ProtectSistem", analyze("verify", "--man=no", path).stdout)

    def test_the_daemon_before_network_and_pbx(self):
        unit = read_unit("sipfence.service")
        before, after = words(unit, "Unit", "Before"), words(unit, "Unit", "After")
        self.assertLessEqual({"network-pre.target", "asterisk.service", "shutdown.target"}, set(before))
        # Without this nobody would pull that target in, and the order would mean nothing.
        self.assertIn("network-pre.target", words(unit, "Unit", "Wants"))
        self.assertLessEqual({"local-fs.target", "systemd-modules-load.service",
                              "systemd-sysctl.service"}, set(after))
        self.assertIn("shutdown.target", words(unit, "Unit", "Conflicts"))
        # The dependencies that each service has by itself put it behind basic.target: too late.
        self.assertEqual(unit["Unit"]["DefaultDependencies"], ["no"])
        for late in ("network.target", "network-online.target", "nss-lookup.target", "basic.target",
                     "sysinit.target", "remote-fs.target"):
            self.assertNotIn(late, after + words(unit, "Unit", "Wants") + words(unit, "Unit", "Requires"))
        # These would wait for /tmp, which may come late.
        self.assertNotIn("PrivateTmp", unit["Service"])

    def test_the_daemon_as_a_service(self):
        unit = read_unit("sipfence.service")["Service"]
        self.assertEqual(unit["Type"], ["notify"])
        self.assertEqual(unit["ExecStart"], ["/usr/sbin/sipfence run"])
        self.assertEqual(unit["ExecReload"], ["/usr/sbin/sipfence reload"])
        self.assertEqual(unit["Restart"], ["on-failure"])
        self.assertEqual(unit["RestartPreventExitStatus"], ["2"])
        self.assertGreater(int(unit["WatchdogSec"][0]), 1)
        self.assertLessEqual(float(unit["RestartSec"][0]), 1)
        # The folders that the program has by default.
        self.assertEqual((unit["StateDirectory"], unit["RuntimeDirectory"]), (["sipfence"], ["sipfence"]))
        self.assertEqual(unit["RuntimeDirectoryPreserve"], ["yes"])

    def test_cron_style(self):
        service, timer = read_unit("sipfence-sync.service"), read_unit("sipfence-sync.timer")
        self.assertEqual(service["Service"]["Type"], ["oneshot"])
        self.assertEqual(service["Service"]["ExecStart"], ["/usr/sbin/sipfence sync"])
        self.assertEqual(service["Service"]["SuccessExitStatus"], ["3"])
        self.assertIn("network-online.target", words(service, "Unit", "Wants"))
        self.assertIn("network-online.target", words(service, "Unit", "After"))
        self.assertIn("asterisk.service", words(service, "Unit", "Before"))
        self.assertIn("sipfence.service", words(timer, "Unit", "Conflicts"))
        self.assertIn("timers.target", words(timer, "Install", "WantedBy"))
        for key in ("StateDirectory", "RuntimeDirectory", "RuntimeDirectoryPreserve", "UMask",
                    "CapabilityBoundingSet", "SystemCallFilter", "RestrictAddressFamilies"):
            self.assertEqual(service["Service"][key], read_unit("sipfence.service")["Service"][key], key)

    def test_meson_installs_them(self):
        if not shutil.which("meson", path=PATH):
            self.skipTest("meson is missing")
        build = os.path.abspath(os.path.join(os.path.dirname(SIPFENCE), "../.."))
        if not os.path.exists(os.path.join(build, "build.ninja")):
            self.skipTest("no build folder around " + SIPFENCE)
        done = subprocess.run(["meson", "introspect", "--installed", build], text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        for folder in ("sysusers.d", "tmpfiles.d"):
            self.assertRegex(done.stdout, r'lib/%s/sipfence\.conf"' % re.escape(folder))
        for name in NAMES:
            self.assertRegex(done.stdout, r'systemd/system/%s"' % re.escape(name))
            with open(os.path.join(build, "examples/systemd", name)) as file:
                text = file.read()
            self.assertNotRegex(text, r"@\w+@")
            if name.endswith(".service"):
                self.assertRegex(text, r"(?m)^ExecStart=/\S*sbin/sipfence (run|sync)$")


    def test_the_user_and_its_folders(self):
        """As systemd makes them, in a folder that stands for /."""
        for program in ("systemd-sysusers", "systemd-tmpfiles"):
            if not shutil.which(program, path=PATH):
                self.skipTest(program + " is missing")
        if not privileged():
            self.skipTest("other users can't be made here")
        root = os.path.join(self.directory, "root")
        for folder in ("etc", "var/lib", "run"):
            os.makedirs(os.path.join(root, folder))
        for program, name in (("systemd-sysusers", "sysusers.conf"),
                              ("systemd-tmpfiles", "tmpfiles.conf")):
            self.pbx.run([program, "--root=" + root, *(["--create"] if "tmp" in program else []),
                          os.path.join(UNITS, name)])
        with open(os.path.join(root, "etc/passwd")) as file:
            user = re.search(r"(?m)^sipfence:x:(\d+):(\d+):.*:/var/lib/sipfence:/usr/sbin/nologin$",
                             file.read())
        uid, gid = int(user.group(1)), int(user.group(2))
        self.assertLess(uid, 1000)
        for folder, expected in (("etc/sipfence", (0o750, 0, gid)),
                                 ("var/lib/sipfence", (0o700, uid, gid)),
                                 ("run/sipfence", (0o750, uid, gid))):
            status = os.stat(os.path.join(root, folder))
            self.assertEqual((status.st_mode & 0o7777, status.st_uid, status.st_gid), expected)
        for name in ("sipfence.service", "sipfence-sync.service"):
            unit = read_unit(name)["Service"]
            self.assertEqual((unit["User"], unit["Group"]), (["sipfence"], ["sipfence"]))


class Sandbox(DaemonCase):
    """The daemon's life with what the unit leaves it."""

    def as_the_unit(self):
        """Its user is another one where there is another one."""
        user = []
        if privileged():
            user = ["--reuid=65534", "--regid=65534", "--clear-groups"]
            for path in (self.fence.state, self.fence.run_dir):
                os.chown(path, 65534, 65534)
        return ["setpriv", *user, "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin",
                "--bounding-set=-all,+net_admin", "--no-new-privs"]

    def life(self, **more):
        """Starts, asks, changes, repairs, reloads, answers, saves, ends."""
        self.points(HOME)
        self.configure("nftables: {lock: off}\n")
        daemon = self.daemon(**more)
        self.assertAllowed(HOME)
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.pbx.nft("flush set inet sipfence sip_hosts4\n")
        self.assertAllowed(HOME2)
        self.configure("services: {web: {tcp: [80]}}\n")
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertTrue(daemon.request({"request": "status"})["ok"])
        self.assertTrue(daemon.request({"request": "refresh"})["ok"])
        self.assertTrue(daemon.request({"request": "why", "what": HOME2})["ok"])
        self.assertShut(ROGUE)
        return daemon

    def test_capabilities(self):
        for key in ("CapabilityBoundingSet", "AmbientCapabilities"):
            self.assertEqual(words(read_unit("sipfence.service"), "Service", key), ["CAP_NET_ADMIN"])
        daemon = self.life(prefix=self.as_the_unit())
        self.assertEqual(daemon.stop(), 0, daemon)
        self.assertIn(HOME2.encode(), self.fence.saved()["state"])

    def test_system_calls(self):
        """All of them are in the unit's list, and no socket is of another kind."""
        if sanitized():
            self.skipTest("a sanitizer makes system calls of its own")
        for program in ("strace", "systemd-analyze"):
            if not shutil.which(program, path=PATH):
                self.skipTest(program + " is missing")
        unit = read_unit("sipfence.service")
        plus, minus = unit["Service"]["SystemCallFilter"]
        self.assertEqual(minus[0], "~")
        allowed = self.expand(plus.split()) - self.expand(minus[1:].split())
        self.assertIn("sendmsg", allowed)
        self.assertNotIn("mount", allowed)
        # To empty the inheritable set, which the unit forbids as well: the answer is EPERM.
        self.assertNotIn("capset", allowed)
        allowed.add("capset")
        trace = os.path.join(self.fence.state, "trace")
        daemon = self.life(prefix=[*self.as_the_unit(), "strace", "-D", "-f", "-q", "-o", trace])
        self.assertEqual(daemon.stop(), 0, daemon)
        self.assertTrue(wait_until(lambda: "exited with 0" in self.text(trace)))
        text = self.text(trace)
        made = set(re.findall(r"(?m)^\d+ +(\w+)\(", text))
        self.assertIn("sendmsg", made)
        self.assertEqual(made - allowed, set())
        families = set(re.findall(r"\bsocket(?:pair)?\((\w+)", text))
        self.assertIn("AF_NETLINK", families)
        self.assertEqual(families - set(words(unit, "Service", "RestrictAddressFamilies")), set())
        self.assertEqual(re.findall(r"m(?:map|protect)\([^)]*PROT_WRITE\|PROT_EXEC[^)]*", text), [],
                         "MemoryDenyWriteExecute")

    @staticmethod
    def text(path):
        with open(path, errors="replace") as file:
            return file.read()

    def expand(self, names):
        found = set()
        for name in names:
            if not name.startswith("@"):
                found.add(name)
                continue
            listing = analyze("syscall-filter", name).stdout.splitlines()[1:]
            found |= self.expand([line.strip() for line in listing if line.strip()
                                  and not line.strip().startswith("#")])
        return found


if __name__ == "__main__":
    main()
