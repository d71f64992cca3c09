# SPDX-License-Identifier: GPL-2.0-or-later
"""
A Debian of another release in a folder, by debootstrap, from the mirrors that this machine's own apt
uses. debootstrap checks what it gets by the keyring of this machine.

    problem = missing()                                  # why there can be none; None: there can
    problem = bootstrap("bullseye", folder, packages, deadline)
    folder, problem = kept("bullseye", packages, is_whole, deadline)   # made once, for all tests
    folder, problem = clean(deadline)                    # Debian 12, and nothing more; kept, too
    folder, problem = grown(folder, "name", packages, deadline)        # a copy with more, kept, too
    path, problem = fetched("prometheus", "usr/bin/promtool", deadline)     # a program alone
    done = run_bounded(["chroot", folder, "true"], deadline)
"""
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from harness import PATH, Runner, finish

ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}


def missing():
    if os.geteuid() != 0 or os.environ.get("SIPFENCE_TEST_UNPRIVILEGED"):
        return "a chroot needs root"
    for program in ("debootstrap", "chroot", "unshare", "apt-get"):
        if not shutil.which(program, path=PATH):
            return program + " is missing"
    return None


def mirrors():
    """Where apt of this machine gets Debian from."""
    done = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)",
                           "Created-By: Packages", "Label: Debian"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
    return list(dict.fromkeys(done.stdout.split()))


def run_bounded(argv, deadline, **more):
    """Like subprocess.run, ended with all its children at that time of the monotonic clock."""
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace",
                             start_new_session=True, env=dict(ENVIRONMENT, **more))
    output = None
    try:
        output, _ = child.communicate(timeout=max(deadline - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        pass
    finally:
        if output is None:  # also when this process is told to end
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
            output += "\n(ended: it took too long)\n"
    return subprocess.CompletedProcess(argv, child.returncode, output)


def bootstrap(release, folder, packages, deadline):
    """Fills the folder; None, or why it could not be done."""
    problem = "apt knows no mirror of Debian"
    for mirror in mirrors():
        # What it mounts there is gone with it.
        done = run_bounded(["unshare", "--mount", "debootstrap", "--variant=minbase",
                            "--include=" + ",".join(packages), release, folder, mirror], deadline)
        if done.returncode == 0:
            return None
        problem = "debootstrap: " + " / ".join(done.stdout.strip().splitlines()[-3:])
    return problem


def make(release, folder, packages, is_whole, deadline):
    """None, or why it could not be made. The caller has the lock."""
    part = folder + ".part"
    for old in (part, folder):
        shutil.rmtree(old, ignore_errors=True)
    problem = bootstrap(release, part, packages, deadline)
    if not problem and not is_whole(part):
        problem = "debootstrap has left %s unfinished" % part
    if problem:
        shutil.rmtree(part, ignore_errors=True)
        return problem
    shutil.rmtree(os.path.join(part, "var/cache/apt/archives"), ignore_errors=True)
    os.rename(part, folder)
    return None


@contextlib.contextmanager
def locked(path, deadline):
    """Whoever comes meanwhile waits; TimeoutError for who has waited for too long."""
    with open(path + ".lock", "w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("somebody else has been making %s for too long" % path) from None
                time.sleep(0.2)
        yield


def cache():
    return os.path.abspath(os.environ.get("SIPFENCE_CACHE") or "/var/cache/sipfence-tests")


def kept(release, packages, is_whole, deadline):
    """
    (folder, None) or (None, why there is none). It is made once, below
    ${SIPFENCE_CACHE:-/var/cache/sipfence-tests}; whoever comes meanwhile waits.
    """
    folder = os.path.join(cache(), release)
    problem = None
    try:
        os.makedirs(cache(), mode=0o755, exist_ok=True)
        with locked(folder, deadline):
            if not is_whole(folder):
                problem = make(release, folder, packages, is_whole, deadline)
    except OSError as error:
        problem = str(error)
    return (None, problem) if problem else (folder, None)


def clean(deadline):
    """A Debian 12 with nothing but what debootstrap makes of it."""
    return kept("bookworm", ["ca-certificates"], os.path.isdir, deadline)


def grown(base, name, packages, deadline):
    """The same for a copy of a kept folder with more packages in it; none of them is started."""
    folder = os.path.join(cache(), name)
    part = folder + ".part"
    try:
        with locked(folder, deadline):
            if os.path.isdir(folder):
                return folder, None
            shutil.rmtree(part, ignore_errors=True)
            for argv in (["cp", "-a", base, part],
                         ["chroot", part, "apt-get", "-q", "update"],
                         ["chroot", part, "apt-get", "-q", "install", "-y", "--no-install-recommends",
                          *packages],
                         ["chroot", part, "apt-get", "clean"]):
                done = run_bounded(argv, deadline)
                if done.returncode != 0:
                    shutil.rmtree(part, ignore_errors=True)
                    return None, "%s: %s" % (" ".join(argv[:4]), " / ".join(done.stdout.splitlines()[-3:]))
                if argv[0] == "cp":
                    with open(os.path.join(part, "usr/sbin/policy-rc.d"), "w") as file:
                        file.write("#!/bin/sh\nexit 101\n")
                        os.fchmod(file.fileno(), 0o755)
            os.rename(part, folder)
    except OSError as error:
        return None, str(error)
    return folder, None


def fetched(package, program, deadline):
    """
    (path, None) or (None, why not): one program out of a Debian package that is not installed, since
    that would start something. It is kept like the folders above; the name of the file is the key.
    """
    path = os.path.join(cache(), os.path.basename(program))
    if os.access(path, os.X_OK):
        return path, None
    if not shutil.which("apt-get", path=PATH) or not shutil.which("dpkg-deb", path=PATH):
        return None, "this is no Debian"
    try:
        os.makedirs(cache(), mode=0o755, exist_ok=True)
        with locked(path, deadline), tempfile.TemporaryDirectory(prefix="sipfence-") as folder:
            if os.access(path, os.X_OK):
                return path, None
            done = run_bounded(["sh", "-c", 'cd "$1" && apt-get -q download "$2" && dpkg-deb -x *.deb .',
                                "sh", folder, package], deadline)
            if done.returncode != 0:
                return None, "apt-get download %s: %s" % (package, " / ".join(done.stdout.splitlines()[-2:]))
            shutil.copy(os.path.join(folder, program), path + ".part")
            os.rename(path + ".part", path)
    except OSError as error:
        return None, str(error)
    return path, None


def main():
    """As harness.main(), but in no network namespace: debootstrap needs the mirror."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    finish(unittest.main(module="__main__", testRunner=Runner, exit=False).result)
