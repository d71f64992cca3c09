#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
`within` by origin, with real databases, DNS, packets and a real kernel. The story: the phone's dynamic
name points to an address in its country. Somebody gets hold of the DDNS account, and points the name
to an address in another one.
"""
import os
import subprocess
import tempfile
import time
import unittest

from daemon_case import HOME, HOME2, NAME, ROGUE, DaemonCase
from harness import SIPFENCE, main
from scripted_dns import answer

WRITER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mmdb.pl")
DAY = 86400
COUNTRIES = ("203.0.113.0/24=CA", "198.51.100.0/24=NL", "2001:db8::/32=CA")
NETWORKS = ("203.0.113.0/24=AS577", "198.51.100.0/24=AS1136", "2001:db8::/32=AS577")


class OriginCase(DaemonCase):
    at_home = "{hosts: [%s], within: {country: [ca]}}" % NAME

    @classmethod
    def setUpClass(cls):
        if subprocess.run([WRITER], stderr=subprocess.DEVNULL).returncode == 77:
            raise unittest.SkipTest("libmaxmind-db-writer-perl is missing")
        super().setUpClass()
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
            config.write("geoip: {country: /c.mmdb}\nextensions: {21: a.example}\n")
            config.flush()
            check = subprocess.run([SIPFENCE, "-c", config.name, "check"], text=True, capture_output=True)
        if "built without libmaxminddb" in check.stderr:
            raise unittest.SkipTest("sipfence was built without libmaxminddb")

    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.directory, "GeoIP")
        os.mkdir(self.folder, 0o755)
        self.country = os.path.join(self.folder, "country.mmdb")
        self.asn = os.path.join(self.folder, "asn.mmdb")
        self.make()

    def make(self, *networks, path=None, age=0, kind="GeoLite2-Country"):
        """A database in the place of the one that was there, by a rename."""
        path = path or self.country
        new = path + ".new"
        subprocess.run([WRITER, new, kind, str(int(time.time()) - age), *(networks or COUNTRIES)],
                       check=True, timeout=30)
        os.chmod(new, 0o644)
        os.rename(new, path)

    def configure(self, owner=None, more="", geoip=None, **others):
        super().configure("geoip: {%s}\n%s" % (geoip or "country: " + self.country, more),
                          "21: " + (owner or self.at_home), **others)

    def started(self, *options, **more):
        """A daemon that has let the phone in."""
        self.points(HOME)
        self.configure(**more)
        daemon = self.daemon(*options)
        self.assertAllowed(HOME)
        return daemon

    def hijacked(self):
        self.points(ROGUE)

    def name_of(self, document):
        return document["names"][0]


class Hijack(OriginCase):
    def test_the_story(self):
        daemon = self.started()
        self.assertPasses(HOME)
        with self.knocking() as probes:
            self.hijacked()
            event = daemon.wait_event("state", host=NAME, state="refused")
            time.sleep(1.5)
        probes.check(self)
        self.assertEqual(event["address"], ROGUE)
        self.assertEqual(event["reason"], "in NL, `within` allows CA")
        self.assertEqual(event["extension"], "21")
        self.assertIn("change the password", event["next"])
        self.assertEqual(self.hosts4(), [HOME])
        # What status, why and refresh say.
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertIn("the A answer holds %s: in NL, `within` allows CA" % ROGUE, result.out)
        family = self.name_of(self.fence.run("status", "--json").json())["A"]
        self.assertEqual((family["last"], family["refused_address"], family["refused_country"],
                          family["addresses"]), ("refused", ROGUE, "NL", [HOME]))
        self.assertIsNotNone(family["leaves"])
        result = self.fence.run("why", ROGUE)
        self.assertIn("in NL, `within` allows CA", result.out)
        result = self.fence.run("refresh")
        self.assertIn(ROGUE, result.out + result.err)
        self.assertIn("in NL, `within` allows CA", result.out + result.err)
        # The owner has the account back, and the phone has moved.
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.assertShut(ROGUE, HOME)
        self.assertEqual(len(daemon.events("state", host=NAME, state="refused")), 1, daemon)

    def test_hold_ends(self):
        self.started(more="hold: 3s\n")
        self.hijacked()
        self.assertAllowed(seconds=8)
        self.assertShut(HOME, ROGUE)

    def test_by_network(self):
        self.make(*NETWORKS, path=self.asn, kind="GeoLite2-ASN")
        self.make("203.0.113.0/24=CA", "198.51.100.0/24=CA")
        daemon = self.started(
            owner="{hosts: [%s], within: {country: CA, asn: AS577}}" % NAME,
            geoip="country: %s, asn: %s" % (self.country, self.asn))
        self.hijacked()
        event = daemon.wait_event("state", host=NAME, state="refused")
        self.assertEqual(event["reason"], "of AS1136, `within` allows AS577")
        self.assertEqual(self.name_of(daemon.status())["A"]["refused_asn"], 1136)
        self.assertEqual(self.hosts4(), [HOME])

    def test_both_families(self):
        """A rogue's AAAA beside the phone's own A."""
        self.make("203.0.113.0/24=CA", "2001:db8:2::/48=CA", "2001:db8:66::/48=NL")
        daemon = self.started()
        self.server.set(NAME, "AAAA", answer("2001:db8:66::1", ttl=1))
        event = daemon.wait_event("state", host=NAME, state="refused")
        self.assertEqual((event["address"], event["type"]), ("2001:db8:66::1", "AAAA"))
        self.assertEqual(self.hosts4(), [HOME])
        self.assertEqual(sorted(self.pbx.elements("sip_hosts6")), [])

    def test_address_that_nobody_knows(self):
        self.make("198.51.100.0/24=NL")
        self.points(HOME)
        self.configure()
        daemon = self.daemon()
        event = daemon.wait_event("state", host=NAME, state="refused")
        self.assertIn("of no country that the database knows", event["reason"])
        self.assertShut(HOME)


class Database(OriginCase):
    def database(self, daemon):
        [database] = daemon.status()["geoip"]
        return database

    def test_removed_and_back(self):
        daemon = self.started()
        os.unlink(self.country)
        event = daemon.wait_event("geoip", database="country", state="missing")
        self.assertEqual(event["path"], self.country)
        self.assertIn("is not there", event["error"])
        self.assertIn("geoipupdate", event["next"])
        event = daemon.wait_event("state", host=NAME, state="held")
        self.assertIn("cannot be looked up", event["reason"])
        # Nobody new comes in, nobody goes, and it is said.
        self.points(HOME2)
        time.sleep(2.5)
        self.assertEqual(self.hosts4(), [HOME])
        self.assertPasses(HOME)
        self.assertShut(HOME2)
        self.assertEqual(self.database(daemon)["state"], "missing")
        self.assertIsNone(self.database(daemon)["built"])
        result = self.assertCode(self.fence.run("status"), 3)
        self.assertIn("geoip: %s is not there" % self.country, result.out + result.err)
        self.assertEqual(len(daemon.events("geoip")), 1, daemon)
        self.assertEqual(daemon.events("dns"), [], "that is no outage of DNS")
        self.make()
        daemon.wait_event("geoip", database="country", state="found")
        self.assertAllowed(HOME2, seconds=8)
        self.assertCode(self.fence.run("status"), 0)

    def test_replaced(self):
        """The next answer is judged by the new one."""
        daemon = self.started()
        self.make("203.0.113.0/24=NL", "198.51.100.0/24=CA")
        event = daemon.wait_event("state", host=NAME, state="refused")
        self.assertEqual(event["address"], HOME)
        self.points(ROGUE)
        self.assertAllowed(ROGUE, seconds=8)
        self.assertEqual(daemon.events("geoip"), [], "a routine replacement is no news")

    def test_written_over_in_place(self):
        """As cp does it, and slowly: what is half there must not end the daemon."""
        with open(self.country, "rb") as file:
            whole = file.read()
        daemon = self.started()
        with open(self.country, "wb") as file:
            for part in (whole[:100], whole[100:-300], whole[-300:]):
                time.sleep(1.5)
                file.write(part)
                file.flush()
        daemon.wait_event("geoip", state="missing")
        daemon.wait_event("geoip", state="found", seconds=8)
        self.points(HOME2)
        self.assertAllowed(HOME2, seconds=8)

    def test_damaged_and_of_the_wrong_kind(self):
        daemon = self.started()
        with open(self.country, "wb") as file:
            file.write(os.urandom(4096))
        self.assertIn("damaged", daemon.wait_event("geoip", state="missing")["error"])
        mark = daemon.mark()
        self.make(*NETWORKS, kind="GeoLite2-ASN")
        event = daemon.wait_event("geoip", state="missing", since=mark, seconds=8)
        self.assertIn("knows no country", event["error"])
        self.assertIn("GeoLite2-ASN", event["error"])
        self.assertEqual(self.hosts4(), [HOME])

    def test_ages(self):
        self.make(age=25 * DAY)
        self.points(HOME)
        self.configure(geoip="country: %s, max-age: 30d" % self.country)
        daemon = self.daemon()
        event = daemon.wait_event("geoip", database="country", state="ageing")
        self.assertIn("25 days ago", event["error"])
        self.assertAllowed(HOME)
        self.assertEqual(self.database(daemon)["state"], "ageing")
        self.assertCode(self.fence.run("status"), 0)
        self.make(age=31 * DAY)
        daemon.wait_event("geoip", database="country", state="stale")
        daemon.wait_event("state", host=NAME, state="held")
        self.assertEqual(self.hosts4(), [HOME])
        self.points(HOME2)
        self.make()
        daemon.wait_event("geoip", database="country", state="found", seconds=8)
        self.assertAllowed(HOME2, seconds=8)
        self.assertEqual(len(daemon.events("geoip")), 3, daemon)


class Restart(OriginCase):
    def test_without_the_database(self):
        """A lost database must not throw anybody out."""
        self.started().stop()
        os.unlink(self.country)
        daemon = self.daemon()
        self.assertEqual(self.hosts4(), [HOME])
        daemon.wait_event("geoip", database="country", state="missing")
        daemon.wait_event("state", host=NAME, state="held")
        self.assertEqual(self.hosts4(), [HOME])

    def test_saved_address_is_elsewhere(self):
        """Known before the guard was, and DNS is dead."""
        self.points(ROGUE)
        self.configure(owner=NAME)
        daemon = self.daemon()
        self.assertAllowed(ROGUE)
        daemon.stop()
        self.dns_silent()
        self.configure()
        self.daemon()
        self.assertEqual(self.hosts4(), [])
        self.assertShut(ROGUE)

    def test_reload(self):
        """The guard comes, with a database, and then with another one."""
        self.points(ROGUE)
        self.configure(owner=NAME)
        daemon = self.daemon()
        self.assertAllowed(ROGUE)
        self.configure()
        self.assertCode(self.fence.run("reload"), 0)
        self.assertAllowed()
        other = os.path.join(self.folder, "other.mmdb")
        self.make("198.51.100.0/24=CA", path=other)
        self.configure(geoip="country: " + other)
        self.assertCode(self.fence.run("reload"), 0)
        self.assertAllowed(ROGUE, seconds=8)
        self.assertEqual(daemon.events("geoip"), [])


class Sync(OriginCase):
    def sync(self, code, *options):
        return self.assertCode(self.fence.run("sync", *options), code)

    def test_hijack(self):
        self.points(HOME)
        self.configure()
        self.sync(0)
        self.hijacked()
        result = self.sync(3)
        self.assertIn("the A answer holds %s: in NL, `within` allows CA" % ROGUE, result.err)
        self.assertEqual(self.hosts4(), [HOME])
        self.assertPasses(HOME)
        self.assertShut(ROGUE)
        # The same is no news: cron mails.
        self.assertNotIn(ROGUE, self.sync(3).err)
        family = self.sync(3, "--json").json()["hosts"][0]["A"]
        self.assertEqual((family["outcome"], family["refused_address"], family["refused_country"]),
                         ("refused", ROGUE, "NL"))
        self.assertEqual(family["reason"], "in NL, `within` allows CA")

    def test_dry_run(self):
        self.points(ROGUE)
        self.configure()
        result = self.sync(3, "--dry-run")
        self.assertNotIn(ROGUE, result.out)
        self.assertIn("in NL, `within` allows CA", result.err)
        self.assertFalse(self.pbx.has_table())

    def test_without_the_database(self):
        self.points(HOME)
        self.configure()
        self.sync(0)
        os.unlink(self.country)
        self.points(HOME2)
        result = self.sync(3)
        self.assertIn("geoip: %s is not there" % self.country, result.err)
        self.assertIn("held", result.err)
        self.assertEqual(self.hosts4(), [HOME])
        result = self.sync(3)
        self.assertEqual(result.err, "")
        [database] = self.sync(3, "--json").json()["geoip"]
        self.assertEqual((database["database"], database["state"], database["path"]),
                         ("country", "missing", self.country))
        self.make()
        self.sync(0)
        self.assertEqual(self.hosts4(), [HOME2])

    def test_stale(self):
        self.points(HOME)
        self.make(age=91 * DAY)
        self.configure()
        result = self.sync(3)
        self.assertIn("was built 91 days ago, longer than `geoip: {max-age: TIME}` allows", result.err)
        self.assertEqual(self.hosts4(), [])

    def test_check(self):
        """A missing database is not the config's fault."""
        self.configure()
        self.assertEqual(self.assertCode(self.fence.run("check"), 0).err, "")
        os.unlink(self.country)
        result = self.assertCode(self.fence.run("check"), 0)
        self.assertIn("warning: geoip: %s is not there" % self.country, result.err)
        self.assertIn("is good", result.out)
        self.fence.config("extensions: {21: %s}\n" % self.at_home)
        result = self.assertCode(self.fence.run("check"), 2)
        self.assertIn("add the line: geoip: {country: /path/to/country.mmdb}", result.err)


if __name__ == "__main__":
    main(at_once=4)
