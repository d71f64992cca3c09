#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What Prometheus gets: `status --prometheus`, the file of `metrics-file`, and the dashboard that reads
them. Each text passes a parser of the format (https://prometheus.io/docs/instrumenting/exposition_formats),
and promtool: PROMTOOL names it, or it is on the path, or it is taken out of Debian's package, which is
not installed for that: it would start a server.
"""
import json
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import debian
from daemon_case import HOME, HOME2, LAN, NAME, ROGUE
from harness import INSIDE, NO_CAPS, PATH, REPO, Strace, main, privileged, wait_until
from test_status import Base

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool", path=PATH)
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"')
DASHBOARD = os.path.join(REPO, "examples/grafana/sipfence.json")
MANUAL = os.path.join(REPO, "cmd/sipfence/sipfence.8.scd")


class Metrics(dict):
    """{name: {frozenset of labels: value}}; a text that is not as it should be is an error."""

    def __init__(self, text):
        super().__init__()
        self.types, self.help, current = {}, {}, None
        if not text.endswith("\n"):
            raise AssertionError("the last line is torn: %r" % text[-80:])
        for line in text.splitlines():
            if line.startswith("# HELP "):
                _, _, name, words = line.split(" ", 3)
                assert name not in self.help, "two of " + name
                self.help[name], current = words, name
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name == current and name not in self.types, line
                assert kind in ("counter", "gauge"), line
                self.types[name] = kind
            else:
                match = SAMPLE.fullmatch(line)
                assert match, "not a sample: %r" % line
                name, value = match.group(1), float(match.group(3))
                assert name == current and name in self.types, "out of place: " + line
                labels = frozenset(LABEL.findall(match.group(2) or ""))
                assert labels not in self.setdefault(name, {}), "twice: " + line
                assert math.isfinite(value), line
                self[name][labels] = value
        for name, kind in self.types.items():
            assert name.startswith("sipfence_"), name
            assert (kind == "counter") == name.endswith("_total"), name
            assert self.help[name].endswith("."), name

    def of(self, metric, /, **labels):
        """The only sample that has these labels."""
        found = [value for key, value in self[metric].items() if set(labels.items()) <= key]
        if len(found) != 1:
            raise AssertionError("%d samples of %s %s" % (len(found), metric, labels))
        return found[0]


class MetricsCase(Base):
    def parse(self, text):
        if PROMTOOL:
            done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
        return Metrics(text)

    def metrics(self, *arguments, code=0, **more):
        result = self.assertCode(self.fence.run("status", "--prometheus", *arguments, **more), code)
        self.assertEqual(result.err, "")
        return self.parse(result.out)


class Beside(MetricsCase):
    """However long the counters take to read: the loop goes on."""
    needs = (*MetricsCase.needs, "strace")

    def setUp(self):
        super().setUp()
        self.loop = self.good()
        self.threads = self.count_threads()

    def count_threads(self):
        return len(os.listdir("/proc/%d/task" % self.loop.pid))

    def slow_kernel(self, seconds=0.4):
        """Each message of a dump comes late; those that answer a change come at once, by recvfrom()."""
        return Strace(self.pbx, self.loop.pid, ("recvmsg",), "-e",
                      "inject=recvmsg:delay_enter=%d" % (seconds * 1000000))

    def asking(self):
        child = self.fence.popen("status", "--prometheus", stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.kill)
        self.assertTrue(wait_until(lambda: self.count_threads() > self.threads, 5), "nobody reads beside it")
        return child

    def test_a_change_does_not_wait_for_who_asks(self):
        tracer = self.slow_kernel()
        first = self.asking()
        self.points(HOME2)
        self.assertTrue(self.loop.request({"request": "refresh", "names": [NAME]})["ok"])
        self.assertEqual(self.hosts4(), [HOME2])
        self.assertIsNone(first.poll(), "the counters were there first")
        # Who asks meanwhile gets what is counted after that.
        second = self.fence.popen("status", "--prometheus", stdout=subprocess.PIPE, text=True)
        self.addCleanup(second.kill)
        texts = [child.communicate(timeout=60)[0] for child in (first, second)]
        self.assertEqual([child.returncode for child in (first, second)], [0, 0])
        for text in texts:
            self.assertEqual(self.parse(text).of("sipfence_kept_out_sources", service="sip"), 0)
        read = [line for line in tracer.calls() if "NETLINK:[NETFILTER" in line]
        self.assertTrue(read)
        self.assertEqual([line for line in read if int(line.split()[0]) == self.loop.pid], [])
        self.assertTrue(wait_until(lambda: self.count_threads() == self.threads, 5))

    def test_a_reload_meanwhile(self):
        """What was read by the former config is no answer."""
        tracer = self.slow_kernel(0.1)
        child = self.asking()
        self.configure("services: {web: {tcp: [80]}}\npeers: {anna: {hosts: [192.0.2.7], services: [web]}}\n")
        self.assertTrue(self.loop.request({"request": "reload"}, timeout=60)["ok"])
        tracer.calls()
        metrics = self.parse(child.communicate(timeout=60)[0])
        self.assertEqual(metrics.of("sipfence_kept_out_sources", service="web"), 0)

    def test_the_end_meanwhile(self):
        tracer = self.slow_kernel()
        child = self.asking()
        self.loop.send_signal(signal.SIGTERM)
        self.loop.wait_event("stop")
        tracer.calls()
        self.assertEqual(self.loop.wait(60), 0)
        child.communicate(timeout=60)
        self.assertEqual(child.returncode, 1)


class Prometheus(MetricsCase):
    def test_promtool(self):
        if not PROMTOOL:
            self.skipTest("no promtool (%s); the tests' own parser does" % os.environ.get("PROMTOOL_LACKS"))
        self.good()
        self.metrics()

    def test_daemon(self):
        daemon = self.mixed()
        before = time.time()
        metrics, status = self.metrics(), daemon.status()
        for state in ("fresh", "held", "gone", "refused", "expired", "never answered"):
            self.assertEqual(metrics.of("sipfence_names", state=state), status["totals"][state])
        labels = {"kind": "extension", "id": "21", "name": NAME}
        self.assertEqual([value for key, value in metrics["sipfence_name_state"].items()
                          if set(labels.items()) <= key], [1, 0, 0, 0, 0, 0])
        self.assertEqual(metrics.of("sipfence_name_state", state="refused", id="9"), 1)
        self.assertEqual(metrics.of("sipfence_name_state", state="fresh", id="anna", kind="peer"), 1)
        self.assertAlmostEqual(metrics.of("sipfence_name_last_answer_timestamp_seconds", **labels), before,
                               delta=8)
        self.assertNotIn("dead.example", str(metrics["sipfence_name_last_answer_timestamp_seconds"]))
        self.assertEqual(metrics.of("sipfence_name_addresses", id="trunk"), 3)
        self.assertAlmostEqual(metrics.of("sipfence_metrics_timestamp_seconds"), before, delta=4)
        self.assertAlmostEqual(metrics.of("sipfence_start_timestamp_seconds"), before, delta=30)
        self.assertEqual(metrics.of("sipfence_build_info", version=status["version"]), 1)
        self.assertEqual(metrics.of("sipfence_table_elements"), status["elements"])
        self.assertGreaterEqual(metrics.of("sipfence_dns_questions_total"), 12)
        for name in ("daemon_running", "table_right", "enforcing", "dns_alive"):
            self.assertEqual(metrics.of("sipfence_" + name), 1, name)
        for name in ("config_refused", "state_save_failing"):
            self.assertEqual(metrics.of("sipfence_" + name), 0, name)
        self.assertNotIn("sipfence_hooks_total", metrics)
        self.assertNotIn("sipfence_sync_exit_code", metrics)

    def test_what_is_dropped(self):
        self.mixed()
        metrics = self.metrics()
        self.assertEqual(metrics.of("sipfence_dropped_packets_total", service="sip"), 0)
        self.assertEqual(metrics.of("sipfence_kept_out_sources", service="web"), 0)
        self.assertPasses(HOME)
        self.assertShut(ROGUE, ROGUE)
        metrics = self.metrics()
        packets = metrics.of("sipfence_dropped_packets_total", service="sip")
        self.assertGreaterEqual(packets, 2)
        self.assertGreaterEqual(metrics.of("sipfence_dropped_bytes_total", service="sip"), 28 * packets)
        self.assertEqual(metrics.of("sipfence_kept_out_sources", service="sip"), 1)
        # The daemon reads the kernel, whoever asks it.
        asked = self.metrics(prefix=NO_CAPS)
        self.assertGreaterEqual(asked.of("sipfence_dropped_packets_total", service="sip"), packets)

    def test_without_a_daemon(self):
        daemon = self.mixed()
        self.assertShut(ROGUE)
        before = self.metrics()
        daemon.stop()
        metrics = self.metrics()
        self.assertEqual(metrics.of("sipfence_daemon_running"), 0)
        self.assertEqual(metrics["sipfence_names"], before["sipfence_names"])
        self.assertEqual(metrics["sipfence_name_addresses"], before["sipfence_name_addresses"])
        self.assertNotIn("sipfence_dns_alive", metrics)
        if metrics.of("sipfence_table_right"):
            self.assertEqual(metrics["sipfence_dropped_packets_total"],
                             before["sipfence_dropped_packets_total"])
        self.assertNotIn("sipfence_dropped_packets_total", self.metrics(prefix=NO_CAPS))

    def test_trouble_is_told(self):
        daemon = self.good()
        self.dns_broken()
        daemon.wait_event("state", 10, state="held")
        with open(self.fence.path) as file:
            good = file.read()
        self.fence.config("hld: 1h\n")
        self.assertCode(self.fence.run("reload"), 2)
        wait_until(lambda: not daemon.status()["dns"]["alive"], 10)
        metrics = self.metrics()
        self.assertEqual(metrics.of("sipfence_config_refused"), 1)
        self.assertEqual(metrics.of("sipfence_dns_alive"), 0)
        self.assertEqual(metrics.of("sipfence_name_state", id="21", state="held"), 1)
        self.fence.config(good + "mode: monitor\n")
        self.assertCode(self.fence.run("reload"), 0)
        self.assertEqual(self.metrics().of("sipfence_enforcing"), 0)

    def test_no_daemon_and_no_state(self):
        self.points(HOME)
        self.configure()
        result = self.fence.run("status", "--prometheus")
        self.assertEqual((result.code, result.out), (1, ""))
        self.assertIn("no former run has left a state file", result.err)


class File(MetricsCase):
    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.fence.directory, "metrics")
        self.path = os.path.join(self.folder, "sipfence.prom")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o777)

    def with_file(self, more="", extensions="21: " + NAME):
        self.points(HOME)
        self.configure("metrics-file: %s\n%s" % (self.path, more), extensions)

    def read(self):
        with open(self.path) as file:
            return self.parse(file.read())

    def test_of_the_daemon(self):
        """At once, each 15 seconds, and at the end."""
        self.with_file()
        daemon = self.daemon()
        self.assertTrue(wait_until(lambda: os.path.exists(self.path), 5))
        first = self.read().of("sipfence_metrics_timestamp_seconds")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o644)
        self.assertShut(ROGUE)
        self.assertTrue(wait_until(
            lambda: self.read().of("sipfence_metrics_timestamp_seconds") > first, 25, 0.2))
        metrics = self.read()
        self.assertAlmostEqual(metrics.of("sipfence_metrics_timestamp_seconds") - first, 15, delta=3)
        self.assertEqual(metrics.of("sipfence_daemon_running"), 1)
        self.assertEqual(metrics.of("sipfence_name_state", id="21", state="fresh"), 1)
        self.assertGreaterEqual(metrics.of("sipfence_dropped_packets_total", service="sip"), 1)
        daemon.stop()
        metrics = self.read()
        self.assertEqual(metrics.of("sipfence_daemon_running"), 0)
        self.assertEqual(metrics.of("sipfence_enforcing"), 1)
        self.assertEqual(os.listdir(self.folder), ["sipfence.prom"])

    def test_who_reads(self):
        """The kernel's counters are read by another thread than the loop's."""
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        tracer = Strace(self.pbx, daemon.pid, ("sendto", "sendmsg"))
        self.with_file()
        self.assertCode(self.fence.run("reload"), 0)
        self.assertTrue(wait_until(lambda: os.path.exists(self.path) or daemon.events("metrics"), 5))
        asked = [line for line in tracer.calls() if "NETLINK:[NETFILTER" in line]
        self.assertTrue(asked)
        self.assertTrue([line for line in asked if int(line.split()[0]) != daemon.pid], asked)
        daemon.stop()

    def test_that_cannot_be_written(self):
        """It is said once, and nothing else suffers."""
        self.with_file()
        os.rmdir(self.folder)
        with open(self.folder, "w"):
            pass
        daemon = self.daemon()
        event = daemon.wait_event("metrics", 5, result="failed")
        self.assertIn(self.path, event["error"])
        self.assertAllowed(HOME)
        time.sleep(15.5)                # it is tried again, in vain
        self.assertEqual(len(daemon.events("metrics")), 1)
        os.unlink(self.folder)
        daemon.stop()

    def test_of_a_reload(self):
        """A file that the config names later is written, unless the daemon has shut itself off from its
        folder; one that it names no more is written no more."""
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        time.sleep(0.5)
        self.assertFalse(os.path.exists(self.path))
        self.with_file()
        self.assertCode(self.fence.run("reload"), 0)
        self.assertTrue(wait_until(lambda: os.path.exists(self.path) or daemon.events("metrics"), 5))
        if not os.path.exists(self.path):
            self.assertIn("restart the daemon", daemon.events("metrics")[0]["next"])
        daemon.stop()

    def test_of_sync(self):
        self.with_file(extensions="21: %s, 22: gone.example" % NAME)
        for options in ("--dry-run", "--diff"):
            self.fence.run("sync", options)
            self.assertFalse(os.path.exists(self.path))
        before = int(time.time())
        self.assertCode(self.fence.run("sync"), 3)
        metrics = self.read()
        self.assertEqual(metrics.of("sipfence_sync_exit_code"), 3)
        self.assertGreaterEqual(metrics.of("sipfence_sync_timestamp_seconds"), before)
        self.assertEqual(metrics.of("sipfence_daemon_running"), 0)
        self.assertEqual(metrics.of("sipfence_table_right"), 1)
        self.assertEqual(metrics.of("sipfence_name_state", id="22", state="never answered"), 1)
        self.assertEqual(metrics.of("sipfence_dropped_packets_total", service="sip"), 0)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o644)

    def test_sync_without_the_folder(self):
        self.with_file()
        os.rmdir(self.folder)
        result = self.assertCode(self.fence.run("sync"), 0)
        self.assertRegex(result.err, r"the metrics are those of an earlier run: cannot write .*sipfence\.prom")
        self.assertAllowed(HOME)

    def test_is_never_torn(self):
        self.with_file()
        self.assertCode(self.fence.run("sync"), 0)
        child, reads = None, 0
        for _ in range(6):
            child = self.fence.popen("sync")
            while child.poll() is None:
                with open(self.path) as file:
                    text = file.read()
                Metrics(text)
                self.assertIn("sipfence_names{", text)
                reads += 1
        self.assertGreater(reads, 20)

    def test_long_lists_have_totals_only(self):
        """Prometheus is not to keep a series for each of 100,000 names."""
        for count, listed in ((1000, True), (1001, False)):
            with self.subTest(count=count):
                self.with_file(extensions=", ".join("%d: n%d.example" % (10000 + i, i) for i in range(count)))
                self.server.clear()
                self.points(HOME, name="n7.example")
                self.fence.run("sync")
                metrics = self.read()
                self.assertEqual(sum(metrics["sipfence_names"].values()), count)
                self.assertEqual("sipfence_name_state" in metrics, listed)
                if listed:
                    self.assertEqual(len(metrics["sipfence_name_state"]), 6 * count)
                self.assertLess(len(metrics["sipfence_names"]), 10)


class Dashboard(MetricsCase):
    def known(self):
        """All metrics that there can be: each is in the manual, and the manual has no others."""
        with open(MANUAL) as file:
            text = file.read()
        section = text[text.index("# METRICS"):]
        section = section[:section.index("\n# ", 2)]
        return set(re.findall(r"\*(sipfence_\w+)\*", section.replace("\\_", "_")))

    def test_manual(self):
        folder = os.path.join(self.fence.directory, "metrics")
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        self.points(HOME)
        hook = os.path.join(self.fence.directory, "hook")
        with open(hook, "w") as file:
            file.write("#!/bin/sh\ncat > /dev/null\n")
        os.chmod(hook, 0o755)
        self.configure("metrics-file: %s/sipfence.prom\n" % folder)
        self.assertCode(self.fence.run("sync"), 0)
        with open(folder + "/sipfence.prom") as file:
            there = set(Metrics(file.read()).types)
        self.configure("on-change: [%s]\n" % hook)
        self.settled(self.daemon(), 1)
        wait_until(lambda: "sipfence_state_saved_timestamp_seconds" in self.metrics(), 10, 0.2)
        there |= set(self.metrics().types)
        self.assertEqual(there, self.known())

    def test_queries(self):
        with open(DASHBOARD) as file:
            board = json.load(file)
        expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
        self.assertGreater(len(expressions), 8)
        known = self.known()
        for expression in expressions:
            names = set(re.findall(r"\b[a-z_]*sipfence\w*\b", expression))
            self.assertTrue(names and names <= known, expression)
        self.assertEqual(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))
        self.assertNotIn("datasource\": \"", json.dumps(board), "a data source of one machine")

    def test_rules(self):
        """promtool reads each query as a rule."""
        if not PROMTOOL:
            self.skipTest("no promtool (%s)" % os.environ.get("PROMTOOL_LACKS"))
        with open(DASHBOARD) as file:
            board = json.load(file)
        expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
        path = os.path.join(self.fence.directory, "rules.yml")
        with open(path, "w") as file:
            json.dump({"groups": [{"name": "board", "rules": [
                {"record": "board:%d" % number, "expr": expression.replace("$__rate_interval", "5m")}
                for number, expression in enumerate(expressions)]}]}, file)
        done = subprocess.run([PROMTOOL, "check", "rules", path], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30)
        self.assertEqual(done.returncode, 0, done.stdout)


def find_promtool():
    """Before there is no network; for those that are started from here."""
    if PROMTOOL or os.environ.get(INSIDE) or "PROMTOOL_LACKS" in os.environ:
        return
    path, problem = debian.fetched("prometheus", "usr/bin/promtool", time.monotonic() + 60)
    os.environ.update({"PROMTOOL": path} if path else {"PROMTOOL_LACKS": problem})


if __name__ == "__main__":
    find_promtool()
    main(at_once=3)
