#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Who the daemon is while it works, what it can still reach (Landlock), and which system calls it can
still make (seccomp). What is forbidden is tried by a driver, `confined`, that shuts itself off with
the daemon's own functions.
"""
import contextlib
import ctypes
import os
import pwd
import signal
import socket
import subprocess
import tempfile

from daemon_case import HOME, HOME2, DaemonCase
from harness import SIPFENCE, Case, Daemon, end, main, privileged, sanitized, wait_until

CONFINED = os.path.join(os.path.dirname(os.environ.get(
    "ASK", os.path.join(os.path.dirname(SIPFENCE), "../../tests/system/ask"))), "confined")
NOBODY = 65534
NET_ADMIN = "0000000000001000"
NONE = "0000000000000000"
SIGSYS = -signal.SIGSYS


def has_user(name):
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


class Base(DaemonCase):
    def needs_root(self):
        if not privileged():
            self.skipTest("other users can't be switched to here")

    def status_of(self, daemon):
        with open("/proc/%d/status" % daemon.pid) as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def assertPrivileges(self, daemon, uid=NOBODY, bounding=NONE):
        status = self.status_of(daemon)
        self.assertEqual(status["Uid"].split(), [str(uid)] * 4)
        self.assertEqual(status["Gid"].split(), [str(uid)] * 4)
        self.assertEqual(status["Groups"].split(), [])
        self.assertEqual([status["Cap" + kind] for kind in ("Eff", "Prm", "Inh", "Amb", "Bnd")],
                         [NET_ADMIN, NET_ADMIN, NONE, NONE, bounding])
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertEqual(status["Umask"], "0077")
        self.assertEqual(status["Seccomp"], "0" if sanitized() else "2")

    def with_passwd(self, line):
        """A prefix: the program sees another /etc/passwd."""
        path = os.path.join(self.directory, "passwd")
        with open(path, "w") as file:
            file.write("root:x:0:0:root:/root:/bin/sh\n" + line)
        return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/passwd; exec "$@"', path]

    def owners(self, *folders):
        found = {}
        for folder in folders or (self.fence.state, self.fence.run_dir):
            for path in [folder] + [os.path.join(folder, name) for name in os.listdir(folder)]:
                found[os.path.relpath(path, self.directory)] = os.lstat(path).st_uid
        return found


class Identity(Base):
    def test_as_an_unprivileged_user(self):
        self.needs_root()
        self.points(HOME)
        self.configure("user: nobody\n")
        with open("/dev/null") as inherited:
            os.set_inheritable(inherited.fileno(), True)
            daemon = self.daemon(pass_fds=[inherited.fileno()],
                                 prefix=["setpriv", "--groups=4,27", "--inh-caps=+chown"])
            targets = []
            for fd in os.listdir("/proc/%d/fd" % daemon.pid):
                with contextlib.suppress(FileNotFoundError):  # it is at work
                    targets += [os.readlink("/proc/%d/fd/%s" % (daemon.pid, fd))] * (int(fd) > 2)
        self.assertNotIn("/dev/null", targets)
        self.assertPrivileges(daemon)
        # Its memory and descriptors are root's to look at.
        self.assertEqual(os.stat("/proc/%d/fd" % daemon.pid).st_uid, 0)
        event = daemon.events("privilege")[0]
        self.assertEqual(event["user"], "nobody")
        self.assertEqual(event["seccomp"], "off" if sanitized() else "on")
        self.assertEqual(event["landlock"], str(self.landlock() or "off"))
        self.assertNotIn("next", event)
        self.assertAllowed(HOME)
        # Sockets to the kernel that are opened now, changes, repairs, a new state file: all of it.
        self.points(HOME2)
        self.assertAllowed(HOME2)
        self.configure("user: nobody\nnftables: {table: other}\n")
        self.assertTrue(daemon.request({"request": "reload"})["ok"])
        self.assertTrue(self.pbx.has_table("other"))
        self.assertEqual(daemon.stop(), 0)
        self.assertIn(HOME2.encode(), self.fence.saved()["state"])
        self.assertEqual(set(self.owners().values()), {NOBODY})

    @staticmethod
    def landlock():
        return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))

    def test_the_default_user(self):
        self.needs_root()
        self.points(HOME)
        self.configure()
        daemon = self.daemon(prefix=self.with_passwd("sipfence:x:4711:4711::/:/usr/sbin/nologin\n"))
        self.assertPrivileges(daemon, 4711)
        self.assertEqual(daemon.events("privilege")[0]["user"], "sipfence")
        self.assertAllowed(HOME)

    def test_without_the_default_user(self):
        if has_user("sipfence") and not privileged():
            self.skipTest("there is such a user here")
        self.points(HOME)
        self.configure()
        daemon = self.daemon(prefix=self.with_passwd("") if privileged() else ())
        event = daemon.events("privilege")[0]
        self.assertEqual(event["user"], "root")
        self.assertIn("useradd --system", event["next"])
        status = self.status_of(daemon)
        self.assertEqual((status["CapEff"], status["CapPrm"], status["CapBnd"]),
                         (NET_ADMIN, NET_ADMIN, NONE))
        self.assertEqual(status["NoNewPrivs"], "1")
        self.assertAllowed(HOME)

    def test_a_user_that_is_not_there(self):
        self.configure("user: nobody-of-that-name\n")
        for command in ("run", "sync"):
            result = self.assertCode(self.fence.run(command), 2)
            self.assertIn("there is no user nobody-of-that-name", result.err)
            self.assertIn("useradd", result.err)
        self.assertEqual(os.listdir(self.fence.run_dir), [])
        self.assertEqual(os.listdir(self.fence.state), [])
        self.assertFalse(self.pbx.has_table())

    def test_a_user_that_is_gone_at_the_next_start(self):
        """Where the daemon has run before, a wrong name does not leave the ports open."""
        self.points(HOME)
        self.configure()
        self.daemon().stop()
        self.pbx.run(["nft", "flush", "ruleset"])
        self.configure("user: nobody-of-that-name\n")
        result = self.assertCode(self.fence.run("check"), 2)
        self.assertIn("there is no user nobody-of-that-name", result.err)
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertIn("nobody-of-that-name", daemon.wait_event("config")["error"])

    def test_a_user_that_can_not_be_switched_to(self):
        self.configure("user: daemon\n")
        if privileged():
            prefix = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=+net_admin",
                      "--ambient-caps=+net_admin"]
        else:
            prefix = ()  # there is but one user here
        for command in ("run", "sync"):
            result = self.assertCode(self.fence.run(command, prefix=prefix), 1)
            self.assertIn("cannot become user daemon", result.err)
        self.assertEqual(os.listdir(self.fence.run_dir), [])
        self.assertFalse(self.pbx.has_table())

    def test_started_unprivileged(self):
        """As systemd does it with User= and AmbientCapabilities=."""
        self.needs_root()
        for path in (self.fence.state, self.fence.run_dir):
            os.chown(path, NOBODY, NOBODY)
        self.points(HOME)
        self.configure()
        daemon = self.daemon(prefix=[
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin",
            "--bounding-set=-all,+net_admin"])
        self.assertPrivileges(daemon, bounding=NET_ADMIN)
        self.assertEqual(os.stat("/proc/%d/fd" % daemon.pid).st_uid, 0)  # no core, no tracer
        self.assertEqual(daemon.events("privilege")[0]["user"], "nobody")
        self.assertNotIn("next", daemon.events("privilege")[0])
        self.assertAllowed(HOME)
        self.assertTrue(daemon.request({"request": "refresh"})["ok"])

    def test_no_open_standard_descriptors(self):
        """What is opened first must not become the place where errors are written to."""
        self.points(HOME)
        self.configure("user: root\n")
        child = self.fence.popen("run", stdin=subprocess.DEVNULL, stdout=None, stderr=None,
                                 preexec_fn=lambda: os.closerange(0, 3))
        self.addCleanup(end, child)
        self.assertAllowed(HOME)
        for fd in range(3):
            self.assertEqual(os.readlink("/proc/%d/fd/%d" % (child.pid, fd)), "/dev/null")


class Folders(Base):
    def nobody(self):
        self.needs_root()
        self.points(HOME)
        self.configure("user: nobody\n")

    def test_root_before_and_beside_and_after(self):
        """sync, status, remove by root, and a daemon of another user: one set of files."""
        self.nobody()
        self.assertCode(self.fence.run("sync"), 0)
        self.assertEqual(set(self.owners().values()), {NOBODY}, self.owners())
        self.server.default = None
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertCode(self.fence.run("status"), 0)
        self.assertCode(self.fence.run("refresh"), 0)
        self.assertCode(self.fence.run("reload"), 0)
        beside = self.assertCode(self.fence.run("sync"), 1)
        self.assertIn("a daemon is running", beside.err)
        self.assertEqual(set(self.owners().values()), {NOBODY}, self.owners())
        self.assertEqual(daemon.stop(), 0)
        self.assertCode(self.fence.run("status"), 0)
        self.assertCode(self.fence.run("remove"), 0)
        self.assertFalse(self.pbx.has_table())
        self.assertEqual(set(self.owners().values()), {NOBODY}, self.owners())
        again = self.daemon()
        self.assertAllowed(HOME)
        self.assertCode(self.fence.run("remove"), 0)
        wait_until(lambda: not again.runs())
        self.assertFalse(self.pbx.has_table())

    def test_of_a_former_root(self):
        """What a daemon without a user of its own has left is the user's afterwards."""
        self.nobody()
        self.configure("user: root\n")
        former = self.daemon()
        self.assertAllowed(HOME)
        self.assertEqual(former.stop(), 0)
        self.assertEqual(set(self.owners().values()), {0})
        self.dns_silent()
        self.configure("user: nobody\n")
        daemon = self.daemon()
        self.assertAllowed(HOME)  # from the state that root has saved
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(set(self.owners().values()), {NOBODY})

    def test_what_is_not_given_away(self):
        self.nobody()
        target = os.path.join(self.directory, "root's")
        for name in ("hard", "target"):
            with open(os.path.join(self.directory, name), "w") as file:
                file.write("root's")
        os.rename(os.path.join(self.directory, "target"), target)
        os.symlink(target, os.path.join(self.fence.state, "state.journal"))
        os.link(os.path.join(self.directory, "hard"), os.path.join(self.fence.state, "history"))
        os.mkfifo(os.path.join(self.fence.state, "config"))
        with open(os.path.join(self.fence.state, "state.damaged"), "w") as file:
            os.fchown(file.fileno(), 1234, 1234)
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(os.stat(self.fence.state).st_uid, NOBODY)
        self.assertEqual(os.stat(target).st_uid, 0)
        self.assertEqual(os.stat(os.path.join(self.directory, "hard")).st_uid, 0)
        self.assertEqual(os.stat(os.path.join(self.fence.state, "state.damaged")).st_uid, 1234)
        for path in (target, os.path.join(self.directory, "hard")):
            with open(path) as file:
                self.assertEqual(file.read(), "root's")

    def test_a_folder_that_is_not_sipfences_alone(self):
        """--run-dir /run, --state-dir /etc: nothing there is given away."""
        self.nobody()
        for folder in (self.fence.run_dir, self.fence.state):
            for name in ("shadow", "state"):
                with open(os.path.join(folder, name), "w") as file:
                    file.write("root's")
        for command in ("run", "sync"):
            result = self.assertCode(self.fence.run(command), 1)
            self.assertIn("holds files that are not sipfence's", result.err)
        for folder in (self.fence.run_dir, self.fence.state):
            self.assertEqual(os.stat(folder).st_uid, 0)
            for name in ("shadow", "state"):
                self.assertEqual(os.stat(os.path.join(folder, name)).st_uid, 0)

    def test_somebody_elses_folder(self):
        self.nobody()
        os.chown(self.fence.run_dir, 1234, 1234)
        for command in ("run", "sync"):
            result = self.assertCode(self.fence.run(command), 1)
            self.assertIn("belongs to user number 1234, but the config is for nobody", result.err)
        self.assertFalse(self.pbx.has_table())
        # Of the state alone: the ports are shut all the same, and it is said.
        os.chown(self.fence.run_dir, 0, 0)
        os.chown(self.fence.state, 1234, 1234)
        os.chmod(self.fence.state, 0o700)
        self.assertIn("belongs to user number 1234", self.assertCode(self.fence.run("sync"), 1).err)
        daemon = self.daemon()
        self.assertAllowed(HOME)
        self.assertEqual(os.stat(self.fence.state).st_uid, 1234)
        self.assertTrue(any("belongs to user number 1234" in event.get("error", "")
                            for event in daemon.events()), daemon)

    def test_a_config_that_is_broken_at_boot(self):
        """The copy of the last good one can't make its writer root: it does not say who that is."""
        self.nobody()
        self.assertEqual(self.daemon().stop(), 0)
        self.pbx.nft("flush ruleset\n")
        path = os.path.join(self.fence.state, "config")
        with open(path, "rb") as file:
            kept = file.read()
        self.assertIn(b"user: nobody\n", kept)
        with open(path, "wb") as file:
            file.write(kept.replace(b"user: nobody\n", b"user: root  \n"))
        os.chown(path, NOBODY, NOBODY)
        self.fence.config("nonsense\n")
        daemon = self.daemon()
        self.assertPrivileges(daemon)
        self.assertAllowed(HOME)

    def test_pidfile(self):
        self.nobody()
        daemon = self.daemon("--pidfile", os.path.join(self.fence.run_dir, "pid"))
        with open(os.path.join(self.fence.run_dir, "pid")) as file:
            self.assertEqual(int(file.read()), daemon.pid)
        self.assertEqual(daemon.stop(), 0)
        self.assertNotIn("pid", os.listdir(self.fence.run_dir))
        # In root's folder it can't be removed, and nobody but root may say which process it is.
        path = os.path.join(self.directory, "pid")
        daemon = self.daemon("--pidfile", path)
        self.assertEqual((os.stat(path).st_uid, os.stat(path).st_mode & 0o777), (0, 0o644))
        self.assertEqual(daemon.stop(), 0)

    def test_a_config_that_the_user_can_not_read(self):
        self.nobody()
        os.chmod(self.fence.path, 0o600)
        daemon = self.daemon()
        event = daemon.events("config")[0]
        self.assertIn("user nobody may not read " + self.fence.path, event["error"])
        self.assertIn("chmod g+r " + self.fence.path, event["next"])
        self.assertAllowed(HOME)
        result = self.assertCode(self.fence.run("reload"), 2)
        self.assertIn("let the user read it", result.err)
        self.assertTrue(daemon.runs())
        os.chown(self.fence.path, 0, NOBODY)
        os.chmod(self.fence.path, 0o640)
        self.assertCode(self.fence.run("reload"), 0)

    def test_a_folder_that_the_user_can_not_enter(self):
        self.nobody()
        self.fence.config("extensions: {24: 203.0.113.24}\n", "shut/24.yaml")
        self.configure("user: nobody\ninclude: [shut/*.yaml]\n")
        os.chmod(os.path.join(self.directory, "shut"), 0o700)
        daemon = self.daemon()
        event = daemon.events("config")[0]
        self.assertIn("may not enter the folder " + os.path.join(self.directory, "shut"),
                      event["error"])
        self.assertCode(self.fence.run("reload"), 2)
        os.chmod(os.path.join(self.directory, "shut"), 0o755)
        self.assertCode(self.fence.run("reload"), 0)


class Reach(Base):
    """What the daemon itself still reaches."""

    def setUp(self):
        super().setUp()
        if Identity.landlock() == 0:
            self.skipTest("this kernel has no Landlock")
        self.points(HOME)

    def test_config_that_changes_in_its_folders(self):
        self.configure("include: [more/*.yaml]\n")
        daemon = self.daemon()
        self.fence.config("extensions: {24: 203.0.113.24}\n", "more/24.yaml")
        self.assertCode(self.fence.run("reload"), 0)
        self.assertAllowed(HOME, "203.0.113.24")
        self.fence.config("extensions: {25: 203.0.113.25}\n", "more/24.yaml")
        self.assertCode(self.fence.run("reload"), 0)
        self.assertAllowed(HOME, "203.0.113.25")
        self.assertEqual(daemon.stop(), 0)

    def test_a_new_folder_needs_a_restart(self):
        self.configure()
        daemon = self.daemon()
        with tempfile.TemporaryDirectory(prefix="sipfence-test-") as other:
            os.chmod(other, 0o755)
            with open(os.path.join(other, "24.yaml"), "w") as file:
                file.write("extensions: {24: 203.0.113.24}\n")
            for pattern in ("24.yaml", "*.yaml"):
                self.configure("include: [%s]\n" % os.path.join(other, pattern))
                result = self.assertCode(self.fence.run("reload"), 2)
                self.assertIn("restart", result.err, pattern)
                self.assertIn(other, result.err)
            self.assertAllowed(HOME)
            self.assertEqual(daemon.stop(), 0)
            self.daemon()
            self.assertAllowed(HOME, "203.0.113.24")
            self.assertCode(self.fence.run("reload"), 0)

    def test_a_config_behind_a_link(self):
        """As tools lay them out that swap a whole folder at once."""
        with tempfile.TemporaryDirectory(prefix="sipfence-test-") as other:
            os.chmod(other, 0o755)
            self.configure()
            os.rename(self.fence.path, os.path.join(other, "real.yaml"))
            os.symlink(os.path.join(other, "real.yaml"), self.fence.path)
            daemon = self.daemon()
            with open(os.path.join(other, "new"), "w") as file:
                with open(os.path.join(other, "real.yaml")) as former:
                    file.write(former.read() + "peers: {p: {hosts: [203.0.113.99]}}\n")
            os.rename(os.path.join(other, "new"), os.path.join(other, "real.yaml"))
            self.assertCode(self.fence.run("reload"), 0)
            self.assertAllowed(HOME, "203.0.113.99")
            self.assertEqual(daemon.stop(), 0)


class Tried(Case):
    """One thing after the other, by a process that is as shut off as the daemon."""
    shared_net = True

    def setUp(self):
        if not os.access(CONFINED, os.X_OK):
            self.skipTest(CONFINED + " is not built")
        super().setUp()
        self.conf = self.folder("conf")
        self.resolv = os.path.join(self.folder("resolv"), "resolv.conf")
        self.other = self.folder("other")
        for folder in (self.conf, self.other, self.fence.state, self.fence.run_dir):
            for name in ("state.file", "state.second"):
                with open(os.path.join(folder, name), "w") as file:
                    file.write("x\n")
        with open(self.resolv, "w") as file:
            file.write("nameserver 127.0.0.1\n")
        # What one test can't reach must be shut by the rules, not by its modes.
        self.user = "nobody" if privileged() else "root"

    def folder(self, name):
        path = os.path.join(self.directory, name)
        os.mkdir(path)
        os.chmod(path, 0o755)
        return path

    def open_modes(self):
        for folder in (self.conf, self.other, os.path.dirname(self.resolv)):
            os.chmod(folder, 0o777)
            for name in os.listdir(folder):
                os.chmod(os.path.join(folder, name), 0o666)

    def argv(self, mode, action, argument, user=None):
        return [CONFINED, mode, user or self.user, os.path.join(self.conf, "sipfence.yaml"),
                self.fence.state, self.fence.run_dir, self.resolv, action, str(argument)]

    def attempt(self, mode, action, argument="", user=None):
        """What it says, or the negative number of the signal that ended it."""
        done = self.net.pbx.run(self.argv(mode, action, argument, user), check=False, timeout=20)
        if done.returncode < 0:
            return done.returncode
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def assertAll(self, mode, expected, attempts):
        for action, argument in attempts:
            with self.subTest(action=action, argument=argument):
                self.assertEqual(self.attempt(mode, action, argument), expected)


class Files(Tried):
    def setUp(self):
        super().setUp()
        self.abi = Identity.landlock()
        if self.abi == 0:
            self.skipTest("this kernel has no Landlock")
        self.open_modes()

    def test_what_it_needs(self):
        state, run = self.fence.state, self.fence.run_dir
        self.assertAll("files", "ok", [
            ("read", os.path.join(self.conf, "state.file")), ("list", self.conf), ("watch", self.conf),
            ("read", self.resolv), ("read", "/proc/sys/kernel/random/boot_id"),
            ("read", "/dev/urandom"),
            ("read", os.path.join(state, "state.file")), ("write", os.path.join(state, "new")),
            ("write", os.path.join(run, "state.file")), ("unlink", os.path.join(run, "state.file")),
            ("list", state), ("rename", os.path.join(state, "state.second"))])

    def test_what_it_does_not(self):
        away = os.path.join(self.other, "state.file")
        self.assertAll("files", "EACCES", [
            ("read", away), ("write", away), ("list", self.other), ("unlink", away),
            ("rename", away), ("mkdir", os.path.join(self.other, "new")),
            ("symlink", os.path.join(self.other, "link")), ("exec", "/bin/true"),
            ("read", "/bin/true"), ("list", "/"), ("list", "/tmp"), ("read", "/proc/1/mounts"),
            # What it may read it may not change.
            ("write", os.path.join(self.conf, "state.file")), ("write", os.path.join(self.conf, "new")),
            ("unlink", os.path.join(self.conf, "state.file")), ("rename", os.path.join(self.conf, "state.file")),
            ("write", self.resolv), ("unlink", self.resolv),
            # And in its own folders nothing but files and sockets.
            ("mkdir", os.path.join(self.fence.state, "new")),
            ("symlink", os.path.join(self.fence.state, "link"))])
        for name in ("state.file", "state.second"):
            with open(os.path.join(self.other, name)) as file:
                self.assertEqual(file.read(), "x\n")

    def test_root_too(self):
        """Without a user of its own, the rules are what is left."""
        self.assertEqual(self.attempt("files", "read", "/etc/shadow", "root"), "EACCES")
        self.assertEqual(self.attempt("files", "write", os.path.join(self.other, "state.file"), "root"),
                         "EACCES")
        self.assertEqual(self.attempt("files", "read", os.path.join(self.conf, "state.file"), "root"), "ok")

    def test_resolv_conf_that_is_yet_to_come(self):
        """A link to what the resolver's program will make: the daemon is there before it."""
        run = self.folder("later")
        os.unlink(self.resolv)
        os.symlink(os.path.join(run, "resolve", "stub.conf"), self.resolv)
        path = os.path.join(run, "resolve", "stub.conf")
        child = self.net.pbx.popen(self.argv("files", "read-later", self.resolv), text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.assertIn("landlock=", child.stderr.readline())
        os.mkdir(os.path.dirname(path))
        os.chmod(os.path.dirname(path), 0o755)
        with open(path, "w") as file:
            file.write("nameserver 127.0.0.1\n")
        os.chmod(path, 0o644)
        self.assertEqual(child.communicate("x", timeout=20)[0].strip(), "ok")
        self.assertEqual(self.attempt("files", "read", os.path.join(self.other, "state.file")), "EACCES")

    def test_sockets(self):
        if self.abi < 4:
            self.skipTest("this kernel's Landlock knows no sockets")
        self.assertEqual(self.attempt("files", "bind", 5060), "EACCES")
        self.assertEqual(self.attempt("files", "connect", 9), "ECONNREFUSED")  # DNS by TCP

    def test_other_processes(self):
        if self.abi < 6:
            self.skipTest("this kernel's Landlock knows no signals")
        child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL,
                                 user=NOBODY if privileged() else None)
        self.addCleanup(lambda: (child.kill(), child.wait()))
        self.assertEqual(self.attempt("files", "kill", child.pid), "EPERM")
        self.assertIsNone(child.poll())
        self.assertEqual(self.attempt("files", "ptrace", child.pid), "EPERM")
        with self.net.pbx.inside():
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with listener:
            listener.bind("\0sipfence-test-%d" % os.getpid())
            self.assertEqual(self.attempt("files", "abstract", "sipfence-test-%d" % os.getpid()),
                             "EPERM")


class Calls(Tried):
    def setUp(self):
        super().setUp()
        if sanitized():
            self.skipTest("a sanitizer makes system calls of its own: there is no filter")

    def test_what_it_needs(self):
        self.assertAll("calls", "ok", [
            ("thread", ""), ("raise", ""), ("socket", "2.1"), ("socket", "2.2"), ("socket", "10.2"),
            ("socket", "1.1"), ("socket", "16.3"), ("list", self.conf),
            ("write", os.path.join(self.fence.state, "state.file")),
            ("watch", self.conf), ("read", "/proc/sys/kernel/random/boot_id")])

    def test_what_ends_it(self):
        child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
        self.addCleanup(lambda: (child.kill(), child.wait()))
        self.assertAll("calls", SIGSYS, [
            ("exec", "/bin/true"), ("fork", ""), ("ptrace", child.pid), ("kill", child.pid),
            ("tgkill", child.pid), ("mount", self.other), ("unshare", ""), ("code", ""),
            ("protect", ""), ("setuid", 0),
            ("socket", "17.3"), ("socket", "40.1"), ("socket", "38.5"),  # packet, vsock, crypto
            ("symlink", os.path.join(self.fence.state, "link"))])
        self.assertIsNone(child.poll())

    def test_known_calls(self):
        """Of each number that a kernel of today knows: it works, or ends the process. (x86-64)"""
        if os.uname().machine != "x86_64":
            self.skipTest("numbers of another architecture")
        for number, name in ((101, "ptrace"), (175, "init_module"), (246, "kexec_load"),
                             (248, "add_key"), (250, "keyctl"), (298, "perf_event_open"),
                             (304, "open_by_handle_at"), (308, "setns"), (310, "process_vm_readv"),
                             (311, "process_vm_writev"), (313, "finit_module"), (321, "bpf"),
                             (323, "userfaultfd"), (322, "execveat"), (425, "io_uring_setup"),
                             (434, "pidfd_open"), (438, "pidfd_getfd"), (424, "pidfd_send_signal")):
            with self.subTest(call=name):
                self.assertEqual(self.attempt("calls", "call", number), SIGSYS)

    def test_calls_of_a_later_kernel(self):
        """A newer C library asks whether they are there, and does without."""
        for number in (435, 470, 500):  # clone3, whose flags can't be seen, is treated so, too
            self.assertEqual(self.attempt("calls", "call", number), "ENOSYS")

    def test_the_daemon_itself(self):
        """Its filter is that one: what it does in its life is all in the list."""
        self.fence.config("extensions: {21: 203.0.113.7}\n")
        daemon = Daemon(self.fence)
        self.addCleanup(daemon.check_end)
        daemon.wait_ready()
        self.assertEqual(daemon.events("privilege")[0]["seccomp"], "on")
        self.assertEqual(daemon.proc("Seccomp"), 2)


if __name__ == "__main__":
    main(at_once=3)
