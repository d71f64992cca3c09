#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's control socket and the lock, without the daemon, through edges.c: clients that are
slow, silent, flooding, broken, gone or not allowed."""
import contextlib
import errno
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import unittest

from harness import PATH, SIPFENCE, main, privileged, wait_until

EDGES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(SIPFENCE))),
                     "tests/system/edges")
LINE_MAX = 65536
MAX_CLIENTS = 32
STALL_MS = 30000
GROUP, STRANGER, SOMEBODY = 54321, 54322, 54323  # numbers that nobody has
PATIENCE = 20  # seconds that nothing takes


class Client:
    """A connection to the server; strings are lines, with or without a line feed at the end."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)  # waits while the queue is full, which it does not with a limit
        self.socket.settimeout(PATIENCE)
        self.left = bytearray()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else (data + "\n").encode())
        return self

    def request(self, word, **more):
        return self.send(json.dumps(dict(more, request=word)))

    def line(self):
        """The next answer as JSON; None at the end of the connection."""
        end = self.left.find(b"\n")
        while end < 0:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:  # it hung up with something of ours unread
                data = b""
            if not data:
                assert not self.left, "half a line: %r" % bytes(self.left[:100])
                return None
            end = data.find(b"\n")
            end += len(self.left) if end >= 0 else 0
            self.left += data
        line = bytes(self.left[:end])
        del self.left[:end + 1]
        return json.loads(line)

    def ask(self, word, **more):
        return self.request(word, **more).line()

    def has_news(self, seconds=0.0):
        """Is there anything to read, the end included?"""
        self.socket.settimeout(seconds or 0.000001)
        try:
            return bool(self.left) or self.socket.recv(1, socket.MSG_PEEK) is not None
        except (socket.timeout, BlockingIOError):
            return False
        except ConnectionResetError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def close(self):
        self.socket.close()


class Base(unittest.TestCase):
    longMessage = True

    def connect(self):
        client = Client(self.path)
        self.addCleanup(client.close)
        return client

    @classmethod
    def setUpClass(cls):
        if not os.access(EDGES, os.X_OK):
            raise unittest.SkipTest(EDGES + " is not built")

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sipfence-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.chmod(self.folder, 0o755)
        self.path = os.path.join(self.folder, "control")
        self.program = os.path.join(self.folder, "edges")  # where other users reach it
        shutil.copy(EDGES, self.program)

    def overrun(self):
        """So many connections that the queue of the listening socket is full."""
        waiting = []
        with self.assertRaises(BlockingIOError):
            for _ in range(5000):
                waiting.append(socket.socket(socket.AF_UNIX))
                self.addCleanup(waiting[-1].close)
                waiting[-1].setblocking(False)
                waiting[-1].connect(self.path)
        return waiting

    def popen(self, *arguments, before=(), **more):
        more.setdefault("stdin", subprocess.PIPE)
        process = subprocess.Popen([*before, self.program, *map(str, arguments)],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   **more)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(PATIENCE)
        for stream in (process.stdin, process.stdout):
            if stream and not stream.closed:
                with contextlib.suppress(OSError):
                    stream.close()

    def run_edges(self, *arguments, input="", before=(), timeout=60):
        done = subprocess.run([*before, self.program, *map(str, arguments)], input=input, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
        return done.stdout


class Served(Base):
    group = -1
    before = ()

    def setUp(self):
        super().setUp()
        self.start()

    def start(self):
        self.server = self.popen("serve", self.path, self.group, before=self.before)
        self.assertEqual(self.server.stdout.readline(), "ready\n")

    def stop(self):
        """Ends it, and what it says then: nothing, and no stream is left over."""
        self.server.terminate()
        self.assertEqual(self.server.wait(PATIENCE), 0, self.server.stdout.read())
        self.assertFalse(os.path.lexists(self.path))

    def connect_many(self, count):
        return [self.connect() for _ in range(count)]

    def stats(self):
        client = self.connect()
        stats = client.ask("stats")
        client.close()
        return stats

    def assertAlive(self):
        client = self.connect()
        self.assertTrue(client.ask("echo")["ok"])
        client.close()

    def assertRefused(self, client, word=""):
        """An error answer, and hung up on."""
        answer = client.line()
        self.assertIsNotNone(answer)
        self.assertEqual((answer["ok"], answer["exit"]), (False, 1), answer)
        self.assertIn(word, answer["error"])
        self.assertTrue(answer["next"], answer)
        self.assertIsNone(client.line())

    def assertAtRest(self):
        """No wake-up without a cause: a few for our own questions."""
        client = self.connect()
        before = client.ask("stats")["rounds"]
        time.sleep(0.7)
        self.assertLessEqual(client.ask("stats")["rounds"] - before, 3)
        client.close()


class Socket(Base):
    def serve(self, path=None, group=-1):
        process = self.popen("serve", path or self.path, group)
        return process, process.stdout.readline()

    def test_mode(self):
        process, said = self.serve()
        self.assertEqual(said, "ready\n")
        status = os.lstat(self.path)
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o660)
        self.assertEqual(status.st_uid, os.geteuid())

    @unittest.skipUnless(shutil.which("strace", path=PATH), "strace is missing")
    def test_never_wider(self):
        log = os.path.join(self.folder, "log")
        process = self.popen("serve", self.path, -1, preexec_fn=lambda: os.umask(0), before=[
            "strace", "-o", log, "-e", "trace=umask,bind,chmod,fchmodat,listen"],
            env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
        self.assertEqual(process.stdout.readline(), "ready\n")
        with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as file:
            os.kill(int(file.read()), signal.SIGTERM)  # strace ends with it
        self.assertEqual(process.wait(PATIENCE), 0)
        with open(log) as file:
            calls = [line for line in file if "exit" not in line]
        names = [re.match(r"\w+", line)[0] for line in calls]
        self.assertEqual([name.replace("fchmodat", "chmod") for name in names],
                         ["umask", "bind", "umask", "chmod", "listen"], calls)
        self.assertIn("umask(0177)", calls[0])
        self.assertIn("umask(000)", calls[2])  # and given back
        self.assertIn("0660", calls[3])

    def test_left_by_a_dead_process(self):
        process, _ = self.serve()
        process.kill()
        process.wait(PATIENCE)
        self.assertTrue(os.path.lexists(self.path))
        process, said = self.serve()
        self.assertEqual(said, "ready\n")
        self.assertTrue(self.connect().ask("echo")["ok"])

    def test_somebody_listens(self):
        self.serve()
        _, said = self.serve()
        self.assertRegex(said, r"error -%d another process listens" % errno.EADDRINUSE)
        self.assertTrue(self.connect().ask("echo")["ok"])

    def test_somebody_listens_and_is_overrun(self):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path)
        listener.listen(0)
        self.overrun()
        _, said = self.serve()
        self.assertRegex(said, "another process listens")
        self.assertTrue(os.path.lexists(self.path))

    def test_no_socket(self):
        def make_file():
            with open(self.path, "w") as file:
                file.write("precious")

        def make_link():
            os.symlink("elsewhere", self.path)

        for make in (make_file, make_link, lambda: os.mkdir(self.path)):
            make()
            before = os.lstat(self.path)
            _, said = self.serve()
            self.assertRegex(said, r"error -%d .* is not a socket / move it" % errno.EEXIST)
            self.assertEqual(os.lstat(self.path), before)
            (os.rmdir if os.path.isdir(self.path) else os.unlink)(self.path)

    def test_no_folder(self):
        _, said = self.serve(os.path.join(self.folder, "none", "control"))
        self.assertRegex(said, r"error -%d .*none/control" % errno.ENOENT)

    def test_long_path(self):
        _, said = self.serve("/" + "x" * 200)
        self.assertRegex(said, r"error -%d .*too long.*--run-dir" % errno.ENAMETOOLONG)

    def test_end(self):
        for how in ("SIGTERM", "quit"):
            process, _ = self.serve()
            client = self.connect()
            if how == "quit":
                self.assertTrue(client.ask("quit")["ok"])
            else:
                process.terminate()
            self.assertEqual(process.wait(PATIENCE), 0)
            self.assertIsNone(client.line())
            self.assertFalse(os.path.lexists(self.path))

    def test_foreign_socket_stays_at_the_end(self):
        process, _ = self.serve()
        os.unlink(self.path)
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.bind(self.path)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertTrue(os.path.lexists(self.path))


class Lines(Served):
    def test_one_after_the_other(self):
        client = self.connect()
        for i in range(100):
            self.assertEqual(client.ask("echo", n=i)["echo"]["n"], i)
        self.stop()

    def test_many_in_one_go(self):
        client = self.connect()
        client.send(b"".join(b'{"n":%d,"request":"echo"}\n' % i for i in range(5000)))
        for i in range(5000):
            self.assertEqual(client.line()["echo"]["n"], i)
        self.assertFalse(client.has_news())

    def test_byte_by_byte(self):
        client = self.connect()
        for byte in b' {"request":"echo"}\r\n':
            client.send(bytes([byte]))
        self.assertTrue(client.line()["ok"])

    def test_one_at_a_time(self):
        client, other = self.connect_many(2)
        client.request("later").request("echo", n=1)
        self.assertEqual(self.stats()["requests"], 2)  # ours, and the one that asks for it
        self.assertFalse(client.has_news())
        self.assertEqual(other.ask("now")["answered"], 1)
        self.assertEqual(client.line()["late"], 0)
        self.assertEqual(client.line()["echo"]["n"], 1)

    def test_longest(self):
        client = self.connect()
        frame = '{"request":"echo","pad":"%s"}'
        longest = frame % ("x" * (LINE_MAX - 1 - len(frame % "")))
        self.assertEqual(len(longest) + 1, LINE_MAX)
        for _ in range(3):
            answer = client.send(longest).line()
            self.assertEqual(len(answer["echo"]["pad"]), LINE_MAX - 1 - len(frame % ""))
        self.assertRefused(client.send(longest + " "), "longer than 64 KB")
        self.assertAlive()

    def test_too_long(self):
        for data in (b"{" + b" " * (LINE_MAX - 1), b"x" * LINE_MAX, b"\0" * LINE_MAX):
            self.assertRefused(self.connect().send(data), "longer than 64 KB")
        client = self.connect()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(b"{" * (10 << 20))
        self.assertRefused(client, "longer than 64 KB")
        self.assertAlive()

    def test_no_object(self):
        for data in (b"\n", b"\r\n", b"hello\n", b"[1]\n", b"GET / HTTP/1.1\r\n\r\n",
                     b"\x16\x03\x01\x02\n", b"\xff\xfe\n", b"\0\n", b"\0{}\n", b'"{}"\n'):
            with self.subTest(data):
                self.assertRefused(self.connect().send(data), "not a JSON object")
        self.assertEqual(self.stats()["requests"], 1)

    def test_broken_object(self):
        """That is the daemon's matter: it reads JSON."""
        client = self.connect()
        self.assertFalse(client.send("{broken").line()["ok"])
        self.assertTrue(client.ask("echo")["ok"])

    def test_void_in_the_line(self):
        client = self.connect()
        self.assertFalse(client.send(b'{"request":"echo"}\0\n').line()["ok"])
        self.assertTrue(client.ask("echo")["ok"])

    def test_half_a_line(self):
        self.connect().send(b'{"request":"quit"}').close()
        client = self.connect().send(b'{"request":"quit"}')
        client.socket.shutdown(socket.SHUT_WR)
        self.assertIsNone(client.line())
        self.assertEqual(self.stats()["requests"], 1)
        self.assertAtRest()


class Ends(Served):
    """Clients that go, sooner or later."""

    def test_no_more_requests(self):
        """As `echo … | socat - UNIX-CONNECT:…` does it."""
        client = self.connect().request("echo").request("echo")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(client.line()["ok"])
        self.assertTrue(client.line()["ok"])
        self.assertIsNone(client.line())

    def test_no_more_requests_and_waits(self):
        client = self.connect().request("later")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertAtRest()
        self.assertEqual(self.connect().ask("now")["answered"], 1)
        self.assertEqual(client.line()["late"], 0)
        self.assertIsNone(client.line())

    def test_gone_at_once(self):
        for _ in range(50):
            self.connect().request("echo").close()
        self.assertEqual(self.stats()["requests"], 51)

    def test_gone_while_asked(self):
        gone = self.connect().request("later")
        wait_until(lambda: self.stats()["unanswered"] == 2)
        gone.close()
        self.assertTrue(wait_until(lambda: self.stats()["unanswered"] == 1), "it is not forgotten")
        asks = self.connect().request("later")  # takes its place
        idle = self.connect()
        wait_until(lambda: self.stats()["unanswered"] == 2)
        self.assertEqual(self.connect().ask("now")["answered"], 2)
        self.assertEqual(asks.line()["late"], 1)
        self.assertFalse(idle.has_news(0.2))
        self.assertTrue(idle.ask("echo")["ok"])

    def test_gone_with_more_to_ask(self):
        """What stands behind a request that is under way is not asked any more."""
        client = self.connect().send(b'{"request":"later"}\n{"request":"quit"}\n')
        self.assertTrue(wait_until(lambda: self.stats()["unanswered"] == 2))
        client.close()
        self.assertTrue(wait_until(lambda: self.stats()["unanswered"] == 1))
        self.assertAlive()
        self.stop()

    def test_the_next_request_is_another(self):
        """An answer to the first is none to the second."""
        client, other = self.connect_many(2)
        self.assertEqual(client.ask("twice")["time"], 1)
        client.request("later")
        wait_until(lambda: self.stats()["unanswered"] == 2)
        self.assertEqual(other.ask("twice")["time"], 1)
        self.assertFalse(client.has_news(0.2))
        self.assertEqual(other.ask("now")["answered"], 1)
        self.assertEqual(client.line()["late"], 0)
        self.assertFalse(client.has_news())
        self.stop()

    def test_gone_while_told(self):
        for word in ("stream", "big", "break"):
            client = self.connect().request(word, bytes=50 << 20)
            client.socket.recv(10)
            self.assertEqual(self.stats()["unwritten"], 1)
            client.close()
            self.assertTrue(wait_until(lambda: self.stats()["unwritten"] == 0), word)
        stats = self.stats()
        self.assertEqual((stats["streams"], stats["released"]), (2, 2))
        self.assertAtRest()
        self.stop()

    def test_server_ends_while_told(self):
        client = self.connect().request("stream", bytes=50 << 20)
        client.socket.recv(10)
        self.stop()


class Crowd(Served):
    def test_longest_idle_makes_room(self):
        clients = self.connect_many(MAX_CLIENTS)
        for client in clients:
            self.assertTrue(client.ask("echo")["ok"])
        self.assertTrue(clients[0].ask("echo")["ok"])  # now the second is the oldest
        clients[1].send(b"{")  # who drips is not busy
        late = self.connect_many(5)
        for client in late:
            self.assertTrue(client.ask("echo")["ok"])
        for number, client in enumerate(clients):
            if 1 <= number <= 5:
                self.assertIsNone(client.line(), number)
            else:
                self.assertTrue(client.ask("echo")["ok"], number)

    def test_request_under_way_stays(self):
        busy = [self.connect().request("later") for _ in range(MAX_CLIENTS - 2)]
        told = self.connect().request("stream", bytes=50 << 20)
        told.socket.recv(10)
        idle = self.connect()
        self.assertTrue(idle.ask("echo")["ok"])
        newer = self.connect()
        self.assertTrue(newer.ask("echo")["ok"])
        self.assertIsNone(idle.line())
        newer.request("later")
        self.assertRefused(self.connect(), "under way")
        told.close()
        self.assertTrue(wait_until(lambda: self.connect().ask("stats")["ok"]), "its place is free")
        self.assertEqual(self.connect().ask("now")["answered"], MAX_CLIENTS - 1)
        for client in busy:
            self.assertTrue(client.line()["ok"])
        self.assertTrue(newer.line()["ok"])

    def test_silent_ones_cost_nothing(self):
        for client in self.connect_many(MAX_CLIENTS - 1):
            client.send(b"{")
        self.assertAtRest()

    def test_many_connections(self):
        descriptors = len(os.listdir("/proc/%d/fd" % self.server.pid))
        for round in range(20):
            clients = [Client(self.path) for _ in range(50)]
            for client in clients:
                if round % 2:
                    with contextlib.suppress(BrokenPipeError):
                        client.request("echo")
                client.close()
        self.assertAlive()
        self.assertTrue(wait_until(
            lambda: len(os.listdir("/proc/%d/fd" % self.server.pid)) == descriptors))
        self.assertAtRest()
        self.stop()

    def test_flood_of_requests(self):
        """Those who ask and ask, and read or don't, hold nobody else up, and fill no memory."""
        def memory():
            with open("/proc/%d/status" % self.server.pid) as file:
                return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])

        def ask_and_ask(client, reads):
            data = b'{"request":"echo"}\n' * 1000
            client.socket.settimeout(0.05)
            while not done.is_set():
                with contextlib.suppress(socket.timeout):
                    client.socket.send(data)
                with contextlib.suppress(socket.timeout):
                    if reads:
                        client.socket.recv(1 << 20)

        done = threading.Event()
        flooders = [threading.Thread(target=ask_and_ask, args=(self.connect(), i % 2))
                    for i in range(8)]
        before = memory()
        for thread in flooders:
            thread.start()
        try:
            quiet = self.connect()
            for _ in range(20):
                self.assertTrue(quiet.ask("echo")["ok"])
                time.sleep(0.05)
            self.assertGreater(quiet.ask("stats")["requests"], 1000)
            self.assertLess(memory() - before, 20000)
        finally:
            done.set()
            for thread in flooders:
                thread.join(PATIENCE)

    def test_no_descriptors_left(self):
        open_now = len(os.listdir("/proc/%d/fd" % self.server.pid))
        limits = resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE)
        watcher = self.connect()
        watcher.request("later")
        idle = self.connect()
        self.assertTrue(idle.ask("echo")["ok"])
        resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE, (open_now + 2, limits[1]))
        busy = self.connect()  # there is none for it, but what the idle one has
        self.assertTrue(busy.ask("echo")["ok"])
        self.assertIsNone(idle.line())
        busy.request("later")
        wait_until(lambda: False, 0.2)
        late = self.connect().request("stats")  # all are busy: it has to wait
        self.assertFalse(late.has_news(1.5))
        resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE, limits)
        stats = late.line()
        self.assertTrue(stats["ok"])
        self.assertLess(stats["rounds"], 40)  # and does not spin meanwhile
        self.assertEqual(late.ask("now")["answered"], 2)


class Long(Served):
    def read_all(self, client, expected):
        answer = client.line()
        self.assertTrue(answer["ok"])
        self.assertEqual(len(answer["pad"]), expected)

    def test_long_answers(self):
        client = self.connect()
        for word in ("stream", "big"):
            for size in (0, 1, 999, 1000, 1001, LINE_MAX - 20, LINE_MAX, 1 << 20, 20 << 20):
                self.read_all(client.request(word, bytes=size), size)
        self.read_all(client.request("stream", bytes=1 << 20, piece=1 << 20), 1 << 20)
        self.read_all(client.request("stream", bytes=100000, piece=1), 100000)
        stats = self.stats()
        self.assertEqual(stats["streams"], stats["released"])
        self.assertEqual(stats["due_ms"], -1)
        self.stop()

    def test_a_reader_that_does_not_read(self):
        slow = self.connect().request("stream", bytes=50 << 20)
        slow.socket.recv(1)
        slow.left += b"{"
        before = self.stats()
        self.assertLess(before["pieces"], 5000)  # of 52429: made as it is taken
        self.assertEqual(before["unwritten"], 1)
        for _ in range(20):
            self.assertAlive()
        after = self.stats()
        self.assertEqual(after["pieces"], before["pieces"])
        self.assertAtRest()
        self.read_all(slow, 50 << 20)
        self.assertTrue(slow.ask("echo")["ok"])

    def test_streams_side_by_side(self):
        clients = [self.connect().request("stream", bytes=5 << 20) for _ in range(10)]
        for client in clients:
            self.read_all(client, 5 << 20)

    def test_one_piece_a_round(self):
        client = self.connect()
        before = client.ask("stats")
        client.request("stream", bytes=20 << 20, piece=10000)
        self.read_all(client, 20 << 20)
        after = client.ask("stats")
        self.assertGreater(after["rounds"] - before["rounds"], 100)

    def test_given_up(self):
        client = self.connect().request("break", bytes=1 << 20)
        with self.assertRaisesRegex(AssertionError, "half a line"):
            client.line()
        stats = self.stats()
        self.assertEqual((stats["streams"], stats["released"]), (1, 1))

    def test_stall(self):
        slow = self.connect().request("stream", bytes=50 << 20)
        big = self.connect().request("big", bytes=50 << 20)
        idle, busy = self.connect_many(2)
        busy.request("later")
        wait_until(lambda: self.stats()["unwritten"] == 2)
        due = self.stats()["due_ms"]
        self.assertTrue(0 < due <= STALL_MS, due)
        self.assertTrue(self.connect().ask("tick", ms=STALL_MS - PATIENCE * 1000)["ok"])
        self.assertEqual(self.stats()["unwritten"], 2)
        self.assertTrue(self.connect().ask("tick", ms=STALL_MS + 1)["ok"])
        stats = self.stats()
        self.assertEqual((stats["unwritten"], stats["released"], stats["due_ms"]), (0, 1, -1))
        for client in (slow, big):
            with self.assertRaisesRegex(AssertionError, "half a line"):
                client.line()
        self.assertTrue(idle.ask("echo")["ok"])  # who asks nothing may stay
        self.assertEqual(idle.ask("now")["answered"], 1)
        self.assertTrue(busy.line()["ok"])

    def test_slow_is_not_stalled(self):
        slow = self.connect().request("stream", bytes=50 << 20)
        wait_until(lambda: self.stats()["unwritten"] == 1)
        time.sleep(1)
        due = self.stats()["due_ms"]
        self.assertLessEqual(due, STALL_MS - 900)
        for _ in range(50):  # more than lies between the two
            slow.left += slow.socket.recv(1 << 20)
        renewed = wait_until(lambda: max(0, self.stats()["due_ms"] - due))
        self.assertGreater(renewed, 500)
        self.read_all(slow, 50 << 20)
        self.assertEqual(self.stats()["due_ms"], -1)


@unittest.skipUnless(privileged(), "only root can be somebody else")
class Credentials(Served):
    """The socket is opened to all, so that it is not the file's mode that keeps them out."""
    group = GROUP

    def setUp(self):
        super().setUp()
        os.chmod(self.path, 0o666)

    def ask_as(self, user, group, more=()):
        groups = ["--groups", ",".join(map(str, more))] if more else ["--clear-groups"]
        said = self.run_edges("ask", self.path, 20000, input='{"request":"echo"}\n', before=[
            "setpriv", "--reuid", str(user), "--regid", str(group), *groups])
        return json.loads(said) if said.startswith("{") else said

    def assertIn_(self, answer):
        self.assertTrue(answer["ok"], answer)

    def assertOut(self, answer, user=STRANGER):
        self.assertEqual((answer["ok"], answer["exit"]), (False, 1), answer)
        self.assertIn(str(user), answer["error"])

    def test_owner_and_mode(self):
        self.stop()
        self.start()
        status = os.lstat(self.path)
        self.assertEqual((status.st_uid, status.st_gid), (0, GROUP))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o660)
        said = self.ask_as(STRANGER, STRANGER)
        self.assertRegex(said, r"error -%d .*may not talk" % errno.EACCES)

    def test_group(self):
        self.assertIn_(self.ask_as(STRANGER, GROUP))
        self.assertIn_(self.ask_as(STRANGER, STRANGER, [SOMEBODY, GROUP]))
        self.assertIn_(self.ask_as(STRANGER, STRANGER, [*range(60000, 60200), GROUP]))
        self.assertOut(self.ask_as(STRANGER, STRANGER))
        self.assertOut(self.ask_as(STRANGER, 0))
        self.assertOut(self.ask_as(STRANGER, STRANGER, [0, SOMEBODY]))
        self.assertOut(self.ask_as(STRANGER, STRANGER, list(range(60000, 60200))))
        self.assertIn_(self.ask_as(0, STRANGER))
        self.assertEqual(self.stats()["requests"], 5)

    def test_groups_of_root(self):
        self.group = -1
        self.stop()
        self.start()
        os.chmod(self.path, 0o666)
        self.assertEqual(os.lstat(self.path).st_gid, 0)
        self.assertOut(self.ask_as(STRANGER, 0))
        self.assertOut(self.ask_as(STRANGER, STRANGER, [0]))
        self.assertIn_(self.ask_as(0, 0))

    def test_turned_away_hold_nothing_up(self):
        idle = self.connect()
        self.assertTrue(idle.ask("echo")["ok"])
        swarm = (
            "import socket\n"
            "for i in range(200):\n"
            "    s = socket.socket(socket.AF_UNIX); s.connect(%r)\n"
            "    assert b'false' in s.recv(4096)\n"
            "    s.close()\n" % self.path)
        subprocess.run(["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER),
                        "--clear-groups", "/usr/bin/python3", "-c", swarm],
                       check=True, timeout=60, cwd="/")
        self.assertTrue(idle.ask("echo")["ok"])

    def test_own_user(self):
        self.stop()
        self.before = ["setpriv", "--reuid", str(SOMEBODY), "--regid", str(SOMEBODY),
                       "--groups", str(GROUP)]
        os.chown(self.folder, SOMEBODY, SOMEBODY)
        self.start()
        os.chmod(self.path, 0o666)
        self.assertEqual(os.lstat(self.path).st_gid, GROUP)
        self.assertIn_(self.ask_as(SOMEBODY, SOMEBODY))
        self.assertIn_(self.ask_as(STRANGER, GROUP))
        self.assertIn_(self.ask_as(0, 0))
        self.assertOut(self.ask_as(STRANGER, SOMEBODY))

    def test_foreign_group(self):
        self.stop()
        os.chown(self.folder, SOMEBODY, SOMEBODY)
        process = self.popen("serve", self.path, GROUP, before=[
            "setpriv", "--reuid", str(SOMEBODY), "--regid", str(SOMEBODY), "--clear-groups",
            "--bounding-set=-all", "--inh-caps=-all"])
        self.assertRegex(process.stdout.readline(), r"error -%d .*group" % errno.EPERM)
        process.wait(PATIENCE)
        self.assertFalse(os.path.lexists(self.path))

    def test_says_which_group(self):
        """To those whom the file's mode, or the folder's, keeps out."""
        import grp
        name = grp.getgrgid(1).gr_name
        self.stop()
        self.group = 1
        self.start()
        self.assertIn("member of the group " + name, self.ask_as(STRANGER, STRANGER))
        self.stop()
        os.chmod(self.folder, 0o755)
        run = os.path.join(self.folder, "run")
        os.mkdir(run, 0o750)
        os.chown(run, 0, 1)
        self.path = os.path.join(run, "control")
        self.start()
        self.assertIn("member of the group " + name, self.ask_as(STRANGER, STRANGER))
        self.stop()
        os.chown(run, 0, 0)
        self.start()
        self.assertRegex(self.ask_as(STRANGER, STRANGER), "/ run it as root$")


class Asking(Base):
    """The commands' side, against servers of all kinds."""

    def ask(self, lines='{"request":"echo"}\n', timeout_ms=20000):
        return self.run_edges("ask", self.path, timeout_ms, input=lines)

    def fake(self, behave):
        """One connection is accepted, and given to `behave`."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(1)

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(listener.close)
        self.addCleanup(thread.join, PATIENCE)

    @staticmethod
    def read_request(connection):
        while not connection.recv(1000).endswith(b"\n"):
            pass

    def assertError(self, said, number, *words):
        self.assertTrue(said.startswith("error -%d " % number), said)
        for word in words:
            self.assertIn(word, said)

    def test_no_daemon(self):
        start = "systemctl start sipfence, or sipfence run"
        self.assertError(self.ask(), errno.ECONNREFUSED, "no daemon is running", self.path, start)
        left = socket.socket(socket.AF_UNIX)
        left.bind(self.path)
        left.close()
        self.assertError(self.ask(), errno.ECONNREFUSED, "no daemon is running", start)
        self.path = os.path.join(self.folder, "none", "control")
        self.assertError(self.ask(), errno.ECONNREFUSED, "no daemon is running", start)

    def test_long_path(self):
        self.path = "/" + "x" * 200
        self.assertError(self.ask(), errno.ENAMETOOLONG, "too long")

    def test_answers(self):
        server = self.popen("serve", self.path, -1)
        server.stdout.readline()
        said = self.ask('{"request":"echo"}\n{"request":"stream","bytes":%d}\n'
                        '{"request":"twice"}\n{"request":"echo","n":7}\n' % (30 << 20))
        lines = [json.loads(line) for line in said.splitlines()]
        self.assertEqual(len(lines), 4)
        self.assertEqual(len(lines[1]["pad"]), 30 << 20)
        self.assertEqual(lines[3]["echo"]["n"], 7)

    def test_answer_of_one_who_does_not_read_on(self):
        """The server hangs up in the middle of a long request, and has said why."""
        server = self.popen("serve", self.path, -1)
        server.stdout.readline()
        said = self.ask("{" + " " * (20 << 20) + "}\n")
        self.assertIn("longer than 64 KB", json.loads(said)["error"])

    def test_silence(self):
        def behave(connection):
            self.read_request(connection)
            connection.recv(1000)

        self.fake(behave)
        self.assertError(self.ask(timeout_ms=1000), errno.ETIMEDOUT, "no word", "1 second")

    def test_silence_in_the_middle(self):
        def behave(connection):
            self.read_request(connection)
            connection.send(b'{"ok":')
            connection.recv(1000)

        self.fake(behave)
        self.assertError(self.ask(timeout_ms=1000), errno.ETIMEDOUT, "no word")

    def test_slow_is_not_silent(self):
        def behave(connection):
            self.read_request(connection)
            for byte in b'{"ok":true}\n':
                time.sleep(0.2)
                connection.send(bytes([byte]))

        self.fake(behave)
        self.assertEqual(self.ask(timeout_ms=2000), '{"ok":true}\n')

    def test_takes_no_request(self):
        self.fake(lambda connection: time.sleep(3))
        self.assertError(self.ask("x" * (20 << 20) + "\n", timeout_ms=1000), errno.ETIMEDOUT)

    def test_hung_up(self):
        def behave(connection):
            self.read_request(connection)
            connection.send(answer)

        for answer in (b"", b'{"ok":tr'):
            self.fake(behave)
            self.assertError(self.ask(), errno.ECONNRESET, "hung up", "journalctl")
            os.unlink(self.path)

    def test_stopped_daemon(self):
        """Its queue is full, and it takes nobody from it."""
        server = self.popen("serve", self.path, -1)
        server.stdout.readline()
        server.send_signal(signal.SIGSTOP)
        waiting = self.overrun()
        self.assertError(self.ask(), errno.ETIMEDOUT, "takes no requests", "systemctl status")
        server.send_signal(signal.SIGCONT)
        for client in waiting:
            client.close()
        self.assertTrue(wait_until(lambda: '"ok":true' in self.ask(), PATIENCE))


class Lock(Base):
    def setUp(self):
        super().setUp()
        self.lock = os.path.join(self.folder, "lock")

    def hold(self, word):
        process = self.popen("lock", self.lock, word)
        self.assertEqual(process.stdout.readline(), "taken\n")
        return process

    def other(self, word="sync"):
        return self.run_edges("lock", self.lock, word)

    def test_who_has_it(self):
        for word in ("run", "sync", "remove"):
            holder = self.hold(word)
            self.assertEqual(self.other(), "locked %d %s\n" % (holder.pid, word))
            self.assertEqual(stat.S_IMODE(os.lstat(self.lock).st_mode), 0o600)
            holder.kill()
            holder.wait(PATIENCE)
        self.assertEqual(self.other(), "taken\n")

    def test_other_contents(self):
        """What an older sipfence, a full disk or somebody's editor has left."""
        for content, expected in (
                ("4711\n", "4711 "), ("4711", "4711 "), ("4711 run\n", "4711 run"), ("", "0 "),
                ("run\n", "0 "), ("-5 run\n", "0 "), ("99999999999 run\n", "0 "),
                ("4711 ru", "4711 "), ("4711,run\n", "4711 "),
                ("4711 a\x1b[31m\n", "4711 "), ("4711 run away\n", "4711 "),
                ("4711 %s\n" % ("x" * 15), "4711 " + "x" * 15),
                ("4711 %s\n" % ("x" * 16), "4711 "), ("4711 %s\n" % ("x" * 1000), "4711 "),
                ("\0" * 100, "0 ")):
            with self.subTest(content):
                holder = self.hold("run")
                with open(self.lock, "w") as file:
                    file.write(content)
                self.assertEqual(self.other(), "locked %s\n" % expected)
                holder.stdin.close()
                self.assertEqual(holder.wait(PATIENCE), 0)

    def test_a_longer_one_leaves_nothing(self):
        self.hold("remove").kill()
        wait_until(lambda: self.other() == "taken\n")
        with open(self.lock) as file:
            self.assertRegex(file.read(), r"\A\d+ sync\n\Z")

    def sipfence(self, *arguments):
        config = os.path.join(self.folder, "sipfence.yaml")
        with open(config, "w") as file:
            file.write("local-subnets: [192.0.2.0/24]\n")
        return subprocess.run(
            [SIPFENCE, "-c", config, "--run-dir", self.folder, "--state-dir", self.folder,
             *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, timeout=60)

    @unittest.skipUnless(os.access(SIPFENCE, os.X_OK), "sipfence is not built")
    def test_what_the_commands_say(self):
        daemon = self.hold("run")
        done = self.sipfence("sync")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("a daemon is running (process %d" % daemon.pid, done.stderr)
        self.assertIn("sipfence refresh", done.stderr)
        daemon.kill()
        daemon.wait(PATIENCE)
        other = self.hold("sync")
        for command in ("sync", "remove"):
            done = self.sipfence(command)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn("another sipfence is at work: sync (process %d" % other.pid, done.stderr)
            self.assertIn("wait until it has ended", done.stderr)


if __name__ == "__main__":
    main()
