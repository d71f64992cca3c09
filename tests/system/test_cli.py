#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands, options, exit codes, and what bad configs are answered with (design, sections 4, 5)."""
import os
import pty
import re
import select
import time


from harness import NO_CAPS, SIPFENCE, Case, main, privileged
from scripted_dns import answer

COMMANDS = ("check", "sync", "remove")


def on_terminal(fence, argv, seconds=10, env=None):
    """Runs with a terminal as stdin, stdout and stderr; returns (exit code, what it showed)."""
    leader, follower = pty.openpty()
    child = fence.host.popen(argv, stdin=follower, stdout=follower, stderr=follower,
                             env=dict(fence.environment, **(env or {})))
    os.close(follower)
    shown, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.05)[0]:
            try:
                part = os.read(leader, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        elif child.poll() is not None:
            break
    os.close(leader)
    return child.wait(5), shown.decode(errors="replace")


class Base(Case):
    shared_net = True

    def setUp(self):
        super().setUp()
        self.server = self.dns()
        self.server.set("home21.example", "A", answer("203.0.113.10"))
        self.good = ("extensions:\n  21: home21.example\nlocal-subnets: [192.168.1.0/24]\n"
                     + self.server.resolver())
        self.fence.config(self.good)

    def assertUntouched(self, generation):
        self.assertEqual(self.server.total, 0, "names were asked")
        self.assertEqual(self.net.pbx.generation(), generation, "the kernel was touched")
        self.assertEqual(self.fence.saved(), {}, "state was written")


class Commands(Base):
    def test_version(self):
        result = self.assertCode(self.fence.run(argv=[SIPFENCE, "--version"]), 0)
        self.assertRegex(result.out, r"^sipfence \d+\.\d+")
        self.assertEqual(result.err, "")

    def test_help_names_every_command(self):
        result = self.assertCode(self.fence.run(argv=[SIPFENCE, "--help"]), 0)
        for word in (*COMMANDS, "--state-dir", "--run-dir", "-c"):
            self.assertIn(word, result.out)
        self.assertEqual(result.err, "")

    def test_help_of_a_command(self):
        result = self.assertCode(self.fence.run(argv=[SIPFENCE, "sync", "--help"]), 0)
        for word in ("--dry-run", "--diff", "--json", "--yes", "--confirm"):
            self.assertIn(word, result.out)

    def test_usage_errors(self):
        generation = self.net.pbx.generation()
        for arguments, word in ((["frobnicate"], "frobnicate"), ([], ""), (["sync", "--frob"], "frob"),
                                (["sync", "extra"], "extra"), (["--color=purple", "check"], "purple"),
                                (["sync", "--confirm", "soon"], "soon"),
                                (["check", "--dry-run"], "dry-run")):
            with self.subTest(arguments=arguments):
                result = self.assertCode(self.fence.run(*arguments), 2)
                self.assertIn(word, result.err)
                self.assertEqual(result.out, "")
        self.assertUntouched(generation)

    def test_options_before_and_after_the_command(self):
        folders = ["--state-dir", self.fence.state, "--run-dir", self.fence.run_dir]
        for argv in ([SIPFENCE, "-c", self.fence.path, *folders, "check"],
                     [SIPFENCE, "check", "-c", self.fence.path, *folders],
                     [SIPFENCE, *folders, "check", "-c", self.fence.path],
                     [SIPFENCE, "sync", "--dry-run", *folders, "-c", self.fence.path],
                     [SIPFENCE, "-c", self.fence.path, "sync", "--state-dir=" + self.fence.state,
                      "--run-dir=" + self.fence.run_dir, "--dry-run"]):
            with self.subTest(argv=argv[1:]):
                self.assertCode(self.fence.run(argv=argv), 0)

    def test_check_good(self):
        generation = self.net.pbx.generation()
        result = self.assertCode(self.fence.run("check"), 0)
        self.assertTrue(result.out.strip(), "no summary")
        self.assertEqual(result.err, "")
        self.assertUntouched(generation)

    def test_quiet_sync_is_silent(self):
        result = self.assertCode(self.fence.run("-q", "sync"), 0)
        self.assertEqual(result.out + result.err, "")
        self.assertTrue(self.net.pbx.has_table())

    def test_missing_config(self):
        os.unlink(self.fence.path)
        for command in ("check", "sync"):
            with self.subTest(command=command):
                result = self.assertCode(self.fence.run(command), 2)
                self.assertIn(self.fence.path, result.err)
                self.assertRegex(result.err, "No such file|does not exist")

    def test_sync_and_remove(self):
        self.assertCode(self.fence.run("sync"), 0)
        self.assertTrue(self.net.pbx.has_table())
        self.assertCode(self.fence.run("remove"), 0)
        self.assertFalse(self.net.pbx.has_table())
        self.assertCode(self.fence.run("remove"), 0)

    def test_remove_frees_the_named_table_only(self):
        self.fence.config(self.good + "nftables: {table: other}\n")
        self.net.pbx.nft("table inet sipfence {\n chain mine { }\n}\n")
        self.assertCode(self.fence.run("sync"), 0)
        self.assertTrue(self.net.pbx.has_table("other"))
        self.assertCode(self.fence.run("remove"), 0)
        self.assertFalse(self.net.pbx.has_table("other"))
        self.assertTrue(self.net.pbx.has_table("sipfence"))


class Output(Base):
    def test_dry_run_writes_nothing(self):
        generation = self.net.pbx.generation()
        os.rmdir(self.fence.state)
        result = self.assertCode(self.fence.run("sync", "--dry-run"), 0)
        self.assertIn("203.0.113.10", result.out)
        self.assertEqual(self.net.pbx.generation(), generation)
        self.assertFalse(os.path.exists(self.fence.state), "a dry run made the state folder")
        self.assertEqual(os.listdir(self.fence.run_dir), [])

    def test_dry_run_keeps_saved_state_as_it_is(self):
        self.assertCode(self.fence.run("sync"), 0)
        before = self.fence.saved()
        self.server.set("home21.example", "A", answer("203.0.113.77"))
        for option in ("--dry-run", "--diff"):
            with self.subTest(option=option):
                result = self.assertCode(self.fence.run("sync", option), 0)
                self.assertIn("203.0.113.77", result.out)
                self.assertEqual(self.fence.saved(), before)
        self.assertEqual(list(self.net.pbx.elements("sip_hosts4")), ["203.0.113.10"])

    def test_dry_run_without_privilege(self):
        result = self.assertCode(self.fence.run("sync", "--dry-run", prefix=NO_CAPS), 0)
        self.assertIn("203.0.113.10", result.out)
        self.net.router.nft(result.out)
        self.assertIn("203.0.113.10", self.net.router.elements("sip_hosts4"))

    def test_dry_run_as_another_user(self):
        if not privileged():
            self.skipTest("other users need real root")
        self.assertCode(self.fence.run("sync"), 0)
        for path, _, names in os.walk(self.fence.state):
            for name in names:
                os.chmod(os.path.join(path, name), 0o600)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *NO_CAPS[1:]]
        for option in ("--dry-run", "--diff"):
            with self.subTest(option=option):
                result = self.assertCode(self.fence.run("sync", option, prefix=nobody), 0)
                self.assertIn(self.fence.state, result.err, "the missing saved addresses are not said")

    def test_dry_run_where_the_saved_addresses_cannot_be_read(self):
        self.assertCode(self.fence.run("sync"), 0)
        for name in self.fence.saved():
            os.chmod(os.path.join(self.fence.state, name), 0)
        result = self.assertCode(self.fence.run("sync", "--dry-run", prefix=NO_CAPS), 0)
        self.assertIn(self.fence.state, result.err)
        self.assertIn("203.0.113.10", result.out)

    def test_diff_names_what_comes_and_goes(self):
        self.assertCode(self.fence.run("sync"), 0)
        self.server.set("home21.example", "A", answer("203.0.113.77"))
        result = self.assertCode(self.fence.run("sync", "--diff"), 0)
        self.assertRegex(result.out, r"(?m)^\s*-.*203\.0\.113\.10\b")
        self.assertRegex(result.out, r"(?m)^\s*\+.*203\.0\.113\.77\b")

    def test_diff_of_nothing(self):
        self.assertCode(self.fence.run("sync"), 0)
        result = self.assertCode(self.fence.run("sync", "--diff"), 0)
        self.assertTrue(self.net.pbx.has_table())
        self.assertNotIn("203.0.113.10", result.out)

    def test_json_is_one_stable_document(self):
        first = self.assertCode(self.fence.run("sync", "--json"), 0).json()
        second = self.assertCode(self.fence.run("sync", "--json"), 0).json()
        self.assertIsInstance(first, dict)
        self.assertEqual(set(first), set(second), "the keys depend on what happened")
        self.server.set("home21.example", "A", answer("203.0.113.77"))
        moved = self.assertCode(self.fence.run("sync", "--json"), 0)
        self.assertEqual(set(first), set(moved.json()))
        self.assertIn("203.0.113.77", moved.out)

    def test_json_of_dry_run_and_diff(self):
        for options in (["--dry-run"], ["--diff"]):
            with self.subTest(options=options):
                result = self.assertCode(self.fence.run("sync", "--json", *options), 0)
                self.assertIsInstance(result.json(), dict)
                self.assertIn("203.0.113.10", result.out)
        self.assertFalse(self.net.pbx.has_table())

    def test_no_colour(self):
        self.fence.config("extentions: {}\n")
        for arguments, env in (([], {}), ([], {"NO_COLOR": "1"}), (["--color=never"], {})):
            with self.subTest(arguments=arguments, env=env):
                result = self.assertCode(self.fence.run(*arguments, "check", env=env), 2)
                self.assertNotIn("\x1b", result.out + result.err)
        code, shown = on_terminal(self.fence, self.fence.argv("check"), env={"NO_COLOR": "1"})
        self.assertEqual(code, 2)
        self.assertIn("extentions", shown)
        self.assertNotIn("\x1b", shown)

    def test_colour_when_asked(self):
        self.fence.config("extentions: {}\n")
        result = self.assertCode(self.fence.run("--color=always", "check"), 2)
        self.assertIn("\x1b[", result.err)


class Includes(Base):
    def test_included_extensions_count(self):
        self.fence.config(self.good + "include: [extensions.d/*.yaml]\n")
        self.fence.config("extensions: {'0022': home22.example}\n", "extensions.d/a.yaml")
        self.fence.config("peers: {carrier: {hosts: [198.51.100.0/28]}}\n", "extensions.d/b.yaml")
        self.server.set("home22.example", "A", answer("203.0.113.22"))
        self.assertCode(self.fence.run("sync"), 0)
        hosts = self.net.pbx.elements("sip_hosts4")
        self.assertIn("0022 home22.example", hosts["203.0.113.22"]["comment"])
        self.assertIn("198.51.100.0/28", self.net.pbx.elements("sip_nets4"))

    def test_pattern_that_matches_nothing_is_fine(self):
        os.mkdir(os.path.join(self.directory, "extensions.d"))
        self.fence.config(self.good + "include: [extensions.d/*.yaml]\n")
        self.assertTrue(self.assertCode(self.fence.run("check"), 0).out)

    def test_pattern_in_a_folder_that_does_not_exist_matches_nothing(self):
        self.fence.config(self.good + "include: [extensions.d/*.yaml]\n")
        self.assertTrue(self.assertCode(self.fence.run("check"), 0).out)

    def test_bad_includes(self):
        os.mkdir(os.path.join(self.directory, "folder"))
        self.fence.config("extensions: {21: other21.example}\n", "twice.yaml")
        self.fence.config("extensions: {30: home30.example}\n", "open.yaml", mode=0o666)
        self.fence.config("extensions: {31: home31.example}\ninclude: [loop.yaml]\n", "loop.yaml")
        self.fence.config("refresh: {min: 1m}\n", "wrongkey.yaml")
        for name, words in (("nonesuch.yaml", ["nonesuch.yaml", "No such file|does not exist"]),
                            ("folder", ["folder", "irectory|folder"]),
                            ("sipfence.yaml", ["sipfence.yaml", "include"]),
                            ("loop.yaml", ["loop.yaml", "include"]),
                            ("open.yaml", ["open.yaml", "writ"]),
                            ("twice.yaml", ["twice.yaml:1:", "21"]),
                            ("wrongkey.yaml", ["wrongkey.yaml:1:1", "refresh"])):
            with self.subTest(include=name):
                generation = self.net.pbx.generation()
                self.fence.config(self.good + "include: [%s]\n" % name)
                result = self.assertCode(self.fence.run("sync"), 2)
                for word in words:
                    self.assertRegex(result.err, word)
                self.assertUntouched(generation)

    def test_config_that_others_may_write(self):
        generation = self.net.pbx.generation()
        for mode in (0o666, 0o646, 0o602):
            with self.subTest(mode=oct(mode)):
                os.chmod(self.fence.path, mode)
                for command in ("check", "sync"):
                    result = self.assertCode(self.fence.run(command), 2)
                    self.assertIn(self.fence.path, result.err)
                    self.assertRegex(result.err, "writ")
        self.assertUntouched(generation)

    def test_config_is_a_folder(self):
        os.unlink(self.fence.path)
        os.mkdir(self.fence.path)
        result = self.assertCode(self.fence.run("check"), 2)
        self.assertRegex(result.err, "irectory|folder")


LONG_LABEL = "a" * 64 + ".example"
LONG_NAME = ".".join(["a" * 50] * 6)
PEER = "peers: {p: {hosts: [203.0.113.1]}}\n"

# text, line of the error, words (regular expressions) that the message has
BAD = {
    "not YAML": ("extensions: {21: [home21.example\npeers: }\n", None, []),
    "a tab": ("extensions:\n\t21: home21.example\n", 2, []),
    "empty": ("", None, []),
    "only a comment": ("# nothing\n", None, []),
    "a list on top": ("- extensions\n", 1, []),
    "a scalar on top": ("hello\n", 1, []),
    "two documents": (PEER + "---\n" + PEER, None, []),
    "unknown key": ("frobnicate: 1\n" + PEER, 1, ["frobnicate"]),
    "near miss": ("extentions:\n  21: home21.example\n", 1, ["extentions", "extensions"]),
    "near miss inside": ("extensions:\n  24:\n    host: [bob.example]\n", 3, ["host", "hosts"]),
    "duplicate extension": ("extensions:\n  21: a.example\n  22: b.example\n  21: c.example\n", 4, ["21"]),
    "duplicate key": (PEER + PEER, 2, ["peers"]),
    "name without a dot": ("extensions:\n  21: home21\n", 2, ["home21"]),
    "label over 63": ("extensions:\n  21: %s\n" % LONG_LABEL, 2, ["63"]),
    "name over 253": ("extensions:\n  21: %s\n" % LONG_NAME, 2, ["253"]),
    "underscore at a hyphen's place": ("extensions:\n  21: -home.example\n", 2, []),
    "a blank in a name": ("extensions:\n  21: home 21.example\n", 2, []),
    "bad address": ("extensions:\n  21: 203.0.113.300\n", 2, [r"203\.0\.113\.300"]),
    "bad IPv6 address": ("extensions:\n  21: '2001:db8::g'\n", 2, ["2001:db8::g"]),
    "prefix too long": ("local-subnets: [10.0.0.0/33]\n", 1, [r"10\.0\.0\.0/33"]),
    "host bits": ("local-subnets: [192.168.1.1/24]\n", 1, [r"192\.168\.1\.0/24"]),
    "an extension with a prefix": ("extensions:\n  21: 203.0.113.0/24\n", 2, [r"203\.0\.113\.0/24"]),
    "port 0": (PEER + "services:\n  web: {tcp: [0]}\n", 3, ["0"]),
    "port 70000": (PEER + "services:\n  web: {tcp: [80, 70000]}\n", 3, ["70000"]),
    "range upside down": (PEER + "services:\n  web: {tcp: [90-80]}\n", 3, ["90-80"]),
    "service without ports": (PEER + "services:\n  web: {}\n", 3, ["web"]),
    "service with an empty list": (PEER + "services:\n  web: {tcp: []}\n", 3, []),
    "two services with one port": (PEER + "services:\n  web: {tcp: [80]}\n  api: {tcp: [79-81]}\n", 4,
                                   ["80|79-81", "web"]),
    "a service takes sip's port": (PEER + "services:\n  web: {udp: [5060]}\n", 3, ["5060", "sip"]),
    "unknown service": ("peers:\n  p: {hosts: [203.0.113.1], services: [webb]}\n"
                        "services: {web: {tcp: [80]}}\n", 2, ["webb", "web"]),
    "unknown local service": (PEER + "local-services: [webb]\n", 2, ["webb"]),
    "hold: soon": (PEER + "hold: soon\n", 2, ["soon"]),
    "negative duration": (PEER + "hold: -1h\n", 2, ["-1h"]),
    "overflowing duration": (PEER + "hold: 99999999999999999999h\n", 2, ["99999999999999999999h"]),
    "overflowing by its unit": (PEER + "hold: 9000000000000000000h\n", 2, []),
    "duration without a unit": (PEER + "gone: 300x\n", 2, ["300x"]),
    "min over max": (PEER + "refresh: {min: 10m, max: 30s}\n", 2, ["min|max"]),
    "within without the fixed address": (
        "extensions:\n  24:\n    hosts: [203.0.113.7]\n    within: [198.51.100.0/24]\n", 3,
        [r"203\.0\.113\.7", "within"]),
    "alias loop": ("extensions:\n  21: &a\n    hosts: *a\n", None, []),
    "alias loop of lists": ("extensions:\n  21: &a [*a]\n", None, []),
    "1 MB scalar": ("extensions:\n  21: %s\n" % ("a" * (1 << 20)), 2, []),
    "NUL": (b"extensions:\n  21: home\x0021.example\n", None, []),
    "broken UTF-8": (b"extensions:\n  21: home\xff21.example\n", None, []),
    "not ASCII in a name": ("extensions:\n  21: h\u00f6me.example\n", 2, []),
    "everybody": ("peers: {p: {hosts: [0.0.0.0/0]}}\n", 1, ["0\\.0\\.0\\.0/0"]),
    "loopback": ("extensions:\n  21: 127.0.0.1\n", 2, [r"127\.0\.0\.1"]),
    "nobody": ("hold: 1h\n", None, ["extension", "peer", "local-subnets"]),
    "empty extensions": ("extensions: {}\n", None, []),
    "empty list": ("extensions:\n  21: []\n", 2, []),
    "empty local-subnets": (PEER + "local-subnets: []\n", 2, ["local-subnets|empty"]),
    "wrong type": ("extensions: [home21.example]\n", 1, ["extensions"]),
    "wrong type inside": ("extensions:\n  21: {hosts: {a: b}}\n", 2, []),
    "bad mode": (PEER + "mode: enforced\n", 2, ["enforced", "enforce"]),
    "bad replies": (PEER + "replies: maybe\n", 2, ["maybe"]),
    "bad ipv6-prefix": ("extensions:\n  21: {hosts: [a.example], ipv6-prefix: 129}\n", 2, ["129"]),
    "bad server": (PEER + "resolver: {servers: [dns.example]}\n", 2, [r"dns\.example"]),
    "bad server port": (PEER + "resolver: {servers: ['127.0.0.1:0']}\n", 2, []),
    "bad limit": (PEER + "limits: {addresses-per-host: 0}\n", 2, []),
    "bad table name": (PEER + "nftables: {table: 'a b'}\n", 2, []),
    "bad log rate": (PEER + "nftables: {log: {rate: 6/fortnight}}\n", 2, ["fortnight"]),
    "SRV of an extension": ("extensions:\n  21: {srv: [_sip._udp.a.example]}\n", 2, ["srv"]),
    "not yet: geoip": (PEER + "geoip: {country: /a.mmdb}\n", 2, ["geoip"]),
    "not yet: asterisk": (PEER + "asterisk: {acl: true}\n", 2, ["asterisk"]),
    "not yet: on-change": (PEER + "on-change: [/bin/true]\n", 2, ["on-change"]),
    "not yet: metrics-file": (PEER + "metrics-file: /tmp/x.prom\n", 2, ["metrics-file"]),
    "not yet: require-dnssec": (PEER + "require-dnssec: true\n", 2, ["require-dnssec"]),
    "not yet: sets-only": (PEER + "nftables: {sets-only: {table: 'inet filter', sip: {hosts4: a}}}\n", 2,
                           ["sets-only"]),
    "not yet: country": ("extensions:\n  21: {hosts: [a.example], within: {country: [CA]}}\n", 2, ["country"]),
}


class BadConfigs(Base):
    def test_each_names_its_place(self):
        generation = self.net.pbx.generation()
        for name, (text, line, words) in BAD.items():
            with self.subTest(name):
                self.fence.config(text)
                for command in ("check", "sync"):
                    result = self.assertCode(self.fence.run(command, timeout=20), 2)
                    place = r"(?m)^%s:%s:\d+: error: \S" % (
                        re.escape(self.fence.path), line if line else r"\d+")
                    self.assertRegex(result.err, place)
                    for word in words:
                        self.assertRegex(result.err, word)
                    self.assertEqual(result.out, "")
                    self.assertLess(len(result.err), 20000)
        self.assertUntouched(generation)

    def test_column_line_and_caret(self):
        self.fence.config("hold: 1h\nextensions:\n  21: home21.example\n  22: [b.example, home22]\n")
        result = self.assertCode(self.fence.run("check"), 2)
        lines = result.err.splitlines()
        self.assertTrue(lines[0].startswith(self.fence.path + ":4:19: error:"), result)
        self.assertEqual(lines[1].strip(), "22: [b.example, home22]")
        self.assertEqual(lines[2].strip().strip("~"), "^")
        self.assertEqual(lines[2].index("^"), lines[1].index("home22"))

    def test_all_errors_in_one_go(self):
        self.fence.config("extentions: {}\nhold: soon\nlocal-subnets: [10.0.0.0/33, 10.0.0.1/8]\n"
                          "peers:\n  p: {hosts: [nodot]}\n")
        result = self.assertCode(self.fence.run("check"), 2)
        for line in (1, 2, 3, 5):
            self.assertRegex(result.err, r"(?m)^%s:%d:" % (re.escape(self.fence.path), line))
        self.assertEqual(len(re.findall(r"(?m)^%s:3:" % re.escape(self.fence.path), result.err)), 2)

    def test_control_characters_do_not_reach_the_terminal(self):
        self.fence.config('extensions:\n  21: "home\\e[31m.example"\n')
        result = self.assertCode(self.fence.run("check"), 2)
        self.assertNotIn("\x1b", result.err)

    def test_a_bad_config_leaves_the_table(self):
        self.assertCode(self.fence.run("sync"), 0)
        before = self.net.pbx.ruleset()
        self.fence.config("extensions: {}\n")
        self.assertCode(self.fence.run("sync"), 2)
        self.assertEqual(self.net.pbx.ruleset(), before)

    def test_service_that_nobody_passes_is_a_warning(self):
        self.fence.config(self.good + "services: {web: {tcp: [80]}}\n")
        result = self.assertCode(self.fence.run("check"), 0)
        self.assertRegex(result.err, r"warning: .*web")

    def test_keys_are_text(self):
        self.fence.config("extensions: {0021: home21.example, no: 203.0.113.7, 1e3: 203.0.113.8}\n"
                          + self.server.resolver())
        self.assertCode(self.fence.run("sync"), 0)
        hosts = self.net.pbx.elements("sip_hosts4")
        self.assertTrue(hosts["203.0.113.10"]["comment"].startswith("0021 "), hosts)
        self.assertTrue(hosts["203.0.113.7"]["comment"].startswith("no"), hosts)
        self.assertTrue(hosts["203.0.113.8"]["comment"].startswith("1e3"), hosts)


if __name__ == "__main__":
    main()
