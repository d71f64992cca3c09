#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
`sipfence export`: a real Kamailio with examples/kamailio and the exported address file, asked by SIP
from several addresses; FreeSWITCH's lists by a parser of XML, and by its documented rules.
"""
import ipaddress
import json
import os
import re
import socket
import stat
import subprocess
import time
import unittest
import xml.etree.ElementTree as ElementTree

from harness import REPO, SIPFENCE, Case, end, main, privileged, wait_until
from scripted_dns import answer, rcode

PBX, PBX6, PBX_LAN, PBX_LAN6 = "192.0.2.10", "2001:db8:1::10", "192.168.1.1", "fd00:1::1"
HOME, HOME2, HOME6, HOME62 = "203.0.113.10", "203.0.113.77", "2001:db8:21::10", "2001:db8:21::77"
OTHER, OTHER2, OTHER6 = "198.51.100.66", "198.51.100.67", "2001:db8:66::66"
LAN, LAN6 = "192.168.1.50", "fd00:1::50"
ALL = (HOME, HOME2, HOME6, HOME62, OTHER, OTHER2, OTHER6, LAN, LAN6)

CONFIG = """
extensions:
  21: home21.example
  0021: other.example
  22: [other.example, six.example]
  23: local
  24: {hosts: [home2.example], local: true}
  25: nobody.example
  26: [home21.example, other.example]
  27: {hosts: [six.example], ipv6-prefix: 64}
  "#31": home21.example
  a+b@c: other2.example
  0: other2.example
local-subnets: [192.168.1.0/24, "fd00:1::/64"]
peers: {voipco: {hosts: [203.0.113.200]}}
"""
# Who may be whom.
ALLOWED = {
    "21": {HOME}, "0021": {OTHER}, "22": {OTHER, HOME6}, "23": {LAN, LAN6}, "24": {HOME2, LAN, LAN6},
    "25": set(), "26": {HOME, OTHER}, "27": {HOME6, HOME62}, "#31": {HOME}, "a+b@c": {OTHER2},
    "0": {OTHER2},
}


class ExportCase(Case):
    shared_net = True

    def setUp(self):
        super().setUp()
        self.server = self.dns()
        for name, kind, address in (("home21", "A", HOME), ("home2", "A", HOME2),
                                    ("other", "A", OTHER), ("other2", "A", OTHER2),
                                    ("six", "AAAA", HOME6)):
            for other in ("A", "AAAA"):
                self.server.set(name + ".example", other,
                                answer(address) if kind == other else answer())
        self.server.set("nobody.example", "A", rcode("NXDOMAIN"))
        self.server.set("nobody.example", "AAAA", rcode("NXDOMAIN"))
        self.fence.config(CONFIG + self.server.resolver())

    def sync(self, code=3):
        """25's name does not exist: that is exit status 3."""
        return self.assertCode(self.fence.run("sync", "--yes"), code)

    def export(self, *arguments, code=0, **more):
        return self.assertCode(self.fence.run("export", *arguments, **more), code)


class Command(ExportCase):
    def test_without_a_former_run_nothing_is_known(self):
        path = os.path.join(self.directory, "file")
        result = self.export("kamailio", "--write", path, code=1)
        self.assertIn("systemctl start sipfence", result.err)
        self.assertFalse(os.path.exists(path), "a file was written that refuses everybody")
        self.assertEqual(self.export("freeswitch", code=1).out, "")

    def test_usage(self):
        for arguments, word in (([], "SYSTEM"), (["opensips"], "kamailio and freeswitch"),
                                (["kamailio", "--write"], "--write FILE"),
                                (["kamailio", "file"], "--write file"),
                                (["kamailio", "--write", "a", "b"], "one argument too many"),
                                (["kamailio", "--json"], "--json does not go with export")):
            with self.subTest(arguments=arguments):
                result = self.export(*arguments, code=2)
                self.assertIn(word, result.err + result.out)

    def test_a_bad_config_writes_nothing(self):
        self.sync()
        path = os.path.join(self.directory, "file")
        self.fence.config("extensions: {21: nonsense}\n")
        self.export("kamailio", "--write", path, code=2)
        self.assertFalse(os.path.exists(path))

    def test_it_works_without_privilege_and_touches_nothing(self):
        self.sync()
        generation = self.net.pbx.generation()
        asked, saved = self.server.total, self.fence.saved()
        for system in ("kamailio", "freeswitch"):
            self.assertEqual(self.export(system).err, "")
        self.assertEqual(self.net.pbx.generation(), generation)
        self.assertEqual((self.server.total, self.fence.saved()), (asked, saved))

    def test_the_file_is_replaced_when_it_differs(self):
        self.sync()
        path = os.path.join(self.directory, "file")
        for system in ("kamailio", "freeswitch"):
            with self.subTest(system):
                wanted = self.export(system).out
                with open(path, "w") as file:
                    file.write("something old\n")
                os.chmod(path, 0o640)
                if privileged():
                    os.chown(path, 0, 2345)
                before = os.stat(path)
                result = self.export(system, "--write", path)
                self.assertIn(path + " was written", result.err)
                self.assertEqual(result.out, "")
                with open(path) as file:
                    self.assertEqual(file.read(), wanted)
                after = os.stat(path)
                self.assertNotEqual(after.st_ino, before.st_ino, "written in place")
                self.assertEqual((after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)),
                                 (before.st_uid, before.st_gid, 0o640))
                result = self.export(system, "--write", path)
                self.assertIn("is as it should be", result.err)
                self.assertEqual(os.stat(path).st_mtime_ns, after.st_mtime_ns)
                self.assertEqual(self.export(system, "--write", path, "-q").err, "")
        self.assertNotIn("file.new", os.listdir(self.directory))

    def test_a_link_is_refused(self):
        self.sync()
        path, target = os.path.join(self.directory, "file"), os.path.join(self.directory, "target")
        os.symlink(target, path)
        self.assertIn("symbolic link", self.export("kamailio", "--write", path, code=1).err)
        self.assertFalse(os.path.exists(target))

    def test_more_prefixes_than_kamailio_takes_by_itself_are_told_of(self):
        subnets = ", ".join("10.%d.0.0/24" % i for i in range(256))
        for count, warned in ((2, False), (3, True)):
            with self.subTest(count):
                self.fence.config("extensions: {%s}\nlocal-subnets: [%s]\n%s" % (
                    ", ".join("%d: local" % i for i in range(count)), subnets, self.server.resolver()))
                self.sync(0)
                result = self.export("kamailio")
                self.assertEqual("max_subnets" in result.err, warned, result)
                self.assertEqual(self.export("kamailio", "-q").err, "")
                self.assertNotIn("max_subnets", self.export("freeswitch").err)


class Freeswitch(ExportCase):
    def lists(self, text):
        root = ElementTree.fromstring(text)
        self.assertEqual(root.tag, "include")
        found = {}
        for item in root:
            self.assertEqual((item.tag, item.get("default")), ("list", "deny"))
            self.assertNotIn(item.get("name"), found, "two lists of one name")
            for node in item:
                self.assertEqual((node.tag, node.get("type"), sorted(node.attrib)),
                                 ("node", "allow", ["cidr", "type"]))
                # FreeSWITCH wants a length, always.
                self.assertRegex(node.get("cidr"), r"/\d+$")
            found[item.get("name")] = [ipaddress.ip_network(node.get("cidr")) for node in item]
        return found

    def test_each_extension_has_a_list_that_denies_the_rest(self):
        self.sync()
        lists = self.lists(self.export("freeswitch").out)
        self.assertEqual(set(lists), {"sipfence-" + id for id in ALLOWED})
        for id, allowed in ALLOWED.items():
            for address in ALL:
                inside = any(ipaddress.ip_address(address) in net for net in lists["sipfence-" + id]
                             if net.version == ipaddress.ip_address(address).version)
                self.assertEqual(inside, address in allowed, "%s from %s" % (id, address))

    def test_its_preprocessor_takes_the_file_as_it_is(self):
        """By lines: it drops <include> and <?, expands $${}, and obeys <!--# and X-PRE-PROCESS."""
        self.sync()
        folder = os.path.join(self.directory, "-->", "<!--#exec", "<include>", "$${domain}")
        os.makedirs(folder)
        path = os.path.join(folder, "X-PRE-PROCESS.yaml")
        os.rename(self.fence.path, path)
        self.fence.path = path
        text = self.export("freeswitch").out
        lines = [line for line in text.splitlines()
                 if "<include>" not in line and "</include>" not in line]
        self.assertEqual(len(lines), len(text.splitlines()) - 2)
        kept = "\n".join(lines)
        for word in ("<?", "$${", "<!--#", "pre-process"):
            self.assertNotIn(word, kept.lower())
        whole = ElementTree.fromstring("<network-lists>%s</network-lists>" % kept)
        self.assertEqual(len(whole), len(ALLOWED))

    def test_the_examples_are_as_documented(self):
        folder = os.path.join(REPO, "examples/freeswitch")
        acl = ElementTree.parse(os.path.join(folder, "acl.conf.xml")).getroot()
        self.assertEqual((acl.tag, acl.get("name")), ("configuration", "acl.conf"))
        included = acl.find("network-lists/X-PRE-PROCESS")
        self.assertEqual(included.get("cmd"), "include")
        self.assertNotIn("autoload_configs", included.get("data"))
        user = ElementTree.parse(os.path.join(folder, "21.xml")).getroot().find("user")
        params = {param.get("name"): param.get("value") for param in user.iter("param")}
        self.sync()
        self.assertIn(params["auth-acl"], self.lists(self.export("freeswitch").out))
        self.assertEqual(params["auth-acl"], "sipfence-" + user.get("id"))


class Script(ExportCase):
    """examples/hooks/export-acl with a stand-in for FreeSWITCH, which Debian does not have."""

    def setUp(self):
        super().setUp()
        self.bin = os.path.join(self.directory, "bin")
        self.file = os.path.join(self.directory, "sipfence_acl.xml")
        os.mkdir(self.bin)
        self.program("sipfence", 'exec %s "$@"' % " ".join(self.fence.argv()))

    def program(self, name, text):
        with open(os.path.join(self.bin, name), "w") as file:
            file.write("#!/bin/sh\n%s\n" % text)
        os.chmod(os.path.join(self.bin, name), 0o755)

    def script(self, system="freeswitch"):
        return self.net.pbx.run(
            [os.path.join(REPO, "examples/hooks/export-acl"), system, self.file, self.file + ".loaded"],
            check=False, env=dict(self.fence.environment, PATH=self.bin + ":" + os.environ["PATH"]))

    def test_freeswitch(self):
        asked = os.path.join(self.directory, "asked")
        self.sync()
        self.program("fs_cli", "echo '-ERR [no]'")
        done = self.script()
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("freeswitch did not read", done.stderr)
        self.program("fs_cli", 'echo "$@" >>%s; echo "+OK acl reloaded"' % asked)
        for _ in range(2):
            done = self.script()
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        with open(asked) as file:
            self.assertEqual(file.read(), "-x reloadacl\n")

    def test_an_export_that_fails_reloads_nothing(self):
        asked = os.path.join(self.directory, "asked")
        self.program("fs_cli", 'touch %s; echo "+OK acl reloaded"' % asked)
        done = self.script()
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("systemctl start sipfence", done.stderr)
        self.assertFalse(os.path.exists(asked))


CREDENTIALS = ('%s: Digest username="%s", realm="pbx", nonce="a", uri="sip:pbx", '
               'response="00000000000000000000000000000000"\r\n')


class Kamailio(ExportCase):
    needs = ("kamailio", "kamcmd")

    def setUp(self):
        super().setUp()
        self.addresses = os.path.join(self.directory, "sipfence_address")
        self.socket = "unix:" + os.path.join(self.directory, "ctl")
        self.log = os.path.join(self.directory, "kamailio.log")
        self.loaded = os.path.join(self.directory, "loaded")
        self.bin = os.path.join(self.directory, "bin")
        os.mkdir(self.bin)
        self.program("kamcmd", 'exec /usr/sbin/kamcmd -s %s "$@"' % self.socket)
        self.program("sipfence", 'exec %s "$@"' % " ".join(self.fence.argv()))

    def program(self, name, text):
        path = os.path.join(self.bin, name)
        with open(path, "w") as file:
            file.write("#!/bin/sh\n%s\n" % text)
        os.chmod(path, 0o755)
        return path

    def kamailio(self, *defines):
        with open(self.log, "w") as log:
            child = self.net.pbx.popen(
                ["kamailio", "-f", os.path.join(REPO, "examples/kamailio/kamailio.cfg"), "-DD",
                 "-A", 'SIPFENCE_ADDRESSES="%s"' % self.addresses,
                 "-A", 'SIPFENCE_CTL="%s"' % self.socket,
                 *[word for define in defines for word in ("-A", define)],
                 "-Y", self.directory, "-P", os.path.join(self.directory, "pid"),
                 # It finds no interfaces of an index above 255 by itself.
                 "-l", "udp:%s" % PBX, "-l", "udp:%s" % PBX_LAN,
                 "-l", "udp:[%s]" % PBX6, "-l", "udp:[%s]" % PBX_LAN6],
                stdout=log, stderr=log)
        self.addCleanup(end, child)
        self.assertTrue(wait_until(
            lambda: child.poll() is None and self.ask(LAN, "OPTIONS", "nobody", "nobody") == 404, 15),
            self.said())
        return child

    def said(self):
        with open(self.log) as file:
            return file.read()

    def start(self):
        self.sync()
        self.export("kamailio", "--write", self.addresses)
        return self.kamailio()

    def ask(self, source, method, of, to=None, more="", wait=1.0):
        """The status of the answer; None without one."""
        host, pbx = {"203": (self.net.home, PBX), "198": (self.net.rogue, PBX),
                     "192": (self.net.lan, PBX_LAN), "fd0": (self.net.lan, PBX_LAN6),
                     "200": (self.net.rogue if ":66:" in source else self.net.home, PBX6),
                     }[source[:3]]
        with host.udp(source, 0, wait) as sock:
            local, port = sock.getsockname()[:2]
            local = "[%s]" % local if ":" in local else local
            token = os.urandom(8).hex()
            sock.sendto((
                "%s sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP %s:%d;branch=z9hG4bK%s\r\n"
                "From: <sip:%s@pbx.example>;tag=%s\r\nTo: <sip:%s@pbx.example>\r\nCall-ID: %s\r\n"
                "CSeq: 1 %s\r\nMax-Forwards: 70\r\n%sContent-Length: 0\r\n\r\n" % (
                    method, local, port, token, of, token, of if to is None else to, token, method,
                    more)).encode(), (pbx, 5060))
            try:
                return int(sock.recv(4096).split()[1])
            except socket.timeout:
                return None

    @staticmethod
    def in_uri(id):
        return id.replace("#", "%23").replace("@", "%40")

    def assertBound(self, allowed):
        """Each extension from each address: in the firewall's list all of them are."""
        for id, addresses in allowed.items():
            for address in ALL:
                for method in ("REGISTER", "OPTIONS"):
                    self.assertEqual(self.ask(address, method, self.in_uri(id)),
                                     200 if address in addresses else 403,
                                     "%s of %s from %s\n%s" % (method, id, address, self.said()))

    def unlisted_pass_the_kernel(self):
        """Kamailio alone decides then."""
        self.fence.run("remove")

    def test_an_extension_comes_from_its_own_addresses_alone(self):
        self.start()
        self.unlisted_pass_the_kernel()
        self.assertBound(ALLOWED)
        self.assertNotIn("CRITICAL", self.said())

    def test_with_the_kernel_side_on(self):
        self.start()
        for address in (HOME, OTHER, LAN, HOME6):
            self.assertEqual(self.ask(address, "REGISTER", "21"), 200 if address == HOME else 403)
        # In the union nobody has this one.
        self.assertIsNone(self.ask(OTHER6, "REGISTER", "22", wait=0.4))

    def test_whatever_a_request_names_is_looked_at(self):
        self.start()
        self.unlisted_pass_the_kernel()
        first, second = (CREDENTIALS % ("Proxy-Authorization", id) for id in ("0021", "21"))
        for source, method, of, to, more, status in (
                (OTHER, "REGISTER", "0021", "0021", "", 200),
                # The registration is that of To.
                (OTHER, "REGISTER", "0021", "21", "", 403),
                (OTHER, "REGISTER", "nobody", "21", "", 403),
                (OTHER, "REGISTER", "0021", "nobody", "", 403),
                (OTHER, "OPTIONS", "0021", "21", "", 200),
                # Another way to write 21.
                (OTHER, "REGISTER", "0021", "%32%31", "", 403),
                (OTHER, "OPTIONS", "%321", "%321", "", 403),
                (HOME, "REGISTER", "%321", "%321", "", 200),
                # Somebody's credentials, in whatever name.
                (HOME, "OPTIONS", "nobody", "0021", CREDENTIALS % ("Authorization", "21"), 200),
                (OTHER, "OPTIONS", "nobody", "0021", CREDENTIALS % ("Authorization", "21"), 403),
                (OTHER, "OPTIONS", "0021", "0021", CREDENTIALS % ("Proxy-Authorization", "21"), 403),
                (OTHER, "OPTIONS", "0021", "0021", CREDENTIALS % ("Authorization", "#31"), 403),
                (OTHER, "OPTIONS", "0021", "0021", first, 200),
                (OTHER, "OPTIONS", "0021", "0021", first + second, 403),
                (OTHER, "OPTIONS", "0021", "0021",
                 first + CREDENTIALS % ("Authorization", "21"), 403),
                # No names of extensions: the script goes on; nor any that breaks the table's names.
                (OTHER, "OPTIONS", "nobody", "21", "", 404), (OTHER, "REGISTER", "nobody", None, "", 403),
                (OTHER, "OPTIONS", "sipfence-21", "21", "", 404), (OTHER, "OPTIONS", HOME, HOME, "", 404),
                (OTHER, "OPTIONS", "[%s]" % HOME6, "21", "", 404),
                (OTHER, "REGISTER", "0021", "", "", 403), (OTHER, "REGISTER", "0021", "2%31%00", "", 403),
                (OTHER2, "REGISTER", "0", "2%31%00", "", 403), (OTHER2, "REGISTER", "0", "0", "", 200),
                (OTHER, "REGISTER", "0021", "2%3", "", 403), (OTHER, "REGISTER", "0021", "2%3g", "", 403)):
            with self.subTest(source=source, method=method, of=of, to=to, more=more):
                self.assertEqual(self.ask(source, method, of, to, more), status, self.said())

    def test_a_reload_between_the_two_lookups(self):
        """As if 21's group were another's by now: the tag tells."""
        with open(self.addresses, "w") as file:
            file.write("1000001 sipfence-21 32 0 21\n1000001 %s 32 0 22\n1000001 %s 32 0 21\n"
                       "1000001 %s 24 0 0021\n" % (HOME, HOME2, OTHER))
        self.kamailio()
        for source, status in ((HOME, 403), (HOME2, 200), (OTHER, 403)):
            self.assertEqual(self.ask(source, "REGISTER", "21"), status, source)

    def test_as_many_prefixes_as_it_was_told(self):
        nets = ["10.%d.%d.0/24" % (i // 256, i % 256) for i in range(300)]
        self.fence.config("extensions: {21: local, 22: local}\nlocal-subnets: [%s]\n%s" % (
            ", ".join(nets + ["192.168.1.0/24"]), self.server.resolver()))
        self.sync(0)
        self.export("kamailio", "--write", self.addresses)
        child = self.kamailio("SIPFENCE_PREFIXES=512")
        self.assertIn("subnet table is full", self.said())
        self.assertEqual([self.ask(LAN, "REGISTER", id) for id in ("21", "22")], [200, 403])
        end(child)
        self.kamailio()
        self.assertNotIn("subnet table is full", self.said())
        self.assertEqual([self.ask(LAN, "REGISTER", id) for id in ("21", "22")], [200, 200])

    def test_what_it_does_to_the_log(self):
        self.start()
        self.ask(OTHER, "REGISTER", "21")
        self.assertTrue(wait_until(lambda: re.search(
            r"sipfence: REGISTER refused: 21 from %s port \d+ \(udp\)" % re.escape(OTHER), self.said())),
            self.said())

    def hook(self, **environment):
        return self.net.pbx.run(
            [os.path.join(REPO, "examples/hooks/export-acl"), "kamailio", self.addresses, self.loaded],
            check=False, env=dict(self.fence.environment, PATH=self.bin + ":" + os.environ["PATH"],
                                  **environment))

    def assertHook(self, code=0, said="", **environment):
        done = self.hook(**environment)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done)
        self.assertRegex(done.stderr, "^%s$" % said)

    def test_a_rewritten_file_is_read_again(self):
        self.sync()
        self.assertHook(1, "kamailio did not read %s again; .*\n" % self.addresses)  # it is written, but nobody is there
        self.kamailio()
        self.unlisted_pass_the_kernel()
        self.assertEqual(self.ask(HOME, "REGISTER", "21"), 200)
        self.assertHook()
        self.server.set("home21.example", "A", answer(HOME2))
        self.sync()
        self.unlisted_pass_the_kernel()
        # Kamailio knows nothing of that yet, and takes no second reload so soon: the script waits.
        self.assertEqual(self.ask(HOME, "REGISTER", "21"), 200)
        self.assertHook()
        self.assertEqual(self.ask(HOME, "REGISTER", "21"), 403)
        self.assertEqual(self.ask(HOME2, "REGISTER", "21"), 200)
        self.assertEqual(self.ask(OTHER, "REGISTER", "0021"), 200)
        # Nothing new: nothing is done, and there is no waiting.
        before, start = os.stat(self.loaded).st_mtime_ns, time.monotonic()
        self.assertHook()
        self.assertHook(SIPFENCE_EVENT="dns")
        self.assertLess(time.monotonic() - start, 4)
        self.assertEqual(os.stat(self.loaded).st_mtime_ns, before)
        # An extension that goes takes its number along, and another one gets it.
        self.fence.config(re.sub(r"(?m)^  21: .*\n", "", CONFIG) + self.server.resolver())
        self.sync()
        self.unlisted_pass_the_kernel()
        self.assertHook()
        self.assertBound({id: {HOME2 if a == HOME else a for a in addresses}
                          for id, addresses in ALLOWED.items() if id in ("0021", "22", "26")})
        self.assertEqual(self.ask(HOME2, "REGISTER", "21"), 403)
        self.assertEqual(self.ask(HOME2, "OPTIONS", "21"), 404)

    def test_the_daemon_has_it_done(self):
        if os.stat("/").st_uid != 0:
            self.skipTest("/ belongs to a user that this namespace does not know")
        wrapper = self.program("changed", "PATH=%s:$PATH\nexport PATH\nexec %s kamailio %s %s" % (
            self.bin, os.path.join(REPO, "examples/hooks/export-acl"), self.addresses, self.loaded))
        self.fence.config(CONFIG + self.server.resolver() + "refresh: {min: 1s, max: 2s}\n"
                          "on-change: %s\n" % json.dumps([wrapper]))
        for name in ("home21", "home2", "other", "other2", "six"):
            self.server.set(name + ".example", "AAAA" if name == "six" else "A", answer(
                {"home21": HOME, "home2": HOME2, "other": OTHER, "other2": OTHER2, "six": HOME6}[name],
                ttl=1))
        self.start()
        daemon = self.daemon()
        self.assertEqual(self.ask(HOME, "REGISTER", "21"), 200)
        self.server.set("home21.example", "A", answer(HOME2, ttl=1))
        self.assertTrue(wait_until(lambda: self.ask(HOME2, "REGISTER", "21") == 200, 20),
                        daemon.log())
        self.assertNotEqual(self.ask(HOME, "REGISTER", "21", wait=0.4), 200)


if __name__ == "__main__":
    main(at_once=3)
