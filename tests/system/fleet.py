# SPDX-License-Identifier: GPL-2.0-or-later
"""
A fleet as examples/fleet has it, with its own files: a primary and some edges on one cable, each a
namespace; an edge has a Knot secondary, sipfence, and follow-zone. Paths, the user and the log are
those of the test; addresses and ports are the example's.

    fleet = Fleet(directory, edges=3)
    fleet.start()                            # Knots, daemons, follow-zone; all are ready
    fleet.move("home21.phones.example", "203.0.113.99")
    fleet.edges[0].hosts4()
    fleet.close()
"""
import os
import re
import struct

from harness import PYTHON, REPO, Daemon, Fence, Network, end, wait_until

FILES = os.path.join(REPO, "examples/fleet")
ZONE = "phones.example"
PRIMARY = "192.0.2.53"
KEYS = {"edges": "ZWRnZXMgb2YgdGhlIHRlc3QgZmxlZXQsIDMyIGJ5dGU=",
        "gateway": "Z2F0ZXdheSBvZiB0aGUgdGVzdCBmbGVldCwgMzIgYnk=",
        "home21.phones.example": "aG9tZTIxIG9mIHRoZSB0ZXN0IGZsZWV0LCAzMiBieXQ="}
WRONG = "bm90IHRoZSBrZXkgdGhhdCBpcyBpbiBmb3JjZSBoZXI="


def example(name):
    with open(os.path.join(FILES, name)) as file:
        return file.read()


def swap(text, old, new):
    """As str.replace, but what is to be replaced must be there."""
    if old not in text:
        raise AssertionError("%r is not in the example any more" % old)
    return text.replace(old, new)


def edge_address(number):
    return "192.0.2.%d" % (10 + number)


def question(name, kind=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 77, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)


class Knotd:
    """knotd with one of the example's configs."""

    def __init__(self, host, directory, config, keys):
        self.host, self.directory, self.child = host, directory, None
        os.makedirs(directory)
        for old, new in (("/etc/knot/keys.conf", directory + "/keys.conf"), ("/run/knot", directory),
                         ("/var/lib/knot", directory), ("    user: knot:knot\n", ""),
                         ("target: syslog", "target: stderr")):
            config = swap(config, old, new)
        self.write("knot.conf", config)
        self.write_keys(keys)
        self.log_path = os.path.join(directory, "log")

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w") as file:
            file.write(text)

    def write_keys(self, keys):
        self.write("keys.conf", "key:\n" + "".join(
            "  - id: %s\n    algorithm: hmac-sha256\n    secret: %s\n" % pair for pair in keys.items()))

    def start(self):
        with open(self.log_path, "ab") as log:
            self.child = self.host.popen(["knotd", "-c", self.directory + "/knot.conf"], stdout=log,
                                         stderr=log)

    def control(self, *command):
        self.host.run(["knotc", "-s", self.directory + "/knot.sock", *command])

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def ask(self, name, kind=1, seconds=0.3, port=53):
        """(rcode, data of the last record) of the server's answer; None without one."""
        with self.host.udp(timeout=seconds) as sock:
            try:
                sock.sendto(question(name, kind), ("127.0.0.1", port))
                data = sock.recv(1500)
            except OSError:
                return None
        return data[3] & 15, data[-4:] if data[7] else b""

    def has(self, name, address):
        return self.ask(name) == (0, bytes(map(int, address.split("."))))

    def stop(self):
        if self.child:
            end(self.child)
            self.child = None


class Edge:
    def __init__(self, fleet, number, keys):
        self.number = number
        self.directory = os.path.join(fleet.directory, "edge%d" % number)
        os.makedirs(self.directory)
        os.chmod(self.directory, 0o755)
        self.host = fleet.host("edge%d" % number)
        self.knot = Knotd(self.host, self.directory + "/knot",
                          swap(example("edge/knot.conf"), "192.0.2.11", edge_address(number)), keys)
        self.fence = Fence(self.host, self.directory)
        self.daemon = self.follower = None

    def start_daemon(self):
        self.daemon = Daemon(self.fence)

    def start_follower(self):
        with open(self.directory + "/follow.log", "ab") as log:
            self.follower = self.host.popen(
                [PYTHON, os.path.join(FILES, "edge/follow-zone"), "--sipfence",
                 " ".join(self.fence.argv()), ZONE], stdout=log, stderr=log,
                env=self.fence.environment)

    def follow_log(self):
        with open(self.directory + "/follow.log", errors="replace") as file:
            return file.read()

    def hosts4(self):
        try:
            return sorted(self.host.elements("sip_hosts4"))
        except RuntimeError:
            return None

    def state(self, name):
        """As `sipfence status` has it: fresh, held, ..."""
        return next(entry["state"] for entry in self.daemon.status()["names"]
                    if entry["name"] == name)

    def close(self):
        if self.follower:
            end(self.follower)
        if self.daemon:
            self.daemon.check_end()
        self.knot.stop()


class Fleet(Network):
    def __init__(self, directory, edges=3, records=None, config=None, soa=None, ttl=None, keys=None):
        """
        records: of the zone, in the place of the example's; config: the text of sipfence.yaml; soa:
        its times, "60 10 7d 60"; ttl: the zone's; keys: of the edges' Knots.
        """
        super().__init__()
        self.directory = directory
        switch, hub = self.host("switch"), self.host("primary")
        switch.ip("link add br0 type bridge\nlink set br0 up")
        self.plug(hub, PRIMARY, 0)
        self.primary = Knotd(hub, os.path.join(directory, "primary"), self.primary_config(edges), KEYS)
        self.write_zone(records, soa, ttl)
        self.edges = []
        for number in range(1, edges + 1):
            edge = Edge(self, number, keys or {"edges": KEYS["edges"]})
            self.plug(edge.host, edge_address(number), number)
            edge.fence.config(config or example("edge/sipfence.yaml"))
            self.edges.append(edge)

    def plug(self, host, address, number):
        switch = self.host("switch")
        self.link(host, "eth0", [address + "/24"], switch, "port%d" % number, [])
        switch.ip("link set port%d master br0" % number)

    @staticmethod
    def primary_config(edges):
        """The example names three edges."""
        text = example("primary/knot.conf")
        block = "  - id: edge3\n    address: 192.0.2.13\n    key: edges\n"
        more = "".join(block.replace("edge3", "edge%d" % number)
                       .replace("192.0.2.13", edge_address(number)) for number in range(4, edges + 1))
        text = swap(text, block, block + more)
        return swap(text, "[edge1, edge2, edge3]",
                    "[%s]" % ", ".join("edge%d" % (number + 1) for number in range(edges)))

    def write_zone(self, records, soa, ttl):
        text = example("primary/phones.example.zone")
        if soa:
            text = swap(text, "60 10 7d 60", soa)
        if ttl:
            text = swap(text, "$TTL 60", "$TTL %d" % ttl)
        if records is not None:
            text = text[:text.index("home21")] + records
        self.primary.write("phones.example.zone", text)

    def start(self, follow=True, daemons=True):
        self.primary.start()
        self.expect(lambda: self.primary.ask("ns." + ZONE) not in (None, (2, b"")), 15, "the primary")
        for edge in self.edges:
            edge.knot.start()
        for edge in self.edges:
            self.expect(lambda: edge.knot.ask("ns." + ZONE) == (0, bytes([192, 0, 2, 53])), 15,
                        lambda: "the secondary: " + edge.knot.log())
        for edge in self.edges if daemons else []:
            edge.start_daemon()
        for edge in self.edges if daemons else []:
            edge.daemon.wait_ready()
            if follow:
                edge.start_follower()

    @staticmethod
    def expect(condition, seconds, what):
        if not wait_until(condition, seconds, 0.05):
            raise AssertionError("not within %g s: %s" % (seconds, what() if callable(what) else what))

    def update(self, lines, key="gateway", secret=None, check=True):
        """One `knsupdate` at the primary; returns what it said and its exit code."""
        script = "server 127.0.0.1\nzone %s\nkey hmac-sha256:%s %s\n%s\nsend\nquit\n" % (
            ZONE, key, secret or KEYS[key], lines)
        done = self.primary.host.run(["knsupdate"], input=script, check=False)
        said = done.stdout + done.stderr
        if check and (done.returncode or re.search("error|fail", said, re.I)):
            raise AssertionError("knsupdate: exit %d: %s" % (done.returncode, said))
        return done.returncode, said

    def move(self, name, address, ttl=60, **more):
        return self.update("del %s. A\nadd %s. %d A %s" % (name, name, ttl, address), **more)

    def close(self):
        # Knot takes its time: all at once.
        for host in self.hosts.values():
            for child in host.children:
                if child.poll() is None:
                    child.terminate()
        for edge in getattr(self, "edges", []):
            edge.close()
        if hasattr(self, "primary"):
            self.primary.stop()
        super().close()
