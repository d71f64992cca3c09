# SPDX-License-Identifier: GPL-2.0-or-later
"""What `again`, `rest`, `change`, `memory` and `boot` share: names, options, counts, and how results are given."""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import rig

PORT = 5353


def arguments(text, sizes, quick_sizes):
    """The options that all parts take; `names` becomes a list of numbers."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--names", help="numbers of names, with commas "
                        f"(default: {','.join(map(str, sizes))})")
    parser.add_argument("--sipfence", type=Path, help="default: build/cmd/sipfence/sipfence")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements")
    parser.add_argument("--quick", action="store_true", help="few runs of small sizes")
    options = parser.parse_args()
    try:
        options.names = ([int(number) for number in options.names.split(",")] if options.names
                         else quick_sizes if options.quick else sizes)
    except ValueError:
        parser.error("--names takes numbers with commas between them")
    return options


def need(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        rig.fail("missing: " + ", ".join(missing) + "; tests/packages lists the packages", rig.SKIP)


def compile_tool(folder, name, *libraries):
    tool = folder / name
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=gnu11", "-D_GNU_SOURCE",
                    str(rig.HERE / f"{name}.c"), "-o", str(tool), *libraries], check=True)
    return tool


class Zone:
    """N names, each with an A and, unless told otherwise, an AAAA record, served by Knot on the loopback."""

    def __init__(self, count, folder, ipv6=True, ttl=60, settings=""):
        self.count, self.folder, self.process = count, folder, None
        self.addresses = count * (2 if ipv6 else 1)
        folder.mkdir()
        folder.chmod(0o755)
        self.names = folder / "names"
        self.config = folder / "sipfence.yaml"
        with (folder / "zone").open("w") as zone, self.config.open("w") as config, \
                self.names.open("w") as names:
            zone.write(f"$ORIGIN bench.example.\n$TTL {ttl}\n@ SOA ns hostmaster 1 60 60 60 {ttl}\n"
                       "@ NS ns\nns A 127.0.0.1\n")
            config.write("extensions:\n")
            for number in range(count):
                zone.write(f"n{number} A {rig.text(rig.address4(number))}\n")
                if ipv6:
                    zone.write(f"n{number} AAAA {rig.text(rig.address6(number))}\n")
                config.write(f"  {1000000 + number}: n{number}.bench.example\n")
                names.write(f"n{number}.bench.example\n")
            config.write(f"resolver: {{servers: [\"127.0.0.1:{PORT}\"]}}\n{settings}")
        self.config.chmod(0o644)
        (folder / "knot.conf").write_text(
            f"server:\n  rundir: {folder}\n  listen: [127.0.0.1@{PORT}]\n  udp-workers: 1\n"
            f"  background-workers: 1\ndatabase:\n  storage: {folder}\n"
            f"zone:\n  - domain: bench.example\n    file: {folder}/zone\n"
            "    zonefile-load: whole\n    journal-content: none\n")

    def answers(self):
        last = f"n{self.count - 1}.bench.example"
        question = struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"".join(
            bytes([len(label)]) + label.encode() for label in last.split(".")) + b"\0\0\1\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
            ask.settimeout(0.1)
            ask.connect(("127.0.0.1", PORT))
            try:
                ask.send(question)
                reply = ask.recv(4096)
                return reply[3] & 15 == 0 and reply[7] == 1
            except OSError:
                return False

    def __enter__(self):
        log = (self.folder / "knot.log").open("wb")
        self.process = subprocess.Popen(["knotd", "-c", str(self.folder / "knot.conf")],
                                        stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.__exit__()
                rig.fail("Knot does not answer: " + (self.folder / "knot.log").read_text()[-500:])
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Place:
    """A state and a run folder, and sipfence's commands in them."""

    def __init__(self, sipfence, config, folder):
        self.sipfence, self.config, self.folder = sipfence, config, folder
        self.fresh()

    def fresh(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("state", "run"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)

    def command(self, *words):
        return [str(word) for word in (self.sipfence, "-c", self.config, "--state-dir",
                                       self.folder / "state", "--run-dir", self.folder / "run", *words)]

    def run(self, *words, before=()):
        """The finished process, which must have ended well, with what it used as `.usage`."""
        with (self.folder / "output").open("wb") as output:
            process = subprocess.Popen([str(word) for word in before] + self.command(*words),
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            _, status, process.usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.output = (self.folder / "output").read_text(errors="replace")
        if process.returncode:
            rig.fail(f"sipfence {words[0]} ended with {process.returncode}: {process.output[-500:]}")
        return process


@contextlib.contextmanager
def apart(process):
    """A server on the last CPU alone, this program and what it starts on the others: else the scheduler
    puts both on one in some runs, which then take a fourth longer, and medians jump."""
    cpus = os.sched_getaffinity(0)
    last = {max(cpus)}
    if len(cpus) > 1:
        for thread in os.listdir(f"/proc/{process.pid}/task"):
            os.sched_setaffinity(int(thread), last)
        os.sched_setaffinity(0, cpus - last)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def elements(table="sipfence"):
    """Of the sets of hosts."""
    listed = subprocess.run(["nft", "-j", "list", "table", "inet", table], check=True,
                            capture_output=True, text=True)
    return sum(len(item["set"].get("elem", [])) for item in json.loads(listed.stdout)["nftables"]
               if "set" in item and "_hosts" in item["set"]["name"])


def drop_table(table="sipfence"):
    subprocess.run(["nft", "delete", "table", "inet", table], check=False, capture_output=True)


# --- Instructions ---------------------------------------------------------------------------------

def instructions(command, folder, functions=(), wait=None):
    """Runs a command under callgrind: {function: instructions, its callees' included}, "total" among them.

    A count hangs neither on the machine's load nor on its clock. `wait` gets the process and ends it."""
    out = folder / "callgrind"
    out.unlink(missing_ok=True)
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
               *map(str, command)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    if wait:
        wait(process)
    process.wait()
    if process.returncode:
        rig.fail(f"{command[3]} under callgrind ended with {process.returncode}")
    listed = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", out],
                            check=True, capture_output=True, text=True).stdout
    found = {}
    for line in listed.splitlines():
        match = re.match(r"\s*([\d,]+) \(.*?\)\s+(?:\S*:)?(PROGRAM TOTALS|[\w.']+)", line)
        if match:
            name = "total" if match[2] == "PROGRAM TOTALS" else match[2]
            found.setdefault(name, int(match[1].replace(",", "")))
    return {name: found.get(name, 0) for name in ("total", *functions)} if functions else found


# --- Results --------------------------------------------------------------------------------------

def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def point(size, values):
    """Of a series: median, and where most of the values lie."""
    return [size, statistics.median(values), percentile(values, 0.1), percentile(values, 0.9)]


class Report:
    def __init__(self, part):
        self.part, self.before = part, rig.machine()
        self.rows, self.figures, self.series = [], [], []

    def figure(self, name, value, unit, goal=None):
        """What is to be at most `goal`."""
        self.figures.append({"name": name, "value": round(value, 4), "unit": unit, "goal": goal,
                             "met": None if goal is None else value <= goal})

    def growth(self, name, unit, points):
        if points:
            self.series.append({"plot": "growth", "name": name, "unit": unit, "points": points})

    def end(self, path):
        def cells(figure):
            if figure["goal"] is None:
                return ["", ""]
            return [f"{figure['goal']:g}", "yes" if figure["met"] else "NO"]

        print()
        rig.print_columns([["figure", "value", "unit", "goal", "met"]] + [
            [figure["name"], f"{figure['value']:g}", figure["unit"], *cells(figure)]
            for figure in self.figures])
        print(f"\n{self.before['model']}, {self.before['cpus']} CPUs, Linux {self.before['kernel']}, "
              f"load {self.before['load'][0]:.1f} before and {os.getloadavg()[0]:.1f} after; DNS on "
              "the loopback")
        if path:
            path.write_text(json.dumps(
                {"part": self.part, "machine": self.before, "rows": self.rows,
                 "figures": self.figures, "series": self.series}, indent=1) + "\n")


def say(text):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)
