# SPDX-License-Identifier: GPL-2.0-or-later
"""
Real DNSSEC, for one host (harness.Host): zones that dnssec-signzone signs and knotd serves, and an
unbound that validates them from the key of their parent, "example.".

    zones = SignedZones(net.pbx, directory)
    zones.put("good.example", "home21 1 A 203.0.113.10")
    zones.put("old.example", "...", end=-3600)          signatures that ended an hour ago
    zones.put("plain.example", "...", sign=False)       unsigned, and its parent says so
    zones.put("forged.example", "home21 1 A 203.0.113.10", forge=("203.0.113.10", "198.51.100.66"))
    zones.start()
    validator = Validator(net.pbx, directory, zones.anchor)     127.0.0.1:5353
    zones.put(...)                                      from then on it is served at once
    validator.stop(); zones.stop()
"""
import os
import re
import subprocess
import time

from harness import end, wait_until

PARENT = "example"
AUTHORITY = "127.0.0.2"  # port 53, which delegations mean
PROGRAMS = ("knotd", "knotc", "unbound", "dnssec-keygen", "dnssec-signzone", "dnssec-dsfromkey")


class SignedZones:
    def __init__(self, host, directory):
        self.host = host
        self.directory = os.path.join(directory, "zones")
        os.makedirs(self.directory)
        self.keys, self.signed, self.child = {}, {}, None
        self.serial = 1
        self.log = open(os.path.join(self.directory, "log"), "w+")

    def path(self, name):
        return os.path.join(self.directory, name)

    def key(self, zone):
        """The name of its key's files, without the extension."""
        if zone not in self.keys:
            done = self.host.run(["dnssec-keygen", "-q", "-K", self.directory, "-a", "ECDSAP256SHA256",
                                  "-f", "KSK", zone])
            self.keys[zone] = self.path(done.stdout.strip())
        return self.keys[zone]

    @property
    def anchor(self):
        """The parent's key, as a record."""
        with open(self.key(PARENT) + ".key") as file:
            return [line for line in file.read().splitlines() if not line.startswith(";")][0]

    def write(self, zone, records, sign, end, forge):
        self.serial += 1
        text = ("$ORIGIN %s.\n$TTL 1\n@ 1 SOA ns.%s. admin.%s. %d 3600 600 86400 1\n@ 1 NS ns\n"
                "ns 1 A %s\n%s\n" % (zone, zone, zone, self.serial, AUTHORITY, records))
        with open(self.path(zone + ".plain"), "w") as file:
            file.write(text)
        if sign:
            self.key(zone)
            now = time.time()
            stamps = [time.strftime("%Y%m%d%H%M%S", time.gmtime(when))
                      for when in (min(now, now + end) - 7 * 86400, now + end)]
            self.host.run(["dnssec-signzone", "-q", "-S", "-z", "-P", "-j", "0", "-K", self.directory,
                           "-d", self.directory, "-o", zone + ".", "-s", stamps[0], "-e", stamps[1],
                           "-O", "full", "-f", self.path(zone + ".zone"), self.path(zone + ".plain")])
            with open(self.path(zone + ".zone")) as file:
                text = file.read()
        if forge:
            # The record alone: its signature is that of the record before.
            text, count = re.subn(r"(?m)(\sA\s+|\sAAAA\s+)%s$" % re.escape(forge[0]),
                                  r"\g<1>" + forge[1], text)
            assert count, "nothing to forge in " + text
        with open(self.path(zone + ".zone"), "w") as file:
            file.write(text)

    def put(self, zone, records="", sign=True, end=86400, forge=None):
        self.signed[zone] = sign
        self.write(zone, records, sign, end, forge)
        if self.child:
            self.control("zone-reload", zone)

    def control(self, *words):
        self.host.run(["knotc", "-c", self.path("knot.conf"), "-b", *words])

    def put_parent(self):
        records = []
        for zone, sign in self.signed.items():
            label = zone[:-len("." + PARENT)]
            records.append("%s 1 NS ns.%s" % (label, label))
            records.append("ns.%s 1 A %s" % (label, AUTHORITY))
            if sign:
                done = self.host.run(["dnssec-dsfromkey", "-2", self.key(zone) + ".key"])
                records.append(done.stdout.strip())
        self.write(PARENT, "\n".join(records), True, 86400, None)

    def start(self):
        """With all zones that were put so far; no other ones later."""
        self.put_parent()
        zones = "".join("  - domain: %s.\n    file: %s.zone\n" % (zone, zone)
                        for zone in (PARENT, *self.signed))
        with open(self.path("knot.conf"), "w") as file:
            file.write("""
server:
    rundir: "{dir}"
    listen: {address}@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: "{dir}/knot.sock"
database:
    storage: "{dir}"
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: "{dir}"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
{zones}""".format(dir=self.directory, address=AUTHORITY, zones=zones))
        self.child = self.host.popen(["knotd", "-c", self.path("knot.conf")],
                                     stdout=self.log, stderr=subprocess.STDOUT)
        if not wait_until(lambda: os.path.exists(self.path("knot.sock")), 15, 0.05):
            self.log.seek(0)
            raise RuntimeError("knotd does not start: " + self.log.read())
        self.control("status")

    def stop(self):
        if self.child:
            end(self.child)
            self.child = None
        self.log.close()


class Validator:
    """`example` is a file for /etc/unbound/unbound.conf.d; without one the port is 5353."""

    def __init__(self, host, directory, anchor, example=None):
        self.host, self.address, self.port = host, "127.0.0.1", 53 if example else 5353
        self.directory = os.path.join(directory, "unbound%d" % self.port)
        os.makedirs(self.directory)
        path = os.path.join(self.directory, "unbound.conf")
        with open(path, "w") as file:
            file.write("""
server:
    directory: "{dir}"
    username: ""
    chroot: ""
    pidfile: ""
    logfile: ""
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    trust-anchor: "{anchor}"
    cache-max-ttl: 1
stub-zone:
    name: "example."
    stub-addr: {authority}
remote-control:
    control-enable: no
""".format(dir=self.directory, anchor=anchor.replace('"', "'"), authority=AUTHORITY))
            file.write('include: "%s"\n' % example if example else """
server:
    interface: 127.0.0.1@5353
    do-ip6: no
    module-config: "validator iterator"
    qname-minimisation: no
    ede: yes
    cache-max-negative-ttl: 1
    val-bogus-ttl: 1
""")
        self.log = open(os.path.join(self.directory, "log"), "w+")
        self.child = host.popen(["unbound", "-d", "-c", path], stdout=self.log, stderr=subprocess.STDOUT)
        if not wait_until(lambda: "start of service" in self.said(), 15, 0.05):
            end(self.child)
            raise RuntimeError("unbound does not start: " + self.said())

    def said(self):
        with open(self.log.name) as file:
            return file.read()

    def resolver(self, timeout="2s", more=""):
        """The config's resolver line."""
        return 'resolver: {servers: ["%s:%d"], timeout: %s%s}\n' % (self.address, self.port, timeout, more)

    def stop(self):
        if self.child:
            end(self.child)
            self.child = None
        self.log.close()
