#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
`sync --confirm`: a dead man's switch. Whatever happens to the process, to its terminal or to the
admin behind it, the table is as it was before unless somebody typed yes in time.
"""
import fcntl
import os
import pty
import select
import shutil
import signal
import subprocess
import time

from harness import PATH, PYTHON, SIPFENCE, Case, end, main, reaches, wait_until
from scripted_dns import answer as scripted

PBX, HOME, OTHER, ROGUE = "192.0.2.10", "203.0.113.10", "203.0.113.22", "198.51.100.66"

# As a shell would start it: a session with a controlling terminal, the program in a foreground
# group of its own. Tells on descriptor 3 the program's pid, and when it stopped or ended.
SHELL = """
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.close(3)
    os.execv(sys.argv[1], sys.argv[1:])
os.write(3, b"pid %d\\n" % child)
while True:
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.write(3, b"stopped\\n")
        continue
    os.write(3, b"ended %d\\n" % os.waitstatus_to_exitcode(status))
    break
"""


class Terminal:
    """A program on a terminal; what it shows is read only when asked for."""

    def __init__(self, fence, *options, typed=b"", prefix=()):
        self.leader, follower = pty.openpty()
        if typed:
            os.write(self.leader, typed)
        self.told, tell = os.pipe()
        os.set_blocking(self.told, False)
        self.shown = b""
        self.news = b""
        self.fence = fence

        def place():
            os.dup2(tell, 3)
        self.shell = fence.host.popen(
            [PYTHON, "-c", SHELL, *prefix, *fence.argv("sync", *options)], stdin=follower, stdout=follower,
            stderr=follower, env=dict(fence.environment), preexec_fn=place, pass_fds=(3,))
        os.close(follower)
        os.close(tell)
        self.start = time.monotonic()
        if not wait_until(lambda: self.tells("pid"), 10):
            raise RuntimeError("the program did not start")
        self.pid = int(self.tells("pid")[0])

    def tells(self, word):
        """The arguments of that line of the shell; None: it was not told yet."""
        try:
            while part := os.read(self.told, 4096):
                self.news += part
        except BlockingIOError:
            pass
        for line in self.news.decode().splitlines():
            if line.split()[0] == word:
                return line.split()[1:] or [""]
        return None

    def read(self):
        """Takes what is there on the terminal."""
        while self.leader >= 0 and select.select([self.leader], [], [], 0)[0]:
            try:
                part = os.read(self.leader, 65536)
            except OSError:
                break
            if not part:
                break
            self.shown += part
        return self.shown.decode(errors="replace")

    def shows(self, text, seconds=5):
        return wait_until(lambda: text in self.read(), seconds)

    def type(self, text):
        os.write(self.leader, text)

    def code(self, seconds=10):
        """The exit code, or minus the signal; None: it runs on."""
        def ended():
            self.read()
            return self.tells("ended")
        return int(ended()[0]) if wait_until(ended, seconds) else None

    def hang_up(self):
        os.close(self.leader)
        self.leader = -1

    def close(self):
        for pid in processes(self.fence):
            os.kill(pid, signal.SIGKILL)
        end(self.shell)
        if self.leader >= 0:
            os.close(self.leader)
        os.close(self.told)


def processes(fence):
    """The pids of the program with this test's config, in whatever session they are."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/cmdline" % name, "rb") as file:
                argv = file.read().split(b"\0")
            with open("/proc/%s/stat" % name) as file:
                state = file.read().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            continue
        if argv[0] == SIPFENCE.encode() and fence.path.encode() in argv and state not in "ZX":
            found.append(int(name))
    return found


def locked(file):
    """Whether we have that file's lock now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Base(Case):
    shared_net = True
    FULL = "extensions: {21: %s, 22: %s}\n" % (HOME, OTHER)
    LESS = "extensions: {22: %s}\n" % OTHER

    def setUp(self):
        super().setUp()
        self.fence.config(self.FULL)

    def terminal(self, *options, **more):
        terminal = Terminal(self.fence, *options, **more)
        self.addCleanup(terminal.close)
        return terminal

    def clean_up(self):
        """The full table, whatever the test before has left."""
        for pid in processes(self.fence):
            os.kill(pid, signal.SIGKILL)
        self.fence.config(self.FULL)
        self.assertTrue(wait_until(lambda: self.fence.run("sync", "--yes").code == 0, 2))

    def installed(self):
        return self.net.pbx.has_table()

    def begin(self, seconds, *options, **more):
        """A table with HOME, then on a terminal one without; returns (terminal, table before)."""
        self.clean_up()
        before = self.net.pbx.table()
        self.fence.config(self.LESS)
        terminal = self.terminal("--yes", "--confirm", "%ds" % seconds, *options, **more)
        self.assertTrue(wait_until(self.changed, 3), "the new table is not in force while it waits")
        return terminal, before

    def changed(self):
        return HOME not in self.net.pbx.elements("sip_hosts4")

    def assertTakenBack(self, terminal, before, seconds):
        """Within that time of the start, and a second; nothing is left then."""
        left = terminal.start + seconds + 1 - time.monotonic()
        self.assertTrue(wait_until(lambda: not self.changed(), max(left, 0)),
                        "not taken back in time\n" + terminal.read())
        self.assertEqual(self.net.pbx.table(), before)
        self.assertTrue(wait_until(lambda: not processes(self.fence), 1.5), "a process is left")
        self.assertLockFree()

    def assertLockFree(self):
        """Soon: a process that is ending loses its memory, and so its command line, before its
        descriptors."""
        with open(os.path.join(self.fence.run_dir, "lock"), "r+") as file:
            self.assertTrue(wait_until(lambda: locked(file), 1.5), "the lock is still held")

    def assertNotJudged(self):
        """By neither config: what the names say now is not what is in force, by nobody's hand."""
        for config in (self.LESS, self.FULL):
            self.fence.config(config)
            status = self.fence.run("status", "--json").json()
            self.assertEqual((status["table_right"], status["drift"]), (True, None))

    def assertKept(self, terminal, seconds):
        """Beyond the time, too."""
        self.assertTrue(wait_until(lambda: not processes(self.fence), 1.5), "a process is left")
        self.assertLockFree()
        time.sleep(max(terminal.start + seconds + 1 - time.monotonic(), 0))
        self.assertTrue(self.changed(), "taken back although confirmed")


class Answers(Base):
    def test_nobody_confirms_the_first_table(self):
        terminal = self.terminal("--yes", "--confirm", "2s")
        self.assertTrue(wait_until(self.installed, 3), "the table must be in force while it waits")
        self.assertFalse(reaches(self.net.rogue, ROGUE, self.net.pbx, PBX))
        self.assertEqual(terminal.code(), 1, terminal.read())
        self.assertGreater(time.monotonic() - terminal.start, 1.8)
        self.assertLess(time.monotonic() - terminal.start, 3.5)
        self.assertIn("as it was before", terminal.read())
        self.assertFalse(self.installed(), terminal.read())
        self.assertTrue(reaches(self.net.rogue, ROGUE, self.net.pbx, PBX))
        self.assertEqual(processes(self.fence), [])
        self.assertLockFree()

    def test_nobody_confirms_a_changed_table(self):
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.assertTrue(reaches(self.net.home, HOME, self.net.pbx, PBX))
        packets = self.net.pbx.elements("sip_hosts4")[HOME]["packets"]
        self.assertGreater(packets, 0)
        terminal, before = self.begin(2)
        self.assertEqual(terminal.code(), 1, terminal.read())
        self.assertTakenBack(terminal, before, 2)
        self.assertIn("as it was before", terminal.read())
        self.assertGreaterEqual(self.net.pbx.elements("sip_hosts4")[HOME]["packets"], packets)
        self.assertTrue(reaches(self.net.home, HOME, self.net.pbx, PBX))

    def test_what_the_new_config_has_no_more_comes_back(self):
        """Elements of sets that only the old table has: another service's, destinations', revoked."""
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.fence.config("extensions: {21: %s}\npeers: {anna: {hosts: [%s], services: [web]}}\n"
                          "services: {web: {tcp: [80]}}\nreplies: accept\n"
                          "destinations: [10.9.0.0/24, 10.9.0.0/28]\n" % (HOME, OTHER))
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.net.pbx.nft("add element inet sipfence sip_revoked4 { 198.51.100.99 }\n")
        before = self.net.pbx.table(dynamic=True)
        self.assertIn("198.51.100.99", str(before))
        self.fence.config(self.LESS)
        terminal = self.terminal("--yes", "--confirm", "1s")
        self.assertEqual(terminal.code(), 1, terminal.read())
        self.assertEqual(self.net.pbx.table(dynamic=True), before)

    def test_kept(self):
        for answer in (b"yes\n", b"y\n", b"YES\n"):
            with self.subTest(answer):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                terminal, _ = self.begin(2)
                self.assertTrue(terminal.shows("yes"), terminal.read())
                time.sleep(0.2)
                start = time.monotonic()
                terminal.type(answer)
                self.assertEqual(terminal.code(), 0, terminal.read())
                self.assertLess(time.monotonic() - start, 1, "it waited on after the answer")
                self.assertKept(terminal, 2 if answer == b"yes\n" else 0)
                drift = self.assertCode(self.fence.run("status", "--json"), 0).json()["drift"]
                self.assertEqual((drift["added"], drift["missing"]), (0, 0))

    def test_taken_back_at_once(self):
        for answer in (b"no\n", b"n\n"):
            with self.subTest(answer):
                terminal, before = self.begin(20)
                self.assertTrue(terminal.shows("yes"), terminal.read())
                time.sleep(0.2)
                start = time.monotonic()
                terminal.type(answer)
                self.assertEqual(terminal.code(3), 1, terminal.read())
                self.assertLess(time.monotonic() - start, 1)
                self.assertIn("as it was before", terminal.read())
                self.assertTakenBack(terminal, before, 20)
                self.assertNotJudged()

    def test_names_of_a_config_that_was_taken_back(self):
        """What was learned for it is kept, and names that it has not are forgotten."""
        server = self.dns()
        server.set("home21.example", "A", scripted(HOME))
        server.set("home22.example", "A", scripted(OTHER))
        self.FULL = "extensions: {21: home21.example, 22: home22.example}\n" + server.resolver()
        self.LESS = "extensions: {22: home22.example}\n" + server.resolver()
        terminal, before = self.begin(20)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        time.sleep(0.2)
        terminal.type(b"no\n")
        self.assertEqual(terminal.code(3), 1, terminal.read())
        self.assertTakenBack(terminal, before, 20)
        self.assertNotJudged()
        # Killed while it asks: the guardian takes the change back, and writes no state.
        terminal, before = self.begin(20)
        os.kill(terminal.pid, signal.SIGKILL)
        self.assertTakenBack(terminal, before, 20)
        self.assertNotJudged()

    def test_end_of_input_is_not_yes(self):
        terminal, before = self.begin(2)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        time.sleep(0.2)
        terminal.type(b"\x04")
        self.assertEqual(terminal.code(), 1, terminal.read())
        self.assertTakenBack(terminal, before, 2)

    def test_anything_else_asks_again(self):
        terminal, _ = self.begin(8)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        for answer in (b"maybe\n", b"\n", b"yesterday\n", b"nope\n", b"x" * 300 + b"\n"):
            time.sleep(0.2)
            seen = len(terminal.read())
            terminal.type(answer)
            self.assertTrue(wait_until(lambda: "yes" in terminal.read()[seen + len(answer):], 2),
                            "%r: not asked again: %s" % (answer, terminal.read()))
            self.assertTrue(self.changed(), answer)
        terminal.type(b"yes\n")
        self.assertEqual(terminal.code(), 0, terminal.read())
        self.assertTrue(self.changed())

    def test_an_answer_in_pieces(self):
        terminal, _ = self.begin(8)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        time.sleep(0.2)
        for piece in (b"y", b"e", b"s"):
            terminal.type(piece)
            time.sleep(0.1)
        self.assertTrue(processes(self.fence), terminal.read())
        terminal.type(b"\n")
        self.assertEqual(terminal.code(), 0, terminal.read())

    def test_typed_ahead_does_not_count(self):
        terminal, before = self.begin(2, typed=b"yes\nyes\n")
        self.assertEqual(terminal.code(), 1, terminal.read())
        self.assertTakenBack(terminal, before, 2)

    def test_nothing_changed_asks_nothing(self):
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        terminal = self.terminal("--yes", "--confirm", "20s")
        self.assertEqual(terminal.code(3), 0, terminal.read())
        self.assertEqual(processes(self.fence), [])

    def test_taken_back_is_not_enforced(self):
        """A first table that nobody confirmed does not answer the question of the next sync."""
        self.net.pbx.nft("table inet filter {\n chain input {\n  type filter hook input priority 0;\n"
                         "  ct state established,related accept\n }\n}\n")
        terminal = self.terminal("--yes", "--confirm", "1s")
        self.assertEqual(terminal.code(), 1, terminal.read())
        self.assertTrue(reaches(self.net.rogue, ROGUE, self.net.pbx, PBX))
        result = self.assertCode(self.fence.run("sync"), 2)
        self.assertIn(ROGUE, result.err)

    def test_taken_back_to_an_enforcing_table_is_enforced(self):
        terminal, before = self.begin(1)
        self.assertEqual(terminal.code(), 1, terminal.read())
        self.assertTakenBack(terminal, before, 1)
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.net.pbx.nft("table inet filter {\n chain input {\n  type filter hook input priority 0;\n"
                         "  ct state established,related accept\n }\n}\n")
        self.assertTrue(reaches(self.net.rogue, ROGUE, self.net.pbx, PBX))
        self.assertCode(self.fence.run("sync"), 0)

    def test_without_a_terminal_nothing_stays_unconfirmed(self):
        result = self.fence.run("sync", "--yes", "--confirm", "1s")
        self.assertNotEqual(result.code, 0, result)
        self.assertFalse(self.installed())


class Faults(Base):
    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
                       signal.SIGKILL):
            with self.subTest(number.name):
                terminal, before = self.begin(2)
                self.assertTrue(terminal.shows("yes"), terminal.read())
                os.kill(terminal.pid, number)
                self.assertTakenBack(terminal, before, 2)
                self.assertNotIn(terminal.code(1), (0, None), terminal.read())

    def test_killed_in_the_moment_of_the_change(self):
        terminal, before = self.begin(2)
        os.kill(terminal.pid, signal.SIGKILL)
        self.assertTakenBack(terminal, before, 2)

    def test_ctrl_c_and_ctrl_backslash(self):
        for key in (b"\x03", b"\x1c"):
            with self.subTest(key):
                terminal, before = self.begin(2)
                self.assertTrue(terminal.shows("yes"), terminal.read())
                terminal.type(key)
                self.assertTakenBack(terminal, before, 2)

    def test_stopped(self):
        for name, stop in (("Ctrl-Z", lambda terminal: terminal.type(b"\x1a")),
                           ("STOP", lambda terminal: os.kill(terminal.pid, signal.SIGSTOP))):
            with self.subTest(name):
                terminal, before = self.begin(2)
                self.assertTrue(terminal.shows("yes"), terminal.read())
                time.sleep(0.2)
                stop(terminal)
                # A stopped process is one that is left, unless it is ended, too.
                self.assertTakenBack(terminal, before, 2)

    def test_the_watching_process_is_killed(self):
        """Then nobody keeps watch, and the change is taken back at once by the other one."""
        terminal, before = self.begin(20)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        watcher = [pid for pid in processes(self.fence) if pid != terminal.pid]
        self.assertEqual(len(watcher), 1)
        os.kill(watcher[0], signal.SIGKILL)
        self.assertEqual(terminal.code(3), 1, terminal.read())
        self.assertTakenBack(terminal, before, 20)

    def test_the_whole_group_is_killed(self):
        terminal, before = self.begin(2)
        os.killpg(terminal.pid, signal.SIGKILL)
        self.assertTakenBack(terminal, before, 2)

    def test_terminal_closed(self):
        terminal, before = self.begin(2)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        terminal.hang_up()
        self.assertTakenBack(terminal, before, 2)

    def test_terminal_blocked(self):
        """Nobody reads it, and the changes are more than it takes: the program hangs in write()."""
        many = ["45.0.%d.%d" % (index >> 8, index & 255) for index in range(6000)]
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        before = self.net.pbx.table()
        self.fence.config(self.LESS + "".join(
            "peers:\n" if index == 0 else "  p%d: {hosts: [%s]}\n" % (index, address)
            for index, address in enumerate(many)))
        terminal = self.terminal("--yes", "--confirm", "2s", "-v")
        self.assertTrue(wait_until(self.changed, 3))
        self.assertTrue(processes(self.fence))
        left = terminal.start + 3 - time.monotonic()
        self.assertTrue(wait_until(lambda: not self.changed(), left), "not taken back in time")
        self.assertEqual(self.net.pbx.table(), before)
        self.assertTrue(wait_until(lambda: not processes(self.fence), 1.5), "a process is left")
        self.assertLockFree()

    def test_output_stopped(self):
        """Ctrl-S."""
        terminal, before = self.begin(2)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        terminal.type(b"\x13")
        time.sleep(0.2)
        terminal.type(b"maybe\n")
        self.assertTakenBack(terminal, before, 2)

    def test_another_program_changes_the_table_meanwhile(self):
        terminal, before = self.begin(2)
        self.net.pbx.nft("delete table inet sipfence\n")
        left = terminal.start + 3 - time.monotonic()
        self.assertTrue(wait_until(lambda: self.installed() and not self.changed(), left),
                        terminal.read())
        self.assertEqual(terminal.code(2), 1, terminal.read())
        self.assertEqual(self.net.pbx.table(), before)

    def test_others_wait(self):
        """While it is open whether the change stays, nobody else changes the table."""
        terminal, before = self.begin(2)
        self.assertTrue(terminal.shows("yes"), terminal.read())
        result = self.assertCode(self.fence.run("sync", "--yes"), 1)
        self.assertIn("lock", result.err)
        self.assertTakenBack(terminal, before, 2)


class InBetween(Base):
    """The change is in force, and the program did not come any further (strace sends a signal)."""
    needs = ("strace",)

    def setUp(self):
        super().setUp()
        self.log = os.path.join(self.directory, "strace.log")
        strace = shutil.which("strace", path=PATH)
        probe = subprocess.run([strace, "-o", self.log, "-e", "inject=fsync:signal=SIGSTOP", "true"],
                               stderr=subprocess.PIPE, text=True, timeout=30)
        if probe.returncode != 0:
            self.skipTest("no process can be traced here: " + probe.stderr.strip())
        # Leaks can't be looked for in a traced process.
        self.fence.environment["ASAN_OPTIONS"] += ":detect_leaks=0"
        self.prefix = [strace, "-o", self.log, "-e"]

    def injected(self, call, what, config):
        """As begin(), with a fault in that call; returns (terminal, table before)."""
        self.clean_up()
        before, generation = self.net.pbx.table(), self.net.pbx.generation()
        self.fence.config(config)
        terminal = self.terminal("--yes", "--confirm", "2s", prefix=[
            *self.prefix, "trace=" + call, "-e", "inject=%s:%s" % (call, what)])
        self.assertTrue(wait_until(lambda: self.net.pbx.generation() > generation, 5),
                        "nothing was changed: " + terminal.read())
        return terminal, before

    def test_ended_or_stopped_behind_the_transaction(self):
        for number in ("SIGSTOP", "SIGKILL"):
            with self.subTest(number):
                terminal, before = self.injected("sendmsg", "signal=%s:when=1" % number, self.LESS)
                self.assertTakenBack(terminal, before, 2)
                self.assertNotIn("Type yes", terminal.read())

    def test_an_error_behind_the_first_transaction_confirms_nothing(self):
        """A swap takes two; when the second fails, the new table is in force, but not confirmed."""
        terminal, before = self.injected(
            "sendmsg", "error=ENOMEM:when=2", self.LESS + "services: {sip: {udp: [5060, 5080]}}\n")
        self.assertEqual(terminal.code(6), 1, terminal.read())
        with open(self.log) as file:
            self.assertIn("INJECTED", file.read())
        self.assertTakenBack(terminal, before, 2)


if __name__ == "__main__":
    main()
