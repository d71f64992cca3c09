#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What DNS can say or fail to say: what stays in the set, what is reported, which exit code
(design, section 7)."""
import os
import re
import time
import zlib

import scripted_dns
from harness import Case, main
from scripted_dns import (answer, cname, cname_loop, cut_short, delay, foreign_owner, garbage, in_turn,
                          nodata, rcode, silence, srv, truncated, wrong_id, wrong_question)

NAME = "home21.example"
OLD, NEW, PLANTED = "203.0.113.10", "203.0.113.77", "198.51.100.66"
OLD6, NEW6 = "2001:db8:21::10", "2001:db8:21::77"


class Base(Case):
    shared_net = True

    def setUp(self):
        super().setUp()
        self.server = self.dns()

    def configure(self, more="", timeout="500ms", extension="[%s]" % NAME, resolver=None):
        self.fence.config("extensions:\n  21: %s\n%s%s" % (
            extension, self.server.resolver(timeout) if resolver is None else resolver, more))

    def start(self, v4=OLD, v6=None, **more):
        """A good first sync with these addresses."""
        self.configure(**more)
        self.server.clear()
        self.server.set(NAME, "A", answer(v4) if v4 else nodata())
        self.server.set(NAME, "AAAA", answer(v6) if v6 else nodata())
        self.assertCode(self.fence.run("sync", "--yes"), 0)
        self.assertIn4(v4)
        self.assertIn6(v6)

    def fresh(self):
        """As on a new machine."""
        self.net.pbx.run(["nft", "flush", "ruleset"])
        for name in self.fence.saved():
            os.unlink(os.path.join(self.fence.state, name))

    def assertIn4(self, *addresses):
        self.assertEqual(sorted(self.net.pbx.elements("sip_hosts4")), sorted(filter(None, addresses)))

    def assertIn6(self, *addresses):
        self.assertEqual(sorted(self.net.pbx.elements("sip_hosts6")), sorted(filter(None, addresses)))

    def sync(self, code, *words, options=()):
        result = self.assertCode(self.fence.run("sync", *options), code)
        for word in words:
            self.assertIn(word, result.err, result)
        return result


COULD_NOT_ASK = {
    "silence": silence(),
    "SERVFAIL": rcode("SERVFAIL"),
    "REFUSED": rcode("REFUSED"),
    "FORMERR": rcode("FORMERR"),
    "NOTIMP": rcode("NOTIMP"),
    "wrong id": wrong_id(PLANTED),
    "wrong question": wrong_question(PLANTED),
    "garbage": garbage(),
    "message cut short": cut_short(PLANTED),
    "CNAME loop": cname_loop(),
    "truncated, and silent over TCP": truncated(silence()),
    "slower than the budget": delay(1500, answer(PLANTED)),
}


class CouldNotAsk(Base):
    def test_known_address_is_held(self):
        for fault, behaviour in COULD_NOT_ASK.items():
            with self.subTest(fault):
                self.fresh()
                self.start(OLD, OLD6)
                self.server.both(NAME, behaviour)
                self.sync(3, NAME, "held")
                self.assertIn4(OLD)
                self.assertIn6(OLD6)

    def test_never_answered(self):
        for fault, behaviour in COULD_NOT_ASK.items():
            with self.subTest(fault):
                self.fresh()
                self.configure("local-subnets: [192.168.1.0/24]\n")
                self.server.clear()
                self.server.both(NAME, behaviour)
                self.sync(3, NAME, "never")
                self.assertIn4()
                self.assertIn("192.168.1.0/24", self.net.pbx.elements("sip_nets4"))

    def test_nobody_listens(self):
        self.start(OLD)
        self.configure(resolver='resolver: {servers: ["127.0.0.1:9"], timeout: 1s}\n')
        self.sync(3, NAME, "held")
        self.assertIn4(OLD)

    def test_another_names_address_does_not_count(self):
        self.start(OLD)
        self.server.set(NAME, "A", foreign_owner(PLANTED))
        self.sync(3, NAME)
        self.assertNotIn(PLANTED, self.net.pbx.elements("sip_hosts4"))

    def test_hold_ends(self):
        self.start(OLD, more="hold: 2s\n")
        self.server.both(NAME, rcode("SERVFAIL"))
        self.sync(3, NAME, "held")
        self.assertIn4(OLD)
        time.sleep(2.5)
        self.sync(3, NAME)
        self.assertIn4()

    def test_a_good_answer_renews_hold(self):
        self.start(OLD, more="hold: 6s\n")
        time.sleep(4)
        self.sync(0)
        time.sleep(3)
        self.server.both(NAME, rcode("SERVFAIL"))
        self.sync(3, NAME, "held")
        self.assertIn4(OLD)

    def test_reported_once_but_counted_each_time(self):
        self.start(OLD)
        self.server.both(NAME, rcode("SERVFAIL"))
        self.sync(3, NAME, "held")
        result = self.sync(3)
        self.assertNotIn(NAME, result.err, "cron would mail each run")
        self.server.set(NAME, "A", answer(OLD))
        self.server.set(NAME, "AAAA", nodata())
        self.sync(0)
        self.server.both(NAME, rcode("SERVFAIL"))
        self.sync(3, NAME, "held")

    def test_one_bad_name_among_good_ones(self):
        self.configure(extension="[%s]\n  22: home22.example\n  23: home23.example" % NAME)
        for number, address in ((21, OLD), (22, "203.0.113.22"), (23, "203.0.113.23")):
            self.server.set("home%d.example" % number, "A", answer(address))
        self.sync(0)
        self.server.both("home22.example", silence())
        self.server.set(NAME, "A", answer(NEW))
        result = self.sync(3, "home22.example", "held")
        self.assertNotIn("home23", result.err)
        self.assertIn4(NEW, "203.0.113.22", "203.0.113.23")


class SaysNone(Base):
    def test_first_stays_then_leaves(self):
        for word, behaviour in (("NXDOMAIN", rcode("NXDOMAIN")), ("no data", nodata()),
                                ("0.0.0.0", None)):
            with self.subTest(word):
                self.fresh()
                self.start(OLD, more="gone: 2s\n")
                if behaviour:
                    self.server.both(NAME, behaviour)
                else:
                    self.server.set(NAME, "A", answer("0.0.0.0"))
                    self.server.set(NAME, "AAAA", answer("::"))
                self.sync(3, NAME, "gone")
                self.assertIn4(OLD)
                time.sleep(2.5)
                self.sync(3)
                self.assertIn4()

    def test_unspecified_address_is_never_let_in(self):
        self.configure()
        self.server.set(NAME, "A", answer("0.0.0.0"))
        self.server.set(NAME, "AAAA", answer("::"))
        self.sync(3, NAME)
        self.assertIn4()
        self.assertIn6()

    def test_none_and_failure_differ(self):
        self.start(OLD, more="gone: 1s\nhold: 1h\n")
        self.server.both(NAME, rcode("SERVFAIL"))
        self.sync(3, NAME, "held")
        time.sleep(1.5)
        self.sync(3)
        self.assertIn4(OLD)
        self.server.both(NAME, rcode("NXDOMAIN"))
        self.sync(3, NAME, "gone")
        time.sleep(1.5)
        self.sync(3)
        self.assertIn4()

    def test_failure_does_not_stop_the_clock_of_gone(self):
        self.start(OLD, more="gone: 2s\nhold: 1h\n")
        self.server.both(NAME, rcode("NXDOMAIN"))
        self.sync(3, NAME, "gone")
        self.server.both(NAME, rcode("SERVFAIL"))
        time.sleep(2.5)
        self.sync(3)
        self.assertIn4()

    def test_comes_back(self):
        self.start(OLD)
        self.server.both(NAME, rcode("NXDOMAIN"))
        self.sync(3, NAME, "gone")
        self.server.set(NAME, "A", answer(NEW))
        self.server.set(NAME, "AAAA", nodata())
        self.sync(0)
        self.assertIn4(NEW)


class OneFamily(Base):
    def test_no_aaaa_beside_a_good_a_is_fresh(self):
        self.start(OLD)
        result = self.sync(0)
        self.assertNotIn(NAME, result.err)

    def test_aaaa_fails_a_moves(self):
        self.start(OLD, OLD6)
        self.server.set(NAME, "A", answer(NEW))
        self.server.set(NAME, "AAAA", rcode("SERVFAIL"))
        self.sync(3, NAME, "held")
        self.assertIn4(NEW)
        self.assertIn6(OLD6)

    def test_a_fails_aaaa_moves(self):
        self.start(OLD, OLD6)
        self.server.set(NAME, "A", silence())
        self.server.set(NAME, "AAAA", answer(NEW6))
        self.sync(3, NAME, "held")
        self.assertIn4(OLD)
        self.assertIn6(NEW6)

    def test_aaaa_ends_the_name_stays_fresh(self):
        self.start(OLD, OLD6, more="gone: 2s\n")
        self.server.set(NAME, "AAAA", nodata())
        self.sync(0)
        self.assertIn6(OLD6)
        time.sleep(2.5)
        self.sync(0)
        self.assertIn4(OLD)
        self.assertIn6()

    def test_aaaa_refused_a_stays(self):
        self.start(OLD, OLD6)
        self.server.set(NAME, "A", answer(NEW))
        self.server.set(NAME, "AAAA", answer("fe80::1"))
        self.sync(3, NAME, "refused")
        self.assertIn4(NEW)
        self.assertIn6(OLD6)


BAD_ADDRESSES = ("127.0.0.1", "127.9.9.9", "0.1.2.3", "169.254.1.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
                 "255.255.255.255", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.77",
                 "100.64.0.1", "100.127.255.255", "192.0.2.10", "192.168.1.1",
                 "::1", "fe80::1", "ff02::1", "fc00::1", "fd00:1::77", "::ffff:203.0.113.10",
                 "2001:db8:1::10")


class Refused(Base):
    def test_special_private_and_own_addresses(self):
        for address in BAD_ADDRESSES:
            kind = "AAAA" if ":" in address else "A"
            good = OLD6 if kind == "AAAA" else OLD
            for addresses in ([address], [good, address]):
                with self.subTest(addresses):
                    self.fresh()
                    self.start(OLD, OLD6)
                    self.server.set(NAME, kind, answer(*addresses))
                    self.sync(3, NAME, "refused", address)
                    self.assertIn4(OLD)
                    self.assertIn6(OLD6)

    def test_never_let_in_without_a_past(self):
        for address in ("127.0.0.1", "10.1.2.3", "192.0.2.10"):
            with self.subTest(address):
                self.fresh()
                self.configure()
                self.server.clear()
                self.server.set(NAME, "A", answer(address, OLD))
                self.sync(3, NAME, "refused", address)
                self.assertIn4()

    def test_the_message_names_the_family_of_the_address(self):
        for v4, v6, word in (("10.1.2.3", OLD6, "A"), (OLD, "fe80::1", "AAAA"), ("10.1.2.3", "fe80::1", None)):
            with self.subTest((v4, v6)):
                self.fresh()
                self.start(OLD, OLD6)
                self.server.set(NAME, "A", answer(v4))
                self.server.set(NAME, "AAAA", answer(v6))
                result = self.sync(3, NAME, "refused")
                found = re.search(r"\b(A|AAAA) answer holds ([0-9a-f.:]*[0-9a-f])", result.err)
                self.assertTrue(found, result)
                self.assertEqual(found.group(1), "AAAA" if ":" in found.group(2) else "A", result)
                self.assertIn(word, (found.group(1), None))

    def test_too_many(self):
        forty = ["203.0.113.%d" % number for number in range(100, 140)]
        self.start(OLD)
        self.server.set(NAME, "A", truncated(answer(*forty)))
        self.sync(3, NAME, "refused")
        self.assertIn4(OLD)
        self.server.set(NAME, "A", answer(*forty[:8]))
        self.sync(0)
        self.assertIn4(*forty[:8])
        self.server.set(NAME, "A", answer(*forty[:9]))
        self.sync(3, NAME, "refused")
        self.assertIn4(*forty[:8])

    def test_peers_may_have_64(self):
        many = ["203.0.113.%d" % number for number in range(100, 165)]
        self.fence.config("peers: {p: {hosts: [pool.example]}}\n" + self.server.resolver())
        self.server.set("pool.example", "A", truncated(answer(*many[:64])))
        self.sync(0)
        self.assertEqual(len(self.net.pbx.elements("sip_hosts4")), 64)
        self.server.set("pool.example", "A", truncated(answer(*many)))
        self.sync(3, "pool.example", "refused")
        self.assertEqual(len(self.net.pbx.elements("sip_hosts4")), 64)

    def test_limit_from_the_config(self):
        self.start(OLD, more="limits: {addresses-per-host: 2}\n")
        self.server.set(NAME, "A", answer(OLD, NEW, "203.0.113.78"))
        self.sync(3, NAME, "refused")
        self.assertIn4(OLD)

    def test_outside_within(self):
        self.start(OLD, extension="{hosts: [%s], within: [203.0.113.0/24]}" % NAME)
        self.server.set(NAME, "A", answer("198.51.100.7"))
        self.sync(3, NAME, "refused", "198.51.100.7")
        self.assertIn4(OLD)
        self.server.set(NAME, "A", answer(NEW))
        self.sync(0)
        self.assertIn4(NEW)

    def test_private_where_within_names_it(self):
        self.start(OLD, extension="{hosts: [%s], within: [203.0.113.0/24, 10.1.0.0/16, 127.0.0.0/8]}" % NAME)
        self.server.set(NAME, "A", answer("10.1.2.3"))
        self.sync(0)
        self.assertIn4("10.1.2.3")
        self.server.set(NAME, "A", answer("127.0.0.1"))
        self.sync(3, NAME, "refused", "127.0.0.1")
        self.assertIn4("10.1.2.3")

    def test_within_everything_names_no_private_block(self):
        for within, address in (("0.0.0.0/0", "10.0.0.1"), ("0.0.0.0/0", "192.168.1.77"),
                                ("8.0.0.0/6", "10.0.0.1"), ("172.0.0.0/8", "172.16.0.1"),
                                ("100.0.0.0/8", "100.64.0.1"), ("'::/0'", "fd00:1::77"),
                                ("'fc00::/6'", "fd00:1::77")):
            with self.subTest(within=within, address=address):
                self.fresh()
                good = OLD6 if ":" in address else OLD
                self.configure(extension="{hosts: [%s], within: [%s, 203.0.113.0/24, '2001:db8::/32']}" % (
                    NAME, within))
                self.server.clear()
                self.server.set(NAME, "AAAA" if ":" in address else "A", answer(good))
                self.sync(0)
                self.server.set(NAME, "AAAA" if ":" in address else "A", answer(address))
                self.sync(3, NAME, "refused", address)
                (self.assertIn6 if ":" in address else self.assertIn4)(good)

    def test_within_a_private_block_names_it(self):
        for within, address in (("10.0.0.0/8", "10.0.0.1"), ("10.0.0.0/9", "10.0.0.1"),
                                ("172.16.0.0/12", "172.31.255.1"), ("192.168.0.0/16", "192.168.9.77"),
                                ("100.64.0.0/10", "100.64.0.1"), ("'fc00::/7'", "fd00:9::77"),
                                # The widest does not take back what a narrower one names.
                                ("0.0.0.0/0, 10.0.0.0/24", "10.0.0.1"),
                                ("10.0.0.0/24, 0.0.0.0/0", "10.0.0.1")):
            with self.subTest(within=within, address=address):
                self.fresh()
                self.configure(extension="{hosts: [%s], within: [%s]}" % (NAME, within))
                self.server.clear()
                self.server.set(NAME, "AAAA" if ":" in address else "A", answer(address))
                self.sync(0)
                (self.assertIn6 if ":" in address else self.assertIn4)(address)

    def test_a_prefix_stays_inside_within(self):
        """The whole prefix of an answer is let in, but never more than `within` has."""
        for within, length, wanted in (("2001:db8::/64", 16, "2001:db8::/64"),
                                       ("2001:db8::/64", 64, "2001:db8::/64"),
                                       ("2001:db8::/32", 64, "2001:db8::/64"),
                                       ("2001:db8::/32", 16, "2001:db8::/32"),
                                       ("2001:db8::/32', '2001:db8::/60", 48, "2001:db8::/60"),
                                       ("2001:db8::10/128", 64, "2001:db8::10")):
            with self.subTest(within=within, length=length):
                self.fresh()
                self.configure(extension="{hosts: [%s], within: ['%s'], ipv6-prefix: %d}" % (
                    NAME, within, length))
                self.server.clear()
                self.server.set(NAME, "AAAA", answer("2001:db8::10"))
                self.sync(0)
                inside = [*self.net.pbx.elements("sip_nets6"), *self.net.pbx.elements("sip_hosts6")]
                self.assertEqual(inside, [wanted])

    def test_a_lowered_limit_bounds_saved_addresses_too(self):
        self.configure()
        self.server.set(NAME, "A", answer(OLD, NEW, "203.0.113.78"))
        self.sync(0)
        self.assertIn4(OLD, NEW, "203.0.113.78")
        self.configure("limits: {addresses-per-host: 2}\n")
        self.server.both(NAME, rcode("SERVFAIL"))
        self.sync(3, NAME)
        self.assertLessEqual(len(self.net.pbx.elements("sip_hosts4")), 2)

    def test_hold_bounds_refusals_too(self):
        self.start(OLD, more="hold: 2s\n")
        self.server.set(NAME, "A", answer("10.1.2.3"))
        self.sync(3, NAME, "refused")
        self.assertIn4(OLD)
        time.sleep(2.5)
        self.sync(3)
        self.assertIn4()


class Services(Base):
    """SRV names of peers, and their targets."""
    SRV = "_sip._udp.voipco.example"

    def begin(self, more=""):
        self.fence.config("peers: {voipco: {srv: [%s]}}\nlinger: {peers: 0s}\n%s%s" % (
            self.SRV, more, self.server.resolver("500ms")))
        self.server.set(self.SRV, "SRV", srv("sip1.example", "sip2.example"))
        self.server.set("sip1.example", "A", answer(OLD))
        self.server.set("sip2.example", "A", answer("198.51.100.2"))
        self.sync(0)
        self.assertIn4(OLD, "198.51.100.2")

    def test_targets_are_held_while_srv_cannot_be_asked(self):
        self.begin()
        for behaviour in (silence(), rcode("SERVFAIL")):
            self.server.set(self.SRV, "SRV", behaviour)
            self.server.set("sip1.example", "A", answer(NEW))
            self.sync(3)
            self.assertIn4(NEW, "198.51.100.2")
        self.server.set("sip1.example", "A", answer(OLD))
        self.server.set(self.SRV, "SRV", srv("sip1.example"))
        self.sync(0)
        self.assertIn4(OLD)

    def test_the_failure_is_named(self):
        self.begin()
        self.server.set(self.SRV, "SRV", rcode("SERVFAIL"))
        self.sync(3, self.SRV, "held")

    def test_gone(self):
        for word, behaviour in (("NXDOMAIN", rcode("NXDOMAIN")), ("no data", nodata()),
                                ("the target .", srv(""))):
            with self.subTest(word):
                self.fresh()
                self.begin("gone: 1s\n")
                self.server.set(self.SRV, "SRV", behaviour)
                self.sync(3, self.SRV, "gone")
                self.assertIn4(OLD, "198.51.100.2")
                time.sleep(1.6)
                self.sync(3)
                self.assertIn4()

    def test_a_target_fails(self):
        self.begin()
        self.server.both("sip2.example", rcode("SERVFAIL"))
        self.sync(3, "sip2.example", "held")
        self.assertIn4(OLD, "198.51.100.2")

    def test_targets_survive_a_reboot(self):
        self.begin()
        self.net.pbx.run(["nft", "flush", "ruleset"])
        for name in ("sip1.example", "sip2.example"):
            self.server.both(name, silence())
        self.server.set(self.SRV, "SRV", silence())
        self.sync(3)
        self.assertIn4(OLD, "198.51.100.2")


class Asking(Base):
    def test_a_and_aaaa_of_the_exact_name(self):
        self.start(OLD)
        self.assertEqual({(q.name, q.type) for q in self.server.questions()},
                         {(NAME, "A"), (NAME, "AAAA")})

    def test_truncated_comes_over_tcp(self):
        self.start(OLD)
        self.server.set(NAME, "A", truncated(answer(NEW)))
        self.sync(0)
        self.assertIn4(NEW)
        self.assertTrue(any(q.tcp for q in self.server.questions()))

    def test_cname_chain(self):
        self.start(OLD)
        self.server.set(NAME, "A", cname(["a.example", "b.example"], NEW))
        self.server.set(NAME, "AAAA", cname(["a.example", "b.example"], NEW6))
        self.sync(0)
        self.assertIn4(NEW)
        self.assertIn6(NEW6)

    def test_slow_answer_within_the_budget(self):
        self.configure(timeout="3s")
        self.server.set(NAME, "A", delay(1200, answer(OLD)))
        result = self.sync(0)
        self.assertLess(result.seconds, 3)
        self.assertIn4(OLD)

    def test_lost_first_question(self):
        self.configure(timeout="5s")
        self.server.set(NAME, "A", in_turn(silence(), answer(OLD)))
        self.sync(0)
        self.assertIn4(OLD)

    def test_failing_once_is_asked_again(self):
        self.configure(timeout="3s")
        second = self.dns()
        second.set(NAME, "A", answer(OLD))
        self.server.both(NAME, rcode("SERVFAIL"))
        self.configure(resolver='resolver: {servers: ["127.0.0.1:%d", "127.0.0.1:%d"], timeout: 3s}\n' % (
            self.server.port, second.port))
        self.sync(0)
        self.assertIn4(OLD)

    def test_first_server_silent(self):
        second = self.dns()
        second.set(NAME, "A", answer(OLD))
        self.server.both(NAME, silence())
        self.configure(resolver='resolver: {servers: ["127.0.0.1:%d", "127.0.0.1:%d"], timeout: 5s}\n' % (
            self.server.port, second.port))
        result = self.sync(0)
        self.assertIn4(OLD)
        self.assertLess(result.seconds, 5.5)

    def test_ipv6_server(self):
        server = self.dns(address="::1")
        server.set(NAME, "A", answer(OLD))
        self.configure(resolver=server.resolver())
        self.sync(0)
        self.assertIn4(OLD)

    def test_silence_costs_one_budget(self):
        self.fence.config("extensions:\n" + "".join(
            "  %d: silent%d.example\n" % (n, n) for n in range(100, 150)) + self.server.resolver("1s"))
        self.server.default = silence()
        result = self.sync(3, "silent100.example", "silent149.example")
        self.assertGreater(result.seconds, 0.9)
        self.assertLess(result.seconds, 2.0, "the budget of a question is 1 s")

    def test_silent_servers_share_one_budget(self):
        servers = [self.dns() for _ in range(3)]
        for server in servers:
            server.default = silence()
        self.configure(resolver="resolver: {servers: [%s], timeout: 1s}\n" % ", ".join(
            '"127.0.0.1:%d"' % server.port for server in servers))
        result = self.sync(3, NAME)
        self.assertLess(result.seconds, 2.0)

    def test_in_flight_is_a_bound(self):
        self.fence.config("extensions:\n" + "".join(
            "  %d: name%d.example\n" % (n, n) for n in range(100, 140))
            + self.server.resolver("5s", ", in-flight: 5"))
        self.server.default = delay(20, by_name)
        self.sync(0)
        self.assertLessEqual(self.server.most_at_once, 5)
        self.assertGreater(self.server.most_at_once, 1)

    def test_no_port_serves_more_than_100_questions(self):
        self.fence.config("extensions:\n" + "".join(
            "  %d: name%d.example\n" % (n, n) for n in range(1000, 1300)) + self.server.resolver("5s"))
        self.server.default = by_name
        self.sync(0)
        self.assertEqual(len(self.net.pbx.elements("sip_hosts4")), 300)
        ports = {}
        for question in self.server.questions():
            ports[question.port] = ports.get(question.port, 0) + 1
        self.assertLessEqual(max(ports.values()), 100)

    def test_resolv_conf_without_search_list_and_hosts_file(self):
        server = self.dns(port=53)
        server.set(NAME, "A", answer(OLD))
        self.cover("/etc/resolv.conf", "search evil.example\noptions ndots:5\nnameserver 127.0.0.1\n")
        self.cover("/etc/hosts", "127.0.0.1 localhost\n%s %s\n" % (PLANTED, NAME))
        self.configure(resolver="")
        self.sync(0)
        self.assertIn4(OLD)
        self.assertEqual({q.name for q in server.questions()}, {NAME})

    def cover(self, path, text):
        """Another file's content at a path, in this test's mount namespace only."""
        if not os.path.exists(path):
            self.skipTest(path + " is missing")
        own = self.fence.config(text, os.path.basename(path))
        target = os.path.realpath(path)
        self.net.pbx.run(["mount", "--bind", own, target])
        self.addCleanup(self.net.pbx.run, ["umount", target])


def by_name(question):
    """An ordinary address made of the name, IPv4 only."""
    if question.type != "A":
        return [question.nothing()]
    number = zlib.crc32(question.name.encode())
    address = "5.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)
    return [question.message(scripted_dns.address_records(question.name, [address], 60))]


if __name__ == "__main__":
    main()
