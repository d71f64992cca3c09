#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
The table itself (design, section 6): sync and `nft -f` of the dry run make the same one, for each
example and for generated configs; nobody else's table is touched; damage is put right.

SIPFENCE_TEST_SEED=N repeats the generated configs of a run.
"""
import glob
import ipaddress
import json
import os
import random
import subprocess
import sys
import zlib

import scripted_dns
from harness import REPO, Case, main, reaches, wait_until
from scripted_dns import answer

try:
    import yaml
except ImportError:
    yaml = None

OTHERS = """
table inet firewalld {
	chain filter_PREROUTING {
		type filter hook prerouting priority filter + 10; policy accept;
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop
	}
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		iifname "lo" accept
		jump filter_INPUT_ZONES
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
	chain filter_INPUT_ZONES {
		tcp dport 22 accept
		udp dport 5060 accept
	}
}
table inet f2b-table {
	set addr-set-sshd {
		type ipv4_addr
		elements = { 198.51.100.20, 198.51.100.21 }
	}
	chain f2b-chain {
		type filter hook input priority filter - 1; policy accept;
		tcp dport 22 ip saddr @addr-set-sshd counter reject with icmp port-unreachable
	}
}
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "wan" masquerade
	}
}
table ip sipfence {
	set sip_hosts4 {
		type ipv4_addr
		elements = { 198.51.100.66 }
	}
}
"""


def listed(value):
    return value if isinstance(value, list) else [value]


def targets_of(name):
    """The targets of an SRV name here: _sip._udp.voipco.example has a. and b.voipco.example."""
    domain = name.split(".", 2)[-1]
    return ["a." + domain, "b." + domain]


def by_name(places):
    """Ordinary addresses made of the name; in a prefix of places[name] where the config asks for it.
    Every third name has no IPv6, every fifth two IPv4 addresses."""
    def behave(question):
        number = zlib.crc32(question.name.encode())
        prefixes = [ipaddress.ip_network(text) for text in places.get(question.name, [])]
        if question.type == "SRV":
            return scripted_dns.srv(*targets_of(question.name))(question)
        if question.type == "A":
            prefixes = [p for p in prefixes if p.version == 4] if places.get(question.name) else [
                ipaddress.ip_network("5.0.0.0/8")]
            count = 2 if number % 5 == 0 else 1
        elif question.type == "AAAA":
            prefixes = [p for p in prefixes if p.version == 6] if places.get(question.name) else [
                ipaddress.ip_network("2a01::/16")]
            count = 0 if number % 3 == 0 else 1
        else:
            prefixes, count = [], 0
        if not prefixes or not count:
            return [question.nothing()]
        net = prefixes[number % len(prefixes)]
        addresses = [str(net[(number * 7919 + 104729 * n) % net.num_addresses]) for n in range(count)]
        return [question.message(scripted_dns.address_records(question.name, sorted(set(addresses)), 60))]
    return behave


def places_of(config):
    """{name: prefixes that `within` asks for}."""
    places = {}
    for group in ("extensions", "peers"):
        for owner in (config.get(group) or {}).values():
            if not isinstance(owner, dict) or not owner.get("within"):
                continue
            hosts = owner.get("hosts", [])
            within = owner["within"]
            within = within.get("prefixes", []) if isinstance(within, dict) else within
            names = listed(hosts) + [
                target for name in listed(owner.get("srv", [])) for target in targets_of(name)]
            for name in names:
                places[name] = listed(within)
    return places


def rules(table, chain=None):
    return [item["rule"]["expr"] for item in table
            if "rule" in item and chain in (None, item["rule"]["chain"])]


def networks(table):
    """{name of an interval set: its networks}."""
    found = {}
    for item in table:
        content = item.get("set")
        if content and "interval" in content.get("flags", []):
            found[content["name"]] = [interval(element) for element in content.get("elem", [])]
    return found


def interval(element):
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    if isinstance(element, dict) and "prefix" in element:
        net = ipaddress.ip_network("%s/%d" % (element["prefix"]["addr"], element["prefix"]["len"]))
        return int(net[0]), int(net[-1])
    if isinstance(element, dict) and "range" in element:
        return tuple(int(ipaddress.ip_address(end)) for end in element["range"])
    return (int(ipaddress.ip_address(element)),) * 2


class Base(Case):
    shared_net = True

    def setUp(self):
        super().setUp()
        self.server = self.dns()
        self.pbx, self.other = self.net.pbx, self.net.router
        self.other.run(["nft", "flush", "ruleset"])

    def configure(self, config):
        """A config as a value; JSON is YAML."""
        config = dict(config)
        config["resolver"] = {"servers": ["127.0.0.1:%d" % self.server.port], "timeout": "5s"}
        self.server.default = by_name(places_of(config))
        self.fence.config(json.dumps(config, indent=1))
        return config

    def sync(self, code=0):
        result = self.assertCode(self.fence.run("sync", "--yes"), code)
        self.assertTrue(self.pbx.has_table(), result)
        return result

    def both_ways(self, config):
        """Installs both ways, compares, checks what every table must fulfil; returns the table."""
        config = self.configure(config)
        script = self.assertCode(self.fence.run("sync", "--dry-run"), 0).out
        self.other.run(["nft", "flush", "ruleset"])
        self.other.nft(script)
        self.sync()
        installed, loaded = self.pbx.table(), self.other.table()
        self.assertEqual(installed, loaded)
        # The script loads over an installed table, too, and changes nothing of it.
        self.other.nft(script)
        self.assertEqual(self.other.table(), installed)
        again = self.assertCode(self.fence.run("sync", "--dry-run"), 0).out
        self.other.nft(again)
        self.assertEqual(self.other.table(), installed)
        self.invariants(config, installed)
        generation = self.pbx.generation()
        self.sync()
        self.assertEqual(self.pbx.generation(), generation, "a second sync sent something")
        return installed

    def invariants(self, config, table):
        base = [item["chain"] for item in table if "chain" in item and "hook" in item["chain"]]
        self.assertEqual(len(base), 1)
        accept = config.get("replies") == "accept"
        self.assertEqual((base[0]["hook"], base[0]["prio"], base[0]["policy"]),
                         ("prerouting", -150 if accept else -300, "accept"))
        text = json.dumps([rule for rule in rules(table)])
        if not accept:
            self.assertNotIn('"ct"', text)
        names = {item["set"]["name"] for item in table if "set" in item}
        for service in {"sip", *config.get("services", {})}:
            for kind in ("hosts", "nets", "rejected", *(["revoked"] if accept else [])):
                self.assertLessEqual({"%s_%s4" % (service, kind), "%s_%s6" % (service, kind)}, names)
        self.assertEqual(any("_revoked" in name for name in names), accept)
        # The last verdict of each service stands alone in its rule, and ends its chain.
        last = {"accept": None} if config.get("mode") == "monitor" else {"drop": None}
        flood = {"limit": {"rate": 10000, "burst": 10000, "per": "second", "inv": True}}
        reject = [item["chain"]["name"] for item in table
                  if "chain" in item and any("update" in json.dumps(rule) and "_rejected" in json.dumps(rule)
                                             for rule in rules(table, item["chain"]["name"]))]
        self.assertEqual(len(reject), len({"sip", *config.get("services", {})}), reject)
        for chain in reject:
            self.assertEqual(rules(table, chain)[-1], [last])
            # Beyond so many packets a second it comes at once: nobody writes them down.
            self.assertEqual([rule for rule in rules(table, chain) if last in rule], [[flood, last], [last]])
        drops = [rule for rule in rules(table) if {"drop": None} in rule]
        self.assertEqual(len(drops), 0 if config.get("mode") == "monitor" else 2 * len(reject), drops)
        for item in table:
            for element in item.get("set", {}).get("elem", []):
                comment = element.get("elem", {}).get("comment", "") if isinstance(element, dict) else ""
                self.assertLessEqual(len((comment or "").encode()), 128)
        for name, intervals in networks(table).items():
            intervals.sort()
            for before, after in zip(intervals, intervals[1:]):
                self.assertLess(before[1], after[0], "%s overlaps" % name)


class Examples(Base):
    def test_each(self):
        if not yaml:
            self.skipTest("python3-yaml is missing")
        paths = sorted(glob.glob(os.path.join(REPO, "examples", "*.yaml")))
        self.assertTrue(paths, "no examples")
        for path in paths:
            with self.subTest(os.path.basename(path)):
                self.pbx.run(["nft", "flush", "ruleset"])
                check = self.fence.run(argv=[self.fence.argv()[0], "-c", path, "check"])
                self.assertCode(check, 0)
                with open(path) as file:
                    config = yaml.load(file, yaml.BaseLoader)  # all scalars are text, as in ours
                config.pop("include", None)
                self.both_ways(config)


def generate(dice):
    """A config that uses what the schema has, at random."""
    config = {"local-subnets": [], "extensions": {}, "peers": {}}
    names = ["n%d.example" % number for number in range(12)]

    def host():
        return dice.choice([dice.choice(names), dice.choice(names),
                            "5.1.%d.%d" % (dice.randrange(3), dice.randrange(1, 9)),
                            "2a01:%x::%x" % (dice.randrange(3), dice.randrange(1, 9))])

    def net():
        length = dice.choice([8, 12, 16, 23, 24, 25, 30, 31, 32])
        if dice.random() < 0.4:
            length = dice.choice([16, 32, 48, 56, 64, 65, 127, 128])
            value = (0x2a01 << 112) + (dice.randrange(4) << 64) + dice.randrange(4)
            return str(ipaddress.ip_network((value, length), strict=False))
        value = (dice.choice([5, 10, 93]) << 24) + (dice.randrange(3) << 8) + dice.randrange(256)
        return str(ipaddress.ip_network((value, length), strict=False))

    def distinct(make, most):
        return list(dict.fromkeys(make() for _ in range(dice.randint(1, most))))

    if dice.random() < 0.7:
        config["local-subnets"] = distinct(net, 4)
    for number in range(dice.randint(1, 8)):
        extension = {"hosts": distinct(host, 3)}
        if dice.random() < 0.3:
            extension["ipv6-prefix"] = dice.choice([48, 56, 64, 128])
        if dice.random() < 0.2 and config["local-subnets"]:
            extension["local"] = dice.choice([True, False])
        if dice.random() < 0.3:
            extension = {"hosts": ["w%d.example" % number], "within": ["93.0.0.0/16", "2a02::/32"]}
        if dice.random() < 0.1 and config["local-subnets"]:
            extension = "local"
        config["extensions"]["%04d" % (number * 7)] = extension
    services = []
    if dice.random() < 0.5:
        config["services"] = {}
        for name, ports in (("web", {"tcp": [80, 443]}), ("media", {"udp": ["10000-20000"]}),
                            ("prov", {"tcp": ["8080-8088", 9000], "udp": [69]})):
            if dice.random() < 0.5:
                config["services"][name] = ports
                services.append(name)
        if dice.random() < 0.3:
            config["services"]["sip"] = {"udp": [5060, "5080-5090"], "tcp": [5060], }
        if not config["services"]:
            del config["services"]
    for number in range(dice.randint(0, 5)):
        peer = {"hosts": distinct(dice.choice([host, net]), 4)}
        if dice.random() < 0.3:
            peer["srv"] = ["_sip._udp.trunk%d.example" % number]
        if dice.random() < 0.6:
            peer["services"] = dice.sample(["sip", *services], dice.randint(1, len(services) + 1))
        config["peers"]["peer%d" % number] = peer
    if services and config["local-subnets"] and dice.random() < 0.5:
        config["local-services"] = dice.sample(["sip", *services], dice.randint(1, len(services) + 1))
    if dice.random() < 0.3:
        config["mode"] = dice.choice(["monitor", "enforce"])
    if dice.random() < 0.3:
        config["replies"] = dice.choice(["accept", "drop"])
    if dice.random() < 0.3:
        config["destinations"] = distinct(net, 3)
    if dice.random() < 0.5:
        config["nftables"] = {"log": dice.choice([
            {"rate": "1/second"}, {"rate": "100/hour", "prefix": "knock "}, {"rate": "20/day"}, "off"])}
    for key in ("local-subnets", "extensions", "peers"):
        if not config[key]:
            del config[key]
    return config


class Generated(Base):
    def test_thirty(self):
        seed = int(os.environ.get("SIPFENCE_TEST_SEED", random.randrange(1 << 32)))
        print("generated configs: SIPFENCE_TEST_SEED=%d" % seed, file=sys.stderr)
        for number in range(30):
            config = generate(random.Random("%d.%d" % (seed, number)))
            with self.subTest(seed=seed, number=number):
                self.pbx.run(["nft", "flush", "ruleset"])
                try:
                    self.both_ways(config)
                except Exception:
                    print("config %d: %s" % (number, json.dumps(config)), file=sys.stderr)
                    raise

    def test_one_config_after_the_other(self):
        """The same without a flush between: each swap gives what a first installation gives."""
        seed = int(os.environ.get("SIPFENCE_TEST_SEED", random.randrange(1 << 32)))
        for number in range(8):
            config = generate(random.Random("%d.swap.%d" % (seed, number)))
            with self.subTest(seed=seed, number=number):
                self.both_ways(config)


class Contents(Base):
    HOSTS = {"extensions": {"21": "home21.example", "22": "203.0.113.22"},
             "local-subnets": ["192.168.1.0/24"]}

    def test_monitor_accepts_in_the_end(self):
        table = self.both_ways(dict(self.HOSTS, mode="monitor"))
        self.assertNotIn({"drop": None}, [part for rule in rules(table) for part in rule])

    def test_replies_accept(self):
        table = self.both_ways(dict(self.HOSTS, replies="accept"))
        self.assertIn('"ct"', json.dumps(rules(table)))
        self.assertIn('"reply"', json.dumps(rules(table)))

    def test_replies_accept_and_destinations(self):
        for destinations in (["93.0.0.0/8"], ["2a01::/32"], ["93.0.0.0/8", "2a01::/32"]):
            for mode in ("enforce", "monitor"):
                with self.subTest(destinations=destinations, mode=mode):
                    self.both_ways(dict(self.HOSTS, replies="accept", destinations=destinations, mode=mode))

    def test_log_and_no_log(self):
        text = json.dumps(rules(self.both_ways(self.HOSTS)))
        self.assertIn('"log"', text)
        self.assertIn("sipfence ", text)
        for off in ("off", {"rate": "off"}):
            with self.subTest(off):
                text = json.dumps(rules(self.both_ways(dict(self.HOSTS, nftables={"log": off}))))
                self.assertNotIn('"log"', text)
                self.assertNotIn('"minute"', text)

    def test_nested_prefixes_are_folded(self):
        self.both_ways({"local-subnets": ["10.0.0.0/8"], "peers": {
            "a": {"hosts": ["10.1.0.0/16"]}, "b": {"hosts": ["10.1.2.0/24", "10.0.0.0/8"]},
            "c": {"hosts": ["10.255.255.255", "93.0.0.0/24", "93.0.1.0/24"]}}})
        nets = self.pbx.elements("sip_nets4")
        self.assertIn("10.0.0.0/8", nets)
        self.assertFalse([key for key in nets if key.startswith("10.") and key != "10.0.0.0/8"], nets)
        self.assertIn("b", nets["10.0.0.0/8"]["comment"])

    def test_a_folded_prefix_comes_back(self):
        wide = {"peers": {"a": {"hosts": ["93.1.0.0/16"]}, "b": {"hosts": ["93.1.2.0/24"]}}}
        self.both_ways(wide)
        self.assertEqual(list(self.pbx.elements("sip_nets4")), ["93.1.0.0/16"])
        del wide["peers"]["a"]
        self.both_ways(wide)
        self.assertEqual(list(self.pbx.elements("sip_nets4")), ["93.1.2.0/24"])

    def test_ends_of_a_family(self):
        for prefixes in (["255.255.255.254/31", "ffff:ffff::/32", "0.0.0.0/8", "::/8"],
                         ["255.255.255.255", "0.0.0.0"], ["0.0.0.0/0", "::/0"],
                         ["0.0.0.0/1", "128.0.0.0/1", "8000::/1"]):
            with self.subTest(prefixes):
                self.both_ways(dict(self.HOSTS, destinations=prefixes))

    def test_comments_are_cut(self):
        name = "a" * 60 + "." + "b" * 60 + ".example"
        config = {"extensions": {str(number): "203.0.113.7" for number in range(100, 160)}}
        config["extensions"]["21"] = name
        self.both_ways(config)
        comment = self.pbx.elements("sip_hosts4")["203.0.113.7"]["comment"]
        self.assertTrue(comment.startswith("100"), comment)
        self.assertRegex(comment, r"\+\d+$")
        self.assertLessEqual(len(comment), 128)
        shown = comment.split("+")[0].count("1")
        self.assertGreater(shown, 3)
        other = [value["comment"] for key, value in self.pbx.elements("sip_hosts4").items()
                 if key != "203.0.113.7"]
        self.assertTrue(all(text.startswith("21 aaaa") and len(text) <= 128 for text in other), other)

    def test_awkward_text_in_comments_and_keys(self):
        self.both_ways({"extensions": {"no": "203.0.113.7", "0021": "203.0.113.8"},
                        "nftables": {"log": {"prefix": "a-b_c: "}}})

    def test_port_ranges(self):
        self.both_ways({"local-subnets": ["192.168.1.0/24"],
                        "services": {"sip": {"udp": ["5060-5061", 5080], "tcp": ["1-65535"]}}})
        for port, passes in ((5060, False), (5061, False), (5062, True), (5079, True), (5080, False)):
            with self.subTest(port):
                self.assertEqual(reaches(self.net.rogue, "198.51.100.66", self.pbx, "192.0.2.10", port),
                                 passes)

    def test_monitor_lets_in_and_counts(self):
        self.both_ways(dict(self.HOSTS, mode="monitor"))
        self.assertTrue(reaches(self.net.rogue, "198.51.100.66", self.pbx, "192.0.2.10"))
        self.assertIn("198.51.100.66", self.pbx.elements("sip_rejected4"))
        self.both_ways(dict(self.HOSTS, mode="enforce"))
        self.assertFalse(reaches(self.net.rogue, "198.51.100.66", self.pbx, "192.0.2.10"))

    def test_loopback_passes(self):
        self.both_ways(self.HOSTS)
        self.assertTrue(reaches(self.pbx, "127.0.0.1", self.pbx, "127.0.0.1"))
        self.assertTrue(reaches(self.pbx, "192.0.2.10", self.pbx, "192.0.2.10"))
        self.assertTrue(reaches(self.pbx, "::1", self.pbx, "::1"))


class Revoked(Base):
    def test_who_leaves_is_revoked_and_comes_back(self):
        config = {"extensions": {"21": "home21.example"}, "replies": "accept"}
        self.configure(config)
        self.server.set("home21.example", "A", answer("203.0.113.10"))
        self.sync()
        self.assertEqual(self.pbx.elements("sip_revoked4"), {})
        self.server.set("home21.example", "A", answer("203.0.113.77"))
        self.sync()
        self.assertEqual(list(self.pbx.elements("sip_revoked4")), ["203.0.113.10"])
        self.assertFalse(reaches(self.net.home, "203.0.113.10", self.pbx, "192.0.2.10"))
        # A swap keeps it, a run without a change too.
        config["local-subnets"] = ["192.168.1.0/24"]
        self.configure(config)
        self.sync()
        self.sync()
        self.assertEqual(list(self.pbx.elements("sip_revoked4")), ["203.0.113.10"])
        self.server.set("home21.example", "A", answer("203.0.113.10"))
        self.sync()
        self.assertEqual(list(self.pbx.elements("sip_revoked4")), ["203.0.113.77"])
        self.assertTrue(reaches(self.net.home, "203.0.113.10", self.pbx, "192.0.2.10"))


class Others(Base):
    def test_untouched_byte_for_byte(self):
        self.pbx.nft(OTHERS)
        tables = [("inet", "firewalld"), ("inet", "f2b-table"), ("ip", "nat"), ("ip", "sipfence")]

        def listed():
            return [self.pbx.ruleset("-a", "list", "table", *table) for table in tables]
        before = listed()
        self.configure(Contents.HOSTS)
        self.server.set("home21.example", "A", answer("203.0.113.10"))
        self.sync()
        self.assertEqual(listed(), before, "by the first sync")
        self.server.set("home21.example", "A", answer("203.0.113.77"))
        self.sync()
        self.assertEqual(listed(), before, "by a changed address")
        self.configure(dict(Contents.HOSTS, mode="monitor"))
        self.sync()
        self.assertEqual(listed(), before, "by a swap")
        self.assertCode(self.fence.run("remove"), 0)
        self.assertEqual(listed(), before, "by remove")
        self.assertFalse(self.pbx.has_table())


class Damage(Base):
    def setUp(self):
        super().setUp()
        self.configure({"extensions": {"21": "home21.example", "22": "203.0.113.22"},
                        "local-subnets": ["192.168.1.0/24"]})
        self.server.set("home21.example", "A", answer("203.0.113.10"))
        self.server.set("home21.example", "AAAA", answer("2001:db8:21::10"))
        self.sync()
        self.whole = self.pbx.table()

    def assertPutRight(self):
        self.assertNotEqual(self.pbx.table(), self.whole, "nothing was damaged")
        self.sync()
        self.assertEqual(self.pbx.table(), self.whole)
        generation = self.pbx.generation()
        self.sync()
        self.assertEqual(self.pbx.generation(), generation)

    def test_each_rule_deleted(self):
        found = [item["rule"] for item in self.pbx.nft_json("-a", "list", "table", "inet", "sipfence")
                 if "rule" in item]
        self.assertGreater(len(found), 5)
        for number in range(len(found)):
            with self.subTest(number=number):
                rule = [item["rule"] for item in self.pbx.nft_json("-a", "list", "table", "inet", "sipfence")
                        if "rule" in item][number]
                self.pbx.nft("delete rule inet sipfence %s handle %d\n" % (rule["chain"], rule["handle"]))
                self.assertPutRight()

    def test_by_hand(self):
        base = next(item["chain"]["name"] for item in self.whole
                    if "chain" in item and "hook" in item["chain"])
        chains = [item["chain"]["name"] for item in self.whole if "chain" in item]
        reject = next(name for name in chains if {"drop": None} in [
            part for rule in rules(self.whole, name) for part in rule])
        damages = {
            "element added": "add element inet sipfence sip_hosts4 { 198.51.100.66 }",
            "element added with a comment": 'add element inet sipfence sip_hosts4 { 198.51.100.66 comment "x" }',
            "IPv6 element added": "add element inet sipfence sip_hosts6 { 2001:db8:66::66 }",
            "prefix added": "add element inet sipfence sip_nets4 { 198.51.100.0/24 }",
            "prefix added beside ours": "add element inet sipfence sip_nets4 { 192.168.2.0/24 }",
            "element deleted": "delete element inet sipfence sip_hosts4 { 203.0.113.22 }",
            "prefix deleted": "delete element inet sipfence sip_nets4 { 192.168.1.0/24 }",
            "another comment": 'delete element inet sipfence sip_hosts4 { 203.0.113.22 }\n'
                               'add element inet sipfence sip_hosts4 { 203.0.113.22 comment "mine" }',
            "set flushed": "flush set inet sipfence sip_hosts4",
            "prefixes flushed": "flush set inet sipfence sip_nets4",
            "ports flushed": "flush map inet sipfence ports",
            "base chain flushed": "flush chain inet sipfence " + base,
            "reject chain flushed": "flush chain inet sipfence " + reject,
            "rule put in front": "insert rule inet sipfence %s accept" % base,
            "rule put behind": "add rule inet sipfence %s accept" % reject,
            "chain added": "add chain inet sipfence mine",
            "base chain added": "add chain inet sipfence mine { type filter hook input priority 0; policy accept; }",
            "set added": "add set inet sipfence mine { type ipv4_addr; }",
            "all rules flushed": "flush table inet sipfence",
            "asleep": "add table inet sipfence { flags dormant; }",
            "table deleted": "delete table inet sipfence",
            "another table of this name": "delete table inet sipfence\nadd table inet sipfence\n"
                                          "add set inet sipfence sip_hosts4 { type inet_service; }",
        }
        for name, script in damages.items():
            with self.subTest(name):
                self.pbx.nft(script + "\n")
                self.assertPutRight()

    def test_policy_changed(self):
        base = next(item["chain"]["name"] for item in self.whole
                    if "chain" in item and "hook" in item["chain"])
        self.pbx.nft("add chain inet sipfence %s { policy drop; }\n" % base)
        self.sync(3)  # DNS is dropped, too
        self.assertEqual(self.pbx.table(), self.whole)
        self.sync(0)

    def test_damage_while_dns_is_dead(self):
        self.pbx.nft("flush set inet sipfence sip_hosts4\n")
        self.server.both("home21.example", scripted_dns.silence())
        self.sync(3)
        self.assertEqual(self.pbx.table(), self.whole)

    def test_owned_by_another_process(self):
        # nft, kept open, owns the table that it makes: the kernel refuses it to everybody else.
        self.pbx.nft("delete table inet sipfence\n")
        owner = self.pbx.popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, text=True)
        try:
            owner.stdin.write("add table inet sipfence { flags owner; }\n")
            owner.stdin.flush()
            self.assertTrue(wait_until(lambda: self.pbx.has_table("sipfence")))
            before = self.pbx.generation()
            result = self.assertCode(self.fence.run("sync"), 1)
            self.assertIn("table inet sipfence belongs to another running process", result.err)
            self.assertEqual(self.pbx.generation(), before)
            self.assertCode(self.fence.run("remove"), 1)
            self.assertTrue(self.pbx.has_table("sipfence"))
        finally:
            owner.stdin.close()
            owner.wait(5)
        self.sync()
        self.assertEqual(self.pbx.table(), self.whole)


if __name__ == "__main__":
    main()
