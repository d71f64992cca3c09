#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
examples/ten-minutes.md as an admin follows it: its commands in its order, its configs written where it
says, each line that it shows of an answer looked for in the real one. /etc, /run and /var/lib are
private here; systemctl stands for systemd, and starts what the unit's ExecStart= says.

In the page's answers a line `…` stands for any lines, `…` in a line for any text; a number for any
number, and the unit of a time for any unit.
"""
import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

from daemon_case import PBX
from harness import PATH, REPO, SIPFENCE, Case, Knot, main, reaches, wait_until

PAGE = os.path.join(REPO, "examples/ten-minutes.md")
CONFIG = "/etc/sipfence/sipfence.yaml"
PHONE, PHONE2, TRUNK, STRANGER, DESK = \
    "203.0.113.10", "203.0.113.77", "198.51.100.67", "198.51.100.66", "192.168.1.50"
RECORDS = "home21.dyndns A %s\nalice.ddns A %s\nsip.voipco A %s\n" % (PHONE, PHONE2, TRUNK)
PJSIP = "".join("""[{0}]
type = endpoint
context = internal
auth = {0}
aors = {0}
[{0}]
type = auth
username = {0}
password = 2aeX0yN2oPp3kq{0}
[{0}]
type = aor
max_contacts = 1

""".format(extension) for extension in (21, 22, 30)) + """[voipco]
type = registration
server_uri = sip:sip.voipco.example
client_uri = sip:4930123@sip.voipco.example
"""
UNITS = ("ms", "s", "min", "h", "d")
ETC = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "protocols", "services", "localtime")


def blocks(text):
    """(kind, lines) of each fenced block, in order."""
    return [(kind, body.split("\n")[:-1])
            for kind, body in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", text)]


def steps(text):
    """("config", text) or ("run", command, [lines of its answer])."""
    found = []
    for kind, lines in blocks(text):
        if kind == "yaml":
            found.append(("config", "\n".join(lines) + "\n", None))
            continue
        for line in lines:
            if line.startswith("$ "):
                found.append(("run", line[2:], []))
            else:
                found[-1][2].append(line)
    return found


def pattern(line):
    """A line of the page as a regular expression."""
    found, was_number = [], False
    for word in line.split():
        bare, tail = re.fullmatch(r"(.*?)([,;:.)]*)", word).groups()
        if was_number and bare in UNITS:
            text = "(?:%s)" % "|".join(UNITS)
        elif bare.isdigit():
            text = r"\d+"
        else:
            text = ".*".join(map(re.escape, bare.split("…")))
        was_number = bare.isdigit() and not tail
        found.append(text + re.escape(tail))
    return re.compile(r"\s+".join(found))


def missing_line(wanted, answer):
    """The first line of the page that the answer does not have in its place; None when all is there."""
    real = [line.strip() for line in answer.splitlines() if line.strip()]
    at, anywhere = 0, False
    for line in wanted:
        if not line.strip():
            continue
        if line.strip() == "…":
            anywhere = True
            continue
        while at < len(real) and anywhere and not pattern(line).fullmatch(real[at]):
            at += 1
        if at >= len(real) or not pattern(line).fullmatch(real[at]):
            return line
        at, anywhere = at + 1, False
    return None if anywhere or at == len(real) else "(no more lines) but: " + real[at]


class TenMinutes(Case):
    needs = ("knotd", "bash", "ss")

    def setUp(self):
        super().setUp()
        self.pbx, self.unit = self.net.pbx, None
        self.own_folders()
        self.own_programs()
        self.addCleanup(self.pbx.udp("0.0.0.0", 5060).close)  # the open port
        knot = Knot(self.pbx, os.path.join(self.directory, "knot"), records=RECORDS, port=53)
        self.addCleanup(knot.log.close)
        self.addCleanup(knot.stop)

    def own_folders(self):
        etc = os.path.join(self.directory, "etc")
        os.mkdir(etc)
        for name in ETC:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(os.path.join("/etc", name), os.path.join(etc, name))
        for name in ("sipfence", "asterisk"):
            os.mkdir(os.path.join(etc, name))
        for name, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("asterisk/pjsip.conf", PJSIP),
                           ("hosts", "127.0.0.1 localhost\n")):
            with open(os.path.join(etc, name), "w") as file:
                file.write(text)
        for source, target in ((etc, "/etc"), (None, "/run"), (None, "/var/lib")):
            argv = ["mount", "--bind", source, target] if source else ["mount", "-t", "tmpfs", "tmpfs", target]
            subprocess.run(argv, check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", target], check=True)
        os.makedirs("/run/sipfence")
        os.makedirs("/var/lib/sipfence", mode=0o700)

    def own_programs(self):
        self.bin = os.path.join(self.directory, "bin")
        os.mkdir(self.bin)
        os.symlink(SIPFENCE, os.path.join(self.bin, "sipfence"))
        for name, text in (("sudo", 'exec "$@"'), ("systemctl", 'echo "$*" >>"%s/asked"' % self.bin)):
            path = os.path.join(self.bin, name)
            with open(path, "w") as file:
                file.write("#!/bin/sh\n%s\n" % text)
            os.chmod(path, 0o755)

    def answer(self, command):
        """What a terminal shows of it."""
        environment = dict(self.fence.environment, PATH=self.bin + ":" + PATH, NO_COLOR="1")
        leader, follower = pty.openpty()
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 120, 0, 0))
        child = self.pbx.popen(["bash", "-c", command], stdin=follower, stdout=follower, stderr=follower,
                               env=environment, start_new_session=True)
        os.close(follower)
        shown, deadline = b"", time.monotonic() + 30
        with contextlib.suppress(OSError):  # the end of a terminal
            while select.select([leader], [], [], max(deadline - time.monotonic(), 0))[0]:
                shown += os.read(leader, 65536)
        os.close(leader)
        self.assertIsNotNone(wait_until(lambda: child.poll() is not None, 5) or None, command)
        self.systemd()
        return shown.decode().replace("\r", "")

    def systemd(self):
        """Does what systemctl was asked for."""
        asked = os.path.join(self.bin, "asked")
        if not os.path.exists(asked):
            return
        with open(asked) as file:
            self.assertEqual(file.read(), "enable --now sipfence\n")
        os.unlink(asked)
        with open(os.path.join(REPO, "examples/systemd/sipfence.service")) as file:
            start = re.search(r"(?m)^ExecStart=/usr/sbin/(.*)$", file.read()).group(1).split()
        log = open(os.path.join(self.directory, "log"), "w+")
        self.addCleanup(log.close)
        self.unit = self.pbx.popen([os.path.join(self.bin, start[0]), *start[1:]], stdout=log, stderr=log,
                                   env=self.fence.environment)
        self.assertTrue(wait_until(lambda: "event=ready" in self.read(log.name), 15), self.read(log.name))
        # Who talks before his name has answered is a stranger for a moment, rightly.
        self.assertTrue(wait_until(lambda: {PHONE, PHONE2} <= set(self.pbx.elements("sip_hosts4")), 15))

    @staticmethod
    def read(path):
        with open(path) as file:
            return file.read()

    # The world around it

    def passes(self, source):
        sender = {"203": self.net.home, "198": self.net.rogue, "192": self.net.lan}[source[:3]]
        return reaches(sender, source, self.pbx, "192.168.1.1" if source == DESK else PBX)

    def knock(self):
        """Phones register, and so do others."""
        return [source for source in (PHONE, PHONE2, DESK, TRUNK, STRANGER) if self.passes(source)]

    def test_as_the_page_says(self):
        everybody = [PHONE, PHONE2, DESK, TRUNK, STRANGER]
        self.assertEqual(self.knock(), everybody)
        for kind, text, wanted in steps(self.read(PAGE)):
            if kind == "config":
                with open(CONFIG, "w") as file:
                    file.write(text)
                continue
            if self.unit:
                self.knock()
            answer = self.answer(text)
            with self.subTest(text):
                self.assertIsNone(missing_line(wanted, answer), answer)
        self.assertEqual(self.knock(), everybody[:-1])


if __name__ == "__main__":
    main()
