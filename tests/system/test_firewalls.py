#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Beside other firewalls, as examples/firewalls says: ufw and firewalld as Debian has them, with /etc and
/run of their own, and a PBX in a container whose ports are published by DNAT.
"""
import os
import shutil
import socket
import time
import unittest

from daemon_case import HOME, PATIENCE, PBX, ROGUE, DaemonCase
from harness import PATH, end, keeps_orphans, main, wait_until

CONTAINER = "172.17.0.2"


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program, path=PATH)]
    return unittest.skipIf(missing, "%s missing" % " ".join(missing))


class Beside(DaemonCase):
    def own_files(self, *folders):
        """A mount namespace in which /run is empty and these folders are copies."""
        self.holder = self.pbx.popen(["unshare", "--mount", "--propagation", "private", "sleep", "600"])
        self.addCleanup(end, self.holder)
        own = os.readlink("/proc/self/ns/mnt")
        wait_until(lambda: os.readlink("/proc/%d/ns/mnt" % self.holder.pid) != own)
        self.inside("mount", "-t", "tmpfs", "tmpfs", "/run")
        for number, folder in enumerate(folders):
            copy = os.path.join(self.directory, "copy%d" % number)
            shutil.copytree(folder, copy, symlinks=True)
            self.inside("mount", "--bind", copy, folder)

    def in_there(self, *argv):
        return ["nsenter", "--mount=/proc/%d/ns/mnt" % self.holder.pid, *argv]

    def inside(self, *argv, check=True):
        return self.pbx.run(self.in_there(*argv), check=check)

    def start(self):
        self.points(HOME)
        self.configure()
        self.daemon()
        self.assertAllowed(HOME)

    def assertFenced(self):
        self.assertPasses(HOME)
        self.assertShut(ROGUE)


@needs("ufw", "iptables")
class Ufw(Beside):
    def test_as_the_page_says(self):
        self.own_files("/etc/ufw")
        self.start()
        if self.inside("ufw", "--force", "enable", check=False).returncode != 0:
            self.skipTest("ufw does not work here")
        self.assertShut(HOME, ROGUE)  # an accept of ours opens nothing
        self.inside("ufw", "allow", "5060/udp")
        self.assertFenced()
        self.inside("ufw", "reload")
        self.assertFenced()
        self.inside("ufw", "disable")
        self.assertFenced()


@needs("firewalld", "dbus-daemon")
class Firewalld(Beside):
    BUS = "unix:path=/run/dbus/system_bus_socket"

    def begin(self, *argv):
        child = self.pbx.popen(self.in_there(*argv), stdout=-3, stderr=-3,
                               env=dict(os.environ, PATH=PATH, DBUS_SYSTEM_BUS_ADDRESS=self.BUS))
        self.addCleanup(end, child)
        return child

    def cmd(self, *options, check=True):
        return self.inside("firewall-cmd", *options, check=check)

    def test_as_the_page_says(self):
        self.own_files("/etc/firewalld")
        self.start()
        self.inside("mkdir", "/run/dbus")
        self.begin("dbus-daemon", "--system", "--nofork", "--nopidfile", "--address=" + self.BUS)
        wait_until(lambda: self.inside("test", "-S", self.BUS[10:], check=False).returncode == 0)
        self.begin("firewalld", "--nofork", "--nopid")
        if not wait_until(lambda: self.cmd("--state", check=False).returncode == 0, 20 * PATIENCE):
            self.skipTest("firewalld does not work here")
        self.assertShut(HOME, ROGUE)
        self.cmd("--permanent", "--add-port=5060/udp", "--add-port=5060-5061/tcp")
        self.cmd("--reload")
        self.assertFenced()
        self.cmd("--complete-reload")
        self.assertFenced()


class Plain(Beside):
    def test_flush_ruleset(self):
        self.start()
        self.pbx.nft("flush ruleset")
        if not keeps_orphans(self.pbx):
            self.assertAllowed(HOME)  # repaired
        self.assertFenced()


@needs("iptables")
class Container(Beside):
    """172.17.0.2 behind the machine, udp 5060 of which is published, as Docker does it."""

    def setUp(self):
        super().setUp()
        self.container = self.net.host("container%d" % id(self))
        self.net.link(self.pbx, "docker0", ["172.17.0.1/16"], self.container, "eth0", [CONTAINER + "/16"])
        self.addCleanup(self.pbx.ip, "link del docker0")
        self.container.ip("route add default via 172.17.0.1")
        for rule in ("-A PREROUTING -p udp --dport 5060 -m addrtype --dst-type LOCAL -j DNAT "
                     "--to-destination %s:5060" % CONTAINER,
                     "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"):
            done = self.pbx.run(["iptables", "-t", "nat", *rule.split()], check=False)
            if done.returncode != 0:
                self.skipTest("iptables does no NAT here: " + done.stderr)

    def arrives(self, sender, source):
        token = os.urandom(12)
        with self.container.udp(CONTAINER, 5060, 0.5) as heard, sender.udp(source, 0) as talk:
            talk.sendto(token, (PBX, 5060))
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                try:
                    if heard.recv(2048) == token:
                        return True
                except socket.timeout:
                    break
        return False

    def test_published_ports_are_guarded(self):
        self.assertTrue(self.arrives(self.net.rogue, ROGUE), "without sipfence they are open")
        self.start()
        self.assertTrue(self.arrives(self.net.home, HOME))
        self.assertFalse(self.arrives(self.net.rogue, ROGUE))

    def test_with_replies_accepted_too(self):
        self.points(HOME)
        self.configure("replies: accept\n")
        self.daemon()
        self.assertAllowed(HOME)
        self.assertTrue(self.arrives(self.net.home, HOME))
        self.assertFalse(self.arrives(self.net.rogue, ROGUE))

    def test_an_address_of_its_own(self):
        """A routed container, or one on macvlan behind this machine: `destinations`."""
        self.points(HOME)
        self.configure("destinations: [172.17.0.0/16]\n")
        self.daemon()
        self.assertAllowed(HOME)
        self.net.router.ip("route replace 172.17.0.0/16 via 192.0.2.10")
        self.addCleanup(self.net.router.ip, "route del 172.17.0.0/16")
        for sender, source, passes in ((self.net.home, HOME, True), (self.net.rogue, ROGUE, False)):
            token = os.urandom(12)
            with self.container.udp(CONTAINER, 5060, 0.5) as heard, sender.udp(source, 0) as talk:
                talk.sendto(token, (CONTAINER, 5060))
                try:
                    arrived = heard.recv(2048) == token
                except socket.timeout:
                    arrived = False
            self.assertEqual(arrived, passes, source)


if __name__ == "__main__":
    main()
