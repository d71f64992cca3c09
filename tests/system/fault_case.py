# SPDX-License-Identifier: GPL-2.0-or-later
"""
What test_fault_loops.py stands on: sipfence-faulty (faults.c), whose calls fail when they are told to.

    faults = Faults(directory)                 # a page that the program maps
    fence.run("sync", argv=..., env=faults.environment)
    faults.count("send")                       # from now on, calls of that kind are counted
    faults.arm("send", 3, errno.ENOBUFS)       # the third from now on fails
    faults.failed, faults.seen
"""
import errno
import mmap
import os
import re
import struct

from harness import SIPFENCE

FAULTY = os.path.abspath(os.environ.get("SIPFENCE_FAULTY", os.path.join(
    os.path.dirname(SIPFENCE), "../../tests/system/sipfence-faulty")))

# Each kind of call (faults.c), and how it fails.
ALLOCATIONS = ("own-allocation", "library-allocation")
CALLS = {
    "open": errno.EMFILE, "read": errno.EIO, "write": errno.ENOSPC, "fsync": errno.EIO,
    "rename": errno.EIO, "file": errno.EACCES, "descriptor": errno.EMFILE, "bind": errno.ENOMEM,
    "send": errno.ENOBUFS, "receive": errno.ENOBUFS, "wait": errno.ENOMEM, "process": errno.EAGAIN,
    "random": errno.ENOSYS,
}
ERRORS = dict(CALLS, **dict.fromkeys(ALLOCATIONS, errno.ENOMEM))
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer")
SANITIZER_CODE = 99


class Faults:
    FORMAT = "=24sQQQQQQ"

    def __init__(self, directory):
        path = os.path.join(directory, "faults")
        with open(path, "wb") as file:
            file.write(bytes(4096))
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)
        os.chmod(path, 0o666)
        self.environment = {"SIPFENCE_FAULT_PAGE": path}

    def close(self):
        self.page.close()

    def write(self, kind, nth, times, error):
        # Nobody is to see half of it.
        self.page[0:24] = bytes(24)
        self.page[24:72] = struct.pack("=QQQQQQ", nth, times, error, 0, 0, 0)
        self.page[0:24] = kind.encode().ljust(24, b"\0")

    def arm(self, kind, nth, error=None, times=1):
        self.write(kind, nth, times, ERRORS[kind] if error is None else error)

    def count(self, kind):
        self.write(kind, 0, 0, 0)

    def disarm(self):
        self.write("", 0, 0, 0)

    def pause(self):
        """Until resume() nothing fails, and nothing is counted."""
        self.paused = bytes(self.page[0:24])
        self.page[0:24] = bytes(24)

    def resume(self):
        self.page[0:24] = self.paused

    def field(self, index):
        return struct.unpack_from(self.FORMAT, self.page)[index]

    seen = property(lambda self: self.field(4))
    failed = property(lambda self: self.field(5))
    caller = property(lambda self: self.field(6))
