#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Debian bullseye with its Asterisk 16, the last of Debian with both chan_sip and pjsip, in a folder
for chroot(8). Prints the folder; or "skipped: " and why there is none, exit 77.

It is made once by debootstrap, which takes a minute, and kept in
${SIPFENCE_CACHE:-/var/cache/sipfence-tests}/bullseye. Whoever comes while another one makes it waits
for that. SIPFENCE_BULLSEYE names a folder that is there already.

Nothing writes into it afterwards: see pbx.py.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
import debian
from harness import SKIP

sys.dont_write_bytecode = True

RELEASE = "bullseye"
MINUTES = 6  # for all of it


def has_asterisk(folder):
    return os.access(os.path.join(folder, "usr/sbin/asterisk"), os.X_OK)


def find():
    """(folder, None) or (None, why there is none)."""
    given = os.environ.get("SIPFENCE_BULLSEYE")
    if given:
        given = os.path.abspath(given)
        return (given, None) if has_asterisk(given) else (None, given + " has no Asterisk")
    problem = debian.missing()
    if problem:
        return None, problem
    return debian.kept(RELEASE, ["asterisk"], has_asterisk, time.monotonic() + MINUTES * 60)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder, problem = find()
    print(folder or "skipped: " + problem)
    sys.exit(0 if folder else SKIP)


if __name__ == "__main__":
    main()
