# SPDX-License-Identifier: GPL-2.0-or-later
"""
An Asterisk 16 as the PBX of the system tests' network, and phones around it.

    class Story(PbxCase):                        # one network and one Asterisk for the class
        def test_one(self):
            home = self.phone("21", HOME)        # see phone.py; its PBX is this one
            self.assertEqual(home.register(), 200)
            self.assertEqual(self.where("21"), [HOME])
            self.pbx.ask("sip show peers")       # what `asterisk -rx` prints

    if __name__ == "__main__":
        main()                                   # makes the chroot first, where it may

Asterisk's world is the chroot of chroot.py, mounted read-only below the test's folder, in the mount
namespace of the test; what Asterisk reads and writes (/etc/asterisk, its database, its logs, /run) is the
test's own. 20 and 21 are peers of chan_sip, port 5060; 22 and 24 are endpoints of pjsip, port 5070. Each of
them is bound to its ACL of sipfence, where the test's config says so.
"""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../system")]
sys.dont_write_bytecode = True

import chroot
import harness
from harness import INSIDE, Case, end, privileged, wait_until
from phone import Phone

PBX, PBX6, PBX_LAN = "192.0.2.10", "2001:db8:1::10", "192.168.1.1"
HOME, HOME2, ROGUE, LAN = "203.0.113.10", "203.0.113.77", "198.51.100.66", "192.168.1.50"
HOME_V6, ROGUE_V6 = "2001:db8:21::10", "2001:db8:66::66"
SECRET = "a-long-secret-21"
SIP, PJSIP = ("20", "21"), ("22", "24")
DRIVERS = ("21", "22")  # one of each driver
BOOT = 30  # seconds at most
PROBLEM = "SIPFENCE_BULLSEYE_PROBLEM"

MODULES = """
res_crypto res_http_websocket res_rtp_asterisk res_security_log res_timing_timerfd res_sorcery_astdb
res_sorcery_config res_sorcery_memory res_pjproject res_pjsip res_pjsip_session res_pjsip_sdp_rtp
res_pjsip_pubsub res_pjsip_acl res_pjsip_authenticator_digest res_pjsip_endpoint_identifier_user res_pjsip_nat
res_pjsip_registrar res_pjsip_rfc3326 res_pjsip_caller_id chan_pjsip chan_sip pbx_config app_dial
app_stack bridge_simple codec_ulaw format_pcm func_callerid func_channel
"""

SIP_CONF = """
[general]
udpbindaddr=[::]:5060
alwaysauthreject=yes
allowguest=no
context=nobody
defaultexpiry=300
disallow=all
allow=ulaw
directmedia=no
[phone](!)
type=friend
host=dynamic
secret={secret}
context=phones
qualify=no
{peers}
"""

PJSIP_CONF = """
[udp]
type=transport
protocol=udp
bind=0.0.0.0:5070
[udp6]
type=transport
protocol=udp
bind=[::]:5070
{endpoints}
"""

ENDPOINT = """
[{id}]
type=endpoint
aors={id}
auth={id}
context=phones
disallow=all
allow=ulaw
direct_media=no
{acl}
[{id}]
type=auth
auth_type=userpass
username={id}
password={secret}
[{id}]
type=aor
max_contacts=1
remove_existing=yes
"""

# 00… is what a thief calls; 100 is the PBX itself.
EXTENSIONS_CONF = """
[phones]
exten => 20,1,Dial(SIP/20,20)
exten => 21,1,Dial(SIP/21,20)
exten => 22,1,Dial(PJSIP/22,20)
exten => 24,1,Dial(PJSIP/24,20)
exten => 100,1,Answer()
 same => n,Wait(60)
exten => _00.,1,Answer()
 same => n,Wait(60)
[nobody]
"""

LOGGER_CONF = """
[general]
{date}
[logfiles]
full => notice,warning,error,verbose(5)
security => security
"""


class Pbx:
    """Asterisk in a host. Not started by itself."""

    def __init__(self, host, root, directory, date="%F %T"):
        self.host, self.directory = host, directory
        self.root = os.path.join(directory, "root")
        self.date = date
        self.child = None
        self.mounts = []
        with open(os.path.join(root, "etc/passwd")) as file:
            self.uid, self.gid = map(int, re.search(r"(?m)^asterisk:[^:]*:(\d+):(\d+):",
                                                    file.read()).groups())
        os.makedirs(self.root)
        for path in ("", os.path.dirname(directory)):
            os.chmod(os.path.join(directory, path), 0o755)
        try:
            self.mount("--bind", root, "")
            self.mount("-o", "remount,bind,ro", "", again=True)
            self.mount("-t", "proc", "proc", "proc")
            for name, path in (("etc", "etc/asterisk"), ("lib", "var/lib/asterisk"),
                               ("spool", "var/spool/asterisk"), ("log", "var/log/asterisk"),
                               ("run", "run/asterisk"), ("tmp", "tmp")):
                folder = self.path(name)
                os.mkdir(folder)
                if name == "run":
                    self.mount("-t", "tmpfs", "none", "run")
                    os.mkdir(os.path.join(self.root, path))
                self.mount("--bind", folder, path)
                os.chown(folder, self.uid, self.gid)
            # chan_sip looks names up, and there is no DNS here: that would take it seconds each time.
            with open(self.path("nsswitch.conf"), "w") as file:
                file.write("passwd: files\ngroup: files\nhosts: files\n")
            self.mount("--bind", self.path("nsswitch.conf"), "etc/nsswitch.conf")
        except BaseException:
            self.close()
            raise

    def mount(self, *arguments, again=False):
        target = os.path.join(self.root, arguments[-1])
        subprocess.run(["mount", *arguments[:-1], target], check=True, timeout=30)
        if not again:
            self.mounts.append(target)

    # Its files

    def path(self, *parts):
        """Of what is Asterisk's own: etc, log, ..."""
        return os.path.join(self.directory, *parts)

    @property
    def acl_file(self):
        return self.path("etc/sipfence_acl.conf")

    def config(self, name, text):
        """A file in /etc/asterisk; nobody sees half of it."""
        path = self.path("etc", name)
        with open(path + ".new", "w") as file:
            file.write(text.lstrip())
        os.chown(path + ".new", self.uid, self.gid)
        os.chmod(path + ".new", 0o640)
        os.rename(path + ".new", path)

    def configure(self, bound=True):
        """All files. bound: each extension names its ACL."""
        def acl(extension):
            return "acl=sipfence-" + extension if bound else ""
        self.config("asterisk.conf", "[options]\nverbose=5\n")
        self.config("modules.conf", "[modules]\nautoload=no\n" + "".join(
            "load => %s.so\n" % name for name in MODULES.split()))
        self.config("logger.conf", LOGGER_CONF.format(
            date="dateformat=" + self.date if self.date else ""))
        self.config("extensions.conf", EXTENSIONS_CONF)
        self.config("rtp.conf", "[general]\nrtpstart=10000\nrtpend=10200\n")
        self.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n")
        self.config("sip.conf", SIP_CONF.format(secret=SECRET, peers="\n".join(
            "[%s](phone)\n%s" % (extension, acl(extension)) for extension in SIP)))
        self.config("pjsip.conf", PJSIP_CONF.format(endpoints="".join(ENDPOINT.format(
            id=extension, acl=acl(extension), secret=SECRET) for extension in PJSIP)))

    def log(self, name="security"):
        with contextlib.suppress(FileNotFoundError):
            with open(self.path("log", name), errors="replace") as file:
                return file.read()
        return ""

    # Its life

    def start(self):
        with open(self.path("console"), "ab") as console:
            self.child = self.host.popen(["chroot", self.root, "asterisk", "-f", "-q", "-U",
                                          "asterisk", "-G", "asterisk"], stdout=console, stderr=console)
        if not wait_until(self.booted, BOOT, 0.05):
            with open(self.path("console"), errors="replace") as console:
                raise RuntimeError("Asterisk does not start: " + console.read()[-4000:])

    def booted(self):
        if self.child.poll() is not None:
            raise RuntimeError("Asterisk has ended: %d\n%s" % (
                self.child.returncode, self.log("full")[-4000:]))
        done = self.run("core waitfullybooted")
        return done.returncode == 0 and "fully booted" in done.stdout

    def run(self, command):
        return self.host.run([*self.command, command], check=False)

    @property
    def command(self):
        """asterisk.command of a config."""
        return ["/usr/sbin/chroot", self.root, "asterisk", "-rx"]

    def ask(self, command):
        done = self.run(command)
        if done.returncode != 0 or "No such command" in done.stdout:
            raise RuntimeError("%s: %d %s%s" % (command, done.returncode, done.stdout, done.stderr))
        return re.sub(r"(?m)^No ethernet interface found.*\n", "", done.stdout)

    def stop(self):
        """It writes its database at each change: a kill would lose nothing either."""
        if self.child:
            end(self.child, 5)
            self.host.children.remove(self.child)
            self.child = None

    def close(self):
        self.stop()
        for target in reversed(self.mounts):
            subprocess.run(["umount", "-l", target], check=False, timeout=30)
        self.mounts = []

    # What it knows

    def contacts(self):
        """Where calls go to: {extension: [(address, port), ...]}."""
        output = self.ask('database query "SELECT key, value FROM astdb WHERE key LIKE '
                          "'/SIP/Registry/%' OR key LIKE '/registrar/contact/%'\"")
        found = {}
        for key, value in re.findall(r"(?m)^key  : (\S+)\s*\nvalue: (.*)$", output):
            extension = re.split(r"[/;]", key)[3]
            host = re.match(r'.*"uri":"sip:[^@"]*@(\[[^]]*\]|[^:;"]*):?(\d*)', value) \
                if key.startswith("/registrar/") else re.match(r"(\[[^]]*\]|[^:]*):(\d*)", value)
            found.setdefault(extension, []).append((host.group(1).strip("[]"), int(host.group(2) or 5060)))
        return found

    def channels(self):
        output = self.ask("core show channels concise")
        return [line.split("!")[0] for line in output.splitlines() if "!" in line]

    def forget(self):
        """No call, no registration, no ACL of sipfence."""
        for channel in self.channels():
            self.ask("channel request hangup " + channel)
        for extension in SIP:
            self.ask("sip unregister " + extension)
        self.ask("database query \"UPDATE astdb SET value=json_set(value,'$.expiration_time','1') "
                 "WHERE key LIKE '/registrar/contact/%'\"")
        for extension in PJSIP:
            self.ask("pjsip show aor " + extension)

    def open_acls(self):
        """ACLs that let everybody in: without the file the peers that name them would be refused."""
        self.config("sipfence_acl.conf", "".join(
            "[sipfence-%s]\npermit=0.0.0.0/0\npermit=::/0\n" % extension for extension in SIP + PJSIP))
        self.ask("module reload acl")
        self.settle()

    @staticmethod
    def settle():
        """Asterisk says that ACLs are loaded; its drivers take them over within 50 ms."""
        time.sleep(0.15)


class Calling:
    """A call that another thread makes: .status is its final answer, after join()."""

    def __init__(self, phone, number, seconds):
        self.status = None

        def call():
            self.status = phone.invite(number, seconds)
        self.thread = threading.Thread(target=call, daemon=True)
        self.thread.start()

    def join(self):
        self.thread.join(10)
        return self.status


class PbxCase(Case):
    """The network, Asterisk and the phones; of each class one, put back before each test."""
    shared_net = True
    needs = ("chroot", "mount")
    bound = True
    date = "%F %T"

    @classmethod
    def setUpClass(cls):
        if os.environ.get(PROBLEM):
            raise unittest.SkipTest(os.environ[PROBLEM])
        if not privileged():
            raise unittest.SkipTest("Asterisk's chroot needs root")
        super().setUpClass()
        cls.folder = tempfile.mkdtemp(prefix="sipfence-pbx-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.pbx = Pbx(cls.class_net.pbx, os.environ["SIPFENCE_BULLSEYE"],
                      os.path.join(cls.folder, "pbx"), cls.date)
        cls.addClassCleanup(cls.pbx.close)
        cls.pbx.configure(cls.bound)
        cls.pbx.start()

    def setUp(self):
        super().setUp()
        self.phones = []
        self.addCleanup(self.hang_up)
        if not self.pbx.child or self.pbx.child.poll() is not None:
            self.pbx.start()
        self.pbx.config("acl.conf", "#tryinclude /etc/asterisk/sipfence_acl.conf\n")
        self.pbx.forget()
        self.pbx.open_acls()
        self.security_from = len(self.pbx.log())

    def hang_up(self):
        for phone in self.phones:
            phone.close()

    def phone(self, extension, address, port=0, password=SECRET):
        """At that address, of the host that has it."""
        host = {"203": self.net.home, "198": self.net.rogue, "192": self.net.lan}.get(address[:3])
        if not host:
            host = self.net.rogue if ":66:" in address else self.net.home
        there = PBX6 if ":" in address else PBX_LAN if address == LAN else PBX
        phone = Phone(host.udp(address, port), there, extension, password,
                      5060 if extension in SIP else 5070)
        self.phones.append(phone)
        return phone

    def sipfence(self, *arguments, code=0, **more):
        result = self.fence.run(*arguments, **more)
        self.assertEqual(result.code, code, result)
        return result

    def where(self, extension):
        """The addresses at which calls to it arrive."""
        return sorted(address for address, _ in self.pbx.contacts().get(extension, []))

    def assertWhere(self, extension, *addresses, message=None):
        self.assertEqual(self.where(extension), sorted(addresses), message)

    def rings(self, extension, phone, caller, seconds=2.0):
        """Does a call to the extension arrive at this phone? It is busy there."""
        calling = Calling(caller, extension, seconds + 1)
        arrived = "INVITE" in phone.listen(seconds, until="INVITE")
        status = calling.join()
        return arrived and status == 486

    def security(self):
        """The events of this test: dicts of what stands in them."""
        found = []
        for line in self.pbx.log()[self.security_from:].splitlines():
            fields = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if fields.get("SecurityEvent"):
                fields["from"] = fields.get("RemoteAddress", "").split("/")[-2:][0]
                found.append(fields)
        return found


def main(at_once=1):
    """As harness.main(); the chroot is made before the test's network has no way out."""
    if not os.environ.get(INSIDE) and not os.environ.get(PROBLEM):
        folder, problem = chroot.find()
        if problem:
            os.environ[PROBLEM] = problem
        else:
            os.environ["SIPFENCE_BULLSEYE"] = os.path.abspath(folder)
    harness.main(at_once)
