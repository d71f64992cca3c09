#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What stands in the place of our files: links, hard links, FIFOs, devices, folders, other people's
files, what others may write, and names that a terminal would take for orders.
"""
import contextlib
import os
import re
import socket
import stat
import subprocess

from daemon_case import HOME, HOME2, DaemonCase
from harness import Case, main, privileged

PLAIN = "extensions: {21: 203.0.113.7}\nuser: root\n"
EVIL = "a\x1b]0;owned\x07\nb\u009b31m"
# What a terminal would act on: control characters but for tabs and line feeds, and those of Latin-1.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Base(Case):
    shared_net = True

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def put(self, path, text="x\n", mode=0o644):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def folder(self, name, mode=0o755):
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def run_on(self, config, *arguments, **more):
        """Ends in time: nothing of what stands there may hold it up."""
        argv = [self.fence.argv()[0], "-c", config, "--state-dir", self.fence.state,
                "--run-dir", self.fence.run_dir, *arguments]
        return self.fence.run(argv=argv, timeout=20, **more)

    def assertQuiet(self, result):
        """Nothing in it that a terminal would act on."""
        for name in ("out", "err"):
            self.assertIsNone(CONTROLS.search(getattr(result, name)), (name, result))

    def strange(self, path):
        """(what, how to make it at `path`) of what is no file."""
        yield "a FIFO", lambda: os.mkfifo(path)
        yield "a folder", lambda: os.mkdir(path)
        yield "a socket", lambda: self.bind(path)
        yield "a dead link", lambda: os.symlink("missing", path)
        yield "a link to itself", lambda: os.symlink(os.path.basename(path), path)
        yield "a link to a device", lambda: os.symlink("/dev/zero", path)
        if privileged():
            yield "a device", lambda: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))

    def bind(self, path):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)

    def clear(self, path):
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.unlink(path)


class Config(Base):
    COMMANDS = ("check", "sync", "run", "status")

    def test_no_file(self):
        path = self.path("strange.yaml")
        for what, make in self.strange(path):
            for command in self.COMMANDS:
                with self.subTest(what=what, command=command):
                    self.clear(path)
                    make()
                    result = self.assertCode(self.run_on(path, command), 2)
                    self.assertIn("strange.yaml", result.err)
                    self.assertFalse(self.net.pbx.has_table())
            self.clear(path)

    def test_included(self):
        path = self.path("strange.yaml")
        main_file = self.put(self.path("main.yaml"), PLAIN + "include: [strange.yaml]\n")
        pattern = self.put(self.path("pattern.yaml"), PLAIN + "include: [str*.yaml]\n")
        for what, make in self.strange(path):
            for config in (main_file, pattern):
                with self.subTest(what=what, config=config):
                    self.clear(path)
                    make()
                    # A pattern finds what is there; a link that leads nowhere is there.
                    self.assertCode(self.run_on(config, "check"), 2)
            self.clear(path)

    def test_others_may_write_it(self):
        """The file, its folder, a folder above, and the folder of a link to it."""
        for what in ("file", "folder", "above", "link", "included"):
            with self.subTest(what=what):
                top = self.folder("top-" + what)
                inner = self.folder("top-%s/inner" % what)
                config = self.put(os.path.join(inner, "x.yaml"), PLAIN)
                named, culprit = config, None
                if what == "file":
                    culprit = config
                elif what == "folder":
                    culprit = inner
                elif what == "above":
                    culprit = top
                elif what == "link":
                    culprit = self.folder("links")
                    named = os.path.join(culprit, "x.yaml")
                    os.symlink(config, named)
                else:
                    culprit = self.folder("included")
                    self.put(os.path.join(culprit, "22.yaml"), "extensions: {22: 203.0.113.8}\n")
                    self.put(config, PLAIN + "include: [%s/*.yaml]\n" % culprit)
                self.assertCode(self.run_on(named, "check"), 0)
                os.chmod(culprit, 0o777)
                for command in self.COMMANDS:
                    result = self.assertCode(self.run_on(named, command), 2)
                    self.assertIn("%s may be written by others" % culprit, result.err)
                    self.assertIn("chmod go-w %s" % culprit, result.err)
                self.assertFalse(self.net.pbx.has_table())

    def test_a_sticky_folder(self):
        """As /tmp: one's own can't be replaced, what is another's could be anything."""
        top = self.folder("sticky", 0o1777)
        config = self.put(os.path.join(top, "x.yaml"), PLAIN)
        self.assertCode(self.run_on(config, "check"), 0)
        if privileged():
            other = self.folder("sticky/other")
            inner = self.put(os.path.join(other, "x.yaml"), PLAIN)
            os.chown(other, 1234, 1234)
            result = self.assertCode(self.run_on(inner, "check"), 2)
            self.assertIn("may be written by others", result.err)

    def test_owners(self):
        """Who may write the folder decides whose file it may be."""
        if not privileged():
            self.skipTest("other users can't be switched to here")
        folder = self.folder("owned")
        config = self.put(os.path.join(folder, "x.yaml"), PLAIN)
        os.chown(config, 1234, 1234)
        self.assertCode(self.run_on(config, "check"), 0)
        os.chown(config, 0, 0)
        os.chown(folder, 1234, 1234)
        result = self.assertCode(self.run_on(config, "check"), 2)
        self.assertIn("%s belongs to user number 1234" % folder, result.err)
        # All of it one user's, as with one's own config.
        os.chown(config, 1234, 1234)
        self.assertCode(self.run_on(config, "check"), 0)
        for uid in (1234, 65534):
            prefix = ["setpriv", "--reuid=%d" % uid, "--clear-groups"]
            self.assertCode(self.run_on(config, "check", prefix=prefix), 0)

    def test_names(self):
        """Of files and folders, in errors, in results, in JSON."""
        folder = self.folder("evil" + EVIL)
        for text, code in ((PLAIN, 0), ("nonsense: [\x1b[2J]\n", 2), ("ext: {%s: x}\n" % "\x7f", 2),
                           (PLAIN + 'include: ["%s"]\n' % "\\e[31m*.yaml\\n", 0),
                           (PLAIN + 'include: ["%s"]\n' % "\\e]31m.yaml\\n", 2),
                           ('extensions: {"\\e]0;x\\a": 203.0.113.7}\n', 2),
                           ('extensions: {21: "\\e]0;x\\a.example"}\n', 2),
                           ('user: "\\e[31m"\n', 2),
                           ("extensions: {21: {hosts: [\"a\u009b31m.example\"]}}\n", 2)):
            config = self.put(os.path.join(folder, "c\x1b[31m\n.yaml"), text)
            for arguments in (("check",), ("check", "--json"), ("sync", "--dry-run"),
                              ("sync", "--dry-run", "--json"), ("run",)):
                if code == 0 and arguments == ("run",):
                    continue
                with self.subTest(text=text, arguments=arguments):
                    result = self.assertCode(self.run_on(config, *arguments), code)
                    self.assertQuiet(result)
                    if "--json" in arguments:
                        self.assertTrue(result.json())
        for arguments in (("check",), ("check", "--json"), ("status", "--json"), ("run",)):
            result = self.assertCode(self.run_on(self.path("no" + EVIL), *arguments), 2)
            self.assertQuiet(result)

    def test_state_and_run_folders_with_such_names(self):
        config = self.put(self.path("plain.yaml"), PLAIN)
        evil = self.path("no" + EVIL, "below")
        for command in ("sync", "run", "status", "remove", "refresh"):
            for options in (["--state-dir", evil], ["--run-dir", evil],
                            ["--run-dir", evil, "--state-dir", evil, "--json"]):
                if ("--json" in options and command in ("run", "remove")) or \
                        (command == "run" and "--run-dir" not in options):
                    continue
                with self.subTest(command=command, options=options):
                    result = self.fence.run(argv=[self.fence.argv()[0], "-c", config, "--state-dir",
                                                  self.fence.state, "--run-dir", self.fence.run_dir,
                                                  *options, command], timeout=20)
                    self.assertQuiet(result)
        for bad in ("\x1b[31m", "--\x1b[31m", "--color=\x1b[31m", "--confirm=\x07"):
            self.assertQuiet(self.assertCode(self.run_on(config, bad), 2))

    def test_comments_in_the_script(self):
        """All signs that an id may have, in what nft reads."""
        config = self.put(self.path("signs.yaml"), "extensions: {\"._+-*#@!~\": 203.0.113.7}\n"
                          "peers: {\"*#;\": {hosts: [203.0.113.8]}}\n")
        self.assertCode(self.run_on(config, "check"), 2)
        config = self.put(self.path("signs.yaml"), "extensions: {\"._+-*#@!~\": 203.0.113.7}\n"
                          "peers: {\"$(id)\": {hosts: [203.0.113.8]}}\n")
        self.assertCode(self.run_on(config, "check"), 2)
        config = self.put(self.path("signs.yaml"), "user: root\n"
                          "extensions: {\"._+-*#@!~\": 203.0.113.7}\n"
                          "peers: {\"#*\": {hosts: [203.0.113.8]}}\n"
                          "nftables: {log: {prefix: \"x `id` ; # {\"}}\n")
        script = self.assertCode(self.run_on(config, "sync", "--dry-run"), 0).out
        self.net.pbx.nft(script)
        by_nft = self.net.pbx.table()
        self.net.pbx.run(["nft", "delete", "table", "inet", "sipfence"])
        self.assertCode(self.run_on(config, "sync", "--yes"), 0)
        self.assertEqual(self.net.pbx.table(), by_nft)


class State(Base):
    def setUp(self):
        super().setUp()
        self.config = self.put(self.path("plain.yaml"), PLAIN)

    def test_no_file(self):
        path = os.path.join(self.fence.state, "state")
        for what, make in self.strange(path):
            with self.subTest(what=what):
                self.clear(path)
                make()
                if what == "a dead link":
                    # As if there were none; what is written replaces the link.
                    self.assertCode(self.run_on(self.config, "sync", "--yes"), 0)
                    self.assertTrue(os.path.isfile(path) and not os.path.islink(path))
                    self.assertFalse(os.path.exists(os.path.join(self.fence.state, "missing")))
                    self.run_on(self.config, "remove")
                else:
                    result = self.assertCode(self.run_on(self.config, "sync", "--yes"), 1)
                    self.assertIn(path, result.err)
                    self.assertFalse(self.net.pbx.has_table())
                self.run_on(self.config, "status")
            self.clear(path)

    def test_a_link_to_a_file(self):
        target = self.put(self.path("target"), "root's\n", 0o600)
        path = os.path.join(self.fence.state, "state")
        os.symlink(target, path)
        result = self.assertCode(self.run_on(self.config, "sync", "--yes"), 1)
        self.assertIn("is a symbolic link", result.err)
        os.unlink(path)
        os.link(target, path)
        result = self.assertCode(self.run_on(self.config, "sync", "--yes"), 1)
        self.assertIn("hard link", result.err)
        # Nor is it written through what is left in the place of the new file.
        os.unlink(path)
        for make in (os.symlink, os.link):
            make(target, path + ".new")
            self.assertCode(self.run_on(self.config, "sync", "--yes"), 0)
            self.assertEqual(os.lstat(path).st_nlink, 1)
            self.assertTrue(stat.S_ISREG(os.lstat(path).st_mode))
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            os.unlink(path)
        with open(target) as file:
            self.assertEqual(file.read(), "root's\n")

    def test_others_may_write(self):
        self.assertCode(self.run_on(self.config, "sync", "--yes"), 0)
        self.run_on(self.config, "remove")
        path = os.path.join(self.fence.state, "state")
        for culprit in (path, self.fence.state):
            with self.subTest(culprit=culprit):
                before = os.stat(culprit).st_mode & 0o777
                os.chmod(culprit, 0o666 if culprit == path else 0o777)
                result = self.assertCode(self.run_on(self.config, "sync", "--yes"), 1)
                self.assertIn("%s may be written by others" % culprit, result.err)
                self.assertFalse(self.net.pbx.has_table())
                os.chmod(culprit, before)
        if not privileged():
            return
        os.chown(path, 1234, 1234)
        os.chmod(path, 0o644)
        result = self.assertCode(self.run_on(self.config, "sync", "--yes"), 1)
        self.assertIn("%s belongs to user number 1234" % path, result.err)

    def test_the_run_folder(self):
        os.chmod(self.fence.run_dir, 0o777)
        for command in ("sync", "run", "remove"):
            result = self.assertCode(self.run_on(self.config, command), 1)
            self.assertIn("%s may be written by others" % self.fence.run_dir, result.err)
        self.assertFalse(self.net.pbx.has_table())

    def test_the_lock(self):
        path = os.path.join(self.fence.run_dir, "lock")
        target = self.put(self.path("target"), "root's\n")
        others = [("a link", lambda: os.symlink(target, path)),
                  ("a hard link", lambda: os.link(target, path))]
        for what, make in [*self.strange(path), *others]:
            for command in ("sync", "run", "remove"):
                with self.subTest(what=what, command=command):
                    self.clear(path)
                    make()
                    result = self.assertCode(self.run_on(self.config, command), 1)
                    self.assertIn(path, result.err)
            self.clear(path)
        self.assertFalse(self.net.pbx.has_table())
        with open(target) as file:
            self.assertEqual(file.read(), "root's\n")


class Running(DaemonCase):
    def path(self, *names):
        return os.path.join(self.directory, *names)

    def test_the_state_folder(self):
        """Others may write it, or what is in it is no file: the ports are shut, and it is said."""
        self.points(HOME)
        self.configure("user: root\n")
        self.assertEqual(self.daemon().stop(), 0)
        self.points(HOME2)
        for name in ("state", "state.journal", "config", "history"):
            for what in ("FIFO", "folder", "link", "hard link"):
                with self.subTest(name=name, what=what):
                    path = os.path.join(self.fence.state, name)
                    target = self.path("target")
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                    with open(target, "w") as file:
                        file.write("root's\n")
                    if what == "FIFO":
                        os.mkfifo(path)
                    elif what == "folder":
                        os.mkdir(path)
                    elif what == "link":
                        os.symlink(target, path)
                    else:
                        os.link(target, path)
                    daemon = self.daemon()
                    self.assertAllowed(HOME2)
                    self.assertEqual(daemon.stop(), 0)
                    with open(target) as file:
                        self.assertEqual(file.read(), "root's\n")
                    if os.path.isdir(path):
                        os.rmdir(path)
        os.chmod(self.fence.state, 0o777)
        self.dns_silent()
        daemon = self.daemon()
        self.assertTrue(any("may be written by others" in event.get("error", "")
                            for event in daemon.events()), daemon)
        self.assertEqual(self.hosts4(), [], "an address from a state that others can have written")
        self.assertShut(HOME2)

    def test_the_socket(self):
        """In its place: what is no socket stays, and the ports are shut all the same."""
        self.points(HOME)
        self.configure("user: root\n")
        path = os.path.join(self.fence.run_dir, "control")
        target = self.path("target")
        with open(target, "w") as file:
            file.write("root's\n")
        for make in (lambda: os.symlink(target, path), lambda: os.link(target, path),
                     lambda: os.mkfifo(path), lambda: os.mkdir(path)):
            make()
            daemon = self.daemon()
            self.assertAllowed(HOME)
            self.assertIn("is not a socket", daemon.events("control")[0]["error"])
            self.assertEqual(daemon.stop(), 0)
            self.assertTrue(os.path.lexists(path))
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)
        with open(target) as file:
            self.assertEqual(file.read(), "root's\n")

    def test_somebody_elses_socket(self):
        """Its answers are not the daemon's."""
        if not privileged():
            self.skipTest("other users can't be switched to here")
        self.configure("user: root\n")
        path = os.path.join(self.fence.run_dir, "control")
        os.chmod(self.fence.run_dir, 0o777)
        impostor = subprocess.Popen(
            ["setpriv", "--reuid=1234", "--clear-groups", "/usr/bin/python3", "-c", """
import os, socket, sys
os.umask(0)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
while True:
    with listener.accept()[0] as client:
        try:
            client.recv(65536)
            client.sendall(b'{"ok":true}\\n')
        except OSError:
            pass
""", path], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (impostor.kill(), impostor.wait(), impostor.stdout.close()))
        self.assertEqual(impostor.stdout.readline(), "ready\n")
        for mode in (0o777, 0o755):
            os.chmod(self.fence.run_dir, mode)
            for command in ("status", "refresh", "reload", "remove"):
                result = self.assertCode(self.fence.run(command), 1)
                self.assertIn("process %d of user number 1234 listens" % impostor.pid, result.err)
        # The folder is that user's: then it is the daemon of that user.
        os.chown(self.fence.run_dir, 1234, 1234)
        self.assertCode(self.fence.run("reload"), 0)

    def test_the_pidfile(self):
        self.points(HOME)
        self.configure("user: root\n")
        target = self.path("target")
        path = self.path("pid")
        for make in (os.symlink, os.link):
            with open(target, "w") as file:
                file.write("root's\n")
            os.chmod(target, 0o600)
            for name in (path, path + ".new"):
                make(target, name)
                daemon = self.daemon("--pidfile", path)
                with open(path) as file:
                    self.assertEqual(int(file.read()), daemon.pid)
                self.assertEqual(daemon.stop(), 0)
                self.assertFalse(os.path.lexists(path))
            with open(target) as file:
                self.assertEqual(file.read(), "root's\n")
            self.assertEqual(os.stat(target).st_mode & 0o777, 0o600)

    def test_names_in_the_log(self):
        """Of files, and of the program that has touched our table."""
        evil = "nft\x1b[31m\n"
        self.points(HOME)
        self.fence.config("extensions: {24: 203.0.113.24}\n", "evil\x1b[31m\n.yaml")
        self.configure('user: root\nnftables: {lock: off}\ninclude: ["evil*.yaml"]\n')
        daemon = self.daemon()
        self.assertAllowed(HOME, "203.0.113.24")
        os.symlink("/usr/sbin/nft", self.path(evil))
        self.pbx.run([self.path(evil), "flush", "set", "inet", "sipfence", "sip_hosts4"])
        daemon.wait_event("damage")
        self.assertAllowed(HOME, "203.0.113.24")
        with open(self.path("evil\x1b[31m\n.yaml"), "w") as file:
            file.write("extensions: {24: \x1b[2J}\n")
        for arguments in (("reload",), ("reload", "--json"), ("status",), ("status", "--json"),
                          ("why", "\x1b[31m"), ("why", "24")):
            result = self.fence.run(*arguments)
            self.assertIsNone(CONTROLS.search(result.out + result.err), result)
        self.assertEqual(daemon.stop(), 0)
        self.assertIsNone(CONTROLS.search(daemon.log()), daemon)
        for line in daemon.lines():
            self.assertTrue(line.startswith("event="), line)


if __name__ == "__main__":
    main(at_once=3)
