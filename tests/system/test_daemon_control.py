#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
How the daemon is asked and how it tells: reloads, the control socket and those who misuse it, what
systemd hears, the log (design, section 8).
"""
import contextlib
import os
import signal
import socket
import time

from daemon_case import HOME, HOME2, LAN, NAME, PATIENCE, ROGUE, DaemonCase
from harness import Monitor, main, sanitized, wait_until
from scripted_dns import answer, delay


class Base(DaemonCase):
    def started(self, *options, **more):
        self.points(HOME)
        self.points("203.0.113.22", name="home22.example")
        self.configure()
        daemon = self.daemon(*options, **more)
        self.assertAllowed(HOME)
        return daemon


class Reload(Base):
    BOTH = "21: %s, 22: home22.example" % NAME

    def ways(self):
        """By a signal, by the command, by the socket: each returns the answer, if there is any."""
        def by_signal(daemon):
            daemon.send_signal(signal.SIGHUP)

        def by_command(_):
            return self.fence.run("reload")

        def by_socket(daemon):
            return daemon.request({"request": "reload"}, timeout=10)
        return {"signal": by_signal, "command": by_command, "socket": by_socket}

    def test_changed(self):
        daemon = self.started()
        self.assertPasses(HOME)
        for name, reload in self.ways().items():
            with self.subTest(name):
                packets = self.pbx.elements("sip_hosts4")[HOME]["packets"]
                mark = daemon.mark()
                self.configure(extensions=self.BOTH)
                answered = reload(daemon)
                daemon.wait_event("reload", since=mark, result="done")
                self.assertAllowed(HOME, "203.0.113.22")
                self.assertEqual(self.pbx.elements("sip_hosts4")[HOME]["packets"], packets)
                if name == "command":
                    self.assertCode(answered, 0)
                if name == "socket":
                    self.assertTrue(answered["ok"], answered)
                self.configure()
                reload(daemon)
                self.assertAllowed(HOME, seconds=2)

    def test_who_came_and_went_is_said(self):
        """As any other change: in the log, and by the command."""
        daemon = self.started()
        self.configure(extensions=self.BOTH)
        self.assertCode(self.fence.run("reload"), 0)
        self.assertAllowed(HOME, "203.0.113.22")
        mark = daemon.mark()
        self.configure(extensions="25: [%s, 192.0.2.99]" % NAME)
        result = self.assertCode(self.fence.run("reload"), 0)
        wanted = ("extension 21 %s: A %s -> -: no longer in the config" % (NAME, HOME),
                  "extension 22 home22.example: A 203.0.113.22 -> -: no longer in the config",
                  "extension 25 %s: A - -> %s" % (NAME, HOME), "extension 25: - -> 192.0.2.99")
        for line in wanted:
            self.assertIn(line + "\n", result.out)
        self.assertRegex(result.out, r"(?m)^the table was changed: \d changed, \d in all$")
        self.assertEqual(len(daemon.events("change", since=mark)), len(wanted))
        daemon.wait_event("change", since=mark, extension="22", old="203.0.113.22", new="-")

    def test_unchanged(self):
        daemon = self.started()
        with Monitor(self.pbx) as monitor:
            generation = self.pbx.generation()
            for reload in self.ways().values():
                mark = daemon.mark()
                reload(daemon)
                daemon.wait_event("reload", since=mark, result="done")
            self.assertEqual((self.pbx.generation() - generation, monitor.events()), (0, []))

    def test_bad(self):
        """All stays as it was, and the log and the caller are told where the mistake is."""
        daemon = self.started()
        before = self.pbx.table(), self.pbx.generation()
        for name, reload in self.ways().items():
            for bad in ("extensions: {21: home21.example, 22: home}\n", "extensions: [\n", ""):
                with self.subTest(name, bad=bad):
                    mark = daemon.mark()
                    self.fence.config(bad)
                    answered = reload(daemon)
                    refused = daemon.wait_event("reload", since=mark, result="refused")
                    self.assertIn("sipfence.yaml", refused["error"], refused)
                    if name == "command":
                        self.assertCode(answered, 2)
                        self.assertIn("sipfence.yaml", answered.err)
                    if name == "socket":
                        self.assertEqual((answered["ok"], answered["exit"]), (False, 2))
                        self.assertIn("sipfence.yaml", answered["error"])
        os.unlink(self.fence.path)
        self.assertCode(self.fence.run("reload"), 2)
        self.assertEqual((self.pbx.table(), self.pbx.generation()), before)
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.configure()
        self.assertCode(self.fence.run("reload"), 0)

    def test_shape_changes(self):
        """Another ruleset: swapped at once, with all that is known, and nobody slips through."""
        daemon = self.started()
        handles = [item["table"]["handle"] for item in self.pbx.nft_json("list", "tables") if "table" in item]
        with self.knocking(microseconds=200) as probes:
            for number in range(20):
                self.configure("services: {web: {tcp: [%d]}}\n" % (8000 + number % 2))
                self.assertTrue(daemon.request({"request": "reload"})["ok"])
                self.assertEqual(self.hosts4(), [HOME])
            self.configure("replies: accept\n")
            self.assertTrue(daemon.request({"request": "reload"})["ok"])
        probes.check(self, 100)
        self.assertNotEqual([item["table"]["handle"] for item in self.pbx.nft_json("list", "tables")
                             if "table" in item], handles, "no table was swapped")
        daemon.wait_event("table", action="swapped")

    def test_monitor_and_back(self):
        daemon = self.started()
        self.configure("mode: monitor\n")
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertPasses(HOME, ROGUE)
        daemon.wait_event("table", action="swapped", mode="monitor", was="enforce")
        self.configure("mode: enforce\n")
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertNotIn("was", daemon.events("table")[-1])
        self.assertPasses(HOME)
        self.assertShut(ROGUE)

    def test_hosts_that_stay_keep_their_state(self):
        """DNS is dead: what is known of a name that stands in both configs must not be lost."""
        daemon = self.started()
        self.dns_silent()
        self.configure("mode: enforce\nservices: {web: {tcp: [80]}}\n", "99: %s, 22: home22.example" % NAME)
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertEqual(self.hosts4(), [HOME])
        self.assertEqual(self.pbx.elements("sip_hosts4")[HOME]["comment"], "99 " + NAME)

    def test_another_guard_does_not_inherit(self):
        daemon = self.started()
        self.dns_silent()
        self.configure(extensions="21: {hosts: [%s], within: [198.51.100.0/24]}" % NAME)
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertEqual(self.hosts4(), [])
        self.assertShut(HOME)

    def test_other_times(self):
        """A name that was asked each ten minutes is asked each second from now on."""
        self.points(HOME, ttl=600)
        self.fence.config("extensions: {21: %s}\n%s" % (NAME, self.server.resolver()))
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.points(HOME2)
        self.configure()
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertAllowed(HOME2)

    def test_another_resolver(self):
        daemon = self.started()
        second = self.dns()
        second.set(NAME, "A", answer(HOME2, ttl=1))
        self.configure(resolver=second.resolver())
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertAllowed(HOME2)

    def test_a_storm_of_signals(self):
        daemon = self.started()
        for number in range(300):
            daemon.send_signal(signal.SIGHUP)
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.assertTrue(daemon.request({"request": "status"})["ok"])

    def test_ten_thousand(self):
        """No growth, neither of memory nor of descriptors; each tenth reload changes something."""
        daemon = self.started()
        count = 400 if sanitized() else 10000
        with daemon.control(10) as control:
            def reloads(times):
                for number in range(times):
                    if number % 10 == 0:
                        self.configure(extensions=self.BOTH if number % 20 else "21: " + NAME)
                    self.assertTrue(control.ask({"request": "reload"})["ok"])
            reloads(count // 20)
            memory, descriptors = daemon.proc("VmRSS"), daemon.descriptors()
            reloads(count)
            # The sockets of some questions more or less are under way at any moment.
            self.assertTrue(wait_until(lambda: daemon.descriptors() <= descriptors + 5),
                            (descriptors, daemon.descriptors()))
            if not sanitized():
                # In kB: sixty bytes a reload would show.
                self.assertLess(daemon.proc("VmRSS"), memory + 600)
        self.points(HOME2)
        self.assertTrue(wait_until(lambda: HOME2 in self.hosts4()))


class Clients(Base):
    def connect(self, daemon):
        client = daemon.control()
        self.addCleanup(client.close)
        return client

    def assertServes(self, daemon):
        """A change comes through in the usual time, and a decent client gets its answer."""
        start = time.monotonic()
        self.assertTrue(daemon.request({"request": "status"}, 3 * PATIENCE)["ok"])
        self.assertLess(time.monotonic() - start, 1 * PATIENCE)
        new = HOME2 if self.hosts4() == [HOME] else HOME
        self.points(new)
        self.assertAllowed(new, seconds=3)

    def test_commands(self):
        daemon = self.started()
        status = self.assertCode(self.fence.run("status"), 0)
        for word in ("21", NAME, HOME):
            self.assertIn(word, status.out)
        self.assertIn(HOME, str(self.fence.run("status", "--json").json()))
        why = self.assertCode(self.fence.run("why", HOME), 0)
        self.assertIn(NAME, why.out)
        self.assertIn("21", why.out)
        self.points(HOME2, ttl=600)
        refreshed = self.assertCode(self.fence.run("refresh"), 0)
        self.assertEqual(self.hosts4(), [HOME2])
        self.assertIn(HOME2, refreshed.out)
        daemon.stop()
        for command in ("refresh", "reload"):
            result = self.assertCode(self.fence.run(command), 1)
            self.assertIn("sipfence run", result.err)
        # What is known without it is told, but not as if it were in force.
        status = self.fence.run("status")
        self.assertIn(HOME2, status.out)
        self.assertIn("no daemon is running", status.out + status.err)

    def test_refresh_waits_for_dns(self):
        daemon = self.started()
        self.server.set(NAME, "A", delay(200, answer(HOME2, ttl=1)))
        answered = daemon.request({"request": "refresh", "names": [NAME]})
        self.assertTrue(answered["ok"], answered)
        self.assertEqual(self.hosts4(), [HOME2])
        self.assertTrue(answered["changes"])
        self.dns_broken()
        answered = daemon.request({"request": "refresh"})
        self.assertTrue(answered["ok"], answered)
        self.assertTrue(answered["unsure"], answered)
        self.assertEqual(self.fence.run("refresh").code, 3)
        answered = daemon.request({"request": "refresh", "names": ["unknown.example"]})
        self.assertFalse(answered["ok"])
        self.assertIn("unknown.example", answered["error"])

    def test_nonsense(self):
        daemon = self.started()
        for bad in (b"\n", b"hello\n", b"{}\n", b"[]\n", b"null\n", b'{"request":5}\n', b'{"request":"fly"}\n',
                    b'{"request":"refresh","names":"x"}\n', b'{"request":"refresh","names":[5]}\n',
                    b'{"request":"why"}\n', b'{"request":"why","what":[]}\n',
                    b'{"request":"why","what":"' + b"x" * 3000 + b'"}\n',
                    b'{"request":"sta\x00tus"}\n', b"\x00\n", b"\xff\xfe\xfd\n", b"[" * 3000 + b"\n",
                    b'{"request":"status","request":"remove"}\n', b'{"request":"status"}{"request":"status"}\n'):
            with self.subTest(bad[:50]):
                with daemon.control() as client:
                    answered = client.ask(bad)
                    # It may close the line, but it never takes nonsense for an order.
                    if answered is not None:
                        self.assertFalse(answered["ok"], answered)
                        self.assertIsInstance(answered["error"], str)
        self.assertTrue(daemon.request({"request": "status"})["ok"])
        self.assertEqual(self.hosts4(), [HOME])

    def test_many_requests_in_one_write(self):
        daemon = self.started()
        with daemon.control() as client:
            client.send(b'{"request":"status"}\n' * 50)
            for _ in range(50):
                self.assertTrue(client.receive()["ok"])

    def test_byte_by_byte(self):
        daemon = self.started()
        with daemon.control() as client:
            for byte in b'{"request":"status"}':
                client.send(bytes([byte]))
                time.sleep(0.01)
            self.assertServes(daemon)
            client.send(b"\n")
            self.assertTrue(client.receive()["ok"])

    def test_silent(self):
        daemon = self.started()
        before = daemon.descriptors()
        clients = []
        for number in range(300):
            with contextlib.suppress(OSError):
                clients.append(daemon.control(0.2))
        for client in clients[::2]:
            with contextlib.suppress(OSError):
                client.send(b'{"request":"sta')
        self.assertServes(daemon)
        for client in clients:
            client.close()
        self.assertTrue(wait_until(lambda: daemon.descriptors() <= before))
        self.assertServes(daemon)

    def flood(self, client, data, seconds=1.0):
        """Sends without reading for a while; returns how much went out."""
        client.socket.setblocking(False)
        sent, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                sent += client.socket.send(data)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        return sent

    def test_a_flood_without_reading(self):
        """Each answer is longer than what the kernel keeps for a reader."""
        self.points(HOME)
        self.configure(extensions="21: %s, %s" % (NAME, ", ".join(
            "%d: 20.1.%d.%d" % (1000 + n, n >> 8, n & 255) for n in range(3000))))
        daemon = self.daemon()
        self.assertTrue(wait_until(lambda: HOME in self.hosts4()))
        memory = daemon.proc("VmRSS")
        clients = [self.connect(daemon) for _ in range(4)]
        for client in clients:
            self.flood(client, b'{"request":"status"}\n' * 1000, 0.5)
        self.points(HOME2)
        self.assertTrue(wait_until(lambda: HOME2 in self.hosts4(), 3 * PATIENCE), daemon.stuck())
        self.assertTrue(daemon.request({"request": "status"}, 3 * PATIENCE)["ok"])
        self.assertLess(daemon.proc("VmRSS") - memory, 8192 * PATIENCE)
        cpu = daemon.cpu()
        time.sleep(1)
        self.assertLess(daemon.cpu() - cpu, 0.3, "it spins over clients that do not read")

    def test_a_line_without_end(self):
        daemon = self.started()
        memory = daemon.proc("VmRSS")
        for beginning in (b"x", b"{", b'{"request":"', b'{"request":"refresh","names":['):
            client = self.connect(daemon)
            client.send(beginning)
            self.flood(client, b"x" * 65536, 0.5)
        self.assertServes(daemon)
        self.assertLess(daemon.proc("VmRSS") - memory, 8192 * PATIENCE)

    def test_hasty(self):
        """They connect, perhaps ask, and are gone before the answer."""
        daemon = self.started()
        before = daemon.descriptors()
        for number in range(1000):
            with contextlib.suppress(OSError):
                with daemon.control(1) as client:
                    if number % 2:
                        client.send({"request": "status" if number % 4 == 1 else "refresh"})
        self.assertServes(daemon)
        self.assertTrue(wait_until(lambda: daemon.descriptors() <= before))

    def test_half_closed(self):
        """As `nc -N` and `socat` do it: the request, the end of it, and then the answer."""
        daemon = self.started()
        self.server.set(NAME, "A", delay(200, answer(HOME, ttl=1)))
        with daemon.control() as client:
            client.send({"request": "refresh"})
            client.socket.shutdown(socket.SHUT_WR)
            self.assertTrue(client.receive()["ok"])
            self.assertIsNone(client.receive())

    def test_pending_refreshes_do_not_pile_up(self):
        daemon = self.started()
        self.dns_silent()
        self.configure(timeout="2s")
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        clients = [self.connect(daemon) for _ in range(20)]
        for client in clients:
            client.send({"request": "refresh"})
        self.assertTrue(daemon.request({"request": "status"})["ok"])
        for client in clients:
            client.socket.settimeout(15)
            self.assertIsInstance(client.receive(), dict)


class Notify(Base):
    """A socket like systemd's."""

    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.directory, "notify")
        self.socket = self.bound(self.path)

    def bound(self, path):
        with self.pbx.inside():  # an abstract name belongs to a network namespace
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(path)
        sock.settimeout(5)
        self.addCleanup(sock.close)
        return sock

    def heard(self, seconds=0.0):
        """The words of all messages until the time is over: [(when, "READY=1"), ...]."""
        found, deadline = [], time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                message = self.socket.recv(4096).decode()
            except (socket.timeout, BlockingIOError):
                return found
            found += [(time.monotonic(), word) for word in message.split("\n") if word]

    def words(self, seconds=0.0):
        return [word for _, word in self.heard(seconds)]

    def run_notified(self, socket_name=None, **environment):
        self.points(HOME)
        self.configure()
        return self.daemon(ready=False, env=dict(environment, NOTIFY_SOCKET=socket_name or self.path))

    def wait_word(self, word, seconds=5.0):
        deadline = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < deadline:
            if word in self.words(0.05):
                return
        self.fail("%s was not heard" % word)

    def test_ready(self):
        """Once the table is there, and not before; DNS has nothing to do with it."""
        self.dns_silent()
        self.configure()
        daemon = self.daemon(ready=False, env={"NOTIFY_SOCKET": self.path})
        self.wait_word("READY=1")
        self.assertEqual(self.hosts4(), [])
        self.assertPasses(LAN)
        self.assertShut(HOME)
        daemon.stop()
        self.assertNotIn("READY=1", self.words(0.1))

    def test_abstract_socket(self):
        name = "sipfence-test-%d" % os.getpid()
        self.socket = self.bound("\0" + name)
        self.run_notified("@" + name)
        self.wait_word("READY=1")

    def test_not_ready_when_it_can_not_start(self):
        self.fence.config("extensions: [\n")
        daemon = self.daemon(ready=False, codes=(2,), env={"NOTIFY_SOCKET": self.path})
        daemon.wait()
        self.assertNotIn("READY=1", self.words(0.1))

    def test_nobody_listens(self):
        os.unlink(self.path)
        self.run_notified()
        self.assertAllowed(HOME)

    def test_socket_full(self):
        """systemd is stuck: that is no reason to be."""
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(filler.close)
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100000):
                filler.sendto(b"x", self.path)
        self.run_notified(WATCHDOG_USEC="200000")
        self.assertAllowed(HOME)
        self.points(HOME2)
        self.assertAllowed(HOME2)

    def test_stopping(self):
        daemon = self.run_notified()
        self.wait_word("READY=1")
        daemon.stop()
        self.assertIn("STOPPING=1", self.words(0.1))

    def test_watchdog(self):
        """Fed at least twice in its time, while the loop goes round; not while it is stuck."""
        daemon = self.run_notified(WATCHDOG_USEC="1000000")
        self.wait_word("READY=1")
        times = [when for when, word in self.heard(4) if word == "WATCHDOG=1"]
        gaps = [after - before for before, after in zip(times, times[1:])]
        self.assertGreaterEqual(len(times), 5)
        self.assertLess(max(gaps), 0.9)
        self.assertLess(len(times), 40, "it is fed all the time")
        daemon.send_signal(signal.SIGSTOP)
        self.heard(0.2)
        self.assertEqual(self.words(2), [])
        daemon.send_signal(signal.SIGCONT)
        self.assertIn("WATCHDOG=1", self.words(1.2))

    def test_no_watchdog(self):
        self.run_notified()
        self.wait_word("READY=1")
        self.assertNotIn("WATCHDOG=1", self.words(2))

    def test_watchdog_of_another_process(self):
        self.run_notified(WATCHDOG_USEC="500000", WATCHDOG_PID=str(os.getpid()))
        self.wait_word("READY=1")
        self.assertNotIn("WATCHDOG=1", self.words(2))

    def test_reload(self):
        """READY=1 stays said; a reload does not make the unit look as if it started."""
        daemon = self.run_notified()
        self.wait_word("READY=1")
        daemon.send_signal(signal.SIGHUP)
        daemon.wait_event("reload")
        self.assertNotIn("STOPPING=1", self.words(0.2))


class Log(Base):
    LINE = r'event=[a-z-]+( [a-z-]+=([\w.,:;/+%@*-]+|"([^"\\]|\\.)*"))*'

    def test_lines(self):
        daemon = self.started()
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.dns_silent()
        daemon.wait_event("dns", seconds=10)
        self.assertEqual(daemon.stop(), 0)
        for line in daemon.lines():
            self.assertRegex(line, "^%s$" % self.LINE)
        names = [event["event"] for event in daemon.events()]
        self.assertEqual(names[:2], ["privilege", "start"])
        self.assertEqual(names[-1], "stop")
        self.assertEqual(daemon.events("start")[0]["names"], "1")

    def test_priorities_for_the_journal(self):
        daemon = self.started(env={"JOURNAL_STREAM": "log"})
        daemon.stop()
        self.assertTrue(daemon.lines())
        for line in daemon.lines():
            self.assertRegex(line, "^<[3-7]>%s$" % self.LINE)

    def test_another_journal(self):
        """systemd's word is about a stream that has been redirected since."""
        daemon = self.started(env={"JOURNAL_STREAM": "1:1"})
        daemon.stop()
        for line in daemon.lines():
            self.assertRegex(line, "^event=")

    def test_quiet(self):
        self.points(HOME)
        self.configure("user: root\n")  # as it is; without a word, if that is what is asked for
        daemon = self.daemon("-q", ready=False)
        self.assertAllowed(HOME)
        self.assertEqual(daemon.log(), "")


if __name__ == "__main__":
    main(at_once=3)
