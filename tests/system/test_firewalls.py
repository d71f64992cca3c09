#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Beside other firewalls, as examples/firewalls says: ufw as Debian has it, with an /etc and a /run of its
own; firewalld and Docker, which Debian would start when they are installed, out of a Debian 12 in a folder
(see debian.py), read-only and in namespaces of its own; FreePBX's chains; and a PBX in a container.
"""
import os
import shutil
import socket
import subprocess
import time
import unittest

import debian
from daemon_case import HOME, PATIENCE, PBX, ROGUE, DaemonCase
from harness import INSIDE, PATH, Host, end, keeps_orphans, main, wait_until

CONTAINER = "172.17.0.2"
CGROUPS = "/sys/fs/cgroup"
FOLDER, FOLDER_PROBLEM = "SIPFENCE_FIREWALLS", "SIPFENCE_FIREWALLS_PROBLEM"


def arrives(container, sender, source, address=CONTAINER):
    """What is sent to the machine, in its container."""
    token = os.urandom(12)
    with container.udp(address, 5060, 0.5) as heard, sender.udp(source, 0) as talk:
        talk.sendto(token, (PBX, 5060))
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                if heard.recv(2048) == token:
                    return True
            except socket.timeout:
                break
    return False


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


class InFolder(Beside):
    """With programs of that Debian, as root of a process namespace that ends with the test."""
    # What is written is in memory; nothing reaches the kernel's own settings.
    SETUP = """set -e
        mount --make-rprivate /
        mount --bind "$1" "$1"
        mount -o remount,bind,ro "$1"
        cd "$1"
        mount -t proc proc proc
        mount --bind proc/sys/kernel proc/sys/kernel
        mount -o remount,bind,ro proc/sys/kernel
        mount -t sysfs sysfs sys
        mount --rbind /sys/fs/cgroup sys/fs/cgroup
        mount --rbind /dev dev
        for folder in run tmp var/log; do mount -t tmpfs tmpfs "$folder"; done
        cp -a etc run/etc
        mount --bind run/etc etc
        mkdir run/dbus
        exec chroot . sleep 600"""

    @classmethod
    def setUpClass(cls):
        if not os.environ.get(FOLDER):
            raise unittest.SkipTest(os.environ.get(FOLDER_PROBLEM, "no Debian 12 in a folder"))
        super().setUpClass()

    def enter(self):
        holder = self.pbx.popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                                 self.SETUP, "sh", os.environ[FOLDER]])
        self.addCleanup(end, holder)

        def child():
            with open("/proc/%d/task/%d/children" % (holder.pid, holder.pid)) as file:
                found = file.read().split()
            if found:
                with open("/proc/%s/comm" % found[0]) as file:
                    return found[0] if file.read() == "sleep\n" else None
            return None
        self.child = wait_until(child, 10)
        if not self.child:
            self.skipTest("a Debian in a folder can't be entered here")

    def in_there(self, *argv):
        return ["nsenter", "--target", self.child, "--mount", "--pid", "--root", "--wd", *argv]

    def begin(self, *argv):
        child = self.pbx.popen(self.in_there(*argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={"PATH": PATH})
        self.addCleanup(end, child)
        return child


class Firewalld(InFolder):
    def cmd(self, *options, check=True):
        return self.inside("firewall-cmd", *options, check=check)

    def test_as_the_page_says(self):
        self.enter()
        self.start()
        self.begin("dbus-daemon", "--system", "--nofork", "--nopidfile")
        wait_until(lambda: self.inside("test", "-S", "/run/dbus/system_bus_socket", check=False).returncode == 0)
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
        return arrives(self.container, sender, source)

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


class Namespace(Host):
    """One that somebody else has made."""

    def __init__(self, path):
        self.children, self.name = [], "container"
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class Docker(InFolder):
    """A real dockerd, and a container whose udp 5060 is published."""
    GROUP = "sipfence-test-%d" % os.getpid()

    def docker(self, *argv, **more):
        return self.pbx.run(self.in_there("docker", *argv), **more).stdout.strip()

    def remove_groups(self):
        """Once all that was in them has ended."""
        wait_until(lambda: not any([remove(folder) for folder, _, _ in os.walk(CGROUPS, topdown=False)
                                    if "/" + self.GROUP in folder]), 10)

    def container(self):
        """Started; the namespace that Docker has made for it, and its address."""
        self.addCleanup(self.remove_groups)
        self.enter()
        self.addCleanup(self.pbx.run, ["ip", "link", "del", "docker0"], check=False)
        log = open(os.path.join(self.directory, "dockerd"), "w+")
        self.addCleanup(log.close)
        daemon = self.pbx.popen(
            self.in_there("dockerd", "--storage-driver=vfs", "--data-root=/run/data",
                          "--cgroup-parent=/" + self.GROUP), stdout=log, stderr=log, env={"PATH": PATH})
        self.addCleanup(daemon.kill)
        done = self.in_there("docker", "info")
        wait_until(lambda: self.pbx.run(done, check=False).returncode == 0 or daemon.poll() is not None, 20)
        log.seek(0)
        if self.pbx.run(done, check=False).returncode != 0:
            self.skipTest("dockerd does not work here: " + log.read()[-400:])
        self.inside("sh", "-c", 'tar -ch usr/bin/sleep $(ldd /usr/bin/sleep | grep -o "/[^ ]*") |'
                                "docker import - pbx")
        begun = self.inside("docker", "run", "-d", "--name", "pbx", "-p", "5060:5060/udp", "pbx",
                            "/usr/bin/sleep", "600", check=False)
        if begun.returncode != 0:
            self.skipTest("Docker starts no container here: " + begun.stderr[-400:])
        address = self.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "pbx")
        return self.namespace(), address

    def namespace(self):
        """What Docker has made for the container."""
        key = self.docker("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", "pbx")
        found = Namespace("/proc/%s/root/run/docker/netns/%s" % (self.child, os.path.basename(key)))
        self.addCleanup(found.close)
        return found

    def test_as_the_page_says(self):
        container, address = self.container()

        def come():
            return [source for sender, source in ((self.net.home, HOME), (self.net.rogue, ROGUE))
                    if arrives(container, sender, source, address)]
        self.assertEqual(come(), [HOME, ROGUE], "without sipfence they are open")
        self.start()
        self.assertEqual(come(), [HOME])
        self.docker("restart", "-t", "0", "pbx")
        container = self.namespace()
        self.assertEqual(come(), [HOME], "after a restart of the container")


def remove(folder):
    """True while it can't be."""
    try:
        os.rmdir(folder)
    except OSError:
        return os.path.isdir(folder)
    return False


@needs("iptables-restore")
class FreePBX(Beside):
    """
    The chains of FreePBX's Firewall module (16), in their order: who is known, then zones by interface,
    then what tries its luck at the Responsive Firewall, then the rest, which is refused. It writes them
    by iptables; its own daemon, which fills the lists, is not here.
    """
    CHAINS = ("fpbxfirewall", "fpbx-rtp", "fpbxblacklist", "fpbxsignalling", "fpbxsmarthosts",
              "fpbxregistrations", "fpbxnets", "fpbxhosts", "fpbxinterfaces", "fpbxreject", "fpbxrfw",
              "zone-external", "zone-internal", "fpbxsvc-pjsip", "fpbxlogdrop")
    RULES = """
-A INPUT -j fpbxfirewall
-A fpbxfirewall -i lo -j ACCEPT
-A fpbxfirewall -p tcp -m state --state RELATED,ESTABLISHED -j ACCEPT
-A fpbxfirewall -p icmp -j ACCEPT
-A fpbxfirewall -j fpbx-rtp
-A fpbxfirewall -j fpbxblacklist
-A fpbxfirewall -j fpbxsignalling
-A fpbxfirewall -j fpbxsmarthosts
-A fpbxfirewall -j fpbxregistrations
-A fpbxfirewall -j fpbxnets
-A fpbxfirewall -j fpbxhosts
-A fpbxfirewall -j fpbxinterfaces
-A fpbxfirewall -j fpbxreject
-A fpbxfirewall -m mark --mark 0x2/0x2 -j fpbxrfw
-A fpbxfirewall -p udp -m state --state RELATED,ESTABLISHED -j ACCEPT
-A fpbxfirewall -j fpbxlogdrop
-A fpbx-rtp -p udp --dport 10000:20000 -j ACCEPT
-A fpbxsignalling -p udp --dport 5060 -j MARK --set-xmark 0x1/0x1
-A fpbxnets -s 192.168.1.0/24 -j zone-internal
-A fpbxinterfaces -i wan -j zone-external
-A zone-internal -j MARK --set-xmark 0x4/0x4
-A zone-internal -j fpbxsvc-pjsip
-A zone-external -j MARK --set-xmark 0x10/0x10
-A fpbxsvc-pjsip -p udp --dport 5060 -j ACCEPT
-A fpbxlogdrop -j REJECT
"""
    INTERNET = "-A zone-external -j fpbxsvc-pjsip\n"
    # Responsive Firewall, the gist of it: a few tries each minute, then a day outside.
    RESPONSIVE = """-A fpbxsignalling -p udp --dport 5060 -j MARK --set-xmark 0x2/0x2
-A fpbxrfw -m recent --rcheck --seconds 86400 --hitcount 10 --name ATTACKER --rsource -j DROP
-A fpbxrfw -m recent --set --name ATTACKER --rsource
-A fpbxrfw -j ACCEPT
"""

    def load(self, *more):
        text = "*filter\n:INPUT ACCEPT\n" + "".join(":%s -\n" % name for name in self.CHAINS)
        done = self.pbx.run(["iptables-restore"], input=text + self.RULES + "".join(more) + "COMMIT\n",
                            check=False)
        if done.returncode != 0:
            self.skipTest("iptables-restore: " + done.stderr.strip())

    def test_as_the_page_says(self):
        self.load()
        self.start()
        self.assertShut(HOME, ROGUE)  # an accept of ours opens nothing
        self.load(self.INTERNET)
        self.assertFenced()
        # "Restart" takes all chains out, and waits for some seconds.
        for argv in (["-F"], ["-X"]):
            self.pbx.run(["iptables", *argv])
        self.assertFenced()
        self.load(self.INTERNET)
        self.assertFenced()

    def test_responsive_firewall(self):
        """Why the page has it switched off: it shuts out a phone that registers often."""
        self.load(self.RESPONSIVE)
        self.start()
        self.assertFenced()
        tries = 0
        while self.passes(HOME) and tries < 20:
            tries += 1
        self.assertLess(tries, 20)
        self.load(self.INTERNET)
        self.assertFenced()


def find_folder():
    """Before there is no network."""
    if any(os.environ.get(name) for name in (INSIDE, FOLDER, FOLDER_PROBLEM)):
        return
    problem, folder = debian.missing(), None
    if not problem:
        deadline = time.monotonic() + 300
        folder, problem = debian.clean(deadline)
    if folder:
        folder, problem = debian.grown(folder, "bookworm-firewalls", ["firewalld", "iptables", "docker.io"],
                                       deadline)
    os.environ.update({FOLDER: folder} if folder else {FOLDER_PROBLEM: problem})


if __name__ == "__main__":
    find_folder()
    main(at_once=3)
