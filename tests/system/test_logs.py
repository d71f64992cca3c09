#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is logged, and who reads it: syslog (a socket of ours, and a real rsyslogd), the page that lists
all events, a real fail2ban that reads the kernel's lines about dropped packets, logrotate.
"""
import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from daemon_case import HOME, HOME2, DaemonCase
from harness import PATH, REPO, main, read_event, wait_until

EXAMPLES = os.path.join(REPO, "examples")
# facility daemon
DAEMON = 3 << 3

# As Linux 6.18 has printed them, of the rule of service sip: a datagram, one over IPv6, a SYN; and one
# of an interface without addresses of its own, as ppp has none.
DROPPED = [
    "sipfence sip IN=va OUT= MAC=7a:f3:18:8f:30:6b:82:a1:87:cb:a9:fa:08:00 SRC=198.51.100.9 "
    "DST=198.51.100.1 LEN=53 TOS=0x00 PREC=0x00 TTL=64 ID=47704 DF PROTO=UDP SPT=5070 DPT=5060 LEN=33 ",
    "sipfence sip IN=va OUT= MAC=7a:f3:18:8f:30:6b:82:a1:87:cb:a9:fa:86:dd "
    "SRC=2001:0db8:0001:0000:0000:0000:0000:0009 DST=2001:0db8:0001:0000:0000:0000:0000:0001 LEN=73 TC=0 "
    "HOPLIMIT=64 FLOWLBL=794292 PROTO=UDP SPT=53828 DPT=5060 LEN=33 ",
    "sipfence sip IN=va OUT= MAC=7a:f3:18:8f:30:6b:82:a1:87:cb:a9:fa:08:00 SRC=198.51.100.9 "
    "DST=198.51.100.1 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=13927 DF PROTO=TCP SPT=59572 DPT=5061 "
    "WINDOW=64240 RES=0x00 SYN URGP=0 ",
    "sipfence sip IN=ppp0 OUT= MAC= SRC=198.51.100.10 DST=198.51.100.1 LEN=53 TOS=0x00 PREC=0x00 TTL=64 "
    "ID=47705 DF PROTO=UDP SPT=5070 DPT=5060 LEN=33 ",
]
SOURCES = ["198.51.100.9", "2001:db8:1::9", "198.51.100.9", "198.51.100.10"]
# Of others, in the same log; the last one is what a program calls itself.
OTHERS = [
    "other sip IN=va OUT= MAC= SRC=198.51.100.77 DST=198.51.100.1 LEN=53 PROTO=UDP SPT=5070 DPT=5060 LEN=33 ",
    "sipfence sip IN=va OUT=vb MAC= SRC=198.51.100.78 DST=198.51.100.1 LEN=53 PROTO=UDP SPT=5070 DPT=5060 LEN=33 ",
    "audit: comm=\"sipfence sip IN=va OUT= MAC= SRC=198.51.100.79 DST=198.51.100.1 \"",
]


def run(*argv, **more):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                          check=False, **more)


def own_dev():
    """A /dev of this mount namespace, with the devices that programs need, and no log."""
    folder = tempfile.mkdtemp(prefix="sipfence-dev-")
    for argv in (["mount", "--rbind", "/dev", folder], ["mount", "-t", "tmpfs", "tmpfs", "/dev"]):
        subprocess.run(argv, check=True)
    for name in ("null", "zero", "random", "urandom", "full", "tty"):
        path = os.path.join("/dev", name)
        with open(path, "w"):
            pass
        subprocess.run(["mount", "--bind", os.path.join(folder, name), path], check=True)
    os.symlink("/proc/self/fd", "/dev/fd")
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)


class LogSocket:
    """/dev/log, as a log daemon has it."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/dev/log")
        os.chmod("/dev/log", 0o666)
        self.socket.setblocking(False)
        self.got = []
        return self

    def __exit__(self, *_):
        self.socket.close()
        os.unlink("/dev/log")

    def lines(self):
        """(priority, seconds, tag, pid, event) of all that came until now."""
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return self.got
            found = re.fullmatch(r"<(\d+)>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (\w+)\[(\d+)\]: (event=.*)",
                                 data.decode("ascii"))
            if not found:
                raise AssertionError("not a line for syslog: %r" % data)
            when = time.strptime("%d %s" % (time.localtime().tm_year, found.group(2)), "%Y %b %d %H:%M:%S")
            self.got.append((int(found.group(1)), time.mktime(when), found.group(3),
                             int(found.group(4)), read_event(found.group(5))))

    def wait_for(self, name, seconds=10.0, **values):
        def come():
            return [line for line in self.lines() if line[4]["event"] == name
                    and all(line[4].get(key) == value for key, value in values.items())]
        found = wait_until(come, seconds)
        if not found:
            raise AssertionError("no %s %s among %s" % (name, values, self.got))
        return found[0]


class Syslog(DaemonCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        own_dev()

    def test_lines(self):
        self.points(HOME)
        self.configure()
        with LogSocket() as log:
            daemon = self.daemon("--syslog", ready=False)
            log.wait_for("ready")
            log.wait_for("change", new=HOME)
            self.points()
            log.wait_for("state", state="gone")
            self.assertEqual(daemon.stop(), 0)
            log.wait_for("stop")
            lines = log.lines()
        levels = {line[4]["event"]: line[0] for line in lines if line[4]["event"] != "state"}
        self.assertEqual(levels["start"], DAEMON | signal_level("notice"))
        self.assertEqual(levels["table"], DAEMON | signal_level("notice"))
        self.assertIn(DAEMON | signal_level("warning"),
                      [line[0] for line in lines if line[4]["event"] == "state"])
        for _, when, tag, pid, _ in lines:
            self.assertEqual((tag, pid), ("sipfence", daemon.pid))
            self.assertLess(abs(time.time() - when), 60)
        self.assertEqual(daemon.log(), "")

    def test_levels(self):
        self.points(HOME)
        self.configure("on-change: [/bin/true]\n")
        seen = {}
        for option in ("-q", "--syslog", "-v"):
            with LogSocket() as log:
                daemon = self.daemon("--syslog", option, ready=False)
                self.assertTrue(wait_until(lambda: os.path.exists(daemon.control_path), 10))
                self.assertAllowed(HOME)
                if option == "-v":
                    log.wait_for("hook", result="done")
                self.assertEqual(daemon.stop(), 0)
                seen[option] = {line[0] & 7 for line in log.lines()}
        self.assertLessEqual(max(seen["-q"], default=0), signal_level("warning"))
        self.assertIn(signal_level("notice"), seen["--syslog"])
        self.assertNotIn(signal_level("debug"), seen["--syslog"])
        self.assertIn(signal_level("debug"), seen["-v"])

    def test_a_log_daemon_that_is_not_there(self):
        """The lines stand on standard error then; the next one that there is gets the rest, and is told."""
        self.points(HOME)
        self.configure()
        daemon = self.daemon("--syslog")
        self.assertEqual(len(daemon.events("ready")), 1)
        self.assertAllowed(HOME)
        with LogSocket() as log:
            self.points(HOME2)
            self.assertAllowed(HOME2)
            log.wait_for("left-out")
            log.wait_for("change", new=HOME2)
            left_out = int(log.wait_for("left-out")[4]["lines"])
        self.assertEqual(left_out, len(daemon.lines()))
        self.assertEqual(daemon.events("change", new=HOME2), [])
        # Another one, at the same place.
        with LogSocket() as log:
            self.points(HOME)
            log.wait_for("change", new=HOME)

    def test_a_log_daemon_that_hangs(self):
        self.points(HOME)
        self.configure(extensions="21: home21.example, " + ", ".join(
            "%d: n%d.example" % (number, number) for number in range(100, 140)))
        queue = "/proc/sys/net/unix/max_dgram_qlen"
        with contextlib.suppress(OSError), open(queue, "w") as file:
            file.write("8")
        with LogSocket() as log:
            daemon = self.daemon("--syslog", ready=False)
            # It works all the same.
            self.assertAllowed(HOME)
            self.points(HOME2)
            self.assertAllowed(HOME2)
            self.assertTrue(daemon.request({"request": "refresh"}, timeout=20)["ok"])
            lost = len(daemon.lines())
            if not lost:
                self.skipTest("the queue of a socket takes all of it here")
            kept = len(log.lines())
            self.assertGreater(kept, 5)
            self.points("203.0.113.88")
            log.wait_for("change", new="203.0.113.88")
            self.assertGreaterEqual(int(log.wait_for("left-out")[4]["lines"]), lost)
            # Before what came after it.
            self.assertEqual(log.lines()[kept][4]["event"], "left-out")

    def test_why_it_does_not_start(self):
        self.fence.config("extensions: {21: home21}\n")
        with LogSocket() as log:
            daemon = self.daemon("--syslog", ready=False, codes=(2,))
            self.assertEqual(daemon.wait(), 2)
            priority, _, _, _, event = log.wait_for("refused")
        self.assertEqual(priority, DAEMON | signal_level("error"))
        self.assertEqual(event["exit"], "2")
        self.assertIn(":1:", event["error"])
        self.assertTrue(event["next"])
        self.assertIn(":1:", daemon.log())
        # A second one beside the first.
        self.points(HOME)
        self.configure()
        first = self.daemon()
        with LogSocket() as log:
            second = self.daemon("--syslog", ready=False, codes=(1,))
            self.assertEqual(second.wait(), 1)
            self.assertEqual(log.wait_for("refused")[4]["exit"], "1")
        self.assertEqual(first.events("refused"), [])

    def test_rsyslogd(self):
        """Who reads the files of examples/syslog is a real one."""
        if not shutil.which("rsyslogd", path=PATH):
            self.skipTest("rsyslogd is missing")
        out = os.path.join(self.directory, "sipfence.log")
        with open(os.path.join(EXAMPLES, "syslog/rsyslog.conf")) as file:
            example = file.read()
        self.assertIn('"/var/log/sipfence.log"', example)
        config = os.path.join(self.directory, "rsyslog.conf")
        with open(config, "w") as file:
            file.write('module(load="imuxsock" SysSock.Use="on" SysSock.Name="/dev/log")\n'
                       'template(name="all" type="string" string="%syslogfacility-text%.'
                       '%syslogseverity-text% %programname%[%procid%]:%msg%\\n")\n'
                       'module(load="builtin:omfile" template="all")\n')
            file.write(example.replace("/var/log/sipfence.log", out))
        daemon = self.fence.host.popen(["rsyslogd", "-n", "-f", config, "-i",
                                        os.path.join(self.directory, "rsyslogd.pid")])
        self.addCleanup(daemon.wait, 10)
        self.addCleanup(daemon.terminate)
        self.addCleanup(lambda: os.path.exists("/dev/log") and os.unlink("/dev/log"))
        self.assertTrue(wait_until(lambda: os.path.exists("/dev/log"), 10), "rsyslogd makes no /dev/log")
        self.points(HOME)
        self.configure()
        fence = self.daemon("--syslog", ready=False)

        def text():
            if not os.path.exists(out):
                return ""
            with open(out) as file:
                return file.read()
        self.assertTrue(wait_until(lambda: "new=" + HOME in text(), 10), text())
        self.assertRegex(text(), r"(?m)^daemon\.notice sipfence\[%d\]: event=start version=" % fence.pid)
        # A warning where there is no user of its own.
        self.assertRegex(text(), r"(?m)^daemon\.(info|warning) sipfence\[%d\]: event=privilege " % fence.pid)


def signal_level(name):
    return ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"].index(name)


class Page(unittest.TestCase):
    """sipfence(8) lists every event and each of its keys."""

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(REPO, "cmd/sipfence/sipfence.8.scd")) as file:
            section = file.read().split("\n# EVENTS\n")[1].split("\n# ")[0]
        # {event: what is said of it}; several may share a paragraph.
        cls.said = {}
        for paragraph in re.split(r"\n\n(?=\*)", section)[1:]:
            names = re.match(r"[^(]*", paragraph).group(0)
            for name in re.findall(r"\*([a-z-]+)\*", names):
                cls.said[name] = paragraph
        cls.sources = []
        for folder in ("lib/*/*.c", "cmd/*/*.c"):
            for path in glob.glob(os.path.join(REPO, folder)):
                with open(path) as file:
                    text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
                cls.sources.append((os.path.relpath(path, REPO), text))

    def events(self):
        """(file, event, keys): what a function begins, and puts into it until it begins another one; and
        what is given to a function that makes one event."""
        for path, text in self.sources:
            for body in re.split(r"(?m)^}\n", text):
                parts = re.split(r'event_begin\(\s*&?\w+,\s*([^;]*?)\);', body)
                for head, rest in zip(parts[1::2], parts[2::2]):
                    keys = re.findall(r'event_put\w*\(\s*&?\w+,\s*"([a-z-]+)"', rest)
                    for name in re.findall(r'"([a-z-]+)"', head):
                        yield path, name, keys
            for name, key in re.findall(
                    r'\b\w*(?:simple|say)\(\s*&?\w+,\s*[^;"]*,\s*"([a-z-]+)",\s*"([a-z-]+)"', text):
                yield path, name, [key]
            for name in re.findall(r'\b\w*(?:say|log)_error\(\s*&?\w+,\s*"([a-z-]+)"', text):
                yield path, name, ["error", "next"]

    def test_every_event_and_each_of_its_keys(self):
        found = list(self.events())
        self.assertGreater(len({name for _, name, _ in found}), 18, found)
        for path, name, keys in found:
            with self.subTest("%s %s" % (path, name)):
                self.assertTrue(name in self.said, "not on the page")
                lacking = [key for key in keys if not re.search(r"_%s(_|=)" % key, self.said[name])]
                self.assertEqual(lacking, [])

    def test_keys_that_helpers_put(self):
        """Those of functions that get an event to put something into it: somewhere on the page."""
        for path, text in self.sources:
            for key in re.findall(r'event_put\w*\(\s*event,\s*"([a-z-]+)"', text):
                with self.subTest("%s %s" % (path, key)):
                    self.assertTrue(any(re.search(r"_%s(_|=)" % re.escape(key), said)
                                        for said in self.said.values()), key)

    def test_hooks_take_every_key(self):
        """A key of other letters would be on no page, and its event would reach no hook."""
        for path, text in self.sources:
            for key in re.findall(r'event_put\w*\(\s*[^,;]*,\s*"([^"]*)"', text):
                self.assertRegex(key, r"^[a-z][a-z0-9-]*$", path)

    def test_no_event_that_there_is_not(self):
        made = {name for _, name, _ in self.events()}
        self.assertEqual(set(self.said) - made, set())


class Fail2ban(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for program in ("fail2ban-client", "fail2ban-server", "fail2ban-regex", "nft"):
            if not shutil.which(program, path=PATH):
                raise unittest.SkipTest(program + " is missing")

    def setUp(self):
        """Debian's own settings, our files as their comment says, and no other jail."""
        self.directory = tempfile.mkdtemp(prefix="sipfence-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.config = os.path.join(self.directory, "fail2ban")
        shutil.copytree("/etc/fail2ban", self.config)
        for path in glob.glob(os.path.join(self.config, "jail.d/*")):
            os.unlink(path)
        for part in ("filter.d", "jail.d"):
            for path in glob.glob(os.path.join(EXAMPLES, "fail2ban", part, "*.conf")):
                shutil.copy(path, os.path.join(self.config, part))
        self.log = os.path.join(self.directory, "kern.log")

    def write(self, lines, mode="w", start=None):
        """As rsyslogd writes them into kern.log."""
        start = time.time() if start is None else start
        with open(self.log, mode) as file:
            for number, line in enumerate(lines):
                when = time.strftime("%b %e %H:%M:%S", time.localtime(start))
                file.write("%s pbx kernel: [%5d.243731] %s\n" % (when, 38114 + number, line))

    def regex(self, log, filter_name="sipfence"):
        done = run("fail2ban-regex", "-c", self.config, "--out", "ip", log, filter_name)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout.split()

    def test_the_kernel_s_lines(self):
        self.write(OTHERS[:1] + DROPPED + OTHERS[1:])
        self.assertEqual(self.regex(self.log), SOURCES)
        # What fail2ban makes of the journal's.
        journal = os.path.join(self.directory, "journal")
        with open(journal, "w") as file:
            for line in OTHERS[:1] + DROPPED + OTHERS[1:]:
                file.write("%s pbx kernel: [38114.243731] %s\n" % (time.strftime("%Y-%m-%dT%H:%M:%S"), line))
                file.write("%s pbx kernel: %s\n" % (time.strftime("%Y-%m-%dT%H:%M:%S"), line))
        self.assertEqual(self.regex(journal, "sipfence[logtype=journal]")[::2], SOURCES)
        self.assertEqual(self.regex(journal, "sipfence[logtype=journal]")[1::2], SOURCES)

    def test_the_prefix_is_the_rule_s(self):
        """What the filter looks for is what the kernel is told to print."""
        from harness import SIPFENCE
        config = os.path.join(self.directory, "conf.yaml")
        with open(config, "w") as file:
            file.write("local-subnets: [192.168.1.0/24]\nservices: {web-admin: {tcp: [443]}}\n")
        done = run(SIPFENCE, "-c", config, "--state-dir", self.directory, "sync", "--dry-run")
        prefixes = re.findall(r'log prefix "([^"]*)"', done.stdout)
        self.assertEqual(sorted(prefixes), ["sipfence sip ", "sipfence web-admin "])
        for prefix in prefixes:
            self.write([DROPPED[0].replace("sipfence sip ", prefix)])
            self.assertEqual(self.regex(self.log), SOURCES[:1])

    def settings(self):
        """Those of the jail, as fail2ban understands them: {setting: value}."""
        done = run("fail2ban-client", "-c", self.config, "-d")
        self.assertEqual(done.returncode, 0, done.stdout)
        return dict(re.findall(r"\['set', 'sipfence', '(\w+)', '?([^',]*)'?\]", done.stdout))

    def test_it_loads(self):
        # Debian's own jail for ssh needs a log that is not everywhere; ours has none of its own.
        done = run("fail2ban-client", "-c", self.config, "-t")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("OK", done.stdout)
        done = run("fail2ban-client", "-c", self.config, "-d")
        self.assertRegex(done.stdout, r"'add', 'sipfence', 'systemd'")
        self.assertEqual(self.settings()["addjournalmatch"], "_TRANSPORT=kernel")

    def test_a_phone_whose_name_has_not_followed(self):
        """All lines that the rule may log in the time that DNS has (refresh.max, and as long again) are
        no ban, and the SIP ports are never among those that are shut."""
        settings = self.settings()
        minutes, a_minute, burst = 15, 6, 5
        self.assertGreater(int(settings["maxretry"]), minutes * a_minute + burst)
        done = run("fail2ban-client", "-c", self.config, "-d")
        self.assertRegex(done.stdout, r"dport .{0,40}ssh,http,https")
        self.assertNotRegex(done.stdout, r"506[01]|nftables-allports")

    def test_a_scanner_is_banned(self):
        """By a real fail2ban with real nftables; the jail reads a file here, there is no journal."""
        with open(os.path.join(self.config, "jail.d/zz-test.conf"), "w") as file:
            file.write("[sipfence]\nbackend = polling\nlogpath = %s\n" % self.log)
        files = {name: os.path.join(self.directory, name) for name in ("sock", "pid", "log")}
        with open(os.path.join(self.config, "fail2ban.local"), "w") as file:
            file.write("[Definition]\nsocket = %(sock)s\npidfile = %(pid)s\nlogtarget = %(log)s\n"
                       "dbfile = None\n" % files)
        self.write([])
        client = ["fail2ban-client", "-c", self.config, "-s", files["sock"]]
        server = subprocess.Popen(["fail2ban-server", "-c", self.config, "-s", files["sock"],
                                   "-p", files["pid"], "-f", "start"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait, 20)
        self.addCleanup(server.terminate)
        self.assertTrue(wait_until(lambda: "Number of jail:\t1" in run(*client, "status").stdout, 20),
                        run(*client, "status").stdout)
        self.write([DROPPED[0]] * 119 + [DROPPED[3]] * 119)
        self.write([DROPPED[1]] * 119, "a")

        def jail():
            return run(*client, "status", "sipfence").stdout
        self.assertTrue(wait_until(lambda: re.search(r"Total failed:\t357\b", jail()), 20), jail())
        self.assertNotIn("198.51.100.9", run("nft", "list", "ruleset").stdout)
        self.write([DROPPED[0], DROPPED[1]], "a")
        for address in ("198.51.100.9", "2001:db8:1::9"):
            self.assertTrue(wait_until(
                lambda address=address: address in run("nft", "list", "ruleset").stdout, 20), jail())
        ruleset = run("nft", "list", "ruleset").stdout
        self.assertNotIn("198.51.100.10", ruleset)
        self.assertRegex(ruleset, r"tcp dport \{ 22, 80, 443 \} ip saddr @addr-set-sipfence")


class Logrotate(unittest.TestCase):
    def test_it_rotates(self):
        if not shutil.which("logrotate", path=PATH):
            self.skipTest("logrotate is missing")
        with tempfile.TemporaryDirectory() as directory:
            log = os.path.join(directory, "sipfence.log")
            config = os.path.join(directory, "conf")
            with open(os.path.join(EXAMPLES, "syslog/logrotate.conf")) as file:
                text = file.read()
            self.assertIn("\n/var/log/sipfence.log {", text)
            with open(config, "w") as file:
                file.write(text.replace("/var/log/", directory + "/"))
            argv = ["logrotate", "--state", os.path.join(directory, "state"), "--force", config]
            # Where nothing is logged there, it says nothing.
            done = run(*argv)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            with open(log, "w") as file:
                file.write("event=start\n")
            done = run(*argv)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            self.assertTrue(os.path.exists(log + ".1"))


if __name__ == "__main__":
    main()
