#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
When a sync asks before it enforces: for (protocol, port) pairs that neither the kernel's table nor
the last run enforced, when somebody who is not listed talks to them now (design, section 5).
"""
import os

from harness import Case, main, reaches, wait_until
from scripted_dns import answer, delay, silence, srv

PBX, HOME, TRUNK, SCANNER = "192.0.2.10", "203.0.113.10", "198.51.100.67", "198.51.100.66"
WEB = "services: {web: {udp: [8080]}}\nlocal-services: [sip, web]\n"


class Base(Case):
    shared_net = True

    def setUp(self):
        super().setUp()
        self.server = self.dns()
        self.server.set("home21.example", "A", answer(HOME))
        self.track()
        self.configure()

    def configure(self, more=""):
        self.fence.config("extensions: {21: home21.example}\nlocal-subnets: [192.168.1.0/24]\n"
                          + self.server.resolver() + more)

    def track(self):
        """Connections are tracked in a namespace only where a rule wants it; none is known now."""
        self.net.pbx.nft("table inet filter {\n chain input {\n  type filter hook input priority 0;\n"
                         "  ct state established,related accept\n }\n}\n")
        self.net.pbx.run(["conntrack", "-F"])

    def talk(self, source, port=5060):
        self.assertTrue(reaches(self.net.rogue, source, self.net.pbx, PBX, port))
        self.assertIn(source, self.net.pbx.run(["conntrack", "-L"]).stdout)

    def reboot(self):
        self.net.pbx.run(["nft", "flush", "ruleset"])
        self.track()

    def forget(self):
        for name in self.fence.saved():
            os.unlink(os.path.join(self.fence.state, name))

    def sync(self, *options):
        result = self.assertCode(self.fence.run("sync", *options), 0)
        self.assertNotIn("--yes", result.err)
        return result

    def assertAsks(self, *listed, others=(), options=(), restores=False):
        """Exit 2, and who is listed. What was shut before is kept up, or restored, all the same."""
        before = self.net.pbx.generation()
        result = self.assertCode(self.fence.run("sync", *options), 2)
        self.assertIn("--yes", result.err)
        for address in listed:
            self.assertIn(address, result.err)
        for address in (HOME, *others):
            self.assertNotIn(address, result.err)
        self.assertEqual(self.net.pbx.generation(), before + restores, "it asks, and installs")
        return result


class First(Base):
    needs = ("conntrack",)

    def test_new_machine(self):
        self.talk(TRUNK)
        self.assertTrue(reaches(self.net.home, HOME, self.net.pbx, PBX))
        self.assertAsks(TRUNK)
        # Asking is no answer: the question stays.
        self.assertAsks(TRUNK)
        self.sync("--yes")
        self.sync()

    def test_reboot_with_a_scanner(self):
        self.sync("--yes")
        self.reboot()
        self.talk(SCANNER)
        self.sync()
        self.assertTrue(self.net.pbx.has_table())
        self.assertFalse(reaches(self.net.rogue, SCANNER, self.net.pbx, PBX))

    def test_what_another_table_enforced_is_not_this_ones(self):
        self.sync("--yes")
        self.reboot()
        self.talk(SCANNER)
        self.configure("nftables: {table: other}\n")
        self.assertAsks(SCANNER)

    def test_an_empty_table_enforces_nothing(self):
        self.net.pbx.nft("table inet sipfence { }\n")
        self.talk(TRUNK)
        self.assertAsks(TRUNK)

    def test_a_table_whose_drop_is_gone_enforces_nothing(self):
        """Somebody took the verdicts out by hand, and the state is lost."""
        self.sync("--yes")
        self.forget()
        rules = self.net.pbx.ruleset("list", "table", "inet", "sipfence")
        self.assertRegex(rules, r"(?m)^\s*drop$")
        self.net.pbx.nft("delete table inet sipfence\n" + rules.replace("\tdrop\n", "\taccept\n"))
        self.talk(TRUNK)
        self.assertAsks(TRUNK)

    def test_lost_state_beside_an_enforcing_table(self):
        self.talk(SCANNER)
        self.sync("--yes")
        self.forget()
        self.sync()
        self.configure("hold: 1h\n" + "nftables: {log: {prefix: 'other '}}\n")
        self.forget()
        self.sync()
        self.assertFalse(reaches(self.net.rogue, SCANNER, self.net.pbx, PBX))

    def test_lost_table_and_lost_state(self):
        self.sync("--yes")
        self.reboot()
        self.forget()
        self.talk(SCANNER)
        self.assertAsks(SCANNER)

    def test_damaged_state_and_no_table(self):
        self.sync("--yes")
        self.reboot()
        for name in self.fence.saved():
            with open(os.path.join(self.fence.state, name), "r+b") as file:
                file.truncate(20)
        self.talk(SCANNER)
        self.assertAsks(SCANNER)

    def test_a_new_port_and_who_was_dropped_all_along(self):
        """The rejected set of a table that enforces names nobody who could talk."""
        self.sync("--yes")
        self.assertFalse(reaches(self.net.rogue, SCANNER, self.net.pbx, PBX))
        self.assertIn(SCANNER, self.net.pbx.elements("sip_rejected4"))
        self.talk(TRUNK, 5080)
        self.configure("services: {sip: {udp: [5060, 5080], tcp: [5060, 5061]}}\n")
        self.assertAsks(TRUNK, others=[SCANNER])
        self.sync("--yes")
        self.configure("services: {sip: {udp: [5070, 5080], tcp: [5060, 5061]}}\n")
        self.sync()

    def test_a_new_service(self):
        self.talk(SCANNER)
        self.sync("--yes")
        self.talk(TRUNK, 8080)
        self.configure(WEB)
        self.assertAsks(TRUNK, others=[SCANNER])
        self.assertTrue(reaches(self.net.rogue, TRUNK, self.net.pbx, PBX, 8080))
        self.sync("--yes")
        self.assertFalse(reaches(self.net.rogue, TRUNK, self.net.pbx, PBX, 8080))
        self.sync()

    def test_a_new_port_of_a_service(self):
        self.talk(SCANNER)
        self.sync("--yes")
        self.talk(TRUNK, 5080)
        self.configure("services: {sip: {udp: [5060, 5080], tcp: [5060-5061]}}\n")
        self.assertAsks(TRUNK, others=[SCANNER])
        self.sync("--yes")

    def test_the_same_port_of_another_protocol(self):
        self.configure("services: {sip: {tcp: [5060]}}\n")
        self.sync("--yes")
        self.talk(TRUNK)
        self.configure()
        self.assertAsks(TRUNK)

    def test_a_new_service_that_nobody_else_talks_to(self):
        self.talk(SCANNER)
        self.sync("--yes")
        self.configure(WEB)
        self.sync()

    def test_a_new_service_and_a_reboot(self):
        self.sync("--yes")
        self.reboot()
        self.talk(SCANNER)
        self.talk(TRUNK, 8080)
        self.configure(WEB)
        self.assertAsks(TRUNK, others=[SCANNER], restores=True)
        self.assertTrue(reaches(self.net.rogue, TRUNK, self.net.pbx, PBX, 8080))
        self.assertFalse(reaches(self.net.rogue, SCANNER, self.net.pbx, PBX))

    def test_fewer_ports_are_remembered_as_such(self):
        """A port that was let go and comes back is new."""
        self.configure(WEB)
        self.sync("--yes")
        self.configure()
        self.sync()
        self.talk(TRUNK, 8080)
        self.configure(WEB)
        self.assertAsks(TRUNK)

    def test_replies_no_longer_accepted(self):
        """A trunk that gets in by its replies alone is shut out by nobody's oversight."""
        self.configure("replies: accept\n")
        self.sync("--yes")
        pbx, trunk = self.net.pbx.udp(PBX, 5060), self.net.rogue.udp(TRUNK, 5060)
        self.addCleanup(pbx.close)
        self.addCleanup(trunk.close)

        def replies():
            pbx.sendto(b"question", (TRUNK, 5060))
            trunk.recvfrom(100)
            trunk.sendto(b"reply", (PBX, 5060))
            try:
                return pbx.recvfrom(100)[0] == b"reply"
            except TimeoutError:
                return False

        self.assertTrue(replies())
        self.configure("replies: drop\n")
        self.assertAsks(TRUNK)
        self.assertTrue(replies())
        self.sync("--yes")
        self.assertFalse(replies())
        self.sync()

    def test_to_monitor_and_back(self):
        self.configure("mode: monitor\n")
        self.talk(TRUNK)
        self.sync()
        self.configure()
        self.assertAsks(TRUNK)
        self.sync("--yes")
        self.configure("mode: monitor\n")
        self.assertIn("strangers, who were kept out until now, get in", self.sync().err)
        self.assertNotIn("strangers", self.sync().err)
        self.talk(TRUNK)
        self.configure()
        self.assertAsks(TRUNK)
        # The monitoring run is what counts after a reboot, too.
        self.reboot()
        self.talk(TRUNK)
        self.assertAsks(TRUNK)

    def test_whom_a_monitoring_table_has_noted(self):
        """Though connection tracking knows nothing of him any more, or never did."""
        self.configure("mode: monitor\n")
        self.sync()
        self.talk(TRUNK)
        self.net.pbx.run(["conntrack", "-F"])
        self.configure()
        self.assertAsks(TRUNK)

    def test_remove_forgets(self):
        self.sync("--yes")
        self.assertCode(self.fence.run("remove"), 0)
        self.talk(TRUNK)
        self.assertAsks(TRUNK)

    def test_remove_without_a_table_forgets(self):
        self.sync("--yes")
        self.reboot()
        self.assertCode(self.fence.run("remove"), 0)
        self.talk(TRUNK)
        self.assertAsks(TRUNK)

    def test_dry_runs_remember_nothing(self):
        for option in ("--dry-run", "--diff"):
            self.assertCode(self.fence.run("sync", option), 0)
        self.talk(TRUNK)
        self.assertAsks(TRUNK)

    def test_the_question_as_json(self):
        self.talk(TRUNK)
        document = self.assertAsks(TRUNK, options=["--json"]).json()
        self.assertEqual(document["exit"], 2)
        self.assertEqual([talker["address"] for talker in document["unlisted_talkers"]], [TRUNK])


class Stragglers(Base):
    """Names that have answered do not wait for those that have not."""
    needs = ("conntrack",)
    BUDGET = 3  # seconds

    def straggle(self, behaviour=None):
        self.server.both("trunk.example", behaviour or silence())
        self.fence.config("extensions: {21: home21.example}\npeers: {voipco: trunk.example}\n"
                          + self.server.resolver("%ds" % self.BUDGET))

    def start(self, *options):
        child = self.fence.popen("sync", *options)
        self.addCleanup(lambda: child.poll() is None and child.kill())
        return child

    def assertEnds(self, child, code, *words):
        out, err = child.communicate(timeout=20)
        self.assertEqual(child.returncode, code, out + err)
        for word in words:
            self.assertIn(word, out + err)
        return out + err

    def hosts(self):
        return self.net.pbx.has_table() and list(self.net.pbx.elements("sip_hosts4"))

    def test_who_is_in_stays_in_meanwhile(self):
        """By another name, or without the state of before: who has yet to answer is not shut out."""
        listing = "extensions: {21: home21.example}\npeers: {voipco: %s}\n"
        for change in ("another name", "no state", "no state, by SRV"):
            with self.subTest(change):
                self.setUp()
                self.server.set("trunk.example", "A", answer(TRUNK))
                self.server.set("_sip._udp.voipco.example", "SRV", srv("trunk.example"))
                host = "{srv: _sip._udp.voipco.example}" if "SRV" in change else "trunk.example"
                self.fence.config(listing % host + self.server.resolver())
                self.sync("--yes")
                self.server.both("slow.example", delay(900, answer(TRUNK)))
                if change == "another name":
                    host = "slow.example"
                else:
                    self.forget()
                    if "SRV" not in change:
                        self.server.both("trunk.example", delay(900, answer(TRUNK)))
                self.fence.config((listing % host).replace("}\npeers", ", 22: slow.example}\npeers")
                                  + self.server.resolver("3s"))
                self.server.set("home21.example", "A", answer("203.0.113.98"))
                child = self.start("--yes")
                self.assertTrue(wait_until(lambda: "203.0.113.98" in self.hosts(), 0.8))
                self.assertIn(TRUNK, self.hosts())
                self.assertEnds(child, 0)
                self.assertIn(TRUNK, self.hosts())
                self.assertNotIn(HOME, self.hosts())

    def test_a_new_table_waits_for_the_targets(self):
        self.server.set("trunk.example", "A", answer(TRUNK))
        self.server.set("_sip._udp.voipco.example", "SRV", srv("trunk.example"))
        self.server.both("slow.example", delay(900, answer("203.0.113.40")))
        self.fence.config("extensions: {21: home21.example, 22: slow.example}\n"
                          "peers: {voipco: {srv: _sip._udp.voipco.example}}\n" + self.server.resolver("3s"))
        child = self.start("--yes")
        self.assertFalse(wait_until(self.net.pbx.has_table, 0.6))
        self.assertEnds(child, 0)
        self.assertIn(TRUNK, self.hosts())

    def test_refused_half_way(self):
        """It asks again the next time; and it says what is in force."""
        self.straggle(delay(700, answer(TRUNK)))
        child = self.start()
        self.assertTrue(wait_until(lambda: self.hosts() == [HOME], 0.6))
        os.rename(self.fence.state, self.fence.state + ".away")
        self.addCleanup(os.rename, self.fence.state + ".away", self.fence.state)
        self.assertEnds(child, 1, "that had answered until then are in force")
        self.assertEqual(self.hosts(), [HOME])

    def test_ended_half_way(self):
        """Who was to leave is in force, too: by nobody's hand."""
        self.sync("--yes")
        self.straggle()
        self.server.set("home21.example", "A", answer("203.0.113.98"))
        child = self.start()
        self.assertTrue(wait_until(lambda: len(self.hosts()) == 2, self.BUDGET * 0.7))
        child.terminate()
        child.communicate(timeout=20)
        self.assertEqual(self.hosts(), [HOME, "203.0.113.98"])
        status = self.fence.run("status", "--json").json()
        self.assertEqual((status["table_right"], status["drift"]), (True, None))

    def test_the_others_are_in_at_once(self):
        self.straggle()
        child = self.start()
        self.assertTrue(wait_until(lambda: self.hosts() == [HOME], self.BUDGET * 0.7))
        self.assertIsNone(child.poll(), "it ended before the silent name's budget was over")
        # Whoever is killed now has forgotten nothing.
        self.assertIn(HOME.encode(), self.fence.saved()["state"])
        self.assertEnds(child, 3, "installed table inet sipfence: 1 address", "trunk.example")

    def test_a_late_answer_follows(self):
        self.straggle(delay(700, answer(TRUNK)))
        child = self.start()
        self.assertTrue(wait_until(lambda: self.hosts() == [HOME], 0.6))
        self.assertEnds(child, 0, "installed table inet sipfence: 2 addresses")
        self.assertEqual(sorted(self.hosts()), sorted([HOME, TRUNK]))
        self.assertEqual(self.fence.run("history", "voipco").out.count(TRUNK), 1)

    def test_changes_are_told_as_one(self):
        self.straggle(answer(TRUNK))
        self.sync()
        moved = {"home21.example": "203.0.113.99", "trunk.example": "198.51.100.99"}
        self.server.set("home21.example", "A", answer(moved["home21.example"]))
        self.server.both("trunk.example", delay(700, answer(moved["trunk.example"])))
        child = self.start()
        self.assertTrue(wait_until(lambda: moved["home21.example"] in self.hosts(), 0.6))
        told = self.assertEnds(child, 0, HOME, *moved.values())
        self.assertEqual(told.count("home21.example"), 2, told)  # one is gone, one has come

    def test_who_talks_is_not_shut_out_meanwhile(self):
        self.talk(TRUNK)
        self.straggle(delay(700, answer(TRUNK)))
        child = self.start()
        self.assertEnds(child, 0, "installed table inet sipfence: 2 addresses")
        self.straggle()
        self.forget()
        self.reboot()
        self.talk(TRUNK)
        child = self.start("--yes")
        self.assertFalse(wait_until(self.net.pbx.has_table, self.BUDGET * 0.6))
        self.assertEnds(child, 3, "installed")

    def test_what_changes_nothing_stays_so(self):
        self.straggle()
        for option in ("--dry-run", "--diff"):
            self.assertCode(self.fence.run("sync", option), 3)
            self.assertFalse(self.net.pbx.has_table())


if __name__ == "__main__":
    main()
