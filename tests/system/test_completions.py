#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Completions of bash, zsh and fish, in these shells themselves: they offer the commands and options of
`sipfence help`, each option where it goes, and the names of the config.
"""
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import PATH, REPO, SIPFENCE, main

SCRIPTS = os.path.join(REPO, "cmd/sipfence/completions")

# Calls the function as bash does: readline's words, cut at its word breaks, and the cursor.
BASH = r"""
source "$1"
complete -p sipfence | grep -q -- '-F _sipfence ' || exit 1
COMP_LINE=$2 COMP_POINT=${#2}
_sipfence sipfence "" ""
((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
"""

# All that the completion adds, once more into a file.
ZSH = r"""
PS1='> ' LISTMAX=0
unsetopt list_beep
fpath=(%(folder)s $fpath)
autoload -Uz compinit && compinit -u -d %(folder)s/dump
compadd() {
	local -a added
	if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
		builtin compadd -O added "$@"
		(($#added)) && print -rl -- $added >>%(folder)s/out
	fi
	builtin compadd "$@"
}
ended() { print END >>%(folder)s/out }
comppostfuncs=(ended)
bindkey '^I' complete-word
print READY >>%(folder)s/out
"""


class Shell:
    """complete(line) is what the shell offers behind that line."""

    def __init__(self, directory):
        self.directory = directory
        self.environment = {"PATH": directory + "/bin:" + PATH, "LC_ALL": "C.UTF-8", "HOME": directory,
                            "TERM": "dumb", "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")}

    def run(self, *argv):
        done = subprocess.run(argv, env=self.environment, cwd=self.directory, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0 or done.stderr:
            raise AssertionError("%s: %s" % (argv[0], done.stdout + done.stderr))
        return done.stdout.splitlines()


class Bash(Shell):
    name, script = "bash", "sipfence.bash"

    def complete(self, line):
        head = line[:max(line.rfind(mark) for mark in " =:") + 1].rsplit(" ", 1)[-1]
        return {head + word for word in self.run("bash", "--norc", "-c", BASH, "bash",
                                                 os.path.join(SCRIPTS, self.script), line)}


class Fish(Shell):
    name, script = "fish", "sipfence.fish"

    def complete(self, line):
        return {offered.split("\t")[0] for offered in self.run(
            "fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"',
            os.path.join(SCRIPTS, self.script), line)}


class Zsh(Shell):
    """On a terminal of its own: completion is a matter of the line editor."""
    name, script = "zsh", "sipfence.zsh"

    def __init__(self, directory):
        super().__init__(directory)
        self.folder = os.path.join(directory, "zsh")
        os.mkdir(self.folder)
        os.symlink(os.path.join(SCRIPTS, self.script), os.path.join(self.folder, "_sipfence"))
        with open(os.path.join(self.folder, ".zshrc"), "w") as file:
            file.write(ZSH % {"folder": self.folder})
        self.environment["ZDOTDIR"] = self.folder
        self.out = os.path.join(self.folder, "out")

    def said(self):
        try:
            with open(self.out) as file:
                return file.read().split("\n")
        except FileNotFoundError:
            return []

    def wait_for(self, terminal, word):
        screen, deadline = b"", time.monotonic() + 30
        while word not in self.said():
            if time.monotonic() > deadline:
                raise AssertionError("zsh never said %s: %r" % (word, screen[-2000:]))
            if select.select([terminal], [], [], 0.02)[0]:
                screen += os.read(terminal, 65536)

    def complete(self, line):
        if os.path.exists(self.out):
            os.unlink(self.out)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            os.execvpe("zsh", ["zsh", "-d", "-i"], self.environment)
        try:
            self.wait_for(terminal, "READY")
            os.write(terminal, line.encode() + b"\t")
            self.wait_for(terminal, "END")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(terminal)
        head = line.rsplit(" ", 1)[-1]
        head = head[:max(head.rfind("="), head.rfind("/")) + 1]
        return {word if word.startswith("-") else head + word
                for word in self.said() if word not in ("READY", "END", "")}


class Table:
    """What `sipfence help` says."""

    def __init__(self, text):
        commands, options = text.split("\nCommands:\n")[1].split("\n\nOptions:\n")
        self.commands = {line.split()[0] for line in commands.splitlines()} | {"help"}
        self.options, self.of, self.letters = set(), {}, set()
        for line in options.split("\n\n")[0].splitlines():
            name = re.match(r" +(?:-\w, )?(--[a-z-]+)", line).group(1)
            self.options.add(name)
            self.of[name] = re.findall(r" \[([a-z]+)\]", line)
            self.letters |= set(re.findall(r"^  (-\w), ", line))

    def going_with(self, command):
        return {name for name, of in self.of.items() if not of or command in of}


class Completions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="sipfence-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        os.mkdir(os.path.join(cls.directory, "bin"))
        os.symlink(SIPFENCE, os.path.join(cls.directory, "bin/sipfence"))
        with open(os.path.join(cls.directory, "conf.yaml"), "w") as file:
            file.write("extensions: {21: home21.example, '7~*': other.example, 22: 192.0.2.1}\n"
                       "peers: {voipco: sip.voipco.example}\n"
                       "resolver: {servers: [127.0.0.1], timeout: 200ms}\n")
        # None of the names is answered; the state file has them all the same.
        subprocess.run([SIPFENCE, "-c", "conf.yaml", "--state-dir", "state", "--run-dir", "run", "sync"],
                       cwd=cls.directory, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        cls.table = Table(subprocess.run([SIPFENCE, "help"], stdout=subprocess.PIPE, text=True,
                                         timeout=30, check=True).stdout)

    def shell(self, kind):
        if not shutil.which(kind.name, path=PATH):
            self.skipTest(kind.name + " is missing")
        return kind(tempfile.mkdtemp(dir=self.directory))

    def check(self, kind):
        shell = self.shell(kind)
        os.symlink(os.path.join(self.directory, "bin"), os.path.join(shell.directory, "bin"))
        shutil.copy(os.path.join(self.directory, "conf.yaml"), shell.directory)
        os.mkdir(os.path.join(shell.directory, "logs"))

        self.assertGreater(len(self.table.commands), 10)
        self.assertEqual(shell.complete("sipfence "), self.table.commands)
        self.assertEqual(shell.complete("sipfence -v -c conf.yaml "), self.table.commands)
        self.assertEqual(shell.complete("sipfence sy"), {"sync"})
        self.assertEqual(shell.complete("sipfence --") - self.table.letters, self.table.options)
        for command in sorted(self.table.commands - {"help"}):
            with self.subTest(shell.name + " " + command):
                self.assertEqual(shell.complete("sipfence %s --" % command) - self.table.letters,
                                 self.table.going_with(command))
        values = {"auto", "always", "never"}
        self.assertEqual(shell.complete("sipfence --color "), values)
        self.assertEqual(shell.complete("sipfence status --color=a"),
                         {"--color=auto", "--color=always"})
        self.assertEqual(shell.complete("sipfence --config co"), {"conf.yaml"})
        self.assertEqual(shell.complete("sipfence -c co"), {"conf.yaml"})
        self.assertEqual(shell.complete("sipfence audit co"), {"conf.yaml"})
        self.assertEqual(shell.complete("sipfence export ka"), {"kamailio"})
        self.assertEqual(shell.complete("sipfence export --write kamailio co"), {"conf.yaml"})
        # A folder is no file, but may hold one.
        self.assertIn("logs", {word.rstrip("/") for word in shell.complete("sipfence run --run-dir l")})
        self.assertNotIn("conf.yaml", shell.complete("sipfence run --run-dir co"))
        self.assertEqual(shell.complete("sipfence --since "), set())
        self.assertEqual(shell.complete("sipfence check "), set())
        self.names(shell)

    def names(self, shell):
        """Only plain ones: the shell has more to do with the others than to print them."""
        folders = "--state-dir ../state --run-dir=../run"
        for command in ("why", "refresh", "history"):
            offered = shell.complete("sipfence -c conf.yaml %s %s " % (folders, command))
            self.assertEqual(offered, {"21", "22", "voipco", "home21.example", "other.example",
                                       "sip.voipco.example"})
        self.assertEqual(shell.complete("sipfence --config=conf.yaml %s why home" % folders),
                         {"home21.example"})
        # No config, no names, no noise.
        self.assertEqual(shell.complete("sipfence -c none.yaml %s why " % folders), set())

    def test_bash(self):
        self.check(Bash)

    def test_zsh(self):
        self.check(Zsh)

    def test_fish(self):
        self.check(Fish)

    def test_a_program_beside_us_is_not_run(self):
        """`./sipfence` of a strange folder, when somebody presses the key."""
        shell = self.shell(Bash)
        path = os.path.join(shell.directory, "sipfence")
        with open(path, "w") as file:
            file.write("#!/bin/sh\n: >%s/was-run\n" % shell.directory)
        os.chmod(path, 0o755)
        os.symlink(os.path.join(self.directory, "bin"), os.path.join(shell.directory, "bin"))
        self.assertIn("sync", shell.complete("./sipfence "))
        self.assertFalse(os.path.exists(os.path.join(shell.directory, "was-run")))


if __name__ == "__main__":
    main()
