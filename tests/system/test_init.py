#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`sipfence init`: a first config from Asterisk's files and this machine's interfaces, which `check`
takes as it is; never over a file that is there."""
import grp
import os
import shlex
import stat
import subprocess
import tempfile

import yaml

from harness import Case as FenceCase, main, privileged

SIP = """
[general]
bindport=5060
localnet=192.168.1.0/24
register => 2345:topsecret@sip.other.example:5061/1234
register => tls://7:pa@ss@[2001:db8:5::9]:5061
[phone](!)
type=friend
host=dynamic
[21](phone)
secret=ONLYFORASTERISK
[0022](phone)
[no](phone)
[*97](phone)
[sp ace](phone)
[23](phone)
deny=0.0.0.0/0.0.0.0
permit=192.168.1.0/255.255.255.0
[voipco]
type=peer
host=sip.voipco.example
secret=ONLYFORASTERISK
[short]
type=peer
host=gateway
"""
PJSIP = """
[udp]
type=transport
protocol=udp
bind=0.0.0.0:5080
[30]
type=endpoint
aors=30
auth=30
[30]
type=auth
password=ONLYFORASTERISK
[30]
type=aor
max_contacts=2
[21]
type=endpoint
aors=21
[carrier]
type=endpoint
aors=carrier
[carrier]
type=aor
contact=sip:198.51.100.4:5060
[who]
type=identify
endpoint=carrier
match=198.51.100.16/28,2001:db8:9::1
"""


class Case(FenceCase):
    shared_net = True

    def asterisk(self, **files):
        folder = os.path.join(self.directory, "asterisk")
        os.makedirs(folder, exist_ok=True)
        for name, text in files.items():
            with open(os.path.join(folder, name + ".conf"), "w") as file:
                file.write(text)
        return folder

    def path(self, name="etc/sipfence.yaml"):
        return os.path.join(self.directory, name)

    def init(self, *arguments, path=None, host=None, **more):
        argv = [*self.fence.argv()[:1], "-c", path or self.path(), "init", *arguments]
        return self.fence.run(argv=argv, **more)

    def load(self, path=None):
        with open(path or self.path()) as file:
            return file.read()

    def check(self, path=None):
        return self.fence.run(argv=[*self.fence.argv()[:1], "-c", path or self.path(), "check"])


class Found(Case):
    """What it makes of Asterisk's files."""

    def setUp(self):
        super().setUp()
        self.folder = self.asterisk(sip=SIP, pjsip=PJSIP)
        self.result = self.assertCode(self.init("--from", self.folder), 0)
        self.text = self.load()
        self.config = yaml.load(self.text, yaml.BaseLoader)

    def test_check_takes_it_as_it_is(self):
        result = self.assertCode(self.check(), 0)
        self.assertEqual(result.err, "")
        self.assertIn("mode monitor", result.out)

    def test_nobody_is_dropped(self):
        self.assertEqual(self.config["mode"], "monitor")

    def test_each_extension_has_a_place(self):
        self.assertEqual(self.config["extensions"], {
            name: "local" for name in ("21", "0022", "no", "*97", "23", "30")})
        self.assertRegex(self.text, r"(?m)^  21: local +# .*its name.*sip\.conf:\d+")

    def test_what_is_local_in_asterisk_is_said_to_be(self):
        self.assertRegex(self.text, r"(?m)^  23: local +# sip\.conf:\d+ lets it in from private")

    def test_an_endpoint_that_nobody_can_register_as(self):
        folder = self.asterisk(pjsip="[dpma]\ntype=endpoint\ncontext=none\n"
                                     "[33]\ntype=endpoint\naors=33\n")
        os.unlink(self.path())
        self.assertCode(self.init("--from", folder), 0)
        text = self.load()
        self.assertNotIn("dpma", yaml.load(text, yaml.BaseLoader)["extensions"])
        self.assertRegex(text, r"(?m)^# dpma: local +# no phone, most likely.*pjsip\.conf:1")

    def test_the_header_knows_cron(self):
        self.assertIn("sipfence reload (from cron: sipfence sync)", self.text)
        self.assertIn("phones with a fixed address", self.text)

    def test_an_odd_name_is_left_out_and_said(self):
        self.assertRegex(self.text, r"(?m)^ *# left out.*\[sp ace\]")
        self.assertIn("1 extension was left out", self.result.out)

    def test_no_password_gets_out(self):
        for secret in ("ONLYFORASTERISK", "topsecret", "pa@ss", "2345"):
            self.assertNotIn(secret, self.text + self.result.out + self.result.err)

    def test_what_was_found_is_summed_up(self):
        self.assertEqual(self.result.out.splitlines()[:3], [
            self.path() + " was written: 6 extensions, 2 local subnets; mode monitor",
            "4 trunks stand there in comments: take away the # of those that are right",
            "1 extension was left out: letters, digits and ._+-*#@!~ are allowed"])

    def test_trunks_are_proposed_in_comments(self):
        self.assertNotIn("peers", self.config)
        lines = [line[1:] for line in self.text.splitlines()
                 if line.startswith("#peers:") or line.startswith("#  ") and "left out" not in line]
        peers = yaml.load("\n".join(lines[next(i for i, line in enumerate(lines)
                                               if line == "peers:"):]), yaml.BaseLoader)["peers"]
        self.assertEqual(peers, {
            "voipco": ["sip.voipco.example"],
            "sip.other.example": ["sip.other.example"],
            "trunk-6": ["2001:db8:5::9"],
            "carrier": ["198.51.100.4", "198.51.100.16/28", "2001:db8:9::1"]})
        self.assertRegex(self.text, r"(?m)^#  left out.*gateway")

    def test_with_the_trunks_it_is_good_too(self):
        text = "\n".join(
            line[1:] if line.startswith("#peers:")
            or line.startswith("#  ") and line[3] != " " and ": [" in line else line
            for line in self.text.splitlines())
        with open(self.path(), "w") as file:
            file.write(text + "\n")
        self.assertIn("peers:\n  ", text)
        self.assertRegex(self.assertCode(self.check(), 0).out, r"\b4 peers")

    def test_ports_are_those_of_asterisk(self):
        self.assertEqual(self.config["services"], {"sip": {"udp": ["5060", "5080"]}})

    def test_subnets_are_this_machines_private_ones(self):
        self.assertEqual(self.config["local-subnets"], ["192.168.1.0/24", "fd00:1::/64"])
        self.assertRegex(self.text, r"- 192\.168\.1\.0/24 +# interface lan")

    def test_next_steps_are_printed(self):
        for step in ("check", "doctor", "sync --dry-run", "run ", "status", "reload"):
            self.assertIn("sipfence -c %s %s" % (self.path(), step), self.result.out)
        self.assertIn("mode: enforce", self.result.out)
        self.assertNotIn("no private network", self.result.out)

    def test_the_unit_is_for_the_usual_places_alone(self):
        self.assertNotIn("systemctl", self.result.out)

    def test_other_folders_stay_in_the_next_steps(self):
        path = self.path("two words/it's.yaml")
        os.mkdir(os.path.dirname(path))
        state = self.path("some state")
        argv = [*self.fence.argv()[:1], "-c", path, "--state-dir", state, "--run-dir", "/run/x",
                "init", "--from", self.folder]
        out = self.assertCode(self.fence.run(argv=argv), 0).out
        commands = [line.split("sipfence", 1)[1] for line in out.splitlines()
                    if "sipfence -c" in line]
        self.assertEqual(len(commands), 6, out)
        for command in commands:
            self.assertEqual(shlex.split(command.split("; ")[0].split(",")[0])[:6], [
                "-c", path, "--state-dir", state, "--run-dir", "/run/x"])

    def test_later_commands_look_into_that_folder(self):
        self.assertEqual(self.config["asterisk"],
                         {"acl-file": os.path.join(self.folder, "sipfence_acl.conf")})
        def run(*command):
            argv = self.fence.argv(*command)
            argv[argv.index("-c") + 1] = self.path()
            return self.fence.run(argv=argv)
        self.assertCode(run("sync", "--yes"), 0)
        files = run("asterisk", "--json").json()["files"]
        self.assertEqual({os.path.dirname(one["path"]) for one in files}, {self.folder})
        document = run("doctor", "--json").json()
        self.assertIn(os.path.join(self.folder, "sip.conf"),
                      {item["place"].split(":")[0] for item in document["findings"]
                       if item["check"].startswith("asterisk-") and item["place"]})


class Machine(Case):
    def test_no_asterisk(self):
        result = self.assertCode(self.init("--dry-run"), 0)
        if os.path.exists("/etc/asterisk"):
            self.skipTest("this machine has Asterisk's files")
        config = yaml.load(result.out, yaml.BaseLoader)
        self.assertEqual(config["extensions"], {"example": "local"})
        self.assertNotIn("services", config)

    def test_no_private_network(self):
        path = self.path()
        self.fence.host = self.net.rogue
        result = self.assertCode(self.init(), 0)
        self.assertIn("no local subnet; mode monitor\n\nNext:", result.out)
        self.assertIn("This machine is in no private network", result.out)
        self.assertNotIn("local-subnets", yaml.load(self.load(), yaml.BaseLoader))
        checked = self.assertCode(self.check(path), 0)
        self.assertIn("nobody may reach service", checked.err)
        self.assertEqual(checked.err.count("warning"), 1, checked.err)
        if not os.path.exists("/etc/asterisk"):
            self.assertIn("was written: no extension, no local subnet;", result.out)
            self.assertIn("No extension was found: put yours in the place of `example`", result.out)
            self.assertIn('"example" is local', checked.err)

    def test_containers_and_providers_are_in_comments(self):
        pbx = self.net.pbx
        pbx.ip("link add docker0 type bridge\naddress add 172.17.0.1/16 dev docker0\n"
               "link set docker0 up\nlink add cg type bridge\n"
               "address add 100.64.3.4/24 dev cg\nlink set cg up")
        self.addCleanup(pbx.ip, "link del docker0\nlink del cg")
        text = self.assertCode(self.init("--dry-run"), 0).out
        self.assertEqual(yaml.load(text, yaml.BaseLoader)["local-subnets"],
                         ["192.168.1.0/24", "fd00:1::/64"])
        self.assertRegex(text, r"(?m)^# - 172\.17\.0\.0/16 +# interface docker0: containers")
        self.assertRegex(text, r"(?m)^# - 100\.64\.3\.0/24 +# interface cg: a provider")


class Folder(Case):
    """Where Asterisk's files are elsewhere."""

    def config(self, folder):
        result = self.assertCode(self.init("--dry-run", "--from", folder), 0)
        return yaml.load(result.out, yaml.BaseLoader)

    def test_a_folder_with_all_kinds_of_signs(self):
        folder = self.path("it's: a #\"folder\"")
        os.rename(self.asterisk(sip=SIP), folder)
        self.assertEqual(self.config(folder)["asterisk"]["acl-file"], folder + "/sipfence_acl.conf")
        os.chdir(folder)
        self.addCleanup(os.chdir, "/")
        self.assertEqual(self.config(".")["asterisk"]["acl-file"], folder + "/sipfence_acl.conf")

    def test_with_a_main_file(self):
        """Then that is the Asterisk that is to be asked."""
        folder = self.asterisk(sip=SIP, asterisk="[directories]\n")
        self.assertEqual(self.config(folder)["asterisk"]["command"],
                         ["asterisk", "-C", folder + "/asterisk.conf", "-rx"])

    def test_the_usual_one(self):
        if not privileged():
            self.skipTest("/etc is not ours")
        over, real = self.path("over"), self.asterisk(sip=SIP)
        os.mkdir(over)
        os.symlink(real, over + "/asterisk")
        if subprocess.run(["mount", "-t", "overlay", "-o", "lowerdir=%s:/etc" % over, "none", "/etc"],
                          stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no overlay can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "/etc"], check=True)
        for folder in ("/etc/asterisk", "/etc/asterisk/", real):
            self.assertNotIn("asterisk", self.config(folder))
        self.assertIn("21", self.config("/etc/asterisk")["extensions"])


class File(Case):
    def test_it_never_overwrites(self):
        os.makedirs(os.path.dirname(self.path()))
        for name, make in (("a file", lambda path: open(path, "w").close()),
                           ("a folder", os.mkdir),
                           ("a link that leads nowhere",
                            lambda path: os.symlink(path + ".nothing", path))):
            with self.subTest(name):
                make(self.path())
                before = os.lstat(self.path())
                result = self.assertCode(self.init(), 2)
                self.assertIn("is there already", result.err)
                after = os.lstat(self.path())
                self.assertEqual((before.st_ino, before.st_mtime_ns, before.st_size),
                                 (after.st_ino, after.st_mtime_ns, after.st_size))
                self.assertFalse(os.path.exists(self.path() + ".nothing"))
                (os.rmdir if os.path.isdir(self.path()) else os.unlink)(self.path())

    def test_dry_run_writes_nothing(self):
        self.assertCode(self.init("--dry-run"), 0)
        self.assertFalse(os.path.exists(os.path.dirname(self.path())))

    def test_dry_run_beside_a_config(self):
        self.assertCode(self.init(), 0)
        self.assertEqual(self.assertCode(self.init("--dry-run"), 0).out, self.load())

    def test_modes(self):
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)
        self.assertCode(self.init(), 0)
        self.assertEqual(stat.S_IMODE(os.stat(self.path()).st_mode), 0o640)
        self.assertEqual(os.listdir(os.path.dirname(self.path())), ["sipfence.yaml"])

    def test_the_group_of_the_daemon(self):
        if not privileged():
            self.skipTest("only root gives files to a group")
        with open("/etc/group") as file:
            lines = [line for line in file if not line.startswith("sipfence:")]
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines([*lines, "sipfence:x:64321:\n"])
            file.flush()
            os.chmod(file.name, 0o644)
            subprocess.run(["mount", "--bind", file.name, "/etc/group"], check=True)
            self.addCleanup(subprocess.run, ["umount", "/etc/group"], check=True)
        self.assertEqual(grp.getgrnam("sipfence").gr_gid, 64321)
        self.assertCode(self.init(), 0)
        found = os.stat(self.path())
        self.assertEqual((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)),
                         (0, 64321, 0o640))
        folder = os.stat(os.path.dirname(self.path()))
        self.assertEqual((folder.st_gid, stat.S_IMODE(folder.st_mode)), (64321, 0o750))

    def test_a_folder_that_others_may_write(self):
        folder = os.path.dirname(self.path())
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        self.assertCode(self.init(), 1)
        self.assertEqual(os.listdir(folder), [])

    def test_a_path_without_a_slash(self):
        """In the folder where one is, and another below it, which is made."""
        for path in ("my.yaml", "new/my.yaml"):
            argv = [os.path.abspath(self.fence.argv()[0]), "-c", path, "init"]
            self.assertCode(self.fence.run(argv=argv, cwd=self.directory), 0)
            self.assertTrue(os.path.isfile(self.path(path)))
            self.assertCode(self.check(self.path(path)), 0)

    def test_where_the_ports_are_shut_already(self):
        """Who has lost his config is told that this one is not it."""
        self.fence.config("extensions: {21: 203.0.113.10}\n")
        for start, words in ((lambda: self.fence.run("sync", "--yes"), "table inet sipfence is there"),
                             (self.daemon, "its daemon runs")):
            start()
            path = self.path("%d.yaml" % len(words))
            argv = [*self.fence.argv()[:1], "-c", path, "--run-dir", self.fence.run_dir, "init"]
            result = self.assertCode(self.fence.run(argv=argv), 0)
            self.assertIn("guards this machine already (%s)" % words, result.err)
            self.assertIn("mode is monitor", result.err)
        self.net.pbx.nft("flush ruleset")

    def test_folders_that_are_missing(self):
        result = self.assertCode(self.init(path=self.path("a/b/c.yaml")), 1)
        self.assertIn("mkdir -p", result.err)

    def test_asterisk_is_not_there(self):
        result = self.assertCode(self.init("--from", self.directory + "/none"), 2)
        self.assertIn("neither sip.conf nor pjsip.conf", result.err)
        self.assertFalse(os.path.exists(self.path()))

    def test_from_goes_with_init_alone(self):
        result = self.assertCode(self.fence.run("check", "--from", "/etc/asterisk"), 2)
        self.assertIn("--from does not go with check", result.err)


if __name__ == "__main__":
    main()
