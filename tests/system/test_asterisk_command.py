#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`sipfence asterisk` with a stand-in for Asterisk's command line, which answers as Asterisk 16 does,
and also as a real one can't be made to: down, still booting, lying, slow, endless. What the real one
does is tested in tests/asterisk."""

import json
import os
import stat
import time

from asterisk_stand_in import STAND_IN, StandIn, contact, registered
from harness import Case as FenceCase, main, privileged

CONFIG = """
extensions:
  21: 203.0.113.10
  22: [203.0.113.22, "2001:db8::22"]
  23: local
  24: nowhere.invalid
local-subnets: [192.168.1.0/24]
resolver: {servers: ["127.0.0.1:9"], timeout: 100ms}
"""

FILE = """
[sipfence-21]
deny=0.0.0.0/0
deny=::/0
permit=203.0.113.10/32

[sipfence-22]
deny=0.0.0.0/0
deny=::/0
permit=203.0.113.22/32
permit=2001:db8::22/128

[sipfence-23]
deny=0.0.0.0/0
deny=::/0
permit=192.168.1.0/24

[sipfence-24]
deny=0.0.0.0/0
deny=::/0
"""

SIP = """
[general]
bindport=5060
[phone](!)
type=friend
host=dynamic
[21](phone)
secret=x
acl=sipfence-21
[24](phone)
acl=sipfence-24
"""

PJSIP = """
[bound](!)
type=endpoint
acl=sipfence-22
[22](bound)
[22]
type=aor
[23]
type=endpoint
acl = office , sipfence-23 ; two
"""


class Case(FenceCase):
    needs = ("nft",)

    def setUp(self):
        super().setUp()
        stand_in = StandIn(os.path.join(self.fence.directory, "asterisk"))
        self.folder, self.etc, self.file = stand_in.folder, stand_in.etc, stand_in.file
        self.program = stand_in.program
        self.world, self.asked, self.commands = stand_in.world, stand_in.asked, stand_in.commands
        self.write("sip.conf", SIP)
        self.write("pjsip.conf", PJSIP)
        self.write("acl.conf", "#tryinclude sipfence_acl.conf\n")
        self.configure()
        self.know()

    def configure(self, more="", config=CONFIG, command=None):
        self.fence.config(config + "asterisk: {acl-file: %s, command: %s%s}\n" % (
            self.file, json.dumps(command or [self.program, "-rx"]), more))

    def know(self):
        """What a run leaves behind."""
        result = self.fence.run("sync", "--yes")
        self.assertIn(result.code, (0, 3), result)

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.etc, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def content(self):
        with open(self.file) as file:
            return file.read()

    def asterisk(self, *arguments, code=0, **more):
        result = self.fence.run("asterisk", *arguments, **more)
        self.assertEqual(result.code, code, result)
        return result


class Printing(Case):
    def test_the_file_and_nothing_else_is_on_stdout(self):
        result = self.asterisk()
        self.assertTrue(result.out.startswith("; Written by sipfence from "), result)
        self.assertEqual(result.out[result.out.index("\n\n") + 1:], FILE, result)
        self.assertEqual(result.err, "", result)
        self.assertEqual(self.commands(), [])
        self.assertFalse(os.path.exists(self.file))

    def test_what_is_missing_in_asterisks_files_is_named_with_its_line(self):
        self.write("sip.conf", "[general]\n[phone](!)\ntype=peer\n\n[21](phone)\nsecret=x\n"
                   "[24]\nhost=dynamic\nacl=sipfence-240\n[trunk]\ntype=peer\n"
                   "[23](!)\ntype=peer\n")
        self.write("pjsip.conf", "[22]\ntype=aor\n[22]\ntype=endpoint\n")
        self.write("acl.conf", "; #tryinclude sipfence_acl.conf\n")
        result = self.asterisk()
        for line in ("%s/sip.conf:5: [21] is bound to no ACL; add below that line: "
                     "acl=sipfence-21",
                     "%s/sip.conf:9: [24] is bound to another ACL, sipfence-240; add: "
                     "acl=sipfence-24",
                     "%s/pjsip.conf:3: [22] is bound to no ACL; add below that line: "
                     "acl=sipfence-22",
                     "%s/acl.conf does not include the ACLs; add to it: "
                     "#tryinclude sipfence_acl.conf"):
            self.assertIn(line % self.etc + "\n", result.err, result)
        self.assertIn("Asterisk's files have no extension 23\n", result.err, result)
        self.assertIn("asterisk -rx 'sip reload' and asterisk -rx 'module reload res_pjsip.so'",
                      result.err, result)
        self.assertNotIn("trunk", result.err, result)
        self.assertNotIn("[phone]", result.err, result)

    def test_what_comes_first(self):
        """An ACL that is not there keeps out whoever is bound to it."""
        self.write("acl.conf", "")
        first = "sipfence: then `sipfence asterisk --write`, until it ends with 0: whoever is bound to an " \
                "ACL that is not there is kept out"
        result = self.asterisk()
        self.assertEqual(result.err.splitlines()[1:], [first], result)
        self.write("sip.conf", "[21]\ntype=peer\n[24]\ntype=peer\nacl=sipfence-24\n")
        lines = self.asterisk().err.splitlines()
        self.assertEqual(lines[1], first + "; and only then:", lines)
        self.assertIn("sip.conf:1: [21] is bound to no ACL", lines[2], lines)

    def test_what_freepbx_generates_is_not_edited(self):
        self.write("pjsip.conf", "; Do NOT edit this file as it is auto-generated by FreePBX.\n"
                   "[22]\ntype=endpoint\n[23]\ntype=endpoint\nacl=office\n")
        result = self.asterisk()
        for line in ("pjsip.conf:2: [22] is bound to no ACL", "pjsip.conf:6: [23] is bound to another ACL, office"):
            self.assertIn(line + "; FreePBX writes that file anew, so add to %s/pjsip_custom_post.conf: [" % self.etc,
                          result.err, result)
        self.assertIn("pjsip_custom_post.conf: [22](+), and below it: acl=sipfence-22\n", result.err, result)

    def test_a_folder_of_its_own_in_asterisks(self):
        os.mkdir(os.path.join(self.etc, "sipfence"))
        self.file = os.path.join(self.etc, "sipfence", "sipfence_acl.conf")
        self.configure()
        result = self.asterisk()
        self.assertIn("%s/acl.conf does not include the ACLs; add to it: "
                      "#tryinclude sipfence/sipfence_acl.conf\n" % self.etc, result.err, result)
        self.write("acl.conf", "#tryinclude sipfence/sipfence_acl.conf\n")
        self.assertEqual(self.asterisk().err, "")

    def test_files_that_asterisks_group_may_write_are_read(self):
        self.write("pjsip.conf", PJSIP, 0o664)
        self.write("real.conf", "[21]\ntype=peer\n", 0o666)
        os.unlink(os.path.join(self.etc, "sip.conf"))
        os.symlink("real.conf", os.path.join(self.etc, "sip.conf"))
        result = self.asterisk()
        self.assertIn("sip.conf:1: [21] is bound to no ACL", result.err, result)
        self.assertNotIn("pjsip.conf", result.err.replace("res_pjsip", ""), result)

    def test_what_is_no_file_is_said_and_passed_over(self):
        os.unlink(os.path.join(self.etc, "sip.conf"))
        os.mkfifo(os.path.join(self.etc, "sip.conf"))
        result = self.asterisk(timeout=20)
        self.assertIn("%s/sip.conf is something special, not a file" % self.etc, result.err, result)
        self.assertIn("[sipfence-21]", result.out, result)

    def test_without_any_of_asterisks_files(self):
        for name in ("sip.conf", "pjsip.conf", "acl.conf"):
            os.unlink(os.path.join(self.etc, name))
        result = self.asterisk()
        self.assertIn("there is neither %s/sip.conf nor %s/pjsip.conf" % (self.etc, self.etc),
                      result.err, result)
        self.assertNotIn("have no extension", result.err, result)
        self.assertIsNone(self.asterisk("--json").json()["not_in_asterisk"])

    def test_phones_of_the_wizard(self):
        self.write("pjsip_wizard.conf", "[23]\ntype=wizard\nendpoint/acl=sipfence-23\n"
                   "[24]\ntype=wizard\n")
        self.write("pjsip.conf", "[22]\ntype=endpoint\nacl=sipfence-22\n")
        result = self.asterisk()
        self.assertIn("pjsip_wizard.conf:4: [24] is bound to no ACL; add below that line: "
                      "endpoint/acl=sipfence-24", result.err, result)
        self.assertNotIn("[23]", result.err, result)

    def test_an_include_that_cannot_be_followed_is_mentioned(self):
        self.write("sip.conf", "#exec /usr/bin/peers\n[21]\ntype=peer\nacl=sipfence-21\n")
        self.assertIn("Asterisk's files have no extension 24; but they have lines that could not "
                      "be followed", self.asterisk().err)

    def test_an_include_by_the_path_that_asterisk_sees_counts(self):
        for line in ("#include \"/etc/asterisk/sipfence_acl.conf\"", "#tryinclude sipfence_*.conf"):
            with self.subTest(line):
                self.write("acl.conf", line + "\n")
                self.assertNotIn("acl.conf", self.asterisk().err)

    def test_a_section_general_in_acl_conf(self):
        self.write("acl.conf", "[general]\n#tryinclude sipfence_acl.conf\n")
        self.assertIn("acl.conf has a section [general]: Asterisk then discards all ACLs",
                      self.asterisk().err)

    def test_the_document(self):
        self.write("sip.conf", "[21]\ntype=peer\nacl=a,b\n")
        os.unlink(os.path.join(self.etc, "acl.conf"))
        document = self.asterisk("--json").json()
        self.assertEqual((document["version"], document["command"], document["result"],
                          document["exit"], document["acl_file"]),
                         (1, "asterisk", "ok", 0, self.file))
        self.assertEqual(document["acls"], [
            {"extension": "21", "name": "sipfence-21", "permits": ["203.0.113.10"]},
            {"extension": "22", "name": "sipfence-22",
             "permits": ["203.0.113.22", "2001:db8::22"]},
            {"extension": "23", "name": "sipfence-23", "permits": ["192.168.1.0/24"]},
            {"extension": "24", "name": "sipfence-24", "permits": []}])
        self.assertEqual(document["endpoints"][0], {
            "extension": "21", "driver": "chan_sip", "state": "other", "acl": "a,b",
            "path": self.etc + "/sip.conf", "line": 3, "add": "acl=sipfence-21"})
        self.assertEqual([(one["extension"], one["driver"], one["state"], one["acl"], one["add"])
                          for one in document["endpoints"][1:]],
                         [("22", "pjsip", "bound", "sipfence-22", None),
                          ("23", "pjsip", "bound", "sipfence-23", None)])
        self.assertEqual(document["not_in_asterisk"], ["24"])
        self.assertEqual(document["acl_conf_lacks"], "#tryinclude sipfence_acl.conf")
        self.assertEqual([os.path.basename(one["path"]) for one in document["files"]
                          if one["error"]], ["pjsip_wizard.conf", "acl.conf"])

    def test_without_a_state_nothing_is_printed(self):
        os.unlink(os.path.join(self.fence.state, "state"))
        result = self.asterisk("--write", code=1)
        self.assertEqual(result.out, "")
        self.assertIn("state file", result.err)
        self.assertFalse(os.path.exists(self.file))

    def test_options_that_do_not_go_together(self):
        for options in (("--write", "--contacts"), ("--contacts", "--evict"), ("--hangup",),
                        ("--hangup", "--contacts")):
            with self.subTest(options):
                self.asterisk(*options, code=2)
        self.assertEqual(self.commands(), [])


class Writing(Case):
    def test_it_is_written_reloaded_and_read_back(self):
        result = self.asterisk("--write")
        self.assertEqual(result.out, "", result)
        self.assertTrue(self.content().endswith(FILE))
        self.assertEqual(self.commands(), ["module reload acl"] + [
            "acl show sipfence-2%d" % i for i in (1, 2, 3, 4)])
        self.assertEqual(sorted(os.listdir(self.etc)),
                         ["acl.conf", "pjsip.conf", "sip.conf", "sipfence_acl.conf"])

    def test_what_is_right_is_not_written_nor_reloaded_but_read_back(self):
        self.asterisk("--write")
        self.asked()
        before = os.stat(self.file)
        document = self.asterisk("--write", "--json").json()
        self.assertEqual((document["file"], document["reloaded"], document["result"]),
                         ("unchanged", False, "in force"))
        self.assertEqual({one["in_asterisk"] for one in document["acls"]}, {"equal"})
        self.assertEqual(os.stat(self.file).st_ino, before.st_ino)
        self.assertEqual(self.commands(), ["acl show sipfence-2%d" % i for i in (1, 2, 3, 4)])

    def test_an_address_that_moves(self):
        self.asterisk("--write")
        self.configure(config=CONFIG.replace("203.0.113.10", "203.0.113.77"))
        self.know()
        document = self.asterisk("--write", "--json").json()
        self.assertEqual((document["file"], document["reloaded"]), ("written", True))
        self.assertIn("permit=203.0.113.77/32\n", self.content())
        self.assertEqual(self.world()["acls"]["sipfence-21"][-1],
                         ["allow", "203.0.113.77/255.255.255.255"])

    def test_owner_and_mode_are_those_of_acl_conf_or_of_the_file(self):
        if not privileged():
            self.skipTest("cannot give files away")
        os.chown(os.path.join(self.etc, "acl.conf"), 0, 4321)
        os.chmod(os.path.join(self.etc, "acl.conf"), 0o640)
        self.asterisk("--write")

        def owner():
            found = os.stat(self.file)
            return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)
        self.assertEqual(owner(), (0, 4321, 0o640))
        # The administrator's own choice stays.
        os.chown(self.file, 0, 4321)
        os.chmod(self.file, 0o644)
        self.configure(config=CONFIG.replace("203.0.113.10", "203.0.113.77"))
        self.know()
        self.asterisk("--write")
        self.assertEqual(owner(), (0, 4321, 0o644))
        # But Asterisk has to read it: a file that it can't read takes all its ACLs away.
        os.chown(self.file, 0, 0)
        os.chmod(self.file, 0o600)
        self.asterisk("--write")
        self.assertEqual(owner(), (0, 4321, 0o640))

    def test_what_is_not_our_file_is_not_written(self):
        def link():
            os.symlink("/tmp/nothing", self.file)

        def hard():
            os.link(os.path.join(self.etc, "sip.conf"), self.file)

        def folder():
            os.mkdir(self.file)

        def fifo():
            os.mkfifo(self.file)
        for make, words in ((link, "is a symbolic link"), (hard, "has another name"),
                            (folder, "is not a file"), (fifo, "is not a file")):
            with self.subTest(words):
                make()
                before = os.lstat(self.file)
                result = self.asterisk("--write", code=1, timeout=20)
                self.assertIn(words, result.err, result)
                self.assertEqual(os.lstat(self.file), before)
                self.assertEqual(self.commands(), [])
                os.rmdir(self.file) if make is folder else os.unlink(self.file)
        with open(os.path.join(self.etc, "sip.conf")) as file:
            self.assertEqual(file.read(), SIP)

    def test_a_strangers_file_is_not_written(self):
        if not privileged():
            self.skipTest("cannot give files away")
        self.write("sipfence_acl.conf", "theirs")
        os.chown(self.file, 5555, 5555)
        result = self.asterisk("--write", code=1)
        self.assertIn("belongs to user number 5555", result.err, result)
        self.assertEqual(self.content(), "theirs")
        # In a folder of theirs it is none.
        os.chown(self.etc, 5555, 5555)
        self.asterisk("--write")
        self.assertEqual(os.stat(self.file).st_uid, 5555)

    def test_several_at_once(self):
        runs = [self.fence.popen("asterisk", "--write") for _ in range(6)]
        for run in runs:
            out, err = run.communicate(timeout=60)
            self.assertEqual((run.returncode, out), (0, ""), err)
        self.assertTrue(self.content().endswith(FILE))
        self.assertFalse(os.path.exists(self.file + ".new"))

    def test_a_folder_that_everybody_may_write(self):
        os.chmod(self.etc, 0o777)
        self.assertIn("everybody may write the folder", self.asterisk("--write", code=1).err)
        self.assertFalse(os.path.exists(self.file))
        os.chmod(self.etc, 0o775)
        self.asterisk("--write")

    def test_leftovers_of_a_run_that_was_killed(self):
        self.write("sipfence_acl.conf.new", "half", 0o600)
        self.asterisk("--write")
        self.assertFalse(os.path.exists(self.file + ".new"))
        self.assertTrue(self.content().endswith(FILE))

    def test_asterisk_is_down_and_comes_back(self):
        self.world(down=True)
        result = self.asterisk("--write", code=1)
        self.assertIn("sipfence_acl.conf was written", result.err, result)
        self.assertIn("Asterisk is not running", result.err, result)
        self.assertIn("what to do: start it", result.err, result)
        self.assertTrue(self.content().endswith(FILE))
        document = self.asterisk("--write", "--json", code=1).json()
        self.assertEqual((document["result"], document["file"], document["exit"]),
                         ("not asked", "unchanged", 1))
        self.assertIn("Asterisk is not running", document["error"])
        # It is up, but what the file says was never loaded.
        self.world(down=False)
        self.asked()
        self.asterisk("--write")
        self.assertIn("module reload acl", self.commands())

    def test_it_waits_until_asterisk_has_booted(self):
        self.world(boots=time.time() + 3)
        result = self.asterisk("--write")
        self.assertGreater(result.seconds, 1)
        self.assertIn("core waitfullybooted", self.commands())

    def test_a_reload_that_is_none_is_found_out(self):
        self.asterisk("--write")
        self.configure(config=CONFIG.replace("203.0.113.10", "203.0.113.77"))
        self.know()
        self.world(lies=True)
        result = self.asterisk("--write", code=1)
        self.assertIn("the ACL sipfence-21 permits other addresses than it should", result.err)
        self.assertNotIn("sipfence-22", result.err)
        self.assertIn("says that it has reloaded its ACLs, but has not", result.err)
        document = self.asterisk("--write", "--json", code=1).json()
        self.assertEqual([one["in_asterisk"] for one in document["acls"]],
                         ["different", "equal", "equal", "equal"])
        self.assertEqual((document["result"], document["reloaded"]), ("not in force", True))

    def test_another_line_in_acl_conf_that_asterisk_cannot_read(self):
        self.write("acl.conf", "#tryinclude sipfence_acl.conf\n[mine]\npermit=203.0.113.300\n")
        result = self.asterisk("--write", code=1)
        self.assertIn("the ACL sipfence-21 is not there", result.err, result)

    def test_no_acl_conf_and_no_folder(self):
        os.unlink(os.path.join(self.etc, "acl.conf"))
        result = self.asterisk()
        self.assertIn("%s/acl.conf does not exist; make it, with this line: #tryinclude sipfence_acl.conf\n"
                      % self.etc, result.err, result)
        self.file = os.path.join(self.etc, "away", "further", "sipfence_acl.conf")
        self.configure()
        result = self.asterisk()
        self.assertIn("there is no folder for %s/away/further/acl.conf: correct asterisk.acl-file" % self.etc, result.err)
        self.assertNotIn("--write", result.err, "without an Asterisk")
        self.assertNotIn("does not include", result.err)
        result = self.asterisk("--write", code=1)
        self.assertIn("what to do: make the folder, or name a file in another one", result.err)

    def test_a_folder_that_is_read_only(self):
        """As systemd shows it to the unit."""
        shut = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"',
                self.etc]
        if self.fence.host.run(["unshare", "--mount", "true"], check=False).returncode:
            self.skipTest("nothing can be mounted here")
        result = self.asterisk("--write", code=1, prefix=shut)
        self.assertIn("Read-only file system", result.err)
        self.assertIn("ReadWritePaths= in the drop-in examples/systemd/asterisk.conf", result.err)

    def test_acl_conf_does_not_include_it(self):
        self.write("acl.conf", "[mine]\ndeny=::/0\n")
        result = self.asterisk("--write", code=1)
        self.assertIn("acl.conf does not include the ACLs; add to it: "
                      "#tryinclude sipfence_acl.conf", result.err, result)

    def test_an_acl_that_lets_everybody_in(self):
        self.asterisk("--write")
        acls = self.world()["acls"]
        acls["sipfence-22"].remove(["deny", "::/::"])
        self.world(acls=acls, lies=True)
        result = self.asterisk("--write", code=1)
        self.assertIn("the ACL sipfence-22 lacks a deny: it lets strangers in", result.err, result)

    def test_answers_that_are_none(self):
        self.world(garbage=True)
        self.assertIn("is not there", self.asterisk("--write", code=1).err)
        self.world(garbage=False, fails="boom \x1b[31m")
        result = self.asterisk("--write", code=1)
        self.assertIn("has failed with exit code 1", result.err)
        self.assertIn("boom \\x1b[31m", result.err)

    def test_an_asterisk_that_hangs(self):
        self.world(hangs=True)
        result = self.asterisk("--write", code=1)
        self.assertIn("has not answered `module reload acl` within 10 s", result.err, result)
        self.assertLess(result.seconds, 20)

    def test_an_answer_without_an_end(self):
        self.world(endless=True)
        result = self.asterisk("--write", code=1)
        self.assertIn("is longer than 64 MiB", result.err, result)


class Command(Case):
    def test_arguments_are_passed_as_they_are(self):
        odd = [self.program, "; touch /tmp/x", "$(id)", "a b", "-rx"]
        self.configure(command=odd)
        self.asterisk("--contacts")
        asked = self.asked()
        self.assertEqual(asked[0]["argv"][:-1], odd[1:])
        self.assertEqual(set(asked[0]["environment"]) - {"LC_CTYPE"}, {"PATH", "LC_ALL"})
        self.assertEqual((asked[0]["input"], asked[0]["folder"]), ("", "/"))

    def test_a_bare_name_is_looked_up_in_the_usual_folders_alone(self):
        self.configure(command=["no-such-asterisk", "-rx"])
        result = self.asterisk("--contacts", code=1, env={"PATH": self.folder})
        self.assertIn("there is no program no-such-asterisk in the usual folders", result.err)
        self.configure(command=["echo", "-rx"])
        self.asterisk("--contacts", env={"PATH": "/nonexistent"})

    def test_a_program_that_others_may_write_is_not_run(self):
        os.chmod(self.program, 0o777)
        result = self.asterisk("--contacts", code=1)
        self.assertIn("may be written by others", result.err)
        self.assertEqual(self.asked(), [])

    def test_a_config_of_the_daemons_user_has_root_do_nothing(self):
        if not privileged():
            self.skipTest("cannot give files away")
        self.configure(config=CONFIG + "user: nobody\n")
        self.asterisk("--contacts")
        self.asked()
        os.chown(self.fence.path, 65534, 65534)
        for option in ("--write", "--contacts", "--evict"):
            with self.subTest(option):
                result = self.asterisk(option, code=1)
                self.assertIn("belongs to the daemon's user nobody", result.err, result)
        self.assertEqual(self.asked(), [])
        self.assertFalse(os.path.exists(self.file))
        self.asterisk()

    def test_a_command_that_nobody_knows(self):
        self.world(modules=["chan_sip.so", "res_pjsip.so"],
                   contacts=[registered("21", "198.51.100.66:5060")])
        self.asterisk("--write")
        # The module goes between two commands.
        text = STAND_IN.replace('"chan_sip.so" in world["modules"]', "False")
        self.write(self.program, text, 0o755)
        result = self.asterisk("--evict", code=1)
        self.assertIn("does not know the command `sip unregister 21`", result.err, result)


class Contacts(Case):
    HOME = registered("21", "203.0.113.10:5060")
    ROGUE = registered("21", "198.51.100.66:5062")

    def test_those_that_do_not_fit_are_listed(self):
        self.world(contacts=[
            self.ROGUE, contact("22", "sip:22@203.0.113.22:5060;transport=udp", 1),
            contact("22", "sip:22@[2001:db8::66]:5061", 2),
            contact("22", "sip:22@phone.example", 3), registered("20", "198.51.100.1:5060"),
            contact("23", "sips:23@192.168.1.77", 4, aor="floor2")])
        result = self.asterisk("--contacts", code=3)
        self.assertEqual(result.out.splitlines(), [
            "wrong      21  198.51.100.66:5062  chan_sip",
            "wrong      22  [2001:db8::66]:5061  pjsip",
            "unknowable 22  sip:22@phone.example  pjsip",
            "",
            "not in the config:",
            "unlisted   20  198.51.100.1:5060  chan_sip"], result)
        self.assertIn("6 registrations: 2 right, 2 wrong, 1 unknowable, 1 not in the config",
                      result.err, result)
        shown = self.asterisk("--contacts", "-v", code=3).out
        self.assertIn("right      23  192.168.1.77  pjsip", shown)
        found = self.asterisk("--contacts", "--json", code=3).json()
        self.assertEqual([(one["extension"], one["verdict"], one["address"], one["port"])
                          for one in found["registrations"]],
                         [("21", "wrong", "198.51.100.66", 5062),
                          ("22", "wrong", "2001:db8::66", 5061),
                          ("22", "unknowable", None, 0), ("22", "right", "203.0.113.22", 5060),
                          ("23", "right", "192.168.1.77", 0),
                          ("20", "unlisted", "198.51.100.1", 5060)])
        self.assertEqual(found["registrations"][4]["aor"], "floor2")
        self.assertEqual((found["result"], found["exit"], found["unread"]), ("wrong", 3, 0))

    def test_all_is_well(self):
        self.world(contacts=[self.HOME])
        self.assertEqual(self.asterisk("--contacts").out, "")
        self.assertEqual(self.asterisk("--contacts", "--json").json()["result"], "ok")

    def test_a_phone_behind_a_nat_is_said_to_be_one(self):
        """And is left alone: nobody knows where it is. In the local subnets it is known."""
        self.world(contacts=[contact("22", "sip:22@192.168.7.7:5060")])
        result = self.asterisk("--contacts")
        self.assertRegex(result.out, "^unknowable .*a private address: perhaps the phone's own")
        self.assertIn("rewrite_contact=yes", result.err)
        self.asterisk("--evict")
        self.assertNotIn("UPDATE", str(self.commands()))
        self.world(contacts=[contact("22", "sip:22@192.168.1.77:5060")])
        self.assertRegex(self.asterisk("--contacts", code=3).out, "^wrong ")

    def test_those_of_a_driver_that_is_gone_do_not_count(self):
        self.world(contacts=[self.ROGUE], modules=["res_pjsip.so"])
        result = self.asterisk("--contacts")
        self.assertEqual(result.out, "", result)
        self.assertIn("of a driver that is not loaded", result.err)

    def test_what_callers_write_is_only_text(self):
        self.world(contacts=[
            contact("22", "sip:22@198.51.100.66:5060", user_agent="No such command 'x'"),
            contact("22", "sip:\x1b[31m@198.51.100.66:5060\nkey  : /SIP/Registry/23", 2),
            ["/registrar/contact/23;@x", "{broken"]])
        result = self.asterisk("--contacts", code=3)
        self.assertEqual(result.out.splitlines(), [
            "wrong      22  198.51.100.66:5060  pjsip",
            "unknowable 22  sip:\\x1b[31m@198.51.100.66:5060\\x0akey  : /SIP/Registry/23  pjsip"],
            result)
        self.assertNotIn("\x1b", result.out + result.err)
        self.assertIn("1 entry of Asterisk's database cannot be read", result.err)

    def test_a_large_answer(self):
        self.world(contacts=[contact("22", "sip:22@203.0.113.22:%d;%s" % (i + 1, "x" * 400), i)
                             for i in range(12000)] + [self.ROGUE])
        result = self.asterisk("--contacts", code=3)
        self.assertIn("12001 registrations: 12000 right, 1 wrong", result.err, result)

    def test_asterisk_is_down(self):
        self.world(down=True)
        result = self.asterisk("--contacts", "--json", code=1)
        self.assertEqual(result.json()["result"], "error")
        self.assertIn("Asterisk is not running", result.json()["error"])


class Evicting(Case):
    ROGUES = [registered("21", "198.51.100.66:5062"),
              contact("22", "sip:22@198.51.100.66:5063", 7)]
    OTHERS = [contact("22", "sip:22@203.0.113.22:5060", 8), registered("20", "198.51.100.1:5060"),
              contact("22", "sip:22@phone.example", 9)]

    def setUp(self):
        super().setUp()
        self.world(contacts=self.ROGUES + self.OTHERS,
                   channels=["SIP/21-0000000a", "SIP/20-0000000b", "PJSIP/22-0000000c",
                             "SIP/210-0000000d"])

    def test_nobody_is_evicted_while_the_acls_are_not_in_force(self):
        result = self.asterisk("--evict", "--hangup", code=1)
        self.assertIn("nobody was evicted: 2 ACLs are not in force in Asterisk, and an evicted "
                      "phone would be back at once", result.err, result)
        self.assertEqual(self.world()["contacts"], self.ROGUES + self.OTHERS)
        self.assertEqual(len(self.world()["channels"]), 4)
        document = self.asterisk("--evict", "--json", code=1).json()
        self.assertEqual(document["result"], "not evicted")

    def test_those_that_do_not_fit_are_thrown_out(self):
        self.asterisk("--write")
        self.asked()
        result = self.asterisk("--evict")
        self.assertIn("evicted    21  198.51.100.66:5062  chan_sip\n"
                      "evicted    22  198.51.100.66:5063  pjsip\n", result.out, result)
        self.assertEqual(self.world()["contacts"], self.OTHERS)
        self.assertEqual(len(self.world()["channels"]), 4)
        commands = self.commands()
        self.assertLess(commands.index("acl show sipfence-21"),
                        commands.index("sip unregister 21"))
        self.assertNotIn("acl show sipfence-23", commands)
        self.asterisk("--contacts")
        self.assertEqual(self.asterisk("--evict", "--json").json()["result"], "ok")

    def test_their_calls_are_ended_when_that_is_asked_for(self):
        self.asterisk("--write")
        document = self.asterisk("--evict", "--hangup", "--json").json()
        self.assertEqual(document["hung_up"], ["SIP/21-0000000a", "PJSIP/22-0000000c"])
        self.assertEqual([one["evicted"] for one in document["registrations"]],
                         [True, True, False, False, False])
        self.assertEqual(self.world()["channels"], ["SIP/20-0000000b", "SIP/210-0000000d"])

    def test_one_that_is_back_at_once_is_reported(self):
        self.asterisk("--write")
        self.write("sip.conf", "[21]\ntype=peer\n")
        self.world(returns=True)
        result = self.asterisk("--evict", code=1)
        self.assertIn("2 registrations are still there after the eviction", result.err, result)
        self.assertIn("sip.conf:1: [21] is not bound to its ACL", result.err, result)
        self.assertIn("wrong      21", result.out, result)

    def test_a_name_that_would_be_another_command_is_left_alone(self):
        self.asterisk("--write")
        self.world(contacts=[contact("22", "sip:22@198.51.100.66:5063", aor="22' OR '1'='1")])
        result = self.asterisk("--evict", code=1)
        self.assertIn("1 registration is still there", result.err, result)
        self.assertNotIn("UPDATE", " ".join(self.commands()))


if __name__ == "__main__":
    main(at_once=3)
