#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands, options, exit codes, and what bad configs are answered with (design, sections 4, 5)."""
import fcntl
import json
import os
import pty
import re
import select
import subprocess
import time

from harness import NO_CAPS, SIPFENCE, Case, main, privileged
from scripted_dns import answer, rcode

COMMANDS = ("check", "sync", "run", "status", "refresh", "reload", "why", "history", "audit", "asterisk",
            "export", "remove")


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
        for word in (*COMMANDS, "why WHAT", "refresh [NAME…]", "--state-dir", "--run-dir", "--pidfile", "-c"):
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
                                (["check", "--dry-run"], "dry-run"), (["status", "extra"], "extra"),
                                (["why"], "why WHAT"), (["export"], "for kamailio or freeswitch"), (["why", "21", "extra"], "extra"), (["run", "--dry-run"], "dry-run"),
                                (["sync", "--pidfile=/tmp/x"], "pidfile"), (["status", "--yes"], "yes")):
            with self.subTest(arguments=arguments):
                result = self.assertCode(self.fence.run(*arguments), 2)
                self.assertIn(word, result.err)
                self.assertEqual(result.out, "")
        self.assertUntouched(generation)

    def test_unknown_options_are_named_rightly(self):
        for arguments, words in ((["-zv", "check"], r"-z\b(?!v)"), (["-vz", "check"], r"-z\b"),
                                 (["check", "-qx"], r"-x\b"), (["check", "--frob"], "--frob"),
                                 (["--json=1", "check"], "--json takes no value"),
                                 (["sync", "--yes=no"], "--yes takes no value"),
                                 (["check", "-c"], "-c needs a value"),
                                 (["check", "--config"], "--config needs a value")):
            with self.subTest(arguments):
                # The command's own folders and config are no part of this.
                result = self.assertCode(self.fence.run(argv=[SIPFENCE, *arguments]), 2)
                self.assertRegex(result.err, words)

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

    def assertErrorDocument(self, result, command, code):
        self.assertCode(result, code)
        document = result.json()
        for key, value in (("version", 1), ("result", "error"), ("exit", code)):
            self.assertEqual(document[key], value, result)
        self.assertIn(document["command"], command, result)
        self.assertTrue(document["error"], result)
        self.assertIsInstance(document["next"], str)
        self.assertTrue(result.err, "--json does not silence stderr")
        return document

    def test_json_of_a_config_error(self):
        bad = {"not YAML": "[", "unknown key": "extentions: {}\n", "control characters":
               'extensions: {21: "home\\e[31m.example"}\n', "not UTF-8": b"extensions: {21: h\xff.example}\n"}
        for name, text in bad.items():
            for command in ("check", "sync"):
                with self.subTest(name, command=command):
                    self.fence.config(text)
                    document = self.assertErrorDocument(self.fence.run(command, "--json"), [command], 2)
                    self.assertIn(self.fence.path, document["error"])
        os.unlink(self.fence.path)
        document = self.assertErrorDocument(self.fence.run("sync", "--json"), ["sync"], 2)
        self.assertIn(self.fence.path, document["error"])

    def test_json_of_a_refusal(self):
        with self.subTest("no privilege"):
            self.assertErrorDocument(self.fence.run("sync", "--json", prefix=NO_CAPS), ["sync"], 1)
        with self.subTest("another one is at work"):
            with open(os.path.join(self.fence.run_dir, "lock"), "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                document = self.assertErrorDocument(self.fence.run("sync", "--json"), ["sync"], 1)
            self.assertIn("lock", document["error"])
        with self.subTest("no folder"):
            self.fence.state = "/proc/nonesuch"
            document = self.assertErrorDocument(self.fence.run("sync", "--json"), ["sync"], 1)
            self.assertIn("/proc/nonesuch", document["error"])

    def test_json_of_a_usage_error(self):
        for arguments, word in ((["sync", "--json", "--frob"], "frob"), (["--json", "sync", "extra"], "extra"),
                                (["sync", "--json", "--dry-run", "--diff"], "diff"),
                                (["sync", "--json", "--confirm", "60s"], "terminal")):
            with self.subTest(arguments):
                # A command line that is not understood may not tell which command.
                document = self.assertErrorDocument(self.fence.run(*arguments), ("sync", ""), 2)
                self.assertIn(word, document["error"])

    def test_comments_in_the_kernel_are_escaped(self):
        """Anybody who may write the table wrote them; they reach a terminal, a mail, a program."""
        self.assertCode(self.fence.run("sync"), 0)
        for name, comment in (("escapes", b"a\x1b[31mred\x07"), ("not UTF-8", b"caf\xe9"),
                              ("line end", b"a\nsipfence: error: b"), ("C1", "a\u009b31mb".encode())):
            with self.subTest(name):
                script = (b'add element inet sipfence sip_hosts4 { 198.51.100.9 comment "%s" }\n' % comment)
                path = self.fence.config(script, "script.nft")
                self.net.pbx.run(["nft", "-f", path])
                for arguments in (["sync", "--diff"], ["sync", "--diff", "--json"],
                                  ["sync", "--json", "--dry-run"], ["-v", "sync"]):
                    with self.fence.host.inside():
                        done = subprocess.run(self.fence.argv(*arguments), stdin=subprocess.DEVNULL,
                                              capture_output=True, env=self.fence.environment, timeout=20)
                    self.assertEqual(done.returncode, 0, done)
                    text = (done.stdout + done.stderr).decode("utf-8")
                    self.assertNotRegex(text, "[\x00-\x08\x0b-\x1f\x7f-\x9f]")
                    self.assertNotRegex(text, "(?m)^sipfence: error")
                    if "--json" in arguments:
                        json.loads(done.stdout)
                    elif "--diff" in arguments or "-v" in arguments:
                        self.assertIn("198.51.100.9", text)

    def test_output_that_cannot_be_written(self):
        for arguments, changes in ((["--version"], False), (["--help"], False), (["check"], False),
                                   (["check", "--json"], False), (["sync", "--dry-run"], False),
                                   (["sync", "--dry-run", "--json"], False), (["sync", "--diff"], False),
                                   (["sync", "--diff", "--json"], False), (["-v", "sync"], True),
                                   (["sync", "--json"], True), (["remove"], True)):
            with self.subTest(arguments):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                if arguments == ["remove"]:
                    self.assertCode(self.fence.run("sync"), 0)
                with open("/dev/full", "w") as full:
                    result = self.assertCode(self.fence.run(*arguments, stdout=full), 0 if changes else 1)
                self.assertIn("standard output", result.err)
                self.assertEqual(self.net.pbx.has_table(), "sync" in arguments and changes)

    def test_output_that_cannot_be_written_with_unsure_names(self):
        """The table is changed and a name is not answered: that stays the code."""
        self.server.set("home21.example", "A", rcode("SERVFAIL"))
        for arguments in (["sync"], ["sync", "--json"]):
            with self.subTest(arguments):
                self.net.pbx.run(["nft", "flush", "ruleset"])
                with open("/dev/full", "w") as full:
                    result = self.assertCode(self.fence.run(*arguments, stdout=full), 3)
                self.assertIn("standard output", result.err)
                self.assertTrue(self.net.pbx.has_table())

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

    def test_config_that_a_group_may_write(self):
        if not privileged():
            self.skipTest("other groups need real root")
        for uid, gid, refused in ((0, 0, False), (0, 12345, True), (12345, 12345, False), (12345, 0, False),
                                  (12345, 12346, True)):
            for name in ("sipfence.yaml", "more.yaml"):
                with self.subTest(uid=uid, gid=gid, name=name):
                    self.fence.config("extensions: {22: home22.example}\n", "more.yaml")
                    self.fence.config(self.good + "include: [more.yaml]\n")
                    path = os.path.join(self.directory, name)
                    os.chown(path, uid, gid)
                    os.chmod(path, 0o664)
                    result = self.assertCode(self.fence.run("check"), 2 if refused else 0)
                    if refused:
                        self.assertIn(path, result.err)
                        self.assertRegex(result.err, "writ")
                    os.chmod(path, 0o644)
                    self.assertCode(self.fence.run("check"), 0)
                    os.unlink(path)

    def test_config_is_a_folder(self):
        os.unlink(self.fence.path)
        os.mkdir(self.fence.path)
        result = self.assertCode(self.fence.run("check"), 2)
        self.assertRegex(result.err, "irectory|folder")


LONG_LABEL = "a" * 64 + ".example"
LONG_NAME = ".".join(["a" * 50] * 6)
PEER = "peers: {p: {hosts: [203.0.113.1]}}\n"

# text, the error's line and column (regular expressions), words (too) that the message has
BAD = {
    "not YAML": ("extensions: {21: [home21.example\npeers: }\n", "2", []),
    "a tab": ("extensions:\n\t21: home21.example\n", "2:1", []),
    "empty": ("", "1:1", []),
    "only a comment": ("# nothing\n", "1:1", []),
    "a list on top": ("- extensions\n", "1:1", []),
    "a scalar on top": ("hello\n", "1:1", []),
    "two documents": (PEER + "---\n" + PEER, "2:1", []),
    "unknown key": ("frobnicate: 1\n" + PEER, "1:1", ["frobnicate"]),
    "near miss": ("extentions:\n  21: home21.example\n", "1:1", ["extentions", "extensions"]),
    "near miss inside": ("extensions:\n  24:\n    host: [bob.example]\n", "3:5", ["host", "hosts"]),
    "duplicate extension": ("extensions:\n  21: a.example\n  22: b.example\n  21: c.example\n", "4:3", ["21"]),
    "duplicate key": (PEER + PEER, "2:1", ["peers"]),
    "name without a dot": ("extensions:\n  21: home21\n", "2:7", ["home21"]),
    "label over 63": ("extensions:\n  21: %s\n" % LONG_LABEL, "2:7", ["63"]),
    "name over 253": ("extensions:\n  21: %s\n" % LONG_NAME, "2:7", ["253"]),
    "underscore at a hyphen's place": ("extensions:\n  21: -home.example\n", "2:7", []),
    "a blank in a name": ("extensions:\n  21: home 21.example\n", "2:7", []),
    "bad address": ("extensions:\n  21: 203.0.113.300\n", "2:7", [r"203\.0\.113\.300"]),
    "bad IPv6 address": ("extensions:\n  21: '2001:db8::g'\n", "2:7", ["2001:db8::g"]),
    "prefix too long": ("local-subnets: [10.0.0.0/33]\n", "1:17", [r"10\.0\.0\.0/33"]),
    "host bits": ("local-subnets: [192.168.1.1/24]\n", "1:17", [r"192\.168\.1\.0/24"]),
    "an extension with a prefix": ("extensions:\n  21: 203.0.113.0/24\n", "2:7", [r"203\.0\.113\.0/24"]),
    "port 0": (PEER + "services:\n  web: {tcp: [0]}\n", "3:15", ["0"]),
    "port 70000": (PEER + "services:\n  web: {tcp: [80, 70000]}\n", "3:19", ["70000"]),
    "range upside down": (PEER + "services:\n  web: {tcp: [90-80]}\n", "3:15", ["90-80"]),
    "service without ports": (PEER + "services:\n  web: {}\n", "3:3", ["web"]),
    "service with an empty list": (PEER + "services:\n  web: {tcp: []}\n", "3:14", []),
    "two services with one port": (PEER + "services:\n  web: {tcp: [80]}\n  api: {tcp: [79-81]}\n", "4:15",
                                   ["80|79-81", "web"]),
    "a service takes sip's port": (PEER + "services:\n  web: {udp: [5060]}\n", "3:15", ["5060", "sip"]),
    "unknown service": ("peers:\n  p: {hosts: [203.0.113.1], services: [webb]}\n"
                        "services: {web: {tcp: [80]}}\n", "2:40", ["webb", "web"]),
    "unknown local service": (PEER + "local-services: [webb]\n", "2:18", ["webb"]),
    "hold: soon": (PEER + "hold: soon\n", "2:7", ["soon"]),
    "negative duration": (PEER + "hold: -1h\n", "2:7", ["-1h"]),
    "overflowing duration": (PEER + "hold: 99999999999999999999h\n", "2:7", ["99999999999999999999h"]),
    "overflowing by its unit": (PEER + "hold: 9000000000000000000h\n", "2:7", []),
    "duration without a unit": (PEER + "gone: 300x\n", "2:7", ["300x"]),
    "min over max": (PEER + "refresh: {min: 10m, max: 30s}\n", "2:10", ["min|max"]),
    "within without the fixed address": (
        "extensions:\n  24:\n    hosts: [203.0.113.7]\n    within: [198.51.100.0/24]\n", "3:13",
        [r"203\.0\.113\.7", "within"]),
    "alias loop": ("extensions:\n  21: &a\n    hosts: *a\n", "2:7", []),
    "alias loop of lists": ("extensions:\n  21: &a [*a]\n", "2:7", []),
    "1 MB scalar": ("extensions:\n  21: %s\n" % ("a" * (1 << 20)), "2:7", []),
    "NUL": (b"extensions:\n  21: home\x0021.example\n", "2:11", []),
    "broken UTF-8": (b"extensions:\n  21: home\xff21.example\n", "2:11", []),
    "not ASCII in a name": ("extensions:\n  21: h\u00f6me.example\n", "2:7", []),
    "everybody": ("peers: {p: {hosts: [0.0.0.0/0]}}\n", "1:21", ["0\\.0\\.0\\.0/0"]),
    "loopback": ("extensions:\n  21: 127.0.0.1\n", "2:7", [r"127\.0\.0\.1"]),
    "nobody": ("hold: 1h\n", "1:1", ["extension", "peer", "local-subnets"]),
    "empty extensions": ("extensions: {}\n", "1:13", []),
    "empty list": ("extensions:\n  21: []\n", "2:7", []),
    "empty local-subnets": (PEER + "local-subnets: []\n", "2:16", ["local-subnets|empty"]),
    "wrong type": ("extensions: [home21.example]\n", "1:13", ["extensions"]),
    "wrong type inside": ("extensions:\n  21: {hosts: {a: b}}\n", "2:15", []),
    "bad mode": (PEER + "mode: enforced\n", "2:7", ["enforced", "enforce"]),
    "bad replies": (PEER + "replies: maybe\n", "2:10", ["maybe"]),
    "bad ipv6-prefix": ("extensions:\n  21: {hosts: [a.example], ipv6-prefix: 129}\n", "2:41", ["129"]),
    "bad server": (PEER + "resolver: {servers: [dns.example]}\n", "2:22", [r"dns\.example"]),
    "bad server port": (PEER + "resolver: {servers: ['127.0.0.1:0']}\n", "2:22", []),
    "more than 64 servers": (PEER + "resolver:\n  servers: [%s]\n" % ", ".join(
        "192.0.2.%d" % number for number in range(1, 66)), r"3:\d+", ["64"]),
    "bad limit": (PEER + "limits: {addresses-per-host: 0}\n", "2:30", []),
    "bad table name": (PEER + "nftables: {table: 'a b'}\n", "2:19", []),
    "log prefix with a $": (PEER + "nftables: {log: {prefix: 'a$b '}}\n", "2:26", [r"\$"]),
    "bad log rate": (PEER + "nftables: {log: {rate: 6/fortnight}}\n", "2:24", ["fortnight"]),
    "SRV of an extension": ("extensions:\n  21: {srv: [_sip._udp.a.example]}\n", "2:8", ["srv"]),
    "evict without acl": (PEER + "asterisk: {evict: true}\n", "2:19", ["acl: true"]),
    "a metrics file by a relative path": (PEER + "metrics-file: x.prom\n", "2:15", ["absolute path"]),
    "sets without a table": (PEER + "nftables: {sets-only: {sip: {hosts4: a}}}\n", "2:23", ["inet filter"]),
    "no database: country": ("extensions:\n  21: {hosts: [a.example], within: {country: [CA]}}\n", "2:46",
                         ["country"]),
}


class BadConfigs(Base):
    def test_each_names_its_place(self):
        generation = self.net.pbx.generation()
        for name, (text, place, words) in BAD.items():
            with self.subTest(name):
                self.fence.config(text)
                for command in ("check", "sync"):
                    result = self.assertCode(self.fence.run(command, timeout=20), 2)
                    self.assertRegex(result.err, r"(?m)^%s:%s: error: \S" % (
                        re.escape(self.fence.path), place if ":" in place else place + r":\d+"))
                    for word in words:
                        self.assertRegex(result.err, word)
                    self.assertEqual(result.out, "")
                    self.assertLess(len(result.err), 20000)
        self.assertUntouched(generation)

    def test_words_of_nft_are_no_table_names(self):
        for word in ("table", "ip", "ip6", "inet", "list", "counter", "limit", "map", "set", "add", "delete",
                     "flush", "rule", "chain", "type", "drop", "accept", "ct", "meta", "log", "hook",
                     "auto-merge"):
            with self.subTest(word):
                self.fence.config(self.good + "nftables: {table: %s}\n" % word)
                result = self.assertCode(self.fence.run("check"), 2)
                self.assertRegex(result.err, r"(?m)^%s:5:19: error: .*%s" % (re.escape(self.fence.path), word))
                # nft's word, not ours.
                nft = self.net.router.nft("table inet %s { }\n" % word, check=False)
                self.assertNotEqual(nft.returncode, 0, "nft takes it")

    def test_each_table_name_that_is_taken_loads(self):
        for name in ("sipfence", "tables", "_x", "a-b", "x" * 64, "Table"):
            with self.subTest(name):
                self.fence.config(self.good + "nftables: {table: %s}\n" % name)
                script = self.assertCode(self.fence.run("sync", "--dry-run"), 0).out
                self.net.router.nft(script)
                self.net.router.nft("delete table inet %s\n" % name)

    def test_64_servers_are_not_too_many(self):
        self.fence.config(PEER + "resolver: {servers: [%s]}\n" % ", ".join(
            "192.0.2.%d" % number for number in range(1, 65)))
        self.assertCode(self.fence.run("check"), 0)

    def test_log_prefixes_that_are_taken_load(self):
        for prefix in ("a b", "100%", "it's", "#1", "a;b", "{x}", "x" * 60):
            with self.subTest(prefix):
                self.fence.config(self.good + 'nftables: {log: {prefix: "%s"}}\n' % prefix)
                result = self.fence.run("sync", "--dry-run")
                if result.code == 2:
                    self.assertRegex(result.err, r"(?m)^%s:5:\d+: error:" % re.escape(self.fence.path))
                    continue
                self.assertCode(result, 0)
                self.net.router.nft(result.out)
                self.net.router.nft("delete table inet sipfence\n")

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

    def test_warnings_of_the_config_are_said_where_they_matter(self):
        path = self.fence.config(self.good + "services: {web: {tcp: [80]}}\n")
        for again, said in ((False, True), (True, False)):
            self.assertEqual("warning" in self.assertCode(self.fence.run("sync"), 0).err, said, again)
            # As of a config that stood there before.
            os.utime(path, (1, 1))
        self.assertEqual(self.fence.run("status").err.count("warning"), 0)
        self.assertEqual(self.fence.run("status", "-v").err.count("warning"), 1)
        self.assertEqual(self.fence.run("check").err.count("warning"), 1)
        self.assertEqual(self.fence.run("check", "-q").err, "")

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
