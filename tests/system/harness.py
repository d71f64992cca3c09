# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the system tests stand on: private namespaces, hosts with cables between them, a Knot DNS
server that is changed by RFC 2136 updates, the program under test, and nftables read as JSON.

A test file looks like this:

    #!/usr/bin/python3
    from harness import Case, main

    class Sync(Case):
        needs = ("knotd", "knsupdate")             # missing program: skipped, and counted

        def test_one(self):                        # self.net, self.fence are fresh for each test
            knot = self.knot()                     # knotd in the pbx namespace, zone example.
            knot.update("add home21.example. 30 A 203.0.113.10")
            self.fence.config('''
    extensions: {21: home21.example}
    ''' + knot.resolver())
            result = self.fence.run("sync")        # .code .out .err .seconds .json()
            self.assertEqual(result.code, 0, result)
            self.assertIn("203.0.113.10", self.net.pbx.elements("sip_hosts4"))

    if __name__ == "__main__":
        main()

Start: main() (or enter_namespaces(), by hand) starts the file once more through unshare(1): as
root with network and mount namespaces of its own, otherwise with a user namespace beside them.
SIPFENCE_TEST_UNPRIVILEGED=1 takes the second way as root, too. Nothing outside is touched.

Programs: SIPFENCE=path of the binary (default: build/cmd/sipfence/sipfence in the repository).

Time: main(at_once=3) runs three classes of a file side by side, each in namespaces of its own.

Result: unittest's output on stderr; the last line on stdout is `N passed, N failed, N skipped`,
each subTest counted. Exit 0, 1 when one failed, 77 when all were skipped. Arguments are those of
unittest (`-v`, `Sync.test_one`, `-k word`).

Pieces
  Host          a network namespace. run(argv), popen(argv): in it, no shell; the pid is the
                program's own. inside(): a context in which this thread makes sockets in it.
                sysctl(name, value), ip(text) (lines of `ip -batch`), nft(text), nft_json(...),
                elements(set), table(), ruleset(), generation(), udp(address, port).
  Network       hosts by name (net.host("x")), link(a, "eth0", [addrs], b, "eth1", [addrs]);
                close() ends what was started in it.
  Topology      the network of the tests, see its docstring: pbx, router, home, rogue, lan.
  Knot          knotd with one zone; update(lines), move(name, address), stop().
  Fence         the program with a config, a state folder and a run folder of its own.
  Daemon        `sipfence run` of a Fence: its log as lines and events, its control socket, its ends.
  Case          unittest.TestCase with `net` (a Topology) and `fence`; one of each a test, or, with
                shared_net = True, one Topology for the class, its nftables flushed before each test.
  wait_until    polls a condition with a bound.
  reaches       does a datagram from one host arrive at a port of another?
  Monitor       `nft monitor` of a host.
  Strace        system calls of a process that runs.
  keeps_orphans can a table here be owned by a socket, and outlive it?
"""
import atexit
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True

PYTHON = "/usr/bin/python3"
HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
SIPFENCE = os.path.abspath(
    os.environ.get("SIPFENCE", os.path.join(REPO, "build/cmd/sipfence/sipfence")))
INSIDE = "SIPFENCE_TEST_INSIDE"
SKIP = 77

CLONE_NEWNET = 0x40000000
# Stands before an argument vector: the same user without any capability, as root or not.
NO_CAPS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
libc = ctypes.CDLL(None, use_errno=True)


def checked(value):
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return value


def privileged():
    """True in namespaces made by real root: other users can be switched to."""
    return os.environ.get(INSIDE) == "root"


def enter_namespaces():
    """Starts this test file again in private namespaces; returns only in the second life."""
    if os.environ.get(INSIDE):
        return
    unshare = shutil.which("unshare", path=PATH)
    if not unshare:
        print("skipped: unshare(1) is missing", file=sys.stderr)
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(SKIP)
    as_root = os.geteuid() == 0 and not os.environ.get("SIPFENCE_TEST_UNPRIVILEGED")
    flags = ["-n", "-m"] if as_root else ["-U", "-r", "-n", "-m"]
    probe = subprocess.run([unshare, *flags, "true"], stderr=subprocess.PIPE, text=True, timeout=30)
    if probe.returncode != 0:
        print("skipped: no namespaces here: " + probe.stderr.strip(), file=sys.stderr)
        print("0 passed, 0 failed, 1 skipped")
        sys.exit(SKIP)
    environment = dict(os.environ)
    environment[INSIDE] = "root" if as_root else "user"
    environment["PATH"] = PATH
    script = os.path.abspath(sys.argv[0])
    os.execve(unshare, [unshare, *flags, PYTHON, script, *sys.argv[1:]], environment)


def hide_user(name="sipfence"):
    """In this mount namespace there is no such user, whom the program would become by default."""
    with open("/etc/passwd") as file:
        lines = file.readlines()
    kept = [line for line in lines if not line.startswith(name + ":")]
    if not privileged() or kept == lines:
        return
    with tempfile.NamedTemporaryFile("w") as file:
        file.writelines(kept)
        file.flush()
        os.chmod(file.name, 0o644)
        subprocess.run(["mount", "--bind", file.name, "/etc/passwd"], check=True)


def wait_until(condition, seconds=5.0, step=0.02):
    """Calls condition() until it is true or the time is up; returns its last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(step)


# --- hosts and cables ---------------------------------------------------------------------------

class Host:
    """One network namespace, alive while this object is: a descriptor holds it, no process."""

    def __init__(self, name):
        self.name = name
        self.children = []
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            checked(libc.unshare(CLONE_NEWNET))
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            checked(libc.setns(before, CLONE_NEWNET))
            os.close(before)
        for name in ("all", "default"):
            self.sysctl("net.ipv6.conf.%s.accept_dad" % name, 0)  # addresses are usable at once
            self.sysctl("net.ipv4.conf.%s.rp_filter" % name, 0)
        self.ip("link set lo up")

    @property
    def path(self):
        """A path for `ip link ... netns PATH` and `nsenter --net=PATH`."""
        return "/proc/%d/fd/%d" % (os.getpid(), self.fd)

    @contextlib.contextmanager
    def inside(self):
        """This thread is in the namespace: sockets and children made here belong to it."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            checked(libc.setns(self.fd, CLONE_NEWNET))
            try:
                yield self
            finally:
                checked(libc.setns(before, CLONE_NEWNET))
        finally:
            os.close(before)

    def run(self, argv, check=True, input=None, timeout=60, **more):
        """Runs to the end; returns subprocess.CompletedProcess with text in stdout and stderr."""
        if input is None and "stdin" not in more:
            more["stdin"] = subprocess.DEVNULL
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        with self.inside():
            done = subprocess.run(list(argv), input=input, text=True, errors="replace",
                                  timeout=timeout, **more)
        if check and done.returncode != 0:
            raise RuntimeError("%s: exit %d: %s%s" % (
                " ".join(argv), done.returncode, done.stdout or "", done.stderr or ""))
        return done

    def popen(self, argv, **more):
        """Starts a program; it is ended with the host. .pid is the program's."""
        more.setdefault("stdin", subprocess.DEVNULL)
        with self.inside():
            child = subprocess.Popen(list(argv), **more)
        self.children.append(child)
        return child

    def ip(self, text):
        """Lines for `ip -batch`; leading blanks and empty lines are dropped."""
        lines = "\n".join(line.strip() for line in text.splitlines() if line.strip())
        return self.run(["ip", "-batch", "-"], input=lines + "\n").stdout

    def sysctl(self, name, value=None):
        path = "/proc/sys/" + name.replace(".", "/")
        with self.inside():
            if value is None:
                with open(path) as file:
                    return file.read().strip()
            with open(path, "w") as file:
                file.write(str(value))
        return value

    def udp(self, address="0.0.0.0", port=0, timeout=2.0):
        """A bound UDP socket of this host."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside():
            sock = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(timeout)
        sock.bind((address, port))
        return sock

    # nftables

    def nft(self, text, check=True):
        """Loads nft script text by `nft -f -`."""
        return self.run(["nft", "-f", "-"], input=text, check=check)

    def nft_json(self, *arguments, check=True):
        """The list of `nft -j ARGUMENTS`; None when nft says no (check=False)."""
        done = self.run(["nft", "-j", *arguments], check=check)
        if done.returncode != 0:
            return None
        return json.loads(done.stdout)["nftables"]

    def ruleset(self, *arguments):
        """The text of `nft list ruleset` (or of other arguments), for byte comparison."""
        return self.run(["nft", *(arguments or ("list", "ruleset"))]).stdout

    def has_table(self, name="sipfence", family="inet"):
        return any(item.get("table", {}).get("name") == name
                   and item["table"]["family"] == family
                   for item in self.nft_json("list", "tables"))

    def elements(self, name, table="sipfence", family="inet"):
        """{address or prefix or first-last: {"comment", "packets", "bytes"}} of one set."""
        found = {}
        for item in self.nft_json("list", "set", family, table, name):
            for element in item.get("set", {}).get("elem", []):
                details = element.get("elem") if isinstance(element, dict) else None
                value = details["val"] if details else element
                counter = (details or {}).get("counter") or {}
                found[element_text(value)] = {
                    "comment": (details or {}).get("comment"),
                    "packets": counter.get("packets"), "bytes": counter.get("bytes")}
        return found

    def table(self, name="sipfence", family="inet", dynamic=False):
        """The table in canonical form, see canonical(); None when there is none."""
        listing = self.nft_json("list", "table", family, name, check=False)
        if listing is None:
            return None
        # Who owns it and whether it outlives him is no part of what it does; to sleep is.
        text = self.run(["nft", "list", "table", family, name], check=False).stdout
        asleep = [{"dormant": True}] if re.search(r"(?m)^\tflags .*dormant", text) else []
        return canonical(listing, dynamic) + asleep

    def generation(self):
        """nftables' generation: it grows by one with each committed transaction."""
        nfgenmsg = struct.pack("=BBH", 0, 0, 0)
        header = struct.pack("=IHHII", 16 + len(nfgenmsg), (10 << 8) | 16, 1, 1, 0)
        with self.inside():
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        with sock:
            sock.settimeout(5)
            sock.send(header + nfgenmsg)
            data = sock.recv(65536)
        offset = 20
        while offset + 4 <= len(data):
            length, kind = struct.unpack_from("=HH", data, offset)
            if kind == 1:
                return struct.unpack_from(">I", data, offset + 4)[0]
            offset += (length + 3) & ~3
        raise RuntimeError("no generation in the kernel's answer")

    def close(self):
        for child in self.children:
            end(child)
        self.children = []
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def end(child, seconds=3):
    """Ends one child that this test started: SIGTERM, then SIGKILL."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()


class Network:
    """Hosts by name, and cables between them."""

    def __init__(self):
        self.hosts = {}
        self.cables = 0
        atexit.register(self.close)

    def host(self, name):
        if name not in self.hosts:
            self.hosts[name] = Host(name)
        return self.hosts[name]

    def link(self, a, a_name, a_addresses, b, b_name, b_addresses):
        """A veth pair with these interface names and addresses ("192.0.2.1/24", ...)."""
        # An index that the peer can't have: the kernel delays the start of an interface whose index
        # equals its peer's (linkwatch_urgent_event) by up to a second.
        self.cables += 1
        a.ip("link add name %s index %d type veth peer name %s netns %s" % (
            a_name, 1000 + self.cables, b_name, b.path))
        for host, name, addresses in ((a, a_name, a_addresses), (b, b_name, b_addresses)):
            host.ip("".join(
                "address add %s dev %s%s\n" % (address, name, " nodad" if ":" in address else "")
                for address in addresses) + "link set %s up" % name)

    def close(self):
        atexit.unregister(self.close)
        for host in self.hosts.values():
            host.close()
        self.hosts = {}


class Topology(Network):
    """
      home  203.0.113.10, .77   2001:db8:21::10, ::77  (eth0)  --- .1 home0 \\
      rogue 198.51.100.66, .67  2001:db8:66::66        (eth0)  --- .1 rogue0 - router
                                                               192.0.2.1 pbx0 /
      pbx   192.0.2.10          2001:db8:1::10         (wan)   --- 192.0.2.1, 2001:db8:1::1
      pbx   192.168.1.1         fd00:1::1              (lan)   --- lan 192.168.1.50, fd00:1::50 (eth0)

    The router forwards, the pbx forwards (tests of `destinations`), reverse path filters are off.
    """
    ADDRESSES = {
        "home": ["203.0.113.10/24", "203.0.113.77/24", "2001:db8:21::10/64", "2001:db8:21::77/64"],
        "rogue": ["198.51.100.66/24", "198.51.100.67/24", "2001:db8:66::66/64"],
    }

    def __init__(self):
        super().__init__()
        self.router = self.host("router")
        self.pbx = self.host("pbx")
        self.home = self.host("home")
        self.rogue = self.host("rogue")
        self.lan = self.host("lan")
        for host in (self.router, self.pbx):
            host.sysctl("net.ipv4.ip_forward", 1)
            host.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.link(self.pbx, "wan", ["192.0.2.10/24", "2001:db8:1::10/64"],
                  self.router, "pbx0", ["192.0.2.1/24", "2001:db8:1::1/64"])
        self.link(self.home, "eth0", self.ADDRESSES["home"],
                  self.router, "home0", ["203.0.113.1/24", "2001:db8:21::1/64"])
        self.link(self.rogue, "eth0", self.ADDRESSES["rogue"],
                  self.router, "rogue0", ["198.51.100.1/24", "2001:db8:66::1/64"])
        self.link(self.pbx, "lan", ["192.168.1.1/24", "fd00:1::1/64"],
                  self.lan, "eth0", ["192.168.1.50/24", "fd00:1::50/64"])
        for host, v4, v6 in ((self.pbx, "192.0.2.1", "2001:db8:1::1"),
                             (self.home, "203.0.113.1", "2001:db8:21::1"),
                             (self.rogue, "198.51.100.1", "2001:db8:66::1"),
                             (self.lan, "192.168.1.1", "fd00:1::1")):
            host.ip("route add default via %s\nroute add ::/0 via %s" % (v4, v6))


def reaches(sender, source, listener, destination, port=5060, seconds=0.4, tries=1):
    """True when a UDP datagram from sender's source address arrives at listener's destination."""
    token = os.urandom(12)
    heard = listener.udp(destination, port, seconds)
    talk = sender.udp(source, 0)
    with heard, talk:
        for _ in range(tries):
            talk.sendto(token, (destination, port))
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                try:
                    data, peer = heard.recvfrom(2048)
                except socket.timeout:
                    break
                if data == token and peer[0] == source:
                    return True
    return False


# --- nftables as values ---------------------------------------------------------------------------

def element_text(value):
    """An element's key as nft would print it."""
    if isinstance(value, dict):
        if "prefix" in value:
            return "%s/%d" % (value["prefix"]["addr"], value["prefix"]["len"])
        if "range" in value:
            return "%s-%s" % tuple(value["range"])
        if "concat" in value:
            return " . ".join(element_text(part) for part in value["concat"])
        return json.dumps(value, sort_keys=True)
    return str(value)


def canonical(listing, dynamic=False):
    """
    The list of `nft -j list table` without what differs between equal tables: handles, metainfo,
    values of counters, remaining times, the table's owner, the order of elements and of objects (rules
    keep theirs).
    Elements of dynamic sets (what knocked) are left out unless dynamic is True.
    """
    def strip(value):
        if isinstance(value, list):
            return [strip(item) for item in value]
        if not isinstance(value, dict):
            return value
        result = {}
        for key, item in value.items():
            if key in ("handle", "expires"):
                continue
            if key == "counter" and isinstance(item, dict):
                result[key] = None
                continue
            result[key] = strip(item)
        return result

    objects = []
    for position, item in enumerate(listing):
        if "metainfo" in item:
            continue
        kind, content = next(iter(item.items()))
        content = strip(content)
        for name in ("set", "map"):
            if kind == name:
                # nft 1.0.6 shows no "dynamic" in JSON; only such sets of ours have a time-out.
                if {"dynamic", "timeout"} & set(content.get("flags", [])) and not dynamic:
                    content.pop("elem", None)
                if "elem" in content:
                    content["elem"] = sorted(content["elem"], key=lambda e: json.dumps(e, sort_keys=True))
                if isinstance(content.get("flags"), list):
                    content["flags"] = sorted(content["flags"])
        if kind == "table":
            # nft 1.0.6 prints a single flag as garbage; see Host.table().
            content.pop("flags", None)
        order = (content["chain"], position) if kind == "rule" else (content.get("name", ""), 0)
        objects.append((kind, order, content))
    objects.sort(key=lambda entry: (entry[0], entry[1]))
    return [{kind: content} for kind, _, content in objects]


class Monitor:
    """`nft monitor` of a host: lines() are what it printed so far."""

    def __init__(self, host):
        self.host = host
        self.file = tempfile.TemporaryFile("w+")
        self.child = host.popen(["stdbuf", "-oL", "nft", "monitor"], stdout=self.file,
                                stderr=subprocess.STDOUT)
        # It listens once a transaction of ours shows up.
        name = "monitor_probe_%d" % self.child.pid

        def seen():
            host.nft("add table ip %s\ndelete table ip %s\n" % (name, name))
            return any(name in line for line in self.lines())
        if not wait_until(seen, 5, 0.05):
            raise RuntimeError("nft monitor does not answer")
        time.sleep(0.1)
        self.start = len(self.lines())

    def lines(self):
        return os.pread(self.file.fileno(), 1 << 26, 0).decode(errors="replace").splitlines()

    def events(self, settle=0.2):
        """What was printed since the start, after a moment for the last to arrive."""
        time.sleep(settle)
        return [line for line in self.lines()[self.start:] if "monitor_probe_" not in line]

    def close(self):
        end(self.child)
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Strace:
    """What a running process asks of the kernel: calls() are the lines so far."""

    def __init__(self, host, pid, calls, *options):
        self.file = tempfile.NamedTemporaryFile("r", errors="replace")
        self.child = host.popen(
            ["strace", "-f", "-qq", "-yy", "-o", self.file.name, "-e", "trace=" + ",".join(calls),
             *options, "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not wait_until(lambda: self.tracer(pid) == self.child.pid, 5):
            end(self.child)
            raise unittest.SkipTest("no process can be traced here")

    @staticmethod
    def tracer(pid):
        with open("/proc/%d/status" % pid) as file:
            return int(re.search(r"(?m)^TracerPid:\s*(\d+)$", file.read()).group(1))

    def calls(self):
        """Stops tracing; returns the lines."""
        end(self.child)
        with self.file:
            return self.file.read().splitlines()


def netlink_attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def netlink_message(kind, flags, family, resource, attributes=b"", sequence=0):
    return struct.pack("=IHHII", 20 + len(attributes), kind, flags, sequence, 0) + \
        struct.pack(">BBH", family, 0, resource) + attributes


def keeps_orphans(host):
    """True when a table of this kernel can belong to a socket and stay when that is closed."""
    name = b"orphan_probe\0"
    begin, end_ = netlink_message(16, 1, 0, 10), netlink_message(17, 1, 0, 10)
    table = netlink_message(10 << 8, 1 | 4 | 0x400, 1, 0, netlink_attribute(1, name)
                            + netlink_attribute(2, struct.pack(">I", 2 | 4)))
    with host.inside():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    with sock:
        sock.settimeout(5)
        sock.send(begin + table + end_)
        code, = struct.unpack_from("=i", sock.recv(4096), 16)
    if code:
        return False
    stays = wait_until(lambda: host.has_table(name.rstrip(b"\0").decode()), 0.5)
    host.run(["nft", "delete", "table", "inet", name.rstrip(b"\0").decode()], check=False)
    return stays


# --- Knot -----------------------------------------------------------------------------------------

def free_port(host, address="127.0.0.1"):
    """A port that is free for UDP and TCP on a host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(50):
        with host.inside():
            udp = socket.socket(family, socket.SOCK_DGRAM)
            tcp = socket.socket(family, socket.SOCK_STREAM)
        with udp, tcp:
            udp.bind((address, 0))
            with contextlib.suppress(OSError):
                tcp.bind((address, udp.getsockname()[1]))
                return udp.getsockname()[1]
    raise RuntimeError("no free port")


class Knot:
    """knotd in the foreground as a child, authoritative for one zone, open to updates from loopback."""

    def __init__(self, host, directory, zone="example.", records="", workers=1, port=None):
        self.host = host
        self.zone = zone
        self.directory = directory
        self.port = port or free_port(host)
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "zone"), "w") as file:
            file.write("$ORIGIN %s\n$TTL 30\n@ SOA ns.%s admin.%s 1 3600 600 86400 5\n@ NS ns\n"
                       "ns A 127.0.0.1\n%s\n" % (zone, zone, zone, records))
        with open(os.path.join(directory, "knot.conf"), "w") as file:
            file.write("""
server:
    rundir: "{dir}"
    listen: [127.0.0.1@{port}, ::1@{port}]
    udp-workers: {workers}
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{dir}"
log:
  - target: stderr
    any: warning
acl:
  - id: loopback
    address: [127.0.0.0/8, "::1"]
    action: [update, transfer]
zone:
  - domain: "{zone}"
    storage: "{dir}"
    file: zone
    zonefile-sync: -1
    journal-max-usage: 64M
    acl: loopback
""".format(dir=directory, port=self.port, zone=zone, workers=workers))
        self.log = open(os.path.join(directory, "log"), "w+")
        self.child = None
        self.start()

    def start(self):
        self.child = self.host.popen(
            ["knotd", "-c", os.path.join(self.directory, "knot.conf")],
            stdout=self.log, stderr=subprocess.STDOUT)
        if not wait_until(self.answers, 15, 0.05):
            self.log.seek(0)
            raise RuntimeError("knotd does not answer: " + self.log.read())

    def answers(self):
        labels = b"".join(bytes([len(part)]) + part.encode()
                          for part in self.zone.rstrip(".").split(".")) + b"\0"
        with self.host.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(0.2)
            try:
                sock.connect(("127.0.0.1", self.port))
                sock.send(struct.pack(">HHHHHH", 77, 0, 1, 0, 0, 0) + labels + b"\0\6\0\1")
                answer = sock.recv(512)
            except OSError:
                return False
        return len(answer) > 12 and answer[3] & 15 == 0

    def update(self, lines):
        """One update: lines for knsupdate ("add home21.example. 30 A 203.0.113.10")."""
        script = "server 127.0.0.1 %d\nzone %s\n%s\nsend\nquit\n" % (self.port, self.zone, lines.strip())
        done = self.host.run(["knsupdate"], input=script, check=False)
        if done.returncode != 0 or "error" in (done.stdout + done.stderr).lower():
            raise RuntimeError("knsupdate: %s%s" % (done.stdout, done.stderr))

    def move(self, name, address, ttl=30):
        """The name has this one address of its family from now on."""
        kind = "AAAA" if ":" in address else "A"
        name = name.rstrip(".") + "."
        self.update("del %s %s\nadd %s %d %s %s" % (name, kind, name, ttl, kind, address))

    def resolver(self, timeout="2s"):
        """The config's resolver line."""
        return 'resolver: {servers: ["127.0.0.1:%d"], timeout: %s}\n' % (self.port, timeout)

    def stop(self):
        if self.child:
            end(self.child)
            self.child = None


# --- the program ----------------------------------------------------------------------------------

class Result:
    def __init__(self, argv, code, out, err, seconds):
        self.argv, self.code, self.out, self.err, self.seconds = argv, code, out, err, seconds

    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return "%s\nexit %s after %.2f s\n--- stdout\n%s--- stderr\n%s" % (
            " ".join(self.argv), self.code, self.seconds, self.out[-4000:], self.err[-4000:])

    __repr__ = __str__


class Fence:
    """The program with its own config, state and run folders, run in one host."""

    def __init__(self, host, directory):
        self.host = host
        self.directory = directory
        self.path = os.path.join(directory, "sipfence.yaml")
        self.state = os.path.join(directory, "state")
        self.run_dir = os.path.join(directory, "run")
        os.makedirs(self.state, exist_ok=True)
        os.makedirs(self.run_dir, exist_ok=True)
        # Each run names what it wants; the caller's habits must not leak in.
        self.environment = {"PATH": PATH, "LC_ALL": "C", "TERM": "xterm", "HOME": directory,
                            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""),
                            "UBSAN_OPTIONS": os.environ.get("UBSAN_OPTIONS", "")}

    def config(self, text, name="sipfence.yaml", mode=0o644):
        """Writes the config, or a file beside it; returns its path. Nobody sees half of it."""
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path + ".new", mode)
        os.rename(path + ".new", path)
        return path

    def argv(self, *arguments):
        return [SIPFENCE, "-c", self.path, "--state-dir", self.state, "--run-dir", self.run_dir,
                *arguments]

    def run(self, *arguments, argv=None, prefix=(), env=None, timeout=60, **more):
        """One run; returns a Result. prefix stands before the program (setpriv, ...)."""
        argv = list(prefix) + (list(argv) if argv else self.argv(*arguments))
        start = time.monotonic()
        done = self.host.run(argv, check=False, timeout=timeout,
                             env=dict(self.environment, **(env or {})), **more)
        return Result(argv, done.returncode, done.stdout or "", done.stderr or "",
                      time.monotonic() - start)

    def popen(self, *arguments, **more):
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        more.setdefault("text", True)
        return self.host.popen(self.argv(*arguments), env=dict(self.environment), **more)

    def saved(self):
        """The files in the state folder: {name: bytes}."""
        found = {}
        for folder, _, names in os.walk(self.state):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    with open(path, "rb") as file:
                        found[os.path.relpath(path, self.state)] = file.read()
        return found


def sanitized():
    """True for a program that was built with AddressSanitizer: slower, and its memory tells nothing."""
    with open(SIPFENCE, "rb") as file:
        return b"__asan_init" in file.read()


class Control:
    """One connection to a daemon's control socket."""

    def __init__(self, path, timeout=5.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # With Python's own time limit connect() would not wait for a place in the queue.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                               struct.pack("@ll", int(timeout), int(timeout % 1 * 1000000)))
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.socket.settimeout(timeout)
        self.buffer = b""

    def send(self, request):
        """A request as an object, or bytes as they are."""
        self.socket.sendall(request if isinstance(request, bytes)
                            else json.dumps(request).encode() + b"\n")

    def receive(self):
        """The next answer; None when the daemon has closed the connection."""
        while b"\n" not in self.buffer:
            part = self.socket.recv(65536)
            if not part:
                return None
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, request):
        self.send(request)
        return self.receive()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_event(line):
    """A line of the daemon's log as {key: value}; {} when it is none."""
    line = re.sub(r"^<\d>", "", line)
    if not line.startswith("event="):
        return {}

    def plain(text):
        if not text.startswith('"'):
            return text
        return re.sub(r"\\(x([0-9a-fA-F]{2})|.)",
                      lambda m: chr(int(m.group(2), 16)) if m.group(2) else m.group(1), text[1:-1])
    return {key: plain(value) for key, value in
            re.findall(r'([\w-]+)=("(?:[^"\\]|\\.)*"|\S*)', line)}


class Daemon:
    """
    `sipfence run` in the foreground, as a child. `prefix` must end in an exec of the program: .pid is
    the daemon's. JOURNAL_STREAM="log" in `env` stands for what systemd would say of the log.
    """
    number = 0

    def __init__(self, fence, *options, prefix=(), env=None, **more):
        Daemon.number += 1
        self.path = os.path.join(fence.directory, "daemon%d.log" % Daemon.number)
        self.control_path = os.path.join(fence.run_dir, "control")
        self.argv = [*prefix, *fence.argv("run", *options)]
        environment = dict(fence.environment, **(env or {}))
        with open(self.path, "wb") as log:
            if environment.get("JOURNAL_STREAM") == "log":
                found = os.fstat(log.fileno())
                environment["JOURNAL_STREAM"] = "%d:%d" % (found.st_dev, found.st_ino)
            self.started = time.monotonic()
            self.child = fence.host.popen(self.argv, stdout=log, stderr=log, env=environment, **more)
        self.pid = self.child.pid

    def __str__(self):
        return "%s\n(%s)\n%s" % (" ".join(self.argv), "runs" if self.runs() else
                                 "ended: %d" % self.child.returncode, self.log()[-6000:])

    def runs(self):
        return self.child.poll() is None

    # What it says

    def log(self):
        with open(self.path, errors="replace") as file:
            return file.read()

    def lines(self):
        """Those that are complete."""
        return self.log().split("\n")[:-1]

    def mark(self):
        """A place in the log, for `since`."""
        return len(self.lines())

    def events(self, name=None, since=0, **values):
        """The events of that name whose keys have these values, in their order."""
        found = [read_event(line) for line in self.lines()[since:]]
        return [event for event in found if event and name in (None, event["event"])
                and all(event.get(key) == value for key, value in values.items())]

    def wait_event(self, name, seconds=5.0, since=0, **values):
        """The first such event; a failure when none comes in that time."""
        def come():
            return self.events(name, since, **values) or not self.runs()
        wait_until(come, seconds)
        found = self.events(name, since, **values)
        if not found:
            raise AssertionError("no event %s %s within %g s of %s" % (name, values, seconds, self))
        return found[0]

    def wait_ready(self, seconds=15.0):
        """How long it took."""
        self.wait_event("ready", seconds)
        return time.monotonic() - self.started

    def wait_log(self, pattern, seconds=5.0):
        """The match of a regular expression, the same way."""
        wait_until(lambda: re.search(pattern, self.log()) or not self.runs(), seconds)
        found = re.search(pattern, self.log())
        if not found:
            raise AssertionError("no %r within %g s in the log of %s" % (pattern, seconds, self))
        return found

    # What it costs

    def proc(self, key):
        """A number of /proc/PID/status: VmRSS is in kB."""
        with open("/proc/%d/status" % self.pid) as file:
            return int(re.search(r"(?m)^%s:\s*(\d+)" % key, file.read()).group(1))

    def is_stopped(self):
        with open("/proc/%d/stat" % self.pid) as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def cpu(self):
        """Seconds."""
        with open("/proc/%d/stat" % self.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # What it is asked

    def control(self, timeout=5.0):
        return Control(self.control_path, timeout)

    def request(self, request, timeout=5.0):
        with self.control(timeout) as control:
            return control.ask(request)

    def status(self):
        return self.request({"request": "status"})["status"]

    # How it ends

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=10):
        """The exit code; a daemon that does not end in that time is killed, and has failed."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            stuck = self.stuck()
            self.child.kill()
            self.child.wait()
            raise AssertionError("it does not end (%s): %s" % (stuck, self)) from None

    def stuck(self):
        """Where in the kernel it is."""
        found = []
        for name in ("wchan", "syscall", "stack"):
            with contextlib.suppress(OSError), open("/proc/%d/%s" % (self.pid, name)) as file:
                found.append(file.read().strip())
        return " | ".join(found)

    def stop(self, number=signal.SIGTERM, seconds=10):
        self.send_signal(number)
        return self.wait(seconds)

    def kill(self):
        self.child.kill()
        return self.child.wait()

    def check_end(self, codes=(0,)):
        """Ended by now or by SIGTERM, with such a code, and no sanitizer had a word to say."""
        if self.runs():
            # Only to who was stopped: LeakSanitizer stops a process that ends, and would wait for ever.
            if self.is_stopped():
                self.send_signal(signal.SIGCONT)
            self.stop()
        if self.child.returncode not in (*codes, -signal.SIGKILL):
            raise AssertionError("exit code %d of %s" % (self.child.returncode, self))
        if re.search(r"runtime error:|ERROR: \w+Sanitizer", self.log()):
            raise AssertionError("the sanitizer stopped %s" % self.log()[-20000:])


# --- unittest -------------------------------------------------------------------------------------

class Case(unittest.TestCase):
    """A test with a network and a program of its own. Longest output on failures."""
    maxDiff = None
    longMessage = True
    needs = ()
    shared_net = False

    @classmethod
    def setUpClass(cls):
        for program in ("nft", "ip", *cls.needs):
            if not shutil.which(program, path=PATH):
                raise unittest.SkipTest(program + " is missing")
        if not os.access(SIPFENCE, os.X_OK):
            raise unittest.SkipTest(SIPFENCE + " is not built")
        cls.class_net = None
        if cls.shared_net:
            cls.class_net = Topology()
            cls.addClassCleanup(cls.class_net.close)

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="sipfence-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        os.chmod(self.directory, 0o755)
        if self.class_net:
            self.net = self.class_net
            self.net.pbx.run(["nft", "flush", "ruleset"])
        else:
            self.net = Topology()
            self.addCleanup(self.net.close)
        self.fence = Fence(self.net.pbx, self.directory)

    def knot(self, **more):
        """A Knot in the pbx, ended with the test."""
        knot = Knot(self.net.pbx, os.path.join(self.directory, "knot%d" % id(more)), **more)
        self.addCleanup(knot.log.close)
        self.addCleanup(knot.stop)
        return knot

    def daemon(self, *options, codes=(0,), ready=True, **more):
        """A Daemon, ready to work; at the end of the test it must end with such an exit code."""
        daemon = Daemon(self.fence, *options, **more)
        self.addCleanup(daemon.check_end, codes)
        if ready:
            daemon.wait_ready()
        return daemon

    def dns(self, **more):
        """A ScriptedDns in the pbx, closed with the test."""
        from scripted_dns import ScriptedDns
        server = ScriptedDns(self.net.pbx, **more)
        self.addCleanup(server.close)
        return server

    def assertCode(self, result, code):
        self.assertEqual(result.code, code, result)
        return result


class Tally(unittest.TextTestResult):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.passed = self.failed = self.skips = 0
        self.had_subtests = set()
        self.by_class = {}

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        self.had_subtests.add(id(test))
        if err is None:
            self.passed += 1
        else:
            self.failed += 1

    def addSuccess(self, test):
        super().addSuccess(test)
        if id(test) not in self.had_subtests:
            self.passed += 1

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed += 1

    def addError(self, test, err):
        super().addError(test, err)
        self.failed += 1

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.passed += 1

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.failed += 1

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        whole = re.match(r"setUpClass \(.*?(\w+)\)$", str(test))
        self.skips += self.by_class.get(whole.group(1), 1) if whole else 1


class Runner(unittest.TextTestRunner):
    resultclass = Tally

    def run(self, test):
        counts = {}

        def walk(suite):
            for item in suite:
                if isinstance(item, unittest.TestSuite):
                    walk(item)
                else:
                    name = type(item).__name__
                    counts[name] = counts.get(name, 0) + 1
        walk(test)
        self.counts = counts
        return super().run(test)

    def _makeResult(self):
        result = super()._makeResult()
        result.by_class = self.counts
        return result


def run_classes(at_once):
    """
    Each class of this file's tests in a process of its own, so many at a time: for tests that mostly
    wait. Ends the process.
    """
    module = sys.modules["__main__"]
    waiting = [name for name, value in vars(module).items()
               if isinstance(value, type) and issubclass(value, unittest.TestCase)
               and value.__module__ == "__main__"
               and unittest.defaultTestLoader.getTestCaseNames(value)]
    running, totals = [], [0, 0, 0]

    def stop(*_):
        for child, _ in running:
            end(child)
        sys.exit(1)
    signal.signal(signal.SIGTERM, stop)
    while waiting or running:
        while waiting and len(running) < at_once:
            out = tempfile.TemporaryFile("w+")
            running.append((subprocess.Popen([PYTHON, sys.argv[0], *sys.argv[1:], waiting.pop(0)],
                                             stdout=out, stderr=out), out))
        time.sleep(0.05)
        for child, out in [pair for pair in running if pair[0].poll() is not None]:
            running.remove((child, out))
            out.seek(0)
            text = out.read()
            found = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped\s*$", text)
            counts = list(map(int, found.groups())) if found else [0, 1, 0]
            totals = [total + count for total, count in zip(totals, counts)]
            print(text[:found.start()] if found else text, file=sys.stderr, flush=True)
    print("%d passed, %d failed, %d skipped" % tuple(totals), flush=True)
    sys.exit(1 if totals[1] else SKIP if totals[2] and not totals[0] else 0)


def finish(result):
    """Tells the result of a Runner, and ends the process."""
    for test, reason in result.skipped:
        print("skipped: %s: %s" % (test, reason), file=sys.stderr)
    sys.stderr.flush()
    print("%d passed, %d failed, %d skipped" % (result.passed, result.failed, result.skips), flush=True)
    if result.failed:
        sys.exit(1)
    sys.exit(SKIP if result.skips and not result.passed else 0)


def main(at_once=1):
    """Runs this file's tests in private namespaces and ends the process."""
    if at_once > 1 and not os.environ.get(INSIDE) and \
            all(argument.startswith("-") for argument in sys.argv[1:]):
        run_classes(at_once)
    enter_namespaces()
    hide_user()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    finish(unittest.main(module="__main__", testRunner=Runner, exit=False).result)
