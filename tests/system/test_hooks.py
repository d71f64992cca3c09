#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
`on-change` with the real daemon: what a hook is given, in which order hooks run, and that nothing of
theirs (slowness, floods, failures, deaths) gets in the way of the list. No process is left over.
"""
import contextlib
import json
import os
import re
import signal
import time
import unittest

from daemon_case import HOME, HOME2, NAME, PATIENCE, DaemonCase
from harness import REPO, main, privileged, wait_until
from scripted_dns import address_records, srv

LIMIT, GRACE, RUNNING, WAITING = 30, 5, 4, 1000

# Notes each run in a file of its own, with the times, and does what a file beside it says.
HOOK = """#!/bin/sh
export began=$(date +%s%N) pid=$$
folder={folder}
note=$(mktemp $folder/notes/XXXXXXXX)
printf '%s\\0' "$@" >$note.args
env -0 >$note.env
cat >$note.json
id -u >$note.uid
echo $$ >>$folder/pids
if [ -e $folder/do ]; then . $folder/do; fi
date +%s%N >$note.end
"""


class Run:
    """One run of the hook."""

    def __init__(self, path):
        def read(suffix):
            with open(path + suffix, "rb") as file:
                return file.read()
        pairs = [part.split(b"=", 1) for part in read(".env").split(b"\0") if b"=" in part]
        self.env = {key.decode(): value.decode("latin-1") for key, value in pairs}
        self.began = int(self.env.pop("began"))
        self.pid = int(self.env.pop("pid"))
        self.env.pop("PWD", None)
        self.env.pop("_", None)
        self.text = read(".json").decode("latin-1")
        self.arguments = [part.decode() for part in read(".args").split(b"\0")[:-1]]
        self.uid = int(read(".uid"))
        self.end = int(read(".end")) if os.path.exists(path + ".end") else None

    def __getitem__(self, key):
        return self.env.get("SIPFENCE_" + key.upper())


class HookCase(DaemonCase):
    def setUp(self):
        super().setUp()
        if os.stat("/").st_uid != 0:
            self.skipTest("/ belongs to a user that this namespace does not know")
        self.notes = os.path.join(self.directory, "notes")
        os.mkdir(self.notes)
        os.chmod(self.notes, 0o777)
        self.hook = self.script("tell", HOOK.format(folder=self.directory))
        self.addCleanup(self.check_none_left)

    def script(self, name, text, mode=0o755):
        path = os.path.join(self.directory, name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.chmod(path + ".new", mode)
        os.rename(path + ".new", path)
        return path

    def does(self, text):
        """What the hook does besides; NOTE: the program's own shell reads it."""
        self.script("do", text)

    def hooked(self, *arguments, more="", **rest):
        self.configure("on-change: %s\n%s" % (json.dumps([self.hook, *arguments]), more), **rest)

    def runs(self, **wanted):
        """Those that have begun, by their begin."""
        found = []
        for name in os.listdir(self.notes):
            if name.endswith(".uid"):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    found.append(Run(os.path.join(self.notes, name[:-4])))
        return sorted((run for run in found
                       if all(run[key] == value for key, value in wanted.items())),
                      key=lambda run: run.began)

    def wait_runs(self, count=1, seconds=10.0, done=False, **wanted):
        found = []

        def there():
            # One that is just ending can't be read for a moment: a second look would miss it.
            found[:] = [run for run in self.runs(**wanted) if run.end or not done]
            return len(found) >= count
        wait_until(there, seconds * PATIENCE)
        self.assertGreaterEqual(len(found), count, "%s: %s" % (
            wanted, [run.env for run in self.runs()]))
        return found

    def hooks_of(self, daemon):
        return daemon.status()["hooks"]

    def helper(self, daemon):
        """The daemon's one child."""
        with open("/proc/%d/task/%d/children" % (daemon.pid, daemon.pid)) as file:
            found = [int(word) for word in file.read().split()]
        self.assertEqual(len(found), 1, daemon)
        return found[0]

    def pids(self):
        """Of all hooks ever run."""
        try:
            with open(os.path.join(self.directory, "pids")) as file:
                return [int(line) for line in file.read().split()]
        except FileNotFoundError:
            return []

    def alive(self, pid):
        try:
            with open("/proc/%d/stat" % pid) as file:
                return file.read().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def assertGone(self, pids, seconds):
        wait_until(lambda: not any(map(self.alive, pids)), seconds * PATIENCE)
        self.assertEqual([pid for pid in pids if self.alive(pid)], [])

    def check_none_left(self):
        """Everything that a daemon of this test has started is gone, soon after it."""
        def left():
            found = []
            for name in os.listdir("/proc"):
                if name.isdigit() and self.alive(int(name)):
                    with contextlib.suppress(OSError), open("/proc/%s/cmdline" % name, "rb") as file:
                        if self.directory.encode() in file.read():
                            found.append(int(name))
            return found
        wait_until(lambda: not left(), GRACE + 3)
        self.assertEqual(left(), [])


class Given(HookCase):
    needs = ("knotd", "knsupdate")

    def test_a_change_with_a_real_server(self):
        knot = self.knot(records="home21 1 A %s\n" % HOME)
        self.hooked("one two", "$(id)", "", resolver=knot.resolver())
        self.daemon()
        self.wait_runs(event="change", new=HOME)
        knot.move(NAME, HOME2, 1)
        run, = self.wait_runs(event="change", new=HOME2, done=True)
        self.assertEqual(run.arguments, ["one two", "$(id)", ""])
        moment = run["time"]
        self.assertLess(abs(time.time() - time.mktime(time.strptime(
            moment + " UTC", "%Y-%m-%dT%H:%M:%SZ %Z")) + time.timezone), 60)
        wanted = {"event": "change", "time": moment, "extension": "21", "host": NAME, "type": "A",
                  "old": HOME, "new": HOME2}
        self.assertEqual(run.text.count("\n"), 1)
        self.assertTrue(run.text.endswith("}\n"))
        self.assertEqual(json.loads(run.text), wanted)
        self.assertEqual(list(json.loads(run.text))[:2], ["event", "time"])
        environment = {"SIPFENCE_" + key.upper(): value for key, value in wanted.items()}
        environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.assertEqual(run.env, environment)
        self.assertEqual(run.uid, os.geteuid())

    def test_it_is_in_the_kernel_already(self):
        self.does("nft list set inet sipfence sip_hosts4 >$note.set\n")
        self.points(HOME)
        self.hooked()
        self.daemon()
        self.wait_runs(event="change", done=True)
        for name in os.listdir(self.notes):
            if name.endswith(".set"):
                with open(os.path.join(self.notes, name[:-4] + ".json")) as note:
                    if json.load(note)["event"] == "change":
                        with open(os.path.join(self.notes, name)) as file:
                            self.assertIn(HOME, file.read())

    def test_other_events(self):
        self.hooked(more="nftables: {lock: off}\n")
        self.points(HOME)
        daemon = self.daemon()
        run, = self.wait_runs(event="table", action="installed")
        self.assertEqual(run["elements"], "1")
        self.wait_runs(event="change")
        self.pbx.run(["nft", "flush", "set", "inet", "sipfence", "sip_hosts4"])
        self.assertEqual(self.wait_runs(event="damage")[0]["program"], "nft")
        self.wait_runs(event="table", action="repaired")
        self.dns_broken()
        self.assertEqual(self.wait_runs(event="state")[0]["state"], "held")
        self.wait_runs(event="dns", state="dead")
        self.points(HOME)
        self.wait_runs(event="dns", state="alive")
        daemon.request({"request": "reload"})
        self.wait_runs(event="reload", result="done")
        self.fence.config("extensions: {21: [}\n")
        daemon.request({"request": "reload"})
        run, = self.wait_runs(event="reload", result="refused")
        self.assertIn("sipfence.yaml", run["error"])
        self.assertEqual(self.runs(event="hook"), [])
        self.assertEqual({run["event"] for run in self.runs()},
                         {"table", "change", "damage", "state", "dns", "reload"})

    def test_with_nothing_to_resolve(self):
        """The first event is not left until something else happens."""
        self.hooked(extensions="23: local")
        self.daemon()
        self.wait_runs(event="table", seconds=3)

    def test_names_from_dns(self):
        """A target that is no name is never heard of, or stands there as it would in the log."""
        nasty = "$(id)\n'\"\x1b[2J;x.example"
        self.points(HOME, name="good.example")
        self.server.set("_sip._udp.voipco.example", "SRV", srv("good.example"))
        self.configure("on-change: %s\npeers: {voipco: {srv: [_sip._udp.voipco.example]}}\n" % self.hook)
        self.daemon()
        run, = self.wait_runs(event="change", type="SRV")
        self.assertEqual((run["peer"], run["new"]), ("voipco", "good.example"))
        self.server.set("_sip._udp.voipco.example", "SRV", srv(nasty))
        self.wait_runs(1, seconds=30, peer="voipco", event="state")
        time.sleep(1)
        for run in self.runs():
            self.assertRegex(run.text, r"\A[\x20-\x7e]+\n\Z")
            for value in run.env.values():
                self.assertRegex(value, r"\A[\x20-\x7e]*\Z")
                self.assertNotIn("\x1b", value)

    def test_names_from_the_config(self):
        """A file with such a name reaches the hook as the log has it: printable, and on one line."""
        nasty = "$(touch x)\n'\"\x1b[2J\xfc\\.yaml"
        self.points(HOME)
        self.hooked(more="include: [%s]\n" % json.dumps("*.yaml.d/*"))
        self.fence.config("extensions: {25: local}\n", "x.yaml.d/good.yaml")
        daemon = self.daemon()
        self.fence.config("extensions: [\n", "x.yaml.d/" + nasty)
        daemon.request({"request": "reload"})
        run, = self.wait_runs(event="reload", result="refused")
        self.assertRegex(run["error"], r"\A[\x20-\x7e]+\Z")
        self.assertIn("$(touch x)", run["error"])
        self.assertIn("x1b[2J", run["error"])
        self.assertEqual(json.loads(run.text)["error"], run["error"])
        event = daemon.wait_event("reload", result="refused")
        self.assertIn("$(touch x)", event["error"])


class Order(HookCase):
    def begin(self, hosts, sleep):
        self.does("sleep %s\n" % sleep)
        names = ["home%d.example" % number for number in range(hosts)]
        self.hooked(extensions=", ".join("%d: %s" % (30 + i, name) for i, name in enumerate(names)))
        for name in names:
            self.points("203.0.113.20", name=name)
        return names, self.daemon()

    def move(self, daemon, names, addresses):
        """All names, from one address to the next; waits until the daemon knows of it."""
        for address in addresses:
            for name in names:
                self.points(address, name=name)
            wait_until(lambda: all(daemon.events("change", host=name, new=address)
                                   for name in names), 10 * PATIENCE)

    def test_one_at_a_time_for_each_host(self):
        """There would be room for two of the same host."""
        names, daemon = self.begin(2, "2.5")
        addresses = ["203.0.113.%d" % (20 + i) for i in range(4)]
        self.move(daemon, names, addresses)
        runs = self.wait_runs(len(names) * len(addresses), 40, done=True, event="change")
        for name in names:
            mine = [run for run in runs if run["host"] == name]
            self.assertEqual([run["new"] for run in mine], addresses, name)
            for before, after in zip(mine, mine[1:]):
                self.assertLessEqual(before.end, after.began, name)
        # Those of the other host run at the same time.
        first, second = ([run for run in runs if run["host"] == name][0] for name in names)
        self.assertLess(max(first.began, second.began), min(first.end, second.end))

    def test_so_many_at_once(self):
        names, daemon = self.begin(9, "0.7")
        self.move(daemon, names, ["203.0.113.20", "203.0.113.21"])
        self.wait_runs(2 * len(names), 20, done=True, event="change")
        runs = [run for run in self.runs() if run.end]
        most = max(sum(other.began <= run.began < other.end for other in runs) for run in runs)
        self.assertEqual(most, RUNNING)
        self.assertEqual(self.hooks_of(daemon)["dropped"], 0)


class Slow(HookCase):
    def test_a_slow_hook_holds_nothing_up(self):
        self.does("sleep 20\n")
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        self.wait_runs(event="change")
        for address in (HOME2, HOME, HOME2):
            with self.knocking(phone=address):
                self.points(address)
                # A second of TTL, and no more than a moment.
                self.assertLess(self.assertAllowed(address, seconds=4), 3 * PATIENCE)
        began = time.monotonic()
        daemon.status()
        self.assertLess(time.monotonic() - began, 1)
        self.assertEqual(len(self.runs(event="change")), 1)
        self.assertEqual(self.hooks_of(daemon)["waiting"], 3)
        # Nor the end.
        pids = [self.helper(daemon), *self.pids()]
        began = time.monotonic()
        self.assertEqual(daemon.stop(), 0)
        self.assertLess(time.monotonic() - began, 2 * PATIENCE)
        self.assertGone(pids, 2)

    def test_the_time_is_limited(self):
        """It does not care for SIGTERM: it has the grace, too. What waited is run then."""
        self.does("if [ $SIPFENCE_NEW = %s ]; then trap '' TERM; echo the last word >&2; "
                  "while :; do sleep 1; done; fi\n" % HOME)
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        run, = self.wait_runs(event="change", new=HOME)
        began = time.monotonic()
        self.points(HOME2)
        event = daemon.wait_event("hook", LIMIT + GRACE + 10, result="timed-out")
        self.assertAlmostEqual(time.monotonic() - began, LIMIT + GRACE, delta=4)
        self.assertEqual((event["of"], event["host"]), ("change", NAME))
        self.assertIn("longer than %d s" % LIMIT, event["error"])
        self.assertEqual(event["output"], "the last word")
        self.wait_runs(event="change", new=HOME2, done=True)
        self.assertGone([run.pid], 1)

    def test_a_flood(self):
        """More than can wait: dropped, counted, said once; the list is right all the while."""
        count = 1500
        self.does("sleep 60\n")
        self.server.default = lambda question: [question.message(
            address_records(question.name, ["203.0.%d.%d" % divmod(
                1000 + int(re.search(r"\d+", question.name).group()), 250)], 60))] \
            if question.type == "A" else [question.message([])]
        # The server is slow: it must not look dead.
        self.hooked(extensions=", ".join("%d: n%d.example" % (i, i) for i in range(count)), timeout="5s")
        start = time.monotonic()
        daemon = self.daemon()
        wait_until(lambda: len(self.hosts4() or []) == count, 60 * PATIENCE)
        self.assertEqual(len(self.hosts4()), count)
        event = daemon.wait_event("hook", result="dropped")
        self.assertIn("too slow", event["next"])
        hooks = self.hooks_of(daemon)
        self.assertEqual((hooks["running"], hooks["waiting"], hooks["done"]), (RUNNING, WAITING, 0))
        # The table, and changes of which the log itself leaves most out.
        self.assertGreaterEqual(hooks["dropped"], count - RUNNING - WAITING)
        minutes = int(time.monotonic() - start) // 60
        self.assertIn(len(daemon.events("hook", result="dropped")), range(1, 2 + minutes))

    def test_a_stopped_helper_holds_nothing_up(self):
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        self.wait_runs(event="change")
        helper = self.helper(daemon)
        os.kill(helper, signal.SIGSTOP)
        try:
            for address in (HOME2, HOME):
                self.points(address)
                self.assertAllowed(address)
        finally:
            os.kill(helper, signal.SIGCONT)
        self.wait_runs(2, event="change", new=HOME)


class Failing(HookCase):
    def failure(self, daemon, **wanted):
        return daemon.wait_event("hook", 5 * PATIENCE, result="failed", **wanted)

    def test_how_it_failed_is_said(self):
        self.points(HOME)
        self.does("echo not this >&2\necho 'curl: (7) \"no\"' >&2\nprintf '\\033[2J\\n' >&2; exit 3\n")
        self.hooked()
        daemon = self.daemon()
        event = self.failure(daemon, of="change")
        self.assertEqual(event["host"], NAME)
        self.assertIn("exit code 3", event["error"])
        self.assertEqual(event["output"], "\x1b[2J")
        self.assertNotIn("\x1b", daemon.log())
        self.does("echo out; kill -SEGV $$\n")
        self.points(HOME2)
        event = self.failure(daemon, error="signal 11 ended it")
        self.assertEqual(event["output"], "out")
        self.assertGreaterEqual(self.hooks_of(daemon)["failed"], 2)
        self.assertAllowed(HOME2)

    def test_what_cannot_be_run(self):
        cases = (
            (lambda: os.chmod(self.hook, 0o644), "not executable", "chmod +x"),
            (lambda: os.chmod(self.hook, 0o757), "may be written by others", "chmod go-w"),
            (lambda: self.script("tell", "echo\n"), "cannot be run", "#!/bin/sh"),
            (lambda: self.script("tell", "#!/none\n"), "cannot be run", "interpreter"),
            (lambda: os.unlink(self.hook), "does not exist", "put the program there"),
        )
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        self.wait_runs(event="change", done=True)
        for spoil, error, next_ in cases:
            with self.subTest(error=error):
                # Of what came before, nothing shall begin any more.
                self.assertTrue(wait_until(lambda: not any(
                    self.hooks_of(daemon)[key] for key in ("running", "waiting")), 20 * PATIENCE))
                self.script("tell", HOOK.format(folder=self.directory))
                spoil()
                mark, before = daemon.mark(), len(self.runs())
                daemon.request({"request": "reload"})
                event = daemon.wait_event("hook", since=mark, result="failed", of="reload")
                self.assertIn(error, event["error"])
                self.assertIn(next_, event["next"])
                self.assertIn(self.hook, event["error"] + event["next"])
                self.assertEqual(len(self.runs()), before)
        self.script("tell", HOOK.format(folder=self.directory))
        daemon.request({"request": "reload"})
        self.wait_runs(1, event="reload")

    def test_at_the_start_and_in_check(self):
        """Said at once, not only when something has changed."""
        self.points(HOME)
        self.hooked()
        os.chmod(self.hook, 0o777)
        result = self.fence.run("check")
        self.assertCode(result, 0)
        self.assertIn("on-change would not be run", result.err)
        self.assertIn("chmod go-w " + self.hook, result.err)
        daemon = self.daemon()
        event = daemon.events("hook", result="failed")[0]
        self.assertIn("chmod go-w", event["next"])
        self.assertNotIn("of", event)
        self.assertAllowed(HOME)
        self.failure(daemon, of="change")
        self.assertEqual(self.runs(), [])
        os.chmod(self.hook, 0o755)
        self.assertNotIn("on-change", self.fence.run("check").err)

    @unittest.skipUnless(privileged(), "no other users in this namespace")
    def test_a_program_of_somebody_else(self):
        self.points(HOME)
        self.hooked()
        os.chown(self.hook, 12345, 12345)
        self.assertIn("12345", self.fence.run("check").err)
        daemon = self.daemon()
        self.assertIn("chown root", self.failure(daemon, of="change")["next"])
        self.assertEqual(self.runs(), [])
        # Nor if the config is his: then he would say what root runs.
        os.chown(self.fence.path, 12345, 12345)
        self.assertIn("could have root run anything", self.fence.run("check").err)
        daemon.stop()
        daemon = self.daemon()
        self.assertIn("chown root", daemon.wait_event("hook")["next"])
        self.points(HOME2)
        daemon.wait_event("change", new=HOME2, seconds=10)
        self.assertEqual(self.runs(), [])

    def test_many_failures_are_few_lines(self):
        self.does("exit 1\n")
        names = ["home%d.example" % number for number in range(30)]
        self.hooked(extensions=", ".join("%d: %s" % (30 + i, name) for i, name in enumerate(names)))
        for i, name in enumerate(names):
            self.points("203.0.113.%d" % (20 + i), name=name)
        daemon = self.daemon()
        wait_until(lambda: self.hooks_of(daemon)["failed"] >= 31, 20 * PATIENCE)
        self.assertEqual(len(daemon.events("hook", result="failed")), 10)
        wait_until(lambda: any("count" in event for event in daemon.events("hook")), 65)
        more = daemon.events("hook", result="failed")[10]
        self.assertGreaterEqual(int(more["count"]), 21)
        self.assertNotIn("of", more)


class Deaths(HookCase):
    def busy(self):
        """A daemon whose hook runs, with a child of its own."""
        self.does("sleep 100 & echo $! >>$folder/pids; wait\n")
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        runs = self.wait_runs(2)
        self.assertTrue(wait_until(lambda: len(self.pids()) >= 2 * len(runs), 5 * PATIENCE))
        return daemon, self.helper(daemon)

    def test_the_helper_is_killed(self):
        self.does("exec sleep 100\n")
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        self.wait_runs(2)
        descriptors = daemon.descriptors()
        helper = self.helper(daemon)
        os.kill(helper, signal.SIGKILL)
        event = daemon.wait_event("hook", result="failed")
        self.assertIn("signal 9", event["error"])
        self.assertIn("restart", event["next"])
        self.assertFalse(os.path.exists("/proc/%d" % helper), "a zombie")
        self.assertEqual(daemon.descriptors(), descriptors - 1)
        self.assertGone(self.pids(), 2)
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.assertFalse(self.hooks_of(daemon)["alive"])
        result = self.fence.run("status")
        self.assertCode(result, 3)
        self.assertIn("hooks (on-change) are off", result.out + result.err)
        # It costs nothing more.
        cpu = daemon.cpu()
        time.sleep(1)
        self.assertLess(daemon.cpu() - cpu, 0.2 * PATIENCE)
        self.assertEqual(len(daemon.events("hook", result="failed")), 1)

    def test_the_daemon_is_killed(self):
        daemon, helper = self.busy()
        pids = [helper, *self.pids()]
        self.assertTrue(all(map(self.alive, pids)), pids)
        daemon.kill()
        self.assertGone(pids, 2)

    def test_a_hook_is_killed(self):
        daemon, _ = self.busy()
        victim = self.runs(event="change")[0]
        os.kill(victim.pid, signal.SIGKILL)
        event = daemon.wait_event("hook", result="failed", of="change")
        self.assertIn("signal 9", event["error"])
        self.assertTrue(self.hooks_of(daemon)["alive"])

    def test_signals_to_all(self):
        """Ctrl-C and a supervisor's SIGTERM reach each process; the end is as orderly, and silent."""
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number):
                for folder in (self.notes, self.fence.state):
                    for name in os.listdir(folder):
                        os.unlink(os.path.join(folder, name))
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.directory, "pids"))
                self.pbx.run(["nft", "flush", "ruleset"])
                daemon, helper = self.busy()
                pids = [helper, *self.pids()]
                os.kill(helper, number)
                self.assertEqual(daemon.stop(number), 0)
                self.assertGone(pids, 2)
                self.assertEqual(daemon.events("hook", result="failed"), [])


class Config(HookCase):
    def test_no_helper_unless_asked_for(self):
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        with open("/proc/%d/task/%d/children" % (daemon.pid, daemon.pid)) as file:
            self.assertEqual(file.read(), "")
        self.assertIsNone(daemon.status()["hooks"])
        # A reload can't make one.
        self.hooked()
        mark = daemon.mark()
        daemon.request({"request": "reload"})
        event = daemon.wait_event("hook", since=mark, result="restart-needed")
        self.assertIn("restart the daemon", event["next"])
        self.assertEqual(
            [self.hooks_of(daemon)[key] for key in ("alive", "restart_needed", "program")],
            [False, True, None])
        self.assertCode(self.fence.run("status"), 3)
        self.configure()
        daemon.request({"request": "reload"})
        self.assertIsNone(daemon.status()["hooks"])

    def test_another_program(self):
        self.points(HOME)
        self.hooked("a")
        daemon = self.daemon()
        self.wait_runs(event="change", new=HOME)
        self.hooked("b")
        daemon.request({"request": "reload"})
        daemon.wait_event("hook", result="restart-needed")
        self.assertTrue(self.hooks_of(daemon)["restart_needed"])
        result = self.fence.run("status")
        self.assertCode(result, 3)
        self.assertIn("on-change has been changed", result.out + result.err)
        # The former one goes on.
        self.points(HOME2)
        self.assertEqual(self.wait_runs(event="change", new=HOME2)[0].arguments, ["a"])
        # None at all can be had at once, and the former one again, too.
        self.configure()
        daemon.request({"request": "reload"})
        self.assertIsNone(daemon.status()["hooks"])
        self.points(HOME)
        self.assertAllowed(HOME)
        self.assertEqual(len(self.runs(event="change")), 2)
        self.hooked("a")
        mark = daemon.mark()
        daemon.request({"request": "reload"})
        self.wait_runs(2, event="reload")
        self.assertEqual(daemon.events("hook", since=mark, result="restart-needed"), [])
        self.assertFalse(self.hooks_of(daemon)["restart_needed"])

    def test_a_copy_of_the_config_names_no_program(self):
        """It lies where the daemon's user may write, and the helper is root."""
        self.points(HOME)
        self.hooked()
        daemon = self.daemon()
        self.wait_runs(event="change")
        daemon.stop()
        before = len(self.runs())
        self.fence.config("extensions: [broken\n")
        daemon = self.daemon()
        event = daemon.events("hook", result="failed")[0]
        self.assertIn("only the config itself", event["error"])
        self.assertFalse(self.hooks_of(daemon)["alive"])
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.assertEqual(len(self.runs()), before)

    @unittest.skipUnless(privileged(), "no other users in this namespace")
    def test_the_daemon_gives_up_what_the_helper_keeps(self):
        self.points(HOME)
        os.chmod(self.directory, 0o755)
        self.hooked(more="user: nobody\n")
        daemon = self.daemon()
        helper = self.helper(daemon)
        self.assertNotEqual(os.stat("/proc/%d" % daemon.pid).st_uid, 0)

        def status(pid, key):
            with open("/proc/%d/status" % pid) as file:
                return re.search(r"(?m)^%s:\s*(.*)$" % key, file.read()).group(1)
        self.assertEqual(status(daemon.pid, "Uid").split()[0], status(daemon.pid, "Uid").split()[1])
        self.assertNotEqual(status(daemon.pid, "Uid").split()[0], "0")
        self.assertEqual(status(helper, "Uid").split(), ["0"] * 4)
        self.assertEqual(status(helper, "NoNewPrivs"), "0")
        self.assertEqual(status(helper, "Name"), "sipfence-helper")
        run = self.wait_runs(event="change", done=True)[0]
        self.assertEqual(run.uid, 0)
        self.points(HOME2)
        self.wait_runs(event="change", new=HOME2)
        self.assertAllowed(HOME2)


class Example(HookCase):
    """examples/hooks/tell: with programs that note what they are given in the place of sendmail and
    logger, which would need a mail server and a log."""

    def tell(self, *arguments, **environment):
        folder = os.path.join(self.directory, "bin")
        os.makedirs(folder, exist_ok=True)
        noted = os.path.join(self.directory, "noted")
        for name in ("sendmail", "logger"):
            self.script("bin/" + name, "#!/bin/sh\n{ echo %s \"$@\"; [ %s = logger ] || cat; } >%s\n" % (
                name, name, noted))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(noted)
        done = self.pbx.run([os.path.join(REPO, "examples/hooks/tell"), *arguments], env={
            "PATH": folder + ":/usr/bin:/bin",
            **{"SIPFENCE_" + key.upper(): value for key, value in environment.items()}})
        self.assertEqual(done.stderr, "")
        if not os.path.exists(noted):
            return None
        with open(noted) as file:
            return file.read()

    def test_what_it_tells(self):
        who = {"extension": "21", "host": NAME}
        for told, event in (
                (None, {"event": "change", "old": HOME, "new": HOME2, "type": "A", **who}),
                ("extension 21 (%s): no A address any more" % NAME,
                 {"event": "change", "old": HOME, "new": "-", "type": "A", **who}),
                # A fixed address has no name, and no type of record.
                ("extension 21: %s may not pass any more" % HOME,
                 {"event": "change", "old": HOME, "new": "-", "extension": "21",
                  "reason": "no longer in the config"}),
                ("extension 21 (%s): held" % NAME, {"event": "state", "state": "held", **who}),
                ("extension 21 (%s): well again" % NAME,
                 {"event": "state", "state": "fresh", **who}),
                ("peer voipco (sip.example): gone",
                 {"event": "state", "state": "gone", "peer": "voipco", "host": "sip.example"}),
                ("DNS is dead", {"event": "dns", "state": "dead"}),
                ("reload: it is wrong", {"event": "reload", "result": "refused",
                                         "error": "it is wrong"}),
                ("the table was changed by nft", {"event": "damage", "program": "nft"}),
                ("not listed, and now shut out: 192.0.2.1",
                 {"event": "shut-out", "source": "192.0.2.1"}),
                ("extension 21: TAKEOVER from 192.0.2.1 (proven)",
                 {"event": "takeover", "state": "found", "extension": "21", "address": "192.0.2.1",
                  "certainty": "proven"}),
                ("extension 21: no takeover, its name points to 192.0.2.1 by now",
                 {"event": "takeover", "state": "excused", "extension": "21", "address": "192.0.2.1"}),
                ("takeovers: 7 more in a minute", {"event": "takeover", "state": "left-out", "count": "7"}),
                ("Asterisk's security log is silent", {"event": "security-log", "state": "silent"}),
                (None, {"event": "reload", "result": "done"}),
                (None, {"event": "table", "action": "changed"}),
                (None, {})):
            with self.subTest(event=event):
                noted = self.tell(**event)
                if told is None:
                    self.assertIsNone(noted)
                    continue
                self.assertEqual(noted, "logger -t sipfence-tell -p daemon.warning -- %s\n" % told)
                lines = self.tell("admin@pbx.example", **event).splitlines()
                self.assertEqual(lines[:2], ["sendmail -oi -t", "To: admin@pbx.example"])
                self.assertTrue(lines[2].startswith("Subject: sipfence on "))
                self.assertTrue(lines[2].endswith(": " + told))
                self.assertIn("EVENT=" + event["event"], lines)

    def test_in_the_daemon(self):
        """As it stands, from where the daemon takes it."""
        with open(os.path.join(REPO, "examples/hooks/tell")) as file:
            self.hook = self.script("tell", file.read())
        self.points(HOME)
        self.hooked()
        daemon = self.daemon("-v")
        daemon.wait_event("hook", result="done", of="change")
        self.dns_broken()
        daemon.wait_event("hook", result="done", of="dns")
        self.assertEqual(daemon.events("hook", result="failed"), [])


if __name__ == "__main__":
    main(at_once=3)
