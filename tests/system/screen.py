# SPDX-License-Identifier: GPL-2.0-or-later
"""
A terminal for the tests: a pseudo-terminal with a program behind it, and what its screen shows.

    with Terminal(fence, 80, 24, "status", "--watch") as terminal:
        terminal.wait(lambda: "fresh" in terminal.text())
        terminal.resize(40, 12)
        terminal.keys("q")
        terminal.end()                 # the exit code

It knows only the sequences that sipfence uses; any other one is an error, and so is any other
control character: nothing of the kind may come out of a name.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

SEQUENCE = re.compile(r"\x1b(?:\[(\??)([0-9;]*)([A-Za-z])|([^\[]))")


class Screen:
    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.alternate, self.cursor_shown = False, True
        self.pages = {False: self.blank(), True: self.blank()}
        self.row = self.column = 0
        self.scrolled = 0               # lines that left the alternate screen at its top
        self.styles = set()
        self.rest = ""

    def blank(self):
        return [[" "] * self.columns for _ in range(self.rows)]

    @property
    def page(self):
        return self.pages[self.alternate]

    def lines(self):
        return ["".join(line).rstrip() for line in self.page]

    def feed(self, text):
        text = self.rest + text
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = SEQUENCE.match(text, at)
                if not match:
                    if len(text) - at > 32:
                        raise AssertionError("a torn sequence: %r" % text[at:at + 32])
                    break
                self.sequence(match)
                at = match.end()
                continue
            self.put(text[at])
            at += 1
        self.rest = text[at:]

    def sequence(self, match):
        private, numbers, final = match.group(1), match.group(2), match.group(3)
        if private and final in "hl" and numbers == "1049":
            self.alternate = final == "h"
            if self.alternate:
                self.pages[True] = self.blank()
        elif private and final in "hl" and numbers == "25":
            self.cursor_shown = final == "h"
        elif final == "m" and not private:
            self.styles.add(numbers)
        elif final == "H" and not numbers:
            self.row = self.column = 0
        elif final == "J" and numbers in ("", "0", "2"):
            if numbers == "2":
                self.pages[self.alternate] = self.blank()
            else:
                self.page[self.row][self.column:] = [" "] * (self.columns - self.column)
                for row in range(self.row + 1, self.rows):
                    self.page[row] = [" "] * self.columns
        elif final == "K" and numbers == "":
            self.page[self.row][self.column:] = [" "] * (self.columns - self.column)
        else:
            raise AssertionError("an unknown sequence: %r" % match.group(0))

    def put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.line_feed()
        elif character == "\x07" or ord(character) < 0x20 or 0x7f <= ord(character) < 0xa0:
            raise AssertionError("a control character on the screen: %r" % character)
        else:
            if self.column == self.columns:
                self.column = 0
                self.line_feed()
            self.page[self.row][self.column] = character
            self.column += 1

    def line_feed(self):
        if self.row + 1 < self.rows:
            self.row += 1
            return
        self.page.pop(0)
        self.page.append([" "] * self.columns)
        self.scrolled += self.alternate


class Terminal:
    def __init__(self, fence, columns, rows, *arguments, env=None, argv=None):
        self.leader, follower = pty.openpty()
        self.screen = Screen(columns, rows)
        self.raw = ""
        self.resize(columns, rows, False)
        self.attributes = termios.tcgetattr(follower)
        self.follower = follower
        environment = dict(fence.environment, **dict({"TERM": "xterm"}, **(env or {})))
        environment.pop("COLUMNS", None)
        self.child = fence.host.popen(
            argv or fence.argv(*arguments), stdin=follower, stdout=follower, stderr=follower,
            env=environment, preexec_fn=self.own)

    def own(self):
        """A session of its own, with this as its terminal: ^C and ^Z reach all of it."""
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(5)
        os.close(self.leader)
        os.close(self.follower)

    def resize(self, columns, rows, tell=True):
        if tell:  # before the program knows: its answer belongs to the new screen
            self.read(0)
            alternate = self.screen.alternate
            self.screen = Screen(columns, rows)
            self.screen.alternate = alternate
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        while select.select([self.leader], [], [], seconds)[0]:
            try:
                part = os.read(self.leader, 65536).decode(errors="replace")
            except OSError:
                return
            self.raw += part
            self.screen.feed(part)
            seconds = 0

    def text(self):
        return "\n".join(self.screen.lines())

    def wait(self, condition, seconds=10):
        """Until it holds; the last look is after the time is up."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("not within %s s; the screen:\n%s" % (seconds, self.text()))
            self.read(0.05)

    def keys(self, text):
        os.write(self.leader, text.encode())

    def end(self, seconds=10):
        deadline = time.monotonic() + seconds
        while self.child.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        self.read(0.1)
        return self.child.poll()

    def is_as_before(self):
        return (not self.screen.alternate and self.screen.cursor_shown and
                termios.tcgetattr(self.follower)[3] == self.attributes[3])

    def send_signal(self, number):
        self.child.send_signal(number)


__all__ = ["Screen", "Terminal", "signal"]
