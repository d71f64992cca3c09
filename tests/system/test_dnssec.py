#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
`require-dnssec: true`: only what a trusted resolver has validated counts (design, sections 4 and 7).

A real signed zone, a real validating resolver; and, for what those never do, a server that does as it
is told.
"""
import collections
import json
import os
import shutil
import struct
import tempfile
import time

from daemon_case import HOME, HOME2, NAME, PATIENCE, QUICK, ROGUE, DaemonCase
from harness import REPO, Case, main, wait_until
from scripted_dns import answer, delay, nodata, rcode, silence
from signed_dns import PROGRAMS, SignedZones, Validator
from test_resolver import ASK, SERVFAIL, Base as ResolverCase

NO_TRUSTED, BOGUS, NOT_VALIDATED = 9, 11, 23
AD = 0x0020
GOOD, PLAIN, OLD, FORGED = "home21.good.example", "home21.plain.example", "home21.old.example", \
    "home21.forged.example"
MANY = ["203.0.113.%d" % number for number in range(100, 164)]


def validated(behaviour):
    """The same messages with the AD bit, as a resolver sends it that has been asked for it."""
    def behave(q):
        return [message[:3] + bytes([message[3] | AD]) + message[4:] if q.flags & AD else message
                for message in behaviour(q)]
    return behave


def lying(behaviour):
    """With the AD bit, asked for or not."""
    return lambda q: [message[:3] + bytes([message[3] | AD]) + message[4:] for message in behaviour(q)]


def extended_error(code, word="SERVFAIL"):
    """RFC 8914."""
    def behave(q):
        message = rcode(word)(q)[0]
        option = struct.pack(">HHH", 15, 2 + 3, code) + b"why"
        opt = b"\0" + struct.pack(">HHIH", 41, 1232, 0, len(option)) + option
        return [message[:10] + struct.pack(">H", 1) + message[12:] + opt]
    return behave


class Signed(Case):
    """zones and validator of the class, with one address in each zone."""
    shared_net = True
    needs = PROGRAMS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        directory = tempfile.mkdtemp(prefix="sipfence-test-")
        cls.addClassCleanup(shutil.rmtree, directory, ignore_errors=True)
        cls.zones = SignedZones(cls.class_net.pbx, directory)
        cls.addClassCleanup(cls.zones.stop)
        cls.publish(cls)
        cls.zones.start()
        cls.validator = Validator(cls.class_net.pbx, directory, cls.zones.anchor)
        cls.addClassCleanup(cls.validator.stop)

    def publish(self, good=HOME, more=""):
        """All zones anew; in good.example this address."""
        records = "home21 1 A %s\n%s" % (good, more) if good else more
        self.zones.put("good.example", records)
        self.zones.put("plain.example", "home21 1 A " + HOME, sign=False)
        # Longer ago than unbound forgives (val-sig-skew-max).
        self.zones.put("old.example", "home21 1 A " + HOME, end=-3 * 86400)
        self.zones.put("forged.example", "home21 1 A " + HOME, forge=(HOME, ROGUE))

    def setUp(self):
        super().setUp()
        self.pbx = self.net.pbx
        self.publish()
        # What the test before has left in the cache is forgotten.
        self.settle(GOOD, [HOME])

    def settle(self, name, addresses):
        """Until the validator says so."""
        def says():
            done = self.pbx.run(["kdig", "@127.0.0.1", "-p", "5353", "+short", name, "A"], check=False)
            return sorted(done.stdout.split()) == sorted(addresses)
        self.assertTrue(wait_until(says, 8, 0.1), "unbound does not say that %s is %s" % (name, addresses))

    def configure(self, name, more="", resolver=None, options="require-dnssec: true", trusted=""):
        self.fence.config("extensions:\n  21: {hosts: %s, %s}\nlocal-subnets: [192.168.1.0/24]\n%s%s" % (
            name, options, self.validator.resolver("3s", trusted) if resolver is None else resolver, more))

    def sync(self, code, *words):
        result = self.assertCode(self.fence.run("sync", "--yes"), code)
        for word in words:
            self.assertIn(word, result.err, result)
        return result

    def hosts4(self):
        return sorted(self.pbx.elements("sip_hosts4"))


class Sync(Signed):
    def test_good_signature_lets_in(self):
        self.configure(GOOD)
        self.sync(0)
        self.assertEqual(self.hosts4(), [HOME])

    def test_for_all(self):
        self.configure(GOOD, options="local: false", more="require-dnssec: true\n")
        self.sync(0)
        self.configure(PLAIN, options="local: false", more="require-dnssec: true\n")
        self.sync(3, PLAIN, "not validated by DNSSEC")
        self.assertEqual(self.hosts4(), [])

    def test_without_it_unsigned_names_are_let_in(self):
        self.configure(PLAIN, options="require-dnssec: false")
        self.sync(0)
        self.assertEqual(self.hosts4(), [HOME])

    def test_unsigned_zone_is_refused_and_named(self):
        self.configure(PLAIN)
        self.sync(3, PLAIN, "refused", HOME, "not validated by DNSSEC", "delv")
        self.assertEqual(self.hosts4(), [])

    def test_forged_record_is_not_let_in(self):
        self.configure(FORGED)
        self.sync(3, FORGED, "never answered", "DNSSEC validation failed at the resolver", "delv")
        self.assertEqual(self.hosts4(), [])

    def test_expired_signature_is_not_let_in(self):
        self.configure(OLD)
        self.sync(3, OLD, "DNSSEC validation failed at the resolver")
        self.assertEqual(self.hosts4(), [])

    def test_a_forged_record_later_on_holds_the_address(self):
        self.configure(GOOD)
        self.sync(0)
        self.zones.put("good.example", "home21 1 A " + HOME, forge=(HOME, ROGUE))
        self.settle(GOOD, [])
        self.sync(3, GOOD, "held", "DNSSEC validation failed")
        self.assertEqual(self.hosts4(), [HOME])

    def test_an_unvalidated_no_such_name_does_not_revoke(self):
        """Neither does no data: only a signed proof that there is none does."""
        self.configure(GOOD, more="gone: 0s\n")
        self.sync(0)
        server = self.dns()
        for fault, behaviour in {"no such name": rcode("NXDOMAIN"), "no data": nodata()}.items():
            with self.subTest(fault):
                server.both(GOOD, behaviour)
                self.configure(GOOD, more="gone: 0s\n", resolver=server.resolver())
                self.sync(3, GOOD, "refused", "the A answer says that there is none: not validated")
                self.assertEqual(self.hosts4(), [HOME])
                server.both(GOOD, validated(behaviour))
                self.sync(3, GOOD, "gone")
                self.assertEqual(self.hosts4(), [])
                self.configure(GOOD, more="gone: 0s\n")
                self.sync(0)

    def test_a_signed_no_such_name_revokes(self):
        self.configure(GOOD, more="gone: 1s\n")
        self.sync(0)
        self.zones.put("good.example", "home22 1 A " + HOME)
        self.settle(GOOD, [])
        self.sync(3, GOOD, "gone")
        time.sleep(1.1)
        self.sync(3)
        self.assertEqual(self.hosts4(), [])

    def test_large_answers_come_over_tcp(self):
        self.publish(more="\n".join("many 1 A " + address for address in MANY))
        self.settle("many.good.example", MANY)
        self.configure("many.good.example", more="limits: {addresses-per-host: 64}\n")
        self.sync(0)
        self.assertEqual(self.hosts4(), sorted(MANY))

    def test_srv_and_its_targets(self):
        """The SRV record and the targets' addresses: either of them unsigned, and nobody gets in."""
        def srv_of(target):
            return "_sip._udp 1 SRV 10 10 5060 %s." % target
        self.zones.put("plain.example", "home21 1 A %s\n%s" % (HOME, srv_of(GOOD)), sign=False)
        config = ("peers:\n  voipco: {srv: %s, require-dnssec: true}\nlocal-subnets: [192.168.1.0/24]\n"
                  "linger: {peers: 0s}\n" + self.validator.resolver("3s"))
        self.zones.put("good.example", "home21 1 A %s\n%s" % (HOME, srv_of(GOOD)))
        self.fence.config(config % "_sip._udp.good.example")
        wait_until(lambda: self.fence.run("sync", "--yes").code == 0, 6, 0.3)
        self.assertEqual(self.hosts4(), [HOME])
        self.fence.config(config % "_sip._udp.plain.example")
        self.sync(3, "_sip._udp.plain.example", "not validated by DNSSEC")
        self.assertEqual(self.hosts4(), [])
        self.zones.put("good.example", "home21 1 A %s\n%s" % (HOME, srv_of(PLAIN)))
        self.fence.config(config % "_sip._udp.good.example")
        self.assertTrue(wait_until(lambda: PLAIN in self.fence.run("sync").err, 6, 0.3))
        self.sync(3)
        self.assertEqual(self.hosts4(), [])

    def test_names_are_said_once(self):
        """Cron mails when something changes."""
        self.configure(PLAIN)
        self.sync(3, PLAIN)
        again = self.assertCode(self.fence.run("sync"), 3)
        self.assertNotIn(PLAIN, again.err)

    def test_json_has_reason_and_address(self):
        self.configure(PLAIN)
        done = self.assertCode(self.fence.run("sync", "--yes", "--json"), 3)
        name = json.loads(done.out)["hosts"][0]
        self.assertEqual((name["state"], name["A"]["reason"], name["A"]["refused_address"]),
                         ("refused", "not validated by DNSSEC", HOME), name)
        self.assertEqual(name["AAAA"]["reason"], "not validated by DNSSEC")
        self.assertNotIn("refused_address", name["AAAA"])


class Trust(Signed):
    """Who is asked, and whose word counts."""

    def test_no_trusted_server(self):
        self.configure(GOOD, trusted=", trusted: [192.0.2.53]")
        check = self.assertCode(self.fence.run("check"), 0)
        self.assertRegex(check.err, r'warning: extension "21" requires DNSSEC, but no server')
        self.sync(3, GOOD, "never answered", "no trusted resolver can be asked",
                  "point resolver.servers at a validating resolver on this machine, or add it to "
                  "resolver.trusted")
        self.assertEqual(self.hosts4(), [])

    def test_no_trusted_server_holds_what_was_validated(self):
        self.configure(GOOD)
        self.sync(0)
        self.configure(GOOD, trusted=", trusted: [192.0.2.53]")
        self.sync(3, GOOD, "held", "no trusted resolver")
        self.assertEqual(self.hosts4(), [HOME])

    def test_check_says_nothing_when_one_is_trusted(self):
        for resolver in ("", 'resolver: {servers: ["192.0.2.53", "127.0.0.1"]}\n',
                         'resolver: {servers: ["192.0.2.53"], trusted: [192.0.2.0/24]}\n'):
            with self.subTest(resolver):
                self.configure(GOOD, resolver=resolver)
                self.assertEqual(self.assertCode(self.fence.run("check"), 0).err, "")

    def test_the_ad_bit_of_an_untrusted_server_never_counts(self):
        """It stands first, and would gladly answer."""
        liar = self.dns(address="127.0.0.3")
        liar.both(GOOD, lying(answer(ROGUE)))
        resolver = 'resolver: {servers: ["127.0.0.3:%d"%s], timeout: 2s, trusted: [127.0.0.1]}\n'
        self.configure(GOOD, resolver=resolver % (liar.port, ""))
        self.sync(3, GOOD, "no trusted resolver")
        self.assertEqual((liar.asked(GOOD), self.hosts4()), (0, []))
        self.configure(GOOD, resolver=resolver % (liar.port, ', "127.0.0.1:5353"'))
        self.sync(0)
        self.assertEqual((liar.asked(GOOD), self.hosts4()), (0, [HOME]))

    def test_a_dead_trusted_server_is_not_replaced_by_an_untrusted_one(self):
        liar = self.dns(address="127.0.0.3")
        liar.both(GOOD, lying(answer(ROGUE)))
        for fault, dead in {"nobody listens": "127.0.0.1:1053",
                            "silence": "127.0.0.1:%d" % self.silent()}.items():
            with self.subTest(fault):
                self.configure(GOOD, resolver='resolver: {servers: ["127.0.0.3:%d", "%s"], timeout: 1s, '
                                              'trusted: [127.0.0.1]}\n' % (liar.port, dead))
                self.sync(3)
                self.assertEqual((liar.asked(GOOD), self.hosts4()), (0, []))

    def silent(self):
        server = self.dns()
        server.default = silence()
        return server.port

    def test_one_name_of_two_owners(self):
        """Who does not require DNSSEC is let in by any server; who does is not."""
        server = self.dns(address="127.0.0.3")
        server.both(GOOD, answer(HOME2))
        self.fence.config("extensions:\n  21: {hosts: %s, require-dnssec: true}\n  22: %s\n"
                          'resolver: {servers: ["127.0.0.3:%d"], timeout: 2s, trusted: [127.0.0.1]}\n' %
                          (GOOD, GOOD, server.port))
        result = self.sync(3, "extension 21 " + GOOD, "no trusted resolver")
        self.assertNotIn("extension 22", result.err)
        elements = self.pbx.elements("sip_hosts4")
        self.assertEqual(list(elements), [HOME2])
        self.assertIn("22 ", str(elements[HOME2]))
        self.assertNotIn("21 home", str(elements[HOME2]))


class Follows(Signed):
    """The daemon, a signed zone and a validator."""

    def test_a_phone_that_moves_and_an_attack(self):
        self.configure(GOOD, more="gone: 2s\n" + QUICK)
        daemon = self.daemon()

        def allowed(*addresses):
            self.assertTrue(wait_until(lambda: self.hosts4() == sorted(addresses), 12 * PATIENCE),
                            "%s, not %s: %s" % (self.hosts4(), addresses, daemon))
        allowed(HOME)
        self.publish(HOME2)
        allowed(HOME2)
        mark = daemon.mark()
        self.zones.put("good.example", "home21 1 A " + HOME2, forge=(HOME2, ROGUE))
        event = daemon.wait_event("state", 20, mark, host=GOOD, state="held")
        self.assertEqual(event["reason"], "DNSSEC validation failed at the resolver (SERVFAIL)", event)
        time.sleep(3)
        allowed(HOME2)
        mark = daemon.mark()
        self.publish(HOME)
        allowed(HOME)
        daemon.wait_event("state", 10, mark, host=GOOD, state="fresh")
        self.publish(None)
        daemon.wait_event("state", 10, mark, host=GOOD, state="gone")
        allowed()


class Example(Signed):
    """examples/unbound/sipfence.conf, as it is, in a real unbound."""

    def test_it_validates_and_says_why_not(self):
        example = os.path.join(REPO, "examples/unbound/sipfence.conf")
        done = self.pbx.run(["unbound-checkconf", example], check=False)
        self.assertIn("no errors", done.stdout + done.stderr)
        local = Validator(self.pbx, self.directory, self.zones.anchor, example)
        self.addCleanup(local.stop)
        for name, code, word in ((GOOD, 0, ""), (PLAIN, 3, "not validated by DNSSEC"),
                                 (FORGED, 3, "DNSSEC validation failed at the resolver"),
                                 (OLD, 3, "DNSSEC validation failed at the resolver")):
            with self.subTest(name):
                self.configure(name, resolver='resolver: {servers: ["127.0.0.1"]}\n')
                self.sync(code, word)
                self.assertEqual(self.hosts4(), [] if code else [HOME])


class Switch(Signed):
    """require-dnssec is switched on: what was learned before was not validated."""

    def configure_for(self, name, strict, gone="5m"):
        self.configure(name, options="require-dnssec: %s" % str(strict).lower(), more="gone: %s\n" % gone)

    def test_a_name_that_can_be_validated_goes_on(self):
        self.configure_for(GOOD, False)
        self.sync(0)
        self.configure_for(GOOD, True)
        self.sync(0)
        self.assertEqual(self.hosts4(), [HOME])

    def test_an_address_that_nobody_vouches_for_leaves_after_gone(self):
        self.configure_for(PLAIN, False)
        self.sync(0)
        self.configure_for(PLAIN, True, "2s")
        self.sync(3, PLAIN, "refused", "stay until")
        self.assertEqual(self.hosts4(), [HOME])
        time.sleep(2.1)
        self.sync(3)
        self.assertEqual(self.hosts4(), [])

    def test_a_poisoned_address_is_replaced_at_once_and_does_not_linger(self):
        server = self.dns()
        server.set(GOOD, "A", answer(ROGUE))
        config = ("peers:\n  voipco: {hosts: %s, require-dnssec: %s}\n%slocal-subnets: [192.168.1.0/24]\n"
                  "linger: {peers: 1h}\n")
        self.fence.config(config % (GOOD, "false", server.resolver()))
        self.sync(0)
        self.assertEqual(self.hosts4(), [ROGUE])
        self.fence.config(config % (GOOD, "true", self.validator.resolver()))
        self.sync(0)
        self.assertEqual(self.hosts4(), [HOME])


class Daemon(DaemonCase):
    """With a scripted server that is trusted, being on loopback."""

    def strict(self, more="", **values):
        self.configure(more, extensions="21: {hosts: %s, require-dnssec: true}" % NAME, **values)

    def says(self, behaviour):
        self.server.both(NAME, behaviour)

    def test_follows_validated_answers_alone(self):
        self.strict()
        self.server.set(NAME, "A", validated(answer(HOME, ttl=1)))
        self.server.set(NAME, "AAAA", validated(nodata()))
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.server.set(NAME, "A", answer(ROGUE, ttl=1))
        event = daemon.wait_event("state", host=NAME, state="refused")
        self.assertEqual((event["reason"], event["address"]), ("not validated by DNSSEC", ROGUE), event)
        self.assertIn("delv", event["next"])
        self.assertAllowed(HOME)
        status = self.fence.run("status")
        self.assertIn("not validated by DNSSEC", status.out, status)
        why = self.fence.run("why", ROGUE)
        self.assertIn("not validated by DNSSEC", why.out, why)
        self.server.set(NAME, "A", validated(answer(HOME2, ttl=1)))
        self.assertAllowed(HOME2)
        daemon.wait_event("state", host=NAME, state="fresh")

    def test_negative_answers(self):
        self.strict("gone: 1s\n")
        self.server.set(NAME, "A", validated(answer(HOME, ttl=1)))
        self.server.set(NAME, "AAAA", validated(nodata()))
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.says(rcode("NXDOMAIN"))
        event = daemon.wait_event("state", host=NAME, state="refused")
        self.assertNotIn("address", event)
        time.sleep(4)
        self.assertEqual(self.hosts4(), [HOME])
        self.says(validated(rcode("NXDOMAIN")))
        self.assertAllowed(seconds=8)

    def test_bogus_is_told_from_dead(self):
        self.strict()
        self.server.set(NAME, "A", validated(answer(HOME, ttl=1)))
        self.server.set(NAME, "AAAA", validated(nodata()))
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.says(rcode("SERVFAIL"))
        event = daemon.wait_event("state", host=NAME, state="held")
        self.assertEqual(event["reason"], "the server failed (SERVFAIL)")
        self.says(extended_error(7))
        event = daemon.wait_event("state", seconds=40, since=daemon.mark() - 1, host=NAME, state="held",
                                  reason="DNSSEC validation failed at the resolver (SERVFAIL)")
        self.assertIn("attack", event["next"])
        self.assertEqual(self.hosts4(), [HOME])

    def test_no_trusted_server_is_no_outage(self):
        """Nobody was asked. Other names go on, and are asked at their own pace."""
        self.server.set("other.example", "A", answer(HOME2, ttl=1))
        self.configure(extensions="21: {hosts: %s, require-dnssec: true}, 22: other.example" % NAME,
                       resolver='resolver: {servers: ["127.0.0.1:%d"], timeout: 300ms, '
                                'trusted: [192.0.2.53]}\n' % self.server.port)
        daemon = self.daemon()
        event = daemon.wait_event("state", host=NAME)
        self.assertIn("no trusted resolver", event["reason"])
        self.assertIn("resolver.trusted", event["next"])
        self.assertAllowed(HOME2)
        time.sleep(3)
        self.assertEqual(daemon.events("dns"), [])
        self.assertEqual(self.server.asked(NAME), 0)
        self.assertGreater(self.server.asked("other.example"), 3)

    def test_a_reload_keeps_who_is_in_until_the_name_was_asked(self):
        """... but what nobody vouches for leaves after `gone`."""
        self.configure("gone: 3s\n")
        self.server.set(NAME, "A", answer(HOME, ttl=1))
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.says(delay(150, validated(answer(HOME, ttl=1))))
        self.server.set(NAME, "AAAA", validated(nodata()))
        self.strict("gone: 3s\n")
        with self.knocking() as probes:
            self.assertEqual(self.fence.run("reload").code, 0)
            time.sleep(1)
        probes.check(self, 300)
        time.sleep(4)
        self.assertEqual(self.hosts4(), [HOME])
        self.configure("gone: 3s\n")
        self.assertEqual(self.fence.run("reload").code, 0)
        self.server.set(NAME, "A", answer(ROGUE, ttl=1))
        self.assertAllowed(ROGUE)
        self.strict("gone: 3s\n")
        self.fence.run("reload")
        self.assertAllowed(seconds=8)
        self.assertTrue(daemon.runs())


class Resolver(ResolverCase):
    """The resolver alone: what is sent, and what of the reply counts."""

    def trusted(self, server):
        return "!127.0.0.1:%d" % server.port

    def test_the_question(self):
        server = self.dns()
        server.both("a.example", validated(answer("203.0.113.1")))
        run = self.ask([self.trusted(server)], ["a.example A validated", "a.example A"])
        self.assertEqual([run.only(i).kind for i in (0, 1)], ["addresses*", "addresses"])
        flags = sorted(q.flags for q in server.questions())
        self.assertEqual(flags, [0x0100, 0x0100 | AD], "RD, and AD where it is asked for")

    def test_the_ad_bit_counts_where_it_was_asked_for(self):
        server = self.dns()
        server.both("a.example", lying(answer("203.0.113.1")))
        run = self.ask([self.trusted(server)], ["a.example A validated", "a.example A"])
        self.assertEqual([run.only(i).kind for i in (0, 1)], ["addresses*", "addresses"])

    def test_over_tcp(self):
        server = self.dns()
        many = validated(answer(*MANY))
        server.set("a.example", "A", lambda q: many(q) if q.tcp else lying(lambda q: [q.message(tc=True)])(q))
        run = self.ask([self.trusted(server)], ["a.example A validated"])
        self.assertEqual((run.only().kind, run.only().values), ("addresses*", MANY))
        self.assertEqual([(q.tcp, q.flags & AD) for q in server.questions()], [(False, AD), (True, AD)])

    def test_a_server_without_edns(self):
        """FORMERR to an OPT record (RFC 6891, 7): asked again without, and with the AD bit."""
        server = self.dns()
        good = validated(answer("203.0.113.1"))
        asked = []

        def behave(q):
            asked.append((len(q.raw) > 12 + len(q.section), q.flags & AD))
            return [q.message(rcode=1)] if asked[-1][0] else good(q)
        server.both("a.example", behave)
        run = self.ask([self.trusted(server)], ["a.example A validated"], timeout=2000)
        self.assertEqual(run.only().kind, "addresses*")
        self.assertEqual([asked[0], asked[-1]], [(True, AD), (False, AD)])

    def test_extended_errors(self):
        server = self.dns()
        for code, reason in {5: BOGUS, 6: BOGUS, 7: BOGUS, 12: BOGUS, 3: SERVFAIL, 13: SERVFAIL,
                             22: SERVFAIL, 23: SERVFAIL}.items():
            with self.subTest(code):
                server.both("a.example", extended_error(code))
                run = self.ask([self.trusted(server)], ["a.example A validated"])
                self.assertEqual((run.only().kind, run.only().reason), ("failed", reason))

    def test_bogus_stays_the_reason_when_another_server_fails_otherwise(self):
        one, two = self.dns(), self.dns()
        one.default, two.default = extended_error(6), rcode("SERVFAIL")
        run = self.ask([self.trusted(one), self.trusted(two)], ["a.example A validated"])
        self.assertEqual((run.only().reason, two.total), (BOGUS, 1))

    def test_no_trusted_server_is_answered_unsent(self):
        server = self.dns()
        server.default = answer("203.0.113.1")
        names = ["n%d.example A validated" % number for number in range(500)]
        run = self.ask([server], names)
        self.assertEqual({run.only(i).reason for i in range(500)}, {NO_TRUSTED})
        self.assertLess(run.only(499).at, 0.2)
        self.assertEqual((server.total, run.stats["asked"], run.stats["answered"]), (0, 0, 500))

    def test_it_hides_nothing_from_the_judge_of_dead_dns(self):
        """Questions that nobody was asked neither prove that DNS is dead nor that it lives."""
        dead = self.dead_server()
        questions = ["n%d.example A%s" % (number, " validated" if number % 2 else "")
                     for number in range(600)]
        start = time.monotonic()
        run = self.ask([dead], questions, timeout=300, in_flight=20)
        self.assertLess(time.monotonic() - start, 0.3 * 6 + 1)
        self.assertEqual({run.only(i).reason for i in range(0, 600, 2)}, {1})
        self.assertEqual({run.only(i).reason for i in range(1, 600, 2)}, {NO_TRUSTED})

    def test_trusted_servers_of_resolv_conf(self):
        """Loopback is, by default."""
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write("nameserver 127.0.0.1\n")
        self.addCleanup(os.unlink, file.name)
        path = file.name
        server = self.dns(port=53)
        server.default = validated(answer("203.0.113.1"))
        done = self.host.run(["unshare", "-m", "sh", "-c",
                              'mount --bind "$0" /etc/resolv.conf && exec "$@"', path,
                              ASK, "!-", "500", "0", "0"], input="a.example A validated\n", check=False)
        self.assertIn("addresses*", done.stdout, done.stderr)

    def test_ports_and_ids(self):
        """10,000 validated questions: no port serves more than 100, and no id can be told from those
        before."""
        server = self.dns()
        server.default = validated(answer("203.0.113.1"))
        count = 10000
        run = self.ask([self.trusted(server)], ["n%d.example A validated" % i for i in range(count)],
                       timeout=30000)
        self.assertEqual({run.only(i).kind for i in range(count)}, {"addresses*"})
        questions = [q for q in server.questions() if not q.tcp]
        ports = collections.Counter(q.port for q in questions)
        self.assertLessEqual(max(ports.values()), 100)
        ids = [q.id for q in questions]
        self.check_random(ids)
        # The difference of two in a row is as random: no counter.
        self.check_random([(b - a) & 0xffff for a, b in zip(ids, ids[1:])])
        self.check_random([a ^ b for a, b in zip(ids, ids[1:])])

    def check_random(self, numbers):
        """16 bits each: as many distinct ones as chance gives, all bits and bytes evenly."""
        count = len(numbers)
        expected = 65536 * (1 - (1 - 1 / 65536) ** count)
        # More of them where none is given out twice at a time, but not as many as a counter gives.
        self.assertGreater(len(set(numbers)), expected - 6 * (count ** 2 / 65536 / 2) ** 0.5)
        self.assertLess(len(set(numbers)), count)
        for bit in range(16):
            ones = sum(number >> bit & 1 for number in numbers)
            self.assertLess(abs(ones - count / 2), 6 * (count / 4) ** 0.5, "bit %d" % bit)
        for shift in (0, 8):
            seen = collections.Counter(number >> shift & 255 for number in numbers)
            chi = sum((seen[value] - count / 256) ** 2 / (count / 256) for value in range(256))
            self.assertLess(chi, 255 + 6 * (2 * 255) ** 0.5, "byte %d" % shift)


if __name__ == "__main__":
    main(at_once=2)
