# SPDX-License-Identifier: GPL-2.0-or-later
"""What `change` and `soak` stand on: a namespace, a daemon, DNS messages, and nf_tables' own messages."""
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
SKIP = 77
IN_NAMESPACE = "SIPFENCE_BENCH_NAMESPACE"
# As on any machine with a firewall there is a chain at this hook already: the first one of all makes
# the kernel patch its own code.
OTHER_TABLE = "add table inet other; add chain inet other c { type filter hook prerouting priority 0; }"


def fail(text, code=1):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(code)


def find_sipfence(option):
    # One place only: a build with sanitizers beside it would be measured by mistake.
    built = option or TOP / "build/cmd/sipfence/sipfence"
    if not os.access(built, os.X_OK):
        fail(f"{built} cannot be run; build it, or name another by --sipfence", 2)
    return built.resolve()


def enter_namespace():
    """Starts this program again, alone with a loopback of its own."""
    if os.environ.get(IN_NAMESPACE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["nft", OTHER_TABLE], check=True)
        return
    missing = [tool for tool in ("unshare", "ip", "nft") if not shutil.which(tool)]
    if missing:
        fail("missing: " + ", ".join(missing) + "; apt install util-linux iproute2 nftables", SKIP)
    command = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    if subprocess.run(command + ["true"], capture_output=True, check=False).returncode:
        fail("no network namespace can be made here", SKIP)
    os.environ[IN_NAMESPACE] = "1"
    os.execvp("unshare", command + [sys.executable, *sys.argv])


def machine():
    model = next((line.split(":", 1)[1].strip() for line in
                  Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
                 "unknown")
    return {"kernel": os.uname().release, "cpus": os.cpu_count(), "model": model,
            "load": os.getloadavg()}


def memory_folder():
    """Where it is not the disk's fsync that is measured. Given to tempfile as `dir`."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def print_columns(rows):
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    for line in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))


# --- the daemon -----------------------------------------------------------------------------------

class Daemon:
    def __init__(self, sipfence, folder, config):
        self.folder = folder
        for name in ("state", "run"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir()
        (folder / "sipfence.yaml").write_text(config)
        (folder / "sipfence.yaml").chmod(0o644)
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sipfence, "-c", folder / "sipfence.yaml", "--state-dir", folder / "state",
                 "--run-dir", folder / "run", "run"], stdout=log, stderr=log)
        self.pid = self.process.pid
        self.log = (folder / "log").open(errors="replace")
        self.said = ""

    def says(self, word):
        self.said += self.log.read()
        if word in self.said:
            return True
        if self.process.poll() is not None:
            fail(f"the daemon has ended: {self.said[-1000:]}")
        return False

    def wait_says(self, word, seconds=60):
        deadline = time.monotonic() + seconds
        while not self.says(word):
            if time.monotonic() > deadline:
                fail(f"the daemon does not say {word}: {self.said[-1000:]}")
            time.sleep(0.01)

    def rss(self):
        """Bytes."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self):
        """Seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.log.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


# --- DNS ------------------------------------------------------------------------------------------

A, AAAA = 1, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
SOA = (b"\xc0\x0c" + struct.pack(">HHIH", 6, 1, 3600, 22) + b"\0\0" +
       struct.pack(">5I", 1, 3600, 600, 86400, 3600))


def dns_socket():
    """On the loopback, with room for a wave of questions."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (33, socket.SO_RCVBUF):  # SO_RCVBUFFORCE
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, 16 << 20)
            break
        except PermissionError:
            continue
    sock.bind(("127.0.0.1", 0))
    return sock


def dns_question(data):
    """(first label, type, end of the question section)."""
    end = data.index(b"\0", 12) + 5
    return data[13:13 + data[12]].decode(), data[end - 3], end


def dns_answer(data, end, address=None, ttl=3600, rcode=NOERROR):
    """The address; without one, `rcode` or no data."""
    head = data[:2] + struct.pack(">HHHHH", 0x8580 | rcode, 1, int(address is not None),
                                  int(address is None), 0) + data[12:end]
    if address is None:
        return head + SOA
    return head + b"\xc0\x0c" + struct.pack(">HHIH", A if len(address) == 4 else AAAA, 1, ttl,
                                            len(address)) + address


# Ordinary public addresses: special ones would be refused.
def address4(number):
    spread = number * 0x9e3779b1 & 0xffffff  # odd factor: a permutation of 24 bits
    return bytes([20]) + spread.to_bytes(3, "big")


def address6(number):
    return bytes([0x26, 0]) + bytes(6) + number.to_bytes(8, "big")


def text(address):
    return str(ipaddress.ip_address(address))


# --- nf_tables ------------------------------------------------------------------------------------

NEW_TABLE, DELETE_TABLE, NEW_ELEMENT, DELETE_ELEMENT, NEW_GENERATION = 0, 2, 12, 14, 15
INET = 1


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data):
    """{kind: its last value}, without the flag bits."""
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3fff] = data[offset + 4:offset + length]
        offset += (length + 3) & ~3
    return found


def message(kind, flags, family, resource, body=b""):
    return struct.pack("=IHHII", 20 + len(body), kind, flags, 0, 0) + \
        struct.pack(">BBH", family, 0, resource) + body


def batch(*messages):
    return message(16, 1, 0, 10) + b"".join(messages) + message(17, 1, 0, 10)


def element_message(kind, table, set_name, address=None):
    """Adds or deletes one element; deleting without one empties the set."""
    body = attribute(1, table.encode() + b"\0") + attribute(2, set_name.encode() + b"\0")
    if address is not None:
        key = attribute(0x8001, attribute(1, address))
        body += attribute(0x8003, attribute(0x8001, key))
    return message(10 << 8 | kind, 1 | (0x400 if kind == NEW_ELEMENT else 0), INET, 0, body)


def table_message(kind, table=None):
    """Without a table: all of them, as `flush ruleset` does it."""
    return message(10 << 8 | kind, 1, INET if table else 0, 0,
                   attribute(1, table.encode() + b"\0") if table else b"")


class Netlink:
    """Sends batches, and hears what everybody has committed."""

    def __init__(self):
        self.sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        for option in (33, socket.SO_RCVBUF):
            try:
                self.listener.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
                break
            except PermissionError:
                continue
        self.listener.bind((0, 0))  # without an address of its own it would hear nothing
        self.listener.setsockopt(270, 1, 7)  # NETLINK_ADD_MEMBERSHIP: NFNLGRP_NFTABLES
        self.listener.settimeout(10)

    def send(self, *messages):
        self.sender.send(batch(*messages))

    def hear(self):
        """What one read gives: [(kind, attributes)]."""
        found, offset = [], 0
        try:
            data = self.listener.recv(1 << 20)
        except socket.timeout:
            fail("the kernel announces nothing: what was to change did not")
        while offset + 20 <= len(data):
            length, kind = struct.unpack_from("=IH", data, offset)
            if kind >> 8 == 10:
                found.append((kind & 255, data[offset + 20:offset + length]))
            offset += (length + 3) & ~3
        return found

    @staticmethod
    def keys(body):
        """The keys of an element message."""
        found, elements, offset = [], attributes(body).get(3, b""), 0
        while offset + 4 <= len(elements):
            length, _ = struct.unpack_from("=HH", elements, offset)
            key = attributes(elements[offset + 4:offset + length]).get(1, b"")
            found.append(attributes(key).get(1))
            offset += (length + 3) & ~3
        return found

    @staticmethod
    def writer(body):
        """The process that made this generation."""
        value = attributes(body).get(2)
        return struct.unpack(">I", value)[0] if value else 0

    def discard(self):
        self.listener.setblocking(False)
        try:
            while True:
                self.listener.recv(1 << 20)
        except BlockingIOError:
            pass
        self.listener.settimeout(10)

    def close(self):
        self.sender.close()
        self.listener.close()
