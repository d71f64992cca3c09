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
import fcntl
import os
import shutil
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


def make(folder, deadline):
    """None, or why it could not be made. The caller has the lock."""
    part = folder + ".part"
    for old in (part, folder):
        shutil.rmtree(old, ignore_errors=True)
    problem = debian.bootstrap(RELEASE, part, ["asterisk"], deadline)
    if not problem and not has_asterisk(part):
        problem = "debootstrap made no Asterisk"
    if problem:
        shutil.rmtree(part, ignore_errors=True)
        return problem
    shutil.rmtree(os.path.join(part, "var/cache/apt/archives"), ignore_errors=True)
    os.rename(part, folder)
    return None


def find():
    """(folder, None) or (None, why there is none)."""
    given = os.environ.get("SIPFENCE_BULLSEYE")
    if given:
        given = os.path.abspath(given)
        return (given, None) if has_asterisk(given) else (None, given + " has no Asterisk")
    cache = os.environ.get("SIPFENCE_CACHE") or "/var/cache/sipfence-tests"
    folder = os.path.join(os.path.abspath(cache), RELEASE)
    problem = debian.missing()
    if problem:
        return None, problem
    deadline = time.monotonic() + MINUTES * 60
    try:
        os.makedirs(cache, mode=0o755, exist_ok=True)
        with open(folder + ".lock", "w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        return None, "somebody else has been making %s for too long" % folder
                    time.sleep(0.2)
            if not has_asterisk(folder):
                problem = make(folder, deadline)
    except OSError as error:
        problem = str(error)
    return (None, problem) if problem else (folder, None)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder, problem = find()
    print(folder or "skipped: " + problem)
    sys.exit(0 if folder else SKIP)


if __name__ == "__main__":
    main()
