# SPDX-License-Identifier: GPL-2.0-or-later
"""
A DNS server that does as it is told, for one host (harness.Host): UDP and TCP on one port of
127.0.0.1, DNS messages made and read by hand (RFC 1035), so that it can also send wrong ones.

    dns = ScriptedDns(net.pbx)
    dns.set("home21.example", "A", answer("203.0.113.10", ttl=60))
    dns.set("home21.example", "AAAA", nodata())
    dns.set("slow.example", "A", delay(300, answer("203.0.113.11")))
    ...
    dns.asked("home21.example", "A")   how often; dns.total: all questions
    dns.close()

A name that has some type set says "no data" for the others; any other name gets `dns.default`
(REFUSED unless changed). A behaviour is a function (Question) -> list of messages to send; an
empty list is silence. It is called for UDP and TCP alike: question.tcp tells.
"""
import contextlib
import ipaddress
import select
import socket
import struct
import threading
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "SRV": 33, "AAAA": 28}
RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}


def name_bytes(name):
    parts = [part for part in name.rstrip(".").split(".") if part]
    return b"".join(bytes([len(part)]) + part.encode() for part in parts) + b"\0"


def read_name(data, offset):
    labels = []
    while True:
        length = data[offset]
        if length == 0:
            return ".".join(labels).lower(), offset + 1
        if length > 63:
            raise ValueError("a compressed question")
        labels.append(data[offset + 1:offset + 1 + length].decode("latin-1"))
        offset += 1 + length


class Question:
    """What was asked: name (lower case), type (text), id, flags, the question section's bytes, all of
    them (raw), tcp, port (the asker's)."""

    def __init__(self, data, tcp, port=0):
        if len(data) < 17:
            raise ValueError("short")
        self.id, self.flags, count = struct.unpack_from(">HHH", data)
        if count != 1 or self.flags & 0x8000:
            raise ValueError("not a question")
        self.name, end = read_name(data, 12)
        number, _ = struct.unpack_from(">HH", data, end)
        self.type = {value: key for key, value in TYPES.items()}.get(number, str(number))
        self.section = data[12:end + 4]
        self.raw = data
        self.tcp = tcp
        self.port = port
        self.when = time.monotonic()

    def message(self, records=(), rcode=0, tc=False, id=None, section=None, authority=()):
        flags = 0x8400 | (self.flags & 0x0100) | rcode | (0x0200 if tc else 0)
        return (struct.pack(">HHHHHH", self.id if id is None else id, flags, 1, len(records),
                            len(authority), 0)
                + (self.section if section is None else section)
                + b"".join(records) + b"".join(authority))

    def nothing(self, rcode=0):
        soa = record("example", "SOA", name_bytes("ns.example") + name_bytes("admin.example")
                     + struct.pack(">IIIII", 1, 3600, 600, 86400, 5), 5)
        return self.message(rcode=rcode, authority=[soa])


def record(name, kind, data, ttl):
    return name_bytes(name) + struct.pack(">HHIH", TYPES[kind], 1, ttl, len(data)) + data


def address_records(name, addresses, ttl):
    return [record(name, "AAAA" if ":" in address else "A", ipaddress.ip_address(address).packed, ttl)
            for address in addresses]


# --- behaviours -----------------------------------------------------------------------------------

def answer(*addresses, ttl=60):
    return lambda q: [q.message(address_records(q.name, addresses, ttl))]


def silence():
    return lambda q: []


def rcode(word):
    return lambda q: [q.nothing(3) if word == "NXDOMAIN" else q.message(rcode=RCODES[word])]


def nodata():
    return lambda q: [q.nothing()]


def cname(chain, *addresses, ttl=60, cname_ttl=60):
    """CNAMEs from the question through the names of `chain`, the last one with the addresses."""
    def behave(q):
        records, owner = [], q.name
        for target in chain:
            records.append(record(owner, "CNAME", name_bytes(target), cname_ttl))
            owner = target
        return [q.message(records + address_records(owner, addresses, ttl))]
    return behave


def cname_loop():
    def behave(q):
        other = "loop." + q.name
        return [q.message([record(q.name, "CNAME", name_bytes(other), 60),
                           record(other, "CNAME", name_bytes(q.name), 60)])]
    return behave


def srv(*targets, ttl=60):
    return lambda q: [q.message([record(q.name, "SRV", struct.pack(">HHH", 10, 10, 5060)
                                        + name_bytes(target), ttl) for target in targets])]


def truncated(then):
    """TC and nothing else over UDP; `then` over TCP."""
    return lambda q: then(q) if q.tcp else [q.message(tc=True)]


def wrong_id(address="198.51.100.66"):
    return lambda q: [q.message(address_records(q.name, [address], 60), id=q.id ^ 0x5555)]


def wrong_question(address="198.51.100.66"):
    """The right id, the answer to another question."""
    def behave(q):
        other = "other.example"
        section = name_bytes(other) + q.section[-4:]
        return [q.message(address_records(other, [address], 60), section=section)]
    return behave


def foreign_owner(address="198.51.100.66"):
    """The right question, but the address is another name's."""
    return lambda q: [q.message(address_records("other.example", [address], 60))]


def garbage():
    """The right id, then bytes that are no message."""
    return lambda q: [struct.pack(">H", q.id) + b"\xff" * 40]


def cut_short(address="203.0.113.10"):
    """A message that ends inside its record."""
    return lambda q: [q.message(address_records(q.name, [address], 60))[:-2]]


def delay(milliseconds, then):
    def behave(q):
        time.sleep(milliseconds / 1000)
        return then(q)
    return behave


def in_turn(*behaviours):
    """The first behaviour for the first question, and so on; the last one stays."""
    left = list(behaviours)
    lock = threading.Lock()

    def behave(q):
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        return chosen(q)
    return behave


# --- the server -----------------------------------------------------------------------------------

class ScriptedDns:
    def __init__(self, host, port=0, address="127.0.0.1"):
        self.address = address
        self.rules = {}
        self.default = rcode("REFUSED")
        self.log = []
        self.at_once = self.most_at_once = 0  # questions without an answer yet
        self.lock = threading.Lock()
        self.stopping = False
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for _ in range(50):
            with host.inside():
                self.udp = socket.socket(family, socket.SOCK_DGRAM)
                self.tcp = socket.socket(family, socket.SOCK_STREAM)
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            try:
                self.udp.bind((address, port))
                self.port = self.udp.getsockname()[1]
                self.tcp.bind((address, self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        else:
            raise RuntimeError("no free port")
        self.tcp.listen(64)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def set(self, name, kind, behaviour):
        with self.lock:
            self.rules[(name.lower(), kind)] = behaviour

    def both(self, name, behaviour):
        """The same for A and AAAA."""
        self.set(name, "A", behaviour)
        self.set(name, "AAAA", behaviour)

    def clear(self):
        with self.lock:
            self.rules = {}

    @property
    def total(self):
        with self.lock:
            return len(self.log)

    def asked(self, name=None, kind=None):
        """How many questions were for this name and type; None: any."""
        with self.lock:
            return sum(1 for q in self.log if name in (None, q.name) and kind in (None, q.type))

    def questions(self):
        with self.lock:
            return list(self.log)

    def forget(self):
        with self.lock:
            self.log = []

    def resolver(self, timeout="1s", more=""):
        """The config's resolver line."""
        server = "[%s]" % self.address if ":" in self.address else self.address
        return 'resolver: {servers: ["%s:%d"], timeout: %s%s}\n' % (server, self.port, timeout, more)

    def respond(self, data, tcp, port, send):
        try:
            question = Question(data, tcp, port)
        except (ValueError, IndexError, struct.error):
            return
        with self.lock:
            self.log.append(question)
            behaviour = self.rules.get((question.name, question.type))
            if not behaviour:
                known = any(name == question.name for name, _ in self.rules)
                behaviour = nodata() if known else self.default
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            messages = behaviour(question)
        finally:
            with self.lock:
                self.at_once -= 1
        with contextlib.suppress(OSError):
            for message in messages:
                send(message)

    def serve(self):
        while not self.stopping:
            ready, _, _ = select.select([self.udp, self.tcp], [], [], 0.1)
            with contextlib.suppress(OSError):
                if self.udp in ready:
                    data, peer = self.udp.recvfrom(4096)
                    # A thread a question: one that is delayed holds up no other.
                    threading.Thread(target=self.respond, daemon=True, args=(
                        data, False, peer[1], lambda m, peer=peer: self.udp.sendto(m, peer))).start()
                if self.tcp in ready:
                    connection, peer = self.tcp.accept()
                    threading.Thread(target=self.serve_tcp, args=(connection, peer[1]),
                                     daemon=True).start()

    def serve_tcp(self, connection, port):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            buffer = b""
            while not self.stopping:
                part = connection.recv(4096)
                if not part:
                    return
                buffer += part
                while len(buffer) >= 2 and len(buffer) >= 2 + struct.unpack(">H", buffer[:2])[0]:
                    length = struct.unpack(">H", buffer[:2])[0]
                    message, buffer = buffer[2:2 + length], buffer[2 + length:]
                    self.respond(message, True, port, lambda m: connection.sendall(
                        struct.pack(">H", len(m)) + m))

    def close(self):
        self.stopping = True
        self.thread.join(5)
        self.udp.close()
        self.tcp.close()
