#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
What a person sees: `status`, `status --watch` and a long `sync`, typed into a shell in a real terminal
(tmux, with a server of its own), by what stands on its screen.
"""
import os
import re
import shlex
import time

from daemon_case import HOME, NAME, PATIENCE
from harness import main, wait_until
from scripted_dns import answer as scripted, delay, rcode
from test_status import Base

SIZES = ((120, 40), (80, 24), (40, 20))
COLUMNS = ["WHO", "HOST", "ADDRESSES", "STATE", "AGE", "NEXT", "PACKETS", "LAST"]
# Problems first, then by kind and number. What is cut is compared by its beginning.
TABLE = [
    {"WHO": "extension 9", "HOST": "bad.example", "ADDRESSES": "", "STATE": "refused"},
    {"WHO": "extension 100", "HOST": "gone.example", "ADDRESSES": "", "STATE": "gone"},
    {"WHO": "extension 21", "HOST": NAME, "ADDRESSES": HOME, "STATE": "fresh"},
    {"WHO": "extension 23", "HOST": "", "ADDRESSES": "local subnets", "STATE": "fixed"},
    {"WHO": "peer trunk", "HOST": "trunk.example", "ADDRESSES": "198.51.100.7, 198.51.100.8",
     "STATE": "fresh"},
    {"WHO": "local subnets", "HOST": "", "ADDRESSES": "192.168.1.0/24", "STATE": "fixed"},
]
PROMPT = "shell> "


class Tmux:
    """A shell in a terminal. The server is a child, and ends with the host that it runs in."""

    def __init__(self, case, columns=120, rows=40):
        self.host, self.folder = case.pbx, case.directory
        self.socket = os.path.join(case.directory, "tmux")
        settings = os.path.join(case.directory, "tmux.conf")
        with open(settings, "w") as file:
            file.write("set -g status off\nset -g default-terminal screen\nset -s escape-time 0\n")
        environment = dict(case.fence.environment, PS1=PROMPT, ENV="", SHELL="/bin/sh")
        environment.pop("TERM")
        child = self.host.popen(["tmux", "-S", self.socket, "-f", settings, "-D"], env=environment,
                                cwd=case.directory)
        case.addCleanup(child.wait, 5)
        case.addCleanup(child.terminate)
        wait_until(lambda: os.path.exists(self.socket), 5)
        self.do("new-session", "-d", "-c", case.directory, "-x", str(columns), "-y",
                str(rows), "exec /bin/sh -i")
        self.wait(lambda: self.lines()[0] == PROMPT.rstrip())

    def do(self, *arguments):
        return self.host.run(["tmux", "-S", self.socket, *arguments]).stdout

    def keys(self, *names):
        self.do("send-keys", *names)

    def type(self, line):
        self.do("send-keys", "-l", line + "\n")

    def resize(self, columns, rows):
        """Until the programs in it know: tmux tells them a little later."""
        self.do("resize-window", "-x", str(columns), "-y", str(rows))
        with open(self.do("display-message", "-p", "#{pane_tty}").strip()) as tty:
            if not wait_until(lambda: os.get_terminal_size(tty.fileno()) == (columns, rows), 5):
                raise AssertionError("the terminal keeps its size")

    def lines(self, *options):
        return [line.rstrip() for line in self.do("capture-pane", "-p", *options).split("\n")[:-1]]

    def text(self):
        return "\n".join(self.lines())

    def flags(self):
        """(the alternate screen is shown, the cursor is)"""
        return self.do("display-message", "-p", "#{alternate_on} #{cursor_flag}").split() == ["1", "0"]

    def wait(self, condition, seconds=10):
        if not wait_until(condition, seconds * PATIENCE, 0.05):
            raise AssertionError("not within %s s; the screen:\n%s" % (seconds, self.text()))


def cut(lines):
    """([the columns' names], [{name: cell}]) of the table that stands on a screen."""
    first = next(i for i, line in enumerate(lines) if line.startswith("WHO "))
    names = lines[first].split()
    starts = [lines[first].index(name) for name in names] + [None]
    rows = []
    for line in lines[first + 1:]:
        if re.match(r"(extension|peer) \S|local subnets ", line):
            rows.append({name: line[start:end].strip()
                         for name, start, end in zip(names, starts, starts[1:])})
        elif not line:
            break
    return names, rows


def is_drawn(lines, names, height):
    """What `watch` shows stands there as a whole, as it does on a screen of this height: not what stood
    there before, and not a part of it."""
    footer = r"(?m)^\d\d:\d\d:\d\d  every 60 s; q ends\n*\Z"
    if not re.search(footer, "\n".join(lines)) or not any(line.startswith("WHO ") for line in lines):
        return False
    columns, rows = cut(lines)
    return columns == names and (len(rows) < len(TABLE)) == (height < 24)


def is_short_for(cell, whole):
    """The middle is left out, or the rest of a list."""
    cell = re.sub(r", \+\d+$", "..", cell)
    return cell == whole or any(
        cell[i:i + 2] == ".." and whole.startswith(cell[:i]) and whole.endswith(cell[i + 2:])
        for i in range(3, len(cell)))


def masked(lines):
    """Ages, counts and the clock are another second later."""
    return [re.sub(r"[<>]?\b\d+ (s|min|h)\b|\bnow\b", "TIME", line) for line in lines]


class Screens(Base):
    needs = ("tmux",)

    def setUp(self):
        super().setUp()
        command = "#!/bin/sh\nexec %s \"$@\"\n" % shlex.join(self.fence.argv())
        path = os.path.join(self.directory, "fence")
        with open(path, "w") as file:
            file.write(command)
        os.chmod(path, 0o755)

    def guarded(self):
        self.points(HOME)
        self.points("10.0.0.3", name="bad.example")
        self.points("198.51.100.7", "198.51.100.8", name="trunk.example")
        self.server.set("gone.example", "A", rcode("NXDOMAIN"))
        self.server.set("gone.example", "AAAA", rcode("NXDOMAIN"))
        self.configure("peers: {trunk: trunk.example}\n",
                       "21: %s, 23: local, 9: bad.example, 100: gone.example" % NAME)
        self.settled(self.daemon(), 4)

    def assertTable(self, lines, width):
        names, rows = cut(lines)
        self.assertEqual(names, [name for name in COLUMNS if name in names], "their order")
        for name in ("WHO", "ADDRESSES", "STATE"):
            self.assertIn(name, names)
        if width >= 80:
            self.assertIn("HOST", names)
        if width >= 120:
            self.assertIn("AGE", names)
            self.assertIn("PACKETS", names)
        if len(rows) < len(TABLE):
            self.assertIn("(%d more lines)" % (len(TABLE) - len(rows)), lines)
        self.assertGreater(len(rows), 2)
        for row, expected in zip(rows, TABLE):
            for name in set(names) & set(expected):
                self.assertTrue(is_short_for(row[name], expected[name]), "%s: %r for %r\n%s" % (
                    name, row[name], expected[name], "\n".join(lines)))
        return masked(" ".join(row[name] for name in names) for row in rows)

    def test_sizes(self):
        """Both show the same table at each size, also when the size changes under it."""
        self.guarded()
        terminal = Tmux(self)
        tables, names_of = {}, {}
        for columns, rows in SIZES:
            with self.subTest("status", columns=columns):
                terminal.resize(columns, rows)
                terminal.type("clear")
                terminal.wait(lambda: terminal.lines()[0] == PROMPT.rstrip())
                terminal.do("clear-history")
                terminal.type("./fence status; echo end=$?")
                terminal.wait(lambda: "end=3" in terminal.lines())
                lines = terminal.lines("-S", "-")
                tables[columns] = self.assertTable(lines, columns)
                names_of[columns] = cut(lines)[0]
                self.assertFalse([line for line in lines if len(line) > columns])
        terminal.type("clear; ./fence status --watch --interval=60s")
        for columns, rows in (*SIZES, (120, 40), (80, 24)):
            with self.subTest("watch", columns=columns):
                terminal.resize(columns, rows)
                terminal.wait(lambda: is_drawn(terminal.lines(), names_of[columns], rows))
                rows_there = self.assertTable(terminal.lines(), columns)
                self.assertEqual(rows_there, tables[columns][:len(rows_there)])
        terminal.keys("q")
        terminal.wait(lambda: not terminal.flags())

    def test_keys(self):
        """Only time and size draw; q, Q and ^C end, and the shell has its screen again."""
        self.guarded()
        terminal = Tmux(self)
        terminal.type("stty -g > before; echo 'what stood there'")
        terminal.wait(lambda: terminal.lines()[1] == "what stood there")
        for key in ("q", "Q", "C-c"):
            with self.subTest(key=key):
                terminal.type("clear; echo above")
                terminal.wait(lambda: terminal.lines()[:2] == ["above", PROMPT.rstrip()])
                terminal.type("./fence status --watch --interval=60s; echo end=$?")
                before = ["above", PROMPT + "./fence status --watch --interval=60s; echo end=$?"]
                terminal.wait(lambda: "q ends" in terminal.text())
                self.assertTrue(terminal.flags())
                if key == "q":
                    drawn = terminal.lines()
                    time.sleep(1.1)
                    terminal.keys("x", "Up", "F2", "Enter")
                    time.sleep(0.4)
                    self.assertEqual(terminal.lines(), drawn, "a key has drawn")
                    terminal.resize(100, 30)
                    terminal.wait(lambda: terminal.lines() != drawn and "q ends" in terminal.text())
                    terminal.resize(120, 40)
                terminal.keys(key)
                terminal.wait(lambda: "end=0" in terminal.lines())
                self.assertEqual([line for line in terminal.lines() if line],
                                 [*before, "end=0", PROMPT.rstrip()])
                self.assertEqual(terminal.do("display-message", "-p", "#{alternate_on} #{cursor_flag}"),
                                 "0 1\n")
        terminal.type("stty -g > after; echo done")
        terminal.wait(lambda: "done" in terminal.lines())
        modes = []
        for name in ("before", "after"):
            with open(os.path.join(self.directory, name)) as file:
                modes.append(file.read())
        self.assertEqual(modes[0], modes[1])

    def test_colours(self):
        self.guarded()
        terminal = Tmux(self)
        # What comes last, and does not stand there from before.
        for command, last in (("status; echo end=$?", r"(?m)^end=3$"), ("status --watch", "q ends")):
            with self.subTest(command):
                terminal.type("clear; ./fence " + command)
                terminal.wait(lambda: re.search(last, terminal.text()))
                lines = terminal.lines("-e")
                states = [re.search(r"\x1b\[(\d+)m(\w+)", line).groups() for line in lines
                          if re.match(r"(extension|peer) \S+ .*\x1b", line)]
                self.assertEqual(states, [("31", "refused"), ("31", "gone"), ("32", "fresh"),
                                          ("32", "fresh")])
        terminal.keys("q")
        terminal.wait(lambda: not terminal.flags())
        terminal.type("clear; NO_COLOR=1 ./fence status; echo plain=$?")
        terminal.wait(lambda: "plain=3" in terminal.lines())
        self.assertIn("kept out", terminal.text())
        self.assertNotIn("\x1b", "".join(terminal.lines("-e")))

    def test_progress(self):
        """A long sync says how far it is, in one line that is gone in the end."""
        self.server.default = delay(700, scripted(HOME))
        self.configure("peers: {many: [%s]}\n" % ", ".join("h%d.example" % i for i in range(250)),
                       timeout="5s")
        terminal = Tmux(self, 80, 24)
        terminal.type("./fence sync --yes; echo end=$?")
        line = r"resolving: \d+ of 502 questions answered$"
        terminal.wait(lambda: re.match(line, terminal.lines()[1]))
        terminal.wait(lambda: any(text.startswith("end=") for text in terminal.lines()))
        self.assertNotIn("resolving", terminal.text())
        self.assertIn("end=0", terminal.lines())


if __name__ == "__main__":
    main()
